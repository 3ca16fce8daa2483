/* test_models.c -- models that are saved and loaded, the dialects of files, settings, new heads:
 * with random weights; test_slow_published has the real ones. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "nn/models/arch.h"
#include "tests/filled.h"
#include "tests/support.h"

static tlv_tensor *picture(tlv_ctx *c)
{
    return filled_tensor(c, TLV_F32, TLV_SHAPE(1, 3, 35, 38), "picture", -1, 1);
}

/* Logits of the picture as doubles; the number of them. */
static int logits(tlv_ctx *c, const tlv_model *m, double *v)
{
    tlv_scope s = tlv_scope_begin(c);
    tlv_run r = tlv_model_run(c, m, TLV_EVAL);
    support_read(c, tlv_model_forward(&r, m, picture(c)), v, tlv_model_classes(m));
    tlv_scope_end(c, s);
    return tlv_model_classes(m);
}

/* Two models say the same of the picture, to the bit. */
static void expect_same_logits(tlv_ctx *c, const tlv_model *a, const tlv_model *b)
{
    double x[64], y[64];
    int n = logits(c, a, x);
    EXPECT_INT(logits(c, b, y), n);
    EXPECT(memcmp(x, y, (size_t)n * sizeof *x) == 0, "%s: other logits: %g, want %g",
           tlv_model_arch(a), y[0], x[0]);
}

static tlv_model *open_filled(tlv_ctx *c, const char *arch, tlv_model_opts o)
{
    tlv_model *m = tlv_model_open(c, arch, o);
    EXPECT(m && filled_params(c, tlv_model_params(m), 0) == TLV_OK, "%s", tlv_error_msg(c));
    return m;
}

static void expect_same_info(const tlv_model_info *got, const tlv_model_info *want)
{
    EXPECT_STR(got->arch, want->arch);
    EXPECT_STR(got->dialect, want->dialect);
    EXPECT_INT(got->classes, want->classes);
    EXPECT_INT(got->dim, want->dim);
    EXPECT_INT(got->has_head, want->has_head);
    EXPECT_INT(got->linear_head, want->linear_head);
    EXPECT_INT(got->folded, want->folded);
    EXPECT_INT(got->padding, want->padding);
    EXPECT_CLOSE(got->width, want->width, 0, 0);
    EXPECT_CLOSE(got->eps, want->eps, 0, 0);
    EXPECT_CLOSE(got->momentum, want->momentum, 0, 0);
    EXPECT_INT(got->recipe.size, want->recipe.size);
    EXPECT_INT(got->recipe.resize, want->recipe.resize);
    EXPECT_INT(got->recipe.filter, want->recipe.filter);
    EXPECT_INT(got->recipe.bgr, want->recipe.bgr);
    for (int i = 0; i < 3; i++) {
        EXPECT_CLOSE(got->recipe.mean[i], want->recipe.mean[i], 0, 0);
        EXPECT_CLOSE(got->recipe.std[i], want->recipe.std[i], 0, 0);
    }
}

/* ---- saved models ---------------------------------------------------------------------------- */

static const struct { const char *arch; tlv_model_opts o; } KINDS[] = {
    { "resnet20", { .classes = 4 } },
    { "mobilenet_v2", { .classes = 4, .width = 0.25 } },
    { "mobilenet_v2", { .classes = 4, .width = 0.37, .padding = TLV_PADDING_SAME, .eps = 0.01,
                        .momentum = 0.25 } },
    { "mobilenet_v2", { .classes = 4, .width = 0.25, .folded = 1 } },
    { "squeezenet1_0", { .classes = 4 } },
};

