/* deflate.c -- compresses into one zlib stream: hash chains, lazy matching, Huffman codes a block.
 *
 * Positions are hashed by their next three bytes; a chain leads from each to earlier ones with the
 * same hash.  A match is held back by one position: if the next one has a longer match, the first
 * becomes a literal.  16384 literals and matches make a block, which is written by codes of its
 * own, by the fixed codes or stored, whichever is shortest.
 * Source: RFC 1950, 1951; lazy matching and the limits of level 6: zlib's algorithm.txt. */
#include "data/codec.h"

enum {
    WINDOW = 32768, MASK = WINDOW - 1, HASH_BITS = 15,
    SHORTEST = 3, LONGEST = 258,
    CHAIN = 48,                 /* candidates looked at, a quarter of it once a match is GOOD */
    GOOD = 8, LAZY = 16,        /* a match of LAZY bytes is taken at once */
    NICE = 128,                 /* ends the search */
    TOO_FAR = 4096,             /* from here on three bytes cost less as literals */
    TOKENS = 16384,             /* a block */
    LITS = 286, DISTS = 30, PRES = 19, MAX_BITS = 15, PRE_MAX_BITS = 7,
    STORED_MOST = 65535
};

typedef struct code {
    uint8_t bits[288];
    uint16_t code[288];         /* first bit lowest */
} code;

typedef struct deflater {
    const uint8_t *in;
    size_t n;
    uint32_t head[1 << HASH_BITS], prev[WINDOW];        /* position + 1; 0: none */
    uint32_t token[TOKENS];     /* a byte, or length << 16 | distance */
    size_t n_tokens;
    size_t begin;               /* of the block, in `in` */
    uint32_t lit_freq[LITS], dist_freq[DISTS];
    code lit, dist;
    uint8_t *out;
    size_t at;
    uint64_t bits;
    unsigned n_bits;
} deflater;

/* ---- bits ------------------------------------------------------------------------------------ */

static void put(deflater *z, uint32_t value, unsigned n)
{
    z->bits |= (uint64_t)value << z->n_bits;
    z->n_bits += n;
    while (z->n_bits >= 8) {
        z->out[z->at++] = (uint8_t)z->bits;
        z->bits >>= 8;
        z->n_bits -= 8;
    }
}

static void put_code(deflater *z, const code *c, unsigned symbol)
{
    put(z, c->code[symbol], c->bits[symbol]);
}

static void align(deflater *z) { put(z, 0, (8 - z->n_bits) % 8); }

/* ---- symbols of lengths and distances -------------------------------------------------------- */

static unsigned log_2(uint32_t v)
{
    unsigned k = 0;
    while (v >>= 1) k++;
    return k;
}

/* Both scales double every few symbols: `fine` bits of the number choose among those. */
static unsigned scale(uint32_t v, unsigned fine, unsigned *extra)
{
    unsigned top = log_2(v);
    *extra = top > fine ? top - fine : 0;
    return (*extra << fine) + (unsigned)(v >> *extra);
}

static unsigned length_symbol(unsigned len, unsigned *extra, uint32_t *rest)
{
    unsigned s = len == LONGEST ? 28 : scale(len - SHORTEST, 2, extra);
    if (len == LONGEST) *extra = 0;
    *rest = len == LONGEST ? 0 : (len - SHORTEST) & ((1u << *extra) - 1);
    return 257 + s;
}

static unsigned distance_symbol(unsigned dist, unsigned *extra, uint32_t *rest)
{
    unsigned s = scale(dist - 1, 1, extra);
    *rest = (dist - 1) & ((1u << *extra) - 1);
    return s;
}

/* ---- Huffman codes --------------------------------------------------------------------------- */

/* Depths of the leaves sorted[0 .. n-1] (rarest first) in Huffman's tree, n >= 2: the two rarest
 * of leaves and inner nodes are joined; both queues are in order by themselves. */
