/* mobilenet_v2.c -- MobileNetV2 of any width (Sandler et al. 2018, arXiv:1801.04381, table 2).
 *
 * Parts 0 .. 18 as torchvision counts them: a 3x3 stem, 17 inverted residual blocks (1x1 expansion,
 * 3x3 depthwise, 1x1 linear projection, and a shortcut where shapes allow), a last 1x1 convolution.
 * Names of a block's layers: conv.0 (expansion), conv.1 (depthwise), conv.2 and conv.3 (projection
 * and its batch norm); the first block has no expansion.  Head: classifier.1.
 *
 * Published weights differ in names, in the epsilon of batch norm, and in where the zeros of a
 * strided convolution go; some have their batch norms folded into the convolutions. */
#include <stdio.h>

#include "nn/models/arch.h"

enum { PARTS = 19, LAST = PARTS - 1, STAGES = 7, WIDTHS = STAGES + 2 };
enum { EXPAND, DEPTHWISE, PROJECT, LAYERS };            /* of a block */

/* Expansion, channels at width 1, blocks, stride of the first block. */
static const struct { int t, channels, blocks, stride; } STAGE[STAGES] = {
    { 1, 16, 1, 1 }, { 6, 24, 2, 2 }, { 6, 32, 3, 2 },  { 6, 64, 4, 2 },
    { 6, 96, 3, 1 }, { 6, 160, 3, 2 }, { 6, 320, 1, 1 },
};

/* Convolution, then batch norm (or the convolution's bias, where that is folded), activation. */
typedef struct layer { tlv_conv_layer conv; tlv_bn_layer bn; tlv_act act; } layer;
typedef struct block { layer at[LAYERS]; int first, residual; } block;

typedef struct mobilenet {
    tlv_padding padding;
    int folded;
    layer stem, last;
    block block[PARTS];                     /* [1 .. LAST-1] */
    tlv_linear_layer head;
} mobilenet;

/* ---- sizes ----------------------------------------------------------------------------------- */

/* v channels to the next multiple of 8, not less than 90 % of v. */
static int round_to_8(double v)
{
    int n = (int)(v + 4) / 8 * 8;
    if (n < 8) n = 8;
    return n < 0.9 * v ? n + 8 : n;
}

/* Channels of the stem, the stages, the last convolution, which never gets narrower. */
static void widths(double width, int w[WIDTHS])
{
    w[0] = round_to_8(32 * width);
    for (int s = 0; s < STAGES; s++) w[1 + s] = round_to_8(STAGE[s].channels * width);
    w[WIDTHS - 1] = round_to_8(1280 * (width > 1 ? width : 1));
}

static int dim(int variant, const tlv_model_info *info)
{
    int w[WIDTHS];
    (void)variant;
    widths(info->width, w);
    return w[WIDTHS - 1];
}

/* ---- building: torchvision's initial values -------------------------------------------------- */

static layer layer_init(tlv_build *b, const tlv_model_info *info, const char *conv, const char *bn,
                        int in, int out, int k, int stride, tlv_act act)
{
    int pad = k / 2, depthwise = k > 1 && in == out;
    tlv_conv2d_opts o = { .stride = stride, .pad = { pad, pad, pad, pad },
                          .groups = depthwise ? in : 1 };
    layer l = { .act = act };
    l.conv = tlvi_conv_init(b, conv, in, out, k, o, info->folded, tlv_init_kaiming_normal(1));
    if (info->folded) return l;
    l.bn = tlv_bn_init(b, bn, out);
    l.bn.eps = info->eps;
    l.bn.momentum = info->momentum;
    return l;
}

static block block_init(tlv_build *b, const tlv_model_info *info, int part, int in, int out, int t,
                        int stride)
{
    block m = { .first = t == 1 ? DEPTHWISE : EXPAND, .residual = stride == 1 && in == out };
    int hidden = t * in, n = 0;
    for (int i = m.first; i < LAYERS; i++, n++) {
        char conv[40], bn[40];
        const char *nested = i == PROJECT ? "" : ".0";      // "conv.0.0, conv.0.1", but "conv.2"
        snprintf(conv, sizeof conv, "features.%d.conv.%d%s", part, n, nested);
        if (i == PROJECT) snprintf(bn, sizeof bn, "features.%d.conv.%d", part, n + 1);
        else snprintf(bn, sizeof bn, "features.%d.conv.%d.1", part, n);
        m.at[i] = layer_init(b, info, conv, bn, i == EXPAND ? in : hidden,
                             i == PROJECT ? out : hidden, i == DEPTHWISE ? 3 : 1,
                             i == DEPTHWISE ? stride : 1,
                             i == PROJECT ? TLV_ACT_NONE : TLV_ACT_RELU6);
    }
    return m;
}

