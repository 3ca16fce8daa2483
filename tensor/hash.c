/* hash.c -- BLAKE2b-256.  Names and numbers as in RFC 7693 (Saarinen, Aumasson 2015), sections 2
 * and 3. */
#include "tensor/hash.h"

#include <string.h>

/* Section 2.6: the first 64 bits of the fractions of the square roots of the first primes. */
static const uint64_t IV[8] = {
    0x6a09e667f3bcc908, 0xbb67ae8584caa73b, 0x3c6ef372fe94f82b, 0xa54ff53a5f1d36f1,
    0x510e527fade682d1, 0x9b05688c2b3e6c1f, 0x1f83d9abfb41bd6b, 0x5be0cd19137e2179
};

static uint64_t load64(const uint8_t *p)
{
    // One expression: compilers see a load in it, and not in a loop.
    return (uint64_t)p[0] | (uint64_t)p[1] << 8 | (uint64_t)p[2] << 16 | (uint64_t)p[3] << 24
           | (uint64_t)p[4] << 32 | (uint64_t)p[5] << 40 | (uint64_t)p[6] << 48
           | (uint64_t)p[7] << 56;
}

static void store64(uint8_t *p, uint64_t v)
{
    for (int i = 0; i < 8; i++) p[i] = (uint8_t)(v >> 8 * i);
}

static inline uint64_t rotr(uint64_t x, int n) { return x >> n | x << (64 - n); }

/* Section 3.1, one mixing of four words of v with two of the message. */
#define G(a, b, c, d, x, y)                                                                        \
    do {                                                                                           \
        a += b + (x);                                                                              \
        d = rotr(d ^ a, 32);                                                                       \
        c += d;                                                                                    \
        b = rotr(b ^ c, 24);                                                                       \
        a += b + (y);                                                                              \
        d = rotr(d ^ a, 16);                                                                       \
        c += d;                                                                                    \
        b = rotr(b ^ c, 63);                                                                       \
    } while (0)

/* One round; s0 to sf: the round's line of table SIGMA (section 2.7), as constants, so that the
 * message stays in place and v in registers. */
#define ROUND(s0, s1, s2, s3, s4, s5, s6, s7, s8, s9, sa, sb, sc, sd, se, sf)                      \
    do {                                                                                           \
        G(v0, v4, v8, v12, m[s0], m[s1]);                                                          \
        G(v1, v5, v9, v13, m[s2], m[s3]);                                                          \
        G(v2, v6, v10, v14, m[s4], m[s5]);                                                         \
        G(v3, v7, v11, v15, m[s6], m[s7]);                                                         \
        G(v0, v5, v10, v15, m[s8], m[s9]);                                                         \
        G(v1, v6, v11, v12, m[sa], m[sb]);                                                         \
        G(v2, v7, v8, v13, m[sc], m[sd]);                                                          \
        G(v3, v4, v9, v14, m[se], m[sf]);                                                          \
    } while (0)

/* Section 3.2, function F. */
static void compress(tlvi_hash *s, const uint8_t *block, size_t bytes, int last)
{
    uint64_t m[16], *h = s->h;
    for (int i = 0; i < 16; i++) m[i] = load64(block + 8 * i);
    s->count[0] += bytes;
    s->count[1] += s->count[0] < bytes;

    uint64_t v0 = h[0], v1 = h[1], v2 = h[2], v3 = h[3], v4 = h[4], v5 = h[5], v6 = h[6], v7 = h[7],
             v8 = IV[0], v9 = IV[1], v10 = IV[2], v11 = IV[3], v12 = IV[4] ^ s->count[0],
             v13 = IV[5] ^ s->count[1], v14 = last ? ~IV[6] : IV[6], v15 = IV[7];
    ROUND(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    ROUND(14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3);
    ROUND(11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4);
    ROUND(7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8);
    ROUND(9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13);
    ROUND(2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9);
    ROUND(12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11);
    ROUND(13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10);
    ROUND(6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5);
    ROUND(10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0);
    ROUND(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    ROUND(14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3);

    h[0] ^= v0 ^ v8;
    h[1] ^= v1 ^ v9;
    h[2] ^= v2 ^ v10;
    h[3] ^= v3 ^ v11;
    h[4] ^= v4 ^ v12;
    h[5] ^= v5 ^ v13;
    h[6] ^= v6 ^ v14;
    h[7] ^= v7 ^ v15;
}

/* Section 2.8's parameter block: digest length, no key, fanout 1, depth 1. */
tlvi_hash tlvi_hash_begin(void)
{
    tlvi_hash s = { .fill = 0 };
    memcpy(s.h, IV, sizeof s.h);
    s.h[0] ^= 0x01010000u ^ TLVI_HASH_BYTES;
    return s;
}

void tlvi_hash_add(tlvi_hash *s, const void *data, size_t n)
{
    const uint8_t *p = data;
    while (n > 0) {
        if (s->fill == TLVI_HASH_BLOCK) {
            compress(s, s->block, TLVI_HASH_BLOCK, 0);
            s->fill = 0;
        }
        // Whole blocks are read where they stand, all but one that may be the last.
        for (; s->fill == 0 && n > TLVI_HASH_BLOCK; p += TLVI_HASH_BLOCK, n -= TLVI_HASH_BLOCK)
            compress(s, p, TLVI_HASH_BLOCK, 0);
        size_t take = TLVI_HASH_BLOCK - s->fill < n ? TLVI_HASH_BLOCK - s->fill : n;
        memcpy(s->block + s->fill, p, take);
        s->fill += take;
        p += take;
        n -= take;
    }
}

void tlvi_hash_add_u64(tlvi_hash *s, uint64_t v)
{
    uint8_t p[8];
    store64(p, v);
    tlvi_hash_add(s, p, sizeof p);
}

void tlvi_hash_end(tlvi_hash *s, uint8_t out[TLVI_HASH_BYTES])
{
    memset(s->block + s->fill, 0, TLVI_HASH_BLOCK - s->fill);
    compress(s, s->block, s->fill, 1);
    for (int i = 0; i < TLVI_HASH_BYTES / 8; i++) store64(out + 8 * i, s->h[i]);
}
