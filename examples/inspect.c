/* inspect.c -- tlv-inspect: what a file of tensors holds, and which architecture it belongs to. */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "examples/common.h"

typedef struct options {
    const char *path, *json;
    int stats;
} options;

/* Of one tensor; not-a-numbers and infinities are counted and left out of the rest. */
typedef struct stats {
    double min, mean, max;
    int64_t odd;
} stats;

static options parse(int argc, char **argv)
{
    options o = { 0 };
    const cli_option table[] = {
        { "--stats", CLI_FLAG, &o.stats, NULL, "min, mean and max of each tensor", 0, 0 },
        CLI_OPT_JSON(o.json),
        { 0 },
    };
    const cli_spec spec = { "tlv-inspect", "what a file of tensors holds", "FILE", 1, 1,
                            "tlv-inspect resnet20.safetensors --stats", table };
    cli_parse(&spec, argc, argv);
    o.path = argv[1];
    return o;
}

static int64_t numel(tlv_shape s)
{
    int64_t n = 1;
    for (int i = 0; i < s.ndim; i++) n *= s.dim[i];
    return n;
}

/* "f32", "94 f32, 19 i64" */
static void count_dtypes(const tlv_file *f, char *text, size_t n)
{
    int count[TLV_DTYPE_COUNT] = { 0 }, kinds = 0;
    for (int i = 0; i < tlv_file_count(f); i++) kinds += count[tlv_file_dtype(f, i)]++ == 0;
    text[0] = 0;
    for (int d = 0; d < TLV_DTYPE_COUNT; d++) {
        const char *name = tlv_dtype_name((tlv_dtype)d);
        size_t at = strlen(text);
        if (count[d] && kinds == 1) snprintf(text, n, "%s", name);
        else if (count[d]) snprintf(text + at, n - at, "%s%d %s", at ? ", " : "", count[d], name);
    }
}

static void totals(const tlv_file *f, int64_t *numbers, int64_t *bytes)
{
    *numbers = *bytes = 0;
    for (int i = 0; i < tlv_file_count(f); i++) {
        int64_t n = numel(tlv_file_shape(f, i));
        *numbers += n;
        *bytes += n * (int64_t)tlv_dtype_size(tlv_file_dtype(f, i));
    }
}

static stats measure(tlv_ctx *c, const tlv_file *f, int i)
{
    stats s = { INFINITY, 0, -INFINITY, 0 };
    tlv_scope scope = tlv_scope_begin_with(c, TLV_NO_GRAD);
    tlv_view v = { 0 };
    const tlv_tensor *t = tlv_cast(c, tlv_file_read(c, f, i), TLV_F64);
    if (tlv_view_of(c, t, &v) == TLV_OK) {
        const double *x = v.ptr;                        // fresh from the file: row-major, dense
        int64_t n = tlv_numel(t);
        double sum = 0;
        for (int64_t k = 0; k < n; k++) {
            if (!isfinite(x[k])) { s.odd++; continue; }
            if (x[k] < s.min) s.min = x[k];
            if (x[k] > s.max) s.max = x[k];
            sum += x[k];
        }
        if (n == s.odd) s.min = s.max = NAN;
        s.mean = sum / (double)(n - s.odd);
    }
    tlv_scope_end(c, scope);
    return s;
}

/* ---- for people ------------------------------------------------------------------------------ */

static void print_model(FILE *out, const tlv_model_info *m)
{
    char text[256];
    fprintf(out, "model    %s", m->arch);
    if (m->width != 1) fprintf(out, " x%g", m->width);
    fprintf(out, ", dialect %s, ", m->dialect);
    if (m->has_head) fprintf(out, "%d classes", m->classes);
    else fprintf(out, "no head");
    fprintf(out, ", %d features, found from names and shapes\n", m->dim);
    fprintf(out, "rules    padding %s, ", tlv_padding_name(m->padding));
    if (m->folded) fprintf(out, "batch norms folded into convolutions\n");
    else if (m->eps > 0) fprintf(out, "batch norm eps %g, momentum %g\n", m->eps, m->momentum);
    else fprintf(out, "no batch norms\n");
    fprintf(out, "input    %s\n\n", tlv_recipe_text(&m->recipe, text, sizeof text));
}

static void print_head(FILE *out, const options *o, const tlv_file *f, const tlv_model_info *m)
{
    char buf[256], dtypes[160];
    int64_t numbers, bytes;
    totals(f, &numbers, &bytes);
    count_dtypes(f, dtypes, sizeof dtypes);
    fprintf(out, "file     %s (safetensors)\n", o->path);
    fprintf(out, "tensors  %d with %s numbers, %s%s%s\n", tlv_file_count(f), cli_count(numbers).s,
            cli_bytes((double)bytes).s, *dtypes ? ", " : "", dtypes);
    for (int i = 0; i < tlv_file_meta_count(f); i++) {
        const char *key = tlv_file_meta_key(f, i);
        fprintf(out, "meta     %s = ", cli_clean(key, buf, sizeof buf));
        fprintf(out, "%s\n", cli_clean(tlv_file_meta(f, key), buf, sizeof buf));
    }
    if (m->arch) {
        print_model(out, m);
        return;
    }
    fprintf(out, "model    of no architecture known here (");
    for (const char *const *a = tlv_model_archs(); *a; a++)
        fprintf(out, "%s%s", *a, a[1] ? ", " : ")\n\n");
}

