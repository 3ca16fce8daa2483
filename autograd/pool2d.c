/* pool2d.c -- maximum and average over windows of an image; fixed, adaptive and global windows are
 * one op each, told apart by how an axis finds its windows. */
#include <math.h>

#include "autograd/pool2d.h"

/* ---- windows --------------------------------------------------------------------------------- */

/* One axis: n input and `out` output places.  k = 0: adaptive. */
typedef struct axis { int64_t n, out, k, stride, before, after, dil; } axis;
typedef struct pool_attr { axis h, w; int exclude; } pool_attr;

typedef struct window {
    int64_t lo, count;
    double share;
} window; // places lo, lo + dil, ..; 1 / divisor

static int64_t min64(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t max64(int64_t a, int64_t b) { return a > b ? a : b; }

static window window_of(const axis *a, int64_t o, int exclude)
{
    window w;
    if (a->k == 0) {
        w.lo = o * a->n / a->out;
        w.count = ((o + 1) * a->n + a->out - 1) / a->out - w.lo;
        w.share = w.count ? 1.0 / (double)w.count : 0;
        return w;
    }
    int64_t start = o * a->stride - a->before, i0 = start < 0 ? (-start + a->dil - 1) / a->dil : 0;
    int64_t i1 = start >= a->n ? 0 : (a->n - 1 - start) / a->dil + 1;
    w.lo = start + i0 * a->dil;
    w.count = max64(0, min64(i1, a->k) - i0);
    int64_t padded = min64(start + a->k, a->n + a->after) - start;  // PyTorch's count_include_pad
    int64_t divisor = exclude ? w.count : padded;
    w.share = divisor > 0 ? 1.0 / (double)divisor : 0;
    return w;
}

/* PyTorch's rule: the last window must begin inside the input or the padding before it. */
static int64_t pooled_size(const axis *a, int ceil_mode)
{
    int64_t rest = a->n + a->before + a->after - a->dil * (a->k - 1) - 1;
    if (rest < 0 && !(ceil_mode && rest + a->stride - 1 >= 0)) return 0;
    int64_t out = (rest + (ceil_mode ? a->stride - 1 : 0)) / a->stride + 1;
    if (ceil_mode && (out - 1) * a->stride >= a->n + a->before) out--;
    return out;
}

static int is_image(tlv_ctx *c, const char *op, const char *what, const tlv_tensor *x)
{
    if (x->ndim == 4) return 1;
    tlvi_fail(c, TLV_ERR_SHAPE, "images are [B,C,H,W]", "%s: %s is %s; it must have 4 dims", op,
              what, tlvi_shape_str(x).s);
    return 0;
}

static int options_ok(tlv_ctx *c, const char *op, const tlv_pool2d_opts *o, int max)
{
    int bad = o->k < 1 || o->k_w < 0 || o->stride < 0 || o->stride_w < 0 || o->dilation < 0;
    bad |= !max && o->dilation > 1;
    int64_t dil = o->dilation ? o->dilation : 1, kw = o->k_w ? o->k_w : o->k;
    int64_t eh = dil * (o->k - 1) + 1, ew = dil * (kw - 1) + 1;
    for (int i = 0; i < 4; i++) bad |= o->pad[i] < 0 || o->pad[i] >= (i < 2 ? eh : ew);
    if (!bad) return 1;
    tlvi_fail(c, TLV_ERR_ARG,
              max ? "k >= 1, padding smaller than the window"
                  : "k >= 1, padding smaller than the window, no dilation",
              "%s: k %d,%d stride %d,%d pad %d,%d,%d,%d dilation %d", op, o->k, o->k_w, o->stride,
              o->stride_w, o->pad[0], o->pad[1], o->pad[2], o->pad[3], o->dilation);
    return 0;
}

/* The windows of o on an image h x w; 0 with the error if none is left. */
static int fixed_windows(tlv_ctx *c, const char *op, int64_t h, int64_t w, const tlv_pool2d_opts *o,
                         int max, pool_attr *p)
{
    memset(p, 0, sizeof *p);
    if (!options_ok(c, op, o, max)) return 0;
    int64_t dil = o->dilation ? o->dilation : 1, kw = o->k_w ? o->k_w : o->k;
    int64_t sh = o->stride ? o->stride : o->k, sw = o->stride_w ? o->stride_w
                                                    : o->stride ? o->stride
                                                                : kw;
    p->h = (axis){
        .n = h, .k = o->k, .stride = sh, .before = o->pad[0], .after = o->pad[1], .dil = dil
    };
    p->w = (axis){
        .n = w, .k = kw, .stride = sw, .before = o->pad[2], .after = o->pad[3], .dil = dil
    };
    p->exclude = o->exclude_pad != 0;
    p->h.out = pooled_size(&p->h, o->ceil_mode);
    p->w.out = pooled_size(&p->w, o->ceil_mode);
    if (p->h.out >= 1 && p->w.out >= 1) return 1;
    tlvi_fail(c, TLV_ERR_SHAPE, "add padding or take a smaller window",
              "%s: no window of %d x %lld fits an image of %lld x %lld", op, o->k, (long long)kw,
              (long long)h, (long long)w);
    return 0;
}

static int adaptive_windows(tlv_ctx *c, const char *op, int64_t h, int64_t w, int64_t oh,
                            int64_t ow, pool_attr *p)
{
    memset(p, 0, sizeof *p);
    p->h = (axis){ .n = h, .out = oh, .dil = 1 };
    p->w = (axis){ .n = w, .out = ow, .dil = 1 };
    if (oh >= 1 && ow >= 1 && h <= INT32_MAX && w <= INT32_MAX && oh <= INT32_MAX
        && ow <= INT32_MAX)
        return 1;
    tlvi_fail(c, TLV_ERR_ARG, "ask for at least one pixel", "%s: an output of %lld x %lld", op,
              (long long)oh, (long long)ow);
    return 0;
}

static const tlv_tensor *image(tlv_ctx *c, const tlv_tensor *t)
{
    return t->shape[1] == 1 || t->stride[1] == 1 ? t : tlvi_channels_last(c, t);
}

/* ---- maximum --------------------------------------------------------------------------------- */

typedef struct pool_job {
    const tlvi_kset *k;
    int64_t es, c, xb, xh, xw, yb, yh, yw;
    const char *x;
    char *y;
    int32_t *index;                         // dense, or NULL
    const pool_attr *p;
    const int64_t *h0, *h1, *w0, *w1;       // adjoint: output windows that hold an input place
    const double *sh, *sw;                  // adjoint: their shares
} pool_job;

static pool_job job_of(tlv_ctx *c, const tlv_tensor *x, const tlv_tensor *y, const pool_attr *p)
{
    return (pool_job){ .k = tlvi_ks(c, x->dtype),
                       .es = x->dtype == TLV_F64 ? 8 : 4,
                       .c = x->shape[1],
                       .xb = x->stride[0],
                       .xh = x->stride[2],
                       .xw = x->stride[3],
                       .yb = y->stride[0],
                       .yh = y->stride[2],
                       .yw = y->stride[3],
                       .x = tlvi_ptr(x),
                       .y = tlvi_ptr(y),
                       .p = p };
}

/* first[i] .. last[i]-1: the windows that hold place i, if they are dilated also some that do not;
 * share[o]: what o gives to each of its places. */
static void list_windows(const axis *a, int exclude, int64_t *first, int64_t *last, double *share)
{
    for (int64_t i = 0; i < a->n; i++) first[i] = last[i] = 0;
    for (int64_t o = 0; o < a->out; o++) {
        window w = window_of(a, o, exclude);
        share[o] = w.share;
        for (int64_t k = 0; k < w.count; k++) {
            int64_t i = w.lo + k * a->dil;
            if (last[i] == 0) first[i] = o;
            last[i] = o + 1;
        }
    }
}

/* Both axes' lists in one block of *bytes. */
static int64_t *lists_open(tlv_ctx *c, const pool_attr *p, pool_job *j, size_t *bytes)
{
    *bytes = (size_t)(2 * (p->h.n + p->w.n) + p->h.out + p->w.out) * sizeof(int64_t);
    int64_t *h0 = tlvi_alloc(c, *bytes);
    if (!h0) return NULL;
    int64_t *h1 = h0 + p->h.n, *w0 = h1 + p->h.n, *w1 = w0 + p->w.n;
    double *sh = (double *)(void *)(w1 + p->w.n), *sw = sh + p->h.out;
    list_windows(&p->h, p->exclude, h0, h1, sh);
    list_windows(&p->w, p->exclude, w0, w1, sw);
    j->h0 = h0, j->h1 = h1, j->w0 = w0, j->w1 = w1, j->sh = sh, j->sw = sw;
    return h0;
}

/* One row of output pixels. */
static void max_chunk(void *arg, int64_t at, int worker)
{
    (void)worker;
    const pool_job *j = arg;
    const axis *ah = &j->p->h, *aw = &j->p->w;
    int64_t b = at / ah->out, i = at % ah->out;
    window h = window_of(ah, i, 0);
    for (int64_t o = 0; o < aw->out; o++) {
        window w = window_of(aw, o, 0);
        char *y = j->y + (b * j->yb + i * j->yh + o * j->yw) * j->es;
        int32_t *index = j->index ? j->index + ((b * ah->out + i) * aw->out + o) * j->c : NULL;
        if (h.count == 0 || w.count == 0) {
            j->k->fill((size_t)j->c, -INFINITY, y);
            if (index) memset(index, 0xff, (size_t)j->c * sizeof *index);       // -1: none
            continue;
        }
        int64_t pos[3] = { h.lo * aw->n + w.lo, ah->dil * aw->n, aw->dil };
        const char *x = j->x + (b * j->xb + h.lo * j->xh + w.lo * j->xw) * j->es;
        j->k->pool_max((size_t)j->c, h.count, w.count, ah->dil * j->xh, aw->dil * j->xw, x, pos, y,
                       index);
    }
}

static int64_t window_cost(const pool_attr *p, int64_t c)
{
    int64_t k = (p->h.k ? p->h.k : p->h.n / p->h.out + 1)
                * (p->w.k ? p->w.k : p->w.n / p->w.out + 1);
    return p->w.out * (20 + k * c / 4);
}

static tlv_tensor *max_pool(tlv_ctx *c, const char *op, const tlv_tensor *x, const pool_attr *p)
{
    TLVI_REQUIRE(c, p->h.n == 0 || p->w.n <= INT32_MAX / p->h.n, TLV_ERR_LIMIT, "cut the image",
                 "%s: x is %s; an image has at most 2^31 - 1 pixels", op, tlvi_shape_str(x).s);
    tlv_shape s = tlv_shape4(x->shape[0], x->shape[1], p->h.out, p->w.out);
    tlv_tensor *y = tlvi_new_image(c, (tlv_dtype)x->dtype, s), *index = NULL;
    if (c->replay || (tlvi_recording(c) && tlv_wants_grad(x)))
        index = tlvi_new_image(c, TLV_I32, s);
    const tlv_tensor *xi = image(c, x);
    if (c->err) return NULL;
    pool_job j = job_of(c, xi, y, p);
    j.index = index ? tlvi_i32(index) : NULL;
    if (tlvi_numel(y))
        tlvi_parallel_for(c, s.dim[0] * s.dim[2], window_cost(p, s.dim[1]), max_chunk, &j);
    tlvi_record_args r = { .op = TLV_OP_MAX_POOL2D,
                           .n_in = 1,
                           .in = &x,
                           .out = { y },
                           .aux = { index },
                           .attr = p,
                           .attr_bytes = sizeof *p };
    return tlvi_record(c, &r);
}

tlv_tensor *tlv_max_pool2d(tlv_ctx *c, const tlv_tensor *x, tlv_pool2d_opts o)
{
    pool_attr p;
    if (!tlvi_ready1(c, "max_pool2d", x) || !tlvi_is_float(c, "max_pool2d", x)
        || !is_image(c, "max_pool2d", "x", x)
        || !fixed_windows(c, "max_pool2d", x->shape[2], x->shape[3], &o, 1, &p))
        return NULL;
    return max_pool(c, "max_pool2d", x, &p);
}

tlv_tensor *tlv_adaptive_max_pool2d(tlv_ctx *c, const tlv_tensor *x, int64_t oh, int64_t ow)
{
    pool_attr p;
    if (!tlvi_ready1(c, "adaptive_max_pool2d", x) || !tlvi_is_float(c, "adaptive_max_pool2d", x)
        || !is_image(c, "adaptive_max_pool2d", "x", x)
        || !adaptive_windows(c, "adaptive_max_pool2d", x->shape[2], x->shape[3], oh, ow, &p))
        return NULL;
    return max_pool(c, "adaptive_max_pool2d", x, &p);
}
TLVI_EXEC(MAX_POOL2D) { return max_pool(c, "max_pool2d", tlvi_in(n, 0), n->attr); }

/* One row of places: each gathers from the windows that hold it. */
static void max_dx_chunk(void *arg, int64_t at, int worker)
{
    (void)worker;
    const pool_job *j = arg;
    const axis *ah = &j->p->h, *aw = &j->p->w;
    int64_t b = at / ah->n, y = at % ah->n, h0 = j->h0[y], nh = j->h1[y] - h0;
    for (int64_t x = 0; x < aw->n; x++) {
        int64_t w0 = j->w0[x], from = ((b * ah->out + h0) * aw->out + w0) * j->c;
        j->k->pool_max_dx((size_t)j->c, nh, j->w1[x] - w0, aw->out * j->c, j->c, j->index + from,
                          j->x + from * j->es, (int32_t)(y * aw->n + x),
                          j->y + (b * j->yb + y * j->yh + x * j->yw) * j->es);
    }
}

static tlv_tensor *max_pool_dx(tlv_ctx *c, const tlv_tensor *g, const tlv_tensor *index,
                               const pool_attr *p)
{
    tlv_shape s = tlv_shape4(g->shape[0], g->shape[1], p->h.n, p->w.n);
    tlv_tensor *dx = tlvi_new_image(c, (tlv_dtype)g->dtype, s);
    const tlv_tensor *gi = tlvi_channels_last(c, g), *at = tlvi_channels_last(c, index);
    if (c->err) return NULL;
    pool_job j = job_of(c, gi, dx, p);
    j.index = tlvi_i32(at);
    size_t bytes;
    int64_t *list = lists_open(c, p, &j, &bytes);
    if (!list) return NULL;
    if (tlvi_numel(dx))
        tlvi_parallel_for(c, s.dim[0] * s.dim[2], s.dim[3] * (20 + s.dim[1] / 2), max_dx_chunk, &j);
    tlvi_free(c, list, bytes);
    return dx;
}

/* the gradient goes to where each maximum was */
TLVI_VJP(MAX_POOL2D)
{
    const pool_attr *p = n->attr;
    if (!tlvi_recording(c)) {
        d[0] = max_pool_dx(c, g, tlvi_aux(n, 0), p);
        return;
    }
    d[0] = tlvi_window_put(c, g, tlvi_aux(n, 0), p->h.n, p->w.n);
}

/* ---- put and take by index ------------------------------------------------------------------- */

typedef struct index_job {
    const tlvi_kset *k;
    int64_t es, c, n, blocks, size;         // n output places; blocks of channels; size of an image
    const int32_t *index;
    int64_t ib, iw;                         // strides of index, its places in one row
    const char *from;
    char *to;
} index_job;

enum { CHANNELS = 64 };

/* Some channels of an image: dx is dense, so is g. */
static void put_chunk(void *arg, int64_t at, int worker)
{
    (void)worker;
    const index_job *j = arg;
    int64_t b = at / j->blocks, c0 = at % j->blocks * CHANNELS, n = min64(CHANNELS, j->c - c0);
    for (int64_t i = 0; i < j->n; i++) {
        int64_t place = (b * j->n + i) * j->c + c0;
        j->k->pool_put((size_t)n, j->index + place, j->from + place * j->es,
                       j->to + (b * j->size * j->c + c0) * j->es, j->c);
    }
}

static void take_chunk(void *arg, int64_t at, int worker)
{
    (void)worker;
    const index_job *j = arg;
    int64_t b = at / j->blocks, c0 = at % j->blocks * CHANNELS, n = min64(CHANNELS, j->c - c0);
    for (int64_t i = 0; i < j->n; i++) {
        int64_t place = (b * j->n + i) * j->c + c0;
        j->k->pool_take((size_t)n, j->index + place, j->from + (b * j->size * j->c + c0) * j->es,
                        j->c, j->to + place * j->es);
    }
}

static index_job index_job_of(tlv_ctx *c, const tlv_tensor *small, const tlv_tensor *index,
                              int64_t size)
{
    return (index_job){ .k = tlvi_ks(c, small->dtype), .es = small->dtype == TLV_F64 ? 8 : 4,
                        .c = small->shape[1], .n = small->shape[2] * small->shape[3],
                        .blocks = (small->shape[1] + CHANNELS - 1) / CHANNELS, .size = size,
                        .index = tlvi_i32(index) };
}

static int index_ready(tlv_ctx *c, const char *op, const tlv_tensor *t, const tlv_tensor *index)
{
    return tlvi_ready2(c, op, t, index) && tlvi_is_float(c, op, t)
           && tlvi_is_dtype(c, op, "index", index, TLV_I32) && is_image(c, op, "the image", t)
           && is_image(c, op, "index", index);
}

tlv_tensor *tlvi_window_put(tlv_ctx *c, const tlv_tensor *g, const tlv_tensor *index, int64_t h,
                            int64_t w)
{
    if (!index_ready(c, "pool_put", g, index)) return NULL;
    TLVI_REQUIRE(c, tlvi_same_shape(g, index), TLV_ERR_SHAPE, "one index for each value",
                 "pool_put: g is %s but index is %s", tlvi_shape_str(g).s, tlvi_shape_str(index).s);
    tlv_tensor *dx = tlvi_new_image(c, (tlv_dtype)g->dtype,
                                    tlv_shape4(g->shape[0], g->shape[1], h, w));
    const tlv_tensor *gi = tlvi_channels_last(c, g), *at = tlvi_channels_last(c, index);
    if (c->err) return NULL;
    index_job j = index_job_of(c, g, at, h * w);
    j.from = tlvi_ptr(gi);
    j.to = tlvi_ptr(dx);
    memset(j.to, 0, (size_t)(tlvi_numel(dx) * j.es));
    if (tlvi_numel(dx))
        tlvi_parallel_for(c, g->shape[0] * j.blocks, j.n * min64(j.c, CHANNELS), put_chunk, &j);
    int64_t size[2] = { h, w };
    return tlvi_record2(c, TLV_OP_POOL_PUT, dx, g, index, size, sizeof size);
}
TLVI_EXEC(POOL_PUT)
{
    const int64_t *size = n->attr;
    return tlvi_window_put(c, tlvi_in(n, 0), tlvi_in(n, 1), size[0], size[1]);
}
TLVI_VJP(POOL_PUT) { d[0] = tlvi_window_take(c, g, tlvi_in(n, 1)); }

tlv_tensor *tlvi_window_take(tlv_ctx *c, const tlv_tensor *x, const tlv_tensor *index)
{
    if (!index_ready(c, "pool_take", x, index)) return NULL;
    TLVI_REQUIRE(c, x->shape[0] == index->shape[0] && x->shape[1] == index->shape[1], TLV_ERR_SHAPE,
                 "batch and channels must be equal", "pool_take: x is %s but index is %s",
                 tlvi_shape_str(x).s, tlvi_shape_str(index).s);
    tlv_tensor *y = tlvi_new_image(c, (tlv_dtype)x->dtype, tlv_shape_of(index));
    const tlv_tensor *xi = tlvi_channels_last(c, x), *at = tlvi_channels_last(c, index);
    if (c->err) return NULL;
    index_job j = index_job_of(c, y, at, x->shape[2] * x->shape[3]);
    j.from = tlvi_ptr(xi);
    j.to = tlvi_ptr(y);
    if (tlvi_numel(y))
        tlvi_parallel_for(c, y->shape[0] * j.blocks, j.n * min64(j.c, CHANNELS), take_chunk, &j);
    return tlvi_record2(c, TLV_OP_POOL_TAKE, y, x, index, NULL, 0);
}
TLVI_EXEC(POOL_TAKE) { return tlvi_window_take(c, tlvi_in(n, 0), tlvi_in(n, 1)); }
TLVI_VJP(POOL_TAKE)
{
    const tlv_tensor *x = tlvi_in(n, 0);
    d[0] = tlvi_window_put(c, g, tlvi_in(n, 1), x->shape[2], x->shape[3]);
}

/* ---- average --------------------------------------------------------------------------------- */

static void avg_chunk(void *arg, int64_t at, int worker)
{
    (void)worker;
    const pool_job *j = arg;
    const axis *ah = &j->p->h, *aw = &j->p->w;
    int64_t b = at / ah->out, i = at % ah->out;
    window h = window_of(ah, i, j->p->exclude);
    for (int64_t o = 0; o < aw->out; o++) {
        window w = window_of(aw, o, j->p->exclude);
        j->k->pool_sum((size_t)j->c, h.count, w.count, j->xh, j->xw,
                       j->x + (b * j->xb + h.lo * j->xh + w.lo * j->xw) * j->es, 0, &h.share,
                       &w.share, j->y + (b * j->yb + i * j->yh + o * j->yw) * j->es);
    }
}

static tlv_tensor *avg_pool(tlv_ctx *c, const tlv_tensor *x, const pool_attr *p)
{
    tlv_shape s = tlv_shape4(x->shape[0], x->shape[1], p->h.out, p->w.out);
    tlv_tensor *y = tlvi_new_image(c, (tlv_dtype)x->dtype, s);
    const tlv_tensor *xi = image(c, x);
    if (c->err) return NULL;
    pool_job j = job_of(c, xi, y, p);
    if (tlvi_numel(y))
        tlvi_parallel_for(c, s.dim[0] * s.dim[2], window_cost(p, s.dim[1]), avg_chunk, &j);
    return tlvi_record1(c, TLV_OP_AVG_POOL2D, y, x, p, sizeof *p);
}

tlv_tensor *tlv_avg_pool2d(tlv_ctx *c, const tlv_tensor *x, tlv_pool2d_opts o)
{
    pool_attr p;
    if (!tlvi_ready1(c, "avg_pool2d", x) || !tlvi_is_float(c, "avg_pool2d", x)
        || !is_image(c, "avg_pool2d", "x", x)
        || !fixed_windows(c, "avg_pool2d", x->shape[2], x->shape[3], &o, 0, &p))
        return NULL;
    return avg_pool(c, x, &p);
}

tlv_tensor *tlv_adaptive_avg_pool2d(tlv_ctx *c, const tlv_tensor *x, int64_t oh, int64_t ow)
{
    pool_attr p;
    if (!tlvi_ready1(c, "adaptive_avg_pool2d", x) || !tlvi_is_float(c, "adaptive_avg_pool2d", x)
        || !is_image(c, "adaptive_avg_pool2d", "x", x)
        || !adaptive_windows(c, "adaptive_avg_pool2d", x->shape[2], x->shape[3], oh, ow, &p))
        return NULL;
    return avg_pool(c, x, &p);
}

tlv_tensor *tlv_global_avg_pool(tlv_ctx *c, const tlv_tensor *x)
{
    tlv_tensor *y = tlv_adaptive_avg_pool2d(c, x, 1, 1);
    return y ? tlv_reshape(c, y, tlv_shape2(y->shape[0], y->shape[1])) : NULL;
}

static tlv_tensor *avg_pool_dx(tlv_ctx *c, const tlv_tensor *g, const pool_attr *p);

TLVI_EXEC(AVG_POOL2D) { return avg_pool(c, tlvi_in(n, 0), n->attr); }
TLVI_VJP(AVG_POOL2D) { d[0] = avg_pool_dx(c, g, n->attr); }

/* ---- its adjoint: an input pixel gathers from the windows that hold it ----------------------- */

static void avg_dx_chunk(void *arg, int64_t at, int worker)
{
    (void)worker;
    const pool_job *j = arg;
    int64_t b = at / j->p->h.n, y = at % j->p->h.n, h0 = j->h0[y], nh = j->h1[y] - h0;
    for (int64_t x = 0; x < j->p->w.n; x++) {
        int64_t w0 = j->w0[x];
        j->k->pool_sum((size_t)j->c, nh, j->w1[x] - w0, j->xh, j->xw,
                       j->x + (b * j->xb + h0 * j->xh + w0 * j->xw) * j->es, 1, j->sh + h0,
                       j->sw + w0, j->y + (b * j->yb + y * j->yh + x * j->yw) * j->es);
    }
}

static tlv_tensor *avg_pool_dx(tlv_ctx *c, const tlv_tensor *g, const pool_attr *p)
{
    tlv_shape s = tlv_shape4(g->shape[0], g->shape[1], p->h.n, p->w.n);
    tlv_tensor *dx = tlvi_new_image(c, (tlv_dtype)g->dtype, s);
    const tlv_tensor *gi = image(c, g);
    if (c->err) return NULL;
    pool_job j = job_of(c, gi, dx, p);
    size_t bytes;
    int64_t *list = lists_open(c, p, &j, &bytes);
    if (!list) return NULL;
    if (tlvi_numel(dx))
        tlvi_parallel_for(c, s.dim[0] * s.dim[2], s.dim[3] * (20 + s.dim[1] / 2), avg_dx_chunk, &j);
    tlvi_free(c, list, bytes);
    return tlvi_record1(c, TLV_OP_AVG_POOL2D_DX, dx, g, p, sizeof *p);
}

static tlv_tensor *checked_dx(tlv_ctx *c, const tlv_tensor *g, const pool_attr *p)
{
    TLVI_REQUIRE(c, g->shape[2] == p->h.out && g->shape[3] == p->w.out, TLV_ERR_SHAPE,
                 "the sizes must be those that the pooling gives",
                 "avg_pool2d_dx: g is %s, an image of %lld x %lld gives %lld x %lld",
                 tlvi_shape_str(g).s, (long long)p->h.n, (long long)p->w.n, (long long)p->h.out,
                 (long long)p->w.out);
    return avg_pool_dx(c, g, p);
}

tlv_tensor *tlvi_avg_pool2d_dx(tlv_ctx *c, const tlv_tensor *g, int64_t h, int64_t w,
                               tlv_pool2d_opts o)
{
    pool_attr p;
    if (!tlvi_ready1(c, "avg_pool2d_dx", g) || !tlvi_is_float(c, "avg_pool2d_dx", g)
        || !is_image(c, "avg_pool2d_dx", "g", g)
        || !fixed_windows(c, "avg_pool2d_dx", h, w, &o, 0, &p))
        return NULL;
    return checked_dx(c, g, &p);
}

tlv_tensor *tlvi_adaptive_avg_pool2d_dx(tlv_ctx *c, const tlv_tensor *g, int64_t h, int64_t w)
{
    pool_attr p;
    if (!tlvi_ready1(c, "avg_pool2d_dx", g) || !tlvi_is_float(c, "avg_pool2d_dx", g)
        || !is_image(c, "avg_pool2d_dx", "g", g)
        || !adaptive_windows(c, "avg_pool2d_dx", h, w, g->shape[2], g->shape[3], &p))
        return NULL;
    return checked_dx(c, g, &p);
}
TLVI_EXEC(AVG_POOL2D_DX) { return avg_pool_dx(c, tlvi_in(n, 0), n->attr); }
TLVI_VJP(AVG_POOL2D_DX) { d[0] = avg_pool(c, g, n->attr); }
