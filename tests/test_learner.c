/* test_learner.c -- what learners of every method share: which parameters move, first order, a loss
 * that is not finite, the score of a test, predictions. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "tests/small_net.h"
#include "tests/support.h"

enum { WAYS = 3, SHOTS = 2, QUERIES = 3, NUMBERS = 128 };

static tlv_meta_opts opts(tlv_meta_method method)
{
    tlv_meta_opts o = tlv_meta_defaults(method, WAYS, SHOTS);
    o.queries = QUERIES;
    o.train_ways = 0;
    return o;
}

/* ---- which parameters move ------------------------------------------------------------------- */

static void check_adapted(tlv_meta_method method, const char *want)
{
    small s = small_open(TLV_F64, 1, opts(method));
    REQUIRE(s.l, "%s", tlv_error_msg(s.c));
    for (int i = 0; i < s.l->own; i++) {
        const char *name = tlv_params_name(s.l->p, i);
        if (tlv_params_is_buffer(s.l->p, i)) continue;
        EXPECT(s.l->adapted[i] == tlv_match(want, name), "%s: %s %s", s.l->how->name, name,
               s.l->adapted[i] ? "moves" : "stays");
    }
    small_close(&s);
}

static void test_methods_move_their_part(void)
{
    check_adapted(TLV_MAML, "*");
    check_adapted(TLV_ANIL, "fc.*");
    check_adapted(TLV_BOIL, "conv*,bn*");
}

/* A head whose name is longer than other names. */
static void test_head_in_a_pattern(void)
{
    tlv_ctx *c = support_open();
    tlv_model *m = tlv_model_open(c, "mobilenet_v2", (tlv_model_opts){ .width = 0.1,
                                                                       .classes = WAYS });
    tlv_meta_opts o = opts(TLV_MAML);
    o.adapt = "head.*";
    tlv_meta *l = m ? tlv_meta_open(c, m, o) : NULL;
    REQUIRE(l, "%s", tlv_error_msg(c));
    for (int i = 0; i < l->own; i++)
        EXPECT(l->adapted[i] == tlv_match("classifier.1.*", tlv_params_name(l->p, i)), "%s",
               tlv_params_name(l->p, i));
    tlv_meta_close(l);
    tlv_model_close(m);
    tlv_ctx_close(c);
}

/* ---- first order ----------------------------------------------------------------------------- */

static int numbers_of(tlv_ctx *c, const tlv_params *g, const char *name, double *v)
{
    const tlv_tensor *t = tlv_params_get(g, tlv_params_find(g, name));
    return EXPECT(t && tlv_numel(t) <= NUMBERS, "%s: no numbers", name)
        && support_read(c, t, v, tlv_numel(t)) ? (int)tlv_numel(t) : 0;
}

/* First-order MAML's outer gradient is grad L_Q at the adapted weights; MAML's is another. */
static void test_first_order_is_the_gradient_at_the_end(void)
{
    static const char *const NAMES[3] = { "conv1.weight", "bn2.weight", "fc.weight" };
    double got[2][NUMBERS], want[NUMBERS];
    for (int k = 0; k < 3; k++) {
        int n = 0;
        for (int second = 0; second < 2; second++) {
            tlv_meta_opts o = opts(second ? TLV_MAML : TLV_FOMAML);
            o.inner_steps = 2;
            small s = small_open(TLV_F64, 1, o);
            REQUIRE(s.l, "%s", tlv_error_msg(s.c));
            tlv_episode e = small_episode(s.c, TLV_F64, 0, WAYS, SHOTS, QUERIES);
            tlvi_meta_task t = small_task(&s, s.l->p, &e, 0);
            n = numbers_of(s.c, s.l->how->direction(&t), NAMES[k], got[second]);
            tlv_params *fast = tlv_params_clone(s.c, s.l->p);
            for (int i = 0; i < 2 && !second; i++) {
                tlv_scope scope = tlv_scope_begin(s.c);
                tlv_tensor *loss = tlvi_meta_support_loss(s.c, fast, i, &t);
                const tlv_params *g = tlv_params_grad(s.c, loss, fast, 0);
                tlv_params_copy(s.c, fast, tlv_params_axpy(s.c, fast, -o.inner_lr, g));
                tlv_scope_end(s.c, scope);
            }
            t.p = fast;
            if (!second) numbers_of(s.c, tlvi_meta_query_gradient(&t, fast, 2), NAMES[k], want);
            tlv_params_close(fast);
            small_close(&s);
        }
        double off = 0;
        for (int i = 0; i < n; i++) {
            EXPECT_CLOSE(got[0][i], want[i], 1e-9, 1e-12);
            off = fmax(off, fabs(got[1][i] - got[0][i]));
        }
        EXPECT(off > 1e-6, "%s: second order changes nothing", NAMES[k]);
    }
}

