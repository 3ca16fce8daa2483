/* attn.c -- attention in blocks of query rows.
 *
 * For a block of rows the scores against all visible keys stand in a scratch matrix [rows, tk];
 * products run on gemm_tile with K and V packed once a head.  Everything of one head is done by one
 * thread in row order, so no sum depends on the number of threads. */
#include "tensor/attn.h"

enum { SCORES = 32 << 10, ROWS_LEAST = 8, ROWS_MOST = 64 }; // values of a block of scores; its rows

typedef struct attn {
    const tlvi_attn_job *j;
    const tlvi_kset *k;
    int64_t size, rows;                 // of an element; of a block
    int64_t lds;                        // row pitch of a block of scores
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
    char *gp, *qp;                      // a block of g, of q in panels
    char *mask, *row;                   // of keys: 0 or 1 as numbers; a row of sums
} room;

static inline int64_t min64(int64_t a, int64_t b) { return a < b ? a : b; }
static inline int64_t max64(int64_t a, int64_t b) { return a > b ? a : b; }
static inline int64_t round_up(int64_t a, int64_t to) { return (a + to - 1) / to * to; }

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
    int64_t nr = a->k->nr, tk = round_up(j->tk, nr), d = round_up(j->d, nr),
            dv = round_up(j->dv, nr), at = 0;
    room r = { 0 };
    r.kt = take(p, &at, tk * j->d, a->size);
    r.s = take(p, &at, a->rows * a->lds, a->size);
    r.mask = take(p, &at, j->mask ? j->tk : 0, a->size);
    if (!backward) {
        r.v = take(p, &at, dv * j->tk, a->size);
    } else {
        r.vt = take(p, &at, tk * j->dv, a->size);
        r.kp = take(p, &at, d * j->tk, a->size);
        r.dp = take(p, &at, a->rows * a->lds, a->size);
        r.gp = take(p, &at, dv * a->rows, a->size);
        r.qp = take(p, &at, d * a->rows, a->size);
        r.row = take(p, &at, j->tk, a->size);
    }
    *bytes = at;
    return r;
}

