/* inflate.c -- deflate streams, raw or in zlib's or gzip's wrapping, read in pieces.
 *
 * Bits are taken from a 64-bit buffer, least significant first.  Codes are looked up: a table by
 * the next 11 bits (8 for distances), with a second table where a code is longer.  Output goes to
 * one linear buffer that begins with up to 32 KiB of what came before, so that copies need no
 * wrapping around; readers are served from it.  There are two loops over symbols: a fast one while
 * 16 bytes of input are left, and a careful one that goes back when the input ends amid a symbol.
 * Source: RFC 1950, 1951, 1952.  Which incomplete codes pass is zlib's rule: a single code of one
 * bit, or no distance code at all. */
#include <stddef.h>

#include "data/codec.h"

enum {
    WINDOW = 32768, LONGEST = 258,
    SLACK = 32,                         /* what a copy may write past its end */
    SIZE = 3 * WINDOW, LIMIT = SIZE - LONGEST - SLACK,
    LIT_BITS = 11, DIST_BITS = 8, PRE_BITS = 7,
    LITS = 288, DISTS = 32, PRES = 19, LONGEST_CODE = 15,
    // The most that tables of these sizes need, second tables included
    LIT_ROOM = 2342, DIST_ROOM = 402, PRE_ROOM = 128
};

/* An entry: bits 0-7 the bits to take, 8-12 how many extra bits follow (or index a second table),
 * 13-15 the kind, 16-31 the literal, the base of a length or distance, or where the second table
 * begins. */
enum { LITERAL = 1 << 13, SPECIAL = 1 << 14, SUBTABLE = 1 << 15 };
#define END_OF_BLOCK ((uint32_t)SPECIAL)
#define NO_CODE ((uint32_t)SPECIAL | 1u << 16)

static const uint16_t LENGTH[29] = { 3,  4,  5,  6,  7,  8,  9,  10,  11,  13,
                                     15, 17, 19, 23, 27, 31, 35, 43,  51,  59,
                                     67, 83, 99, 115, 131, 163, 195, 227, 258 };
static const uint8_t LENGTH_EXTRA[29] = { 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2,
                                          2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0 };
static const uint16_t DISTANCE[30] = { 1,    2,    3,    4,    5,    7,     9,     13,    17,   25,
                                       33,   49,   65,   97,   129,  193,   257,   385,   513,  769,
                                       1025, 1537, 2049, 3073, 4097, 6145,  8193,  12289, 16385,
                                       24577 };
/* The order in which lengths of the code of code lengths are sent. */
static const uint8_t PRE_ORDER[PRES] = { 16, 17, 18, 0, 8,  7, 9,  6, 10, 5,
                                         11, 4,  12, 3, 13, 2, 14, 1, 15 };

typedef enum code_kind { CODE_LITERALS, CODE_DISTANCES, CODE_LENGTHS } code_kind;

typedef enum place {
    ZLIB_HEAD, GZIP_HEAD, GZIP_EXTRA_SIZE, GZIP_EXTRA, GZIP_NAME, GZIP_COMMENT, GZIP_HEAD_SUM,
    BLOCK, STORED_SIZE, STORED, CODE_COUNTS, PRE_LENGTHS, CODE_LENGTHS_AT, SYMBOLS,
    TRAILER, TRAILER_SIZE, ENDED
} place;

struct tlvi_inflate {
    tlv_ctx *c;
    tlvi_wrap wrap;
    place place;
    const char *error;
    uint64_t bits;
    unsigned n_bits;
    const uint8_t *in, *end;            /* the input at hand, while a call lasts */
    size_t fed;                         /* bytes that this call moved into bits */
    size_t at, taken, summed;           /* in buf: written, handed out, in the checksum */
    size_t first;                       /* in buf: no distance reaches further back */
    uint32_t check, size;               /* of what was summed */
    uint32_t head_check;                /* gzip: of its header */
    unsigned flags;                     /* gzip */
    int last;                           /* the block at work is the last one */
    int fixed;                          /* the tables hold the fixed code */
    unsigned count, have;               /* of the place at work: how many, and how many so far */
    unsigned n_lit, n_dist, n_pre;
    uint8_t lens[LITS + DISTS];
    uint32_t lit[LIT_ROOM], dist[DIST_ROOM], pre[PRE_ROOM];
    uint8_t buf[SIZE];
};

