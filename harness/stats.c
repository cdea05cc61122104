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
