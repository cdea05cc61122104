/*
 * select.h: what the routers share: order within a row, the best pairs of a pool, bounds.
 *
 * Invariant: one order everywhere: the larger score first, then the earlier token, then the
 * smaller expert. It is a total order, so every selection here has one answer.
 */
#ifndef SELECT_H
#define SELECT_H

#include "routers/router.h"

/*
 * The place of a pair in that order as one number, the smaller the better.
 * index: of the pair in its pool, token * N + expert.
 */
static inline uint64_t pair_key(float score, uint32_t index)
{
    union {
        float f;
        uint32_t u;
    } bits = { score + 0.0f }; // -0 and +0 are equal scores
    uint32_t rising = bits.u & 0x80000000u ? ~bits.u : bits.u | 0x80000000u;
    return (uint64_t)~rising << 32 | index;
}

/* The bounds that most routers have: two lines of a table of parameters. `max` may be by layer. */
#define ROUTER_BOUNDS                                                                    \
    {                                                                                    \
        .name = "min",                                                                   \
        .help = "experts per token and layer, at least",                                 \
        .offset = offsetof(struct router_args, min),                                     \
        .hi = { .k = 1 },                                                                \
        .def = { .c = 1 },                                                               \
    },                                                                                   \
    {                                                                                    \
        .name = "max", .help = "experts per token and layer, at most", .by_layer = true, \
        .offset = offsetof(struct router_args, max), .lo = { .k = 1 }, .hi = { .n = 1 }, \
        .def = { .k = 1, .c = 2 },                                                       \
    }

/* The m best experts of a row, best first. row: [N]; out: [m], m <= N */
void row_best(const float *row, int N, int m, int32_t *out);

/* The k-th smallest of n different keys, k from 1. keys: [n]; scratch: [n] */
uint64_t kth_key(const uint64_t *keys, size_t n, size_t k, uint64_t *scratch);

/*
 * Each expert's k-th largest score, with k = T*K/N rounded down and 1 at least, T from 1 on: so many
 * tokens each expert takes where all take T*K pairs together. scores: [T, N]; out: [N]
 */
void kth_of_each(const float *scores, int T, int N, int K, float *out);

/* Appends a token that takes the n experts in `experts`, which need not be in order. */
void selection_add_unordered(struct selection *s, int32_t *experts, int n);

/*
 * The K-per-token-on-average best pairs of a pool of T tokens, at least `min` and at most `max` of
 * them for each token. O(T*N) where bounds are wide, O(T*N*max) at worst.
 */
void select_pool(const float *scores, int T, const struct router_args *a, struct selection *out);

#endif
