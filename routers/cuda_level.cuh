/*
 * cuda_level.cuh: the parts of an Expert Cache's scores that lie around its c, and how one is made of
 * a larger one. See cuda_cache.cuh, which says what they are for.
 *
 * A level's bounds come from one look at all keys, by bins, and its keys from a second; only where
 * too many keys share c's bin are the bounds keys themselves, which takes four looks more.
 *
 * All functions are called by all threads of a block but those that say otherwise.
 */
#ifndef ROUTERS_CUDA_LEVEL_CUH
#define ROUTERS_CUDA_LEVEL_CUH

#include "routers/cuda_keys.cuh"

constexpr int CACHE_WINDOW = 512;
constexpr int LEVEL_BINS = 2048; /* a level's bounds are looked for among so many parts */
/* Softmax scores below the first, 2^-16, and above the second, next to 1, share a bin with it. */
constexpr uint32_t LEAST_KEY = 0xb7800000u, MOST_KEY = 0xbf7fffffu;

struct cache_level {
    uint32_t lo, hi; /* keys; lo is in it, hi is not */
    int above;       /* scores with a key of at least hi */
    int count;       /* scores in it; -1: it is not kept */
    int flat;        /* lo is its only key: they are counted, not stored */
};

/* The beginning of a state; then the window [512], the middle [middle_size], the bag: keys. */
struct alignas(16) cache_head { /* it is copied in sixteens */
    int tokens;                 /* of this segment so far */
    int bag_tokens, middle_size;
    int rebuilds[2]; /* of window and middle */
    struct cache_level window, middle;
    long long used, read;
};
constexpr size_t CACHE_HEAD = 128;
static_assert(sizeof(struct cache_head) <= CACHE_HEAD, "the window begins behind the head");
static_assert(LEVEL_BINS == 2048, "find_bin() has two bins a lane");

__device__ inline struct cache_level level_empty()
{
    return { 0, KEY_END, 0, 0, 0 };
}

/* What a block works in, in shared memory; `key` and `rank` are [N], behind it. */
struct cache_shared {
    uint32_t window[CACHE_WINDOW]; /* as in the state: 0 behind its last */
    struct cache_head head;
    union {
        unsigned bins[LEVEL_BINS];
        unsigned histogram[3][256];
    };
    uint32_t prefix[3]; /* of three ranks: their bins, or the digits found so far of their keys */
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

/* How a level's keys are put into bins; a larger key has no smaller bin. */
struct level_bins {
    uint32_t least, most; /* what is outside is in the first or the last bin */
    int shift;

