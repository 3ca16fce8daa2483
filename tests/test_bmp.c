/* test_bmp.c -- Windows and OS/2 bitmaps. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/codec.h"
#include "tests/fuzz_images.h"
#include "tests/support.h"
#include "tests/torture.h"

/* ---- files, written here --------------------------------------------------------------------- */

enum { ROOM = 512 };

/* What stands in a file; lengths of 0 are nothing. */
typedef struct plan {
    uint32_t size;                  /* of the header: 12, 16, 40 ... */
    int w, h, bits;
    uint32_t compression, colours;
    int n_masks;
    uint32_t mask[4];
    int n_palette;                  /* bytes */
    uint8_t palette[64];
    int n_data;
    uint8_t data[64];
    int bare;                       /* no file header */
    tlv_pixels kind;                /* what comes out */
    uint8_t want[64];
} plan;

static size_t put32(uint8_t *p, size_t at, uint32_t v)
{
    for (int i = 0; i < 4; i++) p[at + (size_t)i] = (uint8_t)(v >> 8 * i);
    return at + 4;
}

static size_t put16(uint8_t *p, size_t at, uint32_t v)
{
    p[at] = (uint8_t)v;
    p[at + 1] = (uint8_t)(v >> 8);
    return at + 2;
}

static size_t build(const plan *f, uint8_t buf[ROOM])
{
    memset(buf, 0, ROOM);
    size_t start = f->bare ? 0 : 14, at = put32(buf, start, f->size);
    if (f->size == 12) {
        at = put16(buf, put16(buf, at, (uint32_t)f->w), (uint32_t)f->h);
    } else {
        at = put32(buf, put32(buf, at, (uint32_t)f->w), (uint32_t)f->h);
    }
    at = put16(buf, put16(buf, at, 1), (uint32_t)f->bits);
    if (f->size >= 40) {
        put32(buf, at, f->compression);
        put32(buf, at + 16, f->colours);
    }
    at = start + 40;
    for (int i = 0; i < f->n_masks; i++) at = put32(buf, at, f->mask[i]);
    if (at < start + f->size || f->size < 40) at = start + f->size;
    memcpy(buf + at, f->palette, (size_t)f->n_palette);
    at += (size_t)f->n_palette;
    if (!f->bare) {
        memcpy(buf, "BM", 2);
        put32(buf, 10, (uint32_t)at);
    }
    memcpy(buf + at, f->data, (size_t)f->n_data);
    return at + (size_t)f->n_data;
}

#define RED_GREEN_BLUE 16, { 0, 0, 255, 0, 0, 255, 0, 0, 255, 0, 0, 0, 9, 8, 7, 0 }
#define R 255, 0, 0
#define G 0, 255, 0
#define B 0, 0, 255
#define D 7, 8, 9                   /* the dark one */

