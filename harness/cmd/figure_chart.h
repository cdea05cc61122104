/*
 * figure_chart.h: figures of a freer form than figure.h's: panels whose axes, marks and quantities may
 * differ, and one legend under all of them. Made by figure_positions.c, figure_kinds.c, figure_load.c
 * (charts_build) and figure_field.c (charts_by_field); written by figure_chart_script.c.
 *
 *   positions       along the sequence: the loss less topk's, experts over K, share that has not K
 *   kinds           experts per token by what kind of text a token is
 *   load            how unlike the experts' loads are, and the entropy of their tokens
 *   METRIC_by_FIELD a metric against K, a bound, the seed, a parameter of the router or of the task
 *
 * Invariant: a router looks as in every other figure (style_of), and what would look alike in one
 * figure under two names is told apart by its mark.
 * Leaves out: tokens, but for the paired interval of positions in a small database.
 */
#ifndef FIGURE_CHART_H
#define FIGURE_CHART_H

#include "cmd/figure.h"

struct chart_point {
    char at[24]; /* what it is of: "16-31", "digit", an expert's number */
    double x, y;
    double lo, hi; /* of y; NaN: no interval */
    int64_t n;     /* tokens, or documents */
};

struct chart_line {
    const struct result *cell; /* one of those that it is of */
    char *name;                /* in the legend, where each name stands once */
    struct style style;
    bool flat; /* the same at every x: drawn from end to end */
    struct chart_point *points;
    size_t n, cap;
};

enum chart_form {
    CHART_LINES, /* with bars for intervals */
    CHART_RANKS, /* lines of many points, few of them marked */
    CHART_CLOUD, /* points only */
    CHART_ROWS,  /* y is drawn to the right, x counts rows from above */
};

struct chart_axis {
    const char *name;
    bool doubling; /* log2 */
    double *ticks; /* none: gnuplot's choice */
    size_t nticks, cap;
    double least, most; /* what it shows at least; NaN: what the points need */
    bool tight;         /* no blank beyond `least` and `most` */
    double mark;        /* a dashed line; NaN: none */
};

struct chart_panel {
    char *title; /* may be ""; wrapped to the panel's width */
    const char *quantity;
    enum chart_form form;
    int k;
    struct chart_axis x, y;
    struct strings rows, notes; /* CHART_ROWS: names and what stands beside them */
    struct chart_line *lines;
    size_t nlines, cap;
};

struct chart {
    char *name; /* of its files, without an ending */
    int columns;
    int panel_h;                /* 0: by its width */
    bool stacked;               /* only the lowest panel of a column names the x axis */
    bool common;                /* panels of one quantity share their y axis */
    char *head;                 /* above all panels; NULL or "": none */
    char *note;                 /* under the legend; NULL: none */
    char *y_name;               /* what panels' axes may borrow as their name; NULL: none */
    const char *notes_title;    /* above the notes of rows */
    struct chart_panel *panels; /* row after row */
    size_t npanels, cap;
};

struct charts {
    struct chart *v;
    size_t len, cap;
};

/* Positions, kinds and loads, of all cells that have such; the results must outlive them. Zero `out`
 * first. 0 also where there is none. */
int charts_build(struct store *s, const struct results *all, const char *prefix, struct charts *out,
                 struct buf *err) MUST_USE;

/* What `plot --x` asks for. */
struct chart_field {
    const char *x;       /* "k", "min", "max", "seed", or a parameter's name */
    const char *metric;  /* as v_metrics has it */
    const char *against; /* the reference, as of `table --against`; NULL: none */
};
/* A metric along a field of the done cells. -1: no cell has the field or the metric, and `err` says
 * which there are. What cannot be compared ends the program, as `table --against` does. */
int charts_by_field(struct store *s, const struct results *all, const struct chart_field *f,
                    const char *prefix, struct charts *out, struct buf *err) MUST_USE;
void charts_release(struct charts *all);

/* The chart's data as a table, and the script that draws it from NAME.tsv. */
void chart_data(const struct chart *c, struct buf *out);
void chart_script(const struct chart *c, struct buf *out);

/* ---- for those that make them ---- */

/* "PREFIX-KIND-part-part": NULL and "" parts are passed over. The last of `all` is the new one. */
struct chart *charts_add(struct charts *all, const char *prefix, const char *kind,
                         const char *const *parts, size_t nparts);
/* Takes the last one away where it has no point, and gives marks of their own to lines that look
 * alike. */
void charts_settle(struct charts *all);
/* `title` is the chart's from now on. Pointers to earlier panels end. */
struct chart_panel *chart_panel_add(struct chart *c, char *title, const char *quantity,
                                    enum chart_form form);
/* `name` is the chart's from now on. Pointers to earlier lines end. */
struct chart_line *chart_line_add(struct chart_panel *p, const struct result *cell, char *name,
                                  struct style style);
struct chart_point *chart_point_add(struct chart_line *l, double x, double y);
void chart_tick_add(struct chart_axis *a, double at);
size_t chart_points(const struct chart_panel *p);

#endif
