/* pool.c -- the memory of one context.
 *
 * A pool has two heaps of chunks taken from the hook.  One serves requests from 64 KiB on: best
 * fit in bins, split, coalesced with both neighbours.  The other serves slabs of small blocks, so
 * that what lives long and is small does not cut the large chunks to pieces.  A slab lies at a
 * multiple of its size: a block finds its slab by masking its address.
 *
 * A pool with a parent has heaps of its own, and takes limit, hook and statistics from its root.
 * Each pool is one thread's; what a family shares is atomic or under the root's lock.  A root
 * without children does plain loads and stores on the atomics, which a locked add would cost
 * several times.  In a family without a limit small blocks are counted by the advance: a pool takes
 * CREDIT bytes from the family's count at a time, so that threads seldom meet there. */
#include <stdatomic.h>

#include "tensor/core.h"

#if defined(__SANITIZE_ADDRESS__)
#define POOL_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define POOL_ASAN 1
#endif
#endif

// A free block is poisoned, so that the sanitizer sees its use as it would after free().
#ifdef POOL_ASAN
#include <sanitizer/asan_interface.h>
#define POISON(ptr, bytes) __asan_poison_memory_region((ptr), (bytes))
#define UNPOISON(ptr, bytes) __asan_unpoison_memory_region((ptr), (bytes))
#else
#define POISON(ptr, bytes) ((void)(ptr), (void)(bytes))
#define UNPOISON(ptr, bytes) ((void)(ptr), (void)(bytes))
#endif

enum {
    ALIGN = 64,                     /* of every block, and what statistics round to */
    GRAIN = 1024,                   /* sizes and places in a heap */
    HEAD = 64,                      /* room for the header before a heap's block */
    SMALL = 64 << 10,               /* from here on: the heap of large blocks */
    CLASSES = 40,
    SLAB_SHIFT = 16,                /* slabs of 64 KiB for blocks up to 8 KiB, ... */
    SLAB_SHIFT_LARGE = 19,          /* ... of 512 KiB for larger ones */
    SLAB_LARGE_FROM = 8 << 10,
    BINS = 448,                     /* 8 a doubling, see bin_of */
    CREDIT = 64 << 10,              /* bytes that a pool of a family counts ahead */
    CHUNK_FIRST = 1 << 20,
    CHUNK_ROUND = 2 << 20,
    CHUNK_MOST = 32 << 20,          /* unless one request needs more */
    CHUNK_ADVISE = 4 << 20,         /* huge pages from here on */
    CHUNK_OVERHEAD = 4 * GRAIN      /* more than a chunk's own headers and roundings */
};

/* No machine has more; the sums of sizes below cannot overflow. */
static const size_t REQUEST_MOST = SIZE_MAX >> (sizeof(size_t) > 4 ? 25 : 3);

/* The header of a block in a heap.  The payload is HEAD bytes later, at a multiple of GRAIN. */
typedef struct block {
    size_t size;                    /* with the header; 0: the end of the chunk */
    size_t before;                  /* size of the block before; 0: the first */
    struct block *prev, *next;      /* in its bin, while free */
    int used;
} block;

typedef struct chunk {
    struct chunk *next;
    size_t bytes;
    block *first;
} chunk;

typedef struct heap {
    chunk *chunks;
    size_t bytes;
    uint64_t filled[BINS / 64];     /* bit k: bin k is not empty */
    block *bin[BINS];
} heap;

typedef struct slab {
    struct slab *prev, *next;       /* among those of its class with a free block */
    void *free;                     /* blocks that came back, linked through their first word */
    uint32_t size;                  /* of a block */
    uint32_t carved;                /* offset of the first block never handed out */
    uint32_t used, capacity;        /* blocks */
} slab;

struct tlvi_pool {
    tlvi_pool *root;                /* the pool itself, or the one whose hook and limit it shares */
    heap large, small;
    slab *open[CLASSES];            /* slabs with a free block */
    size_t now;                     /* bytes in use in this pool alone */
    size_t credit;                  /* counted in the family's `used`, but not in use */
    size_t asked;                   /* requests that the family has not counted yet */
    tlv_mem_phase phase;

