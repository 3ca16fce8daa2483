/* act.c -- activations.  At a kink the derivative is the one PyTorch takes; autograd.h says which.
 *
 * Each gradient is written twice: as one kernel, and as recorded ops.  Those that can read the
 * output do, so that the input need not be kept. */
#include "autograd/op.h"

/* ---- gradients in recorded ops --------------------------------------------------------------- */

/* y = 1 / (1 + e^-z)  =>  dz = g y (1 - y) */
static tlv_tensor *sigmoid_graph(tlv_ctx *c, const tlv_tensor *g, const tlv_tensor *y)
{
    return tlv_mul(c, g, tlv_sub(c, y, tlv_square(c, y)));
}

/* y = tanh z  =>  dz = g (1 - y^2) */
static tlv_tensor *tanh_graph(tlv_ctx *c, const tlv_tensor *g, const tlv_tensor *y)
{
    return tlv_mul(c, g, tlv_affine(c, tlv_square(c, y), -1, 1));
}

/* y = z s, s = sigmoid(k z)  =>  dz = g s (1 + k z (1 - s)) */
static tlv_tensor *swish_graph(tlv_ctx *c, const tlv_tensor *g, const tlv_tensor *z, double k)
{
    tlv_tensor *kz = tlv_affine(c, z, k, 0);
    tlv_tensor *s = tlv_sigmoid(c, kz);
    tlv_tensor *slope = tlv_affine(c, tlv_mul(c, kz, tlv_affine(c, s, -1, 1)), 1, 1);
    return tlv_mul(c, tlv_mul(c, g, s), slope);
}
static tlv_tensor *silu_graph(tlv_ctx *c, const tlv_tensor *g, const tlv_tensor *z)
{
    return swish_graph(c, g, z, 1);
}
static tlv_tensor *quick_gelu_graph(tlv_ctx *c, const tlv_tensor *g, const tlv_tensor *z)
{
    return swish_graph(c, g, z, 1.702);
}

/* y = z (z + 3) / 6 in between  =>  dz = g (z/3 + 1/2) there, 0 up to -3, g from 3 on */
static tlv_tensor *hard_swish_graph(tlv_ctx *c, const tlv_tensor *g, const tlv_tensor *z)
{
    tlv_dtype t = tlv_dtype_of(z);
    tlv_tensor *low = tlv_le(c, z, tlv_scalar(c, t, -3));
    tlv_tensor *high = tlv_ge(c, z, tlv_scalar(c, t, 3));
    tlv_tensor *mid = tlv_mul(c, g, tlv_affine(c, z, 1.0 / 3, 0.5));
    return tlv_where(c, high, g, tlv_where(c, low, tlv_scalar(c, t, 0), mid));
}

/* y = ln(1 + e^z), z itself above 20  =>  dz = g sigmoid(z), g above 20 */
static tlv_tensor *softplus_graph(tlv_ctx *c, const tlv_tensor *g, const tlv_tensor *z)
{
    tlv_tensor *linear = tlv_gt(c, z, tlv_scalar(c, tlv_dtype_of(z), 20));
    return tlv_where(c, linear, g, tlv_mul(c, g, tlv_sigmoid(c, z)));
}

/* y = z Phi(z)  =>  dz = g (Phi(z) + z phi(z)), the normal distribution's */
static tlv_tensor *gelu_graph(tlv_ctx *c, const tlv_tensor *g, const tlv_tensor *z)
{
    tlv_tensor *cdf = tlv_affine(c, tlv_erf(c, tlv_affine(c, z, 0.70710678118654752440, 0)), 0.5,
                                 0.5);
    tlv_tensor *e = tlv_exp(c, tlv_affine(c, tlv_square(c, z), -0.5, 0));
    tlv_tensor *pdf = tlv_affine(c, e, 0.39894228040143267794, 0);
    return tlv_mul(c, g, tlv_add(c, cdf, tlv_mul(c, z, pdf)));
}

/* y = z s, s = sigmoid(v), v = k (z + a z^3)  =>  dz = g s (1 + z (1 - s) v'), v' = k (1 + 3 a
 * z^2) */
