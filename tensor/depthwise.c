/* depthwise.c -- convolution with one filter a channel: rows of pixels, vectors over channels.
 *
 * A row's middle, where every tap is inside, runs through the kernel in one go; pixels at the
 * border run alone with the taps that are inside. */
#include "tensor/direct.h"

enum { ROWS = 14 };                        /* a task at most */

static inline int64_t min64(int64_t a, int64_t b) { return a < b ? a : b; }
static inline int64_t max64(int64_t a, int64_t b) { return a > b ? a : b; }
/* Rounded down and up, for b > 0 and any a. */
static inline int64_t floor_to(int64_t a, int64_t b)
{
    return a >= 0 ? a / b : -((-a + b - 1) / b);
}
static inline int64_t ceil_to(int64_t a, int64_t b) { return -floor_to(-a, b); }

typedef struct plan {
    const tlvi_conv *v;
    const tlvi_kset *k;
    int64_t es;
    int64_t i0, i1, j0, j1;                 // output rows and columns whose taps are all inside
    char *w;                                // [tap.w][channel]
    int64_t *list;                          // taps that are inside, one list a worker
    int64_t n_band;                         // rows of an image are cut into so many tasks
    int64_t n_part, n_unit, part_size;
    char *part;
} plan;

/* Taps inside for output row i, at column j (or in the middle: j < 0); returns their number. */
static int64_t list_taps(const plan *p, int64_t i, int64_t j, int64_t *list)
{
    const tlvi_conv *v = p->v;
    int64_t n = 0;
    for (int64_t t = 0; t < v->n_tap; t++) {
        const tlvi_tap *a = &v->tap[t];
        int64_t y = i * v->sh + a->dy, x = j * v->sw + a->dx;
        if (y < 0 || y >= v->ih || (j >= 0 && (x < 0 || x >= v->iw))) continue;
        list[2 * n] = y * v->xh + a->dx * v->xw;
        list[2 * n + 1] = a->w * v->oc;
        n++;
    }
    return n;
}

static void run_pixels(const plan *p, int64_t b, int64_t i, int64_t j, int64_t n, int64_t n_tap,
                       const int64_t *list)
{
    const tlvi_conv *v = p->v;
    tlvi_conv_end e;
    if (v->follow) e = tlvi_conv_end_at(v, b, i, j, 0);
    p->k->depthwise((size_t)n, (size_t)v->oc, n_tap, list,
                    v->x + (b * v->xb + j * v->sw * v->xw) * p->es, v->sw * v->xw, p->w,
                    v->y + (b * v->yb + i * v->yh + j * v->yw) * p->es, v->yw,
                    v->follow ? &e : NULL);
}

static void run_row(const plan *p, int64_t b, int64_t i, int64_t *list)
{
    const tlvi_conv *v = p->v;
    for (int64_t j = 0; j < v->ow; j++) {
        if (j == p->j0 && p->j1 > j) {
            run_pixels(p, b, i, j, p->j1 - j, list_taps(p, i, -1, list), list);
            j = p->j1 - 1;
            continue;
        }
        run_pixels(p, b, i, j, 1, list_taps(p, i, j, list), list);
    }
    tlvi_conv_act(v, p->k, b, i, 0, v->ow, 0, v->oc);
}

/* Some rows of an image, so that most rows of x are fetched for all of their taps at once. */
static void run_chunk(void *arg, int64_t at, int worker)
{
    const plan *p = arg;
    const tlvi_conv *v = p->v;
    int64_t b = at / p->n_band, band = at % p->n_band, *list = p->list + worker * 2 * v->n_tap;
    int64_t lo = band * v->oh / p->n_band, hi = (band + 1) * v->oh / p->n_band;
    for (int64_t i = lo; i < hi; i++) run_row(p, b, i, list);
}

/* Outputs whose taps from d0 to d1 are all inside an image of size n: lo .. hi-1. */
static void inside(int64_t d0, int64_t d1, int64_t step, int64_t n, int64_t n_out, int64_t *lo,
                   int64_t *hi)
{
    *lo = min64(n_out, max64(0, ceil_to(-d0, step)));
    *hi = max64(*lo, min64(n_out, floor_to(n - 1 - d1, step) + 1));
}

static void make_plan(plan *p, tlv_ctx *c, const tlvi_conv *v)
{
    *p = (plan){ .v = v, .k = tlvi_ks(c, v->dtype), .es = v->dtype == TLV_F64 ? 8 : 4 };
    int64_t dy0 = 0, dy1 = 0, dx0 = 0, dx1 = 0;
    for (int64_t t = 0; t < v->n_tap; t++) {
        const tlvi_tap *a = &v->tap[t];
        dy0 = t ? min64(dy0, a->dy) : a->dy;
        dy1 = t ? max64(dy1, a->dy) : a->dy;
        dx0 = t ? min64(dx0, a->dx) : a->dx;
        dx1 = t ? max64(dx1, a->dx) : a->dx;
    }
    inside(dy0, dy1, v->sh, v->ih, v->oh, &p->i0, &p->i1);
    inside(dx0, dx1, v->sw, v->iw, v->ow, &p->j0, &p->j1);
}

