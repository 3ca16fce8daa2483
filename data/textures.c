/* textures.c -- grounds that are to be recognised, too: stripes and grain of a direction, a
 * fineness and a sharpness.
 *     tone(u, v) = soft step of   w1 wave(f1 along d1) + w2 wave(f2 along d2) + w3 grain(d3)
 * A wave is a triangle between -1 and 1; grain is value noise that is longer along its direction
 * (Perlin 1985).  A category is all of these numbers; pictures of one differ in colours, phase, and
 * by up to a tenth in each number. */
#include "data/patterns.h"

enum { CELLS = 64 };

tlvi_texture tlvi_texture_make(tlvi_dice d)
{
    tlvi_texture t = { .sharp = tlvi_dice_in(&d, 0.6f, 4) };
    float sum = 0;
    for (int i = 0; i < 3; i++) {
        tlvi_dice_turn(&d, t.dir[i]);
        t.weight[i] = tlvi_dice_unit(&d);
        t.weight[i] *= t.weight[i];
        sum += t.weight[i];
    }
    for (int i = 0; i < 3; i++) t.weight[i] /= sum;
    for (int i = 0; i < 2; i++) t.waves[i] = tlvi_dice_in(&d, 2, 16);
    t.fine = tlvi_dice_in(&d, 4, 24);
    t.stretch = tlvi_dice_in(&d, 1, 8);
    return t;
}

/* Up to a tenth more or less. */
static float vary(float x, tlvi_dice *d) { return x * tlvi_dice_in(d, 0.9f, 1.1f); }

static float wave(float x)
{
    x += 4096;
    x -= (float)(int)x;
    return x < 0.5f ? 4 * x - 1 : 3 - 4 * x;
}

static float grain(const uint8_t *height, float u, float v)
{
    u += 4096;
    v += 4096;
    int i = (int)u, j = (int)v;
    float a = u - (float)i, b = v - (float)j;
    const uint8_t *r0 = height + j % CELLS * CELLS, *r1 = height + (j + 1) % CELLS * CELLS;
    int i0 = i % CELLS, i1 = (i + 1) % CELLS;
    float top = (float)r0[i0] + a * (float)(r0[i1] - r0[i0]);
    float low = (float)r1[i0] + a * (float)(r1[i1] - r1[i0]);
    return (top + b * (low - top)) * (2.0f / 255) - 1;
}

void tlvi_texture_ground(tlvi_sheet *s, const tlvi_texture *t, const float a[3], const float b[3],
                         tlvi_dice *d)
{
    uint8_t height[CELLS * CELLS];
    float k[3][2], phase[3], f[2], sharp = vary(t->sharp, d), n = (float)s->side;
    for (int i = 0; i < CELLS * CELLS; i += 8) {
        uint64_t bits = tlvi_dice_u64(d);
        for (int q = 0; q < 8; q++) height[i + q] = (uint8_t)(bits >> 8 * q);
    }
    for (int i = 0; i < 3; i++) {
        float lean = tlvi_dice_in(d, -0.1f, 0.1f), per = 1 / n;
        if (i < 2) per *= vary(t->waves[i], d);
        k[i][0] = (t->dir[i][0] - lean * t->dir[i][1]) * per;
        k[i][1] = (t->dir[i][1] + lean * t->dir[i][0]) * per;
        phase[i] = tlvi_dice_in(d, 0, 30);
    }
    f[0] = vary(t->fine, d);
    f[1] = f[0] / t->stretch;
    for (int y = 0; y < s->side; y++)
        for (int x = 0; x < s->side; x++) {
            float p = (float)x, q = (float)y, *at = s->rgb + 3 * (y * s->side + x);
            float across = k[2][0] * p + k[2][1] * q, along = k[2][0] * q - k[2][1] * p;
            float z = t->weight[0] * wave(k[0][0] * p + k[0][1] * q + phase[0])
                    + t->weight[1] * wave(k[1][0] * p + k[1][1] * q + phase[1])
                    + t->weight[2] * grain(height, f[0] * across + phase[2], f[1] * along);
            float u = 0.5f + sharp * z;
            u = u < 0 ? 0 : u > 1 ? 1 : u;
            for (int c = 0; c < 3; c++) at[c] = a[c] + u * (b[c] - a[c]);
        }
}
