/* bmp.c -- Windows and OS/2 bitmaps, with or without the file header.
 *
 * What Pillow 9.4 opens comes out as it comes out there, in particular:
 *   - 32 bits without masks have no alpha; 5-5-5 and 5-6-5 have none, even with a mask for it;
 *   - fields of fewer than 8 bits become v * 255 / max, rounded down;
 *   - an index without an entry in the palette is the grey of its number;
 *   - a palette of 0, 1, 2 ... in grey, or of black and white, makes a grey image;
 *   - runs: see read_runs.
 * Beyond that: 2 bits a pixel, any masks without holes, the headers of 16, 52 and 56 bytes,
 * BI_ALPHABITFIELDS, palettes of more than 256 entries.
 * Source: Microsoft, [MS-WMF] 2.2.2 (DIB structures); IBM, OS/2 Presentation Manager bitmaps. */
#include "data/codec.h"

enum { RAW = 0, RLE8 = 1, RLE4 = 2, BITFIELDS = 3, ALPHA_BITFIELDS = 6 };
enum { FILE_HEADER = 14, MAX_COLOURS = 65536 };

typedef struct bmp {
    tlv_ctx *c;
    const char *name;
    const uint8_t *p;
    size_t n;
    size_t header, size;            /* place and length of the header behind the file header */
    uint64_t w, h, colours;
    uint64_t data;                  /* offset of the pixels; 0: behind all else */
    uint32_t compression, bits;
    int top_down;
    int entry;                      /* bytes of an entry of the palette: 3 or 4 */
    uint32_t mask[4];               /* red, green, blue, alpha; alpha 0: none */
    uint8_t palette[256][3];        /* RGB */
    int grey;                       /* the palette is grey */
} bmp;

static uint32_t le16(const uint8_t *p) { return (uint32_t)(p[0] | p[1] << 8); }
static uint32_t le32(const uint8_t *p) { return le16(p) | le16(p + 2) << 16; }

/* ---- headers --------------------------------------------------------------------------------- */

static int known_size(uint32_t size)
{
    static const uint8_t SIZES[] = { 12, 16, 40, 52, 56, 64, 108, 124 };
    return memchr(SIZES, (int)size, sizeof SIZES) != NULL && size < 256;
}

/* Sizes, bits and compression; the header lies inside of the file. */
static void read_sizes(bmp *b)
{
    const uint8_t *p = b->p + b->header;
    b->entry = b->size == 12 ? 3 : 4;
    b->compression = RAW;
    if (b->size == 12) {
        b->w = le16(p + 4);
        b->h = le16(p + 6);
        b->bits = le16(p + 10);
        return;
    }
    b->w = le32(p + 4);
    b->h = le32(p + 8);
    b->top_down = p[11] == 0xff;                    // a small negative number
    if (b->top_down) b->h = ((uint64_t)1 << 32) - b->h;
    b->bits = le16(p + 14);
    if (b->size == 16) return;
    b->compression = le32(p + 16);
    b->colours = le32(p + 32);
}

static void set_masks(bmp *b, uint32_t red, uint32_t green, uint32_t blue, uint32_t alpha)
{
    b->mask[0] = red;
    b->mask[1] = green;
    b->mask[2] = blue;
    b->mask[3] = alpha;
}

/* A run of ones, or nothing. */
static int without_holes(uint32_t mask)
{
    if (mask == 0) return 1;
    uint32_t v = mask >> __builtin_ctz(mask);
    return (v & (v + 1)) == 0;
}

/* 5-5-5, 5-6-5 and 8-8-8 of 24 bits, behind a header that Pillow reads. */
static int loses_alpha(const bmp *b)
{
    static const uint32_t RGB[3][4] = {
        { 16, 0x7c00, 0x3e0, 0x1f }, { 16, 0xf800, 0x7e0, 0x1f }, { 24, 0xff0000, 0xff00, 0xff },
    };
    for (int i = 0; i < 3; i++)
        if (b->bits == RGB[i][0] && memcmp(b->mask, RGB[i] + 1, 3 * sizeof b->mask[0]) == 0)
            return b->size != 56;
    return 0;
}

