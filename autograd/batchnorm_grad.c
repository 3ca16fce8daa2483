/* batchnorm_grad.c -- the gradient of batch norm over the batch's own statistics as an op of its
 * own, so that gradients of gradients stay few passes over the images too.
 *
 * With t = g where the activation is open, h = (x - mean) rstd, m rows, and P z = z - mean of z -
 * h (mean of z h):
 *   dx = gamma rstd P t,   sums = (dgamma, dbeta) = (sum t h, sum t). */
#include <math.h>

#include "autograd/norm.h"

typedef struct bg_attr { double eps; tlv_act act; } bg_attr;

/* Arrays of one value a channel: doubles, then values of x's type. */
typedef struct bg_room { double *d; char *v; size_t bytes, stride; int64_t n; } bg_room;

static int room_begin(tlv_ctx *c, int64_t n, int doubles, int values, bg_room *r)
{
    r->n = n;
    r->stride = (size_t)n * sizeof(double);
    r->bytes = r->stride * (size_t)(doubles + values) + 1;
    r->d = tlvi_alloc(c, r->bytes);
    if (r->d) r->v = (char *)(r->d + n * doubles);
    return r->d != NULL;
}

static const void *room_value(tlv_ctx *c, int dtype, const bg_room *r, int i, const double *from)
{
    void *to = r->v + r->stride * (size_t)i;
    tlvi_ks(c, dtype)->from_f64((size_t)r->n, from, to);
    return to;
}

static tlvi_gate gate_of(tlv_act act)
{
    return act == TLV_ACT_RELU    ? TLVI_GATE_RELU
           : act == TLV_ACT_RELU6 ? TLVI_GATE_RELU6
                                  : TLVI_GATE_NONE;
}

/* ---- the op ---------------------------------------------------------------------------------- */

/* mean and rstd of x with the bits that batch norm keeps. */
static void statistics(tlv_ctx *c, const tlvi_cols *s, const tlv_tensor *x, double eps,
                       const tlv_tensor **mean, const tlv_tensor **rstd)
{
    bg_room r;
    if (!room_begin(c, s->n, 2, 0, &r)) return;
    double *m = r.d, *v = m + s->n;
    tlvi_cols_stats(c, s, x, m, v);
    for (int64_t j = 0; j < s->n; j++) v[j] = 1 / sqrt(v[j] + eps);
    *mean = tlvi_norm_vector(c, s->dtype, s->n, m);
    *rstd = tlvi_norm_vector(c, s->dtype, s->n, v);
    tlvi_free(c, r.d, r.bytes);
}

/* dx = a t + b (x - mean) + k */
static void run(tlv_ctx *c, const tlvi_cols *s, tlvi_cols_grad *a, const tlv_tensor *gamma,
                const tlv_tensor *rstd, tlv_tensor *dx, tlv_tensor *sums)
{
    bg_room r;
    if (c->err || !room_begin(c, s->n, 6, 3, &r)) return;
    int64_t n = s->n;
    double *sth = r.d, *st = sth + n, *rs = st + n, *ca = rs + n, *cb = ca + n, *ck = cb + n;
    double rows = s->rows ? (double)s->rows : 1;
    tlvi_norm_load(c, rstd, 0, n, rs);
    tlvi_norm_load(c, gamma, 1, n, ca);
    tlvi_cols_grad_sums(c, s, a, st, sth);
    tlvi_ks(c, s->dtype)->from_f64((size_t)(2 * n), sth, tlvi_ptr(sums));
    for (int64_t j = 0; j < n; j++) {
        ca[j] *= rs[j];
        cb[j] = -ca[j] * rs[j] * sth[j] / rows;
        ck[j] = -ca[j] * st[j] / rows;
    }
    a->a = room_value(c, s->dtype, &r, 0, ca);
    a->b = room_value(c, s->dtype, &r, 1, cb);
    a->c = room_value(c, s->dtype, &r, 2, ck);
    if (!c->err) tlvi_cols_grad_x(c, s, a, dx, NULL);
    tlvi_free(c, r.d, r.bytes);
}