/* ---- outer steps ----------------------------------------------------------------------------- */

typedef struct on_stripes { small s; tlv_dataset *d; tlv_episodes *e; } on_stripes;

static on_stripes open_stripes(tlv_meta_opts o)
{
    on_stripes x = { .s = small_open(TLV_F32, 1, o) };
    x.d = small_stripes(x.s.c);
    tlv_episodes_opts eo = { .recipe = { .size = 16 } };
    x.e = x.d ? tlv_episodes_open(x.s.c, x.d, NULL, 0, eo) : NULL;
    EXPECT_OK(x.s.c);
    return x;
}

static void close_stripes(on_stripes *x)
{
    tlv_episodes_close(x->e);
    tlv_dataset_close(x->d);
    small_close(&x->s);
}

static void test_a_loss_that_is_not_finite_changes_nothing(void)
{
    tlv_meta_opts o = opts(TLV_MAML);
    o.tasks = 3;
    o.inner_lr = 1e30;
    on_stripes x = open_stripes(o);
    REQUIRE(x.e && x.s.l, "%s", tlv_error_msg(x.s.c));
    tlv_params *was = tlv_params_clone(x.s.c, x.s.l->p);
    EXPECT_STATUS(tlv_meta_step(x.s.l, x.e, NULL), TLV_ERR_ARG);
    EXPECT_ERROR(x.s.c, TLV_ERR_ARG, "the loss of task 0 in step 0 is");
    EXPECT_INT(tlv_meta_iteration(x.s.l), 0);
    for (int i = 0; i < x.s.l->entries; i++) {
        const tlv_tensor *a = was->value[i], *b = x.s.l->p->value[i];
        size_t bytes = (size_t)tlv_numel(a) * tlv_dtype_size(tlv_dtype_of(a));
        EXPECT(memcmp(tlvi_ptr(a), tlvi_ptr(b), bytes) == 0, "%s changed",
               tlv_params_name(x.s.l->p, i));
    }
    tlv_params_close(was);
    close_stripes(&x);
}

static void test_same_bits_at_any_thread_count(void)
{
    double norm[2];
    for (int k = 0; k < 2; k++) {
        tlv_ctx *c = tlv_ctx_open(&(tlv_ctx_opts){ .threads = k + 1 });
        tlv_dataset *d = small_stripes(c);
        tlv_model *m = small_net_open(c, TLV_F32, 2, WAYS);
        tlv_episodes_opts eo = { .recipe = { .size = 16 } };
        tlv_episodes *e = d ? tlv_episodes_open(c, d, NULL, 0, eo) : NULL;
        tlv_meta *l = m && e ? tlv_meta_open(c, m, opts(TLV_MAML)) : NULL;
        REQUIRE(l, "%s", tlv_error_msg(c));
        for (int i = 0; i < 3; i++) EXPECT_STATUS(tlv_meta_step(l, e, NULL), TLV_OK);
        norm[k] = tlv_params_norm(c, l->p);
        tlv_meta_close(l);
        tlv_ctx_close(c);
    }
    EXPECT(norm[0] == norm[1], "%.17g and %.17g", norm[0], norm[1]);
}

/* ---- tests of learners ----------------------------------------------------------------------- */

