/* saved.h -- what a saved model says of itself, for files that hold more than a model. */
#ifndef TLVI_SAVED_H
#define TLVI_SAVED_H

#include "nn/nn.h"

enum { TLVI_MODEL_META = 32, TLVI_MAX_META = 96 };      /* pairs: of a model's file; of any */

/* Metadata for tlv_file_write: key, value ... NULL; what a value needs is in the list. */
typedef struct tlvi_meta_list {
    const char *at[2 * TLVI_MAX_META + 1];
    int n;                                              /* strings */
    char width[32], eps[32], momentum[32], channels[32], size[32], recipe[400];
} tlvi_meta_list;

/* Strings are borrowed; a pair more than the list takes is left out. */
void tlvi_meta_put(tlvi_meta_list *l, const char *key, const char *value);

/* The library's version, architecture, settings, recipe: all that a model is beside its numbers and
 * the names of its classes. */
void tlvi_model_describe(const tlv_model *m, tlvi_meta_list *l);

/* The model that such metadata, and the names in f that begin with prefix, describe: its numbers
 * are not read, and stand uninitialised. */
tlv_model *tlvi_model_like(tlv_ctx *c, const tlv_file *f, const char *path, const char *prefix);

#endif
