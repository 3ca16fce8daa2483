/* transfer.h -- from a model that knows something to one that knows your images: features kept on
 * disk, a linear probe on them, fine-tuning, measuring; and learning to learn from few images.
 * docs/transfer.md and docs/meta-learning.md explain the methods.
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
const tlv_finetune_state *tlv_finetune_now(const tlv_finetune *t); /* also in callbacks */
const tlv_finetune_opts *tlv_finetune_options(const tlv_finetune *t); /* in force */
void tlv_finetune_close(tlv_finetune *t);                   /* accepts NULL; m stays */

/* ---- pre-training on drawn patterns (pretraining.c) ------------------------------------------- *
 * A model without photographs: it learns which categories of drawn patterns (data.h) are in an
 * image.  Each image is drawn for its step and never again.  As in fine-tuning a run that was
 * stopped and resumed ends in the same bits. */

typedef struct tlv_pretrain tlv_pretrain;

/* Start from tlv_pretrain_defaults.  Strings must live until tlv_pretrain_close. */
typedef struct tlv_pretrain_opts {
    tlv_patterns_opts patterns;
    int64_t steps, batch, warmup;       /* steps, images a step, steps */
    double lr, weight_decay;            /* AdamW; a cosine to 0; biases and batch norms do not
                                           decay */
    const char *checkpoint;             /* path of a file to resume from, written at the end and
                                           at a stop; or NULL */
    double checkpoint_seconds;          /* and after so many seconds; 0: not */
    const char *const *meta;            /* for the checkpoint: key, value ... NULL; or NULL */
    int (*on_step)(void *user, const tlv_pretrain *t);  /* anything but 0 stops the run; or NULL */
    void *user;
} tlv_pretrain_opts;
tlv_pretrain_opts tlv_pretrain_defaults(void);

typedef struct tlv_pretrain_state {
    int64_t step, steps;                /* done, of so many */
    double loss;                        /* binary cross-entropy over the last hundred steps */
    double found;                       /* of n categories in an image, the share among its n
                                           highest scores (R-precision), over the same steps */
    double lr;
    int stopped;
} tlv_pretrain_state;

/* m gets a new head, a score for each category, and learns in place; it must outlive the run.  Its
 * recipe says how images are drawn (size) and normalised.  NULL after an error. */
tlv_pretrain *tlv_pretrain_open(tlv_ctx *c, tlv_model *m, tlv_pretrain_opts o);
/* Takes up a checkpoint of a run with the same model and options but for paths and callbacks;
 * anything else is TLV_ERR_STATE.  TLV_ERR_IO, TLV_ERR_FORMAT: the file. */
tlv_status tlv_pretrain_resume(tlv_pretrain *t, const char *checkpoint);
/* Goes on until the last step or a stop, which is no error: state->stopped tells. */
tlv_status tlv_pretrain_run(tlv_pretrain *t);
const tlv_pretrain_state *tlv_pretrain_now(const tlv_pretrain *t);
void tlv_pretrain_close(tlv_pretrain *t);                   /* accepts NULL; m stays */

/* ---- learning to learn: parts (inner_loop.c, task_mean.c) ------------------------------------- *
 * A model is a pure function of its parameters, and every gradient has a gradient: so an inner loop
 * is a loop, and the gradient through it is a gradient.  docs/meta-learning.md derives it. */

/* The loss that an inner loop descends: a scalar with history in p; step counts from 0. */
typedef tlv_tensor *(*tlv_task_loss_fn)(tlv_ctx *c, const tlv_params *p, int step, void *user);

typedef struct tlv_inner_opts {
    int steps;
    double lr;
    int first_order;            /* 1: inner gradients count as constants (first-order MAML) */
    const char *adapt;          /* patterns of the parameters that are adapted; NULL: all */
    int checkpoint;             /* 1: the graph keeps theta_k alone and makes a step again when the
                                   gradient passes it (tlv_scope_begin_with, TLV_CHECKPOINT) */
} tlv_inner_opts;

/* theta_0 = theta,  theta_{k+1} = theta_k - lr grad loss(theta_k):  Finn et al. 2017,
 * arXiv:1703.03400, eq. 1.  A set of the innermost scope with history in theta, steps 0: theta
 * itself.  NULL after an error. */
const tlv_params *tlv_inner_loop(tlv_ctx *c, const tlv_params *theta, tlv_task_loss_fn loss,
                                 void *user, tlv_inner_opts o);

/* What task i contributes: a set of p's schema in the child's innermost scope, NULL entries are
 * zero. p is borrowed.  NULL with the error in child. */
typedef tlv_params *(*tlv_task_set_fn)(tlv_ctx *child, const tlv_params *p, int64_t task,
                                          void *user);
