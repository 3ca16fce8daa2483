/* jpeg_huff.c -- entropy-coded data: Huffman tables, bits, restarts, sequential and progressive
 * scans (T.81, annexes F and G). */
#include "data/jpeg.h"

enum { LOOK = TLVI_JPEG_LOOK };

/* ---- bits ------------------------------------------------------------------------------------ */

/* A byte at a time: undoes stuffing, stops at markers, goes on with zeros there. */
static void refill_slowly(tlvi_jbits *r)
{
    while (r->left <= 56) {
        const uint8_t *q = r->p;
        uint64_t byte = 0;
        if (!r->marker && q == r->end) r->marker = -1;
        if (!r->marker) {
            byte = *q++;
            if (byte == 0xFF) {
                while (q < r->end && *q == 0xFF) q++;
                if (q == r->end) r->marker = -1;
                else if (*q != 0) r->marker = *q;
                else q++;
            }
        }
        if (r->marker) {
            byte = 0;
            r->zeros += 8;
        } else {
            r->p = q;
        }
        r->acc |= byte << (56 - r->left);
        r->left += 8;
    }
}

static inline uint64_t load_be64(const uint8_t *p)
{
    uint64_t v;
#if defined(__GNUC__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    memcpy(&v, p, 8);
    v = __builtin_bswap64(v);
#else
    v = 0;
    for (int i = 0; i < 8; i++) v = v << 8 | p[i];
#endif
    return v;
}

/* At least 56 bits in acc: those of eight bytes at once where none of them is FF. */
static inline void refill(tlvi_jbits *r)
{
    if (r->end - r->p >= 8) {
        uint64_t v = load_be64(r->p);
        if (((~v - 0x0101010101010101u) & v & 0x8080808080808080u) == 0) {
            r->acc |= v >> r->left;
            r->p += (63 - r->left) >> 3;
            r->left |= 56;
            return;
        }
    }
    refill_slowly(r);
}

static inline void drop(tlvi_jbits *r, int n)
{
    r->acc <<= n;
    r->left -= (uint32_t)n;
}

/* n <= 16 bits, of which there must be as many. */
static inline int take(tlvi_jbits *r, int n)
{
    int v = (int)(r->acc >> 1 >> (63 - n));
    drop(r, n);
    return v;
}

static inline int take_bit(tlvi_jbits *r)
{
    if (TLVI_UNLIKELY(r->left < 1)) refill(r);
    return take(r, 1);
}

/* The value of n bits as T.81 codes it: a leading 0 means negative (F.2.2.1, EXTEND). */
static inline int extend(int v, int n) { return n && v < 1 << (n - 1) ? v - (1 << n) + 1 : v; }

/* ---- tables ---------------------------------------------------------------------------------- */

/* Fills the entries of t->look that begin with `code` of l bits. */
static void fill_look(tlvi_jhuff *t, uint32_t code, int l, int symbol)
{
    int size = symbol & 15, whole = size > 0 && l + size <= LOOK;
    uint32_t first = code << (LOOK - l);
    for (uint32_t i = 0; i < 1u << (LOOK - l); i++) {
        uint32_t e = (uint32_t)symbol << 8 | (uint32_t)l;
        if (whole) {
            int v = extend((int)(i >> (LOOK - l - size)), size);
            e = (uint32_t)v << 16 | (uint32_t)symbol << 8 | (uint32_t)(l + size);
        }
        t->look[first + i] = e;
    }
}

static tlv_status build(tlvi_jpeg *d, tlvi_jhuff *t, int is_dc)
{
    if (t->built) return TLV_OK;
    uint32_t code = 0;
    int at = 0;
    memset(t->look, 0, sizeof t->look);
    for (int l = 1; l <= 16; l++) {
        t->offset[l] = at - (int)code;
        t->max_code[l] = -1;
        for (int i = 0; i < t->count[l]; i++, code++, at++) {
            if (code >= 1u << l) return TLVI_JPEG_FAIL(d, "a Huffman table of too many codes");
            if (is_dc && t->symbol[at] > 15)
                return TLVI_JPEG_FAIL(d, "a Huffman table has %d-bit DC values, at most 15",
                                      t->symbol[at]);
            if (l <= LOOK) fill_look(t, code, l, t->symbol[at]);
            t->max_code[l] = (int)code;
        }
        code <<= 1;
    }
    t->max_code[17] = INT32_MAX;
    t->built = 1;
    return TLV_OK;
}

