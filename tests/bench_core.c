/* bench_core.c -- speed of the core, one line a case:
 *   case, peer, threads, median_ms, rate, unit, min_ms, max_ms, runs
 * make bench CASES=text THREADS=n      cases whose name contains text; n threads (default 1)
 *
 * peak_f32 is the machine's FMA rate as the widest kernel set reaches it in registers and L1: the
 * yardstick for the products.  Nothing here asserts anything. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tensor/core.h"
#include "tlvision.h"

enum { MAX_RUNS = 60 };

typedef struct bench { tlv_ctx *c; const char *only; int threads; } bench;
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

/* work: GFLOP or another count a call; unit says of what.  inner calls are timed together. */
static void run_case(bench *b, const char *name, double work, const char *unit, int runs, int inner,
                     body_fn body, void *arg)
{
    if (b->only && !strstr(name, b->only)) return;
    double t[MAX_RUNS];
    body(b->c, arg);                                        // warm: pages, packs, threads
    for (int r = 0; r < runs && r < MAX_RUNS; r++) {
        double start = now_ms();
        for (int i = 0; i < inner; i++) body(b->c, arg);
        t[r] = (now_ms() - start) / inner;
    }
    if (tlv_error(b->c)) {
        printf("%s: error: %s\n", name, tlv_error_msg(b->c));
        tlv_error_clear(b->c);
        return;
    }
    qsort(t, (size_t)runs, sizeof *t, ascending);
    printf("%s, tlvision-%s, %d, %.6f, %.4g, %s, %.6f, %.6f, %d\n", name, tlv_isa(b->c), b->threads,
           t[runs / 2], work / t[runs / 2] * 1e3, unit, t[0], t[runs - 1], runs);
    fflush(stdout);
}

/* ---- yardstick ------------------------------------------------------------------------------- */

typedef struct tile_arg { float a[14 * 512], b[512 * 64], c[14 * 64]; } tile_arg;
enum { TILE_K = 384, TILE_REPEAT = 200 };

static void tile_body(tlv_ctx *c, void *arg)
{
    tile_arg *t = arg;
    const tlvi_kset *k = c->k->f32;
    for (int i = 0; i < TILE_REPEAT; i++)
        k->gemm_tile(k->mr, k->nr, TILE_K, t->a, 1, k->mr, t->b, k->nr, t->c, k->nr, 1);
}

static void bench_peak(bench *b)
{
    tile_arg *t = aligned_alloc(64, (sizeof *t + 63) & ~(size_t)63);
    if (!t) return;
    memset(t, 0, sizeof *t);
    const tlvi_kset *k = b->c->k->f32;
    double gflop = 2e-9 * k->mr * k->nr * TILE_K * TILE_REPEAT;
    run_case(b, "peak_f32_tile", gflop, "GFLOP/s", 21, 4, tile_body, t);
    free(t);
}

/* ---- products and convolutions --------------------------------------------------------------- */

typedef struct gemm_arg { const tlv_tensor *a, *b; tlv_matmul_opts o; } gemm_arg;

static void gemm_body(tlv_ctx *c, void *arg)
{
    const gemm_arg *g = arg;
    tlv_scope s = tlv_scope_begin_with(c, TLV_NO_GRAD);
    tlv_matmul(c, g->a, g->b, g->o);
    tlv_scope_end(c, s);
}

static void bench_gemm(bench *b)
{
    static const struct { const char *name; int64_t m, n, k; int runs, inner;
    } CASES[] = {
        { "sq64", 64, 64, 64, 21, 200 },          { "sq256", 256, 256, 256, 21, 20 },
        { "sq1024", 1024, 1024, 1024, 15, 1 },    { "vit_proj_b1", 197, 768, 768, 21, 4 },
        { "mlp_10x40x40", 10, 40, 40, 21, 1000 }, { "tiny8", 8, 8, 8, 21, 2000 },
        { "vec_m1", 1, 4096, 4096, 21, 2 },
    };
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        tlv_scope s = tlv_scope_begin(b->c);
        tlv_rng_key key = tlv_rng_stream(b->c, CASES[i].name);
        gemm_arg g = { tlv_rand(b->c, TLV_F32, tlv_shape2(CASES[i].m, CASES[i].k), key),
                       tlv_rand(b->c, TLV_F32, tlv_shape2(CASES[i].k, CASES[i].n), key), { 0, 0 } };
        double gflop = 2e-9 * (double)CASES[i].m * (double)CASES[i].n * (double)CASES[i].k;
        run_case(b, CASES[i].name, gflop, "GFLOP/s", CASES[i].runs, CASES[i].inner, gemm_body, &g);
        tlv_scope_end(b->c, s);
    }
}

