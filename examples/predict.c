/* predict.c -- tlv-predict: what a saved model says of images. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "examples/common_task.h"

typedef struct options {
    const char *model, *labels, *json;
    int64_t top, batch, threads;
    int skip_bad, quiet;
} options;

static options parse(int *argc, char **argv)
{
    options o = { .top = 1, .batch = 32 };
    const cli_option table[] = {
        { "--top", CLI_INT, &o.top, "N", "the N likeliest classes of each image", 1, 1e6 },
        { "--labels", CLI_TEXT, &o.labels, "FILE",
          "names of the classes, one a line, for a model that knows none", 0, 0 },
        CLI_OPT_SKIP_BAD(o.skip_bad), CLI_OPT_BATCH(o.batch), CLI_OPT_THREADS(o.threads),
        { "--quiet", CLI_FLAG, &o.quiet, NULL, "nothing but the answers", 0, 0 },
        CLI_OPT_JSON(o.json), { 0 },
    };
    const cli_spec spec = {
        "tlv-predict", "say what is in images", "MODEL IMAGE...|DIR", 2, 1 << 30,
        "tlv-predict runs/finetune-001/best.safetensors photo.jpg", table,
    };
    *argc = cli_parse(&spec, *argc, argv);
    o.model = argv[1];
    return o;
}

/* ---- names of classes ------------------------------------------------------------------------ */

/* One name a line, as many lines as classes; empty lines at the end do not count. */
static int read_labels(tlv_ctx *c, tlv_model *m, const char *path)
{
    int n = tlv_model_classes(m), k = 0;
    char line[1024], **name = calloc((size_t)n + 1, sizeof *name);
    FILE *f = name ? fopen(path, "r") : NULL;
    if (!f) {
        free(name);
        return cli_error("give --labels a text file", "%s: %s", path, strerror(errno));
    }
    int extra = 0;
    while (fgets(line, sizeof line, f)) {
        line[strcspn(line, "\r\n")] = 0;
        if (k == n) extra += line[0] != 0;
        else if ((name[k] = malloc(strlen(line) + 1)) != NULL) strcpy(name[k++], line);
    }
    fclose(f);
    int status = CLI_OK;
    if (k != n || extra)
        status = cli_error("give a line for each class, in the model's order",
                           "%s: %d lines, the model has %d classes", path, k + extra, n);
    else if (tlv_model_set_class_names(c, m, (const char *const *)name) != TLV_OK)
        status = cli_fail(c);
    while (k > 0) free(name[--k]);
    free(name);
    return status;
}

/* ---- answers --------------------------------------------------------------------------------- */

/* The class that is likeliest after those taken before it; its probability is taken away. */
static int take_best(float *p, int n, double *probability)
{
    int best = 0;
    for (int k = 1; k < n; k++)
        if (p[k] > p[best]) best = k;
    *probability = (double)p[best];
    p[best] = -1;
    return best;
}

static void answer(const options *o, FILE *f, cli_json *j, const char *path,
                   const char *const *name, int classes, float *p)
{
    for (int64_t i = 0; i < o->top && i < classes; i++) {
        double probability;
        char clean[200], file[1024];
        int k = take_best(p, classes, &probability);
        if (f)
            fprintf(f, "%s\t%s\t%.4f\n", cli_clean(path, file, sizeof file),
                    cli_clean(name[k], clean, sizeof clean), probability);
        if (!o->json) continue;
        cli_json_row(j);
        cli_json_text(j, "image", path);
        cli_json_text(j, "label", name[k]);
        cli_json_int(j, "class", k);
        cli_json_real(j, "probability", probability);
    }
}

