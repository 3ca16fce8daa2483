/* test_meta_methods.c -- Meta-SGD, MAML++ and iMAML through their own functions: outer gradients
 * against PyTorch (tests/goldens/meta.safetensors) and finite differences, iMAML against the linear
 * system that it solves and the limit that it stands for, batch norms of single steps. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/filled.h"
#include "tests/small_net.h"
#include "tests/support.h"

enum { WAYS = 3, SHOTS = 2, QUERIES = 3, NUMBERS = 1024 };

/* ---- one learner, one task ------------------------------------------------------------------- */

static tlv_meta_opts opts(tlv_meta_method method)
{
    tlv_meta_opts o = tlv_meta_defaults(method, WAYS, SHOTS);
    o.queries = QUERIES;
    if (method == TLV_META_SGD) o.inner_steps = o.eval_steps = 2;
    if (method == TLV_MAML_PLUS_PLUS) o.inner_steps = o.eval_steps = 3, o.multi_step = 10;
    if (method == TLV_IMAML) o.inner_steps = o.eval_steps = 4;
    return o;
}

/* Puts p's parameters one after another into v, zeros for NULL; returns how many numbers. */
static int flatten(tlv_ctx *c, const tlv_params *p, double *v)
{
    int at = 0;
    for (int i = 0; p && i < tlv_params_count(p) && tlv_error(c) == TLV_OK; i++) {
        int64_t n = tlvi_shape_numel(p->schema->entry[i].shape);
        if (tlv_params_is_buffer(p, i)) continue;
        if (!EXPECT(at + n <= NUMBERS, "more than %d numbers", NUMBERS)) return 0;
        memset(v + at, 0, sizeof *v * (size_t)n);
        if (p->value[i]) support_read(c, p->value[i], v + at, n);
        at += (int)n;
    }
    return at;
}

/* The outer gradient of task k in outer step `iteration`, its loss, and the numbers in it. */
static int outer(const small *s, int k, int64_t iteration, double *grad, double *loss)
{
    tlv_scope scope = tlv_scope_begin(s->c);
    tlv_dtype d = tlvi_meta_dtype(s->l);
    tlv_episode e = small_episode(s->c, d, k, WAYS, SHOTS, QUERIES);
    tlvi_meta_task t = small_task(s, s->l->p, &e, iteration);
    int n = flatten(s->c, s->l->how->direction(&t), grad);
    *loss = t.loss;
    tlv_scope_end(s->c, scope);
    return n;
}

/* ---- PyTorch --------------------------------------------------------------------------------- */

/* v = the golden tensor METHOD/taskK/PART of n numbers; 0 where there is none. */
static int golden(tlv_ctx *c, const tlv_file *f, const char *method, int k, const char *part,
                  double *v, int64_t n)
{
    char name[160];
    snprintf(name, sizeof name, "%s/task%d/%s", method, k, part);
    int i = tlv_file_find(f, name);
    if (i < 0) return 0;
    tlv_scope s = tlv_scope_begin(c);
    int ok = support_read(c, tlv_file_read(c, f, i), v, n);
    tlv_scope_end(c, s);
    return ok;
}

static tlv_file *open_goldens(tlv_ctx *c)
{
    char path[512];
    return test_file_path(path, sizeof path, "goldens/meta.safetensors") ? tlv_file_open(c, path)
                                                                         : NULL;
}

/* Each entry relative to the largest number of its gradient; those without a golden one are 0.
 * Returns the worst. */
static double compare(const small *s, const tlv_file *f, int k, const double *grad, double tol)
{
    double want[NUMBERS], worst = 0;
    int found = 0;
    for (int i = 0, at = 0; i < s->l->entries; i++) {
        char part[120];
        int64_t n = tlv_numel(tlv_params_get(s->l->p, i));
        if (tlv_params_is_buffer(s->l->p, i)) continue;
        snprintf(part, sizeof part, "grad/%s", tlv_params_name(s->l->p, i));
        int there = golden(s->c, f, s->l->how->name, k, part, want, n);
        if (!there) memset(want, 0, sizeof want);
        double largest = 0, off = 0;
        for (int64_t j = 0; j < n; j++, at++) {
            largest = fmax(largest, fabs(want[j]));
            off = fmax(off, fabs(want[j] - grad[at]));
        }
        // Biases before a batch norm have no effect: rounding is all there is.
        if (largest < 1e-12) largest = 1;
        EXPECT(off <= tol * largest, "%s task %d %s: off by %.2e of %.2e", s->l->how->name, k, part,
               off, largest);
        worst = fmax(worst, off / largest);
        found += there;
    }
    EXPECT(found > 0, "no golden gradient of %s was found", s->l->how->name);
    return worst;
}

