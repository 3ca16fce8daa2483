/* test_params.c -- parameter sets: patterns, freezing, copies, edits, gradients, the inner step of
 * MAML, borrowing by tasks, and what is refused. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "optim/optim.h"
#include "tests/support.h"

/* body.weight [2,3], body.bias [2], running_mean [2] (a buffer), head.weight [1,2] */
typedef struct net { tlv_linear_layer body, head; int mean; } net;

static tlv_params *net_init(tlv_ctx *c, net *m)
{
    tlv_build *b = tlv_build_begin(c, TLV_F32);
    m->body = tlv_linear_init(b, "body", 3, 2, 1);
    m->mean = tlv_build_buffer(b, "running_mean", TLV_SHAPE(2), tlv_init_ones());
    m->head = tlv_linear_init(b, "head", 2, 1, 0);
    return tlv_build_end(b);
}

static tlv_tensor *loss_of(tlv_ctx *c, const net *m, const tlv_params *p)
{
    tlv_run r = { .c = c, .params = p };
    tlv_tensor *x = tlv_from(c, TLV_SHAPE(2, 3), (float[]){ 1, -2, 3, 0.5f, 1, -1 }, 0);
    tlv_tensor *h = tlv_linear_fwd(&r, &m->body, x, TLV_ACT_TANH);
    return tlv_mean_all(c, tlv_square(c, tlv_linear_fwd(&r, &m->head, h, TLV_ACT_NONE)));
}

static float first(tlv_ctx *c, const tlv_tensor *t)
{
    double v[16] = { 0 };
    support_read(c, t, v, tlv_numel(t));
    return (float)v[0];
}

#define OPEN(c, m, p)                                                                              \
    tlv_ctx *c = support_open();                                                                   \
    net m;                                                                                         \
    tlv_params *p = net_init(c, &m);                                                               \
    REQUIRE(p, "%s", tlv_error_msg(c))

#define CLOSE(c, p)                                                                                \
    do {                                                                                           \
        EXPECT_OK(c);                                                                              \
        tlv_params_close(p);                                                                       \
        tlv_ctx_close(c);                                                                          \
    } while (0)

/* ---- names ----------------------------------------------------------------------------------- */

static void test_patterns(void)
{
    static const struct { const char *pattern, *name; int match;
    } CASES[] = {
        { "*", "a.b", 1 },
        { "*", "", 1 },
        { "", "a", 0 },
        { "a.b", "a.b", 1 },
        { "a.b", "a.bc", 0 },
        { "a.b", "a", 0 },
        { "a.*", "a.b.c", 1 },
        { "a.*", "ab", 0 },
        { "*.bias", "x.y.bias", 1 },
        { "*.bias", "bias", 0 },
        { "*.bias", "x.bias2", 0 },
        { "layer*.conv1.*", "layer3.0.conv1.weight", 1 },
        { "a,b", "b", 1 },
        { "a,b", "a,b", 0 },
        { "head.*,*.bias", "x.bias", 1 },
        { "head.*,*.bias", "x", 0 },
        { "*a*a*", "banana", 1 },
        { "*a*a*b", "banana", 0 },
        { "a**b", "ab", 1 },
        { NULL, "a", 0 },
    };
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++)
        EXPECT(tlv_match(CASES[i].pattern, CASES[i].name) == CASES[i].match, "'%s' against '%s'",
               CASES[i].pattern ? CASES[i].pattern : "NULL", CASES[i].name);
}

static void test_names_slots_and_counts(void)
{
    OPEN(c, m, p);
    EXPECT_INT(tlv_params_count(p), 4);
    EXPECT_STR(tlv_params_name(p, 0), "body.weight");
    EXPECT_STR(tlv_params_name(p, m.head.w), "head.weight");
    EXPECT_STR(tlv_params_name(p, 4), "");
    EXPECT_INT(tlv_params_find(p, "running_mean"), m.mean);
    EXPECT_INT(tlv_params_find(p, "running"), -1);
    EXPECT(tlv_params_is_buffer(p, m.mean) && !tlv_params_is_buffer(p, 0), "what is a buffer");
    EXPECT_INT(tlv_params_numel(p, 0), 6 + 2 + 2);
    EXPECT(!tlv_wants_grad(tlv_params_get(p, m.mean)) && tlv_wants_grad(tlv_params_get(p, 0)),
           "wants grad");
    EXPECT(tlv_params_get(p, -1) == NULL && tlv_params_get(p, 4) == NULL, "slots out of range");
    CLOSE(c, p);
}

