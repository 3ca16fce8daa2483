/* test_lora.c -- low-rank changes (Hu et al. 2022, arXiv:2106.09685), and inner loops that adapt
 * these, or a part of the parameters, alone. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "tests/filled.h"
#include "tests/small_net.h"
#include "tests/support.h"

enum { WAYS = 3, SHOTS = 2, QUERIES = 3, RANK = 2 };

static const tlv_tensor *entry(const tlv_params *p, const char *name)
{
    int i = tlv_params_find(p, name);
    EXPECT(i >= 0, "there is no entry %s", name);
    return tlv_params_get(p, i);
}

static int same(tlv_ctx *c, const tlv_tensor *a, const tlv_tensor *b)
{
    double x[512], y[512];
    int64_t n = tlv_numel(a);
    return n <= 512 && support_read(c, a, x, n) && support_read(c, b, y, n)
        && memcmp(x, y, (size_t)n * sizeof *x) == 0;
}

/* ---- sets ------------------------------------------------------------------------------------ */

static void test_add_puts_a_pair_behind_each_matrix(void)
{
    tlv_ctx *c = support_open();
    tlv_model *m = small_net_open(c, TLV_F64, 1, WAYS);
    const tlv_params *p = tlv_model_params(m);
    tlv_params *q = tlv_lora_add(c, p, "*", RANK);
    REQUIRE(q, "%s", tlv_error_msg(c));
    EXPECT_INT(tlv_params_count(q), tlv_params_count(p) + 6);       // conv1, conv2, fc
    EXPECT_SHAPE(entry(q, "conv1.weight.lora_a"), RANK, 27);
    EXPECT_SHAPE(entry(q, "conv1.weight.lora_b"), 3, RANK);
    EXPECT_SHAPE(entry(q, "conv2.weight.lora_a"), RANK, 27);
    EXPECT_SHAPE(entry(q, "conv2.weight.lora_b"), 4, RANK);
    EXPECT_SHAPE(entry(q, "fc.weight.lora_a"), RANK, 4);
    EXPECT_SHAPE(entry(q, "fc.weight.lora_b"), WAYS, RANK);
    for (int i = 0; i < tlv_params_count(q); i++) {
        const char *name = tlv_params_name(q, i);
        EXPECT_INT(tlv_params_is_frozen(q, i), tlv_match("conv*.weight,fc.weight", name));
        double v[128], sum = 0;
        int64_t n = tlv_numel(q->value[i]);
        if (!tlv_match("*.lora_a,*.lora_b", name)) continue;
        support_read(c, q->value[i], v, n);
        for (int64_t k = 0; k < n; k++) sum += fabs(v[k]);
        EXPECT((sum == 0) == tlv_match("*.lora_b", name), "%s sums up to %g", name, sum);
    }
    tlv_params_close(q);
    q = tlv_lora_add(c, p, "fc.*", RANK);
    EXPECT_INT(tlv_params_count(q), tlv_params_count(p) + 2);
    tlv_params_close(q);
    EXPECT(!tlv_lora_add(c, p, "bn*", RANK), "norms are no matrices");
    EXPECT_ERROR(c, TLV_ERR_ARG, "no matrix");
    EXPECT(!tlv_lora_add(c, p, "*", 0), "rank 0");
    EXPECT_ERROR(c, TLV_ERR_ARG, "rank 0");
    tlv_model_close(m);
    EXPECT_OK(c);
    tlv_ctx_close(c);
}

/* Mean cross-entropy of task 0's support set under p merged. */
static tlv_tensor *loss_of(tlv_ctx *c, const tlv_model *m, const tlv_params *p)
{
    tlv_episode e = small_episode(c, TLV_F64, 0, WAYS, SHOTS, QUERIES);
    tlv_run r = tlv_model_run(c, m, TLV_TRAIN);
    r.params = tlv_lora_merge(c, p, 1);
    return tlv_cross_entropy(c, tlv_model_forward(&r, m, e.x[0]), e.y[0], (tlv_ce_opts){ 0 });
}

