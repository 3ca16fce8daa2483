/* loss.c -- cross-entropy, binary cross-entropy, squared and smooth-L1 losses.
 *
 * Cross-entropy never holds a log-softmax: a row's maximum and log-sum-exp live in registers, and
 * the gradient computes them again.  Rows are the logits with the classes last in memory, which an
 * image in channels-last memory has already. */
#include <math.h>

#include "autograd/op.h"

/* ---- cross-entropy: the front ---------------------------------------------------------------- */

typedef struct ce_attr {
    tlv_ce_opts o;                          // without the weight, which is an input
    double scale;                           // of the sum of rows
    int soft;
} ce_attr;

typedef struct ce_job {
    const tlvi_kset *k;
    size_t size;
    ce_attr at;
    int64_t rows, n, per_chunk;
    const char *x, *q;                      // [rows, n]; q NULL for labels
    const int32_t *label;
    const void *w;
    const char *g;                          // gradient: a number a row
    double g_all;                           // or, with g NULL, one for all
    char *out;                              // a number a row, or dx
} ce_job;

static double value_at(const void *p, size_t size, int64_t i)
{
    return size == sizeof(double) ? ((const double *)p)[i] : (double)((const float *)p)[i];
}

static int ignored(const ce_job *j, int64_t row)
{
    return j->label && j->at.o.use_ignore_index && j->label[row] == j->at.o.ignore_index;
}

static void ce_forward_chunk(void *arg, int64_t chunk, int worker)
{
    (void)worker;
    const ce_job *j = arg;
    int64_t lo = chunk * j->per_chunk, hi = lo + j->per_chunk;
    if (hi > j->rows) hi = j->rows;
    for (int64_t r = lo; r < hi; r++) {
        size_t at = (size_t)(r * j->n) * j->size;
        double y = 0;
        if (!ignored(j, r))
            y = j->k->ce_row((size_t)j->n, j->x + at, j->label ? j->label[r] : 0,
                             j->q ? j->q + at : NULL, j->w, j->at.o.smoothing);
        if (j->size == sizeof(double)) ((double *)(void *)j->out)[r] = y;
        else ((float *)(void *)j->out)[r] = (float)y;
    }
}

static void ce_grad_chunk(void *arg, int64_t chunk, int worker)
{
    (void)worker;
    const ce_job *j = arg;
    int64_t lo = chunk * j->per_chunk, hi = lo + j->per_chunk;
    if (hi > j->rows) hi = j->rows;
    for (int64_t r = lo; r < hi; r++) {
        size_t at = (size_t)(r * j->n) * j->size;
        double g = j->g ? value_at(j->g, j->size, r) : j->g_all;
        if (ignored(j, r)) memset(j->out + at, 0, (size_t)j->n * j->size);
        else
            j->k->ce_grad_row((size_t)j->n, j->x + at, j->label ? j->label[r] : 0,
                              j->q ? j->q + at : NULL, j->w, j->at.o.smoothing, g, j->out + at);
    }
}

static void ce_run(tlv_ctx *c, ce_job *j, tlvi_chunk_fn fn)
{
    if (j->rows == 0) return;
    j->per_chunk = j->n < 4096 ? 4096 / j->n : 1;
    tlvi_parallel_for(c, (j->rows - 1) / j->per_chunk + 1, j->per_chunk * j->n * 2, fn, j);
}

/* x [B,classes,..] seen as [B,..,classes]. */
static tlv_tensor *classes_last(tlv_ctx *c, const tlv_tensor *x)
{
    tlv_tensor *v = tlvi_new_view(c, x);
    for (int i = 1; v && i < x->ndim; i++) {
        v->shape[i] = x->shape[i + 1 < x->ndim ? i + 1 : 1];
        v->stride[i] = x->stride[i + 1 < x->ndim ? i + 1 : 1];
    }
    return v;
}

static tlv_shape without_classes(const tlv_tensor *x)
{
    tlv_shape s = { .ndim = x->ndim - 1, .dim = { x->shape[0] } };
    for (int i = 1; i < s.ndim; i++) s.dim[i] = x->shape[i + 1];
    return s;
}

