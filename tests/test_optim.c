/* test_optim.c -- optimizers by their formulas: decoupled decay, groups, parameters without
 * gradient, taking up a run again, averages, and what they refuse.  (Against PyTorch:
 * test_goldens_optim.c.) */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "optim/optim.h"
#include "tests/filled.h"
#include "tests/support.h"

enum { NUMBERS = 7 };                   /* body.weight [4], head.weight [3] */

static tlv_params *start(tlv_ctx *c)
{
    tlv_build *b = tlv_build_begin(c, TLV_F64);
    tlv_build_param(b, "body.weight", TLV_SHAPE(4), tlv_init_zeros());
    tlv_build_param(b, "head.weight", TLV_SHAPE(3), tlv_init_zeros());
    tlv_build_buffer(b, "running_mean", TLV_SHAPE(2), tlv_init_zeros());
    tlv_params *p = tlv_build_end(b);
    for (int i = 0; p && i < 3; i++) {
        tlv_scope s = tlv_scope_begin(c);
        tlv_shape shape = tlv_shape_of(tlv_params_get(p, i));
        tlv_params_set(c, p, i, filled_tensor(c, TLV_F64, shape, tlv_params_name(p, i), -1, 1));
        tlv_scope_end(c, s);
    }
    return p;
}

/* Gradients p + t, of sum(p^2) / 2 + t sum(p); body only, unless both. */
static tlv_params *gradients(tlv_ctx *c, const tlv_params *p, double t, int both)
{
    tlv_tensor *loss = NULL;
    for (int i = 0; i < 1 + both; i++) {
        const tlv_tensor *v = tlv_params_get(p, i);
        tlv_tensor *bowl = tlv_affine(c, tlv_sum_all(c, tlv_square(c, v)), 0.5, 0);
        tlv_tensor *one = tlv_add(c, bowl, tlv_affine(c, tlv_sum_all(c, v), t, 0));
        loss = loss ? tlv_add(c, loss, one) : one;
    }
    return tlv_params_grad(c, loss, p, 0);
}

static void read_all(tlv_ctx *c, const tlv_params *p, double *v)
{
    support_read(c, tlv_params_get(p, 0), v, 4);
    support_read(c, tlv_params_get(p, 1), v + 4, 3);
}

static void step(tlv_ctx *c, tlv_optim *o, tlv_params *p, double t, int both)
{
    tlv_scope s = tlv_scope_begin(c);
    EXPECT_STATUS(tlv_optim_step(c, o, p, gradients(c, p, t, both)), TLV_OK);
    tlv_scope_end(c, s);
}

/* ---- by formula ------------------------------------------------------------------------------ */

static void test_decoupled_decay_shrinks_before_the_step(void)
{
    tlv_ctx *c = support_open();
    tlv_params *p = start(c);
    double lr = 0.1, wd = 0.2, mu = 0.9, x[NUMBERS], v[NUMBERS] = { 0 }, got[NUMBERS];
    tlv_optim *o = tlv_sgd_open(c, p, (tlv_sgd_opts){ .lr = lr, .momentum = mu, .weight_decay = wd,
                                                      .decoupled = 1 });
    read_all(c, p, x);
    for (int t = 0; t < 5; t++) {
        step(c, o, p, t, 1);
        for (int i = 0; i < NUMBERS; i++) {
            v[i] = mu * v[i] + (x[i] + t);
            x[i] = x[i] * (1 - lr * wd) - lr * v[i];
        }
        read_all(c, p, got);
        for (int i = 0; i < NUMBERS; i++) EXPECT_CLOSE(got[i], x[i], 1e-13, 1e-15);
    }
    EXPECT_OK(c);
    tlv_optim_close(o);
    tlv_params_close(p);
    tlv_ctx_close(c);
}

