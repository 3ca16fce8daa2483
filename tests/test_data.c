/* test_data.c -- data sets (drawn, CIFAR-10, IDX), subsets, splits, batches. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "data/data.h"
#include "tests/support.h"

/* ---- files ----------------------------------------------------------------------------------- */

static int write_file(const char *path, const void *data, size_t n)
{
    FILE *f = fopen(path, "wb");
    int ok = f && fwrite(data, 1, n, f) == n;
    if (f) ok &= fclose(f) == 0;
    return EXPECT(ok, "cannot write %s", path);
}

/* An IDX file in buf: a byte i of data is (i * 7 + first) mod 256.  Returns its size. */
static size_t idx_bytes(uint8_t *buf, int ndim, const int *dim, int first)
{
    size_t n = 1, head = 4 + 4 * (size_t)ndim;
    memcpy(buf, (uint8_t[]){ 0, 0, 8, (uint8_t)ndim }, 4);
    for (int i = 0; i < ndim; i++) {
        n *= (size_t)dim[i];
        memcpy(buf + 4 + 4 * i, (uint8_t[]){ 0, 0, (uint8_t)(dim[i] >> 8), (uint8_t)dim[i] }, 4);
    }
    for (size_t i = 0; i < n; i++) buf[head + i] = (uint8_t)(7 * i + (size_t)first);
    return head + n;
}

static tlv_dataset *open_idx(tlv_ctx *c, const char *images, const char *labels)
{
    char what[2200];
    snprintf(what, sizeof what, "idx:%s%s%s", images, labels ? "," : "", labels ? labels : "");
    return tlv_dataset_open(c, what, NULL);
}

/* Five grey images of 3x4 with labels 2 0 1 2 2, open. */
static tlv_dataset *small_set(tlv_ctx *c)
{
    char images[1024], labels[1024];
    uint8_t buf[200];
    if (!test_temp_path(images, sizeof images, "im")) return NULL;
    if (!test_temp_path(labels, sizeof labels, "la")) return NULL;
    size_t n = idx_bytes(buf, 3, (int[]){ 5, 3, 4 }, 3);
    if (!write_file(images, buf, n)) return NULL;
    n = idx_bytes(buf, 1, (int[]){ 5 }, 0);
    memcpy(buf + 8, (uint8_t[]){ 2, 0, 1, 2, 2 }, 5);
    return write_file(labels, buf, n) ? open_idx(c, images, labels) : NULL;
}

static void test_idx(void)
{
    tlv_ctx *c = support_open();
    tlv_dataset *d = small_set(c);
    REQUIRE(d, "%s", tlv_error_msg(c));
    int h, w, channels;
    tlv_dataset_image_shape(d, &h, &w, &channels);
    EXPECT_INT(tlv_dataset_size(d), 5);
    EXPECT(h == 3 && w == 4 && channels == 1, "%dx%dx%d", h, w, channels);
    EXPECT_INT(tlv_dataset_classes(d), 3);
    const int want[5] = { 2, 0, 1, 2, 2 };
    for (int i = 0; i < 5; i++) {
        EXPECT_INT(tlv_dataset_label(d, i), want[i]);
        for (int p = 0; p < 12; p++)
            EXPECT_INT(tlv_dataset_pixels(d, i)[p], (7 * (12 * i + p) + 3) % 256);
    }
    EXPECT_INT(tlv_dataset_label(d, 5), -1);
    EXPECT_INT(tlv_dataset_label(d, -1), -1);
    EXPECT_STR(tlv_dataset_class_name(d, 2), "2");
    EXPECT_STR(tlv_dataset_class_name(d, 3), "?");
    EXPECT_STR(tlv_dataset_text(d), "IDX, 5 images 3x4 grey, 3 classes");
    tlv_dataset_close(d);
    tlv_ctx_close(c);
}

static void test_idx_of_four_dims(void)
{
    char path[1024];
    uint8_t buf[200];
    REQUIRE(test_temp_path(path, sizeof path, "im"), "no path");
    if (!write_file(path, buf, idx_bytes(buf, 4, (int[]){ 2, 3, 4, 5 }, 0))) return;
    tlv_ctx *c = support_open();
    tlv_dataset *d = open_idx(c, path, NULL);
    REQUIRE(d, "%s", tlv_error_msg(c));
    EXPECT_INT(tlv_dataset_size(d), 6);
    EXPECT_INT(tlv_dataset_classes(d), 2);
    for (int i = 0; i < 6; i++) {
        EXPECT_INT(tlv_dataset_label(d, i), i / 3);
        EXPECT_INT(tlv_dataset_pixels(d, i)[19], (7 * (20 * i + 19)) % 256);
    }
    tlv_dataset_close(d);
    tlv_ctx_close(c);
}