tlv_status tlvi_depthwise_run(tlv_ctx *c, const tlvi_conv *v)
{
    if (c->err || v->batch * v->oh * v->ow * v->oc == 0) return c->err;
    plan p;
    make_plan(&p, c, v);
    int64_t w_bytes = (v->w_out * v->oc * p.es + 63) / 64 * 64;
    int64_t all = w_bytes + tlv_threads(c) * 2 * v->n_tap * (int64_t)sizeof(int64_t);
    p.w = tlvi_alloc(c, (size_t)all);
    if (!p.w) return c->err;
    p.list = (int64_t *)(void *)(p.w + w_bytes);
    p.k->transpose((size_t)v->oc, (size_t)v->w_out, v->w, v->w_out, p.w, v->oc);
    p.n_band = min64(v->oh, max64((v->oh + ROWS - 1) / ROWS, 8 * tlv_threads(c) / v->batch));
    int64_t cost = v->oh * v->ow * v->oc * (v->n_tap + 1) / p.n_band / 8 + 1;
    tlvi_parallel_for(c, v->batch * p.n_band, cost, run_chunk, &p);
    tlvi_free(c, p.w, (size_t)all);
    return c->err;
}

/* ---- gradient of the weights ----------------------------------------------------------------- */

/* n columns from j on of `rows` output rows from i on, which have the same taps inside. */
static void dw_pixels(const plan *p, int64_t b, int64_t i, int64_t rows, int64_t j, int64_t n,
                      int64_t n_tap, const int64_t *list, char *part)
{
    const tlvi_conv *v = p->v;
    tlvi_depthwise_dw a = { .rows = rows, .n = n, .n_tap = n_tap, .ch = (size_t)v->oc, .tap = list,
                            .x_row = v->sh * v->xh, .x_px = v->sw * v->xw, .g_row = v->yh,
                            .g_px = v->yw, .acc = part };
    a.x = v->x + (b * v->xb + j * a.x_px) * p->es;      // the list has the row already
    a.g = v->y + (b * v->yb + i * v->yh + j * v->yw) * p->es;
    p->k->depthwise_dw(&a);
}

static void dw_rows(const plan *p, int64_t b, int64_t i, int64_t rows, int64_t *list, char *part)
{
    const tlvi_conv *v = p->v;
    for (int64_t j = 0; j < v->ow; j++) {
        if (j == p->j0 && p->j1 > j) {
            dw_pixels(p, b, i, rows, j, p->j1 - j, list_taps(p, i, -1, list), list, part);
            j = p->j1 - 1;
            continue;
        }
        dw_pixels(p, b, i, rows, j, 1, list_taps(p, i, j, list), list, part);
    }
}

/* A part: rows of output pixels lo .. hi-1; neighbours of one image with all taps inside in one
 * go. */
static void dw_chunk(void *arg, int64_t q, int worker)
{
    const plan *p = arg;
    const tlvi_conv *v = p->v;
    char *part = p->part + q * p->part_size * p->es;
    int64_t *list = p->list + worker * 2 * v->n_tap, end = (q + 1) * p->n_unit / p->n_part;
    memset(part, 0, (size_t)(p->part_size * p->es));
    for (int64_t u = q * p->n_unit / p->n_part, rows; u < end; u += rows) {
        int64_t b = u / v->oh, i = u % v->oh;
        rows = i >= p->i0 && i < p->i1 ? min64(p->i1 - i, end - u) : 1;
        dw_rows(p, b, i, rows, list, part);
    }
}

tlv_status tlvi_depthwise_dw_run(tlv_ctx *c, const tlvi_conv *v, char *dw)
{
    if (c->err || v->n_tap * v->oc == 0) return c->err;
    plan p;
    make_plan(&p, c, v);
    int64_t pixels = v->batch * v->oh * v->ow, per_unit = v->ow * v->oc * v->n_tap;
    p.n_unit = v->batch * v->oh;
    p.part_size = v->n_tap * v->oc;
    p.n_part = tlvi_count_parts(p.n_unit, p.part_size * p.es, 16 * pixels * v->oc * v->n_tap);
    int64_t lists = tlv_threads(c) * 2 * v->n_tap * (int64_t)sizeof(int64_t);
    int64_t all = lists + p.n_part * p.part_size * p.es;
    p.list = tlvi_alloc(c, (size_t)all);
    if (!p.list) return c->err;
    p.part = (char *)p.list + lists;
    tlvi_parallel_for(c, p.n_part, p.n_unit / p.n_part * per_unit / 8 + 1, dw_chunk, &p);
    tlvi_sum_parts(c, p.k, (size_t)p.es, p.n_part, p.part_size, p.part);
    p.k->transpose((size_t)v->n_tap, (size_t)v->oc, p.part, v->oc, dw, v->n_tap);
    tlvi_free(c, p.list, (size_t)all);
    return c->err;
}
