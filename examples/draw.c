/* draw.c -- tlv-draw: the drawn images as PNG files, a folder a class; with masks and boxes where
 * there is something to find. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "examples/common.h"
#include "tensor/hash.h"

/* ---- options --------------------------------------------------------------------------------- */

enum { PATH = 1024, MOST_BOXES = 64, CHUNK = 64, DIGEST = 2 * TLVI_HASH_BYTES + 1 };

typedef struct options {
    const char *set, *split, *out, *masks, *json;
    int64_t count, size, seed, threads;
    int hash;
} options;

static const char SETS[] = "surfaces|shapes|patterns", SPLITS[] = "train|val|test";

/* ---- the job --------------------------------------------------------------------------------- */

typedef struct job {
    options o;
    FILE *f;                            /* for people */
    tlv_ctx *c;
    tlv_dataset *d;                     /* of sets that are drawn as a whole; NULL: surfaces */
    int classes, size;
    int64_t n, done, from;              /* images; written; the first of the chunk at work */
    FILE *boxes;                        /* of boxes.csv, under another name until it is whole */
    char csv[PATH], beside[PATH + 32];
    tlv_box box[CHUNK][MOST_BOXES];     /* of the chunk */
    int64_t n_box[CHUNK], found;
    tlvi_hash hash[2];                  /* of all pixels, of all masks */
    tlv_image image[CHUNK], mask[CHUNK];
} job;

static const char *class_name(const job *j, int k)
{
    return j->d ? tlv_dataset_class_name(j->d, k) : tlv_defect_name((tlv_defect)k);
}

static int file_error(const char *path)
{
    return cli_error("is the disk full, the folder writable?", "%s: %s", path, strerror(errno));
}

/* DIR and DIR/CLASS for each class. */
static int make_folders(const job *j, const char *dir)
{
    char path[PATH];
    for (int k = 0; k < j->classes; k++) {
        if ((size_t)snprintf(path, sizeof path, "%s/%s", dir, class_name(j, k)) >= sizeof path)
            return cli_error("choose a shorter one", "the path %s is too long", dir);
        if (mkdir(path, 0777) != 0 && errno != EEXIST) return file_error(path);
    }
    return CLI_OK;
}

static void path_of(const job *j, const char *dir, int64_t i, char path[PATH])
{
    snprintf(path, PATH, "%s/%s/%05lld.png", dir, class_name(j, (int)(i % j->classes)),
             (long long)(i / j->classes));
}

/* Image i of the set, drawn and written; its boxes. */
static tlv_status one_image(tlv_ctx *c, int64_t at, void *arg)
{
    job *j = arg;
    const options *o = &j->o;
    int64_t i = j->from + at;
    char path[PATH];
    tlv_image m = { 0 }, mask = { 0 };
    if (j->d) tlv_dataset_image(c, j->d, i, &m);
    else tlv_surface_example(c, o->split, (uint64_t)o->seed, i, j->size, &m, &mask);
    j->n_box[at] = 0;
    if (mask.samples) j->n_box[at] = tlv_mask_boxes(c, &mask, j->box[at], MOST_BOXES);
    if (o->out && !tlv_error(c)) {
        path_of(j, o->out, i, path);
        tlv_image_write_png(&m, path);
    }
    if (o->masks && mask.samples && !tlv_error(c)) {
        path_of(j, o->masks, i, path);
        tlv_image_write_png(&mask, path);
    }
    if (o->hash && !tlv_error(c)) {                 // kept until they are hashed in their order
        memcpy(j->image[at].samples, m.samples, j->image[at].bytes);
        if (mask.samples) memcpy(j->mask[at].samples, mask.samples, j->mask[at].bytes);
    }
    tlv_image_close(&m);
    tlv_image_close(&mask);
    return tlv_error(c);
}

/* What a chunk leaves, in the order of its images. */
static int write_chunk(job *j, int64_t n)
{
    for (int64_t at = 0; at < n; at++) {
        int64_t i = j->from + at, boxes = j->n_box[at];
        const char *name = class_name(j, (int)(i % j->classes));
        if (boxes > MOST_BOXES)
            return cli_error("choose another --size or --seed",
                             "%s/%05lld.png: %lld boxes, there is room for %d", name,
                             (long long)(i / j->classes), (long long)boxes, MOST_BOXES);
        for (int64_t b = 0; j->boxes && b < boxes; b++) {
            const tlv_box *x = &j->box[at][b];
            fprintf(j->boxes, "%s/%05lld.png,%d,%d,%d,%d,%s\n", name, (long long)(i / j->classes),
                    x->x0, x->y0, x->x1, x->y1, name);
        }
        j->found += j->n_box[at];
        if (!j->o.hash) continue;
        tlvi_hash_add(&j->hash[0], j->image[at].samples, j->image[at].bytes);
        if (!j->d) tlvi_hash_add(&j->hash[1], j->mask[at].samples, j->mask[at].bytes);
    }
    return CLI_OK;
}

