/* common_meta.c -- a learner in words; table, curves and checkpoint of a run. */
#include "examples/common_meta.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { PATH = CLI_META_PATH + 32 };

/* ---- a learner in words ---------------------------------------------------------------------- */

static const char *plural(int64_t n) { return n == 1 ? "" : "s"; }

static void print_inner(FILE *f, const tlv_meta_opts *o)
{
    if (o->inner_steps == 0 && o->eval_steps == 0) return;
    fprintf(f, "inner    %d step%s of rate %g, %d in tests", o->inner_steps, plural(o->inner_steps),
            o->inner_lr, o->eval_steps);
    if (o->inner_batch) fprintf(f, ", %d images a step", o->inner_batch);
    if (o->adapt) fprintf(f, ", of %s", o->adapt);
    if (o->lora_rank) fprintf(f, ", low-rank changes (rank %d)", o->lora_rank);
    fprintf(f, "\n");
}

void cli_print_learner(FILE *f, const tlv_meta *l, const tlv_model *m)
{
    static const char *const NORMS[] = { "statistics of the batch, in tests too",
                                         "running statistics in tests",
                                         "statistics of each inner step" };
    const tlv_meta_opts *o = tlv_meta_options(l);
    fprintf(f, "learner  %s on %s", tlv_meta_method_name(o->method), tlv_model_arch(m));
    if (tlv_model_about(m)->width != 1) fprintf(f, " x%g", tlv_model_about(m)->width);
    fprintf(f, ", %s numbers; %d ways, %d shot%s, %d quer%s a class\n",
            cli_count(tlv_params_numel(tlv_meta_params(l), 0)).s, o->ways, o->shots,
            plural(o->shots), o->queries, o->queries == 1 ? "y" : "ies");
    int ways = o->train_ways ? o->train_ways : o->ways;
    int shots = o->train_shots ? o->train_shots : o->shots;
    if (ways != o->ways || shots != o->shots)
        fprintf(f, "         in training %d ways, %d shot%s\n", ways, shots, plural(shots));
    print_inner(f, o);
    fprintf(f, "outer    rate %g", o->lr);
    if (o->lr_end != o->lr) fprintf(f, " to %g", o->lr_end);
    fprintf(f, " over %s steps of %d task%s", cli_count(o->iterations).s, o->tasks,
            plural(o->tasks));
    if (o->clip > 0) fprintf(f, ", gradients up to %g", o->clip);
    fprintf(f, "\nnorms    %s\n", NORMS[o->bn]);
}

void cli_print_meta_input(FILE *f, const tlv_model *m, int inverted)
{
    char text[200];
    const char *grey = tlv_model_about(m)->channels == 1 ? ", in grey" : "";
    fprintf(f, "input    %s%s%s\n", tlv_recipe_text(tlv_model_recipe(m), text, sizeof text), grey,
            inverted ? ", light and dark exchanged" : "");
}

tlv_model *cli_meta_network(tlv_ctx *c, const char *arch, tlv_model_opts o, int wanted)
{
    tlv_model *m = tlv_model_open(c, arch, o);
    if (m || wanted || tlv_error(c) != TLV_ERR_ARG) return m;
    tlv_error_clear(c);
    o.channels = o.size = 0;
    return tlv_model_open(c, arch, o);
}

/* ---- the checkpoint -------------------------------------------------------------------------- */

static int file_error(const char *path)
{
    return cli_error("is the disk full?", "%s: %s", path, strerror(errno));
}

enum { NUMBERS = 7 };
static const char *const KEYS[NUMBERS] = { "run.seconds", "run.steps", "run.loss", "run.accuracy",
                                           "run.best", "run.best_at", "run.rate" };

tlv_status cli_meta_keep(const tlv_meta *l, const char *dir, const char *options, const char *data,
                         const cli_meta_place *p)
{
    char path[PATH], text[NUMBERS][32];
    const char *extra[2 * NUMBERS + 5];
    const double number[NUMBERS] = { p->seconds, (double)p->steps, p->loss, p->accuracy, p->best,
                                     (double)p->best_at, p->lr };
    for (int i = 0; i < NUMBERS; i++) {
        snprintf(text[i], sizeof text[i], "%.17g", number[i]);
        extra[2 * i] = KEYS[i];
        extra[2 * i + 1] = text[i];
    }
    const char *const words[5] = { "options", options, "data", data, NULL };
    memcpy(extra + 2 * NUMBERS, words, sizeof words);
    snprintf(path, sizeof path, "%.*s/checkpoint.safetensors", CLI_META_PATH, dir);
    return tlv_meta_save(l, path, extra);
}

void cli_meta_saved(const char *path, char options[CLI_META_OPTIONS], char data[CLI_META_PATH])
{
    tlv_ctx *c = cli_open(1, 0);
    tlv_file *f = tlv_file_open(c, path);
    if (!f) exit(cli_fail(c));
    const char *text = tlv_file_meta(f, "options"), *what = tlv_file_meta(f, "data");
    if (!text || !what || strlen(text) >= CLI_META_OPTIONS || strlen(what) >= CLI_META_PATH)
        exit(cli_error("give checkpoint.safetensors of a run of tlv-meta",
                       "%s: no options of a run in it", path));
    strcpy(options, text);
    strcpy(data, what);
    tlv_file_close(f);
    tlv_ctx_close(c);
}

