/* test.h -- the test harness: checks, skips, a table of tests a program, and the data folder.
 *
 *     #include "tests/test.h"
 *
 *     static void test_adds(void)
 *     {
 *         EXPECT(1 + 1 == 2, "arithmetic is broken on %s", "Tuesdays");
 *         EXPECT_CLOSE(0.1 + 0.2, 0.3, 1e-12, 0.0);
 *     }
 *
 *     TEST_MAIN(T(test_adds))
 *
 * A failed check prints one line and the test goes on; REQUIRE and SKIP return from the test
 * function, so they stand in it and not in its helpers.  A test without a single check counts as
 * failed: a test that cannot fail is a defect.  `prog FILTER` runs the tests whose name contains
 * FILTER, `prog --list` names them. Checks may be made from one thread only.  Helpers that know
 * tensors are in tests/support.h. */
#ifndef TLV_TESTS_TEST_H
#define TLV_TESTS_TEST_H

#include <stddef.h>
#include <stdlib.h>

#include "tensor/tensor.h"

typedef struct test_case {
    const char *name;
    void (*fn)(void);
} test_case;

/* The program's main: T(fn) for each test, in the order they run. */
#define T(fn) { #fn, fn }
#define TEST_MAIN(...)                                                                             \
    int main(int argc, char **argv)                                                                \
    {                                                                                              \
        static const test_case cases[] = { __VA_ARGS__ };                                          \
        return test_main(argc, argv, __FILE__, cases, sizeof cases / sizeof cases[0]);             \
    }

/* One check.  The format, with its arguments, says what came and what was wanted. */
#define EXPECT(cond, ...) test_check((cond) ? 1 : 0, __FILE__, __LINE__, #cond, __VA_ARGS__)

/* |got - want| <= atol + rtol |want|; a NaN is close to a NaN only, an infinity to itself only. */
#define EXPECT_CLOSE(got, want, rtol, atol)                                                        \
    test_check_close(got, want, rtol, atol, __FILE__, __LINE__, #got)

/* Integers, and pointers cast to them. */
#define EXPECT_INT(got, want)                                                                      \
    test_check_int((long long)(got), (long long)(want), __FILE__, __LINE__, #got)

/* Strings; NULL equals NULL only. */
#define EXPECT_STR(got, want) test_check_str(got, want, __FILE__, __LINE__, #got)

/* Two tlv_status values, named on failure. */
#define EXPECT_STATUS(got, want) test_check_status(got, want, __FILE__, __LINE__, #got)

/* The context holds no error; prints its message if it does. */
#define EXPECT_OK(c) test_check_ok(c, __FILE__, __LINE__)

/* The context holds the error `code`, and its sentence contains `part`; the error is then
 * cleared. */
#define EXPECT_ERROR(c, code, part) test_check_error(c, code, part, __FILE__, __LINE__)

/* A check that the rest of the test needs: returns from the test if it fails. */
#define REQUIRE(cond, ...)                                                                         \
    do {                                                                                           \
        if (!EXPECT(cond, __VA_ARGS__)) return;                                                    \
    } while (0)

/* Leaves the test and counts it as skipped, unless a check in it failed before. */
#define SKIP(...)                                                                                  \
    do {                                                                                           \
        test_skip(__VA_ARGS__);                                                                    \
        return;                                                                                    \
    } while (0)
/* For tests of what stands above the kernels, the same C on every CPU, in minutes. */
#define SKIP_EMULATED()                                                                            \
    do {                                                                                           \
        if (getenv("TLV_EMULATED")) SKIP("takes minutes on an emulated CPU");                      \
    } while (0)

/* Leaves the test if the data file is not there: see test_data_path. */
#define NEED_DATA(buf, n, name)                                                                    \
    do {                                                                                           \
        if (!test_data_path(buf, n, name)) return;                                                 \
    } while (0)

/* The path of a file of the shared data folder, "cifar10/test_batch.bin": in $TLV_DATA, by default
 * ../shared/data.  Returns 1 if the file is there.  If not, returns 0 and the test counts as
 * skipped when the whole folder is missing, as failed when only the file is. */
int test_data_path(char *buf, size_t n, const char *name);

/* The path of a file that is checked in beside the tests, "goldens/ops.safetensors": in $TLV_TESTS,
 * by default tests.  Returns 0 and fails the test if it is not there. */
int test_file_path(char *buf, size_t n, const char *name);

/* A fresh path in $TLV_TMP (default build/tmp, made if missing), named after the running test; an
 * old file of that name is removed. */
int test_temp_path(char *buf, size_t n, const char *name);

/* What the macros call; each returns whether the check held. */
#if defined(__GNUC__)
#define TEST_PRINTF(a, b) __attribute__((format(printf, a, b)))
#else
#define TEST_PRINTF(a, b)
#endif
int test_check(int ok, const char *file, int line, const char *what, const char *fmt, ...)
    TEST_PRINTF(5, 6);
int test_check_close(double got, double want, double rtol, double atol, const char *file, int line,
                     const char *what);
int test_check_int(long long got, long long want, const char *file, int line, const char *what);
int test_check_str(const char *got, const char *want, const char *file, int line, const char *what);
int test_check_status(tlv_status got, tlv_status want, const char *file, int line,
                      const char *what);
int test_check_ok(const tlv_ctx *c, const char *file, int line);
int test_check_error(tlv_ctx *c, tlv_status code, const char *part, const char *file, int line);
void test_skip(const char *fmt, ...) TEST_PRINTF(1, 2);
int test_is_close(double got, double want, double rtol, double atol); /* no check, just the rule */
int test_failures(void);                /* failed checks of the running test so far */
int test_main(int argc, char **argv, const char *file, const test_case *cases, size_t n);

#endif
