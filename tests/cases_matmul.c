/* cases_matmul.c -- products against the triple loop. */
#include <math.h>

#include "tests/opcase.h"

static tlv_tensor *matmul_call(tlv_ctx *c, const tlv_tensor *const *in, const op_case *k)
{
    return tlv_matmul(c, in[0], in[1],
                      (tlv_matmul_opts){ .ta = (int)k->opt[0], .tb = (int)k->opt[1] });
}

static tlv_shape lead_of(tlv_shape s)
{
    s.ndim -= 2;
    return s;
}

static void matmul_ref(const op_case *k, const double *const *in, double *out)
{
    tlv_shape a = k->in[0].shape, b = k->in[1].shape, lead = lead_of(k->out);
    int64_t m = k->out.dim[k->out.ndim - 2], n = k->out.dim[k->out.ndim - 1];
    int64_t inner = a.dim[a.ndim - (k->opt[0] != 0 ? 2 : 1)];
    for (int64_t l = 0; l < case_numel(lead); l++) {
        const double *pa = in[0] + case_broadcast(lead_of(a), lead, l) * m * inner;
        const double *pb = in[1] + case_broadcast(lead_of(b), lead, l) * n * inner;
        for (int64_t i = 0; i < m; i++)
            for (int64_t j = 0; j < n; j++) {
                double s = 0;
                for (int64_t p = 0; p < inner; p++)
                    s += (k->opt[0] != 0 ? pa[p * m + i] : pa[i * inner + p])
                         * (k->opt[1] != 0 ? pb[j * inner + p] : pb[p * n + j]);
                out[(l * m + i) * n + j] = s;
            }
    }
}

int case_MATMUL(int i, op_case *k);
int case_MATMUL(int i, op_case *k)
{
    static const struct { const char *text; tlv_shape a, b, y; int ta, tb;
    } CASES[] = {
        { "3x4 by 4x5", { 2, { 3, 4 } }, { 2, { 4, 5 } }, { 2, { 3, 5 } }, 0, 0 },
        { "ta", { 2, { 4, 3 } }, { 2, { 4, 5 } }, { 2, { 3, 5 } }, 1, 0 },
        { "tb", { 2, { 3, 4 } }, { 2, { 5, 4 } }, { 2, { 3, 5 } }, 0, 1 },
        { "ta tb", { 2, { 4, 3 } }, { 2, { 5, 4 } }, { 2, { 3, 5 } }, 1, 1 },
        { "1x1 by 1x1", { 2, { 1, 1 } }, { 2, { 1, 1 } }, { 2, { 1, 1 } }, 0, 0 },
        { "row by column", { 2, { 1, 7 } }, { 2, { 7, 1 } }, { 2, { 1, 1 } }, 0, 0 },
        { "column by row", { 2, { 6, 1 } }, { 2, { 1, 3 } }, { 2, { 6, 3 } }, 0, 0 },
        { "batch", { 3, { 2, 3, 4 } }, { 3, { 2, 4, 2 } }, { 3, { 2, 3, 2 } }, 0, 0 },
        { "batch, ta tb", { 3, { 2, 4, 3 } }, { 3, { 2, 2, 4 } }, { 3, { 2, 3, 2 } }, 1, 1 },
        { "batch by one matrix", { 3, { 2, 3, 4 } }, { 2, { 4, 2 } }, { 3, { 2, 3, 2 } }, 0, 0 },
        { "batch by one matrix, tb",
          { 4, { 2, 2, 3, 4 } },
          { 2, { 3, 4 } },
          { 4, { 2, 2, 3, 3 } },
          0,
          1 },
        { "batch by one matrix, ta",
          { 3, { 2, 4, 3 } },
          { 2, { 4, 2 } },
          { 3, { 2, 3, 2 } },
          1,
          0 },
        { "one matrix by batch", { 2, { 3, 4 } }, { 3, { 2, 4, 2 } }, { 3, { 2, 3, 2 } }, 0, 0 },
        { "both broadcast",
          { 4, { 2, 1, 3, 2 } },
          { 4, { 1, 3, 2, 2 } },
          { 4, { 2, 3, 3, 2 } },
          0,
          0 },
        { "beyond one tile", { 2, { 17, 9 } }, { 2, { 9, 37 } }, { 2, { 17, 37 } }, 0, 0 },
        { "no rows", { 2, { 0, 4 } }, { 2, { 4, 2 } }, { 2, { 0, 2 } }, 0, 0 },
        { "no inner", { 2, { 3, 0 } }, { 2, { 0, 2 } }, { 2, { 3, 2 } }, 0, 0 },
        { "empty batch", { 3, { 0, 3, 4 } }, { 2, { 4, 2 } }, { 3, { 0, 3, 2 } }, 0, 0 },
    };
    if (i >= (int)(sizeof CASES / sizeof CASES[0])) return 0;
    *k = (op_case){ .text = CASES[i].text,
                    .n_in = 2,
                    .call = matmul_call,
                    .ref = matmul_ref,
                    .out = CASES[i].y,
                    .in = { { .shape = CASES[i].a }, { .shape = CASES[i].b } },
                    .opt = { CASES[i].ta, CASES[i].tb } };
    return 1;
}

