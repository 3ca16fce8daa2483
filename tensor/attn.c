/* attn.c -- attention in blocks of query rows by blocks of keys.
 *
 * The scores of such a block stand in a scratch matrix that the L2 cache holds; the products before
 * and after it run on gemm_tile with K and V in panels, packed once a head (backward: once a block
 * of keys).  Up to KEYS_WHOLE keys are one block; more of them go through the online softmax
 * (Milakov and Gimelshein 2018, arXiv:1805.02867): when a later block has a larger score, what was
 * summed before is scaled down.  Blocks depend on shapes and the instruction set alone, and every
 * sum over them runs in index order on one thread, so no bit depends on the number of threads. */
#include "tensor/attn.h"

#include <math.h>

enum {
    KEYS_WHOLE = 384,                   // as many keys are not cut
    KEYS_BLOCK = 256,                   // keys of a block where they are
    ROWS_FORWARD = 96, ROWS_BACKWARD = 66, ROWS_CAUSAL = 48,    // of a block, at most
    B_IN_L1 = 20 << 10                  // bytes of panels that stay in L1 beside a tile
};

typedef struct attn {
    const tlvi_attn_job *j;
    const tlvi_kset *k;
    int64_t size;                       // of an element
    int64_t rows, keys;                 // of a block
    int64_t lds;                        // row pitch of a block of scores
    int64_t chunk, n_chunks;            // forward: rows of a task, tasks of a head
    tlvi_attn_array g, y, dq, dk, dv;
    char *scratch;                      // of all workers
    int64_t each;                       // bytes of one worker's part
    // the gradient of the bias
    const int64_t *dim;
    char *dbias;
    int64_t row_tasks;
} attn;

/* One worker's scratch: packed panels, blocks. */
typedef struct room {
    char *kt, *kp, *v, *vt;             // K^T, K, V, V^T in panels
    char *s, *dp;                       // scores or probabilities; their gradient
    char *q, *g;                        // rows of q, of g, one after the other
    char *qp, *gp;                      // the same in panels
    char *delta;                        // sum g y of every query
    char *mask, *row;                   // of keys: 0 or 1 as numbers; a row of sums
} room;

static inline int64_t min64(int64_t a, int64_t b) { return a < b ? a : b; }
static inline int64_t max64(int64_t a, int64_t b) { return a > b ? a : b; }
static inline int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
static inline int64_t round_up(int64_t a, int64_t to) { return ceil_div(a, to) * to; }

/* n in blocks of nearly equal size, each at most `most` and a multiple of `of`. */
static int64_t balanced(int64_t n, int64_t most, int64_t of)
{
    n = max64(n, 1);
    return round_up(ceil_div(n, ceil_div(n, max64(most / of, 1) * of)), of);
}

/* ---- scratch --------------------------------------------------------------------------------- */

/* Hands out pieces of p (or only counts them, p NULL). */
static char *take(char *p, int64_t *at, int64_t values, int64_t size)
{
    char *r = p ? p + *at : NULL;
    *at += round_up(values * size, 64);
    return r;
}

static room lay_out(const attn *a, char *p, int backward, int64_t *bytes)
{
    const tlvi_attn_job *j = a->j;
    int64_t nr = a->k->nr, d = round_up(j->d, nr), dv = round_up(j->dv, nr), at = 0;
    int64_t keys = backward ? a->keys : round_up(j->tk, nr);
    room r = { 0 };
    r.kt = take(p, &at, keys * j->d, a->size);
    r.s = take(p, &at, a->rows * a->lds, a->size);
    r.q = take(p, &at, a->rows * j->d, a->size);
    r.mask = take(p, &at, j->mask ? j->tk : 0, a->size);
    if (!backward) {
        r.v = take(p, &at, dv * keys, a->size);
    } else {
        r.vt = take(p, &at, keys * j->dv, a->size);
        r.kp = take(p, &at, d * keys, a->size);
        r.dp = take(p, &at, a->rows * a->lds, a->size);
        r.g = take(p, &at, a->rows * j->dv, a->size);
        r.gp = take(p, &at, dv * a->rows, a->size);
        r.qp = take(p, &at, d * a->rows, a->size);
        r.delta = take(p, &at, j->tq, a->size);
        r.row = take(p, &at, j->tk, a->size);
    }
    *bytes = at;
    return r;
}

