/* saved.c -- models from files and to files: which architecture names and shapes belong to, and
 * what the metadata of a saved model says.  Both are a stranger's word: everything is checked. */
#include <stdio.h>
#include <stdlib.h>

#include "nn/models/arch.h"
#include "nn/saved.h"
#include "tensor/json.h"
#include "tensor/mapfile.h"

/* ---- which model a file is ------------------------------------------------------------------- */

static const char *without_module(const char *name)
{
    return strncmp(name, "module.", 7) == 0 ? name + 7 : name;
}

typedef struct listing { tlvi_names names; size_t bytes; } listing;

/* The entries of f, or those whose names begin with prefix, without it. */
static int list_file(tlv_ctx *c, const tlv_file *f, const char *prefix, listing *l)
{
    int n = tlv_file_count(f), k = 0;
    size_t skip = prefix ? strlen(prefix) : 0;
    l->bytes = (size_t)(n ? n : 1) * (sizeof(char *) + sizeof(tlv_shape));
    tlv_shape *shape = tlvi_alloc(c, l->bytes);
    if (!shape) return 0;
    const char **name = (const char **)(void *)(shape + n);
    for (int i = 0; i < n; i++) {
        const char *full = tlv_file_name(f, i);
        if (prefix && strncmp(full, prefix, skip) != 0) continue;
        name[k] = prefix ? full + skip : without_module(full);
        shape[k++] = tlv_file_shape(f, i);
    }
    l->names = (tlvi_names){ k, name, shape };
    return 1;
}

/* A number from lo to hi in the metadata; 0 if the key is not there. */
static double meta_number(tlv_ctx *c, const tlv_file *f, const char *path, const char *key,
                          double lo, double hi)
{
    const char *text = tlv_file_meta(f, key);
    if (!text || c->err) return 0;
    char *end;
    double v = strtod(text, &end);
    if (end != text && *end == 0 && v >= lo && v <= hi) return v;
    tlvi_fail(c, TLV_ERR_FORMAT, "the metadata is damaged: save the model again",
              "%s: %s is '%s', want a number from %g to %g", tlvi_path_str(path).s, key,
              tlvi_name_str(text, strlen(text)).s, lo, hi);
    return 0;
}

static tlv_status bad_meta(tlv_ctx *c, const char *path, const char *key, const char *want)
{
    return tlvi_fail(c, TLV_ERR_FORMAT, "the metadata is damaged: save the model again",
                     "%s: %s in the metadata is not %s", tlvi_path_str(path).s, key, want);
}

/* tlv_model_save leaves its version; other people's metadata means other things. */
static int is_saved(const tlv_file *f) { return tlv_file_meta(f, "libtlvision") != NULL; }

static tlv_status take_meta(tlv_ctx *c, const tlv_file *f, const char *path, const tlvi_arch *a,
                            tlv_model_info *info)
{
    const char *dialect = tlv_file_meta(f, "dialect"), *padding = tlv_file_meta(f, "padding"),
               *recipe = tlv_file_meta(f, "recipe");
    if (dialect) {
        const tlvi_dialect *d = tlvi_dialect_find(a, dialect);
        if (!d) return bad_meta(c, path, "dialect", "one of this architecture");
        info->dialect = d->name;
    }
    if (recipe && !tlv_recipe_read(&info->recipe, recipe))
        return bad_meta(c, path, "recipe", "a recipe");
    if (!a->settings) return c->err;
    if (padding) {
        int same = strcmp(padding, tlv_padding_name(TLV_PADDING_SAME)) == 0;
        if (!same && strcmp(padding, tlv_padding_name(TLV_PADDING_TORCH)) != 0)
            return bad_meta(c, path, "padding", "torch or same");
        info->padding = same ? TLV_PADDING_SAME : TLV_PADDING_TORCH;
    }
    info->eps = meta_number(c, f, path, "eps", 1e-12, 0.9);
    info->momentum = meta_number(c, f, path, "momentum", 0, 1);
    return c->err;
}

