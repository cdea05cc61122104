/*
 * cuda.cuh: what the routers' kernels share, and the selection for one token by a whole block, which
 * a kernel calls that has just made that token's scores.
 *
 *     route_fetch(r, state);           // at its beginning, by one warp: not waited for
 *     route_open(r, state, scratch);   // when it is known that this block routes the token
 *     ... scores into shared memory ...
 *     __syncthreads();
 *     int n = route_token(r, state, scores, taken, scratch);   // taken[e] may be read now
 *
 * A block has 64 to 1024 threads, a multiple of 32, and all of them call. N experts need
 * route_shared_bytes(N) of shared memory, aligned to 16 bytes.
 *
 * Latency on an H100, N = 64, 256 threads, estimated: the state (2 kB) comes from L2 beside what the
 * scores are made of; then three barriers, 16 comparisons for the ranks, and 128 with the window,
 * 32 loads of 16 bytes from shared memory: 0.4 us more than topk, at any position. What is written
 * is not waited for. A window made anew takes about 4 us at a capacity of 4096, the middle one 5 us
 * for each 1000 tokens: once in hundreds of tokens, and once in thousands.
 *
 * Leaves out: the Expert Cache (cuda_cache.cuh), pools at once (cuda_*.cu).
 */
#ifndef ROUTERS_CUDA_CUH
#define ROUTERS_CUDA_CUH

#include "routers/cuda.h"
#include "routers/cuda_cache.cuh"

__device__ inline bool route_keeps(const struct gpu_router &r)
{
    return r.kind == GPU_ONLINE || r.kind == GPU_STRICT;
}

/* Asks for what route_open() will load, by one warp at least. state: NULL where the router keeps none */
__device__ inline void route_fetch(const struct gpu_router &r, const void *state)
{
#ifndef CUDA_HOST
    constexpr unsigned LINE = 128, BYTES = CACHE_HEAD + CACHE_WINDOW * sizeof(uint32_t);
    unsigned at = threadIdx.x * LINE;
    if (route_keeps(r) && at < BYTES)
        asm volatile("prefetch.global.L2 [%0];" ::"l"(static_cast<const char *>(state) + at));
#else
    (void)r, (void)state;
#endif
}

/* Begins with a token: the state's head and window go into `scratch`. */
__device__ inline void route_open(const struct gpu_router &r, void *state, void *scratch)
{
    struct cache_shared *s = static_cast<struct cache_shared *>(scratch);
    int tid = static_cast<int>(threadIdx.x), threads = static_cast<int>(blockDim.x);
    if (!route_keeps(r))
        return;
    const uint4 *from = reinterpret_cast<const uint4 *>(cache_window(state));
    for (int i = tid; i < CACHE_WINDOW / 4; i += threads)
        reinterpret_cast<uint4 *>(s->window)[i] = from[i];
    if (tid == threads - 1)
        s->head = *static_cast<const struct cache_head *>(state);
}

/* Threads that share an expert: a power of two up to 32. */
__device__ inline int threads_each(int N)
{
    int each = 1;
    while (each < 32 && each * 2 * N <= static_cast<int>(blockDim.x))
        each *= 2;
    return each;
}

/*
 * Each expert's rank in its row, and for how many of its keys fewer than `left` of the window and
 * the row are larger, that is x >= c; a window of 0 keys: none is looked for. key: [N]; rank: [N]
 */
__device__ inline int rank_row(const uint32_t *key, int *rank, int N, const uint32_t *window,
                               int keys, const struct cache_level &l, int left)
{
    int each = threads_each(N), part = static_cast<int>(threadIdx.x) % each, reached = 0;
    for (int first = 0; first < N; first += static_cast<int>(blockDim.x) / each) {
        int e = first + static_cast<int>(threadIdx.x) / each, larger = 0, tied = 0, inside = 0;
        uint32_t k = e < N ? key[e] : KEY_END;
        for (int f = part; f < N; f += each) {
            larger += key[f] > k;
            tied += key[f] == k && f < e;
        }
        const uint4 *four = reinterpret_cast<const uint4 *>(window);
#pragma unroll 4
        for (int i = part; i * 4 < keys; i += each) {
            uint4 v = four[i];
            inside += (v.x > k) + (v.y > k) + (v.z > k) + (v.w > k);
        }
        for (int d = 1; d < each; d *= 2) {
            larger += __shfl_xor_sync(ALL_LANES, larger, d);
            tied += __shfl_xor_sync(ALL_LANES, tied, d);
            inside += __shfl_xor_sync(ALL_LANES, inside, d);
        }
        bool mine = e < N && part == 0;
        if (mine)
            rank[e] = larger + tied;
        bool is = mine && (k >= l.hi || (k >= l.lo && larger + inside < left));
        reached += __syncthreads_count(is);
    }
    return reached;
}

/* How many keys of the row are at least c. */
__device__ inline int count_row(const uint32_t *key, int N, uint32_t c)
{
    int n = 0;
    for (int first = 0; first < N; first += static_cast<int>(blockDim.x)) {
        int e = first + static_cast<int>(threadIdx.x);
        n += __syncthreads_count(e < N && key[e] >= c);
    }
    return n;
}

