/* cases_batchnorm.c -- batch norm over its own and over given statistics, channel by channel. */
#include <math.h>

#include "autograd/norm.h"
#include "tests/opcase.h"

/* opt of every case; the places are those of the inputs, 0 for what is absent (x is input 0). */
enum { GAMMA, BETA, RESIDUAL, ACT, EPS };

static const tlv_tensor *side(const tlv_tensor *const *in, const op_case *k, int which)
{
    int place = (int)k->opt[which];
    return place ? in[place] : NULL;
}

static double side_value(const double *const *in, const op_case *k, int which, int64_t i,
                         double absent)
{
    int place = (int)k->opt[which];
    return place ? in[place][i] : absent;
}

static double activated(const op_case *k, double z)
{
    switch ((int)k->opt[ACT]) {
    case TLV_ACT_RELU: return z > 0 ? z : 0;
    case TLV_ACT_RELU6: return z > 6 ? 6 : z > 0 ? z : 0;
    case TLV_ACT_SILU: return z / (1 + exp(-z));
    default: return z;
    }
}

/* Runs what follows for each element i of channel ch of x [B,C,..]. */
#define EACH_OF_CHANNEL(s, ch, i)                                                                  \
    for (int64_t i = 0; i < case_numel(s); i++)                                                    \
        if (i / inner_of(s) % (s).dim[1] == (ch))

static int64_t inner_of(tlv_shape s)
{
    int64_t n = 1;
    for (int i = 2; i < s.ndim; i++) n *= s.dim[i];
    return n;
}

static void normalise(const op_case *k, const double *const *in, int64_t ch, double mean,
                      double var, double *out)
{
    tlv_shape s = k->out;
    double scale = side_value(in, k, GAMMA, ch, 1) / sqrt(var + k->opt[EPS]);
    EACH_OF_CHANNEL(s, ch, i)
    {
        double z = (in[0][i] - mean) * scale + side_value(in, k, BETA, ch, 0);
        out[i] = activated(k, z + side_value(in, k, RESIDUAL, i, 0));
    }
}

/* ---- the batch's own statistics -------------------------------------------------------------- */

static tlv_tensor *train_call(tlv_ctx *c, const tlv_tensor *const *in, const op_case *k)
{
    return tlv_batch_norm(c, in[0], side(in, k, GAMMA), side(in, k, BETA), k->opt[EPS],
                          side(in, k, RESIDUAL), (tlv_act)k->opt[ACT], NULL, NULL);
}

static void train_ref(const op_case *k, const double *const *in, double *out)
{
    tlv_shape s = k->out;
    for (int64_t ch = 0; ch < s.dim[1]; ch++) {
        double n = 0, mean = 0, var = 0;
        EACH_OF_CHANNEL(s, ch, i)
        {
            n += 1;
            mean += in[0][i];
        }
        mean /= n;
        EACH_OF_CHANNEL(s, ch, i) var += (in[0][i] - mean) * (in[0][i] - mean) / n;
        normalise(k, in, ch, mean, var, out);
    }
}

/* ---- given statistics ------------------------------------------------------------------------ */

static tlv_tensor *with_call(tlv_ctx *c, const tlv_tensor *const *in, const op_case *k)
{
    return tlv_batch_norm_with(c, in[0], in[1], in[2], side(in, k, GAMMA), side(in, k, BETA),
                               k->opt[EPS], side(in, k, RESIDUAL), (tlv_act)k->opt[ACT]);
}

static void with_ref(const op_case *k, const double *const *in, double *out)
{
    for (int64_t ch = 0; ch < k->out.dim[1]; ch++) normalise(k, in, ch, in[1][ch], in[2][ch], out);
}

/* ---- the tables ------------------------------------------------------------------------------ */

typedef struct bn_case {
    const char *text;
    tlv_shape x;
    int gamma, beta, residual;
    tlv_act act;
    double eps;
    int seed;
} bn_case;

