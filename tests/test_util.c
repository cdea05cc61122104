/*
 * test_util.c: what may be stored as text, and files that are written whole.
 */
#include "fixture.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

/* As Python's decode("utf-8", "replace") has it. */
static void what_is_no_utf8_becomes_the_replacement_character(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        { "", "" },
        { "plain", "plain" },
        { "\xff", "\xef\xbf\xbd" },
        { "ok\xc0", "ok\xef\xbf\xbd" },
        { "x\xffy\xe4\xb8", "x\xef\xbf\xbdy\xef\xbf\xbd" },
        { "\xe4\xb8", "\xef\xbf\xbd" },
        { "\xe4\xb8\xe4\xb8\xad", "\xef\xbf\xbd\xe4\xb8\xad" },
        { "\xed\xa0\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd" },
        { "\xf0\x9f\x98", "\xef\xbf\xbd" },
        { "\xf0\x9f\x98\x80\xf0\x9f", "\xf0\x9f\x98\x80\xef\xbf\xbd" },
        { "\xf4\x90\x80\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd" },
        { "\xc3y", "\xef\xbf\xbdy" },
        { "\xe0\x80\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd" },
        { "\xf5\x80", "\xef\xbf\xbd\xef\xbf\xbd" },
        { "\x80\x80"
          "a",
          "\xef\xbf\xbd\xef\xbf\xbd"
          "a" },
        { "\xf0\x90\xc3\xa9", "\xef\xbf\xbd\xc3\xa9" },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct buf out = BUF_INIT;
        utf8_clean(cases[i][0], strlen(cases[i][0]), &out);
        assert_string_equal(out.s, cases[i][1]);
        buf_release(&out);
    }
}

static void so_does_nul(void **state)
{
    (void)state;
    struct buf out = BUF_INIT;
    utf8_clean("a\0\0b\xff\0", 6, &out);
    assert_string_equal(out.s, "a\xef\xbf\xbd\xef\xbf\xbd"
                               "b\xef\xbf\xbd\xef\xbf\xbd");
    buf_release(&out);
}

static void a_link_stays_and_a_pipe_is_written_to(void **state)
{
    (void)state;
    struct buf err = BUF_INIT, text = BUF_INIT;
    struct stat st;
    char *dir = fixture_dir(), *file = xasprintf("%s/file", dir), *link = xasprintf("%s/link", dir),
         *pipe = xasprintf("%s/pipe", dir), said[16] = "";
    assert_int_equal(write_file(file, "old", 3, &err), 0);
    assert_int_equal(symlink("file", link), 0);
    assert_int_equal(write_file(link, "new", 3, &err), 0);
    assert_int_equal(lstat(link, &st), 0);
    assert_true(S_ISLNK(st.st_mode));
    assert_int_equal(read_file(file, 100, &text, &err), 0);
    assert_string_equal(text.s, "new");
    assert_int_equal(mkfifo(pipe, 0600), 0);
    int reader = open(pipe, O_RDWR);
    assert_int_equal(write_file(pipe, "sent", 4, &err), 0);
    assert_int_equal(read(reader, said, sizeof(said)), 4);
    assert_string_equal(said, "sent");
    close(reader);
    // What cannot be written is told by its own name, and nothing is left beside it.
    assert_int_equal(write_file("/dev/full", "x", 1, &err), -1);
    assert_non_null(strstr(err.s, "/dev/full: "));
    assert_int_equal(stat("/dev/full", &st), 0);
    assert_true(S_ISCHR(st.st_mode));
    buf_reset(&err);
    assert_int_equal(write_file(dir, "x", 1, &err), -1);
    buf_release(&err);
    buf_release(&text);
    free(pipe);
    free(link);
    free(file);
    fixture_remove(dir);
}

static void a_sentence_has_no_control_characters_and_is_text(void **state)
{
    (void)state;
    struct buf err = BUF_INIT;
    assert_int_equal((fail)(&err, "quoted: %s", "\xff\xc3"), -1);
    assert_string_equal(err.s, "quoted: \xef\xbf\xbd\xef\xbf\xbd");
    assert_int_equal((fail)(&err, "no file '%s', %s", "a\nb\033[2J\177", "\xc3\xa9"), -1);
    assert_string_equal(err.s, "no file 'a?b?[2J?', \xc3\xa9");
    buf_release(&err);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_no_utf8_becomes_the_replacement_character),
        cmocka_unit_test(so_does_nul),
        cmocka_unit_test(a_link_stays_and_a_pipe_is_written_to),
        cmocka_unit_test(a_sentence_has_no_control_characters_and_is_text),
    };
    return cmocka_run_group_tests_name("util", tests, NULL, NULL);
}
