/* test_safetensors.c -- reading files of tensors: what is in them, and what is refused. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "tensor/json.h"
#include "tensor/mapfile.h"
#include "tensor/safetensors.h"
#include "tests/fuzz_inputs.h"
#include "tests/support.h"

enum { CAP = 4096 };

/* length, header, data of so many bytes 0, 1, 2 ... */
static size_t build(unsigned char *buf, const char *header, size_t data)
{
    uint64_t length = strlen(header);
    memcpy(buf, &length, 8);
    memcpy(buf + 8, header, length);
    for (size_t i = 0; i < data; i++) buf[8 + length + i] = (unsigned char)i;
    return 8 + (size_t)length + data;
}

static tlv_file *parse(tlv_ctx *c, unsigned char *buf, const char *header, size_t data)
{
    return tlvi_file_parse(c, "test.safetensors", buf, build(buf, header, data));
}

/* ---- what is read ---------------------------------------------------------------------------- */

static void test_a_file_of_every_dtype(void)
{
    static const struct { const char *name; tlv_dtype dtype; int ndim; int64_t dim[3]; } want[] = {
        { "f32", TLV_F32, 2, { 2, 3 } }, { "f16", TLV_F16, 1, { 3 } },
        { "bf16", TLV_BF16, 3, { 1, 1, 1 } }, { "f64", TLV_F64, 0, { 0 } },
        { "i64", TLV_I64, 1, { 1 } }, { "i32", TLV_I32, 1, { 2 } }, { "u8", TLV_U8, 1, { 3 } },
        { "bool", TLV_U8, 1, { 1 } }, { "empty", TLV_F32, 2, { 4, 0 } },
    };
    unsigned char buf[CAP];
    tlv_ctx *c = support_open();
    size_t n = fuzz_safetensors_seed(buf, sizeof buf), at = n - 60;
    tlv_file *f = tlvi_file_parse(c, "seed", buf, n);
    EXPECT_OK(c);
    REQUIRE(f, "no file");
    EXPECT_INT(tlv_file_count(f), 9);
    for (int i = 0; i < 9; i++) {
        tlv_shape s = tlv_file_shape(f, i);
        EXPECT_STR(tlv_file_name(f, i), want[i].name);
        EXPECT_INT(tlv_file_dtype(f, i), want[i].dtype);
        EXPECT_INT(s.ndim, want[i].ndim);
        for (int d = 0; d < s.ndim; d++) EXPECT_INT(s.dim[d], want[i].dim[d]);
        EXPECT_INT(tlv_file_find(f, want[i].name), i);
        tlv_tensor *t = tlv_file_read(c, f, i);
        REQUIRE(t, "%s: %s", want[i].name, tlv_error_msg(c));
        tlv_view v;
        tlv_view_of(c, t, &v);
        size_t bytes = (size_t)tlv_numel(t) * tlv_dtype_size(v.dtype);
        EXPECT(memcmp(v.ptr, buf + at, bytes) == 0, "%s: other bytes", want[i].name);
        at += bytes;
    }
    EXPECT_INT(at, n);
    EXPECT_INT(tlv_file_find(f, "none"), -1);
    EXPECT_INT(tlv_file_meta_count(f), 2);
    EXPECT_STR(tlv_file_meta(f, "format"), "pt");
    EXPECT_STR(tlv_file_meta_key(f, 1), "t\xc3\xa9xt");
    EXPECT_STR(tlv_file_meta(f, "t\xc3\xa9xt"), "a\n\"b\"\xf0\x9f\x98\x80");
    EXPECT_STR(tlv_file_meta(f, "none"), NULL);

    EXPECT(tlv_file_read(c, f, 9) == NULL, "index 9 of 9");
    EXPECT_ERROR(c, TLV_ERR_ARG, "tensor 9 of 9");
    EXPECT(tlv_file_read(c, f, -1) == NULL, "index -1");
    EXPECT_ERROR(c, TLV_ERR_ARG, "tensor -1 of 9");
    tlv_file_close(f);
    tlv_ctx_close(c);
}