static void init(void *module, tlv_build *b, int variant, const tlv_model_info *info)
{
    mobilenet *m = module;
    int w[WIDTHS], part = 1;
    (void)variant;
    widths(info->width, w);
    m->padding = info->padding;
    m->folded = info->folded;
    m->stem = layer_init(b, info, "features.0.0", "features.0.1", 3, w[0], 3, 2, TLV_ACT_RELU6);
    for (int s = 0, in = w[0]; s < STAGES; s++)
        for (int i = 0; i < STAGE[s].blocks; i++, part++, in = w[1 + s])
            m->block[part] = block_init(b, info, part, in, w[1 + s], STAGE[s].t,
                                        i == 0 ? STAGE[s].stride : 1);
    m->last = layer_init(b, info, "features.18.0", "features.18.1", w[STAGES], w[STAGES + 1], 1, 1,
                         TLV_ACT_RELU6);
    m->head = (tlv_linear_layer){ .in = w[STAGES + 1], .out = info->classes };
    tlv_build_push(b, "classifier.1");
    m->head.w = tlv_build_param(b, "weight", TLV_SHAPE(info->classes, w[STAGES + 1]),
                                tlv_init_normal(0.01));
    m->head.b = tlv_build_param(b, "bias", TLV_SHAPE(info->classes), tlv_init_zeros());
    tlv_build_pop(b);
}

/* ---- forward --------------------------------------------------------------------------------- */

/* Zeros before and after n pixels for ceil(n / stride) outputs; an odd one comes after. */
static void pad_same(int *before, int *after, int64_t n, int k, int stride)
{
    int64_t all = ((n + stride - 1) / stride - 1) * stride + k - n;
    if (all < 0) all = 0;
    *before = (int)(all / 2);
    *after = (int)(all - all / 2);
}

static tlv_tensor *layer_fwd(const tlv_run *r, const mobilenet *m, const layer *l,
                             const tlv_tensor *x, const tlv_tensor *residual)
{
    if (!x) return NULL;
    tlv_conv_layer conv = l->conv;
    if (m->padding == TLV_PADDING_SAME && conv.o.stride > 1) {
        int *p = conv.o.pad;
        pad_same(&p[0], &p[1], tlv_dim(x, 2), conv.k, conv.o.stride);
        pad_same(&p[2], &p[3], tlv_dim(x, 3), conv.k, conv.o.stride);
    }
    if (!m->folded) return tlv_conv_bn_fwd(r, &conv, &l->bn, x, residual, l->act);
    tlv_conv2d_fuse f = { .shift = tlv_run_param(r, conv.b), .residual = residual, .act = l->act };
    return tlv_conv2d_fused(r->c, x, tlv_run_param(r, conv.w), conv.o, f);
}

static tlv_tensor *block_fwd(const tlv_run *r, const mobilenet *m, const block *b,
                             const tlv_tensor *x)
{
    tlv_scope s = tlv_scope_begin(r->c);
    const tlv_tensor *h = x;
    if (b->first == EXPAND) h = layer_fwd(r, m, &b->at[EXPAND], h, NULL);       // [B,6C,H,W]
    h = layer_fwd(r, m, &b->at[DEPTHWISE], h, NULL);                            // [B,6C,H',W']
    return tlv_scope_end_keep(r->c, s, layer_fwd(r, m, &b->at[PROJECT], h,
                                                 b->residual ? x : NULL));      // [B,O,H',W']
}

static void tap(const tlv_run *r, int part, tlv_tensor *h)
{
    char name[16];
    snprintf(name, sizeof name, "features.%d", part);
    tlv_run_tap(r, name, h);
}