static void test_saved_and_loaded(void)
{
    static const char *const names[] = { "ants, bees", "\"quoted\\\"", "", "\xc3\xa4\n" };
    static const tlv_recipe recipe = { .size = 96, .resize = 110, .filter = TLV_FILTER_BICUBIC,
                                       .bgr = 1, .mean = { 0.1, 0.2, 1.0 / 3 },
                                       .std = { 0.5, 0.25, 1.0 / 7 } };
    static const char *const extra[] = { "epoch", "12", NULL };
    char path[512];
    tlv_ctx *c = support_open();
    REQUIRE(test_temp_path(path, sizeof path, "m.safetensors"), "no path");
    for (size_t i = 0; i < sizeof KINDS / sizeof KINDS[0]; i++) {
        tlv_model *m = open_filled(c, KINDS[i].arch, KINDS[i].o);
        tlv_model_info info;
        tlv_model_set_recipe(m, &recipe);
        EXPECT_STR(tlv_model_class_name(m, 0), NULL);
        EXPECT_STATUS(tlv_model_set_class_names(c, m, names), TLV_OK);
        EXPECT_STATUS(tlv_model_save(c, m, path, extra), TLV_OK);
        EXPECT_STATUS(tlv_model_peek(c, path, &info), TLV_OK);
        expect_same_info(&info, tlv_model_about(m));
        tlv_model *back = tlv_model_load(c, path, NULL, (tlv_model_opts){ 0 }, NULL);
        REQUIRE(back, "%s: %s", KINDS[i].arch, tlv_error_msg(c));
        expect_same_info(tlv_model_about(back), tlv_model_about(m));
        EXPECT(memcmp(&back->info.recipe, &recipe, sizeof recipe) == 0, "another recipe");
        for (int k = 0; k < 4; k++) EXPECT_STR(tlv_model_class_name(back, k), names[k]);
        EXPECT_STR(tlv_model_class_name(back, 4), NULL);
        EXPECT_STR(tlv_model_class_name(back, -1), NULL);
        expect_same_logits(c, m, back);
        tlv_file *f = tlv_file_open(c, path);
        EXPECT_STR(f ? tlv_file_meta(f, "epoch") : NULL, "12");
        EXPECT_STR(f ? tlv_file_meta(f, "libtlvision") : NULL, tlv_version());
        tlv_file_close(f);
        tlv_model_close(back);
        tlv_model_close(m);
    }
    EXPECT_OK(c);
    remove(path);
    tlv_ctx_close(c);
}

/* A file without a head stays one, and says so. */
static void test_without_a_head(void)
{
    static const char *const archs[] = { "resnet20", "mobilenet_v2", "squeezenet1_0" };
    char path[512];
    tlv_ctx *c = support_open();
    REQUIRE(test_temp_path(path, sizeof path, "m.safetensors"), "no path");
    for (int i = 0; i < 3; i++) {
        tlv_load_report r;
        tlv_model *m = open_filled(c, archs[i], (tlv_model_opts){ .classes = 5 });
        m->info.has_head = 0;
        EXPECT_STATUS(tlv_model_save(c, m, path, NULL), TLV_OK);
        tlv_model *back = tlv_model_load(c, path, NULL, (tlv_model_opts){ .classes = 3 }, &r);
        REQUIRE(back, "%s: %s", archs[i], tlv_error_msg(c));
        EXPECT_INT(tlv_model_has_head(back), 0);
        EXPECT_INT(tlv_model_classes(back), 3);
        EXPECT(strstr(r.text, "has no head"), "%s", r.text);
        EXPECT_STATUS(tlv_model_new_head(c, back, 3), TLV_OK);
        EXPECT_INT(tlv_model_has_head(back), 1);
        tlv_model_close(back);
        tlv_model_close(m);
    }
    EXPECT_OK(c);
    remove(path);
    tlv_ctx_close(c);
}

/* What tlv_model_save writes, but one pair of metadata is somebody else's. */
static void expect_refused(tlv_ctx *c, const char *path, const char *key, const char *value,
                           const char *part)
{
    tlv_model *m = tlv_model_open(c, "mobilenet_v2", (tlv_model_opts){ .classes = 2,
                                                                       .width = 0.25 });
    const char *meta[] = { "libtlvision", "0", key, value, NULL };
    tlv_params_save(c, tlv_model_params(m), path, meta);
    tlv_model_close(m);
    EXPECT(!tlv_model_load(c, path, NULL, (tlv_model_opts){ 0 }, NULL), "%s=%s loads", key, value);
    EXPECT_ERROR(c, TLV_ERR_FORMAT, part);
}

