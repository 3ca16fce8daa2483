/* norm.c -- layer norm (Ba et al. 2016, arXiv:1607.06450) and group norm (Wu and He 2018,
 * arXiv:1803.08494). */
#include <math.h>

#include "autograd/norm.h"

/* ---- what norms share ------------------------------------------------------------------------ */

static int side_ok(tlv_ctx *c, const char *op, const tlv_tensor *x, const tlvi_norm_side *s)
{
    if (!s->t) return 1;
    if (!tlvi_same_float(c, op, x, s->t)) return 0;
    if (s->t->ndim == 1 && s->t->shape[0] == x->shape[1]) return 1;
    tlvi_fail(c, TLV_ERR_SHAPE, "one value a channel: axis 1 of x",
              "%s: x is %s but %s is %s; it must be [%lld]", op, tlvi_shape_str(x).s, s->name,
              tlvi_shape_str(s->t).s, (long long)x->shape[1]);
    return 0;
}

static int eps_ok(tlv_ctx *c, const char *op, double eps)
{
    if (eps >= 0) return 1;
    tlvi_fail(c, TLV_ERR_ARG, "1e-5 is usual", "%s: eps is %g; it must not be negative", op, eps);
    return 0;
}

int tlvi_norm_ready(tlv_ctx *c, const char *op, const tlv_tensor *x, int n,
                    const tlvi_norm_side *side, const tlv_tensor *like, double eps)
{
    const tlv_tensor *in[6] = { x };
    int count = 1;
    for (int i = 0; i < n; i++)
        if (side[i].t) in[count++] = side[i].t;
    if (like) in[count++] = like;
    if (!tlvi_ready_slow(c, op, count, in) || !tlvi_is_float(c, op, x) || !eps_ok(c, op, eps))
        return 0;
    if (x->ndim < 2) {
        tlvi_fail(c, TLV_ERR_SHAPE, "x is [B,C] or [B,C,..]",
                  "%s: x is %s; it needs two dims or more", op, tlvi_shape_str(x).s);
        return 0;
    }
    for (int i = 0; i < n; i++)
        if (!side_ok(c, op, x, &side[i])) return 0;
    if (!like) return 1;
    if (!tlvi_same_float(c, op, x, like)) return 0;
    if (tlvi_same_shape(x, like)) return 1;
    tlvi_fail(c, TLV_ERR_SHAPE, "the residual is added as it is: no broadcasting",
              "%s: x is %s but residual is %s; their shapes must be equal", op, tlvi_shape_str(x).s,
              tlvi_shape_str(like).s);
    return 0;
}

tlv_axes tlvi_norm_axes(const tlv_tensor *x)
{
    tlv_axes a = { .n = 1, .axis = { 0 } };
    for (int i = 2; i < x->ndim; i++) a.axis[a.n++] = i;
    return a;
}

tlv_shape tlvi_norm_wide(const tlv_tensor *x)
{
    tlv_shape s = { .ndim = x->ndim - 1, .dim = { x->shape[1] } };
    for (int i = 1; i < s.ndim; i++) s.dim[i] = 1;
    return s;
}

void tlvi_norm_load(tlv_ctx *c, const tlv_tensor *t, double value, int64_t n, double *out)
{
    const tlv_tensor *r = tlvi_row_major(c, t);
    for (int64_t i = 0; i < n && !r; i++) out[i] = value;
    if (r) tlvi_ks(c, r->dtype)->to_f64((size_t)n, tlvi_ptr(r), out);
}

tlv_tensor *tlvi_norm_vector(tlv_ctx *c, int dtype, int64_t n, const double *v)
{
    tlv_tensor *t = tlvi_new(c, (tlv_dtype)dtype, tlv_shape1(n));
    if (t) tlvi_ks(c, dtype)->from_f64((size_t)n, v, tlvi_ptr(t));
    return t;
}

/* ---- layer norm ------------------------------------------------------------------------------ */

typedef struct ln_attr { int n_dims; double eps; } ln_attr;

