/*
 * test_sweep.c: the cells of a recipe, their order and identity, and what is checked before them.
 */
#include "recipe/sweep.h"
#include "fixture.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static char *dir;
static struct buf err = BUF_INIT;
static const struct sweep_options silent;

/* Models a and b with 8 and 4 experts, texts of three lines. */
static int enter(void **state)
{
    (void)state;
    dir = fixture_dir();
    struct fixture_model m = fixture_model(FAMILY_OLMOE);
    char *a = xasprintf("%s/a", dir), *b = xasprintf("%s/b", dir);
    fixture_model_write(a, &m);
    fixture_text(a, "tokenizer.json", "{}");
    m.experts = 4;
    fixture_model_write(b, &m);
    fixture_text(b, "tokenizer.json", "{}");
    fixture_text(dir, "t.jsonl",
                 "{\"text\": \"one two\"}\n{\"text\": \"three\", \"body\": \"four\"}\n"
                 "{\"text\": \"five\"}\n");
    setenv("SEQTOPK_MODELS", dir, 1);
    setenv("SEQTOPK_DATA", dir, 1);
    unsetenv("SEQTOPK_EVALS");
    free(a);
    free(b);
    return 0;
}

static int leave(void **state)
{
    (void)state;
    fixture_remove(dir);
    buf_release(&err);
    return 0;
}

static struct sweep *open_text(const char *text, const struct sweep_options *o)
{
    fixture_text(dir, "r.lua", text);
    char *path = xasprintf("%s/r.lua", dir);
    struct sweep *s = sweep_open(path, o, &err);
    free(path);
    return s;
}

/* return sweep { ... } with what `changes` says over the defaults. */
static struct sweep *open_with(const char *changes, const struct sweep_options *o)
{
    char *text = xasprintf("local s = { name = 'x', models = 'a', K = 2, routers = topk(),\n"
                           "tasks = nll { file = 't.jsonl' } }\n"
                           "for k, v in pairs { %s } do s[k] = v end\nreturn sweep(s)\n",
                           changes);
    struct sweep *s = open_text(text, o);
    free(text);
    return s;
}

/* The id of the only cell. */
static void only_id(const char *changes, const struct sweep_options *o, char id[33])
{
    struct sweep *s = open_with(changes, o);
    if (!s)
        fail_msg("%s: %s", changes, err.s);
    assert_int_equal(s->ncells, 1);
    memcpy(id, s->cells[0].id, 33);
    sweep_free(s);
}

/* one.lua: an eval with one form that generates, and `changes` to e, f its form, m its measure. */
static void write_one(const char *changes)
{
    char *text = xasprintf(
        "local m = { 'exact', reference = '{q}' }\n"
        "local f = { version = 1, prompt = 'Q {q}', generate = { max_tokens = 9 },\n"
        "shots = { file = 's.jsonl', count = 2, text = '{q}' }, measures = { m } }\n"
        "local e = { name = 'one', about = '-', license = '-', source = '-', file = 'g.jsonl',\n"
        "forms = { f = f } }\n%s\nreturn e\n",
        changes);
    fixture_text(dir, "one.lua", text);
    free(text);
}

static void assert_same_id(const char *changes, const char *others)
{
    char a[33], b[33];
    only_id(changes, &silent, a);
    only_id(others, &silent, b);
    assert_int_equal(strlen(a), 32);
    assert_string_equal(a, b);
}

static void assert_fails(const char *changes, const struct sweep_options *o, const char *want)
{
    struct sweep *s = open_with(changes, o);
    if (s || !strstr(err.s, want))
        fail_msg("%s\n  says    %s\n  and not %s", changes, s ? "nothing" : err.s, want);
}

static void cells_come_in_their_order(void **state)
{
    (void)state;
    struct sweep *s = open_with("models = { 'a', 'b' }, K = { 2, 1 }, seeds = { 5, 6 }, tasks = {\n"
                                "nll { file = 't.jsonl' }, nll { file = 't.jsonl', limit = 1 } },\n"
                                "routers = { topk(), seqtopk { min = 0, max = N } }",
                                &silent);
    if (!s)
        fail_msg("%s", err.s);
    assert_int_equal(s->ncells, 2 * 2 * 2 * 2 * 2);
    for (size_t i = 0; i < s->ncells; i++) {
        const struct cell *c = &s->cells[i];
        assert_ptr_equal(c->model, &s->models[i / 16]);
        assert_ptr_equal(c->task, &s->tasks[i / 8 % 2]);
        assert_int_equal(c->args.K, i / 4 % 2 ? 1 : 2);
        assert_string_equal(c->router->name, i / 2 % 2 ? "seqtopk" : "topk");
        assert_int_equal(c->seed, i % 2 ? 6 : 5);
        assert_int_equal(c->args.N, i / 16 ? 4 : 8);
        assert_int_equal(c->args.min, i / 2 % 2 ? 0 : c->args.K);
        assert_int_equal(c->args.max, i / 2 % 2 ? c->args.N : c->args.K);
        assert_int_equal(c->task->documents, i / 8 % 2 ? 1 : 3);
        assert_string_equal(c->train, "none");
    }
    sweep_free(s);
}

