/* test_elem.c -- element-wise ops where the generic checks do not look: at ties and kinks, with NaN
 * and infinities, and what they refuse. */
#include <math.h>

#include "autograd/autograd.h"
#include "tests/support.h"

typedef tlv_tensor *(*unary_op)(tlv_ctx *c, const tlv_tensor *x);
typedef tlv_tensor *(*binary_op)(tlv_ctx *c, const tlv_tensor *a, const tlv_tensor *b);

static tlv_tensor *vec(tlv_ctx *c, tlv_dtype d, int64_t n, const double *v, int flags)
{
    return support_tensor(c, d, TLV_SHAPE(n), v, flags, SUPPORT_ROW_MAJOR);
}

/* The gradient of sum(op(x)) at x is `want`: f32 and f64, fast and graph path. */
static void expect_slope(const char *name, unary_op op, int64_t n, const double *x,
                         const double *want)
{
    tlv_ctx *c = support_open();
    for (int k = 0; k < 4; k++) {
        tlv_scope s = tlv_scope_begin(c);
        tlv_tensor *t = vec(c, k & 1 ? TLV_F64 : TLV_F32, n, x, TLV_WANT_GRAD), *g = NULL;
        const tlv_tensor *wrt[1] = { t };
        tlv_grad(c, tlv_sum_all(c, op(c, t)), NULL, 1, wrt, &g,
                 TLV_ZEROS | (k & 2 ? TLV_CREATE_GRAPH : 0));
        double got[16] = { 0 };
        if (EXPECT(g != NULL, "%s: %s", name, tlv_error_msg(c)) && support_read(c, g, got, n))
            for (int64_t i = 0; i < n; i++)
                EXPECT(test_is_close(got[i], want[i], 1e-6, 1e-6),
                       "%s'(%g) is %g, want %g (%s, %s path)", name, x[i], got[i], want[i],
                       k & 1 ? "f64" : "f32", k & 2 ? "graph" : "fast");
        tlv_scope_end(c, s);
        tlv_error_clear(c);
    }
    tlv_ctx_close(c);
}
#define EXPECT_SLOPE(op, n, x, want) expect_slope(#op, op, n, x, want)

static tlv_tensor *leaky(tlv_ctx *c, const tlv_tensor *x) { return tlv_leaky_relu(c, x, 0.25); }
static tlv_tensor *clamp(tlv_ctx *c, const tlv_tensor *x) { return tlv_clamp(c, x, -3, 3); }
static tlv_tensor *power0(tlv_ctx *c, const tlv_tensor *x) { return tlv_powf(c, x, 0); }
static tlv_tensor *power2(tlv_ctx *c, const tlv_tensor *x) { return tlv_powf(c, x, 2); }

static void test_slopes_at_kinks(void)
{
    const double x[] = { -3, 0, 3, 6, -1, 7 };
    EXPECT_SLOPE(tlv_relu, 6, x, ((const double[]){ 0, 0, 1, 1, 0, 1 }));
    EXPECT_SLOPE(tlv_relu6, 6, x, ((const double[]){ 0, 0, 1, 0, 0, 0 }));
    EXPECT_SLOPE(tlv_abs, 6, x, ((const double[]){ -1, 0, 1, 1, -1, 1 }));
    EXPECT_SLOPE(leaky, 6, x, ((const double[]){ 0.25, 0.25, 1, 1, 0.25, 1 }));
    EXPECT_SLOPE(clamp, 6, x, ((const double[]){ 1, 1, 1, 0, 1, 0 }));
    EXPECT_SLOPE(tlv_hard_sigmoid, 6, x, ((const double[]){ 0, 1. / 6, 0, 0, 1. / 6, 0 }));
    EXPECT_SLOPE(tlv_hard_swish, 6, x, ((const double[]){ 0, 0.5, 1, 1, 1. / 6, 1 }));
    EXPECT_SLOPE(power0, 6, x, ((const double[]){ 0, 0, 0, 0, 0, 0 }));
    EXPECT_SLOPE(power2, 6, x, ((const double[]){ -6, 0, 6, 12, -2, 14 }));
}

