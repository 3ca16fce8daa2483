/* common_eval.h -- a data set by its name, how a model wants its images, intervals of shares. */
#ifndef TLV_EXAMPLES_COMMON_EVAL_H
#define TLV_EXAMPLES_COMMON_EVAL_H

#include "examples/common.h"

/* How the model wants its batches: size, mean, deviation; no augmentation. */
tlv_batch_opts cli_batch_opts(const tlv_model *m);

/* "input    32x32, mean ...": the recipe, and what it means for these images. */
void cli_print_input(FILE *f, const tlv_model *m, const tlv_dataset *d);

/* The data set named by `what`, or the end of the program with status 1. */
tlv_dataset *cli_dataset(tlv_ctx *c, const char *what, const char *split);

/* 95 % interval of a share `right` of n.  Source: Wilson 1927, JASA 22. */
void cli_interval(int64_t right, int64_t n, double *lo, double *hi);

/* Memory for n numbers, or the end of the program with status 1. */
int64_t *cli_numbers(int64_t n);

#endif
