/* test_few_shot_models.c -- conv4's three forms and a small ViT: against PyTorch
 * (tests/goldens/few_shot.safetensors), in files, and MAML's outer gradient through them against
 * PyTorch and finite differences. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/filled.h"
#include "tests/support.h"
#include "transfer/meta.h"

enum { WAYS = 5, SIDE = 28, DIGEST = 8, NAME = 160 };

static const char *const ARCHS[4] = { "conv4", "conv4_stride", "conv4_stride_flat",
                                      "vit_mini_patch4" };

static int is_vit(const char *arch) { return strncmp(arch, "vit", 3) == 0; }

static tlv_model *open_filled(tlv_ctx *c, const char *arch, tlv_dtype d)
{
    tlv_model_opts o = { .classes = WAYS, .dtype = d, .width = is_vit(arch) ? 0 : 0.125,
                         .channels = 1 };
    tlv_model *m = tlv_model_open(c, arch, o);
    if (EXPECT(m, "%s", tlv_error_msg(c))) filled_params(c, tlv_model_params(m), 0);
    return m;
}

static tlv_tensor *images(tlv_ctx *c, tlv_dtype d, const char *name)
{
    return filled_tensor(c, d, TLV_SHAPE(WAYS, 1, SIDE, SIDE), name, -1.7, 1.7);
}

/* ---- goldens --------------------------------------------------------------------------------- */

static tlv_file *open_goldens(tlv_ctx *c)
{
    char path[512];
    return test_file_path(path, sizeof path, "goldens/few_shot.safetensors")
             ? tlv_file_open(c, path) : NULL;
}

/* L2 norm, sum of magnitudes, sum, five values. */
static int digest(tlv_ctx *c, const tlv_tensor *t, double out[DIGEST], double *largest)
{
    int64_t n = tlv_numel(t);
    double *v = malloc((size_t)n * sizeof *v);
    int ok = v && support_read(c, t, v, n);
    memset(out, 0, DIGEST * sizeof *out);
    *largest = 0;
    for (int64_t i = 0; ok && i < n; i++) {
        out[0] += v[i] * v[i];
        out[1] += fabs(v[i]);
        out[2] += v[i];
        *largest = fmax(*largest, fabs(v[i]));
    }
    out[0] = sqrt(out[0]);
    for (int k = 0; ok && k < 5; k++) out[3 + k] = v[k == 4 ? n - 1 : k * n / 4];
    free(v);
    return ok;
}

/* Each entry's gradient, relative to its norm (values: to its largest); returns the worst. */
static double check_gradients(tlv_ctx *c, const tlv_file *f, const char *prefix,
                              const tlv_params *g, double tol)
{
    double worst = 0;
    for (int i = 0; g && i < tlv_params_count(g); i++) {
        char what[NAME];
        double want[DIGEST], got[DIGEST], largest;
        if (tlv_params_is_buffer(g, i)) continue;
        snprintf(what, sizeof what, "grad/%s", tlv_params_name(g, i));
        const tlv_tensor *t = tlv_params_get(g, i);
        if (!EXPECT(t, "%s %s: NULL", prefix, what)
            || !support_golden(c, f, prefix, what, want, DIGEST)
            || !digest(c, t, got, &largest))
            continue;
        // The key's part of a qkv bias moves no softmax: its third of the gradient is rounding.
        const double scale[DIGEST] = { want[0], want[1], want[1], largest, largest, largest,
                                       largest, largest };
        for (int k = 0; k < DIGEST; k++) {
            double off = fabs(got[k] - want[k]) / scale[k];
            worst = fmax(worst, off);
            EXPECT(off <= tol, "%s %s: number %d is %.9g, want %.9g", prefix, what, k, got[k],
                   want[k]);
        }
    }
    return worst;
}

