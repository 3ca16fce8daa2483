/* load.c -- parameter sets from files and to files: by name, strictly, all or nothing. */
#include <inttypes.h>
#include <stdio.h>

#include "nn/set.h"
#include "tensor/mapfile.h"
#include "tensor/safetensors.h"

enum { BLOCK_BYTES = 1024 };            /* of the file converted at a time */

static const char PREFIX[] = "module.", COUNTER[] = "num_batches_tracked";

/* Which tensor of the file fills which slot. */
typedef struct matching {
    tlv_ctx *c;
    const tlv_params *p;
    const tlv_file *f;
    const char *path;
    tlv_load_opts o;
    tlvi_rename rename;                 /* or NULL */
    int32_t *of_slot;                   /* [entries] index in the file, or -1 */
    uint8_t *used;                      /* [tensors of the file] */
    int prefixed;                       /* names that lost their "module." */
    tlv_load_report r;
} matching;

/* A few names for a sentence: "fc.weight, fc.bias and 3 more". */
typedef struct some_names { int n; char s[130]; } some_names;

static void add_name(some_names *l, const char *name)
{
    enum { SHOWN = 3 };
    size_t at = strlen(l->s);
    if (l->n++ < SHOWN)
        snprintf(l->s + at, sizeof l->s - at, "%s%.36s", at ? ", " : "",
                 tlvi_name_str(name, strlen(name)).s);
}

static tlvi_text said(const some_names *l)
{
    enum { SHOWN = 3 };
    tlvi_text t;
    int more = l->n > SHOWN ? l->n - SHOWN : 0;
    if (more) snprintf(t.s, sizeof t.s, "%s and %d more", l->s, more);
    else snprintf(t.s, sizeof t.s, "%s", l->s);
    return t;
}

/* ---- matching by name ------------------------------------------------------------------------ */

static int is_counter(const char *name)
{
    size_t n = strlen(name), k = sizeof COUNTER - 1;
    return n >= k && strcmp(name + n - k, COUNTER) == 0 && (n == k || name[n - k - 1] == '.');
}

static const char *without_prefix(const char *name)
{
    return strncmp(name, PREFIX, sizeof PREFIX - 1) == 0 ? name + sizeof PREFIX - 1 : name;
}

static int find_in_file(matching *m, const char *name)
{
    char theirs[256], longer[512];
    if (m->rename) {
        m->rename(name, theirs, sizeof theirs);
        name = theirs;
    }
    int i = tlv_file_find(m->f, name);
    if (i >= 0) return i;
    int len = snprintf(longer, sizeof longer, "%s%s", PREFIX, name);
    if (len < 0 || (size_t)len >= sizeof longer) return -1;
    i = tlv_file_find(m->f, longer);
    if (i >= 0) m->prefixed++;
    return i;
}

/* Every entry has its tensor, every tensor its entry; else the sentence lists what has not. */
static tlv_status match_names(matching *m)
{
    int n = tlv_params_count(m->p), n_file = tlv_file_count(m->f);
    some_names missing = { 0 }, unwanted = { 0 };
    for (int s = 0; s < n; s++) {
        const char *name = tlv_params_name(m->p, s);
        int i = m->of_slot[s] = find_in_file(m, name);
        if (i >= 0) {
            m->used[i] = 1;
            m->r.matched++;
        } else {
            m->r.missing++;
            if (!is_counter(name) && !tlv_match(m->o.allow_missing, name)) add_name(&missing, name);
        }
    }
    for (int i = 0; i < n_file; i++) {
        const char *name = tlv_file_name(m->f, i);
        if (m->used[i]) continue;
        const char *ignore = m->o.ignore;
        if (tlv_match(ignore, name) || tlv_match(ignore, without_prefix(name))) m->r.ignored++;
        else add_name(&unwanted, name);
    }

    tlvi_text path = tlvi_path_str(m->path);
    if (missing.n && unwanted.n)
        tlvi_fail(m->c, TLV_ERR_NAME, "is it of another architecture?  tlv-inspect lists its names",
                  "%s: %d of %d entries are missing (%s), %d of its %d tensors are not wanted (%s)",
                  path.s, missing.n, n, said(&missing).s, unwanted.n, n_file, said(&unwanted).s);
    else if (missing.n)
        tlvi_fail(m->c, TLV_ERR_NAME, "allow_missing names entries that may keep their values",
                  "%s: %d of %d entries are missing (%s)", path.s, missing.n, n,
                  said(&missing).s);
    else if (unwanted.n)
        tlvi_fail(m->c, TLV_ERR_NAME, "ignore names tensors that may be left out",
                  "%s: %d of its %d tensors are not wanted (%s)", path.s, unwanted.n, n_file,
                  said(&unwanted).s);
    return m->c->err;
}

