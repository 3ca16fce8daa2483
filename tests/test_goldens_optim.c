/* test_goldens_optim.c -- optimizers, schedules and clipping against torch.optim
 * (tests/goldens/optim.safetensors; make_optim.py says what it holds). */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "optim/optim.h"
#include "tests/filled.h"
#include "tests/support.h"

enum { STEPS = 20, WEIGHTS = 12, NUMBERS = 16, MOST = 400 };

static tlv_file *open_goldens(tlv_ctx *c)
{
    char path[512];
    return test_file_path(path, sizeof path, "goldens/optim.safetensors") ? tlv_file_open(c, path)
                                                                          : NULL;
}

/* The numbers called "name/part" (part may be NULL); returns how many, 0 on failure. */
static int golden(tlv_ctx *c, const tlv_file *f, const char *name, const char *part, double *v)
{
    char full[64];
    snprintf(full, sizeof full, "%s%s%s", name, part ? "/" : "", part ? part : "");
    int i = f ? tlv_file_find(f, full) : -1;
    if (!EXPECT(i >= 0, "the file has no %s: %s", full, tlv_error_msg(c))) return 0;
    tlv_scope s = tlv_scope_begin(c);
    tlv_tensor *t = tlv_file_read(c, f, i);
    int n = (int)tlv_numel(t);
    int ok = EXPECT(n > 0 && n <= MOST, "%s has %d numbers", full, n) && support_read(c, t, v, n);
    tlv_scope_end(c, s);
    return ok ? n : 0;
}

/* ---- first-order optimizers ------------------------------------------------------------------ */

static tlv_params *start(tlv_ctx *c, tlv_dtype d)
{
    tlv_build *b = tlv_build_begin(c, d);
    tlv_build_push(b, "a");
    tlv_build_param(b, "weight", TLV_SHAPE(3, 4), tlv_init_zeros());
    tlv_build_param(b, "bias", TLV_SHAPE(4), tlv_init_zeros());
    tlv_build_pop(b);
    tlv_params *p = tlv_build_end(b);
    for (int i = 0; p && i < 2; i++) {
        tlv_shape s = tlv_shape_of(tlv_params_get(p, i));
        tlv_params_set(c, p, i, filled_tensor(c, d, s, tlv_params_name(p, i), -1, 1));
    }
    return p;
}

/* G of one entry at step t. */
static tlv_tensor *draw(tlv_ctx *c, const tlv_params *p, int i, int t)
{
    char name[32];
    snprintf(name, sizeof name, "g%d.%s", t, tlv_params_name(p, i));
    const tlv_tensor *like = tlv_params_get(p, i);
    return filled_tensor(c, tlv_dtype_of(like), tlv_shape_of(like), name, -2, 2);
}

/* Gradients of sum(p G) + sum(p^2) / 2. */
static tlv_params *gradients(tlv_ctx *c, const tlv_params *p, int t)
{
    tlv_tensor *loss = NULL;
    for (int i = 0; i < tlv_params_count(p); i++) {
        const tlv_tensor *v = tlv_params_get(p, i);
        tlv_tensor *line = tlv_sum_all(c, tlv_mul(c, v, draw(c, p, i, t)));
        tlv_tensor *bowl = tlv_affine(c, tlv_sum_all(c, tlv_square(c, v)), 0.5, 0);
        tlv_tensor *one = tlv_add(c, line, bowl);
        loss = loss ? tlv_add(c, loss, one) : one;
    }
    return tlv_params_grad(c, loss, p, 0);
}

static void read_all(tlv_ctx *c, const tlv_params *p, double *v)
{
    support_read(c, tlv_params_get(p, 0), v, WEIGHTS);
    support_read(c, tlv_params_get(p, 1), v + WEIGHTS, NUMBERS - WEIGHTS);
}

