/* image.c -- images in memory: from files of any format, to other kinds of pixels, the right way
 * up. */
#include "data/codec.h"

enum { PIXELS_MAX = 1 << 28 };

/* ---- images ---------------------------------------------------------------------------------- */

static int channels_of(tlv_pixels kind)
{
    return kind == TLV_CMYK ? 4 : (int)kind;
}

int tlvi_image_size_ok(tlv_ctx *c, const char *name, uint64_t w, uint64_t h)
{
    if (w == 0 || h == 0) {
        tlvi_fail(c, TLV_ERR_FORMAT, NULL, "%s: an image of %llux%llu pixels holds nothing", name,
                  (unsigned long long)w, (unsigned long long)h);
        return 0;
    }
    if (w <= PIXELS_MAX && h <= PIXELS_MAX && w * h <= PIXELS_MAX) return 1;
    tlvi_fail(c, TLV_ERR_LIMIT, "make it smaller, or cut it into pieces",
              "%s: an image of %llux%llu pixels; at most 2^28 in all are read", name,
              (unsigned long long)w, (unsigned long long)h);
    return 0;
}

tlv_status tlv_image_new(tlv_ctx *c, int h, int w, tlv_pixels kind, int depth, tlv_image *out)
{
    *out = (tlv_image){ 0 };
    if (c->err) return c->err;
    TLVI_CHECK(c, h > 0 && w > 0, TLV_ERR_ARG, "sizes begin at 1", "an image of %dx%d pixels", w,
               h);
    TLVI_CHECK(c, kind >= TLV_GREY && kind <= TLV_CMYK && (depth == 8 || depth == 16), TLV_ERR_ARG,
               "a kind of tlv_pixels, with 8 or 16 bits a sample",
               "an image of kind %d with %d bits a sample", (int)kind, depth);
    if (!tlvi_image_size_ok(c, "a new image", (uint64_t)w, (uint64_t)h)) return c->err;
    tlv_image m = { c, h, w, channels_of(kind), kind, depth, 1, NULL, 0 };
    m.bytes = (size_t)h * (size_t)w * (size_t)m.channels * (size_t)(depth / 8);
    m.samples = tlvi_alloc(c, m.bytes);
    if (!m.samples) return c->err;
    *out = m;
    return TLV_OK;
}

void tlv_image_close(tlv_image *m)
{
    if (!m) return;
    if (m->samples) tlvi_free(m->c, m->samples, m->bytes);
    *m = (tlv_image){ 0 };
}

/* ---- files ----------------------------------------------------------------------------------- */

typedef tlv_status (*decoder)(tlv_ctx *c, const uint8_t *bytes, size_t n, const char *name,
                              tlv_image *out);

/* Files that begin with `magic` (of `length` bytes) at byte `at`: a decoder, or what they are. */
typedef struct signature {
    const char *magic;
    int length, at;
    decoder decode;
    const char *what;
} signature;

#define MAGIC(s) s, (int)sizeof(s) - 1

