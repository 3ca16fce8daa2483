/* compare.c -- comparisons to bytes, and choices: where, maximum, minimum. */
#include "autograd/op.h"

/* ---- comparisons ----------------------------------------------------------------------------- */

typedef struct compare_arg { const tlvi_kset *k; int op; } compare_arg;

static void compare_run(const void *arg, size_t n, const void *const *in, void *out)
{
    const compare_arg *a = arg;
    a->k->compare(a->op, n, in[0], in[1], out);
}

static tlv_tensor *compare(tlv_ctx *c, const char *op, tlvi_compare k, const tlv_tensor *a,
                           const tlv_tensor *b)
{
    if (!tlvi_ready2(c, op, a, b) || !tlvi_same_float(c, op, a, b)) return NULL;
    tlv_tensor *y = tlvi_new_broadcast(c, op, TLV_U8, a, b);
    if (!y) return NULL;
    const tlv_tensor *in[2] = { a, b };
    compare_arg arg = { tlvi_ks(c, a->dtype), (int)k };
    tlvi_map(c, compare_run, &arg, 2, in, y);
    return y;
}

#define COMPARE(ID, name)                                                                          \
    tlv_tensor *tlv_##name(tlv_ctx *c, const tlv_tensor *a, const tlv_tensor *b)                   \
    {                                                                                              \
        return compare(c, #name, TLVI_CMP_##ID, a, b);                                             \
    }

COMPARE(EQ, eq)
COMPARE(NE, ne)
COMPARE(LT, lt)
COMPARE(LE, le)
COMPARE(GT, gt)
COMPARE(GE, ge)

/* ---- where ----------------------------------------------------------------------------------- */

static void where_run(const void *arg, size_t n, const void *const *in, void *out)
{
    const tlvi_kset *k = arg;
    k->select(n, in[0], in[1], in[2], out);
}

tlv_tensor *tlv_where(tlv_ctx *c, const tlv_tensor *mask, const tlv_tensor *a, const tlv_tensor *b)
{
    const tlv_tensor *in[3] = { mask, a, b };
    if (!tlvi_ready_slow(c, "where", 3, in) || !tlvi_is_dtype(c, "where", "mask", mask, TLV_U8)
        || !tlvi_same_float(c, "where", a, b))
        return NULL;
    tlv_shape s = tlv_shape_of(a);
    TLVI_REQUIRE(c, tlvi_broadcast(&s, tlv_shape_of(b)) && tlvi_broadcast(&s, tlv_shape_of(mask)),
                 TLV_ERR_SHAPE, "dims are matched from the last one; they must be equal or 1",
                 "where: mask is %s, a is %s, b is %s; they do not broadcast",
                 tlvi_shape_str(mask).s, tlvi_shape_str(a).s, tlvi_shape_str(b).s);
    const tlv_tensor *lead = NULL; // the largest dense one, the first of a and b on a tie
    for (int i = 0; i < 3; i++) {
        const tlv_tensor *t = in[(i + 1) % 3];
        if (tlvi_is_dense(t) && (!lead || tlvi_numel(t) > tlvi_numel(lead))) lead = t;
    }
    tlv_tensor *y = tlvi_new_ordered(c, (tlv_dtype)a->dtype, s, lead);
    if (!y) return NULL;
    tlvi_map(c, where_run, tlvi_ks(c, a->dtype), 3, in, y);
    tlvi_record_args r = { .op = TLV_OP_WHERE, .n_in = 3, .in = in, .out = { y } };
    return tlvi_record(c, &r);
}
TLVI_EXEC(WHERE) { return tlv_where(c, tlvi_in(n, 0), tlvi_in(n, 1), tlvi_in(n, 2)); }
/* da = mask ? g : 0, db = mask ? 0 : g */
TLVI_VJP(WHERE)
{
    const tlv_tensor *mask = tlvi_in(n, 0), *zero = tlv_scalar(c, tlv_dtype_of(g), 0);
    if (wants(n, 1)) d[1] = tlvi_sum_to_like(c, tlv_where(c, mask, g, zero), tlvi_in(n, 1));
    if (wants(n, 2)) d[2] = tlvi_sum_to_like(c, tlv_where(c, mask, zero, g), tlvi_in(n, 2));
}

/* ---- maximum, minimum ------------------------------------------------------------------------ */

/* g times the share of a: 1 where a is beyond b, 1/2 where they are equal, 0 where it is not;
 * constant between ties.  `a` and `b` exchange their places for the minimum. */
static tlv_tensor *share(tlv_ctx *c, const tlv_tensor *g, const tlv_tensor *a, const tlv_tensor *b,
                         const tlv_tensor *like)
{
    tlv_tensor *s = tlvi_binary_apply(c, "maximum", TLVI_BIN_SHARE, a, b, 0, 0);
    return tlvi_sum_to_like(c, tlv_mul(c, g, s), like);
}

tlv_tensor *tlv_maximum(tlv_ctx *c, const tlv_tensor *a, const tlv_tensor *b)
{
    tlv_tensor *y = tlvi_binary_apply(c, "maximum", TLVI_BIN_MAX, a, b, 0, 0);
    return tlvi_record2(c, TLV_OP_MAXIMUM, y, a, b, NULL, 0);
}
TLVI_EXEC(MAXIMUM) { return tlv_maximum(c, tlvi_in(n, 0), tlvi_in(n, 1)); }
TLVI_VJP(MAXIMUM)
{
    const tlv_tensor *a = tlvi_in(n, 0), *b = tlvi_in(n, 1);
    if (wants(n, 0)) d[0] = share(c, g, a, b, a);
    if (wants(n, 1)) d[1] = share(c, g, b, a, b);
}

tlv_tensor *tlv_minimum(tlv_ctx *c, const tlv_tensor *a, const tlv_tensor *b)
{
    tlv_tensor *y = tlvi_binary_apply(c, "minimum", TLVI_BIN_MIN, a, b, 0, 0);
    return tlvi_record2(c, TLV_OP_MINIMUM, y, a, b, NULL, 0);
}
TLVI_EXEC(MINIMUM) { return tlv_minimum(c, tlvi_in(n, 0), tlvi_in(n, 1)); }
TLVI_VJP(MINIMUM)
{
    const tlv_tensor *a = tlvi_in(n, 0), *b = tlvi_in(n, 1);
    if (wants(n, 0)) d[0] = share(c, g, b, a, a);
    if (wants(n, 1)) d[1] = share(c, g, a, b, b);
}
