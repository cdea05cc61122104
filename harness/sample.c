/*
 * sample.c: see sample.h.
 */
#include "sample.h"
#include "splitmix.h"

#include <math.h>

uint64_t sampler_seed(int64_t seed, int64_t doc)
{
    return splitmix_mix(splitmix_mix((uint64_t)seed + SPLITMIX_STEP) + (uint64_t)doc);
}

/* Uniform in [0, 1), 53 bits. */
static double uniform(struct sampler *s)
{
    return (double)(splitmix_next(&s->state) >> 11) * 0x1p-53;
}

static int32_t largest(const float *logits, int V)
{
    float most = -INFINITY;
    int32_t i = 0;
#pragma omp simd reduction(max : most)
    for (int32_t j = 0; j < V; j++)
        most = logits[j] > most ? logits[j] : most;
    while (i + 1 < V && logits[i] != most)
        i++;
    return i;
}

struct candidate {
    double p; /* not normalised */
    int32_t id;
};

static int by_probability(const void *a, const void *b)
{
    const struct candidate *x = a, *y = b;
    if (x->p != y->p)
        return x->p > y->p ? -1 : 1;
    return (x->id > y->id) - (x->id < y->id);
}

int32_t sampler_draw(struct sampler *s, const float *logits, int V)
{
    int32_t best = largest(logits, V);
    if (s->temperature == 0)
        return best;
    struct candidate *c = xmalloc((size_t)V * sizeof(*c));
    double sum = 0, kept = 0;
    for (int32_t i = 0; i < V; i++) {
        c[i] = (struct candidate){ exp(((double)logits[i] - (double)logits[best]) / s->temperature),
                                   i };
        sum += c[i].p;
    }
    // All that lie below this come to less than 1 - top_p together, so the others suffice.
    size_t n = 0;
    for (int32_t i = 0; i < V; i++)
        if (c[i].p >= (1 - s->top_p) * sum / V)
            c[n++] = c[i];
    if (s->top_p < 1)
        qsort(c, n, sizeof(*c), by_probability);
    size_t in = 0;
    while (in < n && (in == 0 || kept < s->top_p * sum))
        kept += c[in++].p;
    double at = uniform(s) * kept;
    size_t i = 0;
    while (i + 1 < in && at >= c[i].p)
        at -= c[i++].p;
    int32_t id = c[i].id;
    free(c);
    return id;
}
