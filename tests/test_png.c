/* test_png.c -- PNG: every kind of image in and out, chunks in odd places, broken files. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/codec.h"
#include "tests/fuzz_inputs.h"
#include "tests/support.h"
#include "tests/torture.h"

/* ---- a naive encoder ------------------------------------------------------------------------- */

typedef struct pen {
    tlv_ctx *c;
    uint8_t p[60000];
    size_t n;
} pen;

static void put32(uint8_t *p, uint32_t v)
{
    for (int i = 0; i < 4; i++) p[i] = (uint8_t)(v >> (24 - 8 * i));
}

static void put_chunk(pen *o, const char *type, const void *data, size_t n)
{
    uint8_t *p = o->p + o->n;
    put32(p, (uint32_t)n);
    memcpy(p + 4, type, 4);
    if (n) memcpy(p + 8, data, n);
    put32(p + 8 + n, tlvi_crc32(0, p + 4, n + 4));
    o->n += n + 12;
}

static void put_signature(pen *o, tlv_ctx *c)
{
    o->c = c;
    o->n = 8;
    memcpy(o->p, "\x89PNG\r\n\x1a\n", 8);
}

static void put_header(pen *o, uint32_t w, uint32_t h, int depth, int colour, int interlaced)
{
    uint8_t head[13] = { 0 };
    put32(head, w);
    put32(head + 4, h);
    head[8] = (uint8_t)depth;
    head[9] = (uint8_t)colour;
    head[12] = (uint8_t)interlaced;
    put_chunk(o, "IHDR", head, 13);
}

/* raw[n] compressed, in chunks of at most `each` bytes. */
static void put_data(pen *o, const uint8_t *raw, size_t n, size_t each)
{
    size_t size = 0, room = 0;
    uint8_t *packed = tlvi_deflate(o->c, raw, n, &size, &room);
    for (size_t at = 0; packed && at < size; at += each)
        put_chunk(o, "IDAT", packed + at, size - at < each ? size - at : each);
    tlvi_free(o->c, packed, room);
}

typedef struct format { int depth, colour, interlaced, trns; } format;

static const int SENT[7] = { 1, 0, 3, 1, 2, 0, 4 };

/* Sample k of pixel x, y as it stands in the file.  Blocks of the key colour occur. */
static unsigned sample(const format *f, int x, int y, int k)
{
    unsigned v = (unsigned)(x * 7919 + y * 104729 + k * 1299709);
    if ((x / 3 + y / 2) % 3 == 0) v = 0x55555555;
    return f->depth == 16 ? (v * 2654435761u) >> 16 : (v >> 3) & ((1u << f->depth) - 1);
}

static void palette(uint8_t *rgb, uint8_t *alpha)
{
    for (int i = 0; i < 768; i++) rgb[i] = (uint8_t)(i * 37 + 11);
    for (int i = 0; i < 256; i++) alpha[i] = (uint8_t)(255 - i * 5);
}

static int predict(int filter, int a, int b, int c)
{
    int p = a + b - c, pa = abs(p - a), pb = abs(p - b), pc = abs(p - c);
    const int guess[5] = { 0, a, b, (a + b) / 2,
                           pa <= pb && pa <= pc ? a : pb <= pc ? b : c };
    return guess[filter];
}

/* Rows of one pass behind each other, row r by filter r mod 5; the number of bytes. */
static size_t put_pass(const format *f, int w, int h, const int *pass, uint8_t *out)
{
    size_t at = 0, bits = (size_t)(SENT[f->colour] * f->depth), bpp = (bits + 7) / 8;
    int columns = (w - pass[0] + pass[2] - 1) / pass[2], r = 0;
    if (w <= pass[0]) return 0;
    size_t n = ((size_t)columns * bits + 7) / 8;
    uint8_t above[512] = { 0 }, row[512];
    for (int y = pass[1]; y < h; y += pass[3], r++) {
        memset(row, 0, n);
        for (int i = 0, bit = 0; i < columns; i++)
            for (int k = 0; k < SENT[f->colour]; k++)
                for (int b = f->depth - 1; b >= 0; b--, bit++)
                    row[bit / 8] |= (uint8_t)((sample(f, pass[0] + i * pass[2], y, k) >> b & 1)
                                              << (7 - bit % 8));
        out[at++] = (uint8_t)(r % 5);
        for (size_t i = 0; i < n; i++) {
            int a = i >= bpp ? row[i - bpp] : 0, c = i >= bpp ? above[i - bpp] : 0;
            out[at++] = (uint8_t)(row[i] - predict(r % 5, a, above[i], c));
        }
        memcpy(above, row, n);
    }
    return at;
}

