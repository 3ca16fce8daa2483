/* direct.c -- convolution as a matrix product that is fed with pixel addresses: no im2col.
 *
 * The output is cut into blocks of pixels and the input into chunks of channels.  For each of both
 * the input pixels that are needed, border zeros included, are copied into a strip that stays in
 * the L2 cache; where no pixel lies outside they are read in place.  In a strip the pixels of one
 * output row under one tap are rows of a matrix at a fixed distance, and neighbouring taps of a
 * filter row join into one longer run; so the product's tile walks through the strip itself.
 * Weights are packed into panels of nr output channels each call. */
#include "tensor/direct.h"

enum {
    CHUNK_K = 384,                      /* terms (taps x channels) of a chunk, about */
    GROUP_K = 512,                      /* terms in one accumulator; then it is added to y */
    CHUNK_LEAST = 16,                   /* channels of a chunk where there are many taps */
    STRIP_BYTES = 192 << 10,            /* a part of the L2 cache */
    ROW_TILES = 16,                     /* tiles in a row of a block at most */
    PIXELS = 512,                       /* of a block of several images */
    DW_PIXELS = 256,                    /* gradient of the weights: pixels a block at most, */
    DW_STRIP_BYTES = 256 << 10,         /* their channels, */
    DW_CHUNK_LEAST = 32,
    DW_COLS = 128,                      /* the gradient's channels at a time, */
    DW_STEP = 16,                       /* packed in steps of so many pixels, */
    DW_TASKS = 16                       /* and tasks wanted where parts of the sum make them */
};

static inline int64_t min64(int64_t a, int64_t b) { return a < b ? a : b; }
static inline int64_t max64(int64_t a, int64_t b) { return a > b ? a : b; }
static inline int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

/* Segments of A for conv_tile, and where the groups of them begin (and end). */
typedef struct walk { int64_t *seg, *group, n_group; } walk;

typedef struct plan {
    tlvi_conv v;
    tlvi_tap one;                           // a single tap's list
    const tlvi_kset *k;
    int64_t es;                             // bytes of an element
    int64_t dy0, dy1, dx0, dx1;             // extent of the taps
    int in_place;
    int64_t bh, bw, n_bh, n_bw;             // a block's output rows and columns; blocks an image
    int64_t bn;                // images a block: more than one only where bh x bw is all of it
    int64_t chunk, n_chunk;    // input channels at a time
    int64_t pitch, row, image; // elements from pixel to pixel, row to row and image to image of A
    char *strip;                            // one a worker, strip_bytes each
    int64_t strip_bytes;
    int64_t n_panel, panels_a_task, n_col_task, last_width;
    char *packed;
    // forward
    walk walk[2][2];                        // [last chunk][last panel]
    // gradient of the weights
    int64_t rows, part_size, n_part, n_unit;
    char *part, *dw;
} plan;

/* What a task works on: `n` images from b on, rows oy.., columns ox.. of each. */
typedef struct block { int64_t b, n, oy, rows, ox, cols; } block;

/* ---- preparing ------------------------------------------------------------------------------- */

/* A single tap that stays inside sees an image of just its pixels, and one long row of them where
 * memory allows it. */
static void collapse(plan *p)
{
    tlvi_conv *v = &p->v;
    if (v->n_tap != 1) return;
    tlvi_tap t = v->tap[0];
    if (t.dy < 0 || t.dx < 0 || (v->oh - 1) * v->sh + t.dy >= v->ih
        || (v->ow - 1) * v->sw + t.dx >= v->iw)
        return;
    p->one = (tlvi_tap){ 0, 0, t.w };
    v->tap = &p->one;
    v->x += (t.dy * v->xh + t.dx * v->xw) * p->es;
    v->xh *= v->sh;
    v->xw *= v->sw;
    v->sh = v->sw = 1;
    v->ih = v->oh;
    v->iw = v->ow;
    int res = v->follow && v->res;
    if (v->xh == v->iw * v->xw && v->yh == v->ow * v->yw && (!res || v->rh == v->ow * v->rw)) {
        v->iw = v->ow = v->ow * v->oh;
        v->ih = v->oh = 1;
        if (v->xb == v->iw * v->xw && v->yb == v->ow * v->yw && (!res || v->rb == v->ow * v->rw)) {
            v->iw = v->ow = v->ow * v->batch;
            v->batch = 1;
        }
    }
}

