/* test_surfaces.c -- drawn surfaces: the same bits everywhere, masks that show the flaws, boxes. */
#include <stdio.h>
#include <string.h>

#include "data/data.h"
#include "tensor/hash.h"
#include "tests/support.h"

enum { SIDE = 64, PIXELS = SIDE * SIDE, TEST_IMAGES = 600, MOST = 64 };

static const char *hex(tlvi_hash *h, char text[2 * TLVI_HASH_BYTES + 1])
{
    uint8_t digest[TLVI_HASH_BYTES];
    tlvi_hash_end(h, digest);
    for (int i = 0; i < TLVI_HASH_BYTES; i++) sprintf(text + 2 * i, "%02x", digest[i]);
    return text;
}

/* ---- the frozen set -------------------------------------------------------------------------- */

/* The 100 test images a class that results are measured on: docs/drawn.md has these numbers, and
 * tlv-draw surfaces --split test --count 100 --hash prints them. */
static void test_the_frozen_test_set(void)
{
    tlv_ctx *c = support_open();
    tlvi_hash images = tlvi_hash_begin(), masks = tlvi_hash_begin();
    char text[2 * TLVI_HASH_BYTES + 1];
    for (int i = 0; i < TEST_IMAGES; i++) {
        tlv_image m, mask;
        if (tlv_surface_example(c, "test", 0, i, SIDE, &m, &mask) != TLV_OK) break;
        tlvi_hash_add(&images, m.samples, m.bytes);
        tlvi_hash_add(&masks, mask.samples, mask.bytes);
        tlv_image_close(&m);
        tlv_image_close(&mask);
    }
    EXPECT_OK(c);
    EXPECT_STR(hex(&images, text),
               "c52953e7ca717ea623dd62a6deb05b2b714e72407a9f094014f496d4e6fed186");
    EXPECT_STR(hex(&masks, text),
               "d89745433e463c76e0ebb267978fbb83dde2f34b383fcfc8ba0d34f31229eb9e");
    tlv_ctx_close(c);
}

/* The set in memory, at any number of threads and with any seed, has the same images. */
static void test_sets(void)
{
    tlv_dataset *d[2];
    tlv_ctx *c[2];
    for (int k = 0; k < 2; k++) {
        tlv_ctx_opts o = { .threads = k + 1, .seed = (uint64_t)(3 * k) };
        c[k] = tlv_ctx_open(&o);
        d[k] = tlv_dataset_open(c[k], k ? "surfaces:3" : "surfaces:5", "test");
        REQUIRE(d[k], "%s", tlv_error_msg(c[k]));
    }
    EXPECT_INT(tlv_dataset_size(d[0]), 30);
    EXPECT_INT(tlv_dataset_classes(d[0]), TLV_DEFECTS);
    EXPECT_STR(tlv_dataset_class_name(d[0], 4), "crack");
    EXPECT(memcmp(tlv_dataset_pixels(d[0], 0), tlv_dataset_pixels(d[1], 0), 18 * 3 * PIXELS) == 0,
           "surfaces:3 is not the beginning of surfaces:5");
    tlv_image m;
    EXPECT_STATUS(tlv_surface_example(c[0], "test", 0, 17, SIDE, &m, NULL), TLV_OK);
    EXPECT(memcmp(m.samples, tlv_dataset_pixels(d[0], 17), 3 * PIXELS) == 0, "another image 17");
    tlv_image_close(&m);
    static const char *const OTHERS[2] = { "train", "val" };
    for (int k = 0; k < 2; k++) {
        tlv_dataset *o = tlv_dataset_open(c[0], "surfaces:1", OTHERS[k]);
        REQUIRE(o, "%s", tlv_error_msg(c[0]));
        EXPECT(memcmp(tlv_dataset_pixels(o, 0), tlv_dataset_pixels(d[0], 0), 3 * PIXELS) != 0,
               "%s has a test image", OTHERS[k]);
        tlv_dataset_close(o);
    }
    for (int k = 0; k < 2; k++) {
        EXPECT_OK(c[k]);
        tlv_dataset_close(d[k]);
        tlv_ctx_close(c[k]);
    }
}

/* Programs ask which splits a set has: where it says none they take its images for training to be
 * all that there are. */