static void tree_depths(const uint32_t *freq, const uint16_t *sorted, int n, uint8_t *depth)
{
    uint32_t weight[2 * LITS];
    int16_t parent[2 * LITS];
    int leaf = 0, inner = n;
    for (int i = 0; i < n; i++) weight[i] = freq[sorted[i]];
    for (int made = n; made < 2 * n - 1; made++) {
        weight[made] = 0;
        for (int k = 0; k < 2; k++) {
            int take = leaf < n && (inner >= made || weight[leaf] <= weight[inner]) ? leaf++
                                                                                    : inner++;
            weight[made] += weight[take];
            parent[take] = (int16_t)made;
        }
    }
    uint16_t down[2 * LITS];
    down[2 * n - 2] = 0;
    for (int i = 2 * n - 3; i >= 0; i--) {
        down[i] = (uint16_t)(down[parent[i]] + 1);
        if (i < n) depth[i] = (uint8_t)(down[i] < 255 ? down[i] : 255);
    }
}

/* How many codes there are of each length up to limit: too long ones are shortened, and to make up
 * for it others are made a bit longer, from the longest down. */
static void limit_depths(const uint8_t *depth, int n, int limit, int *count)
{
    int32_t used = 0;                               // of 2^limit
    for (int k = 0; k <= limit; k++) count[k] = 0;
    for (int i = 0; i < n; i++) count[depth[i] < limit ? depth[i] : limit]++;
    for (int k = 1; k <= limit; k++) used += count[k] << (limit - k);
    for (; used > 1 << limit; used--) {
        int k = limit - 1;
        while (count[k] == 0) k--;
        count[limit]--;                             // it joins a leaf of length k one further down
        count[k]--;
        count[k + 1] += 2;
    }
}

/* The low n bits of v, last first. */
static uint16_t reversed(unsigned v, unsigned n)
{
    unsigned r = 0;
    for (; n > 0; n--, v >>= 1) r = r << 1 | (v & 1);
    return (uint16_t)r;
}

/* The codes of symbols whose codes have len[i] bits, 0: none.  (Given both in a struct, gcc 12 for
 * AArch64 takes this function for one without effect and drops its calls: it reaches the codes
 * by way of the lengths.) */
static void assign_codes(const uint8_t *len, uint16_t *out, unsigned n)
{
    unsigned next[MAX_BITS + 2] = { 0 }, count[MAX_BITS + 2] = { 0 };
    for (unsigned i = 0; i < n; i++) count[len[i]]++;
    count[0] = 0;
    for (unsigned k = 1; k <= MAX_BITS; k++) next[k] = (next[k - 1] + count[k - 1]) << 1;
    for (unsigned i = 0; i < n; i++) out[i] = len[i] ? reversed(next[len[i]]++, len[i]) : 0;
}

/* The best code of at most `limit` bits; at least two symbols get one, so that it is complete. */
static void make_code(uint32_t *freq, unsigned n, int limit, code *c)
{
    uint16_t sorted[LITS];
    uint8_t depth[LITS];
    int used = 0, count[MAX_BITS + 1];
    for (unsigned i = 0; i < n; i++) used += freq[i] != 0;
    for (unsigned i = 0; used < 2; i++)
        if (!freq[i]) {
            freq[i] = 1;
            used++;
        }
    used = 0;
    for (unsigned i = 0; i < n; i++) {
        c->bits[i] = 0;
        if (!freq[i]) continue;
        int at = used++;                            // insertion sort, stable
        for (; at > 0 && freq[sorted[at - 1]] > freq[i]; at--) sorted[at] = sorted[at - 1];
        sorted[at] = (uint16_t)i;
    }
    tree_depths(freq, sorted, used, depth);
    limit_depths(depth, used, limit, count);
    for (int k = limit, i = 0; k >= 1; k--)
        for (int m = count[k]; m > 0; m--) c->bits[sorted[i++]] = (uint8_t)k;
    assign_codes(c->bits, c->code, n);
}

