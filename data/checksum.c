/* checksum.c -- CRC-32 (PNG, gzip) and Adler-32 (zlib).
 * Source: RFC 1952 section 8; RFC 1950 section 9; eight bytes at a time: Kounavis and Berry 2005,
 * "A Systematic Approach to Building High Performance Software-based CRC Generators". */
#include "data/codec.h"

/* SLICE[k][b]: the remainder of byte b with k zero bytes behind it.  Remainders are linear in the
 * bits of b, so the table follows from those of 64 single bits: bit 7 of k = 0 gives the reversed
 * polynomial, and each bit further from the end is one step of division more.  BITSk runs from
 * bit 7 to bit 0. */
#define BITS0 0xedb88320, 0x76dc4190, 0x3b6e20c8, 0x1db71064,                                      \
              0x0edb8832, 0x076dc419, 0xee0e612c, 0x77073096
#define BITS1 0x3b83984b, 0xf0794f05, 0x958424a2, 0x4ac21251,                                      \
              0xc8d98a08, 0x646cc504, 0x32366282, 0x191b3141
#define BITS2 0xe1351b80, 0x709a8dc0, 0x384d46e0, 0x1c26a370,                                      \
              0x0e1351b8, 0x0709a8dc, 0x0384d46e, 0x01c26a37
#define BITS3 0xed59b63b, 0x9b14583d, 0xa032af3e, 0x5019579f,                                      \
              0xc5b428ef, 0x8f629757, 0xaa09c88b, 0xb8bc6765
#define BITS4 0xb1e6b092, 0x58f35849, 0xc1c12f04, 0x60e09782,                                      \
              0x30704bc1, 0xf580a6c0, 0x7ac05360, 0x3d6029b0
#define BITS5 0x1eb014d8, 0x0f580a6c, 0x07ac0536, 0x03d6029b,                                      \
              0xec53826d, 0x9b914216, 0x4dc8a10b, 0xcb5cd3a5
#define BITS6 0x8816eaf2, 0x440b7579, 0xcfbd399c, 0x67de9cce,                                      \
              0x33ef4e67, 0xf44f2413, 0x979f1129, 0xa6770bb4
#define BITS7 0x533b85da, 0x299dc2ed, 0xf9766256, 0x7cbb312b,                                      \
              0xd3e51bb5, 0x844a0efa, 0x4225077d, 0xccaa009e

#define IF(n, bit, v) ((n) >> (bit) & 1 ? v##u : 0u)
#define XOR(n, a, b, c, d, e, f, g, h)                                                             \
    (IF(n, 7, a) ^ IF(n, 6, b) ^ IF(n, 5, c) ^ IF(n, 4, d) ^ IF(n, 3, e) ^ IF(n, 2, f)             \
     ^ IF(n, 1, g) ^ IF(n, 0, h))
#define ENTRY(n, ...) XOR(n, __VA_ARGS__)
#define FOUR(n, ...)                                                                               \
    ENTRY(n, __VA_ARGS__), ENTRY((n) + 1, __VA_ARGS__), ENTRY((n) + 2, __VA_ARGS__),               \
        ENTRY((n) + 3, __VA_ARGS__)
#define SIXTEEN(n, ...)                                                                            \
    FOUR(n, __VA_ARGS__), FOUR((n) + 4, __VA_ARGS__), FOUR((n) + 8, __VA_ARGS__),                  \
        FOUR((n) + 12, __VA_ARGS__)
#define SIXTY_FOUR(n, ...)                                                                         \
    SIXTEEN(n, __VA_ARGS__), SIXTEEN((n) + 16, __VA_ARGS__), SIXTEEN((n) + 32, __VA_ARGS__),       \
        SIXTEEN((n) + 48, __VA_ARGS__)
#define TABLE(...)                                                                                 \
    { SIXTY_FOUR(0, __VA_ARGS__), SIXTY_FOUR(64, __VA_ARGS__), SIXTY_FOUR(128, __VA_ARGS__),       \
      SIXTY_FOUR(192, __VA_ARGS__) }

static const uint32_t SLICE[8][256] = { TABLE(BITS0), TABLE(BITS1), TABLE(BITS2), TABLE(BITS3),
                                        TABLE(BITS4), TABLE(BITS5), TABLE(BITS6), TABLE(BITS7) };

static uint32_t le32(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

uint32_t tlvi_crc32(uint32_t crc, const uint8_t *p, size_t n)
{
    crc = ~crc;
    for (; n >= 8; n -= 8, p += 8) {
        uint32_t a = le32(p) ^ crc, b = le32(p + 4);
        crc = SLICE[7][a & 255] ^ SLICE[6][a >> 8 & 255] ^ SLICE[5][a >> 16 & 255]
              ^ SLICE[4][a >> 24] ^ SLICE[3][b & 255] ^ SLICE[2][b >> 8 & 255]
              ^ SLICE[1][b >> 16 & 255] ^ SLICE[0][b >> 24];
    }
    while (n--) crc = crc >> 8 ^ SLICE[0][(crc ^ *p++) & 255];
    return ~crc;
}

enum {
    ADLER = 65521,              /* the largest prime below 2^16 */
    RUN = 5552                  /* bytes until the second sum may pass 2^32 */
};

uint32_t tlvi_adler32(uint32_t adler, const uint8_t *p, size_t n)
{
    uint32_t a = adler & 0xffff, b = adler >> 16;
    while (n) {
        size_t run = n < RUN ? n : RUN;
        n -= run;
        // Sixteen at a time: each byte counts in b as often as there are bytes from it to the end
        for (; run >= 16; run -= 16, p += 16) {
            uint32_t sum = 0, weighed = 0;
            for (uint32_t i = 0; i < 16; i++) {
                sum += p[i];
                weighed += (16 - i) * p[i];
            }
            b += 16 * a + weighed;
            a += sum;
        }
        for (; run; run--) {
            a += *p++;
            b += a;
        }
        a %= ADLER;
        b %= ADLER;
    }
    return b << 16 | a;
}
