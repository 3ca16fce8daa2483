/* finetune.c -- tlv-finetune: train a model on a data set, from published weights or from nothing.
 *
 * What happens, in order: options (or those of the run to resume), data and its split, the model,
 * what the library chooses for such images (tlv_finetune_defaults), then the run: the program shows
 * how it goes and keeps its files.  docs/transfer.md explains the methods. */
#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "examples/common_plot.h"
#include "examples/common_task.h"

/* ---- options --------------------------------------------------------------------------------- */

/* What is left open (NULL, -1, a rate of 0) is decided when data and model are known. */
typedef struct options {
    const char *data, *val, *weights, *arch, *out, *json, *resume, *cache;
    const char *strategy, *bn, *optim, *schedule, *augment, *lr_scale;
    int64_t per_class, epochs, batch, seed, threads, warmup;
    double lr, momentum, weight_decay, clip, probe_l2;
    int head_only, new_head, skip_bad, scratch;
} options;

enum { MAX_OPTIONS = 32, TEXT = 4096, PATH = 1024, SCALES = 16 };
static const double CHECKPOINT_SECONDS = 60;
static const size_t KEEP_BYTES = (size_t)1 << 30;       /* of decoded photographs, a set */

/* Fills table, which points into o. */
static void option_table(options *o, cli_option *table)
{
    const cli_option t[] = {
        CLI_OPT_WEIGHTS(o->weights), CLI_OPT_ARCH(o->arch), CLI_OPT_VAL(o->val),
        CLI_OPT_PER_CLASS(o->per_class),
        { "--strategy", CLI_TEXT, &o->strategy, "full|head|lp-ft",
          "train all, the head alone, or a probe and then all", 0, 0 },
        CLI_OPT_EPOCHS(o->epochs),
        { "--lr", CLI_REAL, &o->lr, "X", "the highest learning rate; 0: chosen", 0, 1e6 },
        { "--lr-scale", CLI_TEXT, &o->lr_scale, "P=X,..",
          "parameters that match P learn at X times the rate: head.*=10", 0, 0 },
        CLI_OPT_BATCH(o->batch),
        { "--head-only", CLI_FLAG, &o->head_only, NULL, "the same as --strategy head", 0, 0 },
        { "--scratch", CLI_FLAG, &o->scratch, NULL,
          "the architecture of --weights, from nothing: what did they bring?", 0, 0 },
        { "--new-head", CLI_FLAG, &o->new_head, NULL, "a fresh head in any case", 0, 0 },
        { "--bn", CLI_TEXT, &o->bn, "frozen|train",
          "BatchNorm: the weights' statistics or the batch's", 0, 0 },
        { "--optim", CLI_TEXT, &o->optim, "sgd|adamw", "the optimizer", 0, 0 },
        { "--momentum", CLI_REAL, &o->momentum, "X", "of sgd (Nesterov's)", 0, 0.9999 },
        { "--weight-decay", CLI_REAL, &o->weight_decay, "X",
          "L2 (sgd), decoupled (adamw)", 0, 1 },
        { "--clip", CLI_REAL, &o->clip, "X", "the gradient's longest norm; 0: any", 0, 1e9 },
        { "--schedule", CLI_TEXT, &o->schedule, "cosine|one-cycle|step|constant",
          "the rate's way down", 0, 0 },
        { "--warmup", CLI_INT, &o->warmup, "N", "steps to reach the rate", 0, 1e9 },
        { "--augment", CLI_TEXT, &o->augment, "none|WORD,..",
          "of rrc, crop, flip, vertical, rotate, color", 0, 0 },
        { "--probe-l2", CLI_REAL, &o->probe_l2, "X",
          "penalty of lp-ft's probe; 0: by cross-validation", 0, 1e6 },
        { "--cache", CLI_TEXT, &o->cache, "DIR", "keep features here (lp-ft)", 0, 0 },
        { "--skip-bad", CLI_FLAG, &o->skip_bad, NULL, "leave out files that do not decode", 0, 0 },
        CLI_OPT_SEED(o->seed), CLI_OPT_THREADS(o->threads), CLI_OPT_OUT(o->out),
        { "--resume", CLI_TEXT, &o->resume, "DIR", "go on with the run in this folder", 0, 0 },
        CLI_OPT_JSON(o->json), { 0 },
    };
    memcpy(table, t, sizeof t);
}

static options defaults(void)
{
    return (options){ .epochs = -1, .batch = -1, .momentum = -1, .weight_decay = -1, .clip = -1 };
}

static cli_spec spec_of(const cli_option *table)
{
    return (cli_spec){ "tlv-finetune", "train a model on your images, from weights or from nothing",
                       "DATA", 0, 1,
                       "tlv-finetune cifar10:cifar-10-batches-bin --weights resnet20.safetensors",
                       table };
}

