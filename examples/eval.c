/* eval.c -- tlv-eval: what a model gets right on a data set. */
#include <stdlib.h>
#include <string.h>

#include "examples/common_task.h"

typedef struct options {
    const char *data, *split, *weights, *arch, *out, *json;
    int64_t batch, threads, seed, first_class;
    int skip_bad, per_class;
} options;

typedef struct job {
    options o;
    FILE *f;                                    /* for people */
    tlv_ctx *c;
    tlv_dataset *d;
    tlv_model *m;
    tlv_score score;
    float *prob;                                /* [n,classes], for the pictures of --out */
    int64_t *confusion, skipped;
    int first_class;
    double seconds;
} job;

static options parse(int argc, char **argv)
{
    options o = { .batch = 64, .split = "test", .first_class = -1 };
    const cli_option table[] = {
        CLI_OPT_WEIGHTS(o.weights), CLI_OPT_ARCH(o.arch),
        { "--split", CLI_TEXT, &o.split, "train|val|test", "which images of DATA", 0, 0 },
        { "--per-class", CLI_FLAG, &o.per_class, NULL, "all classes, however many", 0, 0 },
        { "--first-class", CLI_INT, &o.first_class, "N",
          "the model's class of label 0; -1: as the file's kind has it", -1, 1e6 },
        CLI_OPT_SKIP_BAD(o.skip_bad), CLI_OPT_BATCH(o.batch),
        { "--out", CLI_TEXT, &o.out, "DIR", "a new folder for answers, matrix, errors", 0, 0 },
        CLI_OPT_JSON(o.json), CLI_OPT_THREADS(o.threads), CLI_OPT_SEED(o.seed), { 0 },
    };
    const cli_spec spec = {
        "tlv-eval", "what a model gets right on a data set", "DATA", 1, 1,
        "tlv-eval cifar10:cifar-10-batches-bin --weights resnet20.safetensors", table,
    };
    cli_parse(&spec, argc, argv);
    if (!o.weights) cli_usage(&spec, "--weights FILE is missing");
    o.data = argv[1];
    return o;
}

/* The split that was asked for, or all where the set knows none. */
static tlv_dataset *open_data(job *j)
{
    int has = tlv_dataset_has_split(j->c, j->o.data, "val")
           || tlv_dataset_has_split(j->c, j->o.data, "test")
           || tlv_dataset_has_split(j->c, j->o.data, "train");
    return cli_images(j->c, "data", j->o.data, has ? j->o.split : NULL, j->o.skip_bad, j->f,
                      &j->skipped);
}

static int check(job *j)
{
    int known = tlv_model_classes(j->m), asked = tlv_dataset_classes(j->d);
    if (!tlv_model_has_head(j->m))
        return cli_error("give it a head: tlv-probe or tlv-finetune",
                         "%s: features alone, it names no classes", j->o.weights);
    if (asked == 0)
        return cli_error("put the images of each class into a folder of its own, or see "
                         "tlv-predict", "%s: these images have no labels", j->o.data);
    if (asked > known)
        return cli_error("train a head for these classes: tlv-finetune",
                         "the model knows %d classes but the data has %d", known, asked);
    // TensorFlow's ImageNet models have 1001 classes, and "background" is the first of them
    int background = known == 1001 && strcmp(tlv_model_dialect(j->m), "tflite") == 0;
    j->first_class = j->o.first_class >= 0 ? (int)j->o.first_class : background;
    if (j->first_class)
        fprintf(j->f, "         label 0 of the data is the model's class %d%s\n", j->first_class,
                background ? ": its class 0 is \"background\"" : "");
    return CLI_OK;
}

/* The classes' names come from the data, where the model knows them by number. */
static const char **names_of(const job *j)
{
    const char **names = cli_class_names(j->m);
    for (int k = 0; k < tlv_dataset_classes(j->d); k++)
        if (!tlv_model_class_name(j->m, k + j->first_class))
            names[k + j->first_class] = tlv_dataset_class_name(j->d, k);
    return names;
}

