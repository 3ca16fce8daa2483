/* stream.c -- the images of a set, one at a time: from memory, from files, from files that were
 * decoded before and kept.
 *
 * What is kept is a cache behind a set that several threads may read: it has a lock, and memory of
 * its own within the context's limit.  Once there, an image stays until the set forgets them all,
 * so readers need the lock for a glance only.  Whether an image was kept never changes what comes
 * out: reduced is reduced, kept or not. */
#include <stdio.h>

#include "data/reader.h"
#include "tensor/hash.h"
#include "tensor/mapfile.h"

typedef struct slot { uint8_t *px; int h, w; } slot;

struct tlvi_keep {
    tlvi_lock lock;                 /* over pool, left and slot */
    tlvi_pool *pool;
    size_t left;                    /* bytes of the budget */
    int side;
    tlv_filter filter;
    slot *slot;                     /* [room] */
    int64_t room;
};

static tlv_status check_index(tlv_ctx *c, const tlv_dataset *d, int64_t i)
{
    if (c->err) return c->err;
    c->in_hand[0] = NULL;
    TLVI_CHECK(c, d, TLV_ERR_ARG, NULL, "the data set is NULL");
    TLVI_CHECK(c, i >= 0 && i < d->n, TLV_ERR_INDEX, "indices are 0 to the size of the set - 1",
               "image %lld of a set of %lld", (long long)i, (long long)d->n);
    return TLV_OK;
}

/* ---- files ----------------------------------------------------------------------------------- */

/* The file of image i as RGB, upright; *out holds nothing after an error. */
static tlv_status decode(tlv_ctx *c, const tlv_dataset *d, int64_t i, tlv_image *out)
{
    const char *path = tlv_dataset_path(d, i);
    tlvi_mapfile f;
    *out = (tlv_image){ 0 };
    if (tlvi_mapfile_open(c, path, TLVI_MAP_COPY, &f) != TLV_OK) return c->err;
    tlv_image_decode(c, f.data, f.bytes, tlvi_path_str(path).s, out);
    tlvi_mapfile_close(c, &f);
    if (!c->err) tlv_image_convert(out, TLV_RGB);           // first: 16 bits become 8
    if (!c->err && !d->ignore_exif) tlv_image_orient(out);
    if (c->err) tlv_image_close(out);
    return c->err;
}

/* The error of a file that cannot be had: where the list names it, and what to do. */
static tlv_status explain(tlv_ctx *c, const tlv_dataset *d, int64_t i)
{
    if (c->err == TLV_OK || c->err == TLV_ERR_NOMEM) return c->err;
    char msg[sizeof c->msg];
    memcpy(msg, c->msg, sizeof msg);
    if (d->line[i])
        snprintf(c->msg, sizeof c->msg, "%s:%d: %.300s", tlvi_path_str(tlvi_string(&d->list, 0)).s,
                 (int)d->line[i], msg);
    snprintf(c->hint, sizeof c->hint, "replace the file, or leave out what cannot be read: "
             "tlv_dataset_drop_bad, --skip-bad");
    return c->err;
}

/* ---- what is kept ---------------------------------------------------------------------------- */

void tlvi_dataset_forget(tlv_dataset *d)
{
    struct tlvi_keep *k = d->keep;
    if (!k) return;
    tlvi_pool_close(k->pool);                               // the images with it
    tlvi_free(d->c, k->slot, (size_t)k->room * sizeof *k->slot);
    tlvi_free(d->c, k, sizeof *k);
    d->keep = NULL;
}

void tlv_dataset_keep(tlv_dataset *d, size_t bytes, int side, tlv_filter filter)
{
    tlvi_dataset_forget(d);
    tlv_ctx *c = d->c;
    if (d->pixels || bytes == 0 || c->err) return;
    size_t slots = (size_t)d->n * sizeof(slot);
    if (side < 0 || (unsigned)filter > TLV_FILTER_NEAREST) {
        tlvi_fail(c, TLV_ERR_ARG, NULL, "dataset_keep: side %d, filter %d", side, (int)filter);
        return;
    }
    struct tlvi_keep *k = tlvi_alloc(c, sizeof *k);
    if (!k) return;
    *k = (struct tlvi_keep){ .left = bytes > slots ? bytes - slots : 0, .side = side,
                             .filter = filter, .room = d->n };
    k->slot = tlvi_alloc(c, slots);
    k->pool = tlvi_pool_open(c->opts.alloc, c->opts.alloc_user, c->opts.mem_limit, 0, c->pool);
    d->keep = k;
    if (!k->slot || !k->pool) {
        if (!c->err) tlvi_fail(c, TLV_ERR_NOMEM, NULL, "dataset_keep: no memory");
        tlvi_dataset_forget(d);
        return;
    }
    memset(k->slot, 0, slots);
}

