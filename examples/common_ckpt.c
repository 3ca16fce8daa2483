/* common_ckpt.c -- checkpoints of training runs. */
#include "examples/common_ckpt.h"

#include <stdlib.h>
#include <string.h>

enum { NAME = 160, PREFIXES = 3 };
static const char *const PREFIX[PREFIXES] = { "model.", "moment0.", "moment1." };
static const char HINT[] = "it is of another run, or damaged: begin again without --resume";

static tlv_params *set_of(tlv_params *p, tlv_optim *o, int prefix)
{
    return prefix == 0 ? p : tlv_optim_moment(o, prefix - 1);
}

/* Running statistics are the model's alone: the moments have nothing there. */
static int belongs(const tlv_params *p, int slot, int prefix)
{
    return prefix == 0 || !tlv_params_is_buffer(p, slot);
}

/* ---- saving ---------------------------------------------------------------------------------- */

static tlv_tensor *steps_tensor(tlv_ctx *c, const tlv_params *p, tlv_optim *o)
{
    int n = tlv_params_count(p);
    int64_t *steps = malloc((size_t)(n + 1) * sizeof *steps);
    if (!steps) return NULL;
    steps[0] = tlv_optim_steps(o);
    for (int i = 0; i < n; i++) steps[i + 1] = tlv_optim_slot_steps(o, i);
    tlv_tensor *t = tlv_from_data(c, TLV_I64, TLV_SHAPE(n + 1), steps, 0);
    free(steps);
    return t;
}

tlv_status cli_ckpt_save(tlv_ctx *c, const char *path, const tlv_params *p, tlv_optim *o,
                         const char *const *meta)
{
    int count = tlv_params_count(p), n = 0, room = PREFIXES * count + 1;
    tlv_file_item *item = malloc((size_t)room * sizeof *item);
    char (*name)[NAME] = malloc((size_t)room * sizeof *name);
    tlv_scope s = tlv_scope_begin_with(c, TLV_NO_GRAD);
    if (!item || !name) {
        tlv_fail(c, TLV_ERR_NOMEM, "close other programs", "%s: no memory for a checkpoint", path);
        goto out;
    }
    for (int k = 0; k < PREFIXES; k++) {
        const tlv_params *set = k == 0 ? p : tlv_optim_moment(o, k - 1);
        for (int i = 0; set && i < count; i++) {
            if (!belongs(p, i, k)) continue;
            snprintf(name[n], NAME, "%s%s", PREFIX[k], tlv_params_name(p, i));
            item[n] = (tlv_file_item){ name[n], tlv_params_get(set, i) };
            n++;
        }
    }
    item[n++] = (tlv_file_item){ "steps", steps_tensor(c, p, o) };
    if (item[n - 1].t) tlv_file_write(c, path, n, item, meta);
    else tlv_fail(c, TLV_ERR_NOMEM, "close other programs", "%s: no memory", path);
out:
    tlv_scope_end(c, s);
    free(item);
    free(name);
    return tlv_error(c);
}

/* ---- loading --------------------------------------------------------------------------------- */

static void load_steps(tlv_ctx *c, const tlv_file *f, tlv_optim *o, int count)
{
    int at = tlv_file_find(f, "steps");
    tlv_tensor *t = at >= 0 ? tlv_file_read(c, f, at) : NULL;
    if (!t || tlv_dtype_of(t) != TLV_I64 || tlv_numel(t) != count + 1) {
        tlv_fail(c, TLV_ERR_FORMAT, HINT, "the checkpoint has no steps of the optimizer");
        return;
    }
    int64_t *steps = malloc((size_t)(count + 1) * sizeof *steps);
    if (steps && tlv_read(c, t, steps, count + 1) == TLV_OK)
        tlv_optim_set_steps(o, steps[0], steps + 1);
    free(steps);
}

tlv_status cli_ckpt_load(tlv_ctx *c, const tlv_file *f, tlv_params *p, tlv_optim *o)
{
    int count = tlv_params_count(p);
    for (int k = 0; k < PREFIXES; k++) {
        tlv_params *set = set_of(p, o, k);
        for (int i = 0; set && i < count && !tlv_error(c); i++) {
            if (!belongs(p, i, k)) continue;
            char name[NAME];
            snprintf(name, sizeof name, "%s%s", PREFIX[k], tlv_params_name(p, i));
            int at = tlv_file_find(f, name);
            if (at < 0) return tlv_fail(c, TLV_ERR_FORMAT, HINT, "the checkpoint lacks %s", name);
            tlv_scope s = tlv_scope_begin_with(c, TLV_NO_GRAD);
            tlv_tensor *t = tlv_file_read(c, f, at);
            if (t) tlv_params_set(c, set, i, t);
            tlv_scope_end(c, s);
        }
    }
    tlv_scope s = tlv_scope_begin_with(c, TLV_NO_GRAD);
    load_steps(c, f, o, count);
    tlv_scope_end(c, s);
    return tlv_error(c);
}

double cli_ckpt_number(tlv_ctx *c, const tlv_file *f, const char *key)
{
    const char *text = tlv_file_meta(f, key);
    char *end = NULL;
    double v = text ? strtod(text, &end) : 0;
    if (!text || end == text || *end)
        tlv_fail(c, TLV_ERR_FORMAT, HINT, "the checkpoint has no number '%s'", key);
    return v;
}
