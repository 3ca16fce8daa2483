/* arith.c -- add, sub, mul, div, neg, affine; and how element-wise kernels meet strided tensors. */
#include "autograd/op.h"

/* ---- applying kernels ------------------------------------------------------------------------ */

typedef struct unary_arg { tlvi_unary_fn f; double p, q; } unary_arg;
typedef struct binary_arg { tlvi_binary_fn f; double p, q; } binary_arg;

static void unary_run(const void *arg, size_t n, const void *const *in, void *out)
{
    const unary_arg *a = arg;
    a->f(n, in[0], out, a->p, a->q);
}

static void binary_run(const void *arg, size_t n, const void *const *in, void *out)
{
    const binary_arg *a = arg;
    a->f(n, in[0], in[1], out, a->p, a->q);
}

tlv_tensor *tlvi_unary_apply(tlv_ctx *c, const char *op, tlvi_unary k, const tlv_tensor *x,
                             double p, double q)
{
    if (!tlvi_ready1(c, op, x) || !tlvi_is_float(c, op, x)) return NULL;
    tlv_tensor *y = tlvi_new_like(c, (tlv_dtype)x->dtype, x);
    if (!y) return NULL;
    unary_arg arg = { tlvi_ks(c, x->dtype)->unary[k], p, q };
    tlvi_map(c, unary_run, &arg, 1, &x, y);
    return y;
}

/* Small, dense, same shape and order: straight to the kernel.  Returns NULL if it is not that
 * case. */
static tlv_tensor *binary_small(tlv_ctx *c, tlvi_binary k, const tlv_tensor *a, const tlv_tensor *b,
                                double p, double q)
{
    if (a->ndim != b->ndim || a->dtype != b->dtype || a->dtype > TLV_F64) return NULL;
    for (int i = 0; i < a->ndim; i++)
        if (a->shape[i] != b->shape[i] || a->stride[i] != b->stride[i]) return NULL;
    int64_t n = tlvi_numel(a);
    if (n > 4096 || !tlvi_is_row_major(a)) return NULL;
    tlv_tensor *y = tlvi_new_like(c, (tlv_dtype)a->dtype, a);
    if (y) tlvi_ks(c, a->dtype)->binary[k]((size_t)n, tlvi_ptr(a), tlvi_ptr(b), tlvi_ptr(y), p, q);
    return y;
}

tlv_tensor *tlvi_new_broadcast(tlv_ctx *c, const char *op, tlv_dtype d, const tlv_tensor *a,
                               const tlv_tensor *b)
{
    tlv_shape s = tlv_shape_of(a);
    TLVI_REQUIRE(c, tlvi_broadcast(&s, tlv_shape_of(b)), TLV_ERR_SHAPE,
                 "dims are matched from the last one; they must be equal or 1",
                 "%s: a is %s but b is %s; they do not broadcast", op, tlvi_shape_str(a).s,
                 tlvi_shape_str(b).s);
    int a_leads = tlvi_numel(a) >= tlvi_numel(b) ? tlvi_is_dense(a) || !tlvi_is_dense(b)
                                                 : !tlvi_is_dense(b) && tlvi_is_dense(a);
    return tlvi_new_ordered(c, d, s, a_leads ? a : b);
}

tlv_tensor *tlvi_binary_apply(tlv_ctx *c, const char *op, tlvi_binary k, const tlv_tensor *a,
                              const tlv_tensor *b, double p, double q)
{
    if (!tlvi_ready2(c, op, a, b)) return NULL;
    tlv_tensor *y = binary_small(c, k, a, b, p, q);
    if (y || c->err) return y;
    if (!tlvi_same_float(c, op, a, b)) return NULL;
    y = tlvi_new_broadcast(c, op, (tlv_dtype)a->dtype, a, b);
    if (!y) return NULL;
    const tlv_tensor *in[2] = { a, b };
    binary_arg arg = { tlvi_ks(c, a->dtype)->binary[k], p, q };
    tlvi_map(c, binary_run, &arg, 2, in, y);
    return y;
}

tlv_tensor *tlvi_kinked_grad(tlv_ctx *c, const char *op, tlvi_binary k, const tlv_tensor *g,
                             const tlv_tensor *x, double p, double q)
{
    if (!tlvi_recording(c)) return tlvi_binary_apply(c, op, k, g, x, p, q);
    const tlv_tensor *one = tlv_scalar(c, (tlv_dtype)x->dtype, 1);
    return tlv_mul(c, g, tlvi_binary_apply(c, op, k, one, x, p, q));
}

/* ---- sums and products ----------------------------------------------------------------------- */

