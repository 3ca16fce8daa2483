/* params.c -- named sets of tensors: a shared schema and the values. */
#include <math.h>

#include "nn/set.h"

/* ---- schemas --------------------------------------------------------------------------------- */

/* The error sticks if two entries have one name. */
static int names_differ(tlv_ctx *c, const tlvi_entry *e, int n)
{
    for (int i = 0; i < n && !c->err; i++)
        for (int k = 0; k < i; k++)
            if (strcmp(e[i].name, e[k].name) == 0)
                return tlvi_fail(c, TLV_ERR_NAME, "drop or rename one of them",
                                 "parameters: there are two entries '%s'", e[i].name),
                       0;
    return c->err == TLV_OK;
}

tlvi_schema *tlvi_schema_new(tlv_ctx *c, const tlvi_entry *e, int n)
{
    if (!names_differ(c, e, n)) return NULL;
    size_t head = sizeof(tlvi_schema) + (size_t)n * sizeof *e, bytes = head;
    for (int i = 0; i < n; i++) bytes += strlen(e[i].name) + 1;
    tlvi_schema *s = c->err ? NULL : tlvi_alloc(c, bytes);
    if (!s) return NULL;
    s->c = c;
    s->refs = 0;
    s->n = n;
    s->bytes = bytes;
    char *text = (char *)s + head;
    for (int i = 0; i < n; i++) {
        size_t len = strlen(e[i].name) + 1;
        s->entry[i] = e[i];
        s->entry[i].name = memcpy(text, e[i].name, len);
        text += len;
    }
    return s;
}

void tlvi_schema_unref(tlv_ctx *c, tlvi_schema *s)
{
    if (!s || --s->refs > 0) return;
    c->in_hand[0] = NULL; // the op before may have had these names in hand
    tlvi_free(c, s, s->bytes);
}

/* ---- sets ------------------------------------------------------------------------------------ */

static size_t block_bytes(const tlvi_schema *s)
{
    return sizeof(tlv_params) + (size_t)(s->n + 1) * sizeof(tlv_tensor *) + (size_t)s->n;
}

static tlv_params *lay_out(tlv_ctx *c, void *block, tlvi_schema *s)
{
    tlv_params *p = block;
    memset(p, 0, block_bytes(s));
    p->c = c;
    p->schema = s;
    p->value = (tlv_tensor **)(void *)(p + 1);
    p->frozen = (uint8_t *)(p->value + s->n + 1);
    p->bytes = block_bytes(s);
    return p;
}

tlv_params *tlvi_params_owned(tlv_ctx *c, tlvi_schema *s)
{
    void *block = c->err || !s ? NULL : tlvi_alloc(c, block_bytes(s));
    if (!block) return NULL;
    tlv_params *p = lay_out(c, block, s);
    p->owned = 1;
    s->refs++;
    return p;
}

/* The set's memory is a tensor of bytes: it ends with its scope like any other. */
static tlv_params *in_scope(tlv_ctx *c, tlvi_schema *s)
{
    tlv_tensor *block = c->err ? NULL : tlvi_new(c, TLV_U8, TLV_SHAPE((int64_t)block_bytes(s)));
    if (!block) return NULL;
    tlv_params *p = lay_out(c, tlvi_ptr(block), s);
    p->value[s->n] = block;
    return p;
}

static void let_go_of(void *schema) { tlvi_schema_unref(((tlvi_schema *)schema)->c, schema); }

/* In a child context the set lives on what is borrowed, which keeps the schema. */
tlv_params *tlvi_params_scoped(tlv_ctx *c, tlvi_schema *s)
{
    tlv_params *p = in_scope(c, s);
    if (!p || s->c != c) return p;
    s->refs++;
    tlvi_on_end(p->value[s->n], let_go_of, s);
    return p;
}

tlv_tensor *tlvi_params_make(tlv_params *p, int slot)
{
    const tlvi_entry *e = &p->schema->entry[slot];
    tlv_tensor *t = tlvi_new_owned(p->c, (tlv_dtype)e->dtype, e->shape);
    if (!t) return NULL;
    t->name = e->name;
    if (!e->is_buffer && !p->frozen[slot]) t->flags |= TLVI_T_WANT;
    return p->value[slot] = t;
}

void tlv_params_close(tlv_params *p)
{
    if (!p || !p->owned) return;
    tlv_ctx *c = p->c;
    if (atomic_load(&p->borrows) > 0) {
        tlvi_fail(c, TLV_ERR_STATE, "end the borrowing tasks first",
                  "params_close: the set is still borrowed");
        return;
    }
    for (int i = 0; i < p->schema->n; i++) tlvi_owned_free(p->value[i]);
    tlvi_schema_unref(c, p->schema);
    tlvi_free(c, p, p->bytes);
}

