/* 04_own_layer.c -- a layer of your own: squeeze and excitation (Hu et al. 2018, arXiv:1709.01507)
 * from its equation to a trained network.
 *
 *     make && build/bin/learn-04_own_layer
 *
 * Before: 03_fine_tune.c.  Next: 05_own_op.c. */
#include <math.h>
#include <stdio.h>

#include "tlvision.h"

enum { SIDE = 32, CLASSES = 2, WIDE = 24, BATCH = 50, STEPS = 150, EACH = 500 };

/* ---- 1. the layer: a struct, an init, a forward function ------------------------------------- */

/* Each channel is multiplied by a number from 0 to 1 that depends on the means of all channels:
 *     y = x * sigmoid(W2 relu(W1 mean(x) + b1) + b2) */
typedef struct se_layer { tlv_linear_layer squeeze, excite; } se_layer;

/* Numbers do not live in the struct, but in a named set: the struct knows its slots there. */
static se_layer se_init(tlv_build *b, const char *name, int channels, int reduction)
{
    se_layer m;
    tlv_build_push(b, name);                                // names begin with "se1."
    m.squeeze = tlv_linear_init(b, "squeeze", channels, channels / reduction, 1);
    m.excite = tlv_linear_init(b, "excite", channels / reduction, channels, 1);
    tlv_build_pop(b);
    return m;
}

/* x [B,C,H,W] -> [B,C,H,W].  Made of ops, so its gradients of any order are there already. */
static tlv_tensor *se_fwd(const tlv_run *r, const se_layer *m, const tlv_tensor *x)
{
    tlv_ctx *c = r->c;
    tlv_tensor *h = tlv_global_avg_pool(c, x);                              // [B,C]
    h = tlv_linear_fwd(r, &m->squeeze, h, TLV_ACT_RELU);                    // [B,C/4]
    h = tlv_sigmoid(c, tlv_linear_fwd(r, &m->excite, h, TLV_ACT_NONE));     // [B,C]
    return tlv_mul(c, x, tlv_reshape(c, h, TLV_SHAPE(tlv_dim(h, 0), tlv_dim(h, 1), 1, 1)));
}

/* ---- 2. a network with it -------------------------------------------------------------------- */

typedef struct net {
    tlv_conv_layer conv[2];
    tlv_bn_layer bn[2];
    se_layer se;
    tlv_linear_layer head;
} net;

static tlv_params *build(tlv_ctx *c, tlv_dtype type, net *m)
{
    tlv_build *b = tlv_build_begin(c, type);
    tlv_conv2d_opts o = { .stride = 2, .pad = { 2, 2, 2, 2 } };
    m->conv[0] = tlv_conv_init(b, "conv1", 3, WIDE, 5, o, 0);
    m->bn[0] = tlv_bn_init(b, "bn1", WIDE);
    m->se = se_init(b, "se1", WIDE, 4);
    m->conv[1] = tlv_conv_init(b, "conv2", WIDE, WIDE, 5, o, 0);
    m->bn[1] = tlv_bn_init(b, "bn2", WIDE);
    m->head = tlv_linear_init(b, "head", WIDE, CLASSES, 1);
    return tlv_build_end(b);
}

/* x [B,3,H,W] -> scores of two classes, [B,2] */
static tlv_tensor *forward(const tlv_run *r, const net *m, const tlv_tensor *x)
{
    tlv_tensor *h = tlv_conv_bn_fwd(r, &m->conv[0], &m->bn[0], x, NULL, TLV_ACT_RELU);
    h = se_fwd(r, &m->se, h);
    h = tlv_conv_bn_fwd(r, &m->conv[1], &m->bn[1], h, NULL, TLV_ACT_RELU);
    return tlv_linear_fwd(r, &m->head, tlv_global_avg_pool(r->c, h), TLV_ACT_NONE);
}

static tlv_tensor *loss_of(tlv_ctx *c, const net *m, const tlv_params *p, const tlv_batch *b,
                           tlv_stats *stats)
{
    tlv_run r = { .c = c, .params = p, .mode = TLV_TRAIN, .stats = stats };
    return tlv_cross_entropy(c, forward(&r, m, b->x), b->y, (tlv_ce_opts){ 0 });
}

/* ---- 3. is its gradient right? ---------------------------------------------------------------- *
 * Move the parameters a little along a random direction v.  The loss must change as the gradient
 * says: <g, v> = (L(p + h v) - L(p - h v)) / 2h.  In f64, where h can be small; one parameter after
 * the other, so that a mistake has a name. */
