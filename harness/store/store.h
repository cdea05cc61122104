/*
 * store.h: the results database. The only files that include SQLite are store*.c:
 * store_open.c and store_file.c open it; store_cell.c, store_write.c, store_compared.c, store_run.c and
 * store_training.c write, in store.c's transactions; store_read.c reads; store_share.c is for a run of
 * several processes; schema*.sql is what is in it.
 *
 * The tables are private and may change with the schema's version; the views v_cells, v_metrics,
 * v_samples, v_tokens, v_entropy_bins, v_expert_load, v_trainings, v_training_steps,
 * v_training_heldout, v_token_experts, v_token_kinds, v_position_bins, v_overlap, v_recipes, v_runs, v_cell_runs and v_sources are public and
 * stable, and any SQLite client can read them. WAL mode; a sample is committed as soon as it exists.
 *
 * Invariant: a cell is `done` only when all of its samples, metrics and bins are in the database;
 * a call that fails leaves nothing of its own behind.
 * Errors: -1 and a sentence that names the database's file.
 * Leaves out: what the numbers mean (summary.h), and moving cells between databases.
 */
#ifndef STORE_H
#define STORE_H

#include "util.h"

enum store_mode {
    STORE_READ,  /* must exist; nothing can be written through it */
    STORE_WRITE, /* made where it does not exist, whole or not at all */
};

/*
 * The name of a task whose numbers are times begins so, and no other's does, whatever its recipe calls
 * it. Nobody measures times twice alike, so where databases are merged they are not compared.
 */
#define STORE_TIMED "speed:"

#define STORE_BUSY_SECONDS 5 /* how long another writer is waited for */
/* And readers, in a place that machines share: a commit waits there until all of them are done. */
#define STORE_READERS_SECONDS 60

struct store;

/*
 * Refuses a file that is not ours or was cut short, a newer schema, a read-only place for STORE_WRITE.
 * Who copies the file alone has a database, if not what was committed last. Reading works
 * while another program writes, and where the file or its folder is read-only.
 *
 * An older schema is brought up to ours when it is opened for writing, all at once or not at all, and
 * keeps everything; one that is opened for reading stays as it is, and its new views are empty.
 */
struct store *store_open(const char *path, enum store_mode mode, struct buf *err) MUST_USE;
void store_close(struct store *s); /* rolls back what was not committed */
const char *store_path(const struct store *s);

/*
 * Says that another run is at work on the database, instead of meeting it half-way. One that was
 * killed may take a moment to end, and is waited for that long.
 */
int store_lock(struct store *s, struct buf *err) MUST_USE;
/*
 * For a database that one run has after the other, such as a shard's: waits, before it is opened, until
 * no run is at work on it. -1: one still is after so many seconds.
 */
int store_await(const char *path, double seconds, struct buf *err) MUST_USE;

/*
 * A run of several processes. Each opens the database for itself, after the fork: SQLite's handles
 * must not be taken through one. They share a turn, made before the fork, and only who has it writes:
 * so none of them waits for another's locks in vain, however many there are. Whoever is killed while
 * it has the turn loses it to the next.
 */
struct store_turn;
struct store_turn *store_turn_new(struct buf *err) MUST_USE;
void store_turn_free(struct store_turn *t);
void store_share(struct store *s, struct store_turn *t); /* borrowed until the store is closed */
/*
 * The lock of store_lock() goes with this descriptor: as long as any process has it open, in a copy
 * that was sent to it, no other run begins.
 */
int store_lock_fd(const struct store *s);
/* Is a run at work on the database at `path`? For who only looks. */
bool store_is_locked(const char *path);
/* What each process of the run does, for `status`: number n's, and none's. */
int store_process_set(struct store *s, int n, int64_t pid, const char *device, const char *doing,
                      struct buf *err) MUST_USE;
int store_processes_clear(struct store *s, struct buf *err) MUST_USE;

/* One cell, as v_cells shows it; strings are borrowed. */
struct store_cell {
    const char *id, *sweep, *model, *router, *mode, *params, *train, *task, *device, *dtype;
    const char
        *tokenizer;      /* its hash, for store_token_text; NULL: the model's name stands for it */
    int k, min, max;     /* -1 in min or max is null in the view; max is the largest bound of any
                            layer, and where they differ `params` has all: "max":[3,4,64,6] */
    int layers, experts; /* both 0: no model was run, texts that were given are scored */
    int64_t seed;
};

enum cell_status {
    CELL_NEW, /* not in the database */
    CELL_UNFINISHED,
    CELL_DONE,
    CELL_FAILED,
};

/*
 * Puts the cell in (or finds it) as `unfinished`; `was` gets what it was before. A cell that is done
 * stays so, untouched; one that failed loses its error and goes on with the samples that it has.
 */
int store_cell_begin(struct store *s, const struct store_cell *c, enum cell_status *was,
                     struct buf *err) MUST_USE;
int store_cell_status(struct store *s, const char *cell_id, enum cell_status *out,
                      struct buf *err) MUST_USE;
