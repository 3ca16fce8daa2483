/* test_scope.c -- scopes, husks, what lives how long, and memory to the byte. */
#include "tests/support.h"
#include "autograd/autograd.h"
#include "tensor/core.h"

static tlv_tensor *ones(tlv_ctx *c, int64_t n, int flags)
{
    float v[64];
    for (int i = 0; i < 64; i++) v[i] = 1;
    return tlv_from(c, tlv_shape1(n), v, flags);
}

#define OPEN(c)                                                                                    \
    tlv_ctx *c = support_open();                                                                   \
    REQUIRE(c, "no context")

/* ---- whose a tensor is ----------------------------------------------------------------------- */

static void test_scope_end_takes_its_tensors(void)
{
    OPEN(c);
    tlv_tensor *x = ones(c, 3, 0);
    size_t before = tlv_mem_get(c).now;
    tlv_scope s = tlv_scope_begin(c);
    for (int i = 0; i < 5; i++) tlv_add(c, x, x);
    EXPECT_INT(tlv_mem_get(c).live_tensors, 6);
    EXPECT(tlv_mem_get(c).now == before + 5 * 64, "%zu bytes, had %zu", tlv_mem_get(c).now, before);
    tlv_scope_end(c, s);
    EXPECT_INT(tlv_mem_get(c).live_tensors, 1);
    EXPECT(tlv_mem_get(c).now == before, "%zu bytes, had %zu", tlv_mem_get(c).now, before);
    EXPECT_OK(c);
    tlv_ctx_close(c);
}

static void test_keep_hands_the_same_pointer_outwards(void)
{
    OPEN(c);
    tlv_tensor *x = ones(c, 3, 0);
    tlv_scope outer = tlv_scope_begin(c), inner = tlv_scope_begin(c);
    tlv_tensor *y = tlv_add(c, x, x), *kept = tlv_scope_end_keep(c, inner, y);
    EXPECT(kept == y, "another pointer");
    EXPECT_VALUES(c, y, 0, 2, 2, 2);
    tlv_tensor *out = tlv_scope_end_keep(c, outer, kept);
    EXPECT(out == y, "another pointer");
    EXPECT_VALUES(c, y, 0, 2, 2, 2);
    EXPECT_INT(tlv_mem_get(c).live_tensors, 2);
    tlv_ctx_close(c);
}

static void test_keep_of_an_outer_tensor_is_a_no_op(void)
{
    OPEN(c);
    tlv_tensor *x = ones(c, 3, TLV_WANT_GRAD);
    tlv_scope s = tlv_scope_begin(c);
    tlv_add(c, x, x);
    EXPECT(tlv_scope_end_keep(c, s, x) == x, "another pointer");
    EXPECT_INT(tlv_mem_get(c).live_tensors, 1);
    EXPECT_INT(tlv_mem_get(c).tape_nodes, 0);           // the sum was not kept, so its node went
    EXPECT_VALUES(c, x, 0, 1, 1, 1);
    EXPECT_OK(c);
    tlv_ctx_close(c);
}

static void test_keep_several_and_twice_the_same(void)
{
    OPEN(c);
    tlv_scope s = tlv_scope_begin(c);
    tlv_tensor *a = ones(c, 2, 0), *b = tlv_add(c, a, a);
    tlv_tensor *keep[4] = { b, NULL, a, b };
    tlv_scope_end_keep_n(c, s, 4, keep);
    EXPECT_VALUES(c, a, 0, 1, 1);
    EXPECT_VALUES(c, b, 0, 2, 2);
    EXPECT_INT(tlv_mem_get(c).live_tensors, 2);
    tlv_scope t = tlv_scope_begin(c);
    EXPECT(tlv_scope_end_keep(c, t, NULL) == NULL, "NULL ends plainly");
    EXPECT_OK(c);
    tlv_ctx_close(c);
}

static void test_ending_an_outer_scope_ends_the_inner_ones(void)
{
    OPEN(c);
    tlv_tensor *x = ones(c, 3, TLV_WANT_GRAD);
    tlv_scope outer = tlv_scope_begin(c);
    tlv_tensor *h = tlv_exp(c, x);
    tlv_scope_begin_with(c, TLV_NO_GRAD);
    tlv_tensor *quiet = tlv_exp(c, x);
    tlv_scope_begin(c);
    tlv_exp(c, x);
    EXPECT(!tlv_wants_grad(quiet) && tlv_wants_grad(h), "recording inside TLV_NO_GRAD");
    EXPECT(tlv_scope_end_keep(c, outer, h) == h, "another pointer");        // an early return
    EXPECT_INT(c->depth, 0);
    EXPECT(tlv_wants_grad(tlv_exp(c, x)), "TLV_NO_GRAD outlived its scope");
    EXPECT_OK(c);
    tlv_ctx_close(c);
}

