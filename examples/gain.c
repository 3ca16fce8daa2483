/* gain.c -- tlv-gain: what a backbone is worth on your images, by how many labels there are.
 *
 * Five ways of learning, each with some numbers of labels a class, several times with other labels:
 *     scratch   the network from nothing
 *     random    a linear probe on the features of the network as it began, with random numbers
 *     probe     a linear probe on the features of the backbone
 *     lp-ft     that probe as the head, then all layers (Kumar et al. 2022, arXiv:2202.10054)
 *     full      all layers at once
 * Every way that trains layers takes the same number of steps and has the best of three rates.
 * Rates and the way that is kept are chosen on images held out of the training part; those that are
 * measured on choose nothing. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "examples/common_page.h"
#include "examples/common_plot.h"
#include "examples/common_task.h"

enum {
    COUNTS = 6, RUNS = 20, RATES = 3, MOST_STEPS = 10000, SHOWN = 24, PATH = 1024, MOST_CHOOSE = 500
};

typedef enum way { SCRATCH, RANDOM, PROBE, LP_FT, FULL, WAYS } way;
static const char *const WAY[WAYS] = { "scratch", "random", "probe", "lp-ft", "full" };
/* Of the usual rate: from nothing, and for a backbone, whose weights may be touchy. */
static const double FROM_NOTHING[RATES] = { 1, 0.3, 3 }, FINE[RATES] = { 1, 0.1, 0.01 };

typedef struct result { double test, val, seconds; } result;

typedef struct options {
    const char *weights, *val, *labels, *out, *json;
    int64_t runs, steps, batch, images, threads, seed;
    int skip_bad;
} options;

typedef struct job {
    options o;
    const char *data;
    FILE *f;
    char dir[PATH - 64];
    tlv_ctx *c;
    cli_task task;
    int counts, labels[COUNTS], classes;
    int64_t *pool, n_pool, *choose, n_choose, *index;   /* of task.train; index: the run's labels */
    int64_t n_test;                                 /* of task.val_at */
    result (*at)[COUNTS][RUNS];                     /* [WAYS] */
    double *loss[WAYS];                             /* [steps] of the first run with most labels */
    int64_t traced[WAYS];                           /* how many there are */
    double *trace;                                  /* [steps] of the fit at work */
    int64_t trace_n;
    double start;
    int64_t done;
    cli_progress line;
    way kept;
    tlv_model *best;                                /* the way that is kept, most labels, run 0 */
} job;

static void path_in(const job *j, const char *name, char path[PATH])
{
    snprintf(path, PATH, "%s/%.60s", j->dir, name);
}

/* ---- images ---------------------------------------------------------------------------------- */

/* A quarter of the training part, up to MOST_CHOOSE, is held out to choose by. */
static int split(job *j)
{
    cli_task_opts o = { .data = j->data, .val = j->o.val, .skip_bad = j->o.skip_bad,
                        .seed = j->o.seed };
    if (cli_task_open(j->c, &j->task, o, j->f) != CLI_OK) return CLI_FAILED;
    cli_task *t = &j->task;
    double part = (double)MOST_CHOOSE / (double)t->n_train;
    j->classes = tlv_dataset_classes(t->train);
    j->pool = cli_numbers(t->n_train);
    j->choose = cli_numbers(t->n_train);
    j->index = cli_numbers(t->n_train);
    tlv_dataset_split(t->train, t->n_train, t->train_at, part < 0.25 ? part : 0.25,
                      tlv_rng_stream(j->c, "choose"), j->pool, &j->n_pool, j->choose, &j->n_choose);
    tlv_rng_shuffle(tlv_rng_stream(j->c, "measure"), t->n_val, t->val_at);
    j->n_test = t->n_val < j->o.images ? t->n_val : j->o.images;
    if (j->n_choose == 0 || j->n_test == 0)
        return cli_error("give it more images", "%s: %lld images to choose by, %lld to measure on",
                         j->data, (long long)j->n_choose, (long long)j->n_test);
    fprintf(j->f, "images   %s to learn from, %s to choose by, %s to measure on\n",
            cli_count(j->n_pool).s, cli_count(j->n_choose).s, cli_count(j->n_test).s);
    return CLI_OK;
}

