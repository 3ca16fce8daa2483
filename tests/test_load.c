/* test_load.c -- parameter sets from files: strict by name, converted, all or nothing. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "nn/set.h"
#include "tests/support.h"

/* ---- a small set and files for it ------------------------------------------------------------ */

/* fc.weight [2,3], fc.bias [2]; running_mean [2] and num_batches_tracked () are buffers. */
static tlv_params *small_set(tlv_ctx *c, tlv_dtype d)
{
    tlv_build *b = tlv_build_begin(c, d);
    tlv_build_push(b, "fc");
    tlv_build_param(b, "weight", TLV_SHAPE(2, 3), tlv_init_normal(1));
    tlv_build_param(b, "bias", TLV_SHAPE(2), tlv_init_normal(1));
    tlv_build_buffer(b, "running_mean", TLV_SHAPE(2), tlv_init_normal(1));
    tlv_build_buffer(b, "num_batches_tracked", TLV_SCALAR, tlv_init_zeros());
    tlv_build_pop(b);
    return tlv_build_end(b);
}

/* One tensor of a file: its name, dtype, shape; the values are 1, 2, 3 ... */
typedef struct made { const char *name; tlv_dtype dtype; int ndim; int64_t dim[4]; } made;

static void make_file(tlv_ctx *c, const char *path, int n, const made *m)
{
    tlv_file_item items[16];
    double v[64];
    for (int i = 0; i < 64; i++) v[i] = i + 1;
    tlv_scope s = tlv_scope_begin(c);
    for (int i = 0; i < n; i++) {
        tlv_shape shape = { .ndim = m[i].ndim };
        memcpy(shape.dim, m[i].dim, sizeof m[i].dim);
        int64_t numbers = tlvi_shape_numel(shape);
        tlv_tensor *t = tlv_from_data(c, TLV_F64, shape, v, 0);
        EXPECT(numbers <= 64, "%s has too many numbers", m[i].name);
        items[i] = (tlv_file_item){ m[i].name, tlv_cast(c, t, m[i].dtype) };
    }
    EXPECT_STATUS(tlv_file_write(c, path, n, items, NULL), TLV_OK);
    tlv_scope_end(c, s);
}

static void expect_entry(tlv_ctx *c, const tlv_params *p, const char *name, const double *want,
                         int n)
{
    double got[64];
    if (!support_read(c, tlv_params_get(p, tlv_params_find(p, name)), got, n)) return;
    for (int i = 0; i < n; i++)
        EXPECT(got[i] == want[i], "%s[%d] is %.17g, want %.17g", name, i, got[i], want[i]);
}

/* All entries as doubles, one after another. */
static int snapshot(tlv_ctx *c, const tlv_params *p, double *v)
{
    int at = 0;
    for (int i = 0; i < tlv_params_count(p); i++) {
        int n = (int)tlv_numel(tlv_params_get(p, i));
        support_read(c, tlv_params_get(p, i), v + at, n);
        at += n;
    }
    return at;
}

static const double COUNTING[] = { 1, 2, 3, 4, 5, 6 };

#define W { "fc.weight", TLV_F32, 2, { 2, 3 } }
#define B { "fc.bias", TLV_F32, 1, { 2 } }
#define M { "fc.running_mean", TLV_F32, 1, { 2 } }
#define K { "fc.num_batches_tracked", TLV_I64, 0, { 0 } }

/* ---- what loads ------------------------------------------------------------------------------ */