static void test_a_name_may_stand_once(void)
{
    tlv_ctx *c = support_open();
    tlv_build *b = tlv_build_begin(c, TLV_F32);
    tlv_build_param(b, "w", TLV_SHAPE(2), tlv_init_zeros());
    tlv_build_param(b, "w", TLV_SHAPE(3), tlv_init_zeros());
    EXPECT(tlv_build_end(b) == NULL, "a set with one name twice");
    EXPECT_ERROR(c, TLV_ERR_NAME, "w");
    tlv_ctx_close(c);
}

/* ---- freezing -------------------------------------------------------------------------------- */

static void test_a_frozen_parameter_has_no_gradient(void)
{
    OPEN(c, m, p);
    tlv_scope s = tlv_scope_begin(c);
    tlv_tensor *loss = loss_of(c, &m, p);
    int64_t whole = tlv_mem_get(c).tape_nodes;
    tlv_params *g = tlv_params_grad(c, loss, p, 0);
    for (int i = 0; i < 4; i++)
        EXPECT((tlv_params_get(g, i) != NULL) == (i != m.mean), "%s", tlv_params_name(p, i));
    EXPECT_INT(tlv_params_freeze(p, "body.*"), 2);
    EXPECT(tlv_params_is_frozen(p, 0) && !tlv_params_is_frozen(p, m.head.w), "which are frozen");
    EXPECT_INT(tlv_params_numel(p, 1), 2);
    int64_t nodes = tlv_mem_get(c).tape_nodes;
    loss = loss_of(c, &m, p);
    nodes = tlv_mem_get(c).tape_nodes - nodes;              // nothing before the head is recorded
    EXPECT(nodes > 0 && nodes < whole, "%lld nodes, %lld when nothing is frozen", (long long)nodes,
           (long long)whole);
    g = tlv_params_grad(c, loss, p, 0);
    EXPECT(g && !tlv_params_get(g, 0) && !tlv_params_get(g, 1) && tlv_params_get(g, m.head.w), "%s",
           tlv_error_msg(c));
    EXPECT_INT(tlv_params_unfreeze(p, "*.weight"), 2);
    g = tlv_params_grad(c, loss_of(c, &m, p), p, 0);
    EXPECT(g && tlv_params_get(g, 0) && !tlv_params_get(g, 1), "only the bias is still frozen");
    EXPECT_INT(tlv_params_freeze(p, "nothing.*"), 0);
    tlv_params_freeze(p, "*");
    EXPECT(tlv_params_grad(c, loss_of(c, &m, p), p, 0) == NULL, "a gradient of nothing");
    EXPECT_ERROR(c, TLV_ERR_NOGRAD, "trainable");
    tlv_scope_end(c, s);
    CLOSE(c, p);
}

/* ---- copies ---------------------------------------------------------------------------------- */

static void test_clone_zeros_copy_set(void)
{
    OPEN(c, m, p);
    tlv_params_freeze(p, "body.bias");
    tlv_params *q = tlv_params_clone(c, p), *z = tlv_params_zeros(c, p);
    REQUIRE(q && z, "%s", tlv_error_msg(c));
    float was = first(c, tlv_params_get(p, 0));
    EXPECT(tlv_params_is_frozen(q, 1), "a clone keeps what is frozen");
    EXPECT(first(c, tlv_params_get(q, m.mean)) == 1, "a clone has the buffers");
    EXPECT(tlv_params_norm(c, z) == 0 && tlv_params_norm(c, p) > 0, "zeros");
    tlv_tensor *t = tlv_full(c, TLV_F32, TLV_SHAPE(2, 3), 7);
    EXPECT_STATUS(tlv_params_set(c, q, 0, t), TLV_OK);
    EXPECT(first(c, tlv_params_get(q, 0)) == 7 && first(c, tlv_params_get(p, 0)) == was,
           "a clone is its own");
    EXPECT_STATUS(tlv_params_copy(c, p, q), TLV_OK);
    EXPECT(first(c, tlv_params_get(p, 0)) == 7, "copied");
    EXPECT_STATUS(tlv_params_set(c, p, 0, tlv_zeros(c, TLV_F32, TLV_SHAPE(3, 2))), TLV_ERR_SHAPE);
    EXPECT_ERROR(c, TLV_ERR_SHAPE, "body.weight");
    EXPECT_STATUS(tlv_params_set(c, p, 0, tlv_zeros(c, TLV_F64, TLV_SHAPE(2, 3))), TLV_ERR_SHAPE);
    EXPECT_ERROR(c, TLV_ERR_SHAPE, "f64");
    EXPECT_STATUS(tlv_params_set(c, p, 9, t), TLV_ERR_ARG);
    EXPECT_ERROR(c, TLV_ERR_ARG, "slot 9");
    tlv_params_close(q);
    tlv_params_close(z);
    CLOSE(c, p);
}

