/* test_jpeg.c -- JPEG files: the samples that Pillow makes of them, and what is refused. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/codec.h"
#include "tensor/safetensors.h"
#include "tests/fuzz_inputs.h"
#include "tests/support.h"
#include "tests/torture.h"

/* ---- golden files ---------------------------------------------------------------------------- */

static tlv_file *open_goldens(tlv_ctx *c)
{
    char path[512];
    return test_file_path(path, sizeof path, "goldens/jpeg.safetensors") ? tlv_file_open(c, path)
                                                                         : NULL;
}

/* The bytes of one golden JPEG file, as long as f is open. */
static const uint8_t *golden_bytes(const tlv_file *f, const char *name, size_t *n)
{
    int i = tlv_file_find(f, name);
    EXPECT(i >= 0, "no golden %s", name);
    return i < 0 ? NULL : (const uint8_t *)tlvi_file_data(f, i, n);
}

static void check_golden(tlv_ctx *c, const tlv_file *f, const char *name)
{
    char px[128];
    size_t n = 0, want_n = 0;
    snprintf(px, sizeof px, "%.*s.px", (int)(strlen(name) - 4), name);
    int at = tlv_file_find(f, px);
    const uint8_t *bytes = golden_bytes(f, name, &n);
    if (!EXPECT(at >= 0 && bytes, "no samples for %s", name)) return;
    const uint8_t *want = (const uint8_t *)tlvi_file_data(f, at, &want_n), *got;
    tlv_shape s = tlv_file_shape(f, at);
    tlv_image m = { 0 };
    tlvi_jpeg_decode(c, bytes, n, name, &m);
    if (!EXPECT_OK(c)) {
        tlv_error_clear(c);
        return;
    }
    EXPECT(m.h == s.dim[0] && m.w == s.dim[1] && m.channels == s.dim[2] && m.depth == 8,
           "%s: %d x %d x %d", name, m.h, m.w, m.channels);
    EXPECT_INT(m.kind, m.channels == 4 ? TLV_CMYK : m.channels == 3 ? TLV_RGB : TLV_GREY);
    size_t differ = 0;
    got = m.samples;
    for (size_t i = 0; m.bytes == want_n && i < want_n; i++) differ += got[i] != want[i];
    EXPECT(m.bytes == want_n && differ == 0, "%s: %zu of %zu samples differ", name, differ, want_n);
    EXPECT_INT(m.orientation, strncmp(name, "exif_", 5) == 0 ? name[5] - '0' : 1);
    tlv_image_close(&m);
}

static void check_goldens(const char *isa)
{
    tlv_ctx *c = tlv_ctx_open(&(tlv_ctx_opts){ .threads = 1, .isa = isa });
    tlv_file *f = open_goldens(c);
    REQUIRE(f, "no goldens");
    int files = 0;
    for (int i = 0; i < tlv_file_count(f); i++) {
        const char *name = tlv_file_name(f, i), *dot = strrchr(name, '.');
        if (!dot || strcmp(dot, ".jpg") != 0) continue;
        check_golden(c, f, name);
        files++;
    }
    EXPECT(files >= 90, "%d golden files", files);
    tlv_file_close(f);
    tlv_ctx_close(c);
}

static void test_samples_are_pillows(void) { check_goldens(NULL); }
static void test_scalar_kernels_give_the_same(void) { check_goldens("scalar"); }

/* The collection of hard and broken files: what Pillow opens, with its samples to the bit. */
static void test_hard_files(void)
{
    char path[512];
    NEED_DATA(path, sizeof path, "decoder_torture/MANIFEST.tsv");
    EXPECT_INT(torture_check("jpeg", tlvi_jpeg_decode), 33);
}

/* ---- what is refused ------------------------------------------------------------------------- */

static void expect_refused(tlv_ctx *c, const uint8_t *bytes, size_t n, const char *part)
{
    tlv_image m = { 0 };
    uint8_t *exact = malloc(n ? n : 1);             // no byte more, for the sanitizers
    REQUIRE(exact, "no memory");
    memcpy(exact, bytes, n);
    EXPECT(tlvi_jpeg_decode(c, exact, n, "t.jpg", &m) != TLV_OK, "opened, not: %s", part);
    EXPECT(!m.samples, "an error, and samples: %s", part);
    EXPECT(*tlv_error_hint(c), "no hint: %s", part);
    EXPECT_ERROR(c, TLV_ERR_FORMAT, part);
    tlv_image_close(&m);
    free(exact);
}

