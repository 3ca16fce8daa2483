/* prepare.c -- from a picture to what a network takes: cut, resize, change at random, normalise.
 *
 * A centre crop of a resize computes just the pixels that are kept; a random crop is resized where
 * it lies.  Draw i under the key always serves the same purpose (see `draw`). */
#include <math.h>

#include "data/prepare.h"

enum draw {
    DRAW_DY, DRAW_DX, DRAW_MIRROR, DRAW_FLIP, DRAW_ANGLE,
    DRAW_FACTOR,                        /* 4 of them: brightness, contrast, saturation, hue */
    DRAW_ORDER = DRAW_FACTOR + 4,       /* 3: a permutation of these */
    DRAW_CROP = 16,                     /* 4 a try: area, ratio, top, left */
    TRIES = 10
};

static double between(tlv_rng_key key, int i, double lo, double hi)
{
    return lo + tlv_rng_uniform(key, (uint64_t)i) * (hi - lo);
}

/* ---- checks ---------------------------------------------------------------------------------- */

tlv_status tlvi_augment_check(tlv_ctx *c, const char *who, const tlv_recipe *r,
                              const tlv_augment *a)
{
    if (c->err) return c->err;
    TLVI_CHECK(c, r && r->size >= 1 && r->size <= 1 << 14 && r->resize >= 0
                      && r->filter >= TLV_FILTER_BILINEAR && r->filter <= TLV_FILTER_NEAREST,
               TLV_ERR_ARG, "size is 1 to 16384, resize 0 or more, filter one of TLV_FILTER_*",
               "%s: size %d, resize %d, filter %d", who, r ? r->size : 0, r ? r->resize : 0,
               r ? (int)r->filter : 0);
    if (!a) return TLV_OK;
    TLVI_CHECK(c, a->pad_crop >= 0 && a->pad_crop <= TLVI_MAX_PAD, TLV_ERR_ARG,
               "pad_crop is 0 to 4096", "%s: pad_crop %d", who, a->pad_crop);
    TLVI_CHECK(c, a->area[0] >= 0 && a->area[0] <= a->area[1] && a->area[1] <= 1, TLV_ERR_ARG,
               "area is from .. to, shares of 1", "%s: area %g to %g", who, a->area[0], a->area[1]);
    TLVI_CHECK(c, (a->ratio[0] == 0 && a->ratio[1] == 0)
                      || (a->ratio[0] > 0 && a->ratio[0] <= a->ratio[1] && a->ratio[1] <= 1e6),
               TLV_ERR_ARG, "ratio is from .. to, above 0", "%s: ratio %g to %g", who, a->ratio[0],
               a->ratio[1]);
    TLVI_CHECK(c, a->rotate >= 0 && a->rotate <= 360 && a->brightness >= 0 && a->brightness <= 1e3
                      && a->contrast >= 0 && a->contrast <= 1e3 && a->saturation >= 0
                      && a->saturation <= 1e3 && a->hue >= 0 && a->hue <= 0.5,
               TLV_ERR_ARG, "rotate is 0 to 360, factors are 0 or more, hue is 0 to 0.5",
               "%s: rotate %g, brightness %g, contrast %g, saturation %g, hue %g", who, a->rotate,
               a->brightness, a->contrast, a->saturation, a->hue);
    return TLV_OK;
}

/* ---- cuts ------------------------------------------------------------------------------------ */

/* torchvision's RandomResizedCrop.get_params. */
static tlvi_window random_window(const tlvi_raster *in, const tlv_augment *a, tlv_rng_key key)
{
    int given = a->ratio[1] > 0;
    double lo = given ? a->ratio[0] : 3.0 / 4, hi = given ? a->ratio[1] : 4.0 / 3;
    double all = (double)in->h * in->w;
    for (int t = 0; t < TRIES; t++) {
        int i = DRAW_CROP + 4 * t;
        double area = all * between(key, i, a->area[0], a->area[1]);
        double ratio = exp(between(key, i + 1, log(lo), log(hi)));
        double w = rint(sqrt(area * ratio)), h = rint(sqrt(area / ratio));
        if (w < 1 || h < 1 || w > in->w || h > in->h) continue;
        tlvi_window p = { 0, 0, (int)h, (int)w };
        p.top = (int)tlv_rng_below(key, (uint64_t)i + 2, in->h - p.h + 1);
        p.left = (int)tlv_rng_below(key, (uint64_t)i + 3, in->w - p.w + 1);
        return p;
    }
    // none fits: as much as the ratios allow, from the middle
    double ratio = (double)in->w / in->h, h = in->h, w = in->w;
    if (ratio < lo) h = rint(w / lo);
    else if (ratio > hi) w = rint(h * hi);
    tlvi_window p = { 0, 0, h < 1 ? 1 : (int)h, w < 1 ? 1 : (int)w };
    p.top = (in->h - p.h) / 2;
    p.left = (in->w - p.w) / 2;
    return p;
}

