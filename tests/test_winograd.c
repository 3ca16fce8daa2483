/* test_winograd.c -- Winograd's F(4x4, 3x3): the transforms of every instruction set against their
 * matrices, all three passes against direct convolution in f64, the choice, the same bits. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/support.h"
#include "autograd/autograd.h"
#include "tensor/core.h"

/* ---- the transforms -------------------------------------------------------------------------- */

/* Lavin & Gray 2015, section 4.1 and equation 15, as printed there. */
static const double BT[6][6] = { { 4, 0, -5, 0, 1, 0 },  { 0, -4, -4, 1, 1, 0 },
                                 { 0, 4, -4, -1, 1, 0 }, { 0, -2, -1, 2, 1, 0 },
                                 { 0, 2, -1, -2, 1, 0 }, { 0, 4, 0, -5, 0, 1 } };
static const double G[6][3] = { { 1 / 4.0, 0, 0 },
                                { -1 / 6.0, -1 / 6.0, -1 / 6.0 },
                                { -1 / 6.0, 1 / 6.0, -1 / 6.0 },
                                { 1 / 24.0, 1 / 12.0, 1 / 6.0 },
                                { 1 / 24.0, -1 / 12.0, 1 / 6.0 },
                                { 0, 0, 1 } };
static const double AT[4][6] = {
    { 1, 1, 1, 1, 1, 0 }, { 0, 1, -1, 2, -2, 0 }, { 0, 1, 1, 4, 4, 0 }, { 0, 1, -1, 8, -8, 1 }
};

/* y [ny,ny] = M x M^T, x [nx,nx]; m[i * by_row + k * by_col] is row i, column k of M. */
static void sandwich(const double *m, int by_row, int by_col, int ny, int nx, const double *x,
                     double *y)
{
    for (int i = 0; i < ny; i++)
        for (int j = 0; j < ny; j++) {
            double sum = 0;
            for (int k = 0; k < nx; k++)
                for (int l = 0; l < nx; l++)
                    sum += m[i * by_row + k * by_col] * x[k * nx + l] * m[j * by_row + l * by_col];
            y[i * ny + j] = sum;
        }
}

enum { ROW = 40, PLACES = 36, CHANNELS = 37, GUARD = 77 };

/* Memory of one element type, read and written as doubles. */
typedef struct memory { int f64; float f[PLACES * ROW]; double d[PLACES * ROW]; } memory;

static void *at(memory *m, int i) { return m->f64 ? (void *)&m->d[i] : (void *)&m->f[i]; }
static double get(const memory *m, int i) { return m->f64 ? m->d[i] : m->f[i]; }
static void fill(memory *m, int f64, uint64_t seed)
{
    m->f64 = f64;
    support_uniform(m->d, PLACES * ROW, seed, -1, 1);
    for (int i = 0; i < PLACES * ROW; i++) {
        if (!seed) m->d[i] = GUARD;
        m->f[i] = (float)m->d[i];
        m->d[i] = m->f[i];
    }
}

typedef struct bench { memory in, out; char text[64]; } bench;

/* Value p of channel ch, for n x n places of `out`, is M in M^T; what lies beyond `whole` channels
 * is untouched. */
static void check_values(const bench *b, int ch, int whole, int n_out, int n_in, const double *m,
                         int by_row, int by_col)
{
    double worst = 0;
    int spilt = 0;
    for (int c = 0; c < ROW; c++) {
        double x[36], y[36];
        for (int p = 0; p < n_in * n_in; p++) x[p] = get(&b->in, p * ROW + c);
        sandwich(m, by_row, by_col, n_out, n_in, x, y);
        for (int p = 0; p < n_out * n_out; p++) {
            double got = get(&b->out, p * ROW + c);
            if (c < ch) worst = fmax(worst, fabs(got - y[p]));
            if (c >= whole) spilt += got != GUARD;
        }
    }
    EXPECT(worst <= (b->in.f64 ? 1e-13 : 2e-4), "%s: %d channels: off by %g", b->text, ch, worst);
    EXPECT(!spilt, "%s: %d channels: %d written outside", b->text, ch, spilt);
}

