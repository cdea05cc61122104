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
 * A block that may route the token can have the state before it knows: route_load() at its beginning,
 * route_loaded() before the barrier, in place of the first two.
 *
 * A block has 64 to 1024 threads, a multiple of 32, and all of them call. N experts need
 * route_shared_bytes(N) of shared memory, aligned to 16 bytes.
 *
 * Latency, N up to 64, 256 threads: each warp has all keys in registers and ranks eight experts by
 * ballots, about 250 cycles to the only barrier. Online and strict add a count of what is above the
 * window, about 100 cycles, and where a score falls into it, about one token in two at position 256
 * and one in fifteen at 4096, 170 for up to eight such scores. What is written is not waited for.
 * Larger rows are ranked through shared memory, with two barriers more. A window made anew takes
 * about 4 us at a capacity of 4096, the middle one 5 us for each 1000 tokens: once in hundreds of
 * tokens, and once in thousands.
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

/* Begins to copy 16 bytes of global memory, aligned, to shared memory. */
__device__ inline void copy_sixteen(uint4 *to, const uint4 *from)
{
#ifndef CUDA_HOST
    unsigned at = static_cast<unsigned>(__cvta_generic_to_shared(to));
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(at),
                 "l"(__cvta_generic_to_global(from))
                 : "memory");
#else
    *to = *from;
#endif
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

/*
 * Begins to copy the state's head and window into `scratch`: nobody waits until route_loaded(). Where
 * no other block writes the state meanwhile, it may stand at the kernel's beginning.
 */
__device__ inline void route_load(const struct gpu_router &r, const void *state, void *scratch)
{
    constexpr int WINDOW = CACHE_WINDOW / 4, HEAD = sizeof(struct cache_head) / 16;
    static_assert(offsetof(struct cache_shared, head) == 16 * WINDOW, "the head is behind it");
    if (!route_keeps(r))
        return;
    const uint4 *from = static_cast<const uint4 *>(state);
    uint4 *to = static_cast<uint4 *>(scratch);
    // From the last thread on: the first warp has other things to wait for.
    for (int i = static_cast<int>(blockDim.x - 1 - threadIdx.x); i < WINDOW + HEAD;
         i += static_cast<int>(blockDim.x))
        copy_sixteen(to + i,
                     from + (i < WINDOW ? static_cast<int>(CACHE_HEAD / 16) + i : i - WINDOW));
}

/* What this thread began to copy is there; the others see it behind a barrier. */
__device__ inline void route_loaded()
{
#ifndef CUDA_HOST
    asm volatile("cp.async.wait_all;" ::: "memory");
#endif
}

/* Both at once: the state's head and window are in `scratch` behind the next barrier. */
__device__ inline void route_open(const struct gpu_router &r, const void *state, void *scratch)
{
    route_load(r, state, scratch);
    route_loaded();
}

/* ---- ranks ---- */

/* The experts whose ranks a thread knows. */
struct row_ranks {
    int expert, rank; /* where N is OWN_KEYS at most: one, N where it has none */
    int *of;          /* else all of them: [N], in shared memory */
};

/* Each expert's rank, of a row of up to OWN_KEYS: each warp ranks eights, and needs no other. */
__device__ inline struct row_ranks rank_own(const struct warp_row &row)
{
    constexpr int EACH = 8;
    int lane = static_cast<int>(threadIdx.x & 31), warp = static_cast<int>(threadIdx.x / 32);
    int warps = static_cast<int>(blockDim.x / 32);
    unsigned low = 0, high = 0; // those that are better than this lane's expert
    for (int slot = 0, first = warp * EACH; first < row.N; slot += EACH, first += warps * EACH) {
        uint32_t own = first < 32 ? row.own[0] : row.own[1];
#pragma unroll
        for (int i = 0; i < EACH; i++) {
            int e = first + i;
            uint32_t k = __shfl_sync(ALL_LANES, own, e & 31);
            unsigned l = __ballot_sync(ALL_LANES, row.own[0] > k || (row.own[0] == k && lane < e));
            unsigned h =
                __ballot_sync(ALL_LANES, row.own[1] > k || (row.own[1] == k && lane + 32 < e));
            if (lane == slot + i) {
                low = l;
                high = h;
            }
        }
    }
    int own = (warp + lane / EACH * warps) * EACH + lane % EACH;
    return { own < row.N ? own : row.N, __popc(low) + __popc(high), NULL };
}

