/* cases_slice.c -- cutting and joining, element by element. */
#include "tests/opcase.h"

static void unravel(tlv_shape s, int64_t i, int64_t *at)
{
    for (int d = s.ndim - 1; d >= 0; d--) {
        at[d] = i % s.dim[d];
        i /= s.dim[d];
    }
}

static int64_t ravel(tlv_shape s, const int64_t *at)
{
    int64_t i = 0;
    for (int d = 0; d < s.ndim; d++) i = i * s.dim[d] + at[d];
    return i;
}

static int axis_of(double axis, int ndim) { return axis < 0 ? (int)axis + ndim : (int)axis; }

/* ---- slice: axis, start, stop, step ---------------------------------------------------------- */

static tlv_tensor *slice_call(tlv_ctx *c, const tlv_tensor *const *in, const op_case *k)
{
    int64_t stop = k->opt[2] > 1e9 ? INT64_MAX : (int64_t)k->opt[2];
    int64_t start = k->opt[1] < -1e9 ? INT64_MIN : (int64_t)k->opt[1];
    return tlv_slice(c, in[0], (int)k->opt[0], start, stop, (int64_t)k->opt[3]);
}

/* Walks the axis as a for loop of Python's x[start:stop:step] would. */
static void slice_ref(const op_case *k, const double *const *in, double *out)
{
    tlv_shape x = k->in[0].shape;
    int axis = axis_of(k->opt[0], x.ndim);
    double n = (double)x.dim[axis], start = k->opt[1] < 0 ? k->opt[1] + n : k->opt[1];
    if (start < 0) start = 0;
    for (int64_t i = 0; i < case_numel(k->out); i++) {
        int64_t at[TLV_MAX_DIMS];
        unravel(k->out, i, at);
        at[axis] = (int64_t)start + at[axis] * (int64_t)k->opt[3];
        out[i] = in[0][ravel(x, at)];
    }
}

int case_SLICE(int i, op_case *k);
int case_SLICE(int i, op_case *k)
{
    static const struct { const char *text; tlv_shape x, y; double opt[4]; } CASES[] = {
        { "a part", { 1, { 9 } }, { 1, { 4 } }, { 0, 2, 6, 1 } },
        { "rows", { 2, { 5, 3 } }, { 2, { 2, 3 } }, { 0, 1, 3, 1 } },
        { "columns with steps", { 2, { 3, 8 } }, { 2, { 3, 3 } }, { 1, 1, 8, 3 } },
        { "steps that end early", { 2, { 3, 8 } }, { 2, { 3, 3 } }, { -1, 1, 6, 2 } },
        { "from the end", { 2, { 3, 8 } }, { 2, { 3, 3 } }, { 1, -4, -1, 1 } },
        { "beyond both ends", { 1, { 5 } }, { 1, { 5 } }, { 0, -1e10, 1e10, 1 } },
        { "channels of images", { 4, { 2, 5, 3, 4 } }, { 4, { 2, 3, 3, 4 } }, { 1, 1, 4, 1 } },
        { "every second pixel", { 4, { 2, 3, 4, 5 } }, { 4, { 2, 3, 4, 3 } }, { 3, 0, 5, 2 } },
        { "one, with a huge step", { 1, { 5 } }, { 1, { 1 } }, { 0, 3, 5, 1e9 } },
        { "nothing", { 2, { 3, 5 } }, { 2, { 3, 0 } }, { 1, 4, 2, 1 } },
        { "empty", { 2, { 0, 5 } }, { 2, { 0, 2 } }, { 1, 0, 2, 1 } },
    };
    if (i >= (int)(sizeof CASES / sizeof CASES[0])) return 0;
    *k = (op_case){ .text = CASES[i].text, .n_in = 1, .in = { { .shape = CASES[i].x } },
                    .out = CASES[i].y, .call = slice_call, .ref = slice_ref, .no_second = 1 };
    for (int d = 0; d < 4; d++) k->opt[d] = CASES[i].opt[d];
    return 1;
}

/* ---- place: axis, n, start, step, value;  pad: axis, before, after, value -------------------- */

