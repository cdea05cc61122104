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
    struct paired out = {
        .difference = { NAN, NAN, 0 }, .lo = NAN, .hi = NAN, .seeds = 1, .by_seed = NAN, .df = n - 1
    };
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
    out.by_document = out.difference.stderr_;
    return out;
}

/* ---- documents and seeds ---- */

enum of {
    OF_A,
    OF_B,
    OF_DIFFERENCE,
};

/* How much this document of this seed draws a ratio, or the difference of both, away from itself. */
static double pull_of(const struct pair *p, const struct pair *sum, enum of of)
{
    double a = (p->a - sum->a / sum->weight_a * p->weight_a) / sum->weight_a;
    double b = (p->b - sum->b / sum->weight_b * p->weight_b) / sum->weight_b;
    return of == OF_A ? a : of == OF_B ? b : a - b;
}

/* The variance over the rows of pulls, those of a row summed: `rows` of them, `step` apart. */
static double variance_over(const double *pull, int rows, int row_step, int columns,
                            int column_step)
{
    double squares = 0;
    for (int r = 0; r < rows; r++) {
        double sum = 0;
        for (int c = 0; c < columns; c++)
            sum += pull[(size_t)r * (size_t)row_step + (size_t)c * (size_t)column_step];
        squares += sum * sum;
    }
    return (double)rows / (rows - 1) * squares;
}

/* The error of one of the three, and of what it is made. Returns its degrees of freedom. */
static double two_way(const struct pair *pairs, int n, int seeds, enum of of, double *by_document,
                      double *by_seed)
{
    size_t len = (size_t)n * (size_t)seeds;
    double *pull = xmalloc(len * sizeof(*pull));
    struct pair sum = { 0 };
    for (size_t i = 0; i < len; i++)
        add_pair(&sum, &pairs[i]);
    for (size_t i = 0; i < len; i++)
        pull[i] = pull_of(&pairs[i], &sum, of);
    double d = variance_over(pull, n, seeds, seeds, 1), s = variance_over(pull, seeds, 1, n, seeds);
    free(pull);
    *by_document = sqrt(d);
    *by_seed = sqrt(s);
    if (!(d + s > 0))
        return n - 1;
    return fmax(1, (d + s) * (d + s) / (d * d / (n - 1) + s * s / (seeds - 1)));
}

struct paired paired_compare_seeds(const struct pair *pairs, int n, int seeds)
{
    struct pair *summed = xcalloc((size_t)n + 1, sizeof(*summed));
    double d, s;
    for (int i = 0; i < n; i++)
        for (int k = 0; k < seeds; k++)
            add_pair(&summed[i], &pairs[(size_t)i * (size_t)seeds + (size_t)k]);
    struct paired out = paired_compare(summed, n);
    free(summed);
    out.seeds = seeds;
    if (seeds < PAIRED_SEEDS || n < 2)
        return out;
    two_way(pairs, n, seeds, OF_A, &d, &s);
    out.a.stderr_ = hypot(d, s);
    two_way(pairs, n, seeds, OF_B, &d, &s);
    out.b.stderr_ = hypot(d, s);
    out.df = two_way(pairs, n, seeds, OF_DIFFERENCE, &out.by_document, &out.by_seed);
    out.difference.stderr_ = hypot(out.by_document, out.by_seed);
    double reach = student_t(0.05, out.df) * out.difference.stderr_;
    out.lo = out.difference.value - reach;
    out.hi = out.difference.value + reach;
    return out;
}

double paired_p(const struct paired *p)
{
    if (p->difference.stderr_ > 0)
        return student_p(p->difference.value / p->difference.stderr_, p->df);
    return p->difference.value == 0 ? 1 : NAN;
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
