/* test_loss.c -- softmax and losses at their limits, against PyTorch's numbers; refusals. */
#include <math.h>
#include <string.h>

#include "tests/support.h"
#include "autograd/autograd.h"

#define OPEN(c)                                                                                    \
    tlv_ctx *c = support_open();                                                                   \
    REQUIRE(c, "no context")

static const double X[] = { 2, -1, 0.5, 0, 3, 1, 1, 1, -2, 0.25, -0.5, 1.5 };
static const double Q[] = { .2, .3, .5, 1, 0, 0, 0, .5, .5, .1, .8, .1 };
static const double W[] = { 0.5, 1, 2 };

static tlv_tensor *make(tlv_ctx *c, tlv_dtype d, tlv_shape s, const double *v)
{
    return support_tensor(c, d, s, v, 0, SUPPORT_ROW_MAJOR);
}

static tlv_tensor *labels(tlv_ctx *c, int n, const int32_t *v)
{
    return tlv_from_data(c, TLV_I32, tlv_shape1(n), v, 0);
}

/* torch 1.13: cross_entropy and binary_cross_entropy_with_logits in f64 */
static void test_numbers_of_pytorch(void)
{
    OPEN(c);
    tlv_tensor *x = make(c, TLV_F64, TLV_SHAPE(4, 3), X),
        *t = labels(c, 4, (int32_t[]){ 0, 2, 1, 2 });
    tlv_tensor *q = make(c, TLV_F64, TLV_SHAPE(4, 3), Q), *w = make(c, TLV_F64, TLV_SHAPE(3), W);
    tlv_tensor *p = tlv_affine(c, w, 1.5, 0);
    const struct { tlv_ce_opts o; double want; } CASES[] = {
        { { .smoothing = 0 }, 0.870211275 },
        { { .smoothing = 0.1 }, 0.951461275 },
        { { .weight = w }, 1.06945224 },
        { { .weight = w, .smoothing = 0.2, .use_ignore_index = 1, .ignore_index = 1 }, 1.16691702 },
        { { .reduction = TLV_SUM, .use_ignore_index = 1, .ignore_index = 2 }, 0.959047215 },
    };
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++)
        EXPECT_CLOSE(tlv_item(c, tlv_cross_entropy(c, x, t, CASES[i].o)), CASES[i].want, 1e-8, 0);
    tlv_ce_opts o = { .weight = w, .smoothing = 0.1 };
    EXPECT_CLOSE(tlv_item(c, tlv_cross_entropy(c, x, q, o)), 2.5579674, 1e-8, 0);
    tlv_bce_opts b = { .weight = w, .pos_weight = p };
    EXPECT_CLOSE(tlv_item(c, tlv_bce_with_logits(c, x, q, b)), 1.90818173, 1e-8, 0);
    EXPECT_OK(c);
    tlv_ctx_close(c);
}

static void test_large_logits_stay_finite(void)
{
    OPEN(c);
    for (int d = TLV_F32; d <= TLV_F64; d++) {
        const double v[] = { 1e4, -1e4, 0, -3e4, 1e4, 1e4 };
        tlv_tensor *x = make(c, (tlv_dtype)d, TLV_SHAPE(2, 3), v);
        EXPECT_VALUES(c, tlv_softmax(c, x, 1), 1e-7, 1, 0, 0, 0, 0.5, 0.5);
        EXPECT_VALUES(c, tlv_log_softmax(c, x, 1), 1e-7, 0, -2e4, -1e4, -4e4 - log(2), -log(2),
                      -log(2));
        tlv_ce_opts o = { .reduction = TLV_NONE };
        EXPECT_VALUES(c, tlv_cross_entropy(c, x, labels(c, 2, (int32_t[]){ 1, 2 }), o), 1e-7, 2e4,
                      log(2));
        tlv_bce_opts b = { .reduction = TLV_NONE };
        tlv_tensor *t = tlv_zeros(c, (tlv_dtype)d, TLV_SHAPE(2, 3));
        EXPECT_VALUES(c, tlv_bce_with_logits(c, x, t, b), 1e-7, 1e4, 0, log(2), 0, 1e4, 1e4);
    }
    EXPECT_OK(c);
    tlv_ctx_close(c);
}