static void check_arch(const char *arch, tlv_dtype d, double tol_logits, double tol_grad)
{
    tlv_ctx *c = support_open();
    tlv_model *m = open_filled(c, arch, d);
    tlv_file *f = open_goldens(c);
    REQUIRE(m && f, "%s", tlv_error_msg(c));
    tlv_run r = tlv_model_run(c, m, TLV_TRAIN);
    tlv_tensor *logits = tlv_model_forward(&r, m, images(c, d, "x"));
    double got[WAYS * WAYS], want[WAYS * WAYS], largest = 0, loss;
    REQUIRE(logits && support_read(c, logits, got, WAYS * WAYS)
                && support_golden(c, f, arch, "logits", want, WAYS * WAYS),
            "%s", tlv_error_msg(c));
    for (int i = 0; i < WAYS * WAYS; i++) largest = fmax(largest, fabs(want[i]));
    for (int i = 0; i < WAYS * WAYS; i++) EXPECT_CLOSE(got[i], want[i], 0, tol_logits * largest);
    tlv_tensor *l = tlv_cross_entropy(c, logits, filled_labels(c, WAYS, WAYS), (tlv_ce_opts){ 0 });
    if (support_golden(c, f, arch, "loss", &loss, 1))
        EXPECT_CLOSE(tlv_item(c, l), loss, tol_logits, 0);
    double worst = check_gradients(c, f, arch, tlv_params_grad(c, l, tlv_model_params(m), 0),
                                   tol_grad);
    printf("  %s in %s: gradients off by %.1e at most\n", arch, tlv_dtype_name(d), worst);
    EXPECT_OK(c);
    tlv_file_close(f);
    tlv_model_close(m);
    tlv_ctx_close(c);
}

static void test_agrees_with_pytorch(void)
{
    for (int i = 0; i < 4; i++) {
        check_arch(ARCHS[i], TLV_F64, 1e-11, 1e-9);
        check_arch(ARCHS[i], TLV_F32, 1e-5, 1e-4);
    }
}

/* ---- MAML's outer gradient ------------------------------------------------------------------- */

typedef struct maml {
    tlv_ctx *c;
    tlv_model *m;
    tlv_meta *l;
    tlv_episode e;
} maml;

static maml open_maml(const char *arch, tlv_dtype d, int steps)
{
    maml a = { .c = support_open() };
    tlv_meta_opts o = tlv_meta_defaults(TLV_MAML, WAYS, 1);
    o.inner_steps = steps;
    o.inner_lr = is_vit(arch) ? 0.02 : 0.1;
    a.m = open_filled(a.c, arch, d);
    a.l = a.m ? tlv_meta_open(a.c, a.m, o) : NULL;
    a.e = (tlv_episode){ .ways = WAYS, .shots = 1, .queries = 1 };
    for (int part = 0; part < 2; part++) {
        a.e.x[part] = images(a.c, d, part == TLV_SUPPORT ? "support" : "query");
        a.e.y[part] = filled_labels(a.c, WAYS, WAYS);
    }
    EXPECT_OK(a.c);
    return a;
}

static void close_maml(maml *a)
{
    EXPECT_OK(a->c);
    tlv_meta_close(a->l);
    tlv_model_close(a->m);
    tlv_ctx_close(a->c);
}

static tlv_params *outer(const maml *a, const tlv_params *p, double *loss)
{
    tlvi_meta_task t = { .c = a->c, .l = a->l, .p = p, .e = &a->e, .training = 1 };
    tlv_params *g = a->l->how->direction(&t);
    *loss = t.loss;
    return g;
}

static const int STEPS[3] = { 1, 2, 5 };
static const char *const DEEP[2] = { "conv4_stride", "vit_mini_patch4" };

static void check_outer(const char *arch, tlv_dtype d, int steps, double tol)
{
    char prefix[NAME];
    double loss, want;
    maml a = open_maml(arch, d, steps);
    tlv_file *f = open_goldens(a.c);
    REQUIRE(a.l && f, "%s", tlv_error_msg(a.c));
    snprintf(prefix, sizeof prefix, "%s/maml%d", arch, steps);
    tlv_params *g = outer(&a, a.l->p, &loss);
    if (support_golden(a.c, f, prefix, "loss", &want, 1)) EXPECT_CLOSE(loss, want, tol, 0);
    double worst = check_gradients(a.c, f, prefix, g, tol);
    printf("  %s in %s, %d inner steps: outer gradient off by %.1e at most\n", arch,
           tlv_dtype_name(d), steps, worst);
    tlv_file_close(f);
    close_maml(&a);
}

