/* test_cast.c -- every dtype to every dtype. */
#include <math.h>

#include "autograd/autograd.h"
#include "tests/support.h"

/* One value through a chain of dtypes, the first and last of which support_* knows. */
static double through(tlv_ctx *c, double v, tlv_dtype from, tlv_dtype mid, tlv_dtype to)
{
    double y = -12345;
    tlv_tensor *x = support_tensor(c, from, TLV_SHAPE(1), &v, 0, SUPPORT_ROW_MAJOR);
    support_read(c, tlv_cast(c, tlv_cast(c, x, mid), to), &y, 1);
    return y;
}

static void test_all_pairs(void)
{
    tlv_ctx *c = support_open();
    static const double V[] = { 0, 1, 2, 77, 200, 255 };       // values of every dtype
    for (int a = 0; a < TLV_DTYPE_COUNT; a++)
        for (int b = 0; b < TLV_DTYPE_COUNT; b++) {
            tlv_tensor *x = support_tensor(c, TLV_F64, TLV_SHAPE(6), V, 0, SUPPORT_ROW_MAJOR);
            tlv_tensor *y = tlv_cast(c, tlv_cast(c, x, (tlv_dtype)a), (tlv_dtype)b);
            EXPECT_INT(tlv_dtype_of(y), b);
            double got[6] = { 0 };
            if (!support_read(c, tlv_cast(c, y, TLV_F64), got, 6)) continue;
            for (int i = 0; i < 6; i++)
                EXPECT(got[i] == V[i], "%s to %s: %g became %g", tlv_dtype_name((tlv_dtype)a),
                       tlv_dtype_name((tlv_dtype)b), V[i], got[i]);
        }
    EXPECT_OK(c);
    tlv_ctx_close(c);
}

static void test_to_integers(void)
{
    tlv_ctx *c = support_open();
    for (tlv_dtype d = TLV_F32; d <= TLV_F64; d++) {
        EXPECT_CLOSE(through(c, -2.9, d, TLV_I32, TLV_F64), -2, 0, 0);
        EXPECT_CLOSE(through(c, 2.9, d, TLV_I64, TLV_F64), 2, 0, 0);
        EXPECT_CLOSE(through(c, 3e9, d, TLV_I32, TLV_F64), 2147483647.0, 0, 0);
        EXPECT_CLOSE(through(c, -3e9, d, TLV_I32, TLV_F64), -2147483648.0, 0, 0);
        EXPECT_CLOSE(through(c, 300, d, TLV_U8, TLV_F64), 255, 0, 0);
        EXPECT_CLOSE(through(c, -1, d, TLV_U8, TLV_F64), 0, 0, 0);
        EXPECT_CLOSE(through(c, NAN, d, TLV_I32, TLV_F64), 0, 0, 0);
        EXPECT_CLOSE(through(c, INFINITY, d, TLV_U8, TLV_F64), 255, 0, 0);
    }
    EXPECT_CLOSE(through(c, -7, TLV_I32, TLV_U8, TLV_F64), 0, 0, 0);
    EXPECT_CLOSE(through(c, 2147483647.0, TLV_I32, TLV_I64, TLV_F64), 2147483647.0, 0, 0);
    EXPECT_OK(c);
    tlv_ctx_close(c);
}

static void test_halves(void)
{
    tlv_ctx *c = support_open();
    for (tlv_dtype d = TLV_F32; d <= TLV_F64; d++) {
        EXPECT_CLOSE(through(c, 1 + 1.0 / 2048, d, TLV_F16, TLV_F64), 1, 0, 0); // half, to even
        EXPECT_CLOSE(through(c, 1 + 3.0 / 2048, d, TLV_F16, TLV_F64), 1 + 4.0 / 2048, 0, 0);
        EXPECT_CLOSE(through(c, 65520, d, TLV_F16, TLV_F64), INFINITY, 0, 0);
        EXPECT_CLOSE(through(c, 65519, d, TLV_F16, TLV_F64), 65504, 0, 0);
        EXPECT_CLOSE(through(c, ldexp(3, -25), d, TLV_F16, TLV_F64), ldexp(1, -23), 0,
                     0); // subnormal
        EXPECT_CLOSE(through(c, 1 + 1.0 / 256, d, TLV_BF16, TLV_F64), 1, 0, 0);
        EXPECT_CLOSE(through(c, 1 + 3.0 / 256, d, TLV_BF16, TLV_F64), 1 + 4.0 / 256, 0, 0);
        EXPECT_CLOSE(through(c, NAN, d, TLV_BF16, TLV_F64), NAN, 0, 0);
        EXPECT_CLOSE(through(c, -INFINITY, d, TLV_F16, TLV_F64), -INFINITY, 0, 0);
    }
    // just above half: rounding first to f32 and then to f16 would give 1
    EXPECT_CLOSE(through(c, 1 + 1.0 / 2048 + ldexp(1, -40), TLV_F64, TLV_F16, TLV_F64),
                 1 + 2.0 / 2048, 0, 0);
    EXPECT_OK(c);
    tlv_ctx_close(c);
}

