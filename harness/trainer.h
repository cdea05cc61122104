/*
 * trainer.h: a model whose weights change: gradients of a step's pieces, and AdamW. Like model.h a
 * border between the program and the engine, which it reaches through `struct engine`.
 *
 * A step is cut into pieces (micro-batches) that several threads take the gradients of, each in a
 * slot of its own; the slots are added in the order of the pieces. So a step's numbers are the same
 * to the bit on the CPU, however many threads there are.
 *
 * All that training changes or remembers is three runs of `count` numbers: the weights, and AdamW's
 * two averages. The weights lie there tensor after tensor, as they are called in the model's files. As
 * numbers they are read and written in float32; as what training goes on from, in the bytes that they
 * have in the trainer: 12 a parameter with adamw, with adamw8bit 6.03.
 * Leaves out: data, schedules, files (train/).
 */
#ifndef TRAINER_H
#define TRAINER_H

#include "model.h"
#include "training.h"

struct trainer;

/* Some sequences of a step. A pool is whole in one piece. */
struct piece {
    struct batch batch;
    const int *loss_from; /* [nsequences]: the first token of each whose loss counts, 1 or more;
                                as many as there are tokens: none does */
    double nll_weight;    /* of one token's loss in the step's: 1 / tokens that count in the step */
    double aux_weight;    /* of the piece's balance and z loss: its share of the step's tokens */
    double balance_loss, z_loss;
    const struct router_args *args; /* [layers]: over those of all pools; NULL: theirs hold */
};

/* What a piece came to. Zeroes to begin with; piece_result_release() after. */
struct piece_result {
    double nll; /* summed over nll_tokens tokens, nats */
    int64_t nll_tokens;
    double balance, z;    /* means over the layers, without their factors */
    struct scored scored; /* what the routers used; losses and entropies are not filled in */
    float *kth;           /* [layers, experts]: for a router that learns cutoffs, else NULL: each
                             expert's logit of rank max(1, floor(tokens * K / N)) in the piece */
};
void piece_result_release(struct piece_result *r);

/* A tensor of the model's files, in the run of weights. */
struct trainer_tensor {
    const char *name; /* "model.layers.0.mlp.gate.weight" */
    int ndim;
    int64_t shape[2];
    int64_t offset; /* in floats */
};

enum trainer_run {
    RUN_WEIGHTS,
    RUN_MEANS,    /* of gradients */
    RUN_SQUARES,  /* of gradients, squared */
    RUN_GRADIENT, /* what was added since the last step; can be read only */
};

/* A part of `struct engine`. */
struct trainer_functions {
    /*
     * Uses dtype, only, optimiser, checkpointing, beta1, beta2 and weight_decay of `t`. `slots`:
     * threads at work at once.
     */
    struct trainer *(*open)(const struct weights *w, struct device device, const struct training *t,
                            int slots, struct buf *err);
    void (*close)(struct trainer *t);

    /* The piece's gradient, into the slot. Other threads may be at work in other slots. */
    int (*gradient)(struct trainer *t, int slot, const struct piece *piece,
                    struct piece_result *out, struct buf *err);
    /* Adds slots 0 .. n - 1, in this order, to the step's gradient. */
    int (*add)(struct trainer *t, int n, struct buf *err);
    /*
     * AdamW with the sum of what was added, which is forgotten. `norm` gets the gradient's, before
     * it is clipped. -1: it is not finite, and nothing has changed.
     */
    int (*step)(struct trainer *t, double lr, double clip, double *norm, struct buf *err);

    /* The tensors, in the order of their offsets; valid as long as the trainer. */
    const struct trainer_tensor *(*tensors)(const struct trainer *t, size_t *n);
    int64_t (*count)(const struct trainer *t); /* floats of a run */
    int64_t (*steps)(const struct trainer *t); /* that AdamW has done */
    /* values: [count], in the host's memory. `write` of a run that was read goes on to the bit. */
    int (*read)(struct trainer *t, enum trainer_run run, float *values, struct buf *err);
    int (*write)(struct trainer *t, enum trainer_run run, const float *values, struct buf *err);
    /*
     * n weights from the at-th on, in the host's memory: in float32, or in bfloat16, rounded to the
     * nearest and a tie to even. What a model's file has, without a second copy of the model.
     */
    int (*weights)(struct trainer *t, int64_t at, int64_t n, enum dtype dtype, void *values,
                   struct buf *err);
    void (*set_steps)(struct trainer *t, int64_t steps);
    /*
     * The bytes of all three runs; those from `at` to at + n - 1 go out and come in. They mean
     * something to a trainer alone that was opened alike; one that was given all of them, and
     * set_steps(), goes on to the bit.
     */
    int64_t (*state_bytes)(const struct trainer *t);
    int (*state_get)(struct trainer *t, int64_t at, int64_t n, void *bytes, struct buf *err);
    int (*state_put)(struct trainer *t, int64_t at, int64_t n, const void *bytes, struct buf *err);
    /* Losses without gradients, as of `struct engine`, by the weights as they are now. */
    int (*score)(struct trainer *t, const struct batch *batch, struct scored *out, struct buf *err);
    /* (optional) The most bytes of the device's memory so far; 0: not known, as on the CPU. */
    int64_t (*peak)(const struct trainer *t);
};

#endif
