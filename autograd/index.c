/* index.c -- reading and writing at index tensors: gather and scatter_add are each other's
 * adjoints, so are take_along and put_along.  Sums run in index order: the same bits at any thread
 * count. */
#include "autograd/op.h"

enum { CHUNK_BYTES = 1 << 15, COLUMNS = 512 };

/* The blocks that a dense tensor and its other end share: [outer, n or k, inner] in memory. */
typedef struct blocks { int64_t outer, inner; } blocks;

/* t and u are dense in one order and differ in the size of the axis alone. */
static blocks blocks_around(const tlv_tensor *t, const tlv_tensor *u, int axis)
{
    blocks b = { 1, tlvi_numel(t->shape[axis] > 1 ? t : u) };
    if (t->shape[axis] > 1) b.inner = t->stride[axis];
    else if (u->shape[axis] > 1) b.inner = u->stride[axis];
    const tlv_tensor *full = t->shape[axis] > 1 ? t : u;
    int64_t run = b.inner * full->shape[axis];
    if (run > 0) b.outer = tlvi_numel(full) / run;
    if (t->shape[axis] <= 1 && u->shape[axis] <= 1) b.outer = 1;
    return b;
}

static int checked_axis(tlv_ctx *c, const char *op, int axis, int ndim, const tlv_tensor *x)
{
    int a = tlvi_axis(axis, ndim);
    if (a < 0)
        tlvi_fail(c, TLV_ERR_ARG, "axes run from -ndim to ndim-1", "%s: axis %d of x %s", op, axis,
                  tlvi_shape_str(x).s);
    return a;
}

/* Names the first index in row-major order that is outside 0 .. n-1. */
static void report_index(tlv_ctx *c, const char *op, const tlv_tensor *index, int64_t n)
{
    const tlv_tensor *rows = tlvi_row_major(c, index);
    if (!rows) return;
    const int32_t *v = tlvi_i32(rows);
    int64_t i = 0;
    while (v[i] >= 0 && v[i] < n) i++;
    tlvi_fail(c, TLV_ERR_INDEX, "indices count from 0",
              "%s: index %d at place %lld of %s is outside 0 .. %lld", op, v[i], (long long)i,
              tlvi_shape_str(index).s, (long long)n - 1);
}

/* Every value of a dense index must lie in 0 .. n-1. */
static int index_ok(tlv_ctx *c, const char *op, const tlv_tensor *index, int64_t n)
{
    const int32_t *v = tlvi_i32(index);
    int64_t count = tlvi_numel(index), bad = 0;
    for (int64_t i = 0; i < count; i++) bad |= v[i] < 0 || v[i] >= n;
    if (bad) report_index(c, op, index, n);
    return !bad;
}

/* The shape that has index's dims in place of axis. */
static int replaced(tlv_ctx *c, const char *op, const tlv_tensor *x, int axis,
                    const tlv_tensor *index, tlv_shape *s)
{
    int extra = index->ndim - 1;
    if (x->ndim + extra > TLV_MAX_DIMS) {
        tlvi_fail(c, TLV_ERR_LIMIT, "reshape to fewer dims",
                  "%s: x %s with index %s gives more than %d dims", op, tlvi_shape_str(x).s,
                  tlvi_shape_str(index).s, TLV_MAX_DIMS);
        return 0;
    }
    s->ndim = x->ndim + extra;
    for (int i = 0; i < axis; i++) s->dim[i] = x->shape[i];
    for (int i = 0; i < index->ndim; i++) s->dim[axis + i] = index->shape[i];
    for (int i = axis + 1; i < x->ndim; i++) s->dim[i + extra] = x->shape[i];
    return 1;
}

static int64_t product(const tlv_tensor *t, int from, int to)
{
    int64_t n = 1;
    for (int i = from; i < to; i++) n *= t->shape[i];
    return n;
}

/* ---- gather ---------------------------------------------------------------------------------- */