/* ---- tables ---------------------------------------------------------------------------------- */

static uint32_t meaning(code_kind kind, unsigned symbol)
{
    if (kind == CODE_LENGTHS) return symbol << 16;
    if (kind == CODE_DISTANCES) {
        if (symbol >= 30) return NO_CODE;
        unsigned extra = symbol < 4 ? 0 : symbol / 2 - 1;
        return (uint32_t)DISTANCE[symbol] << 16 | extra << 8;
    }
    if (symbol < 256) return symbol << 16 | LITERAL;
    if (symbol == 256) return END_OF_BLOCK;
    if (symbol >= 286) return NO_CODE;
    return (uint32_t)LENGTH[symbol - 257] << 16 | (uint32_t)LENGTH_EXTRA[symbol - 257] << 8;
}

/* Symbols with a code, by its length and then by number, and how many there are of each length; 0
 * if the lengths make no prefix code. */
static int sort_symbols(code_kind kind, const uint8_t *lens, unsigned n, uint16_t *count,
                        uint16_t *sorted)
{
    uint16_t next[LONGEST_CODE + 2];
    memset(count, 0, (LONGEST_CODE + 1) * sizeof *count);
    for (unsigned i = 0; i < n; i++) count[lens[i]]++;
    int left = 1, longest = 0;                              // codes of this length still free
    for (int k = 1; k <= LONGEST_CODE; k++) {
        left = 2 * left - count[k];
        if (left < 0) return 0;
        if (count[k]) longest = k;
    }
    if (left > 0 && longest > 0 && (kind == CODE_LENGTHS || longest > 1)) return 0;
    next[1] = 0;
    for (int k = 1; k <= LONGEST_CODE; k++) next[k + 1] = (uint16_t)(next[k] + count[k]);
    for (unsigned i = 0; i < n; i++)
        if (lens[i]) sorted[next[lens[i]]++] = (uint16_t)i;
    return 1;
}

/* The next code of the same length, bits reversed: a carry runs from the top bit down. */
static unsigned next_code(unsigned code, unsigned len)
{
    unsigned bit = 1u << (len - 1);
    while (code & bit) {
        code ^= bit;
        bit >>= 1;
    }
    return code | bit;
}

/* Fills table[room]: 2^main entries, then second tables.  0 if the lengths are no prefix code. */
static int build(code_kind kind, const uint8_t *lens, unsigned n, unsigned main_bits,
                 uint32_t *table, unsigned room)
{
    uint16_t count[LONGEST_CODE + 1], sorted[LITS];
    if (!sort_symbols(kind, lens, n, count, sorted)) return 0;
    unsigned used = 1u << main_bits, mask = used - 1, code = 0, k = 0;
    unsigned sub = 0, sub_bits = 0, sub_prefix = ~0u;
    for (unsigned i = 0; i < used; i++) table[i] = NO_CODE | 1;
    for (unsigned len = 1; len <= LONGEST_CODE; len++)
        for (; count[len]; count[len]--, k++) {
            uint32_t e = meaning(kind, sorted[k]);
            if (len <= main_bits) {
                for (unsigned i = code; i <= mask; i += 1u << len) table[i] = e | len;
            } else {
                if ((code & mask) != sub_prefix) {
                    // A second table as long as the codes that share this beginning need
                    sub_prefix = code & mask;
                    sub_bits = len - main_bits;
                    int left = 1 << sub_bits;
                    while (sub_bits + main_bits < LONGEST_CODE
                           && (left -= count[sub_bits + main_bits]) > 0) {
                        sub_bits++;
                        left *= 2;
                    }
                    sub = used;
                    used += 1u << sub_bits;
                    if (used > room) return 0;
                    table[sub_prefix] = sub << 16 | SUBTABLE | sub_bits << 8 | main_bits;
                }
                for (unsigned i = code >> main_bits; i < 1u << sub_bits;
                     i += 1u << (len - main_bits))
                    table[sub + i] = e | (len - main_bits);
            }
            code = next_code(code, len);
        }
    return 1;
}

