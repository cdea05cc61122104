/*
 * test_run_workers_deal.c: which process takes which cells.
 */
#include "run_workers_deal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { MOST = 64 };

static size_t out[MOST];
static const bool made[4];

static void the_largest_come_first_and_shares_become_smaller(void **state)
{
    (void)state;
    struct deal_item items[20];
    for (size_t i = 0; i < 20; i++)
        items[i] = (struct deal_item){ 0, i == 7 ? 30 : 10 };
    struct deal *d = deal_new(items, 20, made, 1, 2);
    size_t last = MOST, all = 0;
    for (int process = 0; !deal_over(d); process = !process) {
        size_t n = deal_take(d, process, out, MOST);
        assert_true(n > 0 && n <= last);
        if (all == 0) {
            assert_int_equal(out[0], 7);
            assert_int_equal(out[1], 0);
            assert_int_equal(n, 4); // 60 of 220: a quarter, and what goes over it
        }
        last = n;
        all += n;
        deal_done(d, process);
    }
    assert_int_equal(all, 20);
    assert_int_equal(last, 1);
    deal_free(d);
}

static void no_item_is_dealt_twice(void **state)
{
    (void)state;
    struct deal_item items[40];
    int seen[40] = { 0 };
    for (size_t i = 0; i < 40; i++)
        items[i] = (struct deal_item){ i % 4, (int64_t)(i * 7 % 11) };
    struct deal *d = deal_new(items, 40, made, 4, 3);
    bool busy[3] = { false };
    for (int i = 0; !deal_over(d); i++) {
        int process = i % 3;
        if (busy[process] && i % 2)
            deal_done(d, process), busy[process] = false;
        if (busy[process])
            continue;
        size_t n = deal_take(d, process, out, MOST);
        busy[process] = n > 0;
        for (size_t j = 0; j < n; j++)
            seen[out[j]]++;
    }
    for (size_t i = 0; i < 40; i++)
        assert_int_equal(seen[i], 1);
    deal_free(d);
}

static void a_process_stays_with_its_model(void **state)
{
    (void)state;
    const struct deal_item items[] = { { 0, 10 }, { 1, 9 }, { 0, 1 }, { 1, 50 }, { 0, 2 } };
    struct deal *d = deal_new(items, 5, made, 2, 2);
    assert_int_equal(deal_take(d, 0, out, 1), 1);
    assert_int_equal(out[0], 3);
    // The other one is better off with the other model than with half of this.
    assert_int_equal(deal_take(d, 1, out, 1), 1);
    assert_int_equal(out[0], 0);
    deal_done(d, 1);
    assert_int_equal(deal_take(d, 1, out, 1), 1);
    assert_int_equal(out[0], 4); // of set 0, although what waits in set 1 costs more
    deal_free(d);
}

static void a_model_is_made_by_one_while_others_do_something_else(void **state)
{
    (void)state;
    const struct deal_item items[] = { { 0, 1 }, { 1, 500 }, { 0, 1 }, { 0, 1 } };
    const bool unmade[] = { true, false };
    struct deal *d = deal_new(items, 4, unmade, 2, 3);
    assert_int_equal(deal_take(d, 0, out, 1), 1);
    assert_int_equal(out[0], 0); // what others wait for comes first
    assert_int_equal(deal_take(d, 1, out, MOST), 1);
    assert_int_equal(out[0], 1);
    assert_int_equal(deal_take(d, 2, out, MOST), 0);
    assert_false(deal_over(d));
    deal_made(d, 0);
    assert_int_equal(deal_take(d, 2, out, MOST), 1);
    assert_int_equal(out[0], 2);
    deal_free(d);
}

static void a_model_that_was_not_made_is_made_by_another(void **state)
{
    (void)state;
    const struct deal_item items[] = { { 0, 1 }, { 0, 1 } };
    const bool unmade[] = { true };
    struct deal *d = deal_new(items, 2, unmade, 1, 2);
    assert_int_equal(deal_take(d, 0, out, 1), 1);
    assert_int_equal(deal_take(d, 1, out, 1), 0);
    size_t none[MOST];
    assert_int_equal(deal_lost(d, 0, none), 0);
    assert_int_equal(deal_take(d, 1, out, 1), 1);
    assert_int_equal(out[0], 1); // what nobody died of comes first
    // And one that cannot be made takes with it what waits, and nothing else.
    assert_int_equal(deal_unmade(d, 0, out), 1);
    assert_int_equal(out[0], 0);
    assert_int_equal(deal_left(d), 1);
    deal_done(d, 1);
    assert_true(deal_over(d));
    deal_free(d);
}

static void what_was_lost_is_dealt_once_more_and_alone(void **state)
{
    (void)state;
    const struct deal_item items[] = { { 0, 4 }, { 0, 4 }, { 0, 4 }, { 0, 4 }, { 0, 4 }, { 0, 4 } };
    struct deal *d = deal_new(items, 6, made, 1, 1);
    assert_int_equal(deal_take(d, 0, out, MOST), 3);
    assert_int_equal(deal_lost(d, 0, out), 0);
    assert_int_equal(deal_take(d, 0, out, MOST), 3);
    assert_int_equal(out[0], 3);
    deal_done(d, 0);
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(deal_take(d, 0, out, MOST), 1);
        assert_int_equal(out[0], i);
        deal_done(d, 0);
    }
    assert_int_equal(deal_take(d, 0, out, MOST), 1);
    assert_int_equal(deal_lost(d, 0, out), 1); // for the second time
    assert_int_equal(out[0], 2);
    assert_true(deal_over(d));
    assert_int_equal(deal_take(d, 0, out, MOST), 0);
    deal_free(d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_largest_come_first_and_shares_become_smaller),
        cmocka_unit_test(no_item_is_dealt_twice),
        cmocka_unit_test(a_process_stays_with_its_model),
        cmocka_unit_test(a_model_is_made_by_one_while_others_do_something_else),
        cmocka_unit_test(a_model_that_was_not_made_is_made_by_another),
        cmocka_unit_test(what_was_lost_is_dealt_once_more_and_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
