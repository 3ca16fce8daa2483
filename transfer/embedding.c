/* embedding.c -- methods that adapt nothing: a query image is compared with the support set by its
 * features.  Both go through the network as one batch, so that in training its batch norms see what
 * the authors' did; where tests take the batch's statistics and an image is to be judged by itself,
 * that batch holds the support set and this image. */
#include "transfer/meta.h"

/* Features of support set and images x as one batch, compared: [Q,ways]. */
static tlv_tensor *compared(tlvi_meta_task *t, const tlv_tensor *x, tlvi_compare_fn fn)
{
    tlv_ctx *c = t->c;
    const tlv_tensor *support = t->e->x[TLV_SUPPORT], *both[2] = { support, x };
    tlv_tensor *f = tlvi_meta_features(t, t->p, tlv_cat(c, 2, both, 0));            // [N+Q,D]
    if (!f || c->err) return NULL;
    int64_t n = tlv_dim(support, 0);
    tlv_tensor *one = tlv_one_hot(c, t->e->y[TLV_SUPPORT], t->e->ways, tlv_dtype_of(f));
    return fn(c, tlv_slice(c, f, 0, 0, n, 1), one, tlv_slice(c, f, 0, n, INT64_MAX, 1));
}

static tlv_tensor *logits(tlvi_meta_task *t, tlvi_compare_fn fn)
{
    tlv_ctx *c = t->c;
    const tlv_tensor *x = t->e->x[TLV_QUERY];
    if (!t->one_by_one || t->l->o.bn != TLV_META_BN_BATCH) return compared(t, x, fn);
    tlv_tensor *y = NULL;
    for (int64_t i = 0; i < tlv_dim(x, 0) && c->err == TLV_OK; i++) {
        const tlv_tensor *both[2] = { y, compared(t, tlv_slice(c, x, 0, i, i + 1, 1), fn) };
        y = y ? tlv_cat(c, 2, both, 0) : (tlv_tensor *)both[1];
    }
    return y;
}

/* A class without a support image has no place among the features. */
static int all_there(tlvi_meta_task *t)
{
    tlv_ctx *c = t->c;
    const tlv_tensor *y = tlvi_row_major(c, t->e->y[TLV_SUPPORT]);
    for (int k = 0; y && k < t->e->ways && c->err == TLV_OK; k++) {
        int found = 0;
        for (int64_t i = 0; i < tlvi_numel(y); i++) found |= tlvi_i32(y)[i] == k;
        if (!found)
            tlvi_fail(c, TLV_ERR_ARG, "give at least one image of each class",
                      "%s: class %d of %d has no support image", t->l->how->name, k, t->e->ways);
    }
    return c->err == TLV_OK;
}

tlv_params *tlvi_embedding_direction(tlvi_meta_task *t, tlvi_compare_fn fn)
{
    tlv_tensor *loss = tlvi_meta_query_loss(t, all_there(t) ? logits(t, fn) : NULL);
    return loss ? tlv_params_grad(t->c, loss, t->p, 0) : NULL;
}

tlv_tensor *tlvi_embedding_predict(tlvi_meta_task *t, tlvi_compare_fn fn)
{
    tlv_scope s = tlv_scope_begin_with(t->c, TLV_NO_GRAD);
    return tlv_scope_end_keep(t->c, s, all_there(t) ? logits(t, fn) : NULL);
}
