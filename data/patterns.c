/* patterns.c -- drawn images to learn from without photographs: some fractals and contours on a
 * ground, each of a category that is to be recognised, several in an image (Anderson & Farrell
 * 2022, arXiv:2110.03091, section 3.3, "MultiGenerator").
 *
 * Categories are made once, from a key; an image from another.  A label counts what can be seen: an
 * object that others have covered, or that is only some specks, has none. */
#include <stdio.h>

#include "data/patterns.h"
#include "data/prepare.h"
#include "data/reader.h"

enum {
    FRACTALS = 120, CONTOURS = 80, TEXTURES = 60, OBJECTS = 3, MOST_CATEGORIES = 100000,
    LEAST_SIDE = 16, MOST_SIDE = 512, SET_SIDE = 64,
    LEAST_PIXELS = 16                   /* of an object, or a 200th of the image: to be seen */
};

struct tlv_patterns {
    tlv_ctx *c;
    int fractals, contours, textures, objects;
    tlvi_fractal *fractal;              /* [fractals] */
    tlvi_contour *contour;              /* [contours] */
    tlvi_texture *texture;              /* [textures] */
};

/* ---- categories ------------------------------------------------------------------------------ */

static tlvi_dice dice_of(tlv_rng_key k) { return (tlvi_dice){ k.k }; }

tlv_patterns *tlv_patterns_open(tlv_ctx *c, tlv_patterns_opts o)
{
    if (c->err) return NULL;
    if (o.fractals == 0 && o.contours == 0 && o.textures == 0) {
        o.fractals = FRACTALS;
        o.contours = CONTOURS;
        o.textures = TEXTURES;
    }
    if (o.objects == 0) o.objects = OBJECTS;
    TLVI_REQUIRE(c, o.fractals >= 0 && o.contours >= 0 && o.textures >= 0
                    && o.fractals <= MOST_CATEGORIES && o.contours <= MOST_CATEGORIES
                    && o.textures <= MOST_CATEGORIES && o.objects > 0
                    && o.objects <= TLVI_MOST_OBJECTS, TLV_ERR_ARG,
                 "0 to 100000 categories of each, 1 to 16 objects",
                 "patterns_open: %d fractals, %d contours, %d textures, %d objects", o.fractals,
                 o.contours, o.textures, o.objects);
    tlv_patterns *p = tlvi_alloc(c, sizeof *p);
    if (!p) return NULL;
    *p = (tlv_patterns){ .c = c, .fractals = o.fractals, .contours = o.contours,
                         .textures = o.textures, .objects = o.objects };
    p->fractal = tlvi_alloc(c, (size_t)o.fractals * sizeof *p->fractal + 1);
    p->contour = tlvi_alloc(c, (size_t)o.contours * sizeof *p->contour + 1);
    p->texture = tlvi_alloc(c, (size_t)o.textures * sizeof *p->texture + 1);
    if (!p->fractal || !p->contour || !p->texture) {
        tlv_patterns_close(p);
        return NULL;
    }
    tlv_rng_key key[3];
    for (int k = 0; k < 3; k++) key[k] = tlv_rng_fold(o.key, (uint64_t)k);
    for (int i = 0; i < o.fractals; i++)
        p->fractal[i] = tlvi_fractal_make(dice_of(tlv_rng_fold(key[0], (uint64_t)i)));
    for (int i = 0; i < o.contours; i++)
        p->contour[i] = tlvi_contour_make(dice_of(tlv_rng_fold(key[1], (uint64_t)i)));
    for (int i = 0; i < o.textures; i++)
        p->texture[i] = tlvi_texture_make(dice_of(tlv_rng_fold(key[2], (uint64_t)i)));
    return p;
}

void tlv_patterns_close(tlv_patterns *p)
{
    if (!p) return;
    if (p->fractal) tlvi_free(p->c, p->fractal, (size_t)p->fractals * sizeof *p->fractal + 1);
    if (p->contour) tlvi_free(p->c, p->contour, (size_t)p->contours * sizeof *p->contour + 1);
    if (p->texture) tlvi_free(p->c, p->texture, (size_t)p->textures * sizeof *p->texture + 1);
    tlvi_free(p->c, p, sizeof *p);
}

