/*
 * generate_text.h: the bytes of a text while it is written, and where a stop string ends it.
 *
 * Stop strings are looked for twice: in what is shown, and in the same with the text of special
 * tokens, since "<|im_end|>" as a stop means the token as well as its spelling.
 *
 * Invariant: `shown` is `all` without the bytes of `hidden`.
 * Leaves out: end tokens, which are told by their ids and are no part of the text.
 */
#ifndef GENERATE_TEXT_H
#define GENERATE_TEXT_H

#include "text/tokenizer.h"

/* A text begins as zeroes + written_init(). */
struct written {
    struct buf shown, all; /* without special tokens, and with them */
    struct hidden {
        size_t from, len; /* in `all` */
    } * hidden;           /* the special tokens, in order */
    size_t nhidden, hidden_cap;
    size_t shown_before, all_before; /* lengths before the newest token */
};
void written_init(struct written *w);
void written_release(struct written *w);

/* Adds a token. An id that the tokenizer has not stands for nothing. */
void written_add(struct written *w, const struct tokenizer *t, int32_t id);

/*
 * Cuts `shown` before the first stop string that ends in the newest token: one of `stop`, or of
 * `more` (NULL: there are none). false: there is none in it. Empty strings stop nothing.
 */
bool written_stop(struct written *w, const struct strings *stop, const struct strings *more);

#endif
