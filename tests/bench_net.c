/* bench_net.c -- whole networks, a process a case, with the peak of its memory.
 *
 * NET/infer/bN             eval mode, batch norms applied while the convolutions store
 * NET/infer/bN/folded      batch norms folded into the weights beforehand
 * NET/train/bN             forward, cross entropy, backward, SGD with momentum, running statistics
 * NET/probe/bN             features of the frozen network, a step of AdamW on a new linear head
 * .../channels_last        the images come in the library's own order; without it they are planar
 * .../recompute            with TLV_RECOMPUTE_CHEAP
 * .../contended            while another process takes a core (resnet20 infer, resnet18 train)
 * startup/resnet20/b1      a process from its start to its first logits: seconds, and its memory */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/benchlib.h"

/* gflop: of one image forward, a product and a sum counted as two. */
typedef struct net { const char *name, *arch; double width; int batch, side; double gflop; } net;

static const net NETS[] = {
    { "resnet18", "resnet18", 0, 16, 224, 3.63 },
    { "resnet50", "resnet50", 0, 8, 224, 8.18 },
    { "mobilenet_v2", "mobilenet_v2", 1, 16, 224, 0.602 },
    { "resnet20", "resnet20", 0, 128, 32, 0.0816 },
    { "mobilenet_v2_035", "mobilenet_v2", 0.35, 16, 224, 0.118 },
    { "mobilenet_v2_035", "mobilenet_v2", 0.35, 32, 224, 0.118 },
};
enum { N_NETS = sizeof NETS / sizeof NETS[0] };

typedef enum job { INFER, TRAIN, PROBE, N_JOBS } job;

typedef struct net_case {
    const net *n;
    job job;
    int channels_last, folded, recompute, contended;
} net_case;

typedef struct data {
    tlv_model *m;
    tlv_optim *opt;
    tlv_params *head;
    tlv_stats *stats;
    tlv_run run;
    const tlv_tensor *x, *y;
} data;

/* ---- what is timed --------------------------------------------------------------------------- */

static void infer_body(tlv_ctx *c, void *arg)
{
    const data *d = arg;
    tlv_scope s = tlv_scope_begin_with(c, TLV_NO_GRAD);
    tlv_model_forward(&d->run, d->m, d->x);
    tlv_scope_end(c, s);
}

static void train_body(tlv_ctx *c, void *arg)
{
    const data *d = arg;
    tlv_params *p = tlv_model_params(d->m);
    tlv_scope s = tlv_scope_begin(c);
    tlv_tensor *logits = tlv_model_forward(&d->run, d->m, d->x);
    tlv_tensor *loss = tlv_cross_entropy(c, logits, d->y, (tlv_ce_opts){ 0 });
    tlv_optim_step(c, d->opt, p, tlv_params_grad(c, loss, p, 0));
    tlv_run_apply_stats(&d->run, p);
    tlv_scope_end(c, s);
}

static void probe_body(tlv_ctx *c, void *arg)
{
    const data *d = arg;
    tlv_scope s = tlv_scope_begin(c);
    tlv_scope frozen = tlv_scope_begin_with(c, TLV_NO_GRAD);
    tlv_tensor *f = tlv_scope_end_keep(c, frozen, tlv_model_features(&d->run, d->m, d->x));
    tlv_tensor *logits = tlv_linear(c, f, tlv_params_get(d->head, 0), tlv_params_get(d->head, 1),
                                    TLV_ACT_NONE);
    tlv_tensor *loss = tlv_cross_entropy(c, logits, d->y, (tlv_ce_opts){ 0 });
    tlv_optim_step(c, d->opt, d->head, tlv_params_grad(c, loss, d->head, 0));
    tlv_scope_end(c, s);
}

/* ---- a case ---------------------------------------------------------------------------------- */

static tlv_params *new_head(tlv_ctx *c, int dim)
{
    tlv_build *b = tlv_build_begin(c, TLV_F32);
    tlv_linear_init(b, "head", dim, 10, 1);
    return tlv_build_end(b);
}

static void open_job(bench *b, const net_case *k, data *d)
{
    tlv_params *p = tlv_model_params(d->m);
    d->run = tlv_model_run(b->c, d->m, k->job == TRAIN ? TLV_TRAIN : TLV_EVAL);
    if (k->job == TRAIN) {
        d->run.stats = d->stats = tlv_stats_open(b->c);
        d->opt = tlv_sgd_open(b->c, p, (tlv_sgd_opts){ .lr = 0.01, .momentum = 0.9 });
    } else if (k->job == PROBE) {
        tlv_params_freeze(p, "*");
        d->head = new_head(b->c, tlv_model_dim(d->m));
        tlv_adam_opts o = tlv_adamw_defaults();
        if (d->head) d->opt = tlv_adam_open(b->c, d->head, o);
    }
}