static void a_tasks_own_training_takes_the_place_of_the_sweeps(void **state)
{
    (void)state;
    struct sweep *s = open_with(
        "train = { none(), sft { data = { file = 't.jsonl', text = 'text' }, steps = 1,\n"
        "lr = 1 } }, tasks = { nll { file = 't.jsonl' }, nll { file = 't.jsonl', limit = 1,\n"
        "train = sft { data = { file = 't.jsonl', text = 'text' }, steps = 2, lr = 1 } } }",
        &silent);
    if (!s)
        fail_msg("%s", err.s);
    assert_int_equal(s->ncells, 3);
    assert_int_equal(s->ntrainings, 2);
    assert_string_equal(s->cells[0].train, "none");
    assert_int_equal(s->cells[0].task->documents, 3);
    assert_int_equal(s->cells[1].training->how.steps, 1);
    assert_int_equal(s->cells[1].task->documents, 3);
    assert_int_equal(s->cells[2].training->how.steps, 2);
    assert_int_equal(s->cells[2].task->documents, 1);
    sweep_free(s);
}

static void routers_to_compare_with_get_the_cells_k(void **state)
{
    (void)state;
    struct sweep *s = open_with("models = { 'a', 'b' }, K = { 2, 1 }, log = { overlap = { topk(),\n"
                                "seqtopk { max = N } } }",
                                &silent);
    if (!s)
        fail_msg("%s", err.s);
    assert_int_equal(s->noverlap, 2);
    assert_string_equal(s->overlap_names[0], "topk");
    assert_string_equal(s->overlap_names[1], "seqtopk_global");
    for (size_t i = 0; i < s->ncells; i++)
        for (int j = 0; j < 2; j++) {
            const struct router_args *args = &s->cells[i].overlap[j].args;
            assert_int_equal(args->K, s->cells[i].args.K);
            assert_int_equal(args->N, s->cells[i].args.N);
            assert_int_equal(args->max, j ? args->N : args->K);
        }
    sweep_free(s);
    assert_fails("log = { overlap = 'topk' }", &silent,
                 "r.lua:4: log.overlap: the text \"topk\"; allowed is a router of `seqtopk "
                 "list`, such as topk()");
    assert_fails("log = { overlap = { topk(), topk() } }", &silent,
                 "overlap has two routers that its metrics would call topk");
    assert_fails("log = { overlap = batchtopk() }", &silent,
                 "selections are compared sequence by sequence, from the scores alone; batchtopk "
                 "looks at a batch");
    assert_fails("log = { overlap = threshold() }", &silent, "threshold reads logits");
    assert_fails("log = { overlap = seqtopk { mode = 'online', prefill = 'global' } }", &silent,
                 "seqtopk wants to know where a prompt ends");
    assert_fails("log = { overlap = seqtopk { max = N + 1 } }", &silent, "allowed is");
}

static void routers_to_compare_with_have_the_experts_that_pruning_left(void **state)
{
    (void)state;
    struct sweep *s =
        open_with("train = { none(), sft { data = { file = 't.jsonl', text = 'text' }, steps = 1,\n"
                  "lr = 0, prune = { share = 0.5 } } }, log = { overlap = seqtopk { max = N } }",
                  &silent);
    if (!s)
        fail_msg("%s", err.s);
    assert_int_equal(s->ncells, 2);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(s->cells[i].overlap[0].args.N, i ? 4 : 8);
        assert_int_equal(s->cells[i].overlap[0].args.max, i ? 4 : 8);
        assert_int_equal(s->cells[i].args.N, i ? 4 : 8);
    }
    sweep_free(s);
}

static void times_are_not_the_same_for_every_seed(void **state)
{
    (void)state;
    struct sweep *s = open_with("seeds = { 1, 2 }, tasks = speed { tokens = 2 }", &silent);
    if (!s)
        fail_msg("%s", err.s);
    assert_false(sweep_repeats(s));
    sweep_free(s);
    s = open_with("seeds = { 1, 2 }", &silent);
    assert_non_null(s);
    assert_true(sweep_repeats(s));
    sweep_free(s);
}

