/* matmul.c -- matrix products, batched and broadcast.  The arithmetic is tensor/gemm.c. */
#include "autograd/op.h"
#include "tensor/gemm.h"

/* ---- matmul ---------------------------------------------------------------------------------- */

typedef struct product {
    int64_t m, n, k;
    tlv_shape lead;                         /* broadcast leading dims */
    int64_t sa[TLV_MAX_DIMS],
        sb[TLV_MAX_DIMS]; /* strides of a and b along them, 0 where broadcast */
} product;

static void lead_strides(const tlv_tensor *t, tlv_shape lead, int64_t *stride)
{
    int shift = lead.ndim - (t->ndim - 2);
    for (int i = 0; i < lead.ndim; i++)
        stride[i] = i < shift || t->shape[i - shift] == 1 ? 0 : t->stride[i - shift];
}

static tlv_shape lead_shape(const tlv_tensor *t)
{
    tlv_shape s = tlv_shape_of(t);
    s.ndim -= 2;
    return s;
}

/* Merges leading dims that both operands walk with one stride: [8,12] heads become 96 products. */
static void merge_leads(product *p)
{
    int w = 0;
    for (int i = 0; i < p->lead.ndim; i++) {
        int64_t n = p->lead.dim[i];
        if (n == 1) continue;
        if (w > 0 && p->sa[w - 1] == p->sa[i] * n && p->sb[w - 1] == p->sb[i] * n) {
            p->lead.dim[w - 1] *= n;
            w--;
        } else {
            p->lead.dim[w] = n;
        }
        p->sa[w] = p->sa[i];
        p->sb[w] = p->sb[i];
        w++;
    }
    p->lead.ndim = w;
}

/* A batch of a against one matrix b is one tall product where a's rows follow each other. */
static void merge_rows(product *p, int64_t rsa)
{
    while (p->lead.ndim > 0) {
        int last = p->lead.ndim - 1;
        if (p->sb[last] != 0 || p->sa[last] != rsa * p->m) return;
        p->m *= p->lead.dim[last];
        p->lead.ndim--;
    }
}

static tlv_status run_product(tlv_ctx *c, const tlv_tensor *a, const tlv_tensor *b,
                              tlv_matmul_opts o, product p, tlv_tensor *y)
{
    int64_t ra = a->stride[a->ndim - 2], ca = a->stride[a->ndim - 1];
    int64_t rb = b->stride[b->ndim - 2], cb = b->stride[b->ndim - 1];
    tlvi_gemm_job j = { .dtype = a->dtype, .n = p.n, .k = p.k, .a = tlvi_ptr(a), .b = tlvi_ptr(b),
                        .rsa = o.ta ? ca : ra, .csa = o.ta ? ra : ca, .rsb = o.tb ? cb : rb,
                        .csb = o.tb ? rb : cb, .c = tlvi_ptr(y), .ldc = p.n };
    merge_leads(&p);
    merge_rows(&p, j.rsa);
    j.m = p.m;
    int64_t outer = 1, batch = 1, last = p.lead.ndim - 1,
            size = (int64_t)tlv_dtype_size((tlv_dtype)a->dtype);
    for (int i = 0; i < last; i++) outer *= p.lead.dim[i];
    if (last >= 0) batch = p.lead.dim[last];
    for (int64_t i = 0; i < outer && !c->err; i++) {
        int64_t rest = i, oa = 0, ob = 0;
        for (int64_t d = last - 1; d >= 0; d--) {
            oa += rest % p.lead.dim[d] * p.sa[d];
            ob += rest % p.lead.dim[d] * p.sb[d];
            rest /= p.lead.dim[d];
        }
        tlvi_gemm_job k = j;
        k.a = (const char *)j.a + oa * size;
        k.b = (const char *)j.b + ob * size;
        k.c = (char *)j.c + i * batch * p.m * p.n * size;
        if (batch == 1) tlvi_gemm(c, &k);
        else tlvi_gemm_batched(c, &k, batch, p.sa[last], p.sb[last], p.m * p.n);
    }
    return c->err;
}

/* Two matrices that fit together. */
static tlv_tensor *one_product(tlv_ctx *c, const tlv_tensor *a, const tlv_tensor *b,
                               tlv_matmul_opts o)
{
    int ai = o.ta != 0, bi = o.tb != 0;             // a's dim of rows, b's of terms
    tlv_tensor *y = tlvi_new(c, (tlv_dtype)a->dtype, tlv_shape2(a->shape[ai], b->shape[!bi]));
    if (!y) return NULL;
    tlvi_gemm_job j = { .dtype = a->dtype, .m = y->shape[0], .n = y->shape[1],
                        .k = b->shape[bi], .a = tlvi_ptr(a), .b = tlvi_ptr(b),
                        .rsa = a->stride[ai], .csa = a->stride[!ai], .rsb = b->stride[bi],
                        .csb = b->stride[!bi], .c = tlvi_ptr(y), .ldc = y->shape[1] };
    if (tlvi_gemm(c, &j) != TLV_OK) return NULL;
    return tlvi_record2(c, TLV_OP_MATMUL, y, a, b, &o, sizeof o);
}

