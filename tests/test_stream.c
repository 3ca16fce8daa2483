/* test_stream.c -- images of sets of files: batches, memory, what is kept, what cannot be read. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/data.h"
#include "tensor/hash.h"
#include "tests/support.h"
#include "tests/support_files.h"
#include "tests/support_image.h"

enum { SIZE = 24, MB = 1 << 20 };

/* ---- helpers --------------------------------------------------------------------------------- */

/* n images of differing sizes, at least h x w, in two classes: a/00.ppm, b/01.ppm, a/02.ppm ... */
static int put_images(const char *dir, int n, int h, int w)
{
    char name[40];
    for (int i = 0; i < n; i++) {
        snprintf(name, sizeof name, "%c/%02d.ppm", 'a' + i % 2, i);
        if (!support_put_ppm(dir, name, h + i % 3, w + i % 5, 17 * i)) return 0;
    }
    return 1;
}

static tlv_batch_opts options(tlv_ctx *c, int random)
{
    tlv_batch_opts o = { .recipe = { .size = SIZE, .resize = SIZE, .mean = { 0.5, 0.4, 0.3 },
                                     .std = { 0.2, 0.3, 0.4 } } };
    if (random)
        o.augment = (tlv_augment){ .area = { 0.2, 1 }, .flip = 1, .brightness = 0.3, .hue = 0.1 };
    o.key = tlv_rng_stream(c, "augment");
    return o;
}

/* A batch of images 0 .. n-1 in x, planar; 0 after an error, which stays in the context. */
static int read_batch(tlv_ctx *c, const tlv_dataset *d, int n, int random, float *x)
{
    int64_t index[64];
    for (int i = 0; i < n; i++) index[i] = i;
    tlv_scope s = tlv_scope_begin(c);
    tlv_batch b = tlv_dataset_batch(c, d, index, 0, n, options(c, random));
    int ok = b.x && tlv_read(c, b.x, x, (int64_t)n * 3 * SIZE * SIZE) == TLV_OK;
    tlv_scope_end(c, s);
    return ok;
}

/* ---- batches --------------------------------------------------------------------------------- */

/* Image by image the same as the public steps give. */
static void test_a_batch_is_its_images_prepared(void)
{
    enum { N = 6, FLOATS = 3 * SIZE * SIZE };
    static float x[N * FLOATS], want[FLOATS];
    char dir[SUPPORT_PATH];
    REQUIRE(support_folder(dir, "d") && put_images(dir, N, 30, 40), "no images");
    for (int random = 0; random < 2; random++) {
        tlv_ctx *c = support_open();
        tlv_dataset *d = tlv_dataset_open(c, dir, NULL);
        REQUIRE(d && read_batch(c, d, N, random, x), "%s", tlv_error_msg(c));
        tlv_batch_opts o = options(c, random);
        for (int i = 0; i < N; i++) {
            tlv_image m, p;
            EXPECT_STATUS(tlv_dataset_image(c, d, i, &m), TLV_OK);
            EXPECT_STATUS(tlv_image_prepare(&m, &o.recipe, &o.augment,
                                            tlv_rng_fold(o.key, (uint64_t)i), &p), TLV_OK);
            tlv_image_normalize(&p, &o.recipe, want);
            int wrong = 0;
            for (int k = 0; k < FLOATS; k++)                // [H,W,3] beside planar
                wrong += want[k] != x[i * FLOATS + k % 3 * SIZE * SIZE + k / 3];
            EXPECT_INT(wrong, 0);
            tlv_image_close(&m);
            tlv_image_close(&p);
        }
        tlv_dataset_close(d);
        tlv_ctx_close(c);
    }
}

