/*
 * generate.h: continues texts: many at once, each with its own router, length and random numbers.
 * Texts wait in a queue; each thread keeps a batch of them under way, and as one ends the next one
 * enters (continuous batching).
 *
 * Invariant: what is written hangs on the text's own prompt, router, decoding and seed alone, not on
 * its neighbours (but for the rounding of devices that sum in another order). Every text that was
 * put in comes out once.
 * Leaves out: prompts and scores (recipe/, score/), and the store.
 */
#ifndef GENERATE_H
#define GENERATE_H

#include "decoding.h"
#include "model.h"
#include "text/tokenizer.h"

/* One text: what is asked (borrowed until it comes out), and what came of it. */
struct generation {
    const int32_t *prompt;
    int prompt_tokens;
    const struct router *router; /* must decode */
    struct router_args args;
    const struct decoding *decoding;
    uint64_t seed; /* sampler_seed() */

    int rc; /* -1: failed, and `err` says why */
    struct buf err;
    enum stop_reason stop;
    struct buf output;    /* without the stop string and special tokens; clean UTF-8 */
    struct ids ids;       /* [T]: prompt and what was written, end token and stop string included */
    float *nll, *entropy; /* [T]; nll[0] NaN */
    uint16_t *used;       /* [layers, T] */
    int32_t *load_tokens; /* [layers, N] */
    double *load_weight;  /* [layers, N] */
    double seconds;       /* its share of the steps that it took part in */

    struct generation *next; /* the generator's */
    void *owner;             /* the caller's */
};
/* Zeroes and what is asked to begin with; this frees what came of it. */
void generation_release(struct generation *g);

struct generator;
/* What a generator works with; all borrowed. */
struct generator_spec {
    const struct engine *engine;
    struct model *model;
    const struct model_config *config;
    const struct tokenizer *tokenizer;
    int threads, slots; /* texts in each thread's batch */
    int capacity; /* tokens of the longest text with its prompt; at most the context is used */
    bool (*stopped)(void); /* once true, all texts come out at once, with rc -1; NULL: never */
};
struct generator *generator_new(const struct generator_spec *spec, struct buf *err) MUST_USE;
void generator_free(struct generator *g); /* no text may be under way */

/*
 * Texts side by side in a thread's batch: `slots`, or less where the memory was too short for a step:
 * then the batch is halved, keys and values of fewer texts are held, and its texts begin again.
 */
int generator_batch(struct generator *g);

/* prompt_tokens from 1 to capacity - 1. */
void generator_put(struct generator *g, struct generation *text);
/* Waits for the next text that has ended. NULL: none is under way. */
struct generation *generator_take(struct generator *g);

#endif
