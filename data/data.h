/* data.h -- images in: data sets, augmentation, batches; and drawn images that need no download.
 *
 * data/ stands on tensor/ alone.  Pixels are bytes [H,W,C] until a batch is made; a batch is an f32
 * image tensor in channels-last memory and an i32 label tensor. */
#ifndef TLV_DATA_H
#define TLV_DATA_H

#include "tensor/tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- data sets (dataset.c, cifar.c, idx.c, shapes.c) ----------------------------------------- */

typedef struct tlv_dataset tlv_dataset;

/* A set by its description:
 *   cifar10:DIR           the binary batches in DIR; split "train": data_batch_*.bin (those there),
 * "test": test_batch.bin idx:IMAGES,LABELS     IDX files (MNIST); a 4-d IMAGES is [class][example]
 * and needs no labels shapes:N              N drawn images a class (shapes.c): ten classes of
 * shapes, 32x32 RGB, no files split: "train", "test" or NULL (the kind's usual: test for cifar10;
 * both files as they are for idx). .gz is not read yet. Bytes are kept in memory.  Errors:
 * TLV_ERR_IO, TLV_ERR_FORMAT with file and reason. */
tlv_dataset *tlv_dataset_open(tlv_ctx *c, const char *description, const char *split);
void tlv_dataset_close(tlv_dataset *d);                     /* accepts NULL */

int64_t tlv_dataset_size(const tlv_dataset *d);
int tlv_dataset_classes(const tlv_dataset *d);
void tlv_dataset_image_shape(const tlv_dataset *d, int *h, int *w, int *channels);
const char *tlv_dataset_class_name(const tlv_dataset *d, int k);
const char *tlv_dataset_text(const tlv_dataset *d);         /* one line: what was read */
int tlv_dataset_label(const tlv_dataset *d, int64_t i);
const uint8_t *tlv_dataset_pixels(const tlv_dataset *d, int64_t i);      /* [H,W,C] */

/* Indices of per_class random examples of each class (all where there are fewer), class by class;
 * the number of them, or -1.  out has room for size entries. */
int64_t tlv_dataset_per_class(const tlv_dataset *d, int per_class, tlv_rng_key key, int64_t *out);
/* Stratified split of index[n] into val (about fraction of each class, at least one where there are
 * two) and train. */
void tlv_dataset_split(const tlv_dataset *d, int64_t n, const int64_t *index, double fraction,
                       tlv_rng_key key, int64_t *train, int64_t *n_train, int64_t *val,
                       int64_t *n_val);

/* ---- batches (batch.c) ----------------------------------------------------------------------- */

typedef struct tlv_augment {
    int pad_crop;               /* black pixels on each side, up to 4096, before a random crop */
    int flip;                   /* 1: mirror every second image at random */
} tlv_augment;

typedef struct tlv_batch {
    tlv_tensor *x, *y;
} tlv_batch; /* [B,3,size,size] f32, [B] i32, of the innermost scope */

typedef struct tlv_batch_opts {
    int size; /* height and width that the network takes; bilinear resize where they differ */
    double mean[3], std[3];     /* (pixel / 255 - mean) / std; std 0 means 1 */
    tlv_augment augment;
    tlv_rng_key
        key; /* of augmentation; an image's draws depend on key and place in the epoch alone */
} tlv_batch_opts;

/* Images index[from .. from+n-1]; grey is repeated to 3 channels. */
tlv_batch tlv_dataset_batch(tlv_ctx *c, const tlv_dataset *d, const int64_t *index, int64_t from,
                            int64_t n, tlv_batch_opts o);

#ifdef __cplusplus
}
#endif
#endif