static int draw(job *j)
{
    cli_progress line;
    int status = CLI_OK;
    cli_progress_begin(&line, j->f, "draw", j->n);
    while (j->from < j->n && !cli_interrupted()) {
        int64_t n = j->n - j->from < CHUNK ? j->n - j->from : CHUNK;
        if (tlv_parallel_tasks(j->c, n, one_image, j) != TLV_OK) break;
        if ((status = write_chunk(j, n)) != CLI_OK) break;
        j->from += n;
        cli_progress_step(&line, j->from, "%lld of %lld images", (long long)j->from,
                          (long long)j->n);
    }
    cli_progress_end(&line);
    if (tlv_error(j->c)) return cli_fail(j->c);
    if (status != CLI_OK || j->from == j->n) return status;
    fprintf(stderr, "stopped after %lld of %lld images; those that are there are whole\n",
            (long long)j->from, (long long)j->n);
    return CLI_INTERRUPTED;
}

/* ---- before and after ------------------------------------------------------------------------ */

static int open_set(job *j)
{
    char what[64];
    const options *o = &j->o;
    j->classes = TLV_DEFECTS;
    j->size = o->size ? (int)o->size : 64;
    if (strcmp(o->set, "surfaces") != 0) {
        int h, w, channels;
        snprintf(what, sizeof what, "%.20s:%lld", o->set, (long long)o->count);
        if (!tlv_dataset_has_split(j->c, what, o->split))   // another one would stand for it
            return cli_error("draw train or test", "%s have no split '%s'", o->set, o->split);
        j->d = tlv_dataset_open(j->c, what, o->split);
        if (!j->d) return cli_fail(j->c);
        tlv_dataset_image_shape(j->d, &h, &w, &channels);
        if (o->size && o->size != h)
            return cli_error("leave --size out", "%s are %d pixels a side, not %lld", o->set, h,
                             (long long)o->size);
        j->size = h;
        j->classes = tlv_dataset_classes(j->d);
    }
    j->n = o->count * j->classes;
    for (int i = 0; o->hash && i < CHUNK; i++)
        if (tlv_image_new(j->c, j->size, j->size, TLV_RGB, 8, &j->image[i]) != TLV_OK
            || tlv_image_new(j->c, j->size, j->size, TLV_GREY, 8, &j->mask[i]) != TLV_OK)
            return cli_fail(j->c);
    return CLI_OK;
}

static int open_folders(job *j)
{
    char dir[PATH];
    const options *o = &j->o;
    if (o->out && (cli_run_folder(o->out, "draw", dir, sizeof dir) != CLI_OK
                   || make_folders(j, o->out) != CLI_OK))
        return CLI_FAILED;
    if (!o->masks) return CLI_OK;
    if (cli_run_folder(o->masks, "masks", dir, sizeof dir) != CLI_OK
        || make_folders(j, o->masks) != CLI_OK)
        return CLI_FAILED;
    if ((size_t)snprintf(j->csv, PATH, "%s/boxes.csv", o->masks) >= PATH)
        return cli_error("choose a shorter one", "the path %s is too long", o->masks);
    snprintf(j->beside, sizeof j->beside, "%s.%ld.tmp", j->csv, (long)getpid());
    j->boxes = fopen(j->beside, "w");
    if (!j->boxes || fputs("path,x0,y0,x1,y1,class\n", j->boxes) < 0) return file_error(j->csv);
    return CLI_OK;
}

/* Gives boxes.csv its name; without `keep`, or when it cannot be written, it goes. */
static int close_boxes(job *j, int keep)
{
    if (!j->boxes) return CLI_OK;
    int bad = ferror(j->boxes);
    bad |= fclose(j->boxes) != 0;
    bad |= !bad && keep && rename(j->beside, j->csv) != 0;
    int status = bad && keep ? file_error(j->csv) : CLI_OK;
    if (bad || !keep) remove(j->beside);
    return status;
}

