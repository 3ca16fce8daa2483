/* lbfgs.c -- limited-memory BFGS with a strong-Wolfe line search, in double over one flat vector.
 * Nocedal & Wright, Numerical Optimization: alg. 7.4 (two loops), 3.5 and 3.6 (bracket and zoom),
 * eq. 3.59 (cubic). Constants and stopping rules are torch.optim.LBFGS's. */
#include <math.h>

#include "optim/segments.h"

typedef struct problem {
    tlv_ctx *c;
    tlv_params *p;
    tlv_loss_fn loss;
    void *user;
    int64_t n;
    int evals;
    int wrote;                          /* p is no longer as it came */
    int broken;                         /* a loss or gradient was not finite */
} problem;

/* One pair of the history: s = x' - x, y = g' - g. */
typedef struct pair { double *s, *y, rho; } pair;

typedef struct memory { pair *at; int n, cap; double h0; } memory;

typedef struct point { double t, f, slope; double *g; } point;      /* on the line x + t d */

/* ---- vectors --------------------------------------------------------------------------------- */

static double dot(int64_t n, const double *a, const double *b)
{
    double s = 0;
    for (int64_t i = 0; i < n; i++) s += a[i] * b[i];
    return s;
}

static double max_abs(int64_t n, const double *a)
{
    double m = 0;
    for (int64_t i = 0; i < n; i++)
        m = fabs(a[i]) > m || a[i] != a[i] ? fabs(a[i]) : m; // NaN stays
    return m;
}

static void axpy(int64_t n, double a, const double *x, double *y)
{
    for (int64_t i = 0; i < n; i++) y[i] += a * x[i];
}

static double *vector(problem *q)
{
    size_t bytes = (size_t)(q->n ? q->n : 1) * sizeof(double);
    double *v = tlvi_alloc(q->c, bytes);
    return v ? memset(v, 0, bytes) : NULL;
}
static void vector_free(problem *q, double *v)
{
    if (v) tlvi_free(q->c, v, (size_t)(q->n ? q->n : 1) * sizeof(double));
}

/* ---- between the set and the flat vector ----------------------------------------------------- */

static int trainable(const tlv_params *p, int i)
{
    return !p->schema->entry[i].is_buffer && !p->frozen[i];
}

static int64_t copy_out(const tlv_tensor *t, double *x, int64_t n)
{
    const double *d = t ? tlvi_ptr(t) : NULL;
    for (int64_t i = 0; i < n; i++)
        x[i] = !t ? 0 : t->dtype == TLV_F64 ? d[i] : (double)tlvi_f32(t)[i];
    return n;
}

static void flatten(const tlv_params *shape, const tlv_params *p, double *x)
{
    for (int i = 0; i < shape->schema->n; i++)
        if (trainable(shape, i))
            x += copy_out(p->value[i], x, tlvi_shape_numel(shape->schema->entry[i].shape));
}

/* After an error only to take back what was written before it. */
static void unflatten(problem *q, const double *x)
{
    for (int i = 0; i < q->p->schema->n; i++) {
        if (!trainable(q->p, i)) continue;
        int back = q->c->err && q->wrote;
        void *to = back ? tlvi_ptr(q->p->value[i]) : tlvi_params_write(q->c, q->p, i);
        if (!to) return;
        q->p->value[i]->buf->version += (uint32_t)back;
        q->wrote = 1;
        int64_t n = tlvi_numel(q->p->value[i]);
        for (int64_t k = 0; k < n; k++) {
            if (q->p->value[i]->dtype == TLV_F64) ((double *)to)[k] = x[k];
            else ((float *)to)[k] = (float)x[k];
        }
        x += n;
    }
}

