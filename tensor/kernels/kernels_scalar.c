/* kernels_scalar.c -- plain C, f32: always there, and the reference for the others */
#define TLVI_KSET tlvi_kset_scalar_f32
#include "tensor/kernels/vec_scalar.h"
#include "tensor/kernels/families.inc"
