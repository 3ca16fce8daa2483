/* maml_plus_plus.c -- MAML++: what makes MAML train steadily (Antoniou et al. 2019,
 * arXiv:1810.09502, section 4), beside exact second order and an outer rate that falls along a
 * cosine, which every learner here has.
 *
 *   LSLR  a learned rate for each layer i and inner step k, "meta.rate.K.NAME":
 *             theta_{k+1,i} = theta_{k,i} - alpha_{k,i} grad_i L_S(theta_k)                   (1)
 *   BNRS, BNWB  batch norms of their own for each inner step (step_norms.c), which (1) leaves alone
 *   MSL   every theta_k is judged, not the last alone: the outer step descends
 *             sum_{k=1..K} w_k L_Q(theta_k)                                                   (2)
 *         with w_k = 1/K at first, of which those but the last fade as outer steps e go by, to
 *             w_k = max(1/K - e / (E K), 0.03/K) for k < K,   w_K = 1 - the others            (3)
 *         and are gone from step E = o.multi_step on.
 *
 * Of the authors' code this differs in one place: there the loss of theta_{k+1} passes through the
 * norms of step k, here through those of step k+1, where the weights are. */
#include <math.h>
#include <stdio.h>

#include "transfer/meta.h"

/* "meta.rate.K.": steps beyond those of training take the last one's rates. */
typedef struct prefix { char s[32]; } prefix;
static prefix of_step(const tlv_meta *l, int k)
{
    prefix p;
    int last = l->o.inner_steps - 1;
    snprintf(p.s, sizeof p.s, "meta.rate.%d.", k < last ? k : last);
    return p;
}

static tlv_params *own(tlv_ctx *c, const tlv_meta *l)
{
    tlv_build *b = tlv_build_begin(c, tlvi_meta_dtype(l));
    for (int k = 0; k < l->o.inner_steps; k++) tlvi_rates_build(b, l, of_step(l, k).s, 0);
    tlvi_step_norms_build(b, l);
    tlv_params *q = tlv_build_end(b);
    tlvi_step_norms_start(c, l, q);
    return q;
}

/* theta_{k+1}; flags: TLV_CREATE_GRAPH where (2) will go through the step. */
static const tlv_params *step(tlvi_meta_task *t, const tlv_params *fast, int k, int flags)
{
    tlv_scope s = tlvi_meta_step_begin(t);
    tlv_tensor *loss = tlvi_meta_support_loss(t->c, fast, k, t);
    const tlv_params *g = loss ? tlv_params_grad(t->c, loss, fast, flags) : NULL;
    tlv_params *next = tlvi_rates_descend(t, fast, g, of_step(t->l, k).s);                  // (1)
    tlv_scope_end_keep_params(t->c, s, next);
    return next;
}

/* (3), k from 1 */
static double weight(const tlvi_meta_task *t, int k)
{
    const tlv_meta_opts *o = &t->l->o;
    int last = o->inner_steps;
    if (t->iteration >= o->multi_step) return k == last;
    double gone = (double)t->iteration / (double)o->multi_step;
    double early = fmax(1 - gone, 0.03) / last;
    return k < last ? early : 1 - (last - 1) * early;
}

static tlv_params *direction(tlvi_meta_task *t)
{
    tlv_ctx *c = t->c;
    int last = t->l->o.inner_steps;
    const tlv_params *fast = tlvi_meta_adapted(t, t->p);
    tlv_tensor *sum = NULL;
    for (int k = 0; k <= last && c->err == TLV_OK; k++) {
        double w = k > 0 ? weight(t, k) : last == 0;
        if (w > 0) {
            tlv_tensor *loss = tlvi_meta_query_loss(t, tlvi_meta_query_logits(t, fast, k));
            loss = tlv_affine(c, loss, w, 0);
            sum = sum ? tlv_add(c, sum, loss) : loss;
        }
        if (k < last) fast = step(t, fast, k, TLV_CREATE_GRAPH);
    }
    if (c->err) return NULL;
    t->loss = tlv_item(c, sum);
    return tlv_params_grad(c, sum, t->p, 0);                                                // (2)
}

static tlv_tensor *predict(tlvi_meta_task *t)
{
    int steps = t->l->o.eval_steps;
    const tlv_params *fast = tlvi_meta_adapted(t, t->p);
    for (int k = 0; k < steps && fast && t->l->o.inner_steps > 0; k++) fast = step(t, fast, k, 0);
    return tlvi_meta_answer(t, fast, steps);
}

/* The authors' experiment_config/omniglot_maml++-omniglot_1_8_0.1_64_20_0.json: 100 epochs of 500
 * outer steps, of which 10 have the losses of all inner steps.  Their batch norms take the batch's
 * statistics in tests too, whatever they collect: so does the default here. */
const tlvi_meta_method tlvi_maml_plus_plus = {
    .name = "maml++",
    .defaults = { .tasks = 8, .inner_steps = 5, .eval_steps = 5, .inner_lr = 0.1,
                  .bn = TLV_META_BN_BATCH, .lr = 1e-3, .lr_end = 1e-5, .iterations = 50000,
                  .multi_step = 5000 },
    .step_norms = 1, .own = own, .direction = direction, .predict = predict,
};
