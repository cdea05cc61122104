/*
 * eval_items.h: what the function of an eval's `generated` makes, as JSON lines.
 *
 * Invariant: the same file gives the same bytes on every machine: items are in the order of the
 * list that the function returned, the fields of each in that of their names, and no field is a
 * number with a point. What was made once is kept until the program ends, so that the tasks and
 * the trainings of a run make it once.
 * Leaves out: what the fields mean, and templates.
 */
#ifndef EVAL_ITEMS_H
#define EVAL_ITEMS_H

#include "recipe/eval.h"

/*
 * Appends the items of the training set (`train`) or of the documents, which e->generated has some
 * of, one a line.
 */
int eval_items(const struct eval *e, bool train, struct buf *lines, struct buf *err) MUST_USE;

#endif
