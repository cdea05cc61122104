/*
 * cuda_keys.cuh: many scores in one or two places, and a block's way through them.
 *
 * Invariant: a thread has several reads under way before it looks at what came of the first.
 * Leaves out: what is done with them (cuda_level.cuh, cuda_run.cuh).
 */
#ifndef ROUTERS_CUDA_KEYS_CUH
#define ROUTERS_CUDA_KEYS_CUH

#include "routers/cuda_row.cuh"

/*
 * Scores in two places: keys, aligned to 16 bytes, and behind them scores as they come. Some of these
 * may have been counted by the bins of level_empty() already, in slabs of equal size, one behind the
 * other.
 */
struct key_source {
    const uint32_t *keys;
    int nkeys;
    const float *scores;
    int nscores;
    const unsigned *slabs; /* [nslabs, LEVEL_BINS] */
    int nslabs, slab;      /* scores of each; these are not loaded to be counted */
    int first;             /* of the scores, where the slabs begin */
};

__device__ inline struct key_source keys_of(const uint32_t *keys, int n)
{
    return { keys, n, NULL, 0, NULL, 0, 0, 0 };
}
__device__ inline struct key_source scores_of(const float *scores, int n)
{
    return { NULL, 0, scores, n, NULL, 0, 0, 0 };
}

/* Calls f() for each of the four that from[n] has; several are under way at a time. */
template <class V, class F> __device__ inline void each_four(const V *from, int n, F f)
{
    constexpr int AHEAD = 4;
    int threads = static_cast<int>(blockDim.x);
    for (int i = static_cast<int>(threadIdx.x); i < n; i += AHEAD * threads) {
        V v[AHEAD] = {};
#pragma unroll
        for (int j = 0; j < AHEAD; j++)
            if (i + j * threads < n)
                v[j] = from[i + j * threads];
#pragma unroll
        for (int j = 0; j < AHEAD; j++)
            if (i + j * threads < n) {
                f(v[j].x);
                f(v[j].y);
                f(v[j].z);
                f(v[j].w);
            }
    }
}

/* Calls f(key) for each of the source; the block's threads share them. */
template <class F> __device__ inline void each_key(const struct key_source &from, F f)
{
    int tid = static_cast<int>(threadIdx.x), threads = static_cast<int>(blockDim.x);
    each_four(reinterpret_cast<const uint4 *>(from.keys), from.nkeys / 4, f);
    for (int i = from.nkeys / 4 * 4 + tid; i < from.nkeys; i += threads)
        f(from.keys[i]);
    // Those before and behind what lies in whole sixteens.
    int n = from.nscores;
    int before = static_cast<int>(-(reinterpret_cast<uintptr_t>(from.scores) / 4) % 4);
    before = before < n ? before : n;
    int fours = (n - before) / 4, behind = before + fours * 4;
    for (int i = tid; i < before; i += threads)
        f(score_key(from.scores[i]));
    each_four(reinterpret_cast<const float4 *>(from.scores + before), fours,
              [&](float x) { f(score_key(x)); });
    for (int i = behind + tid; i < n; i += threads)
        f(score_key(from.scores[i]));
}

#endif
