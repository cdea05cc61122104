/*
 * run_options.h: what `run` and `train` have in common: which database, how often a training's state
 * is saved, and whether the device can do what is asked; and for `run`, which devices and processes.
 * What is wrong ends the program.
 */
#ifndef RUN_OPTIONS_H
#define RUN_OPTIONS_H

#include "cmd/cmd.h"
#include "provenance.h"
#include "run_shards.h"

/* The database `db`, or results/NAME.db where it is NULL; the folder is made. */
void run_store_path(const char *db, const char *name, struct buf *path);
/* The same, opened for this program alone; `path` gets it, where it has it not already. */
struct store *run_store_open(const char *db, const char *name, struct buf *path);

/*
 * What --shard says: all but the shard is taken out of the sweep. *db, where it is NULL, becomes the
 * shard's own database; the name is for the life of the program. The run learns which shard it is,
 * "3 of 16" counted from 1. A run that is still at work on that database is the task's own from before
 * it was started again, and is waited for, two minutes at most.
 */
void run_shard_keep(struct sweep *s, const char *shard, enum shard_kind kind, const char **db,
                    struct provenance *p);

/* The value of --checkpoint-seconds; NULL: 300; never: INFINITY, and no state is kept. */
double run_checkpoint_seconds(const struct cmd *c, const char *text);

/* There is always a CPU, and asking for it costs nothing. */
void run_device_check(const char *device, enum dtype dtype);
void run_courses_check(const struct courses *c);

/*
 * What --device says, "cuda:0,cuda:1": each once, all GPUs or none. NULL: what the recipe says, so
 * `out` stays empty.
 */
void run_devices(const struct cmd *c, const char *text, struct strings *out);
/* How many processes: what --jobs says, which is no less than the devices; 0: one for each. */
int run_processes(const struct cmd *c, int jobs, const struct strings *devices);
/*
 * As the checks above, of each device and each format, in a process of its own: a GPU that this one
 * has looked at cannot be used by those that it forks.
 */
void run_devices_check(const struct strings *devices, const struct sweep *s,
                       const struct courses *c);

#endif