int tlv_patterns_labels(const tlv_patterns *p)
{
    return p->fractals + p->contours + p->textures;
}

/* ---- the sheet ------------------------------------------------------------------------------- */

static size_t sheet_bytes(int side)
{
    size_t n = (size_t)side * (size_t)side;
    size_t all = n * (4 * sizeof(float) + 2) + TLVI_POINTS * (sizeof(tlvi_point) + 1);
    return (all + 63) & ~(size_t)63;
}

static tlvi_sheet sheet_in(void *mem, int side)
{
    size_t n = (size_t)side * (size_t)side;
    tlvi_sheet s = { .side = side, .rgb = mem };
    s.cover = s.rgb + 3 * n;
    s.point = (tlvi_point *)(void *)(s.cover + n);
    s.tag = (uint8_t *)(s.point + TLVI_POINTS);
    s.owner = s.tag + TLVI_POINTS;
    s.shade = s.owner + n;
    return s;
}

tlvi_box4 tlvi_box_around(const tlvi_sheet *s, const tlvi_pose *p, float more)
{
    float r = p->half * more + 1, side = (float)s->side;
    float x0 = p->x - r, y0 = p->y - r, x1 = p->x + r + 1, y1 = p->y + r + 1;
    tlvi_box4 b = { x0 > 0 ? (int)x0 : 0, y0 > 0 ? (int)y0 : 0, x1 < side ? (int)x1 : s->side,
                    y1 < side ? (int)y1 : s->side };
    return b;
}

void tlvi_sheet_clear(tlvi_sheet *s, tlvi_box4 b)
{
    for (int y = b.y0; y < b.y1 && b.x0 < b.x1; y++)
        memset(s->cover + y * s->side + b.x0, 0, (size_t)(b.x1 - b.x0) * sizeof(float));
}

void tlvi_sheet_blend(tlvi_sheet *s, tlvi_box4 b, const float color[3][3], int number)
{
    for (int y = b.y0; y < b.y1; y++)
        for (int x = b.x0; x < b.x1; x++) {
            int i = y * s->side + x;
            float a = s->cover[i] > 1 ? 1 : s->cover[i];
            if (!(a > 0)) continue;
            const float *to = color[s->shade[i]];
            float *at = s->rgb + 3 * i;
            for (int k = 0; k < 3; k++) at[k] += a * (to[k] - at[k]);
            if (a > 0.4f) tlvi_sheet_own(s, i, number);
        }
}

/* ---- an image -------------------------------------------------------------------------------- */

static float light(const float c[3]) { return 0.3f * c[0] + 0.59f * c[1] + 0.11f * c[2]; }

static float light_around(const tlvi_sheet *s, const tlvi_pose *p)
{
    tlvi_box4 b = tlvi_box_around(s, p, 0.7f);
    float sum = 0;
    int n = 0;
    for (int y = b.y0; y < b.y1; y += 2)
        for (int x = b.x0; x < b.x1; x += 2, n++) sum += light(s->rgb + 3 * (y * s->side + x));
    return n ? sum / (float)n : 128;
}

/* A colour that stands out from the light around; the others of an object are near it. */
static void choose_colors(const tlvi_sheet *s, tlvi_pose *p, tlvi_dice *d)
{
    float around = light_around(s, p), off, near = tlvi_dice_in(d, 0, 90);
    do {
        for (int k = 0; k < 3; k++) p->color[0][k] = tlvi_dice_in(d, 0, 255);
        off = light(p->color[0]) - around;
    } while (off < 45 && off > -45);
    for (int i = 1; i < 3; i++)
        for (int k = 0; k < 3; k++)
            p->color[i][k] = p->color[0][k] + tlvi_dice_in(d, -near, near);
}

/* The more objects, the smaller; one alone may fill the image.  They lean by up to 31 degrees and
 * no further: what is turned is another thing, in digits and letters as in photographs. */
