/* test_grad.c -- tlv_grad: what it returns, refuses, leaves alone; checkpoints; ops of the user. */
#include <math.h>

#include "tests/support.h"
#include "autograd/autograd.h"
#include "tensor/core.h"

#define OPEN(c)                                                                                    \
    tlv_ctx *c = support_open();                                                                   \
    REQUIRE(c, "no context")

#define WRT(...) ((const tlv_tensor *[]){ __VA_ARGS__ })

static tlv_tensor *vec(tlv_ctx *c, int n, const double *v, int flags)
{
    return tlv_from_data(c, TLV_F64, tlv_shape1(n), v, flags);
}
#define VEC(c, flags, ...)                                                                         \
    vec(c, (int)(sizeof(double[]){ __VA_ARGS__ } / sizeof(double)), (double[]){ __VA_ARGS__ },     \
        flags)

/* ---- what comes back ------------------------------------------------------------------------- */

static void test_relu_gradient_is_zero_at_the_kink(void)
{
    OPEN(c);
    for (int flags = 0; flags <= TLV_CREATE_GRAPH; flags++) {
        tlv_tensor *x = VEC(c, TLV_WANT_GRAD, -1, 0, -0.0, 2), *d;
        tlv_grad(c, tlv_sum_all(c, tlv_relu(c, x)), NULL, 1, WRT(x), &d, flags);
        EXPECT_VALUES(c, d, 0, 0, 0, 0, 1);
    }
    tlv_ctx_close(c);
}

static void test_higher_orders_of_a_power(void)
{
    OPEN(c);
    tlv_tensor *x = VEC(c, TLV_WANT_GRAD, 2);
    tlv_tensor *y = tlv_mul(c, tlv_mul(c, x, x), tlv_mul(c, x, x)), *d = y;
    static const double WANT[] = { 32, 48, 48, 24 };        // 4 x^3, 12 x^2, 24 x, 24
    for (int order = 0; order < 4; order++) {
        tlv_grad(c, d, NULL, 1, WRT(x), &d, TLV_CREATE_GRAPH);
        EXPECT_VALUES(c, d, 1e-14, WANT[order]);
    }
    EXPECT_OK(c);
    tlv_tensor *none = x;
    EXPECT_STATUS(tlv_grad(c, tlv_detach(c, d), NULL, 1, WRT(x), &none, 0), TLV_ERR_NOGRAD);
    EXPECT(none == NULL, "a gradient beside an error");
    tlv_error_clear(c);
    tlv_ctx_close(c);
}

static void test_gy_weighs_the_outputs(void)
{
    OPEN(c);
    tlv_tensor *x = VEC(c, TLV_WANT_GRAD, 1, 2, 3), *gy = VEC(c, 0, 10, 0, -1), *d;
    tlv_tensor *y = tlv_mul(c, x, x);
    tlv_grad(c, y, gy, 1, WRT(x), &d, 0);
    EXPECT_VALUES(c, d, 1e-15, 20, 0, -6);
    EXPECT_VALUES(c, gy, 0, 10, 0, -1);
    tlv_ctx_close(c);
}

static void test_gy_may_want_a_gradient_itself(void)
{
    OPEN(c);
    tlv_tensor *x = VEC(c, TLV_WANT_GRAD, 1, 2, 3), *u = VEC(c, TLV_WANT_GRAD, 1, 1, 1), *d, *dd;
    tlv_grad(c, tlv_mul(c, x, x), u, 1, WRT(x), &d, TLV_CREATE_GRAPH);      // d = 2 u x
    tlv_grad(c, d, VEC(c, 0, 1, 10, 100), 1, WRT(u), &dd, 0);         // a product with the Jacobian
    EXPECT_VALUES(c, dd, 1e-15, 2, 40, 600);
    tlv_ctx_close(c);
}

static void test_gradient_in_y_itself_and_in_intermediates(void)
{
    OPEN(c);
    tlv_tensor *x = VEC(c, TLV_WANT_GRAD, 3), *h = tlv_affine(c, x, 2, 0);
    tlv_tensor *y = tlv_mul(c, h, h), *d[4];
    tlv_grad(c, y, NULL, 4, WRT(y, h, x, h), d, 0);
    EXPECT_VALUES(c, d[0], 0, 1);
    EXPECT_VALUES(c, d[1], 0, 12);
    EXPECT_VALUES(c, d[2], 0, 24);
    EXPECT(d[3] == d[1], "a target listed twice has two gradients");
    tlv_tensor *gy = VEC(c, 0, 5), *own;
    tlv_grad(c, x, gy, 1, WRT(x), &own, 0);                 // a leaf in itself
    EXPECT_VALUES(c, own, 0, 5);
    EXPECT_VALUES(c, gy, 0, 5);
    EXPECT_OK(c);
    tlv_ctx_close(c);
}

