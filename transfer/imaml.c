/* imaml.c -- MAML with implicit gradients (Rajeswaran et al. 2019, arXiv:1909.04630).
 *
 * A task is learned by solving a problem of its own, which stays near theta,
 *     phi = argmin  L_S(phi) + lambda/2 |phi - theta|^2                                       (1)
 * by gradient descent from theta.  At the solution grad L_S(phi) + lambda (phi - theta) = 0, whose
 * derivative in theta says how phi follows theta, however it was found: with H the Hessian of L_S
 * at phi, (I + H/lambda) dphi/dtheta = I.  So the outer gradient of a task is the v of
 *     (I + H/lambda) v = grad L_Q(phi)                                                        (2)
 * which cg_steps of conjugate gradients approach from 0 (Nocedal & Wright, alg. 5.2).  They need
 *     H v = grad <grad L_S(phi), v>                                                           (3)
 * only, so no inner step is ever recorded: memory does not grow with their number.
 *
 * Parameters psi that (1) does not move (`adapt`) stand in both losses; (2) gives them
 *     grad_psi L_Q - 1/lambda grad_psi <grad L_S(phi), v>                                    (4) */
#include "transfer/meta.h"

/* ---- the inner problem ----------------------------------------------------------------------- */

/* phi - rate (g + lambda (phi - theta)) as leaves: a step of (1).  g NULL: theta. */
static tlv_params *moved(tlvi_meta_task *t, const tlv_params *theta, const tlv_params *phi,
                         const tlv_params *g)
{
    tlv_ctx *c = t->c;
    double rate = t->l->o.inner_lr, pull = rate * t->l->o.proximal;
    tlv_scope s = tlv_scope_begin_with(c, TLV_NO_GRAD);
    tlv_params *q = c->err ? NULL : tlvi_params_scoped(c, theta->schema);
    for (int i = 0; q && i < theta->schema->n; i++) {
        q->frozen[i] = theta->frozen[i];
        q->value[i] = theta->value[i];
        if (tlv_params_is_buffer(theta, i) || theta->frozen[i]) continue;
        if (g && g->value[i]) {
            tlv_tensor *x = tlv_add(c, tlv_affine(c, phi->value[i], 1 - pull, 0),
                                    tlv_affine(c, theta->value[i], pull, 0));
            q->value[i] = tlv_sub(c, x, tlv_affine(c, g->value[i], rate, 0));
        }
        q->value[i] = tlv_leaf(c, q->value[i]);
    }
    tlv_scope_end_keep_params(c, s, q);
    return c->err ? NULL : q;
}

static tlv_params *solve_inner(tlvi_meta_task *t, const tlv_params *theta, int steps)
{
    tlv_ctx *c = t->c;
    if (!theta || c->err) return NULL;
    tlv_scope s = tlv_scope_begin(c);
    tlv_params *phi = moved(t, theta, NULL, NULL);
    for (int k = 0; k < steps && phi; k++) {
        tlv_tensor *loss = tlvi_meta_support_loss(c, phi, k, t);
        const tlv_params *g = loss ? tlv_params_grad(c, loss, phi, 0) : NULL;
        phi = g ? moved(t, theta, phi, g) : NULL;
        if (phi) tlvi_scope_roll_n(c, s, phi->schema->n + 1, phi->value);
    }
    tlv_scope_end_keep_params(c, s, phi);
    return phi;
}

/* ---- the linear system ----------------------------------------------------------------------- */

static double dot(tlv_ctx *c, const tlv_params *a, const tlv_params *b)
{
    double sum = 0;
    for (int i = 0; a && b && i < a->schema->n && c->err == TLV_OK; i++)
        if (a->value[i] && b->value[i])
            sum += tlv_item(c, tlv_sum_all(c, tlv_mul(c, a->value[i], b->value[i])));
    return sum;
}

/* <grad L_S(phi), v> with its history */
static tlv_tensor *slope_along(tlvi_meta_task *t, const tlv_params *phi, const tlv_params *v)
{
    tlv_ctx *c = t->c;
    tlv_tensor *loss = tlvi_meta_support_loss(c, phi, t->l->o.inner_steps, t), *sum = NULL;
    const tlv_params *g = loss ? tlv_params_grad(c, loss, phi, TLV_CREATE_GRAPH) : NULL;
    for (int i = 0; g && i < g->schema->n && c->err == TLV_OK; i++) {
        if (!g->value[i] || !v->value[i]) continue;
        tlv_tensor *part = tlv_sum_all(c, tlv_mul(c, g->value[i], v->value[i]));
        sum = sum ? tlv_add(c, sum, part) : part;
    }
    return sum;
}

