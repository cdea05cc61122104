/*
 * test_pretokenize.c: where text is cut, by GPT-2's pattern, by a file's own, by several; patterns
 * and steps that are refused.
 */
#include "text/pattern.h"
#include "text/pretokenize.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static struct buf err;

static int forget(void **state)
{
    (void)state;
    buf_release(&err);
    return 0;
}

#define BYTE_LEVEL(prefix, regex) \
    "{\"type\": \"ByteLevel\", \"add_prefix_space\": " #prefix ", \"use_regex\": " #regex "}"
#define SPLIT(regex)                                                                              \
    "{\"type\": \"Split\", \"pattern\": {\"Regex\": \"" regex "\"}, \"behavior\": \"Isolated\", " \
    "\"invert\": false}"
#define SEQUENCE(list) "{\"type\": \"Sequence\", \"pretokenizers\": [" list "]}"
#define BY(regex) SEQUENCE(SPLIT(regex) ", " BYTE_LEVEL(false, false))

#define QWEN2                                                                        \
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?\\\\p{L}+|\\\\p{N}|" \
    " ?[^\\\\s\\\\p{L}\\\\p{N}]+[\\\\r\\\\n]*|\\\\s*[\\\\r\\\\n]+|\\\\s+(?!\\\\S)|\\\\s+"

static struct pretokenizer *make(const char *json)
{
    json_t *node = json_loads(json, 0, NULL);
    if (!node)
        BUG("not JSON: %s", json);
    struct pretokenizer *p = pretokenizer_new("file", node, &err);
    json_decref(node);
    return p;
}

static int show(void *ctx, const char *s, size_t len, struct buf *unused)
{
    (void)unused;
    assert_true(len > 0);
    buf_add(ctx, s, len);
    buf_addc(ctx, '|');
    return 0;
}

/* The pieces of `text`, each with a bar behind it. */
static void assert_cut(const char *json, const char *text, const char *want)
{
    struct pretokenizer *p = make(json);
    struct buf got = BUF_INIT;
    if (!p || pretokenize(p, text, strlen(text), show, &got, &err) != 0)
        fail_msg("%s", err.s);
    assert_string_equal(got.s, want);
    pretokenizer_free(p);
    buf_release(&got);
}

static void gpt2s_words_are_cut(void **state)
{
    (void)state;
    static const char gpt2[] = BYTE_LEVEL(false, true);
    assert_cut(gpt2, "", "");
    assert_cut(gpt2, "Hello my friend, how's it?", "Hello| my| friend|,| how|'s| it|?|");
    assert_cut(gpt2, "it'S 's'll", "it|'|S| '|s|'ll|");
    assert_cut(gpt2, "a  b   c", "a| | b|  | c|");
    assert_cut(gpt2, "a \n b\r\n\r\n", "a| \n| b|\r\n\r\n|");
    assert_cut(gpt2, "x1234 56-7", "x|1234| 56|-|7|");
    assert_cut(gpt2, "\xc3\xa9t\xc3\xa9\xc2\xa0\xe4\xb8\xad\xe2\x82\xac",
               "\xc3\xa9t\xc3\xa9|\xc2\xa0|\xe4\xb8\xad|\xe2\x82\xac|");
}

static void use_regex_is_true_unless_said_otherwise(void **state)
{
    (void)state;
    assert_cut("{\"type\": \"ByteLevel\", \"add_prefix_space\": false}", "a b", "a| b|");
    assert_cut(BYTE_LEVEL(false, false), "a b", "a b|");
}

static void a_space_is_what_unicode_calls_so_today(void **state)
{
    (void)state;
    // U+180E was a space until Unicode 6.3 (PCRE2 still thinks so), U+0085 always was one.
    assert_cut(BYTE_LEVEL(false, true), "\xe1\xa0\x8e\xe1\xa0\x8e!", "\xe1\xa0\x8e\xe1\xa0\x8e!|");
    assert_cut(BYTE_LEVEL(false, true), "!\xc2\x85\xe3\x80\x80!", "!|\xc2\x85|\xe3\x80\x80|!|");
    assert_cut(BY("[\\\\S]+"), "a\xe1\xa0\x8e\xe2\x80\x89z", "a\xe1\xa0\x8e|\xe2\x80\x89|z|");
}