/* Shapes, dtypes and options; the sentences. */
static int ce_fits(tlv_ctx *c, const tlv_tensor *x, const tlv_tensor *t, const ce_attr *at,
                   const tlv_tensor *w)
{
    const char *op = "cross_entropy";
    if (!tlvi_is_float(c, op, x) || (at->soft && !tlvi_same_float(c, op, x, t))
        || (!at->soft && !tlvi_is_dtype(c, op, "target", t, TLV_I32))
        || (w && !tlvi_same_float(c, op, x, w)))
        return 0;
    if (x->ndim < 2 || x->shape[1] < 1) {
        tlvi_fail(c, TLV_ERR_SHAPE, "axis 1 holds the classes",
                  "cross_entropy: logits are %s; they must be [B,classes,..]", tlvi_shape_str(x).s);
        return 0;
    }
    tlv_shape want = at->soft ? tlv_shape_of(x) : without_classes(x);
    tlv_shape got = tlv_shape_of(t);
    if (got.ndim != want.ndim
        || memcmp(got.dim, want.dim, (size_t)want.ndim * sizeof *want.dim) != 0) {
        tlvi_fail(c, TLV_ERR_SHAPE,
                  "labels are logits without axis 1, soft targets have logits' shape",
                  "cross_entropy: logits are %s but target is %s; it must be %s",
                  tlvi_shape_str(x).s, tlvi_shape_str(t).s, tlvi_shape_text(want).s);
        return 0;
    }
    if (w && (w->ndim != 1 || w->shape[0] != x->shape[1])) {
        tlvi_fail(c, TLV_ERR_SHAPE, "one weight a class",
                  "cross_entropy: logits are %s but weight is %s", tlvi_shape_str(x).s,
                  tlvi_shape_str(w).s);
        return 0;
    }
    if (!(at->o.smoothing >= 0 && at->o.smoothing <= 1) || (unsigned)at->o.reduction > TLV_NONE
        || (at->soft && at->o.use_ignore_index)) {
        tlvi_fail(c, TLV_ERR_ARG, "smoothing is 0 .. 1; soft targets have no label to ignore",
                  "cross_entropy: smoothing %g, reduction %d, use_ignore_index %d with %s target",
                  at->o.smoothing, (int)at->o.reduction, at->o.use_ignore_index,
                  at->soft ? "a soft" : "an index");
        return 0;
    }
    return 1;
}

/* Every label must be a class or ignored; returns the sum of the weights that count, or -1. */
static double ce_weight_of_labels(tlv_ctx *c, const ce_job *j)
{
    double sum = 0;
    for (int64_t r = 0; r < j->rows; r++) {
        int32_t t = j->label[r];
        if (ignored(j, r)) continue;
        if (t < 0 || t >= j->n) {
            tlvi_fail(c, TLV_ERR_INDEX,
                      "labels count from 0; ignore_index works only with use_ignore_index",
                      "cross_entropy: target is %d in row %lld; classes are 0 .. %lld", t,
                      (long long)r, (long long)j->n - 1);
            return -1;
        }
        sum += j->w ? value_at(j->w, j->size, t) : 1;
    }
    return sum;
}

/* The rows of logits, target and weight; 0 without memory. */
static int ce_job_of(tlv_ctx *c, ce_job *j, const tlv_tensor *x, const tlv_tensor *t,
                     const tlv_tensor *w, const ce_attr *at)
{
    const tlv_tensor *xr = classes_last(c, x), *tr = at->soft ? classes_last(c, t) : t;
    xr = xr ? tlvi_row_major(c, xr) : NULL;
    tr = tr ? tlvi_row_major(c, tr) : NULL;
    const tlv_tensor *wr = w ? tlvi_row_major(c, w) : NULL;
    if (!xr || !tr || (w && !wr)) return 0;
    *j = (ce_job){ .k = tlvi_ks(c, x->dtype), .size = tlv_dtype_size((tlv_dtype)x->dtype),
                   .at = *at, .n = x->shape[1], .rows = tlvi_numel(x) / x->shape[1],
                   .x = tlvi_ptr(xr), .w = wr ? tlvi_ptr(wr) : NULL };
    if (at->soft) j->q = tlvi_ptr(tr);
    else j->label = tlvi_i32(tr);
    return 1;
}

