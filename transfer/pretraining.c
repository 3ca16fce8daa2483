/* pretraining.c -- a start without photographs: a model learns to tell which categories of drawn
 * patterns are in an image (data/patterns.c), several at a time.
 *
 * Each image is drawn for its step and never again; the loss is the mean over images and categories
 * of the binary cross-entropy (Anderson & Farrell 2022, arXiv:2110.03091, section 3.3), its
 * gradient goes to AdamW under a cosine with warm-up.  Everything random depends on the context's
 * seed and the step, so a run that was stopped and resumed ends in the same bits as one that was
 * not, with any number of threads.
 *
 * The file of a run has the tensors of run_file.h; metadata: the plan, architecture and recipe, the
 * numbers of KEY, and what the program adds. */
#include <math.h>
#include <stdio.h>

#include "tensor/core.h"
#include "transfer/finetuning.h"
#include "transfer/run_file.h"

enum { NUMBERS = 3, TEXTS = 4, META = 48, AVERAGE = 100 };
static const char *const KEY[NUMBERS] = { "step", "loss", "found" };
static const char HINT[] = "it is of another run, or damaged: begin a new one";

struct tlv_pretrain {
    tlv_ctx *c;
    tlv_model *m;
    tlv_pretrain_opts o;
    tlv_pretrain_state now;
    tlv_patterns *patterns;
    tlv_optim *opt;
    tlv_stats *stats;
    double saved_at;                    /* seconds of a clock */
    char plan[TLVI_PLAN];               /* all that decides the run's numbers, as text */
};

tlv_pretrain_opts tlv_pretrain_defaults(void)
{
    return (tlv_pretrain_opts){ .steps = 20000, .batch = 128, .warmup = 500, .lr = 2e-3,
                                .weight_decay = 0.05 };
}

/* ---- opening --------------------------------------------------------------------------------- */

static tlv_status check(tlv_ctx *c, const tlv_pretrain_opts *o)
{
    TLVI_CHECK(c, o->steps > 0 && o->batch > 0 && o->warmup >= 0, TLV_ERR_ARG,
               "start from tlv_pretrain_defaults", "pretrain: %lld steps, batch %lld, warm-up %lld",
               (long long)o->steps, (long long)o->batch, (long long)o->warmup);
    TLVI_CHECK(c, o->lr >= 0 && isfinite(o->lr) && o->weight_decay >= 0
               && isfinite(o->weight_decay), TLV_ERR_ARG, "start from tlv_pretrain_defaults",
               "pretrain: rate %g, weight decay %g", o->lr, o->weight_decay);
    return c->err;
}

static void write_plan(tlv_pretrain *t)
{
    const tlv_pretrain_opts *o = &t->o;
    snprintf(t->plan, sizeof t->plan,
             "%lld steps of %lld, warm-up %lld, rate %.17g, decay %.9g, fractals %d, contours %d, "
             "textures %d, objects %d, categories %016llx, seed %016llx",
             (long long)o->steps, (long long)o->batch, (long long)o->warmup, o->lr, o->weight_decay,
             o->patterns.fractals, o->patterns.contours, o->patterns.textures,
             o->patterns.objects,
             (unsigned long long)o->patterns.key.k,
             (unsigned long long)tlv_rng_stream(t->c, "patterns").k);
}

/* A category is in an image seldom: scores that begin there (Lin et al. 2017, arXiv:1708.02002,
 * section 3.3). */
static const double SELDOM = 0.01;

static tlv_status begin_seldom(tlv_pretrain *t)
{
    tlv_ctx *c = t->c;
    char name[80];
    tlv_params *p = tlv_model_params(t->m);
    snprintf(name, sizeof name, "%s.bias", tlv_model_head(t->m));
    int slot = tlv_params_find(p, name);
    tlv_scope s = tlv_scope_begin_with(c, TLV_NO_GRAD);
    if (slot >= 0) {
        const tlv_tensor *b = tlv_params_get(p, slot);
        tlv_params_set(c, p, slot, tlv_affine(c, b, 0, log(SELDOM / (1 - SELDOM))));
    }
    tlv_scope_end(c, s);
    return c->err;
}

