/* clip.c -- gradients kept in bounds. */
#include "optim/segments.h"

static tlv_params *map_set(tlv_ctx *c, const tlv_params *g, double scale, double lo, double hi,
                           int clamp)
{
    if (c->err || !g) return NULL;
    tlv_params *q = tlvi_params_scoped(c, g->schema);
    for (int i = 0; q && i < g->schema->n; i++) {
        q->frozen[i] = g->frozen[i];
        if (!g->value[i] || g->schema->entry[i].is_buffer) continue;
        q->value[i] = clamp ? tlv_clamp(c, g->value[i], lo, hi)
                            : tlv_affine(c, g->value[i], scale, 0);
        if (!q->value[i]) return NULL;
    }
    return q;
}

/* scale = min(1, max_norm / (norm + 1e-6)), as torch.nn.utils.clip_grad_norm_ */
tlv_params *tlv_clip_norm(tlv_ctx *c, const tlv_params *g, double max_norm, double *norm)
{
    TLVI_REQUIRE(c, max_norm > 0, TLV_ERR_ARG, "a norm is > 0", "clip_norm: max_norm %g", max_norm);
    double now = tlv_params_norm(c, g), scale = max_norm / (now + 1e-6);
    if (norm) *norm = now;
    return map_set(c, g, scale < 1 ? scale : 1, 0, 0, 0);
}

tlv_params *tlv_clip_value(tlv_ctx *c, const tlv_params *g, double max_abs)
{
    TLVI_REQUIRE(c, max_abs > 0, TLV_ERR_ARG, "a bound is > 0", "clip_value: max_abs %g", max_abs);
    return map_set(c, g, 1, -max_abs, max_abs, 1);
}
