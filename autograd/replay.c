/* replay.c -- nodes computed again from their inputs and attributes (Chen et al. 2016,
 * arXiv:1604.06174), and data lent to husks while a gradient runs. */
#include "autograd/sweep.h"

/* ---- lending --------------------------------------------------------------------------------- */

enum { LENT = 1, HIDDEN = 2 };

static int another_slot_reads(const tlvi_node *n, int slots, const tlv_tensor *t)
{
    for (int i = 0; i < slots; i++)
        if (n->slot[i].t == t && n->slot[i].buf && n->slot[i].reads) return 1;
    return 0;
}

int tlvi_lend(const tlvi_node *n, uint8_t *lent, tlvi_buf **hidden, tlv_tensor *const *g)
{
    int any = 0, slots = n->n_in + n->n_out + n->n_aux;
    for (int i = 0; i < slots; i++) {
        tlv_tensor *t = n->slot[i].t;
        lent[i] = 0;
        if (!t) continue;
        if (!t->buf && n->slot[i].buf) {
            t->buf = n->slot[i].buf;
            t->flags &= (uint8_t)~TLVI_T_HUSK;
            lent[i] = LENT;
            any = 1;
        } else if ((TLVI_DEBUG || t->ctx->poison) && g && t != g[0] && t != g[1] && t->buf
                   && !another_slot_reads(n, slots, t)) {
            hidden[i] = t->buf;
            t->buf = NULL;
            lent[i] = HIDDEN;
            any = 1;
        }
    }
    return any;
}

void tlvi_lend_end(const tlvi_node *n, const uint8_t *lent, tlvi_buf *const *hidden)
{
    int slots = n->n_in + n->n_out + n->n_aux;
    for (int i = slots - 1; i >= 0; i--) {
        tlv_tensor *t = n->slot[i].t;
        if (lent[i] == LENT) {
            t->buf = NULL;
            t->flags |= TLVI_T_HUSK;
        } else if (lent[i] == HIDDEN) {
            t->buf = hidden[i];
        }
    }
}

/* ---- replay ---------------------------------------------------------------------------------- */

/* The husk takes over the buffer that replay made. */
static void revive(tlv_tensor *husk, const tlv_tensor *made)
{
    if (!husk || !made || husk->buf) return;
    husk->buf = made->buf;
    husk->buf->refs++;
    husk->offset = made->offset;
    husk->flags &= (uint8_t)~TLVI_T_HUSK;
}

/* One use of a revived husk less; after the last it is a husk again, and only nodes that read it
 * hold it. */
static void done_with(tlv_ctx *c, tlv_tensor *t, int used)
{
    if (!t || t->mark >= 0 || (t->uses -= used) > 0 || !t->buf) return;
    tlvi_buf_unref(c, t->buf);
    t->buf = NULL;
    t->flags |= TLVI_T_HUSK;
}

/* The node takes its references to what its gradients read, as it did when it was recorded. */
static void take_reads(tlvi_node *n)
{
    for (int i = 0; i < n->n_in + n->n_out + n->n_aux; i++) {
        tlvi_slot *s = &n->slot[i];
        if (!s->reads || s->buf || !s->t || !s->t->buf) continue;
        s->buf = s->t->buf;
        s->buf->refs++;
        s->version = s->buf->version;
        n->flags |= TLVI_NODE_HOLDS;
    }
}

static void replay_node(tlv_ctx *c, tlvi_node *n)
{
    for (int i = 0; i < n->n_in; i++) {             // what came from outside of the segment
        tlvi_slot *s = &n->slot[i];
        if (s->t && !s->t->buf && s->buf) {
            s->t->buf = s->buf;
            s->buf->refs++;
            s->t->flags &= (uint8_t)~TLVI_T_HUSK;
        }
        if (s->buf && s->buf->version != s->version)
            tlvi_fail(c, TLV_ERR_VERSION, NULL,
                      "replay of %s: input %d, %s, was changed after it was used",
                      tlvi_ops[n->op].name, i, tlvi_shape_str(s->t).s);
    }
    tlvi_replay made = { .op = n->op };
    tlvi_replay *outer = c->replay;
    tlv_scope scope = tlv_scope_begin_with(c, TLV_NO_GRAD);
    c->replay = &made;
    tlvi_ops[n->op].exec(c, n);
    c->replay = outer;
    for (int i = 0; i < n->n_out && !c->err; i++) revive(n->slot[n->n_in + i].t, made.out[i]);
    for (int i = 0; i < n->n_aux && !c->err; i++)
        revive(n->slot[n->n_in + n->n_out + i].t, made.aux[i]);
    tlv_scope_end(c, scope);
    if (c->err) return;
    take_reads(n);
    for (int i = 0; i < n->n_in + n->n_out + n->n_aux; i++) done_with(c, n->slot[i].t, i < n->n_in);
}

