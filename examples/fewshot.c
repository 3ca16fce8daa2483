/* fewshot.c -- tlv-fewshot: a few images of each of your classes, and a learner of tlv-meta.
 *
 * What happens, in order: the learner, your folder of images, and then, for each of some draws: a
 * few images of each class to learn from, others to be judged by.  Four ways to use them stand side
 * by side: what the learner learned to do; a linear probe on its network's features; fine-tuning
 * that network; and the same network from nothing.  With --predict the classes of single images.
 *
 * Where batch norms take their statistics from the batch, each image is judged in a batch with the
 * images that were learned from, and without the others: an answer depends on nothing else. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "examples/common_meta.h"
#include "examples/common_task.h"

typedef struct options {
    const char *data, *weights, *predict, *json;
    const char *const *more;                    /* images to predict besides */
    int64_t n_more, shot, queries, repeats, steps, seed, threads;
    double lr;
    int invert;
} options;

typedef enum way { LEARNED, PROBE, TUNED, SCRATCH, WAYS } way;

typedef struct job {
    options o;
    FILE *f;                                    /* for people */
    tlv_ctx *c;
    tlv_dataset *d;
    tlv_model *m;
    tlv_meta *l;
    tlv_image *image;                           /* [n]: as the network takes them */
    int64_t n;
    int classes;
    int64_t *at, n_support, n_query;            /* of a draw: images to learn from, then to judge */
    double *share;                              /* [WAYS][repeats] */
    int64_t judged, right[WAYS];
    double seconds[WAYS];
} job;

static options parse(int argc, char **argv)
{
    options o = { .shot = 5, .queries = 20, .repeats = 10, .steps = 100, .lr = 1e-3 };
    const cli_option table[] = {
        CLI_OPT_WEIGHTS(o.weights),
        { "--shot", CLI_INT, &o.shot, "N", "images a class to learn from; 0: all (--predict)", 0,
          1e6 },
        { "--queries", CLI_INT, &o.queries, "N", "images a class to judge; 0: all others", 0, 1e6 },
        { "--repeats", CLI_INT, &o.repeats, "N", "draws of these images", 1, 1e4 },
        { "--steps", CLI_INT, &o.steps, "N", "of fine-tuning and from nothing", 1, 1e6 },
        { "--lr", CLI_REAL, &o.lr, "X", "their rate (Adam)", 0, 1e6 },
        { "--invert", CLI_FLAG, &o.invert, NULL, "dark ink on white: light becomes dark", 0, 0 },
        { "--predict", CLI_TEXT, &o.predict, "IMAGE", "say its class (and of further IMAGEs)", 0,
          0 },
        CLI_OPT_SEED(o.seed), CLI_OPT_THREADS(o.threads), CLI_OPT_JSON(o.json), { 0 },
    };
    const cli_spec spec = {
        "tlv-fewshot", "learn your classes from a few images of each", "FOLDER [IMAGE...]", 1,
        1000000, "tlv-fewshot letters/ --weights runs/meta-001/best.safetensors --shot 5", table,
    };
    int n = cli_parse(&spec, argc, argv);
    o.data = argv[1];
    o.more = (const char *const *)argv + 2;
    o.n_more = n - 1;
    if (o.n_more && !o.predict) cli_usage(&spec, "'%s' is one argument too many", argv[2]);
    if (!o.weights) cli_usage(&spec, "--weights FILE is missing: a learner of tlv-meta");
    if (o.shot == 0 && !o.predict) cli_usage(&spec, "--shot 0 leaves no image to judge by");
    return o;
}

/* ---- images ---------------------------------------------------------------------------------- */

static void invert(tlv_image *m)
{
    uint8_t *v = m->samples;
    for (size_t i = 0; i < m->bytes; i++) v[i] = (uint8_t)(255 - v[i]);
}

/* Image i as the network takes it, but for its mean and deviation. */
static tlv_status prepare(const job *j, const tlv_dataset *d, int64_t i, tlv_image *out)
{
    tlv_image m;
    *out = (tlv_image){ 0 };
    if (tlv_dataset_image(j->c, d, i, &m) != TLV_OK) return tlv_error(j->c);
    tlv_image_prepare(&m, tlv_model_recipe(j->m), NULL, (tlv_rng_key){ 0 }, out);
    tlv_image_close(&m);
    if (!out->samples) return tlv_error(j->c);
    if (j->o.invert) invert(out);
    if (tlv_model_about(j->m)->channels == 1 && tlv_image_convert(out, TLV_GREY) == TLV_OK)
        tlv_image_convert(out, TLV_RGB);                // three channels alike
    return tlv_error(j->c);
}

