/* batch.c -- bytes to network input: augmentation, resize, normalisation, in channels-last
 * memory. */
#include "data/reader.h"

enum { MAX_PAD = 4096 };

typedef struct batch_job {
    const tlv_dataset *d;
    const int64_t *index;
    int64_t from;
    tlv_batch_opts o;
    float scale[3], shift[3];               /* value = byte * scale + shift */
    float *x;
} batch_job;

/* Where an image is read: source pixel = destination pixel + offset, mirrored before. */
typedef struct view { int dy, dx, flip; } view;

static view draw_view(const batch_job *j, int64_t place)
{
    tlv_rng_key k = tlv_rng_fold(j->o.key, (uint64_t)place);
    view v = { 0, 0, 0 };
    int pad = j->o.augment.pad_crop;
    if (pad > 0) {
        v.dy = (int)tlv_rng_below(k, 0, 2 * pad + 1) - pad;
        v.dx = (int)tlv_rng_below(k, 1, 2 * pad + 1) - pad;
    }
    if (j->o.augment.flip) v.flip = (int)tlv_rng_below(k, 2, 2);
    return v;
}

static float pixel(const tlv_dataset *d, const uint8_t *px, view v, int y, int x, int ch)
{
    y += v.dy;
    x += v.dx;
    if (y < 0 || x < 0 || y >= d->h || x >= d->w) return 0;             // black
    if (v.flip) x = d->w - 1 - x;
    return px[(y * d->w + x) * d->channels + (d->channels == 1 ? 0 : ch)];
}

/* Bilinear with half-pixel centres, for sets whose images have another size than the network's
 * input. */
static float sample(const tlv_dataset *d, const uint8_t *px, view v, int size, int y, int x, int ch)
{
    float fy = ((float)y + 0.5f) * (float)d->h / (float)size - 0.5f;
    float fx = ((float)x + 0.5f) * (float)d->w / (float)size - 0.5f;
    fy = fy < 0 ? 0 : fy > (float)(d->h - 1) ? (float)(d->h - 1) : fy;
    fx = fx < 0 ? 0 : fx > (float)(d->w - 1) ? (float)(d->w - 1) : fx;
    int y0 = (int)fy, x0 = (int)fx, y1 = y0 + 1 < d->h ? y0 + 1 : y0,
        x1 = x0 + 1 < d->w ? x0 + 1 : x0;
    float ay = fy - (float)y0, ax = fx - (float)x0;
    float top = pixel(d, px, v, y0, x0, ch) * (1 - ax) + pixel(d, px, v, y0, x1, ch) * ax;
    float low = pixel(d, px, v, y1, x0, ch) * (1 - ax) + pixel(d, px, v, y1, x1, ch) * ax;
    return top * (1 - ay) + low * ay;
}

static void one_image(void *arg, int64_t i, int worker)
{
    (void)worker;
    const batch_job *j = arg;
    const tlv_dataset *d = j->d;
    const uint8_t *px = tlv_dataset_pixels(d, j->index[j->from + i]);
    view v = draw_view(j, j->from + i);
    int size = j->o.recipe.size, same = d->h == size && d->w == size;
    float *out = j->x + i * size * size * 3;
    for (int y = 0; y < size; y++)
        for (int x = 0; x < size; x++)
            for (int ch = 0; ch < 3; ch++) {
                float p = same ? pixel(d, px, v, y, x, ch) : sample(d, px, v, size, y, x, ch);
                *out++ = p * j->scale[ch] + j->shift[ch];
            }
}

tlv_batch tlv_dataset_batch(tlv_ctx *c, const tlv_dataset *d, const int64_t *index, int64_t from,
                            int64_t n, tlv_batch_opts o)
{
    tlv_batch b = { NULL, NULL };
    if (c->err) return b;
    if (!d || !index || o.recipe.size < 1 || n < 1 || o.augment.pad_crop < 0
        || o.augment.pad_crop > MAX_PAD) {
        tlvi_fail(c, TLV_ERR_ARG,
                  "pass a data set and indices; size and n are >= 1, pad_crop 0 to 4096",
                  "dataset_batch: %lld images of size %d, pad_crop %d%s", (long long)n,
                  o.recipe.size, o.augment.pad_crop,
                  !d ? ", no data set" : !index ? ", no indices" : "");
        return b;
    }
    for (int64_t i = from; i < from + n; i++)
        if (index[i] < 0 || index[i] >= d->n) {
            tlvi_fail(c, TLV_ERR_INDEX, "indices are 0 to the size of the set - 1",
                      "dataset_batch: index %lld is %lld, the set has %lld images", (long long)i,
                      (long long)index[i], (long long)d->n);
            return b;
        }
    batch_job j = { .d = d, .index = index, .from = from, .o = o };
    for (int ch = 0; ch < 3; ch++) {
        double std = o.recipe.std[ch] != 0 ? o.recipe.std[ch] : 1;
        j.scale[ch] = (float)(1 / (255 * std));
        j.shift[ch] = (float)(-o.recipe.mean[ch] / std);
    }
    tlv_tensor *x = tlvi_new_image(c, TLV_F32, tlv_shape4(n, 3, o.recipe.size, o.recipe.size)),
               *y = tlvi_new(c, TLV_I32, TLV_SHAPE(n));
    if (!x || !y) return b;
    j.x = tlvi_f32(x);
    for (int64_t i = 0; i < n; i++) tlvi_i32(y)[i] = d->label[index[from + i]];
    tlvi_parallel_for(c, n, (int64_t)o.recipe.size * o.recipe.size * 6, one_image, &j);
    b.x = x;
    b.y = y;
    return b;
}