/* The set does not open; the error is then cleared. */
static void refused(tlv_ctx *c, tlv_dataset *d, tlv_status code, const char *part)
{
    EXPECT(!d, "opened, though it should say '%s'", part);
    EXPECT(*tlv_error_hint(c), "no hint beside '%s'", tlv_error_msg(c));
    EXPECT_ERROR(c, code, part);
    tlv_dataset_close(d);
}

static void test_idx_refuses(void)
{
    char images[1024], labels[1024];
    uint8_t im[200], la[40], bad[200];
    REQUIRE(test_temp_path(images, sizeof images, "im"), "no path");
    REQUIRE(test_temp_path(labels, sizeof labels, "la"), "no path");
    size_t n = idx_bytes(im, 3, (int[]){ 2, 3, 4 }, 0), m = idx_bytes(la, 1, (int[]){ 2 }, 0);
    tlv_ctx *c = support_open();
    if (!write_file(labels, la, m)) return;
    for (size_t cut = 0; cut < n; cut++) {
        if (!write_file(images, im, cut)) return;
        refused(c, open_idx(c, images, labels), TLV_ERR_FORMAT, images);
    }
    if (!write_file(images, im, n)) return;
    refused(c, open_idx(c, images, NULL), TLV_ERR_ARG, "needs a 1-d file of labels");
    refused(c, open_idx(c, images, images), TLV_ERR_ARG, "needs a 1-d file of labels");
    refused(c, open_idx(c, labels, labels), TLV_ERR_FORMAT, "1 dims");
    refused(c, open_idx(c, "no-such-file", labels), TLV_ERR_IO, "no-such-file: ");
    refused(c, tlv_dataset_open(c, "idx:", NULL), TLV_ERR_ARG, "no file of images");

    const struct { int at; uint8_t value; const char *says; } cases[] = {
        { 0, 1, "not an IDX file" },   { 1, 1, "not an IDX file" },
        { 2, 9, "not an IDX file" },   { 3, 0, "not an IDX file" },
        { 3, 5, "not an IDX file" },   { 7, 3, "its header says 36" },
        { 7, 0, "dim 0 is 0" },        { 4, 255, "its header says" },
        { 15, 5, "its header says" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        memcpy(bad, im, n);
        bad[cases[i].at] = cases[i].value;
        if (!write_file(images, bad, n)) return;
        refused(c, open_idx(c, images, labels), TLV_ERR_FORMAT, cases[i].says);
    }
    memcpy(bad, (uint8_t[]){ 0x1f, 0x8b, 8, 0 }, 4);
    if (!write_file(images, bad, n)) return;
    refused(c, open_idx(c, images, labels), TLV_ERR_FORMAT, "gzip");

    if (!write_file(images, im, n)) return;
    if (!write_file(labels, la, idx_bytes(la, 1, (int[]){ 3 }, 0))) return;
    refused(c, open_idx(c, images, labels), TLV_ERR_FORMAT, "2 images but 3 labels");
    tlv_ctx_close(c);
}

/* ---- CIFAR-10 -------------------------------------------------------------------------------- */

enum { RECORD = 3073 };

/* n records; image i has label (first + i) mod 10, plane ch holds i + 50 ch + pixel mod 50. */
static int write_cifar(const char *dir, const char *name, int n, int first)
{
    char path[1200];
    uint8_t *buf = malloc((size_t)n * RECORD);
    for (int i = 0; i < n; i++) {
        uint8_t *r = buf + i * RECORD;
        r[0] = (uint8_t)((first + i) % 10);
        for (int k = 0; k < 3072; k++) r[1 + k] = (uint8_t)(first + i + 50 * (k / 1024) + k % 50);
    }
    snprintf(path, sizeof path, "%s/%s", dir, name);
    int ok = write_file(path, buf, (size_t)n * RECORD);
    free(buf);
    return ok;
}

static tlv_dataset *open_cifar(tlv_ctx *c, const char *dir, const char *split)
{
    char what[1200];
    snprintf(what, sizeof what, "cifar10:%s", dir);
    return tlv_dataset_open(c, what, split);
}

static int cifar_folder(char *dir, size_t n)
{
    static const char *const names[] = { "data_batch_1.bin", "data_batch_4.bin", "test_batch.bin" };
    if (!test_temp_path(dir, n, "cifar")) return 0;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char path[1200];
        snprintf(path, sizeof path, "%s/%s", dir, names[i]);
        remove(path);
    }
    mkdir(dir, 0777);
    return 1;
}

