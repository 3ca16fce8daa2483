/* dropout.c -- dropout (Srivastava et al. 2014, JMLR 15:1929) and drop path (Huang et al. 2016,
 * arXiv:1603.09382).  What is dropped follows from key and place, so the gradient and a replay draw
 * the same mask again and nothing is kept. */
#include "autograd/op.h"
#include "tensor/rng.h"

typedef struct dropout_attr {
    double p;
    tlv_rng_key key;
    int examples;                           // a draw an example instead of one an element
} dropout_attr;

typedef struct keep_arg { const tlvi_kset *k; double scale; } keep_arg;

static void keep_map(const void *arg, size_t n, const void *const *in, void *out)
{
    const keep_arg *a = arg;
    a->k->keep_scaled(n, in[0], in[1], a->scale, out);
}

/* u8, 1 where x stays: x's shape, or [B,1,..]. */
static tlv_tensor *keep_mask(tlv_ctx *c, const tlv_tensor *x, const dropout_attr *at)
{
    tlv_shape s = tlv_shape_of(x);
    for (int i = 1; at->examples && i < s.ndim; i++) s.dim[i] = 1;
    tlv_tensor *keep = tlvi_new(c, TLV_U8, s);
    if (keep) tlvi_rng_keep(c, at->key, at->p, tlvi_numel(keep), tlvi_ptr(keep));
    return keep;
}

static tlv_tensor *dropout_apply(tlv_ctx *c, const char *op, const tlv_tensor *x,
                                 const dropout_attr *at)
{
    if (!tlvi_ready1(c, op, x) || !tlvi_is_float(c, op, x)) return NULL;
    TLVI_REQUIRE(c, at->p >= 0 && at->p <= 1, TLV_ERR_ARG, "p is the probability to drop, 0 .. 1",
                 "%s: p is %g", op, at->p);
    TLVI_REQUIRE(c, !at->examples || x->ndim >= 1, TLV_ERR_SHAPE, "x is [B,..]", "%s: x is %s", op,
                 tlvi_shape_str(x).s);
    if (at->p == 0) return tlvi_pass(x);
    tlv_tensor *y = tlvi_new_ordered(c, (tlv_dtype)x->dtype, tlv_shape_of(x), x);
    tlv_tensor *keep = y ? keep_mask(c, x, at) : NULL;
    if (!keep) return NULL;
    keep_arg arg = { tlvi_ks(c, x->dtype), at->p < 1 ? 1 / (1 - at->p) : 0 };
    const tlv_tensor *in[2] = { x, keep };
    tlvi_map(c, keep_map, &arg, 2, in, y);
    return tlvi_record1(c, TLV_OP_DROPOUT, y, x, at, sizeof *at);
}

tlv_tensor *tlv_dropout(tlv_ctx *c, const tlv_tensor *x, double p, tlv_rng_key key)
{
    dropout_attr at = { .p = p, .key = key };
    return dropout_apply(c, "dropout", x, &at);
}

tlv_tensor *tlv_drop_path(tlv_ctx *c, const tlv_tensor *x, double p, tlv_rng_key key)
{
    dropout_attr at = { .p = p, .key = key, .examples = 1 };
    return dropout_apply(c, "drop_path", x, &at);
}
TLVI_EXEC(DROPOUT) { return dropout_apply(c, "dropout", tlvi_in(n, 0), n->attr); }
/* linear, and its own adjoint */
TLVI_VJP(DROPOUT) { d[0] = dropout_apply(c, "dropout", g, n->attr); }
