/* shapes.c -- ten classes of drawn shapes, 32x32 RGB: pictures to learn from that need no files.
 *
 * A shape is a signed distance (negative inside, in units of its radius), turned, squeezed and
 * placed at random; a pixel's coverage follows from the distance, which smooths the edges.  Ground
 * and shape take two different colours, the ground fades into a third; specks of other colours and
 * noise make it less easy.
 * Source of the distances: Inigo Quilez, "2D distance functions" (some are bounds, good enough
 * to draw). */
#include <math.h>
#include <stdio.h>

#include "data/reader.h"
#include "tensor/rng.h"

enum {
    SIDE = 32, CLASSES = 10, MAX_SPECKS = 3,
    NOISE = 0x5EC5                          /* a kind of draw of its own: rng.c has the others */
};

static const float TURN = 6.2831853f;       /* all around */

static const char *const NAMES[CLASSES] = { "disc", "ring", "square", "frame", "triangle",
                                            "cross", "bar", "star", "wave", "grid" };

/* ---- distances at (u, v); a shape reaches about 1 from the origin ---------------------------- */

static float larger(float a, float b) { return a > b ? a : b; }
static float smaller(float a, float b) { return a < b ? a : b; }

static float box(float u, float v, float half_u, float half_v)
{
    return larger(fabsf(u) - half_u, fabsf(v) - half_v);
}

/* Equilateral, corners on the unit circle: the farthest of three half planes. */
static float triangle(float u, float v)
{
    float side = 0.8660254f * fabsf(u) + 0.5f * v;
    return larger(side, -v) - 0.5f;
}

/* Five points: folded onto one tenth of the plane, where it is one edge. */
static float star(float u, float v)
{
    const float cx = 0.809016994f, cy = 0.587785252f;       // cos and sin of 36 degrees
    u = fabsf(u);
    float d = larger(cx * u - cy * v, 0);
    u -= 2 * d * cx;
    v += 2 * d * cy;
    d = larger(-cx * u - cy * v, 0);
    u = fabsf(u + 2 * d * cx);
    v += 2 * d * cy - 1;
    const float ex = 0.45f * cy, ey = 0.45f * cx - 1;       // the edge, from a point inwards
    float along = (u * ex + v * ey) / (ex * ex + ey * ey);
    along = along < 0 ? 0 : along > 1 ? 1 : along;
    float dx = u - ex * along, dy = v - ey * along;
    return sqrtf(dx * dx + dy * dy) * (v * ex - u * ey > 0 ? 1.0f : -1.0f);
}

/* A thick line along 0.35 sin(pi u 1.5), with parabolas for the sine. */
static float wave(float u, float v)
{
    float t = 0.75f * u + 8.25f;                            // in periods; positive
    t = 2 * (t - (float)(int)t) - 1;
    float height = 0.4f * 4 * t * (1 - fabsf(t));
    return larger(0.6f * fabsf(v - height) - 0.15f, fabsf(u) - 1);
}

static float grid(float u, float v)
{
    float lines = smaller(fabsf(fabsf(u) - 0.4f), fabsf(fabsf(v) - 0.4f)) - 0.13f;
    return larger(lines, box(u, v, 0.95f, 0.95f));
}

static float distance(int kind, float u, float v)
{
    switch (kind) {
    case 0: return sqrtf(u * u + v * v) - 0.9f;
    case 1: return fabsf(sqrtf(u * u + v * v) - 0.75f) - 0.18f;
    case 2: return box(u, v, 0.78f, 0.78f);
    case 3: return fabsf(box(u, v, 0.68f, 0.68f)) - 0.15f;
    case 4: return triangle(u, v + 0.1f);
    case 5: return smaller(box(u, v, 0.95f, 0.27f), box(u, v, 0.27f, 0.95f));
    case 6: return box(u, v, 1.0f, 0.3f);
    case 7: return star(u, v);
    case 8: return wave(u, v);
    default: return grid(u, v);
    }
}

/* ---- one picture ----------------------------------------------------------------------------- */

typedef struct draws { tlv_rng_key key; uint64_t n; } draws;

static float uniform(draws *r, float lo, float hi)
{
    return lo + (hi - lo) * (float)tlv_rng_uniform(r->key, r->n++);
}

typedef struct speck { float x, y, r, color[3]; } speck;

typedef struct picture {
    int kind, specks;
    float x, y, pixels;                     /* centre; pixels a unit of the distance */
    float m[4];                             /* pixel offset -> (u, v) */
    float ground[3], fade[3], color[3];     /* fade: added over the picture's breadth, along dir */
    float dir[2], noise;
    speck at[MAX_SPECKS];
} picture;

static float brightness(const float *c) { return 0.3f * c[0] + 0.6f * c[1] + 0.1f * c[2]; }

/* Two colours of which one is clearly brighter. */
static void two_colors(draws *r, float *a, float *b)
{
    do {
        for (int k = 0; k < 3; k++) {
            a[k] = uniform(r, 20, 235);
            b[k] = uniform(r, 20, 235);
        }
    } while (fabsf(brightness(a) - brightness(b)) < 60);
}

