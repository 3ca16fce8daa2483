/* kernels_f64_scalar.c -- plain C, f64 */
#define TLVI_KSET tlvi_kset_scalar_f64
#define TLVI_F64
#include "tensor/kernels/vec_scalar.h"
#include "tensor/kernels/families.inc"
