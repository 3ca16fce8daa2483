/* opcheck.c -- one computation of an op's case: inputs, output, gradients.  See opcheck.h. */
#include "tests/opcheck.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "autograd/op.h"

/* ---- the list of ops, from ops.def ----------------------------------------------------------- */

#define TLV_OP(id, kind, cost, args, reads, formula, shapes) int case_##id(int i, op_case *k);
#include "autograd/ops.def"
#undef TLV_OP

const op_line op_lines[TLV_OP_COUNT] = {
#define TLV_OP(id, kind, cost, args, reads, formula, shapes) \
    { #id, TLV_OP_##id, OP_##kind, case_##id },
#include "autograd/ops.def"
#undef TLV_OP
};

/* ---- helpers for cases ----------------------------------------------------------------------- */

int64_t case_numel(tlv_shape s)
{
    int64_t n = 1;
    for (int i = 0; i < s.ndim; i++) n *= s.dim[i];
    return n;
}

int64_t case_broadcast(tlv_shape from, tlv_shape to, int64_t i)
{
    int64_t at = 0, step = 1;
    for (int d = 1; d <= to.ndim; d++) {
        int64_t n = to.dim[to.ndim - d], pos = i % n;
        i /= n;
        if (d > from.ndim) continue;
        if (from.dim[from.ndim - d] != 1) at += pos * step;
        step *= from.dim[from.ndim - d];
    }
    return at;
}

/* ---- scratch memory, counting ---------------------------------------------------------------- */

struct op_block { struct op_block *next; };

double *op_doubles(op_run *r, int64_t n)
{
    struct op_block *b = calloc(1, sizeof(double) * 2 + (size_t)(n > 0 ? n : 1) * sizeof(double));
    if (!b) abort();
    b->next = r->blocks;
    r->blocks = b;
    return (double *)(void *)b + 2;
}

int op_expect(op_run *r, int cond, const char *fmt, ...)
{
    char what[128], text[512];
    if (!cond) r->failures++;
    if (r->quiet) return cond;
    if (cond) return test_check(1, __FILE__, __LINE__, "", "%s", "");
    snprintf(what, sizeof what, "%s case %d (%s)", r->op->name, r->index,
             r->k.text ? r->k.text : "");
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    return test_check(0, __FILE__, __LINE__, what, "%s", text);
}

/* ---- values ---------------------------------------------------------------------------------- */

static double on_grid(double v, double grid) { return floor(v * grid + 0.5) / grid; }

/* Whole multiples of 2^-6, away from 0, of both signs. */
static double direction(tlv_rng_key k, int64_t i)
{
    double u = tlv_rng_uniform(k, (uint64_t)i) * 2 - 1;
    return on_grid(u < 0 ? u * 0.75 - 0.25 : u * 0.75 + 0.25, 64);
}

static void fill_grid(double *x, int64_t n, tlv_rng_key key, double lo, double hi, double gap)
{
    int64_t *place = malloc((size_t)(n + 1) * sizeof *place);
    if (!place) abort();
    for (int64_t i = 0; i < n; i++) place[i] = i;
    tlv_rng_shuffle(key, n, place);
    double step = n > 1 ? (hi - lo) / (double)n : 0;
    if (step < gap) step = gap;
    step = ceil(step * 4096) / 4096;
    for (int64_t i = 0; i < n; i++)
        x[i] = on_grid((lo + hi) / 2, 4096) + ((double)place[i] - floor((double)n / 2)) * step;
    free(place);
}

static double away_from(double x, const case_input *in)
{
    for (int k = 0; k < in->n_kinks; k++) {
        double d = x - in->kinks[k];
        if (fabs(d) < 0.05) x = on_grid(in->kinks[k] + (d < 0 ? d - 0.05 : d + 0.05), 4096);
    }
    return x;
}

static double draw(const case_input *in, tlv_rng_key key, int64_t i, double lo, double hi)
{
    double u = tlv_rng_uniform(key, (uint64_t)i);
    if (in->kind == CASE_BYTE) return u < 0.5;
    if (in->kind == CASE_INDEX) return floor(lo + u * (hi - lo + 1));
    double x = on_grid(lo + u * (hi - lo), 4096);
    if (x < lo) x += 1.0 / 4096;
    if (x > hi) x -= 1.0 / 4096;
    return away_from(x, in);
}

static void fill_input(op_run *r, int i)
{
    const case_input *in = &r->k.in[i];
    int64_t n = case_numel(in->shape);
    double lo = in->lo, hi = in->hi;
    if (lo == 0 && hi == 0 && in->kind != CASE_INDEX) { lo = -1.5; hi = 1.5; }
    tlv_rng_key key = { 0x5eed };
    key = tlv_rng_fold(tlv_rng_fold(key, (uint64_t)r->op->op), (uint64_t)(r->index * 64 + i));
    if (r->k.seed) key = tlv_rng_fold(key, (uint64_t)r->k.seed);
    r->x[i] = op_doubles(r, n);
    if (in->gap > 0 && in->kind <= CASE_CONST) {
        fill_grid(r->x[i], n, key, lo, hi, in->gap);
        for (int64_t e = 0; e < n; e++) r->x[i][e] = away_from(r->x[i][e], in);
        return;
    }
    for (int64_t e = 0; e < n; e++) r->x[i][e] = draw(in, key, e, lo, hi);
}

int op_is_real(const op_run *r, int i) { return i < r->k.n_in && r->k.in[i].kind == CASE_REAL; }

unsigned op_all(const op_run *r)
{
    unsigned m = 1u << OP_U;
    for (int i = 0; i < r->k.n_in; i++) m |= (unsigned)op_is_real(r, i) << i;
    return m;
}

int64_t op_leaf_numel(op_run *r, int leaf)
{
    return case_numel(leaf == OP_U ? r->k.out : r->k.in[leaf].shape);
}

int op_run_begin(op_run *r, const op_line *op, int index)
{
    int quiet = r->quiet, failures = r->failures;
    memset(r, 0, sizeof *r);
    r->quiet = quiet;
    r->failures = failures;
    r->op = op;
    r->index = index;
    if (!op->gen(index, &r->k)) return 0;
    for (int i = 0; i < r->k.n_in; i++) fill_input(r, i);
    tlv_rng_key key = tlv_rng_fold((tlv_rng_key){ 0xd1f }, (uint64_t)(op->op * 1000 + index));
    for (int leaf = 0; leaf < OP_LEAVES; leaf++) {
        if (leaf != OP_U && leaf >= r->k.n_in) continue;
        int64_t n = op_leaf_numel(r, leaf);
        for (int level = 0; level < 4; level++) {
            tlv_rng_key k = tlv_rng_fold(key, (uint64_t)(level * OP_LEAVES + leaf));
            double *v = op_doubles(r, n);
            for (int64_t e = 0; e < n; e++) v[e] = direction(k, e);
            r->w[level][leaf] = v;
        }
    }
    r->x[OP_U] = r->w[1][OP_U];
    return 1;
}

void op_run_end(op_run *r)
{
    for (struct op_block *b = r->blocks, *next; b; b = next) {
        next = b->next;
        free(b);
    }
    r->blocks = NULL;
}

/* ---- the graph ------------------------------------------------------------------------------- */

typedef struct graph {
    tlv_tensor *leaf[OP_LEAVES];
    tlv_tensor *y, *f;
} graph;

static tlv_tensor *make_leaf(op_run *r, tlv_ctx *c, const op_plan *p, int i, const double *x)
{
    static const tlv_dtype OF_KIND[] = { [CASE_INDEX] = TLV_I32, [CASE_BYTE] = TLV_U8 };
    case_kind kind = r->k.in[i].kind;
    tlv_dtype d = kind <= CASE_CONST ? p->dtype : OF_KIND[kind];
    return support_tensor(c, d, r->k.in[i].shape, x, p->mask >> i & 1 ? TLV_WANT_GRAD : 0,
                          p->order);
}

static tlv_tensor *call(op_run *r, tlv_ctx *c, const op_plan *p, const graph *g)
{
    const tlv_tensor *in[CASE_MAX_IN] = { 0 };
    for (int i = 0; i < r->k.n_in; i++) in[i] = g->leaf[i];
    if (p->wrap == OP_PLAIN) return r->k.call(c, in, &r->k);

    // What comes in and goes out is made inside too, so that a checkpoint has something to forget.
    tlv_scope s = tlv_scope_begin_with(c, p->wrap == OP_IN_CHECKPOINT ? TLV_CHECKPOINT : 0);
    const tlv_tensor *one = NULL;
    if (p->wrap == OP_AFTER_CHEAP) one = tlv_leaf(c, tlv_scalar(c, p->dtype, 1));
    for (int i = 0; i < r->k.n_in; i++) {
        if (!op_is_real(r, i)) continue;
        in[i] = tlv_neg(c, tlv_neg(c, in[i]));
        if (one) in[i] = tlv_mul(c, in[i], one);           // its gradient reads both: they are kept
    }
    tlv_tensor *y = r->k.call(c, in, &r->k);
    y = tlv_neg(c, tlv_neg(c, y));
    return tlv_scope_end_keep(c, s, y);
}

/* sum_i <w_i, d_i>; NULL if every d_i is. */
static tlv_tensor *weighted(op_run *r, tlv_ctx *c, int level, unsigned leaves, tlv_tensor *const *d)
{
    tlv_tensor *sum = NULL;
    for (int i = 0; i < OP_LEAVES; i++) {
        if (!(leaves >> i & 1) || !d[i]) continue;
        tlv_tensor *w = support_tensor(c, tlv_dtype_of(d[i]), tlv_shape_of(d[i]), r->w[level][i], 0,
                                       SUPPORT_ROW_MAJOR);
        tlv_tensor *part = tlv_sum_all(c, tlv_mul(c, d[i], w));
        sum = sum ? tlv_add(c, sum, part) : part;
    }
    return sum;
}

static int gradients(tlv_ctx *c, const tlv_tensor *f, const graph *g, unsigned leaves,
                     tlv_tensor **d, int flags)
{
    const tlv_tensor *wrt[OP_LEAVES];
    tlv_tensor *got[OP_LEAVES];
    int n = 0;
    for (int i = 0; i < OP_LEAVES; i++) {
        d[i] = NULL;
        if (leaves >> i & 1) wrt[n++] = g->leaf[i];
    }
    if (!f || !tlv_wants_grad(f)) return tlv_error(c) == TLV_OK;      // does not depend on anything
    if (tlv_grad(c, f, NULL, n, wrt, got, flags) != TLV_OK) return 0;
    for (int i = 0, k = 0; i < OP_LEAVES; i++)
        if (leaves >> i & 1) d[i] = got[k++];
    return 1;
}

/* F of the level; `flags` are those of the last gradient in it. */
static tlv_tensor *build(op_run *r, tlv_ctx *c, const op_plan *p, graph *g, int level, int flags)
{
    tlv_tensor *d[OP_LEAVES];
    if (level == 1) {
        g->leaf[OP_U] = support_tensor(c, tlv_dtype_of(g->y), tlv_shape_of(g->y), r->x[OP_U],
                                       p->mask >> OP_U & 1 ? TLV_WANT_GRAD : 0, SUPPORT_ROW_MAJOR);
        return tlv_sum_all(c, tlv_mul(c, g->y, g->leaf[OP_U]));
    }
    unsigned leaves = level == 2 ? p->mask & ~(1u << OP_U) : p->mask;
    tlv_tensor *f = build(r, c, p, g, level - 1, TLV_CREATE_GRAPH);
    if (!gradients(c, f, g, leaves, d, flags)) return NULL;
    return weighted(r, c, level, leaves, d);
}

static int in_its_order(const tlv_tensor *d, const tlv_tensor *leaf)
{
    if (!d || leaf->ndim != 4) return 1;
    if (tlvi_is_channels_last(leaf)) return tlvi_is_channels_last(d);
    return !tlvi_is_row_major(leaf) || tlvi_is_row_major(d);
}

static int read_result(op_run *r, tlv_ctx *c, const op_plan *p, const graph *g,
                       tlv_tensor *const *d, op_result *out)
{
    out->n_y = tlv_numel(g->y);
    out->y = op_doubles(r, out->n_y);
    int ok = support_read(c, g->y, out->y, out->n_y);
    for (int i = 0; i < OP_LEAVES && ok; i++) {
        out->g[i] = NULL;
        if (p->level == 0 || !(p->wrt >> i & 1)) continue;
        out->n_g[i] = tlv_numel(g->leaf[i]);
        out->g[i] = op_doubles(r, out->n_g[i]);
        if (d[i]) ok = support_read(c, d[i], out->g[i], out->n_g[i]);
        op_expect(r, in_its_order(d[i], g->leaf[i]),
                  "the gradient of input %d is not in the memory order of that input", i);
    }
    return ok;
}

static int untouched(op_run *r, tlv_ctx *c, const op_plan *p, const graph *g)
{
    for (int i = 0; i < r->k.n_in; i++) {
        int64_t n = op_leaf_numel(r, i);
        double *now = op_doubles(r, n);
        if (!support_read(c, g->leaf[i], now, n)) return 0;
        for (int64_t e = 0; e < n; e++) {
            double was = p->dtype == TLV_F32 ? (double)(float)r->x[i][e] : r->x[i][e];
            if (now[e] != was) return 0;
        }
    }
    return 1;
}

int op_compute(op_run *r, tlv_ctx *c, op_plan p, op_result *out)
{
    graph g = { 0 };
    tlv_tensor *d[OP_LEAVES] = { 0 };
    memset(out, 0, sizeof *out);
    if (!p.mask) p.mask = p.level ? op_all(r) : 0;
    if (!p.wrt) p.wrt = p.mask;
    int64_t live = tlv_mem_get(c).live_tensors;
    tlv_scope s = tlv_scope_begin(c);
    for (int i = 0; i < r->k.n_in; i++) g.leaf[i] = make_leaf(r, c, &p, i, r->x[i]);
    g.y = call(r, c, &p, &g);
    int ok = g.y != NULL;
    if (ok && p.level) {
        g.f = build(r, c, &p, &g, p.level, TLV_CREATE_GRAPH);
        ok = gradients(c, g.f, &g, p.wrt, d, p.flags);
    }
    op_expect(r, ok && tlv_error(c) == TLV_OK, "%s: %s", tlv_status_name(tlv_error(c)),
              tlv_error_msg(c));
    ok = ok && tlv_error(c) == TLV_OK && read_result(r, c, &p, &g, d, out);
    if (ok) op_expect(r, untouched(r, c, &p, &g), "an input was written to");
    tlv_scope_end(c, s);
    tlv_error_clear(c);
    op_expect(r, tlv_mem_get(c).live_tensors == live && tlv_mem_get(c).tape_nodes == 0,
              "left %lld tensors and %lld nodes", (long long)(tlv_mem_get(c).live_tensors - live),
              (long long)tlv_mem_get(c).tape_nodes);
    return ok;
}

int op_value(op_run *r, tlv_ctx *c, int level, int leaf, const double *v, double step,
             double *value)
{
    graph g = { 0 };
    op_plan p = { .dtype = TLV_F64, .mask = level > 1 ? op_all(r) : 0, .level = level };
    double *keep = r->x[leaf];
    int64_t n = op_leaf_numel(r, leaf);
    double *moved = NULL;
    if (v) {
        r->x[leaf] = moved = malloc((size_t)(n + 1) * sizeof *moved);
        if (!moved) abort();
        for (int64_t e = 0; e < n; e++) moved[e] = keep[e] + step * v[e];
    }
    tlv_scope s = tlv_scope_begin(c);
    for (int i = 0; i < r->k.n_in; i++) g.leaf[i] = make_leaf(r, c, &p, i, r->x[i]);
    g.y = call(r, c, &p, &g);
    g.f = g.y ? build(r, c, &p, &g, level, 0) : NULL;
    *value = g.f ? tlv_item(c, g.f) : 0;
    int ok = op_expect(r, tlv_error(c) == TLV_OK, "%s: %s", tlv_status_name(tlv_error(c)),
                       tlv_error_msg(c));
    tlv_scope_end(c, s);
    tlv_error_clear(c);
    r->x[leaf] = keep;
    free(moved);
    return ok;
}

/* ---- comparing ------------------------------------------------------------------------------- */

int op_close(op_run *r, const char *what, int64_t n, const double *a, const double *b, double tol)
{
    double max = 0;
    for (int64_t i = 0; i < n; i++)
        if (isfinite(b[i]) && fabs(b[i]) > max) max = fabs(b[i]);
    for (int64_t i = 0; i < n; i++) {
        int same = tol == 0 ? memcmp(&a[i], &b[i], sizeof *a) == 0 || (isnan(a[i]) && isnan(b[i]))
                            : test_is_close(a[i], b[i], 0, tol * max);
        if (!same)
            return op_expect(
                r, 0, "%s: element %lld is %.9g, want %.9g (largest %.3g, allowed %.1g of it)",
                what, (long long)i, a[i], b[i], max, tol);
    }
    return op_expect(r, 1, "%s", what);
}

int op_same(op_run *r, const char *what, const op_result *a, const op_result *b, double tol)
{
    char text[160];
    if (!op_expect(r, a->n_y == b->n_y, "%s: %lld and %lld elements", what, (long long)a->n_y,
                   (long long)b->n_y)) return 0;
    snprintf(text, sizeof text, "%s: output", what);
    int ok = op_close(r, text, a->n_y, a->y, b->y, tol);
    for (int i = 0; i < OP_LEAVES; i++) {
        if (!a->g[i] || !b->g[i]) continue;
        snprintf(text, sizeof text, i == OP_U ? "%s: gradient in u" : "%s: gradient %d", what, i);
        ok = op_close(r, text, a->n_g[i], a->g[i], b->g[i], tol) && ok;
    }
    return ok;
}
