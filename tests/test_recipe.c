/*
 * test_recipe.c: what a recipe says, read, and everything wrong in it said by file, line and key.
 * Whole recipes are files of tests/data/recipes; each bad_*.lua ends in a line `-- says: ...` with
 * the sentence that refuses it.
 */
#include "recipe/sweep.h"
#include "fixture.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define RECIPES "tests/data/recipes"

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

/* Reads the text as dir/r.lua. */
static struct recipe *read_text(const char *text)
{
    fixture_text(dir, "r.lua", text);
    char *path = xasprintf("%s/r.lua", dir);
    struct recipe *r = recipe_open(path, NULL, &err);
    free(path);
    return r;
}

/* A recipe with `line` as its third line must fail with "r.lua:3: " and `want`. */
static void assert_refused(const char *line, const char *want)
{
    char *text = xasprintf("return sweep {\nname = \"x\",\n%s,\n%s%s%s}\n", line,
                           strncmp(line, "K =", 3) == 0 ? "" : "K = 8,",
                           strncmp(line, "routers =", 9) == 0 ? "" : "routers = topk(),",
                           strncmp(line, "tasks =", 7) == 0 ? "" : "tasks = \"gsm8k/nll\",");
    struct recipe *r = read_text(text);
    if (r)
        fail_msg("%s is taken", line);
    const char *said = strstr(err.s, "r.lua:");
    char *sentence = xasprintf("r.lua:3: %s", want);
    if (!said || strcmp(said, sentence) != 0)
        fail_msg("%s\n  says    %s\n  and not %s", line, err.s, sentence);
    free(sentence);
    free(text);
}

static void every_word_is_read(void **state)
{
    (void)state;
    struct recipe *r = recipe_open(RECIPES "/good.lua", NULL, &err);
    if (!r)
        fail_msg("%s", err.s);
    assert_string_equal(r->name, "good");
    assert_int_equal(r->models.len, 1);
    assert_string_equal(r->models.v[0], "tiny-olmoe-2k");
    assert_int_equal(r->K.len, 2);
    assert_int_equal(r->K.v[1], 4);
    assert_int_equal(r->nrouters, 5);
    assert_string_equal(r->routers[0].router->name, "topk");
    assert_int_equal(r->routers[0].at.line, 2);
    assert_int_equal(r->routers[3].at.line, 4);
    assert_string_equal(r->routers[4].router->name, "batchtopk");
    assert_int_equal(r->ntasks, 2);
    assert_null(r->tasks[0].name);
    assert_string_equal(r->tasks[0].file, "texts.jsonl");
    assert_string_equal(r->tasks[0].text, "text");
    assert_int_equal(r->tasks[0].limit, 2);
    assert_string_equal(r->tasks[1].name, "gsm8k/nll");
    assert_string_equal(r->tasks[1].file, "problems.jsonl");
    assert_int_equal(r->tasks[1].limit, 0);
    assert_int_equal(r->seeds.len, 2);
    assert_int_equal(r->log_tokens, LOG_NONE);
    assert_string_equal(r->device, "cpu");
    assert_string_equal(r->dtype, "float32");
    assert_true(r->judged);
    assert_string_equal(r->judge.command, "cat");
    struct buf text = BUF_INIT;
    expr_text(&r->routers[3].value[2].expr, &text); // max: mode, min, max
    assert_string_equal(text.s, "2 * K");
    buf_release(&text);
    recipe_free(r);
}

static void one_value_stands_for_a_list(void **state)
{
    (void)state;
    struct recipe *r = read_text("return sweep { name = 'x', models = 'm', K = 8.0, seeds = 3,\n"
                                 "routers = seqtopk(), tasks = nll { file = 'f', field = 'body',\n"
                                 "truncate = true } }");
    if (!r)
        fail_msg("%s", err.s);
    assert_int_equal(r->K.v[0], 8);
    assert_int_equal(r->seeds.v[0], 3);
    assert_int_equal(r->nrouters, 1);
    assert_string_equal(r->tasks[0].text, "body");
    assert_true(r->tasks[0].truncate);
    assert_int_equal(r->log_tokens, LOG_ALL);
    assert_false(r->judged);
    recipe_free(r);
}

