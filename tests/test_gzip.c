/* test_gzip.c -- compressing, and IDX data sets in .gz files. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/codec.h"
#include "tests/support.h"

/* ---- what is deflated inflates --------------------------------------------------------------- */

typedef uint8_t (*sample)(size_t i);

static uint32_t hash(size_t i)
{
    uint32_t v = (uint32_t)i * 2654435761u;
    return (v ^ v >> 15) * 2246822519u;
}

static uint8_t noise(size_t i) { return (uint8_t)(hash(i) >> 24); }
static uint8_t four_letters(size_t i) { return (uint8_t)("acgt"[hash(i) >> 30]); }
static uint8_t constant(size_t i) { return (uint8_t)(i & 0); }
static uint8_t squares(size_t i) { return (uint8_t)(i * i >> 5); }
static uint8_t period(size_t i) { return noise(i % 32768); }     // the longest distance
static uint8_t skewed(size_t i)                                 // literals that are rarer and rarer
{
    uint32_t v = hash(i) >> 8;
    uint8_t k = 0;
    while (v & 1) {
        v >>= 1;
        k++;
    }
    return k;
}

/* The size of in[n] deflated, after it was inflated again and compared. */
static size_t round_trip(tlv_ctx *c, const uint8_t *in, size_t n, uint8_t *out)
{
    size_t size = 0, room = 0;
    uint8_t *packed = tlvi_deflate(c, in, n, &size, &room);
    if (!EXPECT(packed, "%s", tlv_error_msg(c))) return 0;
    EXPECT(size <= room, "%zu bytes in %zu", size, room);
    tlvi_inflate *z = tlvi_inflate_open(c, TLVI_ZLIB);
    const uint8_t *p = packed;
    size_t left = size, got = tlvi_inflate_read(z, &p, &left, out, n + 1);
    EXPECT(tlvi_inflate_ended(z) && left == 0, "no end after %zu bytes, %zu left", got, left);
    EXPECT(got == n && memcmp(in, out, n) == 0, "%zu bytes came back as %zu", n, got);
    tlvi_inflate_close(z);
    tlvi_free(c, packed, room);
    return size;
}

static void test_round_trips(void)
{
    // At most so many thousandths of 200000 bytes are left: a tenth more than of zlib level 6, but
    // for period, whose distance zlib does not reach
    static const struct { sample f; size_t thousandths; } kinds[] = {
        { noise, 1001 }, { four_letters, 323 }, { constant, 2 },
        { squares, 30 }, { period, 200 }, { skewed, 350 },
    };
    const size_t sizes[] = { 0, 1, 2, 3, 4, 257, 258, 259, 16383, 16384, 65535, 65536, 200000 };
    enum { MOST = 200000 };
    uint8_t *in = malloc(MOST), *out = malloc(MOST + 1);
    REQUIRE(in && out, "no memory");
    tlv_ctx *c = support_open();
    for (size_t k = 0; k < sizeof kinds / sizeof kinds[0]; k++) {
        for (size_t i = 0; i < MOST; i++) in[i] = kinds[k].f(i);
        for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
            size_t n = sizes[i], size = round_trip(c, in, n, out);
            EXPECT(n < MOST || size * 1000 <= n * kinds[k].thousandths,
                   "kind %zu: %zu bytes of %zu", k, size, n);
        }
    }
    free(in);
    free(out);
    tlv_ctx_close(c);
}

/* ---- IDX in gzip ----------------------------------------------------------------------------- */

static int write_file(const char *path, const void *data, size_t n)
{
    FILE *f = fopen(path, "wb");
    int ok = f && fwrite(data, 1, n, f) == n;
    if (f) ok &= fclose(f) == 0;
    return EXPECT(ok, "cannot write %s", path);
}

static void put32(uint8_t *p, uint32_t v)
{
    for (int i = 0; i < 4; i++) p[i] = (uint8_t)(v >> 8 * i);
}

/* in[n] as one member of gzip; its size. */
static size_t gzip(tlv_ctx *c, const uint8_t *in, size_t n, uint8_t *out)
{
    size_t size, room;
    uint8_t *packed = tlvi_deflate(c, in, n, &size, &room);
    if (!EXPECT(packed, "%s", tlv_error_msg(c))) return 0;
    memcpy(out, (uint8_t[10]){ 0x1f, 0x8b, 8 }, 10);
    memcpy(out + 10, packed + 2, size - 6);         // without zlib's head and checksum
    put32(out + size + 4, tlvi_crc32(0, in, n));
    put32(out + size + 8, (uint32_t)n);
    tlvi_free(c, packed, room);
    return size + 12;
}

enum { IMAGES = 5, SIDE = 7, LABELS_BYTES = 8 + IMAGES,
       IMAGES_BYTES = 16 + IMAGES * SIDE * SIDE };

/* Labels 0 1 2 0 1, and images of squares(). */
static void idx_files(uint8_t *images, uint8_t *labels)
{
    memcpy(labels, (uint8_t[]){ 0, 0, 8, 1, 0, 0, 0, IMAGES, 0, 1, 2, 0, 1 }, LABELS_BYTES);
    memcpy(images, (uint8_t[16]){ 0, 0, 8, 3, 0, 0, 0, IMAGES, 0, 0, 0, SIDE, 0, 0, 0, SIDE }, 16);
    for (size_t i = 16; i < IMAGES_BYTES; i++) images[i] = squares(i);
}

