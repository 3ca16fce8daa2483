/* feature_cache.c -- rows of features on disk, found by what their images hold (POSIX).
 *
 * DIR/SET/rows-NAME.safetensors holds "key" u8 [rows,32] (a hash of each image), "x" f32 [rows,dim]
 * and in its metadata a hash of both, without which a flipped bit would be a wrong feature.  Files
 * are written once, beside and renamed, and never changed: readers and writers need no lock. */
#define _POSIX_C_SOURCE 200809L
#include "transfer/feature_cache.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "autograd/autograd.h"
#include "data/reader.h"
#include "tensor/core.h"
#include "tensor/hash.h"
#include "tensor/mapfile.h"
#include "tensor/safetensors.h"

enum { KEY = TLVI_HASH_BYTES, PATH = 2048, FLUSH_BYTES = 8 << 20 };

/* What rows depend on besides image and weights: a change of meaning gets a new number here. */
static const char LAYOUT[] = "features 1";

typedef struct entry { uint8_t key[KEY]; int64_t row; } entry;

struct tlvi_row_cache {
    tlv_ctx *c;
    tlv_extract_report *rep;
    int64_t n, dim, n_fresh;
    float *x;                   /* the caller's [n,dim] */
    entry *at;                  /* [n], by key and row */
    int64_t *fresh;             /* [n]: places in `at` of rows that are not on disk */
    int64_t *place;             /* [n]: of each row in `at` */
    uint8_t *has;               /* [n] */
    char folder[PATH];
};

/* ---- keys ------------------------------------------------------------------------------------ */

static void hex(const uint8_t *bytes, int n, char *text)
{
    for (int i = 0; i < n; i++) snprintf(text + 2 * i, 3, "%02x", bytes[i]);
}

static void add_text(tlvi_hash *h, const char *s)
{
    tlvi_hash_add_u64(h, strlen(s));
    tlvi_hash_add(h, s, strlen(s));
}

/* Name, type, shape and bits of every entry but the head's, which features do not see. */
static void add_weights(tlv_ctx *c, tlvi_hash *h, const tlv_model *m)
{
    char head[96];
    snprintf(head, sizeof head, "%s.*", tlv_model_head(m));
    const tlv_params *p = tlv_model_params(m);
    for (int i = 0; i < tlv_params_count(p); i++) {
        if (tlv_match(head, tlv_params_name(p, i))) continue;
        tlv_scope s = tlv_scope_begin_with(c, TLV_NO_GRAD);
        const tlv_tensor *t = tlvi_row_major(c, tlv_params_get(p, i));
        add_text(h, tlv_params_name(p, i));
        if (t) {
            add_text(h, tlv_dtype_name(tlv_dtype_of(t)));
            for (int k = 0; k < tlv_ndim(t); k++) tlvi_hash_add_u64(h, (uint64_t)tlv_dim(t, k));
            tlvi_hash_add(h, tlvi_ptr(t), (size_t)tlv_numel(t) * tlv_dtype_size(tlv_dtype_of(t)));
        }
        tlv_scope_end(c, s);
    }
}

/* What else the forward function goes by. */
static void add_settings(tlvi_hash *h, const tlv_model_info *m)
{
    char text[160];
    snprintf(text, sizeof text, "width %.17g eps %.17g padding %s folded %d dim %d", m->width,
             m->eps, tlv_padding_name(m->padding), m->folded, m->dim);
    add_text(h, m->arch);
    add_text(h, text);
}

/* What the set does to its files before the recipe. */
static void add_reading(tlvi_hash *h, const tlv_dataset *d)
{
    char text[80];
    tlv_filter filter;
    int side = tlvi_dataset_kept_side(d, &filter);
    snprintf(text, sizeof text, "EXIF %s, reduced to %d by %d",
             d->ignore_exif ? "ignored" : "applied", side, side ? (int)filter : 0);
    add_text(h, text);
}

