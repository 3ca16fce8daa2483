/* cases_attention.c -- attention, query by query. */
#include <math.h>

#include "tests/opcase.h"

/* opt of every case; bias and mask are places among the inputs, 0 for absent. */
enum { SCALE, CAUSAL, BIAS, MASK };

static tlv_attention_opts opts(const tlv_tensor *const *in, const op_case *k)
{
    int bias = (int)k->opt[BIAS], mask = (int)k->opt[MASK];
    return (tlv_attention_opts){ .scale = k->opt[SCALE],
                                 .causal = (int)k->opt[CAUSAL],
                                 .bias = bias ? in[bias] : NULL,
                                 .key_mask = mask ? in[mask] : NULL };
}

/* One query against all keys; key j stands at k + j ks, its value at v + j vs. */
typedef struct query {
    int64_t b, h, i, heads, tq, tk, d, dv;
    const double *q, *k, *v;
    int64_t ks, vs;
} query;

static double score(const op_case *k, const double *const *in, const query *a, int64_t j)
{
    int bias = (int)k->opt[BIAS], mask = (int)k->opt[MASK];
    if (k->opt[CAUSAL] != 0 && j > a->i + a->tk - a->tq) return -INFINITY;
    if (mask && in[mask][a->b * a->tk + j] == 0) return -INFINITY;
    double s = 0;
    for (int64_t e = 0; e < a->d; e++) s += a->q[e] * a->k[j * a->ks + e];
    s *= k->opt[SCALE] != 0 ? k->opt[SCALE] : 1 / sqrt((double)a->d);
    if (!bias) return s;
    tlv_shape full = { 4, { k->out.dim[0], a->heads, a->tq, a->tk } };
    int64_t at = ((a->b * a->heads + a->h) * a->tq + a->i) * a->tk + j;
    return s + in[bias][case_broadcast(k->in[bias].shape, full, at)];
}

static void answer(const op_case *k, const double *const *in, const query *a, double *out)
{
    double max = -INFINITY, sum = 0;
    for (int64_t j = 0; j < a->tk; j++) max = fmax(max, score(k, in, a, j));
    for (int64_t e = 0; e < a->dv; e++) out[e] = 0;
    if (max == -INFINITY) return;
    for (int64_t j = 0; j < a->tk; j++) sum += exp(score(k, in, a, j) - max);
    for (int64_t j = 0; j < a->tk; j++)
        for (int64_t e = 0; e < a->dv; e++)
            out[e] += exp(score(k, in, a, j) - max) / sum * a->v[j * a->vs + e];
}

/* ---- q, k, v apart --------------------------------------------------------------------------- */

static tlv_tensor *apart_call(tlv_ctx *c, const tlv_tensor *const *in, const op_case *k)
{
    return tlv_attention(c, in[0], in[1], in[2], opts(in, k));
}

static void apart_ref(const op_case *k, const double *const *in, double *out)
{
    tlv_shape q = k->in[0].shape, v = k->in[2].shape;
    query a = { .heads = q.dim[1], .tq = q.dim[2], .tk = v.dim[2], .d = q.dim[3], .dv = v.dim[3] };
    a.ks = a.d;
    a.vs = a.dv;
    for (int64_t n = 0; n < q.dim[0] * q.dim[1] * q.dim[2]; n++) {
        int64_t head = n / a.tq;
        a.i = n % a.tq;
        a.h = head % a.heads;
        a.b = head / a.heads;
        a.q = in[0] + n * a.d;
        a.k = in[1] + head * a.tk * a.d;
        a.v = in[2] + head * a.tk * a.dv;
        answer(k, in, &a, out + n * a.dv);
    }
}

typedef struct attn_case {
    const char *text;
    int64_t b, h, tq, tk, d, dv;
    tlv_shape bias;             /* ndim 0: none */
    int mask, causal;
    double scale;
    int seed;                   /* so that every mask shows two keys or more somewhere */
} attn_case;

static void add_sides(op_case *k, const attn_case *a)
{
    k->opt[SCALE] = a->scale;
    k->opt[CAUSAL] = a->causal;
    k->seed = a->seed;
    if (a->bias.ndim) {
        k->opt[BIAS] = k->n_in;
        k->in[k->n_in++] = (case_input){ .shape = a->bias };
    }
    if (a->mask) {
        k->opt[MASK] = k->n_in;
        k->in[k->n_in++] = (case_input){ .shape = { 2, { a->b, a->tk } },
                                         .kind = CASE_BYTE,
                                         .hi = 1 };
    }
}

