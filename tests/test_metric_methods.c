/* test_metric_methods.c -- prototypical and matching networks against their equations written out,
 * Reptile against Adam written out, gradients against finite differences. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/filled.h"
#include "tests/small_net.h"
#include "tests/support.h"

enum { WAYS = 3, SHOTS = 2, QUERIES = 3, NUMBERS = 512, DIM = 4, N = WAYS * SHOTS,
       Q = WAYS * QUERIES };

static tlv_meta_opts opts(tlv_meta_method method)
{
    tlv_meta_opts o = tlv_meta_defaults(method, WAYS, SHOTS);
    o.queries = QUERIES;
    o.train_ways = 0;
    o.train_shots = 0;
    return o;
}

/* ---- logits by their equations --------------------------------------------------------------- */

/* Features of support and query images in one batch, as training sees them: [N+Q][DIM]. */
static int features(const small *s, const tlv_episode *e, double *f)
{
    const tlv_tensor *both[2] = { e->x[0], e->x[1] };
    tlv_run r = tlv_model_run(s->c, s->m, TLV_TRAIN);
    r.params = s->l->p;
    tlv_tensor *y = tlv_model_features(&r, s->m, tlv_cat(s->c, 2, both, 0));
    return y && support_read(s->c, y, f, (N + Q) * DIM);
}

/* log of the probabilities that the equations give a query image. */
static void proto_row(const double *f, const double *label, const double *x, double *out)
{
    double c[WAYS][DIM] = { { 0 } }, sum = 0;
    for (int i = 0; i < N; i++)
        for (int d = 0; d < DIM; d++) c[(int)label[i]][d] += f[i * DIM + d] / SHOTS;
    for (int k = 0; k < WAYS; k++) {
        out[k] = 0;
        for (int d = 0; d < DIM; d++) out[k] -= (x[d] - c[k][d]) * (x[d] - c[k][d]);
        sum += exp(out[k]);
    }
    for (int k = 0; k < WAYS; k++) out[k] -= log(sum);
}

static void matching_row(const double *f, const double *label, const double *x, double *out)
{
    double p[WAYS] = { 0 }, all = 0;
    for (int i = 0; i < N; i++) {
        double dot = 0, a = 0, b = 0;
        for (int d = 0; d < DIM; d++) {
            dot += f[i * DIM + d] * x[d];
            a += f[i * DIM + d] * f[i * DIM + d];
            b += x[d] * x[d];
        }
        p[(int)label[i]] += exp(dot / sqrt(a * b));
        all += exp(dot / sqrt(a * b));
    }
    for (int k = 0; k < WAYS; k++) out[k] = log(p[k] / all);
}

static void check_logits(tlv_meta_method method,
                         void (*row)(const double *, const double *, const double *, double *))
{
    small s = small_open(TLV_F64, 1, opts(method));
    REQUIRE(s.l, "%s", tlv_error_msg(s.c));
    tlv_episode e = small_episode(s.c, TLV_F64, 0, WAYS, SHOTS, QUERIES);
    tlvi_meta_task t = small_task(&s, s.l->p, &e, 0);
    double f[(N + Q) * DIM], label[N], got[Q * WAYS], want[WAYS];
    tlv_tensor *y = tlv_log_softmax(s.c, s.l->how->predict(&t), 1);
    REQUIRE(features(&s, &e, f) && y && support_read(s.c, y, got, Q * WAYS)
                && support_read(s.c, tlv_cast(s.c, e.y[0], TLV_F64), label, N),
            "%s", tlv_error_msg(s.c));
    for (int q = 0; q < Q; q++) {
        row(f, label, f + (N + q) * DIM, want);
        for (int k = 0; k < WAYS; k++) EXPECT_CLOSE(got[q * WAYS + k], want[k], 1e-9, 1e-9);
    }
    small_close(&s);
}

static void test_protonet_is_its_equation(void) { check_logits(TLV_PROTONET, proto_row); }
static void test_matching_net_is_its_equation(void)
{
    check_logits(TLV_MATCHING_NET, matching_row);
}

/* ---- gradients ------------------------------------------------------------------------------- */