/* Tensors come in the order of their data, whatever the header's; data need not be aligned. */
static void test_order_and_alignment(void)
{
    unsigned char buf[CAP];
    tlv_ctx *c = support_open();
    static const char header[] = "{\"z\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[1,9]},"
                                 "\"a\":{\"dtype\":\"F64\",\"shape\":[1],\"data_offsets\":[9,17]},"
                                 "\"m\":{\"dtype\":\"U8\",\"shape\":[],\"data_offsets\":[0,1]},"
                                 "\"e\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[9,9]}}";
    tlv_file *f = parse(c, buf, header, 17);
    EXPECT_OK(c);
    REQUIRE(f, "no file");
    static const char *const want[] = { "m", "z", "e", "a" };
    for (int i = 0; i < 4; i++) EXPECT_STR(tlv_file_name(f, i), want[i]);
    float x[2], y[2];
    uint64_t length;
    memcpy(&length, buf, 8);
    memcpy(y, buf + 8 + length + 1, 8);
    tlv_tensor *t = tlv_file_read(c, f, 1);
    tlv_read(c, t, x, 2);
    EXPECT(memcmp(x, y, 8) == 0, "other numbers: %g %g, want %g %g", x[0], x[1], y[0], y[1]);
    EXPECT_OK(c);
    tlv_file_close(f);

    f = parse(c, buf, "{}  ", 0);
    EXPECT(f && tlv_file_count(f) == 0, "a file of nothing: %s", tlv_error_msg(c));
    tlv_file_close(f);
    f = parse(c, buf, "{ \"__metadata__\" :\t{ } \r\n}", 0);
    EXPECT(f && tlv_file_meta_count(f) == 0, "white space: %s", tlv_error_msg(c));
    tlv_file_close(f);
    tlv_ctx_close(c);
}

static void test_many_names_are_found(void)
{
    enum { N = 3000 };
    tlv_ctx *c = support_open();
    size_t cap = (size_t)N * 80 + 64, at;
    unsigned char *buf = malloc(cap);
    REQUIRE(buf, "no memory");
    char *h = (char *)buf + 8;
    at = (size_t)sprintf(h, "{");
    for (int i = 0; i < N; i++)
        at += (size_t)sprintf(
            h + at, "%s\"n%d\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[%d,%d]}",
            i ? "," : "", i * 7919 % N, N - 1 - i, N - i);
    at += (size_t)sprintf(h + at, "}");
    uint64_t length = at;
    memcpy(buf, &length, 8);
    memset(h + at, 0, N);
    tlv_file *f = tlvi_file_parse(c, "many", buf, 8 + at + N);
    EXPECT_OK(c);
    for (int i = 0; i < N; i++) {
        char name[16];
        sprintf(name, "n%d", i * 7919 % N);
        if (tlv_file_find(f, name) != N - 1 - i) EXPECT_INT(tlv_file_find(f, name), N - 1 - i);
    }
    EXPECT_INT(tlv_file_count(f), N);
    tlv_file_close(f);
    free(buf);
    tlv_ctx_close(c);
}

/* ---- what is refused ------------------------------------------------------------------------- */

#define T_(rest) "{\"a\":{" rest "}}"
#define ONE(dtype, shape, offsets)                                                                 \
    T_("\"dtype\":\"" dtype "\",\"shape\":[" shape "],\"data_offsets\":[" offsets "]")
#define A "\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]"

