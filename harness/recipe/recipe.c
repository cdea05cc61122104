/*
 * recipe.c: see recipe.h. Each constructor has a field table here; a router's is made from the
 * router's own parameters.
 */
#include "recipe/recipe.h"
#include "recipe/lua_router.h"
#include "recipe/recipe_pretrain.h"
#include "recipe/recipe_tasks.h"
#include "recipe/recipe_words.h"

#include <string.h>

enum { NAME_MAX_LEN = 64 };

/* A router's parameter that is not real: a word of its list, a whole number, or an expression. */
int recipe_param_read(lua_State *L, const struct lua_place *at, const struct field *f, void *member,
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
        return field_refuse(L, at, f, "a whole number or an expression in K and N", err);
    return 0;
}

static int add_layer(lua_State *L, const struct lua_place *at, const struct field *f, void *member,
                     struct buf *err)
{
    struct recipe_value *value = member;
    ARRAY_GROW(value->layers, value->layers_cap, value->nlayers + 1);
    value->layers[value->nlayers] = (struct expr){ 0 };
    return recipe_param_read(L, at, f, &value->layers[value->nlayers++], err);
}

/* One bound for all layers, or a list of one for each. member: the struct recipe_value */
static int read_bound(lua_State *L, const struct lua_place *at, const struct field *f, void *member,
                      struct buf *err)
{
    struct recipe_value *value = member;
    if (lua_type(L, -1) == LUA_TTABLE)
        return list_read(L, at, f, member, add_layer, err);
    return recipe_param_read(L, at, f, &value->expr, err);
}

/* The field of the i-th parameter, read into an array of struct recipe_value. */
static struct field param_field(const struct router_param *p, size_t i)
{
    size_t at = i * sizeof(struct recipe_value);
    if (p->real)
        return (struct field){ .name = p->name,
                               .type = FIELD_NUMBER,
                               .offset = at + offsetof(struct recipe_value, real),
                               .lo = p->lo.c,
                               .hi = p->hi.c,
                               .above = true };
    if (p->by_layer)
        return (
            struct field){ .name = p->name, .type = FIELD_OTHER, .offset = at, .read = read_bound };
    return (struct field){ .name = p->name,
                           .type = FIELD_OTHER,
                           .offset = at + offsetof(struct recipe_value, expr),
                           .words = p->choices,
                           .read = recipe_param_read };
}

int recipe_router_read(lua_State *L, const struct lua_place *at, struct recipe_router *r,
                       struct buf *err)
{
    const struct made *m = made_top(L);
    size_t n = 0;
    if (!m->router)
        return lua_router_read(L, at, r, err);
    *r = (struct recipe_router){ .router = m->router, .at = made_place(at, m) };
    while (r->router->params[n].name)
        n++;
    struct field *fields = xcalloc(n + 1, sizeof(*fields));
    r->value = xcalloc(n, sizeof(*r->value));
    for (size_t i = 0; i < n; i++) {
        fields[i] = param_field(&r->router->params[i], i);
        r->value[i].real = r->router->params[i].real_def;
    }
    made_push_table(L);
    int rc = fields_read(L, &r->at, fields, r->value, err);
    lua_pop(L, 1);
    free(fields);
    return rc;
}

void recipe_router_release(struct recipe_router *r)
{
    for (size_t i = 0; r->value && r->router && r->router->params[i].name; i++)
        free(r->value[i].layers);
    free(r->value);
    r->value = NULL;
}

static int add_router(lua_State *L, const struct lua_place *at, const struct field *f, void *member,
                      struct buf *err)
{
    struct recipe *recipe = member;
    const struct made *m = made_top(L);
    if (!m || m->kind != MADE_ROUTER)
        return field_refuse(L, at, f, "a router, such as topk() or seqtopk { max = K + 2 }", err);
    ARRAY_GROW(recipe->routers, recipe->routers_cap, recipe->nrouters + 1);
    return recipe_router_read(L, at, &recipe->routers[recipe->nrouters++], err);
}

static int read_routers(lua_State *L, const struct lua_place *at, const struct field *f,
                        void *member, struct buf *err)
{
    return list_read(L, at, f, member, add_router, err);
}

int recipe_add_train(lua_State *L, const struct lua_place *at, const struct field *f, void *member,
                     struct buf *err)
{
    struct recipe *recipe = member;
    ARRAY_GROW(recipe->trains, recipe->trains_cap, recipe->ntrains + 1);
    return recipe_train_read(L, at, f, &recipe->trains[recipe->ntrains++], err);
}

static int read_train(lua_State *L, const struct lua_place *at, const struct field *f, void *member,
                      struct buf *err)
{
    struct recipe *recipe = member;
    recipe->ntrains = 0; // none() stood there
    int rc = list_read(L, at, f, recipe, recipe_add_train, err);
    recipe->own_trains = recipe->ntrains;
    return rc;
}

