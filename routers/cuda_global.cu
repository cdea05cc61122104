/*
 * cuda_global.cu: the T*K best pairs of a pool, by a selection: global and batchtopk.
 *
 * Bounds first: of each row the `min` best are taken, and those with a rank below `max` become
 * candidates (marked 2 in `taken`). A pair's key is a number of 64 bits that orders all pairs of a
 * unit, score first, then index: ties need nothing of their own. What is sought is the last key that
 * is taken.
 *
 * Large units are shared by blocks, in three kernels; what the blocks of one find, the last of them to
 * end puts together, so nothing waits:
 *   count    marks candidates and counts them by the leading bits of their scores; the last block
 *            finds the bin that the last pair is in
 *   collect  settles the candidates of other bins and lists this bin's; the last block finds the key
 *   settle   compares what is left with it
 * Small ones are done by one block. Where nearly all scores are equal, the list is long and one block
 * goes through it a few times: slower, and as right.
 */
#include "routers/cuda_impl.cuh"

/* What find_place() works in. */
struct place {
    int sums[32];
    int bin, before, count;
};

/* A number in global memory that other blocks have written; and one in shared memory. */
struct of_blocks {
    __device__ unsigned operator()(const unsigned *p) const
    {
        return __ldcg(p); // which takes no address of shared memory
    }
};
struct of_block {
    __device__ unsigned operator()(const unsigned *p) const
    {
        return *p;
    }
};

/*
 * The bin in which the `rank`-th (from 1) of what is counted lies, how many are in the bins before
 * it, and how many in it; in reverse: from the last bin on. The bins are a multiple of the threads.
 */
template <class Load>
__device__ static void find_place(Load load, const unsigned *counts, int bins, bool reverse,
                                  int rank, struct place *p)
{
    int tid = static_cast<int>(threadIdx.x), lane = tid & 31, per = bins / GLOBAL_THREADS;
    int mine = 0, upto;
    for (int i = tid * per; i < (tid + 1) * per; i++)
        mine += static_cast<int>(load(&counts[reverse ? bins - 1 - i : i]));
    upto = mine;
    for (int d = 1; d < 32; d *= 2) {
        int other = __shfl_up_sync(ALL_LANES, upto, static_cast<unsigned>(d));
        upto += lane >= d ? other : 0;
    }
    if (lane == 31)
        p->sums[tid / 32] = upto;
    __syncthreads();
    for (int w = 0; w < tid / 32; w++)
        upto += p->sums[w];
    int before = upto - mine;
    if (before < rank && rank <= upto) {
        int i = tid * per, count;
        for (;; i++) {
            count = static_cast<int>(load(&counts[reverse ? bins - 1 - i : i]));
            if (rank <= before + count)
                break;
            before += count;
        }
        p->bin = reverse ? bins - 1 - i : i;
        p->before = before;
        p->count = count;
    }
    __syncthreads();
}

constexpr int DIGIT_BITS = 11, FEW = 512;

struct select_shared {
    union {
        unsigned histogram[1 << DIGIT_BITS];
        unsigned bins[GLOBAL_BINS];
    };
    unsigned long long few[FEW];
    struct place place;
    unsigned long long least, most, last;
    unsigned n, base;
    int final;
};

/*
 * The `rank`-th smallest (from 1) of n different keys between least and most, both of which are
 * there. Digit by digit, until few are left, which are compared with each other.
 */
