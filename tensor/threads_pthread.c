/* threads_pthread.c -- the back end with a team of its own on pthreads; the usual one.
 *
 * A loop is published by one store to `ticket`, which holds the loop's number and how many tickets
 * are left.  A thread claims a ticket by compare-and-swap on both, so that one that comes late
 * finds either nothing left or a newer loop, and never touches one that is over; and a thread
 * reads what the loop is only while it holds a ticket.  Threads report what they did once, when
 * they find nothing left.  The caller works too, and then waits for the reports of those that hold
 * tickets: one that never woke is not waited for.  Waiting is a bounded spin, then sleep. */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <time.h>
#include <unistd.h>

#include "tensor/core.h"

enum {
    SPIN_NS = 200000,               /* then a waiting thread sleeps; to wake it takes as long */
    SMALL_NS = 20000,               /* less work stays on the calling thread */
    TICKET_NS = 2000,               /* cheap chunks are taken several at a time, up to this long */
    LEFT_BITS = 24,                 /* of `ticket`: how many are left; above: the loop's number */
    CACHE_LINE = 64,
    STACK_LEAST = 2 << 20           /* some systems give less; callbacks of users run on it */
};
#define LEFT_MASK ((UINT64_C(1) << LEFT_BITS) - 1)

typedef struct worker {
    tlvi_team *team;
    pthread_t thread;
    int index;                      /* 1 ..; the caller is 0 */
} worker;

struct tlvi_team {
    _Alignas(CACHE_LINE) _Atomic uint64_t ticket;
    _Alignas(CACHE_LINE) _Atomic int64_t done;      /* tickets reported in this loop */

    /* The loop: written while nobody holds a ticket. */
    _Alignas(CACHE_LINE) tlvi_chunk_fn fn;
    void *arg;
    int64_t n, n_tickets, per_ticket;
    int busy;                       /* a loop runs; what is called inside is serial */

    pthread_mutex_t lock;
    pthread_cond_t wake, finished;
    _Atomic int sleepers, caller_sleeps, quit;

    tlv_ctx *c;
    size_t bytes;
    int n_workers;
    worker workers[];
};

/* ---- waiting --------------------------------------------------------------------------------- */

static void pause_a_little(void)
{
    for (int i = 0; i < 16; i++) {
#if defined(__x86_64__) || defined(__i386__)
        __builtin_ia32_pause();
#elif defined(__aarch64__)
        __asm__ __volatile__("yield");
#endif
    }
}

static int64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* Spins until pred(t) or the time is over; returns pred. */
static int spin_until(tlvi_team *t, int (*pred)(tlvi_team *))
{
    if (pred(t)) return 1;
    int64_t end = now_ns() + SPIN_NS;
    do {
        pause_a_little();
        if (pred(t)) return 1;
    } while (now_ns() < end);
    return 0;
}

static int is_work_or_quit(tlvi_team *t)
{
    return (atomic_load(&t->ticket) & LEFT_MASK) != 0 || atomic_load(&t->quit);
}

static int is_finished(tlvi_team *t) { return atomic_load(&t->done) == t->n_tickets; }

/* ---- the loop -------------------------------------------------------------------------------- */

/* Takes tickets until none is left; returns how many. */
static int64_t work(tlvi_team *t, int index)
{
    int64_t mine = 0;
    uint64_t seen = atomic_load_explicit(&t->ticket, memory_order_acquire);
    while (seen & LEFT_MASK) {
        if (!atomic_compare_exchange_weak_explicit(&t->ticket, &seen, seen - 1,
                                                   memory_order_acq_rel, memory_order_acquire))
            continue;
        int64_t i = (t->n_tickets - (int64_t)(seen & LEFT_MASK)) * t->per_ticket;
        int64_t end = i + t->per_ticket < t->n ? i + t->per_ticket : t->n;
        for (; i < end; i++) t->fn(t->arg, i, index);
        mine++;
        seen = atomic_load_explicit(&t->ticket, memory_order_acquire);
    }
    return mine;
}

/* After this the thread holds no ticket, and the loop may be over. */
static void report(tlvi_team *t, int64_t mine)
{
    atomic_fetch_add(&t->done, mine);
    if (!atomic_load(&t->caller_sleeps)) return;
    pthread_mutex_lock(&t->lock);
    pthread_cond_signal(&t->finished);
    pthread_mutex_unlock(&t->lock);
}

static void *worker_main(void *arg)
{
    worker *w = arg;
    tlvi_team *t = w->team;
    while (!atomic_load(&t->quit)) {
        int64_t mine = work(t, w->index);
        if (mine) report(t, mine);
        if (spin_until(t, is_work_or_quit)) continue;

        // The publisher looks at sleepers after its store, so one of the two sees the other.
        pthread_mutex_lock(&t->lock);
        atomic_fetch_add(&t->sleepers, 1);
        while (!is_work_or_quit(t)) pthread_cond_wait(&t->wake, &t->lock);
        atomic_fetch_sub(&t->sleepers, 1);
        pthread_mutex_unlock(&t->lock);
    }
    return NULL;
}

static void wake_sleepers(tlvi_team *t, int64_t at_most)
{
    if (at_most <= 0 || atomic_load(&t->sleepers) == 0) return;
    pthread_mutex_lock(&t->lock);
    if (at_most >= atomic_load(&t->sleepers)) pthread_cond_broadcast(&t->wake);
    else while (at_most-- > 0) pthread_cond_signal(&t->wake);
    pthread_mutex_unlock(&t->lock);
}

