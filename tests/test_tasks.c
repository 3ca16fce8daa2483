/* test_tasks.c -- tlv_parallel_tasks: random streams, errors, memory, any number of threads. */
#include <stdatomic.h>

#include "tensor/core.h"
#include "tests/test.h"

enum { TASKS = 40 };

static tlv_ctx *open_threads(int n)
{
    return tlv_ctx_open(&(tlv_ctx_opts){ .threads = n, .seed = 11 });
}

/* ---- what a task sees ------------------------------------------------------------------------ */

typedef struct seen {
    uint64_t draw[TASKS];
    double sum[TASKS];
    int64_t live_at_start[TASKS], depth[TASKS];
    int ran[TASKS], held_error[TASKS], threads[TASKS];
} seen;

static tlv_status look_around(tlv_ctx *c, int64_t i, void *user)
{
    seen *s = user;
    s->ran[i]++;
    s->held_error[i] = tlv_error(c) != TLV_OK;
    s->live_at_start[i] = tlv_mem_get(c).live_tensors;
    s->depth[i] = c->depth;
    s->threads[i] = tlv_threads(c);
    s->draw[i] = tlv_rng_u64(tlv_rng_stream(c, "x"), 0);

    // Tensors of many sizes, left to the scope; one scope is even left open.
    tlv_scope_begin(c);
    tlv_tensor *x = tlv_rand(c, TLV_F64, tlv_shape2(i + 1, 1000), tlv_rng_stream(c, "y"));
    tlv_view v;
    if (!x || tlv_view_of(c, x, &v) != TLV_OK) return tlv_error(c);
    for (int64_t j = 0; j < tlv_numel(x); j++) s->sum[i] += ((const double *)v.ptr)[j];
    return TLV_OK;
}

static void test_results_do_not_depend_on_threads(void)
{
    static seen s[3];
    static const int THREADS[3] = { 1, 2, 5 };
    for (int k = 0; k < 3; k++) {
        memset(&s[k], 0, sizeof s[k]);
        tlv_ctx *c = open_threads(THREADS[k]);
        REQUIRE(c, "no context");
        EXPECT_STATUS(tlv_parallel_tasks(c, TASKS, look_around, &s[k]), TLV_OK);
        EXPECT_OK(c);
        tlv_ctx_close(c);
        for (int i = 0; i < TASKS; i++) {
            EXPECT(s[k].ran[i] == 1, "task %d ran %d times", i, s[k].ran[i]);
            EXPECT(!s[k].held_error[i], "task %d began with an error", i);
            EXPECT(s[k].live_at_start[i] == 0, "task %d found %lld tensors", i,
                   (long long)s[k].live_at_start[i]);
            EXPECT_INT(s[k].depth[i], s[0].depth[0]);
            EXPECT_INT(s[k].threads[i], 1);
            EXPECT(s[k].draw[i] == s[0].draw[i], "task %d draws otherwise with %d threads", i,
                   THREADS[k]);
            EXPECT(s[k].sum[i] == s[0].sum[i] && s[k].sum[i] > 0.0,
                   "task %d: %.17g and %.17g with %d threads", i, s[k].sum[i], s[0].sum[i],
                   THREADS[k]);
            for (int j = 0; j < i; j++)
                EXPECT(s[k].draw[i] != s[k].draw[j], "tasks %d and %d draw the same", i, j);
        }
    }
}

