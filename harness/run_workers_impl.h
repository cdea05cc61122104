/*
 * run_workers_impl.h: what the files of a crew share: run_workers.c makes the processes,
 * run_workers_lead.c deals out and listens, run_workers_member.c is what each of them does,
 * run_workers_message.c is how they talk.
 */
#ifndef RUN_WORKERS_IMPL_H
#define RUN_WORKERS_IMPL_H

#include "run_workers.h"

#include <sys/types.h>

struct runner;
struct deal;

/* ---- messages ---- */

enum message_kind {
    // To a process:
    MESSAGE_LOCK,  /* a descriptor that keeps other runs away comes with it */
    MESSAGE_CELLS, /* `cells` numbers of cells of the sweep: compute these */
    // From a process:
    MESSAGE_PROGRESS, /* `tokens` more; `cells`: done or failed, of all that it had so far */
    MESSAGE_MODEL,    /* the model of its cells is there; tokens: 1 where it was made now */
    MESSAGE_NO_MODEL, /* it could not be made; why is in `text` */
    MESSAGE_OVER,     /* it is done with its cells; tokens: 1 where it was interrupted */
    MESSAGE_LOST,     /* its device cannot be used; why is in `text` */
    MESSAGE_FAILED,   /* nothing more can be kept; why is in `text` */
};

enum { MESSAGE_CELLS_MAX = 1000, MESSAGE_TEXT_MAX = 4000 };

struct message {
    enum message_kind kind;
    int cells;
    int64_t tokens;
    union {
        uint32_t cell[MESSAGE_CELLS_MAX];
        char text[MESSAGE_TEXT_MAX];
    };
};
struct message message_of(enum message_kind kind, int64_t tokens, const char *text);
/* -1: nobody is there any more. fd: goes with it; -1: none */
int message_send(int socket, const struct message *m, int fd) MUST_USE;
/*
 * 1: there is a message. 0: the other end was closed. -1: a signal came before any message did.
 * fd: gets the descriptor that came with it, or -1.
 */
int message_receive(int socket, struct message *m, int *fd) MUST_USE;

/* ---- a process ---- */

struct crew_member {
    const struct crew_spec *spec;
    int number, socket;
    struct store_turn *turn;
};
NORETURN void member_main(struct crew_member *m);

/* What run_*.c tell, where they are a member's. */
void crew_tell_progress(struct crew_member *m, int64_t tokens, int cells);
/* What became of the model of the cells that it has. */
void crew_tell_model(struct crew_member *m, bool there, bool before, const char *why);

/* ---- the process that deals out ---- */

enum process_state {
    WAITS,  /* for cells */
    WORKS,  /* it has some */
    LEAVES, /* it was told that there is nothing more, or said that it cannot go on */
    GONE,
};

struct process {
    pid_t pid;
    enum process_state state;
    int socket;
    int said;        /* its stderr, where that is a terminal's; else -1 */
    struct buf line; /* of it, that is not whole yet */
    const char *device;
    size_t *has; /* [MESSAGE_CELLS_MAX]: of the runner's cells, what it has */
    size_t nhas;
    int cells; /* done or failed, as it said last */
};

struct crew {
    struct crew_spec spec;
    struct store_turn *turn;
    struct process *v;
    int n;
    bool shown; /* a line on the terminal is drawn */
    // While it runs:
    struct runner *r;
    struct deal *deal;
    size_t *sets;   /* [cells]: the set of each */
    size_t *others; /* [cells]: scratch */
    bool ends, failed;
    char *last_death;
};

/* Nothing more is asked of the process, which ends when it has seen that. */
void process_dismiss(struct process *p);
/* Waits for its end, and says how it ended, as a part of a sentence; the caller frees it. */
char *process_reap(struct process *p);

/* Has the crew compute what the runner planned. See sweep_run(). */
int crew_run(struct crew *c, struct runner *r, struct buf *err) MUST_USE;

#endif
