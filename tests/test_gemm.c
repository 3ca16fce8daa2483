/* test_gemm.c -- products against a naive sum in f64, and the promise that an element's bits depend
 * on the instruction set and k alone. */
#include "tests/test.h"
#include "tensor/gemm.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- contexts, numbers ----------------------------------------------------------------------- */

enum { MAX_ISAS = 4 };

static int isa_names(char names[MAX_ISAS][16])
{
    char list[64];
    int n = 0;
    snprintf(list, sizeof list, "%s", tlvi_isa_list());
    for (char *s = strtok(list, " "); s && n < MAX_ISAS; s = strtok(NULL, " "))
        snprintf(names[n++], 16, "%s", s);
    return n;
}

static tlv_ctx *open_isa(const char *isa, int threads)
{
    tlv_ctx *c = tlv_ctx_open(&(tlv_ctx_opts){ .isa = isa, .threads = threads });
    EXPECT(c && tlv_error(c) == TLV_OK, "%s: no context", isa);
    return c;
}

static double random_value(uint64_t *s)
{
    *s = *s * 6364136223846793005u + 1442695040888963407u;
    return (float)((double)(*s >> 40) / (1 << 23) - 1);
}

/* Arrays of one dtype, with room for any strides used here. */
typedef struct matrix { int f64; int64_t n; void *p; } matrix;

static matrix new_matrix(int f64, int64_t n, uint64_t seed)
{
    matrix m = { f64, n, malloc((size_t)(n + 1) * (f64 ? 8 : 4)) };
    for (int64_t i = 0; m.p && i < n; i++) {
        double v = random_value(&seed);
        if (f64) ((double *)m.p)[i] = v;
        else ((float *)m.p)[i] = (float)v;
    }
    return m;
}

static double at(const matrix *m, int64_t i)
{
    return m->f64 ? ((double *)m->p)[i] : ((float *)m->p)[i];
}

static int same_bits(const matrix *a, int64_t i, const matrix *b, int64_t j)
{
    size_t size = a->f64 ? 8 : 4;
    return memcmp((char *)a->p + (size_t)i * size, (char *)b->p + (size_t)j * size, size) == 0;
}

/* How an operand of rows x cols lies: by rows, by columns, rows with a pitch, every second
 * element. */
typedef enum layout { BY_ROWS, BY_COLS, PITCHED, SPARSE, LAYOUTS } layout;

static void strides(layout l, int64_t rows, int64_t cols, int64_t *rs, int64_t *cs)
{
    *rs = l == BY_ROWS ? cols : l == BY_COLS ? 1 : l == PITCHED ? cols + 5 : 2 * cols + 1;
    *cs = l == BY_COLS ? rows : l == SPARSE ? 2 : 1;
}

/* ---- against the naive sum ------------------------------------------------------------------- */

typedef struct shape { int64_t m, n, k; } shape;

/* Sizes around tiles and blocks: one row, wide tiles, tails of rows, columns and k, several blocks
 * of k. */
static const shape SHAPES[] = {
    { 1, 1, 1 },     { 5, 5, 5 },      { 1, 200, 300 }, { 3, 70, 500 },  { 14, 32, 64 },
    { 15, 31, 400 }, { 40, 10, 3 },    { 64, 64, 64 },  { 33, 1, 700 },  { 120, 17, 50 },
    { 6, 64, 10 },   { 2, 129, 20 },   { 16, 48, 385 }, { 29, 97, 131 }, { 61, 33, 1601 },
    { 130, 90, 40 }, { 5, 100, 1000 }, { 7, 4, 2 },
};
enum { N_SHAPES = sizeof SHAPES / sizeof SHAPES[0] };

static double naive(const tlvi_gemm_job *j, const matrix *a, const matrix *b, int64_t i,
                    int64_t col)
{
    double sum = 0;
    for (int64_t p = 0; p < j->k; p++)
        sum += at(a, i * j->rsa + p * j->csa) * at(b, p * j->rsb + col * j->csb);
    return sum;
}

