/* test_rng.c -- Philox: known answers, keys, distributions, tensors. */
#include <math.h>

#include "tensor/core.h"
#include "tensor/rng.h"
#include "tests/test.h"

/* Source: kat_vectors of the Random123 distribution, philox4x32 with 10 rounds. */
static void test_known_answers(void)
{
    static const struct { uint32_t counter[4], key[2], want[4]; } KAT[] = {
        { { 0, 0, 0, 0 }, { 0, 0 }, { 0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8 } },
        { { 0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff }, { 0xffffffff, 0xffffffff },
          { 0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd } },
        { { 0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344 }, { 0xa4093822, 0x299f31d0 },
          { 0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1 } },
    };
    for (int k = 0; k < 3; k++) {
        uint32_t got[4];
        tlvi_philox(KAT[k].counter, KAT[k].key, got);
        for (int i = 0; i < 4; i++)
            EXPECT(got[i] == KAT[k].want[i], "vector %d word %d: %08x, want %08x", k, i,
                   (unsigned)got[i], (unsigned)KAT[k].want[i]);
    }
    // Draws 0..3 under key 0 have the first vector's words on top.
    for (int i = 0; i < 4; i++) EXPECT_INT(tlv_rng_u64((tlv_rng_key){ 0 }, (uint64_t)i) >> 32,
                                           KAT[0].want[i]);
}

/* What a seed gives is part of what users see: experiments repeat across versions. */
static void test_pinned_draws(void)
{
    tlv_ctx *c = tlv_ctx_open(&(tlv_ctx_opts){ .seed = 42, .threads = 1 });
    REQUIRE(c, "no context");
    tlv_rng_key k = tlv_rng_stream(c, "dropout");
    EXPECT(k.k == UINT64_C(0x5a587693d6622e11), "stream: %llx", (unsigned long long)k.k);
    EXPECT(tlv_rng_fold(k, 7).k == UINT64_C(0xb13e4b508ff4b49c), "fold: %llx",
           (unsigned long long)tlv_rng_fold(k, 7).k);
    EXPECT(tlv_rng_u64(k, 5) == UINT64_C(0xd813903e6286b6f3), "u64: %llx",
           (unsigned long long)tlv_rng_u64(k, 5));
    EXPECT_CLOSE(tlv_rng_normal(k, 5), -1.6275036106855487, 1e-14, 0.0);
    EXPECT_INT(tlv_rng_below(k, 5, 1000000), 96615);
    tlv_ctx_close(c);
}

static void test_keys_differ(void)
{
    tlv_ctx *a = tlv_ctx_open(&(tlv_ctx_opts){ .seed = 1 }), *b = tlv_ctx_open(
        &(tlv_ctx_opts){ .seed = 2 });
    REQUIRE(a && b, "no context");
    EXPECT(tlv_rng_stream(a, "x").k != tlv_rng_stream(a, "y").k, "two names, one stream");
    EXPECT(tlv_rng_stream(a, "x").k != tlv_rng_stream(b, "x").k, "two seeds, one stream");
    EXPECT(tlv_rng_stream(a, "x").k == tlv_rng_stream(a, "x").k, "one stream, two keys");
    tlv_rng_key k = tlv_rng_stream(a, "x");
    EXPECT(tlv_rng_fold(k, 0).k != k.k, "folding 0 changes nothing");
    EXPECT(tlv_rng_fold(k, 0).k != tlv_rng_fold(k, 1).k, "two folds, one key");
    EXPECT(tlv_rng_fold(k, 1).k != tlv_rng_fold(k, UINT64_C(1) << 32).k, "high words are lost");
    EXPECT(tlv_rng_u64(k, 1) != tlv_rng_u64(k, UINT64_C(1) + (UINT64_C(1) << 40)),
           "high words of a place are lost");
    tlv_ctx_close(a);
    tlv_ctx_close(b);
}

/* ---- distributions --------------------------------------------------------------------------- */

/* Chi-squared of counts that should be equal, in standard deviations from its mean. */
static double chi2_sigmas(const int *count, int bins, int n)
{
    double want = (double)n / bins, chi2 = 0.0;
    for (int b = 0; b < bins; b++) chi2 += (count[b] - want) * (count[b] - want) / want;
    return (chi2 - (bins - 1)) / sqrt(2.0 * (bins - 1));
}

