/* episodes.c -- N-way K-shot tasks: which classes and images, in which turn, follows from a key. */
#include <string.h>

#include "data/prepare.h"
#include "data/reader.h"
#include "tensor/hash.h"
#include "tensor/sort.h"

enum { MOST_WAYS = 1024, MOST_IMAGES = 4096 };

struct tlv_episodes {
    tlv_ctx *c;
    tlv_episodes_opts o;
    tlvi_normal normal;                 /* with one channel: the first one's everywhere */
    int n_class, smallest;
    int64_t n, image_bytes;
    uint8_t *pixels;                    /* [n][S][S][C], class after class */
    int64_t *first;                     /* [n_class + 1]: of a class's images */
    int32_t *class_id;                  /* [n_class]: in the data set */
    uint64_t *hash;                     /* [n]: of an image's pixels */
    uint64_t source;                    /* hash of what the data set said of itself */
};

/* ---- opening --------------------------------------------------------------------------------- */

static uint64_t hash_of(const void *bytes, size_t n)
{
    uint8_t digest[TLVI_HASH_BYTES];
    uint64_t v;
    tlvi_hash h = tlvi_hash_begin();
    tlvi_hash_add(&h, bytes, n);
    tlvi_hash_end(&h, digest);
    memcpy(&v, digest, sizeof v);
    return v;
}

static tlv_status check(tlv_ctx *c, const tlv_dataset *d, const int32_t *classes, int n,
                        const tlv_episodes_opts *o)
{
    TLVI_CHECK(c, d && d->classes > 0, TLV_ERR_ARG, "pass a set with labels",
               "episodes_open: the set has no classes");
    TLVI_CHECK(c, o->channels == 1 || o->channels == 3, TLV_ERR_ARG, "1 is grey, 3 is RGB",
               "episodes_open: %d channels", o->channels);
    TLVI_CHECK(c, (unsigned)o->turns <= TLV_TURNS_CLASSES, TLV_ERR_ARG, "see tlv_turns",
               "episodes_open: turns %d", (int)o->turns);
    TLVI_CHECK(c, o->recipe.size > 0 && o->recipe.size <= 4096, TLV_ERR_ARG,
               "set recipe.size, 1 .. 4096", "episodes_open: images of size %d", o->recipe.size);
    TLVI_CHECK(c, n >= 1, TLV_ERR_ARG, "list at least one class", "episodes_open: %d classes", n);
    for (int i = 0; i < n; i++) {
        int k = classes ? classes[i] : i;
        TLVI_CHECK(c, k >= 0 && k < d->classes, TLV_ERR_ARG, "classes are 0 .. classes - 1",
                   "episodes_open: class %d of %d", k, d->classes);
        TLVI_CHECK(c, tlv_dataset_class_count(d, k) > 0, TLV_ERR_ARG, "leave it out",
                   "episodes_open: class %d (%s) has no images", k, tlv_dataset_class_name(d, k));
        for (int j = 0; classes && j < i; j++)
            TLVI_CHECK(c, classes[j] != k, TLV_ERR_ARG, "list every class once",
                       "episodes_open: class %d is listed twice", k);
    }
    return c->err;
}

static int take_memory(tlv_episodes *e)
{
    e->image_bytes = (int64_t)e->o.recipe.size * e->o.recipe.size * e->o.channels;
    e->pixels = tlvi_alloc(e->c, (size_t)(e->n * e->image_bytes));
    e->hash = e->pixels ? tlvi_alloc(e->c, (size_t)e->n * sizeof *e->hash) : NULL;
    return e->hash != NULL;
}

/* Finds which images belong to the classes: place[i] is where image i goes, -1: nowhere. */
static int place_images(tlv_episodes *e, const tlv_dataset *d, const int32_t *classes,
                        int64_t *place, int32_t *slot)
{
    for (int k = 0; k < d->classes; k++) slot[k] = -1;
    for (int i = 0; i < e->n_class; i++) {
        e->class_id[i] = classes ? classes[i] : i;
        slot[e->class_id[i]] = i;
        int64_t count = tlv_dataset_class_count(d, e->class_id[i]);
        if (i == 0 || count < e->smallest) e->smallest = (int)count;
        e->first[i] = e->n;
        e->n += count;
    }
    e->first[e->n_class] = e->n;
    if (!take_memory(e)) return 0;
    for (int k = 0; k < e->n_class; k++) e->hash[k] = 0;            // counts, for a moment
    for (int64_t i = 0; i < d->n; i++) {
        int k = d->label[i] >= 0 ? slot[d->label[i]] : -1;
        place[i] = k < 0 ? -1 : e->first[k] + (int64_t)e->hash[k]++;
    }
    return 1;
}

