/* linear_probe.c -- linear probe: multinomial logistic regression, its penalty chosen by
 * cross-validation.
 *
 * With fewer rows than features the optimum W lies in the span of the rows: the gradient of the
 * loss does, and the penalty forbids the rest.  So rows are replaced by their coordinates in an
 * orthonormal basis of that span, and the same problem with n instead of D columns has the same
 * optimum.  The coordinates are the rows of the Cholesky factor of X X^T. */
#include <math.h>
#include <stdio.h>

#include "tensor/core.h"
#include "transfer/score.h"

enum { FOLDS = 5, GRID = 9, MAX_ITER = 1000, HISTORY = 20 };
static const double L2_MIN = 1e-4, L2_MAX = 1, TINY_STD = 1e-5;
static const double DEPENDENT = 1e-12;  /* of the largest squared length: the row adds nothing */
static const double CV_GRAD = 1e-5, LAST_GRAD = 1e-8;   /* where a fit ends: the largest part */
static const int64_t SMALL = 1 << 20;   /* numbers, below which folds are dealt to the threads */

/* ---- the rows of a fit ----------------------------------------------------------------------- */

/* Standardised rows x, their coordinates z in the space where W is sought, and the way back. */
typedef struct space {
    tlv_ctx *c;
    const tlv_features *f;
    int64_t n, d, r;            /* rows, features, coordinates */
    int64_t rank;               /* coordinates that have a pivot: r, or 0 where rows are equal */
    double *mean, *std;         /* [d] */
    tlv_tensor *x, *z;          /* f64 [n,d], [n,r]; the same tensor where the basis is the axes */
    tlv_tensor *y;              /* i32 [n] */
    double *factor;             /* [n,n]: rows of z, as the basis grows; NULL: the axes */
    int64_t *pivot;             /* [rank]: the rows that added a direction */
} space;

/* Working memory of the innermost scope. */
static double *numbers(tlv_ctx *c, int64_t n, int64_t m)
{
    tlv_tensor *t = tlv_empty(c, TLV_F64, TLV_SHAPE(n, m));
    return t ? tlv_fill_ptr(c, t) : NULL;
}

static const float *row_of(const tlv_features *f, const int64_t *index, int64_t i)
{
    return f->x + (index ? index[i] : i) * f->dim;
}

/* Mean, and deviation by n - 1, of each feature. */
static void measure(space *s, const int64_t *index)
{
    memset(s->mean, 0, (size_t)s->d * sizeof(double));
    memset(s->std, 0, (size_t)s->d * sizeof(double));
    for (int64_t i = 0; i < s->n; i++) {
        const float *x = row_of(s->f, index, i);
        for (int64_t k = 0; k < s->d; k++) s->mean[k] += (double)x[k];
    }
    for (int64_t k = 0; k < s->d; k++) s->mean[k] /= (double)s->n;
    for (int64_t i = 0; i < s->n; i++) {
        const float *x = row_of(s->f, index, i);
        for (int64_t k = 0; k < s->d; k++) {
            double apart = (double)x[k] - s->mean[k];
            s->std[k] += apart * apart;
        }
    }
    double by = s->n > 1 ? (double)(s->n - 1) : 1;
    for (int64_t k = 0; k < s->d; k++) s->std[k] = sqrt(s->std[k] / by) + TINY_STD;
}

/* Rows index[0 .. n-1], standardised: f64 [n,d]. */
static tlv_tensor *standardised(const space *s, const int64_t *index, int64_t n)
{
    tlv_tensor *t = tlv_empty(s->c, TLV_F64, TLV_SHAPE(n, s->d));
    double *z = t ? tlv_fill_ptr(s->c, t) : NULL;
    if (!z) return NULL;
    for (int64_t i = 0; i < n; i++, z += s->d) {
        const float *x = row_of(s->f, index, i);
        for (int64_t k = 0; k < s->d; k++) z[k] = ((double)x[k] - s->mean[k]) / s->std[k];
    }
    return t;
}

static tlv_tensor *labels(tlv_ctx *c, const tlv_features *f, const int64_t *index, int64_t n)
{
    tlv_tensor *t = tlv_empty(c, TLV_I32, TLV_SHAPE(n));
    int32_t *y = t ? tlv_fill_ptr(c, t) : NULL;
    for (int64_t i = 0; y && i < n; i++) y[i] = f->label[index ? index[i] : i];
    return t;
}

/* ---- the basis of the rows' span ------------------------------------------------------------- */

