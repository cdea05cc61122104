/*
 * lua_sandbox.h: a Lua 5.4 state for files that only describe something: recipes and evals.
 *
 * There is arithmetic, strings without patterns, tables, a part of math, and the words a caller
 * adds; print() goes to stderr. There are no files, no clock, no random numbers, no network, no
 * metatables, no coroutines, no way to catch an error, and no precompiled chunks. Instructions,
 * memory and processor time are limited; every C function that is left takes time in proportion
 * to memory at most, so that the limits are seen. Names are strict: one that nobody set is an
 * error, and a word of ours cannot be given another value.
 *
 * Invariant: no Lua error leaves lua_sandbox_run() and lua_sandbox_call(). Once they have returned,
 * the limits are off, so that reading the result with raw access cannot fail. A state may be used by
 * any thread, by one at a time.
 * Leaves out: what the words mean, and reading tables (lua_fields.h).
 */
#ifndef LUA_SANDBOX_H
#define LUA_SANDBOX_H

#include "util.h"

#include <lua.h>

struct lua_limits {
    int64_t instructions;
    size_t bytes;
    double seconds; /* of processor time */
};
extern const struct lua_limits lua_limits_default; /* 50 million, 64 MB, 5 s */

struct lua_sandbox;

/* Reads the file `path` (1 MB at most) and makes a state for it; nothing runs yet. */
struct lua_sandbox *lua_sandbox_open(const char *path, const struct lua_limits *limits,
                                     struct buf *err) MUST_USE;
/* The same for a source that is no file; messages call it `name`. */
struct lua_sandbox *lua_sandbox_open_text(const char *name, const char *text,
                                          const struct lua_limits *limits,
                                          struct buf *err) MUST_USE;
void lua_sandbox_close(struct lua_sandbox *s);

lua_State *lua_sandbox_state(struct lua_sandbox *s);
const char *lua_sandbox_path(const struct lua_sandbox *s);
const char *lua_sandbox_text(const struct lua_sandbox *s); /* the source */

/* Takes the value on top of the stack as the global `name`; `listed` to those who use a wrong one. */
void lua_sandbox_word(struct lua_sandbox *s, const char *name, bool listed);

/*
 * Runs the file, once. Its one result is left on the stack; on failure `err` has one sentence
 * with file and line.
 */
int lua_sandbox_run(struct lua_sandbox *s, struct buf *err) MUST_USE;

/*
 * Calls a function, which stands on the stack below its `nargs` arguments, with limits of its own:
 * instructions and time of this call alone, but the memory of all that the state has. Its one result
 * takes their place; on failure nothing does, and `err` has one sentence with file and line.
 */
int lua_sandbox_call(struct lua_sandbox *s, int nargs, const struct lua_limits *limits,
                     struct buf *err) MUST_USE;

#endif
