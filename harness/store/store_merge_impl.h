/*
 * store_merge_impl.h: what store_check*.c and store_merge*.c share, and nobody else includes.
 *
 * Invariant: in every statement here the first column of a row that belongs to a cell or a training is
 * not read: its number is another in each database, and the id stands for it.
 */
#ifndef STORE_MERGE_IMPL_H
#define STORE_MERGE_IMPL_H

#include "store/store_check.h"
#include "store/store_impl.h"
#include "store/store_merge.h"

/* ---- store_check.c ---- */

struct store_input {
    struct store *store; /* in a read transaction */
    int version;         /* of its schema; a table of a later one is empty */
    int64_t left;        /* of what SQLite may still do, in thousands of its steps */
};

/* A statement of it; NULL: it failed. */
struct sqlite3_stmt *input_prepare(struct store_input *in, const char *sql,
                                   struct buf *err) MUST_USE;
/* 1: a row, 0: no more, -1: failed. */
int input_next(struct store_input *in, struct sqlite3_stmt *st, struct buf *err) MUST_USE;

/* ---- store_check_rows.c ---- */

/* Does every row stand for something that we might have written? */
int input_check_rows(struct store_input *in, struct buf *err) MUST_USE;

/* ---- store_merge_rows.c ---- */

/* A table whose rows belong to a cell or a training, which its first column says. */
struct merge_table {
    const char *name;
    const char *owner;    /* its first column */
    int since;            /* the schema's version */
    int nkeys;            /* of its columns: they tell its rows apart, and come first */
    const char *words[3]; /* what a key is called in a sentence */
    int ncolumns;         /* without the owner */
    int ncompared;        /* the ones behind are no numbers: seconds */
    double tolerance;     /* relative; 0: the same to the bit */
    const char *columns;  /* as SQL has them */
};

enum merge_table_id {
    MT_CELL, /* what a cell is; for comparing alone */
    MT_SAMPLE,
    MT_TOKEN,
    MT_LOAD,
    MT_OVERLAP,
    MT_ENTROPY,
    MT_METRIC,
    MT_BIN,
    MT_HISTOGRAM,
    MT_TOKEN_EXPERTS,
    MT_POSITION,
    MT_KIND, /* the last of a cell */
    MT_STEP,
    MT_HELDOUT,
    MT_COUNT
};
extern const struct merge_table merge_tables[MT_COUNT];

struct merge_pair {
    struct store *out;
    struct store_input *in;
    struct merged *m;
};

/* How two databases' rows of one owner are compared. */
enum merge_rule {
    RULE_BOTH,  /* rows that both have are the same */
    RULE_SCORE, /* so, but where one has no score yet, the other may have one */
    RULE_ALL,   /* and both have the same rows */
};

/*
 * Compares the rows of owner `out_n` with those of `in_n`. `who` begins the sentence: "cell 3f2a".
 * common: how many rows both have; may be NULL.
 */
int merge_compare(struct merge_pair *p, enum merge_table_id table, enum merge_rule rule,
                  int64_t out_n, int64_t in_n, const char *who, int64_t *common,
                  struct buf *err) MUST_USE;

/* The rows of one owner are put in; what a row that is there already does, `clash` says. */
int merge_copy(struct merge_pair *p, enum merge_table_id table, const char *clash, int64_t out_n,
               int64_t in_n, struct buf *err) MUST_USE;

/*
 * Every row that `select` gives of the input is given to `insert`, whose ?1 is `out_n` and whose next
 * arguments are the row's columns. `select` may have ?1: `in_n`.
 */
int merge_feed(struct merge_pair *p, const char *select, const char *insert, int64_t out_n,
               int64_t in_n, struct buf *err) MUST_USE;

/* A statement of ours that gives no rows, with numbers for its arguments. */
int merge_do(struct merge_pair *p, const char *sql, const int64_t *args, int nargs,
             struct buf *err) MUST_USE;

/* What fails in the database that is merged into: no other input is tried. */
int merge_out_fail(struct merge_pair *p, struct buf *err, int rc);

/* ---- store_merge_cells.c ---- */

/* What becomes of one of the input's cells. */
enum merge_action {
    ACT_ADD,     /* it is new */
    ACT_KEEP,    /* ours has all of it, or more */
    ACT_REPLACE, /* theirs has all of ours, or more */
    ACT_UNITE,   /* two unfinished halves, of other documents */
};

struct merge_cell {
    char *id;
    int64_t in_n, out_n; /* its numbers there and here */
    int64_t in_samples, out_samples, common;
    int in_scored, out_scored; /* samples that have a score */
    enum cell_status in_status, out_status;
    enum merge_action action;
};

/* Compares an input's cells with ours, and decides; [n] of them, to be freed also after -1. */
int merge_cells_decide(struct merge_pair *p, struct merge_cell **cells, size_t *n,
                       struct buf *err) MUST_USE;
void merge_cells_free(struct merge_cell *cells, size_t n);
/* Does it, in a transaction of its own. */
int merge_cell_write(struct merge_pair *p, const struct merge_cell *c, struct buf *err) MUST_USE;

#endif
