/* test_conv.c -- convolutions large enough for several blocks, panels, groups of terms and parts of
 * sums; inputs that are slices; activations; errors.  Small shapes and derivatives:
 * cases_conv.c. */
#include <math.h>
#include <stdlib.h>

#include "tests/support.h"
#include "autograd/autograd.h"
#include "tensor/core.h"

typedef struct shape {
    const char *text;
    int b, c, h, w, o, k, stride, pad, dil, groups;
    int more;                               /* padding below and at the right, beside pad */
} shape;

static const shape SHAPES[] = {
    { "several blocks and panels", 2, 20, 37, 33, 70, 3, 1, 1, 1, 1, 0 },
    { "stride 2, a rest", 3, 17, 24, 31, 33, 3, 2, 1, 1, 1, 0 },
    { "a wide row", 1, 3, 2, 700, 18, 3, 1, 1, 1, 1, 0 },
    { "more terms than one accumulator takes", 2, 150, 5, 6, 9, 3, 1, 1, 1, 1, 0 },
    { "several chunks of channels, stride 2", 2, 200, 9, 10, 20, 3, 2, 1, 1, 1, 0 },
    { "several chunks of channels, 1x1 and stride 2", 3, 900, 6, 7, 40, 1, 2, 0, 1, 1, 0 },
    { "1x1 over many images", 9, 40, 7, 7, 35, 1, 1, 0, 1, 1, 0 },
    { "pixels a power of two apart", 1, 1024, 4, 5, 16, 1, 1, 0, 1, 1, 0 },
    { "the same with stride", 1, 512, 6, 5, 16, 1, 2, 0, 1, 1, 0 },
    { "the same in a strip", 1, 512, 5, 4, 5, 3, 1, 1, 1, 1, 0 },
    { "small images, large sums", 40, 16, 8, 8, 16, 3, 1, 1, 1, 1, 0 },
    { "groups", 3, 24, 15, 14, 36, 3, 1, 1, 2, 3, 0 },
    { "depthwise", 4, 50, 21, 34, 50, 5, 1, 2, 1, 50, 0 },
    { "depthwise, stride 2", 4, 33, 21, 34, 33, 3, 2, 1, 1, 33, 0 },
    { "depthwise, whole vectors", 3, 48, 19, 23, 48, 3, 1, 1, 1, 48, 0 },
    { "depthwise, stride 2, padded at one side", 3, 24, 22, 18, 24, 3, 2, 0, 1, 24, 1 },
    { "depthwise, dilated", 2, 21, 12, 17, 21, 3, 1, 2, 2, 21, 0 },
    { "depthwise, dilated, stride 2, padded at one side", 2, 17, 15, 14, 17, 3, 2, 1, 2, 17, 2 },
    { "depthwise, all border", 5, 19, 2, 2, 19, 3, 1, 1, 1, 19, 0 },
    { "depthwise, an even filter", 2, 40, 9, 10, 40, 4, 1, 1, 1, 40, 1 },
    { "1x1, few terms, one panel and a rest", 2, 8, 13, 11, 24, 1, 1, 0, 1, 1, 0 },
    { "1x1, few channels out", 2, 48, 13, 11, 8, 1, 1, 0, 1, 1, 0 },
    { "three channels, stride 2, padded at one side", 2, 3, 26, 22, 16, 3, 2, 0, 1, 1, 1 },
    { "small images, stride 2", 5, 64, 7, 7, 64, 3, 2, 1, 1, 1, 0 },
    { "small images, two tiles of them, rests of channels", 9, 21, 6, 5, 37, 3, 2, 1, 1, 1, 0 },
    { "small images, several groups of terms", 4, 70, 5, 4, 16, 4, 1, 2, 1, 1, 0 },
    { "small images, nothing inside of some filters", 6, 16, 3, 4, 17, 2, 3, 3, 1, 1, 0 },
    { "small images, dilated, stride 2", 7, 18, 6, 7, 20, 3, 2, 2, 2, 1, 1 },
    { "small images, stride larger than the kernel", 5, 16, 8, 7, 16, 2, 3, 0, 1, 1, 0 },
    { "small images, groups", 5, 34, 5, 6, 36, 3, 2, 1, 1, 2, 0 },
};
enum { SHAPE_COUNT = sizeof SHAPES / sizeof SHAPES[0] };