/* Header, bytes of data, a part of the sentence. */
static const struct { const char *header; size_t data; const char *want; } HOSTILE[] = {
    // JSON
    { "{\"a\"", 8, "expected ':', got the end" },
    { "{\"a\":", 8, "expected '{', got the end" },
    { "{\"a\":[]}", 8, "'a': the header is not as it should be: byte 5: expected '{', got '['" },
    { "{\"a\":{" A "}", 8, "expected ',' or '}', got the end" },
    { "{\"a\":{" A "},}", 8, "expected a string, got '}'" },
    { "{\"a\":{" A "}}x", 8, "expected nothing more, got 'x'" },
    { "{\"a\":{" A "}}{}", 8, "expected nothing more, got '{'" },
    { "{a:{" A "}}", 8, "expected a string, got 'a'" },
    { "{'a':{" A "}}", 8, "expected a string, got '''" },
    { "[]", 0, "does not begin with '{'" },
    { " {}", 0, "does not begin with '{'" },
    { "{\"a\":{" A "} \"b\":{}}", 8, "expected ',' or '}', got '\"'" },
    { "{\"a\":null}", 8, "expected '{', got 'n'" },
    { T_("\"dtype\":\"F32\" \"shape\":[2]"), 8, "expected ',' or '}'" },
    { ONE("F32", "[[[[[[[[[2]]]]]]]]]", "0,8"), 8,
      "expected an integer from 0, got '['" },
    // strings
    { "{\"a", 8, "without its closing quote" },
    { "{\"a\\", 8, "expected an escape, got the end" },
    { "{\"\\x\":{" A "}}", 8, "expected an escape, got 'x'" },
    { "{\"\\u12G4\":{" A "}}", 8, "4 hex digits after \\u, got 'G'" },
    { "{\"\\u12", 8, "4 hex digits after \\u, got the end" },
    { "{\"\\u0000\":{" A "}}", 8, "\\u0000 in a string" },
    { "{\"\\ud800\":{" A "}}", 8, "half of a surrogate pair" },
    { "{\"\\udc00\":{" A "}}", 8, "half of a surrogate pair" },
    { "{\"\\ud800\\u0041\":{" A "}}", 8, "half of a surrogate pair" },
    { "{\"a\nb\":{" A "}}", 8, "a control character in a string" },
    { "{\"\xff\":{" A "}}", 8, "not UTF-8" },
    { "{\"\xc0\xaf\":{" A "}}", 8, "not UTF-8" },                       // a longer form than needed
    { "{\"\xed\xa0\x80\":{" A "}}", 8, "not UTF-8" },                   // a surrogate
    { "{\"\xf4\x90\x80\x80\":{" A "}}", 8, "not UTF-8" },               // above U+10FFFF
    { "{\"\xe2\x82", 8, "not UTF-8" },
    // names
    { "{\"a\":{" A "},\"a\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[8,8]}}", 8,
      "two tensors are named 'a'" },
    { "{\"a\":{" A "},\"\\u0061\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[8,8]}}", 8,
      "two tensors are named 'a'" },
    // fields
    { T_("\"shape\":[2],\"data_offsets\":[0,8]"), 8, "tensor 'a': it has no 'dtype'" },
    { T_("\"dtype\":\"F32\",\"data_offsets\":[0,8]"), 8, "tensor 'a': it has no 'shape'" },
    { T_("\"dtype\":\"F32\",\"shape\":[2]"), 8, "tensor 'a': it has no 'data_offsets'" },
    { T_(A ",\"dtype\":\"F32\""), 8, "'dtype' stands there twice" },
    { T_(A ",\"shape\":[2]"), 8, "'shape' stands there twice" },
    { T_(A ",\"data_offsets\":[0,8]"), 8, "'data_offsets' stands there twice" },
    { T_(A ",\"strides\":[1]"), 8, "an unknown field 'strides'" },
    { T_(A ",\"a_very_long_field_name_is_cut_short\":1"), 8, "field 'a_very_long_field_name_i'" },
    // dtypes
    { ONE("I16", "4", "0,8"), 8, "tensor 'a': dtype I16; known are F32" },
    { ONE("F8_E4M3", "8", "0,8"), 8, "dtype F8_E4M3;" },
    { ONE("f32", "2", "0,8"), 8, "dtype f32;" },
    { ONE("", "2", "0,8"), 8, "dtype ;" },
    { T_("\"dtype\":32,\"shape\":[2],\"data_offsets\":[0,8]"), 8, "expected a string, got '3'" },
    // numbers
    { ONE("F32", "-2", "0,8"), 8, "an integer from 0, got '-'" },
    { ONE("F32", "2.0", "0,8"), 8, "expected an integer, got '.'" },
    { ONE("F32", "2e0", "0,8"), 8, "expected an integer, got 'e'" },
    { ONE("F32", "02", "0,8"), 8, "an integer that begins with 0" },
    { ONE("F32", "9223372036854775808", "0,8"), 8, "larger than 2^63" },
    { ONE("F32", "2", "0,18446744073709551624"), 8, "larger than 2^63" },
    { ONE("F32", "\"2\"", "0,8"), 8, "an integer from 0, got '\"'" },
    { T_("\"dtype\":\"F32\",\"shape\":2,\"data_offsets\":[0,8]"), 8, "expected '[', got '2'" },
    // shapes
    { ONE("U8", "1,1,1,1,1,1,1,1,8", "0,8"), 8, "more than 8 dims" },
    { ONE("F32", "4294967296,4294967296", "0,0"), 0, "too large for any" },
    { ONE("F32", "0,4294967296,4294967296", "0,0"), 0, "too large for any" },
    { ONE("F32", "4611686018427387904,4", "0,0"), 0, "too large for any" },
    { ONE("F64", "2305843009213693953", "0,8"), 8, "too large for any" },
    { ONE("F32", "3", "0,8"), 8,
      "f32[3] is 12 bytes, but data_offsets [0,8] give it 8" },
    { ONE("F32", "0", "0,8"), 8, "f32[0] is 0 bytes" },
    { ONE("F32", "", "0,8"), 8, "f32[] is 4 bytes" },
    // offsets
    { ONE("F32", "2", "0"), 8, "data_offsets of 1 numbers" },
    { ONE("F32", "2", ""), 8, "data_offsets of 0 numbers" },
    { ONE("F32", "2", "0,8,8"), 8, "data_offsets of 3 numbers" },
    { ONE("F32", "2", "8,0"), 8, "[8,0] run backwards" },
    { ONE("F32", "2", "4,12"), 8, "ends at byte 12 of the data, which has 8" },
    { ONE("F32", "2", "9223372036854775799,9223372036854775807"), 8,
      "ends at byte 9223372036854775807" },
    { ONE("F32", "1", "4,8"), 8, "begins at byte 4 of the data, want 0: a gap" },
    { "{\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]},"
      "\"b\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[3,5]}}", 5,
      "tensor 'b': it begins at byte 3 of the data, want 2: a gap" },
    { "{\"a\":{\"dtype\":\"U8\",\"shape\":[3],\"data_offsets\":[0,3]},"
      "\"b\":{\"dtype\":\"U8\",\"shape\":[3],\"data_offsets\":[2,5]}}", 5, "want 3: an overlap" },
    { "{\"a\":{\"dtype\":\"U8\",\"shape\":[5],\"data_offsets\":[0,5]},"
      "\"b\":{\"dtype\":\"U8\",\"shape\":[5],\"data_offsets\":[0,5]}}", 5, "'b': it begins at" },
    { T_(A), 9, "end at byte 8 of the data, which has 9" },
    { "{}", 1, "end at byte 0 of the data, which has 1" },
    // metadata
    { "{\"__metadata__\":{\"a\":1}}", 0, "expected a string, got '1'" },
    { "{\"__metadata__\":{\"a\":{}}}", 0, "expected a string, got '{'" },
    { "{\"__metadata__\":[]}", 0, "expected '{', got '['" },
    { "{\"__metadata__\":{\"a\":\"\",\"a\":\"\"}}", 0, "__metadata__ holds 'a' twice" },
    { "{\"__metadata__\":{},\"__metadata__\":{}}", 0, "__metadata__ stands there twice" },
};

