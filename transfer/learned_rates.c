/* learned_rates.c -- inner steps whose rates are learned: entries PREFIX NAME of the learner's own
 * for each parameter NAME that the inner loop moves. */
#include <stdio.h>

#include "transfer/meta.h"

enum { NAME = 280 };

void tlvi_rates_build(tlv_build *b, const tlv_meta *l, const char *prefix, int each)
{
    for (int i = 0; i < l->own; i++) {
        if (!l->adapted[i]) continue;
        char name[NAME];
        snprintf(name, sizeof name, "%s%s", prefix, tlv_params_name(l->p, i));
        tlv_build_param(b, name, each ? l->p->schema->entry[i].shape : TLV_SHAPE(1),
                        (tlv_init){ .kind = TLV_INIT_CONST, .a = l->o.inner_lr });
    }
}

tlv_params *tlvi_rates_descend(tlvi_meta_task *t, const tlv_params *p, const tlv_params *g,
                                     const char *prefix)
{
    tlv_ctx *c = t->c;
    if (!p || !g || c->err) return NULL;
    tlv_params *q = tlvi_params_scoped(c, p->schema);
    for (int i = 0; q && i < p->schema->n; i++) {
        q->value[i] = p->value[i];
        q->frozen[i] = p->frozen[i];
        if (i >= t->l->own || !g->value[i]) continue;
        char name[NAME];
        snprintf(name, sizeof name, "%s%s", prefix, tlv_params_name(p, i));
        const tlv_tensor *rate = tlv_params_get(t->p, tlv_params_find(t->p, name));
        q->value[i] = tlv_sub(c, p->value[i], tlv_mul(c, rate, g->value[i]));
    }
    return c->err ? NULL : q;
}
