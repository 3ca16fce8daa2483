/* common.h -- what every program shares: options and --help, failures, JSON, run folders, progress,
 * Ctrl-C, numbers for people.
 *
 *     int main(int argc, char **argv)
 *     {
 *         const char *json = NULL;
 *         int64_t seed = 0;
 *         const cli_option options[] = { CLI_OPT_SEED(seed), CLI_OPT_JSON(json), { 0 } };
 *         const cli_spec spec = { "tlv-thing", "does the thing", "FILE", 1, 1, "tlv-thing a.bin",
 *                                 options };
 *         cli_parse(&spec, argc, argv);                    // --help and wrong usage end here
 *         ...
 *         return cli_finish(0);
 *     }
 *
 * Exit status: 0; 1 with an "error:" and a "hint:" line; 2 usage; 3 not good; 130 after Ctrl-C. */
#ifndef TLV_EXAMPLES_COMMON_H
#define TLV_EXAMPLES_COMMON_H

#include <stdint.h>
#include <stdio.h>

#include "tlvision.h"

enum { CLI_OK = 0, CLI_FAILED = 1, CLI_USAGE = 2, CLI_NOT_GOOD = 3, CLI_INTERRUPTED = 130 };

#if defined(__GNUC__)
#define CLI_PRINTF(a, b) __attribute__((format(printf, a, b)))
#else
#define CLI_PRINTF(a, b)
#endif

/* ---- options (common.c) ---------------------------------------------------------------------- */

typedef enum cli_kind {
    CLI_END = 0,
    CLI_TEXT,               /* const char *     "--out DIR" */
    CLI_INT,                /* int64_t */
    CLI_REAL,               /* double */
    CLI_FLAG                /* int, set to 1    "--stats" */
} cli_kind;

typedef struct cli_option {
    const char *name;       /* "--epochs" */
    cli_kind kind;          /* CLI_END ends the table */
    void *value;            /* holds the default before cli_parse, which shows it in the help; a
                               number below lo: none, the program decides */
    const char *arg;        /* "N" */
    const char *help;       /* one line */
    double lo, hi;          /* numbers outside are a usage error; lo == hi: any number */
} cli_option;

/* The common flags, for a program's table. */
#define CLI_OPT_WEIGHTS(v) { "--weights", CLI_TEXT, &(v), "FILE", "a checkpoint", 0, 0 }
#define CLI_OPT_ARCH(v)                                                                            \
    { "--arch", CLI_TEXT, &(v), "NAME", "the architecture, if the file does not show it", 0, 0 }
#define CLI_OPT_VAL(v) { "--val", CLI_TEXT, &(v), "DATA", "what to measure on", 0, 0 }
#define CLI_OPT_PER_CLASS(v)                                                                       \
    { "--per-class", CLI_INT, &(v), "N", "labels a class to train with, 0: all", 0, 1e9 }
#define CLI_OPT_EPOCHS(v) { "--epochs", CLI_INT, &(v), "N", "passes over the data", 0, 1e6 }
#define CLI_OPT_LR(v) { "--lr", CLI_REAL, &(v), "X", "the highest learning rate", 0, 1e6 }
#define CLI_OPT_BATCH(v) { "--batch", CLI_INT, &(v), "N", "images a step", 1, 1e6 }
#define CLI_OPT_SEED(v) { "--seed", CLI_INT, &(v), "N", "of every random choice", 0, 9e15 }
#define CLI_OPT_THREADS(v) { "--threads", CLI_INT, &(v), "N", "0: one for each CPU", 0, 4096 }
#define CLI_OPT_OUT(v)                                                                             \
    { "--out", CLI_TEXT, &(v), "DIR", "the run folder, new or empty (default runs/NAME-NNN)", 0, 0 }
#define CLI_OPT_JSON(v) { "--json", CLI_TEXT, &(v), "FILE", "the result; - is stdout", 0, 0 }

typedef struct cli_spec {
    const char *name;               /* "tlv-inspect" */
    const char *what;               /* one line: what it does */
    const char *args;               /* "FILE", or NULL */
    int min_args, max_args;
    const char *example;            /* a command to copy and paste */
    const cli_option *options;
} cli_spec;

/* Fills the options; arguments that are not options move to argv[1] .., their number is returned.
 * Takes --name VALUE, --name=VALUE, and -- before arguments that begin with '-'.  Ends the program
 * after --help (0) and on wrong usage (2). */
int cli_parse(const cli_spec *s, int argc, char **argv);