static void the_recipe_sees_what_the_command_line_said(void **state)
{
    (void)state;
    const char *text = "local big = options.model == 'OLMoE-1B-7B-0125'\n"
                       "return sweep { name = 'x', models = 'm', K = big and 8 or 2,\n"
                       "limit = options.limit, routers = topk(), tasks = 'gsm8k/nll' }";
    struct sweep_options said = { .model = "allenai/OLMoE-1B-7B-0125", .limit = 7 };
    struct recipe *r = read_text(text);
    assert_non_null(r);
    assert_int_equal(r->K.v[0], 2);
    assert_int_equal(r->limit, 0);
    recipe_free(r);
    char *path = xasprintf("%s/r.lua", dir);
    r = recipe_open(path, &said, &err);
    assert_non_null(r);
    assert_int_equal(r->K.v[0], 8);
    assert_int_equal(r->limit, 7);
    recipe_free(r);
    said.model = "models/OLMoE-1B-7B-0125//"; // as a shell completes it
    r = recipe_open(path, &said, &err);
    assert_non_null(r);
    assert_int_equal(r->K.v[0], 8);
    recipe_free(r);
    free(path);
    assert_null(read_text("local m = options.models"));
    assert_non_null(strstr(err.s, "r.lua:1: options has model, device, dtype and limit, and no "
                                  "'models'"));
    assert_null(read_text("options.model = 'm'"));
    assert_non_null(strstr(err.s, "r.lua:1: options has what the command line said; it cannot be "
                                  "changed"));
}

static void a_task_may_have_its_own_training(void **state)
{
    (void)state;
    struct recipe *r = read_text(
        "return sweep { name = 'x', models = 'm', K = 8, routers = topk(), tasks = { 'gsm8k/a',\n"
        "task { 'mbpp/nll', train = { none(), sft { data = 'codealpaca/train', steps = 1,\n"
        "lr = 1 } } }, nll { file = 'f', length = 128, min_bytes = 9, train = none() } },\n"
        "train = sft { data = 'gsm8k/train', steps = 2, lr = 1 } }");
    if (!r)
        fail_msg("%s", err.s);
    assert_int_equal(r->own_trains, 1);
    assert_int_equal(r->ntrains, 4);
    assert_int_equal(r->trains[0].how.steps, 2);
    assert_int_equal(r->tasks[0].ntrains, 0);
    assert_int_equal(r->tasks[1].train, 1);
    assert_int_equal(r->tasks[1].ntrains, 2);
    assert_int_equal(r->trains[2].how.steps, 1);
    assert_int_equal(r->tasks[2].train, 3);
    assert_int_equal(r->tasks[2].length, 128);
    assert_int_equal(r->tasks[2].min_bytes, 9);
    recipe_free(r);
}

static void decoding_and_judge_are_read(void **state)
{
    (void)state;
    struct recipe *r = read_text(
        "return sweep { name = 'x', models = 'm', K = 8, routers = topk(),\n"
        "judge = { url = 'http://a/v1', model = 'm', key_env = 'K', tries = 2,\n"
        "wait = 0.5, timeout = 1.5 }, tasks = { 'gsm8k/a', task { 'gsm8k/b', max_tokens = 7,\n"
        "temperature = 0, top_p = 0.25 } } }");
    if (!r)
        fail_msg("%s", err.s);
    assert_int_equal(r->tasks[0].max_tokens, 0);
    assert_true(r->tasks[0].temperature < 0 && r->tasks[0].top_p == 0);
    assert_int_equal(r->tasks[1].max_tokens, 7);
    assert_true(r->tasks[1].temperature == 0 && r->tasks[1].top_p == 0.25);
    assert_true(r->judged);
    assert_string_equal(r->judge.url, "http://a/v1");
    assert_string_equal(r->judge.model, "m");
    assert_string_equal(r->judge.key_env, "K");
    assert_null(r->judge.command);
    assert_int_equal(r->judge.tries, 2);
    assert_true(r->judge.wait == 0.5 && r->judge.timeout == 1.5);
    recipe_free(r);
}

