/*
 * test_lua_sandbox.c: what a file cannot do, how it is stopped, and how that is said.
 */
#include "recipe/lua_sandbox.h"
#include "fixture.h"
#include "skip.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static char *dir;
static struct buf err = BUF_INIT;

static int enter(void **state)
{
    (void)state;
    dir = fixture_dir();
    return 0;
}

static int leave(void **state)
{
    (void)state;
    fixture_remove(dir);
    buf_release(&err);
    return 0;
}

/* Runs the text as dir/t.lua; what it returns, or the sentence without the folder. */
static char *run_under(const char *text, struct lua_limits limits)
{
    fixture_text(dir, "t.lua", text);
    char *path = xasprintf("%s/t.lua", dir), *said;
    struct lua_sandbox *s = lua_sandbox_open(path, &limits, &err);
    if (s) {
        lua_pushinteger(lua_sandbox_state(s), 7);
        lua_sandbox_word(s, "seven", true);
        lua_pushinteger(lua_sandbox_state(s), 8);
        lua_sandbox_word(s, "eight", false);
    }
    if (s && lua_sandbox_run(s, &err) == 0) {
        const char *value = lua_tostring(lua_sandbox_state(s), -1);
        said = xstrdup(value ? value : "(no text)");
    } else {
        if (strncmp(err.s, dir, strlen(dir)) != 0)
            fail_msg("the file is not named: %s", err.s);
        said = xstrdup(err.s + strlen(dir) + 1);
    }
    lua_sandbox_close(s);
    free(path);
    return said;
}

static void assert_says(const char *text, const char *want)
{
    char *said = run_under(text, lua_limits_default);
    if (strcmp(said, want) != 0)
        fail_msg("%s\n  says    %s\n  and not %s", text, said, want);
    free(said);
}

static void assert_stops(const char *text, const char *want)
{
    struct lua_limits limits = { 2000000, 4 << 20, 0.5 };
    double started = now_seconds();
    char *said = run_under(text, limits);
    if (!strstr(said, want))
        fail_msg("%s\n  says    %.300s\n  and not %s", text, said, want);
    free(said);
    assert_true(now_seconds() - started <
                20 * patience()); // a loose bound: the machine may be busy
}

static void arithmetic_strings_and_tables_work(void **state)
{
    (void)state;
    assert_says("return 1 + 2 .. ''", "3");
    assert_says("local t = {} for i = 1, 3 do t[#t + 1] = i * seven end\n"
                "return table.concat(t, ' ')",
                "7 14 21");
    assert_says("local t = { 3, 1, 2 } table.sort(t) table.insert(t, 1, 0) table.remove(t)\n"
                "return table.concat(t, ' ')",
                "0 1 2");
    assert_says("return ('ab'):rep(2, '-') .. string.format(' %03d ', 7) .. #'abc'", "ab-ab 007 3");
    assert_says("return tostring(math.max(1, math.floor(2.5)))", "2");
    assert_says("mine = 3; return mine + eight", "11");
}

static void what_reaches_outside_is_not_there(void **state)
{
    (void)state;
    static const char *const names[] = {
        "io",     "os",           "package",        "debug",  "load",       "loadfile",
        "dofile", "require",      "pcall",          "xpcall", "coroutine",  "setmetatable",
        "rawset", "getmetatable", "collectgarbage", "utf8",   "loadstring", "_G"
    };
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        char *text = xasprintf("\nreturn %s", names[i]);
        char *want = xasprintf("t.lua:2: '%s' is not available here", names[i]);
        assert_says(text, want);
        free(text);
        free(want);
    }
}

static void functions_without_a_bound_are_not_there(void **state)
{
    (void)state;
    static const char *const fields[] = { "string.find",   "string.match", "string.gmatch",
                                          "string.gsub",   "string.dump",  "string.pack",
                                          "string.unpack", "math.random",  "math.randomseed",
                                          "table.move" };
    for (size_t i = 0; i < ARRAY_LEN(fields); i++) {
        char *text = xasprintf("return type(%s)", fields[i]);
        assert_says(text, "nil");
        free(text);
    }
    assert_says("return ('x'):find('x')", "t.lua:1: attempt to call a nil value (method 'find')");
}

