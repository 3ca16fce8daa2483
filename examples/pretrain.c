/* pretrain.c -- tlv-pretrain: a backbone from drawn patterns, without any photograph.
 *
 * What happens, in order: options (or those of the run to resume); the network, with random
 * numbers; steps, each on images drawn for it, with a row of the table now and then and a
 * checkpoint each minute; the backbone, without the head that only knew patterns, as
 * model.safetensors.
 * docs/patterns.md explains what is drawn and learned. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "examples/common_plot.h"

/* ---- options --------------------------------------------------------------------------------- */

typedef struct options {
    const char *arch, *out, *json, *resume;
    int64_t size, fractals, contours, textures, objects, steps, batch, warmup, every, seed, threads;
    double width, lr, weight_decay;
} options;

enum { MAX_OPTIONS = 24, TEXT = 1024, PATH = 1024, SAMPLES = 24 };
static const double CHECKPOINT_SECONDS = 60;

/* Fills table, which points into o. */
static void option_table(options *o, cli_option *table)
{
    const cli_option t[] = {
        { "--arch", CLI_TEXT, &o->arch, "NAME", "the network", 0, 0 },
        { "--width", CLI_REAL, &o->width, "X", "times its channels; 0: 1", 0, 8 },
        { "--size", CLI_INT, &o->size, "N", "of the images", 16, 512 },
        { "--fractals", CLI_INT, &o->fractals, "N", "categories of fractals", 0, 100000 },
        { "--contours", CLI_INT, &o->contours, "N", "categories of contours", 0, 100000 },
        { "--textures", CLI_INT, &o->textures, "N", "categories of grounds", 0, 100000 },
        { "--objects", CLI_INT, &o->objects, "N", "fractals and contours in an image, at most", 1,
          16 },
        { "--steps", CLI_INT, &o->steps, "N", "steps of the optimizer", 1, 1e9 },
        CLI_OPT_BATCH(o->batch),
        { "--warmup", CLI_INT, &o->warmup, "N", "steps to reach the rate", 0, 1e9 },
        CLI_OPT_LR(o->lr),
        { "--weight-decay", CLI_REAL, &o->weight_decay, "X", "decoupled (AdamW)", 0, 1 },
        { "--log-every", CLI_INT, &o->every, "N", "steps a row of the table", 1, 1e9 },
        CLI_OPT_SEED(o->seed), CLI_OPT_THREADS(o->threads), CLI_OPT_OUT(o->out),
        { "--resume", CLI_TEXT, &o->resume, "FILE", "go on from DIR/checkpoint.safetensors", 0, 0 },
        CLI_OPT_JSON(o->json), { 0 },
    };
    _Static_assert(sizeof t <= MAX_OPTIONS * sizeof *t, "a larger table");
    memcpy(table, t, sizeof t);
}

static options defaults(void)
{
    tlv_pretrain_opts d = tlv_pretrain_defaults();
    return (options){ .arch = "resnet10", .width = 0.25, .size = 64, .fractals = 120,
                      .contours = 80, .textures = 60, .objects = 3, .steps = d.steps,
                      .batch = d.batch,
                      .warmup = d.warmup, .lr = d.lr, .weight_decay = d.weight_decay,
                      .every = 500 };
}

/* What belongs to one command and not to the run. */
static const char OF_COMMAND[] = "--out|--json|--resume|--threads";

/* ---- the run --------------------------------------------------------------------------------- */

typedef struct job {
    options o;
    const cli_option *table;
    FILE *f;                                    /* for people */
    char record[TEXT], saved[TEXT], dir[PATH - 40];
    tlv_ctx *c;
    tlv_model *m;
    tlv_pretrain *t;
    double start, before;                       /* this part's; seconds of the parts before it */
    cli_progress line;
    int line_open, failed;
} job;

static void path_in(const job *j, const char *name, char path[PATH])
{
    snprintf(path, PATH, "%s/%.38s", j->dir, name);         // dir leaves room for it
}