/* k roundings of partial sums of about sqrt(k) / 3, which add up like a random walk to about k / 7
 * units in the last place of 1; the worst of thousands of elements is several times that. */
static double tolerance(int f64, int64_t k)
{
    return (f64 ? 1.2e-16 : 6e-8) * (4 + 2 * (double)k);
}

static void check_product(tlv_ctx *c, int f64, shape s, layout la, layout lb, int add)
{
    matrix a = new_matrix(f64, 2 * s.m * s.k + 5 * s.m + s.k + 8, 1);
    matrix b = new_matrix(f64, 2 * s.k * s.n + 5 * s.k + s.n + 8, 2);
    matrix y = new_matrix(f64, s.m * (s.n + 3), 3), before = new_matrix(f64, s.m * (s.n + 3), 3);
    tlvi_gemm_job j = { .dtype = f64 ? TLV_F64 : TLV_F32, .m = s.m, .n = s.n, .k = s.k, .a = a.p,
                        .b = b.p, .c = y.p, .ldc = s.n + 3, .accumulate = add };
    strides(la, s.m, s.k, &j.rsa, &j.csa);
    strides(lb, s.k, s.n, &j.rsb, &j.csb);
    EXPECT_STATUS(tlvi_gemm(c, &j), TLV_OK);
    double worst = 0;
    int outside = 0;
    for (int64_t i = 0; i < s.m; i++)
        for (int64_t col = 0; col < s.n + 3; col++) {
            int64_t e = i * j.ldc + col;
            if (col >= s.n) { outside += !same_bits(&y, e, &before, e); continue; }
            double want = naive(&j, &a, &b, i, col) + (add ? at(&before, e) : 0);
            double off = fabs(at(&y, e) - want);
            if (!(off <= worst)) worst = off;
        }
    EXPECT(worst <= tolerance(f64, s.k) && !outside,
           "%s f64 %d: %dx%dx%d, layouts %d %d, add %d: off by %g, %d outside", tlv_isa(c), f64,
           (int)s.m, (int)s.n, (int)s.k, la, lb, add, worst, outside);
    free(a.p);
    free(b.p);
    free(y.p);
    free(before.p);
}

static void test_products(void)
{
    char isa[MAX_ISAS][16];
    int n = isa_names(isa);
    for (int i = 0; i < n; i++) {
        tlv_ctx *c = open_isa(isa[i], 2);
        for (int s = 0; s < N_SHAPES; s++)
            for (int v = 0; v < LAYOUTS * LAYOUTS; v++)
                for (int f64 = 0; f64 < 2; f64++)
                    check_product(c, f64, SHAPES[s], v / LAYOUTS, v % LAYOUTS, (s + v + f64) % 2);
        tlv_ctx_close(c);
    }
}

static void test_empty_sizes(void)
{
    tlv_ctx *c = open_isa(NULL, 1);
    float y[4] = { 1, 2, 3, 4 }, a[4] = { 0 }, bias[2] = { 10, 20 };
    tlvi_gemm_job j = { .m = 2,
                        .n = 2,
                        .k = 0,
                        .a = a,
                        .rsa = 1,
                        .csa = 1,
                        .b = a,
                        .rsb = 2,
                        .csb = 1,
                        .c = y,
                        .ldc = 2,
                        .accumulate = 1 };
    EXPECT_STATUS(tlvi_gemm(c, &j), TLV_OK);
    EXPECT(y[0] == 1 && y[3] == 4, "an empty sum added %g %g", y[0] - 1, y[3] - 4);
    j.accumulate = 0;
    j.bias = bias;
    EXPECT_STATUS(tlvi_gemm(c, &j), TLV_OK);
    EXPECT(y[0] == 10 && y[1] == 20 && y[2] == 10 && y[3] == 20, "empty sum plus bias");
    j.m = 0;
    y[0] = 5;
    EXPECT_STATUS(tlvi_gemm(c, &j), TLV_OK);
    EXPECT_STATUS(tlvi_gemm_batched(c, &j, 3, 0, 0, 4), TLV_OK);
    EXPECT(y[0] == 5, "no rows, but something was written");
    tlv_ctx_close(c);
}

