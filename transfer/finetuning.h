/* finetuning.h -- a fine-tuning run, and its file. */
#ifndef TLVI_FINETUNING_H
#define TLVI_FINETUNING_H

#include "transfer/transfer.h"

enum { TLVI_PLAN = 512 };

struct tlv_finetune {
    tlv_ctx *c;
    tlv_model *m;
    const tlv_dataset *train, *val;
    const int64_t *index, *val_index;
    tlv_finetune_opts o;
    tlv_finetune_state now;
    double loss_sum;                    /* over now.images */
    tlv_optim *opt;
    tlv_stats *stats;
    int64_t *order;                     /* [n_train]: this epoch's images */
    double saved_at;                    /* seconds of a clock */
    char plan[TLVI_PLAN];               /* all that decides the run's numbers, as text */
};

tlv_status tlvi_tuning_save(tlv_finetune *t);               /* to o.checkpoint; nothing without */
tlv_status tlvi_tuning_load(tlv_finetune *t, const char *path);
/* Freezes as the options say and opens the optimizer anew. */
tlv_status tlvi_tuning_prepare(tlv_finetune *t);
double tlvi_tuning_clock(void);                             /* seconds, only forward */

#endif
