/* test_patterns.c -- drawn patterns: the same bits everywhere, labels that tell what is drawn. */
#include <stdio.h>
#include <string.h>

#include "data/data.h"
#include "tensor/hash.h"
#include "tests/support.h"

enum { SIDE = 64, BYTES = 3 * SIDE * SIDE };

static tlv_patterns *open_some(tlv_ctx *c, int fractals, int contours, int objects)
{
    tlv_patterns_opts o = { .fractals = fractals, .contours = contours, .objects = objects,
                            .key = { 17 } };
    return tlv_patterns_open(c, o);
}

/* ---- what is drawn --------------------------------------------------------------------------- */

/* The pixels of 60 images of three sizes: of sums, products, quotients and roots of floats alone,
 * so compilers, instruction sets and machines agree. */
static void test_bits_are_those_of_every_machine(void)
{
    static const int SIZES[3] = { 32, SIDE, 96 };
    tlv_ctx *c = support_open();
    tlv_patterns *p = open_some(c, 0, 0, 0);
    REQUIRE(p, "%s", tlv_error_msg(c));
    static uint8_t pixels[3 * 96 * 96];
    static float label[260];
    tlvi_hash h = tlvi_hash_begin();
    EXPECT_INT(tlv_patterns_labels(p), 260);
    for (int i = 0; i < 60; i++) {
        int side = SIZES[i % 3];
        tlv_rng_key key = tlv_rng_fold((tlv_rng_key){ 4 }, (uint64_t)i);
        EXPECT_STATUS(tlv_pattern_draw(c, p, side, key, pixels, label), TLV_OK);
        tlvi_hash_add(&h, pixels, 3 * (size_t)side * (size_t)side);
        for (int k = 0; k < 260; k++)
            if (label[k] > 0) tlvi_hash_add_u64(&h, (uint64_t)k);
    }
    uint8_t digest[TLVI_HASH_BYTES];
    char text[2 * TLVI_HASH_BYTES + 1];
    tlvi_hash_end(&h, digest);
    for (int i = 0; i < TLVI_HASH_BYTES; i++) sprintf(text + 2 * i, "%02x", digest[i]);
    EXPECT_STR(text, "8094fd04d60f9ebc8aec90ff11d25a452eaef7235426a9b4aeab84794cfa03e2");
    tlv_patterns_close(p);
    tlv_ctx_close(c);
}

/* Textures alone: most images show theirs, with nothing on it. */
static void test_textures_alone(void)
{
    tlv_ctx *c = support_open();
    tlv_patterns *p = tlv_patterns_open(c, (tlv_patterns_opts){ .textures = 4, .key = { 3 } });
    REQUIRE(p, "%s", tlv_error_msg(c));
    static uint8_t pixels[BYTES];
    float label[4];
    int of[4] = { 0 }, none = 0;
    for (int i = 0; i < 200; i++) {
        int n = 0;
        tlv_rng_key key = tlv_rng_fold((tlv_rng_key){ 9 }, (uint64_t)i);
        tlv_pattern_draw(c, p, SIDE, key, pixels, label);
        for (int k = 0; k < 4; k++) of[k] += label[k] > 0, n += label[k] > 0;
        EXPECT(n <= 1, "%d textures", n);
        none += n == 0;
    }
    EXPECT(none > 60 && none < 140, "%d of 200 without a texture, want about half", none);
    for (int k = 0; k < 4; k++) EXPECT(of[k] > 10, "texture %d in %d images", k, of[k]);
    EXPECT_OK(c);
    tlv_patterns_close(p);
    tlv_ctx_close(c);
}

