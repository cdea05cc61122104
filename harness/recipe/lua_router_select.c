/*
 * lua_router_select.c: see lua_router.h. The Lua states of a router, and calls of its select().
 * What it returned is checked in lua_selection.c.
 */
#include "recipe/lua_router_impl.h"
#include "recipe/recipe_words.h"

#include <string.h>

enum { SCORES_STEP = 65536 }; // for so many scores a call has the limits of a file

/* Leaves select() alone on the stack of a state that ran the text. */
static int find_select(const struct lua_router *r, struct lua_sandbox *s, struct buf *err)
{
    lua_State *L = lua_sandbox_state(s);
    for (size_t n = 1; made_push_router(L, n); n++) {
        made_push_table(L);
        lua_pushstring(L, "name");
        lua_rawget(L, -2);
        const char *name = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "";
        if (strcmp(name, r->router.name) == 0) {
            lua_pushstring(L, "select");
            lua_rawget(L, -3);
            lua_replace(L, 1);
            lua_settop(L, 1);
            return 0;
        }
        lua_pop(L, 3);
    }
    return fail(err, "run once more, the text does not define it; it must not hang on the order of "
                     "pairs()");
}

static struct lua_sandbox *new_state(const struct lua_router *r, struct buf *err)
{
    struct lua_sandbox *s = lua_sandbox_open_text(r->path, r->text, &lua_limits_default, err);
    if (!s)
        return NULL;
    recipe_words_add(s);
    if (lua_sandbox_run(s, err) == 0 && find_select(r, s, err) == 0)
        return s;
    lua_sandbox_close(s);
    return NULL;
}

static struct lua_sandbox *take_state(struct lua_router *r, struct buf *err)
{
    pthread_mutex_lock(&r->lock);
    struct lua_sandbox *s = r->nidle ? r->idle[--r->nidle] : NULL;
    pthread_mutex_unlock(&r->lock);
    return s ? s : new_state(r, err);
}

static void put_state(struct lua_router *r, struct lua_sandbox *s)
{
    pthread_mutex_lock(&r->lock);
    ARRAY_GROW(r->idle, r->cap, r->nidle + 1);
    r->idle[r->nidle++] = s;
    pthread_mutex_unlock(&r->lock);
}

static struct lua_limits limits_for(int T, int N)
{
    int64_t parts = ((int64_t)T * N + SCORES_STEP - 1) / SCORES_STEP;
    struct lua_limits l = lua_limits_default;
    l.instructions *= parts;
    l.bytes *= (size_t)parts;
    l.seconds *= (double)parts;
    return l;
}

static void push_scores(lua_State *L, const float *scores, int T, int N)
{
    lua_createtable(L, T, 0);
    for (int t = 1; t <= T; t++) {
        lua_createtable(L, N, 0);
        for (int e = 1; e <= N; e++) {
            lua_pushnumber(L, (lua_Number)*scores++);
            lua_rawseti(L, -2, e);
        }
        lua_rawseti(L, -2, t);
    }
}

/* One call of select(), and what it returned. scores: [T, N] */
static int call(const struct lua_router *r, struct lua_sandbox *s, const struct router_args *a,
                const float *scores, int T, struct selection *out, struct buf *err)
{
    lua_State *L = lua_sandbox_state(s);
    const struct lua_limits limits = limits_for(T, a->N);
    lua_pushvalue(L, 1);
    push_scores(L, scores, T, a->N);
    lua_pushinteger(L, T);
    lua_pushinteger(L, a->N);
    lua_pushinteger(L, a->K);
    if (lua_sandbox_call(s, 4, &limits, err) != 0)
        return -1;
    int rc = lua_selection_read(L, a, T, r->budget, out, err);
    lua_pop(L, 1);
    return rc;
}

void lua_router_select(const struct router_args *a, struct router_state *state, const float *scores,
                       int T, struct selection *out)
{
    (void)state;
    if (T == 0)
        return;
    // A router is const to all but its free list.
    struct lua_router *r = (struct lua_router *)(uintptr_t)a->custom;
    struct buf err = BUF_INIT;
    struct lua_sandbox *s = take_state(r, &err);
    int rc = s ? 0 : -1, step = r->scope == LUA_TOKEN ? 1 : T;
    for (int t = 0; rc == 0 && t < T; t += step)
        rc = call(r, s, a, scores + (size_t)t * (size_t)a->N, step, out, &err);
    if (rc == 0) {
        put_state(r, s);
    } else {
        lua_sandbox_close(s); // its variables may be half-way
        selection_fail(out, "%s:%d: router \"%s\": %s", r->path, r->line, r->router.name, err.s);
    }
    buf_release(&err);
}