static int begin(tlv_ctx *c, attn *a, const tlvi_attn_job *j, int backward)
{
    *a = (attn){ .j = j, .k = tlvi_ks(c, j->dtype), .size = j->dtype == TLV_F64 ? 8 : 4 };
    int64_t line = 64 / a->size, most = backward ? ROWS_BACKWARD : ROWS_FORWARD;
    a->rows = balanced(j->tq, j->causal ? ROWS_CAUSAL : most, a->k->mr);
    a->keys = balanced(j->tk, j->tk <= KEYS_WHOLE ? KEYS_WHOLE : KEYS_BLOCK, a->k->nr);
    a->lds = round_up(a->keys, line);
    if (a->lds / line % 2 == 0) a->lds += line;     // rows begin in all sets of the L1 cache
    lay_out(a, NULL, backward, &a->each);
    a->scratch = tlvi_alloc(c, (size_t)(a->each * c->n_threads));
    return a->scratch != NULL;
}

static tlv_status end(tlv_ctx *c, attn *a)
{
    tlvi_free(c, a->scratch, (size_t)(a->each * c->n_threads));
    return c->err;
}

static room room_of(const attn *a, int worker, int backward)
{
    int64_t bytes;
    return lay_out(a, a->scratch + worker * a->each, backward, &bytes);
}

/* ---- products -------------------------------------------------------------------------------- */

static char *at(const attn *a, const void *p, int64_t i) { return (char *)p + i * a->size; }

static char *array_at(const attn *a, const tlvi_attn_array *x, int64_t b, int64_t h, int64_t t)
{
    return x->ptr ? at(a, x->ptr, b * x->b + h * x->h + t * x->t) : NULL;
}

/* b [n_k, n] with strides rs, cs into panels of nr columns. */
static void pack(const attn *a, int64_t n_k, int64_t n, const void *b, int64_t rs, int64_t cs,
                 char *to)
{
    int nr = a->k->nr;
    for (int64_t j = 0; j < n; j += nr)
        a->k->gemm_pack_b((int)min64(nr, n - j), nr, n_k, at(a, b, j * cs), rs, cs,
                          at(a, to, j * n_k));
}

/* x [m,n_k], x[i,p] = x[i*rs + p*cs], one of them 1; panels of `depth` rows, of which n_k count */
typedef struct left { const void *x; int64_t rs, cs; } left;
typedef struct right { const char *b; int64_t depth; } right;

/* Rows i0 .. i1-1 of one column panel of c. */
static void panel_product(const attn *a, int64_t i0, int64_t i1, int cols, int64_t n_k, left x,
                          const char *panel, char *c, int64_t ldc, int add)
{
    const tlvi_kset *k = a->k;
    for (int64_t p = 0; p < n_k; p += k->kc)
        for (int64_t i = i0; i < i1; i += k->mr)
            k->gemm_tile((int)min64(k->mr, i1 - i), cols, min64(k->kc, n_k - p),
                         at(a, x.x, i * x.rs + p * x.cs), x.rs, x.cs, at(a, panel, p * k->nr),
                         k->nr, at(a, c, i * ldc), ldc, add || p > 0);
}

enum { ADD = 1, WHOLE = 2 };            // WHOLE: c has room for whole vectors, which cost less

/* c [m,n] (+)= x b, b in panels.  Small panels stay in L1 while x passes by once, else one panel at
 * a time does. */
static void product(const attn *a, int64_t m, int64_t n, int64_t n_k, left x, right b, void *c,
                    int64_t ldc, int flags)
{
    const tlvi_kset *k = a->k;
    int add = flags & ADD;
    if (n_k == 0 && !add)
        for (int64_t i = 0; i < m; i++) k->fill((size_t)n, 0, at(a, c, i * ldc));
    int64_t step = n * n_k * a->size <= B_IN_L1 ? k->mr : max64(m, 1);
    for (int64_t i = 0; i < m; i += step)
        for (int64_t j = 0; j < n; j += k->nr) {
            int cols = (int)min64(k->nr, n - j);
            if (flags & WHOLE) cols = cols <= k->lanes ? k->lanes : k->nr;
            panel_product(a, i, min64(i + step, m), cols, n_k, x, at(a, b.b, j * b.depth),
                          at(a, c, j), ldc, add);
        }
}

/* ---- one block of rows ----------------------------------------------------------------------- */

