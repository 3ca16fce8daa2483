/* safetensors.c -- files of named tensors: reading, strictly, and writing.
 *
 *     u64 little-endian length of the header | header: JSON, padded with blanks | data
 *     {"name": {"dtype":"F32", "shape":[2,3], "data_offsets":[0,24]}, "__metadata__": {"k":"v"}}
 *
 * Offsets count from the first byte of the data; every byte of it belongs to exactly one tensor.
 * Source: the format's description in huggingface/safetensors, README.md.
 *
 * The header is read twice, first counting, then keeping: memory is asked for what is there, never
 * for what a number in the file promises. */
#include "tensor/safetensors.h"

#include <inttypes.h>
#include <stdio.h>

#include "tensor/json.h"
#include "tensor/mapfile.h"
#include "tensor/sort.h"

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "values in files are little-endian: this CPU would have to swap them"
#endif

enum { MAX_HEADER = 100000000, LENGTH_BYTES = 8 };

static const char META[] = "__metadata__";

/* What is read (all) and written (the first of each dtype). */
static const struct { const char *name; tlv_dtype dtype; } DTYPES[] = {
    { "F32", TLV_F32 }, { "F16", TLV_F16 }, { "BF16", TLV_BF16 }, { "F64", TLV_F64 },
    { "I64", TLV_I64 }, { "I32", TLV_I32 }, { "U8", TLV_U8 },     { "BOOL", TLV_U8 },
};
enum { N_DTYPES = sizeof DTYPES / sizeof DTYPES[0] };

typedef struct entry {
    const char *name;
    tlv_dtype dtype;
    tlv_shape shape;
    int64_t begin, end;             /* in the data */
} entry;

typedef struct pair { const char *key, *value; } pair;

struct tlv_file {
    tlv_ctx *c;
    tlvi_mapfile map;
    const char *data;
    int64_t data_bytes;
    size_t bytes;                   /* of this block, with all that follows */
    int n, n_meta;
    entry *e;                       /* as in the header */
    pair *meta;
    int32_t *order;                 /* [n] entries by their place in the data */
    int32_t *by_name;               /* [n] places in `order`, by name */
    int32_t *by_key;                /* [n_meta] */
    char *text;                     /* names, keys, values */
};

/* ---- sorting --------------------------------------------------------------------------------- */

static const entry *at_place(const tlv_file *f, int i) { return &f->e[f->order[i]]; }

static int less_data(const void *arg, int32_t a, int32_t b)
{
    const entry *x = &((const tlv_file *)arg)->e[a], *y = &((const tlv_file *)arg)->e[b];
    if (x->begin != y->begin) return x->begin < y->begin;
    return x->end != y->end ? x->end < y->end : a < b;
}

static int less_name(const void *arg, int32_t a, int32_t b)
{
    return strcmp(at_place(arg, a)->name, at_place(arg, b)->name) < 0;
}

static int less_key(const void *arg, int32_t a, int32_t b)
{
    const pair *m = ((const tlv_file *)arg)->meta;
    return strcmp(m[a].key, m[b].key) < 0;
}

/* ---- parsing the header ---------------------------------------------------------------------- */

typedef struct parser {
    tlv_ctx *c;
    const char *path;
    tlvi_json j;
    int64_t data_bytes;
    tlv_file *f;                    /* NULL in the counting pass */
    int n, n_meta;                  /* entries and pairs so far */
    size_t text, cap_text;          /* bytes of strings so far, and the first pass's result */
    const char *name;               /* of the tensor at work, for sentences, or NULL */
    size_t name_len;
    char scratch[80];               /* the first pass keeps this much of a string */
} parser;

static const char *const SHORT_FILE = "the file is incomplete: copy or download it again";