static const char STRATEGIES[] = "full|head|lp-ft", SCHEDULES[] = "one-cycle|cosine|step|constant";
static const char AUGMENTS[] = "none|rrc|crop|flip|vertical|rotate|color";

static void check_words(const cli_spec *s, const options *o)
{
    const struct { const char *name, *value, *list; } words[] = {
        { "--bn", o->bn, "frozen|train" },     { "--optim", o->optim, "sgd|adamw" },
        { "--schedule", o->schedule, SCHEDULES }, { "--strategy", o->strategy, STRATEGIES },
    };
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (words[i].value && !cli_one_of(words[i].value, words[i].list))
            cli_usage(s, "%s %s: want %s", words[i].name, words[i].value, words[i].list);
    for (const char *at = o->augment; at && *at; at += strspn(at, ",")) {
        size_t n = strcspn(at, ",");
        if (cli_word_in(at, n, AUGMENTS) < 0)
            cli_usage(s, "--augment %s: want words of %s", o->augment, AUGMENTS);
        at += n;
    }
}

static int pretrained(const options *o) { return o->weights && !o->scratch; }

static void check_options(const cli_spec *s, options *o)
{
    check_words(s, o);
    if (!o->data) cli_usage(s, "DATA is missing");
    if (o->head_only && o->strategy && strcmp(o->strategy, "head") != 0)
        cli_usage(s, "--head-only and --strategy %s contradict each other", o->strategy);
    if (o->epochs == 0) cli_usage(s, "--epochs 0: want at least 1");
    if (o->scratch && !o->weights) cli_usage(s, "--scratch takes the architecture of --weights");
    if (!o->weights && !o->arch)
        cli_usage(s, "without --weights a model starts from nothing: name it by --arch NAME");
    if (!pretrained(o) && o->head_only) cli_usage(s, "--head-only wants --weights FILE");
    if (o->head_only) o->strategy = "head";
    o->head_only = 0;
    if (!pretrained(o) && o->strategy && strcmp(o->strategy, "full") != 0)
        cli_usage(s, "--strategy %s wants --weights FILE", o->strategy);
    if (!pretrained(o) && o->bn && strcmp(o->bn, "frozen") == 0)
        cli_usage(s, "--bn frozen wants --weights FILE: a new model has no statistics yet");
}

/* What belongs to one command and not to the run. */
static const char OF_COMMAND[] = "--out|--json|--resume|--threads|--cache";

/* ---- the run --------------------------------------------------------------------------------- */

typedef struct job {
    options o;
    const cli_option *table;
    FILE *f;                                    /* for people */
    char record[TEXT], saved[TEXT];             /* the options; those of the run that is resumed */
    char saved_data[PATH], dir[PATH - 32];
    tlv_ctx *c;
    cli_task task;
    tlv_model *m;
    tlv_finetune_opts run;
    tlv_finetune *t;
    char augment[80], lr_scale[400], pattern[SCALES][80];
    tlv_lr_scale scale[SCALES];
    int lr_chosen, status;
    cli_progress line;
    int line_kind;                              /* what it shows; 0: there is none */
    double epoch_start;
    int64_t epoch_images;                       /* trained on in this epoch before it began here */
} job;

static void path_in(const job *j, const char *name, char path[PATH])
{
    snprintf(path, PATH, "%s/%.30s", j->dir, name);         // dir leaves room for it
}

static int is_files(const tlv_dataset *d) { return tlv_dataset_pixels(d, 0) == NULL; }

/* ---- data ------------------------------------------------------------------------------------ */

/* Decoded photographs stay in memory at the size that the recipe's crop is taken from. */
static void keep_images(job *j)
{
    const tlv_recipe *r = tlv_model_recipe(j->m);
    const cli_task *t = &j->task;
    if (!is_files(t->train)) return;
    tlv_dataset_keep(t->train, KEEP_BYTES, r->resize, r->filter);
    if (t->val != t->train && is_files(t->val))
        tlv_dataset_keep(t->val, KEEP_BYTES, r->resize, r->filter);
}

/* ---- the model ------------------------------------------------------------------------------- */

static tlv_status save_model(job *j, const char *name)
{
    char path[PATH], accuracy[40];
    path_in(j, name, path);
    snprintf(accuracy, sizeof accuracy, "%.9g", tlv_finetune_now(j->t)->val.accuracy);
    const char *extra[] = { "accuracy", accuracy, NULL };
    if (cli_name_classes(j->c, j->m, j->task.train) == TLV_OK)
        tlv_model_save(j->c, j->m, path, extra);
    return tlv_error(j->c);
}

/* Weights and architecture; what was loaded goes to the reader.  A run that is resumed has its
 * model in last.safetensors, and newer numbers in the checkpoint. */