static void fixed_codes(code *lit, code *dist)
{
    for (int i = 0; i < 288; i++)
        lit->bits[i] = (uint8_t)(i < 144 ? 8 : i < 256 ? 9 : i < 280 ? 7 : 8);
    for (int i = 0; i < DISTS; i++) dist->bits[i] = 5;
    assign_codes(lit->bits, lit->code, 288);
    assign_codes(dist->bits, dist->code, DISTS);
}

/* ---- blocks ---------------------------------------------------------------------------------- */

/* Code lengths of a block as they are sent: symbols 0-15 a length, 16 the one before 3 to 6 times,
 * 17 and 18 zeros. */
typedef struct lengths {
    uint8_t symbol[LITS + DISTS], rest[LITS + DISTS];
    int n, n_lit, n_dist, n_pre;
    uint32_t freq[PRES];
    code pre;
} lengths;

static const uint8_t PRE_ORDER[PRES] = { 16, 17, 18, 0, 8,  7, 9,  6, 10, 5,
                                         11, 4,  12, 3, 13, 2, 14, 1, 15 };

static unsigned pre_extra(unsigned symbol)
{
    return symbol < 16 ? 0 : symbol == 16 ? 2 : symbol == 17 ? 3 : 7;
}

static void add_length(lengths *l, unsigned symbol, unsigned rest)
{
    l->symbol[l->n] = (uint8_t)symbol;
    l->rest[l->n++] = (uint8_t)rest;
    l->freq[symbol]++;
}

static void run_lengths(const code *lit, const code *dist, lengths *l)
{
    uint8_t all[LITS + DISTS];
    memset(l, 0, sizeof *l);
    l->n_lit = LITS;
    l->n_dist = DISTS;
    while (l->n_lit > 257 && !lit->bits[l->n_lit - 1]) l->n_lit--;
    while (l->n_dist > 1 && !dist->bits[l->n_dist - 1]) l->n_dist--;
    memcpy(all, lit->bits, (size_t)l->n_lit);
    memcpy(all + l->n_lit, dist->bits, (size_t)l->n_dist);
    for (int i = 0, n = l->n_lit + l->n_dist; i < n;) {
        int v = all[i], run = 1;
        while (i + run < n && all[i + run] == v) run++;
        i += run;
        if (v) {
            add_length(l, (unsigned)v, 0);
            run--;
        }
        while (run >= 3) {
            int most = v ? 6 : run < 11 ? 10 : 138, take = run < most ? run : most;
            add_length(l, v ? 16 : take < 11 ? 17 : 18, (unsigned)(take - (take < 11 ? 3 : 11)));
            run -= take;
        }
        while (run-- > 0) add_length(l, (unsigned)v, 0);
    }
    make_code(l->freq, PRES, PRE_MAX_BITS, &l->pre);
    l->n_pre = PRES;
    while (l->n_pre > 4 && !l->pre.bits[PRE_ORDER[l->n_pre - 1]]) l->n_pre--;
}

static uint64_t lengths_bits(const lengths *l)
{
    uint64_t bits = 14 + 3 * (uint64_t)l->n_pre;
    for (int i = 0; i < l->n; i++) bits += l->pre.bits[l->symbol[i]] + pre_extra(l->symbol[i]);
    return bits;
}

static void put_lengths(deflater *z, const lengths *l)
{
    put(z, (uint32_t)(l->n_lit - 257), 5);
    put(z, (uint32_t)(l->n_dist - 1), 5);
    put(z, (uint32_t)(l->n_pre - 4), 4);
    for (int i = 0; i < l->n_pre; i++) put(z, l->pre.bits[PRE_ORDER[i]], 3);
    for (int i = 0; i < l->n; i++) {
        put_code(z, &l->pre, l->symbol[i]);
        put(z, l->rest[i], pre_extra(l->symbol[i]));
    }
}

