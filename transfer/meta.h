/* meta.h -- what a method of learning to learn shows to learner.c, and what it may use.
 *
 * A method is one file with one tlvi_meta_method, listed in learner.c. */
#ifndef TLVI_META_H
#define TLVI_META_H

#include "nn/set.h"
#include "transfer/transfer.h"

typedef struct tlvi_meta_method tlvi_meta_method;

enum { TLVI_ADAPT = 512 };              /* bytes of the option adapt */

struct tlv_meta {
    tlv_ctx *c;
    const tlv_model *m;                 /* its forward function; its parameters are not used */
    const tlvi_meta_method *how;
    tlv_meta_opts o;
    char adapt[TLVI_ADAPT];             /* what o.adapt points to */
    tlv_params *p;                      /* the model's entries, LoRA's, the method's own */
    uint8_t *adapted;                   /* [own]: 1 where an inner loop moves it */
    int entries;                        /* of p */
    int own;                            /* the first of the method's own entries */
    int head_w, head_b;                 /* slots, or -1 */
    int head_alone;                     /* 1: inner loops move the linear head and nothing else */
    tlv_optim *opt;
    int64_t iteration;
    tlv_rng_key key;                    /* of training episodes */
};

/* One episode at work, on a child context or the learner's own. */
typedef struct tlvi_meta_task {
    tlv_ctx *c;
    const tlv_meta *l;
    const tlv_params *p;                /* the meta-parameters, as leaves of c */
    const tlv_episode *e;
    int training;                       /* 1: in an outer step */
    int one_by_one;                     /* see tlv_meta_test */
    int64_t iteration;                  /* of the outer loop */
    tlv_rng_key key;                    /* of what the method draws */
    const tlv_tensor *features;         /* [N,D] of the support set, where the head alone moves;
                                           NULL: each inner step runs the whole model */
    tlv_params *observed;               /* statistics of batch norms, in training, which live as
                                           long as this set; NULL where the batch's count */
    double loss, accuracy;              /* on the query set: tlvi_meta_query_loss */
} tlvi_meta_task;

struct tlvi_meta_method {
    const char *name;
    tlv_meta_opts defaults;             /* but for method, ways, shots */
    int sgd;                            /* 1: the outer step is p -= lr direction, not Adam's */
    int embeds;                         /* 1: judges by features alone: any ways, no head */
    int step_norms;                     /* 1: has batch norms for each inner step (step_norms.c),
                                           which no inner loop moves */
    int carries;                        /* 1: its own buffers become the mean over the tasks of what
                                           they end with, without momentum */
    /* Entries of the method's own, an owned set, or NULL where it has none (no error) or failed. l
     * has p, adapted and own. */
    tlv_params *(*own)(tlv_ctx *c, const tlv_meta *l);
    /* What the outer optimizer descends, in p's schema; sets t->loss and t->accuracy. */
    tlv_params *(*direction)(tlvi_meta_task *t);
    /* Logits [Q,ways] of the query set after learning from the support set. */
    tlv_tensor *(*predict)(tlvi_meta_task *t);
};

extern const tlvi_meta_method tlvi_maml, tlvi_fomaml, tlvi_anil, tlvi_boil, tlvi_meta_sgd,
    tlvi_maml_plus_plus, tlvi_imaml, tlvi_reptile, tlvi_protonet, tlvi_matching_net;

/* ---- for methods (meta_task.c) --------------------------------------------------------------- */

tlv_dtype tlvi_meta_dtype(const tlv_meta *l);       /* of the parameters */
/* p's tensors with all frozen that no inner loop moves. */
const tlv_params *tlvi_meta_adapted(const tlvi_meta_task *t, const tlv_params *p);
/* Logits or features of images x under p (a set of the learner's schema); step: how many inner
 * steps lie behind p.  Batch norms as the options say. */