/* An image depends on its key, and on nothing that was drawn before. */
static void test_an_image_is_its_key(void)
{
    tlv_ctx *c = support_open();
    tlv_patterns *p = open_some(c, 20, 10, 3);
    REQUIRE(p, "%s", tlv_error_msg(c));
    static uint8_t a[BYTES], b[BYTES];
    float la[30], lb[30];
    tlv_pattern_draw(c, p, SIDE, (tlv_rng_key){ 1 }, a, la);
    tlv_pattern_draw(c, p, SIDE, (tlv_rng_key){ 2 }, b, lb);
    EXPECT(memcmp(a, b, BYTES) != 0, "two keys draw one image");
    tlv_pattern_draw(c, p, SIDE, (tlv_rng_key){ 1 }, b, lb);
    EXPECT(memcmp(a, b, BYTES) == 0 && memcmp(la, lb, sizeof la) == 0, "another image");
    tlv_pattern_draw(c, p, SIDE, (tlv_rng_key){ 1 }, b, NULL);
    EXPECT(memcmp(a, b, BYTES) == 0, "another image without labels");
    EXPECT_OK(c);
    tlv_patterns_close(p);
    tlv_ctx_close(c);
}

/* Up to `objects` labels; every category comes up; most images have one, and not all labels are
 * of things that were drawn: some of those are covered. */
static void test_labels(void)
{
    enum { IMAGES = 800, LABELS = 30, OBJECTS = 4 };
    tlv_ctx *c = support_open();
    tlv_patterns *p = open_some(c, 20, 10, OBJECTS);
    REQUIRE(p, "%s", tlv_error_msg(c));
    static uint8_t pixels[BYTES];
    float label[LABELS];
    int of[LABELS] = { 0 }, with[OBJECTS + 1] = { 0 };
    for (int i = 0; i < IMAGES; i++) {
        int n = 0;
        tlv_rng_key key = tlv_rng_fold((tlv_rng_key){ 9 }, (uint64_t)i);
        tlv_pattern_draw(c, p, SIDE, key, pixels, label);
        for (int k = 0; k < LABELS; k++) {
            EXPECT(label[k] == 0 || label[k] == 1, "label %g", (double)label[k]);
            of[k] += label[k] > 0;
            n += label[k] > 0;
        }
        if (EXPECT(n <= OBJECTS, "%d labels", n)) with[n]++;
    }
    for (int k = 0; k < LABELS; k++) EXPECT(of[k] > 20, "category %d in %d images", k, of[k]);
    EXPECT(with[0] < IMAGES / 10, "%d images without a label", with[0]);
    for (int n = 1; n <= OBJECTS; n++) EXPECT(with[n] > IMAGES / 20, "%d with %d", with[n], n);
    EXPECT_OK(c);
    tlv_patterns_close(p);
    tlv_ctx_close(c);
}

/* ---- batches and sets ------------------------------------------------------------------------ */

/* x and y of 40 images, whatever the threads; x is the bytes, normalised. */
static void test_batches_at_any_thread_count(void)
{
    enum { N = 40, LABELS = 30, SIZE = 32 };
    static float x[2][N * 3 * SIZE * SIZE], y[2][N * LABELS];
    tlv_recipe r = { .size = SIZE, .mean = { 0.5, 0.5, 0.5 }, .std = { 0.25, 0.25, 0.25 } };
    for (int t = 0; t < 2; t++) {
        tlv_ctx *c = tlv_ctx_open(&(tlv_ctx_opts){ .threads = t + 1, .seed = 3 });
        tlv_patterns *p = open_some(c, 20, 10, 3);
        tlv_tensor *bx, *by;
        REQUIRE(p, "%s", tlv_error_msg(c));
        EXPECT_STATUS(tlv_patterns_batch(c, p, N, &r, (tlv_rng_key){ 5 }, &bx, &by), TLV_OK);
        EXPECT_SHAPE(bx, N, 3, SIZE, SIZE);
        EXPECT_SHAPE(by, N, LABELS);
        tlv_read(c, bx, x[t], N * 3 * SIZE * SIZE);
        tlv_read(c, by, y[t], N * LABELS);
        if (t == 1) {
            static uint8_t px[3 * SIZE * SIZE];
            float label[LABELS];
            tlv_pattern_draw(c, p, SIZE, tlv_rng_fold((tlv_rng_key){ 5 }, 7), px, label);
            EXPECT(memcmp(label, y[1] + 7 * LABELS, sizeof label) == 0, "other labels");
            double want = (px[3 * 11 + 2] / 255.0 - 0.5) / 0.25;        // blue of pixel 11
            EXPECT_CLOSE(x[1][7 * 3 * SIZE * SIZE + 2 * SIZE * SIZE + 11], want, 1e-6, 1e-6);
        }
        EXPECT_OK(c);
        tlv_patterns_close(p);
        tlv_ctx_close(c);
    }
    EXPECT(memcmp(x[0], x[1], sizeof x[0]) == 0, "other images on two threads");
    EXPECT(memcmp(y[0], y[1], sizeof y[0]) == 0, "other labels on two threads");
}

