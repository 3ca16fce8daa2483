/* test_feature_cache.c -- features on disk: what hits, what misses, what is damaged. */
#define _XOPEN_SOURCE 700
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/support.h"
#include "transfer/feature_cache.h"

enum { DIM = 64, N = 20, PATH = 1200 };

typedef struct bench { tlv_ctx *c; tlv_dataset *d; tlv_model *m; char dir[1024]; } bench;

static void remove_folder(const char *dir)
{
    char path[PATH];
    DIR *d = opendir(dir);
    for (struct dirent *e; d && (e = readdir(d)) != NULL;) {
        if (e->d_name[0] == '.') continue;
        snprintf(path, sizeof path, "%.900s/%.250s", dir, e->d_name);
        struct stat st;
        if (stat(path, &st) == 0 && S_ISDIR(st.st_mode)) remove_folder(path);
        else unlink(path);
    }
    if (d) closedir(d);
    rmdir(dir);
}

static int bench_open(bench *b, const char *isa)
{
    *b = (bench){ .c = tlv_ctx_open(&(tlv_ctx_opts){ .threads = 1, .seed = 7, .isa = isa }) };
    b->d = tlv_dataset_open(b->c, "shapes:2", "train");
    b->m = tlv_model_open(b->c, "resnet20", (tlv_model_opts){ 0 });
    int ok = EXPECT_OK(b->c) && test_temp_path(b->dir, sizeof b->dir, "cache");
    if (ok) remove_folder(b->dir);                      // of a run that did not end
    return ok;
}

static void bench_close(bench *b)
{
    remove_folder(b->dir);
    tlv_model_close(b->m);
    tlv_dataset_close(b->d);
    tlv_ctx_close(b->c);
}

/* Rows of images index[0 .. n-1] through the cache, into x; the report. */
static tlv_extract_report extract(bench *b, const int64_t *index, int64_t n, float *x)
{
    tlv_features f;
    tlv_extract_report r;
    tlv_extract_opts o = { .batch = 8, .cache_dir = b->dir };
    EXPECT_STATUS(tlv_extract_features(b->c, b->m, b->d, index, n, o, &f, &r), TLV_OK);
    EXPECT_OK(b->c);
    EXPECT_INT(f.n, n);
    EXPECT_INT(r.hits + r.misses, n);
    if (x && f.n == n) memcpy(x, f.x, (size_t)n * DIM * sizeof *x);
    tlv_features_close(&f);
    return r;
}

static void expect_hits(bench *b, int64_t hits, const char *what)
{
    tlv_extract_report r = extract(b, NULL, N, NULL);
    EXPECT(r.hits == hits, "%s: %lld hits, want %lld", what, (long long)r.hits, (long long)hits);
}

/* The first shard of the set. */
static int shard_of(const bench *b, const char *set, char path[PATH])
{
    char folder[PATH];
    int found = 0;
    snprintf(folder, sizeof folder, "%.900s/%.250s", b->dir, set);
    DIR *d = opendir(folder);
    for (struct dirent *e; d && (e = readdir(d)) != NULL;)
        if (strncmp(e->d_name, "rows-", 5) == 0)
            found = snprintf(path, PATH, "%.900s/%.250s", folder, e->d_name) > 0;
    if (d) closedir(d);
    return EXPECT(found, "no shard in %s", folder);
}

/* ---- hits ------------------------------------------------------------------------------------ */

static void test_a_second_time_hits(void)
{
    bench b;
    float plain[N * DIM], first[N * DIM], again[N * DIM];
    if (!bench_open(&b, NULL)) return;
    tlv_features f;
    tlv_extract_features(b.c, b.m, b.d, NULL, N, (tlv_extract_opts){ .batch = 8 }, &f, NULL);
    memcpy(plain, f.x, sizeof plain);
    tlv_features_close(&f);

    tlv_extract_report r = extract(&b, NULL, N, first);
    EXPECT(r.hits == 0 && r.misses == N && r.shards == 0 && r.damaged == 0, "the first time");
    EXPECT_INT(strlen(r.set_key), TLV_CACHE_KEY);
    r = extract(&b, NULL, N, again);
    EXPECT(r.hits == N && r.misses == 0 && r.shards == 1 && r.damaged == 0, "the second time");
    EXPECT(memcmp(plain, first, sizeof plain) == 0, "writing the cache changes rows");
    EXPECT(memcmp(plain, again, sizeof plain) == 0, "reading the cache changes rows");

    // another order, some twice: places follow the index, not the file
    const int64_t index[4] = { 7, 3, 7, 0 };
    r = extract(&b, index, 4, again);
    EXPECT_INT(r.hits, 4);
    for (int i = 0; i < 4; i++)
        EXPECT(memcmp(again + i * DIM, plain + index[i] * DIM, DIM * sizeof(float)) == 0,
               "row %d is not image %lld's", i, (long long)index[i]);
    bench_close(&b);
}

