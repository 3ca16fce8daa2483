/* test_probe.c -- the linear probe against optima found by Newton's method
 * (tests/goldens/probe.safetensors; make_probe.py says what it holds), its cross-validation, and
 * its way into a model. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "tests/filled.h"
#include "tests/support.h"
#include "transfer/transfer.h"

enum { ROWS = 64, DIMS = 64, CLASSES = 3 };

/* Features of the golden's case, in arrays of the caller. */
typedef struct rows { float x[ROWS * DIMS]; int32_t y[ROWS]; tlv_features f; } rows;

static void fill_rows(rows *r, const char *name, int n, int d, int k)
{
    static double v[ROWS * DIMS];
    filled_values(name, (int64_t)n * d, -1, 1, v);
    for (int i = 0; i < n * d; i++) r->x[i] = (float)v[i];
    for (int i = 0; i < n; i++) {
        r->y[i] = (7 * i + 3) % k;
        r->x[i * d + r->y[i]] += 0.4f;
    }
    if (strcmp(name, "twice") == 0) memcpy(r->x + 6 * d, r->x, (size_t)d * sizeof *r->x);
    r->f = (tlv_features){ .n = n, .dim = d, .classes = k, .x = r->x, .label = r->y };
}

static int golden(tlv_ctx *c, const tlv_file *f, const char *name, const char *part, double *v,
                  int64_t n)
{
    char full[64];
    snprintf(full, sizeof full, "%s/%s", name, part);
    int i = tlv_file_find(f, full);
    return EXPECT(i >= 0, "the golden has no %s", full)
           && support_read(c, tlv_file_read(c, f, i), v, n);
}

/* The probe's objective at p, from raw features, in double. */
static double objective_of(const tlv_probe *p, const tlv_features *f)
{
    double sum = 0, squares = 0;
    for (int64_t i = 0; i < f->n; i++) {
        double a[CLASSES], top = -INFINITY, e = 0;
        for (int k = 0; k < p->classes; k++) {
            a[k] = p->b[k];
            for (int j = 0; j < p->dim; j++)
                a[k] += (double)p->w[k * p->dim + j] * f->x[i * p->dim + j];
            top = fmax(top, a[k]);
        }
        for (int k = 0; k < p->classes; k++) e += exp(a[k] - top);
        sum += log(e) + top - a[f->label[i]];
    }
    for (int j = 0; j < p->dim; j++) {
        double m = 0, s = 0;
        for (int64_t i = 0; i < f->n; i++) m += f->x[i * f->dim + j];
        m /= (double)f->n;
        for (int64_t i = 0; i < f->n; i++) s += pow(f->x[i * f->dim + j] - m, 2);
        s = sqrt(s / (double)(f->n - 1)) + 1e-5;
        for (int k = 0; k < p->classes; k++) squares += pow(p->w[k * p->dim + j] * s, 2);
    }
    return sum / (double)f->n + p->l2 * squares;
}

static void check_case(tlv_ctx *c, const tlv_file *f, const char *name, int i)
{
    static rows r;
    static double w[CLASSES * DIMS], b[CLASSES];
    char full[32];
    double attr[4], objective;
    snprintf(full, sizeof full, "%s.%d", name, i);
    tlv_scope scope = tlv_scope_begin(c);
    if (golden(c, f, full, "attr", attr, 4) && golden(c, f, full, "objective", &objective, 1)) {
        int n = (int)attr[0], d = (int)attr[1], k = (int)attr[2];
        fill_rows(&r, name, n, d, k);
        golden(c, f, full, "w", w, (int64_t)k * d);
        golden(c, f, full, "b", b, k);
        tlv_probe p;
        tlv_probe_report rep;
        EXPECT_STATUS(tlv_probe_fit(c, &r.f, (tlv_probe_opts){ .l2 = attr[3] }, &p, &rep), TLV_OK);
        EXPECT_CLOSE(rep.objective, objective, 0, 1e-9);
        EXPECT_CLOSE(objective_of(&p, &r.f), objective, 0, 1e-6);
        EXPECT(rep.max_grad < 1e-5, "%s: gradient %g", full, rep.max_grad);
        for (int j = 0; j < k * d; j++) EXPECT_CLOSE(p.w[j], w[j], 0, 2e-4);
        for (int j = 0; j < k; j++) EXPECT_CLOSE(p.b[j], b[j], 0, 2e-4);
        tlv_probe_close(&p);
    }
    tlv_scope_end(c, scope);
}

static void test_optima(void)
{
    char path[512];
    if (!test_file_path(path, sizeof path, "goldens/probe.safetensors")) return;
    tlv_ctx *c = support_open();
    tlv_file *f = tlv_file_open(c, path);
    REQUIRE(f, "%s", tlv_error_msg(c));
    check_case(c, f, "wide", 0);            // more features than rows: coordinates in their span
    check_case(c, f, "wide", 1);
    check_case(c, f, "tall", 0);
    check_case(c, f, "tall", 1);
    check_case(c, f, "twice", 0);           // a row that adds nothing to the span
    tlv_file_close(f);
    tlv_ctx_close(c);
}

