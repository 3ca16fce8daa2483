/* rotate.c -- Pillow's Image.rotate without expand, to the bit (Image.py, Geometry.c of 9.4):
 * quarter turns move pixels, other angles sample at cos, sin rounded to 15 decimals, nearest in
 * 16.16 fixed point. */
#include <math.h>

#include "data/resample.h"

/* x' = a0 x + a1 y + a2, y' = a3 x + a4 y + a5 */
typedef struct affine { double a[6]; } affine;

/* v rounded to 15 decimals: v 10^15 with its rounding error is a whole number and a remainder, and
 * whole / 10^15 is rounded once. */
static double decimals15(double v)
{
    double p = v * 1e15, e = fma(v, 1e15, -p), r = rint(p), rest = p - r + e;
    if (rest > 0.5) r += 1;
    if (rest < -0.5) r -= 1;
    return r / 1e15;
}

static affine turned(int h, int w, double degrees)
{
    double angle = -(degrees * (3.14159265358979323846 / 180.0)), cx = w / 2.0, cy = h / 2.0;
    double c = decimals15(cos(angle)), s = decimals15(sin(angle));
    double ms = decimals15(-sin(angle));
    affine t = { { c, s, 0, ms, c, 0 } };
    t.a[2] = c * -cx + s * -cy + 0.0;
    t.a[5] = ms * -cx + c * -cy + 0.0;
    t.a[2] += cx;
    t.a[5] += cy;
    return t;
}

/* ---- quarter turns --------------------------------------------------------------------------- */

/* Source of pixel y, x: turned counter-clockwise so many quarters. */
static void quarters(const tlv_image *m, int n, uint8_t *out)
{
    size_t ch = (size_t)m->channels, w = (size_t)m->w, h = (size_t)m->h;
    const uint8_t *px = m->samples;
    for (size_t y = 0; y < h; y++)
        for (size_t x = 0; x < w; x++, out += ch) {
            size_t from = n == 2 ? (h - 1 - y) * w + (w - 1 - x)
                                 : n == 1 ? x * w + (w - 1 - y) : (w - 1 - x) * w + y;
            memcpy(out, px + from * ch, ch);
        }
}

/* ---- sampling -------------------------------------------------------------------------------- */

static int64_t to_fixed(double v) { return (int64_t)floor(v * 65536.0 + 0.5); }

static int fits_fixed(const affine *t, int x, int y)
{
    return fabs(x * t->a[0] + y * t->a[1] + t->a[2]) < 32768
           && fabs(x * t->a[3] + y * t->a[4] + t->a[5]) < 32768;
}

static void put(const tlv_image *m, int64_t x, int64_t y, uint8_t *out)
{
    size_t ch = (size_t)m->channels;
    if (x < 0 || y < 0 || x >= m->w || y >= m->h) memset(out, 0, ch);
    else memcpy(out, (const uint8_t *)m->samples + ((size_t)y * (size_t)m->w + (size_t)x) * ch, ch);
}

/* The sums are carried from pixel to pixel, as Pillow does; doubles where 16.16 bits overflow. */
static void sample_nearest(const tlv_image *m, const affine *t, uint8_t *out)
{
    const double *a = t->a;
    size_t ch = (size_t)m->channels;
    int small = fits_fixed(t, 0, 0) && fits_fixed(t, m->w, m->h) && fits_fixed(t, 0, m->h)
                && fits_fixed(t, m->w, 0);
    double x0 = a[2] + a[0] * 0.5 + a[1] * 0.5, y0 = a[5] + a[3] * 0.5 + a[4] * 0.5;
    if (small) {
        int64_t f0 = to_fixed(a[0]), f1 = to_fixed(a[1]), f3 = to_fixed(a[3]), f4 = to_fixed(a[4]);
        int64_t fx = to_fixed(x0), fy = to_fixed(y0);
        for (int y = 0; y < m->h; y++, fx += f1, fy += f4)
            for (int x = 0; x < m->w; x++, out += ch)
                put(m, (fx + x * f0) >> 16, (fy + x * f3) >> 16, out);
        return;
    }
    x0 = a[2] + a[1] * 0.5 + a[0] * 0.5;
    y0 = a[5] + a[4] * 0.5 + a[3] * 0.5;
    for (int y = 0; y < m->h; y++, x0 += a[1], y0 += a[4]) {
        double xx = x0, yy = y0;
        for (int x = 0; x < m->w; x++, out += ch, xx += a[0], yy += a[3])
            put(m, xx < 0 ? -1 : (int64_t)xx, yy < 0 ? -1 : (int64_t)yy, out);
    }
}