static void test_cifar10(void)
{
    char dir[1024];
    REQUIRE(cifar_folder(dir, sizeof dir), "no path");
    tlv_ctx *c = support_open();
    if (!write_cifar(dir, "data_batch_1.bin", 2, 3) || !write_cifar(dir, "data_batch_4.bin", 3, 8)
        || !write_cifar(dir, "test_batch.bin", 1, 6))
        return;
    tlv_dataset *d = open_cifar(c, dir, "train");
    REQUIRE(d, "%s", tlv_error_msg(c));
    EXPECT_INT(tlv_dataset_size(d), 5);
    EXPECT_INT(tlv_dataset_classes(d), 10);
    EXPECT_STR(tlv_dataset_text(d), "CIFAR-10 train, 5 images 32x32 RGB, 10 classes, 2 files");
    const int label[5] = { 3, 4, 8, 9, 0 }, first[5] = { 3, 4, 8, 9, 10 };
    for (int i = 0; i < 5; i++) {
        EXPECT_INT(tlv_dataset_label(d, i), label[i]);
        const uint8_t *px = tlv_dataset_pixels(d, i);
        int wrong = 0;
        for (int p = 0; p < 1024; p++)
            for (int ch = 0; ch < 3; ch++)
                wrong += px[3 * p + ch] != first[i] + 50 * ch + (1024 * ch + p) % 50;
        EXPECT_INT(wrong, 0);
    }
    EXPECT_STR(tlv_dataset_class_name(d, 6), "frog");
    tlv_dataset_close(d);

    d = open_cifar(c, dir, NULL);                       // the usual one is the test batch
    REQUIRE(d, "%s", tlv_error_msg(c));
    EXPECT_INT(tlv_dataset_size(d), 1);
    EXPECT_INT(tlv_dataset_label(d, 0), 6);
    tlv_dataset_close(d);
    tlv_ctx_close(c);
}

static void test_cifar10_refuses(void)
{
    char dir[1024], path[1200];
    uint8_t buf[2 * RECORD] = { 0 };
    REQUIRE(cifar_folder(dir, sizeof dir), "no path");
    snprintf(path, sizeof path, "%s/test_batch.bin", dir);
    tlv_ctx *c = support_open();
    refused(c, open_cifar(c, dir, "train"), TLV_ERR_IO, "no data_batch_1.bin");
    refused(c, open_cifar(c, dir, "test"), TLV_ERR_IO, "test_batch.bin: ");
    refused(c, open_cifar(c, "no/such/folder", NULL), TLV_ERR_IO, "no/such/folder");
    const size_t cuts[] = { 0, 1, RECORD - 1, RECORD + 1, 2 * RECORD - 1 };
    for (size_t i = 0; i < sizeof cuts / sizeof cuts[0]; i++) {
        if (!write_file(path, buf, cuts[i])) return;
        refused(c, open_cifar(c, dir, "test"), TLV_ERR_FORMAT, "whole number");
    }
    buf[RECORD] = 10;
    if (!write_file(path, buf, sizeof buf)) return;
    refused(c, open_cifar(c, dir, "test"), TLV_ERR_FORMAT, "image 1 has label 10");
    tlv_ctx_close(c);
}

static void test_descriptions(void)
{
    static const char *const wrong[] = { "",          "shapes",    "shapes:",       "shapes:0",
                                         "shapes:-1", "shapes:x",  "shapes:100001", "shapes:5x",
                                         "folders:x", "Shapes:5" };
    tlv_ctx *c = support_open();
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        refused(c, tlv_dataset_open(c, wrong[i], NULL), TLV_ERR_ARG, "");
    refused(c, tlv_dataset_open(c, NULL, NULL), TLV_ERR_ARG, "NULL");
    refused(c, tlv_dataset_open(c, "shapes:5", "dev"), TLV_ERR_ARG, "no split 'dev'");
    refused(c, tlv_dataset_open(c, "folder:no/such", NULL), TLV_ERR_IO, "no/such: ");
    refused(c, tlv_dataset_open(c, "csv:no/such", NULL), TLV_ERR_IO, "no/such: ");
    tlv_dataset_close(NULL);
    tlv_ctx_close(c);
}

/* ---- drawn shapes ---------------------------------------------------------------------------- */

enum { IMAGE = 32 * 32 * 3 };

static int same_images(const tlv_dataset *a, const tlv_dataset *b, int64_t n)
{
    return memcmp(tlv_dataset_pixels(a, 0), tlv_dataset_pixels(b, 0), (size_t)n * IMAGE) == 0;
}

