/*
 * recipe_words.c: see recipe_words.h.
 */
#include "recipe/recipe_words.h"

#include <lauxlib.h>
#include <string.h>

static const char expr_type[] = "seqtopk expression", made_type[] = "seqtopk made",
                  lua_routers[] = "seqtopk routers";

static const struct {
    const char *name;
    enum made_kind kind;
} constructors[] = {
    { "sweep", MADE_SWEEP },       { "none", MADE_NONE },   { "sft", MADE_SFT },
    { "pretrain", MADE_PRETRAIN }, { "nll", MADE_NLL },     { "task", MADE_TASK },
    { "continue", MADE_CONTINUE }, { "speed", MADE_SPEED },
};

static void push_expr(lua_State *L, const struct expr *e)
{
    *(struct expr *)lua_newuserdatauv(L, sizeof(*e), 0) = *e;
    luaL_setmetatable(L, expr_type);
}

static struct expr to_expr(lua_State *L, int index)
{
    struct expr e = { 0 };
    const struct expr *given = luaL_testudata(L, index, expr_type);
    if (given)
        return *given;
    if (lua_type(L, index) != LUA_TNUMBER)
        luaL_error(L, "K and N go together with numbers, not with a %s", luaL_typename(L, index));
    if (expr_number(lua_tonumber(L, index), &e) != 0)
        luaL_error(L, "%f beside K and N is not exact; write a fraction, such as K / 10",
                   lua_tonumber(L, index));
    return e;
}

static int combine(lua_State *L)
{
    enum expr_op op = (enum expr_op)lua_tointeger(L, lua_upvalueindex(1));
    struct expr a = to_expr(L, 1), b = to_expr(L, 2), e;
    // For a unary minus Lua passes the operand twice.
    if (expr_combine(op, &a, op == EXPR_NEG ? NULL : &b, &e) != 0)
        return luaL_error(L, "an expression in K and N of more than %d steps", EXPR_STEPS);
    push_expr(L, &e);
    return 1;
}

static int no_value_yet(lua_State *L)
{
    return luaL_error(L, "K and N are symbols without a value yet: only + - * / // work on them");
}

static int expr_to_text(lua_State *L)
{
    struct buf text = BUF_INIT;
    expr_text(luaL_checkudata(L, 1, expr_type), &text);
    char short_text[200];
    size_t n = text.len < sizeof(short_text) - 1 ? text.len : sizeof(short_text) - 1;
    for (size_t i = 0; i < n; i++)
        short_text[i] = text.s[i];
    buf_release(&text); // before Lua may leave by an error
    lua_pushlstring(L, short_text, n);
    return 1;
}

static void add_expressions(struct lua_sandbox *s)
{
    static const struct {
        const char *event;
        enum expr_op op;
    } operators[] = {
        { "__add", EXPR_ADD }, { "__sub", EXPR_SUB },       { "__mul", EXPR_MUL },
        { "__div", EXPR_DIV }, { "__idiv", EXPR_FLOORDIV }, { "__unm", EXPR_NEG },
    };
    static const char *const refused[] = { "__mod",      "__pow",  "__concat", "__eq",
                                           "__lt",       "__le",   "__len",    "__index",
                                           "__newindex", "__call", "__band",   "__bor",
                                           "__bxor",     "__shl",  "__shr",    "__bnot" };
    lua_State *L = lua_sandbox_state(s);
    luaL_newmetatable(L, expr_type);
    for (size_t i = 0; i < ARRAY_LEN(operators); i++) {
        lua_pushinteger(L, operators[i].op);
        lua_pushcclosure(L, combine, 1);
        lua_setfield(L, -2, operators[i].event);
    }
    for (size_t i = 0; i < ARRAY_LEN(refused); i++) {
        lua_pushcfunction(L, no_value_yet);
        lua_setfield(L, -2, refused[i]);
    }
    lua_pushcfunction(L, expr_to_text);
    lua_setfield(L, -2, "__tostring");
    lua_pushstring(L, "an expression in K and N");
    lua_setfield(L, -2, "__name");
    lua_pop(L, 1);
    struct expr e = expr_symbol(EXPR_K);
    push_expr(L, &e);
    lua_sandbox_word(s, "K", true);
    e = expr_symbol(EXPR_N);
    push_expr(L, &e);
    lua_sandbox_word(s, "N", true);
}

/* Adds the value on top of the stack to the list of what router { ... } made. */
static void keep_router(lua_State *L)
{
    luaL_getsubtable(L, LUA_REGISTRYINDEX, lua_routers);
    lua_pushvalue(L, -2);
    lua_rawseti(L, -2, (lua_Integer)lua_rawlen(L, -2) + 1);
    lua_pop(L, 1);
}

bool made_push_router(lua_State *L, size_t n)
{
    lua_pushstring(L, lua_routers);
    if (lua_rawget(L, LUA_REGISTRYINDEX) == LUA_TTABLE) {
        lua_rawgeti(L, -1, (lua_Integer)n);
        lua_remove(L, -2);
    }
    if (made_top(L))
        return true;
    lua_pop(L, 1);
    return false;
}