/* A head at work: rows i .. i+rows-1, keys k0 .. k0+n-1 of a block that has `keys`. */
typedef struct head {
    int64_t b, h, i, rows, k0, n;
    room r;
} head;

/* Keys that query row i may see. */
static int64_t visible(const tlvi_attn_job *j, int64_t i)
{
    return j->causal ? min64(max64(i + 1 + j->tk - j->tq, 0), j->tk) : j->tk;
}

/* Sets the keys of the block from k0 on that any row of the block of rows sees. */
static int64_t set_keys(const attn *a, head *w, int64_t k0)
{
    w->k0 = k0;
    w->n = min64(max64(visible(a->j, w->i + w->rows - 1) - k0, 0), a->keys);
    return w->n;
}

/* Keys of the block that begins at k0. */
static int64_t depth_at(const attn *a, int64_t k0) { return min64(a->keys, a->j->tk - k0); }

static const void *bias_row(const attn *a, const head *w, int64_t i)
{
    const tlvi_attn_job *j = a->j;
    if (!j->bias) return NULL;
    return at(a, j->bias,
              w->b * j->bias_stride[0] + w->h * j->bias_stride[1] + i * j->bias_stride[2]
                  + w->k0 * j->bias_stride[3]);
}

static char *stat_row(const attn *a, const head *w, int64_t i)
{
    const tlvi_attn_job *j = a->j;
    return at(a, j->stat, ((w->b * j->h + w->h) * j->tq + i) * 2);
}

/* The block's rows of an array, one after the other: rows far apart would share few sets of the L1
 * cache. */
static const char *dense_rows(const attn *a, const head *w, const tlvi_attn_array *x, int64_t n,
                              char *to)
{
    const char *from = array_at(a, x, w->b, w->h, w->i);
    if (x->t == n) return from;
    for (int64_t r = 0; r < w->rows && n > 0; r++)
        memcpy(at(a, to, r * n), at(a, from, r * x->t), (size_t)(n * a->size));
    return to;
}

/* Scores of the block in w->r.s. */
static void scores(const attn *a, const head *w, const char *q, const char *kt)
{
    const tlvi_attn_job *j = a->j;
    product(a, w->rows, w->n, j->d, (left){ q, j->d, 1 }, (right){ kt, j->d }, w->r.s,
            a->lds, WHOLE);
}

static int64_t seen_by(const attn *a, const head *w, int64_t r)
{
    return min64(max64(visible(a->j, w->i + r) - w->k0, 0), w->n);
}

/* ---- forward --------------------------------------------------------------------------------- */

static void scale_row(const attn *a, double by, char *y)
{
    a->k->unary[TLVI_UN_AFFINE]((size_t)a->j->dv, y, y, by, 0);
}

static double number(const attn *a, const void *p, int64_t i)
{
    return a->size == 8 ? ((const double *)p)[i] : (double)((const float *)p)[i];
}

static void set_number(const attn *a, void *p, int64_t i, double v)
{
    if (a->size == 8) ((double *)p)[i] = v;
    else ((float *)p)[i] = (float)v;
}

/* Adds the block's keys to y, which is not divided by the sum of probabilities yet. */
static void forward_block(const attn *a, const head *w, const char *q, char *y)
{
    const tlvi_attn_job *j = a->j;
    scores(a, w, q, at(a, w->r.kt, w->k0 * j->d));
    for (int64_t r = 0; r < w->rows; r++) {
        double before = a->k->attn_softmax(
            (size_t)w->n, (size_t)seen_by(a, w, r), at(a, w->r.s, r * a->lds), j->scale,
            bias_row(a, w, w->i + r), (int)j->bias_stride[3],
            j->mask ? at(a, w->r.mask, w->k0) : NULL, stat_row(a, w, w->i + r));
        if (w->k0 > 0 && before != 1 && before != 0) scale_row(a, before, at(a, y, r * a->y.t));
    }
    product(a, w->rows, j->dv, w->n, (left){ w->r.s, a->lds, 1 },
            (right){ at(a, w->r.v, w->k0 * round_up(j->dv, a->k->nr)), depth_at(a, w->k0) }, y,
            a->y.t, w->k0 > 0 ? ADD : 0);
}

