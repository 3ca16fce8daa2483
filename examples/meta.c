/* meta.c -- tlv-meta: learn to learn: a start from which a few images of new classes are enough.
 *
 * What happens, in order: options (or those of the run to resume); the classes of the data, cut
 * into training, validation and test classes that share nothing; the network and the learner; outer
 * steps on training tasks, with a look at validation tasks now and then; and in the end, once, the
 * best learner on tasks of the test classes.  docs/meta-learning.md explains the methods. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "examples/common_meta.h"
#include "examples/common_task.h"

/* ---- options --------------------------------------------------------------------------------- */

/* What is left open (NULL, -1) is decided when the data is known. */
typedef struct options {
    const char *data, *method, *arch, *weights, *adapt, *bn, *turns, *out, *json, *resume;
    int64_t ways, shots, queries, train_ways, train_shots, tasks, inner_steps, eval_steps;
    int64_t inner_batch, eval_batch, lora_rank, multi_step, cg_steps, iterations;
    int64_t size, channels, train_classes, val_classes, test_classes, split_seed;
    int64_t val_every, val_tasks, test_tasks, test_seed, seed, threads;
    double inner_lr, lr, lr_end, clip, proximal, width, minutes;
    int no_test, recompute;
} options;

enum { MAX_OPTIONS = 48, PATH = CLI_META_PATH, TEST_STREAM = 0x7e57 };
static const double CHECKPOINT_SECONDS = 60;

static const char TURNS[] = "none|episode|classes", NORMS[] = "batch|running|per-step";

/* Fills table, which points into o. */
static void option_table(options *o, cli_option *table)
{
    const cli_option t[] = {
        { "--data", CLI_TEXT, &o->data, "DATA", "the images, as the argument DATA", 0, 0 },
        { "--method", CLI_TEXT, &o->method, "NAME", "maml, fomaml, anil, boil, reptile ...", 0, 0 },
        { "--ways", CLI_INT, &o->ways, "N", "classes of a task", 2, 1000 },
        { "--shots", CLI_INT, &o->shots, "N", "images of a class to learn from", 1, 1000 },
        { "--queries", CLI_INT, &o->queries, "N", "images of a class to be judged by", 1, 1000 },
        { "--train-ways", CLI_INT, &o->train_ways, "N", "in training; 0: as --ways", 0, 1000 },
        { "--train-shots", CLI_INT, &o->train_shots, "N", "in training; 0: as --shots", 0, 1000 },
        { "--tasks", CLI_INT, &o->tasks, "N", "tasks an outer step", 1, 1e4 },
        { "--inner-steps", CLI_INT, &o->inner_steps, "N", "steps on a task", 0, 1e4 },
        { "--inner-lr", CLI_REAL, &o->inner_lr, "X", "their rate", 0, 1e6 },
        { "--eval-steps", CLI_INT, &o->eval_steps, "N", "steps on a task in tests", 0, 1e4 },
        { "--inner-batch", CLI_INT, &o->inner_batch, "N", "images an inner step; 0: all", 0, 1e4 },
        { "--eval-batch", CLI_INT, &o->eval_batch, "N", "the same in tests", 0, 1e4 },
        { "--adapt", CLI_TEXT, &o->adapt, "P,..", "what inner steps change: head.*", 0, 0 },
        { "--lora-rank", CLI_INT, &o->lora_rank, "N",
          "inner steps change matrices by this rank; 0: wholly", 0, 1e4 },
        { "--recompute", CLI_FLAG, &o->recompute, NULL,
          "inner steps are made again in the gradient: less memory", 0, 0 },
        { "--bn", CLI_TEXT, &o->bn, NORMS, "where batch norms have their statistics from", 0, 0 },
        { "--multi-step", CLI_INT, &o->multi_step, "N",
          "maml++: outer steps until early losses count no more", 0, 1e9 },
        { "--proximal", CLI_REAL, &o->proximal, "X", "imaml: lambda", 0, 1e9 },
        { "--cg-steps", CLI_INT, &o->cg_steps, "N", "imaml: of conjugate gradients", 0, 1e4 },
        { "--lr", CLI_REAL, &o->lr, "X", "rate of outer steps", 0, 1e6 },
        { "--lr-end", CLI_REAL, &o->lr_end, "X", "what it falls to", 0, 1e6 },
        { "--clip", CLI_REAL, &o->clip, "X", "bound of the outer gradient's numbers; 0: none",
          0, 1e9 },
        { "--iterations", CLI_INT, &o->iterations, "N", "outer steps; 0: measure only", 0, 1e9 },
        { "--minutes", CLI_REAL, &o->minutes, "X", "of training at most; 0: any", 0, 1e6 },
        { "--arch", CLI_TEXT, &o->arch, "NAME", "the network: conv4, conv4_stride ...", 0, 0 },
        { "--width", CLI_REAL, &o->width, "X", "times its channels; 0: 1", 0, 8 },
        { "--size", CLI_INT, &o->size, "N", "of the images; 0: the data's", 0, 1024 },
        { "--channels", CLI_INT, &o->channels, "N", "1 or 3; 0: the data's", 0, 3 },
        { "--weights", CLI_TEXT, &o->weights, "FILE", "a network to start from", 0, 0 },
        { "--turns", CLI_TEXT, &o->turns, TURNS, "training images turned by 90 degrees", 0, 0 },
        { "--train-classes", CLI_INT, &o->train_classes, "N", "classes to train on", 2, 1e6 },
        { "--val-classes", CLI_INT, &o->val_classes, "N", "to validate on; 0: none", 0, 1e6 },
        { "--test-classes", CLI_INT, &o->test_classes, "N", "to test on; 0: the rest", 0, 1e6 },
        { "--split-seed", CLI_INT, &o->split_seed, "N", "of the choice of classes", 0, 9e15 },
        { "--val-every", CLI_INT, &o->val_every, "N", "outer steps; 0: at the end", 0, 1e9 },
        { "--val-tasks", CLI_INT, &o->val_tasks, "N", "tasks of a validation", 2, 1e6 },
        { "--test-tasks", CLI_INT, &o->test_tasks, "N", "tasks of the test", 2, 1e6 },
        { "--test-seed", CLI_INT, &o->test_seed, "N", "of the test's tasks", 0, 9e15 },
        { "--no-test", CLI_FLAG, &o->no_test, NULL, "leave the test classes alone", 0, 0 },
        CLI_OPT_SEED(o->seed), CLI_OPT_THREADS(o->threads), CLI_OPT_OUT(o->out),
        { "--resume", CLI_TEXT, &o->resume, "FILE", "go on from DIR/checkpoint.safetensors", 0, 0 },
        CLI_OPT_JSON(o->json), { 0 },
    };
    _Static_assert(sizeof t <= MAX_OPTIONS * sizeof *t, "a larger table");
    memcpy(table, t, sizeof t);
}

