/* ema.c -- exponential moving average of parameters (Polyak & Juditsky 1992). */
#include "optim/segments.h"

typedef struct ema_job { tlv_ctx *c; tlv_params *avg; const tlv_params *p; double decay; } ema_job;

static void ema_piece(void *arg, int i, int64_t from, int64_t n)
{
    const ema_job *j = arg;
    const tlv_tensor *y = j->avg->value[i], *x = j->p->value[i];
    int64_t skip = from * (int64_t)tlv_dtype_size((tlv_dtype)y->dtype);
    tlvi_ks(j->c, y->dtype)
        ->lerp((size_t)n, j->decay, 1 - j->decay, (const char *)tlvi_ptr(x) + skip,
               (char *)tlvi_ptr(y) + skip);
}

tlv_status tlv_ema_update(tlv_ctx *c, tlv_params *avg, const tlv_params *p, double decay)
{
    TLVI_CHECK(c, decay >= 0 && decay <= 1, TLV_ERR_ARG, "0.999 is usual", "ema_update: decay %g",
               decay);
    if (!tlvi_params_same(c, "ema_update", avg, p)) return c->err;
    int n = p->schema->n;
    tlv_scope s = tlv_scope_begin_with(c, TLV_NO_GRAD);
    int64_t *room = tlvi_segments_room(c, p);
    tlv_tensor *flags = tlvi_new(c, TLV_U8, TLV_SHAPE(n));
    uint8_t *use = flags ? tlvi_ptr(flags) : NULL;
    for (int i = 0; i < n && !c->err; i++) {
        use[i] = !p->schema->entry[i].is_buffer;
        if (use[i]) tlvi_params_write(c, avg, i);
        else tlv_params_set(c, avg, i, p->value[i]);
    }
    ema_job j = { c, avg, p, decay };
    if (!c->err) tlvi_segments(c, avg, use, ema_piece, &j, room);
    tlv_scope_end(c, s);
    return c->err;
}