/* The masks of pixels of 16, 24 and 32 bits.  `*at`, the end of the header, moves behind masks that
 * stand there. */
static tlv_status read_masks(bmp *b, size_t *at)
{
    set_masks(b, 0xff0000, 0xff00, 0xff, 0);
    if (b->bits == 16) set_masks(b, 0x7c00, 0x3e0, 0x1f, 0);
    if (b->compression == RAW) return TLV_OK;
    int n = b->size == 40 ? (b->compression == BITFIELDS ? 3 : 4) : b->size == 52 ? 3 : 4;
    size_t from = b->header + 40;
    TLVI_CHECK(b->c, b->size >= 40 && from + 4 * (size_t)n <= b->n, TLV_ERR_FORMAT,
               "it is cut short", "%s: the file ends in the masks of its colours", b->name);
    b->mask[3] = 0;
    for (int i = 0; i < n; i++) b->mask[i] = le32(b->p + from + 4 * (size_t)i);
    if (b->size == 40) *at += 4 * (size_t)n;

    uint32_t *m = b->mask, any = m[0] | m[1] | m[2];
    if (b->bits == 32 && !any && !m[3]) set_masks(b, 0xff0000, 0xff00, 0xff, 0xff000000);
    else if (loses_alpha(b)) m[3] = 0;
    else TLVI_CHECK(b->c, any, TLV_ERR_FORMAT, NULL, "%s: the masks of its colours are empty",
                    b->name);
    for (int i = 0; i < 4; i++)
        TLVI_CHECK(b->c, without_holes(m[i]), TLV_ERR_FORMAT, NULL,
                   "%s: a mask with holes, 0x%08x, for a colour", b->name, (unsigned)m[i]);
    return TLV_OK;
}

/* Entries at `at`, as many as the header says and the file has. */
static void read_palette(bmp *b, size_t at)
{
    uint64_t room = at < b->n ? (b->n - at) / (size_t)b->entry : 0;
    b->grey = room >= b->colours;
    for (int i = 0; i < 256; i++) memset(b->palette[i], i, 3);
    for (uint64_t i = 0; i < b->colours && i < room; i++) {
        const uint8_t *p = b->p + at + i * (size_t)b->entry;
        int want = b->colours == 2 ? (i ? 255 : 0) : (int)(i & 255);
        if (p[0] != want || p[1] != want || p[2] != want) b->grey = 0;
        if (i < 256)
            for (int k = 0; k < 3; k++) b->palette[i][k] = p[2 - k];
    }
}

static tlv_status read_header(bmp *b)
{
    b->header = b->p[0] == 'B' ? FILE_HEADER : 0;
    TLVI_CHECK(b->c, b->n >= b->header + 4, TLV_ERR_FORMAT, "it is cut short",
               "%s: the file ends in its header", b->name);
    b->size = le32(b->p + b->header);
    b->data = b->header ? le32(b->p + 10) : 0;
    TLVI_CHECK(b->c, known_size((uint32_t)b->size), TLV_ERR_FORMAT, NULL,
               "%s: a BMP header of %zu bytes, which is none of those known", b->name, b->size);
    size_t at = b->header + b->size;
    TLVI_CHECK(b->c, at <= b->n, TLV_ERR_FORMAT, "it is cut short",
               "%s: the file ends in its header", b->name);
    read_sizes(b);
    int depth_ok = b->bits == 1 || b->bits == 2 || b->bits == 4 || b->bits == 8 || b->bits == 16
                   || b->bits == 24 || b->bits == 32;
    TLVI_CHECK(b->c, depth_ok, TLV_ERR_FORMAT, NULL,
               "%s: %u bits a pixel; 1, 2, 4, 8, 16, 24 and 32 are read", b->name,
               (unsigned)b->bits);
    if (!tlvi_image_size_ok(b->c, b->name, b->w, b->h)) return b->c->err;
    int runs = b->compression == RLE8 || b->compression == RLE4;
    int masks = b->compression == BITFIELDS || b->compression == ALPHA_BITFIELDS;
    TLVI_CHECK(b->c, b->compression == RAW || (b->bits <= 8 ? runs : masks), TLV_ERR_FORMAT, NULL,
               "%s: BMP compression %u with %u bits a pixel is not read", b->name,
               (unsigned)b->compression, (unsigned)b->bits);
    if (b->bits > 8) {
        if (read_masks(b, &at) != TLV_OK) return b->c->err;
    } else {
        if (b->colours == 0) b->colours = (uint64_t)1 << b->bits;
        TLVI_CHECK(b->c, b->colours <= MAX_COLOURS, TLV_ERR_FORMAT, NULL,
                   "%s: a palette of %llu colours", b->name, (unsigned long long)b->colours);
        if (b->data == FILE_HEADER + b->size) b->data += 4 * b->colours;
        read_palette(b, at);
        at += (size_t)b->colours * (size_t)b->entry;
    }
    if (b->data == 0) b->data = at;
    TLVI_CHECK(b->c, b->data < b->n, TLV_ERR_FORMAT, "it is cut short",
               "%s: the pixels begin at byte %llu of %zu", b->name, (unsigned long long)b->data,
               b->n);
    return TLV_OK;
}

