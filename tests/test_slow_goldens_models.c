/* test_slow_goldens_models.c -- ResNets, MobileNetV2, SqueezeNet against PyTorch: logits, loss, the
 * gradient of every parameter, running statistics and a curve of losses (goldens/models.safetensors
 * and mobilenet.safetensors; make_models.py says what they hold). */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "optim/optim.h"
#include "tests/filled.h"
#include "tests/support.h"

enum { DIGEST = 12, NORM = 0, ABS_SUM = 1, SUM = 2, LARGEST = 3, INDEX = 4, VALUE = 8, NAME = 128 };

/* What is asked of one network in one dtype; relative.  F32 is for direct convolution: Winograd's
 * rounds more. */
typedef struct bound { double logits, loss, grad, stats; tlv_conv_choice conv; } bound;
static const bound F32 = { 1e-5, 1e-5, 1e-4, 1e-5, TLV_CONV_DIRECT },
                   F64 = { 1e-9, 1e-9, 1e-9, 1e-9, TLV_CONV_AUTO },
                   WINOGRAD = { 1e-4, 1e-4, 1e-4, 1e-4, TLV_CONV_WINOGRAD };

static tlv_ctx *open_for(const bound *b)
{
    return tlv_ctx_open(&(tlv_ctx_opts){ .threads = 1, .seed = 7, .conv = b->conv });
}

/* ---- the file -------------------------------------------------------------------------------- */

static tlv_file *open_goldens(tlv_ctx *c, const char *name)
{
    char path[512];
    if (!c || !test_file_path(path, sizeof path, name)) return NULL;
    tlv_file *f = tlv_file_open(c, path);
    EXPECT(f && tlv_file_meta(f, "torch"), "%s", tlv_error_msg(c));
    return f;
}

/* The file's values called "a/b/c" (parts joined; b and c may be NULL), n of them. */
static int golden(tlv_ctx *c, const tlv_file *f, const char *a, const char *b, const char *name,
                  double *v, int64_t n)
{
    char full[NAME];
    snprintf(full, sizeof full, "%s%s%s%s%s", a, b ? "/" : "", b ? b : "", name ? "/" : "",
             name ? name : "");
    int i = tlv_file_find(f, full);
    if (!EXPECT(i >= 0, "the file has no %s", full)) return 0;
    tlv_scope s = tlv_scope_begin(c);
    int ok = support_read(c, tlv_file_read(c, f, i), v, n);
    tlv_scope_end(c, s);
    return ok;
}

static tlv_tensor *golden_input(tlv_ctx *c, const tlv_file *f, const char *arch, const char *what,
                                tlv_dtype d)
{
    char name[16];
    double v[5] = { 0 };
    if (!golden(c, f, arch, what, NULL, v, 5)) return NULL;
    snprintf(name, sizeof name, "x%d", (int)v[0]);
    tlv_shape s = TLV_SHAPE((int64_t)v[1], (int64_t)v[2], (int64_t)v[3], (int64_t)v[4]);
    return filled_tensor(c, d, s, name, -1.7, 1.7);
}

/* ---- comparing ------------------------------------------------------------------------------- */

static double worst_ratio;              /* of the running test, for its report */

static void near(double got, double want, double scale, double tol, const char *what,
                 const char *part)
{
    double ratio = fabs(got - want) / (scale > 0 ? scale : 1);
    if (ratio > worst_ratio) worst_ratio = ratio;
    EXPECT(ratio <= tol, "%s: %s is %.12g, want %.12g: relative %.2e > %.0e", what, part, got, want,
           ratio, tol);
}

/* Scales to judge by: a tensor's own; for the bias of a batch norm its weight's where that is
 * larger.  A shift that only other batch norms see does nothing: in train mode such a gradient is a
 * sum that cancels to 0, and its rounding errors are those of the terms. */
