/* batch.c -- bytes to network input: tlv_image_prepare and normalisation, in channels-last memory;
 * images that have the input's size already go straight there. */
#include "data/prepare.h"
#include "data/reader.h"

typedef struct batch_job {
    const tlv_dataset *d;
    const int64_t *index;
    int64_t from;
    tlv_batch_opts o;
    tlvi_normal normal;
    float *x;
} batch_job;

/* ---- images of the input's size -------------------------------------------------------------- */

static int goes_directly(const tlv_dataset *d, const tlv_batch_opts *o)
{
    const tlv_augment *a = &o->augment;
    return d->h == o->recipe.size && d->w == o->recipe.size
           && (o->recipe.resize == 0 || o->recipe.resize == o->recipe.size) && a->area[1] <= 0
           && !a->vertical && a->rotate <= 0 && a->brightness <= 0 && a->contrast <= 0
           && a->saturation <= 0 && a->hue <= 0;
}

static void mirror_floats(float *row, int w)
{
    for (int x = 0; x < w / 2; x++)
        for (int k = 0; k < 3; k++) {
            float t = row[3 * x + k];
            row[3 * x + k] = row[3 * (w - 1 - x) + k];
            row[3 * (w - 1 - x) + k] = t;
        }
}

static void direct_image(void *arg, int64_t i, int worker)
{
    (void)worker;
    const batch_job *j = arg;
    const tlv_dataset *d = j->d;
    tlvi_shift s = tlvi_draw_shift(&j->o.augment, tlv_rng_fold(j->o.key, (uint64_t)(j->from + i)));
    const tlvi_kernels *k = d->c->k;
    const uint8_t *px = tlv_dataset_pixels(d, j->index[j->from + i]), black[3] = { 0, 0, 0 };
    int w = d->w, left = s.dx < 0 ? -s.dx : 0, right = s.dx > 0 ? s.dx : 0;
    left = left > w ? w : left;                         // black columns on either side
    right = right > w ? w : right;
    float *out = j->x + i * d->h * w * 3;
    for (int y = 0; y < d->h; y++, out += 3 * w) {
        int at = y + s.dy, there = at >= 0 && at < d->h ? w - left - right : 0;
        for (int x = 0; x < w; x++)
            if (there <= 0 || x < left || x >= w - right)
                tlvi_normal_pixels(k, &j->normal, 1, 3, black, out + 3 * x);
        if (there > 0)
            tlvi_normal_pixels(k, &j->normal, (size_t)there, d->channels,
                               px + (at * w + left + s.dx) * d->channels, out + 3 * left);
        if (s.mirror) mirror_floats(out, w);
    }
}

/* ---- others ---------------------------------------------------------------------------------- */

/* One image at a time on each thread, whatever the batch holds: from memory, or from its file. */
static tlv_status prepared_image(tlv_ctx *c, int64_t i, void *arg)
{
    const batch_job *j = arg;
    tlvi_view v;
    tlv_image out;
    if (tlvi_dataset_view(c, j->d, j->index[j->from + i], &v) != TLV_OK) return tlv_error(c);
    tlv_status st = tlv_image_prepare(&v.m, &j->o.recipe, &j->o.augment,
                                      tlv_rng_fold(j->o.key, (uint64_t)(j->from + i)), &out);
    tlvi_dataset_unview(&v);
    if (st != TLV_OK) return st;
    size_t n = (size_t)out.h * (size_t)out.w;
    tlvi_normal_pixels(c->k, &j->normal, n, 3, out.samples, j->x + (size_t)i * n * 3);
    tlv_image_close(&out);
    return TLV_OK;
}

/* "task 3: cat.jpg: ...": which place in the batch it was tells nobody anything. */
static void without_task(tlv_ctx *c)
{
    const char *colon = strncmp(c->msg, "task ", 5) == 0 ? strstr(c->msg, ": ") : NULL;
    if (colon) memmove(c->msg, colon + 2, strlen(colon + 2) + 1);
}

tlv_batch tlv_dataset_batch(tlv_ctx *c, const tlv_dataset *d, const int64_t *index, int64_t from,
                            int64_t n, tlv_batch_opts o)
{
    tlv_batch b = { NULL, NULL };
    if (c->err) return b;
    if (!d || !index || n < 1) {
        tlvi_fail(c, TLV_ERR_ARG, "pass a data set and indices; n is >= 1",
                  "dataset_batch: %lld images%s", (long long)n,
                  !d ? ", no data set" : !index ? ", no indices" : "");
        return b;
    }
    if (tlvi_augment_check(c, "dataset_batch", &o.recipe, &o.augment)) return b;
    for (int64_t i = from; i < from + n; i++)
        if (index[i] < 0 || index[i] >= d->n) {
            tlvi_fail(c, TLV_ERR_INDEX, "indices are 0 to the size of the set - 1",
                      "dataset_batch: index %lld is %lld, the set has %lld images", (long long)i,
                      (long long)index[i], (long long)d->n);
            return b;
        }
    batch_job j = { .d = d, .index = index, .from = from, .o = o };
    tlvi_normal_make(&j.normal, &o.recipe);
    tlv_tensor *x = tlvi_new_image(c, TLV_F32, tlv_shape4(n, 3, o.recipe.size, o.recipe.size)),
               *y = tlvi_new(c, TLV_I32, TLV_SHAPE(n));
    if (!x || !y) return b;
    j.x = tlvi_f32(x);
    for (int64_t i = 0; i < n; i++) tlvi_i32(y)[i] = d->label[index[from + i]];
    if (goes_directly(d, &o))
        tlvi_parallel_for(c, n, (int64_t)o.recipe.size * o.recipe.size * 6, direct_image, &j);
    else if (tlv_parallel_tasks(c, n, prepared_image, &j) != TLV_OK) {
        without_task(c);
        return b;
    }
    b.x = x;
    b.y = y;
    return b;
}
