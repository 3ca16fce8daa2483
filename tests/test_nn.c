/* test_nn.c -- how parameters start (PyTorch's rules for fans and gains), layers and their three
 * states, statistics, taps, heads. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "nn/nn.h"
#include "tests/filled.h"
#include "tests/support.h"

/* ---- draws ----------------------------------------------------------------------------------- */

typedef struct moments { double mean, std, least, most; } moments;

static moments moments_of(tlv_ctx *c, const tlv_tensor *t)
{
    moments m = { 0, 0, INFINITY, -INFINITY };
    int64_t n = tlv_numel(t);
    double *v = calloc((size_t)n + 1, sizeof *v);
    if (v && support_read(c, t, v, n)) {
        for (int64_t i = 0; i < n; i++) {
            m.mean += v[i] / (double)n;
            m.least = fmin(m.least, v[i]);
            m.most = fmax(m.most, v[i]);
        }
        for (int64_t i = 0; i < n; i++) m.std += (v[i] - m.mean) * (v[i] - m.mean) / (double)n;
        m.std = sqrt(m.std);
    }
    free(v);
    return m;
}

static moments draw(tlv_ctx *c, tlv_shape s, tlv_init init)
{
    tlv_build *b = tlv_build_begin(c, TLV_F64);
    tlv_build_param(b, "w", s, init);
    tlv_params *p = tlv_build_end(b);
    moments m = { NAN, NAN, NAN, NAN };
    if (EXPECT(p, "%s", tlv_error_msg(c))) m = moments_of(c, tlv_params_get(p, 0));
    tlv_params_close(p);
    return m;
}

/* Five standard errors; of the standard deviation of n draws, at most 1 / sqrt(n) of it. */
static void check_moments(moments m, double std, double n, const char *what)
{
    EXPECT(fabs(m.mean) <= 5 * std / sqrt(n), "%s: mean %.4g", what, m.mean);
    EXPECT(fabs(m.std - std) <= 5 * std / sqrt(n), "%s: standard deviation %.5g, want %.5g", what,
           m.std, std);
}

static void check_uniform(moments m, double bound, double n, const char *what)
{
    check_moments(m, bound / sqrt(3.0), n, what);
    EXPECT(m.least >= -bound && m.most <= bound, "%s: %.6g to %.6g, bound %.6g", what, m.least,
           m.most, bound);
    EXPECT(m.most > bound * (1 - 20 / n) && m.least < -bound * (1 - 20 / n),
           "%s: the bound %.6g is not reached", what, bound);
}

/* [O,C,KH,KW] = [40,30,3,5]: fan in 30 * 15 = 450, fan out 40 * 15 = 600. */
static void test_fans_and_gains_of_a_convolution(void)
{
    tlv_ctx *c = support_open();
    tlv_shape s = TLV_SHAPE(40, 30, 3, 5);
    double n = 40 * 30 * 15;
    check_uniform(draw(c, s, tlv_init_kaiming_uniform(sqrt(5.0))), 1 / sqrt(450.0), n, "Conv2d's");
    check_uniform(draw(c, s, tlv_init_kaiming_uniform(0)), sqrt(6 / 450.0), n,
                  "kaiming uniform, slope 0");
    check_moments(draw(c, s, tlv_init_kaiming_normal(0)), sqrt(2 / 450.0), n,
                  "kaiming normal, fan in");
    check_moments(draw(c, s, tlv_init_kaiming_normal(1)), sqrt(2 / 600.0), n,
                  "kaiming normal, fan out");
    check_uniform(draw(c, s, tlv_init_xavier_uniform(1)), sqrt(6 / 1050.0), n, "xavier uniform");
    check_uniform(draw(c, s, tlv_init_xavier_uniform(3)), 3 * sqrt(6 / 1050.0), n,
                  "xavier uniform, gain 3");
    check_moments(draw(c, s, tlv_init_xavier_normal(2)), 2 * sqrt(2 / 1050.0), n,
                  "xavier normal, gain 2");
    EXPECT_OK(c);
    tlv_ctx_close(c);
}

