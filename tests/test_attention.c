/* test_attention.c -- attention where the generic checks do not look: scores of 1e4, rows that see
 * nothing, NaN, work in blocks, memory, and what is refused. */
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "tensor/kernels/kernels.h"
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
    SKIP_EMULATED();
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
        { "keys in blocks",
          plain,
          4,
          { { 4, { 1, 2, 430, 20 } },
            { 4, { 1, 2, 900, 20 } },
            { 4, { 1, 2, 900, 17 } },
            { 3, { 2, 1, 900 } } },
          SUPPORT_ROW_MAJOR },
        { "packed, keys in blocks",
          packed,
          2,
          { { 5, { 1, 400, 3, 2, 16 } }, { 2, { 400, 400 } } },
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
    enum { T = 4096, D = 4 };
    tlv_ctx *c = support_open();
    tlv_tensor *x = tlv_full(c, TLV_F32, TLV_SHAPE(1, T, 3, 1, D), 0.5), *g = NULL;
    const tlv_tensor *leaf = tlv_leaf(c, x);
    tlv_mem_reset_peak(c);
    tlv_tensor *y = tlv_attention_packed(c, leaf, (tlv_attention_opts){ 0 });
    tlv_grad(c, tlv_sum_all(c, y), NULL, 1, &leaf, &g, 0);
    EXPECT_OK(c);
    size_t peak = tlv_mem_get(c).peak, matrix = (size_t)T * T * sizeof(float);
    EXPECT(peak < matrix / 16, "%zu bytes; the matrix would take %zu", peak, matrix);
    tlv_ctx_close(c);
}

/* The first block of keys is hidden, in the first example by the mask, in
 * the second by the bias: as if there were only the rest. */
static void test_hidden_block(void)
{
    enum { B = 2, H = 2, TQ = 5, TK = 800, HIDDEN = 401, D = 3 };
    tlv_ctx *c = support_open();
    tlv_rng_key key = tlv_rng_stream(c, "hidden");
    const tlv_tensor *in[3], *rest[3];
    for (int i = 0; i < 3; i++) {
        in[i] = tlv_leaf(c, tlv_randn(c, TLV_F64, TLV_SHAPE(B, H, i ? TK : TQ, D), key));
        rest[i] = tlv_leaf(c, i ? tlv_slice(c, in[i], 2, HIDDEN, TK, 1) : in[i]);
        key = tlv_rng_fold(key, 1);
    }
    tlv_tensor *mask = tlv_full(c, TLV_F64, TLV_SHAPE(1, TK - HIDDEN), 1);
    mask = tlv_pad(c, tlv_pad(c, mask, 1, HIDDEN, 0, 0), 0, 0, 1, 1);
    tlv_tensor *bias = tlv_zeros(c, TLV_F64, TLV_SHAPE(1, 1, 1, TK - HIDDEN));
    bias = tlv_pad(c, tlv_pad(c, bias, 3, HIDDEN, 0, -INFINITY), 0, 1, 0, 0);
    tlv_tensor *y = tlv_attention(c, in[0], in[1], in[2],
                                  (tlv_attention_opts){ .bias = bias,
                                                        .key_mask = tlv_cast(c, mask, TLV_U8) });
    tlv_tensor *z = tlv_attention(c, rest[0], rest[1], rest[2], (tlv_attention_opts){ 0 });
    tlv_tensor *g[3], *u[3];
    tlv_grad(c, tlv_sum_all(c, tlv_square(c, y)), NULL, 3, in, g, 0);
    tlv_grad(c, tlv_sum_all(c, tlv_square(c, z)), NULL, 3, rest, u, 0);
    EXPECT_OK(c);
    double got[B * H * TK * D], want[B * H * TK * D];
    support_read(c, y, got, B * H * TQ * D);
    support_read(c, z, want, B * H * TQ * D);
    for (int i = 0; i < B * H * TQ * D; i++) EXPECT_CLOSE(got[i], want[i], 1e-12, 1e-12);
    for (int n = 0; n < 3; n++) {
        int64_t t = n ? TK : TQ, hidden = n ? HIDDEN : 0;
        support_read(c, g[n], got, B * H * t * D);
        support_read(c, u[n], want, B * H * (t - hidden) * D);
        for (int64_t i = 0; i < B * H * t * D; i++) {
            int64_t head = i / (t * D), at = i % (t * D) - hidden * D;
            double w = at < 0 ? 0 : want[head * (t - hidden) * D + at];
            EXPECT_CLOSE(got[i], w, 1e-12, 1e-12);
        }
    }
    tlv_ctx_close(c);
}

/* ---- kernels --------------------------------------------------------------------------------- */

enum { ROOM = 96 };

static void put(int f64, void *p, int i, double v)
{
    if (f64) ((double *)p)[i] = v;
    else ((float *)p)[i] = (float)v;
}
static double get(int f64, const void *p, int i)
{
    return f64 ? ((const double *)p)[i] : (double)((const float *)p)[i];
}

/* Scores 0.5 s_j + bias_j of n keys, `seen` of them visible, every fifth masked: e^(score - max),
 * the sums, also after a block of other keys, and the probabilities from those. */
