/*
 * lua_library.c: see lua_library.h. Lua's own libraries are opened, and everything that is not on
 * the lists here is removed from them, also from the table behind ("text"):method().
 */
#include "recipe/lua_library.h"

#include <lauxlib.h>
#include <lualib.h>
#include <stdio.h>
#include <string.h>

enum {
    LIST_MAX = 1000000,   /* elements of a table that sort, insert and remove work on */
    STRING_MAX = 64 << 20 /* bytes that string.rep makes */
};

/* One library: its name ("" for the base functions) and what stays of it. */
struct allowed {
    const char *library;
    lua_CFunction open;
    const char *const *names;
};

static const char *const base_names[] = { "assert", "error",    "ipairs",   "next", "pairs",
                                          "select", "tonumber", "tostring", "type", NULL };
static const char *const string_names[] = { "byte", "char",    "format", "len",   "lower",
                                            "rep",  "reverse", "sub",    "upper", NULL };
static const char *const table_names[] = { "concat", "insert", "pack", "remove",
                                           "sort",   "unpack", NULL };
static const char *const math_names[] = { "abs",        "ceil", "exp", "floor",      "fmod",
                                          "huge",       "log",  "max", "maxinteger", "min",
                                          "mininteger", "modf", "pi",  "sqrt",       "tointeger",
                                          "type",       "ult",  NULL };

static const struct allowed libraries[] = {
    { "", luaopen_base, base_names },
    { "string", luaopen_string, string_names },
    { "table", luaopen_table, table_names },
    { "math", luaopen_math, math_names },
};

static const char *const absent[] = {
    "collectgarbage", "coroutine",  "debug",   "dofile",       "getmetatable", "io",       "load",
    "loadfile",       "loadstring", "os",      "package",      "pcall",        "rawequal", "rawget",
    "rawlen",         "rawset",     "require", "setmetatable", "utf8",         "xpcall",   "_G",
    "_VERSION",       NULL
};

static bool among(const char *const *names, const char *name)
{
    for (; *names; names++)
        if (strcmp(*names, name) == 0)
            return true;
    return false;
}

enum { PRINT_MAX = 65536 };

/* For looking at a value while a recipe is written: not for pouring out text without end. */
static int print_to_stderr(lua_State *L)
{
    int n = lua_gettop(L);
    lua_Integer printed = lua_tointeger(L, lua_upvalueindex(1));
    for (int i = 1; i <= n; i++) {
        size_t len;
        const char *text = luaL_tolstring(L, i, &len);
        if (i > 1)
            fputc('\t', stderr);
        printed += (lua_Integer)len;
        if (printed > PRINT_MAX)
            return luaL_error(L, "it prints more than the %d bytes that a file may", PRINT_MAX);
        for (size_t c = 0; c < len; c++)
            fputc((unsigned char)text[c] < ' ' || text[c] == 127 ? '?' : text[c], stderr);
        lua_pop(L, 1);
    }
    fputc('\n', stderr);
    lua_pushinteger(L, printed + 1);
    lua_replace(L, lua_upvalueindex(1));
    return 0;
}

/* Calls the function in the first upvalue with the same arguments. */
static int pass_on(lua_State *L)
{
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_insert(L, 1);
    lua_call(L, lua_gettop(L) - 1, LUA_MULTRET);
    return lua_gettop(L);
}

/* A table can pretend to a length of 2^62, over which these functions would go one by one. */
static int short_lists_only(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    if (lua_rawlen(L, 1) > LIST_MAX)
        return luaL_argerror(L, 1, "more than a million elements");
    return pass_on(L);
}

/* Repeating nothing a billion times would never end. */
static int bounded_rep(lua_State *L)
{
    size_t len, sep;
    luaL_checklstring(L, 1, &len);
    lua_Integer n = luaL_checkinteger(L, 2);
    luaL_optlstring(L, 3, "", &sep);
    size_t bytes;
    if (n > 0 && (__builtin_mul_overflow(len + sep + 1, (size_t)n, &bytes) || bytes > STRING_MAX))
        return luaL_argerror(L, 2, "too large");
    return pass_on(L);
}

static void wrap(lua_State *L, const char *name, lua_CFunction wrapper)
{
    lua_getfield(L, -1, name);
    lua_pushcclosure(L, wrapper, 1);
    lua_setfield(L, -2, name);
}

