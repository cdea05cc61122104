/*
 * test_eval.c: every eval of the project opens, and one that is wrong is refused by file and line.
 */
#include "recipe/eval.h"
#include "fixture.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static char *dir;
static struct buf err = BUF_INIT;

static int enter(void **state)
{
    (void)state;
    dir = fixture_dir();
    unsetenv("SEQTOPK_EVALS");
    return 0;
}

static int leave(void **state)
{
    (void)state;
    unsetenv("SEQTOPK_EVALS");
    fixture_remove(dir);
    buf_release(&err);
    return 0;
}

static void each_eval_of_the_project_opens(void **state)
{
    (void)state;
    struct strings names = { 0 };
    eval_list(&names);
    assert_in_range(names.len, 1, 100);
    for (size_t i = 0; i < names.len; i++) {
        struct eval *e = eval_open(names.v[i], &err);
        if (!e)
            fail_msg("%s", err.s);
        assert_string_equal(e->name, names.v[i]);
        assert_in_range(e->nforms, 1, 100);
        eval_free(e);
    }
    strings_release(&names);
}

static void gsm8k_is_as_the_protocol_says(void **state)
{
    (void)state;
    struct eval *e = eval_open("gsm8k", &err);
    if (!e)
        fail_msg("%s", err.s);
    assert_string_equal(e->file, "gsm8k/test.jsonl");
    assert_string_equal(e->forms[0].name, "nll");
    assert_string_equal(e->forms[0].prompt, "Question: {question}\nAnswer:");
    assert_string_equal(e->forms[0].target, " {answer}");
    eval_free(e);
}

static void an_unknown_eval_lists_the_known_ones(void **state)
{
    (void)state;
    assert_null(eval_open("gsm9k", &err));
    assert_non_null(strstr(err.s, "there is no task 'gsm9k'; known are gsm8k (looked for NAME.lua "
                                  "in evals, "));
    assert_null(eval_open("../evals/gsm8k", &err));
    assert_non_null(strstr(err.s, "there is no task '../evals/gsm8k'"));
    assert_null(eval_open("", &err));
    assert_non_null(strstr(err.s, "there is no task ''"));
}

/* e.lua with `text` must be refused with "e.lua" and `want`. */
static void assert_refused(const char *text, const char *want)
{
    fixture_text(dir, "e.lua", text);
    setenv("SEQTOPK_EVALS", dir, 1);
    struct eval *e = eval_open("e", &err);
    char *sentence = xasprintf("%s/e.lua%s", dir, want);
    if (e || strcmp(err.s, sentence) != 0)
        fail_msg("%s\n  says    %s\n  and not %s", text, e ? "nothing" : err.s, sentence);
    free(sentence);
}

#define HEAD "return { name = 'e', about = 'a', license = 'l', source = 's', file = 'f',\n"
#define FORMS(form) HEAD "forms = {\nx = " form "} }"

static void a_wrong_eval_is_refused_by_line(void **state)
{
    (void)state;
    assert_refused("return 3", ": the file must return a table");
    assert_refused("return { name = 'e' }", ":1: eval: 'about' is missing");
    assert_refused(HEAD "shots = 5 }", ":2: eval.shots: unknown key; allowed are name, about, "
                                       "license, source, file, forms");
    assert_refused(HEAD "forms = 3 }",
                   ":2: eval.forms: a table of forms is needed: { nll = { ... } "
                   "}");
    assert_refused(HEAD "forms = {} }",
                   ":2: eval.forms: at least one form is needed: { nll = { ... } }");
    assert_refused(HEAD "forms = { { } } }",
                   ":2: forms: a form's name has a character that is no letter, digit, - or _");
    assert_refused(FORMS("{ version = 0, prompt = 'p', target = 't' }"),
                   ":3: x.version: 0; allowed is a whole number from 1 to 1000000");
    assert_refused(FORMS("{ version = 1,\ntarget = 't' }"), ":3: x: 'prompt' is missing");
    assert_refused(FORMS("{ version = 1,\nprompt = 'a {b', target = 't' }"),
                   ":4: x.prompt: a '{' without 'field}' behind it; a brace itself is written {{");
    assert_refused(FORMS("{ version = 1, prompt = '{}', target = 't' }"),
                   ":3: x.prompt: a '{' without 'field}' behind it; a brace itself is written {{");
    assert_refused(FORMS("{ version = 1, prompt = 'p', target = 'a } b' }"),
                   ":3: x.target: a '}' without a '{'; a brace itself is written }}");
    assert_refused(FORMS("{ version = 1, prompt = '{a{b}}', target = 't' }"),
                   ":3: x.prompt: a '{' without 'field}' behind it; a brace itself is written {{");
    assert_refused("return { name = 'f', about = 'a', license = 'l', source = 's', file = 'f',\n"
                   "forms = { x = { version = 1, prompt = 'p', target = 't' } } }",
                   ":1: eval.name: \"f\"; the file's own name is needed, \"e\"");
    assert_refused("return sweep {}", ":1: unknown name 'sweep'");
}

static int collect(void *ud, bool field, const char *s, size_t len, struct buf *e)
{
    (void)e;
    buf_addf(ud, "%s(%.*s)", field ? "F" : "T", (int)len, s);
    return 0;
}

static void a_template_is_cut_into_texts_and_fields(void **state)
{
    (void)state;
    struct buf got = BUF_INIT;
    assert_int_equal(template_walk("{{a}} {b}{c} d{{", collect, &got, &err), 0);
    assert_string_equal(got.s, "T({)T(a})T( )F(b)F(c)T( d{)");
    buf_reset(&got);
    assert_int_equal(template_walk("", collect, &got, &err), 0);
    assert_string_equal(got.s, "");
    assert_int_equal(template_walk("{a", collect, &got, &err), -1);
    assert_int_equal(template_walk("{", collect, &got, &err), -1);
    assert_int_equal(template_walk("}", collect, &got, &err), -1);
    buf_release(&got);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(each_eval_of_the_project_opens, enter, leave),
        cmocka_unit_test_setup_teardown(gsm8k_is_as_the_protocol_says, enter, leave),
        cmocka_unit_test_setup_teardown(an_unknown_eval_lists_the_known_ones, enter, leave),
        cmocka_unit_test_setup_teardown(a_wrong_eval_is_refused_by_line, enter, leave),
        cmocka_unit_test_setup_teardown(a_template_is_cut_into_texts_and_fields, enter, leave),
    };
    return cmocka_run_group_tests_name("eval", tests, NULL, NULL);
}
