/* test_dropout.c -- what is dropped depends on key and place alone. */
#include <math.h>
#include <string.h>

#include "tests/support.h"
#include "autograd/autograd.h"

#define OPEN(c)                                                                                    \
    tlv_ctx *c = support_open();                                                                   \
    REQUIRE(c, "no context")

enum { N = 40000 };

static void test_share_and_scale(void)
{
    OPEN(c);
    static float v[N];
    tlv_rng_key k = tlv_rng_stream(c, "dropout");
    tlv_tensor *x = tlv_full(c, TLV_F32, TLV_SHAPE(N), 3);
    tlv_read(c, tlv_dropout(c, x, 0.25, k), v, N);
    int dropped = 0, wrong = 0;
    for (int i = 0; i < N; i++) {
        dropped += v[i] == 0;
        wrong += v[i] != 0 && v[i] != 4;
    }
    EXPECT_INT(wrong, 0);
    EXPECT_CLOSE(dropped, 0.25 * N, 0, 5 * sqrt(N * 0.25 * 0.75));
    tlv_ctx_close(c);
}

static void test_ends_of_the_range(void)
{
    OPEN(c);
    tlv_rng_key k = tlv_rng_stream(c, "dropout");
    tlv_tensor *x = tlv_full(c, TLV_F32, TLV_SHAPE(3), INFINITY);
    EXPECT(tlv_dropout(c, x, 0, k) == x, "p = 0 made another tensor");
    EXPECT_VALUES(c, tlv_dropout(c, x, 1, k), 0, 0, 0, 0);
    EXPECT_OK(c);
    tlv_dropout(c, x, 1.01, k);
    EXPECT_ERROR(c, TLV_ERR_ARG, "dropout: p is 1.01");
    tlv_drop_path(c, x, NAN, k);
    EXPECT_ERROR(c, TLV_ERR_ARG, "drop_path: p is");
    tlv_drop_path(c, tlv_scalar(c, TLV_F32, 1), 0.5, k);
    EXPECT_ERROR(c, TLV_ERR_SHAPE, "drop_path: x is []");
    tlv_ctx_close(c);
}

static void dropped(int threads, tlv_dtype d, tlv_order order, uint64_t key, double *v)
{
    tlv_ctx_opts o = { .threads = threads };
    tlv_ctx *c = tlv_ctx_open(&o);
    tlv_tensor *x = tlv_to_order(c, tlv_full(c, d, TLV_SHAPE(4, 10, 25, 40), 1), order);
    support_read(c, tlv_dropout(c, x, 0.5, (tlv_rng_key){ key }), v, N);
    EXPECT_OK(c);
    tlv_ctx_close(c);
}

static void test_key_and_place_decide(void)
{
    static double a[N], b[N];
    dropped(1, TLV_F32, TLV_ROW_MAJOR, 7, a);
    dropped(3, TLV_F32, TLV_ROW_MAJOR, 7, b);
    EXPECT(memcmp(a, b, sizeof a) == 0, "threads changed the mask");
    dropped(1, TLV_F32, TLV_CHANNELS_LAST, 7, b);
    EXPECT(memcmp(a, b, sizeof a) == 0, "memory order changed the mask");
    dropped(1, TLV_F64, TLV_ROW_MAJOR, 7, b);
    EXPECT(memcmp(a, b, sizeof a) == 0, "the dtype changed the mask");
    dropped(1, TLV_F32, TLV_ROW_MAJOR, 8, b);
    EXPECT(memcmp(a, b, sizeof a) != 0, "another key gave the same mask");
}

TEST_MAIN(T(test_share_and_scale), T(test_ends_of_the_range), T(test_key_and_place_decide))