static void test_far_out(void)
{
    const double x[] = { -200, 200, -30, 30 };
    EXPECT_SLOPE(tlv_sigmoid, 2, x, ((const double[]){ 0, 0 }));
    EXPECT_SLOPE(tlv_tanh, 2, x, ((const double[]){ 0, 0 }));
    EXPECT_SLOPE(tlv_silu, 4, x, ((const double[]){ 0, 1, 0, 1 }));
    EXPECT_SLOPE(tlv_softplus, 4, x, ((const double[]){ 0, 1, 0, 1 }));
    EXPECT_SLOPE(tlv_gelu, 4, x, ((const double[]){ 0, 1, 0, 1 }));
    EXPECT_SLOPE(tlv_gelu_tanh, 4, x, ((const double[]){ 0, 1, 0, 1 }));
    EXPECT_SLOPE(tlv_quick_gelu, 4, x, ((const double[]){ 0, 1, 0, 1 }));
}

/* ---- two inputs ------------------------------------------------------------------------------ */

/* Values and both gradients of sum(op(a, b)). */
static void expect_pair(const char *name, binary_op op, int64_t n, const double *a, const double *b,
                        const double *y, const double *da, const double *db)
{
    tlv_ctx *c = support_open();
    for (int k = 0; k < 4; k++) {
        tlv_scope s = tlv_scope_begin(c);
        tlv_dtype d = k & 1 ? TLV_F64 : TLV_F32;
        const tlv_tensor *wrt[2] = { vec(c, d, n, a, TLV_WANT_GRAD),
                                     vec(c, d, n, b, TLV_WANT_GRAD) };
        tlv_tensor *t = op(c, wrt[0], wrt[1]), *g[2] = { NULL, NULL };
        tlv_grad(c, tlv_sum_all(c, t), NULL, 2, wrt, g, TLV_ZEROS | (k & 2 ? TLV_CREATE_GRAPH : 0));
        const tlv_tensor *got[3] = { t, g[0], g[1] };
        const double *want[3] = { y, da, db };
        static const char *const WHAT[3] = { "value", "da", "db" };
        for (int j = 0; j < 3; j++) {
            double v[16] = { 0 };
            if (!EXPECT(got[j] != NULL, "%s: %s", name, tlv_error_msg(c))
                || !support_read(c, got[j], v, n))
                continue;
            for (int64_t i = 0; i < n; i++)
                EXPECT(test_is_close(v[i], want[j][i], 1e-6, 1e-6),
                       "%s of %s(%g, %g) is %g, want %g", WHAT[j], name, a[i], b[i], v[i],
                       want[j][i]);
        }
        tlv_scope_end(c, s);
        tlv_error_clear(c);
    }
    tlv_ctx_close(c);
}

static void test_ties(void)
{
    const double a[] = { 1, 2, 3, -INFINITY }, b[] = { 2, 2, 1, 5 };
    expect_pair("maximum", tlv_maximum, 4, a, b, (const double[]){ 2, 2, 3, 5 },
                (const double[]){ 0, 0.5, 1, 0 }, (const double[]){ 1, 0.5, 0, 1 });
    expect_pair("minimum", tlv_minimum, 4, a, b, (const double[]){ 1, 2, 1, -INFINITY },
                (const double[]){ 1, 0.5, 0, 1 }, (const double[]){ 0, 0.5, 1, 0 });
}

static void test_pow_at_zero(void)
{
    const double a[] = { 0, 0, 0, 2, -2 }, b[] = { 2, 0, 1, 0, 3 };
    expect_pair("pow", tlv_pow, 4, a, b, (const double[]){ 0, 1, 0, 1 },
                (const double[]){ 0, 0, 1, 0 }, (const double[]){ 0, 0, 0, log(2) });
    expect_pair("pow", tlv_pow, 1, a + 4, b + 4, (const double[]){ -8 }, (const double[]){ 12 },
                (const double[]){ NAN });
}

