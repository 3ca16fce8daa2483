/* batchnorm.c -- batch norm (Ioffe and Szegedy 2015, arXiv:1502.03167) over the batch's own or
 * given statistics, with residual and activation in the same pass.
 *
 * ReLU and ReLU6 are fused, since their gradient follows from the output that the next layer keeps
 * anyway; other activations are an op of their own behind the norm. */
#include <math.h>

#include "autograd/norm.h"

typedef struct bn_attr { double eps; tlv_act act; } bn_attr;

/* Places among the inputs, for the two families of ops. */
typedef struct bn_places { int train, gamma, beta, residual; } bn_places;
static const bn_places TRAIN = { 1, 1, 2, 3 }, WITH = { 0, 3, 4, 5 };

static int is_fused(tlv_act act) { return act <= TLV_ACT_RELU6; }

static tlvi_gate gate_of(tlv_act act)
{
    return act == TLV_ACT_RELU    ? TLVI_GATE_RELU
           : act == TLV_ACT_RELU6 ? TLVI_GATE_RELU6
                                  : TLVI_GATE_NONE;
}

/* Room for `doubles` and `values` (of either float type) a channel. */
typedef struct bn_room { double *d; char *v; size_t bytes, stride; } bn_room;

static int room_begin(tlv_ctx *c, const tlvi_cols *s, int doubles, int values, bn_room *r)
{
    r->stride = (size_t)s->n * sizeof(double);
    r->bytes = r->stride * (size_t)(doubles + values) + 1;
    r->d = tlvi_alloc(c, r->bytes);
    if (r->d) r->v = (char *)(r->d + s->n * doubles);
    return r->d != NULL;
}

/* Value array i of the room, filled from doubles. */
static const void *room_value(tlv_ctx *c, const tlvi_cols *s, const bn_room *r, int i,
                              const double *from)
{
    void *to = r->v + r->stride * (size_t)i;
    tlvi_ks(c, s->dtype)->from_f64((size_t)s->n, from, to);
    return to;
}

/* ---- forward --------------------------------------------------------------------------------- */

/* y = act((x - mean) gamma rstd + beta + residual); mean and rstd are doubles. */
static tlv_tensor *forward(tlv_ctx *c, const tlvi_cols *s, const tlv_tensor *x, const double *mean,
                           const double *rstd, const tlv_tensor *gamma, const tlv_tensor *beta,
                           const tlv_tensor *residual, tlv_act act)
{
    bn_room r;
    tlv_tensor *y = tlvi_cols_new(c, (tlv_dtype)x->dtype, tlv_shape_of(x));
    const tlv_tensor *rows = tlvi_cols_view(c, x), *add = tlvi_cols_view(c, residual);
    if (c->err || !room_begin(c, s, 2, 3, &r)) return NULL;
    double *scale = r.d, *shift = r.d + s->n;
    tlvi_norm_load(c, gamma, 1, s->n, scale);
    tlvi_norm_load(c, beta, 0, s->n, shift);
    for (int64_t j = 0; j < s->n; j++) scale[j] *= rstd[j];
    const void *m = room_value(c, s, &r, 0, mean);
    const void *k = room_value(c, s, &r, 1, scale), *b = room_value(c, s, &r, 2, shift);
    if (!c->err) tlvi_cols_apply(c, s, gate_of(act), rows, m, k, b, add, y);
    tlvi_free(c, r.d, r.bytes);
    return c->err ? NULL : y;
}

static void to_rstd(int64_t n, const double *var, double eps, double *rstd)
{
    for (int64_t j = 0; j < n; j++) rstd[j] = 1 / sqrt(var[j] + eps);
}