void *tlvi_params_write(tlv_ctx *c, tlv_params *p, int slot)
{
    if (c->err) return NULL;
    TLVI_REQUIRE(c, p->owned && p->c == c, TLV_ERR_STATE, "write to the set that owns the tensors",
                 "%s: this set does not own its tensors", p->schema->entry[slot].name);
    TLVI_REQUIRE(c, atomic_load(&p->borrows) == 0, TLV_ERR_STATE,
                 "step after tlv_parallel_tasks has returned", "%s: the set is borrowed by a task",
                 p->schema->entry[slot].name);
    p->value[slot]->buf->version++;
    return tlvi_ptr(p->value[slot]);
}

/* ---- reading --------------------------------------------------------------------------------- */

int tlv_params_count(const tlv_params *p) { return p ? p->schema->n : 0; }

static int in_range(const tlv_params *p, int slot) { return p && slot >= 0 && slot < p->schema->n; }

const char *tlv_params_name(const tlv_params *p, int slot)
{
    return in_range(p, slot) ? p->schema->entry[slot].name : "";
}
tlv_tensor *tlv_params_get(const tlv_params *p, int slot)
{
    return in_range(p, slot) ? p->value[slot] : NULL;
}
int tlv_params_is_buffer(const tlv_params *p, int slot)
{
    return in_range(p, slot) && p->schema->entry[slot].is_buffer;
}
int tlv_params_is_frozen(const tlv_params *p, int slot)
{
    return in_range(p, slot) && p->frozen[slot];
}

int tlv_params_find(const tlv_params *p, const char *name)
{
    for (int i = 0; p && i < p->schema->n; i++)
        if (strcmp(p->schema->entry[i].name, name) == 0) return i;
    return -1;
}

int64_t tlv_params_numel(const tlv_params *p, int trainable_only)
{
    int64_t n = 0;
    for (int i = 0; p && i < p->schema->n; i++)
        if (!p->schema->entry[i].is_buffer && !(trainable_only && p->frozen[i]))
            n += tlvi_shape_numel(p->schema->entry[i].shape);
    return n;
}

/* ---- patterns -------------------------------------------------------------------------------- */

/* One alternative [p, end) against a whole name; '*' takes any run. */
static int match_one(const char *p, const char *end, const char *s)
{
    while (p < end && *p != '*') {
        if (*p++ != *s++) return 0;
    }
    if (p == end) return *s == 0;
    for (;; s++) {
        if (match_one(p + 1, end, s)) return 1;
        if (!*s) return 0;
    }
}

int tlv_match(const char *pattern, const char *name)
{
    while (pattern && *pattern) {
        const char *end = strchr(pattern, ',');
        if (!end) end = pattern + strlen(pattern);
        if (match_one(pattern, end, name)) return 1;
        pattern = *end ? end + 1 : end;
    }
    return 0;
}

static int set_frozen(tlv_params *p, const char *pattern, int frozen)
{
    int n = 0;
    for (int i = 0; p && i < p->schema->n; i++) {
        if (!tlv_match(pattern, p->schema->entry[i].name)) continue;
        n++;
        p->frozen[i] = (uint8_t)frozen;
        tlv_tensor *t = p->value[i];
        if (!t || p->schema->entry[i].is_buffer || t->depth != -1) continue;
        t->flags = (uint8_t)(frozen ? t->flags & ~TLVI_T_WANT : t->flags | TLVI_T_WANT);
    }
    return n;
}

int tlv_params_freeze(tlv_params *p, const char *pattern) { return set_frozen(p, pattern, 1); }
int tlv_params_unfreeze(tlv_params *p, const char *pattern) { return set_frozen(p, pattern, 0); }

/* ---- copies ---------------------------------------------------------------------------------- */

int tlvi_params_same(tlv_ctx *c, const char *what, const tlv_params *a, const tlv_params *b)
{
    if (c->err) return 0;
    if (a && b && a->schema == b->schema) return 1;
    c->in_hand[0] = NULL;
    tlvi_fail(c, TLV_ERR_NAME, "use sets made from one another by clone, grad or axpy",
              "%s: the two sets have different names (%d and %d entries)", what,
              tlv_params_count(a), tlv_params_count(b));
    return 0;
}

/* to := from, or zeros where that is NULL */
static void fill(tlv_ctx *c, const tlv_tensor *from, tlv_tensor *to)
{
    if (from) tlvi_copy_strided(c, from, to);
    else memset(tlvi_ptr(to), 0, (size_t)tlvi_numel(to) * tlv_dtype_size((tlv_dtype)to->dtype));
}