void tlvi_row_cache_key(tlv_ctx *c, const tlv_model *m, const tlv_dataset *d, const char *isa,
                        const char *conv, char text[TLV_CACHE_KEY + 1])
{
    char recipe[320];
    uint8_t digest[KEY];
    tlvi_hash h = tlvi_hash_begin();
    add_text(&h, LAYOUT);
    add_text(&h, tlv_version());
    add_reading(&h, d);
    add_text(&h, isa);
    add_text(&h, conv);
    add_settings(&h, tlv_model_about(m));
    add_text(&h, tlv_recipe_write(tlv_model_recipe(m), recipe, sizeof recipe));
    add_weights(c, &h, m);
    tlvi_hash_end(&h, digest);
    hex(digest, TLV_CACHE_KEY / 2, text);
}

static int by_key(const void *a, const void *b)
{
    const entry *p = a, *q = b;
    int order = memcmp(p->key, q->key, KEY);
    return order ? order : (p->row > q->row) - (p->row < q->row);
}

static tlv_status image_keys(tlvi_row_cache *k, const tlv_dataset *d, const int64_t *index)
{
    for (int64_t i = 0; i < k->n && k->c->err == TLV_OK; i++) {
        k->at[i].row = i;
        tlv_dataset_hash(k->c, d, index ? index[i] : i, k->at[i].key);
    }
    if (k->c->err) return k->c->err;
    qsort(k->at, (size_t)k->n, sizeof *k->at, by_key);
    for (int64_t i = 0; i < k->n; i++) k->place[k->at[i].row] = i;
    return TLV_OK;
}

/* The first place whose key is this one, or n. */
static int64_t find(const tlvi_row_cache *k, const uint8_t *key)
{
    int64_t lo = 0, hi = k->n;
    while (lo < hi) {
        int64_t middle = lo + (hi - lo) / 2;
        if (memcmp(k->at[middle].key, key, KEY) < 0) lo = middle + 1;
        else hi = middle;
    }
    return lo < k->n && memcmp(k->at[lo].key, key, KEY) == 0 ? lo : k->n;
}

/* ---- reading --------------------------------------------------------------------------------- */

static void content_hash(const void *key, const void *x, int64_t rows, int64_t dim, uint8_t *out)
{
    tlvi_hash h = tlvi_hash_begin();
    tlvi_hash_add_u64(&h, (uint64_t)rows);
    tlvi_hash_add_u64(&h, (uint64_t)dim);
    tlvi_hash_add(&h, key, (size_t)rows * KEY);
    tlvi_hash_add(&h, x, (size_t)(rows * dim) * sizeof(float));
    tlvi_hash_end(&h, out);
}

/* The file's rows go where their images are asked for.  Returns what is wrong with it, or NULL. */
static const char *take_rows(tlvi_row_cache *k, const tlv_file *f)
{
    int at = tlv_file_find(f, "key"), to = tlv_file_find(f, "x");
    if (at < 0 || to < 0) return "it has no keys or no rows";
    tlv_shape key = tlv_file_shape(f, at), x = tlv_file_shape(f, to);
    if (key.ndim != 2 || x.ndim != 2 || key.dim[0] != x.dim[0] || key.dim[1] != KEY
        || x.dim[1] != k->dim || tlv_file_dtype(f, at) != TLV_U8
        || tlv_file_dtype(f, to) != TLV_F32)
        return "its keys and rows do not fit together or the model";
    uint8_t digest[KEY];
    char text[2 * KEY + 1];
    const char *meta = tlv_file_meta(f, "hash"), *set = tlv_file_meta(f, "set");
    size_t bytes;
    const uint8_t *keys = tlvi_file_data(f, at, &bytes);
    content_hash(keys, tlvi_file_data(f, to, &bytes), x.dim[0], x.dim[1], digest);
    hex(digest, KEY, text);
    if (!meta || strcmp(meta, text) != 0) return "its content does not fit its hash";
    if (!set || strcmp(set, k->rep->set_key) != 0) return "it belongs to another model";

    const tlv_tensor *t = tlv_file_read(k->c, f, to);
    if (!t) return NULL;                                // no memory: the context says so
    bytes = (size_t)k->dim * sizeof(float);
    for (int64_t r = 0; r < x.dim[0]; r++) {
        const uint8_t *one = keys + r * KEY;
        for (int64_t i = find(k, one); i < k->n && memcmp(k->at[i].key, one, KEY) == 0; i++) {
            int64_t row = k->at[i].row;
            memcpy(k->x + row * k->dim, tlvi_f32(t) + r * k->dim, bytes);
            k->rep->hits += !k->has[row];
            k->has[row] = 1;
        }
    }
    return NULL;
}

