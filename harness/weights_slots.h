/*
 * weights_slots.h: which tensors the files of a model have, under which name and in which shape, for
 * weights.c alone.
 *
 * Invariant: names and shapes are those of the published checkpoints of each family; nothing else
 * knows them.
 * Leaves out: the files.
 */
#ifndef WEIGHTS_SLOTS_H
#define WEIGHTS_SLOTS_H

#include "weights.h"

enum dim { NONE, ONE, HIDDEN, QUERIES, KEYS, HEAD, EXPERTS, FFN, SHARED, VOCAB };
enum when { ALWAYS, QK_NORM, HEAD_NORM, QKV_BIAS, SHARED_EXPERT, MIXTRAL, NOT_MIXTRAL };

struct slot {
    const char *name; /* behind the layer's or the expert's own part */
    size_t at;        /* offset in struct layer_weights, of a pointer or of an array of them */
    enum dim rows, cols;
    enum when when;
};

/* The number that a dimension is in this model. */
int64_t dim_size(const struct model_config *c, enum dim d);

/* Of a layer, experts apart; those that slot_is_there() denies are another family's. */
enum { LAYER_SLOTS = 19 };
extern const struct slot layer_slots[LAYER_SLOTS];
bool slot_is_there(const struct model_config *c, const struct slot *s);
void layer_name(int layer, const struct slot *s, struct buf *name);

/* Of an expert: gate, up and down, whose places are arrays. */
enum { EXPERT_SLOTS = 3 };
const struct slot *slots_of_expert(const struct model_config *c);
void expert_name(const struct model_config *c, int layer, int expert, const struct slot *s,
                 struct buf *name);

#endif
