/* meta_task.c -- what methods of learning to learn do with one episode: run the model, judge. */
#include "nn/run.h"
#include "transfer/meta.h"

tlv_dtype tlvi_meta_dtype(const tlv_meta *l)
{
    int i = 0;
    while (i < l->own - 1 && tlv_params_is_buffer(l->p, i)) i++;
    return (tlv_dtype)l->p->schema->entry[i].dtype;
}

const tlv_params *tlvi_meta_adapted(const tlvi_meta_task *t, const tlv_params *p)
{
    if (!p || t->c->err) return NULL;
    tlv_params *q = tlvi_params_scoped(t->c, p->schema);
    for (int i = 0; q && i < p->schema->n; i++) {
        q->value[i] = p->value[i];
        int keep = p->schema->entry[i].is_buffer || (i < t->l->own && t->l->adapted[i]);
        q->frozen[i] = (uint8_t)(p->frozen[i] || !keep);
    }
    return q;
}

/* ---- running the model ----------------------------------------------------------------------- */

typedef tlv_tensor *(*model_fn)(const tlv_run *r, const tlv_model *m, const tlv_tensor *x);

/* Adds what the batch norms saw to what the task has observed so far: it outlives the scopes of
 * single steps. */
static void observe(tlvi_meta_task *t, tlv_stats *stats, int step)
{
    tlv_params *seen = tlvi_stats_take(t->c, stats, t->p);
    if (!seen) return;
    for (int i = 0, n = seen->schema->n; t->observed && i < n; i++) {
        if (!seen->value[i]) continue;
        tlvi_pin(seen->value[i], t->observed->value[n]->depth);
        t->observed->value[tlvi_step_slot(t->l, i, step)] = seen->value[i];
    }
}

/* Of passes that judge; inner steps are training, in tests too, and take the batch's statistics. */
static tlv_mode judging(const tlvi_meta_task *t)
{
    return t->l->o.bn == TLV_META_BN_BATCH || t->training ? TLV_TRAIN : TLV_EVAL;
}

static tlv_tensor *run(tlvi_meta_task *t, const tlv_params *p, int step, tlv_mode mode,
                       const tlv_tensor *x, model_fn fn)
{
    if (!p || t->c->err) return NULL;
    const tlv_meta *l = t->l;
    tlv_run r = tlv_model_run(t->c, l->m, mode);
    p = tlvi_step_norms(t->c, l, p, step);
    r.params = l->o.lora_rank > 0 ? tlv_lora_merge(t->c, p, 1) : p;
    if (!r.params) return NULL;
    if (t->observed) r.stats = tlv_stats_open(t->c);
    tlv_tensor *y = fn(&r, l->m, x);
    if (r.stats) observe(t, r.stats, step);
    tlv_stats_close(r.stats);
    return y;
}

tlv_tensor *tlvi_meta_logits(tlvi_meta_task *t, const tlv_params *p, int step, const tlv_tensor *x)
{
    return run(t, p, step, judging(t), x, tlv_model_forward);
}

tlv_tensor *tlvi_meta_features(tlvi_meta_task *t, const tlv_params *p, const tlv_tensor *x)
{
    return run(t, p, 0, judging(t), x, tlv_model_features);
}

tlv_scope tlvi_meta_step_begin(const tlvi_meta_task *t)
{
    return tlv_scope_begin_with(t->c, t->l->o.checkpoint ? TLV_CHECKPOINT : 0);
}

void tlvi_meta_start(tlvi_meta_task *t)
{
    if (t->c->err) return;
    if (t->training && t->l->o.bn != TLV_META_BN_BATCH)
        t->observed = tlvi_params_scoped(t->c, t->p->schema);
    if (!t->l->head_alone) return;
    tlv_scope s = tlv_scope_begin_with(t->c, t->training ? 0 : TLV_NO_GRAD);
    tlv_tensor *h = run(t, t->p, 0, TLV_TRAIN, t->e->x[TLV_SUPPORT], tlv_model_features);
    t->features = tlv_scope_end_keep(t->c, s, h);
}

