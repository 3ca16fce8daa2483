/* bench_maml.c -- speed and memory of learning to learn: a small network on sinusoids, and conv4-64
 * on images of Omniglot's size, with MAML's steps of first and second order (Finn et al. 2017,
 * arXiv:1703.03400, alg. 1).  One line a case:
 *   case, peer, threads, median_ms, rate, unit, min_ms, max_ms, runs
 *
 * CASES picks by a part of the name; THREADS (default 1).  With one thread tasks follow one
 * another in one context; with more, each runs on a child context (tlv_parallel_tasks). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tlvision.h"

enum { MOST_RUNS = 200, MOST_TASKS = 25, MOST_ENTRIES = 20 };

typedef struct bench { tlv_ctx *c; const char *only; int threads; } bench;

/* ---- networks -------------------------------------------------------------------------------- */

typedef tlv_tensor *(*loss_fn)(tlv_ctx *c, const tlv_params *p, const tlv_tensor *x,
                               const tlv_tensor *y);

static tlv_tensor *layer(tlv_ctx *c, const tlv_params *p, int slot, const tlv_tensor *x,
                         tlv_act act)
{
    return tlv_linear(c, x, tlv_params_get(p, slot), tlv_params_get(p, slot + 1), act);
}

/* 1-40-40-1 */
static tlv_tensor *sin_net(tlv_ctx *c, const tlv_params *p, const tlv_tensor *x)
{
    tlv_tensor *h = layer(c, p, 0, x, TLV_ACT_RELU);                    // [B,40]
    h = layer(c, p, 2, h, TLV_ACT_RELU);                                // [B,40]
    return layer(c, p, 4, h, TLV_ACT_NONE);                         // [B,1]
}

static tlv_tensor *sin_loss(tlv_ctx *c, const tlv_params *p, const tlv_tensor *x,
                            const tlv_tensor *y)
{
    return tlv_mse_loss(c, sin_net(c, p, x), y, TLV_MEAN);
}

static tlv_params *sin_init(tlv_ctx *c)
{
    static const int SIZE[4] = { 1, 40, 40, 1 };
    tlv_build *b = tlv_build_begin(c, TLV_F32);
    for (int i = 0; i < 3; i++) {
        char name[8];
        snprintf(name, sizeof name, "fc%d", i + 1);
        tlv_linear_init(b, name, SIZE[i], SIZE[i + 1], 1);
    }
    return tlv_build_end(b);
}

enum { WAYS = 5, SIDE = 28, SUPPORT = 5, QUERY = 75, FILTERS = 64 };

/* Four times 3x3 convolution, batch norm by the batch's statistics, ReLU, 2x2 maximum. */
static tlv_tensor *conv4_loss(tlv_ctx *c, const tlv_params *p, const tlv_tensor *x,
                              const tlv_tensor *y)
{
    const tlv_tensor *h = x;                                        // [B,1,28,28]
    for (int i = 0; i < 4; i++) {
        tlv_conv2d_opts same = { .pad = { 1, 1, 1, 1 } };
        h = tlv_conv2d(c, h, tlv_params_get(p, 4 * i), tlv_params_get(p, 4 * i + 1), same);
        h = tlv_batch_norm(c, h, tlv_params_get(p, 4 * i + 2), tlv_params_get(p, 4 * i + 3), 1e-5,
                           NULL, TLV_ACT_RELU, NULL, NULL);
        h = tlv_max_pool2d(c, h, (tlv_pool2d_opts){ .k = 2 });      // [B,64,14,14] .. [B,64,1,1]
    }
    h = tlv_reshape(c, h, TLV_SHAPE(tlv_dim(h, 0), FILTERS));
    return tlv_cross_entropy(c, layer(c, p, 16, h, TLV_ACT_NONE), y, (tlv_ce_opts){ 0 });
}

static tlv_params *conv4_init(tlv_ctx *c)
{
    tlv_build *b = tlv_build_begin(c, TLV_F32);
    for (int i = 0; i < 4; i++) {
        char name[16];
        snprintf(name, sizeof name, "conv%d", i + 1);
        tlv_conv_init(b, name, i ? FILTERS : 1, FILTERS, 3,
                      (tlv_conv2d_opts){ .pad = { 1, 1, 1, 1 } }, 1);
        snprintf(name, sizeof name, "bn%d", i + 1);
        tlv_build_push(b, name);
        tlv_build_param(b, "weight", TLV_SHAPE(FILTERS), tlv_init_ones());
        tlv_build_param(b, "bias", TLV_SHAPE(FILTERS), tlv_init_zeros());
        tlv_build_pop(b);
    }
    tlv_linear_init(b, "fc", FILTERS, WAYS, 1);
    return tlv_build_end(b);
}

