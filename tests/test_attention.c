/* test_attention.c -- attention where the generic checks do not look: scores of 1e4, rows that see
 * nothing, NaN, work in blocks, memory, and what is refused. */
#include <float.h>
#include <math.h>
#include <string.h>

#include "tests/support_large.h"

enum { N = 3 * 4, ROWS = 3, KEYS = 4 };

/* y and the gradients of sum(u y) in q, k, v, bias, one after the other. */
typedef struct answers {
    double y[ROWS * 2], q[ROWS * 2], k[KEYS * 2], v[KEYS * 2], bias[N];
} answers;

/* One head of 3 queries and 4 keys of two numbers; bias and mask may be NULL. */
static void compute(tlv_ctx *c, tlv_dtype d, const double *q, const double *k, const double *bias,
                    const uint8_t *mask, int flags, answers *a)
{
    static const double v[KEYS * 2] = { 1, -2, 0.5, 3, -1, 0.25, 2, 1 },
                                 u[ROWS * 2] = { 1, 0.5, -1, 2, 0.75, 1 };
    memset(a, 0, sizeof *a);
    tlv_scope s = tlv_scope_begin(c);
    tlv_shape sq = TLV_SHAPE(1, 1, ROWS, 2), sk = TLV_SHAPE(1, 1, KEYS, 2);
    const tlv_tensor *in[4] = { support_tensor(c, d, sq, q, TLV_WANT_GRAD, SUPPORT_ROW_MAJOR),
                                support_tensor(c, d, sk, k, TLV_WANT_GRAD, SUPPORT_ROW_MAJOR),
                                support_tensor(c, d, sk, v, TLV_WANT_GRAD, SUPPORT_ROW_MAJOR) };
    if (bias)
        in[3] = support_tensor(c, d, TLV_SHAPE(ROWS, KEYS), bias, TLV_WANT_GRAD, SUPPORT_ROW_MAJOR);
    tlv_attention_opts o = { .scale = 1, .bias = in[3] };
    if (mask) o.key_mask = tlv_from_data(c, TLV_U8, TLV_SHAPE(1, KEYS), mask, 0);
    tlv_tensor *g[4] = { 0 }, *y = tlv_attention(c, in[0], in[1], in[2], o);
    support_read(c, y, a->y, ROWS * 2);
    tlv_grad(c, y, support_tensor(c, d, sq, u, 0, SUPPORT_ROW_MAJOR), bias ? 4 : 3, in, g,
             flags | TLV_ZEROS);
    support_read(c, g[0], a->q, ROWS * 2);
    support_read(c, g[1], a->k, KEYS * 2);
    support_read(c, g[2], a->v, KEYS * 2);
    if (bias) support_read(c, g[3], a->bias, N);
    EXPECT_OK(c);
    tlv_scope_end(c, s);
}

static void expect_near(const char *what, const answers *a, const answers *b, double tol)
{
    const double *p = (const double *)a, *q = (const double *)b;
    double worst = 0, largest = 0;
    for (size_t i = 0; i < sizeof *a / sizeof(double); i++) {
        double d = fabs(p[i] - q[i]);
        if (!(d <= worst)) worst = d;
        largest = fmax(largest, fabs(q[i]));
    }
    EXPECT(worst <= tol * largest, "%s: off by %g of %g", what, worst, largest);
}

/* Both paths in both types. */
static void all_ways(const char *what, const double *q, const double *k, const double *bias,
                     const uint8_t *mask, double tol, answers *out)
{
    tlv_ctx *c = support_open();
    answers a;
    compute(c, TLV_F64, q, k, bias, mask, 0, out);
    compute(c, TLV_F64, q, k, bias, mask, TLV_CREATE_GRAPH, &a);
    expect_near(what, &a, out, 1e-10);
    compute(c, TLV_F32, q, k, bias, mask, 0, &a);
    expect_near(what, &a, out, tol);
    compute(c, TLV_F32, q, k, bias, mask, TLV_CREATE_GRAPH, &a);
    expect_near(what, &a, out, tol);
    tlv_ctx_close(c);
}

/* ---- scores ---------------------------------------------------------------------------------- */

static const double Q[ROWS * 2] = { 1, 2, -0.5, 1, 0.25, -1 },
                             K[KEYS * 2] = { 1, 0.5, -1, 2, 0, 1, 0.5, -0.5 };

/* 1e4 + a small exact part: the probabilities are those of the small part, gradients too. */
static void test_large_scores(void)
{
    answers small, large;
    const double q[ROWS * 2] = { 100, 1, 100, 0.5, 100, -1 },
                          k[KEYS * 2] = { 100, 0.25, 100, 1, 100, -0.5, 100, 0 };
    double q0[ROWS * 2], k0[KEYS * 2];
    memcpy(q0, q, sizeof q);
    memcpy(k0, k, sizeof k);
    for (int i = 0; i < ROWS; i++) q0[2 * i] = 0;
    for (int i = 0; i < KEYS; i++) k0[2 * i] = 0;
    all_ways("scores of 1e4", q, k, NULL, NULL, 1e-5, &large);
    all_ways("scores of 1", q0, k0, NULL, NULL, 1e-5, &small);
    for (int i = 0; i < ROWS * 2; i++) EXPECT_CLOSE(large.y[i], small.y[i], 1e-10, 1e-10);
    for (int i = 0; i < KEYS * 2; i++) EXPECT_CLOSE(large.v[i], small.v[i], 1e-10, 1e-10);
    for (int i = 1; i < ROWS * 2; i += 2) EXPECT_CLOSE(large.q[i], small.q[i], 1e-9, 1e-10);
}

