/* transfer.h -- from a model that knows something to one that knows your images: features kept on
 * disk, a linear probe on them, fine-tuning, measuring.  docs/transfer.md explains the methods.
 *
 * Nothing here prints: progress goes to callbacks, results into structs that programs print. */
#ifndef TLV_TRANSFER_H
#define TLV_TRANSFER_H

#include "data/data.h"
#include "optim/optim.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Called after each batch with what is done of total (images, fits).  Anything but 0 stops the
 * work early: no error, what is done is kept, and the result says `stopped`. */
typedef int (*tlv_progress_fn)(void *user, int64_t done, int64_t total);

/* ---- features (features.c, feature_cache.c) --------------------------------------------------- *
 * What a model's head sees, for many images. */

/* Rows in memory of the context c, outside every scope. */
typedef struct tlv_features {
    tlv_ctx *c;
    int64_t n;                  /* rows */
    int dim, classes;           /* numbers a row; classes of the data set */
    float *x;                   /* [n,dim] */
    int32_t *label;             /* [n] */
    int64_t room;               /* rows that there is memory for */
} tlv_features;

typedef struct tlv_extract_opts {
    int64_t batch;              /* images at once; 0: 32 */
    const char *cache_dir;      /* NULL: no cache on disk.  The folder is made if missing. */
    tlv_progress_fn progress;   /* images; NULL: none */
    void *user;
} tlv_extract_opts;

enum { TLV_CACHE_KEY = 32 };    /* hexadecimal digits */
typedef struct tlv_extract_report {
    int64_t hits, misses;       /* rows out of the cache; rows computed (0 hits without a cache) */
    int shards, damaged;        /* files of the cache that were read; that were ignored */
    int64_t unwritten;          /* new rows that the cache could not take (a full disk) */
    char damage[512];           /* the first of these troubles: "PATH: reason" */
    char set_key[TLV_CACHE_KEY + 1];    /* the folder of this model in the cache; "" without one */
    int stopped;
} tlv_extract_report;

/* Images index[0 .. n-1] of d (NULL: 0 .. n-1) through m in evaluation mode, without recording, as
 * m's recipe prepares them: row i belongs to index[i].  When stopped, out->n rows are there.
 *
 * The cache.  DIR/KEY/rows-*.safetensors: a row is found by the hash of its image's file (of the
 * pixels in a set without files), KEY is a hash of all that rows depend on besides: architecture,
 * settings, weights and statistics (the head left out), recipe, instruction set, the algorithm of
 * convolutions, the library's version, how the set reads its files (EXIF, tlv_dataset_keep).  So a
 * changed image misses, a renamed one hits.  A file that is damaged or cut short is reported and
 * ignored; two processes may use one folder at a time; a folder may be deleted at any time.
 *
 * Errors: those of tlv_dataset_batch and of models; TLV_ERR_IO if the cache has no folder. */
tlv_status tlv_extract_features(tlv_ctx *c, const tlv_model *m, const tlv_dataset *d,
                                const int64_t *index, int64_t n, tlv_extract_opts o,
                                tlv_features *out, tlv_extract_report *report);
void tlv_features_close(tlv_features *f);                   /* accepts NULL and an empty one */

/* ---- scores (score.c) ------------------------------------------------------------------------ */

typedef struct tlv_score {
    int64_t n, right, right5;   /* images looked at; recognised; the truth among the five first */
    double accuracy, accuracy5, loss;   /* of those n; the loss is the mean cross-entropy */
    int stopped;
} tlv_score;

typedef struct tlv_evaluate_opts {
    int64_t batch;              /* 0: 32 */
    int first_class;            /* the model's class of label 0: 1 if its class 0 is "background" */
    float *prob;                /* receives [n,classes] probabilities; or NULL */
    int64_t *confusion;         /* [classes * classes], counted up at label * classes + guess; or
                                   NULL */
    tlv_progress_fn progress;
    void *user;
} tlv_evaluate_opts;

/* m in evaluation mode on images index[0 .. n-1] of d (NULL: 0 .. n-1), without recording.
 * TLV_ERR_ARG if d has more classes than m. */
tlv_status tlv_evaluate(tlv_ctx *c, const tlv_model *m, const tlv_dataset *d, const int64_t *index,
                        int64_t n, tlv_evaluate_opts o, tlv_score *score);

/* ---- linear probe (linear_probe.c) ------------------------------------------------------------ *
 * Multinomial logistic regression on features x, standardised: z = (x - m) / s with the mean m and
 * the deviation s + 1e-5 of each feature over the training rows:
 *     minimise over W [K,D], b [K]   mean_i CE(W z_i + b, label_i) + l2 sum(W^2)
 * The bias has no penalty.  Solved to its one optimum by L-BFGS in double precision, and folded
 * back onto raw features: w = W / s, b - W (m / s).  (scikit-learn's C is 1 / (2 n l2).) */

