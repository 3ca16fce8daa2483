/* test_prepare.c -- what a network takes: recipes, random changes, normalisation, batches. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "data/data.h"
#include "tests/support.h"
#include "tests/support_image.h"

static const tlv_rng_key KEY = { 77 };

static int same(const tlv_image *a, const tlv_image *b)
{
    return a->h == b->h && a->w == b->w && a->kind == b->kind
           && memcmp(a->samples, b->samples, a->bytes) == 0;
}

/* The window that is computed is the one that resize and centre crop would leave. */
static void test_recipes(void)
{
    const int sizes[][4] = { { 37, 50, 32, 24 }, { 50, 37, 33, 24 }, { 9, 9, 9, 9 },
                             { 20, 30, 10, 16 }, { 7, 60, 9, 31 },   { 60, 7, 24, 31 },
                             { 1, 1, 3, 8 },     { 64, 48, 13, 12 } };
    tlv_ctx *c = support_open();
    for (int i = 0; i < 8 * 5; i++) {
        const int *s = sizes[i / 5];
        tlv_recipe r = { .size = s[3], .resize = s[2], .filter = (tlv_filter)(i % 5) };
        tlv_image m, resized, want, got;
        if (!support_picture(c, TLV_RGB, s[0], s[1], &m)) return;
        EXPECT_STATUS(tlv_image_resize_short(&m, s[2], r.filter, &resized), TLV_OK);
        EXPECT_STATUS(tlv_image_center_crop(&resized, s[3], s[3], &want), TLV_OK);
        EXPECT_STATUS(tlv_image_prepare(&m, &r, NULL, KEY, &got), TLV_OK);
        EXPECT(same(&want, &got), "%dx%d by %d to %d, filter %d", s[0], s[1], s[2], s[3], i % 5);
        tlv_image_close(&want);
        tlv_image_close(&got);
        tlv_image_close(&resized);
        r.resize = 0;
        EXPECT_STATUS(tlv_image_resize(&m, s[3], s[3], r.filter, NULL, &want), TLV_OK);
        EXPECT_STATUS(tlv_image_prepare(&m, &r, NULL, KEY, &got), TLV_OK);
        EXPECT(same(&want, &got), "%dx%d squashed to %d, filter %d", s[0], s[1], s[3], i % 5);
        tlv_image_close(&want);
        tlv_image_close(&got);
        tlv_image_close(&m);
    }
    EXPECT_OK(c);
    tlv_ctx_close(c);
}

static void test_any_kind_becomes_upright_rgb(void)
{
    tlv_ctx *c = support_open();
    tlv_recipe r = { .size = 6 };
    for (int kind = TLV_GREY; kind <= TLV_CMYK; kind++) {
        tlv_image m, by_hand, want, got;
        if (!support_picture(c, (tlv_pixels)kind, 9, 5, &m)
            || !support_picture(c, (tlv_pixels)kind, 9, 5, &by_hand))
            return;
        m.orientation = by_hand.orientation = 6;
        EXPECT_STATUS(tlv_image_convert(&by_hand, TLV_RGB), TLV_OK);
        EXPECT_STATUS(tlv_image_orient(&by_hand), TLV_OK);
        EXPECT_STATUS(tlv_image_resize(&by_hand, 6, 6, r.filter, NULL, &want), TLV_OK);
        EXPECT_STATUS(tlv_image_prepare(&m, &r, NULL, KEY, &got), TLV_OK);
        EXPECT(same(&want, &got), "kind %d", kind);
        EXPECT(m.kind == (tlv_pixels)kind && m.orientation == 6, "kind %d: m has changed", kind);
        tlv_image_close(&m);
        tlv_image_close(&by_hand);
        tlv_image_close(&want);
        tlv_image_close(&got);
    }
    tlv_ctx_close(c);
}