/* d/db of a^b's slope in a, at b = 0, is 1 / a: a mask there would lose it. */
static void test_pow_mixed(void)
{
    tlv_ctx *c = support_open();
    const double two = 2, none = 0;
    const tlv_tensor *a = vec(c, TLV_F64, 1, &two, TLV_WANT_GRAD),
                     *b = vec(c, TLV_F64, 1, &none, TLV_WANT_GRAD);
    tlv_tensor *da = NULL, *db = NULL;
    tlv_grad(c, tlv_sum_all(c, tlv_pow(c, a, b)), NULL, 1, &a, &da, TLV_CREATE_GRAPH);
    tlv_grad(c, tlv_sum_all(c, da), NULL, 1, &b, &db, 0);
    EXPECT_OK(c);
    EXPECT_CLOSE(tlv_item(c, db), 0.5, 1e-12, 0);
    tlv_ctx_close(c);
}

static void test_nan(void)
{
    tlv_ctx *c = support_open();
    for (tlv_dtype d = TLV_F32; d <= TLV_F64; d++) {
        const double v[] = { NAN, 1, NAN, -0.0 }, w[] = { 1, NAN, NAN, 0.0 };
        tlv_tensor *a = vec(c, d, 4, v, 0), *b = vec(c, d, 4, w, 0);
        EXPECT_VALUES(c, tlv_maximum(c, a, b), 0, NAN, NAN, NAN, 0);
        EXPECT_VALUES(c, tlv_minimum(c, a, b), 0, NAN, NAN, NAN, 0);
        EXPECT_VALUES(c, tlv_eq(c, a, b), 0, 0, 0, 0, 1);
        EXPECT_VALUES(c, tlv_ne(c, a, b), 0, 1, 1, 1, 0);
        EXPECT_VALUES(c, tlv_lt(c, a, b), 0, 0, 0, 0, 0);
        EXPECT_VALUES(c, tlv_le(c, a, b), 0, 0, 0, 0, 1);
        EXPECT_VALUES(c, tlv_gt(c, a, b), 0, 0, 0, 0, 0);
        EXPECT_VALUES(c, tlv_ge(c, a, b), 0, 0, 0, 0, 1);
        EXPECT_VALUES(c, tlv_relu(c, a), 0, NAN, 1, NAN, 0);
        EXPECT_VALUES(c, tlv_clamp(c, a, 0, 1), 0, NAN, 1, NAN, 0);
        const uint8_t yes[] = { 1, 0, 1, 0 };
        tlv_tensor *m = tlv_from_data(c, TLV_U8, TLV_SHAPE(4), yes, 0);
        EXPECT_VALUES(c, tlv_where(c, m, b, a), 0, 1, 1, NAN, 0);
    }
    EXPECT_OK(c);
    tlv_ctx_close(c);
}

static void test_steps(void)
{
    tlv_ctx *c = support_open();
    for (tlv_dtype d = TLV_F32; d <= TLV_F64; d++) {
        const double v[] = { 0.5, 1.5, 2.5, -0.5, -1.5, 2.4999, 8388609, -7.25 };
        tlv_tensor *x = vec(c, d, 8, v, TLV_WANT_GRAD);
        EXPECT_VALUES(c, tlv_round(c, x), 0, 0, 2, 2, 0, -2, 2, 8388609, -7);
        EXPECT_VALUES(c, tlv_floor(c, x), 0, 0, 1, 2, -1, -2, 2, 8388609, -8);
        EXPECT_VALUES(c, tlv_sign(c, x), 0, 1, 1, 1, -1, -1, 1, 1, -1);
        EXPECT(!tlv_wants_grad(tlv_round(c, x)), "round is recorded");
        EXPECT(!tlv_wants_grad(tlv_gt(c, x, x)), "gt is recorded");
    }
    EXPECT_OK(c);
    tlv_ctx_close(c);
}

/* ---- what is refused ------------------------------------------------------------------------- */

