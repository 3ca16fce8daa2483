/* mutants.c -- breaks the gradient of every op in every way of autograd/op.h, on the fast and on
 * the graph path, and wants the generic checks to notice.  `make mutants` builds the library
 * with the means to. */
#include "tests/opcheck.h"

#include "autograd/op.h"

#ifdef TLVI_MUTANTS

static const char *const KINDS[TLVI_MUT_COUNT] = { "none", "x 1.01", "zero", "swapped",
                                                   "a dropped sum" };

/* A case in which nothing flows cannot tell one gradient from another. */
static int is_empty(const op_run *r)
{
    int empty = case_numel(r->k.out) == 0;
    for (int i = 0; i < r->k.n_in; i++) empty |= case_numel(r->k.in[i].shape) == 0;
    return empty;
}

/* Runs the checks of every case until one fails; returns whether one did, and whether the mutant
 * acted. */
static int noticed(tlv_ctx *c, const op_line *op, int *acted)
{
    op_run r = { .quiet = 1 };
    *acted = 0;
    for (int n = 0; !r.failures && op_run_begin(&r, op, n); n++) {
        c->mutant.fired = 0;
        op_check_gradients(&r, c);
        if (!r.failures) op_check_values(&r, c);
        *acted |= c->mutant.fired && !is_empty(&r);
        op_run_end(&r);
    }
    return r.failures > 0;
}

/* One mutant; returns whether it acted. */
static int break_it(tlv_ctx *c, const op_line *op, int kind, int input, int recording)
{
    int acted;
    c->mutant.kind = kind;
    c->mutant.input = input;
    c->mutant.recording = recording;
    int seen = noticed(c, op, &acted);
    c->mutant.kind = TLVI_MUT_NONE;
    EXPECT(seen || !acted, "survivor: %s, %s, gradient %d, %s path", op->name, KINDS[kind], input,
           recording ? "graph" : "fast");
    return acted;
}

static int break_path(tlv_ctx *c, const op_line *op, int recording)
{
    uint32_t inputs = c->mutant.delivered[recording];
    int made = break_it(c, op, TLVI_MUT_SUM_TO, 0, recording);
    for (int i = 0; i < 32; i++) {
        if (!(inputs >> i & 1)) continue;
        for (int kind = TLVI_MUT_SCALE; kind <= TLVI_MUT_ZERO; kind++) {
            int acted = break_it(c, op, kind, i, recording);
            EXPECT(acted, "%s, %s, gradient %d: the mutant did nothing", op->name, KINDS[kind], i);
            made += acted;
        }
        if (inputs >> i >> 1 & 1) made += break_it(c, op, TLVI_MUT_SWAP, i, recording);
    }
    EXPECT(inputs, "%s: no case reaches a gradient on the %s path", op->name,
           recording ? "graph" : "fast");
    return made;
}

static void check_op(const op_line *op)
{
    if (op->kind == OP_FLAT) {
        EXPECT(tlvi_ops[op->op].vjp == NULL, "%s is FLAT, but has a gradient", op->name);
        return;
    }
    tlv_ctx *c = support_open();
    REQUIRE(c, "no context");
    int acted;
    c->mutant.op = (int)op->op;
    REQUIRE(!noticed(c, op, &acted), "%s fails without being broken", op->name);
    int made = break_path(c, op, 0) + break_path(c, op, 1);
    EXPECT(made >= 4, "%s: %d mutants", op->name, made);
    tlv_ctx_close(c);
}

/* ---- declared reads -------------------------------------------------------------------------- */

enum { SLOTS = 16 };

/* Does the gradient of input i change when slot s of the node is spoilt?  1 yes, 0 no, -1 not
 * declared. */
static int slot_matters(op_run *r, tlv_ctx *c, int i, int s)
{
    int declared = 0;
    for (int recording = 0; recording < 2; recording++) {
        int flags = recording ? TLV_CREATE_GRAPH : 0;
        op_plan p = { .dtype = TLV_F64, .level = 1, .mask = 1u << i, .flags = flags };
        op_result want, got;
        if (!op_compute(r, c, p, &want)) return 1;
        c->mutant.fired = 0;
        c->mutant.recording = recording;
        c->mutant.input = s;
        c->mutant.kind = TLVI_MUT_SPOIL;
        int ok = op_compute(r, c, p, &got);
        c->mutant.kind = TLVI_MUT_NONE;
        if (!c->mutant.fired) continue;
        declared = 1;
        if (!ok || memcmp(got.g[i], want.g[i], (size_t)want.n_g[i] * sizeof(double)) != 0) return 1;
    }
    return declared ? 0 : -1;
}

/* What ops.def says is read is kept in memory: some case must read it.  (A custom op keeps all
 * that its callback might read.) */
static void check_reads(const op_line *op)
{
    tlv_ctx *c = support_open();
    REQUIRE(c, "no context");
    char matters[CASE_MAX_IN][SLOTS] = { { 0 } };           // 1: declared, 2: and read
    c->mutant.op = (int)op->op;
    op_run r = { .quiet = 1 };
    int n = 0;
    for (; op_run_begin(&r, op, n); n++) {
        for (int i = 0; i < r.k.n_in; i++)
            for (int s = 0; s < SLOTS && op_is_real(&r, i) && !is_empty(&r); s++) {
                int m = matters[i][s] == 2 ? 2 : slot_matters(&r, c, i, s) + 1;
                if (m > matters[i][s]) matters[i][s] = (char)m;
            }
        op_run_end(&r);
    }
    EXPECT(n > 0, "%s has no case", op->name);
    for (int i = 0; i < CASE_MAX_IN; i++)
        for (int s = 0; s < SLOTS; s++)
            EXPECT(matters[i][s] != 1 || op->op == TLV_OP_CUSTOM,
                   "%s: the gradient of input %d should read slot %d of \"%s\", but does not",
                   op->name, i, s, tlvi_ops[op->op].args);
    tlv_ctx_close(c);
}

#else

static void check_op(const op_line *op)
{
    (void)op;
    SKIP("this build cannot break gradients: make mutants");
}

static void check_reads(const op_line *op) { check_op(op); }

#endif

#define TLV_OP(id, kind, cost, args, reads, formula, shapes)                                       \
    static void test_mutants_##id(void) { check_op(&op_lines[TLV_OP_##id]); }                      \
    static void test_reads_##id(void) { check_reads(&op_lines[TLV_OP_##id]); }
#include "autograd/ops.def"
#undef TLV_OP

int main(int argc, char **argv)
{
    static const test_case cases[] = {
#define TLV_OP(id, kind, cost, args, reads, formula, shapes) \
    T(test_mutants_##id), T(test_reads_##id),
#include "autograd/ops.def"
#undef TLV_OP
    };
    return test_main(argc, argv, __FILE__, cases, sizeof cases / sizeof cases[0]);
}