/* ---- shapes and dtypes ----------------------------------------------------------------------- */

static int is_float_dtype(tlv_dtype d)
{
    return d == TLV_F32 || d == TLV_F64 || d == TLV_F16 || d == TLV_BF16;
}

/* Floating types become one another.  Whole numbers convert in buffers (counters) alone: a weight
 * of bytes is quantised and means something else. */
static int converts(tlv_dtype from, const tlvi_entry *e)
{
    if (from == (tlv_dtype)e->dtype || e->is_buffer) return 1;
    return is_float_dtype(from) && is_float_dtype((tlv_dtype)e->dtype);
}

/* A 1x1 convolution is a linear layer: in some files it stands as one, in others as the other. */
static tlv_shape without_tail(tlv_shape s)
{
    while (s.ndim > 2 && s.dim[s.ndim - 1] == 1) s.ndim--;
    return s;
}

static int same_shape(const matching *m, tlv_shape a, tlv_shape b)
{
    if (m->rename) {
        a = without_tail(a);
        b = without_tail(b);
    }
    return a.ndim == b.ndim && memcmp(a.dim, b.dim, (size_t)a.ndim * sizeof *a.dim) == 0;
}

static tlv_status match_shapes(matching *m)
{
    int bad = 0, first = -1;
    for (int s = 0; s < tlv_params_count(m->p); s++) {
        int i = m->of_slot[s];
        const tlvi_entry *e = &m->p->schema->entry[s];
        if (i < 0) continue;
        if (!same_shape(m, tlv_file_shape(m->f, i), e->shape)) {
            if (bad++ == 0) first = s;
            continue;
        }
        tlv_dtype from = tlv_file_dtype(m->f, i);
        TLVI_CHECK(m->c, converts(from, e), TLV_ERR_DTYPE, "save it as floating-point numbers",
                   "%s: %s is %s, want %s", tlvi_path_str(m->path).s, e->name, tlv_dtype_name(from),
                   tlv_dtype_name((tlv_dtype)e->dtype));
        m->r.converted += from != (tlv_dtype)e->dtype;
        m->r.numbers += tlvi_shape_numel(e->shape);
    }
    if (!bad) return m->c->err;

    char more[40] = "";
    if (bad > 1) snprintf(more, sizeof more, " (and %d more differ)", bad - 1);
    const tlvi_entry *e = &m->p->schema->entry[first];
    return tlvi_fail(m->c, TLV_ERR_SHAPE, "a head of another size: load with the file's number of "
                     "classes, then tlv_model_new_head", "%s: %s is %s, want %s%s",
                     tlvi_path_str(m->path).s, e->name,
                     tlvi_shape_text(tlv_file_shape(m->f, m->of_slot[first])).s,
                     tlvi_shape_text(e->shape).s, more);
}

/* ---- filling --------------------------------------------------------------------------------- */

/* n numbers of dtype `from` at src, which is aligned for it, to the kernels' own type. */
static void convert(const tlvi_kset *k, tlv_dtype from, size_t n, const void *src, void *dst)
{
    switch (from) {
    case TLV_F32: k->from_f32(n, src, dst); break;
    case TLV_F64: k->from_f64(n, src, dst); break;
    case TLV_F16: k->from_f16(n, src, dst); break;
    case TLV_BF16: k->from_bf16(n, src, dst); break;
    case TLV_I32: k->from_i32(n, src, dst); break;
    case TLV_I64: k->from_i64(n, src, dst); break;
    default: k->from_u8(n, src, dst); break;
    }
}

/* The same to any type; without kernels of its own, by way of f64, which holds every count. */
static void convert_block(tlv_ctx *c, tlv_dtype from, tlv_dtype to, size_t n, const void *src,
                          void *dst)
{
    double mid[BLOCK_BYTES];                            // from bytes, as many numbers
    const tlvi_kset *k = tlvi_ks(c, TLV_F64);
    if (to == TLV_F32 || to == TLV_F64) {
        convert(tlvi_ks(c, to), from, n, src, dst);
        return;
    }
    convert(k, from, n, src, mid);
    switch (to) {
    case TLV_I32: k->to_i32(n, mid, dst); break;
    case TLV_I64: k->to_i64(n, mid, dst); break;
    case TLV_F16: k->to_f16(n, mid, dst); break;
    case TLV_BF16: k->to_bf16(n, mid, dst); break;
    default: k->to_u8(n, mid, dst); break;
    }
}

