/* test_maml.c -- the outer gradient of MAML (Finn et al. 2017, arXiv:1703.03400, alg. 1) through
 * two inner steps over convolution, batch norm, max pooling and cross-entropy: against finite
 * differences, against PyTorch (tests/goldens/maml.safetensors), and in parallel tasks. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "nn/nn.h"
#include "tests/filled.h"
#include "tests/support.h"

enum {
    TASKS = 4,
    IMAGES = 10,
    SIDE = 8,
    CLASSES = 5,
    INNER = 2,
    ENTRIES = 8,
    NUMBERS = 469,
    LOSSES = 3
};

/* ---- the network ----------------------------------------------------------------------------- */

typedef struct net { int conv[2], gamma[2], beta[2], w, b; } net;

/* The parameters alone: statistics are the batch's, so there are no running ones. */
static tlv_params *net_init(tlv_ctx *c, net *m, tlv_dtype d)
{
    static const int WIDTH[3] = { 3, 4, 6 };
    tlv_build *b = tlv_build_begin(c, d);
    for (int i = 0; i < 2; i++) {
        tlv_build_push(b, i ? "conv2" : "conv1");
        m->conv[i] = tlv_build_param(b, "weight", TLV_SHAPE(WIDTH[i + 1], WIDTH[i], 3, 3),
                                     tlv_init_zeros());
        tlv_build_pop(b);
        tlv_build_push(b, i ? "bn2" : "bn1");
        m->gamma[i] = tlv_build_param(b, "weight", TLV_SHAPE(WIDTH[i + 1]), tlv_init_zeros());
        m->beta[i] = tlv_build_param(b, "bias", TLV_SHAPE(WIDTH[i + 1]), tlv_init_zeros());
        tlv_build_pop(b);
    }
    tlv_build_push(b, "fc");
    m->w = tlv_build_param(b, "weight", TLV_SHAPE(CLASSES, 24), tlv_init_zeros());
    m->b = tlv_build_param(b, "bias", TLV_SHAPE(CLASSES), tlv_init_zeros());
    tlv_build_pop(b);
    tlv_params *p = tlv_build_end(b);
    if (p) filled_params(c, p, 0);
    return p;
}

static tlv_tensor *loss_of(tlv_ctx *c, const net *m, const tlv_params *p, const tlv_tensor *x,
                           const tlv_tensor *y)
{
    const tlv_tensor *h = x;
    for (int i = 0; i < 2; i++) {
        tlv_conv2d_opts same = { .pad = { 1, 1, 1, 1 } };
        h = tlv_conv2d(c, h, tlv_params_get(p, m->conv[i]), NULL, same);
        h = tlv_batch_norm(c, h, tlv_params_get(p, m->gamma[i]), tlv_params_get(p, m->beta[i]),
                           1e-5, NULL, TLV_ACT_RELU, NULL, NULL);
        h = tlv_max_pool2d(c, h, (tlv_pool2d_opts){ .k = 2 });
    }
    h = tlv_reshape(c, h, TLV_SHAPE(IMAGES, -1));
    h = tlv_linear(c, h, tlv_params_get(p, m->w), tlv_params_get(p, m->b), TLV_ACT_NONE);
    return tlv_cross_entropy(c, h, y, (tlv_ce_opts){ 0 });
}

/* ---- one task -------------------------------------------------------------------------------- */

static tlv_tensor *images(tlv_ctx *c, int64_t task, const char *part, tlv_dtype d)
{
    char name[32];
    snprintf(name, sizeof name, "task%d.%s", (int)task, part);
    return filled_tensor(c, d, TLV_SHAPE(IMAGES, 3, SIDE, SIDE), name, -1.7, 1.7);
}

/* The outer loss with its history; the inner losses go to losses[0..1]. */
static tlv_tensor *outer_loss(tlv_ctx *c, const net *m, const tlv_params *p, int64_t task,
                              double *losses)
{
    tlv_dtype d = tlv_dtype_of(tlv_params_get(p, m->w));
    tlv_tensor *x = images(c, task, "support", d), *q = images(c, task, "query", d);
    tlv_tensor *y = filled_labels(c, IMAGES, CLASSES);
    const tlv_params *fast = p;
    for (int k = 0; k < INNER; k++) {
        tlv_tensor *loss = loss_of(c, m, fast, x, y);
        if (losses) losses[k] = tlv_item(c, loss);
        fast = tlv_params_axpy(c, fast, -0.1, tlv_params_grad(c, loss, fast, TLV_CREATE_GRAPH));
    }
    return loss_of(c, m, fast, q, y);
}

