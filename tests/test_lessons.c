/*
 * test_lessons.c: what a recipe says of training data, their lines into lessons, and the order of
 * these. The tokenizer is tests/data/tokenizer/small.json, in which "hello" (259), " hello" (260) and
 * "ab" (265) are one token and 272 is an end token.
 */
#include "train/lesson_order.h"
#include "train/lessons.h"
#include "recipe/lesson_data.h"
#include "recipe/lua_sandbox.h"
#include "text/tokenizer.h"
#include "training.h"
#include "fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <zlib.h>

#include <cmocka.h>

enum { END = 272, NONE = -1 };

static char *dir;
static struct buf err = BUF_INIT;
static struct tokenizer *tokenizer;
static struct lua_sandbox *sandbox;
static struct lesson_data data;
static struct lessons lessons;

static int open_all(void **state)
{
    (void)state;
    tokenizer = tokenizer_open("tests/data/tokenizer/small.json", &err);
    if (!tokenizer)
        BUG("%s (tests run from the project's root)", err.s);
    dir = fixture_dir();
    char *evals = xasprintf("%s/evals", dir);
    if (make_dirs(evals, &err) != 0)
        BUG("%s", err.s);
    setenv("SEQTOPK_EVALS", evals, 1);
    setenv("SEQTOPK_DATA", dir, 1);
    free(evals);
    return 0;
}

static int close_all(void **state)
{
    (void)state;
    tokenizer_free(tokenizer);
    fixture_remove(dir);
    return 0;
}

static int forget(void **state)
{
    (void)state;
    lessons_release(&lessons);
    lesson_data_release(&data);
    lua_sandbox_close(sandbox);
    sandbox = NULL;
    buf_release(&err);
    return 0;
}

/* What `lua` says, as sft.data in line 2 of DIR/recipe/r.lua. */
static int say(const char *lua)
{
    forget(NULL);
    char *name = xasprintf("%s/recipe/r.lua", dir);
    char *text = xasprintf("return {\n  data = %s }\n", lua);
    sandbox = lua_sandbox_open_text(name, text, &lua_limits_default, &err);
    if (!sandbox || lua_sandbox_run(sandbox, &err) != 0)
        BUG("%s", err.s);
    struct lua_place at = { lua_sandbox_path(sandbox), lua_sandbox_text(sandbox), 0, "sft", NULL };
    static const struct field fields[] = {
        { .name = "data", .type = FIELD_OTHER, .read = recipe_lesson_data_read },
        { .name = NULL },
    };
    free(name);
    free(text);
    return fields_read(lua_sandbox_state(sandbox), &at, fields, &data, &err);
}

static void must(int rc)
{
    if (rc != 0)
        fail_msg("%s", err.s);
}

static void must_say(const char *lua)
{
    must(say(lua));
    must(lesson_data_check(&data, &err));
}

/* `rc` is a failure; its sentence is the folder and `want`, or begins so where this ends in "...". */
static void assert_refused(int rc, const char *want)
{
    char *full = xasprintf("%s/%s", dir, want);
    size_t n = strlen(full);
    bool begins = strcmp(full + n - 3, "...") == 0;
    n -= begins ? 3 : 0;
    assert_int_equal(rc, -1);
    if (strncmp(err.s, full, n) != 0 || (!begins && err.s[n]))
        fail_msg("'%s', and not '%s'", err.s, full);
    free(full);
}

static void file(const char *name, const char *lines)
{
    fixture_text(dir, name, lines);
}

static struct training how(int length, int loss_on)
{
    return (struct training){ .length = length, .loss_on = loss_on };
}

static int read_with(int32_t eos, int length, int loss_on)
{
    struct training t = how(length, loss_on);
    lessons_release(&lessons);
    return lessons_read(&data, tokenizer, eos, &t, 100, &lessons, &err);
}

static void must_read(const char *lua, int32_t eos, int length)
{
    must_say(lua);
    must(read_with(eos, length, LOSS_COMPLETION));
}

static void assert_lesson(const struct lesson *l, int loss_from, int n, const int32_t *want)
{
    assert_int_equal(l->tokens, n);
    assert_memory_equal(l->ids, want, (size_t)n * sizeof(*want));
    assert_int_equal(l->loss_from, loss_from);
}

/* ---- what a recipe says ---- */

static void a_recipe_names_a_training_set_or_files(void **state)
{
    (void)state;
    must(say("'gsm8k/train'"));
    assert_string_equal(data.name, "gsm8k/train");
    must(say("{ 'gsm8k/train', limit = 7, too_long = 'skip' }"));
    assert_string_equal(data.name, "gsm8k/train");
    assert_int_equal(data.limit, 7);
    assert_int_equal(data.too_long, TOO_LONG_SKIP);
    must(say("{ file = 'x', prompt = '{q}', completion = ' {a}' }"));
    assert_int_equal(data.files.len, 1);
    assert_string_equal(data.files.v[0], "x");
    assert_string_equal(data.prompt, "{q}");
    assert_string_equal(data.completion, " {a}");
    assert_false(lesson_data_is_text(&data));
    must(say("{ files = { 'x', 'y' }, text = 't', source = 's', weights = { b = 0.25, a = 2, d = "
             "1, g = 1, e = 1, c = 1 }, "
             "held_out = 0.01 }"));
    assert_int_equal(data.files.len, 2);
    assert_true(lesson_data_is_text(&data));
    assert_int_equal(data.nweights, 6);
    for (size_t i = 0; i < data.nweights; i++) // in the order of their names
        assert_int_equal(data.weights[i].source[0], "abcdeg"[i]);
    assert_true(data.weights[0].weight == 2 && data.weights[1].weight == 0.25);
    assert_true(data.held_out == 0.01);
}