/* Four sums, so that the additions need not wait for each other. */
static double dot(int64_t n, const double *a, const double *b)
{
    double s[4] = { 0 };
    int64_t i = 0;
    for (; i + 4 <= n; i += 4)
        for (int k = 0; k < 4; k++) s[k] += a[i + k] * b[i + k];
    for (; i < n; i++) s[0] += a[i] * b[i];
    return (s[0] + s[1]) + (s[2] + s[3]);
}

/* Coordinates of a row from its products with the training rows: L z = k over the pivots, where L's
 * rows are the pivots' own coordinates. */
static void coordinates(const space *s, const double *k, double *z)
{
    for (int64_t j = 0; j < s->rank; j++) {
        const double *l = s->factor + s->pivot[j] * s->n;
        z[j] = (k[s->pivot[j]] - dot(j, z, l)) / l[j];
    }
}

/* Row by row; one whose rest, outside the span so far, is not tiny adds a direction. */
static int find_basis(space *s)
{
    tlv_tensor *gram = tlv_matmul(s->c, s->x, s->x, (tlv_matmul_opts){ .tb = 1 });      // [n,n]
    double *g = numbers(s->c, s->n, s->n);
    s->factor = numbers(s->c, s->n, s->n);
    tlv_tensor *pivot = tlv_empty(s->c, TLV_I64, TLV_SHAPE(s->n));
    s->pivot = pivot ? tlv_fill_ptr(s->c, pivot) : NULL;
    if (!g || !s->factor || !s->pivot || tlv_read(s->c, gram, g, s->n * s->n) != TLV_OK) return 0;
    double largest = 0;
    for (int64_t i = 0; i < s->n; i++) largest = fmax(largest, g[i * s->n + i]);
    memset(s->factor, 0, (size_t)(s->n * s->n) * sizeof(double));
    s->rank = 0;
    for (int64_t i = 0; i < s->n; i++) {
        double *z = s->factor + i * s->n;
        coordinates(s, g + i * s->n, z);
        double rest = g[i * s->n + i] - dot(s->rank, z, z);
        if (rest <= DEPENDENT * largest) continue;
        z[s->rank] = sqrt(rest);
        s->pivot[s->rank++] = i;
    }
    s->r = s->rank ? s->rank : 1;                       // equal rows: one coordinate, all zero
    return 1;
}

/* The first r numbers of rows of n. */
static tlv_tensor *cut(tlv_ctx *c, const double *rows, int64_t count, int64_t n, int64_t r)
{
    tlv_tensor *t = tlv_empty(c, TLV_F64, TLV_SHAPE(count, r));
    double *z = t ? tlv_fill_ptr(c, t) : NULL;
    for (int64_t i = 0; z && i < count; i++)
        memcpy(z + i * r, rows + i * n, (size_t)r * sizeof *z);
    return t;
}

/* Everything belongs to the innermost scope. */
static int space_open(tlv_ctx *c, space *s, const tlv_features *f, const int64_t *index, int64_t n)
{
    *s = (space){ .c = c, .f = f, .n = n, .d = f->dim, .r = f->dim };
    s->mean = numbers(c, 2, s->d);
    if (!s->mean) return 0;
    s->std = s->mean + s->d;
    measure(s, index);
    s->y = labels(c, f, index, n);
    s->x = s->z = standardised(s, index, n);
    if (2 * n <= s->d && s->x) s->z = find_basis(s) ? cut(c, s->factor, n, n, s->r) : NULL;
    return s->z && s->y;
}

/* The coordinates of other rows, [m,r]. */
static tlv_tensor *space_rows(space *s, const int64_t *index, int64_t m)
{
    tlv_tensor *x = standardised(s, index, m);
    if (!s->factor) return x;
    tlv_tensor *k = tlv_matmul(s->c, x, s->x, (tlv_matmul_opts){ .tb = 1 });            // [m,n]
    tlv_tensor *t = tlv_zeros(s->c, TLV_F64, TLV_SHAPE(m, s->r));
    double *from = numbers(s->c, m, s->n), *z = t && from ? tlvi_ptr(t) : NULL;
    if (!z || tlv_read(s->c, k, from, m * s->n) != TLV_OK) return NULL;
    for (int64_t i = 0; i < m; i++) coordinates(s, from + i * s->n, z + i * s->r);
    return t;
}

