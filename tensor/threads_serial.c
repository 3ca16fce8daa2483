/* threads_serial.c -- the back end without threads: one loop, nothing else. */
#include "tensor/core.h"

void tlvi_parallel_for(tlv_ctx *c, int64_t n, int64_t cost, tlvi_chunk_fn fn, void *arg)
{
    (void)c;
    (void)cost;
    for (int64_t i = 0; i < n; i++) fn(arg, i, 0);
}

int tlvi_cpu_count(void) { return 1; }

tlvi_team *tlvi_team_open(tlv_ctx *c, int n_threads)
{
    (void)c;
    (void)n_threads;
    return NULL;
}

void tlvi_team_close(tlvi_team *t) { (void)t; }

void tlvi_lock_take(tlvi_lock *l) { (void)l; }
void tlvi_lock_drop(tlvi_lock *l) { (void)l; }