static void test_hostile_headers(void)
{
    unsigned char buf[CAP];
    tlv_ctx *c = support_open();
    for (size_t i = 0; i < sizeof HOSTILE / sizeof HOSTILE[0]; i++) {
        tlv_file *f = parse(c, buf, HOSTILE[i].header, HOSTILE[i].data);
        EXPECT(!f, "case %zu is read: %s", i, HOSTILE[i].header);
        EXPECT(strncmp(tlv_error_msg(c), "test.safetensors: ", 18) == 0, "%s", tlv_error_msg(c));
        EXPECT(*tlv_error_hint(c), "case %zu: no hint", i);
        EXPECT_ERROR(c, TLV_ERR_FORMAT, HOSTILE[i].want);
        tlv_file_close(f);
    }
    tlv_ctx_close(c);
}

static void test_hostile_lengths(void)
{
    static const struct { uint64_t length; size_t n; const char *want; } rows[] = {
        { 0, 0, "0 bytes are too few" },
        { 2, 7, "7 bytes are too few" },
        { 0, 8, "does not begin with '{'" },
        { 1, 8, "a header of 1 bytes is announced, only 0 follow" },
        { 33, 40, "a header of 33 bytes is announced, only 32 follow" },
        { 100000000, 40, "only 32 follow" },
        { 100000001, 40, "a header of 100000001 bytes is announced; 100000000 is the most" },
        { UINT64_MAX, 40, "a header of 18446744073709551615 bytes is announced" },
        { UINT64_MAX - 7, 40, "18446744073709551608" },
        { (uint64_t)INT64_MAX + 1, 40, "9223372036854775808" },
    };
    tlv_ctx *c = support_open();
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        unsigned char buf[40] = { 0 };
        memcpy(buf, &rows[i].length, 8);
        EXPECT(!tlvi_file_parse(c, "x", buf, rows[i].n), "length %zu is read", i);
        EXPECT_ERROR(c, TLV_ERR_FORMAT, rows[i].want);
    }

    // A header that is too long although it is there.
    size_t n = 100000016;
    unsigned char *big = malloc(n);
    REQUIRE(big, "no memory");
    uint64_t length = 100000001;
    memset(big, ' ', n);
    memcpy(big, &length, 8);
    memcpy(big + 8, "{}", 2);
    EXPECT(!tlvi_file_parse(c, "x", big, n), "more than 100 MB are read");
    EXPECT_ERROR(c, TLV_ERR_FORMAT, "is the most");
    free(big);
    tlv_ctx_close(c);
}