static int of_context(tlv_ctx *c, const char *what, const tlv_params *p)
{
    if (c->err) return 0;
    c->in_hand[0] = NULL;
    if (!p) tlvi_fail(c, TLV_ERR_ARG, "pass a parameter set", "%s: the set is NULL", what);
    else if (p->c != c)
        tlvi_fail(c, TLV_ERR_CTX, "make both sets in one context",
                  "%s: the set belongs to another context", what);
    return c->err == TLV_OK;
}

static tlv_params *like(tlv_ctx *c, const tlv_params *p, int copy)
{
    if (!of_context(c, copy ? "params_clone" : "params_zeros", p)) return NULL;
    tlv_params *q = tlvi_params_owned(c, p->schema);
    if (!q) return NULL;
    memcpy(q->frozen, p->frozen, (size_t)p->schema->n);
    for (int i = 0; i < p->schema->n; i++) {
        tlv_tensor *t = tlvi_params_make(q, i);
        if (!t) { tlv_params_close(q); return NULL; }
        fill(c, copy ? p->value[i] : NULL, t);
    }
    return q;
}

tlv_params *tlv_params_clone(tlv_ctx *c, const tlv_params *p) { return like(c, p, 1); }
tlv_params *tlv_params_zeros(tlv_ctx *c, const tlv_params *p) { return like(c, p, 0); }

tlv_status tlv_params_set(tlv_ctx *c, tlv_params *p, int slot, const tlv_tensor *t)
{
    TLVI_CHECK(c, in_range(p, slot), TLV_ERR_ARG, "slots come from tlv_params_find",
               "params_set: slot %d of %d", slot, tlv_params_count(p));
    if (!tlvi_ready1(c, "params_set", t)) return c->err;
    tlv_tensor *to = p->value[slot];
    TLVI_CHECK(c, p->owned, TLV_ERR_STATE, "write to the set that owns the tensors",
               "%s: this set does not own its tensors", tlv_params_name(p, slot));
    TLVI_CHECK(c, tlvi_same_shape(to, t) && to->dtype == t->dtype, TLV_ERR_SHAPE,
               "reshape or cast it first", "%s is %s%s, got %s%s", tlv_params_name(p, slot),
               tlv_dtype_name((tlv_dtype)to->dtype), tlvi_shape_str(to).s,
               tlv_dtype_name((tlv_dtype)t->dtype), tlvi_shape_str(t).s);
    if (tlvi_params_write(c, p, slot)) tlvi_copy_strided(c, t, to);
    return c->err;
}

tlv_status tlv_params_copy(tlv_ctx *c, tlv_params *dst, const tlv_params *src)
{
    if (!tlvi_params_same(c, "params_copy", dst, src)) return c->err;
    for (int i = 0; i < src->schema->n; i++)
        if ((src->value[i] && !tlvi_ready1(c, "params_copy", src->value[i]))
            || !tlvi_params_write(c, dst, i))
            return c->err;
    for (int i = 0; i < src->schema->n; i++) fill(c, src->value[i], dst->value[i]);
    return c->err;
}

/* Fills e with the entries of p that do not match drop, then those of add; returns their number. */
static int edited(tlvi_entry *e, const tlv_params *p, const char *drop, const tlv_params *add)
{
    int n = 0;
    for (int i = 0; i < p->schema->n; i++)
        if (!tlv_match(drop, p->schema->entry[i].name)) e[n++] = p->schema->entry[i];
    for (int i = 0; add && i < add->schema->n; i++) e[n++] = add->schema->entry[i];
    return n;
}

tlv_params *tlv_params_edit(tlv_ctx *c, const tlv_params *p, const char *drop,
                            const tlv_params *add)
{
    if (!of_context(c, "params_edit", p) || (add && !of_context(c, "params_edit", add)))
        return NULL;
    size_t bytes = sizeof(tlvi_entry) * (size_t)(p->schema->n + tlv_params_count(add));
    tlvi_entry *e = tlvi_alloc(c, bytes);
    if (!e) return NULL;
    int n = edited(e, p, drop, add);
    tlvi_schema *s = tlvi_schema_new(c, e, n);
    tlvi_free(c, e, bytes);
    tlv_params *q = tlvi_params_owned(c, s);
    if (!q && s) tlvi_schema_unref(c, s);
    for (int i = 0; q && i < n; i++) {
        int from = tlv_params_find(add, s->entry[i].name);
        const tlv_params *src = from >= 0 ? add : p;
        if (from < 0) from = tlv_params_find(p, s->entry[i].name);
        q->frozen[i] = src->frozen[from];
        tlv_tensor *t = tlvi_params_make(q, i);
        if (!t) { tlv_params_close(q); return NULL; }
        fill(c, src->value[from], t);
    }
    return q;
}

/* ---- sets of a scope ------------------------------------------------------------------------- */