/* ---- a meta-step ----------------------------------------------------------------------------- */

/* A task's data: support, query; x and y as plain numbers, as a loader would have them. */
typedef struct data { float *x[2]; void *y[2]; } data;

typedef struct learner {
    loss_fn loss;
    tlv_params *p, *g;                  /* g: the outer gradient */
    tlv_optim *opt;
    int tasks, inner, second;
    double lr;
    tlv_shape x[2], y[2];
    tlv_dtype label;
    int64_t numbers;
    float *grads;                       /* [tasks,numbers], of parallel tasks */
    data task[MOST_TASKS];
} learner;

/* The query loss of one task after its inner steps, with history. */
static tlv_tensor *outer_loss(tlv_ctx *c, const learner *l, const tlv_params *p, int64_t task)
{
    const data *d = &l->task[task];
    tlv_tensor *x[2], *y[2];
    for (int i = 0; i < 2; i++) {
        x[i] = tlv_from(c, l->x[i], d->x[i], 0);
        y[i] = tlv_from_data(c, l->label, l->y[i], d->y[i], 0);
    }
    const tlv_params *fast = p;
    for (int k = 0; k < l->inner; k++) {
        tlv_tensor *loss = l->loss(c, fast, x[0], y[0]);
        const tlv_params *g = tlv_params_grad(c, loss, fast, l->second ? TLV_CREATE_GRAPH : 0);
        fast = tlv_params_axpy(c, fast, -l->lr, g);
    }
    tlv_tensor *loss = l->loss(c, fast, x[1], y[1]);
    return tlv_affine(c, loss, 1.0 / l->tasks, 0);
}

/* Tasks one after another; the sum goes to the optimizer. */
static void meta_step(tlv_ctx *c, void *arg)
{
    learner *l = arg;
    tlv_scope step = tlv_scope_begin(c);
    tlv_params *sum = NULL;
    for (int t = 0; t < l->tasks; t++) {
        tlv_scope s = tlv_scope_begin(c);
        tlv_params *g = tlv_params_grad(c, outer_loss(c, l, l->p, t), l->p, 0);
        sum = sum ? tlv_params_axpy(c, sum, 1, g) : g;
        tlv_scope_end_keep_params(c, s, sum);
    }
    tlv_optim_step(c, l->opt, l->p, sum);
    tlv_scope_end(c, step);
}

static tlv_status meta_task(tlv_ctx *child, int64_t task, void *user)
{
    learner *l = user;
    tlv_params *p = tlv_params_borrow(child, l->p);
    tlv_params *g = tlv_params_grad(child, outer_loss(child, l, p, task), p, 0);
    float *out = l->grads + task * l->numbers;
    for (int i = 0; g && i < tlv_params_count(g); i++) {
        int64_t n = tlv_numel(tlv_params_get(l->p, i));
        if (tlv_params_get(g, i)) tlv_read(child, tlv_params_get(g, i), out, n);
        out += n;
    }
    return tlv_error(child);
}

/* Tasks on child contexts; the rows of their gradients are summed in the order of tasks. */
static void meta_step_parallel(tlv_ctx *c, void *arg)
{
    learner *l = arg;
    tlv_scope s = tlv_scope_begin_with(c, TLV_NO_GRAD);
    tlv_tensor *all = tlv_empty(c, TLV_F32, TLV_SHAPE(l->tasks, l->numbers));
    l->grads = tlv_fill_ptr(c, all);
    tlv_parallel_tasks(c, l->tasks, meta_task, l);
    tlv_tensor *sum = tlv_sum(c, all, TLV_AXES(0), 0);
    int64_t at = 0;
    for (int i = 0; i < tlv_params_count(l->p); i++) {
        const tlv_tensor *t = tlv_params_get(l->p, i);
        tlv_tensor *part = tlv_slice(c, sum, 0, at, at + tlv_numel(t), 1);
        tlv_params_set(c, l->g, i, tlv_reshape(c, part, tlv_shape_of(t)));
        at += tlv_numel(t);
    }
    tlv_optim_step(c, l->opt, l->p, l->g);
    tlv_scope_end(c, s);
}

/* ---- small steps ----------------------------------------------------------------------------- */

typedef struct small { tlv_params *p; tlv_optim *opt; const tlv_tensor *x, *y; } small;

