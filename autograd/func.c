/* func.c -- element-wise functions of one variable. */
#include "autograd/op.h"

tlv_tensor *tlv_exp(tlv_ctx *c, const tlv_tensor *x)
{
    return tlvi_record1(c, TLV_OP_EXP, tlvi_unary_apply(c, "exp", TLVI_UN_EXP, x, 0, 0), x, NULL,
                        0);
}
TLVI_EXEC(EXP) { return tlv_exp(c, tlvi_in(n, 0)); }
/* y = exp x  =>  dx = g y */
TLVI_VJP(EXP) { d[0] = tlv_mul(c, g, tlvi_out(n, 0)); }

tlv_tensor *tlv_log(tlv_ctx *c, const tlv_tensor *x)
{
    return tlvi_record1(c, TLV_OP_LOG, tlvi_unary_apply(c, "log", TLVI_UN_LOG, x, 0, 0), x, NULL,
                        0);
}
TLVI_EXEC(LOG) { return tlv_log(c, tlvi_in(n, 0)); }
/* y = log x  =>  dx = g / x */
TLVI_VJP(LOG) { d[0] = tlv_div(c, g, tlvi_in(n, 0)); }

tlv_tensor *tlv_sqrt(tlv_ctx *c, const tlv_tensor *x)
{
    return tlvi_record1(c, TLV_OP_SQRT, tlvi_unary_apply(c, "sqrt", TLVI_UN_SQRT, x, 0, 0), x, NULL,
                        0);
}
TLVI_EXEC(SQRT) { return tlv_sqrt(c, tlvi_in(n, 0)); }
/* dx = g / (2 y) */
TLVI_VJP(SQRT) { d[0] = tlv_affine(c, tlv_div(c, g, tlvi_out(n, 0)), 0.5, 0); }

tlv_tensor *tlv_rsqrt(tlv_ctx *c, const tlv_tensor *x)
{
    return tlvi_record1(c, TLV_OP_RSQRT, tlvi_unary_apply(c, "rsqrt", TLVI_UN_RSQRT, x, 0, 0), x,
                        NULL, 0);
}
TLVI_EXEC(RSQRT) { return tlv_rsqrt(c, tlvi_in(n, 0)); }
/* dx = -g y^3 / 2 */
TLVI_VJP(RSQRT)
{
    const tlv_tensor *y = tlvi_out(n, 0);
    tlv_tensor *cube = tlv_mul(c, y, tlv_square(c, y));
    d[0] = tlv_affine(c, tlv_mul(c, g, cube), -0.5, 0);
}

tlv_tensor *tlv_square(tlv_ctx *c, const tlv_tensor *x)
{
    return tlvi_record1(c, TLV_OP_SQUARE, tlvi_unary_apply(c, "square", TLVI_UN_SQUARE, x, 0, 0), x,
                        NULL, 0);
}
TLVI_EXEC(SQUARE) { return tlv_square(c, tlvi_in(n, 0)); }
/* dx = 2 g x */
TLVI_VJP(SQUARE) { d[0] = tlv_affine(c, tlv_mul(c, g, tlvi_in(n, 0)), 2, 0); }

tlv_tensor *tlv_recip(tlv_ctx *c, const tlv_tensor *x)
{
    return tlvi_record1(c, TLV_OP_RECIP, tlvi_unary_apply(c, "recip", TLVI_UN_RECIP, x, 0, 0), x,
                        NULL, 0);
}
TLVI_EXEC(RECIP) { return tlv_recip(c, tlvi_in(n, 0)); }
/* dx = -g y^2 */
TLVI_VJP(RECIP) { d[0] = tlv_neg(c, tlv_mul(c, g, tlv_square(c, tlvi_out(n, 0)))); }

tlv_tensor *tlv_abs(tlv_ctx *c, const tlv_tensor *x)
{
    return tlvi_record1(c, TLV_OP_ABS, tlvi_unary_apply(c, "abs", TLVI_UN_ABS, x, 0, 0), x, NULL,
                        0);
}
TLVI_EXEC(ABS) { return tlv_abs(c, tlvi_in(n, 0)); }
/* dx = g sign(x) */
TLVI_VJP(ABS) { d[0] = tlvi_kinked_grad(c, "abs", TLVI_BIN_ABS_GRAD, g, tlvi_in(n, 0), 0, 0); }

tlv_tensor *tlv_sin(tlv_ctx *c, const tlv_tensor *x)
{
    return tlvi_record1(c, TLV_OP_SIN, tlvi_unary_apply(c, "sin", TLVI_UN_SIN, x, 0, 0), x, NULL,
                        0);
}
TLVI_EXEC(SIN) { return tlv_sin(c, tlvi_in(n, 0)); }
/* dx = g cos x */
TLVI_VJP(SIN) { d[0] = tlv_mul(c, g, tlv_cos(c, tlvi_in(n, 0))); }

tlv_tensor *tlv_cos(tlv_ctx *c, const tlv_tensor *x)
{
    return tlvi_record1(c, TLV_OP_COS, tlvi_unary_apply(c, "cos", TLVI_UN_COS, x, 0, 0), x, NULL,
                        0);
}
TLVI_EXEC(COS) { return tlv_cos(c, tlvi_in(n, 0)); }
/* dx = -g sin x */
TLVI_VJP(COS) { d[0] = tlv_neg(c, tlv_mul(c, g, tlv_sin(c, tlvi_in(n, 0)))); }

