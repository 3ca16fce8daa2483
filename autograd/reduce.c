/* reduce.c -- sums, products, extremes and what follows from them.  Each op reduces x to a shape
 * that broadcasts to x's; over axes it is called with these as 1.  The order of additions depends
 * on shape and memory order alone (tensor/fold.c). */
#include <math.h>

#include "autograd/op.h"
#include "tensor/fold.h"

/* ---- sum_to ---------------------------------------------------------------------------------- */

/* x reduced to shape s, unrecorded. */
static tlv_tensor *fold(tlv_ctx *c, const char *op, tlvi_fold_kind kind, const tlv_tensor *x,
                        tlv_shape s)
{
    if (!tlvi_ready1(c, op, x) || !tlvi_is_float(c, op, x)) return NULL;
    tlv_shape full = s;
    TLVI_REQUIRE(c,
                 s.ndim >= 0 && s.ndim <= x->ndim && tlvi_broadcast(&full, tlv_shape_of(x))
                     && memcmp(full.dim, x->shape, (size_t)x->ndim * sizeof *full.dim) == 0,
                 TLV_ERR_SHAPE, "dims are matched from the last one; each must be equal or 1",
                 "%s: x is %s, which %s does not broadcast to", op, tlvi_shape_str(x).s,
                 tlvi_shape_text(s).s);
    return tlvi_fold(c, kind, x, s);
}