static void a_pattern_of_the_file_cuts(void **state)
{
    (void)state;
    assert_cut(BY(QWEN2), "I'M 123 (you)\n\n x", "I|'M| |1|2|3| (|you|)\n\n| x|");
    assert_cut(BY(QWEN2), "a \r\n  b\t\tc ", "a| \r\n| | b|\t|\tc| |");
    // The long s and the Kelvin sign are the s and k of one who ignores case.
    assert_cut(BY("(?i:'s|k)"), "x'\xc5\xbfy\xe2\x84\xaaz", "x|'\xc5\xbf|y|\xe2\x84\xaa|z|");
    assert_cut(BY("\\\\p{N}{1,3}"), "1234567", "123|456|7|");
    assert_cut(BY("\\\\d{2}"), "12345", "12|34|5|");
}

static void what_does_not_match_is_a_piece_too(void **state)
{
    (void)state;
    assert_cut(BY(","), "a,b,,c", "a|,|b|,|,|c|");
    assert_cut(BY(","), "abc", "abc|");
}

static void an_empty_match_cuts_and_the_search_goes_on(void **state)
{
    (void)state;
    assert_cut(BY("x*"),
               "axxb\xc3\xa9"
               "c",
               "a|xx|b|\xc3\xa9|c|");
    assert_cut(BY("(?=b)"), "abcb", "a|bc|b|");
}

static void steps_follow_one_another(void **state)
{
    (void)state;
    assert_cut(SEQUENCE(SPLIT("\\\\p{N}") ", " SPLIT(",") ", " BYTE_LEVEL(false, true)),
               "a b,12 c,d", "a| b|,|1|2| c|,|d|");
    assert_cut(SEQUENCE(SEQUENCE(SPLIT(",")) ", " SEQUENCE(BYTE_LEVEL(false, false))), "a,b c",
               "a|,|b c|");
    // A step sees nothing of what lies beside its piece.
    assert_cut(SEQUENCE(SPLIT(",") ", " SPLIT("(?<=,)b") ", " BYTE_LEVEL(false, false)), "a,bb",
               "a|,|bb|");
}

static void a_space_is_put_before_what_has_none(void **state)
{
    (void)state;
    assert_cut(BYTE_LEVEL(true, true), "hello you", " hello| you|");
    assert_cut(BYTE_LEVEL(true, true), " hello", " hello|");
    assert_cut(BYTE_LEVEL(true, true), "\nhello", " |\n|hello|");
    assert_cut(BYTE_LEVEL(true, true), "", "");
    // Before each piece of the step before, as the library does.
    assert_cut(SEQUENCE(SPLIT(",") ", " BYTE_LEVEL(true, false)), "a,b", " a| ,| b|");
}

