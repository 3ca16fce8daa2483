/* task_mean.c -- tasks in parallel, their sets summed in the order of the tasks: the sum has the
 * same bits however many threads there are. */
#include <stdatomic.h>

#include "nn/set.h"
#include "transfer/transfer.h"

typedef struct job {
    const tlv_params *p;
    tlv_task_set_fn fn;
    void *user;
    char *rows;                     /* [tasks][row_bytes]: the tasks' numbers, entry after entry */
    uint8_t *there;                 /* [tasks][entries]: 0 where a task had NULL */
    int64_t row_bytes;
} job;

static int64_t entry_bytes(const tlv_params *p, int slot)
{
    const tlvi_entry *e = &p->schema->entry[slot];
    int64_t bytes = tlvi_shape_numel(e->shape) * (int64_t)tlv_dtype_size((tlv_dtype)e->dtype);
    return (bytes + 63) / 64 * 64;
}

static tlv_status run_task(tlv_ctx *child, int64_t task, void *user)
{
    job *j = user;
    tlv_params *p = tlv_params_borrow(child, j->p);
    tlv_params *d = p ? j->fn(child, p, task, j->user) : NULL;
    if (!d) return tlv_error(child);
    int n = d->schema->n;
    char *row = j->rows + task * j->row_bytes;
    for (int i = 0; i < n; row += entry_bytes(j->p, i++)) {
        const tlv_tensor *t = d->value[i];
        j->there[task * n + i] = t != NULL;
        if (t) tlv_read(child, t, row, tlvi_numel(t));
    }
    return tlv_error(child);
}

/* The mean over the tasks of entry i, whose numbers begin `at` bytes into each row; NULL where all
 * of them had NULL. */
static tlv_tensor *mean_entry(tlv_ctx *c, const job *j, int64_t tasks, int i, int64_t at)
{
    const tlvi_entry *e = &j->p->schema->entry[i];
    tlv_scope s = tlv_scope_begin(c);
    tlv_tensor *sum = NULL;
    for (int64_t t = 0; t < tasks && c->err == TLV_OK; t++) {
        if (!j->there[t * j->p->schema->n + i]) continue;
        tlv_tensor *row = tlvi_new_foreign(c, (tlv_dtype)e->dtype, e->shape,
                                           j->rows + t * j->row_bytes + at);
        sum = tlv_scope_roll(c, s, sum ? tlv_add(c, sum, row) : row);
    }
    if (sum) sum = tlv_affine(c, sum, 1.0 / (double)tasks, 0);
    return tlv_scope_end_keep(c, s, sum);
}

static tlv_params *mean_of(tlv_ctx *c, const job *j, int64_t tasks)
{
    tlv_params *mean = tlvi_params_scoped(c, j->p->schema);
    int64_t at = 0;
    for (int i = 0; mean && i < mean->schema->n; at += entry_bytes(j->p, i++)) {
        mean->frozen[i] = j->p->frozen[i];
        mean->value[i] = mean_entry(c, j, tasks, i, at);
    }
    return mean;
}

tlv_params *tlv_task_mean(tlv_ctx *c, const tlv_params *p, int64_t n, tlv_task_set_fn fn,
                          void *user)
{
    if (c->err) return NULL;
    TLVI_REQUIRE(c, p && p->owned && fn && n > 0, TLV_ERR_ARG,
                 "pass a set that owns its tensors, a function and at least one task",
                 "task_mean: %s", !p || !p->owned ? "the set does not own its tensors"
                                 : !fn           ? "fn is NULL"
                                                 : "there is no task");
    job j = { .p = p, .fn = fn, .user = user };
    for (int i = 0; i < p->schema->n; i++) j.row_bytes += entry_bytes(p, i);
    tlv_scope s = tlv_scope_begin_with(c, TLV_NO_GRAD);
    tlv_tensor *rows = tlvi_new(c, TLV_U8, TLV_SHAPE(n * j.row_bytes));
    tlv_tensor *there = tlvi_new(c, TLV_U8, TLV_SHAPE(n * p->schema->n));
    tlv_params *mean = NULL;
    if (rows && there) {
        j.rows = tlvi_ptr(rows);
        j.there = tlvi_ptr(there);
        memset(j.there, 0, (size_t)tlvi_numel(there));
        if (tlv_parallel_tasks(c, n, run_task, &j) == TLV_OK) mean = mean_of(c, &j, n);
    }
    tlv_scope_end_keep_params(c, s, mean);
    return c->err ? NULL : mean;
}
