/* cases_loss.c -- losses by their definitions, those of PyTorch's documentation. */
#include <math.h>

#include "tests/opcase.h"

/* The number a loss of rows comes to: r[0 .. n-1], divided by `by` for the mean. */
static void reduce_rows(const op_case *k, tlv_reduction how, int64_t n, const double *r, double by,
                        double *out)
{
    (void)k;
    double sum = 0;
    for (int64_t i = 0; i < n; i++) {
        if (how == TLV_NONE) out[i] = r[i];
        sum += r[i];
    }
    if (how != TLV_NONE) out[0] = how == TLV_SUM ? sum : sum / by;
}

/* ---- cross-entropy: smoothing, reduction, use_ignore_index, ignore_index, weight, soft ------- */

static tlv_tensor *ce_call(tlv_ctx *c, const tlv_tensor *const *in, const op_case *k)
{
    tlv_ce_opts o = { .smoothing = k->opt[0], .reduction = (tlv_reduction)(int)k->opt[1],
                      .use_ignore_index = (int)k->opt[2], .ignore_index = (int)k->opt[3],
                      .weight = k->opt[4] != 0 ? in[2] : NULL };
    return tlv_cross_entropy(c, in[0], in[1], o);
}

enum { MAX_ROWS = 256 };

static void ce_ref(const op_case *k, const double *const *in, double *out)
{
    tlv_shape s = k->in[0].shape;
    int64_t n = s.dim[1], inner = 1, rows = 0;
    double loss[MAX_ROWS], by = 0, eps = k->opt[0];
    for (int d = 2; d < s.ndim; d++) inner *= s.dim[d];
    for (int64_t b = 0; b < s.dim[0]; b++)
        for (int64_t i = 0; i < inner; i++, rows++) {
            const double *x = in[0] + b * n * inner + i;
            double sum = 0, total = 0, counts = 1;
            for (int64_t j = 0; j < n; j++) sum += exp(x[j * inner]);
            for (int64_t j = 0; j < n; j++) {
                double w = k->opt[4] != 0 ? in[2][j] : 1, q, minus_log_p = log(sum) - x[j * inner];
                if (k->opt[5] != 0) q = in[1][(b * n + j) * inner + i];
                else q = (int64_t)in[1][rows] == j;
                total += minus_log_p * w * (q * (1 - eps) + eps / (double)n);
                if (k->opt[5] == 0 && q != 0) counts = w;
            }
            if (k->opt[5] == 0 && k->opt[2] != 0 && in[1][rows] == k->opt[3]) total = counts = 0;
            loss[rows] = total;
            by += counts;
        }
    reduce_rows(k, (tlv_reduction)(int)k->opt[1], rows, loss, by, out);
}

