/* across.h -- convolutions of small images: the rows of a tile are the same pixel of neighbouring
 * images, so taps that leave the image cost nothing, and no image is copied. */
#ifndef TLVI_ACROSS_H
#define TLVI_ACROSS_H

#include "tensor/direct.h"

/* Whether v is of this kind and the shape speaks for it: the same answer at any number of threads.
 * dw: v is the gradient of the weights. */
int tlvi_across_takes(const tlvi_kset *k, const tlvi_conv *v, int dw);

/* As tlvi_conv_run, and with its bits where weights are finite (products with pixels outside are
 * left out), for n convolutions that share everything but taps and output: the phases of a stride.
 * Their weights are packed once. */
tlv_status tlvi_across_run(tlv_ctx *c, int64_t n, const tlvi_conv *v);

/* As tlvi_conv_dw_run.  A sum runs through all pixels in one order: none is cut. */
tlv_status tlvi_across_dw_run(tlv_ctx *c, const tlvi_conv *v, char *dw);

#endif