static double loss_at(const small *s, const tlv_episode *e, double h)
{
    tlv_params *q = tlv_params_clone(s->c, s->l->p);
    tlv_scope scope = tlv_scope_begin(s->c);
    for (int i = 0; i < tlv_params_count(q); i++) {
        const tlv_tensor *t = tlv_params_get(q, i);
        if (tlv_params_is_buffer(q, i)) continue;
        tlv_tensor *u = filled_tensor(s->c, TLV_F64, tlv_shape_of(t), tlv_params_name(q, i), -1, 1);
        tlv_params_set(s->c, q, i, tlv_add(s->c, t, tlv_affine(s->c, u, h, 0)));
    }
    tlvi_meta_task t = small_task(s, q, e, 0);
    s->l->how->direction(&t);
    tlv_scope_end(s->c, scope);
    tlv_params_close(q);
    return t.loss;
}

static void check_differences(tlv_meta_method method)
{
    const double h = 1e-5;
    small s = small_open(TLV_F64, 1, opts(method));
    REQUIRE(s.l, "%s", tlv_error_msg(s.c));
    tlv_episode e = small_episode(s.c, TLV_F64, 0, WAYS, SHOTS, QUERIES);
    tlvi_meta_task t = small_task(&s, s.l->p, &e, 0);
    tlv_params *g = s.l->how->direction(&t);
    double want = 0;
    for (int i = 0; g && i < tlv_params_count(g); i++) {
        const tlv_tensor *d = tlv_params_get(g, i);
        if (!d || tlv_params_is_buffer(g, i)) continue;
        tlv_tensor *u = filled_tensor(s.c, TLV_F64, tlv_shape_of(d), tlv_params_name(g, i), -1, 1);
        want += tlv_item(s.c, tlv_sum(s.c, tlv_mul(s.c, d, u), TLV_ALL_AXES, 0));
    }
    double near = loss_at(&s, &e, h) - loss_at(&s, &e, -h);
    double far = loss_at(&s, &e, 2 * h) - loss_at(&s, &e, -2 * h);
    EXPECT_CLOSE((8 * near - far) / (12 * h), want, 1e-6, 0);
    EXPECT(fabs(want) > 1e-4, "hardly a slope: the check proves nothing");
    small_close(&s);
}

static void test_gradients_agree_with_finite_differences(void)
{
    check_differences(TLV_PROTONET);
    check_differences(TLV_MATCHING_NET);
    check_differences(TLV_MAML);
}

/* ---- Reptile --------------------------------------------------------------------------------- */

/* Adam with beta1 = 0 on the whole support set, number by number, from the learner's second moments
 * on, `before` steps being behind them; entries 0..15 of phi and of v. */
enum { ROOM = 16 };
typedef struct by_hand { double phi[ROOM][NUMBERS], v[ROOM][NUMBERS]; } by_hand;

static int moment_of(const tlv_meta *l, int slot)
{
    char name[128];
    snprintf(name, sizeof name, "meta.second_moment.%s", tlv_params_name(l->p, slot));
    return tlv_params_find(l->p, name);
}

static int start_by_hand(const small *s, by_hand *h)
{
    for (int i = 0; i < s->l->own; i++) {
        const tlv_tensor *p = tlv_params_get(s->l->p, i);
        int64_t n = tlv_numel(p);
        if (moment_of(s->l, i) < 0) continue;
        if (!EXPECT(i < ROOM && n <= NUMBERS, "room") || !support_read(s->c, p, h->phi[i], n)
            || !support_read(s->c, tlv_params_get(s->l->p, moment_of(s->l, i)), h->v[i], n))
            return 0;
    }
    return 1;
}

