/* create.c -- making tensors from numbers and memory, and reading them back. */
#include <math.h>
#include <stdio.h>

#include "tensor/core.h"

tlv_tensor *tlv_empty(tlv_ctx *c, tlv_dtype d, tlv_shape s)
{
    tlv_tensor *t = tlvi_new(c, d, s);
    if (t) t->flags |= TLVI_T_FRESH;
    return t;
}

tlv_tensor *tlv_empty_image(tlv_ctx *c, tlv_dtype d, int64_t b, int64_t ch, int64_t h, int64_t w)
{
    tlv_tensor *t = tlvi_new_image(c, d, tlv_shape4(b, ch, h, w));
    if (t) t->flags |= TLVI_T_FRESH;
    return t;
}

void *tlv_fill_ptr(tlv_ctx *c, tlv_tensor *t)
{
    if (c->err || !t) return NULL;
    if (t->ctx == c && (t->flags & TLVI_T_FRESH)) return tlvi_ptr(t);
    tlvi_fail(c, TLV_ERR_STATE, "fill it right after tlv_empty, before anything reads it",
              "tlv_fill_ptr: %s is not a fresh tensor of this context", tlvi_shape_str(t).s);
    return NULL;
}

#define FILL(T, v)                                                                                 \
    do {                                                                                           \
        T *p = (T *)tlvi_ptr(t), x = (T)(v);                                                       \
        for (int64_t i = 0; i < n; i++) p[i] = x;                                                  \
    } while (0)

/* value in the integer type of d; the sentence if it does not fit */
static int int_fits(tlv_ctx *c, tlv_dtype d, double v)
{
    double lo = d == TLV_U8    ? 0
                : d == TLV_I32 ? INT32_MIN
                               : -9.0e15,
           hi = d == TLV_U8    ? 255
                : d == TLV_I32 ? INT32_MAX
                               : 9.0e15;
    if (v >= lo && v <= hi && v == floor(v)) return 1;
    tlvi_fail(c, TLV_ERR_ARG, "use a floating dtype", "%g is not a value of %s", v,
              tlv_dtype_name(d));
    return 0;
}

tlv_tensor *tlv_full(tlv_ctx *c, tlv_dtype d, tlv_shape s, double value)
{
    TLVI_REQUIRE(c, (unsigned)d <= TLV_I64, TLV_ERR_DTYPE,
                 "make it in f32 and convert with tlv_cast", "tlv_full: cannot fill %s",
                 tlv_dtype_name(d));
    if (c->err || (d >= TLV_I32 && !int_fits(c, d, value))) return NULL;
    tlv_tensor *t = tlvi_new(c, d, s);
    if (!t) return NULL;
    int64_t n = tlvi_numel(t);
    switch (d) {
    case TLV_F32: FILL(float, value); break;
    case TLV_F64: FILL(double, value); break;
    case TLV_I32: FILL(int32_t, value); break;
    case TLV_U8: FILL(uint8_t, value); break;
    default: FILL(int64_t, value); break;
    }
    return t;
}

tlv_tensor *tlv_zeros(tlv_ctx *c, tlv_dtype d, tlv_shape s)
{
    tlv_tensor *t = tlvi_new(c, d, s);
    if (t) memset(tlvi_ptr(t), 0, (size_t)tlvi_numel(t) * tlv_dtype_size(d));
    return t;
}

tlv_tensor *tlv_scalar(tlv_ctx *c, tlv_dtype d, double value)
{
    return tlv_full(c, d, TLV_SCALAR, value);
}

