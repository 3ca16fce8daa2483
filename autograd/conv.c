/* conv.c -- 2-D convolution and its two adjoints: a closed family, each one's gradients are the
 * others. Here are the fronts and the gradients; tensor/direct.c and tensor/depthwise.c do the
 * work. */
#include <math.h>

#include "autograd/norm.h"
#include "tensor/across.h"
#include "tensor/winograd.h"

const char *tlv_conv_algorithm(const tlv_ctx *c)
{
    static const char *const name[] = { [TLV_CONV_AUTO] = "auto-2",
                                        [TLV_CONV_DIRECT] = "direct",
                                        [TLV_CONV_WINOGRAD] = "winograd-1" };
    return name[c->opts.conv];
}

/* ---- geometry -------------------------------------------------------------------------------- */

typedef struct geometry {
    int64_t b, c, h, w, o, oh, ow;          // x [b,c,h,w], y [b,o,oh,ow]
    int64_t cg, og, groups, kh, kw;         // w [o,cg,kh,kw]; og = o / groups
    int64_t sh, sw, dh, dw, top, left;
} geometry;

static int64_t out_size(int64_t n, int64_t pads, int64_t k, int64_t dil, int64_t stride)
{
    int64_t rest = n + pads - dil * (k - 1) - 1;
    return rest < 0 ? 0 : rest / stride + 1;
}

static int options_ok(tlv_ctx *c, const char *op, const tlv_conv2d_opts *o, geometry *s)
{
    s->sh = o->stride ? o->stride : 1;
    s->sw = o->stride_w ? o->stride_w : s->sh;
    s->dh = o->dilation ? o->dilation : 1;
    s->dw = o->dilation_w ? o->dilation_w : s->dh;
    s->groups = o->groups ? o->groups : 1;
    s->top = o->pad[0];
    s->left = o->pad[2];
    int bad = s->sh < 1 || s->sw < 1 || s->dh < 1 || s->dw < 1 || s->groups < 1;
    for (int i = 0; i < 4; i++) bad |= o->pad[i] < 0;
    if (!bad) return 1;
    tlvi_fail(c, TLV_ERR_ARG, "0 means 1 in stride, dilation and groups; none may be negative",
              "%s: stride %d,%d dilation %d,%d groups %d pad %d,%d,%d,%d", op, o->stride,
              o->stride_w, o->dilation, o->dilation_w, o->groups, o->pad[0], o->pad[1], o->pad[2],
              o->pad[3]);
    return 0;
}

/* Fills s from the shapes of x and w; the sentence if they do not fit together. */
static int measure(tlv_ctx *c, const char *op, tlv_shape x, tlv_shape w, const tlv_conv2d_opts *o,
                   geometry *s)
{
    if (!options_ok(c, op, o, s)) return 0;
    if (x.ndim != 4 || w.ndim != 4 || x.dim[1] != w.dim[1] * s->groups || w.dim[0] % s->groups) {
        tlvi_fail(c, TLV_ERR_SHAPE,
                  "x is [B,C,H,W], w [O,C/groups,KH,KW], and groups divides C and O",
                  "%s: x is %s, w is %s, groups %lld", op, tlvi_shape_text(x).s,
                  tlvi_shape_text(w).s, (long long)s->groups);
        return 0;
    }
    s->b = x.dim[0], s->c = x.dim[1], s->h = x.dim[2], s->w = x.dim[3];
    s->o = w.dim[0], s->cg = w.dim[1], s->kh = w.dim[2], s->kw = w.dim[3];
    s->og = s->o / s->groups;
    s->oh = s->kh < 1 ? 0 : out_size(s->h, (int64_t)o->pad[0] + o->pad[1], s->kh, s->dh, s->sh);
    s->ow = s->kw < 1 ? 0 : out_size(s->w, (int64_t)o->pad[2] + o->pad[3], s->kw, s->dw, s->sw);
    if (s->oh >= 1 && s->ow >= 1) return 1;
    tlvi_fail(c, TLV_ERR_SHAPE, "add padding or take a smaller kernel",
              "%s: no output pixel is left: x is %s, w is %s, pad %d,%d,%d,%d dilation %lld,%lld",
              op, tlvi_shape_text(x).s, tlvi_shape_text(w).s, o->pad[0], o->pad[1], o->pad[2],
              o->pad[3], (long long)s->dh, (long long)s->dw);
    return 0;
}

