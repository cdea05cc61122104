/*
 * order.cuh: the pairs of all texts by expert, then by text, which is the order of the rows that the
 * experts' products are made of; and how blocks learn that they are the last. By one block of THREADS.
 *
 * What a text takes is words of 32 experts, a bit each.
 * Leaves out: who takes what (choose.cu).
 */
#ifndef ORDER_CUH
#define ORDER_CUH

#include "cuda/view.cuh"

static_assert(STEP_TEXTS == 64, "an expert's texts are 64 bits");

static __host__ __device__ __forceinline__ int words_of(int N)
{
    return (N + 31) / 32;
}

/* How many of the experts before e are in bits. */
static __device__ __forceinline__ int rank_of(const uint32_t *bits, int e)
{
    int n = __popc(bits[e / 32] & ((1u << e % 32) - 1));
    for (int w = 0; w < e / 32; w++)
        n += __popc(bits[w]);
    return n;
}

/*
 * As arrive_last(), but by one thread, behind a barrier of those that wrote: its fence is for all of
 * them.
 */
static __device__ __forceinline__ bool arrive(unsigned *counter, unsigned blocks)
{
    __threadfence();
    const bool last = atomicAdd(counter, 1u) + 1 == blocks;
    if (last)
        *counter = 0;
    __threadfence();
    return last;
}

/* The only text: its pairs are rows as they stand. bits: [words], shared */
static __device__ void order_text(const struct step_view &v, const uint32_t *bits)
{
    const int N = v.s.experts;
    for (int e = threadIdx.x; e < N; e += THREADS) {
        const int place = rank_of(bits, e);
        const bool taken = bits[e / 32] >> e % 32 & 1;
        if (taken) {
            v.pairs.active[1 + place] = e;
            v.pairs.begin[place] = place;
            v.pairs.text[place] = 0;
        }
        if (e == N - 1) {
            const int all = place + taken;
            v.pairs.active[0] = all;
            v.pairs.begin[all] = all;
        }
    }
}

/* By the first warp: where each expert's rows begin, and its place among those that have some. */
static __device__ void place_experts(const struct step_view &v, const unsigned long long *texts,
                                     int *begin)
{
    const int N = v.s.experts, lane = threadIdx.x;
    int rows = 0, active = 0;
    for (int from = 0; from < N; from += 32) {
        const int e = from + lane, n = e < N ? __popcll(texts[e]) : 0;
        int upto = n;
#pragma unroll
        for (int i = 1; i < 32; i *= 2) {
            const int before = __shfl_up_sync(~0u, upto, i);
            upto += lane >= i ? before : 0;
        }
        const uint32_t some = __ballot_sync(~0u, n > 0);
        const int place = active + __popc(some & ((1u << lane) - 1));
        if (e < N)
            begin[e] = rows + upto - n;
        if (n > 0) {
            v.pairs.active[1 + place] = e;
            v.pairs.begin[place] = rows + upto - n;
        }
        rows += __shfl_sync(~0u, upto, 31);
        active += __popc(some);
    }
    if (lane == 0) {
        v.pairs.active[0] = active;
        v.pairs.begin[active] = rows;
    }
}

/* Which texts take each expert: a bit a text. bits: [rows, words], shared; texts: [N], shared */
static __device__ void turn_bits(const struct step_view &v, const uint32_t *bits,
                                 unsigned long long *texts)
{
    const int N = v.s.experts, words = words_of(N), lane = threadIdx.x % 32;
#pragma unroll 4
    for (int e = threadIdx.x / 32; e < N; e += WARPS) {
        const uint32_t *word = bits + e / 32;
        const bool low = lane < v.rows && word[lane * words] >> e % 32 & 1;
        const bool high = lane + 32 < v.rows && word[(lane + 32) * words] >> e % 32 & 1;
        const unsigned long long first = __ballot_sync(~0u, low), then = __ballot_sync(~0u, high);
        if (lane == 0)
            texts[e] = first | then << 32;
    }
}

/* Orders all texts' pairs. bits: room for [rows, words], shared */
static __device__ void order_pairs(const struct step_view &v, uint32_t *bits)
{
    __shared__ unsigned long long texts[STEP_EXPERTS];
    __shared__ int begin[STEP_EXPERTS];
    const int N = v.s.experts, words = words_of(N), lane = threadIdx.x % 32;
    for (int i = threadIdx.x; i < v.rows * words; i += THREADS)
        bits[i] = __ldcg(v.pairs.taken + i);
    __syncthreads();
    turn_bits(v, bits, texts);
    __syncthreads();
    if (threadIdx.x < 32)
        place_experts(v, texts, begin);
    __syncthreads();
#pragma unroll 4
    for (int e = threadIdx.x / 32; e < N; e += WARPS)
        for (int b = lane; b < v.rows; b += 32)
            if (texts[e] >> b & 1) {
                const int row = begin[e] + __popcll(texts[e] & ((1ull << b) - 1));
                v.pairs.text[row] = b;
            }
}

#endif