/* Leaves the allowed part of a library on the stack. */
static void open_library(lua_State *L, const struct allowed *a)
{
    lua_pushcfunction(L, a->open);
    lua_pushstring(L, a->library);
    lua_call(L, 1, 1);
    for (lua_pushnil(L); lua_next(L, -2);) {
        lua_pop(L, 1);
        if (!among(a->names, lua_tostring(L, -1))) {
            lua_pushvalue(L, -1);
            lua_pushnil(L);
            lua_rawset(L, -4); // clearing a field while going over them is allowed
        }
    }
    if (strcmp(a->library, "string") == 0)
        wrap(L, "rep", bounded_rep);
    if (strcmp(a->library, "table") == 0) {
        wrap(L, "sort", short_lists_only);
        wrap(L, "insert", short_lists_only);
        wrap(L, "remove", short_lists_only);
    }
}

/* What a file sees under a name that it did not set itself; upvalue: the table of words. */
static int find_word(lua_State *L)
{
    const char *name = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : "?";
    lua_pushvalue(L, 2);
    if (lua_rawget(L, lua_upvalueindex(1)) != LUA_TNIL)
        return 1;
    if (among(absent, name))
        return luaL_error(L, "'%s' is not available here", name);
    lua_getfield(L, LUA_REGISTRYINDEX, "listed");
    const char *known = lua_tostring(L, -1);
    return luaL_error(L, "unknown name '%s'%s%s", name, known ? "; known are " : "",
                      known ? known : "");
}

static int set_word(lua_State *L)
{
    lua_pushvalue(L, 2);
    if (lua_rawget(L, lua_upvalueindex(1)) != LUA_TNIL)
        return luaL_error(L, "'%s' cannot be given another value; use another name",
                          lua_tostring(L, 2));
    lua_settop(L, 3);
    lua_rawset(L, 1);
    return 0;
}

/*
 * table.sort compares in Lua, where the limits look on: inside C it could compare long strings for
 * minutes without an instruction being counted. The table of words is at index 1.
 */
static void wrap_sort(lua_State *L)
{
    static const char wrapped[] =
        "local sort = ... return function(list, less)"
        " if less then return sort(list, function(a, b) return less(a, b) end) end"
        " return sort(list, function(a, b) return a < b end) end";
    lua_getfield(L, 1, "table");
    if (luaL_loadbufferx(L, wrapped, sizeof(wrapped) - 1, "=sort", "t") != LUA_OK)
        BUG("sort: %s", lua_tostring(L, -1));
    lua_getfield(L, -2, "sort");
    lua_call(L, 1, 1);
    lua_setfield(L, -2, "sort");
    lua_pop(L, 1);
}

/* The globals: an empty table, behind which the words stand. Those stay in the registry. */
void lua_library_open(lua_State *L)
{
    for (size_t i = 0; i < ARRAY_LEN(libraries); i++) {
        open_library(L, &libraries[i]);
        if (i > 0)
            lua_setfield(L, 1, libraries[i].library);
        // The base library is the table of globals itself, at index 1; it becomes the words.
    }
    lua_pushinteger(L, 0);
    lua_pushcclosure(L, print_to_stderr, 1);
    lua_setfield(L, 1, "print");
    wrap_sort(L);
    lua_pushvalue(L, 1);
    lua_setfield(L, LUA_REGISTRYINDEX, "words");
    lua_newtable(L); // globals
    lua_newtable(L); // their metatable
    lua_pushvalue(L, 1);
    lua_pushcclosure(L, find_word, 1);
    lua_setfield(L, -2, "__index");
    lua_pushvalue(L, 1);
    lua_pushcclosure(L, set_word, 1);
    lua_setfield(L, -2, "__newindex");
    lua_setmetatable(L, -2);
    lua_rawseti(L, LUA_REGISTRYINDEX, LUA_RIDX_GLOBALS);
    lua_settop(L, 0);
}

void lua_library_add(lua_State *L, const char *name, bool listed)
{
    lua_getfield(L, LUA_REGISTRYINDEX, "words");
    lua_insert(L, -2);
    lua_setfield(L, -2, name);
    if (listed) {
        if (lua_getfield(L, LUA_REGISTRYINDEX, "listed") == LUA_TNIL)
            lua_pushstring(L, name);
        else
            lua_pushfstring(L, "%s, %s", lua_tostring(L, -1), name);
        lua_setfield(L, LUA_REGISTRYINDEX, "listed");
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
}
