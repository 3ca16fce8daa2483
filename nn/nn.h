/* nn.h -- parameter sets, layers, models.
 *
 * A module is a plain struct of sizes and slots; the tensors live in a named set, tlv_params.  A
 * forward function is pure: parameters come in through tlv_run, and batch-norm statistics and taps
 * leave through its sinks.  Names are PyTorch's, so that published checkpoints map directly. */
#ifndef TLV_NN_H
#define TLV_NN_H

#include "autograd/autograd.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- parameter sets (params.c) ---------------------------------------------------------------- *
 * A set is an immutable, shared schema (names, shapes) and a value an entry.  Entries are
 * parameters or buffers (running statistics: no gradient, not counted, untouched by axpy and
 * optimizers). Sets from open, build, load and clone own their tensors, outside any scope:
 * tlv_params_close.  Sets from grad, axpy and borrow belong to the innermost scope and end with
 * it. */
typedef struct tlv_params tlv_params;

int tlv_params_count(const tlv_params *p);                          /* entries, buffers included */
const char *tlv_params_name(const tlv_params *p, int slot); /* "layer1.0.conv1.weight" */
tlv_tensor *tlv_params_get(const tlv_params *p, int slot); /* NULL: a gradient that is zero */
int tlv_params_find(const tlv_params *p, const char *name);         /* slot, or -1 */
int tlv_params_is_buffer(const tlv_params *p, int slot);    /* 1: a running statistic */
int tlv_params_is_frozen(const tlv_params *p, int slot);    /* 1: it gets no gradient */
int64_t tlv_params_numel(const tlv_params *p,
                         int trainable_only); /* numbers in parameters, no buffers */
void tlv_params_close(tlv_params *p);         /* accepts NULL; TLV_ERR_STATE while borrowed */

/* Patterns: '*' matches any run of characters, ',' separates alternatives: "head.*,*.bias".  A
 * frozen parameter gets no gradient; a batch norm whose running statistics are frozen uses them and
 * leaves them as they are.  Both return how many entries matched. */
int tlv_params_freeze(tlv_params *p, const char *pattern);
int tlv_params_unfreeze(tlv_params *p, const char *pattern);
int tlv_match(const char *pattern, const char *name);

/* A copy in the same context that owns its tensors: values (zeros where p has NULL), or zeros. */
tlv_params *tlv_params_clone(tlv_ctx *c, const tlv_params *p);
tlv_params *tlv_params_zeros(tlv_ctx *c, const tlv_params *p);
/* dst's values := src's; same schema (buffers too; NULL in src is zero). */
tlv_status tlv_params_copy(tlv_ctx *c, tlv_params *dst, const tlv_params *src);
/* Overwrites one entry; t has its shape and dtype. */
tlv_status tlv_params_set(tlv_ctx *c, tlv_params *p, int slot, const tlv_tensor *t);
/* A new set in which entries that match `drop` are gone and those of `add` (may be NULL) are
 * appended: for a new head.  Slots change: resolve them again.  A name that would stand twice
 * is TLV_ERR_NAME. */
tlv_params *tlv_params_edit(tlv_ctx *c, const tlv_params *p, const char *drop,
                            const tlv_params *add);

/* Gradients of loss with respect to every parameter that is not frozen: a set with p's schema, of
 * the innermost scope.  flags as tlv_grad; without TLV_CREATE_GRAPH the graph is consumed. */
tlv_params *tlv_params_grad(tlv_ctx *c, const tlv_tensor *loss, const tlv_params *p, int flags);
/* p + a g, recorded: the inner step of MAML.  Entries without gradient and buffers are p's own;
 * NULL in p is zero. */
tlv_params *tlv_params_axpy(tlv_ctx *c, const tlv_params *p, double a, const tlv_params *g);
/* p's own tensors under p's names, with every parameter frozen whose name does not match: a set of
 * the innermost scope.  What an inner loop adapts: "fc.*" is ANIL's. */
