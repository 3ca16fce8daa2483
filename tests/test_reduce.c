/* test_reduce.c -- reductions where the generic checks do not look: large ones in pieces, the same
 * bits with any number of threads, ties, NaN and infinities, zeros in products, and what is
 * refused. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "autograd/autograd.h"
#include "tests/support.h"

static tlv_tensor *vec(tlv_ctx *c, tlv_dtype d, int64_t n, const double *v, int flags)
{
    return support_tensor(c, d, TLV_SHAPE(n), v, flags, SUPPORT_ROW_MAJOR);
}

/* The gradient of sum(y) in x; NULL after an error. */
static tlv_tensor *slope(tlv_ctx *c, const tlv_tensor *y, const tlv_tensor *x, int flags)
{
    tlv_tensor *g = NULL;
    tlv_grad(c, tlv_sum_all(c, y), NULL, 1, &x, &g, flags | TLV_ZEROS);
    return g;
}

/* ---- large ----------------------------------------------------------------------------------- */

/* Every kind of cut: many rows, few long rows, few columns, many columns, two passes. */
static const struct { tlv_shape x; tlv_axes axes; } LARGE[] = {
    { { 1, { 300007 } }, { 1, { 0 } } },
    { { 2, { 3, 100003 } }, { 1, { 1 } } },
    { { 2, { 100003, 3 } }, { 1, { 0 } } },
    { { 2, { 30001, 7 } }, { 1, { 1 } } },
    { { 2, { 5003, 67 } }, { 1, { 0 } } },
    { { 2, { 31, 9001 } }, { 1, { 0 } } },
    { { 2, { 300, 1100 } }, { 2, { 0, 1 } } },
    { { 3, { 3, 5001, 20 } }, { 1, { 1 } } },
    { { 4, { 8, 20, 37, 41 } }, { 3, { 0, 2, 3 } } },
    { { 4, { 8, 20, 37, 41 } }, { 2, { 2, 3 } } },
    { { 4, { 8, 20, 37, 41 } }, { 1, { 1 } } },
    { { 4, { 8, 20, 37, 41 } }, { 2, { 1, 3 } } },
};
enum { LARGE_COUNT = sizeof LARGE / sizeof LARGE[0] };

static tlv_tensor *large(tlv_ctx *c, int i, tlv_dtype d, support_order order)
{
    int64_t n = 1;
    for (int k = 0; k < LARGE[i].x.ndim; k++) n *= LARGE[i].x.dim[k];
    double *v = malloc((size_t)n * sizeof *v);
    if (!v) abort();
    support_uniform(v, n, (uint64_t)i + 1, -1, 1.5);
    tlv_tensor *x = support_tensor(c, d, LARGE[i].x, v, 0, order);
    free(v);
    return x;
}

/* Sums and extremes of each output by the naive loop, in long double. */
static void naive(tlv_ctx *c, int i, const tlv_tensor *x, int64_t n_y, double *sum, double *max,
                  double *min)
{
    tlv_shape s = LARGE[i].x;
    int64_t n = tlv_numel(x), stride[4], step = 1;
    uint32_t reduced = 0;
    for (int k = 0; k < LARGE[i].axes.n; k++) reduced |= 1u << LARGE[i].axes.axis[k];
    for (int k = s.ndim - 1; k >= 0; k--) {
        stride[k] = reduced >> k & 1 ? 0 : step;
        if (!(reduced >> k & 1)) step *= s.dim[k];
    }
    double *v = malloc((size_t)n * sizeof *v);
    long double *acc = calloc((size_t)n_y, sizeof *acc);
    if (!v || !acc) abort();
    support_read(c, x, v, n);
    for (int64_t o = 0; o < n_y; o++) max[o] = -INFINITY, min[o] = INFINITY;
    for (int64_t e = 0; e < n; e++) {
        int64_t rest = e, o = 0;
        for (int k = s.ndim - 1; k >= 0; k--) {
            o += rest % s.dim[k] * stride[k];
            rest /= s.dim[k];
        }
        acc[o] += v[e];
        if (v[e] > max[o]) max[o] = v[e];
        if (v[e] < min[o]) min[o] = v[e];
    }
    for (int64_t o = 0; o < n_y; o++) sum[o] = (double)acc[o];
    free(acc);
    free(v);
}

