/*
 * pattern.h: a tokenizer's regular expression, written for Oniguruma, as one for PCRE2.
 *
 * Invariant: what comes out splits text as Oniguruma would split it by what went in. What the two
 * libraries read differently is rewritten (\s) or refused by name (\w, \b, nested classes, ...).
 * Leaves out: whether the pattern is well formed (PCRE2 says so), and differences between the
 * libraries' versions of Unicode (a character assigned after Unicode 14 may be no letter here).
 */
#ifndef PATTERN_H
#define PATTERN_H

#include "util.h"

/* Appends the pattern for PCRE2. The error says what is not supported and at which byte. */
int pattern_translate(const char *pattern, struct buf *out, struct buf *err) MUST_USE;

#endif
