/*
 * paired_test.c: Student's t and Holm's correction; see paired.h.
 */
#include "paired.h"

#include <math.h>

#define PI 3.14159265358979323846
#define DF_NORMAL 100000 /* from here on the normal distribution is as good */

/*
 * The finite sums over the angle theta = atan(t / sqrt(df)): P(|T| < t) is, for odd df,
 *   2/pi (theta + sin (cos + 2/3 cos^3 + 2/3 4/5 cos^5 + ...)), up to cos^(df - 2),
 * and for even df
 *   sin (1 + 1/2 cos^2 + 1/2 3/4 cos^4 + ...), up to cos^(df - 2).
 */
static double whole_p(double t, int64_t df)
{
    double theta = atan(t / sqrt((double)df)), c = cos(theta), term, sum = 0;
    bool odd = df % 2;
    term = odd ? c : 1;
    for (int64_t i = odd ? 1 : 0; i <= df - 2; i += 2) {
        sum += term;
        term *= c * c * (double)(i + 1) / (double)(i + 2);
    }
    double inside = odd ? 2 / PI * (theta + sin(theta) * sum) : sin(theta) * sum;
    return inside < 1 ? 1 - inside : 0;
}

double student_p(double t, double df)
{
    if (isnan(t) || !(df >= 1))
        return NAN;
    t = fabs(t);
    if (df >= DF_NORMAL)
        return erfc(t / sqrt(2));
    int64_t below = (int64_t)df;
    double part = df - (double)below, p = whole_p(t, below);
    return part > 0 ? (1 - part) * p + part * whole_p(t, below + 1) : p;
}

double student_t(double p, double df)
{
    double lo = 0, hi = 1;
    if (!(df >= 1) || !(p > 0 && p <= 1))
        return NAN;
    while (student_p(hi, df) > p && hi < 1e300)
        hi *= 2;
    for (int i = 0; i < 100 && hi - lo > 1e-13 * hi; i++) {
        double middle = lo + (hi - lo) / 2;
        if (student_p(middle, df) > p)
            lo = middle;
        else
            hi = middle;
    }
    return hi;
}

void holm_correct(double *p, size_t n)
{
    size_t tests = 0;
    for (size_t i = 0; i < n; i++)
        tests += !isnan(p[i]);
    bool *done = xcalloc(n + 1, sizeof(*done));
    double least = 0; // what a larger p was corrected to cannot be less
    for (size_t rank = 0; rank < tests; rank++) {
        size_t best = n;
        for (size_t i = 0; i < n; i++)
            if (!done[i] && !isnan(p[i]) && (best == n || p[i] < p[best]))
                best = i;
        done[best] = true;
        least = fmax(least, fmin(1, p[best] * (double)(tests - rank)));
        p[best] = least;
    }
    free(done);
}
