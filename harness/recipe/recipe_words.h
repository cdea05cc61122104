/*
 * recipe_words.h: the words of a recipe, put into a sandbox: K, N and the constructors.
 *
 * A constructor copies its table and remembers the line of its call; nothing is checked until the
 * recipe has ended, so that everything wrong is said in one way.
 * Leaves out: which fields a constructor takes (recipe.c).
 */
#ifndef RECIPE_WORDS_H
#define RECIPE_WORDS_H

#include "routers/router.h"
#include "recipe/expr.h"
#include "recipe/lua_fields.h"
#include "recipe/lua_sandbox.h"
#include "recipe/recipe.h"

enum made_kind {
    MADE_SWEEP,
    MADE_ROUTER,
    MADE_NONE,
    MADE_SFT,
    MADE_PRETRAIN,
    MADE_NLL,
    MADE_TASK,
    MADE_CONTINUE,
    MADE_SPEED,
};

/* What a constructor returns. Its table is the value's user value. */
struct made {
    enum made_kind kind;
    int line;
    const struct router *router; /* of MADE_ROUTER; NULL: router { ... }, see lua_router.h */
    const char *word;            /* the constructor's name; lives as long as the program */
};

void recipe_words_add(struct lua_sandbox *s);
/* `options`, with what `o` says; NULL: with nothing. */
void recipe_words_options(struct lua_sandbox *s, const struct sweep_options *o);

/* The value on top of the stack as what a constructor made, or as an expression; else NULL. */
const struct made *made_top(lua_State *L);
const struct expr *expr_top(lua_State *L);

/* Pushes the n-th value, from 1, that router { ... } made; false, and nothing: there are fewer. */
bool made_push_router(lua_State *L, size_t n);

/* Where what a constructor made stands, in the file of `at`. */
struct lua_place made_place(const struct lua_place *at, const struct made *m);

/* Pushes the table that the constructor of the value on top was called with. */
void made_push_table(lua_State *L);

#endif
