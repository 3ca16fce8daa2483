/* finetune.c -- tlv-finetune: train a model on a data set, from published weights or from nothing.
 *
 * What happens, in order: options (or those of the run to resume), data and its split, the model
 * with its head, what is frozen, then epochs of steps; after each the validation images are
 * measured and a checkpoint is written.  Everything random depends on the seed and on its place
 * (epoch, position), so a run that was stopped and resumed ends in the same numbers as one that
 * was not. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "examples/common_ckpt.h"
#include "examples/common_eval.h"

/* ---- options --------------------------------------------------------------------------------- */

typedef struct options {
    const char *data, *val, *weights, *arch, *out, *json, *resume;
    const char *bn, *optim, *schedule, *augment;
    int64_t per_class, epochs, batch, seed, threads, warmup;
    double lr, momentum, weight_decay;
    int head_only, new_head, lr_chosen;
} options;

enum { MAX_OPTIONS = 24, TEXT = 4096, PATH = 1024 };

/* Fills table, which points into o. */
static void option_table(options *o, cli_option *table)
{
    const cli_option t[] = {
        CLI_OPT_WEIGHTS(o->weights), CLI_OPT_ARCH(o->arch), CLI_OPT_VAL(o->val),
        CLI_OPT_PER_CLASS(o->per_class), CLI_OPT_EPOCHS(o->epochs),
        { "--lr", CLI_REAL, &o->lr, "X", "the highest learning rate; 0: chosen and said", 0, 1e6 },
        CLI_OPT_BATCH(o->batch),
        { "--head-only", CLI_FLAG, &o->head_only, NULL, "train the head, freeze the rest", 0, 0 },
        { "--new-head", CLI_FLAG, &o->new_head, NULL, "a fresh head in any case", 0, 0 },
        { "--bn", CLI_TEXT, &o->bn, "frozen|train",
          "BatchNorm: the weights' statistics or the batch's", 0, 0 },
        { "--optim", CLI_TEXT, &o->optim, "sgd|adamw", "the optimizer", 0, 0 },
        { "--momentum", CLI_REAL, &o->momentum, "X", "of sgd (Nesterov's)", 0, 0.9999 },
        { "--weight-decay", CLI_REAL, &o->weight_decay, "X", "L2 (sgd), decoupled (adamw)", 0, 1 },
        { "--schedule", CLI_TEXT, &o->schedule, "cosine|one-cycle|step|constant",
          "the rate's way down", 0, 0 },
        { "--warmup", CLI_INT, &o->warmup, "N", "steps to reach the rate", 0, 1e9 },
        { "--augment", CLI_TEXT, &o->augment, "none|crop|flip|crop,flip",
          "shift by up to 1/8, mirror at random", 0, 0 },
        CLI_OPT_SEED(o->seed), CLI_OPT_THREADS(o->threads), CLI_OPT_OUT(o->out),
        { "--resume", CLI_TEXT, &o->resume, "DIR", "go on with the run in this folder", 0, 0 },
        CLI_OPT_JSON(o->json), { 0 },
    };
    memcpy(table, t, sizeof t);
}

static options defaults(void)
{
    return (options){ .epochs = 10, .batch = 64, .optim = "sgd", .momentum = 0.9,
                      .weight_decay = 5e-4, .schedule = "cosine", .augment = "none" };
}

static cli_spec spec_of(const cli_option *table)
{
    return (cli_spec){ "tlv-finetune", "train a model on your images, from weights or from nothing",
                       "DATA", 0, 1,
                       "tlv-finetune cifar10:cifar-10-batches-bin --weights resnet20.safetensors",
                       table };
}

/* Is text one of the words of list, "a|b|c"? */
static int one_of(const char *text, const char *list)
{
    size_t n = strlen(text);
    for (const char *at = list; at; at = strchr(at, '|')) {
        if (*at == '|') at++;
        if (strncmp(at, text, n) == 0 && (at[n] == '|' || at[n] == 0)) return 1;
    }
    return 0;
}

static void check_words(const cli_spec *s, const options *o)
{
    const struct { const char *name, *value, *list; } words[] = {
        { "--bn", o->bn, "frozen|train" },
        { "--optim", o->optim, "sgd|adamw" },
        { "--schedule", o->schedule, "cosine|one-cycle|step|constant" },
        { "--augment", o->augment, "none|crop|flip|crop,flip|flip,crop" },
    };
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (words[i].value && !one_of(words[i].value, words[i].list))
            cli_usage(s, "%s %s: want %s", words[i].name, words[i].value, words[i].list);
}

