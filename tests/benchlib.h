/* benchlib.h -- for bench programs (tests/bench_NAME.c, picked up by make bench).
 *
 * A program names its cases; each case that CASES asks for runs in a process of its own, with a
 * context of its own, so that its peak of memory is its own too:
 *
 *     static void body(tlv_ctx *c, void *arg) { ... }                  what is timed
 *     static void a_case(bench *b, const void *arg)                    makes tensors in b->c
 *     {
 *         ...
 *         bench_time(b, gflop, "GFLOP/s", body, &data);
 *     }
 *     int main(void)
 *     {
 *         bench b = bench_open();
 *         bench_case(&b, "sq1024", a_case, &shape);
 *         return bench_close(&b);
 *     }
 *
 * Environment: CASES (extended regular expression, of a part of the name), THREADS (default 1),
 * BENCH_LIST=1 (print the names, run nothing), and that of benchtime.h.  Nothing here is a test. */
#ifndef BENCHLIB_H
#define BENCHLIB_H

#include "tlvision.h"

typedef struct bench {
    tlv_ctx *c;                     /* of the case at work */
    const char *name;               /* of the case at work */
    char note[128];                 /* at the end of its lines */
    int threads;
    int rss;                        /* 1: its lines tell the peak of memory */
    int contended;                  /* 1: another process keeps a core busy while it is timed */
    int failed;                     /* cases that ended with an error */
} bench;

typedef void (*bench_case_fn)(bench *b, const void *arg);
typedef void (*bench_body_fn)(tlv_ctx *c, void *arg);

bench bench_open(void);
int bench_close(bench *b);          /* what main returns */

/* Runs fn(b, arg) in a child process if CASES wants the name. */
void bench_case(bench *b, const char *name, bench_case_fn fn, const void *arg);

/* Inside a case: times body(b->c, arg); work a call and its unit make the rate. */
void bench_time(bench *b, double work, const char *unit, bench_body_fn body, void *arg);

/* Inside a case, before any tensor: another context, with these options and b->threads. */
void bench_context(bench *b, tlv_ctx_opts o);

/* Row-major f32 between -0.5 and 0.5; the same numbers for the same name and place. */
tlv_tensor *bench_tensor(bench *b, const char *what, tlv_shape s);
/* The same as a leaf that wants a gradient. */
tlv_tensor *bench_leaf(bench *b, const char *what, tlv_shape s);

#endif