static int same_image(tlv_ctx *c, const char *op, const char *what, const tlv_tensor *t,
                      tlv_shape want)
{
    tlv_shape s = tlv_shape_of(t);
    if (s.ndim == 4 && memcmp(s.dim, want.dim, 4 * sizeof *s.dim) == 0) return 1;
    tlvi_fail(c, TLV_ERR_SHAPE, "the sizes must be those that conv2d gives",
              "%s: %s is %s, it must be %s", op, what, tlvi_shape_text(s).s,
              tlvi_shape_text(want).s);
    return 0;
}

static int is_row(tlv_ctx *c, const char *op, const char *what, const tlv_tensor *t, int64_t n)
{
    if (t->ndim == 1 && t->shape[0] == n) return 1;
    tlvi_fail(c, TLV_ERR_SHAPE, "one value an output channel", "%s: %s is %s, it must be [%lld]",
              op, what, tlvi_shape_str(t).s, (long long)n);
    return 0;
}

static int is_depthwise(const geometry *s) { return s->groups > 1 && s->cg == 1 && s->og == 1; }

/* Channels with stride 1, whatever the rest: t itself or a copy in channels-last order. */
static const tlv_tensor *image(tlv_ctx *c, const tlv_tensor *t)
{
    return t->shape[1] == 1 || t->stride[1] == 1 ? t : tlvi_channels_last(c, t);
}

/* ---- running --------------------------------------------------------------------------------- */

static void set_x(tlvi_conv *v, const tlv_tensor *x)
{
    v->batch = x->shape[0], v->ic = x->shape[1], v->ih = x->shape[2], v->iw = x->shape[3];
    v->xb = x->stride[0], v->xh = x->stride[2], v->xw = x->stride[3];
    v->x = tlvi_ptr(x);
}
static void set_y(tlvi_conv *v, const tlv_tensor *y)
{
    v->oc = y->shape[1], v->oh = y->shape[2], v->ow = y->shape[3];
    v->yb = y->stride[0], v->yh = y->stride[2], v->yw = y->stride[3];
    v->y = tlvi_ptr(y);
}

/* Group i: ic and oc channels of each image, one slice of the weights. */
static tlvi_conv group_of(const tlvi_conv *v, const geometry *s, int64_t i, int64_t ic, int64_t oc)
{
    int64_t es = v->dtype == TLV_F64 ? 8 : 4, at = i * oc * es;
    tlvi_conv g = *v;
    g.ic = ic;
    g.oc = oc;
    g.x += i * ic * es;
    g.y += at;
    if (g.w) g.w += i * s->og * s->cg * s->kh * s->kw * es;
    if (g.scale) g.scale += at;
    if (g.shift) g.shift += at;
    if (g.res) g.res += at;
    return g;
}

static void run_groups(tlv_ctx *c, const tlvi_conv *v, const geometry *s, int64_t ic, int64_t oc)
{
    if (is_depthwise(s)) {
        tlvi_depthwise_run(c, v);
        return;
    }
    for (int64_t i = 0; i < s->groups && !c->err; i++) {
        tlvi_conv g = group_of(v, s, i, ic, oc);
        if (tlvi_winograd_takes(c, &g, 0)) tlvi_winograd_run(c, &g);
        else if (tlvi_across_takes(tlvi_ks(c, g.dtype), &g, 0)) tlvi_across_run(c, 1, &g);
        else tlvi_conv_run(c, &g);
    }
}

static void forward_taps(const geometry *s, tlvi_tap *tap)
{
    for (int64_t i = 0; i < s->kh; i++)
        for (int64_t j = 0; j < s->kw; j++)
            *tap++ = (tlvi_tap){ i * s->dh - s->top, j * s->dw - s->left, i * s->kw + j };
}

