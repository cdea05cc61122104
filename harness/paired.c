/*
 * paired.c: see paired.h. The statistic of the bootstrap is the difference of two ratios of sums, so
 * that a resample is four sums; with weights of 1 it is the mean of the differences.
 */
#include "paired.h"
#include "splitmix.h"

#include <math.h>

#define SEED 20251109u

/* A whole number below n; uneven by at most n / 2^32. */
static uint32_t draw(uint64_t *state, uint32_t n)
{
    return (uint32_t)(((splitmix_next(state) >> 32) * n) >> 32);
}

static double difference_of(const struct pair *sum)
{
    return sum->a / sum->weight_a - sum->b / sum->weight_b;
}

static void add_pair(struct pair *sum, const struct pair *p)
{
    sum->a += p->a;
    sum->weight_a += p->weight_a;
    sum->b += p->b;
    sum->weight_b += p->weight_b;
}

static int ascending(const void *x, const void *y)
{
    double a = *(const double *)x, b = *(const double *)y;
    return a < b ? -1 : a > b;
}

/* Between the two order statistics that the share falls between. */
static double quantile(const double *sorted, int n, double share)
{
    double at = share * (n - 1);
    int i = (int)at;
    double next = sorted[i + 1 < n ? i + 1 : i];
    return sorted[i] + (at - i) * (next - sorted[i]);
}

static void bootstrap(const struct pair *pairs, int n, double *lo, double *hi)
{
    double *d = xmalloc(PAIRED_RESAMPLES * sizeof(*d));
    uint64_t state = SEED;
    for (int r = 0; r < PAIRED_RESAMPLES; r++) {
        struct pair sum = { 0 };
        for (int i = 0; i < n; i++)
            add_pair(&sum, &pairs[draw(&state, (uint32_t)n)]);
        d[r] = difference_of(&sum);
    }
    qsort(d, PAIRED_RESAMPLES, sizeof(*d), ascending);
    *lo = quantile(d, PAIRED_RESAMPLES, 0.025);
    *hi = quantile(d, PAIRED_RESAMPLES, 0.975);
    free(d);
}

/* By the delta method, as ratio_of_sums(): a document's pull on one ratio less that on the other. */
static struct estimate estimate_difference(const struct pair *pairs, int n, const struct pair *sum)
{
    double ra = sum->a / sum->weight_a, rb = sum->b / sum->weight_b, squares = 0;
    for (int i = 0; i < n; i++) {
        const struct pair *p = &pairs[i];
        double pull =
            (p->a - ra * p->weight_a) / sum->weight_a - (p->b - rb * p->weight_b) / sum->weight_b;
        squares += pull * pull;
    }
    return (struct estimate){ .value = ra - rb,
                              .stderr_ = n < 2 ? NAN : sqrt((double)n / (n - 1) * squares),
                              .n = n };
}

/* One side alone. */
static struct estimate estimate_side(const struct pair *pairs, int n, bool b)
{
    double *y = xmalloc((size_t)n * sizeof(*y)), *x = xmalloc((size_t)n * sizeof(*x));
    for (int i = 0; i < n; i++) {
        y[i] = b ? pairs[i].b : pairs[i].a;
        x[i] = b ? pairs[i].weight_b : pairs[i].weight_a;
    }
    struct estimate e = ratio_of_sums(y, x, n);
    free(y);
    free(x);
    return e;
}

struct paired paired_compare(const struct pair *pairs, int n)
{
    struct paired out = { .difference = { NAN, NAN, 0 }, .lo = NAN, .hi = NAN };
    struct pair sum = { 0 };
    for (int i = 0; i < n; i++) {
        if (!(pairs[i].weight_a > 0 && pairs[i].weight_b > 0))
            BUG("pair %d has no weight", i);
        add_pair(&sum, &pairs[i]);
    }
    out.a = estimate_side(pairs, n, false);
    out.b = estimate_side(pairs, n, true);
    if (n > 0)
        out.difference = estimate_difference(pairs, n, &sum);
    if (n > 1)
        bootstrap(pairs, n, &out.lo, &out.hi);
    return out;
}

/* P(X <= k) of n throws of a fair coin, in logarithms so that no term underflows too early. */
static double coin_tail(int k, int n)
{
    double sum = 0;
    for (int i = 0; i <= k; i++)
        sum += exp(lgamma(n + 1.0) - lgamma(i + 1.0) - lgamma(n - i + 1.0) - n * log(2));
    return sum;
}

static bool zero_or_one(double v)
{
    return v == 0 || v == 1;
}

bool mcnemar_exact(const struct pair *pairs, int n, struct mcnemar *out)
{
    struct mcnemar m = { 0 };
    for (int i = 0; i < n; i++) {
        if (!zero_or_one(pairs[i].a) || !zero_or_one(pairs[i].b))
            return false;
        m.only_a += pairs[i].a > pairs[i].b;
        m.only_b += pairs[i].b > pairs[i].a;
    }
    int smaller = m.only_a < m.only_b ? m.only_a : m.only_b;
    m.p = fmin(1, 2 * coin_tail(smaller, m.only_a + m.only_b));
    *out = m;
    return true;
}