static tlv_status open_run(tlv_pretrain *t)
{
    tlv_ctx *c = t->c;
    t->patterns = tlv_patterns_open(c, t->o.patterns);
    if (!t->patterns || tlv_model_new_head(c, t->m, tlv_patterns_labels(t->patterns)) != TLV_OK)
        return c->err;
    if (begin_seldom(t) != TLV_OK) return c->err;
    tlv_params_unfreeze(tlv_model_params(t->m), "*");
    tlv_group flat[] = { { "*.bias,*bn*.weight,*downsample.1.weight", 1, 0 } };   // no decay
    tlv_adam_opts a = tlv_adamw_defaults();
    a.lr = t->o.lr;
    a.weight_decay = t->o.weight_decay;
    a.groups = flat;
    a.n_groups = 1;
    t->opt = tlv_adam_open(c, tlv_model_params(t->m), a);
    t->stats = t->opt ? tlv_stats_open(c) : NULL;
    write_plan(t);
    return c->err;
}

tlv_pretrain *tlv_pretrain_open(tlv_ctx *c, tlv_model *m, tlv_pretrain_opts o)
{
    if (c->err || check(c, &o) != TLV_OK) return NULL;
    TLVI_REQUIRE(c, m, TLV_ERR_ARG, "open one with tlv_model_open", "pretrain: no model");
    tlv_pretrain *t = tlvi_alloc(c, sizeof *t);
    if (!t) return NULL;
    *t = (tlv_pretrain){ .c = c, .m = m, .o = o, .saved_at = tlvi_tuning_clock() };
    t->now = (tlv_pretrain_state){ .steps = o.steps };
    if (open_run(t) == TLV_OK) return t;
    tlv_pretrain_close(t);
    return NULL;
}

void tlv_pretrain_close(tlv_pretrain *t)
{
    if (!t) return;
    tlv_stats_close(t->stats);
    tlv_optim_close(t->opt);
    tlv_patterns_close(t->patterns);
    tlvi_free(t->c, t, sizeof *t);
}

const tlv_pretrain_state *tlv_pretrain_now(const tlv_pretrain *t) { return &t->now; }

/* ---- the file -------------------------------------------------------------------------------- */

static tlvi_run_state state_of(const tlv_pretrain *t)
{
    tlv_params *p = tlv_model_params(t->m);
    return (tlvi_run_state){ p, tlv_params_count(p), t->opt };
}

static tlv_status save(tlv_pretrain *t)
{
    tlv_ctx *c = t->c;
    if (c->err || !t->o.checkpoint) return c->err;
    const tlv_pretrain_state *s = &t->now;
    const double v[NUMBERS] = { (double)s->step, s->loss, s->found };
    char number[NUMBERS][32], recipe[320];
    const char *meta[META];
    int n = 0;
    tlv_recipe_write(tlv_model_recipe(t->m), recipe, sizeof recipe);
    const char *const text[2 * TEXTS] = { "arch", tlv_model_arch(t->m), "recipe", recipe,
                                          "libtlvision", tlv_version(), "plan", t->plan };
    for (int i = 0; i < 2 * TEXTS; i++) meta[n++] = text[i];
    for (int i = 0; i < NUMBERS; i++) {
        snprintf(number[i], sizeof number[i], "%.17g", v[i]);
        meta[n++] = KEY[i];
        meta[n++] = number[i];
    }
    for (int i = 0; t->o.meta && t->o.meta[i] && t->o.meta[i + 1] && n + 2 < META; i += 2) {
        meta[n++] = t->o.meta[i];
        meta[n++] = t->o.meta[i + 1];
    }
    meta[n] = NULL;
    tlvi_run_state r = state_of(t);
    tlvi_run_write(c, t->o.checkpoint, &r, meta);
    t->saved_at = tlvi_tuning_clock();
    return c->err;
}

tlv_status tlv_pretrain_resume(tlv_pretrain *t, const char *checkpoint)
{
    tlv_ctx *c = t->c;
    double v[NUMBERS] = { 0 };
    if (c->err) return c->err;
    tlv_scope s = tlv_scope_begin_with(c, TLV_NO_GRAD);
    tlv_file *f = tlv_file_open(c, checkpoint);
    const char *plan = f ? tlv_file_meta(f, "plan") : NULL;
    for (int i = 0; f && i < NUMBERS; i++)
        v[i] = tlvi_run_number(c, f, KEY[i], 0, i ? 1e30 : (double)t->o.steps);
    if (!c->err && !plan)
        tlvi_fail(c, TLV_ERR_FORMAT, HINT, "the checkpoint has no plan");
    if (!c->err && strcmp(plan, t->plan) != 0)
        tlvi_fail(c, TLV_ERR_STATE, "resume with the run's own options",
                  "the checkpoint's run was \"%.200s\", this one is \"%.200s\"", plan, t->plan);
    tlvi_run_state r = state_of(t);
    if (!c->err && tlvi_run_read(c, f, &r) == TLV_OK) {
        t->now.step = (int64_t)v[0];
        t->now.loss = v[1];
        t->now.found = v[2];
    }
    tlv_file_close(f);
    tlv_scope_end(c, s);
    return c->err;
}

