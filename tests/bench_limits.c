/* bench_limits.c -- what the machine can do at most: the yardsticks that make roofline divides by.
 *
 * peak_f32          fused multiply-adds on registers alone, of the instruction set in use
 * peak_f32_tile     the product's micro-kernel with its operands in L1
 * read_, copy_, triad_ of L1, L2, L3, DRAM    GB/s, as the program sees them (a line that a store
 *                   fetches first is not counted); _nt: stores that go round the caches */
#include <stdio.h>
#include <string.h>

#include "tensor/core.h"
#include "tests/benchlib.h"
#if defined(__SSE2__)
#include <emmintrin.h>
#endif

enum { FMA_CALLS = 1 << 19, TILE_K = 384, TILE_REPEAT = 2000 };

/* ---- multiply-adds on registers -------------------------------------------------------------- *
 * Assembly, so that no compiler moves anything and no flags are needed: twelve chains (sixteen on
 * AArch64) hide the latency of all cores known. */

typedef struct burst { const char *isa; void (*run)(int64_t times); double flop; } burst;

#define TWELVE(x)                                                                                  \
    x("0") x("1") x("2") x("3") x("4") x("5") x("6") x("7") x("8") x("9") x("10") x("11")

#if defined(__x86_64__)
#define CHANGED                                                                                    \
    "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10",       \
        "xmm11", "xmm14", "xmm15"
#define FMA256(i) "vfmadd231ps %%ymm14, %%ymm15, %%ymm" i "\n"
#define FMA512(i) "vfmadd231ps %%zmm14, %%zmm15, %%zmm" i "\n"
#define ZERO(i) "vxorps %%xmm" i ", %%xmm" i ", %%xmm" i "\n"

static void fma256(int64_t times)
{
    __asm__ volatile(TWELVE(ZERO) ZERO("14") ZERO("15")::: CHANGED);
    for (int64_t i = 0; i < times; i++) __asm__ volatile(TWELVE(FMA256)::: CHANGED);
    __asm__ volatile("vzeroupper");
}

static void fma512(int64_t times)
{
    __asm__ volatile(TWELVE(ZERO) ZERO("14") ZERO("15")::: CHANGED);
    for (int64_t i = 0; i < times; i++) __asm__ volatile(TWELVE(FMA512)::: CHANGED);
    __asm__ volatile("vzeroupper");
}
static const burst BURSTS[] = { { "avx2", fma256, 12 * 16 }, { "avx512", fma512, 12 * 32 } };
enum { N_BURSTS = 2 };
#elif defined(__aarch64__)
#define CHANGED                                                                                    \
    "v0", "v1", "v2", "v3", "v4", "v5", "v6", "v7", "v8", "v9", "v10", "v11", "v12", "v13", "v14", \
        "v15", "v30", "v31"
#define FMA128(i) "fmla v" i ".4s, v30.4s, v31.4s\n"
#define ZERO(i) "movi v" i ".4s, #0\n"
#define SIXTEEN(x) TWELVE(x) x("12") x("13") x("14") x("15")

static void fma128(int64_t times)
{
    __asm__ volatile(SIXTEEN(ZERO) ZERO("30") ZERO("31")::: CHANGED);
    for (int64_t i = 0; i < times; i++) __asm__ volatile(SIXTEEN(FMA128)::: CHANGED);
}
static const burst BURSTS[] = { { "neon", fma128, 16 * 8 } };
enum { N_BURSTS = 1 };
#else
static const burst BURSTS[] = { { "", NULL, 0 } };
enum { N_BURSTS = 1 };
#endif

static void fma_chunk(void *arg, int64_t i, int worker)
{
    (void)i, (void)worker;
    ((const burst *)arg)->run(FMA_CALLS);
}

static void fma_body(tlv_ctx *c, void *arg)
{
    tlvi_parallel_for(c, tlv_threads(c), 0, fma_chunk, arg);
}

static void peak_case(bench *b, const void *arg)
{
    (void)arg;
    for (int i = 0; i < N_BURSTS; i++) {
        burst u = BURSTS[i];
        if (strcmp(u.isa, tlv_isa(b->c))) continue;
        bench_time(b, 1e-9 * u.flop * FMA_CALLS * b->threads, "GFLOP/s", fma_body, &u);
    }
}

/* ---- the product's micro-kernel -------------------------------------------------------------- */

typedef struct tile { const tlvi_kset *k; float a[16 * TILE_K], b[64 * TILE_K]; } tile;

static void tile_chunk(void *arg, int64_t i, int worker)
{
    const tile *t = arg;
    const tlvi_kset *k = t->k;
    float c[16 * 64];
    (void)i, (void)worker;
    for (int r = 0; r < TILE_REPEAT; r++)
        k->gemm_tile(k->mr, k->nr, TILE_K, t->a, 1, k->mr, t->b, k->nr, c, k->nr, 0);
}

static void tile_body(tlv_ctx *c, void *arg)
{
    tlvi_parallel_for(c, tlv_threads(c), 0, tile_chunk, arg);
}

static void tile_case(bench *b, const void *arg)
{
    (void)arg;
    tlv_tensor *room = tlv_zeros(b->c, TLV_F32, tlv_shape1((int64_t)(sizeof(tile) / 4) + 1));
    if (!room) return;
    tile *t = (tile *)(void *)tlvi_f32(room);
    t->k = b->c->k->f32;
    double flop = 2.0 * t->k->mr * t->k->nr * TILE_K * TILE_REPEAT;
    bench_time(b, 1e-9 * flop * b->threads, "GFLOP/s", tile_body, t);
}

