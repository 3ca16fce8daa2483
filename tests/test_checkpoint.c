/* test_checkpoint.c -- TLV_CHECKPOINT: the same bits for less memory. */
#include "tests/support.h"
#include "autograd/autograd.h"
#include "tensor/core.h"

#define OPEN(c)                                                                                    \
    tlv_ctx *c = support_open();                                                                   \
    REQUIRE(c, "no context")

#define WRT(...) ((const tlv_tensor *[]){ __VA_ARGS__ })

enum { BLOCKS = 8, DEPTH = 8, WIDE = 1 << 16, BYTES = WIDE * 4 };

static tlv_tensor *wide_leaf(tlv_ctx *c)
{
    return tlv_leaf(c, tlv_full(c, TLV_F32, tlv_shape1(WIDE), 0.3));
}

/* exp reads its output, so a layer keeps one buffer. */
static tlv_tensor *block(tlv_ctx *c, tlv_tensor *h, const tlv_tensor *w)
{
    for (int i = 0; i < DEPTH; i++) h = tlv_exp(c, tlv_mul(c, tlv_affine(c, h, -0.5, 0), w));
    return h;
}

static tlv_tensor *network(tlv_ctx *c, tlv_tensor *x, const tlv_tensor *w, int flags)
{
    tlv_tensor *h = x;
    for (int b = 0; b < BLOCKS; b++) {
        tlv_scope s = tlv_scope_begin_with(c, flags);
        h = tlv_scope_end_keep(c, s, block(c, h, w));
    }
    return tlv_sum_all(c, h);
}

/* Gradients of the network into d[2]; returns the peak above what was in use before. */
static size_t peak_of(tlv_ctx *c, tlv_tensor *x, tlv_tensor *w, int flags, int grad_flags,
                      tlv_tensor **d)
{
    tlv_mem_reset_peak(c);
    size_t before = tlv_mem_get(c).now;
    tlv_scope s = tlv_scope_begin(c);
    tlv_grad(c, network(c, x, w, flags), NULL, 2, WRT(x, w), d, grad_flags);
    tlv_scope_end_keep_n(c, s, 2, d);
    return tlv_mem_get(c).peak - before;
}

static void same_bits(tlv_ctx *c, const tlv_tensor *a, const tlv_tensor *b)
{
    tlv_view va, vb;
    if (!EXPECT(a && b, "%s", tlv_error_msg(c))) return;
    if (tlv_view_of(c, a, &va) != TLV_OK || tlv_view_of(c, b, &vb) != TLV_OK) return;
    size_t bytes = (size_t)tlv_numel(a) * tlv_dtype_size(tlv_dtype_of(a));
    EXPECT(tlv_numel(a) == tlv_numel(b) && memcmp(va.ptr, vb.ptr, bytes) == 0, "other bits");
}

static void test_the_same_bits_for_less_memory(void)
{
    OPEN(c);
    tlv_tensor *x = wide_leaf(c), *w = tlv_leaf(c, tlv_scalar(c, TLV_F32, 0.9)), *d[3][2];
    peak_of(c, x, w, TLV_CHECKPOINT, 0, d[0]);              // what stays for good is there
    size_t plain = peak_of(c, x, w, 0, 0, d[0]);
    size_t check = peak_of(c, x, w, TLV_CHECKPOINT, 0, d[1]);
    size_t again = peak_of(c, x, w, TLV_CHECKPOINT, TLV_CONSUME, d[2]);
    EXPECT_OK(c);
    for (int i = 0; i < 2; i++) {
        same_bits(c, d[0][i], d[1][i]);
        same_bits(c, d[0][i], d[2][i]);
    }
    // Plain: an input of mul and an output of exp a layer.  Checkpointed: the ends of blocks,
    // what the gradients of one block read, and what a gradient holds for a moment.
    EXPECT(plain / BYTES >= 2 * BLOCKS * DEPTH, "plain: %zu buffers", plain / BYTES);
    EXPECT(check / BYTES <= BLOCKS + 2 * DEPTH + 7, "checkpointed: %zu buffers, plain %zu",
           check / BYTES, plain / BYTES);
    EXPECT(again <= check + (TLVI_DEBUG ? 64 << 10 : 0), "consumed: %zu bytes, kept %zu", again,
           check);
    tlv_ctx_close(c);
}

