/*
 * run_signals.c: whether a run is to stop: the user asked for it, or nothing more can be kept. See
 * run_impl.h.
 */
#include "run_impl.h"

#include <stdatomic.h>

static volatile sig_atomic_t interrupted; /* by this signal */
static atomic_bool given_up;

static void on_signal(int signal)
{
    interrupted = signal;
}

bool run_interrupted(void)
{
    return interrupted;
}

int run_signal(void)
{
    return interrupted;
}

bool run_stopped(void)
{
    return interrupted || atomic_load(&given_up);
}

void run_give_up(void)
{
    atomic_store(&given_up, true);
}

static void catch_them(struct run_signals *s, int flags)
{
    struct sigaction action = { .sa_handler = on_signal, .sa_flags = flags };
    interrupted = 0;
    atomic_store(&given_up, false);
    sigaction(SIGINT, &action, &s->was_int);
    sigaction(SIGTERM, &action, &s->was_term);
}

void run_signals_catch(struct run_signals *s)
{
    catch_them(s, (int)SA_RESETHAND);
}

void run_signals_catch_all(void)
{
    struct run_signals unused;
    catch_them(&unused, 0);
}

void run_signals_release(struct run_signals *s)
{
    sigaction(SIGINT, &s->was_int, NULL);
    sigaction(SIGTERM, &s->was_term, NULL);
}