static void test_the_last_group_that_matches_counts(void)
{
    tlv_ctx *c = support_open();
    tlv_params *p = start(c);
    double lr = 0.1, x[NUMBERS], got[NUMBERS];
    char pattern[] = "head.*";
    tlv_group groups[2] = { { "*", 1, 0.5 }, { pattern, 3, 0.25 } };
    tlv_optim *o = tlv_sgd_open(c, p, (tlv_sgd_opts){ .lr = lr, .groups = groups, .n_groups = 2 });
    memset(pattern, 'x', 6);                                // groups were copied, patterns too
    groups[0].lr_scale = 99;
    read_all(c, p, x);
    step(c, o, p, 1, 1);
    read_all(c, p, got);
    for (int i = 0; i < 4; i++)
        EXPECT_CLOSE(got[i], x[i] - lr * (x[i] + 1 + 0.5 * x[i]), 1e-13, 1e-15);
    for (int i = 4; i < NUMBERS; i++)
        EXPECT_CLOSE(got[i], x[i] - 3 * lr * (x[i] + 1 + 0.25 * x[i]), 1e-13, 1e-15);
    tlv_optim_close(o);
    tlv_params_close(p);
    tlv_ctx_close(c);
}

static void test_a_group_of_rate_zero_stands_still(void)
{
    tlv_ctx *c = support_open();
    for (int adam = 0; adam < 2; adam++) {
        tlv_params *p = start(c);
        tlv_group stop = { "body.*", 0, 0.5 };
        tlv_adam_opts a = tlv_adamw_defaults();
        a.groups = &stop;
        a.n_groups = 1;
        tlv_sgd_opts d = { .lr = 0.1, .momentum = 0.9, .groups = &stop, .n_groups = 1 };
        tlv_optim *o = adam ? tlv_adam_open(c, p, a) : tlv_sgd_open(c, p, d);
        double x[NUMBERS], got[NUMBERS];
        read_all(c, p, x);
        step(c, o, p, 1, 1);
        step(c, o, p, 1, 1);
        read_all(c, p, got);
        for (int i = 0; i < NUMBERS; i++)
            EXPECT((got[i] == x[i]) == (i < 4), "number %d: %.9g, was %.9g", i, got[i], x[i]);
        tlv_optim_close(o);
        tlv_params_close(p);
    }
    EXPECT_OK(c);
    tlv_ctx_close(c);
}

static void test_a_parameter_without_gradient_is_left_alone_and_counted(void)
{
    tlv_ctx *c = support_open();
    for (int adam = 0; adam < 2; adam++) {
        tlv_params *p = start(c);
        tlv_adam_opts a = tlv_adamw_defaults();             // with decay
        tlv_sgd_opts d = { .lr = 0.1, .momentum = 0.9, .weight_decay = 0.5 };
        tlv_optim *o = adam ? tlv_adam_open(c, p, a) : tlv_sgd_open(c, p, d);
        double x[NUMBERS], got[NUMBERS], buffer[2], now[2];
        read_all(c, p, x);
        support_read(c, tlv_params_get(p, 2), buffer, 2);
        step(c, o, p, 1, 0);                                // the head is not reached
        EXPECT_INT(tlv_optim_skipped(o), 1);
        EXPECT_INT(tlv_optim_slot_steps(o, 0), 1);
        EXPECT_INT(tlv_optim_slot_steps(o, 1), 0);
        read_all(c, p, got);
        for (int i = 0; i < NUMBERS; i++)
            EXPECT((got[i] == x[i]) == (i >= 4), "number %d: %.9g, was %.9g", i, got[i], x[i]);
        step(c, o, p, 1, 1);
        EXPECT_INT(tlv_optim_skipped(o), 0);
        EXPECT_INT(tlv_optim_steps(o), 2);
        EXPECT_INT(tlv_optim_slot_steps(o, 1), 1);
        if (adam) {     // its first step: bias correction makes it lr sign(g), whatever its age
            double after[NUMBERS];
            read_all(c, p, after);
            for (int i = 4; i < NUMBERS; i++) {
                double g = x[i] + 1, shrunk = x[i] * (1 - a.lr * a.weight_decay);
                EXPECT_CLOSE(after[i], shrunk - a.lr * g / (fabs(g) + a.eps), 1e-12, 0);
            }
        }
        support_read(c, tlv_params_get(p, 2), now, 2);
        EXPECT(memcmp(now, buffer, sizeof now) == 0, "a buffer was stepped");
        tlv_optim_close(o);
        tlv_params_close(p);
    }
    EXPECT_OK(c);
    tlv_ctx_close(c);
}

