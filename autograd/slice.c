/* slice.c -- cutting and joining: slice and place are each other's adjoints, cat's is slice.  All
 * of them only move values, so they take any dtype. */
#include "autograd/op.h"

enum { FEW = 16 };                      /* inputs of cat that fit on the stack */

/* Shape s in x's memory order; an image that is a view with gaps stays channels-last. */
static tlv_tensor *new_like(tlv_ctx *c, tlv_shape s, const tlv_tensor *x)
{
    int image = x->ndim == 4 && s.ndim == 4 && x->stride[1] == 1 && x->shape[1] > 1
                && !tlvi_is_dense(x);
    return image ? tlvi_new_image(c, (tlv_dtype)x->dtype,
                                  s) : tlvi_new_ordered(c, (tlv_dtype)x->dtype, s, x);
}

/* The axis in 0 .. ndim-1, or -1 with the error set. */
static int checked_axis(tlv_ctx *c, const char *op, const tlv_tensor *x, int axis)
{
    int a = tlvi_axis(axis, x->ndim);
    if (a < 0)
        tlvi_fail(c, TLV_ERR_ARG, "axes run from -ndim to ndim-1", "%s: axis %d of x %s", op, axis,
                  tlvi_shape_str(x).s);
    return a;
}

/* Places start, start + step, .. (n of them) of y's axis, as a header on the caller's stack. */
static tlv_tensor region(const tlv_tensor *y, int axis, int64_t start, int64_t n, int64_t step)
{
    tlv_tensor r = *y;
    if (n > 0) r.offset += start * r.stride[axis];
    if (n > 1) r.stride[axis] *= step;
    r.shape[axis] = n;
    return r;
}

/* ---- slice and place ------------------------------------------------------------------------- */

typedef struct slice_attr { int axis; int64_t start, stop, step; } slice_attr;

static int64_t clipped(int64_t i, int64_t n)
{
    if (i < 0) i = i < -n ? 0 : i + n;
    return i < n ? i : n;
}

tlv_tensor *tlv_slice(tlv_ctx *c, const tlv_tensor *x, int axis, int64_t start, int64_t stop,
                      int64_t step)
{
    if (!tlvi_ready1(c, "slice", x)) return NULL;
    int a = checked_axis(c, "slice", x, axis);
    if (a < 0) return NULL;
    TLVI_REQUIRE(c, step >= 1, TLV_ERR_ARG, "steps go forward; tlv_flip turns an axis round",
                 "slice: step %lld; it must be at least 1", (long long)step);
    slice_attr at = { a, clipped(start, x->shape[a]), clipped(stop, x->shape[a]), step };
    int64_t n = at.stop > at.start ? (at.stop - at.start - 1) / step + 1 : 0;
    tlv_tensor *y = tlvi_new_view(c, x);
    if (!y) return NULL;
    *y = region(y, a, at.start, n, step);
    return tlvi_record1(c, TLV_OP_SLICE, y, x, &at, sizeof at);
}
TLVI_EXEC(SLICE)
{
    const slice_attr *at = n->attr;
    return tlv_slice(c, tlvi_in(n, 0), at->axis, at->start, at->stop, at->step);
}
/* dx = g in its place among zeros */
TLVI_VJP(SLICE)
{
    const slice_attr *at = n->attr;
    d[0] = tlv_place(c, g, at->axis, tlvi_in(n, 0)->shape[at->axis], at->start, at->step, 0);
}

typedef struct place_attr { int axis; int64_t n, start, step; double value; } place_attr;

/* Shape s filled with value, in x's memory order (integers: row-major). */
static tlv_tensor *filled_like(tlv_ctx *c, tlv_shape s, const tlv_tensor *x, double value)
{
    if (value != 0 && x->dtype > TLV_F64) return tlv_full(c, (tlv_dtype)x->dtype, s, value);
    tlv_tensor *y = new_like(c, s, x);
    if (!y) return NULL;
    size_t n = (size_t)tlvi_numel(y);
    if (value == 0) memset(tlvi_ptr(y), 0, n * tlv_dtype_size((tlv_dtype)y->dtype));
    else tlvi_ks(c, y->dtype)->fill(n, value, tlvi_ptr(y));
    return y;
}

