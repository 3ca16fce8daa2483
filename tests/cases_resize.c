/* cases_resize.c -- resize by the definition of each output pixel as a sum over the whole image. */
#include <math.h>
#include <stdlib.h>

#include "autograd/op.h"
#include "tests/opcase.h"

enum { MAX_SIDE = 24 };

static double cubic(double t, double a)
{
    t = fabs(t);
    if (t <= 1) return (a + 2) * t * t * t - (a + 3) * t * t + 1;
    return t < 2 ? a * t * t * t - 5 * a * t * t + 8 * a * t - 4 * a : 0;
}

static double triangle(double t) { return fabs(t) < 1 ? 1 - fabs(t) : 0; }

static double within(double v, double lo, double hi) { return v < lo ? lo : v > hi ? hi : v; }

/* w[k]: what input k of n counts in output i of m. */
static void weights(const op_case *k, int64_t n, int64_t m, int64_t i, double *w)
{
    tlv_resize_mode mode = (tlv_resize_mode)(int)k->opt[0];
    int corners = k->opt[1] != 0;
    double scale = !corners ? (double)n / (double)m : m > 1 ? (double)(n - 1) / (double)(m - 1) : 0,
        sum = 0;
    for (int64_t j = 0; j < n; j++) w[j] = 0;
    if (k->opt[2] != 0) {
        double wide = scale > 1 ? scale : 1, reach = wide * (mode == TLV_BICUBIC ? 2 : 1),
            centre = scale * ((double)i + 0.5);
        double first = floor(within(centre - reach + 0.5, 0, 1e9)),
            end = floor(within(centre + reach + 0.5, 0, (double)n));
        for (int64_t j = (int64_t)first; j < (int64_t)end; j++) {
            double t = ((double)j + 0.5 - centre) / wide;
            w[j] = mode == TLV_BICUBIC ? cubic(t, -0.5) : triangle(t);
            sum += w[j];
        }
        for (int64_t j = 0; j < n; j++) w[j] /= sum;
        return;
    }
    double at = corners ? (double)i * scale : ((double)i + 0.5) * scale - 0.5;
    if (mode == TLV_NEAREST) {
        w[(int64_t)within(floor((double)((float)i * ((float)n / (float)m))), 0, (double)n - 1)] = 1;
    } else if (mode == TLV_BILINEAR) {
        for (int64_t j = 0; j < n; j++) w[j] = triangle((double)j - within(at, 0, (double)n - 1));
    } else {
        for (int64_t j = -3; j < n + 3; j++)
            w[(int64_t)within((double)j, 0, (double)n - 1)] += cubic((double)j - at, -0.75);
    }
}

/* out += or its adjoint; x [B,C,h,w], y [B,C,oh,ow]. */
static void resize_walk(const op_case *k, tlv_shape x, tlv_shape y, int adjoint, const double *from,
                        double *to)
{
    int64_t h = x.dim[2], w = x.dim[3], oh = y.dim[2], ow = y.dim[3];
    for (int64_t i = 0; i < case_numel(k->out); i++) to[i] = 0;
    for (int64_t p = 0; p < oh; p++)
        for (int64_t q = 0; q < ow; q++) {
            double down[MAX_SIDE], across[MAX_SIDE];
            weights(k, h, oh, p, down);
            weights(k, w, ow, q, across);
            for (int64_t b = 0; b < x.dim[0] * x.dim[1]; b++)
                for (int64_t r = 0; r < h; r++)
                    for (int64_t s = 0; s < w; s++) {
                        int64_t at = (b * h + r) * w + s, to_at = (b * oh + p) * ow + q;
                        if (adjoint) to[at] += down[r] * across[s] * from[to_at];
                        else to[to_at] += down[r] * across[s] * from[at];
                    }
        }
}

static tlv_resize_opts opts_of(const op_case *k)
{
    return (tlv_resize_opts){ (tlv_resize_mode)(int)k->opt[0], (int)k->opt[1], (int)k->opt[2] };
}

static tlv_tensor *resize_call(tlv_ctx *c, const tlv_tensor *const *in, const op_case *k)
{
    return tlv_resize(c, in[0], k->out.dim[2], k->out.dim[3], opts_of(k));
}

static void resize_ref(const op_case *k, const double *const *in, double *out)
{
    resize_walk(k, k->in[0].shape, k->out, 0, in[0], out);
}

static tlv_tensor *adjoint_call(tlv_ctx *c, const tlv_tensor *const *in, const op_case *k)
{
    return tlvi_resize_t(c, in[0], k->out.dim[2], k->out.dim[3], opts_of(k));
}

