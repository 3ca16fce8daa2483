/* bench_maml.c -- speed and memory of learning to learn: a small network on sinusoids, and conv4-64
 * on images of Omniglot's size, with 2x2 maxima or (omni_s2) with strides, with MAML's steps of
 * first and second order (Finn et al. 2017, arXiv:1703.03400, alg. 1).  With one thread tasks
 * follow one another in one context; with more, each runs on a child context
 * (tlv_parallel_tasks). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/benchlib.h"

enum { MOST_TASKS = 32, MOST_ENTRIES = 20 };

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

enum { WAYS = 5, SIDE = 28, SUPPORT = 5, QUERY = 75, FILTERS = 64, STRIDED_QUERY = 5 };

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

/* Four times 3x3 convolution of stride 2, batch norm by the batch's statistics, ReLU; then the mean
 * of the 2x2 pixels that are left. */
static tlv_tensor *strided_loss(tlv_ctx *c, const tlv_params *p, const tlv_tensor *x,
                                const tlv_tensor *y)
{
    const tlv_tensor *h = x;                                        // [B,1,28,28]
    for (int i = 0; i < 4; i++) {
        tlv_conv2d_opts half = { .stride = 2, .pad = { 1, 1, 1, 1 } };
        h = tlv_conv2d(c, h, tlv_params_get(p, 3 * i), NULL, half); // [B,64,14,14] .. [B,64,2,2]
        h = tlv_batch_norm(c, h, tlv_params_get(p, 3 * i + 1), tlv_params_get(p, 3 * i + 2), 1e-5,
                           NULL, TLV_ACT_RELU, NULL, NULL);
    }
    h = tlv_mean(c, h, TLV_AXES(2, 3), 0);                          // [B,64]
    return tlv_cross_entropy(c, layer(c, p, 12, h, TLV_ACT_NONE), y, (tlv_ce_opts){ 0 });
}