/* ---- rows ------------------------------------------------------------------------------------ */

static void put_index(const bmp *b, uint8_t *q, unsigned index)
{
    if (b->grey) q[0] = b->palette[index][0];
    else memcpy(q, b->palette[index], 3);
}

/* The bits under a mask as 0 to 255. */
static uint8_t field(uint32_t pixel, uint32_t mask)
{
    if (mask == 0) return 0;
    int shift = __builtin_ctz(mask);
    return (uint8_t)((uint64_t)((pixel & mask) >> shift) * 255 / (mask >> shift));
}

static void read_row(const bmp *b, const uint8_t *p, const tlv_image *m, uint8_t *q)
{
    unsigned per = 8 / (b->bits < 8 ? b->bits : 8);
    int ch = m->channels, plain = b->bits >= 24 && b->mask[0] == 0xff0000 && b->mask[1] == 0xff00
                                  && b->mask[2] == 0xff && b->mask[3] == 0;
    size_t step = b->bits / 8;
    for (uint64_t x = 0; x < b->w; x++, q += ch) {
        if (b->bits <= 8) {
            unsigned shift = 8 - b->bits * (unsigned)(x % per + 1);
            put_index(b, q, p[x / per] >> shift & ((1u << b->bits) - 1));
        } else if (plain) {
            q[0] = p[x * step + 2];
            q[1] = p[x * step + 1];
            q[2] = p[x * step];
        } else {
            uint32_t v = 0;
            for (size_t k = 0; k < step; k++) v |= (uint32_t)p[x * step + k] << 8 * k;
            for (int k = 0; k < ch; k++) q[k] = field(v, b->mask[k]);
        }
    }
}

/* Row y of the file in the image. */
static uint8_t *row_of(const bmp *b, const tlv_image *m, uint64_t y)
{
    uint64_t to = b->top_down ? y : b->h - 1 - y;
    return (uint8_t *)m->samples + (size_t)(to * b->w) * (size_t)m->channels;
}

static tlv_status read_rows(bmp *b, tlv_image *out)
{
    // Rows are padded to 4 bytes; the last one need not be.
    uint64_t bytes = (b->w * b->bits + 7) / 8, stride = (bytes + 3) / 4 * 4;
    uint64_t need = stride * (b->h - 1) + bytes, left = b->n - b->data;
    TLVI_CHECK(b->c, need <= left, TLV_ERR_FORMAT, "it is cut short",
               "%s: %llux%llu pixels need %llu bytes and %llu are there", b->name,
               (unsigned long long)b->w, (unsigned long long)b->h, (unsigned long long)need,
               (unsigned long long)left);
    tlv_pixels kind = b->bits <= 8 ? (b->grey ? TLV_GREY : TLV_RGB)
                                   : (b->mask[3] ? TLV_RGBA : TLV_RGB);
    if (tlv_image_new(b->c, (int)b->h, (int)b->w, kind, 8, out) != TLV_OK) return b->c->err;
    for (uint64_t y = 0; y < b->h; y++)
        read_row(b, b->p + b->data + y * stride, out, row_of(b, out, y));
    return TLV_OK;
}

/* ---- runs ------------------------------------------------------------------------------------ */