/* [n,C,S,S] of images index[0 .. n-1], of the innermost scope. */
static tlv_tensor *images(const job *j, const tlv_image *image, const int64_t *index, int64_t n)
{
    const tlv_recipe *r = tlv_model_recipe(j->m);
    int64_t side = r->size, size = side * side * 3;
    float *v = malloc((size_t)(n * size) * sizeof *v);
    if (!v) {
        tlv_fail(j->c, TLV_ERR_NOMEM, NULL, "no memory for %lld images", (long long)n);
        return NULL;
    }
    for (int64_t i = 0; i < n; i++)
        tlv_image_normalize(&image[index ? index[i] : i], r, v + i * size);
    tlv_tensor *x = tlv_from_hwc(j->c, TLV_F32, n, side, side, 3, v);
    free(v);
    return tlv_model_about(j->m)->channels == 1 ? tlv_slice(j->c, x, 1, 0, 1, 1) : x;
}

static tlv_tensor *labels(const job *j, const int64_t *index, int64_t n)
{
    tlv_tensor *y = tlv_empty(j->c, TLV_I32, TLV_SHAPE(n));
    int32_t *v = y ? tlv_fill_ptr(j->c, y) : NULL;
    for (int64_t i = 0; v && i < n; i++) v[i] = tlv_dataset_label(j->d, index[i]);
    return y;
}

/* Draws j->o.shot images of each class, and up to j->o.queries others: at[0 .. n_support-1] to
 * learn from, then n_query. */
static int draw(job *j, int64_t repeat)
{
    tlv_rng_key key = tlv_rng_fold(tlv_rng_stream(j->c, "shots"), (uint64_t)repeat);
    int64_t *mine = cli_numbers(j->n), *query = cli_numbers(j->n);
    j->n_support = j->n_query = 0;
    for (int k = 0; k < j->classes; k++) {
        int64_t n = 0;
        for (int64_t i = 0; i < j->n; i++)
            if (tlv_dataset_label(j->d, i) == k) mine[n++] = i;
        tlv_rng_shuffle(tlv_rng_fold(key, (uint64_t)k), n, mine);
        int64_t shot = j->o.shot == 0 || j->o.shot > n ? n : j->o.shot;
        int64_t to = j->o.queries == 0 || shot + j->o.queries > n ? n : shot + j->o.queries;
        for (int64_t i = 0; i < to; i++)
            if (i < shot) j->at[j->n_support++] = mine[i];
            else query[j->n_query++] = mine[i];
    }
    memcpy(j->at + j->n_support, query, (size_t)j->n_query * sizeof *query);
    free(mine);
    free(query);
    if (j->n_query || j->o.predict) return CLI_OK;
    return cli_error("take a smaller --shot, or more images", "no class has more than %lld images",
                     (long long)j->o.shot);
}

/* ---- four ways ------------------------------------------------------------------------------- */

typedef tlv_tensor *(*net_fn)(const tlv_run *r, const tlv_model *m, const tlv_tensor *x);

static int uses_batch(const job *j) { return tlv_meta_options(j->l)->bn != TLV_META_BN_RUNNING; }

/* fn of n images x, row after row into out [n,dim]. */
static void rows(const job *j, const tlv_model *m, net_fn fn, const tlv_tensor *support,
                 const tlv_tensor *x, float *out, int dim)
{
    tlv_ctx *c = j->c;
    tlv_run r = tlv_model_run(c, m, uses_batch(j) ? TLV_TRAIN : TLV_EVAL);
    int64_t n = x ? tlv_dim(x, 0) : 0;
    for (int64_t i = 0; i < n && !tlv_error(c); i++) {
        tlv_scope s = tlv_scope_begin_with(c, TLV_NO_GRAD);
        const tlv_tensor *both[2] = { support, tlv_slice(c, x, 0, i, i + 1, 1) };
        tlv_tensor *y = fn(&r, m, uses_batch(j) ? tlv_cat(c, 2, both, 0) : both[1]);
        if (y) y = tlv_slice(c, y, 0, tlv_dim(y, 0) - 1, tlv_dim(y, 0), 1);     // the last row
        if (y) tlv_read(c, y, out + i * dim, dim);
        tlv_scope_end(c, s);
    }
}