static int begin(tlv_ctx *c, attn *a, const tlvi_attn_job *j, int backward)
{
    *a = (attn){ .j = j, .k = tlvi_ks(c, j->dtype), .size = j->dtype == TLV_F64 ? 8 : 4 };
    a->rows = min64(max64(SCORES / max64(j->tk, 1), ROWS_LEAST), ROWS_MOST);
    a->lds = round_up(max64(j->tk, 1), a->k->nr);
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

/* c [m,n] (+)= x [m,n_k] b, where x[i,p] = x[i*rs + p*cs] and b lies in panels of `depth` rows. */
static void product(const attn *a, int64_t m, int64_t n, int64_t n_k, const void *x, int64_t rs,
                    int64_t cs, const char *b, int64_t depth, void *c, int64_t ldc, int add)
{
    const tlvi_kset *k = a->k;
    if (n_k == 0 && !add)
        for (int64_t i = 0; i < m; i++) k->fill((size_t)n, 0, at(a, c, i * ldc));
    for (int64_t j = 0; j < n; j += k->nr) {
        int cols = (int)min64(k->nr, n - j);
        for (int64_t p = 0; p < n_k; p += k->kc) {
            int64_t kc = min64(k->kc, n_k - p);
            const char *panel = at(a, b, j * depth + p * k->nr);
            for (int64_t i = 0; i < m; i += k->mr)
                k->gemm_tile((int)min64(k->mr, m - i), cols, kc, at(a, x, i * rs + p * cs), rs, cs,
                             panel, k->nr, at(a, c, i * ldc + j), ldc, add || p > 0);
        }
    }
}

/* ---- one block of rows ----------------------------------------------------------------------- */

/* A head at work. */
typedef struct head {
    int64_t b, h;
    room r;
} head;

/* Keys that query row i may see. */
static int64_t visible(const tlvi_attn_job *j, int64_t i)
{
    return j->causal ? min64(max64(i + 1 + j->tk - j->tq, 0), j->tk) : j->tk;
}

static const void *bias_row(const attn *a, const head *w, int64_t i)
{
    const tlvi_attn_job *j = a->j;
    if (!j->bias) return NULL;
    return at(a, j->bias,
              w->b * j->bias_stride[0] + w->h * j->bias_stride[1] + i * j->bias_stride[2]);
}

static char *stat_row(const attn *a, const head *w, int64_t i)
{
    const tlvi_attn_job *j = a->j;
    return at(a, j->stat, ((w->b * j->h + w->h) * j->tq + i) * 2);
}

/* Packs what every block of the head needs. */
static void head_begin(const attn *a, const head *w, int with_v, int with_kp, int with_vt)
{
    const tlvi_attn_job *j = a->j;
    const void *k = array_at(a, &j->k, w->b, w->h, 0), *v = array_at(a, &j->v, w->b, w->h, 0);
    pack(a, j->d, j->tk, k, 1, j->k.t, w->r.kt);
    if (with_v) pack(a, j->tk, j->dv, v, j->v.t, 1, w->r.v);
    if (with_vt) pack(a, j->dv, j->tk, v, 1, j->v.t, w->r.vt);
    if (with_kp) pack(a, j->tk, j->d, k, j->k.t, 1, w->r.kp);
    if (j->mask) a->k->from_u8((size_t)j->tk, j->mask + w->b * j->tk, w->r.mask);
}

/* Probabilities of rows i .. i+rows-1 over the first n keys in w->r.s. */
static void probabilities(const attn *a, const head *w, int64_t i, int64_t rows, int64_t n,
                          int backward)
{
    const tlvi_attn_job *j = a->j;
    const void *mask = j->mask ? w->r.mask : NULL;
    int step = (int)j->bias_stride[3];
    product(a, rows, n, j->d, array_at(a, &j->q, w->b, w->h, i), j->q.t, 1, w->r.kt, j->d, w->r.s,
            a->lds, 0);
    for (int64_t r = 0; r < rows; r++) {
        int64_t seen = min64(visible(j, i + r), n);
        char *s = at(a, w->r.s, r * a->lds), *stat = stat_row(a, w, i + r);
        const void *bias = bias_row(a, w, i + r);
        if (backward) a->k->attn_probs((size_t)seen, s, j->scale, bias, step, mask, stat);
        else a->k->attn_softmax((size_t)seen, s, j->scale, bias, step, mask, stat);
        a->k->fill((size_t)(n - seen), 0, at(a, s, seen));
    }
}

/* Their gradient times `scale` in w->r.dp. */
static void score_gradients(const attn *a, const head *w, int64_t i, int64_t rows, int64_t n,
                            double scale)
{
    const tlvi_attn_job *j = a->j;
    product(a, rows, n, j->dv, array_at(a, &a->g, w->b, w->h, i), a->g.t, 1, w->r.vt, j->dv,
            w->r.dp, a->lds, 0);
    for (int64_t r = 0; r < rows; r++)
        a->k->attn_grad((size_t)n, at(a, w->r.s, r * a->lds), at(a, w->r.dp, r * a->lds), scale);
}

/* ---- forward --------------------------------------------------------------------------------- */

static void forward_head(void *arg, int64_t task, int worker)
{
    const attn *a = arg;
    const tlvi_attn_job *j = a->j;
    head w = { task / j->h, task % j->h, room_of(a, worker, 0) };
    head_begin(a, &w, 1, 0, 0);
    for (int64_t i = 0; i < j->tq; i += a->rows) {
        int64_t rows = min64(a->rows, j->tq - i), n = visible(j, i + rows - 1);
        probabilities(a, &w, i, rows, n, 0);
        product(a, rows, j->dv, n, w.r.s, a->lds, 1, w.r.v, j->tk, array_at(a, &a->y, w.b, w.h, i),
                a->y.t, 0);
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
    if (j->b * j->h * j->tq == 0 || !begin(c, &a, j, 0)) return c->err;
    a.y = y;
    tlvi_parallel_for(c, j->b * j->h, head_cost(j, 2), forward_head, &a);
    return end(c, &a);
}

/* ---- backward -------------------------------------------------------------------------------- */

static void clear(const attn *a, const head *w, const tlvi_attn_array *x, int64_t rows, int64_t n)
{
    for (int64_t t = 0; t < rows && x->ptr; t++)
        a->k->fill((size_t)n, 0, array_at(a, x, w->b, w->h, t));
}

/* dv = p^T g,  ds = p (g v^T - row sum) scale,  dk = ds^T q,  dq = ds k */
static void backward_head(void *arg, int64_t task, int worker)
{
    const attn *a = arg;
    const tlvi_attn_job *j = a->j;
    head w = { task / j->h, task % j->h, room_of(a, worker, 1) };
    int with_ds = a->dq.ptr || a->dk.ptr;
    head_begin(a, &w, 0, a->dq.ptr != NULL, with_ds);
    clear(a, &w, &a->dk, j->tk, j->d);
    clear(a, &w, &a->dv, j->tk, j->dv);
    for (int64_t i = 0; i < j->tq; i += a->rows) {
        int64_t rows = min64(a->rows, j->tq - i), n = visible(j, i + rows - 1);
        probabilities(a, &w, i, rows, n, 1);
        if (a->dv.ptr) {
            pack(a, rows, j->dv, array_at(a, &a->g, w.b, w.h, i), a->g.t, 1, w.r.gp);
            product(a, n, j->dv, rows, w.r.s, 1, a->lds, w.r.gp, rows,
                    array_at(a, &a->dv, w.b, w.h, 0), a->dv.t, 1);
        }
        if (!with_ds) continue;
        score_gradients(a, &w, i, rows, n, j->scale);
        if (a->dk.ptr) {
            pack(a, rows, j->d, array_at(a, &j->q, w.b, w.h, i), j->q.t, 1, w.r.qp);
            product(a, n, j->d, rows, w.r.dp, 1, a->lds, w.r.qp, rows,
                    array_at(a, &a->dk, w.b, w.h, 0), a->dk.t, 1);
        }
        if (a->dq.ptr)
            product(a, rows, j->d, n, w.r.dp, a->lds, 1, w.r.kp, j->tk,
                    array_at(a, &a->dq, w.b, w.h, i), a->dq.t, 0);
    }
}

tlv_status tlvi_attn_backward(tlv_ctx *c, const tlvi_attn_job *j, tlvi_attn_array g,
                              tlvi_attn_array dq, tlvi_attn_array dk, tlvi_attn_array dv)
{
    attn a;
    if (j->b * j->h == 0 || !begin(c, &a, j, 1)) return c->err;
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

/* row (+)= the sums that bias row i takes from rows 0 .. rows-1 of dp */
static void add_scores(const attn *a, const head *w, int64_t i, int64_t rows, int64_t n, char *out)
{
    for (int64_t r = 0; r < rows; r++) {
        const char *ds = at(a, w->r.dp, r * a->lds);
        char *to = at(a, out, a->dim[2] == 1 ? 0 : (i + r) * a->dim[3]);
        if (a->dim[3] == a->j->tk) {
            a->k->axpy((size_t)n, 1, ds, to);
            continue;
        }
        double s = a->k->row_sum((size_t)n, ds);
        if (a->size == 8) *(double *)(void *)to += s;
        else *(float *)(void *)to += (float)s;
    }
}

static void bias_head(const attn *a, const head *w, int64_t from, int64_t to, char *out)
{
    const tlvi_attn_job *j = a->j;
    head_begin(a, w, 0, 0, 1);
    for (int64_t i = from; i < to; i += a->rows) {
        int64_t rows = min64(a->rows, to - i), n = visible(j, i + rows - 1);
        probabilities(a, w, i, rows, n, 1);
        score_gradients(a, w, i, rows, n, 1);
        add_scores(a, w, i, rows, n, out);
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
    head w = { 0, 0, room_of(a, worker, 1) };
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

tlv_status tlvi_attn_dbias(tlv_ctx *c, const tlvi_attn_job *j, tlvi_attn_array g,
                           const int64_t *dim, void *dbias)
{
    attn a;
    memset(dbias, 0, (size_t)(dim[0] * dim[1] * dim[2] * dim[3]) * (j->dtype == TLV_F64 ? 8 : 4));
    if (j->b * j->h * j->tq * j->tk == 0 || !begin(c, &a, j, 1)) return c->err;
    a.g = g;
    a.dim = dim;
    a.dbias = dbias;
    a.row_tasks = dim[2] == 1 ? 1 : (j->tq + a.rows - 1) / a.rows;
    int64_t tasks = dim[0] * dim[1] * a.row_tasks;
    tlvi_parallel_for(c, tasks, head_cost(j, 2) * j->b * j->h / tasks, bias_task, &a);
    return end(c, &a);
}
