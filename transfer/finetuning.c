/* finetuning.c -- fine-tuning: what is trained, at which rate, on which images; epochs of steps. */
#include <math.h>
#include <stdio.h>

#include "tensor/core.h"
#include "transfer/finetuning.h"

enum { SCALES = 16, PATTERN = 160 };

const char *tlv_strategy_name(tlv_strategy s)
{
    return s == TLV_HEAD_ONLY ? "head" : s == TLV_LP_FT ? "lp-ft" : "full";
}
const char *tlv_tuner_name(tlv_tuner t) { return t == TLV_TUNE_ADAMW ? "adamw" : "sgd"; }
const char *tlv_schedule_name(tlv_schedule s)
{
    return s == TLV_COSINE ? "cosine" : s == TLV_STEP ? "step" : s == TLV_CONSTANT ? "constant"
                                                                                   : "one-cycle";
}

/* ---- defaults -------------------------------------------------------------------------------- */

/* A new head on known layers. */
static const tlv_lr_scale HEAD_FASTER[] = { { "head.*", 5 } };

/* Rates by start and strategy: {SGD, AdamW}. */
static double rate_for(const tlv_finetune_opts *o, int photographs, int pretrained)
{
    static const double photo[3][2] = { { 0.01, 5e-4 }, { 0.05, 3e-3 }, { 2.5e-4, 5e-5 } };
    static const double small[3][2] = { { 0.01, 5e-4 }, { 0.05, 3e-3 }, { 0.005, 2.5e-4 } };
    static const double nothing[2][2] = { { 0.05, 2e-3 }, { 0.03, 2e-3 } };
    int t = o->tuner == TLV_TUNE_ADAMW;
    if (!pretrained) return nothing[photographs][t];
    return photographs ? photo[o->strategy][t] : small[o->strategy][t];
}

tlv_finetune_opts tlv_finetune_defaults(const tlv_model *m, const tlv_dataset *train,
                                        int pretrained, const tlv_finetune_opts *want)
{
    int photographs = tlv_dataset_pixels(train, 0) == NULL, h, w, channels;
    tlv_finetune_opts o = { .momentum = 0.9 };
    o.strategy = photographs && pretrained ? TLV_LP_FT : TLV_FULL;
    if (want) {
        o.strategy = want->strategy;
        o.tuner = want->tuner;
    }
    o.lr = rate_for(&o, photographs, pretrained);
    o.bn_train = !pretrained;
    if (photographs) {
        o.scales = HEAD_FASTER;
        o.n_scales = pretrained && o.strategy == TLV_FULL;
        o.epochs = 15;
        o.batch = 16;
        o.weight_decay = 1e-4;
        o.clip = 1;
        o.augment = (tlv_augment){ .area = { 0.35, 1 }, .flip = 1 };
        return o;
    }
    tlv_dataset_image_shape(train, &h, &w, &channels);
    int side = tlv_model_recipe(m)->size, least = h < w ? h : w;
    if (least > side) least = side;
    o.schedule = TLV_COSINE;
    o.epochs = 10;
    o.batch = 64;
    o.weight_decay = 5e-4;
    if (channels == 1) return o;                        // digits: mirrored they are others
    o.augment = (tlv_augment){ .pad_crop = least >= 8 ? least / 8 : 1, .flip = 1 };
    return o;
}

/* ---- the plan -------------------------------------------------------------------------------- */

/* Batches as even as can be: no last one that is tiny, no image left out. */
static int64_t batch_start(const tlv_finetune *t, int64_t step)
{
    return step * t->now.n_train / t->now.steps;
}

static double rate(const tlv_finetune *t, int64_t step)
{
    const tlv_finetune_opts *o = &t->o;
    int64_t n = o->epochs * t->now.steps;
    const int64_t at[2] = { n / 2, n * 3 / 4 };
    double lr = o->lr;
    if (o->schedule == TLV_COSINE) lr = tlv_lr_cosine(o->lr, 0, step, n);
    if (o->schedule == TLV_ONE_CYCLE) lr = tlv_lr_one_cycle(o->lr, step, n, 0.2, 25, 1e4);
    if (o->schedule == TLV_STEP) lr = tlv_lr_multistep(o->lr, step, at, 2, 0.1);
    return lr * tlv_lr_warmup(1, step, o->warmup);
}