static void what_does_not_go_together_is_refused_by_line_and_key(void **state)
{
    (void)state;
    static const struct {
        const char *lua, *want;
    } bad[] = {
        { "3", "sft.data: 3; allowed is the name of a training set, such as ..." },
        { "{}", "data: no data; allowed are the name of a training set, ..." },
        { "{ 'a/train', file = 'x' }", "data.file: does not go with \"a/train\", ..." },
        { "{ 'a/train', text = 't' }", "data.text: does not go with \"a/train\", ..." },
        { "{ file = 'x', files = { 'y' }, text = 't' }",
          "data.files: say file or files, not both" },
        { "{ file = 'x' }", "data: say text = the field that is a whole text, or both ..." },
        { "{ file = 'x', prompt = 'p' }", "data: say text = the field that is a whole ..." },
        { "{ file = 'x', prompt = 'p', text = 't' }", "data.text: a line is a whole text, or ..." },
        { "{ file = 'x', prompt = '{', completion = 'c' }", "data.prompt: ..." },
        { "{ file = 'x', prompt = 'p', completion = '}' }", "data.completion: ..." },
        { "{ file = '', text = 't' }", "data.file: an empty text" },
        { "{ file = {}, text = 't' }", "data.file: a table; allowed is a text" },
        { "{ files = {}, text = 't' }", "data.files: an empty list; at least ..." },
        { "{ file = 'x', text = 't', limit = 0 }", "data.limit: 0; allowed is a whole ..." },
        { "{ file = 'x', text = 't', held_out = 0.6 }",
          "data.held_out: 0.6; allowed is a share of the documents from 0 to 0.5" },
        { "{ file = 'x', text = 't', held_out = 2 }",
          "data.held_out: 2; allowed is a share of the documents from 0 to 0.5" },
        { "{ file = 'x', text = 't', held_out = -1 }",
          "data.held_out: -1; allowed is a share of the documents from 0 to 0.5" },
        { "{ file = 'x', text = 't', too_long = 'skip' }",
          "data.too_long: whole texts are cut into windows ..." },
        { "{ file = 'x', text = 't', too_long = 'cut' }", "data.too_long: the text \"cut\"; ..." },
        { "{ file = 'x', text = 't', weights = { a = 1 } }",
          "data.weights: weights are by source; say which field ..." },
        { "{ file = 'x', text = 't', source = 's', weights = {} }",
          "weights: an empty table; at least one source is needed" },
        { "{ file = 'x', text = 't', source = 's', weights = { 1 } }",
          "weights: each weight has its source's name, as in { gsm = 0.25 }" },
        { "{ file = 'x', text = 't', source = 's', weights = { a = -1 } }",
          "weights.a: -1; allowed is a number from 0 to 1000" },
        { "{ file = 'x', text = 't', source = 's', weights = { a = 1e-9 } }",
          "weights.a: 1e-09; allowed is 0, for never, or 1e-06 and more" },
        { "{ file = 'x', text = 't', source = 's', weights = 2 }",
          "data.weights: 2; allowed is a table { SOURCE = times in an epoch, ... }" },
        { "{ file = 'x', txt = 't' }", "data.txt: unknown key; allowed are file, files, ..." },
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        char *want = xasprintf("recipe/r.lua:2: %s", bad[i].want);
        assert_refused(say(bad[i].lua), want);
        free(want);
    }
}

static void files_are_looked_for_beside_the_recipe_and_then_among_the_data(void **state)
{
    (void)state;
    char *beside = xasprintf("%s/recipe", dir);
    must(make_dirs(beside, &err));
    file("both.jsonl", "{\"t\": \"among the data\"}\n");
    file("recipe/both.jsonl", "{\"t\": \"beside\"}\n{\"t\": \"hello\"}\n");
    file("data_only.jsonl", "{\"t\": \"ab\"}\n");
    must_say("{ files = { 'both.jsonl', 'data_only.jsonl' }, text = 't' }");
    assert_int_equal(data.documents, 3);
    must(say("{ file = 'no.jsonl', text = 't' }"));
    char *want = xasprintf("recipe/r.lua:2: data.file: no.jsonl: no such file, nor is there "
                           "%s/recipe/no.jsonl or %s/no.jsonl",
                           dir, dir);
    assert_refused(lesson_data_check(&data, &err), want);
    free(want);
    free(beside);
}

