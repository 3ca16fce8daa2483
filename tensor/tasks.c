/* tasks.c -- tasks in parallel, each on a child context.
 *
 * There is a child for every thread that may work at once.  A loop over these slots runs on the
 * team, and each slot takes the next task until none is left.  So which child runs a task is
 * chance, but what the task sees is not: empty scopes, no error, and random streams of the task's
 * own. */
#include <stdatomic.h>

#include "tensor/core.h"

typedef struct failure {
    int64_t task;                   /* lowest so far, -1: none */
    tlv_status code;
    int silent;                     /* the task returned code, but its context holds no error */
    char msg[sizeof ((tlv_ctx *)0)->msg], hint[sizeof ((tlv_ctx *)0)->hint];
} failure;

typedef struct tasks {
    tlv_ctx *c;
    int64_t n;
    tlv_task_fn fn;
    void *user;
    tlv_rng_key key;
    _Atomic int64_t next;
    tlvi_lock lock;
    failure first;                  /* under the lock */
} tasks;

/* Children up to `want`; they stay for the next call. */
static tlv_status ensure_children(tlv_ctx *c, int want)
{
    while (c->n_child < want) {
        size_t bytes = (size_t)c->n_child * sizeof *c->child;
        tlv_ctx **grown = tlvi_alloc(c, bytes + sizeof *c->child);
        if (!grown) return c->err;
        tlv_ctx *child = tlvi_child_open(c);
        if (!child) {
            tlvi_free(c, grown, bytes + sizeof *c->child);
            return tlvi_fail(c, TLV_ERR_NOMEM, NULL,
                             "parallel_tasks: no memory for child context %d", c->n_child);
        }

        if (bytes) memcpy(grown, c->child, bytes);
        tlvi_free(c, c->child, bytes);
        grown[c->n_child++] = child;
        c->child = grown;
    }
    return TLV_OK;
}

static void keep_lowest(tasks *k, const tlv_ctx *child, int64_t task, tlv_status returned)
{
    tlv_status held = tlv_error(child);
    if (held == TLV_OK && returned == TLV_OK) return;

    tlvi_lock_take(&k->lock);
    failure *f = &k->first;
    if (f->task < 0 || task < f->task) {
        f->task = task;
        f->silent = held == TLV_OK;
        f->code = f->silent ? returned : held;
        memcpy(f->msg, child->msg, sizeof f->msg);
        memcpy(f->hint, child->hint, sizeof f->hint);
    }
    tlvi_lock_drop(&k->lock);
}

static void run_task(tasks *k, tlv_ctx *child, int64_t task)
{
    child->rng = tlv_rng_fold(k->key, (uint64_t)task);
    tlv_scope s = tlv_scope_begin(child);
    tlv_status returned = k->fn(child, task, k->user);
    keep_lowest(k, child, task, returned);
    tlv_scope_end(child, s);
    tlv_error_clear(child);
    tlvi_phase(child, TLV_PHASE_FORWARD);
}

static void run_slot(void *arg, int64_t slot, int worker)
{
    (void)worker;
    tasks *k = arg;
    for (;;) {
        int64_t task = atomic_fetch_add(&k->next, 1);
        if (task >= k->n) return;
        run_task(k, k->c->child[slot], task);
    }
}

tlv_status tlv_parallel_tasks(tlv_ctx *c, int64_t n, tlv_task_fn fn, void *user)
{
    if (c->err != TLV_OK) return c->err;
    c->in_hand[0] = NULL;
    TLVI_CHECK(c, n >= 0, TLV_ERR_ARG, NULL, "parallel_tasks: n is %lld, but must be at least 0",
               (long long)n);
    TLVI_CHECK(c, fn, TLV_ERR_ARG, NULL, "parallel_tasks: fn is NULL");
    if (n == 0) return TLV_OK;

    int slots = c->is_child ? 1 : n < c->n_threads ? (int)n : c->n_threads;
    if (ensure_children(c, slots) != TLV_OK) return c->err;

    tasks k = { .c = c, .n = n, .fn = fn, .user = user, .key = tlv_rng_stream(c, "tasks") };
    atomic_init(&k.next, 0);
    k.first.task = -1;
    tlvi_parallel_for(c, slots, 0, run_slot, &k);
    for (int i = 0; i < c->n_child; i++) tlvi_pool_settle(c->child[i]->pool);

    const failure *f = &k.first;
    if (f->task < 0) return TLV_OK;
    long long task = (long long)f->task;
    if (!f->silent) return tlvi_fail(c, f->code, f->hint, "task %lld: %s", task, f->msg);
    tlv_status code = f->code > TLV_OK && f->code < TLV_STATUS_COUNT ? f->code : TLV_ERR_USER;
    return tlvi_fail(c, code, NULL, "task %lld returned %s", task, tlv_status_name(f->code));
}
