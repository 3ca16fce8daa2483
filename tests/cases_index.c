/* cases_index.c -- reading and adding at index tensors, element by element. */
#include "tests/opcase.h"

static int axis_of(double axis, int ndim) { return axis < 0 ? (int)axis + ndim : (int)axis; }

static int64_t product(tlv_shape s, int from, int to)
{
    int64_t n = 1;
    for (int d = from; d < to; d++) n *= s.dim[d];
    return n;
}

/* ---- gather and scatter_add: axis, n on that axis -------------------------------------------- */

static tlv_tensor *gather_call(tlv_ctx *c, const tlv_tensor *const *in, const op_case *k)
{
    return tlv_gather(c, in[0], (int)k->opt[0], in[1]);
}

static void gather_ref(const op_case *k, const double *const *in, double *out)
{
    tlv_shape x = k->in[0].shape;
    int axis = axis_of(k->opt[0], x.ndim);
    int64_t outer = product(x, 0, axis), inner = product(x, axis + 1, x.ndim),
        m = case_numel(k->in[1].shape);
    for (int64_t o = 0; o < outer; o++)
        for (int64_t j = 0; j < m; j++)
            for (int64_t i = 0; i < inner; i++)
                out[(o * m + j) * inner + i]
                    = in[0][(o * x.dim[axis] + (int64_t)in[1][j]) * inner + i];
}

static tlv_tensor *scatter_call(tlv_ctx *c, const tlv_tensor *const *in, const op_case *k)
{
    return tlv_scatter_add(c, in[0], (int)k->opt[0], in[1], (int64_t)k->opt[1]);
}

static void scatter_ref(const op_case *k, const double *const *in, double *out)
{
    tlv_shape y = k->out;
    int axis = axis_of(k->opt[0], y.ndim);
    int64_t outer = product(y, 0, axis), inner = product(y, axis + 1, y.ndim),
        m = case_numel(k->in[1].shape);
    for (int64_t i = 0; i < case_numel(y); i++) out[i] = 0;
    for (int64_t o = 0; o < outer; o++)
        for (int64_t j = 0; j < m; j++)
            for (int64_t i = 0; i < inner; i++)
                out[(o * y.dim[axis] + (int64_t)in[1][j]) * inner + i]
                    += in[0][(o * m + j) * inner + i];
}

/* x is the side with the axis, y the one with index's dims. */
static int gather_case(int i, op_case *k, int scatter)
{
    static const struct { const char *text; tlv_shape x, index, y; double axis; } CASES[] = {
        { "rows", { 2, { 5, 3 } }, { 1, { 7 } }, { 2, { 7, 3 } }, 0 },
        { "columns", { 2, { 3, 5 } }, { 1, { 4 } }, { 2, { 3, 4 } }, -1 },
        { "embedding of [B,T]", { 2, { 6, 4 } }, { 2, { 2, 3 } }, { 3, { 2, 3, 4 } }, 0 },
        { "two dims in the middle", { 3, { 2, 5, 3 } }, { 2, { 2, 3 } }, { 4, { 2, 2, 3, 3 } }, 1 },
        { "images of a batch", { 4, { 5, 3, 2, 4 } }, { 1, { 3 } }, { 4, { 3, 3, 2, 4 } }, 0 },
        { "channels of images", { 4, { 2, 5, 3, 4 } }, { 1, { 6 } }, { 4, { 2, 6, 3, 4 } }, 1 },
        { "one channel of images", { 4, { 2, 5, 3, 4 } }, { 1, { 1 } }, { 4, { 2, 1, 3, 4 } }, 1 },
        { "one channel many times", { 4, { 2, 1, 3, 4 } }, { 1, { 3 } }, { 4, { 2, 3, 3, 4 } }, 1 },
        { "one image many times", { 4, { 1, 3, 2, 4 } }, { 1, { 3 } }, { 4, { 3, 3, 2, 4 } }, 0 },
        { "rows of images", { 4, { 2, 3, 5, 2 } }, { 1, { 3 } }, { 4, { 2, 3, 3, 2 } }, 2 },
        { "one to one", { 2, { 1, 1 } }, { 1, { 1 } }, { 2, { 1, 1 } }, 0 },
        { "a scalar index", { 2, { 4, 3 } }, { 0, { 0 } }, { 1, { 3 } }, 0 },
        { "wider than a strip", { 2, { 4, 700 } }, { 1, { 5 } }, { 2, { 5, 700 } }, 0 },
        { "no index", { 2, { 4, 3 } }, { 1, { 0 } }, { 2, { 0, 3 } }, 0 },
        { "empty", { 2, { 4, 0 } }, { 1, { 2 } }, { 2, { 2, 0 } }, 0 },
    };
    if (i >= (int)(sizeof CASES / sizeof CASES[0])) return 0;
    int axis = axis_of(CASES[i].axis, CASES[i].x.ndim);
    double n = (double)CASES[i].x.dim[axis];
    *k = (op_case){ .text = CASES[i].text, .n_in = 2, .out = scatter ? CASES[i].x : CASES[i].y,
                    .in = { { .shape = scatter ? CASES[i].y : CASES[i].x },
                            { .shape = CASES[i].index, .kind = CASE_INDEX, .lo = 0, .hi = n - 1 } },
                    .call = scatter ? scatter_call : gather_call,
                    .ref = scatter ? scatter_ref : gather_ref, .opt = { CASES[i].axis, n },
                    .no_second = 1 };
    return 1;
}

