/* common_page.c -- a page of HTML with its pictures inside, as data URLs (RFC 2397, RFC 4648). */
#include "examples/common_page.h"

#include <errno.h>
#include <stdarg.h>
#include <string.h>

static const char HEAD[] =
    "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
    "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>";
static const char STYLE[] =
    "</title>\n<style>\n"
    ":root { color-scheme: light dark; --ground: #fff; --ink: #1d2330; --soft: #667;\n"
    "        --line: #d8dce4; --head: #f3f5f9 }\n"
    "@media (prefers-color-scheme: dark) { :root { --ground: #14171d; --ink: #e6e9ef;\n"
    "        --soft: #9aa3b2; --line: #333a46; --head: #1d222b } }\n"
    "body { background: var(--ground); color: var(--ink); font: 16px/1.5 system-ui, sans-serif;\n"
    "       max-width: 60rem; margin: 2rem auto; padding: 0 1rem }\n"
    "h1 { font-size: 1.6rem } h2 { font-size: 1.15rem; margin-top: 2.2rem }\n"
    "table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums }\n"
    "th, td { border-bottom: 1px solid var(--line); padding: .4rem .6rem; text-align: right }\n"
    "th { background: var(--head); font-weight: 600 }\n"
    "th:first-child, td:first-child { text-align: left }\n"
    "figure { margin: 1rem 0 } img { max-width: 100%; background: #fff; border-radius: 4px }\n"
    "figcaption { color: var(--soft); font-size: .9rem }\n"
    "pre { background: var(--head); padding: .8rem; overflow-x: auto; border-radius: 4px }\n"
    "</style>\n</head>\n<body>\n";

static void put_text(cli_page *p, const char *text)
{
    for (; p->f && *text; text++) {
        const char *as = *text == '<' ? "&lt;" : *text == '>' ? "&gt;" : *text == '&' ? "&amp;"
                         : *text == '"' ? "&quot;" : NULL;
        if (as) fputs(as, p->f);
        else fputc(*text, p->f);
    }
}

static void put(cli_page *p, const char *html)
{
    if (p->f) fputs(html, p->f);
}

void cli_page_begin(cli_page *p, const char *path, const char *title)
{
    *p = (cli_page){ 0 };
    snprintf(p->path, sizeof p->path, "%s", path);
    snprintf(p->beside, sizeof p->beside, "%s.tmp", p->path);
    p->f = fopen(p->beside, "w");
    put(p, HEAD);
    put_text(p, title);
    put(p, STYLE);
    put(p, "<h1>");
    put_text(p, title);
    put(p, "</h1>\n");
}

void cli_page_heading(cli_page *p, const char *text)
{
    put(p, "<h2>");
    put_text(p, text);
    put(p, "</h2>\n");
}

void cli_page_text(cli_page *p, const char *fmt, ...)
{
    char text[1024];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    put(p, "<p>");
    put_text(p, text);
    put(p, "</p>\n");
}

void cli_page_table_begin(cli_page *p) { put(p, "<table>\n"); }
void cli_page_table_end(cli_page *p) { put(p, "</table>\n"); }

void cli_page_row(cli_page *p, int head, int n, const char *const *cells)
{
    put(p, "<tr>");
    for (int i = 0; i < n; i++) {
        put(p, head ? "<th>" : "<td>");
        put_text(p, cells[i]);
        put(p, head ? "</th>" : "</td>");
    }
    put(p, "</tr>\n");
}

/* Three bytes are four letters; what lacks in the last group is '='. */
static void put_base64(cli_page *p, FILE *from)
{
    static const char letter[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    unsigned char b[3];
    for (size_t n; (n = fread(b, 1, 3, from)) > 0;) {
        for (size_t i = n; i < 3; i++) b[i] = 0;
        unsigned v = (unsigned)b[0] << 16 | (unsigned)b[1] << 8 | b[2];
        for (int i = 0; i < 4; i++)
            fputc(i <= (int)n ? letter[v >> (18 - 6 * i) & 63] : '=', p->f);
    }
}

void cli_page_picture(cli_page *p, const char *png, const char *caption)
{
    FILE *from = fopen(png, "rb");
    if (!from || !p->f) {
        if (from) fclose(from);
        p->failed = 1;
        return;
    }
    put(p, "<figure><img alt=\"");
    put_text(p, caption);
    put(p, "\" src=\"data:image/png;base64,");
    put_base64(p, from);
    put(p, "\"><figcaption>");
    put_text(p, caption);
    put(p, "</figcaption></figure>\n");
    if (ferror(from)) p->failed = 1;
    fclose(from);
}

void cli_page_commands(cli_page *p, int n, const char *const *commands)
{
    put(p, "<pre>");
    for (int i = 0; i < n; i++) {
        put_text(p, commands[i]);
        put(p, "\n");
    }
    put(p, "</pre>\n");
}

int cli_page_end(cli_page *p)
{
    put(p, "</body>\n</html>\n");
    int bad = p->failed || !p->f || ferror(p->f);
    if (p->f && fclose(p->f) != 0) bad = 1;
    if (!bad && rename(p->beside, p->path) == 0) return CLI_OK;
    remove(p->beside);
    return cli_error("is the disk full?", "%s: %s", p->path, strerror(errno));
}
