/* fuzz_inputs.c -- see fuzz_inputs.h. */
#include "tests/fuzz_inputs.h"

#include <string.h>

#include "data/codec.h"
#include "tensor/safetensors.h"

#define WANT(cond)                                                                                 \
    do {                                                                                           \
        if (!(cond)) return #cond;                                                                 \
    } while (0)

/* What holds for every file that was opened; NULL if it does. */
static const char *look_inside(tlv_ctx *c, const tlv_file *f, size_t n)
{
    size_t sum = 0;
    const char *end = NULL;
    for (int i = 0; i < tlv_file_count(f); i++) {
        size_t bytes;
        const char *data = tlvi_file_data(f, i, &bytes);
        WANT(tlv_file_find(f, tlv_file_name(f, i)) == i);
        WANT(!end || data == end);
        end = data + bytes;
        sum += bytes;
        tlv_scope s = tlv_scope_begin(c);
        tlv_tensor *t = tlv_file_read(c, f, i);
        WANT(t && tlv_error(c) == TLV_OK);
        WANT((size_t)tlv_numel(t) * tlv_dtype_size(tlv_dtype_of(t)) == bytes);
        tlv_scope_end(c, s);
    }
    WANT(sum <= n);
    for (int i = 0; i < tlv_file_meta_count(f); i++)
        WANT(tlv_file_meta(f, tlv_file_meta_key(f, i)) != NULL);
    WANT(tlv_file_find(f, "\1") == -1 && tlv_file_meta(f, "\1") == NULL);
    return NULL;
}

int fuzz_safetensors(tlv_ctx *c, const void *bytes, size_t n, const char **why)
{
    tlv_mem_reset_peak(c);
    size_t before = tlv_mem_get(c).now;
    tlv_file *f = tlvi_file_parse(c, "input", bytes, n);
    int opened = f != NULL;
    *why = NULL;
    if (f) *why = look_inside(c, f, n);
    else if (tlv_error(c) != TLV_ERR_FORMAT || !*tlv_error_msg(c)) *why = "another kind of error";
    tlv_file_close(f);
    tlv_error_clear(c);

    // Memory only for what is there: an index of a few times the header, one tensor at a time.
    size_t slack = 256 << 10;
    if (!*why && tlv_mem_get(c).now > before + slack) *why = "memory is left over";
    if (!*why && tlv_mem_get(c).peak > before + 8 * n + slack) *why = "too much memory";
    return *why ? -1 : opened;
}

size_t fuzz_safetensors_seed(void *buf, size_t cap)
{
    static const char header[] =
        "{\"__metadata__\":{\"format\":\"pt\",\"t\\u00e9xt\":\"a\\n\\\"b\\\"\\ud83d\\ude00\"},"
        "\"f32\":{\"dtype\":\"F32\",\"shape\":[2,3],\"data_offsets\":[0,24]},"
        "\"f16\":{\"dtype\":\"F16\",\"shape\":[3],\"data_offsets\":[24,30]},"
        "\"bf16\":{\"dtype\":\"BF16\",\"shape\":[1,1,1],\"data_offsets\":[30,32]},"
        "\"f64\":{\"shape\":[],\"dtype\":\"F64\",\"data_offsets\":[32,40]},"
        "\"i64\":{\"dtype\":\"I64\",\"data_offsets\":[40,48],\"shape\":[1]},"
        "\"i32\":{\"dtype\":\"I32\",\"shape\":[2],\"data_offsets\":[48,56]},"
        "\"u8\":{\"dtype\":\"U8\",\"shape\":[3],\"data_offsets\":[56,59]},"
        "\"bool\":{\"dtype\":\"BOOL\",\"shape\":[1],\"data_offsets\":[59,60]},"
        "\"empty\":{\"dtype\":\"F32\",\"shape\":[4,0],\"data_offsets\":[60,60]}}    ";
    uint64_t length = sizeof header - 1;
    size_t n = 8 + length + 60;
    if (n > cap) return 0;
    char *p = buf;
    memcpy(p, &length, 8);
    memcpy(p + 8, header, length);
    for (int i = 0; i < 60; i++) p[8 + length + (size_t)i] = (char)(i * 37);
    return n;
}

/* What holds for every picture that was decoded; NULL if it does. */
static const char *look_at(const tlv_image *m)
{
    unsigned sum = 0;
    WANT(m->h >= 1 && m->w >= 1 && (m->depth == 8 || m->depth == 16));
    WANT(m->channels >= 1 && m->channels <= 4);
    WANT(m->bytes == (size_t)m->h * (size_t)m->w * (size_t)(m->channels * m->depth / 8));
    WANT(m->orientation >= 1 && m->orientation <= 8);
    for (size_t i = 0; i < m->bytes; i++) sum += ((const uint8_t *)m->samples)[i] > 127;
    WANT(sum <= m->bytes);              // every sample was written, or valgrind says so
    return NULL;
}