typedef struct rows_job {
    const tlvi_kset *k;
    size_t size;                            // of one element
    // [outer, n, inner] at index[count]: [outer, count, inner]
    int64_t outer, n, count, inner;
    int64_t per_chunk;
    const int32_t *index;
    const char *from;
    char *to;
} rows_job;

static void gather_chunk(void *arg, int64_t chunk, int worker)
{
    (void)worker;
    const rows_job *j = arg;
    int64_t lo = chunk * j->per_chunk, hi = lo + j->per_chunk, rows = j->outer * j->count;
    if (hi > rows) hi = rows;
    size_t bytes = (size_t)j->inner * j->size;
    for (int64_t r = lo; r < hi; r++) {
        int64_t row = r / j->count * j->n + j->index[r % j->count];
        memcpy(j->to + (size_t)r * bytes, j->from + (size_t)row * bytes, bytes);
    }
}

tlv_tensor *tlv_gather(tlv_ctx *c, const tlv_tensor *x, int axis, const tlv_tensor *index)
{
    if (!tlvi_ready2(c, "gather", x, index) || !tlvi_is_dtype(c, "gather", "index", index, TLV_I32))
        return NULL;
    int a = checked_axis(c, "gather", axis, x->ndim, x);
    tlv_shape s;
    if (a < 0 || !replaced(c, "gather", x, a, index, &s)) return NULL;
    int ordered = index->ndim == 1 && tlvi_is_dense(x);
    const tlv_tensor *from = ordered ? x : tlvi_row_major(c, x), *ix = tlvi_row_major(c, index);
    if (!from || !ix || !index_ok(c, "gather", ix, x->shape[a])) return NULL;
    tlv_tensor *y = ordered ? tlvi_new_ordered(c, (tlv_dtype)x->dtype, s,
                                               x) : tlvi_new(c, (tlv_dtype)x->dtype, s);
    if (!y) return NULL;
    blocks b = { product(from, 0, a), product(from, a + 1, from->ndim) };
    if (ordered) b = blocks_around(from, y, a);
    rows_job j = { .size = tlv_dtype_size((tlv_dtype)x->dtype), .outer = b.outer, .n = x->shape[a],
                   .count = tlvi_numel(ix), .inner = b.inner, .index = tlvi_i32(ix),
                   .from = tlvi_ptr(from), .to = tlvi_ptr(y) };
    if (tlvi_numel(y) > 0) {
        int64_t bytes = j.inner * (int64_t)j.size;
        j.per_chunk = bytes < CHUNK_BYTES ? CHUNK_BYTES / bytes : 1;
        tlvi_parallel_for(c, (j.outer * j.count - 1) / j.per_chunk + 1, bytes * j.per_chunk / 8,
                          gather_chunk, &j);
    }
    return tlvi_record2(c, TLV_OP_GATHER, y, x, index, &a, sizeof a);
}
TLVI_EXEC(GATHER) { return tlv_gather(c, tlvi_in(n, 0), *(const int *)n->attr, tlvi_in(n, 1)); }
/* dx = g's slices added where they came from */
TLVI_VJP(GATHER)
{
    int axis = *(const int *)n->attr;
    if (wants(n, 0)) d[0] = tlv_scatter_add(c, g, axis, tlvi_in(n, 1), tlvi_in(n, 0)->shape[axis]);
}

/* ---- scatter_add ----------------------------------------------------------------------------- */

/* Some columns of one outer block: outputs of its own, in index order. */
static void scatter_chunk(void *arg, int64_t chunk, int worker)
{
    (void)worker;
    const rows_job *j = arg;
    int64_t strips = (j->inner - 1) / COLUMNS + 1, o = chunk / strips,
        at = chunk % strips * COLUMNS;
    int64_t cols = j->inner - at < COLUMNS ? j->inner - at : COLUMNS;
    for (int64_t i = 0; i < j->count; i++) {
        int64_t from = (o * j->count + i) * j->inner + at,
            to = (o * j->n + j->index[i]) * j->inner + at;
        j->k->axpy((size_t)cols, 1, j->from + (size_t)from * j->size, j->to + (size_t)to * j->size);
    }
}