int case_GATHER(int i, op_case *k);
int case_GATHER(int i, op_case *k) { return gather_case(i, k, 0); }
int case_SCATTER_ADD(int i, op_case *k);
int case_SCATTER_ADD(int i, op_case *k) { return gather_case(i, k, 1); }

/* ---- along an axis: axis, n on that axis ----------------------------------------------------- */

static tlv_tensor *take_call(tlv_ctx *c, const tlv_tensor *const *in, const op_case *k)
{
    return tlv_take_along(c, in[0], (int)k->opt[0], in[1]);
}

static tlv_tensor *put_call(tlv_ctx *c, const tlv_tensor *const *in, const op_case *k)
{
    return tlv_put_along(c, in[0], (int)k->opt[0], in[1], (int64_t)k->opt[1]);
}

/* The place of element i of the index side in the side with n on the axis. */
static int64_t other_place(const op_case *k, const double *index, int64_t i)
{
    tlv_shape s = k->in[1].shape;
    int axis = axis_of(k->opt[0], s.ndim);
    int64_t inner = product(s, axis + 1, s.ndim), m = s.dim[axis];
    return (i / (m * inner) * (int64_t)k->opt[1] + (int64_t)index[i]) * inner + i % inner;
}

static void take_ref(const op_case *k, const double *const *in, double *out)
{
    for (int64_t i = 0; i < case_numel(k->out); i++) out[i] = in[0][other_place(k, in[1], i)];
}

static void put_ref(const op_case *k, const double *const *in, double *out)
{
    for (int64_t i = 0; i < case_numel(k->out); i++) out[i] = 0;
    for (int64_t i = 0; i < case_numel(k->in[0].shape); i++)
        out[other_place(k, in[1], i)] += in[0][i];
}

static int along_case(int i, op_case *k, int put)
{
    static const struct { const char *text; tlv_shape x, index; double axis; } CASES[] = {
        { "one a row", { 2, { 5, 4 } }, { 2, { 5, 1 } }, 1 },
        { "several a column", { 2, { 3, 4 } }, { 2, { 5, 4 } }, 0 },
        { "in the middle", { 3, { 2, 4, 3 } }, { 3, { 2, 2, 3 } }, -2 },
        { "a class a pixel", { 4, { 2, 5, 3, 4 } }, { 4, { 2, 1, 3, 4 } }, 1 },
        { "along width", { 4, { 2, 3, 2, 4 } }, { 4, { 2, 3, 2, 6 } }, 3 },
        { "one many times", { 2, { 3, 1 } }, { 2, { 3, 4 } }, 1 },
        { "no index", { 2, { 3, 4 } }, { 2, { 3, 0 } }, 1 },
        { "empty", { 2, { 0, 4 } }, { 2, { 0, 2 } }, 1 },
    };
    if (i >= (int)(sizeof CASES / sizeof CASES[0])) return 0;
    double n = (double)CASES[i].x.dim[axis_of(CASES[i].axis, CASES[i].x.ndim)];
    *k = (op_case){ .text = CASES[i].text, .n_in = 2, .out = put ? CASES[i].x : CASES[i].index,
                    .in = { { .shape = put ? CASES[i].index : CASES[i].x },
                            { .shape = CASES[i].index, .kind = CASE_INDEX, .lo = 0, .hi = n - 1 } },
                    .call = put ? put_call : take_call, .ref = put ? put_ref : take_ref,
                    .opt = { CASES[i].axis, n }, .no_second = 1 };
    return 1;
}

int case_TAKE_ALONG(int i, op_case *k);
int case_TAKE_ALONG(int i, op_case *k) { return along_case(i, k, 0); }
int case_PUT_ALONG(int i, op_case *k);
int case_PUT_ALONG(int i, op_case *k) { return along_case(i, k, 1); }

/* ---- one-hot: the second input only tells the dtype ------------------------------------------ */

static tlv_tensor *one_hot_call(tlv_ctx *c, const tlv_tensor *const *in, const op_case *k)
{
    return tlv_one_hot(c, in[0], k->out.dim[k->out.ndim - 1], tlv_dtype_of(in[1]));
}

static void one_hot_ref(const op_case *k, const double *const *in, double *out)
{
    int64_t n = k->out.dim[k->out.ndim - 1];
    for (int64_t i = 0; i < case_numel(k->out); i++) out[i] = i % n == (int64_t)in[0][i / n];
}

int case_ONE_HOT(int i, op_case *k);
int case_ONE_HOT(int i, op_case *k)
{
    static const struct { const char *text; tlv_shape index, y; double lo; } CASES[] = {
        { "labels", { 1, { 6 } }, { 2, { 6, 4 } }, 0 },
        { "negative ones", { 1, { 9 } }, { 2, { 9, 3 } }, -2 },
        { "pixels", { 3, { 2, 3, 4 } }, { 4, { 2, 3, 4, 5 } }, 0 },
        { "a scalar", { 0, { 0 } }, { 1, { 3 } }, 0 },
        { "empty", { 1, { 0 } }, { 2, { 0, 3 } }, 0 },
    };
    if (i >= (int)(sizeof CASES / sizeof CASES[0])) return 0;
    double n = (double)CASES[i].y.dim[CASES[i].y.ndim - 1];
    *k = (op_case){ .text = CASES[i].text, .n_in = 2, .out = CASES[i].y, .call = one_hot_call,
                    .ref = one_hot_ref,
                    .in = { { .shape = CASES[i].index, .kind = CASE_INDEX,
                              .lo = CASES[i].lo, .hi = n - 1 },
                            { .shape = { 0, { 0 } }, .kind = CASE_CONST } } };
    return 1;
}
