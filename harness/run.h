/*
 * run.h: does the work of a sweep: every cell that is not done yet, each sample committed to the
 * store when it exists, each cell summarised when it has all of them.
 *
 * Texts come first and scores after: what a model wrote is in the store before a program of it is
 * run or a judge is asked, which is done when the model is closed. So programs do not race the model
 * for the processor, and a judge that cannot be asked costs no text: the cell fails, and when
 * it is tried again the judge is asked about what is there.
 *
 * A run may have several processes (run_workers.h), which share the cells and one database.
 *
 * On a GPU, weights and arithmetic are float32 as everywhere, unless the recipe says dtype =
 * "bfloat16" or the command --dtype bfloat16: what a full-size model wants there. The format is a part
 * of a cell's id. Where the memory is too short for a batch, it is halved, which the cell notes; one
 * text that does not fit alone fails its cell.
 *
 * Cells go by model and training: a trained model is made, or found, before the first of its cells
 * that has anything left to do.
 *
 * A cell that failed keeps its error and its samples, and is left alone until the user wants it to be
 * tried again.
 *
 * Invariant: all documents are tokenized and all checks passed before the first model is loaded. A
 * run that stopped anywhere goes on from what is in the store, and a pool of sequences that route
 * together is in it whole or not at all.
 * Leaves out: reading the recipe (sweep.h), and telling the user (cmd_run.c).
 */
#ifndef RUN_H
#define RUN_H

#include "corpus.h"
#include "provenance.h"
#include "run_train.h"

struct run_options {
    int threads;               /* at work on the CPU, in each process */
    int batch;                 /* texts that each of them writes side by side */
    struct tools tools;        /* for measures that need them, see measure.h */
    double checkpoint_seconds; /* between the states of a training */
    bool fail_fast;            /* the first cell that fails is the end; else the others go on */
    bool retry_failed;         /* cells that failed in a run before are tried again */
    struct crew *crew;         /* the processes that do the work; NULL: this one does */
    const struct provenance *provenance; /* of the run, which the store has; NULL: it has none */
};

struct run_result {
    int done, failed, there; /* cells: computed now, failed now, in the store already */
    int failed_before;       /* cells that failed in a run before, and are not tried again */
    int trained;             /* models, now */
    int truncated;           /* documents that were cut */
    char *first_error;       /* of a cell that failed; the caller frees it. NULL: none did */
    char *error_before;      /* of one that failed before, in the same way */
    int signal; /* SIGINT, SIGTERM or SIGUSR1: what was finished is committed; else 0 */
};

/* -1: nothing more could be done, and `err` says why. A cell that failed is no such failure. */
int sweep_run(const struct sweep *s, const struct corpora *corpora, const struct courses *courses,
              struct store *store, const struct run_options *options, struct run_result *result,
              struct buf *err) MUST_USE;

#endif