tlv_tensor *tlv_place(tlv_ctx *c, const tlv_tensor *x, int axis, int64_t n, int64_t start,
                      int64_t step, double value)
{
    if (!tlvi_ready1(c, "place", x)) return NULL;
    int a = checked_axis(c, "place", x, axis);
    if (a < 0) return NULL;
    int64_t m = x->shape[a];
    int fits = n >= 0 && step >= 1 && start >= 0 && start <= n
               && (m == 0 || (start < n && m - 1 <= (n - 1 - start) / step));
    TLVI_REQUIRE(c, fits, TLV_ERR_ARG, "start + step * (size of x - 1) must lie below n; step >= 1",
                 "place: %lld elements at %lld, steps of %lld, do not fit on an axis of %lld",
                 (long long)m, (long long)start, (long long)step, (long long)n);
    tlv_shape s = tlv_shape_of(x);
    s.dim[a] = n;
    tlv_tensor *y = filled_like(c, s, x, value);
    if (!y) return NULL;
    tlv_tensor part = region(y, a, start, m, step);
    tlvi_copy_strided(c, x, &part);
    place_attr at = { a, n, start, step, value };
    return tlvi_record1(c, TLV_OP_PLACE, y, x, &at, sizeof at);
}
TLVI_EXEC(PLACE)
{
    const place_attr *at = n->attr;
    return tlv_place(c, tlvi_in(n, 0), at->axis, at->n, at->start, at->step, at->value);
}
/* dx = g where x was placed */
TLVI_VJP(PLACE)
{
    const place_attr *at = n->attr;
    int64_t m = tlvi_in(n, 0)->shape[at->axis];
    int64_t stop = m > 0 ? at->start + (m - 1) * at->step + 1 : at->start;
    d[0] = tlv_slice(c, g, at->axis, at->start, stop, at->step);
}

tlv_tensor *tlv_pad(tlv_ctx *c, const tlv_tensor *x, int axis, int64_t before, int64_t after,
                    double value)
{
    if (!tlvi_ready1(c, "pad", x)) return NULL;
    int a = checked_axis(c, "pad", x, axis);
    if (a < 0) return NULL;
    int64_t n = x->shape[a], low = before < 0 ? before : 0, high = after < 0 ? after : 0;
    TLVI_REQUIRE(c, low >= -n && high >= -n - low, TLV_ERR_ARG, "negative numbers crop what x has",
                 "pad: %lld before and %lld after axis %d of x %s leave less than nothing",
                 (long long)before, (long long)after, a, tlvi_shape_str(x).s);
    tlv_tensor *y = tlvi_pass(x);
    if (low < 0 || high < 0) y = tlv_slice(c, y, a, -low, n + high, 1);
    if (!y || (before <= 0 && after <= 0)) return y;
    int64_t front = before > 0 ? before : 0, back = after > 0 ? after : 0;
    TLVI_REQUIRE(c, front < INT64_MAX / 4 && back < INT64_MAX / 4, TLV_ERR_ARG, "pad with less",
                 "pad: %lld before and %lld after", (long long)before, (long long)after);
    return tlv_place(c, y, a, front + y->shape[a] + back, front, 1, value);
}

/* ---- cat and stack --------------------------------------------------------------------------- */

/* The shape of the whole, or 0 with the error set. */
static int cat_shape(tlv_ctx *c, int n, const tlv_tensor *const *x, int axis, tlv_shape *s)
{
    *s = tlv_shape_of(x[0]);
    for (int i = 1; i < n; i++) {
        int fits = x[i]->ndim == x[0]->ndim;
        for (int k = 0; fits && k < x[0]->ndim; k++)
            fits = k == axis || x[i]->shape[k] == x[0]->shape[k];
        if (!fits || x[i]->dtype != x[0]->dtype) {
            tlvi_fail(c, fits ? TLV_ERR_DTYPE : TLV_ERR_SHAPE,
                      "dtypes, and all dims but the axis, must be equal",
                      "cat: input %d is %s%s but input 0 is %s%s, on axis %d", i,
                      tlv_dtype_name((tlv_dtype)x[i]->dtype), tlvi_shape_str(x[i]).s,
                      tlv_dtype_name((tlv_dtype)x[0]->dtype), tlvi_shape_str(x[0]).s, axis);
            return 0;
        }
        s->dim[axis] += x[i]->shape[axis];
    }
    return 1;
}

tlv_tensor *tlv_cat(tlv_ctx *c, int n, const tlv_tensor *const *x, int axis)
{
    TLVI_REQUIRE(c, n >= 1 && x, TLV_ERR_ARG, "pass at least one tensor", "cat: %d tensors", n);
    if (!tlvi_ready_slow(c, "cat", n, x)) return NULL;
    int a = checked_axis(c, "cat", x[0], axis);
    tlv_shape s;
    if (a < 0 || !cat_shape(c, n, x, a, &s)) return NULL;
    const tlv_tensor *lead = x[0];
    for (int i = 1; i < n; i++)
        if (tlvi_numel(x[i]) > tlvi_numel(lead)) lead = x[i];
    tlv_tensor *y = new_like(c, s, lead);
    if (!y) return NULL;
    for (int64_t i = 0, at = 0; i < n; at += x[i++]->shape[a]) {
        tlv_tensor part = region(y, a, at, x[i]->shape[a], 1);
        tlvi_copy_strided(c, x[i], &part);
    }
    tlvi_record_args r = { .op = TLV_OP_CAT, .n_in = n, .in = x, .out = { y }, .attr = &a,
                           .attr_bytes = sizeof a };
    return tlvi_record(c, &r);
}
TLVI_EXEC(CAT)
{
    const tlv_tensor *few[FEW] = { NULL }, **in = few;
    size_t bytes = (size_t)n->n_in * sizeof *in;
    if (n->n_in > FEW && !(in = tlvi_alloc(c, bytes))) return NULL;
    for (int i = 0; i < n->n_in; i++) in[i] = tlvi_in(n, i);
    tlv_tensor *y = tlv_cat(c, n->n_in, in, *(const int *)n->attr);
    if (in != few) tlvi_free(c, in, bytes);
    return y;
}
/* dx_i = its slice of g */
TLVI_VJP(CAT)
{
    int axis = *(const int *)n->attr;
    int64_t at = 0;
    for (int i = 0; i < n->n_in; i++) {
        int64_t m = tlvi_in(n, i)->shape[axis];
        if (wants(n, i)) d[i] = tlv_slice(c, g, axis, at, at + m, 1);
        at += m;
    }
}

