/* demo.c -- tlv-demo: a first look.  A small network learns ten drawn shapes from nothing, in
 * seconds, and shows what it makes of new ones.  No files are read or written. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "examples/common.h"

enum {
    PER_CLASS = 1000, TEST_PER_CLASS = 100, CLASSES = 10, SIDE = 32, BATCH = 64, EPOCHS = 10,
    STAGES = 3, SHOWN = 10, A_ROW = 5, WIDE = 16, HIGH = 8          /* characters of a picture */
};

/* ---- the network: three times convolution, batch norm, ReLU; the mean; ten scores ----------- */

typedef struct net {
    tlv_conv_layer conv[STAGES];
    tlv_bn_layer bn[STAGES];
    tlv_linear_layer head;
} net;

static tlv_params *build(tlv_ctx *c, net *m)
{
    static const int channels[STAGES + 1] = { 3, 16, 32, 48 };
    tlv_build *b = tlv_build_begin(c, TLV_F32);
    for (int i = 0; i < STAGES; i++) {
        char name[2][8];
        snprintf(name[0], sizeof name[0], "conv%d", i + 1);
        snprintf(name[1], sizeof name[1], "bn%d", i + 1);
        int k = i == 0 ? 5 : 3, pad = k / 2;
        tlv_conv2d_opts o = { .stride = 2, .pad = { pad, pad, pad, pad } };
        m->conv[i] = tlv_conv_init(b, name[0], channels[i], channels[i + 1], k, o, 0);
        m->bn[i] = tlv_bn_init(b, name[1], channels[i + 1]);
    }
    m->head = tlv_linear_init(b, "head", channels[STAGES], CLASSES, 1);
    return tlv_build_end(b);
}

/* x [B,3,32,32] -> scores [B,10] */
static tlv_tensor *forward(const tlv_run *r, const net *m, const tlv_tensor *x)
{
    tlv_scope s = tlv_scope_begin(r->c);
    tlv_tensor *h = NULL;                                   // [B,16,16,16] [B,32,8,8] [B,48,4,4]
    for (int i = 0; i < STAGES; i++)
        h = tlv_conv_bn_fwd(r, &m->conv[i], &m->bn[i], h ? h : x, NULL, TLV_ACT_RELU);
    h = tlv_global_avg_pool(r->c, h);                                                   // [B,48]
    return tlv_scope_end_keep(r->c, s, tlv_linear_fwd(r, &m->head, h, TLV_ACT_NONE));   // [B,10]
}

/* ---- learning -------------------------------------------------------------------------------- */

typedef struct lesson {
    tlv_ctx *c;
    net m;
    tlv_params *p;
    tlv_optim *opt;
    tlv_stats *stats;
    tlv_dataset *train, *test;
    int64_t *order, steps, step;            /* steps in all, steps done */
} lesson;

static tlv_batch_opts input(void)
{
    tlv_recipe r = { .size = SIDE, .mean = { .5, .5, .5 }, .std = { .25, .25, .25 } };
    return (tlv_batch_opts){ .recipe = r };
}

/* One step on images order[from .. from + n - 1]: the loss, its gradients, new parameters. */
static double learn(lesson *l, int64_t from, int64_t n)
{
    tlv_ctx *c = l->c;
    tlv_run r = { .c = c, .params = l->p, .mode = TLV_TRAIN, .stats = l->stats };
    tlv_scope s = tlv_scope_begin(c);
    tlv_batch b = tlv_dataset_batch(c, l->train, l->order, from, n, input());
    tlv_tensor *scores = forward(&r, &l->m, b.x);
    tlv_tensor *loss = tlv_cross_entropy(c, scores, b.y, (tlv_ce_opts){ 0 });
    double value = loss ? tlv_item(c, loss) : 0;
    tlv_optim_set_lr(l->opt, tlv_lr_one_cycle(0.02, l->step, l->steps, 0.25, 10, 100));
    tlv_optim_step(c, l->opt, l->p, tlv_params_grad(c, loss, l->p, 0));
    tlv_run_apply_stats(&r, l->p);
    tlv_scope_end(c, s);
    l->step++;
    return value;
}

