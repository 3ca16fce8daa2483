/* vec_avx2.h -- the vocabulary (vec_scalar.h explains the words) for AVX2 and FMA. */
#ifndef TLVI_VEC_AVX2_H
#define TLVI_VEC_AVX2_H

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

#ifdef TLVI_F64
/* ---- four doubles ---------------------------------------------------------------------------- */

typedef double T;
typedef __m256d vf;
typedef __m256d vm;             /* all bits of a lane */
#define VF_N 4

static inline vm vm_first(size_t n)
{
    const __m256d lane = _mm256_set_pd(3, 2, 1, 0);
    return _mm256_cmp_pd(lane, _mm256_set1_pd((double)(n < 4 ? n : 4)), _CMP_LT_OQ);
}
static inline vf vf_load(const T *p) { return _mm256_loadu_pd(p); }
static inline void vf_store(T *p, vf x) { _mm256_storeu_pd(p, x); }
static inline void vf_stream(T *p, vf x) { _mm256_stream_pd(p, x); }
static inline void vf_stream_end(void) { _mm_sfence(); }
static inline vf vf_load_m(vm m, const T *p)
{
    return _mm256_maskload_pd(p, _mm256_castpd_si256(m));
}
static inline void vf_store_m(vm m, T *p, vf x)
{
    _mm256_maskstore_pd(p, _mm256_castpd_si256(m), x);
}
static inline vf vf_set(T x) { return _mm256_set1_pd(x); }