/* Bits of the block's symbols under a code, without extra bits, which are the same under any. */
static uint64_t symbols_bits(const deflater *z, const code *lit, const code *dist)
{
    uint64_t bits = 0;
    for (int i = 0; i < LITS; i++) bits += (uint64_t)z->lit_freq[i] * lit->bits[i];
    for (int i = 0; i < DISTS; i++) bits += (uint64_t)z->dist_freq[i] * dist->bits[i];
    return bits;
}

static uint64_t extra_bits(const deflater *z)
{
    uint64_t bits = 0;
    for (int i = 8; i < 28; i++) bits += (uint64_t)z->lit_freq[257 + i] * (unsigned)(i / 4 - 1);
    for (int i = 4; i < DISTS; i++) bits += (uint64_t)z->dist_freq[i] * (unsigned)(i / 2 - 1);
    return bits;
}

static void put_tokens(deflater *z)
{
    for (size_t i = 0; i < z->n_tokens; i++) {
        uint32_t t = z->token[i], rest;
        unsigned extra;
        if (t < 256) {
            put_code(z, &z->lit, t);
            continue;
        }
        put_code(z, &z->lit, length_symbol(t >> 16, &extra, &rest));
        put(z, rest, extra);
        put_code(z, &z->dist, distance_symbol(t & 0xffff, &extra, &rest));
        put(z, rest, extra);
    }
    put_code(z, &z->lit, 256);
}

static void put_stored(deflater *z, size_t end, int last)
{
    do {
        size_t n = end - z->begin < STORED_MOST ? end - z->begin : STORED_MOST;
        put(z, (uint32_t)(last && z->begin + n == end), 3);
        align(z);
        put(z, (uint32_t)n, 16);
        put(z, (uint32_t)n ^ 0xffff, 16);
        memcpy(z->out + z->at, z->in + z->begin, n);
        z->at += n;
        z->begin += n;
    } while (z->begin < end);
}

/* Writes what has come since z->begin, which ends before `end`. */
static void put_block(deflater *z, size_t end, int last)
{
    lengths l;
    z->lit_freq[256] = 1;
    make_code(z->lit_freq, LITS, MAX_BITS, &z->lit);
    make_code(z->dist_freq, DISTS, MAX_BITS, &z->dist);
    run_lengths(&z->lit, &z->dist, &l);
    uint64_t extra = extra_bits(z), own = symbols_bits(z, &z->lit, &z->dist) + lengths_bits(&l);
    uint64_t stored = 8 * (uint64_t)(end - z->begin)
                      + 40 * (uint64_t)((end - z->begin) / STORED_MOST + 1);
    code lit, dist;
    fixed_codes(&lit, &dist);
    uint64_t fixed = symbols_bits(z, &lit, &dist);
    if (stored <= (own < fixed ? own : fixed) + extra) {
        put_stored(z, end, last);
    } else {
        put(z, (uint32_t)last | (own < fixed ? 4u : 2u), 3);
        if (own < fixed) {
            put_lengths(z, &l);
        } else {
            z->lit = lit;
            z->dist = dist;
        }
        put_tokens(z);
    }
    z->begin = end;
    z->n_tokens = 0;
    memset(z->lit_freq, 0, sizeof z->lit_freq);
    memset(z->dist_freq, 0, sizeof z->dist_freq);
}

/* ---- matches --------------------------------------------------------------------------------- */

