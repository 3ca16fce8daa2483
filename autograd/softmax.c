/* softmax.c -- softmax and log-softmax over any axis, in x's own memory order. */
#include "autograd/op.h"

enum { ELEMENTS = 8192, COLUMNS = 64 };     /* about what one chunk takes */

typedef struct softmax_job {
    const tlvi_kset *k;
    size_t size;
    int log;
    int64_t outer, n, inner;                // [outer, n, inner] in memory
    // inner 1: rows a chunk; else strips of columns an outer block
    int64_t rows, strips;
    const char *a, *b;                      // x; or y and g
    char *out;
} softmax_job;

static void softmax_block(const softmax_job *j, int64_t at, int64_t cols)
{
    size_t skip = (size_t)at * j->size, n = (size_t)j->n, w = (size_t)cols,
        stride = (size_t)j->inner;
    if (j->b) j->k->softmax_grad(n, w, stride, j->log, j->a + skip, j->b + skip, j->out + skip);
    else j->k->softmax(n, w, stride, j->log, j->a + skip, j->out + skip);
}

static void softmax_chunk(void *arg, int64_t i, int worker)
{
    (void)worker;
    const softmax_job *j = arg;
    if (j->inner == 1) {
        int64_t end = (i + 1) * j->rows < j->outer ? (i + 1) * j->rows : j->outer;
        for (int64_t r = i * j->rows; r < end; r++) softmax_block(j, r * j->n, 1);
        return;
    }
    int64_t at = i % j->strips * COLUMNS;
    int64_t cols = j->inner - at < COLUMNS ? j->inner - at : COLUMNS;
    softmax_block(j, i / j->strips * j->n * j->inner + at, cols);
}

/* a, out and b (or NULL) are dense, of one shape and order. */
static void softmax_run(tlv_ctx *c, int log, int axis, const tlv_tensor *a, const tlv_tensor *b,
                        tlv_tensor *out)
{
    int64_t count = tlvi_numel(a);
    if (count == 0) return;
    softmax_job j = { .k = tlvi_ks(c, a->dtype), .size = tlv_dtype_size((tlv_dtype)a->dtype),
                      .log = log, .n = a->shape[axis], .a = tlvi_ptr(a),
                      .b = b ? tlvi_ptr(b) : NULL, .out = tlvi_ptr(out) };
    j.inner = j.n > 1 ? a->stride[axis] : 1;
    j.outer = count / (j.n * j.inner);
    j.rows = j.n < ELEMENTS ? ELEMENTS / j.n : 1;
    j.strips = (j.inner - 1) / COLUMNS + 1;
    if (j.inner == 1)
        tlvi_parallel_for(c, (j.outer - 1) / j.rows + 1, j.rows * j.n, softmax_chunk, &j);
    else tlvi_parallel_for(c, j.outer * j.strips, j.n * COLUMNS, softmax_chunk, &j);
}

static tlv_tensor *softmax_apply(tlv_ctx *c, const char *op, int log, const tlv_tensor *x,
                                 int *axis)
{
    if (!tlvi_ready1(c, op, x) || !tlvi_is_float(c, op, x)) return NULL;
    int a = tlvi_axis(*axis, x->ndim);
    TLVI_REQUIRE(c, a >= 0, TLV_ERR_ARG, "axes run from -ndim to ndim-1", "%s: axis %d of x %s", op,
                 *axis, tlvi_shape_str(x).s);
    *axis = a;
    const tlv_tensor *h = tlvi_is_dense(x) ? x : tlvi_row_major(c, x);
    tlv_tensor *y = h ? tlvi_new_ordered(c, (tlv_dtype)x->dtype, tlv_shape_of(x), h) : NULL;
    if (y) softmax_run(c, log, a, h, NULL, y);
    return y;
}

/* g in y's memory order */
static const tlv_tensor *ordered_like(tlv_ctx *c, const tlv_tensor *g, const tlv_tensor *y)
{
    int same = 1;
    for (int i = 0; i < y->ndim; i++) same &= y->shape[i] == 1 || g->stride[i] == y->stride[i];
    if (same) return g;
    tlv_tensor *t = tlvi_new_ordered(c, (tlv_dtype)g->dtype, tlv_shape_of(g), y);
    if (t) tlvi_copy_strided(c, g, t);
    return t;
}

static tlv_tensor *softmax_grad_fused(tlv_ctx *c, int log, int axis, const tlv_tensor *y,
                                      const tlv_tensor *g)
{
    if (!tlvi_ready2(c, "softmax", y, g)) return NULL;
    const tlv_tensor *h = ordered_like(c, g, y);
    tlv_tensor *dx = h ? tlvi_new_ordered(c, (tlv_dtype)y->dtype, tlv_shape_of(y), y) : NULL;
    if (dx) softmax_run(c, log, axis, y, h, dx);
    return dx;
}

tlv_tensor *tlv_softmax(tlv_ctx *c, const tlv_tensor *x, int axis)
{
    tlv_tensor *y = softmax_apply(c, "softmax", 0, x, &axis);
    return tlvi_record1(c, TLV_OP_SOFTMAX, y, x, &axis, sizeof axis);
}
TLVI_EXEC(SOFTMAX) { return tlv_softmax(c, tlvi_in(n, 0), *(const int *)n->attr); }
/* dx = y (g - sum g y) */
TLVI_VJP(SOFTMAX)
{
    int axis = *(const int *)n->attr;
    const tlv_tensor *y = tlvi_out(n, 0);
    if (!tlvi_recording(c)) {
        d[0] = softmax_grad_fused(c, 0, axis, y, g);
        return;
    }
    tlv_tensor *sum = tlv_sum(c, tlv_mul(c, g, y), TLV_AXES(axis), TLV_KEEPDIM);
    d[0] = tlv_mul(c, y, tlv_sub(c, g, sum));
}

tlv_tensor *tlv_log_softmax(tlv_ctx *c, const tlv_tensor *x, int axis)
{
    tlv_tensor *y = softmax_apply(c, "log_softmax", 1, x, &axis);
    return tlvi_record1(c, TLV_OP_LOG_SOFTMAX, y, x, &axis, sizeof axis);
}
TLVI_EXEC(LOG_SOFTMAX) { return tlv_log_softmax(c, tlvi_in(n, 0), *(const int *)n->attr); }
/* dx = g - e^y sum g */
TLVI_VJP(LOG_SOFTMAX)
{
    int axis = *(const int *)n->attr;
    const tlv_tensor *y = tlvi_out(n, 0);
    if (!tlvi_recording(c)) {
        d[0] = softmax_grad_fused(c, 1, axis, y, g);
        return;
    }
    tlv_tensor *p = tlv_exp(c, y);
    tlv_tensor *sum = tlv_sum(c, g, TLV_AXES(axis), TLV_KEEPDIM);
    d[0] = tlv_sub(c, g, tlv_mul(c, p, sum));
}