/* W's row from its coordinates a [r]: X^T u over the pivots, where L^T u = a. */
static void space_weights(const space *s, const double *a, double *u, double *w)
{
    const double *x = tlvi_ptr(s->x);
    if (!s->factor) {
        memcpy(w, a, (size_t)s->d * sizeof *w);
        return;
    }
    memset(w, 0, (size_t)s->d * sizeof *w);
    for (int64_t j = s->rank; j-- > 0;) {
        double v = a[j];
        for (int64_t i = j + 1; i < s->rank; i++) v -= s->factor[s->pivot[i] * s->n + j] * u[i];
        u[j] = v / s->factor[s->pivot[j] * s->n + j];
        for (int64_t k = 0; k < s->d; k++) w[k] += u[j] * x[s->pivot[j] * s->d + k];
    }
}

/* ---- one fit --------------------------------------------------------------------------------- */

typedef struct problem { const space *s; double l2; } problem;

/* mean CE(z W^T + b, y) + l2 sum(W^2) */
static tlv_tensor *objective(tlv_ctx *c, const tlv_params *p, void *user)
{
    const problem *q = user;
    tlv_tensor *w = tlv_params_get(p, 0);
    tlv_tensor *logits = tlv_linear(c, q->s->z, w, tlv_params_get(p, 1), TLV_ACT_NONE);
    tlv_tensor *loss = tlv_cross_entropy(c, logits, q->s->y, (tlv_ce_opts){ 0 });
    return tlv_add(c, loss, tlv_affine(c, tlv_sum_all(c, tlv_square(c, w)), q->l2, 0));
}

/* W [K,r] and b [K], zero. */
static tlv_params *new_weights(tlv_ctx *c, int64_t k, int64_t r)
{
    tlv_build *b = tlv_build_begin(c, TLV_F64);
    tlv_build_param(b, "weight", TLV_SHAPE(k, r), tlv_init_zeros());
    tlv_build_param(b, "bias", TLV_SHAPE(k), tlv_init_zeros());
    return b ? tlv_build_end(b) : NULL;
}

static tlv_status minimise(const space *s, tlv_params *p, double l2, double grad,
                           tlv_lbfgs_report *r)
{
    problem q = { s, l2 };
    tlv_lbfgs_opts o = { .max_iter = MAX_ITER, .max_eval = 2 * MAX_ITER, .history = HISTORY,
                         .tol_grad = grad, .tol_change = 1e-16 };
    return tlv_lbfgs(s->c, p, objective, &q, o, r);
}

/* ---- cross-validation ------------------------------------------------------------------------ */

typedef struct search {
    const tlv_features *f;
    int64_t *order;             /* [n]: rows, fold after fold */
    int64_t *begin;             /* [folds + 1] */
    int folds, n_l2;
    const tlv_probe_choice *table;
    tlv_score *score;           /* [folds,n_l2] */
    const tlv_probe_opts *o;
    int64_t done;
    int stopped;
} search;

/* Each class is shuffled and dealt to the folds in turn; the next class begins where it ended. */
static void deal(search *s, tlv_rng_key key, int64_t *of_class, int32_t *fold)
{
    int64_t turn = 0;
    for (int k = 0; k < s->f->classes; k++) {
        int64_t n = 0;
        for (int64_t i = 0; i < s->f->n; i++)
            if (s->f->label[i] == k) of_class[n++] = i;
        tlv_rng_shuffle(tlv_rng_fold(key, (uint64_t)k), n, of_class);
        for (int64_t i = 0; i < n; i++) fold[of_class[i]] = (int32_t)(turn++ % s->folds);
    }
    int64_t at = 0;
    for (int k = 0; k < s->folds; k++) {
        s->begin[k] = at;
        for (int64_t i = 0; i < s->f->n; i++)
            if (fold[i] == k) s->order[at++] = i;
    }
    s->begin[s->folds] = at;
}