static int64_t strip_cols(const plan *p, int64_t bw)
{
    return (bw - 1) * p->v.sw + p->dx1 - p->dx0 + 1;
}
static int64_t strip_rows(const plan *p, int64_t bh)
{
    return (bh - 1) * p->v.sh + p->dy1 - p->dy0 + 1;
}

/* Blocks of at most `pixels`, and of `bytes` in a strip of `channels`. */
static void plan_blocks(plan *p, int64_t pixels, int64_t channels, int64_t bytes)
{
    const tlvi_conv *v = &p->v;
    int64_t most = bytes / max64(1, channels * p->es);      // pixels of a strip
    int64_t wide = min64(pixels, (int64_t)ROW_TILES * p->k->mr);
    p->bw = ceil_div(v->ow, ceil_div(v->ow, wide));
    while (p->bw > p->k->mr && strip_cols(p, p->bw) * strip_rows(p, 1) > most)
        p->bw = ceil_div(p->bw, 2);
    p->bh = 1;
    while (p->bh < v->oh && (p->bh + 1) * p->bw <= pixels
           && strip_cols(p, p->bw) * strip_rows(p, p->bh + 1) <= most)
        p->bh++;
    p->bh = ceil_div(v->oh, ceil_div(v->oh, p->bh));
    p->n_bh = ceil_div(v->oh, p->bh);
    p->n_bw = ceil_div(v->ow, p->bw);
    p->bn = 1;
    if (p->n_bh * p->n_bw > 1) return;
    int64_t fit = min64(min64(pixels, PIXELS) / (p->bh * p->bw),
                        most / (strip_rows(p, p->bh) * strip_cols(p, p->bw)));
    fit = max64(1, min64(fit, v->batch));
    p->bn = ceil_div(v->batch, ceil_div(v->batch, fit));
}

static int64_t count_blocks(const plan *p)
{
    return ceil_div(p->v.batch, p->bn) * p->n_bh * p->n_bw;
}

static block block_at(const plan *p, int64_t i)
{
    const tlvi_conv *v = &p->v;
    block k = { .ox = i % p->n_bw * p->bw, .oy = i / p->n_bw % p->n_bh * p->bh,
                .b = i / p->n_bw / p->n_bh * p->bn };
    k.cols = min64(p->bw, v->ow - k.ox);
    k.rows = min64(p->bh, v->oh - k.oy);
    k.n = min64(p->bn, v->batch - k.b);
    return k;
}

/* in place: no tap leaves the image. */
static void plan_input(plan *p, tlv_ctx *c, const tlvi_conv *v)
{
    *p = (plan){ .v = *v, .k = tlvi_ks(c, v->dtype), .es = v->dtype == TLV_F64 ? 8 : 4 };
    collapse(p);
    v = &p->v;
    for (int64_t t = 0; t < v->n_tap; t++) {
        const tlvi_tap *a = &v->tap[t];
        p->dy0 = t ? min64(p->dy0, a->dy) : a->dy;
        p->dy1 = t ? max64(p->dy1, a->dy) : a->dy;
        p->dx0 = t ? min64(p->dx0, a->dx) : a->dx;
        p->dx1 = t ? max64(p->dx1, a->dx) : a->dx;
    }
    p->in_place = v->ic > 0 && p->dy0 >= 0 && p->dx0 >= 0 && (v->oh - 1) * v->sh + p->dy1 < v->ih
                  && (v->ow - 1) * v->sw + p->dx1 < v->iw;
    p->n_panel = ceil_div(v->oc, p->k->nr);
    int64_t last = v->oc - (p->n_panel - 1) * p->k->nr;
    p->last_width = last <= p->k->lanes ? p->k->lanes : p->k->nr;
}