/* A cache that has some of the rows gives the same bits as none: rows do not depend on which others
 * share their batch. */
static void test_a_part_hits(void)
{
    bench b;
    float whole[N * DIM], mixed[N * DIM];
    if (!bench_open(&b, NULL)) return;
    tlv_features f;
    tlv_extract_features(b.c, b.m, b.d, NULL, N, (tlv_extract_opts){ 0 }, &f, NULL);
    memcpy(whole, f.x, sizeof whole);
    tlv_features_close(&f);
    const int64_t some[6] = { 1, 4, 5, 11, 11, 19 };
    extract(&b, some, 6, NULL);
    tlv_extract_report r = extract(&b, NULL, N, mixed);
    EXPECT_INT(r.hits, 5);
    EXPECT(memcmp(whole, mixed, sizeof whole) == 0, "a part from the cache gives other rows");
    r = extract(&b, NULL, N, mixed);
    EXPECT(r.hits == N && r.shards == 2, "%lld hits in %d shards", (long long)r.hits, r.shards);
    bench_close(&b);
}

/* The head is not part of what features depend on. */
static void test_another_head_hits(void)
{
    bench b;
    if (!bench_open(&b, NULL)) return;
    expect_hits(&b, 0, "an empty cache");
    tlv_model_new_head(b.c, b.m, 3);
    expect_hits(&b, N, "a new head");
    bench_close(&b);
}

/* ---- misses ---------------------------------------------------------------------------------- */

/* One byte of one image: that row alone. */
static void test_another_image_misses(void)
{
    bench b;
    if (!bench_open(&b, NULL)) return;
    expect_hits(&b, 0, "an empty cache");
    uint8_t *pixel = (uint8_t *)(uintptr_t)tlv_dataset_pixels(b.d, 5) + 100;    // the set's memory
    *pixel ^= 1;
    tlv_extract_report r = extract(&b, NULL, N, NULL);
    EXPECT(r.hits == N - 1 && r.misses == 1, "%lld hits", (long long)r.hits);
    bench_close(&b);
}

static void test_other_weights_miss(void)
{
    bench b;
    if (!bench_open(&b, NULL)) return;
    tlv_params *p = tlv_model_params(b.m);
    expect_hits(&b, 0, "an empty cache");
    const char *const entries[] = { "conv1.weight", "layer3.2.bn2.running_var" };
    for (int i = 0; i < 2; i++) {
        int slot = tlv_params_find(p, entries[i]);
        REQUIRE(slot >= 0, "no %s", entries[i]);
        tlv_scope s = tlv_scope_begin_with(b.c, TLV_NO_GRAD);
        tlv_tensor *was = tlv_affine(b.c, tlv_params_get(p, slot), 1, 0);
        tlv_params_set(b.c, p, slot, tlv_affine(b.c, was, 1.0 + 1e-6, 0));
        expect_hits(&b, 0, entries[i]);
        tlv_params_set(b.c, p, slot, was);
        expect_hits(&b, N, "the weights as they were");
        tlv_scope_end(b.c, s);
    }
    tlv_model_close(b.m);
    b.m = tlv_model_open(b.c, "resnet32", (tlv_model_opts){ 0 });
    expect_hits(&b, 0, "another architecture");
    bench_close(&b);
}

static void test_another_isa_misses(void)
{
    bench b, s;
    if (!bench_open(&b, NULL)) return;
    if (strcmp(tlv_isa(b.c), "scalar") == 0) {
        bench_close(&b);
        SKIP("one instruction set here");
    }
    if (!bench_open(&s, "scalar")) return;              // the same folder, empty
    expect_hits(&b, 0, "an empty cache");
    expect_hits(&s, 0, "scalar kernels");
    expect_hits(&s, N, "scalar kernels again");
    expect_hits(&b, N, "the first ones again");
    bench_close(&s);
    bench_close(&b);
}

static void test_another_recipe_misses(void)
{
    bench b;
    if (!bench_open(&b, NULL)) return;
    expect_hits(&b, 0, "an empty cache");
    const tlv_recipe was = *tlv_model_recipe(b.m);
    tlv_recipe r = was;
    r.mean[1] += 1e-9;
    tlv_model_set_recipe(b.m, &r);
    expect_hits(&b, 0, "another mean");
    r = was;
    r.filter = TLV_FILTER_BICUBIC;
    tlv_model_set_recipe(b.m, &r);
    expect_hits(&b, 0, "another filter");
    tlv_model_set_recipe(b.m, &was);
    expect_hits(&b, N, "the recipe as it was");
    bench_close(&b);
}