/* What was left open gets its value here, so that the run's own record has no open ends. */
static void decide(const cli_spec *s, options *o)
{
    check_words(s, o);
    if (!o->data) cli_usage(s, "DATA is missing");
    if (o->epochs < 1) cli_usage(s, "--epochs 0: want at least 1");
    if (!o->weights && !o->arch)
        cli_usage(s, "without --weights a model starts from nothing: name it by --arch NAME");
    if (!o->weights && o->head_only) cli_usage(s, "--head-only wants --weights FILE");
    if (!o->weights && o->bn && strcmp(o->bn, "frozen") == 0)
        cli_usage(s, "--bn frozen wants --weights FILE: a new model has no statistics yet");
    if (!o->bn) o->bn = o->head_only ? "frozen" : "train";
    o->lr_chosen = o->lr == 0;
    if (!o->lr_chosen) return;
    int sgd = strcmp(o->optim, "sgd") == 0;
    if (!o->weights) o->lr = sgd ? 0.05 : 2e-3;
    else if (o->head_only) o->lr = sgd ? 0.05 : 3e-3;
    else o->lr = sgd ? 0.01 : 5e-4;
}

/* ---- the options as text, and back ----------------------------------------------------------- */

/* What belongs to one command and not to the run. */
static int of_command(const char *name)
{
    return one_of(name, "--out|--json|--resume|--threads");
}

/* "=0.1": as few digits as give the same number again. */
static void real_text(char *text, size_t n, double v)
{
    snprintf(text, n, "=%.15g", v);
    if (strtod(text + 1, NULL) != v) snprintf(text, n, "=%.17g", v);
}

/* One "--name=value" a line; of_command ones left out. */
static void options_text(const cli_option *table, char *text, size_t n)
{
    size_t at = 0;
    text[0] = 0;
    for (const cli_option *o = table; o->kind; o++) {
        char value[PATH] = "";
        if (of_command(o->name)) continue;
        if (o->kind == CLI_FLAG && !*(int *)o->value) continue;
        if (o->kind == CLI_TEXT && !*(const char **)o->value) continue;
        if (o->kind == CLI_TEXT) snprintf(value, sizeof value, "=%s", *(const char **)o->value);
        if (o->kind == CLI_INT)
            snprintf(value, sizeof value, "=%lld", (long long)*(int64_t *)o->value);
        if (o->kind == CLI_REAL) real_text(value, sizeof value, *(double *)o->value);
        at += (size_t)snprintf(text + at, n - at, "%s%s\n", o->name, value);
        if (at >= n) return;
    }
}

/* Parses text from options_text like a command line; text is cut up and must stay. */
static void take_text(const cli_spec *s, char *text)
{
    char *argv[MAX_OPTIONS + 2] = { "tlv-finetune" };
    int argc = 1;
    for (char *line = text; *line && argc <= MAX_OPTIONS;) {
        char *end = line + strcspn(line, "\n");
        if (*end) *end++ = 0;
        argv[argc++] = line;
        line = end;
    }
    cli_parse(s, argc, argv);
}

/* ---- the run --------------------------------------------------------------------------------- */

typedef struct job {
    options o;
    FILE *f;                                    /* for people */
    char record[TEXT], saved[TEXT];             /* the options; those of the run that is resumed */
    char saved_data[PATH], saved_arch[80], dir[PATH - 32];
    tlv_ctx *c;
    tlv_dataset *train, *val;                   /* val may be train */
    int64_t *train_at, n_train, *val_at, n_val, *order;
    tlv_model *m;
    tlv_optim *opt;
    tlv_stats *stats;
    // where the run is; these are in the checkpoint
    int64_t epoch, step_in_epoch;               /* epochs done, steps done in the one after them */
    double loss_sum;                            /* of that one so far, over images */
    double best;                                /* accuracy, -1 before the first epoch's end */
    int64_t best_epoch;
    double accuracy, val_loss, last_lr;         /* of the last epoch that ended */
    double epoch_seconds;                       /* of training in this epoch before a stop */
} job;

static int64_t steps_an_epoch(const job *j) { return (j->n_train + j->o.batch - 1) / j->o.batch; }

