/* 01_tensor_and_gradient.c -- tensors, a gradient, a second derivative, and where memory goes.
 *
 *     make && build/bin/learn-01_tensor_and_gradient
 *
 * Every line that prints has what it prints beside it.  Next: 02_mnist_from_scratch.c. */
#include <stdio.h>

#include "tlvision.h"

static void show(tlv_ctx *c, const char *name, const tlv_tensor *t)
{
    float v[16];
    int64_t n = tlv_numel(t);
    if (n > 16 || tlv_read(c, t, v, n) != TLV_OK) return;       // row-major copy
    printf("%-12s", name);
    for (int64_t i = 0; i < n; i++) printf(" %g", v[i]);
    printf("\n");
}

/* ---- 1. tensors ------------------------------------------------------------------------------ */

static void tensors(tlv_ctx *c)
{
    // Six numbers as two rows of three.  A tensor never changes once it is made.
    tlv_tensor *a = tlv_from(c, TLV_SHAPE(2, 3), (float[]){ 1, 2, 3, 4, 5, 6 }, 0);
    tlv_tensor *b = tlv_from(c, TLV_SHAPE(3), (float[]){ 10, 20, 30 }, 0);

    // The row b is added to each row of a: shapes are lined up from the right, as in NumPy.
    show(c, "a + b", tlv_add(c, a, b));                         // 11 22 33 14 25 36

    // The product of a [2,3] with a transposed [3,2] is [2,2].
    tlv_tensor *p = tlv_matmul(c, a, a, (tlv_matmul_opts){ .tb = 1 });
    show(c, "a a^T", p);                                        // 14 32 32 77

    // Sums over one axis or over all of them.
    show(c, "sum rows", tlv_sum(c, a, TLV_AXES(0), 0));         // 5 7 9
    show(c, "sum all", tlv_sum_all(c, a));                      // 21

    char text[80];
    printf("%-12s %s\n", "a is", tlv_describe(a, text, sizeof text));   // f32[2,3] row-major
}

/* ---- 2. a gradient --------------------------------------------------------------------------- */

static void gradient(tlv_ctx *c)
{
    // y = sum x^2 has the gradient 2 x.  TLV_WANT_GRAD: what is computed from x is remembered.
    tlv_tensor *x = tlv_from(c, TLV_SHAPE(3), (float[]){ 1, 2, 3 }, TLV_WANT_GRAD);
    tlv_tensor *y = tlv_sum_all(c, tlv_mul(c, x, x));
    printf("%-12s %g\n", "y", tlv_item(c, y));                  // 14

    // Gradients are returned, never stored in x: asking twice does not add anything up.
    const tlv_tensor *wrt[1] = { x };
    tlv_tensor *dx[1];
    if (tlv_grad(c, y, NULL, 1, wrt, dx, 0) == TLV_OK) show(c, "dy/dx", dx[0]);     // 2 4 6
}

/* ---- 3. a second derivative ------------------------------------------------------------------ */

static void second_derivative(tlv_ctx *c)
{
    // y = x^3 at 2.  With TLV_CREATE_GRAPH the gradient is a tensor with a history of its own ...
    tlv_tensor *x = tlv_from(c, TLV_SHAPE(1), (float[]){ 2 }, TLV_WANT_GRAD);
    tlv_tensor *x2 = tlv_mul(c, x, x);
    tlv_tensor *y = tlv_mul(c, x2, x);
    const tlv_tensor *wrt[1] = { x };
    tlv_tensor *first[1], *second[1], *third[1];
    tlv_grad(c, y, NULL, 1, wrt, first, TLV_CREATE_GRAPH);
    // ... so it can be differentiated again, and again.
    tlv_grad(c, first[0], NULL, 1, wrt, second, TLV_CREATE_GRAPH);
    tlv_grad(c, second[0], NULL, 1, wrt, third, 0);
    // A failed call leaves its error in the context, and the calls after it do nothing: one check.
    if (tlv_error(c)) return;
    show(c, "x^3", y);                                          // 8
    show(c, "3 x^2", first[0]);                                 // 12
    show(c, "6 x", second[0]);                                  // 12
    show(c, "6", third[0]);                                     // 6
}

/* ---- 4. scopes: where memory goes ------------------------------------------------------------ */

static void scopes(tlv_ctx *c)
{
    tlv_tensor *x = tlv_full(c, TLV_F32, TLV_SHAPE(1000000), 1);        // 4 MB
    size_t before = tlv_mem_get(c).now;

    // What an op returns belongs to the innermost open scope, and goes when that ends.
    tlv_scope s = tlv_scope_begin(c);
    tlv_tensor *h = x;
    for (int i = 0; i < 5; i++) h = tlv_add(c, h, x);                   // 5 new tensors
    size_t inside = tlv_mem_get(c).now;
    tlv_tensor *sum = tlv_scope_end_keep(c, s, tlv_sum_all(c, h));      // one is handed out

    printf("%-12s %.0f MB\n", "in the scope", (double)(inside - before) / 1e6);         // 20 MB
    printf("%-12s %.0f MB\n", "after it", (double)(tlv_mem_get(c).now - before) / 1e6); // 0 MB
    printf("%-12s %g\n", "kept", tlv_item(c, sum));                                     // 6e+06
}

/* ---- 5. errors ------------------------------------------------------------------------------- */

static void errors(tlv_ctx *c)
{
    tlv_tensor *a = tlv_zeros(c, TLV_F32, TLV_SHAPE(2, 3));
    tlv_tensor *b = tlv_zeros(c, TLV_F32, TLV_SHAPE(4, 5));
    tlv_tensor *y = tlv_relu(c, tlv_matmul(c, a, b, (tlv_matmul_opts){ 0 }));
    if (!y) printf("%-12s %s\n", tlv_status_name(tlv_error(c)), tlv_error_msg(c));
    tlv_error_clear(c);                                         // and all is well again
}

int main(void)
{
    // The context owns everything; NULL stands for the usual options.
    tlv_ctx *c = tlv_ctx_open(NULL);
    if (!c) return 1;
    tensors(c);
    gradient(c);
    second_derivative(c);
    scopes(c);
    errors(c);
    int failed = tlv_error(c) != TLV_OK;
    if (failed) fprintf(stderr, "error: %s\nhint: %s\n", tlv_error_msg(c), tlv_error_hint(c));
    tlv_ctx_close(c);                                           // gives all of it back
    return failed;
}
