/*
 * test_lua_router.c: routers that a recipe defines in Lua: the same pairs as those in C, from
 * several threads at once, and everything that such a router may do wrong, said in one sentence.
 */
#include "recipe/lua_router.h"
#include "fixture.h"
#include "recipe/cell.h"
#include "recipe/lua_selection.h"
#include "recipe/recipe_router.h"
#include "recipe/recipe_words.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

enum { N = 16, K = 3 };

static char *dir;
static struct buf err = BUF_INIT;
static const struct sweep_model model = { .name = "m", .config = { .experts = N, .top_k = K } };

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

/* Routers that are in C too. `best` is their order: score, token, expert. */
static const char both[] =
    "local function best(pairs)\n"
    "    table.sort(pairs, function(a, b)\n"
    "        if a.s ~= b.s then return a.s > b.s end\n"
    "        if a.t ~= b.t then return a.t < b.t end\n"
    "        return a.e < b.e\n"
    "    end)\n"
    "    return pairs\n"
    "end\n"
    "local function row(scores, t, N)\n"
    "    local all = {}\n"
    "    for e = 1, N do all[e] = { s = scores[t][e], t = t, e = e } end\n"
    "    return best(all)\n"
    "end\n"
    "local function topk(scores, T, N, K)\n"
    "    local out = {}\n"
    "    for t = 1, T do\n"
    "        out[t] = {}\n"
    "        for i, p in ipairs(row(scores, t, N)) do if i <= K then out[t][i] = p.e end end\n"
    "    end\n"
    "    return out\n"
    "end\n"
    "local function global(scores, T, N, K)\n"
    "    local out, rest, left = {}, {}, T * K\n"
    "    for t = 1, T do\n"
    "        out[t] = {}\n"
    "        for i, p in ipairs(row(scores, t, N)) do\n"
    "            if i <= 1 then out[t][1], left = p.e, left - 1\n"
    "            elseif i <= K + 2 then rest[#rest + 1] = p end\n"
    "        end\n"
    "    end\n"
    "    for i, p in ipairs(best(rest)) do\n"
    "        if i <= left then out[p.t][#out[p.t] + 1] = p.e end\n"
    "    end\n"
    "    return out\n"
    "end\n"
    "return sweep { name = 'x', models = 'm', K = 3, tasks = 'gsm8k/nll', routers = {\n"
    "    router { name = 'my-topk', select = topk, min = K, max = K },\n"
    "    router { name = 'my-topk_1', select = topk, scope = 'token', budget = 'at most' },\n"
    "    router { name = 'my-global', select = global, min = 1, max = K + 2 },\n"
    "} }\n";

static struct recipe *read_recipe(const char *text)
{
    fixture_text(dir, "r.lua", text);
    char *path = xasprintf("%s/r.lua", dir);
    struct recipe *r = recipe_open(path, NULL, &err);
    free(path);
    return r;
}

/* The routers of `both` and what they are in C. */
struct twin {
    const struct router *lua, *c;
    struct router_args args, c_args;
};

static void read_twins(struct twin out[3])
{
    struct recipe *r = read_recipe(both);
    if (!r)
        fail_msg("%s", err.s);
    for (size_t i = 0; i < 3; i++) {
        out[i].lua = r->routers[i].router;
        out[i].c = i < 2 ? &router_topk : &router_seqtopk;
        if (cell_args(&r->routers[i], K, &model, &out[i].args, &err) != 0)
            fail_msg("%s", err.s);
        out[i].c_args = (struct router_args){ .K = K, .N = N, .min = 1, .max = K + 2 };
    }
    recipe_free(r); // the routers live on
}

static void run(const struct router *r, const struct router_args *a, const float *scores, int T,
                struct selection *out)
{
    struct router_state *state = r->open ? r->open(a) : NULL;
    r->select(a, state, scores, T, out);
    if (r->close)
        r->close(state);
}

struct thread {
    pthread_t id;
    uint64_t random;
    const struct twin *twins;
};

/*
 * Do the twins select the same, round after round? Half of the scores are tied. Else what differs.
 */
