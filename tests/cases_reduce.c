/* cases_reduce.c -- reductions against the naive loop over the input. */
#include <math.h>

#include "tests/opcase.h"

static tlv_tensor *sum_to_call(tlv_ctx *c, const tlv_tensor *const *in, const op_case *k)
{
    return tlv_sum_to(c, in[0], k->out);
}

static void sum_to_ref(const op_case *k, const double *const *in, double *out)
{
    for (int64_t i = 0; i < case_numel(k->out); i++) out[i] = 0;
    for (int64_t i = 0; i < case_numel(k->in[0].shape); i++)
        out[case_broadcast(k->out, k->in[0].shape, i)] += in[0][i];
}

static const struct { const char *text; tlv_shape x, y; } SUM_TO[] = {
    { "last axis", { 2, { 3, 5 } }, { 2, { 3, 1 } } },
    { "first axis", { 2, { 7, 5 } }, { 2, { 1, 5 } } },
    { "first axis away", { 2, { 7, 5 } }, { 1, { 5 } } },
    { "all to a scalar", { 3, { 2, 3, 4 } }, { 0, { 0 } } },
    { "all to ones", { 3, { 2, 3, 4 } }, { 3, { 1, 1, 1 } } },
    { "all but channels", { 4, { 2, 3, 4, 5 } }, { 3, { 3, 1, 1 } } },
    { "outer and inner", { 4, { 2, 3, 4, 5 } }, { 4, { 1, 3, 1, 5 } } },
    { "the middle", { 3, { 3, 4, 5 } }, { 3, { 3, 1, 5 } } },
    { "nothing", { 2, { 3, 5 } }, { 2, { 3, 5 } } },
    { "dims of 1", { 4, { 1, 3, 1, 2 } }, { 2, { 1, 2 } } },
    { "37 to 1", { 1, { 37 } }, { 1, { 1 } } },
    { "an empty axis", { 2, { 3, 0 } }, { 2, { 3, 1 } } },
    { "beside an empty axis", { 2, { 3, 0 } }, { 1, { 0 } } },
};
enum { SUM_TO_COUNT = sizeof SUM_TO / sizeof SUM_TO[0] };

static int sum_to_case(int i, op_case *k)
{
    if (i >= SUM_TO_COUNT) return 0;
    *k = (op_case){ .text = SUM_TO[i].text,
                    .n_in = 1,
                    .in = { { .shape = SUM_TO[i].x } },
                    .out = SUM_TO[i].y,
                    .call = sum_to_call,
                    .ref = sum_to_ref,
                    .no_second = 1 };
    return 1;
}

/* ---- over axes ------------------------------------------------------------------------------- */

/* opt: [0] KEEPDIM, [1] a number of the op, [2] of axes (-1: all), [3..] the axes. */
static tlv_axes axes_of(const op_case *k)
{
    tlv_axes a = { .n = (int)k->opt[2] };
    for (int i = 0; i < a.n; i++) a.axis[i] = (int)k->opt[3 + i];
    return a;
}

/* The shape with the axes as 1. */
static tlv_shape kept(const op_case *k)
{
    tlv_shape s = k->in[0].shape;
    tlv_axes a = axes_of(k);
    for (int i = 0; i < s.ndim && a.n < 0; i++) s.dim[i] = 1;
    for (int i = 0; i < a.n; i++) s.dim[a.axis[i] < 0 ? a.axis[i] + s.ndim : a.axis[i]] = 1;
    return s;
}

enum { MOST = 512 };

/* The elements that meet in output o, in row-major order. */
static int64_t members(const op_case *k, const double *x, int64_t o, double *m)
{
    tlv_shape s = kept(k);
    int64_t n = 0;
    for (int64_t i = 0; i < case_numel(k->in[0].shape); i++)
        if (case_broadcast(s, k->in[0].shape, i) == o && n < MOST) m[n++] = x[i];
    return n;
}