/* What a task leaves: losses, and the outer gradient entry after entry. */
typedef struct result { double losses[LOSSES], grad[NUMBERS]; } result;

static tlv_status run_task(tlv_ctx *c, const net *m, const tlv_params *p, int64_t task, result *out)
{
    tlv_scope s = tlv_scope_begin(c);
    tlv_tensor *loss = outer_loss(c, m, p, task, out->losses);
    tlv_params *g = tlv_params_grad(c, loss, p, 0);
    if (g) out->losses[INNER] = tlv_item(c, loss);
    int at = 0;
    for (int i = 0; g && i < tlv_params_count(g) && tlv_error(c) == TLV_OK; i++) {
        tlv_tensor *wide = tlv_cast(c, tlv_params_get(g, i), TLV_F64);
        tlv_read(c, wide, out->grad + at, tlv_numel(wide));
        at += (int)tlv_numel(wide);
    }
    tlv_scope_end(c, s);
    return tlv_error(c);
}

/* ---- PyTorch --------------------------------------------------------------------------------- */

static int golden(tlv_ctx *c, const tlv_file *f, int task, const char *part, double *v, int64_t n)
{
    char prefix[32];
    snprintf(prefix, sizeof prefix, "task%d", task);
    return support_golden(c, f, prefix, part, v, n);
}

static tlv_file *open_goldens(tlv_ctx *c)
{
    char path[512];
    return test_file_path(path, sizeof path, "goldens/maml.safetensors") ? tlv_file_open(c, path)
                                                                         : NULL;
}

/* Relative to the largest magnitude of each parameter's gradient; returns the worst. */
static double against_pytorch(tlv_ctx *c, const tlv_file *f, const tlv_params *p, int task,
                              const result *r, double tol)
{
    double losses[LOSSES], want[NUMBERS], worst_of_all = 0;
    if (golden(c, f, task, "losses", losses, LOSSES))
        for (int k = 0; k < LOSSES; k++) EXPECT_CLOSE(r->losses[k], losses[k], tol / 10, 0);
    for (int i = 0, at = 0; i < tlv_params_count(p); i++) {
        char part[64];
        int64_t n = tlv_numel(tlv_params_get(p, i));
        double largest = 0, worst = 0;
        snprintf(part, sizeof part, "grad/%s", tlv_params_name(p, i));
        if (!golden(c, f, task, part, want, n)) return NAN;
        for (int64_t k = 0; k < n; k++) {
            largest = fmax(largest, fabs(want[k]));
            worst = fmax(worst, fabs(r->grad[at + k] - want[k]));
        }
        EXPECT(worst <= tol * largest, "task %d, %s: off by %.2e of %.2e", task, part, worst,
               largest);
        worst_of_all = fmax(worst_of_all, worst / largest);
        at += (int)n;
    }
    return worst_of_all;
}

static void check_pytorch(tlv_dtype d, double tol)
{
    tlv_ctx *c = support_open();
    tlv_file *f = open_goldens(c);
    net m;
    tlv_params *p = net_init(c, &m, d);
    static result r;
    double worst = 0;
    REQUIRE(f && p, "%s", tlv_error_msg(c));
    EXPECT_INT(tlv_params_numel(p, 0), NUMBERS);
    EXPECT_INT(tlv_params_count(p), ENTRIES);
    for (int k = 0; k < TASKS; k++) {
        EXPECT_STATUS(run_task(c, &m, p, k, &r), TLV_OK);
        worst = fmax(worst, against_pytorch(c, f, p, k, &r, tol));
    }
    EXPECT_OK(c);
    printf("  outer gradients in %s: off by %.1e at most\n", tlv_dtype_name(d), worst);
    tlv_params_close(p);
    tlv_file_close(f);
    tlv_ctx_close(c);
}

static void test_outer_gradients_agree_with_pytorch_in_f32(void) { check_pytorch(TLV_F32, 1e-4); }
static void test_outer_gradients_agree_with_pytorch_in_f64(void) { check_pytorch(TLV_F64, 1e-9); }