static void forward_rows(const attn *a, head *w)
{
    const tlvi_attn_job *j = a->j;
    const char *q = dense_rows(a, w, &j->q, j->d, w->r.q);
    char *y = array_at(a, &a->y, w->b, w->h, w->i);
    for (int64_t r = 0; r < w->rows; r++) {
        set_number(a, stat_row(a, w, w->i + r), 0, -INFINITY);
        set_number(a, stat_row(a, w, w->i + r), 1, 0);
    }
    for (int64_t k0 = 0; k0 == 0 || (k0 < j->tk && set_keys(a, w, k0) > 0); k0 += a->keys) {
        set_keys(a, w, k0);
        forward_block(a, w, q, y);
    }
    for (int64_t r = 0; r < w->rows; r++) {
        char *stat = stat_row(a, w, w->i + r);
        double sum = number(a, stat, 1), inv = sum == 0 ? 0 : 1 / sum;
        if (sum == 0) set_number(a, stat, 0, 0);    // nothing visible
        set_number(a, stat, 1, inv);
        scale_row(a, inv, at(a, y, r * a->y.t));
    }
}

static void forward_task(void *arg, int64_t task, int worker)
{
    const attn *a = arg;
    const tlvi_attn_job *j = a->j;
    int64_t item = task / a->n_chunks, from = task % a->n_chunks * a->chunk,
            to = min64(from + a->chunk, j->tq), nr = a->k->nr;
    head w = { .b = item / j->h, .h = item % j->h, .r = room_of(a, worker, 0) };
    const char *v = array_at(a, &j->v, w.b, w.h, 0);
    pack(a, j->d, j->tk, array_at(a, &j->k, w.b, w.h, 0), 1, j->k.t, w.r.kt);
    for (int64_t k0 = 0; k0 < j->tk; k0 += a->keys)
        pack(a, depth_at(a, k0), j->dv, at(a, v, k0 * j->v.t), j->v.t, 1,
             at(a, w.r.v, k0 * round_up(j->dv, nr)));
    if (j->mask) a->k->from_u8((size_t)j->tk, j->mask + w.b * j->tk, w.r.mask);
    for (w.i = from; w.i < to; w.i += a->rows) {
        w.rows = min64(a->rows, to - w.i);
        forward_rows(a, &w);
    }
}

/* Nanoseconds of a head at some 16 multiply-adds each. */
static int64_t head_cost(const tlvi_attn_job *j, int products)
{
    return j->tq * j->tk * (j->d + j->dv) * products / 32 + 100;
}

tlv_status tlvi_attn_forward(tlv_ctx *c, const tlvi_attn_job *j, tlvi_attn_array y)
{
    attn a;
    int64_t heads = j->b * j->h;
    if (heads * j->tq == 0 || !begin(c, &a, j, 0)) return c->err;
    a.y = y;
    // few heads: rows are shared out too, as long as packing K and V again costs little
    int64_t blocks = ceil_div(j->tq, a.rows), want = ceil_div(8 * c->n_threads, heads);
    a.chunk = max64(ceil_div(blocks, want), min64(blocks, 4)) * a.rows;
    if (c->n_threads == 1) a.chunk = blocks * a.rows;
    a.n_chunks = ceil_div(j->tq, a.chunk);
    tlvi_parallel_for(c, heads * a.n_chunks, head_cost(j, 2) / a.n_chunks, forward_task, &a);
    return end(c, &a);
}

/* ---- backward -------------------------------------------------------------------------------- */

/* Packs what the block of keys from k0 on needs. */
static void pack_keys(const attn *a, const head *w, int64_t k0, int with_kp, int with_vt)
{
    const tlvi_attn_job *j = a->j;
    int64_t n = depth_at(a, k0);
    const void *k = array_at(a, &j->k, w->b, w->h, k0), *v = array_at(a, &j->v, w->b, w->h, k0);
    pack(a, j->d, n, k, 1, j->k.t, w->r.kt);
    if (with_vt) pack(a, j->dv, n, v, 1, j->v.t, w->r.vt);
    if (with_kp) pack(a, n, j->d, k, j->k.t, 1, w->r.kp);
}

/* What a head needs once: the mask as numbers, delta = sum g y for rows from .. to-1. */
static void head_begin(const attn *a, const head *w, int64_t from, int64_t to, int with_delta)
{
    const tlvi_attn_job *j = a->j;
    if (j->mask) a->k->from_u8((size_t)j->tk, j->mask + w->b * j->tk, w->r.mask);
    for (int64_t i = from; i < to && with_delta; i++)
        set_number(a, w->r.delta, i,
                   a->k->dot((size_t)j->dv, array_at(a, &a->g, w->b, w->h, i),
                             array_at(a, &a->y, w->b, w->h, i)));
}

