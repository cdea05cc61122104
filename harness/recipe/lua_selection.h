/*
 * lua_selection.h: what the select() of a Lua router returned, checked and read: for each token a
 * list of experts, counted from 1.
 *
 * Leaves out: calling it (lua_router.c).
 */
#ifndef LUA_SELECTION_H
#define LUA_SELECTION_H

#include "routers/router.h"

#include <lua.h>

/* Pairs that T tokens take in all. */
enum lua_budget {
    BUDGET_EXACT, /* T * K */
    BUDGET_AT_MOST,
    BUDGET_ANY,
};

/*
 * Appends the selections of T tokens, which the value on top of the stack holds, to `out`. -1: it
 * is not such a list, or outside the budget or the bounds of `a`; the sentence says which token's,
 * and what is allowed.
 */
int lua_selection_read(lua_State *L, const struct router_args *a, int T, enum lua_budget budget,
                       struct selection *out, struct buf *err) MUST_USE;

#endif