static void test_uniform(void)
{
    enum { N = 200000, BINS = 64 };
    int count[BINS] = { 0 }, low[BINS] = { 0 };
    double sum = 0.0, sum2 = 0.0, serial = 0.0, before = 0.5;
    tlv_rng_key k = { 3 };
    for (uint64_t i = 0; i < N; i++) {
        double u = tlv_rng_uniform(k, i);
        if (!(u >= 0.0 && u < 1.0)) EXPECT(0, "draw %d is %.17g", (int)i, u);
        sum += u;
        sum2 += u * u;
        serial += (u - 0.5) * (before - 0.5);
        before = u;
        count[(int)(u * BINS)]++;
        low[tlv_rng_u64(k, i) % BINS]++;
    }
    EXPECT_CLOSE(sum / N, 0.5, 0.0, 4.0 * sqrt(1.0 / 12 / N));
    EXPECT_CLOSE(sum2 / N, 1.0 / 3, 0.0, 4.0 * sqrt(4.0 / 45 / N));
    EXPECT_CLOSE(serial / N, 0.0, 0.0, 4.0 / 12 / sqrt(N));
    EXPECT_CLOSE(chi2_sigmas(count, BINS, N), 0.0, 0.0, 4.0);
    EXPECT_CLOSE(chi2_sigmas(low, BINS, N), 0.0, 0.0, 4.0);
}

static void test_normal(void)
{
    enum { N = 200000 };
    double m[5] = { 0 }, serial = 0.0, before = 0.0;
    int beyond2 = 0;
    for (uint64_t i = 0; i < N; i++) {
        double x = tlv_rng_normal((tlv_rng_key){ 4 }, i), p = 1.0;
        for (int d = 1; d <= 4; d++) m[d] += p *= x;
        beyond2 += fabs(x) > 2.0;
        serial += x * before;
        before = x;
    }
    EXPECT_CLOSE(m[1] / N, 0.0, 0.0, 4.0 / sqrt(N));
    EXPECT_CLOSE(m[2] / N, 1.0, 0.0, 4.0 * sqrt(2.0 / N));
    EXPECT_CLOSE(m[3] / N, 0.0, 0.0, 4.0 * sqrt(15.0 / N));
    EXPECT_CLOSE(m[4] / N, 3.0, 0.0, 4.0 * sqrt(96.0 / N));
    EXPECT_CLOSE(beyond2 / (double)N, 0.0455003, 0.0, 4.0 * sqrt(0.0455 / N));
    EXPECT_CLOSE(serial / N, 0.0, 0.0, 4.0 / sqrt(N));
}

static void test_below_is_even(void)
{
    enum { N = 120000 };
    for (int n = 2; n <= 12; n += 5) {
        int count[12] = { 0 };
        for (uint64_t i = 0; i < N; i++) {
            int64_t x = tlv_rng_below((tlv_rng_key){ 5 }, i, n);
            if (x < 0 || x >= n) EXPECT(0, "below %d gave %lld", n, (long long)x);
            else count[x]++;
        }
        EXPECT_CLOSE(chi2_sigmas(count, n, N), 0.0, 0.0, 4.0);
    }

    // 64-bit numbers hold 3 * 2^61 values twice and a third of them thrice: without rejection the
    // lowest third would come half again as often.
    const int64_t third = INT64_C(1) << 61, n = 3 * third;
    int count[3] = { 0 };
    for (uint64_t i = 0; i < N; i++) count[tlv_rng_below((tlv_rng_key){ 6 }, i, n) / third]++;
    EXPECT_CLOSE(chi2_sigmas(count, 3, N), 0.0, 0.0, 4.0);

    EXPECT_INT(tlv_rng_below((tlv_rng_key){ 5 }, 0, 1), 0);
    EXPECT(tlv_rng_below((tlv_rng_key){ 5 }, 1, INT64_MAX) >= 0, "below INT64_MAX is negative");
}

