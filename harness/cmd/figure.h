/*
 * figure.h: what `seqtopk plot` draws of cells: figures of panels of lines, taken from results
 * (figure.c), given colours and marks (figure_style.c) and written as data and a gnuplot script
 * (figure_script.c). cmd_plot.c runs gnuplot; figure_training.h has the figure of trainings.
 *
 *   entropy         experts per token against predictive entropy, a panel for each K
 *   entropy_layers  the same for each layer
 *   histogram       how many experts tokens took
 *
 * A panel with more than FIGURE_LINES lines is split by router and mode; topk and batchtopk are then
 * in each of them, for comparison.
 *
 * Invariant: a router looks the same in each panel of each figure, whatever else is drawn.
 * Leaves out: tokens; all points were summarised before (summary.h).
 */
#ifndef FIGURE_H
#define FIGURE_H

#include "store/results.h"

#define FIGURE_LINES 7 /* in one panel */
#define FIGURE_COLUMNS 4

enum figure_kind {
    FIGURE_ENTROPY,
    FIGURE_LAYERS,
    FIGURE_HISTOGRAM,
};

/* How a router is drawn. */
struct style {
    char colour[8];   /* "#rrggbb" */
    const char *dash; /* gnuplot's dashtype */
    int point;        /* gnuplot's pointtype; 0: none */
    double width;
};

/* entropy: a bin, with the interval of its mean; histogram: x experts, y per cent of tokens. */
struct point {
    double x, x_lo, x_hi;
    double y, y_lo, y_hi; /* NaN: no interval */
    int64_t tokens;
};

struct line {
    const struct result *cell;
    int layer;  /* -1: all of them */
    char *name; /* in the legend */
    char *note; /* behind it */
    struct style style;
    struct point *points;
    size_t n, cap;
};

struct panel {
    char *title; /* may be "" */
    int k;
    struct line *lines; /* none: the panel's place stays empty */
    size_t nlines, cap;
};

struct figure {
    char *name; /* of its files, without an ending */
    enum figure_kind kind;
    int columns;
    struct panel *panels; /* row after row */
    size_t npanels, cap;
};

struct figures {
    struct figure *v;
    size_t len, cap;
};

/*
 * All figures that there are data for; the results must outlive them. Zero `out` first. 1: there is
 * nothing to draw, and `err` says why.
 */
int figures_build(struct store *s, const struct results *all, const char *prefix,
                  struct figures *out, struct buf *err) MUST_USE;
void figures_release(struct figures *f);

/* `experts` is the model's N, to know a router without an upper bound. */
struct style style_of(const struct result *r, int experts);

/* The figure's data as a table, and the script that draws it from NAME.tsv. */
void figure_data(const struct figure *f, struct buf *out);
void figure_script(struct figure *f, struct buf *out); /* may settle for fewer columns */

#endif
