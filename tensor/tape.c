/* tape.c -- storage of the tape: nodes in blocks, slots and attributes in an arena, both cut like a
 * stack.  Addresses are stable while a node lives.  What nodes mean is autograd's business. */
#include "tensor/core.h"

enum { ARENA_BYTES = 64 << 10 };

static int grow_nodes(tlv_ctx *c)
{
    tlvi_tape *t = &c->tape;
    if (t->n_chunks == t->cap_chunks) {
        int32_t cap = t->cap_chunks ? 2 * t->cap_chunks : 8;
        tlvi_node **dir = tlvi_alloc(c, (size_t)cap * sizeof *dir);
        if (!dir) return 0;
        if (t->n_chunks) memcpy(dir, t->chunk, (size_t)t->n_chunks * sizeof *dir);
        tlvi_free(c, t->chunk, (size_t)t->cap_chunks * sizeof *dir);
        t->chunk = dir;
        t->cap_chunks = cap;
    }
    tlvi_node *block = tlvi_alloc(c, TLVI_NODES_PER_CHUNK * sizeof *block);
    if (!block) return 0;
    t->chunk[t->n_chunks++] = block;
    return 1;
}

/* Room for `bytes` in block cur + 1; a block that is there already but too small is replaced. */
static int grow_arena(tlv_ctx *c, size_t bytes)
{
    tlvi_tape *t = &c->tape;
    uint32_t next = t->n_arena ? t->cur + 1 : 0;
    size_t size = bytes > ARENA_BYTES ? bytes : ARENA_BYTES;
    if (next < t->n_arena && t->arena[next].size >= bytes) goto take;
    if (next == t->cap_arena) {
        uint32_t cap = t->cap_arena ? 2 * t->cap_arena : 8;
        void *dir = tlvi_alloc(c, cap * sizeof *t->arena);
        if (!dir) return 0;
        if (t->n_arena) memcpy(dir, t->arena, t->n_arena * sizeof *t->arena);
        tlvi_free(c, t->arena, t->cap_arena * sizeof *t->arena);
        t->arena = dir;
        t->cap_arena = cap;
    }
    void *p = tlvi_alloc(c, size);
    if (!p) return 0;
    if (next < t->n_arena) tlvi_free(c, t->arena[next].ptr, t->arena[next].size);
    else t->n_arena++;
    t->arena[next].ptr = p;
    t->arena[next].size = size;
take:
    t->cur = next;
    t->used = 0;
    return 1;
}

tlvi_node *tlvi_tape_push(tlv_ctx *c, int n_slots, size_t attr_bytes)
{
    tlvi_tape *t = &c->tape;
    size_t slots = (size_t)n_slots * sizeof(tlvi_slot),
           bytes = slots + ((attr_bytes + 7) & ~(size_t)7);
    if (TLVI_UNLIKELY(t->len / TLVI_NODES_PER_CHUNK >= t->n_chunks) && !grow_nodes(c)) return NULL;
    uint32_t chunk = t->cur, used = t->used;
    if (TLVI_UNLIKELY(!t->n_arena || t->arena[t->cur].size - t->used < bytes)
        && !grow_arena(c, bytes)) return NULL;
    tlvi_node *n = tlvi_node_at(c, t->len++);
    n->chunk = chunk;
    n->used = used;
    n->slot = (tlvi_slot *)(void *)(t->arena[t->cur].ptr + t->used);
    n->attr = attr_bytes ? (void *)(t->arena[t->cur].ptr + t->used + slots) : NULL;
    n->flags = 0;
    n->segment = -1;
    n->want = 0;
    n->g1 = NULL;
    t->used += (uint32_t)bytes;
    return n;
}

void tlvi_node_drop(tlv_ctx *c, tlvi_node *n)
{
    if (!(n->flags & TLVI_NODE_HOLDS)) return;
    int slots = n->n_in + n->n_out + n->n_aux;
    for (int i = 0; i < slots; i++)
        if (n->slot[i].buf) {
            tlvi_buf_unref(c, n->slot[i].buf);
            n->slot[i].buf = NULL;
        }
    n->flags &= ~(uint32_t)TLVI_NODE_HOLDS;
}

