/* attention.c -- softmax(scale q k^T + bias) v (Vaswani et al. 2017, arXiv:1706.03762).  The
 * streaming arithmetic is tensor/attn.c. */
#include <math.h>

#include "autograd/op.h"
#include "tensor/attn.h"

typedef struct attention_attr { double scale; int causal; } attention_attr;

/* ---- checks ---------------------------------------------------------------------------------- */

static int ready(tlv_ctx *c, const char *op, int n, const tlv_tensor *const *need,
                 tlv_attention_opts o)
{
    const tlv_tensor *in[5] = { 0 };
    for (int i = 0; i < n; i++) in[i] = need[i];
    if (o.bias) in[n++] = o.bias;
    if (o.key_mask) in[n++] = o.key_mask;
    if (!tlvi_ready_slow(c, op, n, in) || !tlvi_is_float(c, op, in[0])) return 0;
    for (int i = 1; i < n; i++)
        if (in[i] != o.key_mask && !tlvi_same_float(c, op, in[0], in[i])) return 0;
    return !o.key_mask || tlvi_is_dtype(c, op, "key_mask", o.key_mask, TLV_U8);
}

/* bias and mask against [b,h,tq,tk]. */
static int side_ok(tlv_ctx *c, const char *op, tlv_shape s, tlv_attention_opts o)
{
    tlv_shape full = s;
    if (o.bias && (!tlvi_broadcast(&full, tlv_shape_of(o.bias)) || full.ndim != 4
                   || memcmp(full.dim, s.dim, 4 * sizeof *s.dim) != 0)) {
        tlvi_fail(c, TLV_ERR_SHAPE, "dims are matched from the last one; each must be equal or 1",
                  "%s: bias is %s, which does not broadcast to [B,H,TQ,TK] = %s", op,
                  tlvi_shape_str(o.bias).s, tlvi_shape_text(s).s);
        return 0;
    }
    const tlv_tensor *m = o.key_mask;
    if (m && (m->ndim != 2 || m->shape[0] != s.dim[0] || m->shape[1] != s.dim[3])) {
        tlvi_fail(c, TLV_ERR_SHAPE, "one byte for each key of each example",
                  "%s: key_mask is %s; it must be [%lld,%lld]", op, tlvi_shape_str(m).s,
                  (long long)s.dim[0], (long long)s.dim[3]);
        return 0;
    }
    return 1;
}

static int shapes_ok(tlv_ctx *c, const tlv_tensor *q, const tlv_tensor *k, const tlv_tensor *v,
                     tlv_attention_opts o)
{
    int ok = q->ndim == 4 && k->ndim == 4 && v->ndim == 4 && q->shape[3] == k->shape[3]
             && k->shape[2] == v->shape[2];
    for (int i = 0; i < 2 && ok; i++) ok = q->shape[i] == k->shape[i] && q->shape[i] == v->shape[i];
    if (ok)
        return side_ok(c, "attention",
                       tlv_shape4(q->shape[0], q->shape[1], q->shape[2], k->shape[2]), o);
    tlvi_fail(c, TLV_ERR_SHAPE, "q is [B,H,TQ,D], k [B,H,TK,D], v [B,H,TK,DV]",
              "attention: q is %s, k is %s and v is %s", tlvi_shape_str(q).s, tlvi_shape_str(k).s,
              tlvi_shape_str(v).s);
    return 0;
}

/* ---- jobs ------------------------------------------------------------------------------------ */

/* t itself if its last dim is contiguous, else a row-major copy. */
static const tlv_tensor *last_dense(tlv_ctx *c, const tlv_tensor *t)
{
    int last = t->ndim - 1;
    return t->shape[last] <= 1 || t->stride[last] == 1 ? t : tlvi_row_major(c, t);
}

static tlvi_attn_array heads_of(const tlv_tensor *t)        /* [B,H,T,n] */
{
    return (tlvi_attn_array){ tlvi_ptr(t), t->stride[0], t->stride[1], t->stride[2] };
}

static tlvi_attn_array tokens_of(const tlv_tensor *t, int64_t d)    /* [B,T,H*d], dense */
{
    return (tlvi_attn_array){ tlvi_ptr(t), t->shape[1] * t->shape[2], d, t->shape[2] };
}