/* y's shape from g's: index's dims become one axis of n.  Returns the axis in y, or -1. */
static int scatter_shape(tlv_ctx *c, const tlv_tensor *g, int axis, const tlv_tensor *index,
                         int64_t n, tlv_shape *s)
{
    int ndim = g->ndim - index->ndim + 1, a = ndim >= 1 ? tlvi_axis(axis, ndim) : -1;
    int fits = a >= 0 && n >= 0 && ndim <= TLV_MAX_DIMS;
    for (int i = 0; fits && i < index->ndim; i++) fits = g->shape[a + i] == index->shape[i];
    if (!fits) {
        tlvi_fail(c, TLV_ERR_SHAPE,
                  "g has the dims of index from the axis on; the axis is one of the result",
                  "scatter_add: g is %s and index is %s, axis %d of size %lld", tlvi_shape_str(g).s,
                  tlvi_shape_str(index).s, axis, (long long)n);
        return -1;
    }
    s->ndim = ndim;
    for (int i = 0; i < a; i++) s->dim[i] = g->shape[i];
    s->dim[a] = n;
    for (int i = a + 1; i < ndim; i++) s->dim[i] = g->shape[i + index->ndim - 1];
    return a;
}

typedef struct scatter_attr { int axis; int64_t n; } scatter_attr;

tlv_tensor *tlv_scatter_add(tlv_ctx *c, const tlv_tensor *g, int axis, const tlv_tensor *index,
                            int64_t n)
{
    if (!tlvi_ready2(c, "scatter_add", g, index) || !tlvi_is_float(c, "scatter_add", g)
        || !tlvi_is_dtype(c, "scatter_add", "index", index, TLV_I32)) return NULL;
    tlv_shape s;
    int a = scatter_shape(c, g, axis, index, n, &s);
    if (a < 0) return NULL;
    int ordered = index->ndim == 1 && tlvi_is_dense(g);
    const tlv_tensor *from = ordered ? g : tlvi_row_major(c, g), *ix = tlvi_row_major(c, index);
    if (!from || !ix || !index_ok(c, "scatter_add", ix, n)) return NULL;
    tlv_tensor *y = ordered ? tlvi_new_ordered(c, (tlv_dtype)g->dtype, s,
                                               g) : tlvi_new(c, (tlv_dtype)g->dtype, s);
    if (!y) return NULL;
    blocks b = { product(y, 0, a), product(y, a + 1, y->ndim) };
    if (ordered) b = blocks_around(from, y, a);
    rows_job j = { .k = tlvi_ks(c, g->dtype), .size = tlv_dtype_size((tlv_dtype)g->dtype),
                   .outer = b.outer, .n = n, .count = tlvi_numel(ix), .inner = b.inner,
                   .index = tlvi_i32(ix), .from = tlvi_ptr(from), .to = tlvi_ptr(y) };
    memset(j.to, 0, (size_t)tlvi_numel(y) * j.size);
    if (tlvi_numel(from) > 0) {
        int64_t cols = j.inner < COLUMNS ? j.inner : COLUMNS;
        tlvi_parallel_for(c, j.outer * ((j.inner - 1) / COLUMNS + 1), j.count * (cols / 4 + 4),
                          scatter_chunk, &j);
    }
    scatter_attr at = { a, n };
    return tlvi_record2(c, TLV_OP_SCATTER_ADD, y, g, index, &at, sizeof at);
}
TLVI_EXEC(SCATTER_ADD)
{
    const scatter_attr *at = n->attr;
    return tlv_scatter_add(c, tlvi_in(n, 0), at->axis, tlvi_in(n, 1), at->n);
}
TLVI_VJP(SCATTER_ADD)
{
    const scatter_attr *at = n->attr;
    if (wants(n, 0)) d[0] = tlv_gather(c, g, at->axis, tlvi_in(n, 1));
}

