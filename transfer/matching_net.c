/* matching_net.c -- matching networks (Vinyals et al. 2016, arXiv:1606.04080, eq. 1 and 2), without
 * the full context embeddings of its section 2.1.2.
 *
 * A query image takes the labels of the support images that it resembles,
 *     a(x, x_i) = softmax over i of cos(f(x), f(x_i)),   p(y | x) = sum_i a(x, x_i) [y_i = y]   (1)
 * and the outer step descends -log p of the truth (embedding.c).  The head is not used. */
#include "transfer/meta.h"

/* Rows of length one: x / sqrt(|x|^2 + eps). */
static tlv_tensor *unit_rows(tlv_ctx *c, const tlv_tensor *x)
{
    tlv_tensor *square = tlv_sum(c, tlv_square(c, x), TLV_AXES(1), TLV_KEEPDIM);    // [N,1]
    return tlv_mul(c, x, tlv_rsqrt(c, tlv_affine(c, square, 1, 1e-12)));
}

/* s [N,D], y [N,K], q [Q,D] -> log p of (1): [Q,K], at least log 1e-12. */
static tlv_tensor *log_likelihood(tlv_ctx *c, const tlv_tensor *s, const tlv_tensor *y,
                                  const tlv_tensor *q)
{
    tlv_tensor *cosine = tlv_matmul(c, unit_rows(c, q), unit_rows(c, s),
                                    (tlv_matmul_opts){ .tb = 1 });                  // [Q,N]
    tlv_tensor *p = tlv_matmul(c, tlv_softmax(c, cosine, 1), y, (tlv_matmul_opts){ 0 });
    return tlv_log(c, tlv_affine(c, p, 1, 1e-12));                                  // [Q,K]
}

static tlv_params *direction(tlvi_meta_task *t)
{
    return tlvi_embedding_direction(t, log_likelihood);
}

static tlv_tensor *predict(tlvi_meta_task *t) { return tlvi_embedding_predict(t, log_likelihood); }

const tlvi_meta_method tlvi_matching_net = {
    .name = "matching-net", .embeds = 1,
    .defaults = { .queries = 5, .train_ways = 20, .tasks = 4, .lr = 1e-3, .lr_end = 1e-5,
                  .iterations = 10000, .bn = TLV_META_BN_RUNNING },
    .direction = direction, .predict = predict,
};
