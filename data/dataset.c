/* dataset.c -- data sets by their description, subsets, stratified splits. */
#include <stdlib.h>

#include "data/reader.h"

/* ---- opening --------------------------------------------------------------------------------- */

int tlvi_dataset_alloc(tlv_dataset *d, int with_names)
{
    d->pixel_bytes = (size_t)d->n * (size_t)d->h * (size_t)d->w * (size_t)d->channels;
    d->pixels = tlvi_alloc(d->c, d->pixel_bytes);
    d->label = tlvi_alloc(d->c, (size_t)d->n * sizeof(int32_t));
    if (with_names) d->class_name = tlvi_alloc(d->c, (size_t)d->classes * sizeof *d->class_name);
    return d->pixels && d->label && (!with_names || d->class_name);
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

static tlv_status open_kind(tlv_dataset *d, const char *what, const char *split)
{
    TLVI_CHECK(d->c, !split || strcmp(split, "train") == 0 || strcmp(split, "test") == 0,
               TLV_ERR_ARG, "splits are train and test", "%s: there is no split '%s'", what, split);
    if (strncmp(what, "cifar10:", 8) == 0) return tlvi_read_cifar10(d, what + 8, split);
    if (strncmp(what, "idx:", 4) == 0) return open_idx(d, what + 4);
    if (strncmp(what, "shapes:", 7) == 0) {
        char *end;
        long n = strtol(what + 7, &end, 10);
        TLVI_CHECK(d->c, end != what + 7 && *end == 0 && n > 0 && n <= 100000, TLV_ERR_ARG,
                   "write shapes:100 for 100 images a class",
                   "%s: the number of images is 1 to 100000", what);
        return tlvi_draw_shapes(d, n, split);
    }
    return tlvi_fail(d->c, TLV_ERR_ARG, "write cifar10:DIR, idx:IMAGES,LABELS or shapes:N",
                     "'%s' names no data set", what);
}

tlv_dataset *tlv_dataset_open(tlv_ctx *c, const char *what, const char *split)
{
    if (c->err) return NULL;
    TLVI_REQUIRE(c, what, TLV_ERR_ARG, "write cifar10:DIR, idx:IMAGES,LABELS or shapes:N",
                 "the data set is NULL");
    tlv_dataset *d = tlvi_alloc(c, sizeof *d);
    if (!d) return NULL;
    memset(d, 0, sizeof *d);
    d->c = c;
    if (open_kind(d, what, split) == TLV_OK) return d;
    tlv_dataset_close(d);
    return NULL;
}

void tlv_dataset_close(tlv_dataset *d)
{
    if (!d) return;
    tlvi_free(d->c, d->pixels, d->pixel_bytes);
    tlvi_free(d->c, d->label, (size_t)d->n * sizeof(int32_t));
    tlvi_free(d->c, d->class_name, (size_t)d->classes * sizeof *d->class_name);
    tlvi_free(d->c, d, sizeof *d);
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
    static const char *const digits[] = { "0", "1", "2", "3", "4", "5", "6", "7", "8", "9" };
    if (k < 0 || k >= d->classes) return "?";
    return d->class_name ? d->class_name[k] : k < 10 ? digits[k] : "class";
}

const uint8_t *tlv_dataset_pixels(const tlv_dataset *d, int64_t i)
{
    return d->pixels + (size_t)i * (size_t)d->h * (size_t)d->w * (size_t)d->channels;
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