static tlv_optim *open_optim(tlv_ctx *c, const tlv_params *p, const char *name, const double *a)
{
    if (strncmp(name, "sgd.", 4) == 0)
        return tlv_sgd_open(c, p, (tlv_sgd_opts){ .lr = a[0], .momentum = a[1], .dampening = a[2],
                                                  .weight_decay = a[3], .nesterov = (int)a[4] });
    return tlv_adam_open(c, p,
                         (tlv_adam_opts){ .lr = a[0],
                                          .beta1 = a[1],
                                          .beta2 = a[2],
                                          .eps = a[3],
                                          .weight_decay = a[4],
                                          .decoupled = (int)a[5] });
}

static double follow(tlv_ctx *c, const tlv_file *f, const char *name, tlv_dtype d, double tol)
{
    double a[MOST], want[MOST], got[NUMBERS], worst = 0;
    tlv_params *p = start(c, d);
    if (!golden(c, f, name, "attr", a) || golden(c, f, name, "after", want) != STEPS * NUMBERS)
        return NAN;
    tlv_optim *o = open_optim(c, p, name, a);
    for (int t = 0; t < STEPS; t++) {
        tlv_scope s = tlv_scope_begin(c);
        EXPECT_STATUS(tlv_optim_step(c, o, p, gradients(c, p, t)), TLV_OK);
        tlv_scope_end(c, s);
        read_all(c, p, got);
        for (int i = 0; i < NUMBERS; i++) {
            double gap = fabs(got[i] - want[t * NUMBERS + i]);
            worst = fmax(worst, gap);
            EXPECT(gap <= tol, "%s, %s, step %d: number %d is %.12g, want %.12g", name,
                   tlv_dtype_name(d), t, i, got[i], want[t * NUMBERS + i]);
        }
    }
    EXPECT_INT(tlv_optim_steps(o), STEPS);
    EXPECT_INT(tlv_optim_skipped(o), 0);
    tlv_optim_close(o);
    tlv_params_close(p);
    return worst;
}

/* Parameters are of order 1: the bounds are absolute and relative at once. */
static void follow_all(tlv_dtype d, double tol)
{
    tlv_ctx *c = support_open();
    tlv_file *f = open_goldens(c);
    REQUIRE(f, "%s", tlv_error_msg(c));
    int cases = 0;
    double worst = 0;
    for (int i = 0; i < tlv_file_count(f); i++) {
        char name[64];
        snprintf(name, sizeof name, "%s", tlv_file_name(f, i));
        char *slash = strrchr(name, '/');
        if (!tlv_match("sgd.*/after,adam.*/after", name) || !slash) continue;
        *slash = 0;
        worst = fmax(worst, follow(c, f, name, d, tol));
        cases++;
    }
    EXPECT_INT(cases, 11);
    EXPECT_OK(c);
    printf("  %d optimizers, 20 steps in %s: off by %.1e at most\n", cases, tlv_dtype_name(d),
           worst);
    tlv_file_close(f);
    tlv_ctx_close(c);
}

static void test_optimizers_in_f32(void) { follow_all(TLV_F32, 1e-5); }
static void test_optimizers_in_f64(void) { follow_all(TLV_F64, 1e-12); }

/* ---- L-BFGS ---------------------------------------------------------------------------------- */

typedef struct problem { tlv_tensor *x, *y; } problem;

static tlv_tensor *rosenbrock(tlv_ctx *c, const tlv_params *p, void *user)
{
    (void)user;
    const tlv_tensor *v = tlv_params_get(p, 0);
    tlv_tensor *x = tlv_slice(c, v, 0, 0, 1, 1), *y = tlv_slice(c, v, 0, 1, 2, 1);
    tlv_tensor *valley = tlv_square(c, tlv_sub(c, y, tlv_square(c, x)));
    tlv_tensor *slope = tlv_square(c, tlv_affine(c, x, -1, 1));
    return tlv_sum_all(c, tlv_add(c, tlv_affine(c, valley, 100, 0), slope));
}

