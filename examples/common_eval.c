/* common_eval.c -- a model's input made from a data set, and what the model gets right on it. */
#include "examples/common_eval.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

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

/* ---- measuring ------------------------------------------------------------------------------- */

typedef struct batch_score { float *loss; int32_t *guess; int64_t room; } batch_score;

/* Loss and guess of each image of a batch; 0 on failure. */
static int measure(tlv_ctx *c, const tlv_run *r, const tlv_model *m, tlv_batch b, int64_t n,
                   batch_score *out)
{
    tlv_tensor *logits = tlv_model_forward(r, m, b.x);                              // [B,classes]
    tlv_ce_opts each = { .reduction = TLV_NONE };
    tlv_tensor *loss = tlv_cross_entropy(c, logits, b.y, each);                     // [B]
    tlv_tensor *guess = tlv_argmax(c, logits, 1, 0);                                // [B]
    return tlv_read(c, loss, out->loss, n) == TLV_OK && tlv_read(c, guess, out->guess, n) == TLV_OK;
}

static void count(const tlv_dataset *d, const int64_t *index, int64_t n, const batch_score *b,
                  int64_t *per_class, cli_score *s)
{
    for (int64_t i = 0; i < n; i++) {
        int label = tlv_dataset_label(d, index[i]), right = b->guess[i] == label;
        s->loss += (double)b->loss[i];
        s->right += right;
        if (!per_class) continue;
        per_class[2 * label]++;
        per_class[2 * label + 1] += right;
    }
    s->n += n;
}

static void loop(tlv_ctx *c, const tlv_model *m, const tlv_dataset *d, const int64_t *index,
                 int64_t n, batch_score *room, FILE *f, int64_t *per_class, cli_score *s)
{
    cli_progress line;
    cli_progress_begin(&line, f, "measure", n);
    tlv_batch_opts o = cli_batch_opts(m);
    tlv_run r = tlv_model_run(c, m, TLV_EVAL);
    while (s->n < n && !cli_interrupted()) {
        int64_t k = n - s->n < room->room ? n - s->n : room->room;
        tlv_scope scope = tlv_scope_begin_with(c, TLV_NO_GRAD);
        tlv_batch b = tlv_dataset_batch(c, d, index, s->n, k, o);
        int ok = measure(c, &r, m, b, k, room);
        tlv_scope_end(c, scope);
        if (!ok) break;
        count(d, index + s->n, k, room, per_class, s);
        cli_progress_step(&line, s->n, "accuracy %.3f", (double)s->right / (double)s->n);
    }
    cli_progress_end(&line);
}

tlv_status cli_evaluate(tlv_ctx *c, const tlv_model *m, const tlv_dataset *d, const int64_t *index,
                        int64_t n, int64_t batch, FILE *f, int64_t *per_class, cli_score *score)
{
    *score = (cli_score){ 0 };
    double start = cli_now();
    int64_t *all = index ? NULL : cli_numbers(n);
    for (int64_t i = 0; all && i < n; i++) all[i] = i;

    batch_score room = { .room = batch < n ? batch : n };
    int64_t *memory = cli_numbers(room.room);           // a float and an int32_t an image
    room.loss = (float *)(void *)memory;
    room.guess = (int32_t *)(void *)(room.loss + room.room);
    loop(c, m, d, index ? index : all, n, &room, f, per_class, score);
    free(memory);
    free(all);

    if (score->n > 0) {
        score->loss /= (double)score->n;
        score->accuracy = (double)score->right / (double)score->n;
    }
    score->seconds = cli_now() - start;
    return tlv_error(c);
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
