/* meta_sgd.c -- Meta-SGD: learning where to start, where to go and how far (Li et al. 2017,
 * arXiv:1707.09835, alg. 1).
 *
 *     theta' = theta - alpha o grad L_S(theta)                                                (1)
 * o multiplies number by number: alpha has theta's shapes, so that it turns the step as well as
 * scaling it, and may be negative.  It is learned as theta is, by descending
 *     sum over tasks   grad_{theta, alpha} L_Q(theta')                                        (2)
 * One step is what the paper takes; with more, each is (1) with the same alpha.  The rate of NAME
 * is the entry "meta.rate.NAME", inner_lr at first. */
#include "transfer/meta.h"

static tlv_params *own(tlv_ctx *c, const tlv_meta *l)
{
    tlv_build *b = tlv_build_begin(c, tlvi_meta_dtype(l));
    tlvi_rates_build(b, l, "meta.rate.", 1);
    return tlv_build_end(b);
}

/* flags: TLV_CREATE_GRAPH where (2) will go through the steps. */
static const tlv_params *adapt(tlvi_meta_task *t, int steps, int flags)
{
    const tlv_params *fast = tlvi_meta_adapted(t, t->p);
    for (int k = 0; k < steps && fast; k++) {
        tlv_scope s = tlvi_meta_step_begin(t);
        tlv_tensor *loss = tlvi_meta_support_loss(t->c, fast, k, t);
        const tlv_params *g = loss ? tlv_params_grad(t->c, loss, fast, flags) : NULL;
        tlv_params *next = tlvi_rates_descend(t, fast, g, "meta.rate.");                    // (1)
        tlv_scope_end_keep_params(t->c, s, next);
        fast = next;
    }
    return fast;
}

static tlv_params *direction(tlvi_meta_task *t)
{
    int steps = t->l->o.inner_steps;
    const tlv_params *fast = adapt(t, steps, TLV_CREATE_GRAPH);
    return tlvi_meta_query_gradient(t, fast, steps);                                        // (2)
}

static tlv_tensor *predict(tlvi_meta_task *t)
{
    int steps = t->l->o.eval_steps;
    const tlv_params *fast = adapt(t, steps, 0);
    return tlvi_meta_answer(t, fast, steps);
}

const tlvi_meta_method tlvi_meta_sgd = {
    .name = "meta-sgd",
    .defaults = { .tasks = 32, .inner_steps = 1, .eval_steps = 1, .inner_lr = 0.1, .lr = 1e-3,
                  .lr_end = 1e-3, .iterations = 60000 },
    .own = own, .direction = direction, .predict = predict,
};
