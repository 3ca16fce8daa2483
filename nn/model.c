/* model.c -- the face that all architectures show: open by name or by file, forward, features,
 * head. */
#include <stdio.h>
#include <stdlib.h>

#include "nn/models/arch.h"

struct tlv_model {
    tlv_ctx *c;
    const tlvi_arch *arch;
    tlv_params *params;
    void *module;
    int classes;
    tlv_dtype dtype;
};

/* ---- the architectures ----------------------------------------------------------------------- */

static const struct {
    const tlvi_arch *at;
    int n;
} FAMILIES[] = { { tlvi_resnet_cifar, 4 }, { tlvi_resnet, 3 } };
enum { N_FAMILIES = sizeof FAMILIES / sizeof FAMILIES[0] };

const char *const *tlv_model_archs(void)
{
    static const char *const names[] = { "resnet20", "resnet32", "resnet44", "resnet56",
                                         "resnet18", "resnet34", "resnet50", NULL };
    return names;
}

static const tlvi_arch *find_arch(tlv_ctx *c, const char *name)
{
    char list[200] = "";
    for (int f = 0; f < N_FAMILIES; f++)
        for (int i = 0; i < FAMILIES[f].n; i++) {
            const char *known = FAMILIES[f].at[i].name;
            if (name && strcmp(name, known) == 0) return &FAMILIES[f].at[i];
            snprintf(list + strlen(list), sizeof list - strlen(list), "%s%s", list[0] ? ", " : "",
                     known);
        }
    char hint[240];
    c->in_hand[0] = NULL;                               // no op is at work
    snprintf(hint, sizeof hint, "there are: %s", list);
    tlvi_fail(c, TLV_ERR_ARG, hint, "there is no architecture '%s'", name ? name : "NULL");
    return NULL;
}

int tlvi_names_find(const tlvi_names *f, const char *name)
{
    for (int i = 0; i < f->n; i++)
        if (strcmp(f->name[i], name) == 0) return i;
    return -1;
}

enum { MAX_COUNT = 512 };                   // a hostile file may go on for millions

int tlvi_names_count(const tlvi_names *f, const char *pattern)
{
    const char *at = strstr(pattern, "%d");
    for (int n = 0; n < MAX_COUNT; n++) {
        char name[128];
        snprintf(name, sizeof name, "%.*s%d%s", (int)(at - pattern), pattern, n, at + 2);
        if (tlvi_names_find(f, name) < 0) return n;
    }
    return MAX_COUNT;
}

int tlvi_names_classes(const tlvi_names *f, const char *head, int width)
{
    int i = tlvi_names_find(f, head);
    if (i < 0 || f->shape[i].ndim != 2 || f->shape[i].dim[1] != width) return 0;
    return f->shape[i].dim[0] <= INT32_MAX ? (int)f->shape[i].dim[0] : 0;
}

/* ---- opening --------------------------------------------------------------------------------- */

static tlv_model *open_arch(tlv_ctx *c, const tlvi_arch *a, tlv_model_opts o)
{
    TLVI_REQUIRE(c, o.classes >= 0, TLV_ERR_ARG, "0 takes the architecture's own", "%s: %d classes",
                 a->name, o.classes);
    tlv_model *m = c->err ? NULL : tlvi_alloc(c, sizeof *m);
    if (!m) return NULL;
    *m = (tlv_model){
        .c = c, .arch = a, .classes = o.classes ? o.classes : a->classes, .dtype = o.dtype
    };
    m->module = tlvi_alloc(c, a->bytes);
    tlv_build *b = m->module ? tlv_build_begin(c, o.dtype) : NULL;
    if (b) {
        memset(m->module, 0, a->bytes);
        a->init(m->module, b, a->variant, m->classes);
        m->params = tlv_build_end(b);
    }
    if (m->params) return m;
    tlv_model_close(m);
    return NULL;
}

tlv_model *tlv_model_open(tlv_ctx *c, const char *arch, tlv_model_opts o)
{
    const tlvi_arch *a = c->err ? NULL : find_arch(c, arch);
    return a ? open_arch(c, a, o) : NULL;
}

void tlv_model_close(tlv_model *m)
{
    if (!m) return;
    tlv_params_close(m->params);
    tlvi_free(m->c, m->module, m->arch->bytes);
    tlvi_free(m->c, m, sizeof *m);
}

const char *tlv_model_arch(const tlv_model *m) { return m->arch->name; }
tlv_params *tlv_model_params(const tlv_model *m) { return m->params; }
int tlv_model_classes(const tlv_model *m) { return m->classes; }
const char *tlv_model_head(const tlv_model *m) { return m->arch->head; }
const tlv_recipe *tlv_model_recipe(const tlv_model *m) { return &m->arch->recipe; }

tlv_run tlv_model_run(tlv_ctx *c, const tlv_model *m, tlv_mode mode)
{
    return (
        tlv_run){ .c = c, .params = m->params, .mode = mode, .rng = tlv_rng_stream(c, "model") };
}

/* ---- forward --------------------------------------------------------------------------------- */

tlv_tensor *tlv_model_features(const tlv_run *r, const tlv_model *m, const tlv_tensor *x)
{
    if (!tlvi_ready1(r->c, m->arch->name, x)) return NULL;
    TLVI_REQUIRE(r->c, x->ndim == 4 && x->shape[1] == 3, TLV_ERR_SHAPE,
                 "images are [B,3,H,W], channels after batch", "%s: x is %s", m->arch->name,
                 tlvi_shape_str(x).s);
    return m->arch->features(r, m->module, x);
}