static options defaults(void)
{
    return (options){ .method = "maml", .ways = 5, .shots = 1, .queries = -1, .train_ways = -1,
                      .train_shots = -1, .tasks = -1, .inner_steps = -1, .eval_steps = -1,
                      .inner_batch = -1, .eval_batch = -1, .multi_step = -1, .cg_steps = -1,
                      .iterations = -1, .train_classes = -1, .val_classes = -1, .split_seed = 1,
                      .val_every = 500, .val_tasks = 200, .test_tasks = 2000, .inner_lr = -1,
                      .lr = -1, .lr_end = -1, .clip = -1, .proximal = -1 };
}

static cli_spec spec_of(const cli_option *table)
{
    return (cli_spec){ "tlv-meta", "learn to learn new classes from a few images of each", "DATA",
                       0, 1,
                       "tlv-meta idx:omniglot28-images-idx4-ubyte.gz --method maml --ways 5 "
                       "--iterations 6000",
                       table };
}

static void check_options(const cli_spec *s, const options *o)
{
    if (!o->data) cli_usage(s, "DATA is missing");
    if (tlv_meta_method_find(o->method) < 0) {
        char list[200] = "";
        for (int i = 0; i < TLV_META_METHODS; i++)
            if (tlv_meta_method_find(tlv_meta_method_name((tlv_meta_method)i)) == i)
                snprintf(list + strlen(list), 20, "%s%.16s", list[0] ? ", " : "",
                         tlv_meta_method_name((tlv_meta_method)i));
        cli_usage(s, "--method %s: want one of %s", o->method, list);
    }
    if (o->turns && !cli_one_of(o->turns, TURNS))
        cli_usage(s, "--turns %s: want %s", o->turns, TURNS);
    if (o->bn && !cli_one_of(o->bn, NORMS)) cli_usage(s, "--bn %s: want %s", o->bn, NORMS);
    if (o->channels == 2) cli_usage(s, "--channels 2: want 1 or 3");
    if (o->weights && o->arch) cli_usage(s, "--weights know their --arch: leave it out");
}

/* What belongs to one command and not to the run. */
static const char OF_COMMAND[] = "--data|--out|--json|--resume|--threads|--no-test";
/* What may be said anew beside --resume. */
static const char WITH_RESUME[] =
    "--resume|--threads|--json|--no-test|--minutes|--iterations|--lr|--lr-end|--tasks|--val-every|"
    "--test-tasks|--test-seed";

/* ---- the run --------------------------------------------------------------------------------- */

typedef enum part { TRAIN, VAL, TEST, PARTS } part;
static const char *const PART[PARTS] = { "train", "val", "test" };