/* Rows stand bottom-up and are padded to 4 bytes. */
static const plan PLANS[] = {
    { 12, 5, 2, 1, 0, 0, 0, { 0 }, 6, { 1, 2, 3, 4, 5, 6 }, 5, { 0xa0, 0, 0, 0, 0x50 }, 0, TLV_RGB,
      { 3, 2, 1, 6, 5, 4, 3, 2, 1, 6, 5, 4, 3, 2, 1,
        6, 5, 4, 3, 2, 1, 6, 5, 4, 3, 2, 1, 3, 2, 1 } },
    { 16, 1, 1, 24, 0, 0, 0, { 0 }, 0, { 0 }, 3, { 1, 2, 3 }, 0, TLV_RGB, { 3, 2, 1 } },
    { 40, 3, 2, 8, 0, 4, 0, { 0 }, RED_GREEN_BLUE, 7, { 0, 1, 2, 0, 3, 0, 4 }, 0, TLV_RGB,
      { D, R, 4, 4, 4, R, G, B } },                             // index 4 has no entry: grey 4
    { 40, 3, 1, 4, 0, 4, 0, { 0 }, RED_GREEN_BLUE, 2, { 0x12, 0x30 }, 0, TLV_RGB, { G, B, D } },
    { 40, 5, 1, 2, 0, 4, 0, { 0 }, RED_GREEN_BLUE, 2, { 0x1b, 0x80 }, 0, TLV_RGB,
      { R, G, B, D, B } },
    { 40, 9, 1, 1, 0, 0, 0, { 0 }, 8, { 0, 0, 0, 0, 255, 255, 255, 0 }, 2, { 0xa5, 0x80 }, 0,
      TLV_GREY, { 255, 0, 255, 0, 0, 255, 0, 255, 255 } },      // black and white
    { 40, 3, 1, 8, 0, 3, 0, { 0 }, 12, { 0, 0, 0, 0, 1, 1, 1, 0, 2, 2, 2, 0 }, 3, { 2, 0, 1 }, 0,
      TLV_GREY, { 2, 0, 1 } },
    { 40, 1, 1, 1, 0, 0, 0, { 0 }, 8, { 255, 255, 255, 0, 0, 0, 0, 0 }, 1, { 0 }, 0, TLV_RGB,
      { 255, 255, 255 } },                                      // white and black: a palette
    { 40, 1, -2, 24, 0, 0, 0, { 0 }, 0, { 0 }, 7, { 1, 2, 3, 0, 4, 5, 6 }, 0, TLV_RGB,
      { 3, 2, 1, 6, 5, 4 } },                                   // top-down
    { 40, 1, 1, 32, 0, 0, 0, { 0 }, 0, { 0 }, 4, { 1, 2, 3, 4 }, 0, TLV_RGB, { 3, 2, 1 } },
    // 5 bits: v 255 / 31 rounded down; 0x56 0x35: 0 01101 01010 10110
    { 40, 2, 1, 16, 0, 0, 0, { 0 }, 0, { 0 }, 4, { 0x56, 0x35, 0xff, 0xff }, 0, TLV_RGB,
      { 106, 82, 180, 255, 255, 255 } },
    // 5-6-5: 00110 101010 10110
    { 40, 1, 1, 16, 3, 0, 3, { 0xf800, 0x7e0, 0x1f }, 0, { 0 }, 2, { 0x56, 0x35 }, 0, TLV_RGB,
      { 49, 170, 180 } },
    { 108, 1, 1, 16, 3, 0, 4, { 0x7c00, 0x3e0, 0x1f, 0x8000 }, 0, { 0 }, 2, { 0x56, 0x35 }, 0,
      TLV_RGB, { 106, 82, 180 } },                              // as Pillow: no alpha here
    { 56, 1, 1, 16, 3, 0, 4, { 0x7c00, 0x3e0, 0x1f, 0x8000 }, 0, { 0 }, 2, { 0x56, 0xb5 }, 0,
      TLV_RGBA, { 106, 82, 180, 255 } },
    { 56, 1, 1, 16, 3, 0, 4, { 0xf00, 0xf0, 0xf, 0xf000 }, 0, { 0 }, 2, { 0x34, 0x12 }, 0, TLV_RGBA,
      { 34, 51, 68, 17 } },
    { 108, 1, 1, 32, 3, 0, 4, { 0xff, 0xff00, 0xff0000, 0xff000000 }, 0, { 0 }, 4, { 1, 2, 3, 4 },
      0, TLV_RGBA, { 1, 2, 3, 4 } },
    { 124, 1, 1, 32, 3, 0, 4, { 0, 0, 0, 0 }, 0, { 0 }, 4, { 1, 2, 3, 4 }, 0, TLV_RGBA,
      { 3, 2, 1, 4 } },
    // 10 bits: 0x155 255 / 1023 = 85; 2 bits of alpha: 2 255 / 3 = 170
    { 40, 1, 1, 32, 6, 0, 4, { 0x3ff, 0xffc00, 0x3ff00000, 0xc0000000u }, 0, { 0 }, 4,
      { 0x55, 0x01, 0xf0, 0xbf }, 0, TLV_RGBA, { 85, 0, 255, 170 } },
    { 40, 2, 1, 24, 0, 0, 0, { 0 }, 0, { 0 }, 6, { 1, 2, 3, 4, 5, 6 }, 1, TLV_RGB,
      { 3, 2, 1, 6, 5, 4 } },                                   // without a file header
    // 3 of 1, end of row, 2 as they are, a run that ends with its row, end
    { 40, 3, 2, 8, 1, 4, 0, { 0 }, RED_GREEN_BLUE, 10, { 3, 1, 0, 0, 1, 2, 9, 0, 0, 1 }, 0, TLV_RGB,
      { B, R, R, G, G, G } },
    { 40, 4, 1, 8, 1, 4, 0, { 0 }, RED_GREEN_BLUE, 8, { 0, 3, 0, 1, 2, 0, 1, 3 }, 0, TLV_RGB,
      { R, G, B, D } },
    { 40, 4, 1, 4, 2, 4, 0, { 0 }, RED_GREEN_BLUE, 4, { 3, 0x12, 1, 0x30 }, 0, TLV_RGB,
      { G, B, G, D } },
    { 40, 4, 1, 4, 2, 4, 0, { 0 }, RED_GREEN_BLUE, 4, { 0, 4, 0x01, 0x23 }, 0, TLV_RGB,
      { R, G, B, D } },
    // a jump: its own two bytes are read over, as Pillow does; one to the right, one up
    { 40, 2, 2, 8, 1, 4, 0, { 0 }, RED_GREEN_BLUE, 8, { 0, 2, 9, 9, 1, 1, 2, 2 }, 0, TLV_RGB,
      { R, B, R, R } },
};
enum { N_PLANS = sizeof PLANS / sizeof PLANS[0] };