/* All that decides what numbers come out, so that a checkpoint can be told from another run's. */
static void write_plan(tlv_finetune *t)
{
    const tlv_finetune_opts *o = &t->o;
    const tlv_augment *a = &o->augment;
    size_t n = (size_t)snprintf(
        t->plan, sizeof t->plan,
        "%s %s %s %lld epochs, batch %lld of %lld, validated on %lld, warm-up %lld, rate %.17g, "
        "momentum %.9g, decay %.9g, clip %.9g, smoothing %.9g, bn %d, head %d, seed %016llx; "
        "augment %g %g %g %g %d %d %d %g %g %g %g %g; freeze %.40s; probe %g; scale",
        tlv_strategy_name(o->strategy), tlv_tuner_name(o->tuner), tlv_schedule_name(o->schedule),
        (long long)o->epochs, (long long)o->batch, (long long)t->now.n_train,
        (long long)t->now.n_val, (long long)o->warmup, o->lr, o->momentum, o->weight_decay, o->clip,
        o->smoothing, o->bn_train, o->new_head,
        (unsigned long long)tlv_rng_stream(t->c, "order").k, a->area[0], a->area[1], a->ratio[0],
        a->ratio[1], a->pad_crop, a->flip, a->vertical, a->rotate, a->brightness, a->contrast,
        a->saturation, a->hue, o->freeze ? o->freeze : "", o->probe.l2);
    for (int i = 0; i < o->n_scales && n < sizeof t->plan; i++)
        n += (size_t)snprintf(t->plan + n, sizeof t->plan - n, " %.20s=%g", o->scales[i].pattern,
                              o->scales[i].scale);
}

static tlv_status check(tlv_ctx *c, const tlv_finetune_opts *o, int64_t n, int64_t n_val)
{
    TLVI_CHECK(c, n > 0 && n_val >= 0, TLV_ERR_ARG, "give it images to train with",
               "finetune: %lld images to train with, %lld to validate on", (long long)n,
               (long long)n_val);
    TLVI_CHECK(c, o->epochs > 0 && o->batch > 0 && o->warmup >= 0, TLV_ERR_ARG,
               "start from tlv_finetune_defaults",
               "finetune: %lld epochs, batch %lld, warm-up %lld", (long long)o->epochs,
               (long long)o->batch, (long long)o->warmup);
    TLVI_CHECK(c, o->lr >= 0 && isfinite(o->lr) && o->momentum >= 0 && o->momentum < 1
               && o->weight_decay >= 0 && o->clip >= 0, TLV_ERR_ARG,
               "start from tlv_finetune_defaults",
               "finetune: rate %g, momentum %g, weight decay %g, clip %g", o->lr, o->momentum,
               o->weight_decay, o->clip);
    TLVI_CHECK(c, o->n_scales >= 0 && o->n_scales <= SCALES, TLV_ERR_LIMIT, "join patterns by ','",
               "finetune: %d scales of the rate, at most %d", o->n_scales, SCALES);
    return TLV_OK;
}

/* ---- what is trained ------------------------------------------------------------------------- */

/* "head.*" stands for the model's own name of it, "fc.*". */
static const char *head_pattern(const tlv_model *m, const char *pattern, char text[PATTERN])
{
    int head = strncmp(pattern, "head", 4) == 0 && (pattern[4] == 0 || pattern[4] == '.');
    if (!head) return pattern;
    snprintf(text, PATTERN, "%s%s", tlv_model_head(m), pattern[4] ? pattern + 4 : ".*");
    return text;
}

/* Freezing is by name; a batch norm whose running statistics are frozen uses them and keeps
 * them. */
static void freeze(tlv_finetune *t)
{
    static const char statistics[] = "*running_mean,*running_var";
    char head[PATTERN];
    tlv_params *p = tlv_model_params(t->m);
    tlv_params_unfreeze(p, "*");
    if (t->o.strategy == TLV_HEAD_ONLY) {
        tlv_params_freeze(p, "*");
        tlv_params_unfreeze(p, head_pattern(t->m, "head.*", head));
    }
    if (t->o.bn_train) tlv_params_unfreeze(p, statistics);
    else tlv_params_freeze(p, statistics);
    if (t->o.freeze) tlv_params_freeze(p, t->o.freeze);
    t->now.trainable = tlv_params_numel(p, 1);
}

static int matches(const tlv_params *p, const char *pattern)
{
    for (int i = 0; i < tlv_params_count(p); i++)
        if (tlv_match(pattern, tlv_params_name(p, i))) return 1;
    return 0;
}

