/* data.h -- images in: data sets, augmentation, batches; and drawn images that need no download.
 *
 * data/ stands on tensor/ alone.  Pixels are bytes [H,W,C] until a batch is made: an f32 image
 * tensor in channels-last memory and an i32 label tensor. */
#ifndef TLV_DATA_H
#define TLV_DATA_H

#include "tensor/tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- images (image.c; png.c, jpeg.c, bmp.c, pnm.c behind it) --------------------------------- */

typedef enum tlv_pixels {
    TLV_GREY = 1,
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
/* In place: TLV_GREY (ITU-R 601: (19595 R + 38470 G + 7471 B + 32768) >> 16), TLV_RGB or TLV_RGBA
 * of 8 bits, by Pillow's rules; 16-bit samples keep their high byte.  Alpha is dropped, not
 * blended. */
tlv_status tlv_image_convert(tlv_image *m, tlv_pixels kind);
/* In place: turns and mirrors as m->orientation says, which becomes 1. */
tlv_status tlv_image_orient(tlv_image *m);
/* Writes a PNG (8 or 16 bits; grey, grey-alpha, RGB, RGBA) beside path and renames. */
tlv_status tlv_image_write_png(const tlv_image *m, const char *path);

/* ---- sizes and shapes of images (resample.c, transform.c) ------------------------------------- *
 * 8-bit images of any kind.  Results are new images of m's context; m stays. */

/* Pillow's resize, bit for bit: antialiased, horizontally first, 22-bit coefficients.  box: left,
 * top, right, bottom of the part that is read, in pixels and fractions of them; NULL: all of m. */
tlv_status tlv_image_resize(const tlv_image *m, int h, int w, tlv_filter filter,
                            const double *box, tlv_image *out);
/* The shorter side becomes `side`, the longer one int(side * long / short), as torchvision. */
tlv_status tlv_image_resize_short(const tlv_image *m, int side, tlv_filter filter, tlv_image *out);
/* Rows top .. top+h-1, columns left .. left+w-1; black where that is outside of m. */
tlv_status tlv_image_crop(const tlv_image *m, int top, int left, int h, int w, tlv_image *out);
/* torchvision's CenterCrop: top = round half to even((H - h) / 2), black around a smaller image. */
tlv_status tlv_image_center_crop(const tlv_image *m, int h, int w, tlv_image *out);
/* Counter-clockwise about the centre, as Pillow's rotate without expand; nearest, bilinear
 * or bicubic; black outside. */
tlv_status tlv_image_rotate(const tlv_image *m, double degrees, tlv_filter filter,
                            tlv_image *out);
/* In place. */
void tlv_image_mirror(tlv_image *m);                        /* left becomes right */
void tlv_image_flip(tlv_image *m);                          /* top becomes bottom */
/* In place, TLV_RGB or TLV_GREY: as torchvision's adjust_* on Pillow images.  factor 1 changes
 * nothing; hue: -0.5 to 0.5 of the circle. */
tlv_status tlv_image_brightness(tlv_image *m, double factor);
tlv_status tlv_image_contrast(tlv_image *m, double factor);
tlv_status tlv_image_saturation(tlv_image *m, double factor);
tlv_status tlv_image_hue(tlv_image *m, double shift);

/* Random changes; zero everywhere is none.  Draws depend on the key alone.  Order: resized crop or
 * pad and crop, mirror, flip, rotation, colours (brightness, contrast, saturation, hue). */
typedef struct tlv_augment {
    double area[2], ratio[2];   /* random resized crop: share of the area and width / height, from
                                   .. to; area[1] 0: none; ratio 0, 0: 3/4 to 4/3 */
    int pad_crop;               /* black pixels on each side, up to 4096, before a random crop */
    int flip;                   /* 1: mirror every second image at random */
    int vertical;               /* 1: turn every second image upside down */
    double rotate;              /* degrees, up to so many either way */
    double brightness, contrast, saturation, hue;   /* as torchvision's ColorJitter */
} tlv_augment;

/* The image that a network takes: RGB, recipe->size square, resized and cropped as the recipe says,
 * or changed at random by a (NULL: not) under key. */
tlv_status tlv_image_prepare(const tlv_image *m, const tlv_recipe *recipe, const tlv_augment *a,
                             tlv_rng_key key, tlv_image *out);
/* [size,size,3] floats from a prepared image: (sample / 255 - mean) / std, in the recipe's order of
 * channels. */
void tlv_image_normalize(const tlv_image *m, const tlv_recipe *recipe, float *out);

/* ---- data sets (dataset.c; cifar.c, idx.c, shapes.c, folder.c, csv.c) ------------------------ */

typedef struct tlv_dataset tlv_dataset;

/* A set by its description:
 *   cifar10:DIR           the binary batches in DIR; split "train": data_batch_*.bin (those there),
 *                         "test": test_batch.bin
 *   idx:IMAGES,LABELS     IDX files (MNIST), plain or .gz; a 4-d IMAGES is [class][example] and
 *                         needs no labels
 *   shapes:N              N drawn images a class (shapes.c): ten classes of shapes, 32x32 RGB, no
 *                         files
 *   folder:DIR            DIR/CLASS/FILE, or DIR/{train,val,test}/CLASS/FILE; a DESCRIPTION that is
 *                         the path of a folder is taken as this
 *   csv:FILE              lines "path,label" or "path,label,split"; paths from FILE's own folder
 * split: "train", "val", "test" or NULL (the kind's usual: test for cifar10; train for a folder
 * that has one; everything elsewhere).  "val" and "test" each stand for the other where a set has
 * just one of them.  Sets of files keep paths and labels, and decode when images are asked for.
 * Errors: TLV_ERR_IO, TLV_ERR_FORMAT with file and reason. */
tlv_dataset *tlv_dataset_open(tlv_ctx *c, const char *description, const char *split);
void tlv_dataset_close(tlv_dataset *d);                     /* accepts NULL */
/* 1 if the description names files with such a split ("train", "val", "test"). */
int tlv_dataset_has_split(tlv_ctx *c, const char *description, const char *split);

int64_t tlv_dataset_size(const tlv_dataset *d);
int tlv_dataset_classes(const tlv_dataset *d);
void tlv_dataset_image_shape(const tlv_dataset *d, int *h, int *w, int *channels);
const char *tlv_dataset_class_name(const tlv_dataset *d, int k);
const char *tlv_dataset_text(const tlv_dataset *d);         /* one line: what was read */
int tlv_dataset_label(const tlv_dataset *d, int64_t i);
/* [H,W,C] bytes of a set that is kept in memory; NULL for a set of files. */
const uint8_t *tlv_dataset_pixels(const tlv_dataset *d, int64_t i);
const char *tlv_dataset_path(const tlv_dataset *d, int64_t i);  /* of a set of files; else NULL */

/* Image i as RGB, upright; a new image of context c, which may be a child of the set's. */
tlv_status tlv_dataset_image(tlv_ctx *c, const tlv_dataset *d, int64_t i, tlv_image *out);

/* Keeps decoded images of a set of files, up to so many bytes in all (0: none, the start), with
 * their shorter side reduced to `side` (0: as they are) by `filter`: batches then read them from
 * memory.  What does not fit is decoded each time. */
void tlv_dataset_keep(tlv_dataset *d, size_t bytes, int side, tlv_filter filter);

typedef struct tlv_bad_file { char path[512], reason[256]; } tlv_bad_file;
/* Decodes every file once, in parallel, and takes those that fail out of the set: their number, or
 * -1 after an error.  Fills bad[room] with the first of them.  (Without it a file that does not
 * decode is an error of the batch that wants it.) */
int64_t tlv_dataset_drop_bad(tlv_ctx *c, tlv_dataset *d, tlv_bad_file *bad, int64_t room);

/* Indices of per_class random examples of each class (all where there are fewer), class by class;
 * the number of them, or -1.  out has room for size entries. */
int64_t tlv_dataset_per_class(const tlv_dataset *d, int per_class, tlv_rng_key key, int64_t *out);
/* Stratified split of index[n] into val (about fraction of each class, at least one where there are
 * two) and train. */
void tlv_dataset_split(const tlv_dataset *d, int64_t n, const int64_t *index, double fraction,
                       tlv_rng_key key, int64_t *train, int64_t *n_train, int64_t *val,
                       int64_t *n_val);

/* ---- batches (batch.c) ----------------------------------------------------------------------- */

typedef struct tlv_batch {
    tlv_tensor *x, *y;          /* [B,3,size,size] f32, [B] i32, of the innermost scope */
} tlv_batch;

typedef struct tlv_batch_opts {
    tlv_recipe recipe;          /* size, resize, mean, std ...: as the network wants its images */
    tlv_augment augment;
    tlv_rng_key key;            /* of augmentation: draws depend on key and place alone */
} tlv_batch_opts;

/* Images index[from .. from+n-1]; grey is repeated to 3 channels. */
tlv_batch tlv_dataset_batch(tlv_ctx *c, const tlv_dataset *d, const int64_t *index, int64_t from,
                            int64_t n, tlv_batch_opts o);

#ifdef __cplusplus
}
#endif
#endif
