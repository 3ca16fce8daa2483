/* cases_pool2d.c -- pooling and its adjoints, against loops over the definition. */
#include <math.h>

#include "autograd/pool2d.h"
#include "tests/opcase.h"

/* k 0: adaptive, to oh x ow */
typedef struct spec {
    const char *text;
    int b, c, h, w, k, k_w, stride, stride_w, pad[4], dil, ceil, exclude, oh, ow;
} spec;

/* oh and ow are PyTorch's, counted by hand. */
static const spec MAX_SPECS[] = {
    { "2x2", 2, 3, 4, 6, 2, 0, 0, 0, { 0 }, 0, 0, 0, 2, 3 },
    { "2x2, a rest", 1, 2, 5, 3, 2, 0, 0, 0, { 0 }, 0, 0, 0, 2, 1 },
    { "2x2, a rest, ceil", 1, 2, 5, 3, 2, 0, 0, 0, { 0 }, 0, 1, 0, 3, 2 },
    { "3x3 stride 2 padded", 1, 3, 7, 6, 3, 0, 2, 0, { 1, 1, 1, 1 }, 0, 0, 0, 4, 3 },
    { "3x2 stride 1 and 2, uneven pads, ceil",
      1,
      2,
      5,
      6,
      3,
      2,
      1,
      2,
      { 1, 0, 1, 1 },
      0,
      1,
      0,
      4,
      4 },
    { "dilation 2", 1, 2, 7, 6, 3, 2, 1, 2, { 2, 1, 0, 1 }, 2, 0, 0, 6, 3 },
    { "a window behind the image is dropped", 1, 1, 3, 3, 1, 0, 3, 0, { 0 }, 0, 1, 0, 1, 1 },
    { "17 channels, stride larger than k", 1, 17, 5, 4, 2, 0, 3, 0, { 0 }, 0, 0, 0, 2, 1 },
    { "the whole image", 2, 2, 3, 4, 3, 4, 0, 0, { 0 }, 0, 0, 0, 1, 1 },
    { "adaptive 3x2", 1, 3, 7, 5, 0, 0, 0, 0, { 0 }, 0, 0, 0, 3, 2 },
    { "adaptive, more out than in", 1, 2, 2, 3, 0, 0, 0, 0, { 0 }, 0, 0, 0, 4, 5 },
    { "no examples", 0, 2, 4, 4, 2, 0, 0, 0, { 0 }, 0, 0, 0, 2, 2 },
    { "no channels", 1, 0, 4, 4, 2, 0, 0, 0, { 0 }, 0, 0, 0, 2, 2 },
};
static const spec AVG_SPECS[] = {
    { "2x2", 2, 3, 4, 6, 2, 0, 0, 0, { 0 }, 0, 0, 0, 2, 3 },
    { "3x3 stride 2 padded", 1, 3, 7, 6, 3, 0, 2, 0, { 1, 1, 1, 1 }, 0, 0, 0, 4, 3 },
    { "3x3 stride 2 padded, padding excluded",
      1,
      3,
      7,
      6,
      3,
      0,
      2,
      0,
      { 1, 1, 1, 1 },
      0,
      0,
      1,
      4,
      3 },
    { "3x3 stride 2 padded, ceil", 1, 2, 6, 8, 3, 0, 2, 0, { 1, 1, 1, 1 }, 0, 1, 0, 4, 5 },
    { "ceil, padding excluded", 1, 2, 6, 8, 3, 0, 2, 0, { 1, 1, 1, 1 }, 0, 1, 1, 4, 5 },
    { "ceil without padding", 1, 2, 5, 7, 3, 2, 3, 0, { 0 }, 0, 1, 0, 2, 3 },
    { "3x2 stride 1 and 2, uneven pads", 1, 2, 5, 6, 3, 2, 1, 2, { 2, 0, 1, 0 }, 0, 0, 0, 5, 3 },
    { "stride larger than k, 17 channels", 1, 17, 5, 4, 2, 0, 3, 0, { 0 }, 0, 0, 0, 2, 1 },
    { "adaptive 3x2", 1, 3, 7, 5, 0, 0, 0, 0, { 0 }, 0, 0, 0, 3, 2 },
    { "adaptive, more out than in", 1, 2, 2, 3, 0, 0, 0, 0, { 0 }, 0, 0, 0, 4, 5 },
    { "global", 2, 5, 3, 4, 0, 0, 0, 0, { 0 }, 0, 0, 0, 1, 1 },
    { "no examples", 0, 2, 4, 4, 2, 0, 0, 0, { 0 }, 0, 0, 0, 2, 2 },
    { "no channels", 1, 0, 4, 4, 0, 0, 0, 0, { 0 }, 0, 0, 0, 2, 3 },
};
#define COUNT(a) (int)(sizeof(a) / sizeof((a)[0]))

