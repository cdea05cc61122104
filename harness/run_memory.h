/*
 * run_memory.h: how much of a GPU's memory a model needs, known before it is read.
 *
 * Leaves out: what libtorch and the driver need for themselves, some hundred MB, and batches: where
 * one does not fit it is halved (run.h).
 */
#ifndef RUN_MEMORY_H
#define RUN_MEMORY_H

#include "weights.h"

struct memory_needed {
    int64_t weights; /* bytes */
    int64_t text;    /* about, for one text of so many tokens: keys, values, and one layer's work */
};
struct memory_needed memory_needed(const struct model_config *c, enum dtype dtype, int64_t tokens);

/* The sentence for a model that does not fit: what it needs, what there is, and what would help. */
void memory_refuse(const struct model_config *c, enum dtype dtype,
                   const struct memory_needed *needed, const char *device, int64_t free_bytes,
                   int64_t total, struct buf *err);

#endif
