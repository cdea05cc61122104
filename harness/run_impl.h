/*
 * run_impl.h: what the files of a run share: run.c plans and goes from model to model, run_model.c
 * does what wants one model to be open, run_train.c has models trained, run_signals.c tells when the
 * user wants an end, run_cells.c says how cells end, run_losses.c scores texts that are there,
 * run_texts.c has texts written, run_speed.c times how they are, run_scores.c has programs and judges
 * score what was written, and
 * run_workers*.c let several processes do all this side by side.
 */
#ifndef RUN_IMPL_H
#define RUN_IMPL_H

#include "progress.h"
#include "run.h"
#include "work.h"

#include <signal.h>

struct runner {
    const struct sweep *sweep;
    struct store *store;
    const struct engine *engine;
    struct device device;
    const struct run_options *options;
    int threads;
    struct run_result *result;
    struct progress progress;
    const struct corpora *corpora;
    const struct courses *courses;
    struct cell_run *cells;
    size_t ncells;
    struct units losses, texts, speeds; /* of all cells, in their order */

    const char *device_name;           /* as v_cells has it */
    struct model *model;               /* that is open; NULL: none */
    char *model_dir;                   /* where it is from */
    const struct sweep_model *told;    /* whose tokens' texts this runner stored last */
    int64_t full_tokens, batch_tokens; /* what batches of run_losses() had at first, and have: it
                                          becomes less where the memory is short */
    int batch_texts;                   /* that are written side by side, in the same way */
    bool lost; /* the device does not answer any more: nothing of it is a cell's fault */
    struct crew_member *member; /* where this process is one of several; else NULL */
};

/*
 * A runner for a sweep, with nothing planned; it borrows all of them. The release closes the model.
 * `clear` forgets the cells alone, for those that are planned next.
 */
void runner_init(struct runner *r, const struct sweep *s, const struct corpora *corpora,
                 const struct courses *courses, struct store *store,
                 const struct run_options *options, struct run_result *result);
void runner_clear(struct runner *r);
void runner_release(struct runner *r);
/*
 * Takes up the cells that are not done yet, with what the store has not of them, in the place of those
 * that the runner had. Those that are done are counted.
 */
int run_plan(struct runner *r, const struct cell *const *cells, size_t n, struct buf *err) MUST_USE;
int64_t run_planned_tokens(const struct runner *r);
/* A cell as the store keeps it; `params` holds a part of it. */
struct store_cell run_stored_cell(const struct runner *r, const struct cell *c, struct buf *params);
/* The engine and the device, for what has a model to be loaded. */
int run_open_engine(struct runner *r, struct buf *err) MUST_USE;
/* All cells in their order, model after model, with the signals caught by the caller. */
int run_models(struct runner *r, struct buf *err) MUST_USE;

/*
 * Is the run to end? The user asked for it, or a cell failed and that is to be the end: run_end(). What
 * is under way is finished, or left for the next time.
 */
bool run_interrupted(void);
void run_end(void);
/* So it is after a failure of the store, with which nothing more can be kept: run_give_up(). */
bool run_stopped(void);
void run_give_up(void);
/*
 * From here on SIGINT, SIGTERM and SIGUSR1 ask for an end. Another one is no other than the first,
 * who sends it: batch systems send several, and so does the first process of a crew to what was
 * asked by all of them. Once an end was asked for, the release leaves it at that until the program
 * ends, which is soon.
 */
struct run_signals {
    struct sigaction was_int, was_term, was_usr1;
};
void run_signals_catch(struct run_signals *s);
void run_signals_release(struct run_signals *s);

/*
 * A cell that has all of its samples gets its metrics and bins and becomes `done`; `failed` where
 * some have no score because their tool failed. Not in a transaction: it takes a while.
 */
int run_finish_cell(struct runner *r, struct cell_run *run, struct buf *err) MUST_USE;
/* The same where the last call of run_unit_done() was for the last of its units. */
int run_finish_complete(struct runner *r, struct cell_run *run, struct buf *err) MUST_USE;
int run_fail_cell(struct runner *r, struct cell_run *run, const char *why,
                  struct buf *err) MUST_USE;
/* With the cell's and the document's name in the sentence. */
int run_fail_unit(struct runner *r, const struct unit *u, const char *why,
                  struct buf *err) MUST_USE;
/* The cell is left as it is; the store gets its seconds, whatever happens to us. */
int run_keep_seconds(struct runner *r, struct cell_run *run, struct buf *err) MUST_USE;
/* Puts a cell's error, as the store has it, into *error, which is freed with free(), if none is there. */
int run_keep_error(struct runner *r, const char *id, char **error, struct buf *err) MUST_USE;
/* A unit of the cell is stored, or has failed; in the transaction with it. */
int run_unit_done(struct runner *r, struct cell_run *run, struct buf *err) MUST_USE;
/*
 * Notes in the cell that the memory had room for `now` tokens or texts at a time, not for `first`;
 * once for each `now`.
 */
int run_note_batch(struct runner *r, struct cell_run *run, const char *what, int64_t first,
                   int64_t now, struct buf *err) MUST_USE;
/*
 * Something failed on the device: -1 where the device itself is what failed. Then no cell is to blame,
 * r->lost is set, and the run ends, or this process of it.
 */
int run_check_device(struct runner *r, struct buf *err) MUST_USE;
/* So many tokens more are done: to the line on the terminal, here or in the process that draws it. */
void run_progress(struct runner *r, int64_t tokens);

/* The cells first .. first + n - 1, all of one model and training; run_model.c. */
int run_model(struct runner *r, size_t first, size_t n, struct buf *err) MUST_USE;
void run_close_model(struct runner *r);

/* The units v[0 .. n-1], all of one model. */
int run_losses(struct runner *r, struct model *model, const struct unit *v, size_t n,
               struct buf *err) MUST_USE;
int run_texts(struct runner *r, struct model *model, const struct unit *v, size_t n,
              struct buf *err) MUST_USE;
int run_speeds(struct runner *r, struct model *model, const struct unit *v, size_t n,
               struct buf *err) MUST_USE;
/* What programs and judges have to score of the cells v[0 .. n-1], whose texts are in the store. */
int run_scores(struct runner *r, struct cell_run *v, size_t n, struct buf *err) MUST_USE;

#endif
