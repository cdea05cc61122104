/*
 * table.h: what the forms of `seqtopk table` share: one row a cell (cmd_table.c), differences to a
 * reference (table_against.c), and the wide form, where the values of one field are the columns
 * (table_wide.c). All have their order and pools from table_order.c, fields and numbers from
 * table_parts.c.
 *
 * Invariant: cells that differ in the seed alone are one entry, in which each document counts once for
 * each seed; only cells that are done are in one.
 * Errors: what cannot be made ends the program with a sentence; a single comparison that cannot
 * be is left out, or its row left empty, with a warning.
 */
#ifndef CMD_TABLE_H
#define CMD_TABLE_H

#include "cmd/cmd.h"
#include "cmd/contrast.h"

enum field {
    FIELD_MODEL,
    FIELD_TASK,
    FIELD_K,
    FIELD_ROUTER,
    FIELD_TRAIN,
    FIELD_DEVICE,
    FIELD_DTYPE,
    FIELD_METRIC,
    FIELDS,
};

struct table_view {
    enum table_format format;
    const char *path;
    const char **metrics; /* as on the command line */
    size_t nmetrics, metrics_cap;
    bool wide;
    enum field by; /* where `wide` */
};

/* What stands in one place of a wide table. */
struct entry {
    const struct result *cell; /* one of its pool */
    const char *metric;
    char *router;                /* its label; table_wide() may say it by K */
    double value, error, lo, hi; /* NaN: not known; lo is NaN in a table without differences */
    int64_t documents;
    int seeds;
};

/* Sorts by model, task, K from the largest, router and its parameters, numbers in texts by their
 * value: "length=128" before "length=1024". */
void table_order(struct results *all);
/* As strcmp(), but with numbers in texts by their value. */
int natural_order(const char *a, const char *b);

/* The finished cells that differ from the i-th in the seed alone; false, and none, where that is not
 * done or an earlier one began them. The caller releases the pool. */
bool table_pool(const struct results *chosen, size_t i, struct pool *out);

/* Is it for people: few columns, and numbers with their errors? */
bool table_for_people(const struct table_view *v);
/* Of how many digits behind the point two are of the error; 4 where there is none. */
int table_places(double error);
void table_field(enum field f, const struct entry *e, struct buf *out);
/* Does the field say something else in some of the entries? */
bool table_field_varies(enum field f, const struct entry *e, size_t n);
/* As many digits as a program can want; empty where it is not known. */
void table_add_exact(struct table *t, double v);
extern const char *const table_field_names[FIELDS]; /* "model", ... */
/* A remark on the table: below it for people, in a comment for LaTeX, nowhere for programs. */
void table_remark(const struct table_view *v, const char *fmt, ...) PRINTF(2, 3);

/* The chosen cells against those that `word` means: a router's label, name and mode, or name, or a
 * condition in SQL. */
void table_against(struct store *s, const struct results *chosen, const char *word,
                   const struct table_view *v);
/* Value and error of the chosen cells, by v->by. */
void table_by(struct store *s, const struct results *chosen, const struct table_view *v);
void table_wide(const struct table_view *v, struct entry *entries, size_t n, bool differences);

#endif
