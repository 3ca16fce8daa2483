/* layers.c -- modules: slots in a parameter set, sizes, and a pure forward function. */
#include <math.h>

#include "nn/run.h"

/* ---- linear ---------------------------------------------------------------------------------- */

tlv_linear_layer tlv_linear_init(tlv_build *b, const char *name, int in, int out, int bias)
{
    tlv_linear_layer m = { .in = in, .out = out, .b = -1 };
    tlv_build_push(b, name);
    m.w = tlv_build_param(b, "weight", TLV_SHAPE(out, in), tlv_init_kaiming_uniform(sqrt(5.0)));
    if (bias)
        m.b = tlv_build_param(b, "bias", TLV_SHAPE(out), tlv_init_uniform(1.0 / sqrt((double)in)));
    tlv_build_pop(b);
    return m;
}

tlv_tensor *tlv_linear_fwd(const tlv_run *r, const tlv_linear_layer *m, const tlv_tensor *x,
                           tlv_act act)
{
    return tlv_linear(r->c, x, tlv_run_param(r, m->w), tlv_run_param(r, m->b), act);
}

/* ---- convolution ----------------------------------------------------------------------------- */

tlv_conv_layer tlv_conv_init(tlv_build *b, const char *name, int in, int out, int k,
                             tlv_conv2d_opts o, int bias)
{
    tlv_conv_layer m = { .in = in, .out = out, .k = k, .b = -1, .o = o };
    int fan = in / (o.groups ? o.groups : 1);
    tlv_build_push(b, name);
    m.w = tlv_build_param(b, "weight", TLV_SHAPE(out, fan, k, k),
                          tlv_init_kaiming_uniform(sqrt(5.0)));
    if (bias)
        m.b = tlv_build_param(b, "bias", TLV_SHAPE(out),
                              tlv_init_uniform(1.0 / sqrt((double)fan * k * k)));
    tlv_build_pop(b);
    return m;
}

tlv_tensor *tlv_conv_fwd(const tlv_run *r, const tlv_conv_layer *m, const tlv_tensor *x)
{
    return tlv_conv2d(r->c, x, tlv_run_param(r, m->w), tlv_run_param(r, m->b), m->o);
}

/* ---- batch norm ------------------------------------------------------------------------------ */

tlv_bn_layer tlv_bn_init(tlv_build *b, const char *name, int channels)
{
    tlv_bn_layer m = { .channels = channels, .eps = 1e-5, .momentum = 0.1 };
    tlv_shape s = TLV_SHAPE(channels);
    tlv_build_push(b, name);
    m.gamma = tlv_build_param(b, "weight", s, tlv_init_ones());
    m.beta = tlv_build_param(b, "bias", s, tlv_init_zeros());
    m.mean = tlv_build_buffer(b, "running_mean", s, tlv_init_zeros());
    m.var = tlv_build_buffer(b, "running_var", s, tlv_init_ones());
    m.count = tlv_build_buffer(b, "num_batches_tracked", TLV_SCALAR, tlv_init_zeros());
    tlv_build_pop(b);
    return m;
}

static int uses_running(const tlv_run *r, const tlv_bn_layer *m)
{
    return r->mode == TLV_EVAL || tlv_params_is_frozen(r->params, m->mean);
}

tlv_tensor *tlv_bn_fwd(const tlv_run *r, const tlv_bn_layer *m, const tlv_tensor *x,
                       const tlv_tensor *residual, tlv_act act)
{
    const tlv_tensor *gamma = tlv_run_param(r, m->gamma), *beta = tlv_run_param(r, m->beta);
    if (uses_running(r, m))
        return tlv_batch_norm_with(r->c, x, tlv_run_param(r, m->mean), tlv_run_param(r, m->var),
                                   gamma, beta, m->eps, residual, act);
    tlv_tensor *mean = NULL, *var = NULL;
    int collect = r->stats && !r->c->replay;
    tlv_tensor *y = tlv_batch_norm(r->c, x, gamma, beta, m->eps, residual, act,
                                   collect ? &mean : NULL, collect ? &var : NULL);
    if (y && tlvi_numel(x) > 0) tlvi_stats_add(r, m, mean, var); // an empty batch says nothing
    return y;
}

/* act(gamma (conv - mean) / sqrt(var + eps) + beta + residual) = act(conv * scale + shift +
 * residual) */
static tlv_tensor *conv_known_bn(const tlv_run *r, const tlv_conv_layer *conv,
                                 const tlv_bn_layer *bn, const tlv_tensor *x,
                                 const tlv_tensor *residual, tlv_act act)
{
    tlv_ctx *c = r->c;
    tlv_scope s = tlv_scope_begin(c);
    tlv_tensor *rstd = tlv_rsqrt(c, tlv_affine(c, tlv_run_param(r, bn->var), 1, bn->eps)); // [C]
    tlv_tensor *scale = tlv_mul(c, tlv_run_param(r, bn->gamma), rstd);                     // [C]
    tlv_tensor *moved = tlv_mul(c, tlv_run_param(r, bn->mean), scale);                     // [C]
    tlv_tensor *shift = tlv_sub(c, tlv_run_param(r, bn->beta), moved);                     // [C]
    tlv_conv2d_fuse f = { .scale = scale, .shift = shift, .residual = residual, .act = act };
    return tlv_scope_end_keep(c, s, tlv_conv2d_fused(c, x, tlv_run_param(r, conv->w), conv->o, f));
}

tlv_tensor *tlv_conv_bn_fwd(const tlv_run *r, const tlv_conv_layer *conv, const tlv_bn_layer *bn,
                            const tlv_tensor *x, const tlv_tensor *residual, tlv_act act)
{
    if (uses_running(r, bn) && conv->b < 0) return conv_known_bn(r, conv, bn, x, residual, act);
    tlv_scope s = tlv_scope_begin(r->c);
    tlv_tensor *h = tlv_conv_fwd(r, conv, x);
    return tlv_scope_end_keep(r->c, s, tlv_bn_fwd(r, bn, h, residual, act));
}

/* ---- layer norm ------------------------------------------------------------------------------ */

tlv_ln_layer tlv_ln_init(tlv_build *b, const char *name, int dim, double eps)
{
    tlv_ln_layer m = { .dim = dim, .eps = eps };
    tlv_build_push(b, name);
    m.gamma = tlv_build_param(b, "weight", TLV_SHAPE(dim), tlv_init_ones());
    m.beta = tlv_build_param(b, "bias", TLV_SHAPE(dim), tlv_init_zeros());
    tlv_build_pop(b);
    return m;
}

tlv_tensor *tlv_ln_fwd(const tlv_run *r, const tlv_ln_layer *m, const tlv_tensor *x)
{
    return tlv_layer_norm(r->c, x, 1, tlv_run_param(r, m->gamma), tlv_run_param(r, m->beta),
                          m->eps);
}
