/* reduce.c -- sums and what follows from them.  The order of additions depends on shape and memory
 * order alone. */
#include "autograd/internal.h"

/* ---- sum_to -------------------------------------------------------------------------------------------- */

typedef struct sum_job {
    const tlvi_kset *k;
    size_t size;                        // of one element
    int64_t outer, n, inner;            // x is [outer, n, inner], y is [outer, inner]
    const char *x;
    char *y;
    int f64;
} sum_job;

static void sum_chunk(void *arg, int64_t o, int worker)
{
    (void)worker;
    const sum_job *j = arg;
    const char *x = j->x + (size_t)(o * j->n * j->inner) * j->size;
    char *y = j->y + (size_t)(o * j->inner) * j->size;
    if (j->inner == 1) {
        double s = j->k->row_sum((size_t)j->n, x);
        if (j->f64) *(double *)(void *)y = s;
        else *(float *)(void *)y = (float)s;
        return;
    }
    memset(y, 0, (size_t)j->inner * j->size);
    j->k->add_rows((size_t)j->n, (size_t)j->inner, (size_t)j->inner, x, y);
}

/* Sums dims [from, to) of a dense row-major x away (they become 1). */
static tlv_tensor *sum_dims(tlv_ctx *c, const tlv_tensor *x, int from, int to)
{
    sum_job j = { .k = tlvi_ks(c, x->dtype), .outer = 1, .n = 1, .inner = 1, .f64 = x->dtype == TLV_F64 };
    tlv_shape s = tlv_shape_of(x);
    for (int i = 0; i < x->ndim; i++) {
        if (i < from) j.outer *= x->shape[i];
        else if (i < to) j.n *= x->shape[i], s.dim[i] = 1;
        else j.inner *= x->shape[i];
    }
    tlv_tensor *y = tlvi_new(c, (tlv_dtype)x->dtype, s);
    if (!y || tlvi_numel(y) == 0) return y;
    j.size = tlv_dtype_size((tlv_dtype)x->dtype);
    j.x = tlvi_ptr(x);
    j.y = tlvi_ptr(y);
    tlvi_parallel_for(c, j.outer, j.n * j.inner / 4 + 1, sum_chunk, &j);
    return y;
}

static tlv_tensor *with_dims(tlv_ctx *c, const tlv_tensor *x, tlv_shape s)
{
    tlv_tensor *y = tlvi_new_view(c, x);
    if (!y) return NULL;
    y->ndim = (uint8_t)s.ndim;
    memcpy(y->shape, s.dim, (size_t)s.ndim * sizeof *y->shape);
    tlvi_strides_row_major(y);
    return y;
}

tlv_tensor *tlv_sum_to(tlv_ctx *c, const tlv_tensor *x, tlv_shape s)
{
    if (!tlvi_ready1(c, "sum_to", x) || !tlvi_is_float(c, "sum_to", x)) return NULL;
    tlv_shape full = s;
    TLVI_REQUIRE(c, tlvi_broadcast(&full, tlv_shape_of(x)) && full.ndim == x->ndim
                 && memcmp(full.dim, x->shape, (size_t)x->ndim * sizeof *full.dim) == 0, TLV_ERR_SHAPE,
                 "dims are matched from the last one; each must be equal or 1",
                 "sum_to: x is %s, which %s does not broadcast to", tlvi_shape_str(x).s, tlvi_shape_text(s).s);
    int shift = x->ndim - s.ndim;
    const tlv_tensor *h = tlvi_row_major(c, x);
    for (int end = x->ndim; end > 0 && h;) {        // runs of summed dims, the last one first
        int i = end - 1;
        if (!(i < shift || (s.dim[i - shift] == 1 && x->shape[i] != 1))) { end--; continue; }
        while (i > 0 && (i - 1 < shift || (s.dim[i - 1 - shift] == 1 && x->shape[i - 1] != 1))) i--;
        h = sum_dims(c, h, i, end);
        end = i;
    }
    if (!h) return NULL;
    return tlvi_record1(c, TLV_OP_SUM_TO, with_dims(c, h, s), x, NULL, 0);
}
TLVI_EXEC(SUM_TO) { return tlv_sum_to(c, tlvi_in(n, 0), tlv_shape_of(tlvi_out(n, 0))); }
/* dx = g, broadcast */
TLVI_VJP(SUM_TO) { d[0] = tlv_expand(c, g, tlv_shape_of(tlvi_in(n, 0))); }