__device__ static unsigned long long select_key(const unsigned long long *list, int n, int rank,
                                                unsigned long long least, unsigned long long most,
                                                struct select_shared *s)
{
    int tid = static_cast<int>(threadIdx.x), left = n;
    int top = least == most ? -1 : (63 - __clzll(static_cast<long long>(least ^ most))) & 63;
    unsigned long long known = top >= 63 ? 0 : ~0ull << (top + 1), prefix = most & known;
    __syncthreads(); // the caller's threads have read what of `s` they gave
    while (left > FEW && top >= 0) {
        int bits = top + 1 < DIGIT_BITS ? top + 1 : DIGIT_BITS, shift = top + 1 - bits;
        unsigned mask = (1u << bits) - 1;
        for (int i = tid; i < 1 << DIGIT_BITS; i += GLOBAL_THREADS)
            s->histogram[i] = 0;
        __syncthreads();
#pragma unroll 8
        for (int i = tid; i < n; i += GLOBAL_THREADS) {
            unsigned long long key = __ldcg(&list[i]);
            if ((key & known) == prefix)
                atomicAdd(&s->histogram[static_cast<unsigned>(key >> shift) & mask], 1u);
        }
        __syncthreads();
        find_place(of_block(), s->histogram, 1 << DIGIT_BITS, false, rank, &s->place);
        prefix |= static_cast<unsigned long long>(s->place.bin) << shift;
        known |= static_cast<unsigned long long>(mask) << shift;
        rank -= s->place.before;
        left = s->place.count;
        top = shift - 1;
        __syncthreads();
    }
    if (top < 0)
        return prefix;
    if (tid == 0)
        s->n = 0;
    __syncthreads();
#pragma unroll 8
    for (int i = tid; i < n; i += GLOBAL_THREADS) {
        unsigned long long key = __ldcg(&list[i]);
        if ((key & known) == prefix)
            s->few[atomicAdd(&s->n, 1u)] = key;
    }
    __syncthreads();
    for (int i = tid; i < left; i += GLOBAL_THREADS) {
        int smaller = 0;
        for (int j = 0; j < left; j++)
            smaller += s->few[j] < s->few[i];
        if (smaller == rank - 1)
            s->last = s->few[i];
    }
    __syncthreads();
    return s->last;
}

/* The better a pair, the smaller its key. index: of the pair in its unit */
__device__ static unsigned long long pair_key(float score, unsigned index)
{
    return static_cast<unsigned long long>(~score_key(score)) << 32 | index;
}

/* Of 4096 bins, that of a score; a larger score has no smaller bin. */
__device__ static int bin_of(float score)
{
    uint32_t key = score_key(score), bin = key & 0x80000000u ? (key & 0x7fffffffu) >> 18 : 0;
    return bin < GLOBAL_BINS ? static_cast<int>(bin) : GLOBAL_BINS - 1;
}

/* Marks a row's pairs: 1 is taken by its rank, 2 is a candidate, 0 neither. By one warp. */
template <int J>
__device__ static void mark_row(const struct gpu_router &r, const float *row, uint8_t *taken)
{
    int lane = static_cast<int>(threadIdx.x & 31);
    uint32_t key[J], may, must;
    row_keys<J>(row, r.N, key);
    may = row_best<J>(key, r.N, r.max);
    must = row_best<J>(key, r.N, r.min);
#pragma unroll
    for (int j = 0; j < J; j++)
        if (j * 32 + lane < r.N)
            taken[j * 32 + lane] = must >> j & 1 ? 1 : may >> j & 1 ? 2 : 0;
}

/* Is this the last of the unit's blocks to come here? What the others wrote before can be read then. */
__device__ static bool last_block(struct unit_work *u, struct select_shared *s)
{
    __threadfence();
    __syncthreads();
    if (threadIdx.x == 0) {
        s->final = atomicAdd(&u->done, 1u) + 1 == static_cast<unsigned>(u->chunks);
        if (s->final)
            u->done = 0;
    }
    __syncthreads();
    __threadfence();
    return s->final;
}

/*
 * Lists the candidates that are left of a run of rows, in any order, and the least and largest of
 * their keys in `s`. listed: how many the list has, which is the unit's; index: of the run's first pair in the unit
 */