static void run(bench *b, const void *arg)
{
    static const bench_body_fn BODY[N_JOBS] = { infer_body, train_body, probe_body };
    const net_case *k = arg;
    const net *n = k->n;
    tlv_shape s = tlv_shape4(n->batch, 3, n->side, n->side);
    if (k->recompute) bench_context(b, (tlv_ctx_opts){ .recompute = TLV_RECOMPUTE_CHEAP });
    tlv_model_opts o = { .folded = k->folded, .width = n->width };
    if (n->width != 0 && n->width != 1) o.classes = 10, o.padding = TLV_PADDING_SAME;
    data d = { .m = tlv_model_open(b->c, n->arch, o), .x = bench_tensor(b, "x", s) };
    d.y = tlv_zeros(b->c, TLV_I32, tlv_shape1(n->batch));
    if (k->channels_last) d.x = tlv_to_order(b->c, d.x, TLV_CHANNELS_LAST);
    if (tlv_error(b->c)) return;
    open_job(b, k, &d);
    snprintf(b->note, sizeof b->note, "gflop=%.4g",
             n->gflop * n->batch * (k->job == TRAIN ? 3 : 1));
    b->rss = 1;
    b->contended = k->contended;
    bench_time(b, n->batch, "img/s", BODY[k->job], &d);
    tlv_optim_close(d.opt);
    tlv_stats_close(d.stats);
    tlv_params_close(d.head);
    tlv_model_close(d.m);
}

static void nets(bench *b)
{
    static const char *const JOB[N_JOBS] = { "infer", "train", "probe" };
    for (const net *n = NETS; n < NETS + N_NETS; n++)
        for (int v = 0; v < N_JOBS * 4; v++) {
            char name[96];
            net_case k = { .n = n, .job = (job)(v % N_JOBS), .channels_last = v / N_JOBS == 1 };
            int third = v / N_JOBS == 2, fourth = v / N_JOBS == 3;
            k.folded = third && k.job == INFER && n->side == 224;
            k.recompute = third && k.job == TRAIN;
            k.contended = fourth && !strcmp(n->name, k.job == INFER ? "resnet20" : "resnet18")
                          && k.job != PROBE;
            if ((third || fourth) && !k.folded && !k.recompute && !k.contended) continue;
            snprintf(name, sizeof name, "%s/%s/b%d%s", n->name, JOB[k.job], n->batch,
                     k.channels_last ? "/channels_last" : k.folded ? "/folded"
                     : k.recompute ? "/recompute" : k.contended ? "/contended" : "");
            bench_case(b, name, run, &k);
        }
}

/* ---- start-up -------------------------------------------------------------------------------- */

/* In the process that is started: a context, a model, an image, logits; says its memory, ends. */
static int started(void)
{
    tlv_ctx *c = tlv_ctx_open(NULL);
    float logits[10] = { 0 };
    tlv_model *m = tlv_model_open(c, "resnet20", (tlv_model_opts){ 0 });
    tlv_run r = tlv_model_run(c, m, TLV_EVAL);
    tlv_tensor *x = tlv_zeros(c, TLV_F32, tlv_shape4(1, 3, 32, 32));
    tlv_scope s = tlv_scope_begin_with(c, TLV_NO_GRAD);
    tlv_read(c, tlv_model_forward(&r, m, x), logits, 10);
    tlv_scope_end(c, s);
    FILE *f = fopen("/proc/self/status", "r");
    char line[128];
    while (f && fgets(line, sizeof line, f))
        if (!strncmp(line, "VmHWM:", 6)) fputs(line + 6, stdout);
    return tlv_error(c) != TLV_OK;
}

typedef struct program { const char *path; double mb; int failed; } program;

static void start_body(tlv_ctx *c, void *arg)
{
    program *p = arg;
    char line[128] = "";
    int out[2];
    (void)c;
    if (pipe(out) != 0) return;
    pid_t child = fork();
    if (child == 0) {
        dup2(out[1], STDOUT_FILENO);
        close(out[0]);
        close(out[1]);
        setenv("BENCH_STARTED", "1", 1);
        execl(p->path, p->path, (char *)NULL);
        _exit(127);
    }
    close(out[1]);
    FILE *f = fdopen(out[0], "r");
    if (f && fgets(line, sizeof line, f)) p->mb = atof(line) / 1024;
    if (f) fclose(f);
    int status = 1;
    if (child < 0 || waitpid(child, &status, 0) != child || status != 0) p->failed = 1;
}

static void startup(bench *b, const void *arg)
{
    program p = { .path = arg };
    start_body(b->c, &p);
    snprintf(b->note, sizeof b->note, "peak_rss_mb=%.1f", p.mb);
    if (p.failed) tlv_fail(b->c, TLV_ERR_STATE, NULL, "%s could not be started", p.path);
    bench_time(b, 1, "start/s", start_body, &p);
}

int main(int argc, char **argv)
{
    (void)argc;
    if (getenv("BENCH_STARTED")) return started();
    bench b = bench_open();
    nets(&b);
    bench_case(&b, "startup/resnet20/b1", startup, argv[0]);
    return bench_close(&b);
}
