/* direct.h -- convolutions on raw images: direct.c (any taps, one group), depthwise.c (a filter a
 * channel).
 *
 * Both directions are one loop: an output pixel (i, j) is the sum over taps of the input pixel
 * (i sh + dy, j sw + dx) times that tap's weights, and pixels outside are zero.  Forward the taps
 * are the filter's; for the gradient of the image they are the same filter mirrored, one list for
 * each phase of the stride.  Channels have stride 1; strides count elements; any size may be 0. */
#ifndef TLVI_DIRECT_H
#define TLVI_DIRECT_H

#include "tensor/core.h"

typedef struct tlvi_tap { int64_t dy, dx, w; } tlvi_tap;    /* w: the tap's place in w, elements */

typedef struct tlvi_conv {
    int dtype;                              /* TLV_F32 or TLV_F64, of everything */
    int64_t batch;
    int64_t ih, iw, ic, xb, xh, xw;         /* x [batch,ih,iw,ic] with strides xb, xh, xw, 1 */
    const char *x;
    int64_t oh, ow, oc, yb, yh, yw;         /* y [batch,oh,ow,oc] with strides yb, yh, yw, 1 */
    char *y; /* for the gradient of the weights: y's gradient, only read */
    int64_t sh, sw;
    int64_t n_tap;
    const tlvi_tap *tap;
    const char *w; /* w[in*w_in + out*w_out + tap.w]; depthwise: w[out*w_out + tap.w] */
    int64_t w_in, w_out;
    /* what follows: y = act(min(hi, max(lo, y scale + shift + res))) */
    int follow;                             /* 0: nothing of the rest counts */
    const char *scale, *shift, *res;        /* each may be NULL; res has strides rb, rh, rw, 1 */
    int64_t rb, rh, rw;
    double lo, hi;
    int act;                                /* a TLVI_UN_ id, or -1 */
} tlvi_conv;

/* y = the convolution.  Returns the context's status; TLV_ERR_NOMEM is the only new error.  The
 * bits of an element depend on the instruction set, the taps and ic alone. */
tlv_status tlvi_conv_run(tlv_ctx *c, const tlvi_conv *v);
tlv_status tlvi_depthwise_run(tlv_ctx *c, const tlvi_conv *v);

/* dw[in*w_in + out*w_out + tap.w] = sum over pixels of x y.  dw has the taps innermost: tap i has w
 * = i and w_in = n_tap.  Sums are cut by shape alone: the same bits at any number of threads. */
tlv_status tlvi_conv_dw_run(tlv_ctx *c, const tlvi_conv *v, char *dw);
tlv_status tlvi_depthwise_dw_run(tlv_ctx *c, const tlvi_conv *v, char *dw);

/* Shared by both files: what follows, for pixel (b, i, j) and channel `col` on; and the rest of it,
 * an activation that its kernels do not know, on `n` pixels and `cols` channels from there. */
tlvi_conv_end tlvi_conv_end_at(const tlvi_conv *v, int64_t b, int64_t i, int64_t j, int64_t col);
void tlvi_conv_act(const tlvi_conv *v, const tlvi_kset *k, int64_t b, int64_t i, int64_t j,
                   int64_t n, int64_t col, int64_t cols);

/* Adds parts 1 .. n-1 (each `size` elements, one behind the other) to part 0, in that order. */
void tlvi_sum_parts(tlv_ctx *c, const tlvi_kset *k, size_t es, int64_t n, int64_t size,
                    char *parts);

/* Input channels in one accumulator: with all taps they are about 384 terms.  A convolution adds
 * such chunks up in rising order of channels, within a chunk tap after tap. */
int64_t tlvi_conv_chunk(int64_t taps, int64_t ic);

/* How many parts a sum over `units` is cut into, by shape alone: at most 16, at most 8 MB in all,
 * and none with less than about a million multiplications (`work` in all). */
int64_t tlvi_count_parts(int64_t units, int64_t bytes, int64_t work);

#endif
