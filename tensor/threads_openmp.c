/* threads_openmp.c -- the back end on OpenMP: its run-time owns the threads. */
#include <omp.h>
#include <sched.h>

#include "tensor/core.h"

enum { SMALL_NS = 20000 };          /* less work stays on the calling thread */

void tlvi_parallel_for(tlv_ctx *c, int64_t n, int64_t cost, tlvi_chunk_fn fn, void *arg)
{
    int inside = omp_in_parallel();
    int large = n > 1 && (cost <= 0 || c->split_small || n > SMALL_NS / cost);
    if (large && c->n_threads > 1 && !c->is_child && !inside) {
        int threads = n < c->n_threads ? (int)n : c->n_threads;
#pragma omp parallel for schedule(dynamic, 1) num_threads(threads)
        for (int64_t i = 0; i < n; i++) fn(arg, i, omp_get_thread_num());
        return;
    }
    int index = inside && !c->is_child ? omp_get_thread_num() : 0;
    for (int64_t i = 0; i < n; i++) fn(arg, i, index);
}

int tlvi_cpu_count(void)
{
    int n = omp_get_num_procs();
    return n > 0 ? n : 1;
}

tlvi_team *tlvi_team_open(tlv_ctx *c, int n_threads)
{
    (void)c;
    (void)n_threads;
    return NULL;
}

void tlvi_team_close(tlvi_team *t) { (void)t; }

void tlvi_lock_take(tlvi_lock *l)
{
    while (__atomic_exchange_n(&l->state, 1, __ATOMIC_ACQUIRE)) sched_yield();
}

void tlvi_lock_drop(tlvi_lock *l) { __atomic_store_n(&l->state, 0, __ATOMIC_RELEASE); }