/* Far apart: the probabilities are 0 and 1. */
static void test_far_scores(void)
{
    answers a;
    const double q[ROWS * 2] = { 1e4, 0, -1e4, 0, 0, 1e4 };
    all_ways("scores far apart", q, K, NULL, NULL, 1e-5, &a);
    EXPECT_CLOSE(a.y[0], 1, 0, 1e-12);              // key 0
    EXPECT_CLOSE(a.y[2], 0.5, 0, 1e-12);            // key 1
    EXPECT_CLOSE(a.y[5], 3, 0, 1e-12);              // key 1
}

/* ---- masks by bias --------------------------------------------------------------------------- */

static void test_bias_masks(void)
{
    static const double HIDE[] = { -INFINITY, -FLT_MAX, -1e30 };
    answers two, a;
    const uint8_t first_two[KEYS] = { 1, 1, 0, 0 };
    all_ways("a key mask", Q, K, NULL, first_two, 1e-5, &two);
    for (int i = 0; i < 3; i++) {
        double bias[N];
        for (int j = 0; j < N; j++) bias[j] = j % KEYS < 2 ? 0 : HIDE[i];
        all_ways("a bias that hides keys", Q, K, bias, NULL, 1e-5, &a);
        for (int j = 0; j < ROWS * 2; j++) EXPECT_CLOSE(a.y[j], two.y[j], 1e-12, 0);
        for (int j = 0; j < KEYS * 2; j++) EXPECT_CLOSE(a.k[j], two.k[j], 1e-10, 1e-12);
        for (int j = 0; j < N; j++) EXPECT(j % KEYS < 2 || a.bias[j] == 0, "hidden: %g", a.bias[j]);
    }
}

static void test_nothing_visible(void)
{
    answers a;
    const uint8_t none[KEYS] = { 0 };
    all_ways("a key mask of zeros", Q, K, NULL, none, 0, &a);
    const double *all = (const double *)&a;
    for (size_t i = 0; i < sizeof a / sizeof *all; i++) EXPECT(all[i] == 0, "%g", all[i]);

    double bias[N] = { 0 };
    for (int j = 0; j < KEYS; j++) bias[KEYS + j] = -INFINITY;      // query 1
    all_ways("a row of -inf", Q, K, bias, NULL, 1e-5, &a);
    EXPECT(a.y[2] == 0 && a.y[3] == 0 && a.q[2] == 0 && a.q[3] == 0, "query 1 sees nothing");
    EXPECT(a.y[0] != 0 && a.q[0] != 0 && a.q[5] != 0, "the others do");
    for (int j = 0; j < KEYS; j++) EXPECT(a.bias[KEYS + j] == 0, "%g", a.bias[KEYS + j]);
}

/* A single visible key has probability 1: nothing depends on its score. */
static void test_one_key(void)
{
    answers a;
    const uint8_t third[KEYS] = { 0, 0, 1, 0 };
    all_ways("one key", Q, K, NULL, third, 1e-6, &a);
    for (int i = 0; i < ROWS; i++)
        EXPECT(a.y[2 * i] == -1 && a.y[2 * i + 1] == 0.25, "the third value");
    for (int i = 0; i < ROWS * 2; i++) EXPECT_CLOSE(a.q[i], 0, 0, 1e-12);
}

static void test_nan_stays(void)
{
    tlv_ctx *c = support_open();
    answers a;
    double q[ROWS * 2];
    memcpy(q, Q, sizeof q);
    q[3] = NAN;
    compute(c, TLV_F32, q, K, NULL, NULL, 0, &a);
    EXPECT(isnan(a.y[2]) && isnan(a.y[3]) && isnan(a.q[2]), "NaN went in");
    EXPECT(!isnan(a.y[0]) && !isnan(a.y[5]), "other rows are not touched");
    tlv_ctx_close(c);
}

/* ---- large ----------------------------------------------------------------------------------- */

static tlv_tensor *plain(tlv_ctx *c, const tlv_tensor *const *in)
{
    return tlv_attention(c, in[0], in[1], in[2],
                         (tlv_attention_opts){ .causal = 1, .bias = in[3] });
}

static tlv_tensor *packed(tlv_ctx *c, const tlv_tensor *const *in)
{
    return tlv_attention_packed(c, in[0], (tlv_attention_opts){ .bias = in[1] });
}

