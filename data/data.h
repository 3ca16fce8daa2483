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

/* ---- sizes and shapes of images (resample.c, transform.c, rotate.c, adjust.c, prepare.c) ------ *
 * 8-bit images of any kind.  Results are new images of m's context; m stays.  After an error *out
 * is empty.  Errors: TLV_ERR_ARG (an empty image, 16-bit samples, a value out of range),
 * TLV_ERR_NOMEM. */

/* Pillow 9.4's Image.resize, bit for bit: antialiased, horizontally first, 22-bit coefficients,
 * colours multiplied by alpha meanwhile.  box: left, top, right, bottom of the part that is read,
 * in pixels and fractions of them, rounded to f32; NULL: all of m. */
tlv_status tlv_image_resize(const tlv_image *m, int h, int w, tlv_filter filter,
                            const double *box, tlv_image *out);
/* The shorter side becomes `side`, the longer one int(side * long / short), as torchvision. */
tlv_status tlv_image_resize_short(const tlv_image *m, int side, tlv_filter filter, tlv_image *out);
/* Rows top .. top+h-1, columns left .. left+w-1; black where that is outside of m. */
tlv_status tlv_image_crop(const tlv_image *m, int top, int left, int h, int w, tlv_image *out);
/* torchvision's CenterCrop: top = round half to even((H - h) / 2), black around a smaller image. */
tlv_status tlv_image_center_crop(const tlv_image *m, int h, int w, tlv_image *out);
/* Counter-clockwise about the centre, as Pillow's rotate without expand; nearest, bilinear
 * or bicubic; black outside.  Images with alpha are refused. */
tlv_status tlv_image_rotate(const tlv_image *m, double degrees, tlv_filter filter,
                            tlv_image *out);
/* In place. */
void tlv_image_mirror(tlv_image *m);                        /* left becomes right */
void tlv_image_flip(tlv_image *m);                          /* top becomes bottom */
/* In place, TLV_RGB or TLV_GREY: torchvision 0.14's adjust_* on Pillow images, bit for bit.
 * factor 1 changes nothing; hue: -0.5 to 0.5 of the circle, and by 0 too colours go through 8-bit
 * HSV. */
tlv_status tlv_image_brightness(tlv_image *m, double factor);
tlv_status tlv_image_contrast(tlv_image *m, double factor);
tlv_status tlv_image_saturation(tlv_image *m, double factor);
tlv_status tlv_image_hue(tlv_image *m, double shift);

/* Random changes; zero everywhere is none.  Draws depend on the key alone.  Order: resized crop, or
 * else pad and crop, then mirror, flip, rotation (bilinear), colours, the four of these in a random
 * order.  As torchvision 0.14: RandomResizedCrop (ten tries, then the largest central crop that the
 * ratios allow), RandomCrop with padding (which keeps the size; the recipe follows),
 * RandomRotation, ColorJitter (factors uniform in max(0, 1-v) .. 1+v, hue in -v .. v). */