static void steps_that_are_not_supported_are_refused_by_name(void **state)
{
    (void)state;
    static const char *const bad[][2] = {
        { "{\"type\": \"Whitespace\"}", "'Whitespace' is not supported" },
        { "{}", "no pre-tokenizer with a type" },
        { SEQUENCE(""), "does not end with ByteLevel" },
        { SPLIT("a"), "does not end with ByteLevel" },
        { SEQUENCE(BYTE_LEVEL(false, true) ", " SPLIT("a")), "after ByteLevel" },
        { SEQUENCE(BYTE_LEVEL(false, true) ", " BYTE_LEVEL(false, true)), "after ByteLevel" },
        { SEQUENCE("{\"type\": \"Digits\"}"), "'Digits' is not supported" },
        { SEQUENCE("7"), "no pre-tokenizer with a type" },
        { "{\"type\": \"Sequence\"}", "pretokenizers is missing" },
        { "{\"type\": \"ByteLevel\"}", "add_prefix_space is missing" },
        { BYTE_LEVEL(1, true), "add_prefix_space is 1" },
        { BYTE_LEVEL(true, "0"), "use_regex is" },
        { "{\"type\": \"Split\", \"pattern\": {\"Regex\": \"a\"}, \"behavior\": \"Removed\", "
          "\"invert\": false}",
          "behavior 'Removed'; only Isolated" },
        { "{\"type\": \"Split\", \"pattern\": {\"Regex\": \"a\"}, \"behavior\": \"Isolated\", "
          "\"invert\": true}",
          "invert true" },
        { "{\"type\": \"Split\", \"pattern\": {\"String\": \"a\"}, \"behavior\": \"Isolated\", "
          "\"invert\": false}",
          "no pattern Regex" },
        { "{\"type\": \"Split\", \"pattern\": {\"Regex\": \"a\"}, \"invert\": false}",
          "behavior is missing" },
        { "{\"type\": \"Split\", \"behavior\": \"Isolated\", \"invert\": false}",
          "pattern is missing" },
        { "{\"type\": \"Split\", \"pattern\": {\"Regex\": \"a\"}, \"behavior\": \"Isolated\"}",
          "invert is missing" },
        { BY("(a"), "pattern: missing closing parenthesis" },
        { BY("a|*"), "pattern: quantifier does not follow" },
        { BY("\\\\w+"), "pattern: '\\w' at byte 0 is not supported" },
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        assert_null(make(bad[i][0]));
        if (!strstr(err.s, bad[i][1]) || strncmp(err.s, "file", 4) != 0)
            fail_msg("'%s' is not in '%s'", bad[i][1], err.s);
    }
    struct buf many = BUF_INIT;
    for (int i = 0; i < 17; i++)
        buf_adds(&many, SPLIT("a") ", ");
    char *json = xasprintf(SEQUENCE("%s%s"), many.s, BYTE_LEVEL(false, false));
    assert_null(make(json));
    assert_non_null(strstr(err.s, "more than 16 pre-tokenizers"));
    free(json);
    buf_release(&many);
}

static void patterns_that_the_libraries_read_differently_are_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "\\w",     "\\W",         "\\b",     "\\h",         "\\R",      "\\X",
        "\\K",     "\\G",         "\\A",     "\\z",         "\\1",      "\\x41",
        "\\u0041", "\\Q",         "\\pL",    "\\p{Han}",    "\\p{^L}",  "\\p{L",
        "\\p{}",   "\\p{Alpha}",  "\\",      "\\\xc3\xa9",  ".",        "^",
        "$",       "]",           "}",       "a{",          "a{,3}",    "a{2}+",
        "a{2}?",   "a{x}",        "[]a]",    "[^]a]",       "[a[b]]",   "[a&&b]",
        "[]",      "[^]",         "[a[b]",   "[[:alpha:]]", "[a",       "[\\w]",
        "(?i)a",   "(?m:a)",      "(?<n>a)", "(?P<n>a)",    "(*UCP)",   "(?#a)",
        "(?|a)",   "(?i:[a])",    "(?i:a",   "(?i:st)",     "(?i:xFi)", "(?i:\xc3\xa9)",
        "(?",      "(?i:\\p{L})",
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct buf out = BUF_INIT;
        if (pattern_translate(bad[i], &out, &err) == 0)
            fail_msg("%s was taken", bad[i]);
        assert_true(strstr(err.s, "is not supported") || strstr(err.s, "is not closed"));
        assert_int_equal(utf8_valid(err.s, err.len), err.len);
        buf_release(&out);
    }
}

static void the_rest_of_a_pattern_stays_as_it_is(void **state)
{
    (void)state;
    static const char *const same[] = { "",
                                        "a|b",
                                        "(a)(?:b)(?=c)(?!d)(?<=e)(?<!f)(?>g)",
                                        "a*+b??c+?d{2}e{2,}f{2,3}",
                                        "[^\\r\\n\\t\\]\\-\\/a-z!-/]",
                                        "(?i:'s|'T|ll)",
                                        "\\p{Lu}\\P{Zs}[\\p{L}\\P{M}]",
                                        "\\.\\(\\\\",
                                        "[\xe4\xb8\x80-\xe9\xbe\xa5]#" };
    for (size_t i = 0; i < ARRAY_LEN(same); i++) {
        struct buf out = BUF_INIT;
        assert_int_equal(pattern_translate(same[i], &out, &err), 0);
        assert_string_equal(out.s, same[i]);
        buf_release(&out);
    }
}

static int count(void *ctx, const char *s, size_t len, struct buf *unused)
{
    (void)s;
    (void)unused;
    *(size_t *)ctx += len;
    return 0;
}