/* Part i of [B,T,3,H,D]. */
static tlvi_attn_array packed_part(const tlv_tensor *t, int i)
{
    char *p = (char *)tlvi_ptr(t) + i * t->stride[2] * (int64_t)tlv_dtype_size((tlv_dtype)t->dtype);
    return (tlvi_attn_array){ p, t->stride[0], t->stride[3], t->stride[1] };
}

/* Adds bias and mask to a job whose sizes are set; dim gets the bias's dims, padded to four. */
static int add_side(tlv_ctx *c, tlvi_attn_job *j, const tlv_tensor *bias, const tlv_tensor *mask,
                    int64_t *dim)
{
    const tlv_tensor *b = tlvi_row_major(c, bias), *m = tlvi_row_major(c, mask);
    for (int i = 0; i < 4; i++) dim[i] = 1;
    if (b) {
        j->bias = tlvi_ptr(b);
        int64_t at = 1;
        for (int i = 3; i >= 4 - b->ndim; i--) {
            dim[i] = b->shape[i - 4 + b->ndim];
            j->bias_stride[i] = dim[i] == 1 ? 0 : at;
            at *= dim[i];
        }
    }
    if (m) j->mask = tlvi_ptr(m);
    return c->err == TLV_OK;
}

static int separate_job(tlv_ctx *c, tlvi_attn_job *j, const tlv_tensor *q, const tlv_tensor *k,
                        const tlv_tensor *v, const attention_attr *at)
{
    *j = (tlvi_attn_job){ .dtype = q->dtype,
                          .b = q->shape[0],
                          .h = q->shape[1],
                          .tq = q->shape[2],
                          .tk = k->shape[2],
                          .d = q->shape[3],
                          .dv = v->shape[3],
                          .scale = at->scale,
                          .causal = at->causal };
    const tlv_tensor *in[3] = { q, k, v };
    tlvi_attn_array *to[3] = { &j->q, &j->k, &j->v };
    for (int i = 0; i < 3; i++) {
        if (!in[i]->buf) continue;                  // not read by what is wanted
        const tlv_tensor *t = last_dense(c, in[i]);
        if (t) *to[i] = heads_of(t);
    }
    return c->err == TLV_OK;
}

static int packed_job(tlv_ctx *c, tlvi_attn_job *j, const tlv_tensor *qkv, const attention_attr *at)
{
    int64_t t = qkv->shape[1], d = qkv->shape[4];
    *j = (tlvi_attn_job){ .dtype = qkv->dtype,
                          .b = qkv->shape[0],
                          .h = qkv->shape[3],
                          .tq = t,
                          .tk = t,
                          .d = d,
                          .dv = d,
                          .scale = at->scale,
                          .causal = at->causal };
    const tlv_tensor *x = last_dense(c, qkv);
    if (!x) return 0;
    j->q = packed_part(x, 0);
    j->k = packed_part(x, 1);
    j->v = packed_part(x, 2);
    return 1;
}

static attention_attr attr_of(tlv_attention_opts o, int64_t d)
{
    return (attention_attr){ o.scale != 0 ? o.scale
                             : d > 0      ? 1 / sqrt((double)d)
                                          : 1,
                             o.causal != 0 };
}

/* ---- forward --------------------------------------------------------------------------------- */

/* Runs the job into y, saving two numbers a row, and records op. */
static tlv_tensor *run(tlv_ctx *c, tlvi_attn_job *j, tlv_attention_opts o, tlv_tensor *y,
                       tlvi_attn_array to, tlvi_record_args *rec)
{
    int64_t dim[4];
    tlv_tensor *stat = tlvi_new(c, (tlv_dtype)j->dtype, TLV_SHAPE(j->b, j->h, j->tq, 2));
    if (!stat || !add_side(c, j, o.bias, o.key_mask, dim)) return NULL;
    j->stat = tlvi_ptr(stat);
    if (tlvi_attn_forward(c, j, to) != TLV_OK) return NULL;
    rec->out[0] = y;
    rec->aux[0] = stat;
    return tlvi_record(c, rec);
}

