/*
 * bpe_train_impl.h: what the files of the BPE trainer share, and nobody else includes:
 * bpe_train.c reads the texts and writes the file, bpe_merge.c finds the merges.
 *
 * Invariant: a word's symbols, end to end, spell its bytes.
 */
#ifndef BPE_TRAIN_IMPL_H
#define BPE_TRAIN_IMPL_H

#include "text/bpe_train.h"

/* A word of the texts, cut into tokens. */
struct train_word {
    size_t at;     /* of its first symbol */
    uint32_t len;  /* symbols: fewer with each merge */
    int64_t count; /* times that it is in the texts */
};

struct train_words {
    struct train_word *v;
    size_t len, cap;
    int32_t *symbols; /* of all words */
};

struct train_merge {
    int32_t left, right;
};

/* A token's bytes. */
struct train_token {
    size_t at; /* in `bytes` */
    size_t len;
};

/* The vocabulary as it grows, and the merges in their order. */
struct train_model {
    struct train_token *tokens; /* by id; those of special tokens have no bytes */
    size_t ntokens, tokens_cap;
    struct buf bytes;
    struct train_merge *merges;
    size_t nmerges, merges_cap;
};

/* Adds merges to a model of single bytes, and joins the symbols of the words. */
void bpe_merge_words(const struct bpe_training *t, struct train_words *words,
                     struct train_model *m);

#endif
