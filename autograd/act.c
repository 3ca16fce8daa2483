/* act.c -- activations.  At a kink the derivative is the one PyTorch takes; docs/ops.md lists them. */
#include "autograd/internal.h"

tlv_tensor *tlv_relu(tlv_ctx *c, const tlv_tensor *x)
{
    return tlvi_record1(c, TLV_OP_RELU, tlvi_unary_apply(c, "relu", TLVI_UN_RELU, x, 0, 0), x, NULL, 0);
}
TLVI_EXEC(RELU) { return tlv_relu(c, tlvi_in(n, 0)); }
/* dx = g where y > 0, else 0: linear in g; the step itself has no derivative */
TLVI_VJP(RELU)
{
    if (!tlvi_recording(c)) {
        d[0] = tlvi_binary_apply(c, "relu", TLVI_BIN_RELU_GRAD, g, tlvi_out(n, 0), 0, 0);
        return;
    }
    d[0] = tlv_mul(c, g, tlvi_unary_apply(c, "relu", TLVI_UN_STEP, tlvi_out(n, 0), 0, 0));
}
