/*
 * prune_weights.h: the tensors of a model with fewer experts, as the bytes of a file.
 *
 * Invariant: the numbers are those of the model, to the bit: in bfloat16 where all of its tensors
 * are, else in float32, which holds every number of the three formats.
 * Leaves out: which experts stay (prune.h), and the file (checkpoint.h).
 */
#ifndef PRUNE_WEIGHTS_H
#define PRUNE_WEIGHTS_H

#include "train/checkpoint.h"
#include "weights.h"

struct prune_weights {
    struct checkpoint_tensor *tensors;
    size_t n, cap;
    enum dtype dtype;
    struct prune_run *runs; /* neighbouring numbers of the model, one run behind the other */
    size_t nruns, runs_cap;
    size_t at;       /* the run that the next bytes begin in ... */
    int64_t at_from; /* ... and its first number's place among all */
};

/* kept: [layers, left]: the experts that stay. `w` must stay open. prune_weights_release() after. */
void prune_weights_init(struct prune_weights *p, const struct weights *w, const int *kept,
                        int left);
void prune_weights_release(struct prune_weights *p);

/* The bytes of all tensors, one behind the other: a checkpoint_get, `of` the struct. */
int prune_weights_get(void *of, int64_t at, int64_t n, void *bytes, struct buf *err);

#endif
