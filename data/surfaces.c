/* surfaces.c -- drawn images of inspected surfaces: the material, its light, the camera.
 *
 * A material is a tone between two colours at each point (u, v) of its plane, which lies turned,
 * shifted and scaled under the image; noise comes from a table of random heights.  Flaws
 * (defects.c) are drawn before light and camera, so both treat them alike. */
#include <stdio.h>

#include "data/reader.h"
#include "data/surfaces.h"

enum { LEAST_SIDE = 32, MOST_SIDE = 1024, SET_SIDE = 64 };

static const char *const SURFACE[TLV_SURFACES] = { "metal", "weave", "wood", "concrete",
                                                   "plastic" };
static const char *const DEFECT[TLV_DEFECTS] = { "ok", "scratch", "dent", "stain", "crack",
                                                 "hole" };
const char *tlv_surface_name(tlv_surface s)
{
    return (unsigned)s < TLV_SURFACES ? SURFACE[s] : "?";
}
const char *tlv_defect_name(tlv_defect d) { return (unsigned)d < TLV_DEFECTS ? DEFECT[d] : "?"; }

/* ---- noise ----------------------------------------------------------------------------------- */

static int floor_of(float x) { return (int)(x + 65536) - 65536; }

float tlvi_plate_noise(const tlvi_plate *p, float u, float v)
{
    int i = floor_of(u), j = floor_of(v), wrap = TLVI_TABLE - 1;
    float a = u - (float)i, b = v - (float)j;
    const uint8_t *r0 = p->table + (j & wrap) * TLVI_TABLE;
    const uint8_t *r1 = p->table + ((j + 1) & wrap) * TLVI_TABLE;
    int i0 = i & wrap, i1 = (i + 1) & wrap;
    a = a * a * (3 - 2 * a);
    b = b * b * (3 - 2 * b);
    float top = (float)r0[i0] + a * (float)(r0[i1] - r0[i0]);
    float low = (float)r1[i0] + a * (float)(r1[i1] - r1[i0]);
    return (top + b * (low - top)) * (1.0f / 255);
}

static void fill_table(tlvi_plate *p, tlvi_dice *d)
{
    for (int i = 0; i < TLVI_TABLE * TLVI_TABLE; i += 8) {
        uint64_t bits = tlvi_dice_u64(d);
        for (int k = 0; k < 8; k++) p->table[i + k] = (uint8_t)(bits >> 8 * k);
    }
}

/* ---- materials ------------------------------------------------------------------------------- */

/* What one picture of a material has of its own. */
typedef struct skin {
    float a[3], b[3];                   /* colours of tone 0 and 1 */
    float fine, rough, drift;           /* threads or rings a side; how strong its noise is */
} skin;

typedef float (*tone_fn)(const tlvi_plate *p, const skin *s, float u, float v);

/* Streaks along u, of two widths. */
static float metal(const tlvi_plate *p, const skin *s, float u, float v)
{
    float n = tlvi_plate_noise(p, 2.5f * u, s->fine * v);
    n += 0.6f * tlvi_plate_noise(p, 1.3f * u + 40, 0.31f * s->fine * v);
    return 0.5f + s->rough * (n - 0.8f);
}

/* Warp over weft and weft over warp, by turns: each thread is round, and of its own brightness. */
static float weave(const tlvi_plate *p, const skin *s, float u, float v)
{
    float x = s->fine * u, y = s->fine * v;
    int i = floor_of(x), j = floor_of(y), wrap = TLVI_TABLE - 1;
    float fx = x - (float)i, fy = y - (float)j;
    int warp = (i + j) & 1;
    float across = warp ? fx : fy, along = warp ? fy : fx;
    float own = (float)p->table[warp ? i & wrap : (j & wrap) * TLVI_TABLE] * (1.0f / 255);
    float round_ = 4 * across * (1 - across), over = 4 * along * (1 - along);
    return 0.1f + 0.45f * round_ + 0.2f * over + 0.3f * (warp ? 1 : 0) * s->drift
           + s->rough * (own - 0.5f);
}

/* Rings cut lengthwise, bent by soft noise, with fibres. */
static float wood(const tlvi_plate *p, const skin *s, float u, float v)
{
    float r = s->fine * (v + s->drift * tlvi_plate_noise(p, 1.7f * u, 2.3f * v));
    float f = r - (float)floor_of(r), ring = f < 0.8f ? f / 0.8f : (1 - f) / 0.2f;
    float fibre = tlvi_plate_noise(p, 3 * u, 70 * v) - 0.5f;
    return 0.15f + 0.6f * ring * ring + s->rough * fibre;
}