tlv_tensor *tlv_stack(tlv_ctx *c, int n, const tlv_tensor *const *x, int axis)
{
    TLVI_REQUIRE(c, n >= 1 && x, TLV_ERR_ARG, "pass at least one tensor", "stack: %d tensors", n);
    if (!tlvi_ready_slow(c, "stack", n, x)) return NULL;
    int a = tlvi_axis(axis, x[0]->ndim + 1);
    TLVI_REQUIRE(c, a >= 0 && x[0]->ndim < TLV_MAX_DIMS, TLV_ERR_ARG,
                 "the new axis is one of y, which has one more",
                 "stack: axis %d for tensors of shape %s", axis, tlvi_shape_str(x[0]).s);
    for (int i = 1; i < n; i++)
        TLVI_REQUIRE(c, tlvi_same_shape(x[i], x[0]), TLV_ERR_SHAPE, "all shapes must be equal",
                     "stack: input %d is %s but input 0 is %s", i, tlvi_shape_str(x[i]).s,
                     tlvi_shape_str(x[0]).s);
    tlv_shape s = { .ndim = x[0]->ndim + 1 };
    for (int k = 0; k < s.ndim; k++)
        s.dim[k] = k < a ? x[0]->shape[k] : k == a ? 1 : x[0]->shape[k - 1];
    const tlv_tensor *few[FEW], **in = few;
    size_t bytes = (size_t)n * sizeof *in;
    if (n > FEW && !(in = tlvi_alloc(c, bytes))) return NULL;
    for (int i = 0; i < n; i++) in[i] = tlv_reshape(c, x[i], s);
    tlv_tensor *y = tlv_cat(c, n, in, a);
    if (in != few) tlvi_free(c, in, bytes);
    return y;
}

/* ---- flip and roll --------------------------------------------------------------------------- */

tlv_tensor *tlv_flip(tlv_ctx *c, const tlv_tensor *x, tlv_axes axes)
{
    if (!tlvi_ready1(c, "flip", x)) return NULL;
    tlv_tensor back = *x;                   // x read backwards
    uint32_t seen = 0;
    int count = axes.n < 0 ? x->ndim : axes.n;
    for (int i = 0; i < count; i++) {
        int a = tlvi_axis(axes.n < 0 ? i : axes.axis[i], x->ndim);
        TLVI_REQUIRE(c, a >= 0 && !(seen >> a & 1), TLV_ERR_ARG,
                     "axes run from -ndim to ndim-1, each at most once", "flip: axis %d of x %s",
                     axes.axis[i], tlvi_shape_str(x).s);
        seen |= 1u << a;
        if (x->shape[a] > 0) back.offset += (x->shape[a] - 1) * x->stride[a];
        back.stride[a] = -x->stride[a];
    }
    tlv_tensor *y = new_like(c, tlv_shape_of(x), x);
    if (!y) return NULL;
    tlvi_copy_strided(c, &back, y);
    return tlvi_record1(c, TLV_OP_FLIP, y, x, &axes, sizeof axes);
}
TLVI_EXEC(FLIP) { return tlv_flip(c, tlvi_in(n, 0), *(const tlv_axes *)n->attr); }
TLVI_VJP(FLIP) { d[0] = tlv_flip(c, g, *(const tlv_axes *)n->attr); }

tlv_tensor *tlv_roll(tlv_ctx *c, const tlv_tensor *x, int axis, int64_t shift)
{
    if (!tlvi_ready1(c, "roll", x)) return NULL;
    int a = checked_axis(c, "roll", x, axis);
    if (a < 0) return NULL;
    int64_t n = x->shape[a], s = n > 0 ? (shift % n + n) % n : 0;
    if (s == 0) return tlvi_pass(x);
    tlv_tensor *tail = tlv_slice(c, x, a, n - s, n, 1);
    tlv_tensor *head = tlv_slice(c, x, a, 0, n - s, 1);
    return tlv_cat(c, 2, (const tlv_tensor *[]){ tail, head }, a);
}
