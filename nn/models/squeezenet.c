/* squeezenet.c -- SqueezeNet 1.0 (Iandola et al. 2016, arXiv:1602.07360, table 1).
 *
 * A 7x7 stem and eight "fire" modules: a 1x1 convolution squeezes, a 1x1 and a 3x3 beside each
 * other expand; a ReLU follows every convolution.  Names are torchvision's: features.{0,3,4,5,7,8,
 * 9,10,12}, classifier.1; Caffe's original weights are a dialect.
 *
 * The published head is a 1x1 convolution and a ReLU *before* the global average pool, so its
 * logits are no linear function of the pooled features.  A new head (tlv_model_new_head) is: linear
 * on the 512 pooled features.  The shape of classifier.1.weight, [K,512,1,1] or [K,512], tells. */
#include <stdio.h>

#include "nn/models/arch.h"

enum { FIRES = 8, DIM = 512 };

/* Place among torchvision's features, channels squeezed and expanded (each half), pool after it. */
static const struct { int at, squeeze, expand, pool; } FIRE[FIRES] = {
    { 3, 16, 64, 0 },  { 4, 16, 64, 0 },   { 5, 32, 128, 1 },   { 7, 32, 128, 0 },
    { 8, 48, 192, 0 }, { 9, 48, 192, 0 }, { 10, 64, 256, 1 }, { 12, 64, 256, 0 },
};

typedef struct fire { tlv_conv_layer squeeze, expand1, expand3; } fire;

typedef struct squeezenet {
    tlv_conv_layer stem, conv_head;
    fire fire[FIRES];
    tlv_linear_layer linear_head;
} squeezenet;

static int dim(int variant, const tlv_model_info *info)
{
    (void)variant;
    (void)info;
    return DIM;
}

/* ---- building: torchvision's initial values -------------------------------------------------- */

static tlv_conv_layer conv(tlv_build *b, int at, const char *name, int in, int out, int k)
{
    char full[40];
    int pad = k == 3;
    snprintf(full, sizeof full, "features.%d%s", at, name);
    tlv_conv2d_opts o = { .stride = k == 7 ? 2 : 1, .pad = { pad, pad, pad, pad } };
    return tlvi_conv_init(b, full, in, out, k, o, 1, tlv_init_kaiming_uniform(0));
}

static void init(void *module, tlv_build *b, int variant, const tlv_model_info *info)
{
    squeezenet *m = module;
    (void)variant;
    m->stem = conv(b, 0, "", 3, 96, 7);
    for (int i = 0, in = 96; i < FIRES; i++, in = 2 * FIRE[i - 1].expand) {
        int squeeze = FIRE[i].squeeze, expand = FIRE[i].expand;
        m->fire[i] = (fire){
            .squeeze = conv(b, FIRE[i].at, ".squeeze", in, squeeze, 1),
            .expand1 = conv(b, FIRE[i].at, ".expand1x1", squeeze, expand, 1),
            .expand3 = conv(b, FIRE[i].at, ".expand3x3", squeeze, expand, 3),
        };
    }
    if (info->linear_head)
        m->linear_head = tlv_linear_init(b, "classifier.1", DIM, info->classes, 1);
    else
        m->conv_head = tlvi_conv_init(b, "classifier.1", DIM, info->classes, 1,
                                      (tlv_conv2d_opts){ 0 }, 1, tlv_init_normal(0.01));
}

/* ---- forward --------------------------------------------------------------------------------- */

static tlv_tensor *conv_relu(const tlv_run *r, const tlv_conv_layer *m, const tlv_tensor *x)
{
    if (!x) return NULL;
    tlv_conv2d_fuse f = { .shift = tlv_run_param(r, m->b), .act = TLV_ACT_RELU };
    return tlv_conv2d_fused(r->c, x, tlv_run_param(r, m->w), m->o, f);
}

static tlv_tensor *fire_fwd(const tlv_run *r, const fire *m, const tlv_tensor *x)
{
    tlv_scope s = tlv_scope_begin(r->c);
    tlv_tensor *h = conv_relu(r, &m->squeeze, x);                               // [B,S,H,W]
    const tlv_tensor *both[2] = { conv_relu(r, &m->expand1, h), conv_relu(r, &m->expand3, h) };
    return tlv_scope_end_keep(r->c, s, tlv_cat(r->c, 2, both, 1));              // [B,2E,H,W]
}

static tlv_tensor *pool(const tlv_run *r, const tlv_tensor *x)
{
    return tlv_max_pool2d(r->c, x, (tlv_pool2d_opts){ .k = 3, .stride = 2, .ceil_mode = 1 });
}

static void tap(const tlv_run *r, int at, tlv_tensor *h)
{
    char name[16];
    snprintf(name, sizeof name, "features.%d", at);
    tlv_run_tap(r, name, h);
}