static void build_fixed(tlvi_inflate *z)
{
    if (z->fixed) return;
    for (unsigned i = 0; i < LITS; i++) z->lens[i] = i < 144 ? 8 : i < 256 ? 9 : i < 280 ? 7 : 8;
    memset(z->lens + LITS, 5, DISTS);
    build(CODE_LITERALS, z->lens, LITS, LIT_BITS, z->lit, LIT_ROOM);
    build(CODE_DISTANCES, z->lens + LITS, DISTS, DIST_BITS, z->dist, DIST_ROOM);
    z->fixed = 1;
}

/* ---- bits ------------------------------------------------------------------------------------ */

static uint64_t le64(const uint8_t *p)
{
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    uint64_t v;
    memcpy(&v, p, 8);
    return v;
#else
    uint64_t v = 0;
    for (int i = 7; i >= 0; i--) v = v << 8 | p[i];
    return v;
#endif
}

/* At least n <= 57 bits in the buffer; 0: the input ends before. */
static int need(tlvi_inflate *z, unsigned n)
{
    while (z->n_bits < n) {
        if (z->in == z->end) return 0;
        z->bits |= (uint64_t)*z->in++ << z->n_bits;
        z->n_bits += 8;
        z->fed++;
    }
    return 1;
}

static uint32_t peek(const tlvi_inflate *z, unsigned n)
{
    return (uint32_t)(z->bits & (((uint64_t)1 << n) - 1));
}

static uint32_t take(tlvi_inflate *z, unsigned n)
{
    uint32_t v = peek(z, n);
    z->bits >>= n;
    z->n_bits -= n;
    return v;
}

static int fail(tlvi_inflate *z, const char *reason)
{
    z->error = reason;
    return 0;
}

static int go_to(tlvi_inflate *z, place p)
{
    z->place = p;
    z->have = 0;
    return 1;
}

/* ---- symbols --------------------------------------------------------------------------------- */

/* Copies len >= 3 bytes from `dist` before out; may write up to SLACK bytes more. */
static inline uint8_t *copy_match(uint8_t *out, size_t dist, size_t len)
{
    uint8_t *end = out + len;
    const uint8_t *from = out - dist;
    if (dist >= 16) {
        do {
            memcpy(out, from, 16);
            out += 16;
            from += 16;
        } while (out < end);
    } else if (dist >= 8) {
        do {
            memcpy(out, from, 8);
            out += 8;
            from += 8;
        } while (out < end);
    } else if (dist == 1) {
        memset(out, *from, len);
    } else {
        // Once eight bytes stand there, the pattern repeats from a multiple of dist back
        for (int i = 0; i < 8; i++) out[i] = from[i];
        size_t back = dist * ((7 + dist) / dist);
        for (out += 8; out < end; out += 8) {
            uint8_t eight[8];
            memcpy(eight, out - back, 8);
            memcpy(out, eight, 8);
        }
    }
    return end;
}

static int end_block(tlvi_inflate *z) { return go_to(z, z->last ? TRAILER : BLOCK); }

static const char *const TOO_FAR = "a copy reaches back before the beginning";
static const char *const NOT_A_CODE = "bits that are no code";

