/* benchlib.c -- cases in processes of their own, chosen by CASES */
#include "tests/benchlib.h"

#include <regex.h>
#include <signal.h>
#include <sys/wait.h>

#include "tests/benchtime.h"

bench bench_open(void)
{
    const char *threads = getenv("THREADS");
    bench b = { .threads = threads && atoi(threads) > 0 ? atoi(threads) : 1 };
    return b;
}

int bench_close(bench *b)
{
    return b->failed > 0;
}

static int wanted(const char *name)
{
    const char *only = getenv("BENCH_ONLY"), *cases = getenv("CASES");
    if (only) return strcmp(only, name) == 0;
    if (!cases || !*cases) return 1;
    regex_t re;
    if (regcomp(&re, cases, REG_EXTENDED | REG_NOSUB) != 0) {
        fprintf(stderr, "bench: CASES=%s is no extended regular expression\n", cases);
        exit(2);
    }
    int match = regexec(&re, name, 0, NULL, 0) == 0;
    regfree(&re);
    return match;
}

static int run_here(bench *b, bench_case_fn fn, const void *arg)
{
    bench_context(b, (tlv_ctx_opts){ 0 });
    fn(b, arg);
    int failed = tlv_error(b->c) != TLV_OK;
    if (failed)
        fprintf(stderr, "%s: error: %s\n", b->name, b->c ? tlv_error_msg(b->c) : "no memory");
    tlv_ctx_close(b->c);
    return failed;
}

void bench_case(bench *b, const char *name, bench_case_fn fn, const void *arg)
{
    if (!wanted(name)) return;
    if (getenv("BENCH_LIST")) {
        puts(name);
        return;
    }
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        b->name = name;
        int failed = run_here(b, fn, arg);
        fflush(NULL);
        _exit(failed);
    }
    int status = 1;
    if (child < 0 || waitpid(child, &status, 0) != child || status != 0) {
        fprintf(stderr, "%s: failed (status %d)\n", name, status);
        b->failed++;
    }
}

/* Only while calls are timed: programs that take turns must not see each other's neighbour. */
static void neighbour(int begins)
{
    static pid_t child;
    if (begins) {
        child = fork();
        if (child == 0)
            for (volatile unsigned i = 0;;) i = i + 1;
    } else if (child > 0) {
        kill(child, SIGKILL);
        waitpid(child, NULL, 0);
    }
}

typedef struct timed { bench *b; bench_body_fn body; void *arg; } timed;

static void call_body(void *arg)
{
    const timed *t = arg;
    t->body(t->b->c, t->arg);
}

void bench_time(bench *b, double work, const char *unit, bench_body_fn body, void *arg)
{
    timed t = { b, body, arg };
    char peer[64];
    if (tlv_error(b->c)) return;
    snprintf(peer, sizeof peer, "tlvision-%s", tlv_isa(b->c));
    bench_rss = b->rss;
    bench_beside = b->contended ? neighbour : NULL;
    bench_run(b->name, peer, tlv_threads(b->c), work, unit, call_body, &t, b->note);
}

void bench_context(bench *b, tlv_ctx_opts o)
{
    tlv_ctx_close(b->c);
    o.threads = b->threads;
    b->c = tlv_ctx_open(&o);
    if (!b->c) exit(3);
}

tlv_tensor *bench_tensor(bench *b, const char *what, tlv_shape s)
{
    tlv_tensor *u = tlv_rand(b->c, TLV_F32, s, tlv_rng_stream(b->c, what));
    return tlv_affine(b->c, u, 1, -0.5);
}

tlv_tensor *bench_leaf(bench *b, const char *what, tlv_shape s)
{
    return tlv_leaf(b->c, bench_tensor(b, what, s));
}
