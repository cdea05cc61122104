/*
 * sweep_training.h: one training of one model: its router's arguments and settings, checked, and its
 * identity.
 *
 * The router "same" is the cell's; seqtopk trains in mode global with its own bounds and segment, so
 * that cells that only decode in another mode share one trained model. A training router need not be
 * able to decode.
 */
#ifndef SWEEP_TRAINING_H
#define SWEEP_TRAINING_H

#include "recipe/sweep.h"

/*
 * Fills in `t` but for its id, label and seed. `cell`: the router that "same" is; NULL: topk(), where
 * the recipe names no other. With matryoshka, what is drawn stands in K's place, and K decides
 * nothing. What does not hold at a K that trains is refused.
 */
int training_resolve(struct recipe_train *said, const struct recipe_router *cell, int K,
                     const struct sweep_model *model, struct sweep_training *t,
                     struct buf *err) MUST_USE;

/*
 * cell_args() of a cell that is scored after the training: N is what prune leaves of the experts, and
 * K and the bounds must fit it.
 */
int training_cell_args(const struct recipe_train *said, const struct recipe_router *r, int K,
                       const struct sweep_model *model, struct router_args *args,
                       struct buf *err) MUST_USE;

/* Sets the id; all the rest but the label is set, and the data were checked. */
void training_identify(struct sweep_training *t, const char *device);

/* Its name, or "sft gsm8k/train 100 steps lr 1e-05": of `said` alone, and not all of it. */
void training_label(const struct sweep_training *t, struct buf *out);

/* A JSON object of all that made it, for people. */
void training_about(const struct sweep_training *t, const char *device, struct buf *out);

#endif
