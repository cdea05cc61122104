/*
 * test_stats.c: against numbers worked out by hand, and against slow versions that do what the
 * header says, word for word, from scratch.
 */
#include "stats_ranked.h"
#include "stats_sort.h"

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

/* Of one y alone. */
static struct estimate spearman(const float *x, const float *y, const int32_t *doc, size_t n)
{
    struct ranked *r = ranked_new(x, doc, n);
    struct estimate e = ranked_spearman(r, y);
    ranked_free(r);
    return e;
}

static int quantile_bins(const float *x, const float *y, const int32_t *doc, size_t n, int bins,
                         struct bin *out)
{
    struct ranked *r = ranked_new(x, doc, n);
    int written = ranked_bins(r, y, bins, out);
    ranked_free(r);
    return written;
}

/* ---- slow versions ---- */

/* Average rank: 1 + how many are smaller + half of how many others are equal. */
static void slow_ranks(const float *v, size_t n, double *rank)
{
    for (size_t i = 0; i < n; i++) {
        double r = 1;
        for (size_t j = 0; j < n; j++)
            r += v[j] < v[i] ? 1 : (j != i && v[j] == v[i]) ? 0.5 : 0;
        rank[i] = r;
    }
}

static double slow_pearson(const double *a, const double *b, size_t n)
{
    double ma = 0, mb = 0, ab = 0, aa = 0, bb = 0;
    for (size_t i = 0; i < n; i++) {
        ma += a[i] / (double)n;
        mb += b[i] / (double)n;
    }
    for (size_t i = 0; i < n; i++) {
        ab += (a[i] - ma) * (b[i] - mb);
        aa += (a[i] - ma) * (a[i] - ma);
        bb += (b[i] - mb) * (b[i] - mb);
    }
    return ab / sqrt(aa * bb);
}

/* Rho of the tokens whose document's place is not `out` modulo `groups`. */
static double slow_rho(const float *x, const float *y, const int32_t *place, size_t n, int groups,
                       int out)
{
    float *kx = xmalloc(n * sizeof(*kx)), *ky = xmalloc(n * sizeof(*ky));
    double *rx = xmalloc(n * sizeof(*rx)), *ry = xmalloc(n * sizeof(*ry));
    size_t m = 0;
    for (size_t i = 0; i < n; i++)
        if (place[i] % groups != out) {
            kx[m] = x[i];
            ky[m++] = y[i];
        }
    slow_ranks(kx, m, rx);
    slow_ranks(ky, m, ry);
    double rho = slow_pearson(rx, ry, m);
    free(kx);
    free(ky);
    free(rx);
    free(ry);
    return rho;
}

static double slow_jackknife(const float *x, const float *y, const int32_t *place, size_t n,
                             int groups)
{
    double *rho = xmalloc((size_t)groups * sizeof(*rho)), mean = 0, squares = 0;
    for (int g = 0; g < groups; g++) {
        rho[g] = slow_rho(x, y, place, n, groups, g);
        mean += rho[g] / groups;
    }
    for (int g = 0; g < groups; g++)
        squares += (rho[g] - mean) * (rho[g] - mean);
    free(rho);
    return sqrt((groups - 1.0) / groups * squares);
}

/* ---- order ---- */

static void sorting_keeps_what_is_equal_as_it_stood(void **state)
{
    (void)state;
    enum { N = 3000 };
    static float v[N];
    static struct keyed k[N];
    const float odd[] = { -0.0f, 0, 1e-45f, -1e-45f, 3e38f, -3e38f, 1, -1 };
    noise_state = 77;
    for (uint32_t i = 0; i < N; i++) {
        v[i] = i % 3 ? (float)floor(200 * noise() - 100) : odd[(size_t)(8 * noise())];
        k[i] = (struct keyed){ key_of_float(v[i]), i };
    }
    keyed_sort(k, N);
    for (int i = 1; i < N; i++) {
        assert_true(v[k[i - 1].index] <= v[k[i].index]);
        if (v[k[i - 1].index] == v[k[i].index])
            assert_true(k[i - 1].index < k[i].index);
        assert_true((k[i - 1].key == k[i].key) == (v[k[i - 1].index] == v[k[i].index]));
    }
    assert_true(key_of_int(INT32_MIN) < key_of_int(-1) && key_of_int(-1) < key_of_int(0));
    assert_true(key_of_int(0) < key_of_int(1) && key_of_int(1) < key_of_int(INT32_MAX));
}