static int adam_by_hand(const small *s, const tlv_episode *e, int before, int steps, by_hand *h)
{
    double g[NUMBERS];
    int ok = start_by_hand(s, h);
    tlv_params *phi = tlv_params_clone(s->c, s->l->p);
    for (int k = before + 1; k <= before + steps && ok; k++) {
        tlv_scope scope = tlv_scope_begin(s->c);
        tlvi_meta_task t = small_task(s, phi, e, 0);
        tlv_params *d = tlv_params_grad(s->c, tlvi_meta_support_loss(s->c, phi, 0, &t), phi, 0);
        for (int i = 0; ok && d && i < s->l->own; i++) {
            if (moment_of(s->l, i) < 0) continue;
            tlv_shape shape = tlv_shape_of(tlv_params_get(phi, i));
            int64_t n = tlv_numel(tlv_params_get(phi, i));
            ok = support_read(s->c, tlv_params_get(d, i), g, n);
            for (int64_t j = 0; ok && j < n; j++) {
                h->v[i][j] = 0.999 * h->v[i][j] + 0.001 * g[j] * g[j];
                h->phi[i][j] -= s->l->o.inner_lr * g[j]
                              / (sqrt(h->v[i][j] / (1 - pow(0.999, k))) + 1e-8);
            }
            tlv_params_set(s->c, phi, i, tlv_from_data(s->c, TLV_F64, shape, h->phi[i], 0));
        }
        tlv_scope_end(s->c, scope);
    }
    tlv_params_close(phi);
    return ok;
}

static void check_against_hand(const small *s, const tlv_params *d, const by_hand *h)
{
    int seen = 0;
    for (int i = 0; d && i < s->l->own; i++) {
        double got[NUMBERS], theta[NUMBERS], v[NUMBERS];
        int64_t n = tlv_numel(tlv_params_get(s->l->p, i));
        if (moment_of(s->l, i) < 0 || !support_read(s->c, tlv_params_get(d, i), got, n)
            || !support_read(s->c, tlv_params_get(s->l->p, i), theta, n)
            || !support_read(s->c, tlv_params_get(d, moment_of(s->l, i)), v, n))
            continue;
        for (int64_t j = 0; j < n; j++) {
            EXPECT_CLOSE(got[j], theta[j] - h->phi[i][j], 1e-6, 1e-9);
            EXPECT_CLOSE(v[j], h->v[i][j], 1e-9, 1e-15);
        }
        seen++;
    }
    EXPECT(seen >= 6, "%d entries", seen);
}

static void test_reptile_moves_towards_where_adam_leads(void)
{
    static by_hand h;
    tlv_meta_opts o = opts(TLV_REPTILE);
    o.inner_batch = 0;                                  // all images: their order changes nothing
    o.inner_steps = 4;
    o.inner_lr = 0.01;
    small s = small_open(TLV_F64, 1, o);
    REQUIRE(s.l, "%s", tlv_error_msg(s.c));
    tlv_episode e = small_episode(s.c, TLV_F64, 0, WAYS, SHOTS, QUERIES);
    for (int iteration = 0; iteration < 4; iteration += 3) {
        s.l->iteration = iteration;
        tlvi_meta_task t = small_task(&s, s.l->p, &e, 0);
        tlv_params *d = s.l->how->direction(&t);
        if (adam_by_hand(&s, &e, 4 * iteration, 4, &h)) check_against_hand(&s, d, &h);
    }
    small_close(&s);
}

/* What tasks begin with is the mean of what those of the step before ended with. */
static void test_reptile_carries_second_moments(void)
{
    tlv_ctx *c = support_open();
    tlv_dataset *d = small_stripes(c);
    tlv_model *m = small_net_open(c, TLV_F32, 1, WAYS);
    tlv_episodes_opts eo = { .recipe = { .size = 16 } };
    tlv_episodes *e = d ? tlv_episodes_open(c, d, NULL, 0, eo) : NULL;
    tlv_meta_opts o = opts(TLV_REPTILE);
    o.tasks = 3;
    o.inner_steps = 1;
    o.lr = o.lr_end = 0;                                // theta stays: gradients do
    tlv_meta *l = e && m ? tlv_meta_open(c, m, o) : NULL;
    REQUIRE(l, "%s", tlv_error_msg(c));
    int slot = moment_of(l, tlv_params_find(l->p, "fc.bias"));
    double v[3][WAYS];
    for (int k = 0; k < 3; k++) {
        EXPECT(support_read(c, tlv_params_get(l->p, slot), v[k], WAYS), "step %d", k);
        EXPECT_STATUS(tlv_meta_step(l, e, NULL), TLV_OK);
    }
    for (int j = 0; j < WAYS; j++) {
        EXPECT_CLOSE(v[0][j], 0, 0, 0);
        EXPECT(v[1][j] > 0, "%g", v[1][j]);
        EXPECT(v[2][j] > 0.999 * v[1][j] && v[2][j] < 20 * v[1][j], "%g after %g", v[2][j],
               v[1][j]);
    }
    tlv_meta_close(l);
    tlv_model_close(m);
    tlv_ctx_close(c);
}

