/* bench_vit.c -- speed of attention and of a whole ViT-B/16, one line a case:
 *   case, peer, threads, median_ms, rate, unit, min_ms, max_ms, runs[, note]
 * make bench CASES=text THREADS=n      cases whose name contains text; n threads (default 1)
 * BENCH_BUDGET=seconds a case (default 2)
 *
 * attn_.../fwd and fwd+bwd count 4 and 12 multiply-adds a query, key and number of a head, as if the
 * backward pass cost two forward ones.  Nothing here asserts anything. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "tlvision.h"

enum { MAX_RUNS = 60 };

typedef struct bench {
    tlv_ctx *c;
    const char *only;
    int threads, with_rss;
    double budget_ms;                   // of a case; three runs at least
} bench;
typedef void (*body_fn)(tlv_ctx *c, void *arg);

static double now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return 1e3 * (double)t.tv_sec + 1e-6 * (double)t.tv_nsec;
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static int chosen(const bench *b, const char *name)
{
    return !b->only || strstr(name, b->only) != NULL;
}

/* work: GFLOP or images a call. */
static void run_case(bench *b, const char *name, double work, const char *unit, body_fn body,
                     void *arg)
{
    if (!chosen(b, name)) return;
    double t[MAX_RUNS], begin;
    int runs = 0;
    body(b->c, arg);                                        // warm: pages, packs, threads
    begin = now_ms();
    while (runs < MAX_RUNS && (runs < 3 || now_ms() - begin < b->budget_ms)) {
        double start = now_ms();
        body(b->c, arg);
        t[runs++] = now_ms() - start;
    }
    if (tlv_error(b->c)) {
        printf("%s: error: %s\n", name, tlv_error_msg(b->c));
        tlv_error_clear(b->c);
        return;
    }
    qsort(t, (size_t)runs, sizeof *t, ascending);
    printf("%s, tlvision-%s, %d, %.6f, %.4g, %s, %.6f, %.6f, %d", name, tlv_isa(b->c), b->threads,
           t[runs / 2], work / t[runs / 2] * 1e3, unit, t[0], t[runs - 1], runs);
    struct rusage use;
    if (b->with_rss && getrusage(RUSAGE_SELF, &use) == 0)
        printf(", peak_rss_mb=%.0f", (double)use.ru_maxrss / 1024);
    printf("\n");
    fflush(stdout);
}

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
    int causal, masked, packed;
} attn_case;

/* The last third of the keys is hidden. */
static tlv_tensor *padding(tlv_ctx *c, int64_t b, int64_t t)
{
    tlv_tensor *m = tlv_cast(c, tlv_full(c, TLV_F32, tlv_shape2(b, t - t / 3), 1), TLV_U8);
    return tlv_pad(c, m, 1, 0, t / 3, 0);
}

static void bench_attn(bench *b, const attn_case *k)
{
    char name[2][96];
    for (int i = 0; i < 2; i++)
        snprintf(name[i], sizeof name[i], "attn_%s_%dx%dx%dx%d/%s", k->name, (int)k->b, (int)k->h,
                 (int)k->t, (int)k->d, i ? "fwd+bwd" : "fwd");
    if (!chosen(b, name[0]) && !chosen(b, name[1])) return;
    tlv_scope s = tlv_scope_begin(b->c);
    tlv_rng_key key = tlv_rng_stream(b->c, k->name);
    attn_arg a = { .o = { .causal = k->causal }, .packed = k->packed };
    tlv_shape in = k->packed ? TLV_SHAPE(k->b, k->t, 3, k->h, k->d)
                             : tlv_shape4(k->b, k->h, k->t, k->d);
    tlv_shape out = k->packed ? tlv_shape3(k->b, k->t, k->h * k->d) : in;
    for (int i = 0; i < (k->packed ? 1 : 3); i++)
        a.in[i] = tlv_leaf(b->c, tlv_rand(b->c, TLV_F32, in, key));
    a.g = tlv_rand(b->c, TLV_F32, out, key);
    if (k->masked) a.o.key_mask = padding(b->c, k->b, k->t);
    double gflop = 4e-9 * (double)(k->b * k->h * k->t) * (double)(k->t * k->d);
    for (a.backward = 0; a.backward < 2; a.backward++)
        run_case(b, name[a.backward], a.backward ? 3 * gflop : gflop, "GFLOP/s", attn_body, &a);
    tlv_scope_end(b->c, s);
}

