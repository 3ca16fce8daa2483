/* jpeg_marker.c -- the segments of a JPEG file between its entropy-coded data (T.81, annex B). */
#include "data/jpeg.h"
#include "tensor/mapfile.h"

enum {
    M_TEM = 0x01, M_SOF0 = 0xC0, M_SOF1 = 0xC1, M_SOF2 = 0xC2, M_SOF3 = 0xC3, M_DHT = 0xC4,
    M_JPG = 0xC8, M_SOF9 = 0xC9, M_SOF10 = 0xCA, M_DAC = 0xCC, M_SOF15 = 0xCF, M_RST0 = 0xD0,
    M_RST7 = 0xD7, M_SOI = 0xD8, M_EOI = 0xD9, M_SOS = 0xDA, M_DQT = 0xDB, M_DNL = 0xDC,
    M_DRI = 0xDD, M_APP0 = 0xE0, M_APP1 = 0xE1, M_APP14 = 0xEE, M_APP15 = 0xEF, M_COM = 0xFE
};
enum { MAX_SIDE = 65500, MAX_SCANS = 500, MAX_MCU_BLOCKS = 10 };
static const int64_t MAX_PIXELS = (int64_t)1 << 28;

const uint8_t tlvi_jpeg_zigzag[80] = {
    0,  1,  8,  16, 9,  2,  3,  10, 17, 24, 32, 25, 18, 11, 4,  5,
    12, 19, 26, 33, 40, 48, 41, 34, 27, 20, 13, 6,  7,  14, 21, 28,
    35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51,
    58, 59, 52, 45, 38, 31, 39, 46, 53, 60, 61, 54, 47, 55, 62, 63,
    63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63
};

/* A segment's content. */
typedef struct seg { const uint8_t *p; size_t n; } seg;

tlv_status tlvi_jpeg_next_marker(tlvi_jpeg *d)
{
    for (;;) {
        const uint8_t *ff = memchr(d->p, 0xFF, (size_t)(d->end - d->p));
        if (!ff) break;
        d->p = ff;
        while (d->p < d->end && *d->p == 0xFF) d->p++;      // fill bytes
        if (d->p == d->end) break;
        int m = *d->p++;
        if (m == 0) continue;                               // stuffed: data without a place
        d->marker = m;
        return TLV_OK;
    }
    if (!d->complete) return tlvi_jpeg_cut_short(d);
    d->p = d->end;
    d->marker = M_EOI;                                      // which nobody misses
    return TLV_OK;
}

/* 1 if the file ends here or within the segment to come. */
static int cut_here(const tlvi_jpeg *d)
{
    size_t left = (size_t)(d->end - d->p);
    return left < 2 || left < ((size_t)d->p[0] << 8 | d->p[1]);
}

static tlv_status take_segment(tlvi_jpeg *d, seg *s)
{
    if (cut_here(d)) return tlvi_jpeg_cut_short(d);
    size_t n = (size_t)d->p[0] << 8 | d->p[1];
    if (n < 2)
        return TLVI_JPEG_FAIL(d, "a segment with marker FF%02X has the length %zu, less than 2",
                              d->marker, n);
    *s = (seg){ d->p + 2, n - 2 };
    d->p += n;
    return TLV_OK;
}

/* ---- tables ---------------------------------------------------------------------------------- */

static tlv_status read_quant(tlvi_jpeg *d, seg s)
{
    while (s.n > 0) {
        int which = s.p[0] & 15, wide = s.p[0] >> 4;
        size_t need = wide ? 129 : 65;
        if (which > 3) return TLVI_JPEG_FAIL(d, "quantization table %d; there are 0 to 3", which);
        if (s.n < need)
            return TLVI_JPEG_FAIL(d, "a quantization table of %zu bytes, %zu expected", s.n, need);
        const uint8_t *q = s.p + 1;
        for (int k = 0; k < 64; k++)
            d->quant[which][tlvi_jpeg_zigzag[k]] =
                (uint16_t)(wide ? q[2 * k] << 8 | q[2 * k + 1] : q[k]);
        d->have_quant[which] = 1;
        s.p += need;
        s.n -= need;
    }
    return TLV_OK;
}

