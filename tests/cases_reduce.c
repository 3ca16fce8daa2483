/* cases_reduce.c -- reductions against the naive loop over the input. */
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

int case_SUM_TO(int i, op_case *k);
int case_SUM_TO(int i, op_case *k)
{
    static const struct { const char *text; tlv_shape x, y; } CASES[] = {
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
    if (i >= (int)(sizeof CASES / sizeof CASES[0])) return 0;
    *k = (op_case){ .text = CASES[i].text, .n_in = 1, .in = { { .shape = CASES[i].x } }, .out = CASES[i].y,
                    .call = sum_to_call, .ref = sum_to_ref, .no_second = 1 };
    return 1;
}
