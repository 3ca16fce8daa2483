/* cases_softmax.c -- softmax and its logarithm by their definition. */
#include <math.h>

#include "tests/opcase.h"

static void softmax_ref(const op_case *k, const double *const *in, double *out)
{
    tlv_shape s = k->out;
    int axis = (int)k->opt[0] < 0 ? (int)k->opt[0] + s.ndim : (int)k->opt[0];
    int64_t inner = 1, n = s.dim[axis];
    for (int d = axis + 1; d < s.ndim; d++) inner *= s.dim[d];
    for (int64_t i = 0; i < case_numel(s); i++) {
        int64_t first = i / (n * inner) * n * inner + i % inner;
        double sum = 0;                     // of e^(x_j - x_i): neither overflows nor subtracts
        for (int64_t j = 0; j < n; j++) sum += exp(in[0][first + j * inner] - in[0][i]);
        out[i] = k->opt[1] != 0 ? -log(sum) : 1 / sum;
    }
}

static tlv_tensor *softmax_call(tlv_ctx *c, const tlv_tensor *const *in, const op_case *k)
{
    return k->opt[1] != 0 ? tlv_log_softmax(c, in[0], (int)k->opt[0])
                          : tlv_softmax(c, in[0], (int)k->opt[0]);
}

static int softmax_case(int i, op_case *k, int log)
{
    static const struct { const char *text; tlv_shape x; int axis; double reach; } CASES[] = {
        { "rows", { 2, { 3, 5 } }, 1, 0 },
        { "columns", { 2, { 5, 3 } }, 0, 0 },
        { "classes of pixels", { 4, { 2, 5, 3, 4 } }, 1, 0 },
        { "width", { 4, { 2, 3, 2, 7 } }, -1, 0 },
        { "attention rows", { 4, { 1, 2, 3, 19 } }, 3, 0 },
        { "wider than a vector", { 2, { 2, 37 } }, 1, 0 },
        { "many columns", { 3, { 2, 3, 67 } }, 1, 0 },
        { "far apart", { 2, { 4, 6 } }, 1, 12 },
        { "empty", { 2, { 0, 3 } }, 1, 0 },
        { "empty columns", { 2, { 3, 0 } }, 0, 0 },
    };
    if (i >= (int)(sizeof CASES / sizeof CASES[0])) return 0;
    *k = (op_case){ .text = CASES[i].text, .n_in = 1, .out = CASES[i].x, .call = softmax_call,
                    .ref = softmax_ref, .in = { { .shape = CASES[i].x, .lo = -CASES[i].reach,
                                                  .hi = CASES[i].reach } },
                    .opt = { CASES[i].axis, log } };
    return 1;
}

int case_SOFTMAX(int i, op_case *k);
int case_SOFTMAX(int i, op_case *k) { return softmax_case(i, k, 0); }
int case_LOG_SOFTMAX(int i, op_case *k);
int case_LOG_SOFTMAX(int i, op_case *k) { return softmax_case(i, k, 1); }
