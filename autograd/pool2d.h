/* pool2d.h -- the adjoints of pooling: ops on the tape, but not public. */
#ifndef TLVI_POOL2D_H
#define TLVI_POOL2D_H

#include "autograd/op.h"

/* The adjoint of tlv_avg_pool2d and of tlv_adaptive_avg_pool2d for an image h x w:
 * g [B,C,OH,OW] -> [B,C,h,w]. */
tlv_tensor *tlvi_avg_pool2d_dx(tlv_ctx *c, const tlv_tensor *g, int64_t h, int64_t w,
                               tlv_pool2d_opts o);
tlv_tensor *tlvi_adaptive_avg_pool2d_dx(tlv_ctx *c, const tlv_tensor *g, int64_t h, int64_t w);

/* index i32 [B,C,OH,OW] holds places y*w + x of an image h x w, or -1 for none.
 *   put   g [B,C,OH,OW] -> [B,C,h,w]: dx[.., index] += g, in row-major order of g
 *   take  x [B,C,h,w] -> [B,C,OH,OW]: y = x[.., index], 0 where there is none */
tlv_tensor *tlvi_window_put(tlv_ctx *c, const tlv_tensor *g, const tlv_tensor *index, int64_t h,
                            int64_t w);
tlv_tensor *tlvi_window_take(tlv_ctx *c, const tlv_tensor *x, const tlv_tensor *index);

#endif
