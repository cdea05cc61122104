/*
 * stats_sort.h: many numbers into order, in time that grows as their number does: by their digits,
 * without comparing two of them.
 *
 * Invariant: what is equal stays in the order in which it stood.
 */
#ifndef STATS_SORT_H
#define STATS_SORT_H

#include "util.h"

struct keyed {
    uint32_t key;
    uint32_t index; /* which one it is; the caller's own */
};

/* Keys in whose order the values are; 0 and -0 are equal. `v` is not NaN. */
uint32_t key_of_float(float v);
uint32_t key_of_int(int32_t v);

/* Smallest key first. v: [n] */
void keyed_sort(struct keyed *v, size_t n);

#endif
