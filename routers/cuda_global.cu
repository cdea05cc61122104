/*
 * cuda_global.cu: the T*K best pairs of a pool, by a selection: global and batchtopk.
 *
 * Bounds first: of each row the `min` best are taken, and those with a rank below `max` become
 * candidates (marked 2 in `taken`). The candidates are ordered by their keys (cuda_select.cuh): ties
 * need nothing of their own.
 *
 * Large units are shared by blocks, in two kernels, and no block waits for another:
 *   count   marks candidates, and counts them by bins of their scores
 *   settle  each block finds the bin that the last pair is in, settles its candidates of other bins
 *           and lists this bin's; the block that ends last finds which of the list are taken
 * The second starts while the first one ends, and loads what that does not write. Small units are
 * done by one block. Where nearly all scores are equal, the list is long and one block goes through it
 * a few times: slower, and as right.
 */
#include "routers/cuda_select.cuh"

constexpr int PER = CHUNK_PAIRS / GLOBAL_THREADS; /* pairs of a thread */
constexpr int KEPT = 8;                           /* keys of a list that a thread keeps */
constexpr int BIN_BITS = 15;                      /* of a score's bits, those that a bin is wide */
static_assert(KEPT * GLOBAL_THREADS <= SMALL_PAIRS, "a list has room for what is loaded of it");

/* The bins' first score, 2^-16: from there to 1 they are as wide as 256th parts of a power of two. */
constexpr uint32_t BIN_LEAST = 0xb7800000u;

/* Of 4096 bins, that of a score's key; a larger key has no smaller bin. */
__device__ static int bin_of(uint32_t key)
{
    uint32_t bin = key < BIN_LEAST ? 0 : (key - BIN_LEAST) >> BIN_BITS;
    return bin < GLOBAL_BINS ? static_cast<int>(bin) : GLOBAL_BINS - 1;
}

/* Are all pairs candidates? Then `taken` need not say so. */
__device__ static bool is_free(const struct gpu_router &r)
{
    return r.min <= 0 && r.max >= r.N;
}

/*
 * Marks a row's pairs: 1 is taken by its rank, 2 is a candidate, 0 neither. By one warp. bins: of
 * shared memory, which counts the candidates; NULL: they are not counted
 */
template <int J>
__device__ static void mark_row(const struct gpu_router &r, const float *row, uint8_t *taken,
                                unsigned *bins)
{
    int lane = static_cast<int>(threadIdx.x & 31);
    uint32_t key[J], may, must;
    row_keys<J>(row, r.N, key);
    may = row_best<J>(key, r.N, r.max);
    must = row_best<J>(key, r.N, r.min);
#pragma unroll
    for (int j = 0; j < J; j++)
        if (j * 32 + lane < r.N) {
            int mark = must >> j & 1 ? 1 : may >> j & 1 ? 2 : 0;
            taken[j * 32 + lane] = static_cast<uint8_t>(mark);
            if (bins && mark == 2)
                atomicAdd(&bins[bin_of(key[j])], 1u);
        }
}

/* This thread's scores of a run of pairs, with CHUNK_PAIRS at most. */
__device__ static void load_run(const float *scores, size_t first, int pairs, float own[PER])
{
#pragma unroll
    for (int j = 0; j < PER; j++) {
        int i = static_cast<int>(threadIdx.x) + j * GLOBAL_THREADS;
        own[j] = i < pairs ? scores[first + i] : 0;
    }
}

template <int J>
__global__ void __launch_bounds__(GLOBAL_THREADS)
    count_kernel(const struct pool_work *pools, const struct block_work *blocks,
                 const struct unit_work *units, int N, unsigned *histograms, const float *scores,
                 uint8_t *taken)
{
    __shared__ unsigned bins[GLOBAL_BINS];
    __shared__ float run[CHUNK_PAIRS];
    let_next_start();
    const struct block_work b = blocks[blockIdx.x];
    int tid = static_cast<int>(threadIdx.x), pairs = b.tokens * N;
    size_t first = static_cast<size_t>(b.from) * N;
    float own[PER];
    load_run(scores, first, pairs, own);
    const struct gpu_router r = pools[b.pool].pool.router;
    unsigned *all = histograms + static_cast<size_t>(units[b.unit].histogram) * GLOBAL_BINS;
    for (int i = tid; i < GLOBAL_BINS; i += GLOBAL_THREADS)
        bins[i] = 0;
#pragma unroll
    for (int j = 0; j < PER; j++)
        run[tid + j * GLOBAL_THREADS] = own[j];
    __syncthreads();
    if (is_free(r)) {
#pragma unroll
        for (int j = 0; j < PER; j++)
            if (tid + j * GLOBAL_THREADS < pairs)
                atomicAdd(&bins[bin_of(score_key(own[j]))], 1u);
    } else {
        for (int t = tid / 32; t < b.tokens; t += GLOBAL_THREADS / 32)
            mark_row<J>(r, run + t * N, taken + first + static_cast<size_t>(t) * N, bins);
    }
    __syncthreads();
#pragma unroll
    for (int i = tid; i < GLOBAL_BINS; i += GLOBAL_THREADS)
        if (bins[i])
            atomicAdd(&all[i], bins[i]);
}