static void damaged(tlvi_row_cache *k, const char *path, const char *why)
{
    if (k->rep->damaged++ == 0)
        snprintf(k->rep->damage, sizeof k->rep->damage, "%s: %s", tlvi_path_str(path).s, why);
}

/* A file that cannot be read is no error: its rows are computed again. */
static void read_shard(tlvi_row_cache *k, const char *path)
{
    tlv_ctx *c = k->c;
    tlv_error_fn on_error = c->opts.on_error;
    c->opts.on_error = NULL;
    tlv_scope s = tlv_scope_begin_with(c, TLV_NO_GRAD);
    tlv_file *f = tlv_file_open(c, path);
    const char *why = f ? take_rows(k, f) : NULL;
    if (c->err && c->err != TLV_ERR_NOMEM) {
        char reason[sizeof c->msg];
        strcpy(reason, c->msg);
        tlv_error_clear(c);                             // this scope's tape is empty
        if (k->rep->damaged++ == 0)
            snprintf(k->rep->damage, sizeof k->rep->damage, "%.*s",
                     (int)sizeof k->rep->damage - 1, reason);
    } else if (why) {
        damaged(k, path, why);
    } else {
        k->rep->shards++;
    }
    tlv_file_close(f);
    tlv_scope_end(c, s);
    c->opts.on_error = on_error;
    if (c->err && on_error) on_error(c->opts.on_error_user, c);
}

static int is_shard(const char *name)
{
    size_t n = strlen(name), end = strlen(".safetensors");
    return strncmp(name, "rows-", 5) == 0 && n > end && strcmp(name + n - end, ".safetensors") == 0;
}

static void read_shards(tlvi_row_cache *k)
{
    char path[PATH];
    DIR *d = opendir(k->folder);
    if (!d) return;                                     // just made by us, or taken away again
    for (struct dirent *e; k->c->err == TLV_OK && (e = readdir(d)) != NULL;) {
        if (!is_shard(e->d_name)) continue;
        if ((size_t)snprintf(path, sizeof path, "%s/%s", k->folder, e->d_name) < sizeof path)
            read_shard(k, path);
    }
    closedir(d);
}

/* ---- writing --------------------------------------------------------------------------------- */

/* Folders DIR and DIR/SET. */
static tlv_status make_folder(tlvi_row_cache *k, const char *dir)
{
    tlv_ctx *c = k->c;
    char why[96] = "";
    TLVI_CHECK(c, strlen(dir) + TLV_CACHE_KEY + 64 < sizeof k->folder, TLV_ERR_LIMIT,
               "choose a shorter one", "%s: the path of the cache is too long",
               tlvi_path_str(dir).s);
    (void)mkdir(dir, 0777);                             // the second one says what is wrong
    snprintf(k->folder, sizeof k->folder, "%s/%s", dir, k->rep->set_key);
    struct stat st;
    int made = mkdir(k->folder, 0777) == 0;
    if (made || (errno == EEXIST && stat(k->folder, &st) == 0 && S_ISDIR(st.st_mode)))
        return TLV_OK;
    (void)strerror_r(errno, why, sizeof why);
    return tlvi_fail(c, TLV_ERR_IO, "name a folder that can be written, or use no cache",
                     "%s: cannot make this folder of the cache: %s", tlvi_path_str(k->folder).s,
                     why);
}

/* Keys and rows of the fresh ones, each image once, into the tensors of a file. */
static int64_t gather(const tlvi_row_cache *k, uint8_t *key, float *x)
{
    int64_t rows = 0;
    for (int64_t i = 0; i < k->n_fresh; i++) {
        const entry *e = &k->at[k->fresh[i]];
        if (find(k, e->key) != k->fresh[i]) continue;   // an equal image stands before it
        if (key) {
            memcpy(key + rows * KEY, e->key, KEY);
            memcpy(x + rows * k->dim, k->x + e->row * k->dim, (size_t)k->dim * sizeof *x);
        }
        rows++;
    }
    return rows;
}