__device__ static void list_candidates(const float *scores, const uint8_t *taken, size_t first,
                                       int pairs, unsigned index, unsigned *listed,
                                       unsigned long long *list, struct select_shared *s)
{
    int tid = static_cast<int>(threadIdx.x), mine = 0;
    unsigned long long least = ~0ull, most = 0;
    if (tid == 0) {
        s->n = 0;
        s->least = ~0ull;
        s->most = 0;
    }
    for (int i = tid; i < pairs; i += GLOBAL_THREADS)
        mine += taken[first + i] == 2;
    __syncthreads();
    unsigned place = mine ? atomicAdd(&s->n, static_cast<unsigned>(mine)) : 0;
    __syncthreads();
    if (tid == 0)
        s->base = s->n ? atomicAdd(listed, s->n) : 0;
    __syncthreads();
    for (int i = tid; i < pairs && mine > 0; i += GLOBAL_THREADS)
        if (taken[first + i] == 2) {
            unsigned long long key = pair_key(scores[first + i], index + static_cast<unsigned>(i));
            list[s->base + place++] = key;
            least = key < least ? key : least;
            most = key > most ? key : most;
        }
    for (int d = 16; d > 0; d /= 2) {
        unsigned long long a = __shfl_xor_sync(ALL_LANES, least, d);
        unsigned long long b = __shfl_xor_sync(ALL_LANES, most, d);
        least = a < least ? a : least;
        most = b > most ? b : most;
    }
    if (tid % 32 == 0 && least <= most) {
        atomicMin(&s->least, least);
        atomicMax(&s->most, most);
    }
    __syncthreads();
}

template <int J>
__global__ void __launch_bounds__(GLOBAL_THREADS)
    count_kernel(const struct pool_work *pools, const struct block_work *blocks,
                 struct unit_work *units, unsigned *histograms, const float *scores, uint8_t *taken)
{
    __shared__ struct select_shared s;
    const struct block_work b = blocks[blockIdx.x];
    const struct gpu_router r = pools[b.pool].pool.router;
    struct unit_work *u = &units[b.unit];
    unsigned *bins = histograms + static_cast<size_t>(u->histogram) * GLOBAL_BINS;
    int tid = static_cast<int>(threadIdx.x), lane = tid & 31;
    for (int i = tid; i < GLOBAL_BINS; i += GLOBAL_THREADS)
        s.bins[i] = 0;
    __syncthreads();
    for (int t = tid / 32; t < b.tokens; t += GLOBAL_THREADS / 32) {
        size_t first = static_cast<size_t>(b.from + t) * r.N;
        mark_row<J>(r, scores + first, taken + first);
        for (int e = lane; e < r.N; e += 32) // each lane sees what it wrote itself
            if (taken[first + e] == 2)
                atomicAdd(&s.bins[bin_of(scores[first + e])], 1u);
    }
    __syncthreads();
    for (int i = tid; i < GLOBAL_BINS; i += GLOBAL_THREADS)
        if (s.bins[i])
            atomicAdd(&bins[i], s.bins[i]);
    if (!last_block(u, &s))
        return;
    int need = u->tokens * (r.K - r.min);
    if (need > 0)
        find_place(of_blocks(), bins, GLOBAL_BINS, true, need, &s.place);
    if (tid == 0) {
        u->bin = need > 0 ? s.place.bin : GLOBAL_BINS;
        u->need = need > 0 ? need - s.place.before : 0;
        u->listed = 0;
        u->least = ~0ull;
        u->most = 0;
    }
    for (int i = tid; i < GLOBAL_BINS; i += GLOBAL_THREADS)
        bins[i] = 0; // as the next layer wants it
}

/* The list's key that is the last to be taken; by the unit's last block. */
__device__ static unsigned long long
select_last(struct unit_work *u, const unsigned long long *list, struct select_shared *s)
{
    if (u->need == 0)
        return 0; // the key of no pair
    return select_key(list, static_cast<int>(__ldcg(&u->listed)), u->need, __ldcg(&u->least),
                      __ldcg(&u->most), s);
}

__global__ void __launch_bounds__(GLOBAL_THREADS)
    collect_kernel(int N, const struct block_work *blocks, struct unit_work *units,
                   unsigned long long *lists, const float *scores, uint8_t *taken)
{
    __shared__ struct select_shared s;
    const struct block_work b = blocks[blockIdx.x];
    struct unit_work *u = &units[b.unit];
    unsigned long long *list = lists + static_cast<size_t>(u->from) * N;
    size_t first = static_cast<size_t>(b.from) * N;
    unsigned index = static_cast<unsigned>(b.from - u->from) * static_cast<unsigned>(N);
    int pairs = b.tokens * N, bin = u->bin, tid = static_cast<int>(threadIdx.x);
    for (int i = tid; i < pairs; i += GLOBAL_THREADS) {
        int at = taken[first + i] == 2 ? bin_of(scores[first + i]) : -1;
        if (at >= 0 && at != bin)
            taken[first + i] = at > bin;
    }
    list_candidates(scores, taken, first, pairs, index, &u->listed, list, &s);
    if (tid == 0 && s.n) {
        atomicMin(&u->least, s.least);
        atomicMax(&u->most, s.most);
    }
    if (!last_block(u, &s))
        return;
    unsigned long long last = select_last(u, list, &s);
    if (tid == 0)
        u->last = last;
}

