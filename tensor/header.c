/* header.c -- tensor headers and buffer records: slabs, reference counts, lists of scopes. */
#include "tensor/core.h"

enum { SLAB_BYTES = 32 << 10, LINE = 64 };

/* Headers are apart by whole cache lines. */
enum { HEADER_BYTES = (sizeof(tlv_tensor) + LINE - 1) / LINE * LINE };

/* ---- slabs ----------------------------------------------------------------------------------- */

static void *slab_new(tlv_ctx *c)
{
    if (c->n_slabs == c->cap_slabs) {
        int32_t cap = c->cap_slabs ? 2 * c->cap_slabs : 16;
        void **dir = tlvi_alloc(c, (size_t)cap * sizeof *dir);
        if (!dir) return NULL;
        if (c->n_slabs) memcpy(dir, c->slabs, (size_t)c->n_slabs * sizeof *dir);
        tlvi_free(c, c->slabs, (size_t)c->cap_slabs * sizeof *dir);
        c->slabs = dir;
        c->cap_slabs = cap;
    }
    void *p = tlvi_alloc(c, SLAB_BYTES);
    if (p) c->slabs[c->n_slabs++] = p;
    return p;
}

tlv_tensor *tlvi_header_new(tlv_ctx *c)
{
    if (!c->free_headers) {
        char *slab = slab_new(c);
        if (!slab) return NULL;
        for (size_t at = 0; at + HEADER_BYTES <= SLAB_BYTES; at += HEADER_BYTES) {
            tlv_tensor *t = (tlv_tensor *)(void *)(slab + at);
            t->ctx = NULL;
            t->next = c->free_headers;
            c->free_headers = t;
        }
    }
    tlv_tensor *t = c->free_headers;
    c->free_headers = t->next;
    c->live_tensors++;
    t->ctx = c;
    t->buf = NULL;
    t->offset = 0;
    t->flags = t->out = 0;
    t->node = -1;
    t->mark = t->grefs = 0;
    t->name = NULL;
    return t;
}

/* In debug builds a slot is never used again, so that every use of an ended header is caught. */
void tlvi_header_free(tlv_ctx *c, tlv_tensor *t)
{
    if (TLVI_UNLIKELY(t->flags & TLVI_T_TOKEN)) t->on_end(t->on_end_arg);
    if (TLVI_UNLIKELY(t->flags & TLVI_T_PIN)) c->pins--;
    if (t->buf) tlvi_buf_unref(c, t->buf);
    t->buf = NULL;
    t->ctx = NULL;
    c->live_tensors--;
    if (TLVI_DEBUG) return;
    t->next = c->free_headers;
    c->free_headers = t;
}

void tlvi_pin(tlv_tensor *t, int32_t depth)
{
    if (t->depth < 0 || t->flags & TLVI_T_PIN) return;
    t->flags |= TLVI_T_PIN;
    t->pin = depth;
    t->ctx->pins++;
}

void tlvi_on_end(tlv_tensor *t, void (*fn)(void *arg), void *arg)
{
    t->flags |= TLVI_T_TOKEN;
    t->on_end = fn;
    t->on_end_arg = arg;
}

void tlvi_header_link(tlv_ctx *c, tlv_tensor *t, int32_t depth)
{
    tlvi_scope *s = &c->scope[depth];
    t->depth = depth;
    t->next = NULL;
    t->prev = s->last;
    if (s->last) s->last->next = t;
    else s->first = t;
    s->last = t;
}

void tlvi_header_unlink(tlv_ctx *c, tlv_tensor *t)
{
    tlvi_scope *s = &c->scope[t->depth];
    if (t->prev) t->prev->next = t->next;
    else s->first = t->next;
    if (t->next) t->next->prev = t->prev;
    else s->last = t->prev;
}

/* ---- buffers --------------------------------------------------------------------------------- */

static tlvi_buf *buf_record(tlv_ctx *c)
{
    if (!c->free_bufs) {
        tlvi_buf *b = slab_new(c);
        if (!b) return NULL;
        for (size_t i = 0; i < SLAB_BYTES / sizeof *b; i++) {
            b[i].ptr = c->free_bufs;
            c->free_bufs = &b[i];
        }
    }
    tlvi_buf *b = c->free_bufs;
    c->free_bufs = b->ptr;
    b->refs = 1;
    b->version = 0;
    b->flags = 0;
    return b;
}