/* ---- bits ------------------------------------------------------------------------------------ */

static void pack_a_from(const void *user, int64_t row0, int rows, int64_t k0, int64_t kc, int ld,
                        void *dst)
{
    const tlvi_gemm_job *j = user;
    for (int64_t p = 0; p < kc; p++)
        for (int r = 0; r < rows; r++)
            ((float *)dst)[p * ld + r] =
                ((const float *)j->a)[(row0 + r) * j->rsa + (k0 + p) * j->csa];
}

static void pack_b_from(const void *user, int64_t col0, int cols, int64_t k0, int64_t kc, int ld,
                        void *dst)
{
    const tlvi_gemm_job *j = user;
    for (int64_t p = 0; p < kc; p++)
        for (int i = 0; i < ld; i++)
            ((float *)dst)[p * ld + i] =
                i < cols ? ((const float *)j->b)[(k0 + p) * j->rsb + (col0 + i) * j->csb] : 0;
}

/* Runs j into y and counts the elements of the part [row, row+m) x [col, col+n) of `want` that
 * differ. */
static int differing(tlv_ctx *c, tlvi_gemm_job j, const matrix *want, int64_t want_ld, int64_t row,
                     int64_t col)
{
    matrix y = new_matrix(want->f64, j.m * j.n, 99);
    int wrong = 0;
    j.c = y.p;
    j.ldc = j.n;
    EXPECT_STATUS(tlvi_gemm(c, &j), TLV_OK);
    for (int64_t i = 0; i < j.m; i++)
        for (int64_t e = 0; e < j.n; e++)
            wrong += !same_bits(&y, i * j.n + e, want, (row + i) * want_ld + col + e);
    free(y.p);
    return wrong;
}

/* One product in many ways: threads, strides, callbacks, parts of it. */
static void check_bits(const char *isa, int f64, int64_t m, int64_t n, int64_t k)
{
    tlv_ctx *one = open_isa(isa, 1), *two = open_isa(isa, 2), *three = open_isa(isa, 3);
    int dtype = f64 ? TLV_F64 : TLV_F32;
    const tlvi_kset *ks = tlvi_ks(one, dtype);
    size_t size = f64 ? 8 : 4;
    matrix a = new_matrix(f64, m * k, 1), b = new_matrix(f64, k * n, 2),
           y = new_matrix(f64, m * n, 3);
    matrix at_ = new_matrix(f64, m * k, 4), bt = new_matrix(f64, k * n, 5);
    ks->transpose((size_t)m, (size_t)k, a.p, k, at_.p, m);
    ks->transpose((size_t)k, (size_t)n, b.p, n, bt.p, k);
    tlvi_gemm_job j = { .dtype = dtype,
                        .m = m,
                        .n = n,
                        .k = k,
                        .a = a.p,
                        .rsa = k,
                        .csa = 1,
                        .b = b.p,
                        .rsb = n,
                        .csb = 1,
                        .c = y.p,
                        .ldc = n };
    EXPECT_STATUS(tlvi_gemm(one, &j), TLV_OK);

    int threads = differing(two, j, &y, n, 0, 0) + differing(three, j, &y, n, 0, 0);
    tlvi_gemm_job t = j;
    t.a = at_.p;
    t.rsa = 1;
    t.csa = m;
    int strided = differing(two, t, &y, n, 0, 0);
    t.b = bt.p;
    t.rsb = 1;
    t.csb = k;
    strided += differing(one, t, &y, n, 0, 0);

    int packed = 0;
    if (!f64) {
        tlvi_gemm_job p = j;
        p.pack_user = &j;
        p.pack_a = pack_a_from;
        packed += differing(two, p, &y, n, 0, 0);
        p.pack_b = pack_b_from;
        packed += differing(one, p, &y, n, 0, 0);
        p.pack_a = NULL;
        packed += differing(two, p, &y, n, 0, 0);
    }

    int parts = 0;
    for (int64_t row = 0; row < m; row += 1 + m / 3)
        for (int64_t col = 0; col < n; col += 1 + n / 3) {
            tlvi_gemm_job q = j;
            q.a = (char *)a.p + (size_t)(row * k) * size;
            q.b = (char *)b.p + (size_t)col * size;
            q.m = 1;
            q.n = n - col;
            parts += differing(one, q, &y, n, row, col);        // one row
            q.m = m - row < 4 ? m - row : 4;
            parts += differing(two, q, &y, n, row, col);        // a few
            q.n = 1;
            parts += differing(one, q, &y, n, row, col);
        }
    EXPECT(threads + strided + packed + parts == 0,
           "%s f64 %d, %dx%dx%d: differing with threads %d, strides %d, callbacks %d, parts %d",
           isa, f64, (int)m, (int)n, (int)k, threads, strided, packed, parts);
    free(a.p);
    free(b.p);
    free(y.p);
    free(at_.p);
    free(bt.p);
    tlv_ctx_close(one);
    tlv_ctx_close(two);
    tlv_ctx_close(three);
}

