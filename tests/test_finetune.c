/* test_finetune.c -- fine-tuning runs: what is trained, rates, clipping, the probe first, stopping
 * and going on with the same bits. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support.h"
#include "transfer/transfer.h"

enum { IMAGES = 10, VAL = 10 };

typedef struct bench {
    tlv_ctx *c;
    tlv_dataset *d;                     /* drawn shapes: every second one is used */
    tlv_model *m;                       /* a ResNet-20 for ten classes */
    int64_t at[IMAGES];
} bench;

static bench bench_open(int threads)
{
    bench b = { .c = tlv_ctx_open(&(tlv_ctx_opts){ .threads = threads, .seed = 3 }) };
    b.d = tlv_dataset_open(b.c, "shapes:2", "train");
    b.m = tlv_model_open(b.c, "resnet20", (tlv_model_opts){ 0 });
    for (int i = 0; i < IMAGES; i++) b.at[i] = 2 * i;
    EXPECT_OK(b.c);
    return b;
}

static void bench_close(bench *b)
{
    tlv_model_close(b->m);
    tlv_dataset_close(b->d);
    EXPECT_INT(tlv_mem_get(b->c).tape_nodes, 0);
    tlv_ctx_close(b->c);
}

/* Two epochs of three steps, augmented. */
static tlv_finetune_opts short_run(const bench *b)
{
    tlv_finetune_opts o = tlv_finetune_defaults(b->m, b->d, 1, NULL);
    o.epochs = 2;
    o.batch = 4;
    o.lr = 0.02;
    return o;
}

static tlv_finetune *open_run(bench *b, tlv_finetune_opts o)
{
    tlv_finetune *t = tlv_finetune_open(b->c, b->m, b->d, b->at, IMAGES, b->d, b->at, VAL, o);
    EXPECT_OK(b->c);
    return t;
}

/* All numbers of a model, in slot order; to be freed. */
static float *numbers_of(bench *b, int64_t *n)
{
    const tlv_params *p = tlv_model_params(b->m);
    *n = 0;
    for (int i = 0; i < tlv_params_count(p); i++) *n += tlv_numel(tlv_params_get(p, i));
    float *v = malloc((size_t)*n * sizeof *v), *to = v;
    for (int i = 0; i < tlv_params_count(p); i++) {
        tlv_scope s = tlv_scope_begin(b->c);
        tlv_tensor *t = tlv_cast(b->c, tlv_params_get(p, i), TLV_F32);
        tlv_read(b->c, t, to, tlv_numel(t));
        to += tlv_numel(t);
        tlv_scope_end(b->c, s);
    }
    return v;
}

/* The largest change of entries that match, from `before` in slot order. */
static double change(bench *b, const float *before, const char *pattern)
{
    int64_t n, at = 0;
    float *now = numbers_of(b, &n);
    double most = 0;
    const tlv_params *p = tlv_model_params(b->m);
    for (int i = 0; i < tlv_params_count(p); i++) {
        int64_t k = tlv_numel(tlv_params_get(p, i));
        int counts = tlv_match(pattern, tlv_params_name(p, i));
        for (int64_t j = at; counts && j < at + k; j++)
            most = fmax(most, fabs((double)now[j] - (double)before[j]));
        at += k;
    }
    free(now);
    return most;
}

/* ---- what is trained ------------------------------------------------------------------------- */

static void test_strategies(void)
{
    const struct { tlv_strategy s; int bn_train; const char *moves, *stays; } cases[] = {
        { TLV_FULL, 0, "conv1.weight", "*running_*,*num_batches*" },
        { TLV_FULL, 1, "*running_mean", "nothing" },
        { TLV_HEAD_ONLY, 0, "linear.weight", "conv1*,bn1*,layer*" },
    };
    for (int i = 0; i < 3; i++) {
        bench b = bench_open(1);
        tlv_finetune_opts o = short_run(&b);
        o.strategy = cases[i].s;
        o.bn_train = cases[i].bn_train;
        o.epochs = 1;
        tlv_finetune *t = open_run(&b, o);
        int64_t n;
        float *before = numbers_of(&b, &n);
        EXPECT_STATUS(tlv_finetune_run(t), TLV_OK);
        EXPECT(change(&b, before, cases[i].moves) > 1e-6, "case %d: %s stays", i, cases[i].moves);
        EXPECT_CLOSE(change(&b, before, cases[i].stays), 0, 0, 0);
        const tlv_finetune_state *s = tlv_finetune_now(t);
        EXPECT(s->finished && !s->stopped && s->epoch == 1, "epoch %lld", (long long)s->epoch);
        EXPECT_INT(s->trainable, cases[i].s == TLV_HEAD_ONLY ? 650 : 269722);
        EXPECT(!s->head_new && s->head_was == 10, "a new head");
        free(before);
        tlv_finetune_close(t);
        bench_close(&b);
    }
}