/* "FILE: tensor 'NAME': ..."; returns 0. */
static int refuse(parser *p, const char *hint, const char *fmt, ...) TLVI_PRINTF(3, 4);
static int refuse(parser *p, const char *hint, const char *fmt, ...)
{
    char why[320], who[180] = "";
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(why, sizeof why, fmt, ap);
    va_end(ap);
    if (p->name)
        snprintf(who, sizeof who, "tensor '%s': ", tlvi_name_str(p->name, p->name_len).s);
    tlvi_fail(p->c, TLV_ERR_FORMAT, hint, "%s: %s%s", tlvi_path_str(p->path).s, who, why);
    return 0;
}

/* True while the JSON is in order. */
static int fine(parser *p)
{
    if (p->c->err) return 0;
    return p->j.bad ? refuse(p, NULL, "the header is not as it should be: %s", p->j.why) : 1;
}

/* The next string of the header; kept in the second pass, else its beginning in p->scratch. */
static const char *take_string(parser *p, size_t *len)
{
    char *dst = p->f ? p->f->text + p->text : p->scratch;
    size_t room = p->f ? p->cap_text - p->text : sizeof p->scratch;
    *len = tlvi_json_string(&p->j, dst, room);
    if (!fine(p)) return NULL;
    if (p->f && *len >= room) {
        refuse(p, "do not write to it meanwhile", "the file changed while it was read");
        return NULL;
    }
    dst[*len < room ? *len : room - 1] = 0;
    p->text += *len + 1;
    return dst;
}

static int take_dtype(parser *p, entry *e)
{
    char name[16];
    size_t len = tlvi_json_string(&p->j, name, sizeof name);
    if (!fine(p)) return 0;
    for (int i = 0; i < N_DTYPES; i++)
        if (strlen(DTYPES[i].name) == len && memcmp(DTYPES[i].name, name, len) == 0) {
            e->dtype = DTYPES[i].dtype;
            return 1;
        }
    return refuse(p, "convert it to F32 where the file was made",
                  "dtype %s; known are F32 F16 BF16 F64 I64 I32 U8 BOOL",
                  tlvi_name_str(name, len < sizeof name ? len : sizeof name).s);
}

static int take_shape(parser *p, entry *e)
{
    int n = 0;
    tlvi_json_open(&p->j, '[');
    while (tlvi_json_more(&p->j, &n, ']')) {
        if (n > TLV_MAX_DIMS) return refuse(p, NULL, "more than %d dims", TLV_MAX_DIMS);
        e->shape.dim[n - 1] = tlvi_json_int(&p->j);
    }
    e->shape.ndim = n;
    return fine(p);
}

static int take_offsets(parser *p, entry *e)
{
    int n = 0;
    tlvi_json_open(&p->j, '[');
    while (tlvi_json_more(&p->j, &n, ']')) {
        int64_t v = tlvi_json_int(&p->j);
        if (n == 1) e->begin = v;
        else e->end = v;
    }
    if (!fine(p)) return 0;
    return n == 2 ? 1 : refuse(p, NULL, "data_offsets of %d numbers, want begin and end", n);
}

/* Shape, dtype and offsets agree, and the data is there. */
static int check_entry(parser *p, const entry *e)
{
    int64_t bytes = (int64_t)tlv_dtype_size(e->dtype);
    int empty = 0, ok = 1;
    for (int i = 0; i < e->shape.ndim; i++) {
        int64_t d = e->shape.dim[i];
        empty |= d == 0;
        ok = ok && tlvi_mul_ok(bytes, d ? d : 1, &bytes);       // strides multiply past a 0 too
    }
    if (!ok || bytes > (int64_t)(PTRDIFF_MAX / 16))
        return refuse(p, NULL, "shape %s is too large for any memory", tlvi_shape_text(e->shape).s);
    if (empty) bytes = 0;
    if (e->begin > e->end)
        return refuse(p, NULL, "data_offsets [%" PRId64 ",%" PRId64 "] run backwards", e->begin,
                      e->end);
    if (e->end - e->begin != bytes)
        return refuse(p, NULL, "%s%s is %" PRId64 " bytes, but data_offsets [%" PRId64 ",%" PRId64
                      "] give it %" PRId64, tlv_dtype_name(e->dtype), tlvi_shape_text(e->shape).s,
                      bytes, e->begin, e->end, e->end - e->begin);
    if (e->end > p->data_bytes)
        return refuse(p, SHORT_FILE, "it ends at byte %" PRId64 " of the data, which has %" PRId64,
                      e->end, p->data_bytes);
    return 1;
}

