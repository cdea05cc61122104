/*
 * cuda_token.cu: see cuda_token.h.
 */
#include "routers/cuda.cuh"

#include "tests/cuda_token.h"

#ifndef CUDA_HOST
#include <cub/device/device_radix_sort.cuh>
#endif

constexpr int MOST_THREADS = 1024; /* of a block that routes a token */

__global__ void __launch_bounds__(MOST_THREADS)
    token_kernel(const struct gpu_router r, const float *scores, uint8_t *taken, int32_t *count,
                 char *states, size_t stride)
{
    DYNAMIC_SHARED(unsigned char, memory);
    __shared__ float row[1024];
    __shared__ uint8_t took[1024];
    void *state = stride ? states + blockIdx.x * stride : NULL;
    size_t first = static_cast<size_t>(blockIdx.x) * r.N;
    route_fetch(r, state);
    route_load(r, state, memory);
    for (int e = static_cast<int>(threadIdx.x); e < r.N; e += static_cast<int>(blockDim.x))
        row[e] = scores[first + e];
    route_loaded();
    __syncthreads();
    int n = route_token(r, state, row, took, memory);
    // Others' results, and nothing that is asked for any more.
    for (int e = r.N - 1 - static_cast<int>(threadIdx.x); e >= 0; e -= static_cast<int>(blockDim.x))
        taken[first + e] = took[e];
    for (size_t i = threadIdx.x; i < route_shared_bytes(r.N); i += blockDim.x)
        memory[i] = 0xff;
    if (threadIdx.x == 0)
        count[blockIdx.x] = n;
}

int cuda_token_step(const struct gpu_router *r, int B, int threads, const float *scores,
                    uint8_t *taken, int32_t *count, void *states, size_t stride, struct buf *err)
{
    LAUNCH(token_kernel, B, threads, route_shared_bytes(r->N), nullptr, *r, scores, taken, count,
           static_cast<char *>(states), stride);
    return gpu_check(err, "routing a token");
}

#ifdef CUDA_HOST

size_t cuda_sort_bytes(int)
{
    BUG("a GPU's sort, without a GPU");
}

int cuda_sort(void *, size_t, const float *, float *, const int32_t *, int32_t *, int, struct buf *)
{
    BUG("a GPU's sort, without a GPU");
}

#else

size_t cuda_sort_bytes(int n)
{
    size_t bytes = 0;
    const float *keys = nullptr;
    const int32_t *values = nullptr;
    cudaError_t code = cub::DeviceRadixSort::SortPairsDescending(
        nullptr, bytes, keys, static_cast<float *>(nullptr), values,
        static_cast<int32_t *>(nullptr), n);
    if (code != cudaSuccess)
        BUG("memory to sort in: %s", cudaGetErrorString(code));
    return bytes;
}

int cuda_sort(void *memory, size_t bytes, const float *scores, float *sorted, const int32_t *values,
              int32_t *order, int n, struct buf *err)
{
    cudaError_t code =
        cub::DeviceRadixSort::SortPairsDescending(memory, bytes, scores, sorted, values, order, n);
    return code == cudaSuccess ? 0 : fail(err, "sorting: %s", cudaGetErrorString(code));
}

#endif
