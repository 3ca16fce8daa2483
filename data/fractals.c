/* fractals.c -- iterated function systems as pictures.
 *
 * A system is a few affine maps that shrink; following one of them after the other at random, a
 * point wanders over the system's attractor (Barnsley 1988).  Maps are drawn by their singular
 * values, A = R(t1) diag(s1, s2) R(t2) diag(+-1, +-1), with the sum of s1 + 2 s2 over the n maps
 * between (5 + n) / 2 and (6 + n) / 2: then attractors are neither dust nor blots (Anderson &
 * Farrell 2022, arXiv:2110.03091, section 3.1).  A map is taken as often as it fills area, |det A|.
 *
 * Pictures of one system differ: each number of its maps is multiplied by 1 +- 0.1 (Nakamura et al.
 * 2024, arXiv:2408.00677: within this a system stays itself). */
#include "data/patterns.h"

static const float JITTER = 0.1f, LEAST_SHARE = 0.02f;
enum { SETTLE = 20, FEWEST = 300 };

static void rotate(float m[4], const float t[2])
{
    float a = m[0], b = m[1], c = m[2], d = m[3];
    m[0] = t[0] * a - t[1] * c;
    m[1] = t[0] * b - t[1] * d;
    m[2] = t[1] * a + t[0] * c;
    m[3] = t[1] * b + t[0] * d;
}

static void shares(tlvi_fractal *f)
{
    float sum = 0, up = 0, share[TLVI_MOST_MAPS];
    for (int i = 0; i < f->n; i++) {
        float det = f->a[i][0] * f->a[i][3] - f->a[i][1] * f->a[i][2];
        share[i] = (det < 0 ? -det : det) + LEAST_SHARE;
        sum += share[i];
    }
    for (int i = 0; i < f->n; i++) f->upto[i] = up += share[i] / sum;
    f->upto[f->n - 1] = 1;
}

tlvi_fractal tlvi_fractal_make(tlvi_dice d)
{
    tlvi_fractal f = { .n = 2 + tlvi_dice_below(&d, TLVI_MOST_MAPS - 1) };
    float s[TLVI_MOST_MAPS][2], sum;
    do {
        sum = 0;
        for (int i = 0; i < f.n; i++) {
            float a = tlvi_dice_unit(&d), b = tlvi_dice_unit(&d);
            s[i][0] = a > b ? a : b;
            s[i][1] = a > b ? b : a;
            sum += s[i][0] + 2 * s[i][1];
        }
    } while (sum < 0.5f * (5 + (float)f.n) || sum > 0.5f * (6 + (float)f.n));
    for (int i = 0; i < f.n; i++) {
        float t[2];
        tlvi_dice_turn(&d, t);
        f.a[i][0] = t[0] * s[i][0];
        f.a[i][1] = -t[1] * s[i][0];
        f.a[i][2] = t[1] * s[i][1];
        f.a[i][3] = t[0] * s[i][1];
        tlvi_dice_turn(&d, t);
        rotate(f.a[i], t);
        if (tlvi_dice_below(&d, 2)) f.a[i][0] = -f.a[i][0], f.a[i][2] = -f.a[i][2];
        if (tlvi_dice_below(&d, 2)) f.a[i][1] = -f.a[i][1], f.a[i][3] = -f.a[i][3];
        for (int k = 0; k < 2; k++) f.b[i][k] = tlvi_dice_in(&d, -1, 1);
    }
    shares(&f);
    return f;
}