static int out_size(const shape *s, int n)
{
    return (n + 2 * s->pad + s->more - s->dil * (s->k - 1) - 1) / s->stride + 1;
}

static tlv_conv2d_opts opts_of(const shape *s)
{
    return (tlv_conv2d_opts){ .stride = s->stride,
                              .pad = { s->pad, s->pad + s->more, s->pad, s->pad + s->more },
                              .dilation = s->dil,
                              .groups = s->groups };
}

/* Direct convolution whatever the shape; test_winograd.c has the other way. */
static tlv_ctx *open_direct(int threads)
{
    return tlv_ctx_open(&(tlv_ctx_opts){ .threads = threads, .conv = TLV_CONV_DIRECT });
}

/* Values of one shape and what the definition makes of them; all row-major doubles that are exact
 * in f32. */
typedef struct values {
    int64_t nx, nw, ny;
    double *x, *w, *g, *y, *dx, *dw;
} values;

static double *fresh(int64_t n, uint64_t seed)
{
    double *v = calloc((size_t)n + 1, sizeof *v);
    if (v && seed) support_uniform(v, n, seed, -1, 1);
    for (int64_t i = 0; v && seed && i < n; i++) v[i] = round(v[i] * 1024) / 1024;
    return v;
}

static void define(const shape *s, values *v)
{
    int oh = out_size(s, s->h), ow = out_size(s, s->w), cg = s->c / s->groups,
        og = s->o / s->groups;
    v->nx = (int64_t)s->b * s->c * s->h * s->w;
    v->nw = (int64_t)s->o * cg * s->k * s->k;
    v->ny = (int64_t)s->b * s->o * oh * ow;
    v->x = fresh(v->nx, 1), v->w = fresh(v->nw, 2), v->g = fresh(v->ny, 3);
    v->y = fresh(v->ny, 0), v->dx = fresh(v->nx, 0), v->dw = fresh(v->nw, 0);
    for (int64_t at = 0; at < v->ny * cg; at++) {
        int64_t y = at / cg, c = at % cg, j = y % ow, i = y / ow % oh, o = y / ow / oh % s->o;
        int64_t b = y / ow / oh / s->o, plane = b * s->c + o / og * cg + c;
        for (int k = 0; k < s->k; k++)
            for (int l = 0; l < s->k; l++) {
                int64_t row = i * s->stride + k * s->dil - s->pad,
                        col = j * s->stride + l * s->dil - s->pad;
                if (row < 0 || row >= s->h || col < 0 || col >= s->w) continue;
                int64_t x = (plane * s->h + row) * s->w + col,
                        w = ((o * cg + c) * s->k + k) * s->k + l;
                v->y[y] += v->x[x] * v->w[w];
                v->dx[x] += v->g[y] * v->w[w];
                v->dw[w] += v->g[y] * v->x[x];
            }
    }
}

static void forget(values *v)
{
    double *all[] = { v->x, v->w, v->g, v->y, v->dx, v->dw };
    for (int i = 0; i < 6; i++) free(all[i]);
}

static void check_close(tlv_ctx *c, const char *text, const char *what, const tlv_tensor *t,
                        const double *want, int64_t n, double tol)
{
    double *got = fresh(n, 0), worst = 0, largest = 0;
    if (support_read(c, t, got, n))
        for (int64_t i = 0; i < n; i++) {
            if (!(fabs(got[i] - want[i]) <= worst)) worst = fabs(got[i] - want[i]);
            if (fabs(want[i]) > largest) largest = fabs(want[i]);
        }
    EXPECT(largest > 0 && worst <= tol * largest, "%s: %s differs by %g of %g", text, what, worst,
           largest);
    free(got);
}

static void check_shape(tlv_ctx *c, const shape *s, tlv_dtype d, double tol)
{
    values v;
    define(s, &v);
    tlv_scope scope = tlv_scope_begin(c);
    int oh = out_size(s, s->h), ow = out_size(s, s->w);
    tlv_tensor *x = support_tensor(c, d, tlv_shape4(s->b, s->c, s->h, s->w), v.x, 0,
                                   SUPPORT_CHANNELS_LAST);
    tlv_tensor *w = support_tensor(c, d, tlv_shape4(s->o, s->c / s->groups, s->k, s->k), v.w, 0,
                                   SUPPORT_ROW_MAJOR);
    tlv_tensor *g = support_tensor(c, d, tlv_shape4(s->b, s->o, oh, ow), v.g, 0,
                                   SUPPORT_CHANNELS_LAST);
    check_close(c, s->text, "y", tlv_conv2d(c, x, w, NULL, opts_of(s)), v.y, v.ny, tol);
    check_close(c, s->text, "dx", tlv_conv2d_dx(c, g, w, s->h, s->w, opts_of(s)), v.dx, v.nx, tol);
    check_close(c, s->text, "dw", tlv_conv2d_dw(c, g, x, s->k, s->k, opts_of(s)), v.dw, v.nw, tol);
    EXPECT_OK(c);
    tlv_scope_end(c, scope);
    forget(&v);
}

