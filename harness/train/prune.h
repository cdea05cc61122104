/*
 * prune.h: a model without the experts that few tokens take, for a training to begin with.
 *
 * Each layer loses floor(share * N) experts: those with the smallest load, of which the larger index
 * goes first where loads are equal. A load is the number of tokens that take the expert when topk, at
 * the model's own K, routes the training's first `texts` lessons (as many as there are, if fewer),
 * prompts included. Taking experts out means taking their matrices and their rows of the router: the
 * softmax then runs over those that stay, so that the scores of these rise together, by the same
 * factor for all experts of a token. A family whose weights of a token sum to one computes the same
 * as before wherever none of a token's experts was lost; in the others the experts weigh more.
 *
 * ROOT/ID.pruned    the model, a folder as checkpoint.h has it, whose training.json has the loads and
 *                   which experts stayed; gone when the training's own folder is there
 *
 * Invariant: the folder is whole or not there; the numbers in it are those of the base, to the bit.
 * Leaves out: whether K and the bounds fit what is left (recipe/sweep_training.h).
 */
#ifndef PRUNE_H
#define PRUNE_H

#include "train/train.h"

/*
 * Makes the folder where it is not there; `dir` gets its path. `stop` is asked between passes, and
 * `stopped` says whether it ended this, without a folder. The lock is held.
 */
int prune_base(const struct train_task *task, const struct engine *engine, bool (*stop)(void),
               struct buf *dir, bool *stopped, struct buf *err) MUST_USE;

/* What made the training, a JSON object, with what the folder says of its pruning as "pruned". */
int prune_about(const char *about, const char *dir, struct buf *out, struct buf *err) MUST_USE;

/*
 * Of each layer's N experts the `left` with the largest loads, in ascending order. load: [N]; kept:
 * [left]
 */
void prune_keep(const int64_t *load, int N, int left, int *kept);

#endif