static void test_unreached_targets_are_null_or_zeros(void)
{
    OPEN(c);
    tlv_tensor *x = VEC(c, TLV_WANT_GRAD, 1, 2), *other = VEC(c, TLV_WANT_GRAD, 5, 6, 7), *d[2];
    tlv_tensor *y = tlv_sum_all(c, tlv_exp(c, x));
    EXPECT_STATUS(tlv_grad(c, y, NULL, 2, WRT(x, other), d, 0), TLV_OK);
    EXPECT(d[0] && !d[1], "want a gradient and NULL");
    EXPECT_STATUS(tlv_grad(c, y, NULL, 2, WRT(other, x), d, TLV_ZEROS), TLV_OK);
    EXPECT_VALUES(c, d[0], 0, 0, 0, 0);
    EXPECT_STATUS(tlv_grad(c, y, NULL, 1, WRT(other), d, TLV_ZEROS), TLV_ERR_NOGRAD);
    EXPECT_ERROR(c, TLV_ERR_NOGRAD, "depends on none of the 1 targets");
    tlv_ctx_close(c);
}

static void test_what_tlv_grad_refuses(void)
{
    OPEN(c);
    tlv_scope s = tlv_scope_begin(c);
    tlv_tensor *x = VEC(c, TLV_WANT_GRAD, 1, 2), *constant = VEC(c, 0, 1, 2);
    tlv_tensor *y = tlv_exp(c, x), *d = x;
    s = tlv_scope_begin(c);
    tlv_grad(c, y, NULL, 1, WRT(x), &d, 0);
    EXPECT(d == NULL, "a gradient beside an error");
    EXPECT_ERROR(c, TLV_ERR_SHAPE, "y is [2] and gy is NULL");
    tlv_grad(c, y, tlv_scalar(c, TLV_F64, 1), 1, WRT(x), &d, 0);
    EXPECT_ERROR(c, TLV_ERR_SHAPE, "y is [2] but gy is []");
    tlv_grad(c, y, tlv_zeros(c, TLV_F32, TLV_SHAPE(2)), 1, WRT(x), &d, 0);
    EXPECT_ERROR(c, TLV_ERR_SHAPE, "gy");
    tlv_grad(c, tlv_sum_all(c, y), NULL, 1, WRT(constant), &d, 0);
    EXPECT_ERROR(c, TLV_ERR_NOGRAD, "target 0, [2], is neither a leaf");
    tlv_grad(c, tlv_sum_all(c, tlv_detach(c, y)), NULL, 1, WRT(x), &d, 0);
    EXPECT_ERROR(c, TLV_ERR_NOGRAD, "depends on none");
    tlv_grad(c, NULL, NULL, 1, WRT(x), &d, 0);
    EXPECT_ERROR(c, TLV_ERR_ARG, "NULL");
    tlv_scope_end(c, s);
    tlv_ctx_close(c);
}

static void test_a_product_of_a_tensor_with_itself(void)
{
    OPEN(c);
    tlv_tensor *x = VEC(c, TLV_WANT_GRAD, 3, -2), *d, *dd;
    for (int flags = 0; flags <= TLV_CREATE_GRAPH; flags++) {
        tlv_grad(c, tlv_sum_all(c, tlv_mul(c, x, x)), NULL, 1, WRT(x), &d, flags);
        EXPECT_VALUES(c, d, 0, 6, -4);
    }
    tlv_grad(c, tlv_sum_all(c, tlv_mul(c, d, d)), NULL, 1, WRT(x), &dd, 0);     // d(4 x^2)/dx
    EXPECT_VALUES(c, dd, 0, 24, -16);
    tlv_grad(c, tlv_sum_all(c, tlv_div(c, x, x)), NULL, 1, WRT(x), &d, TLV_ZEROS);
    EXPECT_VALUES(c, d, 1e-15, 0, 0);
    tlv_ctx_close(c);
}

