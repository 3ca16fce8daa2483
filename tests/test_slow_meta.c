/* test_slow_meta.c -- memory of learning to learn: conv4 with 64 filters, 32 tasks of 5 ways and 1
 * shot, five inner steps of second order. */
#include <stdio.h>

#include "data/data.h"
#include "tests/support.h"
#include "transfer/transfer.h"

enum { TASKS = 32, STEPS = 5, THREADS = 2, ROOM = 20000000 };

/* Drawn shapes stand for characters: 28x28, grey. */
static tlv_episodes *open_episodes(tlv_ctx *c)
{
    tlv_dataset *d = tlv_dataset_open(c, "shapes:4", "train");
    tlv_episodes_opts o = { .recipe = { .size = 28 }, .channels = 1 };
    return d ? tlv_episodes_open(c, d, NULL, 0, o) : NULL;
}

/* The most bytes in use during an outer step after the first two, less those in use before it. */
static size_t peak_of(const char *arch, int tasks, int threads)
{
    tlv_ctx *c = tlv_ctx_open(&(tlv_ctx_opts){ .threads = threads });
    tlv_model *m = tlv_model_open(c, arch, (tlv_model_opts){ .classes = 5, .channels = 1 });
    tlv_episodes *e = open_episodes(c);
    tlv_meta_opts o = tlv_meta_defaults(TLV_MAML, 5, 1);
    o.tasks = tasks;
    o.inner_steps = STEPS;
    tlv_meta *l = m && e ? tlv_meta_open(c, m, o) : NULL;
    size_t peak = 0;
    if (EXPECT(l, "%s", tlv_error_msg(c))) {
        for (int i = 0; i < 2; i++) EXPECT_STATUS(tlv_meta_step(l, e, NULL), TLV_OK);
        tlv_mem_stats before = tlv_mem_get(c);
        tlv_mem_reset_peak(c);
        EXPECT_STATUS(tlv_meta_step(l, e, NULL), TLV_OK);
        tlv_mem_stats after = tlv_mem_get(c);
        peak = after.peak - before.now;
        EXPECT_INT(after.now, before.now);
        EXPECT(after.system_calls == before.system_calls, "%s: the third step asks the system for "
               "memory %llu times", arch,
               (unsigned long long)(after.system_calls - before.system_calls));
    }
    tlv_meta_close(l);
    tlv_ctx_close(c);
    return peak;
}

static void test_tasks_need_a_graph_a_thread(void)
{
    static const char *const ARCHS[2] = { "conv4", "conv4_stride" };
    for (int i = 0; i < 2; i++) {
        size_t one = peak_of(ARCHS[i], 1, 1), all = peak_of(ARCHS[i], TASKS, THREADS);
        printf("  %s: %.1f MB for one task, %.1f MB for %d on %d threads\n", ARCHS[i],
               (double)one / 1e6, (double)all / 1e6, TASKS, THREADS);
        EXPECT(one > 0 && all <= THREADS * one + ROOM, "%s: %zu bytes, want at most %zu", ARCHS[i],
               all, THREADS * one + ROOM);
    }
}

TEST_MAIN(T(test_tasks_need_a_graph_a_thread))