static void check_pytorch(tlv_meta_method method, tlv_dtype d, double tol)
{
    small s = small_open(d, 1, opts(method));
    tlv_file *f = open_goldens(s.c);
    REQUIRE(s.l && f, "%s", tlv_error_msg(s.c));
    double grad[NUMBERS], loss, want, worst = 0;
    for (int k = 0; k < 2; k++) {
        outer(&s, k, 4, grad, &loss);                       // MAML++: epoch 4 of 10
        if (EXPECT(golden(s.c, f, s.l->how->name, k, "loss", &want, 1), "no golden loss"))
            EXPECT_CLOSE(loss, want, tol / 10, 0);
        worst = fmax(worst, compare(&s, f, k, grad, tol));
    }
    printf("  %s in %s: off by %.1e at most\n", s.l->how->name, tlv_dtype_name(d), worst);
    tlv_file_close(f);
    small_close(&s);
}

static void test_meta_sgd_agrees_with_pytorch(void)
{
    check_pytorch(TLV_META_SGD, TLV_F64, 1e-9);
    check_pytorch(TLV_META_SGD, TLV_F32, 2e-4);
}
static void test_maml_plus_plus_agrees_with_pytorch(void)
{
    check_pytorch(TLV_MAML_PLUS_PLUS, TLV_F64, 1e-9);
    check_pytorch(TLV_MAML_PLUS_PLUS, TLV_F32, 2e-4);
}
static void test_imaml_agrees_with_pytorch(void)
{
    check_pytorch(TLV_IMAML, TLV_F64, 1e-9);
    check_pytorch(TLV_IMAML, TLV_F32, 2e-4);
}

/* The losses of MAML++ while the early ones fade: equal, in between, almost gone, gone. */
static void test_losses_of_early_steps_fade(void)
{
    static const double WEIGHT[5][3] = { { 1.0 / 3, 1.0 / 3, 1.0 / 3 },
                                         { 0.2, 0.2, 0.6 },
                                         { 0.1 / 3, 0.1 / 3, 1 - 0.2 / 3 },
                                         { 0, 0, 1 },
                                         { 0, 0, 1 } };
    static const int64_t AT[5] = { 0, 4, 9, 10, 1000 };
    small s = small_open(TLV_F64, 1, opts(TLV_MAML_PLUS_PLUS));
    tlv_file *f = open_goldens(s.c);
    double losses[3], grad[NUMBERS], loss;
    REQUIRE(f && golden(s.c, f, "maml++", 0, "losses", losses, 3), "no golden losses");
    for (int i = 0; i < 5; i++) {
        double want = 0;
        for (int k = 0; k < 3; k++) want += WEIGHT[i][k] * losses[k];
        outer(&s, 0, AT[i], grad, &loss);
        EXPECT_CLOSE(loss, want, 1e-10, 0);
    }
    tlv_file_close(f);
    small_close(&s);
}

/* In the last step before they are gone an early loss keeps 3 % of its share. */
static void test_early_losses_keep_a_share(void)
{
    tlv_meta_opts o = opts(TLV_MAML_PLUS_PLUS);
    o.multi_step = 1000;
    small s = small_open(TLV_F64, 1, o);
    tlv_file *f = open_goldens(s.c);
    double l[3], grad[NUMBERS], loss;
    REQUIRE(f && golden(s.c, f, "maml++", 0, "losses", l, 3), "no golden losses");
    outer(&s, 0, 999, grad, &loss);
    EXPECT_CLOSE(loss, 0.01 * l[0] + 0.01 * l[1] + 0.98 * l[2], 1e-10, 0);
    tlv_file_close(f);
    small_close(&s);
}

/* ---- finite differences ---------------------------------------------------------------------- */

/* The outer loss at p + h u. */
static double loss_at(const small *s, int64_t iteration, const double *u, double h)
{
    double grad[NUMBERS], was[NUMBERS], now[NUMBERS], loss = NAN;
    for (int pass = 0; pass < 2; pass++) {                  // there, and back again
        for (int i = 0, at = 0; i < s->l->entries; i++) {
            tlv_tensor *t = tlv_params_get(s->l->p, i);
            int64_t n = tlv_numel(t);
            if (tlv_params_is_buffer(s->l->p, i)) continue;
            tlv_scope scope = tlv_scope_begin(s->c);
            if (pass == 0) support_read(s->c, t, was + at, n);
            for (int64_t j = 0; j < n; j++) now[j] = was[at + j] + (pass == 0 ? h * u[at + j] : 0);
            tlv_params_set(s->c, s->l->p, i, tlv_from_data(s->c, TLV_F64, tlv_shape_of(t), now, 0));
            tlv_scope_end(s->c, scope);
            at += (int)n;
        }
        if (pass == 0) outer(s, 0, iteration, grad, &loss);
    }
    return loss;
}