/* Every penalty, the largest first, each from where the one before ended. */
static tlv_status fit_fold(tlv_ctx *c, search *q, int64_t k, const int64_t *train)
{
    int64_t from = q->begin[k], to = q->begin[k + 1];
    space s;
    if (!space_open(c, &s, q->f, train, q->f->n - (to - from))) return c->err;
    tlv_tensor *z = space_rows(&s, q->order + from, to - from);                         // [m,r]
    tlv_tensor *y = labels(c, q->f, q->order + from, to - from);
    tlv_params *p = z && y ? new_weights(c, q->f->classes, s.r) : NULL;
    for (int i = 0; p && i < q->n_l2 && !c->err && !q->stopped; i++) {
        minimise(&s, p, q->table[i].l2, CV_GRAD, NULL);
        tlv_scope inner = tlv_scope_begin_with(c, TLV_NO_GRAD);
        tlv_tensor *logits = tlv_linear(c, z, tlv_params_get(p, 0), tlv_params_get(p, 1),
                                        TLV_ACT_NONE);
        tlvi_score_add(c, logits, y, NULL, NULL, &q->score[k * q->n_l2 + i]);
        tlv_scope_end(c, inner);
        if (!c->is_child && q->o->progress)
            q->stopped = q->o->progress(q->o->user, ++q->done, (int64_t)q->folds * q->n_l2) != 0;
    }
    tlv_params_close(p);
    return c->err;
}

static tlv_status fold_task(tlv_ctx *c, int64_t k, void *user)
{
    search *q = user;
    int64_t n = q->f->n, from = q->begin[k], to = q->begin[k + 1];
    tlv_scope scope = tlv_scope_begin_with(c, TLV_RECORD);
    tlv_tensor *t = tlv_empty(c, TLV_I64, TLV_SHAPE(n));
    int64_t *train = t ? tlv_fill_ptr(c, t) : NULL;
    if (train) {
        memcpy(train, q->order, (size_t)from * sizeof *train);
        memcpy(train + from, q->order + to, (size_t)(n - to) * sizeof *train);
        fit_fold(c, q, k, train);
    }
    tlv_scope_end(c, scope);
    return c->err;
}

/* Small problems keep one thread busy each; in large ones the threads share every product. */
static void run_folds(tlv_ctx *c, search *q)
{
    if (q->f->n * q->f->dim <= SMALL && tlv_threads(c) > 1 && !c->is_child) {
        tlv_parallel_tasks(c, q->folds, fold_task, q);
        int64_t all = (int64_t)q->folds * q->n_l2;
        if (!c->err && q->o->progress) q->stopped = q->o->progress(q->o->user, all, all) != 0;
        return;
    }
    for (int64_t k = 0; k < q->folds && !c->err && !q->stopped; k++) fold_task(c, k, q);
}

static void choose(const search *q, tlv_probe_report *r)
{
    for (int i = 0; i < q->n_l2; i++) {
        tlv_probe_choice *row = &r->table[i];
        for (int k = 0; k < q->folds; k++) {
            const tlv_score *s = &q->score[k * q->n_l2 + i];
            row->right += s->right;
            row->loss += s->loss / (double)q->f->n;
        }
        row->accuracy = (double)row->right / (double)q->f->n;
        // a lower loss that is none but for rounding does not count: the larger penalty stays
        if (row->loss < r->table[r->chosen].loss * (1 - 1e-6)) r->chosen = i;
    }
    r->at_edge = r->chosen == 0 || r->chosen == q->n_l2 - 1;
}

/* Fills the report's table and returns the best penalty, or 0. */
static double cross_validate(tlv_ctx *c, const tlv_features *f, const tlv_probe_opts *o,
                             tlv_probe_report *r)
{
    int64_t n = f->n;
    int folds = n < r->folds ? (int)n : r->folds, cells = folds * r->n_table;
    size_t bytes = (size_t)(2 * n + folds + 1) * sizeof(int64_t)
                   + (size_t)cells * sizeof(tlv_score) + (size_t)n * sizeof(int32_t);
    r->folds = folds;
    char *memory = tlvi_alloc(c, bytes);
    if (!memory) return 0;
    memset(memory, 0, bytes);
    search q = { .f = f, .folds = folds, .n_l2 = r->n_table, .table = r->table, .o = o };
    q.score = (tlv_score *)(void *)memory;
    q.order = (int64_t *)(void *)(q.score + cells);
    q.begin = q.order + n;
    int64_t *of_class = q.begin + folds + 1;
    deal(&q, o->key, of_class, (int32_t *)(void *)(of_class + n));
    run_folds(c, &q);
    r->stopped = q.stopped;
    if (!c->err && !q.stopped) choose(&q, r);
    tlvi_free(c, memory, bytes);
    return c->err || q.stopped ? 0 : r->table[r->chosen].l2;
}

/* ---- the whole ------------------------------------------------------------------------------- */