static void test_fans_of_a_matrix(void)
{
    tlv_ctx *c = support_open();
    tlv_shape s = TLV_SHAPE(100, 150);
    check_uniform(draw(c, s, tlv_init_kaiming_uniform(sqrt(5.0))), 1 / sqrt(150.0), 15000,
                  "Linear's");
    check_moments(draw(c, s, tlv_init_kaiming_normal(1)), sqrt(2 / 100.0), 15000, "fan out");
    check_uniform(draw(c, s, tlv_init_xavier_uniform(1)), sqrt(6 / 250.0), 15000, "xavier");
    tlv_ctx_close(c);
}

static void test_plain_draws(void)
{
    tlv_ctx *c = support_open();
    tlv_shape s = TLV_SHAPE(50000);
    check_uniform(draw(c, s, tlv_init_uniform(0.25)), 0.25, 50000, "uniform");
    moments m = draw(c, s, tlv_init_normal(0.02));
    check_moments(m, 0.02, 50000, "normal");
    EXPECT(m.most > 3.5 * 0.02 && m.least < -3.5 * 0.02, "a normal without tails: %.3g to %.3g",
           m.least, m.most);
    m = draw(c, s, tlv_init_zeros());
    EXPECT(m.least == 0 && m.most == 0, "zeros");
    m = draw(c, s, tlv_init_ones());
    EXPECT(m.least == 1 && m.most == 1, "ones");
    tlv_ctx_close(c);
}

/* Cut at 2: the variance of what is left is 1 - 4 phi(2) / (Phi(2) - Phi(-2)). */
static void test_truncated_normal_is_cut_at_two(void)
{
    tlv_ctx *c = support_open();
    moments m = draw(c, TLV_SHAPE(50000), tlv_init_trunc_normal(0.02));
    double pi = 3.14159265358979323846, phi = exp(-2.0) / sqrt(2 * pi), inside = erf(2 / sqrt(2.0));
    check_moments(m, 0.02 * sqrt(1 - 4 * phi / inside), 50000, "truncated normal");
    EXPECT(m.most <= 0.04 && m.least >= -0.04, "%.6g to %.6g", m.least, m.most);
    EXPECT(m.most > 0.0398 && m.least < -0.0398, "the cut is not at 2: %.6g to %.6g", m.least,
           m.most);
    tlv_ctx_close(c);
}

/* ---- what a start depends on ----------------------------------------------------------------- */

static void read_first(tlv_ctx *c, tlv_build *b, const char *name, double *v)
{
    tlv_params *p = tlv_build_end(b);
    support_read(c, tlv_params_get(p, tlv_params_find(p, name)), v, 12);
    tlv_params_close(p);
}

static void test_a_start_depends_on_seed_and_name_alone(void)
{
    double alone[12], among[12], other[12], seeded[12];
    tlv_ctx *c = support_open(), *d = tlv_ctx_open(&(tlv_ctx_opts){ .threads = 2, .seed = 8 });
    tlv_build *b = tlv_build_begin(c, TLV_F64);
    tlv_linear_init(b, "x", 4, 3, 0);
    read_first(c, b, "x.weight", alone);
    b = tlv_build_begin(c, TLV_F64);
    tlv_conv_init(b, "first", 3, 5, 3, (tlv_conv2d_opts){ 0 }, 1);
    tlv_linear_init(b, "x", 4, 3, 1);
    read_first(c, b, "x.weight", among);
    b = tlv_build_begin(c, TLV_F64);
    tlv_linear_init(b, "y", 4, 3, 0);
    read_first(c, b, "y.weight", other);
    b = tlv_build_begin(d, TLV_F64);
    tlv_linear_init(b, "x", 4, 3, 0);
    read_first(d, b, "x.weight", seeded);
    EXPECT(memcmp(alone, among, sizeof alone) == 0, "what else is in the model matters");
    EXPECT(memcmp(alone, other, sizeof alone) != 0, "the name does not matter");
    EXPECT(memcmp(alone, seeded, sizeof alone) != 0, "the seed does not matter");
    EXPECT_OK(c);
    tlv_ctx_close(c);
    tlv_ctx_close(d);
}

