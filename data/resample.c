/* resample.c -- Pillow's Image.resize, to the bit (Resample.c and Geometry.c of Pillow 9.4).
 *
 * With scale = in / out and fs = max(1, scale), output i is a weighted sum of the inputs whose
 * centres lie within support * fs of (i + 1/2) scale; weights f(distance / fs) are normalised in
 * double and rounded to 22 bits.  Rows are resized first and rounded to bytes, then columns.  Alpha
 * is multiplied in before and divided out after, but for nearest.  Nothing outside of the wanted
 * part is computed. */
#include <math.h>

#include "data/resample.h"

enum { WEIGHT_BITS = 22 };

/* ---- filters --------------------------------------------------------------------------------- */

static double sinc(double x)
{
    if (x == 0) return 1;
    x *= 3.14159265358979323846;
    return sin(x) / x;
}

static double weight(tlv_filter filter, double x)
{
    double a = x < 0 ? -x : x;
    switch (filter) {
    case TLV_FILTER_BOX: return x > -0.5 && x <= 0.5 ? 1 : 0;
    case TLV_FILTER_BICUBIC:                                // Keys 1981 with a = -1/2
        if (a < 1) return (1.5 * a - 2.5) * a * a + 1;
        return a < 2 ? (((a - 5) * a + 8) * a - 4) * -0.5 : 0;
    case TLV_FILTER_LANCZOS: return -3 <= x && x < 3 ? sinc(x) * sinc(x / 3) : 0;
    default: return a < 1 ? 1 - a : 0;
    }
}

static double support_of(tlv_filter filter)
{
    switch (filter) {
    case TLV_FILTER_BOX: return 0.5;
    case TLV_FILTER_BICUBIC: return 2;
    case TLV_FILTER_LANCZOS: return 3;
    default: return 1;
    }
}

/* ---- weights of one direction ---------------------------------------------------------------- */

/* Outputs from .. from+n-1: inputs first[i] .. first[i]+count[i]-1 with weights w[i*per ..]. */
typedef struct taps {
    int n, per;
    int32_t *first, *count, *w;
    void *block;
    size_t bytes;
} taps;

static int32_t fixed(double w)
{
    w *= 1 << WEIGHT_BITS;
    return (int32_t)(w < 0 ? w - 0.5 : w + 0.5);
}

static int taps_make(tlv_ctx *c, taps *t, int in, float lo, float hi, int out, tlv_filter filter,
                     int from, int n)
{
    double scale = (double)(hi - lo) / out, fs = scale < 1 ? 1 : scale;
    double support = support_of(filter) * fs;
    t->n = n;
    t->per = ceil(support) * 2 + 1 < in ? (int)ceil(support) * 2 + 1 : in;
    size_t per = (size_t)t->per, count = (size_t)n;
    t->bytes = per * sizeof(double) + count * (per + 2) * sizeof(int32_t);
    t->block = tlvi_alloc(c, t->bytes);
    if (!t->block) return 0;
    double *w = t->block;
    t->w = (int32_t *)(w + per);
    t->first = t->w + count * per;
    t->count = t->first + n;
    for (int i = 0; i < n; i++) {
        double center = lo + (from + i + 0.5) * scale, sum = 0;
        int a = (int)(center - support + 0.5), b = (int)(center + support + 0.5);
        a = a < 0 ? 0 : a;
        b = b > in ? in : b;
        int k = b - a < 0 ? 0 : b - a > t->per ? t->per : b - a;
        for (int j = 0; j < k; j++) sum += w[j] = weight(filter, (j + a - center + 0.5) * (1 / fs));
        for (int j = 0; j < k; j++)
            t->w[(size_t)i * per + (size_t)j] = fixed(sum != 0 ? w[j] / sum : w[j]);
        t->first[i] = a;
        t->count[i] = k;
    }
    return 1;
}

static void taps_free(tlv_ctx *c, taps *t) { tlvi_free(c, t->block, t->bytes); }

/* ---- the two passes -------------------------------------------------------------------------- */

/* Rows top .. top+rows-1 of in to y.  The kernel reads a byte more than RGB pixels have, which the
 * last row of an image has not: that row goes through a copy. */
