/* cases_arith.c -- sums and products, element by element. */
#include "tests/opcase.h"

/* The naive loop over the output with both inputs broadcast. */
#define BINARY(ID, name, lo, hi, linear, EXPR)                                                     \
    static tlv_tensor *name##_call(tlv_ctx *c, const tlv_tensor *const *in, const op_case *k)      \
    {                                                                                              \
        (void)k;                                                                                   \
        return tlv_##name(c, in[0], in[1]);                                                        \
    }                                                                                              \
    static void name##_ref(const op_case *k, const double *const *in, double *out)                 \
    {                                                                                              \
        for (int64_t i = 0; i < case_numel(k->out); i++) {                                         \
            double a = in[0][case_broadcast(k->in[0].shape, k->out, i)];                           \
            double b = in[1][case_broadcast(k->in[1].shape, k->out, i)];                           \
            out[i] = EXPR;                                                                         \
        }                                                                                          \
    }                                                                                              \
    int case_##ID(int i, op_case *k);                                                              \
    int case_##ID(int i, op_case *k)                                                               \
    {                                                                                              \
        if (!case_binary(i, k, lo, hi)) return 0;                                                  \
        k->call = name##_call;                                                                     \
        k->ref = name##_ref;                                                                       \
        k->no_second = linear;                                                                     \
        k->seed = 1;                                                                               \
        return 1;                                                                                  \
    }

BINARY(ADD, add, -1.5, 1.5, 1, a + b)
BINARY(SUB, sub, -1.5, 1.5, 1, a - b)
BINARY(MUL, mul, -1.5, 1.5, 0, a * b)
BINARY(DIV, div, 0.5, 2, 0, a / b)

static tlv_tensor *neg_call(tlv_ctx *c, const tlv_tensor *const *in, const op_case *k)
{
    (void)k;
    return tlv_neg(c, in[0]);
}

static void neg_ref(const op_case *k, const double *const *in, double *out)
{
    for (int64_t i = 0; i < case_numel(k->out); i++) out[i] = -in[0][i];
}

int case_NEG(int i, op_case *k);
int case_NEG(int i, op_case *k)
{
    if (!case_unary(i, k, 0, 0)) return 0;
    k->call = neg_call;
    k->ref = neg_ref;
    k->no_second = 1;
    return 1;
}

static tlv_tensor *affine_call(tlv_ctx *c, const tlv_tensor *const *in, const op_case *k)
{
    return tlv_affine(c, in[0], k->opt[0], k->opt[1]);
}

static void affine_ref(const op_case *k, const double *const *in, double *out)
{
    for (int64_t i = 0; i < case_numel(k->out); i++) out[i] = k->opt[0] * in[0][i] + k->opt[1];
}

int case_AFFINE(int i, op_case *k);
int case_AFFINE(int i, op_case *k)
{
    if (!case_unary(i, k, 0, 0)) return 0;
    k->call = affine_call;
    k->ref = affine_ref;
    k->no_second = 1;
    k->opt[0] = i % 2 ? -0.75 : 2.5;
    k->opt[1] = i % 3 ? 1.25 : 0;
    return 1;
}