static int file_error(const char *path)
{
    return cli_error("is the disk full?", "%s: %s", path, strerror(errno));
}

static double seconds(const job *j) { return j->before + cli_now() - j->start; }

/* ---- the table ------------------------------------------------------------------------------- */

static const char LOG_HEAD[] = "step,loss,found,lr,seconds\n";

/* Begins log.csv anew with the rows that it had up to this step; before becomes the last one's
 * seconds. */
static int begin_log(job *j)
{
    char path[PATH], beside[PATH], line[256];
    path_in(j, "log.csv", path);
    path_in(j, "log.csv.tmp", beside);
    FILE *from = j->o.resume ? fopen(path, "r") : NULL, *to = fopen(beside, "w");
    int bad = !to || fputs(LOG_HEAD, to) < 0;
    while (!bad && from && fgets(line, sizeof line, from)) {
        char *end, *last = strrchr(line, ',');
        long long at = strtoll(line, &end, 10);
        if (end == line || at > tlv_pretrain_now(j->t)->step || !last) continue;
        bad = fputs(line, to) < 0;
        j->before = strtod(last + 1, NULL);
    }
    if (from) fclose(from);
    bad |= !to || fclose(to) != 0;
    bad |= !bad && rename(beside, path) != 0;
    return bad ? file_error(path) : CLI_OK;
}

static int add_row(job *j)
{
    char path[PATH];
    const tlv_pretrain_state *s = tlv_pretrain_now(j->t);
    path_in(j, "log.csv", path);
    FILE *f = fopen(path, "a");
    if (!f) return file_error(path);
    fprintf(f, "%lld,%.9g,%.9g,%.9g,%.3f\n", (long long)s->step, s->loss, s->found, s->lr,
            seconds(j));
    int bad = ferror(f);
    if (fclose(f) != 0 || bad) return file_error(path);
    if (j->line_open) cli_progress_end(&j->line);
    fprintf(j->f, "%9lld  %8.5f  %8.4f  %8.2g  %8s\n", (long long)s->step, s->loss, s->found, s->lr,
            cli_time(seconds(j)).s);
    fflush(j->f);
    return CLI_OK;
}

enum { COLUMNS = 5 };

/* log.csv as curve.png. */
static int draw_curve(const job *j)
{
    char path[PATH], line[256];
    path_in(j, "log.csv", path);
    int64_t room = tlv_pretrain_now(j->t)->steps / j->o.every + 2, n = 0;
    double *v = calloc((size_t)room * COLUMNS, sizeof *v);
    FILE *f = v ? fopen(path, "r") : NULL;
    while (f && n < room && fgets(line, sizeof line, f)) {
        double r[COLUMNS];
        if (sscanf(line, "%lf,%lf,%lf,%lf,%lf", &r[0], &r[1], &r[2], &r[3], &r[4]) != COLUMNS)
            continue;
        for (int k = 0; k < COLUMNS; k++) v[k * room + n] = r[k];
        n++;
    }
    if (f) fclose(f);
    const cli_series loss = { "loss", n, v, v + room }, found = { "found", n, v, v + 2 * room };
    const cli_panel panels[] = { { "binary cross-entropy", 1, &loss },
                                 { "categories found", 1, &found } };
    path_in(j, "curve.png", path);
    int status = v ? cli_plot_lines(j->c, path, "tlv-pretrain", "step", 2, panels) : CLI_FAILED;
    free(v);
    return status;
}

