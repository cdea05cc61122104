/*
 * engine.h: opens the engine, build/seqtopk-torch.so, which holds libtorch. That costs a third of a
 * second and 165 MB, so only commands that need tensors do it.
 */
#ifndef ENGINE_H
#define ENGINE_H

#include "model.h"

/* The engine beside the program; once open it stays so. NULL: `err` says what is missing. */
const struct engine *engine_open(struct buf *err) MUST_USE;

#endif