/* ---- along an axis --------------------------------------------------------------------------- */

typedef struct along_job {
    const tlvi_kset *k;
    size_t size;
    int put;
    // a block of the full side is n * inner, of the index count * inner
    int64_t n, count, inner;
    const int32_t *index;
    const char *from;
    char *to;
} along_job;

static void along_chunk(void *arg, int64_t o, int worker)
{
    (void)worker;
    const along_job *j = arg;
    size_t full = (size_t)(o * j->n * j->inner), at = (size_t)(o * j->count * j->inner);
    size_t count = (size_t)j->count, inner = (size_t)j->inner;
    if (j->put)
        j->k->put_along(count, inner, j->index + at, j->from + at * j->size,
                        j->to + full * j->size);
    else
        j->k->take_along(count, inner, j->index + at, j->from + full * j->size,
                         j->to + at * j->size);
}

/* Dims of x and index must be equal but on the axis; put: on the axis too, whose size becomes n. */
static int along_axis(tlv_ctx *c, const char *op, const tlv_tensor *x, int axis,
                      const tlv_tensor *index, int put)
{
    if (!tlvi_ready2(c, op, x, index) || !tlvi_is_float(c, op, x)
        || !tlvi_is_dtype(c, op, "index", index, TLV_I32)) return -1;
    int a = checked_axis(c, op, axis, x->ndim, x);
    if (a < 0) return -1;
    int fits = index->ndim == x->ndim;
    for (int i = 0; fits && i < x->ndim; i++)
        fits = (i == a && !put) || index->shape[i] == x->shape[i];
    if (!fits)
        tlvi_fail(c, TLV_ERR_SHAPE,
                  put ? "their shapes must be equal" : "all dims but the axis must be equal",
                  "%s: the first input is %s but index is %s, on axis %d", op, tlvi_shape_str(x).s,
                  tlvi_shape_str(index).s, a);
    return fits ? a : -1;
}

/* index in the memory order of t, which is dense and has as many dims. */
static const tlv_tensor *index_like(tlv_ctx *c, const tlv_tensor *index, const tlv_tensor *t)
{
    tlv_tensor *ix = tlvi_new_ordered(c, TLV_I32, tlv_shape_of(index), t);
    if (ix) tlvi_copy_strided(c, index, ix);
    return ix;
}

/* full has the whole axis, part has index's shape; both dense in one order. */
static void along_run(tlv_ctx *c, const tlv_tensor *full, const tlv_tensor *part,
                      const tlv_tensor *ix, int axis, int put)
{
    const tlv_tensor *from = put ? part : full, *to = put ? full : part;
    if (tlvi_numel(part) == 0) return;
    blocks b = blocks_around(full, part, axis);
    along_job j = { .k = tlvi_ks(c, full->dtype), .size = tlv_dtype_size((tlv_dtype)full->dtype),
                    .put = put, .n = full->shape[axis], .count = part->shape[axis],
                    .inner = b.inner, .index = tlvi_i32(ix), .from = tlvi_ptr(from),
                    .to = tlvi_ptr(to) };
    tlvi_parallel_for(c, b.outer, j.count * j.inner * 2, along_chunk, &j);
}

tlv_tensor *tlv_take_along(tlv_ctx *c, const tlv_tensor *x, int axis, const tlv_tensor *index)
{
    int a = along_axis(c, "take_along", x, axis, index, 0);
    if (a < 0) return NULL;
    const tlv_tensor *from = tlvi_is_dense(x) ? x : tlvi_row_major(c, x);
    const tlv_tensor *ix = from ? index_like(c, index, from) : NULL;
    if (!ix || !index_ok(c, "take_along", ix, x->shape[a])) return NULL;
    tlv_tensor *y = tlvi_new_ordered(c, (tlv_dtype)x->dtype, tlv_shape_of(index), from);
    if (!y) return NULL;
    along_run(c, from, y, ix, a, 0);
    return tlvi_record2(c, TLV_OP_TAKE_ALONG, y, x, index, &a, sizeof a);
}
TLVI_EXEC(TAKE_ALONG)
{
    return tlv_take_along(c, tlvi_in(n, 0), *(const int *)n->attr, tlvi_in(n, 1));
}
TLVI_VJP(TAKE_ALONG)
{
    int axis = *(const int *)n->attr;
    if (wants(n, 0)) d[0] = tlv_put_along(c, g, axis, tlvi_in(n, 1), tlvi_in(n, 0)->shape[axis]);
}

