/*
 * sweep.h: a recipe made into cells: every model, task, K, router and seed, checked.
 *
 * A recipe runs in a Lua state that has arithmetic, strings without patterns, tables and the
 * constructors of recipe.h, and nothing else: no files, no clock, no network, a limit on
 * instructions, time and memory. Everything in it is checked against field tables; what is wrong is
 * said with file, line, key and what is allowed, before anything is loaded.
 *
 * Invariant: a `struct sweep` that opened has only cells that can run as far as can be known
 * without loading weights: models, tokenizers and data files exist, each line of the data that
 * will be used has the fields it needs, bounds hold for each K and N, and a router of a task that
 * generates can route a text while it is written.
 * Leaves out: tokens (so whether a text fits the context, see data.h), and the work (run.h).
 */
#ifndef SWEEP_H
#define SWEEP_H

#include "recipe/recipe.h"
#include "recipe/task.h"
#include "weights.h"

/* A model of the sweep. */
struct sweep_model {
    char *name; /* as the recipe says */
    char *dir;
    struct model_config config;
    char weights_hash[33], tokenizer_hash[33];
};

/*
 * `id` is the hash of all that can change the cell's numbers: weights and tokenizer, router and
 * the value of each of its parameters, K, training, the task's name and all of its form (templates,
 * shots, decoding, measures, which lines), the hashes of its data and of its shots' data, how many
 * documents are read and whether they may be cut, the judge where a measure asks one, dtype, kind
 * of device, seed, whether tokens are logged (without them there are fewer metrics), and
 * NUMERICS_VERSION. Versions of libtorch and kinds of processor are not: they round differently.
 * The number of documents is in it although a shorter run of most routers is a prefix of the longer
 * one: a cell's metrics are over all its documents, and batchtopk's last pool hangs on where they
 * end.
 */
struct cell {
    char id[33];
    const struct sweep_model *model;
    const struct router *router;
    struct router_args args; /* all set; K is the model's own where the router ignores it */
    const struct task *task;
    int64_t seed;
    const char *train; /* "none" */
};

struct sweep {
    char *path, *name;
    struct buf text; /* the recipe itself */
    struct sweep_model *models;
    size_t nmodels;
    struct task *tasks;
    size_t ntasks;
    struct cell *cells; /* in the order models, tasks, train, K, routers, seeds; no id twice */
    size_t ncells;
    bool log_tokens; /* log = { tokens = "all" } (default) or "none" */
    char *device;    /* "cpu" or "cuda", "cuda:1" */
    enum dtype dtype;
    bool judged;             /* judge = { ... } was said */
    struct judge_spec judge; /* its strings are the sweep's own; judge_open() checks what it says */
};

/* What the command line may say over the recipe; NULL and 0 where it is silent. */
struct sweep_options {
    const char *model;  /* instead of the recipe's models */
    const char *device; /* default "cpu" */
    const char *dtype;  /* default "float32" */
    int limit;          /* documents of each task, at most */
};

struct sweep *sweep_open(const char *path, const struct sweep_options *o, struct buf *err) MUST_USE;
void sweep_free(struct sweep *s);

/* Does it compute cells that differ in nothing but the seed, while nothing of theirs is drawn? */
bool sweep_repeats(const struct sweep *s);

/* Does a task of it run code that a model wrote, or ask a judge? */
bool sweep_runs_code(const struct sweep *s);
bool sweep_asks_judge(const struct sweep *s);

/*
 * Raised by hand whenever results may change for the same inputs: it is a part of every cell's id.
 */
#define NUMERICS_VERSION 2

#endif
