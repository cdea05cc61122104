/*
 * splitmix.h: numbers that look drawn, by SplitMix64 (Steele, Lea and Flood 2014): a counter moves on
 * by a constant, and each of its values is mixed. Good enough to shuffle, to draw and to begin
 * weights by, and the same on every machine.
 *
 * Leaves out: secrets; and which draws follow which seed, which each user says.
 */
#ifndef SPLITMIX_H
#define SPLITMIX_H

#include <stdint.h>

#define SPLITMIX_STEP UINT64_C(0x9e3779b97f4a7c15)

/* One value mixed: neighbours come out far apart. 0 stays 0. */
static inline uint64_t splitmix_mix(uint64_t z)
{
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

/* The next number of a generator, whose state moves on. */
static inline uint64_t splitmix_next(uint64_t *state)
{
    return splitmix_mix(*state += SPLITMIX_STEP);
}

#endif