static void test_the_same_bits_at_any_thread_count_and_kept(void)
{
    enum { N = 20, BYTES = N * 3 * SIZE * SIZE * 4 };
    static const struct { int threads; size_t keep; int side; } cases[] = {
        { 1, 0, 0 }, { 2, 0, 0 }, { 5, 0, 0 }, { 1, MB, 0 }, { 5, MB, 0 }, { 2, 20000, 0 },
        { 1, 1, 26 }, { 1, MB, 26 }, { 5, MB, 26 }, { 2, 20000, 26 },   // reduced: other bits
    };
    float *x = malloc(BYTES), *want = malloc(BYTES);
    char dir[SUPPORT_PATH];
    int ok = x && want && support_folder(dir, "d") && put_images(dir, N, 40, 50);
    for (size_t i = 0; ok && i < sizeof cases / sizeof cases[0]; i++) {
        tlv_ctx *c = tlv_ctx_open(&(tlv_ctx_opts){ .threads = cases[i].threads, .seed = 3 });
        tlv_dataset *d = tlv_dataset_open(c, dir, NULL);
        if (d) tlv_dataset_keep(d, cases[i].keep, cases[i].side, TLV_FILTER_BILINEAR);
        int fresh = i == 0 || cases[i].side != cases[i - 1].side;
        for (int again = 0; d && again < 2; again++) {      // then from what is kept
            EXPECT(read_batch(c, d, N, 1, x), "%s", tlv_error_msg(c));
            if (fresh && !again) memcpy(want, x, BYTES);
            EXPECT(memcmp(x, want, BYTES) == 0, "case %d, batch %d: other bits", (int)i, again);
        }
        EXPECT_OK(c);
        tlv_dataset_close(d);
        tlv_ctx_close(c);
    }
    free(x);
    free(want);
}

/* 24 images of 2.4 MB each: no more than one at a time on a thread is there. */
static void test_memory_is_bounded(void)
{
    enum { N = 24, H = 800, W = 1000, IMAGE = 3 * (H + 2) * (W + 4) };
    static float x[N * 3 * SIZE * SIZE];
    char dir[SUPPORT_PATH];
    REQUIRE(support_folder(dir, "d") && put_images(dir, N, H, W), "no images");
    for (int threads = 1; threads <= 2; threads++) {
        tlv_ctx *c = tlv_ctx_open(&(tlv_ctx_opts){ .threads = threads });
        tlv_dataset *d = tlv_dataset_open(c, dir, NULL);
        REQUIRE(d, "%s", tlv_error_msg(c));
        size_t before = tlv_mem_get(c).now;
        EXPECT(before < MB, "%zu bytes for %d paths", before, N);
        EXPECT(read_batch(c, d, N, 0, x), "%s", tlv_error_msg(c));
        // the file, its samples, and what the resizing takes: twice an image and a bit
        size_t most = before + (size_t)threads * (2 * IMAGE + MB) + sizeof x + MB;
        EXPECT(tlv_mem_get(c).peak <= most, "%d threads: a peak of %zu, at most %zu", threads,
               tlv_mem_get(c).peak, most);
        EXPECT(tlv_mem_get(c).peak > IMAGE, "the peak is not the images'");
        tlv_dataset_close(d);
        tlv_ctx_close(c);
    }
}

/* ---- what is kept ---------------------------------------------------------------------------- */

