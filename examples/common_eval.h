/* common_eval.h -- a model's input made from a data set, and what the model gets right on it. */
#ifndef TLV_EXAMPLES_COMMON_EVAL_H
#define TLV_EXAMPLES_COMMON_EVAL_H

#include "examples/common.h"

/* How the model wants its batches: size, mean, deviation; no augmentation. */
tlv_batch_opts cli_batch_opts(const tlv_model *m);

/* "input    32x32, mean ...": the recipe, and what it means for these images. */
void cli_print_input(FILE *f, const tlv_model *m, const tlv_dataset *d);

/* The data set named by `what`, or the end of the program with status 1. */
tlv_dataset *cli_dataset(tlv_ctx *c, const char *what, const char *split);

typedef struct cli_score {
    int64_t n, right;               /* images looked at; of them recognised */
    double accuracy, loss;          /* of those n; the loss is the mean cross-entropy */
    double seconds;
} cli_score;

/* The model in evaluation mode on images index[0 .. n-1] of d (NULL: 0 .. n-1), without recording.
 * per_class, if not NULL, has two numbers a class of d, which are counted up: images, recognised.
 * Draws a progress line on f.  Ctrl-C ends it early: score->n < n.  Errors are the context's. */
tlv_status cli_evaluate(tlv_ctx *c, const tlv_model *m, const tlv_dataset *d, const int64_t *index,
                        int64_t n, int64_t batch, FILE *f, int64_t *per_class, cli_score *score);

/* 95 % interval of a share `right` of n.  Source: Wilson 1927, JASA 22. */
void cli_interval(int64_t right, int64_t n, double *lo, double *hi);

/* Memory for n numbers, or the end of the program with status 1. */
int64_t *cli_numbers(int64_t n);

#endif