static void a_real_parameter_is_a_plain_number(void **state)
{
    (void)state;
    struct recipe *r = read_text("return sweep { name = 'x', K = 8, tasks = 'gsm8k/nll',\n"
                                 "routers = { topp(), topp { p = 1 }, topp { p = 1 / 3 },\n"
                                 "xmoe {}, xmoe { threshold = 1e-3 }, expert_choice() } }");
    static const double want[] = { 0.4, 1, 1.0 / 3, 0.9, 1e-3 };
    if (!r)
        fail_msg("%s", err.s);
    assert_int_equal(r->nrouters, ARRAY_LEN(want) + 1);
    for (size_t i = 0; i < ARRAY_LEN(want); i++)
        assert_true(r->routers[i].value[0].real == want[i]);
    recipe_free(r);
}

static void a_table_changed_after_its_constructor_changes_nothing(void **state)
{
    (void)state;
    struct recipe *r = read_text("local t = { max = K + 1 }\nlocal a = seqtopk(t)\nt.max = K + 5\n"
                                 "return sweep { name = 'x', K = 8, routers = { a, seqtopk(t) },\n"
                                 "tasks = 'gsm8k/nll' }");
    if (!r)
        fail_msg("%s", err.s);
    int first, second;
    assert_int_equal(expr_value(&r->routers[0].value[2].expr, 8, 64, &first, &err), 0);
    assert_int_equal(expr_value(&r->routers[1].value[2].expr, 8, 64, &second, &err), 0);
    assert_int_equal(first, 9);
    assert_int_equal(second, 13);
    recipe_free(r);
}