static void a_file_that_never_ends_is_stopped(void **state)
{
    (void)state;
    assert_stops("\nwhile true do end",
                 "t.lua:2: it takes more instructions than a file may; does it ever end?");
    assert_stops("local function f() return f() end f()", "more instructions");
    assert_stops("for i = 1, math.huge do end", "more instructions");
    assert_stops("local a, b = ('x'):rep(1e6), ('x'):rep(1e6 - 1) .. 'x' local n = 0\n"
                 "while true do if a == b then n = n + 1 end end",
                 "t.lua:2: it takes more time than a file may");
    assert_stops(
        "local s = ('x'):rep(1e6) local t = { } for i = 1, 3e4 do t[i] = s end table.sort(t)",
        "it takes more time than a file may");
    assert_stops("print(('y'):rep(70000))", "it prints more than the 65536 bytes");
}

static void a_call_that_never_ends_is_refused(void **state)
{
    (void)state;
    // A table whose length seems to be 2^62, though it has but few elements.
    const char *huge = "local t = { } for i = 0, 62 do t[1 << i] = true end "
                       " t[3], t[5], t[9] = 1, 1, 1 ";
    static const char *const calls[] = { "table.insert(t, 1, true)", "table.remove(t, 1)",
                                         "table.sort(t, math.ult)" };
    for (size_t i = 0; i < ARRAY_LEN(calls); i++) {
        char *text = xasprintf("%s %s", huge, calls[i]);
        assert_stops(text, "more than a million elements");
        free(text);
    }
    assert_stops("return (''):rep(1 << 60)", "too large");
    assert_stops("return ('x'):rep(1 << 62)", "too large");
    assert_stops("return ('x'):rep(3, ('y'):rep(1e5)):rep(1e9)", "too large");
    assert_stops("return select('#', table.unpack({}, 1, 1 << 40))", "too many results");
}

static void a_file_that_eats_memory_is_stopped(void **state)
{
    (void)state;
    static const char want[] = "t.lua: it takes more memory than the 4 MB that a file may";
    assert_stops("local t = {} for i = 1, 1e9 do t[i] = ('x'):rep(1e5) .. i end", want);
    assert_stops("local s = 'x' while true do s = s .. s end", want);
    assert_stops("return ('x'):rep(8e6)", want);
    assert_stops("local function f() return 1 + f() end f()", want);
}

static void an_unknown_name_lists_the_known_ones(void **state)
{
    (void)state;
    assert_says("\n\nlocal x = sevn", "t.lua:3: unknown name 'sevn'; known are seven");
    assert_says("seven = 8", "t.lua:1: 'seven' cannot be given another value; use another name");
    assert_says("print = nil", "t.lua:1: 'print' cannot be given another value; use another name");
}

static void what_lua_finds_wrong_is_one_line(void **state)
{
    (void)state;
    assert_says("x = = 2", "t.lua:1: unexpected symbol near '='");
    assert_says("error('one\\ntwo')", "t.lua:1: one two");
    assert_says("error({})", "t.lua: error() was called with something that is not a text");
    assert_says("local t = nil\nreturn t.x", "t.lua:2: attempt to index a nil value (local 't')");
    char *said = run_under("error(('long '):rep(1000))", lua_limits_default);
    assert_in_range(strlen(said), 900, 1100);
    free(said);
}

