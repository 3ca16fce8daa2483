/* small_net.c -- see small_net.h. */
#include "tests/small_net.h"

#include <math.h>
#include <stdio.h>

#include "nn/models/arch.h"
#include "tests/filled.h"
#include "tests/support.h"

typedef struct net {
    tlv_conv_layer conv1, conv2;
    tlv_bn_layer bn1, bn2;
    tlv_linear_layer fc;
} net;

static int dim(int variant, const tlv_model_info *info)
{
    (void)variant;
    return 4 * (int)info->width;
}

static void init(void *module, tlv_build *b, int variant, const tlv_model_info *info)
{
    (void)variant;
    net *m = module;
    int w = (int)info->width;
    tlv_conv2d_opts o = { .stride = 2, .pad = { 1, 1, 1, 1 } };
    m->conv1 = tlv_conv_init(b, "conv1", 3, 3 * w, 3, o, 1);
    m->bn1 = tlv_bn_init(b, "bn1", 3 * w);
    m->conv2 = tlv_conv_init(b, "conv2", 3 * w, 4 * w, 3, o, 1);
    m->bn2 = tlv_bn_init(b, "bn2", 4 * w);
    m->fc = tlv_linear_init(b, "fc", 4 * w, info->classes, 1);
}

static tlv_tensor *features(const tlv_run *r, const void *module, const tlv_tensor *x)
{
    const net *m = module;
    tlv_scope s = tlv_scope_begin(r->c);
    tlv_tensor *h = tlv_conv_bn_fwd(r, &m->conv1, &m->bn1, x, NULL, TLV_ACT_RELU);  // [B,3w,4,4]
    h = tlv_conv_bn_fwd(r, &m->conv2, &m->bn2, h, NULL, TLV_ACT_RELU);              // [B,4w,2,2]
    return tlv_scope_end_keep(r->c, s, tlv_global_avg_pool(r->c, h));               // [B,4w]
}

static tlv_tensor *classify(const tlv_run *r, const void *module, const tlv_tensor *h)
{
    return tlv_linear_fwd(r, &((const net *)module)->fc, h, TLV_ACT_NONE);
}

static const tlvi_dialect DIALECT = {
    .name = "small", .padding = TLV_PADDING_TORCH, .eps = 1e-5, .momentum = 0.1,
    .recipe = { .size = 8 },
};
static const tlvi_arch ARCH = {
    .name = "small_net", .head = "fc", .classes = 3, .dialect = &DIALECT, .n_dialects = 1,
    .settings = ~0u, .bytes = sizeof(net), .dim = dim, .init = init,
    .features = features, .classify = classify,
};

tlv_model *small_net_open(tlv_ctx *c, tlv_dtype d, int w, int classes)
{
    tlv_model_info info = tlvi_model_start(&ARCH);
    tlv_model_opts o = { .classes = classes, .dtype = d, .width = w };
    return tlvi_model_settle(c, &ARCH, o, &info) == TLV_OK ? tlvi_model_build(c, &ARCH, &info, d,
                                                                            NULL)
                                                         : NULL;
}

tlv_meta *small_learner(tlv_ctx *c, const tlv_model *m, tlv_meta_opts o)
{
    tlv_meta *l = tlv_meta_open(c, m, o);
    if (l) filled_params(c, l->p, 0);
    for (int i = 0; l && i < l->entries; i++) {
        const char *name = tlv_params_name(l->p, i);
        int rate = strncmp(name, "meta.rate.", 10) == 0,
            moment = strncmp(name, "meta.second_moment.", 19) == 0;
        if (!rate && !moment) continue;
        tlv_scope s = tlv_scope_begin(c);
        const tlv_tensor *t = tlv_params_get(l->p, i);
        tlv_params_set(c, l->p, i, filled_tensor(c, tlv_dtype_of(t), tlv_shape_of(t), name,
                                                 moment ? 1e-4 : 0.05, moment ? 1e-2 : 0.15));
        tlv_scope_end(c, s);
    }
    return l;
}

small small_open(tlv_dtype d, int w, tlv_meta_opts o)
{
    small s = { .c = support_open() };
    s.m = small_net_open(s.c, d, w, o.ways);
    s.l = s.m ? small_learner(s.c, s.m, o) : NULL;
    EXPECT_OK(s.c);
    return s;
}

void small_close(small *s)
{
    EXPECT_OK(s->c);
    tlv_meta_close(s->l);
    tlv_model_close(s->m);
    tlv_ctx_close(s->c);
}

tlvi_meta_task small_task(const small *s, const tlv_params *p, const tlv_episode *e,
                          int64_t iteration)
{
    return (tlvi_meta_task){ .c = s->c, .l = s->l, .p = p, .e = e, .training = 1,
                             .iteration = iteration, .key = { 5 } };
}

tlv_episode small_episode(tlv_ctx *c, tlv_dtype d, int k, int ways, int shots, int queries)
{
    tlv_episode e = { .ways = ways, .shots = shots, .queries = queries };
    for (int part = 0; part < 2; part++) {
        char name[32];
        int64_t n = ways * (part ? queries : shots);
        snprintf(name, sizeof name, "task%d.%s", k, part ? "query" : "support");
        e.x[part] = filled_tensor(c, d, TLV_SHAPE(n, 3, 8, 8), name, -1.7, 1.7);
        e.y[part] = filled_labels(c, n, ways);
    }
    return e;
}

/* ---- stripes --------------------------------------------------------------------------------- */

enum { CLASSES = 20, DRAWINGS = 10, SIDE = 16 };

static void draw(int class, int drawing, uint8_t *pixels)
{
    double u[1 + SIDE * SIDE];                              // phase, noise
    support_uniform(u, 1 + SIDE * SIDE, (uint64_t)(class * DRAWINGS + drawing), 0, 1);
    double angle = 3.14159265 * (class % 5) / 5, pitch = 6.2831853 / (3 + 1.5 * (class / 5.0));
    for (int y = 0; y < SIDE; y++)
        for (int x = 0; x < SIDE; x++) {
            double along = x * cos(angle) + y * sin(angle);
            double v = 0.5 + 0.35 * sin(pitch * along + 6.2831853 * u[0]);
            pixels[y * SIDE + x] = (uint8_t)(255 * (v + 0.3 * (u[1 + y * SIDE + x] - 0.5)));
        }
}

/* An IDX file, [class][drawing][y][x]. */
tlv_dataset *small_stripes(tlv_ctx *c)
{
    static const uint8_t HEAD[20] = { 0, 0, 8, 4,    0, 0, 0, CLASSES, 0, 0, 0, DRAWINGS,
                                      0, 0, 0, SIDE, 0, 0, 0, SIDE };
    char path[512], text[540];
    if (!test_temp_path(path, sizeof path, "stripes.idx")) return NULL;
    FILE *f = fopen(path, "wb");
    if (!EXPECT(f != NULL, "cannot write %s", path)) return NULL;
    fwrite(HEAD, 1, sizeof HEAD, f);
    for (int k = 0; k < CLASSES * DRAWINGS; k++) {
        uint8_t pixels[SIDE * SIDE];
        draw(k / DRAWINGS, k % DRAWINGS, pixels);
        fwrite(pixels, 1, sizeof pixels, f);
    }
    EXPECT(fclose(f) == 0, "cannot write %s", path);
    snprintf(text, sizeof text, "idx:%s", path);
    return tlv_dataset_open(c, text, NULL);
}