/* The architecture that the names fit, of those called `arch` (NULL: any), or NULL; width and size
 * are 0 or what the file says of itself. */
static const tlvi_arch *fitting(const tlvi_names *names, const char *arch, double width, int size,
                                tlv_model_info *info)
{
    for (const tlvi_arch *a = tlvi_arch_next(NULL); a; a = tlvi_arch_next(a)) {
        *info = tlvi_model_start(a);
        info->width = width;
        if (a->settings & TLVI_SET_SIZE) info->size = size;
        if ((!arch || strcmp(arch, a->name) == 0) && a->detect(names, a->variant, info)) return a;
    }
    *info = (tlv_model_info){ 0 };
    return NULL;
}

/* What stands in an open file, under names that begin with prefix (NULL: all); *naming: by whose
 * names. NULL if it is nothing known here. */
static const tlvi_arch *recognise(tlv_ctx *c, const tlv_file *f, const char *path,
                                  const char *prefix, const char *arch, tlv_model_info *info,
                                  const tlvi_dialect **naming)
{
    listing l;
    double width = is_saved(f) ? meta_number(c, f, path, "width", 1e-3, 8) : 0;
    int size = is_saved(f) ? (int)meta_number(c, f, path, "size", 1, 4096) : 0;
    const char *says = is_saved(f) ? tlv_file_meta(f, "arch") : NULL;
    if (c->err || !list_file(c, f, prefix, &l)) return NULL;
    const tlvi_arch *a = !arch && says ? fitting(&l.names, says, width, size, info) : NULL;
    if (!a) a = fitting(&l.names, arch, width, size, info);
    tlvi_free(c, (void *)l.names.shape, l.bytes);
    if (!a) return NULL;
    *naming = tlvi_dialect_find(a, info->dialect);
    if (!*naming) *naming = a->dialect;
    if (is_saved(f)) take_meta(c, f, path, a, info);
    return c->err ? NULL : a;
}

tlv_status tlv_model_peek(tlv_ctx *c, const char *path, tlv_model_info *info)
{
    *info = (tlv_model_info){ 0 };
    tlv_file *f = tlv_file_open(c, path);
    const tlvi_dialect *naming;
    const tlvi_arch *a = f ? recognise(c, f, path, NULL, NULL, info, &naming) : NULL;
    tlv_file_close(f);
    if (!a) *info = (tlv_model_info){ 0 };
    return a ? tlvi_model_settle(c, a, (tlv_model_opts){ 0 }, info) : c->err;
}

const char *tlv_model_detect(tlv_ctx *c, const char *path, int *classes)
{
    tlv_model_info info;
    tlv_model_peek(c, path, &info);
    if (classes) *classes = info.classes;
    return info.arch;
}

/* ---- names of classes as JSON ---------------------------------------------------------------- */

/* ["ant","bee"]: exactly one string a class. */
static tlv_status read_class_names(tlv_ctx *c, const tlv_file *f, const char *path, tlv_model *m)
{
    const char *text = tlv_file_meta(f, "class_names");
    if (!text) return c->err;
    size_t len = strlen(text), bytes = len + 1;         // decoded it is shorter: no quotes
    char *to = tlvi_alloc(c, bytes);
    if (!to) return c->err;
    tlvi_json j;
    int n = 0, k = 0;
    size_t at = 0;
    tlvi_json_begin(&j, text, len);
    tlvi_json_open(&j, '[');
    while (tlvi_json_more(&j, &n, ']')) {
        size_t got = tlvi_json_string(&j, to + at, bytes - at - 1);
        if (j.bad || got >= bytes - at) break;
        at += got;
        to[at++] = 0;
        k++;
    }
    tlvi_json_end(&j);
    if (j.bad || k != m->info.classes) {
        tlvi_free(c, to, bytes);
        return bad_meta(c, path, "class_names", "a list of one string a class");
    }
    m->class_names = to;
    m->class_bytes = bytes;
    return c->err;
}

