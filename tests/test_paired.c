/*
 * test_paired.c: against numbers worked out by hand, and against what statistics promises: an
 * interval of 95 % has the truth in it about 95 times of 100, and is the normal one for many
 * documents.
 */
#include "paired.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#define NEAR(a, b, eps) assert_true(fabs((double)(a) - (double)(b)) <= (eps))

/* A small generator, so that the same numbers come everywhere. */
static uint32_t noise_state;
static double noise(void)
{
    noise_state = noise_state * 1664525u + 1013904223u;
    return (noise_state >> 8) / 16777216.0;
}

static struct pair scores(double a, double b)
{
    return (struct pair){ a, 1, b, 1 };
}

/* `pairs` from a string such as "10 01 11": what A and B have of each document. */
static int from_text(const char *text, struct pair *pairs)
{
    int n = 0;
    for (; *text; text += text[2] ? 3 : 2)
        pairs[n++] = scores(text[0] - '0', text[1] - '0');
    return n;
}

/* only_a documents that A alone has right, only_b that B alone has, and some that both have. */
static struct mcnemar counted(int only_a, int only_b)
{
    static struct pair pairs[5000];
    struct mcnemar m = { -1, -1, -1 };
    int n = 0;
    for (int i = 0; i < only_a; i++)
        pairs[n++] = scores(1, 0);
    for (int i = 0; i < only_b; i++)
        pairs[n++] = scores(0, 1);
    for (int i = 0; i < 20; i++)
        pairs[n++] = scores(i % 2, i % 2);
    assert_true(mcnemar_exact(pairs, n, &m));
    assert_int_equal(m.only_a, only_a);
    assert_int_equal(m.only_b, only_b);
    return m;
}

static void mcnemar_is_the_binomial_worked_out_by_hand(void **state)
{
    (void)state;
    NEAR(counted(5, 1).p, 2 * (1 + 6) / 64.0, 1e-12);
    NEAR(counted(1, 5).p, 2 * (1 + 6) / 64.0, 1e-12);
    NEAR(counted(0, 10).p, 2 / 1024.0, 1e-12);
    NEAR(counted(8, 2).p, 2 * (1 + 10 + 45) / 1024.0, 1e-12);
    NEAR(counted(1, 0).p, 1, 1e-12);
}

static void mcnemar_of_even_or_no_flips_is_one(void **state)
{
    (void)state;
    NEAR(counted(0, 0).p, 1, 0);
    NEAR(counted(4, 4).p, 1, 0);
    NEAR(counted(1, 1).p, 1, 0);
}

static void mcnemar_of_many_flips_does_not_underflow(void **state)
{
    (void)state;
    // The normal tail with its correction for steps: z = (|b - c| - 1) / sqrt(b + c).
    double z = (2200.0 - 2000 - 1) / sqrt(4200), normal = erfc(z / sqrt(2));
    NEAR(counted(2200, 2000).p / normal, 1, 0.01);
    // All 3000 flips on one side: 2^-2999 is less than a double can hold, and is then 0.
    assert_true(counted(3000, 0).p >= 0 && counted(3000, 0).p < 1e-300);
}

static void mcnemar_wants_scores_of_zero_or_one(void **state)
{
    (void)state;
    const struct pair pairs[] = { { 1, 1, 0, 1 }, { 0.5, 1, 0, 1 } };
    struct mcnemar m;
    assert_false(mcnemar_exact(pairs, 2, &m));
    assert_true(mcnemar_exact(pairs, 1, &m));
    assert_true(mcnemar_exact(pairs, 0, &m) && m.p == 1);
}

static void means_and_errors_are_those_worked_out_by_hand(void **state)
{
    (void)state;
    struct pair pairs[4];
    int n = from_text("10 11 00 10", pairs);
    struct paired p = paired_compare(pairs, n);
    NEAR(p.a.value, 0.75, 1e-15);
    NEAR(p.b.value, 0.25, 1e-15);
    NEAR(p.a.stderr_, sqrt(0.75 / 3 / 4), 1e-15); // squares 3 * 1/16 + 9/16
    NEAR(p.difference.value, 0.5, 1e-15);
    NEAR(p.difference.stderr_, sqrt(4 * 0.25 / 3 / 4), 1e-15); // differences 1 0 0 1
    assert_int_equal(p.difference.n, 4);
}