static void test_children_are_reused(void)
{
    static seen s;
    memset(&s, 0, sizeof s);
    tlv_ctx *c = open_threads(3);
    REQUIRE(c, "no context");
    for (int k = 0; k < 5; k++) tlv_parallel_tasks(c, k < 3 ? k : TASKS, look_around, &s);
    EXPECT_OK(c);
    EXPECT(c->n_child >= 1 && c->n_child <= 3, "%d children for 3 threads", c->n_child);
    EXPECT_INT(s.ran[0], 4);
    EXPECT_INT(s.ran[1], 3);
    EXPECT_INT(s.ran[TASKS - 1], 2);
    // A child takes its own small memory with its first task, whenever chance gives it one; after
    // that a task leaves nothing behind.  So at most as many of many rounds may grow as there are
    // children.
    int grew = 0;
    for (int k = 0; k < 40; k++) {
        size_t now = tlv_mem_get(c).now;
        tlv_parallel_tasks(c, TASKS, look_around, &s);
        grew += tlv_mem_get(c).now != now;
    }
    // Debug builds never use a header's place again, so there every few rounds take a new slab.
    EXPECT(TLVI_DEBUG || grew <= 3, "memory changed in %d of 40 rounds", grew);
    EXPECT_INT(tlv_mem_get(c).live_tensors, 0);
    tlv_ctx_close(c);
}

/* ---- inside a task everything is serial ------------------------------------------------------ */

typedef struct order { int64_t next; int wrong; } order;

static void in_order(void *arg, int64_t i, int worker)
{
    order *o = arg;
    if (i != o->next++ || worker != 0) o->wrong++;
}

static tlv_status count_task(tlv_ctx *c, int64_t i, void *user)
{
    (void)c;
    (void)i;
    atomic_fetch_add((_Atomic int *)user, 1);
    return TLV_OK;
}

static tlv_status loop_in_task(tlv_ctx *c, int64_t i, void *user)
{
    (void)i;
    order o = { 0 };
    tlvi_parallel_for(c, 100, 0, in_order, &o);
    if (o.wrong || o.next != 100) return tlv_fail(c, TLV_ERR_USER, NULL, "%d wrong", o.wrong);
    return tlv_parallel_tasks(c, 5, count_task, user);
}

static void test_loops_and_tasks_inside_a_task(void)
{
    tlv_ctx *c = open_threads(3);
    REQUIRE(c, "no context");
    _Atomic int ran = 0;
    EXPECT_STATUS(tlv_parallel_tasks(c, 20, loop_in_task, &ran), TLV_OK);
    EXPECT_OK(c);
    EXPECT_INT(ran, 100);
    tlv_ctx_close(c);
}

/* ---- errors ---------------------------------------------------------------------------------- */

typedef struct plan {
    _Atomic int ran;
    int return_at, fail_at, both_at, odd_at;
} plan;

static tlv_status fail_by_plan(tlv_ctx *c, int64_t i, void *user)
{
    plan *p = user;
    atomic_fetch_add(&p->ran, 1);
    if (i == p->return_at) return TLV_ERR_IO;
    if (i == p->fail_at) {
        tlv_fail(c, TLV_ERR_FORMAT, "feed it better", "spoon %d is bent", (int)i);
        return TLV_OK;
    }
    if (i == p->both_at) {
        tlv_fail(c, TLV_ERR_NAME, NULL, "no name");
        return TLV_ERR_IO;
    }
    if (i == p->odd_at) return (tlv_status)77;
    return TLV_OK;
}

static void test_lowest_failure_is_the_error(void)
{
    static const struct {
        plan p;
        tlv_status code;
        const char *msg, *hint;
    } CASE[] = {
        { { 0, 3, 7, -1, -1 }, TLV_ERR_IO, "task 3 returned TLV_ERR_IO", NULL },
        { { 0, 9, 7, -1, 8 }, TLV_ERR_FORMAT, "task 7: spoon 7 is bent", "feed it better" },
        { { 0, 9, 7, 0, -1 }, TLV_ERR_NAME, "task 0: no name", NULL },
        { { 0, 29, 28, 27, 26 }, TLV_ERR_USER, "task 26 returned TLV_ERR_UNKNOWN", NULL },
        { { 0, 29, -1, -1, -1 }, TLV_ERR_IO, "task 29 returned TLV_ERR_IO", NULL },
    };
    for (int threads = 1; threads <= 4; threads++) {
        tlv_ctx *c = open_threads(threads);
        REQUIRE(c, "no context");
        for (int k = 0; k < 5; k++) {
            plan p = CASE[k].p;
            EXPECT_STATUS(tlv_parallel_tasks(c, 30, fail_by_plan, &p), CASE[k].code);
            EXPECT_INT(p.ran, 30);
            EXPECT_STR(tlv_error_msg(c), CASE[k].msg);
            if (CASE[k].hint) EXPECT_STR(tlv_error_hint(c), CASE[k].hint);
            else EXPECT(tlv_error_hint(c)[0], "no hint");

            EXPECT_STATUS(tlv_parallel_tasks(c, 30, fail_by_plan, &p), CASE[k].code);
            EXPECT_INT(p.ran, 30);                      // does nothing while an error is pending
            tlv_error_clear(c);
        }
        plan none = { 0, -1, -1, -1, -1 };
        EXPECT_STATUS(tlv_parallel_tasks(c, 30, fail_by_plan, &none), TLV_OK);
        tlv_ctx_close(c);
    }
}