/* Sets present[doc] for each of the cell's samples with doc < n. */
int store_cell_samples(struct store *s, const char *cell_id, bool *present, size_t n,
                       struct buf *err) MUST_USE;
/*
 * `error` is NULL unless status is CELL_FAILED; `seconds` is added to what was measured before.
 * CELL_UNFINISHED: only adds the seconds, for a run that was interrupted.
 */
int store_cell_finish(struct store *s, const char *cell_id, enum cell_status status,
                      const char *error, double seconds, struct buf *err) MUST_USE;

/* One sentence on how the cell was computed, v_cells.note; it takes the place of an earlier one. */
int store_cell_note(struct store *s, const char *cell_id, const char *note,
                    struct buf *err) MUST_USE;

/* One sample; arrays are borrowed, NULL where there is nothing. A doc is added once only. */
struct store_sample {
    const char *cell_id;
    int doc;
    int prompt_tokens, output_tokens;
    const char *stop_reason, *output, *extracted, *error;
    double nll; /* sum over `nll_tokens` tokens, nats */
    int nll_tokens;
    double score;               /* NaN: none */
    int tokens;                 /* T; 0 where tokens are not logged */
    const int32_t *ids;         /* [T] */
    const float *token_nll;     /* [T]; NaN becomes null */
    const float *entropy;       /* [T] */
    const uint16_t *experts;    /* [layers, T]: how many experts each token took */
    const int32_t *load_tokens; /* [layers, N]: pairs of this sample; NULL: none */
    const double *load_weight;  /* [layers, N]: summed weights */
    const double
        *load_entropy; /* [layers, N]: summed entropies of the tokens that came; NULL: none */
    int nothers;       /* routers that the selection was compared with */
    const char *const *others; /* [nothers]: their names */
    const int64_t *overlap; /* [nothers, layers, 3]: pairs of both, of the router, of the other */
};

/*
 * Between begin and commit all writes are one transaction: all or nothing. Outside of one, each
 * call is its own. It holds the lock against other writers, so do the slow work before it. A commit
 * fails where the file was removed or replaced meanwhile: what went there would be lost.
 */
int store_begin(struct store *s, struct buf *err) MUST_USE;
int store_commit(struct store *s, struct buf *err) MUST_USE; /* failed: rolled back */
void store_rollback(struct store *s); /* does nothing outside of a transaction */
bool store_in_transaction(const struct store *s);

int store_sample_add(struct store *s, const struct store_sample *sample, struct buf *err) MUST_USE;
/* What came of scoring a sample's output, where that is done after the sample was added. */
int store_sample_score(struct store *s, const char *cell_id, int doc, double score,
                       const char *extracted, struct buf *err) MUST_USE;
int store_metric_set(struct store *s, const char *cell_id, const char *metric, double value,
                     double stderr_, int64_t n, struct buf *err) MUST_USE; /* NaN becomes null */

/* One bin of predictive entropy. `layer` -1: the mean over layers (null in the view). */
struct store_bin {
    int layer, bin;
    double lo, hi;       /* nats */
    double entropy_mean; /* not in the public view */
    int64_t tokens;
    double experts_mean, experts_sd;
    double experts_se; /* of the mean, by document; not in the public view */
};
int store_bin_set(struct store *s, const char *cell_id, const struct store_bin *b,
                  struct buf *err) MUST_USE;

/* How many tokens took `experts` experts in `layer`: for the figure, not in a public view. */
int store_histogram_set(struct store *s, const char *cell_id, int layer, int experts,
                        int64_t tokens, struct buf *err) MUST_USE;

/* What all occurrences of one token drew, as v_token_experts shows it. */
struct store_token_experts {
    int32_t id;
    int64_t tokens;  /* occurrences */
    int64_t experts; /* summed over them and the layers */
    double entropy;  /* mean, nats; NaN: none is known */
};
int store_token_experts_set(struct store *s, const char *cell_id,
                            const struct store_token_experts *t, struct buf *err) MUST_USE;

/* Tokens from position `lo` to before `hi`, as v_position_bins shows them; NaN becomes null. */
struct store_position {
    int bin;
    int64_t lo, hi, tokens, scored;
    double nll_mean, nll_se, experts_mean, experts_se, used_share, differ;
};
int store_position_set(struct store *s, const char *cell_id, const struct store_position *p,
                       struct buf *err) MUST_USE;

/* Tokens of one kind, as v_token_kinds shows them; NaN becomes null. */
struct store_kind {
    const char *kind;
    int64_t tokens;
    double experts_mean, experts_se, entropy_mean, entropy_se;
};
int store_kind_set(struct store *s, const char *cell_id, const struct store_kind *k,
                   struct buf *err) MUST_USE;

/* Takes a cell's metrics, bins, histogram and experts by token out, so that they can be made anew. */
int store_summary_clear(struct store *s, const char *cell_id, struct buf *err) MUST_USE;

