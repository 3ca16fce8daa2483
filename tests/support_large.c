/* support_large.c -- see support_large.h. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support_large.h"

/* Results one after the other: the output, then the gradient of each input. */
typedef struct results { int parts; int64_t n[5]; double *v[5]; } results;

static double *room(int64_t n)
{
    double *v = calloc((size_t)n + 1, sizeof *v);
    if (!v) abort();
    return v;
}

static void put(results *r, tlv_ctx *c, const tlv_tensor *t)
{
    int64_t n = tlv_numel(t);
    r->n[r->parts] = n;
    r->v[r->parts] = room(n);
    if (t) support_read(c, t, r->v[r->parts], n);
    r->parts++;
}

static tlv_tensor *filled(tlv_ctx *c, tlv_dtype d, tlv_shape s, uint64_t seed, support_order order)
{
    int64_t n = 1;
    for (int i = 0; i < s.ndim; i++) n *= s.dim[i];
    double *v = room(n);
    support_uniform(v, n, seed, -1, 1.5);
    tlv_tensor *t = support_tensor(c, d, s, v, TLV_WANT_GRAD, order);
    free(v);
    return t;
}

static results compute(const support_large *l, tlv_dtype d, int threads, int flags)
{
    results r = { 0 };
    tlv_ctx *c = tlv_ctx_open(&(tlv_ctx_opts){ .threads = threads });
    const tlv_tensor *in[4] = { 0 };
    tlv_tensor *g[4] = { 0 };
    for (int i = 0; i < l->n_in; i++) in[i] = filled(c, d, l->in[i], (uint64_t)i + 1, l->order);
    tlv_tensor *y = l->call(c, in);
    put(&r, c, y);
    tlv_tensor *u = filled(c, d, tlv_shape_of(y), 99, SUPPORT_ROW_MAJOR);
    tlv_grad(c, y, u, l->n_in, in, g, flags);
    for (int i = 0; i < l->n_in; i++) put(&r, c, g[i]);
    EXPECT_OK(c);
    tlv_ctx_close(c);
    return r;
}

static void release(results *r)
{
    for (int i = 0; i < r->parts; i++) free(r->v[i]);
}

/* tol 0: the same bits. */
static void compare(const support_large *l, const char *what, const results *a, const results *b,
                    double tol)
{
    for (int p = 0; p < a->parts; p++) {
        double largest = 0, worst = 0;
        int64_t n = a->n[p], differ = 0;
        for (int64_t i = 0; i < n; i++) {
            largest = fmax(largest, fabs(b->v[p][i]));
            differ += memcmp(&a->v[p][i], &b->v[p][i], sizeof(double)) != 0;
            double d = fabs(a->v[p][i] - b->v[p][i]);
            if (!(d <= worst)) worst = d;
        }
        EXPECT(n == b->n[p] && largest > 0, "%s, %s: part %d has %lld values up to %g", l->text,
               what, p, (long long)n, largest);
        if (tol == 0) EXPECT(differ == 0, "%s, %s: %lld values of part %d differ", l->text, what,
                             (long long)differ, p);
        else
            EXPECT(worst <= tol * largest, "%s, %s: part %d is off by %g of %g", l->text, what, p,
                   worst, largest);
    }
}

void support_check_large(const support_large *l, double tol)
{
    results f64 = compute(l, TLV_F64, 1, 0), f64_3 = compute(l, TLV_F64, 3, 0);
    results f32 = compute(l, TLV_F32, 1, 0), f32_3 = compute(l, TLV_F32, 3, 0);
    compare(l, "f64, threads", &f64, &f64_3, 0);
    compare(l, "f32, threads", &f32, &f32_3, 0);
    compare(l, "f32 against f64", &f32, &f64, tol);
    results graph = compute(l, TLV_F64, 1, TLV_CREATE_GRAPH);
    compare(l, "fast against graph path", &f64, &graph, 1e-9);
    release(&graph);
    release(&f64);
    release(&f64_3);
    release(&f32);
    release(&f32_3);
}