tlv_tensor *tlv_batch_norm(tlv_ctx *c, const tlv_tensor *x, const tlv_tensor *gamma,
                           const tlv_tensor *beta, double eps, const tlv_tensor *residual,
                           tlv_act act, tlv_tensor **mean_out, tlv_tensor **var_out)
{
    if (mean_out) *mean_out = NULL;
    if (var_out) *var_out = NULL;
    const tlvi_norm_side side[2] = { { "gamma", gamma }, { "beta", beta } };
    if (!tlvi_act_ok(c, "batch_norm", act)
        || !tlvi_norm_ready(c, "batch_norm", x, 2, side, residual, eps))
        return NULL;
    tlvi_cols s = tlvi_cols_of(x, 0);
    bn_room r;
    const tlv_tensor *rows = tlvi_cols_view(c, x);
    if (!rows || !room_begin(c, &s, 3, 0, &r)) return NULL;
    double *mean = r.d, *var = mean + s.n, *rstd = var + s.n;
    tlvi_cols_stats(c, &s, rows, mean, var);
    to_rstd(s.n, var, eps, rstd);
    if (x->dtype == TLV_F32)            // as it is kept, so that the gradient finds the same gate
        for (int64_t j = 0; j < s.n; j++) rstd[j] = (double)(float)rstd[j];
    tlv_act inside = is_fused(act) ? act : TLV_ACT_NONE;
    tlv_tensor *y = c->err ? NULL : forward(c, &s, rows, mean, rstd, gamma, beta, residual, inside);
    tlv_tensor *m = tlvi_norm_vector(c, x->dtype, s.n, mean);
    tlv_tensor *k = tlvi_norm_vector(c, x->dtype, s.n, rstd);
    for (int64_t j = 0; j < s.n && s.rows > 1; j++) var[j] *= (double)s.rows / (double)(s.rows - 1);
    tlv_tensor *v = var_out ? tlvi_norm_vector(c, x->dtype, s.n, var) : NULL;
    tlvi_free(c, r.d, r.bytes);
    if (c->err) return NULL;
    if (mean_out) *mean_out = m;
    if (var_out) *var_out = v;
    const tlv_tensor *in[4] = { x, gamma, beta, residual };
    bn_attr at = { eps, inside };
    tlvi_record_args rec = { .op = inside ? TLV_OP_BATCH_NORM_ACT : TLV_OP_BATCH_NORM,
                             .n_in = 4,
                             .in = in,
                             .out = { y },
                             .aux = { m, k },
                             .attr = &at,
                             .attr_bytes = sizeof at };
    y = tlvi_record(c, &rec);
    return inside == act ? y : tlv_activate(c, y, act);
}

tlv_tensor *tlv_batch_norm_with(tlv_ctx *c, const tlv_tensor *x, const tlv_tensor *mean,
                                const tlv_tensor *var, const tlv_tensor *gamma,
                                const tlv_tensor *beta, double eps, const tlv_tensor *residual,
                                tlv_act act)
{
    const tlvi_norm_side side[4] = {
        { "mean", mean }, { "var", var }, { "gamma", gamma }, { "beta", beta }
    };
    if (!tlvi_act_ok(c, "batch_norm_with", act)) return NULL;
    TLVI_REQUIRE(c, mean && var, TLV_ERR_ARG, "tlv_batch_norm takes the batch's own statistics",
                 "batch_norm_with: %s is NULL", mean ? "var" : "mean");
    if (!tlvi_norm_ready(c, "batch_norm_with", x, 4, side, residual, eps)) return NULL;
    tlvi_cols s = tlvi_cols_of(x, 0);
    bn_room r;
    if (!room_begin(c, &s, 2, 0, &r)) return NULL;
    double *m = r.d, *rstd = m + s.n;
    tlvi_norm_load(c, mean, 0, s.n, m);
    tlvi_norm_load(c, var, 1, s.n, rstd);
    to_rstd(s.n, rstd, eps, rstd);
    tlv_act inside = is_fused(act) ? act : TLV_ACT_NONE;
    tlv_tensor *y = c->err ? NULL : forward(c, &s, x, m, rstd, gamma, beta, residual, inside);
    tlvi_free(c, r.d, r.bytes);
    const tlv_tensor *in[6] = { x, mean, var, gamma, beta, residual };
    bn_attr at = { eps, inside };
    tlvi_record_args rec = { .op = inside ? TLV_OP_BATCH_NORM_WITH_ACT : TLV_OP_BATCH_NORM_WITH,
                             .n_in = 6,
                             .in = in,
                             .out = { y },
                             .attr = &at,
                             .attr_bytes = sizeof at };
    y = tlvi_record(c, &rec);
    return inside == act ? y : tlv_activate(c, y, act);
}