static void encode(pen *o, tlv_ctx *c, const format *f, int w, int h, size_t each)
{
    static const int adam7[7][4] = { { 0, 0, 8, 8 }, { 4, 0, 8, 8 }, { 0, 4, 4, 8 }, { 2, 0, 4, 4 },
                                     { 0, 2, 2, 4 }, { 1, 0, 2, 2 }, { 0, 1, 1, 2 } };
    static const int whole[4] = { 0, 0, 1, 1 };
    uint8_t raw[30000], rgb[768], alpha[256], key[6];
    palette(rgb, alpha);
    put_signature(o, c);
    put_header(o, (uint32_t)w, (uint32_t)h, f->depth, f->colour, f->interlaced);
    if (f->colour == 3) put_chunk(o, "PLTE", rgb, (size_t)3 << f->depth);
    for (int k = 0; k < 3; k++) {
        key[2 * k] = (uint8_t)(sample(f, 0, 0, k) >> 8);
        key[2 * k + 1] = (uint8_t)sample(f, 0, 0, k);
    }
    if (f->trns && f->colour == 3) put_chunk(o, "tRNS", alpha, (size_t)1 << (f->depth - 1));
    else if (f->trns) put_chunk(o, "tRNS", key, 2 * (size_t)SENT[f->colour]);
    size_t n = 0;
    if (!f->interlaced) n = put_pass(f, w, h, whole, raw);
    else for (int i = 0; i < 7; i++) n += put_pass(f, w, h, adam7[i], raw + n);
    put_data(o, raw, n, each);
    put_chunk(o, "IEND", NULL, 0);
}

/* What pixel x, y decodes to; the number of channels. */
static int want_pixel(const format *f, int x, int y, unsigned *v)
{
    uint8_t rgb[768], alpha[256];
    int n = SENT[f->colour], is_key = 1;
    unsigned top = (1u << f->depth) - 1;
    if (f->colour == 3) {
        unsigned i = sample(f, x, y, 0);
        palette(rgb, alpha);
        for (int k = 0; k < 3; k++) v[k] = rgb[3 * i + (unsigned)k];
        v[3] = i < 1u << (f->depth - 1) ? alpha[i] : 255;
        return f->trns ? 4 : 3;
    }
    for (int k = 0; k < n; k++) {
        v[k] = sample(f, x, y, k);
        if (f->depth < 8) v[k] = v[k] * 255 / top;
        // As Pillow: the key is compared with what is scaled already
        is_key &= v[k] == sample(f, 0, 0, k);
    }
    if (f->trns) v[n++] = is_key ? 0 : f->depth == 16 ? 65535 : 255;
    return n;
}

static void check_pixels(const format *f, const tlv_image *m, int w, int h)
{
    unsigned v[4];
    int bad = 0, keys = 0;
    EXPECT(m->w == w && m->h == h && m->depth == (f->depth == 16 ? 16 : 8), "%dx%d of %d bits",
           m->w, m->h, m->depth);
    for (int y = 0; y < h; y++)
        for (int x = 0; x < w; x++) {
            int n = want_pixel(f, x, y, v);
            if (n != m->channels || (int)m->kind != n) bad++;
            if (bad) continue;
            size_t at = ((size_t)y * (size_t)w + (size_t)x) * (size_t)n;
            for (int k = 0; k < n; k++)
                bad += v[k] != (m->depth == 16 ? ((const uint16_t *)m->samples)[at + (size_t)k]
                                               : ((const uint8_t *)m->samples)[at + (size_t)k]);
            keys += f->trns && v[n - 1] == 0;
        }
    EXPECT(bad == 0, "%d samples differ: depth %d, colour %d, interlaced %d, tRNS %d, %dx%d", bad,
           f->depth, f->colour, f->interlaced, f->trns, w, h);
    EXPECT(!f->trns || f->depth < 8 || f->colour == 3 || keys, "no pixel is transparent");
}

