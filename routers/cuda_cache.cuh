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

#include "routers/cuda_row.cuh"

constexpr int CACHE_WINDOW = 512;

struct cache_level {
    uint32_t lo, hi; /* keys; lo is in it, hi is not */
    int above;       /* scores with a key of at least hi */
    int count;       /* scores in it; -1: it is not kept */
    int flat;        /* lo is its only key: they are counted, not stored */
};

/* The beginning of a state; then the window [512], the middle [middle_size], the bag: keys. */
struct cache_head {
    int tokens; /* of this segment so far */
    int bag_tokens, middle_size;
    int rebuilds[2]; /* of window and middle */
    struct cache_level window, middle;
    long long used, read;
};
constexpr size_t CACHE_HEAD = 128;
static_assert(sizeof(struct cache_head) <= CACHE_HEAD, "the window begins behind the head");

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

__device__ inline struct cache_level level_empty()
{
    return { 0, KEY_END, 0, 0, 0 };
}

/* What a block works in, in shared memory; `key` and `rank` are [N], behind it. */
struct cache_shared {
    uint32_t window[CACHE_WINDOW]; /* 0 behind its last */
    struct cache_head head;
    unsigned histogram[3][256];
    uint32_t prefix[3]; /* digits found so far of three ranks' keys */
    int rank[3];        /* and the ranks that are left within them */
    int above, inside;
};

__host__ __device__ inline size_t route_shared_bytes(int N)
{
    return (sizeof(struct cache_shared) + 8 * static_cast<size_t>(N) + 15) / 16 * 16;
}

/* Finds rank j's next digit, from the largest on; by one warp. */
__device__ inline void find_digit(struct cache_shared *s, int j, int shift)
{
    int lane = static_cast<int>(threadIdx.x & 31), mine = 0, rank = s->rank[j];
    for (int i = 0; i < 8; i++)
        mine += static_cast<int>(s->histogram[j][255 - lane * 8 - i]);
    int upto = mine;
    for (int d = 1; d < 32; d *= 2) {
        int other = __shfl_up_sync(ALL_LANES, upto, static_cast<unsigned>(d));
        upto += lane >= d ? other : 0;
    }
    int first = upto - mine;
    __syncwarp();
    if (first < rank && rank <= upto) {
        int digit = 255 - lane * 8;
        for (rank -= first; rank > static_cast<int>(s->histogram[j][digit]); digit--)
            rank -= static_cast<int>(s->histogram[j][digit]);
        s->rank[j] = rank;
        s->prefix[j] |= static_cast<uint32_t>(digit) << shift;
    }
}

/* Calls f(key) for each of from[n], aligned to 16 bytes; the block's threads share them. */
template <class F> __device__ inline void each_key(const uint32_t *from, int n, F f)
{
    int tid = static_cast<int>(threadIdx.x), threads = static_cast<int>(blockDim.x);
    const uint4 *four = reinterpret_cast<const uint4 *>(from);
#pragma unroll 4
    for (int i = tid; i < n / 4; i += threads) {
        uint4 v = four[i];
        f(v.x);
        f(v.y);
        f(v.z);
        f(v.w);
    }
    for (int i = n / 4 * 4 + tid; i < n; i += threads)
        f(from[i]);
}

/* The keys of s->rank[0..2], largest first from 1 on, among from[n], into s->prefix. */
__device__ inline void three_ranks(struct cache_shared *s, const uint32_t *from, int n)
{
    int tid = static_cast<int>(threadIdx.x), threads = static_cast<int>(blockDim.x);
    if (tid < 3)
        s->prefix[tid] = 0;
    for (int shift = 24; shift >= 0; shift -= 8) {
        for (int i = tid; i < 3 * 256; i += threads)
            s->histogram[i / 256][i % 256] = 0;
        __syncthreads();
        uint32_t known = shift == 24 ? 0 : ~0u << (shift + 8);
        uint32_t p0 = s->prefix[0], p1 = s->prefix[1], p2 = s->prefix[2];
        each_key(from, n, [=](uint32_t key) {
            uint32_t digit = key >> shift & 255;
            if ((key & known) == p0)
                atomicAdd(&s->histogram[0][digit], 1u);
            if ((key & known) == p1)
                atomicAdd(&s->histogram[1][digit], 1u);
            if ((key & known) == p2)
                atomicAdd(&s->histogram[2][digit], 1u);
        });
        __syncthreads();
        for (int j = tid / 32; j < 3; j += threads / 32)
            find_digit(s, j, shift);
        __syncthreads();
    }
}