/* The length of the text, which goes to dst unless that is NULL. */
static size_t write_class_names(const tlv_model *m, char *dst)
{
    size_t n = 0;
    for (int k = 0; k < m->info.classes; k++) {
        if (dst) dst[n] = k ? ',' : '[';
        n++;
        n += tlvi_json_quote(dst ? dst + n : NULL, tlv_model_class_name(m, k));
    }
    if (dst) memcpy(dst + n, "]", 2);
    return n + 1;
}

/* ---- loading --------------------------------------------------------------------------------- */

static void add_report(tlv_load_report *r, const tlv_model *m, const tlvi_dialect *naming)
{
    size_t at = strlen(r->text);
    if (naming != m->arch->dialect)
        snprintf(r->text + at, sizeof r->text - at, ", dialect %s", naming->name);
    at = strlen(r->text);
    if (!m->info.has_head)
        snprintf(r->text + at, sizeof r->text - at, "; the file has no head: %s is random",
                 m->arch->head);
}

static tlv_model *load_as(tlv_ctx *c, const tlv_file *f, const char *path, const tlvi_arch *a,
                          const tlvi_dialect *naming, const tlv_model_info *info, tlv_dtype d,
                          tlv_load_report *report)
{
    char head[64];
    snprintf(head, sizeof head, "%s.*", a->head);
    tlv_model *m = tlvi_model_build(c, a, info, d, info->has_head ? "" : head);
    tlv_load_opts o = { .allow_missing = info->has_head ? NULL : head };
    if (m && tlvi_params_load_as(c, m->params, path, o, naming->rename, report) == TLV_OK
        && (!is_saved(f) || !info->has_head || read_class_names(c, f, path, m) == TLV_OK)) {
        if (report) add_report(report, m, naming);
        return m;
    }
    tlv_model_close(m);
    return NULL;
}

tlv_model *tlv_model_load(tlv_ctx *c, const char *path, const char *arch, tlv_model_opts o,
                          tlv_load_report *report)
{
    tlv_file *f = tlv_file_open(c, path);
    if (!f) return NULL;
    tlv_model_info info;
    const tlvi_dialect *naming;
    const tlvi_arch *a = recognise(c, f, path, NULL, arch, &info, &naming);
    if (!a && arch && !c->err && (a = tlvi_arch_find(c, arch)) != NULL) {
        info = tlvi_model_start(a);         // the load will say in detail what does not fit
        naming = a->dialect;
    }
    if (!a && !c->err)
        tlvi_fail(c, TLV_ERR_NAME, "see what is inside with tlv-inspect, or name the architecture",
                  "%s: its %d names (%s, ...) are of no architecture known here",
                  tlvi_path_str(path).s, tlv_file_count(f),
                  tlv_file_count(f) ? tlvi_name_str(tlv_file_name(f, 0),
                                                    strlen(tlv_file_name(f, 0))).s : "none");
    tlv_model *m = NULL;
    if (a && tlvi_model_settle(c, a, o, &info) == TLV_OK)
        m = load_as(c, f, path, a, naming, &info, o.dtype, report);
    tlv_file_close(f);
    if (!m || o.classes == 0 || o.classes == tlv_model_classes(m)
        || tlv_model_new_head(c, m, o.classes) == TLV_OK)
        return m;
    tlv_model_close(m);
    return NULL;
}

static tlv_dtype dtype_under(const tlv_file *f, const char *prefix)
{
    for (int i = 0; i < tlv_file_count(f); i++)
        if (strncmp(tlv_file_name(f, i), prefix, strlen(prefix)) == 0)
            return tlv_file_dtype(f, i) == TLV_F64 ? TLV_F64 : TLV_F32;
    return TLV_F32;
}