/* Guesses for test images from .. from + n - 1, with how sure the network is. */
static void guess(lesson *l, int64_t from, int64_t n, int32_t *label, float *sure)
{
    tlv_ctx *c = l->c;
    tlv_run r = { .c = c, .params = l->p, .mode = TLV_EVAL };
    tlv_scope s = tlv_scope_begin_with(c, TLV_NO_GRAD);
    int64_t index[BATCH];
    for (int64_t i = 0; i < n; i++) index[i] = from + i;
    tlv_batch b = tlv_dataset_batch(c, l->test, index, 0, n, input());
    tlv_tensor *p = tlv_softmax(c, forward(&r, &l->m, b.x), 1);                 // [n,10]
    tlv_tensor *most = p ? tlv_max(c, p, TLV_AXES(1), 0) : NULL;                // [n]
    tlv_tensor *which = p ? tlv_argmax(c, p, 1, 0) : NULL;                      // [n]
    if (which) tlv_read(c, which, label, n);
    if (most) tlv_read(c, most, sure, n);
    tlv_scope_end(c, s);
}

static double accuracy(lesson *l)
{
    int64_t n = tlv_dataset_size(l->test), right = 0;
    for (int64_t at = 0; at < n; at += BATCH) {
        int32_t label[BATCH] = { 0 };
        float sure[BATCH];
        int64_t k = n - at < BATCH ? n - at : BATCH;
        guess(l, at, k, label, sure);
        for (int64_t i = 0; i < k; i++) right += label[i] == tlv_dataset_label(l->test, at + i);
    }
    return (double)right / (double)n;
}

static void train(lesson *l)
{
    int64_t n = tlv_dataset_size(l->train);
    tlv_rng_key shuffles = tlv_rng_stream(l->c, "order");
    printf("\nepoch      loss  accuracy on new shapes    images/s\n");
    for (int epoch = 1; epoch <= EPOCHS && !tlv_error(l->c); epoch++) {
        char label[32];
        snprintf(label, sizeof label, "%5d", epoch);
        cli_progress line;
        cli_progress_begin(&line, stdout, label, n);
        double start = cli_now(), sum = 0;
        for (int64_t i = 0; i < n; i++) l->order[i] = i;
        tlv_rng_shuffle(tlv_rng_fold(shuffles, (uint64_t)epoch), n, l->order);
        for (int64_t at = 0; at < n; at += BATCH) {
            int64_t k = n - at < BATCH ? n - at : BATCH;
            sum += (double)k * learn(l, at, k);
            cli_progress_step(&line, at + k, "loss %.3f", sum / (double)(at + k));
        }
        double speed = (double)n / (cli_now() - start), share = accuracy(l);
        cli_progress_end(&line);
        printf("%5d  %8.4f  %22.1f %%  %8.0f\n", epoch, sum / (double)n, 100 * share, speed);
        fflush(stdout);
    }
}

/* ---- pictures in characters ------------------------------------------------------------------ */

static int in_color(void)
{
    const char *term = getenv("TERM");
    return isatty(STDOUT_FILENO) && !getenv("NO_COLOR") && term && strcmp(term, "dumb") != 0;
}

/* The mean of the pixels under half a character: 2 x 2 of them (top or bottom half). */
static void cell(const uint8_t *px, int x, int y, int rgb[3])
{
    for (int k = 0; k < 3; k++) {
        const uint8_t *at = px + (2 * y * SIDE + 2 * x) * 3 + k;
        rgb[k] = (at[0] + at[3] + at[3 * SIDE] + at[3 * SIDE + 3] + 2) / 4;
    }
}

static void color_row(const uint8_t *px, int row)
{
    for (int x = 0; x < WIDE; x++) {
        int top[3], low[3];
        cell(px, x, 2 * row, top);
        cell(px, x, 2 * row + 1, low);
        printf("\033[38;2;%d;%d;%dm\033[48;2;%d;%d;%dm\xe2\x96\x80", top[0], top[1], top[2], low[0],
               low[1], low[2]);                             // a block in the upper half
    }
    printf("\033[0m");
}

/* How far the colours under a character are from the picture's corner, the ground. */
static void plain_row(const uint8_t *px, int row)
{
    static const char ramp[] = " .:-=+*#%@";
    for (int x = 0; x < WIDE; x++) {
        int top[3], low[3], far = 0;
        cell(px, x, 2 * row, top);
        cell(px, x, 2 * row + 1, low);
        for (int k = 0; k < 3; k++) far += abs((top[k] + low[k]) / 2 - px[k]);
        int shade = far / 24;
        putchar(ramp[shade < 9 ? shade : 9]);
    }
}

