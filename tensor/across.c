/* across.c -- convolution of small images, several at a time: see across.h.
 *
 * Where images have only a few pixels, rows of pixels do not fill a tile, and much of a strip with
 * its border is zeros.  Here the rows of a tile are one output pixel of up to mr images, at the
 * distance of the images, and its segments are the taps inside of the image at that pixel.  For the
 * gradient of the weights rows are input channels, and a segment is one pixel of all images. */
#include "tensor/across.h"

enum {
    MOST_CHANNELS = 512,
    MOST_TAPS = 32,                     /* so that a chunk of channels is one accumulator's */
    DW_GROUP_K = 256,                   /* terms in one accumulator */
    IMAGE_BYTES = 320 << 10,            /* images of a tile: a part of the L2 cache; */
    DW_IMAGE_BYTES = 384 << 10,         /* x and y of all images */
    LEAST_ROWS = 4,                     /* images of a tile, */
    LEAST_CHANNELS = 16,
    PACK_CHANNELS = 16                  /* of a task that packs weights */
};

static inline int64_t min64(int64_t a, int64_t b) { return a < b ? a : b; }
static inline int64_t max64(int64_t a, int64_t b) { return a > b ? a : b; }
static inline int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

typedef struct plan {
    const tlvi_conv *v;                 // [n], one a phase
    const tlvi_kset *k;
    int64_t es;                         // bytes of an element
    int64_t taps;                       // of the filter: places in w
    int64_t n_panel;
    char *packed;                       // forward: w [panel][tap][ic][width];
                                        // gradient of the weights: y's [panel][pixel][image][width]
    char *scratch;                      // scratch_bytes a worker
    int64_t scratch_bytes;
    // forward
    int64_t rows;                       // of the output, of all phases
    int64_t n_block;                    // of images
    int64_t panels_a_task, n_range;
    int64_t n_group, most;              // chunks of channels of a pixel, its segments, at most
    // gradient of the weights
    char *part, *dw;                    // [panel][tap][ic][width]
} plan;

static int panel_cols(const plan *p, int64_t panel)
{
    return (int)min64(p->k->nr, p->v->oc - panel * p->k->nr);
}
static int64_t panel_width(const plan *p, int64_t panel)
{
    return panel_cols(p, panel) <= p->k->lanes ? p->k->lanes : p->k->nr;
}

/* Elements from tap to tap of a panel: were it a power of two, all taps of a channel would fall
 * into one set of the L1 cache. */
static int64_t tap_step(const plan *p, int64_t width) { return p->v->ic * width + 64 / p->es; }

static int64_t panel_bytes(const plan *p) { return p->taps * tap_step(p, p->k->nr) * p->es; }

static plan plan_of(tlv_ctx *c, const tlvi_conv *v)
{
    plan p = { .v = v, .k = tlvi_ks(c, v->dtype), .es = v->dtype == TLV_F64 ? 8 : 4,
               .taps = min64(v->w_in, v->w_out) };
    p.n_panel = ceil_div(v->oc, p.k->nr);
    return p;
}

int tlvi_across_takes(const tlvi_kset *k, const tlvi_conv *v, int dw)
{
    int64_t es = v->dtype == TLV_F64 ? 8 : 4;
    int64_t x = v->ih * v->iw * v->ic * es, y = v->oh * v->ow * v->oc * es;
    int64_t taps = min64(v->w_in, v->w_out);
    if (v->ic < LEAST_CHANNELS || v->ic > MOST_CHANNELS || v->oc < LEAST_CHANNELS
        || v->batch < LEAST_ROWS || v->batch > DW_GROUP_K || taps < 2 || taps > MOST_TAPS)
        return 0;
    if (dw) return v->batch * (x + y) <= DW_IMAGE_BYTES;
    int64_t rows = v->batch / ceil_div(v->batch, k->mr);
    return rows >= LEAST_ROWS && (rows + 1) * x <= IMAGE_BYTES;
}

/* Where tap (dy, dx) of output pixel (i, j) lies in an image of x, in elements, or -1: outside. */
static int64_t pixel_at(const tlvi_conv *v, int64_t i, int64_t j, const tlvi_tap *t)
{
    int64_t y = i * v->sh + t->dy, x = j * v->sw + t->dx;
    return y < 0 || y >= v->ih || x < 0 || x >= v->iw ? -1 : y * v->xh + x * v->xw;
}