/* `labels` images a class of the pool, in an order of the run's own: their number. */
static int64_t draw_labels(job *j, int labels, int run)
{
    int64_t n = 0, *order = j->index + 0;
    tlv_rng_key key = tlv_rng_fold(tlv_rng_stream(j->c, "labels"), (uint64_t)run);
    int64_t *all = cli_numbers(j->n_pool);
    memcpy(all, j->pool, (size_t)j->n_pool * sizeof *all);
    tlv_rng_shuffle(key, j->n_pool, all);
    for (int k = 0; k < j->classes; k++) {
        int taken = 0;
        for (int64_t i = 0; i < j->n_pool && taken < labels; i++)
            if (tlv_dataset_label(j->task.train, all[i]) == k) order[n++] = all[i], taken++;
    }
    free(all);
    return n;
}

/* ---- one run --------------------------------------------------------------------------------- */

/* The backbone, or its architecture with random numbers. */
static tlv_model *open_model(job *j, int random)
{
    tlv_model *m = tlv_model_load(j->c, j->o.weights, NULL, (tlv_model_opts){ 0 }, NULL);
    if (!m || !random) return m;
    tlv_model_opts o = { .classes = j->classes, .width = tlv_model_about(m)->width };
    if (o.width == 1) o.width = 0;
    tlv_model *fresh = tlv_model_open(j->c, tlv_model_arch(m), o);
    if (fresh) tlv_model_set_recipe(fresh, tlv_model_recipe(m));
    tlv_model_close(m);
    return fresh;
}

/* On the images to choose by, or those to measure on. */
static double share(job *j, const tlv_model *m, int measured)
{
    tlv_score s = { 0 };
    const cli_task *t = &j->task;
    if (measured)
        tlv_evaluate(j->c, m, t->val, t->val_at, j->n_test, (tlv_evaluate_opts){ 0 }, &s);
    else tlv_evaluate(j->c, m, t->train, j->choose, j->n_choose, (tlv_evaluate_opts){ 0 }, &s);
    return s.accuracy;
}

static int on_step(void *user, const tlv_finetune *t)
{
    job *j = user;
    const tlv_finetune_state *s = tlv_finetune_now(t);
    int64_t step = s->epoch * s->steps + s->step;
    if (step >= 1 && step <= j->o.steps) j->trace[(j->trace_n = step) - 1] = s->loss;
    return cli_interrupted();
}

/* What suits the images, with the same number of steps whatever the labels. */
static tlv_finetune_opts options_of(job *j, const tlv_model *m, way w, double factor, int64_t n)
{
    tlv_finetune_opts want = { .strategy = w == LP_FT ? TLV_LP_FT : TLV_FULL };
    tlv_finetune_opts o = tlv_finetune_defaults(m, j->task.train, w != SCRATCH, &want);
    o.batch = n < j->o.batch ? n : j->o.batch;
    int64_t steps = (n + o.batch - 1) / o.batch;
    o.epochs = (j->o.steps + steps - 1) / steps;
    o.lr *= factor;
    o.on_step = on_step;
    o.user = j;
    return o;
}

/* m learns from index[0 .. n-1]; a failure is in the context. */
static void tune(job *j, tlv_model *m, way w, double factor, const int64_t *index, int64_t n)
{
    j->trace_n = 0;
    tlv_finetune_opts o = options_of(j, m, w, factor, n);
    tlv_finetune *t = tlv_finetune_open(j->c, m, j->task.train, index, n, NULL, NULL, 0, o);
    if (t) tlv_finetune_run(t);
    tlv_finetune_close(t);
}

