/*
 * fed.cuh: queries, keys and values of the token that a text is fed, on their way from the product
 * to attention: norm, clipping, rotation.
 */
#ifndef FED_CUH
#define FED_CUH

#include "cuda/view.cuh"

/* Shared memory of a block: HG queries, which are scaled, and the key and value that they have. */
struct fed {
    float *query, *key, *value; // [HG, D], [D], [D]
};

/* The scales of the norms of all of x [n] and of all of y [m], for all threads. */
static __device__ __forceinline__ void whole_scales(const float *x, int n, const float *y, int m,
                                                    float eps, float &of_x, float &of_y)
{
    __shared__ float shared[2 * WARPS];
    float sum[2] = { 0, 0 };
#pragma unroll 4
    for (int i = threadIdx.x; i < n; i += THREADS)
        sum[0] += x[i] * x[i];
#pragma unroll 4
    for (int i = threadIdx.x; i < m; i += THREADS)
        sum[1] += y[i] * y[i];
    for (int j = 0; j < 2; j++) {
        sum[j] = lanes_sum(sum[j], 32);
        if (threadIdx.x % 32 == 0)
            shared[j * WARPS + threadIdx.x / 32] = sum[j];
        sum[j] = 0;
    }
    __syncthreads();
    for (int i = 0; i < WARPS; i++) {
        sum[0] += shared[i];
        sum[1] += shared[WARPS + i];
    }
    of_x = rsqrtf(sum[0] / n + eps);
    of_y = rsqrtf(sum[1] / m + eps);
}

/* What one head's vector goes through. weight [D], NULL: no norm; scale 0: that of this head; cos,
 * sin [D/2], NULL: not rotated; factor: at the end */
template <typename T> struct change {
    const T *weight;
    float scale;
    const float *cos, *sin;
    float factor;
};

/* By a warp; a lane has values i and i + D/2, up to PAIRS times. */
template <typename T>
__device__ __forceinline__ void prepare(const struct step_view &v, const float *x,
                                        const struct change<T> &how, float *to)
{
    constexpr int PAIRS = 4;
    const int half = v.s.head_dim / 2, lane = threadIdx.x % 32;
    float a[PAIRS], b[PAIRS], c[PAIRS], s[PAIRS], wa[PAIRS], wb[PAIRS], sum = 0;
#pragma unroll
    for (int j = 0; j < PAIRS; j++) {
        const int i = lane + 32 * j;
        const bool in = i < half;
        a[j] = in ? x[i] : 0;
        b[j] = in ? x[i + half] : 0;
        c[j] = in && how.cos ? how.cos[i] : 1;
        s[j] = in && how.cos ? how.sin[i] : 0;
        wa[j] = in && how.weight ? number(how.weight[i]) : 1;
        wb[j] = in && how.weight ? number(how.weight[i + half]) : 1;
        sum += a[j] * a[j] + b[j] * b[j];
    }
    float scale = how.scale;
    if (how.weight && scale == 0)
        scale = rsqrtf(lanes_sum(sum, 32) / v.s.head_dim + v.s.eps);
    const float most = v.s.clip > 0 ? v.s.clip : INFINITY;
#pragma unroll
    for (int j = 0; j < PAIRS; j++) {
        const int i = lane + 32 * j;
        float y = how.weight ? a[j] * scale * wa[j] : a[j];
        float z = how.weight ? b[j] * scale * wb[j] : b[j];
        if (v.s.clip > 0) {
            y = fminf(fmaxf(y, -most), most);
            z = fminf(fmaxf(z, -most), most);
        }
        if (i < half) {
            to[i] = (how.cos ? y * c[j] - z * s[j] : y) * how.factor;
            to[i + half] = (how.cos ? z * c[j] + y * s[j] : z) * how.factor;
        }
    }
}

/* Those of the heads from h0 on, by the whole block; a barrier is behind it. */
template <typename T, int HG>
__device__ __forceinline__ void prepare_all(const struct step_view &v, const T *q_norm,
                                            const T *k_norm, const float *cos, const float *sin,
                                            int text, int position, int h0, const struct fed &fed)
{
    const int D = v.s.head_dim, H = v.s.heads, G = v.s.kv_heads, g = h0 / (H / G);
    const float *q = v.qkv + static_cast<size_t>(text) * (H + 2 * G) * D;
    const bool whole = q_norm && !v.s.norm_heads;
    const size_t angle = static_cast<size_t>(position) * (D / 2);
    float q_scale = 0, k_scale = 0;
    if (whole)
        whole_scales(q, H * D, q + H * D, G * D, v.s.eps, q_scale, k_scale);
    for (int i = threadIdx.x / 32; i < HG + 2; i += WARPS) {
        float *to = i < HG ? fed.query + i * D : i == HG ? fed.key : fed.value;
        const int row = i < HG ? h0 + i : i == HG ? H + g : H + G + g;
        struct change<T> how = {
        };
        how.factor = i < HG ? 1.0f / sqrtf(static_cast<float>(D)) : 1;
        if (i <= HG) {
            const T *norm = i < HG ? q_norm : k_norm;
            how.weight = norm ? norm + (whole ? (i < HG ? row : g) * D : 0) : nullptr;
            how.scale = i < HG ? q_scale : k_scale;
            how.cos = cos + angle;
            how.sin = sin + angle;
        }
        prepare<T>(v, q + row * D, how, to);
        // The caches keep keys and values as T, and so are they used.
        __syncwarp();
        for (int d = threadIdx.x % 32; i >= HG && d < D; d += 32)
            to[d] = kept<T>(to[d]);
    }
    __syncthreads();
}

#endif
