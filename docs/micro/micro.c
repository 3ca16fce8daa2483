/* micro.c -- reverse-mode automatic differentiation of any order in one small file: the library's
 * design with everything taken away that a number does not need.
 *
 *     cc docs/micro/micro.c -lm -o micro && ./micro
 *
 * A value is a number with a place on the tape.  The tape is a list of nodes in the order in which
 * they were computed, so going through it backwards meets every user of a value before the value
 * itself: backward is a loop, not a recursion.  The gradient of each op is written in the same ops.
 * While the tape records, the gradient is therefore on the tape too and can be differentiated
 * again: that is all there is to second order.
 *
 * In the library (autograd/): values are tensors, tape[] grows, every op has its line in ops.def, a
 * node keeps only the buffers that its gradient reads, and scopes give memory back.  Next:
 * docs/tour.md. */
#include <math.h>
#include <stdio.h>

enum { MAX_NODES = 4096 };

typedef enum op { LEAF, ADD, MUL, NEG, EXP, LOG, SIN, COS, RELU } op;

typedef int val;                            /* a value is the index of its node */

typedef struct node { op op; val in[2]; double x; } node;

static node tape[MAX_NODES];
static int len;

/* ---- forward: compute, then record ----------------------------------------------------------- */

static val push(op o, val a, val b, double x)
{
    tape[len] = (node){ o, { a, b }, x };
    return len++;
}

static double x_of(val v) { return tape[v].x; }

static val leaf(double x) { return push(LEAF, -1, -1, x); }
static val add(val a, val b) { return push(ADD, a, b, x_of(a) + x_of(b)); }
static val mul(val a, val b) { return push(MUL, a, b, x_of(a) * x_of(b)); }
static val neg(val a) { return push(NEG, a, -1, -x_of(a)); }
static val ex(val a) { return push(EXP, a, -1, exp(x_of(a))); }
static val ln(val a) { return push(LOG, a, -1, log(x_of(a))); }
static val sn(val a) { return push(SIN, a, -1, sin(x_of(a))); }
static val cs(val a) { return push(COS, a, -1, cos(x_of(a))); }
static val relu(val a) { return push(RELU, a, -1, x_of(a) > 0 ? x_of(a) : 0); }

/* 1/a = exp(-log a), for a > 0: no op of its own, so no gradient of its own */
static val inv(val a) { return ex(neg(ln(a))); }

/* ---- the gradients: y = op(a, b), g = dL/dy, so d[0] = dL/da and d[1] = dL/db ---------------- */

static void vjp(const node *n, val y, val g, val d[2])
{
    val a = n->in[0], b = n->in[1];
    d[0] = d[1] = -1;                       /* -1: exactly zero */
    switch (n->op) {
    case LEAF: break;
    case ADD: d[0] = g; d[1] = g; break;
    case MUL: d[0] = mul(g, b); d[1] = mul(g, a); break;
    case NEG: d[0] = neg(g); break;
    case EXP: d[0] = mul(g, y); break;      /* reads its output: nothing else needs to be kept */
    case LOG: d[0] = mul(g, inv(a)); break;
    case SIN: d[0] = mul(g, cs(a)); break;
    case COS: d[0] = neg(mul(g, sn(a))); break;
    case RELU: /* a kink: the derivative at 0 is pinned to 0, as PyTorch has it */
        if (x_of(a) > 0) d[0] = g;
        break;
    }
}

/* ---- backward: one loop over the tape -------------------------------------------------------- */

/* dy/dwrt[i] into out[i].  The results are on the tape: differentiate them again as you like. */
static void grad(val y, int n, const val *wrt, val *out)
{
    static val collected[8][MAX_NODES]; /* one array a nesting level would do; here: one a call */
    static int calls;
    val *g = collected[calls++ % 8];
    int top = y;
    for (int k = 0; k <= top; k++) g[k] = -1;
    g[y] = leaf(1);
    for (int k = top; k >= 0; k--) {
        if (g[k] < 0) continue;             /* nothing that y depends on */
        val d[2];
        node here = tape[k];                /* a copy: vjp pushes nodes */
        vjp(&here, k, g[k], d);
        for (int i = 0; i < 2; i++)
            if (d[i] >= 0) {
                val in = here.in[i];
                g[in] = g[in] < 0 ? d[i]
                                  : add(g[in], d[i]); /* a value used twice: gradients add up */
            }
    }
    for (int i = 0; i < n; i++) out[i] = g[wrt[i]] < 0 ? leaf(0) : g[wrt[i]];
}

/* ---- shown and checked ----------------------------------------------------------------------- */

static int failures;

static void check(const char *what, double got, double want)
{
    int ok = fabs(got - want) <= 1e-9 * (1 + fabs(want));
    failures += !ok;
    printf("%-44s %14.9f   %s\n", what, got, ok ? "as it should be" : "WRONG");
}

/* MAML in five lines (Finn et al. 2017): one inner step w' = w - lr L'(w), then dL(w')/dw.
 * With L(w) = (w - 3)^2 the outer gradient is 2 (w' - 3) (1 - 2 lr). */
static void one_maml_step(void)
{
    val w = leaf(1), three = leaf(-3), lr = leaf(-0.1), gw, outer;
    val e = add(w, three), inner = mul(e, e);
    grad(inner, 1, &w, &gw);
    val fast = add(w, mul(lr, gw)), e2 = add(fast, three);
    grad(mul(e2, e2), 1, &w, &outer);
    check("MAML outer gradient at w = 1", x_of(outer), 2 * (1.4 - 3) * (1 - 0.2));
}

int main(void)
{
    val x = leaf(0.7), y = leaf(1.3), d[2], d2[2], d3[2];
    val f = mul(sn(mul(x, x)), ex(y));                          /* f = sin(x^2) e^y */
    grad(f, 2, (val[]){ x, y }, d);
    check("f = sin(x^2) exp(y)", x_of(f), sin(0.49) * exp(1.3));
    check("df/dx = 2 x cos(x^2) exp(y)", x_of(d[0]), 1.4 * cos(0.49) * exp(1.3));
    check("df/dy = f", x_of(d[1]), sin(0.49) * exp(1.3));

    grad(d[0], 2, (val[]){ x, y }, d2);
    check("d2f/dx2 = (2 cos - 4 x^2 sin)(x^2) exp(y)", x_of(d2[0]),
          (2 * cos(0.49) - 1.96 * sin(0.49)) * exp(1.3));
    check("d2f/dxdy = df/dx", x_of(d2[1]), x_of(d[0]));

    grad(d2[1], 2, (val[]){ x, y }, d3);
    check("d3f/dx2dy = d2f/dx2", x_of(d3[0]), x_of(d2[0]));

    val z = leaf(-2), r = relu(z), dz;
    grad(mul(r, r), 1, &z, &dz);
    check("relu(-2)^2 has gradient", x_of(dz), 0);

    one_maml_step();
    printf("%d nodes on the tape\n", len);
    return failures != 0;
}