static void test_shapes(void)
{
    tlv_ctx *c = support_open();
    tlv_dataset *few = tlv_dataset_open(c, "shapes:3", "train");
    tlv_dataset *many = tlv_dataset_open(c, "shapes:20", "train");
    tlv_dataset *usual = tlv_dataset_open(c, "shapes:20", NULL);
    tlv_dataset *test = tlv_dataset_open(c, "shapes:20", "test");
    tlv_dataset *val = tlv_dataset_open(c, "shapes:20", "val");
    REQUIRE(few && many && usual && test && val, "%s", tlv_error_msg(c));
    EXPECT_INT(tlv_dataset_class_count(many, 7), 20);
    EXPECT_INT(tlv_dataset_class_count(many, 10), 0);
    EXPECT_INT(tlv_dataset_size(many), 200);
    EXPECT_INT(tlv_dataset_classes(many), 10);
    for (int i = 0; i < 200; i++) EXPECT_INT(tlv_dataset_label(many, i), i % 10);
    EXPECT_STR(tlv_dataset_class_name(many, 7), "star");
    EXPECT(same_images(few, many, 30), "shapes:3 does not begin shapes:20");
    EXPECT(same_images(usual, many, 200), "without a split it is not train");
    EXPECT(same_images(val, test, 200), "val does not stand for test");
    int equal = 0;
    for (int i = 0; i < 200; i++)
        equal += memcmp(tlv_dataset_pixels(many, i), tlv_dataset_pixels(test, i), IMAGE) == 0;
    EXPECT_INT(equal, 0);
    for (int i = 0; i < 190; i++)
        equal += memcmp(tlv_dataset_pixels(many, i), tlv_dataset_pixels(many, i + 10), IMAGE) == 0;
    EXPECT_INT(equal, 0);
    tlv_dataset_close(few);
    tlv_dataset_close(many);
    tlv_dataset_close(usual);
    tlv_dataset_close(test);
    tlv_dataset_close(val);
    tlv_ctx_close(c);
}

static void test_shapes_depend_on_the_seed_alone(void)
{
    tlv_ctx *one = tlv_ctx_open(&(tlv_ctx_opts){ .threads = 1, .seed = 5 });
    tlv_ctx *two = tlv_ctx_open(&(tlv_ctx_opts){ .threads = 2, .seed = 5 });
    tlv_ctx *other = tlv_ctx_open(&(tlv_ctx_opts){ .threads = 1, .seed = 6 });
    tlv_dataset *a = tlv_dataset_open(one, "shapes:20", "test");
    tlv_dataset *b = tlv_dataset_open(two, "shapes:20", "test");
    tlv_dataset *o = tlv_dataset_open(other, "shapes:20", "test");
    REQUIRE(a && b && o, "%s %s %s", tlv_error_msg(one), tlv_error_msg(two), tlv_error_msg(other));
    EXPECT(same_images(a, b, 200), "one thread and two draw different images");
    EXPECT(!same_images(a, o, 1), "another seed draws the same image");
    tlv_dataset_close(a);
    tlv_dataset_close(b);
    tlv_dataset_close(o);
    tlv_ctx_close(one);
    tlv_ctx_close(two);
    tlv_ctx_close(other);
}

/* A shape is there: brightness varies beyond the noise in nearly every image. */
static void test_shapes_show_something(void)
{
    tlv_ctx *c = support_open();
    tlv_dataset *d = tlv_dataset_open(c, "shapes:50", "train");
    REQUIRE(d, "%s", tlv_error_msg(c));
    int flat = 0;
    for (int i = 0; i < 500; i++) {
        const uint8_t *px = tlv_dataset_pixels(d, i);
        double sum = 0, squares = 0;
        for (int y = 0; y < 32; y += 2)                         // means of 2 x 2 pixels: less noise
            for (int x = 0; x < 32; x += 2) {
                double v = 0;
                for (int k = 0; k < 4; k++) {
                    const uint8_t *at = px + ((y + k / 2) * 32 + x + k % 2) * 3;
                    v += (0.3 * at[0] + 0.6 * at[1] + 0.1 * at[2]) / 4;
                }
                sum += v;
                squares += v * v;
            }
        flat += sqrt(squares / 256 - sum / 256 * (sum / 256)) < 8;
    }
    EXPECT(flat <= 10, "%d of 500 images show next to nothing", flat);
    tlv_dataset_close(d);
    tlv_ctx_close(c);
}

/* ---- subsets --------------------------------------------------------------------------------- */

static int64_t count_label(const tlv_dataset *d, const int64_t *index, int64_t n, int k)
{
    int64_t m = 0;
    for (int64_t i = 0; i < n; i++) m += tlv_dataset_label(d, index[i]) == k;
    return m;
}

static int all_different(const int64_t *index, int64_t n, int64_t size)
{
    char seen[512] = { 0 };
    for (int64_t i = 0; i < n; i++)
        if (index[i] < 0 || index[i] >= size || seen[index[i]]++) return 0;
    return 1;
}

