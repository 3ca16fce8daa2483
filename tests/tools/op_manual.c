/* op_manual.c -- prints docs/ops.md (make manual): facts from ops.def, remarks from the comments in
 * autograd.h.  Run from the root of the tree. */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "autograd/autograd.h"

typedef struct op_text {
    const char *id, *kind, *cost, *args, *reads, *formula, *shapes;
} op_text;

static const op_text ops[] = {
#define TLV_OP(id, kind, cost, args, reads, formula, shapes)                                       \
    { #id, #kind, #cost, args, reads, formula, shapes },
#include "autograd/ops.def"
#undef TLV_OP
};

enum { LINE = 512, NOTE = 4096 };

static const char begins[] = "tlv_tensor *";                // of a function that makes a tensor

static FILE *must_open(const char *path)
{
    FILE *f = fopen(path, "r");
    if (f) return f;
    fprintf(stderr, "op_manual: cannot open %s; run it from the root of the tree\n", path);
    exit(1);
}

/* ---- Markdown ------------------------------------------------------------------------------- */

static void put_code(const char *s)
{
    putchar('`');
    for (; *s; s++) {
        if (*s == '|') putchar('\\');                       // ends a cell even in code
        putchar(*s);
    }
    putchar('`');
}

static void put_text(const char *s)
{
    for (; *s; s++) {
        if (strchr("*_<|[]", *s)) putchar('\\');
        putchar(*s);
    }
}

/* ---- remarks: the comments of the declarations in one section -------------------------------- */

typedef struct remark {
    char text[NOTE], names[NOTE];                           // comment; the functions it is about
} remark;

static void flush(remark *r)
{
    if (r->text[0] && r->names[0]) {
        printf("- %s: ", r->names);
        put_text(r->text);
        putchar('\n');
    }
    r->text[0] = r->names[0] = 0;
}

/* Appends a comment's line without its decoration; returns whether the comment ends in it. */
static int add_comment(char *to, const char *line)
{
    while (isspace((unsigned char)*line)) line++;
    if (!strncmp(line, "/*", 2)) line += 2;
    else if (line[0] == '*' && line[1] != '/') line++;
    while (isspace((unsigned char)*line)) line++;
    const char *end = strstr(line, "*/");
    size_t n = end ? (size_t)(end - line) : strlen(line);
    while (n > 0 && isspace((unsigned char)line[n - 1])) n--;
    size_t have = strlen(to);
    if (have + n + 2 < NOTE)
        snprintf(to + have, NOTE - have, "%s%.*s", have && n ? " " : "", (int)n, line);
    return end != NULL;
}

/* "tlv_tensor *tlv_add(tlv_ctx ..." -> "`tlv_add`" appended; returns 0 for other lines. */
static int add_function(char *names, const char *line)
{
    if (strncmp(line, begins, sizeof begins - 1)) return 0;
    const char *name = line + sizeof begins - 1;
    size_t have = strlen(names);
    snprintf(names + have, NOTE - have, "%s`%.*s`", have ? ", " : "", (int)strcspn(name, "("),
             name);
    return 1;
}

/* A function with a comment on its own line. */
static void own_remark(const char *line, const char *comment)
{
    remark r = { .text = "", .names = "" };
    add_function(r.names, line);
    add_comment(r.text, comment);
    flush(&r);
}

/* "---- title (one.c, two.c) ---" at the start of a comment: does it name the file? */
static int section_is(const char *line, const char *file)
{
    const char *open = strchr(line, '('), *close = strchr(line, ')');
    const char *at = open ? strstr(open, file) : NULL;
    return !strncmp(line, "/* ---- ", 8) && close && at && at < close
        && !isalnum((unsigned char)at[-1]);
}

/* The line that begins the file's section, or "". */
static void find_section(FILE *f, const char *file, char *line)
{
    rewind(f);
    while (fgets(line, LINE, f))
        if (section_is(line, file)) return;
    line[0] = 0;
}

/* The section's remarks, up to the next section.  A comment speaks for the functions that follow it
 * up to a blank line or one with its own; one on a struct or enum is left to the header.  head: the
 * section's first line, whose comment may go on. */
static void put_remarks(FILE *f, const char *head)
{
    char line[LINE];
    int in_comment = strstr(head, "*/") == NULL, in_body = 0;
    remark r = { .text = "", .names = "" };
    if (in_comment) strcpy(r.names, "All of them");
    while (fgets(line, sizeof line, f) && strncmp(line, "/* ----", 7)) {
        if (in_comment) {
            in_comment = !add_comment(r.text, line);
        } else if (in_body) {
            in_body = line[0] != '}';
        } else if (!strncmp(line, "/*", 2)) {
            flush(&r);
            in_comment = !add_comment(r.text, line);
        } else if (!strncmp(line, "typedef", 7)) {
            r.text[0] = 0;
            in_body = strchr(line, '}') == NULL;
        } else if (strstr(line, "/*") && !strncmp(line, begins, sizeof begins - 1)) {
            flush(&r);
            own_remark(line, strstr(line, "/*"));
        } else if (!add_function(r.names, line) && line[0] == '\n') {
            flush(&r);
        }
    }
    flush(&r);
    putchar('\n');
}

/* ---- the page -------------------------------------------------------------------------------- */

static const char intro[] =
    "# Ops\n\n"
    "<!-- Made by `make manual` from autograd/ops.def and autograd/autograd.h: change those. "
    "-->\n\n"
    "Every op that can stand on the tape, by source file in `autograd/`.\n\n"
    "- *kind*: SMOOTH has derivatives of every order; KINKED too, with the value at each kink "
    "pinned\n"
    "  as written; FLAT has no gradient and is never recorded.\n"
    "- *cost*: a CHEAP op may be computed again in the sweep instead of kept (`recompute` in\n"
    "  `tlv_ctx_opts`).\n"
    "- *in -> out*: names after a colon are saved values without history.\n"
    "- *reads*: what the gradient of each input needs, so what stays in memory until the sweep; "
    "the\n"
    "  gradient of an input that is not named needs nothing.\n\n"
    "Functions of `autograd.h` that are not listed are made of ops.\n\n";

static const char table_head[] =
    "| op | kind | cost | in -> out | formula | shapes | reads |\n|---|---|---|---|---|---|---|\n";

static void put_op(const char *id)
{
    for (size_t i = 0; i < sizeof ops / sizeof ops[0]; i++) {
        const op_text *o = &ops[i];
        if (strcmp(o->id, id)) continue;
        printf("| %s | %s | %s | ", o->id, o->kind, o->cost);
        put_code(o->args);
        printf(" | ");
        put_code(o->formula);
        printf(" | ");
        put_text(o->shapes);
        printf(" | ");
        if (o->reads[0]) put_code(o->reads);
        else put_text(strcmp(o->kind, "FLAT") ? "nothing" : "no gradient");
        printf(" |\n");
    }
}

static void begin_table(const char *file, const char *head)
{
    const char *open = strchr(head, '(');
    if (open) printf("## %s: %.*s\n\n", file, (int)(open - head - 9), head + 8);
    else printf("## %s\n\n", file);
    fputs(table_head, stdout);
}

/* Remarks come once, after the last table of a section. */
static void end_section(FILE *header, const char *file, const char *head)
{
    char again[LINE];
    if (!head[0]) return;
    find_section(header, file, again);
    put_remarks(header, again);
}

int main(void)
{
    char line[LINE], file[LINE] = "", id[LINE], head[LINE] = "", last[LINE];
    FILE *list = must_open("autograd/ops.def"), *header = must_open("autograd/autograd.h");
    fputs(intro, stdout);
    while (fgets(line, sizeof line, list)) {
        if (sscanf(line, "/* %[a-z0-9_.] */", id) == 1 && strstr(id, ".c")) {
            strcpy(last, head);
            find_section(header, id, head);
            if (file[0]) putchar('\n');
            if (strcmp(last, head)) end_section(header, file, last);
            strcpy(file, id);
            begin_table(file, head);
        } else if (sscanf(line, "TLV_OP( %[A-Z0-9_]", id) == 1) {
            put_op(id);
        }
    }
    putchar('\n');
    end_section(header, file, head);
    fclose(list);
    fclose(header);
    return ferror(stdout) != 0;
}
