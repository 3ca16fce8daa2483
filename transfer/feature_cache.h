/* feature_cache.h -- rows of features on disk, found by what their images hold. */
#ifndef TLVI_FEATURE_CACHE_H
#define TLVI_FEATURE_CACHE_H

#include "transfer/transfer.h"

typedef struct tlvi_row_cache tlvi_row_cache;

/* Looks up images index[0 .. n-1] (NULL: 0 .. n-1) under dir and puts the rows that are there into
 * x [n,dim]; counts them, and the files that it ignored, in rep.  NULL after an error. */
tlvi_row_cache *tlvi_row_cache_open(tlv_ctx *c, const char *dir, const tlv_model *m,
                                    const tlv_dataset *d, const int64_t *index, int64_t n, float *x,
                                    int dim, tlv_extract_report *rep);
int tlvi_row_cache_has(const tlvi_row_cache *k, int64_t i);             /* 0 without a cache */
/* Row i is known now; x stays until the close.  Written to disk from time to time. */
void tlvi_row_cache_add(tlvi_row_cache *k, int64_t i);
/* Writes what is new; accepts NULL. */
void tlvi_row_cache_close(tlvi_row_cache *k);

/* The folder's name: a hash of all that rows depend on besides their images. */
void tlvi_row_cache_key(tlv_ctx *c, const tlv_model *m, const tlv_dataset *d, const char *isa,
                        const char *conv, char text[TLV_CACHE_KEY + 1]);

#endif