static int open_model(job *j)
{
    const options *o = &j->o;
    tlv_load_report r = { 0 };
    char path[PATH];
    path_in(j, "last.safetensors", path);
    if (o->resume || pretrained(o)) {
        j->m = tlv_model_load(j->c, o->resume ? path : o->weights, o->resume ? NULL : o->arch,
                              (tlv_model_opts){ 0 }, &r);
        if (!j->m) return cli_fail(j->c);
        cli_print_model(j->f, j->m, o->resume ? path : o->weights, &r);
        return CLI_OK;
    }
    tlv_model_info like = { .arch = o->arch };
    if (o->scratch && tlv_model_peek(j->c, o->weights, &like) != TLV_OK) return cli_fail(j->c);
    // the file's width and padding; its batch norms' slow averages and folding are no start
    tlv_model_opts as = { .classes = tlv_dataset_classes(j->task.train), .width = like.width,
                          .padding = like.padding };
    j->m = tlv_model_open(j->c, o->arch ? o->arch : like.arch, as);
    if (!j->m) return cli_fail(j->c);
    if (o->scratch) tlv_model_set_recipe(j->m, &like.recipe);
    fprintf(j->f, "weights  none: from nothing, random\nmodel    %s, %s parameters\n",
            tlv_model_arch(j->m), cli_count(tlv_params_numel(tlv_model_params(j->m), 0)).s);
    return CLI_OK;
}

static void print_model(const job *j)
{
    const tlv_finetune_state *s = tlv_finetune_now(j->t);
    const char *head = tlv_model_head(j->m);
    int classes = tlv_model_classes(j->m);
    if (!pretrained(&j->o))
        fprintf(j->f, "         head: %s, %d classes\n", head, classes);
    else if (s->head_new)
        fprintf(j->f, "         head: %d -> %d classes, new (%s.weight, %s.bias)%s\n", s->head_was,
                classes, head, head, j->run.strategy == TLV_LP_FT ? ", from a probe" : "");
    else
        fprintf(j->f, "         head: %s kept, it has the data's %d classes (--new-head for a "
                "fresh one)\n", head, classes);
    const char *const what[] = { "all layers", "the head alone, the rest is frozen",
                                 "LP-FT: a linear probe, then all layers" };
    fprintf(j->f, "train    %s: %s numbers; BatchNorm %s\n", what[j->run.strategy],
            cli_count(s->trainable).s,
            j->run.bn_train ? "takes each batch's statistics, its running ones follow"
                            : "statistics frozen, as the weights came");
}

/* ---- what is decided ------------------------------------------------------------------------- */

static int has_word(const char *text, const char *word)
{
    size_t n = strlen(word);
    for (const char *at = text; (at = strstr(at, word)) != NULL; at += n)
        if ((at == text || at[-1] == ',') && (at[n] == ',' || at[n] == 0)) return 1;
    return 0;
}

/* The library's choice as words, or the words as numbers: afterwards they agree. */
static void decide_augment(job *j)
{
    tlv_augment *a = &j->run.augment;
    if (!j->o.augment) {
        const struct { int is; const char *word; } words[] = {
            { a->area[1] > 0, "rrc" }, { a->pad_crop > 0, "crop" }, { a->flip, "flip" },
        };
        for (int i = 0; i < 3; i++)
            if (words[i].is)
                snprintf(j->augment + strlen(j->augment), 12, "%s%s", j->augment[0] ? "," : "",
                         words[i].word);
        j->o.augment = j->augment[0] ? j->augment : "none";
    }
    int h, w, channels, side = tlv_model_recipe(j->m)->size;
    tlv_dataset_image_shape(j->task.train, &h, &w, &channels);
    int least = h == 0 ? side : h < w ? h : w;
    *a = (tlv_augment){ 0 };
    if (has_word(j->o.augment, "rrc")) a->area[0] = 0.35, a->area[1] = 1;
    if (has_word(j->o.augment, "crop")) a->pad_crop = least >= 8 ? least / 8 : 1;
    a->flip = has_word(j->o.augment, "flip");
    a->vertical = has_word(j->o.augment, "vertical");
    if (has_word(j->o.augment, "rotate")) a->rotate = 15;
    if (has_word(j->o.augment, "color")) {
        a->brightness = a->contrast = a->saturation = 0.4;
        a->hue = 0.05;
    }
}

