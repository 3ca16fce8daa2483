/* model.c -- the face that all architectures show: open by name, forward, features, head, names. */
#include <stdio.h>
#include <stdlib.h>

#include "nn/models/arch.h"
#include "tensor/json.h"

/* ---- the architectures ----------------------------------------------------------------------- */

static const struct {
    const tlvi_arch *at;
    int n;
} FAMILIES[] = { { tlvi_resnet_cifar, 4 }, { tlvi_resnet, 4 }, { &tlvi_mobilenet_v2, 1 },
                 { &tlvi_squeezenet, 1 }, { tlvi_conv4, 3 },
                 { tlvi_vit, 4 } };
enum { N_FAMILIES = sizeof FAMILIES / sizeof FAMILIES[0] };

const char *const *tlv_model_archs(void)
{
    static const char *const names[] = { "resnet20", "resnet32", "resnet44", "resnet56",
                                         "resnet18", "resnet34", "resnet50", "mobilenet_v2",
                                         "squeezenet1_0", "conv4", "conv4_stride",
                                         "conv4_stride_flat", "vit_tiny_patch16",
                                         "vit_small_patch16", "vit_base_patch16",
                                         "vit_mini_patch4", NULL };
    return names;
}

const tlvi_arch *tlvi_arch_next(const tlvi_arch *a)
{
    if (!a) return FAMILIES[0].at;
    for (int f = 0; f < N_FAMILIES; f++)
        for (int i = 0; i < FAMILIES[f].n; i++) {
            if (a != &FAMILIES[f].at[i]) continue;
            if (i + 1 < FAMILIES[f].n) return a + 1;
            return f + 1 < N_FAMILIES ? FAMILIES[f + 1].at : NULL;
        }
    return NULL;
}

const tlvi_arch *tlvi_arch_find(tlv_ctx *c, const char *name)
{
    char list[320] = "";
    for (const tlvi_arch *a = tlvi_arch_next(NULL); a; a = tlvi_arch_next(a)) {
        if (name && strcmp(name, a->name) == 0) return a;
        size_t at = strlen(list);
        snprintf(list + at, sizeof list - at, "%s%s", at ? ", " : "", a->name);
    }
    char hint[360];
    c->in_hand[0] = NULL;                               // no op is at work
    snprintf(hint, sizeof hint, "there are: %s", list);
    tlvi_fail(c, TLV_ERR_ARG, hint, "there is no architecture '%s'", name ? name : "NULL");
    return NULL;
}

const tlvi_dialect *tlvi_dialect_find(const tlvi_arch *a, const char *name)
{
    for (int i = 0; name && i < a->n_dialects; i++)
        if (strcmp(a->dialect[i].name, name) == 0) return &a->dialect[i];
    return NULL;
}

const char *tlv_padding_name(tlv_padding p) { return p == TLV_PADDING_SAME ? "same" : "torch"; }

/* ---- names in a file ------------------------------------------------------------------------- */

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
    if (i < 0) return 0;
    const tlv_shape *s = &f->shape[i];
    int conv = s->ndim == 4 && s->dim[2] == 1 && s->dim[3] == 1;
    if ((s->ndim != 2 && !conv) || s->dim[1] != width) return 0;
    return s->dim[0] <= INT32_MAX ? (int)s->dim[0] : 0;
}

int tlvi_names_head(const tlvi_names *f, const char *head, int width, tlv_model_info *found)
{
    found->has_head = tlvi_names_find(f, head) >= 0;
    found->classes = tlvi_names_classes(f, head, width);
    return found->classes > 0 || !found->has_head;
}

/* ---- opening --------------------------------------------------------------------------------- */

tlv_model_info tlvi_model_start(const tlvi_arch *a)
{
    return (tlv_model_info){ .arch = a->name, .has_head = 1, .linear_head = !a->conv_head };
}

