/*
 * lessons.c: the order of lessons; see lessons.h. A weight is a whole number of times and a share in
 * units of 2^-32, and a lesson of rank r among the n of its source comes once more in each epoch in
 * which its sum of shares, begun at (r + 1/2) / n, passes a whole number. Ranks are drawn by the seed,
 * so the lessons that share an epoch are no neighbours in the data.
 */
#include "train/lessons.h"
#include "splitmix.h"

#include <math.h>

#define ONE (UINT64_C(1) << 32) /* a weight of 1 */

void lessons_release(struct lessons *l)
{
    for (size_t i = 0; i < l->nsources; i++)
        free(l->sources[i].name);
    free(l->sources);
    free(l->v);
    free(l->held);
    free(l->memory);
    *l = (struct lessons){ 0 };
}

/* A generator for each seed and purpose, and each number of that purpose. */
enum purpose {
    FOR_EPOCH,
    FOR_RANKS,
};
static uint64_t generator(int64_t seed, enum purpose purpose, int64_t number)
{
    uint64_t s = splitmix_mix((uint64_t)seed + SPLITMIX_STEP);
    s = splitmix_mix(s + (uint64_t)purpose + 1);
    return splitmix_mix(s + (uint64_t)number);
}

/* Fisher and Yates. The remainder of 64 bits favours none of the few by what could be seen. */
static void shuffle(int32_t *v, size_t n, uint64_t state)
{
    for (size_t i = n; i > 1; i--) {
        size_t j = (size_t)(splitmix_next(&state) % i);
        int32_t t = v[i - 1];
        v[i - 1] = v[j];
        v[j] = t;
    }
}

/* A weight as whole times, and the share that is left in units of 2^-32. */
struct times {
    uint64_t whole, share;
};
static struct times times_of(const struct lesson_source *s)
{
    uint64_t units = (uint64_t)llround(s->weight * (double)ONE);
    return (struct times){ units / ONE, units % ONE };
}

/* Where the sum of shares of rank r begins. */
static uint64_t beginning(size_t r, size_t n)
{
    return ((uint64_t)(2 * r + 1) << 31) / n;
}

/* How often the lesson of rank r comes in epoch e: what is whole in its sum goes by, unseen. */
static uint64_t comes(struct times t, size_t r, size_t n, int64_t e)
{
    uint64_t sum = ((uint64_t)e * t.share) % ONE + beginning(r, n);
    return t.whole + (sum + t.share) / ONE - sum / ONE;
}

/* A source's ranks, one for each of its lessons in the order of the data. */
static int32_t *draw_ranks(const struct lesson_source *s, int64_t seed, size_t source)
{
    int32_t *rank = xcalloc(s->lessons ? s->lessons : 1, sizeof(*rank));
    for (size_t i = 0; i < s->lessons; i++)
        rank[i] = (int32_t)i;
    shuffle(rank, s->lessons, generator(seed, FOR_RANKS, (int64_t)source));
    return rank;
}

static void add_source(const struct lessons *l, size_t source, int64_t seed, int64_t e,
                       struct ids *out)
{
    const struct lesson_source *s = &l->sources[source];
    int32_t *rank = draw_ranks(s, seed, source);
    struct times t = times_of(s);
    size_t k = 0;
    for (size_t i = 0; i < l->len; i++) {
        if (l->v[i].source != (int)source)
            continue;
        uint64_t n = comes(t, (size_t)rank[k++], s->lessons, e);
        for (uint64_t j = 0; j < n; j++)
            ids_push(out, (int32_t)i);
    }
    free(rank);
}

void lessons_epoch(const struct lessons *l, int64_t seed, int64_t e, struct ids *out)
{
    size_t before = out->len;
    for (size_t s = 0; s < l->nsources; s++)
        add_source(l, s, seed, e, out);
    if (out->len > before)
        shuffle(out->v + before, out->len - before, generator(seed, FOR_EPOCH, e));
}

/* How many of the n ranks have passed one more whole number than the sum of shares alone has. */
static uint64_t ahead(uint64_t sum, uint64_t n)
{
    // beginning(r) >= ONE - sum, solved for r
    uint64_t c = ((ONE - sum) * n + (ONE / 2 - 1)) / (ONE / 2);
    return n - c / 2; // c is 2 n at most
}

int64_t lessons_before(const struct lessons *l, int64_t e)
{
    uint64_t all = 0;
    for (size_t i = 0; i < l->nsources; i++) {
        struct times t = times_of(&l->sources[i]);
        uint64_t n = l->sources[i].lessons, high = (uint64_t)e / ONE, low = (uint64_t)e % ONE;
        uint64_t sum = low * t.share;
        all += n * ((uint64_t)e * t.whole + high * t.share + sum / ONE) + ahead(sum % ONE, n);
    }
    return (int64_t)all;
}

int64_t lessons_epoch_of(const struct lessons *l, int64_t n)
{
    int64_t lo = 0, hi = 1; // the epochs before `lo` do not reach beyond n, those before `hi` do
    while (lessons_before(l, hi) <= n) {
        lo = hi;
        hi *= 2;
    }
    while (hi - lo > 1) {
        int64_t middle = lo + (hi - lo) / 2;
        *(lessons_before(l, middle) <= n ? &lo : &hi) = middle;
    }
    return lo;
}

double lessons_per_epoch(const struct lessons *l)
{
    double n = 0;
    for (size_t i = 0; i < l->nsources; i++)
        n += l->sources[i].weight * (double)l->sources[i].lessons;
    return n;
}