enum { CHEAP_SLOTS = 8 };                           // tlvi_record replays no node with more

/* Runs node k again and hands its output's buffer to slot s. */
static void replay_into(tlv_ctx *c, const tlvi_node *k, tlvi_slot *s)
{
    uint8_t lent[CHEAP_SLOTS] = { 0 };
    tlvi_buf *hidden[CHEAP_SLOTS] = { 0 };
    tlvi_replay made = { .op = k->op }, *outer = c->replay;
    tlv_scope scope = tlv_scope_begin_with(c, TLV_NO_GRAD);
    tlvi_lend(k, lent, hidden, NULL);
    c->replay = &made;
    tlvi_ops[k->op].exec(c, k);
    c->replay = outer;
    tlvi_lend_end(k, lent, hidden);
    if (!c->err && made.out[0]) {
        s->buf = made.out[0]->buf;
        s->buf->refs++;
        s->version = s->buf->version;
    }
    tlv_scope_end(c, scope);
}

/* What the node would be run on is what it saw. */
static int inputs_unchanged(tlv_ctx *c, const tlvi_node *k)
{
    for (int i = 0; i < k->n_in; i++) {
        const tlvi_slot *s = &k->slot[i];
        if (!s->buf || s->buf->version == s->version) continue;
        tlvi_fail(c, TLV_ERR_VERSION, NULL,
                  "%s: %s, which is needed to compute it again, was changed after use",
                  tlvi_ops[k->op].name, tlvi_shape_str(s->t).s);
        return 0;
    }
    return 1;
}

tlv_status tlvi_replay_cheap(tlv_ctx *c, tlvi_node *n)
{
    for (int i = 0; i < n->n_in + n->n_out && !c->err; i++) {
        tlvi_slot *s = &n->slot[i];
        if (!s->replay || s->buf) continue;
        const tlvi_node *k = tlvi_node_at(c, s->t->node);
        if (tlvi_node_usable(c, k) && inputs_unchanged(c, k)) replay_into(c, k, s);
        n->flags |= TLVI_NODE_HOLDS;
    }
    return c->err;
}

void tlvi_replay_cheap_drop(tlv_ctx *c, tlvi_node *n)
{
    for (int i = 0; i < n->n_in + n->n_out; i++)
        if (n->slot[i].replay && n->slot[i].buf) {
            tlvi_buf_unref(c, n->slot[i].buf);
            n->slot[i].buf = NULL;
        }
}

/* Marks the husks of a segment by a negative mark (tlv_grad's own marks are kept below it) and
 * counts how often its nodes take each as input. */
static void mark_husks(tlv_ctx *c, int32_t begin, int32_t end)
{
    for (int32_t k = begin; k < end; k++) {
        tlvi_node *n = tlvi_node_at(c, k);
        for (int i = 0; i < n->n_in + n->n_out + n->n_aux; i++) {
            tlv_tensor *t = n->slot[i].t;
            if (!t || (t->buf && t->mark >= 0)) continue;
            if (t->mark >= 0) {
                t->mark = -1 - t->mark;
                t->uses = 0;
            }
            t->uses += i < n->n_in;
        }
    }
}

/* Every header that was a husk is one again, whatever happened in between. */
static void unmark_husks(tlv_ctx *c, int32_t begin, int32_t end)
{
    for (int32_t k = begin; k < end; k++) {
        tlvi_node *n = tlvi_node_at(c, k);
        for (int i = 0; i < n->n_in + n->n_out + n->n_aux; i++) {
            tlv_tensor *t = n->slot[i].t;
            if (!t || t->mark >= 0) continue;
            done_with(c, t, t->uses);
            t->mark = -1 - t->mark;
        }
    }
}

tlv_status tlvi_replay_segment(tlv_ctx *c, int32_t begin, int32_t end)
{
    mark_husks(c, begin, end);
    for (int32_t k = begin; k < end && !c->err; k++) replay_node(c, tlvi_node_at(c, k));
    unmark_husks(c, begin, end);
    return c->err;
}
