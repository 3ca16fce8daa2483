/* embed.c -- tlv-embed: the features of images, as a file for other tools. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "examples/common_task.h"

typedef struct options {
    const char *data, *split, *weights, *arch, *cache, *file, *json;
    int64_t batch, threads;
    int skip_bad;
} options;

static options parse(int argc, char **argv)
{
    options o = { .batch = 32, .file = "features.safetensors" };
    const cli_option table[] = {
        CLI_OPT_WEIGHTS(o.weights), CLI_OPT_ARCH(o.arch),
        { "--split", CLI_TEXT, &o.split, "train|val|test", "which images of DATA", 0, 0 },
        { "--out", CLI_TEXT, &o.file, "FILE", ".npy, .safetensors or .csv", 0, 0 },
        CLI_OPT_CACHE(o.cache), CLI_OPT_SKIP_BAD(o.skip_bad), CLI_OPT_BATCH(o.batch),
        CLI_OPT_THREADS(o.threads), CLI_OPT_JSON(o.json), { 0 },
    };
    const cli_spec spec = {
        "tlv-embed", "write the features that a model finds in images", "DATA", 1, 1,
        "tlv-embed photos/ --weights mobilenet_v2.safetensors --out features.npy", table,
    };
    cli_parse(&spec, argc, argv);
    if (!o.weights) cli_usage(&spec, "--weights FILE is missing");
    const char *dot = strrchr(o.file, '.');
    if (!dot || (strcmp(dot, ".npy") && strcmp(dot, ".csv") && strcmp(dot, ".safetensors")))
        cli_usage(&spec, "--out %s: want a name that ends in .npy, .safetensors or .csv", o.file);
    o.data = argv[1];
    return o;
}

/* ---- files ----------------------------------------------------------------------------------- */

/* NumPy's format 1.0: magic, version, length of the header, header padded to 64 bytes, data. */
static int write_npy(FILE *f, const tlv_features *x)
{
    char head[128];
    memcpy(head, "\x93NUMPY\x01\x00\x76\x00", 10);      // 0x76: 118 bytes of header follow
    int n = snprintf(head + 10, sizeof head - 10,
                     "{'descr': '<f4', 'fortran_order': False, 'shape': (%lld, %d), }",
                     (long long)x->n, x->dim);
    memset(head + 10 + n, ' ', sizeof head - 10 - (size_t)n);
    head[127] = '\n';
    size_t numbers = (size_t)x->n * (size_t)x->dim;
    return fwrite(head, 1, sizeof head, f) == sizeof head
        && fwrite(x->x, sizeof *x->x, numbers, f) == numbers;
}

/* path,label,f0,f1,...: nine digits give the same float again. */
static int write_csv(FILE *f, const tlv_features *x, const tlv_dataset *d)
{
    fprintf(f, "image,label");
    for (int k = 0; k < x->dim; k++) fprintf(f, ",f%d", k);
    for (int64_t i = 0; i < x->n; i++) {
        const char *path = tlv_dataset_path(d, i);
        char number[24];
        snprintf(number, sizeof number, "%lld", (long long)i);
        fputc('\n', f);
        cli_put_field(f, path ? path : number);
        fputc(',', f);
        cli_put_field(f, x->label[i] >= 0 ? tlv_dataset_class_name(d, x->label[i]) : "");
        for (int k = 0; k < x->dim; k++) fprintf(f, ",%.9g", (double)x->x[i * x->dim + k]);
    }
    return fputc('\n', f) != EOF && !ferror(f);
}

static tlv_status write_tensors(tlv_ctx *c, const options *o, const tlv_model *m,
                                const tlv_features *x)
{
    char recipe[400];
    tlv_recipe_write(tlv_model_recipe(m), recipe, sizeof recipe);
    tlv_scope s = tlv_scope_begin(c);
    tlv_file_item items[2] = {
        { "features", tlv_from(c, TLV_SHAPE(x->n, x->dim), x->x, 0) },
        { "labels", tlv_from_data(c, TLV_I32, TLV_SHAPE(x->n), x->label, 0) },
    };
    const char *meta[] = { "arch", tlv_model_arch(m), "recipe", recipe, "data", o->data,
                           "libtlvision", tlv_version(), NULL };
    tlv_file_write(c, o->file, 2, items, meta);
    tlv_scope_end(c, s);
    return tlv_error(c);
}

/* Beside and renamed, whichever the format. */
static int write_features(tlv_ctx *c, const options *o, const tlv_model *m, const tlv_dataset *d,
                          const tlv_features *x)
{
    const char *dot = strrchr(o->file, '.');
    if (strcmp(dot, ".safetensors") == 0)
        return write_tensors(c, o, m, x) == TLV_OK ? CLI_OK : cli_fail(c);
    char beside[2048];
    snprintf(beside, sizeof beside, "%.2000s.%ld.tmp", o->file, (long)getpid());
    FILE *f = fopen(beside, "wb");
    int ok = f && (strcmp(dot, ".npy") == 0 ? write_npy(f, x) : write_csv(f, x, d));
    if (f) ok &= fclose(f) == 0;
    if (ok && rename(beside, o->file) == 0) return CLI_OK;
    int why = errno;
    remove(beside);
    return cli_error("give --out a path that can be written", "%s: %s", o->file, strerror(why));
}

/* ---- all of it ------------------------------------------------------------------------------- */

static int run(tlv_ctx *c, const options *o, tlv_features *x, double start)
{
    FILE *f = cli_text_stream(o->json);
    int64_t skipped = 0;
    tlv_load_report lr = { 0 };
    tlv_dataset *d = cli_images(c, "data", o->data, o->split, o->skip_bad, f, &skipped);
    tlv_model *m = tlv_model_load(c, o->weights, o->arch, (tlv_model_opts){ 0 }, &lr);
    int status = m ? CLI_OK : cli_fail(c);
    tlv_extract_report r = { 0 };
    if (m) {
        cli_print_model(f, m, o->weights, &lr);
        cli_print_input(f, m, d);
        cli_catch_interrupt();
        status = cli_extract(c, f, "embed", m, d, NULL, tlv_dataset_size(d), o->batch, o->cache, x,
                             &r);
    }
    if (status == CLI_OK) status = write_features(c, o, m, d, x);
    if (status == CLI_OK) {
        double seconds = cli_now() - start;
        fprintf(f, "saved    %s: %lld x %d numbers, %.1f s", o->file, (long long)x->n, x->dim,
                seconds);
        if (o->cache) fprintf(f, ", %s from the cache", cli_count(r.hits).s);
        fprintf(f, "\n");
        cli_json j = { 0 };
        cli_json_int(&j, "n", x->n);
        cli_json_int(&j, "dim", x->dim);
        cli_json_int(&j, "cached", r.hits);
        cli_json_int(&j, "skipped", skipped);
        cli_json_text(&j, "arch", tlv_model_arch(m));
        cli_json_text(&j, "file", o->file);
        cli_json_costs(&j, c, start);
        status = cli_json_write(&j, o->json);
    }
    tlv_model_close(m);
    tlv_dataset_close(d);
    return status;
}

int main(int argc, char **argv)
{
    double start = cli_now();
    options o = parse(argc, argv);
    tlv_ctx *c = cli_open(o.threads, 0);
    tlv_features x = { 0 };
    int status = run(c, &o, &x, start);
    tlv_features_close(&x);
    tlv_ctx_close(c);
    return cli_finish(status);
}