tlv_tensor *tlvi_batch_norm_grad(tlv_ctx *c, const tlv_tensor *g, const tlv_tensor *x,
                                 const tlv_tensor *gamma, const tlv_tensor *y,
                                 const tlv_tensor *mean, const tlv_tensor *rstd, double eps,
                                 tlv_act act, tlv_tensor **sums)
{
    *sums = NULL;
    if (!tlvi_ready2(c, "batch_norm_grad", g, x) || (y && !tlvi_ready1(c, "batch_norm_grad", y)))
        return NULL;
    tlvi_cols s = tlvi_cols_of(x, 0);
    tlvi_cols_grad a = { .gate = gate_of(act), .g = tlvi_cols_view(c, g),
                         .x = tlvi_cols_view(c, x) };
    if (a.gate != TLVI_GATE_NONE) a.y = tlvi_cols_view(c, y);
    if (!mean && a.x) statistics(c, &s, a.x, eps, &mean, &rstd);
    tlv_tensor *dx = tlvi_cols_new(c, (tlv_dtype)x->dtype, tlv_shape_of(x));
    tlv_tensor *both = tlvi_new(c, (tlv_dtype)x->dtype, tlv_shape2(2, s.n));
    if (c->err) return NULL;
    a.mean = tlvi_ptr(mean);
    a.rstd = tlvi_ptr(rstd);
    run(c, &s, &a, gamma, rstd, dx, both);
    const tlv_tensor *in[4] = { g, x, gamma, y };
    bg_attr at;
    memset(&at, 0, sizeof at);
    at.eps = eps;
    at.act = act;
    tlvi_record_args rec = { .op = TLV_OP_BATCH_NORM_GRAD,
                             .n_in = 4,
                             .in = in,
                             .out = { c->err ? NULL : dx, both },
                             .aux = { mean, rstd },
                             .attr = &at,
                             .attr_bytes = sizeof at };
    dx = tlvi_record(c, &rec);
    if (dx) *sums = both;
    return dx;
}

TLVI_EXEC(BATCH_NORM_GRAD)
{
    const bg_attr *at = n->attr;
    tlv_tensor *sums;
    return tlvi_batch_norm_grad(c, tlvi_in(n, 0), tlvi_in(n, 1), tlvi_in(n, 2), tlvi_in(n, 3), NULL,
                                NULL, at->eps, at->act, &sums);
}

/* ---- its gradient: fused --------------------------------------------------------------------- *
 * u is the gradient of dx, (v, w) that of sums.  With means over rows a = t, b = t h, e = u, k = u
 * h, q = t u, and p = gamma:
 *   dt     = p rstd P u + v h + w
 *   dx     = -p rstd^2 (k (t - a) + b (u - e) + h (q - a e - 3 b k)) + v rstd (t - a - b h)
 *   dgamma = rstd m (q - a e - b k) */

typedef struct second {
    tlvi_cols s;
    bg_room r;
    tlv_act act;
    const tlv_tensor *t, *u, *x, *y;                    // t before the gate
    const void *mean, *rstd, *zero, *one;
    double *p, *rs, *v, *w, *a, *b, *e, *k, *q;         // one value a channel
    double *c0, *c1, *c2, *c3;                          // coefficients
    double rows;
} second;

enum { SECOND_DOUBLES = 13, SECOND_VALUES = 6 };

static int second_begin(tlv_ctx *c, const tlvi_node *n, const tlv_tensor *g, second *j)
{
    const tlv_tensor *x = tlvi_in(n, 1);
    int with_t = wants(n, 1) || wants(n, 2);
    *j = (second){ .s = tlvi_cols_of(x, 0), .act = ((const bg_attr *)n->attr)->act,
                   .x = tlvi_cols_view(c, x), .mean = tlvi_ptr(tlvi_aux(n, 0)),
                   .rstd = tlvi_ptr(tlvi_aux(n, 1)) };
    j->u = g ? tlvi_cols_view(c, g) : tlv_zeros(c, (tlv_dtype)x->dtype, tlv_shape_of(x));
    j->u = tlvi_cols_view(c, j->u);
    if (with_t) j->t = tlvi_cols_view(c, tlvi_in(n, 0));
    if (j->act != TLV_ACT_NONE) j->y = tlvi_cols_view(c, tlvi_in(n, 3));
    int64_t m = j->s.n;
    if (c->err || !room_begin(c, m, SECOND_DOUBLES, SECOND_VALUES, &j->r)) return 0;
    double **at[SECOND_DOUBLES] = { &j->p, &j->rs, &j->v, &j->w, &j->a, &j->b, &j->e,
                                    &j->k, &j->q, &j->c0, &j->c1, &j->c2, &j->c3 };
    for (int i = 0; i < SECOND_DOUBLES; i++) *at[i] = j->r.d + i * m;
    j->rows = j->s.rows ? (double)j->s.rows : 1;
    const tlv_tensor *gamma = wants(n, 0) || wants(n, 1) ? tlvi_in(n, 2) : NULL;
    tlvi_norm_load(c, gamma, 1, m, j->p);
    tlvi_norm_load(c, tlvi_aux(n, 1), 0, m, j->rs);
    memset(j->v, 0, 2 * (size_t)m * sizeof *j->v);
    const tlv_tensor *vw = tlvi_row_major(c, n->g1);
    if (vw) tlvi_ks(c, j->s.dtype)->to_f64((size_t)(2 * m), tlvi_ptr(vw), j->v);
    return 1;
}