static inline vf vf_add(vf a, vf b) { return _mm256_add_pd(a, b); }
static inline vf vf_sub(vf a, vf b) { return _mm256_sub_pd(a, b); }
static inline vf vf_mul(vf a, vf b) { return _mm256_mul_pd(a, b); }
static inline vf vf_div(vf a, vf b) { return _mm256_div_pd(a, b); }
static inline vf vf_fma(vf a, vf b, vf c) { return _mm256_fmadd_pd(a, b, c); }
static inline vf vf_fnma(vf a, vf b, vf c) { return _mm256_fnmadd_pd(a, b, c); }
static inline vf vf_max(vf a, vf b) { return _mm256_max_pd(a, b); }
static inline vf vf_min(vf a, vf b) { return _mm256_min_pd(a, b); }
static inline vf vf_sqrt(vf a) { return _mm256_sqrt_pd(a); }
static inline vf vf_abs(vf a) { return _mm256_andnot_pd(_mm256_set1_pd(-0.0), a); }
static inline vf vf_neg(vf a) { return _mm256_xor_pd(_mm256_set1_pd(-0.0), a); }
static inline vf vf_copysign(vf m, vf s)
{
    const vf sign = _mm256_set1_pd(-0.0);
    return _mm256_or_pd(_mm256_andnot_pd(sign, m), _mm256_and_pd(sign, s));
}
static inline vf vf_floor(vf a) { return _mm256_floor_pd(a); }
static inline vf vf_round(vf a)
{
    return _mm256_round_pd(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}

static inline vm vf_lt(vf a, vf b) { return _mm256_cmp_pd(a, b, _CMP_LT_OQ); }
static inline vm vf_le(vf a, vf b) { return _mm256_cmp_pd(a, b, _CMP_LE_OQ); }
static inline vm vf_gt(vf a, vf b) { return _mm256_cmp_pd(a, b, _CMP_GT_OQ); }
static inline vm vf_ge(vf a, vf b) { return _mm256_cmp_pd(a, b, _CMP_GE_OQ); }
static inline vm vf_eq(vf a, vf b) { return _mm256_cmp_pd(a, b, _CMP_EQ_OQ); }
static inline vm vf_ne(vf a, vf b) { return _mm256_cmp_pd(a, b, _CMP_NEQ_UQ); }
static inline vm vm_equal_i32(const int32_t *p, int32_t v)
{
    __m128i same = _mm_cmpeq_epi32(_mm_loadu_si128((const __m128i *)p), _mm_set1_epi32(v));
    return _mm256_castsi256_pd(_mm256_cvtepi32_epi64(same));
}
static inline vm vm_and(vm a, vm b) { return _mm256_and_pd(a, b); }
static inline vm vm_or(vm a, vm b) { return _mm256_or_pd(a, b); }
static inline vm vm_not(vm a)
{
    return _mm256_xor_pd(a, _mm256_castsi256_pd(_mm256_set1_epi64x(-1)));
}
static inline int vm_any(vm a) { return _mm256_movemask_pd(a) != 0; }
static inline vf vf_select(vm m, vf a, vf b) { return _mm256_blendv_pd(b, a, m); }

static inline T vf_hsum(vf a)
{
    __m128d s = _mm_add_pd(_mm256_castpd256_pd128(a), _mm256_extractf128_pd(a, 1));
    return _mm_cvtsd_f64(_mm_add_sd(s, _mm_unpackhi_pd(s, s)));
}
static inline T vf_hmax(vf a)
{
    __m128d s = _mm_max_pd(_mm256_castpd256_pd128(a), _mm256_extractf128_pd(a, 1));
    return _mm_cvtsd_f64(_mm_max_sd(s, _mm_unpackhi_pd(s, s)));
}
static inline T vf_hmin(vf a)
{
    __m128d s = _mm_min_pd(_mm256_castpd256_pd128(a), _mm256_extractf128_pd(a, 1));
    return _mm_cvtsd_f64(_mm_min_sd(s, _mm_unpackhi_pd(s, s)));
}
static inline void vf_transpose(vf *r)
{
    vf a = _mm256_unpacklo_pd(r[0], r[1]), b = _mm256_unpackhi_pd(r[0], r[1]);
    vf c = _mm256_unpacklo_pd(r[2], r[3]), d = _mm256_unpackhi_pd(r[2], r[3]);
    r[0] = _mm256_permute2f128_pd(a, c, 0x20);
    r[1] = _mm256_permute2f128_pd(b, d, 0x20);
    r[2] = _mm256_permute2f128_pd(a, c, 0x31);
    r[3] = _mm256_permute2f128_pd(b, d, 0x31);
}

#define GEMM_MR 6
#define GEMM_NV 2
#define GEMM_WIDE_NV 4
#define GEMM_WIDE_MR 2
#define GEMM_KC 384

#else
/* ---- eight floats ---------------------------------------------------------------------------- */

typedef float T;
typedef __m256 vf;
typedef __m256 vm;
#define VF_N 8

static inline vm vm_first(size_t n)
{
    const __m256i lane = _mm256_set_epi32(7, 6, 5, 4, 3, 2, 1, 0);
    return _mm256_castsi256_ps(_mm256_cmpgt_epi32(_mm256_set1_epi32((int)(n < 8 ? n : 8)), lane));
}
static inline vf vf_load(const T *p) { return _mm256_loadu_ps(p); }
static inline void vf_store(T *p, vf x) { _mm256_storeu_ps(p, x); }
static inline void vf_stream(T *p, vf x) { _mm256_stream_ps(p, x); }
static inline void vf_stream_end(void) { _mm_sfence(); }
static inline vf vf_load_m(vm m, const T *p)
{
    return _mm256_maskload_ps(p, _mm256_castps_si256(m));
}
static inline void vf_store_m(vm m, T *p, vf x)
{
    _mm256_maskstore_ps(p, _mm256_castps_si256(m), x);
}
static inline vf vf_set(T x) { return _mm256_set1_ps(x); }

static inline vf vf_add(vf a, vf b) { return _mm256_add_ps(a, b); }
static inline vf vf_sub(vf a, vf b) { return _mm256_sub_ps(a, b); }
static inline vf vf_mul(vf a, vf b) { return _mm256_mul_ps(a, b); }
static inline vf vf_div(vf a, vf b) { return _mm256_div_ps(a, b); }
static inline vf vf_fma(vf a, vf b, vf c) { return _mm256_fmadd_ps(a, b, c); }
static inline vf vf_fma1(vf a, vf b, vf c) { return _mm256_fmadd_ps(a, b, c); }
static inline vf vf_fnma(vf a, vf b, vf c) { return _mm256_fnmadd_ps(a, b, c); }
static inline vf vf_max(vf a, vf b) { return _mm256_max_ps(a, b); }
static inline vf vf_min(vf a, vf b) { return _mm256_min_ps(a, b); }
static inline vf vf_sqrt(vf a) { return _mm256_sqrt_ps(a); }
static inline vf vf_abs(vf a) { return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), a); }
static inline vf vf_neg(vf a) { return _mm256_xor_ps(_mm256_set1_ps(-0.0f), a); }
static inline vf vf_copysign(vf m, vf s)
{
    const vf sign = _mm256_set1_ps(-0.0f);
    return _mm256_or_ps(_mm256_andnot_ps(sign, m), _mm256_and_ps(sign, s));
}
static inline vf vf_floor(vf a) { return _mm256_floor_ps(a); }
static inline vf vf_round(vf a)
{
    return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}

