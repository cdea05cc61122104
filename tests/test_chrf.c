/*
 * test_chrf.c: chrF2 of texts worked out by hand, of a pair whose score sacrebleu's users print, and
 * of random ones against a slow version that counts every n-gram by comparing it with every other.
 */
#include "texts.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define NEAR(a, b, eps) assert_true(fabs((double)(a) - (double)(b)) <= (eps))

static double chrf(const char *answer, const char *reference)
{
    return texts_score(&scorer_chrf, false, answer, reference);
}

/* ---- the slow version ---- */

enum { MOST = 200 };

static size_t slow_characters(const char *text, uint32_t *out)
{
    size_t n = 0;
    for (const unsigned char *p = (const unsigned char *)text; *p; p++) {
        uint32_t code = *p;
        while ((p[1] & 0xc0) == 0x80)
            code = code << 8 | *++p;
        if (code != ' ' && code != '\n' && code != 0xe38080)
            out[n++] = code;
    }
    return n;
}

/* How often the k characters at g stand in text. */
static size_t slow_count(const uint32_t *g, size_t k, const uint32_t *text, size_t n)
{
    size_t count = 0;
    for (size_t i = 0; i + k <= n; i++)
        count += memcmp(text + i, g, k * sizeof(*g)) == 0;
    return count;
}

static double slow(const char *answer, const char *reference)
{
    uint32_t a[MOST], b[MOST];
    size_t n = slow_characters(answer, a), m = slow_characters(reference, b), orders = 0;
    double p = 0, r = 0;
    for (size_t k = 1; k <= 6 && k <= n && k <= m; k++, orders++) {
        double match = 0;
        for (size_t i = 0; i + k <= n; i++) {
            // Each of the c equal grams gives its share of the matches.
            double c = (double)slow_count(a + i, k, a, n);
            match += fmin(c, (double)slow_count(a + i, k, b, m)) / c;
        }
        p += match / (double)(n - k + 1);
        r += match / (double)(m - k + 1);
    }
    if (p + r == 0)
        return 0;
    p /= (double)orders;
    r /= (double)orders;
    return 5 * p * r / (4 * p + r);
}

/* ---- by hand ---- */

static void a_text_is_itself(void **state)
{
    (void)state;
    NEAR(chrf("abcdefgh", "abcdefgh"), 1, 1e-15);
    NEAR(chrf("a", "a"), 1, 1e-15);
    NEAR(chrf("a b\nc", "abc"), 1, 1e-15);
    NEAR(chrf("\xe4\xb8\xad\xe3\x80\x80\xe6\x96\x87", "\xe4\xb8\xad\xe6\x96\x87"), 1, 1e-15);
}

static void precision_and_recall_are_means_over_the_lengths_both_have(void **state)
{
    (void)state;
    // abc and abd: 2/3, 1/2, 0/1 on both sides, so F is their mean, 7/18.
    NEAR(chrf("abc", "abd"), 7.0 / 18, 1e-15);
    // ab and abcd: lengths 1 and 2 alone; P 1, R (2/4 + 1/3) / 2 = 5/12; 5 P R / (4 P + R).
    NEAR(chrf("ab", "abcd"), 5 * (5.0 / 12) / (4 + 5.0 / 12), 1e-15);
    // The other way round recall is 1.
    NEAR(chrf("abcd", "ab"), 5 * (5.0 / 12) / (4 * (5.0 / 12) + 1), 1e-15);
}

static void a_gram_counts_as_often_as_the_rarer_side_has_it(void **state)
{
    (void)state;
    // aaa against aa: 2 of 3 and 1 of 2; 2 of 2 and 1 of 1.
    double p = (2.0 / 3 + 1.0 / 2) / 2;
    NEAR(chrf("aaa", "aa"), 5 * p / (4 * p + 1), 1e-15);
}

static void case_and_punctuation_count(void **state)
{
    (void)state;
    NEAR(chrf("A", "a"), 0, 0);
    // One length, 1 of 2 characters: P 1, R 1/2.
    NEAR(chrf("a", "a."), 5 * 0.5 / 4.5, 1e-15);
}

static void nothing_scores_nothing(void **state)
{
    (void)state;
    NEAR(chrf("", ""), 0, 0);
    NEAR(chrf("a", ""), 0, 0);
    NEAR(chrf("", "a"), 0, 0);
    NEAR(chrf(" \n", " \n"), 0, 0);
    NEAR(chrf("abc", "xyz"), 0, 0);
    NEAR(chrf("\xe4\xb8\xad", "\xe4\xb8\xae"), 0, 0);
}

static void a_printed_score_of_sacrebleu_is_met(void **state)
{
    (void)state;
    // On the card of this metric in Hugging Face's library: 61.576379378113785 percent.
    NEAR(chrf("The relationship between Obama and Netanyahu is not exactly friendly.",
              "The ties between Obama and Netanyahu are not particularly friendly."),
         0.61576379378113785, 1e-15);
}

static void random_texts_score_as_the_slow_version_says(void **state)
{
    (void)state;
    struct buf a = BUF_INIT, b = BUF_INIT;
    int positive = 0;
    texts_state = 8;
    for (int i = 0; i < 600; i++) {
        texts_random(&a, i % 3 ? 60 : 6);
        texts_random(&b, i % 5 ? 60 : 6);
        double score = chrf(a.s, b.s);
        NEAR(score, slow(a.s, b.s), 1e-14);
        positive += score > 0 && score < 1;
    }
    assert_in_range(positive, 400, 600);
    buf_release(&a);
    buf_release(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_text_is_itself),
        cmocka_unit_test(precision_and_recall_are_means_over_the_lengths_both_have),
        cmocka_unit_test(a_gram_counts_as_often_as_the_rarer_side_has_it),
        cmocka_unit_test(case_and_punctuation_count),
        cmocka_unit_test(nothing_scores_nothing),
        cmocka_unit_test(a_printed_score_of_sacrebleu_is_met),
        cmocka_unit_test(random_texts_score_as_the_slow_version_says),
    };
    return cmocka_run_group_tests_name("chrf", tests, NULL, NULL);
}
