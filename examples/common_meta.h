/* common_meta.h -- what tlv-meta and tlv-fewshot say of a learner, and the files of a run that
 * learns to learn: its table, its curves, its checkpoint. */
#ifndef TLV_EXAMPLES_COMMON_META_H
#define TLV_EXAMPLES_COMMON_META_H

#include "examples/common_plot.h"

/* "learner  ...": method, network, episodes, inner loop, outer loop, batch norms. */
void cli_print_learner(FILE *f, const tlv_meta *l, const tlv_model *m);

/* "input    ...": how the network takes its images. */
void cli_print_meta_input(FILE *f, const tlv_model *m, int inverted);

/* A network with random numbers: size and channels of images, which not all architectures let one
 * choose, as o says or, unless they are `wanted`, as the architecture has them. */
tlv_model *cli_meta_network(tlv_ctx *c, const char *arch, tlv_model_opts o, int wanted);

/* Where a run is, beside what the learner knows of itself. */
typedef struct cli_meta_place {
    double seconds;                 /* of training alone, over all parts of the run */
    int64_t steps;                  /* since the last row of the table */
    double loss, accuracy;          /* sums over those steps */
    double lr;                      /* of the last one */
    double best;                    /* accuracy on validation tasks; -1: none yet */
    int64_t best_at;                /* after that many steps */
} cli_meta_place;

enum { CLI_META_OPTIONS = 4096, CLI_META_PATH = 1024 };

/* checkpoint.safetensors in dir, from which the run goes on. */
tlv_status cli_meta_keep(const tlv_meta *l, const char *dir, const char *options, const char *data,
                         const cli_meta_place *p);
/* The options and the data of the run in such a file, for before there is a learner; ends the
 * program if it is none. */
void cli_meta_saved(const char *path, char options[CLI_META_OPTIONS], char data[CLI_META_PATH]);
/* The learner and its place; CLI_OK, or CLI_FAILED after saying why. */
int cli_meta_resume(tlv_ctx *c, tlv_meta *l, const char *path, cli_meta_place *p);

/* A row of log.csv; what is not known is NAN. */
typedef struct cli_meta_row {
    int64_t iteration;
    double loss, accuracy, lr;      /* of training steps */
    double val_loss, val_accuracy, val_ci95, val_alone;
    double seconds;
} cli_meta_row;

/* Begins log.csv in dir anew, with the rows that it had up to this iteration. */
int cli_meta_begin_log(const char *dir, int64_t iteration);
int cli_meta_add_log(const char *dir, const cli_meta_row *r);
/* log.csv as curve.png. */
int cli_meta_draw(tlv_ctx *c, const char *dir, const char *title);

#endif