static void test_outer_gradient_agrees_with_pytorch(void)
{
    for (int i = 0; i < 2; i++)
        for (int k = 0; k < 3; k++) {
            check_outer(DEEP[i], TLV_F64, STEPS[k], 1e-8);
            check_outer(DEEP[i], TLV_F32, STEPS[k], 1e-4);
        }
}

/* The outer loss at p + h u: u's entries are filled values.  First-order MAML has the same loss and
 * needs no second derivatives for it. */
static double loss_at(const maml *a, int seed, double h)
{
    tlv_params *q = tlv_params_clone(a->c, a->l->p);
    double loss = NAN;
    tlv_scope s = tlv_scope_begin(a->c);
    for (int i = 0; i < tlv_params_count(q); i++) {
        char name[NAME];
        const tlv_tensor *t = tlv_params_get(q, i);
        if (tlv_params_is_buffer(q, i)) continue;
        snprintf(name, sizeof name, "u%d.%s", seed, tlv_params_name(q, i));
        tlv_tensor *u = filled_tensor(a->c, TLV_F64, tlv_shape_of(t), name, -1, 1);
        tlv_params_set(a->c, q, i, tlv_add(a->c, t, tlv_affine(a->c, u, h, 0)));
    }
    tlv_meta first = *a->l;
    first.how = &tlvi_fomaml;
    outer(&(maml){ .c = a->c, .l = &first, .e = a->e }, q, &loss);
    tlv_scope_end(a->c, s);
    tlv_params_close(q);
    return loss;
}

static double along(const maml *a, const tlv_params *g, int seed)
{
    double sum = 0;
    for (int i = 0; i < tlv_params_count(g); i++) {
        char name[NAME];
        const tlv_tensor *t = tlv_params_get(g, i);
        if (!t || tlv_params_is_buffer(g, i)) continue;
        snprintf(name, sizeof name, "u%d.%s", seed, tlv_params_name(g, i));
        tlv_tensor *u = filled_tensor(a->c, TLV_F64, tlv_shape_of(t), name, -1, 1);
        sum += tlv_item(a->c, tlv_sum(a->c, tlv_mul(a->c, t, u), TLV_ALL_AXES, 0));
    }
    return sum;
}

static void check_differences(const char *arch, int steps)
{
    enum { DIRECTIONS = 2 };
    const double h = 2e-6;
    double loss, worst = 0;
    maml a = open_maml(arch, TLV_F64, steps);
    REQUIRE(a.l, "%s", tlv_error_msg(a.c));
    tlv_params *g = outer(&a, a.l->p, &loss);
    for (int seed = 0; seed < DIRECTIONS && g; seed++) {
        double want = along(&a, g, seed);
        double near = loss_at(&a, seed, h) - loss_at(&a, seed, -h);
        double far = loss_at(&a, seed, 2 * h) - loss_at(&a, seed, -2 * h);
        double off = fabs((8 * near - far) / (12 * h) - want) / fabs(want);
        worst = fmax(worst, off);
        EXPECT(off <= 1e-6, "%s, %d inner steps: off by %.2e of %.6g", arch, steps, off, want);
    }
    printf("  %s, %d inner steps, against finite differences: off by %.1e at most\n", arch, steps,
           worst);
    close_maml(&a);
}

static void test_outer_gradient_agrees_with_finite_differences(void)
{
    for (int i = 0; i < 2; i++)
        for (int k = 0; k < 3; k++) check_differences(DEEP[i], STEPS[k]);
}

/* ---- where the head alone moves -------------------------------------------------------------- */