/* Symbols while input and room are plenty.  1: go on at z->place; 0: an error. */
static int fast_symbols(tlvi_inflate *z)
{
    const uint8_t *in = z->in, *in_begin = z->in, *in_safe = z->end - 16;
    uint8_t *out = z->buf + z->at, *limit = z->buf + LIMIT, *first = z->buf + z->first;
    uint64_t bits = z->bits;
    unsigned n_bits = z->n_bits;
    const char *error = NULL;
    int ended = 0;
#define REFILL()                                                                                   \
    (bits |= le64(in) << n_bits, in += (63 - n_bits) >> 3, n_bits |= 56)
#define DROP(n) (bits >>= (n), n_bits -= (n))
    while (in <= in_safe && out <= limit) {
        REFILL();
        uint32_t e = z->lit[bits & ((1 << LIT_BITS) - 1)];
        if (e & LITERAL) {
            DROP(e & 255);
            *out++ = (uint8_t)(e >> 16);
            e = z->lit[bits & ((1 << LIT_BITS) - 1)];
            if (e & LITERAL) {
                DROP(e & 255);
                *out++ = (uint8_t)(e >> 16);
                e = z->lit[bits & ((1 << LIT_BITS) - 1)];
            }
        }
        if (e & SUBTABLE) {
            DROP(LIT_BITS);
            e = z->lit[(e >> 16) + (bits & ((1u << (e >> 8 & 31)) - 1))];
        }
        DROP(e & 255);
        if (e & LITERAL) {
            *out++ = (uint8_t)(e >> 16);
            continue;
        }
        if (e & SPECIAL) {
            ended = e >> 16 == 0;
            error = ended ? NULL : NOT_A_CODE;
            break;
        }
        unsigned extra = e >> 8 & 31;
        size_t len = (e >> 16) + (size_t)(bits & ((1u << extra) - 1));
        DROP(extra);
        REFILL();
        e = z->dist[bits & ((1 << DIST_BITS) - 1)];
        if (e & SUBTABLE) {
            DROP(DIST_BITS);
            e = z->dist[(e >> 16) + (bits & ((1u << (e >> 8 & 31)) - 1))];
        }
        DROP(e & 255);
        extra = e >> 8 & 31;
        size_t dist = (e >> 16) + (size_t)(bits & ((1u << extra) - 1));
        DROP(extra);
        if (e & SPECIAL || dist > (size_t)(out - first)) {
            error = e & SPECIAL ? NOT_A_CODE : TOO_FAR;
            break;
        }
        out = copy_match(out, dist, len);
    }
#undef REFILL
#undef DROP
    z->in = in;
    z->fed += (size_t)(in - in_begin);
    z->bits = bits & (((uint64_t)1 << n_bits) - 1);         // REFILL leaves more above n_bits
    z->n_bits = n_bits;
    z->at = (size_t)(out - z->buf);
    if (error) return fail(z, error);
    return ended ? end_block(z) : 1;
}

/* The entry for bits, and in *used the bits of its code. */
static uint32_t look_up(const uint32_t *table, unsigned main_bits, uint64_t bits, unsigned *used)
{
    uint32_t e = table[bits & ((1u << main_bits) - 1)];
    *used = 0;
    if (e & SUBTABLE) {
        *used = main_bits;
        e = table[(e >> 16) + ((bits >> main_bits) & ((1u << (e >> 8 & 31)) - 1))];
    }
    *used += e & 255;
    return e;
}

/* One symbol; 0: nothing was taken, more input is wanted, or an error. */
static int careful_symbol(tlvi_inflate *z)
{
    need(z, 57);                                            // a whole symbol has at most 48
    unsigned code, dist_code, used;
    uint32_t e = look_up(z->lit, LIT_BITS, z->bits, &code);
    if (code > z->n_bits) return 0;
    if (e & LITERAL) {
        z->buf[z->at++] = (uint8_t)(e >> 16);
        take(z, code);
        return 1;
    }
    if (e & SPECIAL) {
        if (e >> 16) return fail(z, NOT_A_CODE);
        take(z, code);
        return end_block(z);
    }
    unsigned extra = e >> 8 & 31, dist_extra;
    uint64_t bits = z->bits >> code;
    size_t len = (e >> 16) + (size_t)(bits & ((1u << extra) - 1));
    bits >>= extra;
    if (code + extra > z->n_bits) return 0;
    e = look_up(z->dist, DIST_BITS, bits, &dist_code);
    dist_extra = e >> 8 & 31;
    used = code + extra + dist_code;
    if (used > z->n_bits) return 0;
    if (e & SPECIAL) return fail(z, NOT_A_CODE);
    if (used + dist_extra > z->n_bits) return 0;
    size_t dist = (e >> 16) + (size_t)(bits >> dist_code & ((1u << dist_extra) - 1));
    if (dist > z->at - z->first) return fail(z, TOO_FAR);
    copy_match(z->buf + z->at, dist, len);
    z->at += len;
    z->bits >>= used + dist_extra;
    z->n_bits -= used + dist_extra;
    return 1;
}

static int symbols(tlvi_inflate *z)
{
    if (z->at > LIMIT) return 0;
    return z->end - z->in >= 16 ? fast_symbols(z) : careful_symbol(z);
}

/* ---- blocks ---------------------------------------------------------------------------------- */