static void test_the_graph_may_be_used_again(void)
{
    OPEN(c);
    tlv_tensor *x = wide_leaf(c), *w = tlv_leaf(c, tlv_scalar(c, TLV_F32, 0.9));
    tlv_tensor *first[2], *second[2];
    tlv_tensor *y = network(c, x, w, TLV_CHECKPOINT);
    size_t kept = tlv_mem_get(c).now;
    tlv_scope s = tlv_scope_begin(c);
    tlv_grad(c, y, NULL, 2, WRT(x, w), first, 0);
    tlv_grad(c, y, NULL, 2, WRT(x, w), second, 0);
    same_bits(c, first[0], second[0]);
    same_bits(c, first[1], second[1]);
    tlv_scope_end(c, s);
    if (!TLVI_DEBUG) EXPECT_INT(tlv_mem_get(c).now, kept);  // what was replayed is gone again
    tlv_grad(c, y, NULL, 2, WRT(x, w), first, TLV_CONSUME);
    EXPECT_STATUS(tlv_grad(c, y, NULL, 2, WRT(x, w), first, 0), TLV_ERR_CONSUMED);
    tlv_error_clear(c);
    tlv_ctx_close(c);
}

/* A block of blocks: inner checkpoints become part of the outer one. */
static tlv_tensor *nested(tlv_ctx *c, const tlv_tensor *x, const tlv_tensor *w, int inner,
                          int outer)
{
    tlv_scope o = tlv_scope_begin_with(c, outer);
    tlv_tensor *h = tlv_mul(c, x, w);
    for (int k = 0; k < 3; k++) {
        tlv_scope i = tlv_scope_begin_with(c, inner);
        tlv_tensor *one = tlv_full(c, TLV_F64, tlv_shape1(3), 1 + k);      // a constant made inside
        h = tlv_scope_end_keep(c, i, tlv_exp(c, tlv_affine(c, tlv_mul(c, h, one), 0.3, 0)));
    }
    return tlv_scope_end_keep(c, o, tlv_sum_all(c, tlv_mul(c, h, w)));
}

static void test_nested_checkpoints(void)
{
    OPEN(c);
    double v[3] = { 0.5, -1, 2 };
    tlv_tensor *x = tlv_from_data(c, TLV_F64, tlv_shape1(3), v, TLV_WANT_GRAD);
    tlv_tensor *w = tlv_leaf(c, x), *d[2], *want[2];
    for (int how = 0; how < 4; how++) {
        int inner = how & 1 ? TLV_CHECKPOINT : 0, outer = how & 2 ? TLV_CHECKPOINT : 0;
        tlv_grad(c, nested(c, x, w, inner, outer), NULL, 2, WRT(x, w), d, TLV_CREATE_GRAPH);
        if (how == 0) memcpy(want, d, sizeof d);
        same_bits(c, d[0], want[0]);
        same_bits(c, d[1], want[1]);
        tlv_tensor *s = tlv_sum_all(c, tlv_mul(c, d[0], d[0])), *dd[2];
        s = tlv_add(c, s, tlv_sum_all(c, d[1]));
        static double first[3];
        double got[3];
        tlv_grad(c, s, NULL, 2, WRT(x, w), dd, 0);
        support_read(c, dd[0], got, 3);
        if (how == 0) memcpy(first, got, sizeof got);
        EXPECT(memcmp(first, got, sizeof got) == 0, "second order, inner %d, outer %d", inner,
               outer);
    }
    EXPECT_OK(c);
    tlv_ctx_close(c);
}

static void test_an_intermediate_target_inside_a_checkpoint(void)
{
    OPEN(c);
    double v[2] = { 1, 2 };
    tlv_tensor *x = tlv_from_data(c, TLV_F64, tlv_shape1(2), v, TLV_WANT_GRAD), *d[2];
    tlv_scope s = tlv_scope_begin_with(c, TLV_CHECKPOINT);
    tlv_tensor *h = tlv_mul(c, x, x), *y = tlv_scope_end_keep(c, s, tlv_mul(c, h, h));
    tlv_grad(c, tlv_sum_all(c, y), NULL, 2, WRT(h, x), d, 0);
    EXPECT_VALUES(c, d[0], 0, 2, 8);
    EXPECT_VALUES(c, d[1], 0, 4, 32);
    EXPECT_OK(c);
    tlv_ctx_close(c);
}

static void test_no_checkpoint_without_history(void)
{
    OPEN(c);
    tlv_tensor *x = tlv_zeros(c, TLV_F32, tlv_shape1(4));
    tlv_scope s = tlv_scope_begin_with(c, TLV_CHECKPOINT);
    tlv_tensor *y = tlv_scope_end_keep(c, s, tlv_exp(c, x));
    EXPECT_VALUES(c, y, 0, 1, 1, 1, 1);
    EXPECT_INT(tlv_mem_get(c).live_tensors, 2);
    EXPECT_INT(c->tape.n_seg, 0);
    EXPECT_OK(c);
    tlv_ctx_close(c);
}