static void widen(tlv_ctx *c, const tlv_file *f, const char *arch, const char *kind,
                  const char *name, const double *w, double *scale)
{
    char weight[NAME];
    double other[DIGEST];
    memcpy(scale, w, INDEX * sizeof *scale);
    if (!tlv_match("*bn1.bias,*bn2.bias,*bn3.bias,*downsample.1.bias,*.conv.2.bias,*.conv.3.bias",
                   name))
        return;
    snprintf(weight, sizeof weight, "%.*sweight", (int)(strlen(name) - strlen("bias")), name);
    if (!golden(c, f, arch, kind, weight, other, DIGEST)) return;
    for (int i = 0; i < INDEX; i++) scale[i] = fmax(scale[i], other[i]);
}

/* t against its digest. */
static void check_digest(tlv_ctx *c, const tlv_file *f, const char *arch, const char *kind,
                         const char *name, const tlv_tensor *t, double tol)
{
    char what[NAME];
    double w[DIGEST], scale[INDEX], norm = 0, abs_sum = 0, sum = 0, largest = 0;
    snprintf(what, sizeof what, "%s %s %s", arch, kind, name);
    if (!golden(c, f, arch, kind, name, w, DIGEST) || !EXPECT(t, "%s: NULL", what)) return;
    widen(c, f, arch, kind, name, w, scale);
    int64_t n = tlv_numel(t);
    double *v = malloc((size_t)n * sizeof *v);
    if (v && support_read(c, t, v, n)) {
        for (int64_t i = 0; i < n; i++) {
            norm += v[i] * v[i];
            abs_sum += fabs(v[i]);
            sum += v[i];
            largest = fmax(largest, fabs(v[i]));
        }
        EXPECT(w[NORM] > 0, "%s: the golden gradient is zero, the check proves nothing", what);
        near(sqrt(norm), w[NORM], scale[NORM], tol, what, "the norm");
        near(abs_sum, w[ABS_SUM], scale[ABS_SUM], tol, what, "the sum of magnitudes");
        near(sum, w[SUM], scale[ABS_SUM], tol, what, "the sum");
        near(largest, w[LARGEST], scale[LARGEST], tol, what, "the largest magnitude");
        for (int k = 0; k < 4; k++)
            near(v[(int64_t)w[INDEX + k]], w[VALUE + k], scale[LARGEST], tol, what, "a value");
    }
    free(v);
}

static void check_logits(tlv_ctx *c, const tlv_file *f, const char *arch, const char *mode,
                         const tlv_tensor *logits, double tol)
{
    int64_t n = tlv_numel(logits);
    double *got = calloc((size_t)n * 2 + 1, sizeof *got), *want = got + n, largest = 0, worst = 0;
    if (got && golden(c, f, arch, mode, "logits", want, n) && support_read(c, logits, got, n)) {
        for (int64_t i = 0; i < n; i++) {
            largest = fmax(largest, fabs(want[i]));
            worst = fmax(worst, fabs(got[i] - want[i]));
        }
        near(worst, 0, largest, tol, arch, "the worst logit's error");
    }
    free(got);
}

/* ---- one network ----------------------------------------------------------------------------- */

static void check_mode(tlv_ctx *c, const tlv_file *f, const char *arch, tlv_model *m,
                       const tlv_tensor *x, tlv_mode mode, tlv_stats *stats, const bound *b)
{
    const char *name = mode == TLV_TRAIN ? "train" : "eval";
    char kind[16];
    snprintf(kind, sizeof kind, "%s/grad", name);
    tlv_scope s = tlv_scope_begin(c);
    tlv_run r = tlv_model_run(c, m, mode);
    r.stats = stats;
    tlv_tensor *logits = tlv_model_forward(&r, m, x);
    tlv_tensor *y = filled_labels(c, tlv_dim(x, 0), tlv_model_classes(m));
    tlv_tensor *loss = tlv_cross_entropy(c, logits, y, (tlv_ce_opts){ 0 });
    double want = 0;
    if (EXPECT_OK(c)) {
        check_logits(c, f, arch, name, logits, b->logits);
        golden(c, f, arch, name, "loss", &want, 1);
        near(tlv_item(c, loss), want, fabs(want), b->loss, arch, "the loss");
    }
    tlv_params *p = tlv_model_params(m), *g = tlv_params_grad(c, loss, p, 0);
    int checked = 0;
    for (int i = 0; g && i < tlv_params_count(p); i++) {
        if (tlv_params_is_buffer(p, i)) continue;
        check_digest(c, f, arch, kind, tlv_params_name(p, i), tlv_params_get(g, i), b->grad);
        checked++;
    }
    EXPECT(checked > 0 && tlv_error(c) == TLV_OK, "%s %s: %s", arch, name, tlv_error_msg(c));
    tlv_run_apply_stats(&r, p);
    tlv_scope_end(c, s);
}