/* y = act(conv(x, w) * scale + shift + residual) */
static tlv_tensor *forward(tlv_ctx *c, const tlv_tensor *x, const tlv_tensor *w, const geometry *s,
                           const tlv_conv2d_fuse *f)
{
    static const int unary[] = {
        [TLV_ACT_NONE] = -1,
        [TLV_ACT_RELU] = -1,
        [TLV_ACT_RELU6] = -1,
        [TLV_ACT_SILU] = TLVI_UN_SILU,
        [TLV_ACT_HARD_SWISH] = TLVI_UN_HARD_SWISH,
        [TLV_ACT_GELU] = TLVI_UN_GELU_ERF,
        [TLV_ACT_GELU_TANH] = TLVI_UN_GELU_TANH,
        [TLV_ACT_QUICK_GELU] = TLVI_UN_QUICK_GELU,
        [TLV_ACT_SIGMOID] = TLVI_UN_SIGMOID,
        [TLV_ACT_TANH] = TLVI_UN_TANH,
        [TLV_ACT_HARD_SIGMOID] = TLVI_UN_HARD_SIGMOID,
    };
    tlv_tensor *y = tlvi_new_image(c, (tlv_dtype)x->dtype, tlv_shape4(s->b, s->o, s->oh, s->ow));
    x = image(c, x);
    w = tlvi_row_major(c, w);
    const tlv_tensor *scale = tlvi_row_major(c, f->scale), *shift = tlvi_row_major(c, f->shift);
    const tlv_tensor *res = f->residual ? image(c, f->residual) : NULL;
    if (c->err) return NULL;
    tlvi_tap *tap = tlvi_alloc(c, (size_t)(s->kh * s->kw) * sizeof *tap);
    if (!tap) return NULL;
    forward_taps(s, tap);
    tlvi_conv v = { .dtype = x->dtype,
                    .sh = s->sh,
                    .sw = s->sw,
                    .n_tap = s->kh * s->kw,
                    .tap = tap,
                    .w = tlvi_ptr(w),
                    .w_in = s->kh * s->kw,
                    .w_out = s->cg * s->kh * s->kw,
                    .follow = scale || shift || res || f->act != TLV_ACT_NONE,
                    .act = unary[f->act],
                    .scale = scale ? tlvi_ptr(scale) : NULL,
                    .shift = shift ? tlvi_ptr(shift) : NULL,
                    .res = res ? tlvi_ptr(res) : NULL,
                    .lo = -INFINITY,
                    .hi = INFINITY };
    if (f->act == TLV_ACT_RELU || f->act == TLV_ACT_RELU6) v.lo = 0;
    if (f->act == TLV_ACT_RELU6) v.hi = 6;
    if (res) v.rb = res->stride[0], v.rh = res->stride[2], v.rw = res->stride[3];
    set_x(&v, x);
    set_y(&v, y);
    run_groups(c, &v, s, s->cg, s->og);
    tlvi_free(c, tap, (size_t)(s->kh * s->kw) * sizeof *tap);
    return c->err ? NULL : y;
}

/* ---- conv2d ---------------------------------------------------------------------------------- */

tlv_tensor *tlv_conv2d(tlv_ctx *c, const tlv_tensor *x, const tlv_tensor *w, const tlv_tensor *bias,
                       tlv_conv2d_opts o)
{
    geometry s;
    if ((bias && !tlvi_ready1(c, "conv2d", bias)) || !tlvi_ready2(c, "conv2d", x, w)
        || !tlvi_same_float(c, "conv2d", x, w) || (bias && !tlvi_same_float(c, "conv2d", x, bias))
        || !measure(c, "conv2d", tlv_shape_of(x), tlv_shape_of(w), &o, &s)
        || (bias && !is_row(c, "conv2d", "bias", bias, s.o)))
        return NULL;
    const tlv_tensor *in[3] = { x, w, bias };
    tlv_conv2d_fuse f = { .shift = bias };
    tlvi_record_args r = { .op = TLV_OP_CONV2D,
                           .n_in = 3,
                           .in = in,
                           .out = { forward(c, x, w, &s, &f) },
                           .attr = &o,
                           .attr_bytes = sizeof o };
    return tlvi_record(c, &r);
}
TLVI_EXEC(CONV2D)
{
    return tlv_conv2d(c, tlvi_in(n, 0), tlvi_in(n, 1), tlvi_in(n, 2),
                      *(const tlv_conv2d_opts *)n->attr);
}

/* The sum over all but the channels of an image: [B,C,H,W] -> [C] */
static tlv_tensor *channel_sum(tlv_ctx *c, const tlv_tensor *g)
{
    return tlv_sum(c, tlv_permute(c, g, TLV_AXES(0, 2, 3, 1)), TLV_AXES(0, 1, 2), 0);
}