/* ---- gradients: fused ------------------------------------------------------------------------ */

/* With t = g where the activation is open, h = (x - mean) rstd:
 *   dbeta = sum t,  dgamma = sum t h,  dresidual = t,
 *   dx = gamma rstd t                                       over given statistics,
 *   dx = gamma rstd (t - mean of t - h (mean of t h))       over the batch's own. */
typedef struct bn_job {
    const tlvi_node *n;
    const bn_places *at;
    tlvi_cols s;
    bn_room r;                          // doubles: rstd, sum t, sum t h, a, b, c
    tlvi_cols_grad a;
    int dx, dgamma, dbeta, dresidual;   // wanted
} bn_job;

/* The forward's own coefficients, of which the gate follows without reading y: rstd was rounded
 * before it was used. */
static void load_gate(tlv_ctx *c, bn_job *j)
{
    int64_t n = j->s.n;
    double *scale = j->r.d + 3 * n, *shift = scale + n;
    tlvi_norm_load(c, tlvi_in(j->n, j->at->gamma), 1, n, scale);
    tlvi_norm_load(c, tlvi_in(j->n, j->at->beta), 0, n, shift);
    for (int64_t i = 0; i < n; i++) scale[i] *= j->r.d[i];
    j->a.scale = room_value(c, &j->s, &j->r, 4, scale);
    j->a.shift = room_value(c, &j->s, &j->r, 5, shift);
}

static void load_statistics(tlv_ctx *c, bn_job *j)
{
    const tlvi_node *n = j->n;
    const bn_attr *at = n->attr;
    double *rstd = j->r.d;
    if (j->at->train) {
        if (!j->a.x) return;
        tlvi_norm_load(c, tlvi_aux(n, 1), 0, j->s.n, rstd);
        j->a.mean = tlvi_ptr(tlvi_aux(n, 0));
        j->a.rstd = tlvi_ptr(tlvi_aux(n, 1));
        if (j->a.gate && !j->a.y) load_gate(c, j);
        return;
    }
    if (j->dx || j->dgamma) {
        tlvi_norm_load(c, tlvi_in(n, 2), 1, j->s.n, rstd);
        to_rstd(j->s.n, rstd, at->eps, rstd);
        j->a.rstd = room_value(c, &j->s, &j->r, 3, rstd);
    }
    if (j->dgamma) {
        const tlv_tensor *mean = tlvi_row_major(c, tlvi_in(n, 1));
        j->a.mean = mean ? tlvi_ptr(mean) : NULL;
    }
}

/* The coefficients of dx = a t + (x - mean) b + c. */
static void dx_coefficients(tlv_ctx *c, bn_job *j)
{
    int64_t n = j->s.n;
    double rows = j->s.rows ? (double)j->s.rows : 1;
    const double *rstd = j->r.d, *st = rstd + n, *sth = st + n;
    double *a = j->r.d + 3 * n, *b = a + n, *k = b + n;
    tlvi_norm_load(c, tlvi_in(j->n, j->at->gamma), 1, n, a);
    for (int64_t i = 0; i < n; i++) {
        a[i] *= rstd[i];
        b[i] = j->at->train ? -a[i] * rstd[i] * sth[i] / rows : 0;
        k[i] = j->at->train ? -a[i] * st[i] / rows : 0;
    }
    j->a.a = room_value(c, &j->s, &j->r, 0, a);
    j->a.b = room_value(c, &j->s, &j->r, 1, b);
    j->a.c = room_value(c, &j->s, &j->r, 2, k);
}