static void check_large(tlv_ctx *c, int i, tlv_dtype d, support_order order)
{
    tlv_scope scope = tlv_scope_begin(c);
    tlv_tensor *x = large(c, i, d, order);
    const tlv_tensor *y[3] = { tlv_sum(c, x, LARGE[i].axes, 0), tlv_max(c, x, LARGE[i].axes, 0),
                               tlv_min(c, x, LARGE[i].axes, 0) };
    int64_t n = tlv_numel(y[0]);
    double *got = malloc((size_t)n * sizeof *got), *want[3];
    for (int k = 0; k < 3; k++) want[k] = malloc((size_t)n * sizeof **want);
    naive(c, i, x, n, want[0], want[1], want[2]);
    for (int k = 0; k < 3; k++) {
        double tol = k ? 0 : d == TLV_F64 ? 1e-13 : 2e-6, worst = 0, size = 0;
        if (!support_read(c, y[k], got, n)) continue;
        for (int64_t o = 0; o < n; o++) {
            size = fmax(size, fabs(want[k][o]));
            worst = fmax(worst, fabs(got[o] - want[k][o]));
        }
        EXPECT(worst <= tol * fmax(size, 10), "%s %d, %s, order %d: off by %g of %g",
               k == 0   ? "sum"
               : k == 1 ? "max"
                        : "min",
               i, tlv_dtype_name(d), order, worst, size);
    }
    free(got);
    for (int k = 0; k < 3; k++) free(want[k]);
    EXPECT_OK(c);
    tlv_scope_end(c, scope);
}

static void test_large(void)
{
    tlv_ctx *c = support_open();
    for (int i = 0; i < LARGE_COUNT; i++) {
        check_large(c, i, TLV_F32, SUPPORT_ROW_MAJOR);
        check_large(c, i, TLV_F64, SUPPORT_ROW_MAJOR);
        check_large(c, i, TLV_F32, SUPPORT_TRANSPOSED);
        if (LARGE[i].x.ndim == 4) check_large(c, i, TLV_F32, SUPPORT_CHANNELS_LAST);
    }
    EXPECT_INT(tlv_mem_get(c).live_tensors, 0);
    tlv_ctx_close(c);
}

static void test_same_bits_with_threads(void)
{
    tlv_ctx *one = support_open(), *four = tlv_ctx_open(&(tlv_ctx_opts){ .threads = 4, .seed = 1 });
    tlv_ctx *const cs[2] = { one, four };
    for (int i = 0; i < LARGE_COUNT; i++) {
        double *y[2] = { NULL, NULL };
        int64_t n = 0;
        for (int k = 0; k < 2; k++) {
            tlv_scope s = tlv_scope_begin(cs[k]);
            tlv_tensor *x = large(cs[k], i, TLV_F32, SUPPORT_CHANNELS_LAST);
            tlv_tensor *t = tlv_sum(cs[k], x, LARGE[i].axes, 0);
            n = tlv_numel(t);
            y[k] = calloc((size_t)n, sizeof **y);
            support_read(cs[k], t, y[k], n);
            EXPECT_OK(cs[k]);
            tlv_scope_end(cs[k], s);
        }
        EXPECT(memcmp(y[0], y[1], (size_t)n * sizeof **y) == 0,
               "case %d: other bits with 4 threads", i);
        free(y[0]);
        free(y[1]);
    }
    tlv_ctx_close(one);
    tlv_ctx_close(four);
}

/* Channels-last in, channels-last out: no copy, so nothing but the output is allocated. */
static void test_memory_order(void)
{
    tlv_ctx *c = support_open();
    tlv_tensor *x = tlv_from_hwc(c, TLV_F32, 2, 16, 16, 32, (const float[2 * 16 * 16 * 32]){ 1 });
    tlv_mem_reset_peak(c);
    size_t before = tlv_mem_get(c).now;
    tlv_tensor *y = tlv_sum(c, x, TLV_AXES(0, 2, 3), 0);
    EXPECT(tlv_mem_get(c).peak - before <= 1024, "%zu bytes for 32 sums",
           tlv_mem_get(c).peak - before);
    y = tlv_sum(c, x, TLV_AXES(2, 3), TLV_KEEPDIM);
    tlv_view v;
    EXPECT_STATUS(tlv_view_of(c, y, &v), TLV_OK);
    EXPECT_INT(v.stride[1], 1);
    EXPECT_INT(v.stride[0], 32);
    EXPECT_OK(c);
    tlv_ctx_close(c);
}

/* ---- ties, NaN, infinities ------------------------------------------------------------------- */