/* "PATTERN=X,..." as pairs, or the pairs as text. */
static int decide_scales(job *j)
{
    int n = 0;
    if (!j->o.lr_scale) {
        for (int i = 0; i < j->run.n_scales; i++)
            snprintf(j->lr_scale + strlen(j->lr_scale), 90, "%s%.60s=%g", i ? "," : "",
                     j->run.scales[i].pattern, j->run.scales[i].scale);
        if (j->lr_scale[0]) j->o.lr_scale = j->lr_scale;
    }
    for (const char *at = j->o.lr_scale; at && *at; n++) {
        const char *equals = strchr(at, '=');
        char *end = NULL;
        double scale = equals ? strtod(equals + 1, &end) : -1;
        if (!equals || end == equals + 1 || (*end && *end != ',') || scale < 0 || n == SCALES
            || equals - at >= (int)sizeof j->pattern[0])
            return cli_error("write --lr-scale 'head.*=10,layer1.*=0.1'",
                             "--lr-scale %s: want PATTERN=NUMBER, up to %d of them", j->o.lr_scale,
                             SCALES);
        snprintf(j->pattern[n], sizeof j->pattern[n], "%.*s", (int)(equals - at), at);
        j->scale[n] = (tlv_lr_scale){ j->pattern[n], scale };
        at = *end ? end + 1 : end;
    }
    j->run.scales = j->scale;
    j->run.n_scales = n;
    return CLI_OK;
}

/* What the command left open, the library chooses for these images; the options then hold all of
 * it, so that the run's record has no open ends. */
static int decide(job *j)
{
    options *o = &j->o;
    tlv_finetune_opts want = { 0 };
    int photographs = is_files(j->task.train), known = pretrained(o);
    if (!o->strategy) o->strategy = photographs && known ? "lp-ft" : "full";
    if (!o->optim) o->optim = "sgd";
    want.strategy = (tlv_strategy)cli_word_in(o->strategy, strlen(o->strategy), STRATEGIES);
    want.tuner = strcmp(o->optim, "adamw") == 0 ? TLV_TUNE_ADAMW : TLV_TUNE_SGD;
    j->run = tlv_finetune_defaults(j->m, j->task.train, known, &want);
    tlv_finetune_opts *r = &j->run;
    if (o->schedule)
        r->schedule = (tlv_schedule)cli_word_in(o->schedule, strlen(o->schedule), SCHEDULES);
    o->schedule = tlv_schedule_name(r->schedule);
    if (o->bn) r->bn_train = strcmp(o->bn, "train") == 0;
    o->bn = r->bn_train ? "train" : "frozen";
    j->lr_chosen = o->lr == 0;
    if (!o->lr) o->lr = r->lr;
    if (o->epochs < 0) o->epochs = r->epochs;
    if (o->batch < 0) o->batch = r->batch;
    if (o->momentum < 0) o->momentum = r->momentum;
    if (o->weight_decay < 0) o->weight_decay = r->weight_decay;
    if (o->clip < 0) o->clip = r->clip;
    r->lr = o->lr;
    r->epochs = o->epochs;
    r->batch = o->batch;
    r->warmup = o->warmup;
    r->momentum = o->momentum;
    r->weight_decay = o->weight_decay;
    r->clip = o->clip;
    r->new_head = o->new_head;
    r->probe.l2 = o->probe_l2;
    decide_augment(j);
    return decide_scales(j);
}

static void print_augment(const job *j)
{
    const tlv_augment *a = &j->run.augment;
    if (a->area[1] > 0)
        fprintf(j->f, "         a random part of %g to %g of the area\n", a->area[0], a->area[1]);
    if (a->pad_crop) fprintf(j->f, "         shifted by up to %d pixels\n", a->pad_crop);
    if (a->flip) fprintf(j->f, "         every second image mirrored, at random\n");
    if (a->vertical) fprintf(j->f, "         every second image upside down, at random\n");
    if (a->rotate > 0) fprintf(j->f, "         turned by up to %g degrees\n", a->rotate);
    if (a->brightness > 0) fprintf(j->f, "         colours changed at random\n");
}

static void print_plan(const job *j)
{
    const tlv_finetune_opts *r = &j->run;
    int64_t steps = tlv_finetune_now(j->t)->steps;
    cli_print_input(j->f, j->m, j->task.train);
    print_augment(j);
    fprintf(j->f, "optim    %s, rate %g%s, ", tlv_tuner_name(r->tuner), r->lr,
            j->lr_chosen ? " (chosen)" : "");
    if (j->o.lr_scale) fprintf(j->f, "times %s, ", j->o.lr_scale);
    if (r->tuner == TLV_TUNE_SGD) fprintf(j->f, "momentum %g, ", r->momentum);
    fprintf(j->f, "weight decay %g, %s", r->weight_decay, tlv_schedule_name(r->schedule));
    if (r->warmup) fprintf(j->f, ", %lld steps of warm-up", (long long)r->warmup);
    if (r->clip > 0) fprintf(j->f, ", gradients of norm %g at most", r->clip);
    fprintf(j->f, "\n         %lld epochs of %lld steps, batch %lld\n", (long long)r->epochs,
            (long long)steps, (long long)((j->task.n_train + steps - 1) / steps));
    fprintf(j->f, "run      %s, %d thread%s, seed %lld, folder %s\n", tlv_isa(j->c),
            tlv_threads(j->c), tlv_threads(j->c) == 1 ? "" : "s", (long long)j->o.seed, j->dir);
}

