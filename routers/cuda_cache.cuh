/*
 * cuda_cache.cuh: the Expert Cache of online and strict on the device.
 *
 * c is the R-th largest score so far, R = t*K. A score x of the token is at least c where fewer than
 * R scores are larger than x: no c is looked for, larger ones are counted.
 * A `window` [lo, hi) of up to 512 scores around c is kept, and how many lie above it: only the
 * window is counted through. New scores go into it, or are counted above it. Where it is full, or c
 * is no longer in it (checked at each token), it is made anew from a `middle` window of the same
 * kind, a sixteenth of all scores, and that from the `bag`, which has all of them. c wanders by a
 * few ranks a token, so the window lasts for hundreds to thousands of tokens; even where all new
 * scores lie on one side, a token reads a few thousand scores on average (test_router_cuda.c).
 * Where so many scores are equal to c that they do not fit, the window is c alone, and counts them.
 *
 * All functions are called by all threads of a block but those that say otherwise.
 * Invariant: above < R <= above + count in the window after each token.
 * Leaves out: what a token takes (cuda.cuh).
 */
#ifndef ROUTERS_CUDA_CACHE_CUH
#define ROUTERS_CUDA_CACHE_CUH

#include "routers/cuda_level.cuh"

__device__ inline uint32_t *cache_window(void *state)
{
    return reinterpret_cast<uint32_t *>(static_cast<char *>(state) + CACHE_HEAD);
}
__device__ inline uint32_t *cache_middle(void *state)
{
    return cache_window(state) + CACHE_WINDOW;
}
__device__ inline uint32_t *cache_bag(void *state, const struct cache_head &h)
{
    return cache_middle(state) + h.middle_size;
}

/* An empty window, in both places; the caller sees to the barriers. */
__device__ inline void window_clear(struct cache_shared *s, void *state)
{
    int tid = static_cast<int>(threadIdx.x), threads = static_cast<int>(blockDim.x);
    for (int i = tid; i < CACHE_WINDOW; i += threads)
        s->window[i] = cache_window(state)[i] = 0;
}

__device__ inline bool level_has(const struct cache_level &l, int rank)
{
    return l.count >= 0 && l.above < rank && rank <= l.above + l.count;
}

/*
 * A key such that `rank` of the window's are at least it, or the rank-th largest where equal ones do
 * not allow that. The window is in shared memory.
 */
__device__ inline uint32_t window_key(const struct cache_shared *s, const struct cache_level &w,
                                      int rank)
{
    int tid = static_cast<int>(threadIdx.x), threads = static_cast<int>(blockDim.x);
    uint32_t differ = w.lo ^ (w.hi - 1);
    int top = differ ? 31 - __clz(static_cast<int>(differ)) : -1;
    uint32_t key = top < 0 ? w.lo : w.lo & ~((2u << top) - 1);
    for (int bit = top; bit >= 0; bit--) {
        uint32_t at = key | 1u << bit;
        int reach = 0;
        for (int i = 0; i < w.count; i += threads)
            reach += __syncthreads_count(i + tid < w.count && s->window[i + tid] >= at);
        if (reach >= rank)
            key = at;
        if (reach == rank)
            break;
    }
    return key < w.lo ? w.lo : key;
}

/*
 * Makes the window anew, and the middle where it has to; returns a key that as many of all have or
 * exceed as the R-th largest. The bag has n. s->head is changed by all threads alike; `w` and `m`
 * are theirs of it.
 */
__device__ inline uint32_t cache_rebuild(struct cache_shared *s, void *state, int n, int R,
                                         struct cache_level *w, struct cache_level *m)
{
    uint32_t *middle = cache_middle(state), *bag = cache_bag(state, s->head);
    int tid = static_cast<int>(threadIdx.x), threads = static_cast<int>(blockDim.x);
    bool fresh = !level_has(*m, R);
    __syncthreads(); // what other threads wrote into bag and middle is there
    if (fresh)
        level_build(s, bag, n, R, level_empty(), m, middle, s->head.middle_size);
    if (m->flat)
        *w = *m;
    else
        level_build(s, middle, m->count, R - m->above, *m, w, cache_window(state), CACHE_WINDOW);
    __syncthreads();
    for (int i = tid; i < CACHE_WINDOW; i += threads) {
        uint32_t key = !w->flat && i < w->count ? cache_window(state)[i] : 0;
        s->window[i] = key;
        cache_window(state)[i] = key;
    }
    if (tid == 0) {
        s->head.rebuilds[0]++;
        s->head.rebuilds[1] += fresh;
    }
    __syncthreads();
    return w->flat ? w->lo : window_key(s, *w, R - w->above);
}

/* Puts the token's keys that are in the level behind its others; by one warp. */
__device__ inline int level_append(const struct cache_level &l, const uint32_t *key, int N,
                                   uint32_t *to, uint32_t *shared_too)
{
    int lane = static_cast<int>(threadIdx.x & 31), count = l.count;
    for (int first = 0; first < N; first += 32) {
        uint32_t k = first + lane < N ? key[first + lane] : 0;
        bool in = first + lane < N && k >= l.lo && k < l.hi;
        unsigned who = __ballot_sync(ALL_LANES, in);
        int at = count + __popc(who & ((1u << lane) - 1));
        if (in && !l.flat) {
            to[at] = k;
            if (shared_too)
                shared_too[at] = k;
        }
        count += __popc(who);
    }
    return count;
}

/* Of a row's keys, how many are above a level and how many in it; each warp counts for itself. */
__device__ inline void level_meet(const struct cache_level &l, const uint32_t *key, int N,
                                  int *above, int *inside)
{
    int lane = static_cast<int>(threadIdx.x & 31);
    *above = *inside = 0;
    for (int first = 0; first < N; first += 32) {
        bool is = first + lane < N;
        uint32_t k = is ? key[first + lane] : 0;
        *above += __popc(__ballot_sync(ALL_LANES, is && k >= l.hi));
        *inside += __popc(__ballot_sync(ALL_LANES, is && k >= l.lo && k < l.hi));
    }
}

#endif
