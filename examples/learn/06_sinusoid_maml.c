/* 06_sinusoid_maml.c -- learning to learn, on a page: MAML on sinusoids (Finn et al. 2017,
 * arXiv:1703.03400, section 5.1).
 *
 *     make && build/bin/learn-06_sinusoid_maml                      (two to four minutes)
 *     build/bin/learn-06_sinusoid_maml STEPS SEED
 *
 * A task is a sinusoid of its own amplitude and phase, seen at 5 points.  Ordinary training on all
 * tasks learns their mean, which is zero; MAML learns a start from which a few gradient steps on 5
 * points draw the curve.  Leaves sinusoid.png.  Before: 05_own_op.c. */
#include <math.h>
#include <stdlib.h>

#include "examples/common_plot.h"

enum { SHOTS = 5, QUERIES = 20, TASKS = 25, TESTS = 2000, CURVE = 100, MARKS = 4 };
static const int MARK[MARKS] = { 0, 1, 5, 10 };         // gradient steps after which we look
static const double PI = 3.141592653589793, RATE = 0.01, CLIP = 10;

typedef struct net { tlv_linear_layer layer[3]; } net;

static tlv_tensor *forward(tlv_ctx *c, const net *m, const tlv_params *p, const tlv_tensor *x)
{
    tlv_run r = { .c = c, .params = p };
    tlv_tensor *h = tlv_linear_fwd(&r, &m->layer[0], x, TLV_ACT_RELU);      // [n,40]
    h = tlv_linear_fwd(&r, &m->layer[1], h, TLV_ACT_RELU);                  // [n,40]
    return tlv_linear_fwd(&r, &m->layer[2], h, TLV_ACT_NONE);               // [n,1]
}

typedef struct task { const net *m; tlv_tensor *x[2], *y[2]; } task;
static void points(tlv_ctx *c, task *t, int part, int n, tlv_rng_key key, int spread)
{
    double a = 0.1 + 4.9 * tlv_rng_uniform(key, 0), b = PI * tlv_rng_uniform(key, 1);
    float x[CURVE], y[CURVE];
    for (int i = 0; i < n; i++) {
        double u = spread ? (i + 0.5) / n : tlv_rng_uniform(key, (uint64_t)(1000 * part + i + 2));
        x[i] = (float)(10 * u - 5);
        y[i] = (float)(a * sin(x[i] - b));
    }
    t->x[part] = tlv_from(c, TLV_SHAPE(n, 1), x, 0);
    t->y[part] = tlv_from(c, TLV_SHAPE(n, 1), y, 0);
}

static tlv_tensor *loss_of(tlv_ctx *c, const tlv_params *p, const task *t, int part)
{
    return tlv_mse_loss(c, forward(c, t->m, p, t->x[part]), t->y[part], TLV_MEAN);
}

static tlv_tensor *support_loss(tlv_ctx *c, const tlv_params *p, int step, void *user)
{
    (void)step;
    return loss_of(c, p, user, TLV_SUPPORT);
}

typedef struct outer { const net *m; tlv_rng_key key; } outer;
/* grad (3 L_Q(theta_1) + L_Q(theta_5)), through the inner steps: one step helps, five more. */
static tlv_params *task_gradient(tlv_ctx *c, const tlv_params *theta, int64_t i, void *user)
{
    const outer *o = user;
    task t = { .m = o->m };
    points(c, &t, TLV_SUPPORT, SHOTS, tlv_rng_fold(o->key, (uint64_t)i), 0);
    points(c, &t, TLV_QUERY, QUERIES, tlv_rng_fold(o->key, (uint64_t)i), 0);
    tlv_inner_opts one = { .steps = 1, .lr = RATE }, four = { .steps = 4, .lr = RATE };
    const tlv_params *fast = tlv_inner_loop(c, theta, support_loss, &t, one);
    tlv_tensor *early = tlv_affine(c, loss_of(c, fast, &t, TLV_QUERY), 3, 0);
    fast = tlv_inner_loop(c, fast, support_loss, &t, four);
    tlv_tensor *late = loss_of(c, fast, &t, TLV_QUERY);
    return tlv_params_grad(c, tlv_add(c, early, late), theta, 0);
}