static void test_sets(void)
{
    tlv_ctx *c = support_open();
    tlv_dataset *d = tlv_dataset_open(c, "patterns:2", "train"),
                *e = tlv_dataset_open(c, "patterns:1", "train"),
                *t = tlv_dataset_open(c, "patterns:1", "test");
    REQUIRE(d && e && t, "%s", tlv_error_msg(c));
    EXPECT_INT(tlv_dataset_classes(d), 260);
    EXPECT_INT(tlv_dataset_size(d), 520);
    EXPECT_STR(tlv_dataset_class_name(d, 119), "fractal 119");
    EXPECT_STR(tlv_dataset_class_name(d, 120), "contour 0");
    EXPECT_STR(tlv_dataset_class_name(d, 200), "texture 0");
    EXPECT_INT(tlv_dataset_label(d, 261), 1);
    EXPECT(memcmp(tlv_dataset_pixels(d, 0), tlv_dataset_pixels(e, 0), 260 * BYTES) == 0,
           "patterns:2 begins otherwise than patterns:1");
    EXPECT(memcmp(tlv_dataset_pixels(t, 0), tlv_dataset_pixels(e, 0), BYTES) != 0,
           "a test image is a training image");
    EXPECT_OK(c);
    tlv_dataset_close(d);
    tlv_dataset_close(e);
    tlv_dataset_close(t);
    EXPECT(!tlv_dataset_open(c, "patterns:0", NULL), "patterns:0");
    EXPECT_ERROR(c, TLV_ERR_ARG, "patterns:0: the number of images is 1 to 100000");
    tlv_ctx_close(c);
}

static void test_wrong_options(void)
{
    tlv_ctx *c = support_open();
    EXPECT(!open_some(c, -1, 10, 1), "-1 fractals");
    EXPECT_ERROR(c, TLV_ERR_ARG, "patterns_open: -1 fractals, 10 contours, 0 textures, 1 objects");
    EXPECT(!open_some(c, 10, 10, 17), "17 objects");
    EXPECT_ERROR(c, TLV_ERR_ARG, "17 objects");
    tlv_patterns *p = open_some(c, 0, 3, 1);
    REQUIRE(p, "%s", tlv_error_msg(c));
    EXPECT_INT(tlv_patterns_labels(p), 3);
    uint8_t pixels[1];
    tlv_tensor *x, *y;
    tlv_recipe r = { .size = 8 };
    EXPECT_STATUS(tlv_pattern_draw(c, p, 8, (tlv_rng_key){ 1 }, pixels, NULL), TLV_ERR_ARG);
    EXPECT_ERROR(c, TLV_ERR_ARG, "pattern_draw: size 8");
    EXPECT_STATUS(tlv_patterns_batch(c, p, 4, &r, (tlv_rng_key){ 1 }, &x, &y), TLV_ERR_ARG);
    EXPECT_ERROR(c, TLV_ERR_ARG, "patterns_batch: size 8");
    r.size = 32;
    EXPECT_STATUS(tlv_patterns_batch(c, p, 0, &r, (tlv_rng_key){ 1 }, &x, &y), TLV_ERR_ARG);
    EXPECT_ERROR(c, TLV_ERR_ARG, "patterns_batch: 0 images");
    tlv_patterns_close(p);
    tlv_patterns_close(NULL);
    tlv_ctx_close(c);
}

TEST_MAIN(T(test_bits_are_those_of_every_machine), T(test_an_image_is_its_key), T(test_labels),
          T(test_textures_alone),
          T(test_batches_at_any_thread_count), T(test_sets), T(test_wrong_options))