/* arch: the prefix in the file of goldens; name: the architecture. */
static void check_network_of(const char *goldens, const char *arch, const char *name,
                             tlv_model_opts o, int apart, int train, const bound *b)
{
    tlv_dtype d = o.dtype;
    tlv_ctx *c = open_for(b);
    tlv_file *f = open_goldens(c, goldens);
    tlv_model *m = f ? tlv_model_open(c, name, o) : NULL;
    tlv_stats *stats = m ? tlv_stats_open(c) : NULL;
    worst_ratio = 0;
    if (EXPECT(stats, "%s", tlv_error_msg(c))
        && filled_params(c, tlv_model_params(m), apart) == TLV_OK) {
        tlv_tensor *x = golden_input(c, f, arch, "input", d);
        tlv_params *p = tlv_model_params(m);
        check_mode(c, f, arch, m, x, TLV_EVAL, NULL, b);
        if (train) check_mode(c, f, arch, m, x, TLV_TRAIN, stats, b);
        for (int i = 0; train && i < tlv_params_count(p); i++) {
            const char *entry = tlv_params_name(p, i);
            if (tlv_match("*.num_batches_tracked", entry))
                EXPECT(tlv_item(c, tlv_params_get(p, i)) == 1, "%s is not 1", entry);
            else if (tlv_params_is_buffer(p, i))
                check_digest(c, f, arch, "stats", entry, tlv_params_get(p, i), b->stats);
        }
        printf("  %s %s, %s: off by %.1e at most\n", arch, tlv_dtype_name(d),
               tlv_conv_algorithm(c), worst_ratio);
    }
    tlv_stats_close(stats);
    tlv_model_close(m);
    tlv_file_close(f);
    tlv_ctx_close(c);
}

static void check_network(const char *arch, tlv_dtype d, const bound *b)
{
    check_network_of("goldens/models.safetensors", arch, arch, (tlv_model_opts){ .dtype = d },
                     strcmp(arch, "resnet50") == 0   ? FILLED_BOTTLENECK
                     : strcmp(arch, "resnet18") == 0 ? FILLED_BASIC
                                                     : FILLED_ANYWHERE,
                     1, b);
}

/* MobileNetV2 x0.25 by torchvision's rules or by Keras's, as make_mobilenet.py has it.  In train
 * mode in f64 alone: its last batch norms see eight values a channel, and 52 of them one after
 * another amplify the rounding of f32 to 3e-4. */
static void check_mobilenet(int same, tlv_dtype d, const bound *b)
{
    tlv_model_opts o = { .classes = 10, .dtype = d, .width = 0.25 };
    if (same) {
        o.padding = TLV_PADDING_SAME;
        o.eps = o.momentum = 1e-3;
    }
    check_network_of("goldens/mobilenet.safetensors", same ? "mobilenet_same" : "mobilenet_torch",
                     "mobilenet_v2", o, 0, d == TLV_F64, b);
}

static void check_squeezenet(tlv_dtype d, const bound *b)
{
    check_network_of("goldens/mobilenet.safetensors", "squeezenet", "squeezenet1_0",
                     (tlv_model_opts){ .classes = 10, .dtype = d }, 0, 1, b);
}

