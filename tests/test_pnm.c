/* test_pnm.c -- PBM, PGM and PPM files. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/codec.h"
#include "tests/fuzz_images.h"
#include "tests/support.h"
#include "tests/torture.h"

#define BYTES(s) s, sizeof(s) - 1

/* A file, and the samples that come out of it. */
typedef struct known {
    const char *bytes;
    size_t n;
    int w, h;
    tlv_pixels kind;
    int depth;
    uint16_t want[12];
} known;

static const known KNOWN[] = {
    { BYTES("P1\n# c\n3 2\n1 0 1\n011\n"), 3, 2, TLV_GREY, 8, { 0, 255, 0, 255, 0, 0 } },
    { BYTES("P1 1 1 #c\n0 no picture"), 1, 1, TLV_GREY, 8, { 255 } },
    // maximum 15: 7 / 15 255 = 119, 3 / 15 255 = 51
    { BYTES("P2 2 2 15\n0 15 7 3"), 2, 2, TLV_GREY, 8, { 0, 255, 119, 51 } },
    { BYTES("P2 2 1 1000\n999#\n 1000"), 2, 1, TLV_GREY, 16, { 65469, 65535 } },
    { BYTES("P2\r\n1\t1\v10\f5"), 1, 1, TLV_GREY, 8, { 128 } },             // 127.5: to even
    { BYTES("P2 1 1 34\n1#c\n7"), 1, 1, TLV_GREY, 8, { 128 } },             // 17: comments end none
    { BYTES("P3\n1 2\n255\n1 2 3 255 254 253"), 1, 2, TLV_RGB, 8, { 1, 2, 3, 255, 254, 253 } },
    { BYTES("P3 1 1 1000 500 250 1000\n"), 1, 1, TLV_RGB, 8, { 128, 64, 255 } },
    { BYTES("P4 9 2\n\xa5\x80\x5a\x7f"), 9, 2, TLV_GREY, 8, { 0, 255, 0, 255, 255, 0, 255, 0, 0,
                                                              255, 0, 255 } },
    { BYTES("P5 3 1 255\n\1 \3"), 3, 1, TLV_GREY, 8, { 1, 32, 3 } },
    { BYTES("P5 3 1 100 \0\x32\xff"), 3, 1, TLV_GREY, 8, { 0, 128, 255 } }, // 127.5, too much
    { BYTES("P5 2 1 65535\n\1\2\3\4"), 2, 1, TLV_GREY, 16, { 258, 772 } },
    { BYTES("P5 2 1 4095\n\1\0\xff\xff"), 2, 1, TLV_GREY, 16, { 4097, 65535 } },
    { BYTES("P6 1#x\n 1 100\n\1\2\x64"), 1, 1, TLV_RGB, 8, { 3, 5, 255 } }, // 2.55, 5.1
    { BYTES("P6 1 1 1023\n\1\0\2\0\3\xff"), 1, 1, TLV_RGB, 8, { 64, 128, 255 } },
};
enum { N_KNOWN = sizeof KNOWN / sizeof KNOWN[0] };

static void test_samples(void)
{
    tlv_ctx *c = support_open();
    for (int i = 0; i < N_KNOWN; i++) {
        const known *k = &KNOWN[i];
        tlv_image m = { 0 };
        if (!EXPECT(tlvi_pnm_decode(c, (const uint8_t *)k->bytes, k->n, "x", &m) == TLV_OK,
                    "file %d: %s", i, tlv_error_msg(c))) {
            tlv_error_clear(c);
            continue;
        }
        EXPECT(m.w == k->w && m.h == k->h && m.kind == k->kind && m.depth == k->depth,
               "file %d: %dx%d kind %d depth %d", i, m.w, m.h, (int)m.kind, m.depth);
        size_t n = m.bytes / (size_t)(m.depth / 8);
        for (size_t s = 0; s < n && s < 12; s++) {
            int got = m.depth == 16 ? ((uint16_t *)m.samples)[s] : ((uint8_t *)m.samples)[s];
            EXPECT(got == k->want[s], "file %d, sample %zu: %d, want %d", i, s, got, k->want[s]);
        }
        tlv_image_close(&m);
    }
    tlv_ctx_close(c);
}