static void check_rows(const tlvi_kset *k, const char *isa, int f64, int n, int seen, int sides)
{
    double s[ROOM], score[ROOM], max = -INFINITY, sum = 0, tol = f64 ? 1e-13 : 4e-7;
    double row[ROOM], bias[ROOM], mask[ROOM], stat[2];
    int whole = (n + k->lanes - 1) / k->lanes * k->lanes;
    for (int j = 0; j < n; j++) {
        s[j] = (j * 37 % 23) * 0.75 - 8 - (j % 11 == 4 ? 200 : 0);
        put(f64, bias, j, j % 7 * 0.25);
        put(f64, mask, j, j % 5 != 0);
        score[j] = sides ? (j % 5 ? 0.5 * s[j] + j % 7 * 0.25 : -INFINITY) : 0.5 * s[j];
        if (j < seen && score[j] > max) max = score[j];
    }
    for (int j = 0; j < seen; j++) sum += max == -INFINITY ? 0 : exp(score[j] - max);
    for (int j = 0; j < ROOM; j++) put(f64, row, j, j < n ? s[j] : 77);
    put(f64, stat, 0, -INFINITY);
    put(f64, stat, 1, 0);
    double before = k->attn_softmax((size_t)n, (size_t)seen, row, 0.5, sides ? bias : NULL, 1,
                                    sides ? mask : NULL, stat);
    EXPECT(before == 0, "%s: nothing was before", isa);
    EXPECT(get(f64, stat, 0) == max, "%s, %d keys: max %g, not %g", isa, n, get(f64, stat, 0), max);
    EXPECT_CLOSE(get(f64, stat, 1), sum, tol, 0);
    for (int j = 0; j < n; j++) {
        double want = j < seen && max != -INFINITY ? exp(score[j] - max) : 0;
        EXPECT_CLOSE(get(f64, row, j), want, tol, 1e-37);
        if (j >= seen || score[j] == -INFINITY) EXPECT(get(f64, row, j) == 0, "key %d", j);
    }
    for (int j = whole; j < ROOM; j++) EXPECT(get(f64, row, j) == 77, "%s: behind the row", isa);

    // again, after a block with a score larger by 1
    put(f64, stat, 0, max + 1);
    put(f64, stat, 1, 2);
    for (int j = 0; j < n; j++) put(f64, row, j, s[j]);
    before = k->attn_softmax((size_t)n, (size_t)seen, row, 0.5, sides ? bias : NULL, 1,
                             sides ? mask : NULL, stat);
    if (max != -INFINITY) {
        EXPECT(before == 1, "%s: the largest stays", isa);
        EXPECT_CLOSE(get(f64, stat, 1), 2 + sum * exp(-1), tol, 0);
    }
    // and after one with a smaller one
    put(f64, stat, 0, max - 1);
    put(f64, stat, 1, 2);
    for (int j = 0; j < n; j++) put(f64, row, j, s[j]);
    before = k->attn_softmax((size_t)n, (size_t)seen, row, 0.5, sides ? bias : NULL, 1,
                             sides ? mask : NULL, stat);
    if (max != -INFINITY) {
        EXPECT_CLOSE(before, exp(-1), tol, 0);
        EXPECT_CLOSE(get(f64, stat, 1), 2 * exp(-1) + sum, tol, 0);
    }
    put(f64, stat, 0, max == -INFINITY ? 0 : max);
    put(f64, stat, 1, sum == 0 ? 0 : 1 / sum);
    for (int j = 0; j < n; j++) put(f64, row, j, s[j]);
    k->attn_probs((size_t)n, (size_t)seen, row, 0.5, sides ? bias : NULL, 1, sides ? mask : NULL,
                  stat);
    for (int j = 0; j < n; j++)
        EXPECT_CLOSE(get(f64, row, j), j < seen && sum != 0 ? exp(score[j] - max) / sum : 0, tol,
                     1e-37);
}

static void test_kernel_rows(void)
{
    static const int LENGTH[] = { 0, 1, 3, 8, 13, 16, 37, 64, 77 };
    char list[64];
    snprintf(list, sizeof list, "%s", tlvi_isa_list());
    for (char *isa = strtok(list, " "); isa; isa = strtok(NULL, " ")) {
        const tlvi_kernels *k = tlvi_pick_kernels(isa);
        for (int i = 0; k && i < (int)(sizeof LENGTH / sizeof LENGTH[0]); i++)
            for (int way = 0; way < 8; way++) {
                int f64 = way & 1, n = LENGTH[i], seen = way & 2 ? n * 2 / 3 : n;
                check_rows(f64 ? k->f64 : k->f32, isa, f64, n, seen, way >> 2);
            }
        float p[32], dp[32];
        for (int j = 0; j < 32; j++) {
            p[j] = 0.25f * (float)j;
            dp[j] = 3 - (float)j;
        }
        k->f32->attn_grad(5, p, dp, 2, 0.5);
        for (int j = 0; j < 5; j++)
            EXPECT(dp[j] == 0.125f * (float)j * (1 - (float)j), "%g", dp[j]);
        EXPECT(dp[16] == 3 - 16, "%s: behind the row", isa);
    }
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
          T(test_one_key), T(test_nan_stays), T(test_large), T(test_memory),
          T(test_hidden_block), T(test_kernel_rows), T(test_errors))
