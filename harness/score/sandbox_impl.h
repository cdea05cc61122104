/*
 * sandbox_impl.h: what the files of the sandbox share. Tests include it to take single walls away
 * and see that it is noticed.
 *
 *   sandbox.c         a run's clock, its verdict and its end
 *   sandbox_trial.c     its channels, and what comes over them
 *   sandbox_open.c    the command line of bwrap, and the check that all of it holds
 *   sandbox_spawn.c   the child, between our process and bwrap
 *   sandbox_filter.c  which system calls a program may make
 *   sandbox_runner.py, sandbox_canary.py   what runs inside
 *
 * Leaves out: what callers need (sandbox.h).
 */
#ifndef SANDBOX_IMPL_H
#define SANDBOX_IMPL_H

#include "score/sandbox.h"

#include <sys/types.h>

/* What the child sees under these numbers; all others are closed. */
enum {
    SANDBOX_STDIN,
    SANDBOX_STDOUT,
    SANDBOX_STDERR,
    SANDBOX_CONTROL, /* the socket on which the runner gets the program and answers */
    SANDBOX_FILTER,  /* bwrap reads the filter here ... */
    SANDBOX_INFO,    /* ... and writes here which process is the sandbox's first */
    SANDBOX_FDS,
};

/* What is read of a program's stdout and stderr, together; what goes beyond is an outcome. */
#define SANDBOX_OUTPUT ((size_t)1 << 20)
#define SANDBOX_PROGRAM ((size_t)16 << 20) /* bytes of source that are accepted */
#define SANDBOX_HEARD ((size_t)64 << 10)   /* bytes from the control socket; a runner sends 200 */

struct sandbox {
    struct strings argv; /* bwrap, its options, python3 and the runner */
    struct buf filter;   /* struct sock_filter [] */
    int null;            /* /dev/null */
};

extern const char sandbox_runner_py[], sandbox_canary_py[];

/* The same as sandbox_open() without the check, and the check: -1 where a property does not hold. */
struct sandbox *sandbox_new(struct buf *err) MUST_USE;
int sandbox_check(struct sandbox *s, struct buf *err) MUST_USE;

/* Appends the filter, as bwrap --seccomp reads it. */
int sandbox_filter(struct buf *out, struct buf *err) MUST_USE;

/* Starts bwrap as an unprivileged user. The result is a pidfd, which the caller waits for. */
int sandbox_spawn(const struct sandbox *s, const int fds[SANDBOX_FDS], int cpu_seconds,
                  struct buf *err) MUST_USE;

/* sandbox_run(), which also gives the first few KiB of what the program wrote. */
int sandbox_run_hearing(struct sandbox *s, const char *program, size_t len, int milliseconds,
                        struct outcome_of *out, struct buf *said, struct buf *err) MUST_USE;

/* Fills `hex` with 32 random digits that nobody can guess. */
void sandbox_nonce(char hex[33]);

/* The processor time that goes with a wall clock: whole seconds, and one more. */
int sandbox_cpu_seconds(int milliseconds);

#endif
