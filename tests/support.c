/* support.c -- see support.h. */
#include "tests/support.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "tensor/core.h"

tlv_ctx *support_open(void) { return tlv_ctx_open(&(tlv_ctx_opts){ .threads = 1, .seed = 7 }); }

/* ---- the allocator --------------------------------------------------------------------------- */

enum { HEAD = 64 };                     /* before each block: its size */

void *support_alloc(void *user, void *ptr, size_t old_size, size_t new_size)
{
    support_hook *h = user;
    if (ptr && !new_size) {
        char *block = (char *)ptr - HEAD;
        size_t had;
        memcpy(&had, block, sizeof had);
        h->wrong_size += had != old_size;
        h->live--;
        h->bytes -= (int64_t)had;
        free(block);
        return NULL;
    }
    if (ptr || !new_size) return NULL;                  // the pool never resizes

    h->asked++;
    if (h->fail_at && (h->asked == h->fail_at || (h->forever && h->asked > h->fail_at)))
        return NULL;
    char *block = malloc(new_size + HEAD);
    if (!block) return NULL;
    memcpy(block, &new_size, sizeof new_size);
    h->live++;
    h->bytes += (int64_t)new_size;
    return block + HEAD;
}

/* ---- tensors --------------------------------------------------------------------------------- */

static void put(void *p, tlv_dtype d, int64_t at, double v)
{
    switch (d) {
    case TLV_F32: ((float *)p)[at] = (float)v; break;
    case TLV_F64: ((double *)p)[at] = v; break;
    case TLV_I32: ((int32_t *)p)[at] = (int32_t)v; break;
    default: ((uint8_t *)p)[at] = (uint8_t)v; break;
    }
}

/* Strides of the order; returns how many elements the memory needs. */
static int64_t strides_of(tlv_shape s, support_order order, int64_t *stride, int64_t *offset)
{
    int64_t at = 1, step = order == SUPPORT_STRIDED ? 2 : 1;
    int last_first[4] = { 1, 3, 2, 0 };
    *offset = order == SUPPORT_STRIDED ? 5 : 0;
    for (int k = 0; k < s.ndim; k++) {
        int i = s.ndim - 1 - k;
        if (order == SUPPORT_CHANNELS_LAST && s.ndim == 4) i = last_first[k];
        if (order == SUPPORT_TRANSPOSED) i = k;
        stride[i] = at * step;
        at *= step * (s.dim[i] ? s.dim[i] : 1);
        if (order == SUPPORT_STRIDED) step = k % 2 ? 2 : 3;
    }
    return at * 3 + *offset;
}

tlv_tensor *support_tensor(tlv_ctx *c, tlv_dtype d, tlv_shape s, const double *v, int flags,
                           support_order order)
{
    int64_t stride[TLV_MAX_DIMS], offset, at[TLV_MAX_DIMS] = { 0 };
    int64_t room = strides_of(s, order, stride, &offset), n = tlvi_shape_numel(s);
    tlv_tensor *mem = tlvi_new(c, d, tlv_shape1(room));
    if (!mem) return NULL;
    // nothing that passes for a value
    memset(tlvi_ptr(mem), 0x7f, (size_t)room * tlv_dtype_size(d));
    tlv_tensor *t = tlvi_new_view(c, mem);
    if (!t) return NULL;
    t->ndim = (uint8_t)s.ndim;
    t->offset = offset;
    t->flags |= (uint8_t)flags;
    for (int i = 0; i < s.ndim; i++) {
        t->shape[i] = s.dim[i];
        t->stride[i] = stride[i];
    }
    for (int64_t e = 0; e < n; e++) {
        int64_t pos = 0;
        for (int i = 0; i < s.ndim; i++) pos += at[i] * stride[i];
        put(tlvi_ptr(t), d, pos, v[e]);
        for (int i = s.ndim - 1; i >= 0 && ++at[i] == s.dim[i]; i--) at[i] = 0;
    }
    return t;
}

int support_read(tlv_ctx *c, const tlv_tensor *t, double *dst, int64_t n)
{
    if (!EXPECT(tlv_error(c) == TLV_OK && t, "%s", t ? tlv_error_msg(c) : "no tensor to read"))
        return 0;
    if (!EXPECT(tlv_numel(t) == n, "%lld elements, want %lld", (long long)tlv_numel(t),
                (long long)n))
        return 0;
    if (n == 0) return 1;
    size_t size = tlv_dtype_size(tlv_dtype_of(t));
    char *raw = malloc((size_t)n * size);
    int ok = EXPECT(raw && tlv_read(c, t, raw, n) == TLV_OK, "cannot read: %s", tlv_error_msg(c));
    for (int64_t i = 0; i < n && ok; i++) {
        const void *p = raw + (size_t)i * size;
        switch (tlv_dtype_of(t)) {
        case TLV_F32: dst[i] = *(const float *)p; break;
        case TLV_F64: dst[i] = *(const double *)p; break;
        case TLV_I32: dst[i] = *(const int32_t *)p; break;
        case TLV_U8: dst[i] = *(const uint8_t *)p; break;
        case TLV_I64: dst[i] = (double)*(const int64_t *)p; break;
        default: ok = EXPECT(0, "cannot read %s", tlv_dtype_name(tlv_dtype_of(t)));
        }
    }
    free(raw);
    return ok;
}

int support_check_values(tlv_ctx *c, const tlv_tensor *t, double tol, const double *want, int64_t n,
                         const char *file, int line, const char *what)
{
    double *got = calloc((size_t)n + 1, sizeof *got);
    int ok = got && test_check(t != NULL, file, line, what, "NULL: %s", tlv_error_msg(c))
             && support_read(c, t, got, n);
    for (int64_t i = 0; i < n && ok; i++)
        ok = test_check(test_is_close(got[i], want[i], tol, tol), file, line, what,
                        "element %lld is %.9g, want %.9g", (long long)i, got[i], want[i]);
    free(got);
    return ok;
}

int support_check_shape(const tlv_tensor *t, tlv_shape want, const char *file, int line,
                        const char *what)
{
    tlv_shape got = tlv_shape_of(t);
    int ok = t && got.ndim == want.ndim;
    for (int i = 0; i < want.ndim && ok; i++) ok = got.dim[i] == want.dim[i];
    return test_check(ok, file, line, what, "shape %s, want %s",
                      t ? tlvi_shape_text(got).s : "(NULL)", tlvi_shape_text(want).s);
}

void support_uniform(double *v, int64_t n, uint64_t seed, double lo, double hi)
{
    tlv_rng_key key = tlv_rng_fold((tlv_rng_key){ 0x7e57 }, seed);
    for (int64_t i = 0; i < n; i++) v[i] = lo + (hi - lo) * tlv_rng_uniform(key, (uint64_t)i);
}

int support_golden(tlv_ctx *c, const tlv_file *f, const char *prefix, const char *part, double *dst,
                   int64_t n)
{
    char name[200];
    snprintf(name, sizeof name, "%s/%s", prefix, part);
    int i = tlv_file_find(f, name);
    if (!EXPECT(i >= 0, "the file has no %s", name)) return 0;
    tlv_scope s = tlv_scope_begin(c);
    int ok = support_read(c, tlv_file_read(c, f, i), dst, n);
    tlv_scope_end(c, s);
    return ok;
}
