/*
 * python_random.h: the numbers that Python's random.Random(seed) draws, for protocols whose few
 * shots were drawn by it.
 *
 * Source: the Mersenne Twister MT19937 of Matsumoto and Nishimura (1998), seeded by an array; how
 * Python (3.2 to 3.13) makes numbers below n and samples from it.
 * Invariant: with the same seed and the same calls, the same numbers as Python's.
 * Leaves out: seeds beyond 32 bits, and all other ways to draw.
 */
#ifndef PYTHON_RANDOM_H
#define PYTHON_RANDOM_H

#include "util.h"

struct python_random {
    uint32_t state[624];
    int at; /* the next word of state; 624: all were used */
};

void python_random_init(struct python_random *r, uint32_t seed);

/* getrandbits(bits), 1 to 32 of them. */
uint32_t python_random_bits(struct python_random *r, int bits);

/* sample(range(n), k): k different numbers below n into out[k]. k <= n < 2^31 */
void python_random_sample(struct python_random *r, uint32_t n, uint32_t k, uint32_t *out);

#endif