enum { LN_VALUES = 8192, LN_GRAD_VALUES = 24576, LN_LEAST = 16, LN_PARTIAL_BYTES = 8 << 20 };

/* x as rows of n, taken in blocks of `per` rows. */
typedef struct ln_job {
    const tlvi_kset *k;
    size_t size;
    int64_t rows, n, per, blocks;
    double eps;
    const char *x, *g, *gamma, *beta;
    char *y, *mean, *rstd, *part0, *part1;
} ln_job;

static void ln_cut(ln_job *j, int64_t per)
{
    j->per = per;
    j->blocks = (j->rows + per - 1) / per;
}

static ln_job ln_begin(tlv_ctx *c, const tlv_tensor *x, int n_dims)
{
    ln_job j = {
        .k = tlvi_ks(c, x->dtype), .size = tlv_dtype_size((tlv_dtype)x->dtype), .rows = 1, .n = 1
    };
    for (int i = 0; i < x->ndim; i++) *(i < x->ndim - n_dims ? &j.rows : &j.n) *= x->shape[i];
    ln_cut(&j, j.n > LN_VALUES ? 1 : LN_VALUES / (j.n ? j.n : 1));
    return j;
}

static size_t ln_rows(const ln_job *j, int64_t block)
{
    int64_t left = j->rows - block * j->per;
    return (size_t)(left < j->per ? left : j->per);
}

static tlv_shape last_dims(const tlv_tensor *x, int n_dims)
{
    tlv_shape s = { .ndim = n_dims, .dim = { 0 } };
    for (int i = 0; i < n_dims; i++) s.dim[i] = x->shape[x->ndim - n_dims + i];
    return s;
}

static tlv_shape first_dims(const tlv_tensor *x, int n_dims)
{
    tlv_shape s = tlv_shape_of(x);
    s.ndim -= n_dims;
    return s;
}

static int ln_side_ok(tlv_ctx *c, const char *name, const tlv_tensor *x, int n_dims,
                      const tlv_tensor *t)
{
    if (!t) return 1;
    if (!tlvi_same_float(c, "layer_norm", x, t)) return 0;
    int same = t->ndim == n_dims;
    for (int i = 0; i < n_dims && same; i++) same = t->shape[i] == x->shape[x->ndim - n_dims + i];
    if (same) return 1;
    tlvi_fail(c, TLV_ERR_SHAPE, "gamma and beta have the dims that are normalised",
              "layer_norm: x is %s but %s is %s; it must be %s", tlvi_shape_str(x).s, name,
              tlvi_shape_str(t).s, tlvi_shape_text(last_dims(x, n_dims)).s);
    return 0;
}

static int ln_ready(tlv_ctx *c, const tlv_tensor *x, int n_dims, const tlv_tensor *gamma,
                    const tlv_tensor *beta, double eps)
{
    const tlv_tensor *in[3] = { x };
    int count = 1;
    if (gamma) in[count++] = gamma;
    if (beta) in[count++] = beta;
    if (!tlvi_ready_slow(c, "layer_norm", count, in) || !tlvi_is_float(c, "layer_norm", x)
        || !eps_ok(c, "layer_norm", eps))
        return 0;
    if (n_dims < 1 || n_dims > x->ndim) {
        tlvi_fail(c, TLV_ERR_ARG, "1 normalises the last dim",
                  "layer_norm: the last %d dims of x %s", n_dims, tlvi_shape_str(x).s);
        return 0;
    }
    return ln_side_ok(c, "gamma", x, n_dims, gamma) && ln_side_ok(c, "beta", x, n_dims, beta);
}

static const char *at_row(const ln_job *j, const char *p, int64_t row)
{
    return p ? p + (size_t)(row * j->n) * j->size : NULL;
}

static void ln_chunk(void *arg, int64_t b, int worker)
{
    (void)worker;
    const ln_job *j = arg;
    int64_t row = b * j->per;
    size_t at = (size_t)row * j->size;
    j->k->norm_rows(ln_rows(j, b), (size_t)j->n, at_row(j, j->x, row), j->gamma, j->beta, j->eps,
                    (char *)at_row(j, j->y, row), j->mean + at, j->rstd + at);
}

