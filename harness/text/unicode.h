/*
 * unicode.h: the few facts about Unicode that a tokenizer needs: normal form C, and what counts as
 * a space or as a part of a word.
 *
 * Invariant: every function takes valid UTF-8; the caller has checked it.
 * Leaves out: case, other normal forms, grapheme clusters.
 */
#ifndef UNICODE_H
#define UNICODE_H

#include "util.h"

/*
 * Text in normal form C: `*out` and `*out_len` point into `text`, where that is in the normal form
 * already, or into `room`, whose content is replaced.
 */
int unicode_nfc(const char *text, size_t len, struct buf *room, const char **out, size_t *out_len,
                struct buf *err) MUST_USE;

/* Bytes of white space (Unicode's White_Space) at the start and at the end of `s`. */
size_t unicode_spaces_at_start(const char *s, size_t len);
size_t unicode_spaces_at_end(const char *s, size_t len);

/* Whether the first or the last character is a word's: a letter, mark, digit or connector. */
bool unicode_starts_with_word(const char *s, size_t len);
bool unicode_ends_with_word(const char *s, size_t len);

#endif
