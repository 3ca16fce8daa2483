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