static void cut_channels(plan *p, int64_t chunk)
{
    p->chunk = chunk;
    p->n_chunk = max64(1, ceil_div(p->v.ic, chunk));
}

static int64_t even_chunk(int64_t ic, int64_t n) { return max64(1, ceil_div(ic, max64(1, n))); }

int64_t tlvi_conv_chunk(int64_t taps, int64_t ic)
{
    return even_chunk(ic, min64(ceil_div(taps * ic, CHUNK_K), ceil_div(ic, CHUNK_LEAST)));
}

/* A distance of pixels that is a multiple of `set` bytes maps them into few sets of the L1 cache:
 * then a strip has a gap. */
static void plan_pitch(plan *p, int64_t set)
{
    const tlvi_conv *v = &p->v;
    if (p->in_place) {
        p->pitch = v->xw;
        p->row = v->xh;
        p->image = v->xb;
        return;
    }
    p->pitch = min64(v->ic, p->chunk);
    if (v->ic > 0 && v->sw * p->pitch * p->es % set == 0) p->pitch += 64 / p->es;
    p->row = strip_cols(p, p->bw) * p->pitch;
    p->image = strip_rows(p, p->bh) * p->row;
    p->strip_bytes = max64(64, p->bn * p->image * p->es + 63) / 64 * 64;
}

static int panel_cols(const plan *p, int64_t i)
{
    return (int)min64(p->k->nr, p->v.oc - i * p->k->nr);
}
static int64_t panel_width(const plan *p, int64_t i)
{
    return i == p->n_panel - 1 ? p->last_width : p->k->nr;
}
static int64_t chunk_size(const plan *p, int64_t i)
{
    return min64(p->chunk, p->v.ic - i * p->chunk);
}

/* ---- strips ---------------------------------------------------------------------------------- */

/* n pixels of row y from column x on, channels c0 .. c0 + nc - 1, zeros outside of the image. */
static void fill_row(const plan *p, int64_t b, int64_t y, int64_t x, int64_t n, int64_t c0,
                     int64_t nc, char *dst)
{
    const tlvi_conv *v = &p->v;
    int64_t px = p->pitch * p->es, len = nc * p->es;
    int64_t lo = min64(n, max64(0, -x)), hi = max64(lo, min64(n, v->iw - x));
    if (y < 0 || y >= v->ih) lo = hi = n;
    if (lo > 0) memset(dst, 0, (size_t)(lo * px));
    if (hi < n) memset(dst + hi * px, 0, (size_t)((n - hi) * px));
    if (lo >= hi) return;
    const char *from = v->x + (b * v->xb + y * v->xh + (x + lo) * v->xw + c0) * p->es;
    dst += lo * px;
    if (v->xw == nc && p->pitch == nc) {
        memcpy(dst, from, (size_t)((hi - lo) * len));
        return;
    }
    for (int64_t i = lo; i < hi; i++, dst += px, from += v->xw * p->es)
        memcpy(dst, from, (size_t)len);
}

/* Where A begins for a block and a chunk: the image itself, or a strip filled now. */
static const char *block_input(const plan *p, int worker, const block *k, int64_t chunk)
{
    const tlvi_conv *v = &p->v;
    int64_t y = k->oy * v->sh + p->dy0, x = k->ox * v->sw + p->dx0, c0 = chunk * p->chunk;
    if (p->in_place) return v->x + (k->b * v->xb + y * v->xh + x * v->xw + c0) * p->es;
    char *strip = p->strip + worker * p->strip_bytes;
    for (int64_t q = 0; q < k->n; q++)
        for (int64_t i = 0; i < strip_rows(p, k->rows); i++)
            fill_row(p, k->b + q, y + i, x, strip_cols(p, k->cols), c0, chunk_size(p, chunk),
                     strip + (q * p->image + i * p->row) * p->es);
    return strip;
}

/* ---- forward --------------------------------------------------------------------------------- */

