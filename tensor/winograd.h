/* winograd.h -- 3x3 convolutions of stride 1 by Winograd's F(4x4, 3x3): 36 multiplications where
 * the definition takes 144, for f32.  Results differ from direct.h's by rounding: by at most 1e-4
 * of the result's norm, commonly 1e-6. */
#ifndef TLVI_WINOGRAD_H
#define TLVI_WINOGRAD_H

#include "tensor/direct.h"

/* Whether v is of this kind, and the context's choice (tlv_ctx_opts.conv) or, if it has none, the
 * shape speaks for it: the same answer at any number of threads.  dw: v is the gradient of the
 * weights. */
int tlvi_winograd_takes(const tlv_ctx *c, const tlvi_conv *v, int dw);

/* As tlvi_conv_run.  The bits of an element depend on the instruction set, the taps, ic and the
 * element's place in its 4x4 tile alone. */
tlv_status tlvi_winograd_run(tlv_ctx *c, const tlvi_conv *v);

/* As tlvi_conv_dw_run.  The sum over tiles is cut by shape alone. */
tlv_status tlvi_winograd_dw_run(tlv_ctx *c, const tlvi_conv *v, char *dw);

#endif
