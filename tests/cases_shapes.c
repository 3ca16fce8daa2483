/* cases_shapes.c -- shapes that the cases of element-wise ops share. */
#include "tests/opcase.h"

int case_shape(int i, tlv_shape *s, const char **text)
{
    static const struct { const char *text; tlv_shape s; } SHAPES[] = {
        { "3x5", { 2, { 3, 5 } } },
        { "images", { 4, { 2, 3, 4, 5 } } },
        { "one element", { 1, { 1 } } },
        { "a scalar", { 0, { 0 } } },
        { "37", { 1, { 37 } } },
        { "dims of 1", { 5, { 1, 3, 1, 1, 2 } } },
        { "images of 1x1", { 4, { 3, 5, 1, 1 } } },
        { "empty", { 1, { 0 } } },
        { "empty in the middle", { 3, { 2, 0, 3 } } },
    };
    if (i >= (int)(sizeof SHAPES / sizeof SHAPES[0])) return 0;
    *s = SHAPES[i].s;
    *text = SHAPES[i].text;
    return 1;
}

int case_shapes2(int i, tlv_shape *a, tlv_shape *b, tlv_shape *out, const char **text)
{
    static const struct { const char *text; tlv_shape a, b, out; } SHAPES[] = {
        { "same shape", { 2, { 3, 5 } }, { 2, { 3, 5 } }, { 2, { 3, 5 } } },
        { "images", { 4, { 2, 3, 4, 5 } }, { 4, { 2, 3, 4, 5 } }, { 4, { 2, 3, 4, 5 } } },
        { "bias", { 2, { 7, 5 } }, { 1, { 5 } }, { 2, { 7, 5 } } },
        { "bias first", { 1, { 5 } }, { 2, { 7, 5 } }, { 2, { 7, 5 } } },
        { "per channel", { 4, { 2, 3, 4, 5 } }, { 3, { 3, 1, 1 } }, { 4, { 2, 3, 4, 5 } } },
        { "a scalar", { 2, { 3, 4 } }, { 0, { 0 } }, { 2, { 3, 4 } } },
        { "two scalars", { 0, { 0 } }, { 0, { 0 } }, { 0, { 0 } } },
        { "both broadcast", { 3, { 4, 1, 3 } }, { 2, { 5, 1 } }, { 3, { 4, 5, 3 } } },
        { "column by row", { 2, { 7, 1 } }, { 2, { 1, 9 } }, { 2, { 7, 9 } } },
        { "37", { 1, { 37 } }, { 1, { 37 } }, { 1, { 37 } } },
        { "empty", { 2, { 0, 3 } }, { 1, { 3 } }, { 2, { 0, 3 } } },
        { "1 against 0", { 2, { 2, 1 } }, { 2, { 2, 0 } }, { 2, { 2, 0 } } },
    };
    if (i >= (int)(sizeof SHAPES / sizeof SHAPES[0])) return 0;
    *a = SHAPES[i].a;
    *b = SHAPES[i].b;
    *out = SHAPES[i].out;
    *text = SHAPES[i].text;
    return 1;
}

int case_unary(int i, op_case *k, double lo, double hi)
{
    *k = (op_case){ .n_in = 1, .in = { { .lo = lo, .hi = hi } } };
    if (!case_shape(i, &k->in[0].shape, &k->text)) return 0;
    k->out = k->in[0].shape;
    return 1;
}

int case_binary(int i, op_case *k, double lo, double hi)
{
    *k = (op_case){ .n_in = 2, .in = { { .lo = lo, .hi = hi }, { .lo = lo, .hi = hi } } };
    return case_shapes2(i, &k->in[0].shape, &k->in[1].shape, &k->out, &k->text);
}