/* Sums of gradients happen in place only where nobody can see it. */
static void test_fan_out_changes_no_tensor_of_the_user(void)
{
    OPEN(c);
    tlv_tensor *x = VEC(c, TLV_WANT_GRAD, 1, 2), *z = VEC(c, TLV_WANT_GRAD, 4, 5), *d[3];
    tlv_tensor *gy = VEC(c, 0, 1, 1), *h = tlv_add(c, x, z), *y = h;
    // d/dx: 1+3 (1+2)
    for (int i = 0; i < 3; i++) y = tlv_add(c, tlv_add(c, y, x), tlv_add(c, h, h));
    for (int flags = 0; flags <= TLV_CREATE_GRAPH; flags++) {
        tlv_grad(c, y, gy, 3, WRT(x, z, h), d, flags);
        EXPECT_VALUES(c, d[0], 0, 10, 10);
        EXPECT_VALUES(c, d[1], 0, 7, 7);
        EXPECT_VALUES(c, d[2], 0, 7, 7);
        EXPECT_VALUES(c, gy, 0, 1, 1);
        EXPECT_VALUES(c, x, 0, 1, 2);
        EXPECT_VALUES(c, z, 0, 4, 5);
        EXPECT_VALUES(c, h, 0, 5, 7);
    }
    // Views of gy travel to both; the second sum must not write through the first.
    tlv_tensor *g2 = tlv_full(c, TLV_F64, TLV_SHAPE(2, 2), 1);
    tlv_tensor *a = tlv_leaf(c, tlv_zeros(c, TLV_F64, TLV_SHAPE(4)));
    tlv_tensor *b = tlv_reshape(c, a, TLV_SHAPE(2, 2));
    y = tlv_add(c, tlv_add(c, b, b), tlv_permute(c, b, TLV_AXES(1, 0)));
    tlv_grad(c, y, g2, 1, WRT(a), d, 0);
    EXPECT_VALUES(c, d[0], 0, 3, 3, 3, 3);
    EXPECT_VALUES(c, g2, 0, 1, 1, 1, 1);
    EXPECT_OK(c);
    tlv_ctx_close(c);
}

static void test_gradient_of_an_image_has_its_memory_order(void)
{
    OPEN(c);
    double v[24];
    support_uniform(v, 24, 1, -1, 1);
    tlv_shape s = tlv_shape4(1, 2, 3, 4);
    for (int order = 0; order <= SUPPORT_CHANNELS_LAST; order++) {
        tlv_tensor *x = support_tensor(c, TLV_F64, s, v, TLV_WANT_GRAD, order);
        tlv_tensor *w = support_tensor(c, TLV_F64, s, v, 0,
                                       order == 0 ? SUPPORT_CHANNELS_LAST : SUPPORT_ROW_MAJOR);
        tlv_tensor *d;
        tlv_grad(c, tlv_sum_all(c, tlv_mul(c, tlv_to_order(c, x, TLV_ROW_MAJOR), w)), NULL, 1,
                 WRT(x), &d, 0);
        REQUIRE(d, "%s", tlv_error_msg(c));
        EXPECT(order ? tlvi_is_channels_last(d) : tlvi_is_row_major(d), "order %d", order);
    }
    tlv_ctx_close(c);
}

/* ---- the graph stays, or is used up ---------------------------------------------------------- */

static void test_the_graph_stays_and_nothing_is_added_to_it(void)
{
    OPEN(c);
    tlv_tensor *x = VEC(c, TLV_WANT_GRAD, 1, 2), *d[3];
    tlv_tensor *y = tlv_sum_all(c, tlv_exp(c, tlv_mul(c, x, x)));
    int64_t nodes = tlv_mem_get(c).tape_nodes;
    for (int i = 0; i < 3; i++) {
        tlv_grad(c, y, NULL, 1, WRT(x), &d[i], 0);
        EXPECT_INT(tlv_mem_get(c).tape_nodes, nodes);
        EXPECT(!tlv_wants_grad(d[i]), "a gradient has history without TLV_CREATE_GRAPH");
    }
    EXPECT_VALUES(c, d[0], 1e-12, 2 * exp(1), 4 * exp(4));
    EXPECT_VALUES(c, d[2], 1e-12, 2 * exp(1), 4 * exp(4));
    tlv_grad(c, y, NULL, 1, WRT(x), &d[0], TLV_CREATE_GRAPH);
    EXPECT(tlv_wants_grad(d[0]) && tlv_mem_get(c).tape_nodes > nodes, "no graph created");
    tlv_ctx_close(c);
}