tlv_tensor *tlv_layer_norm(tlv_ctx *c, const tlv_tensor *x, int n_dims, const tlv_tensor *gamma,
                           const tlv_tensor *beta, double eps)
{
    if (!ln_ready(c, x, n_dims, gamma, beta, eps)) return NULL;
    tlv_dtype t = (tlv_dtype)x->dtype;
    const tlv_tensor *rx = tlvi_row_major(c, x), *rg = tlvi_row_major(c, gamma),
                     *rb = tlvi_row_major(c, beta);
    tlv_tensor *y = tlvi_new(c, t, tlv_shape_of(x));
    tlv_tensor *mean = tlvi_new(c, t, first_dims(x, n_dims)),
               *rstd = tlvi_new(c, t, first_dims(x, n_dims));
    if (c->err) return NULL;
    ln_job j = ln_begin(c, x, n_dims);
    j.eps = eps;
    j.x = tlvi_ptr(rx);
    j.gamma = rg ? tlvi_ptr(rg) : NULL;
    j.beta = rb ? tlvi_ptr(rb) : NULL;
    j.y = tlvi_ptr(y);
    j.mean = tlvi_ptr(mean);
    j.rstd = tlvi_ptr(rstd);
    if (j.n > 0) tlvi_parallel_for(c, j.blocks, j.per * j.n / 4 + 1, ln_chunk, &j);
    const tlv_tensor *in[3] = { x, gamma, beta };
    ln_attr at = { n_dims, eps };
    tlvi_record_args rec = { .op = TLV_OP_LAYER_NORM, .n_in = 3, .in = in, .out = { y },
                             .aux = { mean, rstd }, .attr = &at, .attr_bytes = sizeof at };
    return tlvi_record(c, &rec);
}
TLVI_EXEC(LAYER_NORM)
{
    const ln_attr *at = n->attr;
    return tlv_layer_norm(c, tlvi_in(n, 0), at->n_dims, tlvi_in(n, 1), tlvi_in(n, 2), at->eps);
}

/* A block of rows: dx, and the sums for gamma and beta while the rows are in the cache. */
static void ln_grad_chunk(void *arg, int64_t b, int worker)
{
    (void)worker;
    const ln_job *j = arg;
    int64_t row = b * j->per;
    size_t rows = ln_rows(j, b), n = (size_t)j->n, at = (size_t)row * j->size;
    const char *g = at_row(j, j->g, row), *x = at_row(j, j->x, row);
    if (j->y)
        j->k->norm_rows_dx(rows, n, g, x, j->gamma, j->mean + at, j->rstd + at,
                           (char *)at_row(j, j->y, row));
    if (!j->part0) return;
    const char *of = j->part1 ? x : NULL;           // without gamma's gradient only the sum of g
    size_t to = (size_t)(b * j->n) * j->size;
    j->k->norm_rows_sums(rows, n, g, of, of ? j->mean + at : NULL, of ? j->rstd + at : NULL,
                         j->part0 + to, of ? j->part1 + to : NULL);
}

/* dgamma = sum g h, dbeta = sum g over the rows: blocks, then their sums in index order. */
static void ln_run_grad(tlv_ctx *c, const tlvi_node *n, ln_job *j, tlv_tensor **d)
{
    int64_t least = j->rows * j->n * 2 * (int64_t)j->size / LN_PARTIAL_BYTES;
    int64_t per = LN_GRAD_VALUES / (j->n ? j->n : 1);
    if (per < LN_LEAST) per = LN_LEAST;
    ln_cut(j, per > least ? per : least);
    int sides = wants(n, 1) || wants(n, 2);
    size_t part = (size_t)(j->blocks * j->n) * j->size, sums = (size_t)j->n * sizeof(double);
    size_t bytes = 2 * part + sums + 1;
    double *sum = sides ? tlvi_alloc(c, bytes) : NULL;
    if (sides && !sum) return;
    if (sides) j->part0 = (char *)(sum + j->n);
    if (wants(n, 1)) j->part1 = j->part0 + part;
    if (j->n > 0) tlvi_parallel_for(c, j->blocks, j->per * j->n, ln_grad_chunk, j);
    for (int i = 1; i <= 2; i++) {
        if (!wants(n, i)) continue;
        j->k->norm_join_sums((size_t)j->blocks, (size_t)j->n, i == 1 ? j->part1 : j->part0, sum);
        j->k->from_f64((size_t)j->n, sum, tlvi_ptr(d[i]));
    }
    if (sides) tlvi_free(c, sum, bytes);
}

