/* winograd.c -- 3x3 convolution by Winograd's F(4x4, 3x3), Lavin & Gray 2015, arXiv:1509.09308.
 *
 * The output is cut into tiles of 4x4 pixels.  The 6x6 pixels that a tile reads and each filter are
 * transformed to 36 values; value e of all tiles and channels is a matrix V_e [tiles, ic], that of
 * all filters U_e [ic, oc], and M_e = V_e U_e, transformed back, is the output:
 * tensor/kernels/wino.inc has the formulas.  Pixels outside of the image read a row of zeros; of
 * tiles that reach beyond the output a part is stored.
 *
 * A task is a block of tiles and a range of output channels.  It transforms its pixels once, then
 * takes one panel of nr output channels after the other: 36 products into M, which stays in the L2
 * cache, and out of there with all that follows the convolution.  So no transformed output reaches
 * memory, and of transformed pixels none unless there are too many channels for a block of use to
 * stay in the L2 cache.  Transformed filters are made once before the tasks, or, where they are
 * large and pass over few blocks of tiles, a chunk at a time where they are used. */
#include "tensor/winograd.h"
#include "tensor/across.h"

enum {
    CHUNK = 128,                        /* channels in one accumulator; then it is added to M */
    V_BYTES = 256 << 10,                /* transformed pixels of a block: a part of the L2 cache */
    MIN_TILES = 12, MANY_TILES = 64,    /* a block's least, and its most where filters are large */
    U_BYTES = 4 << 20,                  /* transformed filters that stay in the L3 cache */
    FEW_BLOCKS = 4
};

static inline int64_t min64(int64_t a, int64_t b) { return a < b ? a : b; }
static inline int64_t max64(int64_t a, int64_t b) { return a > b ? a : b; }
static inline int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

typedef struct plan {
    const tlvi_conv *v;
    const tlvi_kset *k;
    int64_t tap[9];                     // where in a filter tap (i, j) lies
    int64_t ty, tx, tiles;              // tiles down and across an image, in all
    int64_t block, n_block;             // tiles a block at most
    int64_t n_panel, range, n_range;    // panels of nr output channels, panels a task
    int64_t chunk, n_chunk;             // input channels
    int64_t ldv, v_step, m_step, u_size;// elements; u_size: of a chunk of one panel
    int made;                           // filters are transformed beforehand, into u
    float *u, *zeros, *scratch;
    int64_t scratch_size;               // floats a worker
} plan;

typedef struct place { int64_t b, y, x; } place;            // of a tile

static place place_of(const plan *p, int64_t tile)
{
    return (place){ tile / p->tx / p->ty, tile / p->tx % p->ty, tile % p->tx };
}
static void advance(const plan *p, place *t)
{
    if (++t->x < p->tx) return;
    t->x = 0;
    if (++t->y < p->ty) return;
    t->y = 0;
    t->b++;
}

/* The least distance >= n between matrices such that the 36 of them fall into different sets of the
 * L1 cache: an odd number of lines. */
static int64_t odd_lines(int64_t n)
{
    return (ceil_div(n, 16) | 1) * 16;
}

static int panel_cols(const plan *p, int64_t panel)
{
    return (int)min64(p->k->nr, p->v->oc - panel * p->k->nr);
}
static int panel_width(const plan *p, int64_t panel)
{
    return panel_cols(p, panel) <= p->k->lanes ? p->k->lanes : p->k->nr;
}
static int64_t chunk_size(const plan *p, int64_t chunk)
{
    return min64(p->chunk, p->v->ic - chunk * p->chunk);
}

/* ---- filters --------------------------------------------------------------------------------- */

/* Nine weights each of `cols` filters, from filter to filter 9 apart: to [tap][width].  The ninth
 * tap goes one by one, for a transpose in registers would carry it alone. */
static void pack_mirrored(const tlvi_kset *k, int cols, int width, const float *w, float *packed)
{
    k->gemm_pack_b(cols, width, 8, w, 1, 9, packed);
    for (int i = 0; i < cols; i++) packed[8 * width + i] = w[9 * i + 8];
    for (int i = cols; i < width; i++) packed[8 * width + i] = 0;
}