static tlv_pool2d_opts opts_of(const spec *s)
{
    return (tlv_pool2d_opts){
        s->k,   s->k_w,  s->stride, s->stride_w, { s->pad[0], s->pad[1], s->pad[2], s->pad[3] },
        s->dil, s->ceil, s->exclude
    };
}

static tlv_shape x_shape(const spec *s) { return tlv_shape4(s->b, s->c, s->h, s->w); }
static tlv_shape y_shape(const spec *s) { return tlv_shape4(s->b, s->c, s->oh, s->ow); }

/* Place t of window o on an axis of n, or -1 outside; t counts from 0 to the window's size. */
static int place(const spec *s, int vertical, int o, int t)
{
    int n = vertical ? s->h : s->w, out = vertical ? s->oh : s->ow;
    if (s->k == 0) {
        int lo = (int)floor((double)o * n / out), hi = (int)ceil((double)(o + 1) * n / out);
        return lo + t < hi ? lo + t : -1;
    }
    int k = vertical || !s->k_w ? s->k : s->k_w;
    int stride = vertical || !s->stride_w ? s->stride : s->stride_w;
    if (stride == 0) stride = k;
    int at = o * stride - s->pad[vertical ? 0 : 2] + t * (s->dil ? s->dil : 1);
    return t < k && at >= 0 && at < n ? at : -1;
}

/* What the average divides by, on one axis: the window's places in the image (exclude), or in the
 * image and its padding. */
static int extent(const spec *s, int vertical, int o)
{
    int n = vertical ? s->h : s->w, count = 0, k = s->k ? (vertical || !s->k_w ? s->k : s->k_w) : n;
    int stride = vertical || !s->stride_w ? s->stride : s->stride_w;
    if (stride == 0) stride = k;
    for (int t = 0; t < k; t++) {
        int at = o * stride - s->pad[vertical ? 0 : 2] + t;
        if (s->k == 0 || s->exclude) count += place(s, vertical, o, t) >= 0;
        else count += at < n + s->pad[vertical ? 1 : 3];
    }
    return count;
}

/* Calls fn for each place of x in each window of y; share is 1 / the window's divisor. */
typedef void (*join_fn)(const double *from, double *to, int64_t x, int64_t y, double share);

static void each_place(const spec *s, join_fn fn, const double *from, double *to)
{
    int64_t y = 0;
    for (int64_t bc = 0; bc < (int64_t)s->b * s->c; bc++)
        for (int i = 0; i < s->oh; i++)
            for (int j = 0; j < s->ow; j++, y++)
                for (int k = 0; k < s->h + s->k; k++)
                    for (int l = 0; l < s->w + s->k + s->k_w; l++) {
                        int row = place(s, 1, i, k), col = place(s, 0, j, l);
                        if (row < 0 || col < 0) continue;
                        fn(from, to, (bc * s->h + row) * s->w + col, y,
                           1.0 / (extent(s, 1, i) * extent(s, 0, j)));
                    }
}

static void join_max(const double *from, double *to, int64_t x, int64_t y, double share)
{
    (void)share;
    if (from[x] > to[y]) to[y] = from[x];
}
static void join_avg(const double *from, double *to, int64_t x, int64_t y, double share)
{
    to[y] += from[x] * share;
}
static void join_avg_dx(const double *from, double *to, int64_t x, int64_t y, double share)
{
    to[x] += from[y] * share;
}

static void fill(const op_case *k, double *out, double v)
{
    for (int64_t i = 0; i < case_numel(k->out); i++) out[i] = v;
}

/* ---- maximum --------------------------------------------------------------------------------- */

static tlv_tensor *max_call(tlv_ctx *c, const tlv_tensor *const *in, const op_case *k)
{
    const spec *s = &MAX_SPECS[(int)k->opt[0]];
    return s->k ? tlv_max_pool2d(c, in[0], opts_of(s))
                : tlv_adaptive_max_pool2d(c, in[0], s->oh, s->ow);
}

static void max_ref(const op_case *k, const double *const *in, double *out)
{
    fill(k, out, -INFINITY);
    each_place(&MAX_SPECS[(int)k->opt[0]], join_max, in[0], out);
}

int case_MAX_POOL2D(int i, op_case *k);
int case_MAX_POOL2D(int i, op_case *k)
{
    if (i >= COUNT(MAX_SPECS)) return 0;
    const spec *s = &MAX_SPECS[i];
    k->text = s->text;
    k->n_in = 1;
    k->in[0].shape = x_shape(s);
    k->in[0].gap = 0.02;
    k->out = y_shape(s);
    k->opt[0] = i;
    k->call = max_call;
    k->ref = max_ref;
    k->no_second = 1;
    return 1;
}

/* ---- put and take ---------------------------------------------------------------------------- */

