/*
 * cell.h: one cell of a sweep: its router's arguments, and its identity.
 */
#ifndef CELL_H
#define CELL_H

#include "recipe/sweep.h"

/*
 * Fills in `args` from K, N and what the recipe says of the router; each value must be whole and in
 * its range, or the sentence names the line, the parameter, K, N and what is allowed. A router that
 * ignores K gets the model's own, whatever is asked, so that a sweep over K has its cell once.
 */
int cell_args(const struct recipe_router *r, int K, const struct sweep_model *model,
              struct router_args *args, struct buf *err) MUST_USE;

/* Sets `c->id`; all the rest of `c` must be set, and of `s` all but its cells. */
void cell_identify(struct cell *c, const struct sweep *s);

/* The lines about a router and a model that identities are made of. */
void router_identity(const struct router *r, const struct router_args *args, struct buf *text);
void model_identity(const struct sweep_model *m, struct buf *text);

/*
 * Feeds all that decides the scores of texts given for a task: its data and form, as in a cell's
 * identity, and the judge (NULL: none) where a measure asks one. data_check() has seen the task.
 */
void cell_hash_task(struct hash *h, const struct task *t, const struct judge_spec *judge);

/* "K + 2", as a recipe would write it. */
void affine_text(struct affine a, struct buf *out);

#endif
