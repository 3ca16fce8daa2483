/* common_plot.c -- whole pictures: curves, bars, a confusion matrix, a grid of images. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "examples/common_plot.h"

static const cli_rgb BLACK = { 30, 30, 30 }, GREY = { 120, 120, 120 }, FAINT = { 225, 225, 225 };
/* Tell apart well, for colour-blind eyes too (Okabe & Ito 2008). */
static const cli_rgb COLOR[] = { { 0, 114, 178 },  { 213, 94, 0 },    { 0, 158, 115 },
                                 { 204, 121, 167 }, { 230, 159, 0 },  { 86, 180, 233 } };
enum { N_COLORS = sizeof COLOR / sizeof COLOR[0], LINE = 10, MARGIN = 16, TITLE = 40 };

static int no_memory(const char *path)
{
    return cli_error("close other programs", "%s: no memory for the picture", path);
}

static cli_canvas *open_titled(int w, int h, const char *title)
{
    cli_canvas *v = cli_canvas_open(w, h);
    if (v) cli_canvas_text(v, MARGIN, MARGIN - 2, 2, BLACK, title);
    return v;
}

static int write_and_close(tlv_ctx *c, cli_canvas *v, const char *path)
{
    int status = cli_canvas_write(c, v, path);
    cli_canvas_close(v);
    return status;
}

static int larger(int a, int b) { return a > b ? a : b; }
static int smaller(int a, int b) { return a < b ? a : b; }

/* Text that ends at x. */
static void text_left_of(cli_canvas *v, int x, int y, cli_rgb color, const char *text)
{
    cli_canvas_text(v, x - cli_text_width(text, 1), y, 1, color, text);
}

static void text_centred(cli_canvas *v, int x, int y, cli_rgb color, const char *text)
{
    cli_canvas_text(v, x - cli_text_width(text, 1) / 2, y, 1, color, text);
}

/* text, or its beginning and "..", so that it is at most `width` pixels wide. */
static const char *fitted(const char *text, int width, char *buf, size_t n)
{
    snprintf(buf, n, "%s", text);
    int letters = larger(width / 6, 3);
    if ((int)strlen(buf) > letters && letters + 1 < (int)n) {
        buf[letters - 2] = buf[letters - 1] = '.';
        buf[letters] = 0;
    }
    return buf;
}

/* ---- axes ------------------------------------------------------------------------------------ */

typedef struct axis { double lo, hi, step; } axis;

/* Ends and marks at 1, 2 or 5 times a power of ten, about n of them. */
static axis axis_for(double lo, double hi, int n)
{
    if (!(hi > lo)) {
        double room = lo != 0 ? fabs(lo) * 0.1 : 1;
        lo -= room;
        hi += room;
    }
    double rough = (hi - lo) / n, ten = pow(10, floor(log10(rough))), f = rough / ten;
    double step = ten * (f <= 1 ? 1 : f <= 2 ? 2 : f <= 5 ? 5 : 10);
    return (axis){ floor(lo / step + 1e-9) * step, ceil(hi / step - 1e-9) * step, step };
}

static double at(axis a, double v, double from, double to)
{
    return from + (v - a.lo) / (a.hi - a.lo) * (to - from);
}

static void widen(double v, double *lo, double *hi)
{
    if (!isfinite(v)) return;
    if (v < *lo) *lo = v;
    if (v > *hi) *hi = v;
}

/* ---- curves ---------------------------------------------------------------------------------- */

typedef struct box { int x, y, w, h; } box;

static double x_of(const cli_series *s, int64_t i) { return s->x ? s->x[i] : (double)(i + 1); }

static void draw_axes(cli_canvas *v, box b, axis ax, axis ay, const char *x_label)
{
    char text[32];
    for (int i = 0; i <= (int)lround((ay.hi - ay.lo) / ay.step); i++) {
        double value = ay.lo + i * ay.step;
        int y = (int)lround(at(ay, value, b.y + b.h, b.y));
        cli_canvas_rect(v, b.x, y, b.w, 1, FAINT);
        snprintf(text, sizeof text, "%.4g", fabs(value) < ay.step * 1e-6 ? 0 : value);
        text_left_of(v, b.x - 6, y - 3, GREY, text);
    }
    for (int i = 0; i <= (int)lround((ax.hi - ax.lo) / ax.step); i++) {
        double value = ax.lo + i * ax.step;
        int x = (int)lround(at(ax, value, b.x, b.x + b.w));
        cli_canvas_rect(v, x, b.y, 1, b.h, FAINT);
        snprintf(text, sizeof text, "%.4g", value);
        text_centred(v, x, b.y + b.h + 6, GREY, text);
    }
    cli_canvas_rect(v, b.x, b.y + b.h, b.w + 1, 1, GREY);
    cli_canvas_rect(v, b.x, b.y, 1, b.h, GREY);
    text_centred(v, b.x + b.w / 2, b.y + b.h + 20, GREY, x_label);
}

