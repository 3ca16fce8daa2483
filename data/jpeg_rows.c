/* jpeg_rows.c -- from coefficients to samples, and from the components' samples to pixels. */
#include "data/jpeg.h"

/* ---- upsampling ------------------------------------------------------------------------------ */

static uint8_t *plane_row(const tlvi_jcomp *k, int y)
{
    if (y < 0) y = 0;                               // beyond the image its edge goes on
    if (y >= k->rows) y = k->rows - 1;
    return k->plane + (ptrdiff_t)(y % (16 * k->v)) * 8 * k->bw_pad;
}

/* Component k's samples for row y of the image.  Ratios of two are interpolated, as libjpeg-turbo
 * 2.1 does unless told otherwise; others repeat samples. */
static const uint8_t *wide_row(tlvi_jpeg *d, tlvi_jcomp *k, int y)
{
    const tlvi_kset *kernels = d->c->k->f32;
    int fx = d->max_h / k->h, fy = d->max_v / k->v, cy = y / fy;
    const uint8_t *near = plane_row(k, cy), *far = plane_row(k, y % fy ? cy + 1 : cy - 1);
    size_t n = (size_t)k->w;
    if (fx == 1 && fy == 1) return near;
    if (fx == 2 && fy == 1 && n > 2) {
        kernels->jpeg_up_h2(n, near, k->wide);
    } else if (fx == 1 && fy == 2) {
        kernels->jpeg_up_v2(n, y % 2 ? 2 : 1, near, far, k->wide);
    } else if (fx == 2 && fy == 2 && n > 2) {
        kernels->jpeg_up_h2v2(n, near, far, d->sum, k->wide);
    } else if (fx == 1) {
        return near;
    } else {
        uint8_t *out = k->wide;
        for (size_t x = 0; x < n; x++, out += fx) memset(out, near[x], (size_t)fx);
    }
    return k->wide;
}

/* ---- colour ---------------------------------------------------------------------------------- */

static void interleave(size_t n, int channels, const uint8_t *const *in, uint8_t *out)
{
    for (size_t x = 0; x < n; x++)
        for (int ch = 0; ch < channels; ch++) out[(size_t)channels * x + (size_t)ch] = in[ch][x];
}

/* What three and four components mean: Adobe's segment says it, or JFIF's, or their names do. */
static int is_ycc(const tlvi_jpeg *d)
{
    if (d->n_comp == 4) return d->adobe > 0;
    if (d->jfif) return 1;
    if (d->adobe >= 0) return d->adobe != 0;
    return !(d->comp[0].id == 'R' && d->comp[1].id == 'G' && d->comp[2].id == 'B');
}

static void put_row(tlvi_jpeg *d, int y)
{
    const uint8_t *in[TLVI_JPEG_COMPS];
    size_t w = (size_t)d->w;
    uint8_t *out = (uint8_t *)d->out->samples + (size_t)y * w * (size_t)d->n_comp;
    for (int i = 0; i < d->n_comp; i++) in[i] = wide_row(d, &d->comp[i], y);
    if (d->n_comp == 1) {
        memcpy(out, in[0], w);
    } else if (d->n_comp == 3 && is_ycc(d)) {
        d->c->k->f32->jpeg_rgb(w, in[0], in[1], in[2], out);
    } else if (d->n_comp == 3 || !is_ycc(d)) {
        interleave(w, d->n_comp, in, out);
    } else {                                        // YCCK: CMY is the complement of RGB
        d->c->k->f32->jpeg_rgb(w, in[0], in[1], in[2], out);
        for (size_t x = w; x-- > 0;) {
            uint8_t r = out[3 * x], g = out[3 * x + 1], b = out[3 * x + 2];
            out[4 * x] = (uint8_t)(255 - r);
            out[4 * x + 1] = (uint8_t)(255 - g);
            out[4 * x + 2] = (uint8_t)(255 - b);
            out[4 * x + 3] = in[3][x];
        }
    }
}

void tlvi_jpeg_emit(tlvi_jpeg *d, int band)
{
    // The last group of rows waits for the band below, which interpolation looks into.
    int64_t band_rows = 8 * (int64_t)d->max_v;
    int64_t from = band == 0 ? 0 : band * band_rows - d->max_v;
    int64_t to = band == d->mcus_y - 1 ? d->h : (band + 1) * band_rows - d->max_v;
    for (int64_t y = from; y < to && y < d->h; y++) put_row(d, (int)y);
}

/* ---- coefficients ---------------------------------------------------------------------------- */

/* How much of a block is used: see jpeg_idct. */
static int extent(const int16_t *b)
{
    uint64_t left = 0, right = 0, low = 0, half[16];
    memcpy(half, b, sizeof half);
    for (int k = 0; k < 8; k++) right |= half[2 * k + 1];
    for (int k = 4; k < 8; k++) low |= half[2 * k];
    if (right | low) return 8;
    for (int k = 1; k < 4; k++) left |= half[2 * k];
    return left || b[1] || b[2] || b[3] ? 4 : 1;
}

static void component_band(tlvi_jpeg *d, tlvi_jcomp *k, int band, int smooth)
{
    _Alignas(64) int16_t copy[64];
    ptrdiff_t stride = 8 * (ptrdiff_t)k->bw_pad;
    for (int v = 0; v < k->v; v++) {
        int64_t by = (int64_t)band * k->v + v;
        if (by >= k->bh) break;
        const int16_t *b = k->coef + 64 * by * k->bw_pad;
        uint8_t *out = k->plane + ((band & 1) * k->v + v) * 8 * stride;
        for (int bx = 0; bx < k->bw; bx++, b += 64, out += 8) {
            const int16_t *block = b;
            if (smooth) {
                memcpy(copy, b, sizeof copy);
                tlvi_jpeg_smooth(d, k, (int)by, bx, copy);
                block = copy;
            }
            d->c->k->f32->jpeg_idct(extent(block), block, k->quant, out, stride);
        }
    }
}

void tlvi_jpeg_from_coefs(tlvi_jpeg *d)
{
    int smooth = tlvi_jpeg_wants_smoothing(d);
    for (int band = 0; band < d->mcus_y; band++) {
        for (int i = 0; i < d->n_comp; i++) component_band(d, &d->comp[i], band, smooth);
        tlvi_jpeg_emit(d, band);
    }
}