/* The mean of fn's sets over tasks 0 .. n-1, which run in parallel and are summed in their order:
 * same bits at any number of threads.  p owns its tensors.  A set of the innermost scope, NULL
 * entries where every task had NULL; holds n sets' numbers while it works.  NULL after an error. */
tlv_params *tlv_task_mean(tlv_ctx *c, const tlv_params *p, int64_t n, tlv_task_set_fn fn,
                          void *user);

/* ---- learning to learn: methods (learner.c; a file a method) --------------------------------- */

typedef enum tlv_meta_method {
    TLV_MAML = 0,               /* maml.c: Finn et al. 2017, arXiv:1703.03400, exact second order */
    TLV_FOMAML = 1,             /* maml.c: the same without second derivatives */
    TLV_ANIL = 2,               /* maml.c: only the head is adapted; Raghu et al. 2020,
                                   arXiv:1909.09157 */
    TLV_BOIL = 3,               /* maml.c: all but the head; Oh et al. 2021, arXiv:2008.08882 */
    TLV_META_SGD = 4,           /* meta_sgd.c: a learned rate a number; Li et al. 2017,
                                   arXiv:1707.09835 */
    TLV_MAML_PLUS_PLUS = 5,     /* maml_plus_plus.c: Antoniou et al. 2019, arXiv:1810.09502 */
    TLV_IMAML = 6,              /* imaml.c: implicit; Rajeswaran et al. 2019, arXiv:1909.04630 */
    TLV_REPTILE = 7,            /* reptile.c: Nichol et al. 2018, arXiv:1803.02999 */
    TLV_PROTONET = 8,           /* protonet.c: Snell et al. 2017, arXiv:1703.05175 */
    TLV_MATCHING_NET = 9,       /* matching_net.c: Vinyals et al. 2016, arXiv:1606.04080 */
    TLV_META_METHODS = 10
} tlv_meta_method;
const char *tlv_meta_method_name(tlv_meta_method m);        /* "maml", "fomaml", "anil" ... */
int tlv_meta_method_find(const char *name);                 /* the method, or -1 */

/* Where batch norms get mean and variance.  Published figures differ in it: say it beside yours. */
typedef enum tlv_meta_bn {
    TLV_META_BN_BATCH = 0,      /* from whatever is in the batch, in tests too (MAML, Reptile) */
    TLV_META_BN_RUNNING = 1,    /* training and inner steps: the batch's; query images in tests:
                                   running ones (ProtoNet: of support images too) */
    TLV_META_BN_PER_STEP = 2    /* the same with a running pair for each inner step (MAML++ alone,
                                   which has scale and shift of each step in every case) */
} tlv_meta_bn;
const char *tlv_meta_bn_name(tlv_meta_bn b);                /* "batch", "running", "per-step" */

/* Start from tlv_meta_defaults. */
typedef struct tlv_meta_opts {
    tlv_meta_method method;
    // episodes
    int ways, shots, queries;   /* of the tasks that are learned for; queries: a class */
    int train_ways, train_shots;    /* of training episodes where they differ; 0: as above */
    int tasks;                  /* episodes an outer step: the meta-batch */
    // inner loop
    int inner_steps, eval_steps;    /* steps in training and afterwards */
    double inner_lr;
    int inner_batch, eval_batch;    /* Reptile: images an inner step; 0: the whole support set */
    const char *adapt;          /* patterns of what is adapted; "head" in front is the model's head;
                                   NULL: the method's own (all; ANIL the head, BOIL the rest) */
    int lora_rank;              /* above 0: the inner loop adapts a low-rank change of each matrix
                                   that `adapt` names, instead of the matrix (Hu et al. 2022) */
    int checkpoint;             /* 1: inner steps are made again in the outer gradient instead of
                                   kept: less memory, the same bits; no matter to Reptile, iMAML
                                   and the methods that compare features */
    tlv_meta_bn bn;
    // outer loop
    double lr;                  /* Adam's; Reptile: of the step towards the adapted weights */
    double lr_end;              /* what lr falls to (cosine; Reptile: linear) over `iterations` */
    int64_t iterations;         /* outer steps of the whole run */
    double clip;                /* every number of the outer gradient is at most this; 0: any */
    // of single methods
    int64_t multi_step;         /* MAML++: outer steps over which the losses after early inner steps
                                   fade out; 0: only the last one counts */
    double proximal;            /* iMAML: lambda */
    int cg_steps;               /* iMAML: of conjugate gradients */
} tlv_meta_opts;

/* The published recipe for Omniglot (papers name others where they differ). */
tlv_meta_opts tlv_meta_defaults(tlv_meta_method method, int ways, int shots);

typedef struct tlv_meta tlv_meta;