static void test_every_colour_depth_and_interlacing(void)
{
    const int sizes[][2] = { { 1, 1 }, { 3, 2 }, { 5, 9 }, { 8, 8 }, { 33, 20 } };
    pen *o = malloc(sizeof *o);
    REQUIRE(o, "no memory");
    tlv_ctx *c = support_open();
    int kinds = 0;
    for (int colour = 0; colour <= 6; colour++)
        for (int depth = 1; depth <= 16; depth *= 2) {
            if (!SENT[colour] || (colour == 3 && depth == 16)) continue;
            if (colour != 0 && colour != 3 && depth < 8) continue;
            for (int more = 0; more < 4; more++) {
                format f = { depth, colour, more & 1, more >> 1 };
                if (f.trns && colour >= 4) continue;
                for (int s = 0; s < 5; s++) {
                    tlv_image m = { 0 };
                    encode(o, c, &f, sizes[s][0], sizes[s][1], s == 3 ? 1 : 100);
                    tlvi_png_decode(c, o->p, o->n, "drawn", &m);
                    if (!EXPECT_OK(c)) tlv_error_clear(c);
                    else check_pixels(&f, &m, sizes[s][0], sizes[s][1]);
                    tlv_image_close(&m);
                }
                kinds++;
            }
        }
    EXPECT_INT(kinds, 52);      // 15 pairs, each interlaced or not; 11 of them with tRNS too
    free(o);
    tlv_ctx_close(c);
}

/* ---- the collection, and the corpus of the fuzzer -------------------------------------------- */

static void test_the_collection_decodes_as_in_pillow(void)
{
    torture_check("png", tlvi_png_decode);
}

/* ---- written and read again ------------------------------------------------------------------ */

static void fill(tlv_image *m, int smooth)
{
    size_t n = (size_t)m->h * (size_t)m->w * (size_t)m->channels;
    for (size_t i = 0; i < n; i++) {
        uint32_t v = smooth ? (uint32_t)(i * 3) : (uint32_t)i * 2654435761u >> 7;
        if (m->depth == 16) ((uint16_t *)m->samples)[i] = (uint16_t)v;
        else ((uint8_t *)m->samples)[i] = (uint8_t)v;
    }
}

static void check_round_trip(tlv_ctx *c, tlv_image *m, const char *path)
{
    tlv_image back = { 0 };
    if (tlv_image_write_png(m, path) == TLV_OK) tlv_image_read(c, path, &back);
    if (!EXPECT_OK(c)) tlv_error_clear(c);
    EXPECT(back.w == m->w && back.h == m->h && back.kind == m->kind && back.depth == m->depth,
           "%dx%d kind %d of %d bits came back as %dx%d kind %d of %d bits", m->w, m->h,
           (int)m->kind, m->depth, back.w, back.h, (int)back.kind, back.depth);
    EXPECT(back.bytes == m->bytes && memcmp(back.samples, m->samples, m->bytes) == 0,
           "other samples: kind %d, %d bits, %dx%d", (int)m->kind, m->depth, m->w, m->h);
    tlv_image_close(&back);
}

