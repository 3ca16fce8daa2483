/* bench_conv.c -- convolutions of batch 8, and their gradients in x (bwd_d) and in w (bwd_w).
 *
 * NAME/b8/PASS                 x and g are row-major, as a user's planar images are
 * NAME/b8/PASS/channels_last   x and g have the library's own order
 * NAME/b8/PASS/direct          3x3 of stride 1: channels-last, never by Winograd's algorithm
 * NAME/b8/fwd/bn_relu6         depthwise only: batch norm, ReLU6 in the same pass, channels-last */
#include <stdio.h>
#include <string.h>

#include "tests/benchlib.h"

enum { BATCH = 8 };

/* Square images of side h, square kernels. */
typedef struct shape { const char *name; int c, h, oc, k, stride, pad, groups; } shape;

static const shape SHAPES[] = {
    { "rn_conv1", 3, 224, 64, 7, 2, 3, 1 },
    { "rn18_l1_3x3", 64, 56, 64, 3, 1, 1, 1 },
    { "rn18_l2_3x3s2", 64, 56, 128, 3, 2, 1, 1 },
    { "rn18_l2_1x1s2", 64, 56, 128, 1, 2, 0, 1 },
    { "rn18_l2_3x3", 128, 28, 128, 3, 1, 1, 1 },
    { "rn18_l3_3x3s2", 128, 28, 256, 3, 2, 1, 1 },
    { "rn18_l3_3x3", 256, 14, 256, 3, 1, 1, 1 },
    { "rn18_l4_3x3s2", 256, 14, 512, 3, 2, 1, 1 },
    { "rn18_l4_3x3", 512, 7, 512, 3, 1, 1, 1 },
    { "rn50_l1_1x1a", 64, 56, 64, 1, 1, 0, 1 },
    { "rn50_l1_1x1b", 64, 56, 256, 1, 1, 0, 1 },
    { "rn50_l1_1x1c", 256, 56, 64, 1, 1, 0, 1 },
    { "rn50_l2_1x1a", 256, 56, 128, 1, 1, 0, 1 },
    { "rn50_l2_3x3s2", 128, 56, 128, 3, 2, 1, 1 },
    { "rn50_l2_ds", 256, 56, 512, 1, 2, 0, 1 },
    { "rn50_l2_1x1b", 128, 28, 512, 1, 1, 0, 1 },
    { "rn50_l2_1x1c", 512, 28, 128, 1, 1, 0, 1 },
    { "rn50_l3_3x3s2", 256, 28, 256, 3, 2, 1, 1 },
    { "rn50_l3_1x1b", 256, 14, 1024, 1, 1, 0, 1 },
    { "rn50_l3_1x1c", 1024, 14, 256, 1, 1, 0, 1 },
    { "rn50_l4_3x3s2", 512, 14, 512, 3, 2, 1, 1 },
    { "rn50_l4_1x1b", 512, 7, 2048, 1, 1, 0, 1 },
    { "rn50_l4_1x1c", 2048, 7, 512, 1, 1, 0, 1 },
    { "mb2_dw32_112", 32, 112, 32, 3, 1, 1, 32 },
    { "mb2_dw96_112s2", 96, 112, 96, 3, 2, 1, 96 },
    { "mb2_dw144_56", 144, 56, 144, 3, 1, 1, 144 },
    { "mb2_dw144_56s2", 144, 56, 144, 3, 2, 1, 144 },
    { "mb2_dw192_28", 192, 28, 192, 3, 1, 1, 192 },
    { "mb2_dw384_14", 384, 14, 384, 3, 1, 1, 384 },
    { "mb2_dw576_14s2", 576, 14, 576, 3, 2, 1, 576 },
    { "mb2_dw960_7", 960, 7, 960, 3, 1, 1, 960 },
    { "vit_patch", 3, 224, 768, 16, 16, 0, 1 },
    { "cifar_16_32", 16, 32, 16, 3, 1, 1, 1 },
    { "cifar_32_16", 32, 16, 32, 3, 1, 1, 1 },
    { "cifar_64_8", 64, 8, 64, 3, 1, 1, 1 },
    { "omni_1_28", 1, 28, 64, 3, 1, 1, 1 },
    { "omni_64_14", 64, 14, 64, 3, 1, 1, 1 },
    { "omni_64_7", 64, 7, 64, 3, 1, 1, 1 },
};
enum { N_SHAPES = sizeof SHAPES / sizeof SHAPES[0] };