static void buf_record_free(tlv_ctx *c, tlvi_buf *b)
{
    b->ptr = c->free_bufs;
    c->free_bufs = b;
}

tlvi_buf *tlvi_buf_new(tlv_ctx *c, size_t bytes)
{
    tlvi_buf *b = buf_record(c);
    if (!b) return NULL;
    b->bytes = bytes;
    b->ptr = tlvi_alloc(c, bytes);
    if (b->ptr) return b;
    buf_record_free(c, b);
    return NULL;
}

void tlvi_buf_unref(tlv_ctx *c, tlvi_buf *b)
{
    if (--b->refs > 0) return;
    if (!(b->flags & TLVI_BUF_FOREIGN)) tlvi_free(c, b->ptr, b->bytes);
    buf_record_free(c, b);
}

/* ---- new tensors ----------------------------------------------------------------------------- */

static tlv_tensor *with_shape(tlv_ctx *c, tlv_dtype d, tlv_shape s)
{
    tlv_tensor *t = tlvi_header_new(c);
    if (!t) return NULL;
    t->dtype = (uint8_t)d;
    t->ndim = (uint8_t)s.ndim;
    memcpy(t->shape, s.dim, (size_t)s.ndim * sizeof *t->shape);
    tlvi_strides_row_major(t);
    return t;
}

static tlv_tensor *with_memory(tlv_ctx *c, tlv_dtype d, tlv_shape s)
{
    if (c->err) return NULL;
    if (TLVI_UNLIKELY(s.ndim < 0 || s.ndim > TLV_MAX_DIMS)) {
        tlvi_fail(c, TLV_ERR_LIMIT, "reshape to fewer dims",
                  "a tensor of %d dims; 0 to %d are possible", s.ndim, TLV_MAX_DIMS);
        return NULL;
    }
    if (TLVI_UNLIKELY((unsigned)d >= TLV_DTYPE_COUNT)) {
        tlvi_fail(c, TLV_ERR_DTYPE, "use one of tlv_dtype", "a tensor of dtype %d", (int)d);
        return NULL;
    }
    int64_t n = tlvi_shape_numel(s);
    if (TLVI_UNLIKELY(n < 0 || n > (int64_t)(PTRDIFF_MAX / 16))) {
        tlvi_fail(c, TLV_ERR_SHAPE, "every dim must be >= 0 and the product must fit in memory",
                  "a tensor of shape %s is not possible", tlvi_shape_text(s).s);
        return NULL;
    }
    tlv_tensor *t = with_shape(c, d, s);
    if (!t) return NULL;
    t->buf = tlvi_buf_new(c, (size_t)n * tlv_dtype_size(d));
    if (!t->buf) { tlvi_header_free(c, t); return NULL; }
    return t;
}

tlv_tensor *tlvi_new(tlv_ctx *c, tlv_dtype d, tlv_shape s)
{
    tlv_tensor *t = with_memory(c, d, s);
    if (t) tlvi_header_link(c, t, c->depth);
    return t;
}

tlv_tensor *tlvi_new_image(tlv_ctx *c, tlv_dtype d, tlv_shape s)
{
    tlv_tensor *t = tlvi_new(c, d, s);
    if (t) tlvi_strides_channels_last(t);
    return t;
}

/* Most ops come through here: like's dims are checked already, but an expanded tensor has more
 * elements than memory. */
tlv_tensor *tlvi_new_like(tlv_ctx *c, tlv_dtype d, const tlv_tensor *like)
{
    if (!tlvi_is_row_major(like)) return tlvi_new_ordered(c, d, tlv_shape_of(like), like);
    if (c->err) return NULL;
    tlv_tensor *t = tlvi_header_new(c);
    if (!t) return NULL;
    int64_t n = 1;
    t->dtype = (uint8_t)d;
    t->ndim = like->ndim;
    for (int i = like->ndim - 1; i >= 0; i--) {
        t->shape[i] = like->shape[i];
        t->stride[i] = n;
        n *= like->shape[i];
    }
    t->buf = tlvi_buf_new(c, (size_t)n * tlv_dtype_size(d));
    if (!t->buf) { tlvi_header_free(c, t); return NULL; }
    tlvi_header_link(c, t, c->depth);
    return t;
}