typedef struct job {
    options o;
    const cli_option *table;
    FILE *f;                                    /* for people */
    char record[CLI_META_OPTIONS], saved[CLI_META_OPTIONS], saved_data[PATH], dir[PATH - 32];
    tlv_ctx *c;
    tlv_dataset *d;
    int32_t *classes;                           /* of d: those of the three parts, in turn */
    int n[PARTS];
    tlv_episodes *e[PARTS];
    tlv_model *m;
    tlv_meta *l;
    cli_meta_place at;
    int64_t done;                               /* outer steps when training ended */
    double kept_at;                             /* when the checkpoint was written */
    tlv_meta_score val;                         /* the last validation */
    tlv_meta_score test, alone;                 /* all at once; one by one where that differs */
    cli_progress line;
    int line_open;
} job;

static void path_in(const job *j, const char *name, char path[PATH])
{
    snprintf(path, PATH, "%s/%.30s", j->dir, name);         // dir leaves room for it
}

static int64_t iteration(const job *j) { return tlv_meta_iteration(j->l); }

/* One query image's answer depends on the others in its batch. */
static int transductive(const job *j) { return tlv_meta_options(j->l)->bn == TLV_META_BN_BATCH; }

static int is_reptile(const job *j) { return tlv_meta_options(j->l)->method == TLV_REPTILE; }

/* ---- data ------------------------------------------------------------------------------------ */

/* Omniglot's 1100, 100 and 423; of other sets 64, 16 and 20 of a hundred, but enough for a task. */
static int decide_classes(job *j)
{
    options *o = &j->o;
    int all = tlv_dataset_classes(j->d), ways = (int)o->ways;
    int omniglot = all > 1200, val = all * 16 / 100, test = all * 20 / 100;
    if (o->val_classes < 0) o->val_classes = omniglot ? 100 : val > ways ? val : ways;
    if (o->train_classes < 0) {
        int64_t rest = o->test_classes ? o->test_classes : test > ways ? test : ways;
        o->train_classes = omniglot ? 1100 : all - o->val_classes - rest;
    }
    int64_t rest = all - o->train_classes - o->val_classes;
    if (o->train_classes < ways || (o->val_classes && o->val_classes < ways) || rest < ways)
        return cli_error("take fewer --ways, or a set with more classes",
                         "%d classes give %lld to train, %lld to validate, %lld to test: too few "
                         "for %d ways", all, (long long)o->train_classes,
                         (long long)o->val_classes, (long long)rest, ways);
    j->n[TRAIN] = (int)o->train_classes;
    j->n[VAL] = (int)o->val_classes;
    return CLI_OK;
}

static int open_data(job *j)
{
    const options *o = &j->o;
    j->d = cli_images(j->c, "data", o->data, "train", 0, j->f, NULL);
    if (decide_classes(j) != CLI_OK) return CLI_FAILED;
    j->classes = calloc((size_t)tlv_dataset_classes(j->d), sizeof *j->classes);
    if (!j->classes) return cli_error("close other programs", "no memory for the classes");
    tlv_rng_key key = tlv_rng_fold((tlv_rng_key){ 1 }, (uint64_t)o->split_seed);
    j->n[TEST] = tlv_class_split(j->c, j->d, j->n[TRAIN], j->n[VAL], key, j->classes);
    if (j->n[TEST] < 0) return cli_fail(j->c);
    if (o->test_classes && o->test_classes < j->n[TEST]) j->n[TEST] = (int)o->test_classes;
    return CLI_OK;
}

static int is_grey(const job *j)
{
    int h, w, channels;
    tlv_dataset_image_shape(j->d, &h, &w, &channels);
    return channels == 1;
}

/* Training images of grey sets (characters) are turned; those of photographs are as they are. */
static void decide_turns(job *j)
{
    options *o = &j->o;
    int reptile = tlv_meta_method_find(o->method) == TLV_REPTILE;
    if (!o->turns) o->turns = !is_grey(j) ? "none" : reptile ? "classes" : "episode";
}

static int open_episodes(job *j)
{
    tlv_turns turns = (tlv_turns)cli_word_in(j->o.turns, strlen(j->o.turns), TURNS);
    tlv_episodes_opts o = { *tlv_model_recipe(j->m), (int)j->o.channels, turns };
    const int32_t *at = j->classes;
    for (int k = 0; k < PARTS; at += j->n[k++]) {
        if (k > TRAIN && turns == TLV_TURNS_CLASSES) o.turns = TLV_TURNS_NONE;
        if (j->n[k]) j->e[k] = tlv_episodes_open(j->c, j->d, at, j->n[k], o);
        if (tlv_error(j->c)) return cli_fail(j->c);
        if (!j->n[k]) continue;
        fprintf(j->f, "%-8s %d classes%s, at least %d images each\n", PART[k], j->n[k],
                o.turns == TLV_TURNS_EPISODE ? ", each turned at random in a task"
                : o.turns == TLV_TURNS_CLASSES ? ", times four by turning" : "",
                tlv_episodes_per_class(j->e[k]));
    }
    for (int a = 0; a < PARTS; a++)
        for (int b = a + 1; b < PARTS; b++)
            if (j->e[a] && j->e[b] && tlv_episodes_disjoint(j->c, j->e[a], j->e[b]) != TLV_OK)
                return cli_fail(j->c);
    fprintf(j->f, "         no class and no image is in two of them: checked\n");
    return CLI_OK;
}