tlv_params *tlv_params_select(tlv_ctx *c, const tlv_params *p, const char *pattern);
/* p's tensors as leaves of a child context over the same memory.  While such a set lives, p may not
 * be stepped, set or closed; it ends with its scope, in the child. */
tlv_params *tlv_params_borrow(tlv_ctx *child, const tlv_params *p);
/* Ends s but hands the set and its tensors outwards, as tlv_scope_end_keep does; p may be NULL. */
void tlv_scope_end_keep_params(tlv_ctx *c, tlv_scope s, tlv_params *p);
/* Global L2 norm of all entries (double accumulation, in slot order). */
double tlv_params_norm(tlv_ctx *c, const tlv_params *p);

/* ---- building (build.c, init.c) -------------------------------------------------------------- */

typedef enum tlv_init_kind {
    TLV_INIT_ZEROS,
    TLV_INIT_ONES,
    TLV_INIT_CONST,
    TLV_INIT_UNIFORM,
    TLV_INIT_NORMAL,
    TLV_INIT_TRUNC_NORMAL,
    TLV_INIT_KAIMING_UNIFORM,
    TLV_INIT_KAIMING_NORMAL,
    TLV_INIT_XAVIER_UNIFORM,
    TLV_INIT_XAVIER_NORMAL
} tlv_init_kind;
/* a: the value, bound, standard deviation or negative slope / gain that the kind takes; fans follow
 * PyTorch's rule (dim 1 x receptive field in, dim 0 x receptive field out). */
typedef struct tlv_init { tlv_init_kind kind; double a; int fan_out; } tlv_init;
tlv_init tlv_init_zeros(void);                              /* all 0 */
tlv_init tlv_init_ones(void);                               /* all 1 */
tlv_init tlv_init_uniform(double bound);                    /* -bound .. bound */
tlv_init tlv_init_normal(double std);                       /* mean 0 */
tlv_init tlv_init_trunc_normal(double std);                 /* cut at 2 std, as timm */
tlv_init tlv_init_kaiming_uniform(double negative_slope);   /* torch.nn.Linear, Conv2d: sqrt(5) */
tlv_init tlv_init_kaiming_normal(int fan_out); /* ReLU gain; He et al. 2015, arXiv:1502.01852 */
tlv_init tlv_init_xavier_uniform(double gain);              /* Glorot & Bengio 2010 */
tlv_init tlv_init_xavier_normal(double gain);               /* the same, normal */

/* Collects names, shapes and inits; values are drawn at the end from (seed, name), so that a
 * parameter's start does not depend on what else is in the model. */
typedef struct tlv_build tlv_build;
tlv_build *tlv_build_begin(tlv_ctx *c, tlv_dtype d);
void tlv_build_push(tlv_build *b, const char *name); /* "layer1" -> names begin with "layer1." */
void tlv_build_pop(tlv_build *b);                           /* takes back the last push */
int tlv_build_param(tlv_build *b, const char *name, tlv_shape s, tlv_init init);    /* the slot */
/* An entry without gradient: a running statistic. */
int tlv_build_buffer(tlv_build *b, const char *name, tlv_shape s, tlv_init init);
tlv_params *tlv_build_end(tlv_build *b);                    /* frees b; NULL if anything failed */

/* ---- running (run.c) ------------------------------------------------------------------------- */

typedef enum tlv_mode { TLV_TRAIN = 0, TLV_EVAL = 1 } tlv_mode;

typedef struct tlv_stats tlv_stats;     /* sink of batch-norm statistics */
typedef struct tlv_taps tlv_taps;       /* sink of named intermediates */

/* What a forward function gets.  stats and taps may be NULL: then nothing is collected (MAML: batch
 * statistics are used and forgotten). */
typedef struct tlv_run {
    tlv_ctx *c;
    const tlv_params *params;
    tlv_mode mode;
    tlv_stats *stats;
    tlv_taps *taps;
    tlv_rng_key rng;                    /* of dropout and drop path */
    uint64_t step;                      /* folded into rng: another step, other masks */
} tlv_run;

/* The parameter of a slot. */
tlv_tensor *tlv_run_param(const tlv_run *r, int slot);

