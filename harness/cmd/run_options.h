/*
 * run_options.h: what `run` and `train` have in common: which database, how often a training's state
 * is saved, and whether the device can do what is asked. What is wrong ends the program.
 */
#ifndef RUN_OPTIONS_H
#define RUN_OPTIONS_H

#include "cmd/cmd.h"
#include "run_train.h"

/* The database `db`, or results/NAME.db where it is NULL, for this program alone; `path` gets it. */
struct store *run_store_open(const char *db, const char *name, struct buf *path);

/* The value of --checkpoint-seconds; NULL: 300. */
double run_checkpoint_seconds(const struct cmd *c, const char *text);

/* There is always a CPU, and asking for it costs nothing. */
void run_device_check(const char *device, enum dtype dtype);
void run_courses_check(const struct courses *c);

#endif