/* ---- ratio_of_sums ---- */

static void a_ratio_and_its_error_are_those_worked_out_by_hand(void **state)
{
    (void)state;
    // 12 / 6 = 2; rests 3-2, 4-4, 5-6 = 1, 0, -1; var = 3/2 * 2 / 36.
    const double y[] = { 3, 4, 5 }, x[] = { 1, 2, 3 };
    struct estimate e = ratio_of_sums(y, x, 3);
    NEAR(e.value, 2, 1e-15);
    NEAR(e.stderr_, sqrt(3.0 / 36), 1e-15);
    assert_int_equal(e.n, 6);
}

static void documents_of_one_length_give_the_plain_error_of_a_mean(void **state)
{
    (void)state;
    // Means 1, 2, 3, 6 over four documents: sd^2 = 14/3, standard error sqrt(14/3/4).
    const double y[] = { 5, 10, 15, 30 }, x[] = { 5, 5, 5, 5 };
    struct estimate e = ratio_of_sums(y, x, 4);
    NEAR(e.value, 3, 1e-15);
    NEAR(e.stderr_, sqrt(14.0 / 12), 1e-14);
    const double means[] = { 1, 2, 3, 6 };
    e = mean_of(means, 4);
    NEAR(e.value, 3, 1e-15);
    NEAR(e.stderr_, sqrt(14.0 / 12), 1e-14);
    assert_int_equal(e.n, 4);
    assert_true(isnan(mean_of(means, 0).value));
}

static void a_document_without_tokens_says_nothing(void **state)
{
    (void)state;
    const double y[] = { 3, 0, 4, 5, 7 }, x[] = { 1, 0, 2, 3, 0 };
    struct estimate e = ratio_of_sums(y, x, 5);
    NEAR(e.value, 2, 1e-15);
    NEAR(e.stderr_, sqrt(3.0 / 36), 1e-15);
}

static void one_document_has_a_mean_but_no_error(void **state)
{
    (void)state;
    const double y[] = { 3 }, x[] = { 2 };
    struct estimate e = ratio_of_sums(y, x, 1);
    NEAR(e.value, 1.5, 0);
    assert_true(isnan(e.stderr_));
    e = ratio_of_sums(y, x, 0);
    assert_true(isnan(e.value) && isnan(e.stderr_) && e.n == 0);
}

/* ---- spearman ---- */

static void rho_without_ties_is_the_textbook_formula(void **state)
{
    (void)state;
    // Ranks 1..5 against 2 1 4 3 5: d^2 sums to 4, rho = 1 - 6*4/(5*24) = 0.8.
    const float x[] = { 10, 20, 30, 40, 50 }, y[] = { 0.2f, 0.1f, 0.4f, 0.3f, 0.5f };
    const int32_t doc[] = { 0, 0, 1, 1, 2 };
    struct estimate e = spearman(x, y, doc, 5);
    NEAR(e.value, 0.8, 1e-15);
    assert_int_equal(e.n, 5);
}

static void ties_get_average_ranks(void **state)
{
    (void)state;
    // Ranks 1 2.5 2.5 4 against 1.5 1.5 3.5 3.5: centred -1.5 0 0 1.5 and -1 -1 1 1, rho = 3 / sqrt(4.5 * 4).
    const float x[] = { 1, 2, 2, 3 }, y[] = { 7, 7, 9, 9 };
    const int32_t doc[] = { 0, 0, 0, 0 };
    struct estimate e = spearman(x, y, doc, 4);
    NEAR(e.value, 3 / sqrt(18), 1e-15);
    assert_true(isnan(e.stderr_)); // one document
}

static void what_does_not_vary_has_no_rho(void **state)
{
    (void)state;
    const float x[] = { 1, 2, 3, 4 }, y[] = { 8, 8, 8, 8 };
    const int32_t doc[] = { 0, 0, 1, 1 };
    struct estimate e = spearman(x, y, doc, 4);
    assert_true(isnan(e.value) && isnan(e.stderr_));
    assert_int_equal(e.n, 4);
    e = spearman(x, y, doc, 0);
    assert_true(isnan(e.value) && e.n == 0);
}

