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

/* The classes of a head [classes, width] in the file, whose numbers are therefore there; 0 if it is
 * no such head. */
int tlvi_names_classes(const tlvi_names *f, const char *head, int width);

typedef struct tlvi_arch {
    const char *name, *head;                /* head: prefix of the last layer's entries, "fc" */
    int classes;                            /* of the published weights */
    tlv_recipe recipe;
    size_t bytes;                           /* of the module's struct */
    int variant;                            /* told to init: depth */
    void (*init)(void *module, tlv_build *b, int variant, int classes);
    tlv_tensor *(*features)(const tlv_run *r, const void *module, const tlv_tensor *x); /* [B,D] */
    tlv_tensor *(*classify)(const tlv_run *r, const void *module,
                            const tlv_tensor *h);                  /* [B,classes] */
    int (*detect)(const tlvi_names *f, int variant, int *classes); /* 1 if the file is this one */
} tlvi_arch;

extern const tlvi_arch tlvi_resnet_cifar[4], tlvi_resnet[3];

#endif
