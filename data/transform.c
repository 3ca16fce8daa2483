/* transform.c -- cutting, mirroring, turning by any angle; as Pillow's crop and rotate and
 * torchvision's center_crop. */
#include <math.h>

#include "data/resample.h"

/* ---- cutting --------------------------------------------------------------------------------- */

void tlvi_copy_part(const tlvi_raster *in, int top, int left, int h, int w, uint8_t *y)
{
    int64_t ch = tlvi_channels(in->kind), row = w * ch;
    int64_t from = left < 0 ? -(int64_t)left : 0, to = (int64_t)in->w - left;
    from = from > w ? w : from;                             // columns from .. to-1 are there
    to = to > w ? w : to;
    for (int64_t i = 0; i < h; i++, y += row) {
        int64_t at = top + i;
        if (at < 0 || at >= in->h || from >= to) {
            memset(y, 0, (size_t)row);
            continue;
        }
        memset(y, 0, (size_t)(from * ch));
        memcpy(y + from * ch, in->px + (size_t)at * in->stride + (size_t)((left + from) * ch),
               (size_t)((to - from) * ch));
        memset(y + to * ch, 0, (size_t)((w - to) * ch));
    }
}

tlv_status tlv_image_crop(const tlv_image *m, int top, int left, int h, int w, tlv_image *out)
{
    if (tlvi_image_like("image_crop", m, h, w, m->kind, out)) return m->c->err;
    tlvi_raster r = tlvi_raster_of(m);
    tlvi_copy_part(&r, top, left, h, w, out->samples);
    return TLV_OK;
}

/* torchvision pads what is too small by floor((want - have) / 2) before, and cuts the rest at
 * round((have - want) / 2), half to even. */
int tlvi_center(int have, int want)
{
    if (want >= have) return -((want - have) / 2);
    int gap = have - want;
    return gap % 2 == 0 ? gap / 2 : gap / 2 + gap / 2 % 2;
}

tlv_status tlv_image_center_crop(const tlv_image *m, int h, int w, tlv_image *out)
{
    if (tlvi_image_like("image_center_crop", m, h, w, m->kind, out)) return m->c->err;
    tlvi_raster r = tlvi_raster_of(m);
    tlvi_copy_part(&r, tlvi_center(m->h, h), tlvi_center(m->w, w), h, w, out->samples);
    return TLV_OK;
}

/* ---- mirroring ------------------------------------------------------------------------------- */

void tlv_image_mirror(tlv_image *m)
{
    size_t px = (size_t)m->channels * (size_t)m->depth / 8, w = (size_t)m->w;
    uint8_t *row = m->samples;
    for (int y = 0; y < m->h; y++, row += w * px)
        for (size_t x = 0; x < w / 2; x++) {
            uint8_t t[8], *a = row + x * px, *b = row + (w - 1 - x) * px;
            memcpy(t, a, px);
            memcpy(a, b, px);
            memcpy(b, t, px);
        }
}

void tlv_image_flip(tlv_image *m)
{
    size_t row = (size_t)m->w * (size_t)m->channels * (size_t)m->depth / 8;
    uint8_t *a = m->samples, t[256];
    for (int y = 0; y < m->h / 2; y++)
        for (size_t x = 0; x < row; x += sizeof t) {
            size_t n = row - x < sizeof t ? row - x : sizeof t;
            uint8_t *p = a + (size_t)y * row + x, *q = a + (size_t)(m->h - 1 - y) * row + x;
            memcpy(t, p, n);
            memcpy(p, q, n);
            memcpy(q, t, n);
        }
}
