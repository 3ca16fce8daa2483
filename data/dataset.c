/* dataset.c -- data sets by their description, subsets, stratified splits. */
#include <stdio.h>
#include <stdlib.h>

#include "data/reader.h"
#include "tensor/mapfile.h"

enum { MOST_FILES = 1 << 30 };

/* ---- opening --------------------------------------------------------------------------------- */

int tlvi_dataset_alloc(tlv_dataset *d)
{
    d->room = d->n;
    d->pixel_bytes = (size_t)d->n * (size_t)d->h * (size_t)d->w * (size_t)d->channels;
    d->pixels = tlvi_alloc(d->c, d->pixel_bytes);
    d->label = tlvi_alloc(d->c, (size_t)d->room * sizeof *d->label);
    return d->pixels && d->label;
}

int tlvi_dataset_add_class(tlv_dataset *d, const char *name)
{
    if (!tlvi_strings_add(d->c, &d->names, name)) return 0;
    d->classes++;
    return 1;
}

int tlvi_dataset_number_classes(tlv_dataset *d, int64_t n)
{
    for (int64_t k = 0; k < n; k++) {
        char digits[24];
        snprintf(digits, sizeof digits, "%lld", (long long)k);
        if (!tlvi_dataset_add_class(d, digits)) return 0;
    }
    return 1;
}

/* Room for one image more in the arrays of a set of files. */
static int grow(tlv_dataset *d)
{
    if (d->n < d->room) return 1;
    int64_t room = d->n + d->n / 2 + 64;
    size_t bytes = (size_t)room * sizeof(int32_t), had = (size_t)d->room * sizeof(int32_t);
    int32_t *label = tlvi_alloc(d->c, bytes), *line = label ? tlvi_alloc(d->c, bytes) : NULL;
    if (!line) {
        tlvi_free(d->c, label, bytes);
        return 0;
    }
    if (d->n) {
        memcpy(label, d->label, (size_t)d->n * sizeof *label);
        memcpy(line, d->line, (size_t)d->n * sizeof *line);
    }
    tlvi_free(d->c, d->label, had);
    tlvi_free(d->c, d->line, had);
    d->label = label;
    d->line = line;
    d->room = room;
    return 1;
}

int tlvi_dataset_add_file(tlv_dataset *d, const char *path, int label, int line)
{
    if (d->n >= MOST_FILES) {
        tlvi_fail(d->c, TLV_ERR_LIMIT, "make several sets of it", "more than %d images",
                  MOST_FILES);
        return 0;
    }
    if (!grow(d) || !tlvi_strings_add(d->c, &d->paths, path)) return 0;
    d->label[d->n] = label;
    d->line[d->n++] = line;
    return 1;
}

/* ---- splits ---------------------------------------------------------------------------------- */

unsigned tlvi_split_bit(const char *word)
{
    static const struct { const char *word; unsigned bit; } words[] = {
        { "train", TLVI_TRAIN },    { "val", TLVI_VAL },   { "valid", TLVI_VAL },
        { "validation", TLVI_VAL }, { "test", TLVI_TEST },
    };
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (strcmp(word, words[i].word) == 0) return words[i].bit;
    return 0;
}

const char *tlvi_split_name(unsigned bits)
{
    return bits == TLVI_TRAIN ? "train" : bits == TLVI_VAL ? "val" : bits == TLVI_TEST ? "test"
                                                                                       : "all";
}

unsigned tlvi_pick_splits(tlv_ctx *c, const char *what, unsigned have, const char *split)
{
    unsigned all = TLVI_TRAIN | TLVI_VAL | TLVI_TEST, want = split ? tlvi_split_bit(split) : 0;
    if (!split) return have & TLVI_TRAIN ? TLVI_TRAIN : have ? have : all;
    if (!have && want == TLVI_TRAIN) return all;
    if (have & want) return want;
    if (want != TLVI_TRAIN && have & ~(unsigned)TLVI_TRAIN) return have & ~(unsigned)TLVI_TRAIN;
    tlvi_fail(c, TLV_ERR_ARG,
              have ? "name another split" : "split it by hand, or let the program split it",
              "%s: it has no split '%s'%s%s%s%s", tlvi_path_str(what).s, split,
              have ? ", only" : ", since it is not divided at all",
              have & TLVI_TRAIN ? " train" : "", have & TLVI_VAL ? " val" : "",
              have & TLVI_TEST ? " test" : "");
    return 0;
}

/* ---- descriptions ---------------------------------------------------------------------------- */

typedef enum kind { CIFAR10, IDX, SHAPES, SURFACES, PATTERNS, FOLDER, CSV, NOTHING } kind;

#define KINDS "write folder:DIR or a folder's path, csv:FILE, cifar10:DIR, idx:IMAGES,LABELS, "   \
              "shapes:N, surfaces:N or patterns:N"