static inline vm vf_lt(vf a, vf b) { return _mm256_cmp_ps(a, b, _CMP_LT_OQ); }
static inline vm vf_le(vf a, vf b) { return _mm256_cmp_ps(a, b, _CMP_LE_OQ); }
static inline vm vf_gt(vf a, vf b) { return _mm256_cmp_ps(a, b, _CMP_GT_OQ); }
static inline vm vf_ge(vf a, vf b) { return _mm256_cmp_ps(a, b, _CMP_GE_OQ); }
static inline vm vf_eq(vf a, vf b) { return _mm256_cmp_ps(a, b, _CMP_EQ_OQ); }
static inline vm vf_ne(vf a, vf b) { return _mm256_cmp_ps(a, b, _CMP_NEQ_UQ); }
static inline vm vm_equal_i32(const int32_t *p, int32_t v)
{
    __m256i x = _mm256_loadu_si256((const __m256i *)p);
    return _mm256_castsi256_ps(_mm256_cmpeq_epi32(x, _mm256_set1_epi32(v)));
}
static inline vm vm_and(vm a, vm b) { return _mm256_and_ps(a, b); }
static inline vm vm_or(vm a, vm b) { return _mm256_or_ps(a, b); }
static inline vm vm_not(vm a)
{
    return _mm256_xor_ps(a, _mm256_castsi256_ps(_mm256_set1_epi32(-1)));
}
static inline int vm_any(vm a) { return _mm256_movemask_ps(a) != 0; }
static inline vf vf_select(vm m, vf a, vf b) { return _mm256_blendv_ps(b, a, m); }

static inline T vf_hsum(vf a)
{
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_add_ss(s, _mm_shuffle_ps(s, s, 1)));
}
static inline T vf_hmax(vf a)
{
    __m128 s = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    s = _mm_max_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_max_ss(s, _mm_shuffle_ps(s, s, 1)));
}
static inline T vf_hmin(vf a)
{
    __m128 s = _mm_min_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    s = _mm_min_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_min_ss(s, _mm_shuffle_ps(s, s, 1)));
}
static inline void vf_transpose(vf *r)
{
    vf a[8];
    for (int i = 0; i < 8; i += 4) {                    // 2x2 blocks, then 4x4 in each half
        vf p = _mm256_unpacklo_ps(r[i], r[i + 1]), q = _mm256_unpackhi_ps(r[i], r[i + 1]);
        vf s = _mm256_unpacklo_ps(r[i + 2], r[i + 3]), t = _mm256_unpackhi_ps(r[i + 2], r[i + 3]);
        a[i] = _mm256_shuffle_ps(p, s, 0x44);
        a[i + 1] = _mm256_shuffle_ps(p, s, 0xee);
        a[i + 2] = _mm256_shuffle_ps(q, t, 0x44);
        a[i + 3] = _mm256_shuffle_ps(q, t, 0xee);
    }
    for (int i = 0; i < 4; i++) {                       // exchange the halves
        r[i] = _mm256_permute2f128_ps(a[i], a[i + 4], 0x20);
        r[i + 4] = _mm256_permute2f128_ps(a[i], a[i + 4], 0x31);
    }
}

// 2^n: adding 1.5 * 2^23 + 127 leaves n + 127 in the low bits, which become the exponent
static inline vf vf_pow2i(vf n)
{
    __m256i b = _mm256_castps_si256(_mm256_add_ps(n, _mm256_set1_ps(12582912.0f + 127.0f)));
    return _mm256_castsi256_ps(_mm256_slli_epi32(b, 23));
}
static inline vf vf_ldexp(vf x, vf n)
{
    vf half = vf_floor(vf_mul(n, vf_set(0.5f)));
    return vf_mul(vf_mul(x, vf_pow2i(half)), vf_pow2i(vf_sub(n, half)));
}
static inline vf vf_ldexp_normal(vf x, vf n)
{
    __m256i e = _mm256_slli_epi32(_mm256_cvtps_epi32(n), 23);
    return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(x), e));
}
static inline vf vf_exponent(vf x)
{
    __m256i e = _mm256_srli_epi32(_mm256_castps_si256(vf_abs(x)), 23);
    return _mm256_cvtepi32_ps(_mm256_sub_epi32(e, _mm256_set1_epi32(127)));
}
static inline vf vf_mantissa(vf x)
{
    vf m = _mm256_and_ps(x, _mm256_castsi256_ps(_mm256_set1_epi32(0x007fffff)));
    return _mm256_or_ps(m, _mm256_set1_ps(1.0f));
}

#define GEMM_MR 6
#define GEMM_NV 2
#define GEMM_WIDE_NV 4
#define GEMM_WIDE_MR 2
#define GEMM_KC 384

#endif

#define vf_prefetch(p) _mm_prefetch((const char *)(p), _MM_HINT_T0)

#endif
