/* cases_conv.c -- convolution, its adjoints and its fused form, against loops over the
 * definition. */
#include <math.h>

#include "tests/opcase.h"

/* x [b,c,h,w], w [o,c/groups,kh,kw]; pad: top, bottom, left, right */
typedef struct spec {
    const char *text;
    int b, c, h, w, o, kh, kw, stride, stride_w, pad[4], dil, dil_w, groups;
} spec;

static const spec SPECS[] = {
    { "3x3 same", 2, 3, 5, 4, 4, 3, 3, 0, 0, { 1, 1, 1, 1 }, 0, 0, 0 },
    { "3x3 stride 2, a rest", 1, 2, 6, 7, 3, 3, 3, 2, 0, { 1, 1, 1, 1 }, 0, 0, 0 },
    { "2x3, stride 2 and 3, uneven pads", 1, 2, 6, 8, 3, 2, 3, 2, 3, { 0, 1, 2, 1 }, 0, 0, 0 },
    { "dilation 2 and 3", 1, 2, 6, 9, 2, 3, 2, 1, 2, { 1, 2, 0, 1 }, 2, 3, 0 },
    { "stride 2, dilation 2", 1, 2, 7, 8, 3, 3, 3, 2, 0, { 1, 2, 2, 1 }, 2, 0, 0 },
    { "two groups", 2, 4, 4, 3, 6, 2, 2, 0, 0, { 1, 0, 0, 1 }, 0, 0, 2 },
    { "depthwise", 2, 5, 4, 7, 5, 3, 3, 0, 0, { 1, 1, 1, 1 }, 0, 0, 5 },
    { "depthwise, stride 2, a rest", 1, 3, 6, 9, 3, 3, 3, 2, 0, { 0, 1, 1, 1 }, 0, 0, 3 },
    { "depthwise, stride 2 and 1, dilation 2", 1, 4, 7, 6, 4, 2, 3, 2, 1, { 1, 1, 3, 0 }, 2, 0, 4 },
    { "depthwise, two filters a channel", 1, 3, 3, 4, 6, 2, 3, 0, 0, { 1, 0, 1, 1 }, 0, 0, 3 },
    { "1x1", 2, 3, 3, 4, 5, 1, 1, 0, 0, { 0 }, 0, 0, 0 },
    { "1x1 stride 2", 1, 3, 4, 5, 2, 1, 1, 2, 0, { 0 }, 0, 0, 0 },
    { "1x1 stride 3, padded", 1, 2, 5, 4, 2, 1, 1, 3, 0, { 1, 1, 2, 0 }, 0, 0, 0 },
    { "many channels out", 1, 5, 2, 3, 37, 2, 2, 0, 0, { 1, 0, 0, 0 }, 0, 0, 0 },
    { "many channels in", 1, 37, 2, 2, 3, 2, 2, 0, 0, { 0, 1, 0, 1 }, 0, 0, 0 },
    { "a long row", 1, 1, 1, 47, 2, 1, 5, 0, 0, { 0, 0, 2, 2 }, 0, 0, 0 },
    { "kernel larger than the image", 1, 2, 2, 1, 2, 5, 4, 0, 0, { 2, 2, 3, 1 }, 0, 0, 0 },
    { "stride larger than the kernel", 1, 2, 8, 7, 2, 2, 2, 5, 3, { 0 }, 0, 0, 0 },
    { "one pixel, one channel", 1, 1, 1, 1, 1, 1, 1, 0, 0, { 0 }, 0, 0, 0 },
    { "no examples", 0, 2, 3, 3, 2, 2, 2, 0, 0, { 0 }, 0, 0, 0 },
    { "no channels in", 1, 0, 3, 3, 2, 2, 2, 0, 0, { 0 }, 0, 0, 0 },
    { "no channels out", 1, 2, 3, 3, 0, 2, 2, 0, 0, { 0 }, 0, 0, 0 },
    { "nothing but padding", 1, 2, 0, 3, 2, 2, 2, 0, 0, { 1, 1, 0, 0 }, 0, 0, 0 },
};
enum { SPEC_COUNT = sizeof SPECS / sizeof SPECS[0] };

/* opt[0] the spec, opt[1] an activation, opt[2] which of scale (1), shift (2) and residual (4)
 * come. */
static const spec *spec_of(const op_case *k) { return &SPECS[(int)k->opt[0]]; }

static int or_one(int x) { return x ? x : 1; }

typedef struct geo { int sh, sw, dh, dw, groups, cg, og, oh, ow; } geo;

static geo geo_of(const spec *s)
{
    geo g;
    g.sh = or_one(s->stride);
    g.sw = s->stride_w ? s->stride_w : g.sh;
    g.dh = or_one(s->dil);
    g.dw = s->dil_w ? s->dil_w : g.dh;
    g.groups = or_one(s->groups);
    g.cg = s->c / g.groups;
    g.og = s->o / g.groups;
    g.oh = (s->h + s->pad[0] + s->pad[1] - g.dh * (s->kh - 1) - 1) / g.sh + 1;
    g.ow = (s->w + s->pad[2] + s->pad[3] - g.dw * (s->kw - 1) - 1) / g.sw + 1;
    return g;
}

