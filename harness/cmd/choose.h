/*
 * choose.h: which cells a word on the command line means: the beginning of an id ("3fa2"), or a
 * condition in SQL on v_cells ("k = 2 AND mode = 'online'"). A word of nothing but the digits of an
 * id, 0-9 and a-f, is the beginning of one.
 *
 * Invariant: a word that fits no cell ends the program with a sentence that names it; one that fits
 * several is answered with the list of them.
 */
#ifndef CHOOSE_H
#define CHOOSE_H

#include "store/results.h"

/* At least one cell; NULL: all of them. Zero `out` first. */
void choose_cells(struct store *s, const char *word, struct results *out);

/* "042a58e0  tiny-olmoe, gsm8k/nll, K = 8, topk, seed 0" */
void choose_describe(const struct result *c, struct buf *out);

/* Lists the cells on stderr and ends the program with the sentence, exit code 1. */
NORETURN void choose_refuse(const struct results *cells, const char *fmt, ...) PRINTF(2, 3);

#endif