typedef struct fill_job { tlv_episodes *e; const tlv_dataset *d; const int64_t *place; } fill_job;

static tlv_status prepare(tlv_ctx *c, const tlv_episodes *e, const tlv_image *m, uint8_t *to)
{
    tlv_image out;
    tlv_augment none = { 0 };
    tlv_status st = tlv_image_prepare(m, &e->o.recipe, &none, (tlv_rng_key){ 0 }, &out);
    if (st == TLV_OK && e->o.channels == 1) st = tlv_image_convert(&out, TLV_GREY);
    if (st == TLV_OK) memcpy(to, out.samples, (size_t)e->image_bytes);
    if (st == TLV_OK) tlv_image_close(&out);
    return st == TLV_OK ? tlv_error(c) : st;
}

static tlv_status fill_image(tlv_ctx *c, int64_t i, void *user)
{
    const fill_job *j = user;
    tlv_episodes *e = j->e;
    if (j->place[i] < 0) return TLV_OK;
    uint8_t *to = e->pixels + j->place[i] * e->image_bytes;
    int size = e->o.recipe.size, resize = e->o.recipe.resize;
    tlvi_view v;
    if (tlvi_dataset_view(c, j->d, i, &v) != TLV_OK) return tlv_error(c);
    tlv_status st = TLV_OK;
    if (v.m.channels == e->o.channels && v.m.h == size && v.m.w == size
        && (resize == 0 || resize == size))
        memcpy(to, v.m.samples, (size_t)e->image_bytes);
    else st = prepare(c, e, &v.m, to);
    tlvi_dataset_unview(&v);
    e->hash[j->place[i]] = hash_of(to, (size_t)e->image_bytes);
    return st;
}

static tlv_status fill(tlv_episodes *e, const tlv_dataset *d, const int32_t *classes)
{
    tlv_ctx *c = e->c;
    tlv_scope s = tlv_scope_begin_with(c, TLV_NO_GRAD);
    tlv_tensor *place = tlvi_new(c, TLV_I64, TLV_SHAPE(d->n)),
               *slot = tlvi_new(c, TLV_I32, TLV_SHAPE(d->classes));
    if (place && slot && place_images(e, d, classes, tlvi_ptr(place), tlvi_ptr(slot))) {
        fill_job j = { e, d, tlvi_ptr(place) };
        tlv_parallel_tasks(c, d->n, fill_image, &j);
    }
    tlv_scope_end(c, s);
    return c->err;
}

tlv_episodes *tlv_episodes_open(tlv_ctx *c, const tlv_dataset *d, const int32_t *classes, int n,
                                tlv_episodes_opts o)
{
    if (c->err) return NULL;
    if (o.channels == 0) o.channels = 3;
    if (!classes && d) n = d->classes;
    if (check(c, d, classes, n, &o) != TLV_OK) return NULL;
    tlv_episodes *e = tlvi_alloc(c, sizeof *e);
    if (!e) return NULL;
    *e = (tlv_episodes){ .c = c, .o = o, .n_class = n };
    tlvi_normal_make(&e->normal, &o.recipe);
    for (int i = 0; o.channels == 1 && i < TLVI_NORMAL_PERIOD; i++) {
        e->normal.scale[i] = e->normal.scale[0];
        e->normal.shift[i] = e->normal.shift[0];
    }
    e->source = hash_of(d->text, strlen(d->text));
    e->first = tlvi_alloc(c, (size_t)(n + 1) * sizeof *e->first);
    e->class_id = e->first ? tlvi_alloc(c, (size_t)n * sizeof *e->class_id) : NULL;
    if (e->class_id && fill(e, d, classes) == TLV_OK) return e;
    tlv_episodes_close(e);
    return NULL;
}

void tlv_episodes_close(tlv_episodes *e)
{
    if (!e) return;
    size_t n = (size_t)e->n_class;
    if (e->pixels) tlvi_free(e->c, e->pixels, (size_t)(e->n * e->image_bytes));
    if (e->hash) tlvi_free(e->c, e->hash, (size_t)e->n * sizeof *e->hash);
    if (e->first) tlvi_free(e->c, e->first, (n + 1) * sizeof *e->first);
    if (e->class_id) tlvi_free(e->c, e->class_id, n * sizeof *e->class_id);
    tlvi_free(e->c, e, sizeof *e);
}

static int turns_of(const tlv_episodes *e) { return e->o.turns == TLV_TURNS_CLASSES ? 4 : 1; }
int tlv_episodes_classes(const tlv_episodes *e) { return e->n_class * turns_of(e); }
int tlv_episodes_per_class(const tlv_episodes *e) { return e->smallest; }
int tlv_episodes_channels(const tlv_episodes *e) { return e->o.channels; }
int tlv_episodes_size(const tlv_episodes *e) { return e->o.recipe.size; }
tlv_recipe tlv_episodes_recipe(const tlv_episodes *e) { return e->o.recipe; }

