/* meta_file.c -- the file of a learner: what it knows, how it learns, where it is.
 *
 * A safetensors file with the tensors of run_file.h ("own.NAME": LoRA's and the method's entries).
 * Metadata: the model's as tlv_model_save writes it, the learner's options as "meta.OPTION", the
 * outer step "meta.iteration", and "meta.key", which training episodes are drawn by: a learner that
 * goes on sees the episodes that an uninterrupted one would have seen.
 *
 * A file is a stranger's word: everything is checked, and a learner changes only when all of it is
 * right. */
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include "nn/saved.h"
#include "tensor/mapfile.h"
#include "transfer/meta.h"
#include "transfer/run_file.h"

/* ---- options as text ------------------------------------------------------------------------- */

typedef enum row_kind { INT, LONG, REAL } row_kind;
typedef struct row {
    const char *key;
    row_kind kind;
    size_t at;                          /* in tlv_meta_opts */
    int free;                           /* 1: may differ in the run that goes on */
} row;

#define ROW(name, kind, free) { "meta." #name, kind, offsetof(tlv_meta_opts, name), free }
static const row ROWS[] = {
    ROW(ways, INT, 0),          ROW(shots, INT, 0),       ROW(queries, INT, 0),
    ROW(train_ways, INT, 0),    ROW(train_shots, INT, 0), ROW(tasks, INT, 1),
    ROW(inner_steps, INT, 0),   ROW(eval_steps, INT, 0),  ROW(inner_lr, REAL, 0),
    ROW(inner_batch, INT, 0),   ROW(eval_batch, INT, 0),  ROW(lora_rank, INT, 0),
    ROW(lr, REAL, 1),           ROW(lr_end, REAL, 1),     ROW(iterations, LONG, 1),
    ROW(clip, REAL, 0),         ROW(multi_step, LONG, 0), ROW(proximal, REAL, 0),
    ROW(cg_steps, INT, 0),
};
enum { N_ROWS = sizeof ROWS / sizeof ROWS[0], NUMBER = 32, NORMS = 3 };
static const double MOST = 9007199254740992.0;          /* 2^53: whole numbers in a double */
static const char HINT[] = "it is damaged, or no file of a learner: see tlv-inspect";

static double value_of(const tlv_meta_opts *o, const row *r)
{
    const char *at = (const char *)o + r->at;
    if (r->kind == INT) return *(const int *)(const void *)at;
    if (r->kind == LONG) return (double)*(const int64_t *)(const void *)at;
    return *(const double *)(const void *)at;
}

static void set_value(tlv_meta_opts *o, const row *r, double v)
{
    char *at = (char *)o + r->at;
    if (r->kind == INT) *(int *)(void *)at = (int)v;
    else if (r->kind == LONG) *(int64_t *)(void *)at = (int64_t)v;
    else *(double *)(void *)at = v;
}

static tlv_status read_number(tlv_ctx *c, const tlv_file *f, const row *r, tlv_meta_opts *o)
{
    double most = r->kind == INT ? (double)INT32_MAX : r->kind == LONG ? MOST : 1e30;
    double v = tlvi_run_number(c, f, r->key, -most, most);
    if (c->err) return c->err;
    TLVI_CHECK(c, r->kind == REAL || v == floor(v), TLV_ERR_FORMAT, HINT,
               "the checkpoint has %s = %g, want a whole number", r->key, v);
    set_value(o, r, v);
    return c->err;
}

static tlv_status unknown(tlv_ctx *c, const char *key, const char *text)
{
    if (!text)
        return tlvi_fail(c, TLV_ERR_FORMAT, HINT,
                         "the checkpoint is of no learner: it has no %s", key);
    return tlvi_fail(c, TLV_ERR_FORMAT, HINT,
                     "the checkpoint has %s '%.40s', which is not known here", key,
                     tlvi_name_str(text, strlen(text)).s);
}