int case_CROSS_ENTROPY(int i, op_case *k);
int case_CROSS_ENTROPY(int i, op_case *k)
{
    static const struct {
        const char *text;
        tlv_shape x, t, y;
        double eps;
        int how, ignore, index, weight, soft;
    } CASES[] = {
        { "labels", { 2, { 5, 4 } }, { 1, { 5 } }, { 0, { 0 } }, 0, TLV_MEAN, 0, 0, 0, 0 },
        { "sum", { 2, { 3, 7 } }, { 1, { 3 } }, { 0, { 0 } }, 0, TLV_SUM, 0, 0, 0, 0 },
        { "rows", { 2, { 3, 37 } }, { 1, { 3 } }, { 1, { 3 } }, 0, TLV_NONE, 0, 0, 0, 0 },
        { "smoothing", { 2, { 5, 4 } }, { 1, { 5 } }, { 0, { 0 } }, 0.1, TLV_MEAN, 0, 0, 0, 0 },
        { "weights", { 2, { 5, 4 } }, { 1, { 5 } }, { 0, { 0 } }, 0, TLV_MEAN, 0, 0, 1, 0 },
        { "smoothing and weights", { 2, { 6, 3 } }, { 1, { 6 } }, { 0, { 0 } }, 0.2, TLV_MEAN, 0, 0,
          1, 0 },
        { "ignored labels", { 2, { 9, 3 } }, { 1, { 9 } }, { 0, { 0 } }, 0, TLV_MEAN, 1, 1, 0, 0 },
        { "everything at once", { 2, { 9, 3 } }, { 1, { 9 } }, { 0, { 0 } }, 0.3, TLV_MEAN, 1, 2, 1,
          0 },
        { "everything, rows", { 2, { 9, 3 } }, { 1, { 9 } }, { 1, { 9 } }, 0.3, TLV_NONE, 1, 0, 1,
          0 },
        { "ignored beyond the classes", { 2, { 4, 3 } }, { 1, { 4 } }, { 0, { 0 } }, 0, TLV_SUM, 1,
          -100, 0, 0 },
        { "pixels", { 4, { 2, 5, 3, 4 } }, { 3, { 2, 3, 4 } }, { 0, { 0 } }, 0.1, TLV_MEAN, 1, 3, 0,
          0 },
        { "pixels, each", { 4, { 2, 3, 2, 4 } }, { 3, { 2, 2, 4 } }, { 3, { 2, 2, 4 } }, 0,
          TLV_NONE, 0, 0, 1, 0 },
        { "sequence", { 3, { 2, 4, 5 } }, { 2, { 2, 5 } }, { 0, { 0 } }, 0, TLV_SUM, 0, 0, 0, 0 },
        { "soft targets", { 2, { 5, 4 } }, { 2, { 5, 4 } }, { 0, { 0 } }, 0, TLV_MEAN, 0, 0, 0, 1 },
        { "soft, smoothing, weights", { 2, { 5, 4 } }, { 2, { 5, 4 } }, { 0, { 0 } }, 0.1, TLV_MEAN,
          0, 0, 1, 1 },
        { "soft, rows", { 2, { 3, 19 } }, { 2, { 3, 19 } }, { 1, { 3 } }, 0.1, TLV_NONE, 0, 0, 0,
          1 },
        { "soft, pixels", { 4, { 2, 3, 2, 3 } }, { 4, { 2, 3, 2, 3 } }, { 0, { 0 } }, 0, TLV_SUM, 0,
          0, 1, 1 },
        { "no example, sum", { 2, { 0, 4 } }, { 1, { 0 } }, { 0, { 0 } }, 0, TLV_SUM, 0, 0, 0, 0 },
        { "no example, rows", { 2, { 0, 4 } }, { 1, { 0 } }, { 1, { 0 } }, 0.1, TLV_NONE, 0, 0, 1,
          0 },
    };
    if (i >= (int)(sizeof CASES / sizeof CASES[0])) return 0;
    double n = (double)CASES[i].x.dim[1];
    *k = (op_case){ .text = CASES[i].text, .n_in = CASES[i].weight ? 3 : 2, .out = CASES[i].y,
                    .call = ce_call, .ref = ce_ref,
                    .in = { { .shape = CASES[i].x },
                            { .shape = CASES[i].t, .kind = CASE_INDEX, .lo = 0, .hi = n - 1 },
                            { .shape = tlv_shape1(CASES[i].x.dim[1]), .kind = CASE_CONST,
                              .lo = 0.5, .hi = 2 } },
                    .opt = { CASES[i].eps, CASES[i].how, CASES[i].ignore, CASES[i].index,
                             CASES[i].weight, CASES[i].soft } };
    if (CASES[i].soft) k->in[1] = (case_input){ .shape = CASES[i].t, .lo = 0.1, .hi = 1 };
    return 1;
}

/* ---- binary cross-entropy: weight, pos_weight, reduction ------------------------------------- */

static tlv_tensor *bce_call(tlv_ctx *c, const tlv_tensor *const *in, const op_case *k)
{
    int w = k->opt[0] != 0, p = k->opt[1] != 0;
    tlv_bce_opts o = { .weight = w ? in[2] : NULL, .pos_weight = p ? in[2 + w] : NULL,
                       .reduction = (tlv_reduction)(int)k->opt[2] };
    return tlv_bce_with_logits(c, in[0], in[1], o);
}

static double at_broadcast(const op_case *k, const double *const *in, int which, int64_t i)
{
    return in[which][case_broadcast(k->in[which].shape, k->in[0].shape, i)];
}

static void bce_ref(const op_case *k, const double *const *in, double *out)
{
    double loss[MAX_ROWS];
    int64_t n = case_numel(k->in[0].shape);
    int has_w = k->opt[0] != 0;
    for (int64_t i = 0; i < n; i++) {
        double w = has_w ? at_broadcast(k, in, 2, i) : 1,
            p = k->opt[1] != 0 ? at_broadcast(k, in, 2 + has_w, i) : 1;
        double s = 1 / (1 + exp(-in[0][i])), t = in[1][i];
        loss[i] = -w * (p * t * log(s) + (1 - t) * log(1 - s));
    }
    reduce_rows(k, (tlv_reduction)(int)k->opt[2], n, loss, (double)n, out);
}