/* Loss and gradient at x. */
static double evaluate(problem *q, const double *x, double *g)
{
    q->evals++;
    unflatten(q, x);
    tlv_scope s = tlv_scope_begin(q->c);
    tlv_tensor *loss = q->loss(q->c, q->p, q->user);
    double f = tlv_item(q->c, loss);
    tlv_params *grad = tlv_params_grad(q->c, loss, q->p, 0);
    const tlv_params *dense = grad ? tlvi_dense(q->c, grad) : NULL;
    if (dense) flatten(q->p, dense, g);
    tlv_scope_end(q->c, s);
    return f;
}

/* ---- line search ----------------------------------------------------------------------------- */

/* Minimiser of the cubic through two points with slopes, kept within [lo, hi]. */
static double cubic(const point *a, const point *b, double lo, double hi)
{
    double d1 = a->slope + b->slope - 3 * (a->f - b->f) / (a->t - b->t),
           sq = d1 * d1 - a->slope * b->slope;
    if (!(sq >= 0)) return 0.5 * (lo + hi);
    double d2 = sqrt(sq), t;
    if (a->t <= b->t)
        t = b->t - (b->t - a->t) * ((b->slope + d2 - d1) / (b->slope - a->slope + 2 * d2));
    else t = a->t - (a->t - b->t) * ((a->slope + d2 - d1) / (a->slope - b->slope + 2 * d2));
    return t < lo ? lo : t > hi ? hi : t == t ? t : 0.5 * (lo + hi);
}

typedef struct search {
    problem *q;
    const double *x, *d;                /* the line */
    double *at;                         /* scratch: x + t d */
    double f0, slope0, tol, d_max;
    point a, b, fresh; /* ends of the bracket, the newest point; each with its own g */
    int iter;
} search;

enum { MAX_SEARCH = 25 };
static const double C1 = 1e-4, C2 = 0.9;

static void probe(search *s, double t)
{
    memcpy(s->at, s->x, (size_t)s->q->n * sizeof(double));
    axpy(s->q->n, t, s->d, s->at);
    s->fresh.t = t;
    s->fresh.f = evaluate(s->q, s->at, s->fresh.g);
    s->fresh.slope = dot(s->q->n, s->fresh.g, s->d);
    if (!s->q->c->err && isfinite(s->fresh.f) && isfinite(s->fresh.slope)) return;
    s->q->broken = 1;
    s->fresh.f = INFINITY; // too high: the search turns back and halves its steps
    s->fresh.slope = 0;
}

static void swap(point *p, point *q)
{
    point t = *p;
    *p = *q;
    *q = t;
}

static int too_high(const search *s, const point *p)
{
    return p->f > s->f0 + C1 * p->t * s->slope0;
}
static int flat_enough(const search *s, const point *p)
{
    return fabs(p->slope) <= -C2 * s->slope0;
}

/* Moves outwards until a bracket [a, b] is found; 1 if a point on the way is good already (then in
 * a). */
static int bracket(search *s)
{
    while (s->iter < MAX_SEARCH && !s->q->c->err) {
        point *p = &s->fresh;
        if (too_high(s, p) || (s->iter > 1 && p->f >= s->a.f)) { swap(&s->b, p); return 0; }
        if (flat_enough(s, p)) { swap(&s->a, p); return 1; }
        if (p->slope >= 0) { swap(&s->b, p); return 0; }
        double next = cubic(&s->a, p, p->t + 0.01 * (p->t - s->a.t), 10 * p->t);
        swap(&s->a, p);
        probe(s, next);
        s->iter++;
    }
    swap(&s->b, &s->fresh);
    return 0;
}

