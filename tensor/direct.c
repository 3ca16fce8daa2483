/* direct.c -- convolution as a matrix product that is fed with pixel addresses: no im2col.
 *
 * The output is cut into blocks of a few rows.  For each block the input pixels it needs, border
 * zeros included, are copied into a strip that stays in the L2 cache; where no pixel lies outside
 * they are read in place.  In a strip the pixels of one output row under one tap are rows of a
 * matrix at a fixed distance, and neighbouring taps of a filter row join into one longer run; so
 * the product's tile walks through the strip itself.  Weights are packed into panels of nr output
 * channels each call. */
#include "tensor/direct.h"

enum {
    GROUP_K = 384,                      /* terms in one accumulator; then it is added to y */
    STRIP_BYTES = 128 << 10,            /* a part of the L2 cache */
    ROW_TILES = 16,                     /* tiles in a row of a block at most */
    DW_PIXELS = 512,                    /* gradient of the weights: pixels a block at most */
    DW_STRIP_BYTES = 512 << 10          /* where a block holds several images */
};

static inline int64_t min64(int64_t a, int64_t b) { return a < b ? a : b; }
static inline int64_t max64(int64_t a, int64_t b) { return a > b ? a : b; }
static inline int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

typedef struct plan {
    tlvi_conv v;
    const tlvi_kset *k;
    int64_t es;                             // bytes of an element
    int64_t dy0, dy1, dx0, dx1;             // extent of the taps
    int in_place;
    int64_t bh, bw, n_bh, n_bw;             // a block's output rows and columns; blocks an image
    int64_t bn;                // images a block: more than one only where bh x bw is all of it
    int64_t pitch, row, image; // elements from pixel to pixel, row to row and image to image of A
    char *strip;                            // one a worker, strip_bytes each
    int64_t strip_bytes;
    // forward
    int64_t *seg[2]; // segments for panels of nr columns, and for the last one
    int64_t n_seg, *group, n_group;         // first segment of each group, and one past the last
    int64_t k_all, n_panel, panels_a_task, n_col_task, last_width;
    char *packed;
    // gradient of the weights
    int64_t rows, ldp, part_size, n_part, n_unit;
    char *part, *dw;
} plan;

/* ---- preparing ------------------------------------------------------------------------------- */

