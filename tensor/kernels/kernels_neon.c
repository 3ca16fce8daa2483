/* kernels_neon.c -- f32; every AArch64 CPU has NEON */
#define TLVI_KSET tlvi_kset_neon_f32
#include "tensor/kernels/vec_neon.h"
#include "tensor/kernels/families.inc"
