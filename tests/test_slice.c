/* test_slice.c -- what cutting and joining do beyond values: views, dtypes, orders, refusals. */
#include "tests/support.h"
#include "autograd/autograd.h"
#include "tensor/core.h"

#define OPEN(c)                                                                                    \
    tlv_ctx *c = support_open();                                                                   \
    REQUIRE(c, "no context")

#define LIST(...) ((const tlv_tensor *[]){ __VA_ARGS__ })

static void test_slices_are_views(void)
{
    OPEN(c);
    tlv_tensor *x = tlv_zeros(c, TLV_F32, TLV_SHAPE(3, 8));
    tlv_tensor *y = tlv_slice(c, x, 1, 1, 8, 3);
    REQUIRE(y, "%s", tlv_error_msg(c));
    EXPECT(y->buf == x->buf, "a slice has a buffer of its own");
    EXPECT_INT(y->offset, 1);
    EXPECT_INT(y->stride[1], 3);
    tlv_ctx_close(c);
}

static void test_integers_move_too(void)
{
    OPEN(c);
    const int32_t v[] = { 1, 2, 3, 4, 5, 6 };
    const uint8_t b[] = { 7, 8, 9 };
    tlv_tensor *x = tlv_from_data(c, TLV_I32, TLV_SHAPE(2, 3), v, 0);
    tlv_tensor *y = tlv_from_data(c, TLV_U8, TLV_SHAPE(3), b, 0);
    EXPECT_VALUES(c, tlv_slice(c, x, 1, 0, 3, 2), 0, 1, 3, 4, 6);
    EXPECT_VALUES(c, tlv_flip(c, x, TLV_AXES(0, 1)), 0, 6, 5, 4, 3, 2, 1);
    EXPECT_VALUES(c, tlv_cat(c, 2, LIST(x, x), 1), 0, 1, 2, 3, 1, 2, 3, 4, 5, 6, 4, 5, 6);
    EXPECT_VALUES(c, tlv_roll(c, y, 0, 1), 0, 9, 7, 8);
    EXPECT_VALUES(c, tlv_pad(c, y, 0, 1, 2, 0), 0, 0, 7, 8, 9, 0, 0);
    EXPECT_VALUES(c, tlv_pad(c, y, 0, 1, 0, 255), 0, 255, 7, 8, 9);
    EXPECT_OK(c);
    tlv_tensor *bad = tlv_pad(c, y, 0, 1, 0, 0.5);
    EXPECT(bad == NULL, "half a byte");
    EXPECT_ERROR(c, TLV_ERR_ARG, "0.5 is not a value of u8");
    tlv_ctx_close(c);
}

static void test_images_stay_channels_last(void)
{
    OPEN(c);
    tlv_tensor *x = tlv_to_order(c, tlv_zeros(c, TLV_F32, TLV_SHAPE(2, 6, 4, 5)),
                                 TLV_CHANNELS_LAST);
    tlv_tensor *part = tlv_slice(c, x, 1, 1, 4, 1);         // C stride 1, pixels with gaps
    REQUIRE(part, "%s", tlv_error_msg(c));
    EXPECT(tlvi_is_channels_last(tlv_cat(c, 2, LIST(part, x), 1)), "cat changed the order");
    EXPECT(tlvi_is_channels_last(tlv_flip(c, part, TLV_AXES(3))), "flip changed the order");
    EXPECT(tlvi_is_channels_last(tlv_pad(c, part, 2, 1, 1, 0)), "pad changed the order");
    EXPECT_OK(c);
    tlv_ctx_close(c);
}

static void test_cat_takes_any_number(void)
{
    OPEN(c);
    enum { MANY = 100 };
    const tlv_tensor *x[MANY];
    tlv_tensor *d[MANY];
    for (int i = 0; i < MANY; i++) x[i] = tlv_leaf(c, tlv_full(c, TLV_F64, TLV_SHAPE(2), i));
    // the sweep replays it: its exec sees all of them
    tlv_scope s = tlv_scope_begin_with(c, TLV_CHECKPOINT);
    tlv_tensor *y = tlv_stack(c, MANY, x, 0);
    tlv_tensor *f = tlv_scope_end_keep(c, s, tlv_sum_all(c, tlv_mul(c, y, y)));
    EXPECT_STATUS(tlv_grad(c, f, NULL, MANY, x, d, 0), TLV_OK);
    for (int i = 0; i < MANY; i++) EXPECT_VALUES(c, d[i], 0, 2.0 * i, 2.0 * i);
    EXPECT_OK(c);
    tlv_ctx_close(c);
}

static void test_refusals(void)
{
    OPEN(c);
    tlv_tensor *x = tlv_zeros(c, TLV_F32, TLV_SHAPE(2, 3)),
        *y = tlv_zeros(c, TLV_F32, TLV_SHAPE(3, 3));
    tlv_tensor *z = tlv_zeros(c, TLV_F64, TLV_SHAPE(2, 3));
    tlv_slice(c, x, 2, 0, 1, 1);
    EXPECT_ERROR(c, TLV_ERR_ARG, "slice: axis 2 of x [2,3]");
    tlv_slice(c, x, 0, 0, 1, 0);
    EXPECT_ERROR(c, TLV_ERR_ARG, "slice: step 0");
    tlv_place(c, x, 1, 5, 0, 3, 0);
    EXPECT_ERROR(c, TLV_ERR_ARG, "place: 3 elements at 0, steps of 3, do not fit on an axis of 5");
    tlv_place(c, x, 1, 5, -1, 1, 0);
    EXPECT_ERROR(c, TLV_ERR_ARG, "place: 3 elements at -1");
    tlv_pad(c, x, 1, -2, -2, 0);
    EXPECT_ERROR(c, TLV_ERR_ARG, "pad: -2 before and -2 after axis 1 of x [2,3]");
    tlv_cat(c, 2, LIST(x, y), 1);
    EXPECT_ERROR(c, TLV_ERR_SHAPE, "cat: input 1 is f32[3,3] but input 0 is f32[2,3], on axis 1");
    tlv_cat(c, 2, LIST(x, z), 1);
    EXPECT_ERROR(c, TLV_ERR_DTYPE, "cat: input 1 is f64[2,3]");
    tlv_cat(c, 0, NULL, 1);
    EXPECT_ERROR(c, TLV_ERR_ARG, "cat: 0 tensors");
    tlv_stack(c, 2, LIST(x, y), 0);
    EXPECT_ERROR(c, TLV_ERR_SHAPE, "stack: input 1 is [3,3] but input 0 is [2,3]");
    tlv_stack(c, 2, LIST(x, x), 3);
    EXPECT_ERROR(c, TLV_ERR_ARG, "stack: axis 3");
    tlv_flip(c, x, TLV_AXES(0, -2));
    EXPECT_ERROR(c, TLV_ERR_ARG, "flip: axis -2 of x [2,3]");
    tlv_roll(c, x, -3, 1);
    EXPECT_ERROR(c, TLV_ERR_ARG, "roll: axis -3");
    tlv_ctx_close(c);
}

TEST_MAIN(T(test_slices_are_views), T(test_integers_move_too), T(test_images_stay_channels_last),
          T(test_cat_takes_any_number), T(test_refusals))
