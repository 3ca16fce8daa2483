/* test_image.c -- images: which decoder, other kinds of pixels, the right way up. */
#include <stdio.h>
#include <string.h>

#include "data/data.h"
#include "tests/fuzz_images.h"
#include "tests/support.h"

/* Closes a context in which nothing is left of what the test made. */
static void close_empty(tlv_ctx *c)
{
    tlv_ctx *fresh = support_open();
    EXPECT_INT(tlv_mem_get(c).now, tlv_mem_get(fresh).now);
    tlv_ctx_close(fresh);
    tlv_ctx_close(c);
}

static void check_bytes(const tlv_image *m, int h, int w, tlv_pixels kind, const uint8_t *want,
                        const char *what)
{
    EXPECT(m->h == h && m->w == w && m->kind == kind && m->depth == 8,
           "%s: %dx%d kind %d depth %d, want %dx%d kind %d", what, m->h, m->w, (int)m->kind,
           m->depth, h, w, (int)kind);
    size_t n = (size_t)h * (size_t)w * (size_t)m->channels;
    EXPECT_INT(m->bytes, n);
    for (size_t i = 0; m->samples && i < n && i < m->bytes; i++)
        if (((const uint8_t *)m->samples)[i] != want[i]) {
            EXPECT(0, "%s: sample %zu is %d, want %d", what, i, ((const uint8_t *)m->samples)[i],
                   want[i]);
            return;
        }
}

/* ---- which decoder --------------------------------------------------------------------------- */

#define BYTES(s) s, sizeof(s) - 1

static void test_what_is_not_read_is_named(void)
{
    static const struct { const char *bytes; size_t n; const char *want; } FILES[] = {
        { "", 0, "x.jpg is empty" },
        { BYTES("GIF89a\1\0\1\0"), "x.jpg is a GIF file; PNG, JPEG, BMP and PNM are read" },
        { BYTES("RIFF\x10\0\0\0WEBPVP8 "), "x.jpg is a WebP file" },
        { BYTES("RIFF\x10\0\0\0WAVE"), "x.jpg is a RIFF file" },
        { BYTES("II*\0\x08\0\0\0"), "x.jpg is a TIFF file" },
        { BYTES("MM\0*\0\0\0\x08"), "x.jpg is a TIFF file" },
        { BYTES("\0\0\0\x18""ftypheic\0\0"), "x.jpg is a HEIC file" },
        { BYTES("\0\0\0\x18""ftypavif\0\0"), "x.jpg is an AVIF file" },
        { BYTES("\0\0\0\x18""ftypisom\0\0"), "x.jpg is a video" },
        { BYTES("\0\0\0\x0cjP  \r\n\x87\n"), "x.jpg is a JPEG 2000 file" },
        { BYTES("%PDF-1.7"), "x.jpg is a PDF file" },
        { BYTES("\r\n <!DOCTYPE HTML>"), "x.jpg is an HTML page" },
        { BYTES("<?xml version='1.0'?>\n<Html>"), "x.jpg is an HTML page" },
        { BYTES("<?xml version='1.0'?>\n<!-- -->\n<svg>"), "x.jpg is an SVG drawing" },
        { BYTES("<?xml version='1.0'?>\n<rss>"), "x.jpg is an XML file" },
        { BYTES("P7\nWIDTH 1"), "x.jpg is a PAM file" },
        { BYTES("PF\n1 1\n"), "x.jpg is a PFM file" },
        { BYTES("version https://git-lfs.github.com/spec/v1\n"), "x.jpg is a Git LFS pointer" },
        { BYTES("404: Not Found"), "x.jpg is text" },
        { BYTES("\0\0\0\0\0\0"), "x.jpg is nothing but zero bytes" },
        { BYTES("\1\2\3\4"), "x.jpg is of an unknown format; PNG, JPEG, BMP and PNM are read" },
        { BYTES("B"), "x.jpg is text" },
        { BYTES("BM"), "x.jpg: the file ends in its header" },
        { BYTES("P6"), "x.jpg is not a PNM file" },
    };
    tlv_ctx *c = support_open();
    for (size_t i = 0; i < sizeof FILES / sizeof FILES[0]; i++) {
        tlv_image m;
        EXPECT_STATUS(tlv_image_decode(c, FILES[i].bytes, FILES[i].n, "x.jpg", &m), TLV_ERR_FORMAT);
        EXPECT(m.samples == NULL && m.h == 0, "%s: an image came out", FILES[i].want);
        EXPECT_ERROR(c, TLV_ERR_FORMAT, FILES[i].want);
    }
    close_empty(c);
}

