/* optim.c -- SGD, Adam, AdamW: what PyTorch computes, in one pass over the memory. */
#include <math.h>
#include <stdio.h>

#include "optim/segments.h"

typedef enum rule { SGD, ADAM } rule;

struct tlv_optim {
    tlv_ctx *c;
    tlvi_schema *schema;                // of the set it was opened with
    rule rule;
    tlv_sgd_opts sgd;
    tlv_adam_opts adam;
    tlv_params *moment[2];
    int64_t steps, *slot_steps;
    double lr, *lr_scale, *decay;       /* [n] */
    uint8_t *use;                       /* [n] slots that the step at hand updates */
    int n, skipped;
    size_t bytes;
};

tlv_adam_opts tlv_adam_defaults(void)
{
    return (tlv_adam_opts){ 1e-3, 0.9, 0.999, 1e-8, 0, 0, NULL, 0 };
}
tlv_adam_opts tlv_adamw_defaults(void)
{
    return (tlv_adam_opts){ 1e-3, 0.9, 0.999, 1e-8, 0.01, 1, NULL, 0 };
}

/* ---- opening --------------------------------------------------------------------------------- */

static void take_groups(tlv_optim *o, const tlv_params *p, double decay, const tlv_group *groups,
                        int n)
{
    for (int i = 0; i < o->n; i++) {
        o->lr_scale[i] = 1;
        o->decay[i] = decay;
        for (int k = 0; k < n; k++)
            if (tlv_match(groups[k].pattern, tlv_params_name(p, i))) {
                o->lr_scale[i] = groups[k].lr_scale;
                o->decay[i] = groups[k].weight_decay;
            }
    }
}

static tlv_optim *open_optim(tlv_ctx *c, const tlv_params *p, rule r, double lr, int moments)
{
    TLVI_REQUIRE(c, p, TLV_ERR_ARG, "pass the parameters", "optim: parameters are NULL");
    TLVI_REQUIRE(c, p->c == c, TLV_ERR_CTX, "open it in the context of the parameters",
                 "optim: the parameters belong to another context");
    if (c->err) return NULL;
    size_t n = (size_t)p->schema->n,
           bytes = sizeof(tlv_optim) + n * (sizeof(int64_t) + 2 * sizeof(double) + 1);
    tlv_optim *o = tlvi_alloc(c, bytes);
    if (!o) return NULL;
    memset(o, 0, bytes);
    o->c = c;
    o->rule = r;
    o->lr = lr;
    o->n = (int)n;
    o->bytes = bytes;
    o->schema = p->schema;
    o->schema->refs++;
    o->slot_steps = (int64_t *)(void *)(o + 1);
    o->lr_scale = (double *)(void *)(o->slot_steps + n);
    o->decay = o->lr_scale + n;
    o->use = (uint8_t *)(o->decay + n);
    for (int i = 0; i < moments; i++) o->moment[i] = tlv_params_zeros(c, p);
    if (!c->err) return o;
    tlv_optim_close(o);
    return NULL;
}

tlv_optim *tlv_sgd_open(tlv_ctx *c, const tlv_params *p, tlv_sgd_opts s)
{
    TLVI_REQUIRE(c,
                 s.lr >= 0 && s.momentum >= 0 && s.weight_decay >= 0
                     && (!s.nesterov || (s.momentum > 0 && s.dampening == 0)),
                 TLV_ERR_ARG, "numbers are >= 0; Nesterov needs momentum and no dampening",
                 "sgd: lr %g, momentum %g, dampening %g, weight decay %g", s.lr, s.momentum,
                 s.dampening, s.weight_decay);
    tlv_optim *o = open_optim(c, p, SGD, s.lr, s.momentum != 0);
    if (!o) return NULL;
    o->sgd = s;
    take_groups(o, p, s.weight_decay, s.groups, s.n_groups);
    return o;
}

tlv_optim *tlv_adam_open(tlv_ctx *c, const tlv_params *p, tlv_adam_opts a)
{
    TLVI_REQUIRE(c,
                 a.lr >= 0 && a.eps >= 0 && a.beta1 >= 0 && a.beta1 < 1 && a.beta2 >= 0
                     && a.beta2 < 1 && a.weight_decay >= 0,
                 TLV_ERR_ARG, "start from tlv_adam_defaults()",
                 "adam: lr %g, betas %g %g, eps %g, weight decay %g", a.lr, a.beta1, a.beta2, a.eps,
                 a.weight_decay);
    tlv_optim *o = open_optim(c, p, ADAM, a.lr, 2);
    if (!o) return NULL;
    o->adam = a;
    take_groups(o, p, a.weight_decay, a.groups, a.n_groups);
    return o;
}

void tlv_optim_close(tlv_optim *o)
{
    if (!o) return;
    tlv_params_close(o->moment[0]);
    tlv_params_close(o->moment[1]);
    tlvi_schema_unref(o->c, o->schema);
    tlvi_free(o->c, o, o->bytes);
}

