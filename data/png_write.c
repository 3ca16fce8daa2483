/* png_write.c -- writes PNG: filters chosen a row, one zlib stream, no interlacing.
 *
 * Of the five filters a row takes the one whose bytes, read as signed numbers, have the smallest
 * sum of absolute values: small numbers compress well.
 * Source: PNG 1.2, sections 6 and 9.6. */
#include "data/codec.h"
#include "data/png.h"
#include "tensor/mapfile.h"

enum { FILTERS = 5, MOST_IDAT = 1 << 30 };

static void put32(uint8_t *p, uint32_t v)
{
    for (int i = 0; i < 4; i++) p[i] = (uint8_t)(v >> (24 - 8 * i));
}

static void write_chunk(tlvi_newfile *f, const char *type, const uint8_t *data, size_t n)
{
    uint8_t head[8], sum[4];
    put32(head, (uint32_t)n);
    memcpy(head + 4, type, 4);
    put32(sum, tlvi_crc32(tlvi_crc32(0, head + 4, 4), data, n));
    tlvi_newfile_write(f, head, sizeof head);
    tlvi_newfile_write(f, data, n);
    tlvi_newfile_write(f, sum, sizeof sum);
}

/* ---- filters --------------------------------------------------------------------------------- */

static int distance(int a, int b) { return a < b ? b - a : a - b; }

static int paeth(int left, int above, int corner)
{
    int to_left = distance(above, corner), to_above = distance(left, corner);
    int to_corner = distance(left + above, 2 * corner);
    if (to_left <= to_above && to_left <= to_corner) return left;
    return to_above <= to_corner ? above : corner;
}

/* What the filter takes for the next byte. */
static int predict(int filter, int left, int above, int corner)
{
    switch (filter) {
    case 1: return left;
    case 2: return above;
    case 3: return (left + above) / 2;
    case 4: return paeth(left, above, corner);
    default: return 0;
    }
}

/* Filters a row of n bytes to `out`, its number first.  Row and above have bpp zero bytes before
 * them.  Returns the sum of absolute values. */
static inline uint64_t filter_row(int filter, size_t bpp, size_t n, const uint8_t *row,
                                  const uint8_t *above, uint8_t *out)
{
    uint64_t sum = 0;
    *out++ = (uint8_t)filter;
    const uint8_t *left = row - bpp, *corner = above - bpp;
    for (size_t i = 0; i < n; i++) {
        uint8_t v = (uint8_t)(row[i] - predict(filter, left[i], above[i], corner[i]));
        out[i] = v;
        sum += v < 128 ? v : 256u - v;
    }
    return sum;
}

/* The row under its best filter; `tries` has room for FILTERS of them. */
static const uint8_t *best_row(size_t bpp, size_t n, const uint8_t *row, const uint8_t *above,
                               uint8_t *tries)
{
    uint64_t sum[FILTERS];
    int best = 0;
    sum[0] = filter_row(0, bpp, n, row, above, tries);
    sum[1] = filter_row(1, bpp, n, row, above, tries + (n + 1));
    sum[2] = filter_row(2, bpp, n, row, above, tries + 2 * (n + 1));
    sum[3] = filter_row(3, bpp, n, row, above, tries + 3 * (n + 1));
    sum[4] = filter_row(4, bpp, n, row, above, tries + 4 * (n + 1));
    for (int k = 1; k < FILTERS; k++)
        if (sum[k] < sum[best]) best = k;
    return tries + (size_t)best * (n + 1);
}

/* A row of samples in the file's byte order. */
static void pack_row(const tlv_image *m, size_t y, uint8_t *out)
{
    size_t n = (size_t)m->w * (size_t)m->channels;
    if (m->depth == 8) {
        memcpy(out, (const uint8_t *)m->samples + y * n, n);
        return;
    }
    const uint16_t *p = (const uint16_t *)m->samples + y * n;
    for (size_t i = 0; i < n; i++) {
        out[2 * i] = (uint8_t)(p[i] >> 8);
        out[2 * i + 1] = (uint8_t)p[i];
    }
}

/* All rows, filtered, to raw[h * (n + 1)]. */
static tlv_status filter_image(const tlv_image *m, uint8_t *raw)
{
    size_t bpp = (size_t)(m->channels * m->depth / 8), n = (size_t)m->w * bpp;
    size_t bytes = 2 * (bpp + n) + FILTERS * (n + 1);
    uint8_t *work = tlvi_alloc(m->c, bytes);
    if (!work) return m->c->err;
    uint8_t *row = work + bpp, *above = row + n + bpp, *tries = above + n;
    memset(work, 0, 2 * (bpp + n));
    for (int y = 0; y < m->h; y++) {
        pack_row(m, (size_t)y, row);
        memcpy(raw + (size_t)y * (n + 1), best_row(bpp, n, row, above, tries), n + 1);
        uint8_t *t = row;
        row = above;
        above = t;
    }
    tlvi_free(m->c, work, bytes);
    return m->c->err;
}

/* ---- the file -------------------------------------------------------------------------------- */

static void write_file(const tlv_image *m, const uint8_t *packed, size_t n, const char *path)
{
    static const uint8_t signature[8] = { 0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n' };
    static const uint8_t colour[5] = { 0, TLVI_PNG_GREY, TLVI_PNG_GREY_ALPHA, TLVI_PNG_RGB,
                                       TLVI_PNG_RGBA };
    uint8_t head[13] = { 0 };
    put32(head, (uint32_t)m->w);
    put32(head + 4, (uint32_t)m->h);
    head[8] = (uint8_t)m->depth;
    head[9] = colour[m->kind];
    tlvi_newfile f;
    if (tlvi_newfile_open(m->c, path, &f) == TLV_OK) {
        tlvi_newfile_write(&f, signature, sizeof signature);
        write_chunk(&f, "IHDR", head, sizeof head);
        for (size_t at = 0; at < n; at += MOST_IDAT)
            write_chunk(&f, "IDAT", packed + at, n - at < MOST_IDAT ? n - at : MOST_IDAT);
        write_chunk(&f, "IEND", head, 0);
    }
    tlvi_newfile_close(&f);
}

tlv_status tlv_image_write_png(const tlv_image *m, const char *path)
{
    tlv_ctx *c = m->c;
    if (c->err) return c->err;
    TLVI_CHECK(c, path, TLV_ERR_ARG, "give a path", "image_write_png: path is NULL");
    TLVI_CHECK(c, m->kind >= TLV_GREY && m->kind <= TLV_RGBA, TLV_ERR_ARG,
               "convert it to TLV_RGB first", "image_write_png: PNG has no such colours (kind %d)",
               (int)m->kind);
    size_t raw_bytes = (size_t)m->h * ((size_t)m->w * (size_t)(m->channels * m->depth / 8) + 1);
    uint8_t *raw = tlvi_alloc(c, raw_bytes), *packed = NULL;
    size_t n = 0, room = 0;
    if (raw && filter_image(m, raw) == TLV_OK) packed = tlvi_deflate(c, raw, raw_bytes, &n, &room);
    tlvi_free(c, raw, raw_bytes);
    if (packed) write_file(m, packed, n, path);
    tlvi_free(c, packed, room);
    return c->err;
}
