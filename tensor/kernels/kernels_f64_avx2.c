/* kernels_f64_avx2.c -- f64, built with -mavx2 -mfma; AVX-512 uses it too */
#define TLVI_KSET tlvi_kset_avx2_f64
#define TLVI_F64
#include "tensor/kernels/vec_avx2.h"
#include "tensor/kernels/families.inc"
