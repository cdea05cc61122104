/*
 * test_data_file.c: where lines come from: files, arrays, and the function of an eval; and all that
 * can be wrong with what it makes.
 */
#include "recipe/data.h"
#include "recipe/data_file.h"
#include "fixture.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static char *dir;
static struct buf err = BUF_INIT;

static int open_dir(void **state)
{
    (void)state;
    dir = fixture_dir();
    return 0;
}

static int close_dir(void **state)
{
    (void)state;
    fixture_remove(dir);
    return 0;
}

/* The file's lines, one behind the other, or NULL and a sentence. */
static int join(void *ud, json_t *object, const char *where, struct buf *e)
{
    (void)where, (void)e;
    char *line = json_dumps(object, JSON_COMPACT | JSON_SORT_KEYS);
    buf_addf(ud, "%s\n", line);
    free(line);
    return 0;
}

/* dir/NAME with `content` has these lines, or is refused with "dir/NAME" and `want`. */
static void assert_lines(const char *name, const char *content, const char *want, bool good)
{
    fixture_text(dir, name, content);
    char *path = xasprintf("%s/%s", dir, name);
    char *sentence = good ? xstrdup(want) : xasprintf("%s%s", path, want);
    struct data_file file;
    struct buf lines = BUF_INIT;
    int rc = data_file_read(&file, path, NULL, &err);
    if (rc == 0)
        rc = data_file_each(&file, &(struct eval_rows){ 0 }, 0, join, &lines, &err);
    if (rc != (good ? 0 : -1) || strcmp(good ? lines.s : err.s, sentence) != 0)
        fail_msg("%s\n  gives   %s\n  and not %s", content, rc ? err.s : lines.s, sentence);
    data_file_release(&file);
    buf_release(&lines);
    free(sentence);
    free(path);
}

static void an_array_of_objects_is_one_a_line(void **state)
{
    (void)state;
    assert_lines("a.json", " [\n {\"q\": \"a\\nb\"},\n {\"q\":\n\"caf\u00e9\"}]\n",
                 "{\"q\":\"a\\nb\"}\n{\"q\":\"caf\u00e9\"}\n", true);
    assert_lines("a.json", "{\"q\": 1}\n{\"q\": 2}\n", "{\"q\":1}\n{\"q\":2}\n", true);
    assert_lines("a.json", "[{\"q\": 1},\n{\"q\": 2]", ":2: not valid JSON: '}' expected near ']'",
                 false);
    assert_lines("a.json", "[{\"q\": 1}, 7]", ":2: a JSON object is needed, but this is a number",
                 false);
    assert_lines("a.json", "[]", ": an empty file; each line is a document", false);
    assert_lines("a.json", "[{\"q\": 1, \"q\": 2}]",
                 ":1: not valid JSON: duplicate object key near '\"q\"'", false);
    assert_lines("a.jsonl", "[{\"q\": 1}]", ":1: a JSON object is needed, but this is an array",
                 false);
}

#define EVAL(more)                                                          \
    "return { name = 'g', about = 'a', license = 'l', source = 's',\n" more \
    "\ntrain = { prompt = '{q}', completion = '{a}' },\n"                   \
    "forms = { x = { version = 1, prompt = '{q}', target = '{a}' } } }"
#define MAKES(body) \
    EVAL("generated = { test = 2, train = 3, items = function(split, n)\n" body "\nend },")

static struct eval *open_eval(const char *text)
{
    fixture_text(dir, "g.lua", text);
    setenv("SEQTOPK_EVALS", dir, 1);
    struct eval *e = eval_open("g", &err);
    if (!e)
        fail_msg("%s", err.s);
    return e;
}

static int forget(void **state)
{
    (void)state;
    unsetenv("SEQTOPK_EVALS");
    unsetenv("SEQTOPK_DATA");
    buf_release(&err);
    return 0;
}

static void assert_makes(const struct eval *e, bool train, const char *want)
{
    struct data_file file;
    if (data_file_of_eval(&file, e, train, &err) != 0)
        fail_msg("%s", err.s);
    assert_string_equal(file.text.s, want);
    assert_int_equal(strlen(file.hash), 32);
    data_file_release(&file);
}

