/*
 * test_json.c: every complaint names the place, the key, what was found and what is allowed.
 */
#include "json.h"

#include "fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static struct buf err = BUF_INIT;

static int forget(void **state)
{
    (void)state;
    buf_release(&err);
    return 0;
}

static json_t *parse(const char *text, size_t line)
{
    return json_parse(text, strlen(text), "f.json", line, &err);
}

static void a_syntax_error_is_named_by_its_line(void **state)
{
    (void)state;
    assert_null(parse("{\n\"a\": 1,\n\"b\": }", 1));
    assert_string_equal(err.s, "f.json:3: not valid JSON: unexpected token near '}'");
    assert_null(parse("{\"a\": ", 12));
    assert_non_null(strstr(err.s, "f.json:12: not valid JSON"));
    assert_null(parse("{\"a\": ", 0));
    assert_non_null(strstr(err.s, "f.json: not valid JSON at byte"));
    assert_null(parse("{} {}", 1));
    assert_non_null(strstr(err.s, "end of file expected"));
    assert_null(parse("{\x1b", 1));
    assert_non_null(strstr(err.s, "near '?'"));
    assert_null(parse("", 1));
    assert_non_null(strstr(err.s, "f.json:1: not valid JSON"));
}

static void a_name_that_stands_twice_is_refused(void **state)
{
    (void)state;
    assert_null(parse("{\"a\": 1, \"a\": 2}", 1));
    assert_non_null(strstr(err.s, "duplicate object key"));
}

static void what_is_not_an_object_is_called_so(void **state)
{
    (void)state;
    assert_null(parse("[1]", 7));
    assert_string_equal(err.s, "f.json:7: a JSON object is needed, but this is an array");
    assert_null(parse("null", 0));
    assert_string_equal(err.s, "f.json: a JSON object is needed, but this is null");
    assert_null(parse("\"x\"", 1));
    assert_non_null(strstr(err.s, "a string"));
    assert_null(parse("1.5", 1));
    assert_non_null(strstr(err.s, "a number"));
    assert_null(parse("true", 1));
    assert_non_null(strstr(err.s, "true or false"));
}

static void bytes_that_are_no_text_are_refused(void **state)
{
    (void)state;
    assert_null(parse("{\"a\": \"\xff\"}", 1));
    assert_non_null(strstr(err.s, "f.json:1: not valid JSON"));
    assert_null(parse("{\"a\": \"x\\u0000y\"}", 1));
    assert_non_null(strstr(err.s, "f.json:1: a text in it has a NUL character"));
}

static void a_deep_text_is_refused(void **state)
{
    (void)state;
    struct buf deep = BUF_INIT;
    buf_adds(&deep, "{\"a\": ");
    for (int i = 0; i < 100000; i++)
        buf_addc(&deep, '[');
    assert_null(parse(deep.s, 1));
    assert_non_null(strstr(err.s, "maximum parsing depth"));
    buf_release(&deep);
}

static void a_file_is_read_up_to_its_limit(void **state)
{
    (void)state;
    char *dir = fixture_dir();
    char *path = xasprintf("%s/x.json", dir);
    assert_null(json_read_file(path, 100, &err));
    assert_non_null(strstr(err.s, "No such file"));
    fixture_text(dir, "x.json", "{\"a\":\n 5}\n");
    json_t *root = json_read_file(path, 10, &err);
    assert_non_null(root);
    assert_int_equal(json_integer_value(json_object_get(root, "a")), 5);
    json_decref(root);
    assert_null(json_read_file(path, 9, &err));
    assert_non_null(strstr(err.s, path));
    fixture_text(dir, "x.json", "{\"a\":\n 5,}\n");
    assert_null(json_read_file(path, 100, &err));
    char *place = xasprintf("%s:2: ", path);
    assert_non_null(strstr(err.s, place));
    free(place);
    free(path);
    fixture_remove(dir);
}

static const char sample[] =
    "{\"i\": 5, \"r\": 2.5, \"b\": true, \"s\": \"x\", \"o\": {\"k\": 1}, "
    "\"a\": [1, 2], \"n\": null, \"big\": 4294967296, \"low\": -4294967295}";

static void what_is_there_is_read(void **state)
{
    (void)state;
    json_t *root = parse(sample, 1);
    struct json_in in = { root, "f.json", &err };
    int i = 0;
    double r = 0;
    bool b = false;
    const char *s = NULL;
    const json_t *v = NULL;
    assert_int_equal(json_need_int(&in, "i", 5, 5, &i), 0);
    assert_int_equal(i, 5);
    assert_int_equal(json_need_number(&in, "r", 2.5, 2.5, &r), 0);
    assert_true(r == 2.5);
    assert_int_equal(json_opt_number(&in, "i", 0, 9, &r), 0);
    assert_true(r == 5);
    assert_int_equal(json_need_bool(&in, "b", &b), 0);
    assert_true(b);
    assert_int_equal(json_need_string(&in, "s", &s), 0);
    assert_string_equal(s, "x");
    assert_int_equal(json_need_object(&in, "o", &v), 0);
    assert_int_equal(json_object_size(v), 1);
    assert_int_equal(json_need_array(&in, "a", &v), 0);
    assert_int_equal(json_array_size(v), 2);
    json_decref(root);
}

