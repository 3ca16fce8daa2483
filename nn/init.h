/* init.h -- filling one parameter. */
#ifndef TLVI_INIT_H
#define TLVI_INIT_H

#include "nn/set.h"

/* t: an owned, row-major f32, f64 or i64 tensor. */
void tlvi_init_fill(tlv_tensor *t, tlv_init init, tlv_rng_key key);

#endif