/* Annex K.3's tables stand in for those that a sequential file (Motion JPEG) leaves out: codes of
 * each length, then symbols. */
static const uint8_t K3_DC[2][16 + 12] = {
    { 0, 1, 5, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11 },
    { 0, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11 },
};
static const uint8_t K3_AC_COUNT[2][16] = {
    { 0, 2, 1, 3, 3, 2, 4, 3, 5, 5, 4, 4, 0, 0, 1, 0x7D },
    { 0, 2, 1, 2, 4, 4, 3, 4, 7, 5, 4, 4, 0, 1, 2, 0x77 },
};
static const char K3_AC[2][2 * 162 + 1] = {
    "01020300041105122131410613516107227114328191A1082342B1C11552D1F02433627282090A161718191A2526"
    "2728292A3435363738393A434445464748494A535455565758595A636465666768696A737475767778797A838485"
    "868788898A92939495969798999AA2A3A4A5A6A7A8A9AAB2B3B4B5B6B7B8B9BAC2C3C4C5C6C7C8C9CAD2D3D4D5D6"
    "D7D8D9DAE1E2E3E4E5E6E7E8E9EAF1F2F3F4F5F6F7F8F9FA",
    "000102031104052131061241510761711322328108144291A1B1C109233352F0156272D10A162434E125F1171819"
    "1A262728292A35363738393A434445464748494A535455565758595A636465666768696A737475767778797A8283"
    "8485868788898A92939495969798999AA2A3A4A5A6A7A8A9AAB2B3B4B5B6B7B8B9BAC2C3C4C5C6C7C8C9CAD2D3D4"
    "D5D6D7D8D9DAE2E3E4E5E6E7E8E9EAF2F3F4F5F6F7F8F9FA",
};

static int hex(char c) { return c <= '9' ? c - '0' : c - 'A' + 10; }

static void use_standard(tlvi_jhuff *t, int is_dc, int which)
{
    memcpy(t->count + 1, is_dc ? K3_DC[which] : K3_AC_COUNT[which], 16);
    if (is_dc) memcpy(t->symbol, K3_DC[which] + 16, 12);
    for (int i = 0; !is_dc && i < 162; i++)
        t->symbol[i] = (uint8_t)(hex(K3_AC[which][2 * i]) << 4 | hex(K3_AC[which][2 * i + 1]));
    t->defined = 1;
}

static tlv_status want_table(tlvi_jpeg *d, int is_dc, int which)
{
    tlvi_jhuff *t = which > 3 ? NULL : is_dc ? &d->dc[which] : &d->ac[which];
    if (t && !t->defined && which < 2 && !d->progressive) use_standard(t, is_dc, which);
    if (!t || !t->defined)
        return TLVI_JPEG_FAIL(d, "Huffman table %d of class %d is missing", which, !is_dc);
    return build(d, t, is_dc);
}

/* A symbol by its code, bit by bit; a code that does not exist is read as 0, after 17 bits. */
static int slow_symbol(tlvi_jbits *r, const tlvi_jhuff *t)
{
    int l = 1;
    while ((int)(r->acc >> (64 - l)) > t->max_code[l]) l++;
    int code = (int)(r->acc >> (64 - l));
    drop(r, l);
    return l > 16 ? 0 : t->symbol[(code + t->offset[l]) & 255];
}

static inline int symbol(tlvi_jbits *r, const tlvi_jhuff *t)
{
    if (TLVI_UNLIKELY(r->left < 32)) refill(r);
    uint32_t e = t->look[r->acc >> (64 - LOOK)];
    if (TLVI_UNLIKELY((e & 255) == 0)) return slow_symbol(r, t);
    int s = (int)(e >> 8 & 255), l = (int)(e & 255);
    drop(r, e >> 16 ? l - (s & 15) : l);
    return s;
}