static void print_table(FILE *out, tlv_ctx *c, const options *o, const tlv_file *f)
{
    enum { WIDEST = 60 };
    char buf[WIDEST + 1];
    int width = 4;
    for (int i = 0; i < tlv_file_count(f); i++) {
        int n = (int)strlen(cli_clean(tlv_file_name(f, i), buf, sizeof buf));
        if (n > width) width = n;
    }
    fprintf(out, "%-*s  %-5s %-18s %12s", width, "name", "dtype", "shape", "numbers");
    fprintf(out, o->stats ? " %12s %12s %12s\n" : "\n", "min", "mean", "max");
    for (int i = 0; i < tlv_file_count(f) && tlv_error(c) == TLV_OK; i++) {
        tlv_shape s = tlv_file_shape(f, i);
        cli_clean(tlv_file_name(f, i), buf, sizeof buf);
        fprintf(out, "%-*s  %-5s %-18s %12s", width, buf, tlv_dtype_name(tlv_file_dtype(f, i)),
                cli_shape(s).s, cli_count(numel(s)).s);
        if (o->stats) {
            stats m = measure(c, f, i);
            fprintf(out, " %12.5g %12.5g %12.5g", m.min, m.mean, m.max);
            if (m.odd) fprintf(out, "  %s not finite", cli_count(m.odd).s);
        }
        fprintf(out, "\n");
    }
}

/* ---- for machines ---------------------------------------------------------------------------- */

static void add_real(cli_json *j, const char *prefix, const char *name, const char *what, double v)
{
    char key[512];
    snprintf(key, sizeof key, "%s.%.400s.%s", prefix, name, what);
    cli_json_real(j, key, v);
}

static void add_text(cli_json *j, const char *prefix, const char *name, const char *v)
{
    char key[512];
    snprintf(key, sizeof key, "%s.%.400s", prefix, name);
    cli_json_text(j, key, v);
}

static void json_model(cli_json *j, const tlv_model_info *m)
{
    char text[256];
    cli_json_text(j, "dialect", m->dialect);
    cli_json_text(j, "padding", tlv_padding_name(m->padding));
    cli_json_text(j, "recipe", tlv_recipe_text(&m->recipe, text, sizeof text));
    cli_json_real(j, "width", m->width);
    cli_json_real(j, "eps", m->eps);
    cli_json_real(j, "momentum", m->momentum);
    cli_json_int(j, "features", m->dim);
    cli_json_int(j, "has_head", m->has_head);
    cli_json_int(j, "folded", m->folded);
}

static int write_json(tlv_ctx *c, const options *o, const tlv_file *f,
                      const tlv_model_info *m, double start)
{
    cli_json j = { 0 };
    char text[256];
    int64_t numbers, bytes;
    totals(f, &numbers, &bytes);
    count_dtypes(f, text, sizeof text);
    cli_json_text(&j, "file", o->path);
    cli_json_text(&j, "format", "safetensors");
    cli_json_int(&j, "tensors", tlv_file_count(f));
    cli_json_int(&j, "numbers", numbers);
    cli_json_int(&j, "bytes", bytes);
    cli_json_text(&j, "dtypes", text);
    cli_json_text(&j, "arch", m->arch);
    cli_json_int(&j, "classes", m->classes);
    if (m->arch) json_model(&j, m);
    for (int i = 0; i < tlv_file_meta_count(f); i++) {
        const char *key = tlv_file_meta_key(f, i);
        add_text(&j, "meta", key, tlv_file_meta(f, key));
    }
    for (int i = 0; i < tlv_file_count(f) && tlv_error(c) == TLV_OK; i++) {
        const char *name = tlv_file_name(f, i);
        snprintf(text, sizeof text, "%s%s", tlv_dtype_name(tlv_file_dtype(f, i)),
                 cli_shape(tlv_file_shape(f, i)).s);
        add_text(&j, "tensor", name, text);
        if (!o->stats) continue;
        stats t = measure(c, f, i);
        add_real(&j, "tensor", name, "min", t.min);
        add_real(&j, "tensor", name, "mean", t.mean);
        add_real(&j, "tensor", name, "max", t.max);
        add_real(&j, "tensor", name, "not_finite", (double)t.odd);
    }
    cli_json_costs(&j, c, start);
    return cli_json_write(&j, o->json);
}

int main(int argc, char **argv)
{
    double start = cli_now();
    options o = parse(argc, argv);
    tlv_ctx *c = cli_open(1, 0);
    tlv_file *f = tlv_file_open(c, o.path);
    int status = CLI_OK;
    tlv_model_info m = { 0 };
    if (f) tlv_model_peek(c, o.path, &m);
    if (tlv_error(c) == TLV_OK) {
        FILE *out = cli_text_stream(o.json);
        print_head(out, &o, f, &m);
        print_table(out, c, &o, f);
        status = write_json(c, &o, f, &m, start);
    }
    if (tlv_error(c) != TLV_OK) status = cli_fail(c);
    tlv_file_close(f);
    tlv_ctx_close(c);
    return cli_finish(status);
}