static void losses_are_sums_over_sums(void **state)
{
    (void)state;
    // A: 12 / 6, B: 15 / 5; the mean of the documents' own means would be another number.
    const struct pair pairs[] = { { 2, 1, 3, 2 }, { 10, 5, 12, 3 } };
    struct paired p = paired_compare(pairs, 2);
    NEAR(p.a.value, 2, 1e-15);
    NEAR(p.b.value, 3, 1e-15);
    NEAR(p.difference.value, -1, 1e-15);
    // Pulls: (2 - 2)/6 - (3 - 6)/5 = 0.6 and (10 - 10)/6 - (12 - 9)/5 = -0.6.
    NEAR(p.difference.stderr_, sqrt(2 * 2 * 0.36), 1e-14);
    // Drawn anew: both once, or one of them twice: -1, 2 - 1.5, 2 - 4.
    NEAR(p.lo, -2, 1e-15);
    NEAR(p.hi, 0.5, 1e-15);
}

static void sides_that_do_not_differ_have_an_interval_of_no_width(void **state)
{
    (void)state;
    struct pair pairs[50];
    noise_state = 3;
    for (int i = 0; i < 50; i++) {
        double y = 10 * noise(), x = 1 + floor(5 * noise());
        pairs[i] = (struct pair){ y, x, y, x };
    }
    struct paired p = paired_compare(pairs, 50);
    assert_true(p.difference.value == 0 && p.difference.stderr_ == 0 && p.lo == 0 && p.hi == 0);
    // One shift for all: no width either, but for the rounding of sums.
    for (int i = 0; i < 50; i++)
        pairs[i] = scores(0.25 + i, i);
    p = paired_compare(pairs, 50);
    NEAR(p.lo, 0.25, 1e-12);
    NEAR(p.hi, 0.25, 1e-12);
}

static void one_document_has_a_difference_and_no_interval(void **state)
{
    (void)state;
    struct pair pairs[1] = { { 3, 2, 1, 1 } };
    struct paired p = paired_compare(pairs, 1);
    NEAR(p.difference.value, 0.5, 1e-15);
    assert_true(isnan(p.difference.stderr_) && isnan(p.lo) && isnan(p.hi));
    p = paired_compare(pairs, 0);
    assert_true(isnan(p.difference.value) && isnan(p.a.value) && isnan(p.lo));
}

/* Scores of 0 or 1 of which two of three agree; the true difference is 0.06. */
static void simulate(struct pair *pairs, int n)
{
    for (int i = 0; i < n; i++) {
        double base = noise() < 0.5, u = noise();
        pairs[i] = scores(u < 0.18 ? 1 : base, u >= 0.18 && u < 0.36 ? 1 : base);
        if (u >= 0.36 && u < 0.42)
            pairs[i] = scores(1, 0);
    }
}

static void many_documents_give_the_normal_interval(void **state)
{
    (void)state;
    enum { N = 2000 };
    static struct pair pairs[N];
    noise_state = 11;
    simulate(pairs, N);
    struct paired p = paired_compare(pairs, N);
    double se = p.difference.stderr_;
    NEAR(p.lo, p.difference.value - Z95 * se, 0.08 * se);
    NEAR(p.hi, p.difference.value + Z95 * se, 0.08 * se);
    // Losses: sums of different lengths.
    for (int i = 0; i < N; i++) {
        double length = 1 + floor(40 * noise()), hard = noise();
        pairs[i] = (struct pair){ length * (2 + hard + 0.2 * noise()), length,
                                  length * (1.9 + hard + 0.2 * noise()), length };
    }
    p = paired_compare(pairs, N);
    se = p.difference.stderr_;
    NEAR(p.difference.value, 0.1, 5 * se);
    NEAR(p.lo, p.difference.value - Z95 * se, 0.08 * se);
    NEAR(p.hi, p.difference.value + Z95 * se, 0.08 * se);
    // Paired: far narrower than the two errors apart would make it.
    assert_true(se < 0.3 * sqrt(p.a.stderr_ * p.a.stderr_ + p.b.stderr_ * p.b.stderr_));
}

static void the_interval_covers_as_often_as_it_says(void **state)
{
    (void)state;
    enum { TIMES = 400, N = 60 };
    struct pair pairs[N];
    int covered = 0, left = 0, right = 0;
    noise_state = 7;
    for (int i = 0; i < TIMES; i++) {
        simulate(pairs, N);
        struct paired p = paired_compare(pairs, N);
        left += p.hi < 0.06;
        right += p.lo > 0.06;
        covered += p.lo <= 0.06 && 0.06 <= p.hi;
    }
    assert_int_equal(covered + left + right, TIMES);
    // 95 % of 400 is 380, with a standard deviation of 4.4.
    if (covered < 366 || covered > 394)
        fail_msg("covered %d of %d", covered, TIMES);
    assert_true(left > 0 && right > 0);
}