static tlv_tensor *ce_value(tlv_ctx *c, const tlv_tensor *x, const tlv_tensor *t,
                            const tlv_tensor *w, ce_attr *at)
{
    ce_job j;
    if (!ce_job_of(c, &j, x, t, w, at)) return NULL;
    double total = at->soft ? (double)j.rows : ce_weight_of_labels(c, &j);
    if (c->err) return NULL;
    at->scale = at->o.reduction == TLV_MEAN ? 1 / total : 1;
    tlv_tensor *rows = tlvi_new(c, (tlv_dtype)x->dtype, without_classes(x));
    if (!rows) return NULL;
    j.out = tlvi_ptr(rows);
    ce_run(c, &j, ce_forward_chunk);
    if (at->o.reduction == TLV_NONE) return rows;
    double sum = j.k->row_sum((size_t)j.rows, j.out);
    return tlv_scalar(c, (tlv_dtype)x->dtype, at->o.reduction == TLV_MEAN ? sum / total : sum);
}

tlv_tensor *tlv_cross_entropy(tlv_ctx *c, const tlv_tensor *logits, const tlv_tensor *target,
                              tlv_ce_opts o)
{
    const tlv_tensor *in[3] = { logits, target, o.weight };
    if (!tlvi_ready_slow(c, "cross_entropy", o.weight ? 3 : 2, in)) return NULL;
    ce_attr at = { .o = o, .soft = target->dtype <= TLV_F64 };
    at.o.weight = NULL;
    if (!ce_fits(c, logits, target, &at, o.weight)) return NULL;
    tlv_tensor *y = ce_value(c, logits, target, o.weight, &at);
    tlvi_record_args r = { .op = TLV_OP_CROSS_ENTROPY, .n_in = 3, .in = in, .out = { y },
                           .attr = &at, .attr_bytes = sizeof at };
    return tlvi_record(c, &r);
}
TLVI_EXEC(CROSS_ENTROPY)
{
    tlv_ce_opts o = ((const ce_attr *)n->attr)->o;
    o.weight = tlvi_in(n, 2);
    return tlv_cross_entropy(c, tlvi_in(n, 0), tlvi_in(n, 1), o);
}

/* ---- cross-entropy: the gradient ------------------------------------------------------------- */

/* If every label is ignored the mean is NaN; its gradient is zero on both paths. */
static double finite_scale(const ce_attr *at) { return isfinite(at->scale) ? at->scale : 0; }

static tlv_tensor *ce_grad_fused(tlv_ctx *c, const tlvi_node *n, const tlv_tensor *g)
{
    const tlv_tensor *x = tlvi_in(n, 0);
    const ce_attr *at = n->attr;
    ce_job j;
    const tlv_tensor *gr = tlvi_row_major(c, g);
    if (!gr || !ce_job_of(c, &j, x, tlvi_in(n, 1), tlvi_in(n, 2), at)) return NULL;
    if (at->o.reduction == TLV_NONE) j.g = tlvi_ptr(gr);
    else j.g_all = value_at(tlvi_ptr(gr), j.size, 0) * finite_scale(at);
    tlv_shape last = without_classes(x);
    last.dim[last.ndim++] = x->shape[1];
    tlv_tensor *rows = tlvi_new(c, (tlv_dtype)x->dtype, last);
    tlv_tensor *dx = rows ? tlvi_new_view(c, rows) : NULL;
    if (!dx) return NULL;
    j.out = tlvi_ptr(rows);
    ce_run(c, &j, ce_grad_chunk);
    for (int i = 1; i < dx->ndim; i++) {            // the classes back to axis 1
        dx->shape[i] = x->shape[i];
        dx->stride[i] = rows->stride[i > 1 ? i - 1 : dx->ndim - 1];
    }
    return dx;
}

