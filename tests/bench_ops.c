/* bench_ops.c -- ops that move memory, optimizers, attention, and what a small op costs.
 *
 * NAME/fwd        without recording;  NAME/fwd+bwd  with the gradients of all inputs
 * .../channels_last   the images in the library's own order; without it they are planar
 * GB/s count what must be read and written, the same bytes on both sides of a comparison. */
#include <stdio.h>
#include <string.h>

#include "tensor/core.h"
#include "tests/benchlib.h"

enum { CHAIN = 1000, SEGMENTS = 100, SEGMENT = 250000 };

/* ---- one op, forward and backward ------------------------------------------------------------ */

typedef struct op_data op_data;
typedef tlv_tensor *(*op_fn)(tlv_ctx *c, const op_data *d);

struct op_data {
    op_fn fn;
    const tlv_tensor *in[3];
    int n;                              /* of inputs that want gradients */
    const tlv_tensor *g;
};

/* reads, writes: of how many arrays of x's size; the gradient's on top of the forward pass. */
typedef struct op_case {
    const char *name;
    op_fn fn;
    tlv_shape shape;
    int params;                         /* how many of them: gamma and beta of the last dim or C */
    double fwd_arrays, bwd_arrays;
    double gflop;                       /* 0: count bytes */
} op_case;

typedef struct op_run { const op_case *k; int backward, channels_last; } op_run;

static tlv_tensor *softmax(tlv_ctx *c, const op_data *d) { return tlv_softmax(c, d->in[0], -1); }
static tlv_tensor *gelu(tlv_ctx *c, const op_data *d) { return tlv_gelu(c, d->in[0]); }
static tlv_tensor *relu(tlv_ctx *c, const op_data *d) { return tlv_relu(c, d->in[0]); }

static tlv_tensor *layer_norm(tlv_ctx *c, const op_data *d)
{
    return tlv_layer_norm(c, d->in[0], 1, d->in[1], d->in[2], 1e-5);
}

static tlv_tensor *batch_norm(tlv_ctx *c, const op_data *d)
{
    tlv_tensor *mean, *var;
    return tlv_batch_norm(c, d->in[0], d->in[1], d->in[2], 1e-5, NULL, TLV_ACT_NONE, &mean, &var);
}

static tlv_tensor *max_pool(tlv_ctx *c, const op_data *d)
{
    return tlv_max_pool2d(c, d->in[0],
                          (tlv_pool2d_opts){ .k = 3, .stride = 2, .pad = { 1, 1, 1, 1 } });
}

static tlv_tensor *attention(tlv_ctx *c, const op_data *d)
{
    return tlv_attention(c, d->in[0], d->in[1], d->in[2], (tlv_attention_opts){ 0 });
}

static const op_case OPS[] = {
    { "softmax_96x197x197", softmax, { 2, { 96 * 197, 197 } }, 0, 2, 3, 0 },
    { "layernorm_1576x768", layer_norm, { 2, { 1576, 768 } }, 2, 2, 3, 0 },
    { "gelu_1576x3072", gelu, { 2, { 1576, 3072 } }, 0, 2, 3, 0 },
    { "batchnorm_8x64x56x56", batch_norm, { 4, { 8, 64, 56, 56 } }, 2, 3, 5, 0 },
    { "relu_8x64x56x56", relu, { 4, { 8, 64, 56, 56 } }, 0, 2, 3, 0 },
    /* as the peers count it: an array is the pooled image, the image itself four */
    { "maxpool_8x64x112x112", max_pool, { 4, { 8, 64, 112, 112 } }, 0, 1.25, 1.25, 0 },
    { "attn_8x12x197x64", attention, { 4, { 8, 12, 197, 64 } }, -2, 0, 0,
      4e-9 * 8 * 12 * 197 * 197 * 64 },
};
enum { N_OPS = sizeof OPS / sizeof OPS[0] };

static void fwd_body(tlv_ctx *c, void *arg)
{
    const op_data *d = arg;
    tlv_scope s = tlv_scope_begin_with(c, TLV_NO_GRAD);
    d->fn(c, d);
    tlv_scope_end(c, s);
}