static void draw_series(cli_canvas *v, box b, axis ax, axis ay, const cli_series *s, cli_rgb color)
{
    double px = NAN, py = NAN;
    for (int64_t i = 0; i < s->n; i++) {
        double x = at(ax, x_of(s, i), b.x, b.x + b.w), y = at(ay, s->y[i], b.y + b.h, b.y);
        if (isfinite(x) && isfinite(y)) {
            int joined = isfinite(px) && isfinite(py);
            if (joined) cli_canvas_line(v, px, py, x, y, 2, color);
            if (!joined || s->n <= 60) cli_canvas_line(v, x, y, x, y, 5, color);
        }
        px = x;
        py = y;
    }
}

static void draw_panel(cli_canvas *v, box b, const cli_panel *p, const char *x_label)
{
    double x0 = INFINITY, x1 = -INFINITY, y0 = INFINITY, y1 = -INFINITY;
    for (int k = 0; k < p->n; k++)
        for (int64_t i = 0; i < p->series[k].n; i++) {
            widen(x_of(&p->series[k], i), &x0, &x1);
            widen(p->series[k].y[i], &y0, &y1);
        }
    if (!(x1 >= x0)) x0 = x1 = 1;
    if (!(y1 >= y0)) y0 = y1 = 0;
    axis ax = axis_for(x0, x1, 6), ay = axis_for(y0, y1, 5);
    ax.lo = x0 < x1 ? x0 : ax.lo;                   // epochs begin at the edge
    ax.hi = x0 < x1 ? x1 : ax.hi;
    ax.step = x0 < x1 ? fmax(1, floor((x1 - x0) / 6 + 0.5)) : ax.step;
    cli_canvas_text(v, b.x, b.y - 18, 1, BLACK, p->title);
    draw_axes(v, b, ax, ay, x_label);
    int right = b.x + b.w;
    for (int k = p->n - 1; k >= 0; k--) {
        cli_rgb color = COLOR[k % N_COLORS];
        draw_series(v, b, ax, ay, &p->series[k], color);
        right -= cli_text_width(p->series[k].name, 1);
        cli_canvas_text(v, right, b.y - 18, 1, color, p->series[k].name);
        cli_canvas_rect(v, right - 16, b.y - 15, 12, 2, color);
        right -= 28;
    }
}

int cli_plot_lines(tlv_ctx *c, const char *path, const char *title, const char *x_label, int n,
                   const cli_panel *panels)
{
    enum { W = 460, H = 280 };
    cli_canvas *v = open_titled(MARGIN + n * W, TITLE + H + 80, title);
    if (!v) return no_memory(path);
    for (int i = 0; i < n; i++)
        draw_panel(v, (box){ MARGIN + i * W + 46, TITLE + 30, W - 70, H }, &panels[i], x_label);
    return write_and_close(c, v, path);
}

/* ---- bars ------------------------------------------------------------------------------------ */

int cli_plot_bars(tlv_ctx *c, const char *path, const char *title, int n, const char *const *names,
                  const double *value, const double *lo, const double *hi)
{
    enum { ROW = 22, WIDE = 360, MAX_NAME = 240 };
    int left = 40;
    double least = 0, most = 0;
    for (int i = 0; i < n; i++) {
        left = larger(left, smaller(cli_text_width(names[i], 1), MAX_NAME));
        widen(value[i], &least, &most);
        if (lo && hi) widen(hi[i], &least, &most);
    }
    axis a = axis_for(least, most, 5);
    left += MARGIN + 8;
    cli_canvas *v = open_titled(left + WIDE + 80, TITLE + n * ROW + 40, title);
    if (!v) return no_memory(path);
    char text[64];
    for (int i = 0; i <= (int)lround((a.hi - a.lo) / a.step); i++) {
        int x = (int)lround(at(a, a.lo + i * a.step, left, left + WIDE));
        cli_canvas_rect(v, x, TITLE, 1, n * ROW, FAINT);
        snprintf(text, sizeof text, "%.4g", a.lo + i * a.step);
        text_centred(v, x, TITLE + n * ROW + 6, GREY, text);
    }
    for (int i = 0; i < n; i++) {
        int y = TITLE + i * ROW, x0 = (int)lround(at(a, 0, left, left + WIDE));
        text_left_of(v, left - 8, y + 7, BLACK, fitted(names[i], MAX_NAME, text, sizeof text));
        if (!isfinite(value[i])) continue;
        int x1 = (int)lround(at(a, value[i], left, left + WIDE));
        cli_canvas_rect(v, smaller(x0, x1), y + 4, abs(x1 - x0) + 1, ROW - 8, COLOR[0]);
        int end = x1;
        if (lo && hi) {
            double from = at(a, lo[i], left, left + WIDE), to = at(a, hi[i], left, left + WIDE);
            cli_canvas_line(v, from, y + ROW / 2.0, to, y + ROW / 2.0, 2, BLACK);
            end = larger(end, (int)to);
        }
        snprintf(text, sizeof text, "%.4g", value[i]);
        cli_canvas_text(v, larger(end, x0) + 6, y + 7, 1, BLACK, text);
    }
    return write_and_close(c, v, path);
}

