/* common_record.c -- a command's options as text, for the record of a run, and back. */
#include <stdlib.h>
#include <string.h>

#include "examples/common.h"

enum { MAX_OPTIONS = 64, VALUE = 1024 };

int cli_word_in(const char *text, size_t n, const char *list)
{
    int place = 0;
    for (const char *at = list; at; at = strchr(at, '|'), place++) {
        if (*at == '|') at++;
        if (strncmp(at, text, n) == 0 && (at[n] == '|' || at[n] == 0)) return place;
    }
    return -1;
}

int cli_one_of(const char *text, const char *list)
{
    return cli_word_in(text, strlen(text), list) >= 0;
}

/* "=0.1": as few digits as give the same number again. */
static void real_text(char *text, size_t n, double v)
{
    snprintf(text, n, "=%.15g", v);
    if (strtod(text + 1, NULL) != v) snprintf(text, n, "=%.17g", v);
}

void cli_options_text(const cli_option *table, const char *leave_out, char *text, size_t n)
{
    size_t at = 0;
    text[0] = 0;
    for (const cli_option *o = table; o->kind; o++) {
        char value[VALUE] = "";
        if (cli_one_of(o->name, leave_out)) continue;
        if (o->kind == CLI_FLAG && !*(int *)o->value) continue;
        if (o->kind == CLI_TEXT && !*(const char **)o->value) continue;
        if (o->kind == CLI_TEXT) snprintf(value, sizeof value, "=%s", *(const char **)o->value);
        if (o->kind == CLI_INT)
            snprintf(value, sizeof value, "=%lld", (long long)*(int64_t *)o->value);
        if (o->kind == CLI_REAL) real_text(value, sizeof value, *(double *)o->value);
        at += (size_t)snprintf(text + at, n - at, "%s%s\n", o->name, value);
        if (at >= n) return;
    }
}

void cli_take_text(const cli_spec *s, char *text)
{
    char *argv[MAX_OPTIONS + 2] = { (char *)s->name };
    int argc = 1;
    for (char *line = text; *line && argc <= MAX_OPTIONS;) {
        char *end = line + strcspn(line, "\n");
        if (*end) *end++ = 0;
        argv[argc++] = line;
        line = end;
    }
    cli_parse(s, argc, argv);
}