/* ---- nothing in common ----------------------------------------------------------------------- */

typedef struct pair { const uint64_t *a, *b; int64_t n_a; } pair;

static uint64_t hash_at(const pair *p, int32_t i)
{
    return i < p->n_a ? p->a[i] : p->b[i - p->n_a];
}

static int less(const void *arg, int32_t x, int32_t y)
{
    uint64_t u = hash_at(arg, x), v = hash_at(arg, y);
    return u != v ? u < v : x < y;
}

static int class_of(const tlv_episodes *e, int64_t image)
{
    int k = 0;
    while (k + 1 < e->n_class && e->first[k + 1] <= image) k++;
    return e->class_id[k];
}

static tlv_status no_common_image(tlv_ctx *c, const tlv_episodes *a, const tlv_episodes *b)
{
    pair p = { a->hash, b->hash, a->n };
    int64_t n = a->n + b->n;
    TLVI_CHECK(c, n < (int64_t)1 << 30, TLV_ERR_LIMIT, NULL, "episodes_disjoint: %lld images",
               (long long)n);
    tlv_scope s = tlv_scope_begin_with(c, TLV_NO_GRAD);
    tlv_tensor *order = tlvi_new(c, TLV_I32, TLV_SHAPE(n));
    int32_t *at = order ? tlvi_ptr(order) : NULL;
    if (at) tlvi_sort_indices(at, (int)n, less, &p);
    for (int64_t i = 0; at && i + 1 < n && c->err == TLV_OK; i++) {
        int64_t x = at[i], y = at[i + 1] - a->n;
        if (x < a->n && y >= 0 && a->hash[x] == b->hash[y])
            tlvi_fail(c, TLV_ERR_ARG, "take one of them out",
                      "episodes_disjoint: an image of class %d is also one of class %d",
                      class_of(a, x), class_of(b, y));
    }
    tlv_scope_end(c, s);
    return c->err;
}

tlv_status tlv_episodes_disjoint(tlv_ctx *c, const tlv_episodes *a, const tlv_episodes *b)
{
    if (c->err) return c->err;
    c->in_hand[0] = NULL;
    for (int i = 0; a->source == b->source && i < a->n_class; i++)
        for (int k = 0; k < b->n_class; k++)
            TLVI_CHECK(c, a->class_id[i] != b->class_id[k], TLV_ERR_ARG,
                       "split the classes with tlv_class_split",
                       "episodes_disjoint: class %d is in both", a->class_id[i]);
    return no_common_image(c, a, b);
}

/* ---- splitting classes ----------------------------------------------------------------------- */

static void sort_ids(int32_t *x, int n)
{
    for (int i = 1; i < n; i++) {
        int32_t v = x[i];
        int k = i;
        for (; k > 0 && x[k - 1] > v; k--) x[k] = x[k - 1];
        x[k] = v;
    }
}

int tlv_class_split(tlv_ctx *c, const tlv_dataset *d, int n_train, int n_val, tlv_rng_key key,
                    int32_t *out)
{
    int n = tlv_dataset_classes(d);
    if (c->err) return -1;
    c->in_hand[0] = NULL;
    if (n_train < 0 || n_val < 0 || n_train > n || n_val > n - n_train) {
        tlvi_fail(c, TLV_ERR_ARG, "leave some for the test", "class_split: %d and %d of %d classes",
                  n_train, n_val, n);
        return -1;
    }
    for (int i = 0; i < n; i++) out[i] = i;
    for (int i = n - 1; i > 0; i--) {
        int k = (int)tlv_rng_below(key, (uint64_t)i, i + 1);
        int32_t t = out[i];
        out[i] = out[k];
        out[k] = t;
    }
    sort_ids(out, n_train);
    sort_ids(out + n_train, n_val);
    sort_ids(out + n_train + n_val, n - n_train - n_val);
    return n - n_train - n_val;
}

/* ---- drawing --------------------------------------------------------------------------------- */

/* k different numbers below n, in a random order: what was drawn before is drawn again. */
static void choose(tlv_rng_key key, int k, int64_t n, int32_t *out)
{
    uint64_t draw = 0;
    for (int i = 0; i < k; i++) {
        int again;
        do {
            out[i] = (int32_t)tlv_rng_below(key, draw++, n);
            again = 0;
            for (int j = 0; j < i; j++) again |= out[j] == out[i];
        } while (again);
    }
}