/* Probabilities of the block in w->r.s. */
static void probabilities(const attn *a, const head *w, const char *q)
{
    const tlvi_attn_job *j = a->j;
    scores(a, w, q, w->r.kt);
    for (int64_t r = 0; r < w->rows; r++)
        a->k->attn_probs((size_t)w->n, (size_t)seen_by(a, w, r), at(a, w->r.s, r * a->lds),
                         j->scale, bias_row(a, w, w->i + r), (int)j->bias_stride[3],
                         j->mask ? at(a, w->r.mask, w->k0) : NULL, stat_row(a, w, w->i + r));
}

/* Their gradient times `scale` in w->r.dp. */
static void score_gradients(const attn *a, const head *w, const char *g, double scale)
{
    const tlvi_attn_job *j = a->j;
    product(a, w->rows, w->n, j->dv, (left){ g, j->dv, 1 }, (right){ w->r.vt, j->dv }, w->r.dp,
            a->lds, WHOLE);
    for (int64_t r = 0; r < w->rows; r++)
        a->k->attn_grad((size_t)w->n, at(a, w->r.s, r * a->lds), at(a, w->r.dp, r * a->lds),
                        number(a, w->r.delta, w->i + r), scale);
}

static void clear(const attn *a, const head *w, const tlvi_attn_array *x, int64_t rows, int64_t n)
{
    for (int64_t t = 0; t < rows && x->ptr; t++)
        a->k->fill((size_t)n, 0, array_at(a, x, w->b, w->h, t));
}

/* dv += p^T g,  ds = p (g v^T - delta) scale,  dk += ds^T q,  dq += ds k */
static void backward_block(const attn *a, const head *w)
{
    const tlvi_attn_job *j = a->j;
    const char *q = dense_rows(a, w, &j->q, j->d, w->r.q),
               *g = dense_rows(a, w, &a->g, j->dv, w->r.g);
    int later_row = w->i > 0 || j->causal ? ADD : 0, later_key = w->k0 > 0 || j->causal ? ADD : 0;
    left pt = { w->r.s, 1, a->lds }, dst = { w->r.dp, 1, a->lds }, ds = { w->r.dp, a->lds, 1 };
    probabilities(a, w, q);
    if (a->dv.ptr) {
        pack(a, w->rows, j->dv, g, j->dv, 1, w->r.gp);
        product(a, w->n, j->dv, w->rows, pt, (right){ w->r.gp, w->rows },
                array_at(a, &a->dv, w->b, w->h, w->k0), a->dv.t, later_row);
    }
    if (!a->dq.ptr && !a->dk.ptr) return;
    score_gradients(a, w, g, j->scale);
    if (a->dk.ptr) {
        pack(a, w->rows, j->d, q, j->d, 1, w->r.qp);
        product(a, w->n, j->d, w->rows, dst, (right){ w->r.qp, w->rows },
                array_at(a, &a->dk, w->b, w->h, w->k0), a->dk.t, later_row);
    }
    if (a->dq.ptr)
        product(a, w->rows, j->d, w->n, ds, (right){ w->r.kp, depth_at(a, w->k0) },
                array_at(a, &a->dq, w->b, w->h, w->i), a->dq.t, later_key);
}

static void backward_head(void *arg, int64_t task, int worker)
{
    const attn *a = arg;
    const tlvi_attn_job *j = a->j;
    head w = { .b = task / j->h, .h = task % j->h, .r = room_of(a, worker, 1) };
    int with_ds = a->dq.ptr || a->dk.ptr;
    head_begin(a, &w, 0, j->tq, with_ds);
    if (j->causal || j->tq == 0 || j->tk == 0) {    // not every block is met, so all add
        clear(a, &w, &a->dq, j->tq, j->d);
        clear(a, &w, &a->dk, j->tk, j->d);
        clear(a, &w, &a->dv, j->tk, j->dv);
    }
    for (int64_t k0 = 0; k0 < j->tk; k0 += a->keys) {
        pack_keys(a, &w, k0, a->dq.ptr != NULL, with_ds);
        for (w.i = 0; w.i < j->tq; w.i += a->rows) {
            w.rows = min64(a->rows, j->tq - w.i);
            if (set_keys(a, &w, k0) > 0) backward_block(a, &w);
        }
    }
}

