/* hash.h -- BLAKE2b with a digest of 32 bytes, without a key (RFC 7693): what a cache knows files
 * and weights by.
 *
 *     tlvi_hash h = tlvi_hash_begin();
 *     tlvi_hash_add(&h, bytes, n);                 // any number of times: pieces join
 *     tlvi_hash_end(&h, digest); */
#ifndef TLVI_HASH_H
#define TLVI_HASH_H

#include <stddef.h>
#include <stdint.h>

enum { TLVI_HASH_BYTES = 32, TLVI_HASH_BLOCK = 128 };

typedef struct tlvi_hash {
    uint64_t h[8];
    uint64_t count[2];              /* bytes of the blocks that are in h, low half first */
    size_t fill;                    /* of block; a full one waits, since the last is marked */
    uint8_t block[TLVI_HASH_BLOCK];
} tlvi_hash;

tlvi_hash tlvi_hash_begin(void);
void tlvi_hash_add(tlvi_hash *s, const void *data, size_t n);
/* Eight bytes, the least significant first: numbers hash alike on every machine. */
void tlvi_hash_add_u64(tlvi_hash *s, uint64_t v);
void tlvi_hash_end(tlvi_hash *s, uint8_t out[TLVI_HASH_BYTES]);

#endif