static void a_label_tells_data_apart(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        { "'gsm8k/train'", "gsm8k/train" },
        { "{ 'gsm8k/train', limit = 9, too_long = 'skip' }", "gsm8k/train limit=9 too_long=skip" },
        { "{ files = { 'a/x.jsonl', 'y' }, text = 't', held_out = 0.1 }",
          "x.jsonl and 1 more held_out=0.1" },
        { "{ file = 'x', text = 't', source = 's', weights = { b = 2, a = 0.5 } }", "x a=0.5 b=2" },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        must(say(cases[i][0]));
        struct buf label = BUF_INIT;
        lesson_data_label(&data, &label);
        assert_string_equal(label.s, cases[i][1]);
        buf_release(&label);
    }
}

/* ---- checks without a tokenizer ---- */

#define ASKED "{ file = 'd.jsonl', prompt = '{q}', completion = ' {a}' }"
#define TEXTS "{ file = 'd.jsonl', text = 't' }"
#define SOURCES "{ file = 'd.jsonl', text = 't', source = 's', "

static void bad_lines_are_refused_by_file_and_line(void **state)
{
    (void)state;
    static const struct {
        const char *lua, *lines, *want;
    } bad[] = {
        { ASKED, "{\"q\": \"2?\", \"a\": \"2\"}\n{\"q\": \"3?\", \"a\": \"\"}\n",
          "d.jsonl:2: an empty completion: there is nothing to learn in it" },
        { ASKED, "{\"q\": \"2?\", \"a\": \" \\n\"}\n", "d.jsonl:1: an empty completion: ..." },
        { ASKED, "{\"q\": \"\", \"a\": \"2\"}\n", "d.jsonl:1: an empty prompt" },
        { ASKED, "{\"q\": \"2?\"}\n", "d.jsonl:1: ..." },
        { ASKED, "{\"q\": \"2?\", \"a\": \"2\"\n", "d.jsonl:1: not valid JSON..." },
        { ASKED, "", "d.jsonl: an empty file..." },
        { TEXTS, "{\"t\": \"a\"}\n{\"t\": \"\"}\n", "d.jsonl:2: 't' is an empty text" },
        { TEXTS, "{\"t\": 7}\n", "d.jsonl:1: t is 7; ..." },
        { TEXTS, "{\"u\": \"a\"}\n", "d.jsonl:1: t is missing; ..." },
        { SOURCES "}", "{\"t\": \"a\"}\n", "d.jsonl:1: s is missing; ..." },
        { SOURCES "weights = { b = 2, c = 3 } }",
          "{\"t\": \"a\", \"s\": \"a\"}\n{\"t\": \"a\", \"s\": \"b\"}\n",
          "recipe/r.lua:2: data.weights: no document is of the source 'c'; sources are 'a', 'b'" },
        { SOURCES "weights = { a = 0 } }", "{\"t\": \"a\", \"s\": \"a\"}\n",
          "recipe/r.lua:2: data.weights: every source has the weight 0: nothing is trained on" },
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        file("d.jsonl", bad[i].lines);
        must(say(bad[i].lua));
        assert_refused(lesson_data_check(&data, &err), bad[i].want);
    }
}

static void too_many_sources_are_another_field(void **state)
{
    (void)state;
    struct buf lines = BUF_INIT;
    for (int i = 0; i <= 1000; i++)
        buf_addf(&lines, "{\"t\": \"a\", \"s\": \"%d\"}\n", i);
    file("d.jsonl", lines.s);
    must(say(SOURCES "}"));
    assert_refused(
        lesson_data_check(&data, &err),
        "d.jsonl:1001: more than 1000 sources are named by 's'; it may be another field");
    buf_release(&lines);
}

static void an_evals_training_set_has_its_templates_and_rows(void **state)
{
    (void)state;
    file("evals/sums.lua",
         "return { name = 'sums', about = 'sums', license = 'MIT', source = 'here',\n"
         "  file = 'sums.jsonl',\n"
         "  train = { file = 'sums.jsonl', rows = { field = 'id', from = 2, to = 9 },\n"
         "            prompt = '{q}', completion = ' {a}' },\n"
         "  forms = { nll = { version = 1, prompt = '{q}', target = '{a}' } } }\n");
    file("sums.jsonl", "{\"id\": 1, \"q\": \"no\", \"a\": \"no\"}\n"
                       "{\"id\": 2, \"q\": \"ab\", \"a\": \"hello\"}\n"
                       "{\"id\": 3, \"q\": \"hello\", \"a\": \"hello\"}\n");
    must_read("'sums/train'", END, 10);
    assert_int_equal(lessons.len, 2);
    assert_lesson(&lessons.v[0], 1, 3, (int32_t[]){ 265, 260, END });
    must_read("{ 'sums/train', limit = 1 }", END, 10);
    assert_int_equal(lessons.len, 1);
    static const char *const bad[][2] = {
        { "'sums/nll'",
          "recipe/r.lua:2: sft.data: 'sums/nll' is no training set; its name is ..." },
        { "'sums'", "recipe/r.lua:2: sft.data: 'sums' is no training set; ..." },
        { "{ 'nosuch/train' }", "recipe/r.lua:2: data: ..." }, // and the eval's own sentence
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        must(say(bad[i][0]));
        assert_refused(lesson_data_check(&data, &err), bad[i][1]);
    }
}