/* {"dtype": .., "shape": .., "data_offsets": ..} in any order. */
static int take_tensor(parser *p, entry *e)
{
    static const char *const fields[] = { "dtype", "shape", "data_offsets" };
    static int (*const take[])(parser *, entry *) = { take_dtype, take_shape, take_offsets };
    unsigned seen = 0;
    int n = 0;
    tlvi_json_open(&p->j, '{');
    while (tlvi_json_more(&p->j, &n, '}')) {
        char key[24];
        size_t len = tlvi_json_string(&p->j, key, sizeof key);
        tlvi_json_colon(&p->j);
        if (!fine(p)) return 0;
        size_t i = 0;
        while (i < 3 && !(strlen(fields[i]) == len && memcmp(fields[i], key, len) == 0)) i++;
        if (i == 3)
            return refuse(p, NULL, "an unknown field '%s'",
                          tlvi_name_str(key, len < sizeof key ? len : sizeof key).s);
        if (seen & 1u << i) return refuse(p, NULL, "'%s' stands there twice", fields[i]);
        seen |= 1u << i;
        if (!take[i](p, e)) return 0;
    }
    if (!fine(p)) return 0;
    for (int i = 0; i < 3; i++)
        if (!(seen & 1u << i)) return refuse(p, NULL, "it has no '%s'", fields[i]);
    return check_entry(p, e);
}

static int take_meta(parser *p)
{
    int n = 0;
    tlvi_json_open(&p->j, '{');
    while (tlvi_json_more(&p->j, &n, '}')) {
        size_t len;
        pair m = { 0 };
        m.key = take_string(p, &len);
        tlvi_json_colon(&p->j);
        if (!fine(p) || !(m.value = take_string(p, &len))) return 0;
        if (p->f && p->n_meta < p->f->n_meta) p->f->meta[p->n_meta] = m;
        p->n_meta++;
    }
    return fine(p);
}

/* One pass over the header. */
static int take_header(parser *p)
{
    int n = 0, meta_seen = 0;
    tlvi_json_open(&p->j, '{');
    while (tlvi_json_more(&p->j, &n, '}')) {
        size_t len;
        const char *name = take_string(p, &len);
        tlvi_json_colon(&p->j);
        if (!fine(p)) return 0;
        if (len == sizeof META - 1 && memcmp(name, META, len) == 0) {
            if (meta_seen++) return refuse(p, NULL, "%s stands there twice", META);
            if (!take_meta(p)) return 0;
            continue;
        }
        entry e = { .name = name };
        p->name = name;
        p->name_len = len < sizeof p->scratch ? len : strlen(name);
        if (!take_tensor(p, &e)) return 0;
        p->name = NULL;
        if (p->f && p->n < p->f->n) p->f->e[p->n] = e;
        p->n++;
    }
    tlvi_json_end(&p->j);
    return fine(p);
}

/* ---- checking the whole ---------------------------------------------------------------------- */

static int check_names(parser *p, const tlv_file *f)
{
    for (int i = 1; i < f->n; i++) {
        const char *name = at_place(f, f->by_name[i])->name;
        if (strcmp(at_place(f, f->by_name[i - 1])->name, name) == 0)
            return refuse(p, NULL, "two tensors are named '%s'",
                          tlvi_name_str(name, strlen(name)).s);
    }
    for (int i = 1; i < f->n_meta; i++) {
        const char *key = f->meta[f->by_key[i]].key;
        if (strcmp(f->meta[f->by_key[i - 1]].key, key) == 0)
            return refuse(p, NULL, "%s holds '%s' twice", META, tlvi_name_str(key, strlen(key)).s);
    }
    return 1;
}