static void test_metadata_that_lies(void)
{
    static const struct { const char *key, *value, *part; } rows[] = {
        { "width", "nan", "width is 'nan'" },
        { "width", "1e9", "width is '1e9'" },
        { "width", "", "width is ''" },
        { "eps", "-1", "eps is '-1'" },
        { "eps", "0.001x", "eps is '0.001x'" },
        { "momentum", "2", "momentum is '2'" },
        { "padding", "Same", "padding in the metadata is not torch or same" },
        { "dialect", "caffe", "dialect in the metadata" },
        { "recipe", "size=0", "recipe in the metadata" },
        { "class_names", "[\"a\"]", "class_names in the metadata" },
        { "class_names", "[\"a\",\"b\",\"c\"]", "class_names in the metadata" },
        { "class_names", "[\"a\",2]", "class_names in the metadata" },
        { "class_names", "a,b", "class_names in the metadata" },
        { "class_names", "[\"a\",\"b\"", "class_names in the metadata" },
        { "class_names", "[\"a\",\"b\"]]", "class_names in the metadata" },
        { "class_names", "[\"a\",\"\\u0000\"]", "class_names in the metadata" },
    };
    char path[512];
    tlv_ctx *c = support_open();
    REQUIRE(test_temp_path(path, sizeof path, "m.safetensors"), "no path");
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        expect_refused(c, path, rows[i].key, rows[i].value, rows[i].part);

    // Without the library's mark the same words are somebody else's and mean nothing.
    const char *meta[] = { "recipe", "flour", "class_names", "none", "width", "wide", NULL };
    tlv_model *m = tlv_model_open(c, "resnet20", (tlv_model_opts){ 0 });
    tlv_params_save(c, tlv_model_params(m), path, meta);
    tlv_model *back = tlv_model_load(c, path, NULL, (tlv_model_opts){ 0 }, NULL);
    EXPECT(back, "%s", tlv_error_msg(c));
    tlv_model_close(back);
    tlv_model_close(m);
    remove(path);
    tlv_ctx_close(c);
}

static void test_class_names_that_are_none(void)
{
    static const char *const null[] = { "a", NULL }, *const bad[] = { "a", "\xff" };
    tlv_ctx *c = support_open();
    tlv_model *m = tlv_model_open(c, "resnet20", (tlv_model_opts){ .classes = 2 });
    EXPECT_STATUS(tlv_model_set_class_names(c, m, null), TLV_ERR_ARG);
    EXPECT_ERROR(c, TLV_ERR_ARG, "the name of class 1 of 2 is NULL");
    EXPECT_STATUS(tlv_model_set_class_names(c, m, bad), TLV_ERR_ARG);
    EXPECT_ERROR(c, TLV_ERR_ARG, "not UTF-8");
    EXPECT_STATUS(tlv_model_set_class_names(c, m, (const char *const[]){ "x", "y" }), TLV_OK);
    EXPECT_STATUS(tlv_model_set_class_names(c, m, NULL), TLV_OK);
    EXPECT_STR(tlv_model_class_name(m, 1), NULL);
    tlv_model_close(m);
    tlv_ctx_close(c);
}

/* ---- dialects -------------------------------------------------------------------------------- */

/* m's entries under the names of a dialect; num_batches_tracked is PyTorch's alone. */
static void save_as(tlv_ctx *c, const tlv_model *m, const tlvi_dialect *d, const char *path)
{
    enum { MOST = 400, NAME = 80 };
    tlv_file_item item[MOST];
    char (*name)[NAME] = malloc(MOST * sizeof *name);
    int n = 0;
    for (int i = 0; name && i < tlv_params_count(m->params) && n < MOST; i++) {
        const char *own = tlv_params_name(m->params, i);
        if (tlv_match("*num_batches_tracked", own)) continue;
        d->rename(own, name[n], NAME);
        item[n] = (tlv_file_item){ name[n], tlv_params_get(m->params, i) };
        n++;
    }
    EXPECT_STATUS(tlv_file_write(c, path, n, item, NULL), TLV_OK);
    free(name);
}

