/*
 * select.c: see select.h. A pool needs a selection, not a sort: the boundary between the pairs
 * that are taken and those that are not is found digit by digit, and each digit leaves only the
 * pairs that share it.
 */
#include "routers/select.h"

#include <string.h>

void row_best(const float *row, int N, int m, int32_t *out)
{
    int n = 0;
    for (int e = 0; e < N && m > 0; e++) {
        // Not better than the worst that is kept: equal scores keep the smaller expert.
        if (n == m && !(row[e] > row[out[m - 1]]))
            continue;
        int i = n < m ? n++ : m - 1;
        for (; i > 0 && row[e] > row[out[i - 1]]; i--)
            out[i] = out[i - 1];
        out[i] = e;
    }
}

void selection_add_unordered(struct selection *s, int32_t *experts, int n)
{
    for (int i = 1; i < n; i++) {
        int32_t e = experts[i];
        int j = i;
        for (; j > 0 && experts[j - 1] > e; j--)
            experts[j] = experts[j - 1];
        experts[j] = e;
    }
    selection_add(s, experts, n);
}

uint64_t kth_key(const uint64_t *keys, size_t n, size_t k, uint64_t *scratch)
{
    const uint64_t *from = keys;
    for (int shift = 56; shift >= 0 && n > 1; shift -= 8) {
        size_t count[256] = { 0 };
        for (size_t i = 0; i < n; i++)
            count[from[i] >> shift & 255]++;
        unsigned digit = 0;
        for (; k > count[digit]; digit++)
            k -= count[digit];
        size_t kept = 0;
        for (size_t i = 0; i < n; i++)
            if ((from[i] >> shift & 255) == digit)
                scratch[kept++] = from[i];
        n = kept;
        from = scratch;
    }
    return from[0];
}

void kth_of_each(const float *scores, int T, int N, int K, float *out)
{
    size_t tokens = (size_t)T, experts = (size_t)N, k = tokens * (size_t)K / experts;
    uint64_t *keys = xmalloc(2 * tokens * sizeof(*keys));
    for (size_t e = 0; e < experts; e++) {
        for (size_t t = 0; t < tokens; t++)
            keys[t] = pair_key(scores[t * experts + e], (uint32_t)t);
        uint32_t token = (uint32_t)kth_key(keys, tokens, k ? k : 1, keys + tokens);
        out[e] = scores[token * experts + e];
    }
    free(keys);
}

/*
 * Splits a row by rank: taken[e] is set for the first `min`; the pairs with min <= rank < max
 * become candidates. Returns how many. order: scratch [N]
 */
static size_t split_row(const float *row, uint32_t first, const struct router_args *a, bool *taken,
                        uint64_t *keys, int32_t *order)
{
    size_t n = 0;
    if (a->max < a->N) {
        row_best(row, a->N, a->max, order);
        for (int r = 0; r < a->min; r++)
            taken[order[r]] = true;
        for (int r = a->min; r < a->max; r++)
            keys[n++] = pair_key(row[order[r]], first + (uint32_t)order[r]);
        return n;
    }
    row_best(row, a->N, a->min, order);
    for (int r = 0; r < a->min; r++)
        taken[order[r]] = true;
    for (int e = 0; e < a->N; e++)
        if (!taken[e])
            keys[n++] = pair_key(row[e], first + (uint32_t)e);
    return n;
}

void select_pool(const float *scores, int T, const struct router_args *a, struct selection *out)
{
    size_t N = (size_t)a->N, pairs = (size_t)T * N;
    if (pairs > UINT32_MAX)
        BUG("a pool of %d tokens and %d experts is too large", T, a->N);
    bool *taken = xcalloc(pairs, sizeof(*taken));
    uint64_t *keys = xmalloc(2 * pairs * sizeof(*keys));
    int32_t *order = xmalloc(N * sizeof(*order));
    size_t n = 0;
    for (int t = 0; t < T; t++) {
        size_t first = (size_t)t * N;
        n += split_row(scores + first, (uint32_t)first, a, taken + first, keys + n, order);
    }
    size_t left = (size_t)T * (size_t)(a->K - a->min);
    if (left > 0) {
        uint64_t last = kth_key(keys, n, left, keys + n);
        for (size_t i = 0; i < n; i++)
            if (keys[i] <= last)
                taken[(uint32_t)keys[i]] = true;
    }
    for (int t = 0; t < T; t++) {
        int count = 0;
        for (int e = 0; e < a->N; e++)
            if (taken[(size_t)t * N + (size_t)e])
                order[count++] = e;
        selection_add(out, order, count);
    }
    free(order);
    free(keys);
    free(taken);
}
