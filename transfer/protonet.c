/* protonet.c -- prototypical networks (Snell et al. 2017, arXiv:1703.05175, alg. 1).
 *
 * Nothing is adapted: the network f places images so that a class is where its images are,
 *     c_k = mean of f(x) over the support images x of class k                                  (1)
 *     p(y = k | x)  =  softmax over k of  -|f(x) - c_k|^2                                       (2)
 * and the outer step descends the cross-entropy of query images (embedding.c).  Tests take the
 * running statistics, so that a query image is judged by itself.  The head is not used. */
#include "transfer/meta.h"

/* s [N,D], y [N,K], q [Q,D] -> [Q,K]: -|q|^2 + 2 q c^T - |c|^2, where the first is the same for all
 * k and left out. */
static tlv_tensor *logits(tlv_ctx *c, const tlv_tensor *s, const tlv_tensor *y, const tlv_tensor *q)
{
    tlv_tensor *sum = tlv_matmul(c, y, s, (tlv_matmul_opts){ .ta = 1 });            // [K,D]
    tlv_tensor *count = tlv_matmul(c, y, tlv_full(c, tlv_dtype_of(s), TLV_SHAPE(tlv_dim(s, 0), 1),
                                                  1), (tlv_matmul_opts){ .ta = 1 });    // [K,1]
    tlv_tensor *p = tlv_div(c, sum, count);                                         // (1): [K,D]
    tlv_tensor *qp = tlv_matmul(c, q, p, (tlv_matmul_opts){ .tb = 1 });             // [Q,K]
    tlv_tensor *pp = tlv_sum(c, tlv_square(c, p), TLV_AXES(1), 0);                  // [K]
    return tlv_sub(c, tlv_affine(c, qp, 2, 0), pp);                                 // (2)
}

static tlv_params *direction(tlvi_meta_task *t) { return tlvi_embedding_direction(t, logits); }
static tlv_tensor *predict(tlvi_meta_task *t) { return tlvi_embedding_predict(t, logits); }

/* Section 3.1: training tasks have 60 ways; two of them a step, one for each thread. */
const tlvi_meta_method tlvi_protonet = {
    .name = "protonet", .embeds = 1,
    .defaults = { .queries = 5, .train_ways = 60, .tasks = 2, .lr = 1e-3, .lr_end = 1e-5,
                  .iterations = 10000, .bn = TLV_META_BN_RUNNING },
    .direction = direction, .predict = predict,
};