/* A scale of 0 stops what it names, by the model's name or as "head"; a name that is not there is
 * an error. */
static void test_scales(void)
{
    bench b = bench_open(1);
    tlv_finetune_opts o = short_run(&b);
    const tlv_lr_scale scales[] = { { "head.*", 0 }, { "layer1.*", 0 } };
    o.scales = scales;
    o.n_scales = 2;
    o.epochs = 1;
    o.bn_train = 0;
    tlv_finetune *t = open_run(&b, o);
    int64_t n;
    float *before = numbers_of(&b, &n);
    tlv_finetune_run(t);
    EXPECT_CLOSE(change(&b, before, "linear.*,layer1.*"), 0, 0, 0);
    EXPECT(change(&b, before, "layer2.*") > 1e-6, "layer2 stays");
    free(before);
    tlv_finetune_close(t);
    o.scales = &(const tlv_lr_scale){ "fc.*", 2 };
    o.n_scales = 1;
    t = tlv_finetune_open(b.c, b.m, b.d, b.at, IMAGES, b.d, b.at, VAL, o);
    EXPECT(!t, "opened");
    EXPECT_ERROR(b.c, TLV_ERR_NAME, "no parameter of resnet20 matches 'fc.*'");
    o.n_scales = 0;
    o.freeze = "*";
    t = tlv_finetune_open(b.c, b.m, b.d, b.at, IMAGES, b.d, b.at, VAL, o);
    EXPECT_ERROR(b.c, TLV_ERR_ARG, "nothing is left to train");
    EXPECT(!t, "opened");
    bench_close(&b);
}

typedef struct log { double lr[8], norm[8]; int64_t n, stop_at, epochs, probes, at_epoch; } log_of;

static int on_step(void *user, const tlv_finetune *t)
{
    log_of *g = user;
    const tlv_finetune_state *s = tlv_finetune_now(t);
    if (g->n < 8) {
        g->lr[g->n] = s->lr;
        g->norm[g->n] = s->grad_norm;
    }
    return ++g->n == g->stop_at;
}

static int on_epoch(void *user, const tlv_finetune *t)
{
    log_of *g = user;
    g->epochs++;
    g->at_epoch = tlv_finetune_now(t)->epoch;
    return 0;
}

/* The rate of each step is the schedule's; a step is no longer than rate times the clipped norm. */
static void test_rates_and_clipping(void)
{
    bench b = bench_open(1);
    tlv_finetune_opts o = short_run(&b);
    log_of g = { 0 };
    o.schedule = TLV_ONE_CYCLE;
    o.warmup = 2;
    o.momentum = o.weight_decay = 0;
    o.clip = 1e-3;
    o.bn_train = 0;
    o.on_step = on_step;
    o.user = &g;
    tlv_finetune *t = open_run(&b, o);
    int64_t n;
    float *before = numbers_of(&b, &n);
    EXPECT_STATUS(tlv_finetune_run(t), TLV_OK);
    EXPECT_INT(g.n, 6);
    double length = 0, moved = 0;
    for (int i = 0; i < 6; i++) {
        double want = tlv_lr_one_cycle(0.02, i, 6, 0.2, 25, 1e4) * (i == 0 ? 0.5 : 1);
        EXPECT_CLOSE(g.lr[i], want, 1e-12, 0);
        EXPECT(g.norm[i] > 1e-2, "norm %g: nothing to clip", g.norm[i]);
        length += g.lr[i] * 1e-3;
    }
    float *after = numbers_of(&b, &n);
    for (int64_t i = 0; i < n; i++) moved += pow((double)after[i] - (double)before[i], 2);
    EXPECT(sqrt(moved) <= length * 1.01 && sqrt(moved) > length * 0.05, "moved %g, at most %g",
           sqrt(moved), length);
    free(before);
    free(after);
    tlv_finetune_close(t);
    bench_close(&b);
}

