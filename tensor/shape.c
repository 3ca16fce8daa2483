/* shape.c -- shapes, strides and memory orders: arithmetic only. */
#include <stdio.h>

#include "tensor/core.h"

static const struct { const char *name; size_t size;
} DTYPES[TLV_DTYPE_COUNT] = {
    [TLV_F32] = { "f32", 4 },   [TLV_F64] = { "f64", 8 }, [TLV_I32] = { "i32", 4 },
    [TLV_U8] = { "u8", 1 },     [TLV_I64] = { "i64", 8 }, [TLV_F16] = { "f16", 2 },
    [TLV_BF16] = { "bf16", 2 },
};

size_t tlv_dtype_size(tlv_dtype d) { return (unsigned)d < TLV_DTYPE_COUNT ? DTYPES[d].size : 0; }
const char *tlv_dtype_name(tlv_dtype d)
{
    return (unsigned)d < TLV_DTYPE_COUNT ? DTYPES[d].name : "?";
}

tlvi_text tlvi_shape_text(tlv_shape s)
{
    tlvi_text t = { "[" };
    size_t at = 1;
    for (int i = 0; i < s.ndim && i < TLV_MAX_DIMS; i++)
        at += (size_t)snprintf(t.s + at, sizeof t.s - at, i ? ",%lld" : "%lld",
                               (long long)s.dim[i]);
    snprintf(t.s + at, sizeof t.s - at, "]");
    return t;
}

tlv_shape tlv_shape_of(const tlv_tensor *t)
{
    tlv_shape s = { 0, { 0 } };
    if (!t) return s;
    s.ndim = t->ndim;
    for (int i = 0; i < t->ndim; i++) s.dim[i] = t->shape[i];
    return s;
}

tlvi_text tlvi_shape_str(const tlv_tensor *t) { return tlvi_shape_text(tlv_shape_of(t)); }

int tlvi_mul_ok(int64_t a, int64_t b, int64_t *out)
{
    if (a != 0 && b > INT64_MAX / a) return 0;
    *out = a * b;
    return 1;
}

int64_t tlvi_shape_numel(tlv_shape s)
{
    int64_t n = 1;
    int zero = 0;
    for (int i = 0; i < s.ndim; i++) {
        if (s.dim[i] < 0) return -1;
        if (s.dim[i] == 0) zero = 1;
        else if (!tlvi_mul_ok(n, s.dim[i], &n)) return -1;
    }
    return zero ? 0 : n;
}

int tlvi_broadcast(tlv_shape *io, tlv_shape b)
{
    tlv_shape a = *io;
    int n = a.ndim > b.ndim ? a.ndim : b.ndim;
    io->ndim = n;
    for (int i = 1; i <= n; i++) {
        int64_t da = i <= a.ndim ? a.dim[a.ndim - i] : 1, db = i <= b.ndim ? b.dim[b.ndim - i] : 1;
        if (da != db && da != 1 && db != 1) return 0;
        io->dim[n - i] = da == 1 ? db : da;
    }
    return 1;
}

int tlvi_axis(int axis, int ndim)
{
    if (axis < 0) axis += ndim;
    return axis >= 0 && axis < ndim ? axis : -1;
}

int tlv_ndim(const tlv_tensor *t) { return t ? t->ndim : 0; }
int64_t tlv_dim(const tlv_tensor *t, int axis)
{
    int a = t ? tlvi_axis(axis, t->ndim) : -1;
    return a < 0 ? 0 : t->shape[a];
}
int64_t tlv_numel(const tlv_tensor *t) { return t ? tlvi_numel(t) : 0; }
tlv_dtype tlv_dtype_of(const tlv_tensor *t) { return t ? (tlv_dtype)t->dtype : TLV_F32; }
int tlv_wants_grad(const tlv_tensor *t) { return tlvi_wants_grad(t); }

int tlvi_is_channels_last(const tlv_tensor *t)
{
    static const int order[4] = { 1, 3, 2, 0 };     // innermost first: C, W, H, B
    if (t->ndim != 4) return 0;
    int64_t want = 1;
    for (int i = 0; i < 4; i++) {
        int d = order[i];
        if (t->shape[d] == 1) continue;
        if (t->shape[d] == 0) return 1;
        if (t->stride[d] != want) return 0;
        want *= t->shape[d];
    }
    return 1;
}

int tlvi_is_dense(const tlv_tensor *t)
{
    if (tlvi_is_row_major(t) || tlvi_is_channels_last(t)) return 1;
    int64_t want = 1;
    uint32_t used = 0;
    for (int k = 0; k < t->ndim; k++) {             // find each dim in order of its stride
        int found = 0;
        for (int i = 0; i < t->ndim && !found; i++)
            if (!(used >> i & 1) && (t->shape[i] == 1 || t->stride[i] == want)) {
                used |= 1u << i;
                want *= t->shape[i];
                found = 1;
            }
        if (!found) return 0;
    }
    return 1;
}

void tlvi_strides_row_major(tlv_tensor *t)
{
    int64_t s = 1;
    for (int i = t->ndim - 1; i >= 0; i--) {
        t->stride[i] = s;
        s *= t->shape[i];
    }
}

void tlvi_strides_channels_last(tlv_tensor *t)
{
    t->stride[1] = 1;
    t->stride[3] = t->shape[1];
    t->stride[2] = t->shape[1] * t->shape[3];
    t->stride[0] = t->shape[1] * t->shape[3] * t->shape[2];
}