int tlvi_dataset_kept_side(const tlv_dataset *d, tlv_filter *filter)
{
    *filter = d->keep ? d->keep->filter : TLV_FILTER_BILINEAR;
    return d->keep ? d->keep->side : 0;
}

static slot kept(struct tlvi_keep *k, int64_t i)
{
    tlvi_lock_take(&k->lock);
    slot s = k->slot[i];
    tlvi_lock_drop(&k->lock);
    return s;
}

/* A copy of m, as far as the budget and memory go: not having it is no error. */
static void offer(struct tlvi_keep *k, int64_t i, const tlv_image *m)
{
    tlvi_lock_take(&k->lock);
    slot s = { NULL, m->h, m->w };
    if (!k->slot[i].px && m->bytes <= k->left) s.px = tlvi_pool_get(k->pool, m->bytes);
    if (s.px) k->left -= m->bytes;
    tlvi_pool_settle(k->pool);
    tlvi_lock_drop(&k->lock);
    if (!s.px) return;

    memcpy(s.px, m->samples, m->bytes);
    tlvi_lock_take(&k->lock);
    if (k->slot[i].px) {                                    // another thread was faster
        tlvi_pool_put(k->pool, s.px, m->bytes);
        tlvi_pool_settle(k->pool);
        k->left += m->bytes;
    } else {
        k->slot[i] = s;
    }
    tlvi_lock_drop(&k->lock);
}

static tlv_status reduce(tlv_image *m, const struct tlvi_keep *k)
{
    if (k->side == 0 || (m->h <= k->side || m->w <= k->side)) return TLV_OK;
    tlv_image small;
    if (tlv_image_resize_short(m, k->side, k->filter, &small) != TLV_OK) return m->c->err;
    tlv_image_close(m);
    *m = small;
    return TLV_OK;
}

/* ---- images ---------------------------------------------------------------------------------- */

/* Somebody else's samples. */
static tlv_image borrowed(tlv_ctx *c, const uint8_t *px, int h, int w, int channels)
{
    size_t bytes = (size_t)h * (size_t)w * (size_t)channels;
    return (tlv_image){ c, h, w, channels, channels == 1 ? TLV_GREY : TLV_RGB, 8, 1, (void *)px,
                        bytes };
}

tlv_status tlvi_dataset_view(tlv_ctx *c, const tlv_dataset *d, int64_t i, tlvi_view *v)
{
    *v = (tlvi_view){ .own = 0 };
    if (check_index(c, d, i) != TLV_OK) return c->err;
    slot s = { 0 };
    if (d->keep) s = kept(d->keep, i);
    if (d->pixels) v->m = borrowed(c, tlv_dataset_pixels(d, i), d->h, d->w, d->channels);
    else if (s.px) v->m = borrowed(c, s.px, s.h, s.w, 3);
    if (v->m.samples) return TLV_OK;

    v->own = 1;
    if (decode(c, d, i, &v->m) == TLV_OK && d->keep && reduce(&v->m, d->keep) == TLV_OK)
        offer(d->keep, i, &v->m);
    if (c->err) tlvi_dataset_unview(v);
    return explain(c, d, i);
}

void tlvi_dataset_unview(tlvi_view *v)
{
    if (v->own) tlv_image_close(&v->m);
    *v = (tlvi_view){ .own = 0 };
}

tlv_status tlv_dataset_image(tlv_ctx *c, const tlv_dataset *d, int64_t i, tlv_image *out)
{
    *out = (tlv_image){ 0 };
    if (check_index(c, d, i) != TLV_OK) return c->err;
    if (!d->pixels) {                                       // whole, even if a reduced one is kept
        decode(c, d, i, out);
        return explain(c, d, i);
    }
    tlv_image m = borrowed(c, tlv_dataset_pixels(d, i), d->h, d->w, d->channels);
    if (tlv_image_new(c, m.h, m.w, m.kind, 8, out) != TLV_OK) return c->err;
    memcpy(out->samples, m.samples, m.bytes);
    if (tlv_image_convert(out, TLV_RGB) != TLV_OK) tlv_image_close(out);
    return c->err;
}

void tlv_dataset_ignore_exif(tlv_dataset *d)
{
    char *said = strstr(d->text, TLVI_UPRIGHT);
    if (said) {
        size_t n = strlen(TLVI_UPRIGHT);
        memmove(said, said + n, strlen(said + n) + 1);
    }
    d->ignore_exif = 1;
}