/* Neighbouring taps join, long ones are cut.  Returns how many integers it wrote. */
static int64_t list_walk(const plan *p, int64_t channels, int64_t width, int64_t *room, walk *w)
{
    const tlvi_conv *v = &p->v;
    int64_t n = 0, at = 0, in_group = 0, most = v->n_tap * (ceil_div(p->chunk, GROUP_K) + 1) + 1;
    *w = (walk){ .seg = room, .group = room + 3 * most };
    int64_t *seg = w->seg;
    w->group[0] = 0;
    for (int64_t t = 0; t < v->n_tap; t++) {
        int64_t a = (v->tap[t].dy - p->dy0) * p->row + (v->tap[t].dx - p->dx0) * p->pitch;
        for (int64_t done = 0; done < channels;) {
            if (in_group == GROUP_K) {
                w->group[++w->n_group] = n;
                in_group = 0;
            }
            int64_t k = min64(channels - done, GROUP_K - in_group);
            if (in_group && seg[3 * n - 3] + seg[3 * n - 1] == a + done) {
                seg[3 * n - 1] += k;
            } else {
                seg[3 * n] = a + done;
                seg[3 * n + 1] = at * width;
                seg[3 * n + 2] = k;
                n++;
            }
            at += k;
            done += k;
            in_group += k;
        }
    }
    w->group[++w->n_group] = n;
    return 4 * most + 2;
}

static char *panel_at(const plan *p, int64_t panel, int64_t chunk)
{
    int64_t before = panel * p->v.ic * p->k->nr + chunk * p->chunk * panel_width(p, panel);
    return p->packed + before * p->v.n_tap * p->es;
}

static void pack_chunk(void *arg, int64_t i, int worker)
{
    (void)worker;
    const plan *p = arg;
    const tlvi_conv *v = &p->v;
    int64_t t = i % v->n_tap, chunk = i / v->n_tap % p->n_chunk, panel = i / v->n_tap / p->n_chunk;
    int64_t width = panel_width(p, panel), n = chunk_size(p, chunk);
    int64_t from = v->tap[t].w + panel * p->k->nr * v->w_out + chunk * p->chunk * v->w_in;
    p->k->gemm_pack_b(panel_cols(p, panel), (int)width, n, v->w + from * p->es, v->w_in, v->w_out,
                      panel_at(p, panel, chunk) + t * n * width * p->es);
}

tlvi_conv_end tlvi_conv_end_at(const tlvi_conv *v, int64_t b, int64_t i, int64_t j, int64_t col)
{
    int64_t es = v->dtype == TLV_F64 ? 8 : 4;
    return (tlvi_conv_end){ .scale = v->scale ? v->scale + col * es : NULL,
                            .shift = v->shift ? v->shift + col * es : NULL,
                            .res = v->res
                                       ? v->res + (b * v->rb + i * v->rh + j * v->rw + col) * es
                                       : NULL,
                            .ldr = v->rw,
                            .lo = v->lo,
                            .hi = v->hi };
}

void tlvi_conv_act(const tlvi_conv *v, const tlvi_kset *k, int64_t b, int64_t i, int64_t j,
                   int64_t n, int64_t col, int64_t cols)
{
    int64_t es = v->dtype == TLV_F64 ? 8 : 4;
    char *y = v->y + (b * v->yb + i * v->yh + j * v->yw + col) * es;
    if (!v->follow || v->act < 0) return;
    for (int64_t q = 0; q < n; q++, y += v->yw * es) k->unary[v->act]((size_t)cols, y, y, 0, 0);
}

/* One row of a block: the tiles of one panel and one group. */
static void run_row(const plan *p, const block *k, int64_t b, int64_t i, const char *a,
                    int64_t panel, const walk *w, int64_t g, const char *packed, int add, int ends)
{
    const tlvi_conv *v = &p->v;
    int64_t col = panel * p->k->nr, n_tile = ceil_div(k->cols, p->k->mr);
    char *y = v->y + (b * v->yb + i * v->yh + k->ox * v->yw + col) * p->es;
    for (int64_t t = 0; t < n_tile; t++) {
        int64_t lo = t * k->cols / n_tile, hi = (t + 1) * k->cols / n_tile;
        tlvi_conv_end end;
        if (ends) end = tlvi_conv_end_at(v, b, i, k->ox + lo, col);
        p->k->conv_tile((int)(hi - lo), panel_cols(p, panel), w->group[g + 1] - w->group[g],
                        w->seg + 3 * w->group[g], a + lo * v->sw * p->pitch * p->es,
                        v->sw * p->pitch, packed, panel_width(p, panel), y + lo * v->yw * p->es,
                        v->yw, add, ends ? &end : NULL);
    }
}

