/*
 * test_rouge.c: ROUGE-L of texts worked out by hand, and of random ones against the definition.
 */
#include "texts.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define NEAR(a, b, eps) assert_true(fabs((double)(a) - (double)(b)) <= (eps))

static double words(const char *answer, const char *reference)
{
    return texts_score(&scorer_rouge_l, false, answer, reference);
}

static double characters(const char *answer, const char *reference)
{
    return texts_score(&scorer_rouge_l, true, answer, reference);
}

/* ---- the slow version: tokens as numbers, and the definition's recursion as a whole table ---- */

enum { MOST = 200 };

/* The code point of each character, or a hash of each word: the texts' pieces have few words. */
static size_t slow_tokens(const char *text, bool by_character, uint64_t *out)
{
    size_t n = 0;
    uint64_t word = 0;
    for (const unsigned char *p = (const unsigned char *)text;; p++) {
        unsigned char c = *p;
        if (by_character) {
            if (c == 0)
                return n;
            if (c == ' ' || c == '\n' || memcmp(p, "\xe3\x80\x80", 3) == 0) {
                p += c == 0xe3 ? 2 : 0;
                continue;
            }
            uint64_t code = c;
            while ((p[1] & 0xc0) == 0x80)
                code = code << 8 | *++p;
            out[n++] = code;
            continue;
        }
        c |= c >= 'A' && c <= 'Z' ? 0x20 : 0;
        if ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9')) {
            word = word * 1099511628211u + c;
        } else {
            if (word)
                out[n++] = word;
            word = 0;
            if (c == 0)
                return n;
        }
    }
}

static double slow(const char *answer, const char *reference, bool by_character)
{
    static size_t table[MOST + 1][MOST + 1];
    uint64_t a[MOST], b[MOST];
    size_t n = slow_tokens(answer, by_character, a), m = slow_tokens(reference, by_character, b);
    for (size_t i = 0; i <= n; i++)
        for (size_t j = 0; j <= m; j++) {
            size_t up = i ? table[i - 1][j] : 0, left = j ? table[i][j - 1] : 0;
            table[i][j] = i == 0 || j == 0       ? 0
                          : a[i - 1] == b[j - 1] ? table[i - 1][j - 1] + 1
                          : up > left            ? up
                                                 : left;
        }
    if (table[n][m] == 0)
        return 0;
    double p = (double)table[n][m] / (double)n, r = (double)table[n][m] / (double)m;
    return 2 * p * r / (p + r);
}

/* ---- by hand ---- */

static void words_in_common_are_those_in_the_same_order(void **state)
{
    (void)state;
    // "the quick brown jumps the" is in both: P 5/8, R 5/9.
    NEAR(words("The quick brown dog jumps on the log.",
               "The quick brown fox jumps over the lazy dog"),
         10.0 / 17, 1e-15);
    // Lin's own sentences: 3 of 4 words in order, and 2 of 4.
    NEAR(words("police kill the gunman", "police killed the gunman"), 0.75, 1e-15);
    NEAR(words("the gunman kill police", "police killed the gunman"), 0.5, 1e-15);
    NEAR(words("a b c", "c b a"), 1.0 / 3, 1e-15);
}

static void case_and_punctuation_do_not_count(void **state)
{
    (void)state;
    NEAR(words("Hello,  WORLD-42!", "hello world 42"), 1, 0);
    // No letter of a to z: it parts words, as in the rouge_score package.
    NEAR(words("caf\xc3\xa9s", "caf s"), 1, 0);
}

static void characters_are_tokens_where_it_is_said(void **state)
{
    (void)state;
    // Four Chinese characters against three of them with white space between: 2 * 3 / 7.
    const char *four = "\xe4\xb8\xad\xe6\x96\x87\xe6\x80\xbb\xe7\xbb\x93";
    const char *three = "\xe4\xb8\xad\xe3\x80\x80\xe6\x96\x87 \n\xe7\xbb\x93";
    NEAR(characters(four, three), 6.0 / 7, 1e-15);
    NEAR(words(four, three), 0, 0);
    NEAR(characters("ab c", "a bd"), 2.0 / 3, 1e-15);
    NEAR(characters("A", "a"), 0, 0);
    // Characters that share their first or last bytes are different ones.
    NEAR(characters("\xe4\xb8\xad", "\xe4\xb8\xae"), 0, 0);
}

static void nothing_has_nothing_in_common(void **state)
{
    (void)state;
    NEAR(words("", ""), 0, 0);
    NEAR(words("a", ""), 0, 0);
    NEAR(words("", "a"), 0, 0);
    NEAR(words("...", "..."), 0, 0);
    NEAR(characters("", ""), 0, 0);
    NEAR(characters(" \n", " \n"), 0, 0);
    NEAR(characters("a", " "), 0, 0);
}

static void random_texts_score_as_the_definition_says(void **state)
{
    (void)state;
    struct buf a = BUF_INIT, b = BUF_INIT;
    int positive = 0;
    texts_state = 3;
    for (int i = 0; i < 600; i++) {
        texts_random(&a, i % 3 ? 60 : 6);
        texts_random(&b, i % 5 ? 60 : 6);
        NEAR(characters(a.s, b.s), slow(a.s, b.s, true), 1e-15);
        double score = words(a.s, b.s);
        NEAR(score, slow(a.s, b.s, false), 1e-15);
        NEAR(score, words(b.s, a.s), 0);
        positive += score > 0 && score < 1;
    }
    assert_in_range(positive, 300, 600);
    buf_release(&a);
    buf_release(&b);
}

static void long_texts_need_little_memory(void **state)
{
    (void)state;
    // A table of 100000 x 1000 lengths would be 800 megabytes.
    struct buf a = BUF_INIT, b = BUF_INIT;
    for (int i = 0; i < 100000; i++)
        buf_addc(&a, (char)('a' + i % 26));
    for (int i = 0; i < 1000; i++)
        buf_addc(&b, (char)('a' + i % 26));
    NEAR(characters(a.s, b.s), 2 * 1000.0 / 101000, 1e-15);
    buf_release(&a);
    buf_release(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(words_in_common_are_those_in_the_same_order),
        cmocka_unit_test(case_and_punctuation_do_not_count),
        cmocka_unit_test(characters_are_tokens_where_it_is_said),
        cmocka_unit_test(nothing_has_nothing_in_common),
        cmocka_unit_test(random_texts_score_as_the_definition_says),
        cmocka_unit_test(long_texts_need_little_memory),
    };
    return cmocka_run_group_tests_name("rouge", tests, NULL, NULL);
}
