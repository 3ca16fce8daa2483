/* test_inflate.c -- deflate streams read in pieces, wrong streams, checksums. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/codec.h"
#include "tests/fuzz_inputs.h"
#include "tests/support.h"

/* ---- streams that zlib 1.2.13 wrote ---------------------------------------------------------- */

static const uint8_t DYNAMIC[219] = {
    0x78, 0xda, 0xdd, 0x94, 0x4b, 0x12, 0xc2, 0x20, 0x10, 0x05, 0x31, 0xc9, 0xfd, 0xcf, 0x2c, 0xef,
    0x37, 0x42, 0x85, 0x58, 0xb8, 0x15, 0x09, 0xf3, 0xba, 0x67, 0x70, 0x49, 0x6b, 0xcb, 0xf5, 0xca,
    0x3a, 0xbc, 0x4e, 0xae, 0x0b, 0xab, 0x06, 0xe2, 0x23, 0xa5, 0x24, 0x82, 0x21, 0x83, 0xb3, 0xe2,
    0x32, 0x39, 0xd0, 0xcc, 0xb5, 0x7b, 0xf5, 0x81, 0x28, 0x20, 0x48, 0xf4, 0xe8, 0x08, 0xec, 0xe4,
    0xb4, 0x1f, 0xc5, 0xd6, 0x71, 0x0b, 0x6a, 0x11, 0x28, 0x1e, 0x3e, 0xcd, 0x68, 0x9e, 0x98, 0x48,
    0x3b, 0x14, 0xf5, 0x16, 0xc9, 0x40, 0xd6, 0x3e, 0x56, 0x1b, 0x2d, 0x8c, 0xf5, 0x61, 0xde, 0xa2,
    0xa3, 0x20, 0x39, 0x0e, 0xf5, 0x48, 0xdd, 0x3a, 0x2a, 0x47, 0x0d, 0x54, 0x1c, 0x83, 0x96, 0x9d,
    0xac, 0x3c, 0x31, 0x82, 0xca, 0xfa, 0xeb, 0xcf, 0x73, 0xbc, 0xd3, 0xef, 0xf2, 0x3f, 0xa4, 0x4b,
    0x00, 0x01, 0x88, 0xf0, 0xb0, 0x74, 0x0c, 0x34, 0xe6, 0xa2, 0xf4, 0x76, 0x8f, 0x82, 0xb9, 0x7e,
    0x62, 0x28, 0xc2, 0xee, 0xb6, 0x4f, 0x6f, 0x8e, 0xf1, 0x8a, 0xac, 0x60, 0x91, 0xc6, 0xd2, 0x25,
    0x7b, 0x15, 0xbb, 0x35, 0x2e, 0x3f, 0xf4, 0x38, 0xa3, 0x79, 0x86, 0x76, 0x0b, 0x3b, 0x47, 0xc5,
    0x59, 0xf0, 0x2c, 0x1f, 0x48, 0x47, 0x45, 0x32, 0x38, 0x55, 0xf7, 0x15, 0x1e, 0x92, 0x63, 0x72,
    0xa0, 0xc8, 0x08, 0x86, 0x80, 0x81, 0xa2, 0xa3, 0xbc, 0xf4, 0x54, 0xe5, 0xe1, 0xaa, 0x97, 0xac,
    0xfd, 0xb2, 0xfe, 0xe2, 0xfd, 0x7b, 0x03, 0x3e, 0x81, 0x0a, 0xf1,
};
static const uint8_t FAR[102] = {
    0xed, 0xc7, 0xd1, 0x18, 0x80, 0x30, 0x18, 0x00, 0xc0, 0x29, 0xa4, 0x30, 0x85, 0x14, 0xa6, 0x90,
    0x42, 0x0a, 0x53, 0x48, 0x61, 0x0a, 0x53, 0x58, 0x08, 0x85, 0xd0, 0x14, 0x52, 0xe8, 0xe5, 0xa7,
    0xe8, 0xbb, 0x7b, 0xbb, 0xf4, 0x8c, 0x56, 0xb7, 0x75, 0x79, 0xaf, 0x7e, 0xec, 0x25, 0xa7, 0x19,
    0xbd, 0xa3, 0x67, 0x34, 0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x00, 0x00, 0x00, 0xc0, 0x9f, 0x3d, 0xa3, 0xd5, 0x6d, 0x5d, 0xde, 0xab, 0x1f, 0x7b, 0xc9, 0x69,
    0x46, 0xef, 0xe8, 0x19, 0xfd, 0x00,
};
static const uint8_t FIXED[25] = {
    0x78, 0x01, 0x4b, 0x49, 0x4d, 0xcb, 0x49, 0x2c, 0x49, 0x55, 0x48, 0x81, 0xd0, 0xc5, 0x0a, 0x25,
    0x19, 0x70, 0x4e, 0x0a, 0x00, 0xa4, 0x96, 0x0a, 0xf8,
};
static const uint8_t MEMBERS[82] = {
    0x1f, 0x8b, 0x08, 0x1e, 0x01, 0x02, 0x03, 0x04, 0x00, 0xff, 0x03, 0x00, 0x61, 0x62, 0x63, 0x6e,
    0x61, 0x6d, 0x65, 0x00, 0x63, 0x6f, 0x6d, 0x6d, 0x65, 0x6e, 0x74, 0x00, 0x4d, 0x07, 0xcb, 0xcf,
    0x4b, 0x55, 0xc8, 0x4d, 0xcd, 0x4d, 0x4a, 0x2d, 0x02, 0x00, 0x25, 0xa1, 0x57, 0xc1, 0x0a, 0x00,
    0x00, 0x00, 0x1f, 0x8b, 0x08, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x03, 0xd3, 0x51, 0x48, 0xcc,
    0xcb, 0x2f, 0xc9, 0x48, 0x2d, 0x02, 0x00, 0x09, 0xec, 0xff, 0x7b, 0x09, 0x00, 0x00, 0x00, 0x00,
    0x00, 0x00,
};