static void *compare(void *arg)
{
    struct thread *thread = arg;
    const struct twin *twins = thread->twins;
    for (int round = 0; round < 12; round++) {
        enum { T = 21 };
        float scores[T * N];
        for (int i = 0; i < T * N; i++) {
            double x = fixture_random(&thread->random);
            scores[i] = round % 2 ? (float)(int)(4 * x) : (float)x;
        }
        for (int i = 0; i < 3; i++) {
            struct selection got = { 0 }, want = { 0 };
            run(twins[i].lua, &twins[i].args, scores, T, &got);
            run(twins[i].c, &twins[i].c_args, scores, T, &want);
            bool same = !got.error && got.tokens == T && got.pairs == want.pairs &&
                        memcmp(got.count, want.count, T * sizeof(*got.count)) == 0 &&
                        memcmp(got.expert, want.expert, got.pairs * sizeof(*got.expert)) == 0;
            char *said = got.error ? xstrdup(got.error) : NULL;
            selection_release(&got);
            selection_release(&want);
            if (!same)
                return said ? said : xasprintf("%s differs in round %d", twins[i].lua->name, round);
        }
    }
    return NULL;
}

static void routers_in_lua_select_as_those_in_c_from_four_threads(void **state)
{
    (void)state;
    enum { THREADS = 4 };
    struct twin twins[3];
    read_twins(twins);
    struct thread threads[THREADS];
    for (int i = 0; i < THREADS; i++) {
        threads[i] = (struct thread){ .random = (uint64_t)i + 1, .twins = twins };
        assert_int_equal(pthread_create(&threads[i].id, NULL, compare, &threads[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        void *said;
        pthread_join(threads[i].id, &said);
        if (said)
            fail_msg("%s", (char *)said);
    }
}

/* A recipe whose routers, on line 2, are these. */
static struct recipe *read_routers(const char *list)
{
    char *text = xasprintf("return sweep { name = 'x', models = 'm', K = 3, tasks = 'gsm8k/nll',\n"
                           "routers = { %s } }\n",
                           list);
    struct recipe *r = read_recipe(text);
    free(text);
    return r;
}

/* One that reads; `fields` beside its name. */
static const struct router *read_one(const char *fields, struct router_args *args)
{
    char *list = xasprintf("router { name = 'mine', %s }", fields);
    struct recipe *r = read_routers(list);
    if (!r || cell_args(&r->routers[0], K, &model, args, &err) != 0)
        fail_msg("%s: %s", fields, err.s);
    const struct router *router = r->routers[0].router;
    recipe_free(r);
    free(list);
    return router;
}

/* The sentence without its folder. */
static void assert_says(const char *of, const char *said, const char *want)
{
    if (strncmp(said, dir, strlen(dir)) != 0)
        fail_msg("%s\n  does not name the file: %s", of, said);
    if (strcmp(said + strlen(dir) + 1, want) != 0)
        fail_msg("%s\n  says    %s\n  and not %s", of, said + strlen(dir) + 1, want);
}

static void what_a_recipe_says_wrongly_of_a_router_is_refused(void **state)
{
    (void)state;
#define SELECT "select = function() end"
    static const struct {
        const char *routers, *want;
    } cases[] = {
        { "router { " SELECT " }", "r.lua:2: router: 'name' is missing" },
        { "router { name = 'm' }", "r.lua:2: router: 'select' is missing" },
        { "router { name = 'topk', " SELECT " }", "r.lua:2: router.name: \"topk\" is a router that "
                                                  "there is; allowed is a name of its own" },
        { "router { name = 'a b', " SELECT " }", "r.lua:2: router.name: \"a b\"; allowed are "
                                                 "letters, digits, - and _, at most 64 of them" },
        { "router { name = '', " SELECT " }", "r.lua:2: router.name: an empty text" },
        { "router { name = 5, " SELECT " }", "r.lua:2: router.name: 5; allowed is a text" },
        { "router { name = 'm', select = 'best' }",
          "r.lua:2: router.select: the text \"best\"; allowed is a function(scores, T, N, K)" },
        { "router { name = 'm', " SELECT ", scope = 'batch' }",
          "r.lua:2: router.scope: the text \"batch\"; allowed is \"sequence\" or \"token\"" },
        { "router { name = 'm', " SELECT ", budget = 'some' }",
          "r.lua:2: router.budget: the text \"some\"; allowed is \"exact\" or \"at most\" or "
          "\"any\"" },
        { "router { name = 'm', " SELECT ", min = 0.5 }",
          "r.lua:2: router.min: 0.5; allowed is a whole number or an expression in K and N" },
        { "router { name = 'm', " SELECT ", mode = 'x' }", NULL },
        { "router { name = 'm', " SELECT " },\n router { name = 'm', " SELECT " }",
          "r.lua:2: router.name: \"m\" is the router of line 3 too; allowed is a name of its own" },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct recipe *r = read_routers(cases[i].routers);
        if (r)
            fail_msg("%s is taken", cases[i].routers);
        if (cases[i].want)
            assert_says(cases[i].routers, err.s, cases[i].want);
        else
            assert_non_null(strstr(err.s, "router.mode: unknown"));
    }
}

/* What hangs on K: 3 experts of 16. */
static void bounds_that_the_budget_cannot_keep_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *fields, *want; /* NULL: taken */
    } cases[] = {
        { "min = K, max = K", NULL },
        { "min = 4", "allowed is 0 to K, here 0 to 3" },
        { "max = 2", "allowed is K to N, here 3 to 16" },
        { "budget = 'at most', max = 2", NULL },
        { "budget = 'at most', min = 4", "allowed is 0 to K, here 0 to 3" },
        { "budget = 'any', min = 4", NULL },
        { "budget = 'any', min = 17", "allowed is 0 to N, here 0 to 16" },
        { "budget = 'any', min = 5, max = 4",
          "mine.min is 5 and max is 4; allowed is a min up to max" },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char *list = xasprintf("router { name = 'mine', " SELECT ", %s }", cases[i].fields);
        struct router_args args;
        struct recipe *r = read_routers(list);
        assert_non_null(r);
        int rc = cell_args(&r->routers[0], K, &model, &args, &err);
        if (rc != (cases[i].want ? -1 : 0))
            fail_msg("%s: %d", cases[i].fields, rc);
        if (rc && (!strstr(err.s, "r.lua:2: router") || !strstr(err.s, cases[i].want)))
            fail_msg("%s says %s", cases[i].fields, err.s);
        recipe_free(r);
        free(list);
    }
}

/*
 * Of two tokens and N = 16, K = 3: what select() returns, and the sentence behind the router's
 * name.
 */
static void what_select_returns_wrongly_is_refused(void **state)
{
    (void)state;
    static const char six[] = "{ { 1, 2, 3 }, { 4, 5, 6 } }";
    static const struct {
        const char *more, *returned, *want; /* NULL: taken */
    } cases[] = {
        { "", six, NULL },
        { "", "{ { 3, 1, 2.0, 16 }, { 9, 5 } }", NULL },
        { "", "{ {}, { 1, 2, 3, 4, 5, 6 } }", NULL },
        { "", "nil",
          "select() returned something that is not a list; allowed is a list of 2 lists, one a "
          "token" },
        { "", "{ a = {}, b = {} }",
          "select() returned something that is not a list; allowed is a list of 2 lists, one a "
          "token" },
        { "", "{ { 1, 2, 3 } }", "select() returned 1 lists; allowed are 2, one a token" },
        { "", "{ { 1, 2 }, { 3, 4 }, { 5, 6 } }",
          "select() returned 3 lists; allowed are 2, one a token" },
        { "", "{ { 1, 2, 3 }, 4 }", "token 2: 4; allowed is a list of experts" },
        { "", "{ { [5] = true, [6] = true }, { 1 } }",
          "token 1: a table that is not a list; allowed is a list of experts" },
        { "", "{ { 1, 2, nil, 4 }, { 1, 2, 3 } }",
          "token 1: a table that is not a list; allowed is a list of experts" },
        { "", "{ { 0, 1, 2 }, { 1, 2, 3 } }",
          "token 1: 0 as an expert; allowed is a whole number from 1 to N = 16" },
        { "", "{ { 1, 2, 3 }, { 1, 2, 17 } }",
          "token 2: 17 as an expert; allowed is a whole number from 1 to N = 16" },
        { "", "{ { 1, 2, 3 }, { 1, 2, 1.5 } }",
          "token 2: 1.5 as an expert; allowed is a whole number from 1 to N = 16" },
        { "", "{ { 1, 2, 3 }, { 1, 2, '3' } }",
          "token 2: the text \"3\" as an expert; allowed is a whole number from 1 to N = 16" },
        { "", "{ { 1, 2, 3 }, { 7, 2, 7 } }", "token 2: expert 7 twice; allowed is once" },
        { "", "{ { 1, 2, 3 }, { 4, 5 } }",
          "5 pairs of a token and an expert; allowed is 6, T * K with T = 2 and K = 3" },
        { "", "{ { 1, 2, 3, 4 }, { 4, 5, 6 } }",
          "7 pairs of a token and an expert; allowed is 6, T * K with T = 2 and K = 3" },
        { "budget = 'at most',", "{ { 1, 2, 3 }, { 4, 5 } }", NULL },
        { "budget = 'at most',", "{ { 1, 2, 3, 4 }, { 4, 5, 6 } }",
          "7 pairs of a token and an expert; allowed is at most 6, T * K with T = 2 and K = 3" },
        { "budget = 'any',", "{ { 1, 2, 3, 4 }, { 4, 5, 6 } }", NULL },
        { "budget = 'any',", "{ {}, {} }", NULL },
        { "min = 1,", "{ {}, { 1, 2, 3, 4, 5, 6 } }", "token 1: 0 experts; allowed is 1 to 16" },
        { "min = 1, max = K + 2,", "{ { 1 }, { 1, 2, 3, 4, 5, 6 } }",
          "token 2: 6 experts; allowed is 1 to 5" },
        { "scope = 'token',", "{ { 1, 2, 3 } }", NULL },
        { "scope = 'token',", "{ { 1, 2, 3 }, { 4, 5, 6 } }",
          "select() returned 2 lists; allowed are 1, one a token" },
        { "scope = 'token',", "{ { 1, 2 } }",
          "2 pairs of a token and an expert; allowed is 3, T * K with T = 1 and K = 3" },
    };
    static const float scores[2 * N];
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char *fields =
            xasprintf("%s select = function() return %s end", cases[i].more, cases[i].returned);
        struct router_args args;
        struct selection sel = { 0 };
        const struct router *r = read_one(fields, &args);
        run(r, &args, scores, 2, &sel);
        if (!sel.error != !cases[i].want)
            fail_msg("%s: %s", fields, sel.error ? sel.error : "is taken");
        char *want = xasprintf("r.lua:2: router \"mine\": %s", cases[i].want);
        if (sel.error)
            assert_says(fields, sel.error, want);
        else
            assert_int_equal(sel.tokens, 2);
        free(want);
        free(fields);
        selection_release(&sel);
    }
}

