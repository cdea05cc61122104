/*
 * test_unicode.c: normal form C against utf8proc's own, slow with many marks, and spaces and words.
 */
#include "text/unicode.h"

#include "skip.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <utf8proc.h>

#include <cmocka.h>

static struct buf err, room;

static int forget(void **state)
{
    (void)state;
    buf_release(&err);
    buf_release(&room);
    return 0;
}

static void assert_like_utf8proc(const struct buf *text)
{
    const char *got;
    size_t len;
    utf8proc_uint8_t *want = NULL;
    assert_int_equal(unicode_nfc(text->s, text->len, &room, &got, &len, &err), 0);
    utf8proc_ssize_t n =
        utf8proc_map((const utf8proc_uint8_t *)text->s, (utf8proc_ssize_t)text->len, &want,
                     UTF8PROC_STABLE | UTF8PROC_COMPOSE);
    assert_int_equal(len, n);
    assert_memory_equal(got, want, len);
    free(want);
}

static void add_char(struct buf *text, utf8proc_int32_t c)
{
    utf8proc_uint8_t bytes[4];
    buf_add(text, bytes, (size_t)utf8proc_encode_char(c, bytes));
}

static bool is_surrogate(utf8proc_int32_t c)
{
    return c >= 0xd800 && c <= 0xdfff;
}

static void every_character_alone_is_normalised(void **state)
{
    (void)state;
    struct buf text = BUF_INIT;
    for (utf8proc_int32_t c = 0; c < 0x110000; c++) {
        if (is_surrogate(c))
            continue;
        buf_reset(&text);
        add_char(&text, c);
        assert_like_utf8proc(&text);
    }
    buf_release(&text);
}

static void random_strings_with_many_marks_are_normalised(void **state)
{
    (void)state;
    utf8proc_int32_t marks[1024];
    int n = 0;
    for (utf8proc_int32_t c = 0; c < 0x110000 && n < 1024; c++)
        if (utf8proc_get_property(c)->combining_class > 0)
            marks[n++] = c;
    srand(3);
    struct buf text = BUF_INIT;
    for (int i = 0; i < 20000; i++) {
        buf_reset(&text);
        for (int k = rand() % 12; k >= 0; k--) {
            utf8proc_int32_t c = rand() % 2 ? marks[rand() % n] : rand() % 0x3400;
            add_char(&text, c);
        }
        assert_like_utf8proc(&text);
    }
    buf_release(&text);
}

static void normal_text_is_not_copied(void **state)
{
    (void)state;
    static const char text[] = "caf\xc3\xa9 \xc4\xa0";
    const char *got;
    size_t len;
    assert_int_equal(unicode_nfc(text, sizeof(text) - 1, &room, &got, &len, &err), 0);
    assert_ptr_equal(got, text);
    assert_int_equal(len, sizeof(text) - 1);
}

static void a_megabyte_of_accents_is_normalised_in_time(void **state)
{
    (void)state;
    struct buf text = BUF_INIT;
    const char *got;
    size_t len;
    for (int i = 0; i < 1 << 18; i++)
        buf_adds(&text, "\xcc\x81\xcc\xa3");
    double start = now_seconds();
    assert_int_equal(unicode_nfc(text.s, text.len, &room, &got, &len, &err), 0);
    assert_true(now_seconds() - start < 20 * patience()); // utf8proc alone takes minutes
    assert_int_equal(len, text.len);
    assert_memory_equal(got, "\xcc\xa3\xcc\xa3", 4);
    assert_memory_equal(got + len - 4, "\xcc\x81\xcc\x81", 4);
    buf_release(&text);
}

static void spaces_are_measured_at_both_ends(void **state)
{
    (void)state;
    static const char s[] = " \t\xc2\xa0x\xe1\xa0\x8e\xe3\x80\x80\xc2\x85\n";
    size_t len = sizeof(s) - 1;
    assert_int_equal(unicode_spaces_at_start(s, len), 4);
    assert_int_equal(unicode_spaces_at_end(s, len), 6);
    assert_int_equal(unicode_spaces_at_start(" ", 1), 1);
    assert_int_equal(unicode_spaces_at_end(" ", 1), 1);
    assert_int_equal(unicode_spaces_at_start("", 0), 0);
    assert_int_equal(unicode_spaces_at_end("", 0), 0);
    assert_int_equal(unicode_spaces_at_end("x", 1), 0);
}

static void words_are_seen_at_both_ends(void **state)
{
    (void)state;
    static const char s[] = "\xf0\x9f\x85\xb0-\xe4\xb8\xad";
    assert_true(unicode_starts_with_word(s, sizeof(s) - 1));
    assert_true(unicode_ends_with_word(s, sizeof(s) - 1));
    assert_false(unicode_ends_with_word(s, 5));
    assert_false(unicode_starts_with_word(s + 4, 4));
    assert_false(unicode_starts_with_word("", 0));
    assert_false(unicode_ends_with_word("", 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(every_character_alone_is_normalised, forget),
        cmocka_unit_test_teardown(random_strings_with_many_marks_are_normalised, forget),
        cmocka_unit_test_teardown(normal_text_is_not_copied, forget),
        cmocka_unit_test_teardown(a_megabyte_of_accents_is_normalised_in_time, forget),
        cmocka_unit_test_teardown(spaces_are_measured_at_both_ends, forget),
        cmocka_unit_test_teardown(words_are_seen_at_both_ends, forget),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