/* Shrinks the bracket; the lower end is in a at the end. */
static void zoom(search *s)
{
    int stuck = 0;
    if (s->b.f < s->a.f) swap(&s->a, &s->b);
    while (s->iter < MAX_SEARCH && fabs(s->b.t - s->a.t) * s->d_max >= s->tol && !s->q->c->err) {
        double lo = s->a.t < s->b.t ? s->a.t : s->b.t, hi = s->a.t < s->b.t ? s->b.t : s->a.t;
        double t = cubic(s->a.t <= s->b.t ? &s->a : &s->b, s->a.t <= s->b.t ? &s->b : &s->a, lo,
                         hi);
        double edge = 0.1 * (hi - lo);
        if (hi - t < edge || t - lo < edge) {           // too near an end: second time, step inside
            if (stuck || t >= hi || t <= lo)
                t = fabs(t - hi) < fabs(t - lo) ? hi - edge : lo + edge, stuck = 0;
            else stuck = 1;
        } else {
            stuck = 0;
        }
        probe(s, t);
        s->iter++;
        if (too_high(s, &s->fresh) || s->fresh.f >= s->a.f) {
            swap(&s->b, &s->fresh);
            if (s->b.f < s->a.f) swap(&s->a, &s->b);
            continue;
        }
        int done = flat_enough(s, &s->fresh);
        if (!done && s->fresh.slope * (s->b.t - s->a.t) >= 0) swap(&s->b, &s->a);
        swap(&s->a, &s->fresh);
        if (done) return;
    }
}

/* ---- directions ------------------------------------------------------------------------------ */

static int remember(problem *q, memory *m, const double *g, const double *old_g, const double *d,
                    double t)
{
    double *s = vector(q), *y = vector(q);
    if (!s || !y) { vector_free(q, s); vector_free(q, y); return 0; }
    for (int64_t i = 0; i < q->n; i++) {
        s[i] = t * d[i];
        y[i] = g[i] - old_g[i];
    }
    double ys = dot(q->n, y, s);
    if (ys <= 1e-10) { vector_free(q, s); vector_free(q, y); return 1; }
    if (m->n == m->cap) {
        vector_free(q, m->at[0].s);
        vector_free(q, m->at[0].y);
        memmove(m->at, m->at + 1, (size_t)(--m->n) * sizeof *m->at);
    }
    m->at[m->n++] = (pair){ s, y, 1 / ys };
    m->h0 = ys / dot(q->n, y, y);
    return 1;
}

/* d = -H g by the two loops */
static void direction(problem *q, const memory *m, const double *g, double *d, double *alpha)
{
    for (int64_t i = 0; i < q->n; i++) d[i] = -g[i];
    for (int i = m->n - 1; i >= 0; i--) {
        alpha[i] = m->at[i].rho * dot(q->n, m->at[i].s, d);
        axpy(q->n, -alpha[i], m->at[i].y, d);
    }
    for (int64_t i = 0; i < q->n; i++) d[i] *= m->h0;
    for (int i = 0; i < m->n; i++)
        axpy(q->n, alpha[i] - m->at[i].rho * dot(q->n, m->at[i].y, d), m->at[i].s, d);
}

/* ---- the loop -------------------------------------------------------------------------------- */

typedef struct work { double *x, *g, *old_g, *d, *at, *ga, *gb, *gf, *alpha; memory m; } work;

static int work_open(problem *q, work *w, int history)
{
    double **v[] = { &w->x, &w->g, &w->old_g, &w->d, &w->at, &w->ga, &w->gb, &w->gf };
    int ok = 1;
    for (size_t i = 0; i < sizeof v / sizeof v[0]; i++) ok &= (*v[i] = vector(q)) != NULL;
    w->m = (memory){ .cap = history, .h0 = 1 };
    w->m.at = tlvi_alloc(q->c, (size_t)history * sizeof(pair));
    w->alpha = tlvi_alloc(q->c, (size_t)history * sizeof(double));
    return ok && w->m.at && w->alpha;
}

static void work_close(problem *q, work *w)
{
    double *v[] = { w->x, w->g, w->old_g, w->d, w->at, w->ga, w->gb, w->gf };
    for (size_t i = 0; i < sizeof v / sizeof v[0]; i++) vector_free(q, v[i]);
    for (int i = 0; i < w->m.n; i++) {
        vector_free(q, w->m.at[i].s);
        vector_free(q, w->m.at[i].y);
    }
    tlvi_free(q->c, w->m.at, (size_t)w->m.cap * sizeof(pair));
    tlvi_free(q->c, w->alpha, (size_t)w->m.cap * sizeof(double));
}