/* An outer step with lr 1 and one task arrives at phi. */
static void test_reptile_steps_by_epsilon(void)
{
    tlv_ctx *c = support_open();
    tlv_dataset *d = small_stripes(c);
    tlv_episodes_opts eo = { .recipe = { .size = 16 } };
    tlv_episodes *e = d ? tlv_episodes_open(c, d, NULL, 0, eo) : NULL;
    double moved[2] = { 0, 0 };
    for (int half = 0; half < 2; half++) {
        tlv_meta_opts o = opts(TLV_REPTILE);
        o.tasks = 1;
        o.lr = half ? 0.5 : 1;
        o.iterations = 1000000;
        tlv_model *m = small_net_open(c, TLV_F32, 1, WAYS);
        tlv_meta *l = e && m ? small_learner(c, m, o) : NULL;
        REQUIRE(l, "%s", tlv_error_msg(c));
        tlv_params *was = tlv_params_clone(c, l->p);
        EXPECT_STATUS(tlv_meta_step(l, e, NULL), TLV_OK);
        tlv_scope s = tlv_scope_begin(c);
        moved[half] = tlv_params_norm(c, tlv_params_axpy(c, was, -1, l->p));
        tlv_scope_end(c, s);
        tlv_params_close(was);
        tlv_meta_close(l);
        tlv_model_close(m);
    }
    EXPECT(moved[0] > 0, "nothing moved");
    EXPECT_CLOSE(moved[1], moved[0] / 2, 1e-4, 0);
    tlv_ctx_close(c);
}

/* ---- all of them ----------------------------------------------------------------------------- */

static const tlv_meta_method METHODS[3] = { TLV_REPTILE, TLV_PROTONET, TLV_MATCHING_NET };

static tlv_meta_opts learning(tlv_meta_method method)
{
    tlv_meta_opts o = opts(method);
    o.tasks = 4;
    o.iterations = 1000;
    if (method == TLV_REPTILE) {
        o.train_shots = 5;
        o.queries = 1;
        o.inner_lr = 0.01;
        o.eval_steps = 20;
    }
    return o;
}

/* Accuracy before and after 60 outer steps; the parameters' norm to *norm. */
static void run(tlv_meta_method method, int threads, int steps, double accuracy[2], double *norm)
{
    tlv_ctx *c = tlv_ctx_open(&(tlv_ctx_opts){ .threads = threads, .seed = 3 });
    tlv_dataset *d = small_stripes(c);
    tlv_model *m = small_net_open(c, TLV_F32, 2, WAYS);
    tlv_episodes_opts eo = { .recipe = { .size = 16 } };
    tlv_episodes *e = d ? tlv_episodes_open(c, d, NULL, 0, eo) : NULL;
    tlv_meta *l = m && e ? tlv_meta_open(c, m, learning(method)) : NULL;
    REQUIRE(l, "%s", tlv_error_msg(c));
    tlv_meta_test t = { .tasks = 200, .key = { 9 }, .queries = 3 };
    tlv_meta_score score;
    tlv_meta_evaluate(l, e, t, &score);
    accuracy[0] = score.accuracy;
    for (int i = 0; i < steps; i++) tlv_meta_step(l, e, NULL);
    tlv_meta_evaluate(l, e, t, &score);
    accuracy[1] = score.accuracy;
    *norm = tlv_params_norm(c, l->p);
    EXPECT_OK(c);
    tlv_meta_close(l);
    tlv_model_close(m);
    tlv_ctx_close(c);
}

static void test_methods_learn(void)
{
    for (int i = 0; i < 3; i++) {
        double a[2], norm;
        run(METHODS[i], 2, 60, a, &norm);
        printf("  %s: %.3f before, %.3f after 60 steps\n", tlv_meta_method_name(METHODS[i]), a[0],
               a[1]);
        EXPECT(a[1] > 0.7 && a[1] > a[0] + 0.05, "%s: %.3f, then %.3f",
               tlv_meta_method_name(METHODS[i]), a[0], a[1]);
    }
}