static void add(op_case *k, case_input in) { k->in[k->n_in++] = in; }

static void fill(op_case *k, const bn_case *b, int given)
{
    tlv_shape channels = { 1, { b->x.dim[1] } };
    *k = (op_case){ .text = b->text, .out = b->x, .call = given ? with_call : train_call,
                    .ref = given ? with_ref : train_ref, .seed = b->seed };
    add(k, (case_input){ .shape = b->x });
    if (given) {
        add(k, (case_input){ .shape = channels, .kind = CASE_CONST });
        add(k, (case_input){ .shape = channels, .kind = CASE_CONST, .lo = 0.5, .hi = 2 });
    }
    if (b->gamma) {
        k->opt[GAMMA] = k->n_in;
        add(k, (case_input){ .shape = channels, .lo = 0.5, .hi = 1.5 });
    }
    if (b->beta) {
        k->opt[BETA] = k->n_in;
        add(k, (case_input){ .shape = channels });
    }
    if (b->residual) {
        k->opt[RESIDUAL] = k->n_in;
        add(k, (case_input){ .shape = b->x });
    }
    k->opt[ACT] = b->act;
    k->opt[EPS] = b->eps;
    if (given && !b->gamma && b->act != TLV_ACT_SILU) k->no_second = 1;
}

static const bn_case PLAIN[] = {
    { "images", { 4, { 2, 3, 3, 4 } }, 1, 1, 0, TLV_ACT_NONE, 1e-5, 0 },
    { "images, nothing but x", { 4, { 2, 3, 3, 2 } }, 0, 0, 0, TLV_ACT_NONE, 1e-5, 0 },
    { "gamma alone", { 4, { 3, 2, 2, 2 } }, 1, 0, 0, TLV_ACT_NONE, 0.1, 0 },
    { "beta alone", { 4, { 3, 2, 2, 2 } }, 0, 1, 0, TLV_ACT_NONE, 0.1, 0 },
    { "residual", { 4, { 2, 5, 2, 3 } }, 1, 1, 1, TLV_ACT_NONE, 1e-5, 0 },
    { "rows", { 2, { 7, 5 } }, 1, 1, 0, TLV_ACT_NONE, 1e-5, 0 },
    { "37 channels", { 2, { 5, 37 } }, 1, 1, 1, TLV_ACT_NONE, 1e-3, 0 },
    { "sequences", { 3, { 2, 3, 5 } }, 1, 1, 0, TLV_ACT_NONE, 1e-5, 0 },
    { "volumes", { 5, { 2, 2, 2, 3, 2 } }, 1, 1, 1, TLV_ACT_NONE, 1e-5, 0 },
    { "one channel", { 4, { 2, 1, 3, 3 } }, 1, 1, 0, TLV_ACT_NONE, 1e-5, 0 },
    { "one image", { 4, { 1, 3, 4, 3 } }, 1, 1, 0, TLV_ACT_NONE, 1e-5, 0 },
    { "an activation behind it", { 4, { 2, 3, 2, 3 } }, 1, 1, 1, TLV_ACT_SILU, 1e-5, 0 },
    { "no images", { 4, { 0, 3, 4, 3 } }, 1, 1, 1, TLV_ACT_NONE, 1e-5, 0 },
    { "no channels", { 4, { 2, 0, 4, 3 } }, 1, 1, 0, TLV_ACT_NONE, 1e-5, 0 },
};
static const bn_case ACTS[] = {
    { "relu", { 4, { 2, 3, 3, 4 } }, 1, 1, 0, TLV_ACT_RELU, 1e-5, 0 },
    { "relu, residual", { 4, { 2, 5, 2, 3 } }, 1, 1, 1, TLV_ACT_RELU, 1e-5, 0 },
    { "relu, nothing but x", { 4, { 2, 2, 3, 3 } }, 0, 0, 0, TLV_ACT_RELU, 1e-5, 0 },
    { "relu, rows, beta alone", { 2, { 9, 4 } }, 0, 1, 0, TLV_ACT_RELU, 0.1, 0 },
    { "relu, 18 channels", { 2, { 6, 18 } }, 1, 1, 1, TLV_ACT_RELU, 1e-3, 0 },
    { "relu6, residual", { 4, { 2, 3, 3, 3 } }, 1, 1, 1, TLV_ACT_RELU6, 1e-5, 0 },
    { "relu, sequences", { 3, { 3, 2, 4 } }, 1, 1, 1, TLV_ACT_RELU, 1e-5, 0 },
    { "relu, no images", { 4, { 0, 3, 4, 3 } }, 1, 1, 1, TLV_ACT_RELU, 1e-5, 0 },
};