static void test_consume_gives_buffers_back_once(void)
{
    OPEN(c);
    tlv_tensor *x = tlv_leaf(c, tlv_full(c, TLV_F32, TLV_SHAPE(1000), 0.1)), *d = NULL;
    tlv_scope s = tlv_scope_begin(c);
    tlv_tensor *h = x;
    for (int i = 0; i < 10; i++) h = tlv_exp(c, tlv_affine(c, h, 0.1, 0));
    tlv_tensor *y = tlv_scope_end_keep(c, s, tlv_sum_all(c, h));
    size_t full = tlv_mem_get(c).now;
    tlv_grad(c, y, NULL, 1, WRT(x), &d, TLV_CONSUME);
    EXPECT(d, "%s", tlv_error_msg(c));
    EXPECT(tlv_mem_get(c).now + 8 * 4000 < full, "%zu bytes, had %zu", tlv_mem_get(c).now, full);
    EXPECT_STATUS(tlv_grad(c, y, NULL, 1, WRT(x), &d, 0), TLV_ERR_CONSUMED);
    EXPECT_ERROR(c, TLV_ERR_CONSUMED, "consumed by an earlier tlv_grad");
    EXPECT(d == NULL, "a gradient beside an error");
    tlv_ctx_close(c);
}

static void test_a_changed_buffer_is_noticed_if_a_gradient_reads_it(void)
{
    OPEN(c);
    tlv_tensor *x = VEC(c, TLV_WANT_GRAD, 1, 2), *w = VEC(c, TLV_WANT_GRAD, 3, 4), *d = NULL;
    tlv_scope s = tlv_scope_begin(c);
    tlv_tensor *y = tlv_sum_all(c, tlv_mul(c, x, w));
    w->buf->version++;                                      // as an optimizer's step does
    EXPECT_STATUS(tlv_grad(c, y, NULL, 1, WRT(x), &d, 0), TLV_ERR_VERSION);
    EXPECT(d == NULL, "a gradient beside an error");
    tlv_scope_end(c, s);
    EXPECT_ERROR(c, TLV_ERR_VERSION, "MUL: [2], which its gradient reads, was changed");
    y = tlv_sum_all(c, tlv_add(c, x, w));
    w->buf->version++;
    EXPECT_STATUS(tlv_grad(c, y, NULL, 1, WRT(x), &d, 0), TLV_OK);      // nothing reads w here
    tlv_tensor *view = tlv_reshape(c, w, TLV_SHAPE(2, 1));
    y = tlv_sum_all(c, tlv_mul(c, view, view));
    w->buf->version++;                                  // the version is the buffer's: views see it
    EXPECT_STATUS(tlv_grad(c, y, NULL, 1, WRT(w), &d, 0), TLV_ERR_VERSION);
    tlv_error_clear(c);
    tlv_ctx_close(c);
}

static void test_an_error_in_the_sweep_leaves_no_trace(void)
{
    OPEN(c);
    tlv_tensor *x = VEC(c, TLV_WANT_GRAD, 1, 2), *w = VEC(c, TLV_WANT_GRAD, 3, 4);
    tlv_tensor *gy = VEC(c, 0, 1, 1), *d[2];
    tlv_tensor *good = tlv_exp(c, x);
    tlv_tensor *y = tlv_add(c, tlv_exp(c, tlv_mul(c, x, w)), good);
    w->buf->version++;
    tlv_mem_stats before = tlv_mem_get(c);
    for (int flags = 0; flags <= TLV_CREATE_GRAPH; flags++) {
        EXPECT_STATUS(tlv_grad(c, y, gy, 2, WRT(x, w), d, flags), TLV_ERR_VERSION);
        EXPECT(!d[0] && !d[1], "a gradient beside an error");
        EXPECT_INT(tlv_mem_get(c).tape_nodes, before.tape_nodes);
        EXPECT_INT(tlv_mem_get(c).live_tensors, before.live_tensors);
        EXPECT_INT(c->depth, 0);
        c->err = TLV_OK;                                    // tlv_error_clear would cut the graph
    }
    tlv_grad(c, tlv_sum_all(c, good), NULL, 1, WRT(x), d, 0);
    EXPECT_VALUES(c, d[0], 1e-12, exp(1), exp(2));
    tlv_ctx_close(c);
}

/* Beyond 63 inputs one bit speaks for all: the gradient of those is delivered to the targets
 * only. */