    /* Of the root only, for the whole family. */
    tlv_alloc_fn alloc;
    void *user;
    size_t limit;
    int64_t fail_at;
    tlvi_lock lock;                 /* around the hook */
    int shared;                     /* has had children: they may count at the same time */
    _Atomic size_t used, peak, peak_by_phase[TLV_PHASE_COUNT], system, requests, system_calls;
};

_Static_assert(sizeof(block) <= HEAD && sizeof(slab) <= ALIGN, "headers fit before their blocks");

static size_t round_up(size_t x, size_t to) { return (x + to - 1) & ~(to - 1); }

static int top_bit(uint64_t x) { return 63 - __builtin_clzll(x); }

/* Adds to a counter of the family; returns its new value.  Subtracts with 0 - bytes. */
static size_t count(tlvi_pool *r, _Atomic size_t *counter, size_t d)
{
    if (r->shared) return atomic_fetch_add_explicit(counter, d, memory_order_relaxed) + d;
    size_t sum = atomic_load_explicit(counter, memory_order_relaxed) + d;
    atomic_store_explicit(counter, sum, memory_order_relaxed);
    return sum;
}

/* ---- the hook -------------------------------------------------------------------------------- */

static void *hook_take(tlvi_pool *p, size_t bytes)
{
    tlvi_pool *r = p->root;
    tlvi_lock_take(&r->lock);
    void *ptr = r->alloc(r->user, NULL, 0, bytes);
    tlvi_lock_drop(&r->lock);

    count(r, &r->system_calls, 1);
    if (ptr) count(r, &r->system, bytes);
    return ptr;
}

static void hook_give(tlvi_pool *p, void *ptr, size_t bytes)
{
    tlvi_pool *r = p->root;
    tlvi_lock_take(&r->lock);
    r->alloc(r->user, ptr, bytes, 0);
    tlvi_lock_drop(&r->lock);

    count(r, &r->system_calls, 1);
    count(r, &r->system, 0 - bytes);
}

/* ---- a heap: best fit, split, coalesce ------------------------------------------------------- */

/* Bins 1..7 hold one size each (in grains), then 8 bins a doubling. */
static int bin_of(size_t size)
{
    uint64_t g = size / GRAIN;
    if (g < 8) return (int)g;
    int e = top_bit(g);
    return (e - 2) * 8 + (int)(g >> (e - 3)) - 8;
}

/* The first bin from k on that holds a block, or BINS. */
static int bin_next(const heap *h, int k)
{
    if (k >= BINS) return BINS;
    int w = k / 64;
    uint64_t bits = h->filled[w] & (~UINT64_C(0) << (k % 64));
    while (!bits) {
        if (++w == BINS / 64) return BINS;
        bits = h->filled[w];
    }
    return w * 64 + __builtin_ctzll(bits);
}

static block *block_after(const block *b) { return (block *)((char *)b + b->size); }

static void bin_insert(heap *h, block *b)
{
    int k = bin_of(b->size);
    b->used = 0;
    b->prev = NULL;
    b->next = h->bin[k];
    if (b->next) b->next->prev = b;
    h->bin[k] = b;
    h->filled[k / 64] |= UINT64_C(1) << (k % 64);
}

static void bin_remove(heap *h, block *b)
{
    int k = bin_of(b->size);
    if (b->next) b->next->prev = b->prev;
    if (b->prev) b->prev->next = b->next;
    else h->bin[k] = b->next;
    if (!h->bin[k]) h->filled[k / 64] &= ~(UINT64_C(1) << (k % 64));
}

/* Cuts b after `size` bytes; the rest becomes a block of its own, in no bin. */
static block *split(block *b, size_t size)
{
    block *rest = (block *)((char *)b + size);
    UNPOISON(rest, HEAD);
    rest->size = b->size - size;
    rest->before = size;
    block_after(rest)->before = rest->size;
    b->size = size;
    return rest;
}

