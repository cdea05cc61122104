/*
 * train_impl.h: a training under way, shared by train.c, which opens it and says what comes when,
 * train_step.c, one step, and train_heldout.c, the losses of what is held out.
 */
#ifndef TRAIN_IMPL_H
#define TRAIN_IMPL_H

#include "cutoffs.h"
#include "train/lesson_order.h"
#include "train/pieces.h"
#include "train/train.h"
#include "train/train_log.h"

struct training_run {
    const struct train_task *task;
    const struct trainer_functions *f;
    struct store *store; /* NULL: none */
    bool (*stop)(void);  /* NULL: never */
    char *model;         /* its name */
    struct buf base;     /* the folder that it begins with: the task's, or without some experts */
    struct buf about;    /* what made it, the pruning included */

    int layers, experts;
    struct trainer *trainer;
    struct piece_threads *threads;
    struct lesson_order order;
    struct cutoff_average average; /* of a router that learns cutoffs */
    float *cutoffs;                /* [layers, experts]: as they are now; NULL: it learns none */
    bool learnt;                   /* they hold something */

    int64_t steps;        /* in all */
    int64_t step, tokens; /* done */
    double loss;          /* of the last step */
    int64_t saved;        /* step of the newest state; -1: there is none */
    double saved_at;
    bool broken; /* a step failed, perhaps for what the weights have become: they are not saved */
    struct train_log log;
};

bool train_stopped(const struct training_run *r);

/* One step: `row` gets what it came to. -1: it was not done. */
int train_step(struct training_run *r, struct store_train_step *row, struct buf *err) MUST_USE;

/* Losses of what is held out, by source, into the store; nothing where `stop` came in between. */
int train_heldout(struct training_run *r, struct buf *err) MUST_USE;

#endif
