/* common.c -- options, failures, text for people. */
#include "examples/common.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

/* ---- help and usage -------------------------------------------------------------------------- */

static void print_default(const cli_option *o)
{
    const char *text = o->kind == CLI_TEXT ? *(const char **)o->value : NULL;
    if (o->kind == CLI_INT && o->lo != o->hi && (double)*(int64_t *)o->value < o->lo) return;
    if (o->kind == CLI_REAL && o->lo != o->hi && *(double *)o->value < o->lo) return;
    if (text) printf(" (default %s)", text);
    if (o->kind == CLI_INT) printf(" (default %" PRId64 ")", *(int64_t *)o->value);
    if (o->kind == CLI_REAL) printf(" (default %g)", *(double *)o->value);
}

static void print_help(const cli_spec *s)
{
    printf("%s: %s\n\nusage: %s [options]%s%s\n\n", s->name, s->what, s->name, s->args ? " " : "",
           s->args ? s->args : "");
    for (const cli_option *o = s->options; o && o->kind; o++) {
        char left[96];
        int n = snprintf(left, sizeof left, "%s %s", o->name, o->arg ? o->arg : "");
        if (n > 20) printf("  %s\n  %-20s %s", left, "", o->help);
        else printf("  %-20s %s", left, o->help);
        print_default(o);
        printf("\n");
    }
    printf("  %-20s %s\n\nexample:\n  %s\n", "--help", "this text", s->example);
}

static void usage_va(const cli_spec *s, const char *fmt, va_list ap)
{
    fprintf(stderr, "error: %s: ", s->name);
    vfprintf(stderr, fmt, ap);
    fprintf(stderr, "\nhint: %s --help says more; for example: %s\n", s->name, s->example);
    exit(CLI_USAGE);
}

void cli_usage(const cli_spec *s, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    usage_va(s, fmt, ap);
    va_end(ap);
}

/* ---- parsing --------------------------------------------------------------------------------- */

static void out_of_range(const cli_spec *s, const cli_option *o, const char *text)
{
    cli_usage(s, "%s %s: want a number from %g to %g", o->name, text, o->lo, o->hi);
}

static void set_value(const cli_spec *s, const cli_option *o, const char *text)
{
    char *end;
    errno = 0;
    if (o->kind == CLI_TEXT) {
        *(const char **)o->value = text;
    } else if (o->kind == CLI_INT) {
        long long v = strtoll(text, &end, 10);
        if (end == text || *end || errno) cli_usage(s, "%s %s: want a whole number", o->name, text);
        if (o->lo != o->hi && ((double)v < o->lo || (double)v > o->hi)) out_of_range(s, o, text);
        *(int64_t *)o->value = v;
    } else {
        double v = strtod(text, &end);
        if (end == text || *end || !isfinite(v))
            cli_usage(s, "%s %s: want a number", o->name, text);
        if (o->lo != o->hi && (v < o->lo || v > o->hi)) out_of_range(s, o, text);
        *(double *)o->value = v;
    }
}

/* The option that `arg` names, up to its '='. */
static const cli_option *find_option(const cli_spec *s, const char *arg)
{
    size_t len = strcspn(arg, "=");
    for (const cli_option *o = s->options; o && o->kind; o++)
        if (strlen(o->name) == len && memcmp(o->name, arg, len) == 0) return o;
    return NULL;
}

/* Takes the option at argv[i]; returns the index of the last word it used. */
static int take_option(const cli_spec *s, int argc, char **argv, int i)
{
    const cli_option *o = find_option(s, argv[i]);
    if (!o) cli_usage(s, "there is no option %s", argv[i]);
    const char *value = strchr(argv[i], '=');
    if (o->kind == CLI_FLAG) {
        if (value) cli_usage(s, "%s takes no value", o->name);
        *(int *)o->value = 1;
        return i;
    }
    if (!value && i + 1 >= argc) cli_usage(s, "%s wants a value: %s", o->name, o->arg);
    set_value(s, o, value ? value + 1 : argv[i + 1]);
    return value ? i : i + 1;
}

int cli_parse(const cli_spec *s, int argc, char **argv)
{
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++)
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            print_help(s);
            exit(cli_finish(CLI_OK));
        }

    int n = 0, only_args = 0;
    for (int i = 1; i < argc; i++) {
        if (!only_args && strcmp(argv[i], "--") == 0) only_args = 1;
        else if (!only_args && argv[i][0] == '-' && argv[i][1]) i = take_option(s, argc, argv, i);
        else argv[1 + n++] = argv[i];
    }
    if (n < s->min_args) cli_usage(s, "%s is missing", s->args);
    if (n > s->max_args) cli_usage(s, "'%s' is one argument too many", argv[1 + s->max_args]);
    return n;
}

