/*
 * python_random.c: see python_random.h.
 */
#include "recipe/python_random.h"

enum { WORDS = 624, MIDDLE = 397 };

static void seed_by_number(uint32_t *s, uint32_t seed)
{
    s[0] = seed;
    for (uint32_t i = 1; i < WORDS; i++)
        s[i] = 1812433253u * (s[i - 1] ^ (s[i - 1] >> 30)) + i;
}

/* Python seeds by an array of 32-bit words, also where the seed is one word. */
void python_random_init(struct python_random *r, uint32_t seed)
{
    uint32_t *s = r->state;
    int i = 1;
    seed_by_number(s, 19650218u);
    for (int k = 0; k < WORDS; k++) {
        s[i] = (s[i] ^ ((s[i - 1] ^ (s[i - 1] >> 30)) * 1664525u)) + seed;
        if (++i == WORDS) {
            s[0] = s[WORDS - 1];
            i = 1;
        }
    }
    for (int k = 0; k < WORDS - 1; k++) {
        s[i] = (s[i] ^ ((s[i - 1] ^ (s[i - 1] >> 30)) * 1566083941u)) - (uint32_t)i;
        if (++i == WORDS) {
            s[0] = s[WORDS - 1];
            i = 1;
        }
    }
    s[0] = 0x80000000u;
    r->at = WORDS;
}

static void refill(struct python_random *r)
{
    uint32_t *s = r->state;
    for (int i = 0; i < WORDS; i++) {
        uint32_t y = (s[i] & 0x80000000u) | (s[(i + 1) % WORDS] & 0x7fffffffu);
        s[i] = s[(i + MIDDLE) % WORDS] ^ (y >> 1) ^ (y & 1 ? 0x9908b0dfu : 0);
    }
    r->at = 0;
}

uint32_t python_random_bits(struct python_random *r, int bits)
{
    if (bits < 1 || bits > 32)
        BUG("%d bits of a word of 32", bits);
    if (r->at == WORDS)
        refill(r);
    uint32_t y = r->state[r->at++];
    y ^= y >> 11;
    y ^= (y << 7) & 0x9d2c5680u;
    y ^= (y << 15) & 0xefc60000u;
    y ^= y >> 18;
    return y >> (32 - bits);
}

/* As many bits as n itself needs, drawn anew until they are below it. */
static uint32_t below(struct python_random *r, uint32_t n)
{
    int bits = 0;
    while (bits < 32 && n >> bits)
        bits++;
    uint32_t x;
    do
        x = python_random_bits(r, bits);
    while (x >= n);
    return x;
}

/* Whether Python thinks a list of n smaller than a set of k. */
static bool list_is_smaller(uint32_t n, uint32_t k)
{
    uint64_t set = 21, power = 1;
    while (power < 3 * (uint64_t)k)
        power *= 4;
    if (k > 5)
        set += power;
    return n <= set;
}

/* What is drawn leaves the list, and the last of those left takes its place. */
static void sample_list(struct python_random *r, uint32_t n, uint32_t k, uint32_t *out)
{
    uint32_t *pool = xmalloc(n * sizeof(*pool));
    for (uint32_t i = 0; i < n; i++)
        pool[i] = i;
    for (uint32_t i = 0; i < k; i++) {
        uint32_t j = below(r, n - i);
        out[i] = pool[j];
        pool[j] = pool[n - i - 1];
    }
    free(pool);
}

/* What was drawn before is drawn anew. */
static void sample_set(struct python_random *r, uint32_t n, uint32_t k, uint32_t *out)
{
    bool *drawn = xcalloc(n, sizeof(*drawn));
    for (uint32_t i = 0; i < k; i++) {
        do
            out[i] = below(r, n);
        while (drawn[out[i]]);
        drawn[out[i]] = true;
    }
    free(drawn);
}

void python_random_sample(struct python_random *r, uint32_t n, uint32_t k, uint32_t *out)
{
    if (k > n || n > INT32_MAX)
        BUG("%u of %u numbers", (unsigned)k, (unsigned)n);
    if (list_is_smaller(n, k))
        sample_list(r, n, k, out);
    else
        sample_set(r, n, k, out);
}
