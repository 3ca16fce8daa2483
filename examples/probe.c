/* probe.c -- tlv-probe: a linear classifier on the features of a pre-trained model, in seconds.
 *
 * What happens, in order: data and its split, the model, its features of every image (from the
 * cache where they are), logistic regression with the penalty chosen by cross-validation inside the
 * training images, the validation images, and the run folder: the model with its new head, curves
 * and errors. */
#include <stdlib.h>
#include <string.h>

#include "examples/common_plot.h"
#include "examples/common_task.h"

typedef struct options {
    const char *data, *val, *weights, *arch, *cache, *out, *json;
    int64_t per_class, folds, batch, seed, threads;
    double l2;
    int skip_bad;
} options;

typedef struct job {
    options o;
    FILE *f;                                    /* for people */
    tlv_ctx *c;
    cli_task task;
    tlv_model *m;
    tlv_features train, val;
    tlv_extract_report seen[2];                 /* of train, of val */
    tlv_probe probe;
    tlv_probe_report fit;
    tlv_score score;
    float *prob;                                /* [n_val,classes] */
    int64_t *confusion;
    double feature_seconds, fit_seconds;
    char dir[1024];
} job;

static options parse(int argc, char **argv)
{
    options o = { .batch = 32, .folds = 5 };
    const cli_option table[] = {
        CLI_OPT_WEIGHTS(o.weights), CLI_OPT_ARCH(o.arch), CLI_OPT_VAL(o.val),
        CLI_OPT_PER_CLASS(o.per_class),
        { "--l2", CLI_REAL, &o.l2, "X", "the penalty; 0: chosen by cross-validation", 0, 1e6 },
        { "--folds", CLI_INT, &o.folds, "N", "of the cross-validation", 2, 100 },
        CLI_OPT_CACHE(o.cache), CLI_OPT_SKIP_BAD(o.skip_bad), CLI_OPT_BATCH(o.batch),
        CLI_OPT_SEED(o.seed), CLI_OPT_THREADS(o.threads), CLI_OPT_OUT(o.out),
        CLI_OPT_JSON(o.json), { 0 },
    };
    const cli_spec spec = {
        "tlv-probe", "learn your classes on top of a pre-trained model that stays as it is", "DATA",
        1, 1, "tlv-probe photos/ --weights mobilenet_v2.safetensors", table,
    };
    cli_parse(&spec, argc, argv);
    if (!o.weights) cli_usage(&spec, "--weights FILE is missing: what to build on");
    o.data = argv[1];
    return o;
}

/* ---- features -------------------------------------------------------------------------------- */

static int features(job *j)
{
    double start = cli_now();
    const cli_task *t = &j->task;
    int status = cli_extract(j->c, j->f, "train", j->m, t->train, t->train_at, t->n_train,
                             j->o.batch, j->o.cache, &j->train, &j->seen[0]);
    if (status == CLI_OK)
        status = cli_extract(j->c, j->f, "val", j->m, t->val, t->val_at, t->n_val, j->o.batch,
                             j->o.cache, &j->val, &j->seen[1]);
    if (status != CLI_OK) return status;
    j->feature_seconds = cli_now() - start;
    fprintf(j->f, "features %d numbers an image: %s images in %.1f s", j->train.dim,
            cli_count(t->n_train + t->n_val).s, j->feature_seconds);
    if (j->o.cache)
        fprintf(j->f, ", %s of them from the cache",
                cli_count(j->seen[0].hits + j->seen[1].hits).s);
    fprintf(j->f, "\n");
    return CLI_OK;
}

/* ---- the fit --------------------------------------------------------------------------------- */