/* grad_wrt <grad L_S(phi), v>: (3) where wrt is phi; wrt has phi's tensors where (1) moves them. */
static tlv_params *second(tlvi_meta_task *t, const tlv_params *phi, const tlv_params *v,
                          const tlv_params *wrt)
{
    tlv_scope s = tlv_scope_begin_with(t->c, TLV_RECORD);
    tlv_tensor *slope = v ? slope_along(t, phi, v) : NULL;
    tlv_params *h = slope ? tlv_params_grad(t->c, slope, wrt, 0) : NULL;
    tlv_scope_end_keep_params(t->c, s, h);
    return h;
}

/* (2) for the right side b */
static tlv_params *solve_cg(tlvi_meta_task *t, const tlv_params *phi, const tlv_params *b)
{
    tlv_ctx *c = t->c;
    tlv_scope s = tlv_scope_begin_with(c, TLV_NO_GRAD);
    tlv_params *v = c->err ? NULL : tlvi_params_scoped(c, b->schema);                       // 0
    const tlv_params *r = b, *d = b;
    double rr = dot(c, r, r);
    for (int k = 0; k < t->l->o.cg_steps && v && rr > 0 && c->err == TLV_OK; k++) {
        const tlv_params *h = second(t, phi, d, phi);
        const tlv_params *ad = h ? tlv_params_axpy(c, d, 1 / t->l->o.proximal, h) : NULL;
        double bend = dot(c, d, ad);
        if (!(bend > 0)) {                      // so far from convex that (1) has no minimum here:
            if (k == 0) v = tlv_params_axpy(c, v, 1, b);            // what was found stands
            break;
        }
        v = tlv_params_axpy(c, v, rr / bend, d);
        r = tlv_params_axpy(c, r, -rr / bend, ad);
        double next = dot(c, r, r);
        d = r ? tlv_params_axpy(c, r, next / rr, d) : NULL;
        rr = next;
    }
    tlv_scope_end_keep_params(c, s, v);
    return v;
}

/* ---- the method ------------------------------------------------------------------------------ */

/* p with phi's tensors where the inner problem moves them. */
static tlv_params *at_solution(tlvi_meta_task *t, const tlv_params *phi)
{
    tlv_params *q = phi ? tlvi_params_scoped(t->c, phi->schema) : NULL;
    for (int i = 0; q && i < phi->schema->n; i++) {
        q->value[i] = phi->value[i];
        q->frozen[i] = t->p->frozen[i];
    }
    return q;
}

static int is_moved(const tlv_params *phi, int i)
{
    return !tlv_params_is_buffer(phi, i) && !tlv_params_is_frozen(phi, i);
}

/* Of g what belongs to parameters that the inner problem moves. */
static tlv_params *moved_part(tlv_ctx *c, const tlv_params *phi, const tlv_params *g)
{
    tlv_params *q = tlvi_params_scoped(c, g->schema);
    for (int i = 0; q && i < g->schema->n; i++) q->value[i] = is_moved(phi, i) ? g->value[i] : NULL;
    return q;
}

static tlv_params *direction(tlvi_meta_task *t)
{
    tlv_ctx *c = t->c;
    const tlv_params *phi = solve_inner(t, tlvi_meta_adapted(t, t->p), t->l->o.inner_steps); // (1)
    const tlv_params *all = at_solution(t, phi);
    tlv_tensor *logits = tlvi_meta_query_logits(t, all, t->l->o.inner_steps);
    tlv_tensor *loss = tlvi_meta_query_loss(t, logits);
    tlv_params *g = loss ? tlv_params_grad(c, loss, all, 0) : NULL;
    const tlv_params *b = g ? moved_part(c, phi, g) : NULL;
    const tlv_params *v = b ? solve_cg(t, phi, b) : NULL;                                   // (2)
    int rest = 0;
    for (int i = 0; v && i < g->schema->n; i++) {
        if (is_moved(phi, i)) g->value[i] = v->value[i];
        else rest |= g->value[i] != NULL;
    }
    const tlv_params *m = rest ? second(t, phi, v, all) : NULL;
    for (int i = 0; m && i < g->schema->n && c->err == TLV_OK; i++)
        if (!is_moved(phi, i) && g->value[i] && m->value[i])                                // (4)
            g->value[i] = tlv_sub(c, g->value[i],
                                  tlv_affine(c, m->value[i], 1 / t->l->o.proximal, 0));
    return c->err ? NULL : g;
}

static tlv_tensor *predict(tlvi_meta_task *t)
{
    int steps = t->l->o.eval_steps;
    const tlv_params *phi = solve_inner(t, tlvi_meta_adapted(t, t->p), steps);
    return tlvi_meta_answer(t, phi, steps);
}

/* The authors' examples/README.md for 5 ways, 1 shot (aravindr93/imaml_dev). */
const tlvi_meta_method tlvi_imaml = {
    .name = "imaml",
    .defaults = { .tasks = 32, .inner_steps = 16, .eval_steps = 16, .inner_lr = 0.1, .lr = 1e-3,
                  .lr_end = 1e-3, .iterations = 20000, .proximal = 2, .cg_steps = 5 },
    .direction = direction, .predict = predict,
};
