/* sweep.h -- the pieces of tlv_grad: shared by grad.c (the sweep) and replay.c. */
#ifndef TLVI_SWEEP_H
#define TLVI_SWEEP_H

#include "autograd/op.h"

/* Gives the node's slots their data for a vjp: husks come back to life where the node holds the
 * buffer.  In debug builds and poison tests everything else but the gradients g[0], g[1] goes dark,
 * so that a read that ops.def does not declare is an error; not with g NULL.  lent[] has a byte a
 * slot.  Returns 0 if nothing changed, and tlvi_lend_end is not needed. */
int tlvi_lend(const tlvi_node *n, uint8_t *lent, tlvi_buf **hidden, tlv_tensor *const *g);
void tlvi_lend_end(const tlvi_node *n, const uint8_t *lent, tlvi_buf *const *hidden);

/* Not consumed, and nothing it reads was changed since; or the error sticks. */
int tlvi_node_usable(tlv_ctx *c, const tlvi_node *n);

/* Slots whose tensor a cheap node can make again: makes it, for this node alone.  The second drops
 * it. */
tlv_status tlvi_replay_cheap(tlv_ctx *c, tlvi_node *n);
void tlvi_replay_cheap_drop(tlv_ctx *c, tlvi_node *n);

/* Computes nodes [begin, end) of a checkpointed segment again; afterwards each holds what its
 * gradients read, as if there had been no checkpoint.  tlvi_segment_drop undoes it. */
tlv_status tlvi_replay_segment(tlv_ctx *c, int32_t begin, int32_t end);

#endif
