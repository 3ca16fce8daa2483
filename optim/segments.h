/* segments.h -- one parallel loop over the numbers of all parameters. */
#ifndef TLVI_SEGMENTS_H
#define TLVI_SEGMENTS_H

#include "nn/set.h"
#include "optim/optim.h"

/* Calls fn for pieces of the slots with use[slot] != 0: offset from, n numbers of slot.  room comes
 * from tlvi_segments_room, of the innermost scope: what may fail is done before anything
 * changes. */
typedef void (*tlvi_segment_fn)(void *arg, int slot, int64_t from, int64_t n);
int64_t *tlvi_segments_room(tlv_ctx *c, const tlv_params *p);
void tlvi_segments(tlv_ctx *c, const tlv_params *p, const uint8_t *use, tlvi_segment_fn fn,
                   void *arg, int64_t *room);

/* Trainable, with a gradient. */
static inline int tlvi_has_grad(const tlv_params *p, const tlv_params *g, int i)
{
    return !p->schema->entry[i].is_buffer && !p->frozen[i] && g->value[i];
}

/* A set of the innermost scope whose values are g's, dense row-major, NULL where g's are. */
tlv_params *tlvi_dense(tlv_ctx *c, const tlv_params *g);

#endif