static int evaluate(job *j)
{
    int64_t n = tlv_dataset_size(j->d), k = tlv_model_classes(j->m);
    j->confusion = cli_numbers(k * k);
    if (j->o.out) j->prob = malloc((size_t)n * (size_t)k * sizeof *j->prob);
    if (j->o.out && !j->prob)
        return cli_error("leave out --out", "no memory for %lld answers", (long long)n);
    cli_progress line;
    cli_progress_begin(&line, j->f, "measure", n);
    double start = cli_now();
    tlv_evaluate_opts o = { .batch = j->o.batch, .first_class = j->first_class, .prob = j->prob,
                            .confusion = j->confusion, .progress = cli_draw_progress,
                            .user = &line };
    tlv_status st = tlv_evaluate(j->c, j->m, j->d, NULL, n, o, &j->score);
    cli_progress_end(&line);
    j->seconds = cli_now() - start;
    if (st != TLV_OK) return cli_fail(j->c);
    if (!j->score.stopped) return CLI_OK;
    fprintf(stderr, "stopped after %lld of %lld images\n", (long long)j->score.n, (long long)n);
    return CLI_INTERRUPTED;
}

static void print_result(const job *j, const cli_verdicts *v)
{
    const tlv_score *s = &j->score;
    double lo, hi;
    cli_print_classes(j->f, v, j->o.per_class ? v->classes : 12);
    cli_interval(s->right, s->n, &lo, &hi);
    fprintf(j->f, "\naccuracy %.2f %% [%.2f, %.2f]   ", 100 * s->accuracy, 100 * lo, 100 * hi);
    if (tlv_dataset_classes(j->d) > 10) fprintf(j->f, "top-5 %.2f %%   ", 100 * s->accuracy5);
    fprintf(j->f, "loss %.4f   %s images in %.1f s, %s images/s\n", s->loss, cli_count(s->n).s,
            j->seconds, cli_count((int64_t)((double)s->n / j->seconds)).s);
}

/* Answers, confusion matrix and the worst errors, in the folder of --out. */
static int write_out(const job *j, const cli_verdicts *v)
{
    char dir[1024];
    if (cli_run_folder(j->o.out, "eval", dir, sizeof dir) != CLI_OK
        || cli_write_verdicts(v, dir) != CLI_OK
        || cli_draw_verdicts(j->c, v, dir, "tlv-eval") != CLI_OK)
        return CLI_FAILED;
    fprintf(j->f, "saved    %s: predictions.csv confusion.png classes.png worst.png\n", dir);
    return CLI_OK;
}

static int write_json(const job *j, double start)
{
    const tlv_score *s = &j->score;
    cli_json out = { 0 };
    cli_json_real(&out, "accuracy", s->accuracy);
    cli_json_real(&out, "top5", s->accuracy5);
    cli_json_real(&out, "best_accuracy", s->accuracy);
    cli_json_int(&out, "best_epoch", 0);                // no epochs here: the weights as they came
    cli_json_real(&out, "loss", s->loss);
    cli_json_int(&out, "n", s->n);
    cli_json_int(&out, "skipped", j->skipped);
    cli_json_text(&out, "arch", tlv_model_arch(j->m));
    cli_json_int(&out, "classes", tlv_model_classes(j->m));
    cli_json_real(&out, "images_per_second", (double)s->n / j->seconds);
    cli_json_costs(&out, j->c, start);
    return cli_json_write(&out, j->o.json);
}

static int run(job *j, double start)
{
    tlv_load_report r = { 0 };
    j->d = open_data(j);
    j->m = tlv_model_load(j->c, j->o.weights, j->o.arch, (tlv_model_opts){ 0 }, &r);
    if (!j->m) return cli_fail(j->c);
    cli_print_model(j->f, j->m, j->o.weights, &r);
    cli_print_input(j->f, j->m, j->d);
    int status = check(j);
    if (status != CLI_OK) return status;
    fprintf(j->f, "run      %s, %d thread%s, batch %lld, evaluation mode\n\n", tlv_isa(j->c),
            tlv_threads(j->c), tlv_threads(j->c) == 1 ? "" : "s", (long long)j->o.batch);
    fflush(j->f);
    cli_catch_interrupt();
    status = evaluate(j);
    if (status != CLI_OK) return status;
    const char **names = names_of(j);
    cli_verdicts v = { j->d, NULL, j->score.n, tlv_model_classes(j->m), j->first_class, names,
                       j->prob, j->confusion };
    print_result(j, &v);
    if (j->o.out) status = write_out(j, &v);
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
    free(j.prob);
    free(j.confusion);
    tlv_model_close(j.m);
    tlv_dataset_close(j.d);
    tlv_ctx_close(j.c);
    return cli_finish(status);
}
