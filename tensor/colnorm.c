/* colnorm.c -- statistics of columns in blocks of rows: each block alone, then joined in index
 * order. */
#include "tensor/colnorm.h"

enum {
    BLOCK_VALUES = 16384, /* a block's values stay in the L2 cache for the second pass */
    BLOCK_LEAST = 64,
    BLOCK_MOST = 1024,
    PARTIAL_BYTES = 8 << 20, /* of all partial results together */
    STREAM_BYTES = 8 << 20   /* results above that do not stay in the caches anyway */
};

static inline int64_t min64(int64_t a, int64_t b) { return a < b ? a : b; }
static inline int64_t max64(int64_t a, int64_t b) { return a > b ? a : b; }
static inline int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

/* ---- geometry -------------------------------------------------------------------------------- */

tlvi_cols tlvi_cols_of(const tlv_tensor *x, int each_example)
{
    tlvi_cols s = { .outer = 1, .rows = 1, .n = x->shape[1], .dtype = x->dtype };
    for (int i = 2; i < x->ndim; i++) s.rows *= x->shape[i];
    if (each_example) s.outer = x->shape[0];
    else s.rows *= x->shape[0];
    int64_t n = max64(s.n, 1), partial = 2 * (int64_t)tlv_dtype_size((tlv_dtype)x->dtype) * n;
    s.per = min64(max64(BLOCK_VALUES / n, BLOCK_LEAST), BLOCK_MOST);
    s.per = max64(s.per, ceil_div(max64(s.outer, 1) * s.rows * partial, PARTIAL_BYTES));
    s.blocks = ceil_div(s.rows, s.per);
    return s;
}

static void cols_strides(tlv_tensor *t)
{
    int64_t at = t->shape[1];
    t->stride[1] = 1;
    for (int i = t->ndim - 1; i >= 2; i--) {
        t->stride[i] = at;
        at *= t->shape[i];
    }
    t->stride[0] = at;
}

tlv_tensor *tlvi_cols_new(tlv_ctx *c, tlv_dtype d, tlv_shape s)
{
    tlv_tensor *t = tlvi_new(c, d, s);
    if (t) cols_strides(t);
    return t;
}

/* The distance of rows, or -1 if there is no single one or C is not innermost. */
static int64_t pitch_of(const tlv_tensor *t)
{
    if (t->shape[1] > 1 && t->stride[1] != 1) return -1;
    int64_t pitch = -1, want = 0;
    for (int k = t->ndim - 1; k >= 1; k--) {
        int i = k == 1 ? 0 : k;                     // the batch is outermost
        if (t->shape[i] == 1) continue;
        if (pitch < 0) want = pitch = t->stride[i];
        if (t->stride[i] != want) return -1;
        want *= t->shape[i];
    }
    if (pitch < 0) return t->shape[1];
    return pitch < t->shape[1] ? -1 : pitch;
}

ptrdiff_t tlvi_cols_pitch(const tlv_tensor *t)
{
    return (ptrdiff_t)(tlvi_numel(t) == 0 ? t->shape[1] : pitch_of(t));
}

const tlv_tensor *tlvi_cols_view(tlv_ctx *c, const tlv_tensor *t)
{
    if (!t || tlvi_numel(t) == 0 || pitch_of(t) >= 0) return t;
    tlv_tensor *y = tlvi_cols_new(c, (tlv_dtype)t->dtype, tlv_shape_of(t));
    if (y) tlvi_copy_strided(c, t, y);
    return y;
}

/* ---- jobs ------------------------------------------------------------------------------------ */

typedef struct cols_job {
    const tlvi_cols *s;
    const tlvi_kset *k;
    size_t size;
    char *part0, *part1;                // [outer, blocks, n]
    const char *x;
    ptrdiff_t ldx;
    tlvi_norm_apply apply;
    tlvi_norm_grad grad;
    char *dx, *gated;
} cols_job;

/* Nanoseconds of a block that moves `arrays` values an element. */
static int64_t block_cost(const tlvi_cols *s, int arrays) { return s->per * s->n * arrays / 8 + 1; }

static size_t row_count(const tlvi_cols *s, int64_t block)
{
    return (size_t)min64(s->per, s->rows - block * s->per);
}

/* Row `first` of array o, a coefficient of array o: both by pointer arithmetic on bytes. */
static const void *row_at(const cols_job *j, const void *p, int64_t row, ptrdiff_t ld)
{
    return p ? (const char *)p + (size_t)(row * ld) * j->size : NULL;
}

static cols_job job_of(tlv_ctx *c, const tlvi_cols *s)
{
    return (
        cols_job){ .s = s, .k = tlvi_ks(c, s->dtype), .size = tlv_dtype_size((tlv_dtype)s->dtype) };
}

