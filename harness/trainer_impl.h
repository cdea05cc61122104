/*
 * trainer_impl.h: a trainer, shared by trainer.c, which opens it and hands its optimiser on, and
 * trainer_piece.c, a piece's gradient.
 */
#ifndef TRAINER_IMPL_H
#define TRAINER_IMPL_H

#include "model_impl.h"
#include "torch_train.h"
#include "trainer.h"

struct trainer {
    struct model *model;
    struct adamw *adamw;
    struct scope *scope; /* owns the parameters */
    struct trainer_tensor *tensors;
    size_t ntensors;
    int64_t count;
    int route_threads;  /* for each piece's routers: of a GPU's host, whose cores are idle */
    bool checkpointing; /* each layer is computed again for its gradient */
};

/* See `gradient` in trainer.h. */
int trainer_gradient(struct trainer *t, int slot, const struct piece *piece,
                     struct piece_result *out, struct buf *err) MUST_USE;

#endif
