/* grad.c -- reverse-mode differentiation: mark what depends on the targets, then sweep back.
 *
 * Gradients are tensors that tlv_grad returns, never a field of a tensor.  Each vjp runs in a scope
 * of its own inside the sweep's scope; a gradient is released as soon as its node has been
 * passed. */
#include "autograd/sweep.h"

typedef struct tlvi_sweep {
    const struct tlvi_sweep *outer; /* a tlv_grad in whose vjp this one runs, or NULL */
    int32_t low, top;               /* nodes low .. top may lie between y and the targets */
    uint64_t *want;                 /* a node: bit i if input i leads to a target; 0: not live */
    tlv_tensor **gout;              /* a node: gradients of its two outputs */
    tlv_tensor **target;            /* gradients of targets that are leaves */
    int n, flags, depth;            /* depth of the sweep's scope */
    int32_t replayed;               /* begin of the segment that is replayed now, or -1 */
    const tlv_tensor *const *wrt;
} sweep;

/* ---- marking forward ------------------------------------------------------------------------- */

static int leads(const sweep *s, const tlv_tensor *t)
{
    return t->mark > 0 || (t->node >= s->low && t->node <= s->top && s->want[t->node - s->low]);
}

static void mark_live(tlv_ctx *c, sweep *s)
{
    for (int32_t k = s->low; k <= s->top; k++) {
        const tlvi_node *n = tlvi_node_at(c, k);
        uint64_t want = 0;
        for (int i = 0; i < n->n_in; i++)
            if (n->slot[i].t && leads(s, n->slot[i].t)) want |= (uint64_t)1 << (i < 63 ? i : 63);
        s->want[k - s->low] = want;
    }
}

/* ---- collecting gradients -------------------------------------------------------------------- */

static void let_go(tlv_ctx *c, const sweep *s, tlv_tensor *g)
{
    if (--g->grefs == 0 && g->depth == s->depth) tlvi_release(c, g);
}

static void add_kernel(const void *arg, size_t n, const void *const *in, void *out)
{
    const tlvi_kset *k = arg;
    k->binary[TLVI_BIN_ADD](n, in[0], in[1], out, 0, 0);
}

/* True if adding into g in place changes nothing that anybody else can see. */
static int solely_held(const tlv_ctx *c, const sweep *s, const tlv_tensor *g)
{
    return !tlvi_recording(c) && g->grefs == 1 && g->depth == s->depth && g->buf->refs == 1
           && tlvi_is_dense(g);
}

static void add_into(tlv_ctx *c, sweep *s, tlv_tensor **place, tlv_tensor *d)
{
    tlv_tensor *g = *place;
    if (!g) {
        *place = d;
        d->grefs++;
    } else if (solely_held(c, s, g)) {
        const tlv_tensor *in[2] = { g, d };
        tlvi_map(c, add_kernel, tlvi_ks(c, g->dtype), 2, in, g);
    } else {
        tlv_tensor *sum = tlv_add(c, g, d);
        if (!sum) return;
        sum->grefs++;
        let_go(c, s, g);
        *place = sum;
    }
}

/* An image's gradient comes in that image's own memory order: the one place where it is
 * converted. */
static tlv_tensor *in_order_of(tlv_ctx *c, tlv_tensor *d, const tlv_tensor *t)
{
    if (t->ndim != 4 || d->ndim != 4) return d;
    if (tlvi_is_channels_last(t)) return tlv_to_order(c, d, TLV_CHANNELS_LAST);
    if (tlvi_is_row_major(t)) return tlv_to_order(c, d, TLV_ROW_MAJOR);
    return d;
}

