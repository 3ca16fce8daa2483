/* record.c -- putting a node on the tape: which buffers it keeps follows from ops.def. */
#include "autograd/op.h"

/* Bits of a reads mask: inputs 0..15 (15 speaks for all further ones), outputs, saved values. */
enum { OUT_BIT = 16, AUX_BIT = 20, NAMED = 8 };

/* by_input[i]: what the gradient of input i reads; inputs beyond the named ones follow the last. */
typedef struct tlvi_op_reads {
    uint32_t by_input[NAMED];
    int named;
    int variadic;               /* the last named input stands for any number of inputs */
} op_reads;

/* ---- parsing the declarations ---------------------------------------------------------------- */

static int name_length(const char *s)
{
    int n = 0;
    while (s[n] == '_' || (s[n] >= 'a' && s[n] <= 'z') || (s[n] >= 'A' && s[n] <= 'Z')
           || (s[n] >= '0' && s[n] <= '9'))
        n++;
    return n;
}

/* The bit of the name s[0..n) in "a b -> y : aux", or -1; *input is its place among the inputs. */
static int find_name(const char *args, const char *s, int n, int *input)
{
    int base = 0, i = 0;
    for (const char *p = args; *p;) {
        int len = name_length(p);
        if (len == 0) {
            if (*p == '>') base = OUT_BIT, i = 0;
            if (*p == ':') base = AUX_BIT, i = 0;
            p++;
            continue;
        }
        if (len == n && memcmp(p, s, (size_t)n) == 0) {
            *input = base == 0 ? i : -1;
            return base + i;
        }
        i++;
        p += len;
    }
    return -1;
}

/* "da<-b db<-a,y" */
static int parse(const tlvi_op_info *op, op_reads *r)
{
    memset(r, 0, sizeof *r);
    for (const char *p = op->args; *p && *p != '-';) {
        int len = name_length(p);
        r->named += len > 0;
        if (p[0] == '.') r->variadic = 1;
        p += len ? len : 1;
    }
    int at = -1, input = -1;
    for (const char *p = op->reads; *p;) {
        int len = name_length(p);
        if (len == 0) { p++; continue; }
        if (p[len] == '<') {
            if (p[0] != 'd' || find_name(op->args, p + 1, len - 1, &at) < 0 || at < 0) return 0;
        } else {
            int bit = find_name(op->args, p, len, &input);
            if (bit < 0 || at < 0) return 0;
            r->by_input[at] |= 1u << bit;
            if (r->variadic && input == r->named - 1) r->by_input[at] |= 0xffffu << bit & 0xffffu;
        }
        p += len;
    }
    return r->named <= NAMED;
}

static int load_reads(tlv_ctx *c)
{
    c->reads_bytes = sizeof(op_reads) * TLV_OP_COUNT;
    op_reads *r = tlvi_alloc(c, c->reads_bytes);
    if (!r) return 0;
    for (int op = 0; op < TLV_OP_COUNT; op++)
        if (!parse(&tlvi_ops[op], &r[op])) {
            tlvi_free(c, r, c->reads_bytes);
            tlvi_fail(c, TLV_ERR_STATE, "mend its line in ops.def",
                      "%s: cannot understand reads \"%s\"", tlvi_ops[op].name, tlvi_ops[op].reads);
            return 0;
        }
    c->reads = r;
    return 1;
}

/* ---- recording ------------------------------------------------------------------------------- */

static uint32_t reads_of(const tlv_ctx *c, const tlvi_record_args *r)
{
    const op_reads *o = &c->reads[r->op];
    uint32_t mask = 0;
    for (int i = 0; i < r->n_in; i++)
        if (tlvi_wants_grad(r->in[i])) mask |= o->by_input[i < o->named ? i : o->named - 1];
    return mask;
}

/* With recompute = cheap: node k is of a cheap op and holds all that it needs to run again.  Depth
 * one: what replays must itself be kept. */
static int can_run_again(const tlv_ctx *c, const tlvi_node *k)
{
    if (c->opts.recompute != TLV_RECOMPUTE_CHEAP || c->saving) return 0;
    if (!tlvi_ops[k->op].cheap || k->n_out != 1 || k->n_in + k->n_aux > 7) return 0;
    for (int i = 0; i < k->n_in; i++)
        if (k->slot[i].t && !k->slot[i].buf) return 0;
    return 1;
}

