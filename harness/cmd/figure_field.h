/*
 * figure_field.h: what figure_field.c, which finds the points of a metric along a field,
 * figure_field_draw.c, which puts them into panels, and figure_field_title.c, which names those, share.
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
    bool of_task;     /* the field is a parameter of the task */
    bool by_document; /* the metric is known of each document */
    int most_seeds;
    struct against against;
};

/* What a panel's key has, line after line. */
enum field_part {
    FIELD_PART_MODEL,
    FIELD_PART_TASK, /* without the field */
    FIELD_PART_TRAIN,
    FIELD_PART_DEVICE,
    FIELD_PART_DTYPE,
    FIELD_PART_K, /* 0: K is the field */
    FIELD_PARTS,
};
/* A part of a key; the caller frees it. */
char *field_part(const char *key, enum field_part part);
/* Is the part another in some of the keys? */
bool field_part_varies(const struct strings *keys, enum field_part part);
/* What tells the panel of `key`, one of `keys`, from the others, and what all of them share; "" where
 * there is nothing. The caller frees them. */
char *field_title(const struct strings *keys, const char *key);
char *field_head(const struct strings *keys);

/* Charts of the dots that have a panel and a value. */
int field_draw(struct field_maker *m, struct buf *err) MUST_USE;

#endif