/* Bytes to leave before b's payload so that it lies at a multiple of align. */
static size_t lead_of(const block *b, size_t align)
{
    return (0 - ((uintptr_t)b + HEAD)) & (align - 1);
}

/* The smallest free block that has room, out of its bin and cut to size; or NULL. */
static void *heap_find(heap *h, size_t size, size_t align)
{
    block *best = NULL;
    for (int k = bin_next(h, bin_of(size)); k < BINS && !best; k = bin_next(h, k + 1))
        for (block *b = h->bin[k]; b; b = b->next)
            if (b->size >= size + lead_of(b, align) && (!best || b->size < best->size)) best = b;
    if (!best) return NULL;

    bin_remove(h, best);
    size_t lead = lead_of(best, align);
    if (lead) {
        block *b = split(best, lead);
        bin_insert(h, best);
        best = b;
    }
    if (best->size > size) bin_insert(h, split(best, size));
    best->used = 1;
    return (char *)best + HEAD;
}

static int heap_grow(tlvi_pool *p, heap *h, size_t bytes)
{
    char *ptr = hook_take(p, bytes);
    if (!ptr) return 0;
    if (bytes >= CHUNK_ADVISE && p->root->alloc == tlvi_sys_alloc) tlvi_sys_advise(ptr, bytes);

    size_t begin = round_up((uintptr_t)ptr + sizeof(chunk) + HEAD, GRAIN) - HEAD - (uintptr_t)ptr;
    size_t size = (bytes - begin - HEAD) / GRAIN * GRAIN;
    chunk *k = (chunk *)ptr;
    *k = (chunk){ .next = h->chunks, .bytes = bytes, .first = (block *)(ptr + begin) };
    h->chunks = k;
    h->bytes += bytes;

    *k->first = (block){ .size = size };
    *block_after(k->first) = (block){ .before = size, .used = 1 };
    POISON(ptr + begin + HEAD, size - HEAD);
    bin_insert(h, k->first);
    return 1;
}

static void *heap_get(tlvi_pool *p, heap *h, size_t bytes, size_t align)
{
    size_t size = round_up(bytes + HEAD, GRAIN);
    void *ptr = heap_find(h, size, align);
    if (ptr) return ptr;

    // Chunks double what the heap has, up to a point, so that a small program stays small.
    size_t need = size + (align > GRAIN ? align : 0) + CHUNK_OVERHEAD;
    size_t want = h->bytes < CHUNK_FIRST ? CHUNK_FIRST : h->bytes;
    if (want > CHUNK_MOST) want = CHUNK_MOST;
    if (want < need) want = need;
    if (want > CHUNK_FIRST) want = round_up(want, CHUNK_ROUND);
    if (heap_grow(p, h, want)) return heap_find(h, size, align);

    // Out of memory: give back what is unused, and ask again for less.
    tlvi_pool_trim(p);
    ptr = heap_find(h, size, align);
    if (!ptr && (heap_grow(p, h, want) || heap_grow(p, h, need))) ptr = heap_find(h, size, align);
    return ptr;
}

static void heap_put(heap *h, void *ptr)
{
    block *b = (block *)((char *)ptr - HEAD);
#if TLVI_DEBUG
    if (!b->used) __builtin_trap();         // freed twice
#endif
    POISON(ptr, b->size - HEAD);

    block *after = block_after(b);
    if (!after->used) {
        bin_remove(h, after);
        b->size += after->size;
        after->used = 0;
    }
    if (b->before) {
        block *before = (block *)((char *)b - b->before);
        if (!before->used) {
            bin_remove(h, before);
            before->size += b->size;
            b->used = 0;
            b = before;
        }
    }
    block_after(b)->before = b->size;
    bin_insert(h, b);
}

static void chunk_give(tlvi_pool *p, heap *h, chunk *k)
{
    size_t bytes = k->bytes;
    h->bytes -= bytes;
    UNPOISON(k, bytes);
    hook_give(p, k, bytes);
}