static void test_ending_a_scope_twice_is_an_error(void)
{
    OPEN(c);
    tlv_scope s = tlv_scope_begin(c);
    tlv_scope_end(c, s);
    tlv_scope_end(c, s);
    EXPECT_ERROR(c, TLV_ERR_ENDED, "ended already");
    tlv_scope other = tlv_scope_begin(c);               // takes the same place
    tlv_scope_end(c, s);
    EXPECT_ERROR(c, TLV_ERR_ENDED, "ended already");
    EXPECT_INT(c->depth, 1);
    tlv_scope_end(c, other);
    EXPECT(tlv_scope_roll(c, other, NULL) == NULL, "NULL rolls plainly");
    EXPECT_ERROR(c, TLV_ERR_ENDED, "ended already");
    tlv_ctx_close(c);
}

static void test_scopes_have_a_depth_limit(void)
{
    OPEN(c);
    tlv_scope s[TLVI_SCOPES];
    int n = 0;
    while (n < TLVI_SCOPES && tlv_error(c) == TLV_OK) s[n++] = tlv_scope_begin(c);
    EXPECT_INT(n, TLVI_SCOPES);                 // 127 fit beside the context's own; the last failed
    tlv_scope_end(c, s[n - 1]);                         // ending what never began says nothing new
    EXPECT_ERROR(c, TLV_ERR_LIMIT, "deeper than 127");
    tlv_scope_end(c, s[0]);
    EXPECT_OK(c);
    EXPECT_INT(c->depth, 0);
    tlv_ctx_close(c);
}

/* ---- headers that have ended ----------------------------------------------------------------- */

static void test_use_of_an_ended_header_is_an_error(void)
{
    OPEN(c);
    tlv_tensor *x = ones(c, 3, 0);
    tlv_scope s = tlv_scope_begin(c);
    tlv_tensor *gone = tlv_add(c, x, x);
    tlv_scope_end(c, s);
    EXPECT(tlv_add(c, gone, x) == NULL, "an ended tensor was read");
    EXPECT_ERROR(c, TLV_ERR_ENDED, "add: input 0 has ended");
#if TLVI_DEBUG
    for (int i = 0; i < 200; i++) tlv_add(c, x, x);     // its place is not used again
    EXPECT(tlv_add(c, x, gone) == NULL, "an ended tensor was read");
    EXPECT_ERROR(c, TLV_ERR_ENDED, "add: input 1 has ended");
#endif
    tlv_ctx_close(c);
}

static void test_a_husk_has_a_shape_and_no_data(void)
{
    OPEN(c);
    float out[6];
    char text[120];
    tlv_tensor *x = tlv_from(c, TLV_SHAPE(2, 3), (float[]){ 1, 2, 3, 4, 5, 6 }, TLV_WANT_GRAD);
    tlv_scope s = tlv_scope_begin(c);
    tlv_tensor *husk = tlv_exp(c, x), *y = tlv_scope_end_keep(c, s, tlv_neg(c, husk));
    EXPECT_SHAPE(husk, 2, 3);
    EXPECT_INT(tlv_numel(husk), 6);
    EXPECT(strstr(tlv_describe(husk, text, sizeof text), "husk"), "described as %s", text);
    EXPECT_STATUS(tlv_read(c, husk, out, 6), TLV_ERR_ENDED);
    EXPECT_ERROR(c, TLV_ERR_ENDED, "[2,3]");
    EXPECT(tlv_add(c, husk, x) == NULL, "a husk was read");
    EXPECT_ERROR(c, TLV_ERR_ENDED, "the data of input 0, [2,3], has ended");
    (void)y;
    tlv_ctx_close(c);
}