static void an_eval_without_a_training_set_is_refused(void **state)
{
    (void)state;
    file("evals/none.lua",
         "return { name = 'none', about = 'none', license = 'MIT', source = 'here',\n"
         "  file = 'sums.jsonl',\n"
         "  forms = { nll = { version = 1, prompt = '{q}', target = '{a}' } } }\n");
    must(say("{ 'none/train' }"));
    char *want = xasprintf(
        "recipe/r.lua:2: data: none/train: there is no `train` in %s/evals/none.lua", dir);
    assert_refused(lesson_data_check(&data, &err), want);
    free(want);
}

/* ---- lessons ---- */

static void prompt_and_completion_are_tokens_apart_with_the_end_behind(void **state)
{
    (void)state;
    file("d.jsonl",
         "{\"q\": \"hello\", \"a\": \"hello hello\"}\n{\"q\": \"ab ab\", \"a\": \"ab\"}\n");
    must_read(ASKED, END, 10);
    assert_int_equal(lessons.len, 2);
    assert_int_equal(lessons.nheld, 0);
    assert_lesson(&lessons.v[0], 1, 4, (int32_t[]){ 259, 260, 260, END });
    assert_int_equal(lessons.v[1].loss_from, 3); // ab, " a" and b are the prompt
    assert_int_equal(lessons.v[1].ids[lessons.v[1].tokens - 1], END);
    assert_int_equal(lessons.tokens, 4 + lessons.v[1].tokens);
    assert_int_equal(lessons.nsources, 1);
    assert_string_equal(lessons.sources[0].name, "");
    assert_int_equal(lessons.sources[0].lessons, 2);
    assert_int_equal(lessons.sources[0].tokens, lessons.tokens);
    must(read_with(NONE, 10, LOSS_COMPLETION));
    assert_lesson(&lessons.v[0], 1, 3, (int32_t[]){ 259, 260, 260 });
    must(read_with(END, 10, LOSS_COMPLETION));
    char hash[33];
    memcpy(hash, lessons.hash, sizeof(hash));
    must(read_with(END, 10, LOSS_ALL));
    assert_int_equal(lessons.v[1].loss_from, 1);
    assert_string_not_equal(lessons.hash, hash);
}

static void what_is_too_long_is_refused_or_skipped_and_counted(void **state)
{
    (void)state;
    file("d.jsonl", "{\"q\": \"hello\", \"a\": \"hello\"}\n"
                    "{\"q\": \"hello\", \"a\": \"hello hello\"}\n");
    must_read(ASKED, END, 4); // as long as may be
    assert_int_equal(lessons.skipped, 0);
    assert_refused(
        read_with(END, 3, LOSS_COMPLETION),
        "d.jsonl:2: 4 tokens of prompt, completion and end are more than length = 3; say "
        "a larger length, or too_long = \"skip\" beside the data, which leaves such out");
    must_read("{ file = 'd.jsonl', prompt = '{q}', completion = ' {a}', too_long = 'skip' }", END,
              3);
    assert_int_equal(lessons.len, 1);
    assert_int_equal(lessons.skipped, 1);
    assert_lesson(&lessons.v[0], 1, 3, (int32_t[]){ 259, 260, END });
    assert_int_equal(read_with(END, 2, LOSS_COMPLETION), -1);
    assert_string_equal(err.s, "d.jsonl too_long=skip: all of its 2 documents are longer than "
                               "length = 2, and none is left to train on");
}

static void a_length_beyond_the_context_is_refused(void **state)
{
    (void)state;
    file("d.jsonl", "{\"t\": \"hello hello\"}\n");
    must_read(TEXTS, END, 100);
    assert_int_equal(read_with(END, 101, LOSS_ALL), -1);
    assert_string_equal(err.s, "length = 101 is more than the model's 100 positions");
    assert_int_equal(read_with(END, 1, LOSS_ALL), -1);
}

/* A text of about n tokens. */
static void a_text_of(size_t n)
{
    struct buf line = BUF_INIT;
    buf_adds(&line, "{\"t\": \"hello");
    for (size_t i = 1; i < n; i++)
        buf_adds(&line, i % 3 ? " hello" : "ab");
    buf_adds(&line, "\"}\n");
    file("d.jsonl", line.s);
    buf_release(&line);
}

