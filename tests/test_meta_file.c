/* test_meta_file.c -- the file of a learner: going on with the same bits, and what it refuses. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support.h"
#include "transfer/transfer.h"

enum { WAYS = 3, PATH = 600 };

typedef struct bench {
    tlv_ctx *c;
    tlv_episodes *e;
    tlv_model *m;
    tlv_meta *l;
} bench;

/* Drawn shapes, 16x16, and a narrow network. */
static bench bench_open(int threads, uint64_t seed)
{
    bench b = { .c = tlv_ctx_open(&(tlv_ctx_opts){ .threads = threads, .seed = seed }) };
    tlv_ctx *drawing = tlv_ctx_open(&(tlv_ctx_opts){ .threads = 1, .seed = 3 });
    tlv_dataset *d = tlv_dataset_open(drawing, "shapes:4", "train");
    const tlv_model_opts o = { .classes = WAYS, .width = 0.125, .channels = 3, .size = 16 };
    b.m = tlv_model_open(b.c, "conv4_stride", o);
    if (b.m)
        b.e = tlv_episodes_open(b.c, d, NULL, 0, (tlv_episodes_opts){ *tlv_model_recipe(b.m), 3,
                                                                      TLV_TURNS_NONE });
    EXPECT_OK(b.c);
    tlv_dataset_close(d);
    tlv_ctx_close(drawing);
    return b;
}

static void bench_close(bench *b)
{
    tlv_meta_close(b->l);
    tlv_model_close(b->m);
    tlv_episodes_close(b->e);
    EXPECT_INT(tlv_mem_get(b->c).tape_nodes, 0);
    tlv_ctx_close(b->c);
}

static tlv_meta_opts short_run(tlv_meta_method method)
{
    tlv_meta_opts o = tlv_meta_defaults(method, WAYS, 1);
    o.tasks = 2;
    o.iterations = 6;
    o.lr_end = 1e-4;
    o.inner_lr = 0.1;
    return o;
}

static void steps(bench *b, int n)
{
    for (int i = 0; i < n; i++) EXPECT_STATUS(tlv_meta_step(b->l, b->e, NULL), TLV_OK);
    EXPECT_OK(b->c);
}

/* All bytes of all entries, in slot order; to be freed. */
static unsigned char *bytes_of(tlv_ctx *c, const tlv_meta *l, size_t *n)
{
    const tlv_params *p = tlv_meta_params(l);
    unsigned char *v = NULL;
    *n = 0;
    for (int i = 0; i < tlv_params_count(p); i++) {
        const tlv_tensor *t = tlv_params_get(p, i);
        size_t size = (size_t)tlv_numel(t) * tlv_dtype_size(tlv_dtype_of(t));
        v = realloc(v, *n + size);
        tlv_read(c, t, v + *n, tlv_numel(t));
        *n += size;
    }
    return v;
}

static void same_bytes(tlv_ctx *ca, const tlv_meta *a, tlv_ctx *cb, const tlv_meta *b,
                       const char *what)
{
    size_t n, m;
    unsigned char *v = bytes_of(ca, a, &n), *w = bytes_of(cb, b, &m);
    EXPECT(n == m && memcmp(v, w, n) == 0, "%s: other bits in %zu and %zu bytes", what, n, m);
    free(v);
    free(w);
}

/* ---- going on -------------------------------------------------------------------------------- */

/* Six steps; three, a file, and three more in a learner that is loaded from it, and in one that
 * takes it up, each with another seed and number of threads. */
static void check_going_on(tlv_meta_opts o, const char *what)
{
    char path[PATH];
    if (!test_temp_path(path, sizeof path, "learner.safetensors")) return;
    bench whole = bench_open(1, 7), part = bench_open(1, 7), loaded = bench_open(2, 8),
          taken = bench_open(2, 9);
    whole.l = tlv_meta_open(whole.c, whole.m, o);
    part.l = tlv_meta_open(part.c, part.m, o);
    taken.l = tlv_meta_open(taken.c, taken.m, o);
    steps(&whole, 6);
    steps(&part, 3);
    const char *const note[] = { "note", "half way", NULL };
    EXPECT_STATUS(tlv_meta_save(part.l, path, note), TLV_OK);
    tlv_model_close(loaded.m);
    loaded.l = tlv_meta_load(loaded.c, path, &loaded.m);
    EXPECT_OK(loaded.c);
    EXPECT_STATUS(tlv_meta_resume(taken.l, path), TLV_OK);
    if (loaded.l) {
        const tlv_meta_opts *got = tlv_meta_options(loaded.l);
        EXPECT_INT(tlv_meta_iteration(loaded.l), 3);
        EXPECT_INT(got->method, o.method);
        EXPECT_STR(got->adapt, o.adapt);
        EXPECT(got->inner_lr == o.inner_lr && got->lr == o.lr && got->bn == o.bn
                   && got->iterations == o.iterations, "%s: other options", what);
        same_bytes(loaded.c, loaded.l, part.c, part.l, what);
        steps(&loaded, 3);
        steps(&taken, 3);
        same_bytes(loaded.c, loaded.l, whole.c, whole.l, what);
        same_bytes(taken.c, taken.l, whole.c, whole.l, what);
        EXPECT_INT(tlv_meta_iteration(loaded.l), 6);
    }
    remove(path);
    bench_close(&whole);
    bench_close(&part);
    bench_close(&loaded);
    bench_close(&taken);
}