static void forward(tlv_ctx *c, void *arg)
{
    const small *a = arg;
    tlv_scope s = tlv_scope_begin_with(c, TLV_NO_GRAD);
    sin_net(c, a->p, a->x);
    tlv_scope_end(c, s);
}

static void forward_backward(tlv_ctx *c, void *arg)
{
    const small *a = arg;
    tlv_scope s = tlv_scope_begin(c);
    tlv_params_grad(c, sin_loss(c, a->p, a->x, a->y), a->p, 0);
    tlv_scope_end(c, s);
}

static void train_step(tlv_ctx *c, void *arg)
{
    const small *a = arg;
    tlv_scope s = tlv_scope_begin(c);
    tlv_params *g = tlv_params_grad(c, sin_loss(c, a->p, a->x, a->y), a->p, 0);
    tlv_optim_step(c, a->opt, a->p, g);
    tlv_scope_end(c, s);
}

/* ---- timing ---------------------------------------------------------------------------------- */

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

static int is_chosen(const bench *b, const char *name) { return !b->only || strstr(name, b->only); }

/* budget: milliseconds in all; quick bodies are repeated so that a run lasts one at least. */
static void run_case(bench *b, const char *name, double budget, void (*body)(tlv_ctx *, void *),
                     void *arg)
{
    if (!is_chosen(b, name)) return;
    double t[MOST_RUNS];
    for (int i = 0; i < 2; i++) body(b->c, arg);            // warm: pages, threads
    double start = now_ms();
    body(b->c, arg);
    double one = now_ms() - start;
    int inner = one < 1 ? (int)(1 / (one > 1e-6 ? one : 1e-6)) + 1 : 1;
    int runs = (int)(budget / (one * inner));
    runs = runs < 5 ? 5 : runs > MOST_RUNS ? MOST_RUNS : runs;
    for (int r = 0; r < runs; r++) {
        start = now_ms();
        for (int i = 0; i < inner; i++) body(b->c, arg);
        t[r] = (now_ms() - start) / inner;
    }
    if (tlv_error(b->c)) {
        printf("%s: error: %s\n", name, tlv_error_msg(b->c));
        tlv_error_clear(b->c);
        return;
    }
    qsort(t, (size_t)runs, sizeof *t, ascending);
    printf("%s, tlvision-%s, %d, %.6f, %.4g, step/s, %.6f, %.6f, %d\n", name, tlv_isa(b->c),
           b->threads, t[runs / 2], 1e3 / t[runs / 2], t[0], t[runs - 1], runs);
    fflush(stdout);
}

/* The most memory in use during one more step, and what that step asked of the system: nothing. */
static void memory_of(bench *b, const char *name, void (*body)(tlv_ctx *, void *), void *arg)
{
    if (!is_chosen(b, name)) return;
    uint64_t calls = tlv_mem_get(b->c).system_calls;
    tlv_mem_reset_peak(b->c);
    body(b->c, arg);
    tlv_mem_stats m = tlv_mem_get(b->c);
    char peer[32];
    snprintf(peer, sizeof peer, "tlvision-%s", tlv_isa(b->c));
    printf("%s_peak, %s, %d, %.2f, 0, MB, 0, 0, 1\n", name, peer, b->threads, (double)m.peak / 1e6);
    printf("%s_peak_backward, %s, %d, %.2f, 0, MB, 0, 0, 1\n", name, peer, b->threads,
           (double)m.peak_by_phase[TLV_PHASE_BACKWARD] / 1e6);
    printf("%s_system_calls, %s, %d, %.0f, 0, calls, 0, 0, 1\n", name, peer, b->threads,
           (double)(m.system_calls - calls));
    fflush(stdout);
}

/* ---- cases ----------------------------------------------------------------------------------- */

static void bench_small(bench *b)
{
    tlv_scope s = tlv_scope_begin(b->c);
    small a = { .p = sin_init(b->c) };
    a.opt = tlv_sgd_open(b->c, a.p, (tlv_sgd_opts){ .lr = 1e-3 });
    a.x = tlv_rand(b->c, TLV_F32, TLV_SHAPE(10, 1), tlv_rng_stream(b->c, "x"));
    a.y = tlv_rand(b->c, TLV_F32, TLV_SHAPE(10, 1), tlv_rng_stream(b->c, "y"));
    run_case(b, "sin_mlp_b10/fwd", 500, forward, &a);
    run_case(b, "sin_mlp_b10/fwd+bwd", 500, forward_backward, &a);
    run_case(b, "sin_mlp_b10/train_step_sgd", 500, train_step, &a);
    tlv_optim_close(a.opt);
    tlv_scope_end(b->c, s);
    tlv_params_close(a.p);
}

