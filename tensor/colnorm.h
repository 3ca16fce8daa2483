/* colnorm.h -- columns of a tensor [B,C,..] as arrays of rows x C: their statistics, their
 * normalisation and its gradient, on the context's threads.
 *
 * With outer = 1 the rows are all of B and the rest (batch norm); with outer = B each example has
 * statistics of its own (group norm).  Sums are cut into blocks of rows by shape alone. */
#ifndef TLVI_COLNORM_H
#define TLVI_COLNORM_H

#include "tensor/core.h"

typedef struct tlvi_cols {
    int64_t outer, rows, n;             /* outer arrays of rows x n */
    int64_t per, blocks;                /* rows a block, blocks an array */
    int dtype;
} tlvi_cols;

tlvi_cols tlvi_cols_of(const tlv_tensor *x, int each_example);

/* A new tensor of shape s, C innermost in memory: channels-last for 4 dims, row-major for 2. */
tlv_tensor *tlvi_cols_new(tlv_ctx *c, tlv_dtype d, tlv_shape s);

/* t itself if its rows have C innermost and one pitch, else a copy without history; NULL for
 * NULL. */
const tlv_tensor *tlvi_cols_view(tlv_ctx *c, const tlv_tensor *t);
ptrdiff_t tlvi_cols_pitch(const tlv_tensor *t);     /* of such a tensor */

/* mean[outer*n] and var (divided by rows) of x, which is a cols_view as all tensors below. */
tlv_status tlvi_cols_stats(tlv_ctx *c, const tlvi_cols *s, const tlv_tensor *x, double *mean,
                           double *var);

/* y = gate((x - mean) scale + shift + residual); coefficients are [outer*n] of s->dtype. */
void tlvi_cols_apply(tlv_ctx *c, const tlvi_cols *s, tlvi_gate gate, const tlv_tensor *x,
                     const void *mean, const void *scale, const void *shift,
                     const tlv_tensor *residual, tlv_tensor *y);

/* What the gradient needs; x, y, mean .. c as in tlvi_norm_grad, coefficients [outer*n]. */
typedef struct tlvi_cols_grad {
    tlvi_gate gate;
    const tlv_tensor *g, *x, *y;
    const void *mean, *rstd, *a, *b, *c;
    const void *scale, *shift;  /* y NULL: the gate is that of (x - mean) scale + shift */
    tlv_tensor *gated; /* of grad_sums without x: receives t; from tlvi_cols_new, or NULL */
} tlvi_cols_grad;

/* sum_g, sum_gx [outer*n]: norm_grad_sums of each array; sum_gx is filled only with x. */
tlv_status tlvi_cols_grad_sums(tlv_ctx *c, const tlvi_cols *s, const tlvi_cols_grad *a,
                               double *sum_g, double *sum_gx);

/* norm_grad_x; dx and gated are from tlvi_cols_new, or NULL. */
void tlvi_cols_grad_x(tlv_ctx *c, const tlvi_cols *s, const tlvi_cols_grad *a, tlv_tensor *dx,
                      tlv_tensor *gated);

#endif