tlv_tensor *tlv_model_forward(const tlv_run *r, const tlv_model *m, const tlv_tensor *x)
{
    tlv_scope s = tlv_scope_begin(r->c);
    tlv_tensor *h = tlv_model_features(r, m, x);
    return tlv_scope_end_keep(r->c, s, h ? m->arch->classify(r, m->module, h) : NULL);
}

/* ---- a new head ------------------------------------------------------------------------------ */

/* The same architecture with another number of classes, drawn afresh, takes over all but the
 * head. */
tlv_status tlv_model_new_head(tlv_ctx *c, tlv_model *m, int classes)
{
    tlv_model *fresh = open_arch(c, m->arch,
                                 (tlv_model_opts){ .classes = classes, .dtype = m->dtype });
    if (!fresh) return c->err;
    char head[64];
    snprintf(head, sizeof head, "%s.*", m->arch->head);
    for (int i = 0; i < tlv_params_count(fresh->params); i++) {
        const char *name = tlv_params_name(fresh->params, i);
        if (tlv_match(head, name)) continue;
        int from = tlv_params_find(m->params, name);
        if (m->params->frozen[from]) tlv_params_freeze(fresh->params, name);
        if (tlv_params_set(c, fresh->params, i, m->params->value[from]) != TLV_OK) break;
    }
    if (c->err == TLV_OK) {
        tlv_model old = *m;
        *m = *fresh;
        *fresh = old;
    }
    tlv_model_close(fresh);
    return c->err;
}

/* ---- from a file ----------------------------------------------------------------------------- */

static const char *without_module(const char *name)
{
    return strncmp(name, "module.", 7) == 0 ? name + 7 : name;
}

typedef struct listing { tlvi_names names; size_t bytes; } listing;

static int list_file(tlv_ctx *c, const tlv_file *f, listing *l)
{
    int n = tlv_file_count(f);
    l->bytes = (size_t)(n ? n : 1) * (sizeof(char *) + sizeof(tlv_shape));
    tlv_shape *shape = tlvi_alloc(c, l->bytes);
    if (!shape) return 0;
    const char **name = (const char **)(void *)(shape + n);
    for (int i = 0; i < n; i++) {
        name[i] = without_module(tlv_file_name(f, i));
        shape[i] = tlv_file_shape(f, i);
    }
    l->names = (tlvi_names){ n, name, shape };
    return 1;
}

/* The architecture that the names fit, of those called `arch` (NULL: any); NULL if there is
 * none. */
static const tlvi_arch *fitting(const tlvi_names *names, const char *arch, int *classes)
{
    for (int f = 0; f < N_FAMILIES; f++)
        for (int i = 0; i < FAMILIES[f].n; i++) {
            const tlvi_arch *a = &FAMILIES[f].at[i];
            int k = 0;
            if ((arch && strcmp(arch, a->name) != 0) || !a->detect(names, a->variant, &k)) continue;
            *classes = k;
            return a;
        }
    return NULL;
}

const char *tlv_model_detect(tlv_ctx *c, const char *path, int *classes)
{
    tlv_file *f = tlv_file_open(c, path);
    listing l;
    const tlvi_arch *a = NULL;
    int k = 0;
    if (f && list_file(c, f, &l)) {
        a = fitting(&l.names, NULL, &k);
        tlvi_free(c, (void *)l.names.shape, l.bytes);
    }
    tlv_file_close(f);
    if (classes) *classes = k;
    return a ? a->name : NULL;
}

static const tlvi_arch *detect(tlv_ctx *c, const tlvi_names *names, const char *arch,
                               const char *path, int *classes)
{
    const tlvi_arch *fits = fitting(names, arch, classes);
    if (fits) return fits;
    const tlvi_arch *asked = arch ? find_arch(c, arch) : NULL;
    if (c->err) return NULL;
    if (asked) return asked; // the load will say in detail what does not fit
    tlvi_fail(c, TLV_ERR_NAME, "see what is inside with tlv-inspect, or name the architecture",
              "%s: its %d names (%s, ...) are of no architecture known here", path, names->n,
              names->n ? names->name[0] : "none");
    return NULL;
}

tlv_model *tlv_model_load(tlv_ctx *c, const char *path, const char *arch, tlv_model_opts o,
                          tlv_load_report *report)
{
    tlv_file *f = tlv_file_open(c, path);
    listing l;
    if (!f || !list_file(c, f, &l)) {
        tlv_file_close(f);
        return NULL;
    }
    int classes = 0;
    const tlvi_arch *a = detect(c, &l.names, arch, path, &classes);
    tlvi_free(c, (void *)l.names.shape, l.bytes);
    tlv_file_close(f);
    if (!a) return NULL;
    tlv_model_opts as_file = { .classes = classes ? classes : o.classes, .dtype = o.dtype };
    tlv_model *m = open_arch(c, a, as_file);
    if (!m) return NULL;
    if (tlv_params_load(c, m->params, path, (tlv_load_opts){ 0 }, report) == TLV_OK
        && (o.classes == 0 || o.classes == m->classes
            || tlv_model_new_head(c, m, o.classes) == TLV_OK))
        return m;
    tlv_model_close(m);
    return NULL;
}
