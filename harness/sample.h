/*
 * sample.h: draws the next token from a row of logits.
 *
 * Greedy takes the largest logit, of equal ones the smallest id. Sampling divides the logits by the
 * temperature, keeps the smallest set of most probable tokens whose probabilities come to top_p or
 * more (of equal ones the smaller ids), and draws from these by their probabilities.
 *
 * Invariant: the same logits and the same state give the same token: on every machine where it is
 * greedy, and where it is sampled on those whose C library has the same exp(), to the bit. Each draw
 * takes one random number, so a text's randomness does not hang on its neighbours.
 */
#ifndef SAMPLE_H
#define SAMPLE_H

#include "util.h"

struct sampler {
    double temperature; /* 0: greedy */
    double top_p;       /* in (0, 1] */
    uint64_t state;     /* of SplitMix64 (Steele, Lea and Flood 2014) */
};

/* A state for the text `doc` of a run with this seed. */
uint64_t sampler_seed(int64_t seed, int64_t doc);

/* logits: [V], finite */
int32_t sampler_draw(struct sampler *s, const float *logits, int V);

#endif