static void test_written_files_read_back(void)
{
    const int sizes[][2] = { { 1, 1 }, { 7, 5 }, { 90, 120 } };
    char path[1024];
    REQUIRE(test_temp_path(path, sizeof path, "im.png"), "no path");
    tlv_ctx *c = support_open();
    size_t before = tlv_mem_get(c).now;
    for (int kind = TLV_GREY; kind <= TLV_RGBA; kind++)
        for (int depth = 8; depth <= 16; depth += 8)
            for (int s = 0; s < 6; s++) {
                tlv_image m;
                tlv_image_new(c, sizes[s / 2][0], sizes[s / 2][1], (tlv_pixels)kind, depth, &m);
                fill(&m, s & 1);
                check_round_trip(c, &m, path);
                tlv_image_close(&m);
            }
    tlv_image m;
    REQUIRE(tlv_image_new(c, 2, 2, TLV_CMYK, 8, &m) == TLV_OK, "%s", tlv_error_msg(c));
    EXPECT_STATUS(tlv_image_write_png(&m, path), TLV_ERR_ARG);
    EXPECT_ERROR(c, TLV_ERR_ARG, "no such colours");
    tlv_image_close(&m);
    REQUIRE(tlv_image_new(c, 2, 2, TLV_RGB, 8, &m) == TLV_OK, "%s", tlv_error_msg(c));
    fill(&m, 0);
    EXPECT_STATUS(tlv_image_write_png(&m, "no-such-folder/im.png"), TLV_ERR_IO);
    EXPECT_ERROR(c, TLV_ERR_IO, "no-such-folder");
    tlv_image_close(&m);
    EXPECT_INT(tlv_mem_get(c).now, before);
    tlv_ctx_close(c);
}

/* ---- chunks in odd places -------------------------------------------------------------------- */

enum { W = 4, H = 3, RAW = H * (1 + W) };

/* A grey image of 4x3, sample 10 y + x, without filters, up to and with its data. */
static void begin_grey(pen *o, tlv_ctx *c)
{
    uint8_t raw[RAW];
    for (int i = 0; i < RAW; i++)
        raw[i] = (uint8_t)(i % (1 + W) ? 10 * (i / (1 + W)) + i % (1 + W) - 1 : 0);
    put_signature(o, c);
    put_header(o, W, H, 8, 0, 0);
    put_data(o, raw, RAW, 1000);
}

static int decodes(tlv_ctx *c, const uint8_t *p, size_t n, tlv_image *m)
{
    uint8_t *exact = malloc(n);
    *m = (tlv_image){ 0 };
    if (!EXPECT(exact, "no memory")) return 0;
    memcpy(exact, p, n);
    tlvi_png_decode(c, exact, n, "a.png", m);
    free(exact);
    return tlv_error(c) == TLV_OK;
}

static void check_grey(tlv_ctx *c, const pen *o, int channels, int orientation)
{
    tlv_image m;
    if (EXPECT(decodes(c, o->p, o->n, &m), "%s", tlv_error_msg(c))) {
        const uint8_t *p = m.samples;
        EXPECT_INT(m.channels, channels);
        EXPECT_INT(m.orientation, orientation);
        for (int i = 0; i < W * H; i++) EXPECT_INT(p[i * m.channels], 10 * (i / W) + i % W);
        if (channels == 2) EXPECT(p[1] == 255 && p[2 * W + 1] == 0, "10 is transparent");
    }
    tlv_error_clear(c);
    tlv_image_close(&m);
}

static void test_chunks_in_odd_places(void)
{
    static const uint8_t exif[] = { 'M', 'M', 0, 42, 0, 0, 0, 8, 0, 1, 1, 0x12, 0, 3, 0, 0, 0, 1, 0,
                                    6, 0, 0, 0, 0, 0, 0 };
    pen *o = malloc(sizeof *o);
    REQUIRE(o, "no memory");
    tlv_ctx *c = support_open();
    begin_grey(o, c);
    check_grey(c, o, 1, 1);                                 // no IEND
    o->p[o->n - 1] ^= 1;
    check_grey(c, o, 1, 1);                                 // a wrong checksum of the data
    o->n -= 4;
    check_grey(c, o, 1, 1);                                 // none at all
    begin_grey(o, c);
    put_chunk(o, "eXIf", exif, sizeof exif);
    put_chunk(o, "tRNS", (const uint8_t[]){ 0, 10 }, 2);
    put_chunk(o, "IDAT", NULL, 0);
    put_chunk(o, "IEND", NULL, 0);
    put_chunk(o, "PLTE", "behind the end", 14);
    check_grey(c, o, 2, 6);                                 // after the data
    begin_grey(o, c);
    memcpy(o->p + o->n, "rubbish", 7);
    o->n += 7;
    check_grey(c, o, 1, 1);
    free(o);
    tlv_ctx_close(c);
}