/* A hidden class has probability 0; where all are hidden, or one is NaN, the row is NaN. */
static void test_softmax_of_infinities(void)
{
    OPEN(c);
    const double v[] = { 1, -INFINITY, 1, -INFINITY, -INFINITY, -INFINITY, 0, NAN, 1 };
    for (int d = TLV_F32; d <= TLV_F64; d++)
        for (int axis = 0; axis < 2; axis++) {
            tlv_tensor *x = make(c, (tlv_dtype)d, TLV_SHAPE(3, 3), v);
            if (axis == 0) x = tlv_to_order(c, tlv_permute(c, x, TLV_AXES(1, 0)), TLV_ROW_MAJOR);
            tlv_tensor *y = tlv_softmax(c, x, axis);
            if (axis == 0) y = tlv_permute(c, y, TLV_AXES(1, 0));
            EXPECT_VALUES(c, y, 1e-7, 0.5, 0, 0.5, NAN, NAN, NAN, NAN, NAN, NAN);
        }
    EXPECT_OK(c);
    tlv_ctx_close(c);
}

static void test_all_labels_ignored(void)
{
    OPEN(c);
    tlv_ce_opts o = { .use_ignore_index = 1, .ignore_index = -1 };
    for (int flags = 0; flags <= TLV_CREATE_GRAPH; flags++) {
        tlv_tensor *x = tlv_leaf(c, make(c, TLV_F64, TLV_SHAPE(1, 3), X)), *d = NULL;
        tlv_tensor *y = tlv_cross_entropy(c, x, labels(c, 1, (int32_t[]){ -1 }), o);
        EXPECT(isnan(tlv_item(c, y)), "the mean of nothing is %g", tlv_item(c, y));
        tlv_grad(c, y, NULL, 1, (const tlv_tensor *[]){ x }, &d, flags);
        EXPECT_VALUES(c, d, 0, 0, 0, 0);
    }
    EXPECT_OK(c);
    tlv_ctx_close(c);
}

/* At |d| = beta both branches meet in value and slope; at d = 0 the absolute difference has
 * slope 0. */
static void test_smooth_l1_at_its_kinks(void)
{
    OPEN(c);
    const double v[] = { -2, -0.5, 0, 0.5, 2 };
    for (int l1 = 0; l1 < 2; l1++) {
        tlv_tensor *x = tlv_leaf(c, make(c, TLV_F64, TLV_SHAPE(5), v)),
            *zero = tlv_zeros(c, TLV_F64, TLV_SHAPE(5)), *d;
        tlv_tensor *y = tlv_smooth_l1_loss(c, x, zero, l1 ? 0 : 0.5, TLV_SUM);
        EXPECT_CLOSE(tlv_item(c, y), l1 ? 5 : 4, 1e-12, 0);
        tlv_grad(c, y, NULL, 1, (const tlv_tensor *[]){ x }, &d, 0);
        EXPECT_VALUES(c, d, 1e-12, -1, -1, 0, 1, 1);
    }
    EXPECT_OK(c);
    tlv_ctx_close(c);
}

enum { ROWS = 3000, CLASSES = 37 };

static void rows(int threads, int axis, float *y, float *dx, double *loss)
{
    tlv_ctx_opts o = { .threads = threads, .seed = 1 };
    tlv_ctx *c = tlv_ctx_open(&o);
    tlv_rng_key k = tlv_rng_stream(c, "test");
    tlv_shape s = axis ? TLV_SHAPE(ROWS, CLASSES) : TLV_SHAPE(CLASSES, ROWS);
    tlv_tensor *x = tlv_leaf(c, tlv_randn(c, TLV_F32, s, k)), *p = tlv_softmax(c, x, axis),
        *d = NULL;
    tlv_tensor *h = tlv_add(c, tlv_log_softmax(c, tlv_mul(c, p, x), axis), x);
    tlv_ce_opts ce = { .smoothing = 0.1 };
    tlv_tensor *t = tlv_empty(c, TLV_I32, tlv_shape1(ROWS));
    int32_t *v = tlv_fill_ptr(c, t);
    for (int n = 0; n < ROWS; n++) v[n] = n % CLASSES;
    tlv_tensor *f = tlv_cross_entropy(c, axis ? h : tlv_permute(c, h, TLV_AXES(1, 0)), t, ce);
    tlv_grad(c, f, NULL, 1, (const tlv_tensor *[]){ x }, &d, 0);
    *loss = tlv_item(c, f);
    tlv_read(c, h, y, ROWS * CLASSES);
    tlv_read(c, d, dx, ROWS * CLASSES);
    EXPECT_OK(c);
    tlv_ctx_close(c);
}

