/* set.h -- what parameter sets are made of. */
#ifndef TLVI_SET_H
#define TLVI_SET_H

#include <stdatomic.h>

#include "autograd/op.h"
#include "nn/nn.h"

typedef struct tlvi_entry {
    const char *name;                   /* inside the schema's memory */
    tlv_shape shape;
    uint8_t dtype, is_buffer;
} tlvi_entry;

/* Immutable and shared: two sets have the same names exactly if they point to the same schema. */
typedef struct tlvi_schema {
    tlv_ctx *c;
    int refs, n;                        /* refs: sets in c, but borrowed ones */
    size_t bytes;
    tlvi_entry entry[];
} tlvi_schema;

struct tlv_params {
    tlv_ctx *c;
    tlvi_schema *schema;
    tlv_tensor **value;                 /* [n]; then the block that holds a scope-owned set */
    uint8_t *frozen;                    /* [n] */
    int owned;                          /* values live outside every scope */
    size_t bytes;                       /* of an owned set's block */
    atomic_int borrows;
};

/* entry.name may be any strings: they are copied.  NULL on failure. */
tlvi_schema *tlvi_schema_new(tlv_ctx *c, const tlvi_entry *e, int n);
void tlvi_schema_unref(tlv_ctx *c, tlvi_schema *s);

/* Parameters whose names do not match stay uninitialised, since they are about to be overwritten:
 * a random start of millions of numbers takes longer than reading them.  Before tlv_build_end. */
void tlvi_build_draw(tlv_build *b, const char *pattern);

/* A set with all values NULL that owns what is put there / that belongs to the innermost scope. */
tlv_params *tlvi_params_owned(tlv_ctx *c, tlvi_schema *s);
tlv_params *tlvi_params_scoped(tlv_ctx *c, tlvi_schema *s);
/* Makes the owned tensor of a slot (uninitialised, row-major); wants gradients unless a buffer or
 * frozen. */
tlv_tensor *tlvi_params_make(tlv_params *p, int slot);
/* The memory of an owned slot, about to be written: its version moves on.  NULL with TLV_ERR_STATE
 * while the set is borrowed. */
void *tlvi_params_write(tlv_ctx *c, tlv_params *p, int slot);
/* tlv_params_load from a file with names of its own, where 1x1 tails of shapes may be left out or
 * added: rename puts the file's name of an entry into buf.  NULL: names and shapes as they are. */
typedef void (*tlvi_rename)(const char *entry, char *buf, size_t n);
tlv_status tlvi_params_load_as(tlv_ctx *c, tlv_params *p, const char *path, tlv_load_opts o,
                               tlvi_rename rename, tlv_load_report *report);
int tlvi_params_same(tlv_ctx *c, const char *what, const tlv_params *a, const tlv_params *b);

#endif
