/* rng.c -- counter-based random numbers: Philox4x32-10.
 * Source: Salmon, Moraes, Dror, Shaw 2011, "Parallel random numbers: as easy as 1, 2, 3", SC'11.
 *
 * The counter of a block is (place, place's high word, what for, which): the third word keeps
 * draws of different kinds under one key apart.  Four plain draws share two blocks: the high words
 * of draws 4b .. 4b+3 are block b of HIGH, the low words block b of LOW.  So an f32, which reads
 * the high word only, is its f64 cut to 24 bits, and costs a quarter of a block. */
#include <math.h>

#include "tensor/core.h"
#include "tensor/rng.h"

enum { HIGH, LOW, NORMAL, BELOW, STREAM, FOLD };        /* what for; numbers are pinned */

enum {
    CHUNK = 1 << 14,                /* elements a chunk of a tensor; a multiple of 4 */
    RAND_NS = 10, RANDN_NS = 30     /* about what an element costs */
};

void tlvi_philox(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4])
{
    uint32_t x0 = counter[0], x1 = counter[1], x2 = counter[2], x3 = counter[3];
    uint32_t k0 = key[0], k1 = key[1];
    for (int round = 0; round < 10; round++) {
        uint64_t a = (uint64_t)0xD2511F53u * x0, b = (uint64_t)0xCD9E8D57u * x2;
        x0 = (uint32_t)(b >> 32) ^ x1 ^ k0;
        x1 = (uint32_t)b;
        x2 = (uint32_t)(a >> 32) ^ x3 ^ k1;
        x3 = (uint32_t)a;
        k0 += 0x9E3779B9u;          // the golden ratio and sqrt(3) - 1, in 32 bits
        k1 += 0xBB67AE85u;
    }
    out[0] = x0;
    out[1] = x1;
    out[2] = x2;
    out[3] = x3;
}

static void block(tlv_rng_key k, uint64_t place, uint32_t kind, uint32_t which, uint32_t out[4])
{
    uint32_t counter[4] = { (uint32_t)place, (uint32_t)(place >> 32), kind, which };
    uint32_t key[2] = { (uint32_t)k.k, (uint32_t)(k.k >> 32) };
    tlvi_philox(counter, key, out);
}

static uint64_t join(uint32_t high, uint32_t low) { return (uint64_t)high << 32 | low; }

static double unit53(uint64_t x) { return (double)(x >> 11) * 0x1p-53; }

/* ---- keys ------------------------------------------------------------------------------------ */

tlv_rng_key tlv_rng_stream(const tlv_ctx *c, const char *name)
{
    uint64_t hash = 0xCBF29CE484222325u;            // FNV-1a
    for (const char *s = name ? name : ""; *s; s++)
        hash = (hash ^ (unsigned char)*s) * 0x100000001B3u;
    uint32_t x[4];
    block(c->rng, hash, STREAM, 0, x);
    return (tlv_rng_key){ join(x[0], x[1]) };
}

tlv_rng_key tlv_rng_fold(tlv_rng_key k, uint64_t data)
{
    uint32_t x[4];
    block(k, data, FOLD, 0, x);
    return (tlv_rng_key){ join(x[0], x[1]) };
}

/* ---- single draws ---------------------------------------------------------------------------- */

uint64_t tlv_rng_u64(tlv_rng_key k, uint64_t i)
{
    uint32_t high[4], low[4];
    block(k, i / 4, HIGH, 0, high);
    block(k, i / 4, LOW, 0, low);
    return join(high[i % 4], low[i % 4]);
}

double tlv_rng_uniform(tlv_rng_key k, uint64_t i) { return unit53(tlv_rng_u64(k, i)); }

/* Draws 2b and 2b+1.  Source: Box & Muller 1958, Ann. Math. Stat. 29:610. */
static void normal_pair(tlv_rng_key k, uint64_t b, double out[2])
{
    uint32_t x[4];
    block(k, b, NORMAL, 0, x);
    double u = 1.0 - unit53(join(x[0], x[1]));      // (0, 1]: its log is finite
    double angle = 6.283185307179586477 * unit53(join(x[2], x[3]));
    double radius = sqrt(-2.0 * log(u));
    out[0] = radius * cos(angle);
    out[1] = radius * sin(angle);
}

double tlv_rng_normal(tlv_rng_key k, uint64_t i)
{
    double pair[2];
    normal_pair(k, i / 2, pair);
    return pair[i % 2];
}

int64_t tlv_rng_below(tlv_rng_key k, uint64_t i, int64_t n)
{
    if (n <= 1) return 0;
    uint64_t m = (uint64_t)n;
    uint64_t uneven = (0 - m) % m;                  // 2^64 mod n
    for (uint32_t attempt = 0;; attempt++) {
        uint32_t x[4];
        block(k, i, BELOW, attempt, x);
        uint64_t u = join(x[0], x[1]);
        if (u >= uneven) return (int64_t)(u % m);   // what is left is a multiple of n values
    }
}

void tlv_rng_shuffle(tlv_rng_key k, int64_t n, int64_t *index)
{
    for (int64_t i = n - 1; i > 0; i--) {
        int64_t j = tlv_rng_below(k, (uint64_t)i, i + 1);
        int64_t x = index[i];
        index[i] = index[j];
        index[j] = x;
    }
}

