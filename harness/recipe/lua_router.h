/*
 * lua_router.h: a router that a recipe defines, in Lua:
 *
 *     local mine = router {
 *       name   = "mine",          -- letters, digits, - and _; not the name of a router there is
 *       select = function(scores, T, N, K)  -- scores[t][e], t from 1 to T, e from 1 to N
 *         return { { 1, 3 }, ... }          -- the experts of each of the T tokens, in any order
 *       end,
 *       scope  = "sequence",      -- the default: called once for all tokens of a sequence
 *                                 -- "token": for each alone, with T = 1; so it can decode
 *       min    = 0, max = N,      -- experts per token and layer; these are the defaults
 *       budget = "exact",         -- the default: a call selects T * K pairs; "at most"; "any"
 *     }
 *
 * Scores are what every router reads, the softmax over the experts, as Lua's numbers. What select()
 * returns must be within budget and bounds, and name no expert twice for a token: else the cell
 * fails with a sentence, and the others go on. Each call has the limits of a file
 * (lua_limits_default) for every 65536 scores that it is given, or a part of them.
 *
 * Lua is not for several threads: each that selects has a state of its own, made by running the
 * whole text again. So select() must hang on its arguments alone: what it keeps in a variable from
 * one call to the next is not the same in every state, nor is the order of pairs().
 *
 * A router of this kind is told from others by its name, scope, budget and bounds, and by the hash
 * of the whole recipe, since any line of it may matter.
 *
 * Invariant: routers that are read live until the program ends, and one that is read again, from
 * the same text, is the same.
 * Leaves out: what else a recipe says (recipe.h).
 */
#ifndef LUA_ROUTER_H
#define LUA_ROUTER_H

#include "recipe/recipe.h"

struct lua_router;

/* Reads what router { ... } made, on top of the stack, as recipe_router_read() does. */
int lua_router_read(lua_State *L, const struct lua_place *at, struct recipe_router *r,
                    struct buf *err) MUST_USE;

/* Of a router that was read here, for router_args.custom; NULL: it is another one. */
const struct lua_router *lua_router_from(const struct router *r);

/* What identifies it beside its name and parameters, a line each. Nothing of NULL. */
void lua_router_identify(const struct lua_router *r, struct buf *out);

#endif