static void print_fit(const job *j)
{
    const tlv_probe_report *r = &j->fit;
    if (r->n_table)
        fprintf(j->f, "\n%10s %9s %9s   on the training images, %d folds\n", "penalty", "accuracy",
                "loss", r->folds);
    for (int i = 0; i < r->n_table; i++)
        fprintf(j->f, "%10.3g %9.4f %9.4f%s\n", r->table[i].l2, r->table[i].accuracy,
                r->table[i].loss, i == r->chosen ? "  *best" : "");
    if (r->n_table) fprintf(j->f, "\n");
    fprintf(j->f, "probe    penalty %.3g, %d iterations, %.2f s%s\n", j->probe.l2, r->iterations,
            j->fit_seconds, r->at_edge ? "; the best is at the end of the grid: see --l2" : "");
}

static int fit(job *j)
{
    double start = cli_now();
    cli_progress line;
    cli_progress_begin(&line, j->f, "fit", 1);
    tlv_probe_opts o = { .l2 = j->o.l2, .folds = (int)j->o.folds,
                         .key = tlv_rng_stream(j->c, "folds"), .progress = cli_draw_progress,
                         .user = &line };
    tlv_status st = tlv_probe_fit(j->c, &j->train, o, &j->probe, &j->fit);
    cli_progress_end(&line);
    if (st != TLV_OK) return cli_fail(j->c);
    if (j->fit.stopped) {
        fprintf(stderr, "stopped while fitting; nothing is saved\n");
        return CLI_INTERRUPTED;
    }
    j->fit_seconds = cli_now() - start;
    print_fit(j);
    size_t k = (size_t)j->probe.classes;
    j->prob = malloc((size_t)j->val.n * k * sizeof *j->prob);
    j->confusion = cli_numbers((int64_t)(k * k));
    if (!j->prob) return cli_error("close other programs", "no memory for %zu answers", k);
    if (tlv_probe_predict(j->c, &j->probe, &j->val, j->prob, j->confusion, &j->score) != TLV_OK
        || tlv_probe_to_model(j->c, &j->probe, j->m) != TLV_OK
        || cli_name_classes(j->c, j->m, j->task.train) != TLV_OK)
        return cli_fail(j->c);
    return CLI_OK;
}

/* ---- the run folder -------------------------------------------------------------------------- */

/* Accuracy under cross-validation against the logarithm of the penalty. */
static int draw_sweep(const job *j)
{
    enum { MOST = TLV_PROBE_GRID };
    double x[MOST], acc[MOST], loss[MOST];
    char path[1100];
    int n = j->fit.n_table;
    for (int i = 0; i < n; i++) {
        x[i] = i + 1;
        acc[i] = j->fit.table[i].accuracy;
        loss[i] = j->fit.table[i].loss;
    }
    cli_series a = { "accuracy", n, x, acc }, l = { "loss", n, x, loss };
    cli_panel panels[2] = { { "accuracy, cross-validated", 1, &a },
                            { "loss, cross-validated", 1, &l } };
    snprintf(path, sizeof path, "%s/penalty.png", j->dir);
    return cli_plot_lines(j->c, path, "tlv-probe: the penalty", "place in the grid, falling", 2,
                          panels);
}

static int save(job *j, const cli_verdicts *v)
{
    char path[1100], accuracy[40];
    if (cli_run_folder(j->o.out, "probe", j->dir, sizeof j->dir) != CLI_OK) return CLI_FAILED;
    snprintf(path, sizeof path, "%s/best.safetensors", j->dir);
    snprintf(accuracy, sizeof accuracy, "%.9g", j->score.accuracy);
    const char *extra[] = { "accuracy", accuracy, "method", "linear probe", NULL };
    if (tlv_model_save(j->c, j->m, path, extra) != TLV_OK) return cli_fail(j->c);
    if (j->fit.n_table && draw_sweep(j) != CLI_OK) return CLI_FAILED;
    if (cli_write_verdicts(v, j->dir) != CLI_OK) return CLI_FAILED;
    return cli_draw_verdicts(j->c, v, j->dir, "tlv-probe");
}

