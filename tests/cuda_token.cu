/*
 * cuda_token.cu: see cuda_token.h.
 */
#include "routers/cuda.cuh"

#include "tests/cuda_token.h"

__global__ void token_kernel(const struct gpu_router r, const float *scores, uint8_t *taken,
                             int32_t *count, char *states, size_t stride)
{
    DYNAMIC_SHARED(unsigned char, memory);
    __shared__ float row[1024];
    __shared__ uint8_t took[1024];
    void *state = stride ? states + blockIdx.x * stride : NULL;
    size_t first = static_cast<size_t>(blockIdx.x) * r.N;
    struct route_ahead ahead = route_ahead(r, state);
    for (int e = static_cast<int>(threadIdx.x); e < r.N; e += static_cast<int>(blockDim.x))
        row[e] = scores[first + e];
    __syncthreads();
    int n = route_token(r, state, ahead, row, took, memory);
    for (int e = static_cast<int>(threadIdx.x); e < r.N; e += static_cast<int>(blockDim.x))
        taken[first + e] = took[e];
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
