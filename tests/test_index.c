/* test_index.c -- index ops: repeated indices, threads, refusals that name the place. */
#include <string.h>

#include "tests/support.h"
#include "autograd/autograd.h"

#define OPEN(c)                                                                                    \
    tlv_ctx *c = support_open();                                                                   \
    REQUIRE(c, "no context")

static tlv_tensor *ints(tlv_ctx *c, tlv_shape s, const int32_t *v)
{
    return tlv_from_data(c, TLV_I32, s, v, 0);
}

static void test_repeated_indices_add_up(void)
{
    OPEN(c);
    const float g[] = { 1, 2, 3, 4, 5, 6 };
    tlv_tensor *x = tlv_from(c, TLV_SHAPE(3, 2), g, 0);
    tlv_tensor *i = ints(c, TLV_SHAPE(3), (int32_t[]){ 2, 0, 2 });
    EXPECT_VALUES(c, tlv_scatter_add(c, x, 0, i, 4), 0, 3, 4, 0, 0, 6, 8, 0, 0);
    tlv_tensor *j = ints(c, TLV_SHAPE(3, 2), (int32_t[]){ 0, 1, 0, 1, 1, 1 });
    EXPECT_VALUES(c, tlv_put_along(c, x, 0, j, 2), 0, 4, 0, 5, 12);
    EXPECT_OK(c);
    tlv_ctx_close(c);
}

static void test_gather_takes_bytes(void)
{
    OPEN(c);
    const uint8_t v[] = { 1, 2, 3, 4, 5, 6 };
    tlv_tensor *x = tlv_from_data(c, TLV_U8, TLV_SHAPE(3, 2), v, 0);
    EXPECT_VALUES(c, tlv_gather(c, x, 0, ints(c, TLV_SHAPE(2), (int32_t[]){ 2, 0 })), 0, 5, 6, 1,
                  2);
    EXPECT_OK(c);
    tlv_ctx_close(c);
}

enum { ROWS = 700, WIDE = 1100, PICKS = 3000 };

/* The gradient of an embedding at one size that every thread gets a part of. */
static void embedding(int threads, float *y, float *dx)
{
    tlv_ctx_opts o = { .threads = threads, .seed = 1 };
    tlv_ctx *c = tlv_ctx_open(&o);
    tlv_rng_key k = tlv_rng_stream(c, "test");
    tlv_tensor *x = tlv_leaf(c, tlv_rand(c, TLV_F32, TLV_SHAPE(ROWS, WIDE), k));
    tlv_tensor *i = tlv_empty(c, TLV_I32, TLV_SHAPE(PICKS));
    int32_t *v = tlv_fill_ptr(c, i);
    for (int n = 0; n < PICKS; n++) v[n] = (int32_t)tlv_rng_below(k, (uint64_t)n, ROWS);
    tlv_tensor *e = tlv_gather(c, x, 0, i), *w = tlv_rand(c, TLV_F32, TLV_SHAPE(PICKS, WIDE),
                                                          tlv_rng_fold(k, 1)), *d = NULL;
    tlv_read(c, e, y, (int64_t)PICKS * WIDE);
    tlv_grad(c, e, w, 1, (const tlv_tensor *[]){ x }, &d, 0);
    tlv_read(c, d, dx, ROWS * WIDE);
    EXPECT_OK(c);
    tlv_ctx_close(c);
}

static void test_threads_change_no_bit_of_an_embedding(void)
{
    static float y[2][PICKS * WIDE], dx[2][ROWS * WIDE];
    embedding(1, y[0], dx[0]);
    embedding(3, y[1], dx[1]);
    EXPECT(memcmp(y[0], y[1], sizeof y[0]) == 0, "the values differ");
    EXPECT(memcmp(dx[0], dx[1], sizeof dx[0]) == 0, "the gradients differ");
    EXPECT(dx[0][0] != 0 || dx[0][WIDE] != 0, "no gradient at all");
}

static void test_refusals(void)
{
    OPEN(c);
    tlv_tensor *x = tlv_zeros(c, TLV_F32, TLV_SHAPE(4, 3)),
        *f = tlv_zeros(c, TLV_F32, TLV_SHAPE(2));
    tlv_tensor *high = ints(c, TLV_SHAPE(2, 2), (int32_t[]){ 0, 3, 4, 1 });
    tlv_tensor *low = ints(c, TLV_SHAPE(2), (int32_t[]){ 0, -1 }),
        *two = ints(c, TLV_SHAPE(2), (int32_t[]){ 0, 1 });
    tlv_gather(c, x, 0, high);
    EXPECT_ERROR(c, TLV_ERR_INDEX, "gather: index 4 at place 2 of [2,2] is outside 0 .. 3");
    tlv_gather(c, x, 0, low);
    EXPECT_ERROR(c, TLV_ERR_INDEX, "gather: index -1 at place 1");
    tlv_gather(c, x, 0, f);
    EXPECT_ERROR(c, TLV_ERR_DTYPE, "gather: index is f32[2]; it must be i32");
    tlv_gather(c, x, 2, two);
    EXPECT_ERROR(c, TLV_ERR_ARG, "gather: axis 2 of x [4,3]");
    tlv_scatter_add(c, x, 0, two, 3);
    EXPECT_ERROR(c, TLV_ERR_SHAPE, "scatter_add: g is [4,3] and index is [2]");
    tlv_scatter_add(c, x, 0, ints(c, TLV_SHAPE(4), (int32_t[]){ 0, 1, 2, 3 }), 3);
    EXPECT_ERROR(c, TLV_ERR_INDEX, "scatter_add: index 3 at place 3");
    tlv_take_along(c, x, 1, two);
    EXPECT_ERROR(c, TLV_ERR_SHAPE, "take_along: the first input is [4,3] but index is [2]");
    tlv_take_along(c, tlv_permute(c, x, TLV_AXES(1, 0)), 1, ints(c, TLV_SHAPE(3, 1),
                                                                 (int32_t[]){ 0, 9, 1 }));
    EXPECT_ERROR(c, TLV_ERR_INDEX, "take_along: index 9 at place 1 of [3,1] is outside 0 .. 3");
    tlv_put_along(c, x, 1, high, 3);
    EXPECT_ERROR(c, TLV_ERR_SHAPE, "put_along: the first input is [4,3] but index is [2,2]");
    tlv_one_hot(c, high, 4, TLV_F32);
    EXPECT_ERROR(c, TLV_ERR_INDEX, "one_hot: index 4 at place 2 of [2,2] is not below 4");
    tlv_one_hot(c, high, 5, TLV_U8);
    EXPECT_ERROR(c, TLV_ERR_ARG, "dtype u8");
    tlv_ctx_close(c);
}

TEST_MAIN(T(test_repeated_indices_add_up), T(test_gather_takes_bytes),
          T(test_threads_change_no_bit_of_an_embedding), T(test_refusals))