static void bench_attention(bench *b)
{
    static const attn_case ALL[] = {
        { "heads", 8, 12, 197, 64, 0, 0, 0 },    { "packed", 8, 12, 197, 64, 0, 0, 1 },
        { "causal", 8, 12, 197, 64, 1, 0, 0 },   { "masked", 8, 12, 197, 64, 0, 1, 0 },
        { "heads", 8, 12, 197, 32, 0, 0, 0 },    { "heads", 8, 12, 197, 80, 0, 0, 0 },
        { "heads", 8, 12, 197, 128, 0, 0, 0 },   { "heads", 8, 12, 197, 37, 0, 0, 0 },
        { "long", 1, 12, 4096, 64, 0, 0, 0 },    { "causal", 1, 12, 4096, 64, 1, 0, 0 },
        { "masked", 1, 12, 4096, 64, 0, 1, 0 },
    };
    for (size_t i = 0; i < sizeof ALL / sizeof ALL[0]; i++) bench_attn(b, &ALL[i]);
}

/* ---- ViT-B/16 (Dosovitskiy et al. 2020, arXiv:2010.11929) ------------------------------------- */

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
    v->patch = tlv_conv_init(b, "conv_proj", 3, DIM, PATCH, (tlv_conv2d_opts){ .stride = PATCH }, 1);
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
    tlv_tensor *loss = tlv_cross_entropy(c, vit_fwd(&a->run, &a->v, a->x), a->y, (tlv_ce_opts){ 0 });
    tlv_optim_step(c, a->opt, a->v.params, tlv_params_grad(c, loss, a->v.params, 0));
    tlv_scope_end(c, s);
}

static void bench_vit(bench *b)
{
    static const char *const NAME[2] = { "vit_b_16/infer/b8", "vit_b_16/train/b8" };
    int64_t n = 8;
    if (!chosen(b, NAME[0]) && !chosen(b, NAME[1])) return;
    tlv_scope s = tlv_scope_begin(b->c);
    vit_arg a = { .run = { .c = b->c } };
    if (vit_open(b->c, &a.v)) {
        tlv_rng_key key = tlv_rng_stream(b->c, "images");
        a.run.params = a.v.params;
        a.x = tlv_rand(b->c, TLV_F32, TLV_SHAPE(n, 3, SIDE, SIDE), key);
        a.y = tlv_zeros(b->c, TLV_I32, TLV_SHAPE(n));
        b->with_rss = 1;
        run_case(b, NAME[0], (double)n, "img/s", infer_body, &a);
        if (chosen(b, NAME[1])) a.opt = tlv_adam_open(b->c, a.v.params, tlv_adamw_defaults());
        run_case(b, NAME[1], (double)n, "img/s", train_body, &a);
        tlv_optim_close(a.opt);
        tlv_params_close(a.v.params);
    }
    tlv_scope_end(b->c, s);
}

int main(void)
{
    const char *threads = getenv("THREADS"), *only = getenv("CASES"),
               *budget = getenv("BENCH_BUDGET");
    bench b = { .only = only && only[0] ? only : NULL,
                .threads = threads && threads[0] ? atoi(threads) : 1,
                .budget_ms = 1e3 * (budget && budget[0] ? atof(budget) : 2) };
    b.c = tlv_ctx_open(&(tlv_ctx_opts){ .threads = b.threads > 0 ? b.threads : 1 });
    b.threads = tlv_threads(b.c);
    bench_attention(&b);
    bench_vit(&b);
    int failed = tlv_error(b.c) != TLV_OK;
    if (failed) fprintf(stderr, "error: %s\nhint:  %s\n", tlv_error_msg(b.c), tlv_error_hint(b.c));
    tlv_ctx_close(b.c);
    return failed;
}