/* Fourth order: (8 (f(h) - f(-h)) - (f(2h) - f(-2h))) / 12h */
static double slope(const small *s, int64_t iteration, const double *u, double h)
{
    double near = loss_at(s, iteration, u, h) - loss_at(s, iteration, u, -h);
    double far = loss_at(s, iteration, u, 2 * h) - loss_at(s, iteration, u, -2 * h);
    return (8 * near - far) / (12 * h);
}

/* Along random directions through all numbers; then along those of the entries of one kind. */
static void check_differences(tlv_meta_opts o, int64_t iteration, int n_kinds,
                              const char *const *kinds)
{
    enum { RANDOM = 3 };
    small s = small_open(TLV_F64, 1, o);
    double grad[NUMBERS], u[NUMBERS], loss, worst = 0;
    int n = outer(&s, 0, iteration, grad, &loss);
    REQUIRE(n > 0, "%s", tlv_error_msg(s.c));
    for (int k = 0; k < RANDOM + n_kinds; k++) {
        support_uniform(u, n, (uint64_t)k, -1, 1);
        for (int i = 0, at = 0; k >= RANDOM && i < s.l->entries; i++) {
            if (tlv_params_is_buffer(s.l->p, i)) continue;
            int64_t len = tlv_numel(tlv_params_get(s.l->p, i));
            int drop = !tlv_match(kinds[k - RANDOM], tlv_params_name(s.l->p, i));
            for (int64_t j = 0; j < len; j++, at++) u[at] = drop ? 0 : u[at];
        }
        double want = 0;
        for (int i = 0; i < n; i++) want += u[i] * grad[i];
        double got = slope(&s, iteration, u, 1e-5);
        worst = fmax(worst, fabs(got - want) / fabs(want));
        EXPECT(fabs(got - want) <= 1e-6 * fabs(want),
               "%s, %s: finite difference %.12g, gradient %.12g", s.l->how->name,
               k < RANDOM ? "all" : kinds[k - RANDOM], got, want);
        EXPECT(fabs(want) > 1e-5, "direction %d has hardly a slope: the check proves nothing", k);
    }
    printf("  %s against finite differences: off by %.1e at most\n", s.l->how->name, worst);
    small_close(&s);
}

static void test_meta_sgd_agrees_with_finite_differences(void)
{
    static const char *const KINDS[] = { "conv1.weight", "bn2.*", "fc.*", "meta.rate.conv1.weight",
                                         "meta.rate.bn*", "meta.rate.fc.*" };
    check_differences(opts(TLV_META_SGD), 0, 6, KINDS);
}

static void test_maml_plus_plus_agrees_with_finite_differences(void)
{
    static const char *const KINDS[] = { "conv1.weight", "fc.*", "meta.rate.0.*", "meta.rate.2.*",
                                         "meta.step.0.*", "meta.step.1.*", "meta.step.3.*" };
    tlv_meta_opts o = opts(TLV_MAML_PLUS_PLUS);
    check_differences(o, 4, 7, KINDS);
    o.bn = TLV_META_BN_PER_STEP;
    check_differences(o, 10, 7, KINDS);
}

/* ---- iMAML ----------------------------------------------------------------------------------- */


/* phi - lr (g + lambda (phi - theta)), with history where flags record it. */
static const tlv_params *proximal_step(tlvi_meta_task *t, const tlv_params *theta,
                                       const tlv_params *phi, int flags)
{
    tlv_ctx *c = t->c;
    const tlv_meta_opts *o = &t->l->o;
    const tlv_params *g = tlv_params_grad(c, tlvi_meta_support_loss(c, phi, 0, t), phi, flags);
    const tlv_params *q = tlv_params_axpy(c, phi, -o->inner_lr, g);
    tlv_params *r = tlv_params_axpy(c, q, 0, g);
    for (int i = 0; r && i < t->l->entries; i++) {
        if (!g->value[i]) continue;
        tlv_tensor *back = tlv_sub(c, phi->value[i], theta->value[i]);
        r->value[i] = tlv_sub(c, r->value[i], tlv_affine(c, back, o->inner_lr * o->proximal, 0));
    }
    return r;
}