tlv_status tlvi_tuning_prepare(tlv_finetune *t)
{
    const tlv_finetune_opts *o = &t->o;
    tlv_params *p = tlv_model_params(t->m);
    tlv_group group[SCALES];
    char pattern[SCALES][PATTERN];
    for (int i = 0; i < o->n_scales; i++) {
        const char *name = head_pattern(t->m, o->scales[i].pattern, pattern[i]);
        TLVI_CHECK(t->c, matches(p, name), TLV_ERR_NAME, "see the names with tlv-inspect",
                   "finetune: no parameter of %s matches '%s'", tlv_model_arch(t->m), name);
        group[i] = (tlv_group){ name, o->scales[i].scale, o->weight_decay };
    }
    freeze(t);
    TLVI_CHECK(t->c, t->now.trainable > 0, TLV_ERR_ARG, "freeze less",
               "finetune: nothing is left to train");
    tlv_optim_close(t->opt);
    if (o->tuner == TLV_TUNE_ADAMW) {
        tlv_adam_opts a = tlv_adamw_defaults();
        a.lr = o->lr;
        a.weight_decay = o->weight_decay;
        a.groups = group;
        a.n_groups = o->n_scales;
        t->opt = tlv_adam_open(t->c, p, a);
    } else {
        tlv_sgd_opts s = { .lr = o->lr, .momentum = o->momentum, .nesterov = o->momentum > 0,
                           .weight_decay = o->weight_decay, .groups = group,
                           .n_groups = o->n_scales };
        t->opt = tlv_sgd_open(t->c, p, s);
    }
    return t->c->err;
}

/* ---- opening --------------------------------------------------------------------------------- */

static tlv_status open_run(tlv_finetune *t)
{
    tlv_ctx *c = t->c;
    int classes = tlv_dataset_classes(t->train);
    t->now.head_was = tlv_model_classes(t->m);
    t->now.head_new = t->o.new_head || t->now.head_was != classes || !tlv_model_has_head(t->m)
                      || t->o.strategy == TLV_LP_FT;
    if (t->now.head_new && tlv_model_new_head(c, t->m, classes) != TLV_OK) return c->err;
    TLVI_CHECK(c, t->now.n_val == 0 || tlv_dataset_classes(t->val) <= classes, TLV_ERR_ARG,
               "validate on images of the same classes",
               "finetune: %d classes to validate on, %d to train with", tlv_dataset_classes(t->val),
               classes);
    t->order = tlvi_alloc(c, (size_t)t->now.n_train * sizeof *t->order);
    t->stats = t->order ? tlv_stats_open(c) : NULL;
    write_plan(t);
    return t->stats ? tlvi_tuning_prepare(t) : c->err;
}

tlv_finetune *tlv_finetune_open(tlv_ctx *c, tlv_model *m, const tlv_dataset *train,
                                const int64_t *index, int64_t n, const tlv_dataset *val,
                                const int64_t *val_index, int64_t n_val, tlv_finetune_opts o)
{
    if (c->err || check(c, &o, n, n_val) != TLV_OK) return NULL;
    TLVI_REQUIRE(c, m && train && (val || n_val == 0), TLV_ERR_ARG, "pass a model and data sets",
                 "finetune: no %s", !m ? "model" : !train ? "training set" : "validation set");
    tlv_finetune *t = tlvi_alloc(c, sizeof *t);
    if (!t) return NULL;
    *t = (tlv_finetune){ .c = c, .m = m, .train = train, .val = val, .index = index,
                         .val_index = val_index, .o = o, .saved_at = tlvi_tuning_clock() };
    t->now = (tlv_finetune_state){ .epochs = o.epochs, .steps = (n + o.batch - 1) / o.batch,
                                   .n_train = n, .n_val = n_val, .best = -1 };
    if (open_run(t) == TLV_OK) return t;
    tlv_finetune_close(t);
    return NULL;
}

void tlv_finetune_close(tlv_finetune *t)
{
    if (!t) return;
    tlv_stats_close(t->stats);
    tlv_optim_close(t->opt);
    tlvi_free(t->c, t->order, (size_t)t->now.n_train * sizeof *t->order);
    tlvi_free(t->c, t, sizeof *t);
}

const tlv_finetune_state *tlv_finetune_now(const tlv_finetune *t) { return &t->now; }
const tlv_finetune_opts *tlv_finetune_options(const tlv_finetune *t) { return &t->o; }

