/*
 * pass_pairs.cu: where pairs' rows are, and their weights with what flows back to the scores; see
 * pass.h. A warp a token.
 */
#include "cuda/eight.cuh"
#include "cuda/pass.h"

constexpr int PAIR_THREADS = 256;

/* A thread a row. Its expert is the first that ends behind it. */
__global__ void __launch_bounds__(PAIR_THREADS)
    place_kernel(const int32_t *source, const int32_t *ends, int P, int N, int32_t *place)
{
    const int p = static_cast<int>(blockIdx.x) * PAIR_THREADS + static_cast<int>(threadIdx.x);
    int from = 0, to = N - 1;
    if (p >= P)
        return;
    while (from < to) {
        const int mid = (from + to) / 2;
        if (ends[mid] > p)
            to = mid;
        else
            from = mid + 1;
    }
    place[static_cast<size_t>(source[p]) * N + from] = p;
}

int pass_place(const int32_t *source, const int32_t *ends, int P, int T, int N, int32_t *place,
               void *stream, struct buf *err)
{
    cudaStream_t s = static_cast<cudaStream_t>(stream);
    const size_t bytes = static_cast<size_t>(T) * N * sizeof(*place);
    // All bits of -1 are set.
    if (bytes && cudaMemsetAsync(place, 0xff, bytes, s) != cudaSuccess)
        return gpu_check(err, "clearing places of pairs");
    if (P > 0)
        LAUNCH(place_kernel, eight_blocks(P, PAIR_THREADS), PAIR_THREADS, 0, s, source, ends, P, N,
               place);
    return gpu_check(err, "placing pairs on the GPU");
}

/* This warp's token; T and above: none. */
static __device__ __forceinline__ int warp_token()
{
    return static_cast<int>(blockIdx.x) * (PAIR_THREADS / 32) + static_cast<int>(threadIdx.x / 32);
}

/* What a token's scores are divided by. */
static __device__ __forceinline__ float divisor(const int32_t *place, const float *scores, int N,
                                                bool normalise)
{
    float sum = 0;
    if (!normalise)
        return 1;
    for (int e = static_cast<int>(threadIdx.x % 32); e < N; e += 32)
        sum += place[e] >= 0 ? scores[e] : 0;
    sum = eight_warp_sum(sum);
    return sum == 0 ? 1 : sum;
}

__global__ void __launch_bounds__(PAIR_THREADS)
    weights_kernel(const int32_t *place, const float *scores, int T, int N, bool normalise,
                   float *weight)
{
    const int t = warp_token();
    if (t >= T)
        return;
    place += static_cast<size_t>(t) * N;
    scores += static_cast<size_t>(t) * N;
    const float by = divisor(place, scores, N, normalise);
    for (int e = static_cast<int>(threadIdx.x % 32); e < N; e += 32)
        if (place[e] >= 0)
            weight[place[e]] = scores[e] / by;
}

int pass_weights(const int32_t *place, const float *scores, int T, int N, bool normalise,
                 float *weight, void *stream, struct buf *err)
{
    if (T > 0)
        LAUNCH(weights_kernel, eight_blocks(T, PAIR_THREADS / 32), PAIR_THREADS, 0,
               static_cast<cudaStream_t>(stream), place, scores, T, N, normalise, weight);
    return gpu_check(err, "weighting pairs on the GPU");
}

/* Of w_e = s_e / sum it is (dw_e - the token's sum of dw_f w_f) / sum. */
__global__ void __launch_bounds__(PAIR_THREADS)
    weights_back_kernel(const int32_t *place, const float *scores, const float *dweight, int T,
                        int N, bool normalise, float *dscores)
{
    const int t = warp_token();
    if (t >= T)
        return;
    place += static_cast<size_t>(t) * N;
    scores += static_cast<size_t>(t) * N;
    dscores += static_cast<size_t>(t) * N;
    const float by = divisor(place, scores, N, normalise);
    float all = 0;
    for (int e = static_cast<int>(threadIdx.x % 32); normalise && e < N; e += 32)
        all += place[e] >= 0 ? dweight[place[e]] * (scores[e] / by) : 0;
    all = eight_warp_sum(all);
    for (int e = static_cast<int>(threadIdx.x % 32); e < N; e += 32)
        dscores[e] = place[e] >= 0 ? (dweight[place[e]] - all) / by : 0;
}

int pass_weights_back(const int32_t *place, const float *scores, const float *dweight, int T, int N,
                      bool normalise, float *dscores, void *stream, struct buf *err)
{
    if (T > 0)
        LAUNCH(weights_back_kernel, eight_blocks(T, PAIR_THREADS / 32), PAIR_THREADS, 0,
               static_cast<cudaStream_t>(stream), place, scores, dweight, T, N, normalise, dscores);
    return gpu_check(err, "gradients of pairs' weights");
}
