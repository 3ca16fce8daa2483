/* reader.h -- what the readers fill in. */
#ifndef TLVI_READER_H
#define TLVI_READER_H

#include "data/data.h"
#include "tensor/core.h"

/* ---- strings (strings.c) --------------------------------------------------------------------- */

/* Strings of any length, one after another in one block, known by their number. */
typedef struct tlvi_strings {
    char *text;
    size_t used, room;
    size_t *at;                     /* [n]: where each begins */
    int64_t n, cap;
} tlvi_strings;

int tlvi_strings_add(tlv_ctx *c, tlvi_strings *s, const char *p);       /* 0: no memory */
void tlvi_strings_free(tlv_ctx *c, tlvi_strings *s);
static inline const char *tlvi_string(const tlvi_strings *s, int64_t i)
{
    return s->text + s->at[i];
}
/* By their bytes (never by locale), and each once if `unique`; 0: no memory. */
int tlvi_strings_sort(tlv_ctx *c, tlvi_strings *s, int unique);
int64_t tlvi_strings_find(const tlvi_strings *s, const char *p);        /* sorted; -1: not there */

/* ---- a data set ------------------------------------------------------------------------------ */

struct tlv_dataset {
    tlv_ctx *c;
    int64_t n, room;                /* images; those that label has memory for */
    int h, w, channels, classes;
    int32_t *label;                 /* [n] -1: unknown */
    tlvi_strings names;             /* [classes] */
    /* kept in memory: */
    uint8_t *pixels;                /* [n,h,w,channels], NULL for a set of files */
    size_t pixel_bytes;
    /* a set of files: */
    tlvi_strings paths;             /* [n] */
    int32_t *line;                  /* [n] the line of the list that names it; 0: no list */
    tlvi_strings list;              /* [1] the list's own path, or [0] */
    int ignore_exif;
    struct tlvi_keep *keep;         /* stream.c; NULL: nothing is kept */
    char text[640];
};

/* Sizes a set in memory and takes that; n, h, w and channels are set before.  0 on failure. */
int tlvi_dataset_alloc(tlv_dataset *d);
/* The next class; 0 on failure. */
int tlvi_dataset_add_class(tlv_dataset *d, const char *name);
/* n classes without names of their own: numbers. */
int tlvi_dataset_number_classes(tlv_dataset *d, int64_t n);
/* The next image of a set of files; 0 on failure. */
int tlvi_dataset_add_file(tlv_dataset *d, const char *path, int label, int line);

/* What images are reduced to: the shorter side, 0 if they stay as they are. */
int tlvi_dataset_kept_side(const tlv_dataset *d, tlv_filter *filter);

/* ---- its images (stream.c) ------------------------------------------------------------------- */

/* Image i to look at: RGB, or grey in a set that is kept in memory; reduced if the set keeps
 * reduced images.  c may be a child of the set's context.  To be ended before c and the set. */
typedef struct tlvi_view { tlv_image m; int own; } tlvi_view;
tlv_status tlvi_dataset_view(tlv_ctx *c, const tlv_dataset *d, int64_t i, tlvi_view *v);
void tlvi_dataset_unview(tlvi_view *v);
void tlvi_dataset_forget(tlv_dataset *d);               /* what is kept */

/* ---- readers --------------------------------------------------------------------------------- */

/* In the text of a set of files, until tlv_dataset_ignore_exif. */
#define TLVI_UPRIGHT "; turned upright as EXIF says"

/* Splits as a set of bits. */
enum { TLVI_TRAIN = 1, TLVI_VAL = 2, TLVI_TEST = 4, TLVI_SPLITS = 3 };
/* The bit of "train", "val" (or "valid", "validation") or "test"; else 0. */
unsigned tlvi_split_bit(const char *word);
const char *tlvi_split_name(unsigned bits);             /* "train" ..., or "all" for several */
/* The splits to read where the set has those of `have` (0: it knows no splits) and `split` is asked
 * for; 0 with an error that names `what`. */
unsigned tlvi_pick_splits(tlv_ctx *c, const char *what, unsigned have, const char *split);

/* Readers: fill d (whose c is set); the status of the context. */
tlv_status tlvi_read_cifar10(tlv_dataset *d, const char *dir, const char *split);
tlv_status tlvi_read_idx(tlv_dataset *d, const char *images, const char *labels);
tlv_status tlvi_draw_shapes(tlv_dataset *d, int64_t per_class, const char *split);
tlv_status tlvi_draw_surfaces(tlv_dataset *d, int64_t per_class, const char *split);
tlv_status tlvi_draw_patterns(tlv_dataset *d, int64_t per_class, const char *split);
tlv_status tlvi_read_folder(tlv_dataset *d, const char *dir, const char *split);
tlv_status tlvi_read_csv(tlv_dataset *d, const char *path, const char *split);
/* The splits that there are, as bits; 0 for none and after an error. */
unsigned tlvi_cifar10_splits(const char *dir);
unsigned tlvi_folder_splits(tlv_ctx *c, const char *dir);
unsigned tlvi_csv_splits(tlv_ctx *c, const char *path);

/* files.c.  A whole file in pool memory (freed by tlvi_free with *size); NULL with TLV_ERR_IO. */
uint8_t *tlvi_read_file(tlv_ctx *c, const char *path, size_t *size);
int tlvi_file_exists(const char *path);
int tlvi_is_folder(const char *path);                   /* folder.c */

#endif
