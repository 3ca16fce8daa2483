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

/* One chunk of input channels of one panel: u [36][channel][width]. */
static void make_filters(const plan *p, int64_t panel, int64_t chunk, float *packed, float *u)
{
    const tlvi_conv *v = p->v;
    int64_t n = chunk_size(p, chunk);
    int cols = panel_cols(p, panel), width = panel_width(p, panel);
    const float *w = (const float *)(const void *)v->w + chunk * p->chunk * v->w_in
                     + panel * p->k->nr * v->w_out;
    if (v->w_in == 9)
        p->k->gemm_pack_b(cols, width, 9 * n, w, 1, v->w_out, packed);
    else
        for (int64_t i = 0; i < n; i++)
            p->k->gemm_pack_b(cols, width, 9, w + i * v->w_in, 1, v->w_out, packed + 9 * i * width);
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
    p->block = ceil_div(p->tiles, p->n_block);
}

static void plan_sizes(plan *p, tlv_ctx *c, const tlvi_conv *v)
{
    *p = (plan){ .v = v, .k = tlvi_ks(c, v->dtype) };
    for (int i = 0; i < 9; i++) p->tap[i] = v->tap[i].w;
    p->ty = ceil_div(v->oh, 4);
    p->tx = ceil_div(v->ow, 4);
    p->tiles = v->batch * p->ty * p->tx;
    p->n_panel = ceil_div(v->oc, p->k->nr);
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
    p->scratch_size = odd_lines(36 * (p->v_step + p->m_step) + p->u_size
                                + 9 * p->chunk * p->k->nr);
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

int tlvi_winograd_takes(const tlv_ctx *c, const tlvi_conv *v, int dw)
{
    if (c->opts.conv == TLV_CONV_DIRECT || !is_3x3(v)) return 0;
    if (dw) return 0;
    if (c->opts.conv == TLV_CONV_WINOGRAD) return 1;
    return v->ic >= 16 && v->oc >= 16;
}