static tlv_status read_huffman(tlvi_jpeg *d, seg s)
{
    while (s.n > 0) {
        int which = s.p[0] & 15, class = s.p[0] >> 4;
        size_t sum = 0;
        if (s.n < 17) return TLVI_JPEG_FAIL(d, "a Huffman table of %zu bytes, at least 17", s.n);
        if (which > 3 || class > 1)
            return TLVI_JPEG_FAIL(d, "Huffman table %d of class %d; there are 0 to 3 of 0 and 1",
                                  which, class);
        tlvi_jhuff *t = class ? &d->ac[which] : &d->dc[which];
        memset(t, 0, offsetof(tlvi_jhuff, look));
        for (int l = 1; l <= 16; l++) sum += t->count[l] = s.p[l];
        if (sum > 256 || sum > s.n - 17)
            return TLVI_JPEG_FAIL(d, "a Huffman table of %zu codes in %zu bytes", sum, s.n - 17);
        memcpy(t->symbol, s.p + 17, sum);
        t->defined = 1;
        s.p += 17 + sum;
        s.n -= 17 + sum;
    }
    return TLV_OK;
}

static tlv_status read_interval(tlvi_jpeg *d, seg s)
{
    if (s.n != 2) return TLVI_JPEG_FAIL(d, "a restart interval of %zu bytes, 2 expected", s.n);
    d->interval = s.p[0] << 8 | s.p[1];
    return TLV_OK;
}

static void read_app(tlvi_jpeg *d, seg s)
{
    if (d->marker == M_APP0 && s.n >= 14 && memcmp(s.p, "JFIF", 5) == 0) d->jfif = 1;
    if (d->marker == M_APP14 && s.n >= 12 && memcmp(s.p, "Adobe", 5) == 0) d->adobe = s.p[11];
    if (d->marker == M_APP1 && s.n > 6 && memcmp(s.p, "Exif", 5) == 0 && !d->orientation)
        d->orientation = tlvi_exif_orientation(s.p + 6, s.n - 6);
}

/* ---- frame ----------------------------------------------------------------------------------- */

static int up(int64_t a, int64_t b) { return (int)((a + b - 1) / b); }

static void set_sizes(tlvi_jpeg *d)
{
    if (d->n_comp == 1) d->comp[0].h = d->comp[0].v = 1;    // nothing to be sampled against
    d->max_h = d->max_v = 1;
    for (int i = 0; i < d->n_comp; i++) {
        if (d->comp[i].h > d->max_h) d->max_h = d->comp[i].h;
        if (d->comp[i].v > d->max_v) d->max_v = d->comp[i].v;
    }
    d->mcus_x = up(d->w, 8 * d->max_h);
    d->mcus_y = up(d->h, 8 * d->max_v);
    for (int i = 0; i < d->n_comp; i++) {
        tlvi_jcomp *k = &d->comp[i];
        k->w = up((int64_t)d->w * k->h, d->max_h);
        k->rows = up((int64_t)d->h * k->v, d->max_v);
        k->bw = up((int64_t)d->w * k->h, 8 * d->max_h);
        k->bh = up((int64_t)d->h * k->v, 8 * d->max_v);
        k->bw_pad = d->mcus_x * k->h;
        for (int j = 0; j < 64; j++) k->known[j] = k->known_before[j] = -1;
    }
}

static const char *unsupported(int marker)
{
    if (marker == M_SOF9 || marker == M_SOF10) return "arithmetic coding";
    if (marker == M_SOF3) return "lossless coding";
    return marker > M_JPG ? "arithmetic coding of a rare kind" : "hierarchical coding";
}

static tlv_status refuse_kind(tlvi_jpeg *d)
{
    return tlvi_jpeg_fail(d, "baseline, extended and progressive Huffman coding of 8 bits are "
                          "read; write it again as one of these", "%s (marker FF%02X)",
                          unsupported(d->marker), d->marker);
}