/* ---- cross-validation ------------------------------------------------------------------------ */

/* Every row is predicted once, the table falls, and the choice is the best of it, ties to the
 * larger penalty; another number of threads gives the same bits. */
static void test_search(void)
{
    static rows r;
    fill_rows(&r, "search", 45, 24, 3);
    tlv_probe_report rep[2];
    tlv_probe p[2];
    float w[2][3 * 24];
    for (int t = 0; t < 2; t++) {
        tlv_ctx *c = tlv_ctx_open(&(tlv_ctx_opts){ .threads = t + 1, .seed = 1 });
        tlv_probe_opts o = { .n_l2 = 7, .key = tlv_rng_stream(c, "folds") };
        EXPECT_STATUS(tlv_probe_fit(c, &r.f, o, &p[t], &rep[t]), TLV_OK);
        EXPECT_INT(rep[t].folds, 5);
        EXPECT_INT(rep[t].n_table, 7);
        EXPECT_CLOSE(rep[t].table[0].l2, 1, 1e-12, 0);
        EXPECT_CLOSE(rep[t].table[6].l2, 1e-4, 1e-12, 0);
        int best = 0;
        for (int i = 0; i < 7; i++) {
            EXPECT(rep[t].table[i].right <= 45 && rep[t].table[i].right > 15, "%lld right",
                   (long long)rep[t].table[i].right);
            EXPECT(isfinite(rep[t].table[i].loss) && rep[t].table[i].loss > 0, "loss %g",
                   rep[t].table[i].loss);
            if (rep[t].table[i].loss < rep[t].table[best].loss) best = i;
        }
        EXPECT_INT(rep[t].chosen, best);
        EXPECT_CLOSE(p[t].l2, rep[t].table[best].l2, 0, 0);
        memcpy(w[t], p[t].w, sizeof w[t]);
        tlv_probe_close(&p[t]);
        tlv_ctx_close(c);
    }
    EXPECT(memcmp(rep[0].table, rep[1].table, sizeof rep[0].table) == 0,
           "threads change the table");
    EXPECT(memcmp(w[0], w[1], sizeof w[0]) == 0, "threads change the weights");
}

/* Labels that the features say nothing about: no penalty is better than guessing by much, and with
 * features that are all equal every penalty ties: the largest is taken. */
static void test_ties_go_to_the_larger_penalty(void)
{
    static rows r;
    fill_rows(&r, "ties", 20, 6, 2);
    for (int i = 0; i < 20 * 6; i++) r.x[i] = 0.25f;
    tlv_ctx *c = support_open();
    tlv_probe p;
    tlv_probe_report rep;
    EXPECT_STATUS(tlv_probe_fit(c, &r.f, (tlv_probe_opts){ 0 }, &p, &rep), TLV_OK);
    EXPECT_INT(rep.chosen, 0);
    EXPECT_INT(rep.at_edge, 1);
    EXPECT_CLOSE(p.l2, 1, 0, 0);
    EXPECT_CLOSE(rep.loss, log(2), 0, 1e-9);            // ten of each class
    for (int i = 0; i < 12; i++) EXPECT(fabsf(p.w[i]) < 1e-3f, "w %g", (double)p.w[i]);
    tlv_probe_close(&p);
    r.f.dim = 60;                                       // the span of the rows is a point, too
    r.f.n = 10;
    for (int i = 0; i < 600; i++) r.x[i] = -1;
    EXPECT_STATUS(tlv_probe_fit(c, &r.f, (tlv_probe_opts){ 0 }, &p, &rep), TLV_OK);
    EXPECT_CLOSE(rep.loss, log(2), 0, 1e-9);            // five of each class
    for (int i = 0; i < 120; i++) EXPECT(fabsf(p.w[i]) < 1e-3f, "w %g", (double)p.w[i]);
    tlv_probe_close(&p);
    tlv_ctx_close(c);
}

static int stop_at(void *user, int64_t done, int64_t total)
{
    int64_t *at = user;
    at[1] = total;
    return done >= at[0];
}

static void test_stop_and_errors(void)
{
    static rows r;
    fill_rows(&r, "stop", 30, 8, 3);
    tlv_ctx *c = support_open();
    tlv_probe p;
    tlv_probe_report rep;
    int64_t at[2] = { 4, 0 };
    tlv_probe_opts o = { .progress = stop_at, .user = at };
    EXPECT_STATUS(tlv_probe_fit(c, &r.f, o, &p, &rep), TLV_OK);
    EXPECT(rep.stopped && !p.w, "not stopped");
    EXPECT_INT(at[1], 45);

    r.y[5] = 3;
    tlv_probe_fit(c, &r.f, (tlv_probe_opts){ 0 }, &p, NULL);
    EXPECT_ERROR(c, TLV_ERR_ARG, "row 5 has label 3 of 3 classes");
    r.y[5] = 0;
    r.x[8 * 2 + 1] = NAN;
    tlv_probe_fit(c, &r.f, (tlv_probe_opts){ 0 }, &p, NULL);
    EXPECT_ERROR(c, TLV_ERR_ARG, "feature 1 of row 2 is not finite");
    r.x[8 * 2 + 1] = 0;
    tlv_probe_fit(c, &r.f, (tlv_probe_opts){ .l2 = -1 }, &p, NULL);
    EXPECT_ERROR(c, TLV_ERR_ARG, "penalty -1");
    tlv_probe_fit(c, &r.f, (tlv_probe_opts){ .folds = 1 }, &p, NULL);
    EXPECT_ERROR(c, TLV_ERR_ARG, "1 folds");
    r.f.classes = 1;
    tlv_probe_fit(c, &r.f, (tlv_probe_opts){ 0 }, &p, NULL);
    EXPECT_ERROR(c, TLV_ERR_ARG, "1 class");
    EXPECT(!p.w, "a probe after an error");
    tlv_ctx_close(c);
}

