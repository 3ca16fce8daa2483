/* test_ops.c -- every op of ops.def, with every case of its generator: value, memory orders,
 * derivatives to second order (once an op to third), both gradient paths, replay, recompute,
 * need-masks.  `test_ops MATMUL` runs the tests of one op. */
#include "tests/opcheck.h"

/* The first case with something in it and a second derivative is the one for third order. */
static int worth_third(const op_run *r)
{
    return !r->k.no_second && case_numel(r->k.out) > 0 && r->op->kind != OP_FLAT;
}

static void check_op(const op_line *op)
{
    tlv_ctx *c = support_open();
    tlv_ctx *cheap =
        tlv_ctx_open(&(tlv_ctx_opts){ .threads = 1, .recompute = TLV_RECOMPUTE_CHEAP });
    REQUIRE(c && cheap, "no context");
    op_run r = { 0 };
    int n = 0, third = 0;
    for (; op_run_begin(&r, op, n); n++) {
        int now = !third && worth_third(&r);
        op_check_all(&r, c, now);
        op_check_recompute(&r, c, cheap);
        third |= now;
        op_run_end(&r);
    }
    EXPECT(n > 0, "%s has no case", op->name);
    EXPECT_OK(c);
    EXPECT_INT(tlv_mem_get(c).live_tensors, 0);
    tlv_ctx_close(cheap);
    tlv_ctx_close(c);
}

#define TLV_OP(id, kind, cost, args, reads, formula, shapes)                                       \
    static void test_op_##id(void) { check_op(&op_lines[TLV_OP_##id]); }
#include "autograd/ops.def"
#undef TLV_OP

int main(int argc, char **argv)
{
    static const test_case cases[] = {
#define TLV_OP(id, kind, cost, args, reads, formula, shapes) T(test_op_##id),
#include "autograd/ops.def"
#undef TLV_OP
    };
    return test_main(argc, argv, __FILE__, cases, sizeof cases / sizeof cases[0]);
}
