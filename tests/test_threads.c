/* test_threads.c -- tlvi_parallel_for: chunks, nested calls, many loops, two contexts at once. */
#define _POSIX_C_SOURCE 200809L
#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

#include "tensor/core.h"
#include "tests/test.h"

enum { MOST = 100000 };

static void sleep_us(long us)
{
    struct timespec t = { 0, us * 1000 };
    nanosleep(&t, NULL);
}

static tlv_ctx *open_threads(int n)
{
    return tlv_ctx_open(&(tlv_ctx_opts){ .threads = n });
}

/* Plain bytes on purpose: two threads at one chunk are a race that the sanitizer sees. */
typedef struct tally {
    unsigned char times[MOST];
    int n_threads;
    _Atomic int bad_worker;
    _Atomic int64_t by_caller, by_others;
} tally;

static void count_chunk(void *arg, int64_t i, int worker)
{
    tally *t = arg;
    t->times[i]++;
    if (worker < 0 || worker >= t->n_threads) atomic_fetch_add(&t->bad_worker, 1);
    atomic_fetch_add(worker == 0 ? &t->by_caller : &t->by_others, 1);
}

static void test_every_chunk_exactly_once(void)
{
    static const int64_t N[] = { 0, 1, 2, 3, 7, 1000, MOST };
    static const int64_t COST[] = { 0, 1, 90, 1000000 };
    static tally t;
    for (int threads = 1; threads <= 8; threads = threads < 3 ? threads + 1 : threads + 5) {
        tlv_ctx *c = open_threads(threads);
        REQUIRE(c, "no context");
        for (int a = 0; a < 7; a++) {
            for (int b = 0; b < 4; b++) {
                memset(&t, 0, sizeof t);
                t.n_threads = threads;
                tlvi_parallel_for(c, N[a], COST[b], count_chunk, &t);
                int64_t wrong = 0;
                for (int64_t i = 0; i < MOST; i++) wrong += t.times[i] != (i < N[a]);
                EXPECT(wrong == 0, "%d threads, %lld chunks of cost %lld: %lld ran not once",
                       threads, (long long)N[a], (long long)COST[b], (long long)wrong);
                EXPECT_INT(t.bad_worker, 0);
                EXPECT_INT(t.by_caller + t.by_others, N[a]);
            }
        }
        EXPECT_OK(c);
        tlv_ctx_close(c);
    }
}

static void test_small_work_stays_here(void)
{
    static tally t;
    memset(&t, 0, sizeof t);
    t.n_threads = 4;
    tlv_ctx *c = open_threads(4);
    REQUIRE(c, "no context");
    tlvi_parallel_for(c, 1000, 20, count_chunk, &t);        // 20 us
    tlvi_parallel_for(c, 1, 0, count_chunk, &t);            // one chunk of any size
    EXPECT(!c->team, "a team was made for nothing");
    EXPECT_INT(t.by_others, 0);
    EXPECT_INT(t.by_caller, 1001);
    tlv_ctx_close(c);
}

static void slow_chunk(void *arg, int64_t i, int worker)
{
    sleep_us(2000);
    count_chunk(arg, i, worker);
}

static void test_others_help(void)
{
    static tally t;
    tlv_ctx *c = open_threads(3);
    REQUIRE(c, "no context");
    int own_team = 1;
    for (int round = 0; round < 3; round++) {
        memset(&t, 0, sizeof t);
        t.n_threads = 3;
        tlvi_parallel_for(c, 60, 0, slow_chunk, &t);
        EXPECT_INT(t.by_caller + t.by_others, 60);
        own_team = c->team != NULL;
        if (!own_team) break;
        EXPECT(t.by_others > 0, "round %d: the caller did all the work", round);
        EXPECT(t.by_caller > 0, "round %d: the caller did nothing", round);
        sleep_us(20000);                                // the team falls asleep
    }
    tlv_ctx_close(c);
    if (!own_team) SKIP("this back end has no team of ours");
}

/* More chunks than the team has tickets for: several chunks go with one ticket. */
static void sum_chunk(void *arg, int64_t i, int worker)
{
    int64_t (*sum)[16] = arg;
    sum[worker][0] += i;
    sum[worker][1]++;
}

static void test_very_many_chunks(void)
{
    enum { N = 17000000 };
    static int64_t sum[2][16];
    memset(sum, 0, sizeof sum);
    tlv_ctx *c = open_threads(2);
    REQUIRE(c, "no context");
    tlvi_parallel_for(c, N, 0, sum_chunk, sum);
    EXPECT_INT(sum[0][1] + sum[1][1], N);
    EXPECT_INT(sum[0][0] + sum[1][0], (int64_t)N * (N - 1) / 2);
    tlv_ctx_close(c);
}

/* ---- nested ---------------------------------------------------------------------------------- */

typedef struct nest {
    tlv_ctx *c;
    int64_t next;                   /* the inner chunk that a serial loop runs next */
    int worker;
    _Atomic int *wrong;
    _Atomic int64_t *ran;
} nest;

static void inner_chunk(void *arg, int64_t i, int worker)
{
    nest *n = arg;
    if (i != n->next++ || worker != n->worker) atomic_fetch_add(n->wrong, 1);
    atomic_fetch_add(n->ran, 1);
}