static void the_same_cell_stands_once(void **state)
{
    (void)state;
    struct sweep *s =
        open_with("K = { 2, 1, 2 }, seeds = { 0, 0 }, routers = { seqtopk(), topk(),\n"
                  "seqtopk { mode = 'global', min = 1, max = 2 + K }, topk() }",
                  &silent);
    if (!s)
        fail_msg("%s", err.s);
    assert_int_equal(s->ncells, 4);
    assert_string_equal(s->cells[0].router->name, "seqtopk");
    assert_string_equal(s->cells[1].router->name, "topk");
    assert_int_equal(s->cells[1].args.K, 2);
    assert_int_equal(s->cells[2].args.K, 1);
    sweep_free(s);
}

/* The model's own K is 2; topp and xmoe take no heed of it. */
static void a_router_that_ignores_K_has_one_cell_for_all_of_them(void **state)
{
    (void)state;
    struct sweep *s = open_with("K = { 8, 1, 2 }, routers = { topp(), xmoe(), topp { p = 0.4 },\n"
                                "topp { p = 0.5 }, expert_choice() }",
                                &silent);
    static const struct {
        const char *router;
        int K, min, max;
    } want[] = {
        { "topp", 2, 1, 8 },          { "xmoe", 2, 1, 8 },          { "topp", 2, 1, 8 },
        { "expert_choice", 8, 0, 8 }, { "expert_choice", 1, 0, 8 }, { "expert_choice", 2, 0, 8 },
    };
    if (!s)
        fail_msg("%s", err.s);
    assert_int_equal(s->models[0].config.top_k, 2);
    assert_int_equal(s->ncells, ARRAY_LEN(want));
    for (size_t i = 0; i < ARRAY_LEN(want); i++) {
        const struct cell *c = &s->cells[i];
        assert_string_equal(c->router->name, want[i].router);
        assert_int_equal(c->args.K, want[i].K);
        assert_int_equal(c->args.min, want[i].min);
        assert_int_equal(c->args.max, want[i].max);
    }
    assert_true(s->cells[0].args.p == 0.4 && s->cells[2].args.p == 0.5);
    sweep_free(s);
    assert_same_id("K = 1, routers = topp()", "K = 7, routers = topp { p = 0.4 }");
    assert_fails("K = 9, routers = topp()", &silent, "sweep.K: K = 9 is above N = 8");
}

static void an_id_changes_with_all_that_can_change_numbers(void **state)
{
    (void)state;
    static const char *const changes[] = {
        "",
        "K = 1",
        "seeds = 1",
        "models = 'b'",
        "dtype = 'bfloat16'",
        "device = 'cuda'",
        "routers = seqtopk()",
        "routers = seqtopk { mode = 'online' }",
        "routers = seqtopk { min = 0 }",
        "routers = seqtopk { max = K + 1 }",
        "routers = seqtopk { segment = 9 }",
        "routers = batchtopk()",
        "routers = batchtopk { batch = 2 }",
        "routers = topp()",
        "routers = topp { p = 0.5 }",
        "routers = topp { p = 0.4 + 1e-16 }",
        "routers = xmoe()",
        "routers = xmoe { threshold = 0.4 }",
        "routers = expert_choice()",
        "routers = expert_choice(), K = 1",
        "limit = 2",
        "tasks = nll { file = 't.jsonl', truncate = true }",
        "tasks = nll { file = 't.jsonl', length = 2 }",
        "tasks = nll { file = 't.jsonl', length = 2, name = 'pairs' }",
        "log = { expert_entropy = true }",
        "log = { overlap = topk() }",
        "log = { overlap = seqtopk() }",
        "log = { overlap = { topk(), seqtopk { mode = 'online' } } }",
        "tasks = nll { file = 't.jsonl', min_bytes = 1 }",
        "routers = batchtopk { shuffle = 'yes' }",
        "tasks = nll { file = 't.jsonl', field = 'body', limit = 2 }",
        "tasks = nll { file = 'other.jsonl' }",
        "tasks = task { 'gsm8k/nll', file = 'g.jsonl' }",
        "tasks = task { 'two/nll', file = 'g.jsonl' }",
        "tasks = task { 'two/more', file = 'g.jsonl' }",
        "tasks = task { 'two/same', file = 'g.jsonl' }",
    };
    fixture_text(dir, "t.jsonl",
                 "{\"text\": \"a b\", \"body\": \"c\"}\n{\"text\": \"a\", "
                 "\"body\": \"d\"}\n{\"text\": \"a\"}\n");
    fixture_text(dir, "other.jsonl", "{\"text\": \"a c\"}\n{\"text\": \"a\"}\n{\"text\": \"a\"}\n");
    fixture_text(dir, "g.jsonl", "{\"question\": \"a\", \"answer\": \"b\"}\n");
    fixture_text(dir, "two.lua",
                 "return { name = 'two', about = '-', license = '-', source = '-', file = 'g',\n"
                 "forms = { nll = { version = 1, prompt = '{question}', target = '{answer}' },\n"
                 "more = { version = 1, prompt = '{question} ', target = '{answer}' },\n"
                 "same = { version = 2, prompt = '{question}', target = '{answer}' } } }");
    setenv("SEQTOPK_EVALS", dir, 1);
    char id[ARRAY_LEN(changes)][33];
    for (size_t i = 0; i < ARRAY_LEN(changes); i++) {
        only_id(changes[i], &silent, id[i]);
        for (size_t j = 0; j < i; j++)
            if (strcmp(id[i], id[j]) == 0)
                fail_msg("'%s' and '%s' have the same id", changes[i], changes[j]);
    }
}