/* A 1x1 convolution without steps sees one long row of pixels where memory allows it. */
static void collapse(tlvi_conv *v)
{
    if (v->n_tap != 1 || v->sh != 1 || v->sw != 1 || v->tap[0].dy || v->tap[0].dx) return;
    if (v->ih != v->oh || v->iw != v->ow) return;
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

/* pixels: what a block may hold at most. */
static void plan_blocks(plan *p, int64_t pixels)
{
    const tlvi_conv *v = &p->v;
    int64_t es = p->es, tiles = (int64_t)ROW_TILES * p->k->mr;
    p->bw = ceil_div(v->ow, ceil_div(v->ow, min64(tiles, pixels)));
    while (p->bw > p->k->mr && strip_cols(p, p->bw) * strip_rows(p, 1) * v->ic * es > STRIP_BYTES)
        p->bw = ceil_div(p->bw, 2);
    p->bh = 1;
    while (p->bh < v->oh && (p->bh + 1) * p->bw <= pixels
           && strip_cols(p, p->bw) * strip_rows(p, p->bh + 1) * v->ic * es <= STRIP_BYTES)
        p->bh++;
    p->bh = ceil_div(v->oh, ceil_div(v->oh, p->bh));
    p->n_bh = ceil_div(v->oh, p->bh);
    p->n_bw = ceil_div(v->ow, p->bw);
    p->bn = 1;
}

/* in place: no tap leaves the image; a distance of pixels that maps a tile's rows into one set of
 * the L1 cache is worth a copy (by_rows). */
static void plan_input(plan *p, tlv_ctx *c, const tlvi_conv *v, int by_rows)
{
    *p = (plan){ .v = *v, .k = tlvi_ks(c, v->dtype), .es = v->dtype == TLV_F64 ? 8 : 4 };
    collapse(&p->v);
    v = &p->v;
    for (int64_t t = 0; t < v->n_tap; t++) {
        const tlvi_tap *a = &v->tap[t];
        p->dy0 = t ? min64(p->dy0, a->dy) : a->dy;
        p->dy1 = t ? max64(p->dy1, a->dy) : a->dy;
        p->dx0 = t ? min64(p->dx0, a->dx) : a->dx;
        p->dx1 = t ? max64(p->dx1, a->dx) : a->dx;
    }
    int64_t step = v->sw * v->xw * p->es;
    p->in_place = v->ic > 0 && p->dy0 >= 0 && p->dx0 >= 0 && (v->oh - 1) * v->sh + p->dy1 < v->ih
                  && (v->ow - 1) * v->sw + p->dx1 < v->iw && !(by_rows && step % 4096 == 0);
}

static void plan_pitch(plan *p, int by_rows)
{
    const tlvi_conv *v = &p->v;
    if (p->in_place) {
        p->pitch = v->xw;
        p->row = v->xh;
        p->image = v->xb;
        return;
    }
    p->pitch = v->ic;
    if (by_rows && v->ic > 0 && v->sw * v->ic * p->es % 2048 == 0) p->pitch += 64 / p->es;
    p->row = strip_cols(p, p->bw) * p->pitch;
    p->image = strip_rows(p, p->bh) * p->row;
    p->strip_bytes = max64(64, p->bn * p->image * p->es + 63) / 64 * 64;
}

/* ---- strips ---------------------------------------------------------------------------------- */

/* n pixels of row y from column x on, zeros outside of the image. */
static void fill_row(const plan *p, int64_t b, int64_t y, int64_t x, int64_t n, char *dst)
{
    const tlvi_conv *v = &p->v;
    int64_t px = p->pitch * p->es, len = v->ic * p->es;
    int64_t lo = min64(n, max64(0, -x)), hi = max64(lo, min64(n, v->iw - x));
    if (y < 0 || y >= v->ih) lo = hi = n;
    if (lo > 0) memset(dst, 0, (size_t)(lo * px));
    if (hi < n) memset(dst + hi * px, 0, (size_t)((n - hi) * px));
    if (lo >= hi) return;
    const char *from = v->x + (b * v->xb + y * v->xh + (x + lo) * v->xw) * p->es;
    dst += lo * px;
    if (v->xw == v->ic && p->pitch == v->ic) {
        memcpy(dst, from, (size_t)((hi - lo) * len));
        return;
    }
    for (int64_t i = lo; i < hi; i++, dst += px, from += v->xw * p->es)
        memcpy(dst, from, (size_t)len);
}

/* Where A begins for the block of rows oy.. and columns ox.. of n images: the image itself, or a
 * strip filled now. */
static const char *block_input(const plan *p, int worker, int64_t b, int64_t n, int64_t oy,
                               int64_t rows, int64_t ox, int64_t cols)
{
    const tlvi_conv *v = &p->v;
    int64_t y = oy * v->sh + p->dy0, x = ox * v->sw + p->dx0;
    if (p->in_place) return v->x + (b * v->xb + y * v->xh + x * v->xw) * p->es;
    char *strip = p->strip + worker * p->strip_bytes;
    for (int64_t q = 0; q < n; q++)
        for (int64_t i = 0; i < strip_rows(p, rows); i++)
            fill_row(p, b + q, y + i, x, strip_cols(p, cols),
                     strip + (q * p->image + i * p->row) * p->es);
    return strip;
}

/* ---- forward --------------------------------------------------------------------------------- */

static int panel_cols(const plan *p, int64_t i)
{
    return (int)min64(p->k->nr, p->v.oc - i * p->k->nr);
}
static int64_t panel_width(const plan *p, int64_t i)
{
    return i == p->n_panel - 1 ? p->last_width : p->k->nr;
}
static char *panel_at(const plan *p, int64_t i)
{
    return p->packed + i * p->k_all * p->k->nr * p->es;
}

/* Segments of A and where their groups begin: neighbouring taps join, long ones are cut. */
static void list_segments(plan *p)
{
    const tlvi_conv *v = &p->v;
    int64_t n = 0, at = 0, in_group = 0, *seg = p->seg[0];
    p->n_group = 0;
    p->group[0] = 0;
    for (int64_t t = 0; t < v->n_tap; t++) {
        int64_t a = (v->tap[t].dy - p->dy0) * p->row + (v->tap[t].dx - p->dx0) * p->pitch;
        for (int64_t done = 0; done < v->ic;) {
            if (in_group == GROUP_K) {
                p->group[++p->n_group] = n;
                in_group = 0;
            }
            int64_t k = min64(v->ic - done, GROUP_K - in_group);
            if (in_group && seg[3 * n - 3] + seg[3 * n - 1] == a + done) {
                seg[3 * n - 1] += k;
            } else {
                seg[3 * n] = a + done;
                seg[3 * n + 1] = at;
                seg[3 * n + 2] = k;
                n++;
            }
            at += k;
            done += k;
            in_group += k;
        }
    }
    p->group[++p->n_group] = n;
    p->n_seg = n;
    for (int64_t s = 0; s < n; s++) {
        p->seg[1][3 * s] = seg[3 * s];
        p->seg[1][3 * s + 1] = seg[3 * s + 1] * p->last_width;
        p->seg[1][3 * s + 2] = seg[3 * s + 2];
        seg[3 * s + 1] *= p->k->nr;
    }
}

static void pack_chunk(void *arg, int64_t i, int worker)
{
    (void)worker;
    const plan *p = arg;
    const tlvi_conv *v = &p->v;
    int64_t panel = i / v->n_tap, t = i % v->n_tap, width = panel_width(p, panel);
    const char *from = v->w + (v->tap[t].w + panel * p->k->nr * v->w_out) * p->es;
    p->k->gemm_pack_b(panel_cols(p, panel), (int)width, v->ic, from, v->w_in, v->w_out,
                      panel_at(p, panel) + t * v->ic * width * p->es);
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

/* One panel of output channels of one block. */
static void run_panel(const plan *p, int64_t panel, const char *a, int64_t b, int64_t oy,
                      int64_t rows, int64_t ox, int64_t cols)
{
    const tlvi_conv *v = &p->v;
    int n = panel_cols(p, panel);
    int64_t col = panel * p->k->nr, width = panel_width(p, panel),
            n_tile = ceil_div(cols, p->k->mr);
    const int64_t *seg = p->seg[panel == p->n_panel - 1];
    char *y = v->y + (b * v->yb + oy * v->yh + ox * v->yw + col) * p->es;
    for (int64_t g = 0; g < p->n_group; g++)
        for (int64_t i = 0; i < rows; i++)
            for (int64_t t = 0; t < n_tile; t++) {
                int64_t lo = t * cols / n_tile, hi = (t + 1) * cols / n_tile;
                const char *at = a + (i * v->sh * p->row + lo * v->sw * p->pitch) * p->es;
                tlvi_conv_end end;
                int ends = v->follow && g == p->n_group - 1;
                if (ends) end = tlvi_conv_end_at(v, b, oy + i, ox + lo, col);
                p->k->conv_tile((int)(hi - lo), n, p->group[g + 1] - p->group[g],
                                seg + 3 * p->group[g], at, v->sw * p->pitch, panel_at(p, panel),
                                width, y + (i * v->yh + lo * v->yw) * p->es, v->yw, g > 0,
                                ends ? &end : NULL);
            }
    for (int64_t i = 0; i < rows; i++) tlvi_conv_act(v, p->k, b, oy + i, ox, cols, col, n);
}

static void run_chunk(void *arg, int64_t i, int worker)
{
    const plan *p = arg;
    int64_t task = i % p->n_col_task, rest = i / p->n_col_task;
    int64_t bx = rest % p->n_bw, by = rest / p->n_bw % p->n_bh, b = rest / p->n_bw / p->n_bh;
    int64_t oy = by * p->bh, rows = min64(p->bh, p->v.oh - oy);
    int64_t ox = bx * p->bw, cols = min64(p->bw, p->v.ow - ox);
    const char *a = block_input(p, worker, b, 1, oy, rows, ox, cols);
    int64_t lo = task * p->panels_a_task, hi = min64(lo + p->panels_a_task, p->n_panel);
    for (int64_t q = lo; q < hi; q++) run_panel(p, q, a, b, oy, rows, ox, cols);
}

/* Smaller blocks and fewer channels a task where there would be too few tasks for the threads: that
 * cuts outputs only, no sum. */
static int64_t plan_tasks(plan *p, int threads)
{
    const tlvi_conv *v = &p->v;
    int64_t want = threads > 1 ? 4 * threads : 1, blocks = v->batch * p->n_bh * p->n_bw;
    while (blocks < want && p->bh > 1) {
        p->bh = ceil_div(p->bh, 2);
        p->n_bh = ceil_div(v->oh, p->bh);
        blocks = v->batch * p->n_bh * p->n_bw;
    }
    p->n_col_task = min64(p->n_panel, ceil_div(want, blocks));
    p->panels_a_task = ceil_div(p->n_panel, p->n_col_task);
    p->n_col_task = ceil_div(p->n_panel, p->panels_a_task);
    return blocks * p->n_col_task;
}

/* One allocation for everything: strips, packed weights, segments. */
static void run_planned(tlv_ctx *c, plan *p, int64_t tasks)
{
    const tlvi_conv *v = &p->v;
    int threads = tlv_threads(c);
    int64_t max_seg = v->n_tap * (ceil_div(v->ic, GROUP_K) + 1) + 1;
    int64_t strips = threads * p->strip_bytes, lists = (8 * max_seg + 8) * (int64_t)sizeof(int64_t);
    int64_t packed = p->n_panel * p->k_all * p->k->nr * p->es, all = strips + packed + lists;
    char *mem = tlvi_alloc(c, (size_t)all);
    if (!mem) return;
    p->strip = mem;
    p->packed = mem + strips;
    p->seg[0] = (int64_t *)(void *)(mem + strips + packed);
    p->seg[1] = p->seg[0] + 3 * max_seg;
    p->group = p->seg[1] + 3 * max_seg;
    list_segments(p);
    if (p->k_all)
        tlvi_parallel_for(c, p->n_panel * v->n_tap, v->ic * p->k->nr, pack_chunk, p);
    int64_t cost = p->bh * p->bw * p->k_all * p->panels_a_task * p->k->nr / 32;
    tlvi_parallel_for(c, tasks, max64(cost, p->bh * p->bw), run_chunk, p);
    tlvi_free(c, mem, (size_t)all);
}

tlv_status tlvi_conv_run(tlv_ctx *c, const tlvi_conv *v)
{
    if (c->err || v->batch * v->oh * v->ow * v->oc == 0) return c->err;
    plan p;
    plan_input(&p, c, v, 1);
    plan_blocks(&p, INT64_MAX);
    p.k_all = v->n_tap * v->ic;
    p.n_panel = ceil_div(v->oc, p.k->nr);
    p.last_width = panel_cols(&p, p.n_panel - 1) <= p.k->lanes ? p.k->lanes : p.k->nr;
    int64_t tasks = plan_tasks(&p, tlv_threads(c));
    plan_pitch(&p, 1);
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

/* Rows [row, row + n) of A^T, one filter row or a tap of it: at a in the strip, at row in the
 * part. */
static void dw_rows(const plan *p, const char *a, int64_t row, int64_t n, int64_t n_seg,
                    const int64_t *seg, const char *g, int64_t panel, char *part, int add)
{
    int64_t col = panel * p->k->nr, n_tile = ceil_div(n, p->k->mr);
    for (int64_t t = 0; t < n_tile; t++) {
        int64_t lo = t * n / n_tile, hi = (t + 1) * n / n_tile;
        p->k->conv_dw_tile((int)(hi - lo), panel_cols(p, panel), n_seg, seg, a + lo * p->es,
                           p->v.sw * p->pitch, g + col * p->es, p->v.yw,
                           part + ((row + lo) * p->ldp + col) * p->es, p->ldp, add);
    }
}

static void dw_block(const plan *p, const char *a, const char *g, int64_t n_seg, const int64_t *seg,
                     int64_t panel, char *part, int add)
{
    const tlvi_conv *v = &p->v;
    int64_t begin = 0, at = 0;
    for (int64_t t = 0; t < v->n_tap; t++) {
        int64_t here = (v->tap[t].dy - p->dy0) * p->row + (v->tap[t].dx - p->dx0) * p->pitch;
        if (t == begin) at = here;
        int64_t next = t + 1 == v->n_tap ? -1
                                         : (v->tap[t + 1].dy - p->dy0) * p->row
                                               + (v->tap[t + 1].dx - p->dx0) * p->pitch;
        if (next == here + v->ic) continue;
        dw_rows(p, a + at * p->es, begin * v->ic, (t + 1 - begin) * v->ic, n_seg, seg, g, panel,
                part, add);
        begin = t + 1;
    }
}

static void dw_chunk(void *arg, int64_t i, int worker)
{
    const plan *p = arg;
    const tlvi_conv *v = &p->v;
    int64_t task = i % p->n_col_task, q = i / p->n_col_task;
    int64_t lo = q * p->n_unit / p->n_part, hi = (q + 1) * p->n_unit / p->n_part;
    int64_t p0 = task * p->panels_a_task, p1 = min64(p0 + p->panels_a_task, p->n_panel);
    char *part = p->part + q * p->part_size * p->es;
    for (int64_t u = lo; u < hi; u++) {
        int64_t bx = u % p->n_bw, by = u / p->n_bw % p->n_bh, b = u / p->n_bw / p->n_bh * p->bn;
        int64_t images = min64(p->bn, v->batch - b), oy = by * p->bh,
                rows = min64(p->bh, v->oh - oy);
        int64_t ox = bx * p->bw, cols = min64(p->bw, v->ow - ox), seg[3 * DW_PIXELS];
        for (int64_t k = 0; k < images * rows; k++) {
            seg[3 * k] = k / rows * p->image + k % rows * v->sh * p->row;
            seg[3 * k + 1] = k / rows * v->yb + k % rows * v->yh;
            seg[3 * k + 2] = cols;
        }
        const char *a = block_input(p, worker, b, images, oy, rows, ox, cols);
        const char *g = v->y + (b * v->yb + oy * v->yh + ox * v->yw) * p->es;
        for (int64_t panel = p0; panel < p1; panel++)
            dw_block(p, a, g, images * rows, seg, panel, part, u > lo);
    }
}

/* A few output channels from [tap][in][out] to [out][in][tap]. */
enum { UNPACK = 16 };

static void unpack_chunk(void *arg, int64_t i, int worker)
{
    const plan *p = arg;
    const tlvi_conv *v = &p->v;
    int64_t o = i * UNPACK, n = min64(UNPACK, v->oc - o);
    char *tmp = p->packed + worker * UNPACK * p->rows * p->es;
    p->k->transpose((size_t)p->rows, (size_t)n, p->part + o * p->es, p->ldp, tmp, p->rows);
    for (int64_t q = 0; q < n; q++)
        p->k->transpose((size_t)v->n_tap, (size_t)v->ic, tmp + q * p->rows * p->es, v->ic,
                        p->dw + (o + q) * v->w_out * p->es, v->n_tap);
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
    plan_input(&p, c, v, 0);
    plan_blocks(&p, DW_PIXELS);
    if (p.n_bh * p.n_bw == 1)
        p.bn = max64(1, min64(p.v.batch, min64(DW_PIXELS / (p.bh * p.bw), DW_STRIP_BYTES / max64(1,
                     strip_rows(&p, p.bh) * strip_cols(&p, p.bw) * v->ic * p.es))));
    plan_pitch(&p, 0);
    p.dw = dw;
    p.rows = v->n_tap * v->ic;
    p.ldp = ceil_div(v->oc, 16) * 16;
    p.part_size = p.rows * p.ldp;
    p.n_unit = ceil_div(p.v.batch, p.bn) * p.n_bh * p.n_bw;
    p.n_part = tlvi_count_parts(p.n_unit, p.part_size * p.es, pixels * p.rows * v->oc);
    p.n_panel = ceil_div(v->oc, p.k->nr);
    int64_t want = ceil_div(threads > 1 ? 2 * threads : 1, p.n_part);
    p.panels_a_task = ceil_div(p.n_panel, min64(p.n_panel, want));
    p.n_col_task = ceil_div(p.n_panel, p.panels_a_task);

    int64_t strips = threads * p.strip_bytes, parts = p.n_part * p.part_size * p.es;
    int64_t all = strips + parts + threads * UNPACK * p.rows * p.es;
    char *mem = tlvi_alloc(c, (size_t)all);
    if (!mem) return c->err;
    p.strip = mem;
    p.part = mem + strips;
    p.packed = mem + strips + parts;
    int64_t cost = pixels / p.n_part * p.rows * min64(v->oc, p.panels_a_task * p.k->nr) / 32;
    tlvi_parallel_for(c, p.n_part * p.n_col_task, max64(1, cost), dw_chunk, &p);
    tlvi_sum_parts(c, p.k, (size_t)p.es, p.n_part, p.part_size, p.part);
    tlvi_parallel_for(c, ceil_div(v->oc, UNPACK), p.rows * 8, unpack_chunk, &p);
    tlvi_free(c, mem, (size_t)all);
    return c->err;
}