/* A quarter of 8x8, square: one of 25 crops, resized; all of them turn up. */
static void test_random_resized_crop(void)
{
    tlv_ctx *c = support_open();
    tlv_recipe r = { .size = 11, .resize = 500, .filter = TLV_FILTER_BICUBIC };
    tlv_augment a = { .area = { 0.25, 0.25 }, .ratio = { 1, 1 } };
    tlv_image m, crop, want[25], got;
    int seen[25] = { 0 }, kinds = 0, lost = 0;
    if (!support_picture(c, TLV_RGB, 8, 8, &m)) return;
    for (int i = 0; i < 25; i++) {
        EXPECT_STATUS(tlv_image_crop(&m, i / 5, i % 5, 4, 4, &crop), TLV_OK);
        EXPECT_STATUS(tlv_image_resize(&crop, 11, 11, r.filter, NULL, &want[i]), TLV_OK);
        tlv_image_close(&crop);
    }
    for (int n = 0; n < 300; n++) {
        int which = -1;
        EXPECT_STATUS(tlv_image_prepare(&m, &r, &a, tlv_rng_fold(KEY, (uint64_t)n), &got), TLV_OK);
        for (int i = 0; i < 25; i++)
            if (same(&want[i], &got)) which = i;
        if (which < 0) lost++;
        else seen[which]++;
        tlv_image_close(&got);
    }
    for (int i = 0; i < 25; i++) kinds += seen[i] > 0;
    EXPECT(lost == 0 && kinds == 25, "%d are no crop, %d of 25 crops turned up", lost, kinds);

    // nothing of ratio 4 has the whole area: the largest such piece of the middle
    a = (tlv_augment){ .area = { 1, 1 }, .ratio = { 4, 4 } };
    tlv_image_close(&want[0]);
    EXPECT_STATUS(tlv_image_crop(&m, 3, 0, 2, 8, &crop), TLV_OK);
    EXPECT_STATUS(tlv_image_resize(&crop, 11, 11, r.filter, NULL, &want[0]), TLV_OK);
    EXPECT_STATUS(tlv_image_prepare(&m, &r, &a, KEY, &got), TLV_OK);
    EXPECT(same(&want[0], &got), "another piece of the middle");
    EXPECT_OK(c);
    tlv_ctx_close(c);
}

/* With one change asked for, the result is that change of the plain image for some draw. */
static void test_colours_and_turns(void)
{
    tlv_ctx *c = support_open();
    tlv_recipe r = { .size = 12 };
    const tlv_augment all[] = { { .brightness = 0.5 }, { .contrast = 0.5 }, { .saturation = 0.5 },
                                { .hue = 0.2 }, { .rotate = 30 }, { .vertical = 1 },
                                { .flip = 1 } };
    tlv_image m, plain, a, b;
    if (!support_picture(c, TLV_RGB, 12, 12, &m)) return;
    const tlv_augment none = { .area = { 0, 0 } };
    EXPECT_STATUS(tlv_image_prepare(&m, &r, &none, KEY, &plain), TLV_OK);
    EXPECT(same(&m, &plain), "zero everywhere changes something");
    for (int i = 0; i < 7; i++) {
        int changed = 0;
        for (uint64_t n = 0; n < 20; n++) {
            tlv_rng_key k = tlv_rng_fold(KEY, n);
            EXPECT_STATUS(tlv_image_prepare(&m, &r, &all[i], k, &a), TLV_OK);
            EXPECT_STATUS(tlv_image_prepare(&m, &r, &all[i], k, &b), TLV_OK);
            EXPECT(same(&a, &b), "change %d: the same key, another image", i);
            changed += !same(&a, &plain);
            tlv_image_close(&a);
            tlv_image_close(&b);
        }
        EXPECT(i < 5 ? changed >= 18 : changed > 3 && changed < 17, "change %d: %d of 20", i,
               changed);
    }
    EXPECT_OK(c);
    tlv_ctx_close(c);
}

static void test_normalize(void)
{
    tlv_ctx *c = support_open();
    float x[7 * 23 * 3];
    tlv_recipe r = { .size = 7, .mean = { .1, .2, .3 }, .std = { .4, 0, .6 } };
    tlv_image m;
    if (!support_picture(c, TLV_RGB, 7, 23, &m)) return;
    for (r.bgr = 0; r.bgr < 2; r.bgr++) {
        int wrong = 0;
        tlv_image_normalize(&m, &r, x);
        for (int i = 0; i < 7 * 23 * 3; i++) {
            int k = i % 3;
            double std = k == 1 ? 1 : r.std[k];
            float scale = (float)(1 / (255 * std)), shift = (float)(-r.mean[k] / std);
            float v = (float)((uint8_t *)m.samples)[r.bgr ? i - k + 2 - k : i] * scale;
            wrong += x[i] != v + shift;
        }
        EXPECT_INT(wrong, 0);
    }
    EXPECT_OK(c);
    tlv_ctx_close(c);
}