/* Counts from[n] above the level, and puts what is in it into to[size], where it is not flat. */
__device__ inline void fill_level(struct cache_shared *s, const uint32_t *from, int n,
                                  struct cache_level *l, uint32_t *to, int size)
{
    int above = 0;
    if (threadIdx.x == 0)
        s->above = s->inside = 0;
    __syncthreads();
    each_key(from, n, [&](uint32_t key) {
        above += key >= l->hi;
        if (key >= l->lo && key < l->hi) {
            int at = atomicAdd(&s->inside, 1);
            if (!l->flat && at < size)
                to[at] = key;
        }
    });
    atomicAdd(&s->above, above);
    __syncthreads();
    l->above = s->above;
    l->count = s->inside;
    __syncthreads();
}

/*
 * Makes a level anew around the k-th largest of from[n], the keys in [from's lo, from's hi) of all,
 * of which `base` lie above; returns that key. to: [size], another memory than `from`
 */
__device__ inline uint32_t level_build(struct cache_shared *s, const uint32_t *from, int n, int k,
                                       const struct cache_level &outer, struct cache_level *l,
                                       uint32_t *to, int size)
{
    int margin = size / 4, first = k - margin, last = k + margin;
    __syncthreads();
    if (threadIdx.x == 0) {
        s->rank[0] = first < 1 ? 1 : first;
        s->rank[1] = k;
        s->rank[2] = last > n ? n : last;
    }
    __syncthreads();
    three_ranks(s, from, n);
    uint32_t over = s->prefix[0], c = s->prefix[1], under = s->prefix[2];
    // Equal scores stay together: those at either end are outside, unless they are c's own.
    l->hi = first < 1 ? outer.hi : over == c ? c + 1 : over;
    l->lo = last > n ? outer.lo : under == c ? c : under + 1;
    l->flat = 0;
    fill_level(s, from, n, l, to, size);
    if (l->count > size / 4 * 3) {
        l->lo = c;
        l->hi = c + 1;
        l->flat = 1;
        fill_level(s, from, n, l, to, size);
    }
    l->above += outer.above;
    if (threadIdx.x == 0)
        s->head.read += 5LL * n;
    return c;
}

__device__ inline bool level_has(const struct cache_level &l, int rank)
{
    return l.count >= 0 && l.above < rank && rank <= l.above + l.count;
}

/*
 * Makes the window anew, and the middle where it has to; returns the R-th largest key of all. The
 * bag has n. s->head is changed by all threads alike; `w` and `m` are theirs of it.
 */
__device__ inline uint32_t cache_rebuild(struct cache_shared *s, void *state, int n, int R,
                                         struct cache_level *w, struct cache_level *m)
{
    uint32_t *middle = cache_middle(state), *bag = cache_bag(state, s->head), c;
    int tid = static_cast<int>(threadIdx.x), threads = static_cast<int>(blockDim.x);
    bool fresh = !level_has(*m, R);
    __syncthreads(); // what other threads wrote into bag and middle is there
    if (fresh)
        level_build(s, bag, n, R, level_empty(), m, middle, s->head.middle_size);
    if (m->flat) {
        *w = *m;
        c = m->lo;
    } else {
        c = level_build(s, middle, m->count, R - m->above, *m, w, cache_window(state),
                        CACHE_WINDOW);
    }
    for (int i = tid; i < CACHE_WINDOW; i += threads)
        s->window[i] = !w->flat && i < w->count ? cache_window(state)[i] : 0;
    if (tid == 0) {
        s->head.rebuilds[0]++;
        s->head.rebuilds[1] += fresh;
    }
    __syncthreads();
    return c;
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
