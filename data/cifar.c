/* cifar.c -- CIFAR-10's binary files (Krizhevsky 2009): a label byte and 3072 planar RGB bytes an
 * image. */
#include <stdio.h>

#include "data/reader.h"

enum { SIDE = 32, PLANE = SIDE * SIDE, RECORD = 1 + 3 * PLANE, BATCHES = 5 };

static const char *const NAMES[10] = { "airplane", "automobile", "bird",  "cat",  "deer",
                                       "dog",      "frog",       "horse", "ship", "truck" };

static void batch_path(char *out, size_t n, const char *dir, int batch)
{
    if (batch == 0) snprintf(out, n, "%s/test_batch.bin", dir);
    else snprintf(out, n, "%s/data_batch_%d.bin", dir, batch);
}

unsigned tlvi_cifar10_splits(const char *dir)
{
    char path[1200];
    unsigned bits = 0;
    for (int b = 0; b <= BATCHES; b++) {
        batch_path(path, sizeof path, dir, b);
        if (tlvi_file_exists(path)) bits |= b == 0 ? TLVI_TEST : TLVI_TRAIN;
    }
    return bits;
}

/* Appends one file's images at `at`; -1 on failure. */
static int64_t take_file(tlv_dataset *d, const char *path, const uint8_t *file, int64_t count,
                         int64_t at)
{
    for (int64_t i = 0; i < count; i++) {
        const uint8_t *r = file + i * RECORD;
        if (r[0] > 9) {
            tlvi_fail(d->c, TLV_ERR_FORMAT, NULL, "%s: image %lld has label %d; labels are 0 to 9",
                      path, (long long)i, r[0]);
            return -1;
        }
        d->label[at + i] = r[0];
        uint8_t *px = d->pixels + (size_t)(at + i) * 3 * PLANE;
        for (int p = 0; p < PLANE; p++)
            for (int ch = 0; ch < 3; ch++) px[3 * p + ch] = r[1 + ch * PLANE + p];
    }
    return count;
}

static uint8_t *read_batch(tlv_dataset *d, const char *path, size_t *size, int64_t *count)
{
    uint8_t *file = tlvi_read_file(d->c, path, size);
    if (!file) return NULL;
    *count = (int64_t)(*size - 1) / RECORD;
    if ((*size - 1) % RECORD == 0 && *count > 0) return file;
    tlvi_fail(d->c, TLV_ERR_FORMAT, NULL, "%s: %zu bytes are not a whole number of %d-byte images",
              path, *size - 1, RECORD);
    tlvi_free(d->c, file, *size);
    return NULL;
}

tlv_status tlvi_read_cifar10(tlv_dataset *d, const char *dir, const char *split)
{
    int train = split && strcmp(split, "train") == 0, found = 0;
    char path[1200];
    uint8_t *file[BATCHES + 1] = { 0 };
    size_t size[BATCHES + 1] = { 0 };
    int64_t count[BATCHES + 1] = { 0 }, at = 0;
    for (int b = train ? 1 : 0; b <= (train ? BATCHES : 0); b++) {
        batch_path(path, sizeof path, dir, b);
        if (train && !tlvi_file_exists(path)) continue;
        file[b] = read_batch(d, path, &size[b], &count[b]);
        if (!file[b]) break;
        found++;
        d->n += count[b];
    }
    if (!found)
        tlvi_fail(d->c, TLV_ERR_IO, "unpack the binary version of CIFAR-10 there",
                  "%s: no data_batch_1.bin to data_batch_5.bin", dir);
    d->h = d->w = SIDE;
    d->channels = 3;
    if (d->c->err || !tlvi_dataset_alloc(d)) goto out;
    for (int k = 0; k < 10; k++)
        if (!tlvi_dataset_add_class(d, NAMES[k])) goto out;
    for (int b = 0; b <= BATCHES && at >= 0; b++) {
        if (!file[b]) continue;
        batch_path(path, sizeof path, dir, b);
        int64_t n = take_file(d, path, file[b], count[b], at);
        at = n < 0 ? -1 : at + n;
    }
    snprintf(d->text, sizeof d->text, "CIFAR-10 %s, %lld images 32x32 RGB, 10 classes, %d file%s",
             train ? "train" : "test", (long long)d->n, found, found == 1 ? "" : "s");
out:
    for (int b = 0; b <= BATCHES; b++)
        if (file[b]) tlvi_free(d->c, file[b], size[b]);
    return d->c->err;
}
