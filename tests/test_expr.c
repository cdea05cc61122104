/*
 * test_expr.c: exact values, whole in the end, and text that reads as it was written.
 */
#include "recipe/expr.h"

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

static struct expr num(double value)
{
    struct expr e;
    assert_int_equal(expr_number(value, &e), 0);
    return e;
}

static struct expr sym(enum expr_op op)
{
    return expr_symbol(op);
}

static struct expr two(struct expr a, enum expr_op op, struct expr b)
{
    struct expr e;
    assert_int_equal(expr_combine(op, &a, &b, &e), 0);
    return e;
}

static struct expr neg(struct expr a)
{
    struct expr e;
    assert_int_equal(expr_combine(EXPR_NEG, &a, NULL, &e), 0);
    return e;
}

static void assert_value(struct expr e, int K, int N, int want)
{
    int value;
    if (expr_value(&e, K, N, &value, &err) != 0)
        fail_msg("%s", err.s);
    assert_int_equal(value, want);
}

static void assert_no_value(struct expr e, int K, int N, const char *sentence)
{
    int value;
    assert_int_equal(expr_value(&e, K, N, &value, &err), -1);
    assert_string_equal(err.s, sentence);
}

static void assert_text(struct expr e, const char *want)
{
    struct buf text = BUF_INIT;
    expr_text(&e, &text);
    assert_string_equal(text.s, want);
    buf_release(&text);
}

static void values_are_those_of_arithmetic(void **state)
{
    (void)state;
    struct expr K = sym(EXPR_K), N = sym(EXPR_N);
    assert_value(K, 8, 64, 8);
    assert_value(N, 8, 64, 64);
    assert_value(two(K, EXPR_ADD, num(2)), 8, 64, 10);
    assert_value(two(num(2), EXPR_SUB, K), 8, 64, -6);
    assert_value(two(two(K, EXPR_MUL, N), EXPR_DIV, num(4)), 3, 60, 45);
    assert_value(neg(two(K, EXPR_SUB, N)), 8, 60, 52);
    assert_value(two(num(1.5), EXPR_MUL, K), 8, 64, 12);
}

static void floor_division_goes_down_also_below_zero(void **state)
{
    (void)state;
    struct expr K = sym(EXPR_K);
    assert_value(two(K, EXPR_FLOORDIV, num(3)), 8, 64, 2);
    assert_value(two(neg(K), EXPR_FLOORDIV, num(3)), 8, 64, -3);
    assert_value(two(K, EXPR_FLOORDIV, num(-3)), 8, 64, -3);
    assert_value(two(K, EXPR_FLOORDIV, num(-4)), 8, 64, -2);
    assert_value(two(K, EXPR_FLOORDIV, num(0.5)), 3, 64, 6);
}

static void a_third_is_kept_exactly(void **state)
{
    (void)state;
    struct expr third = two(sym(EXPR_K), EXPR_DIV, num(3));
    assert_value(two(third, EXPR_MUL, num(3)), 8, 64, 8);
    assert_value(two(two(third, EXPR_ADD, third), EXPR_ADD, third), 8, 64, 8);
    assert_value(third, 9, 64, 3);
}

static void what_is_not_whole_is_named_with_its_symbols(void **state)
{
    (void)state;
    struct expr K = sym(EXPR_K), N = sym(EXPR_N);
    assert_no_value(two(K, EXPR_DIV, num(3)), 8, 64,
                    "K / 3 is 8/3 with K = 8, and not a whole number");
    assert_no_value(two(N, EXPR_DIV, num(7)), 8, 60,
                    "N / 7 is 60/7 with N = 60, and not a whole number");
    assert_no_value(two(K, EXPR_DIV, N), 8, 60,
                    "K / N is 2/15 with K = 8 and N = 60, and not a whole number");
    assert_no_value(num(0.5), 8, 60, "0.5 is 1/2, and not a whole number");
}