/* Pixels of an image turned counter-clockwise by `quarters`, as bytes, row `y` of the result. */
static void turned_row(const uint8_t *px, int s, int ch, int quarters, int y, int x, int n,
                       uint8_t *out)
{
    for (int i = 0; i < n; i++, x++, out += ch) {
        int r = y, q = x;
        if (quarters == 1) r = x, q = s - 1 - y;
        if (quarters == 2) r = s - 1 - y, q = s - 1 - x;
        if (quarters == 3) r = s - 1 - x, q = y;
        memcpy(out, px + (r * s + q) * ch, (size_t)ch);
    }
}

enum { RUN = 64 };

/* [S,S,C] floats */
static void put_image(const tlvi_kernels *k, const tlv_episodes *e, const uint8_t *px, int quarters,
                      float *out)
{
    int s = e->o.recipe.size, ch = e->o.channels;
    uint8_t row[3 * RUN];
    for (int y = 0; y < s; y++)
        for (int x = 0; x < s; x += RUN) {
            int n = s - x < RUN ? s - x : RUN;
            turned_row(px, s, ch, quarters, y, x, n, row);
            float *to = out + (y * s + x) * ch;
            if (ch == 1) k->f32->scale_bytes((size_t)n, row, e->normal.scale, e->normal.shift, to);
            else tlvi_normal_pixels(k, &e->normal, (size_t)n, 3, row, to);
        }
}

static int may_draw(tlv_ctx *c, const tlv_episodes *e, int ways, int shots, int queries)
{
    const char *what = NULL;
    if (c->err) return 0;
    c->in_hand[0] = NULL;
    if (ways < 1 || ways > MOST_WAYS || ways > tlv_episodes_classes(e)) what = "ways";
    if (shots < 1 || queries < 0 || shots + queries > MOST_IMAGES
        || shots + queries > e->smallest)
        what = "shots and queries";
    if (!what) return 1;
    tlvi_fail(c, TLV_ERR_ARG, "take fewer, or a set with more",
              "episode_draw: %d ways, %d shots, %d queries: too many %s for %d classes of %d "
              "images and more",
              ways, shots, queries, what, tlv_episodes_classes(e), e->smallest);
    return 0;
}

static tlv_status make_tensors(tlv_ctx *c, const tlv_episodes *e, tlv_episode *out)
{
    const int each[2] = { out->shots, out->queries };
    int s = e->o.recipe.size;
    for (int i = 0; i < 2 && c->err == TLV_OK; i++) {
        int64_t n = (int64_t)out->ways * each[i];
        if (n == 0) continue;
        out->x[i] = tlvi_new_image(c, TLV_F32, tlv_shape4(n, e->o.channels, s, s));
        out->y[i] = tlvi_new(c, TLV_I32, TLV_SHAPE(n));
    }
    return c->err;
}

/* Images pick[0 ..] of a class, shots to the support set and the rest to the query set. */
static void put_class(const tlvi_kernels *k, const tlv_episodes *e, const tlv_episode *out, int way,
                      int at, int quarters, const int32_t *pick)
{
    for (int i = 0; i < out->shots + out->queries; i++) {
        int part = i < out->shots ? TLV_SUPPORT : TLV_QUERY;
        int64_t row = part == TLV_SUPPORT ? (int64_t)way * out->shots + i
                                          : (int64_t)way * out->queries + i - out->shots;
        const uint8_t *px = e->pixels + (e->first[at] + pick[i]) * e->image_bytes;
        put_image(k, e, px, quarters, tlvi_f32(out->x[part]) + row * e->image_bytes);
        tlvi_i32(out->y[part])[row] = way;
    }
}

tlv_episode tlv_episode_draw(tlv_ctx *c, const tlv_episodes *e, int ways, int shots, int queries,
                             tlv_rng_key key)
{
    const tlv_episode none = { 0 };
    tlv_episode out = { .ways = ways, .shots = shots, .queries = queries };
    int32_t chosen[MOST_WAYS], pick[MOST_IMAGES];
    if (!may_draw(c, e, ways, shots, queries) || make_tensors(c, e, &out) != TLV_OK) return none;
    choose(tlv_rng_fold(key, 0), ways, tlv_episodes_classes(e), chosen);
    for (int w = 0; w < ways; w++) {
        tlv_rng_key mine = tlv_rng_fold(key, 1 + (uint64_t)w);
        int at = chosen[w] % e->n_class, quarters = 0;
        if (e->o.turns == TLV_TURNS_CLASSES) quarters = chosen[w] / e->n_class;
        if (e->o.turns == TLV_TURNS_EPISODE) quarters = (int)tlv_rng_below(mine, 0, 4);
        choose(tlv_rng_fold(mine, 1), shots + queries, e->first[at + 1] - e->first[at], pick);
        put_class(c->k, e, &out, w, at, quarters, pick);
    }
    return out;
}
