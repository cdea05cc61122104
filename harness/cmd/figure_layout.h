/*
 * figure_layout.h: where things are on a figure's page, and what its axes show. Used by
 * the scripts only.
 *
 * Lengths are hundredths of an inch, so a page of 720 is the width of two columns of text.
 */
#ifndef FIGURE_LAYOUT_H
#define FIGURE_LAYOUT_H

#include "cmd/figure.h"

#define PAGE_WIDE 720
#define PAGE_NARROW 350 /* one column of text */
#define LEFT 46         /* of the first panel: tick labels and the axis' name */
#define RIGHT 44        /* of the last one: "K = 8", and the end of its legend */
#define GAP 58          /* between panels: tick labels, "K = 8" */
#define GAP_LAYERS 30
#define TITLE 20  /* above a panel: its title */
#define MARK 14   /* above a histogram, under its title: "K = 8" */
#define AXIS 44   /* below a panel: tick labels and the axis' name */
#define SAMPLE 26 /* in a legend: the line's look, and a blank */
#define NOTE 92   /* "-0.83 [-0.84, -0.82]" */
#define LETTER 4.6
#define ENTRY 13 /* one line of a legend */
#define ROW_GAP 14

/* Where things are on the page; y grows downwards. */
struct layout {
    int width, height, rows;
    int panel_w, panel_h, gap;
    int *top; /* [rows] of the panels' plots */
};

/* What the axes show. */
struct range {
    double x_lo, x_hi, y_lo, y_hi;
};

/* Fewer columns where the legends, which stand under the panels, would run into each other. */
void layout_fit(struct figure *f);
struct layout layout_of(const struct figure *f); /* the caller frees `top` */

/* The most lines that a panel of the row has. */
size_t layout_most_lines(const struct figure *f, int row);

/* Names along the page, for the layers of a row: where each begins, and in which line of text. */
int layout_name(const struct layout *y, const struct panel *p, size_t which, int *x);

/* Panels of one K in one row share their axes, and entropy has one axis everywhere. */
struct range range_of(const struct figure *f, size_t which);

#endif