static void what_is_absent_or_null_keeps_the_default(void **state)
{
    (void)state;
    json_t *root = parse(sample, 1);
    struct json_in in = { root, "f.json", &err };
    int i = 7;
    double r = 7;
    bool b = true;
    const char *s = "default";
    assert_int_equal(json_opt_int(&in, "n", 0, 1, &i), 0);
    assert_int_equal(json_opt_int(&in, "gone", 0, 1, &i), 0);
    assert_int_equal(json_opt_number(&in, "gone", 0, 1, &r), 0);
    assert_int_equal(json_opt_bool(&in, "n", &b), 0);
    assert_int_equal(json_opt_string(&in, "n", &s), 0);
    assert_int_equal(i, 7);
    assert_true(r == 7 && b);
    assert_string_equal(s, "default");
    assert_null(json_value(&in, "n"));
    json_decref(root);
}

static void what_is_wrong_is_named(void **state)
{
    (void)state;
    json_t *root = parse(sample, 1);
    struct json_in in = { root, "f.json", &err };
    int i = 1;
    double r = 1;
    bool b = false;
    const char *s = "kept";
    const json_t *v = NULL;
    assert_int_equal(json_need_int(&in, "i", 6, 9, &i), -1);
    assert_string_equal(err.s, "f.json: i is 5; a whole number from 6 to 9 is allowed");
    assert_int_equal(json_opt_int(&in, "i", 1, 4, &i), -1);
    assert_int_equal(json_need_int(&in, "r", 0, 9, &i), -1);
    assert_non_null(strstr(err.s, "r is 2.5"));
    // 2^32 is 0 in an int, 1 - 2^32 is 1: they must be refused before that.
    assert_int_equal(json_need_int(&in, "big", 0, 9, &i), -1);
    assert_non_null(strstr(err.s, "big is 4294967296"));
    assert_int_equal(json_need_int(&in, "low", 0, 9, &i), -1);
    assert_int_equal(json_need_int(&in, "gone", 0, 9, &i), -1);
    assert_string_equal(err.s, "f.json: gone is missing; a whole number from 0 to 9 is allowed");
    assert_int_equal(json_need_number(&in, "n", 0, 9, &r), -1);
    assert_string_equal(err.s, "f.json: n is null; a number from 0 to 9 is allowed");
    assert_int_equal(json_opt_number(&in, "s", 0, 9, &r), -1);
    assert_non_null(strstr(err.s, "s is \"x\""));
    assert_int_equal(json_opt_number(&in, "r", 3, 9, &r), -1);
    assert_int_equal(json_opt_number(&in, "r", 0, 2, &r), -1);
    assert_int_equal(json_opt_bool(&in, "i", &b), -1);
    assert_string_equal(err.s, "f.json: i is 5; true and false are allowed");
    assert_int_equal(json_opt_string(&in, "a", &s), -1);
    assert_string_equal(err.s, "f.json: a is [1,2]; a string is allowed");
    assert_int_equal(json_need_object(&in, "a", &v), -1);
    assert_non_null(strstr(err.s, "an object is allowed"));
    assert_int_equal(json_need_array(&in, "o", &v), -1);
    assert_string_equal(err.s, "f.json: o is an object; an array is allowed");
    // What failed has changed nothing.
    assert_true(i == 1 && r == 1 && !b && !v);
    assert_string_equal(s, "kept");
    json_decref(root);
}

static void a_large_value_is_shown_short(void **state)
{
    (void)state;
    struct buf out = BUF_INIT;
    struct buf text = BUF_INIT;
    for (int i = 0; i < 40; i++)
        buf_adds(&text, "\xc3\xa4"); // 59 bytes and one make half a letter
    buf_adds(&text, "b");
    char *odd = xasprintf("a%s", text.s);
    json_t *s = json_string(odd);
    json_show(s, &out);
    assert_true(out.len <= 65);
    assert_int_equal(utf8_valid(out.s, out.len), out.len);
    assert_string_equal(out.s + out.len - 4, "...\"");
    json_t *lines =
        json_string("\n\n1234567890123456789012345678901234567890123456789012345678901234");
    buf_reset(&out);
    json_show(lines, &out);
    assert_true(out.len > 50 && !strchr(out.s, '\n'));
    json_decref(lines);
    json_t *a = json_array();
    for (int i = 0; i < 8; i++)
        json_array_append(a, s);
    buf_reset(&out);
    json_show(a, &out);
    assert_string_equal(out.s, "an array");
    json_array_append(a, s);
    buf_reset(&out);
    json_show(a, &out);
    assert_string_equal(out.s, "an array of 9");
    json_decref(a);
    json_decref(s);
    free(odd);
    buf_release(&text);
    buf_release(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(a_syntax_error_is_named_by_its_line, forget),
        cmocka_unit_test_teardown(a_name_that_stands_twice_is_refused, forget),
        cmocka_unit_test_teardown(what_is_not_an_object_is_called_so, forget),
        cmocka_unit_test_teardown(bytes_that_are_no_text_are_refused, forget),
        cmocka_unit_test_teardown(a_deep_text_is_refused, forget),
        cmocka_unit_test_teardown(a_file_is_read_up_to_its_limit, forget),
        cmocka_unit_test_teardown(what_is_there_is_read, forget),
        cmocka_unit_test_teardown(what_is_absent_or_null_keeps_the_default, forget),
        cmocka_unit_test_teardown(what_is_wrong_is_named, forget),
        cmocka_unit_test_teardown(a_large_value_is_shown_short, forget),
    };
    return cmocka_run_group_tests_name("json", tests, NULL, NULL);
}