/* ---- finite differences ---------------------------------------------------------------------- */

/* The outer loss at p + h u. */
static double loss_at(tlv_ctx *c, const net *m, const tlv_params *p, const double *u, double h)
{
    tlv_params *q = tlv_params_clone(c, p);
    for (int i = 0, at = 0; q && i < tlv_params_count(q); i++) {
        double v[NUMBERS];
        tlv_tensor *t = tlv_params_get(q, i);
        int64_t n = tlv_numel(t);
        tlv_scope s = tlv_scope_begin(c);
        tlv_read(c, t, v, n);
        for (int64_t k = 0; k < n; k++) v[k] += h * u[at + k];
        tlv_params_set(c, q, i, tlv_from_data(c, TLV_F64, tlv_shape_of(t), v, 0));
        at += (int)n;
        tlv_scope_end(c, s);
    }
    tlv_scope s = tlv_scope_begin(c);
    double loss = q ? tlv_item(c, outer_loss(c, m, q, 0, NULL)) : NAN;
    tlv_scope_end(c, s);
    tlv_params_close(q);
    return loss;
}

static void test_outer_gradient_agrees_with_finite_differences(void)
{
    enum { RANDOM = 6, SINGLE = 12 };
    tlv_ctx *c = support_open();
    net m;
    tlv_params *p = net_init(c, &m, TLV_F64);
    static result r;
    double u[NUMBERS], worst = 0, norm = 0;
    REQUIRE(p && run_task(c, &m, p, 0, &r) == TLV_OK, "%s", tlv_error_msg(c));
    for (int i = 0; i < NUMBERS; i++) norm += r.grad[i] * r.grad[i];
    norm = sqrt(norm);
    for (int k = 0; k < RANDOM + SINGLE; k++) {
        double want = 0;
        memset(u, 0, sizeof u);
        if (k < RANDOM) support_uniform(u, NUMBERS, (uint64_t)k, -1, 1);
        else u[(k - RANDOM) * (NUMBERS - 1) / (SINGLE - 1)] = 1; // conv1's first to fc's last
        for (int i = 0; i < NUMBERS; i++) want += u[i] * r.grad[i];
        // Fourth order: (8 (f(h) - f(-h)) - (f(2h) - f(-2h))) / 12h
        double h = k < RANDOM ? 1e-5 : 1e-4;
        double near = loss_at(c, &m, p, u, h) - loss_at(c, &m, p, u, -h);
        double far = loss_at(c, &m, p, u, 2 * h) - loss_at(c, &m, p, u, -2 * h);
        double got = (8 * near - far) / (12 * h), scale = k < RANDOM ? fabs(want) : norm;
        worst = fmax(worst, fabs(got - want) / scale);
        EXPECT(fabs(got - want) <= 1e-6 * scale,
               "direction %d: finite difference %.12g, gradient %.12g", k, got, want);
        EXPECT(want != 0, "direction %d has no slope: the check proves nothing", k);
    }
    EXPECT_OK(c);
    printf("  against finite differences: off by %.1e at most\n", worst);
    tlv_params_close(p);
    tlv_ctx_close(c);
}

/* The gradient is not the first-order one: inner steps are differentiated too. */
static void test_outer_gradient_is_of_second_order(void)
{
    tlv_ctx *c = support_open();
    net m;
    tlv_params *p = net_init(c, &m, TLV_F64);
    static result r;
    REQUIRE(p && run_task(c, &m, p, 0, &r) == TLV_OK, "%s", tlv_error_msg(c));
    tlv_scope s = tlv_scope_begin(c);
    tlv_tensor *x = images(c, 0, "support", TLV_F64), *q = images(c, 0, "query", TLV_F64);
    tlv_tensor *y = filled_labels(c, IMAGES, CLASSES);
    const tlv_params *fast = p;
    for (int k = 0; k < INNER; k++)                         // gradients without history
        fast = tlv_params_axpy(c, fast, -0.1,
                               tlv_params_grad(c, loss_of(c, &m, fast, x, y), fast, 0));
    tlv_params *g = tlv_params_grad(c, loss_of(c, &m, fast, q, y), p, 0);
    double first[NUMBERS], gap = 0, norm = 0;
    int at = 0;
    for (int i = 0; g && i < ENTRIES; i++) {
        int64_t n = tlv_numel(tlv_params_get(g, i));
        tlv_read(c, tlv_params_get(g, i), first + at, n);
        at += (int)n;
    }
    for (int i = 0; i < at; i++) {
        gap += (first[i] - r.grad[i]) * (first[i] - r.grad[i]);
        norm += r.grad[i] * r.grad[i];
    }
    EXPECT_INT(at, NUMBERS);
    EXPECT(sqrt(gap) > 0.05 * sqrt(norm), "first order differs by %.2g of %.2g only", sqrt(gap),
           sqrt(norm));
    EXPECT_OK(c);
    tlv_scope_end(c, s);
    tlv_params_close(p);
    tlv_ctx_close(c);
}