/* How many of n rows of logits [n,classes] have their largest number at the label. */
static int64_t count_right(const job *j, const float *logits, const int64_t *index, int64_t n)
{
    int64_t right = 0;
    for (int64_t i = 0; i < n; i++) {
        const float *v = logits + i * j->classes;
        int best = 0;
        for (int k = 1; k < j->classes; k++)
            if (v[k] > v[best]) best = k;
        right += best == tlv_dataset_label(j->d, index[i]);
    }
    return right;
}

/* What was learned to do with the support set; logits [n,classes] of images x into out. */
static void learned(const job *j, const tlv_tensor *support, const tlv_tensor *y,
                    const tlv_tensor *x, float *out)
{
    tlv_tensor *v = tlv_meta_predict(j->l, support, y, j->classes, x, 1);
    if (v) tlv_read(j->c, v, out, tlv_numel(v));
}

/* Adam on all images at once; batch norms as in the learner's training. */
static void tune(const job *j, tlv_model *m, const tlv_tensor *x, const tlv_tensor *y)
{
    tlv_ctx *c = j->c;
    tlv_params *p = tlv_model_params(m);
    tlv_adam_opts o = tlv_adam_defaults();
    o.lr = j->o.lr;
    tlv_optim *opt = tlv_adam_open(c, p, o);
    tlv_stats *stats = tlv_stats_open(c);
    for (int64_t k = 0; k < j->o.steps && !tlv_error(c); k++) {
        tlv_scope s = tlv_scope_begin(c);
        tlv_run r = tlv_model_run(c, m, TLV_TRAIN);
        r.stats = stats;
        r.step = (uint64_t)k;
        tlv_tensor *loss = tlv_cross_entropy(c, tlv_model_forward(&r, m, x), y, (tlv_ce_opts){ 0 });
        tlv_optim_step(c, opt, p, loss ? tlv_params_grad(c, loss, p, 0) : NULL);
        tlv_run_apply_stats(&r, p);
        tlv_scope_end(c, s);
    }
    tlv_stats_close(stats);
    tlv_optim_close(opt);
}

/* The learner's network with its learned start, or with random numbers, and a fresh head. */
static tlv_model *network(const job *j, int random)
{
    const tlv_model_info *a = tlv_model_about(j->m);
    tlv_model *m = NULL;
    if (random) {
        tlv_model_opts o = { .classes = j->classes, .width = a->width, .channels = a->channels,
                             .size = tlv_model_recipe(j->m)->size };
        if (a->padding == TLV_PADDING_SAME) o.padding = a->padding;
        return cli_meta_network(j->c, a->arch, o, 0);
    }
    tlv_meta *l = tlv_meta_load(j->c, j->o.weights, &m);
    if (l) tlv_meta_to_model(l, m);
    tlv_meta_close(l);
    if (m && tlv_model_new_head(j->c, m, j->classes) == TLV_OK) return m;
    tlv_model_close(m);
    return NULL;
}

/* The penalty by cross-validation; one image a class cannot be cross-validated. */
static int64_t probe(const job *j, const tlv_tensor *support, const tlv_tensor *x, float *out)
{
    tlv_ctx *c = j->c;
    int dim = tlv_model_dim(j->m);
    size_t n = (size_t)(j->n_support + j->n_query);
    int32_t *label = malloc(n * sizeof *label);
    if (!label) {
        tlv_fail(c, TLV_ERR_NOMEM, NULL, "no memory for %zu labels", n);
        return 0;
    }
    for (size_t i = 0; i < n; i++) label[i] = tlv_dataset_label(j->d, j->at[i]);
    tlv_run r = tlv_model_run(c, j->m, uses_batch(j) ? TLV_TRAIN : TLV_EVAL);
    tlv_scope s = tlv_scope_begin_with(c, TLV_NO_GRAD);
    tlv_tensor *h = tlv_model_features(&r, j->m, support);
    if (h) tlv_read(c, h, out, tlv_numel(h));
    tlv_scope_end(c, s);
    rows(j, j->m, tlv_model_features, support, x, out + j->n_support * dim, dim);
    tlv_features f = { c, j->n_support, dim, j->classes, out, label, j->n_support }, q = f;
    q.n = q.room = j->n_query;
    q.x = out + j->n_support * dim;
    q.label = label + j->n_support;
    tlv_probe_opts o = { .key = tlv_rng_stream(c, "folds") };
    if (j->o.shot == 1) o.l2 = 1e-2;
    else if (j->o.shot < 5) o.folds = (int)j->o.shot;
    tlv_probe p = { 0 };
    tlv_score score = { 0 };
    if (tlv_probe_fit(c, &f, o, &p, NULL) == TLV_OK)
        tlv_probe_predict(c, &p, &q, NULL, NULL, &score);
    tlv_probe_close(&p);
    free(label);
    return score.right;
}

