/*
 * compare.h: two sides of cells, and the documents that both have: what `compare` works on.
 *
 * A side is one cell, or several that differ in nothing but the seed; both sides then have the same
 * seeds, and a document's values are summed over them, and so are its weights. So a document is one observation, however many seeds there are.
 *
 * Invariant: in `pairs` is each document that every cell of both sides has a value of, once, by its
 * number; what was left out is counted.
 */
#ifndef COMPARE_H
#define COMPARE_H

#include "paired.h"
#include "store/results.h"

/* A document's row in one cell. */
struct compared {
    int64_t doc;
    bool has_score, has_nll;
    double score, nll;
    double nll_tokens;
};

struct side {
    const char *word; /* as on the command line */
    struct results cells;
    struct compared *rows; /* by document; as many of each as there are cells that have it */
    size_t nrows, rows_cap;
};

struct comparison {
    struct side a, b;
    bool score; /* the metric; else nll */
    struct pair *pairs;
    int npairs;
    size_t pairs_cap;
    int only_a, only_b; /* documents that only this side has, in all of its cells */
    int without;        /* documents of both sides, without a value of the metric on one of them */
    struct strings warnings;
};

/* The rows of a side's cells. Ends the program with a sentence where they cannot be read. */
void compare_load(struct store *s, struct side *side);
/*
 * Chooses the metric ("score", "nll", or NULL: the score where both sides have it) and fills in the
 * pairs. -1 and a sentence: no such metric, or fewer than two documents.
 */
int compare_pair(struct comparison *c, const char *metric, struct buf *err) MUST_USE;
/* Refuses sides that cannot be compared: other tasks, cells that do not belong together. */
int compare_check(const struct comparison *c, struct buf *err) MUST_USE;
/* Collects what makes the comparison doubtful. After compare_pair(). */
void compare_doubts(struct store *s, struct comparison *c);
void compare_release(struct comparison *c);

#endif
