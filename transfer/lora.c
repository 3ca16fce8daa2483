/* lora.c -- low-rank changes of matrices: W + B A (Hu et al. 2022, arXiv:2106.09685, eq. 3), with
 * A [r,I] and B [O,r]; a convolution [O,I,KH,KW] counts as the matrix [O, I*KH*KW].  B starts at
 * zero, so that nothing changes at first. */
#include <stdio.h>

#include "transfer/meta.h"

enum { NAME = 240 };

static int is_matrix(const tlv_params *p, int i)
{
    return !tlv_params_is_buffer(p, i) && p->schema->entry[i].shape.ndim >= 2;
}

tlv_params *tlvi_lora_entries(tlv_ctx *c, const tlv_params *p, tlvi_wanted wanted, const void *user,
                              int rank)
{
    TLVI_REQUIRE(c, rank >= 1, TLV_ERR_ARG, "4 and 8 are usual", "lora: rank %d", rank);
    int found = 0;
    tlv_build *b = NULL;
    for (int i = 0; i < tlv_params_count(p) && c->err == TLV_OK; i++) {
        if (!is_matrix(p, i) || !wanted(user, tlv_params_name(p, i))) continue;
        const tlvi_entry *e = &p->schema->entry[i];
        if (!b) b = tlv_build_begin(c, (tlv_dtype)e->dtype);
        int64_t out = e->shape.dim[0], in = tlvi_shape_numel(e->shape) / (out ? out : 1);
        char name[NAME];
        snprintf(name, sizeof name, "%s.lora_a", e->name);
        tlv_build_param(b, name, TLV_SHAPE(rank, in), tlv_init_kaiming_uniform(2.2360679774997896));
        snprintf(name, sizeof name, "%s.lora_b", e->name);
        tlv_build_param(b, name, TLV_SHAPE(out, rank), tlv_init_zeros());
        found++;
    }
    tlv_params *q = b ? tlv_build_end(b) : NULL;
    TLVI_REQUIRE(c, found > 0, TLV_ERR_ARG, "see the names with tlv-inspect",
                 "lora: no matrix is among what is to be adapted");
    return q;
}

static int by_pattern(const void *pattern, const char *name) { return tlv_match(pattern, name); }

tlv_params *tlv_lora_add(tlv_ctx *c, const tlv_params *p, const char *pattern, int rank)
{
    if (c->err || !p) return NULL;
    tlv_params *more = tlvi_lora_entries(c, p, by_pattern, pattern, rank);
    tlv_params *q = more ? tlv_params_edit(c, p, NULL, more) : NULL;
    tlv_params_close(more);
    for (int i = 0; q && i < tlv_params_count(p); i++)
        if (is_matrix(p, i) && tlv_match(pattern, tlv_params_name(p, i)))
            tlv_params_freeze(q, tlv_params_name(p, i));
    return q;
}

/* W + scale B A in W's shape */
static tlv_tensor *merged(tlv_ctx *c, const tlv_tensor *w, const tlv_tensor *a, const tlv_tensor *b,
                          double scale)
{
    tlv_tensor *ba = tlv_matmul(c, b, a, (tlv_matmul_opts){ 0 });                   // [O,I]
    return tlv_add(c, w, tlv_reshape(c, tlv_affine(c, ba, scale, 0), tlv_shape_of(w)));
}

tlv_params *tlv_lora_merge(tlv_ctx *c, const tlv_params *p, double scale)
{
    if (c->err || !p) return NULL;
    tlv_params *q = tlvi_params_scoped(c, p->schema);
    for (int i = 0; q && i < p->schema->n; i++) {
        char name[NAME];
        q->value[i] = p->value[i];
        q->frozen[i] = p->frozen[i];
        snprintf(name, sizeof name, "%s.lora_a", p->schema->entry[i].name);
        int a = tlv_params_find(p, name);
        if (a < 0) continue;
        name[strlen(name) - 1] = 'b';
        int b = tlv_params_find(p, name);
        if (b >= 0) q->value[i] = merged(c, p->value[i], p->value[a], p->value[b], scale);
    }
    return c->err ? NULL : q;
}