/* One panel of output channels of one block, one chunk of channels added. */
static void run_panel(const plan *p, const block *k, int64_t panel, int64_t chunk, const char *a)
{
    const tlvi_conv *v = &p->v;
    int last = chunk == p->n_chunk - 1;
    const walk *w = &p->walk[last][panel == p->n_panel - 1];
    const char *packed = panel_at(p, panel, chunk);
    for (int64_t g = 0; g < w->n_group; g++)
        for (int64_t q = 0; q < k->n; q++)
            for (int64_t i = 0; i < k->rows; i++)
                run_row(p, k, k->b + q, k->oy + i,
                        a + (q * p->image + i * v->sh * p->row) * p->es, panel, w, g, packed,
                        chunk > 0 || g > 0, v->follow && last && g == w->n_group - 1);
    if (!last) return;
    for (int64_t q = 0; q < k->n; q++)
        for (int64_t i = 0; i < k->rows; i++)
            tlvi_conv_act(v, p->k, k->b + q, k->oy + i, k->ox, k->cols, panel * p->k->nr,
                          panel_cols(p, panel));
}

static void run_chunk(void *arg, int64_t i, int worker)
{
    const plan *p = arg;
    int64_t task = i % p->n_col_task;
    block k = block_at(p, i / p->n_col_task);
    int64_t lo = task * p->panels_a_task, hi = min64(lo + p->panels_a_task, p->n_panel);
    for (int64_t chunk = 0; chunk < p->n_chunk; chunk++) {
        const char *a = block_input(p, worker, &k, chunk);
        for (int64_t q = lo; q < hi; q++) run_panel(p, &k, q, chunk, a);
    }
}

static void cut_panels(plan *p, int64_t tasks)
{
    p->panels_a_task = ceil_div(p->n_panel, max64(1, min64(p->n_panel, tasks)));
    p->n_col_task = ceil_div(p->n_panel, p->panels_a_task);
}

/* Fewer channels and smaller blocks a task where there would be too few tasks for the threads: that
 * cuts outputs only, no sum. */
static int64_t plan_tasks(plan *p, int threads)
{
    int64_t want = threads > 1 ? 8 * threads : 1, wide = max64(1, p->n_panel / 4);
    while (count_blocks(p) * wide < want && p->bn > 1) p->bn = ceil_div(p->bn, 2);
    while (count_blocks(p) * wide < want && p->bh > 1) {
        p->bh = ceil_div(p->bh, 2);
        p->n_bh = ceil_div(p->v.oh, p->bh);
    }
    cut_panels(p, ceil_div(want, count_blocks(p)));
    return count_blocks(p) * p->n_col_task;
}

/* One allocation for everything: strips, packed weights, segments. */
static void run_planned(tlv_ctx *c, plan *p, int64_t tasks)
{
    const tlvi_conv *v = &p->v;
    int64_t terms = v->n_tap * v->ic;
    int64_t room = 4 * (v->n_tap * (ceil_div(p->chunk, GROUP_K) + 1) + 1) + 2;
    int64_t strips = tlv_threads(c) * p->strip_bytes, lists = 4 * room * (int64_t)sizeof(int64_t);
    int64_t packed = p->n_panel * terms * p->k->nr * p->es, all = strips + packed + lists;
    char *mem = tlvi_alloc(c, (size_t)all);
    if (!mem) return;
    p->strip = mem;
    p->packed = mem + strips;
    int64_t *list = (int64_t *)(void *)(mem + strips + packed);
    for (int i = 0; i < 4; i++)
        list += list_walk(p, i / 2 ? chunk_size(p, p->n_chunk - 1) : min64(p->chunk, v->ic),
                          i % 2 ? p->last_width : p->k->nr, list, &p->walk[i / 2][i % 2]);
    if (terms)
        tlvi_parallel_for(c, p->n_panel * p->n_chunk * v->n_tap, p->chunk * p->k->nr, pack_chunk,
                          p);
    int64_t pixels = p->bn * p->bh * p->bw;
    int64_t cost = pixels * terms * p->panels_a_task * p->k->nr / 32;
    tlvi_parallel_for(c, tasks, max64(cost, pixels), run_chunk, p);
    tlvi_free(c, mem, (size_t)all);
}