/* Writes one slot; all that could fail was asked before. */
static void fill_slot(const matching *m, tlv_params *p, int slot)
{
    size_t bytes;
    int i = m->of_slot[slot];
    const char *src = tlvi_file_data(m->f, i, &bytes);
    tlv_dtype from = tlv_file_dtype(m->f, i), to = (tlv_dtype)p->schema->entry[slot].dtype;
    char *dst = tlvi_params_write(m->c, p, slot);
    if (!dst || !bytes) return;
    if (from == to) {
        memcpy(dst, src, bytes);
        return;
    }

    // Numbers in a file need no alignment: they pass through a block that has it.
    union { double align; unsigned char byte[BLOCK_BYTES]; } block;
    for (size_t at = 0; at < bytes; at += BLOCK_BYTES) {
        size_t part = bytes - at < BLOCK_BYTES ? bytes - at : BLOCK_BYTES;
        size_t n = part / tlv_dtype_size(from);
        memcpy(block.byte, src + at, part);
        convert_block(m->c, from, to, n, block.byte, dst);
        dst += n * tlv_dtype_size(to);
    }
}

static void add_text(tlv_load_report *r, const char *fmt, ...) TLVI_PRINTF(2, 3);
static void add_text(tlv_load_report *r, const char *fmt, ...)
{
    size_t at = strlen(r->text);
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(r->text + at, sizeof r->text - at, fmt, ap);
    va_end(ap);
}

/* "122 of 122 entries, 11699132 numbers, 20 converted, ..." */
static void describe(matching *m)
{
    tlv_load_report *r = &m->r;
    add_text(r, "%d of %d entries, %" PRId64 " numbers", r->matched, tlv_params_count(m->p),
             r->numbers);
    if (r->converted) add_text(r, ", %d converted", r->converted);
    if (r->missing) add_text(r, ", %d not in the file keep their values", r->missing);
    if (r->ignored) add_text(r, ", %d ignored", r->ignored);
    if (m->prefixed) add_text(r, ", prefix \"module.\" removed");
}

static tlv_status load(matching *m, tlv_params *p)
{
    for (int s = 0; s < tlv_params_count(p); s++)       // before anything is written
        TLVI_CHECK(m->c, p->owned && p->c == m->c && p->value[s] && atomic_load(&p->borrows) == 0,
                   TLV_ERR_STATE, "load into a set that owns its tensors, after tasks have ended",
                   "%s: the set cannot be written: it is %s", tlvi_path_str(m->path).s,
                   p->owned ? "borrowed or of another context" : "of a scope");
    if (match_names(m) != TLV_OK || match_shapes(m) != TLV_OK) return m->c->err;
    for (int s = 0; s < tlv_params_count(p); s++)
        if (m->of_slot[s] >= 0) fill_slot(m, p, s);
    describe(m);
    return m->c->err;
}

tlv_status tlvi_params_load_as(tlv_ctx *c, tlv_params *p, const char *path, tlv_load_opts o,
                               tlvi_rename rename, tlv_load_report *report)
{
    if (report) *report = (tlv_load_report){ 0 };
    c->in_hand[0] = NULL;
    TLVI_CHECK(c, p, TLV_ERR_ARG, NULL, "params_load: the set is NULL");
    tlv_file *f = tlv_file_open(c, path);
    if (!f) return c->err;

    size_t n = (size_t)tlv_params_count(p), n_file = (size_t)tlv_file_count(f);
    size_t bytes = n * sizeof(int32_t) + n_file;
    matching m = { .c = c, .p = p, .f = f, .path = path, .o = o, .rename = rename };
    m.of_slot = tlvi_alloc(c, bytes);
    if (m.of_slot) {
        m.used = (uint8_t *)(m.of_slot + n);
        memset(m.used, 0, n_file);
        load(&m, p);
        tlvi_free(c, m.of_slot, bytes);
    }
    tlv_file_close(f);
    if (report && c->err == TLV_OK) *report = m.r;
    return c->err;
}

tlv_status tlv_params_load(tlv_ctx *c, tlv_params *p, const char *path, tlv_load_opts o,
                           tlv_load_report *report)
{
    return tlvi_params_load_as(c, p, path, o, NULL, report);
}

/* ---- saving ---------------------------------------------------------------------------------- */

tlv_status tlv_params_save(tlv_ctx *c, const tlv_params *p, const char *path,
                           const char *const *meta)
{
    c->in_hand[0] = NULL;
    TLVI_CHECK(c, p, TLV_ERR_ARG, NULL, "params_save: the set is NULL");
    int n = tlv_params_count(p), k = 0;
    size_t bytes = (size_t)n * sizeof(tlv_file_item);
    tlv_file_item *items = c->err ? NULL : tlvi_alloc(c, bytes);
    if (!items) return c->err;
    for (int i = 0; i < n; i++)                         // a gradient of exactly zero has no tensor
        if (p->value[i]) items[k++] = (tlv_file_item){ p->schema->entry[i].name, p->value[i] };
    tlv_file_write(c, path, k, items, meta);
    tlvi_free(c, items, bytes);
    return c->err;
}