static void test_threads_change_no_bit(void)
{
    static float y[2][ROWS * CLASSES], dx[2][ROWS * CLASSES];
    double loss[2];
    for (int axis = 0; axis < 2; axis++) {
        rows(1, axis, y[0], dx[0], &loss[0]);
        rows(3, axis, y[1], dx[1], &loss[1]);
        EXPECT(memcmp(y[0], y[1], sizeof y[0]) == 0, "axis %d: the values differ", axis);
        EXPECT(memcmp(dx[0], dx[1], sizeof dx[0]) == 0, "axis %d: the gradients differ", axis);
        EXPECT(loss[0] == loss[1] && loss[0] > 1, "axis %d: the losses are %.9g and %.9g", axis,
               loss[0], loss[1]);
    }
}

static void test_refusals(void)
{
    OPEN(c);
    tlv_tensor *x = make(c, TLV_F32, TLV_SHAPE(4, 3), X), *w = tlv_zeros(c, TLV_F32, TLV_SHAPE(4));
    tlv_tensor *t = labels(c, 4, (int32_t[]){ 0, 1, 12, 0 }),
        *few = labels(c, 3, (int32_t[]){ 0, 1, 0 });
    tlv_ce_opts o = { .smoothing = 0 };
    tlv_cross_entropy(c, x, t, o);
    EXPECT_ERROR(c, TLV_ERR_INDEX, "cross_entropy: target is 12 in row 2; classes are 0 .. 2");
    tlv_cross_entropy(c, x, few, o);
    EXPECT_ERROR(c, TLV_ERR_SHAPE,
                 "cross_entropy: logits are [4,3] but target is [3]; it must be [4]");
    tlv_cross_entropy(c, x, tlv_zeros(c, TLV_U8, TLV_SHAPE(4)), o);
    EXPECT_ERROR(c, TLV_ERR_DTYPE, "cross_entropy: target is u8[4]; it must be i32");
    tlv_cross_entropy(c, x, tlv_zeros(c, TLV_F64, TLV_SHAPE(4, 3)), o);
    EXPECT_ERROR(c, TLV_ERR_DTYPE, "f64[4,3]");
    tlv_cross_entropy(c, w, t, o);
    EXPECT_ERROR(c, TLV_ERR_SHAPE, "cross_entropy: logits are [4]; they must be [B,classes,..]");
    o.weight = w;
    tlv_cross_entropy(c, x, t, o);
    EXPECT_ERROR(c, TLV_ERR_SHAPE, "cross_entropy: logits are [4,3] but weight is [4]");
    o = (tlv_ce_opts){ .smoothing = 1.5 };
    tlv_cross_entropy(c, x, t, o);
    EXPECT_ERROR(c, TLV_ERR_ARG, "cross_entropy: smoothing 1.5");
    o = (tlv_ce_opts){ .use_ignore_index = 1 };
    tlv_cross_entropy(c, x, x, o);
    EXPECT_ERROR(c, TLV_ERR_ARG, "use_ignore_index 1 with a soft target");
    tlv_bce_opts b = { .weight = w };
    tlv_bce_with_logits(c, x, x, b);
    EXPECT_ERROR(c, TLV_ERR_SHAPE, "bce_with_logits: logits are [4,3] but weight is [4]");
    b = (tlv_bce_opts){ .pos_weight = tlv_zeros(c, TLV_F32, TLV_SHAPE(2, 4, 3)) };
    tlv_bce_with_logits(c, x, x, b);
    EXPECT_ERROR(c, TLV_ERR_SHAPE, "but pos_weight is [2,4,3]");
    tlv_mse_loss(c, x, w, TLV_MEAN);
    EXPECT_ERROR(c, TLV_ERR_SHAPE, "mse_loss: the first input is [4,3] but the second is [4]");
    tlv_mse_loss(c, x, x, (tlv_reduction)7);
    EXPECT_ERROR(c, TLV_ERR_ARG, "mse_loss: reduction 7");
    tlv_smooth_l1_loss(c, x, x, -1, TLV_MEAN);
    EXPECT_ERROR(c, TLV_ERR_ARG, "smooth_l1_loss: beta is -1");
    tlv_softmax(c, x, 2);
    EXPECT_ERROR(c, TLV_ERR_ARG, "softmax: axis 2 of x [4,3]");
    tlv_log_softmax(c, t, 0);
    EXPECT_ERROR(c, TLV_ERR_DTYPE, "log_softmax: takes f32 or f64, got i32[4]");
    tlv_ctx_close(c);
}

TEST_MAIN(T(test_numbers_of_pytorch), T(test_large_logits_stay_finite),
          T(test_softmax_of_infinities), T(test_all_labels_ignored), T(test_smooth_l1_at_its_kinks),
          T(test_threads_change_no_bit), T(test_refusals))