static double cubic(const double v[4], double d)
{
    double p1 = v[1], p2 = -v[0] + v[2], p3 = 2 * (v[0] - v[1]) + v[2] - v[3];
    double p4 = -v[0] + v[1] - v[2] + v[3];
    return p1 + d * (p2 + d * (p3 + d * p4));
}

/* Channel k at (fx, fy) past pixel (x, y); a row below the image repeats the one before it. */
static double between(const tlv_image *m, int taps, int x, int y, double fx, double fy, int k)
{
    double rows[4] = { 0 };
    for (int j = 0; j < taps; j++) {
        int yy = y + j - (taps == 4);
        if (j > 0 && (yy < 0 || yy >= m->h)) {
            rows[j] = rows[j - 1];
            continue;
        }
        yy = yy < 0 ? 0 : yy < m->h ? yy : m->h - 1;
        size_t row = (size_t)m->w * (size_t)m->channels;
        const uint8_t *p = (const uint8_t *)m->samples + (size_t)yy * row;
        double v[4];
        for (int i = 0; i < taps; i++) {
            int xx = x + i - (taps == 4);
            xx = xx < 0 ? 0 : xx < m->w ? xx : m->w - 1;
            v[i] = p[(size_t)xx * (size_t)m->channels + (size_t)k];
        }
        rows[j] = taps == 4 ? cubic(v, fx) : v[0] + (v[1] - v[0]) * fx;
    }
    return taps == 4 ? cubic(rows, fy) : rows[0] + (rows[1] - rows[0]) * fy;
}

static void sample_smooth(const tlv_image *m, const affine *t, int taps, uint8_t *out)
{
    const double *a = t->a;
    int ch = m->channels;
    for (int y = 0; y < m->h; y++)
        for (int x = 0; x < m->w; x++, out += ch) {
            double fx = a[0] * (x + 0.5) + a[1] * (y + 0.5) + a[2];
            double fy = a[3] * (x + 0.5) + a[4] * (y + 0.5) + a[5];
            if (!(fx >= 0 && fx < m->w && fy >= 0 && fy < m->h)) {
                memset(out, 0, (size_t)ch);
                continue;
            }
            fx -= 0.5;
            fy -= 0.5;
            int at_x = (int)floor(fx), at_y = (int)floor(fy);
            for (int k = 0; k < ch; k++) {
                double v = between(m, taps, at_x, at_y, fx - at_x, fy - at_y, k);
                out[k] = (uint8_t)(v <= 0 ? 0 : v >= 255 ? 255 : v);
            }
        }
}

tlv_status tlv_image_rotate(const tlv_image *m, double degrees, tlv_filter filter, tlv_image *out)
{
    tlv_ctx *c = m->c;
    if (tlvi_image_like("image_rotate", m, m->h, m->w, m->kind, out)) return c->err;
    int ok = fabs(degrees) <= 1e9 && (filter == TLV_FILTER_NEAREST || filter == TLV_FILTER_BILINEAR
                                      || filter == TLV_FILTER_BICUBIC);
    if (!ok || m->kind == TLV_GREY_ALPHA || m->kind == TLV_RGBA) {
        tlvi_fail(c, TLV_ERR_ARG, "images without alpha; nearest, bilinear or bicubic",
                  "image_rotate: kind %d by %g degrees with filter %d", (int)m->kind, degrees,
                  (int)filter);
        tlv_image_close(out);
        return c->err;
    }
    degrees = fmod(degrees, 360);
    if (degrees < 0) degrees += 360;
    affine t = turned(m->h, m->w, degrees);
    if (degrees == 0) memcpy(out->samples, m->samples, m->bytes);
    else if (degrees == 180) quarters(m, 2, out->samples);
    else if ((degrees == 90 || degrees == 270) && m->h == m->w)
        quarters(m, degrees == 90 ? 1 : 3, out->samples);
    else if (filter == TLV_FILTER_NEAREST) sample_nearest(m, &t, out->samples);
    else sample_smooth(m, &t, filter == TLV_FILTER_BICUBIC ? 4 : 2, out->samples);
    return TLV_OK;
}
