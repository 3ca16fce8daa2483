/* vec_avx512.h -- the vocabulary (vec_scalar.h explains the words) for AVX-512 F, BW, VL, DQ; f32
 * only: doubles are AVX2's. */
#ifndef TLVI_VEC_AVX512_H
#define TLVI_VEC_AVX512_H

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

typedef float T;
typedef __m512 vf;
typedef __mmask16 vm;
#define VF_N 16

static inline vm vm_first(size_t n) { return (vm)(n < 16 ? (1u << n) - 1 : 0xffffu); }
static inline vf vf_load(const T *p) { return _mm512_loadu_ps(p); }
static inline void vf_store(T *p, vf x) { _mm512_storeu_ps(p, x); }
static inline void vf_stream(T *p, vf x) { _mm512_stream_ps(p, x); }
static inline void vf_stream_end(void) { _mm_sfence(); }
static inline vf vf_load_m(vm m, const T *p) { return _mm512_maskz_loadu_ps(m, p); }
static inline void vf_store_m(vm m, T *p, vf x) { _mm512_mask_storeu_ps(p, m, x); }
static inline vf vf_set(T x) { return _mm512_set1_ps(x); }

static inline vf vf_add(vf a, vf b) { return _mm512_add_ps(a, b); }
static inline vf vf_sub(vf a, vf b) { return _mm512_sub_ps(a, b); }
static inline vf vf_mul(vf a, vf b) { return _mm512_mul_ps(a, b); }
static inline vf vf_div(vf a, vf b) { return _mm512_div_ps(a, b); }
static inline vf vf_fma(vf a, vf b, vf c) { return _mm512_fmadd_ps(a, b, c); }
static inline vf vf_fma1(vf a, vf b, vf c) { return _mm512_fmadd_ps(a, b, c); }
static inline vf vf_fnma(vf a, vf b, vf c) { return _mm512_fnmadd_ps(a, b, c); }
static inline vf vf_max(vf a, vf b) { return _mm512_max_ps(a, b); }
static inline vf vf_min(vf a, vf b) { return _mm512_min_ps(a, b); }
static inline vf vf_sqrt(vf a) { return _mm512_sqrt_ps(a); }
static inline vf vf_abs(vf a) { return _mm512_andnot_ps(_mm512_set1_ps(-0.0f), a); }
static inline vf vf_neg(vf a) { return _mm512_xor_ps(_mm512_set1_ps(-0.0f), a); }
static inline vf vf_copysign(vf m, vf s)
{
    const vf sign = _mm512_set1_ps(-0.0f);
    return _mm512_or_ps(_mm512_andnot_ps(sign, m), _mm512_and_ps(sign, s));
}
static inline vf vf_floor(vf a)
{
    return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);
}
static inline vf vf_round(vf a)
{
    return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}

static inline vm vf_lt(vf a, vf b) { return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ); }
static inline vm vf_le(vf a, vf b) { return _mm512_cmp_ps_mask(a, b, _CMP_LE_OQ); }
static inline vm vf_gt(vf a, vf b) { return _mm512_cmp_ps_mask(a, b, _CMP_GT_OQ); }
static inline vm vf_ge(vf a, vf b) { return _mm512_cmp_ps_mask(a, b, _CMP_GE_OQ); }
static inline vm vf_eq(vf a, vf b) { return _mm512_cmp_ps_mask(a, b, _CMP_EQ_OQ); }
static inline vm vf_ne(vf a, vf b) { return _mm512_cmp_ps_mask(a, b, _CMP_NEQ_UQ); }
static inline vm vm_equal_i32(const int32_t *p, int32_t v)
{
    return _mm512_cmpeq_epi32_mask(_mm512_loadu_si512(p), _mm512_set1_epi32(v));
}
static inline vm vm_and(vm a, vm b) { return (vm)(a & b); }
static inline vm vm_or(vm a, vm b) { return (vm)(a | b); }
static inline vm vm_not(vm a) { return (vm)~a; }
static inline int vm_any(vm a) { return a != 0; }
static inline vf vf_select(vm m, vf a, vf b) { return _mm512_mask_blend_ps(m, b, a); }

static inline T vf_hsum(vf a)
{
    __m256 h = _mm256_add_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1));
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(h), _mm256_extractf128_ps(h, 1));
    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_add_ss(s, _mm_shuffle_ps(s, s, 1)));
}
static inline T vf_hmax(vf a) { return _mm512_reduce_max_ps(a); }
static inline T vf_hmin(vf a) { return _mm512_reduce_min_ps(a); }
static inline void vf_transpose(vf *r)
{
    vf a[16], b[16];
    for (int i = 0; i < 16; i += 4) {                   // 4x4 in each quarter of a vector
        vf p = _mm512_unpacklo_ps(r[i], r[i + 1]), q = _mm512_unpackhi_ps(r[i], r[i + 1]);
        vf s = _mm512_unpacklo_ps(r[i + 2], r[i + 3]), t = _mm512_unpackhi_ps(r[i + 2], r[i + 3]);
        a[i] = _mm512_shuffle_ps(p, s, 0x44);
        a[i + 1] = _mm512_shuffle_ps(p, s, 0xee);
        a[i + 2] = _mm512_shuffle_ps(q, t, 0x44);
        a[i + 3] = _mm512_shuffle_ps(q, t, 0xee);
    }
    for (int i = 0; i < 4; i++) {                       // then 4x4 of the quarters
        b[i] = _mm512_shuffle_f32x4(a[i], a[i + 4], 0x44);
        b[i + 4] = _mm512_shuffle_f32x4(a[i], a[i + 4], 0xee);
        b[i + 8] = _mm512_shuffle_f32x4(a[i + 8], a[i + 12], 0x44);
        b[i + 12] = _mm512_shuffle_f32x4(a[i + 8], a[i + 12], 0xee);
    }
    for (int i = 0; i < 4; i++) {
        r[i] = _mm512_shuffle_f32x4(b[i], b[i + 8], 0x88);
        r[i + 4] = _mm512_shuffle_f32x4(b[i], b[i + 8], 0xdd);
        r[i + 8] = _mm512_shuffle_f32x4(b[i + 4], b[i + 12], 0x88);
        r[i + 12] = _mm512_shuffle_f32x4(b[i + 4], b[i + 12], 0xdd);
    }
}
#define vf_prefetch(p) _mm_prefetch((const char *)(p), _MM_HINT_T0)

// 2^n: adding 1.5 * 2^23 + 127 leaves n + 127 in the low bits, which become the exponent
static inline vf vf_pow2i(vf n)
{
    __m512i b = _mm512_castps_si512(_mm512_add_ps(n, _mm512_set1_ps(12582912.0f + 127.0f)));
    return _mm512_castsi512_ps(_mm512_slli_epi32(b, 23));
}
static inline vf vf_ldexp(vf x, vf n) { return _mm512_scalef_ps(x, n); }
static inline vf vf_ldexp_normal(vf x, vf n) { return _mm512_scalef_ps(x, n); }
static inline vf vf_exponent(vf x) { return _mm512_getexp_ps(x); }
static inline vf vf_mantissa(vf x)
{
    return _mm512_getmant_ps(x, _MM_MANT_NORM_1_2, _MM_MANT_SIGN_zero);
}

#define GEMM_MR 14
#define GEMM_NV 2
#define GEMM_WIDE_NV 4
#define GEMM_WIDE_MR 6
#define GEMM_KC 768

#endif