    __device__ uint32_t of(uint32_t key) const
    {
        return ((key < least ? least : key > most ? most : key) - least) >> shift;
    }
    /* The least key of a bin, and what lies above its keys; both within the level. */
    __device__ uint32_t floor(uint32_t bin, const struct cache_level &l) const
    {
        return bin == 0 ? l.lo : least + (bin << shift);
    }
    __device__ uint32_t ceiling(uint32_t bin, const struct cache_level &l) const
    {
        return bin >= of(most) ? l.hi : least + ((bin + 1) << shift);
    }
};

__device__ inline struct level_bins bins_of(const struct cache_level &l)
{
    struct level_bins b = { l.lo, l.hi - 1, 0 };
    if (b.least < LEAST_KEY && b.most > LEAST_KEY)
        b.least = LEAST_KEY;
    if (b.most > MOST_KEY && b.least < MOST_KEY)
        b.most = MOST_KEY;
    while ((b.most - b.least) >> b.shift >= LEVEL_BINS)
        b.shift++;
    return b;
}

/* The bin of rank j's key, from the largest on, into s->prefix, and its rank there; by one warp. */
__device__ inline void find_bin(struct cache_shared *s, int j)
{
    constexpr int EACH = LEVEL_BINS / 32;
    int lane = static_cast<int>(threadIdx.x & 31), rank = s->rank[j], mine = 0;
#pragma unroll 16
    for (int i = 0; i < EACH; i++) // each lane begins elsewhere, or their banks would be the same
        mine += static_cast<int>(s->bins[(31 - lane) * EACH + (i + lane) % EACH]);
    int upto = mine;
    for (int d = 1; d < 32; d *= 2) {
        int other = __shfl_up_sync(ALL_LANES, upto, static_cast<unsigned>(d));
        upto += lane >= d ? other : 0;
    }
    int from = __ffs(static_cast<int>(__ballot_sync(ALL_LANES, rank <= upto))) - 1;
    rank -= __shfl_sync(ALL_LANES, upto - mine, from);
    int bin = (32 - from) * EACH - 1 - lane * (EACH / 32);
    int first = static_cast<int>(s->bins[bin]), second = static_cast<int>(s->bins[bin - 1]);
    upto = first + second;
    for (int d = 1; d < 32; d *= 2) {
        int other = __shfl_up_sync(ALL_LANES, upto, static_cast<unsigned>(d));
        upto += lane >= d ? other : 0;
    }
    if (upto - first - second < rank && rank <= upto) {
        bool upper = rank <= upto - second;
        s->prefix[j] = static_cast<uint32_t>(upper ? bin : bin - 1);
        s->rank[j] = rank - (upto - second) + (upper ? first : 0);
    }
}

/*
 * Adds the source's keys to s->bins; the caller sees to the barriers. b: where the source has slabs,
 * those of level_empty()
 */
__device__ inline void count_bins(struct cache_shared *s, const struct key_source &from,
                                  const struct level_bins &b)
{
    int tid = static_cast<int>(threadIdx.x), threads = static_cast<int>(blockDim.x);
    int behind = from.first + from.nslabs * from.slab;
    auto count = [=](uint32_t key) { atomicAdd(&s->bins[b.of(key)], 1u); };
    struct key_source part = from;
    if (from.nslabs > 0) {
        for (int i = tid; i < LEVEL_BINS; i += threads) {
            unsigned sum = 0;
#pragma unroll 8
            for (int j = 0; j < from.nslabs; j++)
                sum += from.slabs[static_cast<size_t>(j) * LEVEL_BINS + i];
            if (sum)
                atomicAdd(&s->bins[i], sum);
        }
        part.nscores = from.first;
        each_key(scores_of(from.scores + behind, from.nscores - behind), count);
    }
    each_key(part, count);
}

/* The bins of s->rank[0..2] among `from`, into s->prefix. */
__device__ inline void three_bins(struct cache_shared *s, const struct key_source &from,
                                  const struct level_bins &b)
{
    int tid = static_cast<int>(threadIdx.x), threads = static_cast<int>(blockDim.x);
    for (int i = tid; i < LEVEL_BINS; i += threads)
        s->bins[i] = 0;
    __syncthreads();
    count_bins(s, from, b);
    __syncthreads();
    for (int j = tid / 32; j < 3; j += threads / 32)
        find_bin(s, j);
    __syncthreads();
}

/*
 * The keys of s->rank[0..2], largest first from 1 on, into s->prefix, which has their bits above
 * shift + 8 already. each(f) calls f(key, which) for all keys: bit j of `which` is rank j's.
 */
template <class E> __device__ inline void find_keys(struct cache_shared *s, int shift, E each)
{
    int tid = static_cast<int>(threadIdx.x), threads = static_cast<int>(blockDim.x);
    for (; shift >= 0; shift -= 8) {
        for (int i = tid; i < 3 * 256; i += threads)
            s->histogram[i / 256][i % 256] = 0;
        __syncthreads();
        uint32_t known = shift == 24 ? 0 : ~0u << (shift + 8);
        uint32_t p0 = s->prefix[0], p1 = s->prefix[1], p2 = s->prefix[2];
        each([=](uint32_t key, int which) {
            uint32_t digit = key >> shift & 255;
            if ((key & known) == p0 && (which & 1))
                atomicAdd(&s->histogram[0][digit], 1u);
            if ((key & known) == p1 && (which & 2))
                atomicAdd(&s->histogram[1][digit], 1u);
            if ((key & known) == p2 && (which & 4))
                atomicAdd(&s->histogram[2][digit], 1u);
        });
        __syncthreads();
        for (int j = tid / 32; j < 3; j += threads / 32)
            find_digit(s, j, shift);
        __syncthreads();
    }
}

/* The keys of s->rank[0..2] among `from`, into s->prefix. */
__device__ inline void three_ranks(struct cache_shared *s, const struct key_source &from)
{
    if (threadIdx.x < 3)
        s->prefix[threadIdx.x] = 0;
    find_keys(s, 24, [&](auto f) { each_key(from, [=](uint32_t key) { f(key, 7); }); });
}

/* Counts what is above the level, and puts what is in it into to[size], where it is not flat. */
__device__ inline void fill_level(struct cache_shared *s, const struct key_source &from,
                                  struct cache_level *l, uint32_t *to, int size)
{
    int above = 0;
    if (threadIdx.x == 0)
        s->above = s->inside = 0;
    __syncthreads();
    each_key(from, [&](uint32_t key) {
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

/* What three_bins() and three_ranks() look for. */
__device__ inline void put_ranks(struct cache_shared *s, int first, int k, int last, int n)
{
    if (threadIdx.x < 3) {
        int rank = threadIdx.x == 0 ? first : threadIdx.x == 1 ? k : last;
        s->rank[threadIdx.x] = rank < 1 ? 1 : rank > n ? n : rank;
    }
    __syncthreads();
}

/* What level_build() does where bins are too wide: the bounds are keys, and equal ones are together. */
__device__ inline void level_exactly(struct cache_shared *s, const struct key_source &from, int k,
                                     const struct cache_level &outer, struct cache_level *l,
                                     uint32_t *to, int size)
{
    int margin = size / 4, first = k - margin, last = k + margin, n = from.nkeys + from.nscores;
    put_ranks(s, first, k, last, n);
    three_ranks(s, from);
    uint32_t over = s->prefix[0], c = s->prefix[1], under = s->prefix[2];
    // Those at either end are outside, unless they are c's own.
    l->hi = first < 1 ? outer.hi : over == c ? c + 1 : over;
    l->lo = last > n ? outer.lo : under == c ? c : under + 1;
    fill_level(s, from, l, to, size);
    if (l->count > size / 4 * 3) {
        l->lo = c;
        l->hi = c + 1;
        l->flat = 1;
        fill_level(s, from, l, to, size);
    }
    if (threadIdx.x == 0)
        s->head.read += 5LL * n;
}

/*
 * Makes a level anew around the k-th largest of `from`, the keys in `outer` of all. Its bounds are
 * those of bins; where one bin has too many keys, they are keys themselves. to: [size], another
 * memory than `from`
 */
__device__ inline void level_build(struct cache_shared *s, const struct key_source &from, int k,
                                   const struct cache_level &outer, struct cache_level *l,
                                   uint32_t *to, int size)
{
    const struct level_bins bins = bins_of(outer);
    int margin = size / 4, first = k - margin, last = k + margin, n = from.nkeys + from.nscores;
    __syncthreads();
    put_ranks(s, first, k, last, n);
    three_bins(s, from, bins);
    uint32_t over = s->prefix[0], c = s->prefix[1], under = s->prefix[2];
    // What has a bin in common with either end is outside, unless it is c's own.
    l->hi = first < 1 ? outer.hi : over == c ? bins.ceiling(c, outer) : bins.floor(over, outer);
    l->lo = last > n ? outer.lo : under == c ? bins.floor(c, outer) : bins.ceiling(under, outer);
    l->flat = 0;
    fill_level(s, from, l, to, size);
    if (threadIdx.x == 0)
        s->head.read += 2LL * n;
    if (l->count > size / 4 * 3)
        level_exactly(s, from, k, outer, l, to, size);
    l->above += outer.above;
}

#endif
