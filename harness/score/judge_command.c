/*
 * judge_command.c: one question to a command: /bin/sh runs it in a process group of its own.
 *
 * The request is a file without a name, which the command may read or not: nothing waits for it
 * and no SIGPIPE comes of it. When the shell has ended, or its time is over, what is left of its
 * group is killed, and only then is the shell waited for, so that its number is still its own.
 * Leaves out: processes that leave the group (setsid).
 */
#include "score/judge_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SLICE_MS = 20, COMPLAINT_BYTES = 1 << 16 };
enum { SAYS, COMPLAINS }; /* stdout, stderr */

struct child {
    pid_t pid;
    struct pollfd from[2];
    struct buf text[2];
};

enum ending {
    ENDED,
    TOO_LATE,
    TOO_LONG,
    STOPPED,
};

/* A file in memory with the request, to be read from its start. -1: errno. */
static int request_file(const struct buf *request)
{
    int fd = memfd_create("request", MFD_CLOEXEC);
    for (size_t done = 0; fd >= 0 && done < request->len;) {
        ssize_t n = write(fd, request->s + done, request->len - done);
        if (n < 0 && errno != EINTR) {
            close(fd);
            return -1;
        }
        done += n > 0 ? (size_t)n : 0;
    }
    if (fd >= 0 && lseek(fd, 0, SEEK_SET) != 0) {
        close(fd);
        return -1;
    }
    return fd;
}

/* 0, or errno. */
static int spawn(struct child *c, const char *command, int in, int out, int complaints)
{
    char sh[] = "sh", flag[] = "-c";
    char *text = xstrdup(command);
    char *argv[] = { sh, flag, text, NULL };
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attr;
    sigset_t none, all;
    sigemptyset(&none);
    sigfillset(&all);
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_adddup2(&files, in, 0);
    posix_spawn_file_actions_adddup2(&files, out, 1);
    posix_spawn_file_actions_adddup2(&files, complaints, 2);
    posix_spawn_file_actions_addclosefrom_np(&files, 3);
    posix_spawnattr_init(&attr);
    posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK |
                                        POSIX_SPAWN_SETSIGDEF);
    posix_spawnattr_setpgroup(&attr, 0);
    posix_spawnattr_setsigmask(&attr, &none);
    posix_spawnattr_setsigdefault(&attr, &all);
    int rc = posix_spawn(&c->pid, "/bin/sh", &files, &attr, argv, environ);
    posix_spawnattr_destroy(&attr);
    posix_spawn_file_actions_destroy(&files);
    free(text);
    return rc;
}

static void close_both(const int fds[2])
{
    if (fds[0] >= 0) {
        close(fds[0]);
        close(fds[1]);
    }
}

static int child_start(struct child *c, const struct judge *j, const struct buf *request,
                       struct buf *err)
{
    int out[2] = { -1, -1 }, complaints[2] = { -1, -1 };
    int in = request_file(request);
    int rc = in < 0 || pipe2(out, O_CLOEXEC) != 0 || pipe2(complaints, O_CLOEXEC) != 0 ? errno : 0;
    if (rc == 0)
        rc = spawn(c, j->command, in, out[1], complaints[1]);
    if (in >= 0)
        close(in);
    if (rc != 0) {
        close_both(out);
        close_both(complaints);
        return fail(err, "%s: could not be run: %s", j->shown, strerror(rc));
    }
    close(out[1]);
    close(complaints[1]);
    c->from[SAYS] = (struct pollfd){ .fd = out[0], .events = POLLIN };
    c->from[COMPLAINS] = (struct pollfd){ .fd = complaints[0], .events = POLLIN };
    buf_init(&c->text[SAYS]);
    buf_init(&c->text[COMPLAINS]);
    return 0;
}

/* Kills what is left and waits for the shell. What waitpid() says, or -1: errno. */
static int child_stop(struct child *c)
{
    int status = 0;
    kill(-c->pid, SIGKILL);
    while (waitpid(c->pid, &status, 0) < 0)
        if (errno != EINTR)
            return -1;
    return status;
}

static void child_release(struct child *c)
{
    for (int i = 0; i < 2; i++) {
        if (c->from[i].fd >= 0)
            close(c->from[i].fd);
        buf_release(&c->text[i]);
    }
}

