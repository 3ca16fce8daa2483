/* segments.c -- cutting a parameter set into pieces of equal work. */
#include "optim/segments.h"

enum { PIECE = 16384 };

typedef struct seg_job {
    const tlv_params *p;
    const uint8_t *use;
    tlvi_segment_fn fn;
    void *arg;
    const int64_t *first;               /* index of a slot's first piece */
} seg_job;

static void run_piece(void *arg, int64_t i, int worker)
{
    (void)worker;
    const seg_job *j = arg;
    int lo = 0, hi = j->p->schema->n - 1;           // the last slot whose first piece is <= i
    while (lo < hi) {
        int mid = (lo + hi + 1) / 2;
        if (j->first[mid] <= i) lo = mid;
        else hi = mid - 1;
    }
    int64_t from = (i - j->first[lo]) * PIECE, n = tlvi_numel(j->p->value[lo]) - from;
    j->fn(j->arg, lo, from, n < PIECE ? n : PIECE);
}

int64_t *tlvi_segments_room(tlv_ctx *c, const tlv_params *p)
{
    tlv_tensor *t = tlvi_new(c, TLV_I64, TLV_SHAPE((int64_t)p->schema->n));
    return t ? tlvi_ptr(t) : NULL;
}

void tlvi_segments(tlv_ctx *c, const tlv_params *p, const uint8_t *use, tlvi_segment_fn fn,
                   void *arg, int64_t *room)
{
    int n = p->schema->n;
    int64_t *first = room, total = 0;
    for (int i = 0; i < n; i++) {
        first[i] = total;
        if (use[i]) total += (tlvi_numel(p->value[i]) + PIECE - 1) / PIECE;
    }
    seg_job j = { p, use, fn, arg, first };
    tlvi_parallel_for(c, total, PIECE, run_piece, &j);
}

tlv_params *tlvi_dense(tlv_ctx *c, const tlv_params *g)
{
    tlv_params *q = tlvi_params_scoped(c, g->schema);
    for (int i = 0; q && i < g->schema->n; i++) {
        if (!g->value[i]) continue;
        q->value[i] = (tlv_tensor *)tlvi_row_major(c, g->value[i]);
        if (!q->value[i]) return NULL;
    }
    return q;
}
