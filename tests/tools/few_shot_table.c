/* few_shot_table.c -- what a backbone is worth on real images with few labels: beside the same
 * network with random features and from nothing (make few-shot-table).
 *
 *   few_shot_table DATA WEIGHTS [SETS] [LABELS] [SEEDS] [METHODS]
 *
 *   DATA      the folder with mnist/, usps/, cifar10/, omniglot/, hymenoptera/
 *   SETS      of mnist,usps,cifar10,omniglot,hymenoptera (20 characters of Omniglot a seed)
 *   LABELS    a class: 5,10,50            SEEDS  how many: 3
 *   METHODS   of random,probe,lp-ft,full,scratch
 *
 * One line a measurement, fields between tabs: set, labels a class, seed, method, rate, accuracy on
 * held-out training images, accuracy on test images, seconds.  Labels and held-out images (up to
 * 500, disjoint) are drawn from the training part; test images (up to 2,000) are the same for all.
 * Methods with a rate run for three rates with the same number of steps: whoever reads chooses by
 * the held-out column. */
#define _POSIX_C_SOURCE 200809L
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "tlvision.h"

enum { HELD_OUT = 500, TEST = 2000, STEPS = 300, BATCH = 32, WAYS = 20, PER_CLASS = 20, TAKE = 12 };

typedef struct part { int64_t *at, n; } part;

typedef struct task {
    const char *name;
    tlv_dataset *train, *test;
    int labels, seed;
    part learn, held, judge;            /* of train, train, test */
} task;

static const char *weights;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void give_up(tlv_ctx *c)
{
    fprintf(stderr, "error: %s\nhint: %s\n", tlv_error_msg(c), tlv_error_hint(c));
    exit(1);
}

static int listed(const char *list, const char *word)
{
    size_t n = strlen(word);
    for (const char *at = list; (at = strstr(at, word)) != NULL; at += n)
        if ((at == list || at[-1] == ',') && (at[n] == 0 || at[n] == ',')) return 1;
    return 0;
}

/* ---- tasks ----------------------------------------------------------------------------------- */

/* Omniglot as it lies, [class][example]: images of WAYS classes as two IDX pairs in files. */
static void write_idx(const char *path, int n, const uint8_t *px, int h, int w)
{
    uint8_t head[16] = { 0, 0, 8, px ? 3 : 1, 0, 0, (uint8_t)(n >> 8), (uint8_t)n,
                         0, 0, 0, (uint8_t)h, 0, 0, 0, (uint8_t)w };
    FILE *f = fopen(path, "wb");
    if (!f) exit(1);
    fwrite(head, 1, px ? 16 : 8, f);
    if (px) fwrite(px, 1, (size_t)n * (size_t)h * (size_t)w, f);
    else for (int i = 0; i < n; i++) fputc(i % WAYS, f);
    fclose(f);
}

static void open_omniglot(tlv_ctx *c, const char *data, task *t)
{
    char what[600], dir[] = "/tmp/few-shot-XXXXXX", path[4][64];
    snprintf(what, sizeof what, "idx:%s/omniglot/omniglot28-images-idx4-ubyte.gz", data);
    tlv_dataset *all = tlv_dataset_open(c, what, NULL);
    if (!all || !mkdtemp(dir)) give_up(c);
    int classes = tlv_dataset_classes(all), h, w, channels;
    tlv_dataset_image_shape(all, &h, &w, &channels);
    int64_t *order = malloc((size_t)classes * sizeof *order);
    for (int i = 0; i < classes; i++) order[i] = i;
    tlv_rng_shuffle(tlv_rng_fold((tlv_rng_key){ 0x0817 }, (uint64_t)t->seed), classes, order);
    size_t one = (size_t)h * (size_t)w;
    uint8_t *px[2] = { malloc(TAKE * WAYS * one), malloc((PER_CLASS - TAKE) * WAYS * one) };
    for (int e = 0; e < PER_CLASS; e++)
        for (int k = 0; k < WAYS; k++) {
            int test = e >= TAKE, row = (test ? e - TAKE : e) * WAYS + k;
            memcpy(px[test] + (size_t)row * one,
                   tlv_dataset_pixels(all, order[k] * PER_CLASS + e), one);
        }
    for (int i = 0; i < 4; i++) snprintf(path[i], sizeof path[i], "%s/%d", dir, i);
    for (int i = 0; i < 2; i++) {
        int n = (i ? PER_CLASS - TAKE : TAKE) * WAYS;
        write_idx(path[2 * i], n, px[i], h, w);
        write_idx(path[2 * i + 1], n, NULL, 0, 0);
        snprintf(what, sizeof what, "idx:%s,%s", path[2 * i], path[2 * i + 1]);
        *(i ? &t->test : &t->train) = tlv_dataset_open(c, what, NULL);
        free(px[i]);
    }
    for (int i = 0; i < 4; i++) unlink(path[i]);
    rmdir(dir);
    free(order);
    tlv_dataset_close(all);
}

