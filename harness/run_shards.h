/*
 * run_shards.h: a sweep in shards, for machines that share a folder and nothing else: which cells go
 * to which shard, and the manifest, a text file that says so. Each shard is computed alone into a
 * database of its own.
 *
 * Cells that need a model which is still to be trained are in shards of their own, which come after
 * the models; the models are in shards too. A cell is never divided, so that what routes together,
 * batchtopk's pools, stays together.
 *
 * Invariant: the same recipe, data and number of tasks give the same manifest, byte for byte. Every
 * cell is in one shard, every model to be trained in one, and no shard is empty.
 * Leaves out: how shards are started (cmd/submit_script.h), and how their databases become one.
 */
#ifndef RUN_SHARDS_H
#define RUN_SHARDS_H

#include "run_train.h"

/* ---- which goes where: numbers alone ---- */

struct shard_item {
    size_t set;   /* from 0: items of one set need the same weights */
    int64_t cost; /* in any unit, at least 0 */
};

/*
 * Deals n items to at most `nshards` shards (1 or more), so that the dearest shard is about as cheap
 * as can be; a shard pays open[set] once for each set that it has items of, so those of a set stay
 * together where that costs nothing. out: [n], from 0. Returns how many shards have items: the first
 * ones.
 */
size_t shards_make(const struct shard_item *items, size_t n, const int64_t *open, size_t nsets,
                   size_t nshards, size_t *out);

/* ---- a sweep's shards, and their manifest ---- */

enum { SHARDS_MAX = 1000 }; /* Slurm's arrays go to 1001 where nobody changed it */

struct shard_line {
    size_t shard;
    char id[33];       /* of the cell or the training */
    char training[33]; /* of a cell: the model that it needs; "": its own weights, untrained */
};

struct shards {
    char *sweep; /* its name */
    size_t plain,
        late;      /* shards of cells: 0 .. plain-1 begin at once, the next `late` of them wait for
                           the models */
    size_t makers; /* shards of models, counted from 0 for themselves */
    struct shard_line *cells, *trainings;
    size_t ncells, cells_cap, ntrainings, trainings_cap;
};

/*
 * The shards of what is left of a sweep. At most `tasks` of them (1 to SHARDS_MAX) can be at work at
 * the same time, two where `tasks` is 1 and some cells are to wait. done: [cells]: is it computed
 * already? NULL: none is.
 */
struct corpora;
void shards_plan(struct shards *out, const struct sweep *s, const struct corpora *corpora,
                 const struct courses *courses, const bool *done, size_t tasks);
void shards_release(struct shards *s);

void shards_text(const struct shards *s, struct buf *out);
/* The errors name the file and the line. shards_release() also after -1. */
int shards_read(struct shards *out, const char *path, struct buf *err) MUST_USE;

/* ---- one of them ---- */

/* Where a shard's results go: "DIR/shard-03.db", DIR being the manifest's folder. */
enum shard_kind { SHARD_CELLS, SHARD_MODELS };
void shard_store_path(const char *manifest, enum shard_kind kind, size_t number, struct buf *out);

/*
 * "FILE:I": leaves in the sweep what shard I of the manifest FILE has, cells or models, and takes out
 * the rest; `db` gets shard_store_path(). Refuses a shard that is not there, and an id that the sweep
 * has not: the recipe, its data or the options are not those that the manifest was made of.
 */
int shard_keep(struct sweep *s, const char *shard, enum shard_kind kind, struct buf *db,
               struct buf *err) MUST_USE;

#endif