/* One chunk of input channels of one panel: u [36][channel][width].  Forward a filter's weights of
 * all input channels lie together; for the gradient of the image those of one channel do. */
static void make_filters(const plan *p, int64_t panel, int64_t chunk, float *packed, float *u)
{
    const tlvi_conv *v = p->v;
    int64_t n = chunk_size(p, chunk);
    int cols = panel_cols(p, panel), width = panel_width(p, panel);
    const float *w = (const float *)(const void *)v->w + chunk * p->chunk * v->w_in
                     + panel * p->k->nr * v->w_out;
    if (v->w_in == 9) {
        p->k->gemm_pack_b(cols, width, 9 * n, w, 1, v->w_out, packed);
    } else if (v->w_out == 9) {
        for (int64_t i = 0; i < n; i++)
            pack_mirrored(p->k, cols, width, w + i * v->w_in, packed + 9 * i * width);
    } else {
        for (int64_t i = 0; i < n; i++)
            p->k->gemm_pack_b(cols, width, 9, w + i * v->w_in, 1, v->w_out, packed + 9 * i * width);
    }
    p->k->wino_filter(n, width, packed, p->tap, u, odd_lines(n * width));
}

static void filter_chunk(void *arg, int64_t i, int worker)
{
    const plan *p = arg;
    make_filters(p, i / p->n_chunk, i % p->n_chunk, p->scratch + worker * p->scratch_size,
                 p->u + i * p->u_size);
}

/* ---- tasks ----------------------------------------------------------------------------------- */

/* V of tiles [lo, hi). */
static void transform_pixels(const plan *p, int64_t lo, int64_t hi, float *to)
{
    const tlvi_conv *v = p->v;
    place t = place_of(p, lo);
    for (int64_t i = lo; i < hi; i++, to += p->ldv, advance(p, &t)) {
        int64_t y0 = 4 * t.y + v->tap[0].dy, x0 = 4 * t.x + v->tap[0].dx;
        const float *x = (const float *)(const void *)v->x + t.b * v->xb + y0 * v->xh + x0 * v->xw;
        const void *px[36];
        for (int64_t k = 0; k < 6; k++)
            for (int64_t l = 0; l < 6; l++) {
                int in = y0 + k >= 0 && y0 + k < v->ih && x0 + l >= 0 && x0 + l < v->iw;
                px[6 * k + l] = in ? x + k * v->xh + l * v->xw : p->zeros;
            }
        p->k->wino_input((size_t)v->ic, px, to, p->v_step);
    }
}

/* M = V U for n tiles: rows in balanced panels. */
static void multiply(const plan *p, int64_t n, const float *v, const float *u, int64_t terms,
                     int width, float *m, int add)
{
    int64_t u_step = odd_lines(terms * width), n_row = ceil_div(n, p->k->mr);
    for (int e = 0; e < 36; e++, v += p->v_step, u += u_step, m += p->m_step)
        for (int64_t i = 0, row = 0; i < n_row; i++) {
            int64_t next = (i + 1) * n / n_row;
            p->k->gemm_tile((int)(next - row), width, terms, v + row * p->ldv, p->ldv, 1, u, width,
                            m + row * width, width, add);
            row = next;
        }
}

static void transform_output(const plan *p, int64_t lo, int64_t hi, int64_t panel, const float *m)
{
    const tlvi_conv *v = p->v;
    int64_t col = panel * p->k->nr;
    int cols = panel_cols(p, panel), width = panel_width(p, panel);
    tlvi_conv_end end;
    tlvi_wino_out o = { .ch = (size_t)cols, .step = p->m_step, .yh = v->yh, .yw = v->yw,
                        .end = v->follow ? &end : NULL, .rh = v->rh };
    place t = place_of(p, lo);
    for (int64_t i = lo; i < hi; i++, m += width, advance(p, &t)) {
        int64_t y = 4 * t.y, x = 4 * t.x;
        if (v->follow) end = tlvi_conv_end_at(v, t.b, y, x, col);
        o.m = m;
        o.rows = (int)min64(4, v->oh - y);
        o.cols = (int)min64(4, v->ow - x);
        o.y = (float *)(void *)v->y + t.b * v->yb + y * v->yh + x * v->yw + col;
        p->k->wino_output(&o);
        for (int r = 0; r < o.rows; r++) tlvi_conv_act(v, p->k, t.b, y + r, x, o.cols, col, cols);
    }
}

