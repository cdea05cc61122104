/*
 * run_workers.h: a crew: the processes of a run that share its cells. Each has the engine, a device
 * and a handle on the database of its own; the one that made them deals out cells, and says how far
 * all are.
 *
 * Processes are made when the recipe, its texts and its lessons were read, so that they need not be
 * read again, and before anything is opened that cannot go through a fork: the database and the
 * engine. Cells that share a model go to one process at a time as far as that is no loss
 * (run_workers_deal.h); a model is trained by one of them, while the others take other cells.
 *
 * Invariant: what is computed is what one process computes. Each sample is committed when it exists,
 * by the process that computed it, and only one of them writes at a time. A process that dies leaves
 * its cells to the others, and when the first process dies all of them do; whatever dies, the next run
 * goes on from what is in the database.
 * Leaves out: one cell computed by several processes.
 */
#ifndef RUN_WORKERS_H
#define RUN_WORKERS_H

#include "run.h"

enum { CREW_MAX = 256 }; /* processes */

/* All is borrowed until the crew is freed. */
struct crew_spec {
    const struct sweep *sweep;
    const struct corpora *corpora;
    const struct courses *courses;
    const struct run_options *options; /* of each process */
    const char *db;
    const struct strings *devices; /* dealt out in turn: "cuda:0", "cuda:1" */
    int processes;
};

/*
 * Makes the processes, which wait until sweep_run() has the crew in its options. In them this does
 * not return. The caller must have neither a database nor the engine open, and no thread.
 */
struct crew;
struct crew *crew_new(const struct crew_spec *spec, struct buf *err) MUST_USE;
void crew_free(struct crew *c); /* ends the processes that are still there, and waits for them */

#endif
