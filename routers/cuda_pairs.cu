/*
 * cuda_pairs.cu: scores that are no numbers; from what was taken to the rows that the experts work on, and to what is counted.
 * Invariant: pairs of an expert stand in the order of their tokens, and sums are added in that order.
 * For pairs a block looks at PART tokens, a thread at one expert of them.
 */
#include "cuda/gpu.h"

#include "routers/cuda.h"

#include <math.h>

constexpr int PART = 32; /* tokens of a block */
constexpr int BEGIN_THREADS = 1024, LOAD_WARPS = 4, LOAD_TOKENS = 256;

/* Four scores a thread, one block's width from each other. All that write `bad` write the same. */
__global__ void __launch_bounds__(256) finite_kernel(float *scores, size_t n, int32_t *bad)
{
    size_t first = static_cast<size_t>(blockIdx.x) * 1024 + threadIdx.x;
    float score[4];
#pragma unroll
    for (int i = 0; i < 4; i++)
        score[i] = first + i * 256u < n ? scores[first + i * 256u] : 0;
#pragma unroll
    for (int i = 0; i < 4; i++)
        if (!(fabsf(score[i]) < INFINITY)) {
            scores[first + i * 256u] = 0;
            *bad = 1;
        }
}

int gpu_finite(float *scores, size_t n, int32_t *bad, void *stream, struct buf *err)
{
    cudaStream_t s = static_cast<cudaStream_t>(stream);
    if (cudaMemsetAsync(bad, 0, sizeof(*bad), s) != cudaSuccess)
        return gpu_check(err, "clearing what says that scores are numbers");
    if (n > 0)
        LAUNCH(finite_kernel, static_cast<unsigned>((n + 1023) / 1024), 256, 0, s, scores, n, bad);
    return gpu_check(err, "looking for scores that are no numbers");
}

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
#pragma unroll 16
    for (int t = from; t < to; t++)
        n += taken[static_cast<size_t>(t) * N + e];
    counts[static_cast<size_t>(blockIdx.x) * N + e] = n;
}

/*
 * Counts become the place of each part's first pair of e. One block: rows of threads, each of which has
 * some of the parts, a thread an expert. blockDim: experts rounded up to warps, times rows
 */
__global__ void __launch_bounds__(BEGIN_THREADS)
    begin_pairs_kernel(int32_t *counts, int parts, int N, int32_t *begin)
{
    __shared__ int sums[BEGIN_THREADS], warps[32];
    int across = (N + 31) / 32 * 32, rows = static_cast<int>(blockDim.x) / across;
    int e = static_cast<int>(threadIdx.x) % across, row = static_cast<int>(threadIdx.x) / across;
    int each = (parts + rows - 1) / rows, from = row * each, lane = e & 31;
    int to = from + each < parts ? from + each : parts, own = 0, all = 0, before = 0;
#pragma unroll 8
    for (int p = from; p < to && e < N; p++)
        own += counts[static_cast<size_t>(p) * N + e];
    sums[threadIdx.x] = own;
    __syncthreads();
    for (int r = 0; r < rows; r++) {
        int n = sums[r * across + e];
        before += r < row ? n : 0;
        all += n;
    }
    int upto = all;
    for (int d = 1; d < 32; d *= 2) {
        int other = __shfl_up_sync(0xffffffffu, upto, static_cast<unsigned>(d));
        upto += lane >= d ? other : 0;
    }
    if (row == 0 && lane == 31)
        warps[e / 32] = upto;
    __syncthreads();
    for (int w = 0; w < e / 32; w++)
        upto += warps[w];
    if (e >= N)
        return;
    int at = upto - all;
    if (row == 0)
        begin[e] = at;
    if (row == 0 && e == N - 1)
        begin[N] = upto;
    at += before;
#pragma unroll 8
    for (int p = from; p < to; p++) {
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
#pragma unroll 16
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
    int wide = (N + 31) / 32 * 32;
    dim3 grid(parts, across);
    if (parts)
        LAUNCH(count_pairs_kernel, grid, 64, 0, s, taken, T, N, counts);
    LAUNCH(begin_pairs_kernel, 1, BEGIN_THREADS / wide * wide, 0, s, counts,
           static_cast<int>(parts), N, begin);
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

/* The shares of one expert's pairs among LOAD_TOKENS tokens, in their order; returns their number. */
static __device__ __forceinline__ int find_shares(const struct gpu_counts &c, int e, int first,
                                                  int to, double *shares)
{
    constexpr int EACH = LOAD_TOKENS / 32;
    int lane = static_cast<int>(threadIdx.x & 31), n = 0;
    bool is[EACH];
    float score[EACH];
    double sum[EACH];
    // Loads of all tokens are under way together, first of what was taken and then of the rest.
#pragma unroll
    for (int j = 0; j < EACH; j++) {
        int t = first + j * 32 + lane;
        is[j] = t < to && c.taken[static_cast<size_t>(t) * c.N + e];
    }
#pragma unroll
    for (int j = 0; j < EACH; j++) {
        int t = first + j * 32 + lane;
        score[j] = is[j] ? c.scores[static_cast<size_t>(t) * c.N + e] : 0;
        sum[j] = is[j] && c.normalise ? c.sums[t] : 1;
    }
#pragma unroll
    for (int j = 0; j < EACH; j++) {
        unsigned those = __ballot_sync(0xffffffffu, is[j]);
        if (is[j])
            shares[n + __popc(those & ((1u << lane) - 1))] = static_cast<double>(score[j]) / sum[j];
        n += __popc(those);
    }
    return n;
}

/*
 * A warp a sequence and an expert. Its lanes look at 32 tokens each time, and put the shares of those
 * that take it into shared memory, where they are added in their order.
 */
__global__ void __launch_bounds__(LOAD_WARPS * 32) load_kernel(const struct gpu_counts c)
{
    __shared__ double shares[LOAD_WARPS][LOAD_TOKENS];
    int warp = static_cast<int>(threadIdx.x / 32), s = static_cast<int>(blockIdx.x), all = 0;
    int e = static_cast<int>(blockIdx.y) * LOAD_WARPS + warp;
    double weight = 0;
    if (e >= c.N)
        return;
    int from = c.start[s], to = c.start[s + 1];
    for (int first = from; first < to; first += LOAD_TOKENS) {
        int n = find_shares(c, e, first, to, shares[warp]);
        __syncwarp();
#pragma unroll 8
        for (int i = 0; i < n; i++)
            weight += shares[warp][i];
        all += n;
        __syncwarp();
    }
    if (threadIdx.x % 32 > 0)
        return;
    c.load_tokens[s * c.stride + e] = all;
    c.load_weight[s * c.stride + e] = weight;
}

int gpu_counts(const struct gpu_counts *c, void *stream, struct buf *err)
{
    cudaStream_t s = static_cast<cudaStream_t>(stream);
    if (c->T > 0)
        LAUNCH(used_kernel, (c->T + 127) / 128, 128, 0, s, c->taken, c->scores, c->T, c->N, c->sums,
               c->used);
    if (c->S > 0)
        LAUNCH(load_kernel, dim3(c->S, (c->N + LOAD_WARPS - 1) / LOAD_WARPS), LOAD_WARPS * 32, 0, s,
               *c);
    return gpu_check(err, "counting pairs on the GPU");
}
