/* test_slow_isa.c -- every case of every op on every instruction set this CPU has, against the
 * scalar kernels; and with several threads against one, where not a bit may differ. */
#include <stdio.h>

#include "tests/opcheck.h"
#include "tensor/core.h"

/* Both gradient paths and second order, in f32. */
static const struct { int level, flags; const char *what; } HOW[] = {
    { 1, 0, "fast path" }, { 1, TLV_CREATE_GRAPH, "graph path" }, { 2, 0, "second order" },
};

/* Every case on context b against context a; tol 0: the same bits. */
static void compare_contexts(tlv_ctx *a, tlv_ctx *b, const char *name, int exact)
{
    op_run r = { 0 };
    for (int i = 0; i < TLV_OP_COUNT; i++)
        for (int n = 0; op_run_begin(&r, &op_lines[i], n); n++) {
            double tol = exact ? 0 : r.k.f32_tol > 0 ? r.k.f32_tol : 1e-5;
            int differentiable = op_lines[i].kind != OP_FLAT;
            for (size_t h = 0; h < (differentiable ? sizeof HOW / sizeof HOW[0] : 1); h++) {
                char what[80];
                snprintf(what, sizeof what, "%s, %s", name, HOW[h].what);
                op_plan p = { .dtype = TLV_F32,
                              .level = differentiable ? HOW[h].level : 0,
                              .flags = HOW[h].flags };
                op_result want, got;
                for (int order = 0; order <= SUPPORT_CHANNELS_LAST; order++) {
                    p.order = order;
                    if (op_compute(&r, a, p, &want) && op_compute(&r, b, p, &got))
                        op_same(&r, what, &got, &want, tol * (h == 2 ? 4 : 1));
                }
            }
            op_run_end(&r);
        }
    EXPECT_OK(a);
    EXPECT_OK(b);
}

static void test_instruction_sets_agree(void)
{
    char list[128];
    snprintf(list, sizeof list, "%s", tlv_isa_available());
    tlv_ctx *scalar = tlv_ctx_open(&(tlv_ctx_opts){ .threads = 1, .isa = "scalar" });
    REQUIRE(scalar, "no context");
    EXPECT_STR(tlv_isa(scalar), "scalar");
    for (char *isa = strtok(list, " "); isa; isa = strtok(NULL, " ")) {
        tlv_ctx *c = tlv_ctx_open(&(tlv_ctx_opts){ .threads = 1, .isa = isa });
        REQUIRE(c, "no context");
        EXPECT_STR(tlv_isa(c), isa);
        compare_contexts(scalar, c, isa, strcmp(isa, "scalar") == 0);
        tlv_ctx_close(c);
    }
    tlv_ctx_close(scalar);
}

static void test_threads_change_no_bit(void)
{
    tlv_ctx *one = tlv_ctx_open(&(tlv_ctx_opts){ .threads = 1 });
    tlv_ctx *two = tlv_ctx_open(&(tlv_ctx_opts){ .threads = 2 });
    tlv_ctx *five = tlv_ctx_open(&(tlv_ctx_opts){ .threads = 5 });
    REQUIRE(one && two && five, "no context");
    two->split_small = five->split_small = 1;
    compare_contexts(one, two, "2 threads", 1);
    compare_contexts(one, five, "5 threads", 1);
    tlv_ctx_close(one);
    tlv_ctx_close(two);
    tlv_ctx_close(five);
}

/* ---- tensors large enough to be cut into many chunks ----------------------------------------- */

enum { ROWS = 1031, COLS = 517, PARTS = 6 };

/* Gradients of a small network whose every loop is worth sharing; copies all results into out. */
static int64_t large_step(tlv_ctx *c, float *out, int64_t room)
{
    tlv_scope s = tlv_scope_begin(c);
    tlv_rng_key key = tlv_rng_stream(c, "large");
    tlv_tensor *x = tlv_randn(c, TLV_F32, tlv_shape2(ROWS, COLS), tlv_rng_fold(key, 1));
    tlv_tensor *w = tlv_leaf(c, tlv_randn(c, TLV_F32, tlv_shape2(COLS, 129), tlv_rng_fold(key, 2)));
    tlv_tensor *b = tlv_leaf(c, tlv_randn(c, TLV_F32, tlv_shape1(129), tlv_rng_fold(key, 3)));
    tlv_tensor *z = tlv_leaf(c, x);
    tlv_tensor *h = tlv_add(c, tlv_matmul(c, z, w, (tlv_matmul_opts){ 0 }), b);
    h = tlv_relu(c, tlv_affine(c, h, 0.05, 0));
    tlv_tensor *rows = tlv_sum(c, h, TLV_AXES(1), TLV_KEEPDIM),
               *cols = tlv_mean(c, h, TLV_AXES(0), 0);
    tlv_tensor *loss = tlv_mean_all(c, tlv_mul(c, tlv_div(c, h, tlv_affine(c, rows, 1, 9)), cols));
    const tlv_tensor *wrt[3] = { z, w, b };
    tlv_tensor *part[PARTS] = { h, rows, cols };
    tlv_grad(c, loss, NULL, 3, wrt, &part[3], 0);
    int64_t at = 0;
    for (int i = 0; i < PARTS && tlv_error(c) == TLV_OK; i++) {
        int64_t n = tlv_numel(part[i]);
        if (at + n <= room) tlv_read(c, part[i], out + at, n);
        at += n;
    }
    EXPECT_OK(c);
    tlv_scope_end(c, s);
    return at;
}

static void test_threads_change_no_bit_of_large_tensors(void)
{
    int64_t room = (int64_t)ROWS * COLS * 4, n[2];
    tlv_ctx *mem = support_open();
    float *got[2];
    for (int i = 0; i < 2; i++) {
        tlv_tensor *t = tlv_empty(mem, TLV_F32, tlv_shape1(room));
        got[i] = tlv_fill_ptr(mem, t);
        tlv_ctx *c = tlv_ctx_open(&(tlv_ctx_opts){ .threads = i + 1, .seed = 3 });
        REQUIRE(c && got[i], "no memory");
        n[i] = large_step(c, got[i], room);
        tlv_ctx_close(c);
    }
    EXPECT(n[0] == n[1] && n[0] > 0 && n[0] <= room, "%lld and %lld results", (long long)n[0],
           (long long)n[1]);
    int64_t differ = 0;
    for (int64_t i = 0; i < n[0]; i++) differ += memcmp(&got[0][i], &got[1][i], sizeof(float)) != 0;
    EXPECT(differ == 0, "%lld of %lld results differ", (long long)differ, (long long)n[0]);
    tlv_ctx_close(mem);
}

TEST_MAIN(T(test_instruction_sets_agree), T(test_threads_change_no_bit),
          T(test_threads_change_no_bit_of_large_tensors))