/* ---- tasks in parallel ----------------------------------------------------------------------- */

typedef struct job { net m; const tlv_params *p; result r[TASKS]; } job;

static tlv_status parallel_task(tlv_ctx *child, int64_t task, void *user)
{
    job *j = user;
    tlv_params *p = tlv_params_borrow(child, j->p);
    return p ? run_task(child, &j->m, p, task, &j->r[task]) : tlv_error(child);
}

/* Sums in task order. */
static void sum_of(const job *j, double *sum)
{
    memset(sum, 0, NUMBERS * sizeof *sum);
    for (int t = 0; t < TASKS; t++)
        for (int i = 0; i < NUMBERS; i++) sum[i] += j->r[t].grad[i];
}

static void test_parallel_tasks_have_the_same_bits_at_any_thread_count(void)
{
    static job j[3], serial;
    static const int THREADS[3] = { 1, 2, 3 };
    double sum[3][NUMBERS];
    for (int k = 0; k < 3; k++) {
        tlv_ctx *c = tlv_ctx_open(&(tlv_ctx_opts){ .threads = THREADS[k], .seed = 7 });
        tlv_params *p = net_init(c, &j[k].m, TLV_F32);
        REQUIRE(p, "%s", tlv_error_msg(c));
        j[k].p = p;
        EXPECT_STATUS(tlv_parallel_tasks(c, TASKS, parallel_task, &j[k]), TLV_OK);
        sum_of(&j[k], sum[k]);
        EXPECT(memcmp(j[k].r, j[0].r, sizeof j[0].r) == 0
                   && memcmp(sum[k], sum[0], sizeof sum[0]) == 0,
               "%d threads give other bits", THREADS[k]);
        for (int t = 0; k == 0 && t < TASKS; t++)           // and outside of tasks, with one thread
            EXPECT_STATUS(run_task(c, &j[k].m, p, t, &serial.r[t]), TLV_OK);
        EXPECT(k > 0 || memcmp(serial.r, j[0].r, sizeof serial.r) == 0,
               "a task has other bits than a call");
        tlv_params_close(p);
        EXPECT_OK(c);
        tlv_ctx_close(c);
    }
    double norm = 0;
    for (int i = 0; i < NUMBERS; i++) norm += sum[0][i] * sum[0][i];
    EXPECT(norm > 1e-3, "the sum is nearly zero");
}

static void test_parallel_tasks_agree_with_pytorch(void)
{
    static job j;
    tlv_ctx *c = tlv_ctx_open(&(tlv_ctx_opts){ .threads = 2, .seed = 7 });
    tlv_file *f = open_goldens(c);
    tlv_params *p = net_init(c, &j.m, TLV_F64);
    REQUIRE(f && p, "%s", tlv_error_msg(c));
    j.p = p;
    EXPECT_STATUS(tlv_parallel_tasks(c, TASKS, parallel_task, &j), TLV_OK);
    for (int t = 0; t < TASKS; t++) against_pytorch(c, f, p, t, &j.r[t], 1e-9);
    tlv_params_close(p);
    tlv_file_close(f);
    EXPECT_OK(c);
    tlv_ctx_close(c);
}

TEST_MAIN(T(test_outer_gradients_agree_with_pytorch_in_f32),
          T(test_outer_gradients_agree_with_pytorch_in_f64),
          T(test_outer_gradient_agrees_with_finite_differences),
          T(test_outer_gradient_is_of_second_order),
          T(test_parallel_tasks_have_the_same_bits_at_any_thread_count),
          T(test_parallel_tasks_agree_with_pytorch))
