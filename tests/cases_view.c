/* cases_view.c -- other shapes and orders of the same values. */
#include "tests/opcase.h"

static void same_ref(const op_case *k, const double *const *in, double *out)
{
    for (int64_t i = 0; i < case_numel(k->out); i++) out[i] = in[0][i];
}

/* ---- reshape --------------------------------------------------------------------------------- */

static tlv_tensor *reshape_call(tlv_ctx *c, const tlv_tensor *const *in, const op_case *k)
{
    tlv_shape s = k->out;
    if (k->opt[0] > 0) s.dim[(int)k->opt[0] - 1] = -1;  // this one is to be found
    return tlv_reshape(c, in[0], s);
}

int case_RESHAPE(int i, op_case *k);
int case_RESHAPE(int i, op_case *k)
{
    static const struct { const char *text; tlv_shape x, y; int open; } CASES[] = {
        { "flatten", { 2, { 3, 5 } }, { 1, { 15 } }, 0 },
        { "split", { 1, { 12 } }, { 2, { 3, 4 } }, 0 },
        { "-1 in front", { 3, { 2, 3, 4 } }, { 2, { 6, 4 } }, 1 },
        { "-1 at the end", { 4, { 2, 3, 4, 5 } }, { 2, { 2, 60 } }, 2 },
        { "pixels to tokens", { 4, { 2, 3, 4, 5 } }, { 3, { 2, 3, 20 } }, 0 },
        { "across the dims", { 2, { 4, 6 } }, { 2, { 3, 8 } }, 0 },
        { "ones in and out", { 4, { 1, 3, 1, 2 } }, { 3, { 3, 2, 1 } }, 0 },
        { "to a scalar", { 2, { 1, 1 } }, { 0, { 0 } }, 0 },
        { "from a scalar", { 0, { 0 } }, { 3, { 1, 1, 1 } }, 0 },
        { "empty", { 2, { 0, 3 } }, { 3, { 5, 0, 2 } }, 0 },
    };
    if (i >= (int)(sizeof CASES / sizeof CASES[0])) return 0;
    *k = (op_case){ .text = CASES[i].text,
                    .n_in = 1,
                    .in = { { .shape = CASES[i].x } },
                    .out = CASES[i].y,
                    .call = reshape_call,
                    .ref = same_ref,
                    .opt = { CASES[i].open },
                    .no_second = 1 };
    return 1;
}

/* ---- permute --------------------------------------------------------------------------------- */

static tlv_tensor *permute_call(tlv_ctx *c, const tlv_tensor *const *in, const op_case *k)
{
    tlv_axes a = { .n = k->out.ndim };
    for (int i = 0; i < a.n; i++) a.axis[i] = (int)k->opt[i];
    return tlv_permute(c, in[0], a);
}

static void permute_ref(const op_case *k, const double *const *in, double *out)
{
    tlv_shape x = k->in[0].shape;
    for (int64_t i = 0; i < case_numel(k->out); i++) {
        int64_t at[TLV_MAX_DIMS] = { 0 }, rest = i, from = 0;
        for (int d = k->out.ndim - 1; d >= 0; d--) {
            int axis = (int)k->opt[d] < 0 ? (int)k->opt[d] + x.ndim : (int)k->opt[d];
            at[axis] = rest % k->out.dim[d];
            rest /= k->out.dim[d];
        }
        for (int d = 0; d < x.ndim; d++) from = from * x.dim[d] + at[d];
        out[i] = in[0][from];
    }
}