/* The strided network has no bias where batch norm follows. */
static tlv_params *conv4_init(tlv_ctx *c, int strided)
{
    tlv_conv2d_opts o = { .stride = strided ? 2 : 1, .pad = { 1, 1, 1, 1 } };
    tlv_build *b = tlv_build_begin(c, TLV_F32);
    for (int i = 0; i < 4; i++) {
        char name[16];
        snprintf(name, sizeof name, "conv%d", i + 1);
        tlv_conv_init(b, name, i ? FILTERS : 1, FILTERS, 3, o, !strided);
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
    tlv_params *p;
    tlv_optim *opt;
    int tasks, inner, second, checkpoint;
    double lr;
    tlv_shape x[2], y[2];
    tlv_dtype label;
    data task[MOST_TASKS];
} learner;

typedef struct inner_task { loss_fn loss; const tlv_tensor *x, *y; } inner_task;

static tlv_tensor *support_loss(tlv_ctx *c, const tlv_params *p, int step, void *user)
{
    const inner_task *t = user;
    (void)step;
    return t->loss(c, p, t->x, t->y);
}

/* The query loss of one task after its inner steps, with history. */
static tlv_tensor *outer_loss(tlv_ctx *c, const learner *l, const tlv_params *p, int64_t task)
{
    const data *d = &l->task[task];
    tlv_tensor *x[2], *y[2];
    for (int i = 0; i < 2; i++) {
        x[i] = tlv_from(c, l->x[i], d->x[i], 0);
        y[i] = tlv_from_data(c, l->label, l->y[i], d->y[i], 0);
    }
    inner_task in = { l->loss, x[0], y[0] };
    tlv_inner_opts o = { .steps = l->inner, .lr = l->lr, .first_order = !l->second,
                         .checkpoint = l->checkpoint };
    return l->loss(c, tlv_inner_loop(c, p, support_loss, &in, o), x[1], y[1]);
}

/* Tasks one after another; the sum goes to the optimizer. */
static void meta_step(tlv_ctx *c, void *arg)
{
    learner *l = arg;
    tlv_scope step = tlv_scope_begin(c);
    tlv_params *sum = NULL;
    for (int t = 0; t < l->tasks; t++) {
        tlv_scope s = tlv_scope_begin(c);
        tlv_tensor *share = tlv_affine(c, outer_loss(c, l, l->p, t), 1.0 / l->tasks, 0);
        tlv_params *g = tlv_params_grad(c, share, l->p, 0);
        sum = sum ? tlv_params_axpy(c, sum, 1, g) : g;
        tlv_scope_end_keep_params(c, s, sum);
    }
    tlv_optim_step(c, l->opt, l->p, sum);
    tlv_scope_end(c, step);
}

static tlv_params *meta_task(tlv_ctx *child, const tlv_params *p, int64_t task, void *user)
{
    return tlv_params_grad(child, outer_loss(child, user, p, task), p, 0);
}

/* Tasks on child contexts. */
static void meta_step_parallel(tlv_ctx *c, void *arg)
{
    learner *l = arg;
    tlv_scope s = tlv_scope_begin(c);
    tlv_optim_step(c, l->opt, l->p, tlv_task_mean(c, l->p, l->tasks, meta_task, l));
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

/* ---- cases ----------------------------------------------------------------------------------- */

static void small_case(bench *b, const void *body)
{
    small a = { .p = sin_init(b->c) };
    a.opt = tlv_sgd_open(b->c, a.p, (tlv_sgd_opts){ .lr = 1e-3 });
    a.x = tlv_rand(b->c, TLV_F32, TLV_SHAPE(10, 1), tlv_rng_stream(b->c, "x"));
    a.y = tlv_rand(b->c, TLV_F32, TLV_SHAPE(10, 1), tlv_rng_stream(b->c, "y"));
    bench_time(b, 1, "step/s", *(const bench_body_fn *)body, &a);
    tlv_optim_close(a.opt);
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

static void learner_open(bench *b, learner *l)
{
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
    tlv_params_close(l->p);
}

/* The most memory in use during one more step, and what that step asked of the system: nothing. */
static void memory_of(bench *b, bench_body_fn body, void *arg)
{
    uint64_t calls = tlv_mem_get(b->c).system_calls;
    tlv_mem_reset_peak(b->c);
    body(b->c, arg);
    tlv_mem_stats m = tlv_mem_get(b->c);
    double mb = (double)m.peak / 1e6;
    printf("%s_peak, tlvision-%s, %d, %.2f, 0, MB, 0, 0, 1\n", b->name, tlv_isa(b->c), b->threads,
           mb);
    mb = (double)m.peak_by_phase[TLV_PHASE_BACKWARD] / 1e6;
    printf("%s_peak_backward, tlvision-%s, %d, %.2f, 0, MB, 0, 0, 1\n", b->name, tlv_isa(b->c),
           b->threads, mb);
    printf("%s_system_calls, tlvision-%s, %d, %.0f, 0, calls, 0, 0, 1\n", b->name, tlv_isa(b->c),
           b->threads, (double)(m.system_calls - calls));
}

enum { SINUSOIDS, MAXIMA, STRIDES };
static const char *const NETWORK[] = { "sin", "omni", "omni_s2" };

/* gflop: the products of one meta-step, a product and a sum counted as two; 0: not counted. */
typedef struct maml_case {
    int network, tasks, inner, second;
    double gflop;
    int checkpoint;                     /* inner steps are made again in the gradient */
} maml_case;

static learner learner_of(tlv_ctx *c, int network)
{
    if (network == SINUSOIDS) {
        tlv_shape s = TLV_SHAPE(10, 1);
        return (learner){ .loss = sin_loss, .lr = 0.01, .label = TLV_F32, .x = { s, s },
                          .y = { s, s }, .p = sin_init(c) };
    }
    int query = network == STRIDES ? STRIDED_QUERY : QUERY;
    return (learner){ .loss = network == STRIDES ? strided_loss : conv4_loss, .lr = 0.4,
                      .label = TLV_I32,
                      .x = { TLV_SHAPE(SUPPORT, 1, SIDE, SIDE), TLV_SHAPE(query, 1, SIDE, SIDE) },
                      .y = { TLV_SHAPE(SUPPORT), TLV_SHAPE(query) },
                      .p = conv4_init(c, network == STRIDES) };
}

static void maml(bench *b, const void *arg)
{
    const maml_case *k = arg;
    learner l = learner_of(b->c, k->network);
    l.tasks = k->tasks, l.inner = k->inner, l.second = k->second;
    l.checkpoint = k->checkpoint;
    learner_open(b, &l);
    if (k->gflop > 0) snprintf(b->note, sizeof b->note, "gflop=%.4g", k->gflop);
    b->rss = 1;
    bench_body_fn body = b->threads > 1 ? meta_step_parallel : meta_step;
    bench_time(b, 1, "step/s", body, &l);
    if ((k->inner == 5 || k->network == STRIDES) && k->second && !getenv("BENCH_SESSION"))
        memory_of(b, body, &l);
    learner_close(&l);
}

static void small_cases(bench *b)
{
    static const bench_body_fn BODY[3] = { forward, forward_backward, train_step };
    bench_case(b, "sin_mlp_b10/fwd", small_case, &BODY[0]);
    bench_case(b, "sin_mlp_b10/fwd+bwd", small_case, &BODY[1]);
    bench_case(b, "sin_mlp_b10/train_step_sgd", small_case, &BODY[2]);
}

int main(void)
{
    /* Products of omni_s2, an image: conv1 is A = 14 14 9 64 multiplications, the other three are
     * B = (49 + 16 + 4) 576 64 together; the linear layer's 320 are left out.  A pass forward takes
     * A + B, its gradient A + 2 B (nobody wants the images'), and the gradient of both together
     * 2 A + 6 B: each product but conv1's own has two gradients.  So an image takes 4 A + 6 B in
     * first order, 6 A + 12 B in second, and 4 A + 9 B more for each further inner step. */
    static const maml_case CASES[] = {
        { SINUSOIDS, 4, 1, 0, 0, 0 },   { SINUSOIDS, 4, 1, 1, 0, 0 },
        { SINUSOIDS, 4, 5, 0, 0, 0 },   { SINUSOIDS, 4, 5, 1, 0, 0 },
        { SINUSOIDS, 25, 1, 0, 0, 0 },  { SINUSOIDS, 25, 1, 1, 0, 0 },
        { SINUSOIDS, 25, 5, 0, 0, 0 },  { SINUSOIDS, 25, 5, 1, 0, 0 },
        { MAXIMA, 4, 1, 0, 18.8, 0 },   { MAXIMA, 4, 1, 1, 21.1, 0 },
        { MAXIMA, 4, 5, 0, 23.5, 0 },   { MAXIMA, 4, 5, 1, 35.2, 0 },
        { STRIDES, 32, 1, 0, 5.03, 0 }, { STRIDES, 32, 1, 1, 9.98, 0 },
        { STRIDES, 4, 1, 1, 1.25, 0 },  { STRIDES, 1, 5, 1, 1.25, 0 },
        { STRIDES, 32, 5, 1, 39.9, 0 }, { STRIDES, 32, 5, 1, 0, 1 },
    };
    bench b = bench_open();
    small_cases(&b);
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        const maml_case *k = &CASES[i];
        char name[64];
        snprintf(name, sizeof name, "%s_maml_mb%d_in%d_%s%s", NETWORK[k->network], k->tasks,
                 k->inner, k->second ? "2nd" : "1st", k->checkpoint ? "/checkpoint" : "");
        bench_case(&b, name, maml, k);
    }
    return bench_close(&b);
}