tlv_stats *tlv_stats_open(tlv_ctx *c);                      /* for tlv_run.stats */
void tlv_stats_close(tlv_stats *s);                         /* accepts NULL */
/* running = (1 - momentum) running + momentum batch, for each batch norm in call order, and forgets
 * them. p must be what the run used, or a set of the same schema.  r->stats may be NULL.  All or
 * nothing: after an error, one of its own too (TLV_ERR_NAME, TLV_ERR_STATE), what is pending is
 * discarded and counted. */
tlv_status tlv_run_apply_stats(const tlv_run *r, tlv_params *p);
void tlv_stats_discard(tlv_stats *s);               /* forgets what is pending, and counts it */
int64_t tlv_stats_discarded(const tlv_stats *s);    /* how many are forgotten, by errors too */

/* Taps hold tensors by name with their history, in the scope where the sink was opened: for
 * features and Grad-CAM.  A pattern (at most 255 characters) chooses what is kept, at most 64
 * tensors (then TLV_ERR_LIMIT). */
tlv_taps *tlv_taps_open(tlv_ctx *c, const char *pattern);
void tlv_taps_close(tlv_taps *t);                           /* accepts NULL */
void tlv_taps_clear(tlv_taps *t);                           /* forgets what it holds */
int tlv_taps_count(const tlv_taps *t);                      /* tensors it holds */
const char *tlv_taps_name(const tlv_taps *t, int i);        /* in the order of the calls */
tlv_tensor *tlv_taps_get(const tlv_taps *t, int i);         /* the tensor of that name */
void tlv_run_tap(const tlv_run *r, const char *name, tlv_tensor *x);     /* for forward functions */

/* ---- layers (layers.c) ----------------------------------------------------------------------- */

typedef struct tlv_linear_layer {
    int in, out, w, b;
} tlv_linear_layer; /* b: -1 without bias */
/* x [..,in] -> act(x w^T + b) [..,out] with w [out,in]: NAME.weight, NAME.bias.  torch.nn.Linear's
 * init (Kaiming uniform, a = sqrt 5). */
tlv_linear_layer tlv_linear_init(tlv_build *b, const char *name, int in, int out, int bias);
tlv_tensor *tlv_linear_fwd(const tlv_run *r, const tlv_linear_layer *m, const tlv_tensor *x,
                           tlv_act act);

typedef struct tlv_conv_layer { int in, out, k, w, b; tlv_conv2d_opts o; } tlv_conv_layer;
/* x [B,in,H,W] -> [B,out,OH,OW], a filter of k x k: NAME.weight, NAME.bias.
 * torch.nn.Conv2d's init (Kaiming uniform, a = sqrt 5). */
tlv_conv_layer tlv_conv_init(tlv_build *b, const char *name, int in, int out, int k,
                             tlv_conv2d_opts o, int bias);
tlv_tensor *tlv_conv_fwd(const tlv_run *r, const tlv_conv_layer *m, const tlv_tensor *x);

/* Ioffe & Szegedy 2015, arXiv:1502.03167.  Three explicit states: train (batch statistics), frozen
 * (train mode, but running statistics are frozen in the set), eval. */
typedef struct tlv_bn_layer {
    int channels, gamma, beta, mean, var, count;
    double eps, momentum;
} tlv_bn_layer;
tlv_bn_layer tlv_bn_init(tlv_build *b, const char *name, int channels);
tlv_tensor *tlv_bn_fwd(const tlv_run *r, const tlv_bn_layer *m, const tlv_tensor *x,
                       const tlv_tensor *residual, tlv_act act);
/* conv, then bn, residual, activation: one pass where the statistics are known. */
tlv_tensor *tlv_conv_bn_fwd(const tlv_run *r, const tlv_conv_layer *conv, const tlv_bn_layer *bn,
                            const tlv_tensor *x, const tlv_tensor *residual, tlv_act act);

typedef struct tlv_ln_layer { int dim, gamma, beta; double eps; } tlv_ln_layer;
/* Over the last axis, of dim numbers: NAME.weight (ones), NAME.bias (zeros).  Ba et al. 2016,
 * arXiv:1607.06450. */