/* Some of the images that a model learns from, as samples.png. */
static int draw_samples(const job *j, tlv_patterns_opts o)
{
    char path[PATH], count[SAMPLES][24];
    int side = (int)j->o.size, status = CLI_FAILED;
    tlv_image image[SAMPLES] = { 0 };
    cli_cell cell[SAMPLES] = { 0 };
    tlv_patterns *p = tlv_patterns_open(j->c, o);
    float *label = p ? calloc((size_t)tlv_patterns_labels(p), sizeof *label) : NULL;
    for (int i = 0; label && i < SAMPLES && !tlv_error(j->c); i++) {
        tlv_rng_key key = tlv_rng_fold(tlv_rng_stream(j->c, "samples"), (uint64_t)i);
        if (tlv_image_new(j->c, side, side, TLV_RGB, 8, &image[i]) != TLV_OK) break;
        tlv_pattern_draw(j->c, p, side, key, image[i].samples, label);
        int n = 0;
        for (int k = 0; k < tlv_patterns_labels(p); k++) n += label[k] > 0;
        snprintf(count[i], sizeof count[i], "%d categor%s", n, n == 1 ? "y" : "ies");
        cell[i] = (cli_cell){ &image[i], { count[i], NULL }, { 0, 0, 0 } };
    }
    path_in(j, "samples.png", path);
    if (label && !tlv_error(j->c))
        status = cli_plot_grid(j->c, path, "what the model learns from", SAMPLES, cell);
    else if (tlv_error(j->c)) cli_fail(j->c);
    for (int i = 0; i < SAMPLES; i++) tlv_image_close(&image[i]);
    free(label);
    tlv_patterns_close(p);
    return status;
}

/* ---- steps ----------------------------------------------------------------------------------- */

static int on_step(void *user, const tlv_pretrain *t)
{
    job *j = user;
    const tlv_pretrain_state *s = tlv_pretrain_now(t);
    if (!j->line_open) cli_progress_begin(&j->line, j->f, "step", s->steps);
    j->line_open = 1;
    cli_progress_step(&j->line, s->step, "%lld of %lld  loss %.5f  found %.3f", (long long)s->step,
                      (long long)s->steps, s->loss, s->found);
    if (s->step % j->o.every == 0 || s->step == s->steps) j->failed = add_row(j) != CLI_OK;
    return j->failed || cli_interrupted();
}

static int train(job *j)
{
    fprintf(j->f, "\n%9s  %8s  %8s  %8s  %8s\n", "step", "loss", "found", "rate", "time");
    fflush(j->f);
    tlv_status st = tlv_pretrain_run(j->t);
    if (j->line_open) cli_progress_end(&j->line);
    if (st != TLV_OK) return cli_fail(j->c);
    if (j->failed) return CLI_FAILED;
    const tlv_pretrain_state *s = tlv_pretrain_now(j->t);
    if (!s->stopped) return CLI_OK;
    fprintf(stderr, "stopped after step %lld of %lld; the checkpoint is in %s\n",
            (long long)s->step, (long long)s->steps, j->dir);
    fprintf(stderr, "to go on: tlv-pretrain --resume %s/checkpoint.safetensors\n", j->dir);
    return CLI_INTERRUPTED;
}

/* ---- the end --------------------------------------------------------------------------------- */

/* "tlv-pretrain --arch=resnet10 ...": what makes this file again. */
static void command_of(const job *j, char text[TEXT + 16])
{
    snprintf(text, TEXT + 16, "tlv-pretrain %s", j->record);
    for (char *at = text; *at; at++)
        if (*at == '\n') *at = at[1] ? ' ' : 0;
}

static int save_backbone(job *j)
{
    char path[PATH], command[TEXT + 16], text[2][32];
    const tlv_pretrain_state *s = tlv_pretrain_now(j->t);
    command_of(j, command);
    snprintf(text[0], sizeof text[0], "%.9g", s->loss);
    snprintf(text[1], sizeof text[1], "%.9g", s->found);
    const char *const extra[] = { "command", command, "loss", text[0], "found", text[1], NULL };
    path_in(j, "model.safetensors", path);
    tlv_model_drop_head(j->m);
    return tlv_model_save(j->c, j->m, path, extra) == TLV_OK ? CLI_OK : cli_fail(j->c);
}

