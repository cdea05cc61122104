/*
 * regex.h: Perl's regular expressions (PCRE2), with the habits of Python's `re` where the two could
 * differ and a score would: \d, \w and \s are Unicode's classes, `.` is everything but \n, and a
 * search goes on behind an empty match as findall() and sub() do.
 *
 * Invariant: nothing runs away: a search that takes too many steps is an error that says so, within
 * seconds, and the same search fails on every machine. A regex that was made is never written
 * to: threads share it.
 * Leaves out: what only Python has (its \Z is Perl's \z; {,3} is no repeat in Perl).
 */
#ifndef REGEX_H
#define REGEX_H

#include "util.h"

struct regex;
/* The error says what is wrong with the pattern and where. */
struct regex *regex_new(const char *pattern, struct buf *err) MUST_USE;
void regex_free(struct regex *r);

/* How many groups it has. */
int regex_groups(const struct regex *r);

/*
 * Appends what the first or the last match has: group 1 where that took part, else any other group
 * that is not empty, else the whole match. Matches do not overlap; the last is the last of all from
 * left to right. 1: found, 0: not, -1: `err` says which pattern gave up. Bytes of the text that are
 * no UTF-8 are read as U+FFFD.
 */
int regex_find(const struct regex *r, const char *text, size_t len, bool last, struct buf *found,
               struct buf *err) MUST_USE;

/*
 * Appends the text with every match replaced by `with`, in which $1 to $9 are groups (nothing where
 * one took no part) and $$ is a dollar sign; regex_check_with() has found no fault in it.
 */
int regex_replace(const struct regex *r, const char *text, size_t len, const char *with,
                  struct buf *out, struct buf *err) MUST_USE;
int regex_check_with(const struct regex *r, const char *with, struct buf *err) MUST_USE;

#endif