static void test_files(void)
{
    static const uint8_t want[] = { 1, 2, 3, 4, 5, 6 };
    char path[512];
    tlv_ctx *c = support_open();
    tlv_image m;
    test_temp_path(path, sizeof path, "picture.jpg");       // told by its bytes, not by its name
    FILE *f = fopen(path, "wb");
    REQUIRE(f, "cannot write %s", path);
    fwrite("P6 2 1 255\n\1\2\3\4\5\6", 1, 17, f);
    fclose(f);
    EXPECT_STATUS(tlv_image_read(c, path, &m), TLV_OK);
    check_bytes(&m, 1, 2, TLV_RGB, want, "a PPM file");
    EXPECT_INT(m.orientation, 1);
    tlv_image_close(&m);
    EXPECT(m.samples == NULL, "closed, and samples are left");
    tlv_image_close(&m);
    tlv_image_close(NULL);

    f = fopen(path, "wb");
    REQUIRE(f, "cannot write %s", path);
    fclose(f);
    EXPECT_STATUS(tlv_image_read(c, path, &m), TLV_ERR_FORMAT);
    EXPECT_ERROR(c, TLV_ERR_FORMAT, "picture.jpg is empty");
    EXPECT_STATUS(tlv_image_read(c, "no/such/file.png", &m), TLV_ERR_IO);
    EXPECT_ERROR(c, TLV_ERR_IO, "no/such/file.png: ");
    EXPECT_STATUS(tlv_image_read(c, ".", &m), TLV_ERR_IO);  // a folder
    EXPECT_ERROR(c, TLV_ERR_IO, ".: ");
    EXPECT_STATUS(tlv_image_read(c, NULL, &m), TLV_ERR_ARG);
    EXPECT_ERROR(c, TLV_ERR_ARG, "NULL");
    close_empty(c);
}

static void test_new(void)
{
    tlv_ctx *c = support_open();
    tlv_image m;
    EXPECT_STATUS(tlv_image_new(c, 3, 5, TLV_CMYK, 16, &m), TLV_OK);
    EXPECT_INT(m.channels, 4);
    EXPECT_INT(m.bytes, 3 * 5 * 4 * 2);
    EXPECT_INT(m.orientation, 1);
    tlv_image_close(&m);
    EXPECT_STATUS(tlv_image_new(c, 0, 5, TLV_RGB, 8, &m), TLV_ERR_ARG);
    EXPECT_ERROR(c, TLV_ERR_ARG, "5x0 pixels");
    EXPECT_STATUS(tlv_image_new(c, 1, 1, (tlv_pixels)6, 8, &m), TLV_ERR_ARG);
    EXPECT_ERROR(c, TLV_ERR_ARG, "kind 6");
    EXPECT_STATUS(tlv_image_new(c, 1, 1, TLV_RGB, 12, &m), TLV_ERR_ARG);
    EXPECT_ERROR(c, TLV_ERR_ARG, "12 bits");
    EXPECT_STATUS(tlv_image_new(c, 1 << 15, (1 << 13) + 1, TLV_GREY, 8, &m), TLV_ERR_LIMIT);
    EXPECT_ERROR(c, TLV_ERR_LIMIT, "8193x32768");
    close_empty(c);
}

/* ---- other kinds ----------------------------------------------------------------------------- */

static tlv_image image_of(tlv_ctx *c, int h, int w, tlv_pixels kind, const uint8_t *samples)
{
    tlv_image m;
    if (EXPECT(tlv_image_new(c, h, w, kind, 8, &m) == TLV_OK, "%s", tlv_error_msg(c)))
        memcpy(m.samples, samples, m.bytes);
    return m;
}

/* Two pixels of each kind in each other kind.  Grey of (10,200,30): (19595 10 + 38470 200 + 7471 30
 * + 32768) / 65536 = 124.3.  Ink: of (200,100,0,180), left (100) 180 - 180 155/255 = 71. */