static void test_a_husk_is_a_target_of_tlv_grad(void)
{
    OPEN(c);
    tlv_tensor *x = ones(c, 2, TLV_WANT_GRAD), *d[2];
    tlv_scope s = tlv_scope_begin(c);
    tlv_tensor *husk = tlv_affine(c, x, 3, 0);
    tlv_tensor *y = tlv_scope_end_keep(c, s, tlv_sum_all(c, tlv_mul(c, husk, husk)));
    tlv_grad(c, y, NULL, 2, (const tlv_tensor *[]){ husk, x }, d, 0);
    EXPECT_VALUES(c, d[0], 1e-6, 6, 6);                 // d(h^2)/dh = 2 h
    EXPECT_VALUES(c, d[1], 1e-6, 18, 18);
    tlv_ctx_close(c);
}

static void test_nodes_hold_only_what_gradients_read(void)
{
    OPEN(c);
    tlv_tensor *x = ones(c, 64, TLV_WANT_GRAD), *d;
    tlv_scope warm = tlv_scope_begin(c);
    tlv_exp(c, x);                                      // the tape's own memory
    tlv_scope_end(c, warm);
    size_t before = tlv_mem_get(c).now;
    tlv_scope s = tlv_scope_begin(c);
    tlv_tensor *h = tlv_add(c, tlv_neg(c, x), x);       // neither reads anything
    h = tlv_exp(c, h);                                  // reads its output
    h = tlv_affine(c, h, 2, 1);                         // reads nothing
    tlv_tensor *y = tlv_scope_end_keep(c, s, tlv_sum_all(c, h));
    EXPECT(tlv_mem_get(c).now == before + 256 + 64,
           "%zu bytes more, want 256 of exp's output and 64 of y", tlv_mem_get(c).now - before);
    EXPECT_STATUS(tlv_grad(c, y, NULL, 1, (const tlv_tensor *[]){ x }, &d, 0), TLV_OK);
    EXPECT_OK(c);
    tlv_ctx_close(c);
}

/* ---- history --------------------------------------------------------------------------------- */

static void test_scope_without_a_kept_history_cuts_the_tape(void)
{
    OPEN(c);
    tlv_tensor *x = ones(c, 3, TLV_WANT_GRAD);
    tlv_scope s = tlv_scope_begin(c);
    tlv_tensor *y = tlv_sum_all(c, tlv_exp(c, x));
    EXPECT(tlv_mem_get(c).tape_nodes > 0, "nothing recorded");
    tlv_tensor *value = tlv_scope_end_keep(c, s, tlv_detach(c, y));
    EXPECT_INT(tlv_mem_get(c).tape_nodes, 0);
    EXPECT_INT(tlv_mem_get(c).live_tensors, 2);
    EXPECT_CLOSE(tlv_item(c, value), 3 * 2.718281828, 1e-6, 0);
    tlv_ctx_close(c);
}

static void test_no_grad_records_nothing_and_leaves_can_be_made_in_it(void)
{
    OPEN(c);
    tlv_tensor *x = ones(c, 3, TLV_WANT_GRAD), *d = NULL;
    tlv_scope s = tlv_scope_begin_with(c, TLV_NO_GRAD);
    tlv_tensor *y = tlv_sum_all(c, tlv_exp(c, x));
    EXPECT(!tlv_wants_grad(y), "recorded in TLV_NO_GRAD");
    EXPECT_INT(tlv_mem_get(c).tape_nodes, 0);
    tlv_tensor *leaf = tlv_leaf(c, x);
    EXPECT(tlv_wants_grad(leaf), "a leaf lost its wish");
    EXPECT_STATUS(tlv_grad(c, y, NULL, 1, (const tlv_tensor *[]){ x }, &d, 0), TLV_ERR_NOGRAD);
    tlv_scope_end(c, s);
    EXPECT_ERROR(c, TLV_ERR_NOGRAD, "depends on none");
    tlv_ctx_close(c);
}

static void test_roll_keeps_one_and_stays_open(void)
{
    OPEN(c);
    tlv_tensor *x = ones(c, 4, 0);
    tlv_scope s = tlv_scope_begin(c);
    tlv_tensor *h = x;
    for (int i = 0; i < 10; i++) {
        h = tlv_affine(c, h, 2, 0);
        tlv_neg(c, h);
        h = tlv_scope_roll(c, s, h);
        EXPECT_INT(tlv_mem_get(c).live_tensors, 2);
        EXPECT_INT(c->depth, 1);
    }
    EXPECT_VALUES(c, h, 0, 1024, 1024, 1024, 1024);
    EXPECT(tlv_scope_roll(c, s, x) == x, "a tensor of an outer scope");     // everything else goes
    EXPECT_INT(tlv_mem_get(c).live_tensors, 1);
    tlv_scope_end(c, s);
    EXPECT_OK(c);
    tlv_ctx_close(c);
}

