/* protonet.c -- prototypical networks (Snell et al. 2017, arXiv:1703.05175, alg. 1).
 *
 * Nothing is adapted: the network f places images so that a class is where its images are,
 *     c_k = mean of f(x) over the support images x of class k                                  (1)
 *     p(y = k | x)  =  softmax over k of  -|f(x) - c_k|^2                                       (2)
 * and the outer step descends the cross-entropy of query images.  Support and query go through f as
 * one batch, as in the authors' code; tests take the running statistics, so that a query image is
 * judged by itself.  The head is not used. */
#include "transfer/meta.h"

/* f of the support set and of the query set, in one pass: [N,D], [Q,D]. */
static void embed(tlvi_meta_task *t, tlv_tensor *out[2])
{
    tlv_ctx *c = t->c;
    const tlv_tensor *both[2] = { t->e->x[TLV_SUPPORT], t->e->x[TLV_QUERY] };
    int64_t n = tlv_dim(both[0], 0), q = tlv_dim(both[1], 0);
    tlv_tensor *f = tlvi_meta_features(t, t->p, tlv_cat(c, 2, both, 0));            // [N+Q,D]
    out[0] = tlv_slice(c, f, 0, 0, n, 1);
    out[1] = tlv_slice(c, f, 0, n, n + q, 1);
}

/* (1): [K,D].  A class without a support image stands at 0. */
static tlv_tensor *prototypes(tlv_ctx *c, const tlv_tensor *f, const tlv_tensor *y, int ways)
{
    if (!f || c->err) return NULL;
    tlv_tensor *one = tlv_one_hot(c, y, ways, tlv_dtype_of(f));                     // [N,K]
    tlv_tensor *sum = tlv_matmul(c, one, f, (tlv_matmul_opts){ .ta = 1 });          // [K,D]
    tlv_tensor *count = tlv_sum(c, one, TLV_AXES(0), TLV_KEEPDIM);                  // [1,K]
    count = tlv_clamp(c, tlv_reshape(c, count, TLV_SHAPE(ways, 1)), 1, 1e30);
    return tlv_div(c, sum, count);
}

/* (2): -|f|^2 + 2 f c^T - |c|^2, where the first is the same for all k and left out. */
static tlv_tensor *logits(tlvi_meta_task *t)
{
    tlv_ctx *c = t->c;
    tlv_tensor *f[2] = { NULL, NULL };
    embed(t, f);
    tlv_tensor *p = prototypes(c, f[0], t->e->y[TLV_SUPPORT], t->e->ways);          // [K,D]
    tlv_tensor *fp = tlv_matmul(c, f[1], p, (tlv_matmul_opts){ .tb = 1 });          // [Q,K]
    tlv_tensor *pp = tlv_sum(c, tlv_square(c, p), TLV_AXES(1), 0);                  // [K]
    return tlv_sub(c, tlv_affine(c, fp, 2, 0), pp);
}

static tlv_params *direction(tlvi_meta_task *t)
{
    tlv_tensor *loss = tlvi_meta_query_loss(t, logits(t));
    return loss ? tlv_params_grad(t->c, loss, t->p, 0) : NULL;
}

static tlv_tensor *predict(tlvi_meta_task *t)
{
    tlv_scope s = tlv_scope_begin_with(t->c, TLV_NO_GRAD);
    return tlv_scope_end_keep(t->c, s, logits(t));
}

/* Section 3.1: training tasks have 60 ways; two of them a step, one for each thread. */
const tlvi_meta_method tlvi_protonet = {
    .name = "protonet", .embeds = 1,
    .defaults = { .queries = 5, .train_ways = 60, .tasks = 2, .lr = 1e-3, .lr_end = 1e-5,
                  .iterations = 10000, .bn = TLV_META_BN_RUNNING },
    .direction = direction, .predict = predict,
};