static void the_same_pairs_give_the_same_interval(void **state)
{
    (void)state;
    struct pair pairs[40];
    noise_state = 13;
    simulate(pairs, 40);
    struct paired p = paired_compare(pairs, 40), q = paired_compare(pairs, 40);
    assert_true(p.lo == q.lo && p.hi == q.hi && p.lo < p.difference.value &&
                p.difference.value < p.hi);
}

/* ---- several seeds ---- */

static double normal(void)
{
    double sum = 0;
    for (int i = 0; i < 12; i++)
        sum += noise();
    return sum - 6;
}

static void two_seeds_are_summed_by_document(void **state)
{
    (void)state;
    const struct pair pairs[] = { { 1, 1, 0, 1 }, { 1, 1, 1, 1 }, { 0, 1, 1, 1 },
                                  { 1, 1, 0, 1 }, { 1, 1, 0, 1 }, { 1, 1, 0, 1 } };
    const struct pair summed[] = { { 2, 2, 1, 2 }, { 1, 2, 1, 2 }, { 2, 2, 0, 2 } };
    struct paired p = paired_compare_seeds(pairs, 3, 2), q = paired_compare(summed, 3);
    assert_true(p.lo == q.lo && p.hi == q.hi && p.difference.stderr_ == q.difference.stderr_);
    assert_true(p.seeds == 2 && isnan(p.by_seed) && p.df == 2);
    struct paired one = paired_compare_seeds(summed, 3, 1);
    assert_true(one.lo == q.lo && one.hi == q.hi && one.seeds == 1);
}

static void three_seeds_add_their_variance(void **state)
{
    (void)state;
    // Differences by document and seed: 1 2 6 / 3 4 2; means 3 by document and 2, 3, 4 by seed.
    const double d[] = { 1, 2, 6, 3, 4, 2 };
    struct pair pairs[6];
    for (int i = 0; i < 6; i++)
        pairs[i] = scores(10 + d[i], 10);
    struct paired p = paired_compare_seeds(pairs, 2, 3);
    NEAR(p.difference.value, 3, 1e-13);
    NEAR(p.by_document, 0, 1e-13);
    NEAR(p.by_seed, sqrt(1 / 3.0), 1e-13); // variance 1 of three
    NEAR(p.df, 2, 1e-12);
    NEAR(p.hi, 3 + 4.302653 * sqrt(1 / 3.0), 1e-5);
    NEAR(p.lo, 3 - 4.302653 * sqrt(1 / 3.0), 1e-5);
    NEAR(p.a.stderr_, sqrt(1 / 3.0), 1e-13);
    NEAR(p.b.stderr_, 0, 1e-13);
    NEAR(paired_p(&p), student_p(3 * sqrt(3), 2), 1e-12);
    // Both vary: documents 2 and 4 with variance 2 of two, seeds 2, 3, 4 as before.
    for (int i = 0; i < 6; i++)
        pairs[i].a += i < 3 ? -1 : 1;
    p = paired_compare_seeds(pairs, 2, 3);
    NEAR(p.by_document, 1, 1e-13);
    NEAR(p.difference.stderr_, sqrt(1 + 1 / 3.0), 1e-13);
    NEAR(p.df, pow(4 / 3.0, 2) / (1 + 1 / 18.0), 1e-12);
}

static void losses_of_seeds_weigh_by_tokens(void **state)
{
    (void)state;
    // Two documents of 1 and 3 tokens; seeds add 0, 1 and 2 a token: variance 1 of three.
    struct pair pairs[6];
    for (int i = 0; i < 6; i++) {
        double tokens = i < 3 ? 1 : 3;
        pairs[i] = (struct pair){ tokens * (5 + i % 3), tokens, tokens * 5, tokens };
    }
    struct paired p = paired_compare_seeds(pairs, 2, 3);
    NEAR(p.difference.value, 1, 1e-13);
    NEAR(p.by_document, 0, 1e-13);
    NEAR(p.by_seed, sqrt(1 / 3.0), 1e-13);
}

static void seeds_that_change_nothing_cost_nothing(void **state)
{
    (void)state;
    struct pair pairs[120];
    noise_state = 5;
    for (int i = 0; i < 40; i++)
        pairs[3 * i] = pairs[3 * i + 1] = pairs[3 * i + 2] = scores(noise(), noise());
    struct paired p = paired_compare_seeds(pairs, 40, 3);
    NEAR(p.by_seed, 0, 1e-13);
    NEAR(p.df, 39, 1e-9);
    for (int i = 0; i < 40; i++)
        pairs[i] = pairs[3 * i];
    NEAR(p.difference.stderr_, paired_compare(pairs, 40).difference.stderr_, 1e-14);
}

