/* reptile.c -- Reptile (Nichol et al. 2018, arXiv:1803.02999, alg. 2).
 *
 * A task is learned by ordinary training from theta: `inner_steps` minibatches of `inner_batch`
 * support images, each a step of Adam with beta1 = 0,
 *     v <- beta2 v + (1 - beta2) g^2,  phi <- phi - alpha g / (sqrt(v / (1 - beta2^t)) + eps)   (1)
 * and theta moves towards where that led,
 *     theta <- theta + epsilon mean over tasks (phi - theta)                                   (2)
 * with epsilon falling to 0.  No query set, no derivative of a derivative: the expected direction
 * holds, besides the gradient, one term that raises the agreement of minibatches (ibid., eq. 20).
 *
 * As in the authors' code v lives on from task to task, and t counts all steps so far: a v of this
 * task alone would make each step a sign of the gradient.  Their tasks come one after another.
 * These run side by side and must not depend on which came first: all begin with one v, the entry
 * "meta.second_moment.NAME", which becomes the mean of where they end.  Tests begin with it too. */
#include <math.h>
#include <stdio.h>

#include "transfer/meta.h"

static const double BETA2 = 0.999, EPS = 1e-8;
enum { NAME = 280 };

/* ---- minibatches: the support set, shuffled, again and again --------------------------------- */

/* Images of minibatch k: index[n] into the support set of `all`.  order has room for `all`. */
static void minibatch(tlv_rng_key key, int64_t all, int64_t n, int64_t k, int64_t *order,
                      int32_t *index)
{
    int64_t pass = -1;
    for (int64_t i = 0; i < n; i++) {
        int64_t at = k * n + i;
        if (at / all != pass) {
            pass = at / all;
            for (int64_t j = 0; j < all; j++) order[j] = j;
            tlv_rng_shuffle(tlv_rng_fold(key, (uint64_t)pass), all, order);
        }
        index[i] = (int32_t)order[at % all];
    }
}

static tlv_tensor *batch_loss(tlvi_meta_task *t, const tlv_params *phi, int64_t k, int batch)
{
    tlv_ctx *c = t->c;
    int64_t all = tlv_dim(t->e->x[TLV_SUPPORT], 0), n = batch > 0 && batch < all ? batch : all;
    tlv_tensor *order = tlvi_new(c, TLV_I64, TLV_SHAPE(all)),
               *index = tlvi_new(c, TLV_I32, TLV_SHAPE(n));
    if (!order || !index) return NULL;
    minibatch(t->key, all, n, k, tlvi_ptr(order), tlvi_i32(index));
    tlv_tensor *x = tlv_gather(c, t->e->x[TLV_SUPPORT], 0, index),                 // [n,C,S,S]
               *y = tlvi_new(c, TLV_I32, TLV_SHAPE(n));
    const tlv_tensor *label = tlvi_row_major(c, t->e->y[TLV_SUPPORT]);
    if (!x || !y || !label) return NULL;
    for (int64_t i = 0; i < n; i++) tlvi_i32(y)[i] = tlvi_i32(label)[tlvi_i32(index)[i]];
    return tlv_cross_entropy(c, tlvi_meta_logits(t, phi, 0, x), y, (tlv_ce_opts){ 0 });
}

/* ---- inner training -------------------------------------------------------------------------- */

/* (1) for one entry: a new leaf; g is dense, v is changed in place, step counts from 1. */
static tlv_tensor *adam(tlv_ctx *c, const tlv_tensor *phi, const tlv_tensor *g, tlv_tensor *v,
                        double rate, int64_t step)
{
    double co[7] = { rate, 0, BETA2, 1 / sqrt(1 - pow(BETA2, (double)step)), EPS, 0, 1 };
    tlv_tensor *out = tlvi_new(c, (tlv_dtype)phi->dtype, tlv_shape_of(phi)),
               *m = tlvi_new(c, (tlv_dtype)phi->dtype, tlv_shape_of(phi));
    if (!out || !m) return NULL;
    tlvi_copy_strided(c, phi, out);
    memset(tlvi_ptr(m), 0, (size_t)tlvi_numel(m) * tlv_dtype_size((tlv_dtype)m->dtype));
    tlvi_ks(c, phi->dtype)->adam_step((size_t)tlvi_numel(out), tlvi_ptr(out), tlvi_ptr(g),
                                      tlvi_ptr(m), tlvi_ptr(v), co);
    return tlv_leaf(c, out);
}

/* One step of (1) on all that moves; frozen entries and buffers stay. */
static tlv_params *step_of(tlvi_meta_task *t, const tlv_params *phi, const tlv_params *g,
                           const tlv_params *v, int64_t step)
{
    tlv_ctx *c = t->c;
    tlv_scope s = tlv_scope_begin_with(c, TLV_NO_GRAD);
    tlv_params *next = c->err ? NULL : tlvi_params_scoped(c, phi->schema);
    for (int i = 0; next && i < phi->schema->n && c->err == TLV_OK; i++) {
        next->value[i] = phi->value[i];
        next->frozen[i] = phi->frozen[i];
        const tlv_tensor *d = g && g->value[i] ? tlvi_row_major(c, g->value[i]) : NULL;
        if (d) next->value[i] = adam(c, phi->value[i], d, v->value[i], t->l->o.inner_lr, step);
    }
    tlv_scope_end_keep_params(c, s, next);
    return c->err ? NULL : next;
}