/* y is linear in x and in w: dx and dw are its adjoints;  dbias = sum g */
TLVI_VJP(CONV2D)
{
    const tlv_conv2d_opts *o = n->attr;
    const tlv_tensor *x = tlvi_in(n, 0), *w = tlvi_in(n, 1);
    if (wants(n, 0)) d[0] = tlv_conv2d_dx(c, g, w, x->shape[2], x->shape[3], *o);
    if (wants(n, 1)) d[1] = tlv_conv2d_dw(c, g, x, w->shape[2], w->shape[3], *o);
    if (wants(n, 2)) d[2] = channel_sum(c, g);
}

/* ---- conv2d_dx -------------------------------------------------------------------------------- *
 * dx[y] = sum over taps k with y + pad - k dil = oy stride of g[oy] w[k]: a stride-1 convolution of
 * g for each phase of y + pad modulo the stride, with the taps that belong to it. */

typedef struct phase {
    int64_t first, n, at;
} phase; // outputs first, first + stride, ...; at: oy of tap 0

static phase phase_of(int64_t r, int64_t stride, int64_t pad, int64_t n)
{
    phase p;
    p.first = ((r - pad) % stride + stride) % stride;
    p.n = p.first < n ? (n - p.first + stride - 1) / stride : 0;
    p.at = (p.first + pad - r) / stride;
    return p;
}

/* The taps of one phase, in rising order of their input pixels. */
static int64_t phase_taps(const geometry *s, int64_t ry, int64_t rx, int64_t y, int64_t x,
                          tlvi_tap *tap)
{
    int64_t n = 0;
    for (int64_t i = s->kh - 1; i >= 0; i--) {
        if ((ry - i * s->dh) % s->sh) continue;
        for (int64_t j = s->kw - 1; j >= 0; j--) {
            if ((rx - j * s->dw) % s->sw) continue;
            tap[n++] = (tlvi_tap){ y + (ry - i * s->dh) / s->sh, x + (rx - j * s->dw) / s->sw,
                                   i * s->kw + j };
        }
    }
    return n;
}

/* The phases that have an output pixel; tap has room for all of the filter's. */
static int64_t list_phases(const tlvi_conv *all, const geometry *s, tlvi_tap *tap, tlvi_conv *v)
{
    int64_t es = all->dtype == TLV_F64 ? 8 : 4, n = 0;
    for (int64_t ry = 0; ry < s->sh; ry++) {
        phase py = phase_of(ry, s->sh, s->top, s->h);
        for (int64_t rx = 0; rx < s->sw && py.n > 0; rx++) {
            phase px = phase_of(rx, s->sw, s->left, s->w);
            if (px.n == 0) continue;
            v[n] = *all;
            v[n].tap = tap;
            v[n].n_tap = phase_taps(s, ry, rx, py.at, px.at, tap);
            v[n].y += (py.first * all->yh + px.first * all->yw) * es;
            v[n].oh = py.n;
            v[n].ow = px.n;
            v[n].yh *= s->sh;
            v[n].yw *= s->sw;
            tap += v[n++].n_tap;
        }
    }
    return n;
}

/* Small images take all phases in one go, so that weights are packed once. */
static void run_phases(tlv_ctx *c, const geometry *s, int64_t n, tlvi_conv *v)
{
    int together = n > 1 && s->groups == 1 && tlvi_across_takes(tlvi_ks(c, v->dtype), v, 0);
    if (together) tlvi_across_run(c, n, v);
    else
        for (int64_t i = 0; i < n; i++) run_groups(c, &v[i], s, s->og, s->cg);
}