enum { WAVE = 1500, MEMBERS_TWO = 50, MEMBERS_END = 79 };

/* What DYNAMIC holds. */
static void wave(uint8_t *p)
{
    for (int i = 0; i < WAVE; i++) p[i] = (uint8_t)((i * i >> 9) % 5);
}

/* What FAR holds: 40 bytes, zeros, and the 40 bytes again at a distance of 32768. */
static void far_apart(uint8_t *p)
{
    memset(p, 0, 32768);
    for (int i = 0; i < 40; i++) p[i] = p[32768 + i] = (uint8_t)(i * 7919 >> 3);
}

/* Reads in[n], `feed` bytes at a time, into out by calls for `room` bytes; the number of bytes.
 * Ends at the end of the stream (of gzip: of the input) or at an error. */
static size_t inflate_all(tlvi_inflate *z, const uint8_t *in, size_t n, size_t feed, size_t room,
                          uint8_t *out, size_t cap)
{
    size_t got = 0, at = 0;
    for (;;) {
        size_t piece = n - at < feed ? n - at : feed, left = piece;
        size_t want = cap - got < room ? cap - got : room;
        const uint8_t *p = in + at;
        size_t k = tlvi_inflate_read(z, &p, &left, out + got, want);
        EXPECT(p == in + at + piece - left, "input went from %zu to %zd, %zu are left", at,
               (ptrdiff_t)(p - in), left);
        got += k;
        at += piece - left;
        if (tlvi_inflate_error(z) || (k == 0 && at == n) || (k == 0 && piece == left)) return got;
    }
}

static void check_stream(tlv_ctx *c, tlvi_wrap wrap, const uint8_t *in, size_t n,
                         const uint8_t *want, size_t size)
{
    const size_t feeds[] = { 1, 2, 7, 17, 100000 }, rooms[] = { 1, 3, 100, 100000 };
    uint8_t *out = malloc(size + 1);
    if (!EXPECT(out, "no memory")) return;
    for (size_t f = 0; f < 5; f++)
        for (size_t r = 0; r < 4; r++) {
            if (rooms[r] * 10000 < size) continue;
            tlvi_inflate *z = tlvi_inflate_open(c, wrap);
            if (!EXPECT(z, "no memory")) break;
            size_t got = inflate_all(z, in, n, feeds[f], rooms[r], out, size + 1);
            const char *error = tlvi_inflate_error(z);
            EXPECT(!error && tlvi_inflate_ended(z), "feed %zu, room %zu: %s", feeds[f], rooms[r],
                   error ? error : "no end");
            EXPECT(got == size && memcmp(out, want, size) == 0, "feed %zu, room %zu: %zu bytes",
                   feeds[f], rooms[r], got);
            tlvi_inflate_close(z);
        }
    free(out);
}