static void windows_lose_no_tokens_loss(void **state)
{
    (void)state;
    for (size_t n = 1; n <= 14; n++) {
        a_text_of(n);
        must_read(TEXTS, END, 100);
        assert_int_equal(lessons.len, 1);
        size_t all = (size_t)lessons.v[0].tokens;
        int32_t whole[32];
        memcpy(whole, lessons.v[0].ids, all * sizeof(*whole));
        assert_int_equal(whole[all - 1], END);
        for (int length = 2; length <= 6; length++) {
            must(read_with(END, length, LOSS_COMPLETION));
            size_t next = 1; // the token whose loss is to come
            for (size_t i = 0; i < lessons.len; i++) {
                const struct lesson *l = &lessons.v[i];
                assert_in_range(l->tokens, 2, length);
                assert_int_equal(l->loss_from, 1);
                assert_memory_equal(l->ids, whole + next - 1, (size_t)l->tokens * sizeof(*whole));
                next += (size_t)l->tokens - 1;
                assert_true(l->tokens == length || i + 1 == lessons.len);
            }
            assert_int_equal(next, all);
        }
    }
}

/* So many and so often that lessons cannot be counted over all epochs there may be. */
static void whether_any_lesson_comes_hangs_on_no_count(void **state)
{
    (void)state;
    struct lesson_source s[] = { { .lessons = 0, .weight = 1 }, { .lessons = 1 << 30 } };
    const struct lessons l = { .sources = s, .nsources = 2 };
    static const double comes[] = { 2, 1000, 1e-6 }, never[] = { 0, 1e-12 };
    for (size_t i = 0; i < ARRAY_LEN(comes); i++) {
        s[1].weight = comes[i];
        assert_true(lesson_order_any(&l));
    }
    for (size_t i = 0; i < ARRAY_LEN(never); i++) {
        s[1].weight = never[i];
        assert_false(lesson_order_any(&l));
    }
}

static void a_text_of_one_token_has_no_loss(void **state)
{
    (void)state;
    file("d.jsonl", "{\"t\": \"hello\"}\n");
    must_read(TEXTS, END, 10);
    assert_lesson(&lessons.v[0], 1, 2, (int32_t[]){ 259, END });
    assert_refused(read_with(NONE, 10, LOSS_ALL),
                   "d.jsonl:1: a text of 1 token; a loss needs at least two");
}

static void packed_files_and_several_files_give_the_same_lessons(void **state)
{
    (void)state;
    const char *one = "{\"t\": \"hello\"}\n{\"t\": \"ab\"}\n", *two = "{\"t\": \"ab hello\"}\n";
    file("one.jsonl", one);
    file("two.jsonl", two);
    char *path = xasprintf("%s/all.jsonl.gz", dir);
    gzFile gz = gzopen(path, "wb");
    gzputs(gz, one);
    gzputs(gz, two);
    gzclose(gz);
    free(path);
    must_read("{ files = { 'one.jsonl', 'two.jsonl' }, text = 't' }", END, 10);
    char hash[33];
    memcpy(hash, lessons.hash, sizeof(hash));
    assert_int_equal(lessons.len, 3);
    must_read("{ file = 'all.jsonl.gz', text = 't' }", END, 10);
    assert_string_equal(lessons.hash, hash);
    must(read_with(END, 2, LOSS_ALL)); // cut in another way
    assert_string_not_equal(lessons.hash, hash);
    must(read_with(END - 1, 10, LOSS_ALL)); // another end token
    assert_string_not_equal(lessons.hash, hash);
    must_read("{ files = { 'one.jsonl', 'two.jsonl' }, text = 't', limit = 2 }", END, 10);
    assert_int_equal(lessons.len, 2);
    must_read("{ files = { 'two.jsonl', 'one.jsonl' }, text = 't', limit = 2 }", END, 10);
    assert_int_equal(lessons.len, 2);
    assert_lesson(&lessons.v[1], 1, 2, (int32_t[]){ 259, END });
}

static void data_that_changed_after_the_check_are_refused(void **state)
{
    (void)state;
    file("d.jsonl", "{\"t\": \"hello\"}\n");
    must_say(TEXTS);
    file("d.jsonl", "{\"t\": \"hellp\"}\n");
    assert_refused(read_with(END, 10, LOSS_ALL), "d.jsonl: was changed since it was checked");
}

/* ---- held out ---- */

/* Lines "a text with the number N", of the source s<N % sources>. */
static void numbered(const char *name, int from, int to, int sources)
{
    struct buf lines = BUF_INIT;
    for (int i = from; i < to; i++)
        buf_addf(&lines, "{\"t\": \"text %d\", \"s\": \"s%d\"}\n", i, i % sources);
    file(name, lines.s);
    buf_release(&lines);
}

/* The held out texts, sorted, one a line. */
static char *held_texts(void)
{
    struct strings all = { 0 };
    struct buf out = BUF_INIT;
    for (size_t i = 0; i < lessons.nheld; i++) {
        struct buf text = BUF_INIT;
        const struct lesson *l = &lessons.held[i];
        must(tokenizer_decode(tokenizer, l->ids, (size_t)l->tokens, &text, &err));
        strings_add(&all, text.s);
        buf_release(&text);
    }
    strings_sort(&all);
    for (size_t i = 0; i < all.len; i++)
        buf_addf(&out, "%s\n", all.v[i]);
    strings_release(&all);
    return buf_detach(&out);
}