static void wait_for_workers(tlvi_team *t)
{
    if (spin_until(t, is_finished)) return;
    pthread_mutex_lock(&t->lock);
    atomic_store(&t->caller_sleeps, 1);
    while (!is_finished(t)) pthread_cond_wait(&t->finished, &t->lock);
    atomic_store(&t->caller_sleeps, 0);
    pthread_mutex_unlock(&t->lock);
}

static int64_t chunks_per_ticket(int64_t n, int64_t cost, int threads)
{
    int64_t per = 1;
    if (cost > 0 && cost < TICKET_NS) {
        per = TICKET_NS / cost;
        int64_t fair = n / (8 * (int64_t)threads);
        if (per > fair) per = fair > 1 ? fair : 1;
    }
    int64_t most = (int64_t)(LEFT_MASK / 16);
    return n / per > most ? n / most + 1 : per;
}

static void run(tlvi_team *t, int64_t n, int64_t cost, tlvi_chunk_fn fn, void *arg)
{
    t->busy = 1;
    t->fn = fn;
    t->arg = arg;
    t->n = n;
    t->per_ticket = chunks_per_ticket(n, cost, t->n_workers + 1);
    t->n_tickets = (n - 1) / t->per_ticket + 1;
    atomic_store_explicit(&t->done, 0, memory_order_relaxed);

    uint64_t loop = (atomic_load_explicit(&t->ticket, memory_order_relaxed) >> LEFT_BITS) + 1;
    atomic_store(&t->ticket, loop << LEFT_BITS | (uint64_t)t->n_tickets);
    wake_sleepers(t, t->n_tickets - 1);

    int64_t mine = work(t, 0);
    if (atomic_fetch_add(&t->done, mine) + mine != t->n_tickets) wait_for_workers(t);
    t->busy = 0;
}

/* Which of the team the calling thread is, inside a chunk. */
static int self_index(const tlvi_team *t)
{
    pthread_t self = pthread_self();
    for (int i = 0; i < t->n_workers; i++)
        if (pthread_equal(self, t->workers[i].thread)) return t->workers[i].index;
    return 0;
}

void tlvi_parallel_for(tlv_ctx *c, int64_t n, int64_t cost, tlvi_chunk_fn fn, void *arg)
{
    int large = n > 1 && (cost <= 0 || c->split_small || n > SMALL_NS / cost);
    if (large && c->n_threads > 1 && !c->is_child) {
        if (!c->team) c->team = tlvi_team_open(c, c->n_threads);
        if (c->team && c->team->n_workers > 0 && !c->team->busy) {
            run(c->team, n, cost, fn, arg);
            return;
        }
    }
    int index = c->team && c->team->busy ? self_index(c->team) : 0;
    for (int64_t i = 0; i < n; i++) fn(arg, i, index);
}

/* ---- the team -------------------------------------------------------------------------------- */

/* Starts n workers, or as many as there can be. */
static void start_workers(tlvi_team *t, int n)
{
    pthread_attr_t attr;
    if (pthread_attr_init(&attr) != 0) return;
    size_t stack = 0;
    if (pthread_attr_getstacksize(&attr, &stack) == 0 && stack < STACK_LEAST)
        pthread_attr_setstacksize(&attr, STACK_LEAST);

    // Signals are for the program's own threads: workers start with all of them blocked.
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    for (int i = 0; i < n; i++) {
        worker *w = &t->workers[i];
        w->team = t;
        w->index = i + 1;
        if (pthread_create(&w->thread, &attr, worker_main, w) != 0) break;
        t->n_workers = i + 1;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attr);
}

tlvi_team *tlvi_team_open(tlv_ctx *c, int n_threads)
{
    if (n_threads < 1) n_threads = 1;
    size_t bytes = sizeof(tlvi_team) + (size_t)(n_threads - 1) * sizeof(worker);
    tlvi_team *t = tlvi_pool_get(c->pool, bytes);
    if (!t) return NULL;

    memset(t, 0, bytes);
    t->c = c;
    t->bytes = bytes;
    if (pthread_mutex_init(&t->lock, NULL) != 0) goto no_lock;
    if (pthread_cond_init(&t->wake, NULL) != 0) goto no_wake;
    if (pthread_cond_init(&t->finished, NULL) != 0) goto no_finished;

    start_workers(t, n_threads - 1);
    return t;

no_finished:
    pthread_cond_destroy(&t->wake);
no_wake:
    pthread_mutex_destroy(&t->lock);
no_lock:
    tlvi_pool_put(c->pool, t, bytes);
    return NULL;
}

void tlvi_team_close(tlvi_team *t)
{
    if (!t) return;
    atomic_store(&t->quit, 1);
    pthread_mutex_lock(&t->lock);
    pthread_cond_broadcast(&t->wake);
    pthread_mutex_unlock(&t->lock);
    for (int i = 0; i < t->n_workers; i++) pthread_join(t->workers[i].thread, NULL);

    pthread_cond_destroy(&t->finished);
    pthread_cond_destroy(&t->wake);
    pthread_mutex_destroy(&t->lock);
    tlvi_pool_put(t->c->pool, t, t->bytes);
}

/* ---- small things ---------------------------------------------------------------------------- */

int tlvi_cpu_count(void)
{
#if defined(__linux__)
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0 && CPU_COUNT(&set) > 0) return CPU_COUNT(&set);
#endif
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    return n > 0 ? (int)n : 1;
}

void tlvi_lock_take(tlvi_lock *l)
{
    for (int tries = 0; __atomic_exchange_n(&l->state, 1, __ATOMIC_ACQUIRE); tries++) {
        if (tries < 8) pause_a_little();
        else sched_yield();
    }
}

void tlvi_lock_drop(tlvi_lock *l) { __atomic_store_n(&l->state, 0, __ATOMIC_RELEASE); }