/* Files of other formats are named. */
static void test_other_formats(void)
{
    static const struct { const char *bytes; size_t n; const char *want; } rows[] = {
        { "PK\3\4\0\0\10\10\0\0\0\0", 12, "a zip archive (PyTorch's .pth" },
        { "\x80\2\x8a\nl\xfc\x9c" "F\xf9", 9, "a Python pickle" },
        { "\x89HDF\r\n\x1a\n\0\0", 10, "HDF5" },
        { "GGUF\3\0\0\0\1\0\0\0", 12, "GGUF" },
        { "\x93NUMPY\1\0v\0{'descr'", 17, ".npy" },
        { "version https://git-lfs.github.com/spec/v1\noid sha256:0", 55, "Git LFS pointer" },
        { "<!DOCTYPE html><html></html>", 28, "a web page" },
        { "{\"weight_map\": {}}", 18, "plain JSON" },
        { "{\"a\":1}", 7, "plain JSON" },
    };
    tlv_ctx *c = support_open();
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        EXPECT(!tlvi_file_parse(c, "x", rows[i].bytes, rows[i].n), "row %zu is read", i);
        EXPECT_ERROR(c, TLV_ERR_FORMAT, rows[i].want);
    }
    tlv_ctx_close(c);
}

static void test_long_names_in_sentences(void)
{
    unsigned char buf[CAP];
    char header[1200], name[600];
    memset(name, 'n', sizeof name - 1);
    name[sizeof name - 1] = 0;
    tlv_ctx *c = support_open();
    snprintf(header, sizeof header, "{\"%s\":{}}", name);
    EXPECT(!parse(c, buf, header, 0), "an entry without fields");
    EXPECT(strstr(tlv_error_msg(c), "nnn...': it has no 'dtype'"), "%s", tlv_error_msg(c));
    tlv_error_clear(c);

    // Whole characters, and nothing that a terminal obeys.
    for (int i = 0; i < 40; i++) memcpy(name + 2 * i, "\xc3\xa9", 2);
    snprintf(header, sizeof header, "{\"%s\\u001b[2J\":{}}", name);
    EXPECT(!parse(c, buf, header, 0), "an entry without fields");
    EXPECT(tlvi_utf8_ok(tlv_error_msg(c)), "half a character: %s", tlv_error_msg(c));
    tlv_error_clear(c);
    EXPECT(!parse(c, buf, "{\"\\u001b[2J\\n\\u007f\":{}}", 0), "an entry without fields");
    EXPECT_ERROR(c, TLV_ERR_FORMAT, "tensor '?[2J?\?'");
    tlv_ctx_close(c);
}