static void ln_fused(tlv_ctx *c, const tlvi_node *n, const tlv_tensor *g, tlv_tensor **d)
{
    const tlv_tensor *x = tlvi_in(n, 0), *rg = tlvi_row_major(c, g), *rx = NULL, *gamma = NULL;
    if (wants(n, 0) || wants(n, 1)) rx = tlvi_row_major(c, x);
    if (wants(n, 0)) gamma = tlvi_row_major(c, tlvi_in(n, 1));
    int n_dims = ((const ln_attr *)n->attr)->n_dims;
    tlv_shape side = last_dims(x, n_dims);
    if (wants(n, 0)) d[0] = tlvi_new(c, (tlv_dtype)x->dtype, tlv_shape_of(x));
    for (int i = 1; i <= 2; i++)
        if (wants(n, i)) d[i] = tlvi_new(c, (tlv_dtype)x->dtype, side);
    if (c->err) return;
    ln_job j = ln_begin(c, x, n_dims);
    j.g = tlvi_ptr(rg);
    j.gamma = gamma ? tlvi_ptr(gamma) : NULL;
    if (rx) {
        j.x = tlvi_ptr(rx);
        j.mean = tlvi_ptr(tlvi_aux(n, 0));
        j.rstd = tlvi_ptr(tlvi_aux(n, 1));
    }
    if (wants(n, 0)) j.y = tlvi_ptr(d[0]);
    ln_run_grad(c, n, &j, d);
}

/* Over `axes`, h = (x - mean) rstd;  dx = rstd (t - mean of t - h (mean of t h)) for a gradient t
 * of h. */
static tlv_tensor *standardise(tlv_ctx *c, const tlv_tensor *x, tlv_axes axes, double eps,
                               tlv_tensor **rstd)
{
    tlv_tensor *h = tlv_sub(c, x, tlv_mean(c, x, axes, TLV_KEEPDIM));
    tlv_tensor *var = tlv_mean(c, tlv_mul(c, h, h), axes, TLV_KEEPDIM);
    *rstd = tlv_rsqrt(c, tlv_affine(c, var, 1, eps));
    return tlv_mul(c, h, *rstd);
}

static tlv_tensor *standardise_grad(tlv_ctx *c, const tlv_tensor *t, const tlv_tensor *h,
                                    const tlv_tensor *rstd, tlv_axes axes)
{
    tlv_tensor *fix = tlv_mul(c, h, tlv_mean(c, tlv_mul(c, t, h), axes, TLV_KEEPDIM));
    fix = tlv_add(c, fix, tlv_mean(c, t, axes, TLV_KEEPDIM));
    return tlv_mul(c, tlv_sub(c, t, fix), rstd);
}