static tlv_tensor *features(const tlv_run *r, const void *module, const tlv_tensor *x)
{
    const mobilenet *m = module;
    tlv_scope s = tlv_scope_begin(r->c);
    tlv_tensor *h = layer_fwd(r, m, &m->stem, x, NULL);                         // [B,C,H/2,W/2]
    tap(r, 0, h);
    for (int i = 1; i < LAST; i++) {
        h = tlv_scope_roll(r->c, s, h);
        h = block_fwd(r, m, &m->block[i], h);
        tap(r, i, h);
    }
    h = layer_fwd(r, m, &m->last, h, NULL);                                     // [B,D,H/32,W/32]
    tap(r, LAST, h);
    return tlv_scope_end_keep(r->c, s, tlv_global_avg_pool(r->c, h));           // [B,D]
}

static tlv_tensor *classify(const tlv_run *r, const void *module, const tlv_tensor *h)
{
    return tlv_linear_fwd(r, &((const mobilenet *)module)->head, h, TLV_ACT_NONE);
}

/* ---- other names of the same entries --------------------------------------------------------- */

/* Where an entry stands: "features.3.conv.1.1.bias": part 3, DEPTHWISE, its batch norm, "bias". */
typedef struct place { int part, layer, bn; const char *rest; } place;

/* 0 for the head's entries: rest is then "weight" or "bias". */
static int place_of(const char *entry, place *p)
{
    static const struct { const char *prefix; int parts, layer, bn; } AT[] = {
        { "conv.0.0.", 1, DEPTHWISE, 0 }, { "conv.0.1.", 1, DEPTHWISE, 1 },
        { "conv.1.", 1, PROJECT, 0 },     { "conv.2.", 1, PROJECT, 1 },
        { "conv.0.0.", 2, EXPAND, 0 },    { "conv.0.1.", 2, EXPAND, 1 },
        { "conv.1.0.", 2, DEPTHWISE, 0 }, { "conv.1.1.", 2, DEPTHWISE, 1 },
        { "conv.2.", 2, PROJECT, 0 },     { "conv.3.", 2, PROJECT, 1 },
        { "0.", 0, 0, 0 },                { "1.", 0, 0, 1 },
    };
    const char *dot = strrchr(entry, '.');
    int n = 0;
    *p = (place){ .rest = dot ? dot + 1 : entry };
    if (sscanf(entry, "features.%3d.%n", &p->part, &n) != 1 || n == 0) return 0;
    int parts = p->part == 0 || p->part >= LAST ? 0 : p->part == 1 ? 1 : 2;
    for (size_t i = 0; i < sizeof AT / sizeof AT[0]; i++)
        if (AT[i].parts == parts && strncmp(entry + n, AT[i].prefix, strlen(AT[i].prefix)) == 0) {
            p->layer = AT[i].layer;
            p->bn = AT[i].bn;
            return 1;
        }
    return 0;
}

/* keras.applications: Conv1, bn_Conv1, expanded_conv_depthwise, block_1_expand, block_1_expand_BN
 * ... Conv_1, Conv_1_bn, predictions. */
static void keras_name(const char *entry, char *buf, size_t n)
{
    static const char *const LAYER[] = { "expand", "depthwise", "project" };
    place p;
    if (!place_of(entry, &p)) {
        snprintf(buf, n, "predictions.%s", p.rest);
    } else if (p.part == 0) {
        snprintf(buf, n, "%s.%s", p.bn ? "bn_Conv1" : "Conv1", p.rest);
    } else if (p.part == LAST) {
        snprintf(buf, n, "%s.%s", p.bn ? "Conv_1_bn" : "Conv_1", p.rest);
    } else {
        char stem[32] = "expanded_conv";
        if (p.part > 1) snprintf(stem, sizeof stem, "block_%d", p.part - 1);
        snprintf(buf, n, "%s_%s%s.%s", stem, LAYER[p.layer], p.bn ? "_BN" : "", p.rest);
    }
}

/* Convolutions of a TensorFlow Lite graph in their order: conv00, dw01, conv02 ... conv52. */
static void tflite_name(const char *entry, char *buf, size_t n)
{
    place p;
    int at = 52;
    if (place_of(entry, &p)) at = p.part == 0 ? 0 : 3 * (p.part - 1) + p.layer;
    int depthwise = p.part > 0 && p.layer == DEPTHWISE;
    snprintf(buf, n, "%s%02d.%s", depthwise ? "dw" : "conv", at, p.rest);
}