static int trainable(const tlv_params *p, int i)
{
    return !p->schema->entry[i].is_buffer && !p->frozen[i] && tlv_wants_grad(p->value[i]);
}

tlv_params *tlv_params_grad(tlv_ctx *c, const tlv_tensor *loss, const tlv_params *p, int flags)
{
    if (c->err || !p) return NULL;
    tlv_params *g = tlvi_params_scoped(c, p->schema);
    int n = p->schema->n, k = 0;
    size_t bytes = 2 * (size_t)n * sizeof(void *);
    const tlv_tensor **wrt = g ? tlvi_alloc(c, bytes) : NULL;
    if (!wrt) return NULL;
    tlv_tensor **out = (tlv_tensor **)(void *)(wrt + n);
    for (int i = 0; i < n; i++)
        if (trainable(p, i)) wrt[k++] = p->value[i];
    if (k == 0)
        tlvi_fail(c, TLV_ERR_NOGRAD, "unfreeze some with tlv_params_unfreeze",
                  "params_grad: none of %d entries is trainable", n);
    tlv_grad(c, loss, NULL, k, wrt, out, flags & TLV_CREATE_GRAPH ? flags : flags | TLV_CONSUME);
    k = 0;
    for (int i = 0; i < n && !c->err; i++)
        if (trainable(p, i)) g->value[i] = out[k++];
    memcpy(g->frozen, p->frozen, (size_t)n);
    tlvi_free(c, wrt, bytes);
    return c->err ? NULL : g;
}

tlv_params *tlv_params_axpy(tlv_ctx *c, const tlv_params *p, double a, const tlv_params *g)
{
    if (!tlvi_params_same(c, "params_axpy", p, g)) return NULL;
    tlv_params *q = tlvi_params_scoped(c, p->schema);
    for (int i = 0; q && i < p->schema->n; i++) {
        q->frozen[i] = p->frozen[i];
        q->value[i] = p->value[i];
        if (!p->schema->entry[i].is_buffer && g->value[i]) {
            tlv_tensor *step = tlv_affine(c, g->value[i], a, 0);
            q->value[i] = p->value[i] ? tlv_add(c, p->value[i], step) : step;
        }
        if (c->err) return NULL;
        if (q->value[i] != p->value[i]) q->value[i]->name = p->schema->entry[i].name;
    }
    return q;
}

tlv_params *tlv_params_select(tlv_ctx *c, const tlv_params *p, const char *pattern)
{
    if (c->err || !p) return NULL;
    tlv_params *q = tlvi_params_scoped(c, p->schema);
    for (int i = 0; q && i < p->schema->n; i++) {
        q->value[i] = p->value[i];
        int keep = p->schema->entry[i].is_buffer || tlv_match(pattern, p->schema->entry[i].name);
        q->frozen[i] = (uint8_t)(p->frozen[i] || !keep);
    }
    return q;
}

void tlv_scope_end_keep_params(tlv_ctx *c, tlv_scope s, tlv_params *p)
{
    tlv_scope_end_keep_n(c, s, p && !p->owned ? p->schema->n + 1 : 0, p ? p->value : NULL);
}

static void give_back(void *counter) { atomic_fetch_sub((atomic_int *)counter, 1); }

tlv_params *tlv_params_borrow(tlv_ctx *child, const tlv_params *p)
{
    TLVI_REQUIRE(child, p && p->owned, TLV_ERR_ARG, "borrow the set that owns the tensors",
                 "params_borrow: the set does not own its tensors");
    tlv_params *q = in_scope(child, p->schema);
    if (!q) return NULL;
    atomic_fetch_add(&((tlv_params *)p)->borrows, 1);
    tlvi_on_end(q->value[p->schema->n], give_back, &((tlv_params *)p)->borrows);
    memcpy(q->frozen, p->frozen, (size_t)p->schema->n);
    for (int i = 0; i < p->schema->n; i++) {
        const tlv_tensor *t = p->value[i];
        q->value[i] = tlvi_new_foreign(child, (tlv_dtype)t->dtype, tlv_shape_of(t), tlvi_ptr(t));
        if (!q->value[i]) return NULL;
        q->value[i]->flags |= t->flags & TLVI_T_WANT;
        q->value[i]->name = t->name;
    }
    return q;
}

double tlv_params_norm(tlv_ctx *c, const tlv_params *p)
{
    double sum = 0;
    for (int i = 0; !c->err && p && i < p->schema->n; i++) {
        if (!p->value[i] || p->schema->entry[i].is_buffer) continue;
        const tlv_tensor *t = tlvi_row_major(c, p->value[i]);
        if (t) sum += tlvi_ks(c, t->dtype)->row_sum_sq_dev((size_t)tlvi_numel(t), tlvi_ptr(t), 0);
    }
    return sqrt(sum);
}
