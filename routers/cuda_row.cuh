/*
 * cuda_row.cuh: scores as keys, and the best of a row by one warp.
 *
 * Invariant: a larger score has a larger key, and -0 that of 0; of equal keys the earlier expert is
 * better.
 */
#ifndef ROUTERS_CUDA_ROW_CUH
#define ROUTERS_CUDA_ROW_CUH

#include "cuda/gpu.h"

constexpr unsigned ALL_LANES = 0xffffffffu, KEY_END = 0xffffffffu;

__device__ inline uint32_t score_key(float score)
{
    uint32_t bits = __float_as_uint(score + 0.0f);
    return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

/* ---- a warp on one row: lane i has the experts i, i + 32, ... as key[0], key[1], ... ---- */

/* The keys of a row, 0 where there is no expert. row: [N] */
template <int J> __device__ inline void row_keys(const float *row, int N, uint32_t key[J])
{
    int lane = static_cast<int>(threadIdx.x & 31);
#pragma unroll
    for (int j = 0; j < J; j++)
        key[j] = j * 32 + lane < N ? score_key(row[j * 32 + lane]) : 0;
}

/* Bit j of the result: is this lane's j-th expert among the row's m best, 0 <= m <= N? */
template <int J> __device__ inline uint32_t row_best(const uint32_t key[J], int N, int m)
{
    int lane = static_cast<int>(threadIdx.x & 31), n = N;
    uint32_t most = 0, least = KEY_END, mine = 0, before = (1u << lane) - 1;
    if (m <= 0)
        return 0;
    if (m >= N)
        return KEY_END;
#pragma unroll
    for (int j = 0; j < J; j++) {
        most = key[j] > most ? key[j] : most;
        least = j * 32 + lane < N && key[j] < least ? key[j] : least;
    }
    most = __reduce_max_sync(ALL_LANES, most);
    least = __reduce_min_sync(ALL_LANES, least);
    // The leading bits that all keys share are known, and of the best alone all are.
    int top = most == least || m == 1 ? -1 : 31 - __clz(static_cast<int>(most ^ least));
    uint32_t cut = top < 0 ? most : most & ~((2u << top) - 1);
    for (int bit = top; bit >= 0 && n != m; bit--) {
        uint32_t at = cut | 1u << bit;
        int reach = 0;
#pragma unroll
        for (int j = 0; j < J; j++)
            reach += __popc(__ballot_sync(ALL_LANES, key[j] >= at));
        if (reach >= m) {
            cut = at;
            n = reach;
        }
    }
    // Those above the cut, and of those at it the first experts. All at it, where it fits exactly.
    int left = m;
#pragma unroll
    for (int j = 0; j < J; j++)
        left -= __popc(__ballot_sync(ALL_LANES, key[j] > cut));
#pragma unroll
    for (int j = 0; j < J; j++) {
        unsigned at = __ballot_sync(ALL_LANES, key[j] == cut);
        bool take = key[j] > cut || (key[j] == cut && __popc(at & before) < left);
        mine |= static_cast<uint32_t>(take) << j;
        left -= __popc(at);
    }
    return mine;
}

#endif