static void test_streams_in_any_pieces(void)
{
    uint8_t *want = malloc(40000);
    REQUIRE(want, "no memory");
    tlv_ctx *c = support_open();
    wave(want);
    check_stream(c, TLVI_ZLIB, DYNAMIC, sizeof DYNAMIC, want, WAVE);
    check_stream(c, TLVI_RAW, DYNAMIC + 2, sizeof DYNAMIC - 6, want, WAVE);
    far_apart(want);
    check_stream(c, TLVI_RAW, FAR, sizeof FAR, want, 32808);
    check_stream(c, TLVI_ZLIB, FIXED, sizeof FIXED,
                 (const uint8_t *)"deflate deflates the deflated", 29);
    // Two stored blocks of 3 and 0 bytes
    const uint8_t stored[] = { 0, 3, 0, 0xfc, 0xff, 'a', 'b', 'c', 1, 0, 0, 0xff, 0xff };
    check_stream(c, TLVI_RAW, stored, sizeof stored, (const uint8_t *)"abc", 3);
    free(want);
    tlv_ctx_close(c);
}

static void test_gzip_members(void)
{
    const uint8_t *want = (const uint8_t *)"one member, another";
    tlv_ctx *c = support_open();
    check_stream(c, TLVI_GZIP, MEMBERS, sizeof MEMBERS, want, 19);
    check_stream(c, TLVI_GZIP, MEMBERS, MEMBERS_END, want, 19);
    check_stream(c, TLVI_GZIP, MEMBERS, MEMBERS_TWO, want, 10);
    tlv_ctx_close(c);
}

/* What follows a zlib stream is left to the caller, as far as it was fed with the end. */
static void test_bytes_behind_the_end_are_left(void)
{
    uint8_t in[sizeof FIXED + 40], out[64];
    memcpy(in, FIXED, sizeof FIXED);
    memset(in + sizeof FIXED, 0xa5, 40);
    tlv_ctx *c = support_open();
    tlvi_inflate *z = tlvi_inflate_open(c, TLVI_ZLIB);
    const uint8_t *p = in;
    size_t n = sizeof in;
    EXPECT_INT(tlvi_inflate_read(z, &p, &n, out, sizeof out), 29);
    EXPECT(tlvi_inflate_ended(z) && n == 40 && p == in + sizeof FIXED, "%zu are left", n);
    EXPECT_INT(tlvi_inflate_read(z, &p, &n, out, sizeof out), 0);
    EXPECT_INT(n, 40);
    tlvi_inflate_close(z);
    tlv_ctx_close(c);
}

/* With room for exactly what there is, the end and a wrong checksum show in the same call. */
static void test_the_end_is_seen_with_the_last_byte(void)
{
    tlv_ctx *c = support_open();
    for (int spoil = 0; spoil < 2; spoil++) {
        uint8_t in[sizeof DYNAMIC], out[WAVE];
        memcpy(in, DYNAMIC, sizeof in);
        in[sizeof in - 1] ^= (uint8_t)spoil;
        tlvi_inflate *z = tlvi_inflate_open(c, TLVI_ZLIB);
        const uint8_t *p = in;
        size_t n = sizeof in;
        EXPECT_INT(tlvi_inflate_read(z, &p, &n, out, WAVE - 1), WAVE - 1);
        EXPECT(!tlvi_inflate_ended(z) && !tlvi_inflate_error(z), "one byte is still to come");
        EXPECT_INT(tlvi_inflate_read(z, &p, &n, out, 1), 1);
        EXPECT_INT(tlvi_inflate_ended(z), !spoil);
        EXPECT_STR(tlvi_inflate_error(z),
                   spoil ? "a checksum that does not fit the data" : NULL);
        tlvi_inflate_close(z);
    }
    tlv_ctx_close(c);
}