static void test_extremes(void)
{
    tlv_ctx *c = support_open();
    for (int k = 0; k < 4; k++) {
        tlv_dtype d = k & 1 ? TLV_F64 : TLV_F32;
        int flags = k & 2 ? TLV_CREATE_GRAPH : 0;
        const double v[] = { 3, 1, 3, 1, 3, 2 },
                     bad[] = { 1, NAN, 5, -INFINITY, -INFINITY, -INFINITY };
        tlv_tensor *x = support_tensor(c, d, TLV_SHAPE(1, 6), v, TLV_WANT_GRAD, SUPPORT_ROW_MAJOR);
        EXPECT_VALUES(c, slope(c, tlv_max(c, x, TLV_AXES(1), 0), x, flags), 1e-7, 1. / 3, 0, 1. / 3,
                      0, 1. / 3, 0);
        EXPECT_VALUES(c, slope(c, tlv_min(c, x, TLV_AXES(1), 0), x, flags), 1e-7, 0, 0.5, 0, 0.5, 0,
                      0);
        tlv_tensor *b = support_tensor(c, d, TLV_SHAPE(2, 3), bad, 0, SUPPORT_ROW_MAJOR);
        EXPECT_VALUES(c, tlv_max(c, b, TLV_AXES(1), 0), 0, NAN, -INFINITY);
        EXPECT_VALUES(c, tlv_min(c, b, TLV_AXES(1), 0), 0, NAN, -INFINITY);
        EXPECT_VALUES(c, tlv_max(c, b, TLV_AXES(0), 0), 0, 1, NAN, 5);
        EXPECT_VALUES(c, tlv_min(c, b, TLV_AXES(0), 0), 0, -INFINITY, NAN, -INFINITY);
        EXPECT_VALUES(c, tlv_argmax(c, x, 1, 0), 0, 0);
        EXPECT_VALUES(c, tlv_argmax(c, b, 1, TLV_KEEPDIM), 0, 1, 0);
        EXPECT_VALUES(c, tlv_argmax(c, b, 0, 0), 0, 0, 0, 0);
    }
    EXPECT_OK(c);
    tlv_ctx_close(c);
}

static void test_logsumexp(void)
{
    tlv_ctx *c = support_open();
    for (int k = 0; k < 4; k++) {
        int flags = k & 2 ? TLV_CREATE_GRAPH : 0;
        const double v[] = { -INFINITY, -INFINITY, 1000, 1000,     -1000,
                             -1001,     -INFINITY, 2,    INFINITY, 0 };
        tlv_tensor *x = support_tensor(c, k & 1 ? TLV_F64 : TLV_F32, TLV_SHAPE(4, 2), v,
                                       TLV_WANT_GRAD, SUPPORT_ROW_MAJOR);
        tlv_tensor *y = tlv_logsumexp(c, x, TLV_AXES(1), 0), *inf = vec(c, TLV_F32, 2, v + 8, 0);
        EXPECT_VALUES(c, y, 1e-4, -INFINITY, 1000 + log(2), -1000 + log1p(exp(-1)), 2);
        EXPECT_VALUES(c, tlv_logsumexp(c, inf, TLV_ALL_AXES, 0), 0, INFINITY);
        double s = 1 / (1 + exp(-1.0));
        EXPECT_VALUES(c, slope(c, y, x, flags), 1e-4, 0, 0, 0.5, 0.5, s, 1 - s, 0, 1);
        EXPECT_VALUES(c, tlv_logsumexp(c, tlv_zeros(c, TLV_F32, TLV_SHAPE(2, 0)), TLV_AXES(1), 0),
                      0, -INFINITY, -INFINITY);
    }
    EXPECT_OK(c);
    tlv_ctx_close(c);
}

static void test_of_nothing(void)
{
    tlv_ctx *c = support_open();
    tlv_tensor *x = tlv_zeros(c, TLV_F32, TLV_SHAPE(2, 0)),
               *one = tlv_full(c, TLV_F32, TLV_SHAPE(1), 3);
    EXPECT_VALUES(c, tlv_sum(c, x, TLV_AXES(1), 0), 0, 0, 0);
    EXPECT_VALUES(c, tlv_prod(c, x, TLV_AXES(1), 0), 0, 1, 1);
    EXPECT_VALUES(c, tlv_mean(c, x, TLV_AXES(1), 0), 0, NAN, NAN);
    EXPECT_VALUES(c, tlv_var(c, one, TLV_AXES(0), 1, 0), 0, NAN);
    EXPECT_VALUES(c, tlv_var(c, one, TLV_AXES(0), 0, 0), 0, 0);
    EXPECT_SHAPE(tlv_max(c, x, TLV_AXES(0), 0), 0);
    EXPECT_OK(c);
    EXPECT(!tlv_max(c, x, TLV_AXES(1), 0), "the maximum of nothing");
    EXPECT_ERROR(c, TLV_ERR_SHAPE, "max: of no elements of x [2,0]");
    EXPECT(!tlv_argmax(c, x, 1, 0), "the place of nothing");
    EXPECT_ERROR(c, TLV_ERR_SHAPE, "argmax: of no elements of x [2,0]");
    tlv_ctx_close(c);
}