static void *numbers(int64_t n, uint64_t seed)
{
    float *x = malloc((size_t)n * sizeof *x);
    for (int64_t i = 0; x && i < n; i++)
        x[i] = (float)tlv_rng_uniform((tlv_rng_key){ seed }, (uint64_t)i);
    return x;
}

static void *labels(int64_t n)
{
    int32_t *y = malloc((size_t)n * sizeof *y);
    for (int64_t i = 0; y && i < n; i++) y[i] = (int32_t)(i % WAYS);
    return y;
}

static void make_tasks(learner *l)
{
    for (int t = 0; t < MOST_TASKS; t++)
        for (int i = 0; i < 2; i++) {
            int64_t n = 1;
            for (int d = 0; d < l->x[i].ndim; d++) n *= l->x[i].dim[d];
            l->task[t].x[i] = numbers(n, (uint64_t)(4 * t + i));
            l->task[t].y[i] = l->label == TLV_I32 ? labels(l->y[i].dim[0])
                                                  : numbers(l->y[i].dim[0], (uint64_t)(4 * t + 2));
        }
}

/* All four of a meta-batch: 1 and 5 inner steps, first and second order. */
static void bench_maml(bench *b, const char *name, learner *l, double budget)
{
    void (*body)(tlv_ctx *, void *) = b->threads > 1 ? meta_step_parallel : meta_step;
    for (l->inner = 1; l->inner <= 5; l->inner += 4)
        for (l->second = 0; l->second < 2; l->second++) {
            char text[64];
            snprintf(text, sizeof text, "%s_mb%d_in%d_%s", name, l->tasks, l->inner,
                     l->second ? "2nd" : "1st");
            run_case(b, text, budget, body, l);
            if (l->inner == 5 && l->second) memory_of(b, text, body, l);
        }
}

static void learner_open(bench *b, learner *l)
{
    l->numbers = tlv_params_numel(l->p, 0);
    l->g = tlv_params_zeros(b->c, l->p);
    l->opt = tlv_adam_open(b->c, l->p, tlv_adam_defaults());
    make_tasks(l);
}

static void learner_close(learner *l)
{
    for (int t = 0; t < MOST_TASKS; t++)
        for (int i = 0; i < 2; i++) {
            free(l->task[t].x[i]);
            free(l->task[t].y[i]);
        }
    tlv_optim_close(l->opt);
    tlv_params_close(l->g);
    tlv_params_close(l->p);
}

static void bench_sinusoid(bench *b)
{
    tlv_shape s = TLV_SHAPE(10, 1);
    learner l = { .loss = sin_loss, .p = sin_init(b->c), .lr = 0.01, .label = TLV_F32,
                  .x = { s, s }, .y = { s, s } };
    learner_open(b, &l);
    for (l.tasks = 4; l.tasks <= 25; l.tasks += 21) bench_maml(b, "sin_maml", &l, 1000);
    learner_close(&l);
}

static void bench_omniglot(bench *b)
{
    learner l = { .loss = conv4_loss, .p = conv4_init(b->c), .lr = 0.4, .label = TLV_I32,
                  .tasks = 4,
                  .x = { TLV_SHAPE(SUPPORT, 1, SIDE, SIDE), TLV_SHAPE(QUERY, 1, SIDE, SIDE) },
                  .y = { TLV_SHAPE(SUPPORT), TLV_SHAPE(QUERY) } };
    learner_open(b, &l);
    bench_maml(b, "omni_maml", &l, 3000);
    learner_close(&l);
}

int main(void)
{
    const char *threads = getenv("THREADS"), *only = getenv("CASES");
    int n = threads && atoi(threads) > 0 ? atoi(threads) : 1;
    bench b = { .only = only && only[0] ? only : NULL };
    b.c = tlv_ctx_open(&(tlv_ctx_opts){ .threads = n });
    b.threads = tlv_threads(b.c);
    bench_small(&b);
    if (!b.only || strncmp(b.only, "omni", 4) != 0) bench_sinusoid(&b);
    if (!b.only || strncmp(b.only, "sin", 3) != 0) bench_omniglot(&b);
    int failed = tlv_error(b.c) != TLV_OK;
    if (failed) fprintf(stderr, "error: %s\nhint:  %s\n", tlv_error_msg(b.c), tlv_error_hint(b.c));
    tlv_ctx_close(b.c);
    return failed;
}