/* One way on one draw; out has room for its rows.  The number of queries that it got right. */
static int64_t judge(const job *j, way w, const tlv_tensor *support, const tlv_tensor *y,
                     const tlv_tensor *x, float *out)
{
    if (w == PROBE) return probe(j, support, x, out);
    if (w == LEARNED) learned(j, support, y, x, out);
    else {
        tlv_model *m = network(j, w == SCRATCH);
        if (m) tune(j, m, support, y);
        if (m) rows(j, m, tlv_model_forward, support, x, out, j->classes);
        tlv_model_close(m);
    }
    return count_right(j, out, j->at + j->n_support, j->n_query);
}

/* All ways on one draw. */
static int repeat(job *j, int64_t r, cli_progress *line)
{
    if (draw(j, r) != CLI_OK) return CLI_FAILED;
    int dim = tlv_model_dim(j->m), most = dim > j->classes ? dim : j->classes;
    float *out = calloc((size_t)(j->n_support + j->n_query) * (size_t)most, sizeof *out);
    if (!out) return cli_error("close other programs", "no memory for the answers");
    tlv_scope s = tlv_scope_begin(j->c);
    tlv_tensor *support = images(j, j->image, j->at, j->n_support);
    tlv_tensor *y = labels(j, j->at, j->n_support);
    tlv_tensor *x = images(j, j->image, j->at + j->n_support, j->n_query);
    for (int w = 0; w < WAYS && !tlv_error(j->c) && !cli_interrupted(); w++) {
        double begin = cli_now();
        int64_t right = judge(j, (way)w, support, y, x, out);
        j->seconds[w] += cli_now() - begin;
        j->right[w] += right;
        j->share[w * j->o.repeats + r] = (double)right / (double)j->n_query;
        cli_progress_step(line, r * WAYS + w + 1, "draw %lld", (long long)r + 1);
    }
    j->judged += j->n_query;
    tlv_scope_end(j->c, s);
    free(out);
    return tlv_error(j->c) ? cli_fail(j->c) : cli_interrupted() ? CLI_INTERRUPTED : CLI_OK;
}

/* ---- results --------------------------------------------------------------------------------- */

/* Student's t, 97.5 %, for so many degrees of freedom. */
static double student(int64_t df)
{
    static const double T[] = { 12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365,
                                2.306,  2.262, 2.228, 2.201, 2.179, 2.160, 2.145,
                                2.131,  2.120, 2.110, 2.101, 2.093, 2.086 };
    int64_t n = sizeof T / sizeof T[0];
    return df <= n ? T[df - 1] : 1.96 + 2.5 / (double)df;
}

/* Mean accuracy over the draws and its 95 % interval: Student's; of one draw Wilson's. */
static double interval(const job *j, way w, double *lo, double *hi)
{
    const double *v = j->share + w * j->o.repeats;
    int64_t n = j->o.repeats;
    double mean = 0, off = 0;
    for (int64_t i = 0; i < n; i++) mean += v[i] / (double)n;
    for (int64_t i = 0; i < n; i++) off += (v[i] - mean) * (v[i] - mean);
    if (n == 1) {
        cli_interval(j->right[w], j->judged, lo, hi);
        return mean;
    }
    double half = student(n - 1) * sqrt(off / (double)(n - 1) / (double)n);
    *lo = fmax(0, mean - half);
    *hi = fmin(1, mean + half);
    return mean;
}