static void test_zero_b_changes_nothing(void)
{
    tlv_ctx *c = support_open();
    tlv_model *m = small_net_open(c, TLV_F64, 1, WAYS);
    tlv_params *q = tlv_lora_add(c, tlv_model_params(m), "*", RANK);
    tlv_scope s = tlv_scope_begin(c);
    const tlv_params *merged = tlv_lora_merge(c, q, 1);
    REQUIRE(merged, "%s", tlv_error_msg(c));
    for (int i = 0; i < tlv_params_count(q); i++)
        EXPECT(tlv_params_is_buffer(q, i) || same(c, merged->value[i], q->value[i]),
               "%s is another one", tlv_params_name(q, i));
    EXPECT_CLOSE(tlv_item(c, loss_of(c, m, q)), tlv_item(c, loss_of(c, m, tlv_model_params(m))), 0,
                 0);
    tlv_scope_end(c, s);
    tlv_params_close(q);
    tlv_model_close(m);
    EXPECT_OK(c);
    tlv_ctx_close(c);
}

/* W + 3 B A, summed by hand. */
static void test_merge_is_w_plus_ba(void)
{
    tlv_ctx *c = support_open();
    tlv_model *m = small_net_open(c, TLV_F64, 1, WAYS);
    tlv_params *q = tlv_lora_add(c, tlv_model_params(m), "*", RANK);
    REQUIRE(q && filled_params(c, q, 0) == TLV_OK, "%s", tlv_error_msg(c));
    tlv_scope s = tlv_scope_begin(c);
    const tlv_params *merged = tlv_lora_merge(c, q, 3);
    double w[4 * 27], a[RANK * 27], b[4 * RANK], got[4 * 27];
    support_read(c, entry(q, "conv2.weight"), w, 4 * 27);
    support_read(c, entry(q, "conv2.weight.lora_a"), a, RANK * 27);
    support_read(c, entry(q, "conv2.weight.lora_b"), b, 4 * RANK);
    EXPECT_SHAPE(entry(merged, "conv2.weight"), 4, 3, 3, 3);
    support_read(c, entry(merged, "conv2.weight"), got, 4 * 27);
    for (int o = 0; o < 4; o++)
        for (int i = 0; i < 27; i++) {
            double want = w[o * 27 + i];
            for (int k = 0; k < RANK; k++) want += 3 * b[o * RANK + k] * a[k * 27 + i];
            EXPECT_CLOSE(got[o * 27 + i], want, 1e-14, 1e-15);
        }
    EXPECT(same(c, entry(merged, "bn1.weight"), entry(q, "bn1.weight")), "bn1 was changed");
    tlv_scope_end(c, s);
    tlv_params_close(q);
    tlv_model_close(m);
    EXPECT_OK(c);
    tlv_ctx_close(c);
}

/* Gradients of the pairs against central differences; W has none. */
static void test_gradients_reach_a_and_b(void)
{
    static const char *const NAMES[4] = { "conv1.weight.lora_a", "conv1.weight.lora_b",
                                          "fc.weight.lora_a", "fc.weight.lora_b" };
    tlv_ctx *c = support_open();
    tlv_model *m = small_net_open(c, TLV_F64, 1, WAYS);
    tlv_params *q = tlv_lora_add(c, tlv_model_params(m), "*", RANK);
    REQUIRE(q && filled_params(c, q, 0) == TLV_OK, "%s", tlv_error_msg(c));
    tlv_scope s = tlv_scope_begin(c);
    const tlv_params *g = tlv_params_grad(c, loss_of(c, m, q), q, 0);
    REQUIRE(g, "%s", tlv_error_msg(c));
    EXPECT(!entry(g, "conv1.weight"), "a frozen matrix has a gradient");
    for (int k = 0; k < 4; k++) {
        int slot = tlv_params_find(q, NAMES[k]);
        tlv_tensor *was = tlv_affine(c, q->value[slot], 1, 0);
        tlv_tensor *u = filled_tensor(c, TLV_F64, tlv_shape_of(was), NAMES[k], -1, 1);
        double loss[2], h = 1e-6, want = tlv_item(c, tlv_sum_all(c, tlv_mul(c, u, g->value[slot])));
        for (int side = 0; side < 2; side++) {
            tlv_params_set(c, q, slot, tlv_add(c, was, tlv_affine(c, u, side ? -h : h, 0)));
            loss[side] = tlv_item(c, loss_of(c, m, q));
        }
        tlv_params_set(c, q, slot, was);
        EXPECT(fabs(want) > 1e-4, "%s: hardly a slope", NAMES[k]);
        EXPECT_CLOSE((loss[0] - loss[1]) / (2 * h), want, 1e-6, 0);
    }
    tlv_scope_end(c, s);
    tlv_params_close(q);
    tlv_model_close(m);
    EXPECT_OK(c);
    tlv_ctx_close(c);
}