/* Gives back the chunks that are one free block. */
static size_t heap_trim(tlvi_pool *p, heap *h)
{
    size_t bytes = 0;
    for (chunk **link = &h->chunks; *link; ) {
        chunk *k = *link;
        if (k->first->used || block_after(k->first)->size) {
            link = &k->next;
            continue;
        }
        bin_remove(h, k->first);
        *link = k->next;
        bytes += k->bytes;
        chunk_give(p, h, k);
    }
    return bytes;
}

static void heap_close(tlvi_pool *p, heap *h)
{
    while (h->chunks) {
        chunk *k = h->chunks;
        h->chunks = k->next;
        chunk_give(p, h, k);
    }
}

/* ---- slabs of small blocks ------------------------------------------------------------------- */

/* Classes 0..15 are 64, 128 .. 1024 bytes; then 4 a doubling up to 64 KiB. */
static int class_of(size_t size)
{
    uint32_t n = (uint32_t)(size / ALIGN);
    if (n <= 16) return (int)n - 1;
    int e = top_bit(n - 1);
    return 16 + (e - 4) * 4 + (int)((n - 1) >> (e - 2)) - 4;
}

static uint32_t class_size(int k)
{
    if (k < 16) return (uint32_t)(k + 1) * ALIGN;
    return (uint32_t)((k - 16) % 4 + 5) << ((k - 16) / 4 + 2) << 6;
}

static size_t slab_bytes(size_t block_size)
{
    return (size_t)1 << (block_size <= SLAB_LARGE_FROM ? SLAB_SHIFT : SLAB_SHIFT_LARGE);
}

static void slab_link(tlvi_pool *p, int k, slab *s)
{
    s->prev = NULL;
    s->next = p->open[k];
    if (s->next) s->next->prev = s;
    p->open[k] = s;
}

static void slab_unlink(tlvi_pool *p, int k, slab *s)
{
    if (s->next) s->next->prev = s->prev;
    if (s->prev) s->prev->next = s->next;
    else p->open[k] = s->next;
}

static slab *slab_new(tlvi_pool *p, int k)
{
    uint32_t size = class_size(k);
    size_t bytes = slab_bytes(size) - HEAD;     // with the heap's header: the distance to the next
    slab *s = heap_get(p, &p->small, bytes, slab_bytes(size));
    if (!s) return NULL;

    UNPOISON(s, ALIGN);
    *s = (slab){ .size = size, .carved = ALIGN, .capacity = (uint32_t)((bytes - ALIGN) / size) };
    slab_link(p, k, s);
    return s;
}

static void *small_get(tlvi_pool *p, size_t size)
{
    int k = class_of(size);
    slab *s = p->open[k];
    if (!s && !(s = slab_new(p, k))) return NULL;

    void *ptr = s->free;
    if (ptr) {
        UNPOISON(ptr, sizeof(void *));
        memcpy(&s->free, ptr, sizeof(void *));
        POISON(ptr, sizeof(void *));
    } else {
        ptr = (char *)s + s->carved;            // not touched before: its pages may not exist yet
        s->carved += s->size;
    }
    if (++s->used == s->capacity) slab_unlink(p, k, s);
    return ptr;
}

#if TLVI_DEBUG
static void trap_if_freed_twice(const slab *s, const void *ptr)
{
    // A freed block is filled; only one that looks like it is worth the search.
    uint64_t word, filled;
    memset(&filled, 0xDD, sizeof filled);
    memcpy(&word, (const char *)ptr + sizeof(void *), sizeof word);
    if (word != filled) return;

    for (const void *f = s->free; f; ) {
        if (f == ptr) __builtin_trap();
        UNPOISON(f, sizeof(void *));
        const void *next;
        memcpy(&next, f, sizeof next);
        POISON(f, sizeof(void *));
        f = next;
    }
}
#endif

static slab *slab_of(void *ptr, size_t size)
{
    // The class decides the slab's size, and the slab's size where it begins.
    uintptr_t mask = slab_bytes(class_size(class_of(size))) - 1;
    return (slab *)((uintptr_t)ptr & ~mask);
}

static void small_put(tlvi_pool *p, void *ptr, size_t size)
{
    slab *s = slab_of(ptr, size);
    memcpy(ptr, &s->free, sizeof(void *));
    POISON(ptr, s->size);
    s->free = ptr;
    if (s->used-- == s->capacity) slab_link(p, class_of(size), s);
}