static void test_save_and_load(void)
{
    static const char *const meta[] = { "arch", "small", NULL };
    char path[512];
    double before[16], after[16];
    tlv_ctx *c = support_open();
    REQUIRE(test_temp_path(path, sizeof path, "p.safetensors"), "no path");
    tlv_params *p = small_set(c, TLV_F32), *q = tlv_params_zeros(c, p);
    EXPECT_OK(c);
    EXPECT_STATUS(tlv_params_save(c, p, path, meta), TLV_OK);
    tlv_file *f = tlv_file_open(c, path);
    for (int i = 0; i < 4; i++) EXPECT_STR(tlv_file_name(f, i), tlv_params_name(p, i));
    EXPECT_STR(tlv_file_meta(f, "arch"), "small");
    tlv_file_close(f);

    tlv_load_report r;
    uint32_t version = tlv_params_get(q, 0)->buf->version;
    EXPECT_STATUS(tlv_params_load(c, q, path, (tlv_load_opts){ 0 }, &r), TLV_OK);
    EXPECT_OK(c);
    EXPECT(tlv_params_get(q, 0)->buf->version != version, "caches will not notice");
    EXPECT_INT(r.matched, 4);
    EXPECT_INT(r.missing + r.ignored + r.converted, 0);
    EXPECT_INT(r.numbers, 11);
    EXPECT_STR(r.text, "4 of 4 entries, 11 numbers");
    EXPECT_INT(snapshot(c, p, before), 11);
    snapshot(c, q, after);
    EXPECT(memcmp(before, after, 11 * sizeof *before) == 0, "other values");
    EXPECT_STATUS(tlv_params_load(c, q, path, (tlv_load_opts){ 0 }, NULL), TLV_OK);
    tlv_params_close(p);
    tlv_params_close(q);
    remove(path);
    tlv_ctx_close(c);
}

/* Other floating dtypes become the entry's, an integer counter too; the report says so. */
static void test_other_dtypes_are_converted(void)
{
    static const made files[][4] = {
        { { "fc.weight", TLV_F16, 2, { 2, 3 } }, { "fc.bias", TLV_BF16, 1, { 2 } }, M, K },
        { { "fc.weight", TLV_F64, 2, { 2, 3 } }, B, { "fc.running_mean", TLV_F64, 1, { 2 } },
          { "fc.num_batches_tracked", TLV_F32, 0, { 0 } } },
        { W, B, M, { "fc.num_batches_tracked", TLV_I32, 0, { 0 } } },
    };
    static const int converted[2][3] = { { 2, 3, 1 }, { 3, 2, 4 } };
    char path[512];
    tlv_ctx *c = support_open();
    REQUIRE(test_temp_path(path, sizeof path, "p.safetensors"), "no path");
    for (int d = 0; d < 2; d++)
        for (int i = 0; i < 3; i++) {
            tlv_params *p = small_set(c, d ? TLV_F64 : TLV_F32);
            tlv_load_report r;
            make_file(c, path, 4, files[i]);
            EXPECT_STATUS(tlv_params_load(c, p, path, (tlv_load_opts){ 0 }, &r), TLV_OK);
            EXPECT_OK(c);
            EXPECT_INT(r.converted, converted[d][i]);
            EXPECT(strstr(r.text, "converted"), "%s", r.text);
            expect_entry(c, p, "fc.weight", COUNTING, 6);
            expect_entry(c, p, "fc.bias", COUNTING, 2);
            expect_entry(c, p, "fc.running_mean", COUNTING, 2);
            expect_entry(c, p, "fc.num_batches_tracked", COUNTING, 1);
            tlv_params_close(p);
        }
    remove(path);
    tlv_ctx_close(c);
}

/* The value of 16 bits with so many of exponent and mantissa, from the definition. */
static double half_value(unsigned h, int e_bits, int m_bits)
{
    int bias = (1 << (e_bits - 1)) - 1, e = (int)(h >> m_bits) & ((1 << e_bits) - 1);
    double m = h & ((1u << m_bits) - 1), sign = h >> 15 ? -1 : 1;
    if (e == (1 << e_bits) - 1) return m != 0 ? NAN : sign * INFINITY;
    return sign * ldexp(e ? m + (1 << m_bits) : m, (e ? e : 1) - bias - m_bits);
}

