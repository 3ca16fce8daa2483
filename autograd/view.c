/* view.c -- other shapes and orders of the same values. */
#include "autograd/op.h"

/* ---- reshape --------------------------------------------------------------------------------- */

/* Strides under which x's elements, in row-major logical order, have shape s; 0 if a copy is
 * needed. */
static int view_strides(const tlv_tensor *x, tlv_shape s, int64_t *stride)
{
    int xi = 0, si = 0;
    while (si < s.ndim || xi < x->ndim) {
        int x0 = xi, s0 = si;
        int64_t nx = xi < x->ndim ? x->shape[xi++] : 1, ns = si < s.ndim ? s.dim[si++] : 1;
        while (nx != ns) { // the shortest group of dims with equal products
            if (nx < ns) nx *= x->shape[xi++];
            else ns *= s.dim[si++];
        }
        int64_t step = 0;                           // the group must be walked with one step in x
        int first = 1;
        int64_t want = 0;
        for (int i = xi - 1; i >= x0; i--) {
            if (x->shape[i] == 1) continue;
            if (first) step = x->stride[i], first = 0;
            else if (x->stride[i] != want) return 0;
            want = x->stride[i] * x->shape[i];
        }
        int64_t at = first ? 1 : step;
        for (int i = si - 1; i >= s0; i--) {
            stride[i] = at;
            at *= s.dim[i];
        }
    }
    return 1;
}

static int infer_dim(tlv_ctx *c, const tlv_tensor *x, tlv_shape *s)
{
    int64_t known = 1, n = tlvi_numel(x);
    int open = -1, bad = s->ndim < 0 || s->ndim > TLV_MAX_DIMS;
    tlv_shape asked = *s;
    for (int i = 0; i < s->ndim && !bad; i++) {
        if (s->dim[i] == -1 && open < 0) open = i;
        else if (s->dim[i] < 0 || !tlvi_mul_ok(known, s->dim[i], &known)) bad = 1;
    }
    if (!bad && open >= 0) {
        if (known == 0 || n % known) bad = 1;
        else s->dim[open] = n / known, known = n;
    }
    if (!bad && known == n) return 1;
    tlvi_fail(c, TLV_ERR_SHAPE, "the number of elements stays the same; one dim may be -1",
              "reshape: x is %s with %lld elements; %s does not fit", tlvi_shape_str(x).s,
              (long long)n, tlvi_shape_text(asked).s);
    return 0;
}

tlv_tensor *tlv_reshape(tlv_ctx *c, const tlv_tensor *x, tlv_shape s)
{
    if (!tlvi_ready1(c, "reshape", x) || !infer_dim(c, x, &s)) return NULL;
    int64_t stride[TLV_MAX_DIMS];
    const tlv_tensor *from = x;
    int empty = tlvi_numel(x) == 0;
    if (!empty && !view_strides(x, s, stride)) {
        from = tlvi_row_major(c, x);
        if (!from) return NULL;
        view_strides(from, s, stride);
    }
    tlv_tensor *y = tlvi_new_view(c, from);
    if (!y) return NULL;
    y->ndim = (uint8_t)s.ndim;
    memcpy(y->shape, s.dim, (size_t)s.ndim * sizeof *y->shape);
    if (empty) tlvi_strides_row_major(y);
    else memcpy(y->stride, stride, (size_t)s.ndim * sizeof *y->stride);
    return tlvi_record1(c, TLV_OP_RESHAPE, y, x, NULL, 0);
}
TLVI_EXEC(RESHAPE) { return tlv_reshape(c, tlvi_in(n, 0), tlv_shape_of(tlvi_out(n, 0))); }
TLVI_VJP(RESHAPE) { d[0] = tlv_reshape(c, g, tlv_shape_of(tlvi_in(n, 0))); }

/* ---- permute --------------------------------------------------------------------------------- */

