/* resnet.c -- ResNet-18, -34, -50 (He et al. 2015, arXiv:1512.03385) as torchvision has them: a
 * bottleneck's stride is on its 3x3 convolution ("v1.5").  ResNet-10 has one block a stage (Simon
 * et al. 2016, arXiv:1612.01452).  A width scales all channels.  Names: conv1, bn1,
 * layer{1..4}.{i}.{conv,bn}{1,2,3}, layer{1..4}.0.downsample.{0,1}, fc. */
#include <math.h>
#include <stdio.h>

#include "nn/models/arch.h"

enum { STAGES = 4, MAX_BLOCKS = 6, FILTERS = 64 };

typedef struct block {
    int n;                                  /* convolutions: 2 basic, 3 bottleneck */
    tlv_conv_layer conv[3], down;
    tlv_bn_layer bn[3], down_bn;
    int has_down;
} block;

typedef struct resnet {
    int blocks[STAGES];
    tlv_conv_layer conv1;
    tlv_bn_layer bn1;
    block at[STAGES][MAX_BLOCKS];
    tlv_linear_layer fc;
} resnet;

static const struct { int depth, n, blocks[STAGES]; } SIZES[] = {
    { 10, 2, { 1, 1, 1, 1 } }, { 18, 2, { 2, 2, 2, 2 } }, { 34, 2, { 3, 4, 6, 3 } },
    { 50, 3, { 3, 4, 6, 3 } },
};

static void conv_bn(block *m, tlv_build *b, int i, int in, int out, int k, int stride)
{
    char conv[16], bn[16];
    snprintf(conv, sizeof conv, "conv%d", i + 1);
    snprintf(bn, sizeof bn, "bn%d", i + 1);
    int pad = k / 2;
    m->conv[i] = tlv_conv_init(b, conv, in, out, k,
                               (tlv_conv2d_opts){ .stride = stride, .pad = { pad, pad, pad, pad } },
                               0);
    m->bn[i] = tlv_bn_init(b, bn, out);
}

/* Returns the block's output channels. */
static int block_init(block *m, tlv_build *b, int n, int in, int width, int stride)
{
    int out = n == 3 ? 4 * width : width;
    m->n = n;
    if (n == 2) {
        conv_bn(m, b, 0, in, width, 3, stride);
        conv_bn(m, b, 1, width, width, 3, 1);
    } else {
        conv_bn(m, b, 0, in, width, 1, 1);
        conv_bn(m, b, 1, width, width, 3, stride);
        conv_bn(m, b, 2, width, out, 1, 1);
    }
    m->has_down = stride != 1 || in != out;
    if (m->has_down) {
        tlv_build_push(b, "downsample");
        m->down = tlv_conv_init(b, "0", in, out, 1, (tlv_conv2d_opts){ .stride = stride }, 0);
        m->down_bn = tlv_bn_init(b, "1", out);
        tlv_build_pop(b);
    }
    return out;
}

static int filters(const tlv_model_info *info)
{
    int n = (int)lround(FILTERS * info->width);
    return n > 0 ? n : 1;
}

static int dim(int depth, const tlv_model_info *info)
{
    return (depth >= 50 ? 32 : 8) * filters(info);
}

static void init(void *module, tlv_build *b, int depth, const tlv_model_info *info)
{
    resnet *m = module;
    int size = 0;
    while (SIZES[size].depth != depth) size++;
    int in = filters(info), first = in;
    m->conv1 = tlv_conv_init(b, "conv1", 3, in, 7,
                             (tlv_conv2d_opts){ .stride = 2, .pad = { 3, 3, 3, 3 } }, 0);
    m->bn1 = tlv_bn_init(b, "bn1", in);
    for (int s = 0; s < STAGES; s++) {
        char name[16];
        m->blocks[s] = SIZES[size].blocks[s];
        for (int i = 0; i < m->blocks[s]; i++) {
            snprintf(name, sizeof name, "layer%d", s + 1);
            tlv_build_push(b, name);
            snprintf(name, sizeof name, "%d", i);
            tlv_build_push(b, name);
            int stride = s > 0 && i == 0 ? 2 : 1;
            in = block_init(&m->at[s][i], b, SIZES[size].n, in, first << s, stride);
            tlv_build_pop(b);
            tlv_build_pop(b);
        }
    }
    m->fc = tlv_linear_init(b, "fc", in, info->classes, 1);
}