static void adjoint_ref(const op_case *k, const double *const *in, double *out)
{
    resize_walk(k, k->out, k->in[0].shape, 1, in[0], out);
}

static int resize_case(int i, op_case *k, int adjoint)
{
    static const struct {
        const char *text;
        tlv_shape x, y;
        int mode, corners, antialias;
    } CASES[] = {
        { "nearest up", { 4, { 2, 3, 3, 4 } }, { 4, { 2, 3, 7, 8 } }, TLV_NEAREST, 0, 0 },
        { "nearest down", { 4, { 2, 3, 7, 8 } }, { 4, { 2, 3, 3, 5 } }, TLV_NEAREST, 0, 0 },
        { "bilinear up", { 4, { 2, 3, 3, 4 } }, { 4, { 2, 3, 6, 7 } }, TLV_BILINEAR, 0, 0 },
        { "bilinear down", { 4, { 1, 3, 9, 7 } }, { 4, { 1, 3, 4, 3 } }, TLV_BILINEAR, 0, 0 },
        { "bilinear, corners", { 4, { 2, 2, 3, 4 } }, { 4, { 2, 2, 5, 3 } }, TLV_BILINEAR, 1, 0 },
        { "bilinear, corners, to one", { 4, { 1, 2, 3, 4 } }, { 4, { 1, 2, 1, 1 } }, TLV_BILINEAR,
          1, 0 },
        { "bilinear, antialias down", { 4, { 1, 2, 9, 11 } }, { 4, { 1, 2, 4, 3 } }, TLV_BILINEAR,
          0, 1 },
        { "bilinear, antialias up", { 4, { 1, 2, 3, 4 } }, { 4, { 1, 2, 5, 7 } }, TLV_BILINEAR, 0,
          1 },
        { "bicubic up", { 4, { 1, 3, 4, 5 } }, { 4, { 1, 3, 7, 9 } }, TLV_BICUBIC, 0, 0 },
        { "bicubic down", { 4, { 1, 3, 9, 8 } }, { 4, { 1, 3, 3, 5 } }, TLV_BICUBIC, 0, 0 },
        { "bicubic, corners", { 4, { 1, 2, 4, 5 } }, { 4, { 1, 2, 6, 3 } }, TLV_BICUBIC, 1, 0 },
        { "bicubic, antialias down", { 4, { 1, 2, 11, 9 } }, { 4, { 1, 2, 3, 4 } }, TLV_BICUBIC, 0,
          1 },
        { "bicubic, antialias up", { 4, { 1, 2, 3, 4 } }, { 4, { 1, 2, 6, 5 } }, TLV_BICUBIC, 0,
          1 },
        { "antialias, corners", { 4, { 1, 2, 7, 8 } }, { 4, { 1, 2, 3, 5 } }, TLV_BILINEAR, 1, 1 },
        { "many channels", { 4, { 1, 19, 3, 2 } }, { 4, { 1, 19, 4, 3 } }, TLV_BILINEAR, 0, 0 },
        { "from one pixel", { 4, { 2, 3, 1, 1 } }, { 4, { 2, 3, 3, 2 } }, TLV_BICUBIC, 0, 0 },
        { "the same size", { 4, { 1, 1, 4, 3 } }, { 4, { 1, 1, 4, 3 } }, TLV_BICUBIC, 0, 0 },
        { "no image", { 4, { 0, 3, 4, 3 } }, { 4, { 0, 3, 2, 2 } }, TLV_BILINEAR, 0, 0 },
        { "no channel", { 4, { 2, 0, 4, 3 } }, { 4, { 2, 0, 2, 2 } }, TLV_BILINEAR, 0, 0 },
    };
    if (i >= (int)(sizeof CASES / sizeof CASES[0])) return 0;
    *k = (op_case){ .text = CASES[i].text, .n_in = 1, .out = adjoint ? CASES[i].x : CASES[i].y,
                    .in = { { .shape = adjoint ? CASES[i].y : CASES[i].x } },
                    .call = adjoint ? adjoint_call : resize_call,
                    .ref = adjoint ? adjoint_ref : resize_ref,
                    .opt = { CASES[i].mode, CASES[i].corners, CASES[i].antialias },
                    .no_second = 1 };
    return 1;
}

int case_RESIZE(int i, op_case *k);
int case_RESIZE(int i, op_case *k) { return resize_case(i, k, 0); }
int case_RESIZE_T(int i, op_case *k);
int case_RESIZE_T(int i, op_case *k) { return resize_case(i, k, 1); }