static tlvi_pose choose_pose(const tlvi_sheet *s, int objects, tlvi_dice *d)
{
    float side = (float)s->side, most = objects == 1 ? 0.95f : objects == 2 ? 0.7f : 0.55f;
    tlvi_pose p = { .half = 0.5f * side * tlvi_dice_in(d, objects == 1 ? 0.45f : 0.28f, most) };
    float room = p.half * 0.8f;
    p.x = tlvi_dice_in(d, room, side - room);
    p.y = tlvi_dice_in(d, room, side - room);
    float lean = tlvi_dice_in(d, -0.6f, 0.6f), n = sqrtf(1 + lean * lean);
    p.turn[0] = 1 / n;
    p.turn[1] = lean / n;
    choose_colors(s, &p, d);
    return p;
}

/* A 3x3 mean: along each row, then along the columns with the rows as they were. */
static void blur(tlvi_sheet *s)
{
    enum { ROW = 3 * MOST_SIDE };
    float was[ROW], above[ROW];
    int n = 3 * s->side;
    for (int y = 0; y < s->side; y++) {
        float *row = s->rgb + y * n;
        memcpy(was, row, (size_t)n * sizeof *row);
        for (int i = 3; i < n - 3; i++) row[i] = (was[i - 3] + was[i] + was[i + 3]) * (1.0f / 3);
    }
    memcpy(above, s->rgb, (size_t)n * sizeof *above);
    for (int y = 1; y < s->side - 1; y++) {
        float *row = s->rgb + y * n;
        memcpy(was, row, (size_t)n * sizeof *row);
        for (int i = 0; i < n; i++) row[i] = (above[i] + was[i] + row[i + n]) * (1.0f / 3);
        memcpy(above, was, (size_t)n * sizeof *above);
    }
}

static uint8_t to_byte(float v)
{
    v = v > 0 ? v : 0;
    v = v < 255 ? v : 255;
    return (uint8_t)(int)(v + 0.5f);
}

/* Adds the sum of two bytes, a triangle and about a bell; one for all channels of a grey image. */
static void add_noise(tlvi_sheet *s, int grey, float height, tlvi_dice *d)
{
    for (int i = 0; i < s->side * s->side; i++) {
        uint64_t bits = tlvi_dice_u64(d);
        float *at = s->rgb + 3 * i;
        for (int k = 0; k < 3; k++, bits >>= grey ? 0 : 16)
            at[k] += ((float)(int)((bits & 255) + (bits >> 8 & 255)) / 255 - 1) * height;
    }
}

/* Grey for two images of five, soft for one of four, noise in every second one; then bytes. */
static void develop(tlvi_sheet *s, tlvi_dice *d, uint8_t *out)
{
    int grey = tlvi_dice_below(d, 5) < 2, n = s->side * s->side;
    if (tlvi_dice_below(d, 4) == 0) blur(s);
    for (int i = 0; grey && i < n; i++) {
        float *at = s->rgb + 3 * i;
        at[0] = at[1] = at[2] = light(at);
    }
    if (tlvi_dice_below(d, 2)) add_noise(s, grey, tlvi_dice_in(d, 0, 14), d);
    for (int i = 0; i < 3 * n; i++) out[i] = to_byte(s->rgb[i]);
}

static void put_object(tlvi_sheet *s, const tlv_patterns *p, int category, const tlvi_pose *pose,
                       int number, tlvi_dice *d)
{
    if (category < p->fractals) tlvi_fractal_draw(s, &p->fractal[category], pose, number, d);
    else tlvi_contour_draw(s, &p->contour[category - p->fractals], pose, number, d);
}

/* A texture of some category (or the one of `only`), or any other ground: which, or -1. */
static int lay_ground(tlvi_sheet *s, const tlv_patterns *p, int only, tlvi_dice *d)
{
    int objects = p->fractals + p->contours, textured = p->textures && tlvi_dice_below(d, 2);
    if (only >= 0) textured = only >= objects;
    if (!textured) {
        tlvi_leaves_ground(s, d);
        return -1;
    }
    int k = only >= 0 ? only - objects : tlvi_dice_below(d, p->textures);
    float a[3], b[3], off;
    do {                                            // two colours that can be told apart
        for (int i = 0; i < 3; i++) a[i] = tlvi_dice_in(d, 0, 255);
        for (int i = 0; i < 3; i++) b[i] = tlvi_dice_in(d, 0, 255);
        off = light(a) - light(b);
    } while (off < 30 && off > -30);
    tlvi_texture_ground(s, &p->texture[k], a, b, d);
    return objects + k;
}

