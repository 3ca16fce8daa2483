/* cases_compare.c -- comparisons and choices, element by element. */
#include <math.h>

#include "tests/opcase.h"

/* ---- comparisons: of rounded values, so that some are equal ---------------------------------- */

#define COMPARE(ID, name, op)                                                                      \
    static tlv_tensor *name##_call(tlv_ctx *c, const tlv_tensor *const *in, const op_case *k)      \
    {                                                                                              \
        (void)k;                                                                                   \
        return tlv_##name(c, tlv_floor(c, in[0]), tlv_floor(c, in[1]));                            \
    }                                                                                              \
    static void name##_ref(const op_case *k, const double *const *in, double *out)                 \
    {                                                                                              \
        for (int64_t i = 0; i < case_numel(k->out); i++)                                           \
            out[i] = floor(in[0][case_broadcast(k->in[0].shape, k->out, i)])                       \
                     op floor(in[1][case_broadcast(k->in[1].shape, k->out, i)]);                   \
    }                                                                                              \
    int case_##ID(int i, op_case *k);                                                              \
    int case_##ID(int i, op_case *k)                                                               \
    {                                                                                              \
        if (!case_binary(i, k, -1.5, 1.5)) return 0;                                               \
        k->call = name##_call;                                                                     \
        k->ref = name##_ref;                                                                       \
        return 1;                                                                                  \
    }

COMPARE(EQ, eq, ==)
COMPARE(NE, ne, !=)
COMPARE(LT, lt, <)
COMPARE(LE, le, <=)
COMPARE(GT, gt, >)
COMPARE(GE, ge, >=)

/* ---- where ----------------------------------------------------------------------------------- */

static tlv_tensor *where_call(tlv_ctx *c, const tlv_tensor *const *in, const op_case *k)
{
    (void)k;
    return tlv_where(c, in[0], in[1], in[2]);
}

static void where_ref(const op_case *k, const double *const *in, double *out)
{
    for (int64_t i = 0; i < case_numel(k->out); i++) {
        int64_t at[3];
        for (int j = 0; j < 3; j++) at[j] = case_broadcast(k->in[j].shape, k->out, i);
        out[i] = in[0][at[0]] != 0 ? in[1][at[1]] : in[2][at[2]];
    }
}

int case_WHERE(int i, op_case *k);
int case_WHERE(int i, op_case *k)
{
    static const struct { const char *text; tlv_shape m, a, b, y;
    } CASES[] = {
        { "same shape", { 2, { 3, 5 } }, { 2, { 3, 5 } }, { 2, { 3, 5 } }, { 2, { 3, 5 } } },
        { "images",
          { 4, { 2, 3, 4, 5 } },
          { 4, { 2, 3, 4, 5 } },
          { 4, { 2, 3, 4, 5 } },
          { 4, { 2, 3, 4, 5 } } },
        { "a mask per column", { 1, { 6 } }, { 2, { 3, 6 } }, { 2, { 3, 6 } }, { 2, { 3, 6 } } },
        { "two scalars", { 2, { 4, 5 } }, { 0, { 0 } }, { 0, { 0 } }, { 2, { 4, 5 } } },
        { "a row and a column",
          { 2, { 4, 5 } },
          { 2, { 1, 5 } },
          { 2, { 4, 1 } },
          { 2, { 4, 5 } } },
        { "all three broadcast",
          { 3, { 3, 4, 1 } },
          { 3, { 3, 1, 5 } },
          { 3, { 1, 4, 5 } },
          { 3, { 3, 4, 5 } } },
        { "37 and a scalar", { 1, { 37 } }, { 1, { 37 } }, { 0, { 0 } }, { 1, { 37 } } },
        { "empty", { 2, { 0, 3 } }, { 2, { 0, 3 } }, { 1, { 3 } }, { 2, { 0, 3 } } },
    };
    if (i >= (int)(sizeof CASES / sizeof CASES[0])) return 0;
    *k = (op_case){ .text = CASES[i].text,
                    .n_in = 3,
                    .call = where_call,
                    .ref = where_ref,
                    .out = CASES[i].y,
                    .in = { { .shape = CASES[i].m, .kind = CASE_BYTE },
                            { .shape = CASES[i].a },
                            { .shape = CASES[i].b } },
                    .no_second = 1 };
    return 1;
}

/* ---- maximum, minimum ------------------------------------------------------------------------ */

#define EXTREME(ID, name, op)                                                                      \
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
            out[i] = a op b ? a : b;                                                               \
        }                                                                                          \
    }                                                                                              \
    int case_##ID(int i, op_case *k);                                                              \
    int case_##ID(int i, op_case *k)                                                               \
    {                                                                                              \
        if (!case_binary(i < TWO_SCALARS ? i : i + 1, k, -1.5, 1.5)) return 0;                     \
        k->call = name##_call;                                                                     \
        k->ref = name##_ref;                                                                       \
        k->no_second = 1;                                                                          \
        return 1;                                                                                  \
    }

enum { TWO_SCALARS = 6 };       /* of case_shapes2: one of them has no gradient */

EXTREME(MAXIMUM, maximum, >)
EXTREME(MINIMUM, minimum, <)
