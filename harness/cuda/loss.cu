/*
 * loss.cu: see loss.h. A block a row: each thread goes through its share of the logits once, with the
 * largest so far and the sums of what is by that; when a larger one comes, the sums are scaled. The
 * gradient needs the row again: it is a hundred kilobytes, and still in the L2.
 *
 * Eight logits are read at once where rows are whole numbers of these, and one by one elsewhere.
 */
#include "cuda/gpu.h"
#include "cuda/loss.h"

#include <math.h>

constexpr int ROW_THREADS = 512, ROW_WARPS = ROW_THREADS / 32;
constexpr int AT_ONCE = 4; // loads of eight that a thread has under way

/* ---- eight logits ---- */

template <typename T> struct eight {
    uint4 word[sizeof(T) / 2];
};

template <typename T> static __device__ __forceinline__ eight<T> load_eight(const T *p, bool is)
{
    eight<T> v;
    for (size_t i = 0; i < sizeof(T) / 2; i++)
        v.word[i] = is ? reinterpret_cast<const uint4 *>(p)[i] : make_uint4(0, 0, 0, 0);
    return v;
}

static __device__ __forceinline__ void numbers(const eight<float> &e, float v[8])
{
    for (int i = 0; i < 2; i++) {
        v[4 * i] = __uint_as_float(e.word[i].x), v[4 * i + 1] = __uint_as_float(e.word[i].y);
        v[4 * i + 2] = __uint_as_float(e.word[i].z), v[4 * i + 3] = __uint_as_float(e.word[i].w);
    }
}
static __device__ __forceinline__ void numbers(const eight<nv_bfloat16> &e, float v[8])
{
    const uint32_t word[4] = { e.word[0].x, e.word[0].y, e.word[0].z, e.word[0].w };
    for (int i = 0; i < 4; i++) {
        v[2 * i] = __uint_as_float(word[i] << 16);
        v[2 * i + 1] = __uint_as_float(word[i] & 0xffff0000u);
    }
}

static __device__ __forceinline__ void store_eight(float *p, const float v[8])
{
    reinterpret_cast<float4 *>(p)[0] = make_float4(v[0], v[1], v[2], v[3]);
    reinterpret_cast<float4 *>(p)[1] = make_float4(v[4], v[5], v[6], v[7]);
}
static __device__ __forceinline__ uint32_t two_halves(float low, float high)
{
    return static_cast<uint32_t>(__bfloat16_as_ushort(__float2bfloat16_rn(high))) << 16 |
           __bfloat16_as_ushort(__float2bfloat16_rn(low));
}
static __device__ __forceinline__ void store_eight(nv_bfloat16 *p, const float v[8])
{
    *reinterpret_cast<uint4 *>(p) = make_uint4(two_halves(v[0], v[1]), two_halves(v[2], v[3]),
                                               two_halves(v[4], v[5]), two_halves(v[6], v[7]));
}

static __device__ __forceinline__ float one(float x)
{
    return x;
}
static __device__ __forceinline__ float one(nv_bfloat16 x)
{
    return __bfloat162float(x);
}
static __device__ __forceinline__ void put_one(float *p, float x)
{
    *p = x;
}
static __device__ __forceinline__ void put_one(nv_bfloat16 *p, float x)
{
    *p = __float2bfloat16_rn(x);
}

/* ---- a row ---- */

/* Of some logits: the largest, and with m for it the sums of e^(x-m) and of (x-m) e^(x-m). */
struct seen {
    float most, sum, moment;
};

/* The same sums by a larger m. */
static __device__ __forceinline__ void rise(struct seen &s, float most)
{
    if (!(s.most < most))
        return;
    const float less = s.most - most, by = expf(less);
    // -inf times 0 is no number.
    s.moment = s.sum == 0 || less == -INFINITY ? by * s.sum : by * (s.moment + less * s.sum);
    s.sum *= by;
    s.most = most;
}

template <bool MOMENT, int n>
static __device__ __forceinline__ void take(struct seen &s, const float v[n])
{
    float most = v[0];
    for (int i = 1; i < n; i++)
        most = fmaxf(most, v[i]);
    rise(s, most);
    const float m = s.most == -INFINITY ? 0 : s.most; // -inf less -inf is no number
    for (int i = 0; i < n; i++) {
        const float x = v[i] - m, e = expf(x);
        s.sum += e;
        if (MOMENT)
            s.moment += e > 0 ? x * e : e; // a NaN stays one
    }
}

/* A thread's share of a row, of which the first 8 * `whole` can be read as eights. */
template <bool MOMENT, typename T>
static __device__ __forceinline__ struct seen look(const T *row, int V, int whole)
{
    struct seen s = { -INFINITY, 0, 0 };
    for (int at = threadIdx.x; at < whole; at += ROW_THREADS * AT_ONCE) {
        eight<T> e[AT_ONCE];
#pragma unroll
        for (int u = 0; u < AT_ONCE; u++) {
            const int g = at + u * ROW_THREADS;
            e[u] = load_eight(row + static_cast<size_t>(g) * 8, g < whole);
        }
#pragma unroll
        for (int u = 0; u < AT_ONCE; u++) {
            float v[8];
            numbers(e[u], v);
            if (at + u * ROW_THREADS < whole)
                take<MOMENT, 8>(s, v);
        }
    }
    for (int i = 8 * whole + threadIdx.x; i < V; i += ROW_THREADS) {
        const float v[1] = { one(row[i]) };
        take<MOMENT, 1>(s, v);
    }
    return s;
}