static void deliver(tlv_ctx *c, sweep *s, const tlv_tensor *t, tlv_tensor *d)
{
    if (TLVI_UNLIKELY(!tlvi_same_shape(t, d) || t->dtype != d->dtype)) {
        tlvi_fail(c, TLV_ERR_SHAPE, "mend the gradient of that op",
                  "a gradient is %s%s but its tensor is %s%s", tlv_dtype_name((tlv_dtype)d->dtype),
                  tlvi_shape_str(d).s, tlv_dtype_name((tlv_dtype)t->dtype), tlvi_shape_str(t).s);
        return;
    }
    tlv_tensor *o = in_order_of(c, d, t);
    if (!o) return;
    o->grefs++;
    if (t->node >= s->low && t->node <= s->top)
        add_into(c, s, &s->gout[2 * (t->node - s->low) + t->out], o);
    else add_into(c, s, &s->target[t->mark - 1], o);
    let_go(c, s, o);
}

/* ---- one node -------------------------------------------------------------------------------- */

int tlvi_node_usable(tlv_ctx *c, const tlvi_node *n)
{
    const char *op = tlvi_ops[n->op].name;
    if (n->flags & TLVI_NODE_CONSUMED) {
        tlvi_fail(c, TLV_ERR_CONSUMED, NULL,
                  "the graph through %s was consumed by an earlier tlv_grad", op);
        return 0;
    }
    if (!(n->flags & TLVI_NODE_HOLDS)) return 1;
    for (int i = 0; i < n->n_in + n->n_out + n->n_aux; i++) {
        const tlvi_slot *s = &n->slot[i];
        if (s->buf && s->reads && s->buf->version != s->version) {
            const tlv_tensor *t = s->t;
            tlvi_fail(c, TLV_ERR_VERSION, NULL,
                      "%s: %s%s%s, which its gradient reads, was changed after use", op,
                      tlvi_shape_str(t).s, t->name ? " " : "", t->name ? t->name : "");
            return 0;
        }
    }
    return 1;
}

#ifdef TLVI_MUTANTS
static int mutates(const tlv_ctx *c, const tlvi_node *n, int kind)
{
    return c->mutant.kind == kind && c->mutant.op == n->op
           && c->mutant.recording == tlvi_recording(c);
}

/* Breaks one gradient of one op in one way: a test that does not notice is no test.  The dropped
 * sum is broken in tlvi_sum_to_like. */
static void mutate(tlv_ctx *c, const tlvi_node *n, tlv_tensor **d)
{
    int i = c->mutant.input;
    c->mutant.in_vjp = 0;
    for (int k = 0; k < n->n_in && k < 32 && c->mutant.op == n->op; k++)
        if (d[k]) c->mutant.delivered[tlvi_recording(c) != 0] |= 1u << k;
    if (i >= n->n_in || !d[i]) return;
    if (mutates(c, n, TLVI_MUT_SCALE)) d[i] = tlv_affine(c, d[i], 1.01, 0);
    else if (mutates(c, n, TLVI_MUT_ZERO)) d[i] = NULL;
    else if (mutates(c, n, TLVI_MUT_SWAP) && i + 1 < n->n_in && d[i + 1] && d[i] != d[i + 1]
             && tlvi_same_shape(d[i], d[i + 1])) {
        tlv_tensor *t = d[i];
        d[i] = d[i + 1];
        d[i + 1] = t;
    } else return;
    c->mutant.fired = 1;
}

/* Slot `input` of the node, if a gradient is declared to read it, is full of NaN while the vjp
 * runs: if nobody minds, the node keeps it for nothing.  Returns what was there, for unspoil. */
static tlvi_buf *spoil(tlv_ctx *c, const tlvi_node *n)
{
    int i = c->mutant.input;
    if (!mutates(c, n, TLVI_MUT_SPOIL) || i >= n->n_in + n->n_out + n->n_aux) return NULL;
    tlv_tensor *t = n->slot[i].t;
    if (!n->slot[i].reads || !t || !t->buf || t->dtype > TLV_F64) return NULL;
    tlvi_buf *was = t->buf, *b = tlvi_buf_new(c, was->bytes);
    if (!b) return NULL;
    memset(b->ptr, 0xFF, b->bytes);
    t->buf = b;
    c->mutant.fired = 1;
    return was;
}