/* Dark discs in a few cells of a grid: how dark at (x, y). */
static float pore(const tlvi_plate *p, float x, float y)
{
    enum { SOLID = 236, WIDTH = 256 - SOLID };
    int i = floor_of(x), j = floor_of(y), wrap = TLVI_TABLE - 1;
    int much = p->table[(j & wrap) * TLVI_TABLE + (i & wrap)] - SOLID;
    if (much <= 0) return 0;
    float dx = x - (float)i - 0.5f, dy = y - (float)j - 0.5f;
    float r = 0.45f * (float)much / WIDTH, far = dx * dx + dy * dy;
    return far < r * r ? 1 - far / (r * r) : 0;
}

/* Noise of three sizes, and pores. */
static float concrete(const tlvi_plate *p, const skin *s, float u, float v)
{
    float n = 0.5f * tlvi_plate_noise(p, 3 * u, 3 * v) + 0.3f * tlvi_plate_noise(p, 10 * u, 10 * v)
            + 0.3f * tlvi_plate_noise(p, 31 * u + 7, 31 * v);
    return 0.5f + s->rough * (n - 0.55f) - s->drift * pore(p, s->fine * u, s->fine * v);
}

/* An orange's skin: small bumps, seen by their slopes. */
static float plastic(const tlvi_plate *p, const skin *s, float u, float v)
{
    float x = s->fine * u, y = s->fine * v;
    float slope = tlvi_plate_noise(p, x + 0.4f * p->light[0], y + 0.4f * p->light[1])
                - tlvi_plate_noise(p, x, y);
    return 0.5f + s->rough * slope;
}

static void colors(skin *s, const float base[3], float apart)
{
    for (int k = 0; k < 3; k++) {
        s->a[k] = base[k] * (1 - apart);
        s->b[k] = base[k] * (1 + apart);
    }
}

static skin choose_skin(tlv_surface kind, tlvi_dice *d)
{
    skin s = { .fine = 0 };
    float base[3], value = tlvi_dice_in(d, 70, 190);
    for (int k = 0; k < 3; k++) base[k] = value * tlvi_dice_in(d, 0.93f, 1.07f);
    switch (kind) {
    case TLV_METAL:
        s.fine = tlvi_dice_in(d, 55, 110);
        s.rough = tlvi_dice_in(d, 0.4f, 0.9f);
        colors(&s, base, 0.28f);
        break;
    case TLV_WEAVE:
        s.fine = tlvi_dice_in(d, 9, 17);
        s.rough = tlvi_dice_in(d, 0.05f, 0.25f);
        s.drift = tlvi_dice_in(d, 0.2f, 1);
        for (int k = 0; k < 3; k++) base[k] *= tlvi_dice_in(d, 0.6f, 1.2f);
        colors(&s, base, 0.5f);
        break;
    case TLV_WOOD:
        s.fine = tlvi_dice_in(d, 5, 12);
        s.rough = tlvi_dice_in(d, 0.2f, 0.5f);
        s.drift = tlvi_dice_in(d, 0.15f, 0.5f);
        base[0] = tlvi_dice_in(d, 120, 210);
        base[1] = base[0] * tlvi_dice_in(d, 0.65f, 0.8f);
        base[2] = base[1] * tlvi_dice_in(d, 0.5f, 0.75f);
        colors(&s, base, -0.25f);
        break;
    case TLV_CONCRETE:
        s.fine = tlvi_dice_in(d, 14, 26);
        s.rough = tlvi_dice_in(d, 0.5f, 1.1f);
        s.drift = tlvi_dice_in(d, 0.3f, 1.5f);
        colors(&s, base, 0.3f);
        break;
    default:
        s.fine = tlvi_dice_in(d, 25, 60);
        s.rough = tlvi_dice_in(d, 0.15f, 0.6f);
        for (int k = 0; k < 3; k++) base[k] = tlvi_dice_in(d, 25, 225);
        colors(&s, base, 0.3f);
    }
    return s;
}

static void lay(tlvi_plate *p, tlv_surface kind, tlvi_dice *d)
{
    static const tone_fn TONE[TLV_SURFACES] = { metal, weave, wood, concrete, plastic };
    skin s = choose_skin(kind, d);
    float t[2], scale = tlvi_dice_in(d, 0.75f, 1.35f) / (float)p->side;
    float u0 = tlvi_dice_in(d, 0, 40), v0 = tlvi_dice_in(d, 0, 40);
    tlvi_dice_turn(d, t);
    for (int y = 0; y < p->side; y++)
        for (int x = 0; x < p->side; x++) {
            float u = u0 + scale * (t[0] * (float)x - t[1] * (float)y);
            float v = v0 + scale * (t[1] * (float)x + t[0] * (float)y);
            float tone = TONE[kind](p, &s, u, v), *at = p->rgb + 3 * (y * p->side + x);
            for (int k = 0; k < 3; k++) at[k] = s.a[k] + tone * (s.b[k] - s.a[k]);
        }
}

