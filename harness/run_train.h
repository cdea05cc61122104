/*
 * run_train.h: the models that a sweep trains: what they are trained on is read before any model is
 * loaded, and each is made, or found, when it is needed.
 *
 * Invariant: once courses were read, every training that is still to be done has its lessons, in the
 * tokens of its model, and nothing about texts can fail any more.
 * Leaves out: how a model is trained (train/train.h), and its cells (run.h).
 */
#ifndef RUN_TRAIN_H
#define RUN_TRAIN_H

#include "recipe/sweep.h"
#include "train/train.h"

struct courses {
    const struct sweep *sweep;
    struct lessons *lessons; /* [models, trains]; empty where every model is there */
    bool *there;             /* [trainings]: was it made before? */
};

/* A trained model's folder that is not whole is refused. courses_release() also after -1. */
int courses_read(struct courses *c, const struct sweep *s, struct buf *err) MUST_USE;
void courses_release(struct courses *c);
/* How many models are still to be trained. */
size_t courses_left(const struct courses *c);

/* Where and how a model is trained, beside what its training says. */
struct train_place {
    const struct engine *engine; /* NULL where every model is there */
    struct device device;
    int threads;
    double checkpoint_seconds;
    struct store *store; /* gets the losses; NULL: nobody does */
};

/*
 * How many of `threads` take a training's pieces on the device. A GPU has something to do for a few:
 * while the routers of one's run on the host, it works for the others.
 */
int training_threads(struct device device, int threads);

/*
 * Trains a model of the sweep, or finds it; `dir` gets its folder. SIGINT, SIGTERM and SIGUSR1 stop it
 * where they are caught (run_signals_catch()).
 */
int course_train(const struct courses *c, const struct sweep_training *t,
                 const struct train_place *place, struct train_result *result, struct buf *dir,
                 struct buf *err) MUST_USE;

/* The same for a training whose lessons are at hand; `sweep` is its name for the store. */
int training_make(const struct sweep_training *t, const char *sweep, const char *device,
                  const struct lessons *lessons, const struct train_place *place,
                  struct train_result *result, struct buf *dir, struct buf *err) MUST_USE;

/* Does what was said hold with the lessons, which say how many steps some epochs are? */
int training_check(const struct sweep_training *t, const struct lessons *lessons,
                   struct buf *err) MUST_USE;

/* The sweep's cells, those with the same weights one behind the other. out: [ncells] */
void cells_by_training(const struct sweep *s, const struct cell **out);

/* ---- what `seqtopk train` does of a sweep: its models, and no cell ---- */

struct train_totals {
    int trained, there, failed;
    struct strings errors; /* of those that failed; the caller releases them */
    bool interrupted;
};
/* By which signal did the user ask for an end? SIGINT, SIGTERM or SIGUSR1; 0: by none. */
int run_signal(void);
/*
 * First of all in a program that runs: SIGUSR1, by which batch systems tell that a time limit is near,
 * ends it with a sentence as long as there is nothing to be committed.
 */
void run_signals_begin(void);

/* Calls `made` with each folder, in order. A training that failed is counted; the others go on. */
void sweep_train(const struct courses *c, const struct train_place *place,
                 void (*made)(const char *dir), struct train_totals *totals);

#endif