/* The bin of the last pair, and its place: in s->place, from the last bin on. */
__device__ static void find_bin(const unsigned *bins, int need, struct select_shared *s)
{
    constexpr int EACH = GLOBAL_BINS / GLOBAL_THREADS;
    int first = GLOBAL_BINS - EACH - static_cast<int>(threadIdx.x) * EACH, count[EACH];
#pragma unroll
    for (int i = 0; i < EACH; i += 4) {
        uint4 four = __ldcg(reinterpret_cast<const uint4 *>(&bins[first + i]));
        count[EACH - 1 - i] = static_cast<int>(four.x);
        count[EACH - 2 - i] = static_cast<int>(four.y);
        count[EACH - 3 - i] = static_cast<int>(four.z);
        count[EACH - 4 - i] = static_cast<int>(four.w);
    }
    find_place(count, need, &s->place);
}

/*
 * Settles this thread's candidates of other bins than `bin`, and puts the others' keys into the
 * unit's list. marks: of these pairs; index: of the run's first pair in the unit
 */
__device__ static void settle_run(const float own[PER], const uint8_t marks[PER], uint8_t *taken,
                                  int bin, unsigned index, unsigned *listed,
                                  unsigned long long *list)
{
    int tid = static_cast<int>(threadIdx.x);
    unsigned who[PER], before = (1u << (tid & 31)) - 1, n = 0, place = 0;
#pragma unroll
    for (int j = 0; j < PER; j++) {
        int at = marks[j] == 2 ? bin_of(score_key(own[j])) : -1;
        if (at >= 0 && at != bin)
            taken[tid + j * GLOBAL_THREADS] = at > bin;
        who[j] = __ballot_sync(ALL_LANES, at >= 0 && at == bin);
        n += static_cast<unsigned>(__popc(who[j]));
    }
    if (n == 0)
        return;
    if ((tid & 31) == 0)
        place = atomicAdd(listed, n);
    place = __shfl_sync(ALL_LANES, place, 0);
#pragma unroll
    for (int j = 0; j < PER; j++) {
        unsigned i = static_cast<unsigned>(tid + j * GLOBAL_THREADS);
        if (who[j] >> (tid & 31) & 1)
            list[place + static_cast<unsigned>(__popc(who[j] & before))] =
                pair_key(own[j], index + i);
        place += static_cast<unsigned>(__popc(who[j]));
    }
}

/*
 * Is this the last of the unit's blocks to come here? What the others wrote before can be read then,
 * with __ldcg(). One thread's fence is for all that the block wrote before the barrier.
 */
__device__ static bool last_block(struct unit_work *u, unsigned chunks, struct select_shared *s)
{
    __syncthreads();
    if (threadIdx.x == 0) {
        __threadfence();
        s->final = atomicAdd(&u->done, 1u) + 1 == chunks;
        __threadfence();
    }
    __syncthreads();
    return s->final;
}

/* Takes the `rank` best of a unit's list; by its last block. taken: of the unit; bin: of the list */
__device__ static void settle_list(const unsigned *listed, const unsigned long long *list, int rank,
                                   int bin, uint8_t *taken, struct select_shared *s)
{
    int tid = static_cast<int>(threadIdx.x);
    unsigned long long key[KEPT];
#pragma unroll
    for (int j = 0; j < KEPT; j++) // not all of them are there: n is loaded beside them
        key[j] = __ldcg(&list[tid + j * GLOBAL_THREADS]);
    int n = static_cast<int>(__ldcg(listed));
    if (n > KEPT * GLOBAL_THREADS) {
        unsigned long long limit = select_limit(list, n, rank, s);
        for (int i = tid; i < n; i += GLOBAL_THREADS) {
            unsigned long long k = __ldcg(&list[i]);
            taken[static_cast<uint32_t>(k)] = k < limit;
        }
        return;
    }
    // All but the outer bins say which bits their keys begin with.
    bool inner = bin > 0 && bin < GLOBAL_BINS - 1;
    uint32_t largest = BIN_LEAST + (static_cast<uint32_t>(bin + 1) << BIN_BITS) - 1;
    unsigned long long least = inner ? static_cast<unsigned long long>(~largest) << 32 : 0;
    unsigned long long limit = cut_keys(key, n, rank, inner ? 31 + BIN_BITS : 63, least);
#pragma unroll
    for (int j = 0; j < KEPT; j++)
        if (tid + j * GLOBAL_THREADS < n)
            taken[static_cast<uint32_t>(key[j])] = key[j] < limit;
}