static void check_dialect(tlv_ctx *c, const char *arch, tlv_model_opts o, const char *dialect)
{
    char path[512];
    tlv_load_report r;
    if (!test_temp_path(path, sizeof path, "m.safetensors")) return;
    const tlvi_dialect *d = tlvi_dialect_find(tlvi_arch_find(c, arch), dialect);
    o.padding = d->padding;
    o.eps = d->eps;
    o.momentum = d->momentum;
    tlv_model *m = open_filled(c, arch, o);
    save_as(c, m, d, path);
    tlv_model *back = tlv_model_load(c, path, NULL, (tlv_model_opts){ 0 }, &r);
    if (EXPECT(back, "%s %s: %s", arch, dialect, tlv_error_msg(c))) {
        m->info.dialect = d->name;
        tlv_model_set_recipe(m, &d->recipe);
        expect_same_info(tlv_model_about(back), tlv_model_about(m));
        EXPECT(strstr(r.text, dialect), "%s", r.text);
        expect_same_logits(c, m, back);
        EXPECT_STATUS(tlv_model_save(c, back, path, NULL), TLV_OK);     // by PyTorch's names now
        tlv_model *again = tlv_model_load(c, path, NULL, (tlv_model_opts){ 0 }, NULL);
        if (EXPECT(again, "%s", tlv_error_msg(c))) {
            expect_same_info(tlv_model_about(again), tlv_model_about(m));
            expect_same_logits(c, m, again);
        }
        tlv_model_close(again);
    }
    tlv_model_close(back);
    tlv_model_close(m);
    remove(path);
}

static void test_dialects(void)
{
    tlv_ctx *c = support_open();
    check_dialect(c, "mobilenet_v2", (tlv_model_opts){ .classes = 6, .width = 0.25 }, "keras");
    check_dialect(c, "mobilenet_v2", (tlv_model_opts){ .classes = 6, .width = 0.5, .folded = 1 },
                  "tflite");
    check_dialect(c, "squeezenet1_0", (tlv_model_opts){ .classes = 6 }, "caffe");
    tlv_ctx_close(c);
}

/* From the files' own lists of names. */
static void test_names_of_dialects(void)
{
    static const struct { const char *arch, *dialect, *entry, *want; } rows[] = {
        { "mobilenet_v2", "keras", "features.0.0.weight", "Conv1.weight" },
        { "mobilenet_v2", "keras", "features.0.1.running_mean", "bn_Conv1.running_mean" },
        { "mobilenet_v2", "keras", "features.1.conv.0.0.weight", "expanded_conv_depthwise.weight" },
        { "mobilenet_v2", "keras", "features.1.conv.1.weight", "expanded_conv_project.weight" },
        { "mobilenet_v2", "keras", "features.1.conv.2.bias", "expanded_conv_project_BN.bias" },
        { "mobilenet_v2", "keras", "features.2.conv.0.0.weight", "block_1_expand.weight" },
        { "mobilenet_v2", "keras", "features.17.conv.1.1.weight", "block_16_depthwise_BN.weight" },
        { "mobilenet_v2", "keras", "features.17.conv.3.bias", "block_16_project_BN.bias" },
        { "mobilenet_v2", "keras", "features.18.0.weight", "Conv_1.weight" },
        { "mobilenet_v2", "keras", "features.18.1.bias", "Conv_1_bn.bias" },
        { "mobilenet_v2", "keras", "classifier.1.bias", "predictions.bias" },
        { "mobilenet_v2", "tflite", "features.0.0.bias", "conv00.bias" },
        { "mobilenet_v2", "tflite", "features.1.conv.0.0.weight", "dw01.weight" },
        { "mobilenet_v2", "tflite", "features.1.conv.1.weight", "conv02.weight" },
        { "mobilenet_v2", "tflite", "features.2.conv.0.0.weight", "conv03.weight" },
        { "mobilenet_v2", "tflite", "features.17.conv.1.0.weight", "dw49.weight" },
        { "mobilenet_v2", "tflite", "features.17.conv.2.weight", "conv50.weight" },
        { "mobilenet_v2", "tflite", "features.18.0.weight", "conv51.weight" },
        { "mobilenet_v2", "tflite", "classifier.1.weight", "conv52.weight" },
        { "squeezenet1_0", "caffe", "features.0.bias", "conv1.bias" },
        { "squeezenet1_0", "caffe", "features.3.squeeze.weight", "fire2/squeeze1x1.weight" },
        { "squeezenet1_0", "caffe", "features.7.expand1x1.weight", "fire5/expand1x1.weight" },
        { "squeezenet1_0", "caffe", "features.12.expand3x3.bias", "fire9/expand3x3.bias" },
        { "squeezenet1_0", "caffe", "classifier.1.weight", "conv10.weight" },
    };
    tlv_ctx *c = support_open();
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char got[80];
        tlvi_dialect_find(tlvi_arch_find(c, rows[i].arch), rows[i].dialect)
            ->rename(rows[i].entry, got, sizeof got);
        EXPECT_STR(got, rows[i].want);
    }
    tlv_ctx_close(c);
}