int fuzz_jpeg(tlv_ctx *c, const void *bytes, size_t n, const char **why)
{
    size_t before = tlv_mem_get(c).now;
    tlv_image m = { 0 };
    tlv_status st = tlvi_jpeg_decode(c, bytes, n, "input", &m);
    *why = NULL;
    if (st == TLV_OK) *why = look_at(&m);
    else if ((st != TLV_ERR_FORMAT && st != TLV_ERR_LIMIT) || !*tlv_error_msg(c))
        *why = "another kind of error";
    else if (m.samples)
        *why = "an error, and an image";
    tlv_image_close(&m);
    tlv_error_clear(c);
    if (!*why && tlv_mem_get(c).now != before) *why = "memory is left over";
    return *why ? -1 : st == TLV_OK;
}

/* ---- PNG ------------------------------------------------------------------------------------- */

int fuzz_png(tlv_ctx *c, const void *bytes, size_t n, const char **why)
{
    size_t before = tlv_mem_get(c).now;
    tlv_image m = { 0 };
    tlv_status st = tlvi_png_decode(c, bytes, n, "input", &m);
    *why = NULL;
    if (st == TLV_OK) {
        *why = look_at(&m);
    } else if (st == TLV_ERR_NOMEM) {   // the limit: fine for what is really there
        tlv_ctx *wide = tlv_ctx_open(&(tlv_ctx_opts){ .threads = 1 });
        tlv_image big = { 0 };
        if (tlvi_png_decode(wide, bytes, n, "input", &big) != TLV_OK)
            *why = "memory for what is not there";
        tlv_image_close(&big);
        tlv_ctx_close(wide);
    } else if ((st != TLV_ERR_FORMAT && st != TLV_ERR_LIMIT) || !*tlv_error_msg(c)) {
        *why = "another kind of error";
    }
    if (st != TLV_OK && m.samples) *why = "an error, and an image";
    tlv_image_close(&m);
    tlv_error_clear(c);
    if (!*why && tlv_mem_get(c).now != before) *why = "memory is left over";
    return *why ? -1 : st == TLV_OK;
}

/* ---- deflate --------------------------------------------------------------------------------- */

typedef struct inflated {
    uint64_t n;
    uint32_t crc;
    int ended;
    const char *error;
} inflated;

static inflated inflate_pieces(tlv_ctx *c, tlvi_wrap wrap, const uint8_t *p, size_t n, size_t feed,
                               size_t room)
{
    uint8_t out[1024];
    inflated r = { 0 };
    tlvi_inflate *z = tlvi_inflate_open(c, wrap);
    for (;;) {
        size_t left = n < feed ? n : feed;
        n -= left;
        size_t got = tlvi_inflate_read(z, &p, &left, out, room);
        n += left;
        r.n += got;
        r.crc = tlvi_crc32(r.crc, out, got);
        r.error = tlvi_inflate_error(z);
        r.ended = tlvi_inflate_ended(z);
        if (got < room && (r.error || n == 0 || (r.ended && wrap != TLVI_GZIP))) break;
    }
    tlvi_inflate_close(z);
    return r;
}

static const char *deflate_and_back(tlv_ctx *c, const uint8_t *p, size_t n)
{
    size_t size = 0, room = 0;
    uint8_t *packed = tlvi_deflate(c, p, n, &size, &room);
    WANT(packed && size <= room);
    inflated r = inflate_pieces(c, TLVI_ZLIB, packed, size, size, 1024);
    tlvi_free(c, packed, room);
    WANT(r.ended && r.n == n && r.crc == tlvi_crc32(0, p, n));
    return NULL;
}

int fuzz_inflate(tlv_ctx *c, const void *bytes, size_t n, const char **why)
{
    const uint8_t *p = bytes;
    *why = deflate_and_back(c, p, n);
    if (n == 0 || *why) return *why ? -1 : 0;
    tlvi_wrap wrap = (tlvi_wrap)(p[0] % 3);
    size_t feed = 1 + p[0] / 3 % 8 * 5, room = 3 + p[0] / 24 * 100;
    inflated a = inflate_pieces(c, wrap, p + 1, n - 1, n, 1024);
    inflated b = inflate_pieces(c, wrap, p + 1, n - 1, feed, room);
    if (a.n != b.n || a.crc != b.crc) *why = "other bytes in other pieces";
    else if (a.ended != b.ended || a.error != b.error) *why = "another end in other pieces";
    else if (a.n > 1032 * (uint64_t)n + 32768) *why = "more than deflate can hold";
    return *why ? -1 : a.ended;
}