static tlv_tensor *block_fwd(const tlv_run *r, const block *m, const tlv_tensor *x)
{
    tlv_scope s = tlv_scope_begin(r->c);
    const tlv_tensor *id = x, *h = x;
    if (m->has_down) id = tlv_conv_bn_fwd(r, &m->down, &m->down_bn, x, NULL, TLV_ACT_NONE);
    for (int i = 0; i < m->n - 1; i++)
        h = tlv_conv_bn_fwd(r, &m->conv[i], &m->bn[i], h, NULL, TLV_ACT_RELU);
    int last = m->n - 1;
    return tlv_scope_end_keep(
        r->c, s, tlv_conv_bn_fwd(r, &m->conv[last], &m->bn[last], h, id, TLV_ACT_RELU));
}

static tlv_tensor *features(const tlv_run *r, const void *module, const tlv_tensor *x)
{
    const resnet *m = module;
    tlv_scope s = tlv_scope_begin(r->c);
    tlv_tensor *h = tlv_conv_bn_fwd(r, &m->conv1, &m->bn1, x, NULL, TLV_ACT_RELU); // [B,64,H/2,W/2]
    h = tlv_max_pool2d(
        r->c, h, (tlv_pool2d_opts){ .k = 3, .stride = 2, .pad = { 1, 1, 1, 1 } }); // [B,64,H/4,W/4]
    for (int k = 0; k < STAGES; k++) {
        for (int i = 0; i < m->blocks[k]; i++) {
            h = tlv_scope_roll(r->c, s, h);
            h = block_fwd(r, &m->at[k][i], h); // [B,C,H/2^k/4,..]
        }
        char name[16];
        snprintf(name, sizeof name, "layer%d", k + 1);
        tlv_run_tap(r, name, h);
    }
    return tlv_scope_end_keep(r->c, s, tlv_global_avg_pool(r->c, h));                       // [B,D]
}

static tlv_tensor *classify(const tlv_run *r, const void *module, const tlv_tensor *h)
{
    return tlv_linear_fwd(r, &((const resnet *)module)->fc, h, TLV_ACT_NONE);
}

static int detect(const tlvi_names *f, int depth, tlv_model_info *found)
{
    int size = 0;
    while (SIZES[size].depth != depth) size++;
    int w = tlvi_names_find(f, "conv1.weight");
    if (w < 0 || f->shape[w].ndim != 4 || f->shape[w].dim[0] < 1 || f->shape[w].dim[0] > 1024)
        return 0;
    found->width = (double)f->shape[w].dim[0] / FILTERS;
    if (!tlvi_names_head(f, "fc.weight", dim(depth, found), found)) return 0;
    for (int s = 0; s < STAGES; s++) {
        char pattern[40];
        snprintf(pattern, sizeof pattern, "layer%d.%%d.conv2.weight", s + 1);
        if (tlvi_names_count(f, pattern) != SIZES[size].blocks[s]) return 0;
    }
    return (tlvi_names_find(f, "layer1.0.conv3.weight") >= 0) == (SIZES[size].n == 3);
}

static const tlvi_dialect PYTORCH = {
    .name = "torchvision", .padding = TLV_PADDING_TORCH, .eps = 1e-5, .momentum = 0.1,
    .recipe = { .size = 224, .resize = 256, .mean = { 0.485, 0.456, 0.406 },
                .std = { 0.229, 0.224, 0.225 } },
};
#define ENTRY(layers)                                                                              \
    {                                                                                              \
        .name = "resnet" #layers, .head = "fc", .classes = 1000, .dialect = &PYTORCH,              \
        .n_dialects = 1, .settings = TLVI_SET_WIDTH, .bytes = sizeof(resnet), .variant = layers,   \
        .dim = dim, .init = init,                                                                  \
        .features = features, .classify = classify, .detect = detect                               \
    }
const tlvi_arch tlvi_resnet[4] = { ENTRY(10), ENTRY(18), ENTRY(34), ENTRY(50) };
