/*
 * table_against.h: the comparisons of one `table --against`, or of one `plot --against`: which they are
 * (table_reference.c), and what comes of them (table_against.c).
 *
 * Invariant: both pools of a row have the same seeds, or none in common, and it is then refused when
 * it is tested.
 */
#ifndef TABLE_AGAINST_H
#define TABLE_AGAINST_H

#include "cmd/table.h"

struct row {
    struct contrast c;
    const char *metric;
};

struct against {
    struct store *store;
    const char *command; /* "table", which sentences begin with */
    const char *word;
    struct results all;  /* of the database: references need not be chosen */
    struct results said; /* those of the condition, where the word is one */
    bool condition;
    struct row *v;
    size_t len, cap;
    int unfinished; /* cells that are not done */
    int without;    /* pools that have no reference */
    int foreign;    /* and metrics that the task has not */
    const struct result *lonely;
};

/* Fills in the rows, for each of the chosen cells' routers; `all`, `said`, `word` and `condition` are
 * there. Ends the program with a sentence where there is nothing to compare. */
void against_plan(struct against *a, const struct results *chosen, const struct table_view *v);

/* All of it: the rows of the chosen cells, tested and corrected together; store, command and word are
 * there. Those that cannot be compared are left out with a warning, and where none can be, the program
 * ends. */
void against_make(struct against *a, const struct results *chosen, const struct table_view *v);
void against_release(struct against *a);

/* A training without what it says of its router; the caller frees it. */
char *training_without_router(const char *train);

#endif