static tlv_tensor *gelu_tanh_graph(tlv_ctx *c, const tlv_tensor *g, const tlv_tensor *z)
{
    const double k = 1.59576912160573071176, a = 0.044715;         // k = 2 sqrt(2 / pi)
    tlv_tensor *sq = tlv_square(c, z);
    tlv_tensor *s = tlv_sigmoid(c, tlv_mul(c, z, tlv_affine(c, sq, k * a, k)));
    tlv_tensor *dv = tlv_affine(c, sq, 3 * k * a, k);
    tlv_tensor *slope = tlv_mul(c, tlv_mul(c, z, tlv_affine(c, s, -1, 1)), dv);
    return tlv_mul(c, tlv_mul(c, g, s), tlv_affine(c, slope, 1, 1));
}

/* ---- the table ------------------------------------------------------------------------------- */

/* graph NULL: linear between kinks, so the step function is a constant of the gradient. */
static const struct act_row {
    const char *name;
    tlv_op op;
    tlvi_unary f;
    tlvi_binary df;
    int from_y;
    tlv_tensor *(*graph)(tlv_ctx *c, const tlv_tensor *g, const tlv_tensor *v);
} ACTS[] = {
    [TLV_ACT_RELU] = { "relu", TLV_OP_RELU, TLVI_UN_RELU, TLVI_BIN_RELU_GRAD, 1, NULL },
    [TLV_ACT_RELU6] = { "relu6", TLV_OP_RELU6, TLVI_UN_RELU6, TLVI_BIN_RELU6_GRAD, 1, NULL },
    [TLV_ACT_SILU] = { "silu", TLV_OP_SILU, TLVI_UN_SILU, TLVI_BIN_SILU_GRAD, 0, silu_graph },
    [TLV_ACT_HARD_SWISH] = { "hard_swish", TLV_OP_HARD_SWISH, TLVI_UN_HARD_SWISH,
                             TLVI_BIN_HARD_SWISH_GRAD, 0, hard_swish_graph },
    [TLV_ACT_GELU] = { "gelu", TLV_OP_GELU, TLVI_UN_GELU_ERF, TLVI_BIN_GELU_ERF_GRAD, 0,
                       gelu_graph },
    [TLV_ACT_GELU_TANH] = { "gelu_tanh", TLV_OP_GELU_TANH, TLVI_UN_GELU_TANH,
                            TLVI_BIN_GELU_TANH_GRAD, 0, gelu_tanh_graph },
    [TLV_ACT_QUICK_GELU] = { "quick_gelu", TLV_OP_QUICK_GELU, TLVI_UN_QUICK_GELU,
                             TLVI_BIN_QUICK_GELU_GRAD, 0, quick_gelu_graph },
    [TLV_ACT_SIGMOID] = { "sigmoid", TLV_OP_SIGMOID, TLVI_UN_SIGMOID, TLVI_BIN_SIGMOID_GRAD, 1,
                          sigmoid_graph },
    [TLV_ACT_TANH] = { "tanh", TLV_OP_TANH, TLVI_UN_TANH, TLVI_BIN_TANH_GRAD, 1, tanh_graph },
    [TLV_ACT_HARD_SIGMOID] = { "hard_sigmoid", TLV_OP_HARD_SIGMOID, TLVI_UN_HARD_SIGMOID,
                               TLVI_BIN_HARD_SIGMOID_GRAD, 0, NULL },
};
enum { ACT_COUNT = sizeof ACTS / sizeof ACTS[0] };

int tlvi_act_ok(tlv_ctx *c, const char *op, tlv_act act)
{
    if ((unsigned)act < ACT_COUNT) return 1;
    tlvi_fail(c, TLV_ERR_ARG, "pass one of TLV_ACT_*", "%s: there is no activation %d", op,
              (int)act);
    return 0;
}

int tlvi_act_kernel(tlv_act act, double *a, double *b)
{
    if (a) *a = 0;
    if (b) *b = 0;
    return act == TLV_ACT_NONE ? 0 : (int)ACTS[act].f;
}

tlvi_binary tlvi_act_grad_kernel(tlv_act act, double *p, double *q)
{
    if (p) *p = 0;
    if (q) *q = 0;
    return ACTS[act].df;
}

int tlvi_act_reads_output(tlv_act act) { return act == TLV_ACT_NONE || ACTS[act].from_y; }