/* o->adapt points into f. */
static tlv_status read_options(tlv_ctx *c, const tlv_file *f, tlv_meta_opts *o)
{
    *o = (tlv_meta_opts){ .adapt = tlv_file_meta(f, "meta.adapt") };
    const char *method = tlv_file_meta(f, "meta.method"), *bn = tlv_file_meta(f, "meta.bn");
    int m = tlv_meta_method_find(method), b = 0;
    if (m < 0) return unknown(c, "meta.method", method);
    while (bn && b < NORMS && strcmp(bn, tlv_meta_bn_name((tlv_meta_bn)b)) != 0) b++;
    if (!bn || b == NORMS) return unknown(c, "meta.bn", bn);
    o->method = (tlv_meta_method)m;
    o->bn = (tlv_meta_bn)b;
    for (int i = 0; i < N_ROWS && c->err == TLV_OK; i++) read_number(c, f, &ROWS[i], o);
    return c->err;
}

/* ---- saving ---------------------------------------------------------------------------------- */

typedef struct texts { char row[N_ROWS][NUMBER], iteration[NUMBER], key[NUMBER]; } texts;

static void put_learner(const tlv_meta *l, tlvi_meta_list *m, texts *t)
{
    tlvi_meta_put(m, "meta.method", l->how->name);
    tlvi_meta_put(m, "meta.bn", tlv_meta_bn_name(l->o.bn));
    if (l->o.adapt) tlvi_meta_put(m, "meta.adapt", l->o.adapt);
    for (int i = 0; i < N_ROWS; i++) {
        snprintf(t->row[i], NUMBER, "%.17g", value_of(&l->o, &ROWS[i]));
        tlvi_meta_put(m, ROWS[i].key, t->row[i]);
    }
    snprintf(t->iteration, NUMBER, "%lld", (long long)l->iteration);
    snprintf(t->key, NUMBER, "%016llx", (unsigned long long)l->key.k);
    tlvi_meta_put(m, "meta.iteration", t->iteration);
    tlvi_meta_put(m, "meta.key", t->key);
}

static tlvi_run_state state_of(const tlv_meta *l)
{
    return (tlvi_run_state){ l->p, tlv_params_count(tlv_model_params(l->m)), l->opt };
}

tlv_status tlv_meta_save(const tlv_meta *l, const char *path, const char *const *extra)
{
    tlv_ctx *c = l->c;
    if (c->err) return c->err;
    c->in_hand[0] = NULL;
    tlvi_meta_list m = { 0 };
    texts t;
    tlvi_model_describe(l->m, &m);
    put_learner(l, &m, &t);
    for (int i = 0; extra && extra[i] && extra[i + 1]; i += 2) {
        TLVI_CHECK(c, m.n + 2 <= 2 * TLVI_MAX_META, TLV_ERR_LIMIT, "fewer pairs",
                   "meta_save: more than %d pairs of metadata", TLVI_MAX_META);
        tlvi_meta_put(&m, extra[i], extra[i + 1]);
    }
    tlvi_run_state r = state_of(l);
    return tlvi_run_write(c, path, &r, m.at);
}

/* ---- resuming -------------------------------------------------------------------------------- */

static tlv_status differs(tlv_ctx *c, const char *what, const char *file, const char *run)
{
    return tlvi_fail(c, TLV_ERR_STATE, "resume with the model and the options of the run",
                     "the checkpoint's run had %s = %.60s, this one has %.60s", what, file, run);
}

/* The model's metadata, but for the version of the library. */
static tlv_status same_model(tlv_ctx *c, const tlv_meta *l, const tlv_file *f)
{
    tlvi_meta_list m = { 0 };
    tlvi_model_describe(l->m, &m);
    for (int i = 0; i < m.n && c->err == TLV_OK; i += 2) {
        const char *text = tlv_file_meta(f, m.at[i]);
        if (strcmp(m.at[i], "libtlvision") == 0) continue;
        if (!text) return unknown(c, m.at[i], NULL);
        if (strcmp(text, m.at[i + 1]) != 0)
            differs(c, m.at[i], tlvi_name_str(text, strlen(text)).s, m.at[i + 1]);
    }
    return c->err;
}

