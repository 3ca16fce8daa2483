/* small_net.h -- a network for tests of learning to learn: quick enough for finite differences. */
#ifndef TLV_TESTS_SMALL_NET_H
#define TLV_TESTS_SMALL_NET_H

#include "transfer/meta.h"

/* conv1 [3w,3,3,3] with bias and stride 2, bn1, ReLU; conv2 [4w,3w,3,3], bn2, ReLU; the mean over
 * all places; fc [classes,4w]: MAML's network for Omniglot, but two blocks instead of four. */
tlv_model *small_net_open(tlv_ctx *c, tlv_dtype d, int w, int classes);

/* A learner of `ways` classes over such a model, its entries filled by their names (rates from
 * 0.05 .. 0.15). */
tlv_meta *small_learner(tlv_ctx *c, const tlv_model *m, tlv_meta_opts o);

/* A context of one thread, such a model and such a learner. */
typedef struct small { tlv_ctx *c; tlv_model *m; tlv_meta *l; } small;
small small_open(tlv_dtype d, int w, tlv_meta_opts o);
void small_close(small *s);                     /* expects that the context holds no error */
/* Episode e at work on p in the outer loop's step `iteration`, in training. */
tlvi_meta_task small_task(const small *s, const tlv_params *p, const tlv_episode *e,
                          int64_t iteration);

/* Task k with images of 8x8 from a formula (see make_meta.py); of the innermost scope. */
tlv_episode small_episode(tlv_ctx *c, tlv_dtype d, int k, int ways, int shots, int queries);

/* Stripes of 20 directions and widths, 10 drawings of each of 16x16 grey pixels with a phase of
 * their own and noise: what even this network learns to tell apart in some 40 outer steps.  Written
 * to a file of the running test and opened as a set. */
tlv_dataset *small_stripes(tlv_ctx *c);

#endif
