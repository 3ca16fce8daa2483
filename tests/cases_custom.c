/* cases_custom.c -- an op made with tlv_custom:  y = s a b^2, with s among its attributes.  Its
 * gradient reads inputs and output, has attributes and is written in ops, so it has any order. */
#include "tests/opcase.h"

static tlv_tensor *scaled_forward(tlv_ctx *c, const tlv_custom_call *k)
{
    tlv_tensor *bb = tlv_mul(c, k->in[1], k->in[1]);
    return tlv_affine(c, tlv_mul(c, k->in[0], bb), *(const double *)k->attrs, 0);
}

/* da = g s b^2,  db = g 2 y / b: from the output where it can */
static void scaled_vjp(tlv_ctx *c, const tlv_custom_call *k, tlv_tensor **d)
{
    const tlv_tensor *b = k->in[1];
    if (k->wants[0]) {
        tlv_tensor *bb = tlv_mul(c, b, b);
        d[0] = tlv_affine(c, tlv_mul(c, k->g, bb), *(const double *)k->attrs, 0);
    }
    if (k->wants[1]) {
        tlv_tensor *slope = tlv_div(c, k->y, b);
        d[1] = tlv_affine(c, tlv_mul(c, k->g, slope), 2, 0);
    }
}

static tlv_tensor *custom_call(tlv_ctx *c, const tlv_tensor *const *in, const op_case *k)
{
    static const tlv_custom_def DEF = { "scaled", scaled_forward, scaled_vjp, sizeof(double) };
    return tlv_custom(c, &DEF, 2, in, &k->opt[0]);
}

static void custom_ref(const op_case *k, const double *const *in, double *out)
{
    for (int64_t i = 0; i < case_numel(k->out); i++)
        out[i] = k->opt[0] * in[0][i] * in[1][i] * in[1][i];
}

int case_CUSTOM(int i, op_case *k);
int case_CUSTOM(int i, op_case *k)
{
    if (!case_unary(i, k, 0.5, 2)) return 0;
    k->n_in = 2;
    k->in[1] = k->in[0];
    k->call = custom_call;
    k->ref = custom_ref;
    k->opt[0] = i % 2 ? -1.5 : 0.75;
    return 1;
}