static void check_pixels(const tlvi_kset *k, bench *b, int ch)
{
    const void *px[36];
    int whole = (ch + k->lanes - 1) / k->lanes * k->lanes;
    for (int i = 0; i < 36; i++) px[i] = at(&b->in, i * ROW);
    fill(&b->out, b->in.f64, 0);
    k->wino_input((size_t)ch, px, at(&b->out, 0), ROW);
    check_values(b, ch, whole, 6, 6, &BT[0][0], 6, 1);
    fill(&b->out, b->in.f64, 0);
    k->wino_grad((size_t)ch, px, at(&b->out, 0), ROW);
    check_values(b, ch, whole, 6, 4, &AT[0][0], 1, 6);
    fill(&b->out, b->in.f64, 0);
    k->wino_output(&(tlvi_wino_out){ .ch = (size_t)ch, .m = at(&b->in, 0), .step = ROW, .rows = 4,
                                     .cols = 4, .y = at(&b->out, 0), .yh = 4 * ROW, .yw = ROW });
    check_values(b, ch, ch, 4, 6, &AT[0][0], 6, 1);
}

/* Every part of a tile, with what follows a convolution. */
static void check_ends(const tlvi_kset *k, bench *b, int rows, int cols)
{
    static memory extra;
    fill(&extra, b->in.f64, 11);
    fill(&b->out, b->in.f64, 0);
    tlvi_conv_end end = { .scale = at(&extra, 0), .shift = at(&extra, ROW),
                          .res = at(&extra, 2 * ROW), .ldr = ROW, .lo = -0.25, .hi = 0.5 };
    k->wino_output(&(tlvi_wino_out){ .ch = CHANNELS, .m = at(&b->in, 0), .step = ROW, .rows = rows,
                                     .cols = cols, .y = at(&b->out, 0), .yh = 4 * ROW, .yw = ROW,
                                     .end = &end, .rh = 5 * ROW });
    double worst = 0;
    int spilt = 0;
    for (int c = 0; c < ROW; c++) {
        double x[36], y[16];
        for (int p = 0; p < 36; p++) x[p] = get(&b->in, p * ROW + c);
        sandwich(&AT[0][0], 6, 1, 4, 6, x, y);
        for (int p = 0; p < 16; p++) {
            double got = get(&b->out, p * ROW + c);
            if (c >= CHANNELS || p / 4 >= rows || p % 4 >= cols) {
                spilt += got != GUARD;
                continue;
            }
            double want = y[p] * get(&extra, c) + get(&extra, ROW + c)
                          + get(&extra, (2 + p / 4 * 5 + p % 4) * ROW + c);
            worst = fmax(worst, fabs(got - fmin(0.5, fmax(-0.25, want))));
        }
    }
    EXPECT(worst <= (b->in.f64 ? 1e-13 : 2e-4) && !spilt,
           "%s: %d x %d pixels: off by %g, %d written outside", b->text, rows, cols, worst, spilt);
}

/* Taps in another order; w and u are [filter][width]. */
static void check_filters(const tlvi_kset *k, bench *b)
{
    static const int64_t TAP[9] = { 8, 1, 6, 3, 4, 5, 2, 7, 0 };
    int width = 2 * k->lanes, n = ROW / width > 2 ? 2 : ROW / width;
    double worst = 0, worst_back = 0;
    if (width * n > ROW || n < 1) width = k->lanes, n = 1;
    fill(&b->out, b->in.f64, 0);
    k->wino_filter(n, width, at(&b->in, 0), TAP, at(&b->out, 0), ROW);
    for (int f = 0; f < n * width; f++) {
        double w[9], u[36];
        for (int t = 0; t < 9; t++)
            w[t] = get(&b->in, (9 * (f / width) + (int)TAP[t]) * width + f % width);
        sandwich(&G[0][0], 3, 1, 6, 3, w, u);
        for (int p = 0; p < 36; p++) worst = fmax(worst, fabs(get(&b->out, p * ROW + f) - u[p]));
    }
    EXPECT(get(&b->out, n * width) == GUARD, "%s: filters: written outside", b->text);
    fill(&b->out, b->in.f64, 0);
    k->wino_filter_grad(n, width, at(&b->in, 0), ROW, at(&b->out, 0));
    for (int f = 0; f < n * width; f++) {
        double m[36], w[9];
        for (int p = 0; p < 36; p++) m[p] = get(&b->in, p * ROW + f);
        sandwich(&G[0][0], 1, 3, 3, 6, m, w);
        for (int t = 0; t < 9; t++)
            worst_back = fmax(worst_back,
                              fabs(get(&b->out, (9 * (f / width) + t) * width + f % width) - w[t]));
    }
    EXPECT(get(&b->out, 9 * n * width) == GUARD, "%s: gradient: written outside", b->text);
    double tol = b->in.f64 ? 1e-15 : 1e-6;
    EXPECT(worst <= tol && worst_back <= tol, "%s: filters off by %g, their gradient by %g",
           b->text, worst, worst_back);
}