/* Settles what candidates are left of a run of rows. */
__device__ static void settle(const float *scores, uint8_t *taken, size_t first, int pairs,
                              unsigned index, unsigned long long last)
{
    for (int i = static_cast<int>(threadIdx.x); i < pairs; i += GLOBAL_THREADS)
        if (taken[first + i] == 2)
            taken[first + i] =
                pair_key(scores[first + i], index + static_cast<unsigned>(i)) <= last;
}

__global__ void __launch_bounds__(GLOBAL_THREADS)
    settle_kernel(int N, const struct block_work *blocks, const struct unit_work *units,
                  const float *scores, uint8_t *taken)
{
    const struct block_work b = blocks[blockIdx.x];
    const struct unit_work *u = &units[b.unit];
    settle(scores, taken, static_cast<size_t>(b.from) * N, b.tokens * N,
           static_cast<unsigned>(b.from - u->from) * static_cast<unsigned>(N), u->last);
}

/* A small unit, whole. */
template <int J>
__global__ void __launch_bounds__(GLOBAL_THREADS)
    unit_kernel(const struct pool_work *pools, const struct block_work *blocks,
                struct unit_work *units, unsigned long long *lists, const float *scores,
                uint8_t *taken)
{
    __shared__ struct select_shared s;
    struct unit_work *u = &units[blocks[blockIdx.x].unit];
    const struct gpu_router r = pools[u->pool].pool.router;
    size_t first = static_cast<size_t>(u->from) * r.N;
    unsigned long long *list = lists + first, last = 0;
    int tid = static_cast<int>(threadIdx.x), need = u->tokens * (r.K - r.min);
    for (int t = tid / 32; t < u->tokens; t += GLOBAL_THREADS / 32)
        mark_row<J>(r, scores + first + static_cast<size_t>(t) * r.N,
                    taken + first + static_cast<size_t>(t) * r.N);
    if (tid == 0)
        u->listed = 0;
    __syncthreads();
    if (need > 0) {
        list_candidates(scores, taken, first, u->tokens * r.N, 0, &u->listed, list, &s);
        last = select_key(list, static_cast<int>(s.n), need, s.least, s.most, &s);
    }
    settle(scores, taken, first, u->tokens * r.N, 0, last);
}

int launch_global(const struct gpu_plan *p, const float *scores, uint8_t *taken,
                  cudaStream_t stream, struct buf *err)
{
    const struct pool_work *pools = static_cast<const struct pool_work *>(p->pools);
    struct unit_work *units = static_cast<struct unit_work *>(p->units);
    unsigned *histograms = static_cast<unsigned *>(p->histograms);
    unsigned long long *lists = static_cast<unsigned long long *>(p->lists);
    const struct block_work *small = plan_blocks(p, p->rows), *chunks = small + p->small_units;
    if (p->small_units)
        ROW_LAUNCH(unit_kernel, p->N, p->small_units, GLOBAL_THREADS, stream, pools, small, units,
                   lists, scores, taken);
    if (p->chunks) {
        ROW_LAUNCH(count_kernel, p->N, p->chunks, GLOBAL_THREADS, stream, pools, chunks, units,
                   histograms, scores, taken);
        LAUNCH(collect_kernel, p->chunks, GLOBAL_THREADS, 0, stream, p->N, chunks, units, lists,
               scores, taken);
        LAUNCH(settle_kernel, p->chunks, GLOBAL_THREADS, 0, stream, p->N, chunks, units, scores,
               taken);
    }
    return gpu_check(err, "routing pools on the GPU");
}
