/*
 * sweep_cells.h: the cells of a sweep and the trainings that they need, in their order, each once.
 * Used by sweep.c only.
 */
#ifndef SWEEP_CELLS_H
#define SWEEP_CELLS_H

#include "recipe/sweep.h"

/* All of `s` but cells and trainings is set, and the data were checked. Reads the models' weights. */
int sweep_make_cells(struct sweep *s, struct buf *err) MUST_USE;

#endif
