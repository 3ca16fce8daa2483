/* matching_net.c -- matching networks (Vinyals et al. 2016, arXiv:1606.04080, eq. 1 and 2), without
 * the full context embeddings of its section 2.1.2.
 *
 * A query image takes the labels of the support images that it resembles,
 *     a(x, x_i) = softmax over i of cos(f(x), f(x_i)),   p(y | x) = sum_i a(x, x_i) [y_i = y]   (1)
 * and the outer step descends -log p of the truth.  The head is not used. */
#include "transfer/meta.h"

/* Rows of length one: x / sqrt(|x|^2 + eps). */
static tlv_tensor *unit_rows(tlv_ctx *c, const tlv_tensor *x)
{
    tlv_tensor *square = tlv_sum(c, tlv_square(c, x), TLV_AXES(1), TLV_KEEPDIM);    // [N,1]
    return tlv_mul(c, x, tlv_rsqrt(c, tlv_affine(c, square, 1, 1e-12)));
}

/* log p(y | x) of (1): [Q,K], at least log 1e-12.  Cosines lie within -1 .. 1: exp is safe. */
static tlv_tensor *log_likelihood(tlvi_meta_task *t)
{
    tlv_ctx *c = t->c;
    const tlv_tensor *both[2] = { t->e->x[TLV_SUPPORT], t->e->x[TLV_QUERY] };
    int64_t n = tlv_dim(both[0], 0), q = tlv_dim(both[1], 0);
    tlv_tensor *f = tlvi_meta_features(t, t->p, tlv_cat(c, 2, both, 0));
    if (!f) return NULL;
    f = unit_rows(c, f);                                                            // [N+Q,D]
    tlv_tensor *support = tlv_slice(c, f, 0, 0, n, 1), *query = tlv_slice(c, f, 0, n, n + q, 1);
    tlv_tensor *cosine = tlv_matmul(c, query, support, (tlv_matmul_opts){ .tb = 1 });   // [Q,N]
    tlv_tensor *a = tlv_softmax(c, cosine, 1);
    tlv_tensor *one = a ? tlv_one_hot(c, t->e->y[TLV_SUPPORT], t->e->ways, tlv_dtype_of(a)) : NULL;
    tlv_tensor *p = tlv_matmul(c, a, one, (tlv_matmul_opts){ 0 });                  // [Q,K]
    return tlv_log(c, tlv_affine(c, p, 1, 1e-12));
}

static tlv_params *direction(tlvi_meta_task *t)
{
    tlv_tensor *loss = tlvi_meta_query_loss(t, log_likelihood(t));
    return loss ? tlv_params_grad(t->c, loss, t->p, 0) : NULL;
}

static tlv_tensor *predict(tlvi_meta_task *t)
{
    tlv_scope s = tlv_scope_begin_with(t->c, TLV_NO_GRAD);
    return tlv_scope_end_keep(t->c, s, log_likelihood(t));
}

const tlvi_meta_method tlvi_matching_net = {
    .name = "matching-net", .embeds = 1,
    .defaults = { .queries = 5, .train_ways = 20, .tasks = 4, .lr = 1e-3, .lr_end = 1e-5,
                  .iterations = 10000, .bn = TLV_META_BN_RUNNING },
    .direction = direction, .predict = predict,
};