tlv_status tlv_finetune_resume(tlv_finetune *t, const char *checkpoint)
{
    return t->c->err ? t->c->err : tlvi_tuning_load(t, checkpoint);
}

/* ---- validation ------------------------------------------------------------------------------ */

static int validating(void *user, int64_t done, int64_t total)
{
    tlv_finetune *t = user;
    return t->o.progress ? t->o.progress(t->o.user, TLV_TUNING_VALIDATE, done, total) : 0;
}

/* The epoch t->now.epoch has ended: measures it.  Stopped on the way it has not. */
static tlv_status validate(tlv_finetune *t)
{
    tlv_finetune_state *s = &t->now;
    tlv_score score = { 0 };
    tlv_evaluate_opts o = { .batch = t->o.batch, .progress = validating, .user = t };
    if (s->n_val > 0
        && tlv_evaluate(t->c, t->m, t->val, t->val_index, s->n_val, o, &score) != TLV_OK)
        return t->c->err;
    s->stopped = score.stopped && score.n < s->n_val;
    if (!s->stopped) s->val = score;
    return TLV_OK;
}

static int is_better(tlv_finetune_state *s)
{
    s->better = s->n_val == 0 || s->val.accuracy > s->best;
    if (s->better) {
        s->best = s->n_val ? s->val.accuracy : -1;
        s->best_epoch = s->epoch;
    }
    return s->better;
}

/* ---- the probe of LP-FT ---------------------------------------------------------------------- */

static int extracting(void *user, int64_t done, int64_t total)
{
    tlv_finetune *t = user;
    return t->o.progress ? t->o.progress(t->o.user, TLV_TUNING_FEATURES, done, total) : 0;
}

static int fitting(void *user, int64_t done, int64_t total)
{
    tlv_finetune *t = user;
    return t->o.progress ? t->o.progress(t->o.user, TLV_TUNING_PROBE, done, total) : 0;
}

/* Features of the training images as they are, without augmentation; the fitted head. */
static tlv_status fit_probe(tlv_finetune *t, tlv_probe_report *r, tlv_extract_report *e)
{
    tlv_features f;
    tlv_probe p = { 0 };
    tlv_probe_opts o = t->o.probe;
    tlv_extract_opts x = { .cache_dir = t->o.cache_dir, .progress = extracting, .user = t };
    if (o.key.k == 0) o.key = tlv_rng_stream(t->c, "folds");
    o.progress = fitting;
    o.user = t;
    tlv_extract_features(t->c, t->m, t->train, t->index, t->now.n_train, x, &f, e);
    t->now.stopped = e->stopped;
    if (!t->c->err && !e->stopped && tlv_probe_fit(t->c, &f, o, &p, r) == TLV_OK) {
        t->now.stopped = r->stopped;
        if (!r->stopped) tlv_probe_to_model(t->c, &p, t->m);
    }
    tlv_probe_close(&p);
    tlv_features_close(&f);
    return t->c->err;
}

static tlv_status probe(tlv_finetune *t)
{
    tlv_probe_report r = { 0 };
    tlv_extract_report e = { 0 };
    if (fit_probe(t, &r, &e) != TLV_OK || t->now.stopped) return t->c->err;
    if (t->o.on_probe) t->now.stopped = t->o.on_probe(t->o.user, t, &r, &e) != 0;
    if (t->now.stopped || tlvi_tuning_prepare(t) != TLV_OK) return t->c->err;
    if (validate(t) != TLV_OK || t->now.stopped) return t->c->err;
    t->now.probed = 1;
    if (t->now.n_val > 0) is_better(&t->now);
    if (t->o.on_epoch) t->now.stopped = t->o.on_epoch(t->o.user, t) != 0;
    return t->c->err ? t->c->err : tlvi_tuning_save(t);
}

/* ---- steps ----------------------------------------------------------------------------------- */