static int write_json(const job *j, const char *path)
{
    const tlv_pretrain_state *s = tlv_pretrain_now(j->t);
    cli_json out = { 0 };
    cli_json_text(&out, "arch", tlv_model_arch(j->m));
    cli_json_real(&out, "width", tlv_model_about(j->m)->width);
    cli_json_int(&out, "size", j->o.size);
    cli_json_int(&out, "fractals", j->o.fractals);
    cli_json_int(&out, "contours", j->o.contours);
    cli_json_int(&out, "textures", j->o.textures);
    cli_json_int(&out, "objects", j->o.objects);
    cli_json_int(&out, "steps", s->steps);
    cli_json_int(&out, "batch", j->o.batch);
    cli_json_int(&out, "images", s->steps * j->o.batch);
    cli_json_real(&out, "loss", s->loss);
    cli_json_real(&out, "found", s->found);
    cli_json_real(&out, "train_seconds", seconds(j));
    cli_json_int(&out, "seed", j->o.seed);
    cli_json_text(&out, "folder", j->dir);
    cli_json_costs(&out, j->c, j->start);
    return cli_json_write(&out, path);
}

static int finish(job *j)
{
    char path[PATH];
    const tlv_pretrain_state *s = tlv_pretrain_now(j->t);
    if (save_backbone(j) != CLI_OK || draw_curve(j) != CLI_OK) return CLI_FAILED;
    fprintf(j->f, "\nimages   %s, each seen once\n", cli_count(s->steps * j->o.batch).s);
    fprintf(j->f, "time     %s, %.0f images/s\n", cli_time(seconds(j)).s,
            (double)(s->steps * j->o.batch) / seconds(j));
    fprintf(j->f, "memory   %s at most in tensors, %s in all\n",
            cli_bytes((double)tlv_mem_get(j->c).peak).s, cli_bytes((double)cli_max_rss()).s);
    fprintf(j->f, "saved    %s: model.safetensors checkpoint.safetensors log.csv curve.png\n"
            "         samples.png result.json\n", j->dir);
    fprintf(j->f, "next     tlv-probe FOLDER --weights %s/model.safetensors\n", j->dir);
    path_in(j, "result.json", path);
    if (write_json(j, path) != CLI_OK) return CLI_FAILED;
    return write_json(j, j->o.json);
}

/* ---- all of it ------------------------------------------------------------------------------- */

static int open_model(job *j)
{
    tlv_model_opts o = { .width = j->o.width };
    j->m = tlv_model_open(j->c, j->o.arch, o);
    if (!j->m) return cli_fail(j->c);
    tlv_recipe r = *tlv_model_recipe(j->m);
    r.size = (int)j->o.size;
    r.resize = (int)j->o.size;
    for (int k = 0; k < 3; k++) {
        r.mean[k] = 0.5;
        r.std[k] = 0.25;
    }
    tlv_model_set_recipe(j->m, &r);
    fprintf(j->f, "model    %s x%g for %lld x %lld pixels, %s numbers\n", j->o.arch,
            tlv_model_about(j->m)->width, (long long)j->o.size, (long long)j->o.size,
            cli_count(tlv_params_numel(tlv_model_params(j->m), 0)).s);
    return CLI_OK;
}

