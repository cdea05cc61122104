/*
 * compare.h: two sides of cells, and the documents that both have: what `compare` works on.
 *
 * A side is one cell, or several that differ in nothing but the seed; both sides then have the same
 * seeds, and a document of one seed is paired with itself under the same seed.
 *
 * Invariant: in `pairs` is each document that every cell of both sides has a value of, once, by its
 * number; what was left out is counted.
 */
#ifndef COMPARE_H
#define COMPARE_H

#include "paired.h"
#include "store/results.h"

/* What is known of each document. A score counts once, and so does what a measure of this task ("chrf",
 * "repetition") says of it; a loss is summed over the scored tokens, experts (a layer's mean) over all
 * that were logged. */
enum quantity {
    QUANTITY_SCORE,
    QUANTITY_NLL,
    QUANTITY_EXPERTS,
    QUANTITY_MEASURE, /* by its own name */
    QUANTITIES,
};
extern const char *const quantity_names[QUANTITY_MEASURE]; /* "score", ... */
/* Another name than these may be a measure's. */
enum quantity quantity_find(const char *name);
/* Is the metric known of each document, not of the cell alone: one of quantity_names, or what a measure
 * says of at least one of the cell's? Ends the program where the cell cannot be read. */
bool compare_by_document(struct store *s, const struct result *cell, const char *metric);

/* A document's row in one cell. */
struct compared {
    int64_t doc, seed;
    struct observed {
        bool there;
        double sum, weight;
    } of[QUANTITIES];
};

struct side {
    const char *word; /* as on the command line */
    struct results cells;
    struct compared *rows; /* by document, then seed; as many of each as cells have it */
    size_t nrows, rows_cap;
};

struct comparison {
    struct side a, b;
    enum quantity quantity;
    const char *metric; /* its name; borrowed */
    struct pair *pairs; /* [npairs, seeds]; seeds ascending */
    int npairs, seeds;
    size_t pairs_cap;   /* in documents */
    int only_a, only_b; /* documents that only this side has, in all of its cells */
    int without;        /* documents of both sides, without a value of the metric on one of them */
    struct strings warnings;
};

/* The rows of a side's cells, with their experts or what a measure says where `metric` asks for it. Ends
 * the program with a sentence where they cannot be read. */
void compare_load(struct store *s, const char *metric, struct side *side);
/*
 * Chooses the metric (a name of quantity_names, a measure, or NULL: the score where both sides have it, else the
 * loss) and fills in the pairs. -1 and a sentence: no such metric, or fewer than two documents.
 */
int compare_pair(struct comparison *c, const char *metric, struct buf *err) MUST_USE;
/* A side alone, as if the other were 0 everywhere: paired.a is its mean and error. As compare_pair(). */
int compare_alone(struct comparison *c, const char *metric, struct buf *err) MUST_USE;
/* Refuses sides that cannot be compared: other tasks, cells that do not belong together. */
int compare_check(const struct comparison *c, struct buf *err) MUST_USE;
/* Collects what makes the comparison doubtful. After compare_pair(). */
void compare_doubts(struct store *s, struct comparison *c);
void compare_release(struct comparison *c);

#endif