tlv_tensor *tlv_arange(tlv_ctx *c, tlv_dtype d, double start, double stop, double step)
{
    TLVI_REQUIRE(c, d <= TLV_U8, TLV_ERR_DTYPE, "use f32, f64, i32 or u8",
                 "tlv_arange: cannot make %s", tlv_dtype_name(d));
    double count = step != 0 ? ceil((stop - start) / step) : -1;
    TLVI_REQUIRE(c, count >= 0 && count < 1e15, TLV_ERR_ARG, "let step lead from start to stop",
                 "tlv_arange: start %g, stop %g, step %g", start, stop, step);
    if (c->err || (d >= TLV_I32 && count > 0
                   && !(int_fits(c, d, start) && int_fits(c, d, start + (count - 1) * step)
                        && int_fits(c, TLV_I64, step))))
        return NULL;
    tlv_tensor *t = tlvi_new(c, d, TLV_SHAPE((int64_t)count));
    if (!t) return NULL;
    void *p = tlvi_ptr(t);
    for (int64_t i = 0; i < t->shape[0]; i++) {
        double v = start + (double)i * step;
        if (d == TLV_F32) ((float *)p)[i] = (float)v;
        else if (d == TLV_F64) ((double *)p)[i] = v;
        else if (d == TLV_I32) ((int32_t *)p)[i] = (int32_t)v;
        else ((uint8_t *)p)[i] = (uint8_t)v;
    }
    return t;
}

tlv_tensor *tlv_from_data(tlv_ctx *c, tlv_dtype d, tlv_shape s, const void *data, int flags)
{
    if (c->err) return NULL;
    TLVI_REQUIRE(c, (unsigned)d < TLV_DTYPE_COUNT, TLV_ERR_DTYPE, NULL, "tlv_from: dtype %d",
                 (int)d);
    TLVI_REQUIRE(c, data || tlvi_shape_numel(s) == 0, TLV_ERR_ARG, "pass the data",
                 "tlv_from: data is NULL");
    TLVI_REQUIRE(c, !(flags & TLV_WANT_GRAD) || d <= TLV_F64, TLV_ERR_DTYPE, "make it f32 or f64",
                 "tlv_from: %s has no gradient", tlv_dtype_name(d));
    tlv_tensor *t = tlvi_new(c, d, s);
    if (!t) return NULL;
    size_t bytes = (size_t)tlvi_numel(t) * tlv_dtype_size(d);
    if (bytes) memcpy(tlvi_ptr(t), data, bytes);
    t->flags |= (uint8_t)(flags & TLV_WANT_GRAD);
    return t;
}

tlv_tensor *tlv_from(tlv_ctx *c, tlv_shape s, const float *data, int flags)
{
    return tlv_from_data(c, TLV_F32, s, data, flags);
}

tlv_tensor *tlv_from_hwc(tlv_ctx *c, tlv_dtype d, int64_t b, int64_t h, int64_t w, int64_t ch,
                         const void *data)
{
    tlv_tensor *t = tlv_from_data(c, d, tlv_shape4(b, ch, h, w), data, 0);
    if (t) tlvi_strides_channels_last(t);
    return t;
}

static tlv_tensor *alias(tlv_ctx *c, const char *op, const tlv_tensor *t, int flags)
{
    if (!tlvi_ready1(c, op, t)) return NULL;
    tlv_tensor *y = tlvi_new_view(c, t);
    if (y) y->flags |= (uint8_t)flags;
    return y;
}

tlv_tensor *tlv_detach(tlv_ctx *c, const tlv_tensor *t) { return alias(c, "detach", t, 0); }

tlv_tensor *tlv_leaf(tlv_ctx *c, const tlv_tensor *t)
{
    if (!tlvi_ready1(c, "leaf", t) || !tlvi_is_float(c, "leaf", t)) return NULL;
    return alias(c, "leaf", t, TLVI_T_WANT);
}