static void test_roll_with_history_keeps_gradients_right(void)
{
    OPEN(c);
    tlv_tensor *x = ones(c, 2, TLV_WANT_GRAD), *d;
    tlv_scope s = tlv_scope_begin(c);
    tlv_tensor *h = x;
    for (int i = 0; i < 4; i++) h = tlv_scope_roll(c, s, tlv_mul(c, tlv_affine(c, h, 0.5, 0.5), h));
    tlv_tensor *y = tlv_scope_end_keep(c, s, tlv_sum_all(c, h));
    tlv_grad(c, y, NULL, 1, (const tlv_tensor *[]){ x }, &d, 0);
    EXPECT_VALUES(c, d, 1e-6, 5.0625, 5.0625);        // f(h) = h (h + 1) / 2, f(1) = 1, f'(1) = 1.5
    EXPECT_OK(c);
    tlv_ctx_close(c);
}

static void test_error_clear_cuts_the_tape_to_the_innermost_scope(void)
{
    OPEN(c);
    tlv_tensor *x = ones(c, 2, TLV_WANT_GRAD), *d = NULL;
    tlv_tensor *outer = tlv_mul(c, x, x);
    tlv_scope s = tlv_scope_begin(c);
    tlv_tensor *lost = tlv_mul(c, outer, x);
    tlv_add(c, x, tlv_zeros(c, TLV_F32, tlv_shape1(5)));
    EXPECT_ERROR(c, TLV_ERR_SHAPE, "broadcast");        // clears it
    EXPECT_INT(tlv_mem_get(c).tape_nodes, 1);
    EXPECT(!tlv_wants_grad(lost), "a tensor without nodes says that it has history");
    EXPECT_VALUES(c, lost, 0, 1, 1);                    // the value is still there
    tlv_tensor *fresh = tlv_affine(c, outer, 5, 0);     // takes the place of the lost node
    tlv_tensor *y = tlv_sum_all(c, tlv_add(c, fresh, lost));
    tlv_grad(c, y, NULL, 1, (const tlv_tensor *[]){ x }, &d, 0);
    EXPECT_VALUES(c, d, 1e-6, 10, 10);                  // lost is a constant now
    tlv_scope_end(c, s);
    EXPECT_OK(c);
    tlv_ctx_close(c);
}

static void test_scopes_close_after_an_error(void)
{
    OPEN(c);
    tlv_tensor *x = ones(c, 2, TLV_WANT_GRAD);
    tlv_scope s = tlv_scope_begin(c);
    tlv_tensor *y = tlv_exp(c, x);
    tlv_add(c, y, NULL);
    EXPECT(tlv_exp(c, x) == NULL, "an op ran after an error");
    EXPECT(tlv_scope_end_keep(c, s, y) == y, "another pointer");
    EXPECT_ERROR(c, TLV_ERR_ARG, "input 1 is NULL");
    EXPECT_VALUES(c, y, 1e-6, 2.7182818, 2.7182818);
    EXPECT_INT(c->depth, 0);
    tlv_ctx_close(c);
}

/* ---- owned tensors, as parameter sets have them ---------------------------------------------- */

static tlv_tensor *owned(tlv_ctx *c, int64_t n, float v)
{
    tlv_tensor *t = tlvi_new_owned(c, TLV_F32, tlv_shape1(n));
    for (int64_t i = 0; t && i < n; i++) tlvi_f32(t)[i] = v;
    if (t) t->flags |= TLVI_T_WANT;
    return t;
}

static void test_owned_tensors_outlive_scopes_and_may_go_before_the_tape(void)
{
    OPEN(c);
    tlv_scope s = tlv_scope_begin(c);
    tlv_tensor *w = owned(c, 3, 2), *d = NULL;
    REQUIRE(w, "no memory");
    tlv_scope_end(c, s);
    EXPECT_VALUES(c, w, 0, 2, 2, 2);
    tlv_tensor *y = tlv_sum_all(c, tlv_mul(c, w, w));
    tlvi_owned_free(w);                            // its set is closed; the tape still speaks of it
    EXPECT_STATUS(tlv_grad(c, y, NULL, 1, (const tlv_tensor *[]){ w }, &d, 0), TLV_OK);
    EXPECT_VALUES(c, d, 0, 4, 4, 4);
    tlv_tensor *again = owned(c, 3, 2);
    EXPECT(tlv_add(c, again, w) == NULL, "a freed parameter was read");
    EXPECT_ERROR(c, TLV_ERR_ENDED, "has ended");
    tlvi_owned_free(again);
    tlv_ctx_close(c);
}

