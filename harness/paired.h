/*
 * paired.h: did one side do better than the other on the same documents? Every document was met by
 * both, so what varies is which documents were drawn: they are drawn again, both sides at once.
 *
 * Invariant: the same pairs in the same order give the same numbers, to the bit: the bootstrap's
 * generator has a fixed seed.
 * Leaves out: which documents both sides have (the caller's work), and correction for many
 * comparisons.
 */
#ifndef PAIRED_H
#define PAIRED_H

#include "stats.h"

#define PAIRED_RESAMPLES 10000

/*
 * One document: what was summed on each side, and over how much. A score: weight 1
 * (or scores of several runs, and how many they are). A loss: its sum over the document's tokens, and
 * their number. Weights are greater than 0.
 */
struct pair {
    double a, weight_a;
    double b, weight_b;
};

struct paired {
    struct estimate a, b;       /* sum / sum of weights; their errors by document */
    struct estimate difference; /* a - b; the error knows of the pairing; n: documents */
    double lo, hi;              /* 95 % percentile interval of a - b; NaN for fewer than 2 */
};

/* n may be 0: then all is NaN. */
struct paired paired_compare(const struct pair *pairs, int n);

/*
 * McNemar's exact test for scores that are 0 or 1: of the documents where the sides differ, is it a
 * fair coin whose is right? Two-sided, twice the smaller tail of the binomial, at most 1.
 */
struct mcnemar {
    int only_a, only_b; /* documents that only this side has right */
    double p;           /* 1 where the sides nowhere differ */
};
/* false: a score is neither 0 nor 1, and `out` is not set. */
bool mcnemar_exact(const struct pair *pairs, int n, struct mcnemar *out);

#endif