static void test_transforms_of_every_set(void)
{
    static bench b;
    static const char *const NAME[] = { "avx512", "avx2", "neon", "scalar" };
    int sets = 0;
    for (int i = 0; i < 4; i++) {
        const tlvi_kernels *k = tlvi_pick_kernels(NAME[i]);
        for (int f64 = 0; k && f64 < 2; f64++) {
            const tlvi_kset *s = f64 ? k->f64 : k->f32;
            snprintf(b.text, sizeof b.text, "%s %s", k->name, f64 ? "f64" : "f32");
            fill(&b.in, f64, 3);
            for (int ch = 0; ch <= CHANNELS && ch <= 2 * s->lanes + 1; ch++)
                check_pixels(s, &b, ch);
            for (int t = 0; t < 16; t++) check_ends(s, &b, t / 4 + 1, t % 4 + 1);
            check_filters(s, &b);
            sets++;
        }
    }
    EXPECT(sets >= 2, "only %d sets", sets);
}

/* ---- against direct convolution -------------------------------------------------------------- */

typedef struct shape { int b, c, o, h, w, pad[4]; } shape;
typedef struct triple { tlv_tensor *x, *w, *g; tlv_conv2d_opts o; } triple;

static tlv_ctx *open_with(tlv_conv_choice conv, int threads)
{
    return tlv_ctx_open(&(tlv_ctx_opts){ .threads = threads, .seed = 7, .conv = conv });
}

static tlv_tensor *draw(tlv_ctx *c, tlv_dtype d, tlv_shape s, uint64_t seed, support_order order)
{
    int64_t n = 1;
    for (int i = 0; i < s.ndim; i++) n *= s.dim[i];
    double *v = malloc((size_t)n * sizeof *v);
    if (!v) return NULL;
    support_uniform(v, n, seed, -1, 1);
    for (int64_t i = 0; i < n; i++) v[i] = (float)v[i];
    tlv_tensor *t = support_tensor(c, d, s, v, 0, order);
    free(v);
    return t;
}

static triple values(tlv_ctx *c, tlv_dtype d, const shape *s)
{
    int oh = s->h + s->pad[0] + s->pad[1] - 2, ow = s->w + s->pad[2] + s->pad[3] - 2;
    triple t = { .x = draw(c, d, tlv_shape4(s->b, s->c, s->h, s->w), 1, SUPPORT_CHANNELS_LAST),
                 .w = draw(c, d, tlv_shape4(s->o, s->c, 3, 3), 2, SUPPORT_ROW_MAJOR),
                 .g = draw(c, d, tlv_shape4(s->b, s->o, oh, ow), 3, SUPPORT_CHANNELS_LAST) };
    memcpy(t.o.pad, s->pad, sizeof s->pad);
    return t;
}

static tlv_tensor *pass(tlv_ctx *c, const triple *t, int which)
{
    if (which == 0) return tlv_conv2d(c, t->x, t->w, NULL, t->o);
    if (which == 1) return tlv_conv2d_dx(c, t->g, t->w, tlv_dim(t->x, 2), tlv_dim(t->x, 3), t->o);
    return tlv_conv2d_dw(c, t->g, t->x, 3, 3, t->o);
}

/* |a - b| / |b| */
static double distance(tlv_ctx *ca, const tlv_tensor *a, tlv_ctx *cb, const tlv_tensor *b)
{
    int64_t n = b ? tlv_numel(b) : 0;
    double *v = malloc((size_t)(2 * n + 1) * sizeof *v), off = 0, all = 0;
    if (!v || !support_read(ca, a, v, n) || !support_read(cb, b, v + n, n)) {
        free(v);
        return INFINITY;
    }
    for (int64_t i = 0; i < n; i++) {
        off += (v[i] - v[n + i]) * (v[i] - v[n + i]);
        all += v[n + i] * v[n + i];
    }
    free(v);
    return sqrt(off / all);
}

static const double BOUND = 1e-5;
static const char *const PASS[] = { "y", "dx", "dw" };