static void fit_probe(job *j, tlv_model *m, const int64_t *index, int64_t n)
{
    tlv_features f = { 0 };
    tlv_probe p = { 0 };
    tlv_extract_report r;
    tlv_probe_opts o = { .key = tlv_rng_stream(j->c, "folds") };
    if (tlv_extract_features(j->c, m, j->task.train, index, n, (tlv_extract_opts){ 0 }, &f, &r)
            == TLV_OK
        && tlv_probe_fit(j->c, &f, o, &p, NULL) == TLV_OK)
        tlv_probe_to_model(j->c, &p, m);
    tlv_probe_close(&p);
    tlv_features_close(&f);
}

/* One way with one rate: a model that has learned; NULL after an error. */
static tlv_model *learn(job *j, way w, double factor, const int64_t *index, int64_t n)
{
    tlv_model *m = open_model(j, w == SCRATCH || w == RANDOM);
    if (m && (w == RANDOM || w == PROBE)) fit_probe(j, m, index, n);
    else if (m) tune(j, m, w, factor, index, n);
    j->done++;
    cli_progress_step(&j->line, j->done, "%s, %lld labels", WAY[w], (long long)n);
    if (!tlv_error(j->c)) return m;
    tlv_model_close(m);
    return NULL;
}

/* ---- all of them ----------------------------------------------------------------------------- */

static void note_losses(job *j, way w)
{
    j->traced[w] = j->trace_n;
    memcpy(j->loss[w], j->trace, (size_t)j->trace_n * sizeof *j->trace);
}

/* Way w with count k of labels, run r: the rate that is best on the images to choose by. */
static tlv_model *measure(job *j, way w, int k, int run, const int64_t *index, int64_t n)
{
    double start = cli_now();
    tlv_model *best = NULL;
    result *r = &j->at[w][k][run];
    const double *factor = w == SCRATCH ? FROM_NOTHING : FINE;
    int rates = w == RANDOM || w == PROBE ? 1 : RATES;
    r->val = -1;
    for (int i = 0; i < rates && !tlv_error(j->c) && !cli_interrupted(); i++) {
        tlv_model *m = learn(j, w, factor[i], index, n);
        double val = m ? share(j, m, 0) : -1;
        if (m && val > r->val) {
            tlv_model_close(best);
            best = m;
            r->val = val;
            if (k == j->counts - 1 && run == 0) note_losses(j, w);
        } else tlv_model_close(m);
    }
    if (best) r->test = share(j, best, 1);
    r->seconds = (cli_now() - start) / rates;
    return best;
}

/* Of the backbone's ways, with most labels, the one that is best on the images to choose by. */
static void keep(job *j, way w, int k, int run, tlv_model *m)
{
    int better = !j->best || j->at[w][k][0].val > j->at[j->kept][k][0].val;
    if (k == j->counts - 1 && run == 0 && w >= PROBE && better) {
        tlv_model_close(j->best);
        j->best = m;
        j->kept = w;
    } else tlv_model_close(m);
}

static int run_all(job *j)
{
    cli_progress_begin(&j->line, j->f, "learn", (int64_t)j->counts * j->o.runs * (2 + 3 * RATES));
    for (int k = 0; k < j->counts; k++)
        for (int r = 0; r < j->o.runs; r++) {
            int64_t n = draw_labels(j, j->labels[k], r);
            for (int w = 0; w < WAYS; w++) {
                tlv_model *m = measure(j, (way)w, k, r, j->index, n);
                if (m) keep(j, (way)w, k, r, m);
                if (tlv_error(j->c) || cli_interrupted()) cli_progress_end(&j->line);
                if (tlv_error(j->c)) return cli_fail(j->c);
                if (cli_interrupted()) return CLI_INTERRUPTED;
            }
        }
    cli_progress_end(&j->line);
    return CLI_OK;
}

/* ---- the table ------------------------------------------------------------------------------- */