static void learn(tlv_ctx *c, const net *m, tlv_params *theta, int64_t steps)
{
    tlv_optim *adam = tlv_adam_open(c, theta, tlv_adam_defaults());
    for (int64_t i = 0; i < steps && tlv_error(c) == TLV_OK; i++) {
        outer o = { m, tlv_rng_fold(tlv_rng_stream(c, "train"), (uint64_t)i) };
        tlv_scope s = tlv_scope_begin(c);
        tlv_optim_set_lr(adam, tlv_lr_cosine(1e-3, 0, i, steps));
        const tlv_params *g = tlv_task_mean(c, theta, TASKS, task_gradient, &o);
        tlv_optim_step(c, adam, theta, tlv_clip_norm(c, g, CLIP, NULL));
        tlv_scope_end(c, s);
    }
    tlv_optim_close(adam);
}

typedef struct trial {
    const net *m;
    const tlv_params *theta;
    tlv_rng_key key;
    double error[TESTS][MARKS];
    float curve[MARKS + 1][CURVE];      /* of the last task: after each mark; the task itself */
} trial;

/* The errors of a new task after 0, 1, 5 and 10 steps. */
static tlv_status test_task(tlv_ctx *c, int64_t i, void *user)
{
    trial *r = user;
    task t = { .m = r->m };
    const tlv_params *theta = tlv_params_borrow(c, r->theta);
    points(c, &t, TLV_SUPPORT, SHOTS, tlv_rng_fold(r->key, (uint64_t)i), 0);
    points(c, &t, TLV_QUERY, CURVE, tlv_rng_fold(r->key, (uint64_t)i), 1);
    for (int k = 0; k < MARKS; k++) {
        tlv_inner_opts inner = { .steps = MARK[k], .lr = RATE, .first_order = 1 };
        const tlv_params *fast = tlv_inner_loop(c, theta, support_loss, &t, inner);
        r->error[i][k] = tlv_item(c, loss_of(c, fast, &t, TLV_QUERY));
        if (i == TESTS - 1) tlv_read(c, forward(c, r->m, fast, t.x[1]), r->curve[k], CURVE);
    }
    return i == TESTS - 1 ? tlv_read(c, t.y[1], r->curve[MARKS], CURVE) : tlv_error(c);
}

static int report(tlv_ctx *c, trial *r)
{
    if (tlv_parallel_tasks(c, TESTS, test_task, r) != TLV_OK) return cli_fail(c);
    for (int k = 0; k < MARKS; k++) {
        double sum = 0, squares = 0;
        for (int i = 0; i < TESTS; i++) sum += r->error[i][k];
        for (int i = 0; i < TESTS; i++) squares += pow(r->error[i][k] - sum / TESTS, 2);
        printf("after %2d gradient steps on %d points: mean squared error %.3f +- %.3f\n", MARK[k],
               SHOTS, sum / TESTS, 1.96 * sqrt(squares / TESTS / TESTS));
    }
    static const char *const NAME[] = { "before", "1 step", "5 steps", "10 steps", "task" };
    double x[CURVE], y[MARKS + 1][CURVE];
    cli_series s[MARKS + 1];
    for (int k = 0; k <= MARKS; k++) {
        s[k] = (cli_series){ NAME[k], CURVE, x, y[k] };
        for (int i = 0; i < CURVE; i++) x[i] = 10 * (i + 0.5) / CURVE - 5, y[k][i] = r->curve[k][i];
    }
    const cli_panel panel = { "", MARKS + 1, s };
    return cli_plot_lines(c, "sinusoid.png", "MAML on sinusoids", "x", 1, &panel);
}

int main(int argc, char **argv)
{
    static const int SIZE[4] = { 1, 40, 40, 1 };
    tlv_ctx *c = cli_open(0, argc > 2 ? atoll(argv[2]) : 0);
    net m;
    tlv_build *b = tlv_build_begin(c, TLV_F32);
    static const char *const NAME[3] = { "fc1", "fc2", "fc3" };
    for (int i = 0; i < 3; i++)
        m.layer[i] = tlv_linear_init(b, NAME[i], SIZE[i], SIZE[i + 1], 1);
    tlv_params *theta = tlv_build_end(b);
    learn(c, &m, theta, argc > 1 ? atoll(argv[1]) : 40000);
    trial *r = calloc(1, sizeof *r);
    if (r) r->m = &m, r->theta = theta, r->key = tlv_rng_stream(c, "test");
    int bad = r ? report(c, r) : cli_error("close other programs", "no memory");
    free(r);
    tlv_params_close(theta);
    tlv_ctx_close(c);
    return cli_finish(bad);
}
