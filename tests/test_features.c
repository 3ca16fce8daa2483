/* test_features.c -- features of many images: rows, labels, order, stopping, errors. */
#include <string.h>

#include "tests/support.h"
#include "transfer/transfer.h"

enum { DIM = 64, MOST = 60 };

typedef struct bench { tlv_ctx *c; tlv_dataset *d; tlv_model *m; } bench;

static bench bench_open(int threads)
{
    bench b = { .c = tlv_ctx_open(&(tlv_ctx_opts){ .threads = threads, .seed = 7 }) };
    b.d = tlv_dataset_open(b.c, "shapes:2", "train");
    b.m = tlv_model_open(b.c, "resnet20", (tlv_model_opts){ 0 });
    EXPECT_OK(b.c);
    return b;
}

static void bench_close(bench *b)
{
    tlv_model_close(b->m);
    tlv_dataset_close(b->d);
    tlv_ctx_close(b->c);
}

/* Each row is what the model says of that image alone; labels and order are the index's. */
static void test_rows(void)
{
    bench b = bench_open(1);
    const int64_t index[5] = { 13, 2, 2, 19, 0 };
    tlv_features f;
    tlv_extract_report rep;
    tlv_extract_opts o = { .batch = 2 };
    EXPECT_STATUS(tlv_extract_features(b.c, b.m, b.d, index, 5, o, &f, &rep), TLV_OK);
    REQUIRE(f.n == 5 && f.dim == DIM && f.classes == 10, "%lld rows of %d, %d classes",
            (long long)f.n, f.dim, f.classes);
    EXPECT(rep.hits == 0 && rep.misses == 5 && !rep.stopped && !rep.set_key[0], "report");
    tlv_run r = tlv_model_run(b.c, b.m, TLV_EVAL);
    for (int i = 0; i < 5; i++) {
        float want[DIM];
        tlv_scope s = tlv_scope_begin_with(b.c, TLV_NO_GRAD);
        tlv_batch one = tlv_dataset_batch(b.c, b.d, index, i, 1,
                                          (tlv_batch_opts){ .recipe = *tlv_model_recipe(b.m) });
        tlv_read(b.c, tlv_model_features(&r, b.m, one.x), want, DIM);
        tlv_scope_end(b.c, s);
        EXPECT_INT(f.label[i], tlv_dataset_label(b.d, index[i]));
        for (int k = 0; k < DIM; k++) EXPECT_CLOSE(f.x[i * DIM + k], want[k], 1e-5, 1e-5);
    }
    EXPECT(memcmp(f.x + DIM, f.x + 2 * DIM, DIM * sizeof(float)) == 0, "one image, two rows");
    EXPECT(memcmp(f.x, f.x + DIM, DIM * sizeof(float)) != 0, "two images, one row");
    tlv_features_close(&f);
    EXPECT_INT(tlv_mem_get(b.c).tape_nodes, 0);
    bench_close(&b);
}

static void test_threads_change_nothing(void)
{
    float x[2][20 * DIM];
    for (int t = 0; t < 2; t++) {
        bench b = bench_open(t + 1);
        tlv_features f;
        EXPECT_STATUS(tlv_extract_features(b.c, b.m, b.d, NULL, 20, (tlv_extract_opts){ 0 }, &f,
                                           NULL), TLV_OK);
        memcpy(x[t], f.x, sizeof x[t]);
        tlv_features_close(&f);
        bench_close(&b);
    }
    EXPECT(memcmp(x[0], x[1], sizeof x[0]) == 0, "threads change features");
}

typedef struct calls { int64_t stop_at, n, last, total; } calls;

static int count_calls(void *user, int64_t done, int64_t total)
{
    calls *k = user;
    k->n++;
    k->last = done;
    k->total = total;
    return done >= k->stop_at;
}

static void test_progress_and_stop(void)
{
    bench b = bench_open(1);
    tlv_features f;
    tlv_extract_report rep;
    calls k = { .stop_at = 100 };
    tlv_extract_opts o = { .batch = 8, .progress = count_calls, .user = &k };
    tlv_extract_features(b.c, b.m, b.d, NULL, 20, o, &f, &rep);
    EXPECT(k.last == 20 && k.total == 20 && !rep.stopped, "ended at %lld of %lld",
           (long long)k.last, (long long)k.total);
    tlv_features_close(&f);
    k = (calls){ .stop_at = 1 };
    EXPECT_STATUS(tlv_extract_features(b.c, b.m, b.d, NULL, 20, o, &f, &rep), TLV_OK);
    EXPECT(rep.stopped && f.n == 8 && k.n == 1, "stopped %d after %lld rows, %lld calls",
           rep.stopped, (long long)f.n, (long long)k.n);
    tlv_features_close(&f);
    tlv_score s;
    tlv_evaluate_opts e = { .batch = 8, .progress = count_calls, .user = &k };
    tlv_evaluate(b.c, b.m, b.d, NULL, 20, e, &s);
    EXPECT(s.stopped && s.n == 8, "evaluate stopped %d after %lld", s.stopped, (long long)s.n);
    EXPECT_OK(b.c);
    bench_close(&b);
}

static void test_errors(void)
{
    bench b = bench_open(1);
    const int64_t index[2] = { 0, 20 };
    tlv_features f;
    tlv_extract_features(b.c, b.m, b.d, index, 2, (tlv_extract_opts){ 0 }, &f, NULL);
    EXPECT_ERROR(b.c, TLV_ERR_INDEX, "index 1 is 20, the set has 20 images");
    EXPECT(!f.x, "rows after an error");
    tlv_features_close(&f);                             // empty: nothing happens
    tlv_extract_features(b.c, NULL, b.d, NULL, 2, (tlv_extract_opts){ 0 }, &f, NULL);
    EXPECT_ERROR(b.c, TLV_ERR_ARG, "no model");
    EXPECT_STATUS(tlv_extract_features(b.c, b.m, b.d, NULL, 0, (tlv_extract_opts){ 0 }, &f, NULL),
                  TLV_OK);
    EXPECT_INT(f.n, 0);
    tlv_features_close(&f);
    tlv_model *two = tlv_model_open(b.c, "resnet20", (tlv_model_opts){ .classes = 2 });
    tlv_score s;
    tlv_evaluate(b.c, two, b.d, NULL, 2, (tlv_evaluate_opts){ 0 }, &s);
    EXPECT_ERROR(b.c, TLV_ERR_ARG, "the data has 10");
    tlv_model_close(two);
    bench_close(&b);
}

TEST_MAIN(T(test_rows), T(test_threads_change_nothing), T(test_progress_and_stop), T(test_errors))