/* ---- confusion matrix ------------------------------------------------------------------------ */

/* From white to blue; on dark cells the number is white. */
static cli_rgb shade(double share)
{
    return (cli_rgb){ (uint8_t)lround(255 - 247 * share), (uint8_t)lround(255 - 207 * share),
                      (uint8_t)lround(255 - 148 * share) };
}

static void draw_matrix(cli_canvas *v, int k, int left, int top, int side, const int64_t *counts)
{
    for (int i = 0; i < k; i++) {
        int64_t sum = 0;
        for (int j = 0; j < k; j++) sum += counts[i * k + j];
        for (int j = 0; j < k; j++) {
            double share = sum ? (double)counts[i * k + j] / (double)sum : 0;
            int x = left + j * side, y = top + i * side;
            cli_canvas_rect(v, x, y, side - (side > 6), side - (side > 6), shade(share));
            char text[24];
            snprintf(text, sizeof text, "%lld", (long long)counts[i * k + j]);
            if (counts[i * k + j] && cli_text_width(text, 1) + 2 < side)
                text_centred(v, x + side / 2, y + side / 2 - 4,
                             share > 0.5 ? (cli_rgb){ 255, 255, 255 } : BLACK, text);
        }
    }
}

int cli_plot_matrix(tlv_ctx *c, const char *path, const char *title, int k,
                    const char *const *names, const int64_t *counts)
{
    enum { MAX_NAME = 150 };
    int side = k <= 4 ? 80 : k <= 12 ? 46 : k <= 30 ? 28 : larger(900 / larger(k, 1), 3), left = 30;
    for (int i = 0; i < k; i++) left = larger(left, smaller(cli_text_width(names[i], 1), MAX_NAME));
    left += MARGIN + 8;
    int top = TITLE + 34, wide = larger(left + k * side + MARGIN, cli_text_width(title, 2) + 40);
    cli_canvas *v = open_titled(wide, top + k * side + MARGIN + 10, title);
    if (!v) return no_memory(path);
    draw_matrix(v, k, left, top, side, counts);
    cli_canvas_text(v, MARGIN, TITLE, 1, GREY, "rows: what it is   columns: what the model says");
    int every = side >= LINE ? 1 : (LINE + side - 1) / side;        // names that have room
    char text[64];
    for (int i = 0; i < k; i += every) {
        text_left_of(v, left - 8, top + i * side + side / 2 - 4, BLACK,
                     fitted(names[i], MAX_NAME, text, sizeof text));
        if (side >= 18)
            text_centred(v, left + i * side + side / 2, top - 12, BLACK,
                         fitted(names[i], side - 2, text, sizeof text));
    }
    return write_and_close(c, v, path);
}

/* ---- images ---------------------------------------------------------------------------------- */

int cli_plot_grid(tlv_ctx *c, const char *path, const char *title, int n, const cli_cell *cells)
{
    enum { SIDE = 150, GAP = 10, TEXT = 26 };
    int columns = n <= 4 ? 4 : n <= 12 ? (n + 1) / 2 : 6, rows = (n + columns - 1) / columns;
    int wide = larger(2 * MARGIN + columns * (SIDE + GAP), 2 * MARGIN + cli_text_width(title, 2));
    int high = TITLE + larger(rows, 1) * (SIDE + TEXT + GAP) + MARGIN;
    cli_canvas *v = open_titled(wide, high, title);
    if (!v) return no_memory(path);
    for (int i = 0; i < n; i++) {
        int x = MARGIN + i % columns * (SIDE + GAP), y = TITLE + i / columns * (SIDE + TEXT + GAP);
        cli_canvas_rect(v, x - 2, y - 2, SIDE + 4, SIDE + 4, cells[i].color);
        cli_canvas_rect(v, x, y, SIDE, SIDE, (cli_rgb){ 245, 245, 245 });
        if (cli_canvas_image(v, x, y, SIDE, SIDE, cells[i].image) != CLI_OK) {
            cli_canvas_close(v);
            return CLI_FAILED;
        }
        for (int k = 0; k < 2; k++) {
            char text[64];
            if (!cells[i].line[k]) continue;
            cli_canvas_text(v, x, y + SIDE + 5 + k * LINE, 1, k ? GREY : BLACK,
                            fitted(cells[i].line[k], SIDE, text, sizeof text));
        }
    }
    return write_and_close(c, v, path);
}
