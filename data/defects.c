/* defects.c -- what is wrong with a surface: scratches, dents, stains, cracks, holes.
 *
 * A flaw is a cover, how much of each pixel belongs to it, and what it does to the colour there.
 * Sizes are shares of the image's side.  Some flaws are faint. */
#include "data/surfaces.h"

enum { STEPS = 24, LOBES = 16 };

static float smaller(float a, float b) { return a < b ? a : b; }
static float larger(float a, float b) { return a > b ? a : b; }
static float clip01(float a) { return a < 0 ? 0 : a > 1 ? 1 : a; }

typedef struct spot { float x, y; } spot;
typedef struct span4 { int x0, y0, x1, y1; } span4;

/* The pixels within r of (x, y), cut at the edges. */
static span4 around(const tlvi_plate *p, float x0, float y0, float x1, float y1, float r)
{
    float side = (float)p->side;
    float l = smaller(x0, x1) - r, t = smaller(y0, y1) - r;
    float e = larger(x0, x1) + r + 1, b = larger(y0, y1) + r + 1;
    return (span4){ l > 0 ? (int)smaller(l, side) : 0, t > 0 ? (int)smaller(t, side) : 0,
                    e < side ? (int)larger(e, 0) : p->side,
                    b < side ? (int)larger(b, 0) : p->side };
}

static void clear_cover(tlvi_plate *p)
{
    memset(p->cover, 0, (size_t)p->side * (size_t)p->side * sizeof *p->cover);
}

/* What the flaw at work covers is part of the mask. */
static void add_mark(tlvi_plate *p)
{
    for (int i = 0; i < p->side * p->side; i++) p->mark[i] = larger(p->mark[i], p->cover[i]);
}

/* ---- lines ----------------------------------------------------------------------------------- */

/* A straight piece of half width r (in pixels, at least half a pixel), with soft edges. */
static void piece(tlvi_plate *p, spot a, spot b, float r)
{
    span4 w = around(p, a.x, a.y, b.x, b.y, r + 1);
    float dx = b.x - a.x, dy = b.y - a.y, len = dx * dx + dy * dy + 1e-6f;
    for (int y = w.y0; y < w.y1; y++)
        for (int x = w.x0; x < w.x1; x++) {
            float u = (float)x + 0.5f - a.x, v = (float)y + 0.5f - a.y;
            float t = clip01((u * dx + v * dy) / len);
            u -= t * dx;
            v -= t * dy;
            float *at = &p->cover[y * p->side + x];
            float in = clip01(r + 0.5f - sqrtf(u * u + v * v));
            if (in > *at) *at = in;
        }
}

/* Mixes `color` into what is covered. */
static void tint(tlvi_plate *p, const float color[3], float strength)
{
    for (int i = 0; i < p->side * p->side; i++) {
        float a = p->cover[i] * strength;
        if (!(a > 0)) continue;
        for (int k = 0; k < 3; k++) p->rgb[3 * i + k] += a * (color[k] - p->rgb[3 * i + k]);
    }
}

static void grey(float color[3], float value) { color[0] = color[1] = color[2] = value; }

/* A bent line, bright where it laid open what is below the skin, or dark; thinner at its ends. */
static void scratch(tlvi_plate *p, tlvi_dice *d)
{
    float side = (float)p->side, t[2], color[3];
    float long_ = side * tlvi_dice_in(d, 0.3f, 0.9f), bend = long_ * tlvi_dice_in(d, -0.2f, 0.2f);
    float r = side * tlvi_dice_in(d, 0.006f, 0.014f);
    tlvi_dice_turn(d, t);
    spot mid, was = { 0, 0 };
    mid.x = side * tlvi_dice_in(d, 0.25f, 0.75f);
    mid.y = side * tlvi_dice_in(d, 0.25f, 0.75f);
    for (int i = 0; i <= STEPS; i++) {
        float s = 2 * (float)i / STEPS - 1, along = 0.5f * long_ * s, off = bend * (1 - s * s);
        spot at = { mid.x + t[0] * along - t[1] * off, mid.y + t[1] * along + t[0] * off };
        if (i) piece(p, was, at, larger(0.5f, r * (1.15f - s * s)));
        was = at;
    }
    grey(color, tlvi_dice_below(d, 3) ? tlvi_dice_in(d, 200, 255) : tlvi_dice_in(d, 0, 50));
    tint(p, color, tlvi_dice_in(d, 0.25f, 0.8f));
}

