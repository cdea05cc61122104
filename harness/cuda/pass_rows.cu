/*
 * pass_rows.cu: from tokens to the rows of their pairs and back, and what stands between the experts'
 * two products; see pass.h. All of these are as fast as memory is: each thread has several loads of
 * 16 bytes under way, and nothing is read or written twice.
 */
#include "cuda/eight.cuh"
#include "cuda/pass.h"

constexpr int ROW_THREADS = 256;

/* Threads of a block that has one row of n values: each has some eights of it. */
static unsigned row_threads(int n)
{
    const unsigned all = eight_blocks(n, 8 * 32) * 32;
    return all < ROW_THREADS ? (all ? all : 32) : ROW_THREADS;
}

/* ---- between tokens and rows: a block a token ---- */

/* Room for N numbers in whole sixteens of bytes: nvcc reads four at once, the last ones too. */
static __host__ __device__ __forceinline__ int fours(int N)
{
    return (N + 3) / 4 * 4;
}

/*
 * The rows of the block's token, experts ascending, and their weights where these are given; returns
 * how many they are. row: [fours(N)], w: [fours(N)], shared
 */
static __device__ __forceinline__ int token_rows(const struct pass_tokens &t, int32_t *row,
                                                 const float *weight, float *w)
{
    __shared__ int count;
    const int lane = static_cast<int>(threadIdx.x);
    const int32_t *place = t.place + static_cast<size_t>(blockIdx.x) * t.N;
    int n = 0;
    if (lane < 32) {
#pragma unroll 2
        for (int first = 0; first < t.N; first += 32) {
            const int32_t p = first + lane < t.N ? place[first + lane] : -1;
            const unsigned those = __ballot_sync(~0u, p >= 0);
            if (p >= 0) {
                const int at = n + __popc(those & ((1u << lane) - 1));
                row[at] = p;
                if (weight)
                    w[at] = weight[p];
            }
            n += __popc(those);
        }
        if (lane == 0)
            count = n;
    }
    __syncthreads();
    return count;
}

template <typename T, bool WHOLE>
__global__ void __launch_bounds__(ROW_THREADS)
    spread_kernel(const struct pass_tokens t, const void *x, void *rows)
{
    DYNAMIC_SHARED(int32_t, row);
    const T *from = static_cast<const T *>(x) + static_cast<size_t>(blockIdx.x) * t.d;
    const int step = static_cast<int>(blockDim.x) * 8, first = static_cast<int>(threadIdx.x) * 8;
    float v[8] = { 0, 0, 0, 0, 0, 0, 0, 0 };
    // The first of them is under way while the places are found.
    if (first < t.d)
        eight_load<WHOLE>(from + first, t.d - first, v);
    const int n = token_rows(t, row, NULL, NULL);
    for (int c = first; c < t.d; c += step) {
        if (c != first)
            eight_load<WHOLE>(from + c, t.d - c, v);
        for (int i = 0; i < n; i++)
            eight_store<WHOLE>(static_cast<T *>(rows) + static_cast<size_t>(row[i]) * t.d + c,
                               t.d - c, v);
    }
}

int pass_spread(const struct pass_tokens *t, const void *x, void *rows, void *stream,
                struct buf *err)
{
    const size_t shared = static_cast<size_t>(fours(t->N)) * sizeof(int32_t);
    const bool whole = eights(x, t->d) && eights(rows, t->d);
    if (t->T > 0)
        EIGHT_LAUNCH(spread_kernel, t->half, whole, static_cast<unsigned>(t->T), row_threads(t->d),
                     shared, static_cast<cudaStream_t>(stream), *t, x, rows);
    return gpu_check(err, "spreading tokens over the rows of their pairs");
}

/* sum += those of four rows, or of one, each times its weight, in that order. */
template <typename T, bool WHOLE, int MANY>
static __device__ __forceinline__ void add_rows(const struct pass_tokens &t, const T *rows,
                                                const int32_t *row, const float *w, bool weighted,
                                                int c, float sum[8])
{
    float v[MANY][8];
#pragma unroll
    for (int i = 0; i < MANY; i++)
        eight_load<WHOLE>(rows + static_cast<size_t>(row[i]) * t.d + c, t.d - c, v[i]);
#pragma unroll
    for (int i = 0; i < MANY; i++) {
        const float by = weighted ? w[i] : 1;
#pragma unroll
        for (int j = 0; j < 8; j++)
            sum[j] += by * v[i][j];
    }
}

template <typename T, bool WHOLE>
__global__ void __launch_bounds__(ROW_THREADS)
    combine_kernel(const struct pass_tokens t, const void *rows, const float *weight, void *out)
{
    DYNAMIC_SHARED(int32_t, row);
    float *w = reinterpret_cast<float *>(row + fours(t.N));
    const T *from = static_cast<const T *>(rows);
    T *to = static_cast<T *>(out) + static_cast<size_t>(blockIdx.x) * t.d;
    const int n = token_rows(t, row, weight, w), step = static_cast<int>(blockDim.x) * 8;
    for (int c = static_cast<int>(threadIdx.x) * 8; c < t.d; c += step) {
        float sum[8] = { 0, 0, 0, 0, 0, 0, 0, 0 };
        int i = 0;
        for (; i + 4 <= n; i += 4)
            add_rows<T, WHOLE, 4>(t, from, row + i, w + i, weight != NULL, c, sum);
        for (; i < n; i++)
            add_rows<T, WHOLE, 1>(t, from, row + i, w + i, weight != NULL, c, sum);
        eight_store<WHOLE>(to + c, t.d - c, sum);
    }
}