/* ---- memory, exactly ------------------------------------------------------------------------- */

enum { LAYERS = 50, ROWS = 1024, WIDTH = 256, BUFFER = ROWS * WIDTH * 4 };

static void infer(tlv_ctx *c, const tlv_tensor *x, tlv_tensor *const *w)
{
    tlv_scope s = tlv_scope_begin_with(c, TLV_NO_GRAD);
    tlv_tensor *h = (tlv_tensor *)x;
    for (int i = 0; i < LAYERS; i++) {
        h = tlv_matmul(c, h, w[i % 5], (tlv_matmul_opts){ 0 });
        h = tlv_scope_roll(c, s, tlv_relu(c, h));
    }
    EXPECT(h && tlv_numel(h) == ROWS * WIDTH, "%s", tlv_error_msg(c));
    tlv_scope_end(c, s);
}

static void test_inference_of_50_layers_peaks_at_three_buffers(void)
{
    OPEN(c);
    tlv_tensor *w[5], *x = tlv_zeros(c, TLV_F32, tlv_shape2(ROWS, WIDTH));
    for (int i = 0; i < 5; i++)
        w[i] = tlv_leaf(c, tlv_full(c, TLV_F32, tlv_shape2(WIDTH, WIDTH), 0.01));
    infer(c, x, w);                                     // scratch that stays is there
    tlv_mem_reset_peak(c);
    tlv_mem_stats before = tlv_mem_get(c);
    infer(c, x, w);
    tlv_mem_stats after = tlv_mem_get(c);
    // The input is the caller's: h, the product and its relu are what a layer holds.
    size_t room = TLVI_DEBUG ? 256 << 10 : 0;           // there headers are never used again
    EXPECT(after.peak - before.now <= 3 * (size_t)BUFFER + room
           && after.peak - before.now >= 3 * (size_t)BUFFER,
           "the peak is %zu bytes above the weights, want %d", after.peak - before.now, 3 * BUFFER);
    EXPECT(after.now - before.now <= room, "%zu bytes are left over", after.now - before.now);
    tlv_ctx_close(c);
}

/* One step of plain gradient descent on a two-layer network, parameters owned. */
static void train_step(tlv_ctx *c, tlv_tensor *const *p, const tlv_tensor *x, const tlv_tensor *y)
{
    tlv_scope s = tlv_scope_begin(c);
    tlv_tensor *h = tlv_relu(c, tlv_matmul(c, x, p[0], (tlv_matmul_opts){ 0 }));
    tlv_tensor *e = tlv_sub(c, tlv_matmul(c, h, p[1], (tlv_matmul_opts){ 0 }), y), *d[2];
    tlv_tensor *loss = tlv_mean_all(c, tlv_mul(c, e, e));
    tlv_grad(c, loss, NULL, 2, (const tlv_tensor *const *)p, d, TLV_CONSUME);
    for (int i = 0; i < 2 && tlv_error(c) == TLV_OK; i++)
        for (int64_t k = 0; k < tlv_numel(p[i]); k++)
            tlvi_f32(p[i])[k] -= 0.01f * tlvi_f32(d[i])[k];
    tlv_scope_end(c, s);
}

static void test_training_steps_take_nothing_from_the_system(void)
{
    OPEN(c);
    tlv_tensor *p[2] = { tlvi_new_owned(c, TLV_F32, tlv_shape2(300, 200)),
                         tlvi_new_owned(c, TLV_F32, tlv_shape2(200, 50)) };
    for (int i = 0; i < 2; i++) {
        p[i]->flags |= TLVI_T_WANT;
        for (int64_t k = 0; k < tlv_numel(p[i]); k++) tlvi_f32(p[i])[k] = (float)(k % 7) * 0.01f;
    }
    tlv_tensor *x = tlv_full(c, TLV_F32, tlv_shape2(128, 300), 0.5);
    tlv_tensor *y = tlv_full(c, TLV_F32, tlv_shape2(128, 50), 1);
    train_step(c, p, x, y);
    tlv_mem_stats first = tlv_mem_get(c);
    tlv_mem_reset_peak(c);
    size_t peak = 0;
    for (int i = 0; i < 10; i++) {
        train_step(c, p, x, y);
        tlv_mem_stats now = tlv_mem_get(c);
        if (i == 0) peak = now.peak;
        if (TLVI_DEBUG) continue;                       // there headers are never used again
        EXPECT_INT(now.system_calls, first.system_calls);
        EXPECT_INT(now.now, first.now);
        EXPECT_INT(now.peak, peak);
        EXPECT_INT(now.live_tensors, first.live_tensors);
    }
    EXPECT_OK(c);
    EXPECT_INT(tlv_mem_get(c).tape_nodes, 0);
    for (int i = 0; i < 2; i++) tlvi_owned_free(p[i]);
    tlv_ctx_close(c);
}

