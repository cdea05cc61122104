/*
 * recipe.c: see recipe.h. Each constructor has a field table here; a router's is made from the
 * router's own parameters.
 */
#include "recipe/recipe.h"
#include "recipe/recipe_words.h"

#include <string.h>

enum { NAME_MAX_LEN = 64 };

/* What every kind of task may say of its documents. */
#define HOW_MUCH_FIELDS                                                                          \
    { .name = "limit",                                                                           \
      .type = FIELD_WHOLE,                                                                       \
      .offset = offsetof(struct recipe_task, limit),                                             \
      .lo = 1,                                                                                   \
      .hi = INT32_MAX },                                                                         \
    {                                                                                            \
        .name = "truncate", .type = FIELD_FLAG, .offset = offsetof(struct recipe_task, truncate) \
    }

static const struct field nll_fields[] = {
    { .name = "file",
      .type = FIELD_STRING,
      .offset = offsetof(struct recipe_task, file),
      .required = true },
    { .name = "field", .type = FIELD_STRING, .offset = offsetof(struct recipe_task, text) },
    HOW_MUCH_FIELDS,
    { .name = NULL },
};

static const struct field task_fields[] = {
    { .name = "[1]",
      .type = FIELD_STRING,
      .offset = offsetof(struct recipe_task, name),
      .required = true },
    { .name = "file", .type = FIELD_STRING, .offset = offsetof(struct recipe_task, file) },
    HOW_MUCH_FIELDS,
    { .name = NULL },
};

static int refuse_element(lua_State *L, const struct lua_place *at, const struct field *f,
                          const char *allowed, struct buf *err)
{
    struct buf is = BUF_INIT;
    value_describe(L, &is);
    place_fail(at, f->name, err, "%s; allowed is %s", is.s, allowed);
    buf_release(&is);
    return -1;
}

/* A router's parameter: a word of its list, a whole number, or an expression. */
static int read_param(lua_State *L, const struct lua_place *at, const struct field *f, void *member,
                      struct buf *err)
{
    struct expr *value = member;
    if (f->words) {
        struct field word = *f;
        word.type = FIELD_WORD;
        int index;
        if (field_read_value(L, at, &word, &index, err) != 0)
            return -1;
        *value = expr_whole(index);
        return 0;
    }
    const struct expr *e = expr_top(L);
    int is_whole = 0;
    lua_Integer number = 0;
    if (lua_type(L, -1) == LUA_TNUMBER)
        number = lua_tointegerx(L, -1, &is_whole);
    if (e)
        *value = *e;
    else if (is_whole && number > INT32_MIN && number <= INT32_MAX)
        *value = expr_whole((int32_t)number);
    else
        return refuse_element(L, at, f, "a whole number or an expression in K and N", err);
    return 0;
}

/* Reads the parameters of the router on top of the stack. */
static int read_router_params(lua_State *L, struct recipe_router *r, struct buf *err)
{
    size_t n = 0;
    while (r->router->params[n].name)
        n++;
    struct field *fields = xcalloc(n + 1, sizeof(*fields));
    r->value = xcalloc(n, sizeof(*r->value));
    for (size_t i = 0; i < n; i++)
        fields[i] = (struct field){ .name = r->router->params[i].name,
                                    .type = FIELD_OTHER,
                                    .offset = i * sizeof(*r->value),
                                    .words = r->router->params[i].choices,
                                    .read = read_param };
    made_push_table(L);
    int rc = fields_read(L, &r->at, fields, r->value, err);
    lua_pop(L, 1);
    free(fields);
    return rc;
}

/* The place of what stands on top of the stack, in the file of `at`. */
static struct lua_place place_of(const struct lua_place *at, const struct made *m)
{
    return (struct lua_place){ at->path, at->text, m->line, m->word };
}

static int add_router(lua_State *L, const struct lua_place *at, const struct field *f, void *member,
                      struct buf *err)
{
    struct recipe *recipe = member;
    const struct made *m = made_top(L);
    if (!m || m->kind != MADE_ROUTER)
        return refuse_element(L, at, f, "a router, such as topk() or seqtopk { max = K + 2 }", err);
    ARRAY_GROW(recipe->routers, recipe->routers_cap, recipe->nrouters + 1);
    struct recipe_router *r = &recipe->routers[recipe->nrouters++];
    *r = (struct recipe_router){ .router = m->router, .at = place_of(at, m) };
    return read_router_params(L, r, err);
}

static int read_routers(lua_State *L, const struct lua_place *at, const struct field *f,
                        void *member, struct buf *err)
{
    return list_read(L, at, f, member, add_router, err);
}

static int add_train(lua_State *L, const struct lua_place *at, const struct field *f, void *member,
                     struct buf *err)
{
    static const struct field none_fields[] = { { .name = NULL } };
    const struct made *m = made_top(L);
    if (!m || m->kind != MADE_NONE)
        return refuse_element(L, at, f, "none()", err);
    struct lua_place place = place_of(at, m);
    made_push_table(L);
    int rc = fields_read(L, &place, none_fields, member, err);
    lua_pop(L, 1);
    return rc;
}

static int read_train(lua_State *L, const struct lua_place *at, const struct field *f, void *member,
                      struct buf *err)
{
    return list_read(L, at, f, member, add_train, err);
}