static tlv_status read_frame(tlvi_jpeg *d, seg s)
{
    if (d->n_comp) return TLVI_JPEG_FAIL(d, "two frame headers");
    if (s.n < 6) return TLVI_JPEG_FAIL(d, "a frame header of %zu bytes, at least 6", s.n);
    int bits = s.p[0], n = s.p[5];
    d->progressive = d->marker == M_SOF2;
    d->h = s.p[1] << 8 | s.p[2];
    d->w = s.p[3] << 8 | s.p[4];
    if (bits != 8)
        return tlvi_jpeg_fail(d, "write it again with 8 bits", "%d bits a sample; 8 are read",
                              bits);
    if (n != 1 && n != 3 && n != 4)
        return TLVI_JPEG_FAIL(d, "%d components; 1, 3 and 4 are read", n);
    if (s.n != 6 + 3 * (size_t)n)
        return TLVI_JPEG_FAIL(d, "a frame header of %zu bytes for %d components", s.n, n);
    if (d->w == 0 || d->h == 0 || d->w > MAX_SIDE || d->h > MAX_SIDE)
        return TLVI_JPEG_FAIL(d, "%d x %d pixels; each side must be 1 to %d", d->w, d->h, MAX_SIDE);
    if ((int64_t)d->w * d->h > MAX_PIXELS)
        return tlvi_fail(d->c, TLV_ERR_LIMIT, NULL, "%s: %d x %d pixels, at most %lld",
                         tlvi_path_str(d->name).s, d->w, d->h, (long long)MAX_PIXELS);
    for (int i = 0; i < n; i++) {
        const uint8_t *q = s.p + 6 + 3 * i;
        d->comp[i] = (tlvi_jcomp){ .id = q[0], .h = q[1] >> 4, .v = q[1] & 15, .tq = q[2] };
        d->comp[i].v_file = d->comp[i].v;
        if (d->comp[i].h < 1 || d->comp[i].h > 4 || d->comp[i].v < 1 || d->comp[i].v > 4)
            return TLVI_JPEG_FAIL(d, "component %d is sampled %d x %d; 1 to 4 are allowed", i,
                                  q[1] >> 4, q[1] & 15);
    }
    d->n_comp = n;
    set_sizes(d);
    for (int i = 0; i < n; i++)
        if (d->max_h % d->comp[i].h || d->max_v % d->comp[i].v)
            return TLVI_JPEG_FAIL(d, "component %d is sampled %d x %d of %d x %d: no whole ratio",
                                  i, d->comp[i].h, d->comp[i].v, d->max_h, d->max_v);
    return TLV_OK;
}

/* ---- scan ------------------------------------------------------------------------------------ */

static tlv_status find_components(tlvi_jpeg *d, seg s)
{
    int blocks = 0;
    for (int i = 0; i < d->n_scan; i++) {
        int id = s.p[1 + 2 * i], tables = s.p[2 + 2 * i], at = -1;
        // In the frame's order: nothing that stands earlier there than here.
        for (int k = d->n_comp - 1; k >= i; k--)
            if (d->comp[k].id == id) at = k;
        for (int j = 0; j < i; j++)
            if (d->scan[j] == at) at = -1;
        if (at < 0)
            return TLVI_JPEG_FAIL(d, "a scan wants component %d, which the frame does not have at "
                                  "that place", id);
        d->scan[i] = at;
        d->comp[at].dc = tables >> 4;
        d->comp[at].ac = tables & 15;
        blocks += d->comp[at].h * d->comp[at].v;
    }
    if (d->n_scan > 1 && blocks > MAX_MCU_BLOCKS)
        return TLVI_JPEG_FAIL(d, "%d blocks in an MCU, at most %d", blocks, MAX_MCU_BLOCKS);
    return TLV_OK;
}

