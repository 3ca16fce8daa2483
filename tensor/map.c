/* map.c -- loops over strided tensors.
 *
 * A map sees its dense output as one flat run.  An operand with the same memory order is read in
 * place; any other is gathered, a block of it at a time, so that kernels meet contiguous memory
 * only. */
#include "tensor/core.h"

enum { BLOCK = 512, CHUNK = 16384, MAX_IN = 4 };

typedef struct operand {
    const char *ptr;
    size_t size;                                    // of one element
    int flat;                                       // 1: contiguous like the output, 0: gather
    int64_t stride[TLV_MAX_DIMS];                   // in elements, by the loop's dims; 0 broadcasts
} operand;

typedef struct map_job {
    tlvi_map_fn fn;
    const void *arg;
    int n_in, ndim, any_gather;
    int64_t n, shape[TLV_MAX_DIMS];                 // outermost first, in the output's memory order
    operand in[MAX_IN];
    char *out;
    size_t out_size;
} map_job;

/* ---- gathering ------------------------------------------------------------------------------- */

#define STRIDED_COPY(T)                                                                            \
    do {                                                                                           \
        const T *s = (const T *)(const void *)src;                                                 \
        T *d = (T *)(void *)dst;                                                                   \
        for (int64_t i = 0; i < n; i++) d[i * ds] = s[i * ss];                                     \
    } while (0)

/* n elements of `size` bytes; strides in elements. */
static void copy_run(size_t size, int64_t n, const char *src, int64_t ss, char *dst, int64_t ds)
{
    if (ss == 1 && ds == 1) { memcpy(dst, src, (size_t)n * size); return; }
    switch (size) {
    case 1: STRIDED_COPY(uint8_t); break;
    case 2: STRIDED_COPY(uint16_t); break;
    case 4: STRIDED_COPY(uint32_t); break;
    default: STRIDED_COPY(uint64_t); break;
    }
}

/* Elements lo .. lo+n-1 of an operand, in the output's flat order, into dst. */
static void gather(int ndim, const int64_t *shape, const operand *o, int64_t lo, int64_t n,
                   char *dst)
{
    int64_t at[TLV_MAX_DIMS] = { 0 }, rest = lo, pos = 0;
    for (int d = ndim - 1; d >= 0 && rest > 0; d--) {
        at[d] = rest % shape[d];
        rest /= shape[d];
        pos += at[d] * o->stride[d];
    }
    int last = ndim - 1;
    while (n > 0) {
        int64_t run = shape[last] - at[last];
        if (run > n) run = n;
        copy_run(o->size, run, o->ptr + pos * (int64_t)o->size, o->stride[last], dst, 1);
        dst += run * (int64_t)o->size;
        n -= run;
        pos += run * o->stride[last];
        at[last] += run;
        for (int d = last; d > 0 && at[d] == shape[d]; d--) {
            pos += o->stride[d - 1] - shape[d] * o->stride[d];
            at[d] = 0;
            at[d - 1]++;
        }
    }
}

static void map_chunk(void *arg, int64_t chunk, int worker)
{
    (void)worker;
    const map_job *j = arg;
    int64_t lo = chunk * CHUNK, hi = lo + CHUNK < j->n ? lo + CHUNK : j->n;
    int64_t step = j->any_gather ? BLOCK : CHUNK;
    uint64_t scratch[MAX_IN][BLOCK];
    for (int64_t b = lo; b < hi; b += step) {
        int64_t n = hi - b < step ? hi - b : step;
        const void *in[MAX_IN];
        for (int i = 0; i < j->n_in; i++) {
            const operand *o = &j->in[i];
            in[i] = o->flat ? o->ptr + b * (int64_t)o->size : (const char *)scratch[i];
            if (!o->flat) gather(j->ndim, j->shape, o, b, n, (char *)scratch[i]);
        }
        j->fn(j->arg, (size_t)n, in, j->out + b * (int64_t)j->out_size);
    }
}

/* ---- preparing ------------------------------------------------------------------------------- */

/* dims of t without those of size 1, by descending stride; returns their number. */
static int order_dims(const tlv_tensor *t, int *order)
{
    int n = 0;
    for (int i = 0; i < t->ndim; i++) {
        if (t->shape[i] == 1) continue;
        int at = n++;
        while (at > 0 && t->stride[order[at - 1]] < t->stride[i]) {
            order[at] = order[at - 1];
            at--;
        }
        order[at] = i;
    }
    return n;
}

