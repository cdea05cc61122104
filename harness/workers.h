/*
 * workers.h: threads that do jobs and hand them back as they are done.
 *
 * Invariant: every job that was put in comes out once. The jobs' order may change; what is computed
 * for each does not.
 * Leaves out: what a job is, and what becomes of it.
 */
#ifndef WORKERS_H
#define WORKERS_H

#include "util.h"

/* The first member of what the caller owns; until it comes back it is the worker's. */
struct job {
    int (*work)(struct job *job, struct buf *err);
    int rc;         /* what work() returned; -1: failed, and `err` says why */
    struct buf err; /* initialised by the caller */
    double seconds; /* that it took */
    struct job *next;
};

struct workers;
struct workers *workers_new(int threads);
void workers_free(struct workers *w); /* no job may be under way */

void workers_put(struct workers *w, struct job *job);
/* Waits for the next job that is done. NULL: none is under way. */
struct job *workers_take(struct workers *w);

#endif