static int add_task(lua_State *L, const struct lua_place *at, const struct field *f, void *member,
                    struct buf *err)
{
    struct recipe *recipe = member;
    const struct made *m = made_top(L);
    bool named = lua_type(L, -1) == LUA_TSTRING;
    if (!named && (!m || (m->kind != MADE_NLL && m->kind != MADE_TASK)))
        return refuse_element(L, at, f,
                              "the name of a task, such as \"gsm8k/nll\", task { ... } or "
                              "nll { file = ... }",
                              err);
    ARRAY_GROW(recipe->tasks, recipe->tasks_cap, recipe->ntasks + 1);
    struct recipe_task *t = &recipe->tasks[recipe->ntasks++];
    *t = (struct recipe_task){ .at = named ? *at : place_of(at, m) };
    if (named) {
        struct field name = { .name = f->name, .type = FIELD_STRING };
        return field_read_value(L, at, &name, &t->name, err);
    }
    if (m->kind == MADE_NLL)
        t->text = xstrdup("text");
    made_push_table(L);
    int rc = fields_read(L, &t->at, m->kind == MADE_NLL ? nll_fields : task_fields, t, err);
    lua_pop(L, 1);
    return rc;
}

static int read_tasks(lua_State *L, const struct lua_place *at, const struct field *f, void *member,
                      struct buf *err)
{
    return list_read(L, at, f, member, add_task, err);
}

static int read_log(lua_State *L, const struct lua_place *at, const struct field *f, void *member,
                    struct buf *err)
{
    static const char *const words[] = { [LOG_ALL] = "all", [LOG_NONE] = "none", NULL };
    static const struct field log_fields[] = {
        { .name = "tokens",
          .type = FIELD_WORD,
          .offset = offsetof(struct recipe, log_tokens),
          .words = words },
        { .name = NULL },
    };
    if (lua_type(L, -1) != LUA_TTABLE)
        return refuse_element(L, at, f, "{ tokens = \"all\" } or { tokens = \"none\" }", err);
    struct lua_place place = *at;
    place.word = f->name;
    place.line = place_line(at, f->name);
    return fields_read(L, &place, log_fields, member, err);
}

/* In the order in which they are read, which is the order of complaints. */
static const struct field sweep_fields[] = {
    { .name = "name",
      .type = FIELD_STRING,
      .offset = offsetof(struct recipe, name),
      .required = true },
    { .name = "models", .type = FIELD_STRINGS, .offset = offsetof(struct recipe, models) },
    { .name = "K",
      .type = FIELD_WHOLES,
      .offset = offsetof(struct recipe, K),
      .required = true,
      .lo = 1,
      .hi = 65535 },
    { .name = "routers", .type = FIELD_OTHER, .read = read_routers, .required = true },
    { .name = "train", .type = FIELD_OTHER, .read = read_train },
    { .name = "tasks", .type = FIELD_OTHER, .read = read_tasks, .required = true },
    { .name = "seeds",
      .type = FIELD_WHOLES,
      .offset = offsetof(struct recipe, seeds),
      .lo = 0,
      .hi = INT64_C(1) << 53 },
    { .name = "log", .type = FIELD_OTHER, .read = read_log },
    { .name = "device", .type = FIELD_STRING, .offset = offsetof(struct recipe, device) },
    { .name = "dtype", .type = FIELD_STRING, .offset = offsetof(struct recipe, dtype) },
    { .name = "limit",
      .type = FIELD_WHOLE,
      .offset = offsetof(struct recipe, limit),
      .lo = 1,
      .hi = INT32_MAX },
    { .name = NULL },
};

static int read_sweep(lua_State *L, struct recipe *r, struct buf *err)
{
    const struct made *m = made_top(L);
    if (!m || m->kind != MADE_SWEEP) {
        struct buf is = BUF_INIT;
        value_describe(L, &is);
        fail(err, "%s: the recipe returns %s; it must end in: return sweep { ... }", r->path,
             lua_isnil(L, -1) ? "nothing" : is.s);
        buf_release(&is);
        return -1;
    }
    r->at = (struct lua_place){ r->path, r->text.s, m->line, m->word };
    made_push_table(L);
    if (fields_read(L, &r->at, sweep_fields, r, err) != 0)
        return -1;
    size_t plain = strspn(r->name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                   "0123456789-_");
    if (r->name[plain] || plain > NAME_MAX_LEN)
        return place_fail(&r->at, "name", err,
                          "\"%.80s\"; allowed are letters, digits, - and _, at most %d of them",
                          r->name, NAME_MAX_LEN);
    return 0;
}

struct recipe *recipe_open(const char *path, struct buf *err)
{
    struct lua_sandbox *s = lua_sandbox_open(path, &lua_limits_default, err);
    if (!s)
        return NULL;
    struct recipe *r = xcalloc(1, sizeof(*r));
    r->path = xstrdup(path);
    buf_init(&r->text);
    buf_adds(&r->text, lua_sandbox_text(s));
    recipe_words_add(s);
    int rc = lua_sandbox_run(s, err);
    if (rc == 0)
        rc = read_sweep(lua_sandbox_state(s), r, err);
    lua_sandbox_close(s);
    if (rc == 0)
        return r;
    recipe_free(r);
    return NULL;
}

void recipe_free(struct recipe *r)
{
    if (!r)
        return;
    for (size_t i = 0; i < r->nrouters; i++)
        free(r->routers[i].value);
    for (size_t i = 0; i < r->ntasks; i++) {
        free(r->tasks[i].name);
        free(r->tasks[i].file);
        free(r->tasks[i].text);
    }
    strings_release(&r->models);
    buf_release(&r->text);
    free(r->routers);
    free(r->tasks);
    free(r->K.v);
    free(r->seeds.v);
    free(r->path);
    free(r->name);
    free(r->device);
    free(r->dtype);
    free(r);
}