static void add_operand(map_job *j, const tlv_tensor *out, const int *order, int nd,
                        const tlv_tensor *t)
{
    operand *o = &j->in[j->n_in++];
    o->ptr = tlvi_ptr(t);
    o->size = tlv_dtype_size((tlv_dtype)t->dtype);
    int shift = out->ndim - t->ndim;
    o->flat = 1;
    for (int d = 0; d < nd; d++) {
        int i = order[d] - shift;
        o->stride[d] = i < 0 || t->shape[i] == 1 ? 0 : t->stride[i];
        if (o->stride[d] != out->stride[order[d]]) o->flat = 0;
    }
}

/* Merges neighbouring dims that every gathered operand walks like one. */
static void coalesce(map_job *j)
{
    int w = 0;
    for (int d = 1; d < j->ndim; d++) {
        int one = 1;
        for (int i = 0; i < j->n_in; i++)
            if (j->in[i].stride[w] != j->in[i].stride[d] * j->shape[d]) one = 0;
        if (one) {
            j->shape[w] *= j->shape[d];
        } else {
            w++;
            j->shape[w] = j->shape[d];
        }
        for (int i = 0; i < j->n_in; i++) j->in[i].stride[w] = j->in[i].stride[d];
    }
    j->ndim = w + 1;
}

static int lies_like(const tlv_tensor *t, const tlv_tensor *out)
{
    if (t->ndim != out->ndim) return 0;
    for (int i = 0; i < out->ndim; i++)
        if (t->shape[i] != out->shape[i]
            || (t->stride[i] != out->stride[i] && out->shape[i] != 1)) return 0;
    return 1;
}

/* One call without a plan: a chunk at most, and what does not lie like out is a block at most that
 * goes to a row-major out. */
static int map_small(tlvi_map_fn fn, const void *arg, int n_in, const tlv_tensor *const *in,
                     const tlv_tensor *out)
{
    int64_t n = tlvi_numel(out);
    const void *ptr[MAX_IN];
    uint64_t scratch[MAX_IN][BLOCK];
    int in_order = n > 0 && n <= BLOCK && out->ndim > 0 && tlvi_is_row_major(out);
    if (n > CHUNK) return 0;
    for (int k = 0; k < n_in; k++) {
        const tlv_tensor *t = in[k];
        ptr[k] = tlvi_ptr(t);
        if (lies_like(t, out)) continue;
        if (!in_order) return 0;
        operand o = { .ptr = ptr[k], .size = tlv_dtype_size((tlv_dtype)t->dtype) };
        for (int d = 0, i = t->ndim - out->ndim; d < out->ndim; d++, i++)
            o.stride[d] = i < 0 || t->shape[i] == 1 ? 0 : t->stride[i];
        gather(out->ndim, out->shape, &o, 0, n, (char *)scratch[k]);
        ptr[k] = scratch[k];
    }
    if (n) fn(arg, (size_t)n, ptr, tlvi_ptr(out));
    return 1;
}

void tlvi_map(tlv_ctx *c, tlvi_map_fn fn, const void *arg, int n_in, const tlv_tensor *const *in,
              tlv_tensor *out)
{
    if (map_small(fn, arg, n_in, in, out)) return;
    map_job j;
    j.fn = fn;
    j.arg = arg;
    j.n = tlvi_numel(out);
    j.n_in = j.any_gather = 0;
    if (j.n == 0) return;
    int order[TLV_MAX_DIMS], nd = order_dims(out, order);
    for (int i = 0; i < n_in; i++) {
        add_operand(&j, out, order, nd, in[i]);
        if (!j.in[i].flat) j.any_gather = 1;
    }
    j.ndim = nd ? nd : 1;
    j.shape[0] = 1;
    for (int d = 0; d < nd; d++) j.shape[d] = out->shape[order[d]];
    if (nd == 0)
        for (int i = 0; i < n_in; i++) j.in[i].stride[0] = 0;
    if (j.any_gather) coalesce(&j);
    j.out = tlvi_ptr(out);
    j.out_size = tlv_dtype_size((tlv_dtype)out->dtype);
    if (j.n <= CHUNK) { map_chunk(&j, 0, 0); return; }
    tlvi_parallel_for(c, (j.n + CHUNK - 1) / CHUNK, CHUNK / 4, map_chunk, &j);
}