static int open_run(job *j)
{
    char path[PATH];
    const options *o = &j->o;
    const char *const meta[] = { "options", j->record, NULL };
    tlv_pretrain_opts p = tlv_pretrain_defaults();
    p.patterns = (tlv_patterns_opts){ .fractals = (int)o->fractals, .contours = (int)o->contours,
                                      .textures = (int)o->textures, .objects = (int)o->objects,
                                      .key = tlv_rng_stream(j->c, "categories") };
    p.steps = o->steps;
    p.batch = o->batch;
    p.warmup = o->warmup;
    p.lr = o->lr;
    p.weight_decay = o->weight_decay;
    path_in(j, "checkpoint.safetensors", path);
    p.checkpoint = path;
    p.checkpoint_seconds = CHECKPOINT_SECONDS;
    p.meta = meta;
    p.on_step = on_step;
    p.user = j;
    j->t = tlv_pretrain_open(j->c, j->m, p);
    if (!j->t || (o->resume && tlv_pretrain_resume(j->t, o->resume) != TLV_OK))
        return cli_fail(j->c);
    fprintf(j->f, "run      %s, %d thread%s, seed %lld, folder %s\n", tlv_isa(j->c),
            tlv_threads(j->c), tlv_threads(j->c) == 1 ? "" : "s", (long long)o->seed, j->dir);
    if (begin_log(j) != CLI_OK || draw_samples(j, p.patterns) != CLI_OK) return CLI_FAILED;
    if (o->resume)
        fprintf(j->f, "resumed  %s: %lld of %lld steps are done\n", o->resume,
                (long long)tlv_pretrain_now(j->t)->step, (long long)o->steps);
    cli_catch_interrupt();
    int status = train(j);
    return status == CLI_OK ? finish(j) : status;
}

static int run(job *j)
{
    j->start = cli_now();
    j->c = cli_open(j->o.threads, j->o.seed);
    cli_options_text(j->table, OF_COMMAND, j->record, sizeof j->record);
    if (!j->o.resume && cli_run_folder(j->o.out, "pretrain", j->dir, sizeof j->dir) != CLI_OK)
        return CLI_FAILED;
    return open_model(j) == CLI_OK ? open_run(j) : CLI_FAILED;
}

/* --resume takes the run's own options. */
static void take_saved(job *j, const cli_spec *spec, int argc, char **argv)
{
    const char *resume = j->o.resume, *slash = strrchr(resume, '/');
    for (int i = 1; i < argc; i++) {
        char name[32];
        snprintf(name, sizeof name, "%.*s", (int)strcspn(argv[i], "="), argv[i]);
        if (strncmp(name, "--", 2) == 0 && !cli_one_of(name, "--resume|--threads|--json"))
            cli_usage(spec, "--resume goes on with the run's own options; beside it there may be "
                      "--threads and --json, not %s", name);
    }
    size_t n = slash ? (size_t)(slash - resume) : 1;
    if (n >= sizeof j->dir) cli_usage(spec, "--resume: the path is too long");
    snprintf(j->dir, sizeof j->dir, "%.*s", (int)n, slash ? resume : ".");
    tlv_ctx *c = cli_open(1, 0);
    tlv_file *f = tlv_file_open(c, resume);
    const char *text = f ? tlv_file_meta(f, "options") : NULL;
    if (!f) exit(cli_fail(c));
    if (!text || strlen(text) >= sizeof j->saved)
        exit(cli_error("give the checkpoint.safetensors of a run of tlv-pretrain",
                       "%s: it has no options of a run", resume));
    snprintf(j->saved, sizeof j->saved, "%s", text);
    tlv_file_close(f);
    tlv_ctx_close(c);
    cli_take_text(spec, j->saved);
    cli_parse(spec, argc, argv);
}

int main(int argc, char **argv)
{
    static job j;                                   // large, and zero
    j.o = defaults();
    cli_option table[MAX_OPTIONS];
    option_table(&j.o, table);
    j.table = table;
    const cli_spec spec = { "tlv-pretrain", "make a backbone from drawn patterns alone", NULL, 0, 0,
                            "tlv-pretrain --steps 20000 --out runs/backbone", table };
    char **word = malloc((size_t)argc * sizeof *word);      // cli_parse moves them
    if (!word) return cli_error("close other programs", "no memory for the command line");
    memcpy(word, argv, (size_t)argc * sizeof *word);
    cli_parse(&spec, argc, argv);
    if (j.o.resume) take_saved(&j, &spec, argc, word);
    j.f = cli_text_stream(j.o.json);
    int status = run(&j);
    tlv_pretrain_close(j.t);
    tlv_model_close(j.m);
    tlv_ctx_close(j.c);
    free(word);
    return cli_finish(status);
}