/* ---- broken files ---------------------------------------------------------------------------- */

static void check_refused(tlv_ctx *c, const pen *o, tlv_status code, const char *says)
{
    tlv_image m;
    EXPECT(!decodes(c, o->p, o->n, &m), "opened, though it should say '%s'", says);
    EXPECT(strstr(tlv_error_msg(c), "a.png") && *tlv_error_hint(c), "no name or hint: %s",
           tlv_error_msg(c));
    EXPECT_ERROR(c, code, says);
    EXPECT(!m.samples, "samples are left");
    tlv_image_close(&m);
}

static void refused_header(tlv_ctx *c, pen *o, uint32_t w, uint32_t h, int depth, int colour,
                           const char *says)
{
    put_signature(o, c);
    put_header(o, w, h, depth, colour, 0);
    put_data(o, (const uint8_t[RAW]){ 0 }, RAW, 1000);
    check_refused(c, o, strstr(says, "2^28") ? TLV_ERR_LIMIT : TLV_ERR_FORMAT, says);
}

static void test_headers_that_are_refused(void)
{
    pen *o = malloc(sizeof *o);
    REQUIRE(o, "no memory");
    tlv_ctx *c = support_open();
    refused_header(c, o, 0, 3, 8, 0, "a size of 0x3");
    refused_header(c, o, 4, 0, 8, 0, "a size of 4x0");
    refused_header(c, o, 4, 3, 3, 0, "colour type 0 with 3 bits");
    refused_header(c, o, 4, 3, 4, 2, "colour type 2 with 4 bits");
    refused_header(c, o, 4, 3, 16, 3, "colour type 3 with 16 bits");
    refused_header(c, o, 4, 3, 8, 1, "colour type 1 with 8 bits");
    refused_header(c, o, 4, 3, 8, 7, "colour type 7 with 8 bits");
    refused_header(c, o, 65536, 4097, 8, 0, "at most 2^28 pixels");
    refused_header(c, o, 0xffffffffu, 0xffffffffu, 16, 6, "at most 2^28 pixels");
    refused_header(c, o, 16384, 16384, 8, 2, "too few for 16384x16384");
    refused_header(c, o, 1u << 28, 1, 16, 6, "too few for 268435456x1");
    EXPECT(tlv_mem_get(c).peak < 1 << 20, "%zu bytes were taken", tlv_mem_get(c).peak);
    refused_header(c, o, 100, 100, 8, 0, "the image data ends too early");
    put_signature(o, c);
    check_refused(c, o, TLV_ERR_FORMAT, "no chunk at byte 8");
    put_data(o, (const uint8_t[RAW]){ 0 }, RAW, 1000);
    check_refused(c, o, TLV_ERR_FORMAT, "image data before the header");
    put_signature(o, c);
    put_header(o, W, H, 8, 0, 0);
    put_chunk(o, "IEND", NULL, 0);
    check_refused(c, o, TLV_ERR_FORMAT, "no image data");
    o->p[0] = 'x';
    check_refused(c, o, TLV_ERR_FORMAT, "it does not begin as one");
    free(o);
    tlv_ctx_close(c);
}

/* A wide promise that the compressed data could hold, but does not: nothing large is taken. */
static void test_memory_for_promises(void)
{
    enum { NOISE = 40000 };
    pen *o = malloc(sizeof *o);
    uint8_t *raw = malloc(NOISE);
    REQUIRE(o && raw, "no memory");
    tlv_ctx *c = support_open();
    for (uint32_t i = 0, v = 1; i < NOISE; i++) {
        v ^= v << 13;
        v ^= v >> 17;
        v ^= v << 5;
        raw[i] = (uint8_t)(i == 0 ? 0 : v);
    }
    put_signature(o, c);
    put_header(o, 10000, 1000, 8, 6, 0);
    put_data(o, raw, NOISE, 60000);
    check_refused(c, o, TLV_ERR_FORMAT, "ends too early");
    EXPECT(tlv_mem_get(c).peak < 1 << 20, "%zu bytes were taken", tlv_mem_get(c).peak);
    free(o);
    free(raw);
    tlv_ctx_close(c);
}

