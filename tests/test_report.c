/*
 * test_report.c: the formulas of the report's paired tests, against tables and by hand.
 */
#include "cmd/report.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define NEAR(a, b, eps) assert_true(fabs((a) - (b)) <= (eps))

/* Two-sided 5 % points, as every table of Student's t has them, and one of 0.1 %. */
static void p_of_t_is_that_of_the_tables(void **state)
{
    (void)state;
    static const struct {
        int64_t df;
        double t, p;
    } rows[] = { { 1, 12.7062, 0.05 },  { 2, 4.30265, 0.05 },   { 3, 3.18245, 0.05 },
                 { 4, 2.77645, 0.05 },  { 9, 2.26216, 0.05 },   { 10, 2.22814, 0.05 },
                 { 63, 1.99834, 0.05 }, { 120, 1.97993, 0.05 }, { 10, 4.58689, 0.001 } };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        NEAR(student_p(rows[i].t, rows[i].df), rows[i].p, 2e-6);
        NEAR(student_p(-rows[i].t, rows[i].df), rows[i].p, 2e-6);
    }
}

/* With 1 and 2 degrees of freedom it can be written down. */
static void p_of_t_is_exact_where_it_is_known(void **state)
{
    (void)state;
    for (double t = 0; t < 50; t += 0.37) {
        NEAR(student_p(t, 1), 1 - 2 / acos(-1) * atan(t), 1e-12);
        NEAR(student_p(t, 2), 1 - t / sqrt(2 + t * t), 1e-12);
    }
}

static void p_of_t_ends_in_the_normal_distribution(void **state)
{
    (void)state;
    NEAR(student_p(1.959964, 99999), 0.05, 1e-5);
    NEAR(student_p(1.959964, 100000), 0.05, 1e-5);
    NEAR(student_p(1.959964, 1000000000000), 0.05, 1e-6);
    assert_true(student_p(0, 7) == 1 && student_p(1e9, 7) < 1e-12);
    assert_true(isnan(student_p(NAN, 7)) && isnan(student_p(1, 0)));
}

static void holm_takes_the_smallest_most(void **state)
{
    (void)state;
    double p[] = { 0.01, 0.04, NAN, 0.03, 0.005 };
    holm_correct(p, ARRAY_LEN(p));
    NEAR(p[4], 0.02, 1e-12); // 4 x 0.005
    NEAR(p[0], 0.03, 1e-12); // 3 x 0.01
    NEAR(p[3], 0.06, 1e-12); // 2 x 0.03
    NEAR(p[1], 0.06, 1e-12); // 1 x 0.04, but not less than the one before
    assert_true(isnan(p[2]));
}

static void holm_never_goes_over_one(void **state)
{
    (void)state;
    double p[] = { 0.9, 0.8, 1 }, one[] = { 0.2 };
    holm_correct(p, ARRAY_LEN(p));
    assert_true(p[0] == 1 && p[1] == 1 && p[2] == 1);
    holm_correct(one, 1);
    assert_true(one[0] == 0.2);
    holm_correct(NULL, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(p_of_t_is_that_of_the_tables),
        cmocka_unit_test(p_of_t_is_exact_where_it_is_known),
        cmocka_unit_test(p_of_t_ends_in_the_normal_distribution),
        cmocka_unit_test(holm_takes_the_smallest_most),
        cmocka_unit_test(holm_never_goes_over_one),
    };
    return cmocka_run_group_tests_name("report", tests, NULL, NULL);
}
