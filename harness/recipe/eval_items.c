/*
 * eval_items.c: see eval_items.h.
 */
#include "recipe/eval_items.h"
#include "recipe/lua_sandbox.h"

#include <jansson.h>
#include <pthread.h>
#include <string.h>

/* Twenty thousand problems of a few steps take a third of this. */
static const struct lua_limits call_limits = { 300000000, (size_t)256 << 20, 30.0 };

/* What is being made, for messages. */
struct making {
    const struct eval *eval;
    const char *split;
    int count;
    lua_Integer item; /* from 1 */
    struct buf *err;
};

PRINTF(2, 3)
static int refuse(const struct making *m, const char *fmt, ...)
{
    struct buf what = BUF_INIT;
    va_list ap;
    va_start(ap, fmt);
    buf_vaddf(&what, fmt, ap);
    va_end(ap);
    fail(m->err, "%s: items(\"%s\", %d) returns %s", m->eval->path, m->split, m->count, what.s);
    buf_release(&what);
    return -1;
}

/* The text of the value on top of the stack, which is a string; NULL: it cannot be in JSON. */
static const char *text_of(lua_State *L)
{
    size_t len;
    const char *s = lua_tolstring(L, -1, &len);
    return strlen(s) == len && utf8_valid(s, len) == len ? s : NULL;
}

/* How many elements the list on top of the stack has; -1: it is none. */
static lua_Integer list_length(lua_State *L)
{
    lua_Unsigned len = lua_rawlen(L, -1), seen = 0;
    for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1), seen++) {
        if (lua_isinteger(L, -2))
            continue;
        lua_pop(L, 2);
        return -1;
    }
    return seen == len && len <= INT32_MAX ? (lua_Integer)len : -1;
}

/* The value on top of the stack; NULL: it is nothing that a field may be. */
static json_t *plain_value(lua_State *L)
{
    const char *text;
    switch (lua_type(L, -1)) {
    case LUA_TSTRING:
        text = text_of(L);
        return text ? json_string_nocheck(text) : NULL;
    case LUA_TNUMBER:
        return lua_isinteger(L, -1) ? json_integer(lua_tointeger(L, -1)) : NULL;
    case LUA_TBOOLEAN:
        return json_boolean(lua_toboolean(L, -1));
    default:
        return NULL;
    }
}

static json_t *list_value(lua_State *L)
{
    lua_Integer len = list_length(L);
    json_t *list = len >= 0 ? json_array() : NULL;
    for (lua_Integer i = 1; list && i <= len; i++) {
        lua_rawgeti(L, -1, i);
        json_t *value = plain_value(L);
        lua_pop(L, 1);
        if (!value || json_array_append_new(list, value) != 0) {
            json_decref(list);
            list = NULL;
        }
    }
    return list;
}

/* Puts the field whose name and value are on top of the stack into `object`. */
static int add_field(struct making *m, lua_State *L, json_t *object)
{
    const char *name = NULL;
    if (lua_type(L, -2) == LUA_TSTRING) {
        lua_pushvalue(L, -2);
        name = text_of(L); // the table keeps it
        lua_pop(L, 1);
    }
    if (!name || !*name)
        return refuse(m, "item %lld with a field that has no name in UTF-8", (long long)m->item);
    json_t *value = lua_istable(L, -1) ? list_value(L) : plain_value(L);
    if (value && json_object_set_new_nocheck(object, name, value) == 0)
        return 0;
    struct buf is = BUF_INIT;
    if (lua_type(L, -1) == LUA_TNUMBER)
        buf_adds(&is, "a number with a point");
    else
        value_describe(L, &is);
    refuse(m,
           "item %lld with '%.80s' that is %s; allowed are a text in UTF-8, a whole number, true, "
           "false and a list of these",
           (long long)m->item, name, is.s);
    buf_release(&is);
    return -1;
}

/* The item on top of the stack as a line. */
static int add_line(struct making *m, lua_State *L, struct buf *lines)
{
    if (!lua_istable(L, -1))
        return refuse(m, "item %lld that is no table { field = value }", (long long)m->item);
    json_t *object = json_object();
    int rc = 0;
    for (lua_pushnil(L); rc == 0 && lua_next(L, -2); lua_pop(L, 1))
        rc = add_field(m, L, object);
    if (rc == 0) {
        char *line = json_dumps(object, JSON_COMPACT | JSON_SORT_KEYS);
        buf_adds(lines, line);
        buf_addc(lines, '\n');
        free(line);
    }
    json_decref(object);
    return rc;
}

/* The list on top of the stack as lines. */
static int add_lines(struct making *m, lua_State *L, struct buf *lines)
{
    lua_Integer len = lua_istable(L, -1) ? list_length(L) : -1;
    if (len < 0)
        return refuse(m, "no list { { field = value }, ... }");
    if (len != m->count)
        return refuse(m, "%lld items", (long long)len);
    for (m->item = 1; m->item <= len; m->item++) {
        lua_rawgeti(L, -1, m->item);
        if (add_line(m, L, lines) != 0)
            return -1;
        lua_pop(L, 1);
    }
    return 0;
}

/* Runs the eval's file anew, and then its function. */
static int make_items(struct making *m, struct buf *lines)
{
    const struct eval *e = m->eval;
    struct lua_sandbox *s =
        lua_sandbox_open_text(e->path, e->generated.code, &lua_limits_default, m->err);
    if (!s)
        return -1;
    lua_State *L = lua_sandbox_state(s);
    int rc = lua_sandbox_run(s, m->err);
    if (rc == 0) {
        // eval_open() has seen that the file returns these tables with a function in them.
        lua_pushstring(L, "generated");
        lua_rawget(L, -2);
        lua_pushstring(L, "items");
        lua_rawget(L, -2);
        lua_pushstring(L, m->split);
        lua_pushinteger(L, m->count);
        rc = lua_sandbox_call(s, 2, &call_limits, m->err);
    }
    if (rc == 0)
        rc = add_lines(m, L, lines);
    lua_sandbox_close(s);
    return rc;
}

/* What was made: until the program ends. */
struct made {
    char *code;
    bool train;
    struct buf lines;
    struct made *next;
};

static struct made *made;
static pthread_mutex_t made_lock = PTHREAD_MUTEX_INITIALIZER;

static int make_once(const struct eval *e, bool train, struct buf *lines, struct buf *err)
{
    struct making m = { .eval = e,
                        .split = train ? "train" : "test",
                        .count = train ? e->generated.train : e->generated.test,
                        .err = err };
    struct made *found = made;
    while (found && (found->train != train || strcmp(found->code, e->generated.code) != 0))
        found = found->next;
    if (!found) {
        struct buf text = BUF_INIT;
        if (make_items(&m, &text) != 0) {
            buf_release(&text);
            return -1;
        }
        found = xcalloc(1, sizeof(*found));
        *found = (struct made){ xstrdup(e->generated.code), train, text, made };
        made = found;
    }
    buf_add(lines, found->lines.s, found->lines.len);
    return 0;
}

int eval_items(const struct eval *e, bool train, struct buf *lines, struct buf *err)
{
    if ((train ? e->generated.train : e->generated.test) == 0)
        BUG("%s generates no such items", e->path);
    pthread_mutex_lock(&made_lock);
    int rc = make_once(e, train, lines, err);
    pthread_mutex_unlock(&made_lock);
    return rc;
}
