/*
 * progress.h: a line on the terminal that says how far a run is, how fast, and how long it will
 * take. Where stderr is no terminal nothing is printed.
 */
#ifndef PROGRESS_H
#define PROGRESS_H

#include "util.h"

struct progress {
    bool shown;
    double from, last;   /* seconds */
    int64_t done, total; /* tokens */
    int cells, cells_total;
    const char *unit; /* what is counted, where it is not tokens of cells; else NULL */
};

void progress_start(struct progress *p, int64_t tokens, int cells);
/* The same for work that is counted in something else, `unit`, and has no cells. */
void progress_start_units(struct progress *p, int64_t units, const char *unit);
/* `tokens` more are done; `cells` of all. Draws at most ten times a second. */
void progress_add(struct progress *p, int64_t tokens, int cells);
void progress_end(struct progress *p); /* clears the line */

/* The line itself, for a terminal `width` columns wide, `seconds` after the start. */
void progress_line(const struct progress *p, double seconds, int width, struct buf *out);

#endif