static void a_function_makes_lines_with_fields_by_name(void **state)
{
    (void)state;
    struct eval *e =
        open_eval(MAKES("local l = {} for i = 1, n do l[i] = { q = split .. i, a = i,\n"
                        "b = true, list = { 'x\\n', 2, false }, none = {} } end "
                        "return l"));
    assert_makes(e, false,
                 "{\"a\":1,\"b\":true,\"list\":[\"x\\n\",2,false],\"none\":[],\"q\":\"test1\"}\n"
                 "{\"a\":2,\"b\":true,\"list\":[\"x\\n\",2,false],\"none\":[],\"q\":\"test2\"}\n");
    struct data_file file;
    struct buf lines = BUF_INIT;
    assert_int_equal(data_file_of_eval(&file, e, true, &err), 0);
    assert_int_equal(data_file_each(&file, &e->train.rows, 0, join, &lines, &err), 0);
    assert_non_null(strstr(lines.s, "\"q\":\"train3\""));
    data_file_release(&file);
    buf_release(&lines);
    eval_free(e);
}

static void a_task_reads_what_is_made_or_a_file_in_its_place(void **state)
{
    (void)state;
    struct eval *e =
        open_eval(MAKES("return { { q = 'ab ', a = 'hello' }, { q = 'b', a = 'ab' } }"));
    eval_free(e);
    struct task t;
    if (task_named("g/x", NULL, 0, &t, &err) != 0 || data_check(&t, &err) != 0)
        fail_msg("%s", err.s);
    assert_null(t.file);
    assert_int_equal(t.documents, 2);
    assert_string_not_equal(t.data_hash, "");
    task_release(&t);
    fixture_text(dir, "own.jsonl", "{\"q\": \"a\", \"a\": \"b\"}\n");
    char *own = xasprintf("%s/own.jsonl", dir);
    if (task_named("g/x", own, 0, &t, &err) != 0 || data_check(&t, &err) != 0)
        fail_msg("%s", err.s);
    assert_int_equal(t.documents, 1);
    assert_string_equal(t.file, own);
    task_release(&t);
    free(own);
}

/* The function of two items, or what it gives, is refused with "g.lua" and `want`. */
static void assert_items_refused(const char *text, const char *want)
{
    struct eval *e = open_eval(text);
    struct data_file file;
    int rc = data_file_of_eval(&file, e, false, &err);
    char *sentence = xasprintf("%s/g.lua%s", dir, want);
    if (rc != -1 || strcmp(err.s, sentence) != 0)
        fail_msg("%s\n  says    %s\n  and not %s", text, rc ? err.s : "nothing", sentence);
    data_file_release(&file);
    free(sentence);
    eval_free(e);
}

#define ITEM(fields) MAKES("return { { q = 'a' }, { " fields " } }")
#define SAYS ": items(\"test\", 2) returns "
#define ALLOWED "; allowed are a text in UTF-8, a whole number, true, false and a list of these"

