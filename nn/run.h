/* run.h -- what layers put into the sinks. */
#ifndef TLVI_RUN_H
#define TLVI_RUN_H

#include "nn/set.h"

/* Remembers one batch norm's statistics (f32 or f64 [C]) until tlv_run_apply_stats.  s may be
 * NULL. */
void tlvi_stats_add(const tlv_run *r, const tlv_bn_layer *m, const tlv_tensor *mean,
                    const tlv_tensor *var);

/* What is pending, as a set of like's schema in the innermost scope of c: a batch norm's mean and
 * variance at the slots of its running ones, the latest where it ran more than once, NULL
 * elsewhere.  The sink is empty afterwards.  NULL after an error. */
tlv_params *tlvi_stats_take(tlv_ctx *c, tlv_stats *s, const tlv_params *like);

#endif