static void run_task(void *arg, int64_t task, int worker)
{
    const plan *p = arg;
    int64_t block = task / p->n_range, first = task % p->n_range * p->range;
    int64_t lo = block * p->tiles / p->n_block, hi = (block + 1) * p->tiles / p->n_block;
    float *v = p->scratch + worker * p->scratch_size, *m = v + 36 * p->v_step;
    float *u_here = m + 36 * p->m_step, *packed = u_here + p->u_size;
    transform_pixels(p, lo, hi, v);
    for (int64_t panel = first; panel < min64(first + p->range, p->n_panel); panel++) {
        for (int64_t k = 0; k < p->n_chunk; k++) {
            const float *u = p->made ? p->u + (panel * p->n_chunk + k) * p->u_size : u_here;
            if (!p->made) make_filters(p, panel, k, packed, u_here);
            multiply(p, hi - lo, v + k * p->chunk, u, chunk_size(p, k), panel_width(p, panel), m,
                     k > 0);
        }
        transform_output(p, lo, hi, panel, m);
    }
}

/* ---- planning -------------------------------------------------------------------------------- */

/* How many tiles a task takes and how many channels out: that cuts no sum, so it may look at the
 * number of threads. */
static void plan_tasks(plan *p, int threads)
{
    int64_t mr = p->k->mr, want = threads > 1 ? 4 * threads : 1;
    int64_t fit = V_BYTES / (36 * 4 * p->ldv);
    if (fit < MIN_TILES) fit = MANY_TILES;
    p->block = ceil_div(fit - mr + 1, mr) * mr;
    p->n_block = ceil_div(p->tiles, p->block);
    int64_t panels = max64(1, 64 / p->k->nr);               // a range's least
    p->n_range = max64(1, min64(ceil_div(want, p->n_block), p->n_panel / panels));
    p->range = ceil_div(p->n_panel, p->n_range);
    p->n_range = ceil_div(p->n_panel, p->range);
    if (p->n_block * p->n_range < want)
        p->n_block = max64(p->n_block, min64(ceil_div(want, p->n_range),
                                             ceil_div(p->tiles, MIN_TILES)));
    if (p->n_block * p->n_range < threads) {                // few tiles: any panel is a task
        p->range = ceil_div(p->n_panel, min64(p->n_panel, ceil_div(want, p->n_block)));
        p->n_range = ceil_div(p->n_panel, p->range);
    }
    p->block = ceil_div(p->tiles, p->n_block);
}

static void plan_shape(plan *p, tlv_ctx *c, const tlvi_conv *v)
{
    *p = (plan){ .v = v, .k = tlvi_ks(c, v->dtype) };
    for (int i = 0; i < 9; i++) p->tap[i] = v->tap[i].w;
    p->ty = ceil_div(v->oh, 4);
    p->tx = ceil_div(v->ow, 4);
    p->tiles = v->batch * p->ty * p->tx;
    p->n_panel = ceil_div(v->oc, p->k->nr);
}

static void plan_sizes(plan *p, tlv_ctx *c, const tlvi_conv *v)
{
    plan_shape(p, c, v);
    p->n_chunk = ceil_div(v->ic, CHUNK);
    p->chunk = ceil_div(ceil_div(v->ic, p->n_chunk), 16) * 16;
    p->n_chunk = ceil_div(v->ic, p->chunk);
    p->ldv = ceil_div(v->ic, p->k->lanes) * p->k->lanes;
    if (p->ldv % 512 == 0) p->ldv += 16;            // rows a panel into different sets of L1
    plan_tasks(p, tlv_threads(c));
    p->v_step = odd_lines(p->block * p->ldv);
    p->m_step = odd_lines(p->block * p->k->nr);
    p->u_size = 36 * odd_lines(p->chunk * p->k->nr);
    int64_t bytes = p->n_panel * p->n_chunk * p->u_size * 4;
    p->made = p->n_block > 1 && (bytes <= U_BYTES || p->n_block > FEW_BLOCKS);
    int64_t tiles = 36 * (p->v_step + p->m_step), filters = 9 * p->chunk * p->k->nr;
    p->scratch_size = odd_lines(p->made ? max64(tiles, filters) : tiles + p->u_size + filters);
}