tlv_status tlvi_attn_backward(tlv_ctx *c, const tlvi_attn_job *j, tlvi_attn_array y,
                              tlvi_attn_array g, tlvi_attn_array dq, tlvi_attn_array dk,
                              tlvi_attn_array dv)
{
    attn a;
    if (j->b * j->h == 0 || !begin(c, &a, j, 1)) return c->err;
    a.y = y;
    a.g = g;
    a.dq = dq;
    a.dk = dk;
    a.dv = dv;
    tlvi_parallel_for(c, j->b * j->h, head_cost(j, 5), backward_head, &a);
    return end(c, &a);
}

/* ---- the gradient of the bias ----------------------------------------------------------------- *
 * A task owns one [rows of tq, tk] part of dbias, or all rows where the bias has but one, and goes
 * through the batch entries and heads that share it in index order. */

/* out += the block's gradients of scores, summed as the bias is stretched */
static void add_scores(const attn *a, const head *w, char *out)
{
    for (int64_t r = 0; r < w->rows; r++) {
        const char *ds = at(a, w->r.dp, r * a->lds);
        int64_t to = a->dim[2] == 1 ? 0 : (w->i + r) * a->dim[3];
        if (a->dim[3] == a->j->tk)
            a->k->axpy((size_t)w->n, 1, ds, at(a, out, to + w->k0));
        else
            set_number(a, out, to, number(a, out, to) + a->k->row_sum((size_t)w->n, ds));
    }
}

static void bias_head(const attn *a, head *w, int64_t from, int64_t to, char *out)
{
    const tlvi_attn_job *j = a->j;
    head_begin(a, w, from, to, 1);
    for (int64_t k0 = 0; k0 < j->tk; k0 += a->keys) {
        pack_keys(a, w, k0, 0, 1);
        for (w->i = from; w->i < to; w->i += a->rows) {
            w->rows = min64(a->rows, to - w->i);
            if (set_keys(a, w, k0) == 0) continue;
            probabilities(a, w, dense_rows(a, w, &j->q, j->d, w->r.q));
            score_gradients(a, w, dense_rows(a, w, &a->g, j->dv, w->r.g), 1);
            add_scores(a, w, out);
        }
    }
}

static void bias_task(void *arg, int64_t task, int worker)
{
    const attn *a = arg;
    const tlvi_attn_job *j = a->j;
    const int64_t *dim = a->dim;
    int64_t slab = task / a->row_tasks, block = task % a->row_tasks;
    int64_t b0 = slab / dim[1], h0 = slab % dim[1];
    int64_t from = dim[2] == 1 ? 0 : block * a->rows,
            to = dim[2] == 1 ? j->tq : min64(from + a->rows, j->tq);
    int64_t b1 = dim[0] == 1 ? j->b : b0 + 1, h1 = dim[1] == 1 ? j->h : h0 + 1;
    char *out = at(a, a->dbias, slab * dim[2] * dim[3]);
    head w = { .r = room_of(a, worker, 1) };
    for (w.b = b0; w.b < b1; w.b++)
        for (w.h = h0; w.h < h1; w.h++) {
            if (dim[2] != 1) {
                bias_head(a, &w, from, to, out);
                continue;
            }
            a->k->fill((size_t)dim[3], 0, w.r.row);     // a head's sum first: fewer terms a sum
            bias_head(a, &w, from, to, w.r.row);
            a->k->axpy((size_t)dim[3], 1, w.r.row, out);
        }
}

tlv_status tlvi_attn_dbias(tlv_ctx *c, const tlvi_attn_job *j, tlvi_attn_array y,
                           tlvi_attn_array g, const int64_t *dim, void *dbias)
{
    attn a;
    memset(dbias, 0, (size_t)(dim[0] * dim[1] * dim[2] * dim[3]) * (j->dtype == TLV_F64 ? 8 : 4));
    if (j->b * j->h * j->tq * j->tk == 0 || !begin(c, &a, j, 1)) return c->err;
    a.y = y;
    a.g = g;
    a.dim = dim;
    a.dbias = dbias;
    a.row_tasks = dim[2] == 1 ? 1 : (j->tq + a.rows - 1) / a.rows;
    int64_t tasks = dim[0] * dim[1] * a.row_tasks;
    tlvi_parallel_for(c, tasks, head_cost(j, 2) * j->b * j->h / tasks, bias_task, &a);
    return end(c, &a);
}