static void test_an_op_of_100_inputs(void)
{
    OPEN(c);
    const tlv_tensor *x[100];
    tlv_tensor *d[4], *w = tlv_arange(c, TLV_F64, 0, 100, 1);
    for (int i = 0; i < 100; i++) x[i] = VEC(c, TLV_WANT_GRAD, i);
    for (int flags = 0; flags <= TLV_CREATE_GRAPH; flags++) {
        tlv_tensor *y = tlv_sum_all(c, tlv_mul(c, tlv_cat(c, 100, x, 0), w));
        EXPECT_STATUS(tlv_grad(c, y, NULL, 4, WRT(x[0], x[62], x[63], x[97]), d, flags), TLV_OK);
        EXPECT_VALUES(c, d[0], 0, 0);
        EXPECT_VALUES(c, d[1], 0, 62);
        EXPECT_VALUES(c, d[2], 0, 63);
        EXPECT_VALUES(c, d[3], 0, 97);
        y = tlv_sum_all(c, tlv_mul(c, tlv_cat(c, 100, x, 0), w));
        EXPECT_STATUS(tlv_grad(c, y, NULL, 1, WRT(x[80]), d, flags), TLV_OK);
        EXPECT_VALUES(c, d[0], 0, 80);
    }
    tlv_ctx_close(c);
}

static void test_a_chain_of_100000_ops(void)
{
    OPEN(c);
    tlv_tensor *x = VEC(c, TLV_WANT_GRAD, 1), *d;
    tlv_scope s = tlv_scope_begin(c);
    tlv_tensor *h = x;
    for (int i = 0; i < 100000; i++) h = tlv_add(c, h, x);
    h = tlv_scope_end_keep(c, s, h);
    tlv_grad(c, h, NULL, 1, WRT(x), &d, 0);
    EXPECT_VALUES(c, d, 0, 100001);
    EXPECT_INT(tlv_mem_get(c).tape_nodes, 100000);
    EXPECT_OK(c);
    tlv_ctx_close(c);
}

/* ---- ops of the user ------------------------------------------------------------------------- */

/* y = x^3 elementwise, its gradient by an inner tlv_grad through ops: no formula is written
 * down. */
static tlv_tensor *cube(tlv_ctx *c, const tlv_tensor *x)
{
    return tlv_mul(c, tlv_mul(c, x, x), x);
}
static tlv_tensor *cube_forward(tlv_ctx *c, const tlv_custom_call *k) { return cube(c, k->in[0]); }
static void cube_vjp(tlv_ctx *c, const tlv_custom_call *k, tlv_tensor **d)
{
    tlv_scope s = tlv_scope_begin_with(c, TLV_RECORD);
    int create = tlv_wants_grad(k->g) ? TLV_CREATE_GRAPH : 0;
    tlv_tensor *x = create ? (tlv_tensor *)k->in[0] : tlv_leaf(c, k->in[0]);
    tlv_grad(c, cube(c, x), k->g, 1, WRT(x), &d[0], create);
    tlv_scope_end_keep(c, s, d[0]);
}
static const tlv_custom_def CUBE = { "cube", cube_forward, cube_vjp, 0 };

static void test_tlv_grad_inside_a_gradient(void)
{
    OPEN(c);
    tlv_tensor *x = VEC(c, TLV_WANT_GRAD, 2, -1), *other = VEC(c, TLV_WANT_GRAD, 1, 1), *d[3], *dd;
    // x is the third target of the outer call and the first of the inner one.
    tlv_tensor *y = tlv_sum_all(c, tlv_mul(c, tlv_custom(c, &CUBE, 1, WRT(x), NULL), other));
    for (int k = 0; k < 2; k++) {
        tlv_grad(c, y, NULL, 3, WRT(other, y, x), d, 0);
        EXPECT_VALUES(c, d[0], 1e-14, 8, -1);
        EXPECT_VALUES(c, d[1], 1e-14, 1);
        EXPECT_VALUES(c, d[2], 1e-14, 12, 3);
    }
    tlv_tensor *u = VEC(c, TLV_WANT_GRAD, 1, 1);
    tlv_tensor *cubed = tlv_custom(c, &CUBE, 1, WRT(x), NULL);
    tlv_grad(c, cubed, u, 1, WRT(x), d, TLV_CREATE_GRAPH);
    tlv_grad(c, tlv_sum_all(c, d[0]), NULL, 1, WRT(x), &dd, 0);
    EXPECT_VALUES(c, dd, 1e-14, 12, -6);
    EXPECT_OK(c);
    tlv_ctx_close(c);
}

