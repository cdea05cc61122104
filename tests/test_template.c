/*
 * test_template.c: what a template becomes, and what is refused with which words.
 */
#include "score/template.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static struct buf err, out;
static json_t *doc;

static int make_doc(void **state)
{
    (void)state;
    doc = json_loads("{\"question\": \"How {many}?\", \"tests\": [\"a == 1\", \"b\\n\", \"\"],"
                     " \"id\": 11, \"share\": 0.1, \"third\": 0.3333333333333333, \"large\": 1e300,"
                     " \"one\": 1.0, \"none\": [], \"mixed\": [\"a\", 7, null], \"null\": null,"
                     " \"yes\": true, \"object\": {\"a\": 1}, \"output\": \"own\"}",
                     0, NULL);
    assert_non_null(doc);
    return 0;
}

static int forget(void **state)
{
    (void)state;
    json_decref(doc);
    buf_release(&err);
    buf_release(&out);
    return 0;
}

static const char *fill(const char *template, const char *output)
{
    buf_reset(&out);
    if (template_fill(template, doc, output, &out, &err) != 0)
        fail_msg("%s: %s", template, err.s);
    return out.s;
}

static const char *refusal(const char *template)
{
    buf_reset(&out);
    assert_int_equal(template_fill(template, doc, NULL, &out, &err), -1);
    return err.s;
}

static void fields_are_filled_in_once(void **state)
{
    (void)state;
    assert_string_equal(fill("Q: {question}\nA:", NULL), "Q: How {many}?\nA:");
    assert_string_equal(fill("{question}{question}", NULL), "How {many}?How {many}?");
    assert_string_equal(fill("", NULL), "");
    assert_string_equal(fill("no field", NULL), "no field");
}

static void what_was_in_the_buffer_stays(void **state)
{
    (void)state;
    buf_reset(&out);
    buf_adds(&out, "before ");
    assert_int_equal(template_fill("{id}", doc, NULL, &out, &err), 0);
    assert_string_equal(out.s, "before 11");
}

static void braces_are_doubled(void **state)
{
    (void)state;
    assert_string_equal(fill("{{", NULL), "{");
    assert_string_equal(fill("d = {{1: {id}}}", NULL), "d = {1: 11}");
    assert_string_equal(fill("{{{id}}}", NULL), "{11}");
    assert_string_equal(fill("{{id}}", NULL), "{id}");
}

static void numbers_are_as_json_writes_them(void **state)
{
    (void)state;
    assert_string_equal(fill("{id} {share} {third} {large} {one}", NULL),
                        "11 0.1 0.3333333333333333 1e300 1.0");
}

static void an_array_gives_one_or_all(void **state)
{
    (void)state;
    assert_string_equal(fill("{tests[0]}", NULL), "a == 1");
    assert_string_equal(fill("{tests[1]}|", NULL), "b\n|");
    assert_string_equal(fill("{tests}|", NULL), "a == 1\nb\n\n|");
    assert_string_equal(fill("{mixed[1]}", NULL), "7");
    assert_string_equal(fill("[{none}]", NULL), "[]");
}

static void output_is_the_one_given_where_there_is_one(void **state)
{
    (void)state;
    assert_string_equal(fill("{output}\n{id}", "x = {id}"), "x = {id}\n11");
    assert_string_equal(fill("{output}", ""), "");
    assert_string_equal(fill("{output}", NULL), "own");
}

static void a_missing_field_is_named_with_those_there_are(void **state)
{
    (void)state;
    assert_string_equal(
        refusal("{answer}"),
        "no field 'answer'; there are question, tests, id, share, third, large, one,"
        " none, mixed, null, yes, object, ...");
    assert_string_equal(
        refusal("{answer[0]}"),
        "no field 'answer'; there are question, tests, id, share, third, large, one,"
        " none, mixed, null, yes, object, ...");
    json_t *small = json_pack("{s:i}", "id", 1), *empty = json_object();
    assert_int_equal(template_fill("{x}", small, NULL, &out, &err), -1);
    assert_string_equal(err.s, "no field 'x'; there is id");
    assert_int_equal(template_fill("{output}", empty, NULL, &out, &err), -1);
    assert_string_equal(err.s, "no field 'output'; there are none");
    json_decref(small);
    json_decref(empty);
}