static void test_large_shapes(void)
{
    SKIP_EMULATED();
    tlv_ctx *c = open_direct(1);
    REQUIRE(c, "no context");
    for (int i = 0; i < SHAPE_COUNT; i++) {
        check_shape(c, &SHAPES[i], TLV_F32, 2e-6);
        check_shape(c, &SHAPES[i], TLV_F64, 1e-14);
    }
    tlv_ctx_close(c);
}

/* The bytes of y, dx and dw, one behind the other. */
static float *run_with(const shape *s, const values *v, int threads)
{
    tlv_ctx *c = open_direct(threads);
    float *out = calloc((size_t)(v->ny + v->nx + v->nw), sizeof *out);
    if (c && out) {
        tlv_tensor *x = support_tensor(c, TLV_F32, tlv_shape4(s->b, s->c, s->h, s->w), v->x, 0,
                                       SUPPORT_CHANNELS_LAST);
        tlv_tensor *w = support_tensor(c, TLV_F32, tlv_shape4(s->o, s->c / s->groups, s->k, s->k),
                                       v->w, 0, SUPPORT_ROW_MAJOR);
        tlv_tensor *y = tlv_conv2d(c, x, w, NULL, opts_of(s));
        tlv_read(c, y, out, v->ny);
        tlv_read(c, tlv_conv2d_dx(c, y, w, s->h, s->w, opts_of(s)), out + v->ny, v->nx);
        tlv_read(c, tlv_conv2d_dw(c, y, x, s->k, s->k, opts_of(s)), out + v->ny + v->nx, v->nw);
        EXPECT_OK(c);
    }
    tlv_ctx_close(c);
    return out;
}

static void test_threads_change_no_bit(void)
{
    SKIP_EMULATED();
    for (int i = 0; i < SHAPE_COUNT; i++) {
        values v;
        define(&SHAPES[i], &v);
        float *one = run_with(&SHAPES[i], &v, 1), *three = run_with(&SHAPES[i], &v, 3);
        size_t bytes = (size_t)(v.ny + v.nx + v.nw) * sizeof *one;
        EXPECT(one && three && memcmp(one, three, bytes) == 0, "%s", SHAPES[i].text);
        free(one);
        free(three);
        forget(&v);
    }
}

/* Each image of a batch has the bits that it has alone, however many there are. */
static void check_alone(tlv_ctx *c, const shape *s, const tlv_tensor *x, const tlv_tensor *w)
{
    tlv_tensor *y = tlv_conv2d(c, x, w, NULL, opts_of(s));
    tlv_tensor *dx = tlv_conv2d_dx(c, y, w, s->h, s->w, opts_of(s));
    int64_t ny = tlv_numel(y) / s->b, nx = tlv_numel(dx) / s->b;
    double *all = fresh(s->b * (ny > nx ? ny : nx), 0), *one = fresh(ny > nx ? ny : nx, 0);
    for (int i = 0; i < s->b; i++) {
        const tlv_tensor *xi = tlv_slice(c, x, 0, i, i + 1, 1);
        tlv_tensor *yi = tlv_conv2d(c, xi, w, NULL, opts_of(s));
        tlv_tensor *di = tlv_conv2d_dx(c, yi, w, s->h, s->w, opts_of(s));
        EXPECT(support_read(c, y, all, s->b * ny) && support_read(c, yi, one, ny)
                   && memcmp(all + i * ny, one, (size_t)ny * sizeof *one) == 0,
               "%s: y of image %d", s->text, i);
        EXPECT(support_read(c, dx, all, s->b * nx) && support_read(c, di, one, nx)
                   && memcmp(all + i * nx, one, (size_t)nx * sizeof *one) == 0,
               "%s: dx of image %d", s->text, i);
    }
    free(all), free(one);
}