static void what_is_no_text_is_refused(void **state)
{
    (void)state;
    assert_says("\x1bLua", "t.lua: attempt to load a binary chunk (mode is 't')");
    assert_says("-- \xff", "t.lua: not a text in UTF-8");
    char *path = xasprintf("%s/none.lua", dir);
    assert_null(lua_sandbox_open(path, &lua_limits_default, &err));
    assert_non_null(strstr(err.s, "none.lua: No such file"));
    assert_null(lua_sandbox_open(dir, &lua_limits_default, &err));
    assert_non_null(strstr(err.s, "a folder, not a regular file"));
    free(path);
    struct buf large = BUF_INIT;
    for (int i = 0; i < 70000; i++)
        buf_adds(&large, "-- a comment ...\n");
    assert_says(large.s, "t.lua: larger than the 1048576 bytes that are accepted");
    buf_release(&large);
}

/* What a function of the file, called with `n`, returns or says. */
static char *call_with(struct lua_sandbox *s, lua_Integer n, struct lua_limits limits)
{
    lua_State *L = lua_sandbox_state(s);
    lua_pushvalue(L, 1);
    lua_pushinteger(L, n);
    int rc = lua_sandbox_call(s, 1, &limits, &err);
    char *said = xstrdup(rc == 0 ? lua_tostring(L, -1) : strrchr(err.s, '/') + 1);
    lua_settop(L, 1);
    return said;
}

static void each_call_has_limits_of_its_own(void **state)
{
    (void)state;
    static const struct lua_limits few = { 200000, 1 << 20, 5 }, none = { 100, 1 << 20, 5 };
    fixture_text(dir, "call.lua",
                 "local kept = {}\n"
                 "return function(n)\n"
                 "    if n < 0 then error('below 0') end\n"
                 "    if n > 1e6 then for i = 1, n do kept[i] = { i } end end\n"
                 "    for i = 1, n do end\n"
                 "    return n + 1\n"
                 "end\n");
    char *path = xasprintf("%s/call.lua", dir);
    struct lua_sandbox *s = lua_sandbox_open(path, &lua_limits_default, &err);
    assert_int_equal(lua_sandbox_run(s, &err), 0);
    const struct {
        lua_Integer n;
        struct lua_limits limits;
        const char *want;
    } cases[] = {
        { 100000, few, "100001" }, // twice as many instructions as one call may
        { 100000, few, "100001" },
        { 100000, few, "100001" },
        { 300000, few,
          "call.lua:5: it takes more instructions than a call may; does it ever end?" },
        { 5, few, "6" }, // what was broken is forgotten
        { -1, few, "call.lua:3: below 0" },
        { 1000, none, "call.lua:5: it takes more instructions than a call may; does it ever end?" },
        { 90000000, lua_limits_default,
          "call.lua: it takes more memory than the 64 MB that a call may" },
        { 5, lua_limits_default, "6" },
        { 300000,
          { 1000000, 128 << 20, 0 },
          "call.lua:5: it takes more time than a call may; does it "
          "ever end?" },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char *said = call_with(s, cases[i].n, cases[i].limits);
        assert_string_equal(said, cases[i].want);
        free(said);
    }
    lua_sandbox_close(s);
    free(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(arithmetic_strings_and_tables_work, enter, leave),
        cmocka_unit_test_setup_teardown(what_reaches_outside_is_not_there, enter, leave),
        cmocka_unit_test_setup_teardown(functions_without_a_bound_are_not_there, enter, leave),
        cmocka_unit_test_setup_teardown(a_file_that_never_ends_is_stopped, enter, leave),
        cmocka_unit_test_setup_teardown(a_call_that_never_ends_is_refused, enter, leave),
        cmocka_unit_test_setup_teardown(a_file_that_eats_memory_is_stopped, enter, leave),
        cmocka_unit_test_setup_teardown(an_unknown_name_lists_the_known_ones, enter, leave),
        cmocka_unit_test_setup_teardown(what_lua_finds_wrong_is_one_line, enter, leave),
        cmocka_unit_test_setup_teardown(what_is_no_text_is_refused, enter, leave),
        cmocka_unit_test_setup_teardown(each_call_has_limits_of_its_own, enter, leave),
    };
    return cmocka_run_group_tests_name("lua_sandbox", tests, NULL, NULL);
}
