/* test_norm.c -- norms where the generic checks do not look: work cut into blocks, far means,
 * statistics that are handed out, memory orders, and what is refused. */
#include <math.h>
#include <stdlib.h>

#include "tests/support_large.h"

/* ---- large ----------------------------------------------------------------------------------- */

static tlv_tensor *train(tlv_ctx *c, const tlv_tensor *const *in)
{
    return tlv_batch_norm(c, in[0], in[1], in[2], 1e-5, NULL, TLV_ACT_NONE, NULL, NULL);
}

static tlv_tensor *train_relu(tlv_ctx *c, const tlv_tensor *const *in)
{
    return tlv_batch_norm(c, in[0], in[1], in[2], 1e-5, in[3], TLV_ACT_RELU, NULL, NULL);
}

static tlv_tensor *train_gate(tlv_ctx *c, const tlv_tensor *const *in)
{
    return tlv_batch_norm(c, in[0], in[1], in[2], 1e-5, NULL, TLV_ACT_RELU, NULL, NULL);
}

static tlv_tensor *frozen_relu6(tlv_ctx *c, const tlv_tensor *const *in)
{
    tlv_shape s = tlv_shape_of(in[1]);
    tlv_tensor *mean = tlv_full(c, tlv_dtype_of(in[0]), s, 0.25),
               *var = tlv_full(c, tlv_dtype_of(in[0]), s, 0.5);
    return tlv_batch_norm_with(c, in[0], mean, var, in[1], in[2], 1e-5, in[3], TLV_ACT_RELU6);
}

static tlv_tensor *layer(tlv_ctx *c, const tlv_tensor *const *in)
{
    return tlv_layer_norm(c, in[0], 1, in[1], in[2], 1e-5);
}

static tlv_tensor *group(tlv_ctx *c, const tlv_tensor *const *in)
{
    return tlv_group_norm(c, in[0], 4, in[1], in[2], 1e-5);
}

static void test_large(void)
{
    static const support_large ALL[] = {
        { "batch norm, 3 channels",
          train,
          3,
          { { 4, { 5, 3, 31, 29 } }, { 1, { 3 } }, { 1, { 3 } } },
          SUPPORT_CHANNELS_LAST },
        { "batch norm, planar",
          train,
          3,
          { { 4, { 5, 20, 17, 13 } }, { 1, { 20 } }, { 1, { 20 } } },
          SUPPORT_ROW_MAJOR },
        { "batch norm, 300 channels",
          train,
          3,
          { { 2, { 301, 300 } }, { 1, { 300 } }, { 1, { 300 } } },
          SUPPORT_ROW_MAJOR },
        { "batch norm, residual, relu",
          train_relu,
          4,
          { { 4, { 9, 33, 12, 11 } }, { 1, { 33 } }, { 1, { 33 } }, { 4, { 9, 33, 12, 11 } } },
          SUPPORT_CHANNELS_LAST },
        { "batch norm, relu, above 8 MB: stores past the caches",
          train_gate,
          3,
          { { 4, { 5, 48, 96, 100 } }, { 1, { 48 } }, { 1, { 48 } } },
          SUPPORT_CHANNELS_LAST },
        { "frozen, residual, relu6",
          frozen_relu6,
          4,
          { { 4, { 9, 33, 12, 11 } }, { 1, { 33 } }, { 1, { 33 } }, { 4, { 9, 33, 12, 11 } } },
          SUPPORT_CHANNELS_LAST },
        { "layer norm, many rows",
          layer,
          3,
          { { 3, { 7, 97, 96 } }, { 1, { 96 } }, { 1, { 96 } } },
          SUPPORT_ROW_MAJOR },
        { "layer norm, long rows",
          layer,
          3,
          { { 2, { 3, 20011 } }, { 1, { 20011 } }, { 1, { 20011 } } },
          SUPPORT_ROW_MAJOR },
        { "group norm",
          group,
          3,
          { { 4, { 3, 36, 31, 29 } }, { 1, { 36 } }, { 1, { 36 } } },
          SUPPORT_CHANNELS_LAST },
    };
    for (size_t i = 0; i < sizeof ALL / sizeof ALL[0]; i++) support_check_large(&ALL[i], 2e-5);
}

/* ---- statistics ------------------------------------------------------------------------------ */