int pass_combine(const struct pass_tokens *t, const void *rows, const float *weight, void *out,
                 void *stream, struct buf *err)
{
    const size_t shared = static_cast<size_t>(fours(t->N)) * (sizeof(int32_t) + sizeof(float));
    const bool whole = eights(rows, t->d) && eights(out, t->d);
    if (t->T > 0)
        EIGHT_LAUNCH(combine_kernel, t->half, whole, static_cast<unsigned>(t->T), row_threads(t->d),
                     shared, static_cast<cudaStream_t>(stream), *t, rows, weight, out);
    return gpu_check(err, "adding the rows of each token's pairs");
}

/* ---- between the two products ---- */

/* A thread an eight; `across` threads, a power of two, stand on one row. */
template <typename T, bool WHOLE>
__global__ void __launch_bounds__(ROW_THREADS)
    swiglu_kernel(int P, int F, int across, const void *gate_up, void *act)
{
    const int tid = static_cast<int>(threadIdx.x), each = ROW_THREADS / across;
    const int64_t p = static_cast<int64_t>(blockIdx.x) * each + tid / across;
    const int c = (static_cast<int>(blockIdx.y) * across + tid % across) * 8;
    if (p >= P || c >= F)
        return;
    const T *gates = static_cast<const T *>(gate_up) + p * 2 * F;
    float g[8], u[8];
    eight_load<WHOLE>(gates + c, F - c, g);
    eight_load<WHOLE>(gates + F + c, F - c, u);
#pragma unroll
    for (int i = 0; i < 8; i++)
        g[i] = g[i] * eight_sigmoid<T>(g[i]) * u[i];
    eight_store<WHOLE>(static_cast<T *>(act) + p * F + c, F - c, g);
}

int pass_swiglu(bool half, int P, int F, const void *gate_up, void *act, void *stream,
                struct buf *err)
{
    int across = 1;
    while (across < ROW_THREADS && across * 8 < F)
        across *= 2;
    const dim3 grid(eight_blocks(P, ROW_THREADS / across), eight_blocks(F, across * 8));
    const bool whole = eights(gate_up, F) && eights(act, F);
    if (P > 0 && F > 0)
        EIGHT_LAUNCH(swiglu_kernel, half, whole, grid, ROW_THREADS, 0,
                     static_cast<cudaStream_t>(stream), P, F, across, gate_up, act);
    return gpu_check(err, "the experts' activation");
}

/* Where the rows of one pair are. */
template <typename T> struct back_rows {
    const T *gate, *up, *dact;
    T *dgate, *dup, *weighted;
};

/* One eight of a row, at column c; returns its part of the product of dact and act. */
template <typename T, bool WHOLE>
static __device__ __forceinline__ float swiglu_back_eight(const struct back_rows<T> &r, float w,
                                                          int c, int have)
{
    float g[8], u[8], d[8], a[8], sum = 0;
    eight_load<WHOLE>(r.gate + c, have, g);
    eight_load<WHOLE>(r.up + c, have, u);
    eight_load<WHOLE>(r.dact + c, have, d);
#pragma unroll
    for (int i = 0; i < 8; i++) {
        const float s = eight_sigmoid<T>(g[i]), silu = g[i] * s, by = w * d[i];
        a[i] = silu * u[i];
        sum += d[i] * a[i];
        a[i] *= w;
        g[i] = by * u[i] * (s + silu * (1 - s));
        u[i] = by * silu;
    }
    eight_store<WHOLE>(r.dgate + c, have, g);
    eight_store<WHOLE>(r.dup + c, have, u);
    if (r.weighted)
        eight_store<WHOLE>(r.weighted + c, have, a);
    return sum;
}

/* A warp a row. */
template <typename T, bool WHOLE>
__global__ void __launch_bounds__(ROW_THREADS)
    swiglu_back_kernel(int P, int F, const void *gate_up, const float *weight, const void *dact,
                       void *dgate_up, void *weighted, float *dweight)
{
    const int64_t p = static_cast<int64_t>(blockIdx.x) * (ROW_THREADS / 32) + threadIdx.x / 32;
    const int lane = static_cast<int>(threadIdx.x % 32);
    if (p >= P)
        return;
    struct back_rows<T> r;
    r.gate = static_cast<const T *>(gate_up) + p * 2 * F;
    r.up = r.gate + F;
    r.dact = static_cast<const T *>(dact) + p * F;
    r.dgate = static_cast<T *>(dgate_up) + p * 2 * F;
    r.dup = r.dgate + F;
    r.weighted = weighted ? static_cast<T *>(weighted) + p * F : NULL;
    const float w = weight[p];
    float sum = 0;
#pragma unroll 2
    for (int c = lane * 8; c < F; c += 32 * 8)
        sum += swiglu_back_eight<T, WHOLE>(r, w, c, F - c);
    sum = eight_warp_sum(sum);
    if (lane == 0)
        dweight[p] = sum;
}

int pass_swiglu_back(bool half, int P, int F, const void *gate_up, const float *weight,
                     const void *dact, void *dgate_up, void *weighted, float *dweight, void *stream,
                     struct buf *err)
{
    const bool whole =
        eights(gate_up, F) && eights(dact, F) && eights(dgate_up, F) && eights(weighted, F);
    if (P > 0)
        EIGHT_LAUNCH(swiglu_back_kernel, half, whole, eight_blocks(P, ROW_THREADS / 32),
                     ROW_THREADS, 0, static_cast<cudaStream_t>(stream), P, F, gate_up, weight, dact,
                     dgate_up, weighted, dweight);
    return gpu_check(err, "the experts' activation backwards");
}
