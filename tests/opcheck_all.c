/* opcheck_all.c -- the generic checks of an op's case.  See opcheck.h. */
#include <math.h>
#include <stdio.h>

#include "tests/opcheck.h"
#include "tensor/core.h"

/* Central differences with Richardson's step: error h^4, and 2^-14 is exact in every sum x + h
 * v. */
static const double STEP = 1.0 / 16384;
static const double GRAD_TOL = 1e-6, THIRD_TOL = 1e-5, PATH_TOL_F64 = 1e-10, PATH_TOL_F32 = 1e-5;
static const double TEETH = 1e-8;       /* a gradient that is smaller everywhere proves nothing */

static double f32_tol(const op_run *r) { return r->k.f32_tol > 0 ? r->k.f32_tol : 1e-5; }

static double largest(int64_t n, const double *v)
{
    double max = 0;
    for (int64_t i = 0; i < n; i++)
        if (!(fabs(v[i]) <= max)) max = fabs(v[i]);     // a NaN counts
    return max;
}

/* ---- values ---------------------------------------------------------------------------------- */

static void check_shape(op_run *r, tlv_ctx *c)
{
    tlv_scope s = tlv_scope_begin(c);
    const tlv_tensor *in[CASE_MAX_IN] = { 0 };
    static const tlv_dtype OF_KIND[] = { TLV_F64, TLV_F64, TLV_I32, TLV_U8 };
    for (int i = 0; i < r->k.n_in; i++)
        in[i] = support_tensor(c, OF_KIND[r->k.in[i].kind], r->k.in[i].shape, r->x[i], 0,
                               SUPPORT_ROW_MAJOR);
    tlv_tensor *y = r->k.call(c, in, &r->k);
    tlv_shape got = tlv_shape_of(y);
    int ok = y && got.ndim == r->k.out.ndim;
    for (int i = 0; i < got.ndim && ok; i++) ok = got.dim[i] == r->k.out.dim[i];
    op_expect(r, ok, "the output is %s, want %s (%s)", y ? tlvi_shape_text(got).s : "NULL",
              tlvi_shape_text(r->k.out).s, tlv_error_msg(c));
    tlv_scope_end(c, s);
    tlv_error_clear(c);
}

void op_check_values(op_run *r, tlv_ctx *c)
{
    static const char *const ORDERS[] = { "row-major", "channels-last", "transposed", "strided" };
    int before = r->failures;
    check_shape(r, c);
    if (r->failures > before) return;

    op_result want = { 0 }, f32 = { 0 }, got;
    int level = r->op->kind != OP_FLAT;
    if (!op_compute(r, c, (op_plan){ .dtype = TLV_F64, .level = level }, &want)) return;
    if (r->k.ref) {
        double *ref = op_doubles(r, want.n_y);
        r->k.ref(&r->k, (const double *const *)r->x, ref);
        op_close(r, "f64 against the naive loop", want.n_y, want.y, ref, 1e-10);
    }
    if (!op_compute(r, c, (op_plan){ .dtype = TLV_F32, .level = level }, &f32)) return;
    op_close(r, "f32 against f64", want.n_y, f32.y, want.y, f32_tol(r));
    for (int i = 0; i < OP_LEAVES; i++)
        if (f32.g[i])
            op_close(r, "gradient, f32 against f64", f32.n_g[i], f32.g[i], want.g[i],
                     4 * f32_tol(r));

    for (int order = SUPPORT_CHANNELS_LAST; order < SUPPORT_ORDERS; order++) {
        if (op_compute(r, c, (op_plan){ .dtype = TLV_F64, .order = order, .level = level }, &got))
            op_same(r, ORDERS[order], &got, &want, PATH_TOL_F64);
        if (op_compute(r, c, (op_plan){ .dtype = TLV_F32, .order = order, .level = level }, &got))
            op_same(r, ORDERS[order], &got, &f32, f32_tol(r));
    }
}

/* ---- derivatives against differences --------------------------------------------------------- */

/* dF/dh at h = 0 of F(leaf + h v). */
static int difference(op_run *r, tlv_ctx *c, int level, int leaf, double *slope)
{
    static const double AT[4] = { 1, -1, 2, -2 };
    double f[4];
    for (int i = 0; i < 4; i++)
        if (!op_value(r, c, level, leaf, r->w[0][leaf], AT[i] * STEP, &f[i])) return 0;
    *slope = (8 * (f[0] - f[1]) - (f[2] - f[3])) / (12 * STEP);
    return 1;
}

static void check_leaf(op_run *r, tlv_ctx *c, int level, int leaf, const op_result *a, double tol)
{
    double want, got = 0, squares = 0;
    for (int64_t e = 0; e < a->n_g[leaf]; e++) {
        double part = a->g[leaf][e] * r->w[0][leaf][e];
        got += part;
        squares += part * part;
    }
    if (!difference(r, c, level, leaf, &want)) return;
    double allowed = tol * (fabs(want) > sqrt(squares) ? fabs(want) : sqrt(squares));
    op_expect(r, test_is_close(got, want, 0, allowed + 1e-300),
              "order %d, %s %d: analytic %.12g, by differences %.12g (allowed %.2g)", level,
              leaf == OP_U ? "weight" : "input", leaf, got, want, allowed);
}

/* Nothing goes in, or nothing comes out. */
static int is_empty(const op_run *r)
{
    int empty = case_numel(r->k.out) == 0;
    for (int i = 0; i < r->k.n_in; i++) empty |= case_numel(r->k.in[i].shape) == 0;
    return empty;
}

