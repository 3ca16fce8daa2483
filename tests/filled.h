/* filled.h -- networks and inputs filled by the closed formula of tests/goldens/fill.py. */
#ifndef TLV_TESTS_FILLED_H
#define TLV_TESTS_FILLED_H

#include "nn/nn.h"

/* n values of the tensor called name, from [lo, hi); f32 holds each. */
void filled_values(const char *name, int64_t n, double lo, double hi, double *v);

/* The same as a tensor. */
tlv_tensor *filled_tensor(tlv_ctx *c, tlv_dtype d, tlv_shape s, const char *name, double lo,
                          double hi);

/* Labels (7 i + 3) mod classes, i32 [n]. */
tlv_tensor *filled_labels(tlv_ctx *c, int64_t n, int classes);

/* Whose ReLUs stay away from their kinks: nobody's, those of networks of bottlenecks or of basic
 * blocks. */
enum { FILLED_ANYWHERE, FILLED_BOTTLENECK, FILLED_BASIC };

/* Overwrites every entry of p by its name and shape; apart: one of the above. */
tlv_status filled_params(tlv_ctx *c, tlv_params *p, int apart);

#endif