void tlvi_tape_cut(tlv_ctx *c, int32_t len)
{
    tlvi_tape *t = &c->tape;
    if (t->len <= len) return;
    for (int32_t k = t->len - 1; k >= len; k--) tlvi_node_drop(c, tlvi_node_at(c, k));
    const tlvi_node *n = tlvi_node_at(c, len);
    t->cur = n->chunk;
    t->used = n->used;
    t->len = len;
    while (t->n_seg > 0 && t->seg[t->n_seg - 1].end > len) t->n_seg--;
}

void tlvi_tape_free(tlv_ctx *c)
{
    tlvi_tape *t = &c->tape;
    tlvi_tape_cut(c, 0);
    for (int32_t i = 0; i < t->n_chunks; i++)
        tlvi_free(c, t->chunk[i], TLVI_NODES_PER_CHUNK * sizeof(tlvi_node));
    tlvi_free(c, t->chunk, (size_t)t->cap_chunks * sizeof *t->chunk);
    for (uint32_t i = 0; i < t->n_arena; i++) tlvi_free(c, t->arena[i].ptr, t->arena[i].size);
    tlvi_free(c, t->arena, t->cap_arena * sizeof *t->arena);
    tlvi_free(c, t->seg, (size_t)t->cap_seg * sizeof *t->seg);
    memset(t, 0, sizeof *t);
}

/* ---- checkpointed segments ------------------------------------------------------------------- */

/* Nodes [begin, end) become a segment: references to buffers that its own nodes made are dropped,
 * and what comes from outside is held instead, whether a gradient reads it or not: replay needs it.
 * Segments inside it become part of it. */
tlv_status tlvi_segment_close(tlv_ctx *c, int32_t begin, int32_t end)
{
    tlvi_tape *t = &c->tape;
    if (begin >= end) return c->err;
    while (t->n_seg > 0 && t->seg[t->n_seg - 1].begin >= begin) t->n_seg--;
    if (t->n_seg == t->cap_seg) {
        int32_t cap = t->cap_seg + TLVI_SEGMENTS_STEP;
        tlvi_segment *seg = tlvi_alloc(c, (size_t)cap * sizeof *seg);
        if (!seg) return c->err;                    // the segment just keeps its buffers
        if (t->n_seg) memcpy(seg, t->seg, (size_t)t->n_seg * sizeof *seg);
        tlvi_free(c, t->seg, (size_t)t->cap_seg * sizeof *t->seg);
        t->seg = seg;
        t->cap_seg = cap;
    }
    t->seg[t->n_seg++] = (tlvi_segment){ begin, end };
    for (int32_t k = begin; k < end; k++) tlvi_node_at(c, k)->segment = begin;
    tlvi_segment_drop(c, begin, end);
    return c->err;
}

/* Drops the references of a segment's nodes to what they can make again. */
void tlvi_segment_drop(tlv_ctx *c, int32_t begin, int32_t end)
{
    for (int32_t k = begin; k < end; k++) {
        tlvi_node *n = tlvi_node_at(c, k);
        for (int i = 0; i < n->n_in + n->n_out + n->n_aux; i++) {
            tlvi_slot *s = &n->slot[i];
            int outside = i < n->n_in && s->t && s->t->node < begin;
            if (s->buf && !outside) {
                tlvi_buf_unref(c, s->buf);
                s->buf = NULL;
            }
        }
    }
}

const tlvi_segment *tlvi_segment_of(const tlv_ctx *c, int32_t node)
{
    const tlvi_tape *t = &c->tape;
    int32_t lo = 0, hi = t->n_seg - 1;
    while (lo <= hi) {
        int32_t mid = (lo + hi) / 2;
        if (node < t->seg[mid].begin) hi = mid - 1;
        else if (node >= t->seg[mid].end) lo = mid + 1;
        else return &t->seg[mid];
    }
    return NULL;
}