static bool has_ended(const struct child *c)
{
    siginfo_t info = { 0 };
    return waitid(P_PID, (id_t)c->pid, &info, WEXITED | WNOHANG | WNOWAIT) != 0 || info.si_pid != 0;
}

/* Reads what is there. A pipe without writers is closed, and poll() passes over it. */
static void child_read(struct child *c, int which)
{
    char chunk[65536];
    struct pollfd *from = &c->from[which];
    struct buf *text = &c->text[which];
    if (from->fd < 0 || !from->revents)
        return;
    ssize_t n = read(from->fd, chunk, sizeof(chunk));
    if (n > 0 && (which == SAYS || text->len < COMPLAINT_BYTES)) {
        buf_add(text, chunk, (size_t)n);
    } else if (n == 0 || (n < 0 && errno != EINTR)) {
        close(from->fd);
        from->fd = -1;
    }
}

static enum ending child_listen(struct child *c, const struct judge *j)
{
    double until = now_seconds() + j->timeout;
    for (;;) {
        // Asked before poll(): what an ended shell wrote is then found there.
        bool ended = has_ended(c);
        bool open = c->from[SAYS].fd >= 0 || c->from[COMPLAINS].fd >= 0;
        if (!ended && judge_stopped(j))
            return STOPPED;
        if (now_seconds() >= until)
            return ended && !open ? ENDED : TOO_LATE;
        c->from[SAYS].revents = c->from[COMPLAINS].revents = 0;
        int n = poll(c->from, 2, ended ? 0 : open ? SLICE_MS : 1);
        if (ended && n == 0)
            return ENDED;
        child_read(c, SAYS);
        child_read(c, COMPLAINS);
        if (c->text[SAYS].len > REPLY_BYTES)
            return TOO_LONG;
    }
}

/* The shell's exit code is not 0. */
static int failed(const struct judge *j, int status, const struct buf *complaint, struct attempt *a,
                  struct buf *err)
{
    enum { NOT_RUN = 126, NOT_FOUND = 127 }; // as shells say it
    int code = WIFEXITED(status) ? WEXITSTATUS(status) : 0;
    const char *line = complaint->s + strspn(complaint->s, " \t\r\n");
    struct buf words = BUF_INIT;
    judge_words(j, line, strcspn(line, "\n"), &words);
    a->again = code != NOT_RUN && code != NOT_FOUND;
    if (WIFSIGNALED(status))
        fail(err, "%s: was ended by signal %d (%s)", j->shown, WTERMSIG(status),
             strsignal(WTERMSIG(status)));
    else
        fail(err, "%s: exit code %d: %s", j->shown, code, words.len ? words.s : "no word of why");
    buf_release(&words);
    return -1;
}

static int take_reply(const struct judge *j, const struct buf *text, struct buf *reply,
                      struct buf *err)
{
    size_t len = text->len;
    if (memchr(text->s, '\0', len) || utf8_valid(text->s, len) != len)
        return fail(err, "%s: the reply is not valid UTF-8 text", j->shown);
    while (len && (text->s[len - 1] == '\n' || text->s[len - 1] == '\r'))
        len--;
    if (len == 0)
        return fail(err, "%s: it wrote no reply", j->shown);
    buf_add(reply, text->s, len);
    return 0;
}

int judge_command_try(const struct judge *j, const struct buf *request, struct buf *reply,
                      struct attempt *a, struct buf *err)
{
    struct child c = { 0 };
    int rc;
    if (child_start(&c, j, request, err) != 0)
        return -1;
    enum ending ending = child_listen(&c, j);
    int status = child_stop(&c);
    if (ending == TOO_LATE) {
        a->again = true;
        rc = fail(err, "%s: no reply within %g s", j->shown, j->timeout);
    } else if (ending == STOPPED) {
        rc = fail(err, "%s: stopped before it replied", j->shown);
    } else if (ending == TOO_LONG) {
        rc = fail(err, "%s: the reply is longer than %d bytes", j->shown, REPLY_BYTES);
    } else if (status < 0) {
        rc = fail(err, "%s: how it ended is not known: %s", j->shown, strerror(errno));
    } else if (status != 0) {
        rc = failed(j, status, &c.text[COMPLAINS], a, err);
    } else {
        rc = take_reply(j, &c.text[SAYS], reply, err);
    }
    child_release(&c);
    return rc;
}
