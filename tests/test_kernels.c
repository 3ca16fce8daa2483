/* test_kernels.c -- kernels of every instruction set this CPU has: accuracy against libm in f64,
 * agreement with the scalar set, tails and guard bytes, conversions, reductions. */
#include "tests/test.h"
#include "tensor/kernels/kernels.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- sets and values ------------------------------------------------------------------------- */

enum { MAX_ISAS = 4 };

static int all_isas(const tlvi_kernels **k)
{
    char list[64];
    int n = 0;
    snprintf(list, sizeof list, "%s", tlvi_isa_list());
    for (char *s = strtok(list, " "); s && n < MAX_ISAS; s = strtok(NULL, " ")) {
        k[n] = tlvi_pick_kernels(s);
        EXPECT(k[n], "%s is listed but not to be had", s);
        if (k[n]) n++;
    }
    return n;
}

static uint32_t next_random(uint64_t *s)
{
    *s = *s * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*s >> 32);
}

static double uniform(uint64_t *s, double lo, double hi)
{
    return lo + (hi - lo) * next_random(s) / 4294967296.0;
}

static float float_of(uint32_t bits)
{
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

static uint32_t bits_of(float f)
{
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    return u;
}

/* Distance in units in the last place of the float nearest to want. */
static double ulps(float got, double want)
{
    float w = (float)want;
    if (isnan(want) || isnan(got)) return isnan(want) && isnan(got) ? 0 : 1e30;
    if (isinf(w) || isinf(got)) return w == got ? 0 : 1e30;
    int e;
    frexp(want, &e);
    return fabs(got - want) / ldexp(1, (e < -125 ? -125 : e) - 24);
}

/* ---- picking --------------------------------------------------------------------------------- */

static void test_sets(void)
{
    const tlvi_kernels *k[MAX_ISAS];
    int n = all_isas(k);
    EXPECT(n >= 1, "no set at all");
    EXPECT_STR(k[n - 1]->name, "scalar");
    EXPECT(tlvi_pick_kernels(NULL) == k[0], "any set is the widest");
    EXPECT(!tlvi_pick_kernels("mmx"), "an unknown name has a set");
    for (int i = 0; i < n; i++) {
        const tlvi_kset *sets[2] = { k[i]->f32, k[i]->f64 };
        for (int d = 0; d < 2; d++) {
            const tlvi_kset *s = sets[d];
            EXPECT(s->nr % s->lanes == 0 && s->wide_nr % s->nr == 0 && s->wide_mr <= s->mr,
                   "%s: tile %dx%d, wide %dx%d, %d lanes", k[i]->name, s->mr, s->nr, s->wide_mr,
                   s->wide_nr, s->lanes);
        }
    }
}

/* ---- accuracy -------------------------------------------------------------------------------- */

static double sigmoid64(double x) { return 1 / (1 + exp(-x)); }

static double unary64(int id, double x, double a, double b)
{
    switch (id) {
    case TLVI_UN_NEG: return -x;
    case TLVI_UN_AFFINE: return a * x + b;
    case TLVI_UN_RECIP: return 1 / x;
    case TLVI_UN_SQUARE: return x * x;
    case TLVI_UN_EXP: return exp(x);
    case TLVI_UN_LOG: return log(x);
    case TLVI_UN_SQRT: return sqrt(x);
    case TLVI_UN_RSQRT: return 1 / sqrt(x);
    case TLVI_UN_ABS: return fabs(x);
    case TLVI_UN_SIN: return sin(x);
    case TLVI_UN_COS: return cos(x);
    case TLVI_UN_TANH: return tanh(x);
    case TLVI_UN_ERF: return erf(x);
    case TLVI_UN_SIGN: return (x > 0) - (x < 0);
    case TLVI_UN_ROUND: return nearbyint(x);
    case TLVI_UN_FLOOR: return floor(x);
    case TLVI_UN_CLAMP: return isnan(x) ? x : fmin(fmax(x, a), b);
    case TLVI_UN_POWS: return pow(x, a);
    case TLVI_UN_RELU: return isnan(x) || x > 0 ? x : 0;
    case TLVI_UN_LEAKY_RELU: return x > 0 ? x : a * x;
    case TLVI_UN_RELU6: return isnan(x) ? x : fmin(fmax(x, 0), 6);
    case TLVI_UN_SIGMOID: return sigmoid64(x);
    case TLVI_UN_SILU: return x * sigmoid64(x);
    case TLVI_UN_HARD_SWISH: return isnan(x) ? x : x * fmin(fmax(x + 3, 0), 6) / 6;
    case TLVI_UN_HARD_SIGMOID: return isnan(x) ? x : fmin(fmax(x + 3, 0), 6) / 6;
    case TLVI_UN_SOFTPLUS: return x > 20 ? x : log1p(exp(x));
    case TLVI_UN_GELU_ERF: return x * 0.5 * (1 + erf(x / sqrt(2)));
    case TLVI_UN_GELU_TANH:
        return x * sigmoid64(2 * sqrt(2 / acos(-1)) * (x + 0.044715 * x * x * x));
    case TLVI_UN_QUICK_GELU: return x * sigmoid64(1.702 * x);
    case TLVI_UN_COPY: return x;
    case TLVI_UN_STEP: return x > 0;
    default: return NAN;
    }
}

/* What each may be off by: ulp units of the value plus abs times max(1, |x|).  lo, hi: where. */
typedef struct bound { int id; double a, b, ulp, abs, lo, hi; } bound;

static const bound BOUNDS[] = {
    { TLVI_UN_NEG, 0, 0, 0, 0, -INFINITY, INFINITY },
    { TLVI_UN_AFFINE, 1.5, 0.25, 1, 1.2e-7, -1e30, 1e30 },
    { TLVI_UN_RECIP, 0, 0, 0.5, 0, -INFINITY, INFINITY },
    { TLVI_UN_SQUARE, 0, 0, 0.5, 0, -INFINITY, INFINITY },
    { TLVI_UN_EXP, 0, 0, 1, 0, -INFINITY, INFINITY },
    { TLVI_UN_LOG, 0, 0, 1, 0, -INFINITY, INFINITY },
    { TLVI_UN_SQRT, 0, 0, 0.5, 0, -INFINITY, INFINITY },
    { TLVI_UN_RSQRT, 0, 0, 1.5, 0, -INFINITY, INFINITY },
    { TLVI_UN_ABS, 0, 0, 0, 0, -INFINITY, INFINITY },
    { TLVI_UN_SIN, 0, 0, 1.6, 0, -FLT_MAX, FLT_MAX },
    { TLVI_UN_COS, 0, 0, 1.6, 0, -FLT_MAX, FLT_MAX },
    { TLVI_UN_TANH, 0, 0, 1.5, 0, -INFINITY, INFINITY },
    { TLVI_UN_ERF, 0, 0, 1.5, 0, -INFINITY, INFINITY },
    { TLVI_UN_SIGN, 0, 0, 0, 0, -INFINITY, INFINITY },
    { TLVI_UN_ROUND, 0, 0, 0, 0, -INFINITY, INFINITY },
    { TLVI_UN_FLOOR, 0, 0, 0, 0, -INFINITY, INFINITY },
    { TLVI_UN_CLAMP, -0.75, 2, 0, 0, -INFINITY, INFINITY },
    { TLVI_UN_POWS, 0.5, 0, 1.5, 0, -INFINITY, INFINITY },
    { TLVI_UN_POWS, 2, 0, 1.5, 0, -INFINITY, INFINITY },
    { TLVI_UN_POWS, 3, 0, 1.5, 0, -INFINITY, INFINITY },
    { TLVI_UN_POWS, -1, 0, 1.5, 0, -INFINITY, INFINITY },
    { TLVI_UN_POWS, 17.25, 0, 1.5, 0, -INFINITY, INFINITY },
    { TLVI_UN_POWS, -0.0078125, 0, 1.5, 0, -INFINITY, INFINITY },
    { TLVI_UN_POWS, 50000, 0, 1.5, 0, -INFINITY, INFINITY },
    { TLVI_UN_POWS, 0, 0, 0, 0, -INFINITY, INFINITY },
    { TLVI_UN_RELU, 0, 0, 0, 0, -INFINITY, INFINITY },
    { TLVI_UN_LEAKY_RELU, 0.125, 0, 0.5, 0, -INFINITY, INFINITY },
    { TLVI_UN_RELU6, 0, 0, 0, 0, -INFINITY, INFINITY },
    { TLVI_UN_SIGMOID, 0, 0, 2.5, 0, -87, INFINITY },
    { TLVI_UN_SILU, 0, 0, 2.5, 0, -80, INFINITY },
    { TLVI_UN_HARD_SWISH, 0, 0, 2, 3e-7, -1e30, 1e30 },
    { TLVI_UN_HARD_SIGMOID, 0, 0, 2, 1.2e-7, -INFINITY, INFINITY },
    { TLVI_UN_SOFTPLUS, 0, 0, 2.5, 0, -INFINITY, INFINITY },
    { TLVI_UN_GELU_ERF, 0, 0, 3, 1.2e-7, -1e30, 1e30 },
    { TLVI_UN_GELU_TANH, 0, 0, 3, 2.4e-7, -1e12, 1e12 },
    { TLVI_UN_QUICK_GELU, 0, 0, 3, 2.4e-7, -1e30, 1e30 },
    { TLVI_UN_COPY, 0, 0, 0, 0, -INFINITY, INFINITY },
    { TLVI_UN_STEP, 0, 0, 0, 0, -INFINITY, INFINITY },
};
enum { N_BOUNDS = sizeof BOUNDS / sizeof BOUNDS[0], BLOCK = 509 };     // an odd block has a tail

/* One block of inputs; tells the worst. */
static void check_block(const tlvi_kernels *k, const bound *b, int n, const float *x, double *worst,
                        float *at)
{
    float y[BLOCK];
    k->f32->unary[b->id]((size_t)n, x, y, b->a, b->b);
    for (int i = 0; i < n; i++) {
        if (x[i] < b->lo || x[i] > b->hi) continue;             // a NaN stays in
        double want = unary64(b->id, x[i], b->a, b->b), big = fabs(x[i]) > 1 ? fabs(x[i]) : 1;
        double off = ulps(y[i], want);
        if (off > b->ulp && fabs(y[i] - want) <= b->abs * big) off = 0;
        if (off > *worst) {
            *worst = off;
            *at = x[i];
        }
    }
}

/* All magnitudes by stepping through the bit patterns, then [-25, 25] evenly. */
static void check_function(const tlvi_kernels *k, const bound *b)
{
    float x[BLOCK], at = 0;
    double worst = 0;
    uint64_t bits = 0;
    for (int n = 0; bits < ((uint64_t)1 << 32); bits += 12007) {
        x[n++] = float_of((uint32_t)bits);
        if (n == BLOCK || bits + 12007 >= ((uint64_t)1 << 32)) {
            check_block(k, b, n, x, &worst, &at);
            n = 0;
        }
    }
    for (int i = 0; i < 100; i++) {
        for (int j = 0; j < BLOCK; j++) x[j] = -25 + 50 * (float)(i * BLOCK + j) / (100 * BLOCK);
        check_block(k, b, BLOCK, x, &worst, &at);
    }
    EXPECT(worst <= b->ulp, "%s unary %d (a = %g): %.3f ulp at %.9g, bound %g", k->name, b->id,
           b->a, worst, at, b->ulp);
}

static void test_accuracy(void)
{
    const tlvi_kernels *k[MAX_ISAS];
    int n = all_isas(k), seen[TLVI_UN_COUNT] = { 0 };
    for (int i = 0; i < N_BOUNDS; i++) {
        seen[BOUNDS[i].id] = 1;
        for (int j = 0; j < n; j++) check_function(k[j], &BOUNDS[i]);
    }
    for (int id = 0; id < TLVI_UN_COUNT; id++) EXPECT(seen[id], "no bound for unary %d", id);
}

static const float SPECIAL[] = {
    0.0f, -0.0f, 1.0f, -1.0f, 0.5f, -0.5f, 1.5f, 2.5f, -2.5f, 3.0f, -3.0f, 6.0f, 20.0f, 20.5f, 2.0f,
    -2.0f, 88.72283f, 88.72284f, -87.33655f, -103.9721f, -104.5f, 1e-40f, -1e-40f, FLT_MIN, FLT_MAX,
    -FLT_MAX, 8388607.5f, 8388609.0f, 1e5f, 99999.99f, -100001.0f, 16777216.0f, 3.0e38f,
    INFINITY, -INFINITY, NAN
};
enum { N_SPECIAL = sizeof SPECIAL / sizeof SPECIAL[0] };

static void test_special_values(void)
{
    const tlvi_kernels *k[MAX_ISAS];
    int n = all_isas(k);
    for (int j = 0; j < n; j++)
        for (int i = 0; i < N_BOUNDS; i++) {
            double worst = 0;
            float at = 0;
            check_block(k[j], &BOUNDS[i], N_SPECIAL, SPECIAL, &worst, &at);
            EXPECT(worst <= BOUNDS[i].ulp, "%s unary %d: %g ulp at %g", k[j]->name, BOUNDS[i].id,
                   worst, at);
        }
}

static void test_pow_is_cs_pow(void)
{
    const tlvi_kernels *k[MAX_ISAS];
    int n = all_isas(k);
    for (int j = 0; j < n; j++) {
        double worst = 0;
        float wx = 0, wy = 0;
        uint64_t s = 7;
        for (int i = 0; i < 60000; i++) {
            float x, y, z;
            if (i < N_SPECIAL * N_SPECIAL) {
                x = SPECIAL[i / N_SPECIAL];
                y = SPECIAL[i % N_SPECIAL];
            } else {
                x = (float)(exp(uniform(&s, -20, 20)) * (next_random(&s) & 1 ? 1 : -1));
                y = i % 3 ? (float)uniform(&s, -9, 9) : (float)(int)uniform(&s, -9, 9);
            }
            k[j]->f32->binary[TLVI_BIN_POW](1, &x, &y, &z, 0, 0);
            double off = ulps(z, pow(x, y));
            if (off > worst) {
                worst = off;
                wx = x;
                wy = y;
            }
        }
        EXPECT(worst <= 1.5, "%s: pow(%.9g, %.9g) is off by %g ulp", k[j]->name, wx, wy, worst);
    }
}

/* ---- binary kernels -------------------------------------------------------------------------- */

static double phi64(double x) { return exp(-x * x / 2) / sqrt(2 * acos(-1)); }

static double binary64(int id, double a, double b, double p, double q)
{
    double s = sigmoid64(b), u, du;
    switch (id) {
    case TLVI_BIN_ADD: return a + b;
    case TLVI_BIN_SUB: return a - b;
    case TLVI_BIN_MUL: return a * b;
    case TLVI_BIN_DIV: return a / b;
    case TLVI_BIN_POW: return pow(a, b);
    case TLVI_BIN_MAX: return isnan(a) || isnan(b) ? NAN : a > b ? a : b;
    case TLVI_BIN_MIN: return isnan(a) || isnan(b) ? NAN : a < b ? a : b;
    case TLVI_BIN_AXPBY: return p * a + q * b;
    case TLVI_BIN_TANH_GRAD: return a * (1 - b * b);
    case TLVI_BIN_SIGMOID_GRAD: return a * b * (1 - b);
    case TLVI_BIN_RELU_GRAD: return b > 0 ? a : 0;
    case TLVI_BIN_LEAKY_RELU_GRAD: return b > 0 ? a : p * a;
    case TLVI_BIN_RELU6_GRAD: return b > 0 && b < 6 ? a : 0;
    case TLVI_BIN_SILU_GRAD: return a * s * (1 + b * (1 - s));
    case TLVI_BIN_HARD_SWISH_GRAD: return b <= -3 ? 0 : b >= 3 ? a : a * (b / 3 + 0.5);
    case TLVI_BIN_HARD_SIGMOID_GRAD: return b > -3 && b < 3 ? a / 6 : 0;
    case TLVI_BIN_SOFTPLUS_GRAD: return b > 20 ? a : a * s;
    case TLVI_BIN_GELU_ERF_GRAD: return a * (0.5 * (1 + erf(b / sqrt(2))) + b * phi64(b));
    case TLVI_BIN_GELU_TANH_GRAD:
        u = sqrt(2 / acos(-1)) * (b + 0.044715 * b * b * b);
        du = sqrt(2 / acos(-1)) * (1 + 3 * 0.044715 * b * b);
        return a * (0.5 * (1 + tanh(u)) + 0.5 * b * (1 - tanh(u) * tanh(u)) * du);
    case TLVI_BIN_QUICK_GELU_GRAD:
        s = sigmoid64(1.702 * b);
        return a * (s + 1.702 * b * s * (1 - s));
    case TLVI_BIN_ABS_GRAD: return a * ((b > 0) - (b < 0));
    case TLVI_BIN_CLAMP_GRAD: return b >= p && b <= q ? a : 0;
    default: return NAN;
    }
}

/* Values at kinks among them; both types against f64 formulas. */
static void test_binary(void)
{
    const tlvi_kernels *k[MAX_ISAS];
    static const double kinks[] = { 0, 6, -3, 3, 20, -1.5, 1.5, 0.25 };
    enum { N = 211 };
    double a[N], b[N], y[N];
    float af[N], bf[N], yf[N];
    uint64_t s = 3;
    for (int i = 0; i < N; i++) {
        a[i] = af[i] = (float)uniform(&s, -2, 2);
        b[i] = bf[i] = (float)(i < 8 ? kinks[i] : uniform(&s, -8, 8));
    }
    int n = all_isas(k);
    for (int j = 0; j < n; j++)
        for (int id = 0; id < TLVI_BIN_COUNT; id++) {
            k[j]->f64->binary[id](N, a, b, y, -1.5, 1.5);
            k[j]->f32->binary[id](N, af, bf, yf, -1.5, 1.5);
            double off = 0, off_f = 0;
            for (int i = 0; i < N; i++) {
                double want = binary64(id, a[i], b[i], -1.5, 1.5);
                if (isnan(want) && isnan(y[i]) && isnan(yf[i])) continue;
                double scale = fmax(fabs(want), 1);
                off = fmax(off, isnan(y[i]) ? 1 : fabs(y[i] - want) / scale);
                off_f = fmax(off_f, isnan(yf[i]) ? 1 : fabs(yf[i] - want) / scale);
            }
            EXPECT(off <= 1e-14, "%s f64 binary %d: off by %g", k[j]->name, id, off);
            EXPECT(off_f <= 2e-6, "%s f32 binary %d: off by %g", k[j]->name, id, off_f);
        }
}

static void test_nan_in_max_and_min(void)
{
    const tlvi_kernels *k[MAX_ISAS];
    const float a[3] = { NAN, 1, NAN }, b[3] = { 1, NAN, NAN };
    int n = all_isas(k);
    for (int j = 0; j < n; j++)
        for (int id = TLVI_BIN_MAX; id <= TLVI_BIN_MIN; id++) {
            float y[3] = { 0 };
            k[j]->f32->binary[id](3, a, b, y, 0, 0);
            EXPECT(isnan(y[0]) && isnan(y[1]) && isnan(y[2]), "%s %d: %g %g %g", k[j]->name, id,
                   y[0], y[1], y[2]);
        }
}

/* f64 sets agree with the formulas, too; all unary kernels. */
static void test_f64_unary(void)
{
    const tlvi_kernels *k[MAX_ISAS];
    enum { N = 131 };
    double x[N], y[N];
    uint64_t s = 9;
    for (int i = 0; i < N; i++) x[i] = i < 5 ? i * 0.5 - 1 : uniform(&s, -9, 9);
    int n = all_isas(k);
    for (int j = 0; j < n; j++)
        for (int q = 0; q < N_BOUNDS; q++) {
            const bound *b = &BOUNDS[q];
            double off = 0;
            k[j]->f64->unary[b->id](N, x, y, b->a, b->b);
            for (int i = 0; i < N; i++) {
                double want = unary64(b->id, x[i], b->a, b->b);
                if (isnan(want) ? isnan(y[i]) : y[i] == want) continue;
                off = fmax(off, isnan(y[i]) ? 1 : fabs(y[i] - want) / fmax(fabs(want), 1));
            }
            EXPECT(off <= 1e-14, "%s f64 unary %d: off by %g", k[j]->name, b->id, off);
        }
}

/* ---- tails ----------------------------------------------------------------------------------- */

/* Runs kernel `id` on n elements from a buffer at an odd place: nothing outside changes, and every
 * element is what it is alone. */
static void check_tail(const tlvi_kset *s, const char *name, int binary, int id, size_t n,
                       size_t at)
{
    enum { ROOM = 96 };
    float a[ROOM], b[ROOM], y[ROOM], alone[ROOM];
    uint64_t seed = 5;
    for (int i = 0; i < ROOM; i++) {
        a[i] = (float)uniform(&seed, 0.1, 4);
        b[i] = (float)uniform(&seed, -4, 4);
        y[i] = float_of(0x7f123456);
    }
    if (binary) s->binary[id](n, a + at, b + at, y + at, 0.5, 1.5);
    else s->unary[id](n, b + at, y + at, 0.5, 1.5);
    int outside = 0, changed = 0;
    for (size_t i = 0; i < ROOM; i++) {
        if (i < at || i >= at + n) { outside += bits_of(y[i]) != 0x7f123456; continue; }
        if (binary) s->binary[id](1, a + i, b + i, alone + i, 0.5, 1.5);
        else s->unary[id](1, b + i, alone + i, 0.5, 1.5);
        changed += memcmp(y + i, alone + i, sizeof *y) != 0;
    }
    EXPECT(!outside && !changed, "%s %s %d, n = %d at %d: %d written outside, %d differ from n = 1",
           name, binary ? "binary" : "unary", id, (int)n, (int)at, outside, changed);
}

static void test_tails(void)
{
    const tlvi_kernels *k[MAX_ISAS];
    int n_isas = all_isas(k);
    for (int j = 0; j < n_isas; j++)
        for (size_t n = 0; n <= 67; n++) {
            for (int id = 0; id < TLVI_UN_COUNT; id++)
                check_tail(k[j]->f32, k[j]->name, 0, id, n, n % 5);
            for (int id = 0; id < TLVI_BIN_COUNT; id++)
                check_tail(k[j]->f32, k[j]->name, 1, id, n, n % 5);
        }
}

/* Masked lanes touch no memory: arrays that end where the heap block ends (the sanitizers
 * judge). */
static void test_reads_stay_inside(void)
{
    const tlvi_kernels *k[MAX_ISAS];
    int n_isas = all_isas(k);
    for (int j = 0; j < n_isas; j++)
        for (size_t n = 1; n <= 67; n++) {
            float *x = malloc(n * sizeof *x), *y = malloc(n * sizeof *y);
            REQUIRE(x && y, "no memory");
            k[j]->f32->fill(n, 2, x);
            k[j]->f32->fill(n, 3, y);
            k[j]->f32->axpy(n, 2, x, y);
            double want = 14.0 * (double)n;
            EXPECT(k[j]->f32->dot(n, x, y) == want, "%s: dot of %d", k[j]->name, (int)n);
            EXPECT(k[j]->f32->row_sum(n, y) == 7.0 * (double)n, "%s: sum of %d", k[j]->name,
                   (int)n);
            EXPECT(k[j]->f32->row_max(n, y) == 7, "%s: max of %d", k[j]->name, (int)n);
            free(x);
            free(y);
        }
}

/* ---- compare, select ------------------------------------------------------------------------- */

static void test_compare_and_select(void)
{
    const tlvi_kernels *k[MAX_ISAS];
    enum { N = 75 };
    float a[N], b[N], y[N];
    uint64_t s = 1;
    for (int i = 0; i < N; i++) {
        a[i] = (float)(next_random(&s) >> 30);
        b[i] = i % 11 ? (float)(next_random(&s) >> 30) : NAN;
    }
    int n = all_isas(k), wrong = 0;
    for (int j = 0; j < n; j++)
        for (int op = 0; op < TLVI_CMP_COUNT; op++) {
            uint8_t m[N + 1];
            m[N] = 77;
            k[j]->f32->compare(op, N, a, b, m);
            k[j]->f32->select(N, m, a, b, y);
            for (int i = 0; i < N; i++) {
                int want = op == TLVI_CMP_EQ ? a[i] == b[i] : op == TLVI_CMP_NE ? a[i] != b[i]
                         : op == TLVI_CMP_LT ? a[i] < b[i] : op == TLVI_CMP_LE ? a[i] <= b[i]
                         : op == TLVI_CMP_GT ? a[i] > b[i] : a[i] >= b[i];
                wrong += m[i] != want || bits_of(y[i]) != bits_of(want ? a[i] : b[i]);
            }
            EXPECT(!wrong && m[N] == 77, "%s compare %d: %d wrong", k[j]->name, op, wrong);
        }
}

/* ---- conversions ----------------------------------------------------------------------------- */

/* The value of a binary16, from its definition. */
static double half_value(uint16_t h)
{
    int e = h >> 10 & 31, m = h & 1023;
    double v = e == 31 ? (m ? NAN : INFINITY) : e ? ldexp(1024 + m, e - 25) : ldexp(m, -24);
    return h >> 15 ? -v : v;
}

static void test_half_both_ways(void)
{
    const tlvi_kernels *k[MAX_ISAS];
    static uint16_t h[65536], back[65536];
    static float x[65536];
    static double xd[65536];
    int n = all_isas(k);
    for (int i = 0; i < 65536; i++) h[i] = (uint16_t)i;
    for (int j = 0; j < n; j++) {
        int wrong = 0, changed = 0;
        k[j]->f32->from_f16(65536, h, x);
        k[j]->f64->from_f16(65536, h, xd);
        k[j]->f32->to_f16(65536, x, back);
        for (int i = 0; i < 65536; i++) {
            double want = half_value(h[i]);
            wrong += isnan(want) ? !isnan(x[i]) || !isnan(xd[i]) : x[i] != want || xd[i] != want;
            changed += isnan(want) ? !isnan(half_value(back[i])) : back[i] != h[i];
        }
        EXPECT(!wrong && !changed, "%s: %d of 65536 halves read wrong, %d came back changed",
               k[j]->name, wrong, changed);
    }
}

/* Nearest with ties to even, found by search over the sorted positive halves (or bf16s). */
static double nearest16(double x, double (*value)(uint16_t), uint16_t inf)
{
    double a = fabs(x);
    int lo = 0, hi = inf;                                       // value(lo) <= a < value(hi)
    if (isnan(x)) return x;
    while (hi - lo > 1) {
        int mid = (lo + hi) / 2;
        if (value((uint16_t)mid) <= a) lo = mid;
        else hi = mid;
    }
    // infinity stands where the next value would be
    double below = value((uint16_t)lo), step = below - value((uint16_t)(lo ? lo - 1 : 0));
    double above = hi == inf ? below + step : value((uint16_t)hi), r;
    if (a - below < above - a) r = below;
    else if (a - below > above - a) r = above;
    else r = lo % 2 ? above : below;
    if (hi == inf && r == above) r = INFINITY;
    return signbit(x) ? -r : r;
}

static double bf16_value(uint16_t h) { return float_of((uint32_t)h << 16); }

static void check_narrow(const tlvi_kernels *k, int f64, int bf16, double x)
{
    uint16_t got = 0;
    float xf = (float)x;
    if (!f64) x = xf;
    const tlvi_kset *s = f64 ? k->f64 : k->f32;
    const void *from = f64 ? (const void *)&x : (const void *)&xf;
    if (bf16) s->to_bf16(1, from, &got);
    else s->to_f16(1, from, &got);
    double want = nearest16(x, bf16 ? bf16_value : half_value, bf16 ? 0x7f80 : 0x7c00);
    double v = bf16 ? bf16_value(got) : half_value(got);
    EXPECT(isnan(want) ? isnan(v) : v == want && signbit(v) == signbit(want),
           "%s %s to %s: %.17g became %.9g, nearest is %.9g", k->name, f64 ? "f64" : "f32",
           bf16 ? "bf16" : "f16", x, v, want);
}

static void test_rounding_to_16_bits(void)
{
    const tlvi_kernels *k[MAX_ISAS];
    int n = all_isas(k);
    for (int j = 0; j < n; j++) {
        uint64_t s = 21;
        for (int i = 0; i < 3000; i++) {
            // random magnitudes, and points exactly between two 16-bit values or next to such
            double mag = exp(uniform(&s, -25, 13)),
                   tie = half_value((uint16_t)(next_random(&s) % 0x7bff));
            double half_step = ldexp(1, (tie ? ilogb(tie) : -15) - 11),
                   x = i % 2 ? mag : tie + half_step;
            if (i % 2 == 0 && i % 3) x *= 1 + (i % 3 == 1 ? 1e-7 : -1e-7);
            if (i % 6 == 4) x *= 1 + 1e-12;                     // only f64 sees this one
            for (int f64 = 0; f64 < 2; f64++)
                for (int bf16 = 0; bf16 < 2; bf16++) check_narrow(k[j], f64, bf16, i % 5 ? x : -x);
        }
        const double edge[] = {
            65519.99, 65520, 65504,    1e39,          3.3961e38,          3.4e38,        0,
            -0.0,     NAN,   INFINITY, ldexp(1, -25), ldexp(1.0001, -25), ldexp(1, -24), 6.1e-5
        };
        for (size_t i = 0; i < sizeof edge / sizeof edge[0]; i++)
            for (int f64 = 0; f64 < 2; f64++)
                for (int bf16 = 0; bf16 < 2; bf16++) check_narrow(k[j], f64, bf16, edge[i]);
    }
}

static void test_integers_saturate(void)
{
    const tlvi_kernels *k[MAX_ISAS];
    enum { N = 12 };
    const float x[N] = { 0.9f,   -0.9f, 254.7f,        256,           -3, 3e9f, -3e9f, 1e19f,
                         -1e19f, NAN,   2147483648.0f, -2147483648.0f };
    const int32_t i32[N] = { 0, 0, 254, 256, -3, INT32_MAX, INT32_MIN, INT32_MAX, INT32_MIN, 0,
                             INT32_MAX, INT32_MIN };
    const int64_t i64[N] = { 0, 0, 254, 256, -3, 3000000000, -3000000000, INT64_MAX, INT64_MIN, 0,
                             2147483648, -2147483648LL };
    const uint8_t u8[N] = { 0, 0, 254, 255, 0, 255, 0, 255, 0, 0, 255, 0 };
    int n = all_isas(k);
    for (int j = 0; j < n; j++)
        for (int f64 = 0; f64 < 2; f64++) {
            const tlvi_kset *s = f64 ? k[j]->f64 : k[j]->f32;
            double xd[N], back[N];
            float bf[N];
            int32_t a[N];
            int64_t b[N];
            uint8_t c[N];
            k[j]->f32->to_f64(N, x, xd);
            const void *from = f64 ? (const void *)xd : (const void *)x;
            s->to_i32(N, from, a);
            s->to_i64(N, from, b);
            s->to_u8(N, from, c);
            EXPECT(!memcmp(a, i32, sizeof a), "%s f64 %d: to i32", k[j]->name, f64);
            EXPECT(!memcmp(b, i64, sizeof b), "%s f64 %d: to i64", k[j]->name, f64);
            EXPECT(!memcmp(c, u8, sizeof c), "%s f64 %d: to u8", k[j]->name, f64);
            s->from_i32(N, i32, f64 ? (void *)back : (void *)bf);
            int wrong = 0;
            for (int i = 0; i < N; i++) wrong += f64 ? back[i] != i32[i] : bf[i] != (float)i32[i];
            s->from_u8(N, u8, f64 ? (void *)back : (void *)bf);
            for (int i = 0; i < N; i++) wrong += (f64 ? back[i] : bf[i]) != u8[i];
            s->from_i64(N, i64, f64 ? (void *)back : (void *)bf);
            for (int i = 0; i < N; i++)
                wrong += f64 ? back[i] != (double)i64[i] : bf[i] != (float)i64[i];
            EXPECT(!wrong, "%s f64 %d: from integers", k[j]->name, f64);
        }
}

/* ---- reductions ------------------------------------------------------------------------------ */

static void test_sums(void)
{
    const tlvi_kernels *k[MAX_ISAS];
    enum { N = 5003 };
    static float a[N], b[N];
    uint64_t s = 13;
    for (int i = 0; i < N; i++) {
        a[i] = (float)uniform(&s, -1, 1);
        b[i] = (float)uniform(&s, 0, 1);
    }
    int n_isas = all_isas(k);
    for (int j = 0; j < n_isas; j++)
        for (int n = 0; n <= N; n += n < 300 ? 1 : 941) {
            double sum = 0, size = 0, dot = 0, dev = 0;
            for (int i = 0; i < n; i++) {
                sum += a[i];
                size += fabs(a[i]);
                dot += (double)a[i] * b[i];
                dev += ((double)b[i] - 0.5) * ((double)b[i] - 0.5);
            }
            double tol = 2e-7 * size + 1e-30;
            EXPECT_CLOSE(k[j]->f32->row_sum((size_t)n, a), sum, 0, tol);
            EXPECT_CLOSE(k[j]->f32->dot((size_t)n, a, b), dot, 0, tol);
            EXPECT_CLOSE(k[j]->f32->row_sum_sq_dev((size_t)n, b, 0.5), dev, 4e-7, 1e-30);
        }
}

/* A million equal terms: f32 sums in one run would be off by a thousandth. */
static void test_long_sum_is_exact_enough(void)
{
    const tlvi_kernels *k[MAX_ISAS];
    enum { N = 1 << 20 };
    float *x = malloc(N * sizeof *x), acc[3] = { 0 };
    REQUIRE(x, "no memory");
    for (int i = 0; i < N; i++) x[i] = 0.1f;
    int n = all_isas(k);
    for (int j = 0; j < n; j++) {
        EXPECT_CLOSE(k[j]->f32->row_sum(N, x), N * (double)0.1f, 1e-6, 0);
        memset(acc, 0, sizeof acc);
        k[j]->f32->add_rows(N / 3, 3, 3, x, acc);
        for (int i = 0; i < 3; i++) EXPECT_CLOSE(acc[i], N / 3 * (double)0.1f, 2e-6, 0);
    }
    free(x);
}

static void test_extremes(void)
{
    const tlvi_kernels *k[MAX_ISAS];
    float x[70];
    int n_isas = all_isas(k);
    for (int j = 0; j < n_isas; j++) {
        const tlvi_kset *s = k[j]->f32;
        EXPECT(s->row_max(0, x) == -INFINITY && s->row_min(0, x) == INFINITY, "%s: n = 0",
               k[j]->name);
        for (int n = 1; n <= 70; n++)
            for (int at = 0; at < n; at++) {
                for (int i = 0; i < n; i++) x[i] = -5 - (float)i;
                x[at] = -1;
                double max = s->row_max((size_t)n, x);
                for (int i = 0; i < n; i++) x[i] = 5 + (float)i;
                x[at] = 1;
                double min = s->row_min((size_t)n, x);
                x[at] = NAN;
                int nan = isnan(s->row_max((size_t)n, x)) && isnan(s->row_min((size_t)n, x));
                EXPECT(max == -1 && min == 1 && nan,
                       "%s: n = %d at %d: max %g, min %g, NaN kept %d", k[j]->name, n, at, max, min,
                       nan);
            }
    }
}

static void test_add_rows(void)
{
    const tlvi_kernels *k[MAX_ISAS];
    enum { ROWS = 150, COLS = 90, STRIDE = 93 };
    static float x[ROWS * STRIDE];
    float acc[COLS + 1];
    uint64_t s = 17;
    for (int i = 0; i < ROWS * STRIDE; i++) x[i] = (float)uniform(&s, -1, 1);
    int n_isas = all_isas(k);
    for (int j = 0; j < n_isas; j++)
        for (int cols = 0; cols <= COLS; cols += cols < 70 ? 1 : 20) {
            for (int i = 0; i <= COLS; i++) acc[i] = 2;
            k[j]->f32->add_rows(ROWS, (size_t)cols, STRIDE, x, acc);
            double off = 0;
            for (int c = 0; c < cols; c++) {
                double want = 2;
                for (int r = 0; r < ROWS; r++) want += x[r * STRIDE + c];
                off = fmax(off, fabs(acc[c] - want));
            }
            EXPECT(off < 1e-5 && acc[cols] == 2, "%s: %d columns: off by %g, next is %g",
                   k[j]->name, cols, off, acc[cols]);
        }
}

/* The gradient of a maximum gathers what points to its place, whatever the number of channels. */
static void test_pool_max_dx(void)
{
    enum { N = 71, H = 3, ROW = 2 * N + 5, PLACE = 4 };
    const tlvi_kernels *k[MAX_ISAS];
    int n_isa = all_isas(k);
    int32_t index[H * ROW];
    float g[H * ROW], dx[N + 1];
    uint64_t seed = 3;
    for (int i = 0; i < H * ROW; i++) {
        index[i] = (int32_t)(next_random(&seed) % 3) + PLACE - 1;
        g[i] = (float)uniform(&seed, -1, 1);
    }
    for (int s = 0; s < n_isa; s++)
        for (int n = 1; n <= N; n++) {
            double off = 0;
            dx[n] = 99;
            k[s]->f32->pool_max_dx((size_t)n, H, 2, ROW, N, index, g, PLACE, dx);
            for (int c = 0; c < n; c++) {
                double want = 0;
                for (int i = 0; i < H; i++)
                    for (int at = i * ROW + c; at <= i * ROW + c + N; at += N)
                        if (index[at] == PLACE) want += g[at];
                off = fmax(off, fabs(dx[c] - want));
            }
            EXPECT(off < 1e-6, "%s, %d channels: off by %g", k[s]->name, n, off);
            EXPECT(dx[n] == 99, "%s, %d channels: one more was written", k[s]->name, n);
        }
}

static void test_transpose(void)
{
    const tlvi_kernels *k[MAX_ISAS];
    enum { ROOM = 40 * 41 };
    float x[ROOM], y[ROOM];
    double xd[ROOM], yd[ROOM];
    for (int i = 0; i < ROOM; i++) xd[i] = x[i] = (float)i;
    int n_isas = all_isas(k);
    for (int j = 0; j < n_isas; j++)
        for (int rows = 0; rows <= 37; rows += 1 + rows / 5)
            for (int cols = 0; cols <= 37; cols++) {
                for (int i = 0; i < ROOM; i++) yd[i] = y[i] = -1;
                k[j]->f32->transpose((size_t)rows, (size_t)cols, x, 41, y, 39);
                k[j]->f64->transpose((size_t)rows, (size_t)cols, xd, 41, yd, 39);
                int wrong = 0;
                for (int i = 0; i < 40; i++)
                    for (int c = 0; c < 39; c++) {
                        float want = i < cols && c < rows ? x[c * 41 + i] : -1;
                        wrong += y[i * 39 + c] != want || yd[i * 39 + c] != want;
                    }
                EXPECT(!wrong, "%s: %dx%d: %d wrong", k[j]->name, rows, cols, wrong);
            }
}

TEST_MAIN(T(test_sets), T(test_accuracy), T(test_special_values), T(test_pow_is_cs_pow),
          T(test_binary), T(test_nan_in_max_and_min), T(test_f64_unary), T(test_tails),
          T(test_reads_stay_inside), T(test_compare_and_select), T(test_half_both_ways),
          T(test_rounding_to_16_bits), T(test_integers_saturate), T(test_sums),
          T(test_long_sum_is_exact_enough), T(test_extremes), T(test_add_rows), T(test_pool_max_dx),
          T(test_transpose))
