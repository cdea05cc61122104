/*
 * provenance.h: where the numbers of a database come from: each command that writes to one opens a
 * run in it, with what the program was asked, what it is and what it runs on, and ends it with what
 * came of it; with each cell stands what was read for it, by hash.
 *
 * A run is one row, however many processes it has: its id is made before they are, and goes to them
 * through the fork.
 *
 * Invariant: libtorch is never loaded for this, and no file is read or hashed again.
 * Leaves out: how the database keeps it (store.h).
 */
#ifndef PROVENANCE_H
#define PROVENANCE_H

#include "corpus.h"
#include "engine.h"

/* A run, from before its processes are made to its end. Zeroes to begin with. */
struct provenance {
    char id[33]; /* random */
    double from; /* now_seconds() at its start */
    char *sweep, *command;
    char *shard;             /* "3 of 16"; NULL: all of the sweep */
    int processes;           /* that train and score; 1 */
    struct cell *cells;      /* of the sweep, those of other shards too; models and tasks are its */
    struct store_plan *plan; /* [ncells]: without samples and tokens */
    size_t ncells;
};

/* "seqtopk run w.lua --db 'my results.db'": as a shell would take it. argv[0] is the command's name. */
void provenance_command(int argc, char **argv, struct buf *out);

/* The run begins; `sweep` is what its cells and trainings say. */
void provenance_init(struct provenance *p, const char *sweep, const char *command);
void provenance_release(struct provenance *p);
/* Takes down what the sweep is to have in the end, before other shards' cells are taken out. */
void provenance_plan(struct provenance *p, const struct sweep *s);

/*
 * The run goes into the database, with the recipe (NULL: there is none) and the plan, where one was
 * taken down, of the documents in `corpora`. device: "cpu" or "cuda:1": a GPU's name is known only when
 * the engine is open.
 */
int provenance_begin(const struct provenance *p, struct store *store, const struct recipe *recipe,
                     const struct corpora *corpora, const char *device, struct buf *err) MUST_USE;
/* In another process of the run, for its own handle. */
int provenance_join(const struct provenance *p, struct store *store, struct buf *err) MUST_USE;
/* The engine is open: which libtorch it is, and which GPU. */
int provenance_engine(struct store *store, const struct engine *engine, struct device device,
                      struct buf *err) MUST_USE;
/* A cell begins. */
int provenance_cell(struct store *store, const struct cell *c, struct buf *err) MUST_USE;

enum outcome_of_run { RUN_DONE, RUN_FAILED, RUN_INTERRUPTED };
/* What cannot be written is left out: then the database says that no end was seen. */
void provenance_end(struct store *store, enum outcome_of_run outcome);

#endif