static void test_shuffle(void)
{
    enum { N = 1000 };
    int64_t x[N], times[N] = { 0 };
    int moved = 0;
    for (int i = 0; i < N; i++) x[i] = i;
    tlv_rng_shuffle((tlv_rng_key){ 7 }, N, x);
    for (int i = 0; i < N; i++) {
        REQUIRE(x[i] >= 0 && x[i] < N, "a stranger at %d", i);
        times[x[i]]++;
        moved += x[i] != i;
    }
    for (int i = 0; i < N; i++) EXPECT(times[i] == 1, "%d is there %d times", i, (int)times[i]);
    EXPECT(moved > N - 20, "only %d moved", moved);

    // All 24 orders of four are equally likely.
    enum { M = 48000 };
    int order[24] = { 0 };
    for (uint64_t k = 0; k < M; k++) {
        int64_t y[4] = { 0, 1, 2, 3 };
        tlv_rng_shuffle(tlv_rng_fold((tlv_rng_key){ 8 }, k), 4, y);
        int code = 0;
        for (int i = 0; i < 4; i++) {
            int rank = 0;
            for (int j = i + 1; j < 4; j++) rank += y[j] < y[i];
            code = code * (4 - i) + rank;
        }
        order[code]++;
    }
    EXPECT_CLOSE(chi2_sigmas(order, 24, M), 0.0, 0.0, 4.0);
    tlv_rng_shuffle((tlv_rng_key){ 7 }, 0, NULL);
}

/* ---- tensors --------------------------------------------------------------------------------- */

static const void *data_of(tlv_ctx *c, const tlv_tensor *t)
{
    tlv_view v = { 0 };
    return tlv_view_of(c, t, &v) == TLV_OK ? v.ptr : NULL;
}

/* Across chunks and with a ragged end: element j is draw j, at any thread count, in both dtypes. */
static void test_tensors_are_the_draws(void)
{
    enum { N = 40007 };
    for (int threads = 1; threads <= 3; threads++) {
        tlv_ctx *c = tlv_ctx_open(&(tlv_ctx_opts){ .threads = threads });
        REQUIRE(c, "no context");
        tlv_rng_key k = { 9 };
        const float *u32 = data_of(c, tlv_rand(c, TLV_F32, tlv_shape2(1, N), k));
        const double *u64 = data_of(c, tlv_rand(c, TLV_F64, tlv_shape2(N, 1), k));
        const float *n32 = data_of(c, tlv_randn(c, TLV_F32, tlv_shape1(N), k));
        const double *n64 = data_of(c, tlv_randn(c, TLV_F64, tlv_shape1(N), k));
        REQUIRE(u32 && u64 && n32 && n64, "no tensors: %s", tlv_error_msg(c));
        int64_t wrong[4] = { 0 };
        for (uint64_t i = 0; i < N; i++) {
            double u = tlv_rng_uniform(k, i), n = tlv_rng_normal(k, i);
            wrong[0] += u64[i] != u;
            wrong[1] += u32[i] != (float)(floor(u * 0x1p24) * 0x1p-24);
            wrong[2] += n64[i] != n;
            wrong[3] += n32[i] != (float)n;
        }
        for (int j = 0; j < 4; j++) EXPECT_INT(wrong[j], 0);
        tlv_ctx_close(c);
    }
}

static void test_tensor_edges(void)
{
    tlv_ctx *c = tlv_ctx_open(NULL);
    REQUIRE(c, "no context");
    tlv_rng_key k = { 10 };
    tlv_tensor *empty = tlv_rand(c, TLV_F32, tlv_shape2(3, 0), k);
    EXPECT(empty && tlv_numel(empty) == 0, "a zero-size tensor is refused");
    tlv_tensor *one = tlv_rand(c, TLV_F64, TLV_SCALAR, k);
    EXPECT(tlv_item(c, one) == tlv_rng_uniform(k, 0), "a scalar is not draw 0");
    EXPECT_OK(c);
    EXPECT(!tlv_rand(c, TLV_I32, tlv_shape1(3), k), "integers from rand");
    EXPECT_ERROR(c, TLV_ERR_DTYPE, "rand: the dtype is i32");
    EXPECT(!tlv_randn(c, TLV_F16, tlv_shape1(3), k), "f16 from randn");
    EXPECT_ERROR(c, TLV_ERR_DTYPE, "randn: the dtype is f16");
    EXPECT(!tlv_rand(c, TLV_F32, tlv_shape1(-1), k), "a negative size");
    EXPECT_ERROR(c, TLV_ERR_SHAPE, "-1");
    EXPECT(!tlv_rand(c, (tlv_dtype)99, tlv_shape1(1), k), "dtype 99");
    EXPECT_ERROR(c, TLV_ERR_DTYPE, "rand");
    tlv_ctx_close(c);
}

TEST_MAIN(T(test_known_answers), T(test_pinned_draws), T(test_keys_differ), T(test_uniform),
          T(test_normal), T(test_below_is_even), T(test_shuffle), T(test_tensors_are_the_draws),
          T(test_tensor_edges))
