/* attn.h -- attention on strided arrays, a block of queries by keys at a time, with its gradient;
 * one batch entry and head is the unit of work.  The matrix of probabilities never exists: the
 * backward pass makes each block of it again from the scores and two saved numbers a row (Rabe and
 * Staats 2021, arXiv:2112.05682; Dao et al. 2022, arXiv:2205.14135). */
#ifndef TLVI_ATTN_H
#define TLVI_ATTN_H

#include "tensor/core.h"

/* [B,H,T,n] with the last dim contiguous; strides count elements.  ptr NULL: not there, not
 * wanted. */
typedef struct tlvi_attn_array { void *ptr; int64_t b, h, t; } tlvi_attn_array;

typedef struct tlvi_attn_job {
    int dtype;
    int64_t b, h, tq, tk, d, dv;
    double scale;
    int causal;                         /* query i sees keys <= i + tk - tq */
    tlvi_attn_array q, k, v;            /* [..,tq,d] [..,tk,d] [..,tk,dv] */
    const void *bias;                   /* broadcasts to [b,h,tq,tk], or NULL */
    int64_t bias_stride[4];             /* 0 where it is stretched; the last is 0 or 1 */
    const uint8_t *mask;                /* [b,tk] dense, 0 hides a key; or NULL */
    void *stat;                         /* [b,h,tq,2] dense: written forward, read backward */
} tlvi_attn_job;

/* y [..,tq,dv] = softmax(scale q k^T + bias) v.  Returns the context's status (TLV_ERR_NOMEM). */
tlv_status tlvi_attn_forward(tlv_ctx *c, const tlvi_attn_job *j, tlvi_attn_array y);

/* The gradients of q, k, v for the answer y and its gradient g, both [..,tq,dv]; v and y are read
 * for dq and dk only. */
tlv_status tlvi_attn_backward(tlv_ctx *c, const tlvi_attn_job *j, tlvi_attn_array y,
                              tlvi_attn_array g, tlvi_attn_array dq, tlvi_attn_array dk,
                              tlvi_attn_array dv);

/* The gradient of the bias, dense with the dims `dim`, each 1 or that of [b,h,tq,tk]. */
tlv_status tlvi_attn_dbias(tlv_ctx *c, const tlvi_attn_job *j, tlvi_attn_array y,
                           tlvi_attn_array g, const int64_t *dim, void *dbias);

#endif
