/*
 * paired.h: did one side do better than the other on the same documents? Every document was met by
 * both, so what varies is which documents were drawn: they are drawn again, both sides at once.
 *
 * With three seeds or more on each side, which seeds were drawn varies too.
 *
 * Invariant: the same pairs in the same order give the same numbers, to the bit: the bootstrap's
 * generator has a fixed seed.
 * Leaves out: which documents both sides have (the caller's work).
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
    struct estimate a, b;       /* sum / sum of weights, and their errors */
    struct estimate difference; /* a - b; the error knows of the pairing; n: documents */
    double lo, hi;              /* 95 % interval of a - b; NaN for fewer than 2 documents */
    int seeds;
    double by_document, by_seed; /* what the error of a - b is made of; by_seed NaN: not counted */
    double df;                   /* degrees of freedom of the error */
};

/* By document: the interval is the bootstrap's, of percentiles. n may be 0: then all is NaN. */
struct paired paired_compare(const struct pair *pairs, int n);

/*
 * pairs: [n, seeds]. With one or two seeds a document's are summed, and it is as above: the interval
 * is for these seeds. With PAIRED_SEEDS or more, documents and seeds both vary: the variance of the
 * difference is that by document (a document's seeds summed) plus that by seed (a seed's documents
 * summed), each by the delta method, and the interval is of Student's t with Satterthwaite's degrees
 * of freedom, so that three seeds count as three. What is neither of the document nor of the seed is
 * in both variances: the interval is rather too wide than too narrow where there is much of it. The
 * errors of a and b are made likewise.
 */
#define PAIRED_SEEDS 3
struct paired paired_compare_seeds(const struct pair *pairs, int n, int seeds);

/* P of a difference this large either way, if there were none: Student's t of value and error. NaN
 * where there is no error. */
double paired_p(const struct paired *p);

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

/* P of |t| or more, of Student's t with `df` >= 1 degrees of freedom: between two whole numbers, the
 * straight line between theirs. */
double student_p(double t, double df);
/* The t whose student_p() is `p`, which is between 0 and 1. */
double student_t(double p, double df);
/* Holm's correction of n values of p, in place; NaN stays, and does not count. */
void holm_correct(double *p, size_t n);

#endif