static void test_layers_have_pytorchs_names_and_bounds(void)
{
    static const char *const NAMES[] = { "c.weight",
                                         "c.bias",
                                         "b.weight",
                                         "b.bias",
                                         "b.running_mean",
                                         "b.running_var",
                                         "b.num_batches_tracked",
                                         "n.weight",
                                         "n.bias" };
    tlv_ctx *c = support_open();
    tlv_build *b = tlv_build_begin(c, TLV_F32);
    tlv_conv_layer conv = tlv_conv_init(b, "c", 64, 96, 3, (tlv_conv2d_opts){ .groups = 2 }, 1);
    tlv_bn_layer bn = tlv_bn_init(b, "b", 96);
    tlv_ln_init(b, "n", 32, 1e-6);
    tlv_params *p = tlv_build_end(b);
    REQUIRE(p, "%s", tlv_error_msg(c));
    EXPECT_INT(tlv_params_count(p), 9);
    for (int i = 0; i < 9; i++) EXPECT_STR(tlv_params_name(p, i), NAMES[i]);
    EXPECT_SHAPE(tlv_params_get(p, conv.w), 96, 32, 3, 3);          // fan in 32 * 9
    check_uniform(moments_of(c, tlv_params_get(p, conv.w)), 1 / sqrt(288.0), 96 * 288,
                  "grouped weight");
    moments m = moments_of(c, tlv_params_get(p, conv.b));
    EXPECT(m.most <= 1 / sqrt(288.0) && m.most > 0.8 / sqrt(288.0), "bias up to %g", m.most);
    EXPECT(bn.eps == 1e-5 && bn.momentum == 0.1, "batch norm's eps and momentum");
    EXPECT_INT(tlv_dtype_of(tlv_params_get(p, bn.count)), TLV_I64);
    tlv_params_close(p);
    tlv_ctx_close(c);
}

/* ---- batch norm's three states --------------------------------------------------------------- */

typedef struct bn_net { tlv_conv_layer conv; tlv_bn_layer bn; } bn_net;

static tlv_params *bn_open(tlv_ctx *c, bn_net *m)
{
    tlv_build *b = tlv_build_begin(c, TLV_F64);
    m->conv = tlv_conv_init(b, "conv", 3, 4, 3, (tlv_conv2d_opts){ .pad = { 1, 1, 1, 1 } }, 0);
    m->bn = tlv_bn_init(b, "bn", 4);
    tlv_params *p = tlv_build_end(b);
    filled_params(c, p, 0);
    return p;
}

