/*
 * test_kind.c: each kind of token, and what lies between two of them.
 */
#include "text/kind.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static void assert_kind(const char *text, size_t len, enum text_kind want)
{
    enum text_kind got = text_kind(text, len);
    if (got != want)
        fail_msg("'%.*s' is %s, not %s", (int)len, text, text_kind_names[got],
                 text_kind_names[want]);
}

static void each_kind_is_told_by_its_characters(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        enum text_kind kind;
    } tokens[] = {
        { " ", KIND_SPACE },
        { "\n\n    ", KIND_SPACE },
        { "7", KIND_DIGIT },
        { " 2024", KIND_DIGIT },
        { ".", KIND_PUNCTUATION },
        { "),", KIND_PUNCTUATION },
        { " \"", KIND_PUNCTUATION },
        { "\xe2\x80\x94", KIND_PUNCTUATION },
        { " \xe2\x80\x9c", KIND_PUNCTUATION },
        { "==", KIND_SYMBOL },
        { " {", KIND_SYMBOL },
        { "<<", KIND_SYMBOL },
        { "():", KIND_PUNCTUATION },
        { "3.5", KIND_CODE },
        { "$4", KIND_CODE },
        { " x1", KIND_CODE },
        { "_name", KIND_CODE },
        { "a.b", KIND_CODE },
        { "def", KIND_CODE },
        { " return", KIND_CODE },
        { " the", KIND_FUNCTION },
        { "The", KIND_FUNCTION },
        { " I", KIND_FUNCTION },
        { "your", KIND_FUNCTION },
        { "a", KIND_FUNCTION },
        { " Janet", KIND_NAME },
        { "Returns", KIND_NAME },
        { " house", KIND_WORD },
        { "ing", KIND_PIECE },
        { "'s", KIND_PIECE },
        { " don't", KIND_WORD },
        { "\xe7\x9a\x84", KIND_OTHER },
        { "caf\xc3\xa9", KIND_OTHER },
        { "\xff", KIND_OTHER },
        { "", KIND_OTHER },
        { " incomprehensibilities", KIND_WORD },
        { ".\n", KIND_PUNCTUATION },
        { ");\n\n", KIND_PUNCTUATION },
        { " the\n", KIND_FUNCTION },
        { "42 ", KIND_DIGIT },
        { "</s>", KIND_CODE },
    };
    for (size_t i = 0; i < ARRAY_LEN(tokens); i++)
        assert_kind(tokens[i].text, strlen(tokens[i].text), tokens[i].kind);
    assert_kind("a\0b", 3, KIND_OTHER);
}

static void the_end_of_the_bytes_is_the_end_of_the_token(void **state)
{
    (void)state;
    assert_kind("the'", 3, KIND_FUNCTION);
    assert_kind("x.'", 2, KIND_CODE);
    assert_kind("\xe2\x80\x94", 2, KIND_OTHER);
    for (int i = 0; i < KINDS; i++)
        assert_true(text_kind_names[i] && *text_kind_names[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_kind_is_told_by_its_characters),
        cmocka_unit_test(the_end_of_the_bytes_is_the_end_of_the_token),
    };
    return cmocka_run_group_tests_name("kind", tests, NULL, NULL);
}