/* Which class is in which part. */
static int write_classes(const job *j)
{
    char path[PATH];
    path_in(j, "classes.txt", path);
    FILE *f = fopen(path, "w");
    const int32_t *at = j->classes;
    for (int k = 0; f && k < PARTS; at += j->n[k++])
        for (int i = 0; i < j->n[k]; i++)
            fprintf(f, "%s\t%s\n", PART[k], tlv_dataset_class_name(j->d, at[i]));
    int bad = !f || ferror(f);
    if (f && fclose(f) != 0) bad = 1;
    return bad ? cli_error("is the disk full?", "%s: %s", path, strerror(errno)) : CLI_OK;
}

/* ---- the network and the learner ------------------------------------------------------------- */

static const char *usual_arch(int method)
{
    if (method == TLV_REPTILE) return "conv4_stride_flat";
    return method == TLV_PROTONET || method == TLV_MATCHING_NET ? "conv4" : "conv4_stride";
}

/* The images' own size and channels, where the network may choose. */
static void decide_images(job *j)
{
    enum { OF_FILES = 84 };                     // as mini-ImageNet
    int h, w, channels;
    tlv_dataset_image_shape(j->d, &h, &w, &channels);
    if (!j->o.channels) j->o.channels = channels == 1 ? 1 : 3;
    if (!j->o.size) j->o.size = h == 0 ? OF_FILES : h < w ? h : w;
}

static int open_model(job *j)
{
    options *o = &j->o;
    tlv_model_opts as = { .classes = (int)o->ways, .width = o->width };
    if (o->weights) {
        tlv_load_report r = { 0 };
        j->m = tlv_model_load(j->c, o->weights, NULL, as, &r);
        if (j->m) cli_print_model(j->f, j->m, o->weights, &r);
    } else {
        int wanted = !o->resume && (o->size || o->channels);
        decide_images(j);
        if (!o->arch) o->arch = usual_arch(tlv_meta_method_find(o->method));
        as.channels = (int)o->channels;
        as.size = (int)o->size;
        j->m = cli_meta_network(j->c, o->arch, as, wanted);
    }
    if (!j->m) return cli_fail(j->c);
    o->channels = tlv_model_about(j->m)->channels;
    o->size = tlv_model_recipe(j->m)->size;
    return CLI_OK;
}

static void decide_int(int64_t *o, int d)
{
    if (*o < 0) *o = d;
}

static void decide_real(double *o, double d)
{
    if (*o < 0) *o = d;
}

/* What the command left open is the method's; the options then hold all of it, so that the run's
 * record has no open ends. */
static tlv_meta_opts decide(options *o)
{
    tlv_meta_method method = (tlv_meta_method)tlv_meta_method_find(o->method);
    tlv_meta_opts d = tlv_meta_defaults(method, (int)o->ways, (int)o->shots);
    if (o->lr >= 0 && o->lr_end < 0 && d.lr_end == d.lr) o->lr_end = o->lr;
    decide_int(&o->queries, d.queries);
    decide_int(&o->train_ways, d.train_ways);
    decide_int(&o->train_shots, d.train_shots);
    decide_int(&o->tasks, d.tasks);
    decide_int(&o->inner_steps, d.inner_steps);
    decide_int(&o->eval_steps, d.eval_steps);
    decide_int(&o->inner_batch, d.inner_batch);
    decide_int(&o->eval_batch, d.eval_batch);
    decide_int(&o->cg_steps, d.cg_steps);
    if (o->multi_step < 0) o->multi_step = d.multi_step;
    if (o->iterations < 0) o->iterations = d.iterations;
    decide_real(&o->inner_lr, d.inner_lr);
    decide_real(&o->lr, d.lr);
    decide_real(&o->lr_end, d.lr_end);
    decide_real(&o->clip, d.clip);
    decide_real(&o->proximal, d.proximal);
    if (!o->bn) o->bn = tlv_meta_bn_name(d.bn);
    if (!o->adapt) o->adapt = d.adapt;
    return (tlv_meta_opts){
        .method = method, .ways = (int)o->ways, .shots = (int)o->shots, .queries = (int)o->queries,
        .train_ways = (int)o->train_ways, .train_shots = (int)o->train_shots,
        .tasks = (int)o->tasks, .inner_steps = (int)o->inner_steps,
        .eval_steps = (int)o->eval_steps, .inner_lr = o->inner_lr,
        .inner_batch = (int)o->inner_batch, .eval_batch = (int)o->eval_batch, .adapt = o->adapt,
        .lora_rank = (int)o->lora_rank, .checkpoint = o->recompute,
        .bn = (tlv_meta_bn)cli_word_in(o->bn, strlen(o->bn), NORMS),
        .lr = o->lr, .lr_end = o->lr_end, .iterations = o->iterations ? o->iterations : 1,
        .clip = o->clip, .multi_step = o->multi_step, .proximal = o->proximal,
        .cg_steps = (int)o->cg_steps,
    };
}

