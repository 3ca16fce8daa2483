/* test_pool.c -- the pool: blocks, fit, coalescing, limit, statistics, faults, children, hook. */
#include <string.h>

#include "tensor/core.h"
#include "tests/test.h"

enum { MIB = 1 << 20 };

/* A hook that counts, has a quota, and gives blocks with no better alignment than malloc's. */
typedef struct meter {
    size_t out, quota;
    long blocks, refused, wrong;
} meter;

static void *metered(void *user, void *ptr, size_t old_size, size_t new_size)
{
    enum { SHIFT = 16 };
    meter *m = user;
    if (!ptr) {
        if (m->quota && m->out + new_size > m->quota) {
            m->refused++;
            return NULL;
        }
        size_t *p = tlvi_sys_alloc(NULL, NULL, 0, new_size + SHIFT);
        if (!p) return NULL;
        p[0] = new_size;
        m->out += new_size;
        m->blocks++;
        return (char *)p + SHIFT;
    }
    size_t *p = (size_t *)((char *)ptr - SHIFT);
    if (new_size || p[0] != old_size) m->wrong++;
    m->out -= old_size;
    m->blocks--;
    return tlvi_sys_alloc(NULL, p, old_size + SHIFT, 0);
}

static tlv_mem_stats stats_of(const tlvi_pool *p)
{
    tlv_mem_stats m = { 0 };
    tlvi_pool_stats(p, &m);
    return m;
}

static void expect_balanced(const meter *m)
{
    EXPECT_INT(m->out, 0);
    EXPECT_INT(m->blocks, 0);
    EXPECT_INT(m->wrong, 0);
}

static size_t rounded(size_t bytes) { return bytes ? (bytes + 63) / 64 * 64 : 64; }

/* ---- blocks ---------------------------------------------------------------------------------- */

static void test_every_size_is_aligned_and_its_own(void)
{
    meter m = { 0 };
    tlvi_pool *p = tlvi_pool_open(metered, &m, 0, 0, NULL);
    REQUIRE(p, "no pool");
    for (size_t n = 0; n < 140000; n += n < 2000 ? 1 : 509) {
        unsigned char *a = tlvi_pool_get(p, n), *b = tlvi_pool_get(p, n);
        REQUIRE(a && b, "no block of %zu bytes", n);
        EXPECT((uintptr_t)a % 64 == 0 && (uintptr_t)b % 64 == 0, "%zu bytes: %p and %p", n,
               (void *)a, (void *)b);
        EXPECT(a + rounded(n) <= b || b + rounded(n) <= a, "two blocks of %zu bytes overlap", n);
        memset(a, 1, n);
        memset(b, 2, n);
        EXPECT(n == 0 || (a[0] == 1 && a[n - 1] == 1), "%zu bytes: the neighbour wrote here", n);
        tlvi_pool_put(p, a, n);
        tlvi_pool_put(p, b, n);
    }
    EXPECT_INT(stats_of(p).now, 0);
    tlvi_pool_close(p);
    expect_balanced(&m);
}

/* A long random history, every live block filled with its own pattern. */
static void test_random_history_keeps_contents(void)
{
    enum { LIVE = 300, STEPS = 40000 };
    static struct { unsigned char *ptr; size_t n; unsigned char fill; } b[LIVE];
    memset(b, 0, sizeof b);
    meter m = { 0 };
    tlvi_pool *p = tlvi_pool_open(metered, &m, 0, 0, NULL);
    REQUIRE(p, "no pool");
    tlv_rng_key k = { 7 };
    size_t now = 0;
    long spoiled = 0;
    for (int step = 0; step < STEPS; step++) {
        uint64_t r = tlv_rng_u64(k, (uint64_t)step);
        size_t i = r % LIVE;
        if (b[i].ptr) {
            size_t middle = b[i].n / 2;
            if (b[i].ptr[0] != b[i].fill || b[i].ptr[middle] != b[i].fill
                || b[i].ptr[b[i].n - 1] != b[i].fill) spoiled++;
            tlvi_pool_put(p, b[i].ptr, b[i].n);
            now -= rounded(b[i].n);
            b[i].ptr = NULL;
        } else {
            size_t most = (size_t)1 << (4 + (r >> 16) % 17);        // 16 bytes .. 1 MiB
            b[i].n = 1 + (size_t)((r >> 24) % most);
            b[i].fill = (unsigned char)(r >> 50);
            b[i].ptr = tlvi_pool_get(p, b[i].n);
            REQUIRE(b[i].ptr, "no memory");
            b[i].ptr[0] = b[i].ptr[b[i].n / 2] = b[i].ptr[b[i].n - 1] = b[i].fill;
            now += rounded(b[i].n);
        }
        if (step % 5000 == 4999) {
            EXPECT_INT(stats_of(p).now, now);
            tlvi_pool_trim(p);
        }
    }
    EXPECT_INT(spoiled, 0);
    tlvi_pool_close(p);                                             // with blocks still out
    expect_balanced(&m);
}