static void open_sets(tlv_ctx *c, const char *data, task *t)
{
    static const struct { const char *name, *train, *test, *split; } SETS[] = {
        { "mnist", "idx:%s/mnist/train-images-idx3-ubyte.gz,%s/mnist/train-labels-idx1-ubyte.gz",
          "idx:%s/mnist/t10k-images-idx3-ubyte.gz,%s/mnist/t10k-labels-idx1-ubyte.gz", NULL },
        { "usps",
          "idx:%s/usps/usps-train-images-idx3-ubyte.gz,%s/usps/usps-train-labels-idx1-ubyte.gz",
          "idx:%s/usps/usps-test-images-idx3-ubyte.gz,%s/usps/usps-test-labels-idx1-ubyte.gz",
          NULL },
        { "cifar10", "cifar10:%s/cifar10", "cifar10:%s/cifar10", "train" },
        { "hymenoptera", "folder:%s/hymenoptera", "folder:%s/hymenoptera", "train" },
    };
    char what[1200];
    if (strcmp(t->name, "omniglot") == 0) { open_omniglot(c, data, t); return; }
    for (size_t i = 0; i < sizeof SETS / sizeof SETS[0]; i++) {
        if (strcmp(t->name, SETS[i].name) != 0) continue;
        snprintf(what, sizeof what, SETS[i].train, data, data);
        t->train = tlv_dataset_open(c, what, SETS[i].split);
        snprintf(what, sizeof what, SETS[i].test, data, data);
        t->test = tlv_dataset_open(c, what, SETS[i].split ? "test" : NULL);
    }
}

/* Labels and held-out images of one seed; the test images of all. */
static void draw_task(tlv_ctx *c, task *t)
{
    int64_t n = tlv_dataset_size(t->train), m = tlv_dataset_size(t->test);
    tlv_rng_key key = tlv_rng_fold((tlv_rng_key){ 0x1abe1 }, (uint64_t)t->seed);
    uint8_t *used = calloc((size_t)n, 1);
    int64_t *order = malloc((size_t)(n > m ? n : m) * sizeof *order);
    t->learn.at = malloc((size_t)n * sizeof *order);
    t->held.at = malloc((size_t)n * sizeof *order);
    t->judge.at = malloc((size_t)m * sizeof *order);
    t->learn.n = tlv_dataset_per_class(t->train, t->labels, key, t->learn.at);
    for (int64_t i = 0; i < t->learn.n; i++) used[t->learn.at[i]] = 1;
    for (int64_t i = 0; i < n; i++) order[i] = i;
    tlv_rng_shuffle(tlv_rng_fold(key, 1), n, order);
    t->held.n = 0;
    for (int64_t i = 0; i < n && t->held.n < HELD_OUT; i++)
        if (!used[order[i]]) t->held.at[t->held.n++] = order[i];
    for (int64_t i = 0; i < m; i++) order[i] = i;
    tlv_rng_shuffle((tlv_rng_key){ 0x7e57 }, m, order);
    t->judge.n = m < TEST ? m : TEST;
    memcpy(t->judge.at, order, (size_t)t->judge.n * sizeof *order);
    free(order);
    free(used);
    (void)c;
}

static void close_task(task *t)
{
    free(t->learn.at);
    free(t->held.at);
    free(t->judge.at);
    tlv_dataset_close(t->train);
    tlv_dataset_close(t->test);
}

/* ---- methods --------------------------------------------------------------------------------- */

static void report(const task *t, const char *method, double rate, double held, double test,
                   double start)
{
    printf("%s\t%d\t%d\t%s\t%g\t%.4f\t%.4f\t%.1f\n", t->name, t->labels, t->seed, method, rate,
           held, test, now() - start);
    fflush(stdout);
}

/* The backbone; random: its architecture with random numbers. */
static tlv_model *open_model(tlv_ctx *c, int random, int classes)
{
    tlv_model *m = tlv_model_load(c, weights, NULL, (tlv_model_opts){ 0 }, NULL);
    if (!m) give_up(c);
    if (random) {
        tlv_model_info info = *tlv_model_about(m);
        tlv_recipe r = *tlv_model_recipe(m);
        tlv_model_opts o = { .classes = classes };
        if (info.width != 1) o.width = info.width;
        tlv_model *fresh = tlv_model_open(c, tlv_model_arch(m), o);
        if (!fresh) give_up(c);
        tlv_model_set_recipe(fresh, &r);
        tlv_model_close(m);
        m = fresh;
    }
    return m;
}

