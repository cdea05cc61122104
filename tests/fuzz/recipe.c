/*
 * recipe.c: the input is a recipe in Lua.
 *
 * Whatever it does, the sandbox's limits hold (lua_limits.h), and what is taken has the lists that
 * recipe.h promises. Leaves out: models and files that it names (none is looked for yet).
 */
#include "lua_limits.h"

#include "recipe/recipe.h"

static void look_at(const struct recipe *r)
{
    if (r->pretrain)
        return;
    if (!r->name || !r->K.len || !r->nrouters || !r->ntasks || !r->ntrains)
        BUG("a list is empty");
    for (size_t i = 0; i < r->nrouters; i++)
        if (!r->routers[i].router || !r->routers[i].router->name)
            BUG("router %zu is none", i);
    for (size_t i = 0; i < r->ntasks; i++)
        if (!r->tasks[i].name && (!r->tasks[i].file || !r->tasks[i].text))
            BUG("task %zu is neither named nor a file", i);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct buf err = BUF_INIT;
    char *path = fuzz_path("r.lua");
    fuzz_file("r.lua", data, len);
    struct recipe *r = recipe_open(path, NULL, &err);
    if (r)
        look_at(r);
    else
        fuzz_said(&err);
    recipe_free(r);
    free(path);
    return 0;
}
