/* step_norms.c -- batch norms that differ from inner step to inner step (Antoniou et al. 2019,
 * arXiv:1810.09502, section 4: BNRS and BNWB).
 *
 * What a batch norm sees changes with every inner step, so one scale, one shift and one running
 * mean are a compromise between all of them.  Here the k-th pass, that of weights with k inner
 * steps behind them, k = 0 .. inner_steps, reads its own entry "meta.step.K.NAME" in place of NAME.
 * A pass after more steps than training had takes the last one's. */
#include <stdio.h>

#include "transfer/meta.h"

enum { NAME = 280 };

int tlvi_is_batch_norm(const tlv_params *p, int slot)
{
    const char *name = tlv_params_name(p, slot), *dot = strrchr(name, '.');
    if (!dot || strcmp(dot, ".num_batches_tracked") == 0) return 0;
    char mean[NAME];
    snprintf(mean, sizeof mean, "%.*s.running_mean", (int)(dot - name), name);
    return tlv_params_find(p, mean) >= 0;
}

/* Running ones where the options ask for them. */
static int differs(const tlv_meta *l, int slot)
{
    int buffer = tlv_params_is_buffer(l->p, slot);
    return slot < l->own && tlvi_is_batch_norm(l->p, slot)
        && (!buffer || l->o.bn == TLV_META_BN_PER_STEP);
}

void tlvi_step_norms_build(tlv_build *b, const tlv_meta *l)
{
    for (int k = 0; k <= l->o.inner_steps; k++)
        for (int i = 0; i < l->own; i++) {
            if (!differs(l, i)) continue;
            char name[NAME];
            snprintf(name, sizeof name, "meta.step.%d.%s", k, tlv_params_name(l->p, i));
            tlv_shape s = l->p->schema->entry[i].shape;
            if (tlv_params_is_buffer(l->p, i)) tlv_build_buffer(b, name, s, tlv_init_zeros());
            else tlv_build_param(b, name, s, tlv_init_zeros());
        }
}

void tlvi_step_norms_start(tlv_ctx *c, const tlv_meta *l, tlv_params *own)
{
    for (int i = 0; own && i < tlv_params_count(own) && c->err == TLV_OK; i++) {
        int k, n = 0;
        if (sscanf(tlv_params_name(own, i), "meta.step.%d.%n", &k, &n) != 1 || n == 0) continue;
        int from = tlv_params_find(l->p, tlv_params_name(own, i) + n);
        tlv_params_set(c, own, i, tlv_params_get(l->p, from));
    }
}

int tlvi_step_slot(const tlv_meta *l, int slot, int step)
{
    if (!l->how->step_norms || !differs(l, slot)) return slot;
    char name[NAME];
    snprintf(name, sizeof name, "meta.step.%d.%s",
             step < l->o.inner_steps ? step : l->o.inner_steps, tlv_params_name(l->p, slot));
    return tlv_params_find(l->p, name);
}

const tlv_params *tlvi_step_norms(tlv_ctx *c, const tlv_meta *l, const tlv_params *p, int step)
{
    if (!l->how->step_norms || !p || c->err) return p;
    tlv_params *q = tlvi_params_scoped(c, p->schema);
    for (int i = 0; q && i < p->schema->n; i++) {
        q->value[i] = p->value[tlvi_step_slot(l, i, step)];
        q->frozen[i] = p->frozen[i];
    }
    return q;
}