static void test_samples(void)
{
    tlv_ctx *c = support_open();
    for (int i = 0; i < N_PLANS; i++) {
        const plan *f = &PLANS[i];
        uint8_t buf[ROOM];
        size_t n = build(f, buf);
        tlv_image m = { 0 };
        if (!EXPECT(tlvi_bmp_decode(c, buf, n, "x", &m) == TLV_OK, "file %d: %s", i,
                    tlv_error_msg(c))) {
            tlv_error_clear(c);
            continue;
        }
        EXPECT(m.w == f->w && m.h == abs(f->h) && m.kind == f->kind && m.depth == 8,
               "file %d: %dx%d kind %d", i, m.w, m.h, (int)m.kind);
        for (size_t s = 0; s < m.bytes; s++) {
            int got = ((uint8_t *)m.samples)[s];
            EXPECT(got == f->want[s], "file %d, sample %zu: %d, want %d", i, s, got, f->want[s]);
        }
        tlv_image_close(&m);
    }
    tlv_ctx_close(c);
}

/* Every beginning of a file of rows is refused; none of any file reads beyond its end. */
static void test_truncations_and_mutations(void)
{
    tlv_ctx *c = support_open();
    for (int i = 0; i < N_PLANS; i++) {
        uint8_t buf[ROOM];
        size_t n = build(&PLANS[i], buf);
        fuzz_mutations(tlvi_bmp_decode, buf, n, 300);
        for (size_t k = 4; k < n && PLANS[i].compression % 3 == 0; k++) {
            tlv_image m = { 0 };
            EXPECT(tlvi_bmp_decode(c, buf, k, "x", &m) == TLV_ERR_FORMAT,
                   "file %d opens with %zu of %zu bytes", i, k, n);
            tlv_error_clear(c);
            tlv_image_close(&m);
        }
    }
    tlv_ctx_close(c);
}

/* ---- what is refused ------------------------------------------------------------------------- */