/* ---- settings -------------------------------------------------------------------------------- */

/* Entries of torchvision 0.14's networks: sums of mobilenet_v2(width_mult=w).parameters(). */
static void test_sizes(void)
{
    static const struct { const char *arch; double width; int64_t numbers; int dim; } rows[] = {
        { "mobilenet_v2", 1, 3504872, 1280 },  { "mobilenet_v2", 0.35, 1677128, 1280 },
        { "mobilenet_v2", 1.4, 6108776, 1792 }, { "squeezenet1_0", 1, 1248424, 512 },
        { "resnet18", 1, 11689512, 512 },
    };
    tlv_ctx *c = support_open();
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        double width = rows[i].width == 1 ? 0 : rows[i].width;
        tlv_model *m = tlv_model_open(c, rows[i].arch, (tlv_model_opts){ .width = width });
        REQUIRE(m, "%s", tlv_error_msg(c));
        EXPECT_INT(tlv_params_numel(tlv_model_params(m), 0), rows[i].numbers);
        EXPECT_INT(tlv_model_dim(m), rows[i].dim);
        tlv_model_close(m);
    }
    tlv_ctx_close(c);
}

static void test_settings_that_are_refused(void)
{
    static const struct { const char *arch; tlv_model_opts o; const char *part; } rows[] = {
        { "resnet20", { .width = 0.5 }, "resnet20 has one form only: its width" },
        { "resnet20", { .padding = TLV_PADDING_SAME }, "one form only: its padding" },
        { "squeezenet1_0", { .eps = 0.1 }, "one form only: its eps" },
        { "resnet20", { .channels = 1 }, "one form only: its number of channels" },
        { "resnet18", { .size = 64 }, "one form only: its size of images" },
        { "conv4", { .folded = 1 }, "conv4 has one form only: its folding" },
        { "conv4", { .channels = -1 }, "-1 channels" },
        { "mobilenet_v2", { .width = -1 }, "width -1" },
        { "mobilenet_v2", { .width = 9 }, "width 9" },
        { "mobilenet_v2", { .eps = 1 }, "eps 1" },
        { "mobilenet_v2", { .momentum = 1.5 }, "momentum 1.5" },
        { "mobilenet_v2", { .padding = (tlv_padding)7 }, "padding 7" },
        { "mobilenet_v2", { .classes = -1 }, "-1 classes" },
    };
    char path[512];
    tlv_ctx *c = support_open();
    REQUIRE(test_temp_path(path, sizeof path, "m.safetensors"), "no path");
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        EXPECT(!tlv_model_open(c, rows[i].arch, rows[i].o), "row %zu opens", i);
        EXPECT_ERROR(c, TLV_ERR_ARG, rows[i].part);
    }
    tlv_model *m = tlv_model_open(c, "mobilenet_v2", (tlv_model_opts){ .width = 0.25 });
    EXPECT_STATUS(tlv_model_save(c, m, path, NULL), TLV_OK);
    EXPECT(!tlv_model_load(c, path, NULL, (tlv_model_opts){ .width = 0.5 }, NULL), "width 0.5");
    EXPECT_ERROR(c, TLV_ERR_ARG, "width 0.5, but the file has 0.25");
    tlv_model_close(m);

    // What a file says may be overruled where no shape depends on it.
    m = tlv_model_load(c, path, NULL, (tlv_model_opts){ .padding = TLV_PADDING_SAME, .eps = 0.5 },
                       NULL);
    REQUIRE(m, "%s", tlv_error_msg(c));
    EXPECT_INT(tlv_model_about(m)->padding, TLV_PADDING_SAME);
    EXPECT_CLOSE(tlv_model_about(m)->eps, 0.5, 0, 0);
    tlv_model_close(m);
    remove(path);
    tlv_ctx_close(c);
}