/* Searches along d from x; leaves x, g and f at the point found and returns t. */
static double line_search(problem *q, work *w, double *f, double slope, double t, double tol)
{
    search s = { .q = q, .x = w->x, .d = w->d, .at = w->at, .f0 = *f, .slope0 = slope, .tol = tol,
                 .d_max = max_abs(q->n, w->d), .a = { 0, *f, slope, w->ga }, .b = { .g = w->gb },
                 .fresh = { .g = w->gf } };
    memcpy(w->ga, w->g, (size_t)q->n * sizeof(double));
    probe(&s, t);
    if (!bracket(&s)) zoom(&s);
    axpy(q->n, s.a.t, w->d, w->x);
    memcpy(w->g, s.a.g, (size_t)q->n * sizeof(double));
    *f = s.a.f;
    return s.a.t;
}

static void iterate(problem *q, work *w, tlv_lbfgs_opts o, tlv_lbfgs_report *r)
{
    double f = evaluate(q, w->x, w->g), t = 0;
    r->why = isfinite(f) && isfinite(max_abs(q->n, w->g)) ? "gradient" : "not finite";
    for (int k = 1; r->why[0] == 'g' && !q->c->err && max_abs(q->n, w->g) > o.tol_grad; k++) {
        if (k > 1 && !remember(q, &w->m, w->g, w->old_g, w->d, t)) break;
        direction(q, &w->m, w->g, w->d, w->alpha);
        memcpy(w->old_g, w->g, (size_t)q->n * sizeof(double));
        double slope = dot(q->n, w->g, w->d), before = f, l1 = 0;
        for (int64_t i = 0; i < q->n; i++) l1 += fabs(w->g[i]);
        r->why = "no descent";
        if (slope > -o.tol_change) break;
        t = line_search(q, w, &f, slope, k == 1 ? (1 / l1 < 1 ? 1 / l1 : 1) * o.lr : o.lr,
                        o.tol_change);
        r->iterations = k;
        r->why = "not finite";
        if (q->broken && f >= before) break;
        r->why = "iterations";
        if (k == o.max_iter) break;
        r->why = "evaluations";
        if (q->evals >= o.max_eval) break;
        r->why = "change";
        if (max_abs(q->n, w->d) * t <= o.tol_change || fabs(f - before) < o.tol_change) break;
        r->why = "gradient";
    }
    if (q->c->err) r->why = "error";
    unflatten(q, w->x);
    r->loss = f;
    r->max_grad = max_abs(q->n, w->g);
}

tlv_status tlv_lbfgs(tlv_ctx *c, tlv_params *p, tlv_loss_fn loss, void *user, tlv_lbfgs_opts o,
                     tlv_lbfgs_report *report)
{
    tlv_lbfgs_report r = { .why = "error" };
    if (!o.max_iter) o.max_iter = 20;
    if (!o.max_eval) o.max_eval = o.max_iter * 5 / 4;
    if (!o.history) o.history = 100;
    if (o.lr == 0) o.lr = 1;
    if (o.tol_grad == 0) o.tol_grad = 1e-7;
    if (o.tol_change == 0) o.tol_change = 1e-9;
    TLVI_CHECK(c, p && loss && o.max_iter > 0 && o.history > 0, TLV_ERR_ARG,
               "pass parameters and a loss", "lbfgs: %d iterations, history %d", o.max_iter,
               o.history);
    problem q = { .c = c, .p = p, .loss = loss, .user = user, .n = tlv_params_numel(p, 1) };
    work w = { 0 };
    if (work_open(&q, &w, o.history)) {
        flatten(p, p, w.x);
        iterate(&q, &w, o, &r);
    }
    work_close(&q, &w);
    r.evaluations = q.evals;
    if (report) *report = r;
    return c->err;
}