/* Every byte of the data belongs to exactly one tensor. */
static int check_cover(parser *p, const tlv_file *f)
{
    int64_t at = 0;
    for (int i = 0; i < f->n; i++) {
        const entry *e = at_place(f, i);
        p->name = e->name;
        p->name_len = strlen(e->name);
        if (e->begin != at)
            return refuse(p, NULL, "it begins at byte %" PRId64 " of the data, want %" PRId64
                          ": %s", e->begin, at, e->begin < at ? "an overlap" : "a gap");
        at = e->end;
    }
    p->name = NULL;
    if (at != f->data_bytes)
        return refuse(p, NULL, "the tensors end at byte %" PRId64 " of the data, which has %"
                      PRId64, at, f->data_bytes);
    return 1;
}

/* ---- opening --------------------------------------------------------------------------------- */

/* A block for what the first pass counted. */
static tlv_file *file_new(const parser *count)
{
    size_t n = (size_t)count->n, n_meta = (size_t)count->n_meta;
    size_t bytes = sizeof(tlv_file) + n * sizeof(entry) + n_meta * sizeof(pair)
                   + (2 * n + n_meta) * sizeof(int32_t) + count->text;
    tlv_file *f = tlvi_alloc(count->c, bytes);
    if (!f) return NULL;
    *f = (tlv_file){ .c = count->c, .bytes = bytes, .n = count->n, .n_meta = count->n_meta };
    f->e = (entry *)(void *)(f + 1);
    f->meta = (pair *)(void *)(f->e + n);
    f->order = (int32_t *)(void *)(f->meta + n_meta);
    f->by_name = f->order + n;
    f->by_key = f->by_name + n;
    f->text = (char *)(f->by_key + n_meta);
    return f;
}

static int fill(parser *p, const parser *count, const char *header, size_t header_bytes)
{
    tlv_file *f = p->f;
    tlvi_json_begin(&p->j, header, header_bytes);
    p->cap_text = count->text;
    if (!take_header(p)) return 0;
    if (p->n != f->n || p->n_meta != f->n_meta)
        return refuse(p, "do not write to it meanwhile", "the file changed while it was read");
    tlvi_sort_indices(f->order, f->n, less_data, f);
    tlvi_sort_indices(f->by_name, f->n, less_name, f);
    tlvi_sort_indices(f->by_key, f->n_meta, less_key, f);
    return check_names(p, f) && check_cover(p, f);
}

/* Names what a file looks like that is something else. */
static int check_magic(parser *p, const void *bytes, size_t n)
{
    static const struct { const char *magic; size_t n; const char *what; } OTHER[] = {
        { "PK\3\4", 4, "a zip archive (PyTorch's .pth, NumPy's .npz)" },
        { "\x80\2", 2, "a Python pickle (PyTorch's older .pth)" },
        { "\x89HDF", 4, "HDF5 (Keras)" },
        { "GGUF", 4, "GGUF" },
        { "\x93NUMPY", 6, "NumPy's .npy" },
        { "version https://git-lfs", 23, "a Git LFS pointer, not the file itself" },
        { "<!DOCTYPE", 9, "a web page" },
        { "<html", 5, "a web page" },
        { "{", 1, "plain JSON" },
    };
    for (size_t i = 0; i < sizeof OTHER / sizeof OTHER[0]; i++)
        if (n >= OTHER[i].n && memcmp(bytes, OTHER[i].magic, OTHER[i].n) == 0)
            return refuse(p, "a .safetensors file is wanted",
                          "this is not a safetensors file: it looks like %s", OTHER[i].what);
    return 1;
}

/* The length that the file begins with. */
static int check_length(parser *p, const char *bytes, size_t n, size_t *header)
{
    uint64_t length = 0;
    if (n >= LENGTH_BYTES) memcpy(&length, bytes, LENGTH_BYTES);
    int fits = n >= LENGTH_BYTES && length <= n - LENGTH_BYTES && length <= MAX_HEADER;
    if (!fits && !check_magic(p, bytes, n)) return 0;
    if (n < LENGTH_BYTES)
        return refuse(p, SHORT_FILE, "%zu bytes are too few: 8 bytes of length come first", n);
    if (length > MAX_HEADER)
        return refuse(p, "is this a safetensors file?",
                      "a header of %" PRIu64 " bytes is announced; %d is the most", length,
                      MAX_HEADER);
    if (length > n - LENGTH_BYTES)
        return refuse(p, SHORT_FILE, "a header of %" PRIu64 " bytes is announced, only %zu follow",
                      length, n - LENGTH_BYTES);
    if (length == 0 || bytes[LENGTH_BYTES] != '{')
        return refuse(p, "is this a safetensors file?", "the header does not begin with '{'");
    *header = (size_t)length;
    return 1;
}

