/* maml.c -- model-agnostic meta-learning, and three that differ from it in one line.
 *
 * A task learns from its support set S by gradient descent that starts at theta,
 *     theta_0 = theta,   theta_{k+1} = theta_k - alpha grad L_S(theta_k)                      (1)
 * and is judged by the loss of its query set Q at the end, L_Q(theta_K).  The outer step descends
 *     sum over tasks   grad_theta L_Q(theta_K(theta))                                         (2)
 * which contains the derivative of every inner gradient: second derivatives of L_S.  Recording the
 * inner loop and differentiating it is all that takes.
 *   MAML    (1), (2) as they stand: Finn et al. 2017, arXiv:1703.03400, alg. 2
 *   FOMAML  inner gradients count as constants: then (2) is grad L_Q at theta_K (ibid. 5.2)
 *   ANIL    (1) moves the head alone: Raghu et al. 2020, arXiv:1909.09157
 *   BOIL    (1) moves all but the head: Oh et al. 2021, arXiv:2008.08882
 * Which parameters (1) moves is a column of the learner, so all four are this one file. */
#include "transfer/meta.h"

static const tlv_params *adapt(tlvi_meta_task *t, int steps, int first_order)
{
    tlv_inner_opts o = { .steps = steps, .lr = t->l->o.inner_lr, .first_order = first_order,
                         .checkpoint = t->l->o.checkpoint };
    return tlv_inner_loop(t->c, tlvi_meta_adapted(t, t->p), tlvi_meta_support_loss, t, o);  // (1)
}

static tlv_params *direction(tlvi_meta_task *t)
{
    int steps = t->l->o.inner_steps;
    const tlv_params *fast = adapt(t, steps, t->l->how == &tlvi_fomaml);
    return tlvi_meta_query_gradient(t, fast, steps);                                        // (2)
}

static tlv_tensor *predict(tlvi_meta_task *t)
{
    int steps = t->l->o.eval_steps;
    const tlv_params *fast = adapt(t, steps, 1);
    return tlvi_meta_answer(t, fast, steps);
}

/* Finn et al., appendix A.1: Omniglot, 5 ways (meta_defaults knows what differs for 20). */
#define OMNIGLOT                                                                                   \
    {                                                                                              \
        .tasks = 32, .inner_steps = 1, .eval_steps = 3, .inner_lr = 0.4, .lr = 1e-3,               \
        .lr_end = 1e-3, .iterations = 60000                                                        \
    }
const tlvi_meta_method tlvi_maml = {
    .name = "maml", .defaults = OMNIGLOT, .direction = direction, .predict = predict,
};
const tlvi_meta_method tlvi_fomaml = {
    .name = "fomaml", .defaults = OMNIGLOT, .direction = direction, .predict = predict,
};
const tlvi_meta_method tlvi_anil = {
    .name = "anil", .defaults = OMNIGLOT, .direction = direction, .predict = predict,
};
const tlvi_meta_method tlvi_boil = {
    .name = "boil", .defaults = OMNIGLOT, .direction = direction, .predict = predict,
};