static picture plan(int kind, tlv_rng_key key)
{
    draws r = { key, 0 };
    picture p = { .kind = kind };
    float size = uniform(&r, 7.0f, 13.0f), squeeze = uniform(&r, 0.8f, 1.25f);
    float turn = uniform(&r, 0, TURN);
    float room = 0.5f * SIDE - 0.75f * size;
    p.x = 0.5f * SIDE + uniform(&r, -room, room);
    p.y = 0.5f * SIDE + uniform(&r, -room, room);
    float cs = cosf(turn), sn = sinf(turn);
    float across = size * sqrtf(squeeze), down = size / sqrtf(squeeze);
    p.pixels = smaller(across, down);
    p.m[0] = cs / across;
    p.m[1] = sn / across;
    p.m[2] = -sn / down;
    p.m[3] = cs / down;

    two_colors(&r, p.ground, p.color);
    for (int k = 0; k < 3; k++) p.fade[k] = uniform(&r, -40, 40);
    float angle = uniform(&r, 0, TURN);
    p.dir[0] = cosf(angle) / SIDE;
    p.dir[1] = sinf(angle) / SIDE;
    p.noise = uniform(&r, 5, 30);

    p.specks = (int)uniform(&r, 0, MAX_SPECKS + 0.999f);
    for (int i = 0; i < p.specks; i++) {
        speck *s = &p.at[i];
        s->x = uniform(&r, 0, SIDE);
        s->y = uniform(&r, 0, SIDE);
        s->r = uniform(&r, 0.8f, 2.6f);
        for (int k = 0; k < 3; k++) s->color[k] = uniform(&r, 0, 255);
    }
    return p;
}

static float coverage(float signed_pixels)
{
    float a = 0.5f - signed_pixels;
    return a < 0 ? 0 : a > 1 ? 1 : a;
}

static void one_pixel(const picture *p, float x, float y, float rgb[3])
{
    float dx = x - p->x, dy = y - p->y;
    float t = (x - 0.5f * SIDE) * p->dir[0] + (y - 0.5f * SIDE) * p->dir[1];
    float d = distance(p->kind, dx * p->m[0] + dy * p->m[1], dx * p->m[2] + dy * p->m[3]);
    float a = coverage(d * p->pixels);
    for (int k = 0; k < 3; k++) {
        float ground = p->ground[k] + t * p->fade[k];
        rgb[k] = ground + a * (p->color[k] - ground);
    }
    for (int i = 0; i < p->specks; i++) {
        const speck *s = &p->at[i];
        float sx = x - s->x, sy = y - s->y, far = sx * sx + sy * sy;
        if (far > (s->r + 1) * (s->r + 1)) continue;
        a = coverage(sqrtf(far) - s->r);
        for (int k = 0; k < 3; k++) rgb[k] += a * (s->color[k] - rgb[k]);
    }
}

/* The sum of two bytes is a triangle, near enough to a bell: 16 bits a value, 8 values a block. */
static void draw(const picture *p, tlv_rng_key key, uint8_t *out)
{
    uint32_t k[2] = { (uint32_t)key.k, (uint32_t)(key.k >> 32) }, bits[4];
    uint32_t n = 0;
    for (int y = 0; y < SIDE; y++)
        for (int x = 0; x < SIDE; x++) {
            float rgb[3];
            one_pixel(p, (float)x + 0.5f, (float)y + 0.5f, rgb);
            for (int ch = 0; ch < 3; ch++, n++) {
                if (n % 8 == 0) tlvi_philox((uint32_t[4]){ n / 8, 0, NOISE, 0 }, k, bits);
                uint32_t two = bits[n % 8 / 2] >> 16 * (n % 2) & 0xffff;
                float e = (float)(int)((two & 255) + (two >> 8)) / 255 - 1;
                float v = rgb[ch] + e * p->noise + 0.5f;
                *out++ = (uint8_t)(v < 0 ? 0 : v > 255 ? 255 : v);
            }
        }
}

/* ---- the set --------------------------------------------------------------------------------- */

typedef struct draw_job { tlv_dataset *d; tlv_rng_key key; } draw_job;

static void one_image(void *arg, int64_t i, int worker)
{
    (void)worker;
    const draw_job *j = arg;
    tlv_rng_key key = tlv_rng_fold(j->key, (uint64_t)i);
    picture p = plan(j->d->label[i], key);
    draw(&p, key, j->d->pixels + (size_t)i * SIDE * SIDE * 3);
}

/* Image i is of class i mod 10 and depends on (seed, split, i) only: shapes:10 begins shapes:99. */
tlv_status tlvi_draw_shapes(tlv_dataset *d, int64_t per_class, const char *split)
{
    int test = split && strcmp(split, "test") == 0;
    d->n = per_class * CLASSES;
    d->h = d->w = SIDE;
    d->channels = 3;
    if (!tlvi_dataset_alloc(d)) return d->c->err;
    for (int k = 0; k < CLASSES; k++)
        if (!tlvi_dataset_add_class(d, NAMES[k])) return d->c->err;
    for (int64_t i = 0; i < d->n; i++) d->label[i] = (int32_t)(i % CLASSES);
    draw_job j = { d, tlv_rng_fold(tlv_rng_stream(d->c, "shapes"), (uint64_t)test) };
    tlvi_parallel_for(d->c, d->n, 20000, one_image, &j);
    snprintf(d->text, sizeof d->text, "drawn shapes %s, %lld images 32x32 RGB, 10 classes",
             test ? "test" : "train", (long long)d->n);
    return d->c->err;
}
