/* run.h -- what layers put into the sinks. */
#ifndef TLVI_RUN_H
#define TLVI_RUN_H

#include "nn/set.h"

/* Remembers one batch norm's statistics (f32 or f64 [C]) until tlv_run_apply_stats.  s may be
 * NULL. */
void tlvi_stats_add(const tlv_run *r, const tlv_bn_layer *m, const tlv_tensor *mean,
                    const tlv_tensor *var);

#endif