static double check_shape(tlv_ctx *c, tlv_ctx *exact, const shape *s)
{
    tlv_scope sc = tlv_scope_begin(c), se = tlv_scope_begin(exact);
    triple t = values(c, TLV_F32, s), u = values(exact, TLV_F64, s);
    double worst = 0;
    for (int i = 0; i < 3; i++) {
        double d = distance(c, pass(c, &t, i), exact, pass(exact, &u, i));
        EXPECT(d <= BOUND, "[%d,%d,%d,%d] to %d, pad %d,%d,%d,%d: %s is off by %g", s->b, s->c,
               s->h, s->w, s->o, s->pad[0], s->pad[1], s->pad[2], s->pad[3], PASS[i], d);
        worst = fmax(worst, d);
    }
    tlv_scope_end(c, sc);
    tlv_scope_end(exact, se);
    return worst;
}

/* All images of 1 to 9 rows with all paddings up to 2, columns and channels running along. */
static void test_every_edge(void)
{
    tlv_ctx *c = open_with(TLV_CONV_WINOGRAD, 1), *exact = open_with(TLV_CONV_DIRECT, 1);
    REQUIRE(c && exact, "no context");
    double worst = 0;
    int n = 0;
    for (int h = 1; h <= 9; h++)
        for (int p = 0; p < 81; p++, n++) {
            shape s = { .b = 1 + n % 3, .c = 1 + n % 19, .o = 1 + n % 37, .h = h, .w = 1 + n % 11,
                        .pad = { p % 3, p / 3 % 3, p / 9 % 3, p / 27 } };
            if (s.h + s.pad[0] + s.pad[1] < 3 || s.w + s.pad[2] + s.pad[3] < 3) continue;
            worst = fmax(worst, check_shape(c, exact, &s));
        }
    printf("  small images: off by %.1e at most\n", worst);
    tlv_ctx_close(c);
    tlv_ctx_close(exact);
}

/* Several blocks of tiles, chunks of channels, panels and ranges of panels. */
static const shape LARGE[] = {
    { 3, 20, 70, 37, 33, { 1, 1, 1, 1 } },  { 2, 150, 9, 5, 6, { 1, 1, 1, 1 } },
    { 40, 16, 16, 8, 8, { 1, 1, 1, 1 } },   { 2, 64, 64, 28, 28, { 1, 1, 1, 1 } },
    { 1, 300, 40, 14, 14, { 1, 1, 1, 1 } }, { 2, 512, 96, 7, 7, { 1, 1, 1, 1 } },
    { 30, 257, 33, 7, 7, { 2, 1, 0, 1 } },  { 1, 8, 8, 60, 70, { 0, 0, 2, 2 } },
    { 9, 48, 290, 11, 13, { 1, 1, 1, 1 } }, { 90, 260, 270, 7, 7, { 1, 1, 1, 1 } },
};
enum { LARGE_COUNT = sizeof LARGE / sizeof LARGE[0] };

static void test_large_shapes(void)
{
    SKIP_EMULATED();
    tlv_ctx *c = open_with(TLV_CONV_WINOGRAD, 2), *exact = open_with(TLV_CONV_DIRECT, 2);
    REQUIRE(c && exact, "no context");
    double worst = 0;
    for (int i = 0; i < LARGE_COUNT; i++) worst = fmax(worst, check_shape(c, exact, &LARGE[i]));
    printf("  large images: off by %.1e at most\n", worst);
    tlv_ctx_close(c);
    tlv_ctx_close(exact);
}

