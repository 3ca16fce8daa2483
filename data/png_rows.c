/* png_rows.c -- rows of a PNG: filters undone, samples spread to pixels.
 * Source: PNG 1.2, sections 6 and 2.4.2. */
#include "data/png.h"

/* ---- filters --------------------------------------------------------------------------------- */

/* Sums of bytes, eight at a time: the top bits are kept apart, so nothing carries over. */
static void add_rows(size_t n, uint8_t *row, const uint8_t *above)
{
    const uint64_t top = 0x8080808080808080u;
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        uint64_t a, b;
        memcpy(&a, row + i, 8);
        memcpy(&b, above + i, 8);
        a = ((a & ~top) + (b & ~top)) ^ ((a ^ b) & top);
        memcpy(row + i, &a, 8);
    }
    for (; i < n; i++) row[i] = (uint8_t)(row[i] + above[i]);
}

static int distance(int a, int b) { return a < b ? b - a : a - b; }

/* Of left, above and the one above left, what is nearest to left + above - above left. */
static inline int paeth(int left, int above, int corner)
{
    int to_left = distance(above, corner), to_above = distance(left, corner);
    int to_corner = distance(left + above, 2 * corner);
    int best = to_left <= to_above ? left : above;
    int least = to_left <= to_above ? to_left : to_above;
    return least <= to_corner ? best : corner;
}

/* One channel of a row after the other, so that left and corner stay in registers. */
static inline void sub_channels(size_t bpp, size_t n, uint8_t *row)
{
    for (size_t i = bpp; i < n; i++) row[i] = (uint8_t)(row[i] + row[i - bpp]);
}

static inline void average_channels(size_t bpp, size_t n, uint8_t *row, const uint8_t *above)
{
    for (size_t i = 0; i < bpp && i < n; i++) row[i] = (uint8_t)(row[i] + above[i] / 2);
    for (size_t i = bpp; i < n; i++) row[i] = (uint8_t)(row[i] + (row[i - bpp] + above[i]) / 2);
}

static inline void paeth_channels(size_t bpp, size_t n, uint8_t *row, const uint8_t *above)
{
    int left[8] = { 0 }, corner[8] = { 0 };
    for (size_t i = 0; i + bpp <= n; i += bpp)
        for (size_t k = 0; k < bpp; k++) {
            int up = above[i + k];
            left[k] = (row[i + k] + paeth(left[k], up, corner[k])) & 255;
            corner[k] = up;
            row[i + k] = (uint8_t)left[k];
        }
}

void tlvi_png_unfilter(int filter, size_t bpp, size_t n, uint8_t *row, const uint8_t *above)
{
    // With bpp a constant the compiler makes straight code of the channels
#define EACH_SIZE(fn, ...)                                                                         \
    switch (bpp) {                                                                                 \
    case 1: fn(1, __VA_ARGS__); break;                                                             \
    case 2: fn(2, __VA_ARGS__); break;                                                             \
    case 3: fn(3, __VA_ARGS__); break;                                                             \
    case 4: fn(4, __VA_ARGS__); break;                                                             \
    case 6: fn(6, __VA_ARGS__); break;                                                             \
    default: fn(8, __VA_ARGS__); break;                                                            \
    }
    switch (filter) {
    case 1: EACH_SIZE(sub_channels, n, row) break;
    case 2: add_rows(n, row, above); break;
    case 3: EACH_SIZE(average_channels, n, row, above) break;
    case 4: EACH_SIZE(paeth_channels, n, row, above) break;
    default: break;
    }
#undef EACH_SIZE
}

/* ---- pixels ---------------------------------------------------------------------------------- */

/* Samples of less than 8 bits, or indices, through the palette: `channels` bytes of an entry. */
static inline void through_palette(const tlvi_png *g, const uint8_t *row, size_t n, size_t channels,
                                   uint8_t *to, size_t step)
{
    unsigned depth = (unsigned)g->depth, mask = (1u << depth) - 1, shift = 8;
    for (size_t i = 0; i < n; i++, to += step) {
        shift -= depth;
        memcpy(to, g->palette[*row >> shift & mask], channels);
        if (shift == 0) {
            shift = 8;
            row++;
        }
    }
}

static uint32_t key_sample(const tlvi_png *g, int k)
{
    return (uint32_t)g->trns[2 * k] << 8 | g->trns[2 * k + 1];
}

static void pixels16(const tlvi_png *g, const uint8_t *row, size_t n, int channels, uint8_t *to,
                     size_t step)
{
    for (size_t i = 0; i < n; i++, to += step) {
        uint16_t v[4];
        int differs = 0;
        for (int k = 0; k < g->sent; k++, row += 2) {
            v[k] = (uint16_t)(row[0] << 8 | row[1]);
            if (g->sent < channels) differs |= v[k] != key_sample(g, k);
        }
        if (g->sent < channels) v[g->sent] = differs ? 65535 : 0;
        memcpy(to, v, 2 * (size_t)channels);
    }
}

/* 8-bit grey or RGB with a transparent colour, of which the low bytes count. */
static void pixels_with_key(const tlvi_png *g, const uint8_t *row, size_t n, uint8_t *to,
                            size_t step)
{
    for (size_t i = 0; i < n; i++, to += step) {
        int differs = 0;
        for (int k = 0; k < g->sent; k++) {
            to[k] = *row++;
            differs |= to[k] != g->trns[2 * k + 1];
        }
        to[g->sent] = differs ? 255 : 0;
    }
}

static inline void spread(const uint8_t *row, size_t n, size_t channels, uint8_t *to, size_t step)
{
    for (size_t i = 0; i < n; i++, to += step, row += channels) memcpy(to, row, channels);
}

void tlvi_png_pixels(const tlvi_png *g, const uint8_t *row, size_t n, const tlv_image *m,
                     uint8_t *to, size_t step)
{
    size_t channels = (size_t)m->channels;
    if (g->depth == 16) {
        pixels16(g, row, n, m->channels, to, step);
    } else if (g->depth < 8 || g->colour == TLVI_PNG_PALETTE) {
        switch (channels) {
        case 1: through_palette(g, row, n, 1, to, step); break;
        case 2: through_palette(g, row, n, 2, to, step); break;
        case 3: through_palette(g, row, n, 3, to, step); break;
        default: through_palette(g, row, n, 4, to, step); break;
        }
    } else if (m->channels != g->sent) {
        pixels_with_key(g, row, n, to, step);
    } else if (step == channels) {
        memcpy(to, row, n * channels);
    } else {
        spread(row, n, channels, to, step);
    }
}