int case_PERMUTE(int i, op_case *k);
int case_PERMUTE(int i, op_case *k)
{
    static const struct {
        const char *text; tlv_shape x, y; double axis[4];
    } CASES[] = {
        { "transpose", { 2, { 3, 5 } }, { 2, { 5, 3 } }, { 1, 0 } },
        { "a rotation, not its own inverse", { 3, { 2, 3, 4 } }, { 3, { 3, 4, 2 } }, { 1, 2, 0 } },
        { "NCHW to NHWC", { 4, { 2, 3, 4, 5 } }, { 4, { 2, 4, 5, 3 } }, { 0, 2, 3, 1 } },
        { "NHWC to NCHW, from the end",
          { 4, { 2, 4, 5, 3 } },
          { 4, { 2, 3, 4, 5 } },
          { 0, -1, 1, -2 } },
        { "nothing moves", { 2, { 3, 5 } }, { 2, { 3, 5 } }, { 0, 1 } },
        { "dims of 1", { 3, { 1, 3, 1 } }, { 3, { 3, 1, 1 } }, { 1, 0, 2 } },
        { "a scalar", { 0, { 0 } }, { 0, { 0 } }, { 0 } },
        { "empty", { 3, { 2, 0, 3 } }, { 3, { 3, 2, 0 } }, { 2, 0, 1 } },
    };
    if (i >= (int)(sizeof CASES / sizeof CASES[0])) return 0;
    *k = (op_case){ .text = CASES[i].text, .n_in = 1, .in = { { .shape = CASES[i].x } },
                    .out = CASES[i].y, .call = permute_call, .ref = permute_ref, .no_second = 1 };
    for (int d = 0; d < 4; d++) k->opt[d] = CASES[i].axis[d];
    return 1;
}

/* ---- expand ---------------------------------------------------------------------------------- */

static tlv_tensor *expand_call(tlv_ctx *c, const tlv_tensor *const *in, const op_case *k)
{
    return tlv_expand(c, in[0], k->out);
}

static void expand_ref(const op_case *k, const double *const *in, double *out)
{
    for (int64_t i = 0; i < case_numel(k->out); i++)
        out[i] = in[0][case_broadcast(k->in[0].shape, k->out, i)];
}

int case_EXPAND(int i, op_case *k);
int case_EXPAND(int i, op_case *k)
{
    static const struct { const char *text; tlv_shape x, y; } CASES[] = {
        { "rows", { 1, { 5 } }, { 2, { 3, 5 } } },
        { "columns", { 2, { 3, 1 } }, { 2, { 3, 5 } } },
        { "a scalar", { 0, { 0 } }, { 3, { 2, 3, 2 } } },
        { "channels of images", { 3, { 3, 1, 1 } }, { 4, { 2, 3, 4, 5 } } },
        { "outer and inner", { 4, { 1, 3, 1, 5 } }, { 4, { 2, 3, 4, 5 } } },
        { "nothing", { 2, { 3, 5 } }, { 2, { 3, 5 } } },
        { "to nothing", { 2, { 3, 1 } }, { 2, { 3, 0 } } },
        { "empty", { 1, { 0 } }, { 2, { 2, 0 } } },
    };
    if (i >= (int)(sizeof CASES / sizeof CASES[0])) return 0;
    *k = (op_case){ .text = CASES[i].text, .n_in = 1, .in = { { .shape = CASES[i].x } },
                    .out = CASES[i].y, .call = expand_call, .ref = expand_ref, .no_second = 1 };
    return 1;
}

/* ---- memory order ---------------------------------------------------------------------------- */

static tlv_tensor *order_call(tlv_ctx *c, const tlv_tensor *const *in, const op_case *k)
{
    return tlv_to_order(c, in[0], k->opt[0] != 0 ? TLV_CHANNELS_LAST : TLV_ROW_MAJOR);
}

int case_TO_ORDER(int i, op_case *k);
int case_TO_ORDER(int i, op_case *k)
{
    static const struct { const char *text; tlv_shape x; int order; } CASES[] = {
        { "channels-last", { 4, { 2, 3, 4, 5 } }, 1 },
        { "row-major", { 4, { 2, 3, 4, 5 } }, 0 },
        { "one channel", { 4, { 2, 1, 3, 5 } }, 1 },
        { "one pixel", { 4, { 2, 3, 1, 1 } }, 1 },
        { "larger than a tile", { 4, { 1, 35, 6, 7 } }, 1 },
        { "a matrix, row-major", { 2, { 3, 5 } }, 0 },
        { "no image", { 4, { 0, 3, 4, 5 } }, 1 },
    };
    if (i >= (int)(sizeof CASES / sizeof CASES[0])) return 0;
    *k = (op_case){ .text = CASES[i].text,
                    .n_in = 1,
                    .in = { { .shape = CASES[i].x } },
                    .out = CASES[i].x,
                    .call = order_call,
                    .ref = same_ref,
                    .opt = { CASES[i].order },
                    .no_second = 1 };
    return 1;
}
