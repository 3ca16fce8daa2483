/* codec.h -- the decoders behind tlv_image_decode, and what they share. */
#ifndef TLVI_CODEC_H
#define TLVI_CODEC_H

#include "data/reader.h"

/* One decoder a format: fills *out (empty on entry, with room from tlv_image_new) from bytes[n].
 * name is for sentences.  They trust nothing: a size that the file cannot hold is refused before
 * memory is taken for it. */
tlv_status tlvi_png_decode(tlv_ctx *c, const uint8_t *bytes, size_t n, const char *name,
                           tlv_image *out);
tlv_status tlvi_jpeg_decode(tlv_ctx *c, const uint8_t *bytes, size_t n, const char *name,
                            tlv_image *out);
tlv_status tlvi_bmp_decode(tlv_ctx *c, const uint8_t *bytes, size_t n, const char *name,
                           tlv_image *out);
tlv_status tlvi_pnm_decode(tlv_ctx *c, const uint8_t *bytes, size_t n, const char *name,
                           tlv_image *out);

/* 1 if an image has pixels, and at most 2^28; else TLV_ERR_FORMAT or TLV_ERR_LIMIT with name. */
int tlvi_image_size_ok(tlv_ctx *c, const char *name, uint64_t w, uint64_t h);

/* Orientation (1 to 8) in an EXIF block, which begins with "II" or "MM"; 1 if there is none. */
int tlvi_exif_orientation(const uint8_t *exif, size_t n);

/* ---- deflate (inflate.c, deflate.c) ---------------------------------------------------------- */

uint32_t tlvi_crc32(uint32_t crc, const uint8_t *p, size_t n);      /* begin with 0; PNG, gzip */
uint32_t tlvi_adler32(uint32_t adler, const uint8_t *p, size_t n);  /* begin with 1; zlib */

/* Raw deflate (RFC 1951) that is fed and emptied in pieces, so that a decoder never holds more than
 * it wants: a resumable state with a 32 KiB window.  Opaque; from tlvi_inflate_open. */
typedef struct tlvi_inflate tlvi_inflate;
typedef enum tlvi_wrap { TLVI_RAW, TLVI_ZLIB, TLVI_GZIP } tlvi_wrap;
tlvi_inflate *tlvi_inflate_open(tlv_ctx *c, tlvi_wrap wrap);        /* NULL: TLV_ERR_NOMEM */
void tlvi_inflate_close(tlvi_inflate *z);                           /* accepts NULL */
/* Puts up to `room` bytes into out and returns their number; takes input from *in (advancing it and
 * *n).  Returns fewer than room when the stream has ended, is wrong, or wants more input. */
size_t tlvi_inflate_read(tlvi_inflate *z, const uint8_t **in, size_t *n, uint8_t *out, size_t room);
int tlvi_inflate_ended(const tlvi_inflate *z);          /* the end and its checksum were seen */
const char *tlvi_inflate_error(const tlvi_inflate *z);  /* a reason, or NULL */

/* A zlib stream of in[n] in pool memory, of *size bytes (free with tlvi_free and *room); NULL:
 * TLV_ERR_NOMEM. */
uint8_t *tlvi_deflate(tlv_ctx *c, const uint8_t *in, size_t n, size_t *size, size_t *room);

#endif