/* ---- weights --------------------------------------------------------------------------------- */

static char *panel_at(const plan *p, int64_t panel)
{
    return p->packed + panel * panel_bytes(p);
}

/* Channels lo .. hi - 1 of a panel: task i of packing and unpacking. */
typedef struct span { int64_t panel, width, lo, hi; } span;

static span span_at(const plan *p, int64_t i)
{
    int64_t n = ceil_div(p->v->ic, PACK_CHANNELS), panel = i / n, lo = i % n * PACK_CHANNELS;
    return (span){ panel, panel_width(p, panel), lo, min64(lo + PACK_CHANNELS, p->v->ic) };
}

/* Some channels of one panel: [tap][ic][width] from wherever a channel's taps lie together. */
static void pack_chunk(void *arg, int64_t i, int worker)
{
    (void)worker;
    const plan *p = arg;
    const tlvi_conv *v = p->v;
    span h = span_at(p, i);
    int cols = panel_cols(p, h.panel);
    const char *w = v->w + h.panel * p->k->nr * v->w_out * p->es;
    char *to = panel_at(p, h.panel);
    for (int64_t t = 0; t < p->taps && cols < h.width; t++)
        memset(to + (t * tap_step(p, h.width) + h.lo * h.width) * p->es, 0,
               (size_t)((h.hi - h.lo) * h.width * p->es));
    for (int64_t c = h.lo; c < h.hi; c++)
        p->k->transpose((size_t)cols, (size_t)p->taps, w + c * v->w_in * p->es, v->w_out,
                        to + c * h.width * p->es, tap_step(p, h.width));
}

/* ---- forward --------------------------------------------------------------------------------- */

/* Segments of the pixels of one output row, and where the groups of each begin and end. */
typedef struct lists { int64_t *seg, *group, width; } lists;

static int64_t count_groups(const tlvi_conv *v)
{
    return max64(1, ceil_div(v->ic, tlvi_conv_chunk(v->n_tap, v->ic)));
}

/* A group is a chunk of channels: direct.c's, for the sake of the same bits. */
static void list_pixel(const plan *p, const tlvi_conv *v, int64_t i, int64_t j, int64_t width,
                       int64_t *seg, int64_t *group)
{
    int64_t n = 0, n_group = count_groups(v), chunk = tlvi_conv_chunk(v->n_tap, v->ic);
    for (int64_t g = 0; g < n_group; g++) {
        int64_t c0 = g * chunk;
        group[g] = n;
        for (int64_t t = 0; t < v->n_tap; t++) {
            int64_t a = pixel_at(v, i, j, &v->tap[t]);
            if (a < 0) continue;
            seg[3 * n] = a + c0;
            seg[3 * n + 1] = v->tap[t].w * tap_step(p, width) + c0 * width;
            seg[3 * n++ + 2] = min64(chunk, v->ic - c0);
        }
    }
    group[n_group] = n;
}

static void list_row(const plan *p, const tlvi_conv *v, int64_t i, int64_t width, lists *l)
{
    if (l->width == width) return;
    l->width = width;
    for (int64_t j = 0; j < v->ow; j++)
        list_pixel(p, v, i, j, width, l->seg + 3 * p->most * j, l->group + (p->n_group + 1) * j);
}

/* One pixel of images b .. b + n - 1, one panel. */
static void run_pixel(const plan *p, const tlvi_conv *v, int64_t b, int64_t n, int64_t i, int64_t j,
                      int64_t panel, const int64_t *seg, const int64_t *group)
{
    int64_t col = panel * p->k->nr, n_group = count_groups(v);
    const char *x = v->x + b * v->xb * p->es;
    char *y = v->y + (b * v->yb + i * v->yh + j * v->yw + col) * p->es;
    tlvi_conv_end end;
    if (v->follow) {
        end = tlvi_conv_end_at(v, b, i, j, col);
        end.ldr = v->rb;
    }
    for (int64_t g = 0; g < n_group; g++)
        p->k->conv_tile((int)n, panel_cols(p, panel), group[g + 1] - group[g], seg + 3 * group[g],
                        x, v->xb, panel_at(p, panel), panel_width(p, panel), y, v->yb, g > 0,
                        v->follow && g == n_group - 1 ? &end : NULL);
    if (v->follow && v->act >= 0)
        for (int64_t q = 0; q < n; q++)
            tlvi_conv_act(v, p->k, b + q, i, j, 1, col, panel_cols(p, panel));
}

