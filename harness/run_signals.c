/*
 * run_signals.c: whether a run is to stop: the user asked for it, or nothing more can be kept. See
 * run_impl.h.
 */
#include "run_impl.h"

#include <stdatomic.h>

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

void run_signals_catch(struct run_signals *s)
{
    struct sigaction action = { .sa_handler = on_signal };
    interrupted = 0;
    atomic_store(&ended, false);
    atomic_store(&given_up, false);
    sigaction(SIGINT, &action, &s->was_int);
    sigaction(SIGTERM, &action, &s->was_term);
}

void run_signals_release(struct run_signals *s)
{
    if (interrupted)
        return;
    sigaction(SIGINT, &s->was_int, NULL);
    sigaction(SIGTERM, &s->was_term, NULL);
}
