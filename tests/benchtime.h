/* benchtime.h -- the one clock of every bench: ours, and programs of the peers, which are compiled
 * with this file in front of their own bench.h (it has the same names, and that one stands down).
 *
 * bench_run warms a case up, times it and prints one line:
 *   case, peer, threads, median_ms, rate, unit, min_ms, max_ms, runs[, note][, disturbed]
 * disturbed: other processes took more than 15 % of a core meanwhile.  Environment:
 *   BENCH_BUDGET    seconds a case (default 0.35)
 *   BENCH_ONLY      the one case to run, by its whole name
 *   BENCH_NOWAIT    1: do not wait until the machine is quiet
 *   BENCH_SESSION   1: warm up, print "ready", then obey lines of standard input: "go SECONDS MIN
 *                   MAX" times that many runs and prints a line; "end" goes on.  So a driver can
 *                   let two programs take turns, both warm.
 * Header only, C11 and C++11. */
#ifndef BENCHTIME_H
#define BENCHTIME_H
#define PEERS_BENCH_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#if defined(__GNUC__)
#define BENCH_USED __attribute__((unused)) static
#else
#define BENCH_USED static
#endif

typedef void (*bench_fn)(void *);

enum { BENCH_MAX_RUNS = 200 };

/* 1: every line carries the peak of the process's memory as a note. */
BENCH_USED int bench_rss = 0;
/* Called with 1 before a burst of calls is timed and with 0 after it, or NULL. */
BENCH_USED void (*bench_beside)(int begins) = 0;

BENCH_USED double bench_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

BENCH_USED double bench_own(int who)
{
    struct rusage u;
    if (getrusage(who, &u) != 0) return 0;
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec)
           + 1e-6 * (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec);
}

/* Busy seconds of all cores, stolen time included, less our own; 0 where /proc does not tell. */
BENCH_USED double bench_others(void)
{
    unsigned long v[8] = { 0 };
    FILE *f = fopen("/proc/stat", "r");
    int n = f ? fscanf(f, "cpu %lu %lu %lu %lu %lu %lu %lu %lu", v, v + 1, v + 2, v + 3, v + 4,
                       v + 5, v + 6, v + 7) : 0;
    if (f) fclose(f);
    if (n != 8) return 0;
    double busy = (double)(v[0] + v[1] + v[2] + v[5] + v[6] + v[7]) / (double)sysconf(_SC_CLK_TCK);
    return busy - bench_own(RUSAGE_SELF) - bench_own(RUSAGE_CHILDREN);
}

/* Waits, at most 10 s, until others use less than a quarter of a core. */
BENCH_USED void bench_quiet(void)
{
    if (getenv("BENCH_NOWAIT")) return;
    for (int i = 0; i < 100; i++) {
        struct timespec tenth = { 0, 100000000 };
        double before = bench_others();
        nanosleep(&tenth, NULL);
        if (bench_others() - before < 0.025) return;
    }
}

/* The most memory this process ever had, in MB (Linux); 0 if unknown. */
BENCH_USED double bench_peak_mb(void)
{
    char line[128];
    double kb = 0;
    FILE *f = fopen("/proc/self/status", "r");
    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, "VmHWM: %lf", &kb) == 1) break;
    if (f) fclose(f);
    return kb / 1024;
}

