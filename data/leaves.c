/* leaves.c -- the ground under patterns, and what lies over them: plain colours, slopes, soft
 * noise, and dead leaves, shapes that cover one another with as many of a size as r^-3 (Lee,
 * Mumford, Huang 2001, Int. J. Computer Vision 41; Baradad et al. 2021, arXiv:2106.05963). */
#include "data/patterns.h"

enum { PLAIN, SLOPE, NOISE, LEAVES, GROUNDS, OCTAVES = 3, GRID = 17 };

static void random_color(tlvi_dice *d, float c[3])
{
    for (int k = 0; k < 3; k++) c[k] = tlvi_dice_in(d, 0, 255);
}

/* ---- slopes and noise ------------------------------------------------------------------------ */

static void slope(tlvi_sheet *s, const float a[3], const float b[3], tlvi_dice *d)
{
    float t[2], n = (float)s->side;
    tlvi_dice_turn(d, t);
    for (int y = 0; y < s->side; y++)
        for (int x = 0; x < s->side; x++) {
            float u = 0.5f + 0.7f * (((float)x / n - 0.5f) * t[0] + ((float)y / n - 0.5f) * t[1]);
            float *at = s->rgb + 3 * (y * s->side + x);
            for (int k = 0; k < 3; k++) at[k] = a[k] + u * (b[k] - a[k]);
        }
}

/* One octave of value noise added to cover: random heights at the points of a grid, bilinear. */
static void octave(tlvi_sheet *s, int cells, float height, tlvi_dice *d)
{
    float h[GRID * GRID], per = (float)cells / (float)s->side;
    for (int i = 0; i < (cells + 1) * (cells + 1); i++) h[i] = tlvi_dice_in(d, -height, height);
    for (int y = 0; y < s->side; y++) {
        float v = ((float)y + 0.5f) * per;
        int j = (int)v;
        float row[GRID];
        for (int i = 0; i <= cells; i++) {
            float a = h[j * (cells + 1) + i], b = h[(j + 1) * (cells + 1) + i];
            row[i] = a + (v - (float)j) * (b - a);
        }
        for (int x = 0; x < s->side; x++) {
            float u = ((float)x + 0.5f) * per;
            int i = (int)u;
            s->cover[y * s->side + x] += row[i] + (u - (float)i) * (row[i + 1] - row[i]);
        }
    }
}

/* Between two colours; a rough ground has much of the small cells. */
static void noise(tlvi_sheet *s, const float a[3], const float b[3], tlvi_dice *d)
{
    int n = s->side * s->side, cells = 2 + tlvi_dice_below(d, 3);
    float height = 0.4f, rough = tlvi_dice_in(d, 0.3f, 0.9f);
    for (int i = 0; i < n; i++) s->cover[i] = 0.5f;
    for (int k = 0; k < OCTAVES && cells < GRID; k++, cells *= 2, height *= rough)
        octave(s, cells, height, d);
    for (int i = 0; i < n; i++) {
        float u = s->cover[i] < 0 ? 0 : s->cover[i] > 1 ? 1 : s->cover[i];
        for (int k = 0; k < 3; k++) s->rgb[3 * i + k] = a[k] + u * (b[k] - a[k]);
    }
}

/* ---- leaves ---------------------------------------------------------------------------------- */

/* One leaf: a disc, a turned rectangle or a triangle of radius r; its pixels are the ground's. */
static void leaf(tlvi_sheet *s, float x, float y, float r, tlvi_dice *d)
{
    float t[2], color[3], thin = tlvi_dice_in(d, 0.4f, 1);
    int shape = tlvi_dice_below(d, 3);
    tlvi_dice_turn(d, t);
    random_color(d, color);
    tlvi_pose p = { .x = x, .y = y, .half = r };
    tlvi_box4 b = tlvi_box_around(s, &p, 1.45f);
    for (int j = b.y0; j < b.y1; j++)
        for (int i = b.x0; i < b.x1; i++) {
            float u = (float)i + 0.5f - x, v = (float)j + 0.5f - y;
            float a = t[0] * u + t[1] * v, c = t[0] * v - t[1] * u;
            int in = shape == 0   ? a * a + c * c < r * r
                     : shape == 1 ? a < r && a > -r && c < thin * r && c > -thin * r
                                  : c > -0.5f * r && c < r - 1.7f * (a < 0 ? -a : a);
            if (!in) continue;
            float *at = s->rgb + 3 * (j * s->side + i);
            for (int k = 0; k < 3; k++) at[k] = color[k];
            tlvi_sheet_own(s, j * s->side + i, TLVI_GROUND);
        }
}

/* Density r^-3 from lo to hi: the inverse of its distribution. */
static float radius(float lo, float hi, tlvi_dice *d)
{
    float a = 1 / (lo * lo), b = 1 / (hi * hi);
    return 1 / sqrtf(a + tlvi_dice_unit(d) * (b - a));
}

static void scatter(tlvi_sheet *s, int n, float lo, float hi, tlvi_dice *d)
{
    float side = (float)s->side;
    for (int i = 0; i < n; i++) {
        float x = tlvi_dice_in(d, 0, side), y = tlvi_dice_in(d, 0, side), r = radius(lo, hi, d);
        leaf(s, x, y, r, d);
    }
}

void tlvi_leaves_ground(tlvi_sheet *s, tlvi_dice *d)
{
    float a[3], b[3];
    int kind = tlvi_dice_below(d, GROUNDS);
    random_color(d, a);
    random_color(d, b);
    if (kind == PLAIN) memcpy(b, a, sizeof b);
    if (kind == NOISE) noise(s, a, b, d);
    else slope(s, a, b, d);
    if (kind == LEAVES)
        scatter(s, 8 + tlvi_dice_below(d, 32), 0.06f * (float)s->side, 0.4f * (float)s->side, d);
}

void tlvi_leaves_over(tlvi_sheet *s, int n, tlvi_dice *d)
{
    scatter(s, n, 0.05f * (float)s->side, 0.2f * (float)s->side, d);
}