static void test_every_truncation(void)
{
    static const char *const names[] = { "size_7x5_2x2.jpg", "half_scan_4.jpg", "restart_1.jpg",
                                         "cmyk.jpg" };
    tlv_ctx *c = support_open();
    tlv_file *f = open_goldens(c);
    REQUIRE(f, "no goldens");
    for (size_t k = 0; k < sizeof names / sizeof *names; k++) {
        size_t n = 0;
        const uint8_t *bytes = golden_bytes(f, names[k], &n);
        for (size_t cut = 3; cut < n; cut++)
            expect_refused(c, bytes, cut, "t.jpg: JPEG: the file ends");
    }
    expect_refused(c, (const uint8_t *)"", 0, "does not begin with FFD8");
    expect_refused(c, (const uint8_t *)"\xff\xd8", 2, "does not begin with FFD8");
    expect_refused(c, (const uint8_t *)"\x89PNG\r\n", 6, "does not begin with FFD8");
    tlv_file_close(f);
    tlv_ctx_close(c);
}

/* Segments after FFD8 and before FFD9, in hexadecimal. */
static void refuse(tlv_ctx *c, const char *hex, const char *part)
{
    uint8_t buf[512] = { 0xFF, 0xD8 };
    size_t n = 2;
    for (const char *p = hex; *p && n < sizeof buf - 2; p++) {
        unsigned v;
        if (*p == ' ') continue;
        if (sscanf(p, "%2x", &v) != 1) break;
        buf[n++] = (uint8_t)v;
        p++;
    }
    buf[n++] = 0xFF;
    buf[n++] = 0xD9;
    expect_refused(c, buf, n, part);
}

#define GREY_8X8 "FFC0 000B 08 0008 0008 01 01 11 00 "
#define SCAN "FFDA 0008 01 01 00 00 3F 00 "

static void test_frames_that_are_refused(void)
{
    tlv_ctx *c = support_open();
    refuse(c, "", "the file holds tables but no image");
    refuse(c, "FFC9 000B 08 0008 0008 01 01 11 00", "arithmetic coding (marker FFC9)");
    refuse(c, "FFC3 000B 08 0008 0008 01 01 11 00", "lossless coding (marker FFC3)");
    refuse(c, "FFC5 000B 08 0008 0008 01 01 11 00", "hierarchical coding");
    refuse(c, "FFC1 000B 0C 0008 0008 01 01 11 00", "12 bits a sample; 8 are read");
    refuse(c, "FFC0 000E 08 0008 0008 02 01 11 00 02 11 00", "2 components");
    refuse(c, "FFC0 000B 08 0000 0008 01 01 11 00", "8 x 0 pixels");
    refuse(c, "FFC0 000B 08 FFFF 0008 01 01 11 00", "8 x 65535 pixels");
    refuse(c, "FFC0 000C 08 0008 0008 01 01 11 00 00", "header of 10 bytes for 1 components");
    refuse(c, "FFC0 0006 08 0008 00", "a frame header of 4 bytes");
    refuse(c, "FFC0 000B 08 0008 0008 01 01 51 00", "component 0 is sampled 5 x 1");
    refuse(c, "FFC0 0011 08 0008 0008 03 01 31 00 02 21 00 03 11 00", "no whole ratio");
    refuse(c, GREY_8X8 GREY_8X8, "two frame headers");
    refuse(c, "FFD8", "an image begins within the image");
    refuse(c, "FF02", "an unknown marker, FF02");
    refuse(c, "FFDB 0001", "the length 1, less than 2");
    tlv_ctx_close(c);
}

