/* run_file.h -- what the files of runs have in common (fine-tuning, learning to learn): entries and
 * moments of the optimizer under prefixes, steps, numbers as text.
 *
 *     model.NAME      an entry; own.NAME: one that the model does not have
 *     moment0.NAME, moment1.NAME      the optimizer's, of parameters
 *     steps           i64 [entries + 1]: the optimizer's steps in all, and for each entry */
#ifndef TLVI_RUN_FILE_H
#define TLVI_RUN_FILE_H

#include "optim/optim.h"

typedef struct tlvi_run_state {
    tlv_params *p;
    int own;                            /* the first entry that is not the model's */
    tlv_optim *opt;                     /* NULL: entries alone */
} tlvi_run_state;

tlv_status tlvi_run_write(tlv_ctx *c, const char *path, const tlvi_run_state *r,
                          const char *const *meta);
/* Takes up what tlvi_run_write left: nothing is changed unless all is there, with its shape.
 * TLV_ERR_FORMAT. */
tlv_status tlvi_run_read(tlv_ctx *c, const tlv_file *f, const tlvi_run_state *r);
/* A number in the metadata, from lo to hi; else TLV_ERR_FORMAT. */
double tlvi_run_number(tlv_ctx *c, const tlv_file *f, const char *key, double lo, double hi);

#endif