static void test_same_bits_at_any_thread_count(void)
{
    for (int i = 0; i < 3; i++) {
        double a[2][2], norm[2];
        for (int k = 0; k < 2; k++) run(METHODS[i], k + 1, 5, a[k], &norm[k]);
        EXPECT(norm[0] == norm[1] && a[0][1] == a[1][1], "%s: %.17g and %.17g",
               tlv_meta_method_name(METHODS[i]), norm[0], norm[1]);
    }
}

/* Inner steps have scopes of their own; what their batch norms saw reaches the running pair. */
static void test_statistics_outlive_inner_steps(void)
{
    static const tlv_meta_method WITH_STEPS[3] = { TLV_REPTILE, TLV_IMAML, TLV_MAML };
    for (int k = 0; k < 3; k++) {
        tlv_ctx *c = support_open();
        tlv_dataset *d = small_stripes(c);
        tlv_model *m = small_net_open(c, TLV_F32, 1, WAYS);
        tlv_episodes_opts eo = { .recipe = { .size = 16 } };
        tlv_episodes *e = d ? tlv_episodes_open(c, d, NULL, 0, eo) : NULL;
        tlv_meta_opts o = learning(WITH_STEPS[k]);
        o.bn = TLV_META_BN_RUNNING;
        tlv_meta *l = m && e ? tlv_meta_open(c, m, o) : NULL;
        REQUIRE(l, "%s", tlv_error_msg(c));
        double was[DIM], now[DIM];
        int slot = tlv_params_find(l->p, "bn2.running_mean");
        int ok = support_read(c, tlv_params_get(l->p, slot), was, DIM);
        for (int i = 0; i < 2; i++) tlv_meta_step(l, e, NULL);
        ok = ok && support_read(c, tlv_params_get(l->p, slot), now, DIM);
        EXPECT_OK(c);
        EXPECT(ok && memcmp(was, now, sizeof was) != 0, "%s: the running mean stays",
               tlv_meta_method_name(WITH_STEPS[k]));
        tlv_meta_close(l);
        tlv_model_close(m);
        tlv_ctx_close(c);
    }
}

/* One by one, an image's answer does not depend on its neighbours. */
static void test_one_by_one(void)
{
    small s = small_open(TLV_F64, 1, opts(TLV_REPTILE));
    REQUIRE(s.l, "%s", tlv_error_msg(s.c));
    tlv_episode e = small_episode(s.c, TLV_F64, 0, WAYS, SHOTS, QUERIES);
    double all[2][Q * WAYS], one[2][WAYS];
    for (int by = 0; by < 2; by++) {
        tlv_tensor *few = tlv_slice(s.c, e.x[1], 0, 1, 2, 1);
        tlv_tensor *y = tlv_meta_predict(s.l, e.x[0], e.y[0], WAYS, e.x[1], by);
        tlv_tensor *z = tlv_meta_predict(s.l, e.x[0], e.y[0], WAYS, few, by);
        REQUIRE(y && z && support_read(s.c, y, all[by], Q * WAYS)
                    && support_read(s.c, z, one[by], WAYS), "%s", tlv_error_msg(s.c));
    }
    double off[2] = { 0, 0 };
    for (int by = 0; by < 2; by++)
        for (int k = 0; k < WAYS; k++)
            off[by] = fmax(off[by], fabs(all[by][WAYS + k] - one[by][k]));
    EXPECT(off[1] < 1e-12, "one by one: off by %.2e", off[1]);
    EXPECT(off[0] > 1e-3, "all at once: the neighbours do not matter, the check proves nothing");
    small_close(&s);
}

TEST_MAIN(T(test_protonet_is_its_equation), T(test_matching_net_is_its_equation),
          T(test_gradients_agree_with_finite_differences),
          T(test_reptile_moves_towards_where_adam_leads),
          T(test_reptile_carries_second_moments), T(test_reptile_steps_by_epsilon),
          T(test_methods_learn), T(test_same_bits_at_any_thread_count), T(test_one_by_one),
          T(test_statistics_outlive_inner_steps))