static void test_edit_replaces_a_head(void)
{
    OPEN(c, m, p);
    tlv_params_freeze(p, "body.*");
    tlv_build *b = tlv_build_begin(c, TLV_F32);
    tlv_linear_layer head = tlv_linear_init(b, "head", 2, 5, 1);
    tlv_params *add = tlv_build_end(b), *q = tlv_params_edit(c, p, "head.*", add);
    REQUIRE(q, "%s", tlv_error_msg(c));
    EXPECT_INT(tlv_params_count(q), 5);
    int w = tlv_params_find(q, "head.weight"), was = tlv_params_find(p, "body.weight");
    EXPECT_SHAPE(tlv_params_get(q, w), 5, 2);
    EXPECT(first(c, tlv_params_get(q, w)) == first(c, tlv_params_get(add, head.w)),
           "the new head's values");
    EXPECT(first(c, tlv_params_get(q, was)) == first(c, tlv_params_get(p, was)),
           "the old body's values");
    EXPECT(tlv_params_is_frozen(q, was) && !tlv_params_is_frozen(q, w), "what was frozen stays so");
    EXPECT_INT(tlv_params_numel(q, 0), 6 + 2 + 10 + 5);
    EXPECT(tlv_params_copy(c, q, p) == TLV_ERR_NAME, "other names");
    EXPECT_ERROR(c, TLV_ERR_NAME, "4");
    tlv_params_close(add);                                  // q holds copies
    EXPECT(first(c, tlv_params_get(q, was)) == first(c, tlv_params_get(p, was)), "copies");
    tlv_params_close(q);
    CLOSE(c, p);
}

/* ---- the inner step -------------------------------------------------------------------------- */

static void test_axpy_is_p_plus_a_g(void)
{
    OPEN(c, m, p);
    tlv_params_freeze(p, "body.bias");
    tlv_scope s = tlv_scope_begin(c);
    tlv_params *g = tlv_params_grad(c, loss_of(c, &m, p), p, TLV_CREATE_GRAPH);
    tlv_params *q = tlv_params_axpy(c, p, -0.5, g);
    REQUIRE(q, "%s", tlv_error_msg(c));
    double a[6], b[6], d[6];
    support_read(c, tlv_params_get(p, 0), a, 6);
    support_read(c, tlv_params_get(g, 0), d, 6);
    support_read(c, tlv_params_get(q, 0), b, 6);
    for (int i = 0; i < 6; i++) EXPECT_CLOSE(b[i], a[i] - 0.5 * d[i], 1e-6, 1e-7);
    EXPECT(tlv_params_get(q, 1) == tlv_params_get(p, 1), "without gradient: p's own");
    EXPECT(tlv_params_get(q, m.mean) == tlv_params_get(p, m.mean), "buffers: p's own");
    EXPECT_STR(tlv_params_name(q, 0), "body.weight");
    tlv_tensor *bad = tlv_matmul(c, tlv_params_get(q, 0), tlv_params_get(q, 0),
                                 (tlv_matmul_opts){ 0 });
    EXPECT(bad == NULL, "[2,3] times [2,3]");
    EXPECT_ERROR(c, TLV_ERR_SHAPE, "body.weight");          // results carry the name too
    tlv_scope_end(c, s);
    CLOSE(c, p);
}