/* y = w cast(x): the gradient comes in x's dtype; casts to others than f32 and f64 end the
 * history. */
static void test_gradient(void)
{
    tlv_ctx *c = support_open();
    const double v[] = { 1, -2, 0.5 }, w[] = { 3, 4, 5 };
    for (tlv_dtype d = TLV_F32; d <= TLV_F64; d++) {
        tlv_dtype other = d == TLV_F32 ? TLV_F64 : TLV_F32;
        const tlv_tensor *x = support_tensor(c, d, TLV_SHAPE(3), v, TLV_WANT_GRAD,
                                             SUPPORT_ROW_MAJOR);
        tlv_tensor *ws = support_tensor(c, other, TLV_SHAPE(3), w, 0, SUPPORT_ROW_MAJOR);
        tlv_tensor *y = tlv_cast(c, x, other), *g = NULL, *h = NULL;
        tlv_tensor *loss = tlv_sum_all(c, tlv_mul(c, ws, tlv_square(c, y)));
        EXPECT_STATUS(tlv_grad(c, loss, NULL, 1, &x, &g, TLV_CREATE_GRAPH), TLV_OK);
        EXPECT_INT(tlv_dtype_of(g), d);
        EXPECT_VALUES(c, g, 1e-6, 6, -16, 5);
        EXPECT_STATUS(tlv_grad(c, tlv_sum_all(c, g), NULL, 1, &x, &h, 0), TLV_OK);
        EXPECT_VALUES(c, h, 1e-6, 6, 8, 10);
        EXPECT(tlv_cast(c, x, d) == x, "a cast to its own dtype is x itself");
        EXPECT(!tlv_wants_grad(tlv_cast(c, x, TLV_F16)), "f16 has no history");
        EXPECT(!tlv_wants_grad(tlv_cast(c, x, TLV_I32)), "i32 has no history");
    }
    EXPECT_OK(c);
    EXPECT(!tlv_cast(c, tlv_scalar(c, TLV_F32, 1), (tlv_dtype)77), "no dtype");
    EXPECT_ERROR(c, TLV_ERR_DTYPE, "cast: to dtype 77");
    tlv_ctx_close(c);
}

/* Images keep their order; strided input; more than one block. */
static void test_order(void)
{
    tlv_ctx *c = support_open();
    double v[2 * 3 * 20 * 21], got[2 * 3 * 20 * 21];
    const int64_t n = (int64_t)(sizeof v / sizeof v[0]);
    for (int64_t i = 0; i < n; i++) v[i] = (double)(i % 251);
    for (int order = 0; order < SUPPORT_ORDERS; order++)
        for (int d = TLV_I32; d < TLV_DTYPE_COUNT; d++) {
            if (d == TLV_I64) continue;
            tlv_tensor *x = support_tensor(c, TLV_I32, TLV_SHAPE(2, 3, 20, 21), v, 0,
                                           (support_order)order);
            tlv_tensor *y = tlv_cast(c, tlv_cast(c, x, (tlv_dtype)d), TLV_F32);
            if (!support_read(c, y, got, n)) continue;
            int64_t wrong = 0;
            for (int64_t i = 0; i < n; i++) wrong += got[i] != v[i];
            EXPECT(wrong == 0, "i32 to %s, order %d: %lld wrong", tlv_dtype_name((tlv_dtype)d),
                   order, (long long)wrong);
        }
    EXPECT_OK(c);
    tlv_ctx_close(c);
}

TEST_MAIN(T(test_all_pairs), T(test_to_integers), T(test_halves), T(test_gradient), T(test_order))
