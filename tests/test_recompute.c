/* test_recompute.c -- tlv_ctx_opts.recompute: the same gradients with fewer buffers held. */
#include "tests/support.h"
#include "tlvision.h"

enum { LAYERS = 6, WIDTH = 48, BATCH = 40 };

/* x -> gelu(x w_i + b_i) ... -> sum of squares; gradients of all w_i into out.  Returns the bytes
 * that stay in use when forward is done and its scope rolled. */
static size_t run(tlv_recompute how, int flags, float *out, int64_t *n_out)
{
    tlv_ctx *c = tlv_ctx_open(&(tlv_ctx_opts){ .threads = 1, .recompute = how });
    tlv_tensor *w[LAYERS], *g[LAYERS] = { 0 };
    for (int i = 0; i < LAYERS; i++) {
        tlv_tensor *r = tlv_randn(c, TLV_F32, tlv_shape2(WIDTH, WIDTH),
                                  tlv_rng_fold(tlv_rng_stream(c, "w"), (uint64_t)i));
        w[i] = tlv_leaf(c, tlv_affine(c, r, 0.2, 0));
    }
    tlv_tensor *x = tlv_randn(c, TLV_F32, tlv_shape2(BATCH, WIDTH), tlv_rng_stream(c, "x"));
    size_t before = tlv_mem_get(c).now;
    tlv_scope s = tlv_scope_begin(c);
    tlv_tensor *h = x;
    for (int i = 0; i < LAYERS; i++) {
        h = tlv_gelu(c, tlv_matmul(c, h, w[i], (tlv_matmul_opts){ 0 }));
        h = tlv_scope_roll(c, s, h);
    }
    size_t held = tlv_mem_get(c).now - before;
    tlv_tensor *loss = tlv_sum_all(c, tlv_mul(c, h, h));
    tlv_grad(c, loss, NULL, LAYERS, (const tlv_tensor *const *)w, g, flags);
    if (flags & TLV_CREATE_GRAPH) {
        tlv_tensor *sum = tlv_sum_all(c, tlv_mul(c, g[0], g[0]));
        tlv_grad(c, sum, NULL, LAYERS, (const tlv_tensor *const *)w, g, TLV_CONSUME);
    }
    *n_out = 0;
    for (int i = 0; i < LAYERS; i++) {
        EXPECT(g[i] != NULL, "gradient %d is missing", i);
        tlv_read(c, g[i], out + *n_out, WIDTH * WIDTH);
        *n_out += WIDTH * WIDTH;
    }
    EXPECT_OK(c);
    tlv_scope_end(c, s);
    tlv_ctx_close(c);
    return held;
}

static void compare(int flags)
{
    static float keep[LAYERS * WIDTH * WIDTH], again[LAYERS * WIDTH * WIDTH];
    int64_t n, m;
    size_t kept = run(TLV_RECOMPUTE_NONE, flags, keep, &n),
           cheap = run(TLV_RECOMPUTE_CHEAP, flags, again, &m);
    int64_t differ = 0, zero = 0;
    for (int64_t i = 0; i < n; i++) {
        differ += keep[i] != again[i];
        zero += keep[i] == 0;
    }
    EXPECT(n == m && differ == 0, "%lld of %lld gradients differ", (long long)differ, (long long)n);
    EXPECT(zero < n / 10, "%lld of %lld gradients are zero", (long long)zero, (long long)n);
    // a layer keeps gelu's input and the matmul's input; cheap: only the former (but for the last,
    // which is alive)
    size_t buffer = BATCH * WIDTH * sizeof(float);
    EXPECT(kept == cheap + (LAYERS - 1) * buffer, "kept %zu, cheap %zu, a buffer is %zu", kept,
           cheap, buffer);
}

static void test_gradients_are_the_same_with_fewer_buffers(void) { compare(TLV_CONSUME); }
static void test_second_order_too(void) { compare(TLV_CREATE_GRAPH); }

enum { NUMBERS = 269722 };                  // of ResNet-20

/* Gradients of a ResNet-20 training step; returns the bytes in use when forward is done. */
static size_t resnet(tlv_recompute how, float *out)
{
    tlv_ctx *c = tlv_ctx_open(&(tlv_ctx_opts){ .threads = 1, .recompute = how });
    tlv_model *m = tlv_model_open(c, "resnet20", (tlv_model_opts){ 0 });
    tlv_run r = tlv_model_run(c, m, TLV_TRAIN);
    tlv_scope s = tlv_scope_begin(c);
    tlv_tensor *x = tlv_rand(c, TLV_F32, tlv_shape4(4, 3, 32, 32), tlv_rng_stream(c, "x"));
    tlv_tensor *y = tlv_zeros(c, TLV_I32, tlv_shape1(4)), *h = tlv_model_forward(&r, m, x);
    size_t held = tlv_mem_get(c).now;
    tlv_tensor *loss = tlv_cross_entropy(c, h, y, (tlv_ce_opts){ 0 });
    tlv_params *g = tlv_params_grad(c, loss, tlv_model_params(m), 0);
    int64_t n = 0;
    for (int i = 0; i < tlv_params_count(g); i++) {
        tlv_tensor *t = tlv_params_get(g, i);
        if (t && tlv_read(c, t, out + n, tlv_numel(t)) == TLV_OK) n += tlv_numel(t);
    }
    EXPECT(n == NUMBERS, "%lld gradients", (long long)n);
    EXPECT_OK(c);
    tlv_scope_end(c, s);
    tlv_model_close(m);
    tlv_ctx_close(c);
    return held;
}

/* The first batch norm with ReLU of each block and the stem's: their outputs are made again. */
static void test_batch_norm_is_made_again(void)
{
    static float keep[NUMBERS], again[NUMBERS];
    size_t kept = resnet(TLV_RECOMPUTE_NONE, keep), cheap = resnet(TLV_RECOMPUTE_CHEAP, again);
    int64_t differ = 0;
    for (int i = 0; i < NUMBERS; i++) differ += keep[i] != again[i];
    EXPECT(differ == 0, "%lld gradients differ", (long long)differ);
    size_t image = 4 * 16 * 32 * 32 + 3 * 32 * 16 * 16 + 3 * 64 * 8 * 8;
    size_t outputs = 4 * image * sizeof(float);
    EXPECT(kept - cheap >= outputs * 95 / 100, "kept %zu, cheap %zu, outputs %zu", kept, cheap,
           outputs);
}

TEST_MAIN(T(test_gradients_are_the_same_with_fewer_buffers), T(test_second_order_too),
          T(test_batch_norm_is_made_again))