tlv_tensor *tlv_attention(tlv_ctx *c, const tlv_tensor *q, const tlv_tensor *k, const tlv_tensor *v,
                          tlv_attention_opts o)
{
    const tlv_tensor *in[5] = { q, k, v, o.bias, o.key_mask };
    if (!ready(c, "attention", 3, in, o) || !shapes_ok(c, q, k, v, o)) return NULL;
    attention_attr at = attr_of(o, q->shape[3]);
    tlvi_attn_job j;
    tlv_tensor *y = tlvi_new(c, (tlv_dtype)q->dtype,
                             tlv_shape4(q->shape[0], q->shape[1], q->shape[2], v->shape[3]));
    if (!y || !separate_job(c, &j, q, k, v, &at)) return NULL;
    tlvi_record_args rec = {
        .op = TLV_OP_ATTENTION, .n_in = 5, .in = in, .attr = &at, .attr_bytes = sizeof at
    };
    return run(c, &j, o, y, heads_of(y), &rec);
}

tlv_tensor *tlv_attention_packed(tlv_ctx *c, const tlv_tensor *qkv, tlv_attention_opts o)
{
    const tlv_tensor *in[3] = { qkv, o.bias, o.key_mask };
    if (!ready(c, "attention_packed", 1, in, o)) return NULL;
    TLVI_REQUIRE(c, qkv->ndim == 5 && qkv->shape[2] == 3, TLV_ERR_SHAPE,
                 "reshape the output [B,T,3*H*D] of the joint projection",
                 "attention_packed: qkv is %s; it must be [B,T,3,H,D]", tlvi_shape_str(qkv).s);
    int64_t b = qkv->shape[0], t = qkv->shape[1], h = qkv->shape[3], d = qkv->shape[4];
    if (!side_ok(c, "attention_packed", tlv_shape4(b, h, t, t), o)) return NULL;
    attention_attr at = attr_of(o, d);
    tlvi_attn_job j;
    tlv_tensor *y = tlvi_new(c, (tlv_dtype)qkv->dtype, tlv_shape3(b, t, h * d));
    if (!y || !packed_job(c, &j, qkv, &at)) return NULL;
    tlvi_record_args rec = { .op = TLV_OP_ATTENTION_PACKED, .n_in = 3, .in = in, .attr = &at,
                             .attr_bytes = sizeof at };
    return run(c, &j, o, y, tokens_of(y, d), &rec);
}

static tlv_attention_opts opts_of(const tlvi_node *n, int bias)
{
    const attention_attr *at = n->attr;
    return (tlv_attention_opts){ at->scale, at->causal, tlvi_in(n, bias), tlvi_in(n, bias + 1) };
}

TLVI_EXEC(ATTENTION)
{
    return tlv_attention(c, tlvi_in(n, 0), tlvi_in(n, 1), tlvi_in(n, 2), opts_of(n, 3));
}
TLVI_EXEC(ATTENTION_PACKED) { return tlv_attention_packed(c, tlvi_in(n, 0), opts_of(n, 1)); }

/* ---- gradients: fused ------------------------------------------------------------------------ */

static tlv_tensor *bias_grad(tlv_ctx *c, const tlvi_attn_job *j, const tlv_tensor *bias,
                             tlvi_attn_array y, tlvi_attn_array g, const int64_t *dim)
{
    tlv_tensor *d = tlvi_new(c, (tlv_dtype)bias->dtype, tlv_shape_of(bias));
    if (d) tlvi_attn_dbias(c, j, y, g, dim, tlvi_ptr(d));
    return d;
}