/* A failure of Lua itself; `want` is somewhere in the sentence. The next call begins anew. */
static void a_call_that_fails_is_told_with_both_lines(void **state)
{
    (void)state;
    static const struct {
        const char *body, *want;
    } cases[] = {
        { "error('no luck')", "no luck" },
        { "error()", "error() was called with something that is not a text" },
        { "return scores[T + 1][1]", "attempt to index a nil value" },
        { "return unheard_of", "unknown name 'unheard_of'" },
        { "while true do end", "it takes more instructions than a call may; does it ever end?" },
        { "local t = {} for i = 1, 1e9 do t[i] = { i } end",
          "it takes more memory than the 64 MB that a call may" },
        { "return K + select", "attempt to perform arithmetic" },
    };
    static const float scores[N] = { 1 };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char *fields = xasprintf("max = K,\nselect = function(scores, T, N, K)\n"
                                 "if scores[1][1] < 1 then return { { 1, 2, 3 } } end\n%s end",
                                 cases[i].body);
        static const float other[N];
        struct router_args args;
        struct selection sel = { 0 };
        const struct router *r = read_one(fields, &args);
        run(r, &args, scores, 1, &sel);
        if (!sel.error)
            fail_msg("%s is taken", cases[i].body);
        char *path = xasprintf("%s/r.lua", dir),
             *begins = xasprintf("%s:2: router \"mine\": ", path);
        if (strncmp(sel.error, begins, strlen(begins)) != 0 ||
            strncmp(sel.error + strlen(begins), path, strlen(path)) != 0 ||
            !strstr(sel.error, cases[i].want))
            fail_msg("%s says %s", cases[i].body, sel.error);
        selection_reset(&sel);
        run(r, &args, other, 1, &sel);
        assert_null(sel.error);
        assert_int_equal(sel.pairs, 3);
        free(begins);
        free(path);
        free(fields);
        selection_release(&sel);
    }
}