static void test_tables_and_scans_that_are_refused(void)
{
    tlv_ctx *c = support_open();
    char text[400];
    refuse(c, "FFDB 0003 04", "quantization table 4");
    refuse(c, "FFDB 0004 00 01", "a quantization table of 2 bytes, 65 expected");
    refuse(c, "FFC4 0003 00", "a Huffman table of 1 bytes");
    refuse(c, "FFC4 0013 04 00000000000000000000000000000000", "Huffman table 4 of class 0");
    refuse(c, "FFC4 0013 00 01000000000000000000000000000000", "a Huffman table of 1 codes in 0");
    refuse(c, "FFDD 0003 00", "a restart interval of 1 bytes");
    refuse(c, SCAN, "a scan before the frame header");
    refuse(c, GREY_8X8 SCAN, "quantization table 0 is missing");
    char quant[200] = "FFDB 0043 00";
    for (int i = 0; i < 64; i++) strcat(quant, "01");
    snprintf(text, sizeof text, "%s %s FFDA 0008 01 02 00 00 3F 00", quant, GREY_8X8);
    refuse(c, text, "component 2, which the frame does not have");
    snprintf(text, sizeof text, "%s %s FFDA 0008 02 01 00 00 3F 00", quant, GREY_8X8);
    refuse(c, text, "a scan header of 6 bytes for 2");
    snprintf(text, sizeof text, "%s %s FFDA 0008 01 01 30 00 3F 00", quant, GREY_8X8);
    refuse(c, text, "Huffman table 3 of class 0 is missing");
    snprintf(text, sizeof text, "%s FFC4 0016 00 03000000000000000000000000000000 000102 %s %s",
             quant, GREY_8X8, SCAN);
    refuse(c, text, "a Huffman table of too many codes");
    snprintf(text, sizeof text, "%s FFC4 0014 00 01000000000000000000000000000000 10 %s %s", quant,
             GREY_8X8, SCAN);
    refuse(c, text, "16-bit DC values");
    snprintf(text, sizeof text, "%s FFC2 000B 08 0008 0008 01 01 11 00 FFDA 0008 01 01 00 00 3F 00",
             quant);
    refuse(c, text, "a progressive scan of 1 components, coefficients 0 to 63");
    tlv_ctx_close(c);
}

/* A few bytes must not cost more than a few bytes, whatever they say of themselves. */
static void test_hostile_sizes(void)
{
    tlv_ctx *c = support_open();
    char text[400] = "FFDB 0043 00";
    for (int i = 0; i < 64; i++) strcat(text, "01");
    size_t at = strlen(text);
    tlv_mem_reset_peak(c);
    size_t before = tlv_mem_get(c).now;
    strcpy(text + at, "FFC0 0011 08 3FFF 3FFF 03 01 11 00 02 11 00 03 11 00"
                      "FFDA 000C 03 01 00 02 00 03 00 00 3F 00 1234");
    refuse(c, text, "16383 x 16383 pixels in");
    strcpy(text + at, "FFC2 0011 08 3FFF 3FFF 03 01 11 00 02 11 00 03 11 00"
                      "FFDA 000C 03 01 00 02 00 03 00 00 00 00 1234");
    refuse(c, text, "16383 x 16383 pixels in");
    EXPECT(tlv_mem_get(c).peak < before + (1 << 20), "%zu bytes were taken",
           tlv_mem_get(c).peak - before);

    uint8_t big[] = { 0xFF, 0xD8, 0xFF, 0xC0, 0, 11, 8, 0xFF, 0xDC, 0xFF, 0xDC, 1, 1, 0x11, 0 };
    tlv_image m = { 0 };
    EXPECT_STATUS(tlvi_jpeg_decode(c, big, sizeof big, "big.jpg", &m), TLV_ERR_LIMIT);
    EXPECT_ERROR(c, TLV_ERR_LIMIT, "big.jpg: 65500 x 65500 pixels");
    tlv_ctx_close(c);
}

/* Scans without end: each is cheap, and there are not many. */
static void test_scans_without_end(void)
{
    enum { SCANS = 600, ONE = 10 };
    static const uint8_t scan[ONE] = { 0xFF, 0xDA, 0, 8, 1, 1, 0, 0, 0, 0x10 };
    tlv_ctx *c = support_open();
    tlv_file *f = open_goldens(c);
    REQUIRE(f, "no goldens");
    size_t n = 0;
    const uint8_t *bytes = golden_bytes(f, "grey_progressive.jpg", &n);
    uint8_t *all = malloc(n + SCANS * ONE);
    REQUIRE(all && n > 2, "no memory");
    memcpy(all, bytes, n - 2);
    for (int i = 0; i < SCANS; i++) memcpy(all + n - 2 + i * ONE, scan, ONE);
    expect_refused(c, all, n - 2 + SCANS * ONE, "more than 500 scans");
    free(all);
    tlv_file_close(f);
    tlv_ctx_close(c);
}

/* ---- strangers' files ------------------------------------------------------------------------ */

