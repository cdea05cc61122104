/*
 * run_pretrain.h: a model made from nothing, as pretrain { ... } says: its tokenizer is trained or
 * found, its weights are drawn, and from there on it is a training like every other.
 *
 * The trained folder's id is the hash of what makes it: the model's sizes, the seed of its weights,
 * the tokenizer's file or all that it is trained on, and the training (recipe/sweep.h). In the folder
 * of trained models lie beside it, while they are needed, ID.base, the model with random weights, and
 * for good tokenizer-HASH.json, a tokenizer that was trained.
 *
 * Invariant: data, tokenizer and `out` are checked before any of these is made.
 */
#ifndef RUN_PRETRAIN_H
#define RUN_PRETRAIN_H

#include "run_train.h"

struct pretraining;

/* Checks all that can be known. `r` has pretrain { ... } and lives as long; `device` is its name. */
struct pretraining *pretraining_open(const struct recipe *r, const char *device,
                                     struct buf *err) MUST_USE;
void pretraining_free(struct pretraining *p);
/* Was it made before? A folder `out` with the same model is enough. */
bool pretraining_there(const struct pretraining *p);
const struct sweep_training *pretraining_training(const struct pretraining *p);

/* Makes it, or finds it, and copies it to `out` where the recipe says so. */
int pretraining_run(struct pretraining *p, const struct train_place *place,
                    struct train_result *result, struct buf *err) MUST_USE;
/* The folder of the finished model: `out`, where the recipe says it. */
const char *pretraining_dir(const struct pretraining *p);

#endif