/* y = a b, whose gradient uses both inputs while it asks for one of them only. */
static tlv_tensor *pair_forward(tlv_ctx *c, const tlv_custom_call *k)
{
    return tlv_mul(c, k->in[0], k->in[1]);
}
static void pair_vjp(tlv_ctx *c, const tlv_custom_call *k, tlv_tensor **d)
{
    for (int i = 0; i < 2; i++) {
        if (!k->wants[i]) continue;
        tlv_scope s = tlv_scope_begin_with(c, TLV_RECORD);
        tlv_tensor *leaf = tlv_leaf(c, k->in[i]);
        tlv_tensor *y = tlv_mul(c, i ? k->in[0] : leaf, i ? leaf : k->in[1]);
        tlv_grad(c, y, k->g, 1, WRT(leaf), &d[i], 0);
        tlv_scope_end_keep(c, s, d[i]);
    }
}

static void test_inner_targets_are_not_mixed_up_with_outer_ones(void)
{
    static const tlv_custom_def PAIR = { "pair", pair_forward, pair_vjp, 0 };
    OPEN(c);
    tlv_tensor *x = VEC(c, TLV_WANT_GRAD, 2, -1), *w = VEC(c, TLV_WANT_GRAD, 5, 7), *d[2];
    tlv_tensor *y = tlv_sum_all(c, tlv_custom(c, &PAIR, 2, WRT(x, w), NULL));
    EXPECT_STATUS(tlv_grad(c, y, NULL, 2, WRT(x, w), d, 0), TLV_OK);
    EXPECT_VALUES(c, d[0], 0, 5, 7);
    EXPECT_VALUES(c, d[1], 0, 2, -1);
    tlv_ctx_close(c);
}

/* A sum of 16 inputs, weighted by attributes: more slots than the sweep has on its stack. */
static tlv_tensor *many_forward(tlv_ctx *c, const tlv_custom_call *k)
{
    const double *w = k->attrs;
    tlv_tensor *y = tlv_affine(c, k->in[0], w[0], 0);
    for (int i = 1; i < k->n_in; i++) y = tlv_add(c, y, tlv_affine(c, k->in[i], w[i], 0));
    return y;
}
static void many_vjp(tlv_ctx *c, const tlv_custom_call *k, tlv_tensor **d)
{
    const double *w = k->attrs;
    for (int i = 0; i < k->n_in; i++)
        if (k->wants[i]) d[i] = tlv_affine(c, k->g, w[i], 0);
}

static void test_custom_with_16_inputs_and_attributes(void)
{
    static const tlv_custom_def MANY = { "many", many_forward, many_vjp, 16 * sizeof(double) };
    OPEN(c);
    tlv_tensor *x[17], *d[16];
    double w[16];
    for (int i = 0; i < 17; i++) x[i] = VEC(c, TLV_WANT_GRAD, i, 1);
    for (int i = 0; i < 16; i++) w[i] = i * 0.5 - 3;
    const tlv_tensor *const *in = (const tlv_tensor *const *)x;
    tlv_tensor *y = tlv_custom(c, &MANY, 16, in, w);
    w[3] = 1000;                                            // the op has its own copy
    tlv_grad(c, tlv_sum_all(c, y), NULL, 16, in, d, 0);
    for (int i = 0; i < 16; i++) EXPECT_VALUES(c, d[i], 1e-15, i * 0.5 - 3, i * 0.5 - 3);
    EXPECT(tlv_custom(c, &MANY, 17, in, w) == NULL, "17 inputs were taken");
    EXPECT_ERROR(c, TLV_ERR_ARG, "many with 17 inputs");
    tlv_ctx_close(c);
}

static tlv_tensor *echo_forward(tlv_ctx *c, const tlv_custom_call *k)
{
    (void)c;
    return (tlv_tensor *)k->in[0];
}
static tlv_tensor *silent_forward(tlv_ctx *c, const tlv_custom_call *k)
{
    (void)c, (void)k;
    return NULL;
}
static void complaining_vjp(tlv_ctx *c, const tlv_custom_call *k, tlv_tensor **d)
{
    (void)k, (void)d;
    tlv_fail(c, TLV_ERR_USER, "wait for version 2", "echo has no gradient yet");
}
static void wrong_shape_vjp(tlv_ctx *c, const tlv_custom_call *k, tlv_tensor **d)
{
    (void)k;
    d[0] = tlv_zeros(c, TLV_F64, TLV_SHAPE(7));
}