/* ---- copies ---------------------------------------------------------------------------------- */

typedef struct copy_job {
    const char *from;
    char *to;
    size_t size;
    int ndim, flip;                                 // flip: dim whose source stride is 1, or -1
    int64_t shape[TLV_MAX_DIMS], fs[TLV_MAX_DIMS], ts[TLV_MAX_DIMS];
} copy_job;

enum { TILE = 32 };

/* A [rows, cols] block where the source runs along rows and the target along cols. */
static void copy_tiles(const copy_job *j, const char *from, char *to)
{
    int last = j->ndim - 1, f = j->flip;
    int64_t size = (int64_t)j->size;
    for (int64_t r = 0; r < j->shape[f]; r += TILE)
        for (int64_t q = 0; q < j->shape[last]; q += TILE) {
            int64_t rows = j->shape[f] - r < TILE ? j->shape[f] - r : TILE;
            int64_t cols = j->shape[last] - q < TILE ? j->shape[last] - q : TILE;
            for (int64_t i = 0; i < rows; i++)
                copy_run(j->size, cols, from + ((r + i) * j->fs[f] + q * j->fs[last]) * size,
                         j->fs[last], to + ((r + i) * j->ts[f] + q * j->ts[last]) * size,
                         j->ts[last]);
        }
}

static void copy_chunk(void *arg, int64_t i, int worker)
{
    (void)worker;
    const copy_job *j = arg;
    int last = j->ndim - 1;
    int64_t f = 0, t = 0;
    for (int d = last - 1; d >= 0; d--) {
        if (d == j->flip) continue;
        f += i % j->shape[d] * j->fs[d];
        t += i % j->shape[d] * j->ts[d];
        i /= j->shape[d];
    }
    const char *from = j->from + f * (int64_t)j->size;
    char *to = j->to + t * (int64_t)j->size;
    if (j->flip >= 0) copy_tiles(j, from, to);
    else copy_run(j->size, j->shape[last], from, j->fs[last], to, j->ts[last]);
}

void tlvi_copy_strided(tlv_ctx *c, const tlv_tensor *from, tlv_tensor *to)
{
    if (tlvi_numel(to) == 0) return;
    copy_job j = { .from = tlvi_ptr(from), .to = tlvi_ptr(to), .flip = -1, .ndim = 0 };
    j.size = tlv_dtype_size((tlv_dtype)from->dtype);
    int order[TLV_MAX_DIMS], nd = order_dims(to, order);
    for (int d = 0; d < nd; d++) {                  // coalesce on the way
        int64_t n = to->shape[order[d]], fs = from->stride[order[d]], ts = to->stride[order[d]];
        int p = j.ndim - 1;
        if (p >= 0 && j.fs[p] == fs * n && j.ts[p] == ts * n) {
            j.shape[p] *= n;
            j.fs[p] = fs;
            j.ts[p] = ts;
            continue;
        }
        j.shape[j.ndim] = n;
        j.fs[j.ndim] = fs;
        j.ts[j.ndim++] = ts;
    }
    if (j.ndim == 0) { j.ndim = 1; j.shape[0] = j.fs[0] = j.ts[0] = 1; }
    int last = j.ndim - 1;
    if (j.fs[last] != 1)
        for (int d = 0; d < last; d++)
            if (j.fs[d] == 1 && j.shape[d] > 1) j.flip = d;
    int64_t outer = 1;
    for (int d = 0; d < last; d++)
        if (d != j.flip) outer *= j.shape[d];
    int64_t inner = tlvi_numel(to) / outer;
    tlvi_parallel_for(c, outer, inner / 4 + 1, copy_chunk, &j);
}

const tlv_tensor *tlvi_row_major(tlv_ctx *c, const tlv_tensor *t)
{
    if (!t || tlvi_is_row_major(t)) return t;
    tlv_tensor *y = tlvi_new(c, (tlv_dtype)t->dtype, tlv_shape_of(t));
    if (y) tlvi_copy_strided(c, t, y);
    return y;
}

const tlv_tensor *tlvi_channels_last(tlv_ctx *c, const tlv_tensor *t)
{
    if (!t || tlvi_is_channels_last(t)) return t;
    tlv_tensor *y = tlvi_new_image(c, (tlv_dtype)t->dtype, tlv_shape_of(t));
    if (y) tlvi_copy_strided(c, t, y);
    return y;
}