tlv_status tlvi_conv_run(tlv_ctx *c, const tlvi_conv *v)
{
    if (c->err || v->batch * v->oh * v->ow * v->oc == 0) return c->err;
    plan p;
    plan_input(&p, c, v);
    // rows of a tile that fall into one set of the L1 cache are worth a copy
    if (p.v.sw * p.v.xw * p.es % 4096 == 0) p.in_place = 0;
    cut_channels(&p, tlvi_conv_chunk(v->n_tap, v->ic));
    plan_blocks(&p, INT64_MAX, p.chunk, STRIP_BYTES);
    int64_t tasks = plan_tasks(&p, tlv_threads(c));
    plan_pitch(&p, 2048);
    run_planned(c, &p, tasks);
    return c->err;
}

/* ---- gradient of the weights ----------------------------------------------------------------- */

int64_t tlvi_count_parts(int64_t units, int64_t bytes, int64_t work)
{
    int64_t n = min64(min64(16, units), (8 << 20) / max64(bytes, 1));
    return max64(1, min64(n, work >> 20));
}

typedef struct parts_job {
    const tlvi_kset *k;
    char *parts;
    int64_t es, n, size;
} parts_job;

enum { PARTS_CHUNK = 4096 };

static void parts_chunk(void *arg, int64_t i, int worker)
{
    (void)worker;
    const parts_job *j = arg;
    int64_t lo = i * PARTS_CHUNK, n = min64(PARTS_CHUNK, j->size - lo);
    char *to = j->parts + lo * j->es;
    for (int64_t q = 1; q < j->n; q++)
        j->k->binary[TLVI_BIN_ADD]((size_t)n, to, to + q * j->size * j->es, to, 0, 0);
}

void tlvi_sum_parts(tlv_ctx *c, const tlvi_kset *k, size_t es, int64_t n, int64_t size, char *parts)
{
    parts_job j = { k, parts, (int64_t)es, n, size };
    if (n > 1)
        tlvi_parallel_for(c, ceil_div(size, PARTS_CHUNK), n * PARTS_CHUNK / 8, parts_chunk, &j);
}

/* Neighbouring panels of y's gradient, a block's pixels one behind the other in each, and the
 * segments of the last one and of the others. */
typedef struct gradient {
    char *at;
    int64_t n_seg, seg[2][3 * DW_PIXELS];
} gradient;

static int64_t dw_panels(const plan *p) { return max64(1, DW_COLS / p->k->nr); }

static void list_gradient(const plan *p, const block *k, gradient *d)
{
    d->n_seg = k->n * k->rows;
    for (int64_t i = 0; i < d->n_seg; i++)
        for (int last = 0; last < 2; last++) {
            int64_t *s = d->seg[last] + 3 * i;
            s[0] = i / k->rows * p->image + i % k->rows * p->v.sh * p->row;
            s[1] = i * k->cols * (last ? p->last_width : p->k->nr);
            s[2] = k->cols;
        }
}