static void test_custom_reports_what_its_callbacks_do_wrong(void)
{
    static const tlv_custom_def ECHO = { "echo", echo_forward, complaining_vjp, 0 };
    static const tlv_custom_def SILENT = { "silent", silent_forward, complaining_vjp, 0 };
    static const tlv_custom_def WRONG = { "wrong", echo_forward, wrong_shape_vjp, 0 };
    OPEN(c);
    tlv_tensor *x = VEC(c, TLV_WANT_GRAD, 1, 2), *d = NULL;
    tlv_tensor *y = tlv_custom(c, &ECHO, 1, WRT(x), NULL);
    EXPECT(y && y != x, "an input handed back needs a header of its own");
    EXPECT_VALUES(c, y, 0, 1, 2);
    EXPECT_STATUS(tlv_grad(c, tlv_sum_all(c, y), NULL, 1, WRT(x), &d, 0), TLV_ERR_USER);
    EXPECT_STR(tlv_error_hint(c), "wait for version 2");
    EXPECT_ERROR(c, TLV_ERR_USER, "echo has no gradient yet");
    EXPECT(tlv_custom(c, &SILENT, 1, WRT(x), NULL) == NULL, "NULL came through");
    EXPECT_ERROR(c, TLV_ERR_USER, "silent: forward returned NULL");
    y = tlv_custom(c, &WRONG, 1, WRT(x), NULL);
    EXPECT_STATUS(tlv_grad(c, tlv_sum_all(c, y), NULL, 1, WRT(x), &d, 0), TLV_ERR_SHAPE);
    EXPECT_ERROR(c, TLV_ERR_SHAPE, "a gradient is f64[7] but its tensor is f64[2]");
    EXPECT(tlv_custom(c, &(tlv_custom_def){ .name = "half" }, 1, WRT(x), NULL) == NULL,
           "no callbacks");
    EXPECT_ERROR(c, TLV_ERR_ARG, "half");
    tlv_ctx_close(c);
}

/* ---- meta-learning --------------------------------------------------------------------------- */

enum { PARAMS = 4, STEPS = 2 };
static const tlv_shape PARAM_SHAPE[PARAMS] = {
    { 2, { 3, 5 } }, { 1, { 5 } }, { 2, { 5, 2 } }, { 1, { 2 } }
};

static tlv_tensor *mlp_loss(tlv_ctx *c, tlv_tensor *const *p, const tlv_tensor *x,
                            const tlv_tensor *y)
{
    tlv_tensor *h = tlv_tanh(c, tlv_add(c, tlv_matmul(c, x, p[0], (tlv_matmul_opts){ 0 }), p[1]));
    tlv_tensor *e = tlv_sub(c, tlv_add(c, tlv_matmul(c, h, p[2], (tlv_matmul_opts){ 0 }), p[3]), y);
    return tlv_mean_all(c, tlv_mul(c, e, e));
}

static tlv_tensor *random_of(tlv_ctx *c, tlv_shape s, uint64_t seed, int flags)
{
    double v[64];
    support_uniform(v, tlvi_shape_numel(s), seed, -1, 1);
    return support_tensor(c, TLV_F64, s, v, flags, SUPPORT_ROW_MAJOR);
}

/* Two steps of gradient descent on the support set, then the query loss (Finn et al. 2017, alg. 2).
 * Each step is a checkpoint if asked for. */
static tlv_tensor *maml_loss(tlv_ctx *c, tlv_tensor *const *start, int checkpoint)
{
    tlv_tensor *xs = random_of(c, TLV_SHAPE(6, 3), 1, 0), *ys = random_of(c, TLV_SHAPE(6, 2), 2, 0);
    tlv_tensor *xq = random_of(c, TLV_SHAPE(4, 3), 3, 0), *yq = random_of(c, TLV_SHAPE(4, 2), 4, 0);
    tlv_tensor *p[PARAMS], *g[PARAMS];
    for (int i = 0; i < PARAMS; i++) p[i] = start[i];
    for (int step = 0; step < STEPS; step++) {
        tlv_scope s = tlv_scope_begin_with(c, checkpoint ? TLV_CHECKPOINT : 0);
        tlv_tensor *loss = mlp_loss(c, p, xs, ys);
        tlv_grad(c, loss, NULL, PARAMS, (const tlv_tensor *const *)p, g, TLV_CREATE_GRAPH);
        for (int i = 0; i < PARAMS; i++) p[i] = tlv_sub(c, p[i], tlv_affine(c, g[i], 0.4, 0));
        tlv_scope_end_keep_n(c, s, PARAMS, p);
    }
    return mlp_loss(c, p, xq, yq);
}