typedef struct conv_arg { const tlv_tensor *x, *w, *g; tlv_conv2d_opts o; int pass; } conv_arg;

static void conv_body(tlv_ctx *c, void *arg)
{
    const conv_arg *a = arg;
    tlv_scope s = tlv_scope_begin_with(c, TLV_NO_GRAD);
    if (a->pass == 0) tlv_conv2d(c, a->x, a->w, NULL, a->o);
    if (a->pass == 1) tlv_conv2d_dx(c, a->g, a->w, tlv_dim(a->x, 2), tlv_dim(a->x, 3), a->o);
    if (a->pass == 2) tlv_conv2d_dw(c, a->g, a->x, tlv_dim(a->w, 2), tlv_dim(a->w, 3), a->o);
    tlv_scope_end(c, s);
}

static void bench_conv(bench *b)
{
    static const struct {
        const char *name;
        int64_t batch, in, out, side;
        int k, stride;
    } CASES[] = {
        { "rn18_l1_3x3", 8, 64, 64, 56, 3, 1 },   { "rn18_l4_3x3", 8, 512, 512, 7, 3, 1 },
        { "rn50_l1_1x1b", 8, 64, 256, 56, 1, 1 }, { "cifar_16_32", 128, 16, 16, 32, 3, 1 },
        { "cifar_64_8", 128, 64, 64, 8, 3, 1 },
    };
    static const char *const PASS[3] = { "fwd", "bwd_d", "bwd_w" };
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++)
        for (int pass = 0; pass < 3; pass++) {
            tlv_scope s = tlv_scope_begin(b->c);
            int pad = CASES[i].k / 2;
            conv_arg a = { .o = { .stride = CASES[i].stride, .pad = { pad, pad, pad, pad } },
                           .pass = pass };
            tlv_rng_key key = tlv_rng_stream(b->c, CASES[i].name);
            a.x = tlv_to_order(
                b->c,
                tlv_rand(b->c, TLV_F32,
                         tlv_shape4(CASES[i].batch, CASES[i].in, CASES[i].side, CASES[i].side),
                         key),
                TLV_CHANNELS_LAST);
            a.w = tlv_rand(b->c, TLV_F32,
                           tlv_shape4(CASES[i].out, CASES[i].in, CASES[i].k, CASES[i].k), key);
            a.g = tlv_conv2d(b->c, a.x, a.w, NULL, a.o);
            double gflop = 2e-9 * (double)tlv_numel(a.g) * (double)CASES[i].in * CASES[i].k
                           * CASES[i].k;
            char name[64];
            snprintf(name, sizeof name, "%s_%s", CASES[i].name, PASS[pass]);
            run_case(b, name, gflop, "GFLOP/s", 11, 1, conv_body, &a);
            tlv_scope_end(b->c, s);
        }
}

/* ---- overheads ------------------------------------------------------------------------------- */

enum { CHAIN = 1000 };

/* 1,000 adds of 16 floats: recorded, differentiated, scope ended. */
static void chain_body(tlv_ctx *c, void *arg)
{
    const tlv_tensor *a = arg;
    tlv_scope s = tlv_scope_begin(c);
    const tlv_tensor *h = a;
    tlv_tensor *g = NULL;
    for (int i = 0; i < CHAIN; i++) h = tlv_add(c, h, a);
    tlv_grad(c, tlv_sum_all(c, h), NULL, 1, &a, &g, 0);
    tlv_scope_end(c, s);
}

static void bench_overhead(bench *b)
{
    tlv_scope s = tlv_scope_begin(b->c);
    float x[16] = { 1 };
    tlv_tensor *a = tlv_from(b->c, TLV_SHAPE(16), x, TLV_WANT_GRAD);
    run_case(b, "add16_chain1000", CHAIN / 1e6, "Madd/s", 20, 1, chain_body, a);
    tlv_scope_end(b->c, s);
}