static int pick(int i, op_case *k, const bn_case *table, size_t n, int given)
{
    if (i >= (int)n) return 0;
    fill(k, &table[i], given);
    return 1;
}

#define TABLE(t) t, sizeof t / sizeof t[0]

int case_BATCH_NORM(int i, op_case *k);
int case_BATCH_NORM(int i, op_case *k) { return pick(i, k, TABLE(PLAIN), 0); }
int case_BATCH_NORM_ACT(int i, op_case *k);
int case_BATCH_NORM_ACT(int i, op_case *k) { return pick(i, k, TABLE(ACTS), 0); }
int case_BATCH_NORM_WITH(int i, op_case *k);
int case_BATCH_NORM_WITH(int i, op_case *k) { return pick(i, k, TABLE(PLAIN), 1); }
int case_BATCH_NORM_WITH_ACT(int i, op_case *k);
int case_BATCH_NORM_WITH_ACT(int i, op_case *k) { return pick(i, k, TABLE(ACTS), 1); }

/* ---- the gradient ---------------------------------------------------------------------------- */

/* opt of these cases; the output is dx, or sums, or dx with a multiple of both sums added. */
enum { AS_DX, AS_SUMS, AS_BOTH };
enum { Y = 5, RETURNS };

static tlv_tensor *grad_call(tlv_ctx *c, const tlv_tensor *const *in, const op_case *k)
{
    int64_t ch = in[1]->shape[1];
    const tlv_tensor *gamma = side(in, k, GAMMA), *y = side(in, k, Y);
    tlv_tensor *sums, *dx = tlvi_batch_norm_grad(c, in[0], in[1], gamma, y, NULL, NULL, k->opt[EPS],
                                                 (tlv_act)k->opt[ACT], &sums);
    if (k->opt[RETURNS] == AS_DX) return dx;
    if (k->opt[RETURNS] == AS_SUMS) return sums;
    tlv_shape wide = { .ndim = in[1]->ndim - 1, .dim = { ch, 1, 1, 1 } };
    tlv_tensor *a = tlv_reshape(c, tlv_slice(c, sums, 0, 0, 1, 1), wide);
    tlv_tensor *b = tlv_reshape(c, tlv_slice(c, sums, 0, 1, 2, 1), wide);
    return tlv_add(c, dx, tlv_sub(c, a, tlv_affine(c, b, 0.5, 0)));
}

static double open_gate(const op_case *k, const double *const *in, int64_t i)
{
    double y = side_value(in, k, Y, i, 1);
    return y > 0 && (k->opt[ACT] != TLV_ACT_RELU6 || y < 6) ? in[0][i] : 0;
}