/* ---- files of the run ------------------------------------------------------------------------ */

static int file_error(const char *path)
{
    return cli_error("is the disk full?", "%s: %s", path, strerror(errno));
}

static int write_options(const job *j)
{
    char path[PATH];
    path_in(j, "options.txt", path);
    FILE *f = fopen(path, "w");
    if (!f) return file_error(path);
    int bad = fprintf(f, "%s%s\n", j->record, j->o.data) < 0;
    return fclose(f) != 0 || bad ? file_error(path) : CLI_OK;
}

static const char LOG_HEAD[] =
    "epoch,train_loss,val_loss,val_accuracy,rate,images_per_second,train_seconds\n";

/* Begins log.csv, or cuts it back to the epochs that the checkpoint has seen (0: the probe).  The
 * new one is written beside it and renamed: a run killed here keeps its history. */
static int begin_log(const job *j)
{
    const tlv_finetune_state *s = tlv_finetune_now(j->t);
    char path[PATH], beside[PATH], line[256], *kept = NULL;
    size_t len = 0, room = sizeof LOG_HEAD + (size_t)(s->epoch + 1) * sizeof line;
    path_in(j, "log.csv", path);
    path_in(j, "log.csv.tmp", beside);
    FILE *f = j->o.resume ? fopen(path, "r") : NULL;
    if (f) {
        kept = calloc(room, 1);
        while (kept && fgets(line, sizeof line, f)) {
            long epoch = strtol(line, NULL, 10);
            int seen = epoch <= s->epoch && (epoch > 0 || s->probed);
            if (!isdigit((unsigned char)line[0]) || !seen || len + strlen(line) >= room) continue;
            len += strlen(strcpy(kept + len, line));
        }
        fclose(f);
    }
    f = fopen(beside, "w");
    int bad = !f || fprintf(f, "%s%s", LOG_HEAD, kept ? kept : "") < 0;
    bad |= !f || fclose(f) != 0;
    bad |= !bad && rename(beside, path) != 0;
    free(kept);
    return bad ? file_error(path) : CLI_OK;
}

static int add_log(const job *j, const tlv_finetune_state *s, double speed, double seconds)
{
    char path[PATH];
    path_in(j, "log.csv", path);
    FILE *f = fopen(path, "a");
    if (!f) return file_error(path);
    int bad = fprintf(f, "%lld,%.9g,%.9g,%.9g,%.9g,%.1f,%.3f\n", (long long)s->epoch, s->loss,
                      s->val.loss, s->val.accuracy, s->lr, speed, seconds) < 0;
    return fclose(f) != 0 || bad ? file_error(path) : CLI_OK;
}

/* The options of the run in o.resume, as they were when it began. */
static void read_saved(job *j, const cli_spec *spec)
{
    if ((size_t)snprintf(j->dir, sizeof j->dir, "%s", j->o.resume) >= sizeof j->dir)
        cli_usage(spec, "--resume: the path is too long");
    tlv_ctx *c = cli_open(1, 0);
    char path[PATH];
    path_in(j, "last.ckpt", path);
    tlv_file *f = tlv_file_open(c, path);
    if (!f) exit(cli_fail(c));
    const char *text = tlv_file_meta(f, "options"), *data = tlv_file_meta(f, "data");
    if (!text || !data || strlen(text) >= TEXT || strlen(data) >= PATH)
        exit(cli_error("give the folder of a run of tlv-finetune", "%s: no options in it", path));
    strcpy(j->saved, text);
    strcpy(j->saved_data, data);
    tlv_file_close(f);
    tlv_ctx_close(c);
}

/* ---- while it runs --------------------------------------------------------------------------- */

enum { LINE_NONE = 0, LINE_TRAIN, LINE_FEATURES, LINE_PROBE, LINE_VALIDATE };

static void end_line(job *j)
{
    if (j->line_kind) cli_progress_end(&j->line);
    j->line_kind = LINE_NONE;
}

static void begin_line(job *j, int kind, const char *label, int64_t total)
{
    if (j->line_kind == kind) return;
    end_line(j);
    cli_progress_begin(&j->line, j->f, label, total);
    j->line_kind = kind;
}

static int on_progress(void *user, tlv_tune_phase phase, int64_t done, int64_t total)
{
    static const char *const label[] = { "features", "probe", "measure" };
    static const char *const unit[] = { "images", "fits", "images" };
    job *j = user;
    begin_line(j, LINE_FEATURES + (int)phase, label[phase], total);
    cli_progress_step(&j->line, done, "%lld of %lld %s", (long long)done, (long long)total,
                      unit[phase]);
    return cli_interrupted();
}