static int block(tlvi_inflate *z)
{
    if (!need(z, 3)) return 0;
    z->last = (int)take(z, 1);
    switch (take(z, 2)) {
    case 0:
        take(z, z->n_bits % 8);
        return go_to(z, STORED_SIZE);
    case 1:
        build_fixed(z);
        return go_to(z, SYMBOLS);
    case 2: return go_to(z, CODE_COUNTS);
    default: return fail(z, "a block of a type that does not exist");
    }
}

static int stored_size(tlvi_inflate *z)
{
    if (!need(z, 32)) return 0;
    z->count = take(z, 16);
    if (take(z, 16) != (z->count ^ 0xffff)) return fail(z, "a stored block with a wrong size");
    return go_to(z, STORED);
}

static int stored(tlvi_inflate *z)
{
    while (z->count && z->n_bits && z->at < LIMIT) {        // what the buffer of bits holds
        z->buf[z->at++] = (uint8_t)take(z, 8);
        z->count--;
    }
    size_t n = (size_t)(z->end - z->in), room = z->at < LIMIT ? LIMIT - z->at : 0;
    if (n > z->count) n = z->count;
    if (n > room) n = room;
    if (n && !z->n_bits) {
        memcpy(z->buf + z->at, z->in, n);
        z->in += n;
        z->fed = 0;                                         // nothing of it is in the bits
        z->at += n;
        z->count -= (unsigned)n;
    }
    return z->count ? 0 : end_block(z);
}

static int code_counts(tlvi_inflate *z)
{
    if (!need(z, 14)) return 0;
    z->n_lit = take(z, 5) + 257;
    z->n_dist = take(z, 5) + 1;
    z->n_pre = take(z, 4) + 4;
    if (z->n_lit > 286 || z->n_dist > 30) return fail(z, "a code of too many symbols");
    z->fixed = 0;
    memset(z->lens, 0, PRES);
    return go_to(z, PRE_LENGTHS);
}

static int pre_lengths(tlvi_inflate *z)
{
    for (; z->have < z->n_pre; z->have++) {
        if (!need(z, 3)) return 0;
        z->lens[PRE_ORDER[z->have]] = (uint8_t)take(z, 3);
    }
    if (!build(CODE_LENGTHS, z->lens, PRES, PRE_BITS, z->pre, PRE_ROOM))
        return fail(z, "lengths of codes whose own code is impossible");
    return go_to(z, CODE_LENGTHS_AT);
}

/* The lengths of both codes in one run; 16: the length before 3 to 6 times, 17 and 18: zeros. */
static int code_lengths(tlvi_inflate *z)
{
    unsigned n = z->n_lit + z->n_dist;
    while (z->have < n) {
        need(z, 14);
        uint32_t e = z->pre[peek(z, PRE_BITS)];
        unsigned code = e & 255, symbol = e >> 16, extra = 0, times = 1;
        if (code > z->n_bits) return 0;
        if (e & SPECIAL) return fail(z, NOT_A_CODE);
        if (symbol >= 16) {
            extra = symbol == 16 ? 2 : symbol == 17 ? 3 : 7;
            if (code + extra > z->n_bits) return 0;
            times = (symbol == 18 ? 11 : 3) + (peek(z, code + extra) >> code);
        }
        if ((symbol == 16 && z->have == 0) || times > n - z->have)
            return fail(z, "a repeated code length where there is none to repeat");
        take(z, code + extra);
        uint8_t len = symbol < 16 ? (uint8_t)symbol : symbol == 16 ? z->lens[z->have - 1] : 0;
        for (; times; times--) z->lens[z->have++] = len;
    }
    if (z->lens[256] == 0) return fail(z, "a code without an end of block");
    if (!build(CODE_LITERALS, z->lens, z->n_lit, LIT_BITS, z->lit, LIT_ROOM)
        || !build(CODE_DISTANCES, z->lens + z->n_lit, z->n_dist, DIST_BITS, z->dist, DIST_ROOM))
        return fail(z, "an impossible code");
    return go_to(z, SYMBOLS);
}

/* ---- what is around a stream ----------------------------------------------------------------- */