static void test_per_class(void)
{
    tlv_ctx *c = support_open();
    tlv_dataset *d = tlv_dataset_open(c, "shapes:20", "train");
    REQUIRE(d, "%s", tlv_error_msg(c));
    int64_t a[200], b[200], o[200];
    tlv_rng_key key = tlv_rng_stream(c, "subset");
    int64_t n = tlv_dataset_per_class(d, 4, key, a);
    EXPECT_INT(n, 40);
    EXPECT(all_different(a, n, 200), "an image is taken twice");
    for (int k = 0; k < 10; k++) {
        EXPECT_INT(count_label(d, a, n, k), 4);
        EXPECT_INT(count_label(d, a + 4 * k, 4, k), 4);         // class by class
    }
    EXPECT_INT(tlv_dataset_per_class(d, 4, key, b), 40);
    EXPECT(memcmp(a, b, 40 * sizeof *a) == 0, "the same key takes other images");
    EXPECT_INT(tlv_dataset_per_class(d, 4, tlv_rng_fold(key, 1), o), 40);
    EXPECT(memcmp(a, o, 40 * sizeof *a) != 0, "another key takes the same images");
    EXPECT_INT(tlv_dataset_per_class(d, 7, key, b), 70);        // more of them: the same ones first
    for (int k = 0; k < 10; k++)
        EXPECT(memcmp(a + 4 * k, b + 7 * k, 4 * sizeof *a) == 0, "class %d begins otherwise", k);
    EXPECT_INT(tlv_dataset_per_class(d, 1000, key, b), 200);    // all where there are fewer
    EXPECT(all_different(b, 200, 200), "an image is taken twice");
    EXPECT_INT(tlv_dataset_per_class(d, 0, key, b), 0);
    tlv_dataset_close(d);
    tlv_ctx_close(c);
}

static void test_split(void)
{
    tlv_ctx *c = support_open();
    tlv_dataset *d = tlv_dataset_open(c, "shapes:20", "train");
    REQUIRE(d, "%s", tlv_error_msg(c));
    int64_t all[200], train[200], val[200], n_train, n_val;
    tlv_rng_key key = tlv_rng_stream(c, "split");
    const struct { double part; int val; } cases[] = { { 0.25, 5 }, { 0.2, 4 }, { 0.01, 1 },
                                                       { 0, 0 },    { 1, 20 } };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        tlv_dataset_split(d, 200, NULL, cases[i].part, key, train, &n_train, val, &n_val);
        EXPECT_INT(n_val, 10 * cases[i].val);
        EXPECT_INT(n_train, 200 - n_val);
        for (int k = 0; k < 10; k++) EXPECT_INT(count_label(d, val, n_val, k), cases[i].val);
        memcpy(all, train, (size_t)n_train * sizeof *all);
        memcpy(all + n_train, val, (size_t)n_val * sizeof *all);
        EXPECT(all_different(all, 200, 200), "an image is in both parts, or in none");
    }

    // of a few only: what is not listed is in neither part; a class with one example trains
    const int64_t some[5] = { 10, 20, 30, 41, 40 };             // labels 0 0 0 1 0
    tlv_dataset_split(d, 5, some, 0.5, key, train, &n_train, val, &n_val);
    EXPECT_INT(n_val, 3);                                       // 2 of four, 1 of one: 0.5 is up
    tlv_dataset_split(d, 5, some, 0.3, key, train, &n_train, val, &n_val);
    EXPECT_INT(count_label(d, val, n_val, 0), 1);
    EXPECT_INT(count_label(d, val, n_val, 1), 0);
    EXPECT_INT(count_label(d, train, n_train, 1), 1);
    EXPECT_INT(n_train + n_val, 5);
    tlv_dataset_close(d);
    tlv_ctx_close(c);
}

/* ---- batches --------------------------------------------------------------------------------- */

static const tlv_batch_opts PLAIN = {
    .recipe = { .size = 32, .mean = { 0.485, 0.456, 0.406 }, .std = { 0.229, 0.224, 0.225 } }
};

static void test_batch_values(void)
{
    static float x[3 * IMAGE];
    tlv_ctx *c = support_open();
    tlv_dataset *d = tlv_dataset_open(c, "shapes:1", "train");
    const int64_t index[4] = { 9, 3, 3, 7 };
    tlv_batch b = tlv_dataset_batch(c, d, index, 1, 3, PLAIN);
    REQUIRE(b.x && b.y, "%s", tlv_error_msg(c));
    EXPECT_SHAPE(b.x, 3, 3, 32, 32);
    EXPECT_VALUES(c, b.y, 0, 3, 3, 7);
    EXPECT_STATUS(tlv_read(c, b.x, x, 3 * IMAGE), TLV_OK);
    double worst = 0;
    int exact = 1;
    for (int i = 0; i < 3 * IMAGE; i++) {
        int image = i / IMAGE, ch = i / 1024 % 3, p = i % 1024;
        int byte = tlv_dataset_pixels(d, index[1 + image])[3 * p + ch];
        double want = (byte / 255.0 - PLAIN.recipe.mean[ch]) / PLAIN.recipe.std[ch];
        float scale = (float)(1 / (255 * PLAIN.recipe.std[ch]));
        float shift = (float)(-PLAIN.recipe.mean[ch] / PLAIN.recipe.std[ch]);
        worst = fmax(worst, fabs(x[i] - want));
        exact &= x[i] == (float)byte * scale + shift;
    }
    EXPECT(worst < 1e-6, "off by %g", worst);
    EXPECT(exact, "not one product and one sum of f32");

    // deviation 0 means 1: the bytes / 255
    b = tlv_dataset_batch(c, d, index, 0, 1, (tlv_batch_opts){ .recipe = { .size = 32 } });
    EXPECT_STATUS(tlv_read(c, b.x, x, IMAGE), TLV_OK);
    EXPECT_CLOSE(x[1024 + 5], tlv_dataset_pixels(d, 9)[3 * 5 + 1] / 255.0, 1e-6, 0);
    tlv_dataset_close(d);
    tlv_ctx_close(c);
}

