/*
 * added_tokens.h: tokens that are found in the text before anything else is done to it: special
 * tokens, and those that were added after the vocabulary was made (in GPT-NeoX, runs of spaces).
 *
 * Invariant: matches are leftmost and longest, with single_word, lstrip and rstrip, as in Hugging
 * Face's tokenizers. Tokens with normalized = false are looked for in the raw text, the others,
 * themselves normalised, in the normalised text between those.
 * Leaves out: what to do with those that are `special`.
 */
#ifndef ADDED_TOKENS_H
#define ADDED_TOKENS_H

#include "util.h"

#include <jansson.h>

struct added_tokens;

struct added_token {
    char *content;
    size_t len;
    char *pattern; /* what is looked for: the content, normalised where `normalized` says so */
    size_t pattern_len;
    int32_t id;
    bool single_word, lstrip, rstrip, normalized;
    bool special;  /* no part of the text that is shown */
    bool in_vocab; /* the vocabulary has the content too, with the same id */
};

/* Normalises `text`: `*out` points into it, or into `room`, whose content is replaced. */
typedef int added_normalize_fn(void *ctx, const char *text, size_t len, struct buf *room,
                               const char **out, size_t *out_len, struct buf *err);

/*
 * `list` is the array "added_tokens" (NULL: none) and `vocab` the object "model.vocab" of the file
 * `path`. Refused: an id that the library would not give to the token.
 */
struct added_tokens *added_tokens_new(const char *path, const json_t *list, const json_t *vocab,
                                      added_normalize_fn *normalize, void *ctx,
                                      struct buf *err) MUST_USE;
void added_tokens_free(struct added_tokens *a);

size_t added_tokens_count(const struct added_tokens *a);
const struct added_token *added_tokens_get(const struct added_tokens *a, size_t i);

/* A place where a token was found. Starts as zeroes. */
struct added_match {
    size_t start, stop; /* with the white space that the token takes away */
    size_t resume;      /* where the search goes on */
    int32_t id;
};

/*
 * The next match in `s` of the tokens that are (or are not) `normalized`; false at the end. Where
 * the match before took white space away, it may reach into this one.
 */
bool added_tokens_next(const struct added_tokens *a, bool normalized, const char *s, size_t len,
                       struct added_match *m);

#endif
