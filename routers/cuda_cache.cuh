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
 * Where warps count for themselves, all find the same, and nobody waits.
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
 * Makes the window anew around the R-th largest of all scores, and the middle where that is not
 * there: from `all`, and else from the middle. s->head.read is changed by one thread; `w` and `m` are
 * all threads'. Behind the window's last key are zeros; what was written is there behind a barrier.
 */
__device__ inline void cache_build(struct cache_shared *s, void *state,
                                   const struct key_source &all, int R, struct cache_level *w,
                                   struct cache_level *m)
{
    uint32_t *middle = cache_middle(state), *window = cache_window(state);
    int tid = static_cast<int>(threadIdx.x), threads = static_cast<int>(blockDim.x);
    if (!level_has(*m, R))
        level_build(s, all, R, level_empty(), m, middle, s->head.middle_size);
    if (m->flat)
        *w = *m;
    else
        level_build(s, keys_of(middle, m->count), R - m->above, *m, w, window, CACHE_WINDOW);
    for (int i = w->flat ? tid : w->count + tid; i < CACHE_WINDOW; i += threads)
        window[i] = 0;
}

/*
 * Makes the window anew, and the middle where it has to; returns a key that as many of all have or
 * exceed as the R-th largest. The bag has n. s->head is changed by all threads alike; `w` and `m`
 * are theirs of it.
 */
__device__ inline uint32_t cache_rebuild(struct cache_shared *s, void *state, int n, int R,
                                         struct cache_level *w, struct cache_level *m)
{
    int tid = static_cast<int>(threadIdx.x), threads = static_cast<int>(blockDim.x);
    bool fresh = !level_has(*m, R);
    __syncthreads(); // what other threads wrote into bag and middle is there
    cache_build(s, state, keys_of(cache_bag(state, s->head), n), R, w, m);
    __syncthreads();
    for (int i = tid; i < CACHE_WINDOW; i += threads)
        s->window[i] = cache_window(state)[i];
    if (tid == 0) {
        s->head.rebuilds[0]++;
        s->head.rebuilds[1] += fresh;
    }
    __syncthreads();
    return w->flat ? w->lo : window_key(s, *w, R - w->above);
}

/* ---- a row by warps ---- */

/*
 * A token's keys as each warp has them: lane i holds those of the experts i and i + 32, and reads
 * i + 64 and so on from shared memory.
 */
struct warp_row {
    uint32_t own[2];     /* 0 where there is no expert */
    const uint32_t *key; /* [N]; not read where N is OWN_KEYS at most */
    int N;
};
constexpr int OWN_KEYS = 64;

/* Calls f(e, key) for each expert that the lane has: all lanes together, e >= N where there is none. */
template <class F> __device__ inline void each_own(const struct warp_row &row, F f)
{
    int lane = static_cast<int>(threadIdx.x & 31);
    f(lane, row.own[0]);
    f(lane + 32, row.own[1]);
    for (int e = lane + OWN_KEYS; e - lane < row.N; e += 32)
        f(e, e < row.N ? row.key[e] : 0);
}

/* How many keys of the row are at least c > 0; each warp counts for itself. */
__device__ inline int count_row(const struct warp_row &row, uint32_t c)
{
    int n = 0;
    each_own(row, [&](int, uint32_t k) { n += __popc(__ballot_sync(ALL_LANES, k >= c)); });
    return n;
}

/*
 * Of a row's keys, how many are above a level and how many in it; each warp counts for itself. hi is
 * above 0, lo may be 0.
 */
__device__ inline void level_meet(const struct cache_level &l, const struct warp_row &row,
                                  int *above, int *inside)
{
    int over = 0, least = 0;
    each_own(row, [&](int e, uint32_t k) {
        over += __popc(__ballot_sync(ALL_LANES, k >= l.hi));
        least += __popc(__ballot_sync(ALL_LANES, e < row.N && k >= l.lo));
    });
    *above = over;
    *inside = least - over;
}

/* Puts the row's keys that are in the level behind its others; by one warp. */
__device__ inline void level_append(const struct cache_level &l, const struct warp_row &row,
                                    uint32_t *to)
{
    int lane = static_cast<int>(threadIdx.x & 31), count = l.count;
    each_own(row, [&](int e, uint32_t k) {
        bool in = e < row.N && k >= l.lo && k < l.hi;
        unsigned who = __ballot_sync(ALL_LANES, in);
        int at = count + __popc(who & ((1u << lane) - 1));
        if (in && !l.flat)
            to[at] = k;
        count += __popc(who);
    });
}

/*
 * For how many of the row's keys in the window, of which there are `inside`, fewer than `left` of the
 * window and the row are larger. Warps take them in turn; a warp has a key's window in registers.
 */
__device__ inline int reach_inside(const struct cache_shared *s, const struct warp_row &row,
                                   const struct cache_level &w, int inside, int left)
{
    int lane = static_cast<int>(threadIdx.x & 31), warps = static_cast<int>(blockDim.x / 32);
    int warp = static_cast<int>(threadIdx.x / 32), turn = 0, reached = 0, found = 0;
    uint4 part[CACHE_WINDOW / 128] = {};
    if (warp < inside)
#pragma unroll
        for (int i = 0; i < CACHE_WINDOW / 128; i++)
            part[i] = reinterpret_cast<const uint4 *>(s->window)[i * 32 + lane];
    for (int first = 0; first < row.N && warp < inside; first += 32) {
        int e = first + lane;
        uint32_t own = first == 0    ? row.own[0]
                       : first == 32 ? row.own[1]
                       : e < row.N   ? row.key[e]
                                     : 0;
        unsigned who = __ballot_sync(ALL_LANES, e < row.N && own >= w.lo && own < w.hi);
        for (; who; who &= who - 1, turn = turn + 1 == warps ? 0 : turn + 1) {
            if (turn != warp)
                continue;
            uint32_t k = __shfl_sync(ALL_LANES, own, __ffs(static_cast<int>(who)) - 1);
            int larger = 0;
#pragma unroll
            for (int i = 0; i < CACHE_WINDOW / 128; i++)
                larger += (part[i].x > k) + (part[i].y > k) + (part[i].z > k) + (part[i].w > k);
            larger = __reduce_add_sync(ALL_LANES, larger);
            found += larger + count_row(row, k + 1) < left; // k is below KEY_END
        }
    }
    // A warp has found at most its share.
    for (int share = inside; share > 0; share -= 32 * warps, found -= 32)
        reached += __syncthreads_count(lane < found);
    return reached;
}

#endif