/* What a description names; *rest: behind the colon. */
static kind kind_of(const char *what, const char **rest)
{
    static const char *const names[] = { "cifar10:", "idx:", "shapes:", "surfaces:", "patterns:",
                                         "folder:", "csv:" };
    for (int k = 0; k < NOTHING; k++)
        if (strncmp(what, names[k], strlen(names[k])) == 0) {
            *rest = what + strlen(names[k]);
            return (kind)k;
        }
    *rest = what;
    return tlvi_is_folder(what) ? FOLDER : NOTHING;
}

/* "idx:IMAGES,LABELS"; LABELS may be missing. */
static tlv_status open_idx(tlv_dataset *d, const char *rest)
{
    char images[1024];
    const char *comma = strchr(rest, ',');
    size_t n = comma ? (size_t)(comma - rest) : strlen(rest);
    TLVI_CHECK(d->c, n > 0 && n < sizeof images, TLV_ERR_ARG, "write idx:IMAGES,LABELS",
               "idx:%s: no file of images", rest);
    memcpy(images, rest, n);
    images[n] = 0;
    return tlvi_read_idx(d, images, comma ? comma + 1 : NULL);
}

static tlv_status open_drawn(tlv_dataset *d, kind k, const char *rest, const char *split)
{
    char *end;
    long n = strtol(rest, &end, 10);
    const char *name = k == SHAPES ? "shapes" : k == SURFACES ? "surfaces" : "patterns";
    TLVI_CHECK(d->c, end != rest && *end == 0 && n > 0 && n <= 100000, TLV_ERR_ARG,
               k == SHAPES     ? "write shapes:100 for 100 images a class"
               : k == SURFACES ? "write surfaces:100 for 100 images a class"
                               : "write patterns:10 for 10 images a category",
               "%s:%s: the number of images is 1 to 100000", name, rest);
    return k == SHAPES     ? tlvi_draw_shapes(d, n, split)
           : k == SURFACES ? tlvi_draw_surfaces(d, n, split)
                           : tlvi_draw_patterns(d, n, split);
}

static tlv_status open_kind(tlv_dataset *d, const char *what, const char *split)
{
    const char *rest;
    kind k = kind_of(what, &rest);
    int known = !split || strcmp(split, "train") == 0 || strcmp(split, "val") == 0
                || strcmp(split, "test") == 0;
    TLVI_CHECK(d->c, known, TLV_ERR_ARG, "splits are train, val and test",
               "%s: there is no split '%s'", tlvi_path_str(what).s, split);
    // Some have a train and a test split, which then stands for val
    const char *two = split && strcmp(split, "val") == 0 ? "test" : split;
    switch (k) {
    case CIFAR10: return tlvi_read_cifar10(d, rest, two);
    case SHAPES:
    case PATTERNS: return open_drawn(d, k, rest, two);
    case SURFACES: return open_drawn(d, k, rest, split);
    case IDX: return open_idx(d, rest);
    case FOLDER: return tlvi_read_folder(d, rest, split);
    case CSV: return tlvi_read_csv(d, rest, split);
    default: break;
    }
    return tlvi_fail(d->c, TLV_ERR_ARG, KINDS, "'%s' names no data set and is no folder",
                     tlvi_path_str(what).s);
}

static tlv_dataset *empty_set(tlv_ctx *c)
{
    tlv_dataset *d = tlvi_alloc(c, sizeof *d);
    if (!d) return NULL;
    memset(d, 0, sizeof *d);
    d->c = c;
    return d;
}

tlv_dataset *tlv_dataset_open(tlv_ctx *c, const char *what, const char *split)
{
    if (c->err) return NULL;
    c->in_hand[0] = NULL;
    TLVI_REQUIRE(c, what, TLV_ERR_ARG, KINDS, "the data set is NULL");
    tlv_dataset *d = empty_set(c);
    if (!d) return NULL;
    if (open_kind(d, what, split) == TLV_OK) return d;
    tlv_dataset_close(d);
    return NULL;
}

tlv_dataset *tlv_dataset_from_files(tlv_ctx *c, int64_t n, const char *const *paths)
{
    if (c->err) return NULL;
    c->in_hand[0] = NULL;
    TLVI_REQUIRE(c, n > 0 && paths, TLV_ERR_ARG, "name at least one file", "%lld image files",
                 (long long)n);
    tlv_dataset *d = empty_set(c);
    int ok = d != NULL;
    for (int64_t i = 0; ok && i < n; i++) ok = tlvi_dataset_add_file(d, paths[i], -1, 0);
    if (!ok) {
        tlv_dataset_close(d);
        return NULL;
    }
    d->channels = 3;
    snprintf(d->text, sizeof d->text, "%lld image file%s", (long long)n, n == 1 ? "" : "s");
    return d;
}

