/* test_harness.c -- the harness can fail: what counts as close, and what run.sh makes of programs
 * that crash, hang, say nothing or fail. */
#include "tests/test.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static void test_closeness(void)
{
    EXPECT(test_is_close(1.0 + 1e-9, 1.0, 1e-8, 0), "inside rtol");
    EXPECT(!test_is_close(1.0 + 1e-7, 1.0, 1e-8, 0), "outside rtol");
    EXPECT(test_is_close(1e-9, 0, 0, 1e-8), "inside atol");
    EXPECT(!test_is_close(1e-7, 0, 1, 1e-8), "rtol does not help at zero");
    EXPECT(test_is_close(NAN, NAN, 0, 0), "NaN where NaN is wanted");
    EXPECT(!test_is_close(NAN, 1.0, 1e9, 1e9), "NaN is never close to a number");
    EXPECT(!test_is_close(1.0, NAN, 1e9, 1e9), "nor a number to NaN");
    EXPECT(test_is_close(INFINITY, INFINITY, 0, 0), "infinity to itself");
    EXPECT(!test_is_close(INFINITY, 1.0, 1e9, 1e9), "infinity is never close to a number");
    EXPECT(!test_is_close(1.0, INFINITY, 1e9, 1e9), "nor a number to infinity");
    EXPECT(!test_is_close(-INFINITY, INFINITY, 1e9, 1e9), "nor to the other one");
}

/* Runs run.sh on a program that is the shell script `body`; its last line and exit status. */
static int run_script(const char *env, const char *body, char *last, size_t n)
{
    char path[512], cmd[1024];
    last[0] = '\0';
    if (!test_temp_path(path, sizeof path, "program.sh")) return -1;
    FILE *f = fopen(path, "w");
    if (!EXPECT(f != NULL, "cannot write %s", path)) return -1;
    fprintf(f, "#!/bin/sh\n%s\n", body);
    fclose(f);
    chmod(path, 0755);

    snprintf(cmd, sizeof cmd, "RUN= TEST_FILTER= TEST_JOBS=1 %s tests/run.sh %s", env, path);
    FILE *p = popen(cmd, "r");
    if (!EXPECT(p != NULL, "cannot run %s", cmd)) return -1;
    char line[512];
    while (fgets(line, sizeof line, p)) snprintf(last, n, "%s", line);
    last[strcspn(last, "\n")] = '\0';
    return pclose(p) == 0 ? 0 : 1;
}

static void test_runner(void)
{
    static const struct { const char *env, *body, *last; int status;
    } cases[] = {
        { "", "echo 'test_x: 3 passed, 0 failed, 1 skipped'", "3 passed, 0 failed, 1 skipped", 0 },
        { "", "echo 'test_x: 3 passed, 2 failed, 1 skipped'; exit 1",
          "3 passed, 2 failed, 1 skipped", 1 },
        { "", "echo 'test_x: 3 passed, 0 failed, 0 skipped'; exit 66", // a sanitizer, at the end
          "3 passed, 1 failed, 0 skipped", 1 },
        { "", "kill -SEGV $$", "0 passed, 1 failed, 0 skipped", 1 },
        { "", "exit 0", "0 passed, 1 failed, 0 skipped", 1 }, // said nothing
        { "", "echo 'test_x: 0 passed, 0 failed, 4 skipped'", "0 passed, 0 failed, 4 skipped", 1 },
        { "TEST_TIMEOUT=1", "exec sleep 20", "0 passed, 1 failed, 0 skipped", 1 },
        { "TEST_FILTER=abc", "echo \"test_x: $# passed, 0 failed, 0 skipped\"",
          "1 passed, 0 failed, 0 skipped", 0 },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char last[512];
        int status = run_script(cases[i].env, cases[i].body, last, sizeof last);
        EXPECT(status == cases[i].status, "case %zu: %s: status %d", i, cases[i].body, status);
        EXPECT_STR(last, cases[i].last);
    }
}

TEST_MAIN(T(test_closeness), T(test_runner))