/* ---- streams that are wrong ------------------------------------------------------------------ */

static void check_wrong(tlv_ctx *c, tlvi_wrap wrap, const uint8_t *in, size_t n, const char *says)
{
    uint8_t out[4096];
    for (size_t feed = 1; feed <= 100; feed += 99) {
        tlvi_inflate *z = tlvi_inflate_open(c, wrap);
        inflate_all(z, in, n, feed, sizeof out, out, sizeof out);
        EXPECT_STR(tlvi_inflate_error(z), says);
        EXPECT(!tlvi_inflate_ended(z), "ended, though it should say '%s'", says);
        tlvi_inflate_close(z);
    }
}

/* Bits, least significant first, as "1 01 ..." from the first to the last; padded with zeros. */
static size_t from_bits(const char *text, uint8_t *out)
{
    size_t n = 0;
    memset(out, 0, 64);
    for (; *text; text++)
        if (*text != ' ') {
            out[n / 8] |= (uint8_t)((*text - '0') << n % 8);
            n++;
        }
    return (n + 7) / 8 + 20;                // zeros enough for the fast loop
}

static const char IMPOSSIBLE[] = "lengths of codes whose own code is impossible";

static void test_wrong_streams(void)
{
    static const struct { const char *bits, *says; } cases[] = {
        { "1 11", "a block of a type that does not exist" },
        { "1 00 00000 1000000000000000 0000000000000000", "a stored block with a wrong size" },
        // Fixed code: 'A' (00110000 + 65), then length 3 (0000001) at distance 2 (00001)
        { "1 10 01110001 0000001 00001", "a copy reaches back before the beginning" },
        { "1 10 11000110", "bits that are no code" },                   // symbol 286
        { "1 10 01110001 0000001 11110", "bits that are no code" },     // distance symbol 30
        // Dynamic: counts of 288 and 1; 257 and 31
        { "1 01 11111 00000 0000", "a code of too many symbols" },
        { "1 01 00000 01111 0000", "a code of too many symbols" },
        // Lengths of the code of lengths: four of one bit; one of seven bits
        { "1 01 00000 00000 0000 100 100 100 100", IMPOSSIBLE },
        { "1 01 00000 00000 0000 111 000 000 000", IMPOSSIBLE },
        // 16 (repeat) and 18 (zeros) of one bit each: a repeat first; too many zeros
        { "1 01 00000 00000 0000 100 000 100 000 0 00",
          "a repeated code length where there is none to repeat" },
        { "1 01 00000 00000 0000 100 000 100 000 1 1111111 1 1111111",
          "a repeated code length where there is none to repeat" },
        // 138 + 120 zeros: nothing ends a block
        { "1 01 00000 00000 0000 100 000 100 000 1 1111111 1 1011011",
          "a code without an end of block" },
    };
    uint8_t in[64 + 20];
    tlv_ctx *c = support_open();
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        check_wrong(c, TLVI_RAW, in, from_bits(cases[i].bits, in), cases[i].says);
    tlv_ctx_close(c);
}

static void test_wrong_wrappings(void)
{
    static const struct { int zlib, at; uint8_t value; const char *says; } cases[] = {
        { 1, 0, 0x79, "no zlib header" },
        { 1, 1, 0xdb, "no zlib header" },
        { 0, 0, 0x1e, "no gzip header" },
        { 0, 1, 0x8c, "no gzip header" },
        { 0, 2, 7, "a method of compression other than deflate" },
        { 0, 3, 0x3e, "flags of gzip that are not defined" },
        { 0, 13, 'x', "a gzip header with a wrong checksum" },
        { 0, MEMBERS_TWO - 1, 1, "a size that does not fit the data" },
        { 0, MEMBERS_TWO - 5, 1, "a checksum that does not fit the data" },
        { 0, MEMBERS_TWO, 1, "no gzip header" },
        { 0, MEMBERS_END + 1, 1, "no gzip header" },
    };
    uint8_t in[sizeof MEMBERS + sizeof FIXED];
    tlv_ctx *c = support_open();
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const uint8_t *from = cases[i].zlib ? FIXED : MEMBERS;
        size_t n = cases[i].zlib ? sizeof FIXED : sizeof MEMBERS;
        memcpy(in, from, n);
        in[cases[i].at] = cases[i].value;
        check_wrong(c, cases[i].zlib ? TLVI_ZLIB : TLVI_GZIP, in, n, cases[i].says);
    }
    check_wrong(c, TLVI_ZLIB, (const uint8_t[]){ 0x77, 0x09 }, 2,
                "a method of compression other than deflate");
    check_wrong(c, TLVI_ZLIB, (const uint8_t[]){ 0x78, 0x20 }, 2,
                "a preset dictionary, which nobody has");
    tlv_ctx_close(c);
}