/* All activations, after scale, shift and residual; the residual in any order of memory. */
static void test_what_follows(void)
{
    tlv_ctx *c = open_with(TLV_CONV_WINOGRAD, 1), *exact = open_with(TLV_CONV_DIRECT, 1);
    REQUIRE(c && exact, "no context");
    const shape s = { 2, 24, 21, 10, 7, { 1, 1, 1, 1 } };
    for (int act = TLV_ACT_NONE; act <= TLV_ACT_HARD_SIGMOID; act++)
        for (int parts = 1; parts < 8; parts++) {
            tlv_ctx *ctx[2] = { c, exact };
            tlv_scope sc = tlv_scope_begin(c), se = tlv_scope_begin(exact);
            tlv_tensor *y[2];
            for (int k = 0; k < 2; k++) {
                tlv_dtype d = k ? TLV_F64 : TLV_F32;
                triple t = values(ctx[k], d, &s);
                tlv_conv2d_fuse f = { .act = (tlv_act)act };
                support_order order = (support_order)((act + parts) % SUPPORT_ORDERS);
                if (parts & 1) f.scale = draw(ctx[k], d, TLV_SHAPE(21), 4, SUPPORT_ROW_MAJOR);
                if (parts & 2) f.shift = draw(ctx[k], d, TLV_SHAPE(21), 5, SUPPORT_STRIDED);
                if (parts & 4) f.residual = draw(ctx[k], d, TLV_SHAPE(2, 21, 10, 7), 6, order);
                y[k] = tlv_conv2d_fused(ctx[k], t.x, t.w, t.o, f);
            }
            double off = distance(c, y[0], exact, y[1]);
            EXPECT(off <= BOUND, "activation %d, parts %d: off by %g", act, parts, off);
            tlv_scope_end(c, sc);
            tlv_scope_end(exact, se);
        }
    tlv_ctx_close(c);
    tlv_ctx_close(exact);
}

/* Channels of a wider image, and any other order of memory. */
static void test_inputs_as_they_lie(void)
{
    tlv_ctx *c = open_with(TLV_CONV_WINOGRAD, 1);
    REQUIRE(c, "no context");
    tlv_tensor *wide = draw(c, TLV_F32, tlv_shape4(2, 40, 9, 11), 1, SUPPORT_CHANNELS_LAST);
    tlv_tensor *w = draw(c, TLV_F32, tlv_shape4(18, 24, 3, 3), 2, SUPPORT_STRIDED);
    tlv_tensor *part = tlv_slice(c, wide, 1, 9, 33, 1);
    tlv_tensor *dense = tlv_to_order(c, part, TLV_CHANNELS_LAST);
    tlv_tensor *planes = tlv_to_order(c, part, TLV_ROW_MAJOR);
    tlv_conv2d_opts o = { .pad = { 1, 1, 1, 1 } };
    tlv_tensor *y = tlv_conv2d(c, dense, w, NULL, o);
    EXPECT(distance(c, tlv_conv2d(c, part, w, NULL, o), c, y) == 0, "a slice");
    EXPECT(distance(c, tlv_conv2d(c, planes, w, NULL, o), c, y) == 0, "planes");
    tlv_tensor *dw = tlv_conv2d_dw(c, y, dense, 3, 3, o);
    EXPECT(distance(c, tlv_conv2d_dw(c, y, part, 3, 3, o), c, dw) == 0, "dw of a slice");
    EXPECT_OK(c);
    tlv_ctx_close(c);
}

static void test_groups(void)
{
    tlv_ctx *c = open_with(TLV_CONV_WINOGRAD, 1), *exact = open_with(TLV_CONV_DIRECT, 1);
    REQUIRE(c && exact, "no context");
    tlv_ctx *ctx[2] = { c, exact };
    tlv_tensor *y[2], *dx[2], *dw[2];
    for (int k = 0; k < 2; k++) {
        tlv_dtype d = k ? TLV_F64 : TLV_F32;
        tlv_tensor *x = draw(ctx[k], d, tlv_shape4(2, 40, 9, 6), 1, SUPPORT_CHANNELS_LAST);
        tlv_tensor *w = draw(ctx[k], d, tlv_shape4(34, 20, 3, 3), 2, SUPPORT_ROW_MAJOR);
        tlv_conv2d_opts o = { .pad = { 1, 1, 1, 1 }, .groups = 2 };
        y[k] = tlv_conv2d(ctx[k], x, w, NULL, o);
        dx[k] = tlv_conv2d_dx(ctx[k], y[k], w, 9, 6, o);
        dw[k] = tlv_conv2d_dw(ctx[k], y[k], x, 3, 3, o);
    }
    EXPECT(distance(c, y[0], exact, y[1]) <= BOUND, "y");
    EXPECT(distance(c, dx[0], exact, dx[1]) <= 2 * BOUND, "dx");
    EXPECT(distance(c, dw[0], exact, dw[1]) <= 2 * BOUND, "dw");
    tlv_ctx_close(c);
    tlv_ctx_close(exact);
}

/* The gradient in w of |d loss / d x|^2 + |d loss / d w|^2, loss = sum of sigmoid(conv(x, w)): the
 * sweep of the sweep goes through each of the three passes. */