/* v [classes] to broadcast against logits. */
static tlv_tensor *beside_logits(tlv_ctx *c, const tlv_tensor *v, const tlv_tensor *x)
{
    tlv_shape s = { .ndim = x->ndim - 1, .dim = { x->shape[1] } };
    for (int i = 1; i < s.ndim; i++) s.dim[i] = 1;
    return tlv_reshape(c, v, s);
}

/* One-hot rows of the labels, the classes on axis 1; ignored labels give zeros.  A constant. */
static tlv_tensor *ce_one_hot(tlv_ctx *c, const tlvi_node *n)
{
    const ce_attr *at = n->attr;
    const tlv_tensor *x = tlvi_in(n, 0), *t = tlvi_in(n, 1);
    tlv_tensor *label = tlvi_new(c, TLV_I32, tlv_shape_of(t));
    if (!label) return NULL;
    tlvi_copy_strided(c, t, label);
    int32_t *v = tlvi_i32(label);
    int64_t count = tlvi_numel(label);
    for (int64_t i = 0; at->o.use_ignore_index && i < count; i++)
        if (v[i] == at->o.ignore_index) v[i] = -1;
    tlv_tensor *hot = tlv_one_hot(c, label, x->shape[1], (tlv_dtype)x->dtype);
    tlv_axes perm = { .n = x->ndim, .axis = { 0, x->ndim - 1 } };
    for (int i = 2; i < x->ndim; i++) perm.axis[i] = i - 1;
    return tlv_permute(c, hot, perm);
}

/* a = w ((1 - eps) q + eps / classes), in ops */
static tlv_tensor *ce_counts(tlv_ctx *c, const tlvi_node *n)
{
    const ce_attr *at = n->attr;
    const tlv_tensor *x = tlvi_in(n, 0), *w = tlvi_in(n, 2);
    double eps = at->o.smoothing;
    const tlv_tensor *q = at->soft ? tlvi_in(n, 1) : ce_one_hot(c, n);
    tlv_tensor *a = tlv_affine(c, q, 1 - eps, eps / (double)x->shape[1]);
    if (!at->soft && eps != 0) a = tlv_mul(c, a, tlv_sum(c, q, TLV_AXES(1), TLV_KEEPDIM));
    return w ? tlv_mul(c, a, beside_logits(c, w, x)) : a;
}

/* g, scaled, to broadcast against logits */
static tlv_tensor *ce_row_gradient(tlv_ctx *c, const tlvi_node *n, const tlv_tensor *g)
{
    const ce_attr *at = n->attr;
    if (at->o.reduction != TLV_NONE) return tlv_affine(c, g, finite_scale(at), 0);
    tlv_shape s = tlv_shape_of(tlvi_in(n, 0));
    s.dim[1] = 1;
    return tlv_reshape(c, g, s);
}

/* loss = sum_k a_k (lse - x_k), a = w ((1 - eps) q + eps / classes)
 *   =>  dx = g (softmax(x) sum a - a),  dq = -g (1 - eps) w log_softmax(x) */
TLVI_VJP(CROSS_ENTROPY)
{
    const ce_attr *at = n->attr;
    const tlv_tensor *x = tlvi_in(n, 0);
    if (wants(n, 0) && !tlvi_recording(c)) {
        d[0] = ce_grad_fused(c, n, g);
    } else if (wants(n, 0)) {
        tlv_tensor *a = ce_counts(c, n);
        tlv_tensor *all = tlv_sum(c, a, TLV_AXES(1), TLV_KEEPDIM);
        tlv_tensor *p = tlv_mul(c, tlv_softmax(c, x, 1), all);
        tlv_tensor *row = ce_row_gradient(c, n, g);
        d[0] = tlv_mul(c, tlv_sub(c, p, a), row);
    }
    if (at->soft && wants(n, 1)) {
        tlv_tensor *l = tlv_affine(c, tlv_log_softmax(c, x, 1), at->o.smoothing - 1, 0);
        if (tlvi_in(n, 2)) l = tlv_mul(c, l, beside_logits(c, tlvi_in(n, 2), x));
        tlv_tensor *row = ce_row_gradient(c, n, g);
        d[1] = tlv_mul(c, l, row);
    }
}

