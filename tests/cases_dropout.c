/* cases_dropout.c -- dropout by single draws of the generator. */
#include "tests/opcase.h"

static const tlv_rng_key KEY = { 0x5eed };

/* p, whole examples */
static tlv_tensor *dropout_call(tlv_ctx *c, const tlv_tensor *const *in, const op_case *k)
{
    if (k->opt[1] != 0) return tlv_drop_path(c, in[0], k->opt[0], KEY);
    return tlv_dropout(c, in[0], k->opt[0], KEY);
}

static void dropout_ref(const op_case *k, const double *const *in, double *out)
{
    int64_t n = case_numel(k->out), per = k->opt[1] != 0 && n > 0 ? n / k->out.dim[0] : 1;
    for (int64_t i = 0; i < n; i++) {
        int keep = tlv_rng_uniform(KEY, (uint64_t)(i / per)) >= k->opt[0];
        out[i] = keep ? in[0][i] / (1 - k->opt[0]) : 0;
    }
}

int case_DROPOUT(int i, op_case *k);
int case_DROPOUT(int i, op_case *k)
{
    static const struct { const char *text; tlv_shape x; double p; int path; } CASES[] = {
        { "half", { 2, { 7, 5 } }, 0.5, 0 },
        { "images, a tenth", { 4, { 2, 3, 4, 5 } }, 0.1, 0 },
        { "most of a row", { 1, { 67 } }, 0.9, 0 },
        { "none", { 2, { 3, 5 } }, 0, 0 },
        { "drop path of images", { 4, { 6, 2, 3, 2 } }, 0.5, 1 },
        { "drop path of tokens", { 3, { 5, 3, 4 } }, 0.25, 1 },
        { "drop path of a row", { 1, { 9 } }, 0.5, 1 },
        { "empty", { 2, { 0, 3 } }, 0.5, 0 },
        { "drop path, empty", { 2, { 3, 0 } }, 0.5, 1 },
    };
    if (i >= (int)(sizeof CASES / sizeof CASES[0])) return 0;
    *k = (op_case){ .text = CASES[i].text, .n_in = 1, .in = { { .shape = CASES[i].x } },
                    .out = CASES[i].x, .call = dropout_call, .ref = dropout_ref,
                    .opt = { CASES[i].p, CASES[i].path }, .no_second = 1 };
    return 1;
}
