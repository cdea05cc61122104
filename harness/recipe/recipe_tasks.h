/*
 * recipe_tasks.h: what of a recipe says what is scored, and by whom: tasks and the judge. Readers of
 * fields (struct field); member: the struct recipe. Used by recipe.c only.
 */
#ifndef RECIPE_TASKS_H
#define RECIPE_TASKS_H

#include "recipe/recipe.h"

int recipe_read_tasks(lua_State *L, const struct lua_place *at, const struct field *f, void *recipe,
                      struct buf *err) MUST_USE;
int recipe_read_judge(lua_State *L, const struct lua_place *at, const struct field *f, void *recipe,
                      struct buf *err) MUST_USE;

#endif
