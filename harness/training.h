/*
 * training.h: how a model is trained, as plain numbers: what a recipe says in sft { ... } and
 * pretrain { ... }, and the trainer does.
 *
 * Leaves out: which model, router and data (recipe/sweep.h, recipe/pretrain.h).
 */
#ifndef TRAINING_H
#define TRAINING_H

#include "dtype.h"

#include <stdbool.h>
#include <stdint.h>

enum schedule {
    SCHEDULE_CONSTANT,
    SCHEDULE_LINEAR, /* from lr down to 0 behind the last step */
    SCHEDULE_COSINE, /* likewise, along half a cosine */
};

enum train_only {
    TRAIN_ALL,
    TRAIN_ROUTER,  /* the routers' matrices alone */
    TRAIN_EXPERTS, /* the routed experts' matrices alone */
};

enum loss_on {
    LOSS_COMPLETION, /* tokens of the completion, the end token included */
    LOSS_ALL,        /* every token but a sequence's first */
};

enum optimiser {
    OPTIMISER_ADAMW,     /* averages in float32 */
    OPTIMISER_ADAMW8BIT, /* averages in 8 bits a number, a float32 scale for every 256 */
};

enum { MATRYOSHKA_MAX = 16 };

struct training {
    int64_t steps; /* of the optimiser; 0: `epochs` says how many */
    double epochs; /* times that all of the data are seen; 0: `steps` says */
    double lr;     /* at the schedule's top; 0 changes no weight */
    int schedule;  /* enum schedule */
    double warmup; /* below 1: the share of the steps in which lr rises from 0; else their number */
    int batch;     /* sequences a step */
    int length;    /* tokens of a sequence, at most */
    int micro_tokens;    /* tokens of one forward and backward pass, about: more are accumulated */
    double weight_decay; /* of matrices; norms and biases have none */
    double beta1, beta2; /* of AdamW; its epsilon is 1e-8 */
    double clip;         /* the gradient's norm at most; 0: any */
    double balance_loss, z_loss; /* factors of these losses; 0: none */
    int only;                    /* enum train_only */
    int loss_on;                 /* enum loss_on */
    int64_t seed;
    enum dtype dtype;   /* of the arithmetic; the weights that AdamW changes are float32 */
    int optimiser;      /* enum optimiser */
    bool checkpointing; /* layers are computed again for the backward pass, and little is kept */
    enum dtype save;    /* of the trained model's file */
    int nmatryoshka;    /* 0: K is the cell's */
    int matryoshka[MATRYOSHKA_MAX]; /* else K is drawn from these ... */
    bool matryoshka_by_layer;       /* ... for each layer of each step, instead of each step */
    double prune;       /* the share of its experts that each layer loses first; 0: none */
    int prune_texts;    /* lessons that say which: see train/prune.h */
    double online;      /* seqtopk: the share of the steps that select by mode online; 0: none */
    bool online_anneal; /* instead: it rises from 0 in the first step to 1 in the last */
};

/* Which K trains in a step (from 0) and layer: drawn by the seed; `K` where nothing is drawn. */
int training_K(const struct training *t, int K, int64_t step, int layer);

/* The experts of a layer that `prune` leaves of N. */
int training_experts(const struct training *t, int N);

/*
 * Does a step, from 0, of `steps` select by mode online? Drawn by the seed, step by step and apart
 * from K: what came before does not matter, so that a training that goes on draws the same. A single
 * step that anneals is the last one.
 */
bool training_online(const struct training *t, int64_t step, int64_t steps);

/* The learning rate of a step, from 0, of `steps`. */
double training_lr(const struct training *t, int64_t step, int64_t steps);

#endif