static const signature SIGNATURES[] = {
    { MAGIC("\x89PNG"), 0, tlvi_png_decode, NULL },
    { MAGIC("\xff\xd8"), 0, tlvi_jpeg_decode, NULL },
    { MAGIC("BM"), 0, tlvi_bmp_decode, NULL },
    { MAGIC("\x0c\0\0\0"), 0, tlvi_bmp_decode, NULL },  // a bitmap without its file header
    { MAGIC("\x28\0\0\0"), 0, tlvi_bmp_decode, NULL },
    { MAGIC("\x40\0\0\0"), 0, tlvi_bmp_decode, NULL },
    { MAGIC("\x6c\0\0\0"), 0, tlvi_bmp_decode, NULL },
    { MAGIC("\x7c\0\0\0"), 0, tlvi_bmp_decode, NULL },
    { MAGIC("P1"), 0, tlvi_pnm_decode, NULL },
    { MAGIC("P2"), 0, tlvi_pnm_decode, NULL },
    { MAGIC("P3"), 0, tlvi_pnm_decode, NULL },
    { MAGIC("P4"), 0, tlvi_pnm_decode, NULL },
    { MAGIC("P5"), 0, tlvi_pnm_decode, NULL },
    { MAGIC("P6"), 0, tlvi_pnm_decode, NULL },
    { MAGIC("P7"), 0, NULL, "a PAM file" },
    { MAGIC("PF\n"), 0, NULL, "a PFM file" },
    { MAGIC("Pf\n"), 0, NULL, "a PFM file" },
    { MAGIC("GIF8"), 0, NULL, "a GIF file" },
    { MAGIC("WEBP"), 8, NULL, "a WebP file" },
    { MAGIC("II*\0"), 0, NULL, "a TIFF file" },
    { MAGIC("MM\0*"), 0, NULL, "a TIFF file" },
    { MAGIC("II+\0"), 0, NULL, "a BigTIFF file" },
    { MAGIC("MM\0+"), 0, NULL, "a BigTIFF file" },
    { MAGIC("ftypavif"), 4, NULL, "an AVIF file" },
    { MAGIC("ftypavis"), 4, NULL, "an AVIF file" },
    { MAGIC("ftyphei"), 4, NULL, "a HEIC file" },
    { MAGIC("ftyphev"), 4, NULL, "a HEIC file" },
    { MAGIC("ftypmif1"), 4, NULL, "a HEIF file" },
    { MAGIC("ftypmsf1"), 4, NULL, "a HEIF file" },
    { MAGIC("ftyp"), 4, NULL, "a video (MP4)" },
    { MAGIC("jP  \r\n"), 4, NULL, "a JPEG 2000 file" },
    { MAGIC("\xff\x4f\xff\x51"), 0, NULL, "a JPEG 2000 file" },
    { MAGIC("JXL \r\n"), 4, NULL, "a JPEG XL file" },
    { MAGIC("\xff\x0a"), 0, NULL, "a JPEG XL file" },
    { MAGIC("\x8bJNG"), 0, NULL, "a JNG file" },
    { MAGIC("\x8aMNG"), 0, NULL, "a MNG file" },
    { MAGIC("8BPS"), 0, NULL, "a Photoshop file" },
    { MAGIC("\0\0\1\0"), 0, NULL, "an icon (ICO)" },
    { MAGIC("\0\0\2\0"), 0, NULL, "a cursor (CUR)" },
    { MAGIC("qoif"), 0, NULL, "a QOI file" },
    { MAGIC("\x76\x2f\x31\x01"), 0, NULL, "an OpenEXR file" },
    { MAGIC("#?RADIANCE"), 0, NULL, "a Radiance HDR file" },
    { MAGIC("\x93NUMPY"), 0, NULL, "a NumPy array" },
    { MAGIC("%PDF"), 0, NULL, "a PDF file" },
    { MAGIC("%!PS"), 0, NULL, "a PostScript file" },
    { MAGIC("PK\3\4"), 0, NULL, "a zip archive" },
    { MAGIC("\x1f\x8b"), 0, NULL, "a gzip file" },
    { MAGIC("7z\xbc\xaf"), 0, NULL, "a 7z archive" },
    { MAGIC("Rar!"), 0, NULL, "a RAR archive" },
    { MAGIC("version https://git-lfs"), 0, NULL, "a Git LFS pointer" },
    { MAGIC("RIFF"), 0, NULL, "a RIFF file" },
};