/* MAML through the recorded inner loop of iMAML: what its gradient is in the limit. */
static void exact(const small *s, int k, double *grad)
{
    tlv_scope scope = tlv_scope_begin(s->c);
    tlv_episode e = small_episode(s->c, TLV_F64, k, WAYS, SHOTS, QUERIES);
    tlvi_meta_task t = small_task(s, s->l->p, &e, 0);
    const tlv_params *theta = tlvi_meta_adapted(&t, t.p), *phi = theta;
    for (int i = 0; i < s->l->o.inner_steps; i++)
        phi = proximal_step(&t, theta, phi, TLV_CREATE_GRAPH);
    tlv_tensor *loss = tlvi_meta_query_loss(&t, tlvi_meta_query_logits(&t, phi, 0));
    flatten(s->c, tlv_params_grad(s->c, loss, t.p, 0), grad);
    tlv_scope_end(s->c, scope);
}

static double relative_gap(const double *a, const double *b, int n)
{
    double gap = 0, norm = 0;
    for (int i = 0; i < n; i++) gap += (a[i] - b[i]) * (a[i] - b[i]), norm += b[i] * b[i];
    return sqrt(gap / norm);
}

/* |grad L_Q - (I + H/lambda) v| / |grad L_Q| at phi, H v by finite differences of grad L_S. */
static double residual(const small *s, const double *v)
{
    tlv_ctx *c = s->c;
    double b[NUMBERS], up[NUMBERS], down[NUMBERS], got[NUMBERS], h = 1e-5;
    tlv_scope scope = tlv_scope_begin(c);
    tlv_episode e = small_episode(c, TLV_F64, 0, WAYS, SHOTS, QUERIES);
    tlvi_meta_task t = small_task(s, s->l->p, &e, 0);
    const tlv_params *theta = tlvi_meta_adapted(&t, t.p), *phi = theta;
    for (int i = 0; i < s->l->o.inner_steps; i++) phi = proximal_step(&t, theta, phi, 0);
    tlv_params *leaves = tlv_params_axpy(c, phi, 0, phi), *dir = tlv_params_axpy(c, phi, 0, phi);
    for (int i = 0, at = 0; i < s->l->entries; i++) {
        if (tlv_params_is_buffer(s->l->p, i)) continue;
        tlv_tensor *x = leaves->value[i];
        leaves->value[i] = tlv_leaf(c, x);
        dir->value[i] = tlv_from_data(c, TLV_F64, tlv_shape_of(x), v + at, 0);
        at += (int)tlv_numel(x);
    }
    tlv_tensor *loss = tlvi_meta_query_loss(&t, tlvi_meta_query_logits(&t, leaves, 0));
    int n = flatten(c, tlv_params_grad(c, loss, leaves, 0), b);
    for (int side = 0; side < 2; side++) {
        const tlv_params *p = tlv_params_axpy(c, leaves, side ? -h : h, dir);
        loss = tlvi_meta_support_loss(c, p, 0, &t);
        flatten(c, tlv_params_grad(c, loss, p, 0), side ? down : up);
    }
    for (int i = 0; i < n; i++) got[i] = v[i] + (up[i] - down[i]) / (2 * h * s->l->o.proximal);
    tlv_scope_end(c, scope);
    return relative_gap(got, b, n);
}

static void test_imaml_solves_the_linear_system(void)
{
    static const int STEPS[4] = { 1, 3, 8, 40 };
    double last = 1;
    for (int k = 0; k < 4; k++) {
        tlv_meta_opts o = opts(TLV_IMAML);
        o.cg_steps = STEPS[k];
        small s = small_open(TLV_F64, 1, o);
        double v[NUMBERS], loss;
        outer(&s, 0, 0, v, &loss);
        double r = residual(&s, v);
        printf("  %d steps of conjugate gradients: residual %.1e\n", STEPS[k], r);
        EXPECT(r < last, "residual %.3g after %d steps, %.3g before", r, STEPS[k], last);
        last = r;
        small_close(&s);
    }
    EXPECT(last < 1e-7, "the residual after 40 steps is %.3g", last);
}

/* adapt NULL, and a part of the parameters: then the others have the gradient (4) of imaml.c. */
static void test_imaml_tends_to_the_exact_gradient(void)
{
    static const char *const ADAPT[3] = { NULL, "head.*", "conv*.weight,bn2.*" };
    for (int k = 0; k < 3; k++) {
        double got[NUMBERS], want[NUMBERS], loss, gap[2];
        for (int many = 0; many < 2; many++) {
            tlv_meta_opts o = opts(TLV_IMAML);
            o.adapt = ADAPT[k];
            o.proximal = 20;            // so near theta that no ReLU's kink lies on the way
            o.inner_lr = 0.02;

            o.inner_steps = many ? 200 : 2;
            o.cg_steps = many ? 60 : 5;
            small s = small_open(TLV_F64, 1, o);
            int n = outer(&s, 1, 0, got, &loss);
            exact(&s, 1, want);
            gap[many] = relative_gap(got, want, n);
            small_close(&s);
        }
        printf("  adapt %s: off by %.1e after 2 steps, %.1e after 200\n", ADAPT[k] ? ADAPT[k] : "*",
               gap[0], gap[1]);
        EXPECT(gap[1] < 1e-8, "off by %.3g in the limit", gap[1]);
        EXPECT(gap[0] > 1e-3, "off by %.3g far from the limit: the check proves nothing", gap[0]);
    }
}

