/*
 * stats_sort.c: see stats_sort.h. The lowest digits go first; each pass puts all in the order of one
 * digit and leaves equal ones as they stand.
 */
#include "stats_sort.h"

#include <string.h>

enum { DIGIT_BITS = 11, DIGITS = 3, VALUES = 1 << DIGIT_BITS };

uint32_t key_of_float(float v)
{
    uint32_t bits;
    const uint32_t sign = UINT32_C(1) << 31;
    v += 0.0f; // of -0 it makes 0
    memcpy(&bits, &v, sizeof(bits));
    return bits & sign ? ~bits : bits | sign; // the larger a negative number, the smaller its bits
}

uint32_t key_of_int(int32_t v)
{
    return (uint32_t)v ^ UINT32_C(1) << 31;
}

static uint32_t digit(uint32_t key, int which)
{
    return key >> (which * DIGIT_BITS) & (VALUES - 1);
}

/* From how many there are of each value to where its first one goes. */
static void places(uint32_t *count)
{
    uint32_t at = 0;
    for (int i = 0; i < VALUES; i++) {
        uint32_t n = count[i];
        count[i] = at;
        at += n;
    }
}

void keyed_sort(struct keyed *v, size_t n)
{
    uint32_t count[DIGITS][VALUES] = { { 0 } };
    if (n > UINT32_MAX)
        BUG("%zu things to sort", n);
    if (n < 2)
        return;
    struct keyed *other = xmalloc(n * sizeof(*other)), *from = v, *to = other;
    for (size_t i = 0; i < n; i++)
        for (int d = 0; d < DIGITS; d++)
            count[d][digit(v[i].key, d)]++;
    for (int d = 0; d < DIGITS; d++) {
        if (count[d][digit(v[0].key, d)] == n) // all have this one
            continue;
        places(count[d]);
        for (size_t i = 0; i < n; i++)
            to[count[d][digit(from[i].key, d)]++] = from[i];
        struct keyed *was = from;
        from = to;
        to = was;
    }
    if (from != v)
        memcpy(v, from, n * sizeof(*v));
    free(other);
}