/* One row of one phase, for a block of images and a range of panels. */
static void run_task(void *arg, int64_t task, int worker)
{
    const plan *p = arg;
    const tlvi_conv *v = p->v;
    int64_t range = task % p->n_range, i = task / p->n_range % p->rows;
    int64_t block = task / p->n_range / p->rows;
    for (; i >= v->oh; v++) i -= v->oh;
    int64_t lo = block * v->batch / p->n_block, hi = (block + 1) * v->batch / p->n_block;
    lists l = { .seg = (int64_t *)(void *)(p->scratch + worker * p->scratch_bytes) };
    l.group = l.seg + 3 * p->most * v->ow;
    int64_t end = min64((range + 1) * p->panels_a_task, p->n_panel);
    for (int64_t panel = range * p->panels_a_task; panel < end; panel++) {
        list_row(p, v, i, panel_width(p, panel), &l);
        for (int64_t j = 0; j < v->ow; j++)
            run_pixel(p, v, lo, hi - lo, i, j, panel, l.seg + 3 * p->most * j,
                      l.group + (p->n_group + 1) * j);
    }
}

/* Sizes of the lists and of the scratch memory, tasks enough for the threads. */
static int64_t plan_forward(plan *p, int64_t n, int threads)
{
    const tlvi_conv *v = p->v;
    int64_t wide = 0, cut = 1;
    for (int64_t i = 0; i < n; i++) {
        p->rows += v[i].oh;
        wide = max64(wide, v[i].ow);
        p->n_group = max64(p->n_group, count_groups(&v[i]));
        p->most = max64(p->most, v[i].n_tap * count_groups(&v[i]));
    }
    p->n_block = ceil_div(v->batch, p->k->mr);
    while (threads > 1 && p->n_block * p->rows * cut < 4 * threads && cut < p->n_panel) cut++;
    p->panels_a_task = ceil_div(p->n_panel, cut);
    p->n_range = ceil_div(p->n_panel, p->panels_a_task);
    int64_t list = (3 * p->most + p->n_group + 1) * wide * (int64_t)sizeof(int64_t);
    p->scratch_bytes = ceil_div(list, 64) * 64;
    return p->n_block * p->rows * p->n_range;
}

tlv_status tlvi_across_run(tlv_ctx *c, int64_t n, const tlvi_conv *v)
{
    if (c->err) return c->err;
    plan p = plan_of(c, v);
    int64_t tasks = plan_forward(&p, n, tlv_threads(c));
    int64_t packed = p.n_panel * panel_bytes(&p);
    int64_t all = tlv_threads(c) * p.scratch_bytes + packed;
    char *mem = tlvi_alloc(c, (size_t)all);
    if (!mem) return c->err;
    p.packed = mem;
    p.scratch = mem + packed;
    int64_t channels = PACK_CHANNELS * p.taps * p.k->nr;
    tlvi_parallel_for(c, p.n_panel * ceil_div(v->ic, PACK_CHANNELS), channels / 4, pack_chunk, &p);
    int64_t pixels = v->batch / p.n_block * v->ow;
    int64_t cost = pixels * p.taps / n * v->ic * p.panels_a_task * p.k->nr / 32;
    tlvi_parallel_for(c, tasks, max64(1, cost), run_task, &p);
    tlvi_free(c, mem, (size_t)all);
    return c->err;
}

/* ---- gradient of the weights ----------------------------------------------------------------- */

static int64_t dw_pixels(const plan *p) { return p->v->oh * p->v->ow; }

static char *gradient_at(const plan *p, int64_t panel)
{
    return p->packed + panel * dw_pixels(p) * p->v->batch * p->k->nr * p->es;
}

static void pack_gradient(void *arg, int64_t panel, int worker)
{
    (void)worker;
    const plan *p = arg;
    const tlvi_conv *v = p->v;
    int64_t width = panel_width(p, panel), step = v->batch * width * p->es;
    char *to = gradient_at(p, panel);
    for (int64_t i = 0; i < v->oh; i++)
        for (int64_t j = 0; j < v->ow; j++, to += step)
            p->k->gemm_pack_b(panel_cols(p, panel), (int)width, v->batch,
                              v->y + (i * v->yh + j * v->yw + panel * p->k->nr) * p->es, v->yb, 1,
                              to);
}