/* Threads that share an expert: a power of two up to 32. */
__device__ inline int threads_each(int N)
{
    int each = 1;
    while (each < 32 && each * 2 * N <= static_cast<int>(blockDim.x))
        each *= 2;
    return each;
}

/* The same for any row, through shared memory: a barrier follows. key: [N]; rank: [N] */
__device__ inline struct row_ranks rank_all(const uint32_t *key, int *rank, int N)
{
    int each = threads_each(N), part = static_cast<int>(threadIdx.x) % each;
    for (int first = 0; first < N; first += static_cast<int>(blockDim.x) / each) {
        int e = first + static_cast<int>(threadIdx.x) / each, larger = 0;
        uint32_t k = e < N ? key[e] : KEY_END;
#pragma unroll 4
        for (int f = part; f < N; f += each)
            larger += key[f] > k || (key[f] == k && f < e);
        for (int d = 1; d < each; d *= 2)
            larger += __shfl_xor_sync(ALL_LANES, larger, d);
        if (e < N && part == 0)
            rank[e] = larger;
    }
    return { N, 0, rank };
}

/* Calls f(e, rank): each expert by one thread. */
template <class F> __device__ inline void each_rank(const struct row_ranks &ranks, int N, F f)
{
    if (N <= OWN_KEYS) {
        if (ranks.expert < N)
            f(ranks.expert, ranks.rank);
        return;
    }
    for (int e = static_cast<int>(threadIdx.x); e < N; e += static_cast<int>(blockDim.x))
        f(e, ranks.of[e]);
}

/* ---- the Expert Cache's step ---- */

/* What a token's step leaves to be written. */
struct cache_news {
    struct cache_head head;
    int above, inside; /* of the row's keys, those above the window and in it */
    bool fits;         /* they are not in `head` yet, nor in window and middle */
};

/* Counts the row in the middle, in `h`; `puts`: this warp writes the keys. */
__device__ inline void middle_add(struct cache_head *h, void *state, const struct warp_row &row,
                                  bool puts)
{
    struct cache_level *m = &h->middle;
    int above, inside;
    level_meet(*m, row, &above, &inside);
    bool keeps = m->count >= 0 && (m->flat || m->count + inside <= h->middle_size);
    if (keeps && puts)
        level_append(*m, row, cache_middle(state));
    m->above += above;
    m->count = keeps ? m->count + inside : -1;
}

/* The scores of a token go to the others, a warp for each 32. */
__device__ inline void bag_add(void *state, const struct cache_head &h, const struct warp_row &row)
{
    uint32_t *bag = cache_bag(state, h) + static_cast<size_t>(h.tokens) * row.N;
    int warps = static_cast<int>(blockDim.x / 32), turn = warps - 1;
    each_own(row, [&](int e, uint32_t k) {
        if (turn == static_cast<int>(threadIdx.x / 32) && e < row.N)
            bag[e] = k;
        turn = turn ? turn - 1 : warps - 1;
    });
}

/* For how many of the row's keys fewer than R of all keys are larger. */
__device__ inline int cache_reach(struct cache_shared *s, void *state, const struct warp_row &row,
                                  int R, struct cache_news *news)
{
    struct cache_head &h = news->head;
    struct cache_level &w = h.window;
    level_meet(w, row, &news->above, &news->inside);
    int above = news->above, inside = news->inside, count = w.count + inside;
    news->fits =
        w.above + above < R && R <= w.above + above + count && (w.flat || count <= CACHE_WINDOW);
    if (!news->fits) {
        middle_add(&h, state, row, threadIdx.x < 32);
        uint32_t c = cache_rebuild(s, state, (h.tokens + 1) * row.N, R, &w, &h.middle);
        h.rebuilds[0] = s->head.rebuilds[0];
        h.rebuilds[1] = s->head.rebuilds[1];
        h.read = s->head.read;
        return count_row(row, c);
    }
    // Larger than a key of the window are: those above it, the window's, and the row's own. Where
    // the window is c alone, all at c are in.
    if (inside == 0 || w.flat)
        return above + inside;
    return above + reach_inside(s, row, w, inside, R - w.above);
}

