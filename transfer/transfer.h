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
 * weights and statistics (the head left out), the recipe, the instruction set, the algorithm of
 * convolutions, the library's version.  So a changed image misses, a renamed one hits.  A file that
 * is damaged or cut short is reported and ignored; two processes may use one folder at a time; a
 * folder may be deleted at any time.  Images that tlv_dataset_keep reduced are found as their files
 * are: keep them at the recipe's own size and filter, or use no cache.
 *
 * Errors: those of tlv_dataset_batch and of models; TLV_ERR_IO if the cache has no folder. */
tlv_status tlv_extract_features(tlv_ctx *c, const tlv_model *m, const tlv_dataset *d,
                                const int64_t *index, int64_t n, tlv_extract_opts o,
                                tlv_features *out, tlv_extract_report *report);
void tlv_features_close(tlv_features *f);                   /* accepts NULL and an empty one */

/* ---- scores (score.c) ------------------------------------------------------------------------ */

typedef struct tlv_score {
    int64_t n, right;           /* images looked at; of them recognised */
    double accuracy, loss;      /* of those n; the loss is the mean cross-entropy */
    int stopped;
} tlv_score;

typedef struct tlv_evaluate_opts {
    int64_t batch;              /* 0: 32 */
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

/* ---- linear probe (probe.c) ------------------------------------------------------------------- *
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

/* Fits on all rows of f.  The penalty is the one that recognises most rows in stratified k-fold
 * cross-validation inside f (means and deviations are those of each fold's training rows); among
 * equals the largest.  report may be NULL.  When stopped, *out is empty.
 * Errors: TLV_ERR_ARG (fewer than two classes, a label out of range, a number not finite). */
tlv_status tlv_probe_fit(tlv_ctx *c, const tlv_features *f, tlv_probe_opts o, tlv_probe *out,
                         tlv_probe_report *report);
void tlv_probe_close(tlv_probe *p);                         /* accepts NULL and an empty one */

/* prob (or NULL): [n,classes]; confusion as in tlv_evaluate_opts. */
tlv_status tlv_probe_predict(tlv_ctx *c, const tlv_probe *p, const tlv_features *f, float *prob,
                             int64_t *confusion, tlv_score *score);

/* Gives m a head of p's classes with p's numbers: m then is the whole classifier.  TLV_ERR_SHAPE if
 * m's head is no linear layer on features like p's. */
tlv_status tlv_probe_to_model(tlv_ctx *c, const tlv_probe *p, tlv_model *m);

#ifdef __cplusplus
}
#endif
#endif
