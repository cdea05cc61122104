/*
 * recipe_train.h: how a model is trained, as a recipe says it: none() and sft { ... } in a sweep's
 * `train`, and what pretrain { ... } has in common with them:
 *
 *     data         = "gsm8k/train",     -- see lesson_data.h
 *     name         = "annealed",        -- of sft: what tables call it; left out: its
 *                                       -- settings
 *     steps        = 100,               -- of the optimiser; or epochs = 2.5, times through the data
 *     lr           = 1e-5,              -- at the top; 0 changes no weight, and learns cutoffs only
 *     schedule     = "linear",          -- "constant", "linear" or "cosine"
 *     warmup       = 0.03,              -- below 1 the share of the steps that it takes, else steps
 *     batch        = 16,                -- sequences a step
 *     length       = 512,               -- tokens of a sequence, at most; left out: the model's
 *                                       -- context, 2048 at most
 *     micro_tokens = 2048,              -- tokens of one pass, about
 *     weight_decay = 0,
 *     betas        = { 0.9, 0.999 },
 *     clip         = 1,                 -- the gradient's norm at most; 0: any
 *     router       = "same",            -- the cell's, seqtopk in mode global; or a router
 *     balance_loss = 0, z_loss = 0,     -- factors of these losses
 *     train_only   = "all",             -- or "router" or "experts"
 *     loss_on      = "completion",      -- or "all"; whole texts always count whole
 *     matryoshka   = { K = { 8, 4, 2 }, per = "step" },  -- K is drawn; per = "layer": for each layer
 *     online       = 0,                 -- of seqtopk in mode global: the share of the steps, drawn by
 *                                       -- the seed, that select by mode online; or "anneal": it
 *                                       -- rises from 0 in the first step to 1 in the last. What is
 *                                       -- held out is scored by global all the same
 *     prune        = { share = 0.25, texts = 64 },  -- first each layer loses this share of its
 *                                       -- experts, those with the smallest load over `texts` lessons
 *                                       -- (64 where not said): see train/prune.h; not of pretrain
 *     seed         = 1,                 -- left out: the cell's
 *     dtype        = "float32",         -- of the arithmetic; or "bfloat16"
 *     save         = "float32",         -- of the trained model's file; or "bfloat16"
 *     optimiser    = "adamw",           -- or "adamw8bit", for models that fill a GPU: see
 *                                       -- torch_adam8.h for its bytes a parameter
 *     checkpointing = false,            -- true: layers are computed again for their gradients, which
 *                                       -- takes a third longer and keeps little; the same numbers
 *
 * Values are the defaults where one is told above; pretrain { ... } has its own, see
 * recipe_train_defaults().
 * Invariant: in a struct recipe_train that was read every value has its type and range, and exactly
 * one of steps and epochs is said.
 * Leaves out: whether the data are there, and what routers and lengths come to with a model
 * (sweep_training.h).
 */
#ifndef RECIPE_TRAIN_H
#define RECIPE_TRAIN_H

#include "recipe/lesson_data.h"
#include "recipe/recipe.h"
#include "training.h"

enum {
    LENGTH_DEFAULT = 2048, /* where the model's context is longer */
    PRUNE_TEXTS = 64,
};

/* One element of a sweep's `train`. */
struct recipe_train {
    struct lua_place at;
    bool trains;         /* false: none(), and the rest is not used */
    bool pretrains;      /* pretrain { ... } */
    struct training how; /* `length` 0: not said */
    bool seeded;         /* `seed` was said */
    bool routed;         /* `router` was said, and is not "same" */
    struct recipe_router router;
    struct lesson_data data;
    char *name; /* NULL: not said */
};

/* Zeroes, and what holds where a recipe is silent. */
void recipe_train_defaults(struct recipe_train *t, bool pretrains);
void recipe_train_release(struct recipe_train *t);

/* Reads none() or sft { ... }, which is on top of the stack. */
int recipe_train_read(lua_State *L, const struct lua_place *at, const struct field *f,
                      struct recipe_train *t, struct buf *err) MUST_USE;

/*
 * The fields that are listed above, for a struct that holds a struct recipe_train at `offset`:
 * appends them to out, [RECIPE_TRAIN_FIELDS]. recipe_train_check() after they were read.
 */
enum { RECIPE_TRAIN_FIELDS = 25 };
void recipe_train_fields(size_t offset, struct field *out);
int recipe_train_check(struct recipe_train *t, struct buf *err) MUST_USE;

/* The words of a recipe, by the enums of training.h; each list is ended by NULL. */
extern const char *const training_schedules[],
    *const training_parts[], *const training_losses[], *const training_dtypes[],
                                                           *const training_optimisers[];

/*
 * All of a training's settings but the router, as text: a line for each, for its identity; those
 * that differ from the defaults, for people; as JSON members. The identity says nothing of
 * checkpointing, which changes no number, of the optimiser only where it is not "adamw", and of
 * `online` and `prune` only where they are said.
 */
void training_identity(const struct training *t, struct buf *out);
void training_changes(const struct recipe_train *t, struct buf *out);
void training_json(const struct training *t, struct buf *out);

#endif