static tlv_status rows_pass(tlv_ctx *c, const tlvi_raster *in, const taps *t, int top, int rows,
                            uint8_t *y, size_t ldy)
{
    size_t ch = (size_t)tlvi_channels(in->kind), bytes = (size_t)in->w * ch;
    tlvi_resample_rows a = { .rows = (size_t)rows, .n = (size_t)t->n, .per = (size_t)t->per,
                             .channels = (int)ch, .first = t->first, .count = t->count, .w = t->w,
                             .x = in->px + (size_t)top * in->stride, .y = y,
                             .ldx = (ptrdiff_t)in->stride, .ldy = (ptrdiff_t)ldy };
    if (ch != 3 || top + rows < in->h) {
        c->k->f32->resample_rows(&a);
        return TLV_OK;
    }
    uint8_t *last = tlvi_alloc(c, bytes + 1);
    if (!last) return c->err;
    a.rows--;
    c->k->f32->resample_rows(&a);
    memcpy(last, in->px + (size_t)(in->h - 1) * in->stride, bytes);
    last[bytes] = 0;
    a.x = last;
    a.y = y + (size_t)(rows - 1) * ldy;
    a.rows = 1;
    c->k->f32->resample_rows(&a);
    tlvi_free(c, last, bytes + 1);
    return TLV_OK;
}

/* Columns: x holds in's rows from `top` on, `bytes` of each are wanted. */
static void columns_pass(tlv_ctx *c, const taps *t, const uint8_t *x, size_t ldx, int top,
                         size_t bytes, uint8_t *y, size_t ldy)
{
    for (int i = 0; i < t->n; i++)
        c->k->f32->mix_bytes(bytes, (size_t)t->count[i], t->w + (size_t)i * (size_t)t->per,
                             (ptrdiff_t)ldx, x + (size_t)(t->first[i] - top) * ldx,
                             y + (size_t)i * ldy);
}

/* A direction in which nothing changes is left out. */
static tlv_status filtered(tlv_ctx *c, const tlvi_raster *in, const float box[4], int h, int w,
                           tlv_filter filter, tlvi_window part, uint8_t *out, size_t ldy)
{
    size_t ch = (size_t)tlvi_channels(in->kind), bytes = (size_t)part.w * ch;
    int across = w != in->w || box[0] != 0 || box[2] != (float)w;
    int down = h != in->h || box[1] != 0 || box[3] != (float)h;
    taps tx = { 0 }, ty = { 0 };
    int top = part.top, rows = part.h;
    if (down) {
        if (!taps_make(c, &ty, in->h, box[1], box[3], h, filter, part.top, part.h)) return c->err;
        top = ty.first[0];
        rows = ty.first[part.h - 1] + ty.count[part.h - 1] - top;
    }
    const uint8_t *x = in->px + (size_t)top * in->stride + (size_t)part.left * ch;
    size_t ldx = in->stride, room = (size_t)rows * bytes;
    uint8_t *wide = NULL;
    if (across && taps_make(c, &tx, in->w, box[0], box[2], w, filter, part.left, part.w)) {
        if (down) wide = tlvi_alloc(c, room);
        if (wide || !down)
            rows_pass(c, in, &tx, top, rows, wide ? wide : out, wide ? bytes : ldy);
        x = wide;
        ldx = bytes;
    }
    if (down && c->err == TLV_OK) columns_pass(c, &ty, x, ldx, top, bytes, out, ldy);
    if (!down && !across)
        for (int i = 0; i < part.h; i++)
            memcpy(out + (size_t)i * ldy, x + (size_t)i * ldx, bytes);
    if (wide) tlvi_free(c, wide, room);
    if (tx.block) taps_free(c, &tx);
    if (ty.block) taps_free(c, &ty);
    return c->err;
}

/* ---- nearest --------------------------------------------------------------------------------- */

/* Places that step by step grow by a double, as in Pillow; -1 outside. */
static void nearest_places(int in, float lo, float hi, int out, int from, int n, int32_t *at)
{
    double step = (double)(hi - lo) / out, place = lo + step * 0.5;
    for (int i = 0; i < from + n; i++, place += step)
        if (i >= from) at[i - from] = place >= 0 && place < in ? (int32_t)place : -1;
}

