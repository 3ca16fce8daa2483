/* run_file.c -- entries, moments and steps of a run to a safetensors file, and back. */
#include "transfer/run_file.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "tensor/core.h"

enum { NAME = 200, PREFIXES = 3 };
static const char *const PREFIX[PREFIXES] = { "model.", "moment0.", "moment1." };
static const char HINT[] = "it is of another run, or damaged: begin a new one";

static tlv_params *set_of(const tlvi_run_state *r, int prefix)
{
    if (prefix == 0) return r->p;
    return r->opt ? tlv_optim_moment(r->opt, prefix - 1) : NULL;
}

/* Running statistics are the model's alone: the moments have nothing there. */
static int belongs(const tlvi_run_state *r, int slot, int prefix)
{
    return prefix == 0 || !tlv_params_is_buffer(r->p, slot);
}

static const char *name_of(const tlvi_run_state *r, int slot, int prefix, char name[NAME])
{
    const char *front = prefix == 0 && slot >= r->own ? "own." : PREFIX[prefix];
    snprintf(name, NAME, "%s%s", front, tlv_params_name(r->p, slot));
    return name;
}

/* ---- writing --------------------------------------------------------------------------------- */

/* i64 [count + 1] */
static tlv_tensor *steps_tensor(tlv_ctx *c, const tlv_optim *o, int count)
{
    tlv_tensor *t = tlv_empty(c, TLV_I64, TLV_SHAPE(count + 1));
    int64_t *steps = t ? tlv_fill_ptr(c, t) : NULL;
    if (!steps) return NULL;
    steps[0] = tlv_optim_steps(o);
    for (int i = 0; i < count; i++) steps[i + 1] = tlv_optim_slot_steps(o, i);
    return t;
}

static void write(tlv_ctx *c, const char *path, const tlvi_run_state *r, tlv_file_item *item,
                  char (*name)[NAME], const char *const *meta)
{
    int count = tlv_params_count(r->p), n = 0;
    for (int k = 0; k < PREFIXES; k++) {
        const tlv_params *set = set_of(r, k);
        for (int i = 0; set && i < count; i++) {
            if (!belongs(r, i, k)) continue;
            item[n] = (tlv_file_item){ name_of(r, i, k, name[n]), tlv_params_get(set, i) };
            n++;
        }
    }
    if (r->opt) item[n++] = (tlv_file_item){ "steps", steps_tensor(c, r->opt, count) };
    if (c->err == TLV_OK) tlv_file_write(c, path, n, item, meta);
}

tlv_status tlvi_run_write(tlv_ctx *c, const char *path, const tlvi_run_state *r,
                          const char *const *meta)
{
    if (c->err) return c->err;
    size_t room = (size_t)PREFIXES * (size_t)tlv_params_count(r->p) + 1;
    size_t bytes = room * (sizeof(tlv_file_item) + NAME);
    tlv_file_item *item = tlvi_alloc(c, bytes);
    tlv_scope s = tlv_scope_begin_with(c, TLV_NO_GRAD);
    if (item) write(c, path, r, item, (char (*)[NAME])(void *)(item + room), meta);
    tlv_scope_end(c, s);
    tlvi_free(c, item, bytes);
    return c->err;
}

/* ---- reading --------------------------------------------------------------------------------- */

double tlvi_run_number(tlv_ctx *c, const tlv_file *f, const char *key, double lo, double hi)
{
    const char *text = tlv_file_meta(f, key);
    char *end = NULL;
    double v = text ? strtod(text, &end) : 0;
    if (!text || end == text || *end || !isfinite(v))
        tlvi_fail(c, TLV_ERR_FORMAT, HINT, "the checkpoint has no number '%s'", key);
    else if (v < lo || v > hi)
        tlvi_fail(c, TLV_ERR_FORMAT, HINT, "the checkpoint has %s = %g, want %g to %g", key, v, lo,
                  hi);
    return v;
}

static int same_shape(tlv_shape a, tlv_shape b)
{
    int same = a.ndim == b.ndim;
    for (int i = 0; same && i < a.ndim; i++) same = a.dim[i] == b.dim[i];
    return same;
}

/* The place of an entry in the file; -1 after an error. */
static int find(tlv_ctx *c, const tlv_file *f, const tlvi_run_state *r, int slot, int prefix)
{
    char name[NAME];
    int at = tlv_file_find(f, name_of(r, slot, prefix, name));
    const tlv_tensor *t = tlv_params_get(r->p, slot);
    if (at < 0) tlvi_fail(c, TLV_ERR_FORMAT, HINT, "the checkpoint lacks %s", name);
    else if (!same_shape(tlv_file_shape(f, at), tlv_shape_of(t))
             || tlv_file_dtype(f, at) != tlv_dtype_of(t))
        tlvi_fail(c, TLV_ERR_FORMAT, HINT, "%s in the checkpoint is not %s%s", name,
                  tlv_dtype_name(tlv_dtype_of(t)), tlvi_shape_str(t).s);
    return c->err ? -1 : at;
}

/* Finds every entry and, where `take` says so, reads it. */
static tlv_status entries(tlv_ctx *c, const tlv_file *f, const tlvi_run_state *r, int take)
{
    for (int k = 0; k < PREFIXES; k++) {
        tlv_params *set = set_of(r, k);
        for (int i = 0; set && i < tlv_params_count(r->p) && !c->err; i++) {
            int at = belongs(r, i, k) ? find(c, f, r, i, k) : -1;
            if (at < 0 || !take) continue;
            tlv_scope s = tlv_scope_begin_with(c, TLV_NO_GRAD);
            tlv_tensor *v = tlv_file_read(c, f, at);
            if (v) tlv_params_set(c, set, i, v);
            tlv_scope_end(c, s);
        }
    }
    return c->err;
}

/* The steps of the file, i64 [count + 1], in the innermost scope. */
static const int64_t *read_steps(tlv_ctx *c, const tlv_file *f, int count)
{
    int at = tlv_file_find(f, "steps");
    tlv_tensor *v = at >= 0 ? tlv_file_read(c, f, at) : NULL;
    TLVI_REQUIRE(c, v && tlv_dtype_of(v) == TLV_I64 && tlv_numel(v) == count + 1, TLV_ERR_FORMAT,
                 HINT, "the checkpoint has no steps of the optimizer");
    const int64_t *steps = tlvi_ptr(v);
    for (int i = 0; i <= count; i++)
        TLVI_REQUIRE(c, steps[i] >= 0, TLV_ERR_FORMAT, HINT, "the checkpoint has %lld steps",
                     (long long)steps[i]);
    return steps;
}

tlv_status tlvi_run_read(tlv_ctx *c, const tlv_file *f, const tlvi_run_state *r)
{
    if (c->err) return c->err;
    tlv_scope s = tlv_scope_begin_with(c, TLV_NO_GRAD);
    const int64_t *steps = r->opt ? read_steps(c, f, tlv_params_count(r->p)) : NULL;
    if (!c->err && entries(c, f, r, 0) == TLV_OK && entries(c, f, r, 1) == TLV_OK && steps)
        tlv_optim_set_steps(r->opt, steps[0], steps + 1);
    tlv_scope_end(c, s);
    return c->err;
}
