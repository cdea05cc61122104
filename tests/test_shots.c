/*
 * test_shots.c: which lines become the shots of which document. The draws for 5 of 7473 are those
 * of Python's random.Random(1234).sample(), one generator for all documents.
 */
#include "recipe/shots.h"
#include "fixture.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static char *dir, *path;
static struct buf err = BUF_INIT;

static int enter(void **state)
{
    (void)state;
    dir = fixture_dir();
    path = xasprintf("%s/s.jsonl", dir);
    return 0;
}

static int leave(void **state)
{
    (void)state;
    free(path);
    fixture_remove(dir);
    buf_release(&err);
    return 0;
}

/* {"n": 0}, {"n": 1}, ... */
static void write_lines(int n)
{
    struct buf lines = BUF_INIT;
    for (int i = 0; i < n; i++)
        buf_addf(&lines, "{\"n\": %d}\n", i);
    fixture_text(dir, "s.jsonl", lines.s);
    buf_release(&lines);
}

static struct eval_shots spec_of(int count, int draw, int seed)
{
    return (struct eval_shots){ .count = count, .draw = draw, .seed = seed, .text = "{n} " };
}

static void assert_draws(struct shots *s, const char *want)
{
    struct buf out = BUF_INIT;
    shots_next(s, &out);
    assert_string_equal(out.s, want);
    buf_release(&out);
}

static void python_draws_are_pythons(void **state)
{
    (void)state;
    write_lines(7473);
    struct eval_shots spec = spec_of(5, SHOTS_PYTHON, 1234);
    struct shots *s = shots_open(&spec, path, &err);
    if (!s)
        fail_msg("%s", err.s);
    assert_draws(s, "6374 3610 957 61 742 ");
    assert_draws(s, "7462 6610 4769 286 5501 ");
    assert_draws(s, "5677 687 806 6279 2905 ");
    shots_free(s);
}

static void the_first_are_the_first_for_all(void **state)
{
    (void)state;
    fixture_text(dir, "s.jsonl", "{\"n\": 7}\n{\"n\": 8}\n{\"n\": 9}\nno JSON\n");
    struct eval_shots spec = spec_of(2, SHOTS_FIRST, 0);
    struct shots *s = shots_open(&spec, path, &err);
    if (!s)
        fail_msg("%s", err.s);
    assert_draws(s, "7 8 ");
    assert_draws(s, "7 8 ");
    assert_int_equal(strlen(shots_hash(s)), 32);
    shots_free(s);
}

static void rows_come_before_the_count(void **state)
{
    (void)state;
    write_lines(9);
    struct eval_shots spec = spec_of(3, SHOTS_FIRST, 0);
    spec.rows = (struct eval_rows){ .field = "n", .from = 2, .to = 4 };
    struct shots *s = shots_open(&spec, path, &err);
    if (!s)
        fail_msg("%s", err.s);
    assert_draws(s, "2 3 4 ");
    shots_free(s);
    spec.count = 4;
    assert_null(shots_open(&spec, path, &err));
    assert_non_null(strstr(err.s, "s.jsonl: 3 lines to draw shots from, and 4 are needed"));
}

static void a_line_that_cannot_be_drawn_is_refused_by_number(void **state)
{
    (void)state;
    struct eval_shots spec = spec_of(1, SHOTS_PYTHON, 1);
    fixture_text(dir, "s.jsonl", "{\"n\": 1}\n{\"m\": 2}\n");
    assert_null(shots_open(&spec, path, &err));
    assert_non_null(strstr(err.s, "s.jsonl:2: "));
    assert_non_null(strstr(err.s, "n"));
    spec.sha256 = "00";
    assert_null(shots_open(&spec, path, &err));
    assert_non_null(strstr(err.s, "s.jsonl: its SHA-256 is "));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(python_draws_are_pythons, enter, leave),
        cmocka_unit_test_setup_teardown(the_first_are_the_first_for_all, enter, leave),
        cmocka_unit_test_setup_teardown(rows_come_before_the_count, enter, leave),
        cmocka_unit_test_setup_teardown(a_line_that_cannot_be_drawn_is_refused_by_number, enter,
                                        leave),
    };
    return cmocka_run_group_tests_name("shots", tests, NULL, NULL);
}
