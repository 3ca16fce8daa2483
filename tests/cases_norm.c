/* cases_norm.c -- layer norm and group norm, set by set. */
#include <math.h>

#include "tests/opcase.h"

/* opt of every case; gamma and beta are places among the inputs, 0 for absent. */
enum { GAMMA, BETA, EPS, COUNT };           /* COUNT: n_dims, or groups */

static const tlv_tensor *side(const tlv_tensor *const *in, const op_case *k, int which)
{
    int place = (int)k->opt[which];
    return place ? in[place] : NULL;
}

static double side_value(const double *const *in, const op_case *k, int which, int64_t i,
                         double absent)
{
    int place = (int)k->opt[which];
    return place ? in[place][i] : absent;
}

/* n values to mean 0 and variance 1. */
static void standardise(const double *x, int64_t n, double eps, double *out)
{
    double mean = 0, var = 0;
    for (int64_t i = 0; i < n; i++) mean += x[i] / (double)n;
    for (int64_t i = 0; i < n; i++) var += (x[i] - mean) * (x[i] - mean) / (double)n;
    for (int64_t i = 0; i < n; i++) out[i] = (x[i] - mean) / sqrt(var + eps);
}

static tlv_tensor *layer_call(tlv_ctx *c, const tlv_tensor *const *in, const op_case *k)
{
    return tlv_layer_norm(c, in[0], (int)k->opt[COUNT], side(in, k, GAMMA), side(in, k, BETA),
                          k->opt[EPS]);
}

static void layer_ref(const op_case *k, const double *const *in, double *out)
{
    int64_t n = 1, all = case_numel(k->out);
    for (int i = k->out.ndim - (int)k->opt[COUNT]; i < k->out.ndim; i++) n *= k->out.dim[i];
    for (int64_t i = 0; i < all; i += n) {
        standardise(in[0] + i, n, k->opt[EPS], out + i);
        for (int64_t j = 0; j < n; j++)
            out[i + j] = out[i + j] * side_value(in, k, GAMMA, j, 1)
                         + side_value(in, k, BETA, j, 0);
    }
}

static tlv_tensor *group_call(tlv_ctx *c, const tlv_tensor *const *in, const op_case *k)
{
    return tlv_group_norm(c, in[0], (int)k->opt[COUNT], side(in, k, GAMMA), side(in, k, BETA),
                          k->opt[EPS]);
}

static void group_ref(const op_case *k, const double *const *in, double *out)
{
    int64_t all = case_numel(k->out), channels = k->out.dim[1], inner = 1;
    for (int i = 2; i < k->out.ndim; i++) inner *= k->out.dim[i];
    int64_t n = channels / (int64_t)k->opt[COUNT] * inner;      // a group's channels are neighbours
    for (int64_t i = 0; i < all; i += n) standardise(in[0] + i, n, k->opt[EPS], out + i);
    for (int64_t i = 0; i < all; i++) {
        int64_t ch = i / inner % channels;
        out[i] = out[i] * side_value(in, k, GAMMA, ch, 1) + side_value(in, k, BETA, ch, 0);
    }
}

typedef struct norm_case {
    const char *text;
    tlv_shape x, side;
    int count, gamma, beta;
    double eps;
} norm_case;

static void fill(op_case *k, const norm_case *n)
{
    *k = (op_case){ .text = n->text, .n_in = 1, .in = { { .shape = n->x } }, .out = n->x };
    k->opt[COUNT] = n->count;
    k->opt[EPS] = n->eps;
    if (n->gamma) {
        k->opt[GAMMA] = k->n_in;
        k->in[k->n_in++] = (case_input){ .shape = n->side, .lo = 0.5, .hi = 1.5 };
    }
    if (n->beta) {
        k->opt[BETA] = k->n_in;
        k->in[k->n_in++] = (case_input){ .shape = n->side };
    }
}