/* Over the runs; the deviation of one run is 0. */
static void mean_of(const job *j, int w, int k, double *mean, double *spread, double *seconds)
{
    double sum = 0, off = 0, time = 0, n = (double)j->o.runs;
    const result *r = j->at[w][k];
    for (int i = 0; i < j->o.runs; i++) sum += r[i].test, time += r[i].seconds;
    for (int i = 0; i < j->o.runs; i++) off += (r[i].test - sum / n) * (r[i].test - sum / n);
    *mean = sum / n;
    *spread = n > 1 ? sqrt(off / (n - 1)) : 0;
    *seconds = time / n;
}

typedef struct cell_text { char s[48]; } cell_text;

static cell_text cell_of(const job *j, int w, int k)
{
    cell_text t;
    double mean, spread, seconds;
    mean_of(j, w, k, &mean, &spread, &seconds);
    snprintf(t.s, sizeof t.s, "%.1f +- %.1f %%  %.1f s", 100 * mean, 100 * spread, seconds);
    return t;
}

static void print_table(const job *j)
{
    fprintf(j->f, "\n%-9s", "labels");
    for (int k = 0; k < j->counts; k++) fprintf(j->f, "  %14d a class", j->labels[k]);
    fprintf(j->f, "\n");
    for (int w = 0; w < WAYS; w++) {
        fprintf(j->f, "%-9s", WAY[w]);
        for (int k = 0; k < j->counts; k++) fprintf(j->f, "  %22s", cell_of(j, w, k).s);
        fprintf(j->f, "\n");
    }
    fprintf(j->f, "          accuracy on %lld images, mean and deviation of %lld run%s; seconds of "
            "one\n", (long long)j->n_test, (long long)j->o.runs, j->o.runs == 1 ? "" : "s");
}

/* The same table as a picture. */
static int draw_table(const job *j)
{
    enum { WIDE = 12, ROW = 30, FIRST = 130, CELL = 290 };
    static const cli_rgb INK = { 30, 34, 45 }, LINE = { 215, 219, 227 };
    char path[PATH], text[48];
    int w = FIRST + j->counts * CELL, h = ROW * (WAYS + 1) + 10;
    cli_canvas *v = cli_canvas_open(w, h);
    for (int k = 0; v && k < j->counts; k++) {
        snprintf(text, sizeof text, "%d a class", j->labels[k]);
        cli_canvas_text(v, FIRST + k * CELL, WIDE, 2, INK, text);
    }
    for (int r = 0; v && r < WAYS; r++) {
        cli_canvas_rect(v, 0, ROW * (r + 1) + 2, w, 1, LINE);
        cli_canvas_text(v, WIDE, ROW * (r + 1) + WIDE, 2, INK, WAY[r]);
        for (int k = 0; k < j->counts; k++)
            cli_canvas_text(v, FIRST + k * CELL, ROW * (r + 1) + WIDE, 2, INK, cell_of(j, r, k).s);
    }
    path_in(j, "table.png", path);
    int status = v ? cli_canvas_write(j->c, v, path) : CLI_FAILED;
    cli_canvas_close(v);
    return status;
}

/* ---- pictures -------------------------------------------------------------------------------- */

static int draw_samples(const job *j)
{
    char path[PATH];
    tlv_image image[SHOWN] = { 0 };
    cli_cell cell[SHOWN] = { 0 };
    int n = j->n_pool < SHOWN ? (int)j->n_pool : SHOWN;
    for (int i = 0; i < n && !tlv_error(j->c); i++) {
        int64_t at = j->pool[i * j->n_pool / n];
        tlv_dataset_image(j->c, j->task.train, at, &image[i]);
        const char *name = tlv_dataset_class_name(j->task.train,
                                                  tlv_dataset_label(j->task.train, at));
        cell[i] = (cli_cell){ &image[i], { name, NULL }, { 0, 0, 0 } };
    }
    path_in(j, "samples.png", path);
    int status = tlv_error(j->c) ? cli_fail(j->c)
                                 : cli_plot_grid(j->c, path, "what there is to learn", n, cell);
    for (int i = 0; i < n; i++) tlv_image_close(&image[i]);
    return status;
}