static void print_end(const job *j, const cli_verdicts *v)
{
    double lo, hi;
    cli_interval(j->score.right, j->score.n, &lo, &hi);
    fprintf(j->f, "\n");
    cli_print_classes(j->f, v, 12);
    fprintf(j->f, "\naccuracy %.2f %% [%.2f, %.2f], %lld of %s right   loss %.4f\n",
            100 * j->score.accuracy, 100 * lo, 100 * hi, (long long)j->score.right,
            cli_count(j->score.n).s, j->score.loss);
    fprintf(j->f, "saved    %s: best.safetensors predictions.csv confusion.png classes.png "
            "worst.png%s\n", j->dir, j->fit.n_table ? " penalty.png" : "");
    fprintf(j->f, "next     tlv-predict %s/best.safetensors IMAGE...\n", j->dir);
}

static int write_json(const job *j, double start)
{
    cli_json out = { 0 };
    cli_json_real(&out, "accuracy", j->score.accuracy);
    cli_json_int(&out, "right", j->score.right);
    cli_json_int(&out, "n", j->score.n);
    cli_json_real(&out, "loss", j->score.loss);
    cli_json_int(&out, "train_images", j->train.n);
    cli_json_int(&out, "skipped", j->task.skipped);
    cli_json_int(&out, "dim", j->train.dim);
    cli_json_int(&out, "classes", j->probe.classes);
    cli_json_real(&out, "l2", j->probe.l2);
    cli_json_int(&out, "cached", j->seen[0].hits + j->seen[1].hits);
    cli_json_real(&out, "feature_seconds", j->feature_seconds);
    cli_json_real(&out, "fit_seconds", j->fit_seconds);
    cli_json_text(&out, "arch", tlv_model_arch(j->m));
    cli_json_text(&out, "folder", j->dir);
    cli_json_costs(&out, j->c, start);
    return cli_json_write(&out, j->o.json);
}

static int run(job *j, double start)
{
    cli_task_opts t = { j->o.data, j->o.val, j->o.per_class, j->o.skip_bad, j->o.seed };
    tlv_load_report r = { 0 };
    if (cli_task_open(j->c, &j->task, t, j->f) != CLI_OK) return CLI_FAILED;
    j->m = tlv_model_load(j->c, j->o.weights, j->o.arch, (tlv_model_opts){ 0 }, &r);
    if (!j->m) return cli_fail(j->c);
    cli_print_model(j->f, j->m, j->o.weights, &r);
    cli_print_input(j->f, j->m, j->task.train);
    fprintf(j->f, "train    the head alone, on features; the model stays as it is\n");
    fprintf(j->f, "run      %s, %d thread%s, seed %lld\n", tlv_isa(j->c), tlv_threads(j->c),
            tlv_threads(j->c) == 1 ? "" : "s", (long long)j->o.seed);
    fflush(j->f);
    cli_catch_interrupt();
    int status = features(j);
    if (status == CLI_OK) status = fit(j);
    if (status != CLI_OK) return status;
    const char **names = cli_class_names(j->m);
    cli_verdicts v = { j->task.val, j->task.val_at, j->val.n, j->probe.classes, 0, names,
                       j->prob, j->confusion };
    status = save(j, &v);
    if (status == CLI_OK) print_end(j, &v);
    free(names);
    return status == CLI_OK ? write_json(j, start) : status;
}

int main(int argc, char **argv)
{
    double start = cli_now();
    job j = { .o = parse(argc, argv) };
    j.c = cli_open(j.o.threads, j.o.seed);
    j.f = cli_text_stream(j.o.json);
    int status = run(&j, start);
    tlv_probe_close(&j.probe);
    tlv_features_close(&j.train);
    tlv_features_close(&j.val);
    tlv_model_close(j.m);
    cli_task_close(&j.task);
    free(j.prob);
    free(j.confusion);
    tlv_ctx_close(j.c);
    return cli_finish(status);
}