static int add_overlap(lua_State *L, const struct lua_place *at, const struct field *f,
                       void *member, struct buf *err)
{
    struct recipe *recipe = member;
    const struct made *m = made_top(L);
    if (!m || m->kind != MADE_ROUTER || !m->router)
        return field_refuse(L, at, f, "a router of `seqtopk list`, such as topk()", err);
    ARRAY_GROW(recipe->overlap, recipe->overlap_cap, recipe->noverlap + 1);
    return recipe_router_read(L, at, &recipe->overlap[recipe->noverlap++], err);
}

static int read_overlap(lua_State *L, const struct lua_place *at, const struct field *f,
                        void *member, struct buf *err)
{
    return list_read(L, at, f, member, add_overlap, err);
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
        { .name = "expert_entropy",
          .type = FIELD_FLAG,
          .offset = offsetof(struct recipe, log_expert_entropy) },
        { .name = "overlap", .type = FIELD_OTHER, .read = read_overlap },
        { .name = NULL },
    };
    if (lua_type(L, -1) != LUA_TTABLE)
        return field_refuse(L, at, f, "{ tokens = \"all\" } or { tokens = \"none\" }", err);
    struct lua_place place = place_inside(at, f->name, 0, f->name);
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
    { .name = "tasks", .type = FIELD_OTHER, .read = recipe_read_tasks, .required = true },
    { .name = "seeds",
      .type = FIELD_WHOLES,
      .offset = offsetof(struct recipe, seeds),
      .lo = 0,
      .hi = INT64_C(1) << 53 },
    { .name = "log", .type = FIELD_OTHER, .read = read_log },
    { .name = "judge", .type = FIELD_OTHER, .read = recipe_read_judge },
    { .name = "device", .type = FIELD_STRING, .offset = offsetof(struct recipe, device) },
    { .name = "dtype", .type = FIELD_STRING, .offset = offsetof(struct recipe, dtype) },
    { .name = "limit",
      .type = FIELD_WHOLE,
      .offset = offsetof(struct recipe, limit),
      .lo = 1,
      .hi = INT32_MAX },
    { .name = NULL },
};

int recipe_check_name(const struct lua_place *at, const char *name, struct buf *err)
{
    size_t plain = strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                "0123456789-_");
    if (name[plain] || plain > NAME_MAX_LEN)
        return place_fail(at, "name", err,
                          "\"%.80s\"; allowed are letters, digits, - and _, at most %d of them",
                          name, NAME_MAX_LEN);
    return 0;
}

static int read_sweep(lua_State *L, struct recipe *r, struct buf *err)
{
    r->trains = xcalloc(1, sizeof(*r->trains));
    r->own_trains = r->ntrains = r->trains_cap = 1;
    if (fields_read(L, &r->at, sweep_fields, r, err) != 0)
        return -1;
    return recipe_check_name(&r->at, r->name, err);
}

/* What the recipe returned, on top of the stack. */
static int read_recipe(lua_State *L, struct recipe *r, struct buf *err)
{
    const struct made *m = made_top(L);
    if (!m || (m->kind != MADE_SWEEP && m->kind != MADE_PRETRAIN)) {
        struct buf is = BUF_INIT;
        value_describe(L, &is);
        fail(err,
             "%s: the recipe returns %s; it must end in: return sweep { ... }, or "
             "in: return pretrain { ... }",
             r->path, lua_isnil(L, -1) ? "nothing" : is.s);
        buf_release(&is);
        return -1;
    }
    r->at = (struct lua_place){ r->path, r->text.s, m->line, m->word, NULL };
    made_push_table(L);
    if (m->kind == MADE_SWEEP)
        return read_sweep(L, r, err);
    r->pretrain = xcalloc(1, sizeof(*r->pretrain));
    return recipe_pretrain_read(L, &r->at, r->pretrain, err);
}

struct recipe *recipe_open(const char *path, const struct sweep_options *o, struct buf *err)
{
    struct lua_sandbox *s = lua_sandbox_open(path, &lua_limits_default, err);
    if (!s)
        return NULL;
    struct recipe *r = xcalloc(1, sizeof(*r));
    r->path = xstrdup(path);
    buf_init(&r->text);
    buf_adds(&r->text, lua_sandbox_text(s));
    recipe_words_add(s);
    recipe_words_options(s, o);
    int rc = lua_sandbox_run(s, err);
    if (rc == 0)
        rc = read_recipe(lua_sandbox_state(s), r, err);
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
        recipe_router_release(&r->routers[i]);
    for (size_t i = 0; i < r->noverlap; i++)
        recipe_router_release(&r->overlap[i]);
    for (size_t i = 0; i < r->ntrains; i++)
        recipe_train_release(&r->trains[i]);
    if (r->pretrain)
        recipe_pretrain_release(r->pretrain);
    for (size_t i = 0; i < r->ntasks; i++) {
        free(r->tasks[i].name);
        free(r->tasks[i].file);
        free(r->tasks[i].text);
        free(r->tasks[i].label);
    }
    judge_spec_release(&r->judge);
    strings_release(&r->models);
    buf_release(&r->text);
    free(r->pretrain);
    free(r->routers);
    free(r->overlap);
    free(r->trains);
    free(r->tasks);
    free(r->K.v);
    free(r->seeds.v);
    free(r->path);
    free(r->name);
    free(r->device);
    free(r->dtype);
    free(r);
}
