/* func.c -- element-wise functions of one variable. */
#include "autograd/internal.h"

tlv_tensor *tlv_exp(tlv_ctx *c, const tlv_tensor *x)
{
    return tlvi_record1(c, TLV_OP_EXP, tlvi_unary_apply(c, "exp", TLVI_UN_EXP, x, 0, 0), x, NULL, 0);
}
TLVI_EXEC(EXP) { return tlv_exp(c, tlvi_in(n, 0)); }
/* y = exp x  =>  dx = g y */
TLVI_VJP(EXP) { d[0] = tlv_mul(c, g, tlvi_out(n, 0)); }

tlv_tensor *tlv_log(tlv_ctx *c, const tlv_tensor *x)
{
    return tlvi_record1(c, TLV_OP_LOG, tlvi_unary_apply(c, "log", TLVI_UN_LOG, x, 0, 0), x, NULL, 0);
}
TLVI_EXEC(LOG) { return tlv_log(c, tlvi_in(n, 0)); }
/* y = log x  =>  dx = g / x */
TLVI_VJP(LOG) { d[0] = tlv_div(c, g, tlvi_in(n, 0)); }
