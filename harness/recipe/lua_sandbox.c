/*
 * lua_sandbox.c: see lua_sandbox.h. The state with its limits, and how what went wrong is said.
 */
#include "recipe/lua_sandbox.h"
#include "recipe/lua_library.h"

#include <lauxlib.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

enum {
    FILE_MAX = 1 << 20,
    HOOK_STEP = 100,     /* instructions between two looks at the limits */
    CLOCK_STEP = 500,    /* and at the clock, which costs more than they do */
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
    bool limited;    /* while Lua runs */
    const char *who; /* runs: "a file", "a call" */
    size_t bytes;    /* in use */
    int64_t instructions;
    double started;
    const char *broken; /* what there was too much of; NULL: nothing */
};

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
        s->broken = "instructions";
    else if (s->instructions % CLOCK_STEP == 0 && cpu_seconds() - s->started > s->limits.seconds)
        s->broken = "time";
    if (!s->broken)
        return;
    lua_getinfo(L, "Sl", ar);
    lua_pushfstring(L, "%s:%d: it takes more %s than %s may; does it ever end?", ar->short_src,
                    ar->currentline, s->broken, s->who);
    lua_error(L);
}

/* `text` NULL: what the file `path` has. */
static struct lua_sandbox *sandbox_make(const char *path, const char *text,
                                        const struct lua_limits *limits, struct buf *err)
{
    struct lua_sandbox *s = xcalloc(1, sizeof(*s));
    buf_init(&s->text);
    s->path = xstrdup(path);
    s->limits = *limits;
    if (text)
        buf_adds(&s->text, text);
    if (!text && read_file(path, FILE_MAX, &s->text, err) != 0) {
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
    lua_library_open(s->L);
    return s;
}

struct lua_sandbox *lua_sandbox_open(const char *path, const struct lua_limits *limits,
                                     struct buf *err)
{
    return sandbox_make(path, NULL, limits, err);
}

struct lua_sandbox *lua_sandbox_open_text(const char *name, const char *text,
                                          const struct lua_limits *limits, struct buf *err)
{
    return sandbox_make(name, text, limits, err);
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
    lua_library_add(s->L, name, listed);
}

/* One printable line out of what Lua says, with the path in place of the chunk's name. */
static void explain(struct lua_sandbox *s, int status, struct buf *err)
{
    struct buf line = BUF_INIT;
    const char *text = lua_type(s->L, -1) == LUA_TSTRING ? lua_tostring(s->L, -1) : NULL;
    buf_adds(&line, s->path);
    if (status == LUA_ERRMEM) {
        buf_addf(&line, ": it takes more memory than the %zu MB that %s may", s->limits.bytes >> 20,
                 s->who);
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

/* What runs between these two is limited. */
static void limits_on(struct lua_sandbox *s, const char *who)
{
    s->who = who;
    s->broken = NULL;
    s->instructions = 0;
    s->started = cpu_seconds();
    s->limited = true;
    lua_sethook(s->L, look_at_limits, LUA_MASKCOUNT, HOOK_STEP);
}

static void limits_off(struct lua_sandbox *s)
{
    lua_sethook(s->L, NULL, 0, 0);
    s->limited = false;
}

int lua_sandbox_run(struct lua_sandbox *s, struct buf *err)
{
    lua_State *L = s->L;
    limits_on(s, "a file");
    int status = luaL_loadbufferx(L, s->text.s, s->text.len, chunk_name, "t");
    if (status == LUA_OK)
        status = lua_pcall(L, 0, LUA_MULTRET, 0);
    limits_off(s);
    if (status == LUA_OK && lua_gettop(L) > 1)
        return fail(err, "%s: it returns %d values; one is allowed", s->path, lua_gettop(L));
    lua_settop(L, 1);
    if (status == LUA_OK)
        return 0;
    explain(s, status, err);
    lua_pop(L, 1);
    return -1;
}

int lua_sandbox_call(struct lua_sandbox *s, int nargs, const struct lua_limits *limits,
                     struct buf *err)
{
    s->limits = *limits;
    limits_on(s, "a call");
    int status = lua_pcall(s->L, nargs, 1, 0);
    limits_off(s);
    if (status == LUA_OK)
        return 0;
    explain(s, status, err);
    lua_pop(s->L, 1);
    return -1;
}
