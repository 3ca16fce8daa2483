/* resize.c -- nearest, bilinear and bicubic resize of images, and their adjoints.
 *
 * Every mode is separable and linear: an axis is a table that says which neighbours an output mixes
 * with which weights.  The adjoint is the same engine with the tables transposed, so each is the
 * other's gradient.  Rules are those of PyTorch's interpolate; bicubic is Keys 1981 (IEEE ASSP
 * 29:1153). */
#include <math.h>

#include "autograd/op.h"

typedef struct resize_attr {
    tlv_resize_opts o;
    int64_t ih, iw, oh, ow;                 // of tlv_resize; the adjoint goes from oh, ow to ih, iw
} resize_attr;

/* Output i = sum_k weight[i*taps + k] * input[start[i] + k], k < count[i]. */
typedef struct table {
    int64_t in, out, taps;
    int64_t *start, *count;
    double *weight;
    void *memory;
    size_t bytes;
} table;

/* ---- tables ---------------------------------------------------------------------------------- */

static int table_open(tlv_ctx *c, table *t, int64_t in, int64_t out, int64_t taps)
{
    *t = (table){ .in = in, .out = out, .taps = taps };
    t->bytes = (size_t)out * (2 * sizeof *t->start + (size_t)taps * sizeof *t->weight);
    t->memory = tlvi_alloc(c, t->bytes);
    if (!t->memory) return 0;
    memset(t->memory, 0, t->bytes);
    t->start = t->memory;
    t->count = t->start + out;
    t->weight = (double *)(void *)(t->count + out);
    return 1;
}

static void table_close(tlv_ctx *c, table *t)
{
    if (t->memory) tlvi_free(c, t->memory, t->bytes);
    t->memory = NULL;
}

/* Adds w at input k, clamped to the image: border pixels count for what lies outside. */
static void add_tap(table *t, int64_t i, int64_t k, double w)
{
    if (k < 0) k = 0;
    if (k >= t->in) k = t->in - 1;
    t->weight[i * t->taps + (k - t->start[i])] += w;
}

/* Keys' cubic convolution kernel. */
static double cubic(double x, double a)
{
    x = fabs(x);
    if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
    return x < 2 ? (((x - 5) * x + 8) * x - 4) * a : 0;
}

static double axis_scale(int64_t in, int64_t out, int align_corners)
{
    if (!align_corners) return (double)in / (double)out;
    return out > 1 ? (double)(in - 1) / (double)(out - 1) : 0;
}

/* The pixel left of each output's centre and its neighbours. */
static void fill_plain(table *t, tlv_resize_opts o)
{
    double scale = axis_scale(t->in, t->out, o.align_corners);
    int cubes = o.mode == TLV_BICUBIC;
    for (int64_t i = 0; i < t->out; i++) {
        double at = o.align_corners ? (double)i * scale : ((double)i + 0.5) * scale - 0.5;
        if (!cubes && at < 0) at = 0;
        int64_t left = (int64_t)floor(at), first = cubes ? left - 1 : left,
            last = cubes ? left + 2 : left + 1;
        double f = at - (double)left;
        t->start[i] = first < 0 ? 0 : first < t->in ? first : t->in - 1;
        t->count[i] = (last < t->in ? last : t->in - 1) - t->start[i] + 1;
        for (int64_t k = first; k <= last; k++) {
            double x = (double)(k - left) - f;
            add_tap(t, i, k, cubes ? cubic(x, -0.75) : 1 - fabs(x));
        }
    }
}

/* As PyTorch computes it for f32, in f32: a pixel's choice shall not depend on the dtype here. */
static void fill_nearest(table *t)
{
    float scale = (float)t->in / (float)t->out;
    for (int64_t i = 0; i < t->out; i++) {
        int64_t k = (int64_t)floorf((float)i * scale);
        t->start[i] = k < t->in ? k : t->in - 1;
        t->count[i] = 1;
        t->weight[i * t->taps] = 1;
    }
}

static double support_of(const table *t, tlv_resize_opts o)
{
    double scale = axis_scale(t->in, t->out, o.align_corners);
    return (o.mode == TLV_BICUBIC ? 2.0 : 1.0) * (scale > 1 ? scale : 1);
}

/* The filter is as wide as an output pixel is in the input; its weights are made to sum to 1. */
static void fill_antialias(table *t, tlv_resize_opts o)
{
    double scale = axis_scale(t->in, t->out, o.align_corners), support = support_of(t, o);
    double shrink = scale > 1 ? 1 / scale : 1;
    for (int64_t i = 0; i < t->out; i++) {
        double centre = scale * ((double)i + 0.5), sum = 0;
        int64_t first = (int64_t)(centre - support + 0.5), end = (int64_t)(centre + support + 0.5);
        if (centre - support + 0.5 < 0) first = 0;
        if (end > t->in) end = t->in;
        double *w = t->weight + i * t->taps;
        for (int64_t k = first; k < end; k++) {
            double x = ((double)(k - first) + (double)first - centre + 0.5) * shrink;
            w[k - first] = o.mode == TLV_BICUBIC ? cubic(x, -0.5) : fabs(x) < 1 ? 1 - fabs(x) : 0;
            sum += w[k - first];
        }
        t->start[i] = first;
        t->count[i] = end - first;
        for (int64_t k = 0; sum != 0 && k < t->count[i]; k++) w[k] /= sum;
    }
}