/* ---- memory ---------------------------------------------------------------------------------- */

typedef enum kind { READ, COPY, TRIAD, COPY_NT, TRIAD_NT, N_KINDS } kind;

/* n floats an array, of all threads together; passes over them. */
typedef struct stream { kind kind; int64_t n, passes; int threads; float *x, *y, *z; } stream;

#if defined(__x86_64__) && defined(__GNUC__)
__attribute__((target("avx"))) static float sum_wide(const float *x, int64_t n)
{
    typedef float wide __attribute__((vector_size(32), aligned(4)));
    wide a = { 0 }, b = a, c = a, d = a;
    for (int64_t i = 0; i + 32 <= n; i += 32) {
        const wide *v = (const wide *)(const void *)(x + i);
        a += v[0];
        b += v[1];
        c += v[2];
        d += v[3];
    }
    a += b + c + d;
    return a[0] + a[7];
}
#endif

static float sum_plain(const float *x, int64_t n)
{
    float s[16] = { 0 };
    for (int64_t i = 0; i + 16 <= n; i += 16)
        for (int j = 0; j < 16; j++) s[j] += x[i + j];
    return s[0] + s[15];
}

static float sum(const float *x, int64_t n)
{
#if defined(__x86_64__) && defined(__GNUC__)
    if (__builtin_cpu_supports("avx")) return sum_wide(x, n);
#endif
    return sum_plain(x, n);
}

static void plain(kind k, int64_t n, const float *restrict x, const float *restrict y,
                  float *restrict z)
{
    if (k == COPY) memcpy(z, x, (size_t)n * sizeof *z);
    else
        for (int64_t i = 0; i < n; i++) z[i] = x[i] + 3.0f * y[i];
}

static void around(kind k, int64_t n, const float *x, const float *y, float *z)
{
#if defined(__SSE2__)
    const __m128 three = _mm_set1_ps(3);
    for (int64_t i = 0; i + 4 <= n; i += 4) {
        __m128 v = _mm_loadu_ps(x + i);
        if (k == TRIAD_NT) v = _mm_add_ps(v, _mm_mul_ps(three, _mm_loadu_ps(y + i)));
        _mm_stream_ps(z + i, v);
    }
    _mm_sfence();
#else
    plain(k == COPY_NT ? COPY : TRIAD, n, x, y, z);
#endif
}

static void stream_chunk(void *arg, int64_t i, int worker)
{
    const stream *s = arg;
    int64_t each = s->n / s->threads / 64 * 64, at = i * each;
    (void)worker;
    for (int64_t p = 0; p < s->passes; p++) {
        if (s->kind == READ) {
            float v = sum(s->x + at, each);
            if (v == 77.0f) s->z[at] = v;               // never; but the compiler cannot know
        } else if (s->kind == COPY || s->kind == TRIAD)
            plain(s->kind, each, s->x + at, s->y + at, s->z + at);
        else
            around(s->kind, each, s->x + at, s->y + at, s->z + at);
    }
}

static void stream_body(tlv_ctx *c, void *arg)
{
    tlvi_parallel_for(c, tlv_threads(c), 0, stream_chunk, arg);
}

/* bytes: of all arrays together, a thread's (L3, DRAM: the machine's). */
typedef struct place { const char *name; int64_t bytes; int shared; } place;
typedef struct stream_case { kind kind; place place; } stream_case;

static void memory_case(bench *b, const void *arg)
{
    static const int ARRAYS[N_KINDS] = { 1, 2, 3, 2, 3 };
    const stream_case *k = arg;
    int64_t bytes = k->place.bytes * (k->place.shared ? 1 : b->threads);
    stream s = { .kind = k->kind, .threads = b->threads,
                 .n = bytes / ARRAYS[k->kind] / 4 / (64 * b->threads) * (64 * b->threads) };
    s.passes = ((int64_t)1 << 25) / bytes + 1;
    s.x = tlvi_f32(tlv_zeros(b->c, TLV_F32, tlv_shape1(s.n)));
    s.y = ARRAYS[k->kind] == 3 ? tlvi_f32(tlv_zeros(b->c, TLV_F32, tlv_shape1(s.n))) : s.x;
    s.z = ARRAYS[k->kind] > 1 ? tlvi_f32(tlv_zeros(b->c, TLV_F32, tlv_shape1(s.n))) : s.x;
    double moved = 4e-9 * (double)s.n * ARRAYS[k->kind] * (double)s.passes;
    bench_time(b, moved, "GB/s", stream_body, &s);
}

static void memory(bench *b)
{
    static const char *const KIND[N_KINDS] = { "read", "copy", "triad", "copy", "triad" };
    static const place PLACES[] = { { "L1", 24 << 10, 0 }, { "L2", 256 << 10, 0 },
                                    { "L3", 4 << 20, 1 },  { "DRAM", 192 << 20, 1 } };
    for (int p = 0; p < 4; p++)
        for (int i = READ; i < N_KINDS; i++) {
            char name[32];
            stream_case k = { (kind)i, PLACES[p] };
            if (i > TRIAD && strcmp(PLACES[p].name, "DRAM")) continue;
            snprintf(name, sizeof name, "%s_%s%s", KIND[i], PLACES[p].name,
                     i > TRIAD ? "_nt" : "");
            bench_case(b, name, memory_case, &k);
        }
}

int main(void)
{
    bench b = bench_open();
    bench_case(&b, "peak_f32", peak_case, NULL);
    bench_case(&b, "peak_f32_tile", tile_case, NULL);
    memory(&b);
    return bench_close(&b);
}
