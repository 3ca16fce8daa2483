/* common_run.c -- run folders, the progress line, Ctrl-C. */
#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "examples/common.h"

/* ---- run folders ----------------------------------------------------------------------------- */

/* 1 if there is nothing in the folder, 0 if there is, -1 if it cannot be read. */
static int is_empty(const char *path)
{
    DIR *d = opendir(path);
    if (!d) return -1;
    int empty = 1;
    for (struct dirent *e; empty && (e = readdir(d)) != NULL;)
        empty = strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0;
    closedir(d);
    return empty;
}

/* The folders above the last one of path. */
static void make_parents(const char *path)
{
    char part[4096];
    size_t n = strlen(path);
    if (n >= sizeof part) return;
    memcpy(part, path, n + 1);
    for (char *slash = strchr(part + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = 0;
        (void)mkdir(part, 0777);                        // the last mkdir says what is wrong
        *slash = '/';
    }
}

static int no_folder(const char *path)
{
    return cli_error("give --out a folder that can be made", "%s: %s", path, strerror(errno));
}

int cli_run_folder(const char *out, const char *name, char *buf, size_t n)
{
    if (out) {
        if ((size_t)snprintf(buf, n, "%s", out) >= n)
            return cli_error("choose a shorter one", "the path of --out is too long");
        make_parents(out);
        if (mkdir(out, 0777) == 0) return CLI_OK;
        if (errno != EEXIST) return no_folder(out);
        int empty = is_empty(out);
        if (empty < 0) return no_folder(out);
        return empty ? CLI_OK : cli_error("name a new folder: runs are never overwritten",
                                          "%s: the folder is not empty", out);
    }

    make_parents("runs/x");
    for (int i = 1; i < 1000000; i++) {
        if ((size_t)snprintf(buf, n, "runs/%s-%03d", name, i) >= n)
            return cli_error("name the folder with --out", "runs/%s: the path is too long", name);
        if (mkdir(buf, 0777) == 0) return CLI_OK;
        if (errno != EEXIST) return no_folder(buf);
    }
    return cli_error("name the folder with --out", "runs/%s-NNN: all numbers are taken", name);
}

/* ---- progress -------------------------------------------------------------------------------- */

enum { BAR = 24 };
static const double REDRAW = 0.1, PLAIN_LINES = 10.0;       /* seconds between two lines */

void cli_progress_begin(cli_progress *p, FILE *f, const char *label, int64_t total)
{
    struct winsize w = { 0 };
    int terminal = isatty(fileno(f));
    int width = terminal && ioctl(fileno(f), TIOCGWINSZ, &w) == 0 && w.ws_col > 20 ? w.ws_col : 80;
    double now = cli_now();
    *p = (cli_progress){ f, label, total, terminal, width, now, now };
}

void cli_progress_step(cli_progress *p, int64_t done, const char *fmt, ...)
{
    double now = cli_now();
    if (now - p->shown < (p->terminal ? REDRAW : PLAIN_LINES)) return;
    p->shown = now;

    char text[256], bar[BAR + 1];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    double part = p->total > 0 ? (double)done / (double)p->total : 0;
    if (part > 1) part = 1;
    cli_str left = cli_time(part > 0 ? (now - p->start) * (1 - part) / part : -1);
    if (!p->terminal) {
        fprintf(p->f, "%s %3.0f%%  %s  ETA %s\n", p->label, 100 * part, text, left.s);
    } else {
        for (int i = 0; i < BAR; i++) bar[i] = i < (int)(part * BAR) ? '#' : '-';
        bar[BAR] = 0;
        char line[512];
        snprintf(line, sizeof line, "%s %s %3.0f%%  %s  ETA %s", p->label, bar, 100 * part, text,
                 left.s);
        fprintf(p->f, "\r%.*s\033[K", p->width - 1, line);
    }
    fflush(p->f);
}

void cli_progress_end(cli_progress *p)
{
    if (p->terminal && p->shown > p->start) {
        fprintf(p->f, "\r\033[K");
        fflush(p->f);
    }
}

/* ---- Ctrl-C ---------------------------------------------------------------------------------- */

static volatile sig_atomic_t interrupted;       /* a signal handler reaches nothing but a static */

static void on_interrupt(int sig)
{
    (void)sig;
    interrupted = 1;
}

void cli_catch_interrupt(void)
{
    struct sigaction a = { 0 };
    a.sa_handler = on_interrupt;
    a.sa_flags = (int)SA_RESETHAND | SA_RESTART;
    sigemptyset(&a.sa_mask);
    sigaction(SIGINT, &a, NULL);
}

int cli_interrupted(void) { return interrupted; }