/* `only`: the one category that is drawn; -1: any, several. */
static void draw(tlvi_sheet *s, const tlv_patterns *p, int only, tlv_rng_key key, uint8_t *pixels,
                 float *label)
{
    int labels = tlv_patterns_labels(p), category[TLVI_MOST_OBJECTS];
    int drawn[TLVI_MOST_OBJECTS];
    tlvi_dice d = dice_of(key);
    int objects = p->fractals + p->contours, n = 0;
    if (only >= 0) n = only < objects;
    else if (objects) n = 1 + tlvi_dice_below(&d, p->objects);
    memset(s->owner, TLVI_GROUND, (size_t)s->side * (size_t)s->side);
    memset(s->owned, 0, sizeof s->owned);
    s->owned[TLVI_GROUND] = s->side * s->side;
    int ground = lay_ground(s, p, only, &d);
    for (int i = 0; i < n; i++) {
        category[i] = only >= 0 ? only : tlvi_dice_below(&d, objects);
        tlvi_pose pose = choose_pose(s, n, &d);
        put_object(s, p, category[i], &pose, i + 1, &d);
        drawn[i] = s->owned[i + 1];
    }
    if (tlvi_dice_below(&d, 5) == 0) tlvi_leaves_over(s, 1 + tlvi_dice_below(&d, 4), &d);
    develop(s, &d, pixels);
    int least = s->side * s->side / 200;
    if (least < LEAST_PIXELS) least = LEAST_PIXELS;
    for (int k = 0; label && k < labels; k++) label[k] = 0;
    if (label && ground >= 0 && 3 * s->owned[TLVI_GROUND] >= s->side * s->side) label[ground] = 1;
    for (int i = 0; label && i < n; i++) {
        int seen = s->owned[i + 1];
        if (seen >= least && 2 * seen >= drawn[i]) label[category[i]] = 1;
    }
}

static tlv_status check_side(tlv_ctx *c, const char *what, int side)
{
    TLVI_CHECK(c, side >= LEAST_SIDE && side <= MOST_SIDE, TLV_ERR_ARG,
               "images of 16 to 512 pixels a side", "%s: size %d", what, side);
    return c->err;
}

tlv_status tlv_pattern_draw(tlv_ctx *c, const tlv_patterns *p, int size, tlv_rng_key key,
                            uint8_t *pixels, float *label)
{
    if (c->err || check_side(c, "pattern_draw", size) != TLV_OK) return c->err;
    size_t bytes = sheet_bytes(size);
    void *mem = tlvi_alloc(c, bytes);
    if (!mem) return c->err;
    tlvi_sheet s = sheet_in(mem, size);
    draw(&s, p, -1, key, pixels, label);
    tlvi_free(c, mem, bytes);
    return c->err;
}

/* ---- batches and sets ------------------------------------------------------------------------ */

enum { DRAW_NS = 150000 };

typedef struct draw_job {
    const tlv_patterns *p;
    const tlvi_kernels *k;
    tlvi_normal normal;
    int side;
    tlv_rng_key key;
    char *scratch;                      /* a sheet and an image of bytes for each worker */
    size_t scratch_bytes;
    float *x, *label;                   /* [n,side,side,3], [n,labels]; or: */
    const int32_t *only;                /* [n] the one category of each image, */
    uint8_t *pixels;                    /* [n,side,side,3] */
} draw_job;