/* What cli_meta_keep wrote; 0 if it is not there. */
static int read_place(const tlv_file *f, cli_meta_place *p)
{
    double v[NUMBERS];
    for (int i = 0; i < NUMBERS; i++) {
        const char *text = tlv_file_meta(f, KEYS[i]);
        char *end = NULL;
        v[i] = text ? strtod(text, &end) : NAN;
        if (!text || end == text || *end || !isfinite(v[i]) || v[i] < -1 || v[i] > 1e15) return 0;
    }
    *p = (cli_meta_place){ .seconds = v[0], .steps = (int64_t)v[1], .loss = v[2], .accuracy = v[3],
                           .best = v[4], .best_at = (int64_t)v[5], .lr = v[6] };
    return 1;
}

int cli_meta_resume(tlv_ctx *c, tlv_meta *l, const char *path, cli_meta_place *p)
{
    if (tlv_meta_resume(l, path) != TLV_OK) return cli_fail(c);
    tlv_file *f = tlv_file_open(c, path);
    if (!f) return cli_fail(c);
    int known = read_place(f, p);
    tlv_file_close(f);
    if (known) return CLI_OK;
    return cli_error("begin a new run", "%s: the place of the run is damaged", path);
}

/* ---- the table and the curves ---------------------------------------------------------------- */

enum { COLUMNS = 9 };
static const char LOG_HEAD[] = "iteration,train_loss,train_accuracy,rate,val_loss,val_accuracy,"
                               "val_ci95,val_one_by_one,train_seconds\n";

static void log_path(const char *dir, const char *name, char path[PATH])
{
    snprintf(path, PATH, "%.*s/%.30s", CLI_META_PATH, dir, name);
}

/* What is not known is "nan", whatever its sign. */
static void put_number(FILE *f, double v, const char *end)
{
    if (isfinite(v)) fprintf(f, "%.9g%s", v, end);
    else fprintf(f, "nan%s", end);
}

int cli_meta_begin_log(const char *dir, int64_t iteration)
{
    char path[PATH], beside[PATH], line[256];
    log_path(dir, "log.csv", path);
    log_path(dir, "log.csv.tmp", beside);
    FILE *from = iteration > 0 ? fopen(path, "r") : NULL, *to = fopen(beside, "w");
    int bad = !to || fprintf(to, "%s", LOG_HEAD) < 0;
    while (!bad && from && fgets(line, sizeof line, from)) {
        char *end;
        long long at = strtoll(line, &end, 10);
        if (end != line && at <= iteration && strchr(line, '\n')) bad = fputs(line, to) < 0;
    }
    if (from) fclose(from);
    bad |= !to || fclose(to) != 0;
    bad |= !bad && rename(beside, path) != 0;
    return bad ? file_error(path) : CLI_OK;
}

int cli_meta_add_log(const char *dir, const cli_meta_row *r)
{
    char path[PATH];
    log_path(dir, "log.csv", path);
    FILE *f = fopen(path, "a");
    if (!f) return file_error(path);
    fprintf(f, "%lld,", (long long)r->iteration);
    const double v[] = { r->loss, r->accuracy, r->lr, r->val_loss, r->val_accuracy, r->val_ci95,
                         r->val_alone };
    for (size_t i = 0; i < sizeof v / sizeof v[0]; i++) put_number(f, v[i], ",");
    fprintf(f, "%.3f\n", r->seconds);
    int bad = ferror(f);
    return fclose(f) != 0 || bad ? file_error(path) : CLI_OK;
}

/* The rows of log.csv, column after column [COLUMNS][*n]; to be freed. */
static double *read_log(const char *path, int64_t *n)
{
    char line[256];
    int64_t room = 0;
    FILE *f = fopen(path, "r");
    while (f && fgets(line, sizeof line, f)) room++;
    double *v = f ? calloc((size_t)(room + 1) * COLUMNS, sizeof *v) : NULL;
    *n = 0;
    if (v) rewind(f);
    while (v && *n < room && fgets(line, sizeof line, f)) {
        char *at = line, *end = line;
        int k = 0;
        for (; k < COLUMNS; k++, at = end + 1) {
            v[k * room + *n] = strtod(at, &end);
            if (end == at || (*end != ',' && *end != '\n')) break;
        }
        *n += k == COLUMNS;                             // the head is no row
    }
    if (f) fclose(f);
    for (int k = 1; v && k < COLUMNS; k++)
        memmove(v + k * *n, v + k * room, (size_t)*n * sizeof *v);
    return v;
}

static int any_finite(const double *v, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        if (isfinite(v[i])) return 1;
    return 0;
}

int cli_meta_draw(tlv_ctx *c, const char *dir, const char *title)
{
    char path[PATH];
    int64_t n;
    log_path(dir, "log.csv", path);
    double *v = read_log(path, &n);
    if (!v) return file_error(path);
    const cli_series loss[2] = { { "training tasks", n, v, v + n },
                                 { "validation tasks", n, v, v + 4 * n } };
    const cli_series right[3] = { { "training tasks", n, v, v + 2 * n },
                                  { "validation tasks", n, v, v + 5 * n },
                                  { "one by one", n, v, v + 7 * n } };
    const cli_panel panels[2] = { { "loss", 2, loss },
                                  { "accuracy", any_finite(v + 7 * n, n) ? 3 : 2, right } };
    log_path(dir, "curve.png", path);
    int status = cli_plot_lines(c, path, title, "outer steps", 2, panels);
    free(v);
    return status;
}