static void write_shard(tlvi_row_cache *k)
{
    tlv_ctx *c = k->c;
    int64_t rows = gather(k, NULL, NULL);
    uint8_t digest[KEY];
    char text[2 * KEY + 1], path[PATH + 64];
    tlv_tensor *key = tlv_empty(c, TLV_U8, TLV_SHAPE(rows, KEY));
    tlv_tensor *x = tlv_empty(c, TLV_F32, TLV_SHAPE(rows, k->dim));
    uint8_t *to_key = key ? tlv_fill_ptr(c, key) : NULL;
    float *to_x = x ? tlv_fill_ptr(c, x) : NULL;
    if (rows == 0 || !to_key || !to_x) return;
    gather(k, to_key, to_x);
    content_hash(to_key, to_x, rows, k->dim, digest);
    hex(digest, KEY, text);
    snprintf(path, sizeof path, "%s/rows-%.16s.safetensors", k->folder, text);
    const tlv_file_item item[] = { { "key", key }, { "x", x } };
    const char *meta[] = { "hash", text, "set", k->rep->set_key, "libtlvision", tlv_version(),
                           NULL };
    tlv_file_write(c, path, 2, item, meta);
}

/* What is fresh goes to disk.  A full disk costs the cache, not the features: it is reported. */
static void flush(tlvi_row_cache *k)
{
    tlv_ctx *c = k->c;
    if (k->n_fresh == 0 || c->err) return;
    tlv_error_fn on_error = c->opts.on_error;
    c->opts.on_error = NULL;
    tlv_scope s = tlv_scope_begin_with(c, TLV_NO_GRAD);
    write_shard(k);
    if (c->err == TLV_ERR_IO) {
        k->rep->unwritten += k->n_fresh;
        if (!k->rep->damage[0])
            snprintf(k->rep->damage, sizeof k->rep->damage, "%.*s",
                     (int)sizeof k->rep->damage - 1, c->msg);
        tlv_error_clear(c);
    }
    tlv_scope_end(c, s);
    c->opts.on_error = on_error;
    if (c->err && on_error) on_error(c->opts.on_error_user, c);
    k->n_fresh = 0;
}

/* ---- the whole ------------------------------------------------------------------------------- */

static size_t bytes_of(int64_t n)
{
    size_t one = sizeof(entry) + 2 * sizeof(int64_t) + 1;
    return sizeof(tlvi_row_cache) + (size_t)n * one;
}

tlvi_row_cache *tlvi_row_cache_open(tlv_ctx *c, const char *dir, const tlv_model *m,
                                    const tlv_dataset *d, const int64_t *index, int64_t n, float *x,
                                    int dim, tlv_extract_report *rep)
{
    tlvi_row_cache *k = c->err ? NULL : tlvi_alloc(c, bytes_of(n));
    if (!k) return NULL;
    memset(k, 0, bytes_of(n));
    k->c = c;
    k->rep = rep;
    k->n = n;
    k->dim = dim;
    k->x = x;
    k->at = (entry *)(void *)(k + 1);
    k->fresh = (int64_t *)(void *)(k->at + n);
    k->place = k->fresh + n;
    k->has = (uint8_t *)(k->place + n);
    tlvi_row_cache_key(c, m, d, tlv_isa(c), tlv_conv_algorithm(c), rep->set_key);
    if (make_folder(k, dir) == TLV_OK && image_keys(k, d, index) == TLV_OK) read_shards(k);
    if (c->err == TLV_OK) return k;
    tlvi_free(c, k, bytes_of(n));
    return NULL;
}

int tlvi_row_cache_has(const tlvi_row_cache *k, int64_t i) { return k && k->has[i]; }

void tlvi_row_cache_add(tlvi_row_cache *k, int64_t i)
{
    k->has[i] = 1;
    k->fresh[k->n_fresh++] = k->place[i];
    if (k->n_fresh * k->dim * (int64_t)sizeof(float) >= FLUSH_BYTES) flush(k);
}

void tlvi_row_cache_close(tlvi_row_cache *k)
{
    if (!k) return;
    tlv_ctx *c = k->c;
    if (c->err == TLV_OK) flush(k);
    tlvi_free(c, k, bytes_of(k->n));
}