static void test_statistics(void)
{
    tlv_ctx *c = support_open();
    const double v[8] = { 1, 10, 2, 20, 3, 30, 6, 60 };
    tlv_tensor *x = support_tensor(c, TLV_F32, TLV_SHAPE(4, 2), v, TLV_WANT_GRAD,
                                   SUPPORT_ROW_MAJOR);
    tlv_tensor *mean, *var;
    tlv_tensor *y = tlv_batch_norm(c, x, NULL, NULL, 0, NULL, TLV_ACT_NONE, &mean, &var);
    EXPECT_VALUES(c, mean, 1e-6, 3, 30);
    EXPECT_VALUES(c, var, 1e-4, 14.0 / 3, 1400.0 / 3);         // divided by n - 1
    EXPECT(tlv_wants_grad(y) && !tlv_wants_grad(mean) && !tlv_wants_grad(var),
           "only y has history");
    const double s = sqrt(14.0 / 4);
    EXPECT_VALUES(c, y, 1e-5, -2 / s, -2 / s, -1 / s, -1 / s, 0, 0, 3 / s, 3 / s);

    tlv_tensor *one = tlv_batch_norm(c, tlv_full(c, TLV_F32, TLV_SHAPE(1, 2), 5), NULL, NULL, 1e-5,
                                     NULL, TLV_ACT_NONE, &mean, &var);
    EXPECT_VALUES(c, one, 0, 0, 0);
    EXPECT_VALUES(c, mean, 0, 5, 5);
    EXPECT_VALUES(c, var, 0, 0, 0);                             // not 0 / 0

    tlv_batch_norm(c, tlv_zeros(c, TLV_F32, TLV_SHAPE(0, 2)), NULL, NULL, 1e-5, NULL, TLV_ACT_RELU,
                   &mean, &var);
    EXPECT_VALUES(c, mean, 0, 0, 0);
    EXPECT_VALUES(c, var, 0, 0, 0);
    EXPECT_OK(c);
    tlv_ctx_close(c);
}

/* A mean of 1000 and a deviation of 1: squares of sums would lose it all. */
static void test_far_mean(void)
{
    enum { ROWS = 5000, C = 3 };
    tlv_ctx *c = support_open();
    double *v = malloc(ROWS * C * sizeof *v), mean = 0, var = 0, got[C];
    REQUIRE(v, "no memory");
    support_uniform(v, ROWS * C, 7, -2, 2);
    for (int i = 0; i < ROWS * C; i++) v[i] = (float)(v[i] + 1000);
    for (int i = 0; i < ROWS; i++) mean += v[i * C] / ROWS;
    for (int i = 0; i < ROWS; i++) var += (v[i * C] - mean) * (v[i * C] - mean) / (ROWS - 1);
    tlv_tensor *x = support_tensor(c, TLV_F32, TLV_SHAPE(ROWS, C), v, 0, SUPPORT_ROW_MAJOR), *m, *s;
    tlv_tensor *y = tlv_batch_norm(c, x, NULL, NULL, 1e-5, NULL, TLV_ACT_NONE, &m, &s);
    support_read(c, m, got, C);
    EXPECT_CLOSE(got[0], mean, 1e-7, 0);
    support_read(c, s, got, C);
    EXPECT_CLOSE(got[0], var, 1e-5, 0);
    double *out = malloc(ROWS * C * sizeof *out);
    REQUIRE(out, "no memory");
    support_read(c, y, out, ROWS * C);
    EXPECT_CLOSE(out[0], (v[0] - mean) / sqrt(var + 1e-5), 0, 2e-4);
    free(out);
    free(v);
    EXPECT_OK(c);
    tlv_ctx_close(c);
}

/* ---- memory orders --------------------------------------------------------------------------- */

/* A slice of channels is read where it lies and gives the same bits as its copy. */
static void test_channel_slice(void)
{
    enum { N = 2 * 9 * 4 * 5, HALF = 2 * 4 * 4 * 5 };
    tlv_ctx *c = support_open();
    double v[N], a[HALF], b[HALF];
    support_uniform(v, N, 3, -1, 1);
    tlv_tensor *x = support_tensor(c, TLV_F32, TLV_SHAPE(2, 9, 4, 5), v, 0, SUPPORT_CHANNELS_LAST);
    tlv_tensor *part = tlv_slice(c, x, 1, 3, 7, 1);
    tlv_tensor *copy = tlv_to_order(c, part, TLV_CHANNELS_LAST);
    size_t before = tlv_mem_get(c).now;
    tlv_mem_reset_peak(c);
    tlv_tensor *y = tlv_batch_norm(c, part, NULL, NULL, 1e-5, NULL, TLV_ACT_RELU, NULL, NULL);
    EXPECT(tlv_mem_get(c).peak - before < 2 * HALF * sizeof(float), "%zu bytes: a copy was made",
           tlv_mem_get(c).peak - before);
    support_read(c, y, a, HALF);
    support_read(c, tlv_batch_norm(c, copy, NULL, NULL, 1e-5, NULL, TLV_ACT_RELU, NULL, NULL), b,
                 HALF);
    int differ = 0;
    for (int i = 0; i < HALF; i++) differ += a[i] != b[i];
    EXPECT_INT(differ, 0);
    char text[64];
    EXPECT_STR(tlv_describe(y, text, sizeof text), "f32[2,4,4,5] channels-last");
    tlv_ctx_close(c);
}

