/* reader.h -- what the readers fill in. */
#ifndef TLVI_READER_H
#define TLVI_READER_H

#include "data/data.h"
#include "tensor/core.h"

enum { TLVI_CLASS_NAME = 32 };

struct tlv_dataset {
    tlv_ctx *c;
    int64_t n;
    int h, w, channels, classes;
    uint8_t *pixels;                        /* [n,h,w,channels] */
    size_t pixel_bytes;
    int32_t *label;                         /* [n] */
    char (*class_name)[TLVI_CLASS_NAME];    /* [classes] or NULL: numbers */
    char text[160];
};

/* Sizes the set and takes its memory; n, h, w, channels and classes are set before. 0 on
 * failure. */
int tlvi_dataset_alloc(tlv_dataset *d, int with_names);

/* Readers: fill d (whose c is set); the status of the context. */
tlv_status tlvi_read_cifar10(tlv_dataset *d, const char *dir, const char *split);
tlv_status tlvi_read_idx(tlv_dataset *d, const char *images, const char *labels);
tlv_status tlvi_draw_shapes(tlv_dataset *d, int64_t per_class, const char *split);

/* files.c.  A whole file in pool memory (freed by tlvi_free with *size); NULL with TLV_ERR_IO. */
uint8_t *tlvi_read_file(tlv_ctx *c, const char *path, size_t *size);
int tlvi_file_exists(const char *path);

#endif