static void test_mobilenet_padded_as_torch_in_f32(void) { check_mobilenet(0, TLV_F32, &F32); }
static void test_mobilenet_padded_as_torch_in_f64(void) { check_mobilenet(0, TLV_F64, &F64); }
static void test_mobilenet_padded_as_keras_in_f32(void) { check_mobilenet(1, TLV_F32, &F32); }
static void test_mobilenet_padded_as_keras_in_f64(void) { check_mobilenet(1, TLV_F64, &F64); }
static void test_squeezenet_in_f32(void) { check_squeezenet(TLV_F32, &F32); }
static void test_squeezenet_in_f64(void) { check_squeezenet(TLV_F64, &F64); }
static void test_squeezenet_by_winograd(void) { check_squeezenet(TLV_F32, &WINOGRAD); }
static void test_resnet18_in_f32(void) { check_network("resnet18", TLV_F32, &F32); }
static void test_resnet18_in_f64(void) { check_network("resnet18", TLV_F64, &F64); }
static void test_resnet18_by_winograd(void) { check_network("resnet18", TLV_F32, &WINOGRAD); }
static void test_resnet50_in_f32(void) { check_network("resnet50", TLV_F32, &F32); }
static void test_resnet50_in_f64(void) { check_network("resnet50", TLV_F64, &F64); }
static void test_resnet50_by_winograd(void) { check_network("resnet50", TLV_F32, &WINOGRAD); }
static void test_resnet20_in_f32(void) { check_network("resnet20", TLV_F32, &F32); }
static void test_resnet20_in_f64(void) { check_network("resnet20", TLV_F64, &F64); }
static void test_resnet20_by_winograd(void) { check_network("resnet20", TLV_F32, &WINOGRAD); }

/* ---- training -------------------------------------------------------------------------------- */

static void test_ten_losses_of_resnet18(void)
{
    enum { STEPS = 10 };
    tlv_ctx *c = open_for(&F32);
    tlv_file *f = open_goldens(c, "goldens/models.safetensors");
    tlv_model *m = f ? tlv_model_open(c, "resnet18", (tlv_model_opts){ .classes = 10 }) : NULL;
    REQUIRE(m && filled_params(c, tlv_model_params(m), FILLED_BASIC) == TLV_OK, "%s",
            tlv_error_msg(c));
    tlv_params *p = tlv_model_params(m);
    tlv_optim *opt = tlv_sgd_open(c, p, (tlv_sgd_opts){ .lr = 0.00001, .momentum = 0.9 });
    tlv_tensor *x = golden_input(c, f, "resnet18", "curve_input", TLV_F32);
    tlv_tensor *y = filled_labels(c, tlv_dim(x, 0), 10);
    double want[STEPS], worst = 0;
    REQUIRE(golden(c, f, "resnet18", "curve", NULL, want, STEPS), "no curve");
    for (int i = 0; i < STEPS; i++) {
        tlv_scope s = tlv_scope_begin(c);
        tlv_run r = tlv_model_run(c, m, TLV_TRAIN);
        tlv_tensor *loss = tlv_cross_entropy(c, tlv_model_forward(&r, m, x), y, (tlv_ce_opts){ 0 });
        double got = tlv_item(c, loss);
        EXPECT_STATUS(tlv_optim_step(c, opt, p, tlv_params_grad(c, loss, p, 0)), TLV_OK);
        worst = fmax(worst, fabs(got / want[i] - 1));
        EXPECT_CLOSE(got, want[i], 1e-4, 0);
        tlv_scope_end(c, s);
    }
    EXPECT(want[STEPS - 1] < want[0] / 2, "the golden curve does not fall: %g to %g", want[0],
           want[STEPS - 1]);
    printf("  10 losses of resnet18, %.4f to %.4f: off by %.1e at most\n", want[0], want[STEPS - 1],
           worst);
    tlv_optim_close(opt);
    tlv_model_close(m);
    tlv_file_close(f);
    tlv_ctx_close(c);
}

TEST_MAIN(T(test_resnet18_in_f32), T(test_resnet18_in_f64), T(test_resnet50_in_f32),
          T(test_resnet50_in_f64), T(test_resnet20_in_f32),
          T(test_resnet20_in_f64), T(test_ten_losses_of_resnet18),
          T(test_mobilenet_padded_as_torch_in_f32), T(test_mobilenet_padded_as_torch_in_f64),
          T(test_mobilenet_padded_as_keras_in_f32), T(test_mobilenet_padded_as_keras_in_f64),
          T(test_squeezenet_in_f32), T(test_squeezenet_in_f64), T(test_resnet18_by_winograd),
          T(test_resnet50_by_winograd), T(test_resnet20_by_winograd),
          T(test_squeezenet_by_winograd))