static tlv_dataset *open_set(tlv_ctx *c, const char *images, const char *labels)
{
    char what[2200];
    snprintf(what, sizeof what, "idx:%.1000s,%.1000s", images, labels);
    return tlv_dataset_open(c, what, NULL);
}

static void check_set(tlv_ctx *c, tlv_dataset *d)
{
    uint8_t images[IMAGES_BYTES], labels[LABELS_BYTES];
    idx_files(images, labels);
    if (!EXPECT(d, "%s", tlv_error_msg(c))) return;
    EXPECT_INT(tlv_dataset_size(d), IMAGES);
    for (int i = 0; i < IMAGES; i++) {
        EXPECT_INT(tlv_dataset_label(d, i), labels[8 + i]);
        EXPECT(memcmp(tlv_dataset_pixels(d, i), images + 16 + i * SIDE * SIDE, SIDE * SIDE) == 0,
               "image %d", i);
    }
    tlv_dataset_close(d);
}

/* The name does not matter; one of both may be plain; a file may have several members. */
static void test_idx_in_gzip(void)
{
    char images[1024], labels[1024];
    uint8_t im[IMAGES_BYTES], la[LABELS_BYTES], packed[2 * IMAGES_BYTES + 100];
    REQUIRE(test_temp_path(images, sizeof images, "im"), "no path");
    REQUIRE(test_temp_path(labels, sizeof labels, "la.gz"), "no path");
    tlv_ctx *c = support_open();
    idx_files(im, la);
    size_t n = gzip(c, im, IMAGES_BYTES, packed);
    if (!write_file(images, packed, n) || !write_file(labels, la, LABELS_BYTES)) return;
    check_set(c, open_set(c, images, labels));
    n = gzip(c, la, LABELS_BYTES, packed);
    if (!write_file(labels, packed, n)) return;
    check_set(c, open_set(c, images, labels));
    n = gzip(c, im, 10, packed);
    n += gzip(c, im + 10, IMAGES_BYTES - 10, packed + n);
    if (!write_file(images, packed, n)) return;
    check_set(c, open_set(c, images, labels));
    tlv_ctx_close(c);
}

static void check_refused(tlv_ctx *c, const char *images, const uint8_t *bytes, size_t n,
                          const char *labels, const char *says)
{
    if (!write_file(images, bytes, n)) return;
    tlv_dataset *d = open_set(c, images, labels);
    EXPECT(!d, "opened, though it should say '%s'", says);
    EXPECT(strstr(tlv_error_msg(c), images), "no path in: %s", tlv_error_msg(c));
    EXPECT_ERROR(c, TLV_ERR_FORMAT, says);
    tlv_dataset_close(d);
}

static void test_broken_gzip_is_refused(void)
{
    char images[1024], labels[1024];
    uint8_t im[IMAGES_BYTES + 1], la[LABELS_BYTES], packed[2 * IMAGES_BYTES + 100];
    REQUIRE(test_temp_path(images, sizeof images, "im.gz"), "no path");
    REQUIRE(test_temp_path(labels, sizeof labels, "la"), "no path");
    tlv_ctx *c = support_open();
    idx_files(im, la);
    im[IMAGES_BYTES] = 0;
    if (!write_file(labels, la, LABELS_BYTES)) return;
    size_t n = gzip(c, im, IMAGES_BYTES, packed);
    for (size_t cut = 2; cut < n; cut += 5)
        check_refused(c, images, packed, cut, labels, "gzip: it is cut short");
    packed[n - 5] ^= 1;
    check_refused(c, images, packed, n, labels, "broken gzip: a checksum");
    packed[10] |= 6;
    check_refused(c, images, packed, n, labels, "broken gzip: a block of a type");
    n = gzip(c, im, IMAGES_BYTES - 1, packed);
    check_refused(c, images, packed, n, labels, "244 bytes of data, its header says 245");
    n = gzip(c, im, IMAGES_BYTES + 1, packed);
    check_refused(c, images, packed, n, labels, "246 bytes of data, its header says 245");
    n = gzip(c, im, 10, packed);
    check_refused(c, images, packed, n, labels, "not an IDX file");
    // 2^31 bytes are announced by a file of some hundred
    im[4] = 0x10;
    n = gzip(c, im, IMAGES_BYTES, packed);
    tlv_mem_reset_peak(c);
    check_refused(c, images, packed, n, labels, "cannot hold what its header says");
    EXPECT(tlv_mem_get(c).peak < 2 << 20, "%zu bytes were taken", tlv_mem_get(c).peak);
    memset(im + 4, 0xff, 12);
    n = gzip(c, im, IMAGES_BYTES, packed);
    check_refused(c, images, packed, n, labels, "cannot hold what its header says");
    tlv_ctx_close(c);
}

TEST_MAIN(T(test_round_trips), T(test_idx_in_gzip), T(test_broken_gzip_is_refused))
