/* vit.c -- the Vision Transformer (Dosovitskiy et al. 2021, arXiv:2010.11929): an image cut into
 * patches, a class token before them, pre-norm blocks of self-attention and an MLP (exact GELU).
 * Names are timm's: cls_token, pos_embed, patch_embed.proj, blocks.{i}.{norm1,attn.qkv,attn.proj,
 * norm2,mlp.fc1,mlp.fc2}, norm, head.  The features are the class token after the last norm.
 *   vit_tiny_patch16, vit_small_patch16, vit_base_patch16   224x224: table 1 and DeiT's sizes
 *   vit_mini_patch4                                         28x28, for few-shot learning */
#include <stdio.h>

#include "nn/models/arch.h"

enum { MAX_DEPTH = 12, MLP_RATIO = 4 };
static const double NORM_EPS = 1e-6;

typedef struct size { int patch, dim, heads, depth; } size;
static const size SIZE[4] = {
    { 16, 192, 3, 12 }, { 16, 384, 6, 12 }, { 16, 768, 12, 12 }, { 4, 64, 4, 4 },
};

typedef struct block { tlv_ln_layer norm1, norm2; tlv_linear_layer qkv, proj, fc1, fc2; } block;

typedef struct vit {
    size s;
    int cls_token, pos_embed;
    tlv_conv_layer patch;
    block block[MAX_DEPTH];
    tlv_ln_layer norm;
    tlv_linear_layer head;
} vit;

static int dim(int variant, const tlv_model_info *info)
{
    (void)info;
    return SIZE[variant].dim;
}

static const char *bad_size(int variant, int side)
{
    if (side % SIZE[variant].patch == 0) return NULL;
    return SIZE[variant].patch == 4 ? "not cut into patches of 4" : "not cut into patches of 16";
}

static int tokens(const size *s, int side) { return (side / s->patch) * (side / s->patch) + 1; }

/* ---- building -------------------------------------------------------------------------------- */

/* timm's: truncated normal weights, biases of zero. */
static tlv_linear_layer linear(tlv_build *b, const char *name, int in, int out)
{
    tlv_linear_layer m = { .in = in, .out = out };
    tlv_build_push(b, name);
    m.w = tlv_build_param(b, "weight", TLV_SHAPE(out, in), tlv_init_trunc_normal(0.02));
    m.b = tlv_build_param(b, "bias", TLV_SHAPE(out), tlv_init_zeros());
    tlv_build_pop(b);
    return m;
}

static block block_init(tlv_build *b, int i, int dim)
{
    char name[24];
    block m;
    snprintf(name, sizeof name, "blocks.%d", i);
    tlv_build_push(b, name);
    m.norm1 = tlv_ln_init(b, "norm1", dim, NORM_EPS);
    m.qkv = linear(b, "attn.qkv", dim, 3 * dim);
    m.proj = linear(b, "attn.proj", dim, dim);
    m.norm2 = tlv_ln_init(b, "norm2", dim, NORM_EPS);
    m.fc1 = linear(b, "mlp.fc1", dim, MLP_RATIO * dim);
    m.fc2 = linear(b, "mlp.fc2", MLP_RATIO * dim, dim);
    tlv_build_pop(b);
    return m;
}

static void init(void *module, tlv_build *b, int variant, const tlv_model_info *info)
{
    vit *m = module;
    size s = m->s = SIZE[variant];
    tlv_init normal = tlv_init_trunc_normal(0.02);
    m->cls_token = tlv_build_param(b, "cls_token", TLV_SHAPE(1, 1, s.dim), tlv_init_normal(1e-6));
    m->pos_embed = tlv_build_param(b, "pos_embed", TLV_SHAPE(1, tokens(&s, info->size), s.dim),
                                   normal);
    m->patch = tlvi_conv_init(b, "patch_embed.proj", info->channels, s.dim, s.patch,
                              (tlv_conv2d_opts){ .stride = s.patch }, 1, normal);
    for (int i = 0; i < s.depth; i++) m->block[i] = block_init(b, i, s.dim);
    m->norm = tlv_ln_init(b, "norm", s.dim, NORM_EPS);
    m->head = linear(b, "head", s.dim, info->classes);
}

/* ---- running --------------------------------------------------------------------------------- */

static tlv_tensor *block_fwd(const tlv_run *r, const vit *v, const block *m, const tlv_tensor *x)
{
    tlv_ctx *c = r->c;
    tlv_scope s = tlv_scope_begin(c);
    tlv_tensor *h = tlv_linear_fwd(r, &m->qkv, tlv_ln_fwd(r, &m->norm1, x), TLV_ACT_NONE);
    tlv_shape heads = TLV_SHAPE(tlv_dim(x, 0), tlv_dim(x, 1), 3, v->s.heads, v->s.dim / v->s.heads);
    h = tlv_attention_packed(c, tlv_reshape(c, h, heads), (tlv_attention_opts){ 0 });   // [B,T,D]
    tlv_tensor *y = tlv_add(c, x, tlv_linear_fwd(r, &m->proj, h, TLV_ACT_NONE));        // [B,T,D]
    h = tlv_linear_fwd(r, &m->fc1, tlv_ln_fwd(r, &m->norm2, y), TLV_ACT_GELU);          // [B,T,4D]
    h = tlv_linear_fwd(r, &m->fc2, h, TLV_ACT_NONE);                                    // [B,T,D]
    return tlv_scope_end_keep(c, s, tlv_add(c, y, h));
}