/* t came from such a node, which does not hold t itself. */
static int replayable(const tlv_ctx *c, const tlv_tensor *t)
{
    if (t->node < 0) return 0;
    const tlvi_node *k = tlvi_node_at(c, t->node);
    return can_run_again(c, k) && !k->slot[k->n_in].buf;
}

/* A parameter costs nothing to hold: it lives anyway. */
static int holds_parameter(const tlv_ctx *c, const tlvi_record_args *r, const tlv_tensor *t)
{
    return c->opts.recompute && tlvi_ops[r->op].cheap && t && t->depth == -1;
}

static void set_slot(tlvi_node *n, tlvi_slot *s, const tlv_tensor *t, int reads, int keep)
{
    s->t = (tlv_tensor *)t;
    s->reads = (uint16_t)reads;
    s->replay = 0;
    s->buf = t && (reads || keep) ? t->buf : NULL;
    s->version = 0;
    if (s->buf) {
        s->buf->refs++;
        s->version = s->buf->version;
        n->flags |= TLVI_NODE_HOLDS;
    }
}

static tlv_tensor *captured(tlvi_replay *p, const tlvi_record_args *r)
{
    for (int i = 0; i < 2; i++) p->out[i] = r->out[i];
    for (int i = 0; i < 4; i++) p->aux[i] = r->aux[i];
    return r->out[0];
}

tlv_tensor *tlvi_record(tlv_ctx *c, const tlvi_record_args *r)
{
    tlv_tensor *y = r->out[0];
    if (!y) return NULL;
    if (TLVI_UNLIKELY(c->replay && c->replay->op == (int)r->op)) return captured(c->replay, r);
    if (!c->recording) return y;
    int any = 0;
    for (int i = 0; i < r->n_in; i++) any |= tlvi_wants_grad(r->in[i]);
    if (!any || (TLVI_UNLIKELY(!c->reads) && !load_reads(c))) return any ? NULL : y;

    int n_out = r->out[1] ? 2 : 1, n_aux = 0;
    while (n_aux < 4 && r->aux[n_aux]) n_aux++;
    int32_t index = c->tape.len;
    tlvi_node *n = tlvi_tape_push(c, r->n_in + n_out + n_aux, r->attr_bytes);
    if (!n) return NULL;
    n->op = (uint16_t)r->op;
    n->n_in = r->n_in;
    n->n_out = (uint8_t)n_out;
    n->n_aux = (uint8_t)n_aux;
    if (r->attr_bytes) memcpy(n->attr, r->attr, r->attr_bytes);
    uint32_t mask = reads_of(c, r);
    tlvi_slot *s = n->slot;
    for (int i = 0; i < r->n_in; i++, s++) {
        int reads = mask >> (i < 15 ? i : 15) & 1,
            again = reads && r->in[i] && replayable(c, r->in[i]);
        set_slot(n, s, r->in[i], reads && !again, c->saving || holds_parameter(c, r, r->in[i]));
        if (again) s->reads = s->replay = 1;
    }
    for (int i = 0; i < n_out; i++) {
        r->out[i]->node = index;
        r->out[i]->out = (uint8_t)i;
        int reads = mask >> (OUT_BIT + i) & 1, again = reads && can_run_again(c, n);
        set_slot(n, s, r->out[i], reads && !again, 0);
        if (again) s->reads = s->replay = 1;
        s++;
    }
    for (int i = 0; i < n_aux; i++) set_slot(n, s++, r->aux[i], mask >> (AUX_BIT + i) & 1, 0);
    return y;
}

tlv_tensor *tlvi_record1(tlv_ctx *c, tlv_op op, tlv_tensor *y, const tlv_tensor *x,
                         const void *attr, size_t attr_bytes)
{
    if (!y || (!c->replay && (!c->recording || !tlvi_wants_grad(x)))) return y;
    tlvi_record_args r = {
        .op = op, .n_in = 1, .in = &x, .out = { y }, .attr = attr, .attr_bytes = attr_bytes
    };
    return tlvi_record(c, &r);
}

tlv_tensor *tlvi_record2(tlv_ctx *c, tlv_op op, tlv_tensor *y, const tlv_tensor *a,
                         const tlv_tensor *b, const void *attr, size_t attr_bytes)
{
    if (!y || (!c->replay && (!c->recording || !(tlvi_wants_grad(a) || tlvi_wants_grad(b)))))
        return y;
    const tlv_tensor *in[2] = { a, b };
    tlvi_record_args r = {
        .op = op, .n_in = 2, .in = in, .out = { y }, .attr = attr, .attr_bytes = attr_bytes
    };
    return tlvi_record(c, &r);
}