tlv_status tlv_dataset_hash(tlv_ctx *c, const tlv_dataset *d, int64_t i, uint8_t out[32])
{
    if (check_index(c, d, i) != TLV_OK) return c->err;
    tlvi_hash h = tlvi_hash_begin();
    if (d->pixels) {
        tlv_image m = borrowed(c, tlv_dataset_pixels(d, i), d->h, d->w, d->channels);
        tlvi_hash_add_u64(&h, (uint64_t)m.h);
        tlvi_hash_add_u64(&h, (uint64_t)m.w);
        tlvi_hash_add_u64(&h, (uint64_t)m.channels);
        tlvi_hash_add(&h, m.samples, m.bytes);
    } else {
        tlvi_mapfile f;
        if (tlvi_mapfile_open(c, tlv_dataset_path(d, i), TLVI_MAP_COPY, &f) != TLV_OK)
            return explain(c, d, i);
        tlvi_hash_add(&h, f.data, f.bytes);
        tlvi_mapfile_close(c, &f);
    }
    tlvi_hash_end(&h, out);
    return TLV_OK;
}

/* ---- files that cannot be read --------------------------------------------------------------- */

typedef struct sieve {
    const tlv_dataset *d;
    uint8_t *bad;                   /* [n] */
    int64_t *index;                 /* of the first bad ones */
    tlv_bad_file *out;
} sieve;

static tlv_status try_file(tlv_ctx *child, int64_t i, void *user)
{
    sieve *s = user;
    tlvi_view v;
    tlv_status st = tlvi_dataset_view(child, s->d, i, &v);
    tlvi_dataset_unview(&v);
    s->bad[i] = st == TLV_ERR_IO || st == TLV_ERR_FORMAT || st == TLV_ERR_LIMIT;
    if (s->bad[i]) tlv_error_clear(child);
    return tlv_error(child);
}

/* Once more, for the words: rare, and so nothing has to be kept for all of them. */
static tlv_status tell_why(tlv_ctx *child, int64_t k, void *user)
{
    const sieve *s = user;
    tlv_bad_file *b = &s->out[k];
    const char *path = tlv_dataset_path(s->d, s->index[k]), *why;
    tlvi_text name = tlvi_path_str(path);
    size_t n = strlen(path), room = sizeof b->path - 1;
    tlv_image m;
    decode(child, s->d, s->index[k], &m);
    tlv_image_close(&m);
    why = child->err ? child->msg : "it could not be read before";
    if (strncmp(why, name.s, strlen(name.s)) == 0) why += strlen(name.s);
    while (*why == ':' || *why == ' ') why++;
    snprintf(b->path, sizeof b->path, "%s%s", n > room ? "..." : "",
             n > room ? path + n - (room - 3) : path);
    snprintf(b->reason, sizeof b->reason, "%.255s", why);
    if (child->err != TLV_ERR_NOMEM) tlv_error_clear(child);
    return tlv_error(child);
}

/* Takes the images with bad[i] out of the set. */
static void take_out(tlv_dataset *d, const uint8_t *bad)
{
    int64_t n = 0;
    for (int64_t i = 0; i < d->n; i++) {
        if (bad[i]) continue;
        d->label[n] = d->label[i];
        d->line[n] = d->line[i];
        d->paths.at[n] = d->paths.at[i];
        if (d->keep) d->keep->slot[n] = d->keep->slot[i];   // a bad one has nothing kept
        n++;
    }
    for (int64_t i = n; d->keep && i < d->n; i++) d->keep->slot[i] = (slot){ 0 };
    size_t len = strlen(d->text);
    snprintf(d->text + len, sizeof d->text - len, "; %lld bad file%s left out",
             (long long)(d->n - n), d->n - n == 1 ? "" : "s");
    d->n = d->paths.n = n;
}

int64_t tlv_dataset_drop_bad(tlv_ctx *c, tlv_dataset *d, tlv_bad_file *out, int64_t room)
{
    if (c->err || !d || d->pixels) return c->err ? -1 : 0;
    size_t flags = (size_t)d->n + 1, bytes = (size_t)(room > 0 ? room : 0) * sizeof(int64_t);
    sieve s = { .d = d, .bad = tlvi_alloc(c, flags), .out = out };
    s.index = s.bad && bytes ? tlvi_alloc(c, bytes) : NULL;
    int64_t n = 0, told = 0;
    if (!c->err) tlv_parallel_tasks(c, d->n, try_file, &s);
    for (int64_t i = 0; i < d->n && !c->err; i++) {
        if (!s.bad[i]) continue;
        if (n++ < room) s.index[told++] = i;
    }
    if (!c->err && told) tlv_parallel_tasks(c, told, tell_why, &s);
    if (!c->err && n) take_out(d, s.bad);
    tlvi_free(c, s.bad, flags);
    tlvi_free(c, s.index, bytes);
    return c->err ? -1 : n;
}