static tlv_tensor *logistic(tlv_ctx *c, const tlv_params *p, void *user)
{
    const problem *d = user;
    const tlv_tensor *w = tlv_params_get(p, 0), *b = tlv_params_get(p, 1);
    tlv_tensor *logits = tlv_linear(c, d->x, w, b, TLV_ACT_NONE);
    tlv_tensor *loss = tlv_cross_entropy(c, logits, d->y, (tlv_ce_opts){ 0 });
    return tlv_add(c, loss, tlv_affine(c, tlv_sum_all(c, tlv_square(c, w)), 0.01, 0));
}

static tlv_params *lbfgs_start(tlv_ctx *c, int is_logistic)
{
    tlv_build *b = tlv_build_begin(c, TLV_F64);
    tlv_build_param(b, "w", is_logistic ? TLV_SHAPE(3, 4) : TLV_SHAPE(2), tlv_init_zeros());
    if (is_logistic) tlv_build_param(b, "b", TLV_SHAPE(3), tlv_init_zeros());
    tlv_params *p = tlv_build_end(b);
    if (!is_logistic)
        tlv_params_set(c, p, 0, tlv_from_data(c, TLV_F64, TLV_SHAPE(2), (double[]){ -1.2, 1 }, 0));
    return p;
}

static void check_lbfgs(const char *name, int is_logistic)
{
    tlv_ctx *c = support_open();
    tlv_file *f = open_goldens(c);
    problem d = { 0 };
    double runs[MOST], after[MOST], loss[MOST], got[16], worst = 0;
    REQUIRE(f, "%s", tlv_error_msg(c));
    if (is_logistic) {
        d.x = filled_tensor(c, TLV_F64, TLV_SHAPE(30, 4), "lx", -1, 1);
        d.y = filled_labels(c, 30, 3);
    }
    int n = golden(c, f, name, "attr", runs), size = is_logistic ? 15 : 2;
    EXPECT_INT(golden(c, f, name, "after", after), n * size);
    EXPECT_INT(golden(c, f, name, "loss", loss), n);
    for (int k = 0; k < n; k++) {
        tlv_params *p = lbfgs_start(c, is_logistic);
        tlv_lbfgs_opts o = { .max_iter = (int)runs[k] };
        tlv_lbfgs_report r;
        EXPECT_STATUS(tlv_lbfgs(c, p, is_logistic ? logistic : rosenbrock, &d, o, &r), TLV_OK);
        EXPECT(fabs(r.loss - loss[k]) <= 1e-5 * loss[k] + 1e-12,
               "%s, %d iterations: loss %.12g, want %.12g", name, (int)runs[k], r.loss, loss[k]);
        support_read(c, tlv_params_get(p, 0), got, tlv_numel(tlv_params_get(p, 0)));
        if (is_logistic) support_read(c, tlv_params_get(p, 1), got + 12, 3);
        for (int i = 0; i < size; i++) {
            double want = after[k * size + i], gap = fabs(got[i] - want);
            worst = fmax(worst, gap);
            EXPECT(gap <= 1e-5, "%s, %d iterations: number %d is %.12g, want %.12g", name,
                   (int)runs[k], i, got[i], want);
        }
        tlv_params_close(p);
    }
    EXPECT_OK(c);
    printf("  %s: off by %.1e at most\n", name, worst);
    tlv_file_close(f);
    tlv_ctx_close(c);
}

static void test_lbfgs_on_rosenbrock(void) { check_lbfgs("lbfgs.rosenbrock", 0); }
static void test_lbfgs_on_a_logistic_regression(void) { check_lbfgs("lbfgs.logistic", 1); }

/* ---- schedules, clipping --------------------------------------------------------------------- */