static void test_frozen_parameters_are_left_alone(void)
{
    tlv_ctx *c = support_open();
    tlv_params *p = start(c);
    tlv_optim *o = tlv_sgd_open(c, p, (tlv_sgd_opts){ .lr = 0.1, .weight_decay = 0.5 });
    double x[NUMBERS], got[NUMBERS];
    EXPECT_INT(tlv_params_freeze(p, "body.*"), 1);
    read_all(c, p, x);
    step(c, o, p, 1, 1);
    read_all(c, p, got);
    EXPECT_INT(tlv_optim_skipped(o), 1);
    for (int i = 0; i < NUMBERS; i++)
        EXPECT((got[i] == x[i]) == (i < 4), "number %d: %.9g, was %.9g", i, got[i], x[i]);
    tlv_optim_close(o);
    tlv_params_close(p);
    tlv_ctx_close(c);
}

/* ---- taking up a run again ------------------------------------------------------------------- */

static tlv_optim *open_kind(tlv_ctx *c, const tlv_params *p, int adam)
{
    if (adam) return tlv_adam_open(c, p, tlv_adamw_defaults());
    return tlv_sgd_open(
        c, p, (tlv_sgd_opts){ .lr = 0.05, .momentum = 0.9, .dampening = 0.3, .nesterov = 0 });
}

static void test_a_restored_optimizer_goes_on_as_if_never_stopped(void)
{
    tlv_ctx *c = support_open();
    for (int adam = 0; adam < 2; adam++) {
        tlv_params *p = start(c), *q = NULL;
        tlv_optim *o = open_kind(c, p, adam), *again = NULL;
        for (int t = 0; t < 8; t++) {
            if (t == 4) { // all that is kept: values, moments, steps
                int64_t steps[3];
                q = tlv_params_clone(c, p);
                again = open_kind(c, q, adam);
                for (int i = 0; i < 3; i++) steps[i] = tlv_optim_slot_steps(o, i);
                int moments = 0;
                for (; tlv_optim_moment(o, moments); moments++)
                    tlv_params_copy(c, tlv_optim_moment(again, moments),
                                    tlv_optim_moment(o, moments));
                EXPECT_INT(moments, adam ? 2 : 1);
                tlv_optim_set_steps(again, tlv_optim_steps(o), steps);
            }
            step(c, o, p, t, t != 1);                       // slots of different age
            if (q) step(c, again, q, t, t != 1);
        }
        double a[NUMBERS], b[NUMBERS];
        read_all(c, p, a);
        read_all(c, q, b);
        EXPECT(memcmp(a, b, sizeof a) == 0, "%s goes on otherwise", adam ? "adam" : "sgd");
        EXPECT_INT(tlv_optim_steps(again), 8);
        tlv_optim_close(o);
        tlv_optim_close(again);
        tlv_params_close(p);
        tlv_params_close(q);
    }
    EXPECT_OK(c);
    tlv_ctx_close(c);
}

static void test_the_rate_can_change(void)
{
    tlv_ctx *c = support_open();
    tlv_params *p = start(c);
    tlv_optim *o = tlv_sgd_open(c, p, (tlv_sgd_opts){ .lr = 0.1 });
    double x[NUMBERS], got[NUMBERS];
    EXPECT(tlv_optim_lr(o) == 0.1, "%g", tlv_optim_lr(o));
    tlv_optim_set_lr(o, 0.5);
    EXPECT(tlv_optim_lr(o) == 0.5, "%g", tlv_optim_lr(o));
    read_all(c, p, x);
    step(c, o, p, 2, 1);
    read_all(c, p, got);
    for (int i = 0; i < NUMBERS; i++) EXPECT_CLOSE(got[i], x[i] - 0.5 * (x[i] + 2), 1e-13, 1e-15);
    tlv_optim_close(o);
    tlv_params_close(p);
    tlv_ctx_close(c);
}

/* ---- refusals -------------------------------------------------------------------------------- */

static void test_no_step_after_an_error(void)
{
    tlv_ctx *c = support_open();
    tlv_params *p = start(c);
    tlv_optim *o = tlv_sgd_open(c, p, (tlv_sgd_opts){ .lr = 0.1 });
    double x[NUMBERS], got[NUMBERS];
    read_all(c, p, x);
    tlv_scope s = tlv_scope_begin(c);
    tlv_params *g = gradients(c, p, 1, 1);
    tlv_fail(c, TLV_ERR_USER, NULL, "stop");
    EXPECT_STATUS(tlv_optim_step(c, o, p, g), TLV_ERR_USER);
    EXPECT_ERROR(c, TLV_ERR_USER, "stop");
    tlv_scope_end(c, s);
    read_all(c, p, got);
    EXPECT(memcmp(x, got, sizeof x) == 0, "the parameters changed");
    EXPECT_INT(tlv_optim_steps(o), 0);
    tlv_optim_close(o);
    tlv_params_close(p);
    tlv_ctx_close(c);
}