/* Accuracy by labels, and the losses of three ways with the most of them. */
static int draw_curves(const job *j)
{
    char path[PATH];
    double x[COUNTS], y[WAYS][COUNTS], none;
    cli_series accuracy[WAYS], loss[3];
    static const way TRACED[3] = { SCRATCH, LP_FT, FULL };
    for (int w = 0; w < WAYS; w++) {
        for (int k = 0; k < j->counts; k++) {
            x[k] = j->labels[k];
            mean_of(j, w, k, &y[w][k], &none, &none);
        }
        accuracy[w] = (cli_series){ WAY[w], j->counts, x, y[w] };
    }
    for (int i = 0; i < 3; i++)
        loss[i] = (cli_series){ WAY[TRACED[i]], j->traced[TRACED[i]], NULL, j->loss[TRACED[i]] };
    const cli_panel panels[2] = { { "accuracy", WAYS, accuracy },
                                  { "training loss, most labels", 3, loss } };
    path_in(j, "curves.png", path);
    return cli_plot_lines(j->c, path, "tlv-gain", "labels a class; steps", 2, panels);
}

/* confusion.png, classes.png and worst.png of the way that is kept. */
static int draw_verdicts(const job *j)
{
    size_t k = (size_t)j->classes, n = (size_t)j->n_test;
    float *prob = calloc(n * k, sizeof *prob);
    int64_t *confusion = calloc(k * k, sizeof *confusion);
    const char **names = cli_class_names(j->best);
    tlv_evaluate_opts o = { .prob = prob, .confusion = confusion };
    tlv_score s;
    char title[64];
    int status = prob && confusion ? CLI_OK : cli_error("close other programs", "no memory");
    if (status == CLI_OK)
        tlv_evaluate(j->c, j->best, j->task.val, j->task.val_at, j->n_test, o, &s);
    if (tlv_error(j->c)) status = cli_fail(j->c);
    cli_verdicts v = { .d = j->task.val, .index = j->task.val_at, .n = j->n_test,
                       .classes = j->classes, .names = names, .prob = prob,
                       .confusion = confusion };
    snprintf(title, sizeof title, "%s, %d labels a class", WAY[j->kept], j->labels[j->counts - 1]);
    if (status == CLI_OK) status = cli_draw_verdicts(j->c, &v, j->dir, title);
    free(names);
    free(confusion);
    free(prob);
    return status;
}

/* ---- the end --------------------------------------------------------------------------------- */

static int save_model(const job *j)
{
    char path[PATH];
    path_in(j, "model.safetensors", path);
    if (cli_name_classes(j->c, j->best, j->task.train) != TLV_OK) return cli_fail(j->c);
    return tlv_model_save(j->c, j->best, path, NULL) == TLV_OK ? CLI_OK : cli_fail(j->c);
}

typedef struct commands { char text[2][2 * PATH + 200]; const char *at[2]; } commands;

static void next_commands(const job *j, commands *n)
{
    static const char *const OPTION[WAYS] = { "", "", "tlv-probe", "tlv-finetune --strategy lp-ft",
                                              "tlv-finetune --strategy full" };
    snprintf(n->text[0], sizeof n->text[0], "%s %s --weights %s", OPTION[j->kept], j->data,
             j->o.weights);
    snprintf(n->text[1], sizeof n->text[1], "tlv-predict %s/model.safetensors IMAGE", j->dir);
    for (int i = 0; i < 2; i++) n->at[i] = n->text[i];
}