static void a_division_by_zero_is_named(void **state)
{
    (void)state;
    struct expr K = sym(EXPR_K), zero = two(K, EXPR_SUB, num(4));
    assert_no_value(two(num(1), EXPR_DIV, zero), 4, 64, "1 / (K - 4) divides by zero with K = 4");
    assert_no_value(two(num(1), EXPR_FLOORDIV, zero), 4, 64,
                    "1 // (K - 4) divides by zero with K = 4");
    assert_value(two(num(4), EXPR_DIV, zero), 8, 64, 1);
}

static void what_overflows_is_refused(void **state)
{
    (void)state;
    struct expr e = sym(EXPR_N);
    for (int i = 0; i < 4; i++)
        e = two(e, EXPR_MUL, num(2147483646));
    assert_no_value(
        e, 8, 64, "N * 2147483646 * 2147483646 * 2147483646 * 2147483646 is too large with N = 64");
    assert_no_value(two(sym(EXPR_K), EXPR_MUL, num(2147483646)), 8, 64,
                    "K * 2147483646 is too large with K = 8");
    struct expr small = num(1.0 / 1024);
    for (int i = 0; i < 6; i++)
        small = two(small, EXPR_MUL, num(1.0 / 1024));
    int value;
    assert_int_equal(expr_value(&small, 1, 1, &value, &err), -1);
    assert_non_null(strstr(err.s, "is too large"));
}

static void text_has_the_parentheses_it_needs(void **state)
{
    (void)state;
    struct expr K = sym(EXPR_K), N = sym(EXPR_N);
    struct expr sum = two(K, EXPR_ADD, num(1)), product = two(K, EXPR_MUL, N);
    assert_text(two(sum, EXPR_ADD, N), "K + 1 + N");
    assert_text(two(N, EXPR_SUB, sum), "N - (K + 1)");
    assert_text(two(num(2), EXPR_MUL, sum), "2 * (K + 1)");
    assert_text(two(product, EXPR_ADD, sum), "K * N + (K + 1)");
    assert_text(two(N, EXPR_DIV, product), "N / (K * N)");
    assert_text(two(two(N, EXPR_FLOORDIV, K), EXPR_FLOORDIV, num(2)), "N // K // 2");
    assert_text(neg(sum), "-(K + 1)");
    assert_text(neg(neg(K)), "-(-K)");
    assert_text(two(neg(K), EXPR_ADD, num(-2.25)), "-K + -2.25");
}

static void numbers_that_are_no_small_fractions_are_refused(void **state)
{
    (void)state;
    struct expr e;
    assert_int_equal(expr_number(0.1, &e), -1);
    assert_int_equal(expr_number(1e10, &e), -1);
    assert_int_equal(expr_number(0.0 / 0.0, &e), -1);
    assert_int_equal(expr_number(1e300 * 1e300, &e), -1);
    assert_int_equal(expr_number(1.0 / 2048, &e), -1);
    assert_value(num(2000000000), 1, 1, 2000000000);
    assert_value(num(-5), 1, 1, -5);
    assert_value(num(0), 1, 1, 0);
}

static void an_expression_has_an_end(void **state)
{
    (void)state;
    struct expr e = sym(EXPR_K), one = expr_whole(1), out;
    int added = 0;
    while (expr_combine(EXPR_ADD, &e, &one, &out) == 0) {
        e = out;
        added++;
    }
    assert_int_equal(added, (EXPR_STEPS - 1) / 2);
    assert_value(e, 8, 64, 8 + added);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(values_are_those_of_arithmetic, forget),
        cmocka_unit_test_teardown(floor_division_goes_down_also_below_zero, forget),
        cmocka_unit_test_teardown(a_third_is_kept_exactly, forget),
        cmocka_unit_test_teardown(what_is_not_whole_is_named_with_its_symbols, forget),
        cmocka_unit_test_teardown(a_division_by_zero_is_named, forget),
        cmocka_unit_test_teardown(what_overflows_is_refused, forget),
        cmocka_unit_test_teardown(text_has_the_parentheses_it_needs, forget),
        cmocka_unit_test_teardown(numbers_that_are_no_small_fractions_are_refused, forget),
        cmocka_unit_test_teardown(an_expression_has_an_end, forget),
    };
    return cmocka_run_group_tests_name("expr", tests, NULL, NULL);
}