tlv_status tlvi_winograd_run(tlv_ctx *c, const tlvi_conv *v)
{
    if (c->err || v->batch * v->oh * v->ow * v->oc == 0) return c->err;
    plan p;
    plan_sizes(&p, c, v);
    int64_t threads = tlv_threads(c), zeros = odd_lines(v->ic);
    int64_t filters = p.made ? p.n_panel * p.n_chunk * p.u_size : 0;
    size_t bytes = (size_t)(zeros + threads * p.scratch_size + filters) * sizeof(float);
    p.zeros = tlvi_alloc(c, bytes);
    if (!p.zeros) return c->err;
    memset(p.zeros, 0, (size_t)zeros * sizeof(float));
    p.scratch = p.zeros + zeros;
    p.u = p.scratch + threads * p.scratch_size;
    if (p.made)
        tlvi_parallel_for(c, p.n_panel * p.n_chunk, p.chunk * p.k->nr * 10, filter_chunk, &p);
    int64_t cost = p.block * (v->ic + min64(v->oc, p.range * p.k->nr) * (v->ic + 10)) * 36 / 32;
    tlvi_parallel_for(c, p.n_block * p.n_range, cost, run_task, &p);
    tlvi_free(c, p.zeros, bytes);
    return c->err;
}

/* ---- gradient of the weights ----------------------------------------------------------------- *
 * dU_e = V_e^T G_e, G_e [tiles, oc] the transformed gradient, summed over all tiles; transformed
 * back it is dw.  Tiles come in batches whose V and G stay in the L3 cache: first both are made,
 * then tasks take a few input and output channels each through the 36 products.  Where there is one
 * batch only, which is where filters are large, a task's dU never leaves the L2 cache.  No sum is
 * cut but into batches, and those by shape alone. */

enum {
    BATCH_BYTES = 4 << 20,              /* V and G of a batch of tiles ... */
    BATCH_MIN = 64, BATCH_MAX = 256,    /* ... and its tiles */
    DW_ROWS = 48,                       /* input channels a task at most */
    DW_PANELS = 2,                      /* panels of output channels */
    TRANSFORM_TILES = 4                 /* tiles that one task transforms */
};

typedef struct dw_plan {
    plan p;
    int64_t ldg, g_step;
    float *v, *g;
    int64_t batch, n_batch, lo, hi;     // tiles; those of the batch at work
    int64_t rows, n_row;                // input channels a task, tasks along them
    int64_t n_cut;                      // cuts of the 36 products: 1, or 6 where tasks are few
    int64_t c_step, c_size;             // of a task's dU: [36][panel][row][width]
    float *c, *dw;                      // all tasks' dU, or NULL where each fits the scratch
} dw_plan;

static void transform_gradient(const dw_plan *d, int64_t lo, int64_t hi, float *to)
{
    const plan *p = &d->p;
    const tlvi_conv *v = p->v;
    place t = place_of(p, lo);
    for (int64_t i = lo; i < hi; i++, to += d->ldg, advance(p, &t)) {
        int64_t y0 = 4 * t.y, x0 = 4 * t.x;
        const float *g = (const float *)(const void *)v->y + t.b * v->yb + y0 * v->yh + x0 * v->yw;
        const void *px[16];
        for (int64_t k = 0; k < 4; k++)
            for (int64_t l = 0; l < 4; l++) {
                int in = y0 + k < v->oh && x0 + l < v->ow;
                px[4 * k + l] = in ? g + k * v->yh + l * v->yw : p->zeros;
            }
        p->k->wino_grad((size_t)v->oc, px, to, d->g_step);
    }
}

static void dw_transform(void *arg, int64_t i, int worker)
{
    (void)worker;
    const dw_plan *d = arg;
    int64_t at = i * TRANSFORM_TILES, lo = d->lo + at, hi = min64(lo + TRANSFORM_TILES, d->hi);
    transform_pixels(&d->p, lo, hi, d->v + at * d->p.ldv);
    transform_gradient(d, lo, hi, d->g + at * d->ldg);
}