static void test_chunks_that_are_refused(void)
{
    static const struct { const char *type; size_t n; const char *says; } cases[] = {
        { "IHDR", 12, "chunk IHDR of 12 bytes" }, { "gAMA", 3, "chunk gAMA of 3 bytes" },
        { "cHRM", 31, "chunk cHRM of 31 bytes" }, { "sRGB", 0, "chunk sRGB of 0 bytes" },
        { "pHYs", 8, "chunk pHYs of 8 bytes" },   { "tRNS", 1, "chunk tRNS of 1 bytes" },
        { "acTL", 7, "chunk acTL of 7 bytes" },   { "fcTL", 25, "chunk fcTL of 25 bytes" },
        { "iCCP", 5, "chunk iCCP without a name" },
        { "fdAT", 8, "data of frames out of order" },
    };
    uint8_t ones[771];
    memset(ones, 1, sizeof ones);
    pen *o = malloc(sizeof *o);
    REQUIRE(o, "no memory");
    tlv_ctx *c = support_open();
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        for (int after = 0; after < 2; after++) {
            put_signature(o, c);
            put_header(o, W, H, 8, 0, 0);
            if (after) begin_grey(o, c);
            put_chunk(o, cases[i].type, ones, cases[i].n);
            if (!after) put_data(o, (const uint8_t[RAW]){ 0 }, RAW, 1000);
            check_refused(c, o, TLV_ERR_FORMAT, cases[i].says);
        }
    put_signature(o, c);
    put_header(o, W, H, 8, 3, 0);
    put_chunk(o, "PLTE", ones, 771);
    check_refused(c, o, TLV_ERR_FORMAT, "a palette of 257 colours");
    put_signature(o, c);
    put_header(o, W, H, 8, 0, 0);
    o->p[o->n - 1] ^= 1;
    check_refused(c, o, TLV_ERR_FORMAT, "chunk IHDR has a wrong checksum");
    put_signature(o, c);
    put_header(o, W, H, 8, 0, 0);
    put_data(o, (const uint8_t[RAW]){ 0, 0, 0, 0, 0, 5 }, RAW, 1000);
    check_refused(c, o, TLV_ERR_FORMAT, "filter 5 in row 1");
    put_signature(o, c);
    put_header(o, W, H, 8, 0, 0);
    put_chunk(o, "IDAT", "no zlib stream", 14);
    check_refused(c, o, TLV_ERR_FORMAT, "its image data has no zlib header");
    free(o);
    tlv_ctx_close(c);
}

/* Cut anywhere before the last row is there, a file is refused. */
static void test_cut_files(void)
{
    pen *o = malloc(sizeof *o);
    REQUIRE(o, "no memory");
    tlv_ctx *c = support_open();
    format f = { 8, 2, 1, 0 };
    encode(o, c, &f, 9, 7, 64);
    size_t whole = o->n, opened = 0, before = tlv_mem_get(c).now;
    for (size_t n = 0; n <= whole; n++) {
        tlv_image m;
        if (decodes(c, o->p, n, &m)) opened++;
        else EXPECT_STATUS(tlv_error(c), TLV_ERR_FORMAT);
        tlv_error_clear(c);
        tlv_image_close(&m);
    }
    // The checksums of zlib and chunk, IEND and some bits of the stream's end may be missing
    EXPECT(opened >= 17 && opened <= 24, "%zu lengths of %zu open", opened, whole);
    EXPECT_INT(tlv_mem_get(c).now, before);
    free(o);
    tlv_ctx_close(c);
}

static void test_corpus(void)
{
    EXPECT(fuzz_corpus("png", fuzz_png) >= 8, "few files");
}

TEST_MAIN(T(test_every_colour_depth_and_interlacing), T(test_the_collection_decodes_as_in_pillow),
          T(test_written_files_read_back), T(test_chunks_in_odd_places),
          T(test_headers_that_are_refused), T(test_memory_for_promises),
          T(test_chunks_that_are_refused), T(test_cut_files), T(test_corpus))