static void test_an_image_alone_has_the_same_bits(void)
{
    tlv_ctx *c = open_direct(1);
    REQUIRE(c, "no context");
    for (int i = 0; i < SHAPE_COUNT; i++) {
        const shape *s = &SHAPES[i];
        values v;
        define(s, &v);
        tlv_scope scope = tlv_scope_begin(c);
        tlv_shape xs = tlv_shape4(s->b, s->c, s->h, s->w);
        tlv_shape ws = tlv_shape4(s->o, s->c / s->groups, s->k, s->k);
        check_alone(c, s, support_tensor(c, TLV_F32, xs, v.x, 0, SUPPORT_CHANNELS_LAST),
                    support_tensor(c, TLV_F32, ws, v.w, 0, SUPPORT_ROW_MAJOR));
        EXPECT_OK(c);
        tlv_scope_end(c, scope);
        forget(&v);
    }
    tlv_ctx_close(c);
}

/* A few channels of a wider image, as they lie: pixels further apart than channels. */
static void test_slices_of_channels(void)
{
    tlv_ctx *c = open_direct(1);
    REQUIRE(c, "no context");
    enum { B = 2, ALL = 40, C = 24, FROM = 9, H = 6, W = 7, O = 10 };
    double *v = fresh(B * ALL * H * W, 5), *k = fresh(O * C * 9, 6);
    tlv_tensor *wide = support_tensor(c, TLV_F64, tlv_shape4(B, ALL, H, W), v, 0,
                                      SUPPORT_CHANNELS_LAST);
    tlv_tensor *x = tlvi_new_view(c, wide);
    REQUIRE(x, "no view");
    x->shape[1] = C;
    x->offset += FROM;
    double *part = fresh(B * C * H * W, 0);
    EXPECT(support_read(c, x, part, B * C * H * W), "cannot read the slice");
    tlv_tensor *dense = support_tensor(c, TLV_F64, tlv_shape4(B, C, H, W), part, 0,
                                       SUPPORT_CHANNELS_LAST);
    for (int size = 1; size <= 3; size += 2) {
        tlv_tensor *w = support_tensor(c, TLV_F64, tlv_shape4(O, C, size, size), k, 0,
                                       SUPPORT_ROW_MAJOR);
        tlv_conv2d_opts o = { .pad = { size / 2, size / 2, size / 2, size / 2 } };
        tlv_tensor *y = tlv_conv2d(c, dense, w, NULL, o), *y2 = tlv_conv2d(c, x, w, NULL, o);
        tlv_tensor *d = tlv_conv2d_dw(c, y, dense, size, size, o),
                   *d2 = tlv_conv2d_dw(c, y, x, size, size, o);
        double a[O * C * 9];
        EXPECT(support_read(c, y, a, B * O * H * W), "y");
        check_close(c, "a slice", "y", y2, a, B * O * H * W, 0);
        EXPECT(support_read(c, d, a, O * C * size * size), "dw");
        check_close(c, "a slice", "dw", d2, a, O * C * size * size, 1e-14);
    }
    EXPECT_OK(c);
    free(v), free(k), free(part);
    tlv_ctx_close(c);
}

/* Every activation in the epilogue is the op of its name; scale, shift and residual come before
 * it. */
static void test_activations_in_the_epilogue(void)
{
    tlv_ctx *c = open_direct(1);
    REQUIRE(c, "no context");
    enum { N = 2 * 19 * 5 * 6 };
    double *v = fresh(N, 7), *k = fresh(19 * 3 * 9, 8), want[N];
    tlv_tensor *x = support_tensor(c, TLV_F64, tlv_shape4(2, 3, 5, 6), v, 0, SUPPORT_CHANNELS_LAST);
    tlv_tensor *w = support_tensor(c, TLV_F64, tlv_shape4(19, 3, 3, 3), k, 0, SUPPORT_ROW_MAJOR);
    tlv_tensor *scale = support_tensor(c, TLV_F64, tlv_shape1(19), v + 30, 0, SUPPORT_ROW_MAJOR);
    tlv_tensor *shift = support_tensor(c, TLV_F64, tlv_shape1(19), v + 60, 0, SUPPORT_ROW_MAJOR);
    tlv_tensor *res = support_tensor(c, TLV_F64, tlv_shape4(2, 19, 5, 6), v, 0, SUPPORT_ROW_MAJOR);
    tlv_conv2d_opts o = { .pad = { 1, 1, 1, 1 } };
    tlv_tensor *z = tlv_mul(c, tlv_conv2d(c, x, w, NULL, o),
                            tlv_reshape(c, scale, tlv_shape3(19, 1, 1)));
    z = tlv_add(c, tlv_add(c, z, tlv_reshape(c, shift, tlv_shape3(19, 1, 1))), res);
    for (int act = TLV_ACT_NONE; act <= TLV_ACT_HARD_SIGMOID; act++) {
        tlv_conv2d_fuse f = { scale, shift, res, (tlv_act)act };
        tlv_tensor *y = tlv_conv2d_fused(c, x, w, o, f);
        EXPECT(support_read(c, tlv_activate(c, z, (tlv_act)act), want, N), "activation %d", act);
        check_close(c, "fused", "y", y, want, N, 1e-14);
    }
    EXPECT_OK(c);
    free(v), free(k);
    tlv_ctx_close(c);
}

