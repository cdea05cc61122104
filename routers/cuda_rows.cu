/*
 * cuda_rows.cu: routers that look at a token alone: topk, topp, xmoe. A warp a token.
 */
#include "routers/cuda_impl.cuh"

/* A row's best, best first, while their sum says so; added in that order in double, as on the CPU. */
template <int J>
__device__ static uint32_t sum_row(const struct gpu_router &r, const uint32_t key[J],
                                   const float *row)
{
    int lane = static_cast<int>(threadIdx.x & 31), n = 0;
    uint32_t mine = 0;
    double sum = 0;
    while (n++ < r.N && (r.kind == GPU_TOPP ? sum <= r.share : sum < r.share)) {
        uint32_t best = 0;
        int expert = r.N;
#pragma unroll
        for (int j = 0; j < J; j++)
            if (!(mine >> j & 1) && key[j] > best) {
                best = key[j];
                expert = j * 32 + lane;
            }
        uint32_t top = __reduce_max_sync(ALL_LANES, best);
        expert = __reduce_min_sync(ALL_LANES, best == top ? expert : r.N);
        if (expert % 32 == lane)
            mine |= 1u << (expert / 32);
        sum += static_cast<double>(row[expert]);
    }
    return mine;
}

template <int J>
__global__ void __launch_bounds__(ROW_THREADS)
    rows_kernel(const struct pool_work *pools, const struct block_work *blocks, const float *scores,
                uint8_t *taken)
{
    const struct block_work b = blocks[blockIdx.x];
    const struct gpu_router r = pools[b.pool].pool.router;
    int lane = static_cast<int>(threadIdx.x & 31);
    for (int t = static_cast<int>(threadIdx.x / 32); t < b.tokens; t += ROW_THREADS / 32) {
        size_t first = static_cast<size_t>(b.from + t) * r.N;
        uint32_t key[J], mine;
        row_keys<J>(scores + first, r.N, key);
        mine = r.kind == GPU_TOPK ? row_best<J>(key, r.N, r.K) : sum_row<J>(r, key, scores + first);
#pragma unroll
        for (int j = 0; j < J; j++)
            if (j * 32 + lane < r.N)
                taken[first + j * 32 + lane] = mine >> j & 1;
    }
}

int launch_rows(const struct gpu_plan *p, const float *scores, uint8_t *taken, cudaStream_t stream,
                struct buf *err)
{
    const struct pool_work *pools = static_cast<const struct pool_work *>(p->pools);
    if (p->rows == 0)
        return 0;
    ROW_LAUNCH(rows_kernel, p->N, p->rows, ROW_THREADS, stream, pools, plan_blocks(p, 0), scores,
               taken);
    return gpu_check(err, "routing tokens on the GPU");
}
