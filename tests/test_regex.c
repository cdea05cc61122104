/*
 * test_regex.c: what is found and replaced, against what Python 3.11's re.findall() and re.sub() gave
 * for the same patterns and texts, and searches that would never end.
 */
#include "score/regex.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static struct buf err, out;

static int forget(void **state)
{
    (void)state;
    buf_release(&err);
    buf_release(&out);
    return 0;
}

static struct regex *compile(const char *pattern)
{
    struct regex *r = regex_new(pattern, &err);
    if (!r)
        fail_msg("%s", err.s);
    return r;
}

/* What is found, "(none)", or "(gave up)"; in `out`. */
static const char *find(const char *pattern, const char *text, bool last)
{
    struct regex *r = compile(pattern);
    buf_reset(&out);
    int rc = regex_find(r, text, strlen(text), last, &out, &err);
    regex_free(r);
    return rc > 0 ? out.s : rc == 0 ? "(none)" : "(gave up)";
}

static const char *replace(const char *pattern, const char *text, const char *with)
{
    struct regex *r = compile(pattern);
    buf_reset(&out);
    if (regex_check_with(r, with, &err) != 0)
        fail_msg("%s", err.s);
    assert_int_equal(regex_replace(r, text, strlen(text), with, &out, &err), 0);
    regex_free(r);
    return out.s;
}

static void first_and_last_match_do_not_overlap(void **state)
{
    (void)state;
    assert_string_equal(find("\\d+", "a 12 b 345 c", false), "12");
    assert_string_equal(find("\\d+", "a 12 b 345 c", true), "345");
    assert_string_equal(find("aba", "ababa", true), "aba");
    assert_string_equal(find("\\d+", "none", false), "(none)");
    assert_string_equal(find("\\d+", "", true), "(none)");
    // findall("aa", "aaa") has one match, so what is behind it is a.
    assert_string_equal(replace("aa", "aaa", "-"), "-a");
}

static void the_group_that_took_part_is_the_answer(void **state)
{
    (void)state;
    assert_string_equal(find("x(\\d)y", "x7y", false), "7");
    assert_string_equal(find("(a)|(b)", "ab", true), "b");
    assert_string_equal(find("(?:(a)|(b)|(c))z", "cz", false), "c");
    assert_string_equal(find("(?:(a)|(b*)(c))z", "cz", false), "c");
    assert_string_equal(find("(a)?b", "b", false), "b");
    assert_string_equal(find("x(\\d*)y", "xy", false), "");
    assert_string_equal(find("(-?[$0-9.,]{2,})|(-?[0-9]+)", "a 12 b 5", true), "5");
}

static void what_was_in_the_buffer_stays(void **state)
{
    (void)state;
    struct regex *r = compile("\\d");
    buf_reset(&out);
    buf_adds(&out, "n=");
    assert_int_equal(regex_find(r, "1 2 3", 5, true, &out, &err), 1);
    assert_string_equal(out.s, "n=3");
    assert_int_equal(regex_find(r, "x", 1, true, &out, &err), 0);
    assert_string_equal(out.s, "n=3");
    regex_free(r);
}

static void empty_matches_are_python_s(void **state)
{
    (void)state;
    assert_string_equal(replace("x*", "abxd", "-"), "-a-b--d-");
    assert_string_equal(replace("x*", "", "-"), "-");
    assert_string_equal(replace("\\b", "ab cd", "|"), "|ab| |cd|");
    assert_string_equal(replace("^|$", "a\n", "|"), "|a|\n|");
    assert_string_equal(replace("x*", "\xe4\xb8\xad\xe6\x96\x87", "-"),
                        "-\xe4\xb8\xad-\xe6\x96\x87-");
    assert_string_equal(find("x*", "abx", true), "");
}

static void groups_come_back_in_a_replacement(void **state)
{
    (void)state;
    assert_string_equal(replace("(\\d),(\\d)", "1,234,567 and 1,2,3", "$1$2"), "1234567 and 12,3");
    assert_string_equal(replace("(a)|(b)", "abc", "[$1$2$$]"), "[a$][b$]c");
    assert_string_equal(replace("(?s).*#### ", "a #### 1\n#### 2", ""), "2");
    assert_string_equal(replace("\\.$", "5..", ""), "5.");
    assert_string_equal(replace("\\.$", "5.\n", ""), "5\n");
}

static void a_dot_is_all_but_a_line_feed(void **state)
{
    (void)state;
    // A carriage return, U+2028, a character of four bytes.
    assert_string_equal(find("x.y", "x\ny", false), "(none)");
    assert_string_equal(find("x.y", "x\ry", false), "x\ry");
    assert_string_equal(find("x.y", "x\xe2\x80\xa8y", false), "x\xe2\x80\xa8y");
    assert_string_equal(find("x(.)y", "x\xf0\x9f\x98\x80y", false), "\xf0\x9f\x98\x80");
}

static void classes_are_unicode_s(void **state)
{
    (void)state;
    // Arabic digits, a full-width digit, an ideographic space, a letter with an accent.
    assert_string_equal(find("\\d+", "\xd9\xa1\xd9\xa2", false), "\xd9\xa1\xd9\xa2");
    assert_string_equal(find("\\d", "\xef\xbc\x97", false), "\xef\xbc\x97");
    assert_string_equal(find("x\\sy", "x\xe3\x80\x80y", false), "x\xe3\x80\x80y");
    assert_string_equal(find("\\w+", "\xc3\xa9t\xc3\xa9!", false), "\xc3\xa9t\xc3\xa9");
}

#define MENDED "\xef\xbf\xbd"