tlv_tensor *tlvi_act_grad(tlv_ctx *c, tlv_act act, const tlv_tensor *g, const tlv_tensor *v)
{
    if (act == TLV_ACT_NONE) return tlvi_pass(g);
    const struct act_row *r = &ACTS[act];
    if (!r->graph) return tlvi_kinked_grad(c, r->name, r->df, g, v, 0, 0);
    return tlvi_recording(c) ? r->graph(c, g, v) : tlvi_binary_apply(c, r->name, r->df, g, v, 0, 0);
}

tlv_tensor *tlv_activate(tlv_ctx *c, const tlv_tensor *x, tlv_act act)
{
    if (!tlvi_act_ok(c, "activate", act) || !tlvi_ready1(c, "activate", x)) return NULL;
    if (act == TLV_ACT_NONE) return tlvi_pass(x);
    const struct act_row *r = &ACTS[act];
    return tlvi_record1(c, r->op, tlvi_unary_apply(c, r->name, r->f, x, 0, 0), x, NULL, 0);
}

/* ---- the ops: by name, and what the tape needs ----------------------------------------------- */

#define ACT_READING(ID, name, v)                                           \
    tlv_tensor *tlv_##name(tlv_ctx *c, const tlv_tensor *x)                \
    {                                                                      \
        return tlv_activate(c, x, TLV_ACT_##ID);                           \
    }                                                                      \
    TLVI_EXEC(ID) { return tlv_activate(c, tlvi_in(n, 0), TLV_ACT_##ID); } \
    TLVI_VJP(ID) { d[0] = tlvi_act_grad(c, TLV_ACT_##ID, g, v); }
#define ACT_BY_OUTPUT(ID, name) ACT_READING(ID, name, tlvi_out(n, 0))
#define ACT_BY_INPUT(ID, name) ACT_READING(ID, name, tlvi_in(n, 0))

ACT_BY_OUTPUT(RELU, relu)
ACT_BY_OUTPUT(RELU6, relu6)
ACT_BY_OUTPUT(SIGMOID, sigmoid)
ACT_BY_OUTPUT(TANH, tanh)
ACT_BY_INPUT(SILU, silu)
ACT_BY_INPUT(HARD_SWISH, hard_swish)
ACT_BY_INPUT(HARD_SIGMOID, hard_sigmoid)
ACT_BY_INPUT(GELU, gelu)
ACT_BY_INPUT(GELU_TANH, gelu_tanh)
ACT_BY_INPUT(QUICK_GELU, quick_gelu)

/* ---- two that stand alone -------------------------------------------------------------------- */

tlv_tensor *tlv_leaky_relu(tlv_ctx *c, const tlv_tensor *x, double slope)
{
    tlv_tensor *y = tlvi_unary_apply(c, "leaky_relu", TLVI_UN_LEAKY_RELU, x, slope, 0);
    return tlvi_record1(c, TLV_OP_LEAKY_RELU, y, x, &slope, sizeof slope);
}
TLVI_EXEC(LEAKY_RELU) { return tlv_leaky_relu(c, tlvi_in(n, 0), *(const double *)n->attr); }
/* dx = g where x > 0, else slope g */
TLVI_VJP(LEAKY_RELU)
{
    d[0] = tlvi_kinked_grad(c, "leaky_relu", TLVI_BIN_LEAKY_RELU_GRAD, g, tlvi_in(n, 0),
                            *(const double *)n->attr, 0);
}

tlv_tensor *tlv_softplus(tlv_ctx *c, const tlv_tensor *x)
{
    tlv_tensor *y = tlvi_unary_apply(c, "softplus", TLVI_UN_SOFTPLUS, x, 0, 0);
    return tlvi_record1(c, TLV_OP_SOFTPLUS, y, x, NULL, 0);
}
TLVI_EXEC(SOFTPLUS) { return tlv_softplus(c, tlvi_in(n, 0)); }
TLVI_VJP(SOFTPLUS)
{
    const tlv_tensor *x = tlvi_in(n, 0);
    if (tlvi_recording(c)) d[0] = softplus_graph(c, g, x);
    else d[0] = tlvi_binary_apply(c, "softplus", TLVI_BIN_SOFTPLUS_GRAD, g, x, 0, 0);
}