static int is_large(const tlvi_cols *s, size_t size)
{
    return (size_t)(s->outer * s->rows * s->n) * size > STREAM_BYTES;
}

/* The second pass over an array begins where the first one ended: that is in the caches. */
static int64_t backwards(const tlvi_cols *s, int64_t i) { return s->outer * s->blocks - 1 - i; }

static int empty(const tlvi_cols *s) { return s->outer == 0 || s->rows == 0 || s->n == 0; }

static size_t part_bytes(const cols_job *j)
{
    return (size_t)(j->s->outer * j->s->blocks * j->s->n) * j->size;
}

static tlv_status parts_begin(tlv_ctx *c, cols_job *j)
{
    j->part0 = tlvi_alloc(c, 2 * part_bytes(j));
    if (j->part0) j->part1 = j->part0 + part_bytes(j);
    return c->err;
}

/* ---- statistics ------------------------------------------------------------------------------ */

static void stats_chunk(void *arg, int64_t i, int worker)
{
    (void)worker;
    const cols_job *j = arg;
    const tlvi_cols *s = j->s;
    int64_t o = i / s->blocks, b = i % s->blocks;
    const void *x = row_at(j, j->x, o * s->rows + b * s->per, j->ldx);
    size_t at = (size_t)(i * s->n) * j->size;
    j->k->norm_cols(row_count(s, b), (size_t)s->n, j->ldx, x, j->part0 + at, j->part1 + at);
}

tlv_status tlvi_cols_stats(tlv_ctx *c, const tlvi_cols *s, const tlv_tensor *x, double *mean,
                           double *var)
{
    if (empty(s)) {
        memset(mean, 0, (size_t)(s->outer * s->n) * sizeof *mean);
        memset(var, 0, (size_t)(s->outer * s->n) * sizeof *var);
        return c->err;
    }
    cols_job j = job_of(c, s);
    if (parts_begin(c, &j) != TLV_OK) return c->err;
    j.x = tlvi_ptr(x);
    j.ldx = tlvi_cols_pitch(x);
    tlvi_parallel_for(c, s->outer * s->blocks, block_cost(s, 2), stats_chunk, &j);
    for (int64_t o = 0; o < s->outer; o++) {
        size_t at = (size_t)(o * s->blocks * s->n) * j.size;
        j.k->norm_join((size_t)s->blocks, (size_t)s->n, (size_t)s->per, (size_t)s->rows,
                       j.part0 + at, j.part1 + at, mean + o * s->n, var + o * s->n);
    }
    tlvi_free(c, j.part0, 2 * part_bytes(&j));
    return c->err;
}

/* ---- forward --------------------------------------------------------------------------------- */

static void apply_chunk(void *arg, int64_t i, int worker)
{
    (void)worker;
    const cols_job *j = arg;
    const tlvi_cols *s = j->s;
    i = backwards(s, i);
    int64_t o = i / s->blocks, b = i % s->blocks, row = o * s->rows + b * s->per;
    tlvi_norm_apply a = j->apply;
    a.rows = row_count(s, b);
    a.x = row_at(j, a.x, row, a.ldx);
    a.residual = row_at(j, a.residual, row, a.ldr);
    a.y = (char *)a.y + (size_t)(row * a.ldy) * j->size;
    a.mean = row_at(j, a.mean, o, (ptrdiff_t)s->n);
    a.scale = row_at(j, a.scale, o, (ptrdiff_t)s->n);
    a.shift = row_at(j, a.shift, o, (ptrdiff_t)s->n);
    j->k->norm_apply(&a);
}

void tlvi_cols_apply(tlv_ctx *c, const tlvi_cols *s, tlvi_gate gate, const tlv_tensor *x,
                     const void *mean, const void *scale, const void *shift,
                     const tlv_tensor *residual, tlv_tensor *y)
{
    if (empty(s)) return;
    cols_job j = job_of(c, s);
    j.apply = (tlvi_norm_apply){ .gate = gate, .n = (size_t)s->n, .ldx = tlvi_cols_pitch(x),
                                 .ldy = tlvi_cols_pitch(y), .x = tlvi_ptr(x), .mean = mean,
                                 .scale = scale, .shift = shift, .y = tlvi_ptr(y),
                                 .stream = is_large(s, j.size) };
    if (residual) {
        j.apply.residual = tlvi_ptr(residual);
        j.apply.ldr = tlvi_cols_pitch(residual);
    }
    tlvi_parallel_for(c, s->outer * s->blocks, block_cost(s, 2), apply_chunk, &j);
}