static tlv_status same_options(tlv_ctx *c, const tlv_meta *l, const tlv_meta_opts *o)
{
    const char *a = o->adapt ? o->adapt : "", *b = l->o.adapt ? l->o.adapt : "";
    if (o->method != l->o.method)
        return differs(c, "method", tlv_meta_method_name(o->method), l->how->name);
    if (o->bn != l->o.bn)
        return differs(c, "bn", tlv_meta_bn_name(o->bn), tlv_meta_bn_name(l->o.bn));
    if (strcmp(a, b) != 0) return differs(c, "adapt", tlvi_name_str(a, strlen(a)).s, b);
    for (int i = 0; i < N_ROWS; i++) {
        double had = value_of(o, &ROWS[i]), has = value_of(&l->o, &ROWS[i]);
        char text[2][NUMBER];
        if (ROWS[i].free || had == has) continue;
        snprintf(text[0], NUMBER, "%.15g", had);
        snprintf(text[1], NUMBER, "%.15g", has);
        return differs(c, ROWS[i].key + strlen("meta."), text[0], text[1]);
    }
    return c->err;
}

/* 16 hexadecimal digits. */
static tlv_status read_key(tlv_ctx *c, const tlv_file *f, tlv_rng_key *key)
{
    const char *text = tlv_file_meta(f, "meta.key");
    TLVI_CHECK(c, text && strlen(text) == 16 && strspn(text, "0123456789abcdef") == 16,
               TLV_ERR_FORMAT, HINT, "the checkpoint has no key of its episodes");
    key->k = strtoull(text, NULL, 16);
    return c->err;
}

/* Iteration, key, and what run_file.h reads: all or nothing. */
static tlv_status take(tlv_meta *l, const tlv_file *f)
{
    tlv_ctx *c = l->c;
    tlv_rng_key key = { 0 };
    double iteration = tlvi_run_number(c, f, "meta.iteration", 0, MOST);
    tlvi_run_state r = state_of(l);
    if (c->err || read_key(c, f, &key) != TLV_OK || tlvi_run_read(c, f, &r) != TLV_OK)
        return c->err;
    l->iteration = (int64_t)iteration;
    l->key = key;
    return c->err;
}

tlv_status tlv_meta_resume(tlv_meta *l, const char *path)
{
    tlv_ctx *c = l->c;
    tlv_meta_opts o;
    tlv_file *f = tlv_file_open(c, path);
    if (f && read_options(c, f, &o) == TLV_OK && same_model(c, l, f) == TLV_OK
        && same_options(c, l, &o) == TLV_OK)
        take(l, f);
    tlv_file_close(f);
    return c->err;
}

/* ---- loading --------------------------------------------------------------------------------- */

/* The model with the learned start. */
static tlv_model *load_model(tlv_ctx *c, const tlv_file *f, const char *path)
{
    tlv_model *m = tlvi_model_like(c, f, path, "model.");
    if (!m) return NULL;
    tlv_params *p = tlv_model_params(m);
    if (tlvi_run_read(c, f, &(tlvi_run_state){ p, tlv_params_count(p), NULL }) == TLV_OK) return m;
    tlv_model_close(m);
    return NULL;
}

tlv_meta *tlv_meta_load(tlv_ctx *c, const char *path, tlv_model **m)
{
    tlv_meta_opts o;
    tlv_meta *l = NULL;
    *m = NULL;
    tlv_file *f = tlv_file_open(c, path);
    if (f && read_options(c, f, &o) == TLV_OK) *m = load_model(c, f, path);
    if (*m) l = tlv_meta_open(c, *m, o);
    if (l) take(l, f);
    tlv_file_close(f);
    if (l && c->err == TLV_OK) return l;
    tlv_meta_close(l);
    tlv_model_close(*m);
    *m = NULL;
    return NULL;
}
