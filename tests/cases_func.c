/* cases_func.c -- functions of one variable against libm. */
#include <math.h>

#include "tests/opcase.h"

#define UNARY(ID, name, lo, hi, EXPR)                                                              \
    static tlv_tensor *name##_call(tlv_ctx *c, const tlv_tensor *const *in, const op_case *k)      \
    {                                                                                              \
        (void)k;                                                                                   \
        return tlv_##name(c, in[0]);                                                               \
    }                                                                                              \
    static void name##_ref(const op_case *k, const double *const *in, double *out)                 \
    {                                                                                              \
        for (int64_t i = 0; i < case_numel(k->out); i++) {                                         \
            double x = in[0][i];                                                                   \
            out[i] = EXPR;                                                                         \
        }                                                                                          \
    }                                                                                              \
    int case_##ID(int i, op_case *k);                                                              \
    int case_##ID(int i, op_case *k)                                                               \
    {                                                                                              \
        if (!case_unary(i, k, lo, hi)) return 0;                                                   \
        k->call = name##_call;                                                                     \
        k->ref = name##_ref;                                                                       \
        return 1;                                                                                  \
    }

UNARY(EXP, exp, -2, 2, exp(x))
UNARY(LOG, log, 0.2, 3, log(x))
UNARY(SQRT, sqrt, 0.2, 3, sqrt(x))
UNARY(RSQRT, rsqrt, 0.4, 3, 1 / sqrt(x))
UNARY(SQUARE, square, -1.5, 1.5, x * x)
UNARY(RECIP, recip, 0.5, 2, 1 / x)
UNARY(SIN, sin, -4, 4, sin(x))
UNARY(COS, cos, -4, 4, cos(x))
UNARY(ERF, erf, -2, 2, erf(x))

/* ---- with kinks, steps and numbers ----------------------------------------------------------- */

#define UNARY_OPT(name, CALL, EXPR)                                                                \
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

static int unary_with(int i, op_case *k, double lo, double hi,
                      tlv_tensor *(*call)(tlv_ctx *, const tlv_tensor *const *, const op_case *),
                      void (*ref)(const op_case *, const double *const *, double *))
{
    if (!case_unary(i, k, lo, hi)) return 0;
    k->call = call;
    k->ref = ref;
    return 1;
}

UNARY_OPT(abs, tlv_abs(c, in[0]), x < 0 ? -x : x)
int case_ABS(int i, op_case *k);
int case_ABS(int i, op_case *k)
{
    if (!unary_with(i, k, -2, 2, abs_call, abs_ref)) return 0;
    k->in[0].n_kinks = 1;                               // at 0
    k->no_second = 1;
    return 1;
}

UNARY_OPT(sign, tlv_sign(c, in[0]), (x > 0) - (x < 0))
int case_SIGN(int i, op_case *k);
int case_SIGN(int i, op_case *k) { return unary_with(i, k, -2, 2, sign_call, sign_ref); }

UNARY_OPT(round, tlv_round(c, in[0]), nearbyint(x))
int case_ROUND(int i, op_case *k);
int case_ROUND(int i, op_case *k) { return unary_with(i, k, -4, 4, round_call, round_ref); }

UNARY_OPT(floor, tlv_floor(c, in[0]), floor(x))
int case_FLOOR(int i, op_case *k);
int case_FLOOR(int i, op_case *k) { return unary_with(i, k, -4, 4, floor_call, floor_ref); }

UNARY_OPT(clamp, tlv_clamp(c, in[0], k->opt[0], k->opt[1]), fmin(fmax(x, k->opt[0]), k->opt[1]))
int case_CLAMP(int i, op_case *k);
int case_CLAMP(int i, op_case *k)
{
    if (!unary_with(i, k, -1.5, 1.5, clamp_call, clamp_ref)) return 0;
    if (case_numel(k->out) == 1)
        k->in[0].lo = -0.4, k->in[0].hi = 0.4; // outside there is nothing to see
    k->opt[0] = i % 3 == 1 ? -INFINITY : -0.5;
    k->opt[1] = i % 3 == 2 ? INFINITY : 0.75;
    k->in[0].kinks[0] = -0.5;
    k->in[0].kinks[1] = 0.75;
    k->in[0].n_kinks = 2;
    k->no_second = 1;
    return 1;
}

UNARY_OPT(powf, tlv_powf(c, in[0], k->opt[0]), pow(x, k->opt[0]))
int case_POWF(int i, op_case *k);
int case_POWF(int i, op_case *k)
{
    static const double P[] = { 1.7, 3, -1, 0.5, 2, -2.5, 1 };
    double p = P[i % 7];
    if (!unary_with(i, k, p == 3 || p == 2 ? -1.5 : 0.5, 2, powf_call, powf_ref)) return 0;
    k->opt[0] = p;
    k->no_second = p == 1;
    return 1;
}

static tlv_tensor *pow_call(tlv_ctx *c, const tlv_tensor *const *in, const op_case *k)
{
    (void)k;
    return tlv_pow(c, in[0], in[1]);
}

static void pow_ref(const op_case *k, const double *const *in, double *out)
{
    for (int64_t i = 0; i < case_numel(k->out); i++)
        out[i] = pow(in[0][case_broadcast(k->in[0].shape, k->out, i)],
                     in[1][case_broadcast(k->in[1].shape, k->out, i)]);
}

int case_POW(int i, op_case *k);
int case_POW(int i, op_case *k)
{
    if (!case_binary(i, k, 0.4, 2)) return 0;
    k->in[1].lo = -2;
    k->call = pow_call;
    k->ref = pow_ref;
    return 1;
}