/* Batches as even as can be: no last one that is tiny, no image left out. */
static int64_t batch_start(const job *j, int64_t step)
{
    return step * j->n_train / steps_an_epoch(j);
}

static double rate(const job *j, int64_t step)
{
    const options *o = &j->o;
    int64_t n = o->epochs * steps_an_epoch(j);
    const int64_t at[2] = { n / 2, n * 3 / 4 };
    double lr = o->lr;
    if (strcmp(o->schedule, "cosine") == 0) lr = tlv_lr_cosine(o->lr, 0, step, n);
    if (strcmp(o->schedule, "one-cycle") == 0) lr = tlv_lr_one_cycle(o->lr, step, n, 0.3, 25, 1e4);
    if (strcmp(o->schedule, "step") == 0) lr = tlv_lr_multistep(o->lr, step, at, 2, 0.1);
    return lr * tlv_lr_warmup(1, step, o->warmup);
}

static void path_in(const job *j, const char *name, char path[PATH])
{
    snprintf(path, PATH, "%s/%.30s", j->dir, name);         // dir leaves room for it
}

/* ---- data ------------------------------------------------------------------------------------ */

static int has_test_split(const char *what)
{
    return strncmp(what, "cifar10:", 8) == 0 || strncmp(what, "shapes:", 7) == 0;
}

/* Of n indices that lie class by class: the first `most` of each class. */
static int64_t first_of_each(const tlv_dataset *d, int64_t *index, int64_t n, int64_t most)
{
    int64_t kept = 0, in_class = 0;
    for (int64_t i = 0; i < n; i++) {
        int same = i > 0 && tlv_dataset_label(d, index[i]) == tlv_dataset_label(d, index[i - 1]);
        in_class = same ? in_class + 1 : 1;
        if (in_class <= most) index[kept++] = index[i];         // kept <= i: nothing unread is lost
    }
    return kept;
}

/* Validation images: a set of their own, the data's test split, or a fifth of the training set. */
static int open_data(job *j)
{
    tlv_ctx *c = j->c;
    const options *o = &j->o;
    j->train = cli_dataset(c, o->data, "train");
    const char *other = o->val ? o->val : has_test_split(o->data) ? o->data : NULL;
    j->val = other ? cli_dataset(c, other, "test") : j->train;

    int64_t n = tlv_dataset_size(j->train), all = tlv_dataset_size(j->val);
    j->train_at = cli_numbers(n);
    j->order = cli_numbers(n);
    j->val_at = cli_numbers(all);
    tlv_rng_key key = tlv_rng_stream(c, "split");
    tlv_dataset_split(j->train, n, NULL, other ? 0 : 0.2, key, j->train_at, &j->n_train, j->val_at,
                      &j->n_val);
    if (tlv_error(c)) return cli_fail(c);
    if (other) j->n_val = all;
    for (int64_t i = 0; other && i < all; i++) j->val_at[i] = i;
    if (o->per_class)
        j->n_train = first_of_each(j->train, j->train_at, j->n_train, o->per_class);

    if (j->n_train == 0 || j->n_val == 0)
        return cli_error("use a larger set, or give --val DATA", "%lld images to train, %lld to "
                         "validate", (long long)j->n_train, (long long)j->n_val);
    if (tlv_dataset_classes(j->val) > tlv_dataset_classes(j->train))
        return cli_error("validate on images of the same classes",
                         "--val has %d classes, the training data %d", tlv_dataset_classes(j->val),
                         tlv_dataset_classes(j->train));
    return CLI_OK;
}

static void print_data(const job *j)
{
    const options *o = &j->o;
    fprintf(j->f, "data     %s\n", tlv_dataset_text(j->train));
    if (o->per_class)
        fprintf(j->f, "         at most %lld a class to train with: %s images, seed %lld\n",
                (long long)o->per_class, cli_count(j->n_train).s, (long long)o->seed);
    if (j->val == j->train)
        fprintf(j->f, "val      a fifth of it, of each class: %s images, seed %lld\n",
                cli_count(j->n_val).s, (long long)o->seed);
    else
        fprintf(j->f, "val      %s%s\n", tlv_dataset_text(j->val),
                o->val ? "" : " (the data's own; the best epoch is chosen on it)");
}

/* ---- the model ------------------------------------------------------------------------------- */