static tlv_conv2d_opts opts_of(const spec *s)
{
    return (
        tlv_conv2d_opts){ s->stride, s->stride_w, { s->pad[0], s->pad[1], s->pad[2], s->pad[3] },
                          s->dil,    s->dil_w,    s->groups };
}

static tlv_shape x_shape(const spec *s) { return tlv_shape4(s->b, s->c, s->h, s->w); }
static tlv_shape w_shape(const spec *s)
{
    return tlv_shape4(s->o, s->c / or_one(s->groups), s->kh, s->kw);
}
static tlv_shape y_shape(const spec *s)
{
    geo g = geo_of(s);
    return tlv_shape4(s->b, s->o, g.oh, g.ow);
}

/* Every product of the definition: calls fn with the places of x, w and y it joins. */
typedef void (*join_fn)(void *user, int64_t x, int64_t w, int64_t y);

static void each_product(const spec *s, join_fn fn, void *user)
{
    geo g = geo_of(s);
    int64_t y = 0;
    for (int b = 0; b < s->b; b++)
        for (int o = 0; o < s->o; o++)
            for (int i = 0; i < g.oh; i++)
                for (int j = 0; j < g.ow; j++, y++)
                    for (int c = 0; c < g.cg; c++)
                        for (int k = 0; k < s->kh; k++)
                            for (int l = 0; l < s->kw; l++) {
                                int row = i * g.sh + k * g.dh - s->pad[0];
                                int col = j * g.sw + l * g.dw - s->pad[2];
                                if (row < 0 || row >= s->h || col < 0 || col >= s->w) continue;
                                int from = o / g.og * g.cg + c;
                                fn(user, (((int64_t)b * s->c + from) * s->h + row) * s->w + col,
                                   (((int64_t)o * g.cg + c) * s->kh + k) * s->kw + l, y);
                            }
}

typedef struct loop { const double *a, *b; double *out; } loop;
static void join_y(void *u, int64_t x, int64_t w, int64_t y)
{
    loop *l = u;
    l->out[y] += l->a[x] * l->b[w];
}
static void join_dx(void *u, int64_t x, int64_t w, int64_t y)
{
    loop *l = u;
    l->out[x] += l->a[y] * l->b[w];
}
static void join_dw(void *u, int64_t x, int64_t w, int64_t y)
{
    loop *l = u;
    l->out[w] += l->a[y] * l->b[x];
}

static void clear(const op_case *k, double *out)
{
    for (int64_t i = 0; i < case_numel(k->out); i++) out[i] = 0;
}

/* ---- the family ------------------------------------------------------------------------------ */

static int begin(int i, op_case *k, tlv_shape a, tlv_shape b, tlv_shape out)
{
    k->text = SPECS[i].text;
    k->n_in = 2;
    k->in[0].shape = a;
    k->in[1].shape = b;
    k->out = out;
    k->opt[0] = i;
    return 1;
}

static tlv_tensor *conv_call(tlv_ctx *c, const tlv_tensor *const *in, const op_case *k)
{
    return tlv_conv2d(c, in[0], in[1], k->n_in == 3 ? in[2] : NULL, opts_of(spec_of(k)));
}

static void conv_ref(const op_case *k, const double *const *in, double *out)
{
    geo g = geo_of(spec_of(k));
    for (int64_t i = 0; i < case_numel(k->out); i++)
        out[i] = k->n_in == 3 ? in[2][i / (g.oh * g.ow) % spec_of(k)->o] : 0;
    each_product(spec_of(k), join_y, &(loop){ in[0], in[1], out });
}

int case_CONV2D(int i, op_case *k);
int case_CONV2D(int i, op_case *k)
{
    if (i >= SPEC_COUNT) return 0;
    const spec *s = &SPECS[i];
    begin(i, k, x_shape(s), w_shape(s), y_shape(s));
    if (i % 3 != 1) {
        k->n_in = 3;
        k->in[2].shape = tlv_shape1(s->o);
    }
    k->call = conv_call;
    k->ref = conv_ref;
    return 1;
}

static tlv_tensor *dx_call(tlv_ctx *c, const tlv_tensor *const *in, const op_case *k)
{
    const spec *s = spec_of(k);
    return tlv_conv2d_dx(c, in[0], in[1], s->h, s->w, opts_of(s));
}

static void dx_ref(const op_case *k, const double *const *in, double *out)
{
    clear(k, out);
    each_product(spec_of(k), join_dx, &(loop){ in[0], in[1], out });
}

int case_CONV2D_DX(int i, op_case *k);
int case_CONV2D_DX(int i, op_case *k)
{
    if (i >= SPEC_COUNT) return 0;
    const spec *s = &SPECS[i];
    k->call = dx_call;
    k->ref = dx_ref;
    return begin(i, k, y_shape(s), w_shape(s), x_shape(s));
}

static tlv_tensor *dw_call(tlv_ctx *c, const tlv_tensor *const *in, const op_case *k)
{
    const spec *s = spec_of(k);
    return tlv_conv2d_dw(c, in[0], in[1], s->kh, s->kw, opts_of(s));
}