static void test_refusals(void)
{
    static const struct { plan file; tlv_status code; const char *want; } BAD[] = {
        { { .size = 41, .w = 1, .h = 1, .bits = 24 }, TLV_ERR_FORMAT, "header of 41 bytes" },
        { { .size = 40, .w = 1, .h = 1, .bits = 3 }, TLV_ERR_FORMAT, "3 bits a pixel" },
        { { .size = 40, .w = 1, .h = 1, .bits = 33 }, TLV_ERR_FORMAT, "33 bits a pixel" },
        { { .size = 40, .w = 0, .h = 1, .bits = 24 }, TLV_ERR_FORMAT, "0x1 pixels" },
        { { .size = 40, .w = -1, .h = 1, .bits = 24 }, TLV_ERR_LIMIT, "4294967295x1 pixels" },
        { { .size = 40, .w = 16384, .h = 16384, .bits = 24, .n_data = 9 }, TLV_ERR_FORMAT,
          "need 805306368 bytes and 9 are there" },
        { { .size = 40, .w = 3, .h = 1, .bits = 24, .n_data = 8 }, TLV_ERR_FORMAT,
          "need 9 bytes and 8 are there" },
        { { .size = 40, .w = 1, .h = 1, .bits = 24, .compression = 4, .n_data = 4 }, TLV_ERR_FORMAT,
          "compression 4 with 24 bits" },
        { { .size = 40, .w = 1, .h = 1, .bits = 24, .compression = 1, .n_data = 4 }, TLV_ERR_FORMAT,
          "compression 1 with 24 bits" },
        { { .size = 40, .w = 1, .h = 1, .bits = 8, .compression = 3, .n_data = 4 }, TLV_ERR_FORMAT,
          "compression 3 with 8 bits" },
        { { .size = 40, .w = 1, .h = 1, .bits = 8, .colours = 65537, .n_data = 4 }, TLV_ERR_FORMAT,
          "a palette of 65537 colours" },
        { { .size = 40, .w = 1, .h = 1, .bits = 24 }, TLV_ERR_FORMAT, "begin at byte 54 of 54" },
        { { .size = 40, .w = 1, .h = 1, .bits = 16, .compression = 3, .n_masks = 3,
            .mask = { 0xf800, 0x5e0, 0x1f }, .n_data = 4 }, TLV_ERR_FORMAT,
          "a mask with holes, 0x000005e0" },
        { { .size = 40, .w = 1, .h = 1, .bits = 16, .compression = 3, .n_masks = 3, .n_data = 4 },
          TLV_ERR_FORMAT, "the masks of its colours are empty" },
        { { .size = 40, .w = 3, .h = 2, .bits = 8, .compression = 1, .colours = 4, .n_palette = 16,
            .n_data = 4, .data = { 3, 1, 0, 1 } }, TLV_ERR_FORMAT, "hold 3 of 6 pixels" },
        // four jumps over 255 rows of a million pixels: a small file, a large image
        { { .size = 40, .w = 1000000, .h = 250, .bits = 8, .compression = 1, .colours = 4,
            .n_palette = 16, .n_data = 6, .data = { 0, 2, 0, 0, 255, 255 } }, TLV_ERR_FORMAT,
          "250000000 pixels in a file of" },
    };
    tlv_ctx *c = support_open();
    for (size_t i = 0; i < sizeof BAD / sizeof BAD[0]; i++) {
        uint8_t buf[ROOM];
        size_t n = build(&BAD[i].file, buf);
        tlv_image m = { 0 };
        tlvi_bmp_decode(c, buf, n, "x.bmp", &m);
        EXPECT(strncmp(tlv_error_msg(c), "x.bmp: ", 7) == 0, "says: %s", tlv_error_msg(c));
        EXPECT_ERROR(c, BAD[i].code, BAD[i].want);
        EXPECT(!m.samples, "%s: samples", BAD[i].want);
    }
    tlv_ctx_close(c);
}

static void test_corpus(void) { fuzz_image_corpus(tlvi_bmp_decode, "bmp", 15); }

/* 45 that Pillow opens, 21 that it does not. */
static void test_collection(void)
{
    int opened = torture_check("bmp", tlvi_bmp_decode);
    EXPECT(opened == 0 || opened == 66, "%d of 66 opened", opened);
}

TEST_MAIN(T(test_samples), T(test_truncations_and_mutations), T(test_refusals), T(test_corpus),
          T(test_collection))