static void separate_fused(tlv_ctx *c, const tlvi_node *n, const tlv_tensor *g, tlv_tensor **d)
{
    tlvi_attn_job j;
    tlvi_attn_array to[3] = { { 0 } };
    int64_t dim[4];
    const tlv_tensor *dense = last_dense(c, g);
    if (!dense || !separate_job(c, &j, tlvi_in(n, 0), tlvi_in(n, 1), tlvi_in(n, 2), n->attr)
        || !add_side(c, &j, tlvi_in(n, 3), tlvi_in(n, 4), dim))
        return;
    j.stat = tlvi_ptr(tlvi_aux(n, 0));
    int any = 0;
    for (int i = 0; i < 3; i++) {
        if (!wants(n, i)) continue;
        d[i] = tlvi_new(c, (tlv_dtype)j.dtype, tlv_shape_of(tlvi_in(n, i)));
        if (!d[i]) return;
        to[i] = heads_of(d[i]);
        any = 1;
    }
    tlvi_attn_array ga = heads_of(dense), ya = { 0 };
    if (wants(n, 0) || wants(n, 1) || wants(n, 3)) ya = heads_of(tlvi_out(n, 0));
    if (any) tlvi_attn_backward(c, &j, ya, ga, to[0], to[1], to[2]);
    if (wants(n, 3)) d[3] = bias_grad(c, &j, tlvi_in(n, 3), ya, ga, dim);
}

static void packed_fused(tlv_ctx *c, const tlvi_node *n, const tlv_tensor *g, tlv_tensor **d)
{
    tlvi_attn_job j;
    int64_t dim[4];
    const tlv_tensor *qkv = tlvi_in(n, 0), *dense = tlvi_row_major(c, g);
    if (!dense || !packed_job(c, &j, qkv, n->attr)
        || !add_side(c, &j, tlvi_in(n, 1), tlvi_in(n, 2), dim))
        return;
    j.stat = tlvi_ptr(tlvi_aux(n, 0));
    tlvi_attn_array ga = tokens_of(dense, j.d), ya = tokens_of(tlvi_out(n, 0), j.d);
    if (wants(n, 0)) {
        d[0] = tlvi_new(c, (tlv_dtype)j.dtype, tlv_shape_of(qkv));
        if (!d[0]) return;
        tlvi_attn_backward(c, &j, ya, ga, packed_part(d[0], 0), packed_part(d[0], 1),
                           packed_part(d[0], 2));
    }
    if (wants(n, 1)) d[1] = bias_grad(c, &j, tlvi_in(n, 1), ya, ga, dim);
}

/* ---- gradients: in ops ----------------------------------------------------------------------- */

/* Bytes [B or 1,1,TQ or 1,TK]: 1 where the query sees the key; NULL where all see all. */
static tlv_tensor *visible(tlv_ctx *c, const tlv_tensor *mask, int causal, int64_t tq, int64_t tk)
{
    int64_t b = mask ? mask->shape[0] : 1, rows = causal ? tq : 1;
    const tlv_tensor *m = tlvi_row_major(c, mask);
    tlv_tensor *t = c->err ? NULL : tlvi_new(c, TLV_U8, tlv_shape4(b, 1, rows, tk));
    if (!t) return NULL;
    uint8_t *to = tlvi_ptr(t);
    for (int64_t i = 0; i < b * rows; i++, to += tk) {
        int64_t seen = causal ? i % rows + 1 + tk - tq : tk;
        for (int64_t k = 0; k < tk; k++) {
            const uint8_t *from = m ? (const uint8_t *)tlvi_ptr(m) + i / rows * tk : NULL;
            to[k] = k < seen && (!from || from[k] != 0);
        }
    }
    return t;
}

/* The matrix of probabilities [B,H,TQ,TK]; rows that see nothing are zeros. */
static tlv_tensor *probabilities(tlv_ctx *c, const tlv_tensor *q, const tlv_tensor *k,
                                 const tlv_tensor *bias, const tlv_tensor *mask,
                                 const attention_attr *at)
{
    tlv_dtype t = tlv_dtype_of(q);
    tlv_tensor *s = tlv_affine(c, tlv_matmul(c, q, k, (tlv_matmul_opts){ .tb = 1 }), at->scale, 0);
    if (bias) s = tlv_add(c, s, bias);
    if (!bias && !mask && !at->causal) return tlv_softmax(c, s, -1);
    tlv_tensor *zero = tlv_scalar(c, t, 0), *none = tlv_scalar(c, t, -INFINITY);
    if (mask || at->causal)
        s = tlv_where(c, visible(c, mask, at->causal, q->shape[2], k->shape[2]), s, none);
    tlv_tensor *best = tlv_max(c, tlv_detach(c, s), TLV_AXES(-1), TLV_KEEPDIM);
    tlv_tensor *alive = tlv_ne(c, best, none);
    return tlv_where(c, alive, tlv_softmax(c, tlv_where(c, alive, s, zero), -1), zero);
}