static void test_three_states_of_batch_norm(void)
{
    tlv_ctx *c = support_open();
    bn_net m;
    tlv_params *p = bn_open(c, &m);
    tlv_tensor *x = filled_tensor(c, TLV_F64, TLV_SHAPE(2, 3, 5, 5), "x", -1, 1), *mean, *var;
    tlv_tensor *gamma = tlv_params_get(p, m.bn.gamma), *beta = tlv_params_get(p, m.bn.beta);
    tlv_tensor *h = tlv_conv2d(c, x, tlv_params_get(p, m.conv.w), NULL, m.conv.o);
    tlv_tensor *batch = tlv_batch_norm(c, h, gamma, beta, 1e-5, NULL, TLV_ACT_RELU, &mean, &var);
    tlv_tensor *given = tlv_batch_norm_with(c, h, tlv_params_get(p, m.bn.mean),
                                            tlv_params_get(p, m.bn.var), gamma, beta, 1e-5, NULL,
                                            TLV_ACT_RELU);
    double want[200], got[200], old[4], now[4], batch_mean[4];
    tlv_stats *stats = tlv_stats_open(c);
    support_read(c, tlv_params_get(p, m.bn.mean), old, 4);
    support_read(c, mean, batch_mean, 4);
    for (int state = 0; state < 3; state++) {                       // train, frozen, eval
        if (state == 1) tlv_params_freeze(p, "bn.running_*");
        tlv_run r = {
            .c = c, .params = p, .mode = state == 2 ? TLV_EVAL : TLV_TRAIN, .stats = stats
        };
        support_read(c, state == 0 ? batch : given, want, 200);
        support_read(c, tlv_conv_bn_fwd(&r, &m.conv, &m.bn, x, NULL, TLV_ACT_RELU), got, 200);
        for (int i = 0; i < 200; i++) EXPECT_CLOSE(got[i], want[i], 1e-12, 1e-12);
        if (state > 0) {                                            // statistics stay as they are
            support_read(c, tlv_params_get(p, m.bn.mean), old, 4);
            EXPECT_STATUS(tlv_run_apply_stats(&r, p), TLV_OK);
            support_read(c, tlv_params_get(p, m.bn.mean), now, 4);
            EXPECT(memcmp(old, now, sizeof old) == 0, "state %d changes its statistics", state);
            continue;
        }
        support_read(c, tlv_params_get(p, m.bn.mean), now, 4);
        EXPECT(memcmp(old, now, sizeof old) == 0, "statistics changed before they were applied");
        EXPECT_STATUS(tlv_run_apply_stats(&r, p), TLV_OK);
        support_read(c, tlv_params_get(p, m.bn.mean), now, 4);
        for (int i = 0; i < 4; i++)
            EXPECT_CLOSE(now[i], 0.9 * old[i] + 0.1 * batch_mean[i], 1e-12, 1e-14);
        EXPECT_STATUS(tlv_run_apply_stats(&r, p), TLV_OK);          // they are forgotten
        support_read(c, tlv_params_get(p, m.bn.mean), old, 4);
        EXPECT(memcmp(old, now, sizeof old) == 0, "applied twice");
        given = tlv_batch_norm_with(c, h, tlv_params_get(p, m.bn.mean), tlv_params_get(p, m.bn.var),
                                    gamma, beta, 1e-5, NULL, TLV_ACT_RELU);
    }
    EXPECT(tlv_item(c, tlv_params_get(p, m.bn.count)) == 1, "one batch");
    EXPECT_OK(c);
    tlv_stats_close(stats);
    tlv_params_close(p);
    tlv_ctx_close(c);
}

static void test_statistics_that_are_dropped_are_counted(void)
{
    tlv_ctx *c = support_open();
    bn_net m;
    tlv_params *p = bn_open(c, &m);
    tlv_tensor *x = filled_tensor(c, TLV_F64, TLV_SHAPE(2, 3, 5, 5), "x", -1, 1);
    tlv_stats *stats = tlv_stats_open(c);
    tlv_run r = { .c = c, .params = p, .stats = stats };
    for (int i = 0; i < 3; i++) tlv_conv_bn_fwd(&r, &m.conv, &m.bn, x, NULL, TLV_ACT_NONE);
    tlv_stats_discard(stats);
    EXPECT_INT(tlv_stats_discarded(stats), 3);
    EXPECT_STATUS(tlv_run_apply_stats(&r, p), TLV_OK);
    EXPECT(tlv_item(c, tlv_params_get(p, m.bn.count)) == 0, "dropped, and still applied");
    EXPECT_OK(c);
    tlv_stats_close(stats);
    tlv_params_close(p);
    tlv_ctx_close(c);
}

/* ---- models ---------------------------------------------------------------------------------- */