tlv_tensor *tlv_matmul(tlv_ctx *c, const tlv_tensor *a, const tlv_tensor *b, tlv_matmul_opts o)
{
    if (!tlvi_ready2(c, "matmul", a, b) || !tlvi_same_float(c, "matmul", a, b)) return NULL;
    if (a->ndim == 2 && b->ndim == 2 && a->shape[!o.ta] == b->shape[o.tb != 0])
        return one_product(c, a, b, o);
    TLVI_REQUIRE(c, a->ndim >= 2 && b->ndim >= 2, TLV_ERR_SHAPE,
                 "give a vector a dim of size 1 by tlv_reshape",
                 "matmul: a is %s and b is %s; both need two dims or more", tlvi_shape_str(a).s,
                 tlvi_shape_str(b).s);
    int64_t ka = tlv_dim(a, o.ta ? -2 : -1), kb = tlv_dim(b, o.tb ? -1 : -2);
    product p = { .m = tlv_dim(a, o.ta ? -1 : -2), .n = tlv_dim(b, o.tb ? -2 : -1), .k = ka,
                  .lead = lead_shape(a) };
    TLVI_REQUIRE(c, ka == kb, TLV_ERR_SHAPE, "transpose one of them by .ta or .tb",
                 "matmul: a is %s%s and b is %s%s; their inner dims must be equal",
                 tlvi_shape_str(a).s, o.ta ? " transposed" : "", tlvi_shape_str(b).s,
                 o.tb ? " transposed" : "");
    TLVI_REQUIRE(c, tlvi_broadcast(&p.lead, lead_shape(b)), TLV_ERR_SHAPE,
                 "leading dims must be equal or 1",
                 "matmul: the leading dims of a %s and b %s do not broadcast", tlvi_shape_str(a).s,
                 tlvi_shape_str(b).s);
    TLVI_REQUIRE(c, p.lead.ndim + 2 <= TLV_MAX_DIMS, TLV_ERR_LIMIT, NULL,
                 "matmul: more than %d dims", TLV_MAX_DIMS);
    tlv_shape s = p.lead;
    s.dim[s.ndim++] = p.m;
    s.dim[s.ndim++] = p.n;
    tlv_tensor *y = tlvi_new(c, (tlv_dtype)a->dtype, s);
    if (!y) return NULL;
    lead_strides(a, p.lead, p.sa);
    lead_strides(b, p.lead, p.sb);
    if (tlvi_numel(y) > 0 && run_product(c, a, b, o, p, y) != TLV_OK) return NULL;
    return tlvi_record2(c, TLV_OP_MATMUL, y, a, b, &o, sizeof o);
}

TLVI_EXEC(MATMUL)
{
    return tlv_matmul(c, tlvi_in(n, 0), tlvi_in(n, 1), *(const tlv_matmul_opts *)n->attr);
}

/* One matrix b against a batch of a: its gradient is one tall product, not a sum of many. */
static tlv_tensor *grad_of_shared_b(tlv_ctx *c, const tlv_tensor *a, const tlv_tensor *g, int tb)
{
    a = tlv_reshape(c, a, TLV_SHAPE(-1, tlv_dim(a, -1)));
    g = tlv_reshape(c, g, TLV_SHAPE(-1, tlv_dim(g, -1)));
    return tb ? tlv_matmul(c, g, a, (tlv_matmul_opts){ .ta = 1 })
              : tlv_matmul(c, a, g, (tlv_matmul_opts){ .ta = 1 });
}

/* y = a b  =>  da = g b^T,  db = a^T g, each summed back over broadcast leading dims; with .ta the
 * gradient of the stored matrix is the transpose: (g b^T)^T = b g^T */
TLVI_VJP(MATMUL)
{
    const tlv_tensor *a = tlvi_in(n, 0), *b = tlvi_in(n, 1);
    tlv_matmul_opts o = *(const tlv_matmul_opts *)n->attr;
    if (wants(n, 0)) {
        tlv_tensor *da = o.ta ? tlv_matmul(c, b, g, (tlv_matmul_opts){ .ta = o.tb, .tb = 1 })
                              : tlv_matmul(c, g, b, (tlv_matmul_opts){ .tb = !o.tb });
        d[0] = tlvi_sum_to_like(c, da, a);
    }
    if (wants(n, 1)) {
        if (b->ndim == 2 && a->ndim > 2 && !o.ta && tlvi_numel(g) > 0 && tlvi_numel(a) > 0) {
            d[1] = grad_of_shared_b(c, a, g, o.tb);
            return;
        }
        tlv_tensor *db = o.tb ? tlv_matmul(c, g, a, (tlv_matmul_opts){ .ta = 1, .tb = o.ta })
                              : tlv_matmul(c, a, g, (tlv_matmul_opts){ .ta = !o.ta });
        d[1] = tlvi_sum_to_like(c, db, b);
    }
}
