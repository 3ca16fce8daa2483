/* exif.c -- the one thing that matters here in an EXIF block: which way up the picture is.
 *
 * A block is a small TIFF file: "II" (little-endian) or "MM", the number 42, the offset of a
 * directory; there a count and entries of 12 bytes: tag, type, number of values, value or offset.
 * Source: TIFF 6.0, section 2; Exif 2.3, tag 0x0112. */
#include "data/codec.h"

enum {
    HEAD = 8, ENTRY = 12, FORTY_TWO = 42,
    TAG_ORIENTATION = 0x0112,
    TYPE_BYTE = 1, TYPE_SHORT = 3, TYPE_LONG = 4
};

typedef struct block {
    const uint8_t *p;
    size_t n;
    int big;                        /* the most significant byte comes first */
} block;

/* `bytes` bytes at `at`, which lie inside. */
static uint32_t number(const block *b, size_t at, int bytes)
{
    uint32_t v = 0;
    for (int i = 0; i < bytes; i++)
        v = v << 8 | b->p[at + (size_t)(b->big ? i : bytes - 1 - i)];
    return v;
}

/* An integer that stands in the entry itself, whichever type a writer chose for it; or 0. */
static uint32_t entry_value(const block *b, size_t at)
{
    if (number(b, at + 4, 4) != 1) return 0;
    switch (number(b, at + 2, 2)) {
    case TYPE_BYTE: return b->p[at + 8];
    case TYPE_SHORT: return number(b, at + 8, 2);
    case TYPE_LONG: return number(b, at + 8, 4);
    default: return 0;
    }
}

int tlvi_exif_orientation(const uint8_t *exif, size_t n)
{
    if (n < HEAD || exif[0] != exif[1] || (exif[0] != 'I' && exif[0] != 'M')) return 1;
    block b = { exif, n, exif[0] == 'M' };
    size_t at = number(&b, 4, 4);
    if (number(&b, 2, 2) != FORTY_TWO || at > n || n - at < 2) return 1;
    size_t entries = number(&b, at, 2), room = (n - at - 2) / ENTRY;
    if (entries > room) entries = room;             // a block that is cut short: what is there
    for (size_t i = 0; i < entries; i++) {
        size_t e = at + 2 + i * ENTRY;
        if (number(&b, e, 2) != TAG_ORIENTATION) continue;
        uint32_t v = entry_value(&b, e);
        return v >= 1 && v <= 8 ? (int)v : 1;
    }
    return 1;
}
