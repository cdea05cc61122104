/*
 * training.c: see training.h.
 */
#include "training.h"

#include <math.h>

/* splitmix64: the state moves on, and a number comes out that looks like none before it. */
static uint64_t mix(uint64_t x)
{
    x += 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

int training_K(const struct training *t, int K, int64_t step, int layer)
{
    if (t->nmatryoshka == 0)
        return K;
    uint64_t place = t->matryoshka_by_layer ? (uint64_t)layer + 1 : 0;
    uint64_t x = mix(mix(mix((uint64_t)t->seed) ^ (uint64_t)step) ^ place);
    // The upper half, times the length, shifted back: no K is drawn more often than another.
    return t->matryoshka[((x >> 32) * (uint64_t)t->nmatryoshka) >> 32];
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