/* ---- the step -------------------------------------------------------------------------------- */

typedef struct step_job { tlv_optim *o; tlv_params *p, *g; } step_job;

static void *at(const tlv_tensor *t, int64_t from)
{
    return (char *)tlvi_ptr(t) + from * (int64_t)tlv_dtype_size((tlv_dtype)t->dtype);
}

static void step_piece(void *arg, int i, int64_t from, int64_t n)
{
    const step_job *j = arg;
    const tlv_optim *o = j->o;
    const tlvi_kset *k = tlvi_ks(o->c, j->p->value[i]->dtype);
    double lr = o->lr * o->lr_scale[i], wd = o->decay[i];
    int decoupled = o->rule == SGD ? o->sgd.decoupled : o->adam.decoupled;
    double coupled = decoupled ? 0 : wd, shrink = decoupled ? 1 - lr * wd : 1;
    void *p = at(j->p->value[i], from), *m = o->moment[0] ? at(o->moment[0]->value[i], from) : NULL;
    const void *g = at(j->g->value[i], from);
    int64_t t = o->slot_steps[i];                   // counted already: 1 in the first step
    if (o->rule == SGD) {
        double co[7] = { lr,      o->sgd.momentum, 1 - o->sgd.dampening,
                         coupled, shrink,          o->sgd.nesterov,
                         t == 1 };
        k->sgd_step((size_t)n, p, g, m, co);
        return;
    }
    double b1 = o->adam.beta1, b2 = o->adam.beta2;
    double co[7] = { lr / (1 - pow(b1, (double)t)),
                     b1,
                     b2,
                     1 / sqrt(1 - pow(b2, (double)t)),
                     o->adam.eps,
                     coupled,
                     shrink };
    k->adam_step((size_t)n, p, g, m, at(o->moment[1]->value[i], from), co);
}

/* Everything that may fail, before the first number changes. */
static int choose(tlv_ctx *c, tlv_optim *o, tlv_params *p, const tlv_params *g)
{
    if (!tlvi_params_same(c, "optim_step", p, g)) return 0;
    if (p->schema != o->schema) {
        tlvi_fail(c, TLV_ERR_NAME, "open an optimizer for the new set",
                  "optim_step: the optimizer was opened for other names (%d entries, not %d)", o->n,
                  p->schema->n);
        return 0;
    }
    o->skipped = 0;
    for (int i = 0; i < o->n; i++) {
        o->use[i] = (uint8_t)tlvi_has_grad(p, g, i);
        if (!o->use[i] && !p->schema->entry[i].is_buffer) o->skipped++;
    }
    for (int i = 0; i < o->n; i++)
        if (o->use[i] && !tlvi_params_write(c, p, i)) return 0;
    return 1;
}

tlv_status tlv_optim_step(tlv_ctx *c, tlv_optim *o, tlv_params *p, const tlv_params *g)
{
    if (c->err) return c->err;
    c->in_hand[0] = NULL;
    TLVI_CHECK(c, o && p && g, TLV_ERR_ARG, "pass an optimizer, parameters and their gradients",
               "optim_step: the %s NULL",
               !o   ? "optimizer is"
               : !p ? "parameters are"
                    : "gradients are");
    tlv_mem_phase before = tlvi_phase(c, TLV_PHASE_STEP);
    tlv_scope s = tlv_scope_begin_with(c, TLV_NO_GRAD);
    tlv_params *dense = tlvi_dense(c, g);
    int64_t *room = dense ? tlvi_segments_room(c, p) : NULL;
    if (room && choose(c, o, p, g)) {
        for (int i = 0; i < o->n; i++) o->slot_steps[i] += o->use[i];
        step_job j = { o, p, dense };
        tlvi_segments(c, p, o->use, step_piece, &j, room);
        o->steps++;
    }
    tlv_scope_end(c, s);
    tlvi_phase(c, before);
    return c->err;
}

/* ---- small things ---------------------------------------------------------------------------- */

void tlv_optim_set_lr(tlv_optim *o, double lr) { o->lr = lr; }
double tlv_optim_lr(const tlv_optim *o) { return o->lr; }
int64_t tlv_optim_steps(const tlv_optim *o) { return o->steps; }
int tlv_optim_skipped(const tlv_optim *o) { return o->skipped; }
tlv_params *tlv_optim_moment(tlv_optim *o, int i) { return i >= 0 && i < 2 ? o->moment[i] : NULL; }
int64_t tlv_optim_slot_steps(const tlv_optim *o, int slot)
{
    return slot >= 0 && slot < o->n ? o->slot_steps[slot] : 0;
}

void tlv_optim_set_steps(tlv_optim *o, int64_t steps, const int64_t *slot_steps)
{
    o->steps = steps;
    for (int i = 0; i < o->n; i++) o->slot_steps[i] = slot_steps ? slot_steps[i] : steps;
}