/* ---- one block ------------------------------------------------------------------------------- */

static inline int dc_value(tlvi_jbits *r, const tlvi_jhuff *t, int *pred)
{
    if (r->left < 32) refill(r);
    uint32_t e = t->look[r->acc >> (64 - LOOK)];
    int diff = (int32_t)e >> 16;
    if (diff != 0) {
        drop(r, (int)(e & 255));
    } else {
        int s = symbol(r, t);
        diff = extend(take(r, s), s);
    }
    return *pred = (int)((uint32_t)*pred + (uint32_t)diff);
}

/* Sequential: all of one block, over what is there.  Returns the last place in zigzag order. */
static int block_sequential(tlvi_jbits *bits, const tlvi_jhuff *dc, const tlvi_jhuff *ac, int *pred,
                            int16_t *b)
{
    tlvi_jbits r = *bits;
    int k = 0, last = 0;
    b[0] = (int16_t)dc_value(&r, dc, pred);
    while (++k < 64) {
        if (r.left < 32) refill(&r);
        uint32_t e = ac->look[r.acc >> (64 - LOOK)];
        int v = (int32_t)e >> 16;
        if (v != 0) {
            k += (int)(e >> 12 & 15);
            drop(&r, (int)(e & 255));
        } else {
            int rs = symbol(&r, ac), size = rs & 15;
            if (size == 0 && rs != 0xF0) break;     // end of block
            k += rs >> 4;
            if (size == 0) continue;                // 16 zeros
            v = extend(take(&r, size), size);
        }
        b[tlvi_jpeg_zigzag[k]] = (int16_t)v;
        last = k;
    }
    *bits = r;
    return last;
}

/* Progressive, DC: the first bits, or one more. */
static void block_dc(tlvi_jpeg *d, tlvi_jcomp *k, int16_t *b)
{
    tlvi_jbits *r = &d->bits;
    if (d->ah == 0)
        b[0] = (int16_t)((uint32_t)dc_value(r, &d->dc[k->dc], &k->pred) << d->al);
    else if (take_bit(r))
        b[0] |= (int16_t)(1 << d->al);
}

/* Length of a run of blocks without further coefficients, this one included. */
static int eob_run(tlvi_jbits *r, int bits) { return (1 << bits) + take(r, bits); }

/* Progressive, AC: the first bits of coefficients ss..se. */
static void block_ac_first(tlvi_jpeg *d, const tlvi_jhuff *t, int16_t *b)
{
    if (d->eob_run > 0) {
        d->eob_run--;
        return;
    }
    tlvi_jbits r = d->bits;
    for (int k = d->ss; k <= d->se; k++) {
        if (r.left < 32) refill(&r);
        uint32_t e = t->look[r.acc >> (64 - LOOK)];
        int v = (int32_t)e >> 16;
        if (v != 0) {
            k += (int)(e >> 12 & 15);
            drop(&r, (int)(e & 255));
        } else {
            int rs = symbol(&r, t), run = rs >> 4, size = rs & 15;
            if (size == 0 && run < 15) {
                d->eob_run = eob_run(&r, run) - 1;
                break;
            }
            k += run;
            if (size == 0) continue;
            v = extend(take(&r, size), size);
        }
        b[tlvi_jpeg_zigzag[k]] = (int16_t)((uint32_t)v << d->al);
    }
    d->bits = r;
}

/* One more bit of a coefficient that is not zero. */
static inline void refine(tlvi_jbits *r, int16_t *x, int bit)
{
    if (take_bit(r) && (*x & bit) == 0) *x = (int16_t)(*x >= 0 ? *x + bit : *x - bit);
}