tlv_file *tlvi_file_parse(tlv_ctx *c, const char *path, const void *bytes, size_t n)
{
    if (c->err) return NULL;
    const char *header = (const char *)bytes + LENGTH_BYTES;
    size_t header_bytes = 0;
    parser count = { .c = c, .path = path };
    c->in_hand[0] = NULL;
    if (!check_length(&count, bytes, n, &header_bytes)) return NULL;
    count.data_bytes = (int64_t)(n - LENGTH_BYTES - header_bytes);
    tlvi_json_begin(&count.j, header, header_bytes);
    if (!take_header(&count)) return NULL;

    tlv_file *f = file_new(&count);
    if (!f) return NULL;
    f->data = header + header_bytes;
    f->data_bytes = count.data_bytes;
    parser p = { .c = c, .path = path, .data_bytes = count.data_bytes, .f = f };
    if (fill(&p, &count, header, header_bytes)) return f;
    tlvi_free(c, f, f->bytes);
    return NULL;
}

tlv_file *tlv_file_open(tlv_ctx *c, const char *path)
{
    TLVI_REQUIRE(c, path, TLV_ERR_ARG, "give a path", "file_open: path is NULL");
    tlvi_mapfile map;
    c->in_hand[0] = NULL;
    if (tlvi_mapfile_open(c, path, 0, &map) != TLV_OK) return NULL;
    tlv_file *f = tlvi_file_parse(c, path, map.data, map.bytes);
    if (f) f->map = map;
    else tlvi_mapfile_close(c, &map);
    return f;
}

void tlv_file_close(tlv_file *f)
{
    if (!f) return;
    tlvi_mapfile_close(f->c, &f->map);
    tlvi_free(f->c, f, f->bytes);
}

/* ---- what is in a file ----------------------------------------------------------------------- */

static const entry *in_range(const tlv_file *f, int i)
{
    return f && i >= 0 && i < f->n ? at_place(f, i) : NULL;
}

int tlv_file_count(const tlv_file *f) { return f ? f->n : 0; }

const char *tlv_file_name(const tlv_file *f, int i)
{
    const entry *e = in_range(f, i);
    return e ? e->name : "";
}

tlv_dtype tlv_file_dtype(const tlv_file *f, int i)
{
    const entry *e = in_range(f, i);
    return e ? e->dtype : TLV_F32;
}

tlv_shape tlv_file_shape(const tlv_file *f, int i)
{
    const entry *e = in_range(f, i);
    return e ? e->shape : TLV_SCALAR;
}

int tlv_file_find(const tlv_file *f, const char *name)
{
    int lo = 0, hi = f && name ? f->n : 0;
    while (lo < hi) {
        int mid = lo + (hi - lo) / 2, cmp = strcmp(at_place(f, f->by_name[mid])->name, name);
        if (cmp == 0) return f->by_name[mid];
        if (cmp < 0) lo = mid + 1;
        else hi = mid;
    }
    return -1;
}

int tlv_file_meta_count(const tlv_file *f) { return f ? f->n_meta : 0; }

const char *tlv_file_meta_key(const tlv_file *f, int i)
{
    return f && i >= 0 && i < f->n_meta ? f->meta[i].key : "";
}

const char *tlv_file_meta(const tlv_file *f, const char *key)
{
    int lo = 0, hi = f && key ? f->n_meta : 0;
    while (lo < hi) {
        int mid = lo + (hi - lo) / 2, cmp = strcmp(f->meta[f->by_key[mid]].key, key);
        if (cmp == 0) return f->meta[f->by_key[mid]].value;
        if (cmp < 0) lo = mid + 1;
        else hi = mid;
    }
    return NULL;
}