tlv_tensor *tlv_sum_to(tlv_ctx *c, const tlv_tensor *x, tlv_shape s)
{
    return tlvi_record1(c, TLV_OP_SUM_TO, fold(c, "sum_to", TLVI_FOLD_SUM, x, s), x, NULL, 0);
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

/* ---- over axes ------------------------------------------------------------------------------- */

/* The shapes after reducing: with the axes as 1 (keep) and without them.  Returns the number of
 * elements that meet in one, or -1 with the error set. */
static int64_t reduced(tlv_ctx *c, const char *op, const tlv_tensor *x, tlv_axes axes,
                       tlv_shape *keep, tlv_shape *drop)
{
    if (!tlvi_ready1(c, op, x)) return -1;
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

/* What the caller asked for: y has the reduced axes as 1. */
static tlv_tensor *finished(tlv_ctx *c, tlv_tensor *y, tlv_shape drop, int flags)
{
    return flags & TLV_KEEPDIM ? y : tlv_reshape(c, y, drop);
}

tlv_tensor *tlv_sum(tlv_ctx *c, const tlv_tensor *x, tlv_axes axes, int flags)
{
    tlv_shape keep, drop;
    if (reduced(c, "sum", x, axes, &keep, &drop) < 0) return NULL;
    if (drop.ndim == 0 && !(flags & TLV_KEEPDIM)) return tlv_sum_to(c, x, drop);
    return finished(c, tlv_sum_to(c, x, keep), drop, flags);
}

tlv_tensor *tlv_mean(tlv_ctx *c, const tlv_tensor *x, tlv_axes axes, int flags)
{
    tlv_shape keep, drop;
    int64_t count = reduced(c, "mean", x, axes, &keep, &drop);
    if (count < 0) return NULL;
    int all = drop.ndim == 0 && !(flags & TLV_KEEPDIM);
    tlv_tensor *y = tlv_affine(c, tlv_sum_to(c, x, all ? drop : keep), 1.0 / (double)count, 0);
    return all ? y : finished(c, y, drop, flags);
}

tlv_tensor *tlv_sum_all(tlv_ctx *c, const tlv_tensor *x) { return tlv_sum(c, x, TLV_ALL_AXES, 0); }
tlv_tensor *tlv_mean_all(tlv_ctx *c, const tlv_tensor *x)
{
    return tlv_mean(c, x, TLV_ALL_AXES, 0);
}

/* sum (x - mean)^2 / (n - correction), axes as 1; keep gets that shape. */
static tlv_tensor *variance(tlv_ctx *c, const char *op, const tlv_tensor *x, tlv_axes axes,
                            int correction, tlv_shape *keep, tlv_shape *drop)
{
    int64_t count = reduced(c, op, x, axes, keep, drop);
    if (count < 0) return NULL;
    tlv_tensor *mean = tlv_affine(c, tlv_sum_to(c, x, *keep), 1.0 / (double)count, 0);
    tlv_tensor *squares = tlv_sum_to(c, tlv_square(c, tlv_sub(c, x, mean)), *keep);
    int64_t n = count > correction ? count - correction : 0;
    return tlv_affine(c, squares, 1.0 / (double)n, 0);
}

tlv_tensor *tlv_var(tlv_ctx *c, const tlv_tensor *x, tlv_axes axes, int correction, int flags)
{
    tlv_shape keep, drop;
    return finished(c, variance(c, "var", x, axes, correction, &keep, &drop), drop, flags);
}

tlv_tensor *tlv_std(tlv_ctx *c, const tlv_tensor *x, tlv_axes axes, int correction, int flags)
{
    tlv_shape keep, drop;
    tlv_tensor *v = variance(c, "std", x, axes, correction, &keep, &drop);
    if (!v) return NULL;
    const tlv_tensor *zero = tlv_scalar(c, tlv_dtype_of(v), 0),
                     *one = tlv_scalar(c, tlv_dtype_of(v), 1);
    tlv_tensor *none = tlv_eq(c, v, zero);              // there the root has no slope, std takes 0
    tlv_tensor *y = tlv_where(c, none, zero, tlv_sqrt(c, tlv_where(c, none, one, v)));
    return finished(c, y, drop, flags);
}

/* ---- extremes -------------------------------------------------------------------------------- */

/* The shapes, and TLV_ERR_SHAPE if an extreme of nothing is asked for. */
static int some_reduced(tlv_ctx *c, const char *op, const tlv_tensor *x, tlv_axes axes,
                        tlv_shape *keep, tlv_shape *drop)
{
    int64_t count = reduced(c, op, x, axes, keep, drop);
    if (count < 0) return 0;
    if (count > 0 || tlvi_shape_numel(*drop) == 0) return 1;
    tlvi_fail(c, TLV_ERR_SHAPE, "reduce over axes that have elements", "%s: of no elements of x %s",
              op, tlvi_shape_str(x).s);
    return 0;
}

static tlv_tensor *max_to(tlv_ctx *c, const tlv_tensor *x, tlv_shape s)
{
    return tlvi_record1(c, TLV_OP_MAX, fold(c, "max", TLVI_FOLD_MAX, x, s), x, NULL, 0);
}

static tlv_tensor *min_to(tlv_ctx *c, const tlv_tensor *x, tlv_shape s)
{
    return tlvi_record1(c, TLV_OP_MIN, fold(c, "min", TLVI_FOLD_MIN, x, s), x, NULL, 0);
}

/* dx = g where x = y, shared evenly; which elements these are is a constant */
static tlv_tensor *extreme_grad(tlv_ctx *c, const tlv_tensor *x, const tlv_tensor *y,
                                const tlv_tensor *g)
{
    tlv_tensor *here = tlvi_binary_apply(c, "max", TLVI_BIN_EQUAL, x, y, 0, 0);
    tlv_tensor *count = tlv_sum_to(c, here, tlv_shape_of(y));
    return tlv_mul(c, tlv_div(c, g, count), here);
}

tlv_tensor *tlv_max(tlv_ctx *c, const tlv_tensor *x, tlv_axes axes, int flags)
{
    tlv_shape keep, drop;
    if (!some_reduced(c, "max", x, axes, &keep, &drop)) return NULL;
    return finished(c, max_to(c, x, keep), drop, flags);
}
TLVI_EXEC(MAX) { return max_to(c, tlvi_in(n, 0), tlv_shape_of(tlvi_out(n, 0))); }
TLVI_VJP(MAX) { d[0] = extreme_grad(c, tlvi_in(n, 0), tlvi_out(n, 0), g); }

tlv_tensor *tlv_min(tlv_ctx *c, const tlv_tensor *x, tlv_axes axes, int flags)
{
    tlv_shape keep, drop;
    if (!some_reduced(c, "min", x, axes, &keep, &drop)) return NULL;
    return finished(c, min_to(c, x, keep), drop, flags);
}
TLVI_EXEC(MIN) { return min_to(c, tlvi_in(n, 0), tlv_shape_of(tlvi_out(n, 0))); }
TLVI_VJP(MIN) { d[0] = extreme_grad(c, tlvi_in(n, 0), tlvi_out(n, 0), g); }

/* ---- argmax ---------------------------------------------------------------------------------- */

typedef struct argmax_job {
    const tlvi_kset *k;
    const char *x;
    int32_t *y;
    int64_t n, rows, group;
    size_t size;
} argmax_job;

static void argmax_chunk(void *arg, int64_t i, int worker)
{
    (void)worker;
    const argmax_job *j = arg;
    int64_t end = (i + 1) * j->group < j->rows ? (i + 1) * j->group : j->rows;
    for (int64_t r = i * j->group; r < end; r++)
        j->y[r] = (int32_t)j->k->row_argmax((size_t)j->n, j->x + (size_t)(r * j->n) * j->size);
}

tlv_tensor *tlv_argmax(tlv_ctx *c, const tlv_tensor *x, int axis, int flags)
{
    tlv_shape keep, drop;
    if (!tlvi_ready1(c, "argmax", x) || !tlvi_is_float(c, "argmax", x)
        || !some_reduced(c, "argmax", x, TLV_AXES(axis), &keep, &drop))
        return NULL;
    int a = tlvi_axis(axis, x->ndim);
    TLVI_REQUIRE(c, x->shape[a] <= INT32_MAX, TLV_ERR_LIMIT, "indices are i32",
                 "argmax: axis %d of x %s", axis, tlvi_shape_str(x).s);
    tlv_tensor *y = tlvi_new(c, TLV_I32, flags & TLV_KEEPDIM ? keep : drop);
    tlv_tensor *rows = y ? tlvi_new_view(c, x) : NULL;
    if (!rows) return NULL;
    for (int i = a; i < x->ndim; i++) {                 // the axis comes last
        int from = i + 1 < x->ndim ? i + 1 : a;
        rows->shape[i] = x->shape[from];
        rows->stride[i] = x->stride[from];
    }
    const tlv_tensor *h = tlvi_row_major(c, rows);
    if (!h) return NULL;
    argmax_job j = { .k = tlvi_ks(c, x->dtype),
                     .x = tlvi_ptr(h),
                     .y = tlvi_ptr(y),
                     .n = x->shape[a],
                     .rows = tlvi_numel(y),
                     .size = tlv_dtype_size((tlv_dtype)x->dtype) };
    j.group = 1 + 8192 / (j.n + 1);
    if (j.rows)
        tlvi_parallel_for(c, (j.rows + j.group - 1) / j.group, j.group * j.n / 2 + 1, argmax_chunk,
                          &j);
    if (h != rows) tlvi_release(c, (tlv_tensor *)h);
    tlvi_release(c, rows);
    return y;
}

/* ---- logsumexp ------------------------------------------------------------------------------- */

/* y = m + log sum e^(x - m), m the maximum, or 0 where that is not finite */
static tlv_tensor *logsumexp_to(tlv_ctx *c, const tlv_tensor *x, tlv_shape s)
{
    tlv_scope inner = tlv_scope_begin_with(c, TLV_NO_GRAD);
    tlv_tensor *m = fold(c, "logsumexp", TLVI_FOLD_MAX, x, s);
    const tlv_tensor *zero = tlv_scalar(c, tlv_dtype_of(x), 0);
    m = tlv_where(c, tlv_eq(c, tlv_sub(c, m, m), zero), m, zero);
    tlv_tensor *sum = tlv_sum_to(c, tlv_exp(c, tlv_sub(c, x, m)), s);
    tlv_tensor *y = tlv_scope_end_keep(c, inner, tlv_add(c, m, tlv_log(c, sum)));
    return tlvi_record1(c, TLV_OP_LOGSUMEXP, y, x, NULL, 0);
}

tlv_tensor *tlv_logsumexp(tlv_ctx *c, const tlv_tensor *x, tlv_axes axes, int flags)
{
    tlv_shape keep, drop;
    if (reduced(c, "logsumexp", x, axes, &keep, &drop) < 0) return NULL;
    return finished(c, logsumexp_to(c, x, keep), drop, flags);
}
TLVI_EXEC(LOGSUMEXP) { return logsumexp_to(c, tlvi_in(n, 0), tlv_shape_of(tlvi_out(n, 0))); }
/* dx = g e^(x - y), and 0 where y = -inf: there e^(x - 0) is */
TLVI_VJP(LOGSUMEXP)
{
    const tlv_tensor *x = tlvi_in(n, 0), *y = tlvi_out(n, 0);
    tlv_dtype t = tlv_dtype_of(x);
    tlv_tensor *none = tlv_eq(c, y, tlv_scalar(c, t, -INFINITY));
    tlv_tensor *base = tlv_where(c, none, tlv_scalar(c, t, 0), y);
    d[0] = tlv_mul(c, g, tlv_exp(c, tlv_sub(c, x, base)));
}

/* ---- prod ------------------------------------------------------------------------------------ */

static tlv_tensor *prod_to(tlv_ctx *c, const tlv_tensor *x, tlv_shape s)
{
    return tlvi_record1(c, TLV_OP_PROD, fold(c, "prod", TLVI_FOLD_PROD, x, s), x, NULL, 0);
}

tlv_tensor *tlv_prod(tlv_ctx *c, const tlv_tensor *x, tlv_axes axes, int flags)
{
    tlv_shape keep, drop;
    if (reduced(c, "prod", x, axes, &keep, &drop) < 0) return NULL;
    return finished(c, prod_to(c, x, keep), drop, flags);
}
TLVI_EXEC(PROD) { return prod_to(c, tlvi_in(n, 0), tlv_shape_of(tlvi_out(n, 0))); }

/* x [m, n], g [m, 1] -> [m, n]: g times the product of all others in the row.  A tree of pairwise
 * products is built upwards; on the way down each child takes its parent's value times its
 * sibling's product.  No division: zeros need no care, to any order. */
static tlv_tensor *others(tlv_ctx *c, const tlv_tensor *x, const tlv_tensor *g)
{
    enum { LEVELS = 64 };
    const tlv_tensor *left[LEVELS], *right[LEVELS], *p = x;
    int64_t width[LEVELS];
    int top = 0;
    while (p && tlv_dim(p, 1) > 1) {
        width[top] = tlv_dim(p, 1);
        if (width[top] % 2) p = tlv_pad(c, p, 1, 0, 1, 1.0);
        int64_t n = width[top] + width[top] % 2;
        left[top] = tlv_slice(c, p, 1, 0, n, 2);
        right[top] = tlv_slice(c, p, 1, 1, n, 2);
        p = tlv_mul(c, left[top], right[top]);
        top++;
    }
    const tlv_tensor *e = g;
    for (int l = top - 1; l >= 0 && e; l--) {
        const tlv_tensor *pair[2] = { tlv_mul(c, e, right[l]), tlv_mul(c, e, left[l]) };
        e = tlv_reshape(c, tlv_stack(c, 2, pair, 2), TLV_SHAPE(tlv_dim(e, 0), 2 * tlv_dim(e, 1)));
        if (width[l] % 2) e = tlv_slice(c, e, 1, 0, width[l], 1);
    }
    return tlvi_pass(e);
}

TLVI_VJP(PROD)
{
    const tlv_tensor *x = tlvi_in(n, 0), *y = tlvi_out(n, 0);
    if (tlvi_numel(x) == 0) return;
    tlv_axes order = { .n = x->ndim }, back = order;        // kept dims first
    int at = 0;
    int64_t rows = tlvi_numel(y);
    for (int summed = 0; summed < 2; summed++)
        for (int i = 0; i < x->ndim; i++)
            if ((y->shape[i] != x->shape[i]) == summed) order.axis[at++] = i;
    for (int i = 0; i < x->ndim; i++) back.axis[order.axis[i]] = i;
    tlv_tensor *p = tlv_permute(c, x, order);
    tlv_tensor *flat = tlv_reshape(c, p, TLV_SHAPE(rows, tlvi_numel(x) / rows));
    tlv_tensor *gp = tlv_reshape(c, tlv_permute(c, g, order), TLV_SHAPE(rows, 1));
    tlv_tensor *e = tlv_reshape(c, others(c, flat, gp), tlv_shape_of(p));
    d[0] = tlv_permute(c, e, back);
}