static void a_left_out_group_without_which_nothing_varies_leaves_no_error(void **state)
{
    (void)state;
    const float x[] = { 1, 2, 3, 4 }, y[] = { 8, 8, 8, 9 };
    const int32_t doc[] = { 0, 0, 1, 1 };
    struct estimate e = spearman(x, y, doc, 4);
    assert_false(isnan(e.value));
    assert_true(isnan(e.stderr_));
}

/* `docs` documents of 1 to 7 tokens, with many ties; *place is the document's place. */
static size_t make_tokens(int docs, float *x, float *y, int32_t *doc, int32_t *place)
{
    size_t n = 0;
    for (int d = 0; d < docs; d++)
        for (int t = 1 + (int)(noise() * 7); t > 0; t--) {
            double common = noise() + 0.2 * (d % 5);
            x[n] = (float)(floor(40 * (common + 0.5 * noise())) / 8);
            y[n] = (float)floor(4 * (common + noise()));
            doc[n] = 3 * d + 2; // numbers with gaps, not from 0
            place[n++] = d;
        }
    return n;
}

static void the_jackknife_is_the_one_made_from_scratch(void **state)
{
    (void)state;
    enum { MOST = 7 * 90 };
    static float x[MOST], y[MOST];
    static int32_t doc[MOST], place[MOST];
    const int sizes[] = { 2, 3, 17, 90 };
    noise_state = 5;
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        size_t n = make_tokens(sizes[i], x, y, doc, place);
        struct estimate e = spearman(x, y, doc, n);
        NEAR(e.value, slow_rho(x, y, place, n, sizes[i], -1), 1e-12);
        NEAR(e.stderr_, slow_jackknife(x, y, place, n, sizes[i]), 1e-12);
    }
}

static void more_documents_than_groups_share_groups(void **state)
{
    (void)state;
    enum { N = 450 };
    static float x[N], y[N];
    static int32_t doc[N];
    noise_state = 9;
    for (int i = 0; i < N; i++) {
        x[i] = (float)noise();
        y[i] = (float)floor(3 * (x[i] + noise()));
        doc[i] = i;
    }
    struct estimate e = spearman(x, y, doc, N);
    NEAR(e.stderr_, slow_jackknife(x, y, doc, N, 200), 1e-12);
}

enum { MANY = 350000, GROUPS = 11, X_CODES = MANY / 2, Y_CODES = 13 };

/* Twice the centred ranks of the codes, from how many have each. */
static double plain_ranks(const int *count, int codes, double total, double *rank)
{
    double below = 0, squares = 0;
    for (int c = 0; c < codes; c++) {
        rank[c] = 2 * below + count[c] - total;
        below += count[c];
        squares += count[c] * rank[c] * rank[c];
    }
    return squares;
}

/* Rho of the tokens that are not in document `out`, by one walk in the order of x. by_x: [MANY] */
static double plain_rho(const int *x, const int *y, const int32_t *doc, const int *by_x, int out)
{
    static int count_x[X_CODES], count_y[Y_CODES];
    static double rank_x[X_CODES], rank_y[Y_CODES];
    double total = 0, xy = 0;
    memset(count_x, 0, sizeof(count_x));
    memset(count_y, 0, sizeof(count_y));
    for (int i = 0; i < MANY; i++) {
        count_x[x[i]] += doc[i] != out;
        count_y[y[i]] += doc[i] != out;
        total += doc[i] != out;
    }
    double xx = plain_ranks(count_x, X_CODES, total, rank_x);
    double yy = plain_ranks(count_y, Y_CODES, total, rank_y);
    for (int i = 0; i < MANY; i++)
        xy += doc[by_x[i]] != out ? rank_x[x[by_x[i]]] * rank_y[y[by_x[i]]] : 0;
    return xy / sqrt(xx) / sqrt(yy);
}

