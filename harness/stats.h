/*
 * stats.h: honest error bars. Tokens of one document are not independent, so every interval here
 * is by document: what varies is which documents were drawn.
 *
 * Invariant: nothing here draws random numbers; the same data give the same numbers.
 * Numbers given in are finite; documents are in ascending order, and which numbers they have does
 * not matter.
 * Leaves out: reading and writing (the caller's arrays come from the store); what goes with what
 * (stats_ranked.h).
 */
#ifndef STATS_H
#define STATS_H

#include "util.h"

#define Z95 1.959963984540054 /* the normal distribution's 97.5 % point */

struct estimate {
    double value;   /* NaN where there is none */
    double stderr_; /* NaN where fewer than two documents */
    int64_t n;      /* observations behind it */
};

/*
 * sum(y) / sum(x) over documents, its error by the delta method:
 *   var = D / (D - 1) * sum((y - value * x)^2) / sum(x)^2
 * over the D documents with x > 0; the others say nothing. The mean of tokens is the case where x
 * counts the document's tokens and y sums their values. n is sum(x). y, x: [docs], x >= 0
 */
struct estimate ratio_of_sums(const double *y, const double *x, int docs);

/* The mean over documents that count alike; its error is sd / sqrt(n). y: [n] */
struct estimate mean_of(const double *y, size_t n);

/*
 * The median, which one slow turn does not move, with the standard error of Maritz and Jarrett (1978):
 * that of the medians of all samples that could be drawn from these n with replacement, where of an
 * even number either of the two in the middle is taken for the median. The error is NaN where n is
 * below 2 or above MEDIAN_MAX. y: [n]
 */
enum { MEDIAN_MAX = 1000 };
struct estimate median_of(const double *y, size_t n);

/* 95 % interval of a correlation: Fisher's z transform of value and stderr_; NaN without an error. */
void correlation_interval(struct estimate rho, double *lo, double *hi);

/* Shannon entropy of the shares, divided by log(n): 1 where all are equal (or n is 1); NaN where all
 * are 0. v: [n], not negative. */
double normalised_entropy(const double *v, int n);

/*
 * pass@k of one problem, without bias: the probability that of n samples, c of which passed, k drawn
 * at random have one that passed. 1 - prod over i = n-c+1 .. n of (1 - k / i), and 1 where n - c < k.
 * 0 <= c <= n, 1 <= k <= n.
 */
double pass_at_k(int n, int c, int k);

/* Its mean over problems, the error by problem. NaN where a problem has fewer than k samples, or
 * there is none. n, c: [problems] */
struct estimate mean_pass_at_k(const int *n, const int *c, int problems, int k);

#endif
