/* fold.c -- sums, products and extremes over some dims of a tensor.
 *
 * In memory order a dense tensor is a row of dims, some to be kept, some to be reduced.  Neighbours
 * of one sort are merged; then each reduced one, from the innermost outwards, is a pass over
 * [outer, n, inner]: rows are added into rows (inner > 1) or a row becomes a number (inner = 1).  A
 * pass that has few outputs and a long way to each is cut into pieces, and these are folded by
 * another pass. */
#include "tensor/fold.h"

enum { TASK = 16384, STRIP = 1024, FEW = 32, MIN_ROWS = 64, MAX_PARTIALS = 1 << 20 };

typedef struct fold_pass {
    const tlvi_kset *k;
    tlvi_fold_kind kind;
    size_t size;                        // of one element
    int64_t outer, n, inner;            // x is [outer, n, inner]
    int64_t rows, pieces; // n is cut into pieces of so many rows; y is [outer, pieces, inner]
    int64_t wide, strips;               // inner is cut into strips of so many columns
    int64_t group;                      // outer indices that one chunk takes
    const char *x;
    char *y;
} fold_pass;

static double empty_value(tlvi_fold_kind kind)
{
    static const double V[] = { 0, 1, -__builtin_inf(), __builtin_inf() };
    return V[kind];
}

/* ---- one piece ------------------------------------------------------------------------------- */

static void fold_row(const fold_pass *j, int64_t n, const char *x, char *y)
{
    double v = j->kind == TLVI_FOLD_SUM ? j->k->row_sum((size_t)n, x)
             : j->kind == TLVI_FOLD_PROD ? j->k->row_prod((size_t)n, x)
             : j->kind == TLVI_FOLD_MAX ? j->k->row_max((size_t)n, x) : j->k->row_min((size_t)n, x);
    j->k->fill(1, v, y);
}

static void fold_rows(const fold_pass *j, int64_t n, int64_t cols, const char *x, char *y)
{
    j->k->fill((size_t)cols, empty_value(j->kind), y);
    if (j->kind == TLVI_FOLD_SUM) {
        j->k->add_rows((size_t)n, (size_t)cols, (ptrdiff_t)j->inner, x, y);
        return;
    }
    tlvi_binary_fn f = j->k->binary[j->kind == TLVI_FOLD_PROD ? TLVI_BIN_MUL
                                    : j->kind == TLVI_FOLD_MAX ? TLVI_BIN_MAX : TLVI_BIN_MIN];
    for (int64_t i = 0; i < n; i++)
        f((size_t)cols, y, x + (size_t)(i * j->inner) * j->size, y, 0, 0);
}

static void fold_chunk(void *arg, int64_t i, int worker)
{
    (void)worker;
    const fold_pass *j = arg;
    int64_t col = i % j->strips * j->wide, piece = i / j->strips % j->pieces;
    int64_t first = i / j->strips / j->pieces * j->group;
    int64_t end = first + j->group < j->outer ? first + j->group : j->outer;
    int64_t cols = j->inner - col < j->wide ? j->inner - col : j->wide;
    int64_t row = piece * j->rows, n = j->n - row < j->rows ? j->n - row : j->rows;
    for (int64_t o = first; o < end; o++) {
        const char *x = j->x + (size_t)((o * j->n + row) * j->inner + col) * j->size;
        char *y = j->y + (size_t)((o * j->pieces + piece) * j->inner + col) * j->size;
        if (j->inner == 1) fold_row(j, n, x, y);
        else fold_rows(j, n, cols, x, y);
    }
}

/* ---- one pass -------------------------------------------------------------------------------- */

/* How the work is cut: by the shape alone. */
static void plan(fold_pass *j)
{
    j->wide = j->inner < 2 * STRIP ? j->inner : STRIP;
    j->strips = (j->inner + j->wide - 1) / j->wide;
    j->rows = j->n;
    j->pieces = 1;
    if (j->outer * j->strips < FEW && j->n * j->wide >= 4 * TASK) {
        int64_t most = MAX_PARTIALS / (j->outer * j->inner);
        int64_t rows = TASK / j->wide > MIN_ROWS ? TASK / j->wide : MIN_ROWS;
        if (most < 1) most = 1;
        j->rows = rows > (j->n + most - 1) / most ? rows : (j->n + most - 1) / most;
        j->pieces = (j->n + j->rows - 1) / j->rows;
    }
    int64_t work = j->rows * j->wide;
    j->group = j->pieces == 1 && j->strips == 1 && work < TASK ? TASK / (work + 1) + 1 : 1;
}

