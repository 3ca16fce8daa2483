/* bench_vit.c -- speed of attention and of a whole ViT-B/16; cases and environment: benchlib.h.
 *
 * attn_.../fwd and fwd+bwd count 4 and 12 flops for each query, key and number of a head, as if the
 * backward pass cost two forward ones, and causal ones count as if nothing were skipped. */
#include <stdio.h>

#include "tests/benchlib.h"

/* ---- attention ------------------------------------------------------------------------------- */

typedef struct attn_arg {
    const tlv_tensor *in[3], *g;
    tlv_attention_opts o;
    int packed, backward;
} attn_arg;

static void attn_body(tlv_ctx *c, void *arg)
{
    const attn_arg *a = arg;
    tlv_scope s = a->backward ? tlv_scope_begin(c) : tlv_scope_begin_with(c, TLV_NO_GRAD);
    tlv_tensor *d[3];
    tlv_tensor *y = a->packed ? tlv_attention_packed(c, a->in[0], a->o)
                              : tlv_attention(c, a->in[0], a->in[1], a->in[2], a->o);
    if (a->backward) tlv_grad(c, y, a->g, a->packed ? 1 : 3, a->in, d, 0);
    tlv_scope_end(c, s);
}

typedef struct attn_case {
    const char *name;
    int64_t b, h, t, d;
    int causal, masked, packed, backward;
} attn_case;

/* The last third of the keys is hidden. */
static tlv_tensor *padding(tlv_ctx *c, int64_t b, int64_t t)
{
    tlv_tensor *m = tlv_cast(c, tlv_full(c, TLV_F32, tlv_shape2(b, t - t / 3), 1), TLV_U8);
    return tlv_pad(c, m, 1, 0, t / 3, 0);
}

static void attention(bench *b, const void *arg)
{
    const attn_case *k = arg;
    attn_arg a = { .o = { .causal = k->causal }, .packed = k->packed, .backward = k->backward };
    tlv_shape in = k->packed ? TLV_SHAPE(k->b, k->t, 3, k->h, k->d)
                             : TLV_SHAPE(k->b, k->h, k->t, k->d);
    tlv_shape out = k->packed ? TLV_SHAPE(k->b, k->t, k->h * k->d) : in;
    static const char *const NAME[3] = { "q", "k", "v" };
    for (int i = 0; i < (k->packed ? 1 : 3); i++) a.in[i] = bench_leaf(b, NAME[i], in);
    a.g = bench_tensor(b, "g", out);
    if (k->masked) a.o.key_mask = padding(b->c, k->b, k->t);
    double gflop = 4e-9 * (double)(k->b * k->h * k->t) * (double)(k->t * k->d);
    bench_time(b, k->backward ? 3 * gflop : gflop, "GFLOP/s", attn_body, &a);
}

static void bench_attention(bench *b)
{
    static const attn_case ALL[] = {
        { "heads", 8, 12, 197, 64, 0, 0, 0, 0 },    { "packed", 8, 12, 197, 64, 0, 0, 1, 0 },
        { "causal", 8, 12, 197, 64, 1, 0, 0, 0 },   { "masked", 8, 12, 197, 64, 0, 1, 0, 0 },
        { "heads", 8, 12, 197, 32, 0, 0, 0, 0 },    { "heads", 8, 12, 197, 80, 0, 0, 0, 0 },
        { "heads", 8, 12, 197, 128, 0, 0, 0, 0 },   { "heads", 8, 12, 197, 37, 0, 0, 0, 0 },
        { "long", 1, 12, 4096, 64, 0, 0, 0, 0 },    { "causal", 1, 12, 4096, 64, 1, 0, 0, 0 },
        { "masked", 1, 12, 4096, 64, 0, 1, 0, 0 },
    };
    for (size_t i = 0; i < 2 * sizeof ALL / sizeof ALL[0]; i++) {
        attn_case k = ALL[i / 2];
        char name[96];
        k.backward = i % 2;
        snprintf(name, sizeof name, "attn_%s_%dx%dx%dx%d/%s", k.name, (int)k.b, (int)k.h, (int)k.t,
                 (int)k.d, k.backward ? "fwd+bwd" : "fwd");
        bench_case(b, name, attention, &k);
    }
}

/* ---- ViT-B/16 (Dosovitskiy et al. 2020, arXiv:2010.11929) ------------------------------------ */

enum { DIM = 768, HEADS = 12, BLOCKS = 12, HIDDEN = 3072, PATCH = 16, SIDE = 224, CLASSES = 1000 };
enum { TOKENS = (SIDE / PATCH) * (SIDE / PATCH) + 1 };

typedef struct block { tlv_ln_layer ln1, ln2; tlv_linear_layer qkv, proj, fc1, fc2; } block;

typedef struct vit {
    tlv_params *params;
    tlv_conv_layer patch;
    int cls, pos;
    block block[BLOCKS];
    tlv_ln_layer ln;
    tlv_linear_layer head;
} vit;