static void test_neighbours_coalesce_in_every_order(void)
{
    static const int ORDER[6][3] = {
        { 0, 1, 2 }, { 0, 2, 1 }, { 1, 0, 2 }, { 1, 2, 0 }, { 2, 0, 1 }, { 2, 1, 0 }
    };
    for (int o = 0; o < 6; o++) {
        meter m = { 0 };
        tlvi_pool *p = tlvi_pool_open(metered, &m, 0, 0, NULL);
        REQUIRE(p, "no pool");
        tlvi_pool_put(p, tlvi_pool_get(p, 20 * MIB), 20 * MIB);     // one chunk that holds all
        uint64_t calls = stats_of(p).system_calls;
        void *b[3];
        for (int i = 0; i < 3; i++) b[i] = tlvi_pool_get(p, 6 * MIB);
        for (int i = 0; i < 3; i++) tlvi_pool_put(p, b[ORDER[o][i]], 6 * MIB);
        void *all = tlvi_pool_get(p, 20 * MIB);
        EXPECT(all, "order %d: no block over the three", o);
        EXPECT_INT(stats_of(p).system_calls, calls);
        tlvi_pool_close(p);
        expect_balanced(&m);
    }
}

static void test_best_fit_takes_the_smallest_hole(void)
{
    tlvi_pool *p = tlvi_pool_open(NULL, NULL, 0, 0, NULL);
    REQUIRE(p, "no pool");
    static const size_t SIZE[] = { 900000, 100000, 400000, 100000, 410000, 100000, 700000, 100000 };
    char *b[8];
    tlvi_pool_put(p, tlvi_pool_get(p, 4 * MIB), 4 * MIB);
    for (int i = 0; i < 8; i++) b[i] = tlvi_pool_get(p, SIZE[i]);
    for (int i = 0; i < 8; i += 2) tlvi_pool_put(p, b[i], SIZE[i]);
    EXPECT(tlvi_pool_get(p, 650000) == b[6], "650000 bytes are not in the hole of 700000");
    EXPECT(tlvi_pool_get(p, 380000) == b[2], "380000 bytes are not in the hole of 400000");
    EXPECT(tlvi_pool_get(p, 380000) == b[4], "380000 bytes are not in the hole of 410000");
    EXPECT(tlvi_pool_get(p, 380000) == b[0], "380000 bytes are not in the hole of 900000");
    tlvi_pool_close(p);
}

/* 40 blocks of mixed sizes, then none; the last one's address, and how many could not be had. */
static void *one_step(tlvi_pool *p, int *missing)
{
    void *a[40];
    *missing = 0;
    for (int i = 0; i < 40; i++) {
        a[i] = tlvi_pool_get(p, (size_t)(i % 8 + 1) * 77777 / (size_t)(i % 3 * 50 + 1));
        if (!a[i]) ++*missing;
    }
    for (int i = 39; i >= 0; i--)
        tlvi_pool_put(p, a[i], (size_t)(i % 8 + 1) * 77777 / (size_t)(i % 3 * 50 + 1));
    return a[39];
}

static void test_warm_pool_calls_the_system_no_more(void)
{
    tlvi_pool *p = tlvi_pool_open(NULL, NULL, 0, 0, NULL);
    REQUIRE(p, "no pool");
    int missing;
    void *first = one_step(p, &missing);
    uint64_t calls = stats_of(p).system_calls;
    for (int i = 0; i < 20; i++) {
        EXPECT(one_step(p, &missing) == first, "the same step gets other blocks");
        EXPECT_INT(missing, 0);
    }
    EXPECT_INT(stats_of(p).system_calls, calls);
    tlvi_pool_close(p);
}

