/*
 * lua_router.c: see lua_router.h. Reading router { ... }, and all routers that were read.
 */
#include "recipe/lua_router.h"
#include "recipe/lua_router_impl.h"
#include "recipe/recipe_words.h"

#include <string.h>

static const char *const scopes[] = { [LUA_SEQUENCE] = "sequence", [LUA_TOKEN] = "token", NULL };
static const char *const budgets[] = {
    [BUDGET_EXACT] = "exact", [BUDGET_AT_MOST] = "at most", [BUDGET_ANY] = "any", NULL
};

static enum router_scope token_scope(const struct router_args *a)
{
    (void)a;
    return SCOPE_TOKEN;
}

static enum router_scope sequence_scope(const struct router_args *a)
{
    (void)a;
    return SCOPE_SEQUENCE;
}

/*
 * K * min_k + N * min_n is the most that `min` may be, and K * max_k the least that `max` may be.
 */
#define LUA_BOUNDS(min_k, min_n, max_k)                     \
    {                                                       \
        .name = "min",                                      \
        .help = "experts per token and layer, at least",    \
        .offset = offsetof(struct router_args, min),        \
        .hi = { .k = (min_k), .n = (min_n) },               \
    },                                                      \
        {                                                   \
            .name = "max",                                  \
            .help = "experts per token and layer, at most", \
            .offset = offsetof(struct router_args, max),    \
            .lo = { .k = (max_k) },                         \
            .hi = { .n = 1 },                               \
            .def = { .n = 1 },                              \
        },                                                  \
    {                                                       \
        .name = NULL                                        \
    }

/* With bounds that hold K between them where the budget needs it. */
static const struct router_param params[][3] = {
    [BUDGET_EXACT] = { LUA_BOUNDS(1, 0, 1) },
    [BUDGET_AT_MOST] = { LUA_BOUNDS(1, 0, 0) },
    [BUDGET_ANY] = { LUA_BOUNDS(0, 1, 0) },
};

/* What a recipe says of a router. */
struct said {
    char *name;
    int scope, budget;
    bool function; // select is one
    struct recipe_value bounds[2];
};

static int read_name(lua_State *L, const struct lua_place *at, const struct field *f, void *member,
                     struct buf *err)
{
    char **name = member;
    struct field text = *f;
    text.type = FIELD_STRING;
    if (field_read_value(L, at, &text, name, err) != 0)
        return -1;
    if (recipe_check_name(at, *name, err) != 0)
        return -1;
    if (router_find(*name))
        return place_fail(at, f->name, err,
                          "\"%s\" is a router that there is; allowed is a name of its own", *name);
    return 0;
}

static int read_select(lua_State *L, const struct lua_place *at, const struct field *f,
                       void *member, struct buf *err)
{
    bool *function = member;
    *function = lua_isfunction(L, -1);
    if (!*function)
        return field_refuse(L, at, f, "a function(scores, T, N, K)", err);
    return 0;
}

static const struct field router_fields[] = {
    { .name = "name",
      .type = FIELD_OTHER,
      .read = read_name,
      .offset = offsetof(struct said, name),
      .required = true },
    { .name = "select",
      .type = FIELD_OTHER,
      .read = read_select,
      .offset = offsetof(struct said, function),
      .required = true },
    { .name = "scope",
      .type = FIELD_WORD,
      .offset = offsetof(struct said, scope),
      .words = scopes },
    { .name = "budget",
      .type = FIELD_WORD,
      .offset = offsetof(struct said, budget),
      .words = budgets },
    { .name = "min",
      .type = FIELD_OTHER,
      .read = recipe_param_read,
      .offset = offsetof(struct said, bounds[0].expr) },
    { .name = "max",
      .type = FIELD_OTHER,
      .read = recipe_param_read,
      .offset = offsetof(struct said, bounds[1].expr) },
    { .name = NULL },
};

/* Two routers of one name could not be told apart, in tables and when the text is run again. */
static int check_alone(lua_State *L, const struct lua_place *at, const char *name, struct buf *err)
{
    const struct made *self = made_top(L);
    int rc = 0;
    for (size_t n = 1; rc == 0 && made_push_router(L, n); n++) {
        const struct made *m = made_top(L);
        made_push_table(L);
        lua_pushstring(L, "name");
        lua_rawget(L, -2);
        if (m != self && lua_type(L, -1) == LUA_TSTRING && strcmp(lua_tostring(L, -1), name) == 0)
            rc = place_fail(at, "name", err,
                            "\"%s\" is the router of line %d too; allowed is a name of its own",
                            name, m->line);
        lua_pop(L, 3);
    }
    return rc;
}

static struct lua_router *all;
static pthread_mutex_t all_lock = PTHREAD_MUTEX_INITIALIZER;

static struct lua_router *new_router(const struct lua_place *at, const struct said *said)
{
    static const char help[] = "a router of the recipe";
    struct lua_router *r = xcalloc(1, sizeof(*r));
    r->router = (struct router){ .name = xstrdup(said->name),
                                 .help = help,
                                 .params = params[said->budget],
                                 .most = { .n = 1 },
                                 .scope = said->scope == LUA_TOKEN ? token_scope : sequence_scope,
                                 .select = lua_router_select };
    r->path = xstrdup(at->path);
    r->text = xstrdup(at->text);
    r->line = at->line;
    r->scope = said->scope;
    r->budget = (enum lua_budget)said->budget;
    pthread_mutex_init(&r->lock, NULL);
    struct hash *h = hash_new();
    hash_adds(h, r->text);
    hash_hex(h, r->hash);
    hash_free(h);
    return r;
}

/* The router, which is made where it has not been read before. */
static const struct router *find_or_make(const struct lua_place *at, const struct said *said)
{
    pthread_mutex_lock(&all_lock);
    struct lua_router *r = all;
    while (r && (strcmp(r->router.name, said->name) != 0 || strcmp(r->path, at->path) != 0 ||
                 strcmp(r->text, at->text) != 0))
        r = r->next;
    if (!r) {
        r = new_router(at, said);
        r->next = all;
        all = r;
    }
    pthread_mutex_unlock(&all_lock);
    return &r->router;
}

int lua_router_read(lua_State *L, const struct lua_place *at, struct recipe_router *r,
                    struct buf *err)
{
    struct said said = { 0 };
    *r = (struct recipe_router){ .at = made_place(at, made_top(L)) };
    made_push_table(L);
    int rc = fields_read(L, &r->at, router_fields, &said, err);
    lua_pop(L, 1);
    if (rc == 0)
        rc = check_alone(L, &r->at, said.name, err);
    if (rc == 0) {
        r->router = find_or_make(&r->at, &said);
        r->value = xcalloc(ARRAY_LEN(said.bounds), sizeof(*r->value));
        memcpy(r->value, said.bounds, sizeof(said.bounds));
    }
    free(said.name);
    return rc;
}

const struct lua_router *lua_router_from(const struct router *r)
{
    return r->select == lua_router_select ? (const struct lua_router *)r : NULL;
}

void lua_router_identify(const struct lua_router *r, struct buf *out)
{
    if (r)
        buf_addf(out, "scope %s\nbudget %s\nrecipe %s\n", scopes[r->scope], budgets[r->budget],
                 r->hash);
}
