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

/* ---- images (image.c; png.c, jpeg.c, bmp.c, pnm.c behind it) ---------------------------------- */

typedef enum tlv_pixels {
    TLV_GREY = 1,               /* the value is the number of channels */
    TLV_GREY_ALPHA = 2,
    TLV_RGB = 3,
    TLV_RGBA = 4,
    TLV_CMYK = 5                /* 4 channels; 255 is no ink, as Adobe's files have it inverted */
} tlv_pixels;

/* Samples [H,W,channels] without padding, in memory of the context c. */
typedef struct tlv_image {
    tlv_ctx *c;
    int h, w, channels;
    tlv_pixels kind;
    int depth;                  /* bits a sample: 8 (uint8_t) or 16 (uint16_t, host order) */
    int orientation;            /* EXIF 1 to 8 still to be applied; 1: upright */
    void *samples;
    size_t bytes;               /* of samples */
} tlv_image;

/* Decodes a file of any format known here (PNG, JPEG, BMP, PNM), told by its first bytes and never
 * by its name.  What is in the file comes out: palettes are expanded to RGB (RGBA with tRNS), 1, 2
 * and 4 bits are scaled to 8, 16 bits stay, EXIF orientation is reported and not applied.  An image
 * that is cut short is refused.  Errors: TLV_ERR_IO; TLV_ERR_FORMAT with name and reason;
 * TLV_ERR_LIMIT for more than 2^28 pixels; TLV_ERR_NOMEM.  After one, *out holds nothing. */
tlv_status tlv_image_read(tlv_ctx *c, const char *path, tlv_image *out);
tlv_status tlv_image_decode(tlv_ctx *c, const void *bytes, size_t n, const char *name,
                            tlv_image *out);
void tlv_image_close(tlv_image *m);                         /* accepts NULL and an empty one */

/* An image with room for its samples, uninitialised. */
tlv_status tlv_image_new(tlv_ctx *c, int h, int w, tlv_pixels kind, int depth, tlv_image *out);
/* In place: TLV_GREY (ITU-R 601: (19595 R + 38470 G + 7471 B + 32768) >> 16), TLV_RGB or TLV_RGBA of
 * 8 bits, by Pillow's rules; 16-bit samples keep their high byte.  Alpha is dropped, not blended. */
tlv_status tlv_image_convert(tlv_image *m, tlv_pixels kind);
/* In place: turns and mirrors as m->orientation says, which becomes 1. */
tlv_status tlv_image_orient(tlv_image *m);
/* Writes a PNG (8 or 16 bits; grey, grey-alpha, RGB, RGBA) beside path and renames. */
tlv_status tlv_image_write_png(const tlv_image *m, const char *path);

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