static void test_sets_say_their_splits(void)
{
    static const struct { const char *what; int has[3]; } ROWS[] = {
        { "surfaces:2", { 1, 1, 1 } }, { "shapes:2", { 1, 0, 1 } }, { "patterns:2", { 1, 0, 1 } }
    };
    static const char *const SPLIT[3] = { "train", "val", "test" };
    tlv_ctx *c = support_open();
    for (size_t r = 0; r < sizeof ROWS / sizeof ROWS[0]; r++)
        for (int s = 0; s < 3; s++)
            EXPECT(tlv_dataset_has_split(c, ROWS[r].what, SPLIT[s]) == ROWS[r].has[s],
                   "%s, %s: not %d", ROWS[r].what, SPLIT[s], ROWS[r].has[s]);
    EXPECT_INT(tlv_dataset_has_split(c, "surfaces:2", "all"), 0);
    EXPECT_OK(c);
    tlv_ctx_close(c);
}

/* ---- flaws ----------------------------------------------------------------------------------- */

/* A flawless surface has an empty mask, every other one something in it, but never half of the
 * image. */
static void test_masks_show_the_flaws(void)
{
    tlv_ctx *c = support_open();
    for (int i = 0; i < 5 * TLV_DEFECTS * TLV_SURFACES; i++) {
        tlv_defect f = (tlv_defect)(i % TLV_DEFECTS);
        tlv_surface s = (tlv_surface)(i / TLV_DEFECTS % TLV_SURFACES);
        tlv_image m, mask;
        tlv_box box[MOST];
        tlv_rng_key key = tlv_rng_fold((tlv_rng_key){ 8 }, (uint64_t)i);
        if (tlv_surface_draw(c, s, f, SIDE, key, &m, &mask) != TLV_OK) break;
        const uint8_t *px = mask.samples;
        int white = 0;
        for (int k = 0; k < PIXELS; k++) {
            EXPECT(px[k] == 0 || px[k] == 255, "a mask pixel is %d", px[k]);
            white += px[k] != 0;
        }
        int64_t n = tlv_mask_boxes(c, &mask, box, MOST);
        EXPECT((f == TLV_FLAWLESS) == (white == 0) && (white == 0) == (n == 0),
               "%s on %s: %d pixels, %lld boxes", tlv_defect_name(f), tlv_surface_name(s), white,
               (long long)n);
        EXPECT(white < PIXELS / 2, "%s on %s: %d pixels", tlv_defect_name(f), tlv_surface_name(s),
               white);
        tlv_image_close(&m);
        tlv_image_close(&mask);
    }
    EXPECT_OK(c);
    tlv_ctx_close(c);
}

/* ---- boxes ----------------------------------------------------------------------------------- */

static tlv_image mask_of(tlv_ctx *c, int h, int w, const char *rows)
{
    tlv_image m;
    tlv_image_new(c, h, w, TLV_GREY, 8, &m);
    for (int i = 0; i < h * w; i++) ((uint8_t *)m.samples)[i] = rows[i] == '#' ? 255 : 0;
    return m;
}

static void expect_box(tlv_box b, int x0, int y0, int x1, int y1)
{
    EXPECT(b.x0 == x0 && b.y0 == y0 && b.x1 == x1 && b.y1 == y1,
           "box %d %d %d %d, want %d %d %d %d", b.x0, b.y0, b.x1, b.y1, x0, y0, x1, y1);
}

static void test_boxes(void)
{
    tlv_ctx *c = support_open();
    tlv_box b[4];
    tlv_image m = mask_of(c, 6, 8, "#.....##"
                                   ".#.....#"           // corners touch: one region
                                   "........"
                                   "..#.#..."
                                   "..#.#..#"
                                   "..###...");        // a cup: two arms join below
    EXPECT_INT(tlv_mask_boxes(c, &m, b, 4), 4);
    expect_box(b[0], 0, 0, 2, 2);
    expect_box(b[1], 6, 0, 8, 2);
    expect_box(b[2], 2, 3, 5, 6);
    expect_box(b[3], 7, 4, 8, 5);
    EXPECT_INT(tlv_mask_boxes(c, &m, b, 2), 4);         // counted, though there is no room
    expect_box(b[1], 6, 0, 8, 2);
    tlv_image_close(&m);
    m = mask_of(c, 2, 2, "....");
    EXPECT_INT(tlv_mask_boxes(c, &m, b, 4), 0);
    tlv_image_close(&m);
    m = mask_of(c, 3, 5, "#.#.#"
                         ".#.#."
                         "#.#.#");
    EXPECT_INT(tlv_mask_boxes(c, &m, b, 4), 1);
    expect_box(b[0], 0, 0, 5, 3);
    tlv_image_close(&m);
    EXPECT_INT(tlv_mask_boxes(c, NULL, b, 4), -1);
    EXPECT_ERROR(c, TLV_ERR_ARG, "mask_boxes: no mask");
    tlv_image_new(c, 2, 2, TLV_RGB, 8, &m);
    EXPECT_INT(tlv_mask_boxes(c, &m, b, 4), -1);
    EXPECT_ERROR(c, TLV_ERR_ARG, "not a grey mask");
    tlv_image_close(&m);
    tlv_ctx_close(c);
}

