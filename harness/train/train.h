/*
 * train.h: trains a model: step after step from lessons to a finished folder, with its losses in the
 * store as they come, going on from where it was stopped.
 *
 * Invariant: a training that was killed at any moment and goes on ends in the same weights, to the
 * bit on the CPU, as one that was not, whatever the number of threads.
 * Leaves out: which trainings there are (recipe/sweep.h), files (checkpoint.h), orders (lessons.h).
 */
#ifndef TRAIN_H
#define TRAIN_H

#include "model.h"
#include "store/store.h"
#include "training.h"
#include "train/lessons.h"

/* One training, all of it known. */
struct train_task {
    const char *id;    /* the hash of all that decides its weights */
    const char *label; /* "sft gsm8k/train 100 steps lr 1e-05", for people */
    const char *sweep; /* its name, for the store; NULL: "" */
    const char *model; /* likewise; NULL: the last part of `base` */
    const char *about; /* JSON object of what made it */
    const char *base;  /* the model's folder to begin with */
    const char *root;  /* where trained models go */
    const struct training *training;
    const struct router *router; /* in training */
    struct router_args args;     /* for the K that stands in it */
    /* For matryoshka: args for each K drawn, [nmatryoshka], bounds included. NULL: none is drawn */
    const struct router_args *drawn;
    const struct lessons *lessons;
    struct device device;
    int threads;
    double checkpoint_seconds; /* between states; 0: after every step; INFINITY: none is kept */
    int64_t heldout_every;     /* steps between losses of what is held out; 0: at the end only */
};

struct train_result {
    bool there;       /* it was made before */
    bool interrupted; /* a state was saved; the next run goes on */
    int64_t steps;
    double loss;    /* mean of the last step; NaN where this run had no step left to do */
    double seconds; /* of this run */
};

/* The steps that it takes to see the lessons as often as `t` says, or those that it says. */
int64_t train_steps(const struct training *t, const struct lessons *l);

/*
 * Trains, or finds the finished model. `stop` is asked after each step. `store` NULL: losses go
 * nowhere. -1: `err` says why, with the label in front. A step that fails, for instance with a loss
 * that is no number, is named with the last good state: what the weights have become since then may
 * be why, and is not saved.
 */
int train_model(const struct train_task *task, const struct engine *engine, struct store *store,
                bool (*stop)(void), struct train_result *result, struct buf *err) MUST_USE;

#endif
