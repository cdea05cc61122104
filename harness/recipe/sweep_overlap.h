/*
 * sweep_overlap.h: the routers of log = { overlap = { ... } }: what each cell's router selects is
 * compared with what these would have selected from the same scores.
 *
 * Invariant: each can route one sequence by itself from its scores, and their names, "topk" or
 * "seqtopk_global", are those of metrics, so no two are the same.
 */
#ifndef SWEEP_OVERLAP_H
#define SWEEP_OVERLAP_H

#include "recipe/sweep.h"

/* Fills in s->overlap_names and, for each model, training and K of the recipe, s->overlap: a training
 * that prunes leaves fewer experts. */
int sweep_make_overlap(struct sweep *s, struct buf *err) MUST_USE;
/* Those of one model, training and K, by their places; NULL: there are none. */
const struct router_use *sweep_overlap_of(const struct sweep *s, size_t model, size_t train,
                                          size_t k);
void sweep_overlap_free(struct sweep *s);

#endif
