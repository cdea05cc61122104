/*
 * submit_script.h: the scripts that Slurm is given for a sweep in shards (run_shards.h), as text.
 *
 * There are up to four jobs: an array that makes the models which are still to be trained, an array of
 * the shards that need none of them, an array of those that do, and a job that merges the databases.
 * The third comes after the first, whatever became of it, and the last after all: a shard whose model
 * is not there tries to train it as a run does, so that its cells end as they would in one process, with
 * the reason where they fail, and all others are computed.
 *
 * Each script starts the program in the background and passes a signal on: the program commits what it
 * has and stops, and Slurm starts a pre-empted task again, which goes on. The same happens, by the
 * script's own wish, when the time limit is near; a program that does not stop in time is killed then,
 * which loses no sample that was committed. A task that was cancelled, or that has ended by itself,
 * failed cells or not, is not started again.
 *
 * Invariant: the text hangs on the struct alone. Whatever it names, quotes and blanks included, is one
 * word to the shell and to sbatch, or is refused.
 * Leaves out: sbatch (slurm.h), and which jobs wait for which, which sbatch is told beside the script.
 */
#ifndef SUBMIT_SCRIPT_H
#define SUBMIT_SCRIPT_H

#include "util.h"

enum submit_job {
    JOB_MODELS, /* makes models */
    JOB_CELLS,  /* shards that wait for nothing */
    JOB_LATE,   /* shards that wait for the models */
    JOB_MERGE,
    JOB_COUNT
};

/* Strings are borrowed; NULL: not said. */
struct submit {
    const char *sweep;                            /* its name */
    const char *program, *folder;                 /* absolute: to be run, and to be run in */
    const char *recipe, *manifest;                /* as seen from there */
    const char *merged;                           /* the database at the end; NULL: none */
    const char *partition, *account, *time, *mem; /* as sbatch takes them */
    int gpus, cpus;                               /* of each task; 0: not said */
    const struct strings *sbatch;      /* more options, "--exclusive -C a100": as they are */
    const struct strings *environment; /* "NAME=value" */
    const struct strings *run_words, *train_words; /* more arguments of the program */
    size_t plain, late, makers;                    /* shards, as struct shards has them */
};

/* Has the sweep such a job? */
bool submit_has(const struct submit *s, enum submit_job job);
/* "models", "cells", "trained", "merge": what its script and its logs are called. */
const char *submit_job_name(enum submit_job job);

/* Appends the script. What cannot stand in one is refused, by name. */
int submit_script(const struct submit *s, enum submit_job job, struct buf *out,
                  struct buf *err) MUST_USE;

/*
 * Which jobs a job waits for, as sbatch's --dependency says it: "afterany:12"; appends nothing where it
 * waits for none. ids: [JOB_COUNT], NULL where there is no such job. What became of them, those that
 * come behind say.
 */
void submit_dependency(enum submit_job job, const char *const *ids, struct buf *out);

#endif