/* Weights, architecture, head; what was loaded and what is new goes to the reader. */
static int open_model(job *j)
{
    const options *o = &j->o;
    tlv_ctx *c = j->c;
    int classes = tlv_dataset_classes(j->train), old = 0;
    if (o->weights && !o->resume) {
        tlv_load_report r = { 0 };
        j->m = tlv_model_load(c, o->weights, o->arch, (tlv_model_opts){ 0 }, &r);
        if (!j->m) return cli_fail(c);
        fprintf(j->f, "weights  %s: %s\n", o->weights, r.text);
        old = tlv_model_classes(j->m);
        if ((old != classes || o->new_head) && tlv_model_new_head(c, j->m, classes) != TLV_OK)
            return cli_fail(c);
    } else {
        const char *arch = o->resume ? j->saved_arch : o->arch;
        j->m = tlv_model_open(c, arch, (tlv_model_opts){ .classes = classes });
        if (!j->m) return cli_fail(c);
        fprintf(j->f, "weights  %s\n",
                o->resume ? "of the checkpoint" : "none: from nothing, random");
    }

    const char *head = tlv_model_head(j->m);
    fprintf(j->f, "model    %s, %s parameters\n", tlv_model_arch(j->m),
            cli_count(tlv_params_numel(tlv_model_params(j->m), 0)).s);
    if (old == 0)
        fprintf(j->f, "         head: %s, %d classes\n", head, classes);
    else if (old == classes && !o->new_head)
        fprintf(j->f, "         head: %s kept, it has the data's %d classes (--new-head for a "
                "fresh one)\n", head, classes);
    else
        fprintf(j->f, "         head: %d -> %d classes, new (%s.weight, %s.bias)\n", old, classes,
                head, head);
    return CLI_OK;
}

/* Freezing is by name; a BatchNorm whose running statistics are frozen uses them and keeps them. */
static void freeze(job *j)
{
    static const char statistics[] = "*running_mean,*running_var";
    tlv_params *p = tlv_model_params(j->m);
    const char *head = tlv_model_head(j->m);
    char pattern[80];
    snprintf(pattern, sizeof pattern, "%s.*", head);
    if (j->o.head_only) {
        tlv_params_freeze(p, "*");
        tlv_params_unfreeze(p, pattern);
    }
    int frozen = strcmp(j->o.bn, "frozen") == 0;
    if (frozen) tlv_params_freeze(p, statistics);
    else tlv_params_unfreeze(p, statistics);

    fprintf(j->f, "train    %s: %s numbers; BatchNorm %s\n",
            j->o.head_only ? "the head alone, the rest is frozen" : "all layers",
            cli_count(tlv_params_numel(p, 1)).s,
            frozen ? "statistics frozen, as the weights came"
                   : "takes each batch's statistics, its running ones follow");
}

static int open_optim(job *j)
{
    const options *o = &j->o;
    tlv_params *p = tlv_model_params(j->m);
    int sgd = strcmp(o->optim, "sgd") == 0;
    if (sgd) {
        tlv_sgd_opts s = { .lr = o->lr, .momentum = o->momentum, .nesterov = o->momentum > 0,
                           .weight_decay = o->weight_decay };
        j->opt = tlv_sgd_open(j->c, p, s);
    } else {
        tlv_adam_opts a = tlv_adamw_defaults();
        a.lr = o->lr;
        a.weight_decay = o->weight_decay;
        j->opt = tlv_adam_open(j->c, p, a);
    }
    j->stats = tlv_stats_open(j->c);
    return j->opt && j->stats ? CLI_OK : cli_fail(j->c);
}

static void augmentation(const job *j, tlv_augment *a)
{
    int h, w, channels;
    tlv_dataset_image_shape(j->train, &h, &w, &channels);
    int least = h < w ? h : w;
    if (strstr(j->o.augment, "crop")) a->pad_crop = least >= 8 ? least / 8 : 1;
    if (strstr(j->o.augment, "flip")) a->flip = 1;
}

