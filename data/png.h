/* png.h -- a PNG file while it is read: png.c reads the chunks, png_rows.c makes pixels of rows. */
#ifndef TLVI_PNG_H
#define TLVI_PNG_H

#include "data/codec.h"

enum { TLVI_PNG_GREY = 0, TLVI_PNG_RGB = 2, TLVI_PNG_PALETTE = 3, TLVI_PNG_GREY_ALPHA = 4,
       TLVI_PNG_RGBA = 6, TLVI_PNG_ALPHA_BIT = 4 };

typedef struct tlvi_png {
    tlv_ctx *c;
    const char *name;                   /* for sentences */
    const uint8_t *p;                   /* the file, n bytes */
    size_t n, at;                       /* at: the next chunk */

    uint32_t w, h;
    int has_header, depth, colour, interlaced;
    int sent;                           /* samples a pixel in the file */
    uint8_t palette[256][4];            /* RGB, alpha; of less than 8 bits of grey: grey, alpha */
    int has_trns;
    size_t n_trns;
    uint8_t trns[256];                  /* as in the file: alphas, or a colour of 16-bit samples */
    int orientation;

    uint32_t frames, next_frame;        /* APNG: announced; sequence number to come */
    int default_image;                  /* APNG: the image is not one of the frames */
    int has_box;
    uint32_t box[4];                    /* APNG: left, top, width, height of the first frame */

    size_t data, data_left;             /* the image data at hand and what is left of its chunk */
    size_t packed;                      /* bytes of image data in all chunks */
    size_t cut;                         /* where a chunk of image data begins that is cut short */
} tlvi_png;

/* Bits of a pixel in the file, and bytes of a row of w pixels. */
static inline size_t tlvi_png_bits(const tlvi_png *g) { return (size_t)(g->sent * g->depth); }
static inline size_t tlvi_png_row_bytes(const tlvi_png *g, size_t w)
{
    return (size_t)(((uint64_t)w * tlvi_png_bits(g) + 7) / 8);
}

/* Undoes filter 0 to 4 of one row; bpp: bytes of a pixel, at least 1. */
void tlvi_png_unfilter(int filter, size_t bpp, size_t n, uint8_t *row, const uint8_t *above);

/* n pixels of a row to samples of m, each `step` bytes from the one before. */
void tlvi_png_pixels(const tlvi_png *g, const uint8_t *row, size_t n, const tlv_image *m,
                     uint8_t *to, size_t step);

#endif