#ifdef TLVI_MUTANTS
/* The sum forgotten: the first of what should be added. */
static tlv_tensor *first_slice(tlv_ctx *c, const tlv_tensor *g, const tlv_tensor *like)
{
    tlv_tensor *y = tlvi_new_view(c, g);
    if (!y || tlvi_numel(g) == 0) return tlv_sum_to(c, g, tlv_shape_of(like));
    int shift = g->ndim - like->ndim;
    y->ndim = like->ndim;
    for (int i = 0; i < like->ndim; i++) {
        y->shape[i] = like->shape[i];
        y->stride[i] = g->stride[i + shift];
    }
    c->mutant.fired = 1;
    return y;
}
#endif

tlv_tensor *tlvi_sum_to_like(tlv_ctx *c, const tlv_tensor *g, const tlv_tensor *like)
{
    if (!g || tlvi_same_shape(g, like)) return tlvi_pass(g);
#ifdef TLVI_MUTANTS
    if (c->mutant.in_vjp) return first_slice(c, g, like);
#endif
    return tlv_sum_to(c, g, tlv_shape_of(like));
}

/* ---- over axes ------------------------------------------------------------------------------------------ */

/* The shapes after reducing: with the axes as 1 (keep) and without them.  Returns the number of elements
 * that meet in one, or -1 with the error set. */
static int64_t reduced(tlv_ctx *c, const char *op, const tlv_tensor *x, tlv_axes axes, tlv_shape *keep,
                       tlv_shape *drop)
{
    uint32_t mask = axes.n < 0 ? (1u << x->ndim) - 1 : 0;
    for (int i = 0; i < axes.n; i++) {
        int a = tlvi_axis(axes.axis[i], x->ndim);
        if (a < 0 || mask >> a & 1) {
            tlvi_fail(c, TLV_ERR_ARG, "axes run from -ndim to ndim-1, each at most once",
                      "%s: axis %d of x %s", op, axes.axis[i], tlvi_shape_str(x).s);
            return -1;
        }
        mask |= 1u << a;
    }
    int64_t count = 1;
    *keep = tlv_shape_of(x);
    drop->ndim = 0;
    for (int i = 0; i < x->ndim; i++) {
        if (mask >> i & 1) {
            count *= x->shape[i];
            keep->dim[i] = 1;
        } else {
            drop->dim[drop->ndim++] = x->shape[i];
        }
    }
    return count;
}

tlv_tensor *tlv_sum(tlv_ctx *c, const tlv_tensor *x, tlv_axes axes, int flags)
{
    tlv_shape keep, drop;
    if (!tlvi_ready1(c, "sum", x) || reduced(c, "sum", x, axes, &keep, &drop) < 0) return NULL;
    tlv_tensor *y = tlv_sum_to(c, x, keep);
    return flags & TLV_KEEPDIM ? y : tlv_reshape(c, y, drop);
}

tlv_tensor *tlv_mean(tlv_ctx *c, const tlv_tensor *x, tlv_axes axes, int flags)
{
    tlv_shape keep, drop;
    if (!tlvi_ready1(c, "mean", x)) return NULL;
    int64_t count = reduced(c, "mean", x, axes, &keep, &drop);
    if (count < 0) return NULL;
    tlv_tensor *y = tlv_affine(c, tlv_sum_to(c, x, keep), 1.0 / (double)count, 0);
    return flags & TLV_KEEPDIM ? y : tlv_reshape(c, y, drop);
}

tlv_tensor *tlv_sum_all(tlv_ctx *c, const tlv_tensor *x) { return tlv_sum(c, x, TLV_ALL_AXES, 0); }
tlv_tensor *tlv_mean_all(tlv_ctx *c, const tlv_tensor *x) { return tlv_mean(c, x, TLV_ALL_AXES, 0); }
