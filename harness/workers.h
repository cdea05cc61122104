/*
 * workers.h: threads that score batches, one core each, and hand them back as they are done.
 *
 * Invariant: every job that was put in comes out once. The jobs' order may change; what is computed
 * for each does not.
 * Leaves out: what is in a batch, and what becomes of its numbers.
 */
#ifndef WORKERS_H
#define WORKERS_H

#include "model.h"

/* One batch. The caller owns it and all that it points to; until it comes back it is the worker's. */
struct job {
    struct batch batch;
    struct scored scored; /* what came of it */
    int rc;               /* -1: failed, and `err` says why */
    struct buf err;
    double seconds; /* that it took */
    struct job *next;
};

struct workers;
struct workers *workers_new(const struct engine *engine, struct model *model, int threads);
void workers_free(struct workers *w); /* no job may be under way */

void workers_put(struct workers *w, struct job *job);
/* Waits for the next job that is done. NULL: none is under way. */
struct job *workers_take(struct workers *w);

#endif