static void test_mutations(void)
{
    static const char *const names[] = { "size_17x33_2x2.jpg", "scans_fine.jpg", "restart_1.jpg",
                                         "half_scan_4.jpg", "ycck.jpg" };
    tlv_ctx *c = support_open();
    tlv_file *f = open_goldens(c);
    REQUIRE(f, "no goldens");
    int opened = 0, refused = 0;
    uint64_t r = 1;
    for (int round = 0; round < 1500; round++) {
        size_t n = 0;
        const uint8_t *bytes = golden_bytes(f, names[round % 5], &n);
        uint8_t *p = malloc(n + 1);
        REQUIRE(p && n > 4, "no memory");
        memcpy(p, bytes, n);
        for (int k = 0; k <= round % 4; k++) {
            r = r * 6364136223846793005u + 1442695040888963407u;
            size_t at = 4 + (size_t)(r >> 33) % (n - 4);
            p[at] = (uint8_t)(k & 1 ? 0xFF : r >> 24);
        }
        const char *why;
        int got = fuzz_jpeg(c, p, n, &why);
        EXPECT(got >= 0, "mutation %d of %s: %s", round, names[round % 5], why);
        opened += got == 1;
        refused += got == 0;
        free(p);
    }
    EXPECT(opened >= 200 && refused >= 200, "%d opened, %d refused", opened, refused);
    tlv_file_close(f);
    tlv_ctx_close(c);
}

static void test_corpus(void)
{
    char dir[256], path[600];
    static uint8_t buf[1 << 16];
    int files = 0;
    REQUIRE(test_file_path(dir, sizeof dir, "fuzz/corpus/jpeg"), "no corpus");
    tlv_ctx *c = tlv_ctx_open(&(tlv_ctx_opts){ .threads = 1, .mem_limit = (size_t)100 << 20 });
    DIR *d = opendir(dir);
    REQUIRE(d, "%s cannot be listed", dir);
    for (struct dirent *e; (e = readdir(d)) != NULL;) {
        if (e->d_name[0] == '.') continue;
        snprintf(path, sizeof path, "%s/%s", dir, e->d_name);
        FILE *f = fopen(path, "rb");
        if (!EXPECT(f, "%s cannot be opened", path)) continue;
        size_t n = fread(buf, 1, sizeof buf, f);
        fclose(f);
        const char *why;
        EXPECT(fuzz_jpeg(c, buf, n, &why) >= 0, "%s: %s", path, why);
        files++;
    }
    closedir(d);
    EXPECT(files >= 10, "%d files in %s", files, dir);
    tlv_ctx_close(c);
}

/* Every request for memory fails once: the error says so, and nothing is lost. */
static void test_memory_runs_out(void)
{
    static const char *const names[] = { "exif_6.jpg", "grey_progressive.jpg" };
    tlv_ctx *c = support_open();
    tlv_file *f = open_goldens(c);
    REQUIRE(f, "no goldens");
    for (int k = 0; k < 2; k++) {
        size_t n = 0;
        const uint8_t *bytes = golden_bytes(f, names[k], &n);
        int failures = 0;
        for (int64_t fail = 1; fail < 1000; fail++) {
            support_hook hook = { 0 };
            tlv_image m = { 0 };
            tlv_ctx *d = tlv_ctx_open(&(tlv_ctx_opts){
                .threads = 1, .fail_at = fail, .alloc = support_alloc, .alloc_user = &hook });
            tlv_status st = d ? tlvi_jpeg_decode(d, bytes, n, names[k], &m) : TLV_ERR_NOMEM;
            EXPECT(st == TLV_OK || (st == TLV_ERR_NOMEM && !m.samples), "%s, request %d: %s",
                   names[k], (int)fail, tlv_status_name(st));
            tlv_image_close(&m);
            tlv_ctx_close(d);
            EXPECT(hook.live == 0, "%s, request %d: %lld blocks are lost", names[k], (int)fail,
                   (long long)hook.live);
            if (st == TLV_OK) break;
            failures++;
        }
        EXPECT(failures >= 3 && failures < 900, "%s: %d requests", names[k], failures);
    }
    tlv_file_close(f);
    tlv_ctx_close(c);
}

TEST_MAIN(T(test_samples_are_pillows), T(test_scalar_kernels_give_the_same),
          T(test_hard_files), T(test_every_truncation), T(test_frames_that_are_refused),
          T(test_tables_and_scans_that_are_refused), T(test_hostile_sizes),
          T(test_scans_without_end), T(test_mutations), T(test_corpus), T(test_memory_runs_out))