/* A constructor. Upvalue: what it makes, as a template. */
static int construct(lua_State *L)
{
    const struct made *template = lua_touserdata(L, lua_upvalueindex(1));
    int n = lua_gettop(L);
    if (n > 1 || (n == 1 && lua_type(L, 1) != LUA_TTABLE))
        return luaL_error(L, "%s takes one table: %s { ... }", template->word, template->word);
    struct made *m = lua_newuserdatauv(L, sizeof(*m), 1);
    *m = *template;
    m->line = 1;
    lua_Debug ar;
    if (lua_getstack(L, 1, &ar) && lua_getinfo(L, "l", &ar) && ar.currentline > 0)
        m->line = ar.currentline;
    luaL_setmetatable(L, made_type);
    lua_newtable(L); // a copy: the caller may go on to change its own
    if (n == 1) {
        for (lua_pushnil(L); lua_next(L, 1);) {
            lua_pushvalue(L, -2);
            lua_insert(L, -2);
            lua_rawset(L, -4);
        }
    }
    lua_setiuservalue(L, -2, 1);
    if (m->kind == MADE_ROUTER && !m->router)
        keep_router(L);
    return 1;
}

static void add_constructor(struct lua_sandbox *s, struct made template)
{
    lua_State *L = lua_sandbox_state(s);
    *(struct made *)lua_newuserdatauv(L, sizeof(template), 0) = template;
    lua_pushcclosure(L, construct, 1);
    lua_sandbox_word(s, template.word, true);
}

void recipe_words_add(struct lua_sandbox *s)
{
    lua_State *L = lua_sandbox_state(s);
    luaL_newmetatable(L, made_type);
    lua_pushstring(L, "what a constructor made");
    lua_setfield(L, -2, "__name");
    lua_pop(L, 1);
    for (const struct router *const *r = routers; *r; r++)
        add_constructor(s, (struct made){ MADE_ROUTER, 0, *r, (*r)->name });
    add_constructor(s, (struct made){ MADE_ROUTER, 0, NULL, "router" });
    for (size_t i = 0; i < ARRAY_LEN(constructors); i++)
        add_constructor(s, (struct made){ constructors[i].kind, 0, NULL, constructors[i].name });
    add_expressions(s);
}

/* options.KEY. Upvalue: a table of what was said. */
static int say_option(lua_State *L)
{
    const char *key = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : "?";
    const char *const known[] = { "model", "device", "dtype", "limit" };
    for (size_t i = 0; i < ARRAY_LEN(known); i++)
        if (strcmp(key, known[i]) == 0) {
            lua_getfield(L, lua_upvalueindex(1), key);
            return 1;
        }
    return luaL_error(L, "options has model, device, dtype and limit, and no '%s'", key);
}

static int keep_options(lua_State *L)
{
    return luaL_error(L, "options has what the command line said; it cannot be changed");
}

static void set_text(lua_State *L, const char *key, const char *value)
{
    if (!value)
        return;
    lua_pushstring(L, value);
    lua_setfield(L, -2, key);
}

/* A path without its folders, and without slashes at its end. */
static void last_part(const char *path, struct buf *out)
{
    size_t end = path ? strlen(path) : 0, from;
    while (end > 1 && path[end - 1] == '/')
        end--;
    for (from = end; from > 0 && path[from - 1] != '/'; from--)
        ;
    buf_add(out, path ? path + from : "", end - from);
}

void recipe_words_options(struct lua_sandbox *s, const struct sweep_options *o)
{
    lua_State *L = lua_sandbox_state(s);
    struct buf model = BUF_INIT;
    lua_newtable(L);
    lua_newtable(L); // its metatable
    lua_newtable(L);
    if (o) {
        last_part(o->model, &model);
        set_text(L, "model", o->model ? model.s : NULL);
        set_text(L, "device", o->device);
        set_text(L, "dtype", o->dtype);
    }
    if (o && o->limit) {
        lua_pushinteger(L, o->limit);
        lua_setfield(L, -2, "limit");
    }
    lua_pushcclosure(L, say_option, 1);
    lua_setfield(L, -2, "__index");
    lua_pushcfunction(L, keep_options);
    lua_setfield(L, -2, "__newindex");
    lua_setmetatable(L, -2);
    lua_sandbox_word(s, "options", true);
    buf_release(&model);
}

const struct made *made_top(lua_State *L)
{
    return luaL_testudata(L, -1, made_type);
}

const struct expr *expr_top(lua_State *L)
{
    return luaL_testudata(L, -1, expr_type);
}

void made_push_table(lua_State *L)
{
    lua_getiuservalue(L, -1, 1);
}

struct lua_place made_place(const struct lua_place *at, const struct made *m)
{
    return (struct lua_place){ at->path, at->text, m->line, m->word, NULL };
}