static void unspoil(tlv_ctx *c, const tlvi_node *n, tlvi_buf *was)
{
    if (!was) return;
    tlv_tensor *t = n->slot[c->mutant.input].t;
    tlvi_buf_unref(c, t->buf);
    t->buf = was;
}
#else
#define mutate(c, n, d) ((void)0)
#endif

enum { FEW = 16 };

static void run_vjp(tlv_ctx *c, sweep *s, int32_t k, tlv_tensor **d, uint8_t *lent,
                    tlvi_buf **hidden)
{
    tlvi_node *real = tlvi_node_at(c, k);
    tlvi_node n = *real;
    tlv_tensor **g = &s->gout[2 * (k - s->low)];
    n.want = s->want[k - s->low];
    n.g1 = g[1];
    for (int i = 0; i < n.n_in; i++) d[i] = NULL;
    if (c->opts.recompute && tlvi_replay_cheap(c, real) != TLV_OK) return;
    tlv_scope inner = tlv_scope_begin(c);
    int lends = (TLVI_DEBUG || c->poison || real->flags & TLVI_NODE_HOLDS)
                && tlvi_lend(&n, lent, hidden, g);
#ifdef TLVI_MUTANTS
    c->mutant.in_vjp = mutates(c, &n, TLVI_MUT_SUM_TO);
    tlvi_buf *spoilt = spoil(c, &n);
#endif
    tlvi_ops[n.op].vjp(c, &n, g[0], d);
    mutate(c, &n, d);
#ifdef TLVI_MUTANTS
    unspoil(c, &n, spoilt);
#endif
    if (lends) tlvi_lend_end(&n, lent, hidden);
    tlv_scope_end_keep_n(c, inner, n.n_in, d);
    for (int i = 0; i < n.n_in; i++) // hold all first: a vjp may return one tensor twice
        if (d[i]) d[i]->grefs++;
    for (int i = 0; i < n.n_in && !c->err; i++)
        if (d[i] && n.slot[i].t && wants(&n, i) && leads(s, n.slot[i].t))
            deliver(c, s, n.slot[i].t, d[i]);
    for (int i = 0; i < n.n_in; i++)
        if (d[i]) let_go(c, s, d[i]);
    if (c->opts.recompute) tlvi_replay_cheap_drop(c, real);
    if (s->flags & TLV_CONSUME) {
        tlvi_node_drop(c, real);
        real->flags |= TLVI_NODE_CONSUMED;
    }
}

/* Scratch for run_vjp: on the stack for the usual few slots, else from the pool. */
static void pass_node(tlv_ctx *c, sweep *s, int32_t k)
{
    const tlvi_node *n = tlvi_node_at(c, k);
    int slots = n->n_in + n->n_out + n->n_aux;
    if (slots <= FEW) {
        tlv_tensor *d[FEW];
        tlvi_buf *hidden[FEW];
        uint8_t lent[FEW];
        run_vjp(c, s, k, d, lent, hidden);
        return;
    }
    size_t bytes = (size_t)slots * (sizeof(void *) * 2 + 1);
    char *p = tlvi_alloc(c, bytes);
    if (!p) return;
    run_vjp(c, s, k, (tlv_tensor **)(void *)p, (uint8_t *)(p + (size_t)slots * sizeof(void *) * 2),
            (tlvi_buf **)(void *)(p + (size_t)slots * sizeof(void *)));
    tlvi_free(c, p, bytes);
}

/* ---- the sweep ------------------------------------------------------------------------------- */

/* Replays the segment of node k when the sweep enters it; drops the one it has left. */
static int enter_segment(tlv_ctx *c, sweep *s, int32_t k)
{
    int32_t here = tlvi_node_at(c, k)->segment;
    if (here == s->replayed) return 1;
    if (s->replayed >= 0) {
        const tlvi_segment *old = tlvi_segment_of(c, s->replayed);
        tlvi_segment_drop(c, old->begin, old->end);
    }
    s->replayed = -1;
    if (here < 0) return 1;
    const tlvi_segment *seg = tlvi_segment_of(c, here);
    if (tlvi_replay_segment(c, seg->begin, seg->end) != TLV_OK) return 0;
    s->replayed = here;
    return 1;
}