/* ---- failures -------------------------------------------------------------------------------- */

int cli_error(const char *hint, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    fflush(stdout);
    fprintf(stderr, "error: ");
    vfprintf(stderr, fmt, ap);
    fprintf(stderr, "\nhint: %s\n", hint);
    va_end(ap);
    return CLI_FAILED;
}

int cli_fail(const tlv_ctx *c) { return cli_error(tlv_error_hint(c), "%s", tlv_error_msg(c)); }

tlv_ctx *cli_open(int64_t threads, int64_t seed)
{
    tlv_ctx *c = tlv_ctx_open(&(tlv_ctx_opts){ .threads = (int)threads, .seed = (uint64_t)seed });
    if (c && tlv_error(c) == TLV_OK) return c;
    int status = cli_fail(c);
    tlv_ctx_close(c);
    exit(status);
}

FILE *cli_text_stream(const char *json) { return json && strcmp(json, "-") == 0 ? stderr : stdout; }

int cli_finish(int status)
{
    errno = 0;
    if (fflush(stdout) == 0 && !ferror(stdout)) return status;
    return cli_error("is the disk full?", "standard output: %s", strerror(errno ? errno : EIO));
}

/* ---- text for people ------------------------------------------------------------------------- */

cli_str cli_count(int64_t n)
{
    char digits[32];
    cli_str t;
    size_t len = (size_t)snprintf(digits, sizeof digits, "%" PRId64, n), at = 0;
    for (size_t i = 0; i < len; i++) {
        t.s[at++] = digits[i];
        if ((len - 1 - i) % 3 == 0 && i + 1 < len && digits[i] != '-') t.s[at++] = ',';
    }
    t.s[at] = 0;
    return t;
}

/* Three significant digits and a prefix. */
static cli_str with_prefix(double n, const char *unit)
{
    static const char *const prefix[] = { "", "k", "M", "G", "T", "P" };
    cli_str t;
    int i = 0;
    while (i < 5 && fabs(n) >= 999.5) {
        n /= 1000;
        i++;
    }
    int decimals = i == 0 || fabs(n) >= 99.95 ? 0 : fabs(n) >= 9.995 ? 1 : 2;
    const char *gap = *prefix[i] || *unit ? " " : "";
    snprintf(t.s, sizeof t.s, "%.*f%s%s%s", decimals, n, gap, prefix[i], unit);
    return t;
}

cli_str cli_short(double n) { return with_prefix(n, ""); }
cli_str cli_bytes(double n) { return with_prefix(n, "B"); }

cli_str cli_time(double seconds)
{
    cli_str t;
    if (!(seconds >= 0 && seconds < 1e9)) return snprintf(t.s, sizeof t.s, "-:--"), t;
    long s = (long)(seconds + 0.5);
    if (s < 3600) snprintf(t.s, sizeof t.s, "%ld:%02ld", s / 60, s % 60);
    else snprintf(t.s, sizeof t.s, "%ld:%02ld:%02ld", s / 3600, s / 60 % 60, s % 60);
    return t;
}

cli_str cli_shape(tlv_shape s)
{
    cli_str t = { "[" };
    size_t at = 1;
    for (int i = 0; i < s.ndim && at < sizeof t.s; i++)
        at += (size_t)snprintf(t.s + at, sizeof t.s - at, "%s%" PRId64, i ? "," : "", s.dim[i]);
    if (at > sizeof t.s - 2) at = sizeof t.s - 2;
    strcpy(t.s + at, "]");
    return t;
}

const char *cli_clean(const char *s, char *buf, size_t n)
{
    size_t len = strlen(s), cut = len < n ? len : n - 1;
    for (size_t i = 0; i < cut; i++)
        buf[i] = (unsigned char)s[i] < 0x20 || s[i] == 0x7f ? '?' : s[i];
    buf[cut] = 0;
    if (cut < len && n > 4) memcpy(buf + cut - 3, "...", 3);
    return buf;
}

double cli_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

int64_t cli_max_rss(void)
{
    struct rusage u;
    if (getrusage(RUSAGE_SELF, &u) != 0) return 0;
#if defined(__APPLE__)
    return (int64_t)u.ru_maxrss;
#else
    return (int64_t)u.ru_maxrss * 1024;
#endif
}