static void sum_up(tlvi_inflate *z)
{
    const uint8_t *p = z->buf + z->summed;
    size_t n = z->at - z->summed;
    if (z->wrap == TLVI_ZLIB) z->check = tlvi_adler32(z->check, p, n);
    if (z->wrap == TLVI_GZIP) z->check = tlvi_crc32(z->check, p, n);
    z->size += (uint32_t)n;
    z->summed = z->at;
}

static const char *const NOT_DEFLATE = "a method of compression other than deflate";

static int zlib_head(tlvi_inflate *z)
{
    if (!need(z, 16)) return 0;
    unsigned cmf = take(z, 8), flg = take(z, 8);
    if ((cmf << 8 | flg) % 31) return fail(z, "no zlib header");
    if ((cmf & 15) != 8 || cmf >> 4 > 7) return fail(z, NOT_DEFLATE);
    if (flg & 32) return fail(z, "a preset dictionary, which nobody has");
    return go_to(z, BLOCK);
}

/* The next byte of a gzip header in *b; 0: not there yet. */
static int head_byte(tlvi_inflate *z, unsigned *b)
{
    if (!need(z, 8)) return 0;
    uint8_t byte = (uint8_t)take(z, 8);
    z->head_check = tlvi_crc32(z->head_check, &byte, 1);
    *b = byte;
    return 1;
}

/* 1f 8b, method, flags, time of 4 bytes, two hints. */
static int gzip_head(tlvi_inflate *z)
{
    static const uint8_t magic[3] = { 0x1f, 0x8b, 8 };
    unsigned b;
    for (; z->have < 10; z->have++) {
        if (!head_byte(z, &b)) return 0;
        if (z->have < 2 && b != magic[z->have]) return fail(z, "no gzip header");
        if (z->have == 2 && b != magic[2]) return fail(z, NOT_DEFLATE);
        if (z->have == 3) z->flags = b;
    }
    if (z->flags & 0xe0) return fail(z, "flags of gzip that are not defined");
    return go_to(z, GZIP_EXTRA_SIZE);
}

enum { FLAG_SUM = 2, FLAG_EXTRA = 4, FLAG_NAME = 8, FLAG_COMMENT = 16 };

static int gzip_extra_size(tlvi_inflate *z)
{
    unsigned b;
    if (!(z->flags & FLAG_EXTRA)) return go_to(z, GZIP_NAME);
    if (z->have == 0) z->count = 0;
    for (; z->have < 2; z->have++) {
        if (!head_byte(z, &b)) return 0;
        z->count |= b << 8 * z->have;
    }
    return go_to(z, GZIP_EXTRA);
}

static int gzip_extra(tlvi_inflate *z)
{
    unsigned b;
    for (; z->have < z->count; z->have++)
        if (!head_byte(z, &b)) return 0;
    return go_to(z, GZIP_NAME);
}

/* A text that ends with a zero, if the flag says so. */
static int gzip_text(tlvi_inflate *z, unsigned flag, place then)
{
    unsigned b = z->flags & flag;
    while (b)
        if (!head_byte(z, &b)) return 0;
    return go_to(z, then);
}

static int gzip_head_sum(tlvi_inflate *z)
{
    if (z->flags & FLAG_SUM) {
        if (!need(z, 16)) return 0;
        if (take(z, 16) != (z->head_check & 0xffff))
            return fail(z, "a gzip header with a wrong checksum");
    }
    return go_to(z, BLOCK);
}

static int trailer(tlvi_inflate *z)
{
    sum_up(z);
    take(z, z->n_bits % 8);
    if (z->wrap == TLVI_RAW) return go_to(z, ENDED);
    if (!need(z, 32)) return 0;
    uint32_t v = take(z, 32);
    if (z->wrap == TLVI_ZLIB)
        v = v >> 24 | (v >> 8 & 0xff00) | (v << 8 & 0xff0000) | v << 24;
    if (v != z->check) return fail(z, "a checksum that does not fit the data");
    return go_to(z, z->wrap == TLVI_GZIP ? TRAILER_SIZE : ENDED);
}

static int trailer_size(tlvi_inflate *z)
{
    if (!need(z, 32)) return 0;
    if (take(z, 32) != z->size) return fail(z, "a size that does not fit the data");
    return go_to(z, ENDED);
}

