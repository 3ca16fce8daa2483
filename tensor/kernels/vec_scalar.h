/* vec_scalar.h -- the vocabulary in plain C: one lane a vector.  The reference for every other set.
 *
 * The words (every vec_<isa>.h has them; T is float, or double when TLVI_F64 is defined):
 *   vf, vm, VF_N            a vector, a mask of its lanes, lanes
 *   vf_load, vf_store       any alignment;  _m: lanes off the mask load 0 and touch no memory
 *   vf_set                  one value in every lane
 *   vf_add sub mul div      lane by lane
 *   vf_fma, vf_fnma         a*b + c, c - a*b; fused where the instruction set has it
 *   vf_fma1                 a*b + c rounded once in every build (range reductions lean on it)
 *   vf_max, vf_min          b where either is NaN or both are equal: max(a, b) = a > b ? a : b
 *   vf_sqrt abs neg         exact
 *   vf_copysign(m, s)       |m| with the sign of s
 *   vf_floor, vf_round      round: to nearest, half to even
 *   vf_lt le gt ge eq ne    -> vm; NaN: only ne is true
 *   vm_first(n)             the first min(n, VF_N) lanes
 *   vm_equal_i32(p, v)      lanes where p[lane] = v
 *   vm_and or not any       any -> int
 *   vf_select(m, a, b)      m ? a : b
 *   vf_hsum                 sum of the lanes: halves added to halves
 *   vf_hmax, vf_hmin        of the lanes, no NaN among them
 *   vf_prefetch(p)          into L1; a macro, since gcc drops calls of functions that only prefetch
 *   vf_stream(p, x)         a store past the caches, p a multiple of the vector's size;
 *   vf_stream_end()         after the last of them
 *   vf_transpose(r)         VF_N x VF_N matrix of rows r[0 .. VF_N-1], in place
 * f32 only, for exp and log:
 *   vf_pow2i(n)             2^n; n whole, -127 (then 0) <= n <= 127
 *   vf_ldexp(x, n)          x * 2^n rounded once; n whole, -252 <= n <= 254
 *   vf_ldexp_normal(x, n)   x * 2^n where n is whole and both are normal; else any value, or NaN
 *                           where x and n are
 *   vf_exponent(x)          floor(log2 x) for normal x > 0
 *   vf_mantissa(x)          x / 2^exponent for normal x > 0: 1 <= m < 2 */
#ifndef TLVI_VEC_SCALAR_H
#define TLVI_VEC_SCALAR_H

#include <stddef.h>
#include <stdint.h>

#ifdef TLVI_F64
typedef double T;
#define TLVI_C(x) __builtin_##x
#define TLVI_NO_FRACTION 4503599627370496.0     /* 2^52: whole numbers from here on */
#else
typedef float T;
#define TLVI_C(x) __builtin_##x##f
#define TLVI_NO_FRACTION 8388608.0f             /* 2^23: whole numbers from here on */
#endif

#define VF_N 1
typedef T vf;
typedef int vm;

static inline vf vf_load(const T *p) { return *p; }
static inline void vf_store(T *p, vf x) { *p = x; }
static inline void vf_stream(T *p, vf x) { *p = x; }
static inline void vf_stream_end(void) {}
static inline vf vf_load_m(vm m, const T *p) { return m ? *p : 0; }
static inline void vf_store_m(vm m, T *p, vf x) { if (m) *p = x; }
static inline vf vf_set(T x) { return x; }