typedef struct tlv_probe {
    tlv_ctx *c;
    int classes, dim;
    float *w, *b;               /* [classes,dim], [classes], for raw features */
    double l2;
} tlv_probe;

enum { TLV_PROBE_GRID = 32 };
typedef struct tlv_probe_opts {
    double l2;                  /* above 0: this penalty; 0: the best of the grid */
    double l2_min, l2_max;      /* ends of the grid, evenly spaced logarithms; 0: 1e-4 and 1 */
    int n_l2;                   /* up to TLV_PROBE_GRID; 0: 9 */
    int folds;                  /* of the cross-validation; 0: 5; at most the rows */
    tlv_rng_key key;            /* of the folds */
    tlv_progress_fn progress;   /* fits */
    void *user;
} tlv_probe_opts;

/* One penalty under cross-validation: on every training row, predicted by the fit that did not see
 * it. */
typedef struct tlv_probe_choice { double l2, accuracy, loss; int64_t right; } tlv_probe_choice;

typedef struct tlv_probe_report {
    int folds, n_table, chosen;         /* 0, 0, 0 where l2 was given */
    tlv_probe_choice table[TLV_PROBE_GRID];     /* falling penalties */
    int at_edge;                        /* the best penalty is an end of the grid */
    double objective, loss;             /* at the end, over the training rows; loss without l2 */
    double max_grad;                    /* the largest part of the gradient there */
    int iterations, evaluations;        /* of the last fit */
    int stopped;
} tlv_probe_report;

/* Fits on all rows of f.  The penalty is the one with the least loss in stratified k-fold
 * cross-validation inside f (means and deviations are those of each fold's training rows); among
 * equals the largest.  (Not the one that is right most often: on a few hundred rows that count is
 * coarse, and all penalties lie within its error.)  report may be NULL.  When stopped, *out is
 * empty.
 * Errors: TLV_ERR_ARG (fewer than two classes, a label out of range, a number not finite). */
tlv_status tlv_probe_fit(tlv_ctx *c, const tlv_features *f, tlv_probe_opts o, tlv_probe *out,
                         tlv_probe_report *report);
void tlv_probe_close(tlv_probe *p);                         /* accepts NULL and an empty one */

/* prob (or NULL): [n,classes]; confusion as in tlv_evaluate_opts. */
tlv_status tlv_probe_predict(tlv_ctx *c, const tlv_probe *p, const tlv_features *f, float *prob,
                             int64_t *confusion, tlv_score *score);

/* Gives m a head of p's classes with p's numbers: m then is the whole classifier.  TLV_ERR_SHAPE if
 * m's features are not as many as p's. */
tlv_status tlv_probe_to_model(tlv_ctx *c, const tlv_probe *p, tlv_model *m);

/* ---- fine-tuning (finetuning.c, finetuning_file.c) -------------------------------------------- *
 * Epochs of steps, a validation after each.  Everything random depends on the context's seed and on
 * its place (epoch, position), so a run that was stopped and resumed ends in the same bits as one
 * that was not, with any number of threads. */

typedef enum tlv_strategy {
    TLV_FULL = 0,               /* all layers */
    TLV_HEAD_ONLY = 1,          /* the head; the rest is frozen */
    TLV_LP_FT = 2               /* a linear probe becomes the head, then all layers (Kumar et al.
                                   2022, arXiv:2202.10054) */
} tlv_strategy;
typedef enum tlv_tuner { TLV_TUNE_SGD = 0, TLV_TUNE_ADAMW = 1 } tlv_tuner;
typedef enum tlv_schedule {
    TLV_ONE_CYCLE = 0,          /* up for a fifth of the steps, then down (cosines) */
    TLV_COSINE = 1,             /* down to 0 */
    TLV_STEP = 2,               /* a tenth at 1/2 and again at 3/4 */
    TLV_CONSTANT = 3
} tlv_schedule;
/* "full", "head", "lp-ft"; "sgd", "adamw"; "one-cycle", "cosine", "step", "constant". */
const char *tlv_strategy_name(tlv_strategy s);
const char *tlv_tuner_name(tlv_tuner t);
const char *tlv_schedule_name(tlv_schedule s);

/* Parameters whose names match learn at `scale` times the rate; "head" at the front of a pattern is
 * the model's head, whatever it is called. */
typedef struct tlv_lr_scale { const char *pattern; double scale; } tlv_lr_scale;

typedef enum tlv_tune_phase {
    TLV_TUNING_FEATURES = 0,    /* images through the frozen model, for the probe */
    TLV_TUNING_PROBE = 1,       /* fits of its cross-validation */
    TLV_TUNING_VALIDATE = 2     /* images */
} tlv_tune_phase;

typedef struct tlv_finetune tlv_finetune;