static void test_other_names_are_refused(void)
{
    tlv_ctx *c = support_open();
    tlv_params *p = start(c), *q = start(c);                // equal names, another schema
    tlv_optim *o = tlv_sgd_open(c, p, (tlv_sgd_opts){ .lr = 0.1 });
    tlv_scope s = tlv_scope_begin(c);
    EXPECT_STATUS(tlv_optim_step(c, o, p, gradients(c, q, 1, 1)), TLV_ERR_NAME);
    EXPECT_ERROR(c, TLV_ERR_NAME, "names");
    EXPECT_STATUS(tlv_optim_step(c, o, q, gradients(c, q, 1, 1)),
                  TLV_ERR_NAME); // not q's optimizer
    EXPECT_ERROR(c, TLV_ERR_NAME, "other names");
    tlv_params *small = tlv_params_edit(c, p, "body.*,running_mean", NULL);
    tlv_tensor *loss = tlv_sum_all(c, tlv_params_get(small, 0));
    EXPECT_STATUS(tlv_optim_step(c, o, small, tlv_params_grad(c, loss, small, 0)), TLV_ERR_NAME);
    EXPECT_ERROR(c, TLV_ERR_NAME, "3 entries, not 1");
    EXPECT_INT(tlv_optim_steps(o), 0);
    tlv_scope_end(c, s);
    tlv_params_close(small);
    tlv_optim_close(o);
    tlv_params_close(p);
    tlv_params_close(q);
    tlv_ctx_close(c);
}

/* ---- averages, warm-up ----------------------------------------------------------------------- */

static void test_average_by_its_formula(void)
{
    tlv_ctx *c = support_open();
    tlv_params *p = start(c), *avg = tlv_params_clone(c, p);
    tlv_optim *o = tlv_sgd_open(c, p, (tlv_sgd_opts){ .lr = 0.1 });
    double want[NUMBERS], x[NUMBERS], got[NUMBERS], buffer[2] = { 5, 6 }, copied[2];
    read_all(c, p, want);
    tlv_params_set(c, p, 2, tlv_from_data(c, TLV_F64, TLV_SHAPE(2), buffer, 0));
    for (int t = 0; t < 5; t++) {
        step(c, o, p, 1, 1);
        EXPECT_STATUS(tlv_ema_update(c, avg, p, 0.9), TLV_OK);
        read_all(c, p, x);
        for (int i = 0; i < NUMBERS; i++) want[i] = 0.9 * want[i] + 0.1 * x[i];
    }
    read_all(c, avg, got);
    for (int i = 0; i < NUMBERS; i++) EXPECT_CLOSE(got[i], want[i], 1e-13, 1e-15);
    support_read(c, tlv_params_get(avg, 2), copied, 2);
    EXPECT(memcmp(copied, buffer, sizeof copied) == 0, "buffers are copied, not averaged");
    EXPECT_STATUS(tlv_ema_update(c, avg, p, 1.5), TLV_ERR_ARG);
    EXPECT_ERROR(c, TLV_ERR_ARG, "decay");
    tlv_optim_close(o);
    tlv_params_close(p);
    tlv_params_close(avg);
    tlv_ctx_close(c);
}

static void test_warm_up(void)
{
    for (int t = 0; t < 10; t++)
        EXPECT_CLOSE(tlv_lr_warmup(0.4, t, 5), t < 5 ? 0.08 * (t + 1) : 0.4, 1e-15, 0);
    EXPECT_CLOSE(tlv_lr_warmup(0.4, 0, 0), 0.4, 0, 0);
}

static tlv_tensor *bowl(tlv_ctx *c, const tlv_params *p, void *user)
{
    (void)user;
    tlv_tensor *a = tlv_sum_all(c, tlv_square(c, tlv_affine(c, tlv_params_get(p, 0), 1, -2)));
    return tlv_add(c, a, tlv_sum_all(c, tlv_square(c, tlv_params_get(p, 1))));
}