tlv_tensor *tlv_erf(tlv_ctx *c, const tlv_tensor *x)
{
    return tlvi_record1(c, TLV_OP_ERF, tlvi_unary_apply(c, "erf", TLVI_UN_ERF, x, 0, 0), x, NULL,
                        0);
}
TLVI_EXEC(ERF) { return tlv_erf(c, tlvi_in(n, 0)); }
/* dx = g 2/sqrt(pi) e^(-x^2) */
TLVI_VJP(ERF)
{
    tlv_tensor *e = tlv_exp(c, tlv_neg(c, tlv_square(c, tlvi_in(n, 0))));
    d[0] = tlv_affine(c, tlv_mul(c, g, e), 1.12837916709551257390, 0);
}

/* ---- powers ---------------------------------------------------------------------------------- */

tlv_tensor *tlv_powf(tlv_ctx *c, const tlv_tensor *x, double p)
{
    tlv_tensor *y = tlvi_unary_apply(c, "powf", TLVI_UN_POWS, x, p, 0);
    return tlvi_record1(c, TLV_OP_POWF, y, x, &p, sizeof p);
}
TLVI_EXEC(POWF) { return tlv_powf(c, tlvi_in(n, 0), *(const double *)n->attr); }
/* dx = g p x^(p-1); exactly zero for p = 0, where x may be 0 */
TLVI_VJP(POWF)
{
    double p = *(const double *)n->attr;
    if (p == 0) return;
    d[0] = tlv_affine(c, tlv_mul(c, g, tlv_powf(c, tlvi_in(n, 0), p - 1)), p, 0);
}

tlv_tensor *tlv_pow(tlv_ctx *c, const tlv_tensor *a, const tlv_tensor *b)
{
    tlv_tensor *y = tlvi_binary_apply(c, "pow", TLVI_BIN_POW, a, b, 0, 0);
    return tlvi_record2(c, TLV_OP_POW, y, a, b, NULL, 0);
}
TLVI_EXEC(POW) { return tlv_pow(c, tlvi_in(n, 0), tlvi_in(n, 1)); }
/* da = g b a^(b-1), and 0 where a = b = 0;   db = g y ln a, and 0 where a = 0 */
TLVI_VJP(POW)
{
    const tlv_tensor *a = tlvi_in(n, 0), *b = tlvi_in(n, 1);
    tlv_dtype t = tlv_dtype_of(g);
    const tlv_tensor *zero = tlv_scalar(c, t, 0), *one = tlv_scalar(c, t, 1);
    if (wants(n, 0)) {
        tlv_tensor *size = tlv_add(c, tlv_abs(c, tlv_detach(c, a)), tlv_abs(c, tlv_detach(c, b)));
        tlv_tensor *base = tlv_where(c, tlv_eq(c, size, zero), one, a); // 1^(b-1) b is 0 for b = 0
        tlv_tensor *p = tlv_mul(c, b, tlv_pow(c, base, tlv_affine(c, b, 1, -1)));
        d[0] = tlvi_sum_to_like(c, tlv_mul(c, g, p), a);
    }
    if (wants(n, 1)) {
        tlv_tensor *none = tlv_eq(c, a, zero);
        tlv_tensor *ln = tlv_log(c, tlv_where(c, none, one, a));
        tlv_tensor *p = tlv_where(c, none, zero, tlv_mul(c, tlvi_out(n, 0), ln));
        d[1] = tlvi_sum_to_like(c, tlv_mul(c, g, p), b);
    }
}

/* ---- steps ----------------------------------------------------------------------------------- */

typedef struct clamp_attr { double lo, hi; } clamp_attr;

tlv_tensor *tlv_clamp(tlv_ctx *c, const tlv_tensor *x, double lo, double hi)
{
    TLVI_REQUIRE(c, lo <= hi, TLV_ERR_ARG,
                 "let lo be at most hi; -INFINITY and INFINITY leave a side open",
                 "clamp: lo is %g, hi is %g", lo, hi);
    clamp_attr at = { lo, hi };
    tlv_tensor *y = tlvi_unary_apply(c, "clamp", TLVI_UN_CLAMP, x, lo, hi);
    return tlvi_record1(c, TLV_OP_CLAMP, y, x, &at, sizeof at);
}
TLVI_EXEC(CLAMP)
{
    const clamp_attr *at = n->attr;
    return tlv_clamp(c, tlvi_in(n, 0), at->lo, at->hi);
}
/* dx = g where lo <= x <= hi, else 0 */
TLVI_VJP(CLAMP)
{
    const clamp_attr *at = n->attr;
    d[0] = tlvi_kinked_grad(c, "clamp", TLVI_BIN_CLAMP_GRAD, g, tlvi_in(n, 0), at->lo, at->hi);
}

tlv_tensor *tlv_sign(tlv_ctx *c, const tlv_tensor *x)
{
    return tlvi_unary_apply(c, "sign", TLVI_UN_SIGN, x, 0, 0);
}

tlv_tensor *tlv_round(tlv_ctx *c, const tlv_tensor *x)
{
    return tlvi_unary_apply(c, "round", TLVI_UN_ROUND, x, 0, 0);
}

tlv_tensor *tlv_floor(tlv_ctx *c, const tlv_tensor *x)
{
    return tlvi_unary_apply(c, "floor", TLVI_UN_FLOOR, x, 0, 0);
}
