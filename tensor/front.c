/* front.c -- the checks in front of every op, each with its sentence. */
#include "tensor/core.h"

static int ready_one(tlv_ctx *c, const char *op, int i, const tlv_tensor *t, int shape_only)
{
    if (!t) {
        tlvi_fail(c, TLV_ERR_ARG, "pass a tensor", "%s: input %d is NULL", op, i);
    } else if (!t->ctx) {
        tlvi_fail(c, TLV_ERR_ENDED, NULL, "%s: input %d has ended with its scope", op, i);
    } else if (t->ctx != c) {
        tlvi_fail(c, TLV_ERR_CTX, NULL, "%s: input %d, %s, belongs to another context", op, i,
                  tlvi_shape_str(t).s);
    } else if (!t->buf && !shape_only) {
        tlvi_fail(c, TLV_ERR_ENDED, NULL, "%s: the data of input %d, %s, has ended with its scope",
                  op, i, tlvi_shape_str(t).s);
    } else {
        ((tlv_tensor *)t)->flags &= (uint8_t)~TLVI_T_FRESH; // its contents are fixed from here on
        return 1;
    }
    return 0;
}

int tlvi_ready_slow(tlv_ctx *c, const char *op, int n, const tlv_tensor *const *in)
{
    if (c->err != TLV_OK) return 0;
    c->in_hand[0] = NULL;
    for (int i = 0; i < n; i++)
        if (!ready_one(c, op, i, in[i], 0)) return 0;
    for (int i = 0; i < n && i < 3; i++) {
        c->in_hand[i] = in[i];
        c->in_hand[i + 1] = NULL;
    }
    return 1;
}

int tlvi_ready_shape(tlv_ctx *c, const char *op, const tlv_tensor *t)
{
    if (c->err != TLV_OK) return 0;
    c->in_hand[0] = NULL;
    return ready_one(c, op, 0, t, 1);
}

int tlvi_is_float(tlv_ctx *c, const char *op, const tlv_tensor *a)
{
    if (a->dtype <= TLV_F64) return 1;
    tlvi_fail(c, TLV_ERR_DTYPE, NULL, "%s: takes f32 or f64, got %s%s", op,
              tlv_dtype_name((tlv_dtype)a->dtype), tlvi_shape_str(a).s);
    return 0;
}

int tlvi_same_float(tlv_ctx *c, const char *op, const tlv_tensor *a, const tlv_tensor *b)
{
    if (a->dtype == b->dtype) return tlvi_is_float(c, op, a);
    tlvi_fail(c, TLV_ERR_DTYPE, NULL, "%s: got %s%s and %s%s; both must be f32 or both f64", op,
              tlv_dtype_name((tlv_dtype)a->dtype), tlvi_shape_str(a).s,
              tlv_dtype_name((tlv_dtype)b->dtype), tlvi_shape_str(b).s);
    return 0;
}

int tlvi_is_dtype(tlv_ctx *c, const char *op, const char *what, const tlv_tensor *a, tlv_dtype d)
{
    if (a->dtype == d) return 1;
    tlvi_fail(c, TLV_ERR_DTYPE, NULL, "%s: %s is %s%s; it must be %s", op, what,
              tlv_dtype_name((tlv_dtype)a->dtype), tlvi_shape_str(a).s, tlv_dtype_name(d));
    return 0;
}