/* Images stay when their files have gone: as many as the budget has room for. */
static void test_keep(void)
{
    enum { N = 10, H = 100, W = 100, IMAGE = 3 * H * W };
    static float x[3 * SIZE * SIZE];
    char dir[SUPPORT_PATH], name[40];
    for (int room = 0; room <= N; room += 5) {
        REQUIRE(support_folder(dir, "d"), "no folder");
        for (int i = 0; i < N; i++) {
            snprintf(name, sizeof name, "a/%02d.ppm", i);
            if (!support_put_ppm(dir, name, H, W, i)) return;
        }
        tlv_ctx *c = support_open();
        tlv_dataset *d = tlv_dataset_open(c, dir, NULL);
        REQUIRE(d, "%s", tlv_error_msg(c));
        read_batch(c, d, 1, 0, x);                          // makes a child context, which stays
        size_t budget = (size_t)room * IMAGE + 1000, before = tlv_mem_get(c).now;
        tlv_dataset_keep(d, budget, 0, TLV_FILTER_BILINEAR);
        for (int64_t i = 0; i < N; i++) {
            tlv_scope s = tlv_scope_begin(c);
            tlv_dataset_batch(c, d, &i, 0, 1, options(c, 0));
            tlv_scope_end(c, s);
        }
        EXPECT_OK(c);
        size_t more = tlv_mem_get(c).now - before;
        EXPECT(more >= (size_t)room * IMAGE && more <= budget + 64 * N + 4096,
               "%zu bytes kept of %zu", more, budget);

        REQUIRE(support_folder(dir, "d"), "no folder");
        int left = 0;
        for (int64_t i = 0; i < N; i++) {
            tlv_scope s = tlv_scope_begin(c);
            tlv_batch b = tlv_dataset_batch(c, d, &i, 0, 1, options(c, 0));
            left += b.x && tlv_read(c, b.x, x, 3 * SIZE * SIZE) == TLV_OK;
            tlv_scope_end(c, s);
            tlv_error_clear(c);
        }
        EXPECT_INT(left, room);
        tlv_dataset_keep(d, 0, 0, TLV_FILTER_BILINEAR);
        EXPECT(tlv_mem_get(c).now <= before + 4096, "kept bytes are not given back");
        tlv_dataset_close(d);
        tlv_ctx_close(c);
    }
}

/* ---- what cannot be read --------------------------------------------------------------------- */

/* Six images; 01 is cut short, 03 is a GIF file. */
static int put_bad(char dir[SUPPORT_PATH])
{
    return support_folder(dir, "d") && put_images(dir, 6, 30, 30)
           && support_put_text(dir, "b/01.ppm", "P6\n30 30\n255\nxyz")
           && support_put_text(dir, "b/03.ppm", "GIF89a and so on");
}

static void test_a_bad_file_is_named(void)
{
    static float x[6 * 3 * SIZE * SIZE];
    char dir[SUPPORT_PATH];
    REQUIRE(put_bad(dir), "no files");
    for (int threads = 1; threads <= 5; threads += 4) {
        tlv_ctx *c = tlv_ctx_open(&(tlv_ctx_opts){ .threads = threads });
        tlv_dataset *d = tlv_dataset_open(c, dir, NULL);
        REQUIRE(d, "%s", tlv_error_msg(c));
        EXPECT(!read_batch(c, d, 6, 0, x), "a batch with bad files");
        EXPECT(strncmp(tlv_error_msg(c), "task", 4) != 0, "%s", tlv_error_msg(c));
        EXPECT(strstr(tlv_error_hint(c), "--skip-bad"), "%s", tlv_error_hint(c));
        EXPECT_ERROR(c, TLV_ERR_FORMAT, "b/01.ppm");        // the first in the batch's order
        tlv_dataset_close(d);
        tlv_ctx_close(c);
    }
}

static void test_drop_bad(void)
{
    static float x[4 * 3 * SIZE * SIZE];
    char dir[SUPPORT_PATH];
    REQUIRE(put_bad(dir), "no files");
    for (int room = 0; room <= 3; room++) {
        tlv_bad_file bad[3] = { 0 };
        tlv_ctx *c = tlv_ctx_open(&(tlv_ctx_opts){ .threads = 2 });
        tlv_dataset *d = tlv_dataset_open(c, dir, NULL);
        REQUIRE(d, "%s", tlv_error_msg(c));
        if (room > 1) tlv_dataset_keep(d, MB, 0, TLV_FILTER_BILINEAR);
        EXPECT_INT(tlv_dataset_drop_bad(c, d, bad, room), 2);
        EXPECT_OK(c);
        if (room > 0) EXPECT(strstr(bad[0].path, "b/01.ppm"), "%s", bad[0].path);
        if (room > 1) EXPECT(strstr(bad[1].path, "b/03.ppm"), "%s", bad[1].path);
        if (room > 1) EXPECT(strstr(bad[1].reason, "is a GIF file") == bad[1].reason, "%s",
                             bad[1].reason);
        EXPECT(!bad[2].path[0], "a third bad file: %s", bad[2].path);
        EXPECT_INT(tlv_dataset_size(d), 4);
        EXPECT_INT(tlv_dataset_class_count(d, 0), 3);
        EXPECT_INT(tlv_dataset_class_count(d, 1), 1);
        EXPECT_INT(tlv_dataset_label(d, 3), 1);
        EXPECT(strstr(tlv_dataset_path(d, 3), "b/05.ppm"), "%s", tlv_dataset_path(d, 3));
        EXPECT(!tlv_dataset_path(d, 4), "a path too many");
        EXPECT(strstr(tlv_dataset_text(d), "2 bad files left out"), "%s", tlv_dataset_text(d));
        EXPECT(read_batch(c, d, 4, 0, x), "%s", tlv_error_msg(c));
        EXPECT_INT(tlv_dataset_drop_bad(c, d, bad, room), 0);
        tlv_dataset_close(d);
        tlv_ctx_close(c);
    }
}