static int open_learner(job *j)
{
    j->l = tlv_meta_open(j->c, j->m, decide(&j->o));
    if (!j->l) return cli_fail(j->c);
    cli_print_learner(j->f, j->l, j->m);
    cli_print_meta_input(j->f, j->m, 0);
    return CLI_OK;
}

/* ---- validation ------------------------------------------------------------------------------ */

static void end_line(job *j)
{
    if (j->line_open) cli_progress_end(&j->line);
    j->line_open = 0;
}

static void begin_line(job *j, const char *label, int64_t total)
{
    if (j->line_open) return;
    cli_progress_begin(&j->line, j->f, label, total);
    j->line_open = 1;
}

static int on_tasks(void *user, int64_t done, int64_t total)
{
    job *j = user;
    cli_progress_step(&j->line, done, "%lld of %lld tasks", (long long)done, (long long)total);
    return cli_interrupted();
}

/* CLI_OK, CLI_FAILED (said), or CLI_INTERRUPTED. */
static int measure(job *j, part k, tlv_meta_test t, const char *label, tlv_meta_score *score)
{
    t.progress = on_tasks;
    t.user = j;
    end_line(j);
    begin_line(j, label, t.tasks);
    tlv_status st = tlv_meta_evaluate(j->l, j->e[k], t, score);
    end_line(j);
    return st != TLV_OK ? cli_fail(j->c) : score->stopped ? CLI_INTERRUPTED : CLI_OK;
}

static tlv_status keep(job *j)
{
    j->kept_at = cli_now();
    return cli_meta_keep(j->l, j->dir, j->record, j->o.data, &j->at);
}

static tlv_status keep_best(job *j)
{
    char path[PATH], text[2][32];
    j->at.best = j->e[VAL] ? j->val.accuracy : 0;
    j->at.best_at = iteration(j);
    snprintf(text[0], sizeof text[0], "%.9g", j->at.best);
    snprintf(text[1], sizeof text[1], "%lld", (long long)j->o.seed);
    const char *const extra[] = { "data", j->o.data, "val_accuracy", text[0], "seed", text[1],
                                  NULL };
    path_in(j, "best.safetensors", path);
    return tlv_meta_save(j->l, path, extra);
}

static void print_row(const job *j, const cli_meta_row *r, int best)
{
    fprintf(j->f, "%9lld", (long long)r->iteration);
    if (isfinite(r->loss)) fprintf(j->f, "  %10.4f  %8.4f", r->loss, r->accuracy);
    else fprintf(j->f, "%22s", "");                     // no step was made
    if (j->e[VAL]) fprintf(j->f, "  %8.4f +- %.4f", r->val_accuracy, r->val_ci95);
    if (isfinite(r->val_alone)) fprintf(j->f, "  %10.4f", r->val_alone);
    fprintf(j->f, "  %8s%s\n", cli_time(r->seconds).s, best ? "  *best" : "");
    fflush(j->f);
}

/* The learner on validation tasks, always the same ones; then a row of the table and a checkpoint.
 * Reptile is measured in both ways, and all at once counts. */
static int validate(job *j)
{
    tlv_meta_score alone = { .accuracy = NAN };
    tlv_meta_test t = { .tasks = j->o.val_tasks, .key = tlv_rng_stream(j->c, "validation") };
    j->val = (tlv_meta_score){ .accuracy = NAN, .loss = NAN, .ci95 = NAN };
    int status = j->e[VAL] ? measure(j, VAL, t, "validate", &j->val) : CLI_OK;
    t.one_by_one = 1;
    if (status == CLI_OK && j->e[VAL] && is_reptile(j) && transductive(j))
        status = measure(j, VAL, t, "one by one", &alone);
    if (status != CLI_OK) return status;
    cli_meta_place *p = &j->at;
    int better = !j->e[VAL] || j->val.accuracy > p->best;
    double steps = p->steps > 0 ? (double)p->steps : NAN;
    cli_meta_row r = { iteration(j), p->loss / steps, p->accuracy / steps, p->lr, j->val.loss,
                       j->val.accuracy, j->val.ci95, alone.accuracy, p->seconds };
    p->steps = 0;
    p->loss = p->accuracy = 0;
    if (better && keep_best(j) != TLV_OK) return cli_fail(j->c);
    if (cli_meta_add_log(j->dir, &r) != CLI_OK) return CLI_FAILED;
    print_row(j, &r, better);
    return keep(j) == TLV_OK ? CLI_OK : cli_fail(j->c);
}