/* A token of online or strict: what it takes by its scores. The head and window are in `s`. */
__device__ inline int cache_step(const struct gpu_router &r, void *state, struct cache_shared *s,
                                 const uint32_t *key, int *rank)
{
    struct cache_level w = s->head.window, m = s->head.middle;
    uint32_t *bag = cache_bag(state, s->head);
    int t = s->head.tokens, R = (t + 1) * r.K, tid = static_cast<int>(threadIdx.x), reached;
    int above, inside, middle_above, middle_inside;
    long long used = s->head.used;
    level_meet(w, key, r.N, &above, &inside);
    level_meet(m, key, r.N, &middle_above, &middle_inside);
    for (int e = tid; e < r.N; e += static_cast<int>(blockDim.x))
        bag[static_cast<size_t>(t) * r.N + e] = key[e];
    bool keep_middle = m.count >= 0 && (m.flat || m.count + middle_inside <= s->head.middle_size);
    if (keep_middle && tid / 32 == 1) // the first warp has the window's
        level_append(m, key, r.N, cache_middle(state), NULL);
    m.above += middle_above;
    m.count = keep_middle ? m.count + middle_inside : -1;
    // Larger than x in the window are: those above it, the window's, and the row's own, of which
    // those above are counted in `above` too.
    bool fits = w.above + above < R && R <= w.above + above + w.count + inside &&
                (w.flat || w.count + inside <= CACHE_WINDOW);
    reached = rank_row(key, rank, r.N, s->window, fits && !w.flat ? w.count : 0, w, R - w.above);
    if (fits) {
        if (tid < 32)
            level_append(w, key, r.N, cache_window(state), s->window);
        w.above += above;
        w.count += inside;
    } else {
        reached = count_row(key, r.N, cache_rebuild(s, state, (t + 1) * r.N, R, &w, &m));
    }
    int n = reached < r.min ? r.min : reached > r.max ? r.max : reached;
    long long left = static_cast<long long>(R) - used;
    if (r.kind == GPU_STRICT && n > left)
        n = static_cast<int>(left);
    __syncthreads();
    if (tid == 0) {
        s->head.window = w;
        s->head.middle = m;
        s->head.tokens = t + 1;
        s->head.used = used + n;
    }
    return n;
}

/* A segment that is full: the cache begins anew. */
__device__ inline void cache_turn(const struct gpu_router &r, void *state, struct cache_shared *s)
{
    bool full = r.segment > 0 && s->head.tokens == r.segment;
    if (!full)
        return;
    __syncthreads();
    window_clear(s, state);
    if (threadIdx.x == 0) {
        s->head.window = s->head.middle = level_empty();
        s->head.tokens = 0;
        s->head.used = 0;
    }
    __syncthreads();
}

/* Takes the row's best, best first, while their sum says so. rank: of all, seen by all threads */
__device__ inline int sum_best(const struct gpu_router &r, const float *scores, const int *rank,
                               float *sorted)
{
    for (int e = static_cast<int>(threadIdx.x); e < r.N; e += static_cast<int>(blockDim.x))
        sorted[rank[e]] = scores[e];
    __syncthreads();
    double sum = 0;
    int n = 0;
    while (n < r.N && (r.kind == GPU_TOPP ? sum <= r.share : sum < r.share))
        sum += static_cast<double>(sorted[n++]);
    return n;
}

/*
 * Selects for one token, behind route_open(): taken[e] becomes 1 or 0; returns how many it takes, to all threads. Behind
 * it `taken` can be read and `scratch` used for something else. state: gpu_state_bytes(), NULL where
 * the router keeps none; its room is not checked here. scores: [N] and taken: [N], shared memory,
 * behind a barrier; scratch: shared memory, route_shared_bytes(N)
 */
__device__ inline int route_token(const struct gpu_router &r, void *state, const float *scores,
                                  uint8_t *taken, void *scratch)
{
    struct cache_shared *s = static_cast<struct cache_shared *>(scratch);
    uint32_t *key = reinterpret_cast<uint32_t *>(s + 1);
    int *rank = reinterpret_cast<int *>(key + r.N), n = r.K;
    int tid = static_cast<int>(threadIdx.x), threads = static_cast<int>(blockDim.x);
    for (int e = tid; e < r.N; e += threads)
        key[e] = score_key(scores[e]);
    __syncthreads();
    if (route_keeps(r)) {
        cache_turn(r, state, s);
        n = cache_step(r, state, s, key, rank);
    } else {
        struct cache_level none = level_empty();
        rank_row(key, rank, r.N, NULL, 0, none, 0);
        if (r.kind == GPU_TOPP || r.kind == GPU_XMOE)
            n = sum_best(r, scores, rank, reinterpret_cast<float *>(s));
    }
    for (int e = tid; e < r.N; e += threads)
        taken[e] = rank[e] < n;
    if (route_keeps(r) && tid == 0)
        *static_cast<struct cache_head *>(state) = s->head; // which this thread has written
    __syncthreads();
    return n;
}

#endif