/* ---- second moments -------------------------------------------------------------------------- */

static int moment_slot(const tlv_meta *l, int slot)
{
    char name[NAME];
    snprintf(name, sizeof name, "meta.second_moment.%s", tlv_params_name(l->p, slot));
    return tlv_params_find(l->p, name);
}

static tlv_params *own(tlv_ctx *c, const tlv_meta *l)
{
    tlv_build *b = tlv_build_begin(c, tlvi_meta_dtype(l));
    for (int i = 0; i < l->own; i++) {
        if (!l->adapted[i]) continue;
        char name[NAME];
        snprintf(name, sizeof name, "meta.second_moment.%s", tlv_params_name(l->p, i));
        tlv_build_buffer(b, name, l->p->schema->entry[i].shape, tlv_init_zeros());
    }
    return tlv_build_end(b);
}

/* The task's own copy of v, which its steps change: at the slot of the parameter that it is of. */
static tlv_params *second_moments(tlvi_meta_task *t)
{
    tlv_ctx *c = t->c;
    tlv_params *v = c->err ? NULL : tlvi_params_scoped(c, t->p->schema);
    for (int i = 0; v && i < t->l->own && c->err == TLV_OK; i++) {
        if (!t->l->adapted[i]) continue;
        const tlv_tensor *from = tlv_params_get(t->p, moment_slot(t->l, i));
        v->value[i] = from ? tlvi_new(c, (tlv_dtype)from->dtype, tlv_shape_of(from)) : NULL;
        if (v->value[i]) tlvi_copy_strided(c, from, v->value[i]);
    }
    return v;
}

/* phi; *v: the second moments at its end, in the innermost scope. */
static const tlv_params *train(tlvi_meta_task *t, int steps, int batch, tlv_params **v)
{
    tlv_ctx *c = t->c;
    const tlv_params *theta = tlvi_meta_adapted(t, t->p);
    *v = theta ? second_moments(t) : NULL;
    if (!*v || c->err || steps == 0) return theta;
    int64_t before = t->l->iteration * t->l->o.inner_steps;
    tlv_scope s = tlv_scope_begin(c);
    const tlv_params *phi = theta;
    for (int k = 0; k < steps && phi; k++) {
        tlv_tensor *loss = batch_loss(t, phi, k, batch);
        const tlv_params *g = loss ? tlv_params_grad(c, loss, phi, 0) : NULL;
        phi = g ? step_of(t, phi, g, *v, before + k + 1) : NULL;
        if (phi) tlvi_scope_roll_n(c, s, phi->schema->n + 1, phi->value);
    }
    tlv_scope_end_keep_params(c, s, (tlv_params *)phi);
    return c->err ? NULL : phi;
}

/* ---- the method ------------------------------------------------------------------------------ */

/* theta - phi, which (2) descends, and v; the query set only tells how far it is. */
static tlv_params *direction(tlvi_meta_task *t)
{
    tlv_ctx *c = t->c;
    tlv_params *v;
    const tlv_params *phi = train(t, t->l->o.inner_steps, t->l->o.inner_batch, &v);
    tlv_scope s = tlv_scope_begin_with(c, TLV_NO_GRAD);
    if (phi) tlvi_meta_query_loss(t, tlvi_meta_query_logits(t, phi, t->l->o.inner_steps));
    tlv_params *d = phi && !c->err ? tlvi_params_scoped(c, phi->schema) : NULL;
    for (int i = 0; d && i < phi->schema->n; i++)
        if (!tlv_params_is_buffer(phi, i) && phi->value[i] != t->p->value[i])
            d->value[i] = tlv_sub(c, t->p->value[i], phi->value[i]);
    for (int i = 0; d && i < t->l->own; i++)
        if (t->l->adapted[i]) d->value[moment_slot(t->l, i)] = v->value[i];
    tlv_scope_end_keep_params(c, s, d);
    return c->err ? NULL : d;
}

static tlv_tensor *predict(tlvi_meta_task *t)
{
    tlv_params *v;
    const tlv_params *phi = train(t, t->l->o.eval_steps, t->l->o.eval_batch, &v);
    return tlvi_meta_answer(t, phi, t->l->o.eval_steps);
}

/* The authors' README for 5-way Omniglot (openai/supervised-reptile); learner.c knows 20 ways. */
const tlvi_meta_method tlvi_reptile = {
    .name = "reptile", .sgd = 1,
    .defaults = { .queries = 1, .train_shots = 10, .tasks = 5, .inner_steps = 5, .eval_steps = 50,
                  .inner_lr = 1e-3, .inner_batch = 10, .eval_batch = 5, .lr = 1, .lr_end = 0,
                  .iterations = 100000 },
    .own = own, .carries = 1, .direction = direction, .predict = predict,
};