static void test_an_error_inside_a_checkpoint(void)
{
    OPEN(c);
    double v[2] = { 1, 2 };
    tlv_tensor *x = tlv_from_data(c, TLV_F64, tlv_shape1(2), v, TLV_WANT_GRAD), *d;
    tlv_scope s = tlv_scope_begin_with(c, TLV_CHECKPOINT);
    tlv_tensor *y = tlv_add(c, tlv_exp(c, x), tlv_zeros(c, TLV_F64, tlv_shape1(5)));
    EXPECT(tlv_scope_end_keep(c, s, y) == NULL, "a tensor after an error");
    EXPECT_ERROR(c, TLV_ERR_SHAPE, "broadcast");
    EXPECT_INT(tlv_mem_get(c).tape_nodes, 0);
    EXPECT_INT(c->tape.n_seg, 0);
    EXPECT_INT(c->saving, 0);
    s = tlv_scope_begin_with(c, TLV_CHECKPOINT);
    y = tlv_scope_end_keep(c, s, tlv_sum_all(c, tlv_mul(c, tlv_neg(c, x), x)));
    tlv_grad(c, y, NULL, 1, WRT(x), &d, 0);
    EXPECT_VALUES(c, d, 0, -2, -4);
    tlv_ctx_close(c);
}

static void test_replay_notices_a_changed_input(void)
{
    OPEN(c);
    double v[2] = { 1, 2 };
    tlv_tensor *x = tlv_from_data(c, TLV_F64, tlv_shape1(2), v, TLV_WANT_GRAD);
    tlv_tensor *w = tlv_from_data(c, TLV_F64, tlv_shape1(2), v, 0), *d = NULL;
    tlv_scope s = tlv_scope_begin_with(c, TLV_CHECKPOINT);
    tlv_tensor *h = tlv_exp(c, tlv_add(c, x, w));        // no gradient reads w, but the replay does
    tlv_tensor *y = tlv_scope_end_keep(c, s, tlv_sum_all(c, h));
    int64_t live = tlv_mem_get(c).live_tensors;
    w->buf->version++;
    EXPECT_STATUS(tlv_grad(c, y, NULL, 1, WRT(x), &d, 0), TLV_ERR_VERSION);
    EXPECT(d == NULL, "a gradient beside an error");
    EXPECT_INT(tlv_mem_get(c).live_tensors, live);
    EXPECT_ERROR(c, TLV_ERR_VERSION, "replay of ADD: input 1");
    tlv_ctx_close(c);
}

/* ---- a user's op is replayed through its forward --------------------------------------------- */

static tlv_tensor *counted_forward(tlv_ctx *c, const tlv_custom_call *k)
{
    ++**(int *const *)k->attrs;
    return tlv_mul(c, k->in[0], k->in[0]);
}
static void counted_vjp(tlv_ctx *c, const tlv_custom_call *k, tlv_tensor **d)
{
    d[0] = tlv_affine(c, tlv_mul(c, k->g, k->in[0]), 2, 0);
}

static void test_a_block_is_replayed_once_a_sweep(void)
{
    static const tlv_custom_def COUNTED = { "counted", counted_forward, counted_vjp,
                                            sizeof(int *) };
    OPEN(c);
    int calls = 0, *where = &calls;
    double v[2] = { 1, 2 };
    tlv_tensor *x = tlv_from_data(c, TLV_F64, tlv_shape1(2), v, TLV_WANT_GRAD), *d;
    tlv_scope s = tlv_scope_begin_with(c, TLV_CHECKPOINT);
    tlv_tensor *h = tlv_custom(c, &COUNTED, 1, WRT(x), &where);
    h = tlv_custom(c, &COUNTED, 1, WRT(tlv_neg(c, h)), &where);
    tlv_tensor *y = tlv_scope_end_keep(c, s, tlv_sum_all(c, h));
    EXPECT_INT(calls, 2);
    tlv_grad(c, y, NULL, 1, WRT(x), &d, 0);
    EXPECT_INT(calls, 4);
    EXPECT_VALUES(c, d, 0, 4, 32);                          // y = x^4
    tlv_grad(c, y, NULL, 1, WRT(x), &d, 0);
    EXPECT_INT(calls, 6);
    EXPECT_OK(c);
    tlv_ctx_close(c);
}

TEST_MAIN(T(test_the_same_bits_for_less_memory), T(test_the_graph_may_be_used_again),
          T(test_nested_checkpoints), T(test_an_intermediate_target_inside_a_checkpoint),
          T(test_no_checkpoint_without_history), T(test_an_error_inside_a_checkpoint),
          T(test_replay_notices_a_changed_input), T(test_a_block_is_replayed_once_a_sweep))
