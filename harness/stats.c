/*
 * stats.c: see stats.h.
 */
#include "stats.h"

#include <limits.h>
#include <math.h>

static struct estimate estimate_make(double value, double se, int64_t n)
{
    return (struct estimate){ .value = value, .stderr_ = se, .n = n };
}

struct estimate ratio_of_sums(const double *y, const double *x, int docs)
{
    double sum_y = 0, sum_x = 0, squares = 0;
    int used = 0;
    for (int d = 0; d < docs; d++) {
        if (!(x[d] > 0))
            continue;
        sum_y += y[d];
        sum_x += x[d];
        used++;
    }
    if (used == 0)
        return estimate_make(NAN, NAN, 0);
    double value = sum_y / sum_x;
    for (int d = 0; d < docs; d++) {
        double rest = x[d] > 0 ? y[d] - value * x[d] : 0;
        squares += rest * rest;
    }
    double se = used < 2 ? NAN : sqrt((double)used / (used - 1) * squares) / sum_x;
    return estimate_make(value, se, llround(sum_x));
}

struct estimate mean_of(const double *y, size_t n)
{
    if (n > INT_MAX)
        BUG("%zu documents", n);
    double *ones = xcalloc(n, sizeof(*ones));
    for (size_t i = 0; i < n; i++)
        ones[i] = 1;
    struct estimate mean = ratio_of_sums(y, ones, (int)n);
    free(ones);
    return mean;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* The probability that of n numbers drawn from [0, 1] at least m are at most x. */
static double at_least(int n, int m, double x)
{
    double sum = 0;
    if (x <= 0 || x >= 1)
        return x >= 1;
    for (int j = m; j <= n; j++)
        sum += exp(lgamma(n + 1.0) - lgamma(j + 1.0) - lgamma(n - j + 1.0) + j * log(x) +
                   (n - j) * log1p(-x));
    return sum;
}

/* How likely the m-th smallest of n draws with replacement from n values is the i-th of these. */
static double drawn(int n, int m, int i)
{
    return at_least(n, m, (double)i / n) - at_least(n, m, (i - 1.0) / n);
}

struct estimate median_of(const double *y, size_t n)
{
    if (n == 0)
        return estimate_make(NAN, NAN, 0);
    const size_t low = (n + 1) / 2, high = n / 2 + 1;
    double *sorted = xmalloc(n * sizeof(*sorted)), mean = 0, squares = 0;
    for (size_t i = 0; i < n; i++)
        sorted[i] = y[i];
    qsort(sorted, n, sizeof(*sorted), by_value);
    const double value = (sorted[low - 1] + sorted[high - 1]) / 2;
    for (size_t i = 1; i <= n && n <= MEDIAN_MAX; i++) {
        double w = drawn((int)n, (int)low, (int)i) + drawn((int)n, (int)high, (int)i);
        double rest = sorted[i - 1] - value;
        w /= 2;
        mean += w * rest;
        squares += w * rest * rest;
    }
    free(sorted);
    const bool known = n >= 2 && n <= MEDIAN_MAX;
    return estimate_make(value, known ? sqrt(fmax(squares - mean * mean, 0)) : NAN, (int64_t)n);
}

void correlation_interval(struct estimate rho, double *lo, double *hi)
{
    *lo = *hi = NAN;
    if (isnan(rho.value) || isnan(rho.stderr_))
        return;
    if (fabs(rho.value) >= 1) {
        *lo = *hi = rho.value;
        return;
    }
    double z = atanh(rho.value);
    double se = rho.stderr_ / (1 - rho.value * rho.value);
    *lo = tanh(z - Z95 * se);
    *hi = tanh(z + Z95 * se);
}

double normalised_entropy(const double *v, int n)
{
    double total = 0, h = 0;
    for (int i = 0; i < n; i++)
        total += v[i];
    if (!(total > 0))
        return NAN;
    for (int i = 0; i < n; i++)
        if (v[i] > 0)
            h -= v[i] / total * log(v[i] / total);
    return n == 1 ? 1 : h / log(n);
}

double pass_at_k(int n, int c, int k)
{
    if (c < 0 || c > n || k < 1 || k > n)
        BUG("pass@%d of %d samples, %d of which passed", k, n, c);
    double none = 1;
    // Where fewer than k failed, i comes by k and leaves 0.
    for (int i = n - c + 1; i <= n; i++)
        none *= 1 - (double)k / i;
    return 1 - none;
}

struct estimate mean_pass_at_k(const int *n, const int *c, int problems, int k)
{
    for (int p = 0; p < problems; p++)
        if (n[p] < k)
            return estimate_make(NAN, NAN, problems);
    double *passed = xcalloc((size_t)problems, sizeof(*passed));
    for (int p = 0; p < problems; p++)
        passed[p] = pass_at_k(n[p], c[p], k);
    struct estimate mean = mean_of(passed, (size_t)problems);
    free(passed);
    return mean;
}
