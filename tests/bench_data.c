/* bench_data.c -- images a second from files to network input, at one thread and at two: real JPEG
 * files where the data folder has them, else files made for it.
 *
 * CASES picks by a part of the name; THREADS is the second number of threads (default 2). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "data/data.h"
#include "tests/support_files.h"

enum { MOST = 200, BATCH = 32, ROUNDS = 3 };

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* The best of some rounds over the set, in images a second; 0 after an error. */
static double speed(const char *what, int threads)
{
    tlv_ctx *c = tlv_ctx_open(&(tlv_ctx_opts){ .threads = threads });
    tlv_dataset *d = tlv_dataset_open(c, what, "train");
    int64_t n = d ? tlv_dataset_size(d) : 0, index[MOST];
    if (n > MOST) n = MOST;
    for (int64_t i = 0; i < n; i++) index[i] = i;
    tlv_batch_opts o = { .recipe = { .size = 224, .resize = 256, .std = { 1, 1, 1 } } };
    double best = 0;
    for (int round = 0; round < ROUNDS; round++) {
        double t = seconds();
        for (int64_t at = 0; at < n; at += BATCH) {
            tlv_scope s = tlv_scope_begin(c);
            tlv_dataset_batch(c, d, index, at, n - at < BATCH ? n - at : BATCH, o);
            tlv_scope_end(c, s);
        }
        t = (double)n / (seconds() - t);
        best = t > best ? t : best;
    }
    if (tlv_error(c)) fprintf(stderr, "%s: %s\n", what, tlv_error_msg(c));
    best = tlv_error(c) ? 0 : best;
    tlv_dataset_close(d);
    tlv_ctx_close(c);
    return best;
}

static void measure(const char *name, const char *what)
{
    const char *cases = getenv("CASES"), *more = getenv("THREADS");
    int threads = more && atoi(more) > 0 ? atoi(more) : 2;
    if (cases && *cases && !strstr(name, cases)) return;
    double one = speed(what, 1), many = speed(what, threads);
    printf("%-28s %8.1f images/s at 1 thread, %8.1f at %d: %.2fx\n", name, one, many, threads,
           one > 0 ? many / one : 0);
}

/* Files of 500 x 375 pixels, as pictures from a camera are often stored. */
static int make_files(char dir[SUPPORT_PATH], int png)
{
    char name[SUPPORT_PATH + 40];
    if (!support_folder(dir, png ? "png" : "ppm")) return 0;
    tlv_ctx *c = tlv_ctx_open(NULL);
    int ok = 1;
    for (int i = 0; i < 64 && ok; i++) {
        snprintf(name, sizeof name, "%02d.ppm", i);
        ok = support_put_ppm(dir, name, 375, 500, i);
        if (!ok || !png) continue;
        char path[SUPPORT_PATH + 40];
        tlv_image m;
        snprintf(path, sizeof path, "%s/%02d.ppm", dir, i);
        ok = tlv_image_read(c, path, &m) == TLV_OK;
        remove(path);
        snprintf(path, sizeof path, "%s/%02d.png", dir, i);
        ok = ok && tlv_image_write_png(&m, path) == TLV_OK;
        tlv_image_close(&m);
    }
    tlv_ctx_close(c);
    return ok;
}

static void bench_files(void)
{
    char dir[SUPPORT_PATH];
    const char *data = getenv("TLV_DATA");
    snprintf(dir, sizeof dir, "%s/hymenoptera", data ? data : "../shared/data");
    measure("JPEG, 500 pixels (photos)", dir);
    for (int png = 0; png < 2; png++)
        if (EXPECT(make_files(dir, png), "no files"))
            measure(png ? "PNG, 500x375 (made)" : "PPM, 500x375 (made)", dir);
}

TEST_MAIN(T(bench_files))