/* p = softmax(scale q k^T + bias), y = p v  =>  dv = p^T g,  ds = p (t - sum_k p t) with t = g v^T,
 * dq = scale ds k,  dk = scale ds^T q,  dbias = ds summed to its shape.  d: of q, k, v, bias; want
 * likewise. */
static void grad_graph(tlv_ctx *c, const tlv_tensor *const *in, const attention_attr *at,
                       const tlv_tensor *g, const int *want, tlv_tensor **d)
{
    const tlv_tensor *q = in[0], *k = in[1], *v = in[2], *bias = in[3];
    if (tlvi_numel(g) == 0 || k->shape[2] == 0) return;             // zero
    tlv_tensor *p = probabilities(c, q, k, bias, in[4], at);
    if (want[2]) d[2] = tlv_matmul(c, p, g, (tlv_matmul_opts){ .ta = 1 });
    if (!want[0] && !want[1] && !want[3]) return;
    tlv_tensor *t = tlv_matmul(c, g, v, (tlv_matmul_opts){ .tb = 1 });
    tlv_tensor *mean = tlv_sum(c, tlv_mul(c, p, t), TLV_AXES(-1), TLV_KEEPDIM);
    tlv_tensor *ds = tlv_mul(c, p, tlv_sub(c, t, mean));
    if (want[3]) d[3] = tlvi_sum_to_like(c, ds, bias);
    if (want[0]) d[0] = tlv_affine(c, tlv_matmul(c, ds, k, (tlv_matmul_opts){ 0 }), at->scale, 0);
    if (want[1])
        d[1] = tlv_affine(c, tlv_matmul(c, ds, q, (tlv_matmul_opts){ .ta = 1 }), at->scale, 0);
}

TLVI_VJP(ATTENTION)
{
    if (!tlvi_recording(c)) {
        separate_fused(c, n, g, d);
        return;
    }
    const tlv_tensor *in[5];
    int want[4];
    for (int i = 0; i < 5; i++) in[i] = tlvi_in(n, i);
    for (int i = 0; i < 4; i++) want[i] = wants(n, i);
    grad_graph(c, in, n->attr, g, want, d);
}

/* Part i of [B,T,3,H,D] as [B,H,T,D]. */
static tlv_tensor *unpack(tlv_ctx *c, const tlv_tensor *qkv, int i)
{
    tlv_tensor *x = tlv_slice(c, qkv, 2, i, i + 1, 1);
    x = tlv_permute(c, x, TLV_AXES(0, 3, 2, 1, 4));                 // [B,H,1,T,D]
    return tlv_reshape(c, x, TLV_SHAPE(qkv->shape[0], qkv->shape[3], qkv->shape[1], qkv->shape[4]));
}

TLVI_VJP(ATTENTION_PACKED)
{
    if (!tlvi_recording(c)) {
        packed_fused(c, n, g, d);
        return;
    }
    const tlv_tensor *qkv = tlvi_in(n, 0), *in[5] = { [3] = tlvi_in(n, 1), [4] = tlvi_in(n, 2) };
    int part = wants(n, 0), want[4] = { part, part, part, wants(n, 1) };
    for (int i = 0; i < 3; i++) in[i] = unpack(c, qkv, i);
    tlv_shape heads = TLV_SHAPE(qkv->shape[0], qkv->shape[1], qkv->shape[3], qkv->shape[4]);
    tlv_tensor *gh = tlv_permute(c, tlv_reshape(c, g, heads), TLV_AXES(0, 2, 1, 3));
    tlv_tensor *dh[4] = { 0 };
    if (c->err) return;
    grad_graph(c, in, n->attr, gh, want, dh);
    d[1] = dh[3];
    if (!part || !dh[0]) return;
    const tlv_tensor *all[3];
    for (int i = 0; i < 3; i++) all[i] = tlv_permute(c, dh[i], TLV_AXES(0, 2, 1, 3));   // [B,T,H,D]
    d[0] = tlv_stack(c, 3, all, 2);
}