static void run_fused(tlv_ctx *c, bn_job *j, tlv_tensor **d)
{
    const bn_places *at = j->at;
    double *st = j->r.d + j->s.n, *sth = st + j->s.n;
    load_statistics(c, j);
    if (c->err) return;
    if (j->dgamma || j->dbeta || (j->dx && at->train))
        tlvi_cols_grad_sums(c, &j->s, &j->a, st, sth);
    if (j->dgamma) d[at->gamma] = tlvi_norm_vector(c, j->s.dtype, j->s.n, sth);
    if (j->dbeta) d[at->beta] = tlvi_norm_vector(c, j->s.dtype, j->s.n, st);
    int gated = j->dresidual && j->a.gate != TLVI_GATE_NONE;
    if (j->dresidual && !gated) d[at->residual] = tlvi_pass(j->a.g);
    if (!j->dx && !gated) return;
    tlv_shape shape = tlv_shape_of(tlvi_in(j->n, 0));
    if (j->dx) {
        dx_coefficients(c, j);
        d[0] = tlvi_cols_new(c, (tlv_dtype)j->s.dtype, shape);
        if (!at->train) j->a.x = NULL;
    }
    if (gated) d[at->residual] = tlvi_cols_new(c, (tlv_dtype)j->s.dtype, shape);
    if (!c->err) tlvi_cols_grad_x(c, &j->s, &j->a, d[0], gated ? d[at->residual] : NULL);
}

static void grad_fused(tlv_ctx *c, const tlvi_node *n, const bn_places *at, const tlv_tensor *g,
                       tlv_tensor **d)
{
    bn_job j = { .n = n, .at = at, .dx = wants(n, 0), .dgamma = wants(n, at->gamma),
                 .dbeta = wants(n, at->beta), .dresidual = wants(n, at->residual) };
    j.s = tlvi_cols_of(tlvi_in(n, 0), 0);
    j.a.gate = gate_of(((const bn_attr *)n->attr)->act);
    j.a.g = tlvi_cols_view(c, g);
    if (j.dgamma || (j.dx && at->train)) j.a.x = tlvi_cols_view(c, tlvi_in(n, 0));
    int by_x = at->train && j.a.x && !tlvi_in(n, at->residual);
    if (j.a.gate && !by_x) j.a.y = tlvi_cols_view(c, tlvi_out(n, 0));
    if (c->err || !room_begin(c, &j.s, 6, 6, &j.r)) return;
    run_fused(c, &j, d);
    tlvi_free(c, j.r.d, j.r.bytes);
}

/* ---- gradients: in ops ----------------------------------------------------------------------- */

static tlv_tensor *sums_row(tlv_ctx *c, const tlv_tensor *sums, int64_t row)
{
    tlv_tensor *r = tlv_slice(c, sums, 0, row, row + 1, 1);
    return r ? tlv_reshape(c, r, tlv_shape1(r->shape[1])) : NULL;
}

/* Over the batch's own statistics: an op of its own (batchnorm_grad.c). */
static void graph_train(tlv_ctx *c, const tlvi_node *n, const tlv_tensor *g, tlv_tensor **d)
{
    const bn_attr *attr = n->attr;
    const tlv_tensor *x = tlvi_in(n, 0), *y = attr->act == TLV_ACT_NONE ? NULL : tlvi_out(n, 0);
    tlv_act act = attr->act;
    int rest = wants(n, 0) || wants(n, TRAIN.gamma);
    if (wants(n, TRAIN.residual) || !rest || tlvi_numel(x) == 0) {
        g = tlvi_act_grad(c, act, g, y);
        act = TLV_ACT_NONE;
        y = NULL;
    }
    if (wants(n, TRAIN.residual)) d[TRAIN.residual] = tlvi_pass(g);
    if (!rest || tlvi_numel(x) == 0) {                              // empty: zero
        if (wants(n, TRAIN.beta)) d[TRAIN.beta] = tlv_sum(c, g, tlvi_norm_axes(x), 0);
        return;
    }
    const tlv_tensor *gamma = wants(n, 0) ? tlvi_in(n, TRAIN.gamma) : NULL;
    tlv_tensor *sums, *dx = tlvi_batch_norm_grad(c, g, x, gamma, y, tlvi_aux(n, 0), tlvi_aux(n, 1),
                                                 attr->eps, act, &sums);
    if (wants(n, 0)) d[0] = dx;
    if (wants(n, TRAIN.gamma)) d[TRAIN.gamma] = sums_row(c, sums, 0);
    if (wants(n, TRAIN.beta)) d[TRAIN.beta] = sums_row(c, sums, 1);
}

