/*
 * work.h: the work of cells, cut into units and packed into batches for the workers.
 *
 * Invariant: a unit is one pool of one cell, the documents that route together, so it is computed
 * and stored whole or not at all. A batch may hold units of several cells.
 */
#ifndef WORK_H
#define WORK_H

#include "corpus.h"
#include "model.h"
#include "workers.h"

/* A cell that is to be computed. */
struct cell_run {
    const struct cell *cell;
    const struct corpus *corpus;
    const float *cutoffs; /* [layers, N], for a router that learnt them; else NULL */
    int nothers;          /* of cell->overlap */
    bool expert_entropy;  /* both are the same in all cells of a sweep that score a loss */
    int *order;           /* [documents], in which units take them; NULL: as they come */
    size_t units_left;
    bool complete;  /* all of them are in the store now: it is to be summarised */
    int64_t noted;  /* the tokens or texts of a batch that run_note_batch() noted; 0: none */
    double seconds; /* that its model computed; what the store has of them already is left out */
    char *error;    /* NULL: all is well */
    // Of texts that a program or a judge scores once they are written, see run_scores.c:
    bool scored_after;
    size_t scores_left; /* texts that are to be scored */
    size_t unscored;    /* texts whose tool failed ... */
    char *cause;        /* ... and how, for the first of them */
};

/* Documents doc .. doc + docs - 1 of a cell, counted in its order: see unit_document(). */
struct unit {
    struct cell_run *run;
    int doc, docs;
    int64_t tokens;
};

struct units {
    struct unit *v;
    size_t len, cap;
};

/* The i-th of a unit's documents, as the corpus counts. */
int unit_document(const struct unit *u, int i);

/*
 * Adds the units of a cell whose documents are not there yet, and sets its order, which is freed with
 * free(). present: [documents]
 */
void units_add(struct units *units, struct cell_run *run, const bool *present);

/* A batch under way, and the units that it is made of. */
struct work {
    struct job job; /* first: the workers hand back this */
    const struct engine *engine;
    struct model *model;
    struct batch batch;
    struct scored scored;             /* what came of it */
    struct wanted wanted;             /* beyond what always is */
    const struct router_use **others; /* [nunits], of `wanted` */
    struct unit *units;
    size_t nunits;
    int64_t tokens;
    struct sequence *sequences;
    struct pool *pools;
};

/*
 * A batch of about BATCH_TOKENS of the units from `*at` to `end` whose cells have not failed; moves
 * `*at` on. All must be of one model, which scores them. NULL: there is none left.
 */
struct work *work_new(const struct engine *engine, struct model *model, const struct unit *units,
                      size_t *at, size_t end);
/* The same with another number of tokens, `most`. One unit makes a batch however long it is. */
struct work *work_new_most(const struct engine *engine, struct model *model,
                           const struct unit *units, size_t *at, size_t end, int64_t most);
void work_free(struct work *w);

/*
 * A batch in pieces of one unit each, so that only the cell that is to blame for a failure fails.
 * Units whose cell has failed already are left out. Returns how many there are. parts: [nunits]
 */
size_t work_split(const struct work *w, struct work **parts);

/* Tokens in a batch: enough rows for each expert, and little memory. */
enum { BATCH_TOKENS = 1024 };

#endif