/* ---- backward -------------------------------------------------------------------------------- */

static cols_job grad_job(tlv_ctx *c, const tlvi_cols *s, const tlvi_cols_grad *a)
{
    cols_job j = job_of(c, s);
    j.grad = (tlvi_norm_grad){ .gate = a->gate, .n = (size_t)s->n, .ldg = tlvi_cols_pitch(a->g),
                               .g = tlvi_ptr(a->g), .mean = a->mean, .rstd = a->rstd, .a = a->a,
                               .b = a->b, .c = a->c, .scale = a->scale, .shift = a->shift,
                               .stream = is_large(s, j.size) };
    if (a->x) {
        j.grad.x = tlvi_ptr(a->x);
        j.grad.ldx = tlvi_cols_pitch(a->x);
    }
    if (a->gated) j.grad.gated = tlvi_ptr(a->gated);
    if (a->gate != TLVI_GATE_NONE && a->y) {
        j.grad.y = tlvi_ptr(a->y);
        j.grad.ldy = tlvi_cols_pitch(a->y);
    }
    return j;
}

static tlvi_norm_grad grad_block(const cols_job *j, int64_t i, int64_t *row)
{
    const tlvi_cols *s = j->s;
    int64_t o = i / s->blocks, b = i % s->blocks;
    ptrdiff_t n = (ptrdiff_t)s->n;
    *row = o * s->rows + b * s->per;
    tlvi_norm_grad a = j->grad;
    a.rows = row_count(s, b);
    a.g = row_at(j, a.g, *row, a.ldg);
    a.x = row_at(j, a.x, *row, a.ldx);
    a.y = row_at(j, a.y, *row, a.ldy);
    if (a.gated) a.gated = (char *)a.gated + (size_t)(*row * n) * j->size;
    a.mean = row_at(j, a.mean, o, n);
    a.rstd = row_at(j, a.rstd, o, n);
    a.scale = row_at(j, a.scale, o, n);
    a.shift = row_at(j, a.shift, o, n);
    a.a = row_at(j, a.a, o, n);
    a.b = row_at(j, a.b, o, n);
    a.c = row_at(j, a.c, o, n);
    return a;
}

static void sums_chunk(void *arg, int64_t i, int worker)
{
    (void)worker;
    const cols_job *j = arg;
    int64_t row;
    tlvi_norm_grad a = grad_block(j, i, &row);
    size_t at = (size_t)(i * j->s->n) * j->size;
    j->k->norm_grad_sums(&a, j->part0 + at, j->part1 + at);
}

tlv_status tlvi_cols_grad_sums(tlv_ctx *c, const tlvi_cols *s, const tlvi_cols_grad *a,
                               double *sum_g, double *sum_gx)
{
    if (empty(s)) {
        memset(sum_g, 0, (size_t)(s->outer * s->n) * sizeof *sum_g);
        memset(sum_gx, 0, (size_t)(s->outer * s->n) * sizeof *sum_gx);
        return c->err;
    }
    cols_job j = grad_job(c, s, a);
    if (parts_begin(c, &j) != TLV_OK) return c->err;
    tlvi_parallel_for(c, s->outer * s->blocks, block_cost(s, 2), sums_chunk, &j);
    for (int64_t o = 0; o < s->outer; o++) {
        size_t at = (size_t)(o * s->blocks * s->n) * j.size;
        j.k->norm_join_sums((size_t)s->blocks, (size_t)s->n, j.part0 + at, sum_g + o * s->n);
        if (a->x)
            j.k->norm_join_sums((size_t)s->blocks, (size_t)s->n, j.part1 + at, sum_gx + o * s->n);
    }
    tlvi_free(c, j.part0, 2 * part_bytes(&j));
    return c->err;
}

static void grad_x_chunk(void *arg, int64_t i, int worker)
{
    (void)worker;
    const cols_job *j = arg;
    int64_t row;
    tlvi_norm_grad a = grad_block(j, backwards(j->s, i), &row);
    size_t at = (size_t)(row * j->s->n) * j->size;
    j->k->norm_grad_x(&a, j->dx ? j->dx + at : NULL, j->gated ? j->gated + at : NULL);
}

void tlvi_cols_grad_x(tlv_ctx *c, const tlvi_cols *s, const tlvi_cols_grad *a, tlv_tensor *dx,
                      tlv_tensor *gated)
{
    if (empty(s)) return;
    cols_job j = grad_job(c, s, a);
    if (dx) j.dx = tlvi_ptr(dx);
    if (gated) j.gated = tlvi_ptr(gated);
    tlvi_parallel_for(c, s->outer * s->blocks, block_cost(s, 3), grad_x_chunk, &j);
}