/* Scale, shift, residual and ReLU6 in the pass of the convolution, for every shape above: depthwise
 * and not, whole panels and rests, several groups of terms. */
static void check_fused(tlv_ctx *c, const shape *s, tlv_dtype d, double tol)
{
    values v;
    define(s, &v);
    tlv_scope scope = tlv_scope_begin(c);
    int oh = out_size(s, s->h), ow = out_size(s, s->w);
    tlv_tensor *x = support_tensor(c, d, tlv_shape4(s->b, s->c, s->h, s->w), v.x, 0,
                                   SUPPORT_CHANNELS_LAST);
    tlv_tensor *w = support_tensor(c, d, tlv_shape4(s->o, s->c / s->groups, s->k, s->k), v.w, 0,
                                   SUPPORT_ROW_MAJOR);
    tlv_tensor *scale = support_tensor(c, d, tlv_shape1(s->o), v.g, 0, SUPPORT_ROW_MAJOR);
    tlv_tensor *shift = support_tensor(c, d, tlv_shape1(s->o), v.g + 5, 0, SUPPORT_ROW_MAJOR);
    tlv_tensor *res = support_tensor(c, d, tlv_shape4(s->b, s->o, oh, ow), v.g, 0,
                                     SUPPORT_CHANNELS_LAST);
    tlv_conv2d_fuse f = { scale, shift, res, TLV_ACT_RELU6 };
    tlv_tensor *y = tlv_conv2d_fused(c, x, w, opts_of(s), f);
    double *want = fresh(v.ny, 0), *k = fresh(s->o, 0), *t = fresh(s->o, 0);
    EXPECT(support_read(c, scale, k, s->o) && support_read(c, shift, t, s->o), "no row");
    for (int64_t i = 0; i < v.ny; i++) {
        int64_t o = i / (oh * ow) % s->o;
        want[i] = fmin(6, fmax(0, v.y[i] * k[o] + t[o] + v.g[i]));
    }
    check_close(c, s->text, "fused y", y, want, v.ny, tol);
    EXPECT_OK(c);
    tlv_scope_end(c, scope);
    free(want), free(k), free(t);
    forget(&v);
}

static void test_the_epilogue_of_every_shape(void)
{
    tlv_ctx *c = open_direct(1);
    REQUIRE(c, "no context");
    for (int i = 0; i < SHAPE_COUNT; i++) {
        check_fused(c, &SHAPES[i], TLV_F32, 1e-5);
        check_fused(c, &SHAPES[i], TLV_F64, 1e-14);
    }
    tlv_ctx_close(c);
}

/* A convolution whose activation is a function of its output keeps y, and not what came before
 * it. */
static void test_the_fused_node_is_one(void)
{
    tlv_ctx *c = open_direct(1);
    REQUIRE(c, "no context");
    tlv_tensor *x = tlv_leaf(c, tlv_full(c, TLV_F32, tlv_shape4(1, 2, 4, 4), 0.5));
    tlv_tensor *w = tlv_leaf(c, tlv_full(c, TLV_F32, tlv_shape4(3, 2, 3, 3), 0.25));
    tlv_conv2d_opts o = { 0 };
    tlv_conv2d_fused(c, x, w, o, (tlv_conv2d_fuse){ .act = TLV_ACT_RELU });
    EXPECT_INT(tlv_mem_get(c).tape_nodes, 1);
    tlv_conv2d_fused(c, x, w, o, (tlv_conv2d_fuse){ .act = TLV_ACT_SILU });
    EXPECT_INT(tlv_mem_get(c).tape_nodes, 3);
    EXPECT_OK(c);
    tlv_ctx_close(c);
}

