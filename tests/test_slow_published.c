/* test_slow_published.c -- published weights of three dialects against PyTorch on a formula image
 * (tests/goldens/published.safetensors; make_published.py says what it holds).  The weights are in
 * the data folder and not part of the project. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "nn/nn.h"
#include "tests/filled.h"
#include "tests/support.h"

#define BAR 1e-4 /* of the largest: f32 here, double precision there */

static tlv_model *load(tlv_ctx *c, const char *name, tlv_model_opts o)
{
    char path[512];
    tlv_load_report r;
    if (!test_data_path(path, sizeof path, name)) return NULL;
    tlv_model *m = tlv_model_load(c, path, NULL, o, &r);
    EXPECT(m, "%s", tlv_error_msg(c));
    if (m) printf("  %s: %s\n", name, r.text);
    return m;
}

/* got against the file's `name`: no number further off than BAR of the largest. */
static void compare(tlv_ctx *c, const tlv_tensor *got, const char *name)
{
    char path[512];
    if (!test_file_path(path, sizeof path, "goldens/published.safetensors")) return;
    tlv_file *f = tlv_file_open(c, path);
    int at = f ? tlv_file_find(f, name) : -1;
    if (EXPECT(at >= 0, "no golden %s", name)) {
        tlv_tensor *want = tlv_file_read(c, f, at);
        int64_t n = tlv_numel(want);
        double *v = malloc(2 * (size_t)n * sizeof *v), worst = 0, largest = 0;
        if (v && EXPECT(got, "%s", tlv_error_msg(c)) && support_read(c, want, v, n)
            && support_read(c, got, v + n, n)) {
            for (int64_t i = 0; i < n; i++) {
                largest = fmax(largest, fabs(v[i]));
                worst = fmax(worst, fabs(v[n + i] - v[i]));
            }
            EXPECT(worst <= BAR * largest, "%s: off by %.2e of %.3g", name, worst, largest);
            printf("  %s: off by %.1e of the largest\n", name, worst / largest);
        }
        free(v);
    }
    tlv_file_close(f);
}

static tlv_tensor *image(tlv_ctx *c, const char *name, int n, int h, int w, double lo, double hi)
{
    return filled_tensor(c, TLV_F32, TLV_SHAPE(n, 3, h, w), name, lo, hi);
}

static void test_keras_without_head(void)
{
    tlv_ctx *c = support_open();
    tlv_model *m = load(c, "mobilenetv2_035_224/mobilenetv2_035_224_notop.safetensors",
                        (tlv_model_opts){ 0 });
    if (m) {
        const tlv_model_info *info = tlv_model_about(m);
        EXPECT_STR(info->arch, "mobilenet_v2");
        EXPECT_STR(info->dialect, "keras");
        EXPECT_CLOSE(info->width, 0.35, 0, 0);
        EXPECT_CLOSE(info->eps, 1e-3, 0, 0);
        EXPECT_CLOSE(info->momentum, 1e-3, 0, 0);
        EXPECT_INT(info->padding, TLV_PADDING_SAME);
        EXPECT_INT(info->folded, 0);
        EXPECT_INT(tlv_model_has_head(m), 0);
        EXPECT_INT(tlv_model_dim(m), 1280);
        EXPECT_CLOSE(info->recipe.mean[0], 0.5, 0, 0);
        tlv_run r = tlv_model_run(c, m, TLV_EVAL);
        compare(c, tlv_model_features(&r, m, image(c, "image", 2, 224, 224, -1, 1)),
                "keras/features");
        compare(c, tlv_model_features(&r, m, image(c, "odd", 1, 160, 96, -1, 1)), "keras/odd");
    }
    tlv_model_close(m);
    tlv_ctx_close(c);
}

static void test_tflite_with_folded_batch_norms(void)
{
    tlv_ctx *c = support_open();
    tlv_model *m = load(c, "coral_mobilenet/mobilenet_v2_1.0_224_quant_dequant.safetensors",
                        (tlv_model_opts){ 0 });
    if (m) {
        const tlv_model_info *info = tlv_model_about(m);
        EXPECT_STR(info->dialect, "tflite");
        EXPECT_CLOSE(info->width, 1, 0, 0);
        EXPECT_INT(info->classes, 1001);
        EXPECT_INT(info->folded, 1);
        EXPECT_INT(tlv_model_has_head(m), 1);
        tlv_run r = tlv_model_run(c, m, TLV_EVAL);
        compare(c, tlv_model_forward(&r, m, image(c, "image", 1, 224, 224, -1, 1)),
                "tflite/logits");
    }
    tlv_model_close(m);
    tlv_ctx_close(c);
}

static void test_caffe(void)
{
    tlv_ctx *c = support_open();
    tlv_model *m = load(c, "squeezenet_v1_0/squeezenet_v1_0.safetensors", (tlv_model_opts){ 0 });
    if (m) {
        const tlv_model_info *info = tlv_model_about(m);
        EXPECT_STR(info->arch, "squeezenet1_0");
        EXPECT_STR(info->dialect, "caffe");
        EXPECT_INT(info->classes, 1000);
        EXPECT_INT(info->linear_head, 0);
        EXPECT_INT(info->recipe.bgr, 1);
        EXPECT_INT(info->recipe.size, 227);
        EXPECT_CLOSE(info->recipe.mean[0] * 255, 104, 1e-12, 0);
        tlv_run r = tlv_model_run(c, m, TLV_EVAL);
        tlv_tensor *x = image(c, "image227", 2, 227, 227, -120, 130);
        compare(c, tlv_model_forward(&r, m, x), "caffe/logits");
        compare(c, tlv_model_features(&r, m, x), "caffe/features");
    }
    tlv_model_close(m);
    tlv_ctx_close(c);
}

TEST_MAIN(T(test_keras_without_head), T(test_tflite_with_folded_batch_norms),
          T(test_caffe))
