/* run.c -- what a forward function gets and hands out: parameters, statistics, taps. */
#include <stdio.h>

#include "nn/run.h"

tlv_tensor *tlv_run_param(const tlv_run *r, int slot)
{
    if (slot < 0) return NULL;
    return tlv_params_get(r->params, slot);
}

/* ---- batch-norm statistics -------------------------------------------------------------------- *
 * The sink keeps copies: the layers' scopes may end before the step does. */

typedef struct stat { tlv_bn_layer m; const tlvi_schema *schema; double *mean, *var; } stat;

struct tlv_stats {
    tlv_ctx *c;
    stat *at;
    int n, cap;                         /* n: pending */
    int64_t discarded;
};

tlv_stats *tlv_stats_open(tlv_ctx *c)
{
    tlv_stats *s = c->err ? NULL : tlvi_alloc(c, sizeof *s);
    if (s) *s = (tlv_stats){ .c = c };
    return s;
}

void tlv_stats_close(tlv_stats *s)
{
    if (!s) return;
    for (int i = 0; i < s->cap; i++)
        tlvi_free(s->c, s->at[i].mean, 2 * sizeof(double) * (size_t)s->at[i].m.channels);
    tlvi_free(s->c, s->at, (size_t)s->cap * sizeof *s->at);
    tlvi_free(s->c, s, sizeof *s);
}

void tlv_stats_discard(tlv_stats *s)
{
    if (!s) return;
    s->discarded += s->n;
    s->n = 0;
}
int64_t tlv_stats_discarded(const tlv_stats *s) { return s ? s->discarded : 0; }

static stat *next_stat(tlv_stats *s)
{
    if (s->n == s->cap) {
        int cap = s->cap + 32;
        stat *at = tlvi_alloc(s->c, (size_t)cap * sizeof *at);
        if (!at) return NULL;
        memset(at, 0, (size_t)cap * sizeof *at);
        if (s->cap) memcpy(at, s->at, (size_t)s->cap * sizeof *at);
        tlvi_free(s->c, s->at, (size_t)s->cap * sizeof *at);
        s->at = at;
        s->cap = cap;
    }
    return &s->at[s->n];
}

static void to_doubles(const tlv_tensor *t, double *out)
{
    for (int64_t i = 0; i < t->shape[0]; i++)
        out[i] = t->dtype == TLV_F64 ? ((const double *)tlvi_ptr(t))[i * t->stride[0]]
                                     : (double)tlvi_f32(t)[i * t->stride[0]];
}

void tlvi_stats_add(const tlv_run *r, const tlv_bn_layer *m, const tlv_tensor *mean,
                    const tlv_tensor *var)
{
    tlv_stats *s = r->stats;
    if (!s || !mean || !var || s->c->err) return;
    stat *at = next_stat(s);
    if (!at) return;
    if (at->mean && at->m.channels != m->channels) {
        tlvi_free(s->c, at->mean, 2 * sizeof(double) * (size_t)at->m.channels);
        at->mean = NULL;
    }
    if (!at->mean) at->mean = tlvi_alloc(s->c, 2 * sizeof(double) * (size_t)m->channels);
    if (!at->mean) return;
    at->var = at->mean + m->channels;
    at->m = *m;
    at->schema = r->params->schema;
    to_doubles(mean, at->mean);
    to_doubles(var, at->var);
    s->n++;
}

static void blend(tlv_tensor *running, void *data, const double *batch, double momentum)
{
    for (int64_t i = 0; i < running->shape[0]; i++) {
        if (running->dtype == TLV_F64) {
            double *p = (double *)data + i;
            *p = (1 - momentum) * *p + momentum * batch[i];
        } else {
            float *p = (float *)data + i;
            *p = (float)((1 - momentum) * *p + momentum * batch[i]);
        }
    }
}

static tlv_tensor *from_doubles(tlv_ctx *c, const tlv_params *like, int slot, const double *x)
{
    const tlvi_entry *e = &like->schema->entry[slot];
    tlv_tensor *t = tlvi_new(c, (tlv_dtype)e->dtype, e->shape);
    for (int64_t i = 0; t && i < tlvi_numel(t); i++) {
        if (e->dtype == TLV_F64) ((double *)tlvi_ptr(t))[i] = x[i];
        else ((float *)tlvi_ptr(t))[i] = (float)x[i];
    }
    return t;
}