/* The means: two passes, or one where t does not count. */
static void second_means(tlv_ctx *c, const tlvi_node *n, second *j)
{
    int64_t m = j->s.n;
    tlvi_cols_grad u = { .g = j->u, .x = j->x, .mean = j->mean, .rstd = j->rstd };
    tlvi_cols_grad_sums(c, &j->s, &u, j->e, j->k);
    for (int64_t i = 0; i < m; i++) {
        j->e[i] /= j->rows;
        j->k[i] /= j->rows;
        j->c0[i] = 0;
        j->c1[i] = 1;
    }
    if (!j->t) return;
    tlvi_cols_grad tu = { .gate = gate_of(j->act), .g = j->t, .y = j->y, .x = j->u };
    tu.mean = j->zero = room_value(c, j->s.dtype, &j->r, 0, j->c0);
    tu.rstd = j->one = room_value(c, j->s.dtype, &j->r, 1, j->c1);
    tlvi_cols_grad_sums(c, &j->s, &tu, j->a, j->q);
    const tlv_tensor *sums = tlvi_row_major(c, tlvi_out(n, 1));
    if (sums) tlvi_ks(c, j->s.dtype)->to_f64((size_t)m, tlvi_ptr(sums), j->b);
    for (int64_t i = 0; i < m; i++) {
        j->a[i] /= j->rows;
        j->b[i] /= j->rows;
        j->q[i] /= j->rows;
    }
}

/* Of the coefficients c0 u + c1 (x - mean) + c2, or with t for u and c3 for what follows. */
static void second_coefficients(tlv_ctx *c, const second *j, tlvi_cols_grad *a)
{
    a->mean = j->mean;
    a->a = room_value(c, j->s.dtype, &j->r, 2, j->c0);
    a->b = room_value(c, j->s.dtype, &j->r, 3, j->c1);
    a->c = room_value(c, j->s.dtype, &j->r, 4, j->c2);
}

static tlv_tensor *second_dg(tlv_ctx *c, const second *j, tlv_shape shape)
{
    for (int64_t i = 0; i < j->s.n; i++) {
        double r = j->rs[i], pr = j->p[i] * r;
        j->c0[i] = pr;
        j->c1[i] = r * (j->v[i] - pr * j->k[i]);
        j->c2[i] = j->w[i] - pr * j->e[i];
    }
    tlvi_cols_grad a = { .g = j->u, .x = j->x };
    second_coefficients(c, j, &a);
    tlv_tensor *dt = tlvi_cols_new(c, (tlv_dtype)j->s.dtype, shape);
    if (c->err) return NULL;
    tlvi_cols_grad_x(c, &j->s, &a, dt, NULL);
    return tlvi_act_grad(c, j->act, dt, j->y);
}

static tlv_tensor *second_dx(tlv_ctx *c, const second *j, tlv_shape shape)
{
    for (int64_t i = 0; i < j->s.n; i++) {
        double r = j->rs[i], a = j->a[i], b = j->b[i], e = j->e[i], k = j->k[i], v = j->v[i];
        double f = j->p[i] * r * r;
        j->c0[i] = v * r - f * k;
        j->c1[i] = -r * (f * (j->q[i] - a * e - 3 * b * k) + v * r * b);
        j->c2[i] = f * (k * a + b * e) - v * r * a;
        j->c3[i] = -f * b;
    }
    tlvi_cols_grad a = { .gate = gate_of(j->act), .g = j->t, .x = j->x, .y = j->y };
    second_coefficients(c, j, &a);
    const void *of_u = room_value(c, j->s.dtype, &j->r, 5, j->c3);
    tlv_tensor *dx = tlvi_cols_new(c, (tlv_dtype)j->s.dtype, shape);
    if (c->err) return NULL;
    tlvi_cols_grad_x(c, &j->s, &a, dx, NULL);
    tlvi_cols_apply(c, &j->s, TLVI_GATE_NONE, j->u, j->zero, of_u, j->zero, dx, dx);
    return dx;
}

static void grad_fused(tlv_ctx *c, const tlvi_node *n, const tlv_tensor *g, tlv_tensor **d)
{
    second j;
    tlv_shape shape = tlv_shape_of(tlvi_in(n, 1));
    if (!second_begin(c, n, g, &j)) return;
    second_means(c, n, &j);
    if (wants(n, 0)) d[0] = second_dg(c, &j, shape);
    if (wants(n, 1)) d[1] = second_dx(c, &j, shape);
    if (wants(n, 2)) {
        for (int64_t i = 0; i < j.s.n; i++)
            j.c0[i] = j.rs[i] * j.rows * (j.q[i] - j.a[i] * j.e[i] - j.b[i] * j.k[i]);
        d[2] = tlvi_norm_vector(c, j.s.dtype, j.s.n, j.c0);
    }
    tlvi_free(c, j.r.d, j.r.bytes);
}

