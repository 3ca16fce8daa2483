/* bench_checkpoint.c -- what TLV_CHECKPOINT saves and costs: a step of 24 convolutions with
 * batch norm, plain and in checkpointed blocks of four (Chen et al. 2016, arXiv:1604.06174).  The
 * note tells the peak of memory; the forward pass runs twice, so a step may take a third more. */
#include <stdio.h>

#include "tests/benchlib.h"

enum { LAYERS = 24, BLOCK = 4, BATCH = 16, WIDTH = 64, SIDE = 32 };

typedef struct net { tlv_conv_layer conv; tlv_bn_layer bn; } net;
typedef struct data { net layer[LAYERS]; tlv_params *p; const tlv_tensor *x; int flags; } data;

static tlv_params *init(tlv_ctx *c, net *layer)
{
    tlv_build *b = tlv_build_begin(c, TLV_F32);
    for (int i = 0; i < LAYERS; i++) {
        char name[16];
        snprintf(name, sizeof name, "conv%d", i);
        layer[i].conv = tlv_conv_init(b, name, WIDTH, WIDTH, 3,
                                      (tlv_conv2d_opts){ .pad = { 1, 1, 1, 1 } }, 0);
        snprintf(name, sizeof name, "bn%d", i);
        layer[i].bn = tlv_bn_init(b, name, WIDTH);
    }
    return tlv_build_end(b);
}

static tlv_tensor *block(const tlv_run *r, const net *layer, const tlv_tensor *x, int flags)
{
    tlv_scope s = tlv_scope_begin_with(r->c, flags);
    tlv_tensor *h = NULL;
    for (int i = 0; i < BLOCK; i++)
        h = tlv_conv_bn_fwd(r, &layer[i].conv, &layer[i].bn, i ? h : x, NULL, TLV_ACT_RELU);
    return tlv_scope_end_keep(r->c, s, h);
}

static void step(tlv_ctx *c, void *arg)
{
    const data *d = arg;
    tlv_run r = { .c = c, .params = d->p, .mode = TLV_TRAIN };
    tlv_scope s = tlv_scope_begin(c);
    const tlv_tensor *h = d->x;
    for (int i = 0; i < LAYERS; i += BLOCK) h = block(&r, d->layer + i, h, d->flags);
    tlv_params_grad(c, tlv_mean_all(c, tlv_square(c, h)), d->p, 0);
    tlv_scope_end(c, s);
}

static void run(bench *b, const void *flags)
{
    data d = { .flags = *(const int *)flags };
    d.p = init(b->c, d.layer);
    d.x = tlv_to_order(b->c, bench_tensor(b, "x", TLV_SHAPE(BATCH, WIDTH, SIDE, SIDE)),
                       TLV_CHANNELS_LAST);
    tlv_mem_reset_peak(b->c);
    step(b->c, &d);
    tlv_mem_stats m = tlv_mem_get(b->c);
    snprintf(b->note, sizeof b->note, "peak_mb=%.1f forward_mb=%.1f backward_mb=%.1f",
             (double)m.peak / 1e6, (double)m.peak_by_phase[TLV_PHASE_FORWARD] / 1e6,
             (double)m.peak_by_phase[TLV_PHASE_BACKWARD] / 1e6);
    bench_time(b, BATCH, "img/s", step, &d);
    tlv_params_close(d.p);
}

int main(void)
{
    static const int PLAIN = 0, CHECKPOINTED = TLV_CHECKPOINT;
    bench b = bench_open();
    bench_case(&b, "conv24_b16/train", run, &PLAIN);
    bench_case(&b, "conv24_b16/train/checkpoint", run, &CHECKPOINTED);
    return bench_close(&b);
}