/* ---- element-wise losses --------------------------------------------------------------------- */

static tlv_tensor *reduced(tlv_ctx *c, const char *op, tlv_tensor *y, tlv_reduction r)
{
    TLVI_REQUIRE(c, (unsigned)r <= TLV_NONE, TLV_ERR_ARG, "TLV_MEAN, TLV_SUM or TLV_NONE",
                 "%s: reduction %d", op, (int)r);
    if (!y || r == TLV_NONE) return y;
    return r == TLV_SUM ? tlv_sum_all(c, y) : tlv_mean_all(c, y);
}

static int same_shapes(tlv_ctx *c, const char *op, const tlv_tensor *x, const tlv_tensor *y)
{
    if (!tlvi_ready2(c, op, x, y) || !tlvi_same_float(c, op, x, y)) return 0;
    if (tlvi_same_shape(x, y)) return 1;
    tlvi_fail(c, TLV_ERR_SHAPE, "losses do not broadcast: tlv_expand or tlv_reshape one of them",
              "%s: the first input is %s but the second is %s", op, tlvi_shape_str(x).s,
              tlvi_shape_str(y).s);
    return 0;
}

typedef struct bce_arg { const tlvi_kset *k; int w, p; } bce_arg;

/* in: x, t, then w and p where given */
static void bce_map(const void *arg, size_t n, const void *const *in, void *out)
{
    const bce_arg *a = arg;
    a->k->bce(n, in[0], in[1], a->w ? in[2] : NULL, a->p ? in[2 + a->w] : NULL, out);
}

/* in: g, x, t, then p where given */
static void bce_grad_map(const void *arg, size_t n, const void *const *in, void *out)
{
    const bce_arg *a = arg;
    a->k->bce_grad(n, in[0], in[1], in[2], a->p ? in[3] : NULL, out);
}

static int bce_weight_fits(tlv_ctx *c, const char *what, const tlv_tensor *x, const tlv_tensor *w)
{
    if (!w) return 1;
    if (!tlvi_same_float(c, "bce_with_logits", x, w)) return 0;
    tlv_shape s = tlv_shape_of(x);
    if (w->ndim <= x->ndim && tlvi_broadcast(&s, tlv_shape_of(w))
        && tlvi_shape_numel(s) == tlvi_numel(x))
        return 1;
    tlvi_fail(c, TLV_ERR_SHAPE, "it must broadcast to logits",
              "bce_with_logits: logits are %s but %s is %s", tlvi_shape_str(x).s, what,
              tlvi_shape_str(w).s);
    return 0;
}

static tlv_tensor *bce_elements(tlv_ctx *c, const tlv_tensor *x, const tlv_tensor *t,
                                const tlv_tensor *w, const tlv_tensor *p)
{
    tlv_tensor *y = tlvi_new_ordered(c, (tlv_dtype)x->dtype, tlv_shape_of(x), x);
    if (!y) return NULL;
    bce_arg arg = { tlvi_ks(c, x->dtype), w != NULL, p != NULL };
    const tlv_tensor *in[4] = { x, t, w ? w : p, p };
    tlvi_map(c, bce_map, &arg, 2 + arg.w + arg.p, in, y);
    const tlv_tensor *all[4] = { x, t, w, p };
    tlvi_record_args r = { .op = TLV_OP_BCE_WITH_LOGITS, .n_in = 4, .in = all, .out = { y } };
    return tlvi_record(c, &r);
}

tlv_tensor *tlv_bce_with_logits(tlv_ctx *c, const tlv_tensor *logits, const tlv_tensor *target,
                                tlv_bce_opts o)
{
    const char *op = "bce_with_logits";
    if (!same_shapes(c, op, logits, target) || (o.weight && !tlvi_ready1(c, op, o.weight))
        || (o.pos_weight && !tlvi_ready1(c, op, o.pos_weight))
        || !bce_weight_fits(c, "weight", logits, o.weight)
        || !bce_weight_fits(c, "pos_weight", logits, o.pos_weight))
        return NULL;
    return reduced(c, op, bce_elements(c, logits, target, o.weight, o.pos_weight), o.reduction);
}
TLVI_EXEC(BCE_WITH_LOGITS)
{
    return bce_elements(c, tlvi_in(n, 0), tlvi_in(n, 1), tlvi_in(n, 2), tlvi_in(n, 3));
}