/* Batch after batch: decode, network, softmax, one line an answer. */
static int predict(tlv_ctx *c, const options *o, const tlv_model *m, const tlv_dataset *d,
                   cli_json *j, int64_t *done)
{
    const char **names = cli_class_names(m);
    int classes = tlv_model_classes(m), status = CLI_OK;
    int64_t n = tlv_dataset_size(d), *index = cli_numbers(n);
    float *prob = malloc((size_t)o->batch * (size_t)classes * sizeof *prob);
    FILE *f = o->json && strcmp(o->json, "-") == 0 ? NULL : stdout;
    for (int64_t i = 0; i < n; i++) index[i] = i;
    for (*done = 0; prob && *done < n && !cli_interrupted();) {
        int64_t k = n - *done < o->batch ? n - *done : o->batch;
        tlv_scope s = tlv_scope_begin_with(c, TLV_NO_GRAD);
        tlv_batch b = tlv_dataset_batch(c, d, index, *done, k, cli_batch_opts(m));
        tlv_run r = tlv_model_run(c, m, TLV_EVAL);
        tlv_tensor *p = tlv_softmax(c, tlv_model_forward(&r, m, b.x), 1);
        tlv_read(c, p, prob, k * classes);
        tlv_scope_end(c, s);
        if (tlv_error(c)) break;
        for (int64_t i = 0; i < k; i++)
            answer(o, f, j, tlv_dataset_path(d, *done + i), names, classes, prob + i * classes);
        if (f) fflush(f);
        *done += k;
    }
    if (!prob) status = cli_error("lower --batch", "no memory for %d classes", classes);
    else if (tlv_error(c)) status = cli_fail(c);
    else if (*done < n) {
        fprintf(stderr, "stopped after %lld of %lld images\n", (long long)*done, (long long)n);
        status = CLI_INTERRUPTED;
    }
    free(prob);
    free(index);
    free(names);
    return status;
}

/* ---- all of it ------------------------------------------------------------------------------- */

static int is_folder(const char *path)
{
    struct stat s;
    return stat(path, &s) == 0 && S_ISDIR(s.st_mode);
}

/* One folder, with or without folders of classes in it, or a list of files. */
static tlv_dataset *open_images(tlv_ctx *c, int n, char **paths)
{
    if (n == 1 && is_folder(paths[0])) return tlv_dataset_open(c, paths[0], NULL);
    return tlv_dataset_from_files(c, n, (const char *const *)paths);
}

static int run(tlv_ctx *c, const options *o, int n, char **paths, double start)
{
    tlv_load_report r = { 0 };
    FILE *f = o->quiet ? NULL : stderr;             // the answers alone go to standard output
    tlv_model *m = tlv_model_load(c, o->model, NULL, (tlv_model_opts){ 0 }, &r);
    tlv_dataset *d = m ? open_images(c, n, paths) : NULL;
    int64_t skipped = 0, done = 0;
    int status = d ? CLI_OK : cli_fail(c);
    if (d && !tlv_model_has_head(m))
        status = cli_error("give it a head: tlv-probe or tlv-finetune",
                           "%s: features alone, it names no classes", o->model);
    if (status == CLI_OK && o->labels) status = read_labels(c, m, o->labels);
    if (status == CLI_OK && f) {
        fprintf(f, "data     %s\n", tlv_dataset_text(d));
        cli_print_model(f, m, o->model, &r);
        cli_print_input(f, m, d);
        fflush(f);
    }
    if (status == CLI_OK && o->skip_bad) skipped = cli_drop_bad(c, d, stderr);
    if (skipped < 0) status = cli_fail(c);
    cli_json j = { 0 };
    cli_catch_interrupt();
    if (status == CLI_OK) {
        cli_json_list(&j, "predictions");
        status = predict(c, o, m, d, &j, &done);
        cli_json_list_end(&j);
    }
    if (status == CLI_OK) {
        cli_json_int(&j, "n", done);
        cli_json_int(&j, "skipped", skipped);
        cli_json_text(&j, "arch", tlv_model_arch(m));
        cli_json_costs(&j, c, start);
        status = cli_json_write(&j, o->json);
    }
    free(j.text);
    tlv_dataset_close(d);
    tlv_model_close(m);
    return status;
}

int main(int argc, char **argv)
{
    double start = cli_now();
    options o = parse(&argc, argv);
    tlv_ctx *c = cli_open(o.threads, 0);
    int status = run(c, &o, argc - 1, argv + 2, start);
    tlv_ctx_close(c);
    return cli_finish(status);
}