static tlv_tensor *linear_call(tlv_ctx *c, const tlv_tensor *const *in, const op_case *k)
{
    return tlv_linear(c, in[0], in[1], k->n_in == 3 ? in[2] : NULL, (tlv_act)k->opt[0]);
}

static void linear_ref(const op_case *k, const double *const *in, double *out)
{
    int64_t o = k->in[1].shape.dim[0], n = k->in[1].shape.dim[1],
            rows = case_numel(k->out) / (o ? o : 1);
    for (int64_t r = 0; r < rows; r++)
        for (int64_t j = 0; j < o; j++) {
            double s = k->n_in == 3 ? in[2][j] : 0;
            for (int64_t p = 0; p < n; p++) s += in[0][r * n + p] * in[1][j * n + p];
            out[r * o + j] = k->opt[0] == TLV_ACT_SILU   ? s / (1 + exp(-s))
                             : k->opt[0] == TLV_ACT_TANH ? tanh(s)
                                                         : s;
        }
}

int case_LINEAR(int i, op_case *k);
int case_LINEAR(int i, op_case *k)
{
    static const struct { const char *text; tlv_shape x, w, y; int bias; tlv_act act; } CASES[] = {
        { "bias", { 2, { 3, 4 } }, { 2, { 5, 4 } }, { 2, { 3, 5 } }, 1, TLV_ACT_NONE },
        { "no bias", { 2, { 3, 4 } }, { 2, { 5, 4 } }, { 2, { 3, 5 } }, 0, TLV_ACT_NONE },
        { "tokens", { 3, { 2, 3, 4 } }, { 2, { 5, 4 } }, { 3, { 2, 3, 5 } }, 1, TLV_ACT_NONE },
        { "one vector", { 1, { 4 } }, { 2, { 5, 4 } }, { 1, { 5 } }, 1, TLV_ACT_NONE },
        { "silu", { 2, { 3, 4 } }, { 2, { 17, 4 } }, { 2, { 3, 17 } }, 1, TLV_ACT_SILU },
        { "tanh", { 3, { 2, 2, 3 } }, { 2, { 2, 3 } }, { 3, { 2, 2, 2 } }, 1, TLV_ACT_TANH },
        { "no rows", { 2, { 0, 4 } }, { 2, { 5, 4 } }, { 2, { 0, 5 } }, 1, TLV_ACT_NONE },
        { "no outputs", { 2, { 3, 4 } }, { 2, { 0, 4 } }, { 2, { 3, 0 } }, 1, TLV_ACT_NONE },
    };
    if (i >= (int)(sizeof CASES / sizeof CASES[0])) return 0;
    *k = (op_case){ .text = CASES[i].text,
                    .n_in = 2 + CASES[i].bias,
                    .call = linear_call,
                    .ref = linear_ref,
                    .out = CASES[i].y,
                    .opt = { CASES[i].act },
                    .in = { { .shape = CASES[i].x },
                            { .shape = CASES[i].w },
                            { .shape = { 1, { CASES[i].w.dim[0] } } } } };
    return 1;
}