/* All 65536 values of each, from data at an odd address. */
static void test_every_half_is_exact(void)
{
    enum { N = 65536 };
    char path[512];
    tlv_ctx *c = support_open();
    REQUIRE(test_temp_path(path, sizeof path, "h.safetensors"), "no path");
    uint16_t *bits = malloc(N * sizeof *bits);
    double *got = malloc(N * sizeof *got);
    REQUIRE(bits && got, "no memory");
    for (int i = 0; i < N; i++) bits[i] = (uint16_t)i;
    for (int bf = 0; bf < 2; bf++) {
        tlv_build *b = tlv_build_begin(c, TLV_F32);
        tlv_build_param(b, "h", TLV_SHAPE(N), tlv_init_zeros());
        tlv_params *p = tlv_build_end(b);
        uint8_t byte = 1;
        tlv_file_item items[] = {
            { "byte", tlv_from_data(c, TLV_U8, TLV_SHAPE(1), &byte, 0) },
            { "h", tlv_from_data(c, bf ? TLV_BF16 : TLV_F16, TLV_SHAPE(N), bits, 0) } };
        EXPECT_STATUS(tlv_file_write(c, path, 2, items, NULL), TLV_OK);
        tlv_params_load(c, p, path, (tlv_load_opts){ .ignore = "byte" }, NULL);
        EXPECT_OK(c);
        REQUIRE(support_read(c, tlv_params_get(p, 0), got, N), "no values");
        int wrong = 0;
        for (unsigned i = 0; i < N; i++) {
            double want = half_value(i, bf ? 8 : 5, bf ? 7 : 10);
            int same = got[i] == want && signbit(got[i]) == signbit(want);
            if (isnan(want)) same = isnan(got[i]);
            if (!same && wrong++ == 0) EXPECT(0, "%04x is %g, want %g", i, got[i], want);
        }
        EXPECT_INT(wrong, 0);
        tlv_params_close(p);
    }
    free(bits);
    free(got);
    remove(path);
    tlv_ctx_close(c);
}

static void test_allowed_differences(void)
{
    static const made short_file[] = { W, M }, counterless[] = { B, W, M };
    static const made more[] = { W, B, M, K, { "aux.w", TLV_F32, 1, { 3 } },
                                 { "aux.b", TLV_U8, 1, { 3 } } };
    static const made prefixed[] = { { "module.fc.weight", TLV_F32, 2, { 2, 3 } },
                                     { "module.fc.bias", TLV_F32, 1, { 2 } },
                                     { "module.fc.running_mean", TLV_F32, 1, { 2 } },
                                     { "module.aux", TLV_F32, 1, { 1 } } };
    char path[512];
    tlv_load_report r;
    tlv_ctx *c = support_open();
    REQUIRE(test_temp_path(path, sizeof path, "p.safetensors"), "no path");
    tlv_params *p = small_set(c, TLV_F32);
    double before[16], after[16];
    snapshot(c, p, before);

    make_file(c, path, 2, short_file);
    tlv_params_load(c, p, path, (tlv_load_opts){ .allow_missing = "*.bias" }, &r);
    EXPECT_OK(c);
    EXPECT_INT(r.matched, 2);
    EXPECT_INT(r.missing, 2);
    EXPECT_STR(r.text, "2 of 4 entries, 8 numbers, 2 not in the file keep their values");
    snapshot(c, p, after);
    EXPECT(memcmp(before + 6, after + 6, 2 * sizeof *before) == 0, "the bias changed");
    expect_entry(c, p, "fc.weight", COUNTING, 6);

    make_file(c, path, 3, counterless);
    tlv_params_load(c, p, path, (tlv_load_opts){ 0 }, &r);
    EXPECT_OK(c);
    EXPECT_INT(r.missing, 1);
    expect_entry(c, p, "fc.bias", COUNTING, 2);

    make_file(c, path, 6, more);
    tlv_params_load(c, p, path, (tlv_load_opts){ .ignore = "nothing,aux.*" }, &r);
    EXPECT_OK(c);
    EXPECT_INT(r.ignored, 2);
    EXPECT_STR(r.text, "4 of 4 entries, 11 numbers, 2 ignored");

    tlv_params *q = small_set(c, TLV_F32);
    make_file(c, path, 4, prefixed);
    tlv_params_load(c, q, path, (tlv_load_opts){ .ignore = "aux" }, &r);
    EXPECT_OK(c);
    EXPECT_INT(r.matched, 3);
    EXPECT(strstr(r.text, "prefix \"module.\" removed"), "%s", r.text);
    expect_entry(c, q, "fc.weight", COUNTING, 6);
    tlv_params_close(p);
    tlv_params_close(q);
    remove(path);
    tlv_ctx_close(c);
}

/* ---- what is refused ------------------------------------------------------------------------- */