/* Puts position i at the head of its chain; the head before, as position + 1. */
static uint32_t insert(deflater *z, size_t i)
{
    const uint8_t *p = z->in + i;
    uint32_t v = (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16;
    uint32_t h = v * 0x9e3779b1u >> (32 - HASH_BITS), before = z->head[h];
    z->prev[i & MASK] = before;
    z->head[h] = (uint32_t)i + 1;
    return before;
}

static unsigned equal_bytes(const uint8_t *a, const uint8_t *b, unsigned most)
{
    unsigned n = 0;
    while (n + 8 <= most && memcmp(a + n, b + n, 8) == 0) n += 8;
    while (n < most && a[n] == b[n]) n++;
    return n;
}

/* The longest match at i that is longer than `longer`, among candidates from the chain; 0: none. */
static unsigned longest_match(const deflater *z, size_t i, uint32_t candidate, unsigned longer,
                              size_t *dist)
{
    unsigned most = z->n - i < LONGEST ? (unsigned)(z->n - i) : LONGEST, best = longer;
    const uint8_t *p = z->in + i;
    int tries = longer >= GOOD ? CHAIN / 4 : CHAIN;
    if (best >= most) return 0;
    for (; candidate && tries; tries--) {
        size_t at = candidate - 1;
        if (i - at > WINDOW) break;
        const uint8_t *q = z->in + at;
        if (q[best] == p[best] && q[best - 1] == p[best - 1] && q[0] == p[0] && q[1] == p[1]) {
            unsigned len = equal_bytes(q, p, most);
            if (len > best) {
                best = len;
                *dist = i - at;
                if (len >= NICE || len == most) break;
            }
        }
        uint32_t next = z->prev[at & MASK];
        if (next >= candidate) break;               // overwritten by a later position
        candidate = next;
    }
    return best > longer ? best : 0;
}

static void add_token(deflater *z, unsigned len, size_t dist, uint8_t byte)
{
    unsigned extra;
    uint32_t rest;
    if (len == 0) {
        z->lit_freq[byte]++;
        z->token[z->n_tokens++] = byte;
        return;
    }
    z->lit_freq[length_symbol(len, &extra, &rest)]++;
    z->dist_freq[distance_symbol((unsigned)dist, &extra, &rest)]++;
    z->token[z->n_tokens++] = len << 16 | (uint32_t)(dist & 0xffff);
}

static void compress(deflater *z)
{
    unsigned held = 0;                              // length of the match at i - 1, 0: none
    size_t held_dist = 0;
    int waiting = 0;                                // byte i - 1 is not written yet
    for (size_t i = 0; i < z->n;) {
        unsigned len = 0;
        size_t dist = 0;
        if (i + SHORTEST <= z->n) {
            uint32_t candidate = insert(z, i);
            if (held < LAZY)
                len = longest_match(z, i, candidate, held ? held : SHORTEST - 1, &dist);
            if (len == SHORTEST && dist > TOO_FAR) len = 0;
        }
        if (held && !len) {
            add_token(z, held, held_dist, 0);
            size_t end = i - 1 + held;
            for (i++; i < end; i++)
                if (i + SHORTEST <= z->n) insert(z, i);
            held = 0;
            waiting = 0;
        } else {
            if (waiting) add_token(z, 0, 0, z->in[i - 1]);
            held = len;
            held_dist = dist;
            waiting = 1;
            i++;
        }
        if (z->n_tokens >= TOKENS - 1) put_block(z, i - (size_t)waiting, 0);
    }
    if (waiting) add_token(z, 0, 0, z->in[z->n - 1]);
    put_block(z, z->n, 1);
}

uint8_t *tlvi_deflate(tlv_ctx *c, const uint8_t *in, size_t n, size_t *size, size_t *room)
{
    TLVI_REQUIRE(c, n < UINT32_MAX - LONGEST, TLV_ERR_LIMIT, "write it in parts",
                 "deflate: %zu bytes, at most 2^32 are compressed", n);
    deflater *z = tlvi_alloc(c, sizeof *z);
    if (!z) return NULL;
    memset(z, 0, sizeof *z);
    z->in = in;
    z->n = n;
    // No block is longer than stored: 5 bytes for each 65535 and each block's begin; head, checksum
    *room = n + 5 * (n / STORED_MOST + 2 * (n / (TOKENS - 1)) + 2) + 64;
    z->out = tlvi_alloc(c, *room);
    if (z->out) {
        put(z, 0x9c78, 16);
        compress(z);
        align(z);
        uint32_t sum = tlvi_adler32(1, in, n);
        for (int k = 24; k >= 0; k -= 8) put(z, sum >> k & 255, 8);
        *size = z->at;
    }
    uint8_t *out = z->out;
    tlvi_free(c, z, sizeof *z);
    return out;
}