tlv_ln_layer tlv_ln_init(tlv_build *b, const char *name, int dim, double eps);
tlv_tensor *tlv_ln_fwd(const tlv_run *r, const tlv_ln_layer *m, const tlv_tensor *x);

/* ---- models (model.c, models/) --------------------------------------------------------------- */

typedef struct tlv_model tlv_model;

/* Where the zeros around a strided convolution go: published weights differ in it. */
typedef enum tlv_padding {
    TLV_PADDING_DEFAULT = 0,    /* the rule of the file's dialect; PyTorch's without a file */
    TLV_PADDING_TORCH,          /* k/2 on every side */
    TLV_PADDING_SAME /* TensorFlow's and Keras's "SAME": ceil(H / stride) outputs; where the number
                        of zeros is odd, the odd one is at the bottom and at the right */
} tlv_padding;
const char *tlv_padding_name(tlv_padding p);                /* "torch", "same" */

/* 0 means: as the file says, or as the architecture has it.  TLV_ERR_ARG where an architecture has
 * no such setting, or where the file contradicts it. */
typedef struct tlv_model_opts {
    int classes; /* 0: the architecture's own (10, 1000), or the checkpoint's */
    tlv_dtype dtype;                    /* TLV_F32 */
    double width;                       /* multiplier of channels: 0.35, 0.5, 1, 1.4 ... */
    tlv_padding padding;
    double eps, momentum;               /* of batch norms; momentum as PyTorch counts it */
    int folded; /* 1: batch norms are folded into convolutions with bias: none are left */
    int channels;                       /* of the images; 3 */
    int size;                           /* of the images, square */
} tlv_model_opts;

/* What a model is beside its numbers: enough to build it again. */
typedef struct tlv_model_info {
    const char *arch;
    const char *dialect;        /* whose names and rules the weights follow: "torchvision" ... */
    int classes, dim;           /* dim: of the features, [B,dim] */
    int has_head;               /* 0: the file had none, what stands there is random */
    int linear_head;            /* 1: logits = features w^T + b, w [classes,dim] */
    int folded;
    int channels, size;         /* of images: C and, where it matters, the side */
    double width, eps, momentum;
    tlv_padding padding;
    tlv_recipe recipe;          /* how the weights want their images */
} tlv_model_info;

/* Random weights: "resnet20", "resnet32", "resnet44", "resnet56" (32x32, option-A shortcut; He et
 * al. 2015, arXiv:1512.03385 section 4.2), "resnet10", "resnet18", "resnet34", "resnet50" (names
 * and rules of torchvision's, any width),
 * "mobilenet_v2" (Sandler et al. 2018, arXiv:1801.04381), "squeezenet1_0" (Iandola et al. 2016,
 * arXiv:1602.07360), "conv4", "conv4_stride", "conv4_stride_flat" (28x28, for few-shot learning:
 * conv4.c), "vit_tiny_patch16", "vit_small_patch16", "vit_base_patch16", "vit_mini_patch4" (vit.c).
 * TLV_ERR_ARG lists them. */
tlv_model *tlv_model_open(tlv_ctx *c, const char *arch, tlv_model_opts o);
void tlv_model_close(tlv_model *m);                         /* and its parameters; accepts NULL */

const tlv_model_info *tlv_model_about(const tlv_model *m);  /* changes with new_head, set_recipe */
const char *tlv_model_arch(const tlv_model *m);             /* "resnet18" */
const char *tlv_model_dialect(const tlv_model *m);          /* "torchvision" */
tlv_params *tlv_model_params(const tlv_model *m);           /* the model's own: not to be closed */
int tlv_model_classes(const tlv_model *m);                  /* of the head */
int tlv_model_dim(const tlv_model *m);                      /* width of the features */
/* 0: the weights came without a head, and none was made since: logits mean nothing. */
int tlv_model_has_head(const tlv_model *m);
const char *tlv_model_head(const tlv_model *m); /* "fc": its entries are fc.weight, fc.bias */
const tlv_recipe *tlv_model_recipe(const tlv_model *m);     /* how it wants its images */
void tlv_model_set_recipe(tlv_model *m, const tlv_recipe *r);   /* copied */
const char *const *tlv_model_archs(void);                   /* names, NULL ends */