static tlv_tensor *second_order(tlv_ctx *c, tlv_dtype d)
{
    const shape s = { 2, 18, 20, 9, 10, { 1, 1, 1, 1 } };
    triple t = values(c, d, &s);
    tlv_tensor *x = tlv_leaf(c, t.x), *w = tlv_leaf(c, tlv_affine(c, t.w, 0.1, 0)), *g[2];
    tlv_tensor *loss = tlv_sum_all(c, tlv_sigmoid(c, tlv_conv2d(c, x, w, NULL, t.o)));
    const tlv_tensor *both[2] = { x, w };
    if (tlv_grad(c, loss, NULL, 2, both, g, TLV_CREATE_GRAPH)) return NULL;
    tlv_tensor *sum = tlv_add(c, tlv_sum_all(c, tlv_mul(c, g[0], g[0])),
                              tlv_sum_all(c, tlv_mul(c, g[1], g[1])));
    tlv_tensor *dd = NULL;
    tlv_grad(c, sum, NULL, 1, (const tlv_tensor *[]){ w }, &dd, 0);
    return dd;
}

static void test_second_order(void)
{
    tlv_ctx *c = open_with(TLV_CONV_WINOGRAD, 1), *exact = open_with(TLV_CONV_DIRECT, 1);
    REQUIRE(c && exact, "no context");
    double off = distance(c, second_order(c, TLV_F32), exact, second_order(exact, TLV_F64));
    EXPECT(off <= 1e-5, "off by %g", off);
    tlv_ctx_close(c);
    tlv_ctx_close(exact);
}

/* ---- the same bits --------------------------------------------------------------------------- */

static float *bits(tlv_conv_choice conv, int threads, const shape *s, int which, int64_t *n)
{
    tlv_ctx *c = open_with(conv, threads);
    float *out = NULL;
    *n = 0;
    if (c) {
        triple t = values(c, TLV_F32, s);
        tlv_tensor *y = pass(c, &t, which);
        if (EXPECT_OK(c)) {
            *n = tlv_numel(y);
            out = malloc((size_t)*n * sizeof *out);
            if (out) tlv_read(c, y, out, *n);
        }
    }
    tlv_ctx_close(c);
    return out;
}

static int same_bits(tlv_conv_choice a, int ta, tlv_conv_choice b, int tb, const shape *s,
                     int which)
{
    int64_t n, m;
    float *x = bits(a, ta, s, which, &n), *y = bits(b, tb, s, which, &m);
    int same = x && y && n == m && memcmp(x, y, (size_t)n * sizeof *x) == 0;
    free(x);
    free(y);
    return same;
}

static void test_threads_change_no_bit(void)
{
    SKIP_EMULATED();
    for (int i = 0; i < LARGE_COUNT - 1; i++)
        for (int p = 0; p < 3; p++)
            for (int threads = 2; threads <= 5; threads += 3)
                EXPECT(same_bits(TLV_CONV_WINOGRAD, 1, TLV_CONV_WINOGRAD, threads, &LARGE[i], p),
                       "shape %d, %s: %d threads give other bits", i, PASS[p], threads);
}

/* ---- the choice ------------------------------------------------------------------------------ */

static void test_what_auto_chooses(void)
{
    static const shape wide = { 8, 64, 64, 14, 14, { 1, 1, 1, 1 } },
                       stem = { 2, 3, 64, 30, 30, { 1, 1, 1, 1 } };
    for (int p = 0; p < 3; p++) {
        EXPECT(!same_bits(TLV_CONV_DIRECT, 1, TLV_CONV_WINOGRAD, 1, &wide, p),
               "%s: both ways give the same bits, the check proves nothing", PASS[p]);
        EXPECT(same_bits(TLV_CONV_AUTO, 1, TLV_CONV_WINOGRAD, 1, &wide, p), "64 channels, %s",
               PASS[p]);
        EXPECT(same_bits(TLV_CONV_AUTO, 1, TLV_CONV_DIRECT, 1, &stem, p), "3 channels, %s",
               PASS[p]);
    }
}