/* A jagged line that wanders, with branches; dark. */
static void crack_from(tlvi_plate *p, spot at, const float dir[2], float long_, float r,
                       int branches, tlvi_dice *d)
{
    float t[2] = { dir[0], dir[1] }, step = long_ / STEPS;
    int branch_at = STEPS / 4 + tlvi_dice_below(d, STEPS / 2);
    for (int i = 0; i < STEPS; i++) {
        float bend = tlvi_dice_in(d, -0.7f, 0.7f), x = t[0] - bend * t[1], y = t[1] + bend * t[0];
        float n = sqrtf(x * x + y * y);
        spot to = { at.x + step * x / n, at.y + step * y / n };
        piece(p, at, to, larger(0.5f, r * (1 - 0.7f * (float)i / STEPS)));
        at = to;
        for (int k = 0; k < 2; k++) t[k] = 0.75f * dir[k] + 0.25f * (k ? y : x) / n;
        if (i == branch_at && branches > 0) {
            float side = tlvi_dice_below(d, 2) ? 0.9f : -0.9f;
            float away[2] = { t[0] - side * t[1], t[1] + side * t[0] };
            float m = sqrtf(away[0] * away[0] + away[1] * away[1]);
            away[0] /= m;
            away[1] /= m;
            crack_from(p, at, away, 0.5f * long_, 0.8f * r, branches - 1, d);
        }
    }
}

static void crack(tlvi_plate *p, tlvi_dice *d)
{
    float side = (float)p->side, t[2], color[3], long_ = side * tlvi_dice_in(d, 0.4f, 0.9f);
    tlvi_dice_turn(d, t);
    float x = tlvi_dice_in(d, 0.3f, 0.7f) * side, y = tlvi_dice_in(d, 0.3f, 0.7f) * side;
    spot at = { x - 0.5f * long_ * t[0], y - 0.5f * long_ * t[1] };
    float r = side * tlvi_dice_in(d, 0.006f, 0.012f);
    int branches = tlvi_dice_below(d, 3);
    crack_from(p, at, t, long_, r, branches, d);
    grey(color, tlvi_dice_in(d, 5, 45));
    tint(p, color, tlvi_dice_in(d, 0.45f, 0.95f));
}

/* ---- areas ----------------------------------------------------------------------------------- */

/* An ellipse at (x, y): half axes a >= b in pixels, turned. */
typedef struct ellipse { float x, y, a, b, t[2]; } ellipse;

static ellipse any_ellipse(const tlvi_plate *p, float lo, float hi, float flat, tlvi_dice *d)
{
    float side = (float)p->side;
    ellipse e = { .a = side * tlvi_dice_in(d, lo, hi) };
    e.b = e.a * tlvi_dice_in(d, flat, 1);
    e.x = tlvi_dice_in(d, e.a + 1, side - e.a - 1);
    e.y = tlvi_dice_in(d, e.a + 1, side - e.a - 1);
    tlvi_dice_turn(d, e.t);
    return e;
}

/* Pixel (x, y) in the ellipse's own axes: inside where u^2 + v^2 < 1. */
static spot inside(const ellipse *e, int x, int y)
{
    float dx = (float)x + 0.5f - e->x, dy = (float)y + 0.5f - e->y;
    return (spot){ (e->t[0] * dx + e->t[1] * dy) / e->a, (e->t[0] * dy - e->t[1] * dx) / e->b };
}

/* Pressed in: h = -(1 - r^2)^2, so one flank turns to the light and the other away from it. */
static void dent(tlvi_plate *p, tlvi_dice *d)
{
    ellipse e = any_ellipse(p, 0.06f, 0.17f, 0.6f, d);
    float depth = tlvi_dice_in(d, 0.25f, 0.75f);
    span4 w = around(p, e.x, e.y, e.x, e.y, e.a + 1);
    float lu = e.t[0] * p->light[0] + e.t[1] * p->light[1];
    float lv = e.t[0] * p->light[1] - e.t[1] * p->light[0];
    for (int y = w.y0; y < w.y1; y++)
        for (int x = w.x0; x < w.x1; x++) {
            spot q = inside(&e, x, y);
            float r2 = q.x * q.x + q.y * q.y;
            if (r2 >= 1) continue;
            float slope = 2.6f * (1 - r2) * (q.x * lu + q.y * lv);      // of h, towards the light
            float gain = 1 - depth * slope - 0.25f * depth * (1 - r2) * (1 - r2);
            float *at = p->rgb + 3 * (y * p->side + x);
            for (int k = 0; k < 3; k++) at[k] *= larger(gain, 0.1f);
            p->cover[y * p->side + x] = 1;
        }
}