static void begin_epoch(job *j)
{
    j->epoch_start = cli_now();
    j->epoch_images = tlv_finetune_now(j->t)->images;
}

static int on_step(void *user, const tlv_finetune *t)
{
    static char label[32];                              // lives as long as the line
    job *j = user;
    const tlv_finetune_state *s = tlv_finetune_now(t);
    if (j->line_kind != LINE_TRAIN) snprintf(label, sizeof label, "%5lld", (long long)s->epoch + 1);
    begin_line(j, LINE_TRAIN, label, s->n_train);
    double speed = (double)(s->images - j->epoch_images) / (cli_now() - j->epoch_start);
    cli_progress_step(&j->line, s->images, "loss %.4f  %.0f img/s", s->loss, speed);
    return cli_interrupted();
}

static int on_probe(void *user, const tlv_finetune *t, const tlv_probe_report *p,
                    const tlv_extract_report *e)
{
    job *j = user;
    (void)t;
    end_line(j);
    if (e->damaged || e->unwritten) fprintf(j->f, "cache    ignored: %s\n", e->damage);
    if (j->run.cache_dir)
        fprintf(j->f, "cache    %lld rows found, %lld computed\n", (long long)e->hits,
                (long long)e->misses);
    if (p->n_table == 0) fprintf(j->f, "probe    penalty %g, as asked for\n", j->o.probe_l2);
    else
        fprintf(j->f, "probe    penalty %.3g, of %d by %d-fold cross-validation: accuracy %.4f%s"
                "\n", p->table[p->chosen].l2, p->n_table, p->folds, p->table[p->chosen].accuracy,
                p->at_edge ? " (an end of the grid)" : "");
    fprintf(j->f, "\nepoch  train_loss  val_loss  accuracy    img/s    time\n");
    return 0;
}

/* Prints the line, keeps the best, writes the log; the library then writes the checkpoint. */
static int on_epoch(void *user, const tlv_finetune *t)
{
    job *j = user;
    const tlv_finetune_state *s = tlv_finetune_now(t);
    end_line(j);
    double seconds = cli_now() - j->epoch_start;
    int64_t images = s->images - j->epoch_images;
    double speed = images > 0 ? (double)images / seconds : 0;
    if ((s->better && save_model(j, "best.safetensors") != TLV_OK)
        || save_model(j, "last.safetensors") != TLV_OK)
        j->status = cli_fail(j->c);
    else j->status = add_log(j, s, speed, seconds);
    if (s->epoch == 0) fprintf(j->f, "probe  %10s", "");
    else fprintf(j->f, "%5lld  %10.4f", (long long)s->epoch, s->loss);
    fprintf(j->f, "  %8.4f  %8.4f  %7.0f  %6s%s\n", s->val.loss, s->val.accuracy, speed,
            cli_time(seconds).s, s->better ? "  *best" : "");
    fflush(j->f);
    j->epoch_start = cli_now();
    j->epoch_images = 0;
    return j->status != CLI_OK;
}

static int stopped(job *j)
{
    const tlv_finetune_state *s = tlv_finetune_now(j->t);
    fflush(j->f);
    if (j->run.strategy == TLV_LP_FT && !s->probed)
        fprintf(stderr, "stopped while the probe was fitted; the checkpoint is in %s\n", j->dir);
    else
        fprintf(stderr, "stopped in epoch %lld after step %lld of %lld; the checkpoint is in %s\n",
                (long long)s->epoch + 1, (long long)s->step, (long long)s->steps, j->dir);
    fprintf(stderr, "to go on: tlv-finetune --resume %s\n", j->dir);
    return CLI_INTERRUPTED;
}

static int train(job *j)
{
    const tlv_finetune_state *s = tlv_finetune_now(j->t);
    if (j->run.strategy != TLV_LP_FT || s->probed)
        fprintf(j->f, "\nepoch  train_loss  val_loss  accuracy    img/s    time\n");
    fflush(j->f);
    begin_epoch(j);
    tlv_status status = tlv_finetune_run(j->t);
    end_line(j);
    if (j->status != CLI_OK) return j->status;          // on_epoch said why
    if (status != TLV_OK) return cli_fail(j->c);
    return s->stopped ? stopped(j) : CLI_OK;
}

/* ---- what the run leaves to look at ---------------------------------------------------------- */