static void test_kinds(void)
{
    static const struct {
        tlv_pixels from, to;
        uint8_t have[8], want[8];
    } CASES[] = {
        { TLV_GREY, TLV_GREY, { 7, 250 }, { 7, 250 } },
        { TLV_GREY, TLV_RGB, { 7, 250 }, { 7, 7, 7, 250, 250, 250 } },
        { TLV_GREY, TLV_RGBA, { 7, 250 }, { 7, 7, 7, 255, 250, 250, 250, 255 } },
        { TLV_GREY_ALPHA, TLV_GREY, { 7, 1, 250, 2 }, { 7, 250 } },
        { TLV_GREY_ALPHA, TLV_RGB, { 7, 1, 250, 2 }, { 7, 7, 7, 250, 250, 250 } },
        { TLV_GREY_ALPHA, TLV_RGBA, { 7, 1, 250, 2 }, { 7, 7, 7, 1, 250, 250, 250, 2 } },
        { TLV_RGB, TLV_GREY, { 10, 200, 30, 255, 255, 255 }, { 124, 255 } },
        { TLV_RGB, TLV_RGB, { 10, 200, 30, 1, 2, 3 }, { 10, 200, 30, 1, 2, 3 } },
        { TLV_RGB, TLV_RGBA, { 10, 200, 30, 1, 2, 3 }, { 10, 200, 30, 255, 1, 2, 3, 255 } },
        { TLV_RGBA, TLV_GREY, { 10, 200, 30, 0, 0, 0, 1, 9 }, { 124, 0 } },
        { TLV_RGBA, TLV_RGB, { 10, 200, 30, 0, 1, 2, 3, 9 }, { 10, 200, 30, 1, 2, 3 } },
        { TLV_RGBA, TLV_RGBA, { 10, 200, 30, 0, 1, 2, 3, 9 }, { 10, 200, 30, 0, 1, 2, 3, 9 } },
        { TLV_CMYK, TLV_RGB, { 200, 100, 0, 180, 255, 0, 128, 255 }, { 141, 71, 0, 255, 0, 128 } },
        { TLV_CMYK, TLV_GREY, { 255, 255, 255, 77, 0, 0, 0, 255 }, { 77, 0 } },
        { TLV_CMYK, TLV_RGBA, { 255, 255, 255, 77, 0, 0, 0, 9 },
          { 77, 77, 77, 255, 0, 0, 0, 255 } },
    };
    tlv_ctx *c = support_open();
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        char what[64];
        snprintf(what, sizeof what, "kind %d to kind %d", (int)CASES[i].from, (int)CASES[i].to);
        tlv_image m = image_of(c, 1, 2, CASES[i].from, CASES[i].have);
        m.orientation = 6;
        EXPECT_STATUS(tlv_image_convert(&m, CASES[i].to), TLV_OK);
        check_bytes(&m, 1, 2, CASES[i].to, CASES[i].want, what);
        EXPECT_INT(m.orientation, 6);
        tlv_image_close(&m);
    }
    close_empty(c);
}

static void test_sixteen_bits_keep_their_high_byte(void)
{
    static const uint8_t high[] = { 0, 1, 254, 255, 16, 32 };
    static const uint8_t grey[] = { 30, 89 };       // of (0,1,254) and (255,16,32): 30.0, 89.3
    static const tlv_pixels kinds[] = { TLV_RGB, TLV_GREY };
    tlv_ctx *c = support_open();
    for (int k = 0; k < 2; k++) {
        tlv_image m;
        EXPECT_STATUS(tlv_image_new(c, 1, 2, TLV_RGB, 16, &m), TLV_OK);
        for (int i = 0; i < 6; i++) ((uint16_t *)m.samples)[i] = (uint16_t)(high[i] << 8 | 0xff);
        EXPECT_STATUS(tlv_image_convert(&m, kinds[k]), TLV_OK);
        check_bytes(&m, 1, 2, kinds[k], k ? grey : high, "16 bits");
        tlv_image_close(&m);
    }
    close_empty(c);
}

static void test_kinds_that_do_not_come_out(void)
{
    static const uint8_t p[] = { 1, 2, 3 };
    tlv_ctx *c = support_open();
    tlv_image m = image_of(c, 1, 1, TLV_RGB, p), none = { 0 };
    EXPECT_STATUS(tlv_image_convert(&m, TLV_CMYK), TLV_ERR_ARG);
    EXPECT_ERROR(c, TLV_ERR_ARG, "kind 5");
    EXPECT_STATUS(tlv_image_convert(&m, TLV_GREY_ALPHA), TLV_ERR_ARG);
    EXPECT_ERROR(c, TLV_ERR_ARG, "kind 2");
    check_bytes(&m, 1, 1, TLV_RGB, p, "after a refusal");
    EXPECT_STATUS(tlv_image_convert(&none, TLV_RGB), TLV_ERR_ARG);
    EXPECT_STATUS(tlv_image_orient(&none), TLV_ERR_ARG);
    m.orientation = 9;
    EXPECT_STATUS(tlv_image_orient(&m), TLV_ERR_ARG);
    EXPECT_ERROR(c, TLV_ERR_ARG, "orientation 9");
    tlv_image_close(&m);
    tlv_ctx_close(c);
}

