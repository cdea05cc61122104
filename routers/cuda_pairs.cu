/*
 * cuda_pairs.cu: from what was taken to the rows that the experts work on, and to what is counted.
 * A block looks at PART tokens, a thread at one expert of them, so that pairs of an expert stand in
 * the order of their tokens, and sums are added in that order.
 */
#include "cuda/gpu.h"

#include "routers/cuda.h"

constexpr int PART = 64; /* tokens of a block */

static int parts_of(int T)
{
    return (T + PART - 1) / PART;
}

/* counts[part, e]: tokens of the part that take e. blocks: parts x experts / 64 */
__global__ void count_pairs_kernel(const uint8_t *taken, int T, int N, int32_t *counts)
{
    int e = static_cast<int>(blockIdx.y * blockDim.x + threadIdx.x), n = 0;
    int from = static_cast<int>(blockIdx.x) * PART, to = from + PART < T ? from + PART : T;
    if (e >= N)
        return;
#pragma unroll 8
    for (int t = from; t < to; t++)
        n += taken[static_cast<size_t>(t) * N + e];
    counts[static_cast<size_t>(blockIdx.x) * N + e] = n;
}

/* Counts become the place of each part's first pair of e. One block, a thread an expert. */
__global__ void begin_pairs_kernel(int32_t *counts, int parts, int N, int32_t *begin)
{
    __shared__ int sums[32];
    int e = static_cast<int>(threadIdx.x), lane = e & 31, all = 0;
#pragma unroll 8
    for (int p = 0; p < parts && e < N; p++)
        all += counts[static_cast<size_t>(p) * N + e];
    int upto = all;
    for (int d = 1; d < 32; d *= 2) {
        int other = __shfl_up_sync(0xffffffffu, upto, static_cast<unsigned>(d));
        upto += lane >= d ? other : 0;
    }
    if (lane == 31)
        sums[e / 32] = upto;
    __syncthreads();
    for (int w = 0; w < e / 32; w++)
        upto += sums[w];
    if (e >= N)
        return;
    int at = upto - all;
    begin[e] = at;
    if (e == N - 1)
        begin[N] = upto;
#pragma unroll 8
    for (int p = 0; p < parts; p++) {
        int32_t *count = &counts[static_cast<size_t>(p) * N + e], n = *count;
        *count = at;
        at += n;
    }
}

__global__ void place_pairs_kernel(const uint8_t *taken, int T, int N, const int32_t *counts,
                                   int32_t *place, int32_t *source)
{
    int e = static_cast<int>(blockIdx.y * blockDim.x + threadIdx.x);
    int from = static_cast<int>(blockIdx.x) * PART, to = from + PART < T ? from + PART : T;
    if (e >= N)
        return;
    int at = counts[static_cast<size_t>(blockIdx.x) * N + e];
#pragma unroll 8
    for (int t = from; t < to; t++) {
        bool is = taken[static_cast<size_t>(t) * N + e];
        place[static_cast<size_t>(t) * N + e] = is ? at : -1;
        if (is)
            source[at++] = t;
    }
}

size_t gpu_pairs_bytes(int T, int N)
{
    return static_cast<size_t>(parts_of(T)) * static_cast<size_t>(N) * sizeof(int32_t);
}

int gpu_pairs(const uint8_t *taken, int T, int N, int32_t *place, int32_t *begin, int32_t *source,
              void *scratch, void *stream, struct buf *err)
{
    cudaStream_t s = static_cast<cudaStream_t>(stream);
    int32_t *counts = static_cast<int32_t *>(scratch);
    unsigned parts = static_cast<unsigned>(parts_of(T)),
             across = static_cast<unsigned>(N + 63) / 64;
    dim3 grid(parts, across);
    if (parts)
        LAUNCH(count_pairs_kernel, grid, 64, 0, s, taken, T, N, counts);
    LAUNCH(begin_pairs_kernel, 1, (N + 31) / 32 * 32, 0, s, counts, static_cast<int>(parts), N,
           begin);
    if (parts)
        LAUNCH(place_pairs_kernel, grid, 64, 0, s, taken, T, N, counts, place, source);
    return gpu_check(err, "sorting pairs on the GPU");
}

/* A thread a token: how many experts it uses, and the sum of their scores. */
__global__ void used_kernel(const uint8_t *taken, const float *scores, int T, int N, double *sums,
                            uint16_t *used)
{
    int t = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x), n = 0;
    double sum = 0;
    if (t >= T)
        return;
    for (int e = 0; e < N; e++) {
        size_t at = static_cast<size_t>(t) * N + e;
        if (taken[at]) {
            sum += static_cast<double>(scores[at]);
            n++;
        }
    }
    sums[t] = sum;
    used[t] = static_cast<uint16_t>(n);
}

/* A block a sequence and 32 experts, a thread an expert. */
__global__ void load_kernel(const struct gpu_counts c)
{
    int s = static_cast<int>(blockIdx.x), e = static_cast<int>(blockIdx.y * 32 + threadIdx.x),
        n = 0;
    double weight = 0;
    if (e >= c.N)
        return;
    int from = c.start[s], to = c.start[s + 1];
    // What is read does not hang on what was read before, so that several loads are under way.
#pragma unroll 8
    for (int t = from; t < to; t++) {
        size_t at = static_cast<size_t>(t) * c.N + e;
        bool is = c.taken[at];
        double score = static_cast<double>(c.scores[at]);
        double share = c.normalise ? score / c.sums[t] : score;
        weight += is ? share : 0; // nothing, to the bit
        n += is;
    }
    c.load_tokens[s * c.stride + e] = n;
    c.load_weight[s * c.stride + e] = weight;
}

int gpu_counts(const struct gpu_counts *c, void *stream, struct buf *err)
{
    cudaStream_t s = static_cast<cudaStream_t>(stream);
    if (c->T > 0)
        LAUNCH(used_kernel, (c->T + 127) / 128, 128, 0, s, c->taken, c->scores, c->T, c->N, c->sums,
               c->used);
    if (c->S > 0)
        LAUNCH(load_kernel, dim3(c->S, (c->N + 31) / 32), 32, 0, s, *c);
    return gpu_check(err, "counting pairs on the GPU");
}
