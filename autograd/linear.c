/* linear.c -- the linear layer: one product with bias and activation on its way out. */
#include "autograd/op.h"
#include "tensor/gemm.h"

static int linear_fits(tlv_ctx *c, const tlv_tensor *x, const tlv_tensor *w, const tlv_tensor *bias)
{
    const tlv_tensor *in[3] = { x, w, bias };
    if (!tlvi_ready_slow(c, "linear", bias ? 3 : 2, in) || !tlvi_same_float(c, "linear", x, w))
        return 0;
    if (bias && !tlvi_same_float(c, "linear", x, bias)) return 0;
    if (x->ndim >= 1 && w->ndim == 2 && w->shape[1] == x->shape[x->ndim - 1]
        && (!bias || (bias->ndim == 1 && bias->shape[0] == w->shape[0]))) return 1;
    tlvi_fail(c, TLV_ERR_SHAPE, "x is [..,in], w [out,in], bias [out]",
              "linear: x is %s, w %s, bias %s", tlvi_shape_str(x).s, tlvi_shape_str(w).s,
              bias ? tlvi_shape_str(bias).s : "NULL");
    return 0;
}

static tlv_tensor *linear_apply(tlv_ctx *c, const tlv_tensor *x, const tlv_tensor *w,
                                const tlv_tensor *bias, tlv_act act)
{
    tlv_shape s = tlv_shape_of(x);
    s.dim[s.ndim - 1] = w->shape[0];
    tlv_tensor *y = tlvi_new(c, (tlv_dtype)x->dtype, s);
    const tlv_tensor *rows = tlvi_row_major(c, x);
    if (bias) bias = tlvi_row_major(c, bias);
    if (!y || !rows || c->err) return NULL;
    tlvi_gemm_job j = { .dtype = x->dtype,
                        .m = tlvi_numel(y) / (s.dim[s.ndim - 1] ? s.dim[s.ndim - 1] : 1),
                        .n = w->shape[0],
                        .k = w->shape[1],
                        .a = tlvi_ptr(rows),
                        .rsa = w->shape[1],
                        .csa = 1,
                        .b = tlvi_ptr(w),
                        .rsb = w->stride[1],
                        .csb = w->stride[0],
                        .c = tlvi_ptr(y),
                        .ldc = w->shape[0],
                        .bias = bias ? tlvi_ptr(bias) : NULL };
    j.act = tlvi_act_kernel(act, &j.act_a, &j.act_b);
    return tlvi_gemm(c, &j) == TLV_OK ? y : NULL;
}

/* Where a gradient is wanted the activation is an op of its own: it keeps y, and linear keeps no
 * y. */
tlv_tensor *tlv_linear(tlv_ctx *c, const tlv_tensor *x, const tlv_tensor *w, const tlv_tensor *bias,
                       tlv_act act)
{
    if (!linear_fits(c, x, w, bias) || !tlvi_act_ok(c, "linear", act)) return NULL;
    const tlv_tensor *in[3] = { x, w, bias };
    int record = tlvi_recording(c)
                 && (tlv_wants_grad(x) || tlv_wants_grad(w) || (bias && tlv_wants_grad(bias)));
    tlv_tensor *y = linear_apply(c, x, w, bias, record ? TLV_ACT_NONE : act);
    tlvi_record_args r = { .op = TLV_OP_LINEAR, .n_in = 3, .in = in, .out = { y } };
    y = tlvi_record(c, &r);
    return record ? tlv_activate(c, y, act) : y;
}

TLVI_EXEC(LINEAR)
{
    return tlv_linear(c, tlvi_in(n, 0), tlvi_in(n, 1), tlvi_in(n, 2), TLV_ACT_NONE);
}

/* t as a matrix of its rows; t itself where it is one. */
static tlv_tensor *as_matrix(tlv_ctx *c, const tlv_tensor *t)
{
    if (t->ndim == 2) return tlvi_pass(t);
    int64_t rows = 1;                               // by shape: a row may be empty
    for (int i = 0; i < t->ndim - 1; i++) rows *= t->shape[i];
    return tlv_reshape(c, t, TLV_SHAPE(rows, tlv_dim(t, -1)));
}

/* y = x w^T + bias  =>  dx = g w,  dw = g^T x,  dbias = sum g */
TLVI_VJP(LINEAR)
{
    const tlv_tensor *x = tlvi_in(n, 0), *w = tlvi_in(n, 1);
    if (wants(n, 0)) {
        tlv_tensor *g2 = g->ndim >= 2 ? tlvi_pass(g) : as_matrix(c, g);
        d[0] = tlv_matmul(c, g2, w, (tlv_matmul_opts){ 0 });
        if (x->ndim < 2) d[0] = tlv_reshape(c, d[0], tlv_shape_of(x));
    }
    if (wants(n, 1)) {
        tlv_tensor *g2 = as_matrix(c, g), *x2 = as_matrix(c, x);
        d[1] = tlv_matmul(c, g2, x2, (tlv_matmul_opts){ .ta = 1 });
    }
    if (wants(n, 2)) d[2] = tlv_sum_to(c, g, TLV_SHAPE(w->shape[0]));
}
