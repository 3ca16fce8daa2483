/* finetuning_file.c -- the file of a fine-tuning run: weights, moments, where it is (POSIX clock).
 *
 * A safetensors file with the tensors of run_file.h.  Metadata: the plan, the numbers of KEY,
 * architecture and recipe, and what the program adds. */
#define _POSIX_C_SOURCE 200809L
#include <math.h>
#include <stdio.h>
#include <time.h>

#include "tensor/core.h"
#include "transfer/finetuning.h"
#include "transfer/run_file.h"

enum { NUMBERS = 13, TEXTS = 4, META = 64 };
static const char *const KEY[NUMBERS] = { "epoch", "step", "images", "loss_sum", "best",
                                          "best_epoch", "right", "accuracy", "val_loss", "rate",
                                          "probed", "head_was",
                                          "head_new" };
static const char HINT[] = "it is of another run, or damaged: begin a new one";

double tlvi_tuning_clock(void)
{
    struct timespec t;
    return clock_gettime(CLOCK_MONOTONIC, &t) == 0 ? (double)t.tv_sec + 1e-9 * (double)t.tv_nsec
                                                   : 0;
}

static tlvi_run_state state_of(const tlv_finetune *t)
{
    tlv_params *p = tlv_model_params(t->m);
    return (tlvi_run_state){ p, tlv_params_count(p), t->opt };
}

static void numbers_of(const tlv_finetune *t, double v[NUMBERS])
{
    const tlv_finetune_state *s = &t->now;
    const double now[NUMBERS] = {
        (double)s->epoch, (double)s->step, (double)s->images, t->loss_sum, s->best,
        (double)s->best_epoch, (double)s->val.right, s->val.accuracy, s->val.loss, s->lr,
        s->probed, s->head_was, s->head_new,
    };
    memcpy(v, now, sizeof now);
}

static void take_numbers(tlv_finetune *t, const double v[NUMBERS])
{
    tlv_finetune_state *s = &t->now;
    s->epoch = (int64_t)v[0];
    s->step = (int64_t)v[1];
    s->images = (int64_t)v[2];
    t->loss_sum = v[3];
    s->loss = s->images ? v[3] / (double)s->images : 0;
    s->best = v[4];
    s->best_epoch = (int64_t)v[5];
    s->val = (tlv_score){ .n = s->n_val, .right = (int64_t)v[6], .accuracy = v[7], .loss = v[8] };
    s->lr = v[9];
    s->probed = v[10] != 0;
    s->head_was = (int)v[11];
    s->head_new = v[12] != 0;
}

/* ---- saving ---------------------------------------------------------------------------------- */

/* Key, value ... NULL; number[i] and recipe hold text. */
static void collect_meta(const tlv_finetune *t, const char **meta, char (*number)[32],
                         const char *recipe)
{
    double v[NUMBERS];
    int n = 0;
    numbers_of(t, v);
    const char *const text[2 * TEXTS] = { "arch", tlv_model_arch(t->m), "recipe", recipe,
                                          "libtlvision", tlv_version(), "plan", t->plan };
    for (int i = 0; i < 2 * TEXTS; i++) meta[n++] = text[i];
    for (int i = 0; i < NUMBERS; i++) {
        snprintf(number[i], 32, "%.17g", v[i]);
        meta[n++] = KEY[i];
        meta[n++] = number[i];
    }
    for (int i = 0; t->o.meta && t->o.meta[i] && t->o.meta[i + 1] && n + 2 < META; i += 2) {
        meta[n++] = t->o.meta[i];
        meta[n++] = t->o.meta[i + 1];
    }
    meta[n] = NULL;
}

tlv_status tlvi_tuning_save(tlv_finetune *t)
{
    tlv_ctx *c = t->c;
    if (c->err || !t->o.checkpoint) return c->err;
    const char *meta[META];
    char number[NUMBERS][32], recipe[320];
    tlv_recipe_write(tlv_model_recipe(t->m), recipe, sizeof recipe);
    collect_meta(t, meta, number, recipe);
    tlvi_run_state r = state_of(t);
    tlvi_run_write(c, t->o.checkpoint, &r, meta);
    t->saved_at = tlvi_tuning_clock();
    return c->err;
}

/* ---- loading --------------------------------------------------------------------------------- */

/* Numbers that a run can have reached. */
static int possible(const tlv_finetune *t, const double v[NUMBERS])
{
    const tlv_finetune_state *s = &t->now;
    return v[0] >= 0 && v[0] <= (double)s->epochs && v[1] >= 0 && v[1] <= (double)s->steps
           && v[2] >= 0 && v[2] <= (double)s->n_train && v[5] >= 0 && v[5] <= v[0]
           && v[6] >= 0 && v[6] <= (double)s->n_val && v[11] >= 0 && v[11] < 1e9;
}

tlv_status tlvi_tuning_load(tlv_finetune *t, const char *path)
{
    tlv_ctx *c = t->c;
    double v[NUMBERS] = { 0 };
    tlv_scope s = tlv_scope_begin_with(c, TLV_NO_GRAD);
    tlv_file *f = tlv_file_open(c, path);
    const char *plan = f ? tlv_file_meta(f, "plan") : NULL;
    for (int i = 0; f && i < NUMBERS; i++)
        v[i] = tlvi_run_number(c, f, KEY[i], -HUGE_VAL, HUGE_VAL);
    if (!c->err && (!plan || !possible(t, v)))
        tlvi_fail(c, TLV_ERR_FORMAT, HINT, "the checkpoint has no plan, or impossible numbers");
    if (!c->err && strcmp(plan, t->plan) != 0)
        tlvi_fail(c, TLV_ERR_STATE, "resume with the run's own options and data",
                  "the checkpoint's run was \"%.150s...\", this one is \"%.150s...\"", plan,
                  t->plan);
    tlvi_run_state r = state_of(t);
    if (!c->err && tlvi_run_read(c, f, &r) == TLV_OK) take_numbers(t, v);
    tlv_file_close(f);
    tlv_scope_end(c, s);
    return c->err;
}