__global__ void __launch_bounds__(GLOBAL_THREADS)
    settle_kernel(const struct pool_work *pools, const struct block_work *blocks,
                  struct unit_work *units, int N, unsigned *histograms, unsigned long long *lists,
                  const float *scores, uint8_t *taken)
{
    __shared__ struct select_shared s;
    const struct block_work b = blocks[blockIdx.x];
    struct unit_work *u = &units[b.unit];
    const struct gpu_router r = pools[b.pool].pool.router;
    unsigned *bins = histograms + static_cast<size_t>(u->histogram) * GLOBAL_BINS;
    unsigned long long *list = lists + static_cast<size_t>(u->from) * N;
    size_t first = static_cast<size_t>(b.from) * N, from = static_cast<size_t>(u->from) * N;
    int tid = static_cast<int>(threadIdx.x), pairs = b.tokens * N, need = u->tokens * (r.K - r.min);
    unsigned chunks = static_cast<unsigned>(u->chunks);
    float own[PER];
    uint8_t marks[PER];
    load_run(scores, first, pairs, own);
    wait_for_previous();
#pragma unroll
    for (int j = 0; j < PER; j++) {
        int i = tid + j * GLOBAL_THREADS;
        marks[j] = i >= pairs ? 0 : is_free(r) ? 2 : __ldcg(&taken[first + i]);
    }
    if (need > 0)
        find_bin(bins, need, &s);
    int bin = need > 0 ? GLOBAL_BINS - 1 - s.place.bin : GLOBAL_BINS,
        before = need > 0 ? s.place.before : 0;
    settle_run(own, marks, taken + first, bin, static_cast<unsigned>(first - from), &u->listed,
               list);
    if (!last_block(u, chunks, &s))
        return;
    if (need > 0)
        settle_list(&u->listed, list, need - before, bin, taken + from, &s);
    __syncthreads();
    // As the next layer wants them.
    for (int i = tid; i < GLOBAL_BINS; i += GLOBAL_THREADS)
        bins[i] = 0;
    if (tid == 0)
        u->done = u->listed = 0;
}

/* The keys of a unit's candidates, in any order; s->n is how many. By one block. */
__device__ static void list_unit(const float *scores, const uint8_t *taken, int pairs,
                                 unsigned long long *list, struct select_shared *s)
{
    int tid = static_cast<int>(threadIdx.x), mine = 0;
    if (tid == 0)
        s->n = 0;
    for (int i = tid; i < pairs; i += GLOBAL_THREADS)
        mine += taken[i] == 2;
    __syncthreads();
    unsigned place = mine ? atomicAdd(&s->n, static_cast<unsigned>(mine)) : 0;
    for (int i = tid; i < pairs && mine > 0; i += GLOBAL_THREADS)
        if (taken[i] == 2)
            list[place++] = pair_key(scores[i], static_cast<unsigned>(i));
    __syncthreads();
}

/* A small unit, whole. */
template <int J>
__global__ void __launch_bounds__(GLOBAL_THREADS)
    unit_kernel(const struct pool_work *pools, const struct block_work *blocks,
                const struct unit_work *units, unsigned long long *lists, const float *scores,
                uint8_t *taken)
{
    __shared__ struct select_shared s;
    const struct unit_work u = units[blocks[blockIdx.x].unit];
    const struct gpu_router r = pools[u.pool].pool.router;
    size_t first = static_cast<size_t>(u.from) * r.N;
    unsigned long long limit = 0;
    int tid = static_cast<int>(threadIdx.x), need = u.tokens * (r.K - r.min);
    scores += first;
    taken += first;
    for (int t = tid / 32; t < u.tokens; t += GLOBAL_THREADS / 32)
        mark_row<J>(r, scores + static_cast<size_t>(t) * r.N, taken + static_cast<size_t>(t) * r.N,
                    NULL);
    __syncthreads();
    if (need > 0) {
        list_unit(scores, taken, u.tokens * r.N, lists + first, &s);
        limit = select_limit(lists + first, static_cast<int>(s.n), need, &s);
    }
    for (int i = tid; i < u.tokens * r.N; i += GLOBAL_THREADS)
        if (taken[i] == 2)
            taken[i] = pair_key(scores[i], static_cast<unsigned>(i)) < limit;
}

#ifdef CUDA_HOST
bool global_overlaps(void)
{
    return false;
}
#else
bool global_overlaps(void)
{
    cudaFuncAttributes a;
    if (cudaFuncGetAttributes(&a, settle_kernel) == cudaSuccess)
        return a.ptxVersion >= 90;
    cudaGetLastError();
    return false;
}
#endif

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
                   p->N, histograms, scores, taken);
        LAUNCH_BEHIND(p->overlap, settle_kernel, p->chunks, GLOBAL_THREADS, stream, pools, chunks,
                      units, p->N, histograms, lists, scores, taken);
    }
    return gpu_check(err, "routing pools on the GPU");
}