/* Gradient of F_level in every leaf. */
static void check_level(op_run *r, tlv_ctx *c, int level, double tol)
{
    op_result a;
    if (!op_compute(r, c, (op_plan){ .dtype = TLV_F64, .level = level }, &a)) return;
    int empty = is_empty(r);
    double most = 0;
    for (int leaf = 0; leaf < OP_LEAVES; leaf++) {
        if (!a.g[leaf] || a.n_g[leaf] == 0) continue;
        double size = largest(a.n_g[leaf], a.g[leaf]);
        if (leaf != OP_U && !(size <= most)) most = size;
        if (level == 1 && !empty)
            op_expect(r, !(size <= TEETH), "gradient %d is zero: the check proves nothing", leaf);
        if (level == 2 && leaf != OP_U && r->k.no_second)
            op_expect(r, size <= 1e-10, "no_second is set, but a second derivative is %.3g", size);
        else
            check_leaf(r, c, level, leaf, &a, tol);
    }
    if (level == 2 && !empty && !r->k.no_second)
        op_expect(r, !(most <= TEETH),
                  "every second derivative is zero: set no_second, or choose other inputs");
}

static void check_paths(op_run *r, tlv_ctx *c)
{
    for (int d = TLV_F32; d <= TLV_F64; d++) {
        op_result fast, graph;
        if (op_compute(r, c, (op_plan){ .dtype = d, .level = 1 }, &fast)
            && op_compute(r, c, (op_plan){ .dtype = d, .level = 1, .flags = TLV_CREATE_GRAPH },
                          &graph))
            op_same(r,
                    d == TLV_F64 ? "fast against graph path, f64" : "fast against graph path, f32",
                    &fast, &graph, d == TLV_F64 ? PATH_TOL_F64 : PATH_TOL_F32);
    }
}

void op_check_gradients(op_run *r, tlv_ctx *c)
{
    check_paths(r, c);
    check_level(r, c, 1, GRAD_TOL);
    check_level(r, c, 2, GRAD_TOL);
}

void op_check_third(op_run *r, tlv_ctx *c) { check_level(r, c, 3, THIRD_TOL); }

/* ---- replay, need-masks ---------------------------------------------------------------------- */

void op_check_replay(op_run *r, tlv_ctx *c)
{
    static const struct { tlv_dtype d; int level, flags; const char *what; } HOW[] = {
        { TLV_F32, 1, 0, "checkpoint, f32" },
        { TLV_F32, 1, TLV_CREATE_GRAPH, "checkpoint, f32, graph path" },
        { TLV_F64, 1, 0, "checkpoint, f64" },
        { TLV_F64, 1, TLV_CREATE_GRAPH, "checkpoint, f64, graph path" },
        { TLV_F64, 2, 0, "checkpoint, second order" },
    };
    for (size_t i = 0; i < sizeof HOW / sizeof HOW[0]; i++) {
        op_result plain, replayed;
        op_plan p = {
            .dtype = HOW[i].d, .level = HOW[i].level, .flags = HOW[i].flags, .wrap = OP_IN_SCOPE
        };
        if (!op_compute(r, c, p, &plain)) continue;
        p.wrap = OP_IN_CHECKPOINT;
        if (op_compute(r, c, p, &replayed)) op_same(r, HOW[i].what, &replayed, &plain, 0);
    }
}

void op_check_recompute(op_run *r, tlv_ctx *c, tlv_ctx *cheap)
{
    static const struct { tlv_dtype d; int level, flags; const char *what; } HOW[] = {
        { TLV_F32, 1, 0, "recomputed, f32" },
        { TLV_F64, 1, TLV_CREATE_GRAPH, "recomputed, f64, graph path" },
        { TLV_F64, 2, 0, "recomputed, second order" },
    };
    if (r->op->kind == OP_FLAT) return;
    for (size_t i = 0; i < sizeof HOW / sizeof HOW[0]; i++) {
        op_result kept, again;
        op_plan p = { .dtype = HOW[i].d, .level = HOW[i].level, .flags = HOW[i].flags,
                      .wrap = OP_AFTER_CHEAP };
        if (op_compute(r, c, p, &kept) && op_compute(r, cheap, p, &again))
            op_same(r, HOW[i].what, &again, &kept, 0);
    }
}

/* With poison on: a gradient that reads what ops.def does not declare fails here, in any build. */
static void check_masks(op_run *r, tlv_ctx *c)
{
    unsigned all = op_all(r) & ~(1u << OP_U);
    for (int flags = 0; flags <= TLV_CREATE_GRAPH; flags += TLV_CREATE_GRAPH) {
        op_result full, part;
        op_plan p = { .dtype = TLV_F64, .level = 1, .flags = flags, .mask = all };
        if (!op_compute(r, c, p, &full)) return;
        for (unsigned m = 1; m < all; m++) {
            if ((m & all) != m) continue;
            char what[64];
            snprintf(what, sizeof what, "only inputs %x want gradients, flags %d", m, flags);
            p.mask = p.wrt = m;
            if (op_compute(r, c, p, &part)) op_same(r, what, &part, &full, 1e-12);
            snprintf(what, sizeof what, "only inputs %x are asked for, flags %d", m, flags);
            p.mask = all;
            if (op_compute(r, c, p, &part)) op_same(r, what, &part, &full, 1e-12);
        }
    }
}

void op_check_masks(op_run *r, tlv_ctx *c)
{
    c->poison = 1;
    check_masks(r, c);
    c->poison = 0;
}

void op_check_all(op_run *r, tlv_ctx *c, int third)
{
    op_check_values(r, c);
    if (r->op->kind == OP_FLAT) return;
    op_check_gradients(r, c);
    op_check_replay(r, c);
    op_check_masks(r, c);
    if (third) op_check_third(r, c);
}