/* So many that sums of products are rounded: what they come to tells in which order they were made. */
static void rho_is_that_of_plain_walks_to_the_last_bit(void **state)
{
    (void)state;
    static int x[MANY], y[MANY], by_x[MANY], next[X_CODES];
    static float vx[MANY], vy[MANY];
    static int32_t doc[MANY];
    double rho[GROUPS], mean = 0, squares = 0;
    for (int i = 0; i < MANY; i++) {
        x[i] = (int)((int64_t)i * 104729 % MANY) / 2; // each code twice
        y[i] = (x[i] / 30000 + i * 7 % 9) % Y_CODES;
        doc[i] = (int32_t)((int64_t)i * GROUPS / MANY);
        vx[i] = (float)x[i] - 1000;
        vy[i] = (float)y[i];
        by_x[2 * x[i] + next[x[i]]++] = i;
    }
    for (int g = 0; g < GROUPS; g++) {
        rho[g] = plain_rho(x, y, doc, by_x, g);
        mean += rho[g] / GROUPS;
    }
    for (int g = 0; g < GROUPS; g++)
        squares += (rho[g] - mean) * (rho[g] - mean);
    struct estimate e = spearman(vx, vy, doc, MANY);
    assert_true(e.value == plain_rho(x, y, doc, by_x, -1));
    assert_true(e.stderr_ == sqrt((GROUPS - 1.0) / GROUPS * squares));
}

static void the_interval_is_fishers(void **state)
{
    (void)state;
    double lo, hi;
    // z = atanh(0.5) = 0.549306, its error 0.03 / 0.75 = 0.04; tanh(0.549306 -+ 0.0783985).
    correlation_interval((struct estimate){ .value = 0.5, .stderr_ = 0.03 }, &lo, &hi);
    NEAR(lo, 0.438932, 1e-6);
    NEAR(hi, 0.556470, 1e-6);
    correlation_interval((struct estimate){ .value = -1, .stderr_ = 0 }, &lo, &hi);
    assert_true(lo == -1 && hi == -1);
    correlation_interval((struct estimate){ .value = 0.5, .stderr_ = NAN }, &lo, &hi);
    assert_true(isnan(lo) && isnan(hi));
    correlation_interval((struct estimate){ .value = NAN, .stderr_ = NAN }, &lo, &hi);
    assert_true(isnan(lo) && isnan(hi));
}

/* ---- quantile_bins ---- */

static void bins_of_distinct_values_have_one_size(void **state)
{
    (void)state;
    const float x[] = { 6, 1, 5, 2, 4, 3 }, y[] = { 60, 10, 50, 20, 40, 30 };
    const int32_t doc[] = { 0, 0, 1, 1, 2, 2 };
    struct bin b[3];
    assert_int_equal(quantile_bins(x, y, doc, 6, 3, b), 3);
    assert_true(b[0].lo == 1 && b[0].hi == 2 && b[0].n == 2 && b[0].mean == 15 && b[0].x == 1.5);
    assert_true(b[2].lo == 5 && b[2].hi == 6 && b[2].n == 2 && b[2].mean == 55);
    NEAR(b[0].sd, sqrt(50), 1e-12);
    // Documents 0 and 1, one token each: 10 - 15 and 20 - 15; sqrt(2/1 * 50) / 2.
    NEAR(b[0].se, 5, 1e-12);
}

static void equal_values_stay_in_one_bin(void **state)
{
    (void)state;
    const float x[] = { 0, 0, 0, 0, 0, 0, 1, 2 }, y[] = { 1, 1, 1, 1, 1, 1, 5, 7 };
    const int32_t doc[] = { 0, 0, 0, 0, 1, 1, 1, 1 };
    struct bin b[4];
    // The zeroes' middle is at 2.5 of 8, in bin 1 of 4; 1 and 2 are at 6 and 7, in bin 3.
    assert_int_equal(quantile_bins(x, y, doc, 8, 4, b), 2);
    assert_true(b[0].n == 6 && b[0].lo == 0 && b[0].hi == 0 && b[0].mean == 1 && b[0].sd == 0);
    assert_true(b[1].n == 2 && b[1].lo == 1 && b[1].hi == 2 && b[1].mean == 6);
    assert_true(isnan(b[1].se)); // one document
}

static void no_tokens_give_no_bins_and_one_token_gives_one(void **state)
{
    (void)state;
    const float x[] = { 2 }, y[] = { 3 };
    const int32_t doc[] = { 4 };
    struct bin b[20];
    assert_int_equal(quantile_bins(x, y, doc, 0, 20, b), 0);
    assert_int_equal(quantile_bins(x, y, doc, 1, 20, b), 1);
    assert_true(b[0].n == 1 && b[0].mean == 3 && isnan(b[0].sd) && isnan(b[0].se));
}