int case_LAYER_NORM(int i, op_case *k);
int case_LAYER_NORM(int i, op_case *k)
{
    static const norm_case CASES[] = {
        { "tokens", { 3, { 2, 3, 8 } }, { 1, { 8 } }, 1, 1, 1, 1e-5 },
        { "tokens, nothing but x", { 3, { 2, 3, 5 } }, { 1, { 5 } }, 1, 0, 0, 1e-5 },
        { "gamma alone", { 2, { 4, 6 } }, { 1, { 6 } }, 1, 1, 0, 0.1 },
        { "beta alone", { 2, { 4, 6 } }, { 1, { 6 } }, 1, 0, 1, 0.1 },
        { "37 columns", { 2, { 5, 37 } }, { 1, { 37 } }, 1, 1, 1, 1e-6 },
        { "67 rows", { 2, { 67, 4 } }, { 1, { 4 } }, 1, 1, 1, 0.1 },
        { "the last two dims", { 3, { 3, 4, 5 } }, { 2, { 4, 5 } }, 2, 1, 1, 1e-5 },
        { "images, the last three", { 4, { 2, 2, 3, 3 } }, { 3, { 2, 3, 3 } }, 3, 1, 1, 1e-5 },
        { "images, the last one", { 4, { 2, 2, 3, 5 } }, { 1, { 5 } }, 1, 1, 1, 1e-3 },
        { "all dims", { 2, { 3, 4 } }, { 2, { 3, 4 } }, 2, 1, 1, 1e-5 },
        { "one vector", { 1, { 9 } }, { 1, { 9 } }, 1, 1, 1, 1e-5 },
        { "no rows", { 2, { 0, 4 } }, { 1, { 4 } }, 1, 1, 1, 1e-5 },
        { "no columns", { 2, { 3, 0 } }, { 1, { 0 } }, 1, 1, 1, 1e-5 },
    };
    if (i >= (int)(sizeof CASES / sizeof CASES[0])) return 0;
    fill(k, &CASES[i]);
    k->call = layer_call;
    k->ref = layer_ref;
    return 1;
}

int case_GROUP_NORM(int i, op_case *k);
int case_GROUP_NORM(int i, op_case *k)
{
    static const norm_case CASES[] = {
        { "two groups", { 4, { 2, 4, 3, 3 } }, { 1, { 4 } }, 2, 1, 1, 1e-5 },
        { "nothing but x", { 4, { 2, 6, 2, 3 } }, { 1, { 6 } }, 3, 0, 0, 1e-5 },
        { "gamma alone", { 4, { 2, 4, 2, 2 } }, { 1, { 4 } }, 2, 1, 0, 0.1 },
        { "beta alone", { 4, { 2, 4, 2, 2 } }, { 1, { 4 } }, 2, 0, 1, 0.1 },
        { "one group", { 4, { 3, 3, 2, 2 } }, { 1, { 3 } }, 1, 1, 1, 1e-5 },
        { "a group each channel", { 4, { 2, 3, 3, 3 } }, { 1, { 3 } }, 3, 1, 1, 1e-5 },
        { "rows", { 2, { 3, 8 } }, { 1, { 8 } }, 2, 1, 1, 1e-3 },
        { "34 channels of sequences", { 3, { 2, 34, 3 } }, { 1, { 34 } }, 17, 1, 1, 1e-3 },
        { "volumes", { 5, { 2, 4, 2, 1, 3 } }, { 1, { 4 } }, 2, 1, 1, 1e-5 },
        { "no images", { 4, { 0, 4, 2, 2 } }, { 1, { 4 } }, 2, 1, 1, 1e-5 },
        { "empty images", { 4, { 2, 4, 0, 2 } }, { 1, { 4 } }, 2, 1, 1, 1e-5 },
        { "no channels", { 4, { 2, 0, 2, 2 } }, { 1, { 0 } }, 1, 1, 1, 1e-5 },
    };
    if (i >= (int)(sizeof CASES / sizeof CASES[0])) return 0;
    fill(k, &CASES[i]);
    k->call = group_call;
    k->ref = group_ref;
    return 1;
}