/* One form that generates; each change of it must give another id. */
static void an_id_changes_with_every_part_of_a_form(void **state)
{
    (void)state;
    static const char *const changes[] = {
        "",
        "f.version = 2",
        "f.prompt = '{q}'",
        "e.rows = { field = 'n', from = 1, to = 1 }",
        "e.rows = { field = 'n', from = 0, to = 1 }",
        "f.shots.text = '{q} '",
        "f.shots.file = 't.jsonl' f.shots.text = 'x'",
        "f.shots.text = 'x'",
        "f.shots.count = 1",
        "f.shots.rows = { field = 'n', from = 1, to = 2 }",
        "f.shots.draw = 'python' f.shots.seed = 0",
        "f.shots.draw = 'python' f.shots.seed = 1",
        "f.generate.max_tokens = 10",
        "f.generate.temperature = 0.5",
        "f.generate.temperature = 0.5 f.generate.top_p = 0.5",
        "f.generate.stop = 'x'",
        "f.generate.stop = 'z'",
        "f.generate.stop = { 'x', 'y' }",
        "f.generate.stop_at_end_text = true",
        "f.long_prompt = 'cut'",
        "m.name = 'other'",
        "m[1] = 'chrf' m.name = 'exact'",
        "m.before = { { 'a', 'b' } }",
        "m.before = { { 'a', 'c' } }",
        "m.normalise = { { 'a', 'b' } }",
        "m.find = 'a'",
        "m.find = 'a' m.take = 'last'",
        "m.find = 'a' m.otherwise = 'whole'",
        "m.strip = true",
        "m.ignore_case = true",
        "m.reference = '{q} '",
        "f.measures[2] = { 'program', program = '{q}' }",
        "f.measures[2] = { 'program', program = '{q} ' }",
        "f.measures[2] = { 'program', program = '{q}', milliseconds = 7 }",
        "f.measures[2] = { 'rouge_l', reference = '{q}' }",
        "f.measures[2] = { 'rouge_l', reference = '{q}', characters = true }",
        "f.measures[2] = { 'judge', user = '{q}', parse = '(1)' }",
        "f.measures[2] = { 'judge', user = '{q} ', parse = '(1)' }",
        "f.measures[2] = { 'judge', user = '{q}', parse = '(2)' }",
        "f.measures[2] = { 'judge', user = '{q}', parse = '(1)', system = 's' }",
        "f.measures[2] = { 'judge', user = '{q}', parse = '(1)', out_of = 5 }",
        "f.measures[2] = { 'judge', user = '{q}', parse = '(1)', max_tokens = 5 }",
    };
    char id[ARRAY_LEN(changes)][33];
    fixture_text(dir, "g.jsonl", "{\"n\": 1, \"q\": \"a\"}\n");
    fixture_text(dir, "s.jsonl", "{\"n\": 1, \"q\": \"a\"}\n{\"n\": 2, \"q\": \"b\"}\n");
    setenv("SEQTOPK_EVALS", dir, 1);
    for (size_t i = 0; i < ARRAY_LEN(changes); i++) {
        write_one(changes[i]);
        only_id("tasks = 'one/f'", &silent, id[i]);
        for (size_t j = 0; j < i; j++)
            if (strcmp(id[i], id[j]) == 0)
                fail_msg("'%s' and '%s' have the same id", changes[i], changes[j]);
    }
    char other[33];
    write_one("m.golden = { { output = 'a', found = 'a' } } f.self_test = { { output = '', score = "
              "0 } } f.about = 'x'");
    only_id("tasks = 'one/f'", &silent, other);
    assert_string_equal(other, id[0]); // these change no number
    write_one("");
    fixture_text(dir, "s.jsonl", "{\"n\": 1, \"q\": \"b\"}\n{\"n\": 2, \"q\": \"b\"}\n");
    only_id("tasks = 'one/f'", &silent, other);
    assert_string_not_equal(other, id[0]); // the shots' data do
}