/* The pixels whose tap lies inside; returns how many. */
static int64_t list_tap(const plan *p, const tlvi_tap *t, int64_t width, int64_t *seg)
{
    const tlvi_conv *v = p->v;
    int64_t n = 0;
    for (int64_t i = 0; i < v->oh; i++)
        for (int64_t j = 0; j < v->ow; j++) {
            int64_t a = pixel_at(v, i, j, t);
            if (a < 0) continue;
            seg[3 * n] = a;
            seg[3 * n + 1] = (i * v->ow + j) * v->batch * width;
            seg[3 * n++ + 2] = v->batch;
        }
    return n;
}

/* One tap of one panel: ic rows, in balanced tiles. */
static void dw_chunk(void *arg, int64_t task, int worker)
{
    const plan *p = arg;
    const tlvi_conv *v = p->v;
    int64_t panel = task / v->n_tap, t = task % v->n_tap, width = panel_width(p, panel);
    int64_t *seg = (int64_t *)(void *)(p->scratch + worker * p->scratch_bytes);
    int64_t n = list_tap(p, &v->tap[t], width, seg), n_tile = ceil_div(v->ic, p->k->mr);
    int64_t n_group = max64(1, ceil_div(n * v->batch, DW_GROUP_K));
    char *out = p->part + panel * panel_bytes(p) + t * tap_step(p, width) * p->es;
    for (int64_t g = 0; g < n_group; g++) {
        int64_t first = g * n / n_group, last = (g + 1) * n / n_group;
        for (int64_t i = 0; i < n_tile; i++) {
            int64_t lo = i * v->ic / n_tile, hi = (i + 1) * v->ic / n_tile;
            p->k->conv_dw_tile((int)(hi - lo), (int)width, last - first, seg + 3 * first,
                               v->x + lo * p->es, v->xb, gradient_at(p, panel), width,
                               out + lo * width * p->es, width, g > 0);
        }
    }
}

/* Some channels of a panel, from [tap][in][out] to [out][in][tap]. */
static void unpack_chunk(void *arg, int64_t i, int worker)
{
    (void)worker;
    const plan *p = arg;
    const tlvi_conv *v = p->v;
    span h = span_at(p, i);
    const char *from = p->part + h.panel * panel_bytes(p);
    char *to = p->dw + h.panel * p->k->nr * v->w_out * p->es;
    for (int64_t c = h.lo; c < h.hi; c++)
        p->k->transpose((size_t)v->n_tap, (size_t)panel_cols(p, h.panel),
                        from + c * h.width * p->es, tap_step(p, h.width), to + c * v->n_tap * p->es,
                        v->w_out);
}

tlv_status tlvi_across_dw_run(tlv_ctx *c, const tlvi_conv *v, char *dw)
{
    if (c->err) return c->err;
    plan p = plan_of(c, v);
    p.dw = dw;
    p.scratch_bytes = ceil_div(3 * dw_pixels(&p) * (int64_t)sizeof(int64_t), 64) * 64;
    int64_t packed = p.n_panel * dw_pixels(&p) * v->batch * p.k->nr * p.es;
    int64_t part = p.n_panel * panel_bytes(&p);
    int64_t all = packed + part + tlv_threads(c) * p.scratch_bytes;
    char *mem = tlvi_alloc(c, (size_t)all);
    if (!mem) return c->err;
    p.packed = mem;
    p.part = mem + packed;
    p.scratch = mem + packed + part;
    int64_t values = dw_pixels(&p) * v->batch * p.k->nr;
    tlvi_parallel_for(c, p.n_panel, values / 8, pack_gradient, &p);
    tlvi_parallel_for(c, p.n_panel * v->n_tap, max64(1, values * v->ic / 32), dw_chunk, &p);
    tlvi_parallel_for(c, p.n_panel * ceil_div(v->ic, PACK_CHANNELS),
                      PACK_CHANNELS * v->n_tap * p.k->nr / 4, unpack_chunk, &p);
    tlvi_free(c, mem, (size_t)all);
    return c->err;
}