/* Names of the classes, UTF-8: NULL if the model does not know them.  set copies as many as there
 * are classes; NULL forgets them. */
const char *tlv_model_class_name(const tlv_model *m, int k);
tlv_status tlv_model_set_class_names(tlv_ctx *c, tlv_model *m, const char *const *names);

/* A run over the model's own parameters. */
tlv_run tlv_model_run(tlv_ctx *c, const tlv_model *m, tlv_mode mode);
/* x [B,C,H,W] -> logits [B,classes];  features: pooled, [B,dim].  Where info.linear_head is set
 * (everywhere but in SqueezeNet's published head), logits = features w^T + b. */
tlv_tensor *tlv_model_forward(const tlv_run *r, const tlv_model *m, const tlv_tensor *x);
tlv_tensor *tlv_model_features(const tlv_run *r, const tlv_model *m, const tlv_tensor *x);
/* Replaces the head by a fresh linear one for so many classes; keeps all else (numbers, frozen
 * flags, recipe, dialect), forgets the names of the classes. */
tlv_status tlv_model_new_head(tlv_ctx *c, tlv_model *m, int classes);
/* What the head knows is of no use to others: tlv_model_has_head is 0 from now on. */
void tlv_model_drop_head(tlv_model *m);

/* ---- files (load.c) -------------------------------------------------------------------------- */

typedef struct tlv_load_opts {
    const char *allow_missing; /* patterns of entries that may keep their values; NULL: none */
    const char *ignore;        /* patterns of names in the file that are not wanted; NULL: none */
} tlv_load_opts;

typedef struct tlv_load_report {
    int matched, missing, ignored, converted;   /* entries; converted: from another dtype */
    int64_t numbers;                            /* in the matched ones */
    char text[256];                             /* one line for people */
} tlv_load_report;

/* Fills p from a safetensors file, strictly: every entry must be there with its shape (but a
 * missing num_batches_tracked is fine), and every tensor of the file must be wanted.  report may be
 * NULL. */
tlv_status tlv_params_load(tlv_ctx *c, tlv_params *p, const char *path, tlv_load_opts o,
                           tlv_load_report *report);
/* Writes beside and renames.  meta: key, value, key, value ... NULL; may be NULL. */
tlv_status tlv_params_save(tlv_ctx *c, const tlv_params *p, const char *path,
                           const char *const *meta);

/* ---- saved models (saved.c) ------------------------------------------------------------------ */

/* One file that needs nothing else: parameters by PyTorch's names, and in its metadata the
 * library's version, architecture, settings, recipe and class names.  A model without a head is
 * saved without one.  extra: key, value ... NULL, beside those; may be NULL. */
tlv_status tlv_model_save(tlv_ctx *c, const tlv_model *m, const char *path,
                          const char *const *extra);

/* Finds architecture, dialect and settings from names and shapes in the file (o.classes 0: the
 * file's), and from the metadata of tlv_model_save, unless arch or o says otherwise, and loads it.
 * "module." prefixes are removed and reported.  A file without a head (but otherwise whole) gets a
 * random one: see tlv_model_has_head. */
tlv_model *tlv_model_load(tlv_ctx *c, const char *path, const char *arch, tlv_model_opts o,
                          tlv_load_report *report);

/* What tlv_model_load would make of a file, without reading its numbers; info->arch NULL if it is
 * of no architecture known here. */
tlv_status tlv_model_peek(tlv_ctx *c, const char *path, tlv_model_info *info);

/* The architecture that names and shapes in a file belong to, and its classes (may be NULL); NULL
 * without an error if none is known here, NULL with the error if the file cannot be read. */
const char *tlv_model_detect(tlv_ctx *c, const char *path, int *classes);

#ifdef __cplusplus
}
#endif
#endif