static const char *name_of(const job *j, way w, char text[80])
{
    const char *method = tlv_meta_method_name(tlv_meta_options(j->l)->method);
    if (w == LEARNED) snprintf(text, 80, "learned to learn (%s)", method);
    if (w == PROBE) snprintf(text, 80, "linear probe on its features");
    if (w == TUNED) snprintf(text, 80, "fine-tuned, %lld steps", (long long)j->o.steps);
    if (w == SCRATCH) snprintf(text, 80, "from nothing, %lld steps", (long long)j->o.steps);
    return text;
}

static void print_results(const job *j)
{
    char text[80];
    double lo, hi;
    fprintf(j->f, "\n%-28s %9s %18s %12s\n", "", "accuracy", "95 %", "s a draw");
    for (int w = 0; w < WAYS; w++) {
        double mean = interval(j, (way)w, &lo, &hi);
        fprintf(j->f, "%-28s %7.2f %%   [%6.2f, %6.2f] %12.3f\n", name_of(j, (way)w, text),
                100 * mean, 100 * lo, 100 * hi, j->seconds[w] / (double)j->o.repeats);
    }
    fprintf(j->f, "%-28s %7.2f %%\n", "chance", 100.0 / j->classes);
}

static int write_json(const job *j, double start)
{
    static const char *const KEY[WAYS] = { "learned", "probe", "fine-tuned", "scratch" };
    cli_json out = { 0 };
    double lo, hi;
    cli_json_real(&out, "accuracy", interval(j, LEARNED, &lo, &hi));
    cli_json_int(&out, "classes", j->classes);
    cli_json_int(&out, "shot", j->o.shot);
    cli_json_int(&out, "repeats", j->o.repeats);
    cli_json_int(&out, "n", j->judged);
    cli_json_text(&out, "arch", tlv_model_arch(j->m));
    cli_json_list(&out, "ways");
    for (int w = 0; w < WAYS; w++) {
        cli_json_row(&out);
        cli_json_text(&out, "way", KEY[w]);
        cli_json_real(&out, "accuracy", interval(j, (way)w, &lo, &hi));
        cli_json_real(&out, "lo", lo);
        cli_json_real(&out, "hi", hi);
        cli_json_real(&out, "seconds", j->seconds[w] / (double)j->o.repeats);
    }
    cli_json_list_end(&out);
    cli_json_costs(&out, j->c, start);
    return cli_json_write(&out, j->o.json);
}

static int compare(job *j, double start)
{
    cli_progress line;
    if (draw(j, 0) != CLI_OK) return CLI_FAILED;
    fprintf(j->f, "draws    %lld of %lld image%s a class to learn from, %s to be judged by%s\n",
            (long long)j->o.repeats, (long long)j->o.shot, j->o.shot == 1 ? "" : "s",
            cli_count(j->n_query).s, uses_batch(j) ? ", each without the others" : "");
    fflush(j->f);
    int status = CLI_OK;
    cli_catch_interrupt();
    cli_progress_begin(&line, j->f, "measure", j->o.repeats * WAYS);
    for (int64_t r = 0; r < j->o.repeats && status == CLI_OK; r++) status = repeat(j, r, &line);
    cli_progress_end(&line);
    if (status != CLI_OK) return status;
    print_results(j);
    return write_json(j, start);
}

/* ---- single images --------------------------------------------------------------------------- */

/* A line an image on standard output: path, class, probability. */
static void print_answers(const job *j, const tlv_dataset *d, const float *prob, cli_json *out)
{
    FILE *f = j->o.json && strcmp(j->o.json, "-") == 0 ? stderr : stdout;
    cli_json_list(out, "predictions");
    for (int64_t i = 0; i < tlv_dataset_size(d); i++) {
        const float *p = prob + i * j->classes;
        int best = 0;
        for (int k = 1; k < j->classes; k++)
            if (p[k] > p[best]) best = k;
        const char *name = tlv_dataset_class_name(j->d, best);
        fprintf(f, "%s\t%s\t%.4f\n", tlv_dataset_path(d, i), name, (double)p[best]);
        cli_json_row(out);
        cli_json_text(out, "image", tlv_dataset_path(d, i));
        cli_json_text(out, "label", name);
        cli_json_real(out, "probability", (double)p[best]);
    }
    cli_json_list_end(out);
}