/* ---- EXIF, hashes ---------------------------------------------------------------------------- */

/* A PNG file of 3 rows and 2 columns that should be turned by a quarter. */
static int put_turned(const char *dir)
{
    static const uint8_t chunk[] = { 0, 0, 0, 26, 'e', 'X', 'I', 'f', 'M', 'M', 0, 42, 0, 0, 0, 8,
                                     0, 1, 1, 0x12, 0, 3, 0, 0, 0, 1, 0, 6, 0, 0, 0, 0, 0, 0 };
    enum { HEAD = 33 };                                 // signature and IHDR
    uint8_t file[2000];
    char path[SUPPORT_PATH + 20];
    tlv_image m;
    tlv_ctx *c = support_open();
    snprintf(path, sizeof path, "%s/x.png", dir);
    int ok = tlv_image_new(c, 3, 2, TLV_RGB, 8, &m) == TLV_OK;
    if (ok) memset(m.samples, 7, m.bytes);
    ok = ok && tlv_image_write_png(&m, path) == TLV_OK;
    tlv_image_close(&m);
    tlv_ctx_close(c);
    FILE *f = ok ? fopen(path, "rb") : NULL;
    size_t n = f ? fread(file, 1, sizeof file - 100, f) : 0;
    if (f) fclose(f);
    if (!EXPECT(n > HEAD, "no PNG file")) return 0;
    uint32_t crc = support_crc32(chunk + 4, sizeof chunk - 4);
    memmove(file + HEAD + sizeof chunk + 4, file + HEAD, n - HEAD);
    memcpy(file + HEAD, chunk, sizeof chunk);
    for (int i = 0; i < 4; i++) file[HEAD + sizeof chunk + i] = (uint8_t)(crc >> (24 - 8 * i));
    return support_put(dir, "x.png", file, n + sizeof chunk + 4);
}

static void test_orientation(void)
{
    char dir[SUPPORT_PATH];
    tlv_image m;
    REQUIRE(support_folder(dir, "d") && put_turned(dir), "no image");
    tlv_ctx *c = support_open();
    tlv_dataset *d = tlv_dataset_open(c, dir, NULL);
    REQUIRE(d, "%s", tlv_error_msg(c));
    EXPECT_STATUS(tlv_dataset_image(c, d, 0, &m), TLV_OK);
    EXPECT(m.h == 2 && m.w == 3 && m.orientation == 1, "%dx%d, %d", m.h, m.w, m.orientation);
    tlv_image_close(&m);
    EXPECT(strstr(tlv_dataset_text(d), "EXIF"), "%s", tlv_dataset_text(d));
    tlv_dataset_ignore_exif(d);
    EXPECT(!strstr(tlv_dataset_text(d), "EXIF"), "%s", tlv_dataset_text(d));
    EXPECT_STATUS(tlv_dataset_image(c, d, 0, &m), TLV_OK);
    EXPECT(m.h == 3 && m.w == 2, "%dx%d", m.h, m.w);
    tlv_image_close(&m);
    tlv_dataset_close(d);
    tlv_ctx_close(c);
}