/* The name of a setting that is asked for and that a does not have, or NULL. */
static const char *chosen_but_fixed(const tlvi_arch *a, const tlv_model_opts *o)
{
    const struct { unsigned bit; int chosen; const char *name; } CHOICE[] = {
        { TLVI_SET_WIDTH, o->width != 0 && o->width != 1, "width" },
        { TLVI_SET_PADDING, o->padding == TLV_PADDING_SAME, "padding" },
        { TLVI_SET_NORM, o->eps != 0, "eps" },
        { TLVI_SET_NORM, o->momentum != 0, "momentum" },
        { TLVI_SET_FOLDED, o->folded, "folding" },
        { TLVI_SET_CHANNELS, o->channels != 0 && o->channels != 3, "number of channels" },
        { TLVI_SET_SIZE, o->size != 0, "size of images" },
    };
    for (size_t i = 0; i < sizeof CHOICE / sizeof CHOICE[0]; i++)
        if (CHOICE[i].chosen && !(a->settings & CHOICE[i].bit)) return CHOICE[i].name;
    return NULL;
}

static tlv_status check_opts(tlv_ctx *c, const tlvi_arch *a, tlv_model_opts o,
                             const tlv_model_info *info)
{
    c->in_hand[0] = NULL;
    TLVI_CHECK(c, o.classes >= 0, TLV_ERR_ARG, "0 takes the architecture's own", "%s: %d classes",
               a->name, o.classes);
    TLVI_CHECK(c, (unsigned)o.padding <= TLV_PADDING_SAME, TLV_ERR_ARG,
               "TLV_PADDING_TORCH or TLV_PADDING_SAME", "%s: padding %d", a->name, (int)o.padding);
    const char *fixed = chosen_but_fixed(a, &o);
    TLVI_CHECK(c, !fixed, TLV_ERR_ARG, "leave it at 0",
               "%s has one form only: its %s cannot be chosen", a->name, fixed);
    TLVI_CHECK(c, o.channels >= 0 && o.channels <= 4096 && o.size >= 0 && o.size <= 4096,
               TLV_ERR_ARG, "0 takes the architecture's own", "%s: %d channels, size %d", a->name,
               o.channels, o.size);
    TLVI_CHECK(c, o.width >= 0 && o.width <= 8 && o.eps >= 0 && o.eps < 1 && o.momentum >= 0
                      && o.momentum <= 1,
               TLV_ERR_ARG, "width 0 .. 8, eps 0 .. 1, momentum 0 .. 1; 0 takes the usual value",
               "%s: width %g, eps %g, momentum %g", a->name, o.width, o.eps, o.momentum);
    TLVI_CHECK(c, o.width == 0 || info->width == 0 || o.width == info->width, TLV_ERR_ARG,
               "leave width at 0: the file says it", "%s: width %g, but the file has %g", a->name,
               o.width, info->width);
    TLVI_CHECK(c, o.channels == 0 || info->channels == 0 || o.channels == info->channels,
               TLV_ERR_ARG, "leave channels at 0: the file says it",
               "%s: %d channels, but the file has %d", a->name, o.channels, info->channels);
    return c->err;
}