static void test_errors(void)
{
    tlv_ctx *c = open_direct(1);
    REQUIRE(c, "no context");
    tlv_tensor *x = tlv_zeros(c, TLV_F32, tlv_shape4(1, 4, 5, 6)),
               *w = tlv_zeros(c, TLV_F32, tlv_shape4(6, 2, 3, 3));
    tlv_tensor *row = tlv_zeros(c, TLV_F32, tlv_shape1(5)),
               *x64 = tlv_zeros(c, TLV_F64, tlv_shape4(1, 4, 5, 6));
    tlv_tensor *i = tlv_zeros(c, TLV_I32, tlv_shape4(1, 4, 5, 6)),
               *g = tlv_zeros(c, TLV_F32, tlv_shape4(1, 6, 3, 4));
    tlv_conv2d_opts two = { .groups = 2 }, none = { 0 }, minus = { .stride = -1 },
                    pad = { .pad = { 0, -1 } };
    tlv_conv2d_opts far = { .groups = 2, .dilation = 3 };
    EXPECT(!tlv_conv2d(c, x, w, NULL, none), "one group");
    EXPECT_ERROR(c, TLV_ERR_SHAPE, "x is [1,4,5,6], w is [6,2,3,3], groups 1");
    EXPECT(!tlv_conv2d(c, row, w, NULL, none), "a row");
    EXPECT_ERROR(c, TLV_ERR_SHAPE, "x is [5]");
    EXPECT(!tlv_conv2d(c, x, w, row, two), "a short bias");
    EXPECT_ERROR(c, TLV_ERR_SHAPE, "bias is [5], it must be [6]");
    EXPECT(!tlv_conv2d(c, x, w, NULL, far), "no pixel left");
    EXPECT_ERROR(c, TLV_ERR_SHAPE, "no output pixel is left");
    EXPECT(!tlv_conv2d(c, x, w, NULL, minus), "a negative stride");
    EXPECT_ERROR(c, TLV_ERR_ARG, "stride -1");
    EXPECT(!tlv_conv2d(c, x, w, NULL, pad), "a negative pad");
    EXPECT_ERROR(c, TLV_ERR_ARG, "pad 0,-1,0,0");
    EXPECT(!tlv_conv2d(c, x64, w, NULL, two), "mixed dtypes");
    EXPECT_ERROR(c, TLV_ERR_DTYPE, "f64[1,4,5,6] and f32[6,2,3,3]");
    EXPECT(!tlv_conv2d(c, i, i, NULL, two), "integers");
    EXPECT_ERROR(c, TLV_ERR_DTYPE, "i32");
    EXPECT(!tlv_conv2d_dx(c, g, w, 5, 5, two), "another width");
    EXPECT_ERROR(c, TLV_ERR_SHAPE, "g is [1,6,3,4], it must be [1,6,3,3]");
    EXPECT(!tlv_conv2d_dw(c, g, x, 2, 3, two), "another kernel");
    EXPECT_ERROR(c, TLV_ERR_SHAPE, "g is [1,6,3,4], it must be [1,6,4,4]");
    EXPECT(!tlv_conv2d_fused(c, x, w, two, (tlv_conv2d_fuse){ .residual = x }),
           "a residual of another shape");
    EXPECT_ERROR(c, TLV_ERR_SHAPE, "residual is [1,4,5,6], it must be [1,6,3,4]");
    EXPECT(!tlv_conv2d_fused(c, x, w, two, (tlv_conv2d_fuse){ .act = (tlv_act)99 }),
           "no such activation");
    EXPECT_ERROR(c, TLV_ERR_ARG, "activation 99");
    EXPECT(tlv_conv2d_dx(c, g, w, 5, 6, two) != NULL && tlv_conv2d_dw(c, g, x, 3, 3, two) != NULL,
           "the right sizes");
    EXPECT_OK(c);
    tlv_ctx_close(c);
}

TEST_MAIN(T(test_large_shapes), T(test_threads_change_no_bit),
          T(test_an_image_alone_has_the_same_bits), T(test_slices_of_channels),
          T(test_activations_in_the_epilogue), T(test_the_epilogue_of_every_shape),
          T(test_the_fused_node_is_one), T(test_errors))
