/*
 * test_memo.c: what was put in comes out, also after the table has been emptied.
 */
#include "text/memo.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void what_was_added_is_found(void **state)
{
    (void)state;
    struct memo m;
    size_t n = 0;
    memo_init(&m, 1000);
    for (int32_t i = 0; i < 1000; i++) {
        char key[16];
        int len = snprintf(key, sizeof(key), "k%d", i);
        assert_null(memo_find(&m, key, (size_t)len, &n));
        memo_add(&m, key, (size_t)len, (int32_t[]){ i, -i, i }, 1 + (size_t)i % 3);
    }
    for (int32_t i = 0; i < 1000; i++) {
        char key[16];
        int len = snprintf(key, sizeof(key), "k%d", i);
        const int32_t *ids = memo_find(&m, key, (size_t)len, &n);
        assert_non_null(ids);
        assert_int_equal(n, 1 + i % 3);
        for (size_t k = 0; k < n; k++)
            assert_int_equal(ids[k], k == 1 ? -i : i);
    }
    memo_release(&m);
}

static void keys_may_hold_any_byte(void **state)
{
    (void)state;
    struct memo m;
    size_t n = 0;
    memo_init(&m, 4);
    memo_add(&m, "a\0b", 3, (int32_t[]){ 1 }, 1);
    assert_null(memo_find(&m, "a\0c", 3, &n));
    assert_null(memo_find(&m, "a", 1, &n));
    memo_add(&m, "a", 1, (int32_t[]){ 2 }, 1);
    assert_int_equal(*memo_find(&m, "a\0b", 3, &n), 1);
    assert_int_equal(*memo_find(&m, "a", 1, &n), 2);
    memo_release(&m);
}

static void a_full_table_is_emptied_and_goes_on(void **state)
{
    (void)state;
    struct memo m;
    size_t n = 0;
    memo_init(&m, 3);
    for (int32_t i = 0; i < 4; i++)
        memo_add(&m, &"abcd"[i], 1, &i, 1);
    assert_null(memo_find(&m, "a", 1, &n));
    assert_null(memo_find(&m, "c", 1, &n));
    assert_int_equal(*memo_find(&m, "d", 1, &n), 3);
    assert_int_equal(m.used, 1);
    assert_int_equal(m.keys.len, 1);
    memo_release(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_added_is_found),
        cmocka_unit_test(keys_may_hold_any_byte),
        cmocka_unit_test(a_full_table_is_emptied_and_goes_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