static void a_text_that_is_no_utf8_is_mended(void **state)
{
    (void)state;
    assert_string_equal(find("\\d+", "\xff\xfe 12 \x80", false), "12");
    assert_string_equal(find("^.*$", "x\xffy\xe4\xb8", false), "x" MENDED "y" MENDED);
    // A start without its end, and a surrogate.
    assert_string_equal(replace("y", "\xc3y\xed\xa0\x80", "x"), MENDED "x" MENDED MENDED MENDED);
}

static void a_search_without_end_is_given_up(void **state)
{
    (void)state;
    const char *text = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab";
    assert_string_equal(find("^(a+)+$", text, false), "(gave up)");
    assert_string_equal(err.s, "the regular expression \"^(a+)+$\" gave up on a text of 65 bytes: "
                               "it takes too many steps");
    assert_string_equal(out.s, "");
    struct regex *r = compile("(x+x+)+y|z");
    buf_reset(&out);
    struct buf many = BUF_INIT;
    buf_adds(&many, "z");
    for (int i = 0; i < 60; i++)
        buf_addc(&many, 'x');
    assert_int_equal(regex_find(r, many.s, many.len, false, &out, &err), 1);
    // The first match was there, but whether there is a later one cannot be said.
    buf_reset(&out);
    buf_adds(&many, "!y");
    assert_int_equal(regex_find(r, many.s, many.len, true, &out, &err), -1);
    assert_int_equal(out.len, 0);
    buf_release(&many);
    regex_free(r);
}

static void a_search_that_is_slow_from_every_place_is_given_up(void **state)
{
    (void)state;
    struct buf text = BUF_INIT;
    for (int i = 0; i < 20000; i++)
        buf_addc(&text, 'a');
    assert_string_equal(find("[a-z]*x?[a-z]*[0-9]", text.s, false), "(gave up)");
    buf_release(&text);
}

static void a_long_text_is_no_reason_to_give_up(void **state)
{
    (void)state;
    enum { MANY = 300000 };
    struct buf text = BUF_INIT;
    for (int i = 0; i < MANY; i++)
        buf_adds(&text, i % 7 ? "ab" : "1\n");
    buf_adds(&text, "#### 18");
    assert_string_equal(find("(?s)(?:.)*#### (\\d+)", text.s, false), "18");
    assert_string_equal(find("(-?[$0-9.,]{2,})|(-?[0-9]+)", text.s, true), "18");
    assert_string_equal(replace("(?s).*#### ", text.s, ""), "18");
    buf_release(&text);
}

static void a_bad_pattern_is_refused_with_its_place(void **state)
{
    (void)state;
    assert_null(regex_new("a(b", &err));
    assert_string_equal(err.s,
                        "\"a(b\" is no regular expression: missing closing parenthesis, at byte 3");
    assert_null(regex_new("[z-a]", &err));
    assert_null(regex_new("\\C", &err));
    assert_null(regex_new("\xff", &err));
}

static void a_bad_replacement_is_refused(void **state)
{
    (void)state;
    struct regex *r = compile("(a)");
    assert_int_equal(regex_groups(r), 1);
    assert_int_equal(regex_check_with(r, "$1 $$ x", &err), 0);
    assert_int_equal(regex_check_with(r, "$2", &err), -1);
    assert_string_equal(err.s, "\"$2\": \"(a)\" has no group 2");
    assert_int_equal(regex_check_with(r, "5 $", &err), -1);
    assert_int_equal(regex_check_with(r, "$x", &err), -1);
    assert_int_equal(regex_check_with(r, "$0", &err), -1);
    regex_free(r);
}

static void *search_often(void *shared)
{
    struct buf found = BUF_INIT, why = BUF_INIT;
    size_t bad = 0;
    for (int i = 0; i < 2000; i++) {
        char text[64];
        int len = snprintf(text, sizeof(text), "the answer is %d. Or is it %d?", i, i + 1);
        buf_reset(&found);
        bad += regex_find(shared, text, (size_t)len, true, &found, &why) != 1;
        bad += atoi(found.s) != i + 1;
    }
    buf_release(&found);
    buf_release(&why);
    return bad ? shared : NULL;
}

static void threads_share_one(void **state)
{
    (void)state;
    pthread_t threads[4];
    struct regex *r = compile("is (?:it )?(\\d+)");
    for (size_t i = 0; i < ARRAY_LEN(threads); i++)
        assert_int_equal(pthread_create(&threads[i], NULL, search_often, r), 0);
    for (size_t i = 0; i < ARRAY_LEN(threads); i++) {
        void *bad;
        pthread_join(threads[i], &bad);
        assert_null(bad);
    }
    regex_free(r);
}

int main(void)
{
    buf_init(&err);
    buf_init(&out);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(first_and_last_match_do_not_overlap),
        cmocka_unit_test(the_group_that_took_part_is_the_answer),
        cmocka_unit_test(what_was_in_the_buffer_stays),
        cmocka_unit_test(empty_matches_are_python_s),
        cmocka_unit_test(groups_come_back_in_a_replacement),
        cmocka_unit_test(a_dot_is_all_but_a_line_feed),
        cmocka_unit_test(classes_are_unicode_s),
        cmocka_unit_test(a_text_that_is_no_utf8_is_mended),
        cmocka_unit_test(a_search_without_end_is_given_up),
        cmocka_unit_test(a_search_that_is_slow_from_every_place_is_given_up),
        cmocka_unit_test(a_long_text_is_no_reason_to_give_up),
        cmocka_unit_test(a_bad_pattern_is_refused_with_its_place),
        cmocka_unit_test(a_bad_replacement_is_refused),
        cmocka_unit_test(threads_share_one),
    };
    return cmocka_run_group_tests_name("regex", tests, NULL, forget);
}
