/*
 * cuda_select.cuh: the best of a list of pair keys, by one block of GLOBAL_THREADS.
 *
 * A pair's key is a number of 64 bits that orders all pairs of a unit, score first, then index; the
 * better a pair, the smaller its key, and no two are equal. What is sought is a limit: the keys that
 * are less than it are as many as are wanted.
 * All functions are called by all threads of the block.
 * Leaves out: whose keys they are (cuda_global.cu).
 */
#ifndef ROUTERS_CUDA_SELECT_CUH
#define ROUTERS_CUDA_SELECT_CUH

#include "routers/cuda_impl.cuh"

constexpr int DIGIT_BITS = 11, FEW = GLOBAL_THREADS;

/* What find_place() works in, and what it leaves. */
struct place {
    int sums[GLOBAL_THREADS / 32];
    int bin, before, count;
};

struct select_shared {
    unsigned histogram[1 << DIGIT_BITS];
    unsigned long long few[FEW];
    struct place place;
    unsigned long long least, most;
    unsigned n;
    int final;
};

__device__ static unsigned long long pair_key(float score, unsigned index)
{
    return static_cast<unsigned long long>(~score_key(score)) << 32 | index;
}

/*
 * The bin in which the `rank`-th (from 1) of what is counted lies, how many are in the bins before
 * it, and how many in it. Thread i has counted the bins from i * PER on.
 */
template <int PER>
__device__ static void find_place(const int (&count)[PER], int rank, struct place *p)
{
    int tid = static_cast<int>(threadIdx.x), lane = tid & 31, warp = tid / 32, mine = 0;
#pragma unroll
    for (int i = 0; i < PER; i++)
        mine += count[i];
    int upto = mine;
#pragma unroll
    for (int d = 1; d < 32; d *= 2) {
        int other = __shfl_up_sync(ALL_LANES, upto, static_cast<unsigned>(d));
        upto += lane >= d ? other : 0;
    }
    if (lane == 31)
        p->sums[warp] = upto;
    __syncthreads();
    upto += __reduce_add_sync(ALL_LANES, lane < warp ? p->sums[lane] : 0);
    int before = upto - mine;
    if (before < rank && rank <= upto) {
        int at = before, bin = -1, inside = 0;
#pragma unroll
        for (int i = 0; i < PER; i++) {
            if (bin < 0 && rank <= at + count[i]) {
                bin = tid * PER + i;
                before = at;
                inside = count[i];
            }
            at += count[i];
        }
        p->bin = bin;
        p->before = before;
        p->count = inside;
    }
    __syncthreads();
}

/*
 * The limit of the `rank` smallest of n keys; thread i has those with the numbers i, i +
 * GLOBAL_THREADS and so on. top: the first bit that not all of them share; least: of these bits on,
 * what they share, and zeros.
 */
template <int PER>
__device__ static unsigned long long cut_keys(const unsigned long long (&key)[PER], int n, int rank,
                                              int top, unsigned long long least)
{
    int tid = static_cast<int>(threadIdx.x);
    if (rank >= n)
        return top < 63 ? least + (2ull << top) : ~0ull;
    for (int bit = top; bit >= 0; bit--) {
        unsigned long long at = least | 1ull << bit;
        int below = 0;
#pragma unroll
        for (int j = 0; j < PER; j++)
            if (j * GLOBAL_THREADS < n)
                below += __syncthreads_count(tid + j * GLOBAL_THREADS < n && key[j] < at);
        if (below <= rank)
            least = at;
        if (below == rank)
            break;
    }
    return least;
}

/* The least and the largest key of a list of n, into s->least and s->most. */
__device__ static void find_ends(const unsigned long long *list, int n, struct select_shared *s)
{
    unsigned long long least = ~0ull, most = 0;
    if (threadIdx.x == 0) {
        s->least = ~0ull;
        s->most = 0;
    }
#pragma unroll 8
    for (int i = static_cast<int>(threadIdx.x); i < n; i += GLOBAL_THREADS) {
        unsigned long long key = __ldcg(&list[i]);
        least = key < least ? key : least;
        most = key > most ? key : most;
    }
    for (int d = 16; d > 0; d /= 2) {
        unsigned long long a = __shfl_xor_sync(ALL_LANES, least, d);
        unsigned long long b = __shfl_xor_sync(ALL_LANES, most, d);
        least = a < least ? a : least;
        most = b > most ? b : most;
    }
    __syncthreads();
    if (threadIdx.x % 32 == 0) {
        atomicMin(&s->least, least);
        atomicMax(&s->most, most);
    }
    __syncthreads();
}

/* The digits' counts of those keys of a list that begin with `prefix`, into s->histogram. */
__device__ static void count_digits(const unsigned long long *list, int n, unsigned long long known,
                                    unsigned long long prefix, int shift, unsigned mask,
                                    struct select_shared *s)
{
    int tid = static_cast<int>(threadIdx.x);
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
}

/*
 * The limit of the `rank` smallest of a list of n keys of any length, rank from 1 to n: digit by
 * digit, until few are left. list: of all blocks, in global memory
 */
__device__ static unsigned long long select_limit(const unsigned long long *list, int n, int rank,
                                                  struct select_shared *s)
{
    constexpr int PER = (1 << DIGIT_BITS) / GLOBAL_THREADS;
    int tid = static_cast<int>(threadIdx.x), left = n;
    find_ends(list, n, s);
    unsigned long long differ = s->least ^ s->most;
    int top = differ ? (63 - __clzll(static_cast<long long>(differ))) & 63 : -1;
    unsigned long long known = top >= 63 ? 0 : ~0ull << (top + 1), prefix = s->most & known;
    while (left > FEW && top >= 0) {
        int bits = top + 1 < DIGIT_BITS ? top + 1 : DIGIT_BITS, shift = top + 1 - bits, count[PER];
        unsigned mask = (1u << bits) - 1;
        count_digits(list, n, known, prefix, shift, mask, s);
#pragma unroll
        for (int i = 0; i < PER; i++)
            count[i] = static_cast<int>(s->histogram[tid * PER + i]);
        find_place(count, rank, &s->place);
        prefix |= static_cast<unsigned long long>(s->place.bin) << shift;
        known |= static_cast<unsigned long long>(mask) << shift;
        rank -= s->place.before;
        left = s->place.count;
        top = shift - 1;
    }
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
    const unsigned long long key[1] = { tid < left ? s->few[tid] : 0 };
    return top < 0 ? prefix + 1 : cut_keys(key, left, rank, top, prefix);
}

#endif