/* Panels p0 .. p1-1.  All of them advance together, for the sake of whoever fetches from memory. */
static void pack_gradient(const plan *p, const block *k, int64_t p0, int64_t p1, const gradient *d)
{
    const tlvi_conv *v = &p->v;
    int64_t nr = p->k->nr;
    for (int64_t q = 0; q < d->n_seg; q++) {
        int64_t b = k->b + q / k->rows, i = k->oy + q % k->rows;
        for (int64_t x = 0; x < k->cols; x += DW_STEP) {
            int64_t n = min64(DW_STEP, k->cols - x);
            const char *from = v->y + (b * v->yb + i * v->yh + (k->ox + x) * v->yw) * p->es;
            for (int64_t panel = p0; panel < p1; panel++) {
                int64_t width = panel_width(p, panel);
                int64_t to = (panel - p0) * DW_PIXELS * nr + (q * k->cols + x) * width;
                p->k->gemm_pack_b(panel_cols(p, panel), (int)width, n, from + panel * nr * p->es,
                                  v->yw, 1, d->at + to * p->es);
            }
        }
    }
}

/* Where a part of the sum goes: one panel, its gradient, and whether it is the first there. */
typedef struct dw_panel {
    const char *g;
    const int64_t *seg;
    int64_t n_seg, width;
    char *out;
    int add;
} dw_panel;

/* Rows [row, row + n) of A^T, one filter row or a tap of it: at a in the strip. */
static void dw_rows(const plan *p, const dw_panel *d, const char *a, int64_t row, int64_t n)
{
    int64_t n_tile = ceil_div(n, p->k->mr);
    for (int64_t t = 0; t < n_tile; t++) {
        int64_t lo = t * n / n_tile, hi = (t + 1) * n / n_tile;
        p->k->conv_dw_tile((int)(hi - lo), (int)d->width, d->n_seg, d->seg, a + lo * p->es,
                           p->v.sw * p->pitch, d->g, d->width,
                           d->out + (row + lo) * d->width * p->es, d->width, d->add);
    }
}

/* All taps of one chunk; taps that lie one behind the other in both places join. */
static void dw_block(const plan *p, const dw_panel *d, const char *a, int64_t chunk)
{
    const tlvi_conv *v = &p->v;
    int64_t begin = 0, at = 0, c0 = chunk * p->chunk, n = chunk_size(p, chunk);
    for (int64_t t = 0; t < v->n_tap; t++) {
        int64_t here = (v->tap[t].dy - p->dy0) * p->row + (v->tap[t].dx - p->dx0) * p->pitch;
        if (t == begin) at = here;
        int64_t next = t + 1 == v->n_tap ? -1
                                         : (v->tap[t + 1].dy - p->dy0) * p->row
                                               + (v->tap[t + 1].dx - p->dx0) * p->pitch;
        if (n == v->ic && next == here + n) continue;
        dw_rows(p, d, a + at * p->es, begin * v->ic + c0, (t - begin) * v->ic + n);
        begin = t + 1;
    }
}

/* A part of the sum, for one chunk and some panels. */
static void dw_chunk(void *arg, int64_t i, int worker)
{
    const plan *p = arg;
    int64_t task = i % p->n_col_task, chunk = i / p->n_col_task % p->n_chunk;
    int64_t q = i / p->n_col_task / p->n_chunk, nr = p->k->nr, many = dw_panels(p);
    int64_t lo = q * p->n_unit / p->n_part, hi = (q + 1) * p->n_unit / p->n_part;
    int64_t p0 = task * p->panels_a_task, end = min64(p0 + p->panels_a_task, p->n_panel);
    char *part = p->part + q * p->part_size * p->es;
    gradient g = { .at = p->packed + worker * many * DW_PIXELS * nr * p->es };
    for (int64_t u = lo; u < hi; u++) {
        block k = block_at(p, u);
        const char *a = block_input(p, worker, &k, chunk);
        list_gradient(p, &k, &g);
        for (int64_t from = p0; from < end; from += many) {
            int64_t to = min64(from + many, end);
            pack_gradient(p, &k, from, to, &g);
            for (int64_t panel = from; panel < to; panel++) {
                dw_panel d = { .g = g.at + (panel - from) * DW_PIXELS * nr * p->es,
                               .seg = g.seg[panel == p->n_panel - 1], .n_seg = g.n_seg,
                               .width = panel_width(p, panel),
                               .out = part + panel * p->rows * nr * p->es, .add = u > lo };
                dw_block(p, &d, a, chunk);
            }
        }
    }
}