/* No inner step is recorded: memory does not grow with their number. */
static void test_imaml_needs_the_same_memory_for_more_steps(void)
{
    if (TLVI_DEBUG) SKIP("debug builds keep the headers of tensors that ended");
    size_t peak[2];
    for (int many = 0; many < 2; many++) {
        tlv_meta_opts o = opts(TLV_IMAML);
        o.inner_steps = many ? 64 : 4;
        small s = small_open(TLV_F32, 1, o);
        double grad[NUMBERS], loss;
        outer(&s, 0, 0, grad, &loss);                       // warm
        tlv_mem_reset_peak(s.c);
        outer(&s, 0, 0, grad, &loss);
        peak[many] = tlv_mem_get(s.c).peak;
        small_close(&s);
    }
    EXPECT(peak[1] <= peak[0] + peak[0] / 20, "4 steps take %zu bytes, 64 take %zu", peak[0],
           peak[1]);
}

/* ---- batch norms of single steps ------------------------------------------------------------- */

static int slot_of(const small *s, const char *name)
{
    int i = tlv_params_find(s->l->p, name);
    EXPECT(i >= 0, "there is no entry %s", name);
    return i;
}

static void test_inner_loop_leaves_norms_of_steps_alone(void)
{
    small s = small_open(TLV_F64, 1, opts(TLV_MAML_PLUS_PLUS));
    double grad[NUMBERS], loss;
    outer(&s, 0, 0, grad, &loss);
    int rates = 0;
    for (int i = 0, at = 0; i < s.l->entries; i++) {
        const char *name = tlv_params_name(s.l->p, i);
        int64_t n = tlv_numel(tlv_params_get(s.l->p, i));
        if (tlv_match("meta.rate.*", name)) rates++;
        EXPECT(!tlv_match("meta.rate.*.bn*", name), "%s: norms have no rate", name);
        EXPECT(!tlv_match("meta.step.*.running*", name), "%s: statistics are the batch's", name);
        if (tlv_match("bn*", name)) {
            EXPECT(!s.l->adapted[i], "%s is adapted", name);
            for (int64_t j = 0; !tlv_params_is_buffer(s.l->p, i) && j < n; j++)
                EXPECT(grad[at + j] == 0, "%s is read by no pass, but has a gradient", name);
        }
        if (!tlv_params_is_buffer(s.l->p, i)) at += (int)n;
    }
    EXPECT_INT(rates, 3 * 6);
    EXPECT_INT(tlv_params_find(s.l->p, "meta.step.4.bn1.weight"), -1);
    small_close(&s);
}

/* What training has seen goes into the step's own pair; the model's stays. */
static void test_statistics_of_steps_are_collected(void)
{
    tlv_meta_opts o = opts(TLV_MAML_PLUS_PLUS);
    o.bn = TLV_META_BN_PER_STEP;
    o.multi_step = 0;
    small s = small_open(TLV_F64, 1, o);
    tlv_scope scope = tlv_scope_begin(s.c);
    tlv_episode e = small_episode(s.c, TLV_F64, 0, WAYS, SHOTS, QUERIES);
    tlvi_meta_task t = small_task(&s, s.l->p, &e, 0);
    tlvi_meta_start(&t);
    s.l->how->direction(&t);
    REQUIRE(t.observed, "nothing was observed");
    EXPECT(!t.observed->value[slot_of(&s, "bn1.running_mean")], "the model's own pair was used");
    double mean[4][3], want[3] = { 0 };
    for (int k = 0; k <= 3; k++) {
        char name[64];
        snprintf(name, sizeof name, "meta.step.%d.bn1.running_mean", k);
        const tlv_tensor *seen = t.observed->value[slot_of(&s, name)];
        if (EXPECT(seen != NULL, "%s: not seen", name)) support_read(s.c, seen, mean[k], 3);
        for (int j = 0; k > 0 && j < 3; j++)
            EXPECT(mean[k][j] != mean[k - 1][j], "step %d has seen what step %d has", k, k - 1);
    }
    // Step 0: the mean of conv1 over the support set.
    tlv_conv2d_opts stride = { .stride = 2, .pad = { 1, 1, 1, 1 } };
    tlv_tensor *h = tlv_conv2d(s.c, e.x[TLV_SUPPORT], t.p->value[slot_of(&s, "conv1.weight")],
                               t.p->value[slot_of(&s, "conv1.bias")], stride);
    support_read(s.c, tlv_mean(s.c, h, TLV_AXES(0, 2, 3), 0), want, 3);
    for (int j = 0; j < 3; j++) EXPECT_CLOSE(mean[0][j], want[j], 1e-12, 1e-14);
    tlv_scope_end(s.c, scope);
    small_close(&s);
}