static void a_wrong_key_or_value_names_its_line(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        { "model = 'm'", "sweep.model: unknown key; allowed are name, models, K, routers, train, "
                         "tasks, seeds, log, judge, device, dtype, limit" },
        { "K = 'eight'", "sweep.K: the text \"eight\"; allowed is a whole number from 1 to 65535" },
        { "K = 0", "sweep.K: 0; allowed is a whole number from 1 to 65535" },
        { "K = { 8, 2.5 }", "sweep.K: 2.5; allowed is a whole number from 1 to 65535" },
        { "K = K", "sweep.K: an expression in K and N; allowed is a whole number from 1 to 65535" },
        { "K = {}", "sweep.K: an empty list; at least one element is needed" },
        { "K = { 8, nil, 4 }", "sweep.K: a list with a hole (nil) in it" },
        { "K = { 8, x = 4 }", "sweep.K: a list { ... } has no keys, but here is the text \"x\"" },
        { "models = 3", "sweep.models: 3; allowed is a text" },
        { "models = { '' }", "sweep.models: an empty text" },
        { "models = 'a\\0b'", "sweep.models: not a text in UTF-8" },
        { "models = '\\xff'", "sweep.models: not a text in UTF-8" },
        { "seeds = -1", "sweep.seeds: -1; allowed is a whole number from 0 to 9007199254740992" },
        { "limit = 0", "sweep.limit: 0; allowed is a whole number from 1 to 2147483647" },
        { "log = 'all'",
          "sweep.log: the text \"all\"; allowed is { tokens = \"all\" } or { tokens = \"none\" }" },
        { "log = { tokens = 'some' }",
          "log.tokens: the text \"some\"; allowed is \"all\" or \"none\"" },
        { "log = { token = 'all' }",
          "log.token: unknown key; allowed are tokens, expert_entropy, overlap" },
        { "train = 'none'",
          "sweep.train: the text \"none\"; allowed is none() or sft { data = ..., "
          "steps = ..., lr = ... }" },
        { "train = none { steps = 3 }", "none.steps: unknown key; allowed are none" },
        { "routers = 'topk'", "sweep.routers: the text \"topk\"; allowed is a router, such as "
                              "topk() or seqtopk { max = K + 2 }" },
        { "routers = none()", "sweep.routers: what a constructor made; allowed is a router, such "
                              "as topk() or seqtopk { max = K + 2 }" },
        { "routers = topk { 3 }", "topk: a value without a key; allowed keys are none" },
        { "routers = topk(3)", "topk takes one table: topk { ... }" },
        { "routers = seqtopk { max = 'N' }", "seqtopk.max: the text \"N\"; allowed is a whole "
                                             "number or an expression in K and N" },
        { "routers = seqtopk { max = 2.5 }",
          "seqtopk.max: 2.5; allowed is a whole number or an expression in K and N" },
        { "routers = seqtopk { max = 1 << 40 }", "seqtopk.max: 1099511627776; allowed is a whole "
                                                 "number or an expression in K and N" },
        { "routers = seqtopk { mode = K }", "seqtopk.mode: an expression in K and N; allowed is "
                                            "\"global\" or \"online\" or \"strict\"" },
        { "routers = topp { p = 0 }", "topp.p: 0; allowed is a number above 0, up to 1" },
        { "routers = topp { p = 1.25 }", "topp.p: 1.25; allowed is a number above 0, up to 1" },
        { "routers = topp { p = 1/0 }", "topp.p: inf; allowed is a number above 0, up to 1" },
        { "routers = topp { p = '0.4' }",
          "topp.p: the text \"0.4\"; allowed is a number above 0, up to 1" },
        { "routers = topp { p = K / 2 }",
          "topp.p: an expression in K and N; allowed is a number above 0, up to 1" },
        { "routers = topp { threshold = 1 }", "topp.threshold: unknown key; allowed are p" },
        { "routers = xmoe { threshold = -1 }",
          "xmoe.threshold: -1; allowed is a number above 0, up to 1" },
        { "routers = expert_choice { min = 1 }",
          "expert_choice.min: unknown key; allowed are none" },
        { "tasks = 3",
          "sweep.tasks: 3; allowed is the name of a task, such as \"gsm8k/nll\", "
          "task { ... }, nll { file = ... }, continue { file = ... } or speed { ... }" },
        { "tasks = task { 'gsm8k/nll', train = 'sft' }",
          "task.train: the text \"sft\"; allowed is none() or sft { data = ..., steps = ..., "
          "lr = ... }" },
        { "tasks = nll { file = 'f', length = 1 }",
          "nll.length: 1; allowed is a whole number from 2 to 1000000" },
        { "tasks = { nll { file = 'f', name = 'a' }, nll { file = 'g', name = 'a' } }",
          "nll.name: \"a\" is the name of another task already" },
        { "tasks = nll { file = 'f', name = 'a b' }",
          "nll.name: \"a b\"; allowed are letters, digits, - and _, at most 64 of them" },
        { "tasks = nll {}", "nll: 'file' is missing" },
        { "tasks = nll { file = 'f', truncate = 1 }", "nll.truncate: 1; allowed is true or false" },
        { "tasks = task { limit = 3 }", "task: '[1]' is missing" },
        { "tasks = task { 'gsm8k/nll', 'more' }",
          "task: a value without a key; allowed keys are file, limit, truncate, max_tokens, "
          "temperature, top_p, train" },
        { "tasks = task { 'gsm8k/x', temperature = '1' }",
          "task.temperature: the text \"1\"; allowed is a number from 0 to 100" },
        { "tasks = task { 'gsm8k/x', temperature = math.huge }",
          "task.temperature: inf; allowed is a number from 0 to 100" },
        { "tasks = task { 'gsm8k/x', top_p = 0 }",
          "task.top_p: 0; allowed is a number above 0, up to 1" },
        { "tasks = nll { file = 'f', max_tokens = 1 }",
          "nll.max_tokens: unknown key; allowed are file, field, name, min_bytes, limit, truncate, "
          "length, train" },
        { "tasks = continue { file = 'f', max_tokens = 5 }",
          "continue: 'prompt_tokens' is missing" },
        { "tasks = continue { file = 'f', prompt_tokens = 1, max_tokens = 1, truncate = true }",
          "continue.truncate: unknown key; allowed are file, field, name, min_bytes, limit, "
          "prompt_tokens, max_tokens, temperature, top_p, stop_at_end, train" },
        { "tasks = speed { limit = 3 }",
          "speed.limit: unknown key; allowed are name, prompt_tokens, tokens, batch, repeats, "
          "warmup, train" },
        { "tasks = speed { name = 'a b' }",
          "speed.name: \"a b\"; allowed are letters, digits, - and _, at most 64 of them" },
        { "tasks = speed { tokens = 0 }",
          "speed.tokens: 0; allowed is a whole number from 1 to 1000000" },
        { "judge = 'gpt'", "judge: the text \"gpt\"; allowed is a table { url =, model =, key_env "
                           "=, command =, tries =, wait =, timeout = }" },
        { "judge = { uri = 'x' }", "judge.uri: unknown key; allowed are url, model, key_env, "
                                   "command, tries, wait, timeout" },
        { "judge = { tries = 0 }", "judge.tries: 0; allowed is a whole number from 1 to 100" },
        { "judge = { wait = 0 }", "judge.wait: 0; allowed is a number above 0, up to 120" },
        { "judge = { timeout = 0 }", "judge.timeout: 0; allowed is a number above 0, up to 3600" },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        assert_refused(cases[i][0], cases[i][1]);
}

