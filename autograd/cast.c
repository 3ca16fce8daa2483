/* cast.c -- conversions between dtypes.  Kernels convert to and from f32 and f64; any other pair
 * goes through f64, which holds every value of every dtype but large i64. */
#include "autograd/op.h"

typedef void (*cast_fn)(size_t n, const void *x, void *y);

/* dtype d -> the kernels' own type, and back */
static cast_fn cast_from(const tlvi_kset *k, int d)
{
    const cast_fn table[TLV_DTYPE_COUNT] = {
        [TLV_F32] = k->from_f32,   [TLV_F64] = k->from_f64, [TLV_I32] = k->from_i32,
        [TLV_U8] = k->from_u8,     [TLV_I64] = k->from_i64, [TLV_F16] = k->from_f16,
        [TLV_BF16] = k->from_bf16,
    };
    return table[d];
}
static cast_fn cast_to(const tlvi_kset *k, int d)
{
    const cast_fn table[TLV_DTYPE_COUNT] = {
        [TLV_F32] = k->to_f32, [TLV_F64] = k->to_f64, [TLV_I32] = k->to_i32, [TLV_U8] = k->to_u8,
        [TLV_I64] = k->to_i64, [TLV_F16] = k->to_f16, [TLV_BF16] = k->to_bf16,
    };
    return table[d];
}

enum { CAST_BLOCK = 256 };

typedef struct cast_arg {
    cast_fn first, second;
    size_t from, to;
} cast_arg; /* second NULL: one step */

static void cast_run(const void *arg, size_t n, const void *const *in, void *out)
{
    const cast_arg *a = arg;
    if (!a->second) { a->first(n, in[0], out); return; }
    double mid[CAST_BLOCK];
    for (size_t i = 0; i < n; i += CAST_BLOCK) {
        size_t m = n - i < CAST_BLOCK ? n - i : CAST_BLOCK;
        a->first(m, (const char *)in[0] + i * a->from, mid);
        a->second(m, mid, (char *)out + i * a->to);
    }
}

tlv_tensor *tlv_cast(tlv_ctx *c, const tlv_tensor *x, tlv_dtype d)
{
    TLVI_REQUIRE(c, (unsigned)d < TLV_DTYPE_COUNT, TLV_ERR_DTYPE, "pass one of tlv_dtype",
                 "cast: to dtype %d", (int)d);
    if (!tlvi_ready1(c, "cast", x)) return NULL;
    if (x->dtype == d) return tlvi_pass(x);
    tlv_tensor *y = tlvi_new_ordered(c, d, tlv_shape_of(x), x);
    if (!y) return NULL;
    cast_arg arg = { .from = tlv_dtype_size((tlv_dtype)x->dtype), .to = tlv_dtype_size(d) };
    if (d <= TLV_F64) {
        arg.first = cast_from(tlvi_ks(c, (int)d), x->dtype);
    } else if (x->dtype <= TLV_F64) {
        arg.first = cast_to(tlvi_ks(c, x->dtype), (int)d);
    } else {
        arg.first = cast_from(tlvi_ks(c, TLV_F64), x->dtype);
        arg.second = cast_to(tlvi_ks(c, TLV_F64), (int)d);
    }
    tlvi_map(c, cast_run, &arg, 1, &x, y);
    if (x->dtype > TLV_F64 || d > TLV_F64) return y;
    return tlvi_record1(c, TLV_OP_CAST, y, x, NULL, 0);
}
TLVI_EXEC(CAST) { return tlv_cast(c, tlvi_in(n, 0), tlv_dtype_of(tlvi_out(n, 0))); }
/* dx = g, in x's dtype */
TLVI_VJP(CAST) { d[0] = tlv_cast(c, g, tlv_dtype_of(tlvi_in(n, 0))); }
