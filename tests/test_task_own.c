/*
 * test_task_own.c: the documents of tasks that a recipe makes itself: texts cut into a prompt and its
 * continuation, and the tokens that are timed.
 */
#include "recipe/data.h"
#include "fixture.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static char *dir;
static struct buf err = BUF_INIT;
static struct tokenizer *tokenizer;
static struct documents docs;

static int open_all(void **state)
{
    (void)state;
    tokenizer = tokenizer_open("tests/data/tokenizer/small.json", &err);
    if (!tokenizer)
        BUG("%s (tests run from the project's root)", err.s);
    dir = fixture_dir();
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
    documents_release(&docs);
    buf_release(&err);
    return 0;
}

static struct task continuing(const char *lines, int prompt, int more)
{
    struct recipe_task spec = { .text = "text", .prompt_tokens = prompt, .max_tokens = more };
    struct task t;
    fixture_text(dir, "d.jsonl", lines);
    spec.file = xasprintf("%s/d.jsonl", dir);
    if (task_resolve(&spec, 0, &t, &err) != 0 || data_check(&t, &err) != 0)
        fail_msg("%s", err.s);
    free(spec.file);
    return t;
}

static const char *continuation(size_t doc)
{
    return json_string_value(json_object_get(docs.v[doc].fields, "continuation"));
}

static void a_text_is_its_first_tokens_and_what_follows_is_for_the_measures(void **state)
{
    (void)state;
    // Tokens: a character each, but for "hello", " hello" and "ab".
    struct task t = continuing("{\"text\": \"xhello hellozwv\"}\n{\"text\": \"ababzzzz\"}\n", 2, 3);
    assert_int_equal(documents_read(&t, tokenizer, 5, &docs, &err), 0);
    assert_int_equal(docs.len, 2);
    assert_int_equal(docs.v[0].ids.len, 2);
    assert_int_equal(docs.v[0].prompt_tokens, 2);
    assert_string_equal(continuation(0), " hellozw");
    assert_string_equal(continuation(1), "zzz");
    assert_int_equal(docs.truncated, 0);
    task_release(&t);
}

static void a_character_that_the_end_cuts_is_marked(void **state)
{
    (void)state;
    struct task t = continuing("{\"text\": \"zz\xe4\xb8\xad\xe4\xb8\xad\"}\n", 1, 2);
    assert_int_equal(documents_read(&t, tokenizer, 99, &docs, &err), 0);
    assert_string_equal(continuation(0), "z\xef\xbf\xbd");
    task_release(&t);
}

static void a_text_with_too_few_tokens_is_refused(void **state)
{
    (void)state;
    struct task t = continuing("{\"text\": \"zzzzz\"}\n{\"text\": \"abzzz\"}\n", 2, 3);
    assert_int_equal(documents_read(&t, tokenizer, 5, &docs, &err), -1);
    if (!strstr(err.s, "d.jsonl:2: 4 tokens are fewer than prompt_tokens = 2 and max_tokens = 3"))
        fail_msg("%s", err.s);
    task_release(&t);
}

static void what_does_not_fit_the_context_is_refused(void **state)
{
    (void)state;
    struct task t = continuing("{\"text\": \"zzzzz\"}\n", 2, 3);
    assert_int_equal(documents_read(&t, tokenizer, 4, &docs, &err), -1);
    if (!strstr(err.s, "prompt_tokens = 2 and max_tokens = 3 are more than the 4 positions"))
        fail_msg("%s", err.s);
    task_release(&t);
}

/* What the task of `spec` is called. */
static void assert_called(const struct recipe_task *spec, const char *want)
{
    struct task t;
    if (task_resolve(spec, 0, &t, &err) != 0)
        fail_msg("%s", err.s);
    assert_string_equal(t.name, want);
    task_release(&t);
}