tlv_status tlvi_model_settle(tlv_ctx *c, const tlvi_arch *a, tlv_model_opts o, tlv_model_info *info)
{
    if (c->err || check_opts(c, a, o, info) != TLV_OK) return c->err;
    const tlvi_dialect *d = tlvi_dialect_find(a, info->dialect);
    if (!d) d = a->dialect;
    info->arch = a->name;
    info->dialect = d->name;
    if (info->classes == 0) info->classes = o.classes ? o.classes : a->classes;
    if (info->width == 0) info->width = o.width > 0 ? o.width : 1;
    if (info->channels == 0) info->channels = o.channels ? o.channels : 3;
    if (info->recipe.size == 0) info->recipe = d->recipe;
    if (o.size) info->size = o.size;
    if (info->size == 0) info->size = info->recipe.size;
    if ((a->settings & TLVI_SET_SIZE) && info->recipe.size != info->size) {
        info->recipe.resize = (int)((int64_t)info->recipe.resize * info->size / info->recipe.size);
        info->recipe.size = info->size;
    }
    if (o.padding || !info->padding) info->padding = o.padding ? o.padding : d->padding;
    if (o.eps > 0 || info->eps == 0) info->eps = o.eps > 0 ? o.eps : d->eps;
    if (o.momentum > 0 || info->momentum == 0)
        info->momentum = o.momentum > 0 ? o.momentum : d->momentum;
    info->folded = info->folded || o.folded || d->folded;
    const char *bad = a->bad_size ? a->bad_size(a->variant, info->size) : NULL;
    TLVI_CHECK(c, !bad, TLV_ERR_ARG, "choose another size", "%s: images of size %d are %s", a->name,
               info->size, bad);
    info->dim = a->dim(a->variant, info);
    return c->err;
}

tlv_model *tlvi_model_build(tlv_ctx *c, const tlvi_arch *a, const tlv_model_info *info, tlv_dtype d,
                            const char *draw)
{
    tlv_model *m = c->err ? NULL : tlvi_alloc(c, sizeof *m);
    if (!m) return NULL;
    *m = (tlv_model){ .c = c, .arch = a, .dtype = d, .info = *info };
    m->module = tlvi_alloc(c, a->bytes);
    tlv_build *b = m->module ? tlv_build_begin(c, d) : NULL;
    if (b) {
        memset(m->module, 0, a->bytes);
        tlvi_build_draw(b, draw);
        a->init(m->module, b, a->variant, info);
        m->params = tlv_build_end(b);
    }
    if (m->params) return m;
    tlv_model_close(m);
    return NULL;
}

tlv_model *tlv_model_open(tlv_ctx *c, const char *arch, tlv_model_opts o)
{
    const tlvi_arch *a = c->err ? NULL : tlvi_arch_find(c, arch);
    if (!a) return NULL;
    tlv_model_info info = tlvi_model_start(a);
    return tlvi_model_settle(c, a, o, &info) == TLV_OK ? tlvi_model_build(c, a, &info, o.dtype,
                                                                        NULL)
                                                       : NULL;
}

void tlv_model_close(tlv_model *m)
{
    if (!m) return;
    tlv_params_close(m->params);
    tlvi_free(m->c, m->class_names, m->class_bytes);
    tlvi_free(m->c, m->module, m->arch->bytes);
    tlvi_free(m->c, m, sizeof *m);
}

tlv_conv_layer tlvi_conv_init(tlv_build *b, const char *name, int in, int out, int k,
                              tlv_conv2d_opts o, int bias, tlv_init w)
{
    tlv_conv_layer m = { .in = in, .out = out, .k = k, .b = -1, .o = o };
    tlv_build_push(b, name);
    m.w = tlv_build_param(b, "weight", TLV_SHAPE(out, in / (o.groups ? o.groups : 1), k, k), w);
    if (bias) m.b = tlv_build_param(b, "bias", TLV_SHAPE(out), tlv_init_zeros());
    tlv_build_pop(b);
    return m;
}

/* ---- what a model says of itself ------------------------------------------------------------- */

const tlv_model_info *tlv_model_about(const tlv_model *m) { return &m->info; }
const char *tlv_model_arch(const tlv_model *m) { return m->info.arch; }
const char *tlv_model_dialect(const tlv_model *m) { return m->info.dialect; }
tlv_params *tlv_model_params(const tlv_model *m) { return m->params; }
int tlv_model_classes(const tlv_model *m) { return m->info.classes; }
int tlv_model_dim(const tlv_model *m) { return m->info.dim; }
int tlv_model_has_head(const tlv_model *m) { return m->info.has_head; }
void tlv_model_drop_head(tlv_model *m) { m->info.has_head = 0; }
const char *tlv_model_head(const tlv_model *m) { return m->arch->head; }
const tlv_recipe *tlv_model_recipe(const tlv_model *m) { return &m->info.recipe; }
void tlv_model_set_recipe(tlv_model *m, const tlv_recipe *r) { m->info.recipe = *r; }