/* ---- damage ---------------------------------------------------------------------------------- */

/* A file cut anywhere, or with something behind it, is refused. */
static void test_every_truncation(void)
{
    unsigned char buf[CAP];
    tlv_ctx *c = support_open();
    size_t n = fuzz_safetensors_seed(buf, sizeof buf);
    const char *why;
    EXPECT_INT(fuzz_safetensors(c, buf, n, &why), 1);
    for (size_t k = 0; k < n; k++) {
        unsigned char *exact = malloc(k ? k : 1);           // so that a byte too many is noticed
        REQUIRE(exact, "no memory");
        memcpy(exact, buf, k);
        int got = fuzz_safetensors(c, exact, k, &why);
        if (got != 0) EXPECT(0, "%zu of %zu bytes: %s", k, n, got < 0 ? why : "read");
        free(exact);
    }
    buf[n] = 0;
    EXPECT_INT(fuzz_safetensors(c, buf, n + 1, &why), 0);
    tlv_ctx_close(c);
}

/* Changes to a good file: bytes, numbers, pieces taken out or doubled. */
static size_t mutate(unsigned char *b, size_t n, size_t cap, tlv_rng_key k, uint64_t *at)
{
    static const char *const pieces[16] = { "\"", "}", "{", "[", "]", ",", ":", "0", "-1", "\\u",
                                            "\\", "U8", "18446744073709551616", "4294967296",
                                            "\"F32\"", "null" };
    int64_t changes = 1 + tlv_rng_below(k, (*at)++, 4);
    for (int64_t i = 0; i < changes && n > 0; i++) {
        size_t p = (size_t)tlv_rng_below(k, (*at)++, (int64_t)n);
        uint64_t r = tlv_rng_u64(k, (*at)++);
        const char *piece = pieces[r >> 32 & 15];
        size_t len = strlen(piece);
        switch (r % 5) {
        case 0: b[p] = (unsigned char)(r >> 8); break;
        case 1: b[p] ^= (unsigned char)(1u << (r >> 8 & 7)); break;
        case 2:                                             // a piece of the grammar
            if (n + len > cap) break;
            memmove(b + p + len, b + p, n - p);
            memcpy(b + p, piece, len);
            n += len;
            break;
        case 3:                                             // up to 16 bytes less
            len = 1 + (r >> 8 & 15);
            if (len > n - p) len = n - p;
            memmove(b + p, b + p + len, n - p - len);
            n -= len;
            break;
        default: b[p] = (unsigned char)('0' + (r >> 8) % 10); break;
        }
    }
    // Most mutants agree with their length, so that the header itself is read.
    uint64_t length = 0;
    if (n > 76 && tlv_rng_below(k, (*at)++, 4)) length = n - 8 - 60;
    if (length) memcpy(b, &length, 8);
    return n;
}

