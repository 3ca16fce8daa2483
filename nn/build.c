/* build.c -- collecting names and shapes, and drawing the values at the end. */
#include <stdio.h>

#include "nn/init.h"

enum { PREFIX = 256, STEP = 64 };

typedef struct item { char name[PREFIX]; tlvi_entry e; tlv_init init; } item;

struct tlv_build {
    tlv_ctx *c;
    tlv_dtype dtype;
    item *at;
    int n, cap, depth;
    const char *draw;                   /* the entries that get start values; NULL: all */
    size_t length[16];                  /* of the prefix, a level */
    char prefix[PREFIX];
};

tlv_build *tlv_build_begin(tlv_ctx *c, tlv_dtype d)
{
    TLVI_REQUIRE(c, d == TLV_F32 || d == TLV_F64, TLV_ERR_DTYPE, "parameters are f32 or f64",
                 "build: dtype %s", tlv_dtype_name(d));
    tlv_build *b = c->err ? NULL : tlvi_alloc(c, sizeof *b);
    if (!b) return NULL;
    memset(b, 0, sizeof *b);
    b->c = c;
    b->dtype = d;
    return b;
}

void tlvi_build_draw(tlv_build *b, const char *pattern)
{
    if (b) b->draw = pattern;
}

void tlv_build_push(tlv_build *b, const char *name)
{
    if (!b || b->c->err) return;
    size_t at = b->length[b->depth], n = strlen(name);
    if (b->depth + 1 >= 16 || at + n + 2 > PREFIX) {
        tlvi_fail(b->c, TLV_ERR_LIMIT, "use shorter names", "build: %s%s is nested too deeply",
                  b->prefix, name);
        return;
    }
    snprintf(b->prefix + at, PREFIX - at, "%s.", name);
    b->length[++b->depth] = at + n + 1;
}

void tlv_build_pop(tlv_build *b)
{
    if (b && b->depth > 0) b->prefix[b->length[--b->depth]] = 0;
}

static int add(tlv_build *b, const char *name, tlv_shape s, tlv_init init, int is_buffer,
               tlv_dtype d)
{
    if (!b || b->c->err) return -1;
    if (b->n == b->cap) {
        int cap = b->cap + b->cap / 2 + STEP;
        item *at = tlvi_alloc(b->c, (size_t)cap * sizeof *at);
        if (!at) return -1;
        if (b->n) memcpy(at, b->at, (size_t)b->n * sizeof *at);
        tlvi_free(b->c, b->at, (size_t)b->cap * sizeof *at);
        b->at = at;
        b->cap = cap;
    }
    item *i = &b->at[b->n];
    int len = snprintf(i->name, sizeof i->name, "%s%s", b->prefix, name);
    for (int k = 0; k < b->n; k++)
        if (strcmp(b->at[k].name, i->name) == 0) len = PREFIX;
    if (len >= PREFIX) {
        tlvi_fail(b->c, TLV_ERR_NAME, "give every parameter its own short name",
                  "build: %s twice, or too long", i->name);
        return -1;
    }
    i->e = (tlvi_entry){ .shape = s, .dtype = (uint8_t)d, .is_buffer = (uint8_t)is_buffer };
    i->init = init;
    return b->n++;
}

int tlv_build_param(tlv_build *b, const char *name, tlv_shape s, tlv_init init)
{
    return add(b, name, s, init, 0, b ? b->dtype : TLV_F32);
}

/* num_batches_tracked is PyTorch's counter: a 64-bit integer. */
int tlv_build_buffer(tlv_build *b, const char *name, tlv_shape s, tlv_init init)
{
    return add(b, name, s, init, 1,
               strcmp(name, "num_batches_tracked") == 0 ? TLV_I64
               : b                                      ? b->dtype
                                                        : TLV_F32);
}

static tlv_params *make(tlv_build *b)
{
    size_t bytes = (size_t)b->n * sizeof(tlvi_entry);
    tlvi_entry *e = b->c->err ? NULL : tlvi_alloc(b->c, bytes);
    if (!e) return NULL;
    for (int i = 0; i < b->n; i++) {
        e[i] = b->at[i].e;
        e[i].name = b->at[i].name;
    }
    tlvi_schema *s = tlvi_schema_new(b->c, e, b->n);
    tlvi_free(b->c, e, bytes);
    tlv_params *p = tlvi_params_owned(b->c, s);
    if (!p && s) tlvi_schema_unref(b->c, s);
    tlv_rng_key init = tlv_rng_stream(b->c, "init");
    for (int i = 0; p && i < b->n; i++) {
        tlv_tensor *t = tlvi_params_make(p, i);
        if (!t) { tlv_params_close(p); return NULL; }
        if (b->draw && !b->at[i].e.is_buffer && !tlv_match(b->draw, b->at[i].name)) continue;
        uint64_t h = 1469598103934665603u;          // FNV-1a of the name
        for (const char *q = b->at[i].name; *q; q++) h = (h ^ (uint8_t)*q) * 1099511628211u;
        tlvi_init_fill(t, b->at[i].init, tlv_rng_fold(init, h));
    }
    return p;
}

tlv_params *tlv_build_end(tlv_build *b)
{
    if (!b) return NULL;
    tlv_params *p = make(b);
    tlvi_free(b->c, b->at, (size_t)b->cap * sizeof *b->at);
    tlvi_free(b->c, b, sizeof *b);
    return p;
}
