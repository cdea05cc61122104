/*
 * bpe_train.h: makes a byte-level BPE tokenizer from texts: a tokenizer.json laid out like those of
 * the default models (normal form C, GPT-2's pattern, no space before a text), which
 * tokenizer_open() reads and Hugging Face's `tokenizers` too.
 *
 * Ids: the special tokens "<|endoftext|>" (0) and "<|padding|>" (1), the 256 bytes in the order of
 * the characters that stand for them, then one token for each merge. The merge that comes next is
 * the pair of tokens that is most frequent; among equals the one with the smaller left id, then the
 * smaller right id.
 *
 * Invariant: the same texts, in whatever order, give the same file to the byte, and the merges are
 * those of the BpeTrainer of `tokenizers` with initial_alphabet = ByteLevel.alphabet() and these
 * special tokens. A special token that stands in a text is read as plain text, as there.
 * Leaves out: other patterns and normal forms, more special tokens.
 */
#ifndef BPE_TRAIN_H
#define BPE_TRAIN_H

#include "util.h"

enum {
    BPE_END = 0,        /* the id of "<|endoftext|>" */
    BPE_PADDING = 1,    /* of "<|padding|>" */
    BPE_SIZE_MIN = 258, /* a vocabulary without merges */
    BPE_FREQUENCY = 2,  /* the usual min_frequency */
};

struct bpe_training {
    int size;              /* tokens of the vocabulary at most: from BPE_SIZE_MIN on */
    int64_t min_frequency; /* a pair that is rarer is not merged; 1 or more */
};

/* What came of it. */
struct bpe_trained {
    int size; /* tokens of the vocabulary; fewer than asked for where no pair was left to merge */
    int64_t texts, bytes; /* that were read */
    int64_t words;        /* of them that differ: a merge never reaches across words */
};

/* Gives the next text, which must live until the next call: 1, 0: there is none left, -1 failed. */
typedef int bpe_next_fn(void *ctx, const char **text, size_t *len, struct buf *err);

/*
 * Reads all texts and appends the tokenizer.json to `json`, which write_file() can put in its place;
 * on failure `json` is as it was. Refused: a size out of range, a text that is not UTF-8 (which text,
 * from 1, and at which byte), no text at all. `out` may be NULL. Time: 95 MB of English and code to
 * 8192 tokens in about 10 seconds on one core; memory: some 250 bytes for each different
 * word.
 */
int bpe_train(const struct bpe_training *t, bpe_next_fn *next, void *ctx, struct buf *json,
              struct bpe_trained *out, struct buf *err) MUST_USE;

/* Is the text one of its special tokens? */
bool bpe_train_special(const char *text);

#endif
