/* jpeg.c -- JPEG images: baseline, extended and progressive, 8 bits, Huffman (see jpeg.h). */
#include <stdio.h>

#include "data/jpeg.h"
#include "tensor/mapfile.h"

enum { SLACK = 64 };
/* What any file may take, however short; beyond this it must hold a bit for each block.  (With so
 * many pixels the image and its copy as RGBA stay below 100 MB.) */
static const int64_t FREE_BYTES = (int64_t)48 << 20, FREE_PIXELS = (int64_t)12 << 20;

tlv_status tlvi_jpeg_fail(tlvi_jpeg *d, const char *hint, const char *fmt, ...)
{
    char what[256];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(what, sizeof what, fmt, ap);
    va_end(ap);
    return tlvi_fail(d->c, TLV_ERR_FORMAT, hint, "%s: JPEG: %s", tlvi_path_str(d->name).s, what);
}

tlv_status tlvi_jpeg_cut_short(tlvi_jpeg *d)
{
    return tlvi_jpeg_fail(d, "the file is incomplete: copy or download it again",
                          "the file ends within the image, after %zu bytes",
                          (size_t)(d->end - d->bytes));
}

/* ---- memory ---------------------------------------------------------------------------------- */

static size_t plane_bytes(const tlvi_jcomp *k) { return (size_t)128 * k->v * k->bw_pad + SLACK; }
static size_t wide_bytes(const tlvi_jpeg *d) { return (size_t)8 * d->max_h * d->mcus_x + SLACK; }
static int64_t blocks(const tlvi_jpeg *d, const tlvi_jcomp *k)
{
    return (int64_t)k->bw_pad * d->mcus_y * k->v;
}

static tlv_status take_memory(tlvi_jpeg *d, int keep_coefs)
{
    int64_t n_blocks = 0, pixels = (int64_t)d->w * d->h;
    d->row_bytes = 2 * wide_bytes(d);
    for (int i = 0; i < d->n_comp; i++) {
        n_blocks += blocks(d, &d->comp[i]);
        d->row_bytes += plane_bytes(&d->comp[i]) + wide_bytes(d);
    }
    d->coef_bytes = keep_coefs ? 128 * (size_t)n_blocks : 0;
    int64_t need = pixels * d->n_comp + (int64_t)d->coef_bytes;
    int small = need <= FREE_BYTES && pixels <= FREE_PIXELS;
    if (!small && n_blocks / 8 > d->end - d->bytes)
        return TLVI_JPEG_FAIL(d, "%d x %d pixels in %zu bytes, fewer than one bit a block", d->w,
                              d->h, (size_t)(d->end - d->bytes));
    static const tlv_pixels kind[] = { 0, TLV_GREY, 0, TLV_RGB, TLV_CMYK };
    if (tlv_image_new(d->c, d->h, d->w, kind[d->n_comp], 8, d->out) != TLV_OK)
        return tlv_error(d->c);
    d->rows = tlvi_alloc(d->c, d->row_bytes);
    if (d->rows && keep_coefs) d->coefs = tlvi_alloc(d->c, d->coef_bytes);
    if (!d->rows || (keep_coefs && !d->coefs)) return tlv_error(d->c);
    if (keep_coefs) memset(d->coefs, 0, d->coef_bytes);

    uint8_t *p = d->rows;
    int16_t *q = d->coefs;
    d->sum = (uint16_t *)p;
    p += 2 * wide_bytes(d);
    for (int i = 0; i < d->n_comp; i++) {
        tlvi_jcomp *k = &d->comp[i];
        k->plane = p;
        k->wide = p + plane_bytes(k);
        p = k->wide + wide_bytes(d);
        k->coef = q;
        if (q) q += 64 * blocks(d, k);
    }
    return TLV_OK;
}

/* ---- the whole file -------------------------------------------------------------------------- */

static tlv_status decode(tlvi_jpeg *d)
{
    int more = 0;
    if (d->end - d->p < 3 || d->p[0] != 0xFF || d->p[1] != 0xD8 || d->p[2] != 0xFF)
        return TLVI_JPEG_FAIL(d, "the file does not begin with FFD8 and another marker");
    d->p += 2;
    if (tlvi_jpeg_read_tables(d, &more) != TLV_OK) return tlv_error(d->c);
    if (!more) return TLVI_JPEG_FAIL(d, "the file holds tables but no image");
    int keep = d->progressive || d->n_scan < d->n_comp;
    if (take_memory(d, keep) != TLV_OK) return tlv_error(d->c);
    while (more) {
        if (tlvi_jpeg_scan(d) != TLV_OK) return tlv_error(d->c);
        d->complete = !keep;
        if (tlvi_jpeg_read_tables(d, &more) != TLV_OK) return tlv_error(d->c);
        if (more && !keep) return TLVI_JPEG_FAIL(d, "another scan after one of all components");
    }
    for (int i = 0; i < d->n_comp; i++)
        if (!d->comp[i].latched) return TLVI_JPEG_FAIL(d, "component %d is in no scan", i);
    if (keep) tlvi_jpeg_from_coefs(d);
    return TLV_OK;
}

tlv_status tlvi_jpeg_decode(tlv_ctx *c, const uint8_t *bytes, size_t n, const char *name,
                            tlv_image *out)
{
    tlvi_jpeg *d = tlv_error(c) == TLV_OK ? tlvi_alloc(c, sizeof *d) : NULL;
    if (!d) return tlv_error(c);
    memset(d, 0, sizeof *d);
    d->c = c;
    d->name = name;
    d->bytes = d->p = bytes;
    d->end = bytes + n;
    d->adobe = -1;
    d->out = out;
    tlv_status st = decode(d);
    if (st == TLV_OK) out->orientation = d->orientation ? d->orientation : 1;
    else tlv_image_close(out);
    if (d->coefs) tlvi_free(c, d->coefs, d->coef_bytes);
    if (d->rows) tlvi_free(c, d->rows, d->row_bytes);
    tlvi_free(c, d, sizeof *d);
    return st;
}
