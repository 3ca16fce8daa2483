/* score.c -- a model on images whose labels are known: loss, accuracy, confusion, probabilities. */
#include "transfer/score.h"

#include "tensor/core.h"

enum { BATCH = 32 };

/* How many of row[n] lie above row[k]. */
static int64_t before(const float *row, int64_t n, int32_t k)
{
    int64_t count = 0;
    for (int64_t i = 0; i < n; i++) count += row[i] > row[k];
    return count;
}

tlv_status tlvi_score_add(tlv_ctx *c, const tlv_tensor *logits, const tlv_tensor *y, float *prob,
                          int64_t *confusion, tlv_score *s)
{
    tlv_scope scope = tlv_scope_begin_with(c, TLV_NO_GRAD);
    tlv_tensor *loss = tlv_cross_entropy(c, logits, y, (tlv_ce_opts){ .reduction = TLV_SUM });
    tlv_tensor *guess = tlv_argmax(c, logits, 1, 0);                                    // [n]
    tlv_tensor *p = prob ? tlv_cast(c, tlv_softmax(c, logits, 1), TLV_F32) : NULL;      // [n,K]
    double sum = loss ? tlv_item(c, loss) : 0;
    if (p) tlv_read(c, p, prob, tlv_numel(p));
    if (c->err == TLV_OK) {
        int64_t n = tlv_dim(logits, 0), k = tlv_dim(logits, 1);
        const int32_t *is = tlvi_i32(tlvi_row_major(c, y)), *says = tlvi_i32(guess);
        const tlv_tensor *l = tlvi_row_major(c, tlv_cast(c, logits, TLV_F32));
        for (int64_t i = 0; i < n && l; i++) {
            s->right += is[i] == says[i];
            s->right5 += before(tlvi_f32(l) + i * k, k, is[i]) < 5;
            if (confusion) confusion[is[i] * k + says[i]]++;
        }
        s->n += n;
        s->loss += sum;
    }
    tlv_scope_end(c, scope);
    return c->err;
}

void tlvi_score_end(tlv_score *s)
{
    if (s->n == 0) return;
    s->loss /= (double)s->n;
    s->accuracy = (double)s->right / (double)s->n;
    s->accuracy5 = (double)s->right5 / (double)s->n;
}

/* Labels as the model counts its classes. */
static const tlv_tensor *shifted(tlv_ctx *c, const tlv_tensor *y, int by)
{
    if (by == 0 || !y) return y;
    tlv_tensor *out = tlv_empty(c, TLV_I32, tlv_shape_of(y));
    int32_t *to = tlv_fill_ptr(c, out);
    for (int64_t i = 0; to && i < tlvi_numel(y); i++) to[i] = tlvi_i32(y)[i] + by;
    return out;
}

tlv_status tlv_evaluate(tlv_ctx *c, const tlv_model *m, const tlv_dataset *d, const int64_t *index,
                        int64_t n, tlv_evaluate_opts o, tlv_score *score)
{
    *score = (tlv_score){ 0 };
    int classes = tlv_model_classes(m);
    TLVI_CHECK(c, o.first_class >= 0 && tlv_dataset_classes(d) <= classes - o.first_class,
               TLV_ERR_ARG, "use a model that was trained on these classes",
               "evaluate: the model knows %d classes from its class %d on, but the data has %d",
               classes - o.first_class, o.first_class, tlv_dataset_classes(d));
    int64_t batch = o.batch > 0 ? o.batch : BATCH;
    int64_t *here = tlvi_alloc(c, (size_t)batch * sizeof *here);
    tlv_run r = tlv_model_run(c, m, TLV_EVAL);
    tlv_batch_opts prepare = { .recipe = *tlv_model_recipe(m) };
    for (int64_t at = 0; at < n && !c->err && !score->stopped; at += batch) {
        int64_t k = n - at < batch ? n - at : batch;
        for (int64_t i = 0; i < k; i++) here[i] = index ? index[at + i] : at + i;
        tlv_scope s = tlv_scope_begin_with(c, TLV_NO_GRAD);
        tlv_batch b = tlv_dataset_batch(c, d, here, 0, k, prepare);
        const tlv_tensor *y = shifted(c, b.y, o.first_class);
        tlvi_score_add(c, tlv_model_forward(&r, m, b.x), y, o.prob ? o.prob + at * classes : NULL,
                       o.confusion, score);
        tlv_scope_end(c, s);
        if (!c->err && o.progress) score->stopped = o.progress(o.user, score->n, n) != 0;
    }
    tlvi_free(c, here, (size_t)batch * sizeof *here);
    tlvi_score_end(score);
    return c->err;
}