static double check(tlv_ctx *c, const char *pattern)
{
    net m;
    tlv_params *p = build(c, TLV_F64, &m);
    tlv_rng_key key = tlv_rng_stream(c, "check");
    int32_t label[4] = { 0, 1, 1, 0 };
    tlv_batch b = { tlv_randn(c, TLV_F64, TLV_SHAPE(4, 3, 8, 8), key),
                    tlv_from_data(c, TLV_I32, TLV_SHAPE(4), label, 0) };
    const tlv_params *g = tlv_params_grad(c, loss_of(c, &m, p, &b, NULL), p, 0);
    double worst = 0, h = 1e-6;
    for (int i = 0; g && i < tlv_params_count(p) && !tlv_error(c); i++) {
        if (!tlv_match(pattern, tlv_params_name(p, i)) || !tlv_params_get(g, i)) continue;
        tlv_params *v = tlv_params_zeros(c, p);
        tlv_shape s = tlv_shape_of(tlv_params_get(p, i));
        tlv_params_set(c, v, i, tlv_randn(c, TLV_F64, s, tlv_rng_fold(key, (uint64_t)i)));
        double up = tlv_item(c, loss_of(c, &m, tlv_params_axpy(c, p, h, v), &b, NULL));
        double down = tlv_item(c, loss_of(c, &m, tlv_params_axpy(c, p, -h, v), &b, NULL));
        tlv_tensor *gv = tlv_mul(c, tlv_params_get(g, i), tlv_params_get(v, i));
        double want = (up - down) / (2 * h), got = tlv_item(c, tlv_sum_all(c, gv));
        printf("%-20s <g, v> = %+.8f, the loss moves by %+.8f\n", tlv_params_name(p, i), got, want);
        worst = fmax(worst, fabs(got - want) / fmax(fabs(got), 1e-8));
        tlv_params_close(v);
    }
    tlv_params_close(p);
    return worst;
}

/* ---- 4. training ----------------------------------------------------------------------------- */

/* Discs (class 0) and rings (class 1) of the drawn shapes: has it a hole? */
static void train(tlv_ctx *c, const tlv_dataset *d)
{
    net m;
    tlv_params *p = build(c, TLV_F32, &m);
    tlv_optim *opt = tlv_adam_open(c, p, tlv_adamw_defaults());
    tlv_stats *stats = tlv_stats_open(c);                   // of the batch norms
    const tlv_batch_opts input = {
        .recipe = { .size = SIDE, .mean = { .5, .5, .5 }, .std = { .25, .25, .25 } }
    };
    tlv_rng_key key = tlv_rng_stream(c, "draws");
    int64_t all[10 * EACH], index[BATCH];
    tlv_dataset_per_class(d, EACH, key, all);               // class after class
    for (int step = 1; step <= STEPS && !tlv_error(c); step++) {
        uint64_t draw = (uint64_t)step * BATCH;
        for (int i = 0; i < BATCH; i++)
            index[i] = all[tlv_rng_below(key, draw + (uint64_t)i, CLASSES * EACH)];
        tlv_scope s = tlv_scope_begin(c);
        tlv_batch b = tlv_dataset_batch(c, d, index, 0, BATCH, input);
        tlv_tensor *loss = loss_of(c, &m, p, &b, stats);
        tlv_optim_set_lr(opt, tlv_lr_one_cycle(0.01, step - 1, STEPS, 0.25, 10, 100));
        tlv_optim_step(c, opt, p, tlv_params_grad(c, loss, p, 0));
        tlv_run_apply_stats(&(tlv_run){ .c = c, .params = p, .stats = stats }, p);
        if (loss && (step == 1 || step % 50 == 0))
            printf("step %3d  loss %.3f\n", step, tlv_item(c, loss));
        tlv_scope_end(c, s);
    }
    tlv_stats_close(stats);
    tlv_optim_close(opt);
    tlv_params_close(p);
}

int main(void)
{
    tlv_ctx *c = tlv_ctx_open(NULL);
    if (!c) return 1;
    printf("largest relative difference: %.0e\n", check(c, "conv1.*,se1.*"));
    tlv_dataset *d = tlv_dataset_open(c, "shapes:500", "train");
    if (d) train(c, d);
    int failed = tlv_error(c) != TLV_OK;
    if (failed) fprintf(stderr, "error: %s\nhint: %s\n", tlv_error_msg(c), tlv_error_hint(c));
    tlv_dataset_close(d);
    tlv_ctx_close(c);
    return failed;
}