static void a_name_says_what_is_taken_of_a_file(void **state)
{
    (void)state;
    char field[] = "text", other[] = "body";
    struct recipe_task spec = { .text = field, .prompt_tokens = 2, .max_tokens = 3 };
    fixture_text(dir, "d.jsonl", "{\"text\": \"zzzzz\"}\n");
    spec.file = xasprintf("%s/d.jsonl", dir);
    assert_called(&spec, "continue:d.jsonl(prompt_tokens=2,max_tokens=3)");
    spec.limit = 7;
    assert_called(&spec, "continue:d.jsonl(prompt_tokens=2,max_tokens=3,limit=7)");
    spec.text = other;
    spec.stop_at_end = true;
    assert_called(&spec,
                  "continue:d.jsonl(prompt_tokens=2,max_tokens=3,limit=7,field=body,stop_at_end)");
    free(spec.file);
}

/* ---- speed ---- */

static struct task timed(int repeats, int limit)
{
    struct recipe_task spec = {
        .speed = { .prompt_tokens = 3, .tokens = 4, .batch = 2, .repeats = repeats }
    };
    struct task t;
    if (task_resolve(&spec, limit, &t, &err) != 0 || data_check(&t, &err) != 0)
        fail_msg("%s", err.s);
    return t;
}

static void each_repeat_has_tokens_of_its_own_and_always_the_same(void **state)
{
    (void)state;
    struct task t = timed(3, 0), fewer = timed(3, 2);
    struct documents again;
    assert_int_equal(documents_read(&t, tokenizer, 7, &docs, &err), 0);
    assert_int_equal(documents_read(&fewer, tokenizer, 7, &again, &err), 0);
    assert_int_equal(docs.len, 3);
    assert_int_equal(again.len, 2);
    for (size_t i = 0; i < docs.len; i++) {
        const struct ids *ids = &docs.v[i].ids;
        assert_int_equal(ids->len, 2 * (3 + 4));
        for (size_t n = 0; n < ids->len; n++)
            assert_in_range(ids->v[n], 0, tokenizer_size(tokenizer) - 1);
        assert_memory_not_equal(ids->v, ids->v + 7, 7 * sizeof(*ids->v));
        if (i > 0)
            assert_memory_not_equal(ids->v, docs.v[i - 1].ids.v, 14 * sizeof(*ids->v));
        if (i < again.len)
            assert_memory_equal(ids->v, again.v[i].ids.v, 14 * sizeof(*ids->v));
    }
    documents_release(&again);
    task_release(&t);
    task_release(&fewer);
}

static void a_repeat_that_does_not_fit_the_context_is_refused(void **state)
{
    (void)state;
    struct task t = timed(3, 0);
    assert_int_equal(documents_read(&t, tokenizer, 6, &docs, &err), -1);
    assert_string_equal(
        err.s, "speed:random(prompt_tokens=3,tokens=4,batch=2,repeats=3,warmup=0): "
               "prompt_tokens = 3 and tokens = 4 are more than the 6 positions of the model");
    task_release(&t);
}

static void a_name_says_how_it_is_timed(void **state)
{
    (void)state;
    char label[] = "long";
    struct recipe_task spec = { .speed = { 3, 4, 2, SPEED_REPEATS, SPEED_WARMUP } };
    assert_called(&spec, "speed:random(prompt_tokens=3,tokens=4,batch=2)");
    spec.speed.repeats++;
    assert_called(&spec, "speed:random(prompt_tokens=3,tokens=4,batch=2,repeats=8)");
    spec.speed.warmup = 0;
    assert_called(&spec, "speed:random(prompt_tokens=3,tokens=4,batch=2,repeats=8,warmup=0)");
    spec.label = label;
    assert_called(&spec, "speed:long");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(a_text_is_its_first_tokens_and_what_follows_is_for_the_measures,
                                  forget),
        cmocka_unit_test_teardown(a_character_that_the_end_cuts_is_marked, forget),
        cmocka_unit_test_teardown(a_text_with_too_few_tokens_is_refused, forget),
        cmocka_unit_test_teardown(what_does_not_fit_the_context_is_refused, forget),
        cmocka_unit_test_teardown(a_name_says_what_is_taken_of_a_file, forget),
        cmocka_unit_test_teardown(each_repeat_has_tokens_of_its_own_and_always_the_same, forget),
        cmocka_unit_test_teardown(a_repeat_that_does_not_fit_the_context_is_refused, forget),
        cmocka_unit_test_teardown(a_name_says_how_it_is_timed, forget),
    };
    return cmocka_run_group_tests_name("task_own", tests, open_all, close_all);
}