tlv_tensor *tlv_put_along(tlv_ctx *c, const tlv_tensor *g, int axis, const tlv_tensor *index,
                          int64_t n)
{
    int a = along_axis(c, "put_along", g, axis, index, 1);
    if (a < 0) return NULL;
    TLVI_REQUIRE(c, n >= 0, TLV_ERR_ARG, "n is the size of the axis", "put_along: n is %lld",
                 (long long)n);
    const tlv_tensor *from = tlvi_is_dense(g) ? g : tlvi_row_major(c, g);
    const tlv_tensor *ix = from ? index_like(c, index, from) : NULL;
    if (!ix || !index_ok(c, "put_along", ix, n)) return NULL;
    tlv_shape s = tlv_shape_of(g);
    s.dim[a] = n;
    tlv_tensor *y = tlvi_new_ordered(c, (tlv_dtype)g->dtype, s, from);
    if (!y) return NULL;
    memset(tlvi_ptr(y), 0, (size_t)tlvi_numel(y) * tlv_dtype_size((tlv_dtype)y->dtype));
    along_run(c, y, from, ix, a, 1);
    scatter_attr at = { a, n };
    return tlvi_record2(c, TLV_OP_PUT_ALONG, y, g, index, &at, sizeof at);
}
TLVI_EXEC(PUT_ALONG)
{
    const scatter_attr *at = n->attr;
    return tlv_put_along(c, tlvi_in(n, 0), at->axis, tlvi_in(n, 1), at->n);
}
TLVI_VJP(PUT_ALONG)
{
    const scatter_attr *at = n->attr;
    if (wants(n, 0)) d[0] = tlv_take_along(c, g, at->axis, tlvi_in(n, 1));
}

/* ---- one-hot --------------------------------------------------------------------------------- */

tlv_tensor *tlv_one_hot(tlv_ctx *c, const tlv_tensor *index, int64_t n, tlv_dtype d)
{
    if (!tlvi_ready1(c, "one_hot", index) || !tlvi_is_dtype(c, "one_hot", "index", index, TLV_I32))
        return NULL;
    TLVI_REQUIRE(c, (d == TLV_F32 || d == TLV_F64) && n >= 0 && index->ndim < TLV_MAX_DIMS,
                 TLV_ERR_ARG, "d is TLV_F32 or TLV_F64, n >= 0",
                 "one_hot: index %s, n %lld, dtype %s", tlvi_shape_str(index).s, (long long)n,
                 tlv_dtype_name(d));
    const tlv_tensor *ix = tlvi_row_major(c, index);
    tlv_shape s = tlv_shape_of(index);
    s.dim[s.ndim++] = n;
    tlv_tensor *y = ix ? tlv_zeros(c, d, s) : NULL;
    if (!y) return NULL;
    const int32_t *v = tlvi_i32(ix);
    int64_t count = tlvi_numel(ix);
    for (int64_t i = 0; i < count; i++) {
        TLVI_REQUIRE(c, v[i] < n, TLV_ERR_INDEX, "a negative index gives zeros",
                     "one_hot: index %d at place %lld of %s is not below %lld", v[i], (long long)i,
                     tlvi_shape_str(index).s, (long long)n);
        if (v[i] < 0) continue;
        if (d == TLV_F64) ((double *)tlvi_ptr(y))[i * n + v[i]] = 1;
        else tlvi_f32(y)[i * n + v[i]] = 1;
    }
    return y;
}