static int table_make(tlv_ctx *c, table *t, int64_t in, int64_t out, tlv_resize_opts o)
{
    *t = (table){ .in = in, .out = out };
    int64_t taps = o.mode == TLV_NEAREST ? 1 : o.mode == TLV_BILINEAR ? 2 : 4;
    if (o.antialias) taps = 2 * (int64_t)ceil(support_of(t, o)) + 1;
    if (!table_open(c, t, in, out, taps)) return 0;
    if (o.mode == TLV_NEAREST) fill_nearest(t);
    else if (o.antialias) fill_antialias(t, o);
    else fill_plain(t, o);
    return 1;
}

/* Windows move forward only, so the outputs that an input reaches are neighbours too. */
static int table_transpose(tlv_ctx *c, const table *t, table *r)
{
    int64_t taps = 1, low = 0;
    for (int64_t k = 0; k < t->in; k++) {           // how many outputs the busiest input reaches
        while (low < t->out && t->start[low] + t->count[low] <= k) low++;
        int64_t high = low;
        while (high < t->out && t->start[high] <= k) high++;
        if (high - low > taps) taps = high - low;
    }
    if (!table_open(c, r, t->out, t->in, taps)) return 0;
    for (int64_t i = 0; i < t->out; i++)
        for (int64_t n = 0; n < t->count[i]; n++) {
            int64_t k = t->start[i] + n;
            if (r->count[k] == 0) r->start[k] = i;
            r->count[k] = i - r->start[k] + 1;
            r->weight[k * taps + i - r->start[k]] = t->weight[i * t->taps + n];
        }
    return 1;
}

/* ---- running them ---------------------------------------------------------------------------- */

typedef struct pass_job {
    const tlvi_kset *k;
    size_t size;
    const table *t;
    int64_t rows, n;                        // of one batch element's output; elements in a mix
    int64_t from_batch, from_row, from_step, to_row, to_step;
    const char *from;
    char *to;
} pass_job;

static void mix(const pass_job *j, int64_t i, const char *from, char *to)
{
    const table *t = j->t;
    j->k->mix_rows((size_t)j->n, (size_t)t->count[i], t->weight + i * t->taps, j->from_step,
                   from + t->start[i] * j->from_step * (int64_t)j->size, to);
}

/* One image row: every output pixel mixes pixels of that row. */
static void across_chunk(void *arg, int64_t r, int worker)
{
    (void)worker;
    const pass_job *j = arg;
    int64_t size = (int64_t)j->size;
    const char *from = j->from + (r / j->rows * j->from_batch + r % j->rows * j->from_row) * size;
    char *to = j->to + r * j->to_row * size;
    for (int64_t i = 0; i < j->t->out; i++) mix(j, i, from, to + i * j->to_step * size);
}

/* One output row mixes whole rows. */
static void down_chunk(void *arg, int64_t r, int worker)
{
    (void)worker;
    const pass_job *j = arg;
    int64_t size = (int64_t)j->size;
    mix(j, r % j->rows, j->from + r / j->rows * j->from_batch * size, j->to + r * j->to_row * size);
}

/* x has C stride 1; the results are channels-last. */
static tlv_tensor *pass_across(tlv_ctx *c, const tlv_tensor *x, const table *t)
{
    tlv_tensor *y = tlvi_new_image(c, (tlv_dtype)x->dtype,
                                   tlv_shape4(x->shape[0], x->shape[1], x->shape[2], t->out));
    if (!y || tlvi_numel(y) == 0) return y;
    int64_t ch = x->shape[1];
    pass_job j = { .k = tlvi_ks(c, x->dtype), .size = tlv_dtype_size((tlv_dtype)x->dtype), .t = t,
                   .rows = x->shape[2], .n = ch, .from_batch = x->stride[0],
                   .from_row = x->stride[2], .from_step = x->stride[3], .to_row = t->out * ch,
                   .to_step = ch, .from = tlvi_ptr(x), .to = tlvi_ptr(y) };
    tlvi_parallel_for(c, x->shape[0] * x->shape[2], t->out * (5 + t->taps * ch / 8), across_chunk,
                      &j);
    return y;
}