/*
 * A run of the program, as v_runs shows it; strings are borrowed. Whatever is added through a handle
 * that has a run counts as the run's: its samples, tokens and seconds are a part of each transaction,
 * so that they are what they were at the last commit, whatever ends the run.
 */
struct store_run {
    const char *id; /* random, so that no other run has it */
    double from;    /* now_seconds() at its start */
    const char *sweep, *command, *version, *revision, *device, *host;
    const char *shard;                     /* NULL: it does all of the sweep */
    const char *recipe_path, *recipe_text; /* NULL: there is no recipe */
};
int store_run_begin(struct store *s, const struct store_run *run, struct buf *err) MUST_USE;
/* The handle of another process of the same run, on the same machine. */
int store_run_join(struct store *s, const char *id, double from, struct buf *err) MUST_USE;
/*
 * What the run computes with, which is known when the engine is open, and `device`, which stands
 * beside those that are there; "": nothing is known. Without a run nothing happens.
 */
int store_run_engine(struct store *s, const char *libtorch, const char *blas, const char *device,
                     const char *driver, struct buf *err) MUST_USE;
/*
 * From here on a model is trained, or was: seconds that are no measure of how fast samples come.
 * share: of the run's processes; 1 where there is one, and 0 when it is over.
 */
void store_run_trains(struct store *s, double share);
/* outcome: "done", "failed" or "interrupted". The handle has no run any more. */
int store_run_end(struct store *s, const char *outcome, struct buf *err) MUST_USE;

/* A cell that the sweep of the handle's run is to have in the end; strings are borrowed. */
struct store_plan {
    const char *id, *model, *label, *train, *task;
    int k;
    int64_t samples, tokens;
};
/* In the place of the sweep's former plan; the run has a recipe. */
int store_plan_set(struct store *s, const struct store_plan *v, size_t n, struct buf *err) MUST_USE;

/* What was read for a cell, as v_sources shows it. */
struct store_source {
    const char *kind, *name, *hash;
};
/* Of a cell that begins; and the handle's run, if any, is one of those that computed it. */
int store_cell_sources(struct store *s, const char *cell_id, const struct store_source *v, size_t n,
                       struct buf *err) MUST_USE;

/* One training, as v_trainings shows it; strings are borrowed. */
struct store_training {
    const char *id, *sweep, *model, *label;
    const char *settings; /* JSON object of what made it */
};
/* Puts it in, or finds it as it was put in first. */
int store_training_begin(struct store *s, const struct store_training *t, struct buf *err) MUST_USE;
/* A step of it, as v_training_steps shows it. One that is there is replaced; NaN becomes null. */
struct store_train_step {
    int64_t step, tokens; /* the step, from 1; tokens trained on so far */
    double loss, lr, grad_norm, balance_loss, z_loss, experts, seconds;
};
int store_train_step_set(struct store *s, const char *training_id, const struct store_train_step *t,
                         struct buf *err) MUST_USE;
/* The loss of held-out texts after a step, nats, summed over `tokens`: v_training_heldout. */
int store_train_heldout_set(struct store *s, const char *training_id, int64_t step,
                            const char *source, double nll, int64_t tokens,
                            struct buf *err) MUST_USE;

/*
 * Text of tokens, so that v_tokens can show them: kept once per tokenizer (its hash). Bytes that are
 * not UTF-8, a part of a character, become a blob.
 */
int store_token_text(struct store *s, const char *cell_id, int32_t id, const char *text, size_t len,
                     struct buf *err) MUST_USE;

/*
 * Reading: any SELECT over the views, in plain SQL with ? for the arguments.
 *   struct rows *r = store_query(s, err, "SELECT metric, value FROM v_metrics WHERE cell_id = ?", id);
 *   while ((rc = rows_next(r, err)) == 1) ... rows_text(r, 0) ... rows_double(r, 1) ...
 *   rows_close(r);
 * Arguments are strings (const char *), one for each ?, at most 8. NULL on failure. SQL that would
 * write, and more than one statement, are refused. Our own commands may also read the tables.
 */
struct rows;
struct rows *store_query(struct store *s, struct buf *err, const char *sql, ...) MUST_USE;

/*
 * The rows of v_cells for which the SQL condition `where` holds (NULL: all), ordered by model, task,
 * K from the largest, router, mode and bounds. `where` may be anybody's text.
 */
struct rows *store_cells(struct store *s, const char *where, struct buf *err) MUST_USE;

int rows_next(struct rows *r, struct buf *err) MUST_USE; /* 1: a row, 0: no more, -1: failed */
void rows_close(struct rows *r);
int rows_columns(const struct rows *r);
const char *rows_name(const struct rows *r, int col);
bool rows_null(const struct rows *r, int col);
/* For a column that has a value in every database of ours: -1 and a sentence where it has none. */
int rows_need(const struct rows *r, int col, struct buf *err) MUST_USE;
const char *rows_text(const struct rows *r,
                      int col); /* NULL where null; until the next rows_next */
int64_t rows_int(const struct rows *r, int col);
double rows_double(const struct rows *r, int col); /* NaN where null */

#endif