static void test_files_that_do_not_fit(void)
{
    static const struct { int n; made m[9]; tlv_status code; const char *want; } rows[] = {
        { 3, { W, M, K }, TLV_ERR_NAME, "1 of 4 entries are missing (fc.bias)" },
        { 1, { K }, TLV_ERR_NAME, "3 of 4 entries are missing (fc.weight, fc.bias, fc.running_m" },
        { 5, { W, B, M, K, { "x", TLV_F32, 1, { 1 } } }, TLV_ERR_NAME,
          "1 of its 5 tensors are not wanted (x)" },
        { 9, { W, B, M, K, { "x", TLV_F32, 1, { 1 } }, { "y", TLV_F32, 1, { 1 } },
               { "z", TLV_F32, 1, { 1 } }, { "t", TLV_F32, 1, { 1 } }, { "u", TLV_F32, 1, { 1 } } },
          TLV_ERR_NAME, "5 of its 9 tensors are not wanted (x, y, z and 2 more)" },
        { 4, { W, { "fc.bia", TLV_F32, 1, { 2 } }, M, K }, TLV_ERR_NAME,
          "1 of 4 entries are missing (fc.bias), 1 of its 4 tensors are not wanted (fc.bia)" },
        { 5, { W, B, M, K, { "module.fc.weight", TLV_F32, 2, { 2, 3 } } }, TLV_ERR_NAME,
          "not wanted (module.fc.weight)" },
        { 4, { { "fc.weight", TLV_F32, 2, { 3, 2 } }, B, M, K }, TLV_ERR_SHAPE,
          "fc.weight is [3,2], want [2,3]" },
        { 4, { { "fc.weight", TLV_F32, 1, { 6 } }, { "fc.bias", TLV_F32, 2, { 2, 1 } }, M, K },
          TLV_ERR_SHAPE, "fc.weight is [6], want [2,3] (and 1 more differ)" },
        { 4, { W, B, M, { "fc.num_batches_tracked", TLV_I64, 1, { 1 } } }, TLV_ERR_SHAPE,
          "fc.num_batches_tracked is [1], want []" },
        { 4, { W, { "fc.bias", TLV_U8, 1, { 2 } }, M, K }, TLV_ERR_DTYPE,
          "fc.bias is u8, want f32" },
        { 4, { { "fc.weight", TLV_I64, 2, { 2, 3 } }, B, M, K }, TLV_ERR_DTYPE,
          "fc.weight is i64, want f32" },
    };
    char path[512];
    double before[16], after[16];
    tlv_ctx *c = support_open();
    REQUIRE(test_temp_path(path, sizeof path, "p.safetensors"), "no path");
    tlv_params *p = small_set(c, TLV_F32);
    snapshot(c, p, before);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        tlv_load_report r;
        make_file(c, path, rows[i].n, rows[i].m);
        EXPECT_STATUS(tlv_params_load(c, p, path, (tlv_load_opts){ 0 }, &r), rows[i].code);
        EXPECT(strstr(tlv_error_msg(c), "p.safetensors: "), "no file in: %s", tlv_error_msg(c));
        EXPECT_ERROR(c, rows[i].code, rows[i].want);
        EXPECT_INT(r.matched, 0);
        snapshot(c, p, after);
        EXPECT(memcmp(before, after, 11 * sizeof *before) == 0, "row %d: loaded in part", (int)i);
    }
    tlv_params_close(p);
    remove(path);
    tlv_ctx_close(c);
}