static void test_hashes(void)
{
    char dir[SUPPORT_PATH];
    uint8_t a[32], b[32], want[32];
    REQUIRE(support_folder(dir, "d") && support_put_text(dir, "1.ppm", "same bytes")
            && support_put_text(dir, "2.ppm", "same bytes")
            && support_put_text(dir, "3.ppm", "other bytes"), "no files");
    tlv_ctx *c = support_open();
    tlv_dataset *d = tlv_dataset_open(c, dir, NULL), *s = tlv_dataset_open(c, "shapes:1", NULL);
    REQUIRE(d && s, "%s", tlv_error_msg(c));
    tlvi_hash h = tlvi_hash_begin();
    tlvi_hash_add(&h, "same bytes", 10);
    tlvi_hash_end(&h, want);
    EXPECT_STATUS(tlv_dataset_hash(c, d, 0, a), TLV_OK);
    EXPECT_STATUS(tlv_dataset_hash(c, d, 1, b), TLV_OK);
    EXPECT(memcmp(a, want, 32) == 0 && memcmp(b, want, 32) == 0, "not the hash of the bytes");
    EXPECT_STATUS(tlv_dataset_hash(c, d, 2, b), TLV_OK);
    EXPECT(memcmp(a, b, 32) != 0, "other bytes hash alike");

    h = tlvi_hash_begin();
    tlvi_hash_add_u64(&h, 32);
    tlvi_hash_add_u64(&h, 32);
    tlvi_hash_add_u64(&h, 3);
    tlvi_hash_add(&h, tlv_dataset_pixels(s, 4), 32 * 32 * 3);
    tlvi_hash_end(&h, want);
    EXPECT_STATUS(tlv_dataset_hash(c, s, 4, a), TLV_OK);
    EXPECT(memcmp(a, want, 32) == 0, "not the hash of the pixels");
    EXPECT_STATUS(tlv_dataset_hash(c, s, 10, a), TLV_ERR_INDEX);
    EXPECT_ERROR(c, TLV_ERR_INDEX, "image 10 of a set of 10");
    tlv_dataset_close(d);
    tlv_dataset_close(s);
    tlv_ctx_close(c);
}

/* ---- memory runs out ------------------------------------------------------------------------- */

static void test_memory_runs_out(void)
{
    static float x[4 * 3 * SIZE * SIZE];
    char dir[SUPPORT_PATH];
    tlv_bad_file bad[2];
    REQUIRE(put_bad(dir), "no files");
    int64_t at = 1;
    for (int refused = 1; refused && at < 2000; at++) {
        support_hook h = { 0 };
        tlv_ctx *c = tlv_ctx_open(&(tlv_ctx_opts){ .threads = 1, .alloc = support_alloc,
                                                   .alloc_user = &h, .fail_at = at });
        if (!c) continue;
        tlv_dataset *d = tlv_dataset_open(c, dir, NULL);
        if (d) tlv_dataset_keep(d, 100000, 25, TLV_FILTER_BILINEAR);
        int64_t n = d ? tlv_dataset_drop_bad(c, d, bad, 2) : -1;
        refused = !read_batch(c, d, 4, 1, x);
        if (refused) EXPECT_ERROR(c, TLV_ERR_NOMEM, "");
        else EXPECT(n == 2 && tlv_dataset_size(d) == 4, "%lld bad files", (long long)n);
        tlv_dataset_close(d);
        tlv_ctx_close(c);
        EXPECT(h.live == 0 && h.wrong_size == 0, "refusing request %lld leaves %lld blocks",
               (long long)at, (long long)h.live);
    }
    EXPECT(at > 40 && at < 2000, "%lld requests for memory", (long long)at);
}

TEST_MAIN(T(test_a_batch_is_its_images_prepared),
          T(test_the_same_bits_at_any_thread_count_and_kept), T(test_memory_is_bounded),
          T(test_keep), T(test_a_bad_file_is_named), T(test_drop_bad), T(test_orientation),
          T(test_hashes), T(test_memory_runs_out))