/* Cut anywhere, a stream does not end; what it gives is the beginning of the whole. */
static void test_cut_streams(void)
{
    uint8_t want[WAVE], out[WAVE + 1];
    wave(want);
    tlv_ctx *c = support_open();
    for (size_t n = 0; n < sizeof DYNAMIC; n++) {
        tlvi_inflate *z = tlvi_inflate_open(c, TLVI_ZLIB);
        size_t got = inflate_all(z, DYNAMIC, n, 50, sizeof out, out, sizeof out);
        EXPECT(!tlvi_inflate_ended(z) && !tlvi_inflate_error(z), "%zu bytes: an end or error", n);
        EXPECT(got <= WAVE && memcmp(out, want, got) == 0, "%zu bytes give %zu", n, got);
        tlvi_inflate_close(z);
    }
    tlv_ctx_close(c);
}

/* ---- checksums ------------------------------------------------------------------------------- */

/* Both by their definitions, a bit and a byte at a time. */
static uint32_t slow_crc(const uint8_t *p, size_t n)
{
    uint32_t crc = ~0u;
    for (size_t i = 0; i < n; i++) {
        crc ^= p[i];
        for (int k = 0; k < 8; k++) crc = crc & 1 ? crc >> 1 ^ 0xedb88320u : crc >> 1;
    }
    return ~crc;
}

static uint32_t slow_adler(const uint8_t *p, size_t n)
{
    uint32_t a = 1, b = 0;
    for (size_t i = 0; i < n; i++) {
        a = (a + p[i]) % 65521;
        b = (b + a) % 65521;
    }
    return b << 16 | a;
}

static void test_checksums(void)
{
    enum { N = 20000 };
    uint8_t *p = malloc(N);
    REQUIRE(p, "no memory");
    EXPECT_INT(tlvi_crc32(0, (const uint8_t *)"123456789", 9), 0xcbf43926);
    EXPECT_INT(tlvi_adler32(1, (const uint8_t *)"Wikipedia", 9), 0x11e60398);
    for (int high = 0; high < 2; high++) {
        for (size_t i = 0; i < N; i++) p[i] = high ? 255 : (uint8_t)(i * 2654435761u >> 13);
        const size_t sizes[] = { 0, 1, 7, 8, 15, 16, 17, 33, 5552, 5553, 11119, N - 1 };
        for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
            size_t n = sizes[i], half = n / 3;
            EXPECT_INT(tlvi_crc32(0, p + 1, n), slow_crc(p + 1, n));
            EXPECT_INT(tlvi_adler32(1, p + 1, n), slow_adler(p + 1, n));
            EXPECT_INT(tlvi_crc32(tlvi_crc32(0, p, half), p + half, n - half), slow_crc(p, n));
            EXPECT_INT(tlvi_adler32(tlvi_adler32(1, p, half), p + half, n - half),
                       slow_adler(p, n));
        }
    }
    free(p);
}

static void test_corpus(void)
{
    EXPECT(fuzz_corpus("inflate", fuzz_inflate) >= 8, "few files");
}

TEST_MAIN(T(test_streams_in_any_pieces), T(test_gzip_members),
          T(test_bytes_behind_the_end_are_left), T(test_the_end_is_seen_with_the_last_byte),
          T(test_wrong_streams), T(test_wrong_wrappings), T(test_cut_streams), T(test_checksums),
          T(test_corpus))
