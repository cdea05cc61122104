/*
 * run_impl.h: what the files of a run share: run.c plans and goes from model to model, run_train.c
 * has models trained, run_signals.c tells when the user wants an end, run_cells.c says how cells end,
 * run_losses.c scores texts that are there, run_texts.c has texts written, run_scores.c has programs
 * and judges score what was written.
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
    struct units losses, texts; /* of all cells, in their order */
};

/* Has the user asked for an end? What is under way is finished, or left for the next time. */
bool run_interrupted(void);
/* So it is after a failure of the store, with which nothing more can be kept: run_give_up(). */
bool run_stopped(void);
void run_give_up(void);
/* From here on SIGINT and SIGTERM ask for an end, a second one ends the program at once. */
struct run_signals {
    struct sigaction was_int, was_term;
};
void run_signals_catch(struct run_signals *s);
void run_signals_release(struct run_signals *s);

/*
 * A cell that has all of its samples gets its metrics and bins and becomes `done`; `failed` where
 * some have no score because their tool failed.
 */
int run_finish_cell(struct runner *r, struct cell_run *run, struct buf *err) MUST_USE;
int run_fail_cell(struct runner *r, struct cell_run *run, const char *why,
                  struct buf *err) MUST_USE;
/* With the cell's and the document's name in the sentence. */
int run_fail_unit(struct runner *r, const struct unit *u, const char *why,
                  struct buf *err) MUST_USE;
/* The cell is left as it is; the store gets its seconds, whatever happens to us. */
int run_keep_seconds(struct runner *r, struct cell_run *run, struct buf *err) MUST_USE;
/* A unit of the cell is stored, or has failed. */
int run_unit_done(struct runner *r, struct cell_run *run, struct buf *err) MUST_USE;

/* The units v[0 .. n-1], all of one model. */
int run_losses(struct runner *r, struct model *model, const struct unit *v, size_t n,
               struct buf *err) MUST_USE;
int run_texts(struct runner *r, struct model *model, const struct unit *v, size_t n,
              struct buf *err) MUST_USE;
/* What programs and judges have to score of the cells v[0 .. n-1], whose texts are in the store. */
int run_scores(struct runner *r, struct cell_run *v, size_t n, struct buf *err) MUST_USE;

#endif