static void test_sets_of_other_names_do_not_mix(void)
{
    OPEN(c, m, p);
    net other;
    tlv_params *q = net_init(c, &other);
    tlv_scope s = tlv_scope_begin(c);
    tlv_params *g = tlv_params_grad(c, loss_of(c, &other, q), q, 0);
    EXPECT(g && tlv_params_axpy(c, p, 1, g) == NULL, "equal names, but another schema");
    EXPECT_ERROR(c, TLV_ERR_NAME, "axpy");
    tlv_scope_end(c, s);
    tlv_params_close(q);
    CLOSE(c, p);
}

static void test_keep_a_set_of_a_scope(void)
{
    OPEN(c, m, p);
    tlv_scope outer = tlv_scope_begin(c), s = tlv_scope_begin(c);
    tlv_params *g = tlv_params_grad(c, loss_of(c, &m, p), p, 0);
    float was = first(c, tlv_params_get(g, 0));
    double norm = tlv_params_norm(c, g);
    tlv_scope_end_keep_params(c, s, g);
    EXPECT(first(c, tlv_params_get(g, 0)) == was && tlv_params_norm(c, g) == norm, "kept");
    EXPECT(norm > 0, "a norm of %g", norm);
    tlv_scope_end(c, outer);
    CLOSE(c, p);
}

static void test_errors_name_the_parameter(void)
{
    OPEN(c, m, p);
    tlv_run r = { .c = c, .params = p };
    tlv_scope s = tlv_scope_begin(c);
    tlv_linear_fwd(&r, &m.head, tlv_zeros(c, TLV_F32, TLV_SHAPE(4, 7)), TLV_ACT_NONE);
    EXPECT_ERROR(c, TLV_ERR_SHAPE, "head.weight");
    tlv_scope_end(c, s);
    CLOSE(c, p);
}

/* ---- borrowing ------------------------------------------------------------------------------- */

typedef struct job { const net *m; tlv_params *p; float norm[4]; } job;

static tlv_status task(tlv_ctx *child, int64_t i, void *user)
{
    job *j = user;
    tlv_params *q = tlv_params_borrow(child, j->p);
    if (!q) return tlv_error(child);
    tlv_params *g = tlv_params_grad(child, loss_of(child, j->m, q), q, 0);
    if (!g) return tlv_error(child);
    j->norm[i] = (float)tlv_params_norm(child, g);
    return TLV_OK;
}

static void test_tasks_borrow_and_give_back(void)
{
    OPEN(c, m, p);
    job j = { .m = &m, .p = p };
    EXPECT_STATUS(tlv_parallel_tasks(c, 4, task, &j), TLV_OK);
    for (int i = 1; i < 4; i++) EXPECT(j.norm[i] == j.norm[0] && j.norm[0] > 0, "task %d", i);
    tlv_scope s = tlv_scope_begin(c);
    tlv_optim *o = tlv_sgd_open(c, p, (tlv_sgd_opts){ .lr = 0.1 });
    EXPECT_STATUS(tlv_optim_step(c, o, p, tlv_params_grad(c, loss_of(c, &m, p), p, 0)), TLV_OK);
    tlv_scope_end(c, s);
    tlv_optim_close(o);
    CLOSE(c, p);
}

/* Another context stands for a child: the set is the same memory there. */
static void test_a_borrowed_set_is_not_changed_or_closed(void)
{
    OPEN(c, m, p);
    tlv_ctx *child = support_open();
    tlv_scope s = tlv_scope_begin(child), t = tlv_scope_begin(c);
    tlv_params *q = tlv_params_borrow(child, p);
    REQUIRE(q, "%s", tlv_error_msg(child));
    tlv_view a, b;
    tlv_view_of(c, tlv_params_get(p, 0), &a);
    tlv_view_of(child, tlv_params_get(q, 0), &b);
    EXPECT(a.ptr == b.ptr, "borrowed, not copied");
    float was = first(c, tlv_params_get(p, 0));
    tlv_optim *o = tlv_sgd_open(c, p, (tlv_sgd_opts){ .lr = 0.1 });
    EXPECT_STATUS(tlv_optim_step(c, o, p, tlv_params_grad(c, loss_of(c, &m, p), p, 0)),
                  TLV_ERR_STATE);
    EXPECT_ERROR(c, TLV_ERR_STATE, "borrowed");
    EXPECT_STATUS(tlv_params_set(c, p, 0, tlv_zeros(c, TLV_F32, TLV_SHAPE(2, 3))), TLV_ERR_STATE);
    EXPECT_ERROR(c, TLV_ERR_STATE, "body.weight");
    tlv_params_close(p);
    EXPECT_ERROR(c, TLV_ERR_STATE, "borrowed");
    EXPECT(first(c, tlv_params_get(p, 0)) == was, "it changed");
    EXPECT_STATUS(tlv_params_set(child, q, 0, tlv_zeros(child, TLV_F32, TLV_SHAPE(2, 3))),
                  TLV_ERR_STATE);
    EXPECT_ERROR(child, TLV_ERR_STATE, "own");
    EXPECT(tlv_params_borrow(child, q) == NULL, "a borrowed set, borrowed");
    EXPECT_ERROR(child, TLV_ERR_ARG, "own");
    tlv_scope_end(child, s);                                // given back
    EXPECT_STATUS(tlv_params_set(c, p, 0, tlv_zeros(c, TLV_F32, TLV_SHAPE(2, 3))), TLV_OK);
    tlv_optim_close(o);
    tlv_scope_end(c, t);
    tlv_ctx_close(child);
    CLOSE(c, p);
}

