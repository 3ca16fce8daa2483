/* common_plot.h -- pictures of a run as PNG files: curves, bars, a confusion matrix, grids of
 * images with captions.  A small rasteriser: antialiased lines, rectangles, a 5x7 font. */
#ifndef TLV_EXAMPLES_COMMON_PLOT_H
#define TLV_EXAMPLES_COMMON_PLOT_H

#include "examples/common.h"

typedef struct cli_rgb { uint8_t r, g, b; } cli_rgb;

/* A white picture, top left is (0, 0); NULL without memory.  Everything is cut at the edges. */
typedef struct cli_canvas cli_canvas;
cli_canvas *cli_canvas_open(int w, int h);
void cli_canvas_close(cli_canvas *v);               /* accepts NULL */
void cli_canvas_rect(cli_canvas *v, int x, int y, int w, int h, cli_rgb color);
void cli_canvas_line(cli_canvas *v, double x0, double y0, double x1, double y1, double width,
                     cli_rgb color);
/* Letters of 5x7 dots, 6 dots from one to the next, a dot is scale x scale pixels; ASCII, anything
 * else is '?'.  (x, y) is the top left corner. */
void cli_canvas_text(cli_canvas *v, int x, int y, int scale, cli_rgb color, const char *text);
int cli_text_width(const char *text, int scale);
/* The image, resized to fit into w x h and centred in it. */
int cli_canvas_image(cli_canvas *v, int x, int y, int w, int h, const tlv_image *m);
/* As a PNG, beside and renamed; CLI_OK, or CLI_FAILED after saying why. */
int cli_canvas_write(tlv_ctx *c, const cli_canvas *v, const char *path);

/* ---- whole pictures: all return as cli_canvas_write ------------------------------------------ */

typedef struct cli_series {
    const char *name;
    int64_t n;
    const double *x, *y;            /* x NULL: 1, 2, ...; values that are not finite leave a gap */
} cli_series;

typedef struct cli_panel { const char *title; int n; const cli_series *series; } cli_panel;

/* Panels side by side, each with its axes and its legend. */
int cli_plot_lines(tlv_ctx *c, const char *path, const char *title, const char *x_label, int n,
                   const cli_panel *panels);
/* A bar for each value with its name and number; lo[n], hi[n] (or NULL) draw intervals. */
int cli_plot_bars(tlv_ctx *c, const char *path, const char *title, int n, const char *const *names,
                  const double *value, const double *lo, const double *hi);
/* counts [k,k]: row = truth, column = answer; a row's shade is its share of the row. */
int cli_plot_matrix(tlv_ctx *c, const char *path, const char *title, int k,
                    const char *const *names, const int64_t *counts);

/* An image with up to two lines under it. */
typedef struct cli_cell { const tlv_image *image; const char *line[2]; cli_rgb color; } cli_cell;
int cli_plot_grid(tlv_ctx *c, const char *path, const char *title, int n, const cli_cell *cells);

#endif
