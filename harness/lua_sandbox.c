/*
 * lua_sandbox.c: see lua_sandbox.h. What a file may use is an allow-list, taken out of Lua's own
 * libraries; everything else is removed from them, also from the table behind ("text"):method().
 */
#include "lua_sandbox.h"

#include <lauxlib.h>
#include <lualib.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

enum {
    FILE_MAX = 1 << 20,
    LIST_MAX = 1000000,  /* elements of a table that sort, insert and remove work on */
    HOOK_STEP = 100,     /* instructions between two looks at the limits */
    SENTENCE_MAX = 1000, /* bytes of an error message */
};

// The chunk's name inside Lua, which shortens long paths; replaced by the path in messages.
static const char chunk_name[] = "=\1";

const struct lua_limits lua_limits_default = { 50000000, (size_t)64 << 20, 5.0 };

struct lua_sandbox {
    lua_State *L;
    char *path;
    struct buf text;
    struct lua_limits limits;
    bool limited; /* while the file runs */
    size_t bytes; /* in use */
    int64_t instructions;
    double started;
    const char *broken; /* the limit that was broken; NULL: none */
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

static void *allocate(void *ud, void *p, size_t old, size_t size)
{
    struct lua_sandbox *s = ud;
    if (!p)
        old = 0; // then it is the kind of object, not a size
    if (size == 0) {
        s->bytes -= old;
        free(p);
        return NULL;
    }
    if (s->limited && size > old && s->bytes - old + size > s->limits.bytes)
        return NULL; // Lua collects garbage, tries again, and then raises an error
    p = s->limited ? realloc(p, size) : xrealloc(p, size, 1);
    if (p)
        s->bytes = s->bytes - old + size;
    return p;
}

static double cpu_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void look_at_limits(lua_State *L, lua_Debug *ar)
{
    void *ud;
    lua_getallocf(L, &ud);
    struct lua_sandbox *s = ud;
    s->instructions += HOOK_STEP;
    if (s->instructions > s->limits.instructions)
        s->broken = "it takes more instructions than a file may";
    else if (cpu_seconds() - s->started > s->limits.seconds)
        s->broken = "it takes more time than a file may";
    if (!s->broken)
        return;
    lua_getinfo(L, "Sl", ar);
    lua_pushfstring(L, "%s:%d: %s; does it ever end?", ar->short_src, ar->currentline, s->broken);
    lua_error(L);
}

static int print_to_stderr(lua_State *L)
{
    int n = lua_gettop(L);
    for (int i = 1; i <= n; i++) {
        size_t len;
        const char *text = luaL_tolstring(L, i, &len);
        if (i > 1)
            fputc('\t', stderr);
        fwrite(text, 1, len, stderr);
        lua_pop(L, 1);
    }
    fputc('\n', stderr);
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
    if (n > 0 && __builtin_mul_overflow(len + sep + 1, (size_t)n, &bytes))
        return luaL_argerror(L, 2, "too large");
    if (n > 0 && bytes > lua_limits_default.bytes)
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
    lua_getfield(L, lua_upvalueindex(1), " own");
    const char *own = lua_tostring(L, -1);
    return luaL_error(L, "unknown name '%s'%s%s", name, own ? "; known are " : "", own ? own : "");
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

/* The globals: an empty table, behind which the words stand. Those stay in the registry. */
static void open_globals(lua_State *L)
{
    for (size_t i = 0; i < ARRAY_LEN(libraries); i++) {
        open_library(L, &libraries[i]);
        if (i > 0)
            lua_setfield(L, 1, libraries[i].library);
        // The base library is the table of globals itself, at index 1; it becomes the words.
    }
    lua_pushcfunction(L, print_to_stderr);
    lua_setfield(L, 1, "print");
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

struct lua_sandbox *lua_sandbox_open(const char *path, const struct lua_limits *limits,
                                     struct buf *err)
{
    struct lua_sandbox *s = xcalloc(1, sizeof(*s));
    buf_init(&s->text);
    s->path = xstrdup(path);
    s->limits = *limits;
    if (read_file(path, FILE_MAX, &s->text, err) != 0) {
        lua_sandbox_close(s);
        return NULL;
    }
    if (memchr(s->text.s, '\0', s->text.len) || utf8_valid(s->text.s, s->text.len) != s->text.len) {
        fail(err, "%s: not a text in UTF-8", path);
        lua_sandbox_close(s);
        return NULL;
    }
    s->L = lua_newstate(allocate, s);
    if (!s->L)
        die(1, "out of memory: no room for a Lua state");
    open_globals(s->L);
    return s;
}

void lua_sandbox_close(struct lua_sandbox *s)
{
    if (!s)
        return;
    if (s->L)
        lua_close(s->L);
    buf_release(&s->text);
    free(s->path);
    free(s);
}

lua_State *lua_sandbox_state(struct lua_sandbox *s)
{
    return s->L;
}

const char *lua_sandbox_path(const struct lua_sandbox *s)
{
    return s->path;
}

const char *lua_sandbox_text(const struct lua_sandbox *s)
{
    return s->text.s;
}

void lua_sandbox_word(struct lua_sandbox *s, const char *name, bool listed)
{
    lua_State *L = s->L;
    lua_getfield(L, LUA_REGISTRYINDEX, "words");
    lua_insert(L, -2);
    lua_setfield(L, -2, name);
    if (!listed) {
        lua_pop(L, 1);
        return;
    }
    // The caller's words, in the order they came, for the message about an unknown one.
    if (lua_getfield(L, -1, " own") == LUA_TNIL)
        lua_pushstring(L, name);
    else
        lua_pushfstring(L, "%s, %s", lua_tostring(L, -1), name);
    lua_setfield(L, -3, " own");
    lua_pop(L, 2);
}

/* One printable line out of what Lua says, with the path in place of the chunk's name. */
static void explain(struct lua_sandbox *s, int status, struct buf *err)
{
    struct buf line = BUF_INIT;
    const char *text = lua_type(s->L, -1) == LUA_TSTRING ? lua_tostring(s->L, -1) : NULL;
    buf_adds(&line, s->path);
    if (status == LUA_ERRMEM) {
        buf_addf(&line, ": it takes more memory than the %zu MB that a file may",
                 s->limits.bytes >> 20);
    } else if (!text) {
        buf_adds(&line, ": error() was called with something that is not a text");
    } else {
        if (text[0] == chunk_name[1])
            text++;
        else
            buf_adds(&line, ": ");
        size_t len = strnlen(text, SENTENCE_MAX);
        len = utf8_valid(text, len);
        size_t start = line.len;
        buf_add(&line, text, len);
        for (char *p = line.s + start; *p; p++)
            if ((unsigned char)*p < ' ' || *p == 127)
                *p = ' ';
    }
    fail(err, "%s", line.s);
    buf_release(&line);
}

int lua_sandbox_run(struct lua_sandbox *s, struct buf *err)
{
    lua_State *L = s->L;
    s->started = cpu_seconds();
    s->limited = true;
    lua_sethook(L, look_at_limits, LUA_MASKCOUNT, HOOK_STEP);
    int status = luaL_loadbufferx(L, s->text.s, s->text.len, chunk_name, "t");
    if (status == LUA_OK)
        status = lua_pcall(L, 0, 1, 0);
    lua_sethook(L, NULL, 0, 0);
    s->limited = false;
    if (status == LUA_OK)
        return 0;
    explain(s, status, err);
    lua_pop(L, 1);
    return -1;
}