static double rate(const char *name, const double *a, int n, int t)
{
    int64_t at[8];
    if (strcmp(name, "lr.step") == 0) return tlv_lr_step(a[0], t, (int64_t)a[1], a[2]);
    if (strcmp(name, "lr.cosine") == 0) return tlv_lr_cosine(a[0], a[1], t, (int64_t)a[2]);
    if (strcmp(name, "lr.multistep") == 0) {
        for (int i = 2; i < n; i++) at[i - 2] = (int64_t)a[i];
        return tlv_lr_multistep(a[0], t, at, n - 2, a[1]);
    }
    return tlv_lr_one_cycle(a[0], t, (int64_t)a[1], a[2], a[3], a[4]);
}

static void test_schedules(void)
{
    static const char *const NAMES[] = { "lr.step", "lr.multistep", "lr.cosine", "lr.one_cycle_30",
                                         "lr.one_cycle_17" };
    tlv_ctx *c = support_open();
    tlv_file *f = open_goldens(c);
    double a[MOST], want[MOST];
    for (int k = 0; k < 5; k++) {
        int n = golden(c, f, NAMES[k], "attr", a), steps = golden(c, f, NAMES[k], "lr", want);
        EXPECT(steps >= 17, "%s has %d steps", NAMES[k], steps);
        for (int t = 0; t < steps; t++) {
            double got = rate(NAMES[k], a, n, t);
            EXPECT(fabs(got - want[t]) <= 1e-12, "%s, step %d: %.15g, want %.15g", NAMES[k], t, got,
                   want[t]);
        }
    }
    tlv_file_close(f);
    tlv_ctx_close(c);
}

/* The gradients G of step 0 as a set: those of sum(p G). */
static tlv_params *plain_gradients(tlv_ctx *c, const tlv_params *p)
{
    tlv_tensor *w = tlv_sum_all(c, tlv_mul(c, tlv_params_get(p, 0), draw(c, p, 0, 0)));
    tlv_tensor *b = tlv_sum_all(c, tlv_mul(c, tlv_params_get(p, 1), draw(c, p, 1, 0)));
    return tlv_params_grad(c, tlv_add(c, w, b), p, 0);
}

static void test_clipping(void)
{
    tlv_ctx *c = support_open();
    tlv_file *f = open_goldens(c);
    double total, want[MOST], got[NUMBERS], norm;
    for (int k = 0; k < 2; k++) {
        tlv_dtype d = k ? TLV_F32 : TLV_F64;
        double tol = k ? 1e-6 : 1e-14;
        tlv_params *p = start(c, d);
        tlv_params *g = plain_gradients(c, p), *clipped = tlv_clip_norm(c, g, 1.5, &norm);
        REQUIRE(clipped, "%s", tlv_error_msg(c));
        golden(c, f, "clip.total", NULL, &total);
        EXPECT_CLOSE(norm, total, tol, 0);
        EXPECT(norm > 1.5, "nothing to clip");
        golden(c, f, "clip.norm", NULL, want);
        read_all(c, clipped, got);
        for (int i = 0; i < NUMBERS; i++) EXPECT_CLOSE(got[i], want[i], 0, tol);
        golden(c, f, "clip.value", NULL, want);
        read_all(c, tlv_clip_value(c, g, 0.5), got);
        for (int i = 0; i < NUMBERS; i++) EXPECT_CLOSE(got[i], want[i], 0, tol);
        read_all(c, tlv_clip_norm(c, g, 100, NULL), got);           // within bounds: unchanged
        read_all(c, g, want);
        for (int i = 0; i < NUMBERS; i++) EXPECT_CLOSE(got[i], want[i], 0, 0);
        tlv_params_close(p);
    }
    EXPECT_OK(c);
    tlv_file_close(f);
    tlv_ctx_close(c);
}

TEST_MAIN(T(test_optimizers_in_f32), T(test_optimizers_in_f64), T(test_lbfgs_on_rosenbrock),
          T(test_lbfgs_on_a_logistic_regression), T(test_schedules), T(test_clipping))
