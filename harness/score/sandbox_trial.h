/*
 * sandbox_trial.h: one program's sandbox while it runs: its channels, and what comes over them.
 *
 * Over the control socket goes: a nonce of 32 hex digits, the program's length in 16 digits, the
 * program. Back come lines, each behind the nonce: "started", then "passed" or "raised CLASS".
 * What does not begin with the nonce is not from the runner and counts for nothing.
 *
 * Invariant: nothing here waits; what cannot be read or written now is for the next time.
 * Leaves out: waiting, the clock, the verdict (sandbox.c).
 */
#ifndef SANDBOX_TRIAL_H
#define SANDBOX_TRIAL_H

#include "score/sandbox_impl.h"

enum trial_state {
    TRIAL_STARTING, /* the sandbox */
    TRIAL_RUNNING,  /* the program */
    TRIAL_ENDED,    /* `out` has the verdict */
};

struct trial {
    int control, output, info; /* our ends; -1 once nothing more will come */
    int bwrap, first;          /* pidfds: our child, and pid 1 inside (-1: not known yet) */
    char nonce[33];
    struct buf message; /* what is handed in */
    size_t sent;
    struct buf heard; /* on the control socket, from the start of a line */
    size_t heard_total, output_total;
    struct buf *said; /* the first few KiB of the output, for messages about the sandbox */
    enum trial_state state;
    double started; /* now_seconds(), of the sandbox and then of the program */
    struct outcome_of *out;
};

/* Starts a sandbox for a program. trial_close() after, also where it failed. */
int trial_open(struct trial *t, const struct sandbox *s, const char *program, size_t len,
               int cpu_seconds, struct buf *err) MUST_USE;
void trial_close(struct trial *t);

void trial_send(struct trial *t);        /* of the message what the socket takes */
void trial_hear(struct trial *t);        /* words of the runner: they set state, started and *out */
void trial_read_output(struct trial *t); /* until there is more than SANDBOX_OUTPUT */
void trial_read_info(struct trial *t);   /* which process is pid 1 inside */

void trial_end(struct trial *t, enum outcome outcome);

#endif
