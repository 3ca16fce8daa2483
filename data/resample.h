/* resample.h -- a resize of which only a part is computed, of a picture that may be a part. */
#ifndef TLVI_RESAMPLE_H
#define TLVI_RESAMPLE_H

#include "data/data.h"
#include "tensor/core.h"

/* 8-bit pixels, rows `stride` bytes apart, in memory that others own. */
typedef struct tlvi_raster {
    const uint8_t *px;
    int h, w;
    tlv_pixels kind;
    size_t stride;
} tlvi_raster;

typedef struct tlvi_window { int top, left, h, w; } tlvi_window;

static inline int tlvi_channels(tlv_pixels kind)
{
    return kind == TLV_CMYK ? 4 : (int)kind;
}

/* m's pixels, or those of a window that lies inside of it. */
tlvi_raster tlvi_raster_of(const tlv_image *m);
tlvi_raster tlvi_raster_part(const tlvi_raster *r, tlvi_window w);

/* An empty *out of m's context, after checks that m holds 8-bit pixels and that none of its sizes
 * and out's is out of range. */
tlv_status tlvi_image_like(const char *who, const tlv_image *m, int h, int w, tlv_pixels kind,
                           tlv_image *out);

/* The shorter side becomes `side`, the longer one int(side * long / short); 0 where that is not
 * possible. */
int tlvi_short_size(int h, int w, int side, int *to_h, int *to_w);

/* Pixels `part` (inside of h x w) of what in's box would become when resized to h x w; out has
 * part.h rows, out_stride apart.  Pillow's rule, which see in resample.c. */
tlv_status tlvi_resample(tlv_ctx *c, const tlvi_raster *in, const float box[4], int h, int w,
                         tlv_filter filter, tlvi_window part, uint8_t *out, size_t out_stride);

/* Rows top .. top+h-1, columns left .. left+w-1 of in, black outside of it, to y[h,w]. */
void tlvi_copy_part(const tlvi_raster *in, int top, int left, int h, int w, uint8_t *y);
/* Where a centre crop of `want` of `have` begins; negative where it is larger. */
int tlvi_center(int have, int want);

#endif