static void grad_ref(const op_case *k, const double *const *in, double *out)
{
    tlv_shape s = k->in[1].shape;
    for (int64_t ch = 0; ch < s.dim[1]; ch++) {
        double n = 0, mean = 0, var = 0, st = 0, sth = 0;
        EACH_OF_CHANNEL(s, ch, i)
        {
            n += 1;
            mean += in[1][i];
        }
        mean /= n;
        EACH_OF_CHANNEL(s, ch, i) var += (in[1][i] - mean) * (in[1][i] - mean) / n;
        double rstd = 1 / sqrt(var + k->opt[EPS]);
        EACH_OF_CHANNEL(s, ch, i)
        {
            st += open_gate(k, in, i);
            sth += open_gate(k, in, i) * (in[1][i] - mean) * rstd;
        }
        if (k->opt[RETURNS] == AS_SUMS) {
            out[ch] = sth;
            out[s.dim[1] + ch] = st;
            continue;
        }
        double scale = side_value(in, k, GAMMA, ch, 1) * rstd;
        EACH_OF_CHANNEL(s, ch, i)
        {
            double h = (in[1][i] - mean) * rstd;
            out[i] = scale * (open_gate(k, in, i) - st / n - h * sth / n);
            if (k->opt[RETURNS] == AS_BOTH) out[i] += sth - 0.5 * st;
        }
    }
}

typedef struct grad_case {
    const char *text;
    tlv_shape x;
    int gamma, act, returns;
    double eps;
} grad_case;

static const grad_case GRADS[] = {
    { "dx", { 4, { 2, 3, 3, 2 } }, 1, TLV_ACT_NONE, AS_DX, 1e-2 },
    { "dx alone of x", { 4, { 3, 2, 2, 2 } }, 0, TLV_ACT_NONE, AS_DX, 1e-2 },
    { "sums", { 4, { 2, 3, 2, 2 } }, 0, TLV_ACT_NONE, AS_SUMS, 1e-2 },
    { "both", { 4, { 2, 3, 3, 2 } }, 1, TLV_ACT_NONE, AS_BOTH, 1e-2 },
    { "dx, relu", { 4, { 2, 3, 3, 2 } }, 1, TLV_ACT_RELU, AS_DX, 1e-2 },
    { "both, relu, rows", { 2, { 9, 4 } }, 0, TLV_ACT_RELU, AS_BOTH, 1e-2 },
    { "both, relu6, sequences", { 3, { 3, 2, 4 } }, 1, TLV_ACT_RELU6, AS_BOTH, 1e-2 },
    { "sums, relu, 18 channels", { 2, { 6, 18 } }, 0, TLV_ACT_RELU, AS_SUMS, 1e-2 },
    { "both, relu, 37 channels", { 2, { 5, 37 } }, 1, TLV_ACT_RELU, AS_BOTH, 1e-2 },
    { "both, one channel", { 4, { 2, 1, 3, 3 } }, 1, TLV_ACT_NONE, AS_BOTH, 1e-2 },
    { "dx, no images", { 4, { 0, 3, 4, 3 } }, 1, TLV_ACT_NONE, AS_DX, 1e-2 },
    { "dx, no channels", { 4, { 2, 0, 4, 3 } }, 1, TLV_ACT_NONE, AS_DX, 1e-2 },
};

int case_BATCH_NORM_GRAD(int i, op_case *k);
int case_BATCH_NORM_GRAD(int i, op_case *k)
{
    if (i >= (int)(sizeof GRADS / sizeof GRADS[0])) return 0;
    tlv_shape x = GRADS[i].x, channels = { 1, { x.dim[1] } };
    *k = (op_case){ .text = GRADS[i].text, .call = grad_call, .ref = grad_ref, .out = x };
    if (GRADS[i].returns == AS_SUMS) k->out = (tlv_shape){ 2, { 2, x.dim[1] } };
    add(k, (case_input){ .shape = x });
    add(k, (case_input){ .shape = x });
    if (GRADS[i].gamma) {
        k->opt[GAMMA] = k->n_in;
        add(k, (case_input){ .shape = channels, .lo = 0.5, .hi = 1.5 });
    }
    if (GRADS[i].act != TLV_ACT_NONE) {
        k->opt[Y] = k->n_in;
        add(k, (case_input){ .shape = x, .kind = CASE_CONST, .lo = -3, .hi = 8 });
    }
    k->opt[ACT] = GRADS[i].act;
    k->opt[EPS] = GRADS[i].eps;
    k->opt[RETURNS] = GRADS[i].returns;
    return 1;
}
