/*
 * figure_value.h: the numbers that a cell has by name, to draw along: K, its bounds, its seed, and the
 * parameters of its router ("batch") and of its task ("length", of "nll:f.jsonl(length=128)"). Used by
 * figure_field.c.
 *
 * Invariant: what one of these names takes away from a task's name or a router's label is all that the
 * value says, so that cells that differ in it alone have the same rest.
 */
#ifndef FIGURE_VALUE_H
#define FIGURE_VALUE_H

#include "store/results.h"

/* false: the cell has none of this name, or not a number, or one that says "never", as segment = 0. */
bool value_of(const struct result *r, const char *name, double *out);
/* The names of all done cells; the caller releases them. */
void value_names(const struct results *all, struct strings *out);

/* Both are the caller's to free. A label of a router that says "never" ends in "without segment". */
char *task_without(const char *task, const char *name);
char *label_without(const struct result *r, const char *name);

#endif