tlv_tensor *tlv_conv2d_dx(tlv_ctx *c, const tlv_tensor *g, const tlv_tensor *w, int64_t h,
                          int64_t w_, tlv_conv2d_opts o)
{
    geometry s;
    if (!tlvi_ready2(c, "conv2d_dx", g, w) || !tlvi_same_float(c, "conv2d_dx", g, w)) return NULL;
    TLVI_REQUIRE(c, g->ndim == 4 && w->ndim == 4 && h >= 0 && w_ >= 0, TLV_ERR_SHAPE,
                 "g is [B,O,OH,OW], w [O,C/groups,KH,KW]",
                 "conv2d_dx: g is %s, w is %s, for an image %lld x %lld", tlvi_shape_str(g).s,
                 tlvi_shape_str(w).s, (long long)h, (long long)w_);
    int64_t groups = o.groups ? o.groups : 1;
    if (!measure(c, "conv2d_dx", tlv_shape4(g->shape[0], w->shape[1] * groups, h, w_),
                 tlv_shape_of(w), &o, &s)
        || !same_image(c, "conv2d_dx", "g", g, tlv_shape4(s.b, s.o, s.oh, s.ow)))
        return NULL;
    tlv_tensor *dx = tlvi_new_image(c, (tlv_dtype)g->dtype, tlv_shape4(s.b, s.c, h, w_));
    const tlv_tensor *gi = image(c, g), *wi = tlvi_row_major(c, w);
    if (c->err) return NULL;
    size_t taps = (size_t)(s.kh * s.kw) * sizeof(tlvi_tap);
    int64_t most = (s.sh < h ? s.sh : h) * (s.sw < w_ ? s.sw : w_);
    size_t bytes = taps + (size_t)most * sizeof(tlvi_conv) + 1;
    tlvi_tap *tap = tlvi_alloc(c, bytes);
    if (!tap) return NULL;
    tlvi_conv v = { .dtype = g->dtype, .sh = 1, .sw = 1, .w = tlvi_ptr(wi), .act = -1,
                    .w_in = s.cg * s.kh * s.kw, .w_out = s.kh * s.kw };
    set_x(&v, gi);
    set_y(&v, dx);
    tlvi_conv *phases = (tlvi_conv *)(void *)((char *)tap + taps);
    if (tlvi_numel(dx)) run_phases(c, &s, list_phases(&v, &s, tap, phases), phases);
    tlvi_free(c, tap, bytes);
    return tlvi_record2(c, TLV_OP_CONV2D_DX, c->err ? NULL : dx, g, w, &o, sizeof o);
}
TLVI_EXEC(CONV2D_DX)
{
    const tlv_tensor *dx = tlvi_out(n, 0);
    return tlv_conv2d_dx(c, tlvi_in(n, 0), tlvi_in(n, 1), dx->shape[2], dx->shape[3],
                         *(const tlv_conv2d_opts *)n->attr);
}
/* linear in g and in w; its adjoints are conv2d and conv2d_dw */
TLVI_VJP(CONV2D_DX)
{
    const tlv_conv2d_opts *o = n->attr;
    const tlv_tensor *w = tlvi_in(n, 1);
    if (wants(n, 0)) d[0] = tlv_conv2d(c, g, w, NULL, *o);
    if (wants(n, 1)) d[1] = tlv_conv2d_dw(c, tlvi_in(n, 0), g, w->shape[2], w->shape[3], *o);
}

/* ---- conv2d_dw ------------------------------------------------------------------------------- */

