/* kernels_avx2.c -- f32, built with -mavx2 -mfma; used when the CPU has AVX2 and FMA (see
 * dispatch.c) */
#define TLVI_KSET tlvi_kset_avx2_f32
#include "tensor/kernels/vec_avx2.h"
#include "tensor/kernels/families.inc"