static void what_a_function_makes_wrongly_is_refused(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        { MAKES("return nil"), SAYS "no list { { field = value }, ... }" },
        { MAKES("return 'two'"), SAYS "no list { { field = value }, ... }" },
        { MAKES("return { q = 1 }"), SAYS "no list { { field = value }, ... }" },
        { MAKES("return { {}, nil, {} }"), SAYS "no list { { field = value }, ... }" },
        { MAKES("return {}"), SAYS "0 items" },
        { MAKES("return { {}, {}, {} }"), SAYS "3 items" },
        { MAKES("return { { q = 'a' }, 5 }"), SAYS "item 2 that is no table { field = value }" },
        { ITEM("'b'"), SAYS "item 2 with a field that has no name in UTF-8" },
        { ITEM("[''] = 1"), SAYS "item 2 with a field that has no name in UTF-8" },
        { ITEM("['\\xff'] = 1"), SAYS "item 2 with a field that has no name in UTF-8" },
        { ITEM("q = 1.0"), SAYS "item 2 with 'q' that is a number with a point" ALLOWED },
        { ITEM("q = 'a\\0b'"), SAYS "item 2 with 'q' that is the text \"a b\"" ALLOWED },
        { ITEM("q = 'a\\xff'"), SAYS "item 2 with 'q' that is the text \"a\"" ALLOWED },
        { ITEM("q = { x = 1 }"), SAYS "item 2 with 'q' that is a table" ALLOWED },
        { ITEM("q = { 1, nil, 3 }"), SAYS "item 2 with 'q' that is a table" ALLOWED },
        { ITEM("q = { { 1 } }"), SAYS "item 2 with 'q' that is a table" ALLOWED },
        { ITEM("q = tostring"), SAYS "item 2 with 'q' that is a function that is not called; write "
                                     "NAME { ... } or NAME()" ALLOWED },
        { MAKES("error('no luck')"), ":3: no luck" },
        { MAKES("return n + nothing"), ":3: unknown name 'nothing'" },
        { MAKES("local l = {} for i = 1, n << 40 do l[i] = ('x'):rep(1 << 20) .. i end"),
          ": it takes more memory than the 256 MB that a call may" },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        assert_items_refused(cases[i][0], cases[i][1]);
}

static void a_function_without_an_end_is_stopped(void **state)
{
    (void)state;
    assert_items_refused(MAKES("while true do end"),
                         ":3: it takes more instructions than a call may; does it ever end?");
}

static void a_line_that_was_made_is_refused_by_its_number(void **state)
{
    (void)state;
    struct eval *e = open_eval(MAKES("return { { q = 'a', a = 'b' }, { q = 'a' } }"));
    struct task t;
    assert_int_equal(task_named("g/x", NULL, 0, &t, &err), 0);
    assert_int_equal(data_check(&t, &err), -1);
    char *want = xasprintf("%s/g.lua (its items for the test):2: no field 'a'; there is q", dir);
    assert_string_equal(err.s, want);
    free(want);
    task_release(&t);
    eval_free(e);
}

/* The function is called once for all that ask: the second time it would be too late to print. */
static void what_was_made_is_kept(void **state)
{
    (void)state;
    struct eval *e = open_eval(MAKES("print('made', split) return { {}, {} }"));
    char *path = xasprintf("%s/said", dir);
    fflush(stderr);
    int before = dup(STDERR_FILENO);
    if (!freopen(path, "w", stderr))
        BUG("no %s", path);
    for (int i = 0; i < 2; i++)
        assert_makes(e, false, "{}\n{}\n");
    fflush(stderr);
    dup2(before, STDERR_FILENO);
    close(before);
    struct buf said = BUF_INIT;
    assert_int_equal(read_file(path, 1000, &said, &err), 0);
    assert_string_equal(said.s, "made\ttest\n");
    buf_release(&said);
    free(path);
    eval_free(e);
}

static void an_evals_file_is_found_checked_or_said_to_be_missing(void **state)
{
    (void)state;
    static const char *const text = EVAL("file = 'd.jsonl',");
    char *own = xasprintf("%s", text);
    char *put = strstr(own, "train = { ");
    assert_non_null(put);
    struct buf with = BUF_INIT;
    buf_addf(&with, "%.*strain = { file = 't.jsonl', %s", (int)(put - own), own, put + 10);
    struct eval *e = open_eval(with.s);
    setenv("SEQTOPK_DATA", dir, 1);
    fixture_text(dir, "d.jsonl", "{\"q\":\"d\"}\n");
    assert_makes(e, false, "{\"q\":\"d\"}\n");
    struct data_file file;
    assert_int_equal(data_file_of_eval(&file, e, true, &err), -1);
    char *want =
        xasprintf("g/train: %s/t.jsonl is missing; scripts/fetch-data gets it; its folder is "
                  "what SEQTOPK_DATA says (%s), \"data\" where it says nothing",
                  dir, dir);
    assert_string_equal(err.s, want);
    data_file_release(&file);
    fixture_text(dir, "t.jsonl", "{\"q\":\"t\"}\n");
    assert_makes(e, true, "{\"q\":\"t\"}\n");
    e->train.sha256 = xasprintf("%064d", 0);
    assert_int_equal(data_file_of_eval(&file, e, true, &err), -1);
    assert_non_null(strstr(err.s, "/t.jsonl: its SHA-256 is "));
    data_file_release(&file);
    free(want);
    free(own);
    buf_release(&with);
    eval_free(e);
}