static void test_going_on(void)
{
    check_going_on(short_run(TLV_MAML), "maml");
    tlv_meta_opts o = short_run(TLV_FOMAML);
    o.adapt = "head.*,*conv*";
    o.lora_rank = 2;
    o.bn = TLV_META_BN_RUNNING;
    check_going_on(o, "fomaml, low rank, running statistics");
}

/* The rates may be set anew: the run goes on with them. */
static void test_what_may_differ(void)
{
    char path[PATH];
    if (!test_temp_path(path, sizeof path, "learner.safetensors")) return;
    bench b = bench_open(1, 7);
    tlv_meta_opts o = short_run(TLV_MAML);
    b.l = tlv_meta_open(b.c, b.m, o);
    steps(&b, 1);
    tlv_meta_save(b.l, path, NULL);
    tlv_meta_close(b.l);
    o.tasks = 3;
    o.lr = 1e-2;
    o.lr_end = 0;
    o.iterations = 50;
    b.l = tlv_meta_open(b.c, b.m, o);
    EXPECT_STATUS(tlv_meta_resume(b.l, path), TLV_OK);
    EXPECT_INT(tlv_meta_options(b.l)->iterations, 50);
    EXPECT_INT(tlv_meta_iteration(b.l), 1);
    steps(&b, 1);
    remove(path);
    bench_close(&b);
}

/* ---- refusals -------------------------------------------------------------------------------- */

static void refused(bench *b, tlv_meta_opts o, const char *path, const char *says)
{
    tlv_meta *l = tlv_meta_open(b->c, b->m, o);
    EXPECT_OK(b->c);
    tlv_meta_resume(l, path);
    EXPECT_ERROR(b->c, TLV_ERR_STATE, says);
    EXPECT_INT(tlv_meta_iteration(l), 0);
    tlv_meta_close(l);
}

static void test_another_run_is_refused(void)
{
    char path[PATH];
    if (!test_temp_path(path, sizeof path, "learner.safetensors")) return;
    bench b = bench_open(1, 7);
    tlv_meta_opts o = short_run(TLV_MAML), other = o;
    b.l = tlv_meta_open(b.c, b.m, o);
    steps(&b, 1);
    tlv_meta_save(b.l, path, NULL);
    other.inner_lr = 0.3;
    refused(&b, other, path, "had inner_lr = 0.1, this one has 0.3");
    other = o;
    other.method = TLV_FOMAML;
    refused(&b, other, path, "had method = maml, this one has fomaml");
    other = o;
    other.bn = TLV_META_BN_RUNNING;
    refused(&b, other, path, "had bn = batch, this one has running");
    other = o;
    other.adapt = "head.*";
    refused(&b, other, path, "had adapt = , this one has head.*");
    other = o;
    other.queries = 2;
    refused(&b, other, path, "had queries = 1, this one has 2");

    tlv_recipe r = *tlv_model_recipe(b.m), wider = r;
    wider.size = 20;
    tlv_model_set_recipe(b.m, &wider);
    refused(&b, o, path, "had recipe = size=16 ");
    tlv_model_set_recipe(b.m, &r);
    remove(path);
    bench_close(&b);
}

/* The file's bytes; to be freed. */
static char *read_file(const char *path, size_t *n)
{
    FILE *f = fopen(path, "rb");
    fseek(f, 0, SEEK_END);
    *n = (size_t)ftell(f);
    rewind(f);
    char *v = malloc(*n + 1);
    EXPECT(fread(v, 1, *n, f) == *n, "a short read");
    fclose(f);
    return v;
}

static void write_file(const char *path, const char *v, size_t n)
{
    FILE *f = fopen(path, "wb");
    EXPECT(fwrite(v, 1, n, f) == n, "a short write");
    fclose(f);
}

/* The place of text in the header. */
static char *find(char *v, size_t n, const char *text)
{
    size_t len = strlen(text);
    for (size_t i = 0; i + len <= n; i++)
        if (memcmp(v + i, text, len) == 0) return v + i;
    EXPECT(0, "no %s in the file", text);
    return NULL;
}

/* The file with one text of its header replaced by another of the same length: neither loaded nor
 * taken up, with a sentence that says `says`, and nothing changed. */