static void test_models_by_name(void)
{
    static const struct { const char *name; int64_t numbers; int classes, features; } WANT[] = {
        { "resnet20", 269722, 10, 64 },       { "resnet32", 464154, 10, 64 },
        { "resnet44", 658586, 10, 64 },       { "resnet56", 853018, 10, 64 },
        { "resnet18", 11689512, 1000, 512 },  { "resnet34", 21797672, 1000, 512 },
        { "resnet50", 25557032, 1000, 2048 },
    };
    tlv_ctx *c = support_open();
    for (size_t i = 0; i < sizeof WANT / sizeof WANT[0]; i++) {
        tlv_model *m = tlv_model_open(c, WANT[i].name, (tlv_model_opts){ 0 });
        REQUIRE(m, "%s", tlv_error_msg(c));
        EXPECT_INT(tlv_params_numel(tlv_model_params(m), 0), WANT[i].numbers);
        EXPECT_INT(tlv_model_classes(m), WANT[i].classes);
        tlv_scope s = tlv_scope_begin_with(c, TLV_NO_GRAD);
        tlv_run r = tlv_model_run(c, m, TLV_EVAL);
        tlv_tensor *x = filled_tensor(c, TLV_F32, TLV_SHAPE(1, 3, 32, 32), "x", -1, 1);
        EXPECT_SHAPE(tlv_model_features(&r, m, x), 1, WANT[i].features);
        EXPECT_SHAPE(tlv_model_forward(&r, m, x), 1, WANT[i].classes);
        tlv_scope_end(c, s);
        tlv_model_close(m);
    }
    EXPECT(tlv_model_open(c, "resnet19", (tlv_model_opts){ 0 }) == NULL, "a resnet19");
    EXPECT(strstr(tlv_error_hint(c), "resnet18"), "the hint does not list them: %s",
           tlv_error_hint(c));
    EXPECT_ERROR(c, TLV_ERR_ARG, "resnet19");
    tlv_ctx_close(c);
}

static void test_a_new_head_leaves_the_body(void)
{
    tlv_ctx *c = support_open();
    tlv_model *m = tlv_model_open(c, "resnet20", (tlv_model_opts){ 0 });
    tlv_scope s = tlv_scope_begin_with(c, TLV_NO_GRAD);
    tlv_tensor *x = filled_tensor(c, TLV_F32, TLV_SHAPE(2, 3, 32, 32), "x", -1, 1);
    double before[128], after[128];
    tlv_run r = tlv_model_run(c, m, TLV_EVAL);
    support_read(c, tlv_model_features(&r, m, x), before, 128);
    EXPECT_STATUS(tlv_model_new_head(c, m, 7), TLV_OK);
    r = tlv_model_run(c, m, TLV_EVAL);
    EXPECT_INT(tlv_model_classes(m), 7);
    EXPECT_SHAPE(tlv_model_forward(&r, m, x), 2, 7);
    support_read(c, tlv_model_features(&r, m, x), after, 128);
    EXPECT(memcmp(before, after, sizeof before) == 0, "other features");
    tlv_taps *taps = tlv_taps_open(c, "layer1,layer3");
    r.taps = taps;
    tlv_model_forward(&r, m, x);
    EXPECT_INT(tlv_taps_count(taps), 2);
    EXPECT_STR(tlv_taps_name(taps, 1), "layer3");
    EXPECT_SHAPE(tlv_taps_get(taps, 0), 2, 16, 32, 32);
    EXPECT_SHAPE(tlv_taps_get(taps, 1), 2, 64, 8, 8);
    tlv_taps_close(taps);
    tlv_scope_end(c, s);
    EXPECT_OK(c);
    tlv_model_close(m);
    tlv_ctx_close(c);
}

static void test_a_pattern_of_taps_is_not_cut(void)
{
    tlv_ctx *c = support_open();
    char pattern[300];
    memset(pattern, 'a', sizeof pattern - 1);
    pattern[sizeof pattern - 1] = 0;
    EXPECT(!tlv_taps_open(c, pattern), "opened");
    EXPECT_ERROR(c, TLV_ERR_ARG, "299 characters");
    tlv_ctx_close(c);
}

/* ---- sinks and sets that do not belong together ---------------------------------------------- */

