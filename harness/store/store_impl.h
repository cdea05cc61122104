/*
 * store_impl.h: what the files of the store share, and nobody else includes.
 *
 * Invariant: every statement in `stmts` is reset when no call is running.
 */
#ifndef STORE_IMPL_H
#define STORE_IMPL_H

#include "store/store.h"

#include <sys/types.h>

struct sqlite3;
struct sqlite3_stmt;

#define STORE_APPLICATION_ID 0x7371746b /* "sqtk" */
#define STORE_VERSION 5                 /* raised with every schema_N.sql */

/* What makes a database of version i + 1 from one of version i; of version 0 it is empty. */
extern const char *const schema_sql[STORE_VERSION];

/* Statements that are prepared once; their SQL is in store_write.c. */
enum stmt_id {
    ST_CELL_FIND,
    ST_CELL_ADD,
    ST_CELL_RUN,
    ST_CELL_FINISH,
    ST_CELL_COUNT,
    ST_CELL_NOTE,
    ST_TOKENIZER_ADD,
    ST_SAMPLE_DOCS,
    ST_SAMPLE_ADD,
    ST_SAMPLE_SCORE,
    ST_TOKEN_ADD,
    ST_LOAD_ADD,
    ST_METRIC_SET,
    ST_BIN_SET,
    ST_HISTOGRAM_SET,
    ST_TOKEN_EXPERTS_SET,
    ST_METRIC_CLEAR,
    ST_BIN_CLEAR,
    ST_HISTOGRAM_CLEAR,
    ST_TOKEN_EXPERTS_CLEAR,
    ST_TEXT_ADD,
    ST_TRAINING_ADD,
    ST_TRAIN_STEP_SET,
    ST_TRAIN_HELDOUT_SET,
    ST_PROCESS_SET,
    ST_PROCESS_CLEAR,
    ST_RECIPE_ADD,
    ST_RECIPE_FIND,
    ST_RUN_ADD,
    ST_RUN_FIND,
    ST_RUN_ENGINE,
    ST_RUN_COUNT,
    ST_RUN_END,
    ST_RUN_CELL,
    ST_PLAN_CLEAR,
    ST_PLAN_ADD,
    ST_OVERLAP_ADD,
    ST_ENTROPY_ADD,
    ST_POSITION_SET,
    ST_KIND_SET,
    ST_POSITION_CLEAR,
    ST_KIND_CLEAR,
    ST_SOURCE_ADD,
    ST_CELL_SOURCE_ADD,
    ST_COUNT
};
extern const char *const stmt_sql[ST_COUNT];

/* What is known of the handle's run, and what the open transaction adds to it. */
struct store_tally {
    int64_t n, recipe;                  /* its rows; 0: there is none */
    double from;                        /* when it began */
    bool moved;                         /* something is written that shows that it is alive */
    int64_t samples, tokens;            /* that are not in its row yet */
    double trains_from, share, trained; /* see store_run_trains() */
};

struct store {
    struct sqlite3 *db;
    char *path;
    enum store_mode mode;
    int lock;         /* file descriptor for flock(), of STORE_WRITE; else -1 */
    int busy_seconds; /* how long others are waited for */
    dev_t device;     /* which file it is, so that one put in its place is noticed */
    ino_t inode;
    bool in_transaction;     /* between store_begin and store_commit */
    struct store_turn *turn; /* NULL: nobody shares the database */
    bool has_turn;
    struct sqlite3_stmt *stmts[ST_COUNT];
    // The cell that was used last: nearly every call is for the same one as the call before.
    char *cell_id;
    int64_t cell_n;
    int cell_layers, cell_experts;
    enum cell_status cell_status;
    struct store_tally run;
};

/* Puts what SQLite complains about, `rc`, into one sentence; returns -1. */
int store_fail(struct store *s, struct buf *err, int rc);

/* What the sample's selections were compared with, and the entropies of its experts' tokens. */
int store_sample_compared(struct store *s, const struct store_sample *p, struct buf *err) MUST_USE;

/* Runs what brings the schema from `version` to ours, and says so in the file. */
int store_schema_add(struct store *s, int version, struct buf *err) MUST_USE;

/*
 * store_file.c. Refuses what is no regular file. For STORE_WRITE a file that is not there is made, with
 * our schema in it: it is there whole or not at all, and where two programs make it, both find the one
 * that was first.
 */
int store_file_check(const char *path, enum store_mode mode, struct buf *err) MUST_USE;
/*
 * Refuses an open file that was cut short: SQLite takes a last page that is not whole for one. A
 * writer that moves its log into the file just now looks the same for a moment, so it is looked at
 * several times.
 */
int store_file_whole(struct store *s, struct buf *err) MUST_USE;
/* Is the file all that there is: no log or journal beside it has a part of the database? */
bool store_file_alone(const char *path);

/* The prepared statement, reset and with nothing bound; NULL on failure. */
struct sqlite3_stmt *store_stmt(struct store *s, enum stmt_id id, struct buf *err) MUST_USE;

/*
 * Waits until no other process of the run writes, and lets the next one. Nothing is done where the
 * turn is ours already, or where nobody shares the database.
 */
void store_turn_take(struct store *s);
void store_turn_give(struct store *s);

/* Runs a statement that gives no rows. */
int store_step(struct store *s, struct sqlite3_stmt *st, struct buf *err) MUST_USE;

/* Runs SQL text without arguments or rows. */
int store_exec(struct store *s, const char *sql, struct buf *err) MUST_USE;

/* NaN and NULL become null. */
void store_bind_double(struct sqlite3_stmt *st, int i, double v);
void store_bind_text(struct sqlite3_stmt *st, int i, const char *s);

/*
 * A write of several statements is a transaction of its own, or a part of the one that is open: begin,
 * and in any case end, with what came of it. A write of one statement only checks that an open
 * transaction is still there.
 */
int store_write_begin(struct store *s, struct buf *err) MUST_USE;
int store_write_end(struct store *s, int rc, struct buf *err) MUST_USE;
int store_write_check(struct store *s, struct buf *err) MUST_USE;

/* store_run.c. A sample of the cell in use, of so many tokens, is added. */
int store_run_count(struct store *s, int64_t tokens, struct buf *err) MUST_USE;
/* Before a commit: what came of the transaction goes into the run's row. */
int store_run_flush(struct store *s, struct buf *err) MUST_USE;
/* After a rollback: nothing came of it. */
void store_run_forget(struct store *s);

/* Looks a cell up and remembers it; store_cell_use() fails where it is not there. */
int store_cell_look(struct store *s, const char *cell_id, bool *found, struct buf *err) MUST_USE;
int store_cell_use(struct store *s, const char *cell_id, struct buf *err) MUST_USE;

#endif
