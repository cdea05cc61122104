/*
 * test_progress.c: the line that tells how far a run is.
 */
#include "progress.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static const struct progress half = {
    .done = 617283, .total = 1234567, .cells = 3, .cells_total = 9
};

static void it_shows_share_cells_rate_and_time_left(void **state)
{
    (void)state;
    struct buf b = BUF_INIT;
    progress_line(&half, 20, 100, &b);
    assert_string_equal(
        b.s, "[===================>                    ]  49%  3/9 cells  30,864 tokens/s"
             "  0:20 left");
    buf_release(&b);
}

static void hours_are_shown_as_such(void **state)
{
    (void)state;
    struct buf b = BUF_INIT;
    progress_line(&half, 7200, 100, &b);
    assert_non_null(strstr(b.s, "  85 tokens/s  2:00:00 left"));
    buf_release(&b);
}

static void the_first_moments_give_no_rate(void **state)
{
    (void)state;
    struct buf b = BUF_INIT;
    progress_line(&half, 0.1, 100, &b);
    assert_null(strstr(b.s, "tokens/s"));
    buf_release(&b);
}

static void it_never_wraps(void **state)
{
    (void)state;
    for (int width = 1; width < 120; width++) {
        struct buf b = BUF_INIT;
        progress_line(&half, 20, width, &b);
        assert_true((int)b.len < width);
        buf_release(&b);
    }
}

static void nothing_to_do_is_all_done(void **state)
{
    (void)state;
    const struct progress none = { .total = 0 };
    struct buf b = BUF_INIT;
    progress_line(&none, 1, 80, &b);
    assert_non_null(strstr(b.s, "100%"));
    buf_release(&b);
}

static void other_units_have_no_cells(void **state)
{
    (void)state;
    const struct progress texts = { .done = 50, .total = 100, .unit = "texts" };
    struct buf b = BUF_INIT;
    progress_line(&texts, 5, 80, &b);
    assert_non_null(strstr(b.s, "]  50%  10 texts/s  0:05 left"));
    buf_release(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_shows_share_cells_rate_and_time_left),
        cmocka_unit_test(hours_are_shown_as_such),
        cmocka_unit_test(the_first_moments_give_no_rate),
        cmocka_unit_test(it_never_wraps),
        cmocka_unit_test(nothing_to_do_is_all_done),
        cmocka_unit_test(other_units_have_no_cells),
    };
    return cmocka_run_group_tests_name("progress", tests, NULL, NULL);
}
