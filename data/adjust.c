/* adjust.c -- brightness, contrast, saturation and hue, to the bit as torchvision 0.14's adjust_*
 * on Pillow images: blends with black, the mean grey or the grey image in f32, cut to whole
 * numbers (Pillow's ImageEnhance, Blend.c), and a turn of Pillow's 8-bit HSV (Convert.c). */
#include <math.h>

#include "data/resample.h"

static tlv_status adjustable(const char *who, const tlv_image *m, double v, double lo, double hi)
{
    tlv_ctx *c = m->c;
    if (c->err) return c->err;
    TLVI_CHECK(c, m->samples && m->depth == 8 && (m->kind == TLV_RGB || m->kind == TLV_GREY),
               TLV_ERR_ARG, "tlv_image_convert makes 8-bit RGB",
               "%s: the image has kind %d and %d bits, not RGB or grey and 8", who, (int)m->kind,
               m->depth);
    TLVI_CHECK(c, v >= lo && v <= hi, TLV_ERR_ARG, "factors are 0 or more, a hue is -0.5 to 0.5",
               "%s: %g is not in %g to %g", who, v, lo, hi);
    return TLV_OK;
}

static uint8_t blend(uint8_t from, uint8_t to, float a)
{
    float v = (float)from + a * (float)((int)to - (int)from);
    return (uint8_t)(v <= 0 ? 0 : v >= 255 ? 255 : v);
}

static uint8_t grey_of(const uint8_t *p)
{
    return (uint8_t)((p[0] * 19595u + p[1] * 38470u + p[2] * 7471u + 0x8000u) >> 16);
}

/* Every sample between one level (factor 0) and what it is (factor 1). */
static void blend_with(tlv_image *m, uint8_t level, double factor)
{
    uint8_t *p = m->samples, to[256];
    for (int v = 0; v < 256; v++) to[v] = blend(level, (uint8_t)v, (float)factor);
    for (size_t i = 0; i < m->bytes; i++) p[i] = to[p[i]];
}

tlv_status tlv_image_brightness(tlv_image *m, double factor)
{
    if (adjustable("image_brightness", m, factor, 0, 1e6)) return m->c->err;
    blend_with(m, 0, factor);
    return TLV_OK;
}

tlv_status tlv_image_contrast(tlv_image *m, double factor)
{
    if (adjustable("image_contrast", m, factor, 0, 1e6)) return m->c->err;
    const uint8_t *p = m->samples;
    size_t n = (size_t)m->h * (size_t)m->w;
    uint64_t sum = 0;
    for (size_t i = 0; i < n; i++) sum += m->kind == TLV_RGB ? grey_of(p + 3 * i) : p[i];
    blend_with(m, (uint8_t)((double)sum / (double)n + 0.5), factor);
    return TLV_OK;
}

tlv_status tlv_image_saturation(tlv_image *m, double factor)
{
    if (adjustable("image_saturation", m, factor, 0, 1e6)) return m->c->err;
    if (m->kind == TLV_GREY) return TLV_OK;
    uint8_t *p = m->samples;
    for (size_t i = 0; i < m->bytes; i += 3, p += 3) {
        uint8_t grey = grey_of(p);
        for (int k = 0; k < 3; k++) p[k] = blend(grey, p[k], (float)factor);
    }
    return TLV_OK;
}

/* ---- hue ------------------------------------------------------------------------------------- */

/* Hue and saturation of a colour, 0 to 255; value is the largest of the three. */
static void hue_of(const uint8_t *p, uint8_t max, uint8_t min, uint8_t *hue, uint8_t *saturation)
{
    float range = (float)(max - min), h;
    float r = (float)(max - p[0]) / range, g = (float)(max - p[1]) / range,
          b = (float)(max - p[2]) / range;
    if (p[0] == max) h = b - g;
    else if (p[1] == max) h = (float)(2.0 + (double)r - (double)b);
    else h = (float)(4.0 + (double)g - (double)r);
    h = (float)fmod((double)h / 6.0 + 1.0, 1.0);
    *hue = (uint8_t)((double)h * 255.0);
    *saturation = (uint8_t)((double)(range / (float)max) * 255.0);
}

static uint8_t whole(double v) { return (uint8_t)(v < 0 ? 0 : v > 255 ? 255 : round(v)); }

static void colour_of(uint8_t hue, uint8_t saturation, uint8_t value, uint8_t *p)
{
    if (saturation == 0) {
        p[0] = p[1] = p[2] = value;
        return;
    }
    double sixth = (double)(float)hue * 6.0 / 255.0;
    int i = (int)sixth;
    float f = (float)(sixth - (double)(float)i), s = (float)((double)(float)saturation / 255.0);
    uint8_t low = whole((double)value * (1.0 - (double)s));
    uint8_t falling = whole((double)value * (1.0 - (double)(s * f)));
    uint8_t rising = whole((double)value * (1.0 - (double)s * (1.0 - (double)f)));
    const uint8_t of[6][3] = { { value, rising, low }, { falling, value, low },
                               { low, value, rising }, { low, falling, value },
                               { rising, low, value }, { value, low, falling } };
    memcpy(p, of[i % 6], 3);
}

tlv_status tlv_image_hue(tlv_image *m, double shift)
{
    if (adjustable("image_hue", m, shift, -0.5, 0.5)) return m->c->err;
    if (m->kind == TLV_GREY) return TLV_OK;
    uint8_t turn = (uint8_t)(int)(shift * 255), *p = m->samples;
    for (size_t i = 0; i < m->bytes; i += 3, p += 3) {
        uint8_t max = p[0] > p[1] ? p[0] : p[1], min = p[0] < p[1] ? p[0] : p[1];
        uint8_t hue = 0, saturation = 0;
        max = max > p[2] ? max : p[2];
        min = min < p[2] ? min : p[2];
        if (max > min) hue_of(p, max, min, &hue, &saturation);
        colour_of((uint8_t)(hue + turn), saturation, max, p);
    }
    return TLV_OK;
}
