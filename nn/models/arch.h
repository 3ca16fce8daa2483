/* arch.h -- what an architecture shows to nn/model.c.  One file each in nn/models/; model.c lists
 * them. */
#ifndef TLVI_ARCH_H
#define TLVI_ARCH_H

#include "nn/set.h"

/* What is known of a checkpoint before it is read: names and shapes. */
typedef struct tlvi_names {
    int n;
    const char *const *name;
    const tlv_shape *shape;
} tlvi_names;

int tlvi_names_find(const tlvi_names *f, const char *name);                  /* index, or -1 */
/* Counts stems that differ in a number: "layer1.%d.conv1.weight" -> blocks 0 .. n-1. */
int tlvi_names_count(const tlvi_names *f, const char *pattern);

/* The classes of a head [classes, width] (or [classes,width,1,1]) in the file, whose numbers are
 * therefore there; 0 if it is no such head. */
int tlvi_names_classes(const tlvi_names *f, const char *head, int width);
/* The same into found; a file without `head` is fine: found->has_head is 0.  0 if what is called so
 * is no such head. */
int tlvi_names_head(const tlvi_names *f, const char *head, int width, tlv_model_info *found);

/* One way of naming and padding the same network. */
typedef struct tlvi_dialect {
    const char *name;
    tlv_padding padding;
    double eps, momentum;
    int folded;                             /* files of this dialect never have batch norms */
    tlv_recipe recipe;
    /* The file's name of an entry, into buf; NULL: the entry's own. */
    void (*rename)(const char *entry, char *buf, size_t n);
} tlvi_dialect;

/* Settings that an architecture may have. */
enum {
    TLVI_SET_WIDTH = 1,
    TLVI_SET_NORM = 2,                      /* eps, momentum */
    TLVI_SET_PADDING = 4,
    TLVI_SET_FOLDED = 8,
    TLVI_SET_CHANNELS = 16,
    TLVI_SET_SIZE = 32
};

typedef struct tlvi_arch {
    const char *name, *head;                /* head: prefix of the last layer's entries, "fc" */
    int classes;                            /* of the published weights */
    const tlvi_dialect *dialect;            /* the first is PyTorch's: the entries' names */
    int n_dialects;
    unsigned settings;                      /* which of TLVI_SET_* may be chosen */
    int conv_head;                          /* the published head is not linear in the features */
    size_t bytes;                           /* of the module's struct */
    int variant;                            /* told to init: depth */
    int (*dim)(int variant, const tlv_model_info *info);            /* of the features */
    /* What is wrong with info's size, "not a multiple of ...", or NULL; NULL: any size is fine. */
    const char *(*bad_size)(int variant, int size);
    void (*init)(void *module, tlv_build *b, int variant, const tlv_model_info *info);
    tlv_tensor *(*features)(const tlv_run *r, const void *module, const tlv_tensor *x); /* [B,D] */
    tlv_tensor *(*classify)(const tlv_run *r, const void *module,
                            const tlv_tensor *h);                  /* [B,classes] */
    /* Logits where they are not classify(features(x)); NULL: they always are. */
    tlv_tensor *(*forward)(const tlv_run *r, const void *module, const tlv_tensor *x);
    /* 1 if the file is this one; sets classes, width, dialect, folded, has_head, linear_head where
     * names and shapes tell.  A width that stands in found is tried first. */
    int (*detect)(const tlvi_names *f, int variant, tlv_model_info *found);
} tlvi_arch;

extern const tlvi_arch tlvi_resnet_cifar[4], tlvi_resnet[4], tlvi_mobilenet_v2, tlvi_squeezenet,
    tlvi_conv4[3], tlvi_vit[4];

/* ---- the model itself (model.c) -------------------------------------------------------------- */

struct tlv_model {
    tlv_ctx *c;
    const tlvi_arch *arch;
    tlv_params *params;
    void *module;
    tlv_dtype dtype;
    tlv_model_info info;
    char *class_names;                      /* strings one after another; NULL: unknown */
    size_t class_bytes;
};

/* The next architecture after a (NULL: the first), or NULL. */
const tlvi_arch *tlvi_arch_next(const tlvi_arch *a);
/* The one of that name, or TLV_ERR_ARG with a list. */
const tlvi_arch *tlvi_arch_find(tlv_ctx *c, const char *name);
const tlvi_dialect *tlvi_dialect_find(const tlvi_arch *a, const char *name);    /* or NULL */
/* What is known of a before a file or options are read. */
tlv_model_info tlvi_model_start(const tlvi_arch *a);
/* Fills the gaps (zeros) of info: by o, then by the dialect; o overrides what may be chosen. */
tlv_status tlvi_model_settle(tlv_ctx *c, const tlvi_arch *a, tlv_model_opts o,
                             tlv_model_info *info);
/* draw: patterns of the parameters that get start values, NULL: all.  See tlvi_build_draw. */
tlv_model *tlvi_model_build(tlv_ctx *c, const tlvi_arch *a, const tlv_model_info *info,
                            tlv_dtype d, const char *draw);

/* A convolution whose weights start by `w` and whose bias (if any) starts at 0. */
tlv_conv_layer tlvi_conv_init(tlv_build *b, const char *name, int in, int out, int k,
                              tlv_conv2d_opts o, int bias, tlv_init w);

#endif
