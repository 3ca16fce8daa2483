/* common_task.c -- images to learn from and to measure on, and what is said of them. */
#include "examples/common_task.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "examples/common_plot.h"

enum { PATH = 1024, WORST = 24 };

/* ---- opening --------------------------------------------------------------------------------- */

/* The classes with their images, a line of them; the smallest and largest where there are many. */
static void print_counts(FILE *f, const tlv_dataset *d)
{
    int k = tlv_dataset_classes(d);
    int64_t least = INT64_MAX, most = 0;
    for (int i = 0; i < k; i++) {
        int64_t n = tlv_dataset_class_count(d, i);
        least = n < least ? n : least;
        most = n > most ? n : most;
    }
    if (k == 0) return;
    if (k > 12) {
        fprintf(f, "         %s to %s images a class\n", cli_count(least).s, cli_count(most).s);
        return;
    }
    for (int i = 0; i < k; i++) {
        char name[40];
        fprintf(f, "%s%s %s", i ? ", " : "         ",
                cli_clean(tlv_dataset_class_name(d, i), name, sizeof name),
                cli_count(tlv_dataset_class_count(d, i)).s);
    }
    fprintf(f, "\n");
}

/* Takes files out that do not decode, and names the first of them. */
int64_t cli_drop_bad(tlv_ctx *c, tlv_dataset *d, FILE *f)
{
    enum { NAMED = 5 };
    tlv_bad_file bad[NAMED];
    int64_t n = tlv_dataset_drop_bad(c, d, bad, NAMED);
    for (int64_t i = 0; i < n && i < NAMED; i++)
        fprintf(f, "skipped  %s: %s\n", bad[i].path, bad[i].reason);
    if (n > NAMED) fprintf(f, "skipped  and %s more\n", cli_count(n - NAMED).s);
    return n;
}

