/*
 * shots.h: the worked examples that stand before each prompt.
 *
 * Invariant: document i gets the same shots whatever was asked before it is cut off at, since they
 * are drawn for one document after the other from the first on, by one generator.
 * Leaves out: putting them before prompts (data.h).
 */
#ifndef SHOTS_H
#define SHOTS_H

#include "recipe/eval.h"

struct shots;

/* Reads `path` and fills in the text of every line that may be drawn. `spec` must outlive it. */
struct shots *shots_open(const struct eval_shots *spec, const char *path, struct buf *err) MUST_USE;
void shots_free(struct shots *s);

/* Of the file's text. */
const char *shots_hash(const struct shots *s);

/* Appends the shots of the next document. */
void shots_next(struct shots *s, struct buf *out);

#endif