/* ---- options as text (common_record.c) ------------------------------------------------------- */

/* The place, from 0, of the n bytes of text among the words of list, "a|b|c"; -1: none of them. */
int cli_word_in(const char *text, size_t n, const char *list);
int cli_one_of(const char *text, const char *list);
/* One "--name=value" a line, without the options that the list leave_out names. */
void cli_options_text(const cli_option *table, const char *leave_out, char *text, size_t n);
/* Parses such text like a command line; it is cut up and must stay. */
void cli_take_text(const cli_spec *s, char *text);

/* ---- failures -------------------------------------------------------------------------------- */

/* "error: ..." and "hint: ..." on standard error; all return CLI_FAILED. */
int cli_error(const char *hint, const char *fmt, ...) CLI_PRINTF(2, 3);
int cli_fail(const tlv_ctx *c);                     /* the context's error */

/* Ends the program with status 2 and the usage, for what only the program can see. */
void cli_usage(const cli_spec *s, const char *fmt, ...) CLI_PRINTF(2, 3);

/* A context with so many threads (0: all) and this seed.  Does not return without one. */
tlv_ctx *cli_open(int64_t threads, int64_t seed);

/* Where text for people goes: standard output, or standard error if the JSON goes there. */
FILE *cli_text_stream(const char *json);

/* The last line of main: writes out what is in buffers; status, or CLI_FAILED if that failed. */
int cli_finish(int status);

/* ---- text for people ------------------------------------------------------------------------- */

typedef struct cli_str { char s[176]; } cli_str;

cli_str cli_count(int64_t n);               /* "11,689,512" */
cli_str cli_short(double n);                /* "11.7 M" */
cli_str cli_bytes(double n);                /* "44.7 MB" (powers of 1000) */
cli_str cli_time(double seconds);           /* "0:15", "1:02:03" */
cli_str cli_shape(tlv_shape s);             /* "[64,3,7,7]" */
/* A name out of a file, with '?' for what a terminal might take as a command; cut to n bytes. */
const char *cli_clean(const char *s, char *buf, size_t n);

double cli_now(void);                       /* seconds of a clock that only goes forward */
int64_t cli_max_rss(void);                  /* bytes, the most this process ever had in memory */

/* ---- JSON: one flat object, with lists of flat ones (common_json.c) -------------------------- */

typedef struct cli_json {
    char *text;
    size_t len, cap;
    int failed, in_row, rows;
} cli_json;

void cli_json_text(cli_json *j, const char *key, const char *value);    /* NULL: null */
void cli_json_int(cli_json *j, const char *key, int64_t value);
void cli_json_real(cli_json *j, const char *key, double value);         /* not finite: null */
/* A list of objects: cli_json_list, then for each one cli_json_row and its keys; ended by
 * cli_json_list_end.  A row stands on one line. */
void cli_json_list(cli_json *j, const char *key);
void cli_json_row(cli_json *j);
void cli_json_list_end(cli_json *j);
/* seconds (since `start`), peak_bytes (of the pool), max_rss_bytes (of the process). */
void cli_json_costs(cli_json *j, const tlv_ctx *c, double start);
/* Writes {...} to path ("-": standard output; NULL: nowhere) and frees the text.  Returns CLI_OK,
 * or CLI_FAILED after saying why on standard error. */
int cli_json_write(cli_json *j, const char *path);

/* ---- files and runs (common_run.c) ----------------------------------------------------------- */

/* Makes the run folder and puts its path into buf: `out`, which must not exist or be empty, or
 * without it the first free of runs/NAME-001, runs/NAME-002 ...  Returns as cli_json_write does. */
int cli_run_folder(const char *out, const char *name, char *buf, size_t n);

/* One line that is drawn again and again on a terminal, with the time left; elsewhere plain lines,
 * seldom. */
typedef struct cli_progress {
    FILE *f;
    const char *label;
    int64_t total;
    int terminal, width;
    double start, shown;
} cli_progress;

void cli_progress_begin(cli_progress *p, FILE *f, const char *label, int64_t total);
/* `done` of total; the text, "loss 0.221", follows the bar. */
void cli_progress_step(cli_progress *p, int64_t done, const char *fmt, ...) CLI_PRINTF(3, 4);
void cli_progress_end(cli_progress *p);         /* takes the line away; before any other output */

/* From now on Ctrl-C only sets a flag, once: the second one ends the program at once. */
void cli_catch_interrupt(void);
int cli_interrupted(void);

#endif