static void the_judge_is_in_an_id_where_one_is_asked(void **state)
{
    (void)state;
    char none[33], m[33], n[33], command[33];
    static const char by_m[] = "tasks = 'one/f', judge = { url = 'http://a', model = 'm' }";
    fixture_text(dir, "g.jsonl", "{\"n\": 1, \"q\": \"a\"}\n");
    fixture_text(dir, "s.jsonl", "{\"n\": 1, \"q\": \"a\"}\n{\"n\": 2, \"q\": \"b\"}\n");
    setenv("SEQTOPK_EVALS", dir, 1);
    write_one("");
    assert_same_id("tasks = 'one/f'", by_m);
    write_one("f.measures[2] = { 'judge', user = '{q}', parse = '(1)' }");
    only_id("tasks = 'one/f'", &silent, none);
    only_id(by_m, &silent, m);
    only_id("tasks = 'one/f', judge = { url = 'http://a', model = 'n' }", &silent, n);
    only_id("tasks = 'one/f', judge = { command = 'c', model = 'm' }", &silent, command);
    assert_string_not_equal(none, m);
    assert_string_not_equal(m, n);
    assert_string_not_equal(m, command);
    assert_same_id(by_m, "tasks = 'one/f', judge = { url = 'http://b', model = 'm', tries = 2 }");
    struct sweep *s = open_with(by_m, &silent);
    assert_true(sweep_asks_judge(s) && !task_runs_code(&s->tasks[0]) && s->judged);
    assert_string_equal(s->judge.model, "m");
    sweep_free(s);
    write_one("f.measures[2] = { 'program', program = '{q}' }");
    s = open_with("tasks = 'one/f'", &silent);
    assert_true(!sweep_asks_judge(s) && task_runs_code(&s->tasks[0]) && !s->judged);
    sweep_free(s);
}

static void another_decoding_is_in_the_tasks_name(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        { "", "one/f" },
        { ", max_tokens = 9, temperature = 0", "one/f" }, // as the form has it
        { ", max_tokens = 3", "one/f(max_tokens=3)" },
        { ", temperature = 0.7", "one/f(temperature=0.7)" },
        { ", temperature = 0.7, top_p = 0.95, max_tokens = 3",
          "one/f(max_tokens=3,temperature=0.7,top_p=0.95)" },
    };
    fixture_text(dir, "g.jsonl", "{\"n\": 1, \"q\": \"a\"}\n");
    fixture_text(dir, "s.jsonl", "{\"n\": 1, \"q\": \"a\"}\n{\"n\": 2, \"q\": \"b\"}\n");
    setenv("SEQTOPK_EVALS", dir, 1);
    write_one("f.generate.stop = { 'x', 'y' }");
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char *changes = xasprintf("tasks = task { 'one/f'%s }", cases[i][0]);
        struct sweep *s = open_with(changes, &silent);
        if (!s)
            fail_msg("%s", err.s);
        assert_string_equal(s->tasks[0].name, cases[i][1]);
        assert_int_equal(s->tasks[0].decoding.stop.len, 2);
        sweep_free(s);
        free(changes);
    }
}

static bool repeats(const char *changes)
{
    struct sweep *s = open_with(changes, &silent);
    if (!s)
        fail_msg("%s", err.s);
    bool r = sweep_repeats(s);
    sweep_free(s);
    return r;
}