static int vit_open(tlv_ctx *c, vit *v)
{
    tlv_build *b = tlv_build_begin(c, TLV_F32);
    tlv_conv2d_opts patches = { .stride = PATCH };
    v->patch = tlv_conv_init(b, "conv_proj", 3, DIM, PATCH, patches, 1);
    v->cls = tlv_build_param(b, "class_token", TLV_SHAPE(1, 1, DIM), tlv_init_normal(0.02));
    v->pos = tlv_build_param(b, "pos_embedding", TLV_SHAPE(1, TOKENS, DIM), tlv_init_normal(0.02));
    for (int i = 0; i < BLOCKS; i++) {
        block *m = &v->block[i];
        char name[16];
        snprintf(name, sizeof name, "block%d", i);
        tlv_build_push(b, name);
        m->ln1 = tlv_ln_init(b, "ln_1", DIM, 1e-6);
        m->qkv = tlv_linear_init(b, "qkv", DIM, 3 * DIM, 1);
        m->proj = tlv_linear_init(b, "out_proj", DIM, DIM, 1);
        m->ln2 = tlv_ln_init(b, "ln_2", DIM, 1e-6);
        m->fc1 = tlv_linear_init(b, "fc1", DIM, HIDDEN, 1);
        m->fc2 = tlv_linear_init(b, "fc2", HIDDEN, DIM, 1);
        tlv_build_pop(b);
    }
    v->ln = tlv_ln_init(b, "ln", DIM, 1e-6);
    v->head = tlv_linear_init(b, "head", DIM, CLASSES, 1);
    v->params = tlv_build_end(b);
    return v->params != NULL;
}

static tlv_tensor *block_fwd(const tlv_run *r, const block *m, const tlv_tensor *x)
{
    tlv_ctx *c = r->c;
    int64_t n = tlv_dim(x, 0);
    tlv_scope s = tlv_scope_begin(c);
    tlv_tensor *h = tlv_linear_fwd(r, &m->qkv, tlv_ln_fwd(r, &m->ln1, x), TLV_ACT_NONE);
    h = tlv_reshape(c, h, TLV_SHAPE(n, TOKENS, 3, HEADS, DIM / HEADS));
    h = tlv_attention_packed(c, h, (tlv_attention_opts){ 0 });              // [B,T,D]
    tlv_tensor *y = tlv_add(c, x, tlv_linear_fwd(r, &m->proj, h, TLV_ACT_NONE));
    h = tlv_linear_fwd(r, &m->fc1, tlv_ln_fwd(r, &m->ln2, y), TLV_ACT_GELU);
    h = tlv_linear_fwd(r, &m->fc2, h, TLV_ACT_NONE);
    return tlv_scope_end_keep(c, s, tlv_add(c, y, h));
}

/* x [B,3,224,224] -> [B,1000] */
static tlv_tensor *vit_fwd(const tlv_run *r, const vit *v, const tlv_tensor *x)
{
    tlv_ctx *c = r->c;
    int64_t n = tlv_dim(x, 0);
    tlv_tensor *p = tlv_permute(c, tlv_conv_fwd(r, &v->patch, x), TLV_AXES(0, 2, 3, 1));
    const tlv_tensor *part[2] = { tlv_expand(c, tlv_run_param(r, v->cls), TLV_SHAPE(n, 1, DIM)),
                                  tlv_reshape(c, p, TLV_SHAPE(n, TOKENS - 1, DIM)) };
    tlv_tensor *h = tlv_add(c, tlv_cat(c, 2, part, 1), tlv_run_param(r, v->pos));    // [B,T,D]
    for (int i = 0; i < BLOCKS; i++) h = block_fwd(r, &v->block[i], h);
    h = tlv_reshape(c, tlv_slice(c, h, 1, 0, 1, 1), TLV_SHAPE(n, DIM));
    return tlv_linear_fwd(r, &v->head, tlv_ln_fwd(r, &v->ln, h), TLV_ACT_NONE);
}

/* cheap: activations are computed again in the backward pass instead of kept. */
typedef struct way { const char *name; int train, cheap; } way;

typedef struct vit_arg {
    vit v;
    tlv_run run;
    tlv_optim *opt;
    const tlv_tensor *x, *y;
} vit_arg;

static void infer_body(tlv_ctx *c, void *arg)
{
    vit_arg *a = arg;
    tlv_scope s = tlv_scope_begin_with(c, TLV_NO_GRAD);
    vit_fwd(&a->run, &a->v, a->x);
    tlv_scope_end(c, s);
}

static void train_body(tlv_ctx *c, void *arg)
{
    vit_arg *a = arg;
    tlv_scope s = tlv_scope_begin(c);
    tlv_tensor *y = vit_fwd(&a->run, &a->v, a->x);
    tlv_tensor *loss = tlv_cross_entropy(c, y, a->y, (tlv_ce_opts){ 0 });
    tlv_optim_step(c, a->opt, a->v.params, tlv_params_grad(c, loss, a->v.params, 0));
    tlv_scope_end(c, s);
}

static void whole(bench *b, const void *arg)
{
    const way *w = arg;
    int64_t n = 8;
    if (w->cheap) bench_context(b, (tlv_ctx_opts){ .recompute = TLV_RECOMPUTE_CHEAP });
    vit_arg a = { .run = { .c = b->c } };
    b->rss = 1;
    if (!vit_open(b->c, &a.v)) return;
    a.run.params = a.v.params;
    a.x = bench_tensor(b, "images", TLV_SHAPE(n, 3, SIDE, SIDE));
    a.y = tlv_zeros(b->c, TLV_I32, TLV_SHAPE(n));
    if (w->train) a.opt = tlv_adam_open(b->c, a.v.params, tlv_adamw_defaults());
    bench_time(b, (double)n, "img/s", w->train ? train_body : infer_body, &a);
    tlv_optim_close(a.opt);
    tlv_params_close(a.v.params);
}

int main(void)
{
    static const way WAYS[] = {
        { "vit_b_16/infer/b8", 0, 0 },
        { "vit_b_16/train/b8", 1, 0 },
        { "vit_b_16/train/b8/recompute_cheap", 1, 1 },
    };
    bench b = bench_open();
    bench_attention(&b);
    for (size_t i = 0; i < sizeof WAYS / sizeof WAYS[0]; i++)
        bench_case(&b, WAYS[i].name, whole, &WAYS[i]);
    return bench_close(&b);
}