/* ---- tensors --------------------------------------------------------------------------------- */

typedef struct fill {
    tlv_rng_key key;
    int64_t n;
    void *out;
} fill;

static void rand_f32(void *arg, int64_t chunk, int worker)
{
    (void)worker;
    const fill *f = arg;
    int64_t end = (chunk + 1) * CHUNK < f->n ? (chunk + 1) * CHUNK : f->n;
    float *out = f->out;
    for (int64_t i = chunk * CHUNK; i < end; i += 4) {
        uint32_t x[4];
        block(f->key, (uint64_t)i / 4, HIGH, 0, x);
        for (int j = 0; j < 4 && i + j < end; j++) out[i + j] = (float)(x[j] >> 8) * 0x1p-24f;
    }
}

static void rand_f64(void *arg, int64_t chunk, int worker)
{
    (void)worker;
    const fill *f = arg;
    int64_t end = (chunk + 1) * CHUNK < f->n ? (chunk + 1) * CHUNK : f->n;
    double *out = f->out;
    for (int64_t i = chunk * CHUNK; i < end; i += 4) {
        uint32_t high[4], low[4];
        block(f->key, (uint64_t)i / 4, HIGH, 0, high);
        block(f->key, (uint64_t)i / 4, LOW, 0, low);
        for (int j = 0; j < 4 && i + j < end; j++) out[i + j] = unit53(join(high[j], low[j]));
    }
}

static void randn_f32(void *arg, int64_t chunk, int worker)
{
    (void)worker;
    const fill *f = arg;
    int64_t end = (chunk + 1) * CHUNK < f->n ? (chunk + 1) * CHUNK : f->n;
    float *out = f->out;
    for (int64_t i = chunk * CHUNK; i < end; i += 2) {
        double pair[2];
        normal_pair(f->key, (uint64_t)i / 2, pair);
        for (int j = 0; j < 2 && i + j < end; j++) out[i + j] = (float)pair[j];
    }
}

static void randn_f64(void *arg, int64_t chunk, int worker)
{
    (void)worker;
    const fill *f = arg;
    int64_t end = (chunk + 1) * CHUNK < f->n ? (chunk + 1) * CHUNK : f->n;
    double *out = f->out;
    for (int64_t i = chunk * CHUNK; i < end; i += 2) {
        double pair[2];
        normal_pair(f->key, (uint64_t)i / 2, pair);
        for (int j = 0; j < 2 && i + j < end; j++) out[i + j] = pair[j];
    }
}

static tlv_tensor *filled(tlv_ctx *c, const char *name, tlv_dtype d, tlv_shape s, tlv_rng_key k,
                          tlvi_chunk_fn fn, int64_t ns)
{
    if (c->err != TLV_OK) return NULL;
    TLVI_REQUIRE(c, d == TLV_F32 || d == TLV_F64, TLV_ERR_DTYPE, NULL,
                 "%s: the dtype is %s, but must be f32 or f64", name, tlv_dtype_name(d));
    tlv_tensor *t = tlvi_new(c, d, s);
    if (!t) return NULL;
    fill f = { .key = k, .n = tlvi_numel(t), .out = tlvi_ptr(t) };
    tlvi_parallel_for(c, (f.n + CHUNK - 1) / CHUNK, CHUNK * ns, fn, &f);
    return t;
}

tlv_tensor *tlv_rand(tlv_ctx *c, tlv_dtype d, tlv_shape s, tlv_rng_key k)
{
    return filled(c, "rand", d, s, k, d == TLV_F64 ? rand_f64 : rand_f32, RAND_NS);
}

tlv_tensor *tlv_randn(tlv_ctx *c, tlv_dtype d, tlv_shape s, tlv_rng_key k)
{
    return filled(c, "randn", d, s, k, d == TLV_F64 ? randn_f64 : randn_f32, RANDN_NS);
}

/* ---- masks ----------------------------------------------------------------------------------- */

typedef struct mask {
    tlv_rng_key key;
    uint64_t low;                   /* draws below are 0 */
    int64_t n;
    uint8_t *keep;
} mask;

static void mask_chunk(void *arg, int64_t chunk, int worker)
{
    (void)worker;
    const mask *m = arg;
    int64_t end = (chunk + 1) * CHUNK < m->n ? (chunk + 1) * CHUNK : m->n;
    for (int64_t i = chunk * CHUNK; i < end; i += 4) {
        uint32_t x[4];
        block(m->key, (uint64_t)i / 4, HIGH, 0, x);
        for (int j = 0; j < 4 && i + j < end; j++) m->keep[i + j] = x[j] >= m->low;
    }
}

void tlvi_rng_keep(tlv_ctx *c, tlv_rng_key k, double p, int64_t n, uint8_t *keep)
{
    mask m = { .key = k, .low = (uint64_t)(p * 0x1p32), .n = n, .keep = keep };
    tlvi_parallel_for(c, (n + CHUNK - 1) / CHUNK, CHUNK * RAND_NS, mask_chunk, &m);
}