static void an_element_that_is_an_object_gives_its_fields(void **state)
{
    (void)state;
    json_t *chat = json_pack("{s:[{s:s},{s:s,s:[]},s]}", "messages", "content", "Hello", "content",
                             "Good day", "parts", "x");
    buf_reset(&out);
    assert_int_equal(
        template_fill("{messages[0].content}, {messages[1].content}", chat, NULL, &out, &err), 0);
    assert_string_equal(out.s, "Hello, Good day");
    static const char *const wrong[][2] = {
        { "{messages[1].text}", "no field 'text'; there are content, parts" },
        { "{messages[2].content}", "messages[2].content is \"x\"; an object is allowed" },
        { "{messages[1].parts}", "messages[1].parts is []; a string and a number are allowed" },
        { "{messages[0].}", "{messages[0].} is no field; [ ] holds a whole number: {tests[0]}" },
        { "{messages[0.content}",
          "{messages[0.content} is no field; [ ] holds a whole number: {tests[0]}" },
        { "{messages[3].content}",
          "messages[3].content: the array has 3 elements; the first is [0]" },
    };
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        assert_int_equal(template_fill(wrong[i][0], chat, NULL, &out, &err), -1);
        assert_string_equal(err.s, wrong[i][1]);
    }
    json_decref(chat);
}

static void a_wrong_index_is_refused(void **state)
{
    (void)state;
    assert_string_equal(refusal("{tests[3]}"),
                        "tests[3]: the array has 3 elements; the first is [0]");
    assert_string_equal(refusal("{none[0]}"),
                        "none[0]: the array has 0 elements; the first is [0]");
    assert_string_equal(refusal("{tests[-1]}"),
                        "{tests[-1]} is no field; [ ] holds a whole number: {tests[0]}");
    const char *const wrong[] = { "{tests[]}", "{tests[0}", "{tests[0]x}", "{tests[x]}",
                                  "{tests[9999999999999999999]}" };
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++)
        assert_non_null(strstr(refusal(wrong[i]), "is no field"));
    assert_string_equal(refusal("{question[0]}"),
                        "question[0] is \"How {many}?\"; an array is allowed");
}

static void what_is_no_text_is_refused(void **state)
{
    (void)state;
    assert_string_equal(
        refusal("{object}"),
        "object is an object; a string, a number and an array of strings are allowed");
    assert_string_equal(refusal("{null}"),
                        "null is null; a string, a number and an array of strings are allowed");
    assert_string_equal(refusal("{yes}"),
                        "yes is true; a string, a number and an array of strings are allowed");
    assert_string_equal(refusal("{mixed}"),
                        "mixed is [\"a\",7,null]; a string, a number and an array "
                        "of strings are allowed");
    assert_string_equal(refusal("{mixed[2]}"),
                        "mixed[2] is null; a string and a number are allowed");
}

static void a_template_that_is_not_well_formed_is_refused(void **state)
{
    (void)state;
    const char *const wrong[] = { "{", "}", "{}", "{id", "a } b", "{id}}", "{i{d}" };
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++)
        assert_non_null(strstr(refusal(wrong[i]), "a brace itself is written"));
}

int main(void)
{
    buf_init(&err);
    buf_init(&out);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fields_are_filled_in_once),
        cmocka_unit_test(what_was_in_the_buffer_stays),
        cmocka_unit_test(braces_are_doubled),
        cmocka_unit_test(numbers_are_as_json_writes_them),
        cmocka_unit_test(an_array_gives_one_or_all),
        cmocka_unit_test(output_is_the_one_given_where_there_is_one),
        cmocka_unit_test(a_missing_field_is_named_with_those_there_are),
        cmocka_unit_test(an_element_that_is_an_object_gives_its_fields),
        cmocka_unit_test(a_wrong_index_is_refused),
        cmocka_unit_test(what_is_no_text_is_refused),
        cmocka_unit_test(a_template_that_is_not_well_formed_is_refused),
    };
    return cmocka_run_group_tests_name("template", tests, make_doc, forget);
}