static void a_completion_behind_its_prompt_gets_no_space_of_its_own(void **state)
{
    (void)state;
    struct tokenizer *small = tokenizer;
    struct buf text = BUF_INIT;
    file("spaced.jsonl", "{\"q\": \"the time\", \"r\": \"of day\"}\n");
    must_say("{ file = \"spaced.jsonl\", prompt = \"{q}\", completion = \" {r}\" }");
    tokenizer = tokenizer_open("tests/data/golden/metaspace/tokenizer.json", &err);
    int rc = tokenizer ? read_with(NONE, 60, LOSS_COMPLETION) : -1;
    if (rc == 0)
        rc = tokenizer_decode_text(tokenizer, lessons.v[0].ids, (size_t)lessons.v[0].tokens, &text,
                                   &err);
    tokenizer_free(tokenizer);
    tokenizer = small;
    must(rc);
    assert_string_equal(text.s, "the time of day");
    buf_release(&text);
}

static void what_is_held_out_hangs_on_the_texts_alone(void **state)
{
    (void)state;
    numbered("x.jsonl", 0, 1000, 2);
    numbered("y.jsonl", 1000, 2000, 2);
    must_read("{ files = { 'x.jsonl', 'y.jsonl' }, text = 't', source = 's', held_out = 0.05 }",
              END, 30);
    assert_in_range(lessons.nheld, 60, 140); // 100 are expected
    assert_int_equal(lessons.len + lessons.nheld, 2000);
    for (int s = 0; s < 2; s++) {
        assert_in_range(lessons.sources[s].held, 25, 80);
        assert_int_equal(lessons.sources[s].held + lessons.sources[s].lessons, 1000);
    }
    char *before = held_texts();
    must_read("{ files = { 'y.jsonl', 'x.jsonl' }, text = 't', source = 's', held_out = 0.05 }",
              END, 30);
    char *after = held_texts();
    assert_string_equal(before, after);
    free(after);
    // Beside other data, without sources, in windows: the same texts.
    must_read("{ files = { 'y.jsonl', 'x.jsonl' }, text = 't', held_out = 0.05 }", END, 30);
    after = held_texts();
    assert_string_equal(before, after);
    free(after);
    free(before);
}

static void a_source_of_enough_documents_always_holds_one_out(void **state)
{
    (void)state;
    numbered("d.jsonl", 0, 19, 1);
    must_read(SOURCES "held_out = 1e-9 }", END, 30);
    assert_int_equal(lessons.nheld, 0);
    numbered("d.jsonl", 0, 40, 2);
    must_read(SOURCES "held_out = 1e-9 }", END, 30);
    assert_int_equal(lessons.sources[0].held, 1);
    assert_int_equal(lessons.sources[1].held, 1);
    char *two = held_texts(), *end = strchr(two, '\n');
    must_read(SOURCES "held_out = 0.3 }", END, 30); // they are among those of a larger share
    char *more = held_texts();
    assert_in_range(lessons.nheld, 3, 30);
    *end = '\0';
    assert_non_null(strstr(more, two));
    assert_non_null(strstr(more, end + 1));
    free(two);
    free(more);
    must_read(SOURCES "}", END, 30); // none is asked for
    assert_int_equal(lessons.nheld, 0);
}

static void equal_texts_are_on_one_side(void **state)
{
    (void)state;
    numbered("x.jsonl", 0, 500, 1);
    must_read("{ files = { 'x.jsonl', 'x.jsonl' }, text = 't', held_out = 0.1 }", END, 30);
    char *text = held_texts();
    size_t lines = 0;
    for (const char *p = text; *p; p++)
        lines += *p == '\n';
    assert_int_equal(lessons.nheld, 2 * lines); // each of them twice, and it is sorted once
    assert_true(lines > 20);
    free(text);
    must_read("{ files = { 'x.jsonl', 'x.jsonl' }, text = 't', held_out = 1e-9 }", END, 30);
    assert_int_equal(lessons.nheld, 2);
}

static void there_must_be_something_to_train_on(void **state)
{
    (void)state;
    // Of some texts every one is held out, where half of all are.
    struct buf lines = BUF_INIT;
    int found = 0;
    for (int i = 0; i < 64 && !found; i++) {
        buf_reset(&lines);
        buf_addf(&lines, "{\"t\": \"text %d\"}\n", i);
        file("d.jsonl", lines.s);
        must_say("{ file = 'd.jsonl', text = 't', held_out = 0.5 }");
        found = read_with(END, 30, LOSS_ALL) == -1;
    }
    assert_true(found);
    assert_string_equal(err.s,
                        "d.jsonl held_out=0.5: what is not held out has the weight 0 or is too "
                        "long: no lesson is left");
    buf_release(&lines);
}

/* ---- identity ---- */

static char *hash_of(const char *lua)
{
    must_say(lua);
    char hex[33];
    struct hash *h = hash_new();
    lesson_data_hash(h, &data);
    hash_hex(h, hex);
    hash_free(h);
    return xstrdup(hex);
}