static void test_mutations(void)
{
    enum { MUTANTS = 20000 };
    unsigned char seed[CAP], buf[CAP];
    tlv_ctx *c = support_open();
    tlv_rng_key k = tlv_rng_stream(c, "mutations");
    uint64_t at = 0;
    size_t n = fuzz_safetensors_seed(seed, sizeof seed);
    int opened = 0, refused = 0;
    for (int i = 0; i < MUTANTS; i++) {
        memcpy(buf, seed, n);
        size_t m = mutate(buf, n, sizeof buf, k, &at);
        unsigned char *exact = malloc(m ? m : 1);
        REQUIRE(exact, "no memory");
        memcpy(exact, buf, m);
        const char *why;
        int got = fuzz_safetensors(c, exact, m, &why);
        if (got < 0) EXPECT(0, "mutant %d: %s", i, why);
        opened += got == 1;
        refused += got == 0;
        free(exact);
    }
    EXPECT_INT(opened + refused, MUTANTS);
    EXPECT(opened > MUTANTS / 100, "only %d of %d mutants were files", opened, MUTANTS);
    EXPECT(refused > MUTANTS / 2, "only %d of %d mutants were refused", refused, MUTANTS);
    tlv_ctx_close(c);
}

/* What fuzzing found worth keeping. */
static void test_corpus(void)
{
    char dir[256], path[600], *buf = malloc(1 << 20);
    int files = 0;
    REQUIRE(buf, "no memory");
    REQUIRE(test_file_path(dir, sizeof dir, "fuzz/corpus/safetensors"), "no corpus");
    tlv_ctx *c = support_open();
    DIR *d = opendir(dir);
    REQUIRE(d, "%s cannot be listed", dir);
    for (struct dirent *e; (e = readdir(d)) != NULL;) {
        if (e->d_name[0] == '.') continue;
        snprintf(path, sizeof path, "%s/%s", dir, e->d_name);
        FILE *f = fopen(path, "rb");
        if (!EXPECT(f, "%s cannot be opened", path)) continue;
        size_t n = fread(buf, 1, 1 << 20, f);
        fclose(f);
        const char *why;
        EXPECT(fuzz_safetensors(c, buf, n, &why) >= 0, "%s: %s", path, why);
        files++;
    }
    closedir(d);
    EXPECT(files >= 10, "%d files in %s", files, dir);
    free(buf);
    tlv_ctx_close(c);
}

/* ---- files that are there, and that are not -------------------------------------------------- */

static void test_files_that_cannot_be_read(void)
{
    char path[512];
    tlv_ctx *c = support_open();
    REQUIRE(test_temp_path(path, sizeof path, "none.safetensors"), "no path");
    EXPECT(!tlv_file_open(c, path), "a file that is not there");
    EXPECT(strstr(tlv_error_msg(c), path), "no path in: %s", tlv_error_msg(c));
    EXPECT_ERROR(c, TLV_ERR_IO, "cannot open it: No such file or directory");
    EXPECT(!tlv_file_open(c, "."), "a folder");
    EXPECT_ERROR(c, TLV_ERR_IO, ".: it is a folder");
    EXPECT(!tlv_file_open(c, "/dev/null"), "a device");
    EXPECT_ERROR(c, TLV_ERR_IO, "it is not a regular file");
    EXPECT(!tlv_file_open(c, NULL), "NULL");
    EXPECT_ERROR(c, TLV_ERR_ARG, "path is NULL");

    FILE *f = fopen(path, "wb");
    REQUIRE(f, "%s", path);
    fclose(f);
    EXPECT(!tlv_file_open(c, path), "an empty file");
    EXPECT_ERROR(c, TLV_ERR_FORMAT, "0 bytes are too few");

    // A file that is no use gives its memory and its place back; the context goes on.
    EXPECT_INT(tlv_file_count(NULL), 0);
    EXPECT_STR(tlv_file_name(NULL, 0), "");
    EXPECT_INT(tlv_file_find(NULL, "a"), -1);
    EXPECT_INT(tlv_file_meta_count(NULL), 0);
    EXPECT_STR(tlv_file_meta(NULL, "a"), NULL);
    tlv_file_close(NULL);
    EXPECT_OK(c);
    remove(path);
    tlv_ctx_close(c);
}