tlv_tensor *tlvi_meta_logits(tlvi_meta_task *t, const tlv_params *p, int step, const tlv_tensor *x);
tlv_tensor *tlvi_meta_features(tlvi_meta_task *t, const tlv_params *p, const tlv_tensor *x);
/* The scope of an inner step, whose new parameters are kept: checkpointed if the options say so. */
tlv_scope tlvi_meta_step_begin(const tlvi_meta_task *t);
/* To be called before a task's method: a place for statistics; t->features where the learner's
 * head_alone says so, for what inner steps do not move need not run again in each of them. */
void tlvi_meta_start(tlvi_meta_task *t);
/* Cross-entropy of the support set: a tlv_task_loss_fn whose user is the task. */
tlv_tensor *tlvi_meta_support_loss(tlv_ctx *c, const tlv_params *p, int step, void *task);
/* Logits of the query set, each image by itself if the task says one_by_one. */
tlv_tensor *tlvi_meta_query_logits(tlvi_meta_task *t, const tlv_params *p, int step);
/* Mean cross-entropy of the query set's logits, with history; notes loss and accuracy. */
tlv_tensor *tlvi_meta_query_loss(tlvi_meta_task *t, tlv_tensor *logits);

/* The query set's logits under what a task was learned to, without history. */
tlv_tensor *tlvi_meta_answer(tlvi_meta_task *t, const tlv_params *p, int step);
/* grad L_Q(p) with respect to the task's parameters, through p's history; notes loss, accuracy. */
tlv_params *tlvi_meta_query_gradient(tlvi_meta_task *t, const tlv_params *p, int step);

/* ---- embedding.c ----------------------------------------------------------------------------- */

/* Logits [Q,ways] from features: s [N,D] of the support set, y [N,ways] its labels as rows of zeros
 * and a one, q [Q,D] of query images. */
typedef tlv_tensor *(*tlvi_compare_fn)(tlv_ctx *c, const tlv_tensor *s, const tlv_tensor *y,
                                       const tlv_tensor *q);
/* Direction and prediction of a method that compares features.  TLV_ERR_ARG if a class has no
 * support image. */
tlv_params *tlvi_embedding_direction(tlvi_meta_task *t, tlvi_compare_fn fn);
tlv_tensor *tlvi_embedding_predict(tlvi_meta_task *t, tlvi_compare_fn fn);

/* ---- learned_rates.c ------------------------------------------------------------------------- */

/* Adds an entry PREFIX NAME for each adapted parameter, filled with inner_lr: of its shape, or [1].
 * b may be NULL. */
void tlvi_rates_build(tlv_build *b, const tlv_meta *l, const char *prefix, int each);
/* p - rate o g, recorded: rates are the task's entries PREFIX NAME. */
tlv_params *tlvi_rates_descend(tlvi_meta_task *t, const tlv_params *p, const tlv_params *g,
                                     const char *prefix);

/* ---- step_norms.c ---------------------------------------------------------------------------- */

/* Scale, shift and running statistics of batch norms. */
int tlvi_is_batch_norm(const tlv_params *p, int slot);
/* Adds the entries "meta.step.K.NAME"; b may be NULL.  start: they become the model's. */
void tlvi_step_norms_build(tlv_build *b, const tlv_meta *l);
void tlvi_step_norms_start(tlv_ctx *c, const tlv_meta *l, tlv_params *own);
/* The entry that a pass after `step` inner steps reads in place of `slot`: it, if none. */
int tlvi_step_slot(const tlv_meta *l, int slot, int step);
/* p as such a pass reads it: p itself, or a set of the innermost scope. */
const tlv_params *tlvi_step_norms(tlv_ctx *c, const tlv_meta *l, const tlv_params *p, int step);

/* ---- lora.c ---------------------------------------------------------------------------------- */

/* The pairs NAME.lora_a, NAME.lora_b alone, of the matrices that are wanted: an owned set. */
typedef int (*tlvi_wanted)(const void *user, const char *name);
tlv_params *tlvi_lora_entries(tlv_ctx *c, const tlv_params *p, tlvi_wanted wanted, const void *user,
                              int rank);

#endif