/* ---- training -------------------------------------------------------------------------------- */

static int is_done(const job *j)
{
    return iteration(j) >= j->o.iterations
           || (j->o.minutes > 0 && j->at.seconds >= 60 * j->o.minutes);
}

/* Steps were done that no row of the table shows, and it is time for one; or none is wanted. */
static int is_row_due(const job *j)
{
    if (j->o.iterations == 0) return j->at.best < 0;
    int64_t every = j->o.val_every;
    return j->at.steps > 0 && (is_done(j) || (every > 0 && iteration(j) % every == 0));
}

static int step(job *j)
{
    static char label[32];                              // lives as long as the line
    int64_t every = j->o.val_every, n = iteration(j);
    int64_t to = every > 0 ? (n / every + 1) * every : j->o.iterations;
    if (to > j->o.iterations) to = j->o.iterations;
    double begin = cli_now();
    tlv_meta_progress now;
    if (tlv_meta_step(j->l, j->e[TRAIN], &now) != TLV_OK) {
        end_line(j);
        return cli_fail(j->c);
    }
    cli_meta_place *p = &j->at;
    p->seconds += cli_now() - begin;
    p->steps++;
    p->loss += now.loss;
    p->accuracy += now.accuracy;
    p->lr = now.lr;
    if (!j->line_open) snprintf(label, sizeof label, "to %lld", (long long)to);
    begin_line(j, label, to - n);
    cli_progress_step(&j->line, j->line.total - (to - n - 1),
                      "step %lld  loss %.4f  accuracy %.3f  %.3f s", (long long)n + 1,
                      p->loss / (double)p->steps, p->accuracy / (double)p->steps,
                      p->seconds / (double)(n + 1));
    return CLI_OK;
}

static int stopped(job *j)
{
    end_line(j);
    if (keep(j) != TLV_OK) return cli_fail(j->c);
    fflush(j->f);
    fprintf(stderr, "stopped after step %lld of %lld; the checkpoint is in %s\n",
            (long long)iteration(j), (long long)j->o.iterations, j->dir);
    fprintf(stderr, "to go on: tlv-meta --resume %s/checkpoint.safetensors\n", j->dir);
    return CLI_INTERRUPTED;
}

static int train(job *j)
{
    fprintf(j->f, "\n%9s  %10s  %8s%s%s  %8s\n", "iteration", "train_loss", "accuracy",
            j->e[VAL] ? "  validation tasks  " : "",
            j->e[VAL] && is_reptile(j) && transductive(j) ? "  one by one" : "", "time");
    fflush(j->f);
    j->kept_at = cli_now();                             // open_run, or the run before, wrote it
    while (!cli_interrupted()) {
        int status = is_row_due(j) ? validate(j) : CLI_OK;
        if (status == CLI_INTERRUPTED) break;
        if (status == CLI_OK && is_done(j)) return CLI_OK;
        if (status == CLI_OK) status = step(j);
        if (status != CLI_OK) return status;
        int late = cli_now() - j->kept_at >= CHECKPOINT_SECONDS;
        if (late && keep(j) != TLV_OK) return cli_fail(j->c);
    }
    return stopped(j);
}

/* ---- the end --------------------------------------------------------------------------------- */

/* The best learner goes on from here: its start is the run's result. */
static int take_best(job *j)
{
    char path[PATH], accuracy[32];
    path_in(j, "best.safetensors", path);
    if (tlv_meta_resume(j->l, path) != TLV_OK || tlv_meta_to_model(j->l, j->m) != TLV_OK)
        return cli_fail(j->c);
    snprintf(accuracy, sizeof accuracy, "%.9g", j->at.best);
    const char *const extra[] = { "val_accuracy", accuracy, "method", j->o.method, NULL };
    path_in(j, "model.safetensors", path);
    return tlv_model_save(j->c, j->m, path, extra) == TLV_OK ? CLI_OK : cli_fail(j->c);
}