static void test_sets_that_cannot_be_written(void)
{
    static const made whole[] = { W, B, M, K };
    char path[512];
    double before[16], after[16];
    tlv_ctx *c = support_open(), *child = support_open();
    REQUIRE(test_temp_path(path, sizeof path, "p.safetensors"), "no path");
    tlv_params *p = small_set(c, TLV_F32);
    make_file(c, path, 4, whole);
    snapshot(c, p, before);

    tlv_scope s = tlv_scope_begin(child);
    tlv_params *lent = tlv_params_borrow(child, p);
    EXPECT_STATUS(tlv_params_load(c, p, path, (tlv_load_opts){ 0 }, NULL), TLV_ERR_STATE);
    EXPECT_ERROR(c, TLV_ERR_STATE, "the set cannot be written");
    EXPECT_STATUS(tlv_params_load(child, lent, path, (tlv_load_opts){ 0 }, NULL), TLV_ERR_STATE);
    EXPECT_ERROR(child, TLV_ERR_STATE, "the set cannot be written: it is of a scope");
    tlv_scope_end(child, s);
    EXPECT_STATUS(tlv_params_load(child, p, path, (tlv_load_opts){ 0 }, NULL), TLV_ERR_STATE);
    EXPECT_ERROR(child, TLV_ERR_STATE, "of another context");
    snapshot(c, p, after);
    EXPECT(memcmp(before, after, 11 * sizeof *before) == 0, "it was written");

    tlv_params_load(c, NULL, path, (tlv_load_opts){ 0 }, NULL);
    EXPECT_ERROR(c, TLV_ERR_ARG, "the set is NULL");
    tlv_params_save(c, NULL, path, NULL);
    EXPECT_ERROR(c, TLV_ERR_ARG, "the set is NULL");
    tlv_params_load(c, p, "no/such/file", (tlv_load_opts){ 0 }, NULL);
    EXPECT_ERROR(c, TLV_ERR_IO, "no/such/file: cannot open it");
    EXPECT_STATUS(tlv_params_load(c, p, path, (tlv_load_opts){ 0 }, NULL), TLV_OK);
    tlv_params_close(p);
    remove(path);
    tlv_ctx_close(child);
    tlv_ctx_close(c);
}

/* ---- models ---------------------------------------------------------------------------------- */

/* Saved and loaded, each architecture is found again, with its classes. */
static void test_detection(void)
{
    static const char *const archs[] = { "resnet20", "resnet32", "resnet44", "resnet56",
                                         "resnet18" };
    char path[512];
    tlv_ctx *c = support_open();
    REQUIRE(test_temp_path(path, sizeof path, "m.safetensors"), "no path");
    for (size_t i = 0; i < sizeof archs / sizeof archs[0]; i++) {
        int classes = 0, want = 7 + (int)i;
        tlv_model *m = tlv_model_open(c, archs[i], (tlv_model_opts){ .classes = want });
        REQUIRE(m, "%s: %s", archs[i], tlv_error_msg(c));
        EXPECT_STATUS(tlv_params_save(c, tlv_model_params(m), path, NULL), TLV_OK);
        tlv_model_close(m);
        EXPECT_STR(tlv_model_detect(c, path, &classes), archs[i]);
        EXPECT_INT(classes, want);
        EXPECT_OK(c);
    }
    remove(path);
    tlv_ctx_close(c);
}

static void test_detection_of_other_files(void)
{
    // A head that promises classes without having numbers for them.
    static const made lying[] = { { "conv1.weight", TLV_F32, 1, { 1 } },
                                  { "linear.weight", TLV_F32, 2, { 2147483647, 0 } },
                                  { "fc.weight", TLV_F32, 2, { 2147483647, 0 } } };
    static const made other[] = { W, B };
    char path[512];
    int classes = 5;
    tlv_ctx *c = support_open();
    REQUIRE(test_temp_path(path, sizeof path, "m.safetensors"), "no path");
    make_file(c, path, 3, lying);
    EXPECT_STR(tlv_model_detect(c, path, &classes), NULL);
    EXPECT_INT(classes, 0);
    make_file(c, path, 2, other);
    EXPECT_STR(tlv_model_detect(c, path, NULL), NULL);
    EXPECT_OK(c);
    EXPECT(!tlv_model_load(c, path, NULL, (tlv_model_opts){ 0 }, NULL), "it is a model");
    EXPECT_ERROR(c, TLV_ERR_NAME, "of no architecture known here");
    EXPECT(!tlv_model_load(c, path, "resnet20", (tlv_model_opts){ 0 }, NULL), "it is a ResNet-20");
    EXPECT_ERROR(c, TLV_ERR_NAME, "entries are missing (conv1.weight");
    EXPECT(!tlv_model_load(c, path, "resnet21", (tlv_model_opts){ 0 }, NULL), "a resnet21");
    EXPECT_ERROR(c, TLV_ERR_ARG, "there is no architecture 'resnet21'");
    EXPECT_STR(tlv_model_detect(c, "no/such/file", NULL), NULL);
    EXPECT_ERROR(c, TLV_ERR_IO, "cannot open it");
    remove(path);
    tlv_ctx_close(c);
}