/* ---- steps ----------------------------------------------------------------------------------- */

/* Of the n categories in an image, how many are among its n highest scores: the share over a batch
 * (R-precision).  logits, y [B,L]. */
static double share_found(tlv_ctx *c, const tlv_tensor *logits, const tlv_tensor *y)
{
    const tlv_tensor *z = tlvi_row_major(c, logits);
    if (!z || !y) return 0;
    int64_t b = tlv_dim(y, 0), l = tlv_dim(y, 1), hit = 0, all = 0;
    for (int64_t i = 0; i < b; i++) {
        const float *score = tlvi_f32(z) + i * l, *label = tlvi_f32(y) + i * l;
        int64_t n = 0;
        for (int64_t k = 0; k < l; k++) n += label[k] > 0;
        for (int64_t k = 0; k < l; k++) {
            if (!(label[k] > 0)) continue;
            int64_t above = 0;
            for (int64_t q = 0; q < l; q++) above += score[q] > score[k];
            hit += above < n;
        }
        all += n;
    }
    return all ? (double)hit / (double)all : 0;
}

static double rate(const tlv_pretrain *t, int64_t step)
{
    return tlv_lr_cosine(t->o.lr, 0, step, t->o.steps) * tlv_lr_warmup(1, step, t->o.warmup);
}

/* Means over the last steps: exact until there are AVERAGE of them, fading from then on. */
static void average(double *mean, double value, int64_t step)
{
    double n = (double)(step < AVERAGE ? step + 1 : AVERAGE);
    *mean += (value - *mean) / n;
}

static tlv_status train_step(tlv_pretrain *t)
{
    tlv_ctx *c = t->c;
    tlv_pretrain_state *s = &t->now;
    tlv_params *p = tlv_model_params(t->m);
    tlv_rng_key key = tlv_rng_fold(tlv_rng_stream(c, "patterns"), (uint64_t)s->step);
    tlv_run r = tlv_model_run(c, t->m, TLV_TRAIN);
    r.stats = t->stats;
    r.step = (uint64_t)s->step;
    tlv_scope scope = tlv_scope_begin_with(c, TLV_RECORD);
    tlv_tensor *x = NULL, *y = NULL;                                // [B,3,S,S] [B,labels]
    tlv_patterns_batch(c, t->patterns, t->o.batch, tlv_model_recipe(t->m), key, &x, &y);
    tlv_tensor *logits = tlv_model_forward(&r, t->m, x);                            // [B,labels]
    tlv_tensor *loss = tlv_bce_with_logits(c, logits, y, (tlv_bce_opts){ 0 });
    double value = loss ? tlv_item(c, loss) : 0;
    if (!c->err && !isfinite(value))
        tlvi_fail(c, TLV_ERR_ARG, "lower the learning rate, or warm up for more steps",
                  "step %lld: the loss is %g", (long long)s->step + 1, value);
    const tlv_params *g = tlv_params_grad(c, loss, p, 0);
    s->lr = rate(t, s->step);
    tlv_optim_set_lr(t->opt, s->lr);
    if (g) tlv_optim_step(c, t->opt, p, g);
    tlv_run_apply_stats(&r, p);
    if (!c->err) {
        average(&s->loss, value, s->step);
        average(&s->found, share_found(c, logits, y), s->step);
        s->step++;
    }
    tlv_scope_end(c, scope);
    return c->err;
}

tlv_status tlv_pretrain_run(tlv_pretrain *t)
{
    tlv_pretrain_state *s = &t->now;
    s->stopped = 0;
    while (s->step < s->steps && !s->stopped) {
        if (train_step(t) != TLV_OK) return t->c->err;
        if (t->o.on_step) s->stopped = t->o.on_step(t->o.user, t) != 0;
        if (t->o.checkpoint_seconds > 0 && !s->stopped
            && tlvi_tuning_clock() - t->saved_at > t->o.checkpoint_seconds && save(t) != TLV_OK)
            return t->c->err;
    }
    return save(t);
}