static tlv_tensor *bce_grad_fused(tlv_ctx *c, const tlv_tensor *x, const tlv_tensor *t,
                                  const tlv_tensor *p, const tlv_tensor *g)
{
    tlv_tensor *dx = g ? tlvi_new_ordered(c, (tlv_dtype)x->dtype, tlv_shape_of(x), x) : NULL;
    if (!dx) return NULL;
    bce_arg arg = { tlvi_ks(c, x->dtype), 0, p != NULL };
    const tlv_tensor *in[4] = { g, x, t, p };
    tlvi_map(c, bce_grad_map, &arg, 3 + arg.p, in, dx);
    return dx;
}

/* y = w ((1 - t) x + l softplus(-x)), l = 1 + (p - 1) t
 *   =>  dx = g w ((1 - t) - l sigmoid(-x)),  dt = g w ((p - 1) softplus(-x) - x) */
TLVI_VJP(BCE_WITH_LOGITS)
{
    const tlv_tensor *x = tlvi_in(n, 0), *t = tlvi_in(n, 1), *w = tlvi_in(n, 2), *p = tlvi_in(n, 3);
    const tlv_tensor *gw = w ? tlv_mul(c, g, w) : g;
    if (wants(n, 0) && !tlvi_recording(c)) {
        d[0] = bce_grad_fused(c, x, t, p, gw);
    } else if (wants(n, 0)) {
        tlv_tensor *s = tlv_sigmoid(c, tlv_neg(c, x));
        if (p) {
            tlv_tensor *l = tlv_mul(c, t, tlv_affine(c, p, 1, -1));
            s = tlv_mul(c, tlv_affine(c, l, 1, 1), s);
        }
        tlv_tensor *miss = tlv_affine(c, t, -1, 1);
        d[0] = tlv_mul(c, gw, tlv_sub(c, miss, s));
    }
    if (wants(n, 1)) {
        tlv_tensor *dt = tlv_neg(c, x);
        if (p) {
            tlv_tensor *soft = tlv_softplus(c, dt);
            dt = tlv_add(c, dt, tlv_mul(c, soft, tlv_affine(c, p, 1, -1)));
        }
        d[1] = tlv_mul(c, gw, dt);
    }
}

tlv_tensor *tlv_mse_loss(tlv_ctx *c, const tlv_tensor *x, const tlv_tensor *y, tlv_reduction r)
{
    if (!same_shapes(c, "mse_loss", x, y)) return NULL;
    tlv_tensor *diff = tlv_sub(c, x, y);
    return reduced(c, "mse_loss", tlv_mul(c, diff, diff), r);
}

/* With z = clamp(d, -beta, beta) both branches are z (d - z / 2) / beta. */
tlv_tensor *tlv_smooth_l1_loss(tlv_ctx *c, const tlv_tensor *x, const tlv_tensor *y, double beta,
                               tlv_reduction r)
{
    if (!same_shapes(c, "smooth_l1_loss", x, y)) return NULL;
    TLVI_REQUIRE(c, beta >= 0 && isfinite(beta), TLV_ERR_ARG, "beta is where the square ends",
                 "smooth_l1_loss: beta is %g", beta);
    tlv_tensor *diff = tlv_sub(c, x, y);
    if (beta == 0) return reduced(c, "smooth_l1_loss", tlv_abs(c, diff), r);
    tlv_tensor *z = tlv_clamp(c, diff, -beta, beta);
    tlv_tensor *rest = tlv_sub(c, diff, tlv_affine(c, z, 0.5, 0));
    return reduced(c, "smooth_l1_loss", tlv_affine(c, tlv_mul(c, z, rest), 1 / beta, 0), r);
}
