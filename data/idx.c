/* idx.c -- IDX files (MNIST): two zero bytes, a type byte (8: unsigned byte), the number of dims,
 * big-endian dims, data.  Plain, or compressed with gzip, which their first bytes tell. */
#include <stdio.h>

#include "data/codec.h"

enum { MOST_HEAD = 4 + 4 * 4, MAX_INFLATION = 1032 /* of deflate: 258 bytes for 2 bits */ };

typedef struct idx {
    uint8_t *file;
    size_t room, have;              /* of file: as allocated, bytes of the (unpacked) file */
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
    size_t have = x->have;
    const uint8_t *p = x->file;
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

/* The size that the first n bytes of a file announce; n if they announce nothing. */
static uint64_t announced(const uint8_t *head, size_t n)
{
    int ndim = n >= 4 ? head[3] : 0;
    uint64_t data = 1, most = (uint64_t)1 << 62;
    if (ndim < 1 || ndim > 4 || n < 4 + 4 * (size_t)ndim) return n;
    for (int i = 0; i < ndim; i++) {
        uint64_t dim = (uint64_t)be32(head + 4 + 4 * i);
        data = dim && data > most / dim ? most : data * dim;
    }
    return 4 + 4 * (uint64_t)ndim + data;
}

/* The unpacked file instead of x->file.  Memory is taken for what the header says, if that many
 * bytes can come out of the file at all; one byte more shows whether something follows. */
static int unpack(tlv_ctx *c, const char *path, idx *x, tlvi_inflate *z)
{
    uint8_t head[MOST_HEAD];
    const uint8_t *in = x->file;
    size_t n = x->have, got = tlvi_inflate_read(z, &in, &n, head, sizeof head);
    uint64_t want = announced(head, got);
    if (want < got) want = got;
    if (want > (uint64_t)x->have * MAX_INFLATION) {
        tlvi_fail(c, TLV_ERR_FORMAT, NULL, "%s: %zu bytes of gzip cannot hold what its header says",
                  path, x->have);
        return 0;
    }
    size_t room = (size_t)want + 1;
    uint8_t *file = tlvi_alloc(c, room);
    if (!file) return 0;
    memcpy(file, head, got);
    got += tlvi_inflate_read(z, &in, &n, file + got, room - got);
    const char *error = tlvi_inflate_error(z);
    if (error || (got < room && !tlvi_inflate_ended(z)))
        tlvi_fail(c, TLV_ERR_FORMAT, "the file is incomplete or damaged: download it again",
                  "%s: broken gzip: %s", path, error ? error : "it is cut short");
    tlvi_free(c, x->file, x->room);
    x->file = file;
    x->room = room;
    x->have = got;
    return c->err == TLV_OK;
}

static int open_idx(tlv_ctx *c, const char *path, idx *x)
{
    *x = (idx){ 0 };
    x->file = tlvi_read_file(c, path, &x->room);
    if (!x->file) return 0;
    x->have = x->room - 1;
    if (x->have >= 2 && x->file[0] == 0x1f && x->file[1] == 0x8b) {
        tlvi_inflate *z = tlvi_inflate_open(c, TLVI_GZIP);
        int ok = z && unpack(c, path, x, z);
        tlvi_inflate_close(z);
        if (!ok) return 0;
    }
    return parse(c, path, x);
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
    int64_t classes = by_class ? images->dim[0] : 0;
    for (int64_t i = 0; !by_class && i < n; i++)
        if (labels->data[i] >= classes) classes = labels->data[i] + 1;
    if (!tlvi_dataset_alloc(d) || !tlvi_dataset_number_classes(d, classes)) return d->c->err;
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
    if (im.file) tlvi_free(d->c, im.file, im.room);
    if (la.file) tlvi_free(d->c, la.file, la.room);
    return d->c->err;
}
