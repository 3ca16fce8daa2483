/* norm.h of autograd -- what batchnorm.c and norm.c share. */
#ifndef TLVI_AUTOGRAD_NORM_H
#define TLVI_AUTOGRAD_NORM_H

#include "autograd/op.h"
#include "tensor/colnorm.h"

/* Optional inputs of a normalisation: each NULL or [size of x's axis 1]. */
typedef struct tlvi_norm_side { const char *name; const tlv_tensor *t; } tlvi_norm_side;

/* x is float with two dims or more, eps is not negative, all that is there is ready, of x's dtype
 * and one value a channel; like (NULL or the residual) has x's shape. */
int tlvi_norm_ready(tlv_ctx *c, const char *op, const tlv_tensor *x, int n,
                    const tlvi_norm_side *side, const tlv_tensor *like, double eps);

/* Every axis but 1; [C,1,..], which broadcasts to x; rows in a channel as a divisor (at least
 * 1). */
tlv_axes tlvi_norm_axes(const tlv_tensor *x);
tlv_shape tlvi_norm_wide(const tlv_tensor *x);

/* n values of t (NULL: of `value`) as doubles; a tensor of shape [n] from doubles. */
void tlvi_norm_load(tlv_ctx *c, const tlv_tensor *t, double value, int64_t n, double *out);
tlv_tensor *tlvi_norm_vector(tlv_ctx *c, int dtype, int64_t n, const double *v);

/* The gradient of batch norm over the batch's own statistics, itself differentiable to any order
 * (batchnorm_grad.c).  y is batch norm's output, of which act's gate follows (NULL without act; it
 * counts as constant), act NONE, RELU or RELU6; mean and rstd [C] are what batch norm kept, or
 * NULL.  Returns dx as x; *sums [2,C] are dgamma and dbeta. */
tlv_tensor *tlvi_batch_norm_grad(tlv_ctx *c, const tlv_tensor *g, const tlv_tensor *x,
                                 const tlv_tensor *gamma, const tlv_tensor *y,
                                 const tlv_tensor *mean, const tlv_tensor *rstd, double eps,
                                 tlv_act act, tlv_tensor **sums);

#endif
