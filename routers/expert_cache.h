/*
 * expert_cache.h: the Expert Cache of Online SeqTopK: all scores of a sequence so far, kept so
 * that the (t*K)-th largest of t*N is at hand.
 *
 * Two heaps: `top` has the t*K largest with the smallest of them on top, `rest` has the others with
 * their largest on top. A token adds N scores, nearly all of which come to lie near the leaves, and
 * moves a few between the tops: O(N log(t*N)) at worst, and in effect the same at every position.
 * Invariant: no score in `rest` is larger than any in `top`; `top` has exactly t*K.
 */
#ifndef EXPERT_CACHE_H
#define EXPERT_CACHE_H

#include "util.h"

struct heap {
    float *v; /* largest on top; `top` holds negated scores */
    size_t len, cap;
};

struct expert_cache {
    struct heap top, rest;
};

/* Zeroes to begin with. */
void expert_cache_clear(struct expert_cache *c); /* forgets the scores, keeps the memory */
void expert_cache_release(struct expert_cache *c);

size_t expert_cache_bytes(const struct expert_cache *c); /* that it keeps in memory */

/* Adds one token's scores, row [N], and returns the (t*K)-th largest of all, that token included. */
float expert_cache_add(struct expert_cache *c, const float *row, int N, int K);

#endif