static void test_grey_is_repeated(void)
{
    float x[36];
    tlv_ctx *c = support_open();
    tlv_dataset *d = small_set(c);
    REQUIRE(d, "%s", tlv_error_msg(c));
    const int64_t index[1] = { 4 };
    tlv_batch_opts o = { .recipe.size = 3 };
    tlv_batch b = tlv_dataset_batch(c, d, index, 0, 1, o);
    REQUIRE(b.x, "%s", tlv_error_msg(c));
    EXPECT_STATUS(tlv_read(c, b.x, x, 27), TLV_OK);
    for (int p = 0; p < 9; p++)
        EXPECT(x[p] == x[9 + p] && x[p] == x[18 + p], "pixel %d: %g %g %g", p, x[p], x[9 + p],
               x[18 + p]);
    tlv_dataset_close(d);
    tlv_ctx_close(c);
}

/* ---- resize ---------------------------------------------------------------------------------- */

/* Squashed by tlv_image_resize, whose bytes test_resample.c compares with Pillow's. */
static void test_resize(void)
{
    static float x[3 * 64 * 64];
    tlv_ctx *c = support_open();
    tlv_dataset *d = small_set(c);                              // 3 high, 4 wide
    REQUIRE(d, "%s", tlv_error_msg(c));
    const int64_t index[2] = { 1, 4 };
    const int sizes[] = { 1, 2, 3, 4, 5, 7, 12, 64 };
    tlv_image m, want;
    REQUIRE(tlv_image_new(c, 3, 4, TLV_GREY, 8, &m) == TLV_OK, "%s", tlv_error_msg(c));
    memcpy(m.samples, tlv_dataset_pixels(d, 4), 12);
    for (size_t k = 0; k < sizeof sizes / sizeof sizes[0]; k++) {
        int n = sizes[k], wrong = 0;
        tlv_batch b = tlv_dataset_batch(c, d, index, 1, 1, (tlv_batch_opts){ .recipe.size = n });
        EXPECT_STATUS(tlv_read(c, b.x, x, 3 * n * n), TLV_OK);
        EXPECT_STATUS(tlv_image_resize(&m, n, n, TLV_FILTER_BILINEAR, NULL, &want), TLV_OK);
        const uint8_t *px = want.samples;
        for (int i = 0; i < 3 * n * n; i++)
            wrong += x[i] != (float)px[i % (n * n)] * (float)(1 / 255.0);
        EXPECT(wrong == 0, "to %d: %d wrong values", n, wrong);
        tlv_image_close(&want);
    }
    tlv_image_close(&m);
    tlv_dataset_close(d);
    tlv_ctx_close(c);
}

/* ---- augmentation ---------------------------------------------------------------------------- */

/* Is x (planar, byte / 255) the picture px shifted by (dy, dx) and perhaps mirrored? */
static int is_shifted(const float *x, const uint8_t *px, int dy, int dx, int flip)
{
    for (int i = 0; i < IMAGE; i++) {
        int ch = i / 1024, y = i % 1024 / 32 + dy, at = i % 32 + dx, byte = 0;
        if (y >= 0 && y < 32 && at >= 0 && at < 32)
            byte = px[(y * 32 + (flip ? 31 - at : at)) * 3 + ch];
        if (fabsf(255 * x[i] - (float)byte) > 0.01f) return 0;
    }
    return 1;
}