/* ---- the right way up ------------------------------------------------------------------------ */

/* 2 rows of 3, with what Pillow's ImageOps.exif_transpose makes of them:
 *     1 2 3
 *     4 5 6 */
static void test_orientations(void)
{
    static const struct { int h, w; uint8_t want[6]; } UPRIGHT[] = {
        { 2, 3, { 1, 2, 3, 4, 5, 6 } },             // 1
        { 2, 3, { 3, 2, 1, 6, 5, 4 } },             // 2: mirrored
        { 2, 3, { 6, 5, 4, 3, 2, 1 } },             // 3: half a turn
        { 2, 3, { 4, 5, 6, 1, 2, 3 } },             // 4: upside down
        { 3, 2, { 1, 4, 2, 5, 3, 6 } },             // 5: transposed
        { 3, 2, { 4, 1, 5, 2, 6, 3 } },             // 6: a quarter turn clockwise
        { 3, 2, { 6, 3, 5, 2, 4, 1 } },             // 7: transposed about the other diagonal
        { 3, 2, { 3, 6, 2, 5, 1, 4 } },             // 8: a quarter turn counter-clockwise
    };
    static const uint8_t picture[] = { 1, 2, 3, 4, 5, 6 };
    tlv_ctx *c = support_open();
    for (int o = 1; o <= 8; o++) {
        char what[32];
        snprintf(what, sizeof what, "orientation %d", o);
        tlv_image m = image_of(c, 2, 3, TLV_GREY, picture);
        m.orientation = o;
        EXPECT_STATUS(tlv_image_orient(&m), TLV_OK);
        check_bytes(&m, UPRIGHT[o - 1].h, UPRIGHT[o - 1].w, TLV_GREY, UPRIGHT[o - 1].want, what);
        EXPECT_INT(m.orientation, 1);
        tlv_image_close(&m);
    }
    close_empty(c);
}

/* More than a tile each way, pixels of 8 bytes: four quarter turns, and each mirror twice, are
 * nothing; 5 is 6 and then 2. */
static void test_orientations_of_large_images(void)
{
    enum { H = 37, W = 70 };
    static const int twice[] = { 2, 3, 4, 5, 7 };
    tlv_ctx *c = support_open();
    tlv_image m, n;
    EXPECT_STATUS(tlv_image_new(c, H, W, TLV_RGBA, 16, &m), TLV_OK);
    EXPECT_STATUS(tlv_image_new(c, H, W, TLV_RGBA, 16, &n), TLV_OK);
    REQUIRE(m.samples && n.samples, "no images");
    for (size_t i = 0; i < H * W * 4; i++) ((uint16_t *)m.samples)[i] = (uint16_t)(i * 40503u);
    memcpy(n.samples, m.samples, m.bytes);
    for (int k = 0; k < 5; k++)
        for (int t = 0; t < 2; t++) {
            n.orientation = twice[k];
            EXPECT_STATUS(tlv_image_orient(&n), TLV_OK);
            int same = n.h == H && memcmp(n.samples, m.samples, m.bytes) == 0;
            EXPECT_INT(same, t);
        }
    for (int t = 0; t < 4; t++) {
        n.orientation = t < 2 ? 6 : 8;
        EXPECT_STATUS(tlv_image_orient(&n), TLV_OK);
    }
    EXPECT(n.h == H && memcmp(n.samples, m.samples, m.bytes) == 0, "6, 6, 8, 8 are not nothing");
    m.orientation = 5;
    tlv_image_orient(&m);
    n.orientation = 6;
    tlv_image_orient(&n);
    n.orientation = 2;
    tlv_image_orient(&n);
    EXPECT(n.h == W && memcmp(n.samples, m.samples, m.bytes) == 0, "5 is not 6 and then 2");
    tlv_image_close(&m);
    tlv_image_close(&n);
    close_empty(c);
}

/* ---- files of strangers ---------------------------------------------------------------------- */

static void test_corpus(void) { fuzz_image_corpus(fuzz_any_image, "image", 10); }

TEST_MAIN(T(test_what_is_not_read_is_named), T(test_files), T(test_new), T(test_kinds),
          T(test_sixteen_bits_keep_their_high_byte), T(test_kinds_that_do_not_come_out),
          T(test_orientations), T(test_orientations_of_large_images), T(test_corpus))
