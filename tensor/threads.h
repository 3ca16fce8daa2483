/* threads.h -- one loop over chunks, on one of three back ends chosen at build time
 * (threads_pthread.c, threads_openmp.c, threads_serial.c). */
#ifndef TLVI_THREADS_H
#define TLVI_THREADS_H

#include "tensor/tensor.h"

typedef struct tlvi_team tlvi_team;

/* Does chunk i.  worker is 0 .. threads-1: for scratch memory, never for results. */
typedef void (*tlvi_chunk_fn)(void *arg, int64_t i, int worker);

/* Runs chunks 0 .. n-1 in any order and returns when all are done.  The first call makes the team.
 * Serial inside a running chunk, with one thread, and when the work is small: cost is about how
 * many nanoseconds one chunk takes (0: unknown, large), and work under 20 us stays on this
 * thread. */
void tlvi_parallel_for(tlv_ctx *c, int64_t n, int64_t cost, tlvi_chunk_fn fn, void *arg);

int tlvi_cpu_count(void);                       /* CPUs this process may run on, at least 1 */

/* The team itself: its memory comes from the context's hook.  tlvi_team_open may return NULL, and
 * then everything runs serially. */
tlvi_team *tlvi_team_open(tlv_ctx *c, int n_threads);
void tlvi_team_close(tlvi_team *t);             /* accepts NULL */

/* A lock for what child contexts share with their parent. */
typedef struct tlvi_lock { int state; } tlvi_lock;
void tlvi_lock_take(tlvi_lock *l);
void tlvi_lock_drop(tlvi_lock *l);

#endif