static tlv_tensor *place_call(tlv_ctx *c, const tlv_tensor *const *in, const op_case *k)
{
    return tlv_place(c, in[0], (int)k->opt[0], (int64_t)k->opt[1], (int64_t)k->opt[2],
                     (int64_t)k->opt[3], k->opt[4]);
}

static void place_ref(const op_case *k, const double *const *in, double *out)
{
    tlv_shape x = k->in[0].shape;
    int axis = axis_of(k->opt[0], x.ndim);
    for (int64_t i = 0; i < case_numel(k->out); i++) out[i] = k->opt[4];
    for (int64_t i = 0; i < case_numel(x); i++) {
        int64_t at[TLV_MAX_DIMS];
        unravel(x, i, at);
        at[axis] = (int64_t)k->opt[2] + at[axis] * (int64_t)k->opt[3];
        out[ravel(k->out, at)] = in[0][i];
    }
}

static tlv_tensor *pad_call(tlv_ctx *c, const tlv_tensor *const *in, const op_case *k)
{
    return tlv_pad(c, in[0], (int)k->opt[0], (int64_t)k->opt[1], (int64_t)k->opt[2], k->opt[3]);
}

static void pad_ref(const op_case *k, const double *const *in, double *out)
{
    tlv_shape x = k->in[0].shape;
    int axis = axis_of(k->opt[0], x.ndim);
    for (int64_t i = 0; i < case_numel(k->out); i++) {
        int64_t at[TLV_MAX_DIMS];
        unravel(k->out, i, at);
        at[axis] -= (int64_t)k->opt[1];
        out[i] = at[axis] >= 0 && at[axis] < x.dim[axis] ? in[0][ravel(x, at)] : k->opt[3];
    }
}

int case_PLACE(int i, op_case *k);
int case_PLACE(int i, op_case *k)
{
    static const struct { const char *text; int pad; tlv_shape x, y; double opt[5]; } CASES[] = {
        { "in the middle", 0, { 1, { 3 } }, { 1, { 7 } }, { 0, 7, 2, 1, 0 } },
        { "with steps and a value", 0, { 2, { 2, 3 } }, { 2, { 2, 9 } }, { 1, 9, 1, 3, 0.75 } },
        { "rows", 0, { 2, { 2, 3 } }, { 2, { 4, 3 } }, { -2, 4, 0, 3, 0 } },
        { "channels of images", 0, { 4, { 2, 3, 4, 5 } }, { 4, { 2, 8, 4, 5 } },
          { 1, 8, 1, 2, 0 } },
        { "pixels of images, a value", 0, { 4, { 2, 3, 2, 5 } }, { 4, { 2, 3, 5, 5 } },
          { 2, 5, 1, 3, -1.5 } },
        { "one, with a huge step", 0, { 2, { 1, 3 } }, { 2, { 3, 3 } }, { 0, 3, 2, 1e9, 2 } },
        { "nothing among values", 0, { 2, { 2, 0 } }, { 2, { 2, 4 } }, { 1, 4, 4, 1, 1.25 } },
        { "empty", 0, { 2, { 0, 2 } }, { 2, { 0, 4 } }, { 1, 4, 1, 1, 0 } },
        { "pad both ends", 1, { 2, { 2, 3 } }, { 2, { 2, 8 } }, { 1, 2, 3, 0.5 } },
        { "pad images", 1, { 4, { 2, 3, 4, 5 } }, { 4, { 2, 3, 4, 6 } }, { -1, 1, 0, 0 } },
        { "pad and crop", 1, { 1, { 5 } }, { 1, { 6 } }, { 0, 3, -2, 1 } },
        { "crop and pad", 1, { 1, { 5 } }, { 1, { 6 } }, { 0, -2, 3, 1 } },
        { "crop both", 1, { 2, { 7, 2 } }, { 2, { 3, 2 } }, { 0, -1, -3, 0 } },
    };
    if (i >= (int)(sizeof CASES / sizeof CASES[0])) return 0;
    *k = (op_case){ .text = CASES[i].text, .n_in = 1, .in = { { .shape = CASES[i].x } },
                    .out = CASES[i].y, .call = CASES[i].pad ? pad_call : place_call,
                    .ref = CASES[i].pad ? pad_ref : place_ref, .no_second = 1 };
    for (int d = 0; d < 5; d++) k->opt[d] = CASES[i].opt[d];
    return 1;
}