tlv_tensor *tlv_add(tlv_ctx *c, const tlv_tensor *a, const tlv_tensor *b)
{
    tlv_tensor *y = tlvi_binary_apply(c, "add", TLVI_BIN_ADD, a, b, 0, 0);
    return tlvi_record2(c, TLV_OP_ADD, y, a, b, NULL, 0);
}
TLVI_EXEC(ADD) { return tlv_add(c, tlvi_in(n, 0), tlvi_in(n, 1)); }
/* y = a + b  =>  da = g, db = g, each summed back over what broadcasting added */
TLVI_VJP(ADD)
{
    if (wants(n, 0)) d[0] = tlvi_sum_to_like(c, g, tlvi_in(n, 0));
    if (wants(n, 1)) d[1] = tlvi_sum_to_like(c, g, tlvi_in(n, 1));
}

tlv_tensor *tlv_sub(tlv_ctx *c, const tlv_tensor *a, const tlv_tensor *b)
{
    tlv_tensor *y = tlvi_binary_apply(c, "sub", TLVI_BIN_SUB, a, b, 0, 0);
    return tlvi_record2(c, TLV_OP_SUB, y, a, b, NULL, 0);
}
TLVI_EXEC(SUB) { return tlv_sub(c, tlvi_in(n, 0), tlvi_in(n, 1)); }
/* y = a - b  =>  da = g, db = -g */
TLVI_VJP(SUB)
{
    if (wants(n, 0)) d[0] = tlvi_sum_to_like(c, g, tlvi_in(n, 0));
    if (wants(n, 1)) d[1] = tlv_neg(c, tlvi_sum_to_like(c, g, tlvi_in(n, 1)));
}

tlv_tensor *tlv_mul(tlv_ctx *c, const tlv_tensor *a, const tlv_tensor *b)
{
    tlv_tensor *y = tlvi_binary_apply(c, "mul", TLVI_BIN_MUL, a, b, 0, 0);
    return tlvi_record2(c, TLV_OP_MUL, y, a, b, NULL, 0);
}
TLVI_EXEC(MUL) { return tlv_mul(c, tlvi_in(n, 0), tlvi_in(n, 1)); }
/* y = a b  =>  da = g b, db = g a */
TLVI_VJP(MUL)
{
    if (wants(n, 0)) d[0] = tlvi_sum_to_like(c, tlv_mul(c, g, tlvi_in(n, 1)), tlvi_in(n, 0));
    if (wants(n, 1)) d[1] = tlvi_sum_to_like(c, tlv_mul(c, g, tlvi_in(n, 0)), tlvi_in(n, 1));
}

tlv_tensor *tlv_div(tlv_ctx *c, const tlv_tensor *a, const tlv_tensor *b)
{
    tlv_tensor *y = tlvi_binary_apply(c, "div", TLVI_BIN_DIV, a, b, 0, 0);
    return tlvi_record2(c, TLV_OP_DIV, y, a, b, NULL, 0);
}
TLVI_EXEC(DIV) { return tlv_div(c, tlvi_in(n, 0), tlvi_in(n, 1)); }
/* y = a / b  =>  da = g / b, db = -(g / b) y */
TLVI_VJP(DIV)
{
    tlv_tensor *da = tlv_div(c, g, tlvi_in(n, 1));
    if (wants(n, 0)) d[0] = tlvi_sum_to_like(c, da, tlvi_in(n, 0));
    if (wants(n, 1)) {
        tlv_tensor *db = tlv_mul(c, da, tlvi_out(n, 0));
        d[1] = tlv_neg(c, tlvi_sum_to_like(c, db, tlvi_in(n, 1)));
    }
}

/* ---- one input ------------------------------------------------------------------------------- */

tlv_tensor *tlv_neg(tlv_ctx *c, const tlv_tensor *x)
{
    return tlvi_record1(c, TLV_OP_NEG, tlvi_unary_apply(c, "neg", TLVI_UN_NEG, x, 0, 0), x, NULL,
                        0);
}
TLVI_EXEC(NEG) { return tlv_neg(c, tlvi_in(n, 0)); }
TLVI_VJP(NEG)
{
    (void)n;
    d[0] = tlv_neg(c, g);
}

typedef struct affine_attr { double a, b; } affine_attr;

tlv_tensor *tlv_affine(tlv_ctx *c, const tlv_tensor *x, double a, double b)
{
    affine_attr at = { a, b };
    tlv_tensor *y = tlvi_unary_apply(c, "affine", TLVI_UN_AFFINE, x, a, b);
    return tlvi_record1(c, TLV_OP_AFFINE, y, x, &at, sizeof at);
}
TLVI_EXEC(AFFINE)
{
    const affine_attr *at = n->attr;
    return tlv_affine(c, tlvi_in(n, 0), at->a, at->b);
}
/* y = a x + b  =>  dx = a g */
TLVI_VJP(AFFINE)
{
    const affine_attr *at = n->attr;
    d[0] = tlv_affine(c, g, at->a, 0);
}