static void leave_node(tlv_ctx *c, sweep *s, int32_t k)
{
    tlv_tensor **g = &s->gout[2 * (k - s->low)];
    for (int i = 0; i < 2; i++)
        if (g[i]) {
            let_go(c, s, g[i]);
            g[i] = NULL;
        }
}

static void sweep_back(tlv_ctx *c, sweep *s)
{
    for (int32_t k = s->top; k >= s->low && !c->err; k--) {
        const tlvi_node *n = tlvi_node_at(c, k);
        tlv_tensor **g = &s->gout[2 * (k - s->low)];
        if (!g[0] && !g[1]) continue;
        for (int i = 0; i < n->n_out; i++) {        // a target in the middle of the graph
            int mark = n->slot[n->n_in + i].t->mark;
            if (mark > 0 && g[i]) {
                s->target[mark - 1] = g[i];
                g[i]->grefs++;
            }
        }
        if (s->want[k - s->low] && tlvi_node_usable(c, n) && enter_segment(c, s, k))
            pass_node(c, s, k);
        leave_node(c, s, k);
    }
    if (s->replayed >= 0) {
        const tlvi_segment *seg = tlvi_segment_of(c, s->replayed);
        tlvi_segment_drop(c, seg->begin, seg->end);
    }
}

/* ---- the front ------------------------------------------------------------------------------- */

static int inputs_ok(tlv_ctx *c, const tlv_tensor *y, const tlv_tensor *gy, int n,
                     const tlv_tensor *const *wrt)
{
    if (!tlvi_ready_shape(c, "grad", y) || (gy && !tlvi_ready1(c, "grad", gy))) return 0;
    for (int i = 0; i < n; i++) {
        if (!tlvi_ready_shape(c, "grad", wrt[i])) return 0;
        if (!tlv_wants_grad(wrt[i])) {
            tlvi_fail(c, TLV_ERR_NOGRAD, NULL,
                      "grad: target %d, %s, is neither a leaf that wants gradients nor "
                      "computed from one",
                      i, tlvi_shape_str(wrt[i]).s);
            return 0;
        }
    }
    if (gy ? !tlvi_same_shape(gy, y) || gy->dtype != y->dtype : tlvi_numel(y) != 1) {
        tlvi_fail(c, TLV_ERR_SHAPE, "reduce y to one number first, or pass gy of y's shape",
                  gy ? "grad: y is %s but gy is %s" : "grad: y is %s and gy is NULL%s",
                  tlvi_shape_str(y).s, gy ? tlvi_shape_str(gy).s : "");
        return 0;
    }
    return 1;
}

/* Nodes below every target cannot matter; leaves may be used anywhere. */
static int32_t lowest(const tlv_tensor *y, int n, const tlv_tensor *const *wrt)
{
    int32_t low = y->node < 0 ? 0 : y->node;
    for (int i = 0; i < n; i++) {
        if (wrt[i]->node < 0) return 0;
        if (wrt[i]->node < low) low = wrt[i]->node;
    }
    return low;
}

static void seed(tlv_ctx *c, sweep *s, const tlv_tensor *y, const tlv_tensor *gy)
{
    tlv_tensor *g = gy ? (tlv_tensor *)gy : tlv_full(c, (tlv_dtype)y->dtype, tlv_shape_of(y), 1.0);
    if (!g) return;
    if (y->node >= 0 && (s->want[y->node - s->low] || y->mark > 0)) {
        s->gout[2 * (y->node - s->low) + y->out] = g;
        g->grefs++;
        sweep_back(c, s);
    } else if (y->mark > 0) {
        s->target[y->mark - 1] = g;
        g->grefs++;
    } else {
        tlvi_fail(c, TLV_ERR_NOGRAD, NULL, "grad: y, %s, depends on none of the %d targets",
                  tlvi_shape_str(y).s, s->n);
    }
}