/* Making features of the support set once gives what running the model in each inner step does. */
static void check_head_alone(tlv_meta_method method, const char *adapt)
{
    tlv_ctx *c = support_open();
    tlv_meta_opts o = tlv_meta_defaults(method, WAYS, 1);
    o.inner_steps = 3;
    o.adapt = adapt;
    tlv_model *m = open_filled(c, "conv4_stride", TLV_F64);
    tlv_meta *l = m ? tlv_meta_open(c, m, o) : NULL;
    REQUIRE(l, "%s", tlv_error_msg(c));
    EXPECT_INT(l->head_alone, 1);
    tlv_episode e = { .ways = WAYS, .shots = 1, .queries = 1 };
    for (int part = 0; part < 2; part++) {
        e.x[part] = images(c, TLV_F64, part == TLV_SUPPORT ? "support" : "query");
        e.y[part] = filled_labels(c, WAYS, WAYS);
    }
    tlvi_meta_task each = { .c = c, .l = l, .p = l->p, .e = &e, .training = 1 }, once = each;
    tlvi_meta_start(&once);
    EXPECT(once.features, "no features");
    tlv_params *want = l->how->direction(&each), *got = l->how->direction(&once);
    REQUIRE(want && got, "%s", tlv_error_msg(c));
    EXPECT_CLOSE(once.loss, each.loss, 1e-12, 0);
    for (int i = 0; i < tlv_params_count(want); i++) {
        const tlv_tensor *a = tlv_params_get(want, i), *b = tlv_params_get(got, i);
        if (tlv_params_is_buffer(want, i) || !a) continue;
        double off = tlv_item(c, tlv_max(c, tlv_abs(c, tlv_sub(c, a, b)), TLV_ALL_AXES, 0));
        double size = tlv_item(c, tlv_max(c, tlv_abs(c, a), TLV_ALL_AXES, 0));
        EXPECT(off <= 1e-11 * size, "%s of %s: off by %g of %g", tlv_params_name(want, i),
               l->how->name, off, size);
    }
    EXPECT_OK(c);
    tlv_meta_close(l);
    tlv_model_close(m);
    tlv_ctx_close(c);
}

static void test_features_of_the_support_set_are_made_once(void)
{
    check_head_alone(TLV_ANIL, NULL);
    check_head_alone(TLV_META_SGD, "head.*");
    check_head_alone(TLV_IMAML, "fc.*");
}

/* ---- inner steps made again ------------------------------------------------------------------ */

/* The outer gradient of a learner's method with five inner steps, and the memory that it took. */
static tlv_params *outer_of(tlv_meta *l, size_t *bytes)
{
    tlv_episode e = { .ways = WAYS, .shots = 1, .queries = 1 };
    for (int part = 0; part < 2; part++) {
        e.x[part] = images(l->c, TLV_F32, part == TLV_SUPPORT ? "support" : "query");
        e.y[part] = filled_labels(l->c, WAYS, WAYS);
    }
    tlvi_meta_task t = { .c = l->c, .l = l, .p = l->p, .e = &e, .training = 1 };
    tlv_mem_reset_peak(l->c);
    size_t before = tlv_mem_get(l->c).now;
    tlv_params *g = l->how->direction(&t);
    *bytes = tlv_mem_get(l->c).peak - before;
    return g;
}

static void check_again(tlv_meta_method method)
{
    tlv_ctx *c = support_open();
    tlv_model *m = open_filled(c, "conv4_stride", TLV_F32);
    tlv_meta *l[2];
    tlv_params *g[2];
    size_t bytes[2];
    for (int k = 0; k < 2; k++) {
        tlv_meta_opts o = tlv_meta_defaults(method, WAYS, 1);
        o.inner_steps = 5;
        o.inner_lr = 0.1;
        o.checkpoint = k;
        l[k] = m ? tlv_meta_open(c, m, o) : NULL;
        REQUIRE(l[k], "%s", tlv_error_msg(c));
        g[k] = outer_of(l[k], &bytes[k]);
        REQUIRE(g[k], "%s", tlv_error_msg(c));
    }
    for (int i = 0; i < tlv_params_count(g[0]); i++) {
        const tlv_tensor *a = tlv_params_get(g[0], i), *b = tlv_params_get(g[1], i);
        EXPECT(!a == !b, "%s: one has no gradient", tlv_params_name(g[0], i));
        if (a && b)
            EXPECT(tlv_item(c, tlv_max(c, tlv_abs(c, tlv_sub(c, a, b)), TLV_ALL_AXES, 0)) == 0,
                   "%s: other bits", tlv_params_name(g[0], i));
    }
    printf("  %s: %.1f MB, made again %.1f MB\n", l[0]->how->name, (double)bytes[0] / 1e6,
           (double)bytes[1] / 1e6);
    EXPECT(bytes[1] < bytes[0] * 8 / 10, "%zu bytes instead of %zu", bytes[1], bytes[0]);
    EXPECT_OK(c);
    for (int k = 0; k < 2; k++) tlv_meta_close(l[k]);
    tlv_model_close(m);
    tlv_ctx_close(c);
}