const void *tlvi_file_data(const tlv_file *f, int i, size_t *bytes)
{
    const entry *e = in_range(f, i);
    *bytes = e ? (size_t)(e->end - e->begin) : 0;
    return e ? f->data + e->begin : NULL;
}

tlv_tensor *tlv_file_read(tlv_ctx *c, const tlv_file *f, int i)
{
    if (c->err) return NULL;
    c->in_hand[0] = NULL;
    TLVI_REQUIRE(c, in_range(f, i), TLV_ERR_ARG, "tlv_file_find gives -1 for an unknown name",
                 "file_read: tensor %d of %d", i, tlv_file_count(f));
    tlv_tensor *t = tlvi_new(c, tlv_file_dtype(f, i), tlv_file_shape(f, i));
    if (!t) return NULL;
    size_t bytes;
    const void *data = tlvi_file_data(f, i, &bytes);
    if (bytes) memcpy(tlvi_ptr(t), data, bytes);        // the file need not be aligned
    return t;
}

/* ---- writing --------------------------------------------------------------------------------- */

/* Text that is first measured (dst NULL), then written. */
typedef struct sink { char *dst; size_t n; } sink;

static void put(sink *s, const char *text, size_t n)
{
    if (s->dst) memcpy(s->dst + s->n, text, n);
    s->n += n;
}

static void put_text(sink *s, const char *text) { put(s, text, strlen(text)); }

static void put_quoted(sink *s, const char *text)
{
    s->n += tlvi_json_quote(s->dst ? s->dst + s->n : NULL, text);
}

static void put_int(sink *s, int64_t v)
{
    char digits[24];
    put(s, digits, (size_t)snprintf(digits, sizeof digits, "%" PRId64, v));
}

static const char *file_dtype(const tlv_tensor *t)
{
    int i = 0;
    while ((int)DTYPES[i].dtype != t->dtype) i++;
    return DTYPES[i].name;
}

static int64_t bytes_of(const tlv_tensor *t)
{
    return tlvi_numel(t) * (int64_t)tlv_dtype_size((tlv_dtype)t->dtype);
}

/* The header with the blanks that make its length a multiple of 8. */
static void put_header(sink *s, int n, const tlv_file_item *items, const char *const *meta)
{
    int64_t at = 0;
    put_text(s, "{");
    if (meta && meta[0]) {
        put_text(s, "\"__metadata__\":{");
        for (int i = 0; meta[i]; i += 2) {
            if (i) put_text(s, ",");
            put_quoted(s, meta[i]);
            put_text(s, ":");
            put_quoted(s, meta[i + 1]);
        }
        put_text(s, n ? "}," : "}");
    }
    for (int i = 0; i < n; i++) {
        const tlv_tensor *t = items[i].t;
        if (i) put_text(s, ",");
        put_quoted(s, items[i].name);
        put_text(s, ":{\"dtype\":\"");
        put_text(s, file_dtype(t));
        put_text(s, "\",\"shape\":[");
        for (int d = 0; d < t->ndim; d++) {
            if (d) put_text(s, ",");
            put_int(s, t->shape[d]);
        }
        put_text(s, "],\"data_offsets\":[");
        put_int(s, at);
        put_text(s, ",");
        put_int(s, at += bytes_of(t));
        put_text(s, "]}");
    }
    put_text(s, "}");
    while (s->n % 8) put_text(s, " ");
}

static int less_item(const void *arg, int32_t a, int32_t b)
{
    const tlv_file_item *items = arg;
    return strcmp(items[a].name, items[b].name) < 0;
}

