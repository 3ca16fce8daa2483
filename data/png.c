/* png.c -- PNG files: chunks, image data, interlacing.
 *
 *     8 bytes of signature, then chunks: u32 big-endian length | type of 4 letters | data | CRC-32
 *     IHDR  what the image is     PLTE  its colours     IDAT ...  one zlib stream     IEND
 *
 * Which files open follows Pillow 9.4, so that a set of images means the same here and there:
 *   - checksums are looked at up to the image data and not from there on; order hardly matters;
 *   - chunks known here have to make sense, before the image data and after it;
 *   - the image data must reach the last row; a file may end any time after that.
 * The image is the still one, or the first frame of an animation.
 * Sources: PNG 1.2 (also ISO/IEC 15948); APNG 1.0. */
#include "data/png.h"

#include <stdio.h>

#include "tensor/mapfile.h"

static const uint8_t SIGNATURE[8] = { 0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n' };

enum {
    PIECE = 65536,                      /* image data is given to inflate so much at a time */
    UNPROVEN = 32 << 20,                /* so many bytes are taken on a header's word alone */
    MAX_INFLATION = 1032                /* of deflate: 258 bytes for 2 bits */
};
static const uint64_t MAX_PIXELS = (uint64_t)1 << 28;

static const char *const CUT_SHORT = "the file is incomplete: copy or download it again";

/* "NAME: broken PNG: ..."; returns 0. */
static int refuse(const tlvi_png *g, const char *hint, const char *fmt, ...) TLVI_PRINTF(3, 4);
static int refuse(const tlvi_png *g, const char *hint, const char *fmt, ...)
{
    char why[256];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(why, sizeof why, fmt, ap);
    va_end(ap);
    tlvi_fail(g->c, TLV_ERR_FORMAT, hint, "%s: broken PNG: %s", tlvi_path_str(g->name).s, why);
    return 0;
}

static uint32_t be32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static uint32_t tag(const char *s) { return be32((const uint8_t *)s); }

/* ---- chunks ---------------------------------------------------------------------------------- */

typedef struct chunk {
    uint32_t type;
    char text[5];
    size_t at, size;                    /* of its data, which may reach past the end of the file */
} chunk;

static int is_word(uint8_t b)
{
    return (b >= '0' && b <= '9') || (b >= 'A' && b <= 'Z') || (b >= 'a' && b <= 'z') || b == '_';
}

/* The chunk that begins at g->at; 0: there is none. */
static int next_chunk(tlvi_png *g, chunk *k)
{
    if (g->at > g->n || g->n - g->at < 8) return 0;
    const uint8_t *p = g->p + g->at;
    k->size = be32(p);
    k->type = be32(p + 4);
    for (int i = 0; i < 4; i++) {
        if (!is_word(p[4 + i])) return 0;
        k->text[i] = (char)p[4 + i];
    }
    k->text[4] = 0;
    k->at = g->at + 8;
    return 1;
}

static int is_whole(const tlvi_png *g, const chunk *k) { return k->size <= g->n - k->at; }

static int check_sum(const tlvi_png *g, const chunk *k)
{
    size_t end = k->at + k->size;
    if (g->n - end < 4) return refuse(g, CUT_SHORT, "it ends in chunk %s", k->text);
    if (tlvi_crc32(0, g->p + k->at - 4, k->size + 4) != be32(g->p + end))
        return refuse(g, NULL, "chunk %s has a wrong checksum", k->text);
    return 1;
}

static int take_header(tlvi_png *g, const uint8_t *p)
{
    static const uint8_t sent[7] = { 1, 0, 3, 1, 2, 0, 4 };
    int depth = p[8], colour = p[9];
    g->w = be32(p);
    g->h = be32(p + 4);
    if (g->w == 0 || g->h == 0) return refuse(g, NULL, "a size of %ux%u", g->w, g->h);
    int deep = depth == 8 || depth == 16, shallow = depth == 1 || depth == 2 || depth == 4;
    int ok = colour == TLVI_PNG_GREY ? deep || shallow
             : colour == TLVI_PNG_PALETTE ? depth == 8 || shallow
                                          : colour <= 6 && sent[colour] && deep;
    if (!ok) return refuse(g, NULL, "colour type %d with %d bits a sample", colour, depth);
    if (p[11]) return refuse(g, NULL, "filter method %d", p[11]);
    g->has_header = 1;
    g->depth = depth;
    g->colour = colour;
    g->sent = sent[colour];
    g->interlaced |= p[12] != 0;
    return 1;
}

static int take_palette(tlvi_png *g, const chunk *k)
{
    if (!g->has_header || g->colour != TLVI_PNG_PALETTE) return 1;
    if (k->size / 3 > 256) return refuse(g, NULL, "a palette of %zu colours", k->size / 3);
    for (size_t i = 0; i < k->size / 3; i++) memcpy(g->palette[i], g->p + k->at + 3 * i, 3);
    return 1;
}

static int take_transparency(tlvi_png *g, const chunk *k)
{
    if (!g->has_header || g->colour & TLVI_PNG_ALPHA_BIT) return 1;
    size_t want = g->colour == TLVI_PNG_PALETTE ? 0 : 2 * (size_t)g->sent;
    if (k->size < want) return refuse(g, NULL, "chunk tRNS of %zu bytes", k->size);
    if (!want && k->size > 256) return refuse(g, NULL, "chunk tRNS for %zu colours", k->size);
    g->has_trns = 1;
    g->n_trns = want ? want : k->size;
    memcpy(g->trns, g->p + k->at, g->n_trns);
    return 1;
}

/* APNG: the frame that comes next, of which only the first matters. */
static int take_frame(tlvi_png *g, const uint8_t *p)
{
    uint32_t w = be32(p + 4), h = be32(p + 8), x = be32(p + 12), y = be32(p + 16);
    if (be32(p) != g->next_frame) return refuse(g, NULL, "frames out of order");
    g->next_frame++;
    if ((uint64_t)x + w > g->w || (uint64_t)y + h > g->h)
        return refuse(g, NULL, "a frame of %ux%u at %u,%u in %ux%u", w, h, x, y, g->w, g->h);
    if (g->packed == 0) {
        memcpy(g->box, (uint32_t[4]){ x, y, w, h }, sizeof g->box);
        g->has_box = 1;
    }
    return 1;
}

/* Numbered data of a frame: 4 bytes of number come first. */
static int take_numbered(tlvi_png *g, const chunk *k)
{
    if (k->size < 4 || g->n - k->at < 4 || g->next_frame == 0
        || be32(g->p + k->at) != g->next_frame)
        return refuse(g, NULL, "data of frames out of order");
    g->next_frame++;
    return 1;
}

/* The profile's name ends with a zero, then comes the method, which is zero. */
static int check_profile(const tlvi_png *g, const chunk *k)
{
    return memchr(g->p + k->at, 0, k->size) ? 1 : refuse(g, NULL, "chunk iCCP without a name");
}

/* Compressed text: a keyword, a zero, a method, which is 0. */
static int check_text(const tlvi_png *g, const chunk *k)
{
    const uint8_t *p = g->p + k->at, *end = p + k->size, *zero = memchr(p, 0, k->size);
    if (zero && zero + 1 < end && zero[1])
        return refuse(g, NULL, "chunk zTXt with compression method %d", zero[1]);
    return 1;
}

/* The least size of chunks that have one. */
static int check_size(const tlvi_png *g, const chunk *k)
{
    static const struct { const char *type; size_t least; } sizes[] = {
        { "IHDR", 13 }, { "gAMA", 4 }, { "sRGB", 1 }, { "pHYs", 9 }, { "acTL", 8 }, { "fcTL", 26 },
    };
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        if (k->type == tag(sizes[i].type) && k->size < sizes[i].least)
            return refuse(g, NULL, "chunk %s of %zu bytes", k->text, k->size);
    if (k->type == tag("cHRM") && k->size % 4)
        return refuse(g, NULL, "chunk cHRM of %zu bytes", k->size);
    return 1;
}

/* What a chunk beside the image data says; it is whole. */
static int take_chunk(tlvi_png *g, const chunk *k)
{
    const uint8_t *p = g->p + k->at;
    int after = g->packed > 0;                              // what the image is, is known
    if (!check_size(g, k)) return 0;
    if (k->type == tag("IHDR")) return after || take_header(g, p);
    if (k->type == tag("PLTE")) return after || take_palette(g, k);
    if (k->type == tag("tRNS")) return take_transparency(g, k);
    if (k->type == tag("iCCP")) return check_profile(g, k);
    if (k->type == tag("zTXt")) return check_text(g, k);
    if (k->type == tag("eXIf")) g->orientation = tlvi_exif_orientation(p, k->size);
    if (k->type == tag("acTL")) {
        uint32_t frames = be32(p);
        g->frames = g->frames || frames == 0 || frames > 0x80000000u ? 0 : frames;
    }
    return k->type == tag("fcTL") ? take_frame(g, p) : 1;
}

static int is_data(const chunk *k)
{
    return k->type == tag("IDAT") || k->type == tag("fdAT") || k->type == tag("DDAT");
}

/* Everything before the image data. */
static int take_head(tlvi_png *g)
{
    chunk k;
    g->at = sizeof SIGNATURE;
    for (;;) {
        if (!next_chunk(g, &k))
            return refuse(g, CUT_SHORT, "no chunk at byte %zu, before any image data", g->at);
        if (k.type == tag("IDAT") || k.type == tag("fdAT")) break;
        if (k.type == tag("IEND")) return refuse(g, NULL, "no image data");
        if (!is_whole(g, &k)) return refuse(g, CUT_SHORT, "it ends in chunk %s", k.text);
        if (!take_chunk(g, &k) || !check_sum(g, &k)) return 0;
        g->at = k.at + k.size + 4;
    }
    g->default_image = !g->has_box && g->frames;
    return g->has_header ? 1 : refuse(g, NULL, "image data before the header");
}

/* Where the image data is, and everything after it.  (Transparency and orientation may come late.)
 * `consecutive`: the chunks of data up to here follow each other. */
static int take_rest(tlvi_png *g)
{
    chunk k;
    int consecutive = 1, animated = g->frames + (unsigned)g->default_image > 1;
    g->cut = SIZE_MAX;
    while (next_chunk(g, &k) && k.type != tag("IEND")) {
        if (k.type == tag("fcTL") && animated) break;       // the second frame
        size_t skip = k.type == tag("fdAT") ? 4 : 0;
        if (k.type == tag("fdAT") && !take_numbered(g, &k)) return 0;
        if (is_data(&k) && consecutive) {
            size_t size = is_whole(g, &k) ? k.size : g->n - k.at;
            if (!g->data) {
                g->data = k.at + skip;
                g->data_left = k.size - skip;
            } else if (!is_whole(g, &k)) {
                g->cut = k.at;
            }
            g->packed += size - skip;
            if (!is_whole(g, &k)) break;
        } else {
            consecutive = 0;
            if (!is_whole(g, &k)) return refuse(g, CUT_SHORT, "it ends in chunk %s", k.text);
            if (!is_data(&k) && !take_chunk(g, &k)) return 0;
        }
        if (g->n - k.at - k.size < 4) break;
        g->at = k.at + k.size + 4;
    }
    return 1;
}

/* ---- image data ------------------------------------------------------------------------------ */

/* The next piece of the zlib stream; 0: there is no more. */
static int next_piece(tlvi_png *g, const uint8_t **p, size_t *n)
{
    while (g->data_left == 0) {
        chunk k;
        g->at = g->data + 4;
        if (!next_chunk(g, &k) || !is_data(&k)) return 0;
        size_t skip = k.type == tag("fdAT") ? 4 : 0;
        g->data = k.at + skip;
        g->data_left = k.size - skip;
    }
    size_t there = g->n - g->data;
    *p = g->p + g->data;
    *n = g->data_left < PIECE ? g->data_left : PIECE;
    if (*n > there) *n = there;
    g->data += *n;
    g->data_left -= *n;
    return *n > 0;
}

/* The zlib stream at work. */
typedef struct stream {
    tlvi_png *g;
    tlvi_inflate *z;
    const uint8_t *in;
    size_t n;
} stream;

/* Exactly n bytes of the stream. */
static int read_bytes(stream *s, uint8_t *to, size_t n)
{
    for (size_t got = 0;;) {
        got += tlvi_inflate_read(s->z, &s->in, &s->n, to + got, n - got);
        const char *error = tlvi_inflate_error(s->z);
        if (error) return refuse(s->g, NULL, "its image data has %s", error);
        if (got == n) return 1;
        if (tlvi_inflate_ended(s->z) || !next_piece(s->g, &s->in, &s->n))
            return refuse(s->g, CUT_SHORT, "the image data ends too early");
    }
}

typedef struct pass { uint32_t x, y, dx, dy; } pass;

static const pass WHOLE = { 0, 0, 1, 1 };
static const pass ADAM7[7] = { { 0, 0, 8, 8 }, { 4, 0, 8, 8 }, { 0, 4, 4, 8 }, { 2, 0, 4, 4 },
                               { 0, 2, 2, 4 }, { 1, 0, 2, 2 }, { 0, 1, 1, 2 } };

static uint32_t in_pass(uint32_t size, uint32_t first, uint32_t step)
{
    return size > first ? (size - first + step - 1) / step : 0;
}

/* Rows of one pass to their places in m, whose box begins at x0, y0. */
static int read_pass(stream *s, const pass *a, uint8_t *rows[2], const tlv_image *m, uint32_t x0,
                     uint32_t y0)
{
    const tlvi_png *g = s->g;
    size_t pixel = (size_t)(m->channels * m->depth / 8), bpp = (tlvi_png_bits(g) + 7) / 8;
    uint32_t w = in_pass(g->box[2], a->x, a->dx);
    size_t n = tlvi_png_row_bytes(g, w);
    if (w == 0) return 1;
    memset(rows[1], 0, n + 1);
    for (uint32_t y = a->y; y < g->box[3]; y += a->dy) {
        if (!read_bytes(s, rows[0], n + 1)) return 0;
        int filter = rows[0][0];
        if (filter > 4) return refuse(g, NULL, "filter %d in row %u", filter, y);
        tlvi_png_unfilter(filter, bpp, n, rows[0] + 1, rows[1] + 1);
        uint8_t *to = (uint8_t *)m->samples
                      + ((size_t)(y0 + y) * (size_t)m->w + x0 + a->x) * pixel;
        tlvi_png_pixels(g, rows[0] + 1, w, m, to, a->dx * pixel);
        uint8_t *t = rows[0];
        rows[0] = rows[1];
        rows[1] = t;
    }
    return 1;
}

/* Bytes of all rows with their filters. */
static uint64_t stream_bytes(const tlvi_png *g)
{
    uint64_t sum = 0;
    const pass *a = g->interlaced ? ADAM7 : &WHOLE;
    for (int i = 0; i < (g->interlaced ? 7 : 1); i++) {
        uint32_t w = in_pass(g->box[2], a[i].x, a[i].dx), h = in_pass(g->box[3], a[i].y, a[i].dy);
        if (w) sum += (uint64_t)h * (tlvi_png_row_bytes(g, w) + 1);
    }
    return sum;
}

static int open_stream(tlvi_png *g, stream *s, size_t data, size_t left)
{
    *s = (stream){ .g = g, .z = tlvi_inflate_open(g->c, TLVI_ZLIB) };
    g->data = data;
    g->data_left = left;
    return s->z != NULL;
}

/* Reads the stream once for its length alone, before memory is taken for what it announces. */
static int prove(tlvi_png *g, uint64_t bytes)
{
    uint8_t skipped[4096];
    stream s;
    size_t data = g->data, left = g->data_left;
    int ok = open_stream(g, &s, data, left);
    for (; ok && bytes; bytes -= bytes < sizeof skipped ? bytes : sizeof skipped)
        ok = read_bytes(&s, skipped, bytes < sizeof skipped ? (size_t)bytes : sizeof skipped);
    tlvi_inflate_close(s.z);
    g->data = data;
    g->data_left = left;
    return ok;
}

/* ---- the whole ------------------------------------------------------------------------------- */

/* What tRNS and few bits of grey mean, as entries of the palette.  A grey key is compared with the
 * sample scaled to 8 bits, as Pillow 9.4 does (PNG means the sample as it stands in the file). */
static void finish_palette(tlvi_png *g)
{
    if (g->colour == TLVI_PNG_PALETTE) {
        for (size_t i = 0; i < g->n_trns; i++) g->palette[i][3] = g->trns[i];
        return;
    }
    if (g->depth >= 8) return;
    int top = (1 << g->depth) - 1;
    for (int i = 0; i <= top; i++) {
        uint8_t v = (uint8_t)(i * 255 / top);
        g->palette[i][0] = v;
        g->palette[i][1] = g->has_trns && v == g->trns[1] ? 0 : 255;
    }
}

static tlv_pixels kind_of(const tlvi_png *g)
{
    int alpha = g->has_trns || g->colour & TLVI_PNG_ALPHA_BIT;
    if (g->colour == TLVI_PNG_GREY || g->colour == TLVI_PNG_GREY_ALPHA)
        return alpha ? TLV_GREY_ALPHA : TLV_GREY;
    return alpha ? TLV_RGBA : TLV_RGB;
}

static int read_passes(tlvi_png *g, uint8_t *rows[2], const tlv_image *m)
{
    stream s;
    int ok = open_stream(g, &s, g->data, g->data_left);
    if (!g->interlaced) {
        ok = ok && read_pass(&s, &WHOLE, rows, m, g->box[0], g->box[1]);
    } else {
        for (int i = 0; ok && i < 7; i++) ok = read_pass(&s, &ADAM7[i], rows, m, 0, 0);
    }
    tlvi_inflate_close(s.z);
    // Chunks of data that the image did not need must at least be there
    if (ok && g->cut != SIZE_MAX && g->data < g->cut)
        return refuse(g, CUT_SHORT, "it ends in chunk IDAT");
    return ok;
}

/* A frame smaller than the image: around it are zeros, as the file would have them. */
static int clear(const tlvi_png *g, const tlv_image *m, uint8_t *row)
{
    size_t n = tlvi_png_row_bytes(g, g->w), pixel = (size_t)(m->channels * m->depth / 8);
    memset(row, 0, n);
    for (size_t y = 0; y < (size_t)m->h; y++)
        tlvi_png_pixels(g, row, g->w, m, (uint8_t *)m->samples + y * (size_t)m->w * pixel, pixel);
    return 1;
}

static int read_image(tlvi_png *g, tlv_image *out)
{
    tlv_pixels kind = kind_of(g);
    int depth = g->depth == 16 ? 16 : 8;
    uint64_t raw = stream_bytes(g), row = tlvi_png_row_bytes(g, g->w) + 1;
    uint64_t samples = (uint64_t)g->w * g->h * (uint64_t)kind * (uint64_t)depth / 8;
    if (raw > (uint64_t)g->packed * MAX_INFLATION + MAX_INFLATION)
        return refuse(g, CUT_SHORT, "%zu bytes of image data are too few for %ux%u", g->packed,
                      g->w, g->h);
    if (samples + 2 * row > UNPROVEN && !prove(g, raw)) return 0;

    if (tlv_image_new(g->c, (int)g->h, (int)g->w, kind, depth, out) != TLV_OK) return 0;
    uint8_t *block = tlvi_alloc(g->c, (size_t)(2 * row)), *rows[2] = { block, NULL };
    if (!block) return 0;
    rows[1] = block + row;
    finish_palette(g);
    int whole = g->box[2] == g->w && g->box[3] == g->h;
    int ok = (whole || clear(g, out, block)) && read_passes(g, rows, out);
    tlvi_free(g->c, block, (size_t)(2 * row));
    out->orientation = g->orientation;
    return ok;
}

tlv_status tlvi_png_decode(tlv_ctx *c, const uint8_t *bytes, size_t n, const char *name,
                           tlv_image *out)
{
    tlvi_png g = { .c = c, .name = name, .p = bytes, .n = n, .orientation = 1 };
    for (int i = 0; i < 256; i++) {         // entries that the file leaves out are a ramp of grey
        memset(g.palette[i], i, 3);
        g.palette[i][3] = 255;
    }
    if (n < sizeof SIGNATURE || memcmp(bytes, SIGNATURE, sizeof SIGNATURE) != 0) {
        refuse(&g, NULL, "it does not begin as one");
        return c->err;
    }
    if (!take_head(&g)) return c->err;
    TLVI_CHECK(c, (uint64_t)g.w * g.h <= MAX_PIXELS, TLV_ERR_LIMIT, "reduce it before",
               "%s: PNG of %ux%u, at most 2^28 pixels are read", tlvi_path_str(name).s, g.w, g.h);
    if (!g.has_box) memcpy(g.box, (uint32_t[4]){ 0, 0, g.w, g.h }, sizeof g.box);
    const uint32_t *box = g.box;            // a later header may have changed the size
    if (!box[2] || !box[3] || (uint64_t)box[0] + box[2] > g.w || (uint64_t)box[1] + box[3] > g.h)
        refuse(&g, NULL, "a first frame of %ux%u in %ux%u", box[2], box[3], g.w, g.h);
    size_t first = g.at;
    int ok = !c->err && take_rest(&g);
    g.at = first;
    if (!ok || !read_image(&g, out)) tlv_image_close(out);
    return c->err;
}
