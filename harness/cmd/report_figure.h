/*
 * report_figure.h: a figure of the report in words, for who cannot see it and for who wants the numbers.
 * Used by report_figures.c only.
 */
#ifndef REPORT_FIGURE_H
#define REPORT_FIGURE_H

#include "cmd/figure.h"
#include "cmd/figure_training.h"
#include "cmd/report.h"

const char *figure_title(enum figure_kind kind);
const char *figure_words(enum figure_kind kind); /* sentences below the title */

/* Its points as a table that is folded away; `room`: rows that all tables may still have. */
void figure_points(struct report *r, const struct figure *f, size_t *room, struct buf *out);
/* The same of trainings: a row each. */
void curves_points(struct report *r, const struct curves *c, struct buf *out);

#endif