/* ---- closing --------------------------------------------------------------------------------- */

static void test_closing_before_the_gradient_leaves_the_tape_whole(void)
{
    support_hook hook = { 0 };
    tlv_ctx *c = tlv_ctx_open(&(tlv_ctx_opts){ .threads = 1, .seed = 7, .alloc = support_alloc,
                                               .alloc_user = &hook });
    net m;
    tlv_params *p = net_init(c, &m);
    tlv_scope s = tlv_scope_begin(c);
    tlv_tensor *x = tlv_leaf(c,
                             tlv_from(c, TLV_SHAPE(2, 3), (float[]){ 1, -2, 3, 0.5f, 1, -1 }, 0)),
               *d;
    tlv_run r = { .c = c, .params = p };
    tlv_tensor *h = tlv_linear_fwd(&r, &m.body, x, TLV_ACT_TANH);
    tlv_tensor *loss = tlv_mean_all(c, tlv_square(c, tlv_linear_fwd(&r, &m.head, h, TLV_ACT_NONE)));
    double before = tlv_item(c, loss);
    tlv_params_close(p);                                    // nodes hold the buffers they read
    EXPECT_STATUS(tlv_grad(c, loss, NULL, 1, (const tlv_tensor *[]){ x }, &d, 0), TLV_OK);
    EXPECT(d && tlv_numel(d) == 6 && tlv_item(c, loss) == before, "%s", tlv_error_msg(c));
    tlv_scope_end(c, s);
    EXPECT_OK(c);
    tlv_ctx_close(c);
    EXPECT(hook.live == 0 && hook.wrong_size == 0, "%lld blocks are lost", (long long)hook.live);
}

/* Gradients and steps hold on to the names, which a closed set gave up. */
static void test_sets_of_a_scope_outlive_the_set_they_came_from(void)
{
    support_hook hook = { 0 };
    tlv_ctx *c = tlv_ctx_open(&(tlv_ctx_opts){ .threads = 1, .seed = 7, .alloc = support_alloc,
                                               .alloc_user = &hook });
    net m, other;
    tlv_params *p = net_init(c, &m);
    size_t before = 0;
    for (int round = 0; round < 3; round++) {
        tlv_scope s = tlv_scope_begin(c);
        tlv_params *g = tlv_params_grad(c, loss_of(c, &m, p), p, TLV_CREATE_GRAPH);
        tlv_params *q = tlv_params_axpy(c, p, -1, g);
        REQUIRE(q, "%s", tlv_error_msg(c));
        tlv_params_close(p);
        p = net_init(c, &other);                            // takes the memory that close gave back
        EXPECT_INT(tlv_params_count(g), 4);
        EXPECT_STR(tlv_params_name(q, 0), "body.weight");
        EXPECT(tlv_params_norm(c, g) > 0, "%s", tlv_error_msg(c));
        char text[100];
        EXPECT(strstr(tlv_describe(tlv_params_get(q, 0), text, sizeof text), "body.weight"), "%s",
               text);
        tlv_scope_end(c, s);
        size_t now = tlv_mem_get(c).now;
        EXPECT(round < 2 || now == before, "%zu bytes, had %zu: names are lost", now, before);
        before = now;
    }
    CLOSE(c, p);
    EXPECT(hook.live == 0 && hook.wrong_size == 0, "%lld blocks are lost", (long long)hook.live);
}

