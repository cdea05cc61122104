/*
 * sandbox.c: see sandbox.h. A run's clock, its verdict and its end.
 *
 * The wall clock runs from the runner's "started" to its last word, so that starting the sandbox
 * is not the program's time.
 *
 * The end of a run is the end of the sandbox's first process (pid 1 inside), which the kernel lets
 * end only when all others have: then nothing of the program is left.
 */
#include "score/sandbox_trial.h"

#include <ctype.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define SECONDS_TO_START 20.0
#define SECONDS_TO_END 10.0

int sandbox_cpu_seconds(int milliseconds)
{
    return (milliseconds - 1) / 1000 + 2;
}

/* ---- until there is a verdict ---- */

/* Moves the run on by all that has happened, or at `deadline`. true: bwrap has ended. */
static bool look(struct trial *t, double deadline)
{
    struct pollfd p[] = {
        // A file of -1 is passed over.
        { t->control, (short)(POLLIN | (t->sent < t->message.len ? POLLOUT : 0)), 0 },
        { t->output, POLLIN, 0 },
        { t->bwrap, POLLIN, 0 },
        { t->info, POLLIN, 0 },
    };
    double left = deadline - now_seconds();
    if (poll(p, ARRAY_LEN(p), left > 0 ? (int)(left * 1000) + 1 : 0) < 0)
        return false; // a signal
    trial_read_info(t);
    trial_send(t);
    trial_hear(t);
    // After the runner's word, so that all that was written before it counts.
    trial_read_output(t);
    return p[2].revents != 0;
}

/* Until there is a verdict, or bwrap has ended, or the sandbox has not started in time. */
static void watch(struct trial *t, int milliseconds)
{
    while (t->state != TRIAL_ENDED) {
        double seconds = t->state == TRIAL_STARTING ? SECONDS_TO_START : milliseconds * 1e-3;
        enum trial_state before = t->state;
        double deadline = t->started + seconds;
        bool exited = look(t, deadline);
        if (t->output_total > SANDBOX_OUTPUT || t->heard_total > SANDBOX_HEARD)
            trial_end(t, OUTCOME_OUTPUT);
        if (t->state == TRIAL_ENDED || exited)
            return;
        bool late = t->state == before && now_seconds() >= deadline;
        if (late && t->state == TRIAL_STARTING)
            return;
        if (late)
            trial_end(t, OUTCOME_TIMEOUT);
    }
}

/* ---- the end ---- */

/* Waits until a process has ended; false where it has not in SECONDS_TO_END. */
static bool wait_end(int pidfd)
{
    struct pollfd p = { pidfd, POLLIN, 0 };
    double until = now_seconds() + SECONDS_TO_END;
    int n;
    do {
        double left = until - now_seconds();
        n = poll(&p, 1, left > 0 ? (int)(left * 1000) + 1 : 0);
    } while (n < 0 && errno == EINTR);
    return n > 0;
}

static void kill_process(int pidfd)
{
    syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0);
}

/*
 * Ends what is inside, then bwrap, and waits for both. bwrap reaps pid 1 where it can, so that no
 * zombie is left to a container's init that reaps none.
 */
static int stop(struct trial *t, siginfo_t *info, struct buf *err)
{
    trial_read_info(t);
    if (t->first >= 0)
        kill_process(t->first);
    bool gone = t->first < 0 || wait_end(t->first);
    if (t->first < 0 || !gone || !wait_end(t->bwrap))
        kill_process(t->bwrap);
    int rc;
    do
        rc = waitid(P_PIDFD, (id_t)t->bwrap, info, WEXITED);
    while (rc != 0 && errno == EINTR);
    return gone ? 0 : fail(err, "the sandbox's processes did not end when they were killed");
}

/* The last line of what bwrap or Python said before a program ran. */
static const char *last_line(struct buf *said)
{
    while (said->len && isspace((unsigned char)said->s[said->len - 1]))
        said->s[--said->len] = '\0';
    const char *newline = strrchr(said->s, '\n');
    return !said->len ? "it ended without a word" : newline ? newline + 1 : said->s;
}

static int conclude(struct trial *t, struct buf *err)
{
    siginfo_t info = { 0 };
    double ended = now_seconds();
    if (stop(t, &info, err) != 0)
        return -1;
    if (t->state == TRIAL_STARTING && ended - t->started >= SECONDS_TO_START)
        return fail(err, "the sandbox did not start within %.0f seconds", SECONDS_TO_START);
    if (t->state == TRIAL_STARTING)
        return fail(err, "the sandbox did not start: %s", last_line(t->said));
    // No word: bwrap's exit code is that of the runner's process, here its signal.
    bool clock = info.si_code == CLD_EXITED && info.si_status == 128 + SIGXCPU;
    if (t->state == TRIAL_RUNNING)
        trial_end(t, clock ? OUTCOME_TIMEOUT : OUTCOME_KILLED);
    return 0;
}

int sandbox_run_hearing(struct sandbox *s, const char *program, size_t len, int milliseconds,
                        struct outcome_of *out, struct buf *said, struct buf *err)
{
    if (milliseconds < 1)
        BUG("a wall clock of %d milliseconds", milliseconds);
    if (len > SANDBOX_PROGRAM)
        return fail(err, "a program of %zu bytes; up to %zu are run", len, SANDBOX_PROGRAM);
    struct trial t = { .control = -1, .output = -1, .info = -1, .bwrap = -1, .first = -1 };
    *out = (struct outcome_of){ 0 };
    t.out = out;
    t.said = said;
    buf_init(&t.message);
    buf_init(&t.heard);
    int rc = trial_open(&t, s, program, len, sandbox_cpu_seconds(milliseconds), err);
    if (rc == 0) {
        watch(&t, milliseconds);
        rc = conclude(&t, err);
    }
    trial_close(&t);
    return rc;
}

int sandbox_run(struct sandbox *s, const char *program, size_t len, int milliseconds,
                struct outcome_of *out, struct buf *err)
{
    struct buf said = BUF_INIT;
    int rc = sandbox_run_hearing(s, program, len, milliseconds, out, &said, err);
    buf_release(&said);
    return rc;
}

const char *outcome_name(const struct outcome_of *o)
{
    switch (o->outcome) {
    case OUTCOME_PASSED:
        return "passed";
    case OUTCOME_RAISED:
        return o->exception;
    case OUTCOME_TIMEOUT:
        return "timeout";
    case OUTCOME_KILLED:
        return "killed";
    case OUTCOME_OUTPUT:
        return "output limit";
    }
    BUG("outcome %d", (int)o->outcome);
}
