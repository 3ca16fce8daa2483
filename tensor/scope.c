/* scope.c -- regions: what an op returns belongs to the innermost scope and goes with it.
 *
 * A scope that ends without handing out history cuts the tape back to where it began.  One that
 * hands out a tensor with history leaves its nodes on the tape; they hold the buffers they need, so
 * the scope's headers stay behind as husks: shape and place in the graph, no data. */
#include "tensor/core.h"

tlv_scope tlv_scope_begin_with(tlv_ctx *c, int flags)
{
    if (TLVI_UNLIKELY(c->depth + 1 >= TLVI_SCOPES)) {
        tlvi_fail(c, TLV_ERR_LIMIT, NULL, "scopes nested deeper than %d", TLVI_SCOPES - 1);
        return (tlv_scope){ -1, 0 };
    }
    tlvi_scope *s = &c->scope[++c->depth];
    s->first = s->last = NULL;
    s->mark = c->tape.len;
    s->serial = ++c->serial;
    s->flags = (uint8_t)flags;
    s->recording = c->recording;
    s->saving = c->saving;
    if (flags & TLV_CHECKPOINT) c->saving = 1;
    if (flags & TLV_RECORD) c->recording = 1;
    if (flags & TLV_NO_GRAD) c->recording = 0;
    return (tlv_scope){ c->depth, s->serial };
}

tlv_scope tlv_scope_begin(tlv_ctx *c) { return tlv_scope_begin_with(c, 0); }

static int is_open(tlv_ctx *c, tlv_scope s)
{
    if (s.depth > 0 && s.depth <= c->depth && c->scope[s.depth].serial == s.serial) return 1;
    if (s.depth != -1)                              // -1: begin has failed and said so
        tlvi_fail(c, TLV_ERR_ENDED, "end a scope once, inner scopes before outer ones",
                  "this scope has ended already");
    return 0;
}

/* Empties scope d: its headers are freed, or with history become husks of scope `to`. */
static void drain(tlv_ctx *c, int32_t d, int history, int32_t to)
{
    tlv_tensor *t = c->scope[d].first, *next;
    c->scope[d].first = c->scope[d].last = NULL;
    for (; t; t = next) {
        next = t->next;
        if (!history) { tlvi_header_free(c, t); continue; }
        if (t->buf) tlvi_buf_unref(c, t->buf);
        t->buf = NULL;
        t->flags |= TLVI_T_HUSK;
        tlvi_header_link(c, t, to);
    }
}

/* Takes a kept tensor out of its scope; says whether it has history since `mark`. */
static int take(tlv_ctx *c, tlv_tensor *t, int32_t mark)
{
    tlvi_header_unlink(c, t);
    t->depth = -2;                                  // in hand: a tensor listed twice is kept once
    return t->node >= mark;
}

/* Takes the taps of scopes `depth` and further in that live on in scope `to`; they are chained by
 * next. */
static tlv_tensor *take_taps(tlv_ctx *c, int32_t depth, int32_t to, int32_t mark, int *history)
{
    tlv_tensor *chain = NULL, *next;
    for (int32_t d = c->depth; c->pins > 0 && d >= depth; d--)
        for (tlv_tensor *t = c->scope[d].first; t; t = next) {
            next = t->next;
            if (!(t->flags & TLVI_T_PIN) || t->pin > to || !t->buf) continue;
            *history |= take(c, t, mark);
            t->next = chain;
            chain = t;
        }
    return chain;
}

/* Empties scope `depth` and all inner ones, but hands the kept tensors to scope `to`. */
static void close_down(tlv_ctx *c, int32_t depth, int32_t to, int n, tlv_tensor *const *keep)
{
    int32_t mark = c->scope[depth].mark;
    int history = 0;
    for (int i = 0; i < n; i++) {
        tlv_tensor *t = keep[i];
        if (t && t->ctx == c && t->depth >= depth) history |= take(c, t, mark);
    }
    tlv_tensor *taps = take_taps(c, depth, to, mark, &history);
    while (c->depth > to || c->depth > depth) {
        int32_t d = c->depth;
        if (history && (c->scope[d].flags & TLV_CHECKPOINT))
            tlvi_segment_close(c, c->scope[d].mark, c->tape.len);
        drain(c, d, history, to);
        c->recording = c->scope[d].recording;
        c->saving = c->scope[d].saving;
        c->depth--;
    }
    if (to == depth) drain(c, depth, history, to);
    if (!history) tlvi_tape_cut(c, mark);
    for (int i = 0; i < n; i++)
        if (keep[i] && keep[i]->ctx == c && keep[i]->depth == -2) tlvi_header_link(c, keep[i], to);
    for (tlv_tensor *t = taps, *next; t; t = next) {
        next = t->next;
        tlvi_header_link(c, t, to);
    }
}

/* The innermost scope, without taps, and nothing was recorded in it: no history to keep. */
static int is_plain(const tlv_ctx *c, int32_t depth)
{
    return depth == c->depth && c->tape.len == c->scope[depth].mark && c->pins == 0;
}

static void close_plain(tlv_ctx *c, int32_t depth, int n, tlv_tensor *const *keep)
{
    tlvi_scope *s = &c->scope[depth];
    for (int i = 0; i < n; i++)
        if (keep[i] && keep[i]->ctx == c && keep[i]->depth == depth) {
            tlvi_header_unlink(c, keep[i]);
            tlvi_header_link(c, keep[i], depth - 1);
        }
    for (tlv_tensor *t = s->first, *next; t; t = next) {
        next = t->next;
        tlvi_header_free(c, t);
    }
    s->first = s->last = NULL;
    c->recording = s->recording;
    c->saving = s->saving;
    c->depth--;
}

void tlv_scope_end_keep_n(tlv_ctx *c, tlv_scope s, int n, tlv_tensor *const *t)
{
    if (!is_open(c, s)) return;
    if (is_plain(c, s.depth)) close_plain(c, s.depth, n, t);
    else close_down(c, s.depth, s.depth - 1, n, t);
}

void tlv_scope_end(tlv_ctx *c, tlv_scope s) { tlv_scope_end_keep_n(c, s, 0, NULL); }

tlv_tensor *tlv_scope_end_keep(tlv_ctx *c, tlv_scope s, tlv_tensor *t)
{
    tlv_scope_end_keep_n(c, s, 1, &t);
    return t;
}

void tlvi_scope_roll_n(tlv_ctx *c, tlv_scope s, int n, tlv_tensor *const *t)
{
    if (is_open(c, s)) close_down(c, s.depth, s.depth, n, t);
}

tlv_tensor *tlv_scope_roll(tlv_ctx *c, tlv_scope s, tlv_tensor *t)
{
    tlvi_scope_roll_n(c, s, 1, &t);
    return t;
}

/* For tlv_ctx_close and between the tasks of a child: everything goes, the tape too. */
void tlvi_scopes_close(tlv_ctx *c)
{
    tlvi_tape_cut(c, 0);
    while (c->depth > 0) {
        drain(c, c->depth, 0, 0);
        c->recording = c->scope[c->depth].recording;
        c->saving = c->scope[c->depth--].saving;
    }
    drain(c, 0, 0, 0);
}
