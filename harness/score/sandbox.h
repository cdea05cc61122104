/*
 * sandbox.h: runs a Python program that nobody has read, in bubblewrap: no network, no home, a
 * read-only system, a private /tmp, its own process namespace, a seccomp filter, limits on
 * processor time, memory, file size, processes and output, and a wall clock. As root it becomes
 * nobody first.
 *
 * The program is run in empty globals, as HumanEval's own harness runs it: __name__ is "builtins",
 * standard input raises, output is thrown away, SystemExit is an exception like others. It has the
 * standard library of /usr/bin/python3 and nothing else. Hashes of strings are not random, so that
 * the same program prints its sets in one order.
 *
 * Invariant: a program runs in all of that or not at all. Each run is on its own; threads may run
 * programs side by side. When a run returns, no process of it is left.
 * Leaves out: programs in other languages, and telling apart a program that means to fool its score
 * from one that is right. The runner says what came of a program behind a nonce that the program is
 * not handed, so ending early or printing "passed" does not pass; but both live in one interpreter,
 * and a program that looks through its frames finds the nonce, as one that redefines equality
 * passes any assertion. Limits hold for each process: 15 at most, of 512 MiB each.
 */
#ifndef SANDBOX_H
#define SANDBOX_H

#include "util.h"

struct sandbox;

/*
 * Finds bwrap, python3 and what else is needed, and runs a canary that looks at every property from
 * the inside. NULL: `err` says what is missing or did not hold, and how to get it.
 */
struct sandbox *sandbox_open(struct buf *err) MUST_USE;
void sandbox_close(struct sandbox *s);

enum outcome {
    OUTCOME_PASSED,  /* ended by itself, without an exception */
    OUTCOME_RAISED,  /* `exception` is its class: "AssertionError"; SystemExit is one too */
    OUTCOME_TIMEOUT, /* the wall clock, or the processor time that goes with it */
    OUTCOME_KILLED,  /* ended without a word: a signal, os._exit() */
    OUTCOME_OUTPUT,  /* wrote more than the 1 MiB that is read */
};
struct outcome_of {
    enum outcome outcome;
    /* Letters, digits and _. Of a class whose name is longer, or has others, or is that of another
     * outcome: the nearest of its bases for which that is not so. */
    char exception[64];
    double seconds; /* wall clock, from the program's start; the sandbox's own is not counted */
};

/*
 * Runs `program` (source in UTF-8, `len` bytes, up to 16 MiB). -1: the sandbox itself broke; never
 * a verdict on the program.
 */
int sandbox_run(struct sandbox *s, const char *program, size_t len, int milliseconds,
                struct outcome_of *out, struct buf *err) MUST_USE;

/* "passed", "timeout", "AssertionError", "killed", "output limit": for the database. */
const char *outcome_name(const struct outcome_of *o);

#endif