/* ---- its gradient: in ops -------------------------------------------------------------------- */

typedef struct graph {
    tlv_axes axes;
    tlv_shape wide;
    tlv_tensor *h, *rstd;
} graph;

static tlv_tensor *mean_of(tlv_ctx *c, const graph *s, const tlv_tensor *t)
{
    return tlv_mean(c, t, s->axes, TLV_KEEPDIM);
}

/* z - mean of z, and that - h (mean of z h) */
static tlv_tensor *centred(tlv_ctx *c, const graph *s, const tlv_tensor *z)
{
    return tlv_sub(c, z, mean_of(c, s, z));
}
static tlv_tensor *projected(tlv_ctx *c, const graph *s, const tlv_tensor *z)
{
    return tlv_sub(c, centred(c, s, z), tlv_mul(c, s->h, mean_of(c, s, tlv_mul(c, z, s->h))));
}

static tlv_tensor *row_of(tlv_ctx *c, const graph *s, const tlv_tensor *sums, int64_t row)
{
    return tlv_reshape(c, tlv_slice(c, sums, 0, row, row + 1, 1), s->wide);
}

/* The gradient of gamma rstd u.P t in x: by rstd, and by the two h in P. */
static tlv_tensor *graph_dx(tlv_ctx *c, const graph *s, const tlv_tensor *t, const tlv_tensor *u,
                            const tlv_tensor *scale)
{
    tlv_tensor *b = mean_of(c, s, tlv_mul(c, t, s->h)), *k = mean_of(c, s, tlv_mul(c, u, s->h));
    tlv_tensor *bk = tlv_mul(c, b, k), *tc = centred(c, s, t), *uc = centred(c, s, u);
    tlv_tensor *q = tlv_sub(c, mean_of(c, s, tlv_mul(c, tc, uc)), tlv_affine(c, bk, 3, 0));
    tlv_tensor *sum = tlv_add(c, tlv_mul(c, k, tc), tlv_mul(c, b, uc));
    sum = tlv_add(c, sum, tlv_mul(c, s->h, q));
    return tlv_neg(c, tlv_mul(c, sum, tlv_mul(c, scale, s->rstd)));
}

static void grad_graph(tlv_ctx *c, const tlvi_node *n, const tlv_tensor *u, tlv_tensor **d)
{
    const bg_attr *at = n->attr;
    const tlv_tensor *x = tlvi_in(n, 1), *gamma = tlvi_in(n, 2), *y = tlvi_in(n, 3), *t = NULL;
    graph s = { .axes = tlvi_norm_axes(x), .wide = tlvi_norm_wide(x) };
    s.h = centred(c, &s, x);
    tlv_tensor *var = tlv_mean(c, tlv_mul(c, s.h, s.h), s.axes, TLV_KEEPDIM);
    s.rstd = tlv_rsqrt(c, tlv_affine(c, var, 1, at->eps));
    s.h = tlv_mul(c, s.h, s.rstd);
    tlv_tensor *scale = s.rstd, *v = n->g1 ? row_of(c, &s, n->g1, 0) : NULL;
    if (gamma && (wants(n, 0) || wants(n, 1)))
        scale = tlv_mul(c, scale, tlv_reshape(c, gamma, s.wide));
    if (wants(n, 1) || wants(n, 2)) t = tlvi_act_grad(c, at->act, tlvi_in(n, 0), y);
    if (wants(n, 0)) {
        tlv_tensor *dt = u ? tlv_mul(c, scale, projected(c, &s, u)) : NULL;
        if (v) {
            tlv_tensor *by_sums = tlv_add(c, tlv_mul(c, v, s.h), row_of(c, &s, n->g1, 1));
            dt = dt ? tlv_add(c, dt, by_sums) : by_sums;
        }
        d[0] = tlvi_act_grad(c, at->act, dt, y);
    }
    if (wants(n, 1)) {
        tlv_tensor *by_dx = u ? graph_dx(c, &s, t, u, scale) : NULL;
        tlv_tensor *by_v = v ? tlv_mul(c, tlv_mul(c, v, s.rstd), projected(c, &s, t)) : NULL;
        d[1] = by_dx && by_v ? tlv_add(c, by_dx, by_v) : by_dx ? by_dx : by_v;
    }
    if (wants(n, 2) && u) {
        tlv_tensor *up = tlv_sum(c, tlv_mul(c, u, projected(c, &s, t)), s.axes, TLV_KEEPDIM);
        d[2] = tlv_reshape(c, tlv_mul(c, s.rstd, up), tlv_shape_of(gamma));
    }
}

TLVI_VJP(BATCH_NORM_GRAD)
{
    if (tlvi_numel(tlvi_in(n, 1)) == 0) return;         // empty: zero
    if (tlvi_recording(c)) grad_graph(c, n, g, d);
    else grad_fused(c, n, g, d);
}