/* Maps whose numbers moved a little may grow: they are shrunk below 1 again. */
static tlvi_fractal vary(const tlvi_fractal *f, tlvi_dice *d)
{
    tlvi_fractal v = *f;
    for (int i = 0; i < v.n; i++) {
        float size = 0;
        for (int k = 0; k < 4; k++) {
            v.a[i][k] *= tlvi_dice_in(d, 1 - JITTER, 1 + JITTER);
            size += v.a[i][k] * v.a[i][k];
        }
        for (int k = 0; k < 2; k++) v.b[i][k] *= tlvi_dice_in(d, 1 - JITTER, 1 + JITTER);
        float det = v.a[i][0] * v.a[i][3] - v.a[i][1] * v.a[i][2];
        // the larger singular value: s1^2 = (size + sqrt(size^2 - 4 det^2)) / 2
        float rest = size * size - 4 * det * det;
        float s1 = sqrtf(0.5f * (size + sqrtf(rest > 0 ? rest : 0)));
        for (int k = 0; k < 4 && s1 > 0.97f; k++) v.a[i][k] *= 0.97f / s1;
    }
    return v;
}

/* The wandering point's places, and which map brought it there; returns their extent. */
static void wander(tlvi_sheet *s, const tlvi_fractal *f, int n, tlvi_dice *d, float lo[2],
                   float hi[2])
{
    float x = 0, y = 0;
    lo[0] = lo[1] = 1e30f;
    hi[0] = hi[1] = -1e30f;
    for (int i = -SETTLE; i < n; i++) {
        float u = tlvi_dice_unit(d);
        int m = 0;
        while (m < f->n - 1 && u >= f->upto[m]) m++;
        float nx = f->a[m][0] * x + f->a[m][1] * y + f->b[m][0];
        y = f->a[m][2] * x + f->a[m][3] * y + f->b[m][1];
        x = nx;
        if (i < 0) continue;
        s->point[i] = (tlvi_point){ x, y };
        s->tag[i] = (uint8_t)(m % 3);
        lo[0] = x < lo[0] ? x : lo[0];
        lo[1] = y < lo[1] ? y : lo[1];
        hi[0] = x > hi[0] ? x : hi[0];
        hi[1] = y > hi[1] ? y : hi[1];
    }
}

/* Points onto the cover: each adds `ink` to its pixel, whose colour is the last one's. */
static void stamp(tlvi_sheet *s, const tlvi_pose *p, int n, const float mid[2], float scale,
                  float ink)
{
    float m[4] = { p->turn[0] * scale, -p->turn[1] * scale, p->turn[1] * scale,
                   p->turn[0] * scale };
    float x0 = p->x + 1024, y0 = p->y + 1024;               // so that cutting rounds down
    for (int i = 0; i < n; i++) {
        float u = s->point[i].x - mid[0], v = s->point[i].y - mid[1];
        unsigned x = (unsigned)(int)(x0 + m[0] * u + m[1] * v) - 1024u;
        unsigned y = (unsigned)(int)(y0 + m[2] * u + m[3] * v) - 1024u;
        if (x >= (unsigned)s->side || y >= (unsigned)s->side) continue;
        s->cover[y * (unsigned)s->side + x] += ink;
        s->shade[y * (unsigned)s->side + x] = s->tag[i];
    }
}

void tlvi_fractal_draw(tlvi_sheet *s, const tlvi_fractal *f, const tlvi_pose *p, int number,
                       tlvi_dice *d)
{
    tlvi_fractal v = vary(f, d);
    float lo[2], hi[2], area = 4 * p->half * p->half;
    int n = (int)(1.5f * area);
    n = n < FEWEST ? FEWEST : n > TLVI_POINTS ? TLVI_POINTS : n;
    wander(s, &v, n, d, lo, hi);
    float wide = hi[0] - lo[0] > hi[1] - lo[1] ? hi[0] - lo[0] : hi[1] - lo[1];
    if (!(wide > 1e-6f)) return;
    float mid[2] = { 0.5f * (lo[0] + hi[0]), 0.5f * (lo[1] + hi[1]) }, scale = 2 * p->half / wide;
    float ink = 0.45f * (area > 400 ? 1 : 1.4f);
    tlvi_box4 b = tlvi_box_around(s, p, 1.45f);
    tlvi_sheet_clear(s, b);
    stamp(s, p, n, mid, scale, ink);
    tlvi_sheet_blend(s, b, p->color, number);
}
