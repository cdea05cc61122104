/*
 * sandbox_trial.c: see sandbox_trial.h.
 */
#include "score/sandbox_trial.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#define KEPT ((size_t)4096) /* bytes of the output */

static void close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

void sandbox_nonce(char hex[33])
{
    unsigned char bytes[16];
    if (getrandom(bytes, sizeof(bytes), 0) != sizeof(bytes))
        BUG("getrandom: %s", strerror(errno));
    for (size_t i = 0; i < sizeof(bytes); i++)
        snprintf(hex + 2 * i, 3, "%02x", bytes[i]);
}

/* ---- start and end ---- */

static int make_pipe(int *from, int *to)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0)
        return -1;
    *from = ends[0];
    *to = ends[1];
    return 0;
}

/* The ends for the child are in `theirs`, ours in `t`. */
static int make_channels(struct trial *t, int theirs[SANDBOX_FDS], int *filter)
{
    int sockets[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets) != 0)
        return -1;
    t->control = sockets[0];
    theirs[SANDBOX_CONTROL] = sockets[1];
    if (make_pipe(&t->output, &theirs[SANDBOX_STDOUT]) != 0 ||
        make_pipe(&t->info, &theirs[SANDBOX_INFO]) != 0 ||
        make_pipe(&theirs[SANDBOX_FILTER], filter) != 0 ||
        fcntl(t->control, F_SETFL, O_NONBLOCK) != 0 || fcntl(t->output, F_SETFL, O_NONBLOCK) != 0 ||
        fcntl(t->info, F_SETFL, O_NONBLOCK) != 0)
        return -1;
    return 0;
}

int trial_open(struct trial *t, const struct sandbox *s, const char *program, size_t len,
               int cpu_seconds, struct buf *err)
{
    int theirs[SANDBOX_FDS] = { -1, -1, -1, -1, -1, -1 }, filter = -1, rc = 0;
    sandbox_nonce(t->nonce);
    buf_addf(&t->message, "%s%016zu", t->nonce, len);
    buf_add(&t->message, program, len);
    // The filter is far smaller than what waits in a pipe for its reader.
    if (make_channels(t, theirs, &filter) != 0 ||
        write(filter, s->filter.s, s->filter.len) != (ssize_t)s->filter.len)
        rc = fail(err, "the sandbox could not be started: its channels: %s", strerror(errno));
    close_fd(&filter);
    if (rc == 0) {
        int fds[SANDBOX_FDS];
        memcpy(fds, theirs, sizeof(fds));
        fds[SANDBOX_STDIN] = s->null;
        fds[SANDBOX_STDERR] = fds[SANDBOX_STDOUT];
        rc = t->bwrap = sandbox_spawn(s, fds, cpu_seconds, err);
    }
    t->started = now_seconds();
    for (int i = 0; i < SANDBOX_FDS; i++)
        close_fd(&theirs[i]);
    return rc < 0 ? -1 : 0;
}

void trial_close(struct trial *t)
{
    close_fd(&t->control);
    close_fd(&t->output);
    close_fd(&t->info);
    close_fd(&t->bwrap);
    close_fd(&t->first);
    buf_release(&t->message);
    buf_release(&t->heard);
}

void trial_end(struct trial *t, enum outcome outcome)
{
    t->state = TRIAL_ENDED;
    t->out->outcome = outcome;
    t->out->seconds = now_seconds() - t->started;
}

/* ---- the control socket ---- */

void trial_send(struct trial *t)
{
    while (t->control >= 0 && t->sent < t->message.len) {
        ssize_t n = send(t->control, t->message.s + t->sent, t->message.len - t->sent,
                         MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            return;
        // Nobody reads any more: how it ended will tell why.
        t->sent = n < 0 ? t->message.len : t->sent + (size_t)n;
    }
}

static bool is_class_name(const char *s, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (s[i] != '_' && !isalnum((unsigned char)s[i]))
            return false;
    return len > 0 && len < sizeof(((struct outcome_of *)0)->exception);
}

/* What stood behind the nonce. */
static void take_word(struct trial *t, const char *s)
{
    static const char raised[] = " raised ";
    size_t skip = sizeof(raised) - 1, len = strlen(s);
    if (t->state == TRIAL_STARTING && strcmp(s, " started") == 0) {
        t->state = TRIAL_RUNNING;
        t->started = now_seconds();
    } else if (t->state == TRIAL_RUNNING && strcmp(s, " passed") == 0) {
        trial_end(t, OUTCOME_PASSED);
    } else if (t->state == TRIAL_RUNNING && strncmp(s, raised, skip) == 0 &&
               is_class_name(s + skip, len - skip)) {
        trial_end(t, OUTCOME_RAISED);
        memcpy(t->out->exception, s + skip, len - skip + 1);
    }
}

static void take_lines(struct trial *t)
{
    char *line = t->heard.s, *newline;
    while ((newline = memchr(line, '\n', t->heard.len - (size_t)(line - t->heard.s)))) {
        *newline = '\0';
        if (strncmp(line, t->nonce, 32) == 0)
            take_word(t, line + 32);
        line = newline + 1;
    }
    struct buf rest = BUF_INIT;
    buf_add(&rest, line, t->heard.len - (size_t)(line - t->heard.s));
    buf_release(&t->heard);
    t->heard = rest;
}

/* Reads some of what is there, 0: nothing. Closes what nothing more will come from. */
static size_t read_some(int *fd, char *data, size_t size)
{
    ssize_t n;
    do
        n = read(*fd, data, size);
    while (n < 0 && errno == EINTR);
    if (n < 0 && errno == EAGAIN)
        return 0;
    if (n <= 0)
        close_fd(fd);
    return n > 0 ? (size_t)n : 0;
}

void trial_hear(struct trial *t)
{
    char data[4096];
    size_t n;
    while (t->control >= 0 && t->heard_total <= SANDBOX_HEARD &&
           (n = read_some(&t->control, data, sizeof(data))) > 0) {
        buf_add(&t->heard, data, n);
        t->heard_total += n;
    }
    take_lines(t);
}

/* ---- output and info ---- */

void trial_read_output(struct trial *t)
{
    char data[65536];
    size_t n;
    while (t->output >= 0 && t->output_total <= SANDBOX_OUTPUT &&
           (n = read_some(&t->output, data, sizeof(data))) > 0) {
        size_t room = KEPT - t->said->len;
        buf_add(t->said, data, n < room ? n : room);
        t->output_total += n;
    }
}

/*
 * bwrap writes {"child-pid": 123 before that process does anything, and the rest later: it is read
 * too, or bwrap would die of a broken pipe.
 */
void trial_read_info(struct trial *t)
{
    static const char key[] = "\"child-pid\": ";
    char text[1024];
    size_t n;
    while (t->info >= 0 && (n = read_some(&t->info, text, sizeof(text) - 1)) > 0) {
        text[n] = '\0';
        const char *pid = t->first < 0 ? strstr(text, key) : NULL;
        if (pid)
            t->first =
                (int)syscall(SYS_pidfd_open, (pid_t)strtol(pid + sizeof(key) - 1, NULL, 10), 0);
    }
}
