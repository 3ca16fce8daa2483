/* test_slow_memory.c -- what networks need at their peak: a training step of ResNet-20 holds
 * weights, gradients, momentum and what gradients are declared to read; inference of 50 layers
 * holds three buffers. */
#include <stdio.h>

#include "optim/optim.h"
#include "tests/filled.h"
#include "tensor/core.h"
#include "tests/support.h"

/* A debug build never uses a header again. */
#define ROOM (TLVI_DEBUG ? (size_t)512 << 10 : 0)

/* ---- training -------------------------------------------------------------------------------- */

enum { BATCH = 128, BLOCKS = 3 };

static void train_step(tlv_ctx *c, tlv_model *m, tlv_optim *opt, tlv_stats *stats,
                       const tlv_tensor *x, const tlv_tensor *y)
{
    tlv_scope s = tlv_scope_begin(c);
    tlv_run r = tlv_model_run(c, m, TLV_TRAIN);
    r.stats = stats;
    tlv_tensor *loss = tlv_cross_entropy(c, tlv_model_forward(&r, m, x), y, (tlv_ce_opts){ 0 });
    tlv_optim_step(c, opt, tlv_model_params(m), tlv_params_grad(c, loss, tlv_model_params(m), 0));
    tlv_run_apply_stats(&r, tlv_model_params(m));
    tlv_scope_end(c, s);
}

/* Buffers that gradients read, in numbers: a convolution reads its input, a batch norm its input
 * (the convolution's output) and, for the gate of its ReLU, its output, which the next convolution
 * reads too.  So the image, and two buffers a convolution; the shortcut, the pooling and the sums
 * read nothing. */
static size_t declared_reads(void)
{
    size_t n = (size_t)BATCH * 3 * 32 * 32;
    size_t at_stem = (size_t)BATCH * 16 * 32 * 32;
    n += 2 * at_stem;
    for (int stage = 0; stage < 3; stage++) {
        size_t out = (size_t)BATCH * (size_t)(16 << stage) * (size_t)(32 >> stage)
                     * (size_t)(32 >> stage);
        n += 2 * 2 * BLOCKS * out;                      // two convolutions a block
    }
    return n + (size_t)BATCH * 64 + (size_t)BATCH * 10; // the head's input, and the logits
}

static void test_a_step_of_resnet20_peaks_at_what_gradients_read(void)
{
    tlv_ctx *c = support_open();
    tlv_model *m = tlv_model_open(c, "resnet20", (tlv_model_opts){ 0 });
    tlv_optim *opt = m ? tlv_sgd_open(c, tlv_model_params(m),
                                      (tlv_sgd_opts){ .lr = 0.1, .momentum = 0.9 })
                       : NULL;
    tlv_stats *stats = tlv_stats_open(c);
    REQUIRE(opt && stats, "%s", tlv_error_msg(c));
    tlv_tensor *x = filled_tensor(c, TLV_F32, TLV_SHAPE(BATCH, 3, 32, 32), "x", -1.7, 1.7);
    x = tlv_to_order(c, x, TLV_CHANNELS_LAST);
    tlv_tensor *y = filled_labels(c, BATCH, 10);
    train_step(c, m, opt, stats, x, y);
    size_t before = tlv_mem_get(c).now;
    tlv_mem_reset_peak(c);
    train_step(c, m, opt, stats, x, y);
    tlv_mem_stats mem = tlv_mem_get(c);
    EXPECT_OK(c);

    size_t numbers = (size_t)tlv_params_numel(tlv_model_params(m), 1),
           images = (size_t)BATCH * 3 * 32 * 32;
    EXPECT_INT(numbers, 269722);
    size_t bound = sizeof(float) * (3 * numbers + declared_reads());
    size_t peak = mem.peak - sizeof(float) * images; // the loader's row-major x is not the step's
    printf("  resnet20, batch %d: peak %.2f MB, weights + gradients + momentum + reads %.2f MB: x "
           "%.3f "
           "(forward %.2f, backward %.2f, step %.2f, between steps %.2f)\n",
           BATCH, (double)peak / 1e6, (double)bound / 1e6, (double)peak / (double)bound,
           (double)mem.peak_by_phase[TLV_PHASE_FORWARD] / 1e6,
           (double)mem.peak_by_phase[TLV_PHASE_BACKWARD] / 1e6,
           (double)mem.peak_by_phase[TLV_PHASE_STEP] / 1e6, (double)before / 1e6);
    EXPECT((double)peak <= 1.1 * (double)bound, "the peak is %zu bytes, want at most 1.1 x %zu",
           peak, bound);
    EXPECT((double)peak >= 0.9 * (double)bound, "%zu bytes cannot hold %zu that gradients read",
           peak, bound);
    EXPECT(mem.now <= before + ROOM, "%zu bytes before the step, %zu after", before, mem.now);
    tlv_stats_close(stats);
    tlv_optim_close(opt);
    tlv_model_close(m);
    tlv_ctx_close(c);
}

/* ---- inference ------------------------------------------------------------------------------- */

enum { LAYERS = 50, CHANNELS = 64, SIDE = 32, IMAGES = 4 };

static tlv_tensor *infer(tlv_ctx *c, const tlv_tensor *x, tlv_tensor *const *w)
{
    tlv_scope s = tlv_scope_begin_with(c, TLV_NO_GRAD);
    const tlv_tensor *h = x;
    for (int i = 0; i < LAYERS; i++) {
        tlv_tensor *y = tlv_conv2d(c, h, w[i % 2], NULL,
                                   (tlv_conv2d_opts){ .pad = { 1, 1, 1, 1 } });
        h = tlv_scope_roll(c, s, tlv_relu(c, y));
    }
    return tlv_scope_end_keep(c, s, (tlv_tensor *)h);
}

static void test_50_convolutions_peak_at_three_buffers(void)
{
    tlv_ctx *c = support_open();
    tlv_tensor *w[2];
    for (int i = 0; i < 2; i++)
        w[i] = filled_tensor(c, TLV_F32, TLV_SHAPE(CHANNELS, CHANNELS, 3, 3), i ? "b" : "a", -0.1,
                             0.1);
    tlv_tensor *x = filled_tensor(c, TLV_F32, TLV_SHAPE(IMAGES, CHANNELS, SIDE, SIDE), "x", -1, 1);
    x = tlv_to_order(c, x, TLV_CHANNELS_LAST);
    tlv_scope s = tlv_scope_begin(c);
    EXPECT(infer(c, x, w), "%s",
           tlv_error_msg(c)); // scratch and packed weights that stay are there
    tlv_scope_end(c, s);
    size_t buffer = (size_t)IMAGES * CHANNELS * SIDE * SIDE * sizeof(float),
           before = tlv_mem_get(c).now;
    tlv_mem_reset_peak(c);
    EXPECT(infer(c, x, w), "%s", tlv_error_msg(c));
    size_t peak = tlv_mem_get(c).peak - before;
    printf("  50 convolutions: peak %.2f MB = %.3f buffers beside input and weights\n",
           (double)peak / 1e6, (double)peak / (double)buffer);
    // The input is the caller's; a layer holds h, the convolution's output and its ReLU.
    EXPECT(peak <= 3 * buffer + ROOM, "%zu bytes, want at most %zu", peak, 3 * buffer);
    EXPECT(peak >= 2 * buffer, "%zu bytes cannot hold a layer", peak);
    EXPECT_OK(c);
    tlv_ctx_close(c);
}

TEST_MAIN(T(test_a_step_of_resnet20_peaks_at_what_gradients_read),
          T(test_50_convolutions_peak_at_three_buffers))
