/*
 * lua_router_impl.h: what the two halves of Lua routers share: lua_router.c reads them from a
 * recipe, lua_router_select.c calls their select().
 */
#ifndef LUA_ROUTER_IMPL_H
#define LUA_ROUTER_IMPL_H

#include "recipe/lua_router.h"
#include "recipe/lua_sandbox.h"
#include "recipe/lua_selection.h"

#include <pthread.h>

enum lua_scope {
    LUA_SEQUENCE,
    LUA_TOKEN,
};

struct lua_router {
    struct router router; /* first, so that a pointer to it is one to the whole */
    char *path, *text;
    char hash[33]; /* of the text */
    int line, scope;
    enum lua_budget budget;
    struct lua_router *next; /* of all that were read */
    pthread_mutex_t lock;
    struct lua_sandbox **idle; /* each with select() alone on its stack */
    size_t nidle, cap;
};

/* struct router's select(). */
void lua_router_select(const struct router_args *a, struct router_state *state, const float *scores,
                       int T, struct selection *out);

#endif