/* y = h gamma + beta  =>  dgamma = sum g h, dbeta = sum g, and g gamma is the gradient of h */
TLVI_VJP(LAYER_NORM)
{
    if (!tlvi_recording(c)) {
        ln_fused(c, n, g, d);
        return;
    }
    const ln_attr *at = n->attr;
    const tlv_tensor *x = tlvi_in(n, 0), *gamma = tlvi_in(n, 1);
    tlv_shape side = last_dims(x, at->n_dims);
    if (wants(n, 2)) d[2] = tlv_sum_to(c, g, side);
    if (!wants(n, 0) && !wants(n, 1)) return;
    tlv_axes axes = { .n = at->n_dims, .axis = { 0 } };
    for (int i = 0; i < at->n_dims; i++) axes.axis[i] = x->ndim - at->n_dims + i;
    tlv_tensor *rstd, *h = standardise(c, x, axes, at->eps, &rstd);
    if (wants(n, 1)) d[1] = tlv_sum_to(c, tlv_mul(c, g, h), side);
    if (!wants(n, 0)) return;
    const tlv_tensor *t = gamma ? tlv_mul(c, g, gamma) : g;
    d[0] = standardise_grad(c, t, h, rstd, axes);
}

/* ---- group norm ------------------------------------------------------------------------------ */

typedef struct gn_attr { int groups; double eps; } gn_attr;

/* Coefficients [B,C] in doubles and in the tensor's type. */
typedef struct gn_room { double *d; char *v; size_t bytes, step; } gn_room;

static int gn_room_begin(tlv_ctx *c, const tlvi_cols *s, int doubles, int values, gn_room *r)
{
    int64_t all = s->outer * s->n;
    r->step = (size_t)all * sizeof(double);
    r->bytes = r->step * (size_t)(doubles + values) + 1;
    r->d = tlvi_alloc(c, r->bytes);
    if (r->d) r->v = (char *)(r->d + all * doubles);
    return r->d != NULL;
}

static const void *gn_value(tlv_ctx *c, const tlvi_cols *s, const gn_room *r, int i,
                            const double *from)
{
    void *to = r->v + r->step * (size_t)i;
    tlvi_ks(c, s->dtype)->from_f64((size_t)(s->outer * s->n), from, to);
    return to;
}

/* Mean and variance of each channel of one group become the group's. */
static void join_group(int64_t channels, double *mean, double *var)
{
    double m = 0, v = 0;
    for (int64_t j = 0; j < channels; j++) m += mean[j] / (double)channels;
    for (int64_t j = 0; j < channels; j++)
        v += (var[j] + (mean[j] - m) * (mean[j] - m)) / (double)channels;
    for (int64_t j = 0; j < channels; j++) {
        mean[j] = m;
        var[j] = v;
    }
}

/* b copies of a row of n. */
static void repeat(int64_t b, int64_t n, double *v)
{
    for (int64_t i = 1; i < b; i++) memcpy(v + i * n, v, (size_t)n * sizeof *v);
}

/* mean and rstd [B,groups], for the fused gradient. */
static tlv_tensor *gn_saved(tlv_ctx *c, const tlvi_cols *s, int groups, const double *wide,
                            double *narrow)
{
    int64_t per = groups ? s->n / groups : 0;
    for (int64_t i = 0; i < s->outer * groups; i++) narrow[i] = per ? wide[i * per] : 0;
    tlv_tensor *t = tlvi_new(c, (tlv_dtype)s->dtype, tlv_shape2(s->outer, groups));
    if (t) tlvi_ks(c, s->dtype)->from_f64((size_t)(s->outer * groups), narrow, tlvi_ptr(t));
    return t;
}