/* Every picture is one of the 81 shifts by up to 4, mirrored or not, and of 1,000 all turn up. */
static void test_crop_and_flip(void)
{
    enum { N = 1000, PAD = 4, WAYS = 2 * PAD + 1, SHIFTS = WAYS * WAYS };
    static float x[10 * IMAGE];
    int seen[2 * SHIFTS] = { 0 }, lost = 0, kinds = 0, flipped = 0;
    tlv_ctx *c = support_open();
    tlv_dataset *d = tlv_dataset_open(c, "shapes:100", "train");
    REQUIRE(d, "%s", tlv_error_msg(c));
    int64_t index[N];
    for (int i = 0; i < N; i++) index[i] = N - 1 - i;
    tlv_batch_opts o = { .recipe.size = 32, .augment = { .pad_crop = PAD, .flip = 1 },
                         .key = tlv_rng_stream(c, "augment") };
    for (int from = 0; from < N; from += 10) {
        tlv_scope s = tlv_scope_begin(c);
        tlv_batch b = tlv_dataset_batch(c, d, index, from, 10, o);
        EXPECT_STATUS(tlv_read(c, b.x, x, 10 * IMAGE), TLV_OK);
        tlv_scope_end(c, s);
        for (int i = 0; i < 10; i++) {
            const uint8_t *px = tlv_dataset_pixels(d, index[from + i]);
            int which = -1;
            for (int k = 0; k < 2 * SHIFTS && which < 0; k++) {
                int dy = k / 2 / WAYS - PAD, dx = k / 2 % WAYS - PAD;
                if (is_shifted(x + i * IMAGE, px, dy, dx, k % 2)) which = k;
            }
            if (which < 0) lost++;
            else seen[which]++;
        }
    }
    for (int k = 0; k < 2 * SHIFTS; k++) {
        kinds += seen[k] > 0;
        flipped += k % 2 ? seen[k] : 0;
    }
    EXPECT_INT(lost, 0);
    EXPECT(kinds == 2 * SHIFTS, "%d of %d ways to cut turned up", kinds, 2 * SHIFTS);
    EXPECT(flipped > 430 && flipped < 570, "%d of 1000 are mirrored", flipped);
    tlv_dataset_close(d);
    tlv_ctx_close(c);
}

/* What an image becomes depends on the key and its place in the epoch, not on the batches. */
static void test_augmentation_depends_on_place(void)
{
    static float whole[20 * IMAGE], part[20 * IMAGE];
    tlv_ctx *c = support_open();
    tlv_dataset *d = tlv_dataset_open(c, "shapes:2", "train");
    REQUIRE(d, "%s", tlv_error_msg(c));
    int64_t index[20];
    for (int i = 0; i < 20; i++) index[i] = 5;                  // one image, many places
    tlv_batch_opts o = { .recipe.size = 32, .augment = { .pad_crop = 4, .flip = 1 },
                         .key = tlv_rng_stream(c, "augment") };
    tlv_batch b = tlv_dataset_batch(c, d, index, 0, 20, o);
    EXPECT_STATUS(tlv_read(c, b.x, whole, 20 * IMAGE), TLV_OK);
    b = tlv_dataset_batch(c, d, index, 7, 6, o);
    EXPECT_STATUS(tlv_read(c, b.x, part, 6 * IMAGE), TLV_OK);
    EXPECT(memcmp(whole + 7 * IMAGE, part, sizeof(float) * 6 * IMAGE) == 0, "the cut matters");
    int same = 0;
    for (int i = 1; i < 20; i++)
        same += memcmp(whole, whole + i * IMAGE, sizeof(float) * IMAGE) == 0;
    EXPECT(same < 5, "%d of 19 places are cut alike", same);
    o.key = tlv_rng_fold(o.key, 1);
    b = tlv_dataset_batch(c, d, index, 0, 20, o);
    EXPECT_STATUS(tlv_read(c, b.x, part, 20 * IMAGE), TLV_OK);
    EXPECT(memcmp(whole, part, sizeof part) != 0, "another key cuts alike");
    tlv_dataset_close(d);
    tlv_ctx_close(c);
}

/* ---- threads, errors, memory ----------------------------------------------------------------- */

static void test_batches_at_any_thread_count(void)
{
    enum { SIZE = 40, N = 50, BYTES = N * 3 * SIZE * SIZE * 4 };
    float *x[2] = { malloc(BYTES), malloc(BYTES) };
    for (int t = 0; t < 2; t++) {
        tlv_ctx *c = tlv_ctx_open(&(tlv_ctx_opts){ .threads = 1 + t, .seed = 3 });
        tlv_dataset *d = tlv_dataset_open(c, "shapes:5", "train");
        int64_t index[N];
        for (int i = 0; i < N; i++) index[i] = i;
        tlv_batch_opts o = PLAIN;
        o.recipe.size = SIZE;
        o.augment = (tlv_augment){ .pad_crop = 3, .flip = 1 };
        o.key = tlv_rng_stream(c, "augment");
        tlv_batch b = tlv_dataset_batch(c, d, index, 0, N, o);
        EXPECT_STATUS(tlv_read(c, b.x, x[t], BYTES / 4), TLV_OK);
        tlv_dataset_close(d);
        tlv_ctx_close(c);
    }
    EXPECT(memcmp(x[0], x[1], BYTES) == 0, "one thread and two give different bits");
    free(x[0]);
    free(x[1]);
}