static void test_closing_gives_everything_back(void)
{
    support_hook hook = { 0 };
    tlv_ctx *c =
        tlv_ctx_open(&(tlv_ctx_opts){ .threads = 2, .alloc = support_alloc, .alloc_user = &hook });
    REQUIRE(c, "no context");
    tlv_tensor *x = ones(c, 8, TLV_WANT_GRAD);
    for (int i = 0; i < 50; i++) {                      // scopes stay open, the tape is full
        tlv_scope_begin(c);
        x = tlv_exp(c, tlv_neg(c, x));
    }
    EXPECT_OK(c);
    EXPECT(hook.live > 0, "the hook was not asked");
    EXPECT_INT(tlv_mem_get(c).system, hook.bytes);
    tlv_ctx_close(c);
    EXPECT(hook.live == 0 && hook.bytes == 0, "%lld blocks left", (long long)hook.live);
    EXPECT_INT(hook.wrong_size, 0);
}

static void test_memory_by_phase(void)
{
    OPEN(c);
    tlv_tensor *x = tlv_leaf(c, tlv_full(c, TLV_F32, tlv_shape1(1 << 18), 0.5)), *d;
    tlv_tensor *h = tlv_sum_all(c, tlv_exp(c, x));
    size_t forward = tlv_mem_get(c).peak_by_phase[TLV_PHASE_FORWARD];
    EXPECT(forward >= 2u << 20, "%zu", forward);
    tlv_grad(c, h, NULL, 1, (const tlv_tensor *[]){ x }, &d, 0);
    tlv_mem_stats m = tlv_mem_get(c);
    // the forward phase goes on with d in hand
    size_t resumed = m.peak_by_phase[TLV_PHASE_FORWARD];
    EXPECT(resumed + 4096 > forward + (1 << 20) && resumed < forward + (1 << 20) + 4096,
           "%zu, before the gradient %zu",
           resumed, forward);
    EXPECT(m.peak_by_phase[TLV_PHASE_BACKWARD] >= 3u << 20, "%zu",
           m.peak_by_phase[TLV_PHASE_BACKWARD]);
    tlv_mem_reset_peak(c);
    EXPECT_INT(tlv_mem_get(c).peak_by_phase[TLV_PHASE_BACKWARD], 0);
    EXPECT_INT(tlv_mem_get(c).peak, tlv_mem_get(c).now);
    EXPECT_INT(m.peak_by_phase[TLV_PHASE_STEP], 0);
    EXPECT_OK(c);
    tlv_ctx_close(c);
}

TEST_MAIN(T(test_scope_end_takes_its_tensors), T(test_keep_hands_the_same_pointer_outwards),
          T(test_keep_of_an_outer_tensor_is_a_no_op), T(test_keep_several_and_twice_the_same),
          T(test_ending_an_outer_scope_ends_the_inner_ones),
          T(test_ending_a_scope_twice_is_an_error), T(test_scopes_have_a_depth_limit),
          T(test_use_of_an_ended_header_is_an_error), T(test_a_husk_has_a_shape_and_no_data),
          T(test_a_husk_is_a_target_of_tlv_grad), T(test_nodes_hold_only_what_gradients_read),
          T(test_scope_without_a_kept_history_cuts_the_tape),
          T(test_no_grad_records_nothing_and_leaves_can_be_made_in_it),
          T(test_roll_keeps_one_and_stays_open), T(test_roll_with_history_keeps_gradients_right),
          T(test_error_clear_cuts_the_tape_to_the_innermost_scope),
          T(test_scopes_close_after_an_error),
          T(test_owned_tensors_outlive_scopes_and_may_go_before_the_tape),
          T(test_inference_of_50_layers_peaks_at_three_buffers),
          T(test_training_steps_take_nothing_from_the_system),
          T(test_closing_gives_everything_back), T(test_memory_by_phase))