/* ---- light and camera ------------------------------------------------------------------------ */

/* Exposure, a slope towards the light, and on what shines a bright spot. */
static void shine(tlvi_plate *p, tlv_surface kind, tlvi_dice *d)
{
    float n = (float)p->side, gain = tlvi_dice_in(d, 0.65f, 1.25f);
    float slope = tlvi_dice_in(d, 0, 0.6f);
    float x0 = tlvi_dice_in(d, 0, n), y0 = tlvi_dice_in(d, 0, n);
    float r = n * tlvi_dice_in(d, 0.3f, 0.8f);
    float gloss = kind == TLV_METAL || kind == TLV_PLASTIC ? tlvi_dice_in(d, 0, 70) : 0;
    float du = slope * p->light[0] / n, dv = slope * p->light[1] / n, per = 1 / r;
    for (int y = 0; y < p->side; y++) {
        float *row = p->rgb + 3 * y * p->side, dy = ((float)y - y0) * per;
        float base = 1 + dv * ((float)y - 0.5f * n) - 0.5f * du * n;
        for (int x = 0; x < p->side; x++) {
            float dx = ((float)x - x0) * per, far = 1 - dx * dx - dy * dy;
            float g = gain * (base + du * (float)x), spot;
            far = far > 0 ? far : 0;
            spot = gloss * far * far;
            for (int k = 0; k < 3; k++) row[3 * x + k] = row[3 * x + k] * g + spot;
        }
    }
}

/* A 3x3 mean with weights 1 2 1, rows then columns, in place. */
static void soften(tlvi_plate *p)
{
    enum { ROW = 3 * MOST_SIDE };
    float was[ROW], above[ROW];
    int n = 3 * p->side;
    for (int y = 0; y < p->side; y++) {
        float *row = p->rgb + y * n;
        memcpy(was, row, (size_t)n * sizeof *row);
        for (int i = 3; i < n - 3; i++) row[i] = 0.25f * (was[i - 3] + 2 * was[i] + was[i + 3]);
    }
    memcpy(above, p->rgb, (size_t)n * sizeof *above);
    for (int y = 1; y < p->side - 1; y++) {
        float *row = p->rgb + y * n;
        memcpy(was, row, (size_t)n * sizeof *row);
        for (int i = 0; i < n; i++) row[i] = 0.25f * (above[i] + 2 * was[i] + row[i + n]);
        memcpy(above, was, (size_t)n * sizeof *above);
    }
}

static uint8_t to_byte(float v)
{
    v = v > 0 ? v : 0;
    v = v < 255 ? v : 255;
    return (uint8_t)(int)(v + 0.5f);
}

/* Sometimes out of focus; noise; bytes. */
static void expose(tlvi_plate *p, tlvi_dice *d, uint8_t *out)
{
    float noise = tlvi_dice_in(d, 0, 9);
    if (tlvi_dice_below(d, 10) < 3) soften(p);
    for (int y = 0; y < p->side; y++, out += 3 * p->side) {
        const float *row = p->rgb + 3 * y * p->side;
        int n = 3 * p->side, sum[3 * MOST_SIDE + 4];    // of two bytes: a triangle, about a bell
        for (int i = 0; i < n; i += 4) {
            uint64_t bits = tlvi_dice_u64(d);
            for (int k = 0; k < 4; k++)
                sum[i + k] = (int)(bits >> 16 * k & 255) + (int)(bits >> (16 * k + 8) & 255);
        }
        for (int i = 0; i < n; i++)
            out[i] = to_byte(row[i] + ((float)sum[i] * (1.0f / 255) - 1) * noise);
    }
}

/* ---- an image -------------------------------------------------------------------------------- */

static size_t plate_bytes(int side)
{
    size_t n = (size_t)side * (size_t)side;
    return 5 * n * sizeof(float) + TLVI_TABLE * TLVI_TABLE;
}

static void draw(void *mem, tlv_surface s, tlv_defect f, int side, tlv_rng_key key, uint8_t *rgb,
                 uint8_t *mask)
{
    int n = side * side;
    tlvi_plate p = { .side = side, .rgb = mem };
    tlvi_dice d = { key.k };
    p.cover = p.rgb + 3 * n;
    p.mark = p.cover + n;
    p.table = (uint8_t *)(p.mark + n);
    fill_table(&p, &d);
    tlvi_dice_turn(&d, p.light);
    lay(&p, s, &d);
    tlvi_defects_draw(&p, f, &d);
    shine(&p, s, &d);
    expose(&p, &d, rgb);
    for (int i = 0; mask && i < n; i++) mask[i] = p.mark[i] > 0.4f ? 255 : 0;
}