/* The bin of token i: the middle of its run among the sorted, in units of n / bins. */
static int slow_bin(const float *x, size_t n, int bins, size_t i)
{
    size_t below = 0, same = 0;
    for (size_t j = 0; j < n; j++) {
        below += x[j] < x[i];
        same += x[j] == x[i];
    }
    return (int)((2.0 * (double)below + (double)same - 1) * bins / (2.0 * (double)n));
}

static void bins_are_those_made_from_scratch(void **state)
{
    (void)state;
    enum { MOST = 7 * 60, BINS = 20 };
    static float x[MOST], y[MOST];
    static int32_t doc[MOST], place[MOST];
    double sum[BINS][60], count[BINS][60];
    struct bin got[BINS];
    noise_state = 31;
    size_t n = make_tokens(60, x, y, doc, place);
    memset(sum, 0, sizeof(sum));
    memset(count, 0, sizeof(count));
    for (size_t i = 0; i < n; i++) {
        int b = slow_bin(x, n, BINS, i);
        sum[b][place[i]] += (double)y[i];
        count[b][place[i]]++;
    }
    int bins = quantile_bins(x, y, doc, n, BINS, got), g = 0;
    for (int b = 0; b < BINS; b++) {
        struct estimate e = ratio_of_sums(sum[b], count[b], 60);
        if (e.n == 0)
            continue;
        assert_true(g < bins);
        assert_int_equal(got[g].n, e.n);
        NEAR(got[g].mean, e.value, 1e-12);
        NEAR(got[g].se, e.stderr_, 1e-12);
        g++;
    }
    assert_int_equal(g, bins);
    for (int b = 1; b < bins; b++)
        assert_true(got[b].lo > got[b - 1].hi);
}

/* ---- normalised_entropy ---- */

static void an_even_load_has_entropy_one_and_a_single_expert_none(void **state)
{
    (void)state;
    const double even[] = { 3, 3, 3, 3 }, one[] = { 0, 9, 0 }, half[] = { 1, 1, 0, 0 };
    const double none[] = { 0, 0 };
    NEAR(normalised_entropy(even, 4), 1, 1e-15);
    NEAR(normalised_entropy(one, 3), 0, 1e-15);
    NEAR(normalised_entropy(half, 4), 0.5, 1e-15);
    NEAR(normalised_entropy(even, 1), 1, 0);
    assert_true(isnan(normalised_entropy(none, 2)));
}

/* ---- pass@k ---- */

static double choose(int n, int k)
{
    double c = 1;
    for (int i = 0; i < k; i++)
        c = c * (n - i) / (i + 1);
    return n < k ? 0 : c;
}

static void pass_at_k_counts_the_draws_that_all_fail(void **state)
{
    (void)state;
    NEAR(pass_at_k(10, 3, 1), 0.3, 1e-15);
    NEAR(pass_at_k(10, 3, 5), 0.916667, 5e-7);
    NEAR(pass_at_k(1, 1, 1), 1, 0);
    NEAR(pass_at_k(5, 0, 5), 0, 0);
    NEAR(pass_at_k(200, 200, 1), 1, 0);
    for (int n = 1; n <= 20; n++)
        for (int c = 0; c <= n; c++)
            for (int k = 1; k <= n; k++)
                NEAR(pass_at_k(n, c, k), 1 - choose(n - c, k) / choose(n, k), 1e-12);
}

static void the_mean_of_pass_at_k_has_an_error_by_problem(void **state)
{
    (void)state;
    // 0.3, 0 and 1: mean 13/30, deviations -4/30, -13/30, 17/30; sd^2 = 474/900/2.
    const int n[] = { 10, 4, 8 }, c[] = { 3, 0, 8 };
    struct estimate e = mean_pass_at_k(n, c, 3, 1);
    NEAR(e.value, 13.0 / 30, 1e-15);
    NEAR(e.stderr_, sqrt(474.0 / 900 / 2 / 3), 1e-15);
    assert_int_equal(e.n, 3);
}