/* ---- refused --------------------------------------------------------------------------------- */

static void test_errors(void)
{
    tlv_ctx *c = support_open();
    tlv_tensor *x = tlv_zeros(c, TLV_F32, TLV_SHAPE(2, 6, 3, 3)),
               *p = tlv_zeros(c, TLV_F32, TLV_SHAPE(6));
    tlv_tensor *five = tlv_zeros(c, TLV_F32, TLV_SHAPE(5)),
               *wide = tlv_zeros(c, TLV_F64, TLV_SHAPE(6));
    tlv_tensor *ints = tlv_zeros(c, TLV_I32, TLV_SHAPE(2, 6)),
               *image = tlv_zeros(c, TLV_F32, TLV_SHAPE(1, 6, 3, 3));
#define BN(...) tlv_batch_norm(c, __VA_ARGS__, NULL, NULL)
    EXPECT(!BN(x, five, NULL, 1e-5, NULL, TLV_ACT_NONE), "refused");
    EXPECT_ERROR(c, TLV_ERR_SHAPE, "gamma is [5]; it must be [6]");
    EXPECT(!BN(x, p, wide, 1e-5, NULL, TLV_ACT_NONE), "refused");
    EXPECT_ERROR(c, TLV_ERR_DTYPE, "f64[6]");
    EXPECT(!BN(x, p, p, 1e-5, image, TLV_ACT_NONE), "refused");
    EXPECT_ERROR(c, TLV_ERR_SHAPE, "residual is [1,6,3,3]");
    EXPECT(!BN(x, p, p, -1, NULL, TLV_ACT_NONE), "refused");
    EXPECT_ERROR(c, TLV_ERR_ARG, "eps is -1");
    EXPECT(!BN(x, p, p, 1e-5, NULL, (tlv_act)77), "refused");
    EXPECT_ERROR(c, TLV_ERR_ARG, "77");
    EXPECT(!BN(p, NULL, NULL, 1e-5, NULL, TLV_ACT_NONE), "refused");
    EXPECT_ERROR(c, TLV_ERR_SHAPE, "two dims");
    EXPECT(!BN(ints, NULL, NULL, 1e-5, NULL, TLV_ACT_NONE), "refused");
    EXPECT_ERROR(c, TLV_ERR_DTYPE, "i32[2,6]");
    EXPECT(!BN(NULL, p, p, 1e-5, NULL, TLV_ACT_NONE), "refused");
    EXPECT_ERROR(c, TLV_ERR_ARG, "NULL");
#undef BN
    EXPECT(!tlv_batch_norm_with(c, x, p, NULL, p, p, 1e-5, NULL, TLV_ACT_NONE), "refused");
    EXPECT_ERROR(c, TLV_ERR_ARG, "var is NULL");
    EXPECT(!tlv_batch_norm_with(c, x, p, five, p, p, 1e-5, NULL, TLV_ACT_NONE), "refused");
    EXPECT_ERROR(c, TLV_ERR_SHAPE, "var is [5]");
    EXPECT(!tlv_layer_norm(c, x, 5, NULL, NULL, 1e-5), "refused");
    EXPECT_ERROR(c, TLV_ERR_ARG, "the last 5 dims");
    EXPECT(!tlv_layer_norm(c, x, 0, NULL, NULL, 1e-5), "refused");
    EXPECT_ERROR(c, TLV_ERR_ARG, "the last 0 dims");
    EXPECT(!tlv_layer_norm(c, x, 2, p, NULL, 1e-5), "refused");
    EXPECT_ERROR(c, TLV_ERR_SHAPE, "it must be [3,3]");
    EXPECT(!tlv_group_norm(c, x, 4, NULL, NULL, 1e-5), "refused");
    EXPECT_ERROR(c, TLV_ERR_ARG, "4 groups");
    EXPECT(!tlv_group_norm(c, x, 0, NULL, NULL, 1e-5), "refused");
    EXPECT_ERROR(c, TLV_ERR_ARG, "0 groups");
    EXPECT(!tlv_group_norm(c, x, 2, NULL, five, 1e-5), "refused");
    EXPECT_ERROR(c, TLV_ERR_SHAPE, "beta is [5]");
    tlv_ctx_close(c);
}

TEST_MAIN(T(test_large), T(test_statistics), T(test_far_mean), T(test_channel_slice),
          T(test_errors))