/* Once, on classes that nothing before has looked at. */
static int test(job *j)
{
    tlv_rng_key key = tlv_rng_fold((tlv_rng_key){ TEST_STREAM }, (uint64_t)j->o.test_seed);
    tlv_meta_test t = { .tasks = j->o.test_tasks, .key = key };
    int status = measure(j, TEST, t, "test", &j->test);
    t.one_by_one = 1;
    if (status == CLI_OK && transductive(j)) status = measure(j, TEST, t, "one by one", &j->alone);
    if (status == CLI_INTERRUPTED) {
        fprintf(stderr, "stopped in the test; the run is whole\n");
        fprintf(stderr, "to test: tlv-meta --resume %s/checkpoint.safetensors\n", j->dir);
    }
    return status;
}

static void print_end(const job *j)
{
    const tlv_meta_opts *o = tlv_meta_options(j->l);
    const cli_meta_place *p = &j->at;
    if (j->e[VAL])
        fprintf(j->f, "\nbest     after step %lld: %.2f %% on %s validation tasks\n",
                (long long)p->best_at, 100 * p->best, cli_count(j->o.val_tasks).s);
    if (!j->o.no_test) {
        fprintf(j->f, "test     %.2f +- %.2f %% on %s tasks of %d classes: %d ways, %d shot%s, "
                "%d quer%s a class\n", 100 * j->test.accuracy, 100 * j->test.ci95,
                cli_count(j->test.tasks).s, tlv_episodes_classes(j->e[TEST]), o->ways, o->shots,
                o->shots == 1 ? "" : "s", o->queries, o->queries == 1 ? "y" : "ies");
        if (transductive(j))
            fprintf(j->f, "         all queries of a task at once (transductive); one by one %.2f "
                    "+- %.2f %%\n", 100 * j->alone.accuracy, 100 * j->alone.ci95);
    }
    double each = j->done > 0 ? p->seconds / (double)j->done : 0;
    fprintf(j->f, "time     %s of training, %.4f s a step\n", cli_time(p->seconds).s, each);
    fprintf(j->f, "memory   %s at most in tensors, %s in all\n",
            cli_bytes((double)tlv_mem_get(j->c).peak).s, cli_bytes((double)cli_max_rss()).s);
    fprintf(j->f, "saved    %s: best.safetensors model.safetensors checkpoint.safetensors log.csv\n"
            "         curve.png result.json classes.txt options.txt\n", j->dir);
    fprintf(j->f, "next     tlv-fewshot FOLDER --weights %s/best.safetensors --shot %d\n", j->dir,
            o->shots);
}

static void json_learner(const job *j, cli_json *out)
{
    const tlv_meta_opts *o = tlv_meta_options(j->l);
    cli_json_text(out, "method", tlv_meta_method_name(o->method));
    cli_json_text(out, "arch", tlv_model_arch(j->m));
    cli_json_int(out, "ways", o->ways);
    cli_json_int(out, "shots", o->shots);
    cli_json_int(out, "queries", o->queries);
    cli_json_int(out, "tasks", o->tasks);
    cli_json_text(out, "bn", tlv_meta_bn_name(o->bn));
    cli_json_text(out, "turns", j->o.turns);
    cli_json_int(out, "train_classes", j->n[TRAIN]);
    cli_json_int(out, "val_classes", j->n[VAL]);
    cli_json_int(out, "test_classes", j->n[TEST]);
    cli_json_int(out, "seed", j->o.seed);
}

static int write_json(const job *j, double start, const char *path)
{
    double missing = j->o.no_test ? NAN : 0, alone = transductive(j) ? missing : NAN;
    cli_json out = { 0 };
    cli_json_real(&out, "accuracy", j->test.accuracy + missing);
    cli_json_real(&out, "ci95", j->test.ci95 + missing);
    cli_json_real(&out, "loss", j->test.loss + missing);
    cli_json_real(&out, "accuracy_one_by_one", j->alone.accuracy + alone);
    cli_json_real(&out, "ci95_one_by_one", j->alone.ci95 + alone);
    cli_json_int(&out, "test_tasks", j->test.tasks);
    cli_json_int(&out, "test_seed", j->o.test_seed);
    cli_json_real(&out, "val_accuracy", j->e[VAL] ? j->at.best : NAN);
    cli_json_int(&out, "best_iteration", j->at.best_at);
    cli_json_int(&out, "iterations", j->done);
    cli_json_real(&out, "train_seconds", j->at.seconds);
    cli_json_real(&out, "seconds_per_iteration",
                  j->done > 0 ? j->at.seconds / (double)j->done : NAN);
    json_learner(j, &out);
    cli_json_text(&out, "folder", j->dir);
    cli_json_costs(&out, j->c, start);
    return cli_json_write(&out, path);
}