static void test_published_weights(void)
{
    char path[512], other[512];
    int classes = 0;
    NEED_DATA(path, sizeof path, "resnet_cifar10/resnet20.safetensors");
    NEED_DATA(other, sizeof other, "resnet_cifar10/resnet32.safetensors");
    tlv_ctx *c = support_open();
    EXPECT_STR(tlv_model_detect(c, path, &classes), "resnet20");
    EXPECT_INT(classes, 10);
    EXPECT_STR(tlv_model_detect(c, other, &classes), "resnet32");

    tlv_load_report r;
    tlv_model *m = tlv_model_open(c, "resnet20", (tlv_model_opts){ 0 });
    REQUIRE(m, "%s", tlv_error_msg(c));
    tlv_params *p = tlv_model_params(m);
    EXPECT_STATUS(tlv_params_load(c, p, path, (tlv_load_opts){ 0 }, &r), TLV_OK);
    EXPECT_OK(c);
    EXPECT_INT(tlv_params_numel(p, 0), 269722);             // PyTorch's count
    EXPECT_INT(r.matched + r.missing, tlv_params_count(p));
    tlv_file *f = tlv_file_open(c, path);
    for (int i = 0; i < tlv_file_count(f); i++) {
        const tlv_tensor *t = tlv_params_get(p, tlv_params_find(p, tlv_file_name(f, i)));
        tlv_view v, w;
        tlv_view_of(c, t, &v);
        tlv_view_of(c, tlv_file_read(c, f, i), &w);
        EXPECT(memcmp(v.ptr, w.ptr, (size_t)tlv_numel(t) * 4) == 0, "%s", tlv_file_name(f, i));
    }
    tlv_file_close(f);

    EXPECT_STATUS(tlv_params_load(c, p, other, (tlv_load_opts){ 0 }, &r), TLV_ERR_NAME);
    EXPECT_ERROR(c, TLV_ERR_NAME, "tensors are not wanted");
    tlv_model_close(m);

    m = tlv_model_load(c, path, NULL, (tlv_model_opts){ .classes = 3 }, &r);
    REQUIRE(m, "%s", tlv_error_msg(c));
    EXPECT_STR(tlv_model_arch(m), "resnet20");
    EXPECT_INT(tlv_model_classes(m), 3);
    tlv_model_close(m);
    tlv_ctx_close(c);
}

/* ---- no memory ------------------------------------------------------------------------------- */

/* 1 if a model could be loaded with request number fail_at failing. */
static int load_with_fault(const char *path, int64_t fail_at)
{
    tlv_ctx *c = tlv_ctx_open(&(tlv_ctx_opts){ .threads = 1, .fail_at = fail_at });
    if (!c) return 0;
    tlv_model *m = tlv_model_load(c, path, NULL, (tlv_model_opts){ .classes = 4 }, NULL);
    EXPECT(!m == (tlv_error(c) != TLV_OK), "request %d: %s", (int)fail_at, tlv_error_msg(c));
    if (!m) EXPECT_STATUS(tlv_error(c), TLV_ERR_NOMEM);
    tlv_model_close(m);
    tlv_ctx_close(c);
    return m != NULL;
}

static void test_no_memory_anywhere(void)
{
    char path[512];
    tlv_ctx *c = support_open();
    REQUIRE(test_temp_path(path, sizeof path, "m.safetensors"), "no path");
    tlv_model *m = tlv_model_open(c, "resnet20", (tlv_model_opts){ 0 });
    REQUIRE(m, "%s", tlv_error_msg(c));
    tlv_params_save(c, tlv_model_params(m), path, NULL);
    EXPECT_OK(c);
    tlv_model_close(m);
    tlv_ctx_close(c);
    int64_t at = 1;
    while (at < 5000 && !load_with_fault(path, at)) at++;
    EXPECT(at > 50 && at < 5000, "%d requests failed", (int)at - 1);
    remove(path);
}

TEST_MAIN(T(test_save_and_load), T(test_other_dtypes_are_converted), T(test_every_half_is_exact),
          T(test_allowed_differences), T(test_files_that_do_not_fit),
          T(test_sets_that_cannot_be_written), T(test_detection), T(test_detection_of_other_files),
          T(test_published_weights), T(test_no_memory_anywhere))
