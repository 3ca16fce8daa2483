/* meta_evaluate.c -- a learner on new tasks: mean accuracy with its interval, and predictions. */
#include <math.h>

#include "transfer/meta.h"

enum { TASKS = 600, CHUNK = 64 };

typedef struct trial {
    const tlv_meta *l;
    const tlv_episodes *e;
    tlv_meta_test t;
    int64_t from;                       /* of this chunk */
    double *result;                     /* [tasks][2]: loss, accuracy */
} trial;

/* The meta-parameters as leaves of a child. */
static tlv_status one_task(tlv_ctx *child, int64_t at, void *user)
{
    const trial *j = user;
    int64_t task = j->from + at;
    tlv_rng_key key = tlv_rng_fold(j->t.key, (uint64_t)task);
    tlv_episode e = tlv_episode_draw(child, j->e, j->t.ways, j->t.shots, j->t.queries, key);
    tlvi_meta_task t = { .c = child, .l = j->l, .p = tlv_params_borrow(child, j->l->p), .e = &e,
                         .one_by_one = j->t.one_by_one, .iteration = j->l->iteration,
                         .key = tlv_rng_fold(key, 1) };
    tlvi_meta_start(&t);
    tlv_tensor *logits = child->err ? NULL : j->l->how->predict(&t);
    tlvi_meta_query_loss(&t, logits);
    j->result[2 * task] = t.loss;
    j->result[2 * task + 1] = t.accuracy;
    return child->err;
}

static void sum_up(const double *result, int64_t n, tlv_meta_score *s)
{
    double loss = 0, sum = 0, off = 0;
    for (int64_t i = 0; i < n; i++) loss += result[2 * i], sum += result[2 * i + 1];
    s->tasks = n;
    s->loss = n ? loss / (double)n : 0;
    s->accuracy = n ? sum / (double)n : 0;
    for (int64_t i = 0; i < n; i++) {
        double d = result[2 * i + 1] - s->accuracy;
        off += d * d;
    }
    s->ci95 = n > 1 ? 1.96 * sqrt(off / (double)(n - 1) / (double)n) : 0;
}

tlv_status tlv_meta_evaluate(tlv_meta *l, const tlv_episodes *e, tlv_meta_test t,
                             tlv_meta_score *score)
{
    tlv_ctx *c = l->c;
    *score = (tlv_meta_score){ 0 };
    if (t.tasks == 0) t.tasks = TASKS;
    if (t.ways == 0) t.ways = l->o.ways;
    if (t.shots == 0) t.shots = l->o.shots;
    if (t.queries == 0) t.queries = l->o.queries;
    if (c->err) return c->err;
    TLVI_CHECK(c, l->how->embeds || t.ways == l->o.ways, TLV_ERR_ARG,
               "open a learner for that many ways", "meta_evaluate: %d ways, but %s learned %d",
               t.ways, l->how->name, l->o.ways);
    tlv_scope s = tlv_scope_begin_with(c, TLV_NO_GRAD);
    tlv_tensor *result = tlvi_new(c, TLV_F64, TLV_SHAPE(t.tasks, 2));
    trial j = { l, e, t, 0, result ? tlvi_ptr(result) : NULL };
    while (result && j.from < t.tasks && !score->stopped) {
        int64_t n = t.tasks - j.from < CHUNK ? t.tasks - j.from : CHUNK;
        if (tlv_parallel_tasks(c, n, one_task, &j) != TLV_OK) break;
        j.from += n;
        score->stopped = t.progress && t.progress(t.user, j.from, t.tasks);
    }
    if (c->err == TLV_OK) sum_up(j.result, j.from, score);
    tlv_scope_end(c, s);
    return c->err;
}

/* ---- predictions ----------------------------------------------------------------------------- */

/* Every row of a head entry becomes the mean of its rows, `ways` times: a leaf. */
static tlv_tensor *mean_rows(tlv_ctx *c, const tlv_tensor *t, int ways)
{
    tlv_shape s = tlv_shape_of(t);
    s.dim[0] = ways;
    tlv_tensor *mean = tlv_mean(c, t, TLV_AXES(0), TLV_KEEPDIM);
    return tlv_leaf(c, tlv_to_order(c, tlv_expand(c, mean, s), TLV_ROW_MAJOR));
}

/* A row a class: the head, its learned rates and second moments, its low-rank change. */
static int has_class_rows(const tlv_meta *l, int i)
{
    static const char *const OWN[2] = { "meta.rate.", "meta.second_moment." };
    const char *name = tlv_params_name(l->p, i);
    for (int k = 0; k < 2; k++)
        if (strncmp(name, OWN[k], strlen(OWN[k])) == 0) name += strlen(OWN[k]);
    for (int k = 0; k < 2; k++) {
        const char *head = tlv_params_name(l->p, k ? l->head_b : l->head_w);
        size_t n = strlen(head);
        if (n && strncmp(name, head, n) == 0 && (!name[n] || strcmp(name + n, ".lora_b") == 0))
            return 1;
    }
    return 0;
}

static const tlv_params *with_ways(tlv_ctx *c, const tlv_meta *l, int ways)
{
    tlv_params *p = tlvi_params_scoped(c, l->p->schema);
    for (int i = 0; p && i < l->entries; i++) {
        p->value[i] = l->p->value[i];
        p->frozen[i] = l->p->frozen[i];
        if (!l->how->embeds && ways != l->o.ways && has_class_rows(l, i))
            p->value[i] = mean_rows(c, p->value[i], ways);
    }
    return p;
}

tlv_tensor *tlv_meta_predict(tlv_meta *l, const tlv_tensor *support, const tlv_tensor *y, int ways,
                             const tlv_tensor *query, int one_by_one)
{
    tlv_ctx *c = l->c;
    if (c->err) return NULL;
    TLVI_REQUIRE(c, support && y && query && ways >= 2 && tlv_dim(support, 0) == tlv_dim(y, 0),
                 TLV_ERR_ARG, "images [N,C,S,S], a label for each, at least two ways",
                 "meta_predict: %lld images, %lld labels, %d ways",
                 support ? (long long)tlv_dim(support, 0) : 0, y ? (long long)tlv_dim(y, 0) : 0,
                 ways);
    tlv_episode e = { .ways = ways, .x = { (tlv_tensor *)support, (tlv_tensor *)query },
                      .y = { (tlv_tensor *)y, NULL } };
    e.shots = (int)(tlv_dim(support, 0) / ways);
    tlv_scope s = tlv_scope_begin(c);
    tlvi_meta_task t = { .c = c, .l = l, .p = with_ways(c, l, ways), .e = &e,
                         .one_by_one = one_by_one, .iteration = l->iteration,
                         .key = tlv_rng_stream(c, "predict") };
    if (t.p) tlvi_meta_start(&t);
    tlv_tensor *logits = t.p ? l->how->predict(&t) : NULL;
    return tlv_scope_end_keep(c, s, logits ? tlv_detach(c, logits) : NULL);
}
