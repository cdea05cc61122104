/*
 * figure_chart_page.h: where the panels and the legend of a chart are on its page, and what its axes
 * show. Used by figure_chart_script.c only. Lengths as in figure_layout.h.
 */
#ifndef FIGURE_CHART_PAGE_H
#define FIGURE_CHART_PAGE_H

#include "cmd/figure_chart.h"
#include "cmd/figure_draw.h"

#define PAGE_EDGE 8 /* where legends begin */
#define ROW_NOTE 30 /* beside a row's name: "2.31" */

/* One name of the legend: where it stands, and in which of its lines. */
struct legend_name {
    const struct chart_line *of;
    int x, line;
};

struct page {
    struct layout size; /* width and height alone */
    int left, gap, panel_w, panel_h;
    int head;          /* lines above all panels */
    int *top;          /* [rows] of the panels' plots */
    int legend, lines; /* its middle line's place, how many it has */
    struct legend_name *names;
    size_t nnames, cap;
};

struct place {
    int left, top, w, h;
    bool first;  /* the leftmost of its row */
    bool lowest; /* of its column */
};

struct page page_of(const struct chart *c);
void page_release(struct page *y);

struct place page_place(const struct chart *c, const struct page *y, size_t which);
/* What a panel's axes show, from its points, or from those of all panels that share its axis. */
struct range page_range(const struct chart *c, size_t which);
/* How many letters a line across the page has, in the legend and above the panels, and how many a
 * panel's title. */
size_t page_letters(const struct page *y);
size_t page_head_letters(const struct page *y);
size_t page_title_letters(const struct page *y);

#endif