tlv_tensor *tlv_group_norm(tlv_ctx *c, const tlv_tensor *x, int groups, const tlv_tensor *gamma,
                           const tlv_tensor *beta, double eps)
{
    const tlvi_norm_side side[2] = { { "gamma", gamma }, { "beta", beta } };
    if (!tlvi_norm_ready(c, "group_norm", x, 2, side, NULL, eps)) return NULL;
    TLVI_REQUIRE(c, groups >= 1 && x->shape[1] % groups == 0, TLV_ERR_ARG,
                 "the number of channels must be a multiple of groups",
                 "group_norm: %d groups for the channels of x %s", groups, tlvi_shape_str(x).s);
    tlvi_cols s = tlvi_cols_of(x, 1);
    gn_room r;
    const tlv_tensor *rows = tlvi_cols_view(c, x);
    tlv_tensor *y = tlvi_cols_new(c, (tlv_dtype)x->dtype, tlv_shape_of(x));
    if (c->err || !gn_room_begin(c, &s, 5, 3, &r)) return NULL;
    int64_t all = s.outer * s.n, per = s.n / groups;
    double *mean = r.d, *rstd = mean + all, *scale = rstd + all, *shift = scale + all,
           *tmp = shift + all;
    tlvi_cols_stats(c, &s, rows, mean, rstd);
    for (int64_t i = 0; i < all && per > 0; i += per) join_group(per, mean + i, rstd + i);
    if (s.outer > 0) {
        tlvi_norm_load(c, gamma, 1, s.n, scale);
        tlvi_norm_load(c, beta, 0, s.n, shift);
    }
    repeat(s.outer, s.n, scale);
    repeat(s.outer, s.n, shift);
    for (int64_t i = 0; i < all; i++) {
        rstd[i] = 1 / sqrt(rstd[i] + eps);
        scale[i] *= rstd[i];
    }
    tlv_tensor *aux0 = gn_saved(c, &s, per ? groups : 0, mean, tmp);
    tlv_tensor *aux1 = gn_saved(c, &s, per ? groups : 0, rstd, tmp);
    const void *m = gn_value(c, &s, &r, 0, mean), *k = gn_value(c, &s, &r, 1, scale);
    const void *b = gn_value(c, &s, &r, 2, shift);
    if (!c->err) tlvi_cols_apply(c, &s, TLVI_GATE_NONE, rows, m, k, b, NULL, y);
    tlvi_free(c, r.d, r.bytes);
    if (c->err) return NULL;
    const tlv_tensor *in[3] = { x, gamma, beta };
    gn_attr at = { groups, eps };
    tlvi_record_args rec = { .op = TLV_OP_GROUP_NORM, .n_in = 3, .in = in, .out = { y },
                             .aux = { aux0, aux1 }, .attr = &at, .attr_bytes = sizeof at };
    return tlvi_record(c, &rec);
}
TLVI_EXEC(GROUP_NORM)
{
    const gn_attr *at = n->attr;
    return tlv_group_norm(c, tlvi_in(n, 0), at->groups, tlvi_in(n, 1), tlvi_in(n, 2), at->eps);
}

/* Saved [B,groups] back to one value a channel. */
static void gn_widen(tlv_ctx *c, const tlvi_cols *s, int groups, const tlv_tensor *t, double *wide)
{
    int64_t n = s->outer * groups, per = s->n / groups;
    tlvi_norm_load(c, t, 0, n, wide);
    for (int64_t i = n - 1; i >= 0; i--) {
        double v = wide[i];
        for (int64_t j = 0; j < per; j++) wide[i * per + j] = v;
    }
}

/* dx = a g + (x - mean) b + k a channel, from the sums of g and g h over each example's rows. */
static void gn_coefficients(const tlvi_cols *s, int groups, const double *gamma, const double *rstd,
                            double *st, double *sth, double *a)
{
    int64_t per = s->n / groups;
    double count = (double)(per * s->rows);
    for (int64_t i = 0; i < s->outer * s->n; i += per) {
        double t = 0, th = 0;
        const double *gm = gamma + i % s->n;
        for (int64_t j = 0; j < per; j++) {
            t += gm[j] * st[i + j];
            th += gm[j] * sth[i + j];
        }
        for (int64_t j = 0; j < per; j++) {
            double r = rstd[i + j];
            a[i + j] = gm[j] * r;
            sth[i + j] = -r * r * th / count;
            st[i + j] = -r * t / count;
        }
    }
}

/* sum over examples of [B,n] */
static tlv_tensor *gn_side_grad(tlv_ctx *c, const tlvi_cols *s, const double *v, double *tmp)
{
    for (int64_t j = 0; j < s->n; j++) tmp[j] = 0;
    for (int64_t i = 0; i < s->outer; i++)
        for (int64_t j = 0; j < s->n; j++) tmp[j] += v[i * s->n + j];
    return tlvi_norm_vector(c, s->dtype, s->n, tmp);
}