static void damaged(bench *b, const char *path, const char *from, const char *to, const char *says)
{
    size_t n;
    char *v = read_file(path, &n), *at = find(v, n, from), bad[PATH + 8];
    if (at) memcpy(at, to, strlen(to));
    EXPECT_INT(strlen(from), strlen(to));
    snprintf(bad, sizeof bad, "%s.bad", path);
    write_file(bad, v, n);
    tlv_model *m;
    tlv_meta *l = tlv_meta_load(b->c, bad, &m), *fresh;
    EXPECT(!l && !m, "%s for %s: loaded", to, from);
    EXPECT_ERROR(b->c, TLV_ERR_FORMAT, says);
    l = tlv_meta_open(b->c, b->m, *tlv_meta_options(b->l));
    fresh = tlv_meta_open(b->c, b->m, *tlv_meta_options(b->l));
    tlv_meta_resume(l, bad);
    EXPECT_ERROR(b->c, TLV_ERR_FORMAT, says);
    same_bytes(b->c, l, b->c, fresh, from);
    EXPECT_INT(tlv_meta_iteration(l), 0);
    tlv_meta_close(l);
    tlv_meta_close(fresh);
    remove(bad);
    free(v);
}

static void test_a_damaged_file_is_refused(void)
{
    char path[PATH];
    if (!test_temp_path(path, sizeof path, "learner.safetensors")) return;
    bench b = bench_open(1, 7);
    b.l = tlv_meta_open(b.c, b.m, short_run(TLV_MAML));
    steps(&b, 1);
    tlv_meta_save(b.l, path, NULL);
    damaged(&b, path, "\"meta.method\":\"maml\"", "\"meta.method\":\"mama\"", "meta.method 'mama'");
    damaged(&b, path, "\"meta.method\"", "\"meta.met.od\"", "of no learner: it has no meta.method");
    damaged(&b, path, "\"meta.bn\":\"batch\"", "\"meta.bn\":\"patch\"", "meta.bn 'patch'");
    damaged(&b, path, "\"meta.shots\":\"1\"", "\"meta.shots\":\"x\"", "no number 'meta.shots'");
    damaged(&b, path, "\"meta.inner_lr\":\"0.1000", "\"meta.inner_lr\":\"0.5x00",
            "no number 'meta.inner_lr'");
    damaged(&b, path, "\"meta.iteration\":\"1\"", "\"meta.iterati\\n\":\"1\"",
            "no number 'meta.iteration'");
    damaged(&b, path, "\"meta.key\":\"", "\"meta.kez\":\"", "no key");
    damaged(&b, path, "\"moment1.", "\"momentX.", "the checkpoint lacks moment1.");
    damaged(&b, path, "\"steps\"", "\"stepz\"", "no steps");
    damaged(&b, path, "\"model.", "\"modem.", "");
    remove(path);
    bench_close(&b);
}

static void test_a_short_file_is_refused(void)
{
    char path[PATH];
    if (!test_temp_path(path, sizeof path, "learner.safetensors")) return;
    bench b = bench_open(1, 7);
    b.l = tlv_meta_open(b.c, b.m, short_run(TLV_MAML));
    tlv_meta_save(b.l, path, NULL);
    size_t n;
    char *v = read_file(path, &n);
    tlv_model *m;
    for (size_t part = 0; part < 8; part++) {
        write_file(path, v, n * part / 8);
        EXPECT(!tlv_meta_load(b.c, path, &m) && !m, "%zu of 8 parts: loaded", part);
        EXPECT_ERROR(b.c, TLV_ERR_FORMAT, "learner.safetensors");
        tlv_meta_resume(b.l, path);
        EXPECT_ERROR(b.c, TLV_ERR_FORMAT, "learner.safetensors");
    }
    free(v);
    remove(path);
    EXPECT(!tlv_meta_load(b.c, path, &m), "loaded from nowhere");
    EXPECT_ERROR(b.c, TLV_ERR_IO, "learner.safetensors");
    // a file of a model is none of a learner
    tlv_model_save(b.c, b.m, path, NULL);
    EXPECT(!tlv_meta_load(b.c, path, &m), "loaded from a model");
    EXPECT_ERROR(b.c, TLV_ERR_FORMAT, "of no learner");
    remove(path);
    bench_close(&b);
}

/* Weights of the published network and two moments: at most 1.5 MB. */
static void test_size(void)
{
    char path[PATH];
    if (!test_temp_path(path, sizeof path, "learner.safetensors")) return;
    tlv_ctx *c = support_open();
    tlv_model *m = tlv_model_open(c, "conv4", (tlv_model_opts){ .classes = 20, .channels = 3,
                                                                .size = 28 });
    tlv_meta *l = tlv_meta_open(c, m, tlv_meta_defaults(TLV_MAML, 20, 1));
    EXPECT_STATUS(tlv_meta_save(l, path, NULL), TLV_OK);
    size_t n;
    free(read_file(path, &n));
    EXPECT(n > 1300000 && n <= 1500000, "%zu bytes", n);
    remove(path);
    tlv_meta_close(l);
    tlv_model_close(m);
    tlv_ctx_close(c);
}

TEST_MAIN(T(test_going_on), T(test_what_may_differ), T(test_another_run_is_refused),
          T(test_a_damaged_file_is_refused), T(test_a_short_file_is_refused), T(test_size))