/* log.csv as two panels: losses and accuracy over epochs (0: the probe). */
static int draw_curves(const job *j)
{
    char path[PATH], line[256];
    int64_t n = 0, room = j->run.epochs + 2;
    double *x = calloc((size_t)room * 4, sizeof *x), *v[3];
    path_in(j, "log.csv", path);
    FILE *f = x ? fopen(path, "r") : NULL;
    if (!f) {
        free(x);
        return file_error(path);
    }
    for (int k = 0; k < 3; k++) v[k] = x + (k + 1) * room;
    while (n < room && fgets(line, sizeof line, f))
        if (sscanf(line, "%lf,%lf,%lf,%lf", &x[n], &v[0][n], &v[1][n], &v[2][n]) == 4) {
            if (x[n] == 0) v[0][n] = NAN;               // the probe is no epoch
            n++;
        }
    fclose(f);
    const cli_series loss[2] = { { "training", n, x, v[0] }, { "validation", n, x, v[1] } };
    const cli_series right = { "validation", n, x, v[2] };
    const cli_panel panels[2] = { { "loss", 2, loss }, { "accuracy", 1, &right } };
    char title[128];
    snprintf(title, sizeof title, "tlv-finetune: %s, %s", tlv_model_arch(j->m), j->o.strategy);
    path_in(j, "curves.png", path);
    int status = cli_plot_lines(j->c, path, title, "epoch", 2, panels);
    free(x);
    return status;
}

/* The best model on the validation images: classes, matrix, errors. */
static int judge(job *j)
{
    const cli_task *t = &j->task;
    char path[PATH];
    path_in(j, "best.safetensors", path);
    tlv_model *best = tlv_model_load(j->c, path, NULL, (tlv_model_opts){ 0 }, NULL);
    if (!best) return cli_fail(j->c);
    int k = tlv_model_classes(best), status = CLI_FAILED;
    const char **names = cli_class_names(best);
    int64_t *confusion = cli_numbers((int64_t)k * k);
    float *prob = malloc((size_t)t->n_val * (size_t)k * sizeof *prob);
    tlv_evaluate_opts o = { .batch = j->run.batch, .prob = prob, .confusion = confusion,
                            .progress = NULL };
    tlv_score score;
    cli_verdicts v = { t->val, t->val_at, t->n_val, k, 0, names, prob, confusion };
    if (!prob) cli_error("close other programs", "no memory for the answers");
    else if (tlv_evaluate(j->c, best, t->val, t->val_at, t->n_val, o, &score) != TLV_OK)
        cli_fail(j->c);
    else if (cli_write_verdicts(&v, j->dir) == CLI_OK && draw_curves(j) == CLI_OK)
        status = cli_draw_verdicts(j->c, &v, j->dir, "tlv-finetune, the best epoch");
    if (status == CLI_OK) {
        fprintf(j->f, "\n");
        cli_print_classes(j->f, &v, 12);
    }
    free(prob);
    free(confusion);
    free(names);
    tlv_model_close(best);
    return status;
}

/* ---- all of it ------------------------------------------------------------------------------- */

static void print_end(const job *j)
{
    const tlv_finetune_state *s = tlv_finetune_now(j->t);
    double lo, hi;
    int64_t right = (int64_t)(s->best * (double)s->n_val + 0.5);
    cli_interval(right, s->n_val, &lo, &hi);
    fprintf(j->f, "\nbest     epoch %lld: accuracy %.4f [%.4f, %.4f] on %s images; after the last "
            "epoch %.4f\n", (long long)s->best_epoch, s->best, lo, hi, cli_count(s->n_val).s,
            s->val.accuracy);
    fprintf(j->f, "memory   %s at most in tensors, %s in all\n",
            cli_bytes((double)tlv_mem_get(j->c).peak).s, cli_bytes((double)cli_max_rss()).s);
    fprintf(j->f, "saved    %s: best.safetensors last.safetensors last.ckpt log.csv options.txt\n"
            "         predictions.csv curves.png confusion.png classes.png worst.png\n", j->dir);
    const cli_task *d = &j->task;
    const char *other = d->val == d->train ? "TEST-DATA" : j->o.val ? j->o.val : j->o.data;
    fprintf(j->f, "next     tlv-eval %s --weights %s/best.safetensors", other, j->dir);
    if (j->o.seed && strncmp(j->o.data, "shapes:", 7) == 0)
        fprintf(j->f, " --seed %lld", (long long)j->o.seed);
    fprintf(j->f, "\n");
}

static int write_json(const job *j, double start)
{
    const tlv_finetune_state *s = tlv_finetune_now(j->t);
    cli_json out = { 0 };
    cli_json_real(&out, "accuracy", s->val.accuracy);
    cli_json_real(&out, "best_accuracy", s->best);
    cli_json_int(&out, "best_epoch", s->best_epoch);
    cli_json_real(&out, "loss", s->val.loss);
    cli_json_int(&out, "n", j->task.n_val);
    cli_json_int(&out, "train_images", j->task.n_train);
    cli_json_int(&out, "skipped", j->task.skipped);
    cli_json_int(&out, "epochs", s->epoch);
    cli_json_int(&out, "steps", s->epoch * s->steps);
    cli_json_text(&out, "arch", tlv_model_arch(j->m));
    cli_json_text(&out, "strategy", tlv_strategy_name(j->run.strategy));
    cli_json_int(&out, "seed", j->o.seed);
    cli_json_text(&out, "folder", j->dir);
    cli_json_costs(&out, j->c, start);
    return cli_json_write(&out, j->o.json);
}