/* Equal values have no spread; the root's slope there is taken as 0. */
static void test_std_of_equals(void)
{
    tlv_ctx *c = support_open();
    for (int k = 0; k < 4; k++) {
        const double v[] = { 2, 2, 2, 1, 2, 3 };
        tlv_tensor *x = support_tensor(c, k & 1 ? TLV_F64 : TLV_F32, TLV_SHAPE(2, 3), v,
                                       TLV_WANT_GRAD, SUPPORT_ROW_MAJOR);
        tlv_tensor *y = tlv_std(c, x, TLV_AXES(1), 1, 0);
        EXPECT_VALUES(c, y, 1e-7, 0, 1);
        EXPECT_VALUES(c, slope(c, y, x, k & 2 ? TLV_CREATE_GRAPH : 0), 1e-6, 0, 0, 0, -0.5, 0, 0.5);
    }
    EXPECT_OK(c);
    tlv_ctx_close(c);
}

/* ---- products with zeros --------------------------------------------------------------------- */

static void test_prod_with_zeros(void)
{
    tlv_ctx *c = support_open();
    for (int k = 0; k < 2; k++) {
        tlv_dtype d = k ? TLV_F64 : TLV_F32;
        const double v[] = { 2, 0, 3, 4, 5, 0, 0, 2, 3, 1, 0, 0, 0, 1, 1, 1, 2, 3, 4, 5 };
        tlv_tensor *x = support_tensor(c, d, TLV_SHAPE(4, 5), v, TLV_WANT_GRAD, SUPPORT_ROW_MAJOR);
        tlv_tensor *y = tlv_prod(c, x, TLV_AXES(1), 0);
        EXPECT_VALUES(c, y, 0, 0, 0, 0, 120);
        tlv_tensor *g = slope(c, y, x, TLV_CREATE_GRAPH);
        EXPECT_VALUES(c, g, 1e-5, 0, 120, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 120, 60, 40, 30,
                      24);
        // of dy/dx[1][0] alone: the second zero's derivative is the product of what is left
        const double one[20] = { [5] = 1 };
        tlv_tensor *w = support_tensor(c, d, TLV_SHAPE(4, 5), one, 0, SUPPORT_ROW_MAJOR);
        tlv_tensor *pick = tlv_mul(c, g, w);
        EXPECT_VALUES(c, slope(c, pick, x, 0), 1e-5, 0, 0, 0, 0, 0, 0, 6, 0, 0, 0, 0, 0, 0, 0, 0, 0,
                      0, 0, 0, 0);
        tlv_tensor *h = slope(c, pick, x, TLV_CREATE_GRAPH);
        EXPECT_VALUES(c, slope(c, h, x, 0), 1e-5, 0, 0, 0, 0, 0, 0, 11, 3, 2, 6, 0, 0, 0, 0, 0, 0,
                      0, 0, 0, 0);
    }
    EXPECT_OK(c);
    tlv_ctx_close(c);
}

static void test_refused(void)
{
    tlv_ctx *c = support_open();
    const double v[] = { 1, 2, 3, 4, 5, 6 };
    tlv_tensor *x = support_tensor(c, TLV_F32, TLV_SHAPE(2, 3), v, 0, SUPPORT_ROW_MAJOR),
               *i = vec(c, TLV_I32, 6, v, 0);
    EXPECT(!tlv_sum(c, x, TLV_AXES(2), 0), "no such axis");
    EXPECT_ERROR(c, TLV_ERR_ARG, "sum: axis 2 of x [2,3]");
    EXPECT(!tlv_std(c, x, TLV_AXES(1, -1), 0, 0), "an axis twice");
    EXPECT_ERROR(c, TLV_ERR_ARG, "std: axis -1 of x [2,3]");
    EXPECT(!tlv_argmax(c, x, -3, 0), "no such axis");
    EXPECT_ERROR(c, TLV_ERR_ARG, "argmax: axis -3 of x [2,3]");
    EXPECT(!tlv_max(c, i, TLV_AXES(0), 0), "of i32");
    EXPECT_ERROR(c, TLV_ERR_DTYPE, "max: takes f32 or f64, got i32[6]");
    EXPECT(!tlv_logsumexp(c, i, TLV_AXES(0), 0), "of i32");
    EXPECT_ERROR(c, TLV_ERR_DTYPE, "logsumexp: takes f32 or f64, got i32[6]");
    EXPECT(!tlv_sum_to(c, x, TLV_SHAPE(2)), "shape");
    EXPECT_ERROR(c, TLV_ERR_SHAPE, "sum_to: x is [2,3], which [2] does not broadcast to");
    EXPECT(!tlv_sum_to(c, x, TLV_SHAPE(4, 2, 3)), "shape");
    EXPECT_ERROR(c, TLV_ERR_SHAPE, "sum_to: x is [2,3]");
    tlv_ctx_close(c);
}

TEST_MAIN(T(test_large), T(test_same_bits_with_threads), T(test_memory_order), T(test_extremes),
          T(test_logsumexp), T(test_of_nothing), T(test_std_of_equals), T(test_prod_with_zeros),
          T(test_refused))