static void count_reports(void *user, tlv_ctx *c)
{
    (void)c;
    atomic_fetch_add((_Atomic int *)user, 1);
}

static void test_hook_reports_once(void)
{
    _Atomic int reports = 0;
    tlv_ctx *c = tlv_ctx_open(&(tlv_ctx_opts){ .threads = 2, .on_error = count_reports,
                                               .on_error_user = &reports });
    REQUIRE(c, "no context");
    plan p = { 0, 3, 7, 12, -1 };
    tlv_parallel_tasks(c, 20, fail_by_plan, &p);
    EXPECT_INT(reports, 1);
    tlv_ctx_close(c);
}

static void test_arguments(void)
{
    tlv_ctx *c = open_threads(2);
    REQUIRE(c, "no context");
    _Atomic int ran = 0;
    EXPECT_STATUS(tlv_parallel_tasks(c, 0, count_task, &ran), TLV_OK);
    EXPECT_INT(ran, 0);
    EXPECT_STATUS(tlv_parallel_tasks(c, -1, count_task, &ran), TLV_ERR_ARG);
    EXPECT_ERROR(c, TLV_ERR_ARG, "n is -1");
    EXPECT_STATUS(tlv_parallel_tasks(c, 3, NULL, NULL), TLV_ERR_ARG);
    EXPECT_ERROR(c, TLV_ERR_ARG, "fn is NULL");
    tlv_ctx_close(c);
}

/* ---- memory ---------------------------------------------------------------------------------- */

enum { MIB = 1 << 20 };

static tlv_status take_mib(tlv_ctx *c, int64_t i, void *user)
{
    const int64_t *mib = user;
    tlv_empty(c, TLV_U8, tlv_shape1(mib[i] * MIB));
    return TLV_OK;
}

static void test_limit_is_shared(void)
{
    for (int threads = 1; threads <= 2; threads++) {
        tlv_ctx *c = tlv_ctx_open(&(tlv_ctx_opts){ .threads = threads, .mem_limit = 64 * MIB });
        REQUIRE(c, "no context");
        tlv_tensor *mine = tlv_empty(c, TLV_U8, tlv_shape1(20 * MIB));
        REQUIRE(mine, "no memory");
        int64_t fits[8] = { 20, 18, 20, 20, 19, 20, 20, 20 };   // two at a time and the parent's
        EXPECT_STATUS(tlv_parallel_tasks(c, 8, take_mib, fits), TLV_OK);
        size_t now = tlv_mem_get(c).now;                    // a child's own memory is small change
        int64_t much[8] = { 1, 1, 1, 50, 1, 1, 1, 1 };
        EXPECT_STATUS(tlv_parallel_tasks(c, 8, take_mib, much), TLV_ERR_NOMEM);
        EXPECT_ERROR(c, TLV_ERR_NOMEM, "task 3: ");
        EXPECT(tlv_mem_get(c).now < now + MIB, "%zu bytes, before %zu", tlv_mem_get(c).now, now);
        EXPECT(tlv_mem_get(c).peak <= 64 * MIB, "peak %zu", tlv_mem_get(c).peak);
        tlv_ctx_close(c);
    }
}

/* The hook is called by children on several threads; c's lock keeps these plain counters right. */
typedef struct meter { size_t out; long blocks; } meter;