/* ---- files ----------------------------------------------------------------------------------- */

/* A folder of classes "a" and "b" with two drawn images each, as PNG files. */
static int write_folder(bench *b, const char *dir)
{
    char path[PATH];
    for (int i = 0; i < 4; i++) {
        tlv_image m;
        snprintf(path, sizeof path, "%.900s/%s", dir, i < 2 ? "a" : "b");
        if (i == 0) mkdir(dir, 0777);
        if (i % 2 == 0) mkdir(path, 0777);
        snprintf(path, sizeof path, "%.900s/%s/%d.png", dir, i < 2 ? "a" : "b", i);
        if (tlv_dataset_image(b->c, b->d, i, &m) != TLV_OK) return EXPECT_OK(b->c);
        tlv_image_write_png(&m, path);
        tlv_image_close(&m);
    }
    return EXPECT_OK(b->c);
}

/* Hits when the folder is opened anew; keep_side reduces images, exif 0 ignores EXIF. */
static int64_t folder_hits(bench *b, const char *dir, int keep_side, int exif)
{
    char what[PATH];
    snprintf(what, sizeof what, "folder:%.1000s", dir);
    tlv_dataset *d = tlv_dataset_open(b->c, what, NULL), *was = b->d;
    if (!EXPECT(d && tlv_dataset_size(d) == 4, "%s", tlv_error_msg(b->c))) return -1;
    if (keep_side) tlv_dataset_keep(d, 1 << 20, keep_side, TLV_FILTER_BILINEAR);
    if (!exif) tlv_dataset_ignore_exif(d);
    b->d = d;
    tlv_extract_report r = extract(b, NULL, 4, NULL);
    b->d = was;
    tlv_dataset_close(d);
    return r.hits;
}

static void test_files(void)
{
    bench b;
    char dir[1024], from[PATH], to[PATH];
    if (!bench_open(&b, NULL) || !test_temp_path(dir, sizeof dir, "images")) return;
    remove_folder(dir);
    if (!write_folder(&b, dir)) return;
    EXPECT_INT(folder_hits(&b, dir, 0, 1), 0);
    EXPECT_INT(folder_hits(&b, dir, 0, 1), 4);
    snprintf(from, sizeof from, "%.900s/a/0.png", dir);
    snprintf(to, sizeof to, "%.900s/b/another.png", dir);
    EXPECT_INT(rename(from, to), 0);
    EXPECT_INT(folder_hits(&b, dir, 0, 1), 4);
    EXPECT_INT(folder_hits(&b, dir, 24, 1), 0);
    EXPECT_INT(folder_hits(&b, dir, 0, 0), 0);
    FILE *f = fopen(to, "ab");                          // a byte behind the image
    REQUIRE(f, "no file");
    fputc(0, f);
    fclose(f);
    EXPECT_INT(folder_hits(&b, dir, 0, 1), 3);
    remove_folder(dir);
    bench_close(&b);
}

/* The key of a set: what it is made of, and that each part counts. */
static void test_keys(void)
{
    bench b;
    if (!bench_open(&b, NULL)) return;
    char key[4][TLV_CACHE_KEY + 1];
    tlvi_row_cache_key(b.c, b.m, b.d, "avx2", "direct", key[0]);
    tlvi_row_cache_key(b.c, b.m, b.d, "avx2", "winograd", key[1]);
    tlvi_row_cache_key(b.c, b.m, b.d, "avx512", "direct", key[2]);
    tlvi_row_cache_key(b.c, b.m, b.d, tlv_isa(b.c), tlv_conv_algorithm(b.c), key[3]);
    EXPECT(strcmp(key[0], key[1]) != 0, "the algorithm of convolutions does not count");
    EXPECT(strcmp(key[0], key[2]) != 0, "the instruction set does not count");
    tlv_extract_report r = extract(&b, NULL, N, NULL);
    EXPECT_STR(r.set_key, key[3]);
    bench_close(&b);
}

/* ---- damage ---------------------------------------------------------------------------------- */

static long read_all(const char *path, unsigned char *buf, size_t room)
{
    FILE *f = fopen(path, "rb");
    long n = f ? (long)fread(buf, 1, room, f) : -1;
    if (f) fclose(f);
    return n;
}

static void write_all(const char *path, const unsigned char *buf, long n)
{
    FILE *f = fopen(path, "wb");
    int ok = f && fwrite(buf, 1, (size_t)n, f) == (size_t)n;
    if (f) ok &= fclose(f) == 0;
    EXPECT(ok, "cannot write %s", path);
}