tlv_tensor *tlv_permute(tlv_ctx *c, const tlv_tensor *x, tlv_axes perm)
{
    if (!tlvi_ready1(c, "permute", x)) return NULL;
    uint32_t seen = 0;
    for (int i = 0; i < perm.n; i++) {
        perm.axis[i] = tlvi_axis(perm.axis[i], x->ndim);
        if (perm.axis[i] >= 0) seen |= 1u << perm.axis[i];
    }
    TLVI_REQUIRE(c, perm.n == x->ndim && seen == (1u << x->ndim) - 1, TLV_ERR_ARG,
                 "name each axis of x once", "permute: %d axes for x %s", perm.n,
                 tlvi_shape_str(x).s);
    tlv_tensor *y = tlvi_new_view(c, x);
    if (!y) return NULL;
    for (int i = 0; i < perm.n; i++) {
        y->shape[i] = x->shape[perm.axis[i]];
        y->stride[i] = x->stride[perm.axis[i]];
    }
    return tlvi_record1(c, TLV_OP_PERMUTE, y, x, &perm, sizeof perm);
}
TLVI_EXEC(PERMUTE) { return tlv_permute(c, tlvi_in(n, 0), *(const tlv_axes *)n->attr); }
/* dx = g under the inverse permutation */
TLVI_VJP(PERMUTE)
{
    const tlv_axes *p = n->attr;
    tlv_axes inverse = { .n = p->n };
    for (int i = 0; i < p->n; i++) inverse.axis[p->axis[i]] = i;
    d[0] = tlv_permute(c, g, inverse);
}

/* ---- expand ---------------------------------------------------------------------------------- */

tlv_tensor *tlv_expand(tlv_ctx *c, const tlv_tensor *x, tlv_shape s)
{
    if (!tlvi_ready1(c, "expand", x)) return NULL;
    tlv_shape full = s;
    TLVI_REQUIRE(c, s.ndim < 0 || s.ndim > TLV_MAX_DIMS || tlvi_shape_numel(s) >= 0, TLV_ERR_SHAPE,
                 "every dim must be >= 0 and their product a number of 64 bits", "expand: to %s",
                 tlvi_shape_text(s).s);
    TLVI_REQUIRE(c,
                 s.ndim >= 0 && s.ndim <= TLV_MAX_DIMS && tlvi_broadcast(&full, tlv_shape_of(x))
                     && full.ndim == s.ndim
                     && memcmp(full.dim, s.dim, (size_t)s.ndim * sizeof *s.dim) == 0,
                 TLV_ERR_SHAPE, "dims are matched from the last one; each of x must be equal or 1",
                 "expand: x is %s, which does not broadcast to %s", tlvi_shape_str(x).s,
                 tlvi_shape_text(s).s);
    tlv_tensor *y = tlvi_new_view(c, x);
    if (!y) return NULL;
    int shift = s.ndim - x->ndim;
    y->ndim = (uint8_t)s.ndim;
    for (int i = 0; i < s.ndim; i++) {
        int stretched = i < shift || (x->shape[i - shift] == 1 && s.dim[i] != 1);
        y->stride[i] = stretched ? 0 : x->stride[i - shift];
        y->shape[i] = s.dim[i];
    }
    return tlvi_record1(c, TLV_OP_EXPAND, y, x, NULL, 0);
}
TLVI_EXEC(EXPAND) { return tlv_expand(c, tlvi_in(n, 0), tlv_shape_of(tlvi_out(n, 0))); }
/* dx = g summed over what expand added */
TLVI_VJP(EXPAND) { d[0] = tlvi_sum_to_like(c, g, tlvi_in(n, 0)); }

/* ---- memory order ---------------------------------------------------------------------------- */

tlv_tensor *tlv_to_order(tlv_ctx *c, const tlv_tensor *x, tlv_order order)
{
    if (!tlvi_ready1(c, "to_order", x)) return NULL;
    TLVI_REQUIRE(c, order == TLV_ROW_MAJOR || order == TLV_CHANNELS_LAST, TLV_ERR_ARG,
                 "TLV_ROW_MAJOR or TLV_CHANNELS_LAST", "to_order: there is no order %d",
                 (int)order);
    TLVI_REQUIRE(c, order == TLV_ROW_MAJOR || x->ndim == 4, TLV_ERR_SHAPE,
                 "channels-last is for [B,C,H,W]", "to_order: x is %s; channels-last needs 4 dims",
                 tlvi_shape_str(x).s);
    if (order == TLV_ROW_MAJOR ? tlvi_is_row_major(x) : tlvi_is_channels_last(x))
        return tlvi_pass(x);
    const tlv_tensor *y = order == TLV_ROW_MAJOR ? tlvi_row_major(c, x) : tlvi_channels_last(c, x);
    return tlvi_record1(c, TLV_OP_TO_ORDER, (tlv_tensor *)y, x, &order, sizeof order);
}
TLVI_EXEC(TO_ORDER) { return tlv_to_order(c, tlvi_in(n, 0), *(const tlv_order *)n->attr); }
/* the values do not change, so neither does the gradient; the sweep puts it into x's order */
TLVI_VJP(TO_ORDER)
{
    (void)c;
    (void)n;
    d[0] = tlvi_pass(g);
}
