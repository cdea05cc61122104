/*
 * sweep.h: a recipe made into cells: every model, training, task, K, router and seed, checked.
 *
 * A recipe runs in a Lua state that has arithmetic, strings without patterns, tables and the
 * constructors of recipe.h, and nothing else: no files, no clock, no network, a limit on
 * instructions, time and memory. Everything in it is checked against field tables; what is wrong is
 * said with file, line, key and what is allowed, before anything is loaded.
 *
 * Invariant: a `struct sweep` that opened has only cells that can run as far as can be known
 * without loading weights: models, tokenizers and data files exist, each line of the data that
 * will be used has the fields it needs, bounds hold for each K and N, a router of a task that
 * generates can route a text while it is written, and one that learns has learnt.
 * Leaves out: tokens (so whether a text fits the context, see data.h), and the work (run.h).
 */
#ifndef SWEEP_H
#define SWEEP_H

#include "cutoffs.h"
#include "recipe/recipe_train.h"
#include "recipe/task.h"
#include "weights.h"

/* A model of the sweep. */
struct sweep_model {
    char *name; /* as the recipe says */
    char *dir;
    struct model_config config;
    char weights_hash[33], tokenizer_hash[33];
    struct cutoffs cutoffs; /* of its folder; read where a router of the sweep learns */
    char cutoffs_hash[33];  /* "": there are none */
};

/*
 * A model that is to be trained, once for all cells that need it. `id` is the hash of all that
 * decides its weights: those it begins with, the tokenizer, the end token, the training router with
 * each of its parameters (at every K that is drawn), the settings of struct training, the contents of
 * the data and how lessons are made of them, the kind of device, and NUMERICS_VERSION.
 */
struct sweep_training {
    char id[33];
    size_t number; /* among the sweep's, from 0 */
    const struct sweep_model *model;
    struct recipe_train *said; /* the data among it */
    struct training how;       /* all of it set */
    const struct router *router;
    struct router_args args;                  /* at K, or at the first that is drawn */
    struct router_args drawn[MATRYOSHKA_MAX]; /* [how.nmatryoshka] */
    char *label;                              /* for people, and v_cells.train */
};

/*
 * `id` is the hash of all that can change the cell's numbers: weights and tokenizer, router and
 * the value of each of its parameters, K, the training's id, the task's name and all of its form
 * (templates, shots, decoding, measures, which lines), the hashes of its data and of its shots' data,
 * how many documents are read and whether they may be cut, the judge where a measure asks one, dtype,
 * kind of device, seed, whether tokens are logged (without them there are fewer metrics), and
 * NUMERICS_VERSION; where time is measured, the machine's name, its processor and the device's number
 * besides, so that two machines have a cell each. Versions of libtorch and kinds of processor are not: they round differently.
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
    const struct sweep_training *training; /* NULL: none() */
    const char *train;                     /* its label, or "none" */
    const struct router_use *overlap;      /* [sweep's noverlap]; NULL where a text is generated */
};

struct sweep {
    char *path, *name;
    struct recipe *recipe; /* what was read; places and data in it live as long as the sweep */
    struct sweep_model *models;
    size_t nmodels;
    struct task *tasks;
    size_t ntasks;
    struct sweep_training **trainings; /* in the order of the cells that need them; no id twice */
    size_t ntrainings, trainings_cap;
    struct cell *cells; /* in the order models, train, tasks, K, routers, seeds; no id twice */
    size_t ncells;
    bool log_tokens; /* log = { tokens = "all" } (default) or "none" */
    /* Of tasks that score a loss: the mean entropy of what each expert sees, and how far what a router
     * selects is what these would have selected from the same scores. */
    bool log_expert_entropy;
    size_t noverlap;
    char **overlap_names;       /* [noverlap]: "topk", "seqtopk_global"; no two are the same */
    struct router_use *overlap; /* [models, trainings as the recipe says them, K, noverlap] */
    char *device;               /* "cpu" or "cuda", "cuda:1" */
    enum dtype dtype;
    bool judged;             /* judge = { ... } was said */
    struct judge_spec judge; /* its strings are the sweep's own; judge_open() checks what it says */
};

/* Is it the name of a device, "cpu", "cuda" or "cuda:1"? Whether it is there, it does not say. */
bool device_named(const char *name);
#define DEVICES_ALLOWED "cpu, cuda or cuda:NUMBER"

struct sweep *sweep_open(const char *path, const struct sweep_options *o, struct buf *err) MUST_USE;
/* The same for a recipe that was read; it is the sweep's from here on, or freed after a failure. */
struct sweep *sweep_of(struct recipe *r, const struct sweep_options *o, struct buf *err) MUST_USE;
void sweep_free(struct sweep *s);

/*
 * Does it compute cells that differ in nothing but the seed, while nothing of theirs is drawn, and
 * their model is not trained by the seed either?
 */
bool sweep_repeats(const struct sweep *s);

/* The first of its tasks that is timed, and so wants a machine to itself; NULL: none is. */
const struct task *sweep_timed(const struct sweep *s);

/* Does a task of it ask a judge? */
bool sweep_asks_judge(const struct sweep *s);

/*
 * Raised by hand whenever results may change for the same inputs: it is a part of every cell's id.
 */
#define NUMERICS_VERSION 2

#endif