/* Over given statistics, which are constants. */
static void graph_with(tlv_ctx *c, const tlvi_node *n, const tlv_tensor *g, tlv_tensor **d)
{
    const bn_attr *attr = n->attr;
    const tlv_tensor *x = tlvi_in(n, 0), *gamma = tlvi_in(n, WITH.gamma);
    tlv_axes axes = tlvi_norm_axes(x);
    tlv_shape wide = tlvi_norm_wide(x);
    const tlv_tensor *t = tlvi_act_grad(c, attr->act, g, tlvi_out(n, 0));
    if (wants(n, WITH.residual)) d[WITH.residual] = tlvi_pass(t);
    if (wants(n, WITH.beta)) d[WITH.beta] = tlv_sum(c, t, axes, 0);
    if ((!wants(n, 0) && !wants(n, WITH.gamma)) || tlvi_numel(x) == 0) return;  // empty: zero
    tlv_tensor *var = tlv_reshape(c, tlv_detach(c, tlvi_in(n, 2)), wide);
    tlv_tensor *rstd = tlv_rsqrt(c, tlv_affine(c, var, 1, attr->eps));
    if (wants(n, WITH.gamma)) {
        tlv_tensor *h = tlv_sub(c, x, tlv_reshape(c, tlv_detach(c, tlvi_in(n, 1)), wide));
        d[WITH.gamma] = tlv_sum(c, tlv_mul(c, t, tlv_mul(c, h, rstd)), axes, 0);
    }
    if (!wants(n, 0)) return;
    if (gamma) rstd = tlv_mul(c, rstd, tlv_reshape(c, gamma, wide));
    d[0] = tlv_mul(c, t, rstd);
}

/* ---- the ops --------------------------------------------------------------------------------- */

static void grad_of(tlv_ctx *c, const tlvi_node *n, const bn_places *at, const tlv_tensor *g,
                    tlv_tensor **d)
{
    if (!tlvi_recording(c)) grad_fused(c, n, at, g, d);
    else if (at->train) graph_train(c, n, g, d);
    else graph_with(c, n, g, d);
}

static tlv_tensor *again(tlv_ctx *c, const tlvi_node *n)
{
    const bn_attr *at = n->attr;
    return tlv_batch_norm(c, tlvi_in(n, 0), tlvi_in(n, 1), tlvi_in(n, 2), at->eps, tlvi_in(n, 3),
                          at->act, NULL, NULL);
}

static tlv_tensor *again_with(tlv_ctx *c, const tlvi_node *n)
{
    const bn_attr *at = n->attr;
    return tlv_batch_norm_with(c, tlvi_in(n, 0), tlvi_in(n, 1), tlvi_in(n, 2), tlvi_in(n, 3),
                               tlvi_in(n, 4), at->eps, tlvi_in(n, 5), at->act);
}

TLVI_EXEC(BATCH_NORM) { return again(c, n); }
TLVI_VJP(BATCH_NORM) { grad_of(c, n, &TRAIN, g, d); }
TLVI_EXEC(BATCH_NORM_ACT) { return again(c, n); }
TLVI_VJP(BATCH_NORM_ACT) { grad_of(c, n, &TRAIN, g, d); }
TLVI_EXEC(BATCH_NORM_WITH) { return again_with(c, n); }
TLVI_VJP(BATCH_NORM_WITH) { grad_of(c, n, &WITH, g, d); }
TLVI_EXEC(BATCH_NORM_WITH_ACT) { return again_with(c, n); }
TLVI_VJP(BATCH_NORM_WITH_ACT) { grad_of(c, n, &WITH, g, d); }