static void print_plan(const job *j)
{
    const options *o = &j->o;
    tlv_augment a = { 0 };
    augmentation(j, &a);
    cli_print_input(j->f, j->m, j->train);
    if (a.pad_crop) fprintf(j->f, "         shifted by up to %d pixels\n", a.pad_crop);
    if (a.flip) fprintf(j->f, "         every second image mirrored, at random\n");
    fprintf(j->f, "optim    %s, rate %g%s, ", o->optim, o->lr, o->lr_chosen ? " (chosen)" : "");
    if (strcmp(o->optim, "sgd") == 0) fprintf(j->f, "momentum %g, ", o->momentum);
    fprintf(j->f, "weight decay %g, %s", o->weight_decay, o->schedule);
    if (o->warmup) fprintf(j->f, ", %lld steps of warm-up", (long long)o->warmup);
    fprintf(j->f, "\n         %lld epochs of %lld steps, batch %lld\n", (long long)o->epochs,
            (long long)steps_an_epoch(j), (long long)((j->n_train + steps_an_epoch(j) - 1)
                                                      / steps_an_epoch(j)));
    fprintf(j->f, "run      %s, %d thread%s, seed %lld, folder %s\n", tlv_isa(j->c),
            tlv_threads(j->c), tlv_threads(j->c) == 1 ? "" : "s", (long long)o->seed, j->dir);
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

/* Begins log.csv, or cuts it back to the epochs that the checkpoint has seen. */
static int begin_log(const job *j)
{
    char path[PATH], line[256], *kept = NULL;
    size_t len = 0, room = sizeof LOG_HEAD + (size_t)j->epoch * sizeof line;
    path_in(j, "log.csv", path);
    FILE *f = j->o.resume ? fopen(path, "r") : NULL;
    if (f) {
        kept = calloc(room, 1);
        while (kept && fgets(line, sizeof line, f)) {
            long epoch = strtol(line, NULL, 10);
            if (epoch < 1 || epoch > j->epoch || len + strlen(line) >= room) continue;
            len += strlen(strcpy(kept + len, line));
        }
        fclose(f);
    }
    f = fopen(path, "w");
    int bad = !f || fprintf(f, "%s%s", LOG_HEAD, kept ? kept : "") < 0;
    bad |= !f || fclose(f) != 0;
    free(kept);
    return bad ? file_error(path) : CLI_OK;
}

static int add_log(const job *j, double train_loss)
{
    char path[PATH];
    path_in(j, "log.csv", path);
    FILE *f = fopen(path, "a");
    if (!f) return file_error(path);
    int bad = fprintf(f, "%lld,%.9g,%.9g,%.9g,%.9g,%.1f,%.3f\n", (long long)j->epoch, train_loss,
                      j->val_loss, j->accuracy, j->last_lr, (double)j->n_train / j->epoch_seconds,
                      j->epoch_seconds) < 0;
    return fclose(f) != 0 || bad ? file_error(path) : CLI_OK;
}

/* "disc,ring,..."; to be freed. */
static char *class_names(const tlv_dataset *d)
{
    int n = tlv_dataset_classes(d);
    size_t room = (size_t)n * 40 + 1, at = 0;
    char *text = calloc(room, 1);
    for (int k = 0; text && k < n; k++) {
        const char *name = tlv_dataset_class_name(d, k), *comma = k ? "," : "";
        if (k >= 10 && strcmp(name, "class") == 0)
            at += (size_t)snprintf(text + at, room - at, "%s%d", comma, k);
        else at += (size_t)snprintf(text + at, room - at, "%s%.32s", comma, name);
    }
    return text;
}

/* best.safetensors: a model's file like any other. */
static tlv_status save_best(job *j)
{
    char path[PATH], accuracy[40], *names = class_names(j->train);
    path_in(j, "best.safetensors", path);
    if (!names) return tlv_fail(j->c, TLV_ERR_NOMEM, NULL, "no memory for names of classes");
    snprintf(accuracy, sizeof accuracy, "%.9g", j->best);
    const char *meta[] = { "arch", tlv_model_arch(j->m), "classes", names, "libtlvision",
                           tlv_version(), "accuracy", accuracy, NULL };
    tlv_params_save(j->c, tlv_model_params(j->m), path, meta);
    free(names);
    return tlv_error(j->c);
}

/* ---- checkpoints ----------------------------------------------------------------------------- */

enum { NUMBERS = 10 };
static const char *const KEY[NUMBERS] = { "epoch", "step", "loss_sum", "best", "best_epoch",
                                          "accuracy", "val_loss", "rate", "train_seconds",
                                          "train_images" };

static void numbers_of(const job *j, double v[NUMBERS])
{
    const double now[NUMBERS] = {
        (double)j->epoch, (double)j->step_in_epoch, j->loss_sum, j->best, (double)j->best_epoch,
        j->accuracy, j->val_loss, j->last_lr, j->epoch_seconds, (double)j->n_train,
    };
    memcpy(v, now, sizeof now);
}

static tlv_status save_checkpoint(job *j)
{
    char path[PATH], text[NUMBERS][32], *names = class_names(j->train);
    path_in(j, "last.ckpt", path);
    if (!names) return tlv_fail(j->c, TLV_ERR_NOMEM, NULL, "no memory for names of classes");
    const char *meta[2 * NUMBERS + 11] = { "arch", tlv_model_arch(j->m), "classes", names,
                                           "libtlvision", tlv_version(), "options", j->record,
                                           "data", j->o.data };
    double v[NUMBERS];
    numbers_of(j, v);
    for (int i = 0; i < NUMBERS; i++) {
        snprintf(text[i], sizeof text[i], "%.17g", v[i]);
        meta[10 + 2 * i] = KEY[i];
        meta[11 + 2 * i] = text[i];
    }
    cli_ckpt_save(j->c, path, tlv_model_params(j->m), j->opt, meta);
    free(names);
    return tlv_error(j->c);
}

static int load_checkpoint(job *j)
{
    tlv_ctx *c = j->c;
    char path[PATH];
    path_in(j, "last.ckpt", path);
    tlv_file *f = tlv_file_open(c, path);
    if (!f) return cli_fail(c);
    double v[NUMBERS] = { 0 };
    for (int i = 0; i < NUMBERS; i++) v[i] = cli_ckpt_number(c, f, KEY[i]);
    if (!tlv_error(c) && (int64_t)v[9] != j->n_train)
        tlv_fail(c, TLV_ERR_FORMAT, "put the data back as it was",
                 "the run began with %lld training images, now there are %lld", (long long)v[9],
                 (long long)j->n_train);
    if (!tlv_error(c)) cli_ckpt_load(c, f, tlv_model_params(j->m), j->opt);
    tlv_file_close(f);
    if (tlv_error(c)) return cli_fail(c);
    j->epoch = (int64_t)v[0];
    j->step_in_epoch = (int64_t)v[1];
    j->loss_sum = v[2];
    j->best = v[3];
    j->best_epoch = (int64_t)v[4];
    j->accuracy = v[5];
    j->val_loss = v[6];
    j->last_lr = v[7];
    j->epoch_seconds = v[8];
    fprintf(j->f, "resumed  %s: %lld epochs and %lld steps are done\n", path, (long long)j->epoch,
            (long long)j->step_in_epoch);
    return CLI_OK;
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
    const char *arch = tlv_file_meta(f, "arch");
    snprintf(j->saved_arch, sizeof j->saved_arch, "%s", arch ? arch : "");
    tlv_file_close(f);
    tlv_ctx_close(c);
}

/* ---- training -------------------------------------------------------------------------------- */

/* One step: a batch, the loss, its gradients, new parameters and statistics. */
static tlv_status train_step(job *j, int64_t from, int64_t n)
{
    tlv_ctx *c = j->c;
    tlv_params *p = tlv_model_params(j->m);
    int64_t step = j->epoch * steps_an_epoch(j) + j->step_in_epoch;
    tlv_batch_opts b = cli_batch_opts(j->m);
    augmentation(j, &b.augment);
    b.key = tlv_rng_fold(tlv_rng_stream(c, "augment"), (uint64_t)j->epoch);

    tlv_run r = tlv_model_run(c, j->m, TLV_TRAIN);
    r.stats = j->stats;
    r.step = (uint64_t)step;
    tlv_scope s = tlv_scope_begin(c);
    tlv_batch batch = tlv_dataset_batch(c, j->train, j->order, from, n, b);
    tlv_tensor *logits = tlv_model_forward(&r, j->m, batch.x);                      // [n,classes]
    tlv_tensor *loss = tlv_cross_entropy(c, logits, batch.y, (tlv_ce_opts){ 0 });
    double value = loss ? tlv_item(c, loss) : 0;
    if (!isfinite(value))
        tlv_fail(c, TLV_ERR_USER, "lower --lr, or add --warmup",
                 "epoch %lld, step %lld: the loss is %g", (long long)j->epoch + 1,
                 (long long)j->step_in_epoch + 1, value);
    j->last_lr = rate(j, step);
    tlv_optim_set_lr(j->opt, j->last_lr);
    tlv_optim_step(c, j->opt, p, tlv_params_grad(c, loss, p, 0));
    tlv_run_apply_stats(&r, p);
    tlv_scope_end(c, s);
    j->loss_sum += value * (double)n;
    j->step_in_epoch++;
    return tlv_error(c);
}

/* The rest of the epoch.  Returns early after Ctrl-C. */
static tlv_status train_epoch(job *j)
{
    char label[32];
    snprintf(label, sizeof label, "%5lld", (long long)j->epoch + 1);
    cli_progress line;
    cli_progress_begin(&line, j->f, label, j->n_train);
    double start = cli_now();
    tlv_rng_key shuffles = tlv_rng_stream(j->c, "order");
    memcpy(j->order, j->train_at, (size_t)j->n_train * sizeof *j->order);
    tlv_rng_shuffle(tlv_rng_fold(shuffles, (uint64_t)j->epoch), j->n_train, j->order);
    while (j->step_in_epoch < steps_an_epoch(j) && !cli_interrupted()) {
        int64_t from = batch_start(j, j->step_in_epoch), to = batch_start(j, j->step_in_epoch + 1);
        if (train_step(j, from, to - from) != TLV_OK) break;
        double speed = (double)to / (cli_now() - start + j->epoch_seconds);
        cli_progress_step(&line, to, "loss %.4f  %.0f img/s", j->loss_sum / (double)to, speed);
    }
    cli_progress_end(&line);
    j->epoch_seconds += cli_now() - start;
    return tlv_error(j->c);
}

/* Measures, keeps the best, writes log and checkpoint, prints the line. */
static int end_epoch(job *j, const cli_score *s)
{
    double train_loss = j->loss_sum / (double)j->n_train;
    int better = s->accuracy > j->best;
    j->epoch++;
    j->accuracy = s->accuracy;
    j->val_loss = s->loss;
    if (better) {
        j->best = s->accuracy;
        j->best_epoch = j->epoch;
        if (save_best(j) != TLV_OK) return cli_fail(j->c);
    }
    if (add_log(j, train_loss) != CLI_OK) return CLI_FAILED;
    fprintf(j->f, "%5lld  %10.4f  %8.4f  %8.4f  %7.0f  %6s%s\n", (long long)j->epoch, train_loss,
            s->loss, s->accuracy, (double)j->n_train / j->epoch_seconds,
            cli_time(j->epoch_seconds + s->seconds).s, better ? "  *best" : "");
    fflush(j->f);
    j->step_in_epoch = 0;
    j->loss_sum = j->epoch_seconds = 0;
    return save_checkpoint(j) == TLV_OK ? CLI_OK : cli_fail(j->c);
}

static int stopped(job *j)
{
    if (save_checkpoint(j) != TLV_OK) return cli_fail(j->c);
    fflush(j->f);
    fprintf(stderr, "stopped in epoch %lld after step %lld of %lld; the checkpoint is in %s\n"
            "to go on: tlv-finetune --resume %s\n", (long long)j->epoch + 1,
            (long long)j->step_in_epoch, (long long)steps_an_epoch(j), j->dir, j->dir);
    return CLI_INTERRUPTED;
}

static int train(job *j)
{
    fprintf(j->f, "\nepoch  train_loss  val_loss  accuracy    img/s    time\n");
    fflush(j->f);
    while (j->epoch < j->o.epochs) {
        if (train_epoch(j) != TLV_OK) return cli_fail(j->c);
        cli_score s = { 0 };
        if (j->step_in_epoch == steps_an_epoch(j)
            && cli_evaluate(j->c, j->m, j->val, j->val_at, j->n_val, j->o.batch, j->f, NULL, &s)
               != TLV_OK)
            return cli_fail(j->c);
        if (s.n < j->n_val) return stopped(j);
        if (end_epoch(j, &s) != CLI_OK) return CLI_FAILED;
    }
    return CLI_OK;
}

/* ---- all of it ------------------------------------------------------------------------------- */

static void print_end(const job *j)
{
    double lo, hi;
    int64_t right = (int64_t)(j->best * (double)j->n_val + 0.5);
    cli_interval(right, j->n_val, &lo, &hi);
    fprintf(j->f, "\nbest     epoch %lld: accuracy %.4f [%.4f, %.4f] on %s images; after the last "
            "epoch %.4f\n", (long long)j->best_epoch, j->best, lo, hi, cli_count(j->n_val).s,
            j->accuracy);
    fprintf(j->f, "memory   %s at most in tensors, %s in all\n",
            cli_bytes((double)tlv_mem_get(j->c).peak).s, cli_bytes((double)cli_max_rss()).s);
    fprintf(j->f, "saved    %s: best.safetensors last.ckpt log.csv options.txt\n", j->dir);
    const char *other = j->val == j->train ? "TEST-DATA" : j->o.val ? j->o.val : j->o.data;
    fprintf(j->f, "next     tlv-eval %s --weights %s/best.safetensors", other, j->dir);
    if (j->o.seed && strncmp(j->o.data, "shapes:", 7) == 0)
        fprintf(j->f, " --seed %lld", (long long)j->o.seed);
    fprintf(j->f, "\n");
}

static int write_json(const job *j, double start)
{
    cli_json out = { 0 };
    cli_json_real(&out, "accuracy", j->accuracy);
    cli_json_real(&out, "best_accuracy", j->best);
    cli_json_int(&out, "best_epoch", j->best_epoch);
    cli_json_real(&out, "loss", j->val_loss);
    cli_json_int(&out, "n", j->n_val);
    cli_json_int(&out, "train_images", j->n_train);
    cli_json_int(&out, "epochs", j->epoch);
    cli_json_int(&out, "steps", tlv_optim_steps(j->opt));
    cli_json_text(&out, "arch", tlv_model_arch(j->m));
    cli_json_int(&out, "seed", j->o.seed);
    cli_json_text(&out, "folder", j->dir);
    cli_json_costs(&out, j->c, start);
    return cli_json_write(&out, j->o.json);
}

static int run(job *j, double start)
{
    j->best = -1;
    j->c = cli_open(j->o.threads, j->o.seed);
    if (open_data(j) != CLI_OK) return CLI_FAILED;
    print_data(j);
    if (open_model(j) != CLI_OK) return CLI_FAILED;
    freeze(j);
    if (open_optim(j) != CLI_OK) return CLI_FAILED;
    if (j->o.resume && load_checkpoint(j) != CLI_OK) return CLI_FAILED;
    if (!j->o.resume && cli_run_folder(j->o.out, "finetune", j->dir, sizeof j->dir) != CLI_OK)
        return CLI_FAILED;
    print_plan(j);
    if (write_options(j) != CLI_OK || begin_log(j) != CLI_OK) return CLI_FAILED;
    cli_catch_interrupt();
    int status = train(j);
    if (status != CLI_OK) return status;
    print_end(j);
    return write_json(j, start);
}

static void close_job(job *j)
{
    tlv_stats_close(j->stats);
    tlv_optim_close(j->opt);
    tlv_model_close(j->m);
    if (j->val != j->train) tlv_dataset_close(j->val);
    tlv_dataset_close(j->train);
    free(j->order);
    free(j->train_at);
    free(j->val_at);
    tlv_ctx_close(j->c);
}

/* --resume takes the run's own options; others beside it would make another run of it. */
static void take_saved(job *j, const cli_spec *spec, int words, char **word)
{
    for (int i = 0; i < words; i++) {
        char name[32];
        snprintf(name, sizeof name, "%.*s", (int)strcspn(word[i], "="), word[i]);
        if (strncmp(name, "--", 2) == 0 && !one_of(name, "--resume|--threads|--json"))
            cli_usage(spec, "--resume goes on with the run's own options; beside it stand "
                      "--threads and --json only, not %s", name);
    }
    if (j->o.data) cli_usage(spec, "--resume knows its data: leave out %s", j->o.data);
    read_saved(j, spec);
    take_text(spec, j->saved);
    j->o.data = j->saved_data;
}

int main(int argc, char **argv)
{
    double start = cli_now();
    static job j;                                   // large, and zero
    j.o = defaults();
    cli_option table[MAX_OPTIONS];
    option_table(&j.o, table);
    cli_spec spec = spec_of(table);
    int words = argc - 1;
    char **word = malloc((size_t)argc * sizeof *word);
    if (!word) return cli_error("close other programs", "no memory for the command line");
    memcpy(word, argv + 1, (size_t)words * sizeof *word);
    if (cli_parse(&spec, argc, argv) > 0) j.o.data = argv[1];
    if (j.o.resume) take_saved(&j, &spec, words, word);
    free(word);
    decide(&spec, &j.o);
    options_text(table, j.record, sizeof j.record);
    j.f = cli_text_stream(j.o.json);
    int status = run(&j, start);
    close_job(&j);
    return cli_finish(status);
}
