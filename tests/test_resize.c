/* test_resize.c -- resize against PyTorch's numbers, and what it refuses. */
#include <string.h>

#include "tests/support.h"
#include "autograd/autograd.h"
#include "tensor/core.h"

#define OPEN(c)                                                                                    \
    tlv_ctx *c = support_open();                                                                   \
    REQUIRE(c, "no context")

static const double X[] = { 1, 2, 4, 8, 16, 3, 5, 7, 9, -1, 0, 2 };

/* torch 1.13, interpolate(size=...) in f32 */
static void test_numbers_of_pytorch(void)
{
    OPEN(c);
    for (int d = TLV_F32; d <= TLV_F64; d++) {
        tlv_tensor *x = support_tensor(c, (tlv_dtype)d, TLV_SHAPE(1, 1, 3, 4), X, 0,
                                       SUPPORT_ROW_MAJOR);
        tlv_resize_opts o = { TLV_NEAREST, 0, 0 };
        EXPECT_VALUES(c, tlv_resize(c, x, 2, 7, o), 0, 1, 1, 2, 2, 4, 4, 8, 16, 16, 3, 3, 5, 5, 7);
        o = (tlv_resize_opts){ TLV_BILINEAR, 0, 0 };
        EXPECT_VALUES(c, tlv_resize(c, x, 2, 3, o), 1e-5, 4.333333, 3.25, 7.166667, 8.958333, 0.625,
                      2.916667);
        o = (tlv_resize_opts){ TLV_BILINEAR, 1, 0 };
        EXPECT_VALUES(c, tlv_resize(c, x, 2, 3, o), 1e-5, 1, 3, 8, 9, -0.5, 2);
        o = (tlv_resize_opts){ TLV_BILINEAR, 0, 1 };
        EXPECT_VALUES(c, tlv_resize(c, x, 2, 2, o), 1e-5, 4.482143, 5.482143, 5.464286, 2.535714);
        o = (tlv_resize_opts){ TLV_BICUBIC, 0, 0 };
        EXPECT_VALUES(c, tlv_resize(c, x, 2, 3, o), 1e-5, 4.282359, 2.838745, 7.47551, 9.488618,
                      -0.6735838, 2.842005);
        o = (tlv_resize_opts){ TLV_BICUBIC, 0, 1 };
        EXPECT_VALUES(c, tlv_resize(c, x, 2, 2, o), 1e-5, 4.399852, 5.74619, 5.805938, 2.126872);
        tlv_tensor *up = tlv_resize(c, x, 3, 6, o);
        EXPECT_VALUES(c, tlv_slice(c, up, 2, 0, 1, 1), 1e-5, 0.9342107, 1.352941, 2.252315,
                      3.539352, 6.235294, 8.263159);
    }
    EXPECT_OK(c);
    tlv_ctx_close(c);
}

/* f32 rounds 41 * (2 / 82) down: PyTorch takes pixel 0 there, and so do we, in f64 too. */
static void test_nearest_rounds_as_f32(void)
{
    OPEN(c);
    for (int d = TLV_F32; d <= TLV_F64; d++) {
        tlv_tensor *x = support_tensor(c, (tlv_dtype)d, TLV_SHAPE(1, 1, 1, 2), (double[]){ 5, 6 },
                                       0, SUPPORT_ROW_MAJOR);
        tlv_tensor *y = tlv_resize(c, x, 1, 82, (tlv_resize_opts){ TLV_NEAREST, 0, 0 });
        EXPECT_VALUES(c, tlv_slice(c, y, 3, 40, 43, 1), 0, 5, 5, 6);
    }
    EXPECT_OK(c);
    tlv_ctx_close(c);
}

static void resized(int threads, float *y, float *dx)
{
    tlv_ctx_opts o = { .threads = threads, .seed = 1 };
    tlv_ctx *c = tlv_ctx_open(&o);
    tlv_tensor *x = tlv_leaf(c, tlv_randn(c, TLV_F32, TLV_SHAPE(2, 3, 60, 50),
                                          tlv_rng_stream(c, "test"))), *d = NULL;
    tlv_tensor *t = tlv_resize(c, x, 130, 110, (tlv_resize_opts){ TLV_BICUBIC, 0, 0 });
    EXPECT(tlvi_is_channels_last(t), "resize gave another order");
    tlv_grad(c, t, t, 1, (const tlv_tensor *[]){ x }, &d, 0);
    tlv_read(c, t, y, 2 * 3 * 130 * 110);
    tlv_read(c, d, dx, 2 * 3 * 60 * 50);
    EXPECT_OK(c);
    tlv_ctx_close(c);
}

static void test_threads_change_no_bit(void)
{
    static float y[2][2 * 3 * 130 * 110], dx[2][2 * 3 * 60 * 50];
    resized(1, y[0], dx[0]);
    resized(3, y[1], dx[1]);
    EXPECT(memcmp(y[0], y[1], sizeof y[0]) == 0, "the values differ");
    EXPECT(memcmp(dx[0], dx[1], sizeof dx[0]) == 0, "the gradients differ");
    EXPECT(dx[0][0] != 0, "no gradient at all");
}

static void test_refusals(void)
{
    OPEN(c);
    tlv_tensor *x = tlv_zeros(c, TLV_F32, TLV_SHAPE(1, 1, 3, 4)),
        *flat = tlv_zeros(c, TLV_F32, TLV_SHAPE(3, 4));
    tlv_resize_opts o = { TLV_BILINEAR, 0, 0 };
    tlv_resize(c, flat, 2, 2, o);
    EXPECT_ERROR(c, TLV_ERR_SHAPE, "resize: x is [3,4], to 2 x 2");
    tlv_resize(c, x, 0, 2, o);
    EXPECT_ERROR(c, TLV_ERR_SHAPE, "to 0 x 2");
    tlv_resize(c, tlv_zeros(c, TLV_F32, TLV_SHAPE(1, 1, 0, 4)), 2, 2, o);
    EXPECT_ERROR(c, TLV_ERR_SHAPE, "resize: x is [1,1,0,4]");
    o = (tlv_resize_opts){ TLV_NEAREST, 1, 0 };
    tlv_resize(c, x, 2, 2, o);
    EXPECT_ERROR(c, TLV_ERR_ARG, "resize: mode 0, align_corners 1");
    tlv_resize(c, tlv_zeros(c, TLV_U8, TLV_SHAPE(1, 1, 3, 4)), 2, 2,
               (tlv_resize_opts){ TLV_NEAREST, 0, 0 });
    EXPECT_ERROR(c, TLV_ERR_DTYPE, "resize: takes f32 or f64, got u8");
    tlv_ctx_close(c);
}

TEST_MAIN(T(test_numbers_of_pytorch), T(test_nearest_rounds_as_f32), T(test_threads_change_no_bit),
          T(test_refusals))
