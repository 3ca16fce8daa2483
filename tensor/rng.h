/* rng.h -- the block function under every random number, for code that draws many at once. */
#ifndef TLVI_RNG_H
#define TLVI_RNG_H

#include <stdint.h>

#include "tensor/tensor.h"

/* Philox4x32-10: out = ten rounds of counter under key. */
void tlvi_philox(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]);

/* keep[i] = draw i under k is at least p, for 0 <= i < n: 0 with probability p.  A draw has 32
 * bits, those that tlv_rng_u64 gives as its high word. */
void tlvi_rng_keep(tlv_ctx *c, tlv_rng_key k, double p, int64_t n, uint8_t *keep);

#endif