/* ---- the front door -------------------------------------------------------------------------- */

tlvi_pool *tlvi_pool_open(tlv_alloc_fn alloc, void *user, size_t limit, int64_t fail_at,
                          tlvi_pool *parent)
{
    if (!alloc) alloc = tlvi_sys_alloc;
    if (parent && !parent->root->shared) parent->root->shared = 1;
    tlvi_pool *p = parent ? hook_take(parent, sizeof *p) : alloc(user, NULL, 0, sizeof *p);
    if (!p) return NULL;

    memset(p, 0, sizeof *p);
    p->phase = TLV_PHASE_FORWARD;
    if (parent) {
        p->root = parent->root;
        return p;
    }
    p->root = p;
    p->alloc = alloc;
    p->user = user;
    p->limit = limit;
    p->fail_at = fail_at;
    atomic_init(&p->used, 0);
    atomic_init(&p->peak, 0);
    for (int i = 0; i < TLV_PHASE_COUNT; i++) atomic_init(&p->peak_by_phase[i], 0);
    atomic_init(&p->system, sizeof *p);
    atomic_init(&p->requests, 0);
    atomic_init(&p->system_calls, 1);
    return p;
}

void tlvi_pool_close(tlvi_pool *p)
{
    if (!p) return;
    heap_close(p, &p->large);
    heap_close(p, &p->small);
    if (p->root == p) {
        p->alloc(p->user, p, sizeof *p, 0);
        return;
    }
    tlvi_pool_settle(p);
    count(p->root, &p->root->used, 0 - p->now);
    hook_give(p, p, sizeof *p);
}

static size_t counted_as(size_t bytes) { return bytes ? round_up(bytes, ALIGN) : ALIGN; }

static void raise_to(_Atomic size_t *peak, size_t value)
{
    size_t old = atomic_load_explicit(peak, memory_order_relaxed);
    while (old < value
           && !atomic_compare_exchange_weak_explicit(peak, &old, value, memory_order_relaxed,
                                                     memory_order_relaxed)) {
    }
}

/* Counts size bytes as used, unless they would pass the limit: a request that is refused is never
 * counted, not for a moment, so that it cannot make a neighbour's fail. */
static int charge(tlvi_pool *r, size_t size, size_t *used)
{
    size_t old = atomic_load_explicit(&r->used, memory_order_relaxed);
    if (!r->limit || !r->shared) {
        if (r->limit && old + size > r->limit) return 0;
        *used = count(r, &r->used, size);
        return 1;
    }
    do {
        if (old + size > r->limit) return 0;
    } while (!atomic_compare_exchange_weak_explicit(&r->used, &old, old + size,
                                                    memory_order_relaxed, memory_order_relaxed));
    *used = old + size;
    return 1;
}

/* Peaks of a family may be too high by what its pools have in advance. */
static int counts_ahead(const tlvi_pool *r) { return r->shared && !r->limit && !r->fail_at; }

static void *small_get_ahead(tlvi_pool *p, size_t size)
{
    tlvi_pool *r = p->root;
    p->asked++;
    if (p->credit < size) {
        size_t used = count(r, &r->used, CREDIT);
        raise_to(&r->peak, used);
        raise_to(&r->peak_by_phase[p->phase], used);
        p->credit += CREDIT;
    }
    void *ptr = small_get(p, size);
    if (ptr) p->credit -= size;
    return ptr;
}

void tlvi_pool_settle(tlvi_pool *p)
{
    tlvi_pool *r = p->root;
    if (p->credit) count(r, &r->used, 0 - p->credit);
    if (p->asked) count(r, &r->requests, p->asked);
    p->credit = p->asked = 0;
}