tlv_tensor *tlv_conv2d_dw(tlv_ctx *c, const tlv_tensor *g, const tlv_tensor *x, int64_t kh,
                          int64_t kw, tlv_conv2d_opts o)
{
    geometry s;
    if (!tlvi_ready2(c, "conv2d_dw", g, x) || !tlvi_same_float(c, "conv2d_dw", g, x)) return NULL;
    int64_t groups = o.groups ? o.groups : 1;
    TLVI_REQUIRE(c,
                 g->ndim == 4 && x->ndim == 4 && kh >= 1 && kw >= 1 && groups >= 1
                     && x->shape[1] % groups == 0,
                 TLV_ERR_SHAPE, "g is [B,O,OH,OW], x [B,C,H,W], groups divides C",
                 "conv2d_dw: g is %s, x is %s, for a kernel %lld x %lld in %lld groups",
                 tlvi_shape_str(g).s, tlvi_shape_str(x).s, (long long)kh, (long long)kw,
                 (long long)groups);
    tlv_shape ws = tlv_shape4(g->shape[1], x->shape[1] / groups, kh, kw);
    if (!measure(c, "conv2d_dw", tlv_shape_of(x), ws, &o, &s)
        || !same_image(c, "conv2d_dw", "g", g, tlv_shape4(s.b, s.o, s.oh, s.ow)))
        return NULL;
    tlv_tensor *dw = tlvi_new(c, (tlv_dtype)g->dtype, ws);
    const tlv_tensor *gi = image(c, g), *xi = image(c, x);
    if (c->err) return NULL;
    size_t bytes = (size_t)(kh * kw) * sizeof(tlvi_tap);
    tlvi_tap *tap = tlvi_alloc(c, bytes);
    if (!tap) return NULL;
    forward_taps(&s, tap);
    tlvi_conv v = { .dtype = g->dtype,
                    .sh = s.sh,
                    .sw = s.sw,
                    .n_tap = kh * kw,
                    .tap = tap,
                    .act = -1,
                    .w_in = kh * kw,
                    .w_out = s.cg * kh * kw };
    set_x(&v, xi);
    set_y(&v, gi);
    int64_t es = (int64_t)tlv_dtype_size((tlv_dtype)g->dtype);
    char *to = tlvi_ptr(dw);
    if (is_depthwise(&s)) tlvi_depthwise_dw_run(c, &v, to);
    else
        for (int64_t i = 0; i < s.groups && !c->err; i++) {
            tlvi_conv gr = group_of(&v, &s, i, s.cg, s.og);
            char *part = to + i * s.og * v.w_out * es;
            if (tlvi_winograd_takes(c, &gr, 1)) tlvi_winograd_dw_run(c, &gr, part);
            else if (tlvi_across_takes(tlvi_ks(c, gr.dtype), &gr, 1))
                tlvi_across_dw_run(c, &gr, part);
            else tlvi_conv_dw_run(c, &gr, part);
        }
    tlvi_free(c, tap, bytes);
    return tlvi_record2(c, TLV_OP_CONV2D_DW, c->err ? NULL : dw, g, x, &o, sizeof o);
}
TLVI_EXEC(CONV2D_DW)
{
    const tlv_tensor *dw = tlvi_out(n, 0);
    return tlv_conv2d_dw(c, tlvi_in(n, 0), tlvi_in(n, 1), dw->shape[2], dw->shape[3],
                         *(const tlv_conv2d_opts *)n->attr);
}
/* linear in g and in x; its adjoints are conv2d and conv2d_dx */
TLVI_VJP(CONV2D_DW)
{
    const tlv_conv2d_opts *o = n->attr;
    const tlv_tensor *x = tlvi_in(n, 1);
    if (wants(n, 0)) d[0] = tlv_conv2d(c, x, g, NULL, *o);
    if (wants(n, 1)) d[1] = tlv_conv2d_dx(c, tlvi_in(n, 0), g, x->shape[2], x->shape[3], *o);
}

/* ---- conv2d_fused ----------------------------------------------------------------------------- *
 * Two ops on the tape, because they keep different things: CONV2D_ACT reads y for its activation,
 * CONV2D_AFFINE has none.  An activation whose derivative is no function of y follows as an op of
 * its own where gradients are wanted, and runs in the same pass where they are not. */

typedef struct fused_attr { tlv_conv2d_opts o; tlv_act act; } fused_attr;

static int act_from_y(tlv_act a)
{
    return a == TLV_ACT_RELU || a == TLV_ACT_RELU6 || a == TLV_ACT_SIGMOID || a == TLV_ACT_TANH;
}

static int fused_ready(tlv_ctx *c, const tlv_tensor *x, const tlv_tensor *w,
                       const tlv_conv2d_opts *o, const tlv_conv2d_fuse *f, geometry *s)
{
    static const char *const name[3] = { "scale", "shift", "residual" };
    const tlv_tensor *extra[3] = { f->scale, f->shift, f->residual };
    for (int i = 0; i < 3; i++)
        if (extra[i] && !tlvi_ready1(c, "conv2d_fused", extra[i])) return 0;
    if (!tlvi_ready2(c, "conv2d_fused", x, w) || !tlvi_same_float(c, "conv2d_fused", x, w)
        || !measure(c, "conv2d_fused", tlv_shape_of(x), tlv_shape_of(w), o, s))
        return 0;
    for (int i = 0; i < 3; i++) {
        if (!extra[i]) continue;
        if (!tlvi_same_float(c, "conv2d_fused", x, extra[i])) return 0;
        if (i < 2 ? !is_row(c, "conv2d_fused", name[i], extra[i], s->o)
                  : !same_image(c, "conv2d_fused", name[i], extra[i],
                                tlv_shape4(s->b, s->o, s->oh, s->ow)))
            return 0;
    }
    if ((unsigned)f->act <= TLV_ACT_HARD_SIGMOID) return 1;
    tlvi_fail(c, TLV_ERR_ARG, "take one of tlv_act", "conv2d_fused: activation %d", (int)f->act);
    return 0;
}

