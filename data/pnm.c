/* pnm.c -- PBM, PGM and PPM files, P1 to P6: text or bytes behind a few numbers.
 *
 * Read as Pillow 9.4 reads them.  Samples are scaled from 0 .. maxval to 8 bits, those of a PGM
 * with maxval above 255 to 16.  A comment ends nothing: "1# \n2" is 12, as there.
 * Source: Netpbm's pages on pbm, pgm and ppm. */
#include "data/codec.h"

enum { TOKEN = 10 };                /* digits in a number */

typedef struct pnm {
    tlv_ctx *c;
    const char *name;
    const uint8_t *p, *end;
    int text, bits;                 /* numbers as text; 1: black and white */
    uint32_t maxval;
} pnm;

static int is_space(int b) { return b == ' ' || (b >= '\t' && b <= '\r'); }

/* The next byte outside of comments, or -1 at the end. */
static int next(pnm *f)
{
    while (f->p < f->end && *f->p == '#') {
        while (f->p < f->end && *f->p != '\n' && *f->p != '\r') f->p++;
        if (f->p < f->end) f->p++;
    }
    return f->p < f->end ? *f->p++ : -1;
}

/* A decimal number and the one blank behind it. */
static int number(pnm *f, const char *what, uint64_t *out)
{
    int b = next(f), digits = 0;
    while (is_space(b)) b = next(f);
    *out = 0;
    for (; b != -1 && !is_space(b); b = next(f), digits++) {
        if (b < '0' || b > '9') {
            tlvi_fail(f->c, TLV_ERR_FORMAT, NULL, "%s: byte 0x%02x in the place of %s", f->name, b,
                      what);
            return 0;
        }
        if (digits == TOKEN) {
            tlvi_fail(f->c, TLV_ERR_FORMAT, NULL, "%s: %s has more than %d digits", f->name, what,
                      TOKEN);
            return 0;
        }
        *out = *out * 10 + (uint64_t)(b - '0');
    }
    if (digits > 0) return 1;
    tlvi_fail(f->c, TLV_ERR_FORMAT, NULL, "%s: the file ends where %s should be", f->name, what);
    return 0;
}

/* v / maxval * top, to the nearest, halves to even. */
static uint32_t scaled(uint32_t v, uint32_t maxval, uint32_t top)
{
    double q = (double)v / (double)maxval * (double)top;
    if (q >= (double)top) return top;
    uint32_t low = (uint32_t)q;
    double rest = q - (double)low;
    return low + (rest > 0.5 || (rest == 0.5 && (low & 1)));
}

/* ---- samples --------------------------------------------------------------------------------- */

static int read_bits(pnm *f, tlv_image *m)
{
    uint8_t *q = m->samples;
    for (int y = 0; y < m->h; y++)
        for (int x = 0; x < m->w; x++) {
            int b;
            if (f->text) {
                do b = next(f);
                while (is_space(b));
                if (b != '0' && b != '1') {
                    tlvi_fail(f->c, TLV_ERR_FORMAT, NULL, "%s: row %d of %d %s", f->name, y, m->h,
                              b == -1 ? "is cut short" : "holds something else than 0 and 1");
                    return 0;
                }
            } else {
                b = f->p[x >> 3] >> (7 - (x & 7)) & 1;
                if (x + 1 == m->w) f->p += (x >> 3) + 1;
            }
            *q++ = (b & 1) ? 0 : 255;               // 1 is black
        }
    return 1;
}

static int read_samples(pnm *f, tlv_image *m)
{
    size_t n = (size_t)m->h * (size_t)m->w * (size_t)m->channels;
    uint32_t top = m->depth == 16 ? 65535 : 255;
    for (size_t i = 0; i < n; i++) {
        uint64_t v;
        if (f->text) {
            if (!number(f, "a sample", &v)) return 0;
            if (v > f->maxval) {
                tlvi_fail(f->c, TLV_ERR_FORMAT, NULL, "%s: a sample of %llu, above its maximum %u",
                          f->name, (unsigned long long)v, (unsigned)f->maxval);
                return 0;
            }
        } else if (f->maxval > 255) {
            v = (uint64_t)(f->p[0] << 8 | f->p[1]);
            f->p += 2;
        } else {
            v = *f->p++;
        }
        uint32_t s = f->maxval == top ? (uint32_t)v : scaled((uint32_t)v, f->maxval, top);
        if (m->depth == 16) ((uint16_t *)m->samples)[i] = (uint16_t)s;
        else ((uint8_t *)m->samples)[i] = (uint8_t)s;
    }
    return 1;
}

/* What is left of the file can hold such an image: of text, the shortest one. */
static int holds(pnm *f, uint64_t w, uint64_t h, int channels)
{
    uint64_t left = (uint64_t)(f->end - f->p), samples = w * h * (uint64_t)channels, need;
    if (f->text) need = f->bits ? samples : 2 * samples - 1;
    else if (f->bits) need = (w + 7) / 8 * h;
    else need = samples * (f->maxval > 255 ? 2 : 1);
    if (need <= left) return 1;
    tlvi_fail(f->c, TLV_ERR_FORMAT, "it is cut short",
              "%s: %llux%llu pixels need %llu bytes and %llu are there", f->name,
              (unsigned long long)w, (unsigned long long)h, (unsigned long long)need,
              (unsigned long long)left);
    return 0;
}

tlv_status tlvi_pnm_decode(tlv_ctx *c, const uint8_t *bytes, size_t n, const char *name,
                           tlv_image *out)
{
    TLVI_CHECK(c, n >= 3 && bytes[0] == 'P' && bytes[1] >= '1' && bytes[1] <= '6'
                      && is_space(bytes[2]),
               TLV_ERR_FORMAT, NULL, "%s is not a PNM file: P1 to P6 and a blank come first", name);
    int digit = bytes[1] - '0', colour = digit == 3 || digit == 6;
    pnm f = { c, name, bytes + 3, bytes + n, digit <= 3, digit == 1 || digit == 4, 1 };
    uint64_t w, h, maxval = 1;
    if (!number(&f, "the width", &w) || !number(&f, "the height", &h)) return c->err;
    if (!f.bits && !number(&f, "the maximum", &maxval)) return c->err;
    TLVI_CHECK(c, maxval > 0 && maxval < 65536, TLV_ERR_FORMAT, "1 to 65535 is allowed",
               "%s: a maximum of %llu", name, (unsigned long long)maxval);
    f.maxval = (uint32_t)maxval;
    if (!tlvi_image_size_ok(c, name, w, h) || !holds(&f, w, h, colour ? 3 : 1)) return c->err;
    int depth = !f.bits && !colour && maxval > 255 ? 16 : 8;
    if (tlv_image_new(c, (int)h, (int)w, colour ? TLV_RGB : TLV_GREY, depth, out) != TLV_OK)
        return c->err;
    if (!(f.bits ? read_bits(&f, out) : read_samples(&f, out))) tlv_image_close(out);
    return c->err;
}