static void symbols_only_do_arithmetic(void **state)
{
    (void)state;
    static const char no[] =
        "K and N are symbols without a value yet: only + - * / // work on them";
    assert_refused("limit = K > 3 and 1 or 2", no);
    assert_refused("limit = K == N and 1 or 2", no);
    assert_refused("limit = K % 2", no);
    assert_refused("limit = N ^ 2", no);
    assert_refused("name = 'x' .. K", no);
    assert_refused("limit = K.x", no);
    assert_refused("limit = K + 'x'", "K and N go together with numbers, not with a string");
    assert_refused("limit = K + {}", "K and N go together with numbers, not with a table");
    assert_refused("limit = 0.1 * K",
                   "0.1 beside K and N is not exact; write a fraction, such as K / 10");
    struct recipe *r = read_text("local e = K for i = 1, 100 do e = e + 1 end");
    assert_null(r);
    assert_non_null(strstr(err.s, "r.lua:1: an expression in K and N of more than 32 steps"));
}

static void a_key_is_found_behind_comments_strings_and_other_tables(void **state)
{
    (void)state;
    static const struct {
        const char *text, *want;
    } cases[] = {
        { "return sweep {\n--[[ wrong = 1\n]]\nname = 'wrong = 2',\nlog = { wrong = 3 },\n"
          "wrong = 0 }",
          "r.lua:6: sweep.wrong" },
        { "return sweep { name = [==[\nwrong = 1]] ]==],\nlimit = 1 --wrong = 1\n , wrong\n= 0 }",
          "r.lua:4: sweep.wrong" },
        { "return sweep { name = 'it\\'s { ', K = 1 == 2,\n[\"wrong\"] = 0 }",
          "r.lua:2: sweep.wrong" },
        { "local t = { wrong = 'x' }\nt.wrong = 0\nreturn sweep(t)", "r.lua:3: sweep.wrong" },
        { "local a, b = topk(), topk {\n x = 1 } return sweep { name = 'x', routers = { a,\n b },"
          "K = 8, tasks = '' }",
          "r.lua:2: topk.x" },
        { "local t = { wrong = 1,\nname = 'x' }\nlocal u = {\nlimit = 2 }\nfor k, v in pairs(u) do "
          "t[k] "
          "= v end\nreturn sweep {\n['limit'] = 0, name = 'x', K = 8, routers = topk(), tasks = "
          "'x' "
          "}",
          "r.lua:7: sweep.limit" },
        { "return sweep { name = 'x', K = 8, routers = { seqtopk { min = 1 }, seqtopk {\n"
          "min = 1,\nmax = 'a' } }, tasks = '' }",
          "r.lua:3: seqtopk.max" },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct recipe *r = read_text(cases[i].text);
        if (r || !strstr(err.s, cases[i].want))
            fail_msg("%s\n  says    %s\n  and not %s", cases[i].text, r ? "nothing" : err.s,
                     cases[i].want);
    }
}

