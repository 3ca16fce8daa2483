/* gemm.h -- matrix products: one job, any strides, bias, residual and activation on the way out.
 *
 * The bits of an element of C depend on the instruction set and k alone: not on threads, strides,
 * the other sizes, batching or packing.  (Its sum runs along k in one accumulator; every
 * tlvi_kset.kc terms the partial sum is added to C.) */
#ifndef TLVI_GEMM_H
#define TLVI_GEMM_H

#include "tensor/core.h"

/* Writes rows row0 .. row0+rows-1, columns k0 .. k0+kc-1 of A: dst[p*ld + r], p < kc, r < rows <=
 * ld. Called from several threads at once; a convolution gathers its pixels here. */
typedef void (*tlvi_pack_a_fn)(const void *user, int64_t row0, int rows, int64_t k0, int64_t kc,
                               int ld, void *dst);
/* Writes rows k0 .. k0+kc-1, columns col0 .. col0+cols-1 of B: dst[p*ld + j], zeros for cols <= j <
 * ld. */
typedef void (*tlvi_pack_b_fn)(const void *user, int64_t col0, int cols, int64_t k0, int64_t kc,
                               int ld, void *dst);

/* C [m,n] (+)= A [m,k] B [k,n], then act(C + bias + residual).  Strides count elements. */
typedef struct tlvi_gemm_job {
    int dtype;                          /* TLV_F32 or TLV_F64, of everything */
    int64_t m, n, k;                    /* any may be 0 */
    const void *a;
    int64_t rsa, csa;                   /* A[i,p] = a[i*rsa + p*csa] */
    const void *b;
    int64_t rsb, csb;                   /* B[p,j] = b[p*rsb + j*csb] */
    void *c;
    int64_t ldc;                        /* C[i,j] = c[i*ldc + j]; overlaps neither A nor B */
    int accumulate;                     /* 1: C += A B */
    const void *bias;                   /* [n], or NULL */
    const void *residual;               /* [m,n], rows ldr apart, or NULL; may be c */
    int64_t ldr;
    int act; /* a TLVI_UN_ id with its a and b; 0: none (TLVI_UN_NEG is not
              * to be had) */
    double act_a, act_b;
    tlvi_pack_a_fn pack_a;              /* instead of a, or NULL */
    tlvi_pack_b_fn pack_b;              /* instead of b, or NULL */
    const void *pack_user;              /* the first argument of both */
} tlvi_gemm_job;

/* Runs on the context's threads.  Returns the context's status: TLV_ERR_NOMEM is the only new
 * error. */
tlv_status tlvi_gemm(tlv_ctx *c, const tlvi_gemm_job *j);

/* The same for `batch` products: a, b, c (and residual, with c's stride; bias is shared) move on by
 * stride_a, stride_b, stride_c elements; 0 is fine for a and b.  No pack callbacks. */
tlv_status tlvi_gemm_batched(tlv_ctx *c, const tlvi_gemm_job *j, int64_t batch, int64_t stride_a,
                             int64_t stride_b, int64_t stride_c);

#endif
