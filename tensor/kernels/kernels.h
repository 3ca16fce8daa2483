/* kernels.h -- the table of kernels: raw pointers and sizes, no tensors, no allocation, no errors.
 *
 * kernels.def lists every kernel once; each instruction set compiles the same .inc families with
 * its own vocabulary (vec_<isa>.h) and ends in a tlvi_kernels.  A kernel that an instruction set
 * forgets does not compile.  Pointers are void because f32 and f64 share each signature. */
#ifndef TLVI_KERNELS_H
#define TLVI_KERNELS_H

#include <stddef.h>
#include <stdint.h>

/* Unary kernels y = f(x; a, b) and their order in tlvi_kset.unary. */
typedef enum tlvi_unary {
#define TLVI_UN(id, name, formula) TLVI_UN_##id,
#include "tensor/kernels/unary.def"
#undef TLVI_UN
    TLVI_UN_COUNT
} tlvi_unary;

/* Binary kernels y = f(a, b; p, q), gradients of the unary ones among them. */
typedef enum tlvi_binary {
#define TLVI_BIN(id, name, formula) TLVI_BIN_##id,
#include "tensor/kernels/binary.def"
#undef TLVI_BIN
    TLVI_BIN_COUNT
} tlvi_binary;

/* Comparisons to bytes. */
typedef enum tlvi_compare {
    TLVI_CMP_EQ, TLVI_CMP_NE, TLVI_CMP_LT, TLVI_CMP_LE, TLVI_CMP_GT, TLVI_CMP_GE, TLVI_CMP_COUNT
} tlvi_compare;

typedef void (*tlvi_unary_fn)(size_t n, const void *x, void *y, double a, double b);
typedef void (*tlvi_binary_fn)(size_t n, const void *a, const void *b, void *y, double p, double q);

/* Activations that kernels of norm.inc apply, and whose gradient follows from their output. */
typedef enum tlvi_gate { TLVI_GATE_NONE, TLVI_GATE_RELU, TLVI_GATE_RELU6 } tlvi_gate;

/* y = gate((x - mean) scale + shift + residual), rows x n; mean, scale, shift are rows of n;
 * residual may be NULL. */
typedef struct tlvi_norm_apply {
    tlvi_gate gate;
    size_t rows, n;
    ptrdiff_t ldx, ldr, ldy;
    const void *x, *mean, *scale, *shift, *residual;
    void *y;
    int stream;                     /* y is so large that it need not go through the caches */
} tlvi_norm_apply;

/* The gradient g of such a y; everything else is what the kernel at hand needs. */
typedef struct tlvi_norm_grad {
    tlvi_gate gate;
    size_t rows, n;
    ptrdiff_t ldg, ldx, ldy;
    const void *g, *x, *y;          /* x may be NULL; y is read if there is a gate; without y the */
    const void *scale, *shift;      /* gate is that of (x - mean) scale + shift, rows of n */
    const void *mean, *rstd;        /* rows of n */
    const void *a, *b, *c;          /* rows of n */
    void *gated;                    /* of norm_grad_sums: receives t, dense; or NULL */
    int stream;                     /* results need not go through the caches */
} tlvi_norm_grad;

/* What follows a convolution on the way out: y = min(hi, max(lo, y scale + shift + res)).  scale
 * and shift are rows, pixels of res lie ldr apart; each may be NULL. */
typedef struct tlvi_conv_end {
    const void *scale, *shift, *res;
    int64_t ldr;
    double lo, hi;
} tlvi_conv_end;

/* One tile of a Winograd convolution on the way out: the 6x6 transformed values lie step apart from
 * m on, each a row of ch channels that may be read in whole vectors; rows x cols <= 4x4 pixels of
 * y are written, then what `end` says (or NULL), whose res has rows rh apart. */
typedef struct tlvi_wino_out {
    size_t ch;
    const void *m;
    int64_t step;
    int rows, cols;
    void *y;
    int64_t yh, yw;
    const tlvi_conv_end *end;
    int64_t rh;
} tlvi_wino_out;

/* acc[w_t + c] += sum_ij x[x_t + i x_row + j x_px + c] g[i g_row + j g_px + c] for i < rows, j < n,
 * c < ch and n_tap pairs { x_t, w_t }. */
typedef struct tlvi_depthwise_dw {
    int64_t rows, n, n_tap;
    size_t ch;
    const int64_t *tap;
    const void *x, *g;
    int64_t x_row, x_px, g_row, g_px;
    void *acc;
} tlvi_depthwise_dw;

/* Rows of pixels to rows of n pixels: pixel i is the sum over k < count[i] of w[i*per + k] times
 * pixel first[i] + k.  Of 3 channels, the byte after the last pixel that is used is read too.
 * x and y must not overlap. */
typedef struct tlvi_resample_rows {
    size_t rows, n, per;
    int channels;                   /* 1 to 4 */
    const int32_t *first, *count, *w;
    const uint8_t *x;
    ptrdiff_t ldx, ldy;             /* bytes from row to row */
    uint8_t *y;
} tlvi_resample_rows;

/* All kernels for one floating type. */
typedef struct tlvi_kset {
    tlvi_unary_fn unary[TLVI_UN_COUNT];
    tlvi_binary_fn binary[TLVI_BIN_COUNT];
#define TLVI_KERNEL(ret, name, args) ret (*name) args;
#include "tensor/kernels/kernels.def"
#undef TLVI_KERNEL
    int mr, nr;                         /* tile of gemm_tile */
    int wide_mr, wide_nr;               /* its wider tile for few rows */
    int kc;                             /* the sum over k is cut into blocks of kc */
    int lanes;                          /* of one vector */
} tlvi_kset;

typedef struct tlvi_kernels {
    const char *name;                   /* "avx2" */
    const tlvi_kset *f32, *f64;
} tlvi_kernels;

/* Those that the build may hold; dispatch.c says which are used. */
extern const tlvi_kset tlvi_kset_scalar_f32, tlvi_kset_scalar_f64, tlvi_kset_avx2_f32,
    tlvi_kset_avx2_f64, tlvi_kset_avx512_f32, tlvi_kset_neon_f32;

/* dispatch.c: the widest set that this CPU has and whose name is `want` (NULL: any); NULL if
 * none. */
const tlvi_kernels *tlvi_pick_kernels(const char *want);
const char *tlvi_isa_list(void); /* "avx512 avx2 scalar": what this CPU can run, widest first */

#endif
