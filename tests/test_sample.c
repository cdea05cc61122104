/*
 * test_sample.c: the next token from a row of logits.
 */
#include "sample.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

enum { V = 6, DRAWS = 60000 };

static void greedy_takes_the_largest_and_of_equal_ones_the_first(void **state)
{
    (void)state;
    const float logits[V] = { -1, 3, 2, 3, -7, 0 };
    struct sampler s = { 0, 0.5, 9 };
    assert_int_equal(sampler_draw(&s, logits, V), 1);
    assert_true(s.state == 9);
}

/* Shares of the draws. */
static void draw_many(double temperature, double top_p, const float *logits, double *share)
{
    struct sampler s = { temperature, top_p, sampler_seed(1, 2) };
    for (int i = 0; i < V; i++)
        share[i] = 0;
    for (int i = 0; i < DRAWS; i++)
        share[sampler_draw(&s, logits, V)] += 1.0 / DRAWS;
}

static void draws_follow_the_probabilities(void **state)
{
    (void)state;
    const float logits[V] = { 0, 1, -2, 0.5f, 2, -1 };
    const double temperatures[] = { 0.5, 1, 3 };
    for (int t = 0; t < 3; t++) {
        double share[V], sum = 0;
        draw_many(temperatures[t], 1, logits, share);
        for (int i = 0; i < V; i++)
            sum += exp((double)logits[i] / temperatures[t]);
        for (int i = 0; i < V; i++) {
            double p = exp((double)logits[i] / temperatures[t]) / sum;
            assert_true(fabs(share[i] - p) < 5 * sqrt(p * (1 - p) / DRAWS));
        }
    }
}

/* Probabilities 0.4, 0.3, 0.15, 0.15 and nothing: of equal ones the smaller id is kept. */
static void top_p_keeps_the_smallest_set_that_reaches_it(void **state)
{
    (void)state;
    const float logits[V] = { logf(0.15f), logf(0.4f), -80, logf(0.3f), logf(0.15f), -80 };
    double share[V];
    draw_many(1, 0.39, logits, share);
    assert_true(fabs(share[1] - 1) < 1e-9);
    draw_many(1, 0.41, logits, share);
    assert_true(fabs(share[1] - 4.0 / 7) < 0.01 && fabs(share[3] - 3.0 / 7) < 0.01);
    draw_many(1, 0.8, logits, share);
    assert_true(share[4] == 0 && fabs(share[0] - 0.15 / 0.85) < 0.01);
    draw_many(1, 0.9, logits, share);
    assert_true(fabs(share[4] - 0.15) < 0.01);
}

static void seeds_give_different_texts_and_the_same_one_the_same(void **state)
{
    (void)state;
    const float logits[V] = { 0 };
    int same = 0;
    assert_true(sampler_seed(1, 2) == sampler_seed(1, 2));
    struct sampler a = { 1, 1, sampler_seed(0, 1) }, b = { 1, 1, sampler_seed(1, 0) },
                   c = { 1, 1, sampler_seed(0, 1) };
    for (int i = 0; i < 600; i++) {
        int32_t x = sampler_draw(&a, logits, V);
        same += x == sampler_draw(&b, logits, V);
        assert_int_equal(x, sampler_draw(&c, logits, V));
    }
    assert_in_range(same, 50, 150);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(greedy_takes_the_largest_and_of_equal_ones_the_first),
        cmocka_unit_test(draws_follow_the_probabilities),
        cmocka_unit_test(top_p_keeps_the_smallest_set_that_reaches_it),
        cmocka_unit_test(seeds_give_different_texts_and_the_same_one_the_same),
    };
    return cmocka_run_group_tests_name("sample", tests, NULL, NULL);
}