tlv_tensor *tlv_conv2d_fused(tlv_ctx *c, const tlv_tensor *x, const tlv_tensor *w,
                             tlv_conv2d_opts o, tlv_conv2d_fuse f)
{
    geometry s;
    if (!fused_ready(c, x, w, &o, &f, &s)) return NULL;
    const tlv_tensor *in[5] = { x, w, f.scale, f.shift, f.residual };
    int any = 0;
    for (int i = 0; i < 5; i++) any |= tlv_wants_grad(in[i]);
    tlv_act after = TLV_ACT_NONE;
    if (any && tlvi_recording(c) && f.act != TLV_ACT_NONE && !act_from_y(f.act)) {
        after = f.act;
        f.act = TLV_ACT_NONE;
    }
    fused_attr at;
    memset(&at, 0, sizeof at);
    at.o = o;
    at.act = f.act;
    tlvi_record_args r = { .op = f.act == TLV_ACT_NONE ? TLV_OP_CONV2D_AFFINE : TLV_OP_CONV2D_ACT,
                           .n_in = 5,
                           .in = in,
                           .out = { forward(c, x, w, &s, &f) },
                           .attr = &at,
                           .attr_bytes = sizeof at };
    tlv_tensor *y = tlvi_record(c, &r);
    return after == TLV_ACT_NONE ? y : tlv_activate(c, y, after);
}

static tlv_tensor *fused_exec(tlv_ctx *c, const tlvi_node *n)
{
    const fused_attr *a = n->attr;
    tlv_conv2d_fuse f = { tlvi_in(n, 2), tlvi_in(n, 3), tlvi_in(n, 4), a->act };
    return tlv_conv2d_fused(c, tlvi_in(n, 0), tlvi_in(n, 1), a->o, f);
}
TLVI_EXEC(CONV2D_AFFINE) { return fused_exec(c, n); }
TLVI_EXEC(CONV2D_ACT) { return fused_exec(c, n); }

/* g act'(z), where act' is a function of y = act(z) */
static tlv_tensor *through_act(tlv_ctx *c, tlv_act act, const tlv_tensor *g, const tlv_tensor *y)
{
    if (!tlvi_recording(c)) {
        tlvi_binary k = act == TLV_ACT_RELU      ? TLVI_BIN_RELU_GRAD
                        : act == TLV_ACT_RELU6   ? TLVI_BIN_RELU6_GRAD
                        : act == TLV_ACT_SIGMOID ? TLVI_BIN_SIGMOID_GRAD
                                                 : TLVI_BIN_TANH_GRAD;
        return tlvi_binary_apply(c, "conv2d_fused", k, g, y, 0, 0);
    }
    switch (act) {
    case TLV_ACT_SIGMOID: return tlv_mul(c, g, tlv_mul(c, y, tlv_affine(c, y, -1, 1)));
    case TLV_ACT_TANH: return tlv_mul(c, g, tlv_affine(c, tlv_mul(c, y, y), -1, 1));
    default: break;
    }
    tlv_tensor *m = tlvi_unary_apply(c, "conv2d_fused", TLVI_UN_STEP, y, 0, 0);
    if (act == TLV_ACT_RELU6) {
        const tlv_tensor *below = tlvi_unary_apply(c, "conv2d_fused", TLVI_UN_AFFINE, y, -1, 6);
        if (!below) return NULL;
        below = tlvi_unary_apply(c, "conv2d_fused", TLVI_UN_STEP, below, 0, 0);
        if (!m || !below) return NULL;
        m = tlvi_binary_apply(c, "conv2d_fused", TLVI_BIN_MUL, m, below, 0, 0);
    }
    return m ? tlv_mul(c, g, m) : NULL;
}