static void test_large(void)
{
    static const support_large ALL[] = {
        { "apart",
          plain,
          3,
          { { 4, { 2, 3, 150, 40 } }, { 4, { 2, 3, 301, 40 } }, { 4, { 2, 3, 301, 36 } } },
          SUPPORT_ROW_MAJOR },
        { "bias a head",
          plain,
          4,
          { { 4, { 3, 2, 130, 16 } },
            { 4, { 3, 2, 130, 16 } },
            { 4, { 3, 2, 130, 20 } },
            { 3, { 2, 130, 130 } } },
          SUPPORT_ROW_MAJOR },
        { "bias a key, strided",
          plain,
          4,
          { { 4, { 3, 2, 130, 16 } },
            { 4, { 3, 2, 130, 16 } },
            { 4, { 3, 2, 130, 20 } },
            { 1, { 130 } } },
          SUPPORT_STRIDED },
        { "packed",
          packed,
          2,
          { { 5, { 2, 197, 3, 3, 32 } }, { 4, { 1, 3, 1, 197 } } },
          SUPPORT_ROW_MAJOR },
        { "packed, bias for all",
          packed,
          2,
          { { 5, { 2, 197, 3, 3, 32 } }, { 2, { 197, 197 } } },
          SUPPORT_ROW_MAJOR },
    };
    for (size_t i = 0; i < sizeof ALL / sizeof ALL[0]; i++) support_check_large(&ALL[i], 3e-5);
}

/* No matrix of queries by keys, forward or backward. */
static void test_memory(void)
{
    enum { T = 2048, D = 8 };
    tlv_ctx *c = support_open();
    tlv_tensor *x = tlv_full(c, TLV_F32, TLV_SHAPE(1, T, 3, 1, D), 0.5), *g = NULL;
    const tlv_tensor *leaf = tlv_leaf(c, x);
    tlv_mem_reset_peak(c);
    tlv_tensor *y = tlv_attention_packed(c, leaf, (tlv_attention_opts){ 0 });
    tlv_grad(c, tlv_sum_all(c, y), NULL, 1, &leaf, &g, 0);
    EXPECT_OK(c);
    size_t peak = tlv_mem_get(c).peak, matrix = (size_t)T * T * sizeof(float);
    EXPECT(peak < matrix / 8, "%zu bytes; the matrix would take %zu", peak, matrix);
    tlv_ctx_close(c);
}

/* ---- refused --------------------------------------------------------------------------------- */

static void test_errors(void)
{
    tlv_ctx *c = support_open();
    tlv_tensor *q = tlv_zeros(c, TLV_F32, TLV_SHAPE(2, 3, 4, 5)),
               *k = tlv_zeros(c, TLV_F32, TLV_SHAPE(2, 3, 6, 5));
    tlv_tensor *v = tlv_zeros(c, TLV_F32, TLV_SHAPE(2, 3, 7, 5)),
               *d = tlv_zeros(c, TLV_F64, TLV_SHAPE(2, 3, 6, 5));
    tlv_tensor *bias = tlv_zeros(c, TLV_F32, TLV_SHAPE(4, 5)),
               *mask = tlv_zeros(c, TLV_U8, TLV_SHAPE(2, 4));
    EXPECT(!tlv_attention(c, q, k, v, (tlv_attention_opts){ 0 }), "refused");
    EXPECT_ERROR(c, TLV_ERR_SHAPE, "v is [2,3,7,5]");
    EXPECT(!tlv_attention(c, q, d, k, (tlv_attention_opts){ 0 }), "refused");
    EXPECT_ERROR(c, TLV_ERR_DTYPE, "f64[2,3,6,5]");
    EXPECT(!tlv_attention(c, q, k, k, (tlv_attention_opts){ .bias = bias }), "refused");
    EXPECT_ERROR(c, TLV_ERR_SHAPE, "bias is [4,5]");
    EXPECT(!tlv_attention(c, q, k, k, (tlv_attention_opts){ .key_mask = mask }), "refused");
    EXPECT_ERROR(c, TLV_ERR_SHAPE, "key_mask is [2,4]; it must be [2,6]");
    EXPECT(!tlv_attention(c, q, k, k, (tlv_attention_opts){ .key_mask = bias }), "refused");
    EXPECT_ERROR(c, TLV_ERR_DTYPE, "key_mask is f32");
    EXPECT(!tlv_attention(c, q, NULL, k, (tlv_attention_opts){ 0 }), "refused");
    EXPECT_ERROR(c, TLV_ERR_ARG, "input 1 is NULL");
    EXPECT(!tlv_attention_packed(c, q, (tlv_attention_opts){ 0 }), "refused");
    EXPECT_ERROR(c, TLV_ERR_SHAPE, "it must be [B,T,3,H,D]");
    tlv_ctx_close(c);
}

TEST_MAIN(T(test_large_scores), T(test_far_scores), T(test_bias_masks), T(test_nothing_visible),
          T(test_one_key), T(test_nan_stays), T(test_large), T(test_memory), T(test_errors))