/* ---- new heads, taps ------------------------------------------------------------------------- */

static void test_new_head_is_linear_and_keeps_the_rest(void)
{
    enum { DIM = 512, K = 3 };
    static const tlv_recipe recipe = { .size = 64, .mean = { 1, 2, 3 }, .std = { 1, 1, 2 } };
    double h[DIM], w[K * DIM], b[K], got[K];
    tlv_ctx *c = support_open();
    tlv_model *m = open_filled(c, "squeezenet1_0", (tlv_model_opts){ .classes = 2 });
    REQUIRE(m, "%s", tlv_error_msg(c));
    tlv_params_freeze(tlv_model_params(m), "features.0.*,classifier.*");
    tlv_model_set_recipe(m, &recipe);
    tlv_model_set_class_names(c, m, (const char *const[]){ "x", "y" });
    EXPECT_INT(tlv_model_about(m)->linear_head, 0);
    EXPECT_STATUS(tlv_model_new_head(c, m, K), TLV_OK);
    EXPECT_INT(tlv_model_about(m)->linear_head, 1);
    EXPECT_STR(tlv_model_class_name(m, 0), NULL);
    EXPECT_INT(tlv_model_recipe(m)->size, 64);

    tlv_params *p = tlv_model_params(m);
    int at = tlv_params_find(p, "classifier.1.weight");
    EXPECT(tlv_params_is_frozen(p, tlv_params_find(p, "features.0.weight")), "it was frozen");
    EXPECT(!tlv_params_is_frozen(p, at), "a new head is to be trained");
    tlv_run r = tlv_model_run(c, m, TLV_EVAL);
    support_read(c, tlv_model_features(&r, m, picture(c)), h, DIM);
    support_read(c, tlv_params_get(p, at), w, K * DIM);
    support_read(c, tlv_params_get(p, tlv_params_find(p, "classifier.1.bias")), b, K);
    logits(c, m, got);
    for (int k = 0; k < K; k++) {
        double want = b[k];
        for (int i = 0; i < DIM; i++) want += w[k * DIM + i] * h[i];
        EXPECT_CLOSE(got[k], want, 1e-5, 1e-5);
    }
    tlv_model_close(m);
    tlv_ctx_close(c);
}

static void test_taps(void)
{
    static const struct { const char *arch, *name; int64_t shape[4]; } rows[] = {
        { "mobilenet_v2", "features.0", { 1, 8, 18, 19 } },
        { "mobilenet_v2", "features.3", { 1, 8, 9, 10 } },
        { "mobilenet_v2", "features.18", { 1, 1280, 2, 2 } },
        { "squeezenet1_0", "features.12", { 1, 512, 1, 2 } },  // 35x38: 15x16, 7x8, 3x4, 1x2
        { "resnet20", "layer3", { 1, 64, 9, 10 } },
    };
    tlv_ctx *c = support_open();
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        double width = strcmp(rows[i].arch, "mobilenet_v2") == 0 ? 0.25 : 0;
        tlv_model *m = tlv_model_open(c, rows[i].arch,
                                      (tlv_model_opts){ .classes = 2, .width = width });
        tlv_taps *taps = tlv_taps_open(c, rows[i].name);
        REQUIRE(m && taps, "%s", tlv_error_msg(c));
        tlv_run r = tlv_model_run(c, m, TLV_EVAL);
        r.taps = taps;
        tlv_model_forward(&r, m, picture(c));
        EXPECT_INT(tlv_taps_count(taps), 1);
        const int64_t *s = rows[i].shape;
        if (tlv_taps_count(taps)) EXPECT_SHAPE(tlv_taps_get(taps, 0), s[0], s[1], s[2], s[3]);
        tlv_taps_close(taps);
        tlv_model_close(m);
    }
    EXPECT_OK(c);
    tlv_ctx_close(c);
}

TEST_MAIN(T(test_saved_and_loaded), T(test_without_a_head), T(test_metadata_that_lies),
          T(test_class_names_that_are_none), T(test_dialects), T(test_names_of_dialects),
          T(test_sizes), T(test_settings_that_are_refused),
          T(test_new_head_is_linear_and_keeps_the_rest), T(test_taps))
