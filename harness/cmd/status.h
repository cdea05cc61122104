/*
 * status.h: how far sweeps are, summed over the databases that they are in: a sweep in shards has its
 * cells in several of them, and each has the plan of all.
 *
 * A cell that is in several databases counts once, as the one that is furthest. What is to be is the
 * newest plan's; of a sweep without one (its database is of an older program) all of its cells are.
 *
 * How long the rest will take comes from rates that were measured: of the runs that are at work, or
 * else of the last ones, by a clock that does not jump, without the time in which models were trained.
 * A cell's tokens are weighed with the seconds that a token of its model and task took so far.
 *
 * Invariant: cells = done + running + failed + left. What is not known is NaN, and never 0.
 * Leaves out: how it is shown (cmd_status.c).
 */
#ifndef STATUS_H
#define STATUS_H

#include "store/store.h"

struct sweep_status {
    char *name;
    int64_t cells, done;
    int64_t running; /* begun by a run that is at work, and not done */
    int64_t failed;
    int64_t left;    /* the others */
    int64_t waiting; /* of these, whose model is made by a training, if it is not there already */
    int64_t orphans; /* there, but the newest plan has them no more */
    int64_t samples, tokens;
    double seconds;      /* that cells took, of all threads */
    int64_t trainings;   /* begun or done */
    int64_t trained;     /* done */
    int64_t steps, goal; /* of all that were begun: done, and to be done where that is known */
    double rate;         /* tokens per second */
    double seconds_left; /* without trainings that did not begin: nobody knows how long they take */
};

struct training_status {
    char *id, *sweep, *model, *label;
    int64_t step, goal;  /* goal 0: not known */
    double rate, a_step; /* tokens per second and seconds a step, lately */
    bool live;           /* the database has a run at work */
};

struct status {
    struct sweep_status *sweeps; /* by name */
    size_t nsweeps, sweeps_cap;
    struct training_status *trainings; /* by sweep, as they were begun */
    size_t ntrainings, trainings_cap;
};

/* status_release() also after -1. */
int status_read(struct store *const *stores, size_t n, struct status *out,
                struct buf *err) MUST_USE;
void status_release(struct status *s);

/* Seconds that the rest of a training takes; NaN: not known. */
double training_seconds_left(const struct training_status *t);

/* "about 2 h 10 min", "less than a minute" */
void duration_text(double seconds, struct buf *out);

#endif
