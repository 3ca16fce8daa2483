/* 05_own_op.c -- an op that the library does not have: forward, gradient, and the proof that both
 * are right, twice over.
 *
 *     make && build/bin/learn-05_own_op
 *
 * The op is y = s^2 log cosh(x / s): x^2 / 2 near zero, s |x| far away.  As a loss it fits what
 * most points say and lets a few wild ones be wild.  Before: 04_own_layer.c.  Next:
 * 06_sinusoid_maml.c. */
#include <math.h>
#include <stdio.h>

#include "tlvision.h"

enum { N = 24, WILD = 4, STEPS = 300 };

/* ---- 1. the op ------------------------------------------------------------------------------- *
 * cosh overflows at 89 in f32, so it is never computed: log cosh u = |u| + log(1 + e^(-2|u|)) -
 * log 2. What forward does inside is not recorded; the graph gets one node, with x and y. */
static tlv_tensor *log_cosh_forward(tlv_ctx *c, const tlv_custom_call *k)
{
    double s = *(const double *)k->attrs;
    tlv_tensor *u = tlv_abs(c, tlv_affine(c, k->in[0], 1 / s, 0));
    tlv_tensor *rest = tlv_softplus(c, tlv_affine(c, u, -2, 0));
    return tlv_affine(c, tlv_add(c, u, rest), s * s, -s * s * log(2));
}

/* dx = g s tanh(x / s).  A gradient that is written in ops has a gradient itself: nothing else is
 * needed for the second derivative, 1 - tanh^2(x / s), or the third. */
static void log_cosh_vjp(tlv_ctx *c, const tlv_custom_call *k, tlv_tensor **d)
{
    double s = *(const double *)k->attrs;
    if (!k->wants[0]) return;
    tlv_tensor *slope = tlv_affine(c, tlv_tanh(c, tlv_affine(c, k->in[0], 1 / s, 0)), s, 0);
    d[0] = tlv_mul(c, k->g, slope);
}

/* The same with the factor s forgotten, as it happens. */
static void wrong_vjp(tlv_ctx *c, const tlv_custom_call *k, tlv_tensor **d)
{
    double s = *(const double *)k->attrs;
    if (k->wants[0]) d[0] = tlv_mul(c, k->g, tlv_tanh(c, tlv_affine(c, k->in[0], 1 / s, 0)));
}

static const tlv_custom_def LOG_COSH = { "log_cosh", log_cosh_forward, log_cosh_vjp,
                                         sizeof(double) };
static const tlv_custom_def WRONG = { "wrong", log_cosh_forward, wrong_vjp, sizeof(double) };

/* What users of the op call.  The attributes (s) are copied into the node. */
static tlv_tensor *log_cosh(tlv_ctx *c, const tlv_custom_def *op, const tlv_tensor *x, double s)
{
    return tlv_custom(c, op, 1, (const tlv_tensor *[]){ x }, &s);
}

/* ---- 2. the proof ---------------------------------------------------------------------------- *
 * order 1: L = sum of op(x).  order 2: L = sum of (dop/dx)^2, so the gradient of L is right only if
 * the second derivative is.  Compared with (L(x + h e_i) - L(x - h e_i)) / 2h, in f64. */
static tlv_tensor *scalar(tlv_ctx *c, const tlv_custom_def *op, tlv_tensor *x, int order)
{
    tlv_tensor *y = tlv_sum_all(c, log_cosh(c, op, x, 0.7)), *dx = NULL;
    if (order == 1) return y;
    tlv_grad(c, y, NULL, 1, (const tlv_tensor *[]){ x }, &dx, TLV_CREATE_GRAPH);
    return tlv_sum_all(c, tlv_square(c, dx));
}

/* The largest difference between the gradient and the quotient, over the largest gradient. */
static double mistake(tlv_ctx *c, const tlv_custom_def *op, int order)
{
    const double X[] = { -40, -2, -0.3, 0.1, 0.9, 5 }, h = 1e-5;
    enum { n = sizeof X / sizeof *X };
    double grad[n], worst = 0, largest = 0;
    tlv_tensor *x = tlv_from_data(c, TLV_F64, TLV_SHAPE(n), X, TLV_WANT_GRAD), *dx = NULL;
    tlv_grad(c, scalar(c, op, x, order), NULL, 1, (const tlv_tensor *[]){ x }, &dx, 0);
    if (tlv_read(c, dx, grad, n) != TLV_OK) return NAN;
    for (int i = 0; i < n; i++) {
        double at[2];
        for (int side = 0; side < 2; side++) {
            double moved[n];
            for (int j = 0; j < n; j++) moved[j] = X[j] + (j == i ? (side ? h : -h) : 0);
            x = tlv_from_data(c, TLV_F64, TLV_SHAPE(n), moved, TLV_WANT_GRAD);
            at[side] = tlv_item(c, scalar(c, op, x, order));
        }
        worst = fmax(worst, fabs(grad[i] - (at[1] - at[0]) / (2 * h)));
        largest = fmax(largest, fabs(grad[i]));
    }
    return worst / largest;
}

/* ---- 3. its use ------------------------------------------------------------------------------ *
 * Points of y = 2 t + 1, of which the last few are far off.  The line that squares lead to bends
 * towards them. */
static void fit(tlv_ctx *c, const char *name, int squares)
{
    float t[N], y[N], line[2] = { 0, 0 };
    for (int i = 0; i < N; i++) t[i] = (float)i / N, y[i] = 2 * t[i] + 1 + (i >= N - WILD ? 8 : 0);
    tlv_tensor *T = tlv_from(c, TLV_SHAPE(N), t, 0), *Y = tlv_from(c, TLV_SHAPE(N), y, 0);
    for (int step = 0; step < STEPS && !tlv_error(c); step++) {
        tlv_scope s = tlv_scope_begin(c);
        tlv_tensor *p = tlv_from(c, TLV_SHAPE(2), line, TLV_WANT_GRAD), *dp = NULL;
        tlv_tensor *a = tlv_slice(c, p, 0, 0, 1, 1), *b = tlv_slice(c, p, 0, 1, 2, 1);
        tlv_tensor *off = tlv_sub(c, tlv_add(c, tlv_mul(c, T, a), b), Y);           // [N]
        tlv_tensor *each = squares ? tlv_affine(c, tlv_square(c, off), 0.5, 0)
                                   : log_cosh(c, &LOG_COSH, off, 0.1);
        tlv_grad(c, tlv_mean_all(c, each), NULL, 1, (const tlv_tensor *[]){ p }, &dp, 0);
        tlv_read(c, tlv_sub(c, p, tlv_affine(c, dp, squares ? 1 : 5, 0)), line, 2);
        tlv_scope_end(c, s);
    }
    printf("%-9s y = %.2f t + %.2f\n", name, line[0], line[1]);
}

int main(void)
{
    tlv_ctx *c = tlv_ctx_open(NULL);
    if (!c) return 1;
    printf("the gradient is off by %.0e, its gradient by %.0e\n", mistake(c, &LOG_COSH, 1),
           mistake(c, &LOG_COSH, 2));
    printf("with the factor forgotten by %.2f: the check can fail\n", mistake(c, &WRONG, 1));
    fit(c, "squares", 1);
    fit(c, "log cosh", 0);
    int failed = tlv_error(c) != TLV_OK;
    if (failed) fprintf(stderr, "error: %s\nhint: %s\n", tlv_error_msg(c), tlv_error_hint(c));
    tlv_ctx_close(c);
    return failed;
}