/* ---- cat and stack: axis;  roll: axis, shift ------------------------------------------------- */

static tlv_tensor *cat_call(tlv_ctx *c, const tlv_tensor *const *in, const op_case *k)
{
    return tlv_cat(c, k->n_in, in, (int)k->opt[0]);
}

static void cat_ref(const op_case *k, const double *const *in, double *out)
{
    int axis = axis_of(k->opt[0], k->out.ndim);
    for (int64_t i = 0; i < case_numel(k->out); i++) {
        int64_t at[TLV_MAX_DIMS];
        unravel(k->out, i, at);
        int from = 0;
        while (at[axis] >= k->in[from].shape.dim[axis]) at[axis] -= k->in[from++].shape.dim[axis];
        out[i] = in[from][ravel(k->in[from].shape, at)];
    }
}

static tlv_tensor *stack_call(tlv_ctx *c, const tlv_tensor *const *in, const op_case *k)
{
    return tlv_stack(c, k->n_in, in, (int)k->opt[0]);
}

static void stack_ref(const op_case *k, const double *const *in, double *out)
{
    int axis = axis_of(k->opt[0], k->out.ndim);
    for (int64_t i = 0; i < case_numel(k->out); i++) {
        int64_t at[TLV_MAX_DIMS], rest[TLV_MAX_DIMS];
        unravel(k->out, i, at);
        for (int d = 0, w = 0; d < k->out.ndim; d++)
            if (d != axis) rest[w++] = at[d];
        out[i] = in[at[axis]][ravel(k->in[0].shape, rest)];
    }
}

static tlv_tensor *roll_call(tlv_ctx *c, const tlv_tensor *const *in, const op_case *k)
{
    return tlv_roll(c, in[0], (int)k->opt[0], (int64_t)k->opt[1]);
}

static void roll_ref(const op_case *k, const double *const *in, double *out)
{
    tlv_shape x = k->in[0].shape;
    int axis = axis_of(k->opt[0], x.ndim);
    for (int64_t i = 0; i < case_numel(x); i++) {
        int64_t at[TLV_MAX_DIMS], n = x.dim[axis];
        unravel(x, i, at);
        at[axis] = ((at[axis] + (int64_t)k->opt[1]) % n + n) % n;
        out[ravel(x, at)] = in[0][i];
    }
}