static void test_batch_refuses(void)
{
    tlv_ctx *c = support_open();
    tlv_dataset *d = tlv_dataset_open(c, "shapes:1", "train");
    const int64_t index[3] = { 0, 10, -1 };
    const struct {
        int64_t from, n;
        tlv_batch_opts o;
        tlv_status code;
        const char *says;
    } cases[] = {
        { 0, 0, { .recipe.size = 32 }, TLV_ERR_ARG, "0 images" },
        { 0, -1, { .recipe.size = 32 }, TLV_ERR_ARG, "-1 images" },
        { 0, 1, { .recipe.size = 0 }, TLV_ERR_ARG, "size 0" },
        { 0, 1, { .recipe.size = 32, .augment = { .pad_crop = -1 } }, TLV_ERR_ARG, "" },
        { 0, 1, { .recipe.size = 32, .augment = { .pad_crop = INT32_MAX } }, TLV_ERR_ARG,
          "pad_crop 2147483647" },
        { 0, 2, { .recipe.size = 32 }, TLV_ERR_INDEX, "index 1 is 10" },
        { 2, 1, { .recipe.size = 32 }, TLV_ERR_INDEX, "index 2 is -1" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        tlv_batch b = tlv_dataset_batch(c, d, index, cases[i].from, cases[i].n, cases[i].o);
        EXPECT(!b.x && !b.y, "case %d made a batch", (int)i);
        EXPECT_ERROR(c, cases[i].code, cases[i].says);
    }
    tlv_dataset_close(d);
    tlv_ctx_close(c);
}

/* Opens each kind, cuts, makes a batch; 1 if a request for memory was refused on the way. */
static int use_everything(tlv_ctx *c, const char *cifar)
{
    tlv_dataset *d[3] = { small_set(c), open_cifar(c, cifar, "test"),
                          tlv_dataset_open(c, "shapes:1", "train") };
    for (int k = 0; k < 3 && !tlv_error(c); k++) {
        int64_t index[16], train[16], val[16], n, m;
        tlv_dataset_per_class(d[k], 1, tlv_rng_stream(c, "x"), index);
        tlv_dataset_split(d[k], 1, NULL, 0.5, tlv_rng_stream(c, "x"), train, &n, val, &m);
        tlv_scope s = tlv_scope_begin(c);
        tlv_dataset_batch(c, d[k], index, 0, 1, PLAIN);
        tlv_scope_end(c, s);
    }
    for (int k = 0; k < 3; k++) tlv_dataset_close(d[k]);
    if (tlv_error(c) == TLV_OK) return 0;
    EXPECT_ERROR(c, TLV_ERR_NOMEM, "");
    return 1;
}

static void test_memory_runs_out(void)
{
    char cifar[1024];
    REQUIRE(cifar_folder(cifar, sizeof cifar), "no path");
    if (!write_cifar(cifar, "test_batch.bin", 1, 0)) return;
    int64_t at = 1;
    for (int refusals = 1; refusals && at < 500; at++) {
        support_hook h = { 0 };
        tlv_ctx *c = tlv_ctx_open(&(tlv_ctx_opts){ .threads = 1, .alloc = support_alloc,
                                                   .alloc_user = &h, .fail_at = at });
        if (c) refusals = use_everything(c, cifar);             // else the context was refused
        tlv_ctx_close(c);
        EXPECT(h.live == 0 && h.wrong_size == 0, "refusing request %lld leaves %lld blocks",
               (long long)at, (long long)h.live);
    }
    EXPECT(at > 15 && at < 500, "%lld requests for memory", (long long)at);
}

/* ---- real files ------------------------------------------------------------------------------ */

static void test_real_cifar10(void)
{
    char path[1024];
    NEED_DATA(path, sizeof path, "cifar10/test_batch.bin");
    *strrchr(path, '/') = 0;
    tlv_ctx *c = support_open();
    tlv_dataset *d = open_cifar(c, path, "test");
    REQUIRE(d, "%s", tlv_error_msg(c));
    EXPECT_INT(tlv_dataset_size(d), 10000);
    int64_t per_class[10] = { 0 };
    for (int64_t i = 0; i < 10000; i++) per_class[tlv_dataset_label(d, i)]++;
    for (int k = 0; k < 10; k++) EXPECT_INT(per_class[k], 1000);
    tlv_dataset_close(d);
    tlv_ctx_close(c);
}

TEST_MAIN(T(test_idx), T(test_idx_of_four_dims), T(test_idx_refuses), T(test_cifar10),
          T(test_cifar10_refuses), T(test_descriptions), T(test_shapes),
          T(test_shapes_depend_on_the_seed_alone), T(test_shapes_show_something), T(test_per_class),
          T(test_split), T(test_batch_values), T(test_grey_is_repeated), T(test_resize),
          T(test_crop_and_flip), T(test_augmentation_depends_on_place),
          T(test_batches_at_any_thread_count), T(test_batch_refuses), T(test_memory_runs_out),
          T(test_real_cifar10))