tlv_params *tlvi_stats_take(tlv_ctx *c, tlv_stats *s, const tlv_params *like)
{
    tlv_params *out = c->err ? NULL : tlvi_params_scoped(c, like->schema);
    for (int i = 0; out && i < s->n; i++) {
        const stat *a = &s->at[i];
        out->value[a->m.mean] = from_doubles(c, like, a->m.mean, a->mean);
        out->value[a->m.var] = from_doubles(c, like, a->m.var, a->var);
    }
    s->n = 0;
    return c->err ? NULL : out;
}

/* Whether all that is pending belongs into p, and p may be written. */
static int may_apply(tlv_ctx *c, const tlv_stats *s, const tlv_run *r, tlv_params *p)
{
    if (!tlvi_params_same(c, "run_apply_stats", r->params, p)) return 0;
    for (int i = 0; i < s->n && !c->err; i++) {
        if (s->at[i].schema != p->schema)
            tlvi_fail(c, TLV_ERR_NAME, "apply or discard them before the sink serves another model",
                      "run_apply_stats: the sink holds statistics of another parameter set");
        else tlvi_params_write(c, p, s->at[i].m.mean);
    }
    return c->err == TLV_OK;
}

tlv_status tlv_run_apply_stats(const tlv_run *r, tlv_params *p)
{
    tlv_stats *s = r->stats;
    if (!s) return r->c->err;
    if (r->c->err || !may_apply(r->c, s, r, p)) {
        tlv_stats_discard(s);
        return r->c->err;
    }
    for (int i = 0; i < s->n; i++) {
        const tlv_bn_layer *m = &s->at[i].m;
        void *mean = tlvi_params_write(r->c, p, m->mean), *var = tlvi_params_write(r->c, p, m->var);
        blend(p->value[m->mean], mean, s->at[i].mean, m->momentum);
        blend(p->value[m->var], var, s->at[i].var, m->momentum);
        int64_t *count = m->count >= 0 ? tlvi_params_write(r->c, p, m->count) : NULL;
        if (count) ++*count;
    }
    s->n = 0;
    return r->c->err;
}

/* ---- taps ------------------------------------------------------------------------------------ */

enum { TAP_NAME = 96, TAPS = 64 };

struct tlv_taps {
    tlv_ctx *c;
    char pattern[256];
    int n;
    int32_t depth;                      /* of the scope that the taps live in */
    struct { char name[TAP_NAME]; tlv_tensor *t; } at[TAPS];
};

tlv_taps *tlv_taps_open(tlv_ctx *c, const char *pattern)
{
    TLVI_REQUIRE(c, !pattern || strlen(pattern) < sizeof ((tlv_taps *)0)->pattern, TLV_ERR_ARG,
                 "use '*' for runs of characters", "taps_open: a pattern of %zu characters",
                 strlen(pattern));
    tlv_taps *t = c->err ? NULL : tlvi_alloc(c, sizeof *t);
    if (!t) return NULL;
    t->c = c;
    t->n = 0;
    t->depth = c->depth;
    snprintf(t->pattern, sizeof t->pattern, "%s", pattern ? pattern : "*");
    return t;
}

void tlv_taps_close(tlv_taps *t)
{
    if (t) tlvi_free(t->c, t, sizeof *t);
}
void tlv_taps_clear(tlv_taps *t) { t->n = 0; }
int tlv_taps_count(const tlv_taps *t) { return t->n; }
const char *tlv_taps_name(const tlv_taps *t, int i)
{
    return i >= 0 && i < t->n ? t->at[i].name : "";
}
tlv_tensor *tlv_taps_get(const tlv_taps *t, int i)
{
    return i >= 0 && i < t->n ? t->at[i].t : NULL;
}

void tlv_run_tap(const tlv_run *r, const char *name, tlv_tensor *x)
{
    tlv_taps *t = r->taps;
    if (!t || !x || r->c->err || r->c->replay || !tlv_match(t->pattern, name)) return;
    if (t->n == TAPS) {
        tlvi_fail(r->c, TLV_ERR_LIMIT, "choose fewer by a pattern",
                  "run_tap: more than %d taps, at %s", TAPS, name);
        return;
    }
    snprintf(t->at[t->n].name, TAP_NAME, "%s", name);
    t->at[t->n++].t = x;
    tlvi_pin(x, t->depth);
}