static void *metered(void *user, void *ptr, size_t old_size, size_t new_size)
{
    meter *m = user;
    void *p = tlvi_sys_alloc(NULL, ptr, old_size, new_size);
    if (ptr) m->out -= old_size, m->blocks--;
    if (p) m->out += new_size, m->blocks++;
    return p;
}

enum { COUNTED = 100000 };

static tlv_status count_much(tlv_ctx *c, int64_t i, void *user)
{
    (void)user;
    for (int k = 0; k < COUNTED; k++) tlvi_free(c, tlvi_alloc(c, (size_t)i + 1), (size_t)i + 1);
    return TLV_OK;
}

static void test_counters_are_exact_beside_each_other(void)
{
    tlv_ctx *c = tlv_ctx_open(&(tlv_ctx_opts){ .threads = 2 });
    REQUIRE(c, "no context");
    EXPECT_STATUS(tlv_parallel_tasks(c, 2, count_much, NULL), TLV_OK);
    tlv_mem_stats before = tlv_mem_get(c);
    EXPECT_STATUS(tlv_parallel_tasks(c, 8, count_much, NULL), TLV_OK);
    EXPECT_INT(tlv_mem_get(c).now, before.now);
    EXPECT_INT(tlv_mem_get(c).requests - before.requests, 8 * COUNTED);
    tlv_ctx_close(c);
}

static tlv_status churn(tlv_ctx *c, int64_t i, void *user)
{
    (void)user;
    for (int k = 0; k < 6; k++) {
        tlv_scope s = tlv_scope_begin(c);
        tlv_empty(c, TLV_F32, tlv_shape1((i % 5 + 1) * 300000));
        tlv_zeros(c, TLV_F32, tlv_shape1(i + 1));
        tlv_scope_end(c, s);
        tlv_mem_trim(c);
    }
    return tlv_error(c);
}

static void test_hook_is_balanced(void)
{
    meter m = { 0 };
    tlv_ctx *c = tlv_ctx_open(&(tlv_ctx_opts){ .threads = 3, .alloc = metered, .alloc_user = &m });
    REQUIRE(c, "no context");
    EXPECT_STATUS(tlv_parallel_tasks(c, 60, churn, NULL), TLV_OK);
    EXPECT_INT(tlv_mem_get(c).system, m.out);
    tlv_ctx_close(c);
    EXPECT_INT(m.out, 0);
    EXPECT_INT(m.blocks, 0);
}

static void test_fault_at_every_request(void)
{
    int failed = 0, done = 0;
    for (int64_t at = 2; at < 400 && !done; at++) {
        meter m = { 0 };
        tlv_ctx *c = tlv_ctx_open(&(tlv_ctx_opts){ .threads = 2, .fail_at = at, .alloc = metered,
                                                   .alloc_user = &m });
        REQUIRE(c, "no context with a fault at request %d", (int)at);
        tlv_status st = tlv_parallel_tasks(c, 6, churn, NULL);
        EXPECT(st == TLV_OK || st == TLV_ERR_NOMEM, "fault at %d: %s", (int)at,
               tlv_status_name(st));
        if (st != TLV_OK) failed++;
        done = (uint64_t)at > tlv_mem_get(c).requests;
        tlv_error_clear(c);
        if (!done) EXPECT_STATUS(tlv_parallel_tasks(c, 6, churn, NULL), TLV_OK);
        tlv_ctx_close(c);
        EXPECT_INT(m.out, 0);
        EXPECT_INT(m.blocks, 0);
    }
    EXPECT(done, "more requests than expected");
    EXPECT(failed > 10, "only %d faults were seen", failed);
}

TEST_MAIN(T(test_results_do_not_depend_on_threads), T(test_children_are_reused),
          T(test_loops_and_tasks_inside_a_task), T(test_lowest_failure_is_the_error),
          T(test_hook_reports_once), T(test_arguments), T(test_limit_is_shared),
          T(test_counters_are_exact_beside_each_other), T(test_hook_is_balanced),
          T(test_fault_at_every_request))
