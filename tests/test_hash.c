/* test_hash.c -- BLAKE2b-256.  What is expected comes from Python's hashlib.blake2b(data,
 * digest_size=32), whose BLAKE2b passes RFC 7693's self-test (appendix E). */
#include <stdio.h>
#include <string.h>

#include "tensor/hash.h"
#include "tests/test.h"

enum { MOST = 1000 };

static const char *hex(const uint8_t *digest, char *out)
{
    for (int i = 0; i < TLVI_HASH_BYTES; i++) sprintf(out + 2 * i, "%02x", digest[i]);
    return out;
}

/* Byte i is i * 7 + 3, mod 256; hashed in pieces of `piece` bytes. */
static void hash_pattern(size_t n, size_t piece, uint8_t *out)
{
    uint8_t data[MOST];
    for (size_t i = 0; i < n; i++) data[i] = (uint8_t)(i * 7 + 3);
    tlvi_hash h = tlvi_hash_begin();
    for (size_t at = 0; at < n; at += piece)
        tlvi_hash_add(&h, data + at, n - at < piece ? n - at : piece);
    tlvi_hash_end(&h, out);
}

static void test_known_digests(void)
{
    static const struct { size_t n; const char *want; } cases[] = {
        { 0, "0e5751c026e543b2e8ab2eb06099daa1d1e5df47778f7787faab45cdf12fe3a8" },
        { 1, "e88bd757ad5b9bedf372d8d3f0cf6c962a469db61a265f6418e1ffed86da29ec" },
        { 127, "c9ae3859964b35f04c54b36d33cf299d7290ee621005d28e51598a943560aaaa" },
        { 128, "f0501d06597880592bc49234eef100ec1ff349058d0e9d9b753504e24af86dd6" },
        { 129, "a34a4e1e03c541dfbf3099c4b6c143c022ced65c28bd7e8a10e0a098461aecf0" },
        { 255, "f2d64a40e9412a3414161ff6250075225418fd7c271c1123e162e1bca0de9f93" },
        { 256, "d93ebb9c802f5630ab22516fd82b6c21bc8bd551d531349b715f046ed11ed871" },
        { 257, "4ce481b24d387422d2bc2baa03d1afd55a1327939ff537c71eb9b38709268649" },
        { 1000, "d62b6c768ce1afc8367e0498ab2f8e3f7c178c35b1429f14c4604b545d200f52" },
    };
    uint8_t digest[TLVI_HASH_BYTES];
    char text[2 * TLVI_HASH_BYTES + 1];
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        hash_pattern(cases[i].n, MOST, digest);
        EXPECT_STR(hex(digest, text), cases[i].want);
    }
    tlvi_hash h = tlvi_hash_begin();
    tlvi_hash_add(&h, "abc", 3);
    tlvi_hash_end(&h, digest);
    EXPECT_STR(hex(digest, text),
               "bddd813c634239723171ef3fee98579b94964e3bb1cb3e427262c8c068d52319");
    h = tlvi_hash_begin();
    tlvi_hash_add_u64(&h, 0x0102030405060708);          // least significant byte first
    tlvi_hash_end(&h, digest);
    EXPECT_STR(hex(digest, text),
               "629ede7a57f270a48d154690851104b954ebaaa0099ef7f879099643e2ebf872");
}

/* The digest of the digests of every length from 0 to 519, each fed in pieces. */
static void test_every_length_in_any_pieces(void)
{
    static const size_t pieces[] = { 1, 3, 64, 127, 128, 129, 200, 256, 300, MOST };
    for (size_t p = 0; p < sizeof pieces / sizeof pieces[0]; p++) {
        tlvi_hash all = tlvi_hash_begin();
        uint8_t digest[TLVI_HASH_BYTES];
        char text[2 * TLVI_HASH_BYTES + 1];
        for (size_t n = 0; n < 520; n++) {
            hash_pattern(n, pieces[p], digest);
            tlvi_hash_add(&all, digest, sizeof digest);
        }
        tlvi_hash_add(&all, NULL, 0);                   // nothing is no reason to read
        tlvi_hash_end(&all, digest);
        EXPECT(strcmp(hex(digest, text),
                      "fcebc8446e76a239afdc804545246f492f3ad9faab839d8af32357f3d0e09449") == 0,
               "pieces of %zu: %s", pieces[p], text);
    }
}

TEST_MAIN(T(test_known_digests), T(test_every_length_in_any_pieces))
