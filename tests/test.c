/* test.c -- the harness behind test.h.  The one struct below is the tests' only global state. */
#include "tests/test.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <stdatomic.h>
#include <sys/stat.h>

enum { MAX_PRINTED = 10 };              /* lines a test; the rest is counted only */

static struct {
    const char *name;                   /* of the running test */
    atomic_int checks, failures;        /* in the running test; tasks on other threads check too */
    int skipped;
    char reason[256];                   /* why it was skipped */
} now;

/* ---- checks ---------------------------------------------------------------------------------- */

/* Counts a check; a failed one prints "file:line: test: what: ...". */
static int count(int ok, const char *file, int line, const char *what, const char *fmt, va_list ap)
{
    atomic_fetch_add(&now.checks, 1);
    if (ok) return 1;

    int failures = atomic_fetch_add(&now.failures, 1) + 1;
    if (failures > MAX_PRINTED) return 0;
    fprintf(stderr, "%s:%d: %s: %s: ", file, line, now.name, what);
    vfprintf(stderr, fmt, ap);
    fputc('\n', stderr);
    if (failures == MAX_PRINTED) fprintf(stderr, "%s: more failures not shown\n", now.name);
    return 0;
}

int test_check(int ok, const char *file, int line, const char *what, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    count(ok, file, line, what, fmt, ap);
    va_end(ap);
    return ok;
}

int test_is_close(double got, double want, double rtol, double atol)
{
    if (isnan(want) || isnan(got)) return isnan(want) && isnan(got);
    if (isinf(want) || isinf(got)) return got == want;
    return fabs(got - want) <= atol + rtol * fabs(want);
}

int test_check_close(double got, double want, double rtol, double atol, const char *file, int line,
                     const char *what)
{
    return test_check(test_is_close(got, want, rtol, atol), file, line, what,
                      "got %.17g, want %.17g (difference %.3g, allowed %.3g)", got, want,
                      fabs(got - want), atol + rtol * fabs(want));
}

int test_check_int(long long got, long long want, const char *file, int line, const char *what)
{
    return test_check(got == want, file, line, what, "got %lld, want %lld", got, want);
}

int test_check_str(const char *got, const char *want, const char *file, int line, const char *what)
{
    int ok = got && want ? strcmp(got, want) == 0 : got == want;
    return test_check(ok, file, line, what, "got \"%s\", want \"%s\"", got ? got : "(null)",
                      want ? want : "(null)");
}

int test_check_status(tlv_status got, tlv_status want, const char *file, int line, const char *what)
{
    return test_check(got == want, file, line, what, "got %s, want %s", tlv_status_name(got),
                      tlv_status_name(want));
}

int test_check_ok(const tlv_ctx *c, const char *file, int line)
{
    return test_check(tlv_error(c) == TLV_OK, file, line, "no error", "%s: %s",
                      tlv_status_name(tlv_error(c)), tlv_error_msg(c));
}

int test_check_error(tlv_ctx *c, tlv_status code, const char *part, const char *file, int line)
{
    tlv_status got = tlv_error(c);
    const char *msg = tlv_error_msg(c);
    int ok = test_check(got == code, file, line, "error", "got %s (%s), want %s",
                        tlv_status_name(got), msg, tlv_status_name(code));
    if (ok)
        ok = test_check(strstr(msg, part) != NULL, file, line, "error sentence",
                        "\"%s\" does not contain \"%s\"", msg, part);
    tlv_error_clear(c);
    return ok;
}

void test_skip(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(now.reason, sizeof now.reason, fmt, ap);
    va_end(ap);
    now.skipped = 1;
}

int test_failures(void) { return now.failures; }

/* ---- files ----------------------------------------------------------------------------------- */

static const char *env_or(const char *name, const char *otherwise)
{
    const char *v = getenv(name);
    return v && *v ? v : otherwise;
}

static int exists(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0;
}

int test_data_path(char *buf, size_t n, const char *name)
{
    const char *dir = env_or("TLV_DATA", "../shared/data");
    int len = snprintf(buf, n, "%s/%s", dir, name);
    if (!EXPECT(len >= 0 && (size_t)len < n, "no room for the path of %s", name)) return 0;

    if (!exists(dir)) {
        test_skip("no data folder %s (TLV_DATA)", dir);
        return 0;
    }
    return EXPECT(exists(buf), "the data folder is there, but %s is not", buf);
}

int test_file_path(char *buf, size_t n, const char *name)
{
    int len = snprintf(buf, n, "%s/%s", env_or("TLV_TESTS", "tests"), name);
    if (!EXPECT(len >= 0 && (size_t)len < n, "no room for the path of %s", name)) return 0;
    return EXPECT(exists(buf), "%s is missing; run the tests in the project's folder", buf);
}

int test_temp_path(char *buf, size_t n, const char *name)
{
    const char *dir = env_or("TLV_TMP", "build/tmp");
    int made = mkdir(dir, 0777) == 0 || errno == EEXIST;
    if (!EXPECT(made, "%s: %s", dir, strerror(errno))) return 0;

    int len = snprintf(buf, n, "%s/%s-%s", dir, now.name, name);
    if (!EXPECT(len >= 0 && (size_t)len < n, "no room for the path of %s", name)) return 0;
    remove(buf);
    return 1;
}

/* ---- running --------------------------------------------------------------------------------- */

typedef enum outcome { PASSED, FAILED, SKIPPED } outcome;

static outcome run_one(const test_case *t)
{
    memset(&now, 0, sizeof now);
    now.name = t->name;
    t->fn();

    if (now.failures) {
        fprintf(stderr, "FAILED %s (%d of %d checks)\n", t->name, (int)now.failures,
                (int)now.checks);
        return FAILED;
    }
    if (now.skipped) {
        fprintf(stderr, "skipped %s: %s\n", t->name, now.reason);
        return SKIPPED;
    }
    if (!now.checks) {
        fprintf(stderr, "FAILED %s: it made no check\n", t->name);
        return FAILED;
    }
    return PASSED;
}

/* "tests/test_pool.c" -> "test_pool" */
static void program_name(const char *file, char *buf, size_t n)
{
    const char *slash = strrchr(file, '/');
    snprintf(buf, n, "%s", slash ? slash + 1 : file);
    char *dot = strrchr(buf, '.');
    if (dot) *dot = '\0';
}

int test_main(int argc, char **argv, const char *file, const test_case *cases, size_t n)
{
    char name[128];
    program_name(file, name, sizeof name);
    const char *filter = argc > 1 ? argv[1] : "";
    if (argc > 2) {
        fprintf(stderr, "usage: %s [FILTER | --list]\n", name);
        return 2;
    }
    if (strcmp(filter, "--list") == 0) {
        for (size_t i = 0; i < n; i++) puts(cases[i].name);
        return 0;
    }

    int total[3] = { 0 };
    for (size_t i = 0; i < n; i++)
        if (strstr(cases[i].name, filter)) total[run_one(&cases[i])]++;

    fflush(stderr);
    printf("%s: %d passed, %d failed, %d skipped\n", name, total[PASSED], total[FAILED],
           total[SKIPPED]);
    if (!total[PASSED] && !total[FAILED] && !total[SKIPPED])
        fprintf(stderr, "%s: no test is named like \"%s\"\n", name, filter);
    return total[FAILED] || !(total[PASSED] || total[SKIPPED]);
}
