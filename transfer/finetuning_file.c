/* finetuning_file.c -- the file of a fine-tuning run: weights, moments, where it is (POSIX clock).
 *
 * A safetensors file.  "model.NAME" are the model's entries, "moment0.NAME" and "moment1.NAME" the
 * optimizer's, "steps" its steps in all and for each entry.  Metadata: the plan, the numbers of
 * KEY, architecture and recipe, and what the program adds. */
#define _POSIX_C_SOURCE 200809L
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "tensor/core.h"
#include "transfer/finetuning.h"

enum { NAME = 200, PREFIXES = 3, NUMBERS = 13, TEXTS = 4, META = 64 };
static const char *const PREFIX[PREFIXES] = { "model.", "moment0.", "moment1." };
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

static tlv_params *set_of(tlv_finetune *t, int prefix)
{
    return prefix == 0 ? tlv_model_params(t->m) : tlv_optim_moment(t->opt, prefix - 1);
}

/* Running statistics are the model's alone: the moments have nothing there. */
static int belongs(const tlv_params *p, int slot, int prefix)
{
    return prefix == 0 || !tlv_params_is_buffer(p, slot);
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

/* i64 [count + 1] */
static tlv_tensor *steps_tensor(tlv_ctx *c, const tlv_optim *o, int count)
{
    tlv_tensor *t = tlv_empty(c, TLV_I64, TLV_SHAPE(count + 1));
    int64_t *steps = t ? tlv_fill_ptr(c, t) : NULL;
    if (!steps) return NULL;
    steps[0] = tlv_optim_steps(o);
    for (int i = 0; i < count; i++) steps[i + 1] = tlv_optim_slot_steps(o, i);
    return t;
}

static void write(tlv_finetune *t, tlv_file_item *item, char (*name)[NAME], const char **meta)
{
    const tlv_params *p = tlv_model_params(t->m);
    int count = tlv_params_count(p), n = 0;
    for (int k = 0; k < PREFIXES; k++) {
        const tlv_params *set = set_of(t, k);
        for (int i = 0; set && i < count; i++) {
            if (!belongs(p, i, k)) continue;
            snprintf(name[n], NAME, "%s%s", PREFIX[k], tlv_params_name(p, i));
            item[n] = (tlv_file_item){ name[n], tlv_params_get(set, i) };
            n++;
        }
    }
    item[n] = (tlv_file_item){ "steps", steps_tensor(t->c, t->opt, count) };
    if (item[n].t) tlv_file_write(t->c, t->o.checkpoint, n + 1, item, meta);
}

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
    size_t room = (size_t)PREFIXES * (size_t)tlv_params_count(tlv_model_params(t->m)) + 1;
    size_t bytes = room * (sizeof(tlv_file_item) + NAME);
    tlv_file_item *item = tlvi_alloc(c, bytes);
    tlv_scope s = tlv_scope_begin_with(c, TLV_NO_GRAD);
    if (item) write(t, item, (char (*)[NAME])(void *)(item + room), meta);
    tlv_scope_end(c, s);
    tlvi_free(c, item, bytes);
    t->saved_at = tlvi_tuning_clock();
    return c->err;
}

/* ---- loading --------------------------------------------------------------------------------- */

static double number_of(tlv_ctx *c, const tlv_file *f, const char *key)
{
    const char *text = tlv_file_meta(f, key);
    char *end = NULL;
    double v = text ? strtod(text, &end) : 0;
    if (!text || end == text || *end || !isfinite(v))
        tlvi_fail(c, TLV_ERR_FORMAT, HINT, "the checkpoint has no number '%s'", key);
    return v;
}

/* Numbers that a run can have reached. */
static int possible(const tlv_finetune *t, const double v[NUMBERS])
{
    const tlv_finetune_state *s = &t->now;
    return v[0] >= 0 && v[0] <= (double)s->epochs && v[1] >= 0 && v[1] <= (double)s->steps
           && v[2] >= 0 && v[2] <= (double)s->n_train && v[5] >= 0 && v[5] <= v[0]
           && v[6] >= 0 && v[6] <= (double)s->n_val && v[11] >= 0 && v[11] < 1e9;
}

static tlv_status load_entries(tlv_finetune *t, const tlv_file *f)
{
    tlv_ctx *c = t->c;
    const tlv_params *p = tlv_model_params(t->m);
    for (int k = 0; k < PREFIXES; k++) {
        tlv_params *set = set_of(t, k);
        for (int i = 0; set && i < tlv_params_count(p) && !c->err; i++) {
            if (!belongs(p, i, k)) continue;
            char name[NAME];
            snprintf(name, sizeof name, "%s%s", PREFIX[k], tlv_params_name(p, i));
            int at = tlv_file_find(f, name);
            TLVI_CHECK(c, at >= 0, TLV_ERR_FORMAT, HINT, "the checkpoint lacks %s", name);
            tlv_scope s = tlv_scope_begin_with(c, TLV_NO_GRAD);
            tlv_tensor *v = tlv_file_read(c, f, at);
            if (v) tlv_params_set(c, set, i, v);
            tlv_scope_end(c, s);
        }
    }
    return c->err;
}

static tlv_status load_steps(tlv_finetune *t, const tlv_file *f)
{
    int count = tlv_params_count(tlv_model_params(t->m)), at = tlv_file_find(f, "steps");
    tlv_tensor *v = at >= 0 ? tlv_file_read(t->c, f, at) : NULL;
    TLVI_CHECK(t->c, v && tlv_dtype_of(v) == TLV_I64 && tlv_numel(v) == count + 1, TLV_ERR_FORMAT,
               HINT, "the checkpoint has no steps of the optimizer");
    const int64_t *steps = tlvi_ptr(v);
    for (int i = 0; i <= count; i++)
        TLVI_CHECK(t->c, steps[i] >= 0, TLV_ERR_FORMAT, HINT, "the checkpoint has %lld steps",
                   (long long)steps[i]);
    tlv_optim_set_steps(t->opt, steps[0], steps + 1);
    return TLV_OK;
}

tlv_status tlvi_tuning_load(tlv_finetune *t, const char *path)
{
    tlv_ctx *c = t->c;
    double v[NUMBERS] = { 0 };
    tlv_scope s = tlv_scope_begin_with(c, TLV_NO_GRAD);
    tlv_file *f = tlv_file_open(c, path);
    const char *plan = f ? tlv_file_meta(f, "plan") : NULL;
    for (int i = 0; f && i < NUMBERS; i++) v[i] = number_of(c, f, KEY[i]);
    if (!c->err && (!plan || !possible(t, v)))
        tlvi_fail(c, TLV_ERR_FORMAT, HINT, "the checkpoint has no plan, or impossible numbers");
    if (!c->err && strcmp(plan, t->plan) != 0)
        tlvi_fail(c, TLV_ERR_STATE, "resume with the run's own options and data",
                  "the checkpoint's run was \"%.150s...\", this one is \"%.150s...\"", plan,
                  t->plan);
    if (!c->err && load_entries(t, f) == TLV_OK && load_steps(t, f) == TLV_OK) take_numbers(t, v);
    tlv_file_close(f);
    tlv_scope_end(c, s);
    return c->err;
}