static void bwd_body(tlv_ctx *c, void *arg)
{
    const op_data *d = arg;
    tlv_tensor *out[3];
    tlv_scope s = tlv_scope_begin(c);
    tlv_grad(c, d->fn(c, d), d->g, d->n, d->in, out, TLV_CONSUME);
    tlv_scope_end(c, s);
}

static void op_case_run(bench *b, const void *arg)
{
    const op_run *r = arg;
    const op_case *k = r->k;
    op_data d = { .fn = k->fn, .n = 1 };
    const tlv_tensor *x = bench_tensor(b, "x", k->shape);
    if (r->channels_last) x = tlv_to_order(b->c, x, TLV_CHANNELS_LAST);
    d.in[0] = tlv_leaf(b->c, x);
    int64_t channels = k->shape.dim[k->shape.ndim == 4 ? 1 : k->shape.ndim - 1];
    for (; d.n < 3 && k->params > 0; d.n++) d.in[d.n] = bench_leaf(b, "p", tlv_shape1(channels));
    for (; d.n < 3 && k->params < 0; d.n++) d.in[d.n] = bench_leaf(b, "kv", k->shape);
    const tlv_tensor *y = k->fn(b->c, &d);
    if (!y) return;
    d.g = bench_tensor(b, "g", tlv_shape_of(y));
    if (r->channels_last) d.g = tlv_to_order(b->c, d.g, TLV_CHANNELS_LAST);
    double bytes = 4e-9 * (double)tlv_numel(x);
    double work = bytes * (k->fwd_arrays + (r->backward ? k->bwd_arrays : 0));
    if (k->gflop > 0) work = k->gflop * (r->backward ? 3 : 1);
    bench_time(b, work, k->gflop > 0 ? "GFLOP/s" : "GB/s", r->backward ? bwd_body : fwd_body, &d);
}

static void ops(bench *b)
{
    for (int i = 0; i < N_OPS; i++)
        for (int last = 0; last < (OPS[i].shape.ndim == 4 && OPS[i].params >= 0 ? 2 : 1); last++)
            for (int back = 0; back < 2; back++) {
                char name[96];
                op_run r = { &OPS[i], back, last };
                snprintf(name, sizeof name, "%s/%s%s", OPS[i].name, back ? "fwd+bwd" : "fwd",
                         last ? "/channels_last" : "");
                bench_case(b, name, op_case_run, &r);
            }
}

/* ---- adding ---------------------------------------------------------------------------------- */

typedef struct add_case { const char *name; int64_t n; int given; const char *unit; } add_case;
typedef struct add_data { const tlv_tensor *a, *b; tlv_tensor *y; } add_data;

static void add_run(const void *arg, size_t n, const void *const *in, void *out)
{
    const tlvi_kset *k = arg;
    k->binary[TLVI_BIN_ADD](n, in[0], in[1], out, 0, 0);
}

static void add_given_body(tlv_ctx *c, void *arg)
{
    const add_data *d = arg;
    tlvi_map(c, add_run, tlvi_ks(c, TLV_F32), 2, (const tlv_tensor *[]){ d->a, d->b }, d->y);
}

static void add_body(tlv_ctx *c, void *arg)
{
    const add_data *d = arg;
    tlv_scope s = tlv_scope_begin_with(c, TLV_NO_GRAD);
    tlv_add(c, d->a, d->b);
    tlv_scope_end(c, s);
}

static void add_case_run(bench *b, const void *arg)
{
    const add_case *k = arg;
    add_data d = { bench_tensor(b, "a", tlv_shape1(k->n)), bench_tensor(b, "b", tlv_shape1(k->n)),
                   tlv_zeros(b->c, TLV_F32, tlv_shape1(k->n)) };
    double work = strcmp(k->unit, "GB/s") ? 1e-6 : 12e-9 * (double)k->n;
    bench_time(b, work, k->unit, k->given ? add_given_body : add_body, &d);
}