tlv_model *tlvi_model_like(tlv_ctx *c, const tlv_file *f, const char *path, const char *prefix)
{
    tlv_model_info info;
    const tlvi_dialect *naming;
    const char *arch = tlv_file_meta(f, "arch");
    const tlvi_arch *a = recognise(c, f, path, prefix, arch, &info, &naming);
    if (!a && !c->err)
        tlvi_fail(c, TLV_ERR_FORMAT, "see what is inside with tlv-inspect",
                  "%s: what is called %s* in it is not the architecture '%s'",
                  tlvi_path_str(path).s, prefix,
                  arch ? tlvi_name_str(arch, strlen(arch)).s : "unnamed");
    if (!a || tlvi_model_settle(c, a, (tlv_model_opts){ 0 }, &info) != TLV_OK) return NULL;
    return tlvi_model_build(c, a, &info, dtype_under(f, prefix), "");
}

/* ---- saving ---------------------------------------------------------------------------------- */

void tlvi_meta_put(tlvi_meta_list *l, const char *key, const char *value)
{
    if (l->n + 2 > 2 * TLVI_MAX_META) return;
    l->at[l->n++] = key;
    l->at[l->n++] = value;
    l->at[l->n] = NULL;
}

static void put_number(tlvi_meta_list *l, const char *key, char *buf, size_t n, double v)
{
    snprintf(buf, n, "%.17g", v);
    tlvi_meta_put(l, key, buf);
}

void tlvi_model_describe(const tlv_model *m, tlvi_meta_list *l)
{
    tlvi_meta_put(l, "libtlvision", tlv_version());
    tlvi_meta_put(l, "arch", m->info.arch);
    tlvi_meta_put(l, "dialect", m->info.dialect);
    tlvi_meta_put(l, "recipe", tlv_recipe_write(&m->info.recipe, l->recipe, sizeof l->recipe));
    if (!m->arch->settings) return;
    put_number(l, "width", l->width, sizeof l->width, m->info.width);
    tlvi_meta_put(l, "padding", tlv_padding_name(m->info.padding));
    put_number(l, "eps", l->eps, sizeof l->eps, m->info.eps);
    put_number(l, "momentum", l->momentum, sizeof l->momentum, m->info.momentum);
    tlvi_meta_put(l, "folded", m->info.folded ? "1" : "0");
    put_number(l, "channels", l->channels, sizeof l->channels, m->info.channels);
    put_number(l, "size", l->size, sizeof l->size, m->info.size);
}

static tlv_status write_model(tlv_ctx *c, const tlv_model *m, const char *path,
                              const char *const *meta)
{
    char head[64];
    snprintf(head, sizeof head, "%s.*", m->arch->head);
    int n = tlv_params_count(m->params), k = 0;
    size_t bytes = (size_t)n * sizeof(tlv_file_item);
    tlv_file_item *items = tlvi_alloc(c, bytes);
    if (!items) return c->err;
    for (int i = 0; i < n; i++) {
        const char *name = tlv_params_name(m->params, i);
        if (m->info.has_head || !tlv_match(head, name))
            items[k++] = (tlv_file_item){ name, m->params->value[i] };
    }
    tlv_file_write(c, path, k, items, meta);
    tlvi_free(c, items, bytes);
    return c->err;
}

tlv_status tlv_model_save(tlv_ctx *c, const tlv_model *m, const char *path,
                          const char *const *extra)
{
    if (c->err) return c->err;
    c->in_hand[0] = NULL;
    tlvi_meta_list l = { 0 };
    size_t bytes = m->class_names ? write_class_names(m, NULL) + 1 : 0;
    char *names = bytes ? tlvi_alloc(c, bytes) : NULL;
    if (bytes && !names) return c->err;
    tlvi_model_describe(m, &l);
    if (names) {
        write_class_names(m, names);
        tlvi_meta_put(&l, "class_names", names);
    }
    for (int i = 0; extra && extra[i] && extra[i + 1] && c->err == TLV_OK; i += 2) {
        if (l.n + 2 > 2 * TLVI_MODEL_META)
            tlvi_fail(c, TLV_ERR_LIMIT, "fewer pairs", "model_save: more than %d pairs of metadata",
                      TLVI_MODEL_META);
        else tlvi_meta_put(&l, extra[i], extra[i + 1]);
    }
    if (c->err == TLV_OK) write_model(c, m, path, l.at);
    tlvi_free(c, names, bytes);
    return c->err;
}