static void test_full_slabs_come_back(void)
{
    enum { N = 5000 };
    static void *a[N];
    tlvi_pool *p = tlvi_pool_open(NULL, NULL, 0, 0, NULL);
    REQUIRE(p, "no pool");
    uint64_t calls = 0;
    for (int round = 0; round < 20; round++) {
        for (int i = 0; i < N; i++) a[i] = tlvi_pool_get(p, (size_t)(i % 40) * 64);
        for (int i = 0; i < N; i++) tlvi_pool_put(p, a[(i * 7) % N], (size_t)(i * 7 % N % 40) * 64);
        if (round == 0) calls = stats_of(p).system_calls;
    }
    EXPECT_INT(stats_of(p).now, 0);
    EXPECT_INT(stats_of(p).system_calls, calls);
    tlvi_pool_close(p);
}

static void test_small_program_takes_little(void)
{
    tlvi_pool *p = tlvi_pool_open(NULL, NULL, 0, 0, NULL);
    REQUIRE(p, "no pool");
    void *a = tlvi_pool_get(p, 100), *b = tlvi_pool_get(p, 200000);
    EXPECT(a && b, "no memory");
    EXPECT(stats_of(p).system < 3 * MIB, "took %zu bytes", stats_of(p).system);
    tlvi_pool_close(p);
}

/* ---- statistics ------------------------------------------------------------------------------ */

static void test_statistics_are_exact(void)
{
    tlvi_pool *p = tlvi_pool_open(NULL, NULL, 0, 0, NULL);
    REQUIRE(p, "no pool");
    void *a = tlvi_pool_get(p, 1), *b = tlvi_pool_get(p, 65), *z = tlvi_pool_get(p, 0);
    EXPECT(z, "0 bytes are not fine");
    EXPECT_INT(stats_of(p).now, 64 + 128 + 64);
    EXPECT(tlvi_pool_phase(p, TLV_PHASE_BACKWARD) == TLV_PHASE_FORWARD, "not in forward code");
    void *d = tlvi_pool_get(p, 100001);
    EXPECT_INT(stats_of(p).now, 256 + 100032);
    tlvi_pool_put(p, d, 100001);
    EXPECT(tlvi_pool_phase(p, TLV_PHASE_STEP) == TLV_PHASE_BACKWARD, "not in a sweep");
    tlvi_pool_put(p, a, 1);

    tlv_mem_stats m = stats_of(p);
    EXPECT_INT(m.now, 192);
    EXPECT_INT(m.peak, 256 + 100032);
    EXPECT_INT(m.peak_by_phase[TLV_PHASE_FORWARD], 256);
    EXPECT_INT(m.peak_by_phase[TLV_PHASE_BACKWARD], 256 + 100032);
    EXPECT_INT(m.peak_by_phase[TLV_PHASE_STEP], 256);
    EXPECT_INT(m.requests, 4);
    EXPECT_INT(m.limit, 0);

    tlvi_pool_reset_peak(p);
    m = stats_of(p);
    EXPECT_INT(m.peak, 192);
    EXPECT_INT(m.peak_by_phase[TLV_PHASE_STEP], 192);
    EXPECT_INT(m.peak_by_phase[TLV_PHASE_FORWARD], 0);
    tlvi_pool_put(p, b, 65);
    tlvi_pool_put(p, z, 0);
    EXPECT_INT(stats_of(p).now, 0);
    EXPECT_INT(stats_of(p).peak, 192);
    tlvi_pool_close(p);
}

static void test_system_bytes_are_the_hooks(void)
{
    meter m = { 0 };
    tlvi_pool *p = tlvi_pool_open(metered, &m, 0, 0, NULL);
    REQUIRE(p, "no pool");
    EXPECT_INT(stats_of(p).system, m.out);
    size_t bare = m.out;
    void *a = tlvi_pool_get(p, 50 * MIB), *b = tlvi_pool_get(p, 3000);
    EXPECT_INT(stats_of(p).system, m.out);
    EXPECT(m.out > 50 * MIB, "only %zu bytes are out", m.out);
    EXPECT_INT(tlvi_pool_trim(p), 0);

    tlvi_pool_put(p, a, 50 * MIB);
    size_t before = m.out, given = tlvi_pool_trim(p);
    EXPECT_INT(given, before - m.out);
    EXPECT(before - m.out >= 50 * MIB, "trim gave back %zu bytes", before - m.out);
    tlvi_pool_put(p, b, 3000);
    tlvi_pool_trim(p);
    EXPECT_INT(m.out, bare);                        // only the pool's own struct
    EXPECT_INT(stats_of(p).system, bare);
    tlvi_pool_close(p);
    expect_balanced(&m);
}