static void test_statistics_go_to_the_set_they_came_from(void)
{
    tlv_ctx *c = support_open();
    bn_net m;
    tlv_params *p = bn_open(c, &m);
    tlv_build *b = tlv_build_begin(c, TLV_F64);
    tlv_build_buffer(b, "a", TLV_SHAPE(1), tlv_init_zeros());       // fewer slots than p has
    tlv_params *q = tlv_build_end(b);
    tlv_tensor *x = filled_tensor(c, TLV_F64, TLV_SHAPE(2, 3, 5, 5), "x", -1, 1);
    tlv_stats *stats = tlv_stats_open(c);
    tlv_run r = { .c = c, .params = p, .stats = stats },
            other = { .c = c, .params = q, .stats = stats };
    tlv_conv_bn_fwd(&r, &m.conv, &m.bn, x, NULL, TLV_ACT_NONE);
    EXPECT_STATUS(tlv_run_apply_stats(&other, q), TLV_ERR_NAME);
    EXPECT_ERROR(c, TLV_ERR_NAME, "another parameter set");
    EXPECT_INT(tlv_stats_discarded(stats), 1);
    tlv_conv_bn_fwd(&r, &m.conv, &m.bn, x, NULL, TLV_ACT_NONE);
    EXPECT_STATUS(tlv_run_apply_stats(&r, q), TLV_ERR_NAME);
    EXPECT_ERROR(c, TLV_ERR_NAME, "different names");
    EXPECT_INT(tlv_stats_discarded(stats), 2);
    EXPECT_STATUS(tlv_run_apply_stats(&r, p), TLV_OK);              // nothing is left to apply
    EXPECT(tlv_item(c, tlv_params_get(p, m.bn.count)) == 0, "applied after all");
    EXPECT_OK(c);
    tlv_stats_close(stats);
    tlv_params_close(q);
    tlv_params_close(p);
    tlv_ctx_close(c);
}

static void test_an_empty_batch_leaves_the_statistics(void)
{
    tlv_ctx *c = support_open();
    bn_net m;
    tlv_params *p = bn_open(c, &m);
    tlv_params *was = tlv_params_clone(c, p);
    tlv_stats *stats = tlv_stats_open(c);
    tlv_run r = { .c = c, .params = p, .stats = stats };
    tlv_tensor *y = tlv_conv_bn_fwd(
        &r, &m.conv, &m.bn, tlv_zeros(c, TLV_F64, TLV_SHAPE(0, 3, 5, 5)), NULL, TLV_ACT_RELU);
    EXPECT(y && tlv_dim(y, 0) == 0, "%s", tlv_error_msg(c));
    EXPECT_STATUS(tlv_run_apply_stats(&r, p), TLV_OK);
    double a[64], v[64];
    int64_t n = tlv_numel(tlv_params_get(p, m.bn.var));
    support_read(c, tlv_params_get(p, m.bn.var), a, n);
    support_read(c, tlv_params_get(was, m.bn.var), v, n);
    EXPECT(memcmp(a, v, (size_t)n * sizeof *a) == 0, "the running variance moved");
    EXPECT(tlv_item(c, tlv_params_get(p, m.bn.count)) == 0, "an empty batch was counted");
    tlv_stats_close(stats);
    tlv_params_close(was);
    tlv_params_close(p);
    tlv_ctx_close(c);
}

TEST_MAIN(T(test_fans_and_gains_of_a_convolution), T(test_fans_of_a_matrix), T(test_plain_draws),
          T(test_truncated_normal_is_cut_at_two), T(test_a_start_depends_on_seed_and_name_alone),
          T(test_layers_have_pytorchs_names_and_bounds), T(test_three_states_of_batch_norm),
          T(test_statistics_that_are_dropped_are_counted), T(test_models_by_name),
          T(test_a_new_head_leaves_the_body),
          T(test_statistics_go_to_the_set_they_came_from),
          T(test_an_empty_batch_leaves_the_statistics),
          T(test_a_pattern_of_taps_is_not_cut))