/* Stride, dilation, another filter and f64 are direct whatever is asked for. */
static void test_what_is_always_direct(void)
{
    tlv_ctx *ctx[2] = { open_with(TLV_CONV_WINOGRAD, 1), open_with(TLV_CONV_DIRECT, 1) };
    REQUIRE(ctx[0] && ctx[1], "no context");
    for (int i = 0; i < 4; i++) {
        tlv_tensor *y[2], *dx[2];
        for (int k = 0; k < 2; k++) {
            tlv_dtype d = i == 3 ? TLV_F64 : TLV_F32;
            int size = i == 2 ? 5 : 3;
            tlv_conv2d_opts o = { .stride = i == 0 ? 2 : 1, .dilation = i == 1 ? 2 : 1 };
            tlv_tensor *x = draw(ctx[k], d, tlv_shape4(1, 64, 12, 12), 1, SUPPORT_CHANNELS_LAST);
            tlv_tensor *w = draw(ctx[k], d, tlv_shape4(64, 64, size, size), 2, SUPPORT_ROW_MAJOR);
            y[k] = tlv_conv2d(ctx[k], x, w, NULL, o);
            dx[k] = tlv_conv2d_dx(ctx[k], y[k], w, 12, 12, o);
        }
        EXPECT(distance(ctx[0], y[0], ctx[1], y[1]) == 0, "case %d: y", i);
        EXPECT(distance(ctx[0], dx[0], ctx[1], dx[1]) == 0, "case %d: dx", i);
    }
    tlv_ctx_close(ctx[0]);
    tlv_ctx_close(ctx[1]);
}

static void expect_choice(tlv_conv_choice option, const char *environment, const char *want)
{
    if (environment) setenv("TLV_CONV", environment, 1);
    else unsetenv("TLV_CONV");
    tlv_ctx *c = open_with(option, 1);
    EXPECT_OK(c);
    EXPECT_STR(tlv_conv_algorithm(c), want);
    tlv_ctx_close(c);
}

static void test_option_and_environment(void)
{
    char before[32];
    const char *now = getenv("TLV_CONV");
    snprintf(before, sizeof before, "%s", now ? now : "");
    expect_choice(TLV_CONV_AUTO, NULL, "auto-2");
    expect_choice(TLV_CONV_AUTO, "", "auto-2");
    expect_choice(TLV_CONV_AUTO, "direct", "direct");
    expect_choice(TLV_CONV_AUTO, "winograd", "winograd-1");
    expect_choice(TLV_CONV_DIRECT, "winograd", "direct");           // the option comes first
    expect_choice(TLV_CONV_WINOGRAD, "nonsense", "winograd-1");
    setenv("TLV_CONV", "fft", 1);
    tlv_ctx *c = open_with(TLV_CONV_AUTO, 1);
    EXPECT_ERROR(c, TLV_ERR_ARG, "'fft', but there are: auto direct winograd");
    tlv_ctx_close(c);
    c = open_with((tlv_conv_choice)3, 1);
    EXPECT_ERROR(c, TLV_ERR_ARG, "tlv_ctx_opts.conv is 3");
    tlv_ctx_close(c);
    if (before[0]) setenv("TLV_CONV", before, 1);
    else unsetenv("TLV_CONV");
}

/* Every request for memory may fail: the error says so, nothing is written or lost. */
static void test_no_memory(void)
{
    const shape s = { 1, 20, 20, 8, 8, { 1, 1, 1, 1 } };
    for (int p = 0; p < 3; p++) {
        tlv_ctx *c = open_with(TLV_CONV_WINOGRAD, 1);
        REQUIRE(c, "no context");
        triple t = values(c, TLV_F32, &s);
        int64_t asked = tlv_mem_get(c).requests;
        pass(c, &t, p);
        int64_t more = tlv_mem_get(c).requests - asked, failed = 0;
        tlv_ctx_close(c);
        for (int64_t k = 1; k <= more; k++) {
            c = tlv_ctx_open(&(tlv_ctx_opts){ .threads = 1, .conv = TLV_CONV_WINOGRAD,
                                              .fail_at = asked + k });
            if (!c) continue;
            triple u = values(c, TLV_F32, &s);
            if (!pass(c, &u, p)) {
                failed++;
                EXPECT_ERROR(c, TLV_ERR_NOMEM, "no memory");
            }
            tlv_ctx_close(c);
        }
        EXPECT(failed > 0, "%s: no request for memory failed", PASS[p]);
    }
}

TEST_MAIN(T(test_transforms_of_every_set), T(test_every_edge), T(test_large_shapes),
          T(test_what_follows), T(test_inputs_as_they_lie), T(test_groups), T(test_second_order),
          T(test_threads_change_no_bit), T(test_what_auto_chooses), T(test_what_is_always_direct),
          T(test_option_and_environment), T(test_no_memory))
