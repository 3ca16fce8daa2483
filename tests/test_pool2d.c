/* test_pool2d.c -- what the comments on pooling pin: ties, NaN, empty windows, sizes; errors. */
#include <math.h>

#include "tests/support.h"
#include "autograd/autograd.h"

#define OPEN(c)                                                                                    \
    tlv_ctx *c = support_open();                                                                   \
    REQUIRE(c, "no context")

static tlv_tensor *plane(tlv_ctx *c, int64_t h, int64_t w, const double *v, int flags)
{
    return support_tensor(c, TLV_F32, tlv_shape4(1, 1, h, w), v, flags, SUPPORT_ROW_MAJOR);
}

static tlv_tensor *gradient(tlv_ctx *c, const tlv_tensor *y, const tlv_tensor *x)
{
    tlv_tensor *d = NULL;
    tlv_grad(c, tlv_sum_all(c, y), NULL, 1, &x, &d, TLV_ZEROS);
    return d;
}

static void test_the_first_maximum_takes_the_gradient(void)
{
    OPEN(c);
    tlv_tensor *x = plane(c, 2, 4, (const double[]){ 1, 3, 5, 5, 3, 3, 5, 5 }, TLV_WANT_GRAD);
    tlv_tensor *y = tlv_max_pool2d(c, x, (tlv_pool2d_opts){ .k = 2 });
    EXPECT_VALUES(c, y, 0, 3, 5);
    EXPECT_VALUES(c, gradient(c, y, x), 0, 0, 1, 1, 0, 0, 0, 0, 0);
    y = tlv_adaptive_max_pool2d(c, x, 1, 1);
    EXPECT_VALUES(c, gradient(c, y, x), 0, 0, 0, 1, 0, 0, 0, 0, 0);
    EXPECT_OK(c);
    tlv_ctx_close(c);
}

static void test_overlapping_windows_add(void)
{
    OPEN(c);
    tlv_tensor *x = plane(c, 1, 5, (const double[]){ 1, 4, 2, 3, 0 }, TLV_WANT_GRAD);
    tlv_tensor *y = tlv_max_pool2d(c, x, (tlv_pool2d_opts){ .k = 1, .k_w = 3, .stride = 1 });
    EXPECT_VALUES(c, y, 0, 4, 4, 3);
    EXPECT_VALUES(c, gradient(c, y, x), 0, 0, 2, 0, 1, 0);
    EXPECT_OK(c);
    tlv_ctx_close(c);
}

static void test_nan_wins_and_takes_the_gradient(void)
{
    OPEN(c);
    tlv_tensor *x = plane(c, 1, 6, (const double[]){ 1, NAN, 9, -INFINITY, -INFINITY, -INFINITY },
                          TLV_WANT_GRAD);
    tlv_tensor *y = tlv_max_pool2d(c, x, (tlv_pool2d_opts){ .k = 1, .k_w = 3 });
    EXPECT_VALUES(c, y, 0, NAN, -INFINITY);
    EXPECT_VALUES(c, gradient(c, y, x), 0, 0, 1, 0, 1, 0, 0);
    EXPECT_OK(c);
    tlv_ctx_close(c);
}

static void test_padding_is_never_the_maximum(void)
{
    OPEN(c);
    tlv_tensor *x = plane(c, 2, 2, (const double[]){ -1, -2, -3, -4 }, 0);
    tlv_pool2d_opts o = { .k = 3, .stride = 1, .pad = { 1, 1, 1, 1 } };
    EXPECT_VALUES(c, tlv_max_pool2d(c, x, o), 0, -1, -1, -1, -1);
    EXPECT_OK(c);
    tlv_ctx_close(c);
}

/* Dilation can step over the whole image: -inf from nowhere, and no gradient. */
static void test_a_window_without_a_pixel(void)
{
    OPEN(c);
    tlv_tensor *x = plane(c, 1, 1, (const double[]){ 7 }, TLV_WANT_GRAD);
    tlv_pool2d_opts o = { .k = 1, .k_w = 2, .stride = 1, .pad = { 0, 0, 1, 1 }, .dilation = 2 };
    tlv_tensor *y = tlv_max_pool2d(c, x, o);
    EXPECT_VALUES(c, y, 0, -INFINITY);
    EXPECT_VALUES(c, gradient(c, y, x), 0, 0);
    EXPECT_OK(c);
    tlv_ctx_close(c);
}

