/* eval.c -- tlv-eval: what a checkpoint gets right on a data set. */
#include <stdlib.h>
#include <string.h>

#include "examples/common_eval.h"

typedef struct options {
    const char *data, *weights, *arch, *json;
    int64_t batch, threads, seed;
} options;

static options parse(int argc, char **argv)
{
    options o = { .batch = 128 };
    const cli_option table[] = {
        CLI_OPT_WEIGHTS(o.weights), CLI_OPT_ARCH(o.arch),       CLI_OPT_BATCH(o.batch),
        CLI_OPT_JSON(o.json),       CLI_OPT_THREADS(o.threads), CLI_OPT_SEED(o.seed),
        { 0 },
    };
    const cli_spec spec = {
        "tlv-eval", "what a checkpoint gets right on a data set", "DATA", 1, 1,
        "tlv-eval cifar10:cifar-10-batches-bin --weights resnet20.safetensors", table,
    };
    cli_parse(&spec, argc, argv);
    if (!o.weights) cli_usage(&spec, "--weights FILE is missing");
    o.data = argv[1];
    return o;
}

static void print_setup(FILE *f, const tlv_ctx *c, const options *o, const tlv_dataset *d,
                        const tlv_model *m, const tlv_load_report *r)
{
    fprintf(f, "data     %s\n", tlv_dataset_text(d));
    fprintf(f, "weights  %s: %s\n", o->weights, r->text);
    fprintf(f, "model    %s (%s), %d classes, %s parameters\n", tlv_model_arch(m),
            o->arch ? "as --arch says" : "found from the names", tlv_model_classes(m),
            cli_count(tlv_params_numel(tlv_model_params(m), 0)).s);
    cli_print_input(f, m, d);
    fprintf(f, "run      %s, %d thread%s, batch %lld, evaluation mode\n\n", tlv_isa(c),
            tlv_threads(c), tlv_threads(c) == 1 ? "" : "s", (long long)o->batch);
    fflush(f);
}

static void print_result(FILE *f, const tlv_dataset *d, const int64_t *per_class,
                         const cli_score *s)
{
    fprintf(f, "%-20s %8s %8s %9s\n", "class", "images", "right", "accuracy");
    for (int k = 0; k < tlv_dataset_classes(d); k++) {
        int64_t n = per_class[2 * k], right = per_class[2 * k + 1];
        if (n == 0) continue;
        fprintf(f, "%-20s %8lld %8lld %9.3f\n", tlv_dataset_class_name(d, k), (long long)n,
                (long long)right, (double)right / (double)n);
    }
    double lo, hi;
    cli_interval(s->right, s->n, &lo, &hi);
    fprintf(f, "\naccuracy %.2f %% [%.2f, %.2f]   loss %.4f   %s images in %.1f s, %s images/s\n",
            100 * s->accuracy, 100 * lo, 100 * hi, s->loss, cli_count(s->n).s, s->seconds,
            cli_count((int64_t)((double)s->n / s->seconds)).s);
}

static int write_json(const tlv_ctx *c, const options *o, const tlv_model *m, const cli_score *s,
                      double start)
{
    cli_json j = { 0 };
    cli_json_real(&j, "accuracy", s->accuracy);
    cli_json_real(&j, "best_accuracy", s->accuracy);
    cli_json_int(&j, "best_epoch", 0);                  // no epochs here: the weights as they came
    cli_json_real(&j, "loss", s->loss);
    cli_json_int(&j, "n", s->n);
    cli_json_text(&j, "arch", tlv_model_arch(m));
    cli_json_int(&j, "classes", tlv_model_classes(m));
    cli_json_real(&j, "images_per_second", (double)s->n / s->seconds);
    cli_json_costs(&j, c, start);
    return cli_json_write(&j, o->json);
}

static int evaluate(tlv_ctx *c, const options *o, const tlv_dataset *d, const tlv_model *m,
                    const tlv_load_report *r, double start)
{
    FILE *f = cli_text_stream(o->json);
    print_setup(f, c, o, d, m, r);
    if (!tlv_model_has_head(m))
        return cli_error("train a head for these classes: tlv-finetune",
                         "the weights have no head: there is nothing to evaluate");
    if (tlv_dataset_classes(d) > tlv_model_classes(m))
        return cli_error("train a head for these classes: tlv-finetune",
                         "the model knows %d classes but the data has %d", tlv_model_classes(m),
                         tlv_dataset_classes(d));

    cli_catch_interrupt();
    int64_t n = tlv_dataset_size(d), *per_class = cli_numbers(2 * tlv_dataset_classes(d));
    cli_score s;
    int status = CLI_OK;
    if (cli_evaluate(c, m, d, NULL, n, o->batch, f, per_class, &s) != TLV_OK) {
        status = cli_fail(c);
    } else if (s.n < n) {
        fprintf(stderr, "stopped after %lld of %lld images\n", (long long)s.n, (long long)n);
        status = CLI_INTERRUPTED;
    } else {
        print_result(f, d, per_class, &s);
        status = write_json(c, o, m, &s, start);
    }
    free(per_class);
    return status;
}

int main(int argc, char **argv)
{
    double start = cli_now();
    options o = parse(argc, argv);
    tlv_ctx *c = cli_open(o.threads, o.seed);
    tlv_dataset *d = cli_dataset(c, o.data, "test");
    tlv_load_report r = { 0 };
    tlv_model *m = tlv_model_load(c, o.weights, o.arch, (tlv_model_opts){ 0 }, &r);
    int status = m ? evaluate(c, &o, d, m, &r, start) : cli_fail(c);
    tlv_model_close(m);
    tlv_dataset_close(d);
    tlv_ctx_close(c);
    return cli_finish(status);
}
