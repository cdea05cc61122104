/*
 * pass_at.h: pass@k: cells that differ in nothing but the seed are samples of the same problems.
 */
#ifndef PASS_AT_H
#define PASS_AT_H

#include "cmd/cmd.h"
#include "store/results.h"

/*
 * Prints a row for each group of cells: pass@k, its error over problems, how many samples a problem
 * has at least, and how many problems there are. Cells that are not done, or have no scores, are left
 * out. Scores that are not all 0 or 1, or too few samples, end the program with a sentence.
 */
void pass_at_print(struct store *s, const struct results *all, int k, enum table_format format);

#endif