/* A learner that starts from m's weights.  m has a head of o.ways classes (of any number where the
 * method has no use for it) and must outlive the learner, which keeps its own copy of the weights.
 * TLV_ERR_ARG for options out of range or such that the method does not have. */
tlv_meta *tlv_meta_open(tlv_ctx *c, const tlv_model *m, tlv_meta_opts o);
void tlv_meta_close(tlv_meta *l);                           /* accepts NULL */
const tlv_meta_opts *tlv_meta_options(const tlv_meta *l);   /* as they are in force */
int64_t tlv_meta_iteration(const tlv_meta *l);              /* outer steps done */
/* What is meta-learned: the model's entries and after them the method's own ("rate.conv1.weight"
 * ...). */
tlv_params *tlv_meta_params(const tlv_meta *l);
/* Copies the learned start into a model of the same schema. */
tlv_status tlv_meta_to_model(const tlv_meta *l, tlv_model *m);

/* Means over the tasks of an outer step: loss and accuracy on their query sets. */
typedef struct tlv_meta_progress { double loss, accuracy, lr; } tlv_meta_progress;
/* One outer step on o.tasks episodes of e; which ones depends on the context's seed and the number
 * of the step alone.  report may be NULL.  A loss that is not finite is TLV_ERR_ARG with its task,
 * and nothing is changed. */
tlv_status tlv_meta_step(tlv_meta *l, const tlv_episodes *e, tlv_meta_progress *report);

typedef struct tlv_meta_test {
    int64_t tasks;              /* episodes; 0: 600 */
    int ways, shots, queries;   /* 0: the learner's */
    int one_by_one;             /* 1: each query image is judged without the others (with batch
                                   statistics: in a batch with the support set alone, as Reptile's
                                   "without transduction"); 0: all at once */
    tlv_rng_key key;            /* of the episodes */
    tlv_progress_fn progress;   /* tasks; NULL: none */
    void *user;
} tlv_meta_test;
typedef struct tlv_meta_score {
    int64_t tasks;
    double accuracy, loss;      /* means over the tasks */
    double ci95;                /* 1.96 standard errors of the mean accuracy */
    int stopped;
} tlv_meta_score;
/* Adapts to the support set of each episode and judges its query set. */
tlv_status tlv_meta_evaluate(tlv_meta *l, const tlv_episodes *e, tlv_meta_test t,
                             tlv_meta_score *score);

/* Logits [Q,ways] of query images x [Q,C,S,S] after learning from support images [N,C,S,S] with
 * labels y [N] i32 in 0 .. ways-1.  If ways is not the learner's, each row of the head starts as
 * the mean of its rows (Ye & Chao 2022, arXiv:2106.16245).  Without history, of the innermost
 * scope. */
tlv_tensor *tlv_meta_predict(tlv_meta *l, const tlv_tensor *support, const tlv_tensor *y, int ways,
                             const tlv_tensor *query, int one_by_one);

/* One file: weights, the method's own entries, moments of the outer optimizer, the step, the
 * options, the model's architecture and recipe: resuming gives the bits of a run that never
 * stopped.  extra: key, value ... NULL for the metadata, or NULL.  Writes beside and renames. */
tlv_status tlv_meta_save(const tlv_meta *l, const char *path, const char *const *extra);
/* Takes up such a file in a learner of the same model and options (tasks, lr, lr_end and iterations
 * may differ), else TLV_ERR_STATE; TLV_ERR_IO, TLV_ERR_FORMAT. */
tlv_status tlv_meta_resume(tlv_meta *l, const char *path);
/* Opens model and learner from such a file: *m is closed by the caller, after the learner. */
tlv_meta *tlv_meta_load(tlv_ctx *c, const char *path, tlv_model **m);

/* ---- low-rank changes (lora.c) ---------------------------------------------------------------- *
 * W + B A with B [O,r] = 0 and A [r,I]: Hu et al. 2022, arXiv:2106.09685.  A set of parameters to a
 * set of parameters, so that it serves any model. */

/* p with entries NAME.lora_a [r,I] (Kaiming uniform, by the seed and the name) and NAME.lora_b
 * [O,r] (zeros) behind it for each matrix or convolution [O,I,..] whose name matches: an owned set,
 * in which the matched entries are frozen.  TLV_ERR_ARG if none matches. */
tlv_params *tlv_lora_add(tlv_ctx *c, const tlv_params *p, const char *pattern, int rank);
/* p's entries with W + scale B A in place of W where there is a pair: a set of the innermost scope,
 * with history in W, A and B. */
tlv_params *tlv_lora_merge(tlv_ctx *c, const tlv_params *p, double scale);

#ifdef __cplusplus
}
#endif
#endif