static tlv_tensor *head_of(const tlvi_meta_task *t, const tlv_params *p, const tlv_tensor *h)
{
    if (!p || t->c->err) return NULL;
    const tlv_tensor *w = tlv_params_get(p, t->l->head_w);                          // [ways,D]
    const tlv_tensor *b = t->l->head_b >= 0 ? tlv_params_get(p, t->l->head_b) : NULL;
    return tlv_linear(t->c, h, w, b, TLV_ACT_NONE);
}

tlv_tensor *tlvi_meta_support_loss(tlv_ctx *c, const tlv_params *p, int step, void *task)
{
    tlvi_meta_task *t = task;
    const tlv_tensor *x = t->e->x[TLV_SUPPORT];
    tlv_tensor *logits = t->features ? head_of(t, p, t->features)
                                     : run(t, p, step, TLV_TRAIN, x, tlv_model_forward); // [N,ways]
    return tlv_cross_entropy(c, logits, t->e->y[TLV_SUPPORT], (tlv_ce_opts){ 0 });
}

/* ---- judging --------------------------------------------------------------------------------- */

/* Query image i behind the support set, as one batch; its logits are the last row. */
static tlv_tensor *alone(tlvi_meta_task *t, const tlv_params *p, int step, int64_t i)
{
    const tlv_tensor *support = t->e->x[TLV_SUPPORT];
    const tlv_tensor *both[2] = { support, tlv_slice(t->c, t->e->x[TLV_QUERY], 0, i, i + 1, 1) };
    tlv_tensor *y = tlvi_meta_logits(t, p, step, tlv_cat(t->c, 2, both, 0));     // [N+1,ways]
    int64_t n = support ? tlv_dim(support, 0) : 0;
    return tlv_slice(t->c, y, 0, n, n + 1, 1);                                      // [1,ways]
}

tlv_tensor *tlvi_meta_query_logits(tlvi_meta_task *t, const tlv_params *p, int step)
{
    const tlv_tensor *x = t->e->x[TLV_QUERY];
    if (!p || !t->one_by_one || t->l->o.bn != TLV_META_BN_BATCH)
        return tlvi_meta_logits(t, p, step, x);
    tlv_ctx *c = t->c;
    tlv_scope all = tlv_scope_begin(c);
    tlv_tensor *y = NULL;
    for (int64_t i = 0; i < tlv_dim(x, 0) && c->err == TLV_OK; i++) {
        tlv_scope s = tlv_scope_begin(c);
        const tlv_tensor *row = alone(t, p, step, i), *both[2] = { y, row };
        y = tlv_scope_end_keep(c, s, y ? tlv_cat(c, 2, both, 0) : (tlv_tensor *)row);
    }
    return tlv_scope_end_keep(c, all, y);
}

static double accuracy_of(tlv_ctx *c, const tlv_tensor *logits, const tlv_tensor *y)
{
    tlv_scope s = tlv_scope_begin_with(c, TLV_NO_GRAD);
    tlv_tensor *guess = tlv_argmax(c, logits, 1, 0);                                // [Q]
    int64_t right = 0, n = tlv_dim(y, 0);
    for (int64_t i = 0; guess && i < n; i++) right += tlvi_i32(guess)[i] == tlvi_i32(y)[i];
    tlv_scope_end(c, s);
    return (double)right / (double)n;
}

tlv_tensor *tlvi_meta_query_loss(tlvi_meta_task *t, tlv_tensor *logits)
{
    if (!logits || t->c->err) return NULL;
    const tlv_tensor *y = t->e->y[TLV_QUERY];
    tlv_tensor *loss = tlv_cross_entropy(t->c, logits, y, (tlv_ce_opts){ 0 });
    if (!loss) return NULL;
    t->loss = tlv_item(t->c, loss);
    t->accuracy = accuracy_of(t->c, logits, y);
    return loss;
}

tlv_tensor *tlvi_meta_answer(tlvi_meta_task *t, const tlv_params *p, int step)
{
    tlv_scope s = tlv_scope_begin_with(t->c, TLV_NO_GRAD);
    return tlv_scope_end_keep(t->c, s, tlvi_meta_query_logits(t, p, step));
}

tlv_params *tlvi_meta_query_gradient(tlvi_meta_task *t, const tlv_params *p, int step)
{
    tlv_tensor *loss = tlvi_meta_query_loss(t, tlvi_meta_query_logits(t, p, step));
    return loss ? tlv_params_grad(t->c, loss, t->p, 0) : NULL;
}
