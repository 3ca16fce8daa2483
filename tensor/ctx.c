/* ctx.c -- the context: opening, closing, children, memory at its front door. */
#include <stdio.h>
#include <stdlib.h>

#include "tensor/core.h"

const char *tlv_version(void) { return "0.1.0"; }
int tlv_threads(const tlv_ctx *c) { return c->n_threads; }
const char *tlv_isa(const tlv_ctx *c) { return c->k->name; }
const char *tlv_isa_available(void) { return tlvi_isa_list(); }

static tlv_ctx *open_with(const tlv_ctx_opts *o, tlv_ctx *parent)
{
    tlv_alloc_fn alloc = o->alloc ? o->alloc : tlvi_sys_alloc;
    tlvi_pool *pool = tlvi_pool_open(alloc, o->alloc_user, o->mem_limit, o->fail_at,
                                     parent ? parent->pool : NULL);
    if (!pool) return NULL;
    tlv_ctx *c = tlvi_pool_get(pool, sizeof *c);
    if (!c) {
        tlvi_pool_close(pool);
        return NULL;
    }
    memset(c, 0, sizeof *c);
    c->pool = pool;
    c->opts = *o;
    c->opts.alloc = alloc;
    c->recording = 1;
    c->is_child = parent != NULL;
    c->root = parent ? parent : c;
    c->n_threads = parent ? 1 : o->threads > 0 ? o->threads : tlvi_cpu_count();
    c->rng = (tlv_rng_key){ o->seed };
    return c;
}

static void choose_conv(tlv_ctx *c)
{
    static const char *const name[3] = { "auto", "direct", "winograd" };
    const char *want = getenv("TLV_CONV");
    if ((unsigned)c->opts.conv > TLV_CONV_WINOGRAD) {
        tlvi_fail(c, TLV_ERR_ARG, "take one of tlv_conv_choice", "tlv_ctx_opts.conv is %d",
                  (int)c->opts.conv);
        c->opts.conv = TLV_CONV_AUTO;
        return;
    }
    if (c->opts.conv != TLV_CONV_AUTO || !want || !want[0]) return;
    for (int i = 0; i < 3; i++)
        if (strcmp(want, name[i]) == 0) {
            c->opts.conv = (tlv_conv_choice)i;
            return;
        }
    tlvi_fail(c, TLV_ERR_ARG, "set TLV_CONV to auto, direct or winograd, or not at all",
              "the environment asks for convolutions by '%s', but there are: auto direct winograd",
              want);
}

tlv_ctx *tlv_ctx_open(const tlv_ctx_opts *o)
{
    static const tlv_ctx_opts none = { 0 };
    tlv_ctx *c = open_with(o ? o : &none, NULL);
    if (!c) return NULL;
    const char *want = c->opts.isa ? c->opts.isa : getenv("TLV_ISA");
    if (want && !want[0]) want = NULL;
    c->k = tlvi_pick_kernels(want);
    if (!c->k) {
        c->k = tlvi_pick_kernels(NULL);
        tlvi_fail(c, TLV_ERR_ISA, NULL, "the instruction set '%s' is asked for, but there are: %s",
                  want, tlvi_isa_list());
    }
    c->opts.isa = NULL;
    choose_conv(c);
    return c;
}

tlv_ctx *tlvi_child_open(tlv_ctx *parent)
{
    tlv_ctx_opts o = parent->opts;
    o.fail_at = 0;
    o.on_error = NULL;
    tlv_ctx *c = open_with(&o, parent);
    if (c) c->k = parent->k;
    return c;
}

void tlv_ctx_close(tlv_ctx *c)
{
    if (!c) return;
    for (int i = 0; i < c->n_child; i++) tlv_ctx_close(c->child[i]);
    tlvi_free(c, c->child, (size_t)c->n_child * sizeof *c->child);
    tlvi_team_close(c->team);
    tlvi_pool_close(c->pool);       // takes everything back, the context itself too
}

/* ---- memory ---------------------------------------------------------------------------------- */

void *tlvi_alloc(tlv_ctx *c, size_t bytes)
{
    void *p = tlvi_pool_get(c->pool, bytes);
    if (TLVI_UNLIKELY(!p)) {
        tlv_mem_stats m;
        tlvi_pool_stats(c->pool, &m);
        char limit[64] = "no limit is set";
        if (m.limit) snprintf(limit, sizeof limit, "the limit is %.1f MB", (double)m.limit / 1e6);
        tlvi_fail(c, TLV_ERR_NOMEM, NULL, "no memory for %.3f MB more: %.1f MB are in use, %s",
                  (double)bytes / 1e6, (double)m.now / 1e6, limit);
    }
    return p;
}

void tlvi_free(tlv_ctx *c, void *p, size_t bytes)
{
    if (p) tlvi_pool_put(c->pool, p, bytes);
}

tlv_mem_phase tlvi_phase(tlv_ctx *c, tlv_mem_phase p) { return tlvi_pool_phase(c->pool, p); }

tlv_mem_stats tlv_mem_get(const tlv_ctx *c)
{
    tlv_mem_stats m = { 0 };
    tlvi_pool_stats(c->pool, &m);
    m.live_tensors = c->live_tensors;
    m.tape_nodes = c->tape.len;
    return m;
}

void tlv_mem_reset_peak(tlv_ctx *c) { tlvi_pool_reset_peak(c->pool); }
size_t tlv_mem_trim(tlv_ctx *c) { return tlvi_pool_trim(c->pool); }