/* Gives t the dim order of `like`, densely; an order is a sort of like's dims by stride. */
static void strides_in_order_of(tlv_tensor *t, const tlv_tensor *like)
{
    int order[TLV_MAX_DIMS], n = 0;                 // dims, innermost first
    for (int i = like->ndim - 1; i >= 0; i--) {
        if (like->shape[i] == 1) continue;
        int at = n++;
        while (at > 0 && like->stride[order[at - 1]] > like->stride[i]) {
            order[at] = order[at - 1];
            at--;
        }
        order[at] = i;
    }
    int64_t s = 1;
    for (int k = 0; k < n; k++) {
        t->stride[order[k]] = s;
        s *= t->shape[order[k]];
    }
    for (int i = like->ndim - 1; i >= 0; i--)
        if (like->shape[i] == 1) {
            t->stride[i] = s;
            s *= t->shape[i];
        }
}

tlv_tensor *tlvi_new_ordered(tlv_ctx *c, tlv_dtype d, tlv_shape s, const tlv_tensor *like)
{
    tlv_tensor *t = tlvi_new(c, d, s);
    if (!t || !like || like->ndim != s.ndim || tlvi_is_row_major(like)) return t;
    if (tlvi_is_channels_last(like)) tlvi_strides_channels_last(t);
    else if (tlvi_is_dense(like)) strides_in_order_of(t, like);
    return t;
}

tlv_tensor *tlvi_new_view(tlv_ctx *c, const tlv_tensor *from)
{
    tlv_tensor *t = tlvi_header_new(c);
    if (!t) return NULL;
    t->dtype = from->dtype;
    t->ndim = from->ndim;
    t->offset = from->offset;
    memcpy(t->shape, from->shape, sizeof t->shape);
    memcpy(t->stride, from->stride, sizeof t->stride);
    t->buf = from->buf;
    t->buf->refs++;
    tlvi_header_link(c, t, c->depth);
    return t;
}

static tlv_tensor *foreign(tlv_ctx *c, tlv_dtype d, tlv_shape s, void *ptr)
{
    tlv_tensor *t = with_shape(c, d, s);
    if (!t) return NULL;
    t->buf = buf_record(c);
    if (!t->buf) { tlvi_header_free(c, t); return NULL; }
    t->buf->ptr = ptr;
    t->buf->bytes = (size_t)tlvi_shape_numel(s) * tlv_dtype_size(d);
    t->buf->flags = TLVI_BUF_FOREIGN;
    return t;
}

tlv_tensor *tlvi_new_foreign(tlv_ctx *c, tlv_dtype d, tlv_shape s, void *ptr)
{
    tlv_tensor *t = c->err ? NULL : foreign(c, d, s, ptr);
    if (t) tlvi_header_link(c, t, c->depth);
    return t;
}

tlv_tensor *tlvi_new_owned(tlv_ctx *c, tlv_dtype d, tlv_shape s)
{
    tlv_tensor *t = with_memory(c, d, s);
    if (!t) return NULL;
    t->depth = -1;
    t->flags |= TLVI_T_OWNED;
    return t;
}

/* The tape may still speak of the header: then it stays behind as a husk of the outermost scope. */
void tlvi_owned_free(tlv_tensor *t)
{
    if (!t) return;
    tlv_ctx *c = t->ctx;
    if (c->tape.len == 0) { tlvi_header_free(c, t); return; }
    tlvi_buf_unref(c, t->buf);
    t->buf = NULL;
    t->name = NULL;
    t->flags = TLVI_T_HUSK | (t->flags & TLVI_T_WANT);
    tlvi_header_link(c, t, 0);
}

void tlvi_release(tlv_ctx *c, tlv_tensor *t)
{
    if (c->recording) {                             // a node may refer to it: keep the shape
        if (t->buf) tlvi_buf_unref(c, t->buf);
        t->buf = NULL;
        t->flags |= TLVI_T_HUSK;
        return;
    }
    tlvi_header_unlink(c, t);
    tlvi_header_free(c, t);
}
