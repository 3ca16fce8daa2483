/* contours.c -- closed wavy lines, after VisualAtom (Takashima et al. 2023, arXiv:2303.01112):
 *     r(t) = 1 + h1 sin(w1 t) + h2 sin(w2 t),      x = r cos t,  y = oval r sin t
 * drawn in rings one inside the other.  A category is the two waves with their heights, the oval,
 * the number of rings and their distance; pictures of one category differ in pose, phase, thickness
 * and colours, and some are filled. */
#include "data/patterns.h"

enum { VERTICES = 160, WAVES = 11, RINGS = 4 };
static const float TURN = 6.2831853f;

tlvi_contour tlvi_contour_make(tlvi_dice d)
{
    tlvi_contour k = { .rings = 1 + tlvi_dice_below(&d, RINGS) };
    for (int i = 0; i < 2; i++) {
        k.wave[i] = tlvi_dice_below(&d, WAVES);
        k.height[i] = tlvi_dice_in(&d, 0.08f, 0.42f);
    }
    k.oval = tlvi_dice_in(&d, 0.45f, 1);
    k.gap = tlvi_dice_in(&d, 0.16f, 0.3f);
    return k;
}

/* Sine of a whole turn's share u in [0, 1): a polynomial of the quarter (error below 1e-6). */
static float sine(float u)
{
    u -= (float)(int)u;
    if (u < 0) u += 1;
    float sign = u < 0.5f ? 1 : -1;
    if (u >= 0.5f) u -= 0.5f;
    if (u > 0.25f) u = 0.5f - u;
    float x = u * TURN, q = x * x;
    return sign * x * (1 - q / 6 * (1 - q / 20 * (1 - q / 42 * (1 - q / 72))));
}

/* The line as a polygon around 0, not larger than 1. */
static void polygon(const tlvi_contour *k, const float phase[2], tlvi_point *v)
{
    float most = 0;
    for (int i = 0; i < VERTICES; i++) {
        float u = (float)i / VERTICES, r = 1;
        for (int w = 0; w < 2; w++)
            r += k->height[w] * sine((float)k->wave[w] * u + phase[w] + 1);
        v[i] = (tlvi_point){ r * sine(u + 0.25f), k->oval * r * sine(u) };
        float far = v[i].x * v[i].x + v[i].y * v[i].y;
        most = far > most ? far : most;
    }
    most = sqrtf(most);
    for (int i = 0; i < VERTICES; i++) v[i].x /= most, v[i].y /= most;
}

/* From the polygon to pixels, ring `share` of the size. */
static void place(const tlvi_pose *p, float share, const tlvi_point *v, tlvi_point *out)
{
    for (int i = 0; i < VERTICES; i++) {
        float x = v[i].x * share * p->half, y = v[i].y * share * p->half;
        out[i] = (tlvi_point){ p->x + p->turn[0] * x - p->turn[1] * y,
                               p->y + p->turn[1] * x + p->turn[0] * y };
    }
}

/* A dot with soft edges: its share of each of the pixels under it. */
static void dot(tlvi_sheet *s, float x, float y, float r, int shade)
{
    int x0 = (int)(x - r + 1024) - 1024, y0 = (int)(y - r + 1024) - 1024;
    int x1 = (int)(x + r + 1025) - 1024, y1 = (int)(y + r + 1025) - 1024;
    for (int j = y0 < 0 ? 0 : y0; j < (y1 < s->side ? y1 : s->side); j++)
        for (int i = x0 < 0 ? 0 : x0; i < (x1 < s->side ? x1 : s->side); i++) {
            float dx = (float)i + 0.5f - x, dy = (float)j + 0.5f - y;
            float in = r + 0.5f - sqrtf(dx * dx + dy * dy);
            int at = j * s->side + i;
            if (!(in > s->cover[at])) continue;
            s->cover[at] = in > 1 ? 1 : in;
            s->shade[at] = (uint8_t)shade;
        }
}

static void stroke(tlvi_sheet *s, const tlvi_point *v, float r, int shade)
{
    float step = r > 1 ? 0.7f * r : 0.7f;
    for (int i = 0; i < VERTICES; i++) {
        tlvi_point a = v[i], b = v[(i + 1) % VERTICES];
        float dx = b.x - a.x, dy = b.y - a.y, far = sqrtf(dx * dx + dy * dy);
        int n = 1 + (int)(far / step);
        for (int q = 0; q < n; q++) {
            float t = (float)q / (float)n;
            dot(s, a.x + t * dx, a.y + t * dy, r, shade);
        }
    }
}

/* Even-odd along each row, at the pixels' centres. */
static void fill(tlvi_sheet *s, tlvi_box4 b, const tlvi_point *v, int shade)
{
    for (int y = b.y0; y < b.y1; y++) {
        float cut[VERTICES], at = (float)y + 0.5f;
        int n = 0;
        for (int i = 0; i < VERTICES; i++) {
            tlvi_point p = v[i], q = v[(i + 1) % VERTICES];
            if ((p.y <= at) == (q.y <= at)) continue;
            float x = p.x + (at - p.y) / (q.y - p.y) * (q.x - p.x);
            int k = n++;
            for (; k > 0 && cut[k - 1] > x; k--) cut[k] = cut[k - 1];
            cut[k] = x;
        }
        for (int k = 0; k + 1 < n; k += 2)
            for (int x = b.x0; x < b.x1; x++) {
                float mid = (float)x + 0.5f;
                if (mid < cut[k] || mid >= cut[k + 1]) continue;
                s->cover[y * s->side + x] = 1;
                s->shade[y * s->side + x] = (uint8_t)shade;
            }
    }
}

void tlvi_contour_draw(tlvi_sheet *s, const tlvi_contour *k, const tlvi_pose *p, int number,
                       tlvi_dice *d)
{
    tlvi_point *unit = s->point, *v = s->point + VERTICES;
    float phase[2];
    for (int w = 0; w < 2; w++) phase[w] = tlvi_dice_unit(d);
    float r = tlvi_dice_in(d, 0.5f, 0.6f + 0.05f * p->half);
    int filled = tlvi_dice_below(d, 10) < 4;
    polygon(k, phase, unit);
    tlvi_box4 b = tlvi_box_around(s, p, 1 + 2 / p->half);
    tlvi_sheet_clear(s, b);
    for (int i = 0; i < k->rings; i++) {
        float share = 1 - (float)i * k->gap;
        if (share * p->half < 2) break;
        place(p, share, unit, v);
        if (filled) fill(s, b, v, i % 3);
        else stroke(s, v, r, i % 3);
    }
    tlvi_sheet_blend(s, b, p->color, number);
}
