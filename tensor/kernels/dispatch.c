/* dispatch.c -- which instruction set this CPU and this build both have. */
#include "tensor/kernels/kernels.h"

#include <string.h>

#if defined(__x86_64__) && defined(__GNUC__)

static int has_avx2(void)
{
    __builtin_cpu_init();                       // asks the system, too: it must save the registers
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}

static int has_avx512(void)
{
    __builtin_cpu_init();
    return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw")
           && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
}

#endif

static int has_always(void) { return 1; }

/* A table of facts, widest first; the last row always matches. */
static const struct isa { tlvi_kernels k; int (*has)(void); } ISAS[] = {
#if defined(__x86_64__) && defined(__GNUC__)
    { { "avx512", &tlvi_kset_avx512_f32, &tlvi_kset_avx2_f64 }, has_avx512 },
    { { "avx2", &tlvi_kset_avx2_f32, &tlvi_kset_avx2_f64 }, has_avx2 },
#elif defined(__aarch64__)
    { { "neon", &tlvi_kset_neon_f32, &tlvi_kset_scalar_f64 }, has_always },
#endif
    { { "scalar", &tlvi_kset_scalar_f32, &tlvi_kset_scalar_f64 }, has_always },
};
enum { ISA_COUNT = sizeof ISAS / sizeof ISAS[0] };

const tlvi_kernels *tlvi_pick_kernels(const char *want)
{
    for (int i = 0; i < ISA_COUNT; i++)
        if (ISAS[i].has() && (!want || strcmp(want, ISAS[i].k.name) == 0)) return &ISAS[i].k;
    return NULL;
}

const char *tlvi_isa_list(void)
{
#if defined(__x86_64__) && defined(__GNUC__)
    return has_avx512() ? "avx512 avx2 scalar" : has_avx2() ? "avx2 scalar" : "scalar";
#elif defined(__aarch64__)
    return "neon scalar";
#else
    return "scalar";
#endif
}