static void test_inner_steps_are_made_again(void)
{
    check_again(TLV_MAML);
    check_again(TLV_META_SGD);
    check_again(TLV_MAML_PLUS_PLUS);
}

/* ---- files and settings ---------------------------------------------------------------------- */

static void test_files_keep_settings(void)
{
    static const struct { const char *arch; int channels, size; double width; } ROWS[] = {
        { "conv4", 1, 28, 0.5 }, { "conv4", 3, 84, 0.25 }, { "conv4_stride", 1, 28, 1 },
        { "conv4_stride", 3, 40, 0.5 }, { "conv4_stride_flat", 1, 28, 1 },
        { "conv4_stride_flat", 2, 33, 0.25 }, { "vit_mini_patch4", 1, 32, 1 },
        { "vit_mini_patch4", 3, 28, 1 },
    };
    for (size_t i = 0; i < sizeof ROWS / sizeof ROWS[0]; i++) {
        char path[512];
        tlv_ctx *c = support_open();
        tlv_model_opts o = { .classes = 7, .channels = ROWS[i].channels, .size = ROWS[i].size,
                             .width = is_vit(ROWS[i].arch) ? 0 : ROWS[i].width };
        tlv_model *m = tlv_model_open(c, ROWS[i].arch, o);
        REQUIRE(m && test_temp_path(path, sizeof path, "m.safetensors"), "%s", tlv_error_msg(c));
        EXPECT_STATUS(tlv_model_save(c, m, path, NULL), TLV_OK);
        tlv_model *again = tlv_model_load(c, path, NULL, (tlv_model_opts){ 0 }, NULL);
        REQUIRE(again, "%s", tlv_error_msg(c));
        const tlv_model_info *a = tlv_model_about(again);
        EXPECT_STR(a->arch, ROWS[i].arch);
        EXPECT_INT(a->channels, ROWS[i].channels);
        EXPECT_INT(a->size, ROWS[i].size);
        EXPECT_INT(a->recipe.size, ROWS[i].size);
        EXPECT_CLOSE(a->width, ROWS[i].width, 0, 0);
        tlv_tensor *x = filled_tensor(c, TLV_F32, TLV_SHAPE(2, ROWS[i].channels, ROWS[i].size,
                                                            ROWS[i].size), "x", 0, 1);
        tlv_run r = tlv_model_run(c, m, TLV_EVAL), s = tlv_model_run(c, again, TLV_EVAL);
        double y[14], z[14];
        if (support_read(c, tlv_model_forward(&r, m, x), y, 14)
            && support_read(c, tlv_model_forward(&s, again, x), z, 14))
            EXPECT(memcmp(y, z, sizeof y) == 0, "%s: other logits", ROWS[i].arch);
        tlv_model_close(again);
        tlv_model_close(m);
        tlv_ctx_close(c);
    }
}

/* Without metadata names and shapes tell. */
static void test_names_tell(void)
{
    static const char *const WANT[3] = { "conv4_stride_flat", "vit_mini_patch4",
                                         "vit_tiny_patch16" };
    for (int i = 0; i < 3; i++) {
        char path[512];
        tlv_ctx *c = support_open();
        tlv_model *m = tlv_model_open(c, WANT[i], (tlv_model_opts){ .channels = 1 });
        REQUIRE(m && test_temp_path(path, sizeof path, "m.safetensors"), "%s", tlv_error_msg(c));
        EXPECT_STATUS(tlv_params_save(c, tlv_model_params(m), path, NULL), TLV_OK);
        tlv_model_info info;
        EXPECT_STATUS(tlv_model_peek(c, path, &info), TLV_OK);
        EXPECT_STR(info.arch, WANT[i]);
        EXPECT_INT(info.channels, 1);
        EXPECT_INT(info.size, tlv_model_about(m)->size);
        tlv_model_close(m);
        tlv_ctx_close(c);
    }
}

