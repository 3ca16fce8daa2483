/* prepare.h -- the steps of prepare.c that batches take by themselves. */
#ifndef TLVI_PREPARE_H
#define TLVI_PREPARE_H

#include "data/resample.h"

enum { TLVI_MAX_PAD = 4096, TLVI_NORMAL_PERIOD = 48 };

tlv_status tlvi_augment_check(tlv_ctx *c, const char *who, const tlv_recipe *r,
                              const tlv_augment *a);

/* What pad_crop and flip draw: pixel y, x is the image's y + dy, x + dx; mirrored afterwards. */
typedef struct tlvi_shift { int dy, dx, mirror; } tlvi_shift;
tlvi_shift tlvi_draw_shift(const tlv_augment *a, tlv_rng_key key);

/* value = byte * scale + shift, channel i % 3. */
typedef struct tlvi_normal {
    float scale[TLVI_NORMAL_PERIOD], shift[TLVI_NORMAL_PERIOD];
    int bgr;
} tlvi_normal;
void tlvi_normal_make(tlvi_normal *t, const tlv_recipe *r);
/* n pixels of RGB or grey (channels 3 or 1) to n x 3 floats in the recipe's order. */
void tlvi_normal_pixels(const tlvi_kernels *k, const tlvi_normal *t, size_t n, int channels,
                        const uint8_t *px, float *out);

#endif
