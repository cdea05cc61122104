/*
 * figure_field.h: what figure_field.c, which finds the points of a metric along a field, and
 * figure_field_draw.c, which puts them into panels, share.
 */
#ifndef FIGURE_FIELD_H
#define FIGURE_FIELD_H

#include "cmd/figure_chart.h"
#include "cmd/table_against.h"

/* A point before its place is known. */
struct field_dot {
    const struct result *cell;
    bool flat;
    double x, y, lo, hi;
    int64_t n;
    char *line, *panel;
};

struct field_maker {
    struct store *store;
    const struct results *all;
    const struct chart_field *f;
    const char *prefix;
    struct charts *out;
    struct field_dot *dots;
    size_t len, cap;
    struct strings panels; /* in the order in which they came first */
    double *xs;            /* ascending, each once */
    size_t nxs, xs_cap;
    bool of_task; /* the field is a parameter of the task */
    int most_seeds;
    struct against against;
};

/* Charts of the dots that have a panel and a value. */
int field_draw(struct field_maker *m, struct buf *err) MUST_USE;

#endif
