/* common_task.h -- the images that a program learns from and measures on: opened, split, and said;
 * and what is left of a measurement: a table of classes, pictures of errors. */
#ifndef TLV_EXAMPLES_COMMON_TASK_H
#define TLV_EXAMPLES_COMMON_TASK_H

#include "examples/common_eval.h"

#define CLI_OPT_SKIP_BAD(v)                                                                        \
    { "--skip-bad", CLI_FLAG, &(v), NULL, "leave out files that cannot be read", 0, 0 }
#define CLI_OPT_CACHE(v)                                                                           \
    { "--cache", CLI_TEXT, &(v), "DIR", "keep features here, and take those that are there", 0, 0 }

typedef struct cli_task {
    tlv_dataset *train, *val;       /* val may be train */
    int64_t *train_at, n_train;     /* indices into train, class by class */
    int64_t *val_at, n_val;         /* indices into val */
    int64_t skipped;                /* files left out of both */
} cli_task;

typedef struct cli_task_opts {
    const char *data, *val;         /* val NULL: the data's own val or test split, else a fifth */
    int64_t per_class;              /* at most so many a class to learn from; 0: all */
    int skip_bad;
    int64_t seed;                   /* said, not used: the context's seed counts */
} cli_task_opts;

/* Opens, splits, and prints what there is.  Returns CLI_OK, or CLI_FAILED after saying why. */
int cli_task_open(tlv_ctx *c, cli_task *t, cli_task_opts o, FILE *f);
void cli_task_close(cli_task *t);               /* accepts an empty one */

/* One data set, said in a line that begins with `word`; ends the program on failure. */
tlv_dataset *cli_images(tlv_ctx *c, const char *word, const char *what, const char *split,
                        int skip_bad, FILE *f, int64_t *skipped);

/* Takes files out of d that do not decode, and names the first of them; their number, or -1. */
int64_t cli_drop_bad(tlv_ctx *c, tlv_dataset *d, FILE *f);

/* "weights ..." and "model ...": what was loaded, from where, and how it was told. */
void cli_print_model(FILE *f, const tlv_model *m, const char *path, const tlv_load_report *r);

/* A tlv_progress_fn that draws on a cli_progress and stops after Ctrl-C. */
int cli_draw_progress(void *line, int64_t done, int64_t total);

/* tlv_extract_features with a progress line; CLI_OK, CLI_FAILED or CLI_INTERRUPTED, said. */
int cli_extract(tlv_ctx *c, FILE *f, const char *label, const tlv_model *m, const tlv_dataset *d,
                const int64_t *index, int64_t n, int64_t batch, const char *cache,
                tlv_features *out, tlv_extract_report *r);

/* A field of a CSV table, quoted where it must be. */
void cli_put_field(FILE *f, const char *s);

/* The names of m's classes, "class 17" where it knows none; one block, to be freed. */
const char **cli_class_names(const tlv_model *m);
/* Gives m the names of d's classes. */
tlv_status cli_name_classes(tlv_ctx *c, tlv_model *m, const tlv_dataset *d);

/* What a model said of images index[0 .. n-1] of d (NULL: 0 .. n-1). */
typedef struct cli_verdicts {
    const tlv_dataset *d;
    const int64_t *index;
    int64_t n;
    int classes;                    /* of the model */
    int first_class;                /* the model's class of label 0 */
    const char *const *names;       /* [classes] */
    const float *prob;              /* [n,classes] */
    const int64_t *confusion;       /* [classes * classes], row = truth */
} cli_verdicts;

/* Images, recognised and accuracy of each class (the `most` weakest where there are more). */
void cli_print_classes(FILE *f, const cli_verdicts *v, int most);
/* confusion.png, classes.png and worst.png in dir: the matrix, the accuracy of each class, and the
 * errors that the model was surest of. */
int cli_draw_verdicts(tlv_ctx *c, const cli_verdicts *v, const char *dir, const char *title);
/* predictions.csv in dir: path or number, label, answer, its probability. */
int cli_write_verdicts(const cli_verdicts *v, const char *dir);

#endif