static void test_lbfgs_leaves_frozen_parameters(void)
{
    tlv_ctx *c = support_open();
    tlv_params *p = start(c);
    double x[NUMBERS], got[NUMBERS];
    tlv_lbfgs_report r;
    tlv_params_freeze(p, "head.*");
    read_all(c, p, x);
    EXPECT_STATUS(tlv_lbfgs(c, p, bowl, NULL, (tlv_lbfgs_opts){ 0 }, &r), TLV_OK);
    read_all(c, p, got);
    for (int i = 0; i < NUMBERS; i++) EXPECT_CLOSE(got[i], i < 4 ? 2 : x[i], 0, i < 4 ? 1e-6 : 0);
    EXPECT_STR(r.why, "gradient");
    EXPECT(r.max_grad <= 1e-7 && r.evaluations >= r.iterations, "%g, %d, %d", r.max_grad,
           r.evaluations, r.iterations);
    EXPECT_OK(c);
    tlv_params_close(p);
    tlv_ctx_close(c);
}

/* ---- what goes wrong ------------------------------------------------------------------------- */

static void test_no_gradients_is_an_error(void)
{
    tlv_ctx *c = support_open();
    tlv_params *p = start(c);
    tlv_optim *o = tlv_sgd_open(c, p, (tlv_sgd_opts){ .lr = 1 });
    EXPECT_STATUS(tlv_optim_step(c, o, p, NULL), TLV_ERR_ARG);
    EXPECT_ERROR(c, TLV_ERR_ARG, "gradients are NULL");
    EXPECT_INT(tlv_optim_steps(o), 0);
    tlv_optim_close(o);
    tlv_params_close(p);
    tlv_ctx_close(c);
}

/* One step in which request fail_at for memory fails (0: none); returns requests up to the step,
 * and how many it made. */
static int64_t step_with_fault(int adam, int64_t fail_at, int64_t *made)
{
    tlv_ctx *c = tlv_ctx_open(&(tlv_ctx_opts){ .threads = 1, .fail_at = fail_at });
    tlv_params *p = start(c);
    tlv_optim *o = adam ? tlv_adam_open(c, p, tlv_adam_defaults())
                        : tlv_sgd_open(c, p, (tlv_sgd_opts){ .lr = 0.1, .momentum = 0.9 });
    double x[NUMBERS], got[NUMBERS];
    read_all(c, p, x);
    tlv_params *g = gradients(c, p, 1, 1);
    int64_t before = (int64_t)tlv_mem_get(c).requests;
    tlv_status st = tlv_optim_step(c, o, p, g);
    *made = (int64_t)tlv_mem_get(c).requests - before;
    tlv_error_clear(c);
    read_all(c, p, got);
    int64_t stepped = st == TLV_OK;
    EXPECT((memcmp(x, got, sizeof x) != 0) == stepped,
           "step %s, but the parameters moved or did not", stepped ? "made" : "failed");
    EXPECT_INT(tlv_optim_steps(o), stepped);
    EXPECT_INT(tlv_optim_slot_steps(o, 0), stepped);
    EXPECT(st == TLV_OK || st == TLV_ERR_NOMEM, "%s", tlv_status_name(st));
    EXPECT_INT(stepped, fail_at == 0);
    tlv_optim_close(o);
    tlv_params_close(p);
    tlv_ctx_close(c);
    return before;
}

static void test_a_step_that_fails_did_nothing(void)
{
    for (int adam = 0; adam < 2; adam++) {
        int64_t n, ignored, before = step_with_fault(adam, 0, &n);
        EXPECT(n > 0, "a step asks for no memory");
        for (int64_t i = 1; i <= n; i++) step_with_fault(adam, before + i, &ignored);
    }
}

typedef struct spoilt { int calls, from; double by; } spoilt;

/* A loss that from call `from` on is multiplied by NaN or an infinity. */
static tlv_tensor *spoilt_loss(tlv_ctx *c, const tlv_params *p, void *user)
{
    spoilt *s = user;
    return tlv_affine(c, bowl(c, p, NULL), s->calls++ >= s->from ? s->by : 1, 0);
}