static void test_wrong_images_are_refused(void)
{
    tlv_ctx *c = support_open();
    tlv_model *m = open_filled(c, "conv4", TLV_F32),
              *v = open_filled(c, "vit_mini_patch4", TLV_F32);
    tlv_run r = tlv_model_run(c, m, TLV_EVAL), s = tlv_model_run(c, v, TLV_EVAL);
    EXPECT(!tlv_model_forward(&r, m, tlv_zeros(c, TLV_F32, TLV_SHAPE(1, 3, SIDE, SIDE))), "RGB");
    EXPECT_ERROR(c, TLV_ERR_SHAPE, "images have 1 channels");
    EXPECT(!tlv_model_forward(&s, v, tlv_zeros(c, TLV_F32, TLV_SHAPE(1, 1, 32, 32))), "32x32");
    EXPECT_ERROR(c, TLV_ERR_SHAPE, "another number of tokens than the 50 positions");
    EXPECT(!tlv_model_forward(&s, v, tlv_zeros(c, TLV_F32, TLV_SHAPE(1, 1, 30, 28))), "30x28");
    EXPECT_ERROR(c, TLV_ERR_SHAPE, "30x28 in patches of 4");
    EXPECT(!tlv_model_open(c, "vit_mini_patch4", (tlv_model_opts){ .size = 30 }), "size 30");
    EXPECT_ERROR(c, TLV_ERR_ARG, "patches of 4");
    EXPECT(!tlv_model_open(c, "conv4", (tlv_model_opts){ .size = 15 }), "size 15");
    EXPECT_ERROR(c, TLV_ERR_ARG, "size 15");
    tlv_model_close(m);
    tlv_model_close(v);
    tlv_ctx_close(c);
}

/* ---- inner loops that move a part ------------------------------------------------------------ */

/* Which entries one inner step moves, by name. */
static void check_moves(const char *arch, const char *adapt, int rank, const char *want)
{
    tlv_ctx *c = support_open();
    tlv_model *m = open_filled(c, arch, TLV_F64);
    tlv_meta_opts o = tlv_meta_defaults(TLV_MAML, WAYS, 1);
    o.adapt = adapt;
    o.lora_rank = rank;
    tlv_meta *l = m ? tlv_meta_open(c, m, o) : NULL;
    REQUIRE(l, "%s", tlv_error_msg(c));
    filled_params(c, l->p, 0);
    tlv_episode e = { .ways = WAYS, .x = { images(c, TLV_F64, "support") },
                      .y = { filled_labels(c, WAYS, WAYS) } };
    tlvi_meta_task t = { .c = c, .l = l, .p = l->p, .e = &e, .training = 1 };
    const tlv_params *fast = tlv_inner_loop(c, tlvi_meta_adapted(&t, l->p), tlvi_meta_support_loss,
                                            &t, (tlv_inner_opts){ .steps = 1, .lr = 0.1 });
    REQUIRE(fast, "%s", tlv_error_msg(c));
    int moved = 0;
    for (int i = 0; i < l->entries; i++) {
        const char *name = tlv_params_name(l->p, i);
        int is = fast->value[i] != l->p->value[i];
        moved += is;
        if (!tlv_params_is_buffer(l->p, i))
            EXPECT(is == tlv_match(want, name), "%s, adapt %s: %s %s", arch, adapt, name,
                   is ? "moves" : "stays");
    }
    EXPECT(moved > 0, "nothing moves");
    tlv_meta_close(l);
    tlv_model_close(m);
    tlv_ctx_close(c);
}

static void test_inner_loops_move_what_is_named(void)
{
    check_moves("conv4_stride", "head.*", 0, "fc.*");
    check_moves("conv4", "bn*", 0, "bn*.weight,bn*.bias");
    check_moves("vit_mini_patch4", "*norm*", 0, "*norm*");
    check_moves("conv4", "conv*", 2, "conv*.lora_a,conv*.lora_b");
    check_moves("vit_mini_patch4", "*attn.qkv*", 2, "*attn.qkv*.lora_a,*attn.qkv*.lora_b");
}

TEST_MAIN(T(test_agrees_with_pytorch), T(test_outer_gradient_agrees_with_pytorch),
          T(test_outer_gradient_agrees_with_finite_differences), T(test_files_keep_settings),
          T(test_names_tell), T(test_wrong_images_are_refused),
          T(test_inner_loops_move_what_is_named),
          T(test_features_of_the_support_set_are_made_once),
          T(test_inner_steps_are_made_again))