/* Logits of all query images and of the first alone, after one change of an entry (NULL: none). */
static void predict(const small *s, const char *change, double *all, double *first)
{
    tlv_scope scope = tlv_scope_begin(s->c);
    tlv_episode e = small_episode(s->c, TLV_F64, 0, WAYS, SHOTS, QUERIES);
    tlv_tensor *one = tlv_slice(s->c, e.x[TLV_QUERY], 0, 0, 1, 1);
    int i = change ? slot_of(s, change) : -1;
    tlv_tensor *was = i >= 0 ? tlv_affine(s->c, tlv_params_get(s->l->p, i), 1, 0) : NULL;
    if (was) tlv_params_set(s->c, s->l->p, i, tlv_affine(s->c, was, 1, 0.5));
    const tlv_tensor *x = e.x[TLV_SUPPORT], *y = e.y[TLV_SUPPORT];
    support_read(s->c, tlv_meta_predict(s->l, x, y, WAYS, e.x[TLV_QUERY], 0), all, 9 * WAYS);
    support_read(s->c, tlv_meta_predict(s->l, x, y, WAYS, one, 0), first, WAYS);
    if (was) tlv_params_set(s->c, s->l->p, i, was);
    tlv_scope_end(s->c, scope);
}

/* With the running pair of their step query images do not see each other, with the batch's
 * statistics they do.  Inner steps take the support set's. */
static void test_statistics_of_steps_are_used_in_tests(void)
{
    tlv_meta_opts o = opts(TLV_MAML_PLUS_PLUS);
    double all[9 * WAYS], first[WAYS], changed[9 * WAYS], other[WAYS];
    o.bn = TLV_META_BN_PER_STEP;
    small s = small_open(TLV_F64, 1, o);
    predict(&s, NULL, all, first);
    for (int j = 0; j < WAYS; j++) EXPECT_CLOSE(first[j], all[j], 1e-12, 1e-14);
    static const char *const READ[4] = { "meta.step.3.bn1.running_mean",
                                         "meta.step.3.bn2.running_var", "meta.step.0.bn2.bias",
                                         "meta.step.3.bn2.weight" };
    for (int k = 0; k < 4; k++) {
        predict(&s, READ[k], changed, other);
        EXPECT(relative_gap(changed, all, 9 * WAYS) > 1e-6, "%s is not read", READ[k]);
    }
    static const char *const LEFT[3] = { "bn1.running_mean", "bn2.weight",
                                         "meta.step.0.bn1.running_mean" };
    for (int k = 0; k < 3; k++) {
        predict(&s, LEFT[k], changed, other);
        EXPECT(relative_gap(changed, all, 9 * WAYS) == 0, "%s is read", LEFT[k]);
    }
    small_close(&s);

    o.bn = TLV_META_BN_BATCH;
    s = small_open(TLV_F64, 1, o);
    predict(&s, NULL, all, first);
    EXPECT(relative_gap(first, all, WAYS) > 1e-3, "query images do not see each other");
    predict(&s, "meta.step.3.bn2.weight", changed, other);
    EXPECT(relative_gap(changed, all, 9 * WAYS) > 1e-6, "the last step's scale is not read");
    small_close(&s);
}

/* More steps in tests than in training: the last rates and norms serve again. */
static void test_more_steps_in_tests_than_in_training(void)
{
    tlv_meta_opts o = opts(TLV_MAML_PLUS_PLUS);
    double all[2][9 * WAYS], first[WAYS];
    for (int more = 0; more < 2; more++) {
        o.eval_steps = more ? 6 : 3;
        small s = small_open(TLV_F64, 1, o);
        predict(&s, NULL, all[more], first);
        small_close(&s);
    }
    EXPECT(relative_gap(all[1], all[0], 9 * WAYS) > 1e-6, "three more steps change nothing");
}

