/* features.c -- what a model's head sees, for many images: batches in evaluation mode, and the rows
 * that a cache on disk has already. */
#include "tensor/core.h"
#include "transfer/feature_cache.h"

enum { BATCH = 32 };

typedef struct job {
    tlv_ctx *c;
    const tlv_model *m;
    const tlv_dataset *d;
    const int64_t *index;
    tlv_extract_opts o;
    tlv_features *out;
    tlvi_row_cache *cache;      /* NULL: none */
    int64_t *image, *row;       /* [batch]: indices of a batch's images; the rows they go to */
} job;

static tlv_status rows_open(tlv_ctx *c, const tlv_model *m, const tlv_dataset *d, int64_t n,
                            tlv_features *out)
{
    int dim = tlv_model_dim(m);
    int64_t numbers, most = PTRDIFF_MAX / (int64_t)sizeof(float);
    *out = (tlv_features){ .c = c, .dim = dim, .classes = tlv_dataset_classes(d), .room = n };
    TLVI_CHECK(c, tlvi_mul_ok(n, dim + 1, &numbers) && numbers <= most, TLV_ERR_LIMIT,
               "take fewer images", "features: %lld rows of %d numbers", (long long)n, dim);
    out->x = tlvi_alloc(c, (size_t)numbers * sizeof(float));
    if (out->x) out->label = (int32_t *)(void *)(out->x + n * dim);
    return c->err;
}

void tlv_features_close(tlv_features *f)
{
    if (!f || !f->c) return;
    tlvi_free(f->c, f->x, (size_t)f->room * ((size_t)f->dim + 1) * sizeof(float));
    *f = (tlv_features){ 0 };
}

/* Images j->image[0 .. k-1] through the model, into their rows. */
static tlv_status compute(job *j, const tlv_run *r, int64_t k)
{
    tlv_ctx *c = j->c;
    int64_t dim = j->out->dim;
    tlv_scope s = tlv_scope_begin_with(c, TLV_NO_GRAD);
    tlv_batch_opts prepare = { .recipe = *tlv_model_recipe(j->m) };
    tlv_batch b = tlv_dataset_batch(c, j->d, j->image, 0, k, prepare);
    tlv_tensor *h = tlv_model_features(r, j->m, b.x);                               // [k,dim]
    if (h && (tlv_ndim(h) != 2 || tlv_dim(h, 1) != dim))
        tlvi_fail(c, TLV_ERR_SHAPE, "its features are no rows of numbers",
                  "%s: features %s, not [%lld,%lld]", tlv_model_arch(j->m), tlvi_shape_str(h).s,
                  (long long)k, (long long)dim);
    if (c->err == TLV_OK) {
        const float *x = tlvi_f32(tlvi_row_major(c, tlv_cast(c, h, TLV_F32)));
        for (int64_t i = 0; i < k; i++)
            memcpy(j->out->x + j->row[i] * dim, x + i * dim, (size_t)dim * sizeof *x);
    }
    tlv_scope_end(c, s);
    return c->err;
}

/* The rows that the cache has not, in order. */
static void run(job *j, int64_t n, int64_t batch, tlv_extract_report *rep)
{
    tlv_ctx *c = j->c;
    tlv_run r = tlv_model_run(c, j->m, TLV_EVAL);
    int64_t at = 0, k, done = rep->hits;
    for (; at < n && !c->err && !rep->stopped; j->out->n = at) {
        for (k = 0; at < n && k < batch; at++) {
            if (tlvi_row_cache_has(j->cache, at)) continue;
            j->row[k] = at;
            j->image[k++] = j->index ? j->index[at] : at;
        }
        if (k > 0 && compute(j, &r, k) != TLV_OK) break;
        rep->misses += k;
        done += k;
        for (int64_t i = 0; i < k && j->cache; i++)
            tlvi_row_cache_add(j->cache, j->row[i]);
        if (j->o.progress) rep->stopped = at < n && j->o.progress(j->o.user, done, n) != 0;
    }
    if (c->err == TLV_OK && done == n && j->o.progress) j->o.progress(j->o.user, n, n);
}

static tlv_status extract(job *j, int64_t n, tlv_extract_report *rep)
{
    tlv_ctx *c = j->c;
    int64_t batch = j->o.batch > 0 ? j->o.batch : BATCH;
    if (rows_open(c, j->m, j->d, n, j->out) != TLV_OK) return c->err;
    for (int64_t i = 0; i < n; i++) {
        int64_t from = j->index ? j->index[i] : i;
        j->out->label[i] = tlv_dataset_label(j->d, from);
        TLVI_CHECK(c, from >= 0 && from < tlv_dataset_size(j->d), TLV_ERR_INDEX,
                   "indices are 0 to the size of the set - 1",
                   "features: index %lld is %lld, the set has %lld images", (long long)i,
                   (long long)from, (long long)tlv_dataset_size(j->d));
    }
    if (j->o.cache_dir)
        j->cache = tlvi_row_cache_open(c, j->o.cache_dir, j->m, j->d, j->index, n, j->out->x,
                                       j->out->dim, rep);
    j->image = tlvi_alloc(c, 2 * (size_t)batch * sizeof *j->image);
    if (j->image) {
        j->row = j->image + batch;
        run(j, n, batch, rep);
    }
    tlvi_free(c, j->image, 2 * (size_t)batch * sizeof *j->image);
    tlvi_row_cache_close(j->cache);
    return c->err;
}

tlv_status tlv_extract_features(tlv_ctx *c, const tlv_model *m, const tlv_dataset *d,
                                const int64_t *index, int64_t n, tlv_extract_opts o,
                                tlv_features *out, tlv_extract_report *report)
{
    *out = (tlv_features){ 0 };
    tlv_extract_report rep = { 0 };
    job j = { .c = c, .m = m, .d = d, .index = index, .o = o, .out = out };
    if (c->err == TLV_OK) {
        TLVI_CHECK(c, m && d && n >= 0, TLV_ERR_ARG, "pass a model and a data set",
                   "features: %lld images%s%s", (long long)n, m ? "" : ", no model",
                   d ? "" : ", no data set");
        extract(&j, n, &rep);
    }
    if (c->err) tlv_features_close(out);
    if (report) *report = rep;
    return c->err;
}