/* Through the material: dark inside, with a rim that catches the light. */
static void hole(tlvi_plate *p, tlvi_dice *d)
{
    ellipse e = any_ellipse(p, 0.025f, 0.07f, 0.75f, d);
    float dark = tlvi_dice_in(d, 0.55f, 0.95f), rim = tlvi_dice_in(d, 0.1f, 0.5f);
    e.a = larger(e.a, 1.2f);
    e.b = larger(e.b, 1.2f);
    span4 w = around(p, e.x, e.y, e.x, e.y, 1.5f * e.a + 2);
    for (int y = w.y0; y < w.y1; y++)
        for (int x = w.x0; x < w.x1; x++) {
            spot q = inside(&e, x, y);
            float r = sqrtf(q.x * q.x + q.y * q.y), in = clip01((1 - r) * e.b + 0.5f);
            float edge = r > 1 && r < 1.45f ? 1 - (r - 1) / 0.45f : 0;
            float *at = p->rgb + 3 * (y * p->side + x);
            float dx = (float)x + 0.5f - e.x, dy = (float)y + 0.5f - e.y;
            float lit = (dx * p->light[0] + dy * p->light[1]) / (r * e.a + 1e-3f);
            for (int k = 0; k < 3; k++) {
                at[k] *= 1 - in * dark;
                at[k] *= 1 - rim * edge * lit;
            }
            p->cover[y * p->side + x] = larger(p->cover[y * p->side + x], in);
        }
}

/* Something spilled: an uneven outline, a colour that shines through, darker towards the edge. */
static void stain(tlvi_plate *p, tlvi_dice *d)
{
    ellipse e = any_ellipse(p, 0.1f, 0.24f, 0.6f, d);
    float lobe[LOBES], color[3], strength = tlvi_dice_in(d, 0.18f, 0.6f);
    float ring = tlvi_dice_in(d, 0, 0.6f), u0 = tlvi_dice_in(d, 0, 64), v0 = tlvi_dice_in(d, 0, 64);
    float base = tlvi_dice_in(d, 20, 120);
    for (int k = 0; k < 3; k++) color[k] = base * tlvi_dice_in(d, 0.5f, 1.3f);
    for (int i = 0; i < LOBES; i++) lobe[i] = tlvi_dice_in(d, -0.2f, 0.2f);
    span4 w = around(p, e.x, e.y, e.x, e.y, 1.3f * e.a + 1);
    for (int y = w.y0; y < w.y1; y++)
        for (int x = w.x0; x < w.x1; x++) {
            spot q = inside(&e, x, y);
            float r = sqrtf(q.x * q.x + q.y * q.y);
            // the outline's lobes sit on a diamond around the middle: an angle without arc tangents
            float s = larger(q.x, -q.x) + larger(q.y, -q.y) + 1e-6f, a = q.y / s;
            float turn = (q.x >= 0 ? a < 0 ? 4 + a : a : 2 - a) * (LOBES / 4);
            int i = (int)turn;
            float f = turn - (float)i, edge = lobe[i % LOBES] * (1 - f) + lobe[(i + 1) % LOBES] * f;
            float rough = 0.3f * (tlvi_plate_noise(p, u0 + 6 * q.x, v0 + 6 * q.y) - 0.5f);
            float depth = 1 + edge + rough - r, in = clip01(depth * e.b + 0.5f);
            if (!(in > 0)) continue;
            float near = clip01(1 - depth * 5), *at = p->rgb + 3 * (y * p->side + x);
            float mix = in * clip01(strength * (1 - ring + 2 * ring * near));
            for (int k = 0; k < 3; k++) at[k] += mix * (color[k] - at[k]);
            p->cover[y * p->side + x] = in;
        }
}

void tlvi_defects_draw(tlvi_plate *p, tlv_defect kind, tlvi_dice *d)
{
    static const int MOST[TLV_DEFECTS] = { 0, 2, 2, 2, 1, 3 };
    static void (*const DRAW[TLV_DEFECTS])(tlvi_plate *, tlvi_dice *) = { NULL,  scratch, dent,
                                                                           stain, crack,   hole };
    memset(p->mark, 0, (size_t)p->side * (size_t)p->side * sizeof *p->mark);
    int n = MOST[kind] ? 1 + tlvi_dice_below(d, MOST[kind]) : 0;
    for (int i = 0; i < n; i++) {
        clear_cover(p);
        DRAW[kind](p, d);
        add_mark(p);
    }
}
