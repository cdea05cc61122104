/*
 * bpe_impl.h: what bpe_load.c fills, and bpe.c and bpe_cut.c work with; nobody else
 * includes it.
 */
#ifndef BPE_IMPL_H
#define BPE_IMPL_H

#include "text/bpe.h"
#include "text/memo.h"

struct bpe_token {
    size_t at; /* in `bytes` */
    uint32_t len;
    bool known;
};

/* A pair of ids and the merge that joins them. */
struct bpe_pair {
    uint64_t key;
    int32_t rank; /* -1: the slot is free */
};

/* A token of the pre-token at work; `next` and `prev` are places in the array, -1 at the ends. */
struct bpe_symbol {
    int32_t id; /* -1: merged into the one before */
    int32_t prev, next;
};

struct bpe {
    struct bpe_token *tokens; /* [size], by id */
    int size;
    struct buf bytes;
    int32_t byte_id[256];   /* -1: the byte has no token */
    struct bpe_pair *pairs; /* open addressing, a power of two of slots */
    size_t pair_mask;
    int32_t *merged;   /* [merges], by rank: the id that the merge makes */
    bool whole_first;  /* ignore_merges: a pre-token that is a token is not taken apart */
    struct memo whole; /* for that: all tokens, as text has them */
    bool falls_back;   /* byte_fallback: */
    struct memo chars; /* the tokens of one character */
    uint64_t *joins;   /* see bpe_cut.c: open addressing, a power of two of slots; 0 is free */
    size_t joins_mask;
    bool whole_pieces; /* bpe_cut() cuts nowhere */
    struct memo cache;
    struct bpe_symbol *symbols; /* room for merging */
    uint64_t *heap;             /* rank, then place */
    size_t symbols_cap, heap_cap, heap_len;
};

static inline uint64_t bpe_pair_key(int32_t left, int32_t right)
{
    return (uint64_t)left << 32 | (uint32_t)right;
}

/* The slot of the pair, or the free slot where it would go. */
struct bpe_pair *bpe_pair(const struct bpe *b, int32_t left, int32_t right);

/* Bytes of the character of valid UTF-8 at `s`. */
static inline size_t bpe_char_len(const char *s)
{
    unsigned char c = (unsigned char)*s;
    return c < 0x80 ? 1 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
}

/* Makes room for what bpe_cut_merge() notes of `merges` merges. */
void bpe_cut_init(struct bpe *b, size_t merges);
/* Notes a merge: its halves as they are written, valid UTF-8. */
void bpe_cut_merge(struct bpe *b, const char *left, size_t left_len, const char *right,
                   size_t right_len);
/* Where the first part of a pre-token ends that no merge reaches out of. */
size_t bpe_cut(const struct bpe *b, const char *s, size_t len);

/* Fills a zeroed `b` from the object "model" of the file `path`. */
int bpe_load(struct bpe *b, const char *path, const json_t *model, struct buf *err) MUST_USE;

#endif
