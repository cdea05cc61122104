/*
 * run_signals.c: whether a run is to stop: the user asked for it, or nothing more can be kept. See
 * run_impl.h.
 */
#include "run_impl.h"

#include <stdatomic.h>
#include <unistd.h>

static volatile sig_atomic_t interrupted; /* by this signal, the first one */
static atomic_bool ended, given_up;

static void on_signal(int signal)
{
    if (!interrupted)
        interrupted = signal;
}

bool run_interrupted(void)
{
    return interrupted || atomic_load(&ended);
}

void run_end(void)
{
    atomic_store(&ended, true);
}

int run_signal(void)
{
    return interrupted;
}

bool run_stopped(void)
{
    return run_interrupted() || atomic_load(&given_up);
}

void run_give_up(void)
{
    atomic_store(&given_up, true);
}

/* Before the work begins, and behind its end. */
static void on_warning(int signal)
{
    static const char text[] = "seqtopk: ended by SIGUSR1; what was computed before is in the "
                               "database, and the next run goes on\n";
    _exit(write(STDERR_FILENO, text, sizeof(text) - 1) < 0 ? 1 : 128 + signal);
}

void run_signals_begin(void)
{
    struct sigaction action = { .sa_handler = on_warning };
    sigaction(SIGUSR1, &action, NULL);
}

void run_signals_catch(struct run_signals *s)
{
    struct sigaction action = { .sa_handler = on_signal };
    interrupted = 0;
    atomic_store(&ended, false);
    atomic_store(&given_up, false);
    sigaction(SIGINT, &action, &s->was_int);
    sigaction(SIGTERM, &action, &s->was_term);
    sigaction(SIGUSR1, &action, &s->was_usr1);
}

void run_signals_release(struct run_signals *s)
{
    if (interrupted)
        return;
    sigaction(SIGINT, &s->was_int, NULL);
    sigaction(SIGTERM, &s->was_term, NULL);
    sigaction(SIGUSR1, &s->was_usr1, NULL);
}