/* ---- a network ------------------------------------------------------------------------------- */

typedef struct net_arg {
    tlv_model *m;
    tlv_optim *opt;
    tlv_run run;
    const tlv_tensor *x, *y;
} net_arg;

static void infer_body(tlv_ctx *c, void *arg)
{
    net_arg *n = arg;
    tlv_scope s = tlv_scope_begin_with(c, TLV_NO_GRAD);
    n->run.mode = TLV_EVAL;
    tlv_model_forward(&n->run, n->m, n->x);
    tlv_scope_end(c, s);
}

static void train_body(tlv_ctx *c, void *arg)
{
    net_arg *n = arg;
    tlv_scope s = tlv_scope_begin(c);
    n->run.mode = TLV_TRAIN;
    tlv_tensor *loss = tlv_cross_entropy(c, tlv_model_forward(&n->run, n->m, n->x), n->y,
                                         (tlv_ce_opts){ 0 });
    tlv_optim_step(c, n->opt, tlv_model_params(n->m),
                   tlv_params_grad(c, loss, tlv_model_params(n->m), 0));
    tlv_scope_end(c, s);
}

/* frozen: what does not learn (NULL: everything does). */
static void bench_net(bench *b, const char *name, const char *arch, tlv_model_opts o,
                      const char *frozen, int64_t batch, int64_t side, int runs)
{
    char infer[64], train[64];
    snprintf(infer, sizeof infer, "%s_infer", name);
    snprintf(train, sizeof train, "%s_train", name);
    if (b->only && !strstr(infer, b->only) && !strstr(train, b->only)) return;
    tlv_scope s = tlv_scope_begin(b->c);
    o.classes = 10;
    net_arg n = { .m = tlv_model_open(b->c, arch, o) };
    if (n.m && frozen) tlv_params_freeze(tlv_model_params(n.m), frozen);
    n.opt = tlv_sgd_open(b->c, tlv_model_params(n.m),
                         (tlv_sgd_opts){ .lr = 0.01, .momentum = 0.9 });
    n.run = tlv_model_run(b->c, n.m, TLV_EVAL);
    tlv_rng_key key = tlv_rng_stream(b->c, name);
    n.x = tlv_to_order(b->c, tlv_rand(b->c, TLV_F32, tlv_shape4(batch, 3, side, side), key),
                       TLV_CHANNELS_LAST);
    n.y = tlv_zeros(b->c, TLV_I32, tlv_shape1(batch));
    run_case(b, infer, (double)batch, "img/s", runs, 1, infer_body, &n);
    run_case(b, train, (double)batch, "img/s", runs, 1, train_body, &n);
    tlv_optim_close(n.opt);
    tlv_scope_end(b->c, s);
    tlv_model_close(n.m);
}

int main(void)
{
    const char *threads = getenv("THREADS"), *only = getenv("CASES");
    bench b = { .only = only && only[0] ? only : NULL,
                .threads = threads && threads[0] ? atoi(threads) : 1 };
    b.c = tlv_ctx_open(&(tlv_ctx_opts){ .threads = b.threads > 0 ? b.threads : 1 });
    b.threads = tlv_threads(b.c);
    bench_peak(&b);
    bench_gemm(&b);
    bench_conv(&b);
    bench_overhead(&b);
    tlv_model_opts usual = { 0 }, small = { .width = 0.35, .padding = TLV_PADDING_SAME };
    bench_net(&b, "resnet20_b128", "resnet20", usual, NULL, 128, 32, 5);
    bench_net(&b, "resnet18_b16", "resnet18", usual, NULL, 16, 224, 5);
    bench_net(&b, "resnet50_b8", "resnet50", usual, NULL, 8, 224, 5);
    bench_net(&b, "mobilenet_v2_035_b16", "mobilenet_v2", small, "*.running_*", 16, 224, 9);
    bench_net(&b, "mobilenet_v2_035_b32", "mobilenet_v2", small, "*.running_*", 32, 224, 5);
    int failed = tlv_error(b.c) != TLV_OK;
    if (failed) fprintf(stderr, "error: %s\nhint:  %s\n", tlv_error_msg(b.c), tlv_error_hint(b.c));
    tlv_ctx_close(b.c);
    return failed;
}