/* ---- inner loops ----------------------------------------------------------------------------- */

typedef struct part { const char *adapt; int rank; const char *moves; } part;

/* What the inner loop reads and what it would move: exactly the entries that match. */
static void check_part(part want)
{
    tlv_ctx *c = support_open();
    tlv_model *m = small_net_open(c, TLV_F64, 1, WAYS);
    tlv_meta_opts o = tlv_meta_defaults(TLV_MAML, WAYS, SHOTS);
    o.queries = QUERIES;
    o.adapt = want.adapt;
    o.lora_rank = want.rank;
    tlv_meta *l = small_learner(c, m, o);
    REQUIRE(l, "%s", tlv_error_msg(c));
    tlv_scope s = tlv_scope_begin(c);
    tlv_episode e = small_episode(c, TLV_F64, 0, WAYS, SHOTS, QUERIES);
    tlvi_meta_task t = { .c = c, .l = l, .p = l->p, .e = &e, .training = 1 };
    const tlv_params *from = tlvi_meta_adapted(&t, t.p);
    tlv_inner_opts in = { .steps = 1, .lr = 0.1 };
    const tlv_params *to = tlv_inner_loop(c, from, tlvi_meta_support_loss, &t, in);
    REQUIRE(to, "%s", tlv_error_msg(c));
    int moved = 0;
    for (int i = 0; i < l->entries; i++) {
        const char *name = tlv_params_name(l->p, i);
        int should = !tlv_params_is_buffer(l->p, i) && tlv_match(want.moves, name);
        EXPECT((to->value[i] != l->p->value[i]) == should, "adapt %s, rank %d: %s %s", want.adapt,
               want.rank, name, should ? "stays" : "moves");
        moved += should && !same(c, to->value[i], l->p->value[i]);
    }
    EXPECT(moved > 0, "adapt %s: nothing moved", want.adapt);
    const tlv_params *d = l->how->direction(&t);            // everything is meta-learned
    for (int i = 0; d && i < l->entries; i++)
        EXPECT(tlv_params_is_buffer(l->p, i) || d->value[i], "%s has no outer gradient",
               tlv_params_name(l->p, i));
    tlv_scope_end(c, s);
    tlv_meta_close(l);
    tlv_model_close(m);
    EXPECT_OK(c);
    tlv_ctx_close(c);
}

/* Without `adapt` a method's own choice is what the pairs are made for. */
static void test_anil_adapts_the_head_by_lora(void)
{
    tlv_ctx *c = support_open();
    tlv_model *m = small_net_open(c, TLV_F64, 1, WAYS);
    tlv_meta_opts o = tlv_meta_defaults(TLV_ANIL, WAYS, SHOTS);
    o.lora_rank = RANK;
    tlv_meta *l = tlv_meta_open(c, m, o);
    REQUIRE(l, "%s", tlv_error_msg(c));
    EXPECT_INT(l->entries, tlv_params_count(tlv_model_params(m)) + 2);
    for (int i = 0; i < l->entries; i++)
        EXPECT_INT(l->adapted[i], tlv_match("fc.weight.lora_a,fc.weight.lora_b",
                                            tlv_params_name(l->p, i)));
    tlv_meta_close(l);
    tlv_model_close(m);
    EXPECT_OK(c);
    tlv_ctx_close(c);
}

static void test_inner_loop_adapts_what_is_named(void)
{
    static const part PARTS[] = {
        { NULL, 0, "*" },
        { "head.*", 0, "fc.*" },
        { "*norm*,*bn*", 0, "bn*" },
        { "head.weight,bn2.bias", 0, "fc.weight,bn2.bias" },
        { NULL, RANK, "*.lora_a,*.lora_b" },
        { "conv*", RANK, "conv*.lora_a,conv*.lora_b" },
        { "head.*", RANK, "fc.weight.lora_a,fc.weight.lora_b" },
    };
    for (size_t k = 0; k < sizeof PARTS / sizeof PARTS[0]; k++) check_part(PARTS[k]);
}

TEST_MAIN(T(test_add_puts_a_pair_behind_each_matrix), T(test_zero_b_changes_nothing),
          T(test_merge_is_w_plus_ba), T(test_gradients_reach_a_and_b),
          T(test_inner_loop_adapts_what_is_named), T(test_anil_adapts_the_head_by_lora))
