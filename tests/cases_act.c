/* cases_act.c -- activations against their formulas. */
#include <math.h>

#include "tests/opcase.h"

static tlv_tensor *relu_call(tlv_ctx *c, const tlv_tensor *const *in, const op_case *k)
{
    (void)k;
    return tlv_relu(c, in[0]);
}

static void relu_ref(const op_case *k, const double *const *in, double *out)
{
    for (int64_t i = 0; i < case_numel(k->out); i++) out[i] = in[0][i] > 0 ? in[0][i] : 0;
}

int case_RELU(int i, op_case *k);
int case_RELU(int i, op_case *k)
{
    if (!case_unary(i, k, -1, 2)) return 0;
    if (case_numel(k->out) == 1) k->in[0].lo = 0.5;     // below 0 there is nothing to see
    k->in[0].n_kinks = 1;                               // at 0
    k->call = relu_call;
    k->ref = relu_ref;
    k->no_second = 1;
    return 1;
}