/* ---- prediction, a model --------------------------------------------------------------------- */

static void test_predict(void)
{
    // two classes by the sign of one feature: w = (1, -1), b = 0
    float x[4] = { 2, -1, 0.5f, -3 }, w[4] = { 1, -1, 0, 0 }, prob[8];
    int32_t y[4] = { 0, 1, 1, 1 };
    tlv_ctx *c = support_open();
    tlv_features f = { .n = 4, .dim = 1, .classes = 2, .x = x, .label = y };
    tlv_probe p = { .c = c, .classes = 2, .dim = 1, .w = w, .b = w + 2 };
    int64_t confusion[4] = { 0 };
    tlv_score s;
    EXPECT_STATUS(tlv_probe_predict(c, &p, &f, prob, confusion, &s), TLV_OK);
    EXPECT_INT(s.n, 4);
    EXPECT_INT(s.right, 3);
    EXPECT_CLOSE(s.accuracy, 0.75, 0, 0);
    double loss = 0;
    for (int i = 0; i < 4; i++) {                       // logits x and -x: p0 = 1 / (1 + e^(-2x))
        double p0 = 1 / (1 + exp(-2.0 * x[i]));
        EXPECT_CLOSE(prob[2 * i], p0, 1e-6, 0);
        EXPECT_CLOSE(prob[2 * i + 1], 1 - p0, 1e-5, 0);
        loss -= log(y[i] ? 1 - p0 : p0) / 4;
    }
    EXPECT_CLOSE(s.loss, loss, 1e-6, 0);
    EXPECT(confusion[0] == 1 && confusion[1] == 0 && confusion[2] == 1 && confusion[3] == 2,
           "confusion %lld %lld %lld %lld", (long long)confusion[0], (long long)confusion[1],
           (long long)confusion[2], (long long)confusion[3]);
    f.dim = 2;
    tlv_probe_predict(c, &p, &f, NULL, NULL, &s);
    EXPECT_ERROR(c, TLV_ERR_ARG, "2 classes by 1 features");
    tlv_ctx_close(c);
}

/* A model with the probe's head says what the probe says. */
static void test_into_a_model(void)
{
    tlv_ctx *c = support_open();
    tlv_dataset *d = tlv_dataset_open(c, "shapes:3", "train");
    tlv_model *m = tlv_model_open(c, "resnet20", (tlv_model_opts){ .classes = 4 });
    tlv_features f;
    tlv_extract_features(c, m, d, NULL, tlv_dataset_size(d), (tlv_extract_opts){ 0 }, &f, NULL);
    tlv_probe p;
    tlv_score a, b;
    static float pa[300], pb[300];
    EXPECT_STATUS(tlv_probe_fit(c, &f, (tlv_probe_opts){ .l2 = 0.01 }, &p, NULL), TLV_OK);
    EXPECT_STATUS(tlv_probe_to_model(c, &p, m), TLV_OK);
    EXPECT_INT(tlv_model_classes(m), 10);
    tlv_probe_predict(c, &p, &f, pa, NULL, &a);
    tlv_evaluate(c, m, d, NULL, 30, (tlv_evaluate_opts){ .prob = pb, .batch = 7 }, &b);
    EXPECT_OK(c);
    EXPECT_INT(a.right, b.right);
    EXPECT_CLOSE(a.loss, b.loss, 1e-5, 0);
    for (int i = 0; i < 300; i++) EXPECT_CLOSE(pb[i], pa[i], 0, 1e-5);

    tlv_model *other = tlv_model_open(c, "resnet18", (tlv_model_opts){ .classes = 2 });
    tlv_probe_to_model(c, &p, other);
    EXPECT_ERROR(c, TLV_ERR_SHAPE, "does not hold a probe's 640 numbers");
    tlv_model_close(other);
    tlv_probe_close(&p);
    tlv_features_close(&f);
    tlv_model_close(m);
    tlv_dataset_close(d);
    tlv_ctx_close(c);
}

TEST_MAIN(T(test_optima), T(test_search), T(test_ties_go_to_the_larger_penalty),
          T(test_stop_and_errors), T(test_predict), T(test_into_a_model))
