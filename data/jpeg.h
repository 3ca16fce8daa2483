/* jpeg.h -- the JPEG decoder's parts (ITU-T T.81): markers in jpeg_marker.c, entropy-coded data in
 * jpeg_huff.c, samples in jpeg_rows.c, and what drives them in jpeg.c.
 *
 * A file of one sequential scan goes through in bands of one row of MCUs; any other keeps its
 * coefficients until the last scan is read.  What a broken file becomes is what libjpeg makes of
 * it, so that everybody sees the same picture; what is missing at its end is an error. */
#ifndef TLVI_JPEG_H
#define TLVI_JPEG_H

#include "data/codec.h"

enum {
    TLVI_JPEG_COMPS = 4,
    TLVI_JPEG_LOOK = 10,            /* bits that one look-up in a Huffman table sees */
    TLVI_JPEG_SAVED = 10            /* coefficients whose accuracy block smoothing asks for */
};

/* A Huffman table as it stands in the file, and what follows from it. */
typedef struct tlvi_jhuff {
    int defined, built;
    uint8_t count[17];              /* codes of each length */
    uint8_t symbol[256];
    /* By the next bits: the length in bits 0..7 (0: a longer code), the symbol in 8..15; where the
     * value behind the symbol fits too, the value in 16..31 (never 0), and the length of both. */
    uint32_t look[1 << TLVI_JPEG_LOOK];
    int32_t max_code[18];           /* largest code of each length, -1: none; [17] ends a search */
    int32_t offset[17];             /* index of a symbol - its code */
} tlvi_jhuff;

/* Bits of entropy-coded data, the next one on top.  At a marker zeros follow without end. */
typedef struct tlvi_jbits {
    uint64_t acc;
    uint32_t left;                  /* bits in acc, zeros included */
    uint32_t zeros;                 /* of these, made up: more than left means that one was used */
    const uint8_t *p, *end;
    int marker;                     /* that p stands before; -1: the end of the file; 0: none yet */
} tlvi_jbits;

typedef struct tlvi_jcomp {
    int id, h, v, tq;
    int v_file;                     /* v as the file has it; v itself is 1 for a lone component */
    int dc, ac;                     /* tables of the scan at hand */
    int pred;                       /* DC of the block before */
    int latched;                    /* quant is set, at the first scan with this component */
    uint16_t quant[64];             /* natural order */
    int w, rows;                    /* samples that the image needs */
    int bw, bh;                     /* blocks that the image needs */
    int bw_pad;                     /* blocks in a row of MCUs */
    int16_t *coef;                  /* [mcus_y*v][bw_pad][64], or NULL */
    uint8_t *plane;                 /* ring of the last two bands: 16 v rows of 8 bw_pad samples */
    uint8_t *wide;                  /* a row at the image's width */
    int known[64], known_before[64];/* progressive: low bits still missing, -1: all */
} tlvi_jcomp;

typedef struct tlvi_jpeg {
    tlv_ctx *c;
    const char *name;
    const uint8_t *bytes, *p, *end;
    int marker;                     /* read and not yet acted on; 0: none */
    int progressive, adobe, jfif, orientation;     /* adobe: transform, -1 without the marker */
    int w, h, n_comp, max_h, max_v, mcus_x, mcus_y;
    int scans, interval, next_restart;
    tlvi_jcomp comp[TLVI_JPEG_COMPS];
    int n_scan, scan[TLVI_JPEG_COMPS];  /* components of the scan at hand */
    int ss, se, ah, al, eob_run;
    int have_quant[4];
    uint16_t quant[4][64];
    tlvi_jhuff dc[4], ac[4];
    tlvi_jbits bits;
    int starved, todo;              /* no more data before a restart; MCUs up to it */
    int16_t *coefs;
    uint8_t *rows;                  /* planes and wide rows */
    size_t coef_bytes, row_bytes;
    uint16_t *sum;                  /* scratch of upsampling */
    int complete;                   /* every pixel is there: nothing more has to come */
    int last_good;                  /* last band that the last scan had data for */
    tlv_image *out;
} tlvi_jpeg;

/* Fails with "NAME: ...": a status. */
#define TLVI_JPEG_FAIL(d, ...)                                                                     \
    tlvi_jpeg_fail((d), "write the image again with a program that can read it", __VA_ARGS__)
tlv_status tlvi_jpeg_fail(tlvi_jpeg *d, const char *hint, const char *fmt, ...) TLVI_PRINTF(3, 4);
tlv_status tlvi_jpeg_cut_short(tlvi_jpeg *d);

extern const uint8_t tlvi_jpeg_zigzag[80];      /* zigzag to natural order; 63 beyond the block */

/* ---- jpeg_marker.c --------------------------------------------------------------------------- */

/* Puts the next marker into d->marker, skipping anything before it. */
tlv_status tlvi_jpeg_next_marker(tlvi_jpeg *d);
/* Reads segments up to the next scan's data (*more = 1) or the end of the image (*more = 0). */
tlv_status tlvi_jpeg_read_tables(tlvi_jpeg *d, int *more);

/* ---- jpeg_huff.c ----------------------------------------------------------------------------- */

/* Reads the data of the scan at hand: to coefficients, or, without room for them, a band at a time
 * to the planes and from there to the image. */
tlv_status tlvi_jpeg_scan(tlvi_jpeg *d);

/* ---- jpeg_rows.c ----------------------------------------------------------------------------- */

/* All rows that are complete once the band of MCUs `band` is in the planes. */
void tlvi_jpeg_emit(tlvi_jpeg *d, int band);
/* The image from coefficients. */
void tlvi_jpeg_from_coefs(tlvi_jpeg *d);

/* ---- jpeg_smooth.c --------------------------------------------------------------------------- */

/* 1 if coefficients are missing that can be guessed. */
int tlvi_jpeg_wants_smoothing(const tlvi_jpeg *d);
/* Guesses into b, a copy of the block of k in row by and column bx. */
void tlvi_jpeg_smooth(const tlvi_jpeg *d, const tlvi_jcomp *k, int by, int bx, int16_t *b);

#endif