/* Start from tlv_finetune_defaults.  Strings and arrays must live until tlv_finetune_close. */
typedef struct tlv_finetune_opts {
    tlv_strategy strategy;
    tlv_tuner tuner;
    tlv_schedule schedule;
    int64_t epochs, batch, warmup;      /* warmup: steps */
    double lr, momentum, weight_decay;  /* momentum: Nesterov's, of SGD */
    double clip;                /* the gradient's norm is at most this; 0: any */
    double smoothing;           /* of labels, 0 .. 1 */
    const tlv_lr_scale *scales;
    int n_scales;               /* at most 16 */
    const char *freeze;         /* patterns of more entries that stay as they are; NULL: none */
    int bn_train;               /* 0: running statistics, frozen as they came; 1: each batch's */
    int new_head;               /* 1: fresh in any case (LP-FT: it is); 0: only for other classes */
    tlv_augment augment;        /* of training images */
    tlv_probe_opts probe;       /* of LP-FT; its key 0: the stream "folds" */
    const char *cache_dir;      /* of LP-FT's features; NULL: none */
    const char *checkpoint;     /* path of a file to resume from, written at the end of every epoch
                                   and at a stop; NULL: none */
    double checkpoint_seconds;  /* and after so many seconds; 0: not */
    const char *const *meta;    /* for the checkpoint: key, value ... NULL; or NULL */
    /* All may be NULL; anything but 0 stops the run (after the step, before the checkpoint). */
    int (*on_probe)(void *user, const tlv_finetune *t, const tlv_probe_report *probe,
                    const tlv_extract_report *features);
    int (*on_step)(void *user, const tlv_finetune *t);
    int (*on_epoch)(void *user, const tlv_finetune *t);
    int (*progress)(void *user, tlv_tune_phase phase, int64_t done, int64_t total);
    void *user;
} tlv_finetune_opts;

/* What suits the images and the start.  Photographs (sets of files): LP-FT, or all layers from
 * nothing; one-cycle, batch 16, 15 epochs, clipped at 1, crops and mirrors.  Small images in
 * memory: all layers, cosine, batch 64, 10 epochs; coloured ones are shifted and mirrored.  tuner
 * and strategy of `want`, if it is not NULL, are kept and the rates fit them. */
tlv_finetune_opts tlv_finetune_defaults(const tlv_model *m, const tlv_dataset *train,
                                        int pretrained, const tlv_finetune_opts *want);

/* Where a run is. */
typedef struct tlv_finetune_state {
    int64_t epoch, epochs;      /* epochs that ended (in on_epoch: this one too), of so many */
    int64_t step, steps;        /* steps done in the epoch at work, of so many */
    int64_t images, n_train, n_val;     /* images of these steps; in an epoch; validated on */
    double loss;                /* mean cross-entropy over `images`, as training saw them */
    double lr, grad_norm;       /* of the last step; the norm is before clipping, 0 if it is off */
    tlv_score val;              /* after the last epoch that ended (epoch 0: the probe) */
    double best;                /* accuracy on the validation images, -1 before the first */
    int64_t best_epoch;
    int better;                 /* the epoch that just ended is the best so far */
    int probed;                 /* LP-FT's first part is done */
    int stopped, finished;
    // what was decided when it began
    int head_was, head_new;     /* classes of the model as it came; 1 if the head was replaced */
    int64_t trainable;          /* numbers */
} tlv_finetune_state;

/* Images index[0 .. n-1] of train, validated on val's val_index[0 .. n_val-1] (NULL: 0 ..; n_val 0:
 * no validation, the last epoch counts as the best).  Replaces m's head if its classes are not
 * train's, and freezes; m, the sets and the index arrays must outlive the run.  NULL after an
 * error. */
tlv_finetune *tlv_finetune_open(tlv_ctx *c, tlv_model *m, const tlv_dataset *train,
                                const int64_t *index, int64_t n, const tlv_dataset *val,
                                const int64_t *val_index, int64_t n_val, tlv_finetune_opts o);
/* Takes up a checkpoint of a run that was opened with the same model, images and options, but for
 * paths and callbacks; anything else is TLV_ERR_STATE.  TLV_ERR_IO, TLV_ERR_FORMAT: the file. */
tlv_status tlv_finetune_resume(tlv_finetune *t, const char *checkpoint);
/* Goes on until the last epoch ended or a callback stopped it, which is no error: state->stopped
 * tells.  A loss that is not finite is TLV_ERR_ARG with its place. */
tlv_status tlv_finetune_run(tlv_finetune *t);
const tlv_finetune_state *tlv_finetune_now(const tlv_finetune *t);
const tlv_finetune_opts *tlv_finetune_options(const tlv_finetune *t);
void tlv_finetune_close(tlv_finetune *t);                   /* accepts NULL; m stays */

#ifdef __cplusplus
}
#endif
#endif