static void seeds_repeat_only_what_is_not_sampled(void **state)
{
    (void)state;
    fixture_text(dir, "g.jsonl", "{\"n\": 1, \"q\": \"a\"}\n");
    fixture_text(dir, "s.jsonl", "{\"n\": 1, \"q\": \"a\"}\n{\"n\": 2, \"q\": \"b\"}\n");
    setenv("SEQTOPK_EVALS", dir, 1);
    write_one("");
    assert_false(repeats("seeds = 3, tasks = 'one/f'"));
    assert_true(repeats("seeds = { 1, 2 }, tasks = 'one/f'"));
    assert_false(repeats("seeds = { 1, 2 }, tasks = task { 'one/f', temperature = 1 }"));
    assert_true(
        repeats("seeds = { 1, 2 }, tasks = { task { 'one/f', temperature = 1 }, 'one/f' }"));
}

static void a_router_that_looks_ahead_cannot_generate(void **state)
{
    (void)state;
    fixture_text(dir, "g.jsonl", "{\"n\": 1, \"q\": \"a\"}\n");
    fixture_text(dir, "s.jsonl", "{\"n\": 1, \"q\": \"a\"}\n{\"n\": 2, \"q\": \"b\"}\n");
    setenv("SEQTOPK_EVALS", dir, 1);
    write_one("");
    assert_fails(
        "tasks = 'one/f', routers = batchtopk()", &silent,
        "r.lua:3: batchtopk: selects over whole sequences and so cannot route a text while "
        "it is written, as task one/f asks; say seqtopk { mode = \"online\", prefill = "
        "\"global\" } instead");
    assert_fails("tasks = 'one/f', routers = expert_choice()", &silent,
                 "expert_choice: selects over whole sequences");
    assert_fails("tasks = 'one/f', routers = seqtopk()", &silent,
                 "seqtopk: global selects over whole sequences");
    struct sweep *s = open_with("tasks = 'one/f', routers = { seqtopk { mode = 'online', prefill = "
                                "'global' }, seqtopk { mode = 'strict' }, topp(), xmoe() }",
                                &silent);
    if (!s)
        fail_msg("%s", err.s);
    assert_int_equal(s->ncells, 4);
    sweep_free(s);
}

static void an_id_changes_with_the_model_and_tokenizer_themselves(void **state)
{
    (void)state;
    char before[33], after[33];
    char *a = xasprintf("%s/a", dir);
    only_id("", &silent, before);
    fixture_text(a, "tokenizer.json", "{ }");
    only_id("", &silent, after);
    assert_string_not_equal(before, after);
    struct fixture_model m = fixture_model(FAMILY_OLMOE);
    m.seed = 2;
    fixture_model_write(a, &m);
    only_id("", &silent, before);
    assert_string_not_equal(before, after);
    free(a);
}

/* Without tokens there are fewer metrics, and half a cell of each kind would look whole. */
static void an_id_changes_with_what_is_logged(void **state)
{
    (void)state;
    char all[33], none[33];
    only_id("", &silent, all);
    only_id("log = { tokens = 'none' }", &silent, none);
    assert_string_not_equal(all, none);
}

/* Under the same name, version and number of documents. */
static void an_id_changes_with_the_data_and_the_templates_themselves(void **state)
{
    (void)state;
    static const char *const forms[] = { "prompt = '{q}', target = '{a}'",
                                         "prompt = '{q} ', target = '{a}'",
                                         "prompt = '{q}', target = ' {a}'" };
    char ids[ARRAY_LEN(forms) + 1][33];
    fixture_text(dir, "g.jsonl", "{\"q\": \"a\", \"a\": \"b\"}\n");
    setenv("SEQTOPK_EVALS", dir, 1);
    for (size_t i = 0; i < ARRAY_LEN(forms); i++) {
        char *text = xasprintf("return { name = 'one', about = '-', license = '-', source = '-',\n"
                               "file = 'g.jsonl', forms = { nll = { version = 1, %s } } }",
                               forms[i]);
        fixture_text(dir, "one.lua", text);
        only_id("tasks = 'one/nll'", &silent, ids[i]);
        free(text);
    }
    fixture_text(dir, "g.jsonl", "{\"q\": \"a\", \"a\": \"c\"}\n");
    only_id("tasks = 'one/nll'", &silent, ids[ARRAY_LEN(forms)]);
    assert_string_not_equal(ids[0], ids[1]);
    assert_string_not_equal(ids[0], ids[2]);
    assert_string_not_equal(ids[2], ids[3]); // the data, with the last templates
}

static void an_id_does_not_hang_on_how_it_is_said(void **state)
{
    (void)state;
    assert_same_id("", "name = 'y', seeds = { 0 }, train = none(), device = 'cpu', log = { tokens "
                       "= 'all' }");
    assert_same_id("routers = seqtopk()",
                   "routers = seqtopk { mode = 'global', min = 1, max = 4 }");
    assert_same_id("", "limit = 3");
    assert_same_id("limit = 2", "tasks = nll { file = 't.jsonl', limit = 2 }");
    assert_same_id("device = 'cuda:0'", "device = 'cuda:1'");
    char *other = xasprintf("models = '%s/a'", dir);
    assert_same_id("", other);
    free(other);
}