static const struct axes_case {
    const char *text;
    tlv_shape x, y;
    double keep;
    int n, axis[3];
} AXES[] = {
    { "last axis", { 2, { 3, 5 } }, { 1, { 3 } }, 0, 1, { -1 } },
    { "first axis, kept", { 2, { 7, 5 } }, { 2, { 1, 5 } }, 1, 1, { 0 } },
    { "all", { 3, { 2, 3, 4 } }, { 0, { 0 } }, 0, -1, { 0 } },
    { "all, kept", { 2, { 3, 4 } }, { 2, { 1, 1 } }, 1, -1, { 0 } },
    { "all but channels", { 4, { 2, 3, 4, 5 } }, { 1, { 3 } }, 0, 3, { 0, 2, 3 } },
    { "channels, kept", { 4, { 2, 3, 4, 5 } }, { 4, { 2, 1, 4, 5 } }, 1, 1, { 1 } },
    { "height and width", { 4, { 2, 5, 3, 3 } }, { 2, { 2, 5 } }, 0, 2, { -1, -2 } },
    { "the middle", { 3, { 3, 4, 5 } }, { 2, { 3, 5 } }, 0, 1, { 1 } },
    { "37 to a scalar", { 1, { 37 } }, { 0, { 0 } }, 0, 1, { 0 } },
    { "an axis of 1 among others", { 3, { 4, 1, 3 } }, { 1, { 4 } }, 0, 2, { 1, 2 } },
    { "beside an empty axis", { 3, { 3, 0, 2 } }, { 2, { 3, 0 } }, 0, 1, { 2 } },
};
enum { AXES_COUNT = sizeof AXES / sizeof AXES[0] };

static int over_axes(int i, op_case *k,
                     tlv_tensor *(*call)(tlv_ctx *, const tlv_tensor *const *, const op_case *),
                     void (*ref)(const op_case *, const double *const *, double *))
{
    if (i >= AXES_COUNT) return 0;
    const struct axes_case *a = &AXES[i];
    *k = (op_case){ .text = a->text,
                    .n_in = 1,
                    .in = { { .shape = a->x } },
                    .out = a->y,
                    .call = call,
                    .ref = ref,
                    .opt = { a->keep, 0, a->n, a->axis[0], a->axis[1], a->axis[2] } };
    return 1;
}

#define OVER_AXES(name, CALL, FOLD)                                                                \
    static tlv_tensor *name##_call(tlv_ctx *c, const tlv_tensor *const *in, const op_case *k)      \
    {                                                                                              \
        return CALL;                                                                               \
    }                                                                                              \
    static void name##_ref(const op_case *k, const double *const *in, double *out)                 \
    {                                                                                              \
        double m[MOST];                                                                            \
        for (int64_t o = 0; o < case_numel(k->out); o++) {                                         \
            int64_t n = members(k, in[0], o, m);                                                   \
            double y;                                                                              \
            FOLD                                                                                   \
            out[o] = y;                                                                            \
        }                                                                                          \
    }

OVER_AXES(max, tlv_max(c, in[0], axes_of(k), k->opt[0] != 0),
          y = m[0]; for (int64_t i = 1; i < n; i++) y = m[i] > y ? m[i] : y;)
OVER_AXES(min, tlv_min(c, in[0], axes_of(k), k->opt[0] != 0),
          y = m[0]; for (int64_t i = 1; i < n; i++) y = m[i] < y ? m[i] : y;)
OVER_AXES(logsumexp, tlv_logsumexp(c, in[0], axes_of(k), k->opt[0] != 0),
          y = 0; for (int64_t i = 0; i < n; i++) y += exp(m[i]);
          y = log(y);)

OVER_AXES(prod, tlv_prod(c, in[0], axes_of(k), k->opt[0] != 0),
          y = 1; for (int64_t i = 0; i < n; i++) y *= m[i];)