/* Patches as tokens behind the class token, each with its position's vector: [B,T,D]. */
static tlv_tensor *embed(const tlv_run *r, const vit *m, const tlv_tensor *x)
{
    tlv_ctx *c = r->c;
    int64_t n = tlv_dim(x, 0), d = m->s.dim;
    tlv_tensor *p = tlv_conv_fwd(r, &m->patch, x);                                 // [B,D,h,w]
    p = tlv_reshape(c, tlv_permute(c, p, TLV_AXES(0, 2, 3, 1)), TLV_SHAPE(n, -1, d));
    const tlv_tensor *cls = tlv_run_param(r, m->cls_token);
    const tlv_tensor *part[2] = { tlv_expand(c, cls, TLV_SHAPE(n, 1, d)), p };
    return tlv_add(c, tlv_cat(c, 2, part, 1), tlv_run_param(r, m->pos_embed));
}

static tlv_tensor *features(const tlv_run *r, const void *module, const tlv_tensor *x)
{
    const vit *m = module;
    tlv_ctx *c = r->c;
    tlv_scope s = tlv_scope_begin(c);
    int64_t want = tlv_dim(tlv_run_param(r, m->pos_embed), 1);
    if (tlv_dim(x, 2) % m->s.patch || tlv_dim(x, 3) % m->s.patch
        || tlv_dim(x, 2) / m->s.patch * (tlv_dim(x, 3) / m->s.patch) + 1 != want)
        tlvi_fail(c, TLV_ERR_SHAPE, "open the model with this size",
                  "vit: images of %lldx%lld in patches of %d make another number of tokens than "
                  "the %lld positions",
                  (long long)tlv_dim(x, 2), (long long)tlv_dim(x, 3), m->s.patch, (long long)want);
    tlv_tensor *h = embed(r, m, x);
    for (int i = 0; i < m->s.depth; i++) {
        char name[24];
        h = tlv_scope_roll(c, s, block_fwd(r, m, &m->block[i], h));
        snprintf(name, sizeof name, "blocks.%d", i);
        tlv_run_tap(r, name, h);
    }
    h = tlv_slice(c, h, 1, 0, 1, 1);                                                    // [B,1,D]
    h = h ? tlv_reshape(c, h, TLV_SHAPE(tlv_dim(h, 0), m->s.dim)) : NULL;
    return tlv_scope_end_keep(c, s, tlv_ln_fwd(r, &m->norm, h));                        // [B,D]
}

static tlv_tensor *classify(const tlv_run *r, const void *module, const tlv_tensor *h)
{
    return tlv_linear_fwd(r, &((const vit *)module)->head, h, TLV_ACT_NONE);
}

/* ---- recognising ----------------------------------------------------------------------------- */

static int detect(const tlvi_names *f, int variant, tlv_model_info *found)
{
    const size *s = &SIZE[variant];
    int p = tlvi_names_find(f, "patch_embed.proj.weight"), e = tlvi_names_find(f, "pos_embed");
    if (p < 0 || e < 0 || f->shape[p].ndim != 4 || f->shape[e].ndim != 3) return 0;
    const int64_t *patch = f->shape[p].dim, *pos = f->shape[e].dim;
    if (patch[0] != s->dim || patch[2] != s->patch || pos[2] != s->dim || patch[1] < 1
        || patch[1] > 4096 || tlvi_names_count(f, "blocks.%d.attn.qkv.weight") != s->depth)
        return 0;
    found->channels = (int)patch[1];
    int side = 1;
    while (tokens(s, side * s->patch) < pos[1] && side * s->patch < 4096) side++;
    if (tokens(s, side * s->patch) != pos[1]) return 0;
    found->size = side * s->patch;
    return tlvi_names_head(f, "head.weight", s->dim, found);
}

static const tlvi_dialect TIMM = {
    .name = "timm", .padding = TLV_PADDING_TORCH, .eps = 1e-5, .momentum = 0.1,
    .recipe = { .size = 224, .resize = 248, .filter = TLV_FILTER_BICUBIC,
                .mean = { 0.5, 0.5, 0.5 }, .std = { 0.5, 0.5, 0.5 } },
};
static const tlvi_dialect MINI = {
    .name = "timm", .padding = TLV_PADDING_TORCH, .eps = 1e-5, .momentum = 0.1,
    .recipe = { .size = 28, .std = { 1, 1, 1 } },
};
#define ENTRY(label, which, rules, n)                                                              \
    {                                                                                              \
        .name = label, .head = "head", .classes = n, .dialect = &rules, .n_dialects = 1,           \
        .settings = TLVI_SET_CHANNELS | TLVI_SET_SIZE, .bytes = sizeof(vit), .variant = which,     \
        .dim = dim, .bad_size = bad_size, .init = init, .features = features,                      \
        .classify = classify, .detect = detect                                                     \
    }
const tlvi_arch tlvi_vit[4] = {
    ENTRY("vit_tiny_patch16", 0, TIMM, 1000), ENTRY("vit_small_patch16", 1, TIMM, 1000),
    ENTRY("vit_base_patch16", 2, TIMM, 1000), ENTRY("vit_mini_patch4", 3, MINI, 5),
};