static inline vf vf_add(vf a, vf b) { return a + b; }
static inline vf vf_sub(vf a, vf b) { return a - b; }
static inline vf vf_mul(vf a, vf b) { return a * b; }
static inline vf vf_div(vf a, vf b) { return a / b; }
#if defined(__FP_FAST_FMA) && defined(__FP_FAST_FMAF)
static inline vf vf_fma(vf a, vf b, vf c) { return TLVI_C(fma)(a, b, c); }
static inline vf vf_fnma(vf a, vf b, vf c) { return TLVI_C(fma)(-a, b, c); }
#else
static inline vf vf_fma(vf a, vf b, vf c) { return a * b + c; }
static inline vf vf_fnma(vf a, vf b, vf c) { return c - a * b; }
#endif
static inline vf vf_max(vf a, vf b) { return a > b ? a : b; }
static inline vf vf_min(vf a, vf b) { return a < b ? a : b; }
static inline vf vf_sqrt(vf a) { return TLVI_C(sqrt)(a); }
static inline vf vf_abs(vf a) { return TLVI_C(fabs)(a); }
static inline vf vf_neg(vf a) { return -a; }
static inline vf vf_copysign(vf m, vf s) { return TLVI_C(copysign)(m, s); }
static inline vf vf_round(vf a)
{
    vf r = (TLVI_C(fabs)(a) + TLVI_NO_FRACTION) - TLVI_NO_FRACTION;     // the addition rounds
    return TLVI_C(fabs)(a) < TLVI_NO_FRACTION ? TLVI_C(copysign)(r, a) : a;
}
static inline vf vf_floor(vf a)
{
    vf r = vf_round(a);
    return r > a ? r - 1 : r;
}

static inline vm vf_lt(vf a, vf b) { return a < b; }
static inline vm vf_le(vf a, vf b) { return a <= b; }
static inline vm vf_gt(vf a, vf b) { return a > b; }
static inline vm vf_ge(vf a, vf b) { return a >= b; }
static inline vm vf_eq(vf a, vf b) { return a == b; }
static inline vm vf_ne(vf a, vf b) { return a != b; }
static inline vm vm_first(size_t n) { return n > 0; }
static inline vm vm_equal_i32(const int32_t *p, int32_t v) { return *p == v; }
static inline vm vm_and(vm a, vm b) { return a & b; }
static inline vm vm_or(vm a, vm b) { return a | b; }
static inline vm vm_not(vm a) { return !a; }
static inline int vm_any(vm a) { return a; }
static inline vf vf_select(vm m, vf a, vf b) { return m ? a : b; }

static inline T vf_hsum(vf a) { return a; }
static inline T vf_hmax(vf a) { return a; }
static inline T vf_hmin(vf a) { return a; }
#define vf_prefetch(p) __builtin_prefetch(p)
static inline void vf_transpose(vf *r) { (void)r; }

#ifndef TLVI_F64
static inline vf vf_fma1(vf a, vf b, vf c) { return (float)((double)a * b + c); }

typedef union tlvi_bits { float f; uint32_t u; } tlvi_bits;

// 2^n: adding 1.5 * 2^23 + 127 leaves n + 127 in the low bits, which become the exponent
static inline vf vf_pow2i(vf n)
{
    tlvi_bits b = { .f = n + (12582912.0f + 127.0f) };
    b.u <<= 23;
    return b.f;
}
static inline vf vf_ldexp(vf x, vf n)
{
    vf half = vf_floor(n * 0.5f);
    return x * vf_pow2i(half) * vf_pow2i(n - half);
}
static inline vf vf_ldexp_normal(vf x, vf n)
{
    tlvi_bits b = { .f = x }, e = { .f = n + 12582912.0f };
    b.u += e.u << 23;
    return b.f;
}
static inline vf vf_exponent(vf x)
{
    tlvi_bits b = { .f = x };
    return (float)((int32_t)(b.u >> 23 & 255) - 127);
}
static inline vf vf_mantissa(vf x)
{
    tlvi_bits b = { .f = x };
    b.u = (b.u & 0x007fffffu) | 0x3f800000u;
    return b.f;
}
#endif

/* The GEMM tile: rows, vectors a row; a wider tile for few rows. */
#define GEMM_MR 4
#define GEMM_NV 4
#define GEMM_WIDE_NV 8
#define GEMM_WIDE_MR 1
#define GEMM_KC 256                 /* the sum over k is cut into blocks of so many */

#endif