/* A gzip file may go on with another member, or be padded with zeros. */
static int after_end(tlvi_inflate *z)
{
    if (z->wrap != TLVI_GZIP) return 0;
    while (need(z, 8) && peek(z, 8) == 0) take(z, 8);
    if (z->n_bits < 8) return 0;
    z->check = z->size = z->head_check = 0;
    z->first = z->at;
    return go_to(z, GZIP_HEAD);
}

/* ---- reading --------------------------------------------------------------------------------- */

static int step(tlvi_inflate *z)
{
    switch (z->place) {
    case ZLIB_HEAD: return zlib_head(z);
    case GZIP_HEAD: return gzip_head(z);
    case GZIP_EXTRA_SIZE: return gzip_extra_size(z);
    case GZIP_EXTRA: return gzip_extra(z);
    case GZIP_NAME: return gzip_text(z, FLAG_NAME, GZIP_COMMENT);
    case GZIP_COMMENT: return gzip_text(z, FLAG_COMMENT, GZIP_HEAD_SUM);
    case GZIP_HEAD_SUM: return gzip_head_sum(z);
    case BLOCK: return block(z);
    case STORED_SIZE: return stored_size(z);
    case STORED: return stored(z);
    case CODE_COUNTS: return code_counts(z);
    case PRE_LENGTHS: return pre_lengths(z);
    case CODE_LENGTHS_AT: return code_lengths(z);
    case SYMBOLS: return symbols(z);
    case TRAILER: return trailer(z);
    case TRAILER_SIZE: return trailer_size(z);
    default: return after_end(z);
    }
}

/* Decodes until the buffer is full, the input is used up, the stream ends or an error is met. */
static void run(tlvi_inflate *z)
{
    if (z->at >= 2 * WINDOW) {                              // everything was handed out
        size_t shift = z->at - WINDOW;
        memmove(z->buf, z->buf + shift, WINDOW);
        z->at = z->taken = z->summed = WINDOW;
        z->first = z->first > shift ? z->first - shift : 0;
    }
    while (!z->error && step(z)) {}
    sum_up(z);
}

tlvi_inflate *tlvi_inflate_open(tlv_ctx *c, tlvi_wrap wrap)
{
    tlvi_inflate *z = tlvi_alloc(c, sizeof *z);
    if (!z) return NULL;
    memset(z, 0, offsetof(tlvi_inflate, lens));
    z->c = c;
    z->wrap = wrap;
    z->place = wrap == TLVI_ZLIB ? ZLIB_HEAD : wrap == TLVI_GZIP ? GZIP_HEAD : BLOCK;
    z->check = wrap == TLVI_ZLIB;                           // Adler-32 begins with 1
    return z;
}

void tlvi_inflate_close(tlvi_inflate *z)
{
    if (z) tlvi_free(z->c, z, sizeof *z);
}

size_t tlvi_inflate_read(tlvi_inflate *z, const uint8_t **in, size_t *n, uint8_t *out, size_t room)
{
    size_t got = 0;
    z->in = *in;
    z->end = *n ? *in + *n : *in;                           // 0 beyond NULL is undefined
    z->fed = 0;
    for (;;) {
        size_t part = z->at - z->taken;
        if (part > room - got) part = room - got;
        memcpy(out + got, z->buf + z->taken, part);
        z->taken += part;
        got += part;
        if (z->taken < z->at || z->error) break;
        // Also with no room left: the end of the stream and its checksum may follow at once
        size_t at = z->at;
        place p = z->place;
        run(z);
        if (z->taken == z->at && z->at == at && z->place == p) break;
        if (z->taken == z->at && (z->place == ENDED || z->in == z->end)) break;
    }
    if (z->place == ENDED && z->wrap != TLVI_GZIP) {
        size_t back = z->n_bits / 8 < z->fed ? z->n_bits / 8 : z->fed;
        z->in -= back;
        z->n_bits = 0;
        z->bits = 0;
    }
    *n = (size_t)(z->end - z->in);
    *in = z->in;
    return got;
}

int tlvi_inflate_ended(const tlvi_inflate *z)
{
    return z->place == ENDED && z->taken == z->at && !z->error;
}

const char *tlvi_inflate_error(const tlvi_inflate *z)
{
    return z->taken == z->at ? z->error : NULL;
}