static void test_refusals(void)
{
    static const struct {
        const char *bytes;
        size_t n;
        tlv_status code;
        const char *want;
    } BAD[] = {
        { BYTES("P6#x\n1 1 255\n123"), TLV_ERR_FORMAT, "x.pnm is not a PNM file" },
        { BYTES("P8 1 1 255\n123"), TLV_ERR_FORMAT, "x.pnm is not a PNM file" },
        { BYTES("P6 1"), TLV_ERR_FORMAT, "x.pnm: the file ends where the height" },
        { BYTES("P6 1 # no end"), TLV_ERR_FORMAT, "the file ends where the height" },
        { BYTES("P5 1 1"), TLV_ERR_FORMAT, "the file ends where the maximum" },
        { BYTES("P5 1 -1 255\n1"), TLV_ERR_FORMAT, "byte 0x2d in the place of the height" },
        { BYTES("P5 11111111111 1 255\n1"), TLV_ERR_FORMAT, "the width has more than 10 digits" },
        { BYTES("P5 0 1 255\n1"), TLV_ERR_FORMAT, "an image of 0x1 pixels" },
        { BYTES("P5 1 1 0\n1"), TLV_ERR_FORMAT, "a maximum of 0" },
        { BYTES("P5 1 1 65536\n11"), TLV_ERR_FORMAT, "a maximum of 65536" },
        { BYTES("P5 9999999999 9999999999 255\n1"), TLV_ERR_LIMIT, "at most 2^28" },
        { BYTES("P5 16384 16384 255\n1"), TLV_ERR_FORMAT, "need 268435456 bytes and 1 are there" },
        { BYTES("P4 9 2\n\1\2\3"), TLV_ERR_FORMAT, "need 4 bytes and 3 are there" },
        { BYTES("P6 1 1 256\n\1\2\3\4\5"), TLV_ERR_FORMAT, "need 6 bytes and 5 are there" },
        { BYTES("P2 2 1 9\n1 "), TLV_ERR_FORMAT, "need 3 bytes and 2 are there" },
        { BYTES("P2 2 1 9\n10 1"), TLV_ERR_FORMAT, "a sample of 10, above its maximum 9" },
        { BYTES("P2 2 1 9\n1      "), TLV_ERR_FORMAT, "the file ends where a sample" },
        { BYTES("P2 2 1 9\n1 x"), TLV_ERR_FORMAT, "byte 0x78 in the place of a sample" },
        { BYTES("P1 2 1\n1  "), TLV_ERR_FORMAT, "row 0 of 1 is cut short" },
        { BYTES("P1 2 1\n12"), TLV_ERR_FORMAT, "holds something else than 0 and 1" },
    };
    tlv_ctx *c = support_open();
    for (size_t i = 0; i < sizeof BAD / sizeof BAD[0]; i++) {
        tlv_image m = { 0 };
        tlvi_pnm_decode(c, (const uint8_t *)BAD[i].bytes, BAD[i].n, "x.pnm", &m);
        EXPECT_ERROR(c, BAD[i].code, BAD[i].want);
        EXPECT(!m.samples, "%s: samples", BAD[i].want);
    }
    tlv_ctx_close(c);
}

/* A raw file that lacks its last byte is refused; text may lack its last blank. */
static void test_every_truncation(void)
{
    tlv_ctx *c = support_open();
    for (int i = 0; i < N_KNOWN; i++) {
        const known *k = &KNOWN[i];
        if (k->bytes[1] < '4') continue;
        for (size_t n = 0; n < k->n; n++) {
            uint8_t *cut = malloc(n + 1);
            tlv_image m = { 0 };
            REQUIRE(cut, "no memory");
            memcpy(cut, k->bytes, n);
            EXPECT(tlvi_pnm_decode(c, cut, n, "x", &m) == TLV_ERR_FORMAT,
                   "file %d opens with %zu of %zu bytes", i, n, k->n);
            tlv_error_clear(c);
            tlv_image_close(&m);
            free(cut);
        }
    }
    tlv_ctx_close(c);
}

static void test_mutations(void)
{
    for (int i = 0; i < N_KNOWN; i++)
        fuzz_mutations(tlvi_pnm_decode, (const uint8_t *)KNOWN[i].bytes, KNOWN[i].n, 400);
}

static void test_corpus(void) { fuzz_image_corpus(tlvi_pnm_decode, "pnm", 10); }

static void test_collection(void)
{
    int opened = torture_check("pnm", tlvi_pnm_decode);
    EXPECT(opened == 0 || opened == 2, "%d of 2 opened", opened);
}

TEST_MAIN(T(test_samples), T(test_refusals), T(test_every_truncation), T(test_mutations),
          T(test_corpus), T(test_collection))
