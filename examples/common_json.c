/* common_json.c -- results for machines: one flat JSON object, with lists of flat ones. */
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "examples/common.h"

static void put(cli_json *j, const char *s, size_t n)
{
    if (j->failed) return;
    if (j->len + n + 1 > j->cap) {
        size_t cap = 2 * (j->len + n) + 256;
        char *text = realloc(j->text, cap);
        if (!text) { j->failed = 1; return; }
        j->text = text;
        j->cap = cap;
    }
    memcpy(j->text + j->len, s, n);
    j->len += n;
    j->text[j->len] = 0;
}

static void put_str(cli_json *j, const char *s) { put(j, s, strlen(s)); }

static void put_quoted(cli_json *j, const char *s)
{
    put_str(j, "\"");
    for (; *s; s++) {
        char esc[8];
        if (*s == '"' || *s == '\\') snprintf(esc, sizeof esc, "\\%c", *s);
        else if ((unsigned char)*s < 0x20) snprintf(esc, sizeof esc, "\\u%04x", (unsigned)*s);
        else snprintf(esc, sizeof esc, "%c", *s);
        put_str(j, esc);
    }
    put_str(j, "\"");
}

static void put_key(cli_json *j, const char *key)
{
    if (j->in_row) put_str(j, j->text && j->text[j->len - 1] == '{' ? "" : ", ");
    else put_str(j, j->len ? ",\n  " : "{\n  ");
    put_quoted(j, key);
    put_str(j, ": ");
}

void cli_json_list(cli_json *j, const char *key)
{
    put_key(j, key);
    put_str(j, "[");
    j->rows = 0;
}

void cli_json_row(cli_json *j)
{
    put_str(j, j->rows++ ? "},\n    {" : "\n    {");
    j->in_row = 1;
}

void cli_json_list_end(cli_json *j)
{
    put_str(j, j->rows ? "}\n  ]" : "]");
    j->in_row = 0;
}

void cli_json_text(cli_json *j, const char *key, const char *value)
{
    put_key(j, key);
    if (value) put_quoted(j, value);
    else put_str(j, "null");
}

void cli_json_int(cli_json *j, const char *key, int64_t value)
{
    char s[32];
    snprintf(s, sizeof s, "%" PRId64, value);
    put_key(j, key);
    put_str(j, s);
}

/* The shortest of 6, 9 and 17 digits that reads back as the same number (float, then double). */
void cli_json_real(cli_json *j, const char *key, double value)
{
    char s[40] = "null";
    if (isfinite(value)) {
        snprintf(s, sizeof s, "%.6g", value);
        if (strtod(s, NULL) != value) snprintf(s, sizeof s, "%.9g", value);
        if (strtod(s, NULL) != value) snprintf(s, sizeof s, "%.17g", value);
    }
    put_key(j, key);
    put_str(j, s);
}

void cli_json_costs(cli_json *j, const tlv_ctx *c, double start)
{
    cli_json_real(j, "seconds", cli_now() - start);
    cli_json_int(j, "peak_bytes", c ? (int64_t)tlv_mem_get(c).peak : 0);
    cli_json_int(j, "max_rss_bytes", cli_max_rss());
}

static int write_text(const cli_json *j, const char *path)
{
    if (j->failed) return cli_error("close other programs", "%s: no memory for the JSON", path);
    int to_stdout = strcmp(path, "-") == 0;
    FILE *f = to_stdout ? stdout : fopen(path, "w");
    if (!f)
        return cli_error("give --json a path that can be written", "%s: %s", path, strerror(errno));

    int bad = fputs(j->text, f) < 0;
    bad |= fflush(f) != 0;
    int why = errno;
    if (!to_stdout && fclose(f) != 0 && !bad) {
        bad = 1;
        why = errno;
    }
    return bad ? cli_error("is the disk full?", "%s: %s", path, strerror(why)) : CLI_OK;
}

int cli_json_write(cli_json *j, const char *path)
{
    put_str(j, j->len ? "\n}\n" : "{}\n");
    int status = path ? write_text(j, path) : CLI_OK;
    free(j->text);
    *j = (cli_json){ 0 };
    return status;
}