static void test_maml_gradient_against_differences(void)
{
    OPEN(c);
    tlv_tensor *p[PARAMS], *d[PARAMS], *again[PARAMS];
    for (int i = 0; i < PARAMS; i++)
        p[i] = random_of(c, PARAM_SHAPE[i], 10 + (uint64_t)i, TLV_WANT_GRAD);
    for (int checkpoint = 0; checkpoint < 2; checkpoint++)
        tlv_grad(c, maml_loss(c, p, checkpoint), NULL, PARAMS, (const tlv_tensor *const *)p,
                 checkpoint ? again : d, 0);
    EXPECT_OK(c);
    double checked = 0;
    for (int i = 0; i < PARAMS; i++) {
        double got[64], replayed[64];
        int64_t n = tlv_numel(p[i]);
        if (!support_read(c, d[i], got, n) || !support_read(c, again[i], replayed, n)) break;
        for (int64_t k = 0; k < n; k++) {
            double h = 1e-4, f[2], *at = (double *)tlvi_ptr(p[i]) + k, was = *at;
            for (int side = 0; side < 2; side++) {
                tlv_scope s = tlv_scope_begin(c);
                *at = was + (side ? h : -h);
                f[side] = tlv_item(c, maml_loss(c, p, 0));
                tlv_scope_end(c, s);
            }
            *at = was;
            EXPECT_CLOSE(got[k], (f[1] - f[0]) / (2 * h), 1e-6, 1e-7);
            EXPECT(replayed[k] == got[k], "replayed %.17g, plain %.17g", replayed[k], got[k]);
            checked += fabs(got[k]);
        }
    }
    EXPECT(checked > 0.1, "the gradient is %g: the check proves nothing", checked);
    tlv_ctx_close(c);
}

/* First order only: without TLV_CREATE_GRAPH the inner gradient is a constant. */
static void test_first_order_meta_gradient_differs(void)
{
    OPEN(c);
    tlv_tensor *w = VEC(c, TLV_WANT_GRAD, 2), *g, *d;
    for (int flags = 0; flags <= TLV_CREATE_GRAPH; flags++) {
        tlv_grad(c, tlv_mul(c, tlv_mul(c, w, w), w), NULL, 1, WRT(w), &g, flags);   // 3 w^2 = 12
        tlv_tensor *fast = tlv_sub(c, w, tlv_affine(c, g, 0.1, 0));              // w' = w - 0.3 w^2
        tlv_grad(c, tlv_mul(c, fast, fast), NULL, 1, WRT(w), &d, 0);             // 2 w' (1 - 0.6 w)
        EXPECT_VALUES(c, d, 1e-14, flags ? 2 * 0.8 * -0.2 : 2 * 0.8);
    }
    tlv_ctx_close(c);
}

TEST_MAIN(T(test_relu_gradient_is_zero_at_the_kink), T(test_higher_orders_of_a_power),
          T(test_gy_weighs_the_outputs), T(test_gy_may_want_a_gradient_itself),
          T(test_gradient_in_y_itself_and_in_intermediates),
          T(test_unreached_targets_are_null_or_zeros), T(test_what_tlv_grad_refuses),
          T(test_a_product_of_a_tensor_with_itself), T(test_fan_out_changes_no_tensor_of_the_user),
          T(test_gradient_of_an_image_has_its_memory_order),
          T(test_the_graph_stays_and_nothing_is_added_to_it),
          T(test_consume_gives_buffers_back_once),
          T(test_a_changed_buffer_is_noticed_if_a_gradient_reads_it),
          T(test_an_error_in_the_sweep_leaves_no_trace), T(test_an_op_of_100_inputs),
          T(test_a_chain_of_100000_ops), T(test_tlv_grad_inside_a_gradient),
          T(test_inner_targets_are_not_mixed_up_with_outer_ones),
          T(test_custom_with_16_inputs_and_attributes),
          T(test_custom_reports_what_its_callbacks_do_wrong),
          T(test_maml_gradient_against_differences), T(test_first_order_meta_gradient_differs))
