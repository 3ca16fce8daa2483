/* bench_contention.c -- what a busy neighbour costs: the same work on a quiet machine and beside a
 * process that keeps one core busy, by turns.  One line a case:
 *   case, peer, threads, median_ms, rate, unit, min_ms, max_ms, runs
 * The rate of the line `beside` is how many times longer its median takes than the quiet one's. On
 * two cores a loop that loses no time needs 1.5 times as long: three threads share them.
 *
 * CASES picks by a part of the name; THREADS (default 2). */
#define _POSIX_C_SOURCE 200809L
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tlvision.h"

enum { ROUNDS = 4, MOST_RUNS = 400, BUDGET_MS = 350 };

typedef struct work {
    tlv_ctx *c;
    tlv_model *m;
    tlv_optim *opt;
    tlv_run run;
    const tlv_tensor *a, *b, *x, *y, *small;
} work;

/* ---- work ------------------------------------------------------------------------------------ */

static void product(const work *w)
{
    tlv_scope s = tlv_scope_begin_with(w->c, TLV_NO_GRAD);
    tlv_matmul(w->c, w->a, w->b, (tlv_matmul_opts){ 0 });
    tlv_scope_end(w->c, s);
}

static void training(const work *w)
{
    tlv_scope s = tlv_scope_begin(w->c);
    tlv_tensor *loss = tlv_cross_entropy(w->c, tlv_model_forward(&w->run, w->m, w->x), w->y,
                                         (tlv_ce_opts){ 0 });
    tlv_optim_step(w->c, w->opt, tlv_model_params(w->m),
                   tlv_params_grad(w->c, loss, tlv_model_params(w->m), 0));
    tlv_scope_end(w->c, s);
}

/* Ops of some tens of microseconds: the wake-up shows. */
static void middling(const work *w)
{
    tlv_scope s = tlv_scope_begin_with(w->c, TLV_NO_GRAD);
    for (int i = 0; i < 100; i++) tlv_exp(w->c, w->small);
    tlv_scope_end(w->c, s);
}

static void open_work(work *w)
{
    tlv_ctx *c = w->c;
    tlv_rng_key key = tlv_rng_stream(c, "work");
    w->a = tlv_rand(c, TLV_F32, TLV_SHAPE(1024, 1024), key);
    w->b = tlv_rand(c, TLV_F32, TLV_SHAPE(1024, 1024), key);
    w->small = tlv_rand(c, TLV_F32, TLV_SHAPE(64, 1024), key);
    w->m = tlv_model_open(c, "resnet18", (tlv_model_opts){ .classes = 10 });
    if (!w->m) return;
    w->opt = tlv_sgd_open(c, tlv_model_params(w->m), (tlv_sgd_opts){ .lr = 0.01 });
    w->run = tlv_model_run(c, w->m, TLV_TRAIN);
    w->x = tlv_to_order(c, tlv_rand(c, TLV_F32, TLV_SHAPE(4, 3, 96, 96), key), TLV_CHANNELS_LAST);
    w->y = tlv_zeros(c, TLV_I32, TLV_SHAPE(4));
}

/* ---- measuring ------------------------------------------------------------------------------- */

static double now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return 1e3 * (double)t.tv_sec + 1e-6 * (double)t.tv_nsec;
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static pid_t neighbour(void)
{
    pid_t pid = fork();
    if (pid == 0)
        for (volatile unsigned i = 0;; i++) {}
    return pid;
}

typedef struct times { double ms[MOST_RUNS]; int n; } times;

static void measure(times *t, const work *w, void (*body)(const work *))
{
    double end = now_ms() + BUDGET_MS;
    body(w);
    for (int i = 0; t->n < MOST_RUNS && (i < 3 || now_ms() < end); i++) {
        double start = now_ms();
        body(w);
        t->ms[t->n++] = now_ms() - start;
    }
}

static double report(const char *name, const char *how, times *t, double quiet, int threads,
                     const char *isa)
{
    qsort(t->ms, (size_t)t->n, sizeof *t->ms, ascending);
    double median = t->ms[t->n / 2];
    printf("contention_%s_%s, tlvision-%s, %d, %.4f, %.3f, times quiet, %.4f, %.4f, %d\n", name,
           how, isa, threads, median, quiet > 0 ? median / quiet : 1.0, t->ms[0],
           t->ms[t->n - 1], t->n);
    fflush(stdout);
    return median;
}

static void run_case(const work *w, const char *only, const char *name, void (*body)(const work *))
{
    static times quiet, beside;
    if (only && !strstr("contention", only) && !strstr(name, only)) return;
    quiet.n = beside.n = 0;
    for (int round = 0; round < ROUNDS; round++) {
        measure(&quiet, w, body);
        pid_t pid = neighbour();
        if (pid < 0) return;
        measure(&beside, w, body);
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
    }
    double median = report(name, "quiet", &quiet, 0, tlv_threads(w->c), tlv_isa(w->c));
    report(name, "beside", &beside, median, tlv_threads(w->c), tlv_isa(w->c));
}

int main(void)
{
    const char *threads = getenv("THREADS"), *only = getenv("CASES");
    int n = threads && atoi(threads) > 0 ? atoi(threads) : 2;
    if (only && !only[0]) only = NULL;
    work w = { .c = tlv_ctx_open(&(tlv_ctx_opts){ .threads = n }) };
    tlv_scope s = tlv_scope_begin(w.c);
    open_work(&w);
    run_case(&w, only, "gemm1024", product);
    run_case(&w, only, "resnet18_train", training);
    run_case(&w, only, "exp64k_x100", middling);
    int failed = tlv_error(w.c) != TLV_OK;
    if (failed) fprintf(stderr, "error: %s\n", tlv_error_msg(w.c));
    tlv_optim_close(w.opt);
    tlv_scope_end(w.c, s);
    tlv_model_close(w.m);
    tlv_ctx_close(w.c);
    return failed;
}
