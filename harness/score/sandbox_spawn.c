/*
 * sandbox_spawn.c: the child between our process and bwrap.
 *
 * It shares our memory until it becomes bwrap (as vfork has it), while the thread that called
 * waits: a fork would copy the page tables of hundreds of megabytes each time, and other threads
 * may hold any lock. So between clone() and execve() there are system calls only, and what fails is
 * written straight into the caller's memory.
 *
 * As root it becomes nobody first: limits on processes do not hold for uid 0, and files of /proc
 * that steer the kernel open for it. Setting ids takes from our shared memory that others may look
 * into it or that it is dumped to a core file; that is not undone, since another thread's child may
 * be nobody just then.
 *
 * Invariant: nothing of ours reaches the child but its six files: no other file, no environment,
 * no signal handler, no privilege.
 * Leaves out: the sandbox itself (bwrap's options: sandbox_open.c), waiting for the child.
 */
#include "score/sandbox_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define NOBODY 65534
#define STACK 65536

struct child {
    char *const *argv;
    const int *fds;
    int cpu_seconds;
    pid_t parent;
    // what failed, for the parent
    const char *step;
    int error;
};

/* Limits of every process inside, by RLIMIT_*; that on processes is set by the runner. */
static const struct {
    int resource;
    rlim_t limit;
} limits[] = {
    { RLIMIT_CORE, 0 },    { RLIMIT_AS, 512 << 20 }, { RLIMIT_FSIZE, 8 << 20 },
    { RLIMIT_NOFILE, 64 }, { RLIMIT_MEMLOCK, 0 },    { RLIMIT_MSGQUEUE, 0 },
};

/* Puts the caller's files under the numbers 0, 1, 2 ... and closes all others. */
static int take_files(const int *fds)
{
    int high[SANDBOX_FDS];
    // First out of the way of the numbers that they will have.
    for (int i = 0; i < SANDBOX_FDS; i++)
        if ((high[i] = fcntl(fds[i], F_DUPFD, SANDBOX_FDS)) < 0)
            return -1;
    for (int i = 0; i < SANDBOX_FDS; i++)
        if (dup2(high[i], i) < 0)
            return -1;
    return (int)syscall(SYS_close_range, SANDBOX_FDS, ~0u, 0);
}

/* Signals as a fresh program has them. The handlers are our own copy, not the parent's. */
static int forget_signals(void)
{
    struct sigaction standard = { .sa_handler = SIG_DFL }, ignored = { .sa_handler = SIG_IGN };
    sigset_t none;
    sigemptyset(&none);
    for (int s = 1; s < NSIG; s++) {
        // What came before the session was its own waits, blocked: to ignore it is to forget it.
        sigaction(s, &ignored, NULL);
        sigaction(s, &standard, NULL); // some cannot be set: those have no handler either
    }
    return sigprocmask(SIG_SETMASK, &none, NULL);
}

/* By system calls, since libc's functions would change the ids of all our threads. */
static int drop_root(void)
{
    if (getuid() != 0 && geteuid() != 0)
        return 0;
    return syscall(SYS_setgroups, 0, NULL) != 0 ||
                   syscall(SYS_setresgid, NOBODY, NOBODY, NOBODY) != 0 ||
                   syscall(SYS_setresuid, NOBODY, NOBODY, NOBODY) != 0
               ? -1
               : 0;
}

/* Dies with the thread that called; asked for after the ids, which forget it. */
static int die_with(pid_t parent)
{
    if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) != 0)
        return -1;
    if (getppid() == parent)
        return 0;
    errno = ESRCH;
    return -1;
}

static int set_limits(int cpu_seconds)
{
    // The first of the two is a signal that tells that it was this limit.
    struct rlimit cpu = { (rlim_t)cpu_seconds, (rlim_t)cpu_seconds + 1 };
    for (size_t i = 0; i < ARRAY_LEN(limits); i++) {
        struct rlimit l = { limits[i].limit, limits[i].limit };
        if (setrlimit(limits[i].resource, &l) != 0)
            return -1;
    }
    return setrlimit(RLIMIT_CPU, &cpu);
}

static int become_bwrap(void *arg)
{
    struct child *c = arg;
    char *const environment[] = { NULL };
#define FAILS(what, call) (c->step = (what), (call) != 0)
    // In a session of its own, what is typed at our terminal, ^C too, does not reach it.
    if (FAILS("its files", take_files(c->fds)) || FAILS("setsid", setsid() < 0) ||
        FAILS("chdir /", chdir("/")) || FAILS("becoming nobody", drop_root()) ||
        FAILS("capabilities", prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)) ||
        FAILS("no_new_privs", prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)) ||
        FAILS("its parent", die_with(c->parent)) || FAILS("limits", set_limits(c->cpu_seconds)) ||
        FAILS("signals", forget_signals()))
        goto failed;
#undef FAILS
    umask(022);
    c->step = c->argv[0];
    execve(c->argv[0], c->argv, environment);
failed:
    c->error = errno ? errno : EINVAL;
    _exit(127);
}

int sandbox_spawn(const struct sandbox *s, const int fds[SANDBOX_FDS], int cpu_seconds,
                  struct buf *err)
{
    char **argv = xcalloc(s->argv.len + 1, sizeof(*argv)); // NULL at its end
    memcpy(argv, s->argv.v, s->argv.len * sizeof(*argv));
    struct child c = { .argv = argv, .fds = fds, .cpu_seconds = cpu_seconds, .parent = getpid() };
    char *stack = xmalloc(STACK);
    sigset_t all, before;
    int pidfd = -1;
    // No handler of ours may run in a child that shares our memory.
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int pid = clone(become_bwrap, stack + STACK, CLONE_VM | CLONE_VFORK | CLONE_PIDFD | SIGCHLD, &c,
                    &pidfd);
    int error = errno;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    free(argv);
    free(stack);
    if (pid < 0)
        return fail(err, "the sandbox could not be started: no process: %s", strerror(error));
    if (!c.error)
        return pidfd;
    siginfo_t info;
    while (waitid(P_PIDFD, (id_t)pidfd, &info, WEXITED) != 0 && errno == EINTR)
        ;
    close(pidfd);
    return fail(err, "the sandbox could not be started: %s: %s", c.step, strerror(c.error));
}