/* Resize and centre crop as the recipe says, to out[size,size,3]. */
static tlv_status by_recipe(tlv_ctx *c, const tlvi_raster *in, const tlv_recipe *r, uint8_t *out)
{
    const float all[4] = { 0, 0, (float)in->w, (float)in->h };
    int h = r->size, w = r->size;
    size_t row = (size_t)r->size * 3;
    tlvi_window part = { 0, 0, h, w };
    if (r->resize > 0) {
        TLVI_CHECK(c, tlvi_short_size(in->h, in->w, r->resize, &h, &w), TLV_ERR_ARG,
                   "such an image cannot keep its aspect: use a recipe with resize 0",
                   "image_prepare: shorter side %d of an image %d high and %d wide", r->resize,
                   in->h, in->w);
        int top = tlvi_center(h, r->size), left = tlvi_center(w, r->size);
        if (top < 0 || left < 0) memset(out, 0, row * (size_t)r->size);
        part = (tlvi_window){ top < 0 ? 0 : top, left < 0 ? 0 : left, h < r->size ? h : r->size,
                              w < r->size ? w : r->size };
        out += (size_t)(top < 0 ? -top : 0) * row + (size_t)(left < 0 ? -left : 0) * 3;
    }
    return tlvi_resample(c, in, all, h, w, r->filter, part, out, row);
}

static tlv_status pad_crop(tlv_ctx *c, const tlvi_raster *in, const tlv_recipe *r, int dy, int dx,
                           uint8_t *out)
{
    size_t row = (size_t)in->w * 3, bytes = row * (size_t)in->h;
    uint8_t *px = tlvi_alloc(c, bytes);
    if (!px) return c->err;
    tlvi_copy_part(in, dy, dx, in->h, in->w, px);
    by_recipe(c, &(tlvi_raster){ px, in->h, in->w, TLV_RGB, row }, r, out);
    tlvi_free(c, px, bytes);
    return c->err;
}

/* ---- random changes -------------------------------------------------------------------------- */

tlvi_shift tlvi_draw_shift(const tlv_augment *a, tlv_rng_key key)
{
    tlvi_shift s = { 0, 0, 0 };
    if (a->flip) s.mirror = (int)tlv_rng_below(key, DRAW_MIRROR, 2);
    if (a->pad_crop > 0) {
        s.dy = (int)tlv_rng_below(key, DRAW_DY, 2 * a->pad_crop + 1) - a->pad_crop;
        s.dx = (int)tlv_rng_below(key, DRAW_DX, 2 * a->pad_crop + 1) - a->pad_crop;
        if (s.mirror) s.dx = -s.dx;             // the draw moves the image as it is seen at last
    }
    return s;
}

static tlv_status jitter(tlv_image *m, const tlv_augment *a, tlv_rng_key key)
{
    const double range[4] = { a->brightness, a->contrast, a->saturation, a->hue };
    int order[4] = { 0, 1, 2, 3 };
    for (int i = 3; i > 0; i--) {
        int j = (int)tlv_rng_below(key, (uint64_t)(DRAW_ORDER + 3 - i), i + 1), t = order[i];
        order[i] = order[j];
        order[j] = t;
    }
    for (int i = 0; i < 4; i++) {
        int k = order[i];
        if (range[k] <= 0) continue;
        double lo = k == 3 ? -range[k] : range[k] > 1 ? 0 : 1 - range[k];
        double v = between(key, DRAW_FACTOR + k, lo, k == 3 ? range[k] : 1 + range[k]);
        switch (k) {
        case 0: tlv_image_brightness(m, v); break;
        case 1: tlv_image_contrast(m, v); break;
        case 2: tlv_image_saturation(m, v); break;
        default: tlv_image_hue(m, v); break;
        }
    }
    return m->c->err;
}

static tlv_status change(tlv_image *m, const tlv_augment *a, tlv_rng_key key)
{
    if (tlvi_draw_shift(a, key).mirror) tlv_image_mirror(m);
    if (a->vertical && tlv_rng_below(key, DRAW_FLIP, 2)) tlv_image_flip(m);
    if (a->rotate > 0) {
        tlv_image r;
        double by = between(key, DRAW_ANGLE, -a->rotate, a->rotate);
        if (tlv_image_rotate(m, by, TLV_FILTER_BILINEAR, &r)) return m->c->err;
        tlv_image_close(m);
        *m = r;
    }
    return jitter(m, a, key);
}