static void collect(tlv_ctx *c, sweep *s, tlv_tensor **out)
{
    for (int i = 0; i < s->n && !c->err; i++) {
        out[i] = s->target[s->wrt[i]->mark - 1]; // a target listed twice has the later one's mark
        if (!out[i] && (s->flags & TLV_ZEROS)) {
            out[i] = tlvi_new_ordered(c, (tlv_dtype)s->wrt[i]->dtype, tlv_shape_of(s->wrt[i]),
                                      s->wrt[i]);
            if (out[i])
                memset(tlvi_ptr(out[i]), 0,
                       (size_t)tlvi_numel(out[i]) * tlv_dtype_size((tlv_dtype)out[i]->dtype));
        }
    }
    for (int i = 0; i < s->n; i++) {
        if (s->target[i]) s->target[i]->grefs = 0;
        if (c->err) out[i] = NULL;
    }
}

/* The targets of this sweep are marked, and no longer those of the one around it. */
static size_t marks_bytes(const sweep *s)
{
    return (size_t)(s->n + (s->outer ? s->outer->n : 0)) * sizeof(int32_t);
}

static void set_marks(const sweep *s, int32_t *saved)
{
    const sweep *o = s->outer;
    for (int i = 0; o && i < o->n; i++) saved[s->n + i] = o->wrt[i]->mark;
    for (int i = 0; o && i < o->n; i++) ((tlv_tensor *)o->wrt[i])->mark = 0;
    for (int i = 0; i < s->n; i++) saved[i] = s->wrt[i]->mark;
    for (int i = 0; i < s->n; i++) ((tlv_tensor *)s->wrt[i])->mark = i + 1;
}

static void restore_marks(const sweep *s, const int32_t *saved)
{
    const sweep *o = s->outer;
    for (int i = s->n - 1; i >= 0; i--) ((tlv_tensor *)s->wrt[i])->mark = saved[i];
    for (int i = 0; o && i < o->n; i++) ((tlv_tensor *)o->wrt[i])->mark = saved[s->n + i];
}

static tlv_status run(tlv_ctx *c, sweep *s, const tlv_tensor *y, const tlv_tensor *gy,
                      tlv_tensor **out)
{
    size_t nodes = y->node < 0 ? 0 : (size_t)(s->top - s->low + 1), n = (size_t)s->n;
    size_t bytes = nodes * (sizeof *s->want + 2 * sizeof *s->gout) + n * sizeof *s->target
                   + marks_bytes(s);
    char *p = tlvi_alloc(c, bytes);
    if (!p) return c->err;
    memset(p, 0, bytes);
    s->want = (uint64_t *)(void *)p;
    s->gout = (tlv_tensor **)(void *)(s->want + nodes);
    s->target = s->gout + 2 * nodes;
    int32_t *saved = (int32_t *)(void *)(s->target + n);
    set_marks(s, saved);
    c->sweep = s;
    tlv_scope scope = tlv_scope_begin_with(c, s->flags & TLV_CREATE_GRAPH ? 0 : TLV_NO_GRAD);
    s->depth = c->depth;
    if (nodes) mark_live(c, s);
    seed(c, s, y, gy);
    collect(c, s, out);
    restore_marks(s, saved);
    c->sweep = s->outer;
    tlv_scope_end_keep_n(c, scope, s->n, out);
    tlvi_free(c, p, bytes);
    return c->err;
}

tlv_status tlv_grad(tlv_ctx *c, const tlv_tensor *y, const tlv_tensor *gy, int n,
                    const tlv_tensor *const *wrt, tlv_tensor **out, int flags)
{
    for (int i = 0; i < n; i++) out[i] = NULL;
    if (c->err || !inputs_ok(c, y, gy, n, wrt)) return c->err;
    sweep s = { .outer = c->sweep,
                .low = lowest(y, n, wrt),
                .top = y->node,
                .n = n,
                .wrt = wrt,
                .flags = flags,
                .replayed = -1 };
    tlv_mem_phase before = tlvi_phase(c, TLV_PHASE_BACKWARD);
    tlv_status st = run(c, &s, y, gy, out);
    tlvi_phase(c, before);
    return st;
}