/* Markup begins anywhere after white space, in any case: NULL if it is none. */
static const char *markup(const uint8_t *p, size_t n)
{
    static const struct { const char *tag, *what; } TAGS[] = {
        { "<svg", "an SVG drawing" }, { "<html", "an HTML page" },
        { "<!doctype html", "an HTML page" },
    };
    size_t at = n >= 3 && memcmp(p, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;
    while (at < n && (p[at] == ' ' || (p[at] >= '\t' && p[at] <= '\r'))) at++;
    if (at == n || p[at] != '<') return NULL;
    if (n > at + 1024) n = at + 1024;
    for (; at < n; at++)
        for (size_t t = 0; t < sizeof TAGS / sizeof TAGS[0]; t++) {
            size_t k = 0;
            while (at + k < n && TAGS[t].tag[k]
                   && (p[at + k] >= 'A' && p[at + k] <= 'Z' ? p[at + k] + 32 : p[at + k])
                          == TAGS[t].tag[k]) k++;
            if (!TAGS[t].tag[k]) return TAGS[t].what;
        }
    return "an XML file";
}

static const signature *signature_of(const uint8_t *p, size_t n)
{
    for (size_t i = 0; i < sizeof SIGNATURES / sizeof SIGNATURES[0]; i++) {
        const signature *s = &SIGNATURES[i];
        if ((size_t)(s->at + s->length) <= n && memcmp(p + s->at, s->magic, (size_t)s->length) == 0)
            return s;
    }
    return NULL;
}

/* Nothing here decodes it: what it looks like. */
static tlv_status refuse(tlv_ctx *c, const uint8_t *p, size_t n, const char *name, const char *what)
{
    if (!what) what = markup(p, n);
    size_t text = 0, zeros = 0;
    for (size_t i = 0; i < n && i < 512; i++) {
        text += (p[i] >= ' ' && p[i] < 127) || (p[i] >= '\t' && p[i] <= '\r');
        zeros += p[i] == 0;
    }
    size_t looked = n < 512 ? n : 512;
    if (!what && zeros == looked) what = "nothing but zero bytes";
    if (!what && text == looked) what = "text";
    TLVI_CHECK(c, !what, TLV_ERR_FORMAT, "save it as PNG or JPEG",
               "%s is %s; PNG, JPEG, BMP and PNM are read", name, what);
    return tlvi_fail(c, TLV_ERR_FORMAT, "save it as PNG or JPEG",
                     "%s is of an unknown format; PNG, JPEG, BMP and PNM are read", name);
}

tlv_status tlv_image_decode(tlv_ctx *c, const void *bytes, size_t n, const char *name,
                            tlv_image *out)
{
    *out = (tlv_image){ 0 };
    if (c->err) return c->err;
    if (!name) name = "the image";
    TLVI_CHECK(c, bytes && n > 0, TLV_ERR_FORMAT, NULL, "%s is empty", name);
    const signature *s = signature_of(bytes, n);
    if (!s || !s->decode) return refuse(c, bytes, n, name, s ? s->what : NULL);
    tlv_image m = { 0 };
    if (s->decode(c, bytes, n, name, &m) == TLV_OK) *out = m;
    else tlv_image_close(&m);
    return c->err;
}

tlv_status tlv_image_read(tlv_ctx *c, const char *path, tlv_image *out)
{
    *out = (tlv_image){ 0 };
    if (c->err) return c->err;
    TLVI_CHECK(c, path, TLV_ERR_ARG, NULL, "the path of an image is NULL");
    size_t room;
    uint8_t *file = tlvi_read_file(c, path, &room);
    if (!file) return c->err;
    tlv_image_decode(c, file, room - 1, path, out);
    tlvi_free(c, file, room);
    return c->err;
}

/* ---- other kinds ----------------------------------------------------------------------------- */

/* a b / 255, rounded, as Pillow has it. */
static int mul255(int a, int b)
{
    int t = a * b + 128;
    return ((t >> 8) + t) >> 8;
}

/* A pixel of any kind, 8 bits a sample, as red, green, blue, alpha. */
static void to_rgba(const uint8_t *p, tlv_pixels kind, uint8_t q[4])
{
    q[3] = 255;
    switch (kind) {
    case TLV_GREY_ALPHA:
        q[3] = p[1];
        q[0] = q[1] = q[2] = p[0];
        break;
    case TLV_GREY:
        q[0] = q[1] = q[2] = p[0];
        break;
    case TLV_RGBA:
        q[3] = p[3];
        memcpy(q, p, 3);
        break;
    case TLV_RGB:
        memcpy(q, p, 3);
        break;
    case TLV_CMYK:                                  // white less black less each ink's share of it
        for (int i = 0; i < 3; i++) {
            int left = p[3] - mul255(255 - p[i], p[3]);
            q[i] = (uint8_t)(left < 0 ? 0 : left);
        }
        break;
    }
}

/* n pixels of 8 bits: `from` and `to` may be the same memory if `to` has fewer channels. */
static void convert_run(size_t n, const uint8_t *p, tlv_pixels from, uint8_t *q, tlv_pixels to)
{
    int step = channels_of(from), made = channels_of(to);
    for (size_t i = 0; i < n; i++, p += step, q += made) {
        uint8_t v[4];
        to_rgba(p, from, v);
        if (to != TLV_GREY) memcpy(q, v, (size_t)made);
        else if (from == TLV_GREY || from == TLV_GREY_ALPHA) q[0] = v[0];
        else q[0] = (uint8_t)((19595 * v[0] + 38470 * v[1] + 7471 * v[2] + 32768) >> 16);
    }
}

tlv_status tlv_image_convert(tlv_image *m, tlv_pixels kind)
{
    if (!m->samples) return TLV_ERR_ARG;
    tlv_ctx *c = m->c;
    if (c->err) return c->err;
    TLVI_CHECK(c, kind == TLV_GREY || kind == TLV_RGB || kind == TLV_RGBA, TLV_ERR_ARG,
               "TLV_GREY, TLV_RGB or TLV_RGBA", "an image cannot become one of kind %d",
               (int)kind);
    if (kind == m->kind && m->depth == 8) return TLV_OK;
    tlv_image to;
    if (tlv_image_new(c, m->h, m->w, kind, 8, &to) != TLV_OK) return c->err;
    to.orientation = m->orientation;

    enum { RUN = 256 };
    uint8_t high[RUN * 4];
    size_t pixels = (size_t)m->h * (size_t)m->w, ch = (size_t)m->channels;
    for (size_t i = 0; i < pixels; i += RUN) {
        size_t n = pixels - i < RUN ? pixels - i : RUN;
        const uint8_t *p = (const uint8_t *)m->samples + i * ch;
        if (m->depth == 16) {
            const uint16_t *wide = (const uint16_t *)m->samples + i * ch;
            for (size_t k = 0; k < n * ch; k++) high[k] = (uint8_t)(wide[k] >> 8);
            p = high;
        }
        convert_run(n, p, m->kind, (uint8_t *)to.samples + i * (size_t)to.channels, kind);
    }
    tlv_image_close(m);
    *m = to;
    return TLV_OK;
}

/* ---- the right way up ------------------------------------------------------------------------ */

/* Where the pixels of the upright image come from: pixel (y,x) is at first + y dy + x dx. */
typedef struct walk { ptrdiff_t first, dy, dx; } walk;

/* Orientation o of an image of h rows and w columns.  Source: Exif 2.3, tag 0x0112: the sides of
 * the upright image at which row 0 and column 0 lie. */
static walk walk_of(int o, ptrdiff_t h, ptrdiff_t w)
{
    switch (o) {
    case 2: return (walk){ w - 1, w, -1 };                          // top, right
    case 3: return (walk){ h * w - 1, -w, -1 };                     // bottom, right
    case 4: return (walk){ (h - 1) * w, -w, 1 };                    // bottom, left
    case 5: return (walk){ 0, 1, w };                               // left, top
    case 6: return (walk){ (h - 1) * w, 1, -w };                    // right, top
    case 7: return (walk){ h * w - 1, -1, -w };                     // right, bottom
    case 8: return (walk){ w - 1, -1, w };                          // left, bottom
    default: return (walk){ 0, w, 1 };
    }
}

/* Tiles, so that a walk down columns uses each line of the cache while it is there. */
static void turn(const tlv_image *m, walk s, tlv_image *to)
{
    enum { TILE = 32 };
    size_t size = (size_t)m->channels * (size_t)(m->depth / 8);
    const uint8_t *from = m->samples;
    uint8_t *made = to->samples;
    for (int ty = 0; ty < to->h; ty += TILE)
        for (int tx = 0; tx < to->w; tx += TILE)
            for (int y = ty; y < ty + TILE && y < to->h; y++) {
                uint8_t *q = made + ((size_t)y * (size_t)to->w + (size_t)tx) * size;
                for (int x = tx; x < tx + TILE && x < to->w; x++) {
                    const uint8_t *p = from + (s.first + y * s.dy + x * s.dx) * (ptrdiff_t)size;
                    for (size_t k = 0; k < size; k++) *q++ = p[k];
                }
            }
}

tlv_status tlv_image_orient(tlv_image *m)
{
    if (!m->samples) return TLV_ERR_ARG;
    tlv_ctx *c = m->c;
    if (c->err) return c->err;
    int o = m->orientation;
    TLVI_CHECK(c, o >= 1 && o <= 8, TLV_ERR_ARG, "1 to 8", "an image of orientation %d", o);
    if (o == 1) return TLV_OK;
    int across = o >= 5;                                            // rows become columns
    tlv_image to;
    if (tlv_image_new(c, across ? m->w : m->h, across ? m->h : m->w, m->kind, m->depth, &to)
        != TLV_OK) return c->err;
    turn(m, walk_of(o, m->h, m->w), &to);
    tlv_image_close(m);
    *m = to;
    return TLV_OK;
}
