/* 03_fine_tune.c -- transfer learning: what a network learned of some classes helps with others.
 *
 *     make && build/bin/learn-03_fine_tune                          (half a minute)
 *     build/bin/learn-03_fine_tune IMAGES EPOCHS
 *
 * 1. A network learns five of ten drawn shapes, with many images of each, and is saved.
 * 2. All ten are to be told apart, with forty images of each to learn from.  The file is loaded,
 *    gets a new head by a linear probe, then all layers learn: LP-FT (Kumar et al. 2022,
 *    arXiv:2202.10054).
 * 3. The same network from nothing, on the same images: it still guesses.
 *
 * docs/transfer.md has the equations; tlv-probe and tlv-finetune do this for your photographs.
 * Leaves five_shapes.safetensors.
 * Before: 02_mnist_from_scratch.c.  Next: 04_own_layer.c. */
#include <stdio.h>
#include <stdlib.h>

#include "tlvision.h"

enum { CLASSES = 10, KNOWN = 5, MOST = 1000, FEW = 40, SIDE = 32 };
#define FILE_NAME "five_shapes.safetensors"

/* Some images of a set, by their numbers in it. */
typedef struct part { const tlv_dataset *d; int64_t n, index[CLASSES * MOST]; } part;

/* Up to per_class images of each of the classes from, from + 1 .. to - 1. */
static void take(tlv_ctx *c, part *p, const tlv_dataset *d, int per_class, int from, int to)
{
    p->d = d;
    int64_t n = tlv_dataset_per_class(d, per_class, tlv_rng_stream(c, "part"), p->index);
    p->n = 0;
    for (int64_t i = 0; i < n; i++) {
        int label = tlv_dataset_label(d, p->index[i]);
        if (label >= from && label < to) p->index[p->n++] = p->index[i];
    }
}

static tlv_model *fresh(tlv_ctx *c)
{
    tlv_model_opts o = { .classes = CLASSES, .width = 0.5, .size = SIDE };
    return tlv_model_open(c, "conv4_stride", o);
}

/* All layers of m learn the images of p. */
static void tune(tlv_ctx *c, tlv_model *m, const part *p, int pretrained, int epochs, double lr)
{
    tlv_finetune_opts want = { .strategy = TLV_FULL, .tuner = TLV_TUNE_ADAMW };
    tlv_finetune_opts o = tlv_finetune_defaults(m, p->d, pretrained, &want);
    o.schedule = TLV_ONE_CYCLE;
    o.epochs = epochs;
    o.lr = lr;
    o.batch = p->n < 1000 ? 25 : 50;
    o.bn_train = !pretrained;           // four hundred images would be poor statistics
    o.augment = (tlv_augment){ 0 };     // drawn shapes are shifted and turned already
    tlv_finetune *t = tlv_finetune_open(c, m, p->d, p->index, p->n, NULL, NULL, 0, o);
    if (t) tlv_finetune_run(t);
    tlv_finetune_close(t);
}

/* The head alone: features of the images, logistic regression on them, and m has a new head. */
static void probe(tlv_ctx *c, tlv_model *m, const part *p)
{
    tlv_features f = { 0 };
    tlv_probe head = { 0 };
    tlv_probe_report report;
    tlv_probe_opts o = { .key = tlv_rng_stream(c, "folds") };
    tlv_extract_features(c, m, p->d, p->index, p->n, (tlv_extract_opts){ 0 }, &f, NULL);
    if (tlv_probe_fit(c, &f, o, &head, &report) == TLV_OK)
        printf("probe: %d numbers an image, penalty %.3g by %d-fold cross-validation\n", f.dim,
               head.l2, report.folds);
    tlv_probe_to_model(c, &head, m);
    tlv_probe_close(&head);
    tlv_features_close(&f);
}

/* The share of test images that m gets right: of all classes, and of those that are new. */
static void report(tlv_ctx *c, const char *what, const tlv_model *m, const tlv_dataset *test,
                   part *some)
{
    tlv_score all = { 0 }, new = { 0 };
    take(c, some, test, MOST, KNOWN, CLASSES);
    tlv_evaluate(c, m, test, NULL, tlv_dataset_size(test), (tlv_evaluate_opts){ 0 }, &all);
    tlv_evaluate(c, m, test, some->index, some->n, (tlv_evaluate_opts){ 0 }, &new);
    printf("%-28s %5.1f %% of all shapes, %5.1f %% of the new five\n", what, 100 * all.accuracy,
           100 * new.accuracy);
}

static void lesson(tlv_ctx *c, const tlv_dataset *d, const tlv_dataset *test, part *p, int epochs)
{
    // 1. what there is much of
    tlv_model *m = fresh(c);
    take(c, p, d, MOST, 0, KNOWN);
    tune(c, m, p, 0, epochs, 1e-2);
    tlv_model_save(c, m, FILE_NAME, NULL);
    printf("%s: five shapes learned from %d images\n", FILE_NAME, (int)p->n);
    tlv_model_close(m);

    // 2. what there is little of.  Names and shapes in the file say which network it is.
    m = tlv_model_load(c, FILE_NAME, NULL, (tlv_model_opts){ 0 }, NULL);
    take(c, p, d, FEW, 0, CLASSES);
    probe(c, m, p);
    report(c, "linear probe", m, test, p);
    take(c, p, d, FEW, 0, CLASSES);
    tune(c, m, p, 1, 2 * epochs, 1e-3);
    report(c, "then all layers", m, test, p);
    tlv_model_close(m);

    // 3. the same without the file
    m = fresh(c);
    take(c, p, d, FEW, 0, CLASSES);
    tune(c, m, p, 0, 4 * epochs, 2e-3);
    report(c, "from nothing, twice as long", m, test, p);
    tlv_model_close(m);
}

int main(int argc, char **argv)
{
    char what[32];
    int images = argc > 1 ? atoi(argv[1]) : MOST, epochs = argc > 2 ? atoi(argv[2]) : 8;
    if (images < FEW || images > MOST || epochs < 1)
        return fprintf(stderr, "usage: %s [IMAGES, %d to %d [EPOCHS]]\n", argv[0], FEW, MOST), 2;
    tlv_ctx *c = tlv_ctx_open(NULL);
    part *p = malloc(sizeof *p);
    if (!c || !p) return 1;
    snprintf(what, sizeof what, "shapes:%d", images);
    tlv_dataset *d = tlv_dataset_open(c, what, "train");
    tlv_dataset *test = tlv_dataset_open(c, "shapes:100", "test");
    if (d && test) lesson(c, d, test, p, epochs);
    int failed = tlv_error(c) != TLV_OK;                // one check: errors stay in the context
    if (failed) fprintf(stderr, "error: %s\nhint: %s\n", tlv_error_msg(c), tlv_error_hint(c));
    free(p);
    tlv_dataset_close(test);
    tlv_dataset_close(d);
    tlv_ctx_close(c);
    return failed;
}