static int bce_case(int i, op_case *k)
{
    static const struct {
        const char *text;
        tlv_shape x, w, p, y;
        int has_w, has_p, how;
    } CASES[] = {
        { "mean", { 2, { 3, 5 } }, { 0, { 0 } }, { 0, { 0 } }, { 0, { 0 } }, 0, 0, TLV_MEAN },
        { "sum", { 1, { 37 } }, { 0, { 0 } }, { 0, { 0 } }, { 0, { 0 } }, 0, 0, TLV_SUM },
        { "each", { 4, { 2, 3, 2, 4 } }, { 0, { 0 } }, { 0, { 0 } }, { 4, { 2, 3, 2, 4 } }, 0, 0,
          TLV_NONE },
        { "weight a class", { 2, { 4, 3 } }, { 1, { 3 } }, { 0, { 0 } }, { 0, { 0 } }, 1, 0,
          TLV_MEAN },
        { "positive weight", { 2, { 4, 3 } }, { 0, { 0 } }, { 1, { 3 } }, { 0, { 0 } }, 0, 1,
          TLV_MEAN },
        { "both", { 2, { 4, 3 } }, { 2, { 4, 1 } }, { 1, { 3 } }, { 2, { 4, 3 } }, 1, 1, TLV_NONE },
        { "both, images", { 4, { 2, 3, 2, 4 } }, { 0, { 0 } }, { 3, { 3, 1, 1 } }, { 0, { 0 } }, 1,
          1, TLV_SUM },
        { "empty", { 2, { 0, 3 } }, { 0, { 0 } }, { 1, { 3 } }, { 0, { 0 } }, 0, 1, TLV_SUM },
    };
    int n = (int)(sizeof CASES / sizeof CASES[0]);
    if (i >= n) return 0;
    *k = (op_case){ .text = CASES[i].text, .n_in = 2 + CASES[i].has_w + CASES[i].has_p,
                    .out = CASES[i].y, .call = bce_call, .ref = bce_ref,
                    .in = { { .shape = CASES[i].x, .lo = -3, .hi = 3 },
                            { .shape = CASES[i].x, .lo = 0.05, .hi = 0.95 } },
                    .opt = { CASES[i].has_w, CASES[i].has_p, CASES[i].how } };
    int at = 2;
    if (CASES[i].has_w)
        k->in[at++] = (case_input){ .shape = CASES[i].w, .kind = CASE_CONST, .lo = 0.5, .hi = 2 };
    if (CASES[i].has_p)
        k->in[at++] = (case_input){ .shape = CASES[i].p, .kind = CASE_CONST, .lo = 0.5, .hi = 3 };
    return n;
}

/* ---- squared and smooth-L1 losses, which are made of other ops: reduction, beta (-1: squared) */

static tlv_tensor *distance_call(tlv_ctx *c, const tlv_tensor *const *in, const op_case *k)
{
    tlv_reduction how = (tlv_reduction)(int)k->opt[0];
    if (k->opt[1] < 0) return tlv_mse_loss(c, in[0], in[1], how);
    return tlv_smooth_l1_loss(c, in[0], in[1], k->opt[1], how);
}

static void distance_ref(const op_case *k, const double *const *in, double *out)
{
    double loss[MAX_ROWS], beta = k->opt[1];
    int64_t n = case_numel(k->in[0].shape);
    for (int64_t i = 0; i < n; i++) {
        double d = fabs(in[0][i] - in[1][i]);
        loss[i] = beta < 0 ? d * d : d < beta ? 0.5 * d * d / beta : d - 0.5 * beta;
    }
    reduce_rows(k, (tlv_reduction)(int)k->opt[0], n, loss, (double)n, out);
}

static int distance_case(int i, op_case *k)
{
    static const struct { const char *text; tlv_shape x, y; int how; double beta; } CASES[] = {
        { "mse", { 2, { 3, 5 } }, { 0, { 0 } }, TLV_MEAN, -1 },
        { "mse, each", { 4, { 2, 3, 2, 4 } }, { 4, { 2, 3, 2, 4 } }, TLV_NONE, -1 },
        { "smooth L1", { 2, { 5, 7 } }, { 0, { 0 } }, TLV_MEAN, 0.5 },
        { "smooth L1, each", { 1, { 19 } }, { 1, { 19 } }, TLV_NONE, 1 },
        { "L1", { 2, { 3, 5 } }, { 0, { 0 } }, TLV_SUM, 0 },
        { "smooth L1, empty", { 2, { 0, 5 } }, { 0, { 0 } }, TLV_SUM, 1 },
    };
    if (i >= (int)(sizeof CASES / sizeof CASES[0])) return 0;
    double b = CASES[i].beta;
    *k = (op_case){ .text = CASES[i].text, .n_in = 2, .out = CASES[i].y, .call = distance_call,
                    .ref = distance_ref,
                    .in = { { .shape = CASES[i].x, .kinks = { -b, b }, .n_kinks = b < 0 ? 0 : 2 },
                            { .shape = CASES[i].x, .lo = 0, .hi = 0.02 } },
                    .opt = { CASES[i].how, b }, .no_second = b == 0 };
    return 1;
}

int case_BCE_WITH_LOGITS(int i, op_case *k);
int case_BCE_WITH_LOGITS(int i, op_case *k)
{
    op_case first;
    int n = bce_case(0, &first);
    return i < n ? bce_case(i, k) : distance_case(i - n, k);
}
