/* inner_loop.c -- gradient descent as a function of where it starts. */
#include "tensor/core.h"
#include "transfer/transfer.h"

const tlv_params *tlv_inner_loop(tlv_ctx *c, const tlv_params *theta, tlv_task_loss_fn loss,
                                 void *user, tlv_inner_opts o)
{
    int flags = o.first_order ? 0 : TLV_CREATE_GRAPH;
    const tlv_params *fast = o.adapt ? tlv_params_select(c, theta, o.adapt) : theta;
    for (int k = 0; k < o.steps && fast; k++) {
        tlv_scope s = tlv_scope_begin_with(c, o.checkpoint ? TLV_CHECKPOINT : 0);
        tlv_tensor *l = loss(c, fast, k, user);
        tlv_params *g = l ? tlv_params_grad(c, l, fast, flags) : NULL;
        tlv_params *next = g ? tlv_params_axpy(c, fast, -o.lr, g) : NULL;
        tlv_scope_end_keep_params(c, s, next);
        fast = next;
    }
    return c->err == TLV_OK ? fast : NULL;
}