/* dU of one panel and a task's rows, transformed back into dw. */
static void dw_finish(const dw_plan *d, int64_t row, int64_t rows, int64_t panel, const float *c,
                      float *tmp)
{
    const plan *p = &d->p;
    int64_t width = panel_width(p, panel);
    float *to = d->dw + panel * p->k->nr * p->v->w_out + 9 * row;
    p->k->wino_filter_grad(rows, width, c, d->c_step, tmp);
    p->k->transpose((size_t)(9 * rows), (size_t)panel_cols(p, panel), tmp, width, to, p->v->w_out);
}

static void dw_task(void *arg, int64_t i, int worker)
{
    const dw_plan *d = arg;
    const plan *p = &d->p;
    int64_t cut = i % d->n_cut, task = i / d->n_cut, row = task % d->n_row * d->rows;
    int64_t rows = min64(d->rows, p->v->ic - row), n = ceil_div(rows, p->k->mr);
    int64_t first = task / d->n_row * p->range, last = min64(first + p->range, p->n_panel);
    float *tmp = p->scratch + worker * p->scratch_size;
    float *c = d->c ? d->c + task * d->c_size : tmp + 9 * d->rows * p->k->nr;
    int64_t of_panel = d->rows * p->k->nr;
    for (int64_t e = cut * 36 / d->n_cut; e < (cut + 1) * 36 / d->n_cut; e++)
        for (int64_t panel = first; panel < last; panel++) {
            const float *v = d->v + e * p->v_step + row;
            const float *g = d->g + e * d->g_step + panel * p->k->nr;
            int width = panel_width(p, panel);
            float *to = c + e * d->c_step + (panel - first) * of_panel;
            for (int64_t q = 0; q < n; q++) {
                int64_t r = q * rows / n, next = (q + 1) * rows / n;
                p->k->gemm_tile((int)(next - r), width, d->hi - d->lo, v + r, 1, p->ldv, g, d->ldg,
                                to + r * width, width, d->lo > 0);
            }
        }
    if (d->n_cut > 1 || d->hi < p->tiles) return;
    for (int64_t panel = first; panel < last; panel++)
        dw_finish(d, row, rows, panel, c + (panel - first) * of_panel, tmp);
}

static void dw_finish_task(void *arg, int64_t task, int worker)
{
    const dw_plan *d = arg;
    const plan *p = &d->p;
    int64_t row = task % d->n_row * d->rows, first = task / d->n_row * p->range;
    for (int64_t panel = first; panel < min64(first + p->range, p->n_panel); panel++)
        dw_finish(d, row, min64(d->rows, p->v->ic - row), panel,
                  d->c + task * d->c_size + (panel - first) * d->rows * p->k->nr,
                  p->scratch + worker * p->scratch_size);
}

static void plan_dw(dw_plan *d, tlv_ctx *c, const tlvi_conv *v)
{
    *d = (dw_plan){ .n_cut = 1 };
    plan *p = &d->p;
    plan_shape(p, c, v);
    p->ldv = odd_lines(v->ic);
    d->ldg = odd_lines(p->n_panel * p->k->nr);
    int64_t fit = BATCH_BYTES / (36 * 4 * (p->ldv + d->ldg));
    fit = max64(BATCH_MIN, min64(BATCH_MAX, fit));
    d->n_batch = ceil_div(p->tiles, fit);
    d->batch = ceil_div(p->tiles, d->n_batch);
    p->v_step = odd_lines(d->batch * p->ldv);
    d->g_step = odd_lines(d->batch * d->ldg);

    int64_t want = tlv_threads(c) > 1 ? 4 * tlv_threads(c) : 1, mr = p->k->mr;
    d->n_row = ceil_div(v->ic, DW_ROWS);
    d->rows = ceil_div(ceil_div(v->ic, d->n_row), mr) * mr;
    d->n_row = ceil_div(v->ic, d->rows);
    p->range = d->n_row * ceil_div(p->n_panel, DW_PANELS) < want ? 1 : DW_PANELS;
    p->n_range = ceil_div(p->n_panel, p->range);
    if (d->n_row * p->n_range < want) d->n_cut = 6;
    d->c_step = odd_lines(p->range * d->rows * p->k->nr);
    d->c_size = 36 * d->c_step;
    p->scratch_size = odd_lines(9 * d->rows * p->k->nr + d->c_size);
}

