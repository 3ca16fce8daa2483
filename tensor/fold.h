/* fold.h -- sums, products and extremes over some dims of a tensor. */
#ifndef TLVI_FOLD_H
#define TLVI_FOLD_H

#include "tensor/core.h"

typedef enum tlvi_fold_kind {
    TLVI_FOLD_SUM,
    TLVI_FOLD_PROD,
    TLVI_FOLD_MAX,
    TLVI_FOLD_MIN
} tlvi_fold_kind;

/* A floating x reduced to shape s, which broadcasts to x's and has at most as many dims; without
 * history. x is walked in memory order and y keeps that order; if there is nothing to reduce y is a
 * view of x.  Of no elements: 0, 1, -inf, inf.  The order of additions depends on shape and memory
 * order alone. */
tlv_tensor *tlvi_fold(tlv_ctx *c, tlvi_fold_kind kind, const tlv_tensor *x, tlv_shape s);

#endif