static void test_bits_depend_on_isa_and_k_alone(void)
{
    char isa[MAX_ISAS][16];
    int n = isa_names(isa);
    for (int i = 0; i < n; i++)
        for (int f64 = 0; f64 < 2; f64++) {
            check_bits(isa[i], f64, 61, 83, 37);
            check_bits(isa[i], f64, 150, 70, 200);              // blocked, A in place
            check_bits(isa[i], f64, 40, 200, 1000);             // several blocks of k
            check_bits(isa[i], f64, 130, 33, 1024);             // page-sized rows: A is packed
        }
}

/* ---- what follows the sum -------------------------------------------------------------------- */

static void test_bias_residual_activation(void)
{
    char isa[MAX_ISAS][16];
    int n_isas = isa_names(isa);
    const shape sizes[] = { { 3, 9, 7 }, { 30, 70, 20 }, { 100, 300, 90 }, { 9, 40, 900 } };
    for (int i = 0; i < n_isas; i++)
        for (int s = 0; s < 4; s++)
            for (int f64 = 0; f64 < 2; f64++) {
                tlv_ctx *c = open_isa(isa[i], 2);
                int64_t m = sizes[s].m, n = sizes[s].n, k = sizes[s].k;
                matrix a = new_matrix(f64, m * k, 1), b = new_matrix(f64, k * n, 2);
                matrix y = new_matrix(f64, m * n, 3), res = new_matrix(f64, m * (n + 2), 4);
                matrix bias = new_matrix(f64, n, 5);
                tlvi_gemm_job j = { .dtype = f64 ? TLV_F64 : TLV_F32,
                                    .m = m,
                                    .n = n,
                                    .k = k,
                                    .a = a.p,
                                    .rsa = k,
                                    .csa = 1,
                                    .b = b.p,
                                    .rsb = n,
                                    .csb = 1,
                                    .c = y.p,
                                    .ldc = n,
                                    .bias = bias.p,
                                    .residual = res.p,
                                    .ldr = n + 2,
                                    .act = TLVI_UN_LEAKY_RELU,
                                    .act_a = 0.25 };
                EXPECT_STATUS(tlvi_gemm(c, &j), TLV_OK);
                double worst = 0;
                for (int64_t r = 0; r < m; r++)
                    for (int64_t e = 0; e < n; e++) {
                        double x = naive(&j, &a, &b, r, e) + at(&bias, e)
                                   + at(&res, r * (n + 2) + e);
                        double off = fabs(at(&y, r * n + e) - (x > 0 ? x : 0.25 * x));
                        if (!(off <= worst)) worst = off;
                    }
                EXPECT(worst <= tolerance(f64, k), "%s f64 %d size %d: off by %g", isa[i], f64, s,
                       worst);
                free(a.p);
                free(b.p);
                free(y.p);
                free(res.p);
                free(bias.p);
                tlv_ctx_close(c);
            }
}

/* ---- batches --------------------------------------------------------------------------------- */