void tlv_dataset_close(tlv_dataset *d)
{
    if (!d) return;
    tlvi_dataset_forget(d);
    tlvi_free(d->c, d->pixels, d->pixel_bytes);
    tlvi_free(d->c, d->label, (size_t)d->room * sizeof *d->label);
    tlvi_free(d->c, d->line, (size_t)d->room * sizeof *d->line);
    tlvi_strings_free(d->c, &d->names);
    tlvi_strings_free(d->c, &d->paths);
    tlvi_strings_free(d->c, &d->list);
    tlvi_free(d->c, d, sizeof *d);
}

int tlv_dataset_has_split(tlv_ctx *c, const char *what, const char *split)
{
    const char *rest;
    if (c->err || !what || !split) return 0;
    c->in_hand[0] = NULL;
    unsigned bit = tlvi_split_bit(split);
    switch (kind_of(what, &rest)) {
    case CIFAR10: return (bit & tlvi_cifar10_splits(rest)) != 0;
    case SHAPES:
    case PATTERNS: return (bit & (TLVI_TRAIN | TLVI_TEST)) != 0;
    case SURFACES: return bit != 0;
    case FOLDER: return (bit & tlvi_folder_splits(c, rest)) != 0;
    case CSV: return (bit & tlvi_csv_splits(c, rest)) != 0;
    default: return 0;
    }
}

int64_t tlv_dataset_size(const tlv_dataset *d) { return d->n; }
int tlv_dataset_classes(const tlv_dataset *d) { return d->classes; }
void tlv_dataset_image_shape(const tlv_dataset *d, int *h, int *w, int *channels)
{
    *h = d->h;
    *w = d->w;
    *channels = d->channels;
}
const char *tlv_dataset_text(const tlv_dataset *d) { return d->text; }
int tlv_dataset_label(const tlv_dataset *d, int64_t i)
{
    return i >= 0 && i < d->n ? d->label[i] : -1;
}

const char *tlv_dataset_class_name(const tlv_dataset *d, int k)
{
    return k >= 0 && k < d->classes ? tlvi_string(&d->names, k) : "?";
}

int64_t tlv_dataset_class_count(const tlv_dataset *d, int k)
{
    int64_t n = 0;
    for (int64_t i = 0; i < d->n; i++) n += d->label[i] == k;
    return n;
}

const uint8_t *tlv_dataset_pixels(const tlv_dataset *d, int64_t i)
{
    if (!d->pixels || i < 0 || i >= d->n) return NULL;
    return d->pixels + (size_t)i * (size_t)d->h * (size_t)d->w * (size_t)d->channels;
}

const char *tlv_dataset_path(const tlv_dataset *d, int64_t i)
{
    return i >= 0 && i < d->paths.n ? tlvi_string(&d->paths, i) : NULL;
}

/* ---- subsets --------------------------------------------------------------------------------- */

/* The examples of class k among index[n] (NULL: all), shuffled by the key; out has room for n. */
static int64_t of_class(const tlv_dataset *d, int64_t n, const int64_t *index, int k,
                        tlv_rng_key key, int64_t *out)
{
    int64_t m = 0;
    for (int64_t i = 0; i < n; i++) {
        int64_t e = index ? index[i] : i;
        if (d->label[e] == k) out[m++] = e;
    }
    tlv_rng_shuffle(tlv_rng_fold(key, (uint64_t)k), m, out);
    return m;
}

int64_t tlv_dataset_per_class(const tlv_dataset *d, int per_class, tlv_rng_key key, int64_t *out)
{
    int64_t total = 0;
    size_t bytes = (size_t)d->n * sizeof(int64_t);
    int64_t *all = tlvi_alloc(d->c, bytes);
    if (!all) return -1;
    for (int k = 0; k < d->classes; k++) {
        int64_t m = of_class(d, d->n, NULL, k, key, all);
        if (m > per_class) m = per_class > 0 ? per_class : 0;
        memcpy(out + total, all, (size_t)m * sizeof(int64_t));
        total += m;
    }
    tlvi_free(d->c, all, bytes);
    return total;
}

void tlv_dataset_split(const tlv_dataset *d, int64_t n, const int64_t *index, double fraction,
                       tlv_rng_key key, int64_t *train, int64_t *n_train, int64_t *val,
                       int64_t *n_val)
{
    *n_train = *n_val = 0;
    size_t bytes = (size_t)(n ? n : 1) * sizeof(int64_t);
    int64_t *all = tlvi_alloc(d->c, bytes);
    if (!all) return;
    for (int k = 0; k < d->classes; k++) {
        int64_t m = of_class(d, n, index, k, key, all), v = (int64_t)(fraction * (double)m + 0.5);
        if (v == 0 && m >= 2 && fraction > 0) v = 1;
        for (int64_t i = 0; i < m; i++)
            if (i < v) val[(*n_val)++] = all[i];
            else train[(*n_train)++] = all[i];
    }
    tlvi_free(d->c, all, bytes);
}
