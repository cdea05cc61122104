/*
 * stats_ranked.h: how one number of each token goes with another one: rank correlation, and means
 * within quantiles. The tokens are put into the order of x once, for as many y as there are: a token's
 * entropy is one, its experts are many, one number for each layer.
 *
 * Invariant: as in stats.h: every error is by document, and nothing draws random numbers.
 */
#ifndef STATS_RANKED_H
#define STATS_RANKED_H

#include "stats.h"

struct ranked;

/* Copies what it needs. x: [n], finite; doc: [n], ascending; n may be 0. */
struct ranked *ranked_new(const float *x, const int32_t *doc, size_t n);
void ranked_free(struct ranked *r);

/*
 * Spearman's rank correlation of x and y (average ranks for ties), over all tokens; NaN where one
 * of them does not vary. The error is by a delete-a-group jackknife over documents, ranks made anew
 * each time: with G groups, var = (G - 1) / G * sum((rho without group g - their mean)^2). The d-th
 * document is in group d mod G; G is the number of documents, at most JACKKNIFE_GROUPS.
 * y: [n], finite, in the order in which x was given.
 */
#define JACKKNIFE_GROUPS 200
struct estimate ranked_spearman(const struct ranked *r, const float *y);

/*
 * Cuts tokens into `bins` bins of equal size by x (quantiles; equal values stay together, where
 * the middle one of them falls, so a bin may be empty and is then left out) and gives y's mean in
 * each, its standard deviation (of n - 1; NaN for one token) and its error by document, as in
 * ratio_of_sums. Returns the number of bins written to `out`. y: as above.
 */
struct bin {
    double lo, hi; /* smallest and largest x in it */
    double x;      /* mean of x */
    int64_t n;
    double mean, sd, se;
};
int ranked_bins(const struct ranked *r, const float *y, int bins, struct bin *out);

#endif