/* Pixels one after another, row by row; without an image they are only counted. */
typedef struct sink {
    const bmp *b;
    const tlv_image *m;             /* or NULL */
    uint64_t at, total;
} sink;

static void put(sink *s, unsigned index, uint64_t count)
{
    if (s->m)
        for (uint64_t i = s->at; i < s->at + count && i < s->total; i++)
            put_index(s->b, row_of(s->b, s->m, i / s->b->w)
                                + (size_t)(i % s->b->w) * (size_t)s->m->channels, index);
    s->at += count;
}

/* `count` pixels of a literal run at p, of which `have` bytes are there. */
static void put_literal(sink *s, const uint8_t *p, size_t have)
{
    for (size_t i = 0; i < have; i++)
        if (s->b->compression == RLE4) {
            put(s, p[i] >> 4, 1);
            put(s, p[i] & 15, 1);
        } else {
            put(s, p[i], 1);
        }
}

/* RLE8 and RLE4 as Pillow 9.4 has them: pixels are one sequence that wraps from row to row; a run
 * ends with its row; a jump is told by the pair of bytes behind its own; a literal RLE4 run of an
 * odd length has a byte, and so a pixel, less; literal runs end at even places of the file. */
static void read_runs(const bmp *b, sink *s)
{
    const uint8_t *p = b->p;
    size_t at = (size_t)b->data;
    uint64_t x = 0;
    while (s->at < s->total && b->n - at >= 2) {
        unsigned count = p[at], value = p[at + 1];
        at += 2;
        if (count > 0) {
            uint64_t room = x < b->w ? b->w - x : 0, n = count < room ? count : room;
            if (b->compression == RLE8) put(s, value, n);
            else
                for (uint64_t i = 0; i < n; i++) put(s, i % 2 ? value & 15 : value >> 4, 1);
            x += n;
        } else if (value == 0) {                    // the row ends
            if (s->at % b->w) put(s, 0, b->w - s->at % b->w);
            x = 0;
        } else if (value == 1) {                    // the image ends
            return;
        } else if (value == 2) {                    // a jump to the right and up
            if (b->n - at < 4) return;
            put(s, 0, p[at + 2] + (uint64_t)p[at + 3] * b->w);
            at += 4;
            x = s->at % b->w;
        } else {
            size_t bytes = b->compression == RLE4 ? value / 2 : value;
            size_t have = b->n - at < bytes ? b->n - at : bytes;
            put_literal(s, p + at, have);
            if (have < bytes) return;
            at += bytes;
            x += value;
            if (at % 2 && at < b->n) at++;
        }
    }
}

static tlv_status read_compressed(bmp *b, tlv_image *out)
{
    sink s = { b, NULL, 0, b->w * b->h };
    read_runs(b, &s);                               // no memory for pixels that are not there
    TLVI_CHECK(b->c, s.at >= s.total, TLV_ERR_FORMAT, "it is cut short",
               "%s: its runs hold %llu of %llu pixels", b->name, (unsigned long long)s.at,
               (unsigned long long)s.total);
    TLVI_CHECK(b->c, s.total <= 1 << 20 || s.total / 1024 <= b->n, TLV_ERR_FORMAT, NULL,
               "%s: %llu pixels in a file of %zu bytes", b->name, (unsigned long long)s.total,
               b->n);
    if (tlv_image_new(b->c, (int)b->h, (int)b->w, b->grey ? TLV_GREY : TLV_RGB, 8, out) != TLV_OK)
        return b->c->err;
    s.m = out;
    s.at = 0;
    read_runs(b, &s);
    return TLV_OK;
}

tlv_status tlvi_bmp_decode(tlv_ctx *c, const uint8_t *bytes, size_t n, const char *name,
                           tlv_image *out)
{
    bmp b = { .c = c, .name = name, .p = bytes, .n = n };
    TLVI_CHECK(c, n >= 4, TLV_ERR_FORMAT, "it is cut short", "%s: the file ends in its header",
               name);
    if (read_header(&b) != TLV_OK) return c->err;
    return b.compression == RLE8 || b.compression == RLE4 ? read_compressed(&b, out)
                                                          : read_rows(&b, out);
}
