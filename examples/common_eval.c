/* common_eval.c -- a data set by its name, how a model wants its images, intervals of shares. */
#include "examples/common_eval.h"

#include <math.h>
#include <stdlib.h>

int64_t *cli_numbers(int64_t n)
{
    int64_t *p = calloc((size_t)(n > 0 ? n : 1), sizeof *p);
    if (!p) exit(cli_error("close other programs", "no memory for %lld numbers", (long long)n));
    return p;
}

tlv_dataset *cli_dataset(tlv_ctx *c, const char *what, const char *split)
{
    tlv_dataset *d = tlv_dataset_open(c, what, split);
    if (d) return d;
    int status = cli_fail(c);
    tlv_ctx_close(c);
    exit(status);
}

tlv_batch_opts cli_batch_opts(const tlv_model *m)
{
    return (tlv_batch_opts){ .recipe = *tlv_model_recipe(m) };
}

void cli_print_input(FILE *f, const tlv_model *m, const tlv_dataset *d)
{
    const tlv_recipe *r = tlv_model_recipe(m);
    int h, w, channels;
    char text[160];
    tlv_dataset_image_shape(d, &h, &w, &channels);
    fprintf(f, "input    %s\n", tlv_recipe_text(r, text, sizeof text));
    if (h == 0) return;                             // files, each of its own size
    if (channels == 1) fprintf(f, "         grey is repeated to 3 channels\n");
    if (h != r->size || w != r->size)
        fprintf(f, "         images of %dx%d are resized to %dx%d (bilinear)\n", h, w, r->size,
                r->size);
}

void cli_interval(int64_t right, int64_t n, double *lo, double *hi)
{
    const double z = 1.959964;                          // 97.5 % of a normal lie below
    double p = n > 0 ? (double)right / (double)n : 0, k = n > 0 ? z * z / (double)n : 1;
    double middle = (p + k / 2) / (1 + k);
    double half = n > 0 ? z / (1 + k) * sqrt(p * (1 - p) / (double)n + k / (4 * (double)n)) : 0.5;
    *lo = middle - half;
    *hi = middle + half;
}