int case_CAT(int i, op_case *k);
int case_CAT(int i, op_case *k)
{
    enum { CAT, STACK, ROLL };
    static const struct {
        const char *text;
        int what, n;
        tlv_shape x[3], y;
        double opt[2];
    } CASES[] = {
        { "rows", CAT, 2, { { 2, { 2, 3 } }, { 2, { 4, 3 } } }, { 2, { 6, 3 } }, { 0 } },
        { "columns", CAT, 3, { { 2, { 2, 3 } }, { 2, { 2, 1 } }, { 2, { 2, 2 } } }, { 2, { 2, 6 } },
          { -1 } },
        { "channels of images", CAT, 2, { { 4, { 2, 3, 3, 4 } }, { 4, { 2, 2, 3, 4 } } },
          { 4, { 2, 5, 3, 4 } }, { 1 } },
        { "images", CAT, 2, { { 4, { 1, 3, 3, 4 } }, { 4, { 2, 3, 3, 4 } } }, { 4, { 3, 3, 3, 4 } },
          { 0 } },
        { "one", CAT, 1, { { 1, { 3 } } }, { 1, { 3 } }, { 0 } },
        { "with an empty one", CAT, 3, { { 1, { 3 } }, { 1, { 0 } }, { 1, { 2 } } }, { 1, { 5 } },
          { 0 } },
        { "empty", CAT, 2, { { 2, { 0, 3 } }, { 2, { 0, 2 } } }, { 2, { 0, 5 } }, { 1 } },
        { "stack in front", STACK, 3, { { 2, { 2, 3 } }, { 2, { 2, 3 } }, { 2, { 2, 3 } } },
          { 3, { 3, 2, 3 } }, { 0 } },
        { "stack at the end", STACK, 2, { { 2, { 2, 3 } }, { 2, { 2, 3 } } }, { 3, { 2, 3, 2 } },
          { -1 } },
        { "stack in the middle", STACK, 2, { { 2, { 2, 3 } }, { 2, { 2, 3 } } }, { 3, { 2, 2, 3 } },
          { 1 } },
        { "stack scalars", STACK, 3, { { 0, { 0 } }, { 0, { 0 } }, { 0, { 0 } } }, { 1, { 3 } },
          { 0 } },
        { "roll", ROLL, 1, { { 2, { 3, 5 } } }, { 2, { 3, 5 } }, { 1, 2 } },
        { "roll back by more than all", ROLL, 1, { { 2, { 5, 2 } } }, { 2, { 5, 2 } }, { 0, -7 } },
    };
    static tlv_tensor *(*const CALL[])(tlv_ctx *, const tlv_tensor *const *,
                                       const op_case *) = { cat_call, stack_call, roll_call };
    static void (*const REF[])(const op_case *, const double *const *,
                               double *) = { cat_ref, stack_ref, roll_ref };
    if (i >= (int)(sizeof CASES / sizeof CASES[0])) return 0;
    *k = (op_case){ .text = CASES[i].text, .n_in = CASES[i].n, .out = CASES[i].y,
                    .call = CALL[CASES[i].what], .ref = REF[CASES[i].what],
                    .opt = { CASES[i].opt[0], CASES[i].opt[1] }, .no_second = 1 };
    for (int n = 0; n < CASES[i].n; n++) k->in[n].shape = CASES[i].x[n];
    return 1;
}

/* ---- flip: number of axes, axes -------------------------------------------------------------- */

static tlv_tensor *flip_call(tlv_ctx *c, const tlv_tensor *const *in, const op_case *k)
{
    tlv_axes a = { .n = (int)k->opt[0] };
    for (int i = 0; i < a.n; i++) a.axis[i] = (int)k->opt[1 + i];
    return tlv_flip(c, in[0], a);
}

static void flip_ref(const op_case *k, const double *const *in, double *out)
{
    tlv_shape x = k->in[0].shape;
    int all = k->opt[0] < 0;
    for (int64_t i = 0; i < case_numel(x); i++) {
        int64_t at[TLV_MAX_DIMS];
        unravel(x, i, at);
        for (int d = 0; d < (all ? x.ndim : (int)k->opt[0]); d++) {
            int axis = all ? d : axis_of(k->opt[1 + d], x.ndim);
            at[axis] = x.dim[axis] - 1 - at[axis];
        }
        out[i] = in[0][ravel(x, at)];
    }
}

int case_FLIP(int i, op_case *k);
int case_FLIP(int i, op_case *k)
{
    static const struct { const char *text; tlv_shape x; double opt[4]; } CASES[] = {
        { "a row", { 1, { 5 } }, { 1, 0 } },
        { "left and right", { 4, { 2, 3, 3, 4 } }, { 1, -1 } },
        { "half a turn", { 4, { 2, 3, 3, 4 } }, { 2, 2, 3 } },
        { "channels and images", { 4, { 2, 3, 3, 4 } }, { 2, 0, 1 } },
        { "all axes", { 3, { 2, 3, 4 } }, { -1 } },
        { "no axis", { 2, { 2, 3 } }, { 0 } },
        { "dims of 1", { 3, { 1, 3, 1 } }, { 3, 0, 1, 2 } },
        { "empty", { 2, { 2, 0 } }, { 2, 0, 1 } },
    };
    if (i >= (int)(sizeof CASES / sizeof CASES[0])) return 0;
    *k = (op_case){ .text = CASES[i].text, .n_in = 1, .in = { { .shape = CASES[i].x } },
                    .out = CASES[i].x, .call = flip_call, .ref = flip_ref, .no_second = 1 };
    for (int d = 0; d < 4; d++) k->opt[d] = CASES[i].opt[d];
    return 1;
}