static tlv_status nearest(tlv_ctx *c, const tlvi_raster *in, const float box[4], int h, int w,
                          tlvi_window part, uint8_t *out, size_t ldy)
{
    size_t ch = (size_t)tlvi_channels(in->kind);
    size_t bytes = ((size_t)part.w + (size_t)part.h) * sizeof(int32_t);
    int32_t *column = tlvi_alloc(c, bytes), *row = column + part.w;
    if (!column) return c->err;
    nearest_places(in->w, box[0], box[2], w, part.left, part.w, column);
    nearest_places(in->h, box[1], box[3], h, part.top, part.h, row);
    for (int i = 0; i < part.h; i++) {
        uint8_t *y = out + (size_t)i * ldy;
        for (int j = 0; j < part.w; j++, y += ch) {
            if (row[i] < 0 || column[j] < 0) memset(y, 0, ch);
            else memcpy(y, in->px + (size_t)row[i] * in->stride + (size_t)column[j] * ch, ch);
        }
    }
    tlvi_free(c, column, bytes);
    return TLV_OK;
}

/* ---- alpha ----------------------------------------------------------------------------------- */

static void alpha_in(size_t n, size_t ch, const uint8_t *x, uint8_t *y)
{
    for (size_t i = 0; i < n; i++, x += ch, y += ch) {
        unsigned a = x[ch - 1];
        for (size_t k = 0; k + 1 < ch; k++) {
            unsigned t = x[k] * a + 128;                    // / 255, rounded
            y[k] = (uint8_t)((t + (t >> 8)) >> 8);
        }
        y[ch - 1] = (uint8_t)a;
    }
}

static void alpha_out(size_t n, size_t ch, uint8_t *y)
{
    for (size_t i = 0; i < n; i++, y += ch) {
        unsigned a = y[ch - 1];
        if (a == 0 || a == 255) continue;
        for (size_t k = 0; k + 1 < ch; k++) {
            unsigned v = 255u * y[k] / a;
            y[k] = (uint8_t)(v > 255 ? 255 : v);
        }
    }
}

static tlv_status with_alpha(tlv_ctx *c, const tlvi_raster *in, const float box[4], int h, int w,
                             tlv_filter filter, tlvi_window part, uint8_t *out, size_t ldy)
{
    size_t ch = (size_t)tlvi_channels(in->kind), row = (size_t)in->w * ch;
    size_t bytes = row * (size_t)in->h;
    uint8_t *px = tlvi_alloc(c, bytes);
    if (!px) return c->err;
    for (int i = 0; i < in->h; i++)
        alpha_in((size_t)in->w, ch, in->px + (size_t)i * in->stride, px + (size_t)i * row);
    tlvi_raster r = { px, in->h, in->w, in->kind, row };
    if (filtered(c, &r, box, h, w, filter, part, out, ldy) == TLV_OK)
        for (int i = 0; i < part.h; i++) alpha_out((size_t)part.w, ch, out + (size_t)i * ldy);
    tlvi_free(c, px, bytes);
    return c->err;
}

tlv_status tlvi_resample(tlv_ctx *c, const tlvi_raster *in, const float box[4], int h, int w,
                         tlv_filter filter, tlvi_window part, uint8_t *out, size_t out_stride)
{
    int same = h == in->h && w == in->w && box[0] == 0 && box[1] == 0 && box[2] == (float)w
               && box[3] == (float)h;
    if (filter == TLV_FILTER_NEAREST) return nearest(c, in, box, h, w, part, out, out_stride);
    if ((in->kind == TLV_GREY_ALPHA || in->kind == TLV_RGBA) && !same)
        return with_alpha(c, in, box, h, w, filter, part, out, out_stride);
    return filtered(c, in, box, h, w, filter, part, out, out_stride);
}

/* ---- images ---------------------------------------------------------------------------------- */