static void *counted_get(tlvi_pool *p, size_t bytes, size_t size)
{
    tlvi_pool *r = p->root;
    size_t nth = count(r, &r->requests, 1);
    if (TLVI_UNLIKELY(nth == (size_t)r->fail_at || bytes > REQUEST_MOST)) return NULL;

    size_t used;
    if (TLVI_UNLIKELY(!charge(r, size, &used))) return NULL;
    void *ptr = bytes < SMALL ? small_get(p, size) : heap_get(p, &p->large, size, GRAIN);
    if (TLVI_UNLIKELY(!ptr)) {
        count(r, &r->used, 0 - size);
        return NULL;
    }
    raise_to(&r->peak, used);
    raise_to(&r->peak_by_phase[p->phase], used);
    return ptr;
}

void *tlvi_pool_get(tlvi_pool *p, size_t bytes)
{
    size_t size = bytes <= REQUEST_MOST ? counted_as(bytes) : 0;
    void *ptr = bytes < SMALL && counts_ahead(p->root) ? small_get_ahead(p, size)
                                                       : counted_get(p, bytes, size);
    if (TLVI_UNLIKELY(!ptr)) return NULL;
    p->now += size;
    UNPOISON(ptr, bytes);
#if TLVI_DEBUG
    memset(ptr, 0xFF, bytes);               // NaN in every floating type
#endif
    return ptr;
}

void tlvi_pool_put(tlvi_pool *p, void *ptr, size_t bytes)
{
    if (!ptr) return;
    size_t size = counted_as(bytes);
#if TLVI_DEBUG
    if (bytes < SMALL && bytes >= 2 * sizeof(void *)) trap_if_freed_twice(slab_of(ptr, size), ptr);
    memset(ptr, 0xDD, bytes);
#endif

    if (bytes < SMALL && counts_ahead(p->root) && p->credit < 4 * CREDIT) p->credit += size;
    else count(p->root, &p->root->used, 0 - size);
    p->now -= size;
    if (bytes < SMALL) {
        UNPOISON(ptr, sizeof(void *));
        small_put(p, ptr, size);
    } else {
        heap_put(&p->large, ptr);
    }
}

size_t tlvi_pool_trim(tlvi_pool *p)
{
    for (int k = 0; k < CLASSES; k++) {
        for (slab *s = p->open[k], *next; s; s = next) {
            next = s->next;
            if (s->used) continue;
            slab_unlink(p, k, s);
            heap_put(&p->small, s);
        }
    }
    return heap_trim(p, &p->small) + heap_trim(p, &p->large);
}

/* ---- statistics ------------------------------------------------------------------------------ */

void tlvi_pool_stats(const tlvi_pool *p, tlv_mem_stats *out)
{
    tlvi_pool *r = p->root;
    out->now = atomic_load_explicit(&r->used, memory_order_relaxed) - p->credit;
    out->peak = atomic_load_explicit(&r->peak, memory_order_relaxed);
    for (int i = 0; i < TLV_PHASE_COUNT; i++)
        out->peak_by_phase[i] = atomic_load_explicit(&r->peak_by_phase[i], memory_order_relaxed);
    out->system = atomic_load_explicit(&r->system, memory_order_relaxed);
    out->requests = atomic_load_explicit(&r->requests, memory_order_relaxed) + p->asked;
    out->system_calls = atomic_load_explicit(&r->system_calls, memory_order_relaxed);
    out->limit = r->limit;
}

void tlvi_pool_reset_peak(tlvi_pool *p)
{
    tlvi_pool *r = p->root;
    tlvi_pool_settle(p);
    size_t now = atomic_load_explicit(&r->used, memory_order_relaxed);
    atomic_store_explicit(&r->peak, now, memory_order_relaxed);
    for (int i = 0; i < TLV_PHASE_COUNT; i++)
        atomic_store_explicit(&r->peak_by_phase[i], i == (int)p->phase ? now : 0,
                              memory_order_relaxed);
}

tlv_mem_phase tlvi_pool_phase(tlvi_pool *p, tlv_mem_phase phase)
{
    tlvi_pool *r = p->root;
    tlv_mem_phase before = p->phase;
    p->phase = phase;
    raise_to(&r->peak_by_phase[phase], atomic_load_explicit(&r->used, memory_order_relaxed));
    return before;
}