/* More scores, more of everything: what one token may not use, a long text may. */
static void limits_grow_with_the_scores(void **state)
{
    (void)state;
    enum { T = 3 * 65536 / N };
    static const char *const bodies[] = { "for i = 1, 60000000 do end",
                                          "local t = {} for i = 1, 5000000 do t[i] = i end" };
    float *scores = xcalloc((size_t)T * N, sizeof(*scores));
    for (size_t i = 0; i < ARRAY_LEN(bodies); i++) {
        char *fields = xasprintf("budget = 'any', select = function(scores, T)\n%s\n"
                                 "local out = {} for t = 1, T do out[t] = {} end\n"
                                 "return out end",
                                 bodies[i]);
        struct router_args args;
        struct selection sel = { 0 };
        const struct router *r = read_one(fields, &args);
        run(r, &args, scores, T, &sel);
        if (sel.error)
            fail_msg("%s", sel.error);
        assert_int_equal(sel.tokens, T);
        run(r, &args, scores, 1, &sel);
        assert_non_null(sel.error);
        assert_non_null(strstr(sel.error, "than "));
        selection_release(&sel);
        free(fields);
    }
    free(scores);
}

static void a_router_is_told_apart_by_all_that_decides_it(void **state)
{
    (void)state;
    static const char *const fields[] = {
        "select = function() return {} end",
        "select = function() return { } end", // another text
        "select = function() return {} end, scope = 'token'",
        "select = function() return {} end, budget = 'any'",
    };
    struct buf said[ARRAY_LEN(fields)];
    struct router_args args;
    for (size_t i = 0; i < ARRAY_LEN(fields); i++) {
        const struct router *r = read_one(fields[i], &args);
        assert_ptr_equal(r, read_one(fields[i], &args)); // read again, it is the same
        buf_init(&said[i]);
        router_identity(r, &args, &said[i]);
        assert_non_null(strstr(said[i].s, "router mine\nK 3\nmin 0\nmax 16\nscope "));
        assert_non_null(strstr(said[i].s, i == 2 ? "\nscope token\n" : "\nscope sequence\n"));
        assert_non_null(strstr(said[i].s, i == 3 ? "\nbudget any\n" : "\nbudget exact\n"));
        for (size_t j = 0; j < i; j++)
            assert_string_not_equal(said[i].s, said[j].s);
        assert_ptr_equal(args.custom, lua_router_from(r));
        assert_int_equal(router_decodes(r, &args), i == 2);
        struct buf label = BUF_INIT;
        router_label(r, &args, &label);
        assert_string_equal(label.s, "mine [0, 16]");
        buf_release(&label);
    }
    for (size_t i = 0; i < ARRAY_LEN(fields); i++)
        buf_release(&said[i]);
    assert_null(lua_router_from(&router_topk));
}

