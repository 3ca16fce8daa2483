/* resnet_cifar.c -- ResNet for 32x32 images: 20, 32, 44, 56 layers (He et al. 2015,
 * arXiv:1512.03385, section 4.2), with the parameter-free shortcut "option A".  Names are those of
 * the published weights: conv1, bn1, layer{1,2,3}.{i}.{conv1,bn1,conv2,bn2}, linear. */
#include <stdio.h>

#include "nn/models/arch.h"

enum { STAGES = 3, MAX_BLOCKS = 9 };

typedef struct block { tlv_conv_layer conv1, conv2; tlv_bn_layer bn1, bn2; int stride; } block;

typedef struct resnet_cifar {
    int blocks;                             /* a stage: depth = 6 blocks + 2 */
    tlv_conv_layer conv1;
    tlv_bn_layer bn1;
    block at[STAGES][MAX_BLOCKS];
    tlv_linear_layer linear;
} resnet_cifar;

static void block_init(block *m, tlv_build *b, int i, int in, int out, int stride)
{
    char name[16];
    snprintf(name, sizeof name, "%d", i);
    tlv_build_push(b, name);
    m->stride = stride;
    m->conv1 = tlv_conv_init(b, "conv1", in, out, 3,
                             (tlv_conv2d_opts){ .stride = stride, .pad = { 1, 1, 1, 1 } }, 0);
    m->bn1 = tlv_bn_init(b, "bn1", out);
    m->conv2 = tlv_conv_init(b, "conv2", out, out, 3, (tlv_conv2d_opts){ .pad = { 1, 1, 1, 1 } },
                             0);
    m->bn2 = tlv_bn_init(b, "bn2", out);
    tlv_build_pop(b);
}

static int dim(int depth, const tlv_model_info *info)
{
    (void)depth;
    (void)info;
    return 64;
}

static void init(void *module, tlv_build *b, int depth, const tlv_model_info *info)
{
    resnet_cifar *m = module;
    m->blocks = (depth - 2) / 6;
    m->conv1 = tlv_conv_init(b, "conv1", 3, 16, 3, (tlv_conv2d_opts){ .pad = { 1, 1, 1, 1 } }, 0);
    m->bn1 = tlv_bn_init(b, "bn1", 16);
    for (int s = 0, in = 16; s < STAGES; s++) {
        char name[16];
        int out = 16 << s;
        snprintf(name, sizeof name, "layer%d", s + 1);
        tlv_build_push(b, name);
        for (int i = 0; i < m->blocks; i++, in = out)
            block_init(&m->at[s][i], b, i, in, out, s > 0 && i == 0 ? 2 : 1);
        tlv_build_pop(b);
    }
    m->linear = tlv_linear_init(b, "linear", 64, info->classes, 1);
}

/* Option A: every second pixel, and zeros for the new channels, half before and half after. */
static const tlv_tensor *shortcut(tlv_ctx *c, const block *m, const tlv_tensor *x)
{
    if (m->stride == 1) return x;
    int64_t extra = (m->conv1.out - m->conv1.in) / 2;
    const tlv_tensor *h = tlv_slice(c, x, 2, 0, INT64_MAX, 2);          // [B,C,H/2,W]
    h = tlv_slice(c, h, 3, 0, INT64_MAX, 2);                            // [B,C,H/2,W/2]
    return tlv_pad(c, h, 1, extra, extra, 0);                           // [B,2C,H/2,W/2]
}

static tlv_tensor *block_fwd(const tlv_run *r, const block *m, const tlv_tensor *x)
{
    tlv_scope s = tlv_scope_begin(r->c);
    const tlv_tensor *id = shortcut(r->c, m, x);                                   // [B,O,H',W']
    tlv_tensor *h = tlv_conv_bn_fwd(r, &m->conv1, &m->bn1, x, NULL, TLV_ACT_RELU); // [B,O,H',W']
    h = tlv_conv_bn_fwd(r, &m->conv2, &m->bn2, h, id, TLV_ACT_RELU);               // [B,O,H',W']
    return tlv_scope_end_keep(r->c, s, h);
}

static tlv_tensor *features(const tlv_run *r, const void *module, const tlv_tensor *x)
{
    const resnet_cifar *m = module;
    tlv_scope s = tlv_scope_begin(r->c);
    tlv_tensor *h = tlv_conv_bn_fwd(r, &m->conv1, &m->bn1, x, NULL, TLV_ACT_RELU); // [B,16,32,32]
    for (int k = 0; k < STAGES; k++) {
        for (int i = 0; i < m->blocks; i++) {
            h = block_fwd(r, &m->at[k][i], h);
            h = tlv_scope_roll(r->c, s, h);
        }
        char name[16];
        snprintf(name, sizeof name, "layer%d", k + 1);
        tlv_run_tap(r, name, h);
    }
    return tlv_scope_end_keep(r->c, s, tlv_global_avg_pool(r->c, h));                   // [B,64]
}

static tlv_tensor *classify(const tlv_run *r, const void *module, const tlv_tensor *h)
{
    return tlv_linear_fwd(r, &((const resnet_cifar *)module)->linear, h, TLV_ACT_NONE);
}

static int detect(const tlvi_names *f, int depth, tlv_model_info *found)
{
    if (!tlvi_names_head(f, "linear.weight", 64, found)) return 0;
    if (tlvi_names_find(f, "layer4.0.conv1.weight") >= 0) return 0;
    for (int s = 1; s <= STAGES; s++) {
        char pattern[40];
        snprintf(pattern, sizeof pattern, "layer%d.%%d.conv2.weight", s);
        if (tlvi_names_count(f, pattern) != (depth - 2) / 6) return 0;
    }
    return 1;
}

static const tlvi_dialect PYTORCH = {
    .name = "pytorch", .padding = TLV_PADDING_TORCH, .eps = 1e-5, .momentum = 0.1,
    .recipe = { .size = 32, .mean = { 0.485, 0.456, 0.406 },
                .std = { 0.229, 0.224, 0.225 } },
};
#define ENTRY(layers)                                                                              \
    {                                                                                              \
        .name = "resnet" #layers, .head = "linear", .classes = 10,                                 \
        .dialect = &PYTORCH, .n_dialects = 1, .bytes = sizeof(resnet_cifar),                       \
        .variant = layers, .dim = dim, .init = init,                                               \
        .features = features, .classify = classify, .detect = detect                               \
    }
const tlvi_arch tlvi_resnet_cifar[4] = { ENTRY(20), ENTRY(32), ENTRY(44), ENTRY(56) };