static void the_command_line_stands_above_the_recipe(void **state)
{
    (void)state;
    struct sweep_options o = { .model = "b", .device = "cuda:1", .dtype = "float16", .limit = 2 };
    struct sweep *s = open_with("device = 'cpu', dtype = 'bfloat16', limit = 3", &o);
    if (!s)
        fail_msg("%s", err.s);
    assert_int_equal(s->nmodels, 1);
    assert_string_equal(s->models[0].name, "b");
    assert_string_equal(s->device, "cuda:1");
    assert_int_equal(s->dtype, DTYPE_F16);
    assert_int_equal(s->tasks[0].limit, 2);
    sweep_free(s);
    o = (struct sweep_options){ .limit = 3 };
    s = open_with("limit = 2", &o); // the smaller limit holds
    assert_int_equal(s->tasks[0].documents, 2);
    sweep_free(s);
    s = open_text("return sweep { name = 'x', K = 2, routers = topk(),\n"
                  "tasks = nll { file = 't.jsonl' } }",
                  &(struct sweep_options){ .model = "a" });
    assert_non_null(s);
    sweep_free(s);
}

static void wrong_settings_name_where_they_were_said(void **state)
{
    (void)state;
    assert_fails("device = 'tpu'", &silent,
                 "r.lua:4: sweep.device: \"tpu\"; allowed is cpu, cuda or cuda:NUMBER");
    assert_fails("device = 'cuda:'", &silent, "sweep.device");
    assert_fails("device = 'cuda:1x'", &silent, "sweep.device");
    assert_fails("dtype = 'int8'", &silent,
                 "sweep.dtype: \"int8\"; allowed is float32, bfloat16 or float16");
    assert_fails("", &(struct sweep_options){ .device = "x" },
                 "--device x: allowed is cpu, cuda or cuda:NUMBER");
    assert_fails("", &(struct sweep_options){ .dtype = "x" }, "--dtype x: allowed is float32");
    assert_fails("", &(struct sweep_options){ .model = "c" }, "model 'c' not found");
    struct sweep *s = open_text("return sweep { name = 'x', K = 2, routers = topk(),\n"
                                "tasks = nll { file = 't.jsonl' } }",
                                &silent);
    assert_null(s);
    assert_non_null(strstr(err.s, "r.lua:1: sweep: 'models' is missing, and no --model is given"));
}

static void bounds_are_checked_for_every_model_and_K(void **state)
{
    (void)state;
    assert_fails("models = { 'a', 'b' }, K = { 2, 5 }", &silent,
                 "sweep.K: K = 5 is above N = 4, the experts of model b");
    assert_fails("models = { 'a', 'b' }, routers = seqtopk { max = K + 3 }", &silent,
                 "seqtopk.max: K + 3 is 5 with K = 2 and N = 4 (model b); allowed is K to N, here "
                 "2 to 4");
    assert_fails("routers = seqtopk { min = 3 }", &silent,
                 "seqtopk.min: 3 with K = 2 and N = 8 (model a); allowed is 0 to K, here 0 to 2");
    assert_fails("routers = batchtopk { batch = 0 }", &silent, "batchtopk.batch: 0 with K = 2");
    assert_fails("routers = seqtopk { max = N * 99999999 }", &silent,
                 "seqtopk.max: N * 99999999 is 799999992 with K = 2");
    assert_fails("routers = seqtopk { max = N * 999999999 }", &silent,
                 "seqtopk.max: N * 999999999 is too large with N = 8");
}

static void too_many_cells_are_refused(void **state)
{
    (void)state;
    static const char many[] = "seeds = (function() local t = {} for i = 1, %d do t[i] = i end "
                               "return t end)(), K = { 1, 2 }";
    char *some = xasprintf(many, 50000), *more = xasprintf(many, 50001);
    struct sweep *s = open_with(some, &silent);
    assert_non_null(s);
    assert_int_equal(s->ncells, 100000);
    sweep_free(s);
    assert_fails(more, &silent, "more than 100000 cells");
    free(some);
    free(more);
}