tlv_status tlv_surface_draw(tlv_ctx *c, tlv_surface s, tlv_defect d, int size, tlv_rng_key key,
                            tlv_image *out, tlv_image *mask)
{
    *out = (tlv_image){ 0 };
    if (mask) *mask = (tlv_image){ 0 };
    if (c->err) return c->err;
    TLVI_CHECK(c, (unsigned)s < TLV_SURFACES && (unsigned)d < TLV_DEFECTS, TLV_ERR_ARG,
               "see tlv_surface and tlv_defect", "surface_draw: surface %d, defect %d", (int)s,
               (int)d);
    TLVI_CHECK(c, size >= LEAST_SIDE && size <= MOST_SIDE, TLV_ERR_ARG,
               "images of 32 to 1024 pixels a side", "surface_draw: size %d", size);
    void *mem = tlvi_alloc(c, plate_bytes(size));
    if (mem && tlv_image_new(c, size, size, TLV_RGB, 8, out) == TLV_OK
        && (!mask || tlv_image_new(c, size, size, TLV_GREY, 8, mask) == TLV_OK))
        draw(mem, s, d, size, key, out->samples, mask ? mask->samples : NULL);
    if (mem) tlvi_free(c, mem, plate_bytes(size));
    if (c->err) tlv_image_close(out);
    return c->err;
}

/* ---- the set --------------------------------------------------------------------------------- */

/* The set's images are the same whatever the context's seed is. */
static tlv_rng_key set_key(const char *split, uint64_t seed)
{
    static const uint64_t SET = 0x5u;
    unsigned bit = split ? tlvi_split_bit(split) : TLVI_TRAIN;
    uint64_t part = bit == TLVI_TRAIN ? 1 : bit == TLVI_VAL ? 2 : 3;
    tlv_rng_key key = tlv_rng_fold((tlv_rng_key){ SET }, part);
    return seed ? tlv_rng_fold(key, seed) : key;
}

static tlv_surface surface_of(int64_t i) { return (tlv_surface)(i / TLV_DEFECTS % TLV_SURFACES); }
static tlv_defect defect_of(int64_t i) { return (tlv_defect)(i % TLV_DEFECTS); }

tlv_status tlv_surface_example(tlv_ctx *c, const char *split, uint64_t seed, int64_t i, int size,
                               tlv_image *out, tlv_image *mask)
{
    *out = (tlv_image){ 0 };
    if (mask) *mask = (tlv_image){ 0 };
    if (c->err) return c->err;
    TLVI_CHECK(c, !split || tlvi_split_bit(split), TLV_ERR_ARG, "splits are train, val and test",
               "surface_example: there is no split '%s'", split);
    TLVI_CHECK(c, i >= 0, TLV_ERR_INDEX, "count from 0", "surface_example: image %lld",
               (long long)i);
    tlv_rng_key key = tlv_rng_fold(set_key(split, seed), (uint64_t)i);
    return tlv_surface_draw(c, surface_of(i), defect_of(i), size, key, out, mask);
}

typedef struct draw_job {
    tlv_dataset *d;
    tlv_rng_key key;
    char *scratch;
} draw_job;

static void draw_one(void *arg, int64_t i, int worker)
{
    const draw_job *j = arg;
    tlv_rng_key key = tlv_rng_fold(j->key, (uint64_t)i);
    draw(j->scratch + (size_t)worker * plate_bytes(SET_SIDE), surface_of(i), defect_of(i), SET_SIDE,
         key, j->d->pixels + (size_t)i * 3 * SET_SIDE * SET_SIDE, NULL);
}

/* surfaces:N */
tlv_status tlvi_draw_surfaces(tlv_dataset *d, int64_t per_class, const char *split)
{
    tlv_ctx *c = d->c;
    d->n = per_class * TLV_DEFECTS;
    d->h = d->w = SET_SIDE;
    d->channels = 3;
    if (!tlvi_dataset_alloc(d)) return c->err;
    for (int k = 0; k < TLV_DEFECTS; k++)
        if (!tlvi_dataset_add_class(d, DEFECT[k])) return c->err;
    for (int64_t i = 0; i < d->n; i++) d->label[i] = (int32_t)(i % TLV_DEFECTS);
    size_t bytes = (size_t)tlv_threads(c) * plate_bytes(SET_SIDE);
    draw_job j = { d, set_key(split, 0), tlvi_alloc(c, bytes) };
    if (!j.scratch) return c->err;
    tlvi_parallel_for(c, d->n, 200000, draw_one, &j);
    tlvi_free(c, j.scratch, bytes);
    snprintf(d->text, sizeof d->text, "drawn surfaces %s, %lld images 64x64 RGB, 6 classes",
             split ? split : "train", (long long)d->n);
    return c->err;
}
