/*
 * recipe.h: a Lua recipe, read and checked, and the cells it means.
 *
 * A recipe runs in a Lua state that has arithmetic, strings without patterns, tables and the
 * constructors below, and nothing else: no files, no clock, no network, a limit on instructions and
 * on memory. Everything in it is checked against one field table; what is wrong is said with file,
 * line, key and what is allowed, before anything is loaded.
 *
 * Constructors: sweep{...}, topk{...}, seqtopk{...}, batchtopk{...} (one a router of routers.c, its
 * fields from the router's own table), none(), nll{...}, task{...}; K and N are symbols with
 * + - * / // and unary minus, whose value must be a whole number in each cell.
 *
 * Invariant: a `struct sweep` that opened has only cells that can run as far as can be known
 * without loading weights: models, tokenizers and data files exist, bounds hold for each K and N.
 * Leaves out: the work (run.h).
 */
#ifndef RECIPE_H
#define RECIPE_H

#include "../routers/router.h"
#include "weights.h"

/* A model of the sweep. */
struct sweep_model {
    char *name;  /* as the recipe says */
    char *dir;
    struct model_config config;
    char weights_hash[33], tokenizer_hash[33];
};

/* A task of the sweep: documents to score. Read from evals/NAME.lua, or nll{file=}. */
struct task {
    char *name;       /* "gsm8k/nll", or "nll:texts.jsonl" */
    char *file;       /* JSONL: one document a line */
    char *text;       /* nll: the field that is the whole text ("text"); else NULL */
    char *prompt;     /* template of the prompt, {field} filled in; NULL where `text` is set */
    char *target;     /* template of what is scored behind the prompt */
    int version;      /* raised when the numbers change */
    int limit;        /* documents at most; 0: all */
    bool truncate;    /* too long a sequence is cut, and counted, instead of refused */
    char data_hash[33];
};

struct cell {
    char id[33];
    const struct sweep_model *model;
    const struct router *router;
    struct router_args args;
    const struct task *task;
    int64_t seed;
    char *train;      /* "none" */
};

struct sweep {
    char *path, *name;
    struct buf text;  /* the recipe itself */
    struct sweep_model *models;
    size_t nmodels;
    struct task *tasks;
    size_t ntasks;
    struct cell *cells; /* in the order models, tasks, train, K, routers, seeds; no id twice */
    size_t ncells;
    bool log_tokens;  /* log = { tokens = "all" } (default) or "none" */
    char *device;     /* "cpu" or "cuda", "cuda:1" */
    enum dtype dtype;
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

/*
 * Raised by hand whenever results may change for the same inputs: it is a part of every cell's id.
 */
#define NUMERICS_VERSION 1

#endif