/* dz and, where wanted, its sum over all but the channels: in one pass where the gate allows it. */
static const tlv_tensor *gated_sum(tlv_ctx *c, tlv_act act, const tlv_tensor *g,
                                   const tlv_tensor *y, tlv_tensor **sum)
{
    tlvi_gate gate = act == TLV_ACT_RELU    ? TLVI_GATE_RELU
                     : act == TLV_ACT_RELU6 ? TLVI_GATE_RELU6
                                            : TLVI_GATE_NONE;
    if (!sum || (act != TLV_ACT_NONE && gate == TLVI_GATE_NONE)) {
        if (act != TLV_ACT_NONE) g = through_act(c, act, g, y);
        if (sum && g) *sum = channel_sum(c, g);
        return g;
    }
    tlvi_cols s = tlvi_cols_of(g, 0);
    tlvi_cols_grad a = { .gate = gate, .g = tlvi_cols_view(c, g), .y = tlvi_cols_view(c, y) };
    if (gate) a.gated = tlvi_cols_new(c, (tlv_dtype)g->dtype, tlv_shape_of(g));
    size_t bytes = (size_t)(2 * s.n + 1) * sizeof(double);
    double *total = c->err ? NULL : tlvi_alloc(c, bytes);
    if (!total) return NULL;
    tlvi_cols_grad_sums(c, &s, &a, total, total + s.n);
    *sum = tlvi_norm_vector(c, g->dtype, s.n, total);
    tlvi_free(c, total, bytes);
    return gate ? a.gated : a.g;
}

/* As fused_vjp.  scale moves into the weights, w' = scale w, and dscale falls out of the gradient
 * of w': with e = conv2d_dw(dz, x),  dw = scale e,  dscale = sum of w e over a filter. */
static void fused_vjp_fast(tlv_ctx *c, const tlvi_node *n, const tlv_tensor *g, tlv_tensor **d)
{
    const fused_attr *a = n->attr;
    const tlv_tensor *x = tlvi_in(n, 0), *w = tlvi_in(n, 1), *scale = tlvi_in(n, 2);
    const tlv_tensor *y = a->act == TLV_ACT_NONE ? NULL : tlvi_out(n, 0);
    const tlv_tensor *dz = gated_sum(c, a->act, g, y, wants(n, 3) ? &d[3] : NULL);
    if (!dz) return;
    if (wants(n, 4)) d[4] = tlvi_pass(dz);
    tlv_shape filters = tlv_shape4(g->shape[1], 1, 1, 1);
    if (wants(n, 0)) {
        if (scale) w = tlv_mul(c, w, tlv_reshape(c, scale, filters));
        d[0] = tlv_conv2d_dx(c, dz, w, x->shape[2], x->shape[3], a->o);
    }
    if (!wants(n, 1) && !wants(n, 2)) return;
    w = tlvi_in(n, 1);
    tlv_tensor *e = tlv_conv2d_dw(c, dz, x, w->shape[2], w->shape[3], a->o);
    if (wants(n, 2)) d[2] = tlv_sum(c, tlv_mul(c, w, e), TLV_AXES(1, 2, 3), 0);
    if (wants(n, 1)) d[1] = scale ? tlv_mul(c, e, tlv_reshape(c, scale, filters)) : e;
}

/* y = act(z), z = u scale + shift + residual, u = conv(x, w):
 *   dz = g act'(z)   dresidual = dz   dshift = sum dz   dscale = sum dz u   du = dz scale, and on
 * to x and w */
static void fused_vjp(tlv_ctx *c, const tlvi_node *n, const tlv_tensor *g, tlv_tensor **d)
{
    if (!tlvi_recording(c)) {
        fused_vjp_fast(c, n, g, d);
        return;
    }
    const fused_attr *a = n->attr;
    const tlv_tensor *x = tlvi_in(n, 0), *w = tlvi_in(n, 1), *scale = tlvi_in(n, 2), *dz = g;
    if (a->act != TLV_ACT_NONE) dz = through_act(c, a->act, g, tlvi_out(n, 0));
    if (!dz) return;
    if (wants(n, 4)) d[4] = tlvi_pass(dz);
    if (wants(n, 3)) d[3] = channel_sum(c, dz);
    if (wants(n, 2)) d[2] = channel_sum(c, tlv_mul(c, dz, tlv_conv2d(c, x, w, NULL, a->o)));
    if (!wants(n, 0) && !wants(n, 1)) return;
    if (scale) dz = tlv_mul(c, dz, tlv_reshape(c, scale, tlv_shape3(scale->shape[0], 1, 1)));
    if (wants(n, 0)) d[0] = tlv_conv2d_dx(c, dz, w, x->shape[2], x->shape[3], a->o);
    if (wants(n, 1)) d[1] = tlv_conv2d_dw(c, dz, x, w->shape[2], w->shape[3], a->o);
}
TLVI_VJP(CONV2D_AFFINE) { fused_vjp(c, n, g, d); }
TLVI_VJP(CONV2D_ACT) { fused_vjp(c, n, g, d); }