/* A panel from [tap][in][out] to [out][in][tap]. */
static void unpack_chunk(void *arg, int64_t i, int worker)
{
    const plan *p = arg;
    const tlvi_conv *v = &p->v;
    int64_t o = i * p->k->nr, n = panel_cols(p, i), rows = p->rows;
    const char *from = p->part + o * rows * p->es;
    char *to = p->dw + o * v->w_out * p->es;
    char *tmp = p->packed + worker * p->k->nr * rows * p->es;
    if (v->n_tap == 1) {
        p->k->transpose((size_t)rows, (size_t)n, from, panel_width(p, i), to, v->w_out);
        return;
    }
    p->k->transpose((size_t)rows, (size_t)n, from, panel_width(p, i), tmp, rows);
    for (int64_t q = 0; q < n; q++)
        p->k->transpose((size_t)v->n_tap, (size_t)v->ic, tmp + q * rows * p->es, v->ic,
                        to + q * v->w_out * p->es, v->n_tap);
}

/* Blocks of pixels, chunks of channels and parts of the sum, by shape alone. */
static void plan_dw(plan *p, tlv_ctx *c, const tlvi_conv *v)
{
    plan_input(p, c, v);
    plan_blocks(p, DW_PIXELS, min64(v->ic, DW_CHUNK_LEAST), DW_STRIP_BYTES);
    int64_t pixels = p->bn * strip_rows(p, p->bh) * strip_cols(p, p->bw);
    int64_t channels = max64(DW_CHUNK_LEAST, DW_STRIP_BYTES / (pixels * p->es));
    cut_channels(p, even_chunk(v->ic, ceil_div(v->ic, channels)));
    // pixels whose channels are read a few at a time are worth a copy in one go
    if (p->v.sw * p->v.xw * p->es > 128) p->in_place = 0;
    plan_pitch(p, 256);
    p->rows = v->n_tap * v->ic;
    p->part_size = p->rows * p->n_panel * p->k->nr;
    p->n_unit = count_blocks(p);
    int64_t work = p->v.batch * p->v.oh * p->v.ow * p->rows * v->oc;
    p->n_part = min64(tlvi_count_parts(p->n_unit, p->part_size * p->es, work),
                      ceil_div(DW_TASKS, p->n_chunk));
}

tlv_status tlvi_conv_dw_run(tlv_ctx *c, const tlvi_conv *v, char *dw)
{
    if (c->err || v->n_tap * v->ic * v->oc == 0) return c->err;
    int64_t pixels = v->batch * v->oh * v->ow, threads = tlv_threads(c);
    if (pixels == 0) {
        int64_t es = v->dtype == TLV_F64 ? 8 : 4;
        for (int64_t o = 0; o < v->oc; o++)
            memset(dw + o * v->w_out * es, 0, (size_t)(v->n_tap * v->ic * es));
        return c->err;
    }
    plan p;
    plan_dw(&p, c, v);
    p.dw = dw;
    cut_panels(&p, ceil_div(threads > 1 ? 4 * threads : 1, p.n_part * p.n_chunk));
    int64_t strips = threads * p.strip_bytes, parts = p.n_part * p.part_size * p.es;
    int64_t room = max64(dw_panels(&p) * DW_PIXELS, p.rows) * p.k->nr * p.es;
    int64_t all = strips + parts + threads * room;
    char *mem = tlvi_alloc(c, (size_t)all);
    if (!mem) return c->err;
    p.strip = mem;
    p.part = mem + strips;
    p.packed = mem + strips + parts;
    int64_t cost = pixels / p.n_part * p.rows / p.n_chunk
                   * min64(v->oc, p.panels_a_task * p.k->nr) / 32;
    tlvi_parallel_for(c, p.n_part * p.n_chunk * p.n_col_task, max64(1, cost), dw_chunk, &p);
    tlvi_sum_parts(c, p.k, (size_t)p.es, p.n_part, p.part_size, p.part);
    tlvi_parallel_for(c, p.n_panel, p.rows * p.k->nr / 2, unpack_chunk, &p);
    tlvi_free(c, mem, (size_t)all);
    return c->err;
}