static void test_what_an_average_divides_by(void)
{
    OPEN(c);
    tlv_tensor *x = plane(c, 1, 3, (const double[]){ 1, 2, 4 }, 0);
    tlv_pool2d_opts o = { .k = 1, .k_w = 2, .stride = 2, .pad = { 0, 0, 1, 0 } };
    EXPECT_VALUES(c, tlv_avg_pool2d(c, x, o), 0, 0.5, 3);
    o.exclude_pad = 1;
    EXPECT_VALUES(c, tlv_avg_pool2d(c, x, o), 0, 1, 3);
    o = (tlv_pool2d_opts){ .k = 1, .k_w = 2, .ceil_mode = 1 }; // what hangs over counts nothing
    EXPECT_VALUES(c, tlv_avg_pool2d(c, x, o), 0, 1.5, 4);
    o.ceil_mode = 0;
    EXPECT_VALUES(c, tlv_avg_pool2d(c, x, o), 0, 1.5);
    EXPECT_OK(c);
    tlv_ctx_close(c);
}

static void test_global_average(void)
{
    OPEN(c);
    double v[2 * 3 * 4], want[6] = { 0 };
    support_uniform(v, 24, 3, -1, 1);
    for (int i = 0; i < 24; i++) want[i / 4] += v[i] / 4;
    for (int order = 0; order < SUPPORT_ORDERS; order++) {
        tlv_tensor *x = support_tensor(c, TLV_F64, tlv_shape4(2, 3, 1, 4), v, TLV_WANT_GRAD,
                                       (support_order)order);
        tlv_tensor *y = tlv_global_avg_pool(c, x);
        EXPECT_SHAPE(y, 2, 3);
        support_check_values(c, y, 1e-15, want, 6, __FILE__, __LINE__, "y");
        tlv_tensor *d = gradient(c, y, x);
        double got[24];
        EXPECT(support_read(c, d, got, 24), "no gradient");
        for (int i = 0; i < 24; i++) EXPECT_CLOSE(got[i], 0.25, 0, 0);
    }
    EXPECT_OK(c);
    tlv_ctx_close(c);
}

static void test_errors(void)
{
    OPEN(c);
    tlv_tensor *x = tlv_zeros(c, TLV_F32, tlv_shape4(1, 2, 3, 4)),
               *flat = tlv_zeros(c, TLV_F32, tlv_shape1(3));
    tlv_tensor *bytes = tlv_zeros(c, TLV_U8, tlv_shape4(1, 2, 3, 4));
    EXPECT(!tlv_max_pool2d(c, x, (tlv_pool2d_opts){ .k = 4 }), "too large a window");
    EXPECT_ERROR(c, TLV_ERR_SHAPE, "no window of 4 x 4 fits an image of 3 x 4");
    EXPECT(!tlv_avg_pool2d(c, x, (tlv_pool2d_opts){ 0 }), "no window");
    EXPECT_ERROR(c, TLV_ERR_ARG, "k 0,0");
    EXPECT(!tlv_max_pool2d(c, x, (tlv_pool2d_opts){ .k = 2, .pad = { 2, 0, 0, 0 } }),
           "a window in the padding");
    EXPECT_ERROR(c, TLV_ERR_ARG, "pad 2,0,0,0");
    EXPECT(!tlv_avg_pool2d(c, x, (tlv_pool2d_opts){ .k = 2, .dilation = 2 }), "a dilated average");
    EXPECT_ERROR(c, TLV_ERR_ARG, "dilation 2");
    EXPECT(!tlv_max_pool2d(c, flat, (tlv_pool2d_opts){ .k = 2 }), "a row");
    EXPECT_ERROR(c, TLV_ERR_SHAPE, "x is [3]");
    EXPECT(!tlv_global_avg_pool(c, flat), "a row");
    EXPECT_ERROR(c, TLV_ERR_SHAPE, "x is [3]");
    EXPECT(!tlv_max_pool2d(c, bytes, (tlv_pool2d_opts){ .k = 2 }), "bytes");
    EXPECT_ERROR(c, TLV_ERR_DTYPE, "u8");
    EXPECT(!tlv_adaptive_avg_pool2d(c, x, 0, 2), "no pixel");
    EXPECT_ERROR(c, TLV_ERR_ARG, "0 x 2");
    EXPECT(!tlv_adaptive_max_pool2d(c, x, 2, -1), "no pixel");
    EXPECT_ERROR(c, TLV_ERR_ARG, "2 x -1");
    tlv_ctx_close(c);
}

TEST_MAIN(T(test_the_first_maximum_takes_the_gradient), T(test_overlapping_windows_add),
          T(test_nan_wins_and_takes_the_gradient), T(test_padding_is_never_the_maximum),
          T(test_a_window_without_a_pixel), T(test_what_an_average_divides_by),
          T(test_global_average), T(test_errors))
