/*
 * run_workers.c: the processes of a crew are made here, and waited for. See run_workers.h.
 */
#include "run_impl.h"

#include "run_workers_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- processes ---- */

/* What a new process does before anything else. */
NORETURN static void begin_member(const struct crew *c, int number, int socket, int said,
                                  pid_t parent)
{
    struct crew_member m = {
        .spec = &c->spec, .number = number, .socket = socket, .turn = c->turn
    };
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(1);
    // The other ends are the first process's: it is the one that closes them.
    for (int i = 0; i < c->n; i++)
        close(c->v[i].socket);
    if (said >= 0)
        dup2(said, STDERR_FILENO);
    member_main(&m);
}

static int start(struct crew *c, struct buf *err)
{
    int sockets[2], said[2] = { -1, -1 };
    pid_t parent = getpid();
    struct process *p = &c->v[c->n];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets) != 0 ||
        (c->shown && pipe2(said, O_CLOEXEC) != 0))
        return fail(err, "no more processes can be made: %s", strerror(errno));
    pid_t pid = fork();
    if (pid == 0) {
        close(sockets[0]);
        begin_member(c, c->n, sockets[1], said[1], parent);
    }
    close(sockets[1]);
    if (said[1] >= 0)
        close(said[1]);
    if (pid < 0) {
        close(sockets[0]);
        return fail(err, "no more processes can be made: %s", strerror(errno));
    }
    const struct strings *devices = c->spec.devices;
    *p = (struct process){ .pid = pid,
                           .socket = sockets[0],
                           .said = said[0],
                           .device = devices->v[(size_t)c->n % devices->len],
                           .has = xcalloc(MESSAGE_CELLS_MAX, sizeof(*p->has)) };
    buf_init(&p->line);
    c->n++;
    return 0;
}

struct crew *crew_new(const struct crew_spec *spec, struct buf *err)
{
    struct crew *c = xcalloc(1, sizeof(*c));
    c->spec = *spec;
    c->shown = isatty(STDERR_FILENO);
    c->v = xcalloc((size_t)spec->processes, sizeof(*c->v));
    c->turn = store_turn_new(err);
    int rc = c->turn ? 0 : -1;
    fflush(stdout);
    while (rc == 0 && c->n < spec->processes)
        rc = start(c, err);
    if (rc == 0)
        return c;
    crew_free(c);
    return NULL;
}

void process_dismiss(struct process *p)
{
    if (p->socket >= 0)
        shutdown(p->socket, SHUT_WR);
    if (p->state < LEAVES)
        p->state = LEAVES;
}

char *process_reap(struct process *p)
{
    int status = 0;
    while (waitpid(p->pid, &status, 0) < 0 && errno == EINTR)
        ;
    close(p->socket);
    p->socket = -1;
    p->state = GONE;
    if (WIFSIGNALED(status))
        return xasprintf("was ended by signal %d (%s)", WTERMSIG(status),
                         strsignal(WTERMSIG(status)));
    // One that has nothing to do ends so for no other reason.
    if (WEXITSTATUS(status) == 0)
        return xstrdup("was asked to end");
    return xasprintf("ended with exit code %d", WEXITSTATUS(status));
}

void crew_free(struct crew *c)
{
    if (!c)
        return;
    for (int i = 0; i < c->n; i++) {
        struct process *p = &c->v[i];
        if (p->state != GONE) {
            process_dismiss(p);
            free(process_reap(p));
        }
        if (p->said >= 0)
            close(p->said);
        buf_release(&p->line);
        free(p->has);
    }
    store_turn_free(c->turn);
    free(c->last_death);
    free(c->v);
    free(c);
}
