/* kernels_avx512.c -- f32, built with -mavx512f -mavx512bw -mavx512vl -mavx512dq -mavx2 -mfma; used
 * when the CPU has them all (see dispatch.c) */
#define TLVI_KSET tlvi_kset_avx512_f32
#include "tensor/kernels/vec_avx512.h"
#include "tensor/kernels/families.inc"