static tlv_tensor *pass_down(tlv_ctx *c, const tlv_tensor *x, const table *t)
{
    tlv_tensor *y = tlvi_new_image(c, (tlv_dtype)x->dtype,
                                   tlv_shape4(x->shape[0], x->shape[1], t->out, x->shape[3]));
    if (!y || tlvi_numel(y) == 0) return y;
    int64_t row = x->shape[3] * x->shape[1];
    pass_job j = { .k = tlvi_ks(c, x->dtype), .size = tlv_dtype_size((tlv_dtype)x->dtype), .t = t,
                   .rows = t->out, .n = row, .from_batch = x->shape[2] * row, .from_step = row,
                   .to_row = row, .from = tlvi_ptr(x), .to = tlvi_ptr(y) };
    tlvi_parallel_for(c, x->shape[0] * t->out, 5 + t->taps * row / 8, down_chunk, &j);
    return y;
}

static tlv_tensor *resize_tables(tlv_ctx *c, const tlv_tensor *x, const table *th, const table *tw)
{
    const tlv_tensor *h = x->stride[1] == 1 || x->shape[1] <= 1 ? x : tlvi_channels_last(c, x);
    if (!h) return NULL;
    tlv_tensor *wide = pass_across(c, h, tw);
    return wide ? pass_down(c, wide, th) : NULL;
}

/* forward: tables of at; else transposed ones. */
static tlv_tensor *resize_apply(tlv_ctx *c, const tlv_tensor *x, const resize_attr *at, int forward)
{
    table t[2] = { { .in = 0 } }, r[2] = { { .in = 0 } };
    tlv_tensor *y = NULL;
    int ok = table_make(c, &t[0], at->ih, at->oh, at->o)
             && table_make(c, &t[1], at->iw, at->ow, at->o);
    if (ok && !forward) ok = table_transpose(c, &t[0], &r[0]) && table_transpose(c, &t[1], &r[1]);
    if (ok) y = forward ? resize_tables(c, x, &t[0], &t[1]) : resize_tables(c, x, &r[0], &r[1]);
    for (int i = 0; i < 2; i++) {
        table_close(c, &t[i]);
        table_close(c, &r[i]);
    }
    return y;
}

/* ---- the ops --------------------------------------------------------------------------------- */

static int resize_fits(tlv_ctx *c, const char *op, const tlv_tensor *x, int64_t h, int64_t w,
                       tlv_resize_opts o)
{
    const int64_t most = 1 << 30;
    if (!tlvi_is_float(c, op, x)) return 0;
    if (x->ndim != 4 || x->shape[2] < 1 || x->shape[3] < 1 || h < 1 || w < 1 || x->shape[2] > most
        || x->shape[3] > most || h > most || w > most) {
        tlvi_fail(c, TLV_ERR_SHAPE, "x is [B,C,H,W]; sides are 1 .. 2^30",
                  "%s: x is %s, to %lld x %lld", op, tlvi_shape_str(x).s, (long long)h,
                  (long long)w);
        return 0;
    }
    if ((unsigned)o.mode > TLV_BICUBIC
        || (o.mode == TLV_NEAREST && (o.align_corners || o.antialias))) {
        tlvi_fail(c, TLV_ERR_ARG, "align_corners and antialias are for bilinear and bicubic",
                  "%s: mode %d, align_corners %d, antialias %d", op, (int)o.mode, o.align_corners,
                  o.antialias);
        return 0;
    }
    return 1;
}

tlv_tensor *tlv_resize(tlv_ctx *c, const tlv_tensor *x, int64_t oh, int64_t ow, tlv_resize_opts o)
{
    if (!tlvi_ready1(c, "resize", x) || !resize_fits(c, "resize", x, oh, ow, o)) return NULL;
    resize_attr at = { o, x->shape[2], x->shape[3], oh, ow };
    return tlvi_record1(c, TLV_OP_RESIZE, resize_apply(c, x, &at, 1), x, &at, sizeof at);
}
TLVI_EXEC(RESIZE)
{
    const resize_attr *at = n->attr;
    return tlv_resize(c, tlvi_in(n, 0), at->oh, at->ow, at->o);
}

tlv_tensor *tlvi_resize_t(tlv_ctx *c, const tlv_tensor *g, int64_t h, int64_t w, tlv_resize_opts o)
{
    if (!tlvi_ready1(c, "resize_t", g) || !resize_fits(c, "resize_t", g, h, w, o)) return NULL;
    resize_attr at = { o, h, w, g->shape[2], g->shape[3] };
    return tlvi_record1(c, TLV_OP_RESIZE_T, resize_apply(c, g, &at, 0), g, &at, sizeof at);
}
TLVI_EXEC(RESIZE_T)
{
    const resize_attr *at = n->attr;
    return tlvi_resize_t(c, tlvi_in(n, 0), at->ih, at->iw, at->o);
}
/* y = A x  =>  dx = A^T g */
TLVI_VJP(RESIZE)
{
    const resize_attr *at = n->attr;
    d[0] = tlvi_resize_t(c, g, at->ih, at->iw, at->o);
}
TLVI_VJP(RESIZE_T)
{
    const resize_attr *at = n->attr;
    d[0] = tlv_resize(c, g, at->oh, at->ow, at->o);
}