int case_PROD(int i, op_case *k);
int case_PROD(int i, op_case *k)
{
    if (!over_axes(i, k, prod_call, prod_ref)) return 0;
    k->in[0].lo = case_numel(k->in[0].shape) > 30 ? 0.8 : -1.5;     // many factors stay near 1
    k->in[0].hi = 1.3;
    return 1;
}

int case_MAX(int i, op_case *k);
int case_MAX(int i, op_case *k)
{
    if (!over_axes(i, k, max_call, max_ref)) return 0;
    k->in[0].gap = 0.01;
    k->no_second = 1;
    return 1;
}

int case_MIN(int i, op_case *k);
int case_MIN(int i, op_case *k)
{
    if (!over_axes(i, k, min_call, min_ref)) return 0;
    k->in[0].gap = 0.01;
    k->no_second = 1;
    return 1;
}

int case_LOGSUMEXP(int i, op_case *k);
int case_LOGSUMEXP(int i, op_case *k) { return over_axes(i, k, logsumexp_call, logsumexp_ref); }

static tlv_tensor *argmax_call(tlv_ctx *c, const tlv_tensor *const *in, const op_case *k)
{
    return tlv_argmax(c, in[0], (int)k->opt[3], k->opt[0] != 0);
}

static void argmax_ref(const op_case *k, const double *const *in, double *out)
{
    double m[MOST];
    for (int64_t o = 0; o < case_numel(k->out); o++) {
        int64_t n = members(k, in[0], o, m);
        out[o] = 0;
        for (int64_t i = 1; i < n; i++)
            if (m[i] > m[(int)out[o]]) out[o] = (double)i;
    }
}

int case_ARGMAX(int i, op_case *k);
int case_ARGMAX(int i, op_case *k)
{
    static const int ONE_AXIS[] = { 0, 1, 5, 7, 8, 10 };
    return i < 6 && over_axes(ONE_AXIS[i], k, argmax_call, argmax_ref);
}

/* ---- made of other ops: checked with SUM_TO's cases ------------------------------------------ */

#define MEAN_OF_M double mean = 0; for (int64_t i = 0; i < n; i++) mean += m[i] / (double)n
#define VAR_OF_M                                                        \
    y = 0;                                                              \
    for (int64_t i = 0; i < n; i++) y += (m[i] - mean) * (m[i] - mean); \
    y /= (double)n - k->opt[1]

OVER_AXES(sum, tlv_sum(c, in[0], axes_of(k), k->opt[0] != 0), y = 0;
          for (int64_t i = 0; i < n; i++) y += m[i];)
OVER_AXES(mean, tlv_mean(c, in[0], axes_of(k), k->opt[0] != 0), MEAN_OF_M; y = mean;)
OVER_AXES(var, tlv_var(c, in[0], axes_of(k), (int)k->opt[1], k->opt[0] != 0), MEAN_OF_M; VAR_OF_M;)
OVER_AXES(std, tlv_std(c, in[0], axes_of(k), (int)k->opt[1], k->opt[0] != 0), MEAN_OF_M; VAR_OF_M;
          y = sqrt(y);)

static int composite(int i, op_case *k)
{
    switch (i / AXES_COUNT) {
    case 0: over_axes(i % AXES_COUNT, k, sum_call, sum_ref); k->no_second = 1; return 1;
    case 1: over_axes(i % AXES_COUNT, k, mean_call, mean_ref); k->no_second = 1; return 1;
    case 2: over_axes(i % AXES_COUNT, k, var_call, var_ref); k->opt[1] = i % 2; return 1;
    case 3: over_axes(i % AXES_COUNT, k, std_call, std_ref); k->opt[1] = i % 2; return 1;
    default: return 0;
    }
}

int case_SUM_TO(int i, op_case *k);
int case_SUM_TO(int i, op_case *k)
{
    if (sum_to_case(i, k)) return 1;
    return composite(i - SUM_TO_COUNT, k);
}
