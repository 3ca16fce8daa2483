/* test_pretraining.c -- pre-training on drawn patterns: it learns, it goes on where it stopped, and
 * its bits do not depend on threads. */
#include <stdio.h>
#include <string.h>

#include "tests/support.h"
#include "transfer/transfer.h"

enum { PATH = 512, ENTRIES = 80 };

static tlv_model *open_small(tlv_ctx *c, double width)
{
    tlv_model *m = tlv_model_open(c, "resnet10", (tlv_model_opts){ .width = width });
    if (!m) return NULL;
    tlv_recipe r = *tlv_model_recipe(m);
    r.size = r.resize = 32;
    tlv_model_set_recipe(m, &r);
    return m;
}

static tlv_pretrain_opts small_opts(void)
{
    tlv_pretrain_opts o = tlv_pretrain_defaults();
    o.patterns = (tlv_patterns_opts){ .fractals = 3, .contours = 3, .objects = 1, .key = { 11 } };
    o.steps = 8;
    o.batch = 16;
    o.warmup = 2;
    return o;
}

static int stop_at_5(void *user, const tlv_pretrain *t)
{
    (void)user;
    return tlv_pretrain_now(t)->step == 5;
}

/* The sum of all entries' bytes as one number a slot: equal where bits are. */
static int digest(tlv_ctx *c, const tlv_model *m, uint64_t *out)
{
    const tlv_params *p = tlv_model_params(m);
    for (int i = 0; i < tlv_params_count(p) && i < ENTRIES; i++) {
        static float v[1 << 16];
        const tlv_tensor *t = tlv_params_get(p, i);
        out[i] = 0;
        if (tlv_dtype_of(t) != TLV_F32 || tlv_read(c, t, v, tlv_numel(t)) != TLV_OK) continue;
        for (int64_t k = 0; k < tlv_numel(t); k++) {
            uint32_t bits;
            memcpy(&bits, &v[k], 4);
            out[i] = out[i] * 31 + bits;
        }
    }
    return tlv_params_count(p);
}

/* Eight steps at once; or five, a file, and the rest in another run with other threads. */
static void test_goes_on_where_it_stopped(void)
{
    char path[PATH];
    uint64_t whole[ENTRIES] = { 0 }, parts[ENTRIES] = { 0 }, before[ENTRIES] = { 0 };
    REQUIRE(test_temp_path(path, sizeof path, "run.safetensors"), "no path");
    for (int part = 0; part < 3; part++) {
        int threads = part == 1 ? 1 : 2;
        tlv_ctx *c = tlv_ctx_open(&(tlv_ctx_opts){ .threads = threads, .seed = 5 });
        tlv_model *m = open_small(c, 0.0625);
        tlv_pretrain_opts o = small_opts();
        o.checkpoint = part ? path : NULL;
        o.on_step = part == 1 ? stop_at_5 : NULL;
        tlv_pretrain *t = m ? tlv_pretrain_open(c, m, o) : NULL;
        REQUIRE(t, "%s", tlv_error_msg(c));
        if (part == 0) digest(c, m, before);
        if (part == 2) EXPECT_STATUS(tlv_pretrain_resume(t, path), TLV_OK);
        if (part == 2) EXPECT_INT(tlv_pretrain_now(t)->step, 5);
        EXPECT_STATUS(tlv_pretrain_run(t), TLV_OK);
        EXPECT_INT(tlv_pretrain_now(t)->stopped, part == 1);
        EXPECT_INT(tlv_pretrain_now(t)->step, part == 1 ? 5 : 8);
        int n = digest(c, m, part ? parts : whole);
        EXPECT(n <= ENTRIES, "%d entries", n);
        EXPECT_OK(c);
        tlv_pretrain_close(t);
        tlv_model_close(m);
        tlv_ctx_close(c);
    }
    EXPECT(memcmp(whole, before, sizeof whole) != 0, "nothing was learned");
    EXPECT(memcmp(whole, parts, sizeof whole) == 0, "other bits");
}

/* A checkpoint of another run is refused, and nothing changes. */
static void test_another_run_is_refused(void)
{
    char path[PATH];
    REQUIRE(test_temp_path(path, sizeof path, "run.safetensors"), "no path");
    tlv_ctx *c = support_open();
    tlv_model *m = open_small(c, 0.0625);
    tlv_pretrain_opts o = small_opts();
    o.steps = 1;
    o.checkpoint = path;
    tlv_pretrain *t = tlv_pretrain_open(c, m, o);
    REQUIRE(t, "%s", tlv_error_msg(c));
    EXPECT_STATUS(tlv_pretrain_run(t), TLV_OK);
    tlv_pretrain_close(t);
    o.lr *= 2;
    t = tlv_pretrain_open(c, m, o);
    REQUIRE(t, "%s", tlv_error_msg(c));
    EXPECT_STATUS(tlv_pretrain_resume(t, path), TLV_ERR_STATE);
    EXPECT_ERROR(c, TLV_ERR_STATE, "the checkpoint's run was");
    EXPECT_INT(tlv_pretrain_now(t)->step, 0);
    tlv_pretrain_close(t);
    o.batch = 0;
    EXPECT(!tlv_pretrain_open(c, m, o), "a batch of 0");
    EXPECT_ERROR(c, TLV_ERR_ARG, "pretrain: 1 steps, batch 0");
    o.batch = 4;
    EXPECT(!tlv_pretrain_open(c, NULL, o), "no model");
    EXPECT_ERROR(c, TLV_ERR_ARG, "pretrain: no model");
    tlv_model_close(m);
    tlv_ctx_close(c);
}

/* Two categories in large pictures: three hundred steps find most of them. */
static void test_learns(void)
{
    tlv_ctx *c = support_open();
    tlv_model *m = open_small(c, 0.25);
    tlv_pretrain_opts o = small_opts();
    o.patterns.fractals = 1;
    o.patterns.contours = 1;
    o.steps = 300;
    o.batch = 32;
    o.lr = 2e-3;
    o.warmup = 20;
    tlv_pretrain *t = tlv_pretrain_open(c, m, o);
    REQUIRE(t, "%s", tlv_error_msg(c));
    EXPECT_INT(tlv_model_classes(m), 2);
    EXPECT_STATUS(tlv_pretrain_run(t), TLV_OK);
    printf("  two categories: loss %.3f, found %.3f\n", tlv_pretrain_now(t)->loss,
           tlv_pretrain_now(t)->found);
    EXPECT(tlv_pretrain_now(t)->found > 0.65, "found %.3f", tlv_pretrain_now(t)->found);
    tlv_model_drop_head(m);
    EXPECT_INT(tlv_model_has_head(m), 0);
    EXPECT_OK(c);
    tlv_pretrain_close(t);
    tlv_pretrain_close(NULL);
    tlv_model_close(m);
    tlv_ctx_close(c);
}

TEST_MAIN(T(test_goes_on_where_it_stopped), T(test_another_run_is_refused), T(test_learns))