typedef struct tlv_augment {
    double area[2], ratio[2];   /* random resized crop: share of the area and width / height, from
                                   .. to; area[1] 0: none; ratio 0, 0: 3/4 to 4/3.  It is
                                   resized to the recipe's size whatever `resize` says */
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
/* [size,size,3] floats from a prepared image: (sample / 255 - mean) / std, as one product and one
 * sum of f32.  With bgr blue comes first, and mean[0] and std[0] are blue's. */
void tlv_image_normalize(const tlv_image *m, const tlv_recipe *recipe, float *out);
/* [1,3,size,size] f32 of the innermost scope: m as the recipe wants it. */
tlv_tensor *tlv_image_input(tlv_ctx *c, const tlv_image *m, const tlv_recipe *recipe);

/* ---- data sets (dataset.c; cifar.c, idx.c, shapes.c, folder.c, csv.c) ------------------------ */

typedef struct tlv_dataset tlv_dataset;

/* A set by its description:
 *   cifar10:DIR           the binary batches in DIR; split "train": data_batch_*.bin (those there),
 *                         "test": test_batch.bin
 *   idx:IMAGES,LABELS     IDX files (MNIST), plain or .gz; a 4-d IMAGES is [class][example] and
 *                         needs no labels; no splits: any gives everything
 *   shapes:N              N drawn images a class (shapes.c): ten classes of shapes, 32x32 RGB, no
 *                         files
 *   surfaces:N            N drawn images of inspected surfaces a class (surfaces.c): ok, scratch,
 *                         dent, stain, crack, hole; 64x64 RGB, no files
 *   patterns:N            N drawn images of each of 260 categories (patterns.c), one in an image,
 *                         64x64 RGB, no files
 *   folder:DIR            DIR/CLASS/FILE, or DIR/{train,val,test}/CLASS/FILE; a description that is
 *                         the path of a folder is taken as this
 *   csv:FILE              lines "path,label" or "path,label,split"
 * split: "train", "val", "test" or NULL (the kind's usual: test for cifar10; train for files that
 * have such a split; everything elsewhere).  "val" and "test" each stand for the other where a set
 * has just one of them; in a set that is not divided "train" is everything, and files have no "val"
 * or "test" then.
 * Errors: TLV_ERR_ARG (no such kind or split); TLV_ERR_IO, TLV_ERR_FORMAT with file and reason;
 * TLV_ERR_LIMIT for more than 2^30 files; TLV_ERR_NOMEM.
 *
 * Sets of files keep paths and labels, and decode when images are asked for.
 *
 * Folders: classes and files are sorted by their bytes, everywhere alike.  Folders in a class
 * folder belong to the class.  Links are followed.  What begins with a dot does not count.  Images
 * are known by their extension (png jpg jpeg jpe jfif bmp dib pbm pgm ppm pnm, in any case); other
 * files are left aside, and so are images beside class folders: tlv_dataset_text tells how many,
 * and the first of them.  A class folder without an image is an error where it defines the class.
 * The classes are those of train, if there is one, and a class that only another split has is an
 * error; else those of all splits.  "valid" and "validation" are "val".  Folders of these names are
 * splits if one of them has folders in it, or if DIR has no others.  Images directly in DIR (or in
 * a split's folder), and no folders: a set without labels, all of them -1.
 *
 * Lists: fields in quotes as RFC 4180 has it, blanks around fields not counted; or, when the first
 * line has a tab, fields between tabs and no quotes.  UTF-8.  Paths begin in FILE's own folder, or,
 * when the first one is not there, in the folder "images" beside FILE.  Labels are names, sorted by
 * their bytes; or numbers, if all of them are: classes 0 to the largest, and a third column that
 * holds no split names them.  A first line with a word for the path (path, image, file, filename
 * ...) and one for the label (label, class, index ...) is a header: its columns may come in any
 * order, and others are ignored.  Whether files are there is seen when they are decoded. */
tlv_dataset *tlv_dataset_open(tlv_ctx *c, const char *description, const char *split);
/* The files paths[0 .. n-1], in this order, without labels and classes. */
tlv_dataset *tlv_dataset_from_files(tlv_ctx *c, int64_t n, const char *const *paths);
void tlv_dataset_close(tlv_dataset *d);                     /* accepts NULL */
/* 1 if the description names a set with such a split ("train", "val", "test"), itself and no other
 * that would stand for it; 0 also after an error. */
int tlv_dataset_has_split(tlv_ctx *c, const char *description, const char *split);

int64_t tlv_dataset_size(const tlv_dataset *d);             /* images */
int tlv_dataset_classes(const tlv_dataset *d);              /* 0: no labels */
/* Height, width, channels; 0, 0, 3 for a set of files, whose images differ. */
void tlv_dataset_image_shape(const tlv_dataset *d, int *h, int *w, int *channels);
const char *tlv_dataset_class_name(const tlv_dataset *d, int k); /* "?" where k is none */
int64_t tlv_dataset_class_count(const tlv_dataset *d, int k);   /* examples of class k */
const char *tlv_dataset_text(const tlv_dataset *d);         /* one line: what was read */
int tlv_dataset_label(const tlv_dataset *d, int64_t i);     /* -1: unknown */
/* [H,W,C] bytes of a set that is kept in memory; NULL for a set of files. */
const uint8_t *tlv_dataset_pixels(const tlv_dataset *d, int64_t i);
const char *tlv_dataset_path(const tlv_dataset *d, int64_t i);  /* of a set of files; else NULL */

/* Image i as RGB, upright; a new image of context c, which may be a child of the set's. */
tlv_status tlv_dataset_image(tlv_ctx *c, const tlv_dataset *d, int64_t i, tlv_image *out);
/* Files of this set are read as they lie, whatever EXIF says of their orientation: as Pillow and
 * torchvision's datasets do.  To be called before images are asked for. */
void tlv_dataset_ignore_exif(tlv_dataset *d);
/* BLAKE2b-256 (RFC 7693) of what image i is: of its file's bytes, or of height, width, channels (8
 * bytes each, the least significant first) and pixels of a set in memory.  What caches know it by.
 * Errors: TLV_ERR_IO. */
tlv_status tlv_dataset_hash(tlv_ctx *c, const tlv_dataset *d, int64_t i, uint8_t out[32]);

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

/* Images index[from .. from+n-1]; grey is repeated to 3 channels.  Files are decoded in parallel,
 * one image at a time on each thread; the bits do not depend on the number of threads.  A file that
 * cannot be decoded is an error that names it (the first in the batch's order). */
tlv_batch tlv_dataset_batch(tlv_ctx *c, const tlv_dataset *d, const int64_t *index, int64_t from,
                            int64_t n, tlv_batch_opts o);

/* ---- drawn surfaces (surfaces.c; defects.c, boxes.c) ------------------------------------------ *
 * What industrial inspection looks at: five materials in varying light, with five kinds of flaws or
 * none, each flaw with its mask and its box.  docs/drawn.md shows them. */

typedef enum tlv_surface {
    TLV_METAL = 0, TLV_WEAVE = 1, TLV_WOOD = 2, TLV_CONCRETE = 3, TLV_PLASTIC = 4
} tlv_surface;
typedef enum tlv_defect {
    TLV_FLAWLESS = 0, TLV_SCRATCH = 1, TLV_DENT = 2, TLV_STAIN = 3, TLV_CRACK = 4, TLV_HOLE = 5
} tlv_defect;
enum { TLV_SURFACES = 5, TLV_DEFECTS = 6 };
const char *tlv_surface_name(tlv_surface s);                /* "metal", "weave", "wood" ... */
const char *tlv_defect_name(tlv_defect d);                  /* "ok", "scratch", "dent" ... */

/* The image of this key, [size,size] RGB, size 32 to 1024, and its mask (or NULL): [size,size]
 * grey, 255 where a flaw is, else 0.  Depends on the arguments alone: the same bits on any machine.
 * Both are new images of c, and empty after an error (TLV_ERR_ARG: no such surface, defect or size;
 * TLV_ERR_NOMEM). */
tlv_status tlv_surface_draw(tlv_ctx *c, tlv_surface s, tlv_defect d, int size, tlv_rng_key key,
                            tlv_image *out, tlv_image *mask);

/* The same for image i of the set surfaces:N in a split ("train", "val", "test"; NULL: train): its
 * defect is i mod 6, its surface i / 6 mod 5.  seed 0: the set's own images; else others.
 * Errors: those of tlv_surface_draw; TLV_ERR_ARG (no such split), TLV_ERR_INDEX (i below 0). */
tlv_status tlv_surface_example(tlv_ctx *c, const char *split, uint64_t seed, int64_t i, int size,
                               tlv_image *out, tlv_image *mask);

/* Columns x0 .. x1-1, rows y0 .. y1-1. */
typedef struct tlv_box { int x0, y0, x1, y1; } tlv_box;
/* The boxes around the connected regions (8 neighbours) of a grey mask, in the order of their
 * uppermost, then leftmost pixels: their number, or -1 after an error; the first `room` of them
 * into box. */
int64_t tlv_mask_boxes(tlv_ctx *c, const tlv_image *mask, tlv_box *box, int64_t room);

/* ---- drawn patterns (patterns.c; fractals.c, contours.c, textures.c, leaves.c) ---------------- *
 * Images to learn from without photographs: fractals and wavy contours, some in an image, on
 * textures and other grounds; objects and textures are of categories that are to be recognised.
 * docs/patterns.md shows them. */

typedef struct tlv_patterns tlv_patterns;

typedef struct tlv_patterns_opts {
    int fractals, contours, textures;   /* categories of each, up to 100000; all 0: 120, 80, 60 */
    int objects;                /* fractals and contours in an image at most, 1 to 16; 0: 3 */
    tlv_rng_key key;            /* of the categories */
} tlv_patterns_opts;

/* Draws the categories' numbers.  NULL after an error (TLV_ERR_ARG, TLV_ERR_NOMEM). */
tlv_patterns *tlv_patterns_open(tlv_ctx *c, tlv_patterns_opts o);
void tlv_patterns_close(tlv_patterns *p);                   /* accepts NULL */
int tlv_patterns_labels(const tlv_patterns *p);             /* fractals + contours + textures */

/* The image of this key, pixels [size,size,3], size 16 to 512; label [labels] (or NULL) becomes 1
 * for each category that can be seen in it, else 0.  Depends on the set's options, size and key
 * alone; tasks on child contexts may draw at the same time. */
tlv_status tlv_pattern_draw(tlv_ctx *c, const tlv_patterns *p, int size, tlv_rng_key key,
                            uint8_t *pixels, float *label);
/* The images of tlv_rng_fold(key, 0 .. n-1): *x [n,3,S,S] f32 in channels-last memory, size and
 * normalisation by the recipe, *y [n,labels] f32; of the innermost scope, NULL after an error.
 * Drawn in parallel: the same bits at any number of threads. */
tlv_status tlv_patterns_batch(tlv_ctx *c, const tlv_patterns *p, int64_t n,
                              const tlv_recipe *recipe, tlv_rng_key key, tlv_tensor **x,
                              tlv_tensor **y);

/* ---- episodes (episodes.c) ------------------------------------------------------------------- *
 * Small classification tasks for learning to learn (Vinyals et al. 2016, arXiv:1606.04080): N-way,
 * K-shot, Q-query is a draw of N classes, of K images of each to learn from (the support set) and
 * of Q others to be judged by (the query set). */

typedef enum tlv_turns {
    TLV_TURNS_NONE = 0,
    TLV_TURNS_EPISODE = 1,      /* each class of an episode is turned by 0, 90, 180 or 270 degrees
                                   at random: MAML's Omniglot, also in its tests */
    TLV_TURNS_CLASSES = 2       /* the four turns of a class are four classes: Reptile's training */
} tlv_turns;

typedef struct tlv_episodes_opts {
    tlv_recipe recipe;          /* size, filter, mean, std as for batches; square images */
    int channels;               /* 3, or 1 for grey (mean[0], std[0]); 0: 3 */
    tlv_turns turns;
} tlv_episodes_opts;

/* Some classes of a set, their images prepared once and kept in memory as bytes. */
typedef struct tlv_episodes tlv_episodes;

/* The images of d whose labels are classes[0 .. n-1] (NULL: all classes); d may be closed after.
 * Errors: those of tlv_dataset_image; TLV_ERR_ARG (a class out of range or listed twice, one
 * without images, a set without labels). */
tlv_episodes *tlv_episodes_open(tlv_ctx *c, const tlv_dataset *d, const int32_t *classes, int n,
                                tlv_episodes_opts o);
void tlv_episodes_close(tlv_episodes *e);                   /* accepts NULL */
int tlv_episodes_classes(const tlv_episodes *e);            /* turns counted */
int tlv_episodes_per_class(const tlv_episodes *e);          /* images of the smallest class */
int tlv_episodes_channels(const tlv_episodes *e);           /* of its images */
int tlv_episodes_size(const tlv_episodes *e);               /* side of its images */
tlv_recipe tlv_episodes_recipe(const tlv_episodes *e);      /* as it was opened with */

/* TLV_OK if a and b share no class and no image (told by the hash of its pixels, before turning);
 * else TLV_ERR_ARG that names the first.  What meta-training and meta-testing must pass. */
tlv_status tlv_episodes_disjoint(tlv_ctx *c, const tlv_episodes *a, const tlv_episodes *b);

/* Cuts the classes of d, shuffled under key, into the first n_train, the next n_val, and the rest:
 * out has room for tlv_dataset_classes(d), and holds the three parts one after another, each
 * sorted.  Returns the number of the rest, or -1 (TLV_ERR_ARG: fewer classes than that). */
int tlv_class_split(tlv_ctx *c, const tlv_dataset *d, int n_train, int n_val, tlv_rng_key key,
                    int32_t *out);

enum { TLV_SUPPORT = 0, TLV_QUERY = 1 };
typedef struct tlv_episode {
    int ways, shots, queries;
    tlv_tensor *x[2];           /* [ways*shots,C,S,S], [ways*queries,C,S,S] f32, class by class */
    tlv_tensor *y[2];           /* [ways*shots], [ways*queries] i32: 0 .. ways-1 */
} tlv_episode;

/* The episode of this key: it depends on the key, ways, shots and queries alone, so that tasks on
 * child contexts may draw theirs.  Tensors belong to the innermost scope of c; queries may be 0
 * (NULL then).  Only TLV_TURNS_CLASSES may draw two turns of one class.  Errors: TLV_ERR_ARG (more
 * ways than classes, more shots and queries than images of a class).  After one all is NULL. */
tlv_episode tlv_episode_draw(tlv_ctx *c, const tlv_episodes *e, int ways, int shots, int queries,
                             tlv_rng_key key);

#ifdef __cplusplus
}
#endif
#endif