static tlv_tensor *put_call(tlv_ctx *c, const tlv_tensor *const *in, const op_case *k)
{
    return tlvi_window_put(c, in[0], in[1], k->out.dim[2], k->out.dim[3]);
}

static void put_ref(const op_case *k, const double *const *in, double *out)
{
    int64_t small = k->in[0].shape.dim[2] * k->in[0].shape.dim[3],
            large = k->out.dim[2] * k->out.dim[3];
    fill(k, out, 0);
    for (int64_t i = 0; i < case_numel(k->in[0].shape); i++)
        if (in[1][i] >= 0) out[i / small * large + (int64_t)in[1][i]] += in[0][i];
}

static tlv_tensor *take_call(tlv_ctx *c, const tlv_tensor *const *in, const op_case *k)
{
    (void)k;
    return tlvi_window_take(c, in[0], in[1]);
}

static void take_ref(const op_case *k, const double *const *in, double *out)
{
    int64_t small = k->out.dim[2] * k->out.dim[3],
            large = k->in[0].shape.dim[2] * k->in[0].shape.dim[3];
    for (int64_t i = 0; i < case_numel(k->out); i++)
        out[i] = in[1][i] >= 0 ? in[0][i / small * large + (int64_t)in[1][i]] : 0;
}

/* b, c, the large image, the small one */
static const int INDEXED[][6] = {
    { 2, 3, 4, 5, 2, 3 }, { 1, 67, 2, 3, 2, 2 }, { 1, 2, 3, 3, 5, 4 },
    { 1, 1, 1, 1, 1, 1 }, { 0, 2, 3, 3, 2, 2 },  { 2, 0, 3, 3, 2, 2 },
};

static int indexed(int i, op_case *k, int put)
{
    if (i >= COUNT(INDEXED)) return 0;
    const int *s = INDEXED[i];
    tlv_shape large = tlv_shape4(s[0], s[1], s[2], s[3]),
              small = tlv_shape4(s[0], s[1], s[4], s[5]);
    k->text = "window indices";
    k->n_in = 2;
    k->in[0].shape = put ? small : large;
    k->in[1] = (case_input){
        .shape = small, .kind = CASE_INDEX, .lo = i == 3 ? 0 : -1, .hi = s[2] * s[3] - 1
    };
    k->out = put ? large : small;
    k->call = put ? put_call : take_call;
    k->ref = put ? put_ref : take_ref;
    k->no_second = 1;
    return 1;
}

int case_POOL_PUT(int i, op_case *k);
int case_POOL_PUT(int i, op_case *k) { return indexed(i, k, 1); }
int case_POOL_TAKE(int i, op_case *k);
int case_POOL_TAKE(int i, op_case *k) { return indexed(i, k, 0); }

/* ---- average --------------------------------------------------------------------------------- */

static tlv_tensor *avg_call(tlv_ctx *c, const tlv_tensor *const *in, const op_case *k)
{
    const spec *s = &AVG_SPECS[(int)k->opt[0]];
    return s->k ? tlv_avg_pool2d(c, in[0], opts_of(s))
                : tlv_adaptive_avg_pool2d(c, in[0], s->oh, s->ow);
}

static void avg_ref(const op_case *k, const double *const *in, double *out)
{
    fill(k, out, 0);
    each_place(&AVG_SPECS[(int)k->opt[0]], join_avg, in[0], out);
}

static tlv_tensor *avg_dx_call(tlv_ctx *c, const tlv_tensor *const *in, const op_case *k)
{
    const spec *s = &AVG_SPECS[(int)k->opt[0]];
    return s->k ? tlvi_avg_pool2d_dx(c, in[0], s->h, s->w, opts_of(s))
                : tlvi_adaptive_avg_pool2d_dx(c, in[0], s->h, s->w);
}

static void avg_dx_ref(const op_case *k, const double *const *in, double *out)
{
    fill(k, out, 0);
    each_place(&AVG_SPECS[(int)k->opt[0]], join_avg_dx, in[0], out);
}

static int averages(int i, op_case *k, int dx)
{
    if (i >= COUNT(AVG_SPECS)) return 0;
    const spec *s = &AVG_SPECS[i];
    k->text = s->text;
    k->n_in = 1;
    k->in[0].shape = dx ? y_shape(s) : x_shape(s);
    k->out = dx ? x_shape(s) : y_shape(s);
    k->opt[0] = i;
    k->call = dx ? avg_dx_call : avg_call;
    k->ref = dx ? avg_dx_ref : avg_ref;
    k->no_second = 1;
    return 1;
}

int case_AVG_POOL2D(int i, op_case *k);
int case_AVG_POOL2D(int i, op_case *k) { return averages(i, k, 0); }
int case_AVG_POOL2D_DX(int i, op_case *k);
int case_AVG_POOL2D_DX(int i, op_case *k) { return averages(i, k, 1); }