static const char *hex(tlvi_hash *h, char text[DIGEST])
{
    uint8_t digest[TLVI_HASH_BYTES];
    tlvi_hash_end(h, digest);
    for (int i = 0; i < TLVI_HASH_BYTES; i++) snprintf(text + 2 * i, 3, "%02x", digest[i]);
    return text;
}

static int finish(job *j, double start)
{
    const options *o = &j->o;
    char text[2][DIGEST] = { "", "" };
    cli_json out = { 0 };
    double seconds = cli_now() - start;
    if (o->hash) hex(&j->hash[0], text[0]);
    if (o->hash && !j->d) hex(&j->hash[1], text[1]);
    fprintf(j->f, "drawn    %s %s, %s images of %d classes, %d x %d pixels, in %s\n", o->set,
            o->split, cli_count(j->n).s, j->classes, j->size, j->size, cli_time(seconds).s);
    if (o->hash) fprintf(j->f, "images   %s\n", text[0]);
    if (o->hash && !j->d) fprintf(j->f, "masks    %s\n", text[1]);
    if (!j->d) fprintf(j->f, "flaws    %s boxes\n", cli_count(j->found).s);
    if (o->out)
        fprintf(j->f, "saved    %s\nnext     tlv-probe %s --weights FILE\n", o->out, o->out);
    cli_json_text(&out, "set", o->set);
    cli_json_text(&out, "split", o->split);
    cli_json_int(&out, "images", j->n);
    cli_json_int(&out, "classes", j->classes);
    cli_json_int(&out, "size", j->size);
    cli_json_int(&out, "boxes", j->found);
    cli_json_text(&out, "hash", o->hash ? text[0] : NULL);
    cli_json_text(&out, "mask_hash", o->hash && !j->d ? text[1] : NULL);
    cli_json_costs(&out, j->c, start);
    return cli_json_write(&out, o->json);
}

static int run(job *j)
{
    double start = cli_now();
    j->c = cli_open(j->o.threads, j->o.seed);
    j->hash[0] = j->hash[1] = tlvi_hash_begin();
    int status = open_set(j);
    if (status == CLI_OK) status = open_folders(j);
    if (status == CLI_OK) {
        cli_catch_interrupt();
        status = draw(j);
    }
    if (close_boxes(j, status != CLI_FAILED) != CLI_OK) return CLI_FAILED;
    return status == CLI_OK ? finish(j, start) : status;
}

int main(int argc, char **argv)
{
    static job j;                                   // large, and zero
    options *o = &j.o;
    *o = (options){ .count = 20, .split = "train" };
    const cli_option table[] = {
        { "--count", CLI_INT, &o->count, "N", "images a class", 1, 100000 },
        { "--split", CLI_TEXT, &o->split, SPLITS, "which images", 0, 0 },
        { "--size", CLI_INT, &o->size, "N", "of surfaces; 0: 64", 0, 1024 },
        { "--out", CLI_TEXT, &o->out, "DIR", "DIR/CLASS/NNNNN.png; new or empty", 0, 0 },
        { "--masks", CLI_TEXT, &o->masks, "DIR",
          "of surfaces: DIR/CLASS/NNNNN.png, white where a flaw is, and DIR/boxes.csv", 0, 0 },
        { "--hash", CLI_FLAG, &o->hash, NULL, "BLAKE2b-256 of all pixels and of all masks", 0, 0 },
        CLI_OPT_SEED(o->seed), CLI_OPT_THREADS(o->threads), CLI_OPT_JSON(o->json), { 0 },
    };
    const cli_spec spec = { "tlv-draw", "write drawn images as PNG files", SETS, 1, 1,
                            "tlv-draw surfaces --count 20 --out parts --masks parts-masks", table };
    cli_parse(&spec, argc, argv);
    o->set = argv[1];
    if (!cli_one_of(o->set, SETS)) cli_usage(&spec, "%s: want %s", o->set, SETS);
    if (!cli_one_of(o->split, SPLITS)) cli_usage(&spec, "--split %s: want %s", o->split, SPLITS);
    if (!o->out && !o->masks && !o->hash) cli_usage(&spec, "say where to: --out DIR, or --hash");
    if (o->masks && strcmp(o->set, "surfaces") != 0)
        cli_usage(&spec, "--masks: %s have nothing to find", o->set);
    j.f = cli_text_stream(o->json);
    int status = run(&j);
    for (int i = 0; i < CHUNK; i++) {
        tlv_image_close(&j.image[i]);
        tlv_image_close(&j.mask[i]);
    }
    tlv_dataset_close(j.d);
    tlv_ctx_close(j.c);
    return cli_finish(status);
}