static void data_is_checked_before_any_weight_is_read(void **state)
{
    (void)state;
    fixture_text(dir, "bad.jsonl", "{\"text\": \"one two\"}\n{\"txt\": \"three\"}\n");
    char *weights = xasprintf("%s/a/model.safetensors", dir);
    unlink(weights);
    assert_fails("tasks = nll { file = 'bad.jsonl' }", &silent, "bad.jsonl:2: text is missing");
    assert_fails("tasks = nll { file = 'none.jsonl' }", &silent,
                 "r.lua:3: nll.file: none.jsonl: no such file");
    assert_fails("tasks = 'gsm8k/nll'", &silent, "gsm8k/test.jsonl is missing");
    assert_non_null(
        strstr(err.s, "scripts/fetch-data gets it; its folder is what SEQTOPK_DATA says"));
    assert_fails("tasks = task { 'gsm8k/lmeval-5shot', file = 't.jsonl' }", &silent,
                 "gsm8k/train.jsonl is missing; scripts/fetch-data gets it");
    assert_fails("routers = seqtopk { max = 99 }", &silent, "seqtopk.max");
    assert_fails("tasks = nll { file = 'bad.jsonl', limit = 1 }", &silent, "model.safetensors");
    free(weights);
}

static void a_file_beside_the_recipe_comes_first(void **state)
{
    (void)state;
    struct sweep *s = open_with("tasks = { nll { file = 't.jsonl' },\n"
                                "nll { file = 'recipes/texts.jsonl' } }",
                                &silent);
    if (!s)
        fail_msg("%s", err.s);
    char *beside = xasprintf("%s/t.jsonl", dir);
    assert_string_equal(s->tasks[0].file, beside);
    assert_string_equal(s->tasks[0].name, "nll:t.jsonl");
    assert_string_equal(s->tasks[1].file, "recipes/texts.jsonl");
    assert_string_equal(s->tasks[1].name, "nll:texts.jsonl");
    free(beside);
    sweep_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(cells_come_in_their_order, enter, leave),
        cmocka_unit_test_setup_teardown(a_tasks_own_training_takes_the_place_of_the_sweeps, enter,
                                        leave),
        cmocka_unit_test_setup_teardown(routers_to_compare_with_get_the_cells_k, enter, leave),
        cmocka_unit_test_setup_teardown(routers_to_compare_with_have_the_experts_that_pruning_left,
                                        enter, leave),
        cmocka_unit_test_setup_teardown(times_are_not_the_same_for_every_seed, enter, leave),
        cmocka_unit_test_setup_teardown(the_same_cell_stands_once, enter, leave),
        cmocka_unit_test_setup_teardown(a_router_that_ignores_K_has_one_cell_for_all_of_them, enter,
                                        leave),
        cmocka_unit_test_setup_teardown(an_id_changes_with_all_that_can_change_numbers, enter,
                                        leave),
        cmocka_unit_test_setup_teardown(an_id_changes_with_every_part_of_a_form, enter, leave),
        cmocka_unit_test_setup_teardown(the_judge_is_in_an_id_where_one_is_asked, enter, leave),
        cmocka_unit_test_setup_teardown(another_decoding_is_in_the_tasks_name, enter, leave),
        cmocka_unit_test_setup_teardown(seeds_repeat_only_what_is_not_sampled, enter, leave),
        cmocka_unit_test_setup_teardown(a_router_that_looks_ahead_cannot_generate, enter, leave),
        cmocka_unit_test_setup_teardown(an_id_changes_with_the_model_and_tokenizer_themselves,
                                        enter, leave),
        cmocka_unit_test_setup_teardown(an_id_changes_with_the_data_and_the_templates_themselves,
                                        enter, leave),
        cmocka_unit_test_setup_teardown(an_id_changes_with_what_is_logged, enter, leave),
        cmocka_unit_test_setup_teardown(an_id_does_not_hang_on_how_it_is_said, enter, leave),
        cmocka_unit_test_setup_teardown(the_command_line_stands_above_the_recipe, enter, leave),
        cmocka_unit_test_setup_teardown(wrong_settings_name_where_they_were_said, enter, leave),
        cmocka_unit_test_setup_teardown(bounds_are_checked_for_every_model_and_K, enter, leave),
        cmocka_unit_test_setup_teardown(too_many_cells_are_refused, enter, leave),
        cmocka_unit_test_setup_teardown(data_is_checked_before_any_weight_is_read, enter, leave),
        cmocka_unit_test_setup_teardown(a_file_beside_the_recipe_comes_first, enter, leave),
    };
    return cmocka_run_group_tests_name("sweep", tests, NULL, NULL);
}
