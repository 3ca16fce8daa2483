/* idx.c -- IDX files (MNIST): two zero bytes, a type byte (8: unsigned byte), the number of dims,
 * big-endian dims, data. */
#include <stdio.h>

#include "data/reader.h"

typedef struct idx {
    uint8_t *file;
    size_t size;
    const uint8_t *data;
    int ndim;
    int64_t dim[4];
} idx;

static int64_t be32(const uint8_t *p)
{
    return (int64_t)p[0] << 24 | (int64_t)p[1] << 16 | (int64_t)p[2] << 8 | (int64_t)p[3];
}

static int parse(tlv_ctx *c, const char *path, idx *x)
{
    size_t have = x->size - 1;
    const uint8_t *p = x->file;
    if (have >= 2 && p[0] == 0x1f && p[1] == 0x8b) {
        tlvi_fail(c, TLV_ERR_FORMAT, "unpack it with gunzip", "%s: it is gzip-compressed", path);
        return 0;
    }
    if (have < 4 || p[0] || p[1] || p[2] != 8 || p[3] < 1 || p[3] > 4
        || have < 4 + 4 * (size_t)p[3]) {
        tlvi_fail(c, TLV_ERR_FORMAT, NULL, "%s: not an IDX file of bytes with 1 to 4 dims", path);
        return 0;
    }
    x->ndim = p[3];
    int64_t n = 1;
    for (int i = 0; i < x->ndim; i++) {
        x->dim[i] = be32(p + 4 + 4 * i);
        if (x->dim[i] < 1 || !tlvi_mul_ok(n, x->dim[i], &n)) {
            tlvi_fail(c, TLV_ERR_FORMAT, NULL, "%s: dim %d is %lld", path, i, (long long)x->dim[i]);
            return 0;
        }
    }
    x->data = p + 4 + 4 * (size_t)x->ndim;
    if ((uint64_t)n == have - 4 - 4 * (size_t)x->ndim) return 1;
    tlvi_fail(c, TLV_ERR_FORMAT, NULL, "%s: %lld bytes of data, its header says %lld", path,
              (long long)(have - 4 - 4 * (size_t)x->ndim), (long long)n);
    return 0;
}

static int open_idx(tlv_ctx *c, const char *path, idx *x)
{
    *x = (idx){ 0 };
    x->file = tlvi_read_file(c, path, &x->size);
    return x->file && parse(c, path, x);
}

static tlv_status fill(tlv_dataset *d, const char *path, const idx *images, const idx *labels)
{
    int by_class = images->ndim == 4;
    int64_t n = by_class ? images->dim[0] * images->dim[1] : images->dim[0];
    TLVI_CHECK(d->c, images->ndim >= 3, TLV_ERR_FORMAT,
               "images have 3 dims, or 4 with [class][example]", "%s: %d dims", path, images->ndim);
    TLVI_CHECK(d->c, by_class || (labels && labels->ndim == 1), TLV_ERR_ARG,
               "write idx:IMAGES,LABELS", "%s: a 3-d file of images needs a 1-d file of labels",
               path);
    TLVI_CHECK(d->c, by_class || labels->dim[0] == n, TLV_ERR_FORMAT, NULL,
               "%s: %lld images but %lld labels", path, (long long)n, (long long)labels->dim[0]);
    int64_t h = images->dim[images->ndim - 2], w = images->dim[images->ndim - 1];
    TLVI_CHECK(d->c, h <= 4096 && w <= 4096, TLV_ERR_FORMAT, NULL, "%s: images of %lldx%lld", path,
               (long long)h, (long long)w);
    d->n = n;
    d->h = (int)h;
    d->w = (int)w;
    d->channels = 1;
    d->classes = by_class ? (int)images->dim[0] : 0;
    for (int64_t i = 0; !by_class && i < n; i++)
        if (labels->data[i] >= d->classes) d->classes = labels->data[i] + 1;
    if (!tlvi_dataset_alloc(d, 0)) return d->c->err;
    memcpy(d->pixels, images->data, d->pixel_bytes);
    for (int64_t i = 0; i < n; i++)
        d->label[i] = by_class ? (int32_t)(i / images->dim[1]) : labels->data[i];
    snprintf(d->text, sizeof d->text, "IDX, %lld images %lldx%lld grey, %d classes", (long long)n,
             (long long)h, (long long)w, d->classes);
    return d->c->err;
}

tlv_status tlvi_read_idx(tlv_dataset *d, const char *images, const char *labels)
{
    idx im = { 0 }, la = { 0 };
    if (open_idx(d->c, images, &im) && (!labels || open_idx(d->c, labels, &la)))
        fill(d, images, &im, labels ? &la : NULL);
    if (im.file) tlvi_free(d->c, im.file, im.size);
    if (la.file) tlvi_free(d->c, la.file, la.size);
    return d->c->err;
}