tlv_dataset *cli_images(tlv_ctx *c, const char *word, const char *what, const char *split,
                        int skip_bad, FILE *f, int64_t *skipped)
{
    tlv_dataset *d = cli_dataset(c, what, split);
    int64_t bad = skip_bad ? cli_drop_bad(c, d, f) : 0;
    if (bad < 0) exit(cli_fail(c));
    if (skipped) *skipped += bad;
    fprintf(f, "%-8s %s\n", word, tlv_dataset_text(d));
    print_counts(f, d);
    return d;
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

static void print_split(FILE *f, const cli_task *t, const cli_task_opts *o)
{
    if (t->val == t->train)
        fprintf(f, "val      a fifth of it, of each class: %s images, seed %lld\n",
                cli_count(t->n_val).s, (long long)o->seed);
    if (o->per_class)
        fprintf(f, "         at most %lld a class to learn from: %s images, seed %lld\n",
                (long long)o->per_class, cli_count(t->n_train).s, (long long)o->seed);
}

int cli_task_open(tlv_ctx *c, cli_task *t, cli_task_opts o, FILE *f)
{
    *t = (cli_task){ 0 };
    t->train = cli_images(c, "data", o.data, "train", o.skip_bad, f, &t->skipped);
    int own = !o.val && (tlv_dataset_has_split(c, o.data, "val") > 0
                         || tlv_dataset_has_split(c, o.data, "test") > 0);
    const char *other = o.val ? o.val : own ? o.data : NULL;
    t->val = other ? cli_images(c, "val", other, "val", o.skip_bad, f, &t->skipped) : t->train;

    int64_t n = tlv_dataset_size(t->train), all = tlv_dataset_size(t->val);
    t->train_at = cli_numbers(n);
    t->val_at = cli_numbers(all);
    tlv_dataset_split(t->train, n, NULL, other ? 0 : 0.2, tlv_rng_stream(c, "split"), t->train_at,
                      &t->n_train, t->val_at, &t->n_val);
    if (tlv_error(c)) return cli_fail(c);
    if (other) t->n_val = all;
    for (int64_t i = 0; other && i < all; i++) t->val_at[i] = i;
    if (o.per_class) t->n_train = first_of_each(t->train, t->train_at, t->n_train, o.per_class);
    print_split(f, t, &o);

    int classes = tlv_dataset_classes(t->train);
    if (classes < 2)
        return cli_error("put the images of each class into a folder of its own: DIR/CLASS/FILE",
                         "%s: %d class%s, at least two are needed", o.data, classes,
                         classes == 1 ? "" : "es");
    if (t->n_train == 0 || t->n_val == 0)
        return cli_error("use a larger set, or give --val DATA", "%lld images to train, %lld to "
                         "validate", (long long)t->n_train, (long long)t->n_val);
    if (tlv_dataset_classes(t->val) > classes)
        return cli_error("validate on images of the same classes",
                         "--val has %d classes, the training data %d", tlv_dataset_classes(t->val),
                         classes);
    return CLI_OK;
}

void cli_task_close(cli_task *t)
{
    if (t->val != t->train) tlv_dataset_close(t->val);
    tlv_dataset_close(t->train);
    free(t->train_at);
    free(t->val_at);
    *t = (cli_task){ 0 };
}

/* ---- the model ------------------------------------------------------------------------------- */

void cli_print_model(FILE *f, const tlv_model *m, const char *path, const tlv_load_report *r)
{
    const tlv_model_info *about = tlv_model_about(m);
    fprintf(f, "weights  %s: %s\n", path, r->text);
    fprintf(f, "model    %s", about->arch);
    if (about->width != 0 && about->width != 1) fprintf(f, " x%g", about->width);
    fprintf(f, ", %s names, %s parameters, ", about->dialect,
            cli_count(tlv_params_numel(tlv_model_params(m), 0)).s);
    if (about->has_head) fprintf(f, "%d classes\n", about->classes);
    else fprintf(f, "no head: %d features\n", about->dim);
}

int cli_draw_progress(void *line, int64_t done, int64_t total)
{
    cli_progress *p = line;
    p->total = total;
    cli_progress_step(p, done, "%s of %s", cli_count(done).s, cli_count(total).s);
    return cli_interrupted();
}

int cli_extract(tlv_ctx *c, FILE *f, const char *label, const tlv_model *m, const tlv_dataset *d,
                const int64_t *index, int64_t n, int64_t batch, const char *cache,
                tlv_features *out, tlv_extract_report *r)
{
    cli_progress line;
    cli_progress_begin(&line, f, label, n);
    tlv_extract_opts o = { .batch = batch, .cache_dir = cache, .progress = cli_draw_progress,
                           .user = &line };
    tlv_status st = tlv_extract_features(c, m, d, index, n, o, out, r);
    cli_progress_end(&line);
    if (st != TLV_OK) return cli_fail(c);
    if (r->damage[0]) fprintf(f, "cache    %s\n", r->damage);
    if (!r->stopped) return CLI_OK;
    fprintf(stderr, "stopped after %lld of %lld images\n", (long long)out->n, (long long)n);
    return CLI_INTERRUPTED;
}

const char **cli_class_names(const tlv_model *m)
{
    enum { NUMBER = 32 };
    size_t n = (size_t)tlv_model_classes(m);
    const char **names = malloc(n * (sizeof *names + NUMBER) + 1);
    if (!names) exit(cli_error("close other programs", "no memory for %zu names of classes", n));
    char *text = (char *)(names + n);
    for (size_t k = 0; k < n; k++, text += NUMBER) {
        const char *name = tlv_model_class_name(m, (int)k);
        snprintf(text, NUMBER, "class %zu", k);
        names[k] = name ? name : text;
    }
    return names;
}

tlv_status cli_name_classes(tlv_ctx *c, tlv_model *m, const tlv_dataset *d)
{
    int n = tlv_dataset_classes(d);
    const char **names = calloc((size_t)n + 1, sizeof *names);
    if (!names) return tlv_fail(c, TLV_ERR_NOMEM, NULL, "no memory for %d names of classes", n);
    for (int k = 0; k < n; k++) names[k] = tlv_dataset_class_name(d, k);
    tlv_model_set_class_names(c, m, names);
    free(names);
    return tlv_error(c);
}

/* ---- verdicts -------------------------------------------------------------------------------- */

static int64_t image_of(const cli_verdicts *v, int64_t i) { return v->index ? v->index[i] : i; }

/* The truth as the model counts its classes; -1: unknown. */
static int truth(const cli_verdicts *v, int64_t i)
{
    int label = tlv_dataset_label(v->d, image_of(v, i));
    return label < 0 ? -1 : label + v->first_class;
}

static int answer(const cli_verdicts *v, int64_t i)
{
    const float *p = v->prob + i * v->classes;
    int best = 0;
    for (int k = 1; k < v->classes; k++)
        if (p[k] > p[best]) best = k;
    return best;
}

static void row_of(const cli_verdicts *v, int k, int64_t *n, int64_t *right)
{
    *n = 0;
    for (int j = 0; j < v->classes; j++) *n += v->confusion[k * v->classes + j];
    *right = v->confusion[k * v->classes + k];
}

/* The classes that have images, weakest first; their number. */
static int by_accuracy(const cli_verdicts *v, int64_t *order)
{
    int count = 0;
    for (int k = 0; k < v->classes; k++) {
        int64_t n, right, at = count;
        row_of(v, k, &n, &right);
        if (n == 0) continue;
        for (; at > 0; at--) {                          // few classes: insertion is enough
            int64_t m, hit;
            row_of(v, (int)order[at - 1], &m, &hit);
            if (hit * n <= right * m) break;
            order[at] = order[at - 1];
        }
        order[at] = k;
        count++;
    }
    return count;
}

void cli_print_classes(FILE *f, const cli_verdicts *v, int most)
{
    int64_t *order = cli_numbers(v->classes), n, right;
    int count = by_accuracy(v, order);
    fprintf(f, "%-24s %8s %8s %9s\n", count > most ? "class (the weakest)" : "class", "images",
            "right", "accuracy");
    for (int i = 0, k = 0; i < (count > most ? most : v->classes); i++) {
        k = count > most ? (int)order[i] : i;
        row_of(v, k, &n, &right);
        char name[40];
        if (n > 0)
            fprintf(f, "%-24s %8lld %8lld %9.3f\n", cli_clean(v->names[k], name, sizeof name),
                    (long long)n, (long long)right, (double)right / (double)n);
    }
    free(order);
}

/* The wrong answers that had most probability: their places in v, surest first. */
static int worst_errors(const cli_verdicts *v, int64_t out[WORST])
{
    int count = 0;
    for (int64_t i = 0; i < v->n; i++) {
        int says = answer(v, i);
        if (says == truth(v, i)) continue;
        float p = v->prob[i * v->classes + says];
        int at = count < WORST ? count++ : WORST;
        for (; at > 0; at--) {
            int64_t before = out[at - 1];
            if (v->prob[before * v->classes + answer(v, before)] >= p) break;
            if (at < WORST) out[at] = before;
        }
        if (at < WORST) out[at] = i;
    }
    return count;
}

static const char *file_name(const cli_verdicts *v, int64_t i, char *buf, size_t n)
{
    const char *path = tlv_dataset_path(v->d, image_of(v, i));
    const char *slash = path ? strrchr(path, '/') : NULL;
    if (path) snprintf(buf, n, "%.60s", slash ? slash + 1 : path);
    else snprintf(buf, n, "image %lld", (long long)image_of(v, i));
    return buf;
}

static int draw_worst(tlv_ctx *c, const cli_verdicts *v, const char *path)
{
    int64_t at[WORST];
    int n = worst_errors(v, at), status = CLI_OK, ready = 0;
    tlv_image image[WORST];
    cli_cell cell[WORST];
    char line[WORST][2][128], name[80], title[80];
    for (; ready < n; ready++) {
        int64_t i = at[ready], k = image_of(v, i);
        int says = answer(v, i);
        if (tlv_dataset_image(c, v->d, k, &image[ready]) != TLV_OK) break;
        snprintf(line[ready][0], sizeof line[0][0], "%.60s: no, %.40s", v->names[says],
                 v->names[truth(v, i)]);
        snprintf(line[ready][1], sizeof line[0][1], "%.1f %% %s",
                 100 * (double)v->prob[i * v->classes + says],
                 file_name(v, i, name, sizeof name));
        cell[ready] = (cli_cell){ &image[ready], { line[ready][0], line[ready][1] },
                                  { 213, 94, 0 } };
    }
    snprintf(title, sizeof title, n ? "the surest of the wrong answers" : "no wrong answers");
    status = ready < n ? cli_fail(c) : cli_plot_grid(c, path, title, n, cell);
    while (ready > 0) tlv_image_close(&image[--ready]);
    return status;
}

/* Accuracy of the classes with its interval, the weakest first, as bars. */
static int draw_classes(tlv_ctx *c, const cli_verdicts *v, const char *path)
{
    enum { MOST = 40 };
    int64_t *order = cli_numbers(v->classes), n, right;
    int count = by_accuracy(v, order);
    if (count > MOST) count = MOST;
    const char *name[MOST];
    double share[MOST], lo[MOST], hi[MOST];
    for (int i = 0; i < count; i++) {
        row_of(v, (int)order[i], &n, &right);
        name[i] = v->names[order[i]];
        share[i] = (double)right / (double)n;
        cli_interval(right, n, &lo[i], &hi[i]);
    }
    free(order);
    return cli_plot_bars(c, path, "accuracy of the classes, the weakest first", count, name, share,
                         lo, hi);
}

int cli_draw_verdicts(tlv_ctx *c, const cli_verdicts *v, const char *dir, const char *title)
{
    char path[PATH + 32], text[200];
    snprintf(text, sizeof text, "%s, %s images", title, cli_count(v->n).s);
    snprintf(path, sizeof path, "%.*s/confusion.png", PATH, dir);
    int status = cli_plot_matrix(c, path, text, v->classes, v->names, v->confusion);
    if (status != CLI_OK) return status;
    snprintf(path, sizeof path, "%.*s/classes.png", PATH, dir);
    if ((status = draw_classes(c, v, path)) != CLI_OK) return status;
    snprintf(path, sizeof path, "%.*s/worst.png", PATH, dir);
    return draw_worst(c, v, path);
}

/* "a ""quoted"" name" where a comma, a quote or a line's end would break the table. */
void cli_put_field(FILE *f, const char *s)
{
    if (!strpbrk(s, ",\"\n\r")) {
        fputs(s, f);
        return;
    }
    fputc('"', f);
    for (; *s; s++) {
        if (*s == '"') fputc('"', f);
        fputc(*s, f);
    }
    fputc('"', f);
}

int cli_write_verdicts(const cli_verdicts *v, const char *dir)
{
    char path[PATH + 32];
    snprintf(path, sizeof path, "%.*s/predictions.csv", PATH, dir);
    FILE *f = fopen(path, "w");
    if (!f) return cli_error("is the disk full?", "%s: %s", path, strerror(errno));
    fprintf(f, "image,label,answer,probability,right\n");
    for (int64_t i = 0; i < v->n; i++) {
        int says = answer(v, i), label = truth(v, i);
        const char *file = tlv_dataset_path(v->d, image_of(v, i));
        if (file) cli_put_field(f, file);
        else fprintf(f, "%lld", (long long)image_of(v, i));
        fputc(',', f);
        cli_put_field(f, label >= 0 ? v->names[label] : "");
        fputc(',', f);
        cli_put_field(f, v->names[says]);
        fprintf(f, ",%.6g,%d\n", (double)v->prob[i * v->classes + says], says == label);
    }
    int bad = ferror(f);
    return fclose(f) != 0 || bad ? cli_error("is the disk full?", "%s: %s", path, strerror(errno))
                                 : CLI_OK;
}
