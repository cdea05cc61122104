/*
 * figure_charts.h: what figure_charts.c, which decides of which cells charts are made, shares with those
 * that make them.
 */
#ifndef FIGURE_CHARTS_H
#define FIGURE_CHARTS_H

#include "cmd/figure_chart.h"
#include "cmd/figure_group.h"

struct chart_maker {
    struct store *store;
    const char *prefix;
    struct charts *out;
    struct buf *err;
    bool by_token; /* the tokens are few enough to be read again */
};

/* Cells of a group that stand in one chart. */
struct chart_cells {
    const struct group *group;
    int k;            /* -1: all */
    const char *mode; /* router and mode; NULL: all. Those for comparison are always there */
};

bool chart_has(const struct chart_cells *c, const struct result *r);
/* Adds the chart, with a name that tells it from those of other cells. */
struct chart *chart_of(const struct chart_maker *m, const struct chart_cells *c, const char *kind);
/* Adds a line for the cell, named as where all of the group's K may stand together. */
struct chart_line *chart_line_of(struct chart_panel *p, const struct group *g,
                                 const struct result *r, bool by_k);

/* Each adds one chart, or none where nothing is known. */
int chart_positions(const struct chart_maker *m, const struct chart_cells *c) MUST_USE;
int chart_kinds(const struct chart_maker *m, const struct chart_cells *c) MUST_USE;
int chart_loads(const struct chart_maker *m, const struct chart_cells *c) MUST_USE;

#endif
