/*
 * memo.h: a hash table from byte strings to lists of token ids: what a tokenizer has worked out for
 * a piece of text before.
 *
 * Invariant: at most `max` entries; one more, and the table is emptied first. Keys are not empty.
 * Leaves out: removal of one entry, more than 4 GB of keys.
 */
#ifndef MEMO_H
#define MEMO_H

#include "util.h"

struct memo_slot {
    uint32_t hash;
    uint32_t key, key_len; /* in `keys`; length 0: the slot is free */
    uint32_t first, n;     /* in `ids` */
};

struct memo {
    struct memo_slot *slots; /* a power of two of them, at least half of them free */
    size_t mask, used, max;
    struct buf keys;
    struct ids ids;
};

void memo_init(struct memo *m, size_t max);
void memo_release(struct memo *m);

/* The ids of a key and how many (`n`); NULL where it is not known. Good until the next memo_add. */
const int32_t *memo_find(const struct memo *m, const char *key, size_t len, size_t *n);

/* Copies a key that is not in the table, and its ids. */
void memo_add(struct memo *m, const char *key, size_t len, const int32_t *ids, size_t n);

#endif