static void dw_ref(const op_case *k, const double *const *in, double *out)
{
    clear(k, out);
    each_product(spec_of(k), join_dw, &(loop){ in[0], in[1], out });
}

int case_CONV2D_DW(int i, op_case *k);
int case_CONV2D_DW(int i, op_case *k)
{
    if (i >= SPEC_COUNT) return 0;
    const spec *s = &SPECS[i];
    k->call = dw_call;
    k->ref = dw_ref;
    return begin(i, k, y_shape(s), x_shape(s), w_shape(s));
}

/* ---- fused ----------------------------------------------------------------------------------- */

static tlv_tensor *fused_call(tlv_ctx *c, const tlv_tensor *const *in, const op_case *k)
{
    int have = (int)k->opt[2], n = 2;
    tlv_conv2d_fuse f = { .act = (tlv_act)(int)k->opt[1] };
    if (have & 1) f.scale = in[n++];
    if (have & 2) f.shift = in[n++];
    if (have & 4) f.residual = in[n++];
    return tlv_conv2d_fused(c, in[0], in[1], opts_of(spec_of(k)), f);
}

static double act_value(tlv_act a, double x)
{
    switch (a) {
    case TLV_ACT_RELU: return x > 0 ? x : 0;
    case TLV_ACT_RELU6: return x > 6 ? 6 : x > 0 ? x : 0;
    case TLV_ACT_SIGMOID: return 1 / (1 + exp(-x));
    case TLV_ACT_TANH: return tanh(x);
    case TLV_ACT_SILU: return x / (1 + exp(-x));
    case TLV_ACT_GELU: return 0.5 * x * (1 + erf(x / sqrt(2)));
    default: return x;
    }
}

static void fused_ref(const op_case *k, const double *const *in, double *out)
{
    const spec *s = spec_of(k);
    geo g = geo_of(s);
    int have = (int)k->opt[2], n = 2;
    const double *scale = have & 1 ? in[n++] : NULL, *shift = have & 2 ? in[n++] : NULL;
    const double *residual = have & 4 ? in[n++] : NULL;
    clear(k, out);
    each_product(s, join_y, &(loop){ in[0], in[1], out });
    for (int64_t i = 0; i < case_numel(k->out); i++) {
        int64_t o = i / (g.oh * g.ow) % s->o;
        double z = out[i] * (scale ? scale[o] : 1) + (shift ? shift[o] : 0)
                   + (residual ? residual[i] : 0);
        out[i] = act_value((tlv_act)(int)k->opt[1], z);
    }
}

/* spec, activation, scale (1) + shift (2) + residual (4) */
typedef struct fused { int spec, act, have; } fused;

static int begin_fused(const fused *f, op_case *k)
{
    const spec *s = &SPECS[f->spec];
    begin(f->spec, k, x_shape(s), w_shape(s), y_shape(s));
    k->opt[1] = f->act;
    k->opt[2] = f->have;
    if (f->have & 1) k->in[k->n_in++].shape = tlv_shape1(s->o);
    if (f->have & 2) k->in[k->n_in++].shape = tlv_shape1(s->o);
    if (f->have & 4) k->in[k->n_in++].shape = y_shape(s);
    k->call = fused_call;
    k->ref = fused_ref;
    return 1;
}

int case_CONV2D_AFFINE(int i, op_case *k);
int case_CONV2D_AFFINE(int i, op_case *k)
{
    // the last two take another op for their activation where gradients are wanted
    static const fused list[] = {
        { 0, TLV_ACT_NONE, 7 }, { 1, TLV_ACT_NONE, 1 },  { 5, TLV_ACT_NONE, 6 },
        { 7, TLV_ACT_NONE, 3 }, { 10, TLV_ACT_NONE, 4 }, { 13, TLV_ACT_NONE, 7 },
        { 3, TLV_ACT_NONE, 0 }, { 19, TLV_ACT_NONE, 7 }, { 1, TLV_ACT_SILU, 7 },
        { 6, TLV_ACT_GELU, 3 },
    };
    return i < (int)(sizeof list / sizeof list[0]) && begin_fused(&list[i], k);
}

int case_CONV2D_ACT(int i, op_case *k);
int case_CONV2D_ACT(int i, op_case *k)
{
    static const fused list[] = {
        { 11, TLV_ACT_RELU, 7 },  { 1, TLV_ACT_SIGMOID, 7 }, { 0, TLV_ACT_TANH, 3 },
        { 17, TLV_ACT_RELU6, 5 }, { 7, TLV_ACT_RELU6, 3 },   { 5, TLV_ACT_RELU, 6 },
        { 2, TLV_ACT_RELU, 1 },   { 10, TLV_ACT_TANH, 4 },   { 13, TLV_ACT_SIGMOID, 2 },
        { 18, TLV_ACT_TANH, 0 },  { 19, TLV_ACT_RELU, 7 },
    };
    return i < (int)(sizeof list / sizeof list[0]) && begin_fused(&list[i], k);
}