tlv_status tlvi_winograd_dw_run(tlv_ctx *c, const tlvi_conv *v, char *dw)
{
    if (c->err || v->ic * v->oc == 0) return c->err;
    dw_plan d;
    plan_dw(&d, c, v);
    plan *p = &d.p;
    int64_t threads = tlv_threads(c), zeros = odd_lines(max64(v->ic, v->oc));
    int64_t tasks = d.n_row * p->n_range, of_batch = 36 * (p->v_step + d.g_step);
    int64_t kept = d.n_batch > 1 || d.n_cut > 1 ? tasks * d.c_size : 0;
    size_t bytes = (size_t)(zeros + of_batch + kept + threads * p->scratch_size) * sizeof(float);
    p->zeros = tlvi_alloc(c, bytes);
    if (!p->zeros) return c->err;
    memset(p->zeros, 0, (size_t)zeros * sizeof(float));
    d.v = p->zeros + zeros;
    d.g = d.v + 36 * p->v_step;
    p->scratch = d.g + 36 * d.g_step;
    if (kept) d.c = p->scratch + threads * p->scratch_size;
    d.dw = (float *)(void *)dw;
    for (int64_t i = 0; i < d.n_batch; i++) {
        d.lo = i * p->tiles / d.n_batch;
        d.hi = (i + 1) * p->tiles / d.n_batch;
        tlvi_parallel_for(c, ceil_div(d.hi - d.lo, TRANSFORM_TILES),
                          TRANSFORM_TILES * (v->ic + v->oc) * 10, dw_transform, &d);
        int64_t cost = d.rows * p->range * p->k->nr * (d.hi - d.lo) * 36 / d.n_cut / 32;
        tlvi_parallel_for(c, tasks * d.n_cut, cost, dw_task, &d);
    }
    if (d.n_cut > 1)
        tlvi_parallel_for(c, tasks, d.rows * p->range * p->k->nr * 10, dw_finish_task, &d);
    tlvi_free(c, p->zeros, bytes);
    return c->err;
}

/* ---- which convolutions ---------------------------------------------------------------------- */

/* f32, stride 1, nine taps in a square in rising order, each filter's nine weights together. */
static int is_3x3(const tlvi_conv *v)
{
    if (v->dtype != TLV_F32 || v->sh != 1 || v->sw != 1 || v->n_tap != 9 || v->ic < 1) return 0;
    for (int i = 0; i < 9; i++) {
        const tlvi_tap *t = &v->tap[i];
        if (t->dy != v->tap[0].dy + i / 3 || t->dx != v->tap[0].dx + i % 3 || t->w < 0 || t->w > 8)
            return 0;
    }
    return 1;
}

/* Measured: the transforms pay from 8 channels on, for the gradient of the weights from 16; fewer
 * than half of a tile's pixels in the output, or hardly a tile at all, do not pay. */
static int pays(const tlvi_conv *v, int dw)
{
    int64_t least = dw ? 16 : 8, pixels = v->batch * v->oh * v->ow;
    int64_t tiles = v->batch * ceil_div(v->oh, 4) * ceil_div(v->ow, 4);
    return v->ic >= least && v->oc >= least && pixels >= 2 * least && pixels >= 8 * tiles;
}

int tlvi_winograd_takes(const tlv_ctx *c, const tlvi_conv *v, int dw)
{
    if (c->opts.conv == TLV_CONV_DIRECT || !is_3x3(v) || v->batch * v->oh * v->ow == 0) return 0;
    if (c->opts.conv == TLV_CONV_WINOGRAD) return 1;
    // of 3x3 pixels and a border, taps inside are hardly more than a tile's products
    if (v->ih <= 3 && v->iw <= 3 && tlvi_across_takes(tlvi_ks(c, v->dtype), v, dw)) return 0;
    return pays(v, dw);
}
