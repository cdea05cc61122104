/*
 * lua_library.h: what a file in the sandbox finds: the harmless part of Lua's libraries, the words
 * that are added, and strict names. Used by lua_sandbox.c only.
 *
 * Invariant: no function that is left can run for long without Lua's hook seeing it: each takes
 * time in proportion to the memory in use, and that is limited.
 */
#ifndef LUA_LIBRARY_H
#define LUA_LIBRARY_H

#include "util.h"

#include <lua.h>

/* Makes the globals of a new state. */
void lua_library_open(lua_State *L);

/* Takes the value on top of the stack as the global `name`; see lua_sandbox_word(). */
void lua_library_add(lua_State *L, const char *name, bool listed);

#endif