static void draw_one(void *arg, int64_t i, int worker)
{
    const draw_job *j = arg;
    size_t n = (size_t)j->side * (size_t)j->side;
    char *mem = j->scratch + (size_t)worker * j->scratch_bytes;
    tlvi_sheet s = sheet_in(mem, j->side);
    tlv_rng_key key = tlv_rng_fold(j->key, (uint64_t)i);
    if (j->only) {
        draw(&s, j->p, j->only[i], key, j->pixels + (size_t)i * 3 * n, NULL);
        return;
    }
    uint8_t *bytes = (uint8_t *)mem + sheet_bytes(j->side);
    draw(&s, j->p, -1, key, bytes, j->label + i * tlv_patterns_labels(j->p));
    tlvi_normal_pixels(j->k, &j->normal, n, 3, bytes, j->x + (size_t)i * 3 * n);
}

static tlv_status draw_all(tlv_ctx *c, draw_job *j, int64_t n)
{
    size_t side = (size_t)j->side, all;
    j->scratch_bytes = sheet_bytes(j->side) + ((3 * side * side + 63) & ~(size_t)63);
    all = (size_t)tlv_threads(c) * j->scratch_bytes;
    j->scratch = tlvi_alloc(c, all);
    if (!j->scratch) return c->err;
    tlvi_parallel_for(c, n, DRAW_NS * (int64_t)(side * side) / (SET_SIDE * SET_SIDE), draw_one, j);
    tlvi_free(c, j->scratch, all);
    return c->err;
}

tlv_status tlv_patterns_batch(tlv_ctx *c, const tlv_patterns *p, int64_t n,
                              const tlv_recipe *recipe, tlv_rng_key key, tlv_tensor **x,
                              tlv_tensor **y)
{
    *x = *y = NULL;
    if (c->err || check_side(c, "patterns_batch", recipe->size) != TLV_OK) return c->err;
    TLVI_CHECK(c, n > 0, TLV_ERR_ARG, "at least one image", "patterns_batch: %lld images",
               (long long)n);
    int side = recipe->size;
    tlv_tensor *images = tlvi_new_image(c, TLV_F32, tlv_shape4(n, 3, side, side));
    tlv_tensor *labels = tlvi_new(c, TLV_F32, TLV_SHAPE(n, tlv_patterns_labels(p)));
    if (!images || !labels) return c->err;
    draw_job j = { .p = p, .k = c->k, .side = side, .key = key, .x = tlvi_f32(images),
                   .label = tlvi_f32(labels) };
    tlvi_normal_make(&j.normal, recipe);
    if (draw_all(c, &j, n) != TLV_OK) return c->err;
    *x = images;
    *y = labels;
    return TLV_OK;
}

/* patterns:N.  Image i is of category i mod 260 and depends on (seed, split, i) alone. */
tlv_status tlvi_draw_patterns(tlv_dataset *d, int64_t per_class, const char *split)
{
    tlv_ctx *c = d->c;
    int test = split && strcmp(split, "test") == 0;
    tlv_patterns *p = tlv_patterns_open(c, (tlv_patterns_opts){
                                               .key = tlv_rng_stream(c, "categories") });
    if (!p) return c->err;
    int labels = tlv_patterns_labels(p);
    d->n = per_class * labels;
    d->h = d->w = SET_SIDE;
    d->channels = 3;
    for (int k = 0; k < labels; k++) {
        char name[32];
        int from = k < p->fractals ? 0 : k < p->fractals + p->contours ? p->fractals
                                                                       : p->fractals + p->contours;
        snprintf(name, sizeof name, "%s %d", from == 0 ? "fractal" : from == p->fractals
                 ? "contour" : "texture", k - from);
        if (!tlvi_dataset_add_class(d, name)) break;
    }
    if (!c->err && tlvi_dataset_alloc(d)) {
        for (int64_t i = 0; i < d->n; i++) d->label[i] = (int32_t)(i % labels);
        draw_job j = { .p = p, .side = SET_SIDE, .only = d->label, .pixels = d->pixels,
                       .key = tlv_rng_fold(tlv_rng_stream(c, "pattern set"), (uint64_t)test) };
        draw_all(c, &j, d->n);
        snprintf(d->text, sizeof d->text, "drawn patterns %s, %lld images 64x64 RGB, %d classes",
                 test ? "test" : "train", (long long)d->n, labels);
    }
    tlv_patterns_close(p);
    return c->err;
}
