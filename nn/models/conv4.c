/* conv4.c -- four convolutions for few-shot learning: the networks that the field's tables are
 * made with.  Each layer is a 3x3 convolution with 64 filters (width scales them), batch norm and
 * ReLU:
 *   conv4              and 2x2 max pooling; flattened.  Vinyals et al. 2016, arXiv:1606.04080;
 *                      Snell et al. 2017, arXiv:1703.05175
 *   conv4_stride       stride 2 instead of pooling; the mean over what is left of the image (2x2
 *                      of 28x28).  Finn et al. 2017, arXiv:1703.03400, appendix A.1
 *   conv4_stride_flat  the same, flattened.  Nichol et al. 2018, arXiv:1803.02999
 * Convolutions have no bias: with the batch's statistics a bias before a batch norm changes
 * nothing.  They start by Xavier's uniform rule, as MAML's code has it.  Names: conv{1..4},
 * bn{1..4}, fc. */
#include <math.h>
#include <stdio.h>

#include "nn/models/arch.h"

enum { LAYERS = 4, FILTERS = 64 };
enum { POOLED, STRIDE, STRIDE_FLAT };

typedef struct conv4 {
    int variant;
    tlv_conv_layer conv[LAYERS];
    tlv_bn_layer bn[LAYERS];
    tlv_linear_layer fc;
} conv4;

static int filters(const tlv_model_info *info)
{
    int n = (int)lround(FILTERS * info->width);
    return n > 0 ? n : 1;
}

/* What is left of a side: pooling rounds down, a stride rounds up. */
static int left_of(int side, int variant)
{
    for (int i = 0; i < LAYERS; i++) side = variant == POOLED ? side / 2 : (side + 1) / 2;
    return side;
}

static const char *bad_size(int variant, int side)
{
    return left_of(side, variant) > 0 ? NULL : "too small for four poolings";
}

static int dim(int variant, const tlv_model_info *info)
{
    int side = variant == STRIDE ? 1 : left_of(info->size, variant);
    return filters(info) * side * side;
}

static void init(void *module, tlv_build *b, int variant, const tlv_model_info *info)
{
    conv4 *m = module;
    int out = filters(info), stride = variant == POOLED ? 1 : 2;
    m->variant = variant;
    for (int i = 0; i < LAYERS; i++) {
        char name[16];
        tlv_conv2d_opts o = { .stride = stride, .pad = { 1, 1, 1, 1 } };
        snprintf(name, sizeof name, "conv%d", i + 1);
        m->conv[i] = tlvi_conv_init(b, name, i ? out : info->channels, out, 3, o, 0,
                                    tlv_init_xavier_uniform(1));
        snprintf(name, sizeof name, "bn%d", i + 1);
        m->bn[i] = tlv_bn_init(b, name, out);
        m->bn[i].eps = info->eps;
        m->bn[i].momentum = info->momentum;
    }
    m->fc = tlv_linear_init(b, "fc", dim(variant, info), info->classes, 1);
}

static tlv_tensor *features(const tlv_run *r, const void *module, const tlv_tensor *x)
{
    const conv4 *m = module;
    tlv_ctx *c = r->c;
    tlv_scope s = tlv_scope_begin(c);
    tlv_tensor *h = (tlv_tensor *)x;                                            // [B,C,28,28]
    for (int i = 0; i < LAYERS; i++) {
        char name[16];
        h = tlv_conv_bn_fwd(r, &m->conv[i], &m->bn[i], h, NULL, TLV_ACT_RELU);
        if (m->variant == POOLED) h = tlv_max_pool2d(c, h, (tlv_pool2d_opts){ .k = 2 });
        snprintf(name, sizeof name, "layer%d", i + 1);
        tlv_run_tap(r, name, h);
        h = tlv_scope_roll(c, s, h);
    }
    if (m->variant == STRIDE) h = tlv_global_avg_pool(c, h);                    // [B,64]
    else if (h) h = tlv_reshape(c, h, TLV_SHAPE(tlv_dim(h, 0), -1));            // [B,64*S*S]
    return tlv_scope_end_keep(c, s, h);
}

static tlv_tensor *classify(const tlv_run *r, const void *module, const tlv_tensor *h)
{
    return tlv_linear_fwd(r, &((const conv4 *)module)->fc, h, TLV_ACT_NONE);
}

/* Three variants have the same names: the head's width must fit, and a file that says its
 * architecture is asked first. */
static int detect(const tlvi_names *f, int variant, tlv_model_info *found)
{
    int w = tlvi_names_find(f, "conv1.weight");
    if (w < 0 || tlvi_names_find(f, "conv4.weight") < 0
        || tlvi_names_find(f, "bn4.running_mean") < 0 || tlvi_names_find(f, "conv5.weight") >= 0)
        return 0;
    const tlv_shape *s = &f->shape[w];
    if (s->ndim != 4 || s->dim[2] != 3 || s->dim[0] < 1 || s->dim[0] > 8 * FILTERS
        || s->dim[1] < 1 || s->dim[1] > 4096)
        return 0;
    found->width = (double)s->dim[0] / FILTERS;
    found->channels = (int)s->dim[1];
    if (found->size == 0) found->size = 28;
    return tlvi_names_head(f, "fc.weight", dim(variant, found), found);
}

static const tlvi_dialect PYTORCH = {
    .name = "pytorch", .padding = TLV_PADDING_TORCH, .eps = 1e-5, .momentum = 0.1,
    .recipe = { .size = 28, .std = { 1, 1, 1 } },
};
#define ENTRY(label, which)                                                                        \
    {                                                                                              \
        .name = label, .head = "fc", .classes = 5, .dialect = &PYTORCH, .n_dialects = 1,           \
        .settings = TLVI_SET_WIDTH | TLVI_SET_NORM | TLVI_SET_CHANNELS | TLVI_SET_SIZE,            \
        .bytes = sizeof(conv4), .variant = which, .dim = dim, .bad_size = bad_size,                \
        .init = init,                                                                              \
        .features = features, .classify = classify, .detect = detect                               \
    }
const tlvi_arch tlvi_conv4[3] = {
    ENTRY("conv4", POOLED), ENTRY("conv4_stride", STRIDE), ENTRY("conv4_stride_flat", STRIDE_FLAT),
};