/* What a token takes by its scores; nothing but the bag is written, save for a window made anew. */
__device__ inline int cache_take(const struct gpu_router &r, void *state, struct cache_shared *s,
                                 const struct warp_row &row, struct cache_news *news)
{
    struct cache_head &h = news->head;
    h = s->head;
    int R = (h.tokens + 1) * r.K;
    bag_add(state, h, row);
    int reached = cache_reach(s, state, row, R, news);
    int n = reached < r.min ? r.min : reached > r.max ? r.max : reached;
    long long left = static_cast<long long>(R) - h.used;
    if (r.kind == GPU_STRICT && n > left)
        n = static_cast<int>(left);
    h.tokens++;
    h.used += n;
    return n;
}

/*
 * Writes what a token's step left, behind a barrier: by the last warp the window and the head, by the
 * one before it the middle.
 */
__device__ inline void cache_keep(void *state, const struct warp_row &row, struct cache_news &news)
{
    struct cache_level &w = news.head.window;
    unsigned after = (blockDim.x - 1 - threadIdx.x) / 32; // warps
    if (after > 1)
        return;
    if (news.fits) {
        middle_add(&news.head, state, row, after == 1);
        if (after == 0)
            level_append(w, row, cache_window(state));
        w.above += news.above;
        w.count += news.inside;
    }
    if (threadIdx.x == blockDim.x - 1)
        *static_cast<struct cache_head *>(state) = news.head;
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

/* ---- a token by a block ---- */

/* Takes the row's best, best first, while their sum says so. ranks: behind a barrier; sorted: [N] */
__device__ inline int sum_best(const struct gpu_router &r, const float *scores,
                               const struct row_ranks &ranks, float *sorted)
{
    each_rank(ranks, r.N, [=](int e, int rank) { sorted[rank] = scores[e]; });
    __syncthreads();
    double sum = 0;
    int n = 0;
    while (n < r.N && (r.kind == GPU_TOPP ? sum <= r.share : sum < r.share))
        sum += static_cast<double>(sorted[n++]);
    return n;
}

/*
 * Selects for one token, behind route_open() and a barrier: taken[e] becomes 1 or 0; returns how many
 * it takes, to all threads. Behind it `taken` can be read and `scratch` used for something else.
 * state: gpu_state_bytes(), NULL where the router keeps none; its room is not checked here. scores:
 * [N] and taken: [N], shared memory; scratch: shared memory, route_shared_bytes(N)
 */
__device__ inline int route_token(const struct gpu_router &r, void *state, const float *scores,
                                  uint8_t *taken, void *scratch)
{
    struct cache_shared *s = static_cast<struct cache_shared *>(scratch);
    uint32_t *key = reinterpret_cast<uint32_t *>(s + 1);
    int tid = static_cast<int>(threadIdx.x), threads = static_cast<int>(blockDim.x);
    int lane = tid & 31, N = r.N, n = r.K;
    const bool few = N <= OWN_KEYS, keeps = route_keeps(r);
    const struct warp_row row = { { lane < N ? score_key(scores[lane]) : 0,
                                    lane + 32 < N ? score_key(scores[lane + 32]) : 0 },
                                  key,
                                  N };
    struct row_ranks ranks;
    struct cache_news news;
    if (few) {
        ranks = rank_own(row);
    } else {
        for (int e = tid; e < N; e += threads)
            key[e] = score_key(scores[e]);
        __syncthreads();
        ranks = rank_all(key, reinterpret_cast<int *>(key + N), N);
        __syncthreads();
    }
    if (keeps) {
        cache_turn(r, state, s);
        n = cache_take(r, state, s, row, &news);
    } else if (r.kind == GPU_TOPP || r.kind == GPU_XMOE) {
        n = sum_best(r, scores, ranks, reinterpret_cast<float *>(s));
    }
    each_rank(ranks, N, [=](int e, int rank) { taken[e] = rank < n; });
    if (few) // whose keys are in registers
        __syncthreads();
    if (keeps)
        cache_keep(state, row, news);
    if (!few)
        __syncthreads();
    return n;
}

#endif