static void the_hash_tells_all_that_decides_lessons_and_no_names_of_files(void **state)
{
    (void)state;
    numbered("d.jsonl", 0, 30, 2);
    numbered("same.jsonl", 0, 30, 2);
    numbered("other.jsonl", 1, 31, 2);
    static const char *const cases[] = {
        TEXTS,
        "{ file = 'other.jsonl', text = 't' }",
        "{ files = { 'd.jsonl', 'd.jsonl' }, text = 't' }",
        "{ file = 'd.jsonl', text = 's' }",
        "{ file = 'd.jsonl', text = 't', limit = 29 }",
        "{ file = 'd.jsonl', text = 't', held_out = 0.1 }",
        "{ file = 'd.jsonl', prompt = '{t}', completion = '{t}' }",
        "{ file = 'd.jsonl', prompt = ' {t}', completion = '{t}' }",
        "{ file = 'd.jsonl', prompt = '{t}', completion = ' {t}' }",
        "{ file = 'd.jsonl', prompt = '{t}', completion = ' {t}', too_long = 'skip' }",
        SOURCES "}",
        SOURCES "weights = { s0 = 0.5 } }",
        SOURCES "weights = { s1 = 0.5 } }",
    };
    char *hash[ARRAY_LEN(cases)];
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        hash[i] = hash_of(cases[i]);
        for (size_t j = 0; j < i; j++)
            if (strcmp(hash[i], hash[j]) == 0)
                fail_msg("%s and %s have one hash", cases[i], cases[j]);
    }
    static const struct {
        size_t as;
        const char *lua;
    } equal[] = {
        { 0, "{ file = 'same.jsonl', text = 't' }" },
        { 0, "{ file = 'd.jsonl', text = 't', limit = 30 }" },
        { 0, "{ file = 'd.jsonl', text = 't', limit = 1000 }" },
        { 10, SOURCES "weights = { s0 = 1 } }" },
    };
    for (size_t i = 0; i < ARRAY_LEN(equal); i++) {
        char *got = hash_of(equal[i].lua);
        assert_string_equal(got, hash[equal[i].as]);
        free(got);
    }
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        free(hash[i]);
}

/* ---- order ---- */

enum { SOURCES_OF_ORDER = 5 };

/* Lessons of sources of `n` each with these weights, mixed; nothing but their sources counts. */
static void make_order(const size_t *n, const double *weight, size_t nsources)
{
    lessons_release(&lessons);
    lessons.sources = xcalloc(nsources, sizeof(*lessons.sources));
    lessons.nsources = nsources;
    bool more = true;
    for (size_t round = 0; more; round++) {
        more = false;
        for (size_t s = 0; s < nsources; s++) {
            lessons.sources[s].weight = weight[s];
            if (round >= n[s])
                continue;
            more = true;
            lessons.sources[s].lessons++;
            ARRAY_GROW(lessons.v, lessons.cap, lessons.len + 1);
            lessons.v[lessons.len++] = (struct lesson){ .source = (int)s };
        }
    }
}

static void an_epoch_has_each_lesson_once_in_an_order_of_its_own(void **state)
{
    (void)state;
    make_order((size_t[]){ 100 }, (double[]){ 1 }, 1);
    struct ids a = { 0 };
    for (int64_t e = 0; e < 3; e++) {
        lessons_epoch(&lessons, 7, e, &a);
        assert_int_equal(a.len, 100 * (e + 1)); // appended
        bool seen[100] = { false };
        for (size_t i = 0; i < 100; i++) {
            int32_t id = a.v[100 * e + (int64_t)i];
            assert_false(seen[id]);
            seen[id] = true;
        }
    }
    struct ids b = { 0 };
    lessons_epoch(&lessons, 7, 1, &b); // no epoch needs the one before it
    assert_memory_equal(b.v, a.v + 100, 100 * sizeof(*a.v));
    assert_memory_not_equal(a.v, a.v + 100, 100 * sizeof(*a.v));
    b.len = 0;
    lessons_epoch(&lessons, 8, 1, &b);
    assert_memory_not_equal(b.v, a.v + 100, 100 * sizeof(*a.v));
    free(a.v);
    free(b.v);
}

static void the_order_is_the_same_on_every_machine(void **state)
{
    (void)state;
    make_order((size_t[]){ 8, 8 }, (double[]){ 1, 0.5 }, 2);
    struct ids ids = { 0 };
    struct buf text = BUF_INIT;
    lessons_epoch(&lessons, 1, 0, &ids);
    lessons_epoch(&lessons, -1, 5, &ids);
    for (size_t i = 0; i < ids.len; i++)
        buf_addf(&text, "%s%d", i ? " " : "", ids.v[i]);
    assert_string_equal(text.s, "10 8 9 14 2 0 4 6 12 5 11 15 4 10 7 0 1 2 8 14 12 13 9 6");
    free(ids.v);
    buf_release(&text);
}