static void outer_chunk(void *arg, int64_t i, int worker)
{
    (void)i;
    nest n = *(nest *)arg;
    n.worker = worker;
    tlvi_parallel_for(n.c, 50, 0, inner_chunk, &n);
    if (worker == 0) sleep_us(200);         // leaves some for the others
}

static void test_nested_loops_are_serial(void)
{
    for (int threads = 2; threads <= 4; threads++) {
        tlv_ctx *c = open_threads(threads);
        REQUIRE(c, "no context");
        _Atomic int wrong = 0;
        _Atomic int64_t ran = 0;
        nest n = { .c = c, .wrong = &wrong, .ran = &ran };
        tlvi_parallel_for(c, 100, 0, outer_chunk, &n);
        EXPECT_INT(ran, 5000);
        EXPECT(wrong == 0, "%d inner chunks out of order or under another worker's number", wrong);
        tlv_ctx_close(c);
    }
}

/* ---- many loops ------------------------------------------------------------------------------ */

/* Lives on the stack of one loop; a thread that comes late would find another loop's. */
typedef struct job {
    uint64_t number;
    _Atomic int64_t ran, strange;
    uint64_t expected[8];
} job;

static void job_chunk(void *arg, int64_t i, int worker)
{
    (void)worker;
    job *j = arg;
    if (j->expected[i] != j->number * 8 + (uint64_t)i) atomic_fetch_add(&j->strange, 1);
    atomic_fetch_add(&j->ran, 1);
}

static int64_t run_jobs(tlv_ctx *c, uint64_t loops, int rests)
{
    int64_t bad = 0;
    for (uint64_t k = 0; k < loops; k++) {
        job j = { .number = k };
        int64_t n = 2 + (int64_t)(k % 7);
        for (int64_t i = 0; i < n; i++) j.expected[i] = k * 8 + (uint64_t)i;
        tlvi_parallel_for(c, n, 0, job_chunk, &j);
        bad += j.ran != n || j.strange != 0;
        if (rests && k % 500 == 0) sleep_us(200);       // long enough for the team to fall asleep
    }
    return bad;
}

static void test_many_loops_quickly(void)
{
    tlv_ctx *c = open_threads(3);
    REQUIRE(c, "no context");
    EXPECT_INT(run_jobs(c, 100000, 1), 0);
    tlv_ctx_close(c);
}

static void test_teams_come_and_go(void)
{
    for (int k = 0; k < 100; k++) {
        tlv_ctx *c = open_threads(2 + k % 3);
        REQUIRE(c, "no context");
        EXPECT_INT(run_jobs(c, (uint64_t)(k % 4), 0), 0);       // closed while workers still start
        tlv_ctx_close(c);
    }
}

typedef struct own_context { int64_t bad; } own_context;

static void *with_own_context(void *arg)
{
    own_context *o = arg;
    tlv_ctx *c = open_threads(2);
    if (!c) return NULL;
    o->bad = run_jobs(c, 20000, 1);
    tlv_ctx_close(c);
    return NULL;
}

static void test_two_contexts_in_two_threads(void)
{
    own_context o[2] = { { -1 }, { -1 } };
    pthread_t other;
    REQUIRE(pthread_create(&other, NULL, with_own_context, &o[1]) == 0, "no thread");
    with_own_context(&o[0]);
    pthread_join(other, NULL);
    EXPECT_INT(o[0].bad, 0);
    EXPECT_INT(o[1].bad, 0);
}

/* ---- failures -------------------------------------------------------------------------------- */

static void test_without_memory_for_a_team_it_is_serial(void)
{
    tlv_ctx *c = open_threads(2);
    REQUIRE(c, "no context");
    int64_t requests = (int64_t)tlv_mem_get(c).requests;
    tlv_ctx_close(c);

    c = tlv_ctx_open(&(tlv_ctx_opts){ .threads = 2, .fail_at = requests + 1 });
    REQUIRE(c, "no context");
    static tally t;
    memset(&t, 0, sizeof t);
    t.n_threads = 2;
    tlvi_parallel_for(c, 1000, 0, count_chunk, &t);
    EXPECT_INT(t.by_caller + t.by_others, 1000);
    EXPECT_OK(c);                                       // it is no error
    if (tlv_mem_get(c).requests > (uint64_t)requests) {
        EXPECT(!c->team, "a team without memory");
        EXPECT_INT(t.by_others, 0);
    }
    tlvi_parallel_for(c, 1000, 0, count_chunk, &t);     // and the next loop gets its team
    EXPECT_INT(t.by_caller + t.by_others, 2000);
    tlv_ctx_close(c);
}

static void test_cpu_count(void)
{
    EXPECT(tlvi_cpu_count() >= 1, "no CPU to run on");
    tlv_ctx *c = tlv_ctx_open(NULL);
    REQUIRE(c, "no context");
    EXPECT_INT(tlv_threads(c), tlvi_cpu_count());
    tlv_ctx_close(c);
}

TEST_MAIN(T(test_every_chunk_exactly_once), T(test_small_work_stays_here), T(test_others_help),
          T(test_very_many_chunks), T(test_nested_loops_are_serial), T(test_many_loops_quickly),
          T(test_teams_come_and_go), T(test_two_contexts_in_two_threads),
          T(test_without_memory_for_a_team_it_is_serial), T(test_cpu_count))