/* Notes which bits of which coefficients this scan delivers. */
static tlv_status check_progression(tlvi_jpeg *d)
{
    int dc = d->ss == 0;
    if ((dc ? d->se != 0 : d->ss > d->se || d->se > 63 || d->n_scan != 1) || d->al > 13 ||
        (d->ah != 0 && d->al != d->ah - 1))
        return TLVI_JPEG_FAIL(d, "a progressive scan of %d components, coefficients %d to %d, bits "
                              "%d to %d", d->n_scan, d->ss, d->se, d->ah, d->al);
    for (int i = 0; i < d->n_scan; i++) {
        tlvi_jcomp *k = &d->comp[d->scan[i]];
        int from = d->ss < 1 ? d->ss : 1, to = d->se > 9 ? d->se : 9;
        for (int j = from; j <= to; j++) k->known_before[j] = d->scans > 1 ? k->known[j] : 0;
        for (int j = d->ss; j <= d->se; j++) k->known[j] = d->al;
    }
    return TLV_OK;
}

static tlv_status latch_quant(tlvi_jpeg *d)
{
    for (int i = 0; i < d->n_scan; i++) {
        tlvi_jcomp *k = &d->comp[d->scan[i]];
        if (k->latched) continue;                   // later tables are for other components
        if (k->tq > 3 || !d->have_quant[k->tq])
            return TLVI_JPEG_FAIL(d, "quantization table %d is missing", k->tq);
        memcpy(k->quant, d->quant[k->tq], sizeof k->quant);
        k->latched = 1;
    }
    return TLV_OK;
}

static tlv_status read_scan(tlvi_jpeg *d, seg s)
{
    if (!d->n_comp) return TLVI_JPEG_FAIL(d, "a scan before the frame header");
    d->n_scan = s.n > 0 ? s.p[0] : 0;
    if (d->n_scan < 1 || d->n_scan > 4 || s.n != 4 + 2 * (size_t)d->n_scan)
        return TLVI_JPEG_FAIL(d, "a scan header of %zu bytes for %d components", s.n, d->n_scan);
    if (++d->scans > MAX_SCANS)
        return TLVI_JPEG_FAIL(d, "more than %d scans", MAX_SCANS);
    const uint8_t *q = s.p + 1 + 2 * d->n_scan;
    d->ss = q[0];
    d->se = q[1];
    d->ah = q[2] >> 4;
    d->al = q[2] & 15;
    d->next_restart = 0;
    if (find_components(d, s) != TLV_OK || latch_quant(d) != TLV_OK) return tlv_error(d->c);
    return d->progressive ? check_progression(d) : TLV_OK;
}

static int is_frame(int m)
{
    return m >= M_SOF0 && m <= M_SOF15 && m != M_DHT && m != M_DAC;
}

tlv_status tlvi_jpeg_read_tables(tlvi_jpeg *d, int *more)
{
    *more = 0;
    for (;;) {
        if (!d->marker && tlvi_jpeg_next_marker(d) != TLV_OK) return tlv_error(d->c);
        int m = d->marker;
        tlv_status st = TLV_OK;
        seg s = { NULL, 0 };
        if (m == M_EOI || m == M_TEM || (m >= M_RST0 && m <= M_RST7)) {
            d->marker = 0;
            if (m != M_EOI) continue;
            return TLV_OK;
        }
        if (m == M_SOI) return TLVI_JPEG_FAIL(d, "an image begins within the image");
        int known = is_frame(m) || m == M_DHT || m == M_DAC || m == M_SOS || m == M_DQT ||
                    m == M_DNL || m == M_DRI || (m >= M_APP0 && m <= M_APP15) || m == M_COM;
        if (!known) return TLVI_JPEG_FAIL(d, "an unknown marker, FF%02X", m);
        if (is_frame(m) && m > M_SOF2) return refuse_kind(d);
        if (d->complete && cut_here(d)) return TLV_OK;
        if (take_segment(d, &s) != TLV_OK) return tlv_error(d->c);
        if (is_frame(m)) st = read_frame(d, s);
        else if (m == M_DHT) st = read_huffman(d, s);
        else if (m == M_DQT) st = read_quant(d, s);
        else if (m == M_DRI) st = read_interval(d, s);
        else if (m == M_SOS) st = read_scan(d, s);
        else read_app(d, s);
        d->marker = 0;
        if (st != TLV_OK) return st;
        if (m == M_SOS) {
            *more = 1;
            return TLV_OK;
        }
    }
}