/* One step: a batch, the loss, its gradients, new parameters and statistics. */
static tlv_status train_step(tlv_finetune *t, int64_t from, int64_t n)
{
    tlv_ctx *c = t->c;
    tlv_finetune_state *s = &t->now;
    tlv_params *p = tlv_model_params(t->m);
    int64_t step = s->epoch * s->steps + s->step;
    tlv_batch_opts b = { .recipe = *tlv_model_recipe(t->m), .augment = t->o.augment };
    b.key = tlv_rng_fold(tlv_rng_stream(c, "augment"), (uint64_t)s->epoch);

    tlv_run r = tlv_model_run(c, t->m, TLV_TRAIN);
    r.stats = t->stats;
    r.step = (uint64_t)step;
    tlv_scope scope = tlv_scope_begin_with(c, TLV_RECORD);
    tlv_batch batch = tlv_dataset_batch(c, t->train, t->order, from, n, b);
    tlv_tensor *logits = tlv_model_forward(&r, t->m, batch.x);                      // [n,classes]
    tlv_tensor *loss = tlv_cross_entropy(c, logits, batch.y,
                                         (tlv_ce_opts){ .smoothing = t->o.smoothing });
    double value = loss ? tlv_item(c, loss) : 0;
    if (!c->err && !isfinite(value))
        tlvi_fail(c, TLV_ERR_ARG, "lower the learning rate, or warm up for some steps",
                  "epoch %lld, step %lld: the loss is %g", (long long)s->epoch + 1,
                  (long long)s->step + 1, value);
    const tlv_params *g = tlv_params_grad(c, loss, p, 0);
    if (g && t->o.clip > 0) g = tlv_clip_norm(c, g, t->o.clip, &s->grad_norm);
    s->lr = rate(t, step);
    tlv_optim_set_lr(t->opt, s->lr);
    if (g) tlv_optim_step(c, t->opt, p, g);
    tlv_run_apply_stats(&r, p);
    tlv_scope_end(c, scope);
    t->loss_sum += value * (double)n;
    s->images += n;
    s->loss = t->loss_sum / (double)s->images;
    s->step++;
    return c->err;
}

/* The rest of the epoch.  Returns early when stopped. */
static tlv_status train_epoch(tlv_finetune *t)
{
    tlv_finetune_state *s = &t->now;
    for (int64_t i = 0; i < s->n_train; i++) t->order[i] = t->index ? t->index[i] : i;
    tlv_rng_key key = tlv_rng_fold(tlv_rng_stream(t->c, "order"), (uint64_t)s->epoch);
    tlv_rng_shuffle(key, s->n_train, t->order);
    while (s->step < s->steps && !s->stopped) {
        int64_t from = batch_start(t, s->step), to = batch_start(t, s->step + 1);
        if (train_step(t, from, to - from) != TLV_OK) return t->c->err;
        if (t->o.on_step) s->stopped = t->o.on_step(t->o.user, t) != 0;
        if (t->o.checkpoint_seconds > 0 && !s->stopped
            && tlvi_tuning_clock() - t->saved_at > t->o.checkpoint_seconds
            && tlvi_tuning_save(t) != TLV_OK)
            return t->c->err;
    }
    return TLV_OK;
}

/* What the epoch leaves: the callback, then the checkpoint of the next one's beginning. */
static tlv_status end_epoch(tlv_finetune *t)
{
    tlv_finetune_state *s = &t->now;
    s->epoch++;
    is_better(s);
    if (t->o.on_epoch) s->stopped = t->o.on_epoch(t->o.user, t) != 0;
    if (t->c->err) return t->c->err;
    s->step = s->images = 0;
    t->loss_sum = 0;
    return tlvi_tuning_save(t);
}

static tlv_status run(tlv_finetune *t)
{
    tlv_finetune_state *s = &t->now;
    if (t->o.strategy == TLV_LP_FT && !s->probed && probe(t) != TLV_OK) return t->c->err;
    while (s->epoch < s->epochs && !s->stopped) {
        if (train_epoch(t) != TLV_OK) return t->c->err;
        if (s->step == s->steps && !s->stopped && validate(t) != TLV_OK) return t->c->err;
        if (!s->stopped && end_epoch(t) != TLV_OK) return t->c->err;
    }
    return TLV_OK;
}

tlv_status tlv_finetune_run(tlv_finetune *t)
{
    if (t->c->err) return t->c->err;
    t->now.stopped = 0;
    int fresh = !t->now.probed && t->now.epoch == 0 && t->now.step == 0;
    if (fresh && tlvi_tuning_save(t) != TLV_OK) return t->c->err;   // a crash may come at once
    if (run(t) == TLV_OK && t->now.stopped) tlvi_tuning_save(t);
    t->now.finished = t->now.epoch == t->now.epochs;
    if (t->now.finished) t->now.stopped = 0;
    return t->c->err;
}