static __device__ __forceinline__ float row_max(float x)
{
    __shared__ float most[ROW_WARPS];
    for (int i = 16; i > 0; i /= 2)
        x = fmaxf(x, __shfl_xor_sync(~0u, x, i));
    if (threadIdx.x % 32 == 0)
        most[threadIdx.x / 32] = x;
    __syncthreads();
    for (int i = 0; i < ROW_WARPS; i++)
        x = fmaxf(x, most[i]);
    return x;
}

/* All threads' shares as one, in all threads. */
static __device__ __forceinline__ struct seen together(struct seen s)
{
    __shared__ float sums[ROW_WARPS], moments[ROW_WARPS];
    rise(s, row_max(s.most));
    for (int i = 16; i > 0; i /= 2) {
        s.sum += __shfl_xor_sync(~0u, s.sum, i);
        s.moment += __shfl_xor_sync(~0u, s.moment, i);
    }
    if (threadIdx.x % 32 == 0) {
        sums[threadIdx.x / 32] = s.sum;
        moments[threadIdx.x / 32] = s.moment;
    }
    __syncthreads();
    s.sum = s.moment = 0;
    for (int i = 0; i < ROW_WARPS; i++) {
        s.sum += sums[i];
        s.moment += moments[i];
    }
    return s;
}

/* ---- kernels ---- */

template <typename T>
static __global__ void __launch_bounds__(ROW_THREADS)
    loss_kernel(const T *logits, int V, int whole, const int64_t *target, float *nll,
                float *entropy)
{
    const T *row = logits + static_cast<size_t>(blockIdx.x) * V;
    const struct seen s = together(look<true>(row, V, whole));
    if (threadIdx.x > 0)
        return;
    const int64_t to = target[blockIdx.x];
    const float all = logf(s.sum);
    nll[blockIdx.x] = to < 0 ? NAN : all - (one(row[to]) - s.most);
    entropy[blockIdx.x] = all - s.moment / s.sum;
}

template <typename T>
static __global__ void __launch_bounds__(ROW_THREADS)
    loss_back_kernel(T *logits, int V, int whole, const int64_t *target, float *nll)
{
    T *row = logits + static_cast<size_t>(blockIdx.x) * V;
    const int to = static_cast<int>(target[blockIdx.x]);
    const float of_target = threadIdx.x == 0 ? one(row[to]) : 0; // before it is written over
    const struct seen s = together(look<false>(row, V, whole));
    const float by = 1 / s.sum;
    if (threadIdx.x == 0)
        nll[blockIdx.x] = logf(s.sum) - (of_target - s.most);
    for (int at = threadIdx.x; at < whole; at += ROW_THREADS * AT_ONCE) {
        eight<T> e[AT_ONCE];
#pragma unroll
        for (int u = 0; u < AT_ONCE; u++) {
            const int g = at + u * ROW_THREADS;
            e[u] = load_eight(row + static_cast<size_t>(g) * 8, g < whole);
        }
#pragma unroll
        for (int u = 0; u < AT_ONCE; u++) {
            const int g = at + u * ROW_THREADS;
            float v[8];
            numbers(e[u], v);
            for (int i = 0; i < 8; i++)
                v[i] = expf(v[i] - s.most) * by - (8 * g + i == to ? 1.0f : 0.0f);
            if (g < whole)
                store_eight(row + static_cast<size_t>(g) * 8, v);
        }
    }
    for (int i = 8 * whole + threadIdx.x; i < V; i += ROW_THREADS)
        put_one(row + i, expf(one(row[i]) - s.most) * by - (i == to ? 1.0f : 0.0f));
}

/* Eights in each row. */
static int whole_of(const void *logits, int V)
{
    return V % 8 == 0 && reinterpret_cast<uintptr_t>(logits) % 16 == 0 ? V / 8 : 0;
}

template <typename T>
static void launch_loss(const void *logits, int rows, int V, const int64_t *target, float *nll,
                        float *entropy, cudaStream_t stream)
{
    LAUNCH(loss_kernel<T>, static_cast<unsigned>(rows), ROW_THREADS, 0, stream,
           static_cast<const T *>(logits), V, whole_of(logits, V), target, nll, entropy);
}

template <typename T>
static void launch_loss_back(void *logits, int rows, int V, const int64_t *target, float *nll,
                             cudaStream_t stream)
{
    LAUNCH(loss_back_kernel<T>, static_cast<unsigned>(rows), ROW_THREADS, 0, stream,
           static_cast<T *>(logits), V, whole_of(logits, V), target, nll);
}

int gpu_loss(const void *logits, bool half, int rows, int V, const int64_t *target, float *nll,
             float *entropy, void *stream, struct buf *err)
{
    const cudaStream_t on = static_cast<cudaStream_t>(stream);
    if (rows > 0 && half)
        launch_loss<nv_bfloat16>(logits, rows, V, target, nll, entropy, on);
    else if (rows > 0)
        launch_loss<float>(logits, rows, V, target, nll, entropy, on);
    return gpu_check(err, "losses on the GPU");
}

int gpu_loss_back(void *logits, bool half, int rows, int V, const int64_t *target, float *nll,
                  void *stream, struct buf *err)
{
    const cudaStream_t on = static_cast<cudaStream_t>(stream);
    if (rows > 0 && half)
        launch_loss_back<nv_bfloat16>(logits, rows, V, target, nll, on);
    else if (rows > 0)
        launch_loss_back<float>(logits, rows, V, target, nll, on);
    return gpu_check(err, "gradients of losses on the GPU");
}
