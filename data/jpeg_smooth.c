/* jpeg_smooth.c -- progressive files whose last scans are missing: low coefficients are guessed
 * from the DC values of the 5 x 5 blocks around (T.81, K.8, widened as libjpeg-turbo 2.1 does). */
#include "data/jpeg.h"

enum { SAVED = TLVI_JPEG_SAVED, SIDE = 5, AREA = SIDE * SIDE, MIDDLE = AREA / 2 };

/* Weights of the 25 DC values, 256 in all for a step of one, for the first coefficients in zigzag
 * order: where some AC coefficients are known ... */
static const int8_t WITH_AC[6][AREA] = {
    { 0 },
    { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, -7, 50, 0, -50, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 },
    { 0, 0, -7, 0, 0, 0, 0, 50, 0, 0, 0, 0, 0, 0, 0, 0, 0, -50, 0, 0, 0, 0, 7, 0, 0 },
    { 0, 0, -1, 0, 0, 0, 0, 13, 0, 0, 0, 0, -24, 0, 0, 0, 0, 13, 0, 0, 0, 0, -1, 0, 0 },
    { 0, -1, 0, 1, 0, -1, 10, 0, -10, 1, 0, 0, 0, 0, 0, 1, -10, 0, 10, -1, 0, 1, 0, -1, 0 },
    { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, -1, 13, -24, 13, -1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 },
};
/* ... and where there are none, and DC is smoothed too. */
static const int16_t DC_ONLY[SAVED][AREA] = {
    { -2, -6, -8, -6, -2, -6, 6, 42, 6, -6, -8, 42, 152, 42, -8, -6, 6, 42, 6, -6,
      -2, -6, -8, -6, -2 },
    { -1, -1, 0, 1, 1, -3, 13, 0, -13, 3, -3, 38, 0, -38, 3, -3, 13, 0, -13, 3, -1, -1, 0, 1, 1 },
    { -1, -3, -3, -3, -1, -1, 13, 38, 13, -1, 0, 0, 0, 0, 0, 1, -13, -38, -13, 1, 1, 3, 3, 3, 1 },
    { 0, 0, 1, 0, 0, 0, 2, 7, 2, 0, 0, -5, -14, -5, 0, 0, 2, 7, 2, 0, 0, 0, 1, 0, 0 },
    { -1, 0, 0, 0, 1, 0, 9, 0, -9, 0, 0, 0, 0, 0, 0, 0, -9, 0, 9, 0, 1, 0, 0, 0, -1 },
    { 0, 0, 0, 0, 0, 0, 2, -5, 2, 0, 1, 7, -14, 7, 1, 0, 2, -5, 2, 0, 0, 0, 0, 0, 0 },
    { 0, 0, 0, 0, 0, 0, 1, 0, -1, 0, 0, 2, 0, -2, 0, 0, 1, 0, -1, 0, 0, 0, 0, 0, 0 },
    { 0, 0, 0, 0, 0, 0, 1, -3, 1, 0, 0, 0, 0, 0, 0, 0, -1, 3, -1, 0, 0, 0, 0, 0, 0 },
    { 0, 0, 0, 0, 0, 0, 1, 0, -1, 0, 0, -3, 0, 3, 0, 0, 1, 0, -1, 0, 0, 0, 0, 0, 0 },
    { 0, 0, 0, 0, 0, 0, 1, 2, 1, 0, 0, 0, 0, 0, 0, 0, -1, -2, -1, 0, 0, 0, 0, 0, 0 },
};

int tlvi_jpeg_wants_smoothing(const tlvi_jpeg *d)
{
    int useful = 0;
    if (!d->progressive) return 0;
    for (int i = 0; i < d->n_comp; i++) {
        const tlvi_jcomp *k = &d->comp[i];
        if (k->known[0] < 0) return 0;
        for (int j = 0; j < SAVED; j++)
            if (k->quant[tlvi_jpeg_zigzag[j]] == 0) return 0;
        for (int j = 1; j < SAVED; j++) useful |= k->known[j] != 0;
    }
    return useful;
}

/* sum / 256 in steps of quant, to nearest; no more than the bits that are still missing allow. */
static int16_t guess(int64_t sum, int64_t quant, int missing)
{
    int64_t v = (128 * quant + (sum < 0 ? -sum : sum)) / (256 * quant);
    if (missing > 0 && v >= 1 << missing) v = (1 << missing) - 1;
    return (int16_t)(sum < 0 ? -v : v);
}

static void smooth_block(const tlvi_jcomp *k, const int *known, const int *dc, int16_t *b)
{
    int none = 1;
    for (int j = 1; j < SAVED; j++) none &= known[j] == -1;
    for (int j = none ? 0 : 1; j < (none ? SAVED : 6); j++) {
        int at = tlvi_jpeg_zigzag[j];
        if (j > 0 && (known[j] == 0 || b[at] != 0)) continue;
        int sum = 0;
        for (int i = 0; i < AREA; i++) sum += dc[i] * (none ? DC_ONLY[j][i] : WITH_AC[j][i]);
        b[at] = guess((int64_t)sum * k->quant[0], k->quant[at], j > 0 ? known[j] : 0);
    }
}

/* Rows of blocks around row `at`, which is row v of a band; at the edges one repeats.  Two rows
 * away libjpeg-turbo 2.1 looks only from bands that are not next to an edge, and so does this. */
static void rows_around(const tlvi_jcomp *k, int64_t at, int64_t *row)
{
    int64_t band = at / k->v_file, v = at % k->v_file, last = (k->bh - 1) / k->v_file;
    int64_t rows = band < last ? k->v_file : k->bh - last * k->v_file;
    row[2] = at;
    row[1] = v > 0 || band > 0 ? at - 1 : at;
    row[0] = v > 1 || band > 1 ? at - 2 : row[1];
    row[3] = v < rows - 1 || band < last ? at + 1 : at;
    row[4] = v < rows - 2 || band + 1 < last ? at + 2 : row[3];
}

void tlvi_jpeg_smooth(const tlvi_jpeg *d, const tlvi_jcomp *k, int by, int bx, int16_t *b)
{
    int64_t row[SIDE];
    int dc[AREA], flat = 1;
    rows_around(k, by, row);
    for (int y = 0; y < SIDE; y++)
        for (int x = 0; x < SIDE; x++) {
            int col = bx + x - 2;
            col = col < 0 ? 0 : col >= k->bw ? k->bw - 1 : col;
            dc[y * SIDE + x] = k->coef[64 * (row[y] * k->bw_pad + col)];
            flat &= dc[y * SIDE + x] == dc[0];
        }
    if (flat) return;                               // a plane has no slope to be guessed
    // Bands that the last scan did not reach are known as well as before it: not at all, if it is
    // the first.
    static const int nothing[SAVED] = { -1, -1, -1, -1, -1, -1, -1, -1, -1, -1 };
    const int *before = d->scans > 1 ? k->known_before : nothing;
    smooth_block(k, by / k->v_file > d->last_good ? before : k->known, dc, b);
}