/* x [outer, n, inner] -> y [outer, inner]; no dim is 0. */
static tlv_status run_pass(tlv_ctx *c, fold_pass *j, char *y)
{
    plan(j);
    size_t bytes = (size_t)(j->outer * j->pieces * j->inner) * j->size;
    char *parts = j->pieces > 1 ? tlvi_alloc(c, bytes) : y;
    if (!parts) return c->err;
    j->y = parts;
    int64_t groups = (j->outer + j->group - 1) / j->group;
    tlvi_parallel_for(c, groups * j->pieces * j->strips, j->group * j->rows * j->wide / 4 + 1,
                      fold_chunk, j);
    if (j->pieces == 1) return c->err;
    fold_pass next = *j;
    next.x = parts;
    next.n = j->pieces;
    tlv_status st = run_pass(c, &next, y);
    tlvi_free(c, parts, bytes);
    return st;
}

/* ---- all passes ------------------------------------------------------------------------------ */

typedef struct fold_dims { int n; int64_t size[TLV_MAX_DIMS]; int reduce[TLV_MAX_DIMS]; } fold_dims;

/* The dims of a dense x in memory order, neighbours of one sort merged. */
static fold_dims dims_in_memory(const tlv_tensor *x, uint32_t reduce)
{
    int order[TLV_MAX_DIMS], n = 0;
    for (int i = 0; i < x->ndim; i++) {
        if (x->shape[i] == 1) continue;
        int at = n++;
        while (at > 0 && x->stride[order[at - 1]] < x->stride[i]) {
            order[at] = order[at - 1];
            at--;
        }
        order[at] = i;
    }
    fold_dims d = { .n = 0 };
    for (int k = 0; k < n; k++) {
        int r = (int)(reduce >> order[k] & 1);
        if (d.n == 0 || d.reduce[d.n - 1] != r) {
            d.size[d.n] = 1;
            d.reduce[d.n++] = r;
        }
        d.size[d.n - 1] *= x->shape[order[k]];
    }
    return d;
}

/* The innermost reduced dim, or -1. */
static int next_dim(const fold_dims *d)
{
    int k = d->n - 1;
    while (k >= 0 && !d->reduce[k]) k--;
    return k;
}

static tlv_status run_passes(tlv_ctx *c, tlvi_fold_kind kind, const tlv_tensor *x, fold_dims d,
                             tlv_tensor *y)
{
    fold_pass j = { .k = tlvi_ks(c, x->dtype),
                    .kind = kind,
                    .size = tlv_dtype_size((tlv_dtype)x->dtype) };
    const char *from = tlvi_ptr(x);
    char *mine = NULL;
    size_t mine_bytes = 0;
    for (int k = next_dim(&d); k >= 0 && !c->err; k = next_dim(&d)) {
        j.outer = j.inner = 1;
        for (int i = 0; i < k; i++) j.outer *= d.size[i];
        for (int i = k + 1; i < d.n; i++) j.inner *= d.size[i];
        j.n = d.size[k];
        j.x = from;
        d.size[k] = 1;
        d.reduce[k] = 0;
        size_t bytes = (size_t)(j.outer * j.inner) * j.size;
        char *to = next_dim(&d) < 0 ? tlvi_ptr(y) : tlvi_alloc(c, bytes);
        if (to) run_pass(c, &j, to);
        if (mine) tlvi_free(c, mine, mine_bytes);
        mine = next_dim(&d) < 0 ? NULL : to;
        mine_bytes = bytes;
        from = to;
    }
    if (mine) tlvi_free(c, mine, mine_bytes);
    return c->err;
}

/* y's leading dims beyond s, all 1, go away. */
static void drop_leading(tlv_tensor *y, tlv_shape s)
{
    int shift = y->ndim - s.ndim;
    for (int i = 0; i < s.ndim; i++) {
        y->shape[i] = y->shape[i + shift];
        y->stride[i] = y->stride[i + shift];
    }
    y->ndim = (uint8_t)s.ndim;
    if (tlvi_is_row_major(y)) tlvi_strides_row_major(y);
}

tlv_tensor *tlvi_fold(tlv_ctx *c, tlvi_fold_kind kind, const tlv_tensor *x, tlv_shape s)
{
    uint32_t reduce = 0;
    tlv_shape keep = tlv_shape_of(x);
    for (int i = 0; i < x->ndim; i++) {
        int at = i - (x->ndim - s.ndim);
        if (x->shape[i] == 1 || (at >= 0 && s.dim[at] != 1)) continue;
        reduce |= 1u << i;
        keep.dim[i] = 1;
    }
    tlv_tensor *y;
    if (!reduce) {
        y = tlvi_new_view(c, x);
        if (y) drop_leading(y, s);
        return y;
    }
    const tlv_tensor *h = tlvi_is_dense(x) ? x : tlvi_row_major(c, x);
    y = h ? tlvi_new_ordered(c, (tlv_dtype)x->dtype, keep, h) : NULL;
    if (!y) return NULL;
    int64_t count = tlvi_numel(y);
    if (tlvi_numel(x) == 0)
        tlvi_ks(c, x->dtype)->fill((size_t)count, empty_value(kind), tlvi_ptr(y));
    else run_passes(c, kind, h, dims_in_memory(h, reduce), y);
    if (h != x) tlvi_release(c, (tlv_tensor *)h);
    drop_leading(y, s);
    return c->err ? NULL : y;
}