#define INCEPTION { 0.5, 0.5, 0.5 }
static const tlvi_dialect DIALECTS[] = {
    { .name = "torchvision", .padding = TLV_PADDING_TORCH, .eps = 1e-5, .momentum = 0.1,
      .recipe = { .size = 224, .resize = 256, .mean = { 0.485, 0.456, 0.406 },
                  .std = { 0.229, 0.224, 0.225 } } },
    // Keras counts what stays of the running statistics (0.999), PyTorch what comes in.
    { .name = "keras", .padding = TLV_PADDING_SAME, .eps = 1e-3, .momentum = 0.001,
      .recipe = { .size = 224, .resize = 256, .mean = INCEPTION, .std = INCEPTION },
      .rename = keras_name },
    { .name = "tflite", .padding = TLV_PADDING_SAME, .eps = 1e-3, .momentum = 0.001, .folded = 1,
      .recipe = { .size = 224, .resize = 256, .mean = INCEPTION, .std = INCEPTION },
      .rename = tflite_name },
};
enum { N_DIALECTS = sizeof DIALECTS / sizeof DIALECTS[0] };

/* ---- detection ------------------------------------------------------------------------------- */

static int find_as(const tlvi_names *f, const tlvi_dialect *d, const char *entry)
{
    char name[128];
    if (!d->rename) return tlvi_names_find(f, entry);
    d->rename(entry, name, sizeof name);
    return tlvi_names_find(f, name);
}

/* Output channels of the stem, of the first projection of each stage, of the last convolution; 0 if
 * one is not there. */
static int widths_in(const tlvi_names *f, const tlvi_dialect *d, int64_t w[WIDTHS])
{
    for (int k = 0, part = 1; k < WIDTHS; k++) {
        char entry[40] = "features.0.0.weight";
        if (k == WIDTHS - 1) snprintf(entry, sizeof entry, "features.%d.0.weight", LAST);
        else if (k > 0)
            snprintf(entry, sizeof entry, "features.%d.conv.%d.weight", part, part == 1 ? 1 : 2);
        if (k > 0 && k < WIDTHS - 1) part += STAGE[k - 1].blocks;
        int i = find_as(f, d, entry);
        if (i < 0 || f->shape[i].ndim != 4 || f->shape[i].dim[1] < 1) return 0;
        w[k] = f->shape[i].dim[0];
        if (k == WIDTHS - 1 && f->shape[i].dim[1] != w[STAGES]) return 0;
    }
    return 1;
}

static int same_widths(double width, const int64_t in_file[WIDTHS])
{
    int w[WIDTHS];
    widths(width, w);
    for (int k = 0; k < WIDTHS; k++)
        if (w[k] != in_file[k]) return 0;
    return 1;
}

/* Many widths round to the same channels: the file's own word, else the roundest number. */
static double find_width(double first, const int64_t in_file[WIDTHS])
{
    static const int steps[] = { 20, 100, 1000 };
    if (first > 0 && same_widths(first, in_file)) return first;
    for (int s = 0; s < 3; s++)
        for (int k = 1; k <= 4 * steps[s]; k++)
            if (same_widths((double)k / steps[s], in_file)) return (double)k / steps[s];
    return 0;
}

static int detect(const tlvi_names *f, int variant, tlv_model_info *found)
{
    (void)variant;
    for (int i = 0; i < N_DIALECTS; i++) {
        const tlvi_dialect *d = &DIALECTS[i];
        int64_t w[WIDTHS];
        if (!widths_in(f, d, w)) continue;
        found->width = find_width(found->width, w);
        found->dialect = d->name;
        found->folded = d->folded || find_as(f, d, "features.0.0.bias") >= 0;
        char head[64] = "classifier.1.weight";
        if (d->rename) d->rename("classifier.1.weight", head, sizeof head);
        return found->width > 0 && tlvi_names_head(f, head, (int)w[WIDTHS - 1], found);
    }
    return 0;
}

const tlvi_arch tlvi_mobilenet_v2 = {
    .name = "mobilenet_v2", .head = "classifier.1", .classes = 1000, .dialect = DIALECTS,
    .n_dialects = N_DIALECTS, .bytes = sizeof(mobilenet), .dim = dim,
    .settings = TLVI_SET_WIDTH | TLVI_SET_NORM | TLVI_SET_PADDING | TLVI_SET_FOLDED,
    .init = init, .features = features, .classify = classify, .detect = detect,
};