/* Every tensor can be read; every name is one that a reader takes, once. */
static tlv_status check_items(tlv_ctx *c, const char *path, int n, const tlv_file_item *items)
{
    for (int i = 0; i < n; i++) {
        const char *name = items[i].name;
        TLVI_CHECK(c, name && tlvi_utf8_ok(name) && strcmp(name, META) != 0, TLV_ERR_ARG,
                   "names are UTF-8 text and not __metadata__", "%s: item %d has no usable name",
                   tlvi_path_str(path).s, i);
        if (!tlvi_ready1(c, "file_write", items[i].t)) return c->err;
        c->in_hand[0] = NULL;
    }
    size_t bytes = (size_t)n * sizeof(int32_t);
    int32_t *by_name = tlvi_alloc(c, bytes);
    if (!by_name) return c->err;
    tlvi_sort_indices(by_name, n, less_item, items);
    for (int i = 1; i < n; i++)
        if (strcmp(items[by_name[i - 1]].name, items[by_name[i]].name) == 0)
            tlvi_fail(c, TLV_ERR_ARG, "give each tensor its own name",
                      "%s: two tensors are named '%s'", tlvi_path_str(path).s,
                      tlvi_name_str(items[by_name[i]].name, strlen(items[by_name[i]].name)).s);
    tlvi_free(c, by_name, bytes);
    return c->err;
}

static tlv_status check_meta(tlv_ctx *c, const char *path, const char *const *meta)
{
    for (int i = 0; meta && meta[i]; i += 2) {
        int ok = meta[i + 1] && tlvi_utf8_ok(meta[i]) && tlvi_utf8_ok(meta[i + 1]);
        TLVI_CHECK(c, ok, TLV_ERR_ARG, "meta is key, value, key, value ... NULL, in UTF-8",
                   "%s: meta %d has no usable value", tlvi_path_str(path).s, i / 2);
        for (int k = 0; k < i; k += 2)
            TLVI_CHECK(c, strcmp(meta[k], meta[i]) != 0, TLV_ERR_ARG, "give each key once",
                       "%s: meta holds '%s' twice", tlvi_path_str(path).s,
                       tlvi_name_str(meta[i], strlen(meta[i])).s);
    }
    return TLV_OK;
}

/* Row-major, whatever order it has in memory; a copy lives for this one tensor only. */
static void write_tensor(tlv_ctx *c, tlvi_newfile *f, const tlv_tensor *t)
{
    tlv_scope s = tlv_scope_begin_with(c, TLV_NO_GRAD);
    const tlv_tensor *r = tlvi_row_major(c, t);
    if (r) tlvi_newfile_write(f, tlvi_ptr(r), (size_t)bytes_of(r));
    tlv_scope_end(c, s);
}

tlv_status tlv_file_write(tlv_ctx *c, const char *path, int n, const tlv_file_item *items,
                          const char *const *meta)
{
    if (c->err) return c->err;
    c->in_hand[0] = NULL;
    TLVI_CHECK(c, path && n >= 0 && (n == 0 || items), TLV_ERR_ARG, NULL,
               "file_write: %d items at %p to %s", n, (const void *)items, path ? path : "NULL");
    if (check_items(c, path, n, items) != TLV_OK) return c->err;
    if (check_meta(c, path, meta) != TLV_OK) return c->err;

    sink size = { 0 };
    put_header(&size, n, items, meta);
    TLVI_CHECK(c, size.n <= MAX_HEADER, TLV_ERR_LIMIT, "write several files",
               "%s: a header of %zu bytes; readers take %d", tlvi_path_str(path).s, size.n,
               MAX_HEADER);
    char *header = tlvi_alloc(c, LENGTH_BYTES + size.n);
    if (!header) return c->err;
    uint64_t length = size.n;
    memcpy(header, &length, LENGTH_BYTES);
    put_header(&(sink){ .dst = header + LENGTH_BYTES }, n, items, meta);

    tlvi_newfile f;
    tlvi_newfile_open(c, path, &f);
    tlvi_newfile_write(&f, header, LENGTH_BYTES + size.n);
    for (int i = 0; i < n; i++) write_tensor(c, &f, items[i].t);
    tlvi_free(c, header, LENGTH_BYTES + size.n);
    return tlvi_newfile_close(&f);
}