/* Its name is an address, which is another one when the text is run again. */
static void a_router_that_is_not_there_again_is_refused(void **state)
{
    (void)state;
    enum { BLOCKS = 50000 };
    static void *blocks[BLOCKS];
    struct router_args args;
    struct selection sel = { 0 };
    struct recipe *r =
        read_routers("router { name = 'm' .. string.sub(tostring({}), -6), select = print }");
    assert_non_null(r);
    const struct router *router = r->routers[0].router;
    assert_int_equal(cell_args(&r->routers[0], K, &model, &args, &err), 0);
    recipe_free(r);
    for (size_t i = 0; i < BLOCKS; i++)
        blocks[i] = xmalloc(56); // what was a table before is in use now
    static const float scores[N];
    run(router, &args, scores, 1, &sel);
    assert_non_null(sel.error);
    assert_non_null(strstr(sel.error, "run once more, the text does not define it"));
    for (size_t i = 0; i < BLOCKS; i++)
        free(blocks[i]);
    selection_release(&sel);
}

static void a_router_can_stand_on_the_command_line(void **state)
{
    (void)state;
    static const float scores[N];
    const struct router *r;
    struct router_args args;
    struct selection sel = { 0 };
    assert_int_equal(router_parse("--router",
                                  "router { name = 'first', scope = 'token', max = K + 1, "
                                  "select = function(s, T, N, K) return { { K, N, 1 } } end }",
                                  K, &model, &r, &args, &err),
                     0);
    assert_int_equal(args.max, K + 1);
    run(r, &args, scores, 1, &sel);
    assert_null(sel.error);
    assert_int_equal(sel.pairs, 3);
    assert_int_equal(sel.expert[0], 0);
    assert_int_equal(sel.expert[1], K - 1);
    assert_int_equal(sel.expert[2], N - 1);
    selection_release(&sel);
    assert_int_equal(
        router_parse("--router", "router { name = 'topk' }", K, &model, &r, &args, &err), -1);
    assert_non_null(strstr(err.s, "--router:1: router"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(routers_in_lua_select_as_those_in_c_from_four_threads),
        cmocka_unit_test(what_a_recipe_says_wrongly_of_a_router_is_refused),
        cmocka_unit_test(bounds_that_the_budget_cannot_keep_are_refused),
        cmocka_unit_test(what_select_returns_wrongly_is_refused),
        cmocka_unit_test(a_call_that_fails_is_told_with_both_lines),
        cmocka_unit_test(limits_grow_with_the_scores),
        cmocka_unit_test(a_router_is_told_apart_by_all_that_decides_it),
        cmocka_unit_test(a_router_that_is_not_there_again_is_refused),
        cmocka_unit_test(a_router_can_stand_on_the_command_line),
    };
    return cmocka_run_group_tests_name("lua_router", tests, enter, leave);
}