static void pass_at_k_of_too_few_samples_is_none(void **state)
{
    (void)state;
    const int n[] = { 10, 4, 8 }, c[] = { 3, 4, 8 };
    assert_false(isnan(mean_pass_at_k(n, c, 3, 4).value));
    struct estimate e = mean_pass_at_k(n, c, 3, 5);
    assert_true(isnan(e.value) && isnan(e.stderr_));
    e = mean_pass_at_k(n, c, 0, 1);
    assert_true(isnan(e.value) && isnan(e.stderr_) && e.n == 0);
    e = mean_pass_at_k(n, c, 1, 1);
    assert_true(!isnan(e.value) && isnan(e.stderr_));
}

/* The standard error of the median of all n^n samples with replacement, one by one; n odd. */
static double error_by_all_samples(const double *y, int n)
{
    double sum = 0, squares = 0, all = pow(n, n);
    for (long k = 0; k < (long)all; k++) {
        double drawn[7];
        long rest = k;
        for (int i = 0; i < n; i++, rest /= n) {
            int at = i;
            for (; at > 0 && drawn[at - 1] > y[rest % n]; at--)
                drawn[at] = drawn[at - 1];
            drawn[at] = y[rest % n];
        }
        sum += drawn[n / 2];
        squares += drawn[n / 2] * drawn[n / 2];
    }
    return sqrt(squares / all - sum / all * (sum / all));
}

static void a_median_has_the_error_of_the_medians_of_all_samples(void **state)
{
    (void)state;
    const double y[] = { 5, 1, 9, 2.5, 100, 3, 4 };
    for (int n = 3; n <= 7; n += 2) {
        struct estimate e = median_of(y, (size_t)n);
        NEAR(e.stderr_, error_by_all_samples(y, n), 1e-9);
        assert_int_equal(e.n, n);
    }
    NEAR(median_of(y, 3).value, 5, 0);
    NEAR(median_of(y, 7).value, 4, 0);
}

static void a_median_of_an_even_number_lies_between_two(void **state)
{
    (void)state;
    // Of 1 and 3 a sample's smaller is 1 in 3 of 4, its larger 3 in 3 of 4: deviations of 1 from 2.
    struct estimate e = median_of((const double[]){ 3, 1 }, 2);
    NEAR(e.value, 2, 0);
    NEAR(e.stderr_, 1, 1e-12);
    e = median_of((const double[]){ 8 }, 1);
    assert_true(e.value == 8 && isnan(e.stderr_));
    e = median_of(NULL, 0);
    assert_true(isnan(e.value) && e.n == 0);
    NEAR(median_of((const double[]){ 2, 2, 2 }, 3).stderr_, 0, 1e-12);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sorting_keeps_what_is_equal_as_it_stood),
        cmocka_unit_test(a_ratio_and_its_error_are_those_worked_out_by_hand),
        cmocka_unit_test(documents_of_one_length_give_the_plain_error_of_a_mean),
        cmocka_unit_test(a_document_without_tokens_says_nothing),
        cmocka_unit_test(one_document_has_a_mean_but_no_error),
        cmocka_unit_test(rho_without_ties_is_the_textbook_formula),
        cmocka_unit_test(ties_get_average_ranks),
        cmocka_unit_test(what_does_not_vary_has_no_rho),
        cmocka_unit_test(a_left_out_group_without_which_nothing_varies_leaves_no_error),
        cmocka_unit_test(the_jackknife_is_the_one_made_from_scratch),
        cmocka_unit_test(more_documents_than_groups_share_groups),
        cmocka_unit_test(rho_is_that_of_plain_walks_to_the_last_bit),
        cmocka_unit_test(the_interval_is_fishers),
        cmocka_unit_test(bins_of_distinct_values_have_one_size),
        cmocka_unit_test(equal_values_stay_in_one_bin),
        cmocka_unit_test(no_tokens_give_no_bins_and_one_token_gives_one),
        cmocka_unit_test(bins_are_those_made_from_scratch),
        cmocka_unit_test(an_even_load_has_entropy_one_and_a_single_expert_none),
        cmocka_unit_test(pass_at_k_counts_the_draws_that_all_fail),
        cmocka_unit_test(the_mean_of_pass_at_k_has_an_error_by_problem),
        cmocka_unit_test(pass_at_k_of_too_few_samples_is_none),
        cmocka_unit_test(a_median_has_the_error_of_the_medians_of_all_samples),
        cmocka_unit_test(a_median_of_an_even_number_lies_between_two),
    };
    return cmocka_run_group_tests_name("stats", tests, NULL, NULL);
}
