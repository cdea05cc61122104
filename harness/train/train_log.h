/*
 * train_log.h: what a training tells while it is under way: a row of the store for each step, and a
 * line on the terminal. Where stderr is no terminal nothing is printed, but at the end the most memory
 * that a GPU had to give.
 *
 * Invariant: rows are a second late at most; train_log_flush() puts all of them into the store.
 * Leaves out: the numbers themselves (train.c).
 */
#ifndef TRAIN_LOG_H
#define TRAIN_LOG_H

#include "store/store.h"

struct train_log {
    struct store *store; /* NULL: rows go nowhere */
    const char *id;
    int64_t steps;                 /* that there are */
    struct store_train_step *rows; /* that are not in the store yet */
    size_t len, cap;
    double flushed, from, drawn; /* when */
    int64_t here, tokens;        /* steps and tokens since `from` */
    int64_t peak;                /* bytes that the device has given at most; 0: not known */
    bool shown;
};

void train_log_start(struct train_log *l, struct store *store, const char *id, int64_t steps);
/* A step that is done, which had `tokens` tokens. */
int train_log_step(struct train_log *l, const struct store_train_step *row, int64_t tokens,
                   struct buf *err) MUST_USE;
int train_log_flush(struct train_log *l, struct buf *err) MUST_USE;
void train_log_end(struct train_log *l); /* clears the line; rows that are left are lost */

/* The line itself, `seconds` after the start. */
void train_log_line(const struct train_log *l, const struct store_train_step *row, double seconds,
                    struct buf *out);

#endif
