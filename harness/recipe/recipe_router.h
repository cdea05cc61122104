/*
 * recipe_router.h: one router outside of a recipe, in a recipe's words: `seqtopk { max = K + 2 }`
 * on a command line.
 *
 * Leaves out: everything else that a recipe has.
 */
#ifndef RECIPE_ROUTER_H
#define RECIPE_ROUTER_H

#include "recipe/sweep.h"

/*
 * The router that `text` stands for, and its arguments for K and the model, checked as those of a
 * recipe. `name` is what sentences call the text: "--router".
 */
int router_parse(const char *name, const char *text, int K, const struct sweep_model *model,
                 const struct router **router, struct router_args *args, struct buf *err) MUST_USE;

#endif
