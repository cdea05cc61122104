/*
 * recipe_router.c: see recipe_router.h.
 */
#include "recipe/recipe_router.h"
#include "recipe/cell.h"
#include "recipe/recipe_words.h"

/* The value on top of the stack, which stands in the text of `at`. */
static int read_value(lua_State *L, const struct lua_place *at, int K,
                      const struct sweep_model *model, struct recipe_router *r,
                      struct router_args *args, struct buf *err)
{
    const struct made *m = made_top(L);
    if (!m || m->kind != MADE_ROUTER) {
        struct buf is = BUF_INIT;
        value_describe(L, &is);
        fail(err, "%s: %s; a router is needed, such as topk() or seqtopk { max = K + 2 }", at->path,
             is.s);
        buf_release(&is);
        return -1;
    }
    return recipe_router_read(L, at, r, err) || cell_args(r, K, model, args, err) ? -1 : 0;
}

int router_parse(const char *name, const char *text, int K, const struct sweep_model *model,
                 const struct router **router, struct router_args *args, struct buf *err)
{
    struct recipe_router r = { 0 };
    char *source = xasprintf("return %s", text);
    struct lua_sandbox *s = lua_sandbox_open_text(name, source, &lua_limits_default, err);
    int rc = s ? 0 : -1;
    if (rc == 0) {
        recipe_words_add(s);
        rc = lua_sandbox_run(s, err);
    }
    if (rc == 0) {
        const struct lua_place at = { name, lua_sandbox_text(s), 1, NULL, NULL };
        rc = read_value(lua_sandbox_state(s), &at, K, model, &r, args, err);
        *router = r.router;
    }
    recipe_router_release(&r);
    lua_sandbox_close(s);
    free(source);
    return rc;
}
