/* score.h -- counting what is right, for models and probes. */
#ifndef TLVI_SCORE_H
#define TLVI_SCORE_H

#include "transfer/transfer.h"

/* Adds a block: logits f32|f64 [n,K], y i32 [n].  s->loss is a sum until tlvi_score_end.
 * prob (or NULL): [n,K]; confusion (or NULL): [K * K], row label, column guess. */
tlv_status tlvi_score_add(tlv_ctx *c, const tlv_tensor *logits, const tlv_tensor *y, float *prob,
                          int64_t *confusion, tlv_score *s);
void tlvi_score_end(tlv_score *s);          /* the sum becomes a mean */

#endif