static void a_name_is_plain(void **state)
{
    (void)state;
    assert_null(read_text("return sweep {\nname = 'a/b', K = 8, routers = topk(), tasks = 't' }"));
    assert_non_null(strstr(err.s, "r.lua:2: sweep.name: \"a/b\"; allowed are letters, digits, - "
                                  "and _, at most 64 of them"));
    assert_null(read_text("return sweep { name = ('a'):rep(65), K = 8, routers = topk(),\n"
                          "tasks = 't' }"));
    assert_non_null(strstr(err.s, "at most 64"));
    assert_null(read_text("return sweep {\nK = 8 }"));
    assert_non_null(strstr(err.s, "r.lua:1: sweep: 'name' is missing"));
}

/* The rest of the line behind `-- says: `, without its end. */
static char *expected(const char *path)
{
    struct buf text = BUF_INIT;
    if (read_file(path, 1 << 20, &text, &err) != 0)
        BUG("%s", err.s);
    const char *says = strstr(text.s, "-- says: ");
    if (!says)
        BUG("%s has no line -- says: ...", path);
    char *want = xstrndup(says + 9, strcspn(says + 9, "\n"));
    buf_release(&text);
    return want;
}

static void each_bad_recipe_is_refused_with_its_sentence(void **state)
{
    (void)state;
    DIR *d = opendir(RECIPES);
    struct sweep_options o = { 0 };
    int seen = 0;
    for (struct dirent *e; (e = readdir(d));) {
        if (strncmp(e->d_name, "bad_", 4) != 0)
            continue;
        seen++;
        char *path = xasprintf("%s/%s", RECIPES, e->d_name), *want = expected(path);
        struct sweep *s = sweep_open(path, &o, &err);
        if (s)
            fail_msg("%s is taken", path);
        if (strncmp(err.s, path, strlen(path)) != 0 || !strstr(err.s, want))
            fail_msg("%s\n  says    %s\n  and not %s", path, err.s, want);
        assert_null(strchr(err.s, '\n'));
        free(path);
        free(want);
    }
    closedir(d);
    assert_in_range(seen, 15, 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(every_word_is_read, enter, leave),
        cmocka_unit_test_setup_teardown(one_value_stands_for_a_list, enter, leave),
        cmocka_unit_test_setup_teardown(the_recipe_sees_what_the_command_line_said, enter, leave),
        cmocka_unit_test_setup_teardown(a_task_may_have_its_own_training, enter, leave),
        cmocka_unit_test_setup_teardown(decoding_and_judge_are_read, enter, leave),
        cmocka_unit_test_setup_teardown(a_real_parameter_is_a_plain_number, enter, leave),
        cmocka_unit_test_setup_teardown(a_table_changed_after_its_constructor_changes_nothing,
                                        enter, leave),
        cmocka_unit_test_setup_teardown(a_wrong_key_or_value_names_its_line, enter, leave),
        cmocka_unit_test_setup_teardown(symbols_only_do_arithmetic, enter, leave),
        cmocka_unit_test_setup_teardown(a_key_is_found_behind_comments_strings_and_other_tables,
                                        enter, leave),
        cmocka_unit_test_setup_teardown(a_name_is_plain, enter, leave),
        cmocka_unit_test_setup_teardown(each_bad_recipe_is_refused_with_its_sentence, enter, leave),
    };
    return cmocka_run_group_tests_name("recipe", tests, NULL, NULL);
}