tlvi_raster tlvi_raster_of(const tlv_image *m)
{
    return (tlvi_raster){ m->samples, m->h, m->w, m->kind, (size_t)m->w * (size_t)m->channels };
}

tlvi_raster tlvi_raster_part(const tlvi_raster *r, tlvi_window w)
{
    size_t ch = (size_t)tlvi_channels(r->kind);
    const uint8_t *px = r->px + (size_t)w.top * r->stride + (size_t)w.left * ch;
    return (tlvi_raster){ px, w.h, w.w, r->kind, r->stride };
}

tlv_status tlvi_image_like(const char *who, const tlv_image *m, int h, int w, tlv_pixels kind,
                           tlv_image *out)
{
    *out = (tlv_image){ 0 };
    tlv_ctx *c = m->c;
    if (c->err) return c->err;
    TLVI_CHECK(c, m->samples && m->h > 0 && m->w > 0, TLV_ERR_ARG, "read or make the image first",
               "%s: the image is empty", who);
    TLVI_CHECK(c, m->depth == 8, TLV_ERR_ARG, "tlv_image_convert makes 8 bits of them",
               "%s: the image has samples of %d bits, not of 8", who, m->depth);
    TLVI_CHECK(c, h > 0 && w > 0 && (int64_t)h * w <= (int64_t)1 << 28, TLV_ERR_ARG,
               "both sides are at least 1, their product at most 2^28",
               "%s: the result would be %d pixels high and %d wide", who, h, w);
    tlv_status st = tlv_image_new(c, h, w, kind, 8, out);
    if (st == TLV_OK) out->orientation = m->orientation;
    return st;
}

tlv_status tlv_image_resize(const tlv_image *m, int h, int w, tlv_filter filter, const double *box,
                            tlv_image *out)
{
    if (tlvi_image_like("image_resize", m, h, w, m->kind, out)) return m->c->err;
    float b[4] = { 0, 0, (float)m->w, (float)m->h };
    for (int i = 0; box && i < 4; i++) b[i] = (float)box[i];
    tlvi_raster r = tlvi_raster_of(m);
    if (filter < TLV_FILTER_BILINEAR || filter > TLV_FILTER_NEAREST)
        tlvi_fail(m->c, TLV_ERR_ARG, "use one of TLV_FILTER_*", "image_resize: no filter %d",
                  (int)filter);
    else if (!(b[0] >= 0 && b[1] >= 0 && b[2] > b[0] && b[3] > b[1] && b[2] <= (float)m->w
               && b[3] <= (float)m->h))
        tlvi_fail(m->c, TLV_ERR_ARG, "left < right and top < bottom, inside of the image",
                  "image_resize: box %g, %g, %g, %g of an image %d wide and %d high", (double)b[0],
                  (double)b[1], (double)b[2], (double)b[3], m->w, m->h);
    else
        tlvi_resample(m->c, &r, b, h, w, filter, (tlvi_window){ 0, 0, h, w }, out->samples,
                      (size_t)w * (size_t)out->channels);
    if (m->c->err) tlv_image_close(out);
    return m->c->err;
}

tlv_status tlv_image_resize_short(const tlv_image *m, int side, tlv_filter filter, tlv_image *out)
{
    int h, w;
    *out = (tlv_image){ 0 };
    if (m->c->err) return m->c->err;
    TLVI_CHECK(m->c, tlvi_short_size(m->h, m->w, side, &h, &w), TLV_ERR_ARG,
               "side is at least 1, the longer one below 2^28",
               "image_resize_short: shorter side %d of an image %d high and %d wide", side, m->h,
               m->w);
    return tlv_image_resize(m, h, w, filter, NULL, out);
}

int tlvi_short_size(int h, int w, int side, int *to_h, int *to_w)
{
    if (h < 1 || w < 1 || side < 1) return 0;
    int narrow = w <= h;
    // Python divides the whole numbers, rounded once, and cuts off
    double far = (double)((int64_t)side * (narrow ? h : w)) / (narrow ? w : h);
    if (far >= 1 << 28) return 0;
    *to_h = narrow ? (int)far : side;
    *to_w = narrow ? side : (int)far;
    return 1;
}
