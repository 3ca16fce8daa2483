/* vec_neon.h -- the vocabulary (vec_scalar.h explains the words) for AArch64 NEON; f32 only:
 * doubles are the scalar set's. */
#ifndef TLVI_VEC_NEON_H
#define TLVI_VEC_NEON_H

#include <arm_neon.h>
#include <stddef.h>
#include <stdint.h>

typedef float T;
typedef float32x4_t vf;
typedef uint32x4_t vm;          /* all bits of a lane */
#define VF_N 4

static inline vm vm_first(size_t n)
{
    static const uint32_t lane[4] = { 0, 1, 2, 3 };
    return vcltq_u32(vld1q_u32(lane), vdupq_n_u32((uint32_t)(n < 4 ? n : 4)));
}
static inline vf vf_load(const T *p) { return vld1q_f32(p); }
static inline void vf_store(T *p, vf x) { vst1q_f32(p, x); }
static inline void vf_stream(T *p, vf x) { vst1q_f32(p, x); }
static inline void vf_stream_end(void) {}
static inline vf vf_load_m(vm m, const T *p)
{
    vf x = vdupq_n_f32(0);
    if (vgetq_lane_u32(m, 0)) x = vld1q_lane_f32(p, x, 0);
    if (vgetq_lane_u32(m, 1)) x = vld1q_lane_f32(p + 1, x, 1);
    if (vgetq_lane_u32(m, 2)) x = vld1q_lane_f32(p + 2, x, 2);
    if (vgetq_lane_u32(m, 3)) x = vld1q_lane_f32(p + 3, x, 3);
    return x;
}
static inline void vf_store_m(vm m, T *p, vf x)
{
    if (vgetq_lane_u32(m, 0)) vst1q_lane_f32(p, x, 0);
    if (vgetq_lane_u32(m, 1)) vst1q_lane_f32(p + 1, x, 1);
    if (vgetq_lane_u32(m, 2)) vst1q_lane_f32(p + 2, x, 2);
    if (vgetq_lane_u32(m, 3)) vst1q_lane_f32(p + 3, x, 3);
}
static inline vf vf_set(T x) { return vdupq_n_f32(x); }

static inline vf vf_add(vf a, vf b) { return vaddq_f32(a, b); }
static inline vf vf_sub(vf a, vf b) { return vsubq_f32(a, b); }
static inline vf vf_mul(vf a, vf b) { return vmulq_f32(a, b); }
static inline vf vf_div(vf a, vf b) { return vdivq_f32(a, b); }
static inline vf vf_fma(vf a, vf b, vf c) { return vfmaq_f32(c, a, b); }
static inline vf vf_fma1(vf a, vf b, vf c) { return vfmaq_f32(c, a, b); }
static inline vf vf_fnma(vf a, vf b, vf c) { return vfmsq_f32(c, a, b); }
// not vmaxq: that hands on a NaN from either side and orders the zeros
static inline vf vf_max(vf a, vf b) { return vbslq_f32(vcgtq_f32(a, b), a, b); }
static inline vf vf_min(vf a, vf b) { return vbslq_f32(vcltq_f32(a, b), a, b); }
static inline vf vf_sqrt(vf a) { return vsqrtq_f32(a); }
static inline vf vf_abs(vf a) { return vabsq_f32(a); }
static inline vf vf_neg(vf a) { return vnegq_f32(a); }
static inline vf vf_copysign(vf m, vf s) { return vbslq_f32(vdupq_n_u32(0x80000000u), s, m); }
static inline vf vf_floor(vf a) { return vrndmq_f32(a); }
static inline vf vf_round(vf a) { return vrndnq_f32(a); }

static inline vm vf_lt(vf a, vf b) { return vcltq_f32(a, b); }
static inline vm vf_le(vf a, vf b) { return vcleq_f32(a, b); }
static inline vm vf_gt(vf a, vf b) { return vcgtq_f32(a, b); }
static inline vm vf_ge(vf a, vf b) { return vcgeq_f32(a, b); }
static inline vm vf_eq(vf a, vf b) { return vceqq_f32(a, b); }
static inline vm vf_ne(vf a, vf b) { return vmvnq_u32(vceqq_f32(a, b)); }
static inline vm vm_equal_i32(const int32_t *p, int32_t v)
{
    return vceqq_s32(vld1q_s32(p), vdupq_n_s32(v));
}
static inline vm vm_and(vm a, vm b) { return vandq_u32(a, b); }
static inline vm vm_or(vm a, vm b) { return vorrq_u32(a, b); }
static inline vm vm_not(vm a) { return vmvnq_u32(a); }
static inline int vm_any(vm a) { return vmaxvq_u32(a) != 0; }
static inline vf vf_select(vm m, vf a, vf b) { return vbslq_f32(m, a, b); }

static inline T vf_hsum(vf a)
{
    float32x2_t s = vadd_f32(vget_low_f32(a), vget_high_f32(a));
    return vget_lane_f32(s, 0) + vget_lane_f32(s, 1);
}
static inline T vf_hmax(vf a) { return vmaxvq_f32(a); }
static inline T vf_hmin(vf a) { return vminvq_f32(a); }
#define vf_prefetch(p) __builtin_prefetch(p)
static inline void vf_transpose(vf *r)
{
    float32x4x2_t p = vtrnq_f32(r[0], r[1]), q = vtrnq_f32(r[2], r[3]);
    r[0] = vcombine_f32(vget_low_f32(p.val[0]), vget_low_f32(q.val[0]));
    r[1] = vcombine_f32(vget_low_f32(p.val[1]), vget_low_f32(q.val[1]));
    r[2] = vcombine_f32(vget_high_f32(p.val[0]), vget_high_f32(q.val[0]));
    r[3] = vcombine_f32(vget_high_f32(p.val[1]), vget_high_f32(q.val[1]));
}

// 2^n: adding 1.5 * 2^23 + 127 leaves n + 127 in the low bits, which become the exponent
static inline vf vf_pow2i(vf n)
{
    uint32x4_t b = vreinterpretq_u32_f32(vaddq_f32(n, vdupq_n_f32(12582912.0f + 127.0f)));
    return vreinterpretq_f32_u32(vshlq_n_u32(b, 23));
}
static inline vf vf_ldexp(vf x, vf n)
{
    vf half = vf_floor(vf_mul(n, vf_set(0.5f)));
    return vf_mul(vf_mul(x, vf_pow2i(half)), vf_pow2i(vf_sub(n, half)));
}
static inline vf vf_ldexp_normal(vf x, vf n)
{
    int32x4_t e = vshlq_n_s32(vcvtq_s32_f32(n), 23);
    return vreinterpretq_f32_s32(vaddq_s32(vreinterpretq_s32_f32(x), e));
}
static inline vf vf_exponent(vf x)
{
    int32x4_t e = vreinterpretq_s32_u32(vshrq_n_u32(vreinterpretq_u32_f32(vf_abs(x)), 23));
    return vcvtq_f32_s32(vsubq_s32(e, vdupq_n_s32(127)));
}
static inline vf vf_mantissa(vf x)
{
    uint32x4_t m = vandq_u32(vreinterpretq_u32_f32(x), vdupq_n_u32(0x007fffffu));
    return vreinterpretq_f32_u32(vorrq_u32(m, vdupq_n_u32(0x3f800000u)));
}

#define GEMM_MR 8
#define GEMM_NV 2
#define GEMM_WIDE_NV 4
#define GEMM_WIDE_MR 3
#define GEMM_KC 256

#endif