/* How often of `times` the truth, 0, is in the interval where seeds and documents vary so much. */
static int covered_of(int times, int n, int seeds, double by_seed, double by_document, int *apart)
{
    struct pair *pairs = xmalloc((size_t)n * (size_t)seeds * sizeof(*pairs));
    double *shift = xmalloc((size_t)seeds * sizeof(*shift));
    int covered = 0;
    *apart = 0;
    for (int t = 0; t < times; t++) {
        for (int s = 0; s < seeds; s++)
            shift[s] = by_seed * normal();
        for (int i = 0; i < n; i++) {
            double document = by_document * normal();
            for (int s = 0; s < seeds; s++)
                pairs[i * seeds + s] = scores(shift[s] + document + normal(), 0);
        }
        struct paired p = paired_compare_seeds(pairs, n, seeds);
        covered += p.lo <= 0 && p.hi >= 0;
        *apart += fabs(p.difference.value) > 1.96 * p.by_document;
    }
    free(shift);
    free(pairs);
    return covered;
}

/*
 * 95 % of 300 is 285, with a standard deviation of 3.8. By document alone, the truth would be outside
 * most intervals where seeds vary. What is neither of a seed nor of a document counts twice, and
 * makes the interval too wide, by up to the square root of two.
 */
static void the_interval_of_seeds_covers_as_often_as_it_says(void **state)
{
    (void)state;
    static const struct {
        int n, seeds;
        double by_seed, by_document;
        int least, most;
    } rows[] = {
        { 30, 3, 0, 1, 276, 300 },   { 30, 3, 0.3, 1, 276, 297 }, { 30, 3, 2, 1, 268, 296 },
        { 30, 8, 0.3, 1, 276, 297 }, { 30, 3, 0, 0, 285, 300 },
    };
    int apart;
    noise_state = 17;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        int c =
            covered_of(300, rows[i].n, rows[i].seeds, rows[i].by_seed, rows[i].by_document, &apart);
        if (c < rows[i].least || c > rows[i].most)
            fail_msg("row %zu: covered %d of 300", i, c);
        if (rows[i].by_seed > 1)
            assert_true(apart > 150);
    }
}

static void t_turns_p_around(void **state)
{
    (void)state;
    NEAR(student_t(0.05, 2), 4.302653, 1e-6);
    NEAR(student_t(0.05, 9), 2.262157, 1e-6);
    NEAR(student_t(0.05, 1e9), Z95, 1e-6);
    for (double df = 1; df < 40; df += 0.7)
        NEAR(student_p(student_t(0.01, df), df), 0.01, 1e-9);
    // Between whole numbers, between their values.
    assert_true(student_p(2, 2.5) < student_p(2, 2) && student_p(2, 2.5) > student_p(2, 3));
    assert_true(isnan(student_t(0, 5)) && isnan(student_t(0.05, 0)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mcnemar_is_the_binomial_worked_out_by_hand),
        cmocka_unit_test(mcnemar_of_even_or_no_flips_is_one),
        cmocka_unit_test(mcnemar_of_many_flips_does_not_underflow),
        cmocka_unit_test(mcnemar_wants_scores_of_zero_or_one),
        cmocka_unit_test(means_and_errors_are_those_worked_out_by_hand),
        cmocka_unit_test(losses_are_sums_over_sums),
        cmocka_unit_test(sides_that_do_not_differ_have_an_interval_of_no_width),
        cmocka_unit_test(one_document_has_a_difference_and_no_interval),
        cmocka_unit_test(many_documents_give_the_normal_interval),
        cmocka_unit_test(the_interval_covers_as_often_as_it_says),
        cmocka_unit_test(the_same_pairs_give_the_same_interval),
        cmocka_unit_test(two_seeds_are_summed_by_document),
        cmocka_unit_test(three_seeds_add_their_variance),
        cmocka_unit_test(losses_of_seeds_weigh_by_tokens),
        cmocka_unit_test(seeds_that_change_nothing_cost_nothing),
        cmocka_unit_test(the_interval_of_seeds_covers_as_often_as_it_says),
        cmocka_unit_test(t_turns_p_around),
    };
    return cmocka_run_group_tests_name("paired", tests, NULL, NULL);
}
