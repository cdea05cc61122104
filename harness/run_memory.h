/*
 * run_memory.h: how much of a GPU's memory a model needs, and its training, known before it is read.
 *
 * Leaves out: what libtorch and the driver need for themselves, some hundred MB, and batches: where
 * one does not fit it is halved (run.h).
 */
#ifndef RUN_MEMORY_H
#define RUN_MEMORY_H

#include "model.h"
#include "training.h"

struct memory_needed {
    int64_t weights; /* bytes */
    int64_t text;    /* about, for one text of so many tokens: keys, values, and one layer's work */
};
struct memory_needed memory_needed(const struct model_config *c, enum dtype dtype, int64_t tokens);

/* The sentence for a model that does not fit: what it needs, what there is, and what would help. */
void memory_refuse(const struct model_config *c, enum dtype dtype,
                   const struct memory_needed *needed, const char *device, int64_t free_bytes,
                   int64_t total, struct buf *err);

/*
 * Is there room on the device for the model and one text of so many tokens? -1: there is not, and that
 * is said before 14 GB are read. `name` is the device's.
 */
int memory_check(const struct engine *engine, struct device device, const char *name,
                 const struct model_config *c, enum dtype dtype, int64_t tokens,
                 struct buf *err) MUST_USE;

/*
 * The same for training all of its weights: what they, the averages and the gradient of a step that is
 * one piece need at least (torch_adam8.h). What the texts' work needs comes on top.
 */
int64_t memory_trained(const struct model_config *c, const struct training *t);
int memory_check_training(const struct engine *engine, struct device device, const char *name,
                          const struct model_config *c, const struct training *t,
                          struct buf *err) MUST_USE;

#endif