static int finish(job *j, double start)
{
    char title[128], path[PATH];
    j->done = iteration(j);
    if (take_best(j) != CLI_OK) return CLI_FAILED;
    snprintf(title, sizeof title, "tlv-meta: %s, %s, %lld ways, %lld shots", j->o.method,
             tlv_model_arch(j->m), (long long)j->o.ways, (long long)j->o.shots);
    if (cli_meta_draw(j->c, j->dir, title) != CLI_OK) return CLI_FAILED;
    int status = j->o.no_test ? CLI_OK : test(j);
    if (status != CLI_OK) return status;
    print_end(j);
    path_in(j, "result.json", path);
    if (write_json(j, start, path) != CLI_OK) return CLI_FAILED;
    return write_json(j, start, j->o.json);
}

/* ---- all of it ------------------------------------------------------------------------------- */

static int write_options(const job *j)
{
    char path[PATH];
    path_in(j, "options.txt", path);
    FILE *f = fopen(path, "w");
    int bad = !f || fprintf(f, "%s%s\n", j->record, j->o.data) < 0;
    if (f && fclose(f) != 0) bad = 1;
    return bad ? cli_error("is the disk full?", "%s: %s", path, strerror(errno)) : CLI_OK;
}

/* The run's folder and record, fresh or from the checkpoint. */
static int open_run(job *j)
{
    j->at.best = -1;
    cli_options_text(j->table, OF_COMMAND, j->record, sizeof j->record);
    if (j->o.resume) {
        if (cli_meta_resume(j->c, j->l, j->o.resume, &j->at) != CLI_OK) return CLI_FAILED;
        fprintf(j->f, "resumed  %s: %lld steps are done, %s of training\n", j->o.resume,
                (long long)iteration(j), cli_time(j->at.seconds).s);
    } else if (cli_run_folder(j->o.out, "meta", j->dir, sizeof j->dir) != CLI_OK) return CLI_FAILED;
    fprintf(j->f, "run      %s, %d thread%s, seed %lld, folder %s\n", tlv_isa(j->c),
            tlv_threads(j->c), tlv_threads(j->c) == 1 ? "" : "s", (long long)j->o.seed, j->dir);
    if (write_options(j) != CLI_OK || write_classes(j) != CLI_OK) return CLI_FAILED;
    if (cli_meta_begin_log(j->dir, iteration(j)) != CLI_OK) return CLI_FAILED;
    return j->o.resume || keep(j) == TLV_OK ? CLI_OK : cli_fail(j->c);
}

static int run(job *j, double start)
{
    j->c = cli_open(j->o.threads, j->o.seed);
    if (open_data(j) != CLI_OK || open_model(j) != CLI_OK) return CLI_FAILED;
    decide_turns(j);
    if (open_episodes(j) != CLI_OK || open_learner(j) != CLI_OK || open_run(j) != CLI_OK)
        return CLI_FAILED;
    cli_catch_interrupt();
    int status = train(j);
    return status == CLI_OK ? finish(j, start) : status;
}

static void close_job(job *j)
{
    tlv_meta_close(j->l);
    tlv_model_close(j->m);
    for (int k = 0; k < PARTS; k++) tlv_episodes_close(j->e[k]);
    tlv_dataset_close(j->d);
    free(j->classes);
    tlv_ctx_close(j->c);
}

/* --resume takes the run's own options, then those that may be said anew. */
static void take_saved(job *j, const cli_spec *spec, int argc, char **argv)
{
    const char *resume = j->o.resume, *slash = strrchr(resume, '/');
    for (int i = 1; i < argc; i++) {
        char name[32];
        snprintf(name, sizeof name, "%.*s", (int)strcspn(argv[i], "="), argv[i]);
        if (strncmp(name, "--", 2) == 0 && !cli_one_of(name, WITH_RESUME))
            cli_usage(spec, "--resume goes on with the run's own options; beside it there may be "
                      "%s, not %s", "--minutes, --iterations, --lr, --lr-end, --tasks, --threads, "
                      "--json and those of validation and test", name);
    }
    if (j->o.data) cli_usage(spec, "--resume knows its data: leave out %s", j->o.data);
    size_t n = slash ? (size_t)(slash - resume) : 1;
    if (n >= sizeof j->dir) cli_usage(spec, "--resume: the path is too long");
    snprintf(j->dir, sizeof j->dir, "%.*s", (int)n, slash ? resume : ".");
    cli_meta_saved(resume, j->saved, j->saved_data);
    cli_take_text(spec, j->saved);
    cli_parse(spec, argc, argv);
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
    char **word = malloc((size_t)argc * sizeof *word);      // cli_parse moves them
    if (!word) return cli_error("close other programs", "no memory for the command line");
    memcpy(word, argv, (size_t)argc * sizeof *word);
    if (cli_parse(&spec, argc, argv) > 0) j.o.data = argv[1];
    if (j.o.resume) take_saved(&j, &spec, argc, word);
    check_options(&spec, &j.o);
    j.f = cli_text_stream(j.o.json);
    int status = run(&j, start);
    close_job(&j);
    free(word);
    return cli_finish(status);
}