typedef enum pass { FWD, BWD_D, BWD_W, FUSED, N_PASSES } pass;

typedef struct conv_case { const shape *s; pass pass; int channels_last, direct; } conv_case;

typedef struct operands {
    const conv_case *k;
    const tlv_tensor *x, *w, *g;
    tlv_conv2d_opts o;
    tlv_conv2d_fuse fuse;
} operands;

static void body(tlv_ctx *c, void *arg)
{
    const operands *p = arg;
    const shape *s = p->k->s;
    tlv_scope scope = tlv_scope_begin_with(c, TLV_NO_GRAD);
    switch (p->k->pass) {
    case FWD: tlv_conv2d(c, p->x, p->w, NULL, p->o); break;
    case BWD_D: tlv_conv2d_dx(c, p->g, p->w, s->h, s->h, p->o); break;
    case BWD_W: tlv_conv2d_dw(c, p->g, p->x, s->k, s->k, p->o); break;
    default: tlv_conv2d_fused(c, p->x, p->w, p->o, p->fuse);
    }
    tlv_scope_end(c, scope);
}

static void run(bench *b, const void *arg)
{
    const conv_case *k = arg;
    const shape *s = k->s;
    tlv_order order = k->channels_last ? TLV_CHANNELS_LAST : TLV_ROW_MAJOR;
    int64_t side = (s->h + 2 * s->pad - s->k) / s->stride + 1;
    if (k->direct) bench_context(b, (tlv_ctx_opts){ .conv = TLV_CONV_DIRECT });
    operands p = { .k = k, .o = { .stride = s->stride, .groups = s->groups,
                                  .pad = { s->pad, s->pad, s->pad, s->pad } } };
    p.x = tlv_to_order(b->c, bench_tensor(b, "x", tlv_shape4(BATCH, s->c, s->h, s->h)), order);
    p.w = bench_tensor(b, "w", tlv_shape4(s->oc, s->c / s->groups, s->k, s->k));
    p.g = tlv_to_order(b->c, bench_tensor(b, "g", tlv_shape4(BATCH, s->oc, side, side)), order);
    p.fuse = (tlv_conv2d_fuse){ .scale = bench_tensor(b, "scale", tlv_shape1(s->oc)),
                                .shift = bench_tensor(b, "shift", tlv_shape1(s->oc)),
                                .act = TLV_ACT_RELU6 };
    int64_t moved = tlv_numel(p.x) + tlv_numel(p.w) + tlv_numel(p.g);
    snprintf(b->note, sizeof b->note, "gb=%.4g", 4e-9 * (double)moved);
    double terms = (double)(s->c / s->groups) * s->k * s->k;
    bench_time(b, 2e-9 * BATCH * s->oc * (double)(side * side) * terms, "GFLOP/s", body, &p);
}

/* How a case is run, and what its name ends in. */
typedef struct form { const char *end; pass first, last; int channels_last, direct; } form;

static int has_form(const shape *s, const form *f)
{
    if (f->first == FUSED) return s->groups > 1;
    return !f->direct || (s->k == 3 && s->stride == 1 && s->groups == 1);
}

int main(void)
{
    static const char *const PASS[N_PASSES] = { "fwd", "bwd_d", "bwd_w", "fwd/bn_relu6" };
    static const form FORMS[] = { { "", FWD, BWD_W, 0, 0 },
                                  { "/channels_last", FWD, BWD_W, 1, 0 },
                                  { "/direct", FWD, BWD_W, 1, 1 },
                                  { "", FUSED, FUSED, 1, 0 } };
    bench b = bench_open();
    for (int i = 0; i < N_SHAPES; i++)
        for (int j = 0; j < 4; j++)
            for (int p = FORMS[j].first; p <= (int)FORMS[j].last; p++) {
                const form *f = &FORMS[j];
                char name[64];
                conv_case k = { &SHAPES[i], (pass)p, f->channels_last, f->direct };
                if (!has_form(k.s, f)) continue;
                snprintf(name, sizeof name, "%s/b%d/%s%s", k.s->name, BATCH, PASS[p], f->end);
                bench_case(&b, name, run, &k);
            }
    return bench_close(&b);
}