static tlv_status check(tlv_ctx *c, const tlv_features *f, const tlv_probe_opts *o)
{
    TLVI_CHECK(c, f && f->n > 0 && f->dim > 0, TLV_ERR_ARG, "extract features first",
               "probe: there are no rows");
    TLVI_CHECK(c, f->classes >= 2, TLV_ERR_ARG, "a probe tells classes apart: give it two",
               "probe: %d class", f->classes);
    for (int64_t i = 0; i < f->n; i++) {
        TLVI_CHECK(c, f->label[i] >= 0 && f->label[i] < f->classes, TLV_ERR_ARG,
                   "labels count from 0", "probe: row %lld has label %d of %d classes",
                   (long long)i, (int)f->label[i], f->classes);
        for (int k = 0; k < f->dim; k++)
            TLVI_CHECK(c, isfinite(f->x[i * f->dim + k]), TLV_ERR_ARG,
                       "look at the model's weights with tlv-inspect --stats",
                       "probe: feature %d of row %lld is not finite", k, (long long)i);
    }
    double lo = o->l2_min ? o->l2_min : L2_MIN, hi = o->l2_max ? o->l2_max : L2_MAX;
    TLVI_CHECK(c, o->l2 >= 0 && isfinite(o->l2) && lo > 0 && lo <= hi && isfinite(hi), TLV_ERR_ARG,
               "penalties are positive, and the grid goes from the smaller to the larger",
               "probe: penalty %g, grid from %g to %g", o->l2, lo, hi);
    TLVI_CHECK(c, o->n_l2 >= 0 && o->n_l2 <= TLV_PROBE_GRID && (o->folds == 0 || o->folds >= 2),
               TLV_ERR_ARG, "0 takes the usual", "probe: %d penalties, %d folds", o->n_l2,
               o->folds);
    return TLV_OK;
}

/* Falling penalties whose logarithms are evenly spaced. */
static void lay_grid(const tlv_probe_opts *o, tlv_probe_report *r)
{
    double lo = o->l2_min ? o->l2_min : L2_MIN, hi = o->l2_max ? o->l2_max : L2_MAX;
    r->n_table = o->n_l2 ? o->n_l2 : GRID;
    r->folds = o->folds ? o->folds : FOLDS;
    for (int i = 0; i < r->n_table; i++) {
        double t = r->n_table > 1 ? (double)i / (r->n_table - 1) : 0;
        r->table[i] = (tlv_probe_choice){ .l2 = hi * pow(lo / hi, t) };
    }
}

/* w = W / s,  b = B - W (m / s) */
static void fold_back(const space *s, const double *wide, double bias, float *w, float *b)
{
    double shift = 0;
    for (int64_t k = 0; k < s->d; k++) {
        w[k] = (float)(wide[k] / s->std[k]);
        shift += wide[k] * (s->mean[k] / s->std[k]);
    }
    *b = (float)(bias - shift);
}

static tlv_status probe_open(tlv_ctx *c, tlv_probe *p, int classes, int dim)
{
    *p = (tlv_probe){ .c = c, .classes = classes, .dim = dim };
    p->w = tlvi_alloc(c, (size_t)classes * ((size_t)dim + 1) * sizeof(float));
    if (p->w) p->b = p->w + (size_t)classes * (size_t)dim;
    return c->err;
}

static tlv_status fit_all(tlv_ctx *c, const tlv_features *f, double l2, tlv_probe *out,
                          tlv_probe_report *r)
{
    space s;
    tlv_lbfgs_report fit = { 0 };
    int64_t k = f->classes;
    if (!space_open(c, &s, f, NULL, f->n)) return c->err;
    tlv_params *p = new_weights(c, k, s.r);
    double *a = numbers(c, k, s.r), *u = numbers(c, 2, s.r + s.d), *b = numbers(c, k, 1);
    if (p && a && u && b) minimise(&s, p, l2, LAST_GRAD, &fit);
    if (!c->err && tlv_read(c, tlv_params_get(p, 0), a, k * s.r) == TLV_OK
        && tlv_read(c, tlv_params_get(p, 1), b, k) == TLV_OK
        && probe_open(c, out, f->classes, f->dim) == TLV_OK) {
        for (int64_t i = 0; i < k; i++) {
            space_weights(&s, a + i * s.r, u, u + s.r);
            fold_back(&s, u + s.r, b[i], out->w + i * s.d, out->b + i);
        }
        out->l2 = l2;
        r->objective = fit.loss;
        r->loss = fit.loss - l2 * dot(k * s.r, a, a);
        r->max_grad = fit.max_grad;
        r->iterations = fit.iterations;
        r->evaluations = fit.evaluations;
    }
    tlv_params_close(p);
    return c->err;
}