/* [B,3,H,W] -> [B,512,H/16,W/16], about. */
static tlv_tensor *trunk(const tlv_run *r, const squeezenet *m, const tlv_tensor *x)
{
    tlv_scope s = tlv_scope_begin(r->c);
    tlv_tensor *h = conv_relu(r, &m->stem, x);                                  // [B,96,H/2,W/2]
    tap(r, 0, h);
    h = pool(r, h);                                                             // [B,96,H/4,W/4]
    for (int i = 0; i < FIRES; i++) {
        h = tlv_scope_roll(r->c, s, h);
        h = fire_fwd(r, &m->fire[i], h);
        tap(r, FIRE[i].at, h);
        if (FIRE[i].pool) h = pool(r, h);
    }
    return tlv_scope_end_keep(r->c, s, h);
}

static tlv_tensor *features(const tlv_run *r, const void *module, const tlv_tensor *x)
{
    tlv_scope s = tlv_scope_begin(r->c);
    return tlv_scope_end_keep(r->c, s, tlv_global_avg_pool(r->c, trunk(r, module, x)));
}

static tlv_tensor *classify(const tlv_run *r, const void *module, const tlv_tensor *h)
{
    return tlv_linear_fwd(r, &((const squeezenet *)module)->linear_head, h, TLV_ACT_NONE);
}

/* The published head: convolution, ReLU, then the pool. */
static tlv_tensor *forward(const tlv_run *r, const void *module, const tlv_tensor *x)
{
    const squeezenet *m = module;
    tlv_scope s = tlv_scope_begin(r->c);
    tlv_tensor *h = conv_relu(r, &m->conv_head, trunk(r, m, x));                // [B,K,H/16,W/16]
    return tlv_scope_end_keep(r->c, s, tlv_global_avg_pool(r->c, h));           // [B,K]
}

/* ---- other names, detection ------------------------------------------------------------------ */

/* Caffe: conv1, fire2/squeeze1x1 ... fire9/expand3x3, conv10. */
static void caffe_name(const char *entry, char *buf, size_t n)
{
    const char *rest = strrchr(entry, '.');
    int at = -1, end = 0;
    rest = rest ? rest + 1 : entry;
    if (sscanf(entry, "features.%3d.%n", &at, &end) != 1 || end == 0) {
        snprintf(buf, n, "conv10.%s", rest);
        return;
    }
    snprintf(buf, n, "conv1.%s", rest);
    for (int i = 0; i < FIRES; i++) {
        if (FIRE[i].at != at) continue;
        const char *part = entry + end;         // "squeeze.weight", "expand1x1.weight"
        int squeeze = strncmp(part, "squeeze.", 8) == 0;
        if (squeeze) snprintf(buf, n, "fire%d/squeeze1x1.%s", i + 2, rest);
        else snprintf(buf, n, "fire%d/%s", i + 2, part);
    }
}

static const tlvi_dialect DIALECTS[] = {
    { .name = "torchvision", .padding = TLV_PADDING_TORCH,
      .recipe = { .size = 224, .resize = 256, .mean = { 0.485, 0.456, 0.406 },
                  .std = { 0.229, 0.224, 0.225 } } },
    // Blue, green, red of 0 .. 255 less their means over ImageNet.
    { .name = "caffe", .padding = TLV_PADDING_TORCH,
      .recipe = { .size = 227, .resize = 256, .bgr = 1,
                  .mean = { 104.0 / 255, 117.0 / 255, 123.0 / 255 },
                  .std = { 1.0 / 255, 1.0 / 255, 1.0 / 255 } },
      .rename = caffe_name },
};
enum { N_DIALECTS = sizeof DIALECTS / sizeof DIALECTS[0] };

/* The shape of an entry in a file of that dialect; ndim 0 if it is not there. */
static tlv_shape shape_as(const tlvi_names *f, const tlvi_dialect *d, const char *entry)
{
    char name[64];
    snprintf(name, sizeof name, "%s", entry);
    if (d->rename) d->rename(entry, name, sizeof name);
    int i = tlvi_names_find(f, name);
    return i < 0 ? (tlv_shape){ 0 } : f->shape[i];
}

static int detect(const tlvi_names *f, int variant, tlv_model_info *found)
{
    (void)variant;
    for (int i = 0; i < N_DIALECTS; i++) {
        const tlvi_dialect *d = &DIALECTS[i];
        tlv_shape stem = shape_as(f, d, "features.0.weight"),
                  last = shape_as(f, d, "features.12.expand3x3.weight");
        if (stem.ndim != 4 || stem.dim[0] != 96 || stem.dim[2] != 7) continue;  // 1.1: 64, 3x3
        if (last.ndim != 4 || last.dim[0] != DIM / 2 || last.dim[1] != 64) continue;
        found->dialect = d->name;
        found->linear_head = shape_as(f, d, "classifier.1.weight").ndim == 2;
        return tlvi_names_head(f, i == 0 ? "classifier.1.weight" : "conv10.weight", DIM, found);
    }
    return 0;
}

const tlvi_arch tlvi_squeezenet = {
    .name = "squeezenet1_0", .head = "classifier.1", .classes = 1000, .dialect = DIALECTS,
    .n_dialects = N_DIALECTS, .conv_head = 1, .bytes = sizeof(squeezenet), .dim = dim,
    .init = init, .features = features, .classify = classify, .forward = forward,
    .detect = detect,
};
