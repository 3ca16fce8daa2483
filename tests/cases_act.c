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

/* ---- the others ------------------------------------------------------------------------------ */

#define ACT(name, CALL, EXPR)                                                                      \
    static tlv_tensor *name##_call(tlv_ctx *c, const tlv_tensor *const *in, const op_case *k)      \
    {                                                                                              \
        (void)k;                                                                                   \
        return CALL;                                                                               \
    }                                                                                              \
    static void name##_ref(const op_case *k, const double *const *in, double *out)                 \
    {                                                                                              \
        for (int64_t i = 0; i < case_numel(k->out); i++) {                                         \
            double x = in[0][i];                                                                   \
            out[i] = EXPR;                                                                         \
        }                                                                                          \
    }

/* One element comes from [one_lo, one_hi], where the slope is not 0. */
typedef struct act_case {
    double lo, hi, one_lo, one_hi;
    double kinks[2];
    int n_kinks, no_second;
    tlv_tensor *(*call)(tlv_ctx *c, const tlv_tensor *const *in, const op_case *k);
    void (*ref)(const op_case *k, const double *const *in, double *out);
} act_case;

static int act(int i, op_case *k, const act_case *a)
{
    if (!case_unary(i, k, a->lo, a->hi)) return 0;
    if (case_numel(k->out) == 1) k->in[0].lo = a->one_lo, k->in[0].hi = a->one_hi;
    k->in[0].kinks[0] = a->kinks[0];
    k->in[0].kinks[1] = a->kinks[1];
    k->in[0].n_kinks = a->n_kinks;
    k->no_second = a->no_second;
    k->call = a->call;
    k->ref = a->ref;
    return 1;
}

#define ACT_CASE(ID, ...)                                                                          \
    int case_##ID(int i, op_case *k);                                                              \
    int case_##ID(int i, op_case *k)                                                               \
    {                                                                                              \
        static const act_case A = { __VA_ARGS__ };                                                 \
        return act(i, k, &A);                                                                      \
    }

ACT(relu6, tlv_relu6(c, in[0]), fmin(fmax(x, 0), 6))
ACT_CASE(RELU6, -3, 9, 1, 5, { 0, 6 }, 2, 1, relu6_call, relu6_ref)
ACT(sigmoid, tlv_sigmoid(c, in[0]), 1 / (1 + exp(-x)))
ACT_CASE(SIGMOID, -4, 4, 0.5, 2, { 0 }, 0, 0, sigmoid_call, sigmoid_ref)
ACT(tanh, tlv_tanh(c, in[0]), tanh(x))
ACT_CASE(TANH, -2, 2, 0.5, 1, { 0 }, 0, 0, tanh_call, tanh_ref)
ACT(silu, tlv_silu(c, in[0]), x / (1 + exp(-x)))
ACT_CASE(SILU, -4, 4, 0.5, 2, { 0 }, 0, 0, silu_call, silu_ref)
ACT(hard_swish, tlv_hard_swish(c, in[0]), x * fmin(fmax(x + 3, 0), 6) / 6)
ACT_CASE(HARD_SWISH, -5, 5, 0.5, 2, { -3, 3 }, 2, 0, hard_swish_call, hard_swish_ref)
ACT(hard_sigmoid, tlv_hard_sigmoid(c, in[0]), fmin(fmax(x + 3, 0), 6) / 6)
ACT_CASE(HARD_SIGMOID, -5, 5, -2, 2, { -3, 3 }, 2, 1, hard_sigmoid_call, hard_sigmoid_ref)
ACT(gelu, tlv_gelu(c, in[0]), x * 0.5 * erfc(-x * 0.70710678118654752440))
ACT_CASE(GELU, -3, 3, 0.5, 1, { 0 }, 0, 0, gelu_call, gelu_ref)
ACT(gelu_tanh, tlv_gelu_tanh(c, in[0]),
    0.5 * x * (1 + tanh(sqrt(2 / 3.14159265358979323846) * (x + 0.044715 * x * x * x))))
ACT_CASE(GELU_TANH, -3, 3, 0.5, 1, { 0 }, 0, 0, gelu_tanh_call, gelu_tanh_ref)
ACT(quick_gelu, tlv_quick_gelu(c, in[0]), x / (1 + exp(-1.702 * x)))
ACT_CASE(QUICK_GELU, -3, 3, 0.5, 1, { 0 }, 0, 0, quick_gelu_call, quick_gelu_ref)

ACT(leaky_relu, tlv_leaky_relu(c, in[0], k->opt[0]), x > 0 ? x : k->opt[0] * x)
int case_LEAKY_RELU(int i, op_case *k);
int case_LEAKY_RELU(int i, op_case *k)
{
    static const act_case A = { -2, 2, -2, 2, { 0 }, 1, 1, leaky_relu_call, leaky_relu_ref };
    static const double SLOPE[] = { 0.2, 0.01, -0.5 };
    if (!act(i, k, &A)) return 0;
    k->opt[0] = SLOPE[i % 3];
    return 1;
}

ACT(softplus, tlv_softplus(c, in[0]), x > 20 ? x : log1p(exp(x)))
int case_SOFTPLUS(int i, op_case *k);
int case_SOFTPLUS(int i, op_case *k)
{
    static const act_case A = { -4, 4, 0.5, 1, { 20 }, 1, 0, softplus_call, softplus_ref };
    if (!act(i, k, &A)) return 0;
    if (i == 1) k->in[0].hi = 24, k->text = "images, some beyond 20";
    return 1;
}
