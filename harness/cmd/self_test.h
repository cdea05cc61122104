/*
 * self_test.h: do the measures of evals/ measure what they should? Every golden case of every
 * measure, and every form's self_test on all documents of its data.
 *
 * Invariant: what could not be tested is said, with the reason, and never counts as right.
 * Leaves out: judges, which give no two answers alike.
 */
#ifndef SELF_TEST_H
#define SELF_TEST_H

#include "util.h"

enum check {
    CHECK_OK,
    CHECK_BAD,
    CHECK_SKIPPED, /* and why */
};

/* What was tested, in a few words, and what came of it. */
typedef void say_check(enum check c, const char *what, const char *text);

struct tools;
/* no_code: why programs are not run, where tools->sandbox is NULL. */
void self_test_all(const struct tools *tools, const char *no_code, int threads, say_check *say);

/* Is every file there that the evals name, and is its sum right? */
void self_test_data(say_check *say);

#endif