/* Mapped and copied, a file is the same. */
static void test_mapped_or_copied(void)
{
    char path[512];
    tlv_ctx *c = support_open();
    REQUIRE(test_temp_path(path, sizeof path, "bytes"), "no path");
    FILE *f = fopen(path, "wb");
    REQUIRE(f, "%s", path);
    for (int i = 0; i < 10000; i++) fputc(i * 31 & 255, f);
    fclose(f);
    tlvi_mapfile a, b;
    EXPECT_STATUS(tlvi_mapfile_open(c, path, 0, &a), TLV_OK);
    EXPECT_STATUS(tlvi_mapfile_open(c, path, TLVI_MAP_COPY, &b), TLV_OK);
    EXPECT_INT(a.bytes, 10000);
    EXPECT_INT(b.bytes, 10000);
    EXPECT(a.mapped && !b.mapped, "mapped: %d and %d", a.mapped, b.mapped);
    EXPECT(memcmp(a.data, b.data, 10000) == 0, "other bytes");
    tlvi_mapfile_close(c, &a);
    tlvi_mapfile_close(c, &b);
    remove(path);
    tlv_ctx_close(c);
}

static void expect_sound(tlv_ctx *c, const char *name, int min_tensors)
{
    char path[512];
    if (!test_data_path(path, sizeof path, name)) return;
    tlv_file *f = tlv_file_open(c, path);
    EXPECT_OK(c);
    EXPECT(tlv_file_count(f) >= min_tensors, "%s: %d tensors", name, tlv_file_count(f));
    for (int i = 0; f && i < tlv_file_count(f); i++) {
        tlv_scope s = tlv_scope_begin(c);
        tlv_tensor *t = tlv_file_read(c, f, i);
        EXPECT(t, "%s: %s: %s", name, tlv_file_name(f, i), tlv_error_msg(c));
        tlv_scope_end(c, s);
    }
    tlv_file_close(f);
    tlv_error_clear(c);
}

static void test_published_files(void)
{
    char path[512];
    NEED_DATA(path, sizeof path, "resnet_cifar10/resnet20.safetensors");
    tlv_ctx *c = support_open();
    expect_sound(c, "resnet_cifar10/resnet20.safetensors", 90);
    expect_sound(c, "resnet_cifar10/resnet32.safetensors", 150);
    expect_sound(c, "mobilenetv2_035_224/mobilenetv2_035_224_notop.safetensors", 100);
    expect_sound(c, "squeezenet_v1_0/squeezenet_v1_0.safetensors", 50);
    expect_sound(c, "coral_mobilenet/mobilenet_v2_1.0_224_quant_dequant.safetensors", 50);
    tlv_ctx_close(c);
}

TEST_MAIN(T(test_a_file_of_every_dtype), T(test_order_and_alignment), T(test_many_names_are_found),
          T(test_hostile_headers), T(test_hostile_lengths), T(test_other_formats),
          T(test_long_names_in_sentences), T(test_every_truncation), T(test_mutations),
          T(test_corpus), T(test_files_that_cannot_be_read), T(test_mapped_or_copied),
          T(test_published_files))