/* The learned start of a model: its norms are those of step 0. */
static void test_norms_of_step_0_go_to_the_model(void)
{
    small s = small_open(TLV_F64, 1, opts(TLV_MAML_PLUS_PLUS));
    double got[3], want[3];
    EXPECT_STATUS(tlv_meta_to_model(s.l, s.m), TLV_OK);
    const tlv_params *p = tlv_model_params(s.m);
    support_read(s.c, tlv_params_get(p, tlv_params_find(p, "bn1.bias")), got, 3);
    support_read(s.c, tlv_params_get(s.l->p, slot_of(&s, "meta.step.0.bn1.bias")), want, 3);
    for (int j = 0; j < 3; j++) EXPECT(got[j] == want[j], "%.17g, not %.17g", got[j], want[j]);
    small_close(&s);
}

static void test_opening_tells_what_is_wrong(void)
{
    small s = { .c = support_open() };
    s.m = small_net_open(s.c, TLV_F32, 1, WAYS);
    tlv_meta_opts o = opts(TLV_META_SGD);
    o.bn = TLV_META_BN_PER_STEP;
    EXPECT(!tlv_meta_open(s.c, s.m, o), "meta-sgd has no norms of single steps");
    EXPECT_ERROR(s.c, TLV_ERR_ARG, "meta-sgd has no batch norms of single steps");
    o = opts(TLV_IMAML);
    o.proximal = 0;
    EXPECT(!tlv_meta_open(s.c, s.m, o), "(1) has no minimum near theta");
    EXPECT_ERROR(s.c, TLV_ERR_ARG, "proximal 0");
    o = opts(TLV_IMAML);
    o.cg_steps = 0;
    EXPECT(!tlv_meta_open(s.c, s.m, o), "no steps of conjugate gradients");
    EXPECT_ERROR(s.c, TLV_ERR_ARG, "0 steps of conjugate gradients");
    o = opts(TLV_MAML_PLUS_PLUS);
    o.adapt = "bn*";
    EXPECT(!tlv_meta_open(s.c, s.m, o), "norms of steps cannot be adapted");
    EXPECT_ERROR(s.c, TLV_ERR_ARG, "no parameter matches");
    small_close(&s);
}

/* ---- outer steps ----------------------------------------------------------------------------- */

typedef struct stripes { tlv_dataset *d; tlv_episodes *e; } stripes;

static stripes open_stripes(tlv_ctx *c)
{
    stripes s = { .d = small_stripes(c) };
    tlv_episodes_opts o = { .recipe = { .size = 16, .mean = { 0.5, 0.5, 0.5 },
                                        .std = { 0.5, 0.5, 0.5 } } };
    s.e = s.d ? tlv_episodes_open(c, s.d, NULL, 0, o) : NULL;
    return s;
}

static void close_stripes(stripes *s)
{
    tlv_episodes_close(s->e);
    tlv_dataset_close(s->d);
}

static const tlv_meta_method METHODS[3] = { TLV_META_SGD, TLV_MAML_PLUS_PLUS, TLV_IMAML };

/* Two outer steps of 3 tasks; the learner's numbers. */
static int two_steps(tlv_meta_method method, int threads, double *v)
{
    tlv_ctx *c = tlv_ctx_open(&(tlv_ctx_opts){ .threads = threads, .seed = 7 });
    stripes s = open_stripes(c);
    tlv_model *m = small_net_open(c, TLV_F32, 1, WAYS);
    tlv_meta_opts o = opts(method);
    o.tasks = 3;
    if (method == TLV_MAML_PLUS_PLUS) o.bn = TLV_META_BN_PER_STEP;
    tlv_meta *l = m ? tlv_meta_open(c, m, o) : NULL;
    for (int k = 0; k < 2 && l; k++) tlv_meta_step(l, s.e, NULL);
    int n = 0;
    for (int i = 0; l && i < l->entries; i++) {             // buffers too
        if (tlv_dtype_of(tlv_params_get(l->p, i)) != TLV_F32) continue;
        support_read(c, tlv_params_get(l->p, i), v + n, tlv_numel(tlv_params_get(l->p, i)));
        n += (int)tlv_numel(tlv_params_get(l->p, i));
    }
    EXPECT_OK(c);
    tlv_meta_close(l);
    tlv_model_close(m);
    close_stripes(&s);
    tlv_ctx_close(c);
    return n;
}

static void test_outer_steps_have_the_same_bits_at_any_thread_count(void)
{
    for (int k = 0; k < 3; k++) {
        double one[NUMBERS], two[NUMBERS];
        int n = two_steps(METHODS[k], 1, one);
        EXPECT_INT(two_steps(METHODS[k], 2, two), n);
        EXPECT(n > 0 && memcmp(one, two, sizeof *one * (size_t)n) == 0,
               "%s: two threads give other bits", tlv_meta_method_name(METHODS[k]));
    }
}