static void test_a_loss_that_is_not_finite(void)
{
    bench b = bench_open(1);
    tlv_finetune_opts o = short_run(&b);
    o.lr = 1e30;
    o.schedule = TLV_CONSTANT;
    tlv_finetune *t = open_run(&b, o);
    tlv_finetune_run(t);
    EXPECT(strstr(tlv_error_hint(b.c), "lower the learning rate"), "hint '%s'",
           tlv_error_hint(b.c));
    EXPECT_ERROR(b.c, TLV_ERR_ARG, "the loss is ");
    tlv_finetune_close(t);
    bench_close(&b);
}

/* ---- the probe first ------------------------------------------------------------------------- */

static int on_probe(void *user, const tlv_finetune *t, const tlv_probe_report *p,
                    const tlv_extract_report *e)
{
    log_of *g = user;
    g->probes++;
    EXPECT(p->folds == 5 && e->misses == IMAGES, "%d folds, %lld rows", p->folds,
           (long long)e->misses);
    EXPECT(tlv_finetune_now(t)->epoch == 0 && !tlv_finetune_now(t)->probed, "probed before");
    return 0;
}

/* With a rate of nothing the model stays what the probe made it: its accuracy is epoch 0's. */
static void test_lp_ft(void)
{
    bench b = bench_open(1);
    tlv_finetune_opts o = short_run(&b);
    log_of g = { 0 };
    o.strategy = TLV_LP_FT;
    o.lr = 0;
    o.bn_train = 0;
    o.on_probe = on_probe;
    o.on_epoch = on_epoch;
    o.user = &g;
    tlv_finetune *t = open_run(&b, o);
    EXPECT_STATUS(tlv_finetune_run(t), TLV_OK);
    const tlv_finetune_state *s = tlv_finetune_now(t);
    EXPECT(g.probes == 1 && g.epochs == 3 && g.at_epoch == 2, "%lld probes, %lld epochs",
           (long long)g.probes, (long long)g.epochs);
    EXPECT(s->probed && s->head_new && s->best_epoch == 0, "best epoch %lld",
           (long long)s->best_epoch);

    tlv_features f;
    tlv_probe p;
    tlv_score score;
    tlv_extract_features(b.c, b.m, b.d, b.at, IMAGES, (tlv_extract_opts){ 0 }, &f, NULL);
    tlv_probe_fit(b.c, &f, (tlv_probe_opts){ .key = tlv_rng_stream(b.c, "folds") }, &p, NULL);
    tlv_features_close(&f);
    tlv_extract_features(b.c, b.m, b.d, b.at, VAL, (tlv_extract_opts){ 0 }, &f, NULL);
    tlv_probe_predict(b.c, &p, &f, NULL, NULL, &score);
    EXPECT_OK(b.c);
    EXPECT_INT(s->val.right, score.right);
    EXPECT_CLOSE(s->val.loss, score.loss, 1e-5, 0);
    tlv_probe_close(&p);
    tlv_features_close(&f);
    tlv_finetune_close(t);
    bench_close(&b);
}

/* ---- stopping and going on ------------------------------------------------------------------- */

/* Stopped after step `stop_at`, closed, and resumed by others: the same bits. */
static void check_resume(tlv_finetune_opts o, int64_t stop_at, const char *what)
{
    char path[600];
    if (!test_temp_path(path, sizeof path, "run.ckpt")) return;
    bench whole = bench_open(1), part = bench_open(1), rest = bench_open(2);
    int64_t n;
    tlv_finetune *t = open_run(&whole, o);
    EXPECT_STATUS(tlv_finetune_run(t), TLV_OK);
    tlv_finetune_state want = *tlv_finetune_now(t);
    float *a = numbers_of(&whole, &n);
    tlv_finetune_close(t);

    log_of g = { .stop_at = stop_at };
    o.checkpoint = path;
    o.on_step = on_step;
    o.user = &g;
    t = open_run(&part, o);
    EXPECT_STATUS(tlv_finetune_run(t), TLV_OK);
    EXPECT(tlv_finetune_now(t)->stopped && !tlv_finetune_now(t)->finished, "%s: not stopped", what);
    tlv_finetune_close(t);

    g.stop_at = 0;
    t = open_run(&rest, o);
    EXPECT_STATUS(tlv_finetune_resume(t, path), TLV_OK);
    EXPECT_INT(tlv_finetune_now(t)->epoch * 3 + tlv_finetune_now(t)->step, stop_at);
    EXPECT_STATUS(tlv_finetune_run(t), TLV_OK);
    const tlv_finetune_state *s = tlv_finetune_now(t);
    float *b = numbers_of(&rest, &n);
    EXPECT(memcmp(a, b, (size_t)n * sizeof *a) == 0, "%s: other bits", what);
    EXPECT(s->best == want.best && s->best_epoch == want.best_epoch && s->val.loss == want.val.loss
           && s->loss == want.loss && s->lr == want.lr && s->finished, "%s: another end", what);
    free(a);
    free(b);
    tlv_finetune_close(t);
    bench_close(&whole);
    bench_close(&part);
    bench_close(&rest);
    remove(path);
}

