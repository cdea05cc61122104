/*
 * training.c: see training.h.
 */
#include "training.h"
#include "splitmix.h"

#include <math.h>

/* The first number of a generator that begins at x. */
static uint64_t drawn(uint64_t x)
{
    return splitmix_next(&x);
}

int training_K(const struct training *t, int K, int64_t step, int layer)
{
    if (t->nmatryoshka == 0)
        return K;
    uint64_t place = t->matryoshka_by_layer ? (uint64_t)layer + 1 : 0;
    uint64_t x = drawn(drawn(drawn((uint64_t)t->seed) ^ (uint64_t)step) ^ place);
    // The upper half, times the length, shifted back: no K is drawn more often than another.
    return t->matryoshka[((x >> 32) * (uint64_t)t->nmatryoshka) >> 32];
}

int training_experts(const struct training *t, int N)
{
    // 0.07 times 100 is 7 of them, and not a hair less.
    return N - (int)floor(t->prune * N + 1e-9);
}

bool training_online(const struct training *t, int64_t step, int64_t steps)
{
    const double rise = steps > 1 ? (double)step / (double)(steps - 1) : 1;
    const double share = t->online_anneal ? rise : t->online;
    // A place that no layer has: it is drawn apart from K.
    uint64_t x = drawn(drawn(drawn((uint64_t)t->seed) ^ (uint64_t)step) ^ UINT64_MAX);
    return (double)(x >> 11) * 0x1p-53 < share;
}

/* Steps in which the rate rises. A share may come out a hair above the whole number that it means. */
static int64_t warmup_steps(const struct training *t, int64_t steps)
{
    double n = t->warmup < 1 ? t->warmup * (double)steps : t->warmup;
    return (int64_t)ceil(n - 1e-9);
}

double training_lr(const struct training *t, int64_t step, int64_t steps)
{
    int64_t rise = warmup_steps(t, steps);
    if (step < rise)
        return t->lr * (double)(step + 1) / (double)rise;
    if (t->schedule == SCHEDULE_CONSTANT)
        return t->lr;
    double done = (double)(step - rise) / (double)(steps - rise);
    return t->lr * (t->schedule == SCHEDULE_LINEAR ? 1 - done : (1 + cos(M_PI * done)) / 2);
}