/* ---- refusals -------------------------------------------------------------------------------- */

static void test_limit_counts_what_is_in_use(void)
{
    tlvi_pool *p = tlvi_pool_open(NULL, NULL, 1000000, 0, NULL);
    REQUIRE(p, "no pool");
    EXPECT_INT(stats_of(p).limit, 1000000);
    void *a = tlvi_pool_get(p, 600000);
    EXPECT(a, "600000 of 1000000 refused");
    EXPECT(!tlvi_pool_get(p, 400001), "more than the limit given");
    EXPECT_INT(stats_of(p).now, 600000);
    EXPECT_INT(stats_of(p).peak, 600000);
    void *b = tlvi_pool_get(p, 400000);
    EXPECT(b, "the limit itself refused");
    EXPECT(!tlvi_pool_get(p, 1), "one byte more given");
    tlvi_pool_put(p, a, 600000);
    EXPECT(tlvi_pool_get(p, 500000), "memory that came back refused");
    tlvi_pool_close(p);
}

static void test_impossible_sizes_are_refused(void)
{
    tlvi_pool *p = tlvi_pool_open(NULL, NULL, 0, 0, NULL);
    REQUIRE(p, "no pool");
    EXPECT(!tlvi_pool_get(p, SIZE_MAX), "SIZE_MAX bytes given");
    EXPECT(!tlvi_pool_get(p, SIZE_MAX - 63), "SIZE_MAX - 63 bytes given");
    EXPECT(!tlvi_pool_get(p, SIZE_MAX / 2), "half the address space given");
    EXPECT_INT(stats_of(p).now, 0);
    EXPECT_INT(stats_of(p).peak, 0);
    tlvi_pool_close(p);
}

static void test_trims_before_failing(void)
{
    meter m = { .quota = 40 * MIB };
    tlvi_pool *p = tlvi_pool_open(metered, &m, 0, 0, NULL);
    REQUIRE(p, "no pool");
    tlvi_pool_put(p, tlvi_pool_get(p, 20 * MIB), 20 * MIB);
    void *a = tlvi_pool_get(p, 30 * MIB);           // only fits when the first chunk is given back
    EXPECT(a, "refused with an unused chunk at hand");
    EXPECT_INT(m.refused, 1);
    EXPECT(!tlvi_pool_get(p, 30 * MIB), "more than the quota given");
    EXPECT_INT(stats_of(p).now, 30 * MIB);
    tlvi_pool_close(p);
    expect_balanced(&m);
}

static void test_asks_for_less_before_failing(void)
{
    meter m = { .quota = 22 * MIB };
    tlvi_pool *p = tlvi_pool_open(metered, &m, 0, 0, NULL);
    REQUIRE(p, "no pool");
    EXPECT(tlvi_pool_get(p, 16 * MIB), "16 of 22 MiB refused");
    EXPECT(tlvi_pool_get(p, 3 * MIB), "a chunk as large as the last one was insisted on");
    EXPECT(m.refused > 0, "the quota was not reached");
    tlvi_pool_close(p);
    expect_balanced(&m);
}

static void test_fault_hits_one_request(void)
{
    for (int64_t at = 1; at <= 81; at++) {
        meter m = { 0 };
        tlvi_pool *p = tlvi_pool_open(metered, &m, 0, at, NULL);
        REQUIRE(p, "no pool");
        int cold, warm;                             // a warm pool hides no fault
        one_step(p, &cold);
        one_step(p, &warm);
        EXPECT_INT(cold, at <= 40);
        EXPECT_INT(warm, at > 40 && at <= 80);
        EXPECT_INT(stats_of(p).now, 0);
        EXPECT_INT(stats_of(p).requests, 80);
        tlvi_pool_close(p);
        expect_balanced(&m);
    }
}

static void test_hook_that_gives_nothing(void)
{
    meter m = { .quota = 1 };
    EXPECT(!tlvi_pool_open(metered, &m, 0, 0, NULL), "a pool from nothing");
    m.quota = 64 << 10;
    tlvi_pool *p = tlvi_pool_open(metered, &m, 0, 0, NULL);
    REQUIRE(p, "64 KiB are too little for a pool's struct");
    EXPECT(!tlvi_pool_get(p, 10), "a chunk from nothing");
    EXPECT(!tlvi_pool_get(p, 100000), "a chunk from nothing");
    EXPECT_INT(stats_of(p).now, 0);
    tlvi_pool_close(p);
    expect_balanced(&m);
}