static int write_page(const job *j, const commands *next)
{
    static const struct { const char *file, *says; } PICTURES[] = {
        { "samples.png", "Images to learn from." },
        { "curves.png", "Accuracy by labels a class, mean of three runs; losses of the first." },
        { "confusion.png", "Rows: what it is. Columns: what the model says." },
        { "worst.png", "The errors that the model was surest of." },
    };
    cli_page p;
    char path[PATH], head[COUNTS][24];
    path_in(j, "gain.html", path);
    cli_page_begin(&p, path, "Learning from few labels");
    cli_page_text(&p, "%s: %d classes, measured on %lld images. The backbone is %s.", j->data,
                  j->classes, (long long)j->n_test, j->o.weights);
    const char *cells[COUNTS + 1] = { "labels a class" };
    for (int k = 0; k < j->counts; k++) {
        snprintf(head[k], sizeof head[k], "%d", j->labels[k]);
        cells[k + 1] = head[k];
    }
    cli_page_table_begin(&p);
    cli_page_row(&p, 1, j->counts + 1, cells);
    for (int w = 0; w < WAYS; w++) {
        cell_text t[COUNTS];
        cells[0] = WAY[w];
        for (int k = 0; k < j->counts; k++) {
            t[k] = cell_of(j, w, k);
            cells[k + 1] = t[k].s;
        }
        cli_page_row(&p, 0, j->counts + 1, cells);
    }
    cli_page_table_end(&p);
    cli_page_text(&p, "Accuracy, mean and deviation of %lld runs with other labels, and the "
                  "seconds of one. scratch: the network from nothing; random: a probe on features "
                  "of random numbers; probe, lp-ft, full: on the backbone. All that train layers "
                  "take %lld steps and have the best of three rates. Choices are made on %lld "
                  "images of the training part.", (long long)j->o.runs, (long long)j->o.steps,
                  (long long)j->n_choose);
    for (size_t i = 0; i < sizeof PICTURES / sizeof PICTURES[0]; i++) {
        path_in(j, PICTURES[i].file, path);
        cli_page_picture(&p, path, PICTURES[i].says);
    }
    cli_page_heading(&p, "Next");
    cli_page_commands(&p, 2, next->at);
    return cli_page_end(&p);
}

static int write_json(const job *j, const char *path)
{
    cli_json out = { 0 };
    cli_json_text(&out, "data", j->data);
    cli_json_text(&out, "weights", j->o.weights);
    cli_json_int(&out, "classes", j->classes);
    cli_json_int(&out, "steps", j->o.steps);
    cli_json_int(&out, "runs", j->o.runs);
    cli_json_int(&out, "images", j->n_test);
    cli_json_text(&out, "kept", WAY[j->kept]);
    cli_json_list(&out, "results");
    for (int w = 0; w < WAYS; w++)
        for (int k = 0; k < j->counts; k++) {
            double mean, spread, seconds;
            mean_of(j, w, k, &mean, &spread, &seconds);
            cli_json_row(&out);
            cli_json_text(&out, "way", WAY[w]);
            cli_json_int(&out, "labels", j->labels[k]);
            cli_json_real(&out, "accuracy", mean);
            cli_json_real(&out, "deviation", spread);
            cli_json_real(&out, "seconds", seconds);
            cli_json_text(&out, "cell", cell_of(j, w, k).s);
        }
    cli_json_list_end(&out);
    cli_json_text(&out, "folder", j->dir);
    cli_json_costs(&out, j->c, j->start);
    return cli_json_write(&out, path);
}

static int finish(job *j)
{
    char path[PATH];
    commands next;
    next_commands(j, &next);
    print_table(j);
    if (save_model(j) != CLI_OK || draw_table(j) != CLI_OK || draw_samples(j) != CLI_OK
        || draw_curves(j) != CLI_OK || draw_verdicts(j) != CLI_OK || write_page(j, &next) != CLI_OK)
        return CLI_FAILED;
    fprintf(j->f, "\nkept     %s with %d labels a class\n", WAY[j->kept], j->labels[j->counts - 1]);
    fprintf(j->f, "saved    %s: gain.html table.png samples.png curves.png confusion.png\n"
            "         classes.png worst.png model.safetensors result.json\n", j->dir);
    fprintf(j->f, "time     %s\n", cli_time(cli_now() - j->start).s);
    for (int i = 0; i < 2; i++) fprintf(j->f, "%-8s %s\n", i ? "" : "next", next.at[i]);
    path_in(j, "result.json", path);
    if (write_json(j, path) != CLI_OK) return CLI_FAILED;
    return write_json(j, j->o.json);
}