/* (x + b).sum() and its gradient in x. */
static void add_grad_body(tlv_ctx *c, void *arg)
{
    const add_data *d = arg;
    tlv_tensor *g;
    tlv_scope s = tlv_scope_begin(c);
    tlv_grad(c, tlv_sum_all(c, tlv_add(c, d->a, d->b)), NULL, 1, &d->a, &g, TLV_CONSUME);
    tlv_scope_end(c, s);
}

static void add_grad_case(bench *b, const void *arg)
{
    (void)arg;
    add_data d = { bench_leaf(b, "a", tlv_shape1(40)), bench_tensor(b, "b", tlv_shape1(40)), NULL };
    bench_time(b, 1e-6, "Mop/s", add_grad_body, &d);
}

/* 1,000 adds of 16 floats: recorded, differentiated, scope ended. */
static void chain_body(tlv_ctx *c, void *arg)
{
    const tlv_tensor *a = arg, *h = a;
    tlv_tensor *g = NULL;
    tlv_scope s = tlv_scope_begin(c);
    for (int i = 0; i < CHAIN; i++) h = tlv_add(c, h, a);
    tlv_grad(c, tlv_sum_all(c, h), NULL, 1, &a, &g, 0);
    tlv_scope_end(c, s);
}

static void chain_case(bench *b, const void *arg)
{
    (void)arg;
    bench_time(b, CHAIN / 1e6, "Madd/s", chain_body, bench_leaf(b, "a", tlv_shape1(16)));
}

static void adds(bench *b)
{
    static const add_case CASES[] = {
        { "add_1M", 1 << 20, 1, "GB/s" },   { "add_1M_alloc", 1 << 20, 0, "GB/s" },
        { "add_16M", 1 << 24, 1, "GB/s" },  { "add_16M_alloc", 1 << 24, 0, "GB/s" },
        { "add_40_overhead", 40, 0, "Mop/s" },
    };
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++)
        bench_case(b, CASES[i].name, add_case_run, &CASES[i]);
    bench_case(b, "add_40_autograd_fwdbwd", add_grad_case, NULL);
    bench_case(b, "add16_chain1000", chain_case, NULL);
}

/* ---- optimizers: 25 million parameters in 100 tensors ---------------------------------------- */

typedef struct step_data { tlv_optim *opt; tlv_params *p, *g; } step_data;

static void step_body(tlv_ctx *c, void *arg)
{
    const step_data *d = arg;
    tlv_optim_step(c, d->opt, d->p, d->g);
}

static tlv_params *many(tlv_ctx *c, double bound)
{
    tlv_build *b = tlv_build_begin(c, TLV_F32);
    for (int i = 0; i < SEGMENTS; i++) {
        char name[16];
        snprintf(name, sizeof name, "p%d", i);
        tlv_build_param(b, name, tlv_shape2(SEGMENT / 1000, 1000), tlv_init_uniform(bound));
    }
    return tlv_build_end(b);
}

static void optim_case(bench *b, const void *arg)
{
    int adam = *(const int *)arg;
    step_data d = { .p = many(b->c, 1) };
    d.g = d.p ? tlv_params_clone(b->c, d.p) : NULL;
    if (!d.g) return;
    tlv_adam_opts o = tlv_adamw_defaults();
    d.opt = adam ? tlv_adam_open(b->c, d.p, o)
                 : tlv_sgd_open(b->c, d.p, (tlv_sgd_opts){ .lr = 1e-3, .momentum = 0.9 });
    double bytes = adam ? 28 : 20;          // p, moments read and written; the gradient read
    bench_time(b, bytes * 1e-9 * SEGMENTS * SEGMENT, "GB/s", step_body, &d);
    tlv_optim_close(d.opt);
    tlv_params_close(d.g);
    tlv_params_close(d.p);
}

int main(void)
{
    static const int SGD = 0, ADAM = 1;
    bench b = bench_open();
    ops(&b);
    adds(&b);
    bench_case(&b, "adamw_25M", optim_case, &ADAM);
    bench_case(&b, "sgdmom_25M", optim_case, &SGD);
    return bench_close(&b);
}