tlv_tensor *tlv_copy_from(tlv_ctx *dst, const tlv_tensor *t)
{
    if (dst->err) return NULL;
    TLVI_REQUIRE(dst, t && t->ctx && t->buf, TLV_ERR_ENDED, NULL,
                 "tlv_copy_from: the source has no data");
    TLVI_REQUIRE(dst, t->ctx->err == TLV_OK, TLV_ERR_STATE, "look at the other context's error",
                 "tlv_copy_from: the source's context holds an error: %s", t->ctx->msg);
    tlv_tensor *y = tlvi_new_ordered(dst, (tlv_dtype)t->dtype, tlv_shape_of(t), t);
    if (y) tlvi_copy_strided(dst, t, y);
    return y;
}

/* ---- reading --------------------------------------------------------------------------------- */

double tlv_item(tlv_ctx *c, const tlv_tensor *t)
{
    if (!tlvi_ready1(c, "item", t)) return 0;
    if (tlvi_numel(t) != 1) {
        tlvi_fail(c, TLV_ERR_SHAPE, "reduce it first, or use tlv_read",
                  "item: %s has %lld elements, not 1", tlvi_shape_str(t).s,
                  (long long)tlvi_numel(t));
        return 0;
    }
    const void *p = tlvi_ptr(t);
    switch (t->dtype) {
    case TLV_F32: return *(const float *)p;
    case TLV_F64: return *(const double *)p;
    case TLV_I32: return *(const int32_t *)p;
    case TLV_U8: return *(const uint8_t *)p;
    case TLV_I64: return (double)*(const int64_t *)p;
    }
    tlvi_fail(c, TLV_ERR_DTYPE, NULL, "item: cannot read %s", tlv_dtype_name((tlv_dtype)t->dtype));
    return 0;
}

tlv_status tlv_read(tlv_ctx *c, const tlv_tensor *t, void *dst, int64_t n)
{
    if (!tlvi_ready1(c, "read", t)) return c->err;
    TLVI_CHECK(c, n == tlvi_numel(t), TLV_ERR_SHAPE, "make room for tlv_numel(t) elements",
               "read: %s has %lld elements, room is for %lld", tlvi_shape_str(t).s,
               (long long)tlvi_numel(t), (long long)n);
    if (n == 0) return TLV_OK;
    if (tlvi_is_row_major(t)) {
        memcpy(dst, tlvi_ptr(t), (size_t)n * tlv_dtype_size((tlv_dtype)t->dtype));
        return TLV_OK;
    }
    tlv_tensor *to = tlvi_new_foreign(c, (tlv_dtype)t->dtype, tlv_shape_of(t), dst);
    if (!to) return c->err;
    tlvi_copy_strided(c, t, to);
    tlvi_header_unlink(c, to);
    tlvi_header_free(c, to);
    return TLV_OK;
}

tlv_status tlv_view_of(tlv_ctx *c, const tlv_tensor *t, tlv_view *out)
{
    if (!tlvi_ready1(c, "view_of", t)) return c->err;
    out->ptr = tlvi_ptr(t);
    out->dtype = (tlv_dtype)t->dtype;
    out->ndim = t->ndim;
    memcpy(out->shape, t->shape, sizeof out->shape);
    memcpy(out->stride, t->stride, sizeof out->stride);
    return TLV_OK;
}

char *tlv_describe(const tlv_tensor *t, char *buf, size_t n)
{
    if (n == 0) return buf;
    if (!t || !t->ctx) {
        snprintf(buf, n, "%s", t ? "a tensor that has ended" : "NULL");
        return buf;
    }
    const char *order = !t->buf                    ? "husk"
                        : tlvi_is_row_major(t)     ? "row-major"
                        : tlvi_is_channels_last(t) ? "channels-last"
                        : tlvi_is_dense(t)         ? "permuted"
                                                   : "strided";
    snprintf(buf, n, "%s%s %s%s%s%s", tlv_dtype_name((tlv_dtype)t->dtype), tlvi_shape_str(t).s,
             order,
             t->node >= 0             ? ", has history"
             : t->flags & TLVI_T_WANT ? ", wants grad"
                                      : "",
             t->name ? ", " : "", t->name ? t->name : "");
    return buf;
}