/* ---- children -------------------------------------------------------------------------------- */

static void test_children_share_limit_and_statistics(void)
{
    meter m = { 0 };
    tlvi_pool *p = tlvi_pool_open(metered, &m, 10 * MIB, 0, NULL);
    REQUIRE(p, "no pool");
    tlvi_pool *a = tlvi_pool_open(NULL, NULL, 0, 0, p), *b = tlvi_pool_open(NULL, NULL, 0, 0, p);
    REQUIRE(a && b, "no child");
    void *x = tlvi_pool_get(a, 4 * MIB), *y = tlvi_pool_get(b, 4 * MIB);
    EXPECT(x && y, "8 of 10 MiB refused");
    EXPECT(!tlvi_pool_get(b, 4 * MIB), "a child went over the family's limit");
    EXPECT(!tlvi_pool_get(p, 4 * MIB), "the parent went over the family's limit");
    EXPECT_INT(stats_of(p).now, 8 * MIB);
    EXPECT_INT(stats_of(b).peak, 8 * MIB);
    EXPECT_INT(stats_of(p).system, m.out);

    tlvi_pool *inner = tlvi_pool_open(NULL, NULL, 0, 0, a);        // a child of a child
    REQUIRE(inner, "no grandchild");
    EXPECT(tlvi_pool_get(inner, MIB), "9 of 10 MiB refused");
    EXPECT_INT(stats_of(p).now, 9 * MIB);
    tlvi_pool_close(inner);
    EXPECT_INT(stats_of(p).now, 8 * MIB);
    tlvi_pool_close(a);                             // with a block still out
    EXPECT_INT(stats_of(p).now, 4 * MIB);
    EXPECT(tlvi_pool_get(b, 4 * MIB), "what a closed child had stays counted");
    tlvi_pool_close(b);
    EXPECT_INT(stats_of(p).now, 0);
    EXPECT_INT(stats_of(p).system, m.out);
    tlvi_pool_close(p);
    expect_balanced(&m);
}

static void test_children_share_the_fault(void)
{
    tlvi_pool *p = tlvi_pool_open(NULL, NULL, 0, 3, NULL);
    REQUIRE(p, "no pool");
    tlvi_pool *a = tlvi_pool_open(NULL, NULL, 0, 0, p);
    REQUIRE(a, "no child");
    EXPECT(tlvi_pool_get(p, 64), "request 1 failed");
    EXPECT(tlvi_pool_get(a, 64), "request 2 failed");
    EXPECT(!tlvi_pool_get(a, 64), "request 3 did not fail");
    EXPECT(tlvi_pool_get(p, 64), "request 4 failed");
    tlvi_pool_close(a);
    tlvi_pool_close(p);
}

static void test_debug_builds_fill_blocks(void)
{
    if (!TLVI_DEBUG) SKIP("only a build with TLVI_DEBUG fills blocks");
    tlvi_pool *p = tlvi_pool_open(NULL, NULL, 0, 0, NULL);
    REQUIRE(p, "no pool");
    float *x = tlvi_pool_get(p, 4000), *y = tlvi_pool_get(p, 400000);
    REQUIRE(x && y, "no memory");
    EXPECT(x[999] != x[999] && y[99999] != y[99999], "fresh blocks do not hold NaN");
    tlvi_pool_close(p);
}

TEST_MAIN(T(test_every_size_is_aligned_and_its_own), T(test_random_history_keeps_contents),
          T(test_neighbours_coalesce_in_every_order), T(test_best_fit_takes_the_smallest_hole),
          T(test_warm_pool_calls_the_system_no_more), T(test_full_slabs_come_back),
          T(test_small_program_takes_little), T(test_statistics_are_exact),
          T(test_system_bytes_are_the_hooks), T(test_limit_counts_what_is_in_use),
          T(test_impossible_sizes_are_refused), T(test_trims_before_failing),
          T(test_asks_for_less_before_failing), T(test_fault_hits_one_request),
          T(test_hook_that_gives_nothing),
          T(test_children_share_limit_and_statistics), T(test_children_share_the_fault),
          T(test_debug_builds_fill_blocks))