/* ---- what is refused ------------------------------------------------------------------------- */

static void test_sets_of_another_context_are_refused(void)
{
    OPEN(c, m, p);
    tlv_ctx *d = support_open();
    EXPECT(!tlv_params_clone(d, p), "cloned into another context");
    EXPECT_ERROR(d, TLV_ERR_CTX, "params_clone");
    EXPECT(!tlv_params_edit(d, p, "head.*", NULL), "edited into another context");
    EXPECT_ERROR(d, TLV_ERR_CTX, "params_edit");
    EXPECT(!tlv_sgd_open(d, p, (tlv_sgd_opts){ .lr = 1 }), "an optimizer of another context");
    EXPECT_ERROR(d, TLV_ERR_CTX, "optim");
    tlv_ctx_close(d);
    CLOSE(c, p);
}

static void test_edit_refuses_a_name_twice(void)
{
    OPEN(c, m, p);
    tlv_build *b = tlv_build_begin(c, TLV_F32);
    tlv_build_param(b, "head.weight", TLV_SHAPE(5, 7), tlv_init_ones());
    tlv_params *add = tlv_build_end(b);
    EXPECT(!tlv_params_edit(c, p, NULL, add), "two entries of one name");
    EXPECT_ERROR(c, TLV_ERR_NAME, "head.weight");
    tlv_params_close(add);
    CLOSE(c, p);
}

/* NULL in a set of gradients is zero, wherever the set goes. */
static void test_a_missing_gradient_is_zero(void)
{
    OPEN(c, m, p);
    tlv_params *g = tlv_params_grad(c, tlv_sum_all(c, tlv_params_get(p, m.body.w)), p, 0);
    tlv_params *h = tlv_params_grad(c, tlv_sum_all(c, tlv_params_get(p, m.body.b)), p, 0);
    REQUIRE(g && h && !tlv_params_get(g, m.body.b), "%s", tlv_error_msg(c));
    tlv_params *copy = tlv_params_clone(c, p);
    EXPECT_STATUS(tlv_params_set(c, copy, m.body.b, tlv_full(c, TLV_F32, TLV_SHAPE(2), 5)), TLV_OK);
    EXPECT_STATUS(tlv_params_copy(c, copy, g), TLV_OK);
    EXPECT_VALUES(c, tlv_params_get(copy, m.body.b), 0, 0, 0);
    tlv_params *edited = tlv_params_edit(c, g, "head.*", NULL);
    REQUIRE(edited, "%s", tlv_error_msg(c));
    EXPECT_VALUES(c, tlv_params_get(edited, m.body.b), 0, 0, 0);
    tlv_params *sum = tlv_params_axpy(c, g, 3, h);
    REQUIRE(sum, "%s", tlv_error_msg(c));
    EXPECT_VALUES(c, tlv_params_get(sum, m.body.w), 0, 1, 1, 1, 1, 1, 1);
    EXPECT_VALUES(c, tlv_params_get(sum, m.body.b), 0, 3, 3);
    EXPECT_STATUS(tlv_params_set(c, g, m.body.b, tlv_full(c, TLV_F32, TLV_SHAPE(2), 5)),
                  TLV_ERR_STATE);
    EXPECT_ERROR(c, TLV_ERR_STATE, "body.bias");
    tlv_params_close(edited);
    tlv_params_close(copy);
    CLOSE(c, p);
}

TEST_MAIN(T(test_patterns), T(test_names_slots_and_counts), T(test_a_name_may_stand_once),
          T(test_a_frozen_parameter_has_no_gradient), T(test_clone_zeros_copy_set),
          T(test_edit_replaces_a_head), T(test_axpy_is_p_plus_a_g),
          T(test_sets_of_other_names_do_not_mix), T(test_keep_a_set_of_a_scope),
          T(test_errors_name_the_parameter), T(test_tasks_borrow_and_give_back),
          T(test_a_borrowed_set_is_not_changed_or_closed),
          T(test_closing_before_the_gradient_leaves_the_tape_whole),
          T(test_sets_of_a_scope_outlive_the_set_they_came_from),
          T(test_sets_of_another_context_are_refused), T(test_edit_refuses_a_name_twice),
          T(test_a_missing_gradient_is_zero))
