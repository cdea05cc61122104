/*
 * figure_draw.h: what every figure's script and table are written with. Used by figure_*.c only.
 *
 * Invariant: text from outside stands in single quotes, doubled inside, and is never read as markup.
 */
#ifndef FIGURE_DRAW_H
#define FIGURE_DRAW_H

#include "cmd/figure_layout.h"

#define SMALL 9.0 /* letters of legends and ticks: 6.5 points when printed */
#define NORMAL 10.0

/* A field of the table, with the tab behind it. gnuplot would read on over tabs behind a quote. */
void draw_field(struct buf *out, const char *s);
void draw_number(struct buf *out, double v); /* nothing where it is NaN */

/* A string for gnuplot: in single quotes nothing but the quote itself means anything. */
void draw_quoted(struct buf *out, const char *s);

/* What a script begins with: where its data is, SVG or PNG, the page. */
void draw_head(const char *name, const struct layout *y, struct buf *out);

/* Text at a place of the page. `how`: "left", "right", "center", with "rotate by 90" where it goes
 * upwards. */
void draw_text(struct buf *out, const struct layout *y, double px, double py, const char *text,
               double size, const char *how, const char *colour);

/* Writes the text from there down, in as many lines of at most `most` letters as it needs, where `out`
 * is not NULL; returns how many. */
int draw_wrapped(struct buf *out, const struct layout *y, double px, double py, const char *text,
                 size_t most, double size, const char *colour);

/* A line's look, as in the panel. */
void draw_sample(struct buf *out, const struct layout *y, double px, double py,
                 const struct style *s);

#endif
