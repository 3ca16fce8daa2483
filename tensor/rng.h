/* rng.h -- the block function under every random number, for code that draws many at once. */
#ifndef TLVI_RNG_H
#define TLVI_RNG_H

#include <stdint.h>

/* Philox4x32-10: out = ten rounds of counter under key. */
void tlvi_philox(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]);

#endif