static void nothing_is_lost_of_a_long_text(void **state)
{
    (void)state;
    enum { LEN = 1 << 20 };
    // The last remembers something for every letter, more than there is stack for.
    static const char *const patterns[] = { BYTE_LEVEL(false, true), BY(QWEN2), BY("(?:a|b)+c"),
                                            BY("(?:(a)|b)+") };
    static const char letters[] = "a \n.";
    char *s = xmalloc(LEN);
    for (size_t i = 0; i < ARRAY_LEN(patterns); i++) {
        struct pretokenizer *p = make(patterns[i]);
        for (size_t k = 0; letters[k]; k++) {
            size_t n = 0;
            // Without a match, a search from every letter would be quadratic; the pattern's fault.
            size_t len = strstr(patterns[i], "+c") ? 2000 : LEN;
            memset(s, letters[k], len);
            if (pretokenize(p, s, len, count, &n, &err) != 0)
                fail_msg("%s", err.s);
            assert_int_equal(n, len);
        }
        pretokenizer_free(p);
    }
    free(s);
}

static void twelve_million_spaces_are_no_problem(void **state)
{
    (void)state;
    // The pattern goes back over all of them in search of a line's end; PCRE2's own limit is ten
    // million steps.
    enum { LEN = 12000000 };
    struct pretokenizer *p = make(BY(QWEN2));
    char *s = xmalloc(LEN);
    size_t n = 0;
    memset(s, ' ', LEN);
    s[LEN - 1] = '7';
    if (pretokenize(p, s, LEN, count, &n, &err) != 0)
        fail_msg("%s", err.s);
    assert_int_equal(n, LEN);
    free(s);
    pretokenizer_free(p);
}

static void a_pattern_that_would_never_end_gives_up(void **state)
{
    (void)state;
    struct pretokenizer *p = make(BY("(?:a|a)*[cd]"));
    char s[60];
    size_t n = 0;
    memset(s, 'a', sizeof(s));
    assert_int_equal(pretokenize(p, s, sizeof(s), count, &n, &err), -1);
    assert_non_null(strstr(err.s, "gave up on 60 bytes of text: match limit exceeded"));
    pretokenizer_free(p);
}

static int stop(void *ctx, const char *s, size_t len, struct buf *why)
{
    if (++*(int *)ctx == 2) // in brackets, for cmocka has a macro of that name
        return (fail)(why, "enough at '%.*s'", (int)len, s);
    return 0;
}

static void a_failure_of_the_receiver_ends_the_cutting(void **state)
{
    (void)state;
    int calls = 0;
    struct pretokenizer *p = make(BYTE_LEVEL(true, true));
    assert_int_equal(pretokenize(p, "a b c", 5, stop, &calls, &err), -1);
    assert_string_equal(err.s, "enough at ' b'");
    assert_int_equal(calls, 2);
    pretokenizer_free(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(gpt2s_words_are_cut, forget),
        cmocka_unit_test_teardown(use_regex_is_true_unless_said_otherwise, forget),
        cmocka_unit_test_teardown(a_space_is_what_unicode_calls_so_today, forget),
        cmocka_unit_test_teardown(a_pattern_of_the_file_cuts, forget),
        cmocka_unit_test_teardown(what_does_not_match_is_a_piece_too, forget),
        cmocka_unit_test_teardown(an_empty_match_cuts_and_the_search_goes_on, forget),
        cmocka_unit_test_teardown(steps_follow_one_another, forget),
        cmocka_unit_test_teardown(a_space_is_put_before_what_has_none, forget),
        cmocka_unit_test_teardown(steps_that_are_not_supported_are_refused_by_name, forget),
        cmocka_unit_test_teardown(patterns_that_the_libraries_read_differently_are_refused, forget),
        cmocka_unit_test_teardown(the_rest_of_a_pattern_stays_as_it_is, forget),
        cmocka_unit_test_teardown(nothing_is_lost_of_a_long_text, forget),
        cmocka_unit_test_teardown(twelve_million_spaces_are_no_problem, forget),
        cmocka_unit_test_teardown(a_pattern_that_would_never_end_gives_up, forget),
        cmocka_unit_test_teardown(a_failure_of_the_receiver_ends_the_cutting, forget),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