static void test_refused(void)
{
    tlv_ctx *c = support_open();
    const double v[] = { 1, 2, 3, 4 };
    tlv_tensor *x = vec(c, TLV_F32, 4, v, 0), *d = vec(c, TLV_F64, 4, v, 0),
               *i = vec(c, TLV_I32, 4, v, 0);
    tlv_tensor *three = vec(c, TLV_F32, 3, v, 0), *m = vec(c, TLV_U8, 4, v, 0);
    EXPECT(!tlv_sqrt(c, i), "sqrt of i32");
    EXPECT_ERROR(c, TLV_ERR_DTYPE, "sqrt: takes f32 or f64, got i32[4]");
    EXPECT(!tlv_relu(c, i), "relu of i32");
    EXPECT_ERROR(c, TLV_ERR_DTYPE, "relu: takes f32 or f64, got i32[4]");
    EXPECT(!tlv_maximum(c, x, d), "mixed");
    EXPECT_ERROR(c, TLV_ERR_DTYPE, "maximum: got f32[4] and f64[4]");
    EXPECT(!tlv_lt(c, x, d), "mixed");
    EXPECT_ERROR(c, TLV_ERR_DTYPE, "lt: got f32[4] and f64[4]");
    EXPECT(!tlv_pow(c, x, three), "shapes");
    EXPECT_ERROR(c, TLV_ERR_SHAPE, "pow: a is [4] but b is [3]");
    EXPECT(!tlv_eq(c, x, three), "shapes");
    EXPECT_ERROR(c, TLV_ERR_SHAPE, "eq: a is [4] but b is [3]");
    EXPECT(!tlv_where(c, x, x, x), "a mask of f32");
    EXPECT_ERROR(c, TLV_ERR_DTYPE, "where: mask is f32[4]; it must be u8");
    EXPECT(!tlv_where(c, m, x, three), "shapes");
    EXPECT_ERROR(c, TLV_ERR_SHAPE, "where: mask is [4], a is [4], b is [3]");
    EXPECT(!tlv_clamp(c, x, 2, 1), "lo above hi");
    EXPECT_ERROR(c, TLV_ERR_ARG, "clamp: lo is 2, hi is 1");
    EXPECT(!tlv_clamp(c, x, NAN, 1), "lo NaN");
    EXPECT_ERROR(c, TLV_ERR_ARG, "clamp");
    EXPECT(!tlv_activate(c, x, (tlv_act)99), "no activation");
    EXPECT_ERROR(c, TLV_ERR_ARG, "activate: there is no activation 99");
    EXPECT(!tlv_gelu(c, NULL), "NULL");
    EXPECT_ERROR(c, TLV_ERR_ARG, "input 0 is NULL");
    tlv_ctx_close(c);
}

static void test_activate_by_name(void)
{
    static const struct { tlv_act act; unary_op op;
    } ACTS[] = {
        { TLV_ACT_RELU, tlv_relu },
        { TLV_ACT_RELU6, tlv_relu6 },
        { TLV_ACT_SILU, tlv_silu },
        { TLV_ACT_HARD_SWISH, tlv_hard_swish },
        { TLV_ACT_GELU, tlv_gelu },
        { TLV_ACT_GELU_TANH, tlv_gelu_tanh },
        { TLV_ACT_QUICK_GELU, tlv_quick_gelu },
        { TLV_ACT_SIGMOID, tlv_sigmoid },
        { TLV_ACT_TANH, tlv_tanh },
        { TLV_ACT_HARD_SIGMOID, tlv_hard_sigmoid },
    };
    static const double X[] = { -4, -1, 0.5, 2, 7 };
    tlv_ctx *c = support_open();
    tlv_tensor *x = vec(c, TLV_F32, 5, X, 0);
    EXPECT(tlv_activate(c, x, TLV_ACT_NONE) == x, "no activation is x itself");
    for (size_t i = 0; i < sizeof ACTS / sizeof ACTS[0]; i++) {
        double a[5], b[5];
        if (!support_read(c, tlv_activate(c, x, ACTS[i].act), a, 5)
            || !support_read(c, ACTS[i].op(c, x), b, 5))
            continue;
        for (int k = 0; k < 5; k++) EXPECT_CLOSE(a[k], b[k], 0, 0);
    }
    EXPECT_OK(c);
    tlv_ctx_close(c);
}

TEST_MAIN(T(test_slopes_at_kinks), T(test_far_out), T(test_ties), T(test_pow_at_zero),
          T(test_pow_mixed), T(test_nan), T(test_steps), T(test_refused), T(test_activate_by_name))
