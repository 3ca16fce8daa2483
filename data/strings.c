/* strings.c -- many strings in one block: names of classes, paths of files. */
#include "data/reader.h"
#include "tensor/sort.h"

/* Room for `want` bytes in *p, which has *room; grows by half, so that adding stays cheap. */
static int reserve(tlv_ctx *c, void **p, size_t *room, size_t used, size_t want)
{
    if (want <= *room) return 1;
    size_t grown = (want + want / 2 + 64) & ~(size_t)63;       // whole numbers of any type
    void *q = tlvi_alloc(c, grown);
    if (!q) return 0;
    if (used) memcpy(q, *p, used);
    tlvi_free(c, *p, *room);
    *p = q;
    *room = grown;
    return 1;
}

int tlvi_strings_add(tlv_ctx *c, tlvi_strings *s, const char *p)
{
    size_t len = strlen(p) + 1, room = (size_t)s->cap * sizeof *s->at;
    void *text = s->text, *at = s->at;
    int ok = reserve(c, &text, &s->room, s->used, s->used + len)
             && reserve(c, &at, &room, (size_t)s->n * sizeof *s->at,
                        (size_t)(s->n + 1) * sizeof *s->at);
    s->text = text;
    s->at = at;
    s->cap = (int64_t)(room / sizeof *s->at);
    if (!ok) return 0;
    memcpy(s->text + s->used, p, len);
    s->at[s->n++] = s->used;
    s->used += len;
    return 1;
}

void tlvi_strings_free(tlv_ctx *c, tlvi_strings *s)
{
    tlvi_free(c, s->text, s->room);
    tlvi_free(c, s->at, (size_t)s->cap * sizeof *s->at);
    *s = (tlvi_strings){ 0 };
}

/* strcmp compares unsigned bytes, whatever the locale. */
static int less(const void *arg, int32_t a, int32_t b)
{
    return strcmp(tlvi_string(arg, a), tlvi_string(arg, b)) < 0;
}

int tlvi_strings_sort(tlv_ctx *c, tlvi_strings *s, int unique)
{
    size_t order_bytes = (size_t)s->n * sizeof(int32_t), bytes = (size_t)s->cap * sizeof *s->at;
    int32_t *order = tlvi_alloc(c, order_bytes);
    size_t *at = order ? tlvi_alloc(c, bytes) : NULL;
    if (at) {
        int64_t n = 0;
        tlvi_sort_indices(order, (int)s->n, less, s);
        for (int64_t i = 0; i < s->n; i++) {
            size_t next = s->at[order[i]];
            if (unique && n > 0 && strcmp(s->text + at[n - 1], s->text + next) == 0) continue;
            at[n++] = next;
        }
        tlvi_free(c, s->at, bytes);
        s->at = at;
        s->n = n;
    }
    tlvi_free(c, order, order_bytes);
    return at != NULL;
}

int64_t tlvi_strings_find(const tlvi_strings *s, const char *p)
{
    int64_t low = 0, high = s->n;
    while (low < high) {
        int64_t mid = low + (high - low) / 2;
        int order = strcmp(tlvi_string(s, mid), p);
        if (order == 0) return mid;
        if (order < 0) low = mid + 1;
        else high = mid;
    }
    return -1;
}