static void gn_run(tlv_ctx *c, const tlvi_node *n, const tlvi_cols *s, const gn_room *r,
                   tlvi_cols_grad *ga, tlv_tensor **d)
{
    const gn_attr *at = n->attr;
    int64_t all = s->outer * s->n;
    double *rstd = r->d, *st = rstd + all, *sth = st + all, *a = sth + all, *gamma = a + all;
    if (ga->x && all > 0) {
        gn_widen(c, s, at->groups, tlvi_aux(n, 0), st);
        ga->mean = gn_value(c, s, r, 0, st);
        gn_widen(c, s, at->groups, tlvi_aux(n, 1), rstd);
        ga->rstd = gn_value(c, s, r, 1, rstd);
    }
    tlvi_cols_grad_sums(c, s, ga, st, sth);
    if (c->err) return;
    if (wants(n, 1)) d[1] = gn_side_grad(c, s, sth, gamma);
    if (wants(n, 2)) d[2] = gn_side_grad(c, s, st, gamma);
    if (!wants(n, 0)) return;
    d[0] = tlvi_cols_new(c, (tlv_dtype)s->dtype, tlv_shape_of(tlvi_in(n, 0)));
    if (!d[0] || all == 0) return;
    tlvi_norm_load(c, tlvi_in(n, 1), 1, s->n, gamma);
    if (c->err) return;
    gn_coefficients(s, at->groups, gamma, rstd, st, sth, a);
    ga->a = gn_value(c, s, r, 2, a);
    ga->b = gn_value(c, s, r, 3, sth);
    ga->c = gn_value(c, s, r, 1, st);
    tlvi_cols_grad_x(c, s, ga, d[0], NULL);
}

static void gn_fused(tlv_ctx *c, const tlvi_node *n, const tlv_tensor *g, tlv_tensor **d)
{
    const tlv_tensor *x = tlvi_in(n, 0);
    tlvi_cols s = tlvi_cols_of(x, 1);
    tlvi_cols_grad ga = { .gate = TLVI_GATE_NONE, .g = tlvi_cols_view(c, g) };
    if (wants(n, 0) || wants(n, 1)) ga.x = tlvi_cols_view(c, x);
    gn_room r;
    tlvi_cols room = s;
    if (room.outer == 0) room.outer = 1;            // a row for gamma even without examples
    if (c->err || !gn_room_begin(c, &room, 5, 4, &r)) return;
    gn_run(c, n, &s, &r, &ga, d);
    tlvi_free(c, r.d, r.bytes);
}

TLVI_VJP(GROUP_NORM)
{
    if (!tlvi_recording(c)) {
        gn_fused(c, n, g, d);
        return;
    }
    const gn_attr *at = n->attr;
    const tlv_tensor *x = tlvi_in(n, 0), *gamma = tlvi_in(n, 1);
    tlv_axes side = tlvi_norm_axes(x), last = TLV_AXES(2);
    if (wants(n, 2)) d[2] = tlv_sum(c, g, side, 0);
    if (!wants(n, 0) && !wants(n, 1)) return;
    int64_t count = tlvi_numel(x) / (x->shape[0] ? x->shape[0] * at->groups : 1);
    tlv_shape grouped = tlv_shape3(x->shape[0], at->groups, count), full = tlv_shape_of(x);
    tlv_tensor *rstd, *h = standardise(c, tlv_reshape(c, x, grouped), last, at->eps, &rstd);
    if (wants(n, 1)) d[1] = tlv_sum(c, tlv_mul(c, g, tlv_reshape(c, h, full)), side, 0);
    if (!wants(n, 0)) return;
    const tlv_tensor *t = gamma ? tlv_mul(c, g, tlv_reshape(c, gamma, tlvi_norm_wide(x))) : g;
    d[0] = tlv_reshape(c, standardise_grad(c, tlv_reshape(c, t, grouped), h, rstd, last), full);
}