static double accuracy(tlv_ctx *c, const tlv_model *m, const tlv_dataset *d, const part *p)
{
    tlv_score s = { 0 };
    if (tlv_evaluate(c, m, d, p->at, p->n, (tlv_evaluate_opts){ 0 }, &s) != TLV_OK) give_up(c);
    return s.accuracy;
}

static void probe(tlv_ctx *c, const task *t, int random)
{
    double start = now();
    tlv_model *m = open_model(c, random, tlv_dataset_classes(t->train));
    tlv_features f = { 0 };
    tlv_extract_report e;
    tlv_probe p = { 0 };
    tlv_probe_opts o = { .key = tlv_rng_stream(c, "folds") };
    if (tlv_extract_features(c, m, t->train, t->learn.at, t->learn.n, (tlv_extract_opts){ 0 }, &f,
                             &e) != TLV_OK
        || tlv_probe_fit(c, &f, o, &p, NULL) != TLV_OK || tlv_probe_to_model(c, &p, m) != TLV_OK)
        give_up(c);
    double held = accuracy(c, m, t->train, &t->held), test = accuracy(c, m, t->test, &t->judge);
    report(t, random ? "random" : "probe", p.l2, held, test, start);
    tlv_probe_close(&p);
    tlv_features_close(&f);
    tlv_model_close(m);
}

static void tune(tlv_ctx *c, const task *t, const char *method, double factor)
{
    double start = now();
    int scratch = strcmp(method, "scratch") == 0;
    tlv_finetune_opts want = { .strategy = strcmp(method, "lp-ft") == 0 ? TLV_LP_FT : TLV_FULL };
    tlv_model *m = open_model(c, scratch, tlv_dataset_classes(t->train));
    tlv_finetune_opts o = tlv_finetune_defaults(m, t->train, !scratch, &want);
    o.batch = t->learn.n < BATCH ? t->learn.n : BATCH;
    int64_t steps = (t->learn.n + o.batch - 1) / o.batch;
    o.epochs = (STEPS + steps - 1) / steps;
    o.lr *= factor;
    tlv_finetune *f = tlv_finetune_open(c, m, t->train, t->learn.at, t->learn.n, NULL, NULL, 0, o);
    if (!f || tlv_finetune_run(f) != TLV_OK) give_up(c);
    tlv_finetune_close(f);
    double held = accuracy(c, m, t->train, &t->held), test = accuracy(c, m, t->test, &t->judge);
    report(t, method, o.lr, held, test, start);
    tlv_model_close(m);
}

static void measure(const char *data, task t, const char *methods)
{
    static const char *const TUNED[3] = { "lp-ft", "full", "scratch" };
    static const double FACTOR[2][3] = { { 1, 0.1, 0.01 }, { 0.3, 1, 3 } };     // from nothing: [1]
    tlv_ctx *c = tlv_ctx_open(&(tlv_ctx_opts){ .seed = (uint64_t)t.seed });
    if (!c) exit(1);
    open_sets(c, data, &t);
    if (!t.train || !t.test) give_up(c);
    draw_task(c, &t);
    if (listed(methods, "random")) probe(c, &t, 1);
    if (listed(methods, "probe")) probe(c, &t, 0);
    for (int k = 0; k < 3; k++)
        for (int r = 0; r < 3 && listed(methods, TUNED[k]); r++)
            tune(c, &t, TUNED[k], FACTOR[k == 2][r]);
    close_task(&t);
    tlv_ctx_close(c);
}

int main(int argc, char **argv)
{
    static const char *const SETS[5] = { "mnist", "usps", "cifar10", "omniglot", "hymenoptera" };
    static const char *const LABELS[3] = { "5", "10", "50" };
    if (argc < 3) {
        fprintf(stderr, "usage: few_shot_table DATA WEIGHTS [SETS] [LABELS] [SEEDS] [METHODS]\n");
        return 2;
    }
    weights = argv[2];
    const char *sets = argc > 3 ? argv[3] : "mnist,usps,cifar10,omniglot,hymenoptera";
    const char *labels = argc > 4 ? argv[4] : "5,10,50";
    int seeds = argc > 5 ? atoi(argv[5]) : 3;
    const char *methods = argc > 6 ? argv[6] : "random,probe,lp-ft,full,scratch";
    printf("set\tlabels\tseed\tmethod\trate\theld_out\ttest\tseconds\n");
    for (int s = 0; s < 5; s++)
        for (int k = 0; k < 3 && listed(sets, SETS[s]); k++) {
            int n = atoi(LABELS[k]);
            if (!listed(labels, LABELS[k]) || (s == 3 && n >= TAKE)) continue;
            for (int seed = 0; seed < seeds; seed++)
                measure(argv[1], (task){ .name = SETS[s], .labels = n, .seed = seed }, methods);
        }
    return 0;
}