/* The short way of a batch gives what the long way gives. */
static void test_batch_equals_prepare(void)
{
    static float x[20 * 3072], y[3072];
    tlv_ctx *c = support_open();
    tlv_dataset *d = tlv_dataset_open(c, "shapes:2", "train");
    REQUIRE(d, "%s", tlv_error_msg(c));
    tlv_batch_opts o = { .recipe = { .size = 32, .mean = { .5, .4, .3 }, .std = { .2, .3, .4 } },
                         .augment = { .pad_crop = 5, .flip = 1 }, .key = KEY };
    int64_t index[20];
    for (int i = 0; i < 20; i++) index[i] = i;
    for (int way = 0; way < 4; way++) {
        o.recipe.bgr = way & 1;
        o.augment.pad_crop = way < 2 ? 5 : 40;
        tlv_batch b = tlv_dataset_batch(c, d, index, 0, 20, o);
        EXPECT_STATUS(tlv_read(c, b.x, x, 20 * 3072), TLV_OK);
        for (int i = 0; i < 20; i++) {
            tlv_image m, p;
            int wrong = 0;
            REQUIRE(tlv_image_new(c, 32, 32, TLV_RGB, 8, &m) == TLV_OK, "%s", tlv_error_msg(c));
            memcpy(m.samples, tlv_dataset_pixels(d, i), 3072);
            tlv_rng_key k = tlv_rng_fold(KEY, (uint64_t)i);
            EXPECT_STATUS(tlv_image_prepare(&m, &o.recipe, &o.augment, k, &p), TLV_OK);
            tlv_image_normalize(&p, &o.recipe, y);
            for (int j = 0; j < 3072; j++) wrong += x[i * 3072 + j % 3 * 1024 + j / 3] != y[j];
            EXPECT_INT(wrong, 0);
            tlv_image_close(&m);
            tlv_image_close(&p);
        }
    }
    tlv_dataset_close(d);
    tlv_ctx_close(c);
}

static void test_refuses(void)
{
    const struct { tlv_recipe r; tlv_augment a; const char *says; } cases[] = {
        { { .size = 0 }, { .flip = 0 }, "size 0" },
        { { .size = 8, .resize = -1 }, { .flip = 0 }, "resize -1" },
        { { .size = 8 }, { .pad_crop = 5000 }, "pad_crop 5000" },
        { { .size = 8 }, { .area = { 0.5, 1.5 } }, "area 0.5 to 1.5" },
        { { .size = 8 }, { .area = { 0.5, NAN } }, "area" },
        { { .size = 8 }, { .area = { 0.5, 1 }, .ratio = { 2, 1 } }, "ratio 2 to 1" },
        { { .size = 8 }, { .hue = 0.6 }, "hue 0.6" },
    };
    tlv_ctx *c = support_open();
    tlv_image m, out;
    if (!support_picture(c, TLV_RGB, 5, 5, &m)) return;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        tlv_image_prepare(&m, &cases[i].r, &cases[i].a, KEY, &out);
        EXPECT(!out.samples, "case %d made an image", (int)i);
        EXPECT_ERROR(c, TLV_ERR_ARG, cases[i].says);
    }
    const double boxes[][4] = { { 0, 0, 6, 5 }, { -1, 0, 5, 5 }, { 2, 0, 2, 5 }, { 0, NAN, 5, 5 } };
    for (int i = 0; i < 4; i++) {
        tlv_image_resize(&m, 3, 3, TLV_FILTER_BOX, boxes[i], &out);
        EXPECT_ERROR(c, TLV_ERR_ARG, "box");
    }
    tlv_ctx_close(c);
}

TEST_MAIN(T(test_recipes), T(test_any_kind_becomes_upright_rgb), T(test_random_resized_crop),
          T(test_colours_and_turns), T(test_normalize), T(test_batch_equals_prepare),
          T(test_refuses))