static void a_weight_spreads_a_sources_lessons_evenly_over_epochs(void **state)
{
    (void)state;
    static const size_t n[SOURCES_OF_ORDER] = { 40, 10, 31, 7, 5 };
    static const double weight[SOURCES_OF_ORDER] = { 0.25, 2, 0.3, 1.5, 0 };
    enum { EPOCHS = 20 };
    make_order(n, weight, SOURCES_OF_ORDER);
    struct ids ids = { 0 };
    int *times = xcalloc(lessons.len * EPOCHS, sizeof(*times));
    int64_t before = 0;
    for (int e = 0; e < EPOCHS; e++) {
        size_t of_source[SOURCES_OF_ORDER] = { 0 };
        ids.len = 0;
        lessons_epoch(&lessons, 3, e, &ids);
        for (size_t i = 0; i < ids.len; i++) {
            times[(size_t)e * lessons.len + (size_t)ids.v[i]]++;
            of_source[lessons.v[ids.v[i]].source]++;
        }
        assert_int_equal(of_source[0], 10); // a quarter of them
        assert_int_equal(of_source[1], 20);
        assert_in_range(of_source[2], 9, 10);
        assert_in_range(of_source[3], 10, 11);
        assert_int_equal(of_source[4], 0);
        assert_int_equal(lessons_before(&lessons, e), before);
        for (size_t i = 0; i < ids.len; i += 7)
            assert_int_equal(lessons_epoch_of(&lessons, before + (int64_t)i), e);
        before += (int64_t)ids.len;
    }
    for (size_t i = 0; i < lessons.len; i++) // in any four epochs, one of weight 0.25 comes once
        for (int e = 0; lessons.v[i].source == 0 && e + 4 <= EPOCHS; e++) {
            int sum = 0;
            for (int j = e; j < e + 4; j++)
                sum += times[(size_t)j * lessons.len + i];
            assert_int_equal(sum, 1);
        }
    assert_true(lessons_per_epoch(&lessons) == 10 + 20 + 31 * 0.3 + 10.5);
    free(times);
    free(ids.v);
}

static void lessons_of_one_epoch_are_no_neighbours_in_the_data(void **state)
{
    (void)state;
    make_order((size_t[]){ 1000 }, (double[]){ 0.5 }, 1);
    struct ids ids = { 0 };
    size_t first_half = 0;
    lessons_epoch(&lessons, 0, 0, &ids);
    for (size_t i = 0; i < ids.len; i++)
        first_half += ids.v[i] < 500;
    assert_int_equal(ids.len, 500);
    assert_in_range(first_half, 200, 300);
    free(ids.v);
}

static void epochs_may_be_empty_and_many(void **state)
{
    (void)state;
    make_order((size_t[]){ 1 }, (double[]){ 0.25 }, 1);
    struct ids ids = { 0 };
    for (int64_t e = 0; e < 8; e++)
        lessons_epoch(&lessons, 0, e, &ids);
    assert_int_equal(ids.len, 2);
    int64_t far = INT64_C(1) << 40; // beyond what 32 bits of epochs and of shares can hold
    assert_int_equal(lessons_before(&lessons, 4 * far), far);
    int64_t e = lessons_epoch_of(&lessons, far);
    ids.len = 0;
    lessons_epoch(&lessons, 0, e, &ids);
    assert_int_equal(ids.len, 1);
    assert_int_equal(lessons_before(&lessons, e), far);
    assert_int_equal(lessons_before(&lessons, e + 1), far + 1);
    free(ids.v);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(f) cmocka_unit_test_teardown(f, forget)
        TEST(a_recipe_names_a_training_set_or_files),
        TEST(what_does_not_go_together_is_refused_by_line_and_key),
        TEST(files_are_looked_for_beside_the_recipe_and_then_among_the_data),
        TEST(a_label_tells_data_apart),
        TEST(bad_lines_are_refused_by_file_and_line),
        TEST(too_many_sources_are_another_field),
        TEST(an_evals_training_set_has_its_templates_and_rows),
        TEST(an_eval_without_a_training_set_is_refused),
        TEST(prompt_and_completion_are_tokens_apart_with_the_end_behind),
        TEST(what_is_too_long_is_refused_or_skipped_and_counted),
        TEST(a_length_beyond_the_context_is_refused),
        TEST(windows_lose_no_tokens_loss),
        TEST(a_text_of_one_token_has_no_loss),
        TEST(packed_files_and_several_files_give_the_same_lessons),
        TEST(data_that_changed_after_the_check_are_refused),
        TEST(a_completion_behind_its_prompt_gets_no_space_of_its_own),
        TEST(what_is_held_out_hangs_on_the_texts_alone),
        TEST(a_source_of_enough_documents_always_holds_one_out),
        TEST(equal_texts_are_on_one_side),
        TEST(there_must_be_something_to_train_on),
        TEST(the_hash_tells_all_that_decides_lessons_and_no_names_of_files),
        TEST(an_epoch_has_each_lesson_once_in_an_order_of_its_own),
        TEST(the_order_is_the_same_on_every_machine),
        TEST(a_weight_spreads_a_sources_lessons_evenly_over_epochs),
        TEST(lessons_of_one_epoch_are_no_neighbours_in_the_data),
        TEST(epochs_may_be_empty_and_many),
        TEST(whether_any_lesson_comes_hangs_on_no_count),
    };
    return cmocka_run_group_tests(tests, open_all, close_all);
}