/* The run's folder, its record, and the run itself, fresh or from the checkpoint. */
static int open_run(job *j)
{
    static char checkpoint[PATH];                       // lives as long as the run
    static const char *meta[5];
    if (!j->o.resume && cli_run_folder(j->o.out, "finetune", j->dir, sizeof j->dir) != CLI_OK)
        return CLI_FAILED;
    path_in(j, "last.ckpt", checkpoint);
    cli_options_text(j->table, OF_COMMAND, j->record, sizeof j->record);
    meta[0] = "options", meta[1] = j->record, meta[2] = "data", meta[3] = j->o.data;
    j->run.checkpoint = checkpoint;
    j->run.checkpoint_seconds = CHECKPOINT_SECONDS;
    j->run.meta = meta;
    j->run.cache_dir = j->o.cache;
    j->run.on_probe = on_probe;
    j->run.on_step = on_step;
    j->run.on_epoch = on_epoch;
    j->run.progress = on_progress;
    j->run.user = j;
    const cli_task *d = &j->task;
    j->t = tlv_finetune_open(j->c, j->m, d->train, d->train_at, d->n_train, d->val, d->val_at,
                             d->n_val, j->run);
    if (!j->t) return cli_fail(j->c);
    if (!j->o.resume) return save_model(j, "last.safetensors") == TLV_OK ? CLI_OK : cli_fail(j->c);
    if (tlv_finetune_resume(j->t, checkpoint) != TLV_OK) return cli_fail(j->c);
    const tlv_finetune_state *s = tlv_finetune_now(j->t);
    fprintf(j->f, "resumed  %s: %lld epochs and %lld steps are done\n", checkpoint,
            (long long)s->epoch, (long long)s->step);
    return CLI_OK;
}

static int run(job *j, double start)
{
    j->c = cli_open(j->o.threads, j->o.seed);
    cli_task_opts t = { j->o.data, j->o.val, j->o.per_class, j->o.skip_bad, j->o.seed };
    if (cli_task_open(j->c, &j->task, t, j->f) != CLI_OK) return CLI_FAILED;
    if (open_model(j) != CLI_OK) return CLI_FAILED;
    keep_images(j);
    if (decide(j) != CLI_OK || open_run(j) != CLI_OK) return CLI_FAILED;
    print_model(j);
    print_plan(j);
    if (write_options(j) != CLI_OK || begin_log(j) != CLI_OK) return CLI_FAILED;
    cli_catch_interrupt();
    int status = train(j);
    if (status != CLI_OK) return status;
    if (judge(j) != CLI_OK) return CLI_FAILED;
    print_end(j);
    return write_json(j, start);
}

static void close_job(job *j)
{
    tlv_finetune_close(j->t);
    tlv_model_close(j->m);
    cli_task_close(&j->task);
    tlv_ctx_close(j->c);
}

/* --resume takes the run's own options; others beside it would make another run of it. */
static void take_saved(job *j, const cli_spec *spec, int words, char **word)
{
    for (int i = 0; i < words; i++) {
        char name[32];
        snprintf(name, sizeof name, "%.*s", (int)strcspn(word[i], "="), word[i]);
        if (strncmp(name, "--", 2) == 0 && !cli_one_of(name, "--resume|--threads|--json|--cache"))
            cli_usage(spec, "--resume goes on with the run's own options; beside it stand "
                      "--threads, --cache and --json only, not %s", name);
    }
    if (j->o.data) cli_usage(spec, "--resume knows its data: leave out %s", j->o.data);
    read_saved(j, spec);
    cli_take_text(spec, j->saved);
    j->o.data = j->saved_data;
}

int main(int argc, char **argv)
{
    double start = cli_now();
    static job j;                                   // large, and zero
    j.o = defaults();
    cli_option table[MAX_OPTIONS];
    option_table(&j.o, table);
    j.table = table;
    cli_spec spec = spec_of(table);
    int words = argc - 1;
    char **word = malloc((size_t)argc * sizeof *word);
    if (!word) return cli_error("close other programs", "no memory for the command line");
    memcpy(word, argv + 1, (size_t)words * sizeof *word);
    if (cli_parse(&spec, argc, argv) > 0) j.o.data = argv[1];
    if (j.o.resume) take_saved(&j, &spec, words, word);
    free(word);
    check_options(&spec, &j.o);
    j.f = cli_text_stream(j.o.json);
    int status = run(&j, start);
    close_job(&j);
    return cli_finish(status);
}