int case_ATTENTION(int i, op_case *k);
int case_ATTENTION(int i, op_case *k)
{
    static const attn_case CASES[] = {
        { "plain", 2, 2, 4, 4, 3, 3, { 0 }, 0, 0, 0, 0 },
        { "cross, other values", 1, 2, 3, 5, 4, 2, { 0 }, 0, 0, 0.7, 0 },
        { "causal", 1, 2, 5, 5, 3, 3, { 0 }, 0, 1, 0, 0 },
        { "causal, a longer past", 1, 1, 3, 6, 2, 3, { 0 }, 0, 1, 0, 0 },
        { "causal, queries that see nothing", 1, 2, 6, 4, 3, 2, { 0 }, 0, 1, 0, 0 },
        { "bias", 2, 2, 3, 4, 2, 2, { 4, { 2, 2, 3, 4 } }, 0, 0, 0, 0 },
        { "bias a head", 2, 2, 3, 4, 2, 2, { 3, { 2, 3, 4 } }, 0, 0, 0, 0 },
        { "bias for all", 2, 2, 3, 4, 2, 2, { 2, { 3, 4 } }, 0, 1, 0, 0 },
        { "bias a key", 2, 3, 3, 4, 2, 2, { 1, { 4 } }, 0, 0, 0, 0 },
        { "bias a key of an example", 2, 2, 3, 5, 2, 2, { 4, { 2, 1, 1, 5 } }, 1, 0, 0, 1 },
        { "key mask", 3, 2, 4, 6, 3, 3, { 0 }, 1, 0, 0, 0 },
        { "key mask and causal", 2, 2, 5, 5, 3, 4, { 0 }, 1, 1, 1.3, 0 },
        { "bias, mask, causal", 2, 2, 4, 4, 3, 2, { 3, { 2, 4, 4 } }, 1, 1, 0, 0 },
        { "more than a block", 1, 1, 70, 19, 2, 2, { 2, { 70, 19 } }, 0, 0, 0, 0 },
        { "more than a panel", 1, 2, 17, 37, 33, 35, { 0 }, 0, 1, 0, 0 },
        { "one number", 1, 1, 2, 3, 1, 1, { 0 }, 0, 0, 0, 0 },
        { "no queries", 2, 2, 0, 3, 2, 2, { 3, { 1, 1, 3 } }, 0, 0, 0, 0 },
        { "no keys", 2, 2, 3, 0, 2, 2, { 0 }, 0, 0, 0, 0 },
        { "no examples", 0, 2, 3, 3, 2, 2, { 3, { 2, 3, 3 } }, 1, 1, 0, 0 },
        { "no values", 1, 2, 3, 3, 2, 0, { 0 }, 0, 0, 0, 0 },
    };
    if (i >= (int)(sizeof CASES / sizeof CASES[0])) return 0;
    const attn_case *a = &CASES[i];
    *k = (op_case){ .text = a->text, .n_in = 3, .call = apart_call, .ref = apart_ref,
                    .in = { { .shape = { 4, { a->b, a->h, a->tq, a->d } } },
                            { .shape = { 4, { a->b, a->h, a->tk, a->d } } },
                            { .shape = { 4, { a->b, a->h, a->tk, a->dv } } } },
                    .out = { 4, { a->b, a->h, a->tq, a->dv } } };
    add_sides(k, a);
    k->no_second = a->tk == 1;      // its probability is 1, whatever the scores
    return 1;
}

/* ---- packed ---------------------------------------------------------------------------------- */

static tlv_tensor *packed_call(tlv_ctx *c, const tlv_tensor *const *in, const op_case *k)
{
    return tlv_attention_packed(c, in[0], opts(in, k));
}

static void packed_ref(const op_case *k, const double *const *in, double *out)
{
    tlv_shape s = k->in[0].shape;                               // [B,T,3,H,D]
    int64_t t = s.dim[1], h = s.dim[3], d = s.dim[4];
    query a = { .heads = h, .tq = t, .tk = t, .d = d, .dv = d, .ks = 3 * h * d, .vs = 3 * h * d };
    for (a.b = 0; a.b < s.dim[0]; a.b++)
        for (a.i = 0; a.i < t; a.i++)
            for (a.h = 0; a.h < h; a.h++) {
                const double *first = in[0] + a.b * t * 3 * h * d + a.h * d;
                a.q = first + a.i * 3 * h * d;
                a.k = first + h * d;
                a.v = first + 2 * h * d;
                answer(k, in, &a, out + ((a.b * t + a.i) * h + a.h) * d);
            }
}

int case_ATTENTION_PACKED(int i, op_case *k);
int case_ATTENTION_PACKED(int i, op_case *k)
{
    static const attn_case CASES[] = {
        { "plain", 2, 2, 4, 4, 3, 3, { 0 }, 0, 0, 0, 0 },
        { "causal", 1, 3, 5, 5, 2, 2, { 0 }, 0, 1, 0.5, 0 },
        { "bias, mask", 2, 2, 4, 4, 3, 3, { 3, { 2, 4, 4 } }, 1, 0, 0, 0 },
        { "bias for all, causal", 2, 2, 4, 4, 3, 3, { 2, { 4, 4 } }, 0, 1, 0, 0 },
        { "more than a block", 1, 1, 67, 67, 2, 2, { 0 }, 0, 0, 0, 0 },
        { "one token", 2, 2, 1, 1, 3, 3, { 0 }, 0, 0, 0, 0 },
        { "no examples", 0, 2, 3, 3, 2, 2, { 3, { 2, 3, 3 } }, 0, 0, 0, 0 },
        { "no tokens", 2, 2, 0, 0, 2, 2, { 0 }, 0, 0, 0, 0 },
    };
    if (i >= (int)(sizeof CASES / sizeof CASES[0])) return 0;
    const attn_case *a = &CASES[i];
    *k = (op_case){ .text = a->text, .n_in = 1, .call = packed_call, .ref = packed_ref,
                    .in = { { .shape = { 5, { a->b, a->tq, 3, a->h, a->d } } } },
                    .out = { 3, { a->b, a->tq, a->h * a->d } } };
    add_sides(k, a);
    k->no_second = a->tk == 1;      // its probability is 1, whatever the scores
    return 1;
}