/* The bounds of the region around pixel i, of 8 neighbours, by filling it; takes it out of px. */
static tlv_box fill(uint8_t *px, int side, int i, int *stack)
{
    int n = 0;
    tlv_box b = { side, side, 0, 0 };
    px[i] = 0;
    stack[n++] = i;
    while (n) {
        int at = stack[--n], x = at % side, y = at / side;
        b = (tlv_box){ x < b.x0 ? x : b.x0, y < b.y0 ? y : b.y0, x >= b.x1 ? x + 1 : b.x1,
                       y >= b.y1 ? y + 1 : b.y1 };
        for (int k = 0; k < 9; k++) {
            int u = x + k % 3 - 1, v = y + k / 3 - 1;
            if (u < 0 || v < 0 || u >= side || v >= side || !px[v * side + u]) continue;
            px[v * side + u] = 0;
            stack[n++] = v * side + u;
        }
    }
    return b;
}

/* Boxes of drawn masks, from the smallest image to the largest, are what filling finds. */
static void test_boxes_of_drawn_masks(void)
{
    static const int SIZE[] = { 32, 64, 200, 1024 }, IMAGES[] = { 60, 60, 30, 5 };
    tlv_ctx *c = support_open();
    for (int z = 0; z < 4; z++) {
        int side = SIZE[z], *stack = malloc((size_t)(side * side) * sizeof *stack);
        for (int i = 0; stack && i < IMAGES[z]; i++) {
            tlv_image m, mask;
            tlv_box box[MOST];
            int n = 0, same = 1;
            tlv_defect f = (tlv_defect)(1 + i % 5);
            tlv_rng_key key = tlv_rng_fold((tlv_rng_key){ 9 }, (uint64_t)i);
            if (tlv_surface_draw(c, (tlv_surface)(i / 5 % 5), f, side, key, &m, &mask) != TLV_OK)
                break;
            EXPECT(m.h == side && m.w == side && mask.bytes == (size_t)(side * side), "%d x %d",
                   m.h, m.w);
            int64_t found = tlv_mask_boxes(c, &mask, box, MOST);
            for (int k = 0; k < side * side; k++) {
                if (!((uint8_t *)mask.samples)[k]) continue;
                tlv_box b = fill(mask.samples, side, k, stack);
                same &= n < found && n < MOST && memcmp(&b, &box[n], sizeof b) == 0;
                n++;
            }
            EXPECT(same && n == found && n > 0, "%s, %d pixels: %d regions, %lld boxes",
                   tlv_defect_name(f), side, n, (long long)found);
            tlv_image_close(&m);
            tlv_image_close(&mask);
        }
        free(stack);
    }
    EXPECT_OK(c);
    tlv_ctx_close(c);
}

static void test_wrong_arguments(void)
{
    tlv_ctx *c = support_open();
    tlv_image m;
    EXPECT_STATUS(tlv_surface_draw(c, (tlv_surface)5, TLV_DENT, 64, (tlv_rng_key){ 1 }, &m, NULL),
                  TLV_ERR_ARG);
    EXPECT_ERROR(c, TLV_ERR_ARG, "surface_draw: surface 5, defect 2");
    EXPECT(!m.samples, "an image after an error");
    EXPECT_STATUS(tlv_surface_draw(c, TLV_WOOD, TLV_DENT, 31, (tlv_rng_key){ 1 }, &m, NULL),
                  TLV_ERR_ARG);
    EXPECT_ERROR(c, TLV_ERR_ARG, "surface_draw: size 31");
    EXPECT_STATUS(tlv_surface_example(c, "test", 0, -1, 64, &m, NULL), TLV_ERR_INDEX);
    EXPECT_ERROR(c, TLV_ERR_INDEX, "surface_example: image -1");
    EXPECT_STATUS(tlv_surface_example(c, "tests", 0, 1, 64, &m, NULL), TLV_ERR_ARG);
    EXPECT_ERROR(c, TLV_ERR_ARG, "surface_example: there is no split 'tests'");
    EXPECT(!m.samples, "an image of no split");
    EXPECT(!tlv_dataset_open(c, "surfaces:x", NULL), "surfaces:x");
    EXPECT_ERROR(c, TLV_ERR_ARG, "surfaces:x: the number of images is 1 to 100000");
    tlv_ctx_close(c);
}

TEST_MAIN(T(test_the_frozen_test_set), T(test_sets), T(test_sets_say_their_splits),
          T(test_masks_show_the_flaws), T(test_boxes), T(test_boxes_of_drawn_masks),
          T(test_wrong_arguments))