/* ---- a picture ------------------------------------------------------------------------------- */

/* m itself if it is upright RGB of 8 bits, else a copy that is (to be closed). */
static tlv_status upright_rgb(const tlv_image *m, tlv_image *copy, const tlv_image **rgb)
{
    *copy = (tlv_image){ 0 };
    *rgb = m;
    if (m->kind == TLV_RGB && m->depth == 8 && m->orientation <= 1) return TLV_OK;
    if (tlv_image_new(m->c, m->h, m->w, m->kind, m->depth, copy)) return m->c->err;
    memcpy(copy->samples, m->samples, m->bytes);
    copy->orientation = m->orientation;
    *rgb = copy;
    if (tlv_image_convert(copy, TLV_RGB) == TLV_OK) tlv_image_orient(copy);
    return m->c->err;
}

tlv_status tlv_image_prepare(const tlv_image *m, const tlv_recipe *recipe, const tlv_augment *a,
                             tlv_rng_key key, tlv_image *out)
{
    tlv_ctx *c = m->c;
    tlv_image copy;
    const tlv_image *rgb;
    *out = (tlv_image){ 0 };
    if (tlvi_augment_check(c, "image_prepare", recipe, a)) return c->err;
    TLVI_CHECK(c, m->samples && m->h > 0 && m->w > 0, TLV_ERR_ARG, "read or make the image first",
               "image_prepare: the image is empty");
    if (upright_rgb(m, &copy, &rgb) == TLV_OK
        && tlv_image_new(c, recipe->size, recipe->size, TLV_RGB, 8, out) == TLV_OK) {
        tlvi_raster in = tlvi_raster_of(rgb);
        tlvi_shift s = a ? tlvi_draw_shift(a, key) : (tlvi_shift){ 0, 0, 0 };
        if (a && a->area[1] > 0) {
            tlvi_window p = random_window(&in, a, key);
            const float all[4] = { 0, 0, (float)p.w, (float)p.h };
            tlvi_raster part = tlvi_raster_part(&in, p);
            tlvi_resample(c, &part, all, out->h, out->w, recipe->filter,
                          (tlvi_window){ 0, 0, out->h, out->w }, out->samples, (size_t)out->w * 3);
        } else if (s.dy || s.dx) {
            pad_crop(c, &in, recipe, s.dy, s.dx, out->samples);
        } else {
            by_recipe(c, &in, recipe, out->samples);
        }
        if (a && c->err == TLV_OK) change(out, a, key);
    }
    tlv_image_close(&copy);
    if (c->err) tlv_image_close(out);
    return c->err;
}

/* ---- to floats ------------------------------------------------------------------------------- */

void tlvi_normal_make(tlvi_normal *t, const tlv_recipe *r)
{
    for (int i = 0; i < TLVI_NORMAL_PERIOD; i++) {
        double std = r->std[i % 3] != 0 ? r->std[i % 3] : 1;
        t->scale[i] = (float)(1 / (255 * std));
        t->shift[i] = (float)(-r->mean[i % 3] / std);
    }
    t->bgr = r->bgr;
}

void tlvi_normal_pixels(const tlvi_kernels *k, const tlvi_normal *t, size_t n, int channels,
                        const uint8_t *px, float *out)
{
    uint8_t block[TLVI_NORMAL_PERIOD * 16];
    while (channels == 1 || t->bgr) {                   // through a block with the samples in place
        size_t m = n < sizeof block / 3 ? n : sizeof block / 3;
        if (m == 0) return;
        for (size_t i = 0; i < m; i++)
            for (size_t j = 0; j < 3; j++)
                block[3 * i + j] = channels == 1 ? px[i] : px[3 * i + 2 - j];
        k->f32->scale_bytes(3 * m, block, t->scale, t->shift, out);
        px += m * (size_t)channels;
        out += 3 * m;
        n -= m;
    }
    k->f32->scale_bytes(3 * n, px, t->scale, t->shift, out);
}

void tlv_image_normalize(const tlv_image *m, const tlv_recipe *recipe, float *out)
{
    if (!m->samples || m->depth != 8 || (m->kind != TLV_RGB && m->kind != TLV_GREY)) {
        tlvi_fail(m->c, TLV_ERR_ARG, "pass an image from tlv_image_prepare",
                  "image_normalize: kind %d, %d bits", (int)m->kind, m->depth);
        return;
    }
    tlvi_normal t;
    tlvi_normal_make(&t, recipe);
    tlvi_normal_pixels(m->c->k, &t, (size_t)m->h * (size_t)m->w, m->channels, m->samples, out);
}