/* Mean accuracy and interval, from the tasks one at a time. */
static void test_score(void)
{
    enum { TASKS = 30 };
    on_stripes x = open_stripes(opts(TLV_MAML));
    REQUIRE(x.e && x.s.l, "%s", tlv_error_msg(x.s.c));
    const tlv_rng_key key = { 77 };
    tlv_meta_score all;
    tlv_meta_test t = { .tasks = TASKS, .key = key };
    EXPECT_STATUS(tlv_meta_evaluate(x.s.l, x.e, t, &all), TLV_OK);
    double sum = 0, squares = 0;
    for (int i = 0; i < TASKS; i++) {
        tlv_scope s = tlv_scope_begin(x.s.c);
        tlv_episode e = tlv_episode_draw(x.s.c, x.e, WAYS, SHOTS, QUERIES,
                                         tlv_rng_fold(key, (uint64_t)i));
        tlv_tensor *y = tlv_meta_predict(x.s.l, e.x[0], e.y[0], WAYS, e.x[1], 0);
        double guess[WAYS * QUERIES], right = 0;
        if (support_read(x.s.c, tlv_cast(x.s.c, tlv_argmax(x.s.c, y, 1, 0), TLV_F64), guess,
                         WAYS * QUERIES))
            for (int q = 0; q < WAYS * QUERIES; q++) right += guess[q] == q / QUERIES;
        right /= WAYS * QUERIES;
        sum += right;
        squares += right * right;
        tlv_scope_end(x.s.c, s);
    }
    double mean = sum / TASKS, var = (squares - TASKS * mean * mean) / (TASKS - 1);
    EXPECT_INT(all.tasks, TASKS);
    EXPECT_CLOSE(all.accuracy, mean, 1e-12, 0);
    EXPECT_CLOSE(all.ci95, 1.96 * sqrt(var / TASKS), 1e-9, 0);
    EXPECT(var > 0, "all tasks alike: the check proves little");
    close_stripes(&x);
}

/* Support sets in any order and size; another number of classes than was learned. */
static void test_predictions(void)
{
    for (int k = 0; k < TLV_META_METHODS; k++) {
        on_stripes x = open_stripes(opts((tlv_meta_method)k));
        REQUIRE(x.e && x.s.l, "%s", tlv_error_msg(x.s.c));
        tlv_episode e = tlv_episode_draw(x.s.c, x.e, WAYS + 2, SHOTS, QUERIES, (tlv_rng_key){ 5 });
        tlv_tensor *y = tlv_meta_predict(x.s.l, e.x[0], e.y[0], WAYS + 2, e.x[1], 0);
        if (EXPECT(y, "%s: %s", x.s.l->how->name, tlv_error_msg(x.s.c)))
            EXPECT_SHAPE(y, (WAYS + 2) * QUERIES, WAYS + 2);
        close_stripes(&x);
    }
}

/* Methods that compare features need an image of each class, and one by one means what it says. */
static void test_comparing_methods(void)
{
    static const tlv_meta_method METHOD[2] = { TLV_PROTONET, TLV_MATCHING_NET };
    for (int k = 0; k < 2; k++) {
        tlv_meta_opts o = opts(METHOD[k]);
        o.bn = TLV_META_BN_BATCH;
        small s = small_open(TLV_F64, 1, o);
        REQUIRE(s.l, "%s", tlv_error_msg(s.c));
        tlv_episode e = small_episode(s.c, TLV_F64, 0, WAYS, SHOTS, QUERIES);
        tlv_tensor *second = tlv_slice(s.c, e.x[1], 0, 1, 2, 1);
        double all[WAYS * QUERIES * WAYS], one[WAYS], off[2] = { 0, 0 };
        for (int by = 0; by < 2; by++) {
            tlv_tensor *y = tlv_meta_predict(s.l, e.x[0], e.y[0], WAYS, e.x[1], by),
                       *z = tlv_meta_predict(s.l, e.x[0], e.y[0], WAYS, second, by);
            REQUIRE(support_read(s.c, y, all, WAYS * QUERIES * WAYS)
                        && support_read(s.c, z, one, WAYS), "%s", tlv_error_msg(s.c));
            for (int i = 0; i < WAYS; i++) off[by] = fmax(off[by], fabs(all[WAYS + i] - one[i]));
        }
        EXPECT(off[1] < 1e-12, "%s one by one: off by %.2e", s.l->how->name, off[1]);
        EXPECT(off[0] > 1e-6, "%s: the other images do not matter", s.l->how->name);
        EXPECT(!tlv_meta_predict(s.l, e.x[0], e.y[0], WAYS + 1, e.x[1], 0), "a class too many");
        EXPECT_ERROR(s.c, TLV_ERR_ARG, "class 3 of 4 has no support image");
        small_close(&s);
    }
}

TEST_MAIN(T(test_methods_move_their_part), T(test_head_in_a_pattern),
          T(test_first_order_is_the_gradient_at_the_end),
          T(test_a_loss_that_is_not_finite_changes_nothing), T(test_same_bits_at_any_thread_count),
          T(test_score), T(test_predictions), T(test_comparing_methods))
