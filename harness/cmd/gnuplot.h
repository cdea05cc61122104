/*
 * gnuplot.h: pictures out of gnuplot's scripts, as many at once as there are processors.
 *
 * Invariant: a picture appears under its name only when gnuplot has finished it.
 * Leaves out: what the scripts say (figure_script.h, figure_training.h).
 */
#ifndef GNUPLOT_H
#define GNUPLOT_H

#include "util.h"

/*
 * Draws dir/NAME.gp of all names as NAME.svg and NAME.png beside it, and prints their paths in that
 * order. -1: gnuplot is not there or failed, and `err` has its own words; the pictures before that one
 * are there.
 */
int gnuplot_draw(const char *dir, char *const *names, size_t n, struct buf *err) MUST_USE;
/* The same of the SVG alone, and prints nothing. */
int gnuplot_draw_svg(const char *dir, char *const *names, size_t n, struct buf *err) MUST_USE;

#endif