/* Progressive, AC: one more bit of coefficients ss..se. */
static void block_ac_refine(tlvi_jpeg *d, const tlvi_jhuff *t, int16_t *b)
{
    tlvi_jbits r = d->bits;
    int bit = 1 << d->al, k = d->ss;
    for (; d->eob_run == 0 && k <= d->se; k++) {
        int rs = symbol(&r, t), run = rs >> 4, fresh = 0;
        if (rs & 15) {
            fresh = take_bit(&r) ? bit : -bit;
        } else if (run < 15) {
            if (r.left < 16) refill(&r);
            d->eob_run = eob_run(&r, run);
            break;
        }
        for (; k <= d->se; k++) {           // run counts coefficients that are still zero
            int16_t *x = &b[tlvi_jpeg_zigzag[k]];
            if (*x != 0) refine(&r, x, bit);
            else if (--run < 0) break;
        }
        if (fresh) b[tlvi_jpeg_zigzag[k]] = (int16_t)fresh;
    }
    if (d->eob_run > 0) {
        for (; k <= d->se; k++) {
            int16_t *x = &b[tlvi_jpeg_zigzag[k]];
            if (*x != 0) refine(&r, x, bit);
        }
        d->eob_run--;
    }
    d->bits = r;
}

/* ---- restarts -------------------------------------------------------------------------------- */

static void begin_interval(tlvi_jpeg *d)
{
    for (int i = 0; i < d->n_comp; i++) d->comp[i].pred = 0;
    d->eob_run = 0;
    d->todo = d->interval;
    // A marker that stays unread is met again: p goes back before it.
    d->bits = (tlvi_jbits){ .p = d->marker ? d->p - 2 : d->p, .end = d->end, .marker = d->marker };
}

/* Back to markers: the one that bits met, or a search from where they stopped. */
static tlv_status end_bits(tlvi_jpeg *d)
{
    d->p = d->bits.p;
    d->marker = 0;
    if (d->bits.marker == 0) return TLV_OK;
    return tlvi_jpeg_next_marker(d);
}

/* At the wrong marker: take it for the one wanted, look further, or stay before it and let zeros
 * fill the interval; as libjpeg guesses (its default resync_to_restart). */
static tlv_status resync(tlvi_jpeg *d)
{
    for (;;) {
        int m = d->marker, ahead = (m - 0xD0 - d->next_restart) & 7;
        if (m >= 0xC0 && (m < 0xD0 || m > 0xD7)) return TLV_OK;     // another segment
        if (m >= 0xC0 && (ahead == 1 || ahead == 2)) return TLV_OK; // one was lost
        if (m >= 0xC0 && ahead != 6 && ahead != 7) {                // take it
            d->marker = 0;
            return TLV_OK;
        }
        if (tlvi_jpeg_next_marker(d) != TLV_OK) return tlv_error(d->c);
    }
}

static tlv_status restart(tlvi_jpeg *d)
{
    if (end_bits(d) != TLV_OK) return tlv_error(d->c);
    if (!d->marker && tlvi_jpeg_next_marker(d) != TLV_OK) return tlv_error(d->c);
    if (d->marker == 0xD0 + d->next_restart) d->marker = 0;
    else if (resync(d) != TLV_OK) return tlv_error(d->c);
    d->next_restart = (d->next_restart + 1) & 7;
    begin_interval(d);
    if (!d->marker) d->starved = 0;
    return TLV_OK;
}

/* ---- scans ----------------------------------------------------------------------------------- */

/* Before an MCU of a band: 1 if it has data, 0 if it stays as it is; -1 after an error. */
static int begin_mcu(tlvi_jpeg *d, int band)
{
    if (!d->starved) d->last_good = band;
    if (d->interval && d->todo == 0 && restart(d) != TLV_OK) return -1;
    d->todo--;
    return !d->starved;
}

/* After an MCU: a bit that was made up ends what can be read up to the next restart. */
static int end_mcu(tlvi_jpeg *d)
{
    if (TLVI_UNLIKELY(d->bits.zeros > d->bits.left)) {
        if (d->bits.marker < 0) {
            tlvi_jpeg_cut_short(d);
            return -1;
        }
        d->starved = 1;
    }
    return 0;
}