static void test_resume(void)
{
    bench b = bench_open(1);
    tlv_finetune_opts o = short_run(&b);
    o.bn_train = 1;
    check_resume(o, 2, "sgd, in the first epoch");
    o.tuner = TLV_TUNE_ADAMW;
    o.lr = 1e-3;
    o.clip = 1;
    check_resume(o, 4, "adamw, in the second epoch");
    o.strategy = TLV_LP_FT;
    o.bn_train = 0;
    check_resume(o, 3, "lp-ft, between the epochs");
    bench_close(&b);
}

static void test_resume_refuses(void)
{
    char path[600];
    if (!test_temp_path(path, sizeof path, "run.ckpt")) return;
    bench b = bench_open(1);
    tlv_finetune_opts o = short_run(&b);
    log_of g = { .stop_at = 1 };
    o.checkpoint = path;
    o.on_step = on_step;
    o.user = &g;
    tlv_finetune *t = open_run(&b, o);
    tlv_finetune_run(t);
    tlv_finetune_close(t);
    o.lr = 0.5;
    t = open_run(&b, o);
    tlv_finetune_resume(t, path);
    EXPECT_ERROR(b.c, TLV_ERR_STATE, "the checkpoint's run was");
    tlv_finetune_resume(t, "no-such-file");
    EXPECT_ERROR(b.c, TLV_ERR_IO, "no-such-file");
    FILE *f = fopen(path, "r+");
    REQUIRE(f, "no checkpoint");
    fseek(f, 2000, SEEK_SET);
    fputs("#####", f);
    fclose(f);
    tlv_finetune_resume(t, path);
    EXPECT(tlv_error(b.c) == TLV_ERR_FORMAT || tlv_error(b.c) == TLV_ERR_STATE, "%s",
           tlv_error_msg(b.c));
    tlv_error_clear(b.c);
    tlv_finetune_close(t);
    remove(path);
    bench_close(&b);
}

static void test_defaults_and_arguments(void)
{
    bench b = bench_open(1);
    tlv_finetune_opts o = tlv_finetune_defaults(b.m, b.d, 1, NULL);
    EXPECT(o.strategy == TLV_FULL && !o.bn_train && o.augment.pad_crop == 4 && o.augment.flip,
           "small images in colour");
    EXPECT_CLOSE(o.lr, 0.01, 0, 0);
    o = tlv_finetune_defaults(b.m, b.d, 0, &(tlv_finetune_opts){ .tuner = TLV_TUNE_ADAMW });
    EXPECT_CLOSE(o.lr, 2e-3, 0, 0);
    o.epochs = 0;
    EXPECT(!tlv_finetune_open(b.c, b.m, b.d, NULL, IMAGES, NULL, NULL, 0, o), "opened");
    EXPECT_ERROR(b.c, TLV_ERR_ARG, "0 epochs");
    o.epochs = 1;
    EXPECT(!tlv_finetune_open(b.c, b.m, b.d, NULL, 0, NULL, NULL, 0, o), "opened");
    EXPECT_ERROR(b.c, TLV_ERR_ARG, "0 images to train with");
    // without validation the last epoch counts as the best; the head follows the data
    tlv_model_new_head(b.c, b.m, 3);
    tlv_finetune *t = tlv_finetune_open(b.c, b.m, b.d, b.at, VAL, NULL, NULL, 0, o);
    EXPECT_STATUS(tlv_finetune_run(t), TLV_OK);
    EXPECT(tlv_finetune_now(t)->best_epoch == 1 && tlv_finetune_now(t)->head_was == 3, "head");
    EXPECT_INT(tlv_model_classes(b.m), 10);
    tlv_finetune_close(t);
    bench_close(&b);
}

TEST_MAIN(T(test_strategies), T(test_scales), T(test_rates_and_clipping),
          T(test_a_loss_that_is_not_finite), T(test_lp_ft), T(test_resume), T(test_resume_refuses),
          T(test_defaults_and_arguments))