tlv_status tlv_probe_fit(tlv_ctx *c, const tlv_features *f, tlv_probe_opts o, tlv_probe *out,
                         tlv_probe_report *report)
{
    tlv_probe_report r = { 0 };
    *out = (tlv_probe){ 0 };
    double l2 = o.l2;
    if (c->err == TLV_OK && check(c, f, &o) == TLV_OK) {
        if (l2 == 0) {
            lay_grid(&o, &r);
            if (f->n > 1) l2 = cross_validate(c, f, &o, &r);
            else l2 = r.table[0].l2;
        }
        tlv_scope s = tlv_scope_begin_with(c, TLV_RECORD);
        if (!c->err && !r.stopped) fit_all(c, f, l2, out, &r);
        tlv_scope_end(c, s);
    }
    if (c->err) tlv_probe_close(out);
    if (report) *report = r;
    return c->err;
}

void tlv_probe_close(tlv_probe *p)
{
    if (!p || !p->c) return;
    tlvi_free(p->c, p->w, (size_t)p->classes * ((size_t)p->dim + 1) * sizeof(float));
    *p = (tlv_probe){ 0 };
}

/* ---- what it says ---------------------------------------------------------------------------- */

tlv_status tlv_probe_predict(tlv_ctx *c, const tlv_probe *p, const tlv_features *f, float *prob,
                             int64_t *confusion, tlv_score *score)
{
    enum { BLOCK = 1024 };
    *score = (tlv_score){ 0 };
    TLVI_CHECK(c, p->w && p->dim == f->dim && f->classes <= p->classes, TLV_ERR_ARG,
               "use features of the model that it was fitted on",
               "probe: it knows %d classes by %d features, the rows are %d of %d", p->classes,
               p->dim, f->classes, f->dim);
    tlv_scope outer = tlv_scope_begin_with(c, TLV_NO_GRAD);
    tlv_tensor *w = tlv_from(c, TLV_SHAPE(p->classes, p->dim), p->w, 0);
    tlv_tensor *b = tlv_from(c, TLV_SHAPE(p->classes), p->b, 0);
    for (int64_t at = 0; at < f->n && !c->err; at += BLOCK) {
        int64_t n = f->n - at < BLOCK ? f->n - at : BLOCK;
        tlv_scope s = tlv_scope_begin(c);
        tlv_tensor *x = tlv_from(c, TLV_SHAPE(n, f->dim), f->x + at * f->dim, 0);
        tlv_tensor *y = tlv_from_data(c, TLV_I32, TLV_SHAPE(n), f->label + at, 0);
        tlv_tensor *logits = tlv_linear(c, x, w, b, TLV_ACT_NONE);                  // [n,classes]
        tlvi_score_add(c, logits, y, prob ? prob + at * p->classes : NULL, confusion, score);
        tlv_scope_end(c, s);
    }
    tlv_scope_end(c, outer);
    tlvi_score_end(score);
    return c->err;
}

/* An entry of the new head. */
static tlv_status set_entry(tlv_ctx *c, tlv_model *m, const char *what, int64_t n, const float *v)
{
    char name[96];
    tlv_params *p = tlv_model_params(m);
    const char *head = tlv_model_head(m);
    snprintf(name, sizeof name, "%s.%s", head, what);
    int slot = tlv_params_find(p, name);
    tlv_tensor *old = slot < 0 ? NULL : tlv_params_get(p, slot);
    TLVI_CHECK(c, old && tlv_numel(old) == n, TLV_ERR_SHAPE, "fit it on this model's features",
               "%s: its head %s does not hold a probe's %lld numbers", tlv_model_arch(m), name,
               (long long)n);
    tlv_tensor *t = tlv_cast(c, tlv_from(c, tlv_shape_of(old), v, 0), tlv_dtype_of(old));
    return tlv_params_set(c, p, slot, t);
}

tlv_status tlv_probe_to_model(tlv_ctx *c, const tlv_probe *p, tlv_model *m)
{
    if (c->err || tlv_model_new_head(c, m, p->classes) != TLV_OK) return c->err;
    tlv_scope s = tlv_scope_begin_with(c, TLV_NO_GRAD);
    set_entry(c, m, "weight", (int64_t)p->classes * p->dim, p->w);
    set_entry(c, m, "bias", p->classes, p->b);
    tlv_scope_end(c, s);
    return c->err;
}