/* Every product of a batch has the bits it has alone, whatever the size, with b shared or not. */
static void check_batch(tlv_ctx *c, int64_t batch, int64_t m, int64_t n, int64_t k, int shared_b)
{
    matrix a = new_matrix(0, batch * m * k, 1), b = new_matrix(0, batch * k * n, 2);
    matrix y = new_matrix(0, batch * m * n, 3);
    tlvi_gemm_job j = { .m = m, .n = n, .k = k, .a = a.p, .rsa = k, .csa = 1, .b = b.p, .rsb = n,
                        .csb = 1, .c = y.p, .ldc = n };
    int64_t sb = shared_b ? 0 : k * n;
    EXPECT_STATUS(tlvi_gemm_batched(c, &j, batch, m * k, sb, m * n), TLV_OK);
    int wrong = 0;
    for (int64_t i = 0; i < batch; i++) {
        tlvi_gemm_job q = j;
        q.a = (float *)a.p + i * m * k;
        q.b = (float *)b.p + i * sb;
        wrong += differing(c, q, &y, n, i * m, 0);
    }
    EXPECT(!wrong, "%s: batch %d of %dx%dx%d, shared b %d: %d elements differ", tlv_isa(c),
           (int)batch, (int)m, (int)n, (int)k, shared_b, wrong);
    free(a.p);
    free(b.p);
    free(y.p);
}

static void test_batches(void)
{
    char isa[MAX_ISAS][16];
    int n = isa_names(isa);
    for (int i = 0; i < n; i++) {
        tlv_ctx *c = open_isa(isa[i], 2);
        check_batch(c, 1, 20, 20, 20, 0);
        check_batch(c, 300, 5, 7, 9, 0);
        check_batch(c, 7, 65, 40, 64, 1);
        check_batch(c, 9, 12, 100, 300, 0);
        check_batch(c, 3, 260, 256, 255, 0);
        tlv_ctx_close(c);
    }
}

/* ---- memory ---------------------------------------------------------------------------------- */

static void test_no_memory_is_an_error(void)
{
    enum { N = 200 };
    matrix a = new_matrix(0, N * N, 1), y = new_matrix(0, N * N, 2);
    tlv_ctx *c = tlv_ctx_open(&(tlv_ctx_opts){ .threads = 1, .mem_limit = 16 << 10 });
    REQUIRE(c, "no context");
    tlvi_gemm_job j = { .m = N, .n = N, .k = N, .a = a.p, .rsa = 1, .csa = N, .b = a.p, .rsb = 1,
                        .csb = N, .c = y.p, .ldc = N };
    EXPECT_STATUS(tlvi_gemm(c, &j), TLV_ERR_NOMEM);
    EXPECT_STATUS(tlvi_gemm(c, &j), TLV_ERR_NOMEM);
    EXPECT_STATUS(tlvi_gemm_batched(c, &j, 2, 0, 0, 0), TLV_ERR_NOMEM);
    tlv_ctx_close(c);
    free(a.p);
    free(y.p);
}

static void test_scratch_goes_back(void)
{
    tlv_ctx *c = open_isa(NULL, 2);
    check_product(c, 0, (shape){ 150, 150, 150 }, BY_COLS, BY_COLS, 0);     // makes the thread team
    size_t now = tlv_mem_get(c).now;
    check_product(c, 0, (shape){ 61, 90, 1601 }, BY_COLS, BY_COLS, 0);
    check_product(c, 0, (shape){ 3, 300, 1601 }, BY_ROWS, BY_COLS, 0);
    check_batch(c, 9, 12, 100, 300, 0);
    EXPECT(tlv_mem_get(c).now == now, "%d bytes more than before", (int)(tlv_mem_get(c).now - now));
    tlv_ctx_close(c);
}

TEST_MAIN(T(test_products), T(test_empty_sizes), T(test_bits_depend_on_isa_and_k_alone),
          T(test_bias_residual_activation), T(test_batches), T(test_no_memory_is_an_error),
          T(test_scratch_goes_back))