const char *tlv_model_class_name(const tlv_model *m, int k)
{
    const char *s = m->class_names;
    if (!s || k < 0 || k >= m->info.classes) return NULL;
    while (k-- > 0) s += strlen(s) + 1;
    return s;
}

tlv_status tlv_model_set_class_names(tlv_ctx *c, tlv_model *m, const char *const *names)
{
    size_t bytes = 0;
    c->in_hand[0] = NULL;
    for (int k = 0; names && k < m->info.classes; k++) {
        TLVI_CHECK(c, names[k] && tlvi_utf8_ok(names[k]), TLV_ERR_ARG,
                   "a name for every class, in UTF-8", "%s: the name of class %d of %d is %s",
                   m->info.arch, k, m->info.classes, names[k] ? "not UTF-8" : "NULL");
        bytes += strlen(names[k]) + 1;
    }
    char *to = bytes ? tlvi_alloc(c, bytes) : NULL;
    if (bytes && !to) return c->err;
    tlvi_free(m->c, m->class_names, m->class_bytes);
    m->class_names = to;
    m->class_bytes = bytes;
    for (int k = 0; names && k < m->info.classes; k++) {
        size_t n = strlen(names[k]) + 1;
        memcpy(to, names[k], n);
        to += n;
    }
    return c->err;
}

tlv_run tlv_model_run(tlv_ctx *c, const tlv_model *m, tlv_mode mode)
{
    return (
        tlv_run){ .c = c, .params = m->params, .mode = mode, .rng = tlv_rng_stream(c, "model") };
}

/* ---- forward --------------------------------------------------------------------------------- */

static int takes(const tlv_run *r, const tlv_model *m, const tlv_tensor *x)
{
    if (!tlvi_ready1(r->c, m->arch->name, x)) return 0;
    if (x->ndim == 4 && x->shape[1] == m->info.channels) return 1;
    tlvi_fail(r->c, TLV_ERR_SHAPE, "images are [B,C,H,W], channels after batch",
              "%s: x is %s, but images have %d channels", m->arch->name, tlvi_shape_str(x).s,
              m->info.channels);
    return 0;
}

tlv_tensor *tlv_model_features(const tlv_run *r, const tlv_model *m, const tlv_tensor *x)
{
    return takes(r, m, x) ? m->arch->features(r, m->module, x) : NULL;
}

tlv_tensor *tlv_model_forward(const tlv_run *r, const tlv_model *m, const tlv_tensor *x)
{
    if (!takes(r, m, x)) return NULL;
    if (!m->info.linear_head && m->arch->forward) return m->arch->forward(r, m->module, x);
    tlv_scope s = tlv_scope_begin(r->c);
    tlv_tensor *h = m->arch->features(r, m->module, x);
    return tlv_scope_end_keep(r->c, s, h ? m->arch->classify(r, m->module, h) : NULL);
}

/* ---- a new head ------------------------------------------------------------------------------ */

/* The same architecture with another number of classes, drawn afresh, takes over all but the
 * head. */
tlv_status tlv_model_new_head(tlv_ctx *c, tlv_model *m, int classes)
{
    c->in_hand[0] = NULL;
    TLVI_CHECK(c, classes >= 0, TLV_ERR_ARG, "0 takes the architecture's own", "%s: %d classes",
               m->arch->name, classes);
    tlv_model_info info = m->info;
    info.classes = classes ? classes : m->arch->classes;
    info.has_head = info.linear_head = 1;
    char head[64];
    snprintf(head, sizeof head, "%s.*", m->arch->head);
    tlv_model *fresh = tlvi_model_build(c, m->arch, &info, m->dtype, head);
    if (!fresh) return c->err;
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