static void show(lesson *l)
{
    int32_t label[SHOWN] = { 0 };
    float sure[SHOWN] = { 0 };
    guess(l, 0, SHOWN, label, sure);
    int color = in_color();
    for (int first = 0; first < SHOWN; first += A_ROW) {
        printf("\n");
        for (int row = 0; row < HIGH; row++) {
            for (int i = first; i < first + A_ROW; i++) {
                const uint8_t *px = tlv_dataset_pixels(l->test, i);
                printf("%s", i > first ? "  " : "");
                if (color) color_row(px, row);
                else plain_row(px, row);
            }
            printf("\n");
        }
        for (int i = first; i < first + A_ROW; i++) {
            char text[64];
            const char *says = tlv_dataset_class_name(l->test, label[i]);
            int is = tlv_dataset_label(l->test, i);
            if (label[i] == is) snprintf(text, sizeof text, "%s %.0f %%", says, 100 * sure[i]);
            else snprintf(text, sizeof text, "%s? %s!", says, tlv_dataset_class_name(l->test, is));
            printf("%-*s%s", WIDE, text, i + 1 < first + A_ROW ? "  " : "\n");
        }
    }
}

/* ---- all of it ------------------------------------------------------------------------------- */

static int open_lesson(lesson *l)
{
    char what[2][32];
    snprintf(what[0], sizeof what[0], "shapes:%d", PER_CLASS);
    snprintf(what[1], sizeof what[1], "shapes:%d", TEST_PER_CLASS);
    l->train = tlv_dataset_open(l->c, what[0], "train");
    l->test = tlv_dataset_open(l->c, what[1], "test");
    l->p = build(l->c, &l->m);
    if (tlv_error(l->c)) return 0;
    tlv_adam_opts o = tlv_adamw_defaults();
    l->opt = tlv_adam_open(l->c, l->p, o);
    l->stats = tlv_stats_open(l->c);
    l->order = calloc(PER_CLASS * CLASSES, sizeof *l->order);
    l->steps = (int64_t)EPOCHS * ((PER_CLASS * CLASSES + BATCH - 1) / BATCH);
    return l->opt && l->stats && l->order;
}

static void close_lesson(lesson *l)
{
    free(l->order);
    tlv_stats_close(l->stats);
    tlv_optim_close(l->opt);
    tlv_params_close(l->p);
    tlv_dataset_close(l->train);
    tlv_dataset_close(l->test);
}

static int run(lesson *l, double start)
{
    tlv_ctx *c = l->c;
    if (!open_lesson(l)) return cli_fail(c);
    printf("libtlvision %s: a small network learns ten shapes, from nothing\n\n", tlv_version());
    printf("data     %s; the seed draws them\n", tlv_dataset_text(l->train));
    printf("         %s, others\n", tlv_dataset_text(l->test));
    printf("network  three convolutions with batch norm and ReLU, %s parameters, random at first\n",
           cli_count(tlv_params_numel(l->p, 0)).s);
    printf("train    AdamW, one cycle of the learning rate, %d epochs, batch %d\n", EPOCHS, BATCH);
    printf("run      %s, %d thread%s\n", tlv_isa(c), tlv_threads(c),
           tlv_threads(c) == 1 ? "" : "s");
    train(l);
    if (tlv_error(c)) return cli_fail(c);
    show(l);

    int64_t right = (int64_t)(accuracy(l) * (double)tlv_dataset_size(l->test) + 0.5);
    printf("\n%lld of %lld new shapes are right; %.1f s, %s of memory at most\n\nnext\n",
           (long long)right, (long long)tlv_dataset_size(l->test), cli_now() - start,
           cli_bytes((double)tlv_mem_get(c).peak).s);
    printf("  build/bin/learn-01_tensor_and_gradient            tensors, line by line\n");
    printf("  build/bin/tlv-finetune shapes:500 --arch resnet20 --optim adamw --epochs 8 \\\n"
           "      --val shapes:50                               a published network, 97 %%\n");
    printf("  build/bin/tlv-eval shapes:100 --weights runs/finetune-001/best.safetensors\n");
    return tlv_error(c) ? cli_fail(c) : CLI_OK;
}

int main(int argc, char **argv)
{
    double start = cli_now();
    int64_t threads = 0, seed = 0;
    const cli_option table[] = { CLI_OPT_THREADS(threads), CLI_OPT_SEED(seed), { 0 } };
    const cli_spec spec = { "tlv-demo", "a small network learns drawn shapes, in seconds", NULL, 0,
                            0, "tlv-demo", table };
    cli_parse(&spec, argc, argv);
    lesson l = { .c = cli_open(threads, seed) };
    int status = run(&l, start);
    close_lesson(&l);
    tlv_ctx_close(l.c);
    return cli_finish(status);
}