/* "5,10,20" into labels, rising. */
static void read_labels(job *j, const cli_spec *spec)
{
    const char *at = j->o.labels;
    for (char *end; *at; at = *end ? end + 1 : end) {
        long n = strtol(at, &end, 10);
        int last = j->counts ? j->labels[j->counts - 1] : 0;
        if (end == at || (*end && *end != ',') || n <= last || n > 100000 || j->counts == COUNTS)
            cli_usage(spec, "--labels %s: want up to %d rising numbers, 5,10,20", j->o.labels,
                      COUNTS);
        j->labels[j->counts++] = (int)n;
    }
    if (!j->counts) cli_usage(spec, "--labels: want numbers, 5,10,20");
}

static int run(job *j)
{
    j->start = cli_now();
    j->c = cli_open(j->o.threads, j->o.seed);
    tlv_load_report r = { 0 };
    tlv_model *m = tlv_model_load(j->c, j->o.weights, NULL, (tlv_model_opts){ 0 }, &r);
    if (!m) return cli_fail(j->c);
    cli_print_model(j->f, m, j->o.weights, &r);
    tlv_model_close(m);
    if (split(j) != CLI_OK || cli_run_folder(j->o.out, "gain", j->dir, sizeof j->dir) != CLI_OK)
        return CLI_FAILED;
    cli_catch_interrupt();
    int status = run_all(j);
    if (status == CLI_INTERRUPTED) fprintf(stderr, "stopped; %s holds nothing yet\n", j->dir);
    return status == CLI_OK ? finish(j) : status;
}

int main(int argc, char **argv)
{
    static job j;
    options *o = &j.o;
    *o = (options){ .labels = "5,10,20", .runs = 3, .steps = 120, .batch = 32, .images = 1000 };
    const cli_option table[] = {
        CLI_OPT_WEIGHTS(o->weights), CLI_OPT_VAL(o->val),
        { "--labels", CLI_TEXT, &o->labels, "N,..", "labels a class to learn from", 0, 0 },
        { "--runs", CLI_INT, &o->runs, "N", "of each, with other labels", 1, RUNS },
        { "--steps", CLI_INT, &o->steps, "N", "of every way that trains layers", 1, MOST_STEPS },
        { "--images", CLI_INT, &o->images, "N", "to measure on, at most", 1, 1e9 },
        CLI_OPT_BATCH(o->batch), CLI_OPT_SKIP_BAD(o->skip_bad),
        CLI_OPT_SEED(o->seed), CLI_OPT_THREADS(o->threads), CLI_OPT_OUT(o->out),
        CLI_OPT_JSON(o->json), { 0 },
    };
    const cli_spec spec = { "tlv-gain", "what a backbone is worth on your images, by labels",
                            "DATA", 1, 1, "tlv-gain photos/ --weights mobilenet_v2.safetensors",
                            table };
    cli_parse(&spec, argc, argv);
    j.data = argv[1];
    if (!o->weights) cli_usage(&spec, "--weights is missing");
    read_labels(&j, &spec);
    j.at = calloc(WAYS, sizeof *j.at);
    for (int w = 0; w < WAYS; w++) j.loss[w] = calloc((size_t)o->steps, sizeof **j.loss);
    j.trace = calloc((size_t)o->steps, sizeof *j.trace);
    if (!j.at || !j.loss[WAYS - 1] || !j.trace)
        return cli_error("close other programs", "no memory");
    j.f = cli_text_stream(o->json);
    int status = run(&j);
    tlv_model_close(j.best);
    cli_task_close(&j.task);
    tlv_ctx_close(j.c);
    for (int w = 0; w < WAYS; w++) free(j.loss[w]);
    free(j.trace);
    free(j.pool);
    free(j.choose);
    free(j.index);
    free(j.at);
    return cli_finish(status);
}