static void read_block(tlvi_jpeg *d, tlvi_jcomp *k, int16_t *b)
{
    if (!d->progressive)
        block_sequential(&d->bits, &d->dc[k->dc], &d->ac[k->ac], &k->pred, b);
    else if (d->ss == 0)
        block_dc(d, k, b);
    else if (d->ah == 0)
        block_ac_first(d, &d->ac[k->ac], b);
    else
        block_ac_refine(d, &d->ac[k->ac], b);
}

static int16_t *coef_block(const tlvi_jcomp *k, int64_t by, int64_t bx)
{
    return k->coef + 64 * (by * k->bw_pad + bx);
}

/* One component: its blocks row by row, those of padding left out. */
static tlv_status scan_one(tlvi_jpeg *d)
{
    tlvi_jcomp *k = &d->comp[d->scan[0]];
    for (int y = 0; y < k->bh; y++)
        for (int x = 0; x < k->bw; x++) {
            int some = begin_mcu(d, y / k->v_file);
            if (some > 0) read_block(d, k, coef_block(k, y, x));
            if (some < 0 || (some > 0 && end_mcu(d) < 0)) return tlv_error(d->c);
            if (d->starved && !d->interval) return TLV_OK;
        }
    return TLV_OK;
}

static tlv_status scan_interleaved(tlvi_jpeg *d)
{
    for (int y = 0; y < d->mcus_y; y++)
        for (int x = 0; x < d->mcus_x; x++) {
            int some = begin_mcu(d, y);
            for (int i = 0; i < d->n_scan && some > 0; i++) {
                tlvi_jcomp *k = &d->comp[d->scan[i]];
                for (int v = 0; v < k->v; v++)
                    for (int h = 0; h < k->h; h++)
                        read_block(d, k, coef_block(k, y * k->v + v, x * k->h + h));
            }
            if (some < 0 || (some > 0 && end_mcu(d) < 0)) return tlv_error(d->c);
            if (d->starved && !d->interval) return TLV_OK;
        }
    return TLV_OK;
}

/* All components at once, straight to samples. */
static tlv_status scan_to_planes(tlvi_jpeg *d)
{
    _Alignas(64) int16_t b[64];
    const tlvi_kset *kernels = d->c->k->f32;
    for (int y = 0; y < d->mcus_y; y++) {
        for (int x = 0; x < d->mcus_x; x++) {
            int some = begin_mcu(d, y);
            for (int i = 0; i < d->n_scan; i++) {
                tlvi_jcomp *k = &d->comp[d->scan[i]];
                ptrdiff_t stride = 8 * (ptrdiff_t)k->bw_pad;
                uint8_t *out = k->plane + (y & 1) * 8 * k->v * stride + 8 * (ptrdiff_t)x * k->h;
                for (int j = 0; j < k->h * k->v; j++) {
                    int last = 0;
                    memset(b, 0, sizeof b);
                    if (some > 0)
                        last = block_sequential(&d->bits, &d->dc[k->dc], &d->ac[k->ac],
                                                &k->pred, b);
                    kernels->jpeg_idct(last == 0 ? 1 : last < 10 ? 4 : 8, b, k->quant,
                                       out + j / k->h * 8 * stride + j % k->h * 8, stride);
                }
            }
            if (some < 0 || (some > 0 && end_mcu(d) < 0)) return tlv_error(d->c);
        }
        tlvi_jpeg_emit(d, y);
    }
    return TLV_OK;
}

tlv_status tlvi_jpeg_scan(tlvi_jpeg *d)
{
    for (int i = 0; i < d->n_scan; i++) {
        const tlvi_jcomp *k = &d->comp[d->scan[i]];
        int dc = !d->progressive || (d->ss == 0 && d->ah == 0), ac = !d->progressive || d->ss > 0;
        if ((dc && want_table(d, 1, k->dc) != TLV_OK) || (ac && want_table(d, 0, k->ac) != TLV_OK))
            return tlv_error(d->c);
    }
    d->starved = 0;
    begin_interval(d);
    tlv_status st = !d->coefs          ? scan_to_planes(d)
                    : d->n_scan == 1 ? scan_one(d)
                                     : scan_interleaved(d);
    return st != TLV_OK ? st : end_bits(d);
}