/* Probabilities [n,classes] of the images of d after learning from a draw; 0 after an error. */
static int answer(job *j, const tlv_dataset *d, tlv_image *image, float *prob)
{
    tlv_ctx *c = j->c;
    int64_t n = tlv_dataset_size(d);
    for (int64_t i = 0; i < n; i++)
        if (prepare(j, d, i, &image[i]) != TLV_OK) return 0;
    tlv_scope s = tlv_scope_begin(c);
    tlv_tensor *support = images(j, j->image, j->at, j->n_support);
    tlv_tensor *y = labels(j, j->at, j->n_support), *x = images(j, image, NULL, n);
    tlv_tensor *v = x ? tlv_meta_predict(j->l, support, y, j->classes, x, 1) : NULL;
    if (v) v = tlv_softmax(c, v, 1);
    if (v) tlv_read(c, v, prob, tlv_numel(v));
    tlv_scope_end(c, s);
    return tlv_error(c) == TLV_OK;
}

static int predict(job *j, double start)
{
    int64_t n = 1 + j->o.n_more;
    const char **path = malloc((size_t)n * sizeof *path);
    tlv_image *image = calloc((size_t)n, sizeof *image);
    float *prob = calloc((size_t)n * (size_t)j->classes, sizeof *prob);
    tlv_dataset *d = NULL;
    cli_json out = { 0 };
    int status = CLI_FAILED;
    if (path && image && prob) {
        path[0] = j->o.predict;
        for (int64_t i = 1; i < n; i++) path[i] = j->o.more[i - 1];
        d = tlv_dataset_from_files(j->c, n, path);
        draw(j, 0);
        if (d && answer(j, d, image, prob)) {
            print_answers(j, d, prob, &out);
            cli_json_int(&out, "n", n);
            cli_json_costs(&out, j->c, start);
            status = cli_json_write(&out, j->o.json);
        } else cli_fail(j->c);
    } else cli_error("close other programs", "no memory for %lld images", (long long)n);
    for (int64_t i = 0; image && i < n; i++) tlv_image_close(&image[i]);
    tlv_dataset_close(d);
    free(prob);
    free(image);
    free(path);
    return status;
}

/* ---- all of it ------------------------------------------------------------------------------- */

static int run(job *j, double start)
{
    j->l = tlv_meta_load(j->c, j->o.weights, &j->m);
    if (!j->l || tlv_meta_to_model(j->l, j->m) != TLV_OK) return cli_fail(j->c);
    cli_print_learner(j->f, j->l, j->m);
    cli_print_meta_input(j->f, j->m, j->o.invert);
    j->d = cli_images(j->c, "data", j->o.data, "train", 0, j->f, NULL);
    j->n = tlv_dataset_size(j->d);
    j->classes = tlv_dataset_classes(j->d);
    if (j->classes < 2)
        return cli_error("put the images of each class into a folder of its own: DIR/CLASS/FILE",
                         "%s: %d class%s, at least two are needed", j->o.data, j->classes,
                         j->classes == 1 ? "" : "es");
    j->at = cli_numbers(j->n);
    j->image = calloc((size_t)j->n, sizeof *j->image);
    j->share = calloc((size_t)(WAYS * j->o.repeats), sizeof *j->share);
    if (!j->image || !j->share) return cli_error("close other programs", "no memory for images");
    for (int64_t i = 0; i < j->n; i++)
        if (prepare(j, j->d, i, &j->image[i]) != TLV_OK) return cli_fail(j->c);
    return j->o.predict ? predict(j, start) : compare(j, start);
}

int main(int argc, char **argv)
{
    double start = cli_now();
    job j = { .o = parse(argc, argv) };
    j.c = cli_open(j.o.threads, j.o.seed);
    j.f = j.o.predict ? stderr : cli_text_stream(j.o.json);
    int status = run(&j, start);
    for (int64_t i = 0; j.image && i < j.n; i++) tlv_image_close(&j.image[i]);
    free(j.image);
    free(j.share);
    free(j.at);
    tlv_dataset_close(j.d);
    tlv_meta_close(j.l);
    tlv_model_close(j.m);
    tlv_ctx_close(j.c);
    return cli_finish(status);
}