BENCH_USED int bench_cmp(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

/* What is known of a case once it is warm. */
typedef struct bench_warmed {
    const char *name, *peer, *unit, *note;
    int threads;
    double work, one;               /* work a call; seconds a call, about */
    long inner;                     /* calls that are timed together */
    bench_fn fn;
    void *arg;
} bench_warmed;

/* Times `budget` seconds of calls, but between min and max of them, and prints the line. */
BENCH_USED void bench_burst(const bench_warmed *w, double budget, int min, int max)
{
    double r[BENCH_MAX_RUNS], note_mb = 0;
    int runs = (int)(budget / (w->one * (double)w->inner));
    if (runs > max) runs = max;
    if (runs < min) runs = min;
    if (runs > BENCH_MAX_RUNS) runs = BENCH_MAX_RUNS;
    if (runs < 1) runs = 1;
    if (w->one < 0.3) w->fn(w->arg);                // caches hold the neighbour's data
    if (bench_beside) bench_beside(1);
    double others = bench_others(), wall = bench_now();
    for (int i = 0; i < runs; i++) {
        double t = bench_now();
        for (long k = 0; k < w->inner; k++) w->fn(w->arg);
        r[i] = (bench_now() - t) / (double)w->inner;
    }
    if (bench_beside) bench_beside(0);
    others = bench_others() - others;
    wall = bench_now() - wall;
    qsort(r, (size_t)runs, sizeof r[0], bench_cmp);
    double median = r[runs / 2];
    printf("%s, %s, %d, %.6f, %.5g, %s, %.6f, %.6f, %d", w->name, w->peer, w->threads, median * 1e3,
           w->work / median, w->unit, r[0] * 1e3, r[runs - 1] * 1e3, runs);
    if (w->note && *w->note) printf(", %s", w->note);
    if (bench_rss) note_mb = bench_peak_mb();
    if (note_mb > 0) printf(", peak_rss_mb=%.1f", note_mb);
    printf("%s\n", others > 0.05 && others > 0.15 * wall ? ", disturbed" : "");
    fflush(stdout);
}

/* Seconds a call, after at least one call to warm up. */
BENCH_USED double bench_warm(bench_fn fn, void *arg)
{
    double t = bench_now();
    fn(arg);
    double one = bench_now() - t;
    if (one > 1) return one;
    t = bench_now();
    fn(arg);
    one = bench_now() - t;
    if (one > 2e-4) return one;
    long n = (long)(2e-4 / (one + 1e-9)) + 1;
    t = bench_now();
    for (long k = 0; k < n; k++) fn(arg);
    return (bench_now() - t) / (double)n;
}

/* work: GFLOP (unit GFLOP/s) or whatever else a call does. */
BENCH_USED void bench_run(const char *name, const char *peer, int threads, double work,
                          const char *unit, bench_fn fn, void *arg, const char *note)
{
    const char *only = getenv("BENCH_ONLY"), *budget = getenv("BENCH_BUDGET");
    if (only && strcmp(only, name)) return;
    bench_warmed w;
    memset(&w, 0, sizeof w);
    w.name = name, w.peer = peer, w.threads = threads, w.work = work, w.unit = unit;
    w.fn = fn, w.arg = arg, w.note = note;
    w.one = bench_warm(fn, arg);
    w.inner = w.one < 1e-3 ? (long)(1e-3 / (w.one + 1e-9)) + 1 : 1;
    if (!getenv("BENCH_SESSION")) {
        bench_quiet();
        bench_burst(&w, budget ? atof(budget) : 0.35, 5, BENCH_MAX_RUNS);
        return;
    }
    char line[128];
    double seconds;
    int min, max;
    puts("ready");
    fflush(stdout);
    while (fgets(line, sizeof line, stdin) && strncmp(line, "end", 3))
        if (sscanf(line, "go %lf %d %d", &seconds, &min, &max) == 3)
            bench_burst(&w, seconds, min, max);
}

/* n floats between -0.5 and 0.5. */
BENCH_USED float *bench_buf(size_t n)
{
    size_t bytes = (n * 4 + 255) / 64 * 64;
    float *p = (float *)aligned_alloc(64, bytes);
    unsigned s = 12345u;
    if (!p) exit(3);
    for (size_t i = 0; i < bytes / 4; i++) {
        s = s * 1664525u + 1013904223u;
        p[i] = (float)(s >> 8) * (1.0f / 16777216.0f) - 0.5f;
    }
    return p;
}

#endif