static void test_lbfgs_stops_at_what_is_not_finite(void)
{
    const double by[3] = { NAN, INFINITY, -INFINITY };
    for (int k = 0; k < 9; k++) {
        tlv_ctx *c = support_open();
        tlv_params *p = start(c);
        spoilt s = { .from = k / 3, .by = by[k % 3] };
        double x[NUMBERS], got[NUMBERS], sum = 0;
        tlv_lbfgs_report r;
        read_all(c, p, x);
        EXPECT_STATUS(tlv_lbfgs(c, p, spoilt_loss, &s, (tlv_lbfgs_opts){ 0 }, &r), TLV_OK);
        read_all(c, p, got);
        for (int i = 0; i < NUMBERS; i++) sum += got[i];
        EXPECT_STR(r.why, "not finite");
        EXPECT(isfinite(sum), "case %d: the parameters are not finite", k);
        EXPECT(isfinite(r.loss) == (k >= 3), "case %d: loss %g", k, r.loss);
        EXPECT(k >= 6 || memcmp(x, got, sizeof x) == 0, "case %d: the parameters moved", k);
        EXPECT_INT(tlv_wants_grad(tlv_params_get(p, 0)), 1);
        tlv_params_close(p);
        tlv_ctx_close(c);
    }
}

/* A loss that is finite within a radius only: the search turns back from beyond. */
static tlv_tensor *log_loss(tlv_ctx *c, const tlv_params *p, void *user)
{
    (void)user;
    tlv_tensor *x = tlv_params_get(p, 0), *room = tlv_affine(c, tlv_square(c, x), -1, 2);
    return tlv_sub(c, tlv_sum_all(c, x), tlv_sum_all(c, tlv_log(c, room)));
}

static void test_lbfgs_turns_back_from_nan(void)
{
    tlv_ctx *c = support_open();
    tlv_params *p = start(c);
    double got[NUMBERS], best = 1 - sqrt(3.0);          // 1 + 2 x / (2 - x^2) = 0
    tlv_lbfgs_report r;
    EXPECT_STATUS(tlv_lbfgs(c, p, log_loss, NULL, (tlv_lbfgs_opts){ .lr = 50, .max_iter = 60 }, &r),
                  TLV_OK);
    read_all(c, p, got);
    for (int i = 0; i < 4; i++) EXPECT_CLOSE(got[i], best, 0, 1e-4); // it stops at 1e-9 of the loss
    tlv_params_close(p);
    tlv_ctx_close(c);
}

static tlv_tensor *failing_loss(tlv_ctx *c, const tlv_params *p, void *user)
{
    int *calls = user;
    if (++*calls == 2)
        return tlv_matmul(c, tlv_params_get(p, 0), tlv_params_get(p, 1), (tlv_matmul_opts){ 0 });
    return bowl(c, p, NULL);
}

static void test_lbfgs_takes_a_trial_back_after_an_error(void)
{
    tlv_ctx *c = support_open();
    tlv_params *p = start(c);
    double x[NUMBERS], got[NUMBERS];
    int calls = 0;
    tlv_lbfgs_report r;
    read_all(c, p, x);
    EXPECT_STATUS(tlv_lbfgs(c, p, failing_loss, &calls, (tlv_lbfgs_opts){ 0 }, &r), TLV_ERR_SHAPE);
    EXPECT_STR(r.why, "error");
    EXPECT_ERROR(c, TLV_ERR_SHAPE, "matmul");
    read_all(c, p, got);
    EXPECT(memcmp(x, got, sizeof x) == 0, "the parameters are those of a trial");
    tlv_params_close(p);
    tlv_ctx_close(c);
}

TEST_MAIN(T(test_decoupled_decay_shrinks_before_the_step),
          T(test_the_last_group_that_matches_counts), T(test_a_group_of_rate_zero_stands_still),
          T(test_a_parameter_without_gradient_is_left_alone_and_counted),
          T(test_frozen_parameters_are_left_alone),
          T(test_a_restored_optimizer_goes_on_as_if_never_stopped), T(test_the_rate_can_change),
          T(test_no_step_after_an_error), T(test_other_names_are_refused),
          T(test_average_by_its_formula), T(test_warm_up), T(test_lbfgs_leaves_frozen_parameters),
          T(test_no_gradients_is_an_error), T(test_a_step_that_fails_did_nothing),
          T(test_lbfgs_stops_at_what_is_not_finite), T(test_lbfgs_turns_back_from_nan),
          T(test_lbfgs_takes_a_trial_back_after_an_error))