static void an_eval_without_such_data_says_so(void **state)
{
    (void)state;
    struct data_file file;
    struct task t;
    struct eval *e = eval_open("humaneval", &err);
    assert_int_equal(data_file_of_eval(&file, e, true, &err), -1);
    assert_string_equal(err.s, "humaneval has no training set");
    data_file_release(&file);
    eval_free(e);
    e = eval_open("codealpaca", &err);
    assert_int_equal(data_file_of_eval(&file, e, false, &err), -1);
    assert_string_equal(err.s, "codealpaca has a training set, but no documents to be scored");
    data_file_release(&file);
    eval_free(e);
    assert_int_equal(task_named("codealpaca/nll", NULL, 0, &t, &err), -1);
    assert_string_equal(err.s,
                        "there is no task 'codealpaca/nll'; codealpaca has a training set only");
    task_release(&t);
}

struct counting {
    const struct eval_train *train;
    int lines;
};

/* Each line of the project's training sets can be put to a model. */
static int count_line(void *ud, json_t *object, const char *where, struct buf *e)
{
    struct counting *c = ud;
    struct buf prompt = BUF_INIT, completion = BUF_INIT;
    int rc = template_fill(c->train->prompt, object, NULL, &prompt, e);
    if (rc == 0)
        rc = template_fill(c->train->completion, object, NULL, &completion, e);
    if (rc == 0 && (!prompt.len || !completion.len))
        rc = (fail)(e, "%s: an empty text", where);
    c->lines++;
    buf_release(&prompt);
    buf_release(&completion);
    return rc;
}

static void each_line_of_the_training_sets_is_whole(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        int lines;
    } sets[] = { { "gsm8k", 7473 }, { "law", 927 }, { "mbpp", 374 }, { "codealpaca", 4535 } };
    const char *shared = getenv("SEQTOPK_SHARED");
    char *data = xasprintf("%s/data", shared ? shared : "../shared");
    if (access(data, R_OK) != 0) {
        free(data);
        SKIP("no data sets");
    }
    setenv("SEQTOPK_DATA", data, 1);
    free(data);
    for (size_t i = 0; i < ARRAY_LEN(sets); i++) {
        struct eval *e = eval_open(sets[i].name, &err);
        struct counting c = { e ? &e->train : NULL, 0 };
        struct data_file file;
        if (!e || data_file_of_eval(&file, e, true, &err) != 0 ||
            data_file_each(&file, &e->train.rows, 0, count_line, &c, &err) != 0)
            fail_msg("%s", err.s);
        assert_int_equal(c.lines, sets[i].lines);
        data_file_release(&file);
        eval_free(e);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(an_array_of_objects_is_one_a_line, forget),
        cmocka_unit_test_teardown(a_function_makes_lines_with_fields_by_name, forget),
        cmocka_unit_test_teardown(a_task_reads_what_is_made_or_a_file_in_its_place, forget),
        cmocka_unit_test_teardown(what_a_function_makes_wrongly_is_refused, forget),
        cmocka_unit_test_teardown(a_function_without_an_end_is_stopped, forget),
        cmocka_unit_test_teardown(a_line_that_was_made_is_refused_by_its_number, forget),
        cmocka_unit_test_teardown(what_was_made_is_kept, forget),
        cmocka_unit_test_teardown(an_evals_file_is_found_checked_or_said_to_be_missing, forget),
        cmocka_unit_test_teardown(an_eval_without_such_data_says_so, forget),
        cmocka_unit_test_teardown(each_line_of_the_training_sets_is_whole, forget),
    };
    return cmocka_run_group_tests(tests, open_dir, close_dir);
}