/* Whatever is done to the file: no error, no wrong row, and it is said. */
static void check_damaged(bench *b, const float *want, const char *what)
{
    static float x[N * DIM];
    tlv_extract_report r = extract(b, NULL, N, x);
    EXPECT(r.hits == 0 && r.damaged == 1, "%s: %lld hits, %d damaged", what, (long long)r.hits,
           r.damaged);
    EXPECT(strstr(r.damage, "rows-") && strstr(r.damage, ": "), "%s: '%s'", what, r.damage);
    EXPECT(memcmp(x, want, sizeof x) == 0, "%s: wrong rows", what);
    r = extract(b, NULL, N, x);                         // a new shard took its name and place
    EXPECT(r.hits == N && r.damaged == 0, "%s: not repaired, %lld hits, %d damaged", what,
           (long long)r.hits, r.damaged);
}

static void test_damaged_files_are_ignored(void)
{
    static unsigned char good[40000], bad[40000];
    static float want[N * DIM];
    bench b;
    char path[PATH];
    if (!bench_open(&b, NULL)) return;
    tlv_extract_report r = extract(&b, NULL, N, want);
    REQUIRE(shard_of(&b, r.set_key, path), "no shard");
    long n = read_all(path, good, sizeof good);
    REQUIRE(n > N * DIM * 4 && n < (long)sizeof good, "a shard of %ld bytes", n);

    const long cuts[] = { 0, 5, 100, n / 2, n - 1 };
    for (size_t i = 0; i < sizeof cuts / sizeof cuts[0]; i++) {
        write_all(path, good, cuts[i]);
        check_damaged(&b, want, "cut short");
    }
    const long flips[] = { 0, 9, 30, n - 3, n - N * DIM * 4 - 7, n - N * DIM * 2 };
    for (size_t i = 0; i < sizeof flips / sizeof flips[0]; i++) {
        memcpy(bad, good, (size_t)n);
        bad[flips[i]] ^= 0x10;
        write_all(path, bad, n);
        check_damaged(&b, want, "a flipped bit");
    }
    EXPECT_OK(b.c);
    bench_close(&b);
}

/* A shard of another model, put into this one's folder, is not taken for its own. */
static void test_a_shard_of_another_model(void)
{
    static unsigned char buf[40000];
    bench b;
    char from[PATH], to[PATH + 32];
    if (!bench_open(&b, NULL)) return;
    tlv_extract_report r = extract(&b, NULL, N, NULL);
    if (!shard_of(&b, r.set_key, from)) return;
    long n = read_all(from, buf, sizeof buf);
    tlv_model_close(b.m);
    b.m = tlv_model_open(b.c, "resnet32", (tlv_model_opts){ 0 });
    tlv_extract_report other = extract(&b, NULL, 2, NULL);
    snprintf(to, sizeof to, "%.900s/%.40s/rows-00.safetensors", b.dir, other.set_key);
    write_all(to, buf, n);
    r = extract(&b, NULL, N, NULL);
    EXPECT(r.hits == 2 && r.damaged == 1, "%lld hits, %d damaged", (long long)r.hits, r.damaged);
    EXPECT(strstr(r.damage, "another model"), "'%s'", r.damage);
    bench_close(&b);
}

static void test_folders(void)
{
    bench b;
    tlv_features f;
    if (!bench_open(&b, NULL)) return;
    FILE *file = fopen(b.dir, "w");
    REQUIRE(file, "no file");
    fclose(file);
    tlv_extract_opts o = { .cache_dir = b.dir };
    tlv_extract_features(b.c, b.m, b.d, NULL, N, o, &f, NULL);
    EXPECT_ERROR(b.c, TLV_ERR_IO, "cannot make this folder of the cache");
    EXPECT(!f.x, "rows after an error");
    unlink(b.dir);
    bench_close(&b);
}

static int stop_soon(void *user, int64_t done, int64_t total)
{
    (void)user;
    return done < total;
}

/* What was computed before a stop is on disk. */
static void test_a_stop_keeps_rows(void)
{
    bench b;
    tlv_features f;
    tlv_extract_report r;
    if (!bench_open(&b, NULL)) return;
    tlv_extract_opts o = { .batch = 8, .cache_dir = b.dir, .progress = stop_soon };
    tlv_extract_features(b.c, b.m, b.d, NULL, N, o, &f, &r);
    EXPECT(r.stopped && f.n == 8, "%lld rows", (long long)f.n);
    tlv_features_close(&f);
    expect_hits(&b, 8, "after a stop");
    bench_close(&b);
}

TEST_MAIN(T(test_a_second_time_hits), T(test_a_part_hits), T(test_another_head_hits),
          T(test_another_image_misses), T(test_other_weights_miss), T(test_another_isa_misses),
          T(test_another_recipe_misses), T(test_files), T(test_keys),
          T(test_damaged_files_are_ignored), T(test_a_shard_of_another_model), T(test_folders),
          T(test_a_stop_keeps_rows))