/* The running pairs move by the momentum towards what was seen, 0.1 of the way. */
static void test_outer_step_updates_the_pairs_of_steps(void)
{
    tlv_ctx *c = support_open();
    stripes sh = open_stripes(c);
    tlv_meta_opts o = opts(TLV_MAML_PLUS_PLUS);
    o.bn = TLV_META_BN_PER_STEP;
    o.tasks = 2;
    small s = { .c = c, .m = small_net_open(c, TLV_F32, 1, WAYS) };
    s.l = tlv_meta_open(c, s.m, o);
    REQUIRE(s.l, "%s", tlv_error_msg(c));
    double before[3], after[3];
    for (int k = 0; k <= 3; k++) {
        char name[64];
        snprintf(name, sizeof name, "meta.step.%d.bn1.running_var", k);
        support_read(c, tlv_params_get(s.l->p, slot_of(&s, name)), before, 3);
        for (int j = 0; j < 3; j++) EXPECT(before[j] == 1, "%s starts at %g", name, before[j]);
    }
    EXPECT_STATUS(tlv_meta_step(s.l, sh.e, NULL), TLV_OK);
    for (int k = 0; k <= 3; k++) {
        char name[64];
        snprintf(name, sizeof name, "meta.step.%d.bn1.running_var", k);
        support_read(c, tlv_params_get(s.l->p, slot_of(&s, name)), after, 3);
        for (int j = 0; j < 3; j++)
            EXPECT(after[j] != 1 && after[j] > 0.9, "%s is %g after a step", name, after[j]);
    }
    support_read(c, tlv_params_get(s.l->p, slot_of(&s, "bn1.running_var")), after, 3);
    EXPECT(after[0] == 1, "the model's own pair moved");
    close_stripes(&sh);
    small_close(&s);
}

/* Accuracy on 100 tasks, whose chance is 1/3, before and after 40 outer steps of 8 tasks. */
static double learned(tlv_meta_method method, tlv_meta_bn bn, double *before)
{
    tlv_ctx *c = support_open();
    stripes s = open_stripes(c);
    tlv_model *m = small_net_open(c, TLV_F32, 1, WAYS);
    tlv_meta_opts o = opts(method);
    o.tasks = 8;
    o.bn = bn;
    o.lr = o.lr_end = 0.01;
    o.multi_step = 20;
    tlv_meta *l = m ? tlv_meta_open(c, m, o) : NULL;
    tlv_meta_test t = { .tasks = 100, .key = tlv_rng_stream(c, "new tasks") };
    tlv_meta_score first = { 0 }, last = { 0 };
    if (l) tlv_meta_evaluate(l, s.e, t, &first);
    for (int k = 0; k < 40 && l; k++) tlv_meta_step(l, s.e, NULL);
    if (l) tlv_meta_evaluate(l, s.e, t, &last);
    EXPECT_OK(c);
    tlv_meta_close(l);
    tlv_model_close(m);
    close_stripes(&s);
    tlv_ctx_close(c);
    *before = first.accuracy;
    return last.accuracy;
}

static void test_methods_learn(void)
{
    for (int k = 0; k < 4; k++) {
        tlv_meta_method method = METHODS[k < 3 ? k : 1];
        tlv_meta_bn bn = k < 3 ? TLV_META_BN_BATCH : TLV_META_BN_PER_STEP;
        double before, after = learned(method, bn, &before);
        printf("  %s, %s norms: %.3f before, %.3f after 40 steps\n", tlv_meta_method_name(method),
               tlv_meta_bn_name(bn), before, after);
        EXPECT(after > (k < 3 ? 0.8 : 0.65) && after > before + 0.2, "%s: %.3f before, %.3f after",
               tlv_meta_method_name(method), before, after);
    }
}

TEST_MAIN(T(test_meta_sgd_agrees_with_pytorch), T(test_maml_plus_plus_agrees_with_pytorch),
          T(test_imaml_agrees_with_pytorch), T(test_losses_of_early_steps_fade),
          T(test_early_losses_keep_a_share), T(test_meta_sgd_agrees_with_finite_differences),
          T(test_maml_plus_plus_agrees_with_finite_differences),
          T(test_imaml_solves_the_linear_system), T(test_imaml_tends_to_the_exact_gradient),
          T(test_imaml_needs_the_same_memory_for_more_steps),
          T(test_inner_loop_leaves_norms_of_steps_alone),
          T(test_statistics_of_steps_are_collected), T(test_statistics_of_steps_are_used_in_tests),
          T(test_more_steps_in_tests_than_in_training), T(test_norms_of_step_0_go_to_the_model),
          T(test_opening_tells_what_is_wrong),
          T(test_outer_steps_have_the_same_bits_at_any_thread_count),
          T(test_outer_step_updates_the_pairs_of_steps), T(test_methods_learn))
