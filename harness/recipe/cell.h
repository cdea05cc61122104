/*
 * cell.h: one cell of a sweep: its router's arguments, and its identity. Used by sweep.c only.
 */
#ifndef CELL_H
#define CELL_H

#include "recipe/sweep.h"

/*
 * Fills in `args` from K, N and what the recipe says of the router; each value must be whole and in
 * its range, or the sentence names the line, the parameter, K, N and what is allowed.
 */
int cell_args(const struct recipe_router *r, int K, const struct sweep_model *model,
              struct router_args *args, struct buf *err) MUST_USE;

/* Sets `c->id`; all the rest of `c` must be set. */
void cell_identify(struct cell *c, enum dtype dtype, const char *device, bool log_tokens);

/* "K + 2", as a recipe would write it. */
void affine_text(struct affine a, struct buf *out);

#endif
